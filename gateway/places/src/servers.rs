//! MCP servers that settings name, in the words of every harness: the one reader of them.
//!
//! | Module | Holds |
//! |---|---|
//! | `launch` | how one server is started or reached |
//! | `lines` | on which lines names stand |
//!
//! What is done with a server is its users' matter: the scanner judges how it is launched, `mcp check` asks it, the inventory lists it.
//! Values of variables and headers are here for the scanner alone, which looks for secrets in them; [`Variable`] never shows them.

mod launch;
mod lines;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub use launch::{Http, Protocol, Stdio, Transport, Variable};
use lines::Lines;

/// Most servers of one file.
pub const MAX_SERVERS: usize = 500;

/// Where settings name servers by what each is called. `servers` may lie one level further down (`mcp.servers`).
///
/// Claude Code, Cursor, Gemini CLI, Copilot, Windsurf, Antigravity and most others; VS Code; Zed; Codex and Hermes; OpenCode, OpenClaw and
/// VS Code's own settings; Amp.
const FIELDS: &[&str] = &[
    "mcpServers",
    "servers",
    "context_servers",
    "mcp_servers",
    "mcp",
    "amp.mcpServers",
    // Goose. Other programs call other things so.
    EXTENSIONS,
];

/// Names that other programs give to other things: there an address by itself is no server.
const LOOSE: &[&str] = &["servers", EXTENSIONS];

const EXTENSIONS: &str = "extensions";

/// Lists of servers below `mcp`, as OpenHands' `config.toml` has them.
const LISTS: &[&str] = &["stdio_servers", "sse_servers", "shttp_servers"];

/// One server that settings name. Not for showing: `settings` holds whatever secrets they do.
#[derive(Debug, Clone, PartialEq)]
pub struct Server<'v> {
    /// Its name there. In a list without names: the list's and its place.
    pub name: Cow<'v, str>,
    /// The project's folder, where settings of a user name it for that alone (`~/.claude.json`).
    pub project: Option<&'v str>,
    /// The line on which its name stands, 1 where that cannot be told.
    pub line: u32,
    /// Whether the settings have it switched on.
    pub enabled: bool,
    /// How it is started. One that has an address besides is both: harnesses differ in which they take.
    pub stdio: Option<Stdio<'v>>,
    /// How it is reached.
    pub http: Option<Http<'v>>,
    /// The variables that it is given, however it is reached.
    pub env: Vec<Variable<'v>>,
    /// The headers that are sent along.
    pub headers: Vec<Variable<'v>>,
    /// All that is said of it.
    pub settings: &'v Value,
}

impl<'v> Server<'v> {
    /// How a harness gets to it: as `type` says, else by its command. Gemini CLI's `httpUrl` goes before both.
    pub fn transport(&self) -> Transport<'_, 'v> {
        match (&self.stdio, &self.http) {
            (Some(stdio), Some(http)) if !http.goes_first => Transport::Stdio(stdio),
            (_, Some(http)) => Transport::Http(http),
            (Some(stdio), None) => Transport::Stdio(stdio),
            (None, None) => Transport::Unclear,
        }
    }

    fn new(name: Cow<'v, str>, settings: &'v Value) -> Self {
        let told = |field: &str| settings.get(field).and_then(Value::as_bool);
        let (stdio, http) = launch::of(settings);
        Self {
            name,
            project: None,
            line: 1,
            enabled: told("disabled") != Some(true) && told("enabled") != Some(false),
            stdio,
            http,
            env: launch::env(settings),
            headers: launch::headers(settings),
            settings,
        }
    }

    /// Whether it says how it is started or reached.
    pub fn is_reachable(&self) -> bool {
        self.stdio.is_some() || self.http.is_some()
    }
}

/// The servers of one file.
#[derive(Debug, Default)]
pub struct Servers<'v> {
    /// In the order of the file's fields; at most [`MAX_SERVERS`], and as many entries that do not say how they are reached.
    pub servers: Vec<Server<'v>>,
    /// There were more servers.
    pub more: bool,
}

/// The servers that settings name. `text`, where it is at hand, is what the value was read from: for the lines.
pub fn of<'v>(value: &'v Value, text: &str) -> Servers<'v> {
    let mut found = Found::default();
    for field in FIELDS {
        found.add_field(value, field);
    }
    let switched = Switched::of(value);
    for (_, server) in &mut found.named {
        server.enabled &= switched.on(&server.name);
    }
    let projects = value.get("projects").and_then(Value::as_object);
    for (folder, project) in projects.into_iter().flatten() {
        let before = found.named.len();
        if let Some(map) = project.get("mcpServers").and_then(Value::as_object) {
            found.add_map(map, &["projects", folder, "mcpServers"]);
        }
        let switched = Switched::of(project);
        for (_, server) in found.named.iter_mut().skip(before) {
            server.project = Some(folder);
            server.enabled &= switched.on(&server.name);
        }
    }
    found.ended(text)
}

