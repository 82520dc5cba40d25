//! One call as the rules see it: what several of them ask is worked out once, and only when it is asked.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};

use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::facts::{Facts, PathFact, Program};
use serde_json::Value;

use super::interpreter::takes_code;
use super::node::NameSet;
use super::pairs::Pairs;
use super::projection;
use super::schema::{CallWord, HostWord};
use crate::facts::mentions;
use crate::quick::Table;

/// Most bytes of a call's text that rules look at: the first three quarters and the last of it. What steers an agent or
/// a shell stands at the beginning or the end of a file; the secrets pack looks at more.
const MAX_TEXT: usize = 256 << 10;

/// Deepest nesting of an input that is looked into; harnesses send two or three levels.
const MAX_DEPTH: usize = 32;

/// Fields of a writing tool's input that say where or what was there before, not what will be.
const NOT_CONTENT: &[&str] = &[
    "file_path",
    "filePath",
    "path",
    "notebook_path",
    "old_string",
    "old_str",
    "oldString",
    "cwd",
    "description",
];

pub(super) struct View<'a> {
    pub(super) call: &'a ToolCall,
    pub(super) facts: &'a Facts,
    pub(super) kind: CallWord,
    /// The tool's name in lower case.
    pub(super) tool: String,
    /// The names that the call's programs have, among those that rules name.
    pub(super) present: NameSet,
    /// Number of a name, and a program that has it; sorted.
    named: Vec<(usize, usize)>,
    words: Vec<Words>,
    /// What each path may hold: of those that are read, then of those that are written.
    paths: OnceCell<Vec<Pairs>>,
    readers: OnceCell<Vec<Vec<usize>>>,
    text: OnceCell<String>,
    acting: OnceCell<Option<String>>,
}

/// What is asked of a program's words.
struct Words {
    /// The numbers of its name, as it is and without its version.
    names: [Option<usize>; 2],
    /// What its name may hold.
    name: Pairs,
    line: OnceCell<String>,
    pairs: Pairs,
    takes_code: OnceCell<bool>,
}

impl<'a> View<'a> {
    /// `numbers` are the numbers of the names that rules name.
    pub(super) fn new(call: &'a ToolCall, facts: &'a Facts, numbers: &Table<Box<str>, usize>) -> Self {
        let mut present = NameSet::default();
        let mut named = Vec::with_capacity(facts.programs.len());
        let mut words = Vec::with_capacity(facts.programs.len());
        for (at, program) in facts.programs.iter().enumerate() {
            let stem = stem(&program.name);
            let by_stem = if stem == program.name {
                None
            } else {
                numbers.get(stem)
            };
            let names = [numbers.get(program.name.as_str()).copied(), by_stem.copied()];
            for number in names.into_iter().flatten() {
                present.add(number);
                named.push((number, at));
            }
            words.push(Words {
                names,
                name: Pairs::of_text(program.name.as_bytes()),
                line: OnceCell::new(),
                pairs: Pairs::of_program(program),
                takes_code: OnceCell::new(),
            });
        }
        named.sort_unstable();
        Self {
            present,
            named,
            call,
            facts,
            kind: kind_word(&call.kind),
            tool: call.tool.to_ascii_lowercase(),
            words,
            paths: OnceCell::new(),
            readers: OnceCell::new(),
            text: OnceCell::new(),
            acting: OnceCell::new(),
        }
    }

    /// Whether the program at `at` has a name of `names`, as it is or without its version.
    pub(super) fn is_named(&self, at: usize, names: &NameSet) -> bool {
        let words = self.words.get(at);
        words.is_some_and(|words| words.names.into_iter().flatten().any(|number| names.has(number)))
    }

    /// The programs that have the name of this number, as it is or without their version, in their order.
    pub(super) fn named(&self, number: usize) -> impl Iterator<Item = usize> {
        let begin = self.named.partition_point(|(known, _)| *known < number);
        let rest = self.named.get(begin..).unwrap_or_default();
        rest.iter()
            .take_while(move |(known, _)| *known == number)
            .map(|(_, at)| *at)
    }

    /// The words of a program joined by spaces, in lower case.
    pub(super) fn line(&self, at: usize) -> &str {
        let join = || {
            self.facts
                .programs
                .get(at)
                .map(|program| program.argv.join(" ").to_lowercase())
                .unwrap_or_default()
        };
        self.words
            .get(at)
            .map_or("", |words| words.line.get_or_init(join))
    }

