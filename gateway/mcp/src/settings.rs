//! Which servers an agent's settings name, and how they are started or reached.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use defenseclaw_places::servers::{self, Transport};
use defenseclaw_places::{Level, Place, PlaceKind, PlacesError, source, text};

/// Longest command, argument, name or address (bytes): what is longer is no setting of a person.
const MAX_WORD: usize = 8 << 10;
/// Most arguments and variables of one server.
const MAX_WORDS: usize = 256;

/// One server of a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name there.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// The folder in which the setting holds; `None`: everywhere for that user.
    pub scope: Option<PathBuf>,
    /// How it is started or reached.
    pub reach: Reach,
}

/// How a server is started or reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A program that speaks on its standard streams.
    Stdio {
        /// Program and arguments.
        words: Vec<String>,
        /// The names of the variables that it is given. Their values stay where they are.
        env: Vec<String>,
        /// Where it is started.
        folder: Option<PathBuf>,
    },
    /// An address.
    Http {
        /// Which.
        url: String,
        /// The names of the headers that are sent along.
        headers: Vec<String>,
    },
    /// Neither can be read out of the settings.
    Unclear(String),
}

/// Why a settings file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file itself.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its text.
    #[error("{} is not understood: {why}. Name a file with mcpServers: JSON, TOML or YAML", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Where, and why.
        why: String,
    },
    /// The table of places is broken.
    #[error("the table of places: {0}")]
    Places(#[from] PlacesError),
}

/// The settings files that exist of the known agent products: the user's, the project's and the host's.
///
/// # Errors
/// When the table of places is broken.
pub fn usual(home: Option<&Path>, project: Option<&Path>) -> Result<Vec<PathBuf>, SettingsError> {
    let places = defenseclaw_places::embedded()?;
    let bases = [
        (Level::User, home),
        (Level::Project, project),
        (Level::System, Some(Path::new("/"))),
    ];
    let bases = bases.into_iter().filter_map(|(level, base)| Some((level, base?)));
    let mut files: Vec<PathBuf> = bases
        .flat_map(|(level, base)| there(&places, level, base))
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// The settings files at `path`: itself, or those that a project's folder holds.
///
/// # Errors
/// When the table of places is broken.
pub fn at(path: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    if path.is_dir() {
        Ok(there(&defenseclaw_places::embedded()?, Level::Project, path))
    } else {
        Ok(vec![path.to_owned()])
    }
}

fn there(places: &[Place], level: Level, base: &Path) -> Vec<PathBuf> {
    let mut files = source::files(places, PlaceKind::Mcp, level, base);
    files.retain(|file| file.is_file());
    files
}

/// The servers that `file` names. `home` tells settings of a user from those of a project.
///
/// # Errors
/// When the file cannot be read, or is no settings file.
pub fn read(file: &Path, home: Option<&Path>) -> Result<Vec<Server>, SettingsError> {
    let places = defenseclaw_places::embedded()?;
    let file = file.canonicalize().map_err(|source| SettingsError::Read {
        file: file.to_owned(),
        source,
    })?;
    let written = text_of(&file)?;
    let value = text::value(&written, text::Format::of(&file)).map_err(|fault| SettingsError::Syntax {
        file: file.clone(),
        why: fault.to_string(),
    })?;
    let scope = scope_of(&places, &file, home);
    let mut found = servers::of(&value, &written);
    // A plugin's file of servers names them at its top.
    if found.servers.is_empty() && file.file_name().is_some_and(|name| name == ".mcp.json") {
        found = servers::at_the_top(&value, &written);
    }
    let server = |server: &servers::Server<'_>| {
        let scope = server.project.map(PathBuf::from).or_else(|| scope.clone());
        Server {
            name: server.name.to_string(),
            file: file.clone(),
            reach: reach_of(server, scope.as_deref()),
            scope,
        }
    };
    Ok(found.servers.iter().map(server).collect())
}

fn text_of(file: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Read {
        file: file.to_owned(),
        source,
    };
    let most = text::MAX_TEXT as u64;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.len() > most {
        return Err(SettingsError::Syntax {
            file: file.to_owned(),
            why: format!("it is no plain file of at most {most} bytes"),
        });
    }
    let mut text = String::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(most).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// The folder in which `file` holds: the project's, or `None` for a user's or the host's own file.
fn scope_of(places: &[Place], file: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let home = home.and_then(|home| home.canonicalize().ok());
    match source::of(places, PlaceKind::Mcp, file, home.as_deref()) {
        Some(known) if known.level == Level::Project => return Some(known.base),
        Some(_) => return None,
        None => {}
    }
    let hidden = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with('.'))
    };
    let below = home.as_ref().and_then(|home| file.strip_prefix(home).ok());
    if let Some(first) = below.and_then(|below| below.components().next())
        && first.as_os_str().to_string_lossy().starts_with('.')
    {
        return None;
    }
    if file.starts_with("/etc") {
        return None;
    }
    let mut folder = file.parent()?;
    while hidden(folder) {
        folder = folder.parent()?;
    }
    Some(folder.to_owned())
}

