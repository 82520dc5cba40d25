//! What a server is asked, in which order, and what is made of its answers.
//!
//! The client promises nothing (no sampling, no roots, no elicitation), so that whatever a server asks for is refused and told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use crate::canonical::{canonical, digest};
use crate::problem::{Problem, Trouble};

/// The protocol's versions that are understood, the newest last.
pub const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// Most pages of one list. Real servers send one.
pub const MAX_PAGES: usize = 50;
/// Most entries of one list: as many as a scan of saved answers takes.
pub const MAX_ITEMS: usize = 5_000;
/// Most messages besides the answers that were asked for. A talkative server logs some dozens.
pub const MAX_OTHERS: usize = 1_000;
/// Most problems that are kept of one server; the same one is kept once.
const MAX_PROBLEMS: usize = 50;
/// Longest that is shown of what a server wrote (bytes).
const SHOWN: usize = 300;

/// Something that came from a server.
#[derive(Debug)]
pub enum Incoming {
    /// A message, or several at once.
    Message(Value),
    /// Something that is none.
    Fault(Problem),
}

/// The way to a server.
pub trait Transport {
    /// Sends one message.
    ///
    /// # Errors
    /// When it cannot be sent: nothing more can be asked.
    fn send(&mut self, message: &Value, deadline: Instant) -> Result<(), Problem>;

    /// What comes next, until `deadline`.
    ///
    /// # Errors
    /// When nothing will come: nothing more can be asked.
    fn receive(&mut self, deadline: Instant) -> Result<Incoming, Problem>;

    /// The version that was agreed on.
    fn agreed(&mut self, _version: &str) {}
}

/// What a server offers, as it says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// The version that it speaks; empty: it has not answered at all.
    pub protocol: String,
    /// What it says of itself.
    pub server: Value,
    /// What it tells the model beforehand.
    pub instructions: Option<String>,
    /// Its tools.
    pub tools: Vec<Value>,
    /// Its prompts.
    pub prompts: Vec<Value>,
    /// Its resources.
    pub resources: Vec<Value>,
    /// Its templates of resources.
    pub templates: Vec<Value>,
    /// What went wrong, and what was odd.
    pub problems: Vec<Problem>,
}

impl Answers {
    /// Whether this is all that the server offers.
    pub fn complete(&self) -> bool {
        !self.protocol.is_empty() && !self.problems.iter().any(|problem| problem.trouble.leaves_out())
    }

    /// Each list with its name in the protocol.
    pub fn lists(&self) -> [(&'static str, &[Value]); 4] {
        [
            ("tools", &self.tools),
            ("prompts", &self.prompts),
            ("resources", &self.resources),
            ("resourceTemplates", &self.templates),
        ]
    }

    /// What is pinned: tools, prompts and instructions. Resources come and go with what a server serves.
    pub fn items(&self) -> BTreeMap<String, Value> {
        let named = |kind: &'static str, list: &[Value]| -> Vec<(String, Value)> {
            let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
            list.iter()
                .filter_map(|item| Some((format!("{kind} {}", name(item)?), item.clone())))
                .collect()
        };
        let mut items = BTreeMap::new();
        for (name, item) in [named("tool", &self.tools), named("prompt", &self.prompts)].concat() {
            // Two of one name: both count.
            match items.get_mut(&name) {
                None => drop(items.insert(name, item)),
                Some(Value::Array(known)) => known.push(item),
                Some(known) => *known = Value::Array(vec![known.take(), item]),
            }
        }
        if let Some(text) = &self.instructions {
            items.insert("instructions".to_owned(), text.as_str().into());
        }
        items
    }

    /// Adds a problem; one of the same kind and words counts once.
    pub fn add(&mut self, problem: Problem) {
        let known = |other: &Problem| other.trouble == problem.trouble && other.message == problem.message;
        if self.problems.len() < MAX_PROBLEMS && !self.problems.iter().any(known) {
            self.problems.push(problem);
        }
    }
}

/// Asks for everything until `deadline`. What went wrong is among the answers.
pub fn ask(transport: &mut dyn Transport, deadline: Instant) -> Answers {
    let mut asking = Asking {
        transport,
        deadline,
        answers: Answers::default(),
        next: 1,
        others: 0,
    };
    if let Err(problem) = asking.everything() {
        asking.answers.add(problem);
    }
    asking.answers
}

struct Asking<'t> {
    transport: &'t mut dyn Transport,
    deadline: Instant,
    answers: Answers,
    next: u64,
    others: usize,
}

