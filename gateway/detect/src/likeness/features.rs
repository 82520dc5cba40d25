//! The features of a call: its words one by one and together, its programs, paths, hosts and effects, and those together.

use std::borrow::Cow;
use std::collections::BTreeSet;

use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::decision::Finding;
use defenseclaw_model::facts::{Facts, HostFact, PathFact};
use serde::Serialize;

use super::words;
use crate::facts::HARMLESS;
use crate::linear::{Found, Lexicon, Part, Say};
use crate::rules::{host_kind, texts_of};
use crate::scan::learned;

/// Groups: wording, what is done together, programs and places, single statements, what rules found, meaning together.
const WORDING: u8 = 0;
const TOGETHER: u8 = 1;
const THINGS: u8 = 2;
const PLAIN: u8 = 3;
const RULES: u8 = 4;
const MEANING: u8 = 5;

/// Most programs, words of each, paths and statements that are looked at: what stands together is quadratic in the last.
const MAX_PROGRAMS: usize = 48;
const MAX_ARGUMENTS: usize = 12;
const MAX_PATHS: usize = 64;
const MAX_TOGETHER: usize = 28;
const MAX_HITS: usize = 400;

/// Most of what is written, told or run that the model of artifacts reads (bytes): its time is this call's.
const MAX_READ: usize = 16 << 10;

/// Fewest lines of a command that is a script.
const SCRIPT: usize = 6;

/// The steps by which that model's score is told, in quarters.
const STEPS: [i64; 17] = [-16, -12, -9, -7, -5, -3, -2, -1, 0, 1, 2, 3, 5, 7, 9, 12, 16];

/// Longest name that is a feature (bytes).
const MAX_NAME: usize = 24;

/// What of a call the model of artifacts knows more of than this one: a file that is written, a script, what a tool is told. It
/// takes as long as all else together, so that it is read only where the answer depends on it.
pub(super) struct Artifact<'c> {
    space: &'static str,
    /// The name by which that model takes it for what it is.
    path: &'c str,
    text: Cow<'c, str>,
}

impl<'c> Artifact<'c> {
    pub(super) fn of(call: &'c ToolCall) -> Option<Self> {
        let (space, path, text) = match &call.kind {
            CallKind::FileWrite { paths } => {
                let path = paths.first().map(String::as_str).unwrap_or_default();
                ("am", path, texts_of(call, MAX_READ).into())
            }
            CallKind::Command { command, .. } if command.lines().nth(SCRIPT - 1).is_some() => {
                let text = &command[..command.floor_char_boundary(MAX_READ)];
                ("as", "script.sh", text.into())
            }
            CallKind::Other => ("ao", "tool.md", texts_of(call, MAX_READ).into()),
            _ => return None,
        };
        Some(Self { space, path, text })
    }

    /// Adds the features of what that model says.
    pub(super) fn read(&self, found: &mut Found<'_>) {
        let score = learned::score_of(self.path, &self.text);
        self.up_to(score, found);
    }

    /// Adds the features of the worst that it could say: those of all else are the first of them.
    pub(super) fn worst(&self, found: &mut Found<'_>) {
        self.up_to(i64::MAX, found);
    }

    fn up_to(&self, score: i64, found: &mut Found<'_>) {
        for step in STEPS.iter().filter(|step| score >= **step << 14) {
            found.add((self.space, PLAIN), Say::Wording, &[&step.to_string()]);
        }
    }
}

