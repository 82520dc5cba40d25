//! Tools by name, and by their input's fields.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use defenseclaw_model::call::CallKind;
use serde::Deserialize;
use serde_json::Value;

use super::{Place, Selector, command_line, paths_of_patch};

/// Most paths or targets that one call is said to have. A call with more is still judged by its first ones.
const MAX_PATHS: usize = 4096;
/// What stands between the parts of such a name, and how many of them are looked at.
const SEPARATORS: [char; 5] = ['_', '-', ':', '.', '/'];
const MAX_SEPARATORS: usize = 16;
/// Before the name of a tool that an MCP server offers.
const MCP: &str = "mcp";

/// What a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// Runs a shell command.
    Command,
    /// Writes files.
    FileWrite,
    /// Reads files.
    FileRead,
    /// Searches below folders.
    FileSearch,
    /// Connects out.
    Network,
    /// Anything else.
    Other,
}

/// Tools, and where in their input the action stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRule {
    /// Their names; one that ends in `*` stands for every name that starts so.
    #[serde(default)]
    pub names: Vec<String>,
    /// What they do.
    pub kind: ToolKind,
    /// Where the command, the paths or the addresses stand: the first of these that is there.
    #[serde(default)]
    pub at: Vec<Selector>,
    /// More paths, taken besides: a move's target.
    #[serde(default)]
    pub also: Vec<Selector>,
    /// Where a patch stands whose paths are the tool's.
    #[serde(default)]
    pub patch: Vec<Selector>,
    /// Where it says that the command runs in the background.
    #[serde(default)]
    pub background: Vec<Selector>,
    /// Where the folder stands in which it works, if that is not the session's.
    #[serde(default)]
    pub cwd: Vec<Selector>,
    /// Whether it works in the current folder where it names none.
    #[serde(default)]
    pub here: bool,
    /// Only for inputs whose fields have one of these texts: editors that read and write by a field's word.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<String>>,
    /// For a rule without names: fields of which at least one must be there too.
    #[serde(default)]
    pub with: Vec<Selector>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolTableError {
    /// Not the schema.
    #[error("the tool table cannot be read: {0}")]
    Syntax(String),
    /// A version that this program does not know.
    #[error("the tool table has version {0}; this program knows version 1")]
    Version(u32),
    /// A name is given twice.
    #[error("the tool {0:?} is given twice; merge the two")]
    Duplicate(String),
    /// A rule says nothing.
    #[error("a rule for {0:?} says not where the action stands: give `at`, `patch` or `here`")]
    Nowhere(String),
}

/// What is wrong with a tool's input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolFault {
    /// A field that the tool needs is missing.
    #[error("the tool's input has no {field}")]
    Missing {
        /// Which.
        field: String,
    },
    /// A field has the wrong type.
    #[error("{field} of the tool's input is not {expected}")]
    WrongType {
        /// Which.
        field: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A relative path, and no folder to read it against.
    #[error("a relative path needs a working directory, and none is known")]
    NoFolder,
}

/// Tools by name.
#[derive(Debug, Clone)]
pub struct ToolTable {
    rules: Vec<ToolRule>,
    /// By name, in the table's order.
    exact: HashMap<String, Vec<usize>>,
    /// Beginnings of names, the longest first.
    beginnings: Vec<(String, usize)>,
    spelling: Spelling,
}

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As they are: a harness's own table.
    Exact,
    /// Without case, `_`, `-`, `.` and blanks: every harness spells `read_file` in its own way.
    Loose,
}

impl ToolTable {
    /// A harness's table.
    pub fn new(rules: Vec<ToolRule>) -> Result<Self, ToolTableError> {
        Self::spelt(rules, Spelling::Exact)
    }

