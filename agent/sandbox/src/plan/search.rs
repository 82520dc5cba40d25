//! Finding secret files in the project by their names.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
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

/// What a profile closes, whether it is there or not: it may come while the sandbox exists.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Names of files anywhere near the project's top.
    names: Vec<OsString>,
    /// Of those, names of what stays open.
    open: Vec<OsString>,
    /// Paths; `*` may stand in the last name.
    pub(super) places: Vec<PathBuf>,
}

impl Closing {
    /// What `closed` means by `{project}/**/NAME` and `open` does not. `places` are what it means otherwise.
    pub(super) fn new(closed: &[String], open: &[String], places: Vec<PathBuf>) -> Self {
        let names = |patterns: &[String]| -> Vec<OsString> {
            patterns
                .iter()
                .filter_map(|pattern| pattern.strip_prefix("{project}/**/"))
                .map(OsString::from)
                .collect()
        };
        Self {
            names: names(closed),
            open: names(open),
            places,
        }
    }

    /// Follows the links in the places' folders: what is closed there has that path for the kernel.
    pub(crate) fn canonicalise(&mut self) {
        for place in &mut self.places {
            if let (Some(folder), Some(name)) = (place.parent(), place.file_name())
                && let Ok(folder) = fs::canonicalize(folder)
            {
                *place = folder.join(name);
            }
        }
    }

    fn names(&self, name: &OsStr) -> bool {
        let means = |patterns: &[OsString]| patterns.iter().any(|pattern| glob::matches(pattern, name));
        means(&self.names) && !means(&self.open)
    }

    /// Whether `path` is one that is closed, in a project at `project`.
    pub(super) fn means(&self, path: &Path, project: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return false;
        };
        let placed = |place: &PathBuf| {
            place.parent() == Some(folder)
                && place
                    .file_name()
                    .is_some_and(|pattern| glob::matches(pattern, name))
        };
        searched(folder, project) && self.names(name) || self.places.iter().any(placed)
    }
}

/// Whether files are looked for in `folder`.
pub(crate) fn searched(folder: &Path, project: &Path) -> bool {
    let Ok(below) = folder.strip_prefix(project) else {
        return false;
    };
    let mut names = below.iter();
    names.clone().count() <= MAX_DEPTH && names.all(|name| !SKIPPED.iter().any(|skipped| name == *skipped))
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) paths: Vec<PathBuf>,
    /// What symbolic links with such names lead to.
    pub(super) targets: Vec<PathBuf>,
    /// Whether a bound was hit.
    pub(super) cut: bool,
}

/// The files of `project` that `closing` means by their names.
pub(super) fn closed(project: &Path, closing: &Closing) -> Found {
    let mut found = Found::default();
    if closing.names.is_empty() {
        return found;
    }
    let mut waiting = VecDeque::from([(project.to_owned(), 0)]);
    let mut looked = 0;
    while let Some((folder, depth)) = waiting.pop_front() {
        looked += 1;
        if looked > MAX_FOLDERS || found.paths.len() + found.targets.len() >= MAX_FOUND {
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
            if closing.names(&name) {
                // The link itself may go.
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let list = if is_link {
                    &mut found.targets
                } else {
                    &mut found.paths
                };
                list.extend(fs::canonicalize(entry.path()).ok());
            } else if is_folder && depth < MAX_DEPTH && !SKIPPED.iter().any(|skipped| name == *skipped) {
                waiting.push_back((entry.path(), depth + 1));
            }
        }
    }
    found
}