/// Finds the features of a call in which rules found that, but for what [`Artifact`] tells of it.
pub(super) fn find(
    call: &ToolCall,
    cwd: Option<&str>,
    facts: &Facts,
    findings: &[Finding],
    found: &mut Found<'_>,
) {
    wording(call, found);
    ruled(findings, found);
    let concepts = meaning(call);
    let mut put = |space: &str, group: u8, parts: &[&str]| found.add((space, group), Say::Wording, parts);
    put("k", PLAIN, &[kind(&call.kind)]);
    put("np", PLAIN, &[&facts.programs.len().min(6).to_string()]);
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for program in facts.programs.iter().take(MAX_PROGRAMS) {
        let name = short(&program.name);
        names.insert(name);
        put("p", THINGS, &[name]);
        for word in program.argv.iter().skip(1).take(MAX_ARGUMENTS) {
            if word.starts_with('-') {
                put(
                    "pf",
                    THINGS,
                    &[name, short(word.split('=').next().unwrap_or_default())],
                );
            } else if is_plain(word) {
                put("pa", THINGS, &[name, word]);
            }
        }
    }
    for (access, paths) in [("r", &facts.reads), ("w", &facts.writes)] {
        for path in paths.iter().take(MAX_PATHS) {
            let mut parts = path.path.trim_end_matches('/').rsplit('/');
            let base = parts.next().unwrap_or_default().to_ascii_lowercase();
            put(access, THINGS, &["b", short(&base)]);
            if let Some((_, ending)) = base.rsplit_once('.') {
                put(access, THINGS, &["e", short(ending)]);
            }
            for part in parts.filter(|part| !part.is_empty()) {
                put(access, THINGS, &["c", short(&part.to_ascii_lowercase())]);
            }
        }
    }
    for host in &facts.hosts {
        let name = host.host.to_ascii_lowercase();
        let mut parts = name.rsplit('.');
        let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        put("ht", THINGS, &[short(last)]);
        put("hs", THINGS, &[short(before), short(last)]);
    }
    let said = statements(cwd, facts);
    let concepts: Vec<Part<'_>> = concepts.into_iter().map(Part::from).collect();
    let names: Vec<Part<'_>> = names.into_iter().take(MAX_TOGETHER).map(Part::from).collect();
    let said: Vec<Part<'_>> = said.iter().map(|one| Part::from(one.as_str())).collect();
    let mut pairs = |space: &str, group: u8, one: Part<'_>, others: &[Part<'_>]| {
        found.pairs((space, group), Say::Wording, one, others)
    };
    for (at, &concept) in concepts.iter().enumerate() {
        pairs("cc", MEANING, concept, concepts.get(at + 1..).unwrap_or_default());
    }
    for (at, &one) in said.iter().enumerate() {
        pairs("ss", TOGETHER, one, said.get(at + 1..).unwrap_or_default());
        pairs("sc", MEANING, one, &concepts);
    }
    for &name in &names {
        pairs("pc", MEANING, name, &concepts);
        pairs("ps", TOGETHER, name, &said);
    }
    for (space, parts) in [("c", &concepts), ("s", &said)] {
        for &part in parts {
            found.combine((space, PLAIN), Say::Wording, &[part]);
        }
    }
}

/// What the texts of a call speak of.
fn meaning(call: &ToolCall) -> BTreeSet<&'static str> {
    let lexicon = Lexicon::embedded();
    let mut hits = Vec::new();
    words::texts(call, &mut |text| {
        lexicon.find(&text.to_ascii_lowercase(), &mut hits)
    });
    let concepts = hits.iter().filter_map(|hit| lexicon.concept(hit.concept));
    concepts
        .map(|concept| concept.name.as_str())
        .take(MAX_HITS)
        .collect()
}

fn ruled(findings: &[Finding], found: &mut Found<'_>) {
    let mut put = |space: &str, parts: &[&str]| found.add((space, RULES), Say::Rules, parts);
    let worst = findings
        .iter()
        .max_by_key(|finding| (finding.severity, finding.confidence));
    match worst {
        Some(worst) => {
            let tens = (worst.confidence / 5).to_string();
            put("rw", &[word(&worst.severity).as_str(), &tens]);
        }
        None => put("rw", &["none"]),
    }
    for finding in findings {
        put("rs", &[word(&finding.severity).as_str()]);
        put("ri", &[&finding.rule]);
        put("rc", &[word(&finding.severity).as_str(), &finding.category]);
    }
}

