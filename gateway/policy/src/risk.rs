//! What findings add to a session's risk, and how fast that fades: `data.decision.risk` of the policy's data.

use std::collections::BTreeMap;

use defenseclaw_model::decision::{Finding, Severity};
use serde::Deserialize;

use crate::PolicyError;

/// Largest risk that is kept. Beyond it nothing changes any more, and it must fade within a day.
const MAX_RISK: f64 = 10_000.0;

/// How a session's risk builds up and fades. A policy that says nothing of it knows no risk.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RiskRules {
    weights: BTreeMap<&'static str, f64>,
    half_life_s: f64,
}

#[derive(Deserialize)]
struct DataForm {
    decision: Option<DecisionForm>,
}

#[derive(Deserialize)]
struct DecisionForm {
    risk: Option<RiskForm>,
}

#[derive(Deserialize)]
struct RiskForm {
    weights: BTreeMap<String, f64>,
    half_life_s: f64,
}

impl RiskRules {
    pub(crate) fn from_data(json: &str) -> Result<Self, PolicyError> {
        let wrong = |why: String| PolicyError::Data(format!("decision.risk: {why}"));
        let data: DataForm =
            serde_json::from_str(json).map_err(|error| PolicyError::Data(error.to_string()))?;
        let Some(form) = data.decision.and_then(|decision| decision.risk) else {
            return Ok(Self::default());
        };
        if form.half_life_s.is_nan() || form.half_life_s < 1.0 {
            return Err(wrong(format!(
                "half_life_s is {}; it must be at least 1",
                form.half_life_s
            )));
        }
        let mut weights = BTreeMap::new();
        for (severity, weight) in form.weights {
            let severity: Severity = severity.parse().map_err(wrong)?;
            if !(0.0..=MAX_RISK).contains(&weight) {
                return Err(wrong(format!(
                    "the weight of {} is {weight}; it must be 0 to {MAX_RISK}",
                    severity.as_str()
                )));
            }
            weights.insert(severity.as_str(), weight);
        }
        Ok(Self {
            weights,
            half_life_s: form.half_life_s,
        })
    }

    /// The risk after `seconds` in which nothing happened.
    pub fn faded(&self, risk: f64, seconds: f64) -> f64 {
        if self.half_life_s > 0.0 {
            risk * (-seconds.max(0.0) / self.half_life_s).exp2()
        } else {
            0.0
        }
    }

    /// The risk with a call's findings: the worst one counts, by how sure its rule is. One call that many rules object to
    /// is one call.
    pub fn with(&self, risk: f64, findings: &[Finding]) -> f64 {
        let added = findings.iter().map(|finding| {
            let weight = self
                .weights
                .get(finding.severity.as_str())
                .copied()
                .unwrap_or_default();
            weight * f64::from(finding.confidence) / 100.0
        });
        (risk + added.fold(0.0, f64::max)).min(MAX_RISK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, confidence: u8) -> Finding {
        Finding {
            rule: "a.b".into(),
            category: "c".into(),
            severity,
            message: "m".into(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence,
        }
    }

    #[test]
    fn risk_builds_up_and_fades() {
        let rules = RiskRules::from_data(
            r#"{"decision":{"risk":{"weights":{"HIGH":20,"LOW":1},"half_life_s":60,"ask_from":5}}}"#,
        )
        .unwrap();
        let risk = rules.with(10.0, &[finding(Severity::Low, 100), finding(Severity::High, 50)]);
        assert!((risk - 20.0).abs() < 1e-9);
        assert!((rules.faded(risk, 120.0) - 5.0).abs() < 1e-9);
        assert!((rules.with(1.0, &[]) - 1.0).abs() < 1e-9);
        assert!(rules.with(f64::MAX, &[finding(Severity::High, 100)]) <= MAX_RISK);
    }

    #[test]
    fn a_policy_without_it_knows_no_risk_and_a_wrong_one_is_refused() {
        let none = RiskRules::from_data("{}").unwrap();
        assert!(none.with(0.0, &[finding(Severity::Critical, 100)]).abs() < 1e-9);
        for (data, named) in [
            (r#"{"weights":{},"half_life_s":0}"#, "half_life_s"),
            (r#"{"weights":{"BAD":1},"half_life_s":9}"#, "BAD"),
            (r#"{"weights":{"HIGH":-1},"half_life_s":9}"#, "HIGH"),
        ] {
            let data = format!(r#"{{"decision":{{"risk":{data}}}}}"#);
            let error = RiskRules::from_data(&data).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
