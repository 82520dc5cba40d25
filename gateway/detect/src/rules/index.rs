//! Which rules can match a call at all.
//!
//! Every rule is entered under something that a call must have for it to match: a program, a path's class or one of its
//! components, a technique, a literal in its text. A call then asks for what it has, and only rules found that way are
//! evaluated.

use std::sync::Arc;

use defenseclaw_model::facts::BehaviourKind;

use super::node::{Node, PathTest, RunTest};
use super::numbers::Numbers;
use super::pairs::{Pairs, Wanted};
use super::pattern::Pattern;
use super::view::{View, stem};
use crate::quick::Table;

/// Something that a call has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Anchor {
    Word(Space, Box<str>),
    Kind(BehaviourKind),
    Literal(usize),
    AnyPrivilege,
    AnyFlow,
    AnyHost,
    AnyPath,
    Call(u8),
}

/// What a word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Space {
    Class,
    Technique,
    Opaque,
    Component,
    Tool,
}

const SPACES: usize = 5;

/// How common a program is, in the terms of [`commonness`].
const COMMON_AS_PROGRAMS: u8 = 2;

/// How many calls have it: the fewer, the better.
fn commonness(anchor: &Anchor) -> u8 {
    match anchor {
        Anchor::Word(Space::Technique | Space::Class | Space::Opaque, _)
        | Anchor::Kind(_)
        | Anchor::Literal(_) => 1,
        Anchor::Word(Space::Component, _) | Anchor::AnyPrivilege => COMMON_AS_PROGRAMS,
        Anchor::Word(Space::Tool, _) | Anchor::AnyFlow => 3,
        Anchor::AnyHost => 4,
        Anchor::AnyPath => 5,
        Anchor::Call(_) => 6,
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// By what the word names, so that a look-up needs no copy of it.
    by_word: [Table<Box<str>, Vec<u32>>; SPACES],
    by_anchor: Table<Anchor, Vec<u32>>,
    by_program: Table<Box<str>, Vec<ByProgram>>,
    /// Program names with wildcards, and what a name must have to fit.
    wild_programs: Vec<(Pattern, Pairs, ByProgram)>,
    wild_tools: Vec<(Pattern, u32)>,
    rules: usize,
}

/// A rule that needs a program, and what the program's words must have.
#[derive(Debug, Clone)]
struct ByProgram {
    rule: u32,
    /// [`Wanted::always`], which rules out most.
    always: Pairs,
    wanted: Arc<Wanted>,
}

impl ByProgram {
    fn new(rule: u32, wanted: Arc<Wanted>) -> Self {
        Self {
            rule,
            always: wanted.always(),
            wanted,
        }
    }

    fn may_fit(&self, program: &Pairs) -> bool {
        program.may_hold(&self.always) && self.wanted.rest_may_be_in(program)
    }
}

/// Where a rule is to be entered.
#[derive(Debug, Clone, Default)]
struct Entry {
    anchors: Vec<Anchor>,
    /// Programs, with what their words must have.
    programs: Vec<(Box<str>, Arc<Wanted>)>,
    wild_programs: Vec<(Pattern, Arc<Wanted>)>,
    wild_tools: Vec<Pattern>,
}

impl Entry {
    fn of(anchors: Vec<Anchor>) -> Self {
        Self {
            anchors,
            ..Self::default()
        }
    }

    fn commonness(&self) -> u8 {
        let no_programs = self.programs.is_empty() && self.wild_programs.is_empty();
        let programs = if no_programs { 0 } else { COMMON_AS_PROGRAMS };
        let tools = if self.wild_tools.is_empty() { 0 } else { 3 };
        self.anchors
            .iter()
            .map(commonness)
            .max()
            .unwrap_or(0)
            .max(programs)
            .max(tools)
    }

    fn add(&mut self, other: Self) {
        self.anchors.extend(other.anchors);
        self.programs.extend(other.programs);
        self.wild_programs.extend(other.wild_programs);
        self.wild_tools.extend(other.wild_tools);
    }
}

impl Index {
    /// Enters rule number `rule`; false if nothing in `node` must be there for it to hold.
    pub(super) fn enter(&mut self, rule: u32, node: &Node) -> bool {
        self.rules = self.rules.max(rule as usize + 1);
        let Some(entry) = entry_of(node) else { return false };
        for anchor in entry.anchors {
            let list = match anchor {
                Anchor::Word(space, word) => self.by_word[space as usize].entry(word).or_default(),
                anchor => self.by_anchor.entry(anchor).or_default(),
            };
            if list.last() != Some(&rule) {
                list.push(rule);
            }
        }
        for (name, wanted) in entry.programs {
            self.by_program
                .entry(name)
                .or_default()
                .push(ByProgram::new(rule, wanted));
        }
        let wild = entry.wild_programs.into_iter();
        self.wild_programs.extend(wild.map(|(pattern, wanted)| {
            let name = Pairs::of_pattern(&pattern);
            (pattern, name, ByProgram::new(rule, wanted))
        }));
        self.wild_tools
            .extend(entry.wild_tools.into_iter().map(|pattern| (pattern, rule)));
        true
    }

    /// The numbers of the rules that can match, in their order.
    pub(super) fn candidates(&self, view: &View<'_>, literals: &Numbers) -> Numbers {
        let mut found = Candidates {
            index: self,
            marks: Numbers::below(self.rules),
        };
        let facts = view.facts;
        for (at, program) in facts.programs.iter().enumerate() {
            let stem = stem(&program.name);
            let by_stem = (stem != program.name)
                .then(|| self.by_program.get(stem))
                .flatten();
            let by_name = self.by_program.get(program.name.as_str());
            let pairs = view.pairs(at);
            for entry in by_name.into_iter().chain(by_stem).flatten() {
                if entry.may_fit(pairs) {
                    found.mark(entry.rule);
                }
            }
            let name = view.name_pairs(at);
            for (pattern, wanted, entry) in &self.wild_programs {
                if name.may_hold(wanted) && entry.may_fit(pairs) && pattern.fits(&program.name) {
                    found.mark(entry.rule);
                }
            }
        }
        for path in facts.reads.iter().chain(&facts.writes) {
            if let Some(class) = &path.class {
                found.add_word(Space::Class, class.as_str());
            }
            for component in path.path.split('/').filter(|component| !component.is_empty()) {
                found.add_word(Space::Component, component);
            }
        }
        for behaviour in &facts.behaviours {
            found.add_word(Space::Technique, behaviour.technique.as_str());
            found.add(&Anchor::Kind(behaviour.kind));
        }
        for opaque in &facts.opaque {
            found.add_word(Space::Opaque, opaque.why.as_str());
        }
        let whole = [
            (Anchor::AnyPrivilege, facts.privilege.is_empty()),
            (Anchor::AnyFlow, facts.flows.is_empty()),
            (Anchor::AnyHost, facts.hosts.is_empty()),
            (Anchor::AnyPath, facts.reads.is_empty() && facts.writes.is_empty()),
            (Anchor::Call(view.kind as u8), false),
        ];
        whole
            .iter()
            .filter(|(_, none)| !none)
            .for_each(|(anchor, _)| found.add(anchor));
        for number in literals.iter() {
            found.add(&Anchor::Literal(number));
        }
        for (pattern, rule) in &self.wild_tools {
            if pattern.fits(&view.tool) {
                found.mark(*rule);
            }
        }
        found.add_word(Space::Tool, &view.tool);
        found.marks
    }
}

/// The rules that can match, as they are found.
struct Candidates<'i> {
    index: &'i Index,
    marks: Numbers,
}

