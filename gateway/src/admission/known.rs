//! What was answered last about each path, and what went into quarantine: from the ledger at start, then as it comes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use defenseclaw_audit::{LedgerError, Query, Reader};
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::facts::Facts;
use defenseclaw_model::gate::{LastAdmission, ListEntry, ListName};
use defenseclaw_model::record::{Record, RecordBody};
use defenseclaw_policy::RefusedArtifact;

/// Most paths that are remembered; the one answered longest ago makes room. People have tens of skills.
const MAX_PATHS: usize = 4_096;
/// Most entries of quarantine whose fate is remembered.
const MAX_ENTRIES: usize = 4_096;
/// Records that are read at start of each kind.
const REBUILD_RECORDS: usize = 8_192;
/// Most refused artifacts that calls are compared with; each costs a comparison with every path of a call.
const MAX_REFUSED: usize = 512;

/// The states that a quarantine record can have.
pub(super) const HELD: &str = "held";

#[derive(Debug, Default)]
pub(super) struct Known {
    paths: BTreeMap<String, LastAdmission>,
    /// Whether each entry is in quarantine now.
    entries: HashMap<String, bool>,
    order: std::collections::VecDeque<String>,
    refused: Option<Arc<[RefusedArtifact]>>,
}

impl Known {
    /// From the ledger.
    pub(super) fn rebuild(ledger: &Path) -> Result<Self, LedgerError> {
        let mut known = Self::default();
        let reader = Reader::open(ledger)?;
        for kind in ["admission", "quarantine", "list_change"] {
            let query = Query {
                kinds: vec![kind.to_owned()],
                newest: Some(REBUILD_RECORDS),
                ..Query::default()
            };
            reader
                .query(&query)?
                .into_iter()
                .for_each(|record| known.replay(record));
        }
        Ok(known)
    }

    fn replay(&mut self, record: Record) {
        let time_ns = record.draft.time_ns;
        match record.draft.body {
            RecordBody::Admission {
                artifact,
                answer,
                policy,
                signed_by,
                unscanned,
                ..
            } => self.answered(LastAdmission {
                time_ns,
                artifact,
                answer,
                policy,
                signed_by,
                unscanned,
            }),
            RecordBody::Quarantine { entry, state, .. } => {
                self.moved(&entry.id, &state);
            }
            RecordBody::ListChange { entry, state, .. } if state == "added" => {
                // Only what was answered before the change.
                if let Ok(entry) = serde_json::from_value::<ListEntry>(entry) {
                    self.listed(&entry, time_ns);
                }
            }
            _ => {}
        }
    }

    /// Notes an answer.
    pub(super) fn answered(&mut self, last: LastAdmission) {
        self.refused = None;
        let path = last.artifact.path.clone();
        if self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&path) {
            let oldest = self.paths.iter().min_by_key(|(_, last)| last.time_ns);
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                self.paths.remove(&oldest);
            }
        }
        self.paths.insert(path, last);
    }

    /// Notes what became of an entry of quarantine. `false`: it was in that state already.
    pub(super) fn moved(&mut self, id: &str, state: &str) -> bool {
        let held = state == HELD;
        if self.entries.get(id) == Some(&held) {
            return false;
        }
        if !self.entries.contains_key(id) {
            if self.order.len() >= MAX_ENTRIES
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(id.to_owned());
        }
        self.entries.insert(id.to_owned(), held);
        true
    }

    /// Whether the ledger has that entry.
    pub(super) fn has_entry(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }

    /// An entry was put on the allow list: refusals of what it names no longer tell what the policy would say.
    pub(super) fn listed(&mut self, entry: &ListEntry, before_ns: u64) {
        if entry.list != ListName::Allow {
            return;
        }
        self.refused = None;
        self.paths.retain(|_, last| {
            let artifact = &last.artifact;
            let named = entry.kind.is_none_or(|kind| kind == artifact.kind)
                && entry
                    .digest
                    .as_ref()
                    .is_none_or(|digest| *digest == artifact.digest)
                && entry.name.as_ref().is_none_or(|name| like(name, &artifact.name));
            last.answer.action != AdmissionAction::Block || last.time_ns > before_ns || !named
        });
    }

    /// The last answers, by path.
    pub(super) fn list(&self) -> Vec<LastAdmission> {
        self.paths.values().cloned().collect()
    }

    /// How many paths were refused, and how many entries lie in quarantine.
    pub(super) fn counts(&self) -> (u64, u64) {
        let is_refused = |last: &&LastAdmission| last.answer.action == AdmissionAction::Block;
        let held = self.entries.values().filter(|held| **held).count();
        (self.paths.values().filter(is_refused).count() as u64, held as u64)
    }

    /// What was refused last, for calls to be compared with.
    pub(super) fn refused(&mut self) -> Arc<[RefusedArtifact]> {
        let paths = &self.paths;
        let made = self.refused.get_or_insert_with(|| {
            let refused = paths
                .values()
                .filter(|last| last.answer.action == AdmissionAction::Block);
            let mut newest: Vec<&LastAdmission> = refused.collect();
            newest.sort_by_key(|last| std::cmp::Reverse(last.time_ns));
            newest
                .into_iter()
                .take(MAX_REFUSED)
                .map(|last| RefusedArtifact {
                    kind: last.artifact.kind,
                    name: last.artifact.name.clone(),
                    path: last.artifact.path.clone(),
                    reason: last.answer.reason.clone(),
                })
                .collect()
        });
        Arc::clone(made)
    }
}

