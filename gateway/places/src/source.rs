//! Whose settings a file is, and in which files settings lie: the table asked about one host.

use std::path::{Path, PathBuf};

use crate::{Level, Place, PlaceKind};

/// Whose settings a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The harnesses that read it, sorted.
    pub connectors: Vec<String>,
    /// The host's (managed by whoever administers it), a person's or a project's.
    pub level: Level,
    /// The home, or the project's folder; `/` for the host's.
    pub base: PathBuf,
}

/// Whose settings `file` is; `None`: the table does not know it. Below a home that is given, a person's own file is not taken for that
/// of a project.
pub fn of(places: &[Place], kind: PlaceKind, file: &Path, home: Option<&Path>) -> Option<Source> {
    [Level::System, Level::User, Level::Project]
        .into_iter()
        .find_map(|level| at(places, (kind, level), file, home))
}

fn at(places: &[Place], what: (PlaceKind, Level), file: &Path, home: Option<&Path>) -> Option<Source> {
    let level = what.1;
    let fitting: Vec<(&Place, &Path)> = places
        .iter()
        .filter(|place| (place.kind, place.level) == what)
        .filter_map(|place| {
            let base = match level {
                Level::System => Path::new("/"),
                Level::User => home?,
                Level::Project => file.ancestors().nth(place.components().len())?,
            };
            (place.artifact_of(base, file)? == file).then_some((place, base))
        })
        .collect();
    // `.cursor/mcp.json` is not the `mcp.json` of a project that is called `.cursor`.
    let longest = fitting.iter().map(|(place, _)| place.components().len()).max()?;
    let named = fitting
        .iter()
        .filter(|(place, _)| place.components().len() == longest);
    let mut connectors: Vec<String> = named.clone().map(|(place, _)| place.connector.clone()).collect();
    connectors.sort();
    connectors.dedup();
    let base = named.clone().next()?.1.to_owned();
    Some(Source {
        connectors,
        level,
        base,
    })
}

/// The files of a kind that harnesses read at a level, below `base` (for the host `/`). Places with a `*` name no file.
pub fn files(places: &[Place], kind: PlaceKind, level: Level, base: &Path) -> Vec<PathBuf> {
    let own = places
        .iter()
        .filter(|place| place.kind == kind && place.level == level);
    let plain = own.filter(|place| !place.components().iter().any(|part| part.contains('*')));
    let mut files: Vec<PathBuf> = plain
        .map(|place| base.join(place.components().join("/")))
        .collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_settings_of_whoever_reads_it_there() {
        let places = crate::embedded().unwrap();
        let home = Path::new("/home/kim");
        for (file, told) in [
            (
                "/home/kim/.claude.json",
                Some(("claude-code", Level::User, "/home/kim")),
            ),
            (
                "/home/kim/.cursor/mcp.json",
                Some(("cursor", Level::User, "/home/kim")),
            ),
            (
                "/home/kim/p/.cursor/mcp.json",
                Some(("cursor", Level::Project, "/home/kim/p")),
            ),
            (
                "/home/ana/.cursor/mcp.json",
                Some(("cursor", Level::Project, "/home/ana")),
            ),
            (
                "/srv/p/.mcp.json",
                Some(("claude-code", Level::Project, "/srv/p")),
            ),
            (
                "/srv/p/.vscode/mcp.json",
                Some(("copilot-cli", Level::Project, "/srv/p")),
            ),
            ("/srv/p/mcp.json", Some(("mcp-client", Level::Project, "/srv/p"))),
            (
                "/etc/claude-code/managed-mcp.json",
                Some(("claude-code", Level::System, "/")),
            ),
            ("/etc/codex/config.toml", Some(("codex", Level::System, "/"))),
            (
                "/home/kim/.config/Code/User/mcp.json",
                Some(("vscode", Level::User, "/home/kim")),
            ),
            ("/home/kim/other.json", None),
        ] {
            let found = of(&places, PlaceKind::Mcp, Path::new(file), Some(home));
            let told = told.map(|(connector, level, base)| Source {
                connectors: vec![connector.to_owned()],
                level,
                base: base.into(),
            });
            assert_eq!(found, told, "{file}");
        }
    }

    #[test]
    fn every_harness_that_has_servers_is_asked_for_its_files() {
        let places = crate::embedded().unwrap();
        let files = |level, base: &str| files(&places, PlaceKind::Mcp, level, Path::new(base));
        let named = |files: &[PathBuf], name: &str| files.contains(&PathBuf::from(name));
        let user = files(Level::User, "/h");
        for name in [
            ".claude.json",
            ".mcp.json",
            ".codex/config.toml",
            ".cursor/mcp.json",
            ".gemini/settings.json",
            ".copilot/mcp-config.json",
            ".codeium/windsurf/mcp_config.json",
            ".config/opencode/opencode.json",
            ".config/opencode/opencode.jsonc",
            ".openclaw/openclaw.json",
            ".hermes/config.yaml",
            ".openhands/mcp.json",
            ".openhands/config.toml",
            ".gemini/antigravity/mcp_config.json",
            ".config/Code/User/mcp.json",
            ".config/Claude/claude_desktop_config.json",
        ] {
            assert!(named(&user, &format!("/h/{name}")), "{name}");
        }
        let project = files(Level::Project, "/p");
        for name in [
            ".mcp.json",
            "mcp.json",
            ".codex/config.toml",
            ".cursor/mcp.json",
            ".gemini/settings.json",
            ".vscode/mcp.json",
            ".github/mcp.json",
            ".windsurf/mcp_config.json",
            "opencode.json",
            "opencode.jsonc",
            ".opencode/opencode.json",
        ] {
            assert!(named(&project, &format!("/p/{name}")), "{name}");
        }
        let host = files(Level::System, "/");
        for name in [
            "/etc/claude-code/managed-mcp.json",
            "/etc/codex/config.toml",
            "/etc/gemini-cli/settings.json",
        ] {
            assert!(named(&host, name), "{name}");
        }
        assert!(files(Level::System, "/").iter().all(|file| file.is_absolute()));
    }

    #[test]
    fn a_place_that_is_not_governed_says_so() {
        let places = crate::embedded().unwrap();
        let loose: Vec<&str> = places
            .iter()
            .filter(|place| !place.governed)
            .map(|place| place.connector.as_str())
            .collect();
        assert_eq!(
            loose,
            [
                "claude-code",
                "claude-desktop",
                "mcp-client",
                "vscode",
                "windsurf"
            ]
        );
    }
}
