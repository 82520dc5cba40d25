//! Which servers an agent's settings name, and how they are started or reached.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::CstRootNode;
use serde_json::{Map, Value};

use crate::json;

/// Largest settings file (bytes). A long history makes `.claude.json` a few megabytes.
const MAX_FILE: u64 = 16 << 20;
/// Most servers of one file.
const MAX_SERVERS: usize = 500;
/// Longest command, argument, name or address (bytes): what is longer is no setting of a person.
const MAX_WORD: usize = 8 << 10;
/// Most arguments and variables of one server.
const MAX_WORDS: usize = 256;

/// Where settings of the known agent products lie below a user's home folder.
const OF_USER: &[&str] = &[
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
    ".gemini/antigravity/mcp_config.json",
    ".config/Code/User/mcp.json",
    ".config/Claude/claude_desktop_config.json",
];
/// The same below a project's folder.
const OF_PROJECT: &[&str] = &[
    ".mcp.json",
    "mcp.json",
    ".codex/config.toml",
    ".cursor/mcp.json",
    ".gemini/settings.json",
    ".vscode/mcp.json",
    ".windsurf/mcp_config.json",
    "opencode.json",
    "opencode.jsonc",
];
/// The host's.
const OF_HOST: &[&str] = &[
    "/etc/claude-code/managed-mcp.json",
    "/etc/codex/config.toml",
    "/etc/gemini-cli/settings.json",
];

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
        /// Why.
        why: String,
    },
}

/// The settings files that exist of the known agent products: the user's, the project's and the host's.
pub fn usual(home: Option<&Path>, project: Option<&Path>) -> Vec<PathBuf> {
    let below = |folder: Option<&Path>, names: &[&str]| -> Vec<PathBuf> {
        folder
            .into_iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)))
            .collect()
    };
    let mut files = below(home, OF_USER);
    files.extend(below(project, OF_PROJECT));
    files.extend(OF_HOST.iter().map(PathBuf::from));
    files.retain(|file| file.is_file());
    files.sort();
    files.dedup();
    files
}

/// The settings files at `path`: itself, or those that a project's folder holds.
pub fn at(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let files = OF_PROJECT.iter().map(|name| path.join(name));
        files.filter(|file| file.is_file()).collect()
    } else {
        vec![path.to_owned()]
    }
}

/// The servers that `file` names. `home` tells settings of a user from those of a project.
///
/// # Errors
/// When the file cannot be read, or is no settings file.
pub fn read(file: &Path, home: Option<&Path>) -> Result<Vec<Server>, SettingsError> {
    let file = file.canonicalize().map_err(|source| SettingsError::Read {
        file: file.to_owned(),
        source,
    })?;
    let text = text_of(&file)?;
    let value = value_of(&file, &text).map_err(|why| SettingsError::Syntax {
        file: file.clone(),
        why,
    })?;
    let scope = scope_of(&file, home);
    let mut servers = Vec::new();
    for map in server_maps(&value) {
        add(&mut servers, map, &file, scope.as_deref());
    }
    let projects = value.get("projects").and_then(Value::as_object);
    for (folder, project) in projects.into_iter().flatten() {
        if let Some(map) = project.get("mcpServers").and_then(Value::as_object) {
            add(&mut servers, map, &file, Some(Path::new(folder)));
        }
    }
    servers.truncate(MAX_SERVERS);
    Ok(servers)
}

fn text_of(file: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Read {
        file: file.to_owned(),
        source,
    };
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(SettingsError::Syntax {
            file: file.to_owned(),
            why: format!("it is no plain file of at most {MAX_FILE} bytes"),
        });
    }
    let mut text = String::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

fn value_of(file: &Path, text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => defenseclaw_toml::from_str(text).map_err(|error| error.to_string()),
        Some("yaml" | "yml") => defenseclaw_yaml::from_str(text).map_err(|error| error.to_string()),
        _ => match json::parse(text.as_bytes()) {
            Ok(value) => Ok(value),
            Err(error) => {
                check_depth(text)?;
                let options = ParseOptions::default();
                let root = CstRootNode::parse(text, &options).map_err(|_| error.to_string())?;
                let value = root.value().and_then(|value| value.to_serde_value());
                value.ok_or_else(|| error.to_string())
            }
        },
    }
}

