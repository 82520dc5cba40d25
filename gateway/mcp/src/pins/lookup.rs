//! Which pin a tool call is about, by the tool's name as the agent product gives it.

use std::collections::HashMap;
use std::path::Path;

use defenseclaw_model::pins::{McpFact, PinStanding, PinState};

/// Before the name of a tool that a server offers, in most products.
const PREFIX: &str = "mcp";
/// What stands between the parts of such a name.
const SEPARATORS: [char; 5] = ['_', ':', '-', '.', '/'];

/// One pin, as far as calls are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The pin.
    pub id: String,
    /// Whose server it is.
    pub uid: u32,
    /// Its name.
    pub server: String,
    /// Where its setting holds; empty: everywhere.
    pub scope: String,
    /// How it compares.
    pub state: PinState,
    /// Its tools, of the pin and of what was seen last.
    pub tools: Vec<String>,
}

/// All pins, ready to be asked.
#[derive(Debug, Default)]
pub struct Lookup {
    pins: Vec<Known>,
    /// By user and server, as products write it.
    servers: HashMap<(u32, String), Vec<usize>>,
    /// By user and tool, as products write it.
    tools: HashMap<(u32, String), Vec<usize>>,
    /// By user and the whole of `server_tool`, for products that write nothing before it.
    bare: HashMap<(u32, String), Vec<usize>>,
}

/// A name as products write it: what is no letter, digit, `_` or `-` becomes `_`.
fn plain(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    name.chars().map(plain).collect()
}

impl Lookup {
    /// For these pins.
    pub fn new(pins: Vec<Known>) -> Self {
        let mut lookup = Self::default();
        for (place, pin) in pins.iter().enumerate() {
            let server = plain(&pin.server);
            lookup
                .servers
                .entry((pin.uid, server.clone()))
                .or_default()
                .push(place);
            for tool in pin.tools.iter().map(|tool| plain(tool)) {
                for between in ["_", "__"] {
                    let name = format!("{server}{between}{tool}");
                    lookup.bare.entry((pin.uid, name)).or_default().push(place);
                }
                lookup.tools.entry((pin.uid, tool)).or_default().push(place);
            }
        }
        lookup.pins = pins;
        lookup
    }

    /// What is known of the server whose tool the user's call names; `None`: it is no server's tool.
    pub fn fact(&self, uid: u32, cwd: Option<&str>, tool: &str) -> Option<McpFact> {
        let Some(rest) = server_s(tool) else {
            // Few products call a server's tool by nothing but both names.
            let pins = self.bare.get(&(uid, plain(tool)))?;
            return self.worst(pins, cwd).map(|pin| {
                let rest = plain(tool);
                let own = rest.strip_prefix(&plain(&pin.server)).unwrap_or(&rest);
                fact(pin, own.trim_start_matches('_'))
            });
        };
        let name = plain(rest);
        // The longest name of a server that it begins with: `a_b` before `a`.
        let ends: Vec<usize> = name.match_indices('_').map(|(at, _)| at).collect();
        for end in ends.into_iter().rev() {
            let (server, own) = name.split_at(end);
            let pins = self.servers.get(&(uid, server.to_owned()));
            if let Some(pin) = pins.and_then(|pins| self.worst(pins, cwd)) {
                return Some(fact(pin, own.trim_start_matches('_')));
            }
        }
        let unknown = |server: &str, tool: &str| McpFact {
            server: server.to_owned(),
            tool: tool.to_owned(),
            pin: PinStanding::Unknown,
            id: String::new(),
        };
        if let Some((server, own)) = rest.split_once("__") {
            return Some(unknown(server, own));
        }
        // A product that does not say whose tool it is: then whoever offers it.
        let pins = self.tools.get(&(uid, name));
        let pin = pins.and_then(|pins| self.worst(pins, cwd));
        Some(pin.map_or_else(|| unknown("", rest), |pin| fact(pin, rest)))
    }

