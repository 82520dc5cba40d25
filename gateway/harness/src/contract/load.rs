//! From a contract's file to a contract that may be used.

use std::collections::{BTreeSet, HashMap};

use defenseclaw_detect::tools::{Selector, ToolTable};

use defenseclaw_model::sandbox::SandboxRoute;

use super::reply::Replies;
use super::sandbox::Rooms;
use super::schema::{EventEntry, EventKind, FailedEntry, File, InputEntry, ToolEntry};
use super::{Contract, Event, Failed, Input, ToolName};

/// Why a contract was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policies/harness/{connector}.yaml: {what}")]
pub struct ContractError {
    /// The connector.
    pub connector: String,
    /// Line, or key, and what is wrong with it.
    pub what: String,
}

impl Contract {
    /// Reads and checks a contract. `connector`: the name under which it is to be found.
    pub fn from_yaml(connector: &str, text: &str) -> Result<Self, ContractError> {
        let refuse = |what: String| ContractError {
            connector: connector.to_owned(),
            what,
        };
        let file: File = defenseclaw_yaml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        let contract = Self::from_file(file).map_err(refuse)?;
        if contract.connector != connector {
            return Err(refuse(format!("`connector` is {:?}", contract.connector)));
        }
        contract.check().map_err(refuse)?;
        Ok(contract)
    }

    fn from_file(file: File) -> Result<Self, String> {
        let mut replies = HashMap::new();
        for (name, entries) in &file.replies {
            let read = Replies::new(entries).map_err(|what| format!("replies, `{name}`: {what}"))?;
            replies.insert(name.clone(), read);
        }
        let mut wanted = BTreeSet::new();
        wanted.extend(file.payload.event.clone());
        let payload = &file.payload;
        want(&mut wanted, &[&payload.session, &payload.call, &payload.cwd]);
        wanted.extend(payload.home.iter().map(|home| home.at.root().to_owned()));
        let mut events = HashMap::new();
        for (name, entry) in file.events {
            let event = Event::new(entry, &file.payload.tool, &file.payload.input);
            event.want(&mut wanted);
            events.insert(name, event);
        }
        Ok(Self {
            connector: file.connector,
            product: file.product,
            evidence: file.evidence,
            hook: file.hook,
            event_field: file.payload.event,
            session: file.payload.session,
            no_session: file.payload.no_session,
            call: file.payload.call,
            cwd: file.payload.cwd,
            homes: file.payload.home,
            wanted: wanted.into_iter().collect(),
            events,
            primary: file.primary,
            tools: ToolTable::new(file.tools).map_err(|error| error.to_string())?,
            replies,
            rooms: Rooms {
                routes: file.sandbox.routes,
                tools: file.sandbox.tools,
                field: file.sandbox.field,
                exec: file.sandbox.exec,
            },
        })
    }

    /// What one entry cannot show by itself.
    fn check(&self) -> Result<(), String> {
        if !self.is_call(&self.primary) {
            return Err(format!(
                "`primary` is {:?}, which is no event of kind call",
                self.primary
            ));
        }
        if self.session.is_empty() {
            return Err("payload, `session`: name at least one field".into());
        }
        for (name, event) in &self.events {
            let refuse = |what: &str| Err(format!("events, `{name}`: {what}"));
            match &event.replies {
                Some(replies) if !self.replies.contains_key(replies) => {
                    return refuse(&format!("there are no replies {replies:?}"));
                }
                None if event.is_call() => return refuse("a call needs `replies`"),
                _ => {}
            }
            let needs_tool = event.is_call() || event.kind == EventKind::CallEnd;
            if needs_tool && matches!(&event.tool, ToolName::At(at) | ToolName::Mcp(at) if at.is_empty()) {
                return refuse("nothing says which tool it is: give `tool` here or in `payload`");
            }
            if event.is_call() && matches!(&event.input, Input::At(at) if at.is_empty()) {
                return refuse(
                    "nothing says where the tool's input stands: give `input` here or in `payload`",
                );
            }
            if event.kind == EventKind::Prompt && event.text.is_empty() {
                return refuse("nothing says where the prompt stands: give `text`");
            }
        }
        self.check_rooms()?;
        let used: BTreeSet<&String> = self
            .events
            .values()
            .filter_map(|event| event.replies.as_ref())
            .collect();
        match self.replies.keys().find(|name| !used.contains(name)) {
            Some(name) => Err(format!("replies, `{name}`: no event uses them")),
            None => Ok(()),
        }
    }
}

impl Contract {
    fn check_rooms(&self) -> Result<(), String> {
        let rooms = &self.rooms;
        if rooms.routes.is_empty() {
            return Err("sandbox, `routes`: name at least `session`".into());
        }
        let single = rooms.routes.iter().any(|route| *route != SandboxRoute::Session);
        if single == rooms.tools.is_empty() || single == rooms.field.is_empty() {
            return Err(
                "sandbox: `tools` and `field` belong to routes other than `session`, and are needed there"
                    .into(),
            );
        }
        if rooms.routes.contains(&SandboxRoute::UpdatedInput) && !self.can(&self.primary).modify {
            return Err(format!(
                "sandbox: {} cannot be answered with a changed input",
                self.primary
            ));
        }
        Ok(())
    }
}

fn want(wanted: &mut BTreeSet<String>, selectors: &[&[Selector]]) {
    wanted.extend(selectors.iter().copied().flatten().map(|at| at.root().to_owned()));
}

impl Event {
    fn new(entry: EventEntry, tool: &[Selector], input: &[Selector]) -> Self {
        Self {
            kind: entry.kind,
            text: entry.text,
            model: entry.model,
            tool: match entry.tool {
                None => ToolName::At(tool.to_vec()),
                Some(ToolEntry::At(at)) => ToolName::At(at),
                Some(ToolEntry::Is { is }) => ToolName::Is(is),
                Some(ToolEntry::Mcp { mcp }) => ToolName::Mcp(mcp),
            },
            input: match entry.input {
                None => Input::At(input.to_vec()),
                Some(InputEntry::At(at)) => Input::At(at),
                Some(InputEntry::Pick { pick }) => Input::Picked(pick.into_iter().collect()),
            },
            failed: match entry.failed {
                None => Failed::Always(false),
                Some(FailedEntry::Always(failed)) => Failed::Always(failed),
                Some(FailedEntry::When { when }) => Failed::When(when),
                Some(FailedEntry::Says { at, says }) => Failed::Says(at, says),
            },
            result: entry.result,
            said: entry.said,
            replies: entry.replies,
        }
    }

    fn want(&self, wanted: &mut BTreeSet<String>) {
        want(wanted, &[&self.text, &self.model, &self.result, &self.said]);
        match &self.tool {
            ToolName::At(at) | ToolName::Mcp(at) => want(wanted, &[at]),
            ToolName::Is(_) => {}
        }
        match &self.input {
            Input::At(at) => want(wanted, &[at]),
            Input::Picked(fields) => wanted.extend(fields.iter().map(|(_, at)| at.root().to_owned())),
        }
        match &self.failed {
            Failed::Always(_) => {}
            Failed::When(at) | Failed::Says(at, _) => {
                wanted.insert(at.root().to_owned());
            }
        }
    }
}
