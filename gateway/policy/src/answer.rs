//! The policy's answer, checked before anyone acts on it.

use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::decision::{Finding, Severity, Verdict};
use regorus::Value;
use serde::Deserialize;

use crate::PolicyError;

/// Most findings that one answer may hold; rules find one or two things each.
const MAX_FINDINGS: usize = 64;
/// Longest text in an answer (bytes).
const MAX_TEXT: usize = 8 << 10;
/// Most pieces of evidence that are kept of one finding, and their longest (bytes).
const MAX_EVIDENCE: (usize, usize) = (16, 512);

/// The answer to the question that decides on a tool call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionAnswer {
    pub(crate) verdict: Verdict,
    pub(crate) severity: Severity,
    pub(crate) reason: String,
    /// The rule that decided; empty where nothing was objected to.
    #[serde(default)]
    pub(crate) rule: String,
    /// The clause of the policy that decided.
    #[serde(default)]
    pub(crate) clause: String,
    /// What the policy itself found.
    #[serde(deserialize_with = "strict_findings")]
    pub(crate) findings: Vec<Finding>,
    /// Which of the packs' findings did not count.
    #[serde(default)]
    pub(crate) waived: Vec<Waiver>,
    /// The input that the call is to run with instead.
    #[serde(default)]
    pub(crate) updated_input: Option<serde_json::Value>,
    /// The profile to run in; `off` for none. Absent: the connector's own.
    #[serde(default)]
    pub(crate) sandbox: Option<String>,
}

/// The answer to the question whether an artifact may be used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdmissionAnswer {
    pub(crate) action: AdmissionAction,
    pub(crate) reason: String,
}

/// A finding that an exception set aside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiver {
    /// Its place in the input's findings.
    pub(crate) finding: usize,
    /// Who answers for that.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

/// A finding in the exact form that rules must give.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingAnswer {
    rule: String,
    category: String,
    severity: Severity,
    message: String,
    #[serde(default)]
    remedy: String,
    evidence: Vec<String>,
    confidence: u8,
}

fn strict_findings<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Finding>, D::Error> {
    let findings = Vec::<FindingAnswer>::deserialize(deserializer)?;
    Ok(findings.into_iter().map(Finding::from).collect())
}

impl From<FindingAnswer> for Finding {
    fn from(answer: FindingAnswer) -> Self {
        let (count, bytes) = MAX_EVIDENCE;
        let evidence = answer
            .evidence
            .into_iter()
            .take(count)
            .map(|text| shortened(text, bytes))
            .collect();
        Self {
            rule: answer.rule,
            category: answer.category,
            severity: answer.severity,
            message: shortened(answer.message, MAX_TEXT),
            remedy: shortened(answer.remedy, MAX_TEXT),
            evidence,
            confidence: answer.confidence,
        }
    }
}

fn shortened(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}

/// Reads a decision on a call in which the packs found `found` things.
pub(crate) fn decision(
    rule: &'static str,
    value: &Value,
    found: usize,
) -> Result<DecisionAnswer, PolicyError> {
    let mut answer: DecisionAnswer = read(rule, value)?;
    let wrong = |why: &str| {
        Err(PolicyError::Answer {
            rule,
            why: why.to_owned(),
        })
    };
    if answer.reason.trim().is_empty() {
        return wrong("a decision must say its reason");
    }
    if answer.verdict != Verdict::Allow && answer.findings.is_empty() && found == 0 {
        return wrong("a verdict other than allow must come with a finding");
    }
    if answer.waived.iter().any(|waiver| waiver.finding >= found) {
        return wrong("it waives a finding that is not there");
    }
    if answer
        .updated_input
        .as_ref()
        .is_some_and(|input| !input.is_object())
    {
        return wrong("`updated_input` must be an object: the whole input that the tool is to get");
    }
    check(rule, &mut answer.findings)?;
    answer.reason = shortened(answer.reason, MAX_TEXT);
    Ok(answer)
}

/// Reads the answer on an artifact.
pub(crate) fn admission(rule: &'static str, value: &Value) -> Result<AdmissionAnswer, PolicyError> {
    let mut answer: AdmissionAnswer = read(rule, value)?;
    if answer.reason.trim().is_empty() {
        return Err(PolicyError::Answer {
            rule,
            why: "an admission must say its reason".to_owned(),
        });
    }
    answer.reason = shortened(answer.reason, MAX_TEXT);
    Ok(answer)
}