/// The refused artifacts that a call reads from or runs, as far as it says so.
pub(crate) fn used(refused: &[RefusedArtifact], facts: &Facts) -> Vec<RefusedArtifact> {
    let programs = facts.programs.iter().filter_map(|program| program.argv.first());
    let paths: Vec<&str> = facts
        .reads
        .iter()
        .map(|fact| fact.path.as_str())
        .chain(programs.map(String::as_str))
        .collect();
    let within = |artifact: &&RefusedArtifact| {
        paths.iter().any(|path| {
            let rest = path.strip_prefix(artifact.path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    refused.iter().filter(within).cloned().collect()
}

/// As in artifacts.rego: a text, or one with a `*` at its start or its end.
fn like(pattern: &str, text: &str) -> bool {
    pattern == text
        || pattern.strip_prefix('*').is_some_and(|rest| text.ends_with(rest))
        || pattern
            .strip_suffix('*')
            .is_some_and(|rest| text.starts_with(rest))
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::admission::ArtifactKind;
    use defenseclaw_model::decision::Severity;
    use defenseclaw_model::gate::{GateAnswer, GatedArtifact};

    use super::*;

    pub(super) fn last(path: &str, action: AdmissionAction, time_ns: u64) -> LastAdmission {
        LastAdmission {
            time_ns,
            artifact: GatedArtifact {
                kind: ArtifactKind::Skill,
                connector: "claude-code".to_owned(),
                name: path.rsplit('/').next().unwrap().to_owned(),
                path: path.to_owned(),
                digest: "sha256:d".to_owned(),
                uid: 1,
                files: 1,
                bytes: 1,
            },
            answer: GateAnswer {
                action,
                reason: "HIGH: x".to_owned(),
                severity: Severity::High,
                enforced: true,
                rules: Vec::new(),
            },
            policy: "p".to_owned(),
            signed_by: None,
            unscanned: None,
        }
    }

    fn allow(name: Option<&str>, digest: Option<&str>) -> ListEntry {
        ListEntry {
            id: "l-1".to_owned(),
            list: ListName::Allow,
            kind: None,
            name: name.map(str::to_owned),
            digest: digest.map(str::to_owned),
            owner: "o".to_owned(),
            reason: "r".to_owned(),
            expires_ns: Some(9),
            added_ns: 1,
            by_uid: 0,
        }
    }

    #[test]
    fn the_last_answer_counts_and_what_is_kept_is_bounded() {
        let mut known = Known::default();
        known.answered(last("/h/a", AdmissionAction::Block, 1));
        known.answered(last("/h/b", AdmissionAction::Allow, 2));
        assert_eq!(known.refused().len(), 1);
        known.answered(last("/h/a", AdmissionAction::Allow, 3));
        assert!(known.refused().is_empty());
        for number in 0..MAX_PATHS as u64 + 5 {
            known.answered(last(&format!("/n/{number}"), AdmissionAction::Block, 10 + number));
        }
        assert_eq!(
            (known.list().len(), known.counts().0),
            (MAX_PATHS, MAX_PATHS as u64)
        );
        assert_eq!(known.refused().len(), MAX_REFUSED);
        assert!(!known.paths.contains_key("/h/a"), "the oldest made room");
    }

    #[test]
    fn an_allow_entry_takes_back_earlier_refusals_of_what_it_names() {
        let mut known = Known::default();
        for (path, time_ns) in [("/h/pdf-a", 1), ("/h/pdf-b", 5), ("/h/x", 1)] {
            known.answered(last(path, AdmissionAction::Block, time_ns));
        }
        known.listed(&allow(Some("pdf-*"), None), 3);
        assert_eq!(known.refused().len(), 2, "only what was refused before");
        known.listed(
            &ListEntry {
                list: ListName::Block,
                ..allow(None, Some("sha256:d"))
            },
            9,
        );
        assert_eq!(known.refused().len(), 2);
        known.listed(&allow(None, Some("sha256:d")), 9);
        assert!(known.refused().is_empty());
    }

    #[test]
    fn an_entry_is_noted_once() {
        let mut known = Known::default();
        assert!(known.moved("q-1", HELD) && !known.moved("q-1", HELD));
        assert_eq!(known.counts().1, 1);
        assert!(known.moved("q-1", "restored") && known.has_entry("q-1"));
        assert_eq!(known.counts().1, 0);
        for number in 0..MAX_ENTRIES + 3 {
            known.moved(&format!("q-x{number}"), HELD);
        }
        assert!(!known.has_entry("q-1") && known.entries.len() == MAX_ENTRIES);
    }
}
