//! What a session did so far, as far as it bears on its next call.

use std::collections::BTreeSet;

use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::decision::{Decision, Finding, Posture, Severity, Verdict};
use defenseclaw_model::facts::{Facts, FlowKind};
use defenseclaw_policy::RiskRules;

/// A call read a secret, or the kernel saw its processes do so.
const SECRET_READ: &str = "secret-read";
/// A text that the agent took in tries to steer it.
const UNTRUSTED_TEXT: &str = "untrusted-text";
/// A call was refused.
const DENIED: &str = "denied";
/// From which confidence on an injection counts as taken in: below it, texts about injections would.
const INJECTION_CONFIDENCE: u8 = 50;

/// A session's past.
#[derive(Debug, Default)]
pub(crate) struct Past {
    risk: f64,
    /// As of when the risk is, ns since the Unix epoch.
    at_ns: u64,
    taints: BTreeSet<&'static str>,
    denied: u64,
    /// How often something was added that may change how a call is decided.
    changes: u64,
}

impl Past {
    /// As it is at `now_ns`.
    pub(crate) fn posture(&self, rules: &RiskRules, now_ns: u64) -> Posture {
        Posture {
            risk: self.faded(rules, now_ns),
            taints: self.taints.iter().map(|&taint| taint.to_owned()).collect(),
            denied: self.denied,
        }
    }

    /// Which past this is: another number, another past.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// A call was decided.
    pub(crate) fn call(&mut self, rules: &RiskRules, now_ns: u64, facts: &Facts, decision: &Decision) {
        if !decision.findings.is_empty() {
            self.add(rules, now_ns, &decision.findings);
        }
        if decision.verdict == Verdict::Deny {
            self.denied += 1;
            self.taints.insert(DENIED);
            self.changes += 1;
        }
        if decision.effective() != Verdict::Deny && reads_secret(facts) && self.taints.insert(SECRET_READ) {
            self.changes += 1;
        }
    }

    /// Something was found in a text that the agent took in, or in what the kernel saw.
    pub(crate) fn found(&mut self, rules: &RiskRules, now_ns: u64, findings: &[Finding]) {
        self.add(rules, now_ns, findings);
        for finding in findings {
            match finding.category.as_str() {
                "injection"
                    if finding.severity >= Severity::Medium && finding.confidence >= INJECTION_CONFIDENCE =>
                {
                    self.taints.insert(UNTRUSTED_TEXT);
                }
                "secret" if finding.rule.starts_with("effect.") => {
                    self.taints.insert(SECRET_READ);
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, rules: &RiskRules, now_ns: u64, findings: &[Finding]) {
        self.risk = rules.with(self.faded(rules, now_ns), findings);
        self.at_ns = self.at_ns.max(now_ns);
        self.changes += 1;
    }

    fn faded(&self, rules: &RiskRules, now_ns: u64) -> f64 {
        let past = std::time::Duration::from_nanos(now_ns.saturating_sub(self.at_ns));
        rules.faded(self.risk, past.as_secs_f64())
    }
}

fn reads_secret(facts: &Facts) -> bool {
    let rules = PathRules::embedded();
    let read = facts.reads.iter().filter_map(|read| read.class.as_deref());
    read.into_iter().any(|class| rules.is_secret(class))
        || facts.flows.iter().any(|flow| flow.from.kind == FlowKind::Secret)
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::facts::PathFact;
    use defenseclaw_policy::Policy;

    use super::*;

    const MINUTE: u64 = 60 * 1_000_000_000;

    fn finding(rule: &str, category: &str, severity: Severity) -> Finding {
        Finding {
            rule: rule.into(),
            category: category.into(),
            severity,
            message: "m".into(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 90,
        }
    }

    fn decided(verdict: Verdict, findings: Vec<Finding>) -> Decision {
        Decision {
            verdict,
            severity: Severity::High,
            reason: "r".into(),
            findings,
            rule: String::new(),
            line: String::new(),
            updated_input: None,
            sandbox: None,
            policy: String::new(),
            enforced: true,
        }
    }

    #[test]
    fn refused_calls_build_up_risk_that_fades() {
        let rules = Policy::embedded().unwrap().risk().clone();
        let mut past = Past::default();
        for minute in 0..3 {
            let decision = decided(Verdict::Deny, vec![finding("c.x", "command", Severity::High)]);
            past.call(&rules, minute * MINUTE, &Facts::default(), &decision);
        }
        let now = past.posture(&rules, 3 * MINUTE);
        assert!((40.0..60.0).contains(&now.risk), "{now:?}");
        assert_eq!((now.denied, now.taints), (3, vec!["denied".to_owned()]));
        let later = past.posture(&rules, 3 * MINUTE + 300 * MINUTE);
        assert!(later.risk < 1.0, "{later:?}");
        assert_eq!(later.denied, 3);
    }

    #[test]
    fn a_secret_that_was_read_stays_known_and_one_that_was_refused_was_not_read() {
        let rules = RiskRules::default();
        let facts = Facts {
            reads: vec![PathFact {
                path: "/home/u/.ssh/id_rsa".into(),
                class: Some("private-key".into()),
                by: Vec::new(),
            }],
            ..Facts::default()
        };
        let mut past = Past::default();
        past.call(&rules, 1, &facts, &decided(Verdict::Deny, Vec::new()));
        assert_eq!(past.posture(&rules, 1).taints, ["denied"]);
        past.call(&rules, 1, &facts, &decided(Verdict::Allow, Vec::new()));
        assert_eq!(past.posture(&rules, 1).taints, ["denied", "secret-read"]);
    }

    #[test]
    fn text_that_steers_and_secrets_that_the_kernel_saw_read_taint() {
        let rules = RiskRules::default();
        let mut past = Past::default();
        past.found(&rules, 1, &[finding("injection.x", "injection", Severity::Low)]);
        past.found(&rules, 1, &[finding("secret.token", "secret", Severity::High)]);
        assert!(past.posture(&rules, 1).taints.is_empty());
        past.found(&rules, 1, &[finding("injection.x", "injection", Severity::High)]);
        past.found(
            &rules,
            1,
            &[finding(
                "effect.undeclared-credential-read",
                "secret",
                Severity::High,
            )],
        );
        assert_eq!(past.posture(&rules, 1).taints, ["secret-read", "untrusted-text"]);
    }
}