impl Asking<'_> {
    fn everything(&mut self) -> Result<(), Problem> {
        let can = self.initialize()?;
        self.answers.tools = self.list("tools/list", "tools")?;
        if can.get("prompts").is_some() {
            self.answers.prompts = self.list("prompts/list", "prompts")?;
        }
        if can.get("resources").is_some() {
            self.answers.resources = self.list("resources/list", "resources")?;
            self.answers.templates = self.list("resources/templates/list", "resourceTemplates")?;
        }
        self.once_more()
    }

    /// Agrees on a version; gives what the server says that it can.
    fn initialize(&mut self) -> Result<Value, Problem> {
        let [.., newest] = VERSIONS;
        let params = json!({
            "protocolVersion": newest,
            "capabilities": {},
            "clientInfo": {"name": "defenseclaw", "version": env!("CARGO_PKG_VERSION")},
        });
        let result = self.request("initialize", params)?.map_err(|error| {
            Problem::new(Trouble::Protocol, "It answers `initialize` with an error").seen(shown(&error))
        })?;
        let version = result
            .get("protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(Problem::new(
                Trouble::Protocol,
                format!(
                    "It speaks none of the protocol's versions {}",
                    VERSIONS.join(", ")
                ),
            )
            .seen(version));
        }
        self.transport.agreed(version);
        version.clone_into(&mut self.answers.protocol);
        self.answers.server = result.get("serverInfo").cloned().unwrap_or_default();
        let instructions = result.get("instructions").and_then(Value::as_str);
        self.answers.instructions = instructions.map(str::to_owned);
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.transport.send(&ready, self.deadline)?;
        Ok(result.get("capabilities").cloned().unwrap_or_default())
    }

    /// All pages of one list.
    fn list(&mut self, method: &str, field: &str) -> Result<Vec<Value>, Problem> {
        let mut items: Vec<Value> = Vec::new();
        let mut cursors = BTreeSet::new();
        let mut cursor = Value::Null;
        for page in 0.. {
            if page >= MAX_PAGES || items.len() > MAX_ITEMS {
                let message = format!("{method} does not end: {page} pages with {} entries", items.len());
                self.answers.add(Problem::new(Trouble::Endless, message));
                break;
            }
            let params = if cursor.is_null() {
                json!({})
            } else {
                json!({"cursor": cursor})
            };
            let mut result = match self.request(method, params)? {
                Ok(result) => result,
                // It has none of these, and says so by what the protocol has for that.
                Err(error) if error.get("code").and_then(Value::as_i64) == Some(-32601) => break,
                Err(error) => {
                    let message = format!("It answers {method} with an error");
                    let trouble = trouble_of(&shown(&error)).unwrap_or(Trouble::Protocol);
                    self.answers
                        .add(Problem::new(trouble, message).seen(shown(&error)));
                    break;
                }
            };
            match result.get_mut(field).map(Value::take) {
                Some(Value::Array(list)) => items.extend(list),
                _ => {
                    let message = format!("Its answer to {method} has no list {field}");
                    self.answers
                        .add(Problem::new(Trouble::Protocol, message).seen(shown(&result)));
                    break;
                }
            }
            cursor = match result.get_mut("nextCursor").map(Value::take) {
                None | Some(Value::Null) => break,
                Some(next) => next,
            };
            if !cursors.insert(canonical(&cursor)) {
                let message = format!("{method} does not end: it names the same next page again");
                self.answers
                    .add(Problem::new(Trouble::Endless, message).seen(shown(&cursor)));
                break;
            }
        }
        items.truncate(MAX_ITEMS);
        let name = if field == "resourceTemplates" {
            "uriTemplate"
        } else {
            "name"
        };
        let nameless = items
            .iter()
            .find(|item| !item.get(name).is_some_and(Value::is_string));
        if let Some(item) = nameless.filter(|_| field != "resources") {
            let message = format!("An entry of {method} has no name");
            self.answers
                .add(Problem::new(Trouble::Nameless, message).seen(shown(item)));
        }
        Ok(items)
    }

    /// Asks for the tools again: who scans asks once, who uses them asks often.
    fn once_more(&mut self) -> Result<(), Problem> {
        let before = std::mem::take(&mut self.answers.problems);
        let again = self.list("tools/list", "tools");
        // The same problems are no news.
        let news = std::mem::replace(&mut self.answers.problems, before);
        let again = again?;
        for problem in news {
            self.answers.add(problem);
        }
        let prints = |list: &[Value]| -> BTreeSet<String> { list.iter().map(digest).collect() };
        let (first, second) = (prints(&self.answers.tools), prints(&again));
        if first != second {
            let other: Vec<Value> = again
                .into_iter()
                .filter(|tool| !first.contains(&digest(tool)))
                .collect();
            let names = names_of(&other);
            let message = "Asked twice for its tools, it answers differently".to_owned();
            self.answers
                .add(Problem::new(Trouble::Differs, message).seen(names));
            // What it showed the second time is scanned and pinned too.
            self.answers.tools.extend(other);
        }
        Ok(())
    }

    /// The result, or the error, of one request.
    fn request(&mut self, method: &str, params: Value) -> Result<Result<Value, Value>, Problem> {
        let id = self.next;
        self.next += 1;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.transport.send(&message, self.deadline)?;
        loop {
            let incoming = self.transport.receive(self.deadline).map_err(|mut problem| {
                if problem.trouble == Trouble::Silent {
                    problem.message = format!("It does not answer {method} in time");
                }
                problem
            })?;
            let messages = match incoming {
                Incoming::Message(Value::Array(batch)) => batch,
                Incoming::Message(message) => vec![message],
                Incoming::Fault(problem) => {
                    self.other()?;
                    self.answers.add(problem);
                    continue;
                }
            };
            let mut answer = None;
            for mut message in messages {
                let ours =
                    message.get("method").is_none() && message.get("id").and_then(Value::as_u64) == Some(id);
                if ours && answer.is_none() {
                    answer = Some(match message.get_mut("error").map(Value::take) {
                        Some(error) if !error.is_null() => Err(error),
                        _ => Ok(message.get_mut("result").map(Value::take).unwrap_or_default()),
                    });
                } else {
                    self.other()?;
                    self.unasked(&message)?;
                }
            }
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
    }

    fn other(&mut self) -> Result<(), Problem> {
        self.others += 1;
        if self.others > MAX_OTHERS {
            let message = format!("It sends more than {MAX_OTHERS} messages that nobody asked for");
            return Err(Problem::new(Trouble::Flood, message));
        }
        Ok(())
    }

    /// A message that is no answer to our question.
    fn unasked(&mut self, message: &Value) -> Result<(), Problem> {
        let method = message.get("method").and_then(Value::as_str);
        let id = message.get("id").filter(|id| !id.is_null());
        match (method, id) {
            (Some("ping"), Some(id)) => {
                let pong = json!({"jsonrpc": "2.0", "id": id, "result": {}});
                self.transport.send(&pong, self.deadline)
            }
            (Some(method), Some(id)) => {
                let trouble = if method == "roots/list" {
                    Trouble::AsksRoots
                } else {
                    Trouble::Asks
                };
                let method = cut(method);
                let what = match method.as_str() {
                    "roots/list" => "for the folders that are worked in",
                    "sampling/createMessage" => "the model for an answer",
                    "elicitation/create" => "the person for something",
                    _ => "for something",
                };
                let told = format!("It asks {what} while it is asked what it offers ({method})");
                self.answers.add(
                    Problem::new(trouble, told).seen(shown(message.get("params").unwrap_or(&Value::Null))),
                );
                let refusal = json!({"code": -32601, "message": "this client offers nothing of the kind"});
                let refusal = json!({"jsonrpc": "2.0", "id": id, "error": refusal});
                self.transport.send(&refusal, self.deadline)
            }
            (Some(_), None) => Ok(()),
            (None, _) => {
                let told = "It answers what nobody asked".to_owned();
                self.answers
                    .add(Problem::new(Trouble::WrongId, told).seen(shown(message)));
                Ok(())
            }
        }
    }
}