    /// The pin among `pins` that holds in `cwd` and stands worst.
    fn worst(&self, pins: &[usize], cwd: Option<&str>) -> Option<&Known> {
        let here = |pin: &&Known| {
            pin.scope.is_empty() || cwd.is_none_or(|cwd| Path::new(cwd).starts_with(&pin.scope))
        };
        let pins = pins.iter().filter_map(|place| self.pins.get(*place)).filter(here);
        pins.max_by_key(|pin| standing(pin.state))
    }
}

fn standing(state: PinState) -> PinStanding {
    match state {
        PinState::Same => PinStanding::Same,
        PinState::Changed => PinStanding::Changed,
        PinState::New | PinState::Gone => PinStanding::Unknown,
    }
}

fn fact(pin: &Known, tool: &str) -> McpFact {
    McpFact {
        server: pin.server.clone(),
        tool: tool.to_owned(),
        pin: standing(pin.state),
        id: pin.id.clone(),
    }
}

/// What stands behind the word that says that a tool is a server's.
fn server_s(tool: &str) -> Option<&str> {
    let head = tool.get(..PREFIX.len())?;
    let rest = tool.get(PREFIX.len()..)?;
    let is = head.eq_ignore_ascii_case(PREFIX) && rest.starts_with(SEPARATORS);
    is.then(|| rest.trim_start_matches(SEPARATORS))
        .filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: &str, server: &str, scope: &str, state: PinState) -> Known {
        Known {
            id: id.into(),
            uid: 7,
            server: server.into(),
            scope: scope.into(),
            state,
            tools: vec!["read_file".into(), "query".into()],
        }
    }

    fn of(lookup: &Lookup, cwd: Option<&str>, tool: &str) -> Option<(String, String, PinStanding)> {
        let fact = lookup.fact(7, cwd, tool)?;
        Some((fact.server, fact.tool, fact.pin))
    }

    fn some(server: &str, tool: &str, pin: PinStanding) -> Option<(String, String, PinStanding)> {
        Some((server.into(), tool.into(), pin))
    }

    #[test]
    fn tools_are_found_as_each_product_writes_them() {
        let lookup = Lookup::new(vec![known("1", "My Files", "", PinState::Changed)]);
        for tool in [
            "mcp__My_Files__read_file",
            "mcp_my_files_read_file",
            "MCP:my_files/read_file",
            "My_Files_read_file",
            "my_files__read_file",
        ] {
            assert_eq!(
                of(&lookup, None, tool),
                some("My Files", "read_file", PinStanding::Changed),
                "{tool}"
            );
        }
        assert_eq!(
            of(&lookup, None, "mcp__query"),
            some("My Files", "query", PinStanding::Changed),
            "whoever offers it"
        );
        assert_eq!(
            of(&lookup, None, "mcp__other__read_file"),
            some("other", "read_file", PinStanding::Unknown)
        );
        assert_eq!(
            of(&lookup, None, "MCP:nothing"),
            some("", "nothing", PinStanding::Unknown)
        );
        for tool in ["Bash", "mcpower", "mcp__", "read_file", "my_files_other"] {
            assert_eq!(of(&lookup, None, tool), None, "{tool}");
        }
        assert_eq!(
            lookup.fact(8, None, "mcp__My_Files__read_file").unwrap().pin,
            PinStanding::Unknown,
            "another's"
        );
    }

    #[test]
    fn the_longest_name_and_the_worst_pin_that_holds_here_count() {
        let lookup = Lookup::new(vec![
            known("1", "a", "", PinState::Changed),
            known("2", "a_b", "", PinState::Same),
            known("3", "a_b", "/work/p", PinState::Changed),
            known("4", "a_b", "/work/q", PinState::New),
        ]);
        let pin = |cwd| of(&lookup, cwd, "mcp__a_b__query").unwrap().2;
        assert_eq!(pin(Some("/home/kim")), PinStanding::Same);
        assert_eq!(pin(Some("/work/p/sub")), PinStanding::Changed);
        assert_eq!(pin(Some("/work/px")), PinStanding::Same);
        assert_eq!(pin(Some("/work/q")), PinStanding::Unknown);
        assert_eq!(pin(None), PinStanding::Changed, "where it is not known, all hold");
    }
}
