//! How one server is started or reached, whatever its harness calls the parts.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// A program that speaks on its standard streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stdio<'v> {
    /// The program; empty where the settings say so.
    pub command: &'v str,
    /// Its arguments.
    pub args: Vec<&'v str>,
    /// Where it is started.
    pub cwd: Option<&'v str>,
}

impl<'v> Stdio<'v> {
    /// Program and arguments.
    pub fn words(&self) -> Vec<&'v str> {
        let mut words = vec![self.command];
        words.extend(&self.args);
        words
    }
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http<'v> {
    /// Which.
    pub url: &'v str,
    /// Addresses that the settings name besides, under names that other harnesses take.
    pub others: Vec<&'v str>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Whether it is taken where the settings name a program, too.
    pub(super) goes_first: bool,
}

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Streamable HTTP, or whichever of both HTTP forms the server answers in.
    Http,
    /// The older HTTP with server-sent events.
    Sse,
    /// WebSocket.
    Ws,
    /// The settings do not say, and the address does not show it.
    Unknown,
}

impl Protocol {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::Ws => "ws",
            Self::Unknown => "unknown",
        }
    }
}

/// How a harness gets to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'s, 'v> {
    /// It starts a program.
    Stdio(&'s Stdio<'v>),
    /// It goes to an address.
    Http(&'s Http<'v>),
    /// The settings say neither.
    Unclear,
}

/// A variable or a header. Its value is shown by nothing but its field.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable<'v> {
    /// Its name.
    pub name: &'v str,
    /// Its value, numbers and the like as they are written; `None` where it is taken from elsewhere.
    pub value: Option<Cow<'v, str>>,
}

impl fmt::Debug for Variable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Fields that hold an address. Gemini CLI takes `httpUrl` before `url`.
const ADDRESSES: &[&str] = &["httpUrl", "url", "serverUrl", "uri", "endpoint"];

/// Variables with values; `envs` is Goose's, `environment` OpenCode's.
const VARIABLES: &[&str] = &["env", "environment", "envs"];

/// Names of variables that are handed on: Codex', Goose's.
const HANDED_ON: &[&str] = &["env_vars", "env_keys"];

/// The variables that a server is given. Settings of one that is reached by an address may name some, too.
pub(super) fn env(settings: &Value) -> Vec<Variable<'_>> {
    let mut env = variables(settings, VARIABLES, HANDED_ON);
    if let Some(within) = settings.get("command").filter(|command| command.is_object()) {
        env.extend(variables(within, VARIABLES, HANDED_ON));
    }
    env
}

/// The headers that are sent along.
pub(super) fn headers(settings: &Value) -> Vec<Variable<'_>> {
    variables(settings, &["headers", "http_headers"], &["env_http_headers"])
}

/// How the settings of one server say that it is started, and how reached.
pub(super) fn of<'v>(settings: &'v Value) -> (Option<Stdio<'v>>, Option<Http<'v>>) {
    let text = |fields: &[&str]| fields.iter().find_map(|field| settings.get(*field)?.as_str());
    let mut urls: Vec<&str> = ADDRESSES
        .iter()
        .filter_map(|field| settings.get(*field)?.as_str())
        .chain(settings.as_str())
        .collect();
    let told = text(&["type", "transport", "transportType"]).unwrap_or_default();
    let others = urls.split_off(urls.len().min(1));
    let http = urls.first().map(|url| Http {
        url,
        others,
        protocol: protocol(told, url),
        goes_first: settings.get("httpUrl").is_some_and(Value::is_string)
            || matches!(protocol(told, ""), Protocol::Http | Protocol::Sse | Protocol::Ws),
    });
    (stdio(settings), http)
}

fn stdio(settings: &Value) -> Option<Stdio<'_>> {
    let mut words = Vec::new();
    for field in ["command", "cmd"] {
        match settings.get(field) {
            // Zed's older settings write an object.
            Some(Value::Object(within)) => {
                for field in ["path", "command", "args"] {
                    add_words(within.get(field), &mut words);
                }
            }
            written => add_words(written, &mut words),
        }
    }
    let (&command, _) = words.split_first()?;
    add_words(settings.get("args"), &mut words);
    let cwd = ["cwd", "workingDirectory", "working_directory"];
    Some(Stdio {
        command,
        args: words.split_off(1),
        cwd: cwd.iter().find_map(|field| settings.get(*field)?.as_str()),
    })
}

/// A text is one word; OpenCode writes program and arguments as one list.
fn add_words<'v>(value: Option<&'v Value>, words: &mut Vec<&'v str>) {
    match value {
        Some(Value::String(word)) => words.push(word),
        Some(Value::Array(list)) => words.extend(list.iter().filter_map(Value::as_str)),
        _ => {}
    }
}

/// The variables of `given`, with their values, and of `named`, of which the names alone count.
fn variables<'v>(settings: &'v Value, given: &[&str], named: &[&str]) -> Vec<Variable<'v>> {
    let mut found = Vec::new();
    for field in given.iter().chain(named) {
        let valued = given.contains(field);
        match settings.get(*field) {
            Some(Value::Object(map)) => found.extend(map.iter().map(|(name, value)| Variable {
                name,
                value: valued.then(|| match value {
                    Value::String(text) => Cow::Borrowed(text.as_str()),
                    other => Cow::Owned(other.to_string()),
                }),
            })),
            Some(Value::Array(list)) => {
                let texts = list.iter().filter_map(Value::as_str);
                found.extend(texts.map(|text| match text.split_once('=') {
                    Some((name, value)) => Variable {
                        name,
                        value: Some(Cow::Borrowed(value)),
                    },
                    None => Variable {
                        name: text,
                        value: None,
                    },
                }));
            }
            _ => {}
        }
    }
    found
}

fn protocol(told: &str, url: &str) -> Protocol {
    let told = told.to_ascii_lowercase();
    match told.as_str() {
        "sse" => Protocol::Sse,
        "ws" | "websocket" => Protocol::Ws,
        _ if url.starts_with("ws://") || url.starts_with("wss://") => Protocol::Ws,
        _ if url.starts_with("http://") || url.starts_with("https://") => Protocol::Http,
        // An address may come from a variable.
        "http" | "remote" | "streamable-http" | "streamablehttp" | "streamable_http" | "shttp" => {
            Protocol::Http
        }
        _ => Protocol::Unknown,
    }
}
