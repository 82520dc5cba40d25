//! The lists that operators change at run time: one JSON file in the state folder, which only the gateway's user may write.
//!
//! What `lists.yaml` says stands beside it and is not touched. Expired entries no longer count, and go when something is changed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use defenseclaw_model::gate::{ListEntry, ListName, ListVerb};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files;

/// The file's name in the state folder.
pub const FILE: &str = "artifact-lists.json";
/// The file's own form.
const VERSION: u32 = 1;
/// Largest file that is read (bytes): every entry that there may be, with long reasons.
const MAX_FILE: u64 = 4 << 20;
/// Most entries: each is tried for every artifact, and one without a kind counts four times there.
const MAX_ENTRIES: usize = 500;
/// For how long something is allowed unless it is said (seconds).
pub const ALLOWED_S: u64 = 30 * 24 * 3600;
/// Longest time that can be said (seconds): what should stay for years belongs into lists.yaml, where it is looked at.
const MAX_S: u64 = 2 * 366 * 24 * 3600;

/// Why the lists cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ListsError {
    /// The file cannot be used.
    #[error("cannot {doing} the lists of artifacts in {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It is not what this program wrote.
    #[error("{} is not valid: {why}. Correct it, or move it away: then nothing is listed beside lists.yaml", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The change makes no sense.
    #[error("{0}")]
    Verb(String),
    /// There is no such entry.
    #[error("there is no entry {0:?}; `defenseclaw-cli gate lists` prints those that there are")]
    Unknown(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    entries: Vec<ListEntry>,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) entry: ListEntry,
    /// `added` or `removed`.
    pub(super) state: &'static str,
    /// The lists after it.
    pub(super) entries: Vec<ListEntry>,
}