fn wording(call: &ToolCall, found: &mut Found<'_>) {
    let words = words::of(call);
    let words: Vec<Part<'_>> = words.iter().map(|word| Part::from(word.as_str())).collect();
    let mut put = |space: &str, parts: &[Part<'_>]| found.combine((space, WORDING), Say::Wording, parts);
    for (at, &word) in words.iter().enumerate() {
        put("w", &[word]);
        if let Some(&next) = words.get(at + 1) {
            put("b", &[word, next]);
        }
        if let Some(&third) = words.get(at + 2) {
            put("t", &[word, third]);
        }
    }
}

/// What is said of a call in general terms.
fn statements(cwd: Option<&str>, facts: &Facts) -> Vec<String> {
    let mut said: BTreeSet<String> = BTreeSet::new();
    for (access, paths) in [("r", &facts.reads), ("w", &facts.writes)] {
        for path in paths.iter().take(MAX_PATHS) {
            said.insert(format!("{access}@{}", place(cwd, path)));
            if let Some(class) = path.class.as_ref().filter(|class| *class != HARMLESS) {
                said.insert(format!("{access}:{class}"));
            }
        }
    }
    for host in &facts.hosts {
        said.insert(format!("h@{}", host_kind(&host.host)));
        said.extend(odd_port(host));
    }
    for flow in &facts.flows {
        said.insert(format!("f {} {}", word(&flow.from.kind), word(&flow.to.kind)));
    }
    for behaviour in &facts.behaviours {
        let kind = word(&behaviour.kind);
        said.insert(format!("bt {}", behaviour.technique));
        if let Some(radius) = &behaviour.radius {
            said.insert(format!("br {kind} {}", word(radius)));
        }
        said.insert(format!("bk {kind}"));
    }
    for install in &facts.installs {
        said.insert(format!("i {}", install.ecosystem.as_str()));
        said.insert(format!("if {}", word(&install.source)));
        said.insert(format!("iv {}", word(&install.version)));
        let marks = [
            ("extra", install.extra_registry),
            ("credentials", install.credentials),
            ("runs", install.runs_now),
            ("known", install.known),
            ("like", !install.like.is_empty()),
        ];
        said.extend(
            marks
                .iter()
                .filter(|(_, is)| *is)
                .map(|(mark, _)| format!("i+{mark}")),
        );
    }
    said.extend(facts.opaque.iter().map(|opaque| format!("o {}", opaque.why)));
    said.extend(facts.privilege.iter().map(|word| format!("p {}", short(word))));
    if !facts.pipes.is_empty() {
        said.insert("pipes".to_owned());
    }
    said.into_iter().take(MAX_TOGETHER).collect()
}

fn odd_port(host: &HostFact) -> Option<String> {
    let port = host.port.filter(|port| !matches!(port, 80 | 443))?;
    Some(if port < 1024 { "port low" } else { "port high" }.to_owned())
}

/// Where a path lies, as far as that means something on any host.
fn place<'p>(cwd: Option<&str>, path: &'p PathFact) -> &'p str {
    let path = path.path.as_str();
    let below = |folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if cwd.is_some_and(|cwd| cwd.len() > 1 && below(cwd.trim_end_matches('/'))) {
        return "project";
    }
    if path.starts_with('~') || below("/home") || below("/Users") || below("/root") {
        return "home";
    }
    if ["/tmp", "/var/tmp", "/dev/shm"]
        .iter()
        .any(|folder| below(folder))
    {
        return "tmp";
    }
    match path.strip_prefix('/') {
        Some(rest) => short(rest.split('/').next().unwrap_or_default()),
        None => "relative",
    }
}

fn kind(kind: &CallKind) -> &'static str {
    match kind {
        CallKind::Command { .. } => "command",
        CallKind::FileWrite { .. } => "write",
        CallKind::FileRead { .. } => "read",
        CallKind::FileSearch { .. } => "search",
        CallKind::Network { .. } => "network",
        CallKind::Other => "other",
    }
}

/// The word by which a kind is known in records.
fn word(kind: &impl Serialize) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

/// Whether an argument is a word like a subcommand.
fn is_plain(word: &str) -> bool {
    word.len() < 20
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A feature's name as a person reads it: without its space.
pub(super) fn shown(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, parts)| parts)
}
