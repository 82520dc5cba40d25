//! Worktrees: a project whose repository lies elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest `.git` file (bytes): one line with one path.
const MAX_FILE: u64 = 8 << 10;

/// The repository's folder, where the project is a worktree of one that knows it.
///
/// The `.git` file of a worktree can be written by whoever works in it, and says where the repository lies: it is believed only
/// if the repository names this worktree too, in a place that the worktree cannot write.
pub(super) fn common_folder(project: &Path) -> Option<PathBuf> {
    let file = project.join(".git");
    if !fs::symlink_metadata(&file).ok()?.is_file() {
        return None;
    }
    let own = PathBuf::from(line(&file)?.strip_prefix("gitdir:")?.trim());
    let own = fs::canonicalize(project.join(own)).ok()?;
    let back = fs::canonicalize(line(&own.join("gitdir"))?.trim()).ok()?;
    let common = fs::canonicalize(own.join(line(&own.join("commondir"))?.trim())).ok()?;
    let known = back == fs::canonicalize(&file).ok()?
        && own.starts_with(common.join("worktrees"))
        && !common.starts_with(project)
        && common.join("HEAD").is_file()
        && common.join("objects").is_dir();
    known.then_some(common)
}

fn line(file: &Path) -> Option<String> {
    let small = fs::metadata(file).ok()?.len() <= MAX_FILE;
    small.then(|| fs::read_to_string(file).ok()).flatten()
}