/// What words of a server or of its system say about why it cannot go on.
pub(crate) fn trouble_of(words: &str) -> Option<Trouble> {
    const NETWORK: &[&str] = &[
        "enotfound",
        "eai_again",
        "econnrefused",
        "enetunreach",
        "eafnosupport",
        "getaddrinfo",
        "name resolution",
        "network is unreachable",
        "address family not supported",
        "enotcached",
        "only-if-cached",
        "failed to fetch",
        "dns error",
        "nameresolutionerror",
    ];
    const LOGIN: &[&str] = &[
        "unauthorized",
        "authentication",
        "not authenticated",
        "log in",
        "login",
        "api key",
        "api_key",
        "apikey",
        "access token",
        "_token",
        "credentials",
        "invalid token",
        "401",
        "403",
    ];
    let words = words.to_lowercase();
    let says = |list: &[&str]| list.iter().any(|word| words.contains(word));
    if says(NETWORK) {
        Some(Trouble::NeedsNetwork)
    } else if says(LOGIN) {
        Some(Trouble::NeedsLogin)
    } else {
        None
    }
}

fn names_of(items: &[Value]) -> String {
    let names: Vec<&str> = items
        .iter()
        .take(10)
        .filter_map(|item| item.get("name")?.as_str())
        .collect();
    names.join(", ")
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(SHOWN))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests;
