//! Our decision in the harness's own words.

use defenseclaw_model::decision::{Decision, Verdict};
use serde_json::Value;

use super::schema::{ReplyEntries, ReplyEntry};
use super::{Can, Contract, Reply};

/// Longest reason that a harness is given (bytes). It is shown to a person and read by the model; ours are a sentence or two.
const MAX_REASON: usize = 8 * 1024;

/// The replies to one kind of event.
#[derive(Debug, Clone)]
pub(super) struct Replies {
    allow: Template,
    deny: Template,
    ask: Option<Template>,
    modify: Option<Template>,
    ask_modify: Option<Template>,
}

/// One reply with its gaps.
#[derive(Debug, Clone)]
struct Template {
    exit: u8,
    /// JSON text: what goes into its gaps is escaped.
    body: Vec<Piece>,
    /// Plain text.
    stderr: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reason,
    Event,
    Input,
}

/// What goes into the gaps.
#[derive(Clone, Copy)]
struct Gaps<'a> {
    reason: &'a str,
    event: &'a str,
    input: Option<&'a Value>,
}

impl Replies {
    /// Reads the templates; the error says what is wrong with which.
    pub(super) fn new(entries: &ReplyEntries) -> Result<Self, String> {
        let read = |name: &str, entry: &ReplyEntry| {
            Template::new(entry, name.contains("modify")).map_err(|what| format!("reply `{name}`: {what}"))
        };
        let maybe = |name: &str, entry: &Option<ReplyEntry>| {
            entry.as_ref().map(|entry| read(name, entry)).transpose()
        };
        let deny = read("deny", &entries.deny)?;
        if deny.exit == 0 && deny.body.is_empty() {
            return Err("reply `deny`: it says nothing, and so refuses nothing".into());
        }
        Ok(Self {
            allow: read("allow", &entries.allow)?,
            deny,
            ask: maybe("ask", &entries.ask)?,
            modify: maybe("modify", &entries.modify)?,
            ask_modify: maybe("ask_modify", &entries.ask_modify)?,
        })
    }

    pub(super) fn can(&self) -> Can {
        Can {
            block: true,
            ask: self.ask.is_some(),
            modify: self.modify.is_some(),
        }
    }

    fn render(&self, event: &str, decision: &Decision) -> Reply {
        let input = decision.updated_input.as_ref().filter(|_| decision.enforced);
        let gaps = Gaps {
            reason: &decision.reason,
            event,
            input,
        };
        let template = match (decision.effective(), input.is_some()) {
            (Verdict::Allow, false) => Some(&self.allow),
            (Verdict::Allow, true) => self.modify.as_ref(),
            (Verdict::Ask, false) => self.ask.as_ref(),
            (Verdict::Ask, true) => self.ask_modify.as_ref(),
            (Verdict::Deny, _) => Some(&self.deny),
        };
        match template {
            Some(template) => template.render(gaps),
            // A call that was to run changed must not run unchanged, nor unasked.
            None => self.deny.render(gaps),
        }
    }
}

impl Template {
    fn new(entry: &ReplyEntry, takes_input: bool) -> Result<Self, String> {
        let body = pieces(&entry.body)?;
        let stderr = pieces(&entry.stderr)?;
        let has = |piece| body.contains(&piece) || stderr.contains(&piece);
        if has(Piece::Input) != takes_input {
            return Err(if takes_input {
                "it has no place for {input}".into()
            } else {
                "{input} stands in a reply that changes no input".into()
            });
        }
        let template = Self {
            exit: entry.exit,
            body,
            stderr,
        };
        let trial = template.render(Gaps {
            reason: "\"quoted\"\n",
            event: "Event",
            input: Some(&Value::Bool(true)),
        });
        if !trial.body.is_empty() {
            serde_json::from_slice::<Value>(&trial.body)
                .map_err(|error| format!("its body is not JSON once it is filled in: {error}"))?;
        }
        Ok(template)
    }

    fn render(&self, gaps: Gaps<'_>) -> Reply {
        Reply {
            exit: self.exit,
            body: fill(&self.body, gaps, true),
            stderr: fill(&self.stderr, gaps, false),
        }
    }
}

/// A lower-case word in braces, which JSON never has: a misspelt gap.
fn unknown_gap(text: &str) -> Option<&str> {
    text.split('{').skip(1).find_map(|behind| {
        let (word, _) = behind.split_once('}')?;
        (!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
            .then_some(word)
    })
}

/// Splits a template at its gaps. A brace that opens no known gap is text.
fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    const GAPS: [(&str, Piece); 3] = [
        ("{reason}", Piece::Reason),
        ("{event}", Piece::Event),
        ("{input}", Piece::Input),
    ];
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((at, name, piece)) = GAPS
        .iter()
        .filter_map(|(name, piece)| Some((rest.find(name)?, *name, piece.clone())))
        .min_by_key(|(at, ..)| *at)
    {
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].to_owned()));
        }
        pieces.push(piece);
        rest = &rest[at + name.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    for piece in &pieces {
        if let Piece::Text(text) = piece
            && let Some(gap) = unknown_gap(text)
        {
            return Err(format!(
                "{{{gap}}} is no gap: known are {{reason}}, {{event}}, {{input}}"
            ));
        }
    }
    Ok(pieces)
}

fn fill(pieces: &[Piece], gaps: Gaps<'_>, json: bool) -> Vec<u8> {
    let mut filled = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Reason if json => escape(&mut filled, cut(gaps.reason)),
            Piece::Event if json => escape(&mut filled, gaps.event),
            Piece::Reason => filled.push_str(cut(gaps.reason)),
            Piece::Event => filled.push_str(gaps.event),
            Piece::Input => filled.push_str(&gaps.input.unwrap_or(&Value::Null).to_string()),
        }
    }
    filled.into_bytes()
}

/// Adds `text` as the inside of a JSON string.
fn escape(filled: &mut String, text: &str) {
    let quoted = Value::from(text).to_string();
    filled.push_str(&quoted[1..quoted.len() - 1]);
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

impl Contract {
    /// The native reply to the event of that native name, by the decision's effective verdict. What the harness cannot do
    /// (ask, run with another input) becomes a refusal; who decides can look first, with [`can`](Contract::can).
    pub fn decided(&self, event: &str, decision: &Decision) -> Reply {
        self.replies_to(event)
            .map_or_else(Reply::silence, |replies| replies.render(event, decision))
    }

    /// The native refusal of a call that could not be decided. `event`: its native name, as far as that is known.
    pub fn refused(&self, event: Option<&str>, reason: &str) -> Reply {
        let event = event
            .filter(|event| self.replies_to(event).is_some())
            .unwrap_or(&self.primary);
        let gaps = Gaps {
            reason,
            event,
            input: None,
        };
        self.replies_to(event)
            .map_or_else(Reply::silence, |replies| replies.deny.render(gaps))
    }

    /// The native reply that says no more than that there is no objection to the event of that native name.
    pub fn passed(&self, event: &str) -> Reply {
        let gaps = Gaps {
            reason: "",
            event,
            input: None,
        };
        self.replies_to(event)
            .map_or_else(Reply::silence, |replies| replies.allow.render(gaps))
    }
}
