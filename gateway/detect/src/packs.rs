//! Packs of rules: those that this program was built with, and an operator's.

use std::path::Path;

use defenseclaw_yaml::Text;
use flate2::read::DeflateDecoder;

use crate::detector::PackError;
pub(crate) use crate::revision::revision_of;

/// A pack's file name and text.
pub(crate) type Pack<'p> = (&'p str, Text<'p>);

/// What `build.rs` made of `policies/rules/`, in constants of its own: one for each pack, and the packs of each kind.
pub(crate) mod embedded {
    use super::{Pack, Text};

    include!(concat!(env!("OUT_DIR"), "/packs.rs"));

    /// All of them as they stand in their files, as a list of names and texts.
    pub(super) const WHOLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packs.deflate"));
}

/// Largest pack that is read (bytes): some thousands of rules.
const MAX_PACK: u64 = 4 << 20;

/// Most packs in one folder.
const MAX_PACKS: usize = 64;

/// Packs by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Kinds<'p> {
    pub(crate) facts: Vec<Pack<'p>>,
    pub(crate) texts: Vec<Pack<'p>>,
    pub(crate) artifacts: Vec<Pack<'p>>,
}

impl<'p> Kinds<'p> {
    /// Tells packs apart, which are YAML.
    pub(crate) fn of(packs: &'p [(String, String)]) -> Result<Self, PackError> {
        let mut kinds = Self::default();
        let mut packs: Vec<&(String, String)> = packs.iter().collect();
        packs.sort_unstable();
        for (file, text) in packs {
            let pack = (file.as_str(), Text::Yaml(text));
            match kind_of(text) {
                Some("facts") => kinds.facts.push(pack),
                Some("text") => kinds.texts.push(pack),
                Some("artifact") => kinds.artifacts.push(pack),
                other => {
                    return Err(PackError::Invalid {
                        file: file.clone(),
                        why: match other {
                            Some(kind) => format!("its kind is {kind:?}; use facts, text or artifact"),
                            None => "it does not say its kind: write `kind: facts`, `kind: text` or `kind: artifact` on a line of its own".to_owned(),
                        },
                    });
                }
            }
        }
        Ok(kinds)
    }
}

/// The packs that this program was built with, with the tests beside their rules.
pub(crate) fn whole() -> Result<Vec<(String, String)>, PackError> {
    serde_json::from_reader(DeflateDecoder::new(embedded::WHOLE)).map_err(|error| PackError::Read {
        file: "that this program was built with".to_owned(),
        why: error.to_string(),
    })
}

/// The packs in a folder.
pub(crate) fn read(dir: &Path) -> Result<Vec<(String, String)>, PackError> {
    let refuse = |file: &Path, why: String| PackError::Read {
        file: file.display().to_string(),
        why,
    };
    let entries = std::fs::read_dir(dir).map_err(|error| refuse(dir, error.to_string()))?;
    let mut packs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| refuse(dir, error.to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let size = std::fs::metadata(&path)
            .map_err(|error| refuse(&path, error.to_string()))?
            .len();
        if size > MAX_PACK || packs.len() == MAX_PACKS {
            let why = format!("a folder may hold {MAX_PACKS} packs of {MAX_PACK} bytes at most");
            return Err(refuse(&path, why));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| refuse(&path, error.to_string()))?;
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
        packs.push((file.unwrap_or_default(), text));
    }
    if packs.is_empty() {
        return Err(refuse(
            dir,
            "it holds no *.yaml; name the folder of the packs".to_owned(),
        ));
    }
    Ok(packs)
}

/// Whose a pack is, told without reading it whole: whoever it belongs to reads it with all its places.
fn kind_of(pack: &str) -> Option<&str> {
    pack.lines()
        .find_map(|line| line.strip_prefix("kind:"))
        .map(|kind| kind.split('#').next().unwrap_or_default())
        .map(|kind| kind.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::{embedded, revision_of, whole};

    #[test]
    fn the_whole_packs_are_those_that_are_carried() {
        let packs = whole().unwrap();
        assert_eq!(revision_of(&packs), embedded::REVISION);
        let carried = [embedded::FACTS, embedded::TEXTS, embedded::ARTIFACTS].concat();
        assert_eq!(packs.len(), carried.len());
        for (file, _) in carried {
            assert!(packs.iter().any(|(name, _)| name == file), "{file}");
        }
    }
}