    fn spelt(rules: Vec<ToolRule>, spelling: Spelling) -> Result<Self, ToolTableError> {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut beginnings = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let first = rule.names.first().cloned().unwrap_or_default();
            if rule.kind != ToolKind::Other && rule.at.is_empty() && rule.patch.is_empty() && !rule.here {
                return Err(ToolTableError::Nowhere(first));
            }
            for name in &rule.names {
                match name.strip_suffix('*') {
                    Some(beginning) => beginnings.push((spell(beginning, spelling), index)),
                    None => {
                        let known = exact.entry(spell(name, spelling)).or_default();
                        // Whatever stands behind a rule for every input would never be reached.
                        if known.iter().any(|&before| rules[before].only.is_empty()) {
                            return Err(ToolTableError::Duplicate(name.clone()));
                        }
                        known.push(index);
                    }
                }
            }
        }
        beginnings.sort_by_key(|(beginning, _): &(String, usize)| std::cmp::Reverse(beginning.len()));
        Ok(Self {
            rules,
            exact,
            beginnings,
            spelling,
        })
    }

    /// Its rules, in the table's order.
    pub fn rules(&self) -> &[ToolRule] {
        &self.rules
    }

    fn rule(&self, tool: &str, input: &Value) -> Option<&ToolRule> {
        let name = spell(tool, self.spelling);
        let exact = self.exact.get(&name).into_iter().flatten().copied();
        let beginnings = self
            .beginnings
            .iter()
            .filter(|(beginning, _)| name.starts_with(beginning.as_str()))
            .map(|(_, index)| *index);
        exact
            .chain(beginnings)
            .filter_map(|index| self.rules.get(index))
            .find(|rule| rule.is_for(input))
    }

    /// What kind of action a call of `tool` is. `None`: the table has no such tool.
    pub fn kind(&self, tool: &str, input: &Value, place: Place<'_>) -> Option<Result<CallKind, ToolFault>> {
        self.rule(tool, input).map(|rule| rule.kind(input, place))
    }

    /// The folder that the input itself names for the tool to work in, made absolute. Relative paths of a command are to be
    /// read against it. `None`: the table has no such tool; `Some(None)`: the input names none.
    pub fn folder(&self, tool: &str, input: &Value, place: Place<'_>) -> Option<Option<String>> {
        self.rule(tool, input).map(|rule| rule.folder(input, place))
    }
}

fn spell(name: &str, spelling: Spelling) -> String {
    match spelling {
        Spelling::Exact => name.to_owned(),
        Spelling::Loose => name
            .chars()
            .filter(|c| !matches!(c, '_' | '-' | '.' | ' '))
            .map(|c| c.to_ascii_lowercase())
            .collect(),
    }
}

impl ToolRule {
    fn kind(&self, input: &Value, place: Place<'_>) -> Result<CallKind, ToolFault> {
        let folder = self.folder(input, place);
        let place = Place {
            cwd: folder.as_deref().or(place.cwd),
            ..place
        };
        Ok(match self.kind {
            ToolKind::Command => CallKind::Command {
                command: self.command(input)?,
                background: self.in_background(input),
            },
            ToolKind::FileWrite => CallKind::FileWrite {
                paths: self.paths(input, place)?,
            },
            ToolKind::FileRead => CallKind::FileRead {
                paths: self.paths(input, place)?,
            },
            ToolKind::FileSearch => CallKind::FileSearch {
                paths: self.paths(input, place)?,
            },
            ToolKind::Network => CallKind::Network {
                targets: self.texts(input)?,
            },
            ToolKind::Other => CallKind::Other,
        })
    }

    fn is_for(&self, input: &Value) -> bool {
        self.only.iter().all(|(field, texts)| {
            let said = input.get(field).and_then(Value::as_str);
            said.is_some_and(|said| texts.iter().any(|text| text == said))
        })
    }

    /// The folder that the input itself names, made absolute.
    fn folder(&self, input: &Value, place: Place<'_>) -> Option<String> {
        let named = self.cwd.iter().find_map(|at| at.first(input))?.as_str()?;
        place.absolute(named)
    }

    fn in_background(&self, input: &Value) -> bool {
        self.background
            .iter()
            .any(|at| at.first(input).and_then(Value::as_bool) == Some(true))
    }

