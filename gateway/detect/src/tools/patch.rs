//! Which files a patch changes.

/// Headings of the patch format that Codex and its kin use; the path follows.
const HEADINGS: [&str; 4] = [
    "*** Add File: ",
    "*** Update File: ",
    "*** Delete File: ",
    "*** Move to: ",
];
/// Most paths that are taken from one patch, so that a made-up patch of a million headings stays cheap to judge.
const MAX_PATHS: usize = 4096;

/// The paths that a patch adds, changes, deletes or moves to, in order and each once: of the `*** Begin Patch` form and of
/// unified diffs.
pub fn paths_of_patch(text: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut before = "";
    for line in text.lines() {
        let line = line.trim_end_matches('\r');
        let path = HEADINGS
            .iter()
            .find_map(|heading| line.trim_start().strip_prefix(heading))
            .or_else(|| diffed(before, line));
        before = line;
        if let Some(path) = path.map(str::trim).filter(|path| !path.is_empty())
            && seen.insert(path)
        {
            paths.push(path.to_owned());
            if paths.len() == MAX_PATHS {
                break;
            }
        }
    }
    paths
}

/// The path of a unified diff's heading: `--- a/x` and `+++ b/x` come as a pair, so that a removed line which starts with
/// two hyphens is not taken for one.
fn diffed<'t>(before: &'t str, line: &'t str) -> Option<&'t str> {
    let new = line.strip_prefix("+++ ")?;
    let old = before.strip_prefix("--- ")?;
    let path = if new.starts_with("/dev/null") { old } else { new };
    let path = path.split('\t').next().unwrap_or(path);
    Some(
        path.strip_prefix("a/")
            .or_else(|| path.strip_prefix("b/"))
            .unwrap_or(path),
    )
}