/// Readers that go down by themselves are given nothing deep. Brackets in texts count too: no real file has so many.
fn check_depth(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > json::MAX_DEPTH {
            return Err(json::JsonFault::Deep.to_string());
        }
    }
    Ok(())
}

/// The folder in which `file` holds: the project's, or `None` for a user's or the host's own file.
fn scope_of(file: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let home = home.and_then(|home| home.canonicalize().ok());
    let hidden = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with('.'))
    };
    let mut folder = file.parent()?;
    if let Some(below) = home.as_ref().and_then(|home| file.strip_prefix(home).ok()) {
        let first = below.components().next()?;
        if first
            .as_os_str()
            .to_str()
            .is_some_and(|name| name.starts_with('.'))
        {
            return None;
        }
    }
    if file.starts_with("/etc") {
        return None;
    }
    while hidden(folder) {
        folder = folder.parent()?;
    }
    Some(folder.to_owned())
}

/// The places where settings of the known agent products name servers.
fn server_maps(value: &Value) -> Vec<&Map<String, Value>> {
    let mut found = Vec::new();
    for field in ["mcpServers", "servers", "context_servers", "mcp_servers", "mcp"] {
        let Some(map) = value.get(field).and_then(Value::as_object) else {
            continue;
        };
        match map.get("servers").and_then(Value::as_object) {
            Some(inner) => found.push(inner),
            None if map.values().all(Value::is_object) => found.push(map),
            None => {}
        }
    }
    found
}

fn add(servers: &mut Vec<Server>, map: &Map<String, Value>, file: &Path, scope: Option<&Path>) {
    for (name, settings) in map.iter().take(MAX_SERVERS) {
        servers.push(Server {
            name: name.clone(),
            file: file.to_owned(),
            scope: scope.map(Path::to_owned),
            reach: reach_of(settings, scope),
        });
    }
}

fn reach_of(settings: &Value, scope: Option<&Path>) -> Reach {
    let url = ["url", "serverUrl", "httpUrl"]
        .iter()
        .find_map(|field| settings.get(*field)?.as_str());
    if let Some(url) = url {
        return match url.len() {
            0..=MAX_WORD => Reach::Http {
                url: url.to_owned(),
                headers: names_in(settings, &["headers", "http_headers", "env_http_headers"]),
            },
            _ => Reach::Unclear("its address is longer than any address".to_owned()),
        };
    }
    let command = settings.get("command");
    // Zed writes an object, OpenCode a list, everybody else a text.
    let within = command.filter(|command| command.is_object()).unwrap_or(settings);
    let command = within.get("path").or(command).unwrap_or(&Value::Null);
    let mut words = Vec::new();
    for value in [command, within.get("args").unwrap_or(&Value::Null)] {
        match value {
            Value::String(word) => words.push(word.clone()),
            Value::Array(list) => words.extend(list.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
    }
    let folder = ["cwd", "workingDirectory"]
        .iter()
        .find_map(|field| settings.get(*field)?.as_str())
        .map(|folder| scope.unwrap_or(Path::new("/")).join(folder))
        .or_else(|| scope.map(Path::to_owned));
    if words.first().is_none_or(|word| word.is_empty()) {
        return Reach::Unclear("it has neither a command nor an address".to_owned());
    }
    if words.len() > MAX_WORDS
        || words
            .iter()
            .any(|word| word.len() > MAX_WORD || word.contains('\0'))
    {
        return Reach::Unclear("its command line is longer than any command line".to_owned());
    }
    Reach::Stdio {
        words,
        env: names_in(settings, &["env", "environment"]),
        folder,
    }
}

fn names_in(settings: &Value, fields: &[&str]) -> Vec<String> {
    let maps = fields
        .iter()
        .filter_map(|field| settings.get(*field)?.as_object());
    let mut names: Vec<String> = maps.flat_map(|map| map.keys().cloned()).take(MAX_WORDS).collect();
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
        let usual = usual(Some(&home), Some(&project));
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
            assert!(
                matches!(read(&file, None), Err(SettingsError::Syntax { .. })),
                "{}",
                text.len()
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
