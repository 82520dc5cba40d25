//! A harness's payload in our words.

use defenseclaw_detect::tools::{Place, Selector, ToolFault, folder_of, kind_of};
use defenseclaw_model::call::{CallKind, HookEvent, HookEventKind, ToolCall};
use defenseclaw_model::ids::{CallId, SessionId};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::payload::{check_bounds, fields};
use super::sandbox::unwrap;
use super::schema::{EventKind, NoSession};
use super::{Contract, Event, Failed, Fault, FaultKind, Input, Parsed, ToolName};

/// Before a call id that was derived because the payload has none.
const DERIVED: &str = "derived-";
/// Before a session id that stands for a folder.
const FOLDER: &str = "folder-";
/// How the name of an MCP server's tool starts.
const MCP: &str = "mcp";
/// Stands for the tool where the end of a call names only the call.
const UNNAMED: &str = "unnamed";
/// Longest of the harness's one-word remarks (source, model, reason) that is kept (characters).
const MAX_REMARK: usize = 128;
/// Most of a tool's result, or of what the agent said, that is looked at (bytes): its first and its last half. It is read
/// for what it may do to the agent, which pages of output in between rarely hold.
const MAX_TEXT: usize = 256 * 1024;

impl Contract {
    /// Reads a payload. Takes any bytes; time and memory are bounded by [`MAX_PAYLOAD`](super::MAX_PAYLOAD),
    /// [`MAX_DEPTH`](super::MAX_DEPTH), [`MAX_VALUES`](super::MAX_VALUES). `hint`: the event that the hook's command line names.
    pub fn parse(&self, payload: &[u8], hint: Option<&str>) -> Result<Parsed, Fault> {
        let hinted = hint.filter(|hint| self.events.contains_key(*hint));
        let unreadable = |kind| Fault {
            kind,
            may_be_call: hinted.is_none_or(|hint| self.is_call(hint)),
            event: hinted.map(Box::from),
            session: None,
        };
        let text = check_bounds(payload).map_err(unreadable)?;
        let payload = fields(text, &self.wanted).map_err(unreadable)?;
        let reader = Reader {
            contract: self,
            payload: &payload,
        };
        let name = match reader.event(hint) {
            Ok(name) => name,
            Err(kind) => {
                let session = reader.session("an event").ok();
                return Err(Fault {
                    session,
                    ..unreadable(kind)
                });
            }
        };
        let event = self.events.get(name);
        let blame = |kind, session| Fault {
            kind,
            may_be_call: event.is_some_and(Event::is_call),
            event: event.map(|_| Box::from(name)),
            session,
        };
        let session = reader.session(name).map_err(|kind| blame(kind, None))?;
        let Some(event) = event else {
            let name = name.chars().take(MAX_REMARK).collect();
            return Err(blame(FaultKind::UnknownEvent(name), Some(session)));
        };
        let (home, cwd) = (reader.home(), reader.cwd());
        let said = text_at(&event.said, &payload).filter(|said| !said.is_empty());
        let asked = Asked {
            reader,
            name,
            event,
            session: &session,
            place: Place {
                cwd: cwd.as_deref(),
                home: home.as_deref(),
            },
        };
        match asked.kind() {
            Ok(kind) => Ok(Parsed {
                native: name.to_owned(),
                event: HookEvent {
                    cwd: asked.folder(&kind).or(cwd),
                    session,
                    kind,
                },
                home,
                said,
            }),
            Err(kind) => Err(blame(kind, Some(session))),
        }
    }
}

/// The fields of one payload.
#[derive(Clone, Copy)]
struct Reader<'a> {
    contract: &'a Contract,
    payload: &'a Value,
}

impl<'a> Reader<'a> {
    /// The event's native name: the payload's word, else the command line's.
    fn event(self, hint: Option<&'a str>) -> Result<&'a str, FaultKind> {
        let field = self.contract.event_field.as_deref();
        match field.and_then(|field| Some((field, self.payload.get(field)?))) {
            Some((_, Value::String(name))) => Ok(name),
            Some((field, _)) => Err(wrong_type(field)),
            None => hint.ok_or_else(|| match field {
                Some(field) => missing("an event", field),
                None => FaultKind::NoEventArgument {
                    connector: self.contract.connector.clone(),
                },
            }),
        }
    }

    fn session(self, event: &str) -> Result<SessionId, FaultKind> {
        let connector = &self.contract.connector;
        match string_at(&self.contract.session, self.payload) {
            Ok(Some(session)) if !(session.is_empty() && self.contract.no_session == NoSession::ByFolder) => {
                Ok(SessionId::new(connector, session)?)
            }
            Err(field) => Err(wrong_type(field)),
            Ok(_) => match (self.contract.no_session, self.cwd()) {
                (NoSession::ByFolder, Some(cwd)) => Ok(SessionId::new(connector, &digest(FOLDER, &[&cwd]))?),
                _ => Err(missing(event, first_name(&self.contract.session))),
            },
        }
    }

    /// Only an absolute folder helps to resolve a path.
    fn cwd(self) -> Option<String> {
        let cwd = string_at(&self.contract.cwd, self.payload).ok()??;
        cwd.starts_with('/').then(|| Place::default().absolute(cwd))?
    }

    /// The home that `~` means to the harness, which need not be the one in the user database.
    fn home(self) -> Option<String> {
        self.contract.homes.iter().find_map(|source| {
            let (home, _) = source
                .at
                .first(self.payload)?
                .as_str()?
                .split_once(&source.above)?;
            (home.starts_with('/') && !home.contains("/../")).then(|| home.to_owned())
        })
    }
}

/// One event that is being read.
struct Asked<'a> {
    reader: Reader<'a>,
    name: &'a str,
    event: &'a Event,
    session: &'a SessionId,
    place: Place<'a>,
}

