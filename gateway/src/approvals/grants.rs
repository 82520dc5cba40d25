//! Approvals that hold for more than one call.
//!
//! Those of a session are forgotten with it. Those for a folder are kept in the state folder, in a file that only the
//! gateway's user may read or write: whoever can write it can approve.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use defenseclaw_model::api::Scope;
use defenseclaw_model::ids::SessionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use crate::files;

/// How long a grant for a folder holds: long enough for a piece of work, short enough that nobody forgets it for good.
pub const ALWAYS_HERE_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;
/// Most grants that are kept, of all sessions and folders; the oldest makes room. People give a few a day.
const MAX_GRANTS: usize = 4_096;
/// Largest file that is read (bytes): [`MAX_GRANTS`] of them with long paths.
const MAX_FILE: u64 = 16 << 20;
/// The file's own form.
const VERSION: u32 = 1;

/// An approval that holds for more than one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its id: that of the approval that it came from.
    pub id: String,
    /// How far it holds.
    pub scope: Scope,
    /// The session in which it was given.
    pub session: SessionId,
    /// The user who owns that session: nobody else's calls are covered.
    pub owner: u32,
    /// Which call.
    pub fingerprint: Fingerprint,
    /// In which folder.
    pub cwd: Option<String>,
    /// For a person: the tool and what the call was about, masked.
    pub summary: String,
    /// The rule that had objected.
    pub rule: String,
    /// Who gave it.
    pub by_uid: u32,
    /// When, ns since the Unix epoch.
    pub given_ns: u64,
    /// Until when it holds, ns since the Unix epoch.
    pub until_ns: u64,
}

/// Why grants cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// The file cannot be used.
    #[error("cannot {doing} the approvals that hold in {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else could have written it.
    #[error(
        "the approvals that hold in {} are not taken: {why}. See who changed the file, then remove it, or give it back to the \
         gateway's user with mode 0600",
        path.display()
    )]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be understood.
    #[error("the approvals that hold in {} cannot be read: {why}. Remove the file; they must be given again", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    grants: Vec<Grant>,
}

/// The grants in force.
#[derive(Debug)]
pub struct Grants {
    file: PathBuf,
    grants: Vec<Grant>,
}

impl Grants {
    /// Reads the file, if there is one.
    pub fn open(file: &Path, own_uid: u32) -> Result<Self, GrantsError> {
        let grants = read(file, own_uid)?;
        Ok(Self {
            file: file.to_owned(),
            grants,
        })
    }

    /// None, and nothing is read; what is given is still kept.
    pub fn none(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            grants: Vec::new(),
        }
    }

    /// The grant that covers such a call, if one does.
    pub fn matching(
        &self,
        session: &SessionId,
        owner: u32,
        fingerprint: &Fingerprint,
        cwd: Option<&str>,
        now_ns: u64,
    ) -> Option<&Grant> {
        self.grants.iter().find(|grant| {
            let here = match grant.scope {
                Scope::Once => false,
                Scope::Session => grant.session == *session,
                // A folder that is not known is no folder that anybody allowed.
                Scope::AlwaysHere => cwd.is_some() && grant.session.connector() == session.connector(),
            };
            here && grant.owner == owner
                && grant.cwd.as_deref() == cwd
                && grant.fingerprint == *fingerprint
                && now_ns < grant.until_ns
        })
    }

    /// Adds a grant. One that outlives its session is on disk when this returns.
    pub fn add(&mut self, grant: Grant, now_ns: u64) -> Result<(), GrantsError> {
        let room = |grants: &mut Vec<Grant>| {
            grants.retain(|kept| now_ns < kept.until_ns);
            let over = (grants.len() + 1).saturating_sub(MAX_GRANTS);
            grants.drain(..over);
        };
        if grant.scope == Scope::AlwaysHere {
            // In force only once it is kept.
            let mut grants = self.grants.clone();
            room(&mut grants);
            grants.push(grant);
            write(&self.file, &grants)?;
            self.grants = grants;
        } else {
            room(&mut self.grants);
            self.grants.push(grant);
        }
        Ok(())
    }

    /// Takes a grant back. `None`: there is none of that id.
    pub fn revoke(&mut self, id: &str) -> Result<Option<Grant>, GrantsError> {
        let Some(at) = self.grants.iter().position(|grant| grant.id == id) else {
            return Ok(None);
        };
        let mut grants = self.grants.clone();
        let grant = grants.remove(at);
        if grant.scope == Scope::AlwaysHere {
            write(&self.file, &grants)?;
        }
        self.grants = grants;
        Ok(Some(grant))
    }

    /// Forgets what held in a session that has ended.
    pub fn session_ended(&mut self, session: &SessionId) {
        self.grants
            .retain(|grant| grant.scope == Scope::AlwaysHere || grant.session != *session);
    }

    /// Those that hold, the oldest first.
    pub fn list(&self, now_ns: u64) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| now_ns < grant.until_ns)
    }
}

fn read(path: &Path, own_uid: u32) -> Result<Vec<Grant>, GrantsError> {
    let failed = |source| GrantsError::Io {
        path: path.to_owned(),
        doing: "read",
        source,
    };
    let untrusted = |why: String| GrantsError::Untrusted {
        path: path.to_owned(),
        why,
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(untrusted("it is a link".into()));
        }
        Err(error) => return Err(failed(error)),
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(untrusted("it is no regular file".into()));
    }
    if meta.uid() != own_uid {
        return Err(untrusted(format!("it belongs to uid {}", meta.uid())));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(untrusted(format!(
            "others may use it (mode {:04o})",
            meta.mode() & 0o7777
        )));
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let invalid = |why: String| GrantsError::Invalid {
        path: path.to_owned(),
        why,
    };
    if text.len() as u64 > MAX_FILE {
        return Err(invalid(format!("it has more than {MAX_FILE} bytes")));
    }
    let stored: Stored = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    if stored.version != VERSION {
        return Err(invalid(format!(
            "it has version {}, not {VERSION}",
            stored.version
        )));
    }
    // A grant of another scope has no business in the file, and a call of no folder cannot be meant.
    let mut grants = stored.grants;
    grants.retain(|grant| grant.scope == Scope::AlwaysHere && grant.cwd.is_some());
    grants.truncate(MAX_GRANTS);
    Ok(grants)
}

/// Replaces the file in one step, so that a crash leaves the old one or the new one.
fn write(path: &Path, grants: &[Grant]) -> Result<(), GrantsError> {
    let failed = |source| GrantsError::Io {
        path: path.to_owned(),
        doing: "keep",
        source,
    };
    let stored = Stored {
        version: VERSION,
        grants: grants
            .iter()
            .filter(|grant| grant.scope == Scope::AlwaysHere)
            .cloned()
            .collect(),
    };
    let text = serde_json::to_vec(&stored).map_err(|error| failed(error.into()))?;
    files::replace(path, &text).map_err(failed)
}