impl Candidates<'_> {
    fn add_word(&mut self, space: Space, word: &str) {
        for &rule in self.index.by_word[space as usize].get(word).into_iter().flatten() {
            self.mark(rule);
        }
    }

    fn add(&mut self, anchor: &Anchor) {
        for &rule in self.index.by_anchor.get(anchor).into_iter().flatten() {
            self.mark(rule);
        }
    }

    fn mark(&mut self, rule: u32) {
        self.marks.mark(rule as usize);
    }
}

/// What must be there for `node` to hold; none if it can hold of a call that has nothing.
fn entry_of(node: &Node) -> Option<Entry> {
    Some(match node {
        Node::All(nodes) => nodes.iter().filter_map(entry_of).min_by_key(Entry::commonness)?,
        Node::Any(nodes) => {
            let mut entry = Entry::default();
            for node in nodes {
                entry.add(entry_of(node)?);
            }
            entry
        }
        Node::Not(_) => return None,
        Node::Run(test) => entry_of_run(test)?,
        Node::Pipe(from, to) => {
            let side = |tests: &[RunTest]| {
                tests
                    .iter()
                    .map(entry_of_run)
                    .try_fold(Entry::default(), |mut all, entry| {
                        all.add(entry?);
                        Some(all)
                    })
            };
            [side(from), side(to)]
                .into_iter()
                .flatten()
                .min_by_key(|entry| (entry.commonness(), entry.programs.len()))?
        }
        Node::Path(_, test) => Entry::of(path_anchors(test)),
        Node::Host(_) | Node::OnlyHosts(_) => Entry::of(vec![Anchor::AnyHost]),
        Node::Flow(_) => Entry::of(vec![Anchor::AnyFlow]),
        Node::Does(test) if test.techniques.is_empty() => Entry::of(vec![Anchor::Kind(test.kind?)]),
        Node::Does(test) => Entry::of(
            test.techniques
                .iter()
                .cloned()
                .map(|word| Anchor::Word(Space::Technique, word))
                .collect(),
        ),
        Node::Opaque(why) => Entry::of(vec![Anchor::Word(Space::Opaque, why.clone())]),
        Node::Privilege(_) => Entry::of(vec![Anchor::AnyPrivilege]),
        Node::Tool(Pattern::Exact(name)) => Entry::of(vec![Anchor::Word(Space::Tool, name.clone())]),
        Node::Tool(pattern) => Entry {
            wild_tools: vec![pattern.clone()],
            ..Entry::default()
        },
        Node::Call(word) => Entry::of(vec![Anchor::Call(*word as u8)]),
        Node::Text(test) => {
            let rarest = test.literals.iter().min_by_key(|group| group.len())?;
            Entry::of(rarest.iter().copied().map(Anchor::Literal).collect())
        }
    })
}