    /// What the words of a program may hold.
    pub(super) fn pairs(&self, at: usize) -> &Pairs {
        self.words.get(at).map_or(&Pairs::ALL, |words| &words.pairs)
    }

    /// What the name of a program may hold.
    pub(super) fn name_pairs(&self, at: usize) -> &Pairs {
        self.words.get(at).map_or(&Pairs::ALL, |words| &words.name)
    }

    /// Whether a program would run as code what reaches it.
    pub(super) fn takes_code(&self, at: usize) -> bool {
        let (Some(words), Some(program)) = (self.words.get(at), self.facts.programs.get(at)) else {
            return false;
        };
        *words.takes_code.get_or_init(|| takes_code(program))
    }

    /// Whether nothing but names is kept of what a program prints, or it goes where it only logs in.
    pub(super) fn prints_names(&self, at: usize) -> bool {
        let Some(program) = self.facts.programs.get(at) else {
            return false;
        };
        if projection::prints_names(program) {
            return true;
        }
        let mut readers = self.facts.pipes.iter().filter(|pipe| pipe.from == at).peekable();
        readers.peek().is_some()
            && readers.all(|pipe| {
                self.facts
                    .programs
                    .get(pipe.to)
                    .is_some_and(|reader| projection::keeps_names(reader) || logs_in(reader))
            })
    }

