//! Where each harness keeps what it can be extended by: skills, plugins, settings of MCP servers, memory, hooks. And how its settings say
//! which MCP servers it has.
//!
//! | Module | Holds |
//! |---|---|
//! | [`names`] | what artifacts are called, by their place and by what they say of themselves |
//! | [`servers`] | the MCP servers that settings name, in the words of every harness |
//! | [`source`] | whose settings a file is, and which files a kind of settings lies in |
//! | [`text`] | settings as values: JSON with comments, TOML, YAML |
//!
//! The table is data, `policies/places.yaml`. No I/O happens here.

pub mod names;
pub mod servers;
pub mod source;
pub mod text;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use defenseclaw_model::admission::ArtifactKind;
use serde::Deserialize;

/// The table that this program was built with: file name and YAML.
const EMBEDDED: (&str, &str) = ("places.yaml", include_str!("../../../policies/places.yaml"));

/// The version of the table's format that this program reads.
const VERSION: u32 = 1;

/// Most components of a pattern with `*`: each is one level of folders that is listed.
const MAX_DEPTH: usize = 12;

/// What lies in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// Folders with `SKILL.md`.
    Skill,
    /// Extensions: commands, agents, skills, hooks and servers in one folder.
    Plugin,
    /// A settings file that names MCP servers, among other things perhaps.
    Mcp,
    /// Documents that are instructions when a person or the model calls them: commands, agents, prompts, rules.
    Prompt,
    /// Files that are read into every session: `CLAUDE.md`, `AGENTS.md`.
    Memory,
    /// A settings file that names hooks.
    Hooks,
    /// A settings file that names the model and its provider.
    Model,
}

impl PlaceKind {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skill => "skill",
            Self::Plugin => "plugin",
            Self::Mcp => "mcp",
            Self::Prompt => "prompt",
            Self::Memory => "memory",
            Self::Hooks => "hooks",
            Self::Model => "model",
        }
    }

    /// What the install gate admits it as; `None`: it is inventory only.
    pub fn gated_as(self) -> Option<ArtifactKind> {
        match self {
            // A command or an agent is a skill in one file: a document that a model follows.
            Self::Skill | Self::Prompt => Some(ArtifactKind::Skill),
            Self::Plugin => Some(ArtifactKind::Plugin),
            Self::Mcp => Some(ArtifactKind::Mcp),
            Self::Memory | Self::Hooks | Self::Model => None,
        }
    }
}

/// Whose a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The host's: an absolute path.
    System,
    /// A person's: below the home, written `~/…`.
    User,
    /// A project's: below its folder, written without a leading slash.
    Project,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The connector's name.
    pub connector: String,
    /// What lies there.
    pub kind: PlaceKind,
    /// Whose it is.
    pub level: Level,
    /// Whether the install gate looks after it, and writing there is an install. Settings of programs that no connector is for are
    /// read where somebody asks about them, and held for nobody.
    pub governed: bool,
    /// The pattern behind `~/`, `/` or nothing: components, of which some are, or hold, a `*`.
    components: Vec<String>,
}

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// It is no such table.
    #[error("{file}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// Why, and where.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    version: u32,
    connectors: BTreeMap<String, Vec<Line>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: PlaceKind,
    path: String,
    #[serde(default = "governed")]
    governed: bool,
}

fn governed() -> bool {
    true
}

/// The table that this program was built with.
pub fn embedded() -> Result<Vec<Place>, PlacesError> {
    load(EMBEDDED.0, EMBEDDED.1)
}

/// Reads a table. `file` is named in errors.
pub fn load(file: &str, yaml: &str) -> Result<Vec<Place>, PlacesError> {
    let invalid = |message: String| PlacesError::Invalid {
        file: file.to_owned(),
        message,
    };
    let table: Table = defenseclaw_yaml::from_str(yaml).map_err(|error| invalid(error.to_string()))?;
    if table.version != VERSION {
        return Err(invalid(format!(
            "version {} of the table; this program reads version {VERSION}",
            table.version
        )));
    }
    let mut places = Vec::new();
    for (connector, lines) in table.connectors {
        for line in lines {
            let mut place = Place::parse(&connector, line.kind, &line.path).map_err(&invalid)?;
            place.governed = line.governed;
            places.push(place);
        }
    }
    Ok(places)
}

