//! From the agent's question to the answer: the report read and bounded, the signature verified, the policy asked.
//!
//! A report comes from a process that has read what somebody hostile wrote. It can be wrong in one direction only: a worker that was
//! taken over can say that there is nothing to find. Everything else (another artifact's report, a signature, a finding with a name that is
//! none) is checked here, and what does not fit is a refusal.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use defenseclaw_artifact::verify_text;
use defenseclaw_detect::mask::mask_text;
use defenseclaw_model::admission::{AdmissionAction, AdmissionInput, ScannerVerdict, Trust};
use defenseclaw_model::config::FailMode;
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::gate::{
    GateAnswer, GateQuestion, GateScan, GatedArtifact, WORKER_REPORT, WorkerReport,
};
use defenseclaw_policy::Policy;
use serde_json::json;

use super::origin;
use super::report::{MAX_RULE, MAX_TEXT, cut, finding_of, tidy};

/// Most findings that are recorded of one artifact; the worst come first.
pub(super) const MAX_FINDINGS: usize = 20;
/// Most findings that the policy weighs.
const MAX_WEIGHED: usize = 100;
/// Longest reason (bytes).
const MAX_REASON: usize = 1_000;

/// Everything that a judgement is made with.
pub(super) struct Setting<'a> {
    pub(super) policy: &'a Policy,
    pub(super) enforced: bool,
    pub(super) fail_mode: FailMode,
    pub(super) now_ns: u64,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) answer: GateAnswer,
    pub(super) policy: String,
    pub(super) signed_by: Option<String>,
    pub(super) unscanned: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// Why a report is not believed.
