//! What the running gateway answered last when the install gate asked.

use std::collections::HashMap;
use std::path::Path;

use defenseclaw_inventory::item::{AdmissionSource, AdmissionState};
use defenseclaw_inventory::seams::Admissions;
use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::gate::{GateAnswer, GatedArtifact};
use serde::Deserialize;

use crate::gateway::{self, QUICK};

/// Answer of `GET /v1/artifacts`, as far as it is used.
#[derive(Debug, Default, Deserialize)]
struct Artifacts {
    artifacts: Vec<Last>,
}

#[derive(Debug, Deserialize)]
struct Last {
    artifact: GatedArtifact,
    answer: GateAnswer,
    policy: String,
    #[serde(default)]
    signed_by: Option<String>,
}

/// Answers of a gateway, by path.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<String, Last>);

impl Answers {
    /// Those of the gateway at a socket. None where there is no gateway, where it holds no gate, or where this user may not ask:
    /// the policy is asked here then, and each item says so.
    pub(super) fn ask(socket: &Path) -> Self {
        if !socket.exists() {
            return Self::default();
        }
        let asked: Result<Artifacts, _> = gateway::get(socket, "/v1/artifacts", QUICK);
        Self::of(asked.unwrap_or_default())
    }

    fn of(artifacts: Artifacts) -> Self {
        let by_path = artifacts.artifacts.into_iter();
        Self(by_path.map(|last| (last.artifact.path.clone(), last)).collect())
    }
}

impl Admissions for Answers {
    fn last(&self, kind: ArtifactKind, path: &Path, digest: &str) -> Option<AdmissionState> {
        let last = self.0.get(path.to_str()?)?;
        // An answer about other content is none about this.
        let same = last.artifact.kind == kind && last.artifact.digest == digest;
        same.then(|| AdmissionState {
            action: last.answer.action,
            reason: last.answer.reason.clone(),
            source: AdmissionSource::Gateway,
            policy: last.policy.clone(),
            signed_by: last.signed_by.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defenseclaw_model::admission::AdmissionAction;
    use serde_json::json;

    #[test]
    fn an_answer_is_about_that_content_at_that_path_alone() {
        let answers: Artifacts = serde_json::from_value(json!({"artifacts": [{
            "time_ns": 1,
            "artifact": {"kind": "skill", "connector": "codex", "name": "x", "path": "/h/x", "digest": "sha256:a", "uid": 1,
                "files": 1, "bytes": 1},
            "answer": {"action": "block", "reason": "listed", "severity": "NONE", "enforced": true, "rules": []},
            "policy": "p",
        }]}))
        .unwrap();
        let answers = Answers::of(answers);
        let last = |kind, path: &str, digest| {
            answers
                .last(kind, Path::new(path), digest)
                .map(|state| (state.action, state.source))
        };
        let known = Some((AdmissionAction::Block, AdmissionSource::Gateway));
        assert_eq!(last(ArtifactKind::Skill, "/h/x", "sha256:a"), known);
        assert_eq!(last(ArtifactKind::Skill, "/h/x", "sha256:b"), None);
        assert_eq!(last(ArtifactKind::Plugin, "/h/x", "sha256:a"), None);
        assert_eq!(last(ArtifactKind::Skill, "/h/y", "sha256:a"), None);
        assert!(Answers::ask(Path::new("/nowhere/gateway.sock")).0.is_empty());
    }
}
