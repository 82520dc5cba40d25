//! Settings of agents that name MCP servers or hooks, in whatever language and however much of them a call shows; and where
//! agents keep what extends them.

use std::collections::HashMap;
use std::sync::LazyLock;

use defenseclaw_model::facts::Install;
use defenseclaw_places::{Level, Place, PlaceKind, embedded, fits};

use super::{agents, managers};

/// Most servers that are read out of one text: people have a dozen.
const MAX_SERVERS: usize = 32;

/// Most of a text that is read (bytes): settings are small, and a call's text is bounded by the shell's own limit.
const MAX_TEXT: usize = 128 << 10;

/// Words that stand over the servers in some settings file.
const SERVER_WORDS: &[&str] = &[
    "mcpServers",
    "mcp_servers",
    "mcp.servers",
    "context_servers",
    "\"servers\"",
    "mcp-servers",
];

/// Whether a text speaks of servers at all.
pub(super) fn speaks_of_servers(text: &str) -> bool {
    SERVER_WORDS.iter().any(|word| text.contains(word))
}

/// Whether a text holds hooks with commands.
pub(super) fn speaks_of_hooks(text: &str) -> bool {
    text.contains("hooks") && text.contains("command")
}

/// A piece of JSON, TOML or YAML.
#[derive(Debug, PartialEq)]
enum Token {
    Text(String),
    Mark(char),
}

