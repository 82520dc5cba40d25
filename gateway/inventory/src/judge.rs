//! What the scanner and the admission policy say of what was found, offline.

use std::path::Path;

use defenseclaw_artifact::{Identity, signature_path, verify};
use defenseclaw_detect::scan::Scanner;
use defenseclaw_detect::scan::artifact::{self, Artifact};
use defenseclaw_model::admission::{AdmissionInput, ArtifactKind, ScannerVerdict, Trust};
use defenseclaw_model::scan::{ScanFinding, ScanKind, ScanReport, ScanVerdict};
use defenseclaw_policy::Policy;
use serde_json::Value;

use crate::item::{AdmissionSource, AdmissionState, Item, ScanSummary, Trouble};

/// Rules that find and a policy that admits.
#[derive(Debug)]
pub struct Judge {
    scanner: Scanner,
    policy: Policy,
}

/// As what an item lies there, for the gate: its own name may be one that it claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiesAs<'a> {
    /// What it is admitted as.
    pub(crate) kind: ArtifactKind,
    /// What its place calls it.
    pub(crate) name: &'a str,
    /// Where its place says that it comes from.
    pub(crate) origin: Option<&'a str>,
}

impl Judge {
    /// With this scanner and this policy.
    pub fn new(scanner: Scanner, policy: Policy) -> Self {
        Self { scanner, policy }
    }

    /// The revision of rules and policy.
    pub fn revision(&self) -> &str {
        self.policy.revision()
    }

    /// Scans files that were read.
    pub(crate) fn scan(&self, kind: ScanKind, artifact: &Artifact, path: &str, name: &str) -> ScanReport {
        self.scanner.scan_read(kind, artifact, path, name)
    }

    /// Scans the definition of one server.
    pub(crate) fn scan_server(&self, definition: &Value, path: &str, name: &str) -> Vec<ScanFinding> {
        let file = ("server.json".to_owned(), definition.to_string().into_bytes());
        let artifact = artifact::from_memory([file]);
        let mut report = self.scanner.scan_read(ScanKind::Mcp, &artifact, path, name);
        for finding in &mut report.findings {
            // The file and its lines are this program's own writing.
            finding.file = String::new();
            finding.line = 0;
        }
        report.findings
    }

    /// What is kept of findings.
    pub(crate) fn summary(&self, findings: &[ScanFinding]) -> ScanSummary {
        ScanSummary::of(findings, self.scanner.revision())
    }

    /// Whether an item may be used, by all findings of its scan. `digest` is the one that lists name.
    pub(crate) fn admit(
        &self,
        (item, lies): (&Item, &LiesAs<'_>),
        findings: &[ScanFinding],
        digest: Option<String>,
        now_ns: u64,
    ) -> Result<AdmissionState, Trouble> {
        let signed_by = self.signer(item, lies);
        let verdict = ScanVerdict::of(findings);
        let input = AdmissionInput {
            kind: lies.kind,
            name: lies.name.to_owned(),
            version: item.version.clone(),
            scanner_verdict: ScannerVerdict {
                severity: verdict.severity,
                // A finding is texts and numbers: it always has a form as JSON.
                findings: findings
                    .iter()
                    .filter_map(|finding| serde_json::to_value(finding).ok())
                    .collect(),
                confidence: f64::from(verdict.confidence),
            },
            trust: Trust {
                signed_by: signed_by.clone(),
                origin: lies.origin.map(str::to_owned),
            },
            digest,
            now_ns: Some(now_ns),
        };
        let admission = self.policy.admit_claiming(&input, &item.name).map_err(|error| {
            Trouble::new(
                item.path.clone(),
                "policy",
                format!("The policy did not answer, which blocks: {error}"),
            )
        })?;
        Ok(AdmissionState {
            action: admission.action,
            reason: crate::tidy::command(&admission.reason),
            source: AdmissionSource::Policy,
            policy: admission.policy,
            signed_by,
        })
    }

    /// Whose signature over the artifact holds. Most artifacts have none, so that the file is looked for first.
    fn signer(&self, item: &Item, lies: &LiesAs<'_>) -> Option<String> {
        let path = Path::new(&item.path);
        if item.part_of.is_some() || !signature_path(path).is_file() {
            return None;
        }
        let identity = Identity {
            kind: lies.kind,
            name: lies.name.to_owned(),
            version: item.version.clone(),
        };
        let verified = verify(path, &identity, self.policy.trusted_keys(), None).ok()?;
        Some(verified.signer)
    }
}
