//! What a tool call declares, as typed statements.
//!
//! [`facts_of`] says what the call's own text says, no more: a script that the call runs is a black box here, and what
//! it does is for the kernel's view. What the text does not tell (a variable program name, text for `eval`) stands in
//! [`Facts::opaque`]. Every list is bounded; when a bound is hit the analysis stops with an opaque `too-large` or
//! `too-deep`, which policy escalates.

mod addresses;
mod aside;
mod backdoor;
mod behaviours;
mod calls;
mod carried;
mod code;
mod code_paths;
mod contents;
mod deeds;
mod edits;
mod elsewhere;
mod flows;
mod functions;
mod given;
mod groups;
mod handed;
mod histories;
mod hosts;
mod installs;
mod landing;
mod languages;
mod lexed;
mod lines;
mod lookalike;
pub(crate) mod mentions;
mod muted;
mod names_kept;
mod normal;
mod obeys;
mod options;
mod people;
mod places;
mod prints;
mod programs;
mod published;
mod radius;
mod received;
mod released;
mod renamed;
mod scripted;
mod shells;
mod sought;
mod special;
mod spelled;
mod spotted;
mod stricter;
mod table;
mod tar;
mod tested;
mod tracked;
mod transfers;
mod wrappers;
mod writers;
mod written;

pub(crate) use lines::inner_line;

use std::ops::Range;

use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::facts::{
    Behaviour, BehaviourKind, Facts, HostFact, Opaque, PathFact, Pipe, Program, Radius,
};
use serde_json::Value;

pub(crate) use names_kept::HARMLESS;

use crate::mask::mask_text;
use crate::paths::PathRules;
use crate::shell::{self, Assignment, Command, Field, Place, Scope, Sink};
use crate::tools::{is_plain, of_server};

/// Longest command line that is read (bytes). The kernel takes no single argument over 128 KiB (`MAX_ARG_STRLEN`), so a
/// longer text cannot be handed to `sh -c` as a whole.
pub const MAX_COMMAND: usize = 128 << 10;

/// Bytes that may be read, copied and expanded for one call. Ordinary commands need about twice their length; a text of
/// [`MAX_COMMAND`] may be read again on 32 levels of nesting.
const BUDGET: usize = 32 * MAX_COMMAND;

/// Most programs in one call, far above what a person or a model writes in one line; policy looks at each.
const MAX_PROGRAMS: usize = 512;
/// Most read paths and most written paths.
const MAX_PATHS: usize = 512;
/// Most hosts.
const MAX_HOSTS: usize = 128;
/// Most pipes; two groups in parentheses are joined program by program.
const MAX_PIPES: usize = 512;
/// Most notes of what could not be resolved. More of them say no more.
const MAX_OPAQUE: usize = 64;
/// Longest source text that is shown in such a note (bytes).
const MAX_OPAQUE_TEXT: usize = 160;
/// Most behaviours. A script that does more has long been weighed.
const MAX_BEHAVIOURS: usize = 128;
/// Longest object of a behaviour (bytes): a path or name, cut rather than dropped.
const MAX_OBJECT: usize = 256;
/// Longest string there that can be a path or an address (bytes): `PATH_MAX`.
const LONGEST_STRING: usize = 4096;
/// Most strings that are looked at in the input of a tool that is not known.
const MAX_STRINGS: usize = 1024;