impl Place {
    fn parse(connector: &str, kind: PlaceKind, path: &str) -> Result<Self, String> {
        let (level, rest) = match (path.strip_prefix("~/"), path.strip_prefix('/')) {
            (Some(rest), _) => (Level::User, rest),
            (_, Some(rest)) => (Level::System, rest),
            _ => (Level::Project, path),
        };
        let components: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let odd = |part: &String| part.is_empty() || part == "." || part == ".." || part == "**";
        if components.iter().any(odd) || components.len() > MAX_DEPTH {
            return Err(format!(
                "{connector}: {path:?} is no pattern: write `~/x/*`, `/x/*` or `x/*`, at most {MAX_DEPTH} components"
            ));
        }
        Ok(Self {
            connector: connector.to_owned(),
            kind,
            level,
            governed: true,
            components,
        })
    }

    /// The pattern's components below its base (`/`, a home, a project).
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// The deepest folder below `base` that the pattern names without a `*`, and the components behind it. Whatever the pattern
    /// names lies below. For a pattern without `*` it is the folder that holds the file.
    pub fn root(&self, base: &Path) -> (PathBuf, &[String]) {
        let last = self.components.len().saturating_sub(1);
        let star = self.components.iter().position(|part| part.contains('*'));
        let plain = star.unwrap_or(last).min(last);
        let root = self.components[..plain]
            .iter()
            .fold(base.to_owned(), |path, part| path.join(part));
        (root, &self.components[plain..])
    }

    /// The artifact that `path` is, or lies in: `path` below `base` cut to the pattern's length, if it fits the pattern.
    pub fn artifact_of(&self, base: &Path, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(base).ok()?;
        let mut artifact = base.to_owned();
        let mut parts = below.components();
        for pattern in &self.components {
            let Some(Component::Normal(part)) = parts.next() else {
                return None;
            };
            if !fits(pattern, &part.to_string_lossy()) {
                return None;
            }
            artifact.push(part);
        }
        Some(artifact)
    }
}

/// Whether a name fits a pattern of one component, in which `*` stands for any text. Linear: only the last `*` is gone back to.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while from < name.len() {
        if pattern.get(at) == Some(&b'*') {
            back = Some((at + 1, from));
            at += 1;
        } else if pattern.get(at) == Some(&name[from]) {
            at += 1;
            from += 1;
        } else if let Some((behind, tried)) = back {
            back = Some((behind, tried + 1));
            at = behind;
            from = tried + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_is_valid_and_names_every_kind() {
        let places = embedded().unwrap();
        for kind in [
            PlaceKind::Skill,
            PlaceKind::Plugin,
            PlaceKind::Mcp,
            PlaceKind::Prompt,
            PlaceKind::Memory,
            PlaceKind::Hooks,
            PlaceKind::Model,
        ] {
            assert!(places.iter().any(|place| place.kind == kind), "{}", kind.as_str());
        }
    }

    #[test]
    fn an_artifact_is_the_folder_that_the_pattern_names() {
        let place = Place::parse("c", PlaceKind::Skill, "~/.claude/skills/*").unwrap();
        let home = Path::new("/home/a");
        assert_eq!(
            place.artifact_of(home, Path::new("/home/a/.claude/skills/x/lib/y.py")),
            Some("/home/a/.claude/skills/x".into())
        );
        assert_eq!(place.artifact_of(home, Path::new("/home/a/.claude/skills")), None);
        assert_eq!(
            place.artifact_of(home, Path::new("/home/b/.claude/skills/x")),
            None
        );
        let (root, rest) = place.root(home);
        assert_eq!((root, rest.len()), ("/home/a/.claude/skills".into(), 1));
        let file = Place::parse("c", PlaceKind::Mcp, ".mcp.json").unwrap();
        assert_eq!(file.level, Level::Project);
        assert_eq!(file.root(Path::new("/p")).0, Path::new("/p"));
    }

    #[test]
    fn a_star_stands_for_any_text_within_a_name() {
        assert!(fits("*.md", "a.md") && !fits("*.md", "a.mdx") && fits("*", "x") && fits("a*b*c", "abbxc"));
        assert!(!fits("", "x") && fits("x*", "x"));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for bad in ["~/a/../b", "/a//b", "a/**"] {
            let error = Place::parse("codex", PlaceKind::Skill, bad).unwrap_err();
            assert!(error.contains("codex") && error.contains(bad), "{error}");
        }
        assert!(
            load("p.yaml", "version: 2\nconnectors: {}\n")
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
    }
}
