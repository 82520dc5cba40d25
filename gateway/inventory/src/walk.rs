//! What fits a pattern of components below a folder.

use std::path::{Path, PathBuf};

use defenseclaw_places::fits;

use crate::files::Bounds;
use crate::item::Trouble;

/// Most paths that one pattern is expanded to.
const MAX_PATHS: usize = 50_000;

/// A path that fits, and the names that stood for a `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stars: Vec<String>,
}

/// Everything that fits, sorted. Only folders with a `*` are listed; whether a path without one is there is the caller's to see.
pub(crate) fn expand(
    base: &Path,
    pattern: &[String],
    bounds: &Bounds,
    troubles: &mut Vec<Trouble>,
) -> Vec<Found> {
    let mut found = vec![Found {
        path: base.to_owned(),
        stars: Vec::new(),
    }];
    for part in pattern {
        if !part.contains('*') {
            for one in &mut found {
                one.path.push(part);
            }
            continue;
        }
        let mut next = Vec::new();
        for one in &found {
            let (names, trouble) = bounds.names(&one.path);
            troubles.extend(trouble);
            for name in names {
                let shown = name.to_string_lossy();
                // Like a shell's: a name that begins with a dot is hidden, unless the pattern says the dot.
                let hidden = shown.starts_with('.') && !part.starts_with('.');
                if hidden || !fits(part, &shown) {
                    continue;
                }
                if next.len() >= MAX_PATHS {
                    let message = format!(
                        "More than {MAX_PATHS} paths fit {}: the rest was not looked at",
                        pattern.join("/")
                    );
                    troubles.push(Trouble::new(base.display().to_string(), "limit", message));
                    return next;
                }
                let mut stars = one.stars.clone();
                stars.push(shown.into_owned());
                next.push(Found {
                    path: one.path.join(&name),
                    stars,
                });
            }
        }
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["m/p/1.0", "m/p/2.0", "m/.hidden/1", "n"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let pattern = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let mut troubles = Vec::new();
        let bounds = Bounds::default();
        let found = expand(folder.path(), &pattern("*/*/*"), &bounds, &mut troubles);
        let stars: Vec<_> = found.iter().map(|one| one.stars.join(" ")).collect();
        assert_eq!(stars, ["m p 1.0", "m p 2.0"]);
        assert_eq!(found[1].path, folder.path().join("m/p/2.0"));
        let plain = expand(folder.path(), &pattern("not/there"), &bounds, &mut troubles);
        assert_eq!(plain[0].path, folder.path().join("not/there"));
        assert_eq!(troubles, []);
    }
}
