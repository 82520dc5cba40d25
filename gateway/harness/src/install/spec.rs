//! `policies/harness/install/*.yaml`: where each harness keeps its hooks, and what belongs there.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::edit::{Existing, Format};

/// The built-in specifications: file name and text.
const EMBEDDED: [(&str, &str); 11] = {
    macro_rules! spec {
        ($name:literal) => {
            (
                concat!("policies/harness/install/", $name, ".yaml"),
                include_str!(concat!(
                    "../../../../policies/harness/install/",
                    $name,
                    ".yaml"
                )),
            )
        };
    }
    [
        spec!("claude-code"),
        spec!("codex"),
        spec!("cursor"),
        spec!("gemini-cli"),
        spec!("copilot-cli"),
        spec!("windsurf"),
        spec!("opencode"),
        spec!("openclaw"),
        spec!("hermes"),
        spec!("antigravity"),
        spec!("openhands"),
    ]
};

/// How one harness is hooked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The connector's name: `claude-code`.
    pub connector: String,
    /// The product's name, for people.
    pub title: String,
    /// How the harness is found on a host.
    pub detect: Detect,
    /// Hooks of one user.
    pub user: Place,
    /// Hooks of the whole host, which users and their agents cannot change. `None` where the harness has no such place.
    #[serde(default)]
    pub system: Option<Place>,
    /// Why there is no such place, or what to know of it; for a person.
    #[serde(default)]
    pub system_note: String,
    /// How its contract is proven.
    pub canary: Canary,
}

/// How a harness is found on a host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// Names of its program, looked for on the path.
    pub programs: Vec<String>,
    /// Arguments that make it print its version.
    #[serde(default)]
    pub version: Vec<String>,
    /// Folders or files that show that it was used, relative to the home folder.
    pub traces: Vec<String>,
    /// Names of its processes: of the executable or of the script that an interpreter runs.
    pub processes: Vec<String>,
    /// What a session that runs already needs before it takes the hook; for a person.
    pub running: String,
}

/// Files that make up one installation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The folder: absolute, or with `~` for the home folder.
    pub folder: String,
    /// A variable that names another folder, for the user's own installation.
    #[serde(default)]
    pub variable: Option<String>,
    /// The folder below the one that the variable names.
    #[serde(default)]
    pub below: Option<String>,
    /// The files, in the order in which they are written.
    pub files: Vec<FileSpec>,
    /// What a person has to do once, if anything.
    #[serde(default)]
    pub afterwards: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Relative to the place's folder. Of several, the first that exists is taken, else the first.
    pub path: Vec<String>,
    /// How it is written.
    pub format: Format,
    /// Values that it needs.
    #[serde(default)]
    pub set: Vec<SetSpec>,
    /// Elements that lists in it need.
    #[serde(default)]
    pub append: Vec<AppendSpec>,
    /// For a file that is ours as a whole: which file of the connector's plugin it is.
    #[serde(default)]
    pub shim: Option<String>,
    /// Where the file has this key, everything goes below it: some harnesses read two shapes of one file.
    #[serde(default)]
    pub wrapper: Option<String>,
    /// Settings in it that switch hooks off.
    #[serde(default)]
    pub off: Vec<OffSwitch>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSpec {
    /// Keys from the outermost on.
    pub at: Vec<String>,
    /// The value. In its texts, `{client_folder}` is the folder of our programs.
    pub value: Value,
    /// What to do where there is another.
    #[serde(default)]
    pub existing: Existing,
    /// Only where the harness's calls are to run in sandboxes.
    #[serde(default)]
    pub sandboxed: bool,
}

/// An element for each of some lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendSpec {
    /// Keys from the outermost on; `{event}` stands for each of the events.
    pub at: Vec<String>,
    /// The harness's names of the events. Without any, the element is added once.
    #[serde(default)]
    pub events: Vec<String>,
    /// The element. In its texts, `{command}` is the hook client's command line, `{command_event}` the same with the event's
    /// name, `{event}` that name; a text that is `{fail_closed}` and nothing else becomes true or false.
    pub value: Value,
    /// Only where the list is there already.
    #[serde(default)]
    pub if_present: bool,
}