/// Reads a set of findings; the worst first.
pub(crate) fn findings(rule: &'static str, value: &Value) -> Result<Vec<Finding>, PolicyError> {
    let answers: Vec<FindingAnswer> = read(rule, value)?;
    let mut findings = answers.into_iter().map(Finding::from).collect();
    check(rule, &mut findings)?;
    Ok(findings)
}

fn check(rule: &'static str, findings: &mut Vec<Finding>) -> Result<(), PolicyError> {
    let wrong = |why: String| Err(PolicyError::Answer { rule, why });
    if findings.len() > MAX_FINDINGS {
        return wrong(format!(
            "{} findings; at most {MAX_FINDINGS} are taken",
            findings.len()
        ));
    }
    for finding in &*findings {
        if finding.rule.is_empty() || finding.category.is_empty() || finding.message.trim().is_empty() {
            return wrong(format!(
                "the finding of rule {:?} lacks its rule, category or message",
                finding.rule
            ));
        }
        if finding.confidence > 100 {
            return wrong(format!(
                "the finding of rule {:?} has confidence {}",
                finding.rule, finding.confidence
            ));
        }
    }
    worst_first(findings);
    Ok(())
}

/// Sorts by severity, then by how sure the rules are.
pub(crate) fn worst_first(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| (finding.severity, finding.confidence);
        key(b).cmp(&key(a)).then_with(|| a.rule.cmp(&b.rule))
    });
}

fn read<T: for<'de> Deserialize<'de>>(rule: &'static str, value: &Value) -> Result<T, PolicyError> {
    if matches!(value, Value::Undefined) {
        return Err(PolicyError::Answer {
            rule,
            why: "it is undefined for this input".to_owned(),
        });
    }
    let refused = |error: &dyn std::fmt::Display| PolicyError::Answer {
        rule,
        why: error.to_string(),
    };
    let json = value.to_json_str().map_err(|error| refused(&error))?;
    serde_json::from_str(&json).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINDING: &str =
        r#"{"rule":"a.b","category":"c","severity":"HIGH","message":"m","evidence":["e"],"confidence":90}"#;

    fn ask(json: &str) -> Result<DecisionAnswer, PolicyError> {
        decision("rule", &Value::from_json_str(json).unwrap(), 0)
    }

    fn with(verdict: &str, reason: &str, findings: &str) -> String {
        format!(r#"{{"verdict":"{verdict}","severity":"HIGH","reason":"{reason}","findings":[{findings}]}}"#)
    }

    #[test]
    fn an_answer_in_the_right_form_is_taken() {
        let answer = ask(&with("deny", "because", FINDING)).unwrap();
        assert_eq!((answer.verdict, answer.findings.len()), (Verdict::Deny, 1));
        assert!(ask(&with("allow", "fine", "")).is_ok());
    }

    #[test]
    fn an_answer_in_any_other_form_is_refused() {
        let cases = [
            with("maybe", "r", FINDING),
            with("deny", " ", FINDING),
            with("deny", "r", ""),
            with("deny", "r", &FINDING.replace("HIGH", "BAD")),
            with("deny", "r", &FINDING.replace("90", "101")),
            with("deny", "r", &FINDING.replace("\"m\"", "\"\"")),
            with("deny", "r", &FINDING.replace("\"confidence\"", "\"extra\"")),
            with("deny", "r", FINDING).replace("\"reason\"", "\"why\""),
            with("allow", "r", "").replace("\"reason\"", "\"updated_input\":[],\"reason\""),
            with("allow", "r", "").replace(
                "\"reason\"",
                "\"waived\":[{\"finding\":0,\"by\":\"\",\"reason\":\"\"}],\"reason\"",
            ),
            "[]".to_owned(),
            "null".to_owned(),
        ];
        for json in cases {
            assert!(matches!(ask(&json), Err(PolicyError::Answer { .. })), "{json}");
        }
        assert!(matches!(
            decision("rule", &Value::Undefined, 0),
            Err(PolicyError::Answer { .. })
        ));
    }

    #[test]
    fn findings_come_worst_first_and_evidence_is_bounded() {
        let low = FINDING
            .replace("HIGH", "LOW")
            .replace("[\"e\"]", &format!("{:?}", vec!["x".repeat(2000); 40]));
        let value = Value::from_json_str(&format!("[{low},{FINDING}]")).unwrap();
        let findings = findings("rule", &value).unwrap();
        assert_eq!(findings[0].severity, Severity::High);
        assert_eq!(findings[1].evidence.len(), 16);
        assert!(findings[1].evidence[0].len() <= 520);
    }
}
