//! For whom and where something is installed, and what is to be written there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::edit::{Edit, Format, lookup};
use super::spec::{FileSpec, OffSwitch, Place, Scope, Spec};
use super::{CLIENT, InstallError};
use crate::shims;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Home folder.
    pub home: PathBuf,
}

/// Where to install. Nothing is taken from the process's own surroundings.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where the host's files begin: `/`.
    pub root: PathBuf,
    /// Whose harnesses.
    pub user: User,
    /// Whether this process may act for other users.
    pub privileged: bool,
    /// The state folder, which holds the manifest and the backups.
    pub state: PathBuf,
    /// The hook client that the harness will run.
    pub client: PathBuf,
    /// Whether a harness that can be told so blocks calls when the hook client itself fails.
    pub fail_closed: bool,
    /// Whether the harness's calls are to run in sandboxes.
    pub sandboxed: bool,
    /// The user's environment, as far as it names folders of harnesses. Empty where someone acts for another user.
    pub variables: BTreeMap<String, OsString>,
    /// Folders in which programs are looked for.
    pub programs: Vec<PathBuf>,
}

/// One file of an installation, with everything filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Its path, before links are followed.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// What is put into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// The whole text, for a file that is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What in it switches hooks off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<OffSwitch>,
    /// A key below which everything goes where the file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapper: Option<String>,
}

impl Site {
    /// The folder below which files of a scope must lie, wherever links lead.
    pub fn boundary(&self, scope: Scope) -> PathBuf {
        match scope {
            Scope::User => self.user.home.clone(),
            Scope::System => self.root.join("etc"),
        }
    }

    /// The folder of a place.
    fn folder(&self, place: &Place, scope: Scope) -> Result<PathBuf, InstallError> {
        if let Some(name) = place.variable.as_ref().filter(|_| scope == Scope::User)
            && let Some(value) = self.variables.get(name).filter(|value| !value.is_empty())
        {
            let mut folder = PathBuf::from(value);
            folder.extend(&place.below);
            return if folder.is_absolute() {
                Ok(folder)
            } else {
                Err(InstallError::Variable {
                    name: name.clone(),
                    value: value.clone(),
                })
            };
        }
        Ok(match place.folder.strip_prefix('~') {
            Some(rest) => self.user.home.join(rest.trim_start_matches('/')),
            None => self.root.join(place.folder.trim_start_matches('/')),
        })
    }

    /// What an installation writes.
    pub fn plan(&self, spec: &Spec, scope: Scope) -> Result<Vec<PlannedFile>, InstallError> {
        let place = spec.place(scope).ok_or_else(|| InstallError::NoSuchPlace {
            title: spec.title.clone(),
            note: spec.system_note.clone(),
        })?;
        let folder = self.folder(place, scope)?;
        let words = Words::new(self, &spec.connector)?;
        Ok(place
            .files
            .iter()
            .map(|file| PlannedFile {
                path: existing(&folder, &file.path),
                format: file.format,
                edits: words.edits(file),
                content: file.shim.as_ref().and_then(|name| shim(&spec.connector, name)),
                off: file.off.clone(),
                wrapper: file.wrapper.clone(),
            })
            .collect())
    }
}

impl PlannedFile {
    /// The edits for a file that says `value`.
    pub fn edits_for(&self, value: &Value) -> Vec<Edit> {
        match &self.wrapper {
            Some(key) if lookup(value, std::slice::from_ref(key)).is_some() => {
                let below = |at: &Vec<String>| [std::slice::from_ref(key), at].concat();
                let moved = |edit: &Edit| match edit.clone() {
                    Edit::Append {
                        at,
                        value,
                        if_present,
                    } => Edit::Append {
                        at: below(&at),
                        value,
                        if_present,
                    },
                    Edit::Set { at, value, existing } => Edit::Set {
                        at: below(&at),
                        value,
                        existing,
                    },
                };
                self.edits.iter().map(moved).collect()
            }
            _ => self.edits.clone(),
        }
    }
}

/// A file of a connector's plugin.
fn shim(connector: &str, name: &str) -> Option<String> {
    let file = shims::files(connector).iter().find(|file| file.path == name)?;
    Some(file.content.to_owned())
}

/// The first of some paths that exists, else the first.
fn existing(folder: &Path, paths: &[String]) -> PathBuf {
    let mut all = paths.iter().map(|path| folder.join(path));
    let found = all.clone().find(|path| path.symlink_metadata().is_ok());
    found.or_else(|| all.next()).unwrap_or_else(|| folder.to_owned())
}

/// What stands for the braces in a specification.
struct Words {
    command: String,
    client_folder: String,
    fail_closed: bool,
    sandboxed: bool,
}

impl Words {
    fn new(site: &Site, connector: &str) -> Result<Self, InstallError> {
        let refuse = |why| InstallError::Client {
            path: site.client.clone(),
            why,
        };
        let client = site
            .client
            .to_str()
            .ok_or_else(|| refuse("its path is not UTF-8"))?;
        if !site.client.is_absolute() || site.client.file_name() != Some(CLIENT.as_ref()) {
            return Err(refuse("it is not an absolute path to defenseclaw-hook"));
        }
        // Harnesses hand the line to a shell, or split it as a shell would: letters that mean nothing to either.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        if !client.chars().all(plain) {
            return Err(refuse(
                "its path holds characters that a shell takes for something else",
            ));
        }
        let folder = site.client.parent().and_then(Path::to_str).unwrap_or("/");
        Ok(Self {
            command: format!("{client} {connector}"),
            client_folder: folder.to_owned(),
            fail_closed: site.fail_closed,
            sandboxed: site.sandboxed,
        })
    }

    fn edits(&self, file: &FileSpec) -> Vec<Edit> {
        let wanted = file.set.iter().filter(|set| self.sandboxed || !set.sandboxed);
        let set = wanted.map(|set| Edit::Set {
            at: set.at.clone(),
            value: self.fill_value(&set.value, ""),
            existing: set.existing,
        });
        let append = file.append.iter().flat_map(|list| {
            let once = [String::new()];
            let events = if list.events.is_empty() {
                &once[..]
            } else {
                &list.events
            };
            let each = |event: &String| Edit::Append {
                at: list.at.iter().map(|key| key.replace("{event}", event)).collect(),
                value: self.fill_value(&list.value, event),
                if_present: list.if_present,
            };
            events.iter().map(each).collect::<Vec<_>>()
        });
        set.chain(append).collect()
    }

    fn fill_value(&self, value: &Value, event: &str) -> Value {
        match value {
            Value::String(text) if text == "{fail_closed}" => self.fail_closed.into(),
            Value::String(text) => self.fill(text, event).into(),
            Value::Array(list) => list.iter().map(|value| self.fill_value(value, event)).collect(),
            Value::Object(map) => {
                let filled = map
                    .iter()
                    .map(|(key, value)| (key.clone(), self.fill_value(value, event)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    fn fill(&self, text: &str, event: &str) -> String {
        text.replace("{command_event}", &format!("{} {event}", self.command))
            .replace("{command}", &self.command)
            .replace("{client_folder}", &self.client_folder)
            .replace("{event}", event)
    }
}