/// How a server is asked: within bounds, and with the names of variables and headers alone.
fn reach_of(server: &servers::Server<'_>, scope: Option<&Path>) -> Reach {
    match server.transport() {
        Transport::Http(http) => match http.url.len() {
            0..=MAX_WORD => Reach::Http {
                url: http.url.to_owned(),
                headers: names(&server.headers),
            },
            _ => Reach::Unclear("its address is longer than any address".to_owned()),
        },
        Transport::Stdio(stdio) if !stdio.command.is_empty() => {
            let words = stdio.words();
            let odd = |word: &&str| word.len() > MAX_WORD || word.contains('\0');
            if words.len() > MAX_WORDS || words.iter().any(odd) {
                return Reach::Unclear("its command line is longer than any command line".to_owned());
            }
            let folder = stdio
                .cwd
                .map(|folder| scope.unwrap_or(Path::new("/")).join(folder));
            Reach::Stdio {
                words: words.into_iter().map(str::to_owned).collect(),
                env: names(&server.env),
                folder: folder.or_else(|| scope.map(Path::to_owned)),
            }
        }
        _ => Reach::Unclear("it has neither a command nor an address".to_owned()),
    }
}

fn names(variables: &[servers::Variable<'_>]) -> Vec<String> {
    let mut names: Vec<String> = variables
        .iter()
        .take(MAX_WORDS)
        .map(|variable| variable.name.to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(name: &str, text: &str) -> Vec<Server> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        read(&file, None).unwrap()
    }

    fn words(server: &Server) -> Vec<&str> {
        match &server.reach {
            Reach::Stdio { words, .. } => words.iter().map(String::as_str).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_product_s_way_of_writing_is_read() {
        for (name, text) in [
            (
                ".mcp.json",
                r#"{"mcpServers": {"fs": {"command": "npx", "args": ["-y", "x@1"], "env": {"TOKEN": "s"}}}}"#,
            ),
            (
                "opencode.jsonc",
                "{\n // mine\n \"mcp\": {\"fs\": {\"type\": \"local\", \"command\": [\"npx\", \"-y\", \"x@1\"], \"environment\": {\"TOKEN\": \"s\"},},}}",
            ),
            (
                "config.toml",
                "model = \"x\"\n[mcp_servers.fs]\ncommand = \"npx\"\nargs = [\"-y\", \"x@1\"]\nenv = { TOKEN = \"s\" }\n",
            ),
            (
                "config.yaml",
                "mcp_servers:\n  fs:\n    command: npx\n    args: [\"-y\", \"x@1\"]\n    env: {TOKEN: s}\n",
            ),
            (
                "zed.json",
                r#"{"context_servers": {"fs": {"command": {"path": "npx", "args": ["-y", "x@1"]}, "env": {"TOKEN": "s"}}}}"#,
            ),
        ] {
            let found = servers(name, text);
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(
                (found[0].name.as_str(), words(&found[0])),
                ("fs", vec!["npx", "-y", "x@1"]),
                "{name}"
            );
            let Reach::Stdio { env, .. } = &found[0].reach else {
                panic!()
            };
            assert_eq!(env, &["TOKEN"], "{name}: names, no values");
        }
        let found = servers(
            "a.json",
            r#"{"servers": {"web": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer s"}}, "none": {}}}"#,
        );
        assert!(matches!(&found[0].reach, Reach::Unclear(_)));
        assert_eq!(
            found[1].reach,
            Reach::Http {
                url: "http://127.0.0.1:9/mcp".into(),
                headers: vec!["Authorization".into()]
            }
        );
    }

    #[test]
    fn a_setting_holds_where_its_file_lies() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap().join("kim");
        let project = home.join("work/p");
        std::fs::create_dir_all(project.join(".cursor")).unwrap();
        std::fs::create_dir_all(home.join(".codex")).unwrap();
        let text = format!(
            r#"{{"mcpServers": {{"a": {{"command": "x"}}}}, "projects": {{"{}": {{"mcpServers": {{"b": {{"command": "y"}}}}}}}}}}"#,
            project.display()
        );
        let one = r#"{"mcpServers": {"a": {"command": "x"}}}"#;
        for (file, text, scopes) in [
            (
                home.join(".claude.json"),
                text.as_str(),
                vec![None, Some(project.clone())],
            ),
            (project.join(".mcp.json"), one, vec![Some(project.clone())]),
            (project.join(".cursor/mcp.json"), one, vec![Some(project.clone())]),
        ] {
            std::fs::write(&file, text).unwrap();
            let found = read(&file, Some(&home)).unwrap();
            let found: Vec<_> = found.into_iter().map(|server| server.scope).collect();
            assert_eq!(found, scopes, "{}", file.display());
        }
        let usual = usual(Some(&home), Some(&project)).unwrap();
        assert!(
            usual.contains(&home.join(".claude.json")) && usual.contains(&project.join(".cursor/mcp.json"))
        );
    }

    #[test]
    fn what_is_no_settings_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.json");
        for text in ["{", "[[[[", &"[".repeat(100_000)] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file, None).unwrap_err();
            assert!(matches!(error, SettingsError::Syntax { .. }), "{}", text.len());
            let error = error.to_string();
            assert!(
                error.contains("x.json is not understood: line 1, column "),
                "{error}"
            );
        }
        assert!(matches!(
            read(folder.path(), None),
            Err(SettingsError::Syntax { .. })
        ));
        assert!(matches!(
            read(&folder.path().join("none"), None),
            Err(SettingsError::Read { .. })
        ));
    }
}
