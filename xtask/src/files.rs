//! What lies in folders, in an order that is the same on every machine.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What lies in a folder.
pub(crate) fn within(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Everything below a folder, with what it is; links are not followed. What is not `wanted` is left out with all that is below it.
pub(crate) fn tree(top: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<(PathBuf, Metadata)>> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in within(&folder)? {
            if !wanted(&path) {
                continue;
            }
            let meta = path
                .symlink_metadata()
                .with_context(|| format!("cannot look at {}", path.display()))?;
            if meta.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, meta));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// The same without the folders.
pub(crate) fn files(top: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let all = tree(top, wanted)?.into_iter();
    Ok(all
        .filter(|(_, meta)| !meta.is_dir())
        .map(|(path, _)| path)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_told_in_order_and_links_are_not_followed() {
        let top = std::env::temp_dir().join(format!("defenseclaw-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        for folder in ["b/d", "target/x"] {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        for file in ["c", "a", "b/d/e", "target/x/f"] {
            fs::write(top.join(file), "1234").unwrap();
        }
        std::os::unix::fs::symlink(".", top.join("b/link")).unwrap();
        let wanted = |path: &Path| path != top.join("target");
        let named = |names: &[&str]| names.iter().map(|name| top.join(name)).collect::<Vec<_>>();
        let all = tree(&top, wanted).unwrap();
        let paths: Vec<PathBuf> = all.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, named(&["a", "b", "b/d", "b/d/e", "b/link", "c"]));
        assert_eq!((all[0].1.len(), all[4].1.is_symlink()), (4, true));
        assert_eq!(
            files(&top, wanted).unwrap(),
            named(&["a", "b/d/e", "b/link", "c"])
        );
        assert_eq!(within(&top).unwrap(), named(&["a", "b", "c", "target"]));
        assert!(within(&top.join("none")).is_err());
        fs::remove_dir_all(&top).unwrap();
    }
}
