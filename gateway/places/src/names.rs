//! What artifacts are called: by the place that they lie in, and by what they say of themselves.
//!
//! The name of its place is what whoever installs an artifact calls it, and what lists, signatures and the policy go by. What a manifest
//! says is a claim: it can only make an answer stricter, since anybody can write any name into one.

use std::path::Path;

use serde_json::Value;

use crate::{Level, Place, PlaceKind, fits};

/// Where plugins keep their manifest, relative to their folder: that of a harness before one that anything may have.
pub const MANIFESTS: &[&str] = &[
    ".claude-plugin/plugin.json",
    ".codex-plugin/plugin.json",
    ".cursor-plugin/plugin.json",
    "gemini-extension.json",
    "openclaw.plugin.json",
    "plugin.json",
    "manifest.json",
    "package.json",
];

/// Manifests of harnesses that call a plugin as the folder is called that they keep it in. Elsewhere the two differ for no reason.
const CALLED_SO: &[&str] = &[
    ".claude-plugin/plugin.json",
    ".codex-plugin/plugin.json",
    ".cursor-plugin/plugin.json",
    "gemini-extension.json",
];

/// Where a clone says that it is a marketplace.
pub const MARKETPLACE: &str = ".claude-plugin/marketplace.json";

/// The manifest among the files of a plugin: that of the folder itself; where it has none, as a packed plugin, the first one below.
pub fn manifest_of<'f>(files: impl Iterator<Item = &'f str> + Clone) -> Option<&'f str> {
    let own = MANIFESTS
        .iter()
        .find_map(|manifest| files.clone().find(|file| file == manifest));
    // A clone with plugins in it is none of them.
    if own.is_some() || files.clone().any(|file| file == MARKETPLACE) {
        return own;
    }
    MANIFESTS
        .iter()
        .find_map(|manifest| files.clone().find(|file| lies_below(manifest, file)))
}

fn lies_below(manifest: &str, file: &str) -> bool {
    let before = file.strip_suffix(manifest);
    before.is_some_and(|before| before.ends_with('/') && before.len() < 200)
}

/// The name that a manifest claims; `id` where it has no name.
pub fn claimed(manifest: &Value) -> Option<&str> {
    let text = |field: &str| manifest.get(field).and_then(Value::as_str);
    text("name").or_else(|| text("id"))
}