impl Asked<'_> {
    fn kind(&self) -> Result<HookEventKind, FaultKind> {
        let payload = self.reader.payload;
        Ok(match self.event.kind {
            EventKind::SessionStart => HookEventKind::SessionStart {
                source: remark(&self.event.text, payload),
                model: remark(&self.event.model, payload),
            },
            EventKind::Prompt => HookEventKind::UserPromptSubmit {
                prompt: self.required(&self.event.text)?.to_owned(),
            },
            EventKind::Call => HookEventKind::PreToolUse(self.call()?),
            EventKind::Permission => HookEventKind::PermissionRequest(self.call()?),
            EventKind::CallEnd => {
                let tool = self.ended_tool()?;
                let input = self.input(&tool);
                HookEventKind::PostToolUse {
                    call: self.call_id(&tool, &input)?,
                    tool,
                    failed: self.failed(),
                    result: text_at(&self.event.result, payload).unwrap_or_default(),
                }
            }
            EventKind::Completion => HookEventKind::Completion {
                text: text_at(&self.event.text, payload).unwrap_or_default(),
            },
            EventKind::Stop => HookEventKind::Stop,
            EventKind::Notice => HookEventKind::Notice {
                name: self.name.to_owned(),
            },
            EventKind::SessionEnd => HookEventKind::SessionEnd {
                reason: remark(&self.event.text, payload),
            },
        })
    }

    fn required<'a>(&'a self, at: &[Selector]) -> Result<&'a str, FaultKind> {
        match string_at(at, self.reader.payload) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(missing(self.name, first_name(at))),
            Err(field) => Err(wrong_type(field)),
        }
    }

    fn call(&self) -> Result<ToolCall, FaultKind> {
        let tool = self.tool()?;
        let input = self.input(&tool);
        let call = self.call_id(&tool, &input)?;
        let kind = self.call_kind(&tool, &input)?;
        Ok(ToolCall {
            call,
            tool,
            kind,
            input,
        })
    }

    fn tool(&self) -> Result<String, FaultKind> {
        Ok(match &self.event.tool {
            ToolName::At(at) => self.required(at)?.to_owned(),
            ToolName::Is(tool) => tool.clone(),
            ToolName::Mcp(at) => {
                let mut name = MCP.to_owned();
                for at in at {
                    name.push_str("__");
                    name.push_str(self.required(std::slice::from_ref(at))?);
                }
                name
            }
        })
    }

    /// The tool that ended. Where only its call is named, that is enough.
    fn ended_tool(&self) -> Result<String, FaultKind> {
        let call = self.reader.contract.call.iter();
        match self.tool() {
            Err(FaultKind::Missing { .. })
                if call.clone().any(|at| at.first(self.reader.payload).is_some()) =>
            {
                Ok(UNNAMED.to_owned())
            }
            named => named,
        }
    }

    /// The tool's input. Some harnesses send it as JSON text: then what that text says.
    fn input(&self, tool: &str) -> Value {
        let payload = self.reader.payload;
        match &self.event.input {
            Input::At(at) => match at.iter().find_map(|at| at.first(payload)) {
                Some(Value::String(text)) if text.trim_ascii_start().starts_with('{') => {
                    // The text was within the payload's bounds, but its depth was not counted: strings hide brackets.
                    check_bounds(text.as_bytes())
                        .ok()
                        .and_then(|text| serde_json::from_str(text).ok())
                        .unwrap_or_else(|| {
                            tracing::info!(%tool, "the tool's input is text that is not JSON; it is taken as it is");
                            Value::String(text.clone())
                        })
                }
                Some(value) => value.clone(),
                None => Value::Null,
            },
            Input::Picked(fields) => Value::Object(
                fields
                    .iter()
                    .filter_map(|(name, at)| Some((name.clone(), at.first(payload)?.clone())))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    fn call_kind(&self, tool: &str, input: &Value) -> Result<CallKind, FaultKind> {
        match self.reader.contract.tools.kind(tool, input, self.place) {
            Some(Ok(kind)) => Ok(kind),
            Some(Err(fault)) => Err(self.blame(fault)),
            // A tool that this contract does not name: what is known of it elsewhere.
            None => Ok(kind_of(tool, input, self.place.cwd, self.place.home)),
        }
    }

    /// The folder that a call's own input names for it to work in: relative paths of a command are to be read against that.
    fn folder(&self, kind: &HookEventKind) -> Option<String> {
        let (HookEventKind::PreToolUse(call) | HookEventKind::PermissionRequest(call)) = kind else {
            return None;
        };
        let tools = &self.reader.contract.tools;
        match tools.folder(&call.tool, &call.input, self.place) {
            Some(folder) => folder,
            None => folder_of(&call.tool, &call.input, self.place.cwd, self.place.home),
        }
    }

    fn blame(&self, fault: ToolFault) -> FaultKind {
        let below = |field: &str| match &self.event.input {
            Input::At(at) => format!("{}.{field}", first_name(at)),
            Input::Picked(fields) => fields
                .iter()
                .find(|(name, _)| name == field)
                .map_or_else(|| field.to_owned(), |(_, at)| at.as_str().to_owned()),
        };
        match fault {
            ToolFault::Missing { field } => missing(self.name, &below(&field)),
            ToolFault::WrongType { field, expected } => FaultKind::WrongType {
                field: below(&field),
                expected,
            },
            ToolFault::NoFolder => missing(self.name, "cwd (absolute), which a relative path needs"),
        }
    }

    fn failed(&self) -> bool {
        let payload = self.reader.payload;
        match &self.event.failed {
            Failed::Always(failed) => *failed,
            Failed::When(at) => match at.first(payload) {
                None | Some(Value::Bool(false)) => false,
                Some(Value::String(text)) => !text.is_empty(),
                Some(Value::Number(number)) => number.as_i64() != Some(0),
                Some(_) => true,
            },
            Failed::Says(at, words) => at
                .first(payload)
                .and_then(Value::as_str)
                .is_some_and(|said| words.iter().any(|word| word == said)),
        }
    }

    /// The call's id; where the payload has none, one derived from what the events before and after the tool share.
    /// Two equal calls of one session then share it, which the prefix tells to whoever reads the ledger.
    fn call_id(&self, tool: &str, input: &Value) -> Result<CallId, FaultKind> {
        let at = &self.reader.contract.call;
        match at
            .iter()
            .find_map(|at| Some((at, at.first(self.reader.payload)?)))
        {
            Some((_, Value::String(id))) => return Ok(CallId::new(id)?),
            Some((_, Value::Number(id))) => return Ok(CallId::new(&id.to_string())?),
            Some((at, _)) => return Err(wrong_type(at.as_str())),
            None => {}
        }
        let session = self.session;
        // After the tool, its input may be the one that a reply of ours has put in place.
        let rooms = &self.reader.contract.rooms;
        let wrapped = rooms.command(input).and_then(unwrap);
        let before = wrapped.and_then(|wrapped| rooms.with_command(input, wrapped.command));
        let input = match before.as_ref().unwrap_or(input) {
            Value::Null => String::new(),
            input => input.to_string(),
        };
        let id = digest(DERIVED, &[session.harness_session(), tool, &input]);
        tracing::debug!(%session, call = %id, "{} without a call id: it is derived from the input", self.name);
        Ok(CallId::new(&id)?)
    }
}

/// The first 16 bytes of a SHA-256 over length-prefixed parts.
fn digest(prefix: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..16]
        .iter()
        .fold(prefix.to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

fn missing(event: &str, field: &str) -> FaultKind {
    FaultKind::Missing {
        event: event.chars().take(MAX_REMARK).collect(),
        field: field.to_owned(),
    }
}

fn wrong_type(field: &str) -> FaultKind {
    FaultKind::WrongType {
        field: field.to_owned(),
        expected: "a string",
    }
}

fn first_name(at: &[Selector]) -> &str {
    at.first().map(Selector::as_str).unwrap_or_default()
}

/// The string at the first selector that finds something; the error names a field that holds something else.
fn string_at<'a, 'v>(at: &'a [Selector], payload: &'v Value) -> Result<Option<&'v str>, &'a str> {
    match at.iter().find_map(|at| Some((at, at.first(payload)?))) {
        Some((_, Value::String(text))) => Ok(Some(text)),
        Some((at, _)) => Err(at.as_str()),
        None => Ok(None),
    }
}

fn remark(at: &[Selector], payload: &Value) -> Option<String> {
    let text = string_at(at, payload).ok()??;
    Some(
        text.chars()
            .filter(|c| !c.is_control())
            .take(MAX_REMARK)
            .collect(),
    )
}

/// Every text at the first selector that finds something, as lines, shortened to [`MAX_TEXT`].
fn text_at(at: &[Selector], payload: &Value) -> Option<String> {
    let value = at.iter().find_map(|at| at.first(payload))?;
    let mut text = String::new();
    lines_of(value, &mut text);
    Some(shortened(text))
}

/// The nesting is bounded by the payload's own bound.
fn lines_of(value: &Value, text: &mut String) {
    match value {
        Value::String(line) => {
            if !text.is_empty() && !line.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
        Value::Array(values) => values.iter().for_each(|value| lines_of(value, text)),
        Value::Object(fields) => fields.values().for_each(|value| lines_of(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn shortened(text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let (mut head, mut tail) = (MAX_TEXT / 2, text.len() - MAX_TEXT / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}\n{}", &text[..head], &text[tail..])
}
