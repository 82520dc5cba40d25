//! What is kept of bundles in the state folder: the last good one and the one before, as they were signed, and the highest revision.
//!
//! Only the gateway's user may write there. The signed files are verified again whenever they are read; the highest revision is also
//! what the ledger's records of acceptance say, so that taking the file away lets nobody go back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use defenseclaw_artifact::MAX_BUNDLE;
use defenseclaw_audit::{LedgerError, Query, Reader};
use defenseclaw_model::record::RecordBody;
use serde::{Deserialize, Serialize};

use super::BundleFault;
use crate::files;

/// The files' names in the state folder.
const STATE: &str = "bundle-state.json";
const CURRENT: &str = "bundle-current";
const PREVIOUS: &str = "bundle-previous";
/// The state's own form.
const VERSION: u32 = 1;
/// Largest state file (bytes): groups are one or two.
const MAX_STATE: u64 = 64 << 10;
/// Records of bundles that are looked at at start: acceptances of years.
const RECORDS: usize = 1000;

/// What is remembered beside the signed files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    version: u32,
    /// The highest revision that was accepted, by group, and which bundle that was.
    pub(super) highest: BTreeMap<String, Highest>,
    /// What the server calls the one in force.
    pub(super) etag: Option<String>,
    /// The bundle that an operator went back from: it is not taken again.
    pub(super) set_aside: Option<String>,
}

/// The highest revision of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Highest {
    pub(super) revision: u64,
    pub(super) content: String,
}

impl Remembered {
    /// Notes a bundle that was accepted.
    pub(super) fn accepted(&mut self, group: &str, revision: u64, content: &str) {
        let highest = self.highest.entry(group.to_owned()).or_default();
        if revision >= highest.revision {
            *highest = Highest {
                revision,
                content: content.to_owned(),
            };
        }
    }
}

/// The files.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// What is remembered. A file that cannot be understood is an error: without it an old bundle would look new.
    pub(super) fn remembered(&self) -> Result<Remembered, BundleFault> {
        let path = self.folder.join(STATE);
        let Some(bytes) = read(&path, MAX_STATE)? else {
            return Ok(Remembered::default());
        };
        let remembered: Remembered =
            serde_json::from_slice(&bytes).map_err(|error| fault("understand", &path, &error))?;
        if remembered.version != VERSION {
            let why = format!("version {} is not known", remembered.version);
            return Err(fault("understand", &path, &why));
        }
        Ok(remembered)
    }

    pub(super) fn remember(&self, remembered: &Remembered) -> Result<(), BundleFault> {
        let remembered = Remembered {
            version: VERSION,
            ..remembered.clone()
        };
        let path = self.folder.join(STATE);
        let text = serde_json::to_vec_pretty(&remembered).map_err(|error| fault("write", &path, &error))?;
        write(&path, &text)
    }

    /// The last good bundle file.
    pub(super) fn current(&self) -> Result<Option<Vec<u8>>, BundleFault> {
        read(&self.folder.join(CURRENT), MAX_BUNDLE)
    }

    /// The one before.
    pub(super) fn previous(&self) -> Result<Option<Vec<u8>>, BundleFault> {
        read(&self.folder.join(PREVIOUS), MAX_BUNDLE)
    }

    /// Puts a bundle in the place of the last good one, which becomes the one before.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), BundleFault> {
        if let Some(last) = self.current()? {
            write(&self.folder.join(PREVIOUS), &last)?;
        }
        self.renew(bytes)
    }

    /// The same, but the one before stays what it is.
    pub(super) fn renew(&self, bytes: &[u8]) -> Result<(), BundleFault> {
        write(&self.folder.join(CURRENT), bytes)
    }

    /// The one before is the last good one again.
    pub(super) fn go_back(&self) -> Result<(), BundleFault> {
        let (from, to) = (self.folder.join(PREVIOUS), self.folder.join(CURRENT));
        fs::rename(&from, &to)
            .and_then(|()| files::sync(&self.folder))
            .map_err(|error| fault("replace", &to, &error))
    }
}

/// What the ledger says was accepted: group, revision, content.
pub(super) fn accepted_before(ledger: &Path) -> Result<Vec<(String, u64, String)>, LedgerError> {
    let query = Query {
        kinds: vec!["bundle".to_owned()],
        newest: Some(RECORDS),
        ..Query::default()
    };
    let records = Reader::open(ledger)?.query(&query)?.into_iter();
    Ok(records
        .filter_map(|record| match record.draft.body {
            RecordBody::Bundle {
                state,
                group,
                revision: Some(revision),
                content,
                ..
            } if state == "accepted" || state == "renewed" => Some((group, revision, content)),
            _ => None,
        })
        .collect())
}

fn fault(doing: &'static str, path: &Path, why: &dyn std::fmt::Display) -> BundleFault {
    BundleFault::State {
        doing,
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, BundleFault> {
    let failed = |error: std::io::Error| fault("read", path, &error);
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(fault("read", path, &format!("it has more than {most} bytes")));
    }
    Ok(Some(bytes))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BundleFault> {
    files::replace(path, bytes).map_err(|error| fault("write", path, &error))
}