/// Takes a text apart. Escaped quotes are read as quotes: settings often stand in a string of another language.
fn tokens(text: &str) -> Vec<Token> {
    let end = text.floor_char_boundary(MAX_TEXT.min(text.len()));
    let plain = text
        .get(..end)
        .unwrap_or_default()
        .replace("\\n", "\n")
        .replace("\\\"", "\"");
    let mut found = Vec::new();
    let mut rest = plain.as_str();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                let behind = rest.get(1..).unwrap_or_default();
                let length = behind.find([first, '\n']).unwrap_or(behind.len());
                let inner = behind.get(..length).unwrap_or_default();
                // Settings within a string of another language: what its quotes hold is read, too.
                if inner.contains(['{', '[', '"']) {
                    1
                } else {
                    found.push(Token::Text(inner.to_owned()));
                    let closed = behind
                        .get(length..)
                        .is_some_and(|behind| behind.starts_with(first));
                    1 + length + usize::from(closed)
                }
            }
            '{' | '}' | '[' | ']' | ':' | '=' | ',' | '\n' => {
                found.push(Token::Mark(first));
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            _ => {
                let ends = |c: char| {
                    c.is_whitespace() || matches!(c, '"' | '\'' | '{' | '}' | '[' | ']' | '=' | ',')
                };
                let mut length = rest.find(ends).unwrap_or(rest.len());
                // `key: value`; a colon within a word is part of it (`https://…`).
                let word = rest.get(..length).unwrap_or_default();
                if word.len() > 1 && word.ends_with(':') {
                    length -= 1;
                }
                found.push(Token::Text(rest.get(..length).unwrap_or_default().to_owned()));
                length.max(first.len_utf8())
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// One server, as far as its settings were seen.
#[derive(Debug, Default)]
struct Server {
    name: String,
    launch: Vec<String>,
}

/// The servers that a text names, with their packages.
pub(super) fn servers(text: &str, registries: &[managers::Registry]) -> Vec<Install> {
    let mut found = Vec::new();
    for server in read(text) {
        let launch: Vec<&str> = server.launch.iter().map(String::as_str).collect();
        let mut installs = agents::launched(&launch, registries);
        if let Some(first) = installs.first_mut() {
            first.name.clone_from(&server.name);
        }
        found.extend(installs);
    }
    found
}

fn read(text: &str) -> Vec<Server> {
    let tokens = tokens(text);
    let mut servers: Vec<Server> = Vec::new();
    let mut name = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let next = |steps: usize| tokens.get(at + steps);
        match token {
            // `[mcp_servers.NAME]`, and below it `[mcp_servers.NAME.env]`.
            Token::Mark('[') => {
                if let (Some(Token::Text(path)), Some(Token::Mark(']'))) = (next(1), next(2))
                    && let Some((_, below)) = path.split_once("mcp_servers.")
                {
                    below.split('.').next().unwrap_or_default().clone_into(&mut name);
                }
            }
            Token::Text(key) if matches!(next(1), Some(Token::Mark(':' | '='))) => match key.as_str() {
                "command" | "url" | "serverUrl" | "httpUrl" | "endpoint" => {
                    let launch = value(&tokens, at + 2);
                    if !launch.is_empty() && servers.len() < MAX_SERVERS {
                        servers.push(Server {
                            name: name.clone(),
                            launch,
                        });
                    }
                }
                "args" => {
                    if let Some(last) = servers.last_mut() {
                        last.launch.extend(value(&tokens, at + 2));
                    }
                }
                "name" => {
                    if let Some(Token::Text(value)) = next(2) {
                        name.clone_from(value);
                    }
                }
                // An object of any name: the one around `command` is the server's.
                _ if matches!(next(2), Some(Token::Mark('{'))) => {
                    // `jq` names the way to it.
                    key.rsplit('.').next().unwrap_or_default().clone_into(&mut name);
                }
                _ => {}
            },
            _ => {}
        }
    }
    servers
}

/// The text, or the list of texts, that stands at `at`.
fn value(tokens: &[Token], at: usize) -> Vec<String> {
    match tokens.get(at) {
        Some(Token::Text(text)) => vec![text.clone()],
        Some(Token::Mark('[')) => tokens
            .iter()
            .skip(at + 1)
            .take_while(|token| **token != Token::Mark(']'))
            .filter_map(|token| match token {
                Token::Text(text) => Some(text.clone()),
                Token::Mark(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Where something that extends an agent lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Governed {
    pub(super) kind: PlaceKind,
}

/// Places by their first component.
static PLACES: LazyLock<HashMap<String, Vec<Place>>> = LazyLock::new(|| {
    let mut by_name: HashMap<String, Vec<Place>> = HashMap::new();
    // The table is built in and tested where it stands.
    for place in embedded()
        .unwrap_or_default()
        .into_iter()
        .filter(|place| place.governed)
    {
        if let Some(first) = place.components().first() {
            by_name.entry(first.clone()).or_default().push(place);
        }
    }
    by_name
});

/// The places that `path` is, lies in, or is the folder of.
pub(super) fn governed(path: &str) -> Vec<Governed> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut found: Vec<Governed> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let Some(places) = PLACES.get(*part) else {
            continue;
        };
        let below = parts.get(at..).unwrap_or_default();
        for place in places {
            let rooted = path.starts_with('/') && at == 0;
            if (place.level != Level::System || rooted) && lies_in(place, below) {
                let governed = Governed { kind: place.kind };
                if !found.iter().any(|known| known.kind == governed.kind) {
                    found.push(governed);
                }
            }
        }
    }
    found
}

fn lies_in(place: &Place, parts: &[&str]) -> bool {
    let pattern = place.components();
    let meets = pattern
        .iter()
        .zip(parts)
        .all(|(pattern, part)| fits(pattern, part));
    // A folder whose entries are artifacts: something is put into it.
    let folder = || {
        pattern
            .get(parts.len()..)
            .unwrap_or_default()
            .iter()
            .all(|part| part == "*")
    };
    meets && (parts.len() >= pattern.len() || folder())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let tell = |server: Server| format!("{}: {}", server.name, server.launch.join(" "));
        read(text).into_iter().map(tell).collect()
    }

    #[test]
    fn servers_are_read_in_every_language_and_in_parts() {
        for (text, expected) in [
            (
                r#"{"mcpServers":{"a":{"command":"npx","args":["-y","x"]},"b":{"url":"https://h/x"}}}"#,
                vec!["a: npx -y x", "b: https://h/x"],
            ),
            (
                "[mcp_servers.s]\ncommand = \"uvx\"\nargs = [\"m\"]\n",
                vec!["s: uvx m"],
            ),
            (
                "[mcp_servers.t]\nurl = 'https://h/x'\n[mcp_servers.t.env]\nA = 'b'\n",
                vec!["t: https://h/x"],
            ),
            (
                "mcpServers:\n  - name: s\n    command: sh\n    args: [-c, 'x']\n",
                vec!["s: sh -c x"],
            ),
            (
                r#""servers": { "ops": {"type":"http","url":"https://h/mcp"},"#,
                vec!["ops: https://h/mcp"],
            ),
            (
                r#".mcpServers.sync={\"command\":\"npx\",\"args\":[\"-y\",\"m\"]}"#,
                vec!["sync: npx -y m"],
            ),
            ("{'x':{'command':'uvx','args':['t']}}", vec!["x: uvx t"]),
            (r#"{"command":["node","s.js"]}"#, vec![": node s.js"]),
            (r#"{"mcpServers":{}}"#, vec![]),
            ("\"unclosed", vec![]),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn places_are_found_below_any_home_and_project() {
        for (path, kind) in [
            ("/home/a/.claude/skills/x/SKILL.md", Some(PlaceKind::Skill)),
            ("/home/a/.claude/skills", Some(PlaceKind::Skill)),
            ("/srv/app/.mcp.json", Some(PlaceKind::Mcp)),
            ("/srv/app/.vscode/mcp.json", Some(PlaceKind::Mcp)),
            ("/home/a/.claude", None),
            ("/srv/app/mcp.json", None),
            ("/srv/app/.mcp.example.json", None),
            ("/x/etc/codex/skills/y", None),
            ("/etc/codex/skills/y", Some(PlaceKind::Skill)),
        ] {
            let found = governed(path);
            assert_eq!(found.first().map(|one| one.kind), kind, "{path}");
        }
    }
}