/// A setting that switches hooks off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffSwitch {
    /// Keys from the outermost on.
    pub at: Vec<String>,
    /// The value that does.
    pub is: Value,
}

/// A call that the policy always denies, in the harness's own words.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The event, by the harness's name.
    pub event: String,
    /// The payload; `{session}`, `{call}`, `{cwd}`, `{canary}` are filled in.
    pub payload: Value,
    /// Replies that block the call; any one of them will do.
    pub blocked: Vec<Blocked>,
    /// How to try a plugin, for harnesses that start no hook command.
    #[serde(default)]
    pub plugin: Option<Probe>,
}

/// How to try a plugin outside of its harness.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The plugin's file, by its name.
    pub file: String,
    /// A JavaScript module for Node. Its arguments are the plugin's file, session, working directory and the canary; it
    /// prints the reply.
    pub script: String,
}

/// A reply that blocks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Blocked {
    /// The hook's exit status.
    Exit {
        /// Which.
        exit: i32,
    },
    /// A value in what the hook printed.
    Json {
        /// JSON pointer.
        at: String,
        /// The value.
        is: Value,
    },
}

/// Why a specification was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}")]
pub struct SpecError {
    /// The file.
    pub file: String,
    /// What is wrong, with its line where the parser knows it.
    pub what: String,
}

impl Spec {
    /// Reads one specification. `file` is named in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, SpecError> {
        let refuse = |what: String| SpecError {
            file: file.to_owned(),
            what,
        };
        let spec: Self = defenseclaw_yaml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        spec.check().map_err(refuse)?;
        Ok(spec)
    }

    /// The place for a scope.
    pub fn place(&self, scope: Scope) -> Option<&Place> {
        match scope {
            Scope::User => Some(&self.user),
            Scope::System => self.system.as_ref(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.canary.blocked.is_empty() {
            return Err("canary.blocked is empty: no reply could prove anything".into());
        }
        for (name, place) in [("user", Some(&self.user)), ("system", self.system.as_ref())] {
            let Some(place) = place else { continue };
            if !place.folder.starts_with(['/', '~']) {
                return Err(format!(
                    "{name}.folder is {}: neither absolute nor below ~",
                    place.folder
                ));
            }
            for file in &place.files {
                file.check().map_err(|what| format!("{name}: {what}"))?;
            }
        }
        Ok(())
    }
}

impl FileSpec {
    fn check(&self) -> Result<(), String> {
        let name = self.path.first().ok_or("a file has no path")?;
        for path in &self.path {
            if path.starts_with('/') || path.split('/').any(|part| part == ".." || part.is_empty()) {
                return Err(format!("{path} is no plain relative path"));
            }
        }
        if (self.format == Format::Whole) != self.shim.is_some() {
            return Err(format!(
                "{name}: `shim` belongs to format `whole`, and to no other"
            ));
        }
        if self.format != Format::Whole && self.set.is_empty() && self.append.is_empty() {
            return Err(format!("{name}: nothing is put into it"));
        }
        let mut seen = BTreeSet::new();
        for list in &self.append {
            let per_event = list.at.iter().any(|key| key == "{event}");
            if list.at.is_empty() || per_event == list.events.is_empty() {
                return Err(format!(
                    "{name}: `events` and `{{event}}` in `at` belong together"
                ));
            }
            for event in &list.events {
                if !seen.insert((list.at.clone(), event.clone())) {
                    return Err(format!("{name}: {event} stands there twice"));
                }
            }
        }
        Ok(())
    }
}

/// Whose hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One user's.
    User,
    /// The host's.
    System,
}

impl Scope {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// Every specification, in a stable order. They are part of the program and were read by its tests.
pub fn all() -> Result<&'static [Spec], SpecError> {
    static SPECS: OnceLock<Result<Vec<Spec>, SpecError>> = OnceLock::new();
    let read = || {
        EMBEDDED
            .iter()
            .map(|(file, text)| Spec::parse(file, text))
            .collect()
    };
    SPECS.get_or_init(read).as_deref().map_err(Clone::clone)
}

/// The specification of one connector.
pub fn named(connector: &str) -> Result<Option<&'static Spec>, SpecError> {
    Ok(all()?.iter().find(|spec| spec.connector == connector))
}