/// Whether a plugin whose manifest lies at `manifest` claims to be another than the one that its place calls `name`.
pub fn is_another(manifest: &str, claimed: &str, name: &str) -> bool {
    let folded = |name: &str| -> String {
        let letters = name.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    !claimed.is_empty() && CALLED_SO.contains(&manifest) && folded(claimed) != folded(name)
}

impl Place {
    /// How many components before its last one an artifact here is named by. A cache keeps copies of plugins by marketplace, plugin and
    /// version: such a plugin is called as the folder before the last, whatever its version.
    pub fn named_above(&self) -> usize {
        let end = self.components.iter().rev().map(String::as_str).take(4);
        usize::from(self.kind == PlaceKind::Plugin && end.eq(["*", "*", "*", "cache"]))
    }

    /// What an artifact here is called. `path` is its own, with nothing below it.
    pub fn name_of(&self, path: &Path) -> Option<String> {
        let named = path.ancestors().nth(self.named_above())?;
        Some(named.file_name()?.to_string_lossy().into_owned())
    }
}

/// What an origin begins with that nothing but the artifact's place says.
pub const CLAIMED: &str = "claimed:";

/// Folders in which harnesses keep plugins by the marketplace that they come from.
const BY_MARKETPLACE: &[&str] = &["cache", "installed-plugins", "marketplaces"];

/// Longest name of a marketplace that is told (bytes).
const MAX_NAME: usize = 100;

impl Place {
    /// Where an artifact here comes from, as its harness keeps it: `claimed:CONNECTOR/MARKETPLACE`. A home's folders are its user's, and so
    /// is what they say: whatever that user runs can put a plugin under any marketplace's name.
    pub fn origin_of(&self, path: &Path) -> Option<String> {
        let star = self.components.iter().position(|part| part == "*")?;
        let keeps = self.components.get(star.checked_sub(1)?)?;
        if self.kind != PlaceKind::Plugin || !BY_MARKETPLACE.contains(&keeps.as_str()) {
            return None;
        }
        let marketplace = path.ancestors().nth(self.components.len() - 1 - star)?;
        let name = marketplace.file_name()?.to_str()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (name.len() <= MAX_NAME && name.chars().all(plain))
            .then(|| format!("{CLAIMED}{}/{name}", self.connector))
    }
}

/// The place in which an artifact of that kind lies at exactly this path, below whichever home or project; of several the first.
pub fn place_at<'p>(places: &'p [Place], kind: PlaceKind, path: &Path) -> Option<&'p Place> {
    let parts: Vec<&str> = path
        .iter()
        .map(|part| part.to_str().unwrap_or_default())
        .filter(|part| *part != "/")
        .collect();
    places
        .iter()
        .filter(|place| place.kind == kind && place.governed)
        .find(|place| {
            let pattern = place.components();
            let Some(above) = parts.len().checked_sub(pattern.len()) else {
                return false;
            };
            (place.level != Level::System || (above == 0 && path.is_absolute()))
                && pattern
                    .iter()
                    .zip(&parts[above..])
                    .all(|(pattern, part)| fits(pattern, part))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugin_is_called_by_its_place_whatever_its_version() {
        let places = crate::embedded().unwrap();
        for (path, name) in [
            (
                "/home/a/.claude/plugins/cache/market/formatter/1.2.0",
                Some("formatter"),
            ),
            (
                "/home/a/.codex/plugins/cache/market/formatter/abc123",
                Some("formatter"),
            ),
            ("/home/a/.claude/plugins/marketplaces/market", Some("market")),
            ("/home/a/.gemini/extensions/charts", Some("charts")),
            ("/home/a/.copilot/installed-plugins/market/tool", Some("tool")),
            ("/home/a/.claude/plugins/cache/market/formatter/1.2.0/hooks", None),
            ("/home/a/src/formatter", None),
            ("formatter", None),
        ] {
            let path = Path::new(path);
            let found = place_at(&places, PlaceKind::Plugin, path).and_then(|place| place.name_of(path));
            assert_eq!(found.as_deref(), name, "{}", path.display());
        }
    }

    #[test]
    fn a_marketplace_is_known_by_the_folder_that_a_harness_keeps_its_plugins_in() {
        let places = crate::embedded().unwrap();
        for (path, origin) in [
            (
                "/home/a/.claude/plugins/cache/market/formatter/1.2.0",
                Some("claimed:claude-code/market"),
            ),
            (
                "/home/a/.claude/plugins/marketplaces/market",
                Some("claimed:claude-code/market"),
            ),
            (
                "/home/a/.copilot/installed-plugins/market/tool",
                Some("claimed:copilot-cli/market"),
            ),
            ("/home/a/.gemini/extensions/charts", None),
            ("/home/a/.cursor/plugins/local/x", None),
            ("/home/a/.claude/plugins/cache/a b/formatter/1.2.0", None),
        ] {
            let path = Path::new(path);
            let place = place_at(&places, PlaceKind::Plugin, path).unwrap();
            assert_eq!(place.origin_of(path).as_deref(), origin, "{}", path.display());
        }
        let skill = Path::new("/home/a/.claude/skills/x");
        let place = place_at(&places, PlaceKind::Skill, skill).unwrap();
        assert_eq!(place.origin_of(skill), None);
    }

    #[test]
    fn the_manifest_is_the_folder_s_own() {
        for (files, expected) in [
            (
                vec!["package.json", ".claude-plugin/plugin.json"],
                Some(".claude-plugin/plugin.json"),
            ),
            (
                vec!["a/.claude-plugin/plugin.json", "package.json"],
                Some("package.json"),
            ),
            (
                vec!["p/.claude-plugin/plugin.json", "README.md"],
                Some("p/.claude-plugin/plugin.json"),
            ),
            // Plugins of a marketplace's clone do not name it.
            (
                vec![".claude-plugin/marketplace.json", "p/.claude-plugin/plugin.json"],
                None,
            ),
            (vec!["xpackage.json"], None),
        ] {
            assert_eq!(manifest_of(files.iter().copied()), expected, "{files:?}");
        }
        assert_eq!(claimed(&json!({"id": "i"})), Some("i"));
        assert_eq!(claimed(&json!({"id": "i", "name": "n"})), Some("n"));
        assert_eq!(claimed(&json!({"name": 3})), None);
    }

    #[test]
    fn another_s_name_is_told_where_the_harness_uses_the_folder_s() {
        let own = ".claude-plugin/plugin.json";
        assert!(is_another(own, "security-guidance", "formatter"));
        assert!(!is_another(own, "Code Formatter", "code-formatter"));
        assert!(!is_another("package.json", "@acme/x", "formatter"));
        assert!(!is_another("gemini-extension.json", "", "charts"));
    }
}
