//! Finding secret files in the project by their names.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::glob;

/// Most folders that are looked into for one launch. A launch is to take milliseconds; a project with more of them near its top
/// is reported, not searched further.
pub const MAX_FOLDERS: usize = 1_024;
/// How many folders below the project is looked for.
const MAX_DEPTH: usize = 3;
/// Most files that are closed by name. Each costs a mount.
const MAX_FOUND: usize = 256;
/// Folders in which others' files lie by the thousand.
const SKIPPED: [&str; 12] = [
    "node_modules",
    "target",
    ".git",
    "dist",
    "build",
    ".venv",
    "venv",
    "__pycache__",
    ".cache",
    "vendor",
    ".tox",
    ".next",
];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) paths: Vec<PathBuf>,
    /// Whether a bound was hit.
    pub(super) cut: bool,
}

/// The files of `project` that `closed` means by `{project}/**/NAME` and `open` does not.
pub(super) fn closed(project: &Path, closed: &[String], open: &[String]) -> Found {
    let names = |patterns: &[String]| -> Vec<OsString> {
        patterns
            .iter()
            .filter_map(|pattern| pattern.strip_prefix("{project}/**/"))
            .map(OsString::from)
            .collect()
    };
    let (closed, open) = (names(closed), names(open));
    let mut found = Found::default();
    if closed.is_empty() {
        return found;
    }
    let mut waiting = VecDeque::from([(project.to_owned(), 0)]);
    let mut looked = 0;
    while let Some((folder, depth)) = waiting.pop_front() {
        looked += 1;
        if looked > MAX_FOLDERS || found.paths.len() >= MAX_FOUND {
            found.cut = true;
            break;
        }
        // What this user cannot list, its programs cannot either.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let means = |patterns: &[OsString]| patterns.iter().any(|pattern| glob::matches(pattern, &name));
            if means(&closed) && !means(&open) {
                // A link's target is closed, wherever it lies; the link itself may go.
                found.paths.extend(fs::canonicalize(entry.path()).ok());
            } else if is_folder && depth < MAX_DEPTH && !SKIPPED.iter().any(|skipped| name == *skipped) {
                waiting.push_back((entry.path(), depth + 1));
            }
        }
    }
    found
}