/// What `call` declares. `cwd` and `home` are those of the harness, where they are known.
pub fn facts_of(call: &ToolCall, cwd: Option<&str>, home: Option<&str>) -> Facts {
    let mut analysis = Analysis::new();
    analysis.project = cwd.map(str::to_owned);
    let mut scope = Scope::new(cwd, home);
    match &call.kind {
        CallKind::Command { command, .. } => analysis.command_line(command, &mut scope),
        CallKind::FileRead { paths } | CallKind::FileSearch { paths } => {
            analysis.plain_paths(paths, &scope, Access::Read)
        }
        CallKind::FileWrite { paths } => {
            analysis.plain_paths(paths, &scope, Access::Write);
            written::note(&mut analysis, paths, &call.input);
        }
        CallKind::Network { targets } => {
            for target in targets {
                if let Some(host) = hosts::url_host(target.trim()) {
                    analysis.host(host);
                }
                let prompt = call.input.get("prompt").and_then(Value::as_str);
                addresses::note(&mut analysis, target.trim(), prompt);
            }
        }
        CallKind::Other => {
            match of_server(&call.tool, &call.input, home) {
                Some(CallKind::FileWrite { paths }) => {
                    analysis.plain_paths(&paths, &scope, Access::Write);
                    written::note(&mut analysis, &paths, &call.input);
                }
                Some(CallKind::FileRead { paths } | CallKind::FileSearch { paths }) => {
                    analysis.plain_paths(&paths, &scope, Access::Read);
                }
                _ => {}
            }
            analysis.unknown_input(&call.tool, &call.input, &scope);
        }
    }
    let command = match &call.kind {
        CallKind::Command { command, .. } => Some(command.as_str()),
        _ => None,
    };
    if command.is_none() && !is_plain(&call.tool, &call.input) {
        deeds::note(&mut analysis, &call.tool, &call.input);
    }
    analysis.finish(command)
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The facts as they grow, and what is left of the bounds.
struct Analysis {
    facts: Facts,
    /// What is known of each program beside its name and words.
    nodes: Vec<flows::Node>,
    /// Which program's output reaches which.
    edges: Vec<flows::Edge>,
    /// The program whose words are being looked at, and where it stands.
    current: Option<usize>,
    place: Place,
    /// Functions that the text defines.
    functions: functions::Functions,
    /// Hosts that telnet is connected to: two of them may be a shell's two ends.
    telnets: Vec<String>,
    /// Whether a named pipe is made, by which a shell's output can come back to its input.
    fifo: bool,
    /// Whether the shell itself, without a program, opened a network socket (`exec 5<>/dev/tcp/…`).
    shell_socket: bool,
    /// Files that the call makes executable.
    made_executable: Vec<String>,
    /// What the call has written into files, and the links that it has made.
    contents: contents::Contents,
    /// Whether the command that is being read stands behind a pipe.
    piped: bool,
    /// Registries of packages that the environment names.
    registries: Vec<installs::Registry>,
    /// Whether a compiler runs: what lies in a folder for temporary files may come from it.
    compiled: bool,
    /// The folder in which the agent works.
    project: Option<String>,
    budget: usize,
    stopped: bool,
    rules: &'static PathRules,
}

impl Analysis {
    fn new() -> Self {
        Self {
            facts: Facts::default(),
            nodes: Vec::new(),
            edges: Vec::new(),
            current: None,
            place: Place::default(),
            functions: functions::Functions::default(),
            telnets: Vec::new(),
            fifo: false,
            shell_socket: false,
            made_executable: Vec::new(),
            contents: contents::Contents::default(),
            piped: false,
            registries: Vec::new(),
            compiled: false,
            project: None,
            budget: BUDGET,
            stopped: false,
            rules: PathRules::embedded(),
        }
    }

    /// Draws what follows from the call as a whole: the text of a command that is run, `None` for all else.
    fn finish(mut self, command: Option<&str>) -> Facts {
        self.note_readers();
        names_kept::settle(&mut self);
        stricter::settle(&mut self);
        flows::draw(&mut self);
        people::note(&mut self);
        behaviours::whole(&mut self);
        if let Some(command) = command {
            installs::settle(&mut self, command);
        }
        self.facts
    }

    /// Notes what the call does, once.
    fn behave(
        &mut self,
        kind: BehaviourKind,
        technique: &str,
        object: impl AsRef<str>,
        radius: impl Into<Option<Radius>>,
    ) {
        let object = object.as_ref();
        let object = &object[..object.floor_char_boundary(MAX_OBJECT)];
        let radius = radius.into();
        let known = |known: &Behaviour| {
            known.kind == kind
                && known.technique == technique
                && known.object == object
                && known.radius == radius
        };
        if self.facts.behaviours.len() < MAX_BEHAVIOURS && !self.facts.behaviours.iter().any(known) {
            self.facts.behaviours.push(Behaviour {
                kind,
                technique: technique.to_owned(),
                object: object.to_owned(),
                radius,
            });
        }
    }

    fn command_line(&mut self, text: &str, scope: &mut Scope<'_>) {
        let end = text.floor_char_boundary(MAX_COMMAND);
        shell::read(&text[..end], self, scope, Place::default());
        if end < text.len() && !self.stopped {
            self.stop("too-large", &text[end..]);
        }
    }

    fn plain_paths(&mut self, paths: &[String], scope: &Scope<'_>, access: Access) {
        for path in paths {
            let field = match (path.strip_prefix('~'), scope.home) {
                (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                    format!("{home}{rest}")
                }
                _ => path.clone(),
            };
            self.path(access, &Field::literal(field), scope);
        }
    }

    /// The input of a tool that is not known: command lines, strings that are a URL as a whole, or the path of something
    /// sensitive.
    fn unknown_input(&mut self, tool: &str, input: &Value, scope: &Scope<'_>) {
        let named = lines::Tool::new(tool);
        let reach = deeds::reach(input);
        let explains = deeds::explains(tool);
        let mut waiting = vec![input];
        let mut looked_at = 0_usize;
        while let Some(value) = waiting.pop() {
            match value {
                Value::Array(items) => waiting.extend(items),
                Value::Object(fields) => {
                    // A tool that calls it a command runs it, wherever that is.
                    lines::note(self, &named, fields);
                    for (name, value) in fields {
                        match value {
                            Value::String(text) if is_statement_field(name) && !explains => {
                                behaviours::statements(self, text, reach);
                            }
                            Value::String(text) if is_output_field(name) => {
                                self.output_string(text.trim(), scope);
                            }
                            _ => {}
                        }
                        waiting.push(value);
                    }
                }
                Value::String(text) if looked_at < MAX_STRINGS => {
                    looked_at += 1;
                    self.unknown_string(text.trim(), scope);
                }
                _ => {}
            }
        }
    }

    /// What a tool that is not known names as its output: written, where that matters.
    fn output_string(&mut self, text: &str, scope: &Scope<'_>) {
        if text.len() > LONGEST_STRING
            || text.contains(char::is_whitespace)
            || !text.starts_with(['/', '~', '.'])
        {
            return;
        }
        let text = match (text.strip_prefix("~/"), scope.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => text.to_owned(),
        };
        let field = Field::literal(text);
        let class = self.rules.classify(&field.text);
        if landing::matters(self, &field, scope) {
            landing::filled(self, &field, scope);
        } else if class.is_some_and(|class| self.rules.is_guarded(class)) {
            self.path(Access::Write, &field, scope);
        }
    }

    fn unknown_string(&mut self, text: &str, scope: &Scope<'_>) {
        let spaced = text.contains(char::is_whitespace);
        if text.len() > LONGEST_STRING || spaced && !people::is_record(text) {
            return;
        }
        if let Some(host) = hosts::url_host(text) {
            self.host(host);
            addresses::note(self, text, None);
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.starts_with(['/', '~'])
            && (people::is_record(path)
                || people::is_personal(path, self.project.as_deref())
                || self
                    .rules
                    .classify(path)
                    .is_some_and(|class| self.rules.severity(class) > Default::default()))
        {
            self.plain_paths(&[path.to_owned()], scope, Access::Read);
        }
    }

    /// Notes a path that is read or written.
    fn path(&mut self, access: Access, field: &Field, scope: &Scope<'_>) {
        let text = field.text.as_str();
        if text.is_empty() || text == "-" || text.contains("://") || self.stopped || text.contains('\0') {
            return;
        }
        if !field.exact {
            self.opaque(
                if field.substitution {
                    "substitution"
                } else {
                    "expansion"
                },
                text,
            );
        }
        let cwd = if field.exact { scope.cwd.as_deref() } else { None };
        let path = self.contents.resolve(normal::normalise(text, cwd));
        if is_plumbing(&path) {
            return;
        }
        if let Some(host) = hosts::device_host(&path) {
            self.host(host);
            match self.current.and_then(|at| self.nodes.get_mut(at)) {
                Some(node) => node.socket = true,
                None => self.shell_socket = true,
            }
        }
        let class = if field.glob {
            self.rules.classify_glob(&path)
        } else {
            self.rules.classify(&path)
        };
        if access == Access::Read && people::is_personal(&path, self.project.as_deref()) {
            self.behave(BehaviourKind::Discovery, "personal-document", &path, None);
        }
        let fact = PathFact {
            path,
            class: class.map(str::to_owned),
            by: Vec::new(),
        };
        let list = match access {
            Access::Read => &mut self.facts.reads,
            Access::Write => &mut self.facts.writes,
        };
        let at = match list.iter().position(|known| *known == fact) {
            Some(at) => at,
            None if list.len() >= MAX_PATHS => return self.stop("too-large", text),
            None => {
                list.push(fact);
                list.len() - 1
            }
        };
        if let Some(node) = self.current.and_then(|at| self.nodes.get_mut(at)) {
            match access {
                Access::Read => node.reads.push(at),
                Access::Write => node.writes.push(at),
            }
        }
        places::touched(self, access, at);
    }

    /// Notes of each path which programs read or write it.
    fn note_readers(&mut self) {
        for (program, node) in self.nodes.iter().enumerate() {
            for (paths, touched) in [
                (&mut self.facts.reads, &node.reads),
                (&mut self.facts.writes, &node.writes),
            ] {
                for &at in touched {
                    if let Some(fact) = paths.get_mut(at)
                        && !fact.by.contains(&program)
                    {
                        fact.by.push(program);
                    }
                }
            }
        }
    }

    /// Whether nothing is piped into the program that is being looked at, as far as that is known before its pipe is.
    fn waits_for_no_pipe(&self) -> bool {
        !self.piped
    }

    fn host(&mut self, host: HostFact) {
        if self.facts.hosts.contains(&host) {
            return;
        }
        behaviours::reached(self, &host.host);
        lookalike::host(self, &host.host);
        if self.facts.hosts.len() >= MAX_HOSTS {
            self.stop("too-large", &host.host);
        } else {
            self.facts.hosts.push(host);
        }
    }

    fn privilege(&mut self, word: &str) {
        if !self.facts.privilege.iter().any(|known| known == word) {
            self.facts.privilege.push(word.to_owned());
        }
    }

    /// Adds a program; gives its index.
    fn program(&mut self, name: String, argv: Vec<String>, level: u16) -> Option<usize> {
        if self.facts.programs.len() >= MAX_PROGRAMS {
            self.stop("too-large", &name);
            return None;
        }
        // Each function that knows the program passes over its words again.
        const PASSES: usize = 4;
        self.spend(PASSES * argv.iter().map(|word| word.len() + 1).sum::<usize>());
        self.facts.programs.push(Program { name, argv });
        self.nodes.push(flows::Node {
            level,
            ..flows::Node::default()
        });
        Some(self.facts.programs.len() - 1)
    }

    /// The programs of `range` that stand at `level`.
    fn at_level(&self, range: Range<usize>, level: u16) -> Vec<usize> {
        let mut found: Vec<usize> = range
            .filter(|&index| self.nodes.get(index).is_some_and(|node| node.level == level))
            .collect();
        if !self.functions.is_empty() {
            self.with_bodies(&mut found);
        }
        found
    }

    /// Adds to `programs` those that the functions among them consist of: what a function prints, they print.
    fn with_bodies(&self, programs: &mut Vec<usize>) {
        for at in 0..programs.len() {
            let name = &self.facts.programs[programs[at]].name;
            let Some(body) = self.functions.body(name) else {
                continue;
            };
            let level = self.nodes.get(body.clone()).into_iter().flatten();
            let Some(level) = level.map(|node| node.level).min() else {
                continue;
            };
            for index in body {
                if self.nodes[index].level == level && !programs.contains(&index) {
                    programs.push(index);
                }
            }
        }
    }

    /// The programs of `range` whose output a substitution stands for: those of its outermost level.
    fn outermost(&self, range: Range<usize>) -> Vec<usize> {
        let nodes = self.nodes.get(range.clone()).unwrap_or_default();
        match nodes.iter().map(|node| node.level).min() {
            Some(level) => self.at_level(range, level),
            None => Vec::new(),
        }
    }

    fn join(&mut self, from: &[usize], to: &[usize], way: flows::Way) {
        for &from in from {
            for &to in to {
                if self.facts.pipes.len() >= MAX_PIPES {
                    self.stop("too-large", "|");
                    return;
                }
                self.facts.pipes.push(Pipe { from, to });
                self.edges.push(flows::Edge { from, to, way });
            }
        }
    }

    /// Like [`Analysis::join`], for what a variable carries: no pipe of the text, and what goes over the bound only
    /// makes the flows less complete.
    fn follow(&mut self, from: &[usize], to: &[usize], way: flows::Way) {
        for &from in from {
            for &to in to {
                if self.edges.len() < flows::MAX_EDGES {
                    self.edges.push(flows::Edge { from, to, way });
                }
            }
        }
    }
}

impl Sink for Analysis {
    fn stopped(&self) -> bool {
        self.stopped
    }

    fn spend(&mut self, bytes: usize) {
        match self.budget.checked_sub(bytes) {
            Some(left) => self.budget = left,
            None => self.stop("too-large", ""),
        }
    }

    fn stop(&mut self, why: &'static str, text: &str) {
        if !self.stopped {
            self.stopped = true;
            self.facts.opaque.push(Opaque {
                why: why.to_owned(),
                text: mask_text(text, MAX_OPAQUE_TEXT),
            });
        }
    }

    fn opaque(&mut self, why: &'static str, text: &str) {
        if self.facts.opaque.len() < MAX_OPAQUE && !self.stopped {
            let opaque = Opaque {
                why: why.to_owned(),
                text: mask_text(text, MAX_OPAQUE_TEXT),
            };
            if !self.facts.opaque.contains(&opaque) {
                self.facts.opaque.push(opaque);
            }
        }
    }

    fn programs(&self) -> usize {
        self.facts.programs.len()
    }

    fn pipe(&mut self, from: Range<usize>, to: Range<usize>, level: u16) {
        let (from, to) = (self.at_level(from, level), self.at_level(to, level));
        self.join(&from, &to, flows::Way::Input);
    }

    fn feed(&mut self, from: Range<usize>, to: Range<usize>, level: u16) {
        let (from, to) = (self.outermost(from), self.at_level(to, level));
        self.join(&from, &to, flows::Way::Input);
    }

    fn function(&mut self, name: &str) {
        behaviours::function(self, name);
    }

    fn body(&mut self, name: &str, text: &str, programs: Range<usize>) {
        self.functions.define(name, text, programs);
    }

    fn assigned(&mut self, assignment: &Assignment, scope: &Scope<'_>) {
        behaviours::assigned(self, assignment, scope);
    }

    fn command(&mut self, command: &Command, scope: &mut Scope<'_>, place: Place) -> Option<String> {
        self.piped = command.piped;
        programs::simple_command(self, command, scope, place)
    }
}

/// Fields that name what a tool makes or saves.
fn is_output_field(name: &str) -> bool {
    let name: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    matches!(
        name.as_str(),
        "output"
            | "outputpath"
            | "outputfile"
            | "outputdir"
            | "outputdirectory"
            | "out"
            | "outpath"
            | "outfile"
            | "dest"
            | "destpath"
            | "destination"
            | "destinationpath"
            | "savepath"
            | "saveto"
            | "saveas"
            | "downloadpath"
            | "downloaddir"
            | "linkpath"
            | "linkname"
            | "extractto"
            | "extractpath"
            | "targetpath"
    )
}

/// Fields in which a database's statements stand.
fn is_statement_field(name: &str) -> bool {
    matches!(
        name,
        "sql"
            | "query"
            | "statement"
            | "statements"
            | "queries"
            | "sql_query"
            | "sqlQuery"
            | "sqlText"
            | "migration"
    )
}

/// Devices and descriptors through which nothing is kept or learnt.
fn is_plumbing(path: &str) -> bool {
    matches!(
        path,
        "/dev/null"
            | "/dev/zero"
            | "/dev/full"
            | "/dev/random"
            | "/dev/urandom"
            | "/dev/tty"
            | "/dev/stdin"
            | "/dev/stdout"
            | "/dev/stderr"
            | "/dev/ptmx"
    ) || path.starts_with("/dev/fd/")
        || path.starts_with("/dev/pts/")
        || path.starts_with("/proc/self/fd/")
}

#[cfg(test)]
mod carried_tests;
#[cfg(test)]
mod given_tests;
#[cfg(test)]
mod landing_tests;
#[cfg(test)]
mod meaning_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod written_tests;