    fn missing(&self) -> ToolFault {
        let field = self.at.first().or(self.patch.first());
        ToolFault::Missing {
            field: field.map(|at| at.as_str().to_owned()).unwrap_or_default(),
        }
    }

    /// A command line, or a list of arguments.
    fn command(&self, input: &Value) -> Result<String, ToolFault> {
        // Some harnesses hand a tool its text without an object around it.
        if let Value::String(text) = input {
            return Ok(text.clone());
        }
        let found = self
            .at
            .iter()
            .find_map(|at| Some((at, at.first(input)?)))
            .ok_or_else(|| self.missing());
        let (at, value) = match found {
            // To type nothing is to look what came of it.
            Err(_) if self.here => return Ok(String::new()),
            found => found?,
        };
        let wrong = || ToolFault::WrongType {
            field: at.as_str().to_owned(),
            expected: "a string",
        };
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Array(words) => {
                let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
                words
                    .filter(|words| !words.is_empty())
                    .map(|words| command_line(&words))
                    .ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    /// The texts at the first selector that gives any, and at `also`.
    fn texts(&self, input: &Value) -> Result<Vec<String>, ToolFault> {
        if let (Value::String(text), true) = (input, self.patch.is_empty()) {
            return Ok(vec![text.clone()]);
        }
        let mut found = Vec::new();
        for at in &self.at {
            collect(at, input, &mut found)?;
            if !found.is_empty() {
                break;
            }
        }
        if found.is_empty() && !self.here && self.patch.is_empty() {
            return Err(self.missing());
        }
        for at in &self.also {
            collect(at, input, &mut found)?;
        }
        Ok(found)
    }

    fn paths(&self, input: &Value, place: Place<'_>) -> Result<Vec<String>, ToolFault> {
        let mut named = self.texts(input)?;
        if let (Value::String(text), false) = (input, self.patch.is_empty()) {
            named.extend(paths_of_patch(text));
        }
        for at in &self.patch {
            for value in at.all(input) {
                let text = value.as_str().ok_or_else(|| ToolFault::WrongType {
                    field: at.as_str().to_owned(),
                    expected: "a string",
                })?;
                named.extend(paths_of_patch(text));
            }
        }
        if named.is_empty() {
            return if self.here {
                Ok(place.cwd.map(str::to_owned).into_iter().collect())
            } else {
                Err(self.missing())
            };
        }
        named.truncate(MAX_PATHS);
        named
            .iter()
            .map(|path| place.absolute(path).ok_or(ToolFault::NoFolder))
            .collect()
    }

    /// Whether a rule without names is for an input like this.
    fn fits(&self, input: &Value) -> bool {
        let there = |at: &Selector| at.first(input).is_some();
        (self.at.iter().any(there) || self.patch.iter().any(there))
            && (self.with.is_empty() || self.with.iter().any(there))
    }
}

/// Adds the texts at `at`: a string, or a list of strings.
fn collect(at: &Selector, input: &Value, found: &mut Vec<String>) -> Result<(), ToolFault> {
    let wrong = || ToolFault::WrongType {
        field: at.as_str().to_owned(),
        expected: "a string",
    };
    for value in at.all(input) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(texts) => {
                for text in texts.iter().take(MAX_PATHS) {
                    found.push(text.as_str().ok_or_else(wrong)?.to_owned());
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

/// The tools of every harness together, and rules for tools that nobody knows.
struct Union {
    named: ToolTable,
    by_fields: Vec<ToolRule>,
    programs: HashSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnionFile {
    version: u32,
    #[serde(default)]
    programs: HashSet<String>,
    tools: Vec<ToolRule>,
    by_fields: Vec<ToolRule>,
}

impl Union {
    fn from_yaml(text: &str) -> Result<Self, ToolTableError> {
        let file: UnionFile =
            defenseclaw_yaml::from_str(text).map_err(|error| ToolTableError::Syntax(error.to_string()))?;
        if file.version != 1 {
            return Err(ToolTableError::Version(file.version));
        }
        Ok(Self {
            named: ToolTable::spelt(file.tools, Spelling::Loose)?,
            // Checked like the others; they have no names to be found by.
            by_fields: ToolTable::spelt(file.by_fields, Spelling::Loose)?.rules,
            programs: file.programs,
        })
    }

    fn folder(&self, tool: &str, input: &Value, place: Place<'_>) -> Option<String> {
        if let Some(folder) = self.named.folder(tool, input, place) {
            return folder;
        }
        if is_mcp(tool) {
            return None;
        }
        let rule = self.by_fields.iter().find(|rule| rule.fits(input))?;
        rule.folder(input, place)
    }

    /// The tool of a server by what stands behind the server's name, where that is a file tool's and the file is named in full.
    fn by_server(&self, tool: &str, input: &Value, home: Option<&str>) -> Option<CallKind> {
        // Where such a server works is not known, nor that a relative path is of this host at all.
        let place = Place { cwd: None, home };
        let separators = tool.match_indices(SEPARATORS).take(MAX_SEPARATORS);
        separators
            .filter_map(|(at, _)| self.named.kind(&tool[at + 1..], input, place)?.ok())
            .find(|kind| {
                matches!(
                    kind,
                    CallKind::FileWrite { .. } | CallKind::FileRead { .. } | CallKind::FileSearch { .. }
                )
            })
    }

    fn kind(&self, tool: &str, input: &Value, place: Place<'_>) -> CallKind {
        if let Some(Ok(kind)) = self.named.kind(tool, input, place) {
            return kind;
        }
        // What an MCP server does is done in its own process: no action of the harness, whatever its fields say.
        if is_mcp(tool) {
            return CallKind::Other;
        }
        self.by_fields
            .iter()
            .filter(|rule| rule.fits(input))
            .find_map(|rule| rule.kind(input, place).ok())
            .unwrap_or(CallKind::Other)
    }
}

fn is_mcp(tool: &str) -> bool {
    tool.get(..MCP.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(MCP))
        && tool[MCP.len()..].starts_with(SEPARATORS)
}

#[expect(
    clippy::expect_used,
    reason = "the table is built in, and a test reads it: a binary whose table is not valid is never built"
)]
static UNION: LazyLock<Union> = LazyLock::new(|| {
    Union::from_yaml(include_str!("../../../../policies/tools.yaml")).expect("policies/tools.yaml is valid")
});

/// What kind of action a call of `tool` is, whichever harness it is of: by `policies/tools.yaml`. What it cannot tell is
/// [`CallKind::Other`]; the input itself says the rest.
pub fn kind_of(tool: &str, input: &Value, cwd: Option<&str>, home: Option<&str>) -> CallKind {
    UNION.kind(tool, input, Place { cwd, home })
}

/// Whether `tool` is one that `policies/tools.yaml` knows to run commands, to work on files or to fetch: what it does is told by
/// its input, not by its name.
pub(crate) fn is_plain(tool: &str, input: &Value) -> bool {
    UNION
        .named
        .rule(tool, input)
        .is_some_and(|rule| rule.kind != ToolKind::Other)
}

/// Programs for which servers and tools are named that take their arguments.
pub(crate) fn named_programs() -> &'static HashSet<String> {
    &UNION.programs
}

/// What an MCP server's file tool does with files of this host. It is no action of the harness, whose call is of no kind, but
/// it is one that the call declares.
pub(crate) fn of_server(tool: &str, input: &Value, home: Option<&str>) -> Option<CallKind> {
    if is_mcp(tool) {
        UNION.by_server(tool, input, home)
    } else {
        None
    }
}

/// The folder that a call's input names for the tool to work in, made absolute; `None` where it names none, and the
/// session's own holds.
pub fn folder_of(tool: &str, input: &Value, cwd: Option<&str>, home: Option<&str>) -> Option<String> {
    UNION.folder(tool, input, Place { cwd, home })
}

#[cfg(test)]
pub(super) fn check_union(text: &str) -> Result<(), ToolTableError> {
    Union::from_yaml(text).map(drop)
}