fn entry_of_run(test: &RunTest) -> Option<Entry> {
    if test.names.is_empty() && test.wild_names.is_empty() {
        return None;
    }
    let wanted = || Arc::clone(&test.wanted);
    let names = test.names.iter().cloned();
    let wild = test.wild_names.iter().cloned();
    Some(Entry {
        programs: names.map(|name| (name, wanted())).collect(),
        wild_programs: wild.map(|name| (name, wanted())).collect(),
        ..Entry::default()
    })
}

fn path_anchors(test: &PathTest) -> Vec<Anchor> {
    if !test.classes.is_empty() {
        return test
            .classes
            .iter()
            .cloned()
            .map(|word| Anchor::Word(Space::Class, word))
            .collect();
    }
    let component = |pattern: &Pattern| match pattern {
        Pattern::Exact(text) => longest_component(text, false, false),
        Pattern::Prefix(text) => longest_component(text, false, true),
        Pattern::Suffix(text) => longest_component(text, true, false),
        Pattern::Inside(text) => longest_component(str::from_utf8(text.bytes()).ok()?, true, true),
        Pattern::Any | Pattern::Wild(_) => None,
    };
    let found: Option<Vec<Anchor>> = test.paths.iter().map(component).collect();
    found
        .filter(|anchors| !anchors.is_empty())
        .unwrap_or_else(|| vec![Anchor::AnyPath])
}

/// The longest whole component of a part of a path; its ends may be parts of components.
fn longest_component(text: &str, open_front: bool, open_back: bool) -> Option<Anchor> {
    let parts: Vec<&str> = text.split('/').collect();
    let first = usize::from(open_front);
    let last = parts.len().saturating_sub(usize::from(open_back));
    let whole = parts.get(first..last).unwrap_or_default();
    let longest = whole.iter().max_by_key(|part| part.len())?;
    (!longest.is_empty()).then(|| Anchor::Word(Space::Component, (*longest).into()))
}