    /// The paths that are read, and those that are written, each with what it may hold.
    pub(super) fn paths(&self) -> [impl Iterator<Item = (&'a PathFact, &Pairs)>; 2] {
        let facts = self.facts;
        let pairs = self.paths.get_or_init(|| {
            let paths = facts.reads.iter().chain(&facts.writes);
            paths.map(|fact| Pairs::of_text(fact.path.as_bytes())).collect()
        });
        let (reads, writes) = pairs.split_at(facts.reads.len().min(pairs.len()));
        [facts.reads.iter().zip(reads), facts.writes.iter().zip(writes)]
    }

    /// All programs that the output of one of `starts` reaches.
    pub(super) fn downstream(&self, starts: &[usize]) -> Vec<usize> {
        let readers = self.readers.get_or_init(|| {
            let mut readers = vec![Vec::new(); self.facts.programs.len()];
            for pipe in &self.facts.pipes {
                if let Some(list) = readers.get_mut(pipe.from) {
                    list.push(pipe.to);
                }
            }
            readers
        });
        let mut reached = vec![false; readers.len()];
        let mut waiting = starts.to_vec();
        let mut found = Vec::new();
        while let Some(at) = waiting.pop() {
            for &to in readers.get(at).into_iter().flatten() {
                if let Some(seen @ false) = reached.get_mut(to) {
                    *seen = true;
                    found.push(to);
                    waiting.push(to);
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The text that the call carries: a command line, what is to be written, or an unknown tool's strings.
    pub(super) fn text(&self) -> &str {
        self.text.get_or_init(|| match &self.call.kind {
            CallKind::Command { command, .. } => bounded(command, MAX_TEXT).into_owned(),
            _ => texts_of(self.call, MAX_TEXT),
        })
    }

    /// What of that text can act, where it is a file's.
    pub(super) fn acting(&self) -> &str {
        let part = self.acting.get_or_init(|| match &self.call.kind {
            CallKind::FileWrite { paths } => {
                let [path] = paths.as_slice() else { return None };
                let whole = mentions::is_whole(&self.call.input);
                match mentions::acting(path, self.text(), whole) {
                    Cow::Borrowed(part) if part.len() == self.text().len() => None,
                    part => Some(part.into_owned()),
                }
            }
            _ => None,
        });
        part.as_deref().unwrap_or_else(|| self.text())
    }

    /// Whether that text is content: written, or given to an unknown tool.
    pub(super) fn carries_content(&self) -> bool {
        matches!(self.kind, CallWord::FileWrite | CallWord::Other)
    }
}

/// The strings of a call's input, one below the other. Of a file that is written: what it will hold, not what it held.
pub(crate) fn texts_of(call: &ToolCall, most: usize) -> String {
    let mut text = String::new();
    let written = matches!(call.kind, CallKind::FileWrite { .. });
    collect(&call.input, written, most, 0, &mut text);
    without_removed_lines(text)
}

fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let head = text.floor_char_boundary(most / 4 * 3);
    let tail = text.ceil_char_boundary(text.len() - most / 4);
    format!("{}\n{}", &text[..head], &text[tail..]).into()
}

fn collect(value: &Value, content: bool, most: usize, depth: usize, text: &mut String) {
    if depth > MAX_DEPTH || text.len() > most {
        return;
    }
    match value {
        Value::String(part) => {
            text.push_str(&bounded(part, most));
            text.push('\n');
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(item, content, most, depth + 1, text)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !content || !NOT_CONTENT.contains(&name.as_str()))
            .for_each(|(_, field)| collect(field, content, most, depth + 1, text)),
        _ => {}
    }
}

/// What a patch takes away is not what it writes.
fn without_removed_lines(text: String) -> String {
    let patch =
        text.starts_with("*** Begin Patch") || text.starts_with("diff --git") || text.starts_with("--- a/");
    if !patch {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with('-')) {
        kept.push_str(line.strip_prefix('+').unwrap_or(line));
        kept.push('\n');
    }
    kept
}

fn kind_word(kind: &CallKind) -> CallWord {
    match kind {
        CallKind::Command { .. } => CallWord::Command,
        CallKind::FileWrite { .. } => CallWord::FileWrite,
        CallKind::FileRead { .. } => CallWord::FileRead,
        CallKind::FileSearch { .. } => CallWord::FileSearch,
        CallKind::Network { .. } => CallWord::Network,
        CallKind::Other => CallWord::Other,
    }
}

/// A program's name without its version: `python` for `python3.11`.
pub(super) fn stem(name: &str) -> &str {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if stem.is_empty() { name } else { stem }
}

/// Whether a program takes what comes in as its own login, and nowhere else.
fn logs_in(program: &Program) -> bool {
    let words = arguments(program);
    let any = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    match program.name.as_str() {
        "kubectl" | "oc" | "helm" => any(&["--token=$(cat)", "--token=`cat`", "--token=$(cat -)"]),
        "docker" | "podman" | "nerdctl" | "buildah" | "skopeo" | "crane" | "oras" | "regctl" => {
            any(&["login"]) && any(&["--password-stdin"])
        }
        "gh" | "glab" => any(&["login"]) && any(&["--with-token", "--stdin"]),
        _ => false,
    }
}

/// The words of a program behind its name.
pub(super) fn arguments(program: &Program) -> &[String] {
    program.argv.get(1..).unwrap_or_default()
}

/// The kind of a host in one word.
pub(crate) fn host_kind(host: &str) -> &'static str {
    let kinds = [
        (HostWord::Metadata, "metadata"),
        (HostWord::Local, "local"),
        (HostWord::PrivateAddress, "private"),
        (HostWord::PublicAddress, "public"),
    ];
    let kind = kinds.into_iter().find(|(word, _)| host_is(host, *word));
    kind.map_or("name", |(_, kind)| kind)
}

/// Whether a host is of this kind.
pub(super) fn host_is(host: &str, word: HostWord) -> bool {
    let address = address(host);
    let local = is_local(host, address);
    match word {
        HostWord::Local => local,
        HostWord::Remote => !local,
        HostWord::Metadata => {
            matches!(
                host,
                "169.254.169.254"
                    | "metadata.google.internal"
                    | "fd00:ec2::254"
                    | "169.254.170.2"
                    | "100.100.100.200"
            ) || address == Some(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)))
        }
        HostWord::Name => address.is_none() && !local && host.contains('.'),
        HostWord::PrivateAddress => address.is_some_and(|address| !local && is_private(address)),
        HostWord::PublicAddress => address.is_some_and(|address| !local && !is_private(address)),
    }
}

/// A literal address, also in the spellings that `inet_aton` takes: `0x7f000001`, `2852039166`.
fn address(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let number = match host.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None if host.len() >= 8 => host.parse().ok()?,
        None => return None,
    };
    Some(IpAddr::V4(Ipv4Addr::from(number)))
}

fn is_local(host: &str, address: Option<IpAddr>) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host == "host.docker.internal"
        || address.is_some_and(|address| address.is_loopback() || address.is_unspecified())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