/// Reads the file; nothing is listed where there is none.
pub fn load(path: &Path) -> Result<Vec<ListEntry>, ListsError> {
    let failed = |source| ListsError::Io {
        path: path.to_owned(),
        doing: "read",
        source,
    };
    let invalid = |why: String| ListsError::Invalid {
        path: path.to_owned(),
        why,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o022 != 0 {
        return Err(invalid(format!(
            "others may write it (mode {:o}); whoever can write it can admit anything",
            mode & 0o777
        )));
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(invalid(format!("it has more than {MAX_FILE} bytes")));
    }
    let stored: Stored = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    if stored.version != VERSION {
        return Err(invalid(format!("version {} is not known", stored.version)));
    }
    Ok(stored.entries)
}

/// Replaces the file.
pub(super) fn store(path: &Path, entries: &[ListEntry]) -> Result<(), ListsError> {
    let failed = |source| ListsError::Io {
        path: path.to_owned(),
        doing: "keep",
        source,
    };
    let stored = Stored {
        version: VERSION,
        entries: entries.to_vec(),
    };
    let text = serde_json::to_vec_pretty(&stored).map_err(|error| failed(error.into()))?;
    files::replace(path, &text).map_err(failed)
}

/// What a verb makes of the lists. Nothing is written.
pub(super) fn changed(
    entries: &[ListEntry],
    verb: &ListVerb,
    owner: String,
    by_uid: u32,
    now_ns: u64,
) -> Result<Change, ListsError> {
    let still = |entry: &&ListEntry| entry.expires_ns.is_none_or(|at| at > now_ns);
    let mut kept: Vec<ListEntry> = entries.iter().filter(still).cloned().collect();
    match verb {
        ListVerb::Forget { id } => {
            let at = kept.iter().position(|entry| entry.id == *id);
            let at = at.ok_or_else(|| ListsError::Unknown(id.clone()))?;
            let entry = kept.remove(at);
            Ok(Change {
                entry,
                state: "removed",
                entries: kept,
            })
        }
        ListVerb::Add {
            list,
            kind,
            name,
            digest,
            reason,
            for_s,
        } => {
            let wrong = |why: &str| Err(ListsError::Verb(why.to_owned()));
            if kept.len() >= MAX_ENTRIES {
                return wrong("the lists have 500 entries: forget some, or write patterns into lists.yaml");
            }
            if name.is_some() && kind.is_none() {
                return wrong("a name needs the kind of artifact: `--kind skill`, mcp, plugin or tool");
            }
            if for_s.is_some_and(|seconds| seconds == 0 || seconds > MAX_S) {
                return wrong("an entry ends after a second at the earliest and two years at the latest");
            }
            let for_s = for_s.or((*list == ListName::Allow).then_some(ALLOWED_S));
            let expires_ns =
                for_s.map(|seconds| now_ns.saturating_add(seconds.saturating_mul(1_000_000_000)));
            let mut entry = ListEntry {
                id: String::new(),
                list: *list,
                kind: *kind,
                name: name.clone(),
                digest: digest.clone(),
                owner,
                reason: reason.clone(),
                expires_ns,
                added_ns: now_ns,
                by_uid,
            };
            entry.id = number(&entry, &kept);
            kept.push(entry.clone());
            Ok(Change {
                entry,
                state: "added",
                entries: kept,
            })
        }
    }
}

/// `l-` and 8 hex digits that no other entry has.
fn number(entry: &ListEntry, others: &[ListEntry]) -> String {
    let text = serde_json::to_vec(entry).unwrap_or_default();
    let mut round = 0_u64;
    loop {
        let digest = Sha256::new_with_prefix(round.to_le_bytes())
            .chain_update(&text)
            .finalize();
        let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let id = format!("l-{digits}");
        if !others.iter().any(|other| other.id == id) {
            return id;
        }
        round += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn add(list: ListName, name: &str, for_s: Option<u64>) -> ListVerb {
        ListVerb::Add {
            list,
            kind: Some(defenseclaw_model::admission::ArtifactKind::Skill),
            name: Some(name.to_owned()),
            digest: None,
            reason: "r".to_owned(),
            for_s,
        }
    }

    fn change(entries: &[ListEntry], verb: &ListVerb, now_ns: u64) -> Result<Change, ListsError> {
        changed(entries, verb, "user ana".to_owned(), 7, now_ns)
    }

    #[test]
    fn what_is_allowed_ends_and_what_has_ended_goes() {
        let first = change(&[], &add(ListName::Allow, "a", None), 5).unwrap();
        assert_eq!(first.entry.expires_ns, Some(5 + ALLOWED_S * 1_000_000_000));
        assert_eq!(
            (first.entry.by_uid, first.entry.owner.as_str(), first.state),
            (7, "user ana", "added")
        );
        let second = change(&first.entries, &add(ListName::Block, "b", None), 6).unwrap();
        assert_eq!((second.entry.expires_ns, second.entries.len()), (None, 2));
        assert_ne!(first.entry.id, second.entry.id);
        let later = 6 + ALLOWED_S * 1_000_000_000;
        let third = change(&second.entries, &add(ListName::Block, "c", Some(9)), later).unwrap();
        assert_eq!(third.entries.len(), 2, "the first has expired");
        let gone = change(
            &third.entries,
            &ListVerb::Forget {
                id: second.entry.id.clone(),
            },
            later,
        )
        .unwrap();
        assert_eq!(
            (gone.state, gone.entries.len(), &gone.entry),
            ("removed", 1, &second.entry)
        );
        let again = change(&gone.entries, &ListVerb::Forget { id: second.entry.id }, later);
        assert!(matches!(again, Err(ListsError::Unknown(_))));
        assert!(change(&[], &add(ListName::Allow, "a", Some(MAX_S + 1)), 5).is_err());
        let many = vec![first.entry; MAX_ENTRIES];
        assert!(change(&many, &add(ListName::Block, "b", None), 6).is_err());
    }

    #[test]
    fn the_file_is_read_as_it_was_written_and_by_nobody_else_s_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(load(&path).unwrap(), []);
        let entries = change(&[], &add(ListName::Block, "b", None), 6).unwrap().entries;
        store(&path, &entries).unwrap();
        store(&path, &entries).unwrap();
        assert_eq!(load(&path).unwrap(), entries);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("others may write"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "{}", "{\"version\": 2, \"entries\": []}"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(load(&path), Err(ListsError::Invalid { .. })), "{text}");
        }
    }
}