#[derive(Debug, thiserror::Error)]
enum Unbelieved {
    #[error("the scanner's report has {0} bytes, more than one can have")]
    Size(usize),
    #[error("the scanner's report is not understood: {0}")]
    Json(String),
    #[error("the scanner saw other content: its digest is {0}")]
    Digest(String),
    #[error("the scanner saw something else: a {0}")]
    Kind(&'static str),
    #[error("the scanner's report holds {0}, which no scanner of ours writes")]
    Form(&'static str),
}

/// Answers the question.
pub(super) fn judge(setting: &Setting<'_>, question: &GateQuestion) -> Judged {
    let artifact = &question.artifact;
    match &question.scan {
        GateScan::Failed { reason } => setting.unscanned(artifact, reason),
        GateScan::Report { json } => match read(json, artifact) {
            Ok(report) => setting.scanned(artifact, report),
            Err(why) => {
                let reason = format!(
                    "{why}. The worker may have been taken over by what it read: look at the artifact by hand."
                );
                setting.answer(AdmissionAction::Block, &reason, Severity::Critical)
            }
        },
    }
}

impl Setting<'_> {
    fn scanned(&self, artifact: &GatedArtifact, worker: WorkerReport) -> Judged {
        let WorkerReport {
            mut report,
            signature,
        } = worker;
        report
            .findings
            .sort_by_key(|finding| (Reverse(finding.severity), Reverse(finding.confidence)));
        // The worst decide; the policy's input has a bound.
        report.findings.truncate(MAX_WEIGHED);
        let keys = self.policy.trusted_keys();
        let signed_by = signature.and_then(|text| {
            let verified = verify_text(&text, artifact.kind, &artifact.name, &artifact.digest, keys);
            verified.map(|verified| verified.signer).ok()
        });
        let mut input = self.input(artifact, ScannerVerdict::from(&report));
        input.version = report.version.as_deref().map(|version| cut(version, MAX_RULE));
        input.trust.signed_by.clone_from(&signed_by);
        let worst = &report.findings;
        let severity = report.verdict.severity;
        let claimed = cut(&report.name, MAX_TEXT);
        let mut judged = match self.policy.admit_claiming(&input, &claimed) {
            Ok(admission) => self.answer(admission.action, &admission.reason, severity),
            Err(error) => self.by_fail_mode(&format!("the policy cannot decide on it: {error}"), severity),
        };
        let mut told = BTreeSet::new();
        let rules = worst.iter().filter(|finding| told.insert(finding.rule.as_str()));
        judged.answer.rules = rules
            .map(|finding| finding.rule.clone())
            .take(MAX_FINDINGS)
            .collect();
        judged.findings = worst.iter().take(MAX_FINDINGS).map(finding_of).collect();
        judged.signed_by = signed_by;
        judged
    }

    /// There is no scan. What an operator's list says of these very bytes, or of the name, stands all the same; else the fail mode
    /// answers.
    fn unscanned(&self, artifact: &GatedArtifact, why: &str) -> Judged {
        let why = cut(&mask_text(why, MAX_REASON), MAX_REASON);
        let unknown = ScannerVerdict {
            severity: Severity::Critical,
            findings: vec![json!({"rule": "gate.unscanned", "severity": Severity::Critical})],
            confidence: 100.0,
        };
        let suspect = self.input(artifact, unknown);
        let answers = self
            .policy
            .admit(&suspect.without_findings())
            .and_then(|clean| self.policy.admit(&suspect).map(|suspect| (clean, suspect)));
        let mut judged = match answers {
            Ok((clean, _)) if clean.action == AdmissionAction::Block => {
                self.answer(clean.action, &clean.reason, Severity::None)
            }
            Ok((_, suspect)) if suspect.action == AdmissionAction::Allow => {
                self.answer(suspect.action, &suspect.reason, Severity::None)
            }
            _ => self.by_fail_mode(&format!("it could not be scanned: {why}"), Severity::None),
        };
        judged.unscanned = Some(why);
        judged
    }

    fn input(&self, artifact: &GatedArtifact, scanner_verdict: ScannerVerdict) -> AdmissionInput {
        AdmissionInput {
            kind: artifact.kind,
            name: artifact.name.clone(),
            version: None,
            scanner_verdict,
            trust: Trust {
                signed_by: None,
                origin: origin::of(artifact),
            },
            digest: Some(artifact.digest.clone()),
            now_ns: Some(self.now_ns),
        }
    }

    /// What a question gets that could not be answered.
    pub(super) fn by_fail_mode(&self, why: &str, severity: Severity) -> Judged {
        let (action, rest) = match self.fail_mode {
            FailMode::Closed => (AdmissionAction::Block, "The gate's fail mode (closed) refuses it"),
            FailMode::Open => (AdmissionAction::Warn, "The gate's fail mode (open) lets it pass"),
        };
        let mut start = why.chars();
        let why: String = start
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(start)
            .collect();
        self.answer(
            action,
            &format!("{}. {rest}.", why.trim_end_matches('.')),
            severity,
        )
    }

    fn answer(&self, action: AdmissionAction, reason: &str, severity: Severity) -> Judged {
        Judged {
            answer: GateAnswer {
                action,
                reason: cut(reason, MAX_REASON),
                severity,
                enforced: self.enforced,
                rules: Vec::new(),
            },
            policy: self.policy.revision().to_owned(),
            signed_by: None,
            unscanned: None,
            findings: Vec::new(),
        }
    }
}

/// The worker's report, if it is one about this artifact, in its bounds.
fn read(json: &str, artifact: &GatedArtifact) -> Result<WorkerReport, Unbelieved> {
    if json.len() > WORKER_REPORT {
        return Err(Unbelieved::Size(json.len()));
    }
    let mut worker: WorkerReport =
        serde_json::from_str(json).map_err(|error| Unbelieved::Json(cut(&error.to_string(), MAX_TEXT)))?;
    let report = &mut worker.report;
    if report.digest != artifact.digest {
        return Err(Unbelieved::Digest(cut(&report.digest, MAX_RULE)));
    }
    if report.kind.admitted_as() != Some(artifact.kind) {
        return Err(Unbelieved::Kind(report.kind.as_str()));
    }
    tidy(report).map_err(Unbelieved::Form)?;
    Ok(worker)
}