/// The servers of a value that holds them at its top, each by its name, and nothing besides: a plugin's `.mcp.json`.
pub fn at_the_top<'v>(value: &'v Value, text: &str) -> Servers<'v> {
    let mut found = Found::default();
    if let Some(map) = value.as_object() {
        found.add_map(map, &[]);
    }
    found.named.retain(|(_, server)| server.is_reachable());
    found.ended(text)
}

/// The server that a value itself is, as registries list it.
pub fn alone(value: &Value) -> Option<Server<'_>> {
    let has = |field: &str| value.get(field).is_some();
    let started = has("command") && (has("args") || has("env"));
    let reached = has("url") && (has("type") || has("transport"));
    // Hooks and tasks of editors have commands, too.
    if !(started || reached) || has("hooks") || has("tasks") {
        return None;
    }
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    Some(Server::new(Cow::Borrowed(name), value))
}

/// A server, and the names of what it stands in.
type Named<'v> = (Vec<&'v str>, Server<'v>);

/// What was found until now.
#[derive(Default)]
struct Found<'v> {
    named: Vec<Named<'v>>,
    servers: usize,
    others: usize,
}

impl<'v> Found<'v> {
    fn ended(self, text: &str) -> Servers<'v> {
        let mut named = self.named;
        if !named.is_empty() && !text.is_empty() {
            let paths: Vec<Vec<String>> = named
                .iter()
                .map(|(within, server)| {
                    let within = within.iter().map(|&name| name.to_owned());
                    within.chain([server.name.to_string()]).collect()
                })
                .collect();
            let lines = Lines::of(text, paths.iter().flatten().map(String::as_str));
            for ((_, server), path) in named.iter_mut().zip(&paths) {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                server.line = lines.line(&path);
            }
        }
        Servers {
            servers: named.into_iter().map(|(_, server)| server).collect(),
            more: self.servers > MAX_SERVERS,
        }
    }

    /// Entries that are no servers are counted by themselves, so that they do not push one out.
    fn push(&mut self, within: &[&'v str], server: Server<'v>) {
        let count = if is_server(&server) {
            &mut self.servers
        } else {
            &mut self.others
        };
        *count += 1;
        if *count <= MAX_SERVERS {
            self.named.push((within.to_vec(), server));
        }
    }

    fn add_field(&mut self, value: &'v Value, field: &'static str) {
        match value.get(field) {
            Some(Value::Object(map)) => match map.get("servers").and_then(Value::as_object) {
                Some(inner) => self.add_map(inner, &[field, "servers"]),
                None => {
                    self.add_map(map, &[field]);
                    for list in LISTS {
                        let items = map.get(*list).and_then(Value::as_array).into_iter().flatten();
                        for (place, server) in items.enumerate() {
                            let name = server.get("name").and_then(Value::as_str);
                            let name = name.map_or_else(|| format!("{list}[{place}]").into(), Cow::Borrowed);
                            self.push(&[field, list], Server::new(name, server));
                        }
                    }
                }
            },
            Some(Value::Array(items)) => {
                for server in items {
                    let Some(name) = server.get("name").and_then(Value::as_str) else {
                        continue;
                    };
                    let server = Server::new(Cow::Borrowed(name), server);
                    // Other lists of servers, as of an interface's description, have addresses alone.
                    if is_server(&server) {
                        self.push(&[field], server);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whatever in a map may be a server: what is one in a place for servers, and says neither how it is started nor how it is reached,
    /// is told all the same.
    fn add_map(&mut self, map: &'v Map<String, Value>, within: &[&'v str]) {
        let loose = within.first().is_some_and(|field| LOOSE.contains(field));
        for (name, settings) in map {
            let may_be = match settings {
                Value::Object(_) => true,
                // An address by itself.
                Value::String(text) => !loose && text.contains("://"),
                _ => false,
            };
            if !may_be {
                continue;
            }
            let server = Server::new(Cow::Borrowed(name), settings);
            if is_server(&server) || within.first() != Some(&EXTENSIONS) {
                self.push(within, server);
            }
        }
    }
}

fn is_server(server: &Server<'_>) -> bool {
    server.is_reachable() || server.settings.get("tools").is_some_and(Value::is_array)
}

/// Which servers are switched on elsewhere than in their own settings: Gemini CLI's `mcp.allowed` and `mcp.excluded`, Claude Code's and
/// Copilot's `disabledMcpServers`.
struct Switched<'v> {
    off: Vec<&'v str>,
    only: Option<Vec<&'v str>>,
}

impl<'v> Switched<'v> {
    fn of(value: &'v Value) -> Self {
        let names = |list: Option<&'v Value>| -> Option<Vec<&'v str>> {
            Some(list?.as_array()?.iter().filter_map(Value::as_str).collect())
        };
        let mut off = names(value.get("disabledMcpServers")).unwrap_or_default();
        off.extend(names(value.pointer("/mcp/excluded")).unwrap_or_default());
        off.sort_unstable();
        Self {
            off,
            only: names(value.pointer("/mcp/allowed")).map(|mut only| {
                only.sort_unstable();
                only
            }),
        }
    }

    fn on(&self, name: &str) -> bool {
        self.off.binary_search(&name).is_err()
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.binary_search(&name).is_ok())
    }
}
