//! Compiled conditions, and what they say of a call.

use std::borrow::Cow;
use std::sync::Arc;

use super::interpreter::is_computed;
use super::lazy::LazyRegex;
use super::leave;
use super::numbers::{Bits, Numbers};
use super::pairs::{Pairs, Wanted};
use super::pattern::{Literal, Pattern, any_fits};
use super::schema::{CallWord, HostWord};
use super::view::{View, arguments, host_is, stem};
use crate::facts::HARMLESS;
use defenseclaw_model::facts::{
    Behaviour, BehaviourKind, Flow, FlowEnd, FlowKind, HostFact, PathFact, Program, Radius,
};

/// Most pieces of evidence that one rule keeps: a person reads the first few.
const MAX_SEEN: usize = 8;

/// Most letters that are read as options of one letter each; longer words are options by name, as in `find` or `java`.
pub(super) const MAX_CLUSTER: usize = 7;

/// A condition.
#[derive(Debug, Clone)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Run(Box<RunTest>),
    Pipe(Vec<RunTest>, Vec<RunTest>),
    Path(Access, PathTest),
    Host(HostTest),
    OnlyHosts(Vec<Pattern>),
    Flow(FlowTest),
    Does(DoesTest),
    Opaque(Box<str>),
    Privilege(Box<str>),
    Tool(Pattern),
    Call(CallWord),
    Text(TextTest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Either,
}

#[derive(Debug, Clone, Default)]
pub(super) struct RunTest {
    /// For the index.
    pub(super) names: Vec<Box<str>>,
    /// The same names, by number.
    pub(super) name_set: NameSet,
    pub(super) wild_names: Vec<Pattern>,
    /// What a name must have for each of these to fit.
    pub(super) wild_pairs: Vec<Pairs>,
    /// What the program's words must have for the rest to hold.
    pub(super) wanted: Arc<Wanted>,
    pub(super) not_names: Vec<Box<str>>,
    pub(super) written: Vec<Pattern>,
    /// One of each group.
    pub(super) flags: Vec<Vec<Flag>>,
    pub(super) no_flags: Vec<Flag>,
    pub(super) subcommands: Vec<Vec<Box<str>>>,
    /// One of each group.
    pub(super) args: Vec<Vec<Pattern>>,
    pub(super) no_args: Vec<Pattern>,
    /// One of each group.
    pub(super) has: Vec<Vec<Literal>>,
    pub(super) has_not: Vec<Literal>,
    pub(super) re: Option<LazyRegex>,
    pub(super) operands: Option<bool>,
    pub(super) takes_code: Option<bool>,
    pub(super) computed: Option<bool>,
    pub(super) names_only: Option<bool>,
}

/// A set of program names, by the numbers that they have in all packs. A rule asks for each program of a call whether it
/// is meant, and most are not: this answers for the whole call in a few instructions.
#[derive(Debug, Clone, Default)]
pub(super) struct NameSet {
    /// All of it folded into one word: sets that share nothing here share nothing.
    brief: u128,
    words: Vec<u64>,
}

impl NameSet {
    pub(super) fn add(&mut self, number: usize) {
        let word = number / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << (number % 64);
        }
        self.brief |= 1 << (number % 128);
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.words
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The numbers that are in both.
    fn shared(&self, other: &Self) -> impl Iterator<Item = usize> {
        let words = self
            .words
            .iter()
            .zip(&other.words)
            .map(|(a, b)| a & b)
            .enumerate();
        words.flat_map(|(at, bits)| Bits(bits).map(move |bit| at * 64 + bit))
    }

    fn meets(&self, other: &Self) -> bool {
        self.brief & other.brief != 0 && self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }
}

/// An option.
#[derive(Debug, Clone)]
pub(super) enum Flag {
    /// `-x`, alone or among others.
    Letter(char),
    /// As written, or with `=value` behind it.
    Word(Box<str>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct PathTest {
    pub(super) classes: Vec<Box<str>>,
    pub(super) paths: Vec<Pattern>,
    /// What a path must have for each of these patterns to fit.
    pub(super) wanted: Vec<Pairs>,
    pub(super) not_paths: Vec<Pattern>,
    /// Who reads or writes it, where that is known.
    pub(super) by: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct HostTest {
    pub(super) names: Vec<Pattern>,
    pub(super) not_names: Vec<Pattern>,
    pub(super) kinds: Vec<HostWord>,
    pub(super) ports: Vec<u16>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FlowTest {
    pub(super) from: Vec<FlowKind>,
    pub(super) to: Vec<FlowKind>,
    pub(super) from_what: Vec<Pattern>,
    pub(super) to_what: Vec<Pattern>,
    pub(super) through: Vec<Pattern>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct DoesTest {
    pub(super) kind: Option<BehaviourKind>,
    pub(super) techniques: Vec<Box<str>>,
    pub(super) objects: Vec<Pattern>,
    pub(super) not_objects: Vec<Pattern>,
    pub(super) radius: Option<Radius>,
    pub(super) within: Option<Radius>,
}

#[derive(Debug, Clone)]
pub(super) struct TextTest {
    /// Whether only content counts, not a command line.
    pub(super) content: bool,
    /// Whether the expression is tried on what of it can act alone.
    pub(super) acts: bool,
    /// Whether sentences do not count that give leave for nothing but what is harmless.
    pub(super) leave: bool,
    /// What is left out of it first.
    pub(super) without: Vec<LazyRegex>,
    /// Numbers of literals; one of each group is there.
    pub(super) literals: Vec<Vec<usize>>,
    pub(super) re: Option<LazyRegex>,
}

/// What a rule saw, in the order in which it saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Program(String),
    Path(PathFact),
    Host(String),
    Object(String),
}

/// A call, and what is known of it so far.
pub(super) struct Ask<'v, 'a> {
    pub(super) view: &'v View<'a>,
    /// By number of literal.
    pub(super) literals: &'v Numbers,
    pub(super) seen: Vec<Seen>,
}

impl Ask<'_, '_> {
    fn note(&mut self, seen: Seen) {
        if self.seen.len() < MAX_SEEN && !self.seen.contains(&seen) {
            self.seen.push(seen);
        }
    }

    /// Whether `node` holds; what it saw is kept only if so.
    pub(super) fn holds(&mut self, node: &Node) -> bool {
        let before = self.seen.len();
        let holds = self.try_node(node);
        if !holds {
            self.seen.truncate(before);
        }
        holds
    }

    fn try_node(&mut self, node: &Node) -> bool {
        let facts = self.view.facts;
        match node {
            Node::All(nodes) => nodes.iter().all(|node| self.holds(node)),
            Node::Any(nodes) => nodes.iter().any(|node| self.holds(node)),
            Node::Not(inner) => {
                let before = self.seen.len();
                let holds = self.holds(inner);
                self.seen.truncate(before);
                !holds
            }
            Node::Run(test) => self.run(test),
            Node::Pipe(from, to) => self.pipe(from, to),
            Node::Path(access, test) => self.paths(*access, test),
            Node::Host(test) => self.hosts(test),
            Node::OnlyHosts(names) => {
                let mut remote = facts
                    .hosts
                    .iter()
                    .filter(|host| host_is(&host.host, HostWord::Remote))
                    .peekable();
                remote.peek().is_some() && remote.all(|host| any_fits(names, &host.host))
            }
            Node::Flow(test) => {
                let found = facts.flows.iter().find(|flow| test.fits(flow));
                found.is_some_and(|flow| self.note_flow(flow))
            }
            Node::Does(test) => {
                let found = facts.behaviours.iter().find(|behaviour| test.fits(behaviour));
                found.is_some_and(|behaviour| {
                    self.note(Seen::Object(behaviour.object.clone()));
                    true
                })
            }
            Node::Opaque(why) => facts.opaque.iter().any(|opaque| *opaque.why == **why),
            Node::Privilege(word) => {
                let found = facts
                    .privilege
                    .iter()
                    .find(|known| **known == **word || **word == *"*");
                found.is_some_and(|known| {
                    self.note(Seen::Object(known.clone()));
                    true
                })
            }
            Node::Tool(pattern) => pattern.fits(&self.view.tool),
            Node::Call(word) => self.view.kind == *word,
            Node::Text(test) => self.text(test),
        }
    }

    fn run(&mut self, test: &RunTest) -> bool {
        let mut first: Option<(usize, &Program)> = None;
        test.candidates(self.view, |at, program| {
            if first.is_none_or(|(known, _)| at < known) && test.fits(self.view, at, program) {
                first = Some((at, program));
            }
        });
        let Some((_, program)) = first else { return false };
        self.note(Seen::Program(program.name.clone()));
        true
    }

    fn pipe(&mut self, from: &[RunTest], to: &[RunTest]) -> bool {
        let programs = &self.view.facts.programs;
        let idle = |tests: &[RunTest]| tests.iter().all(|test| test.is_idle(self.view));
        if self.view.facts.pipes.is_empty() || idle(from) || idle(to) {
            return false;
        }
        let mut starts = Vec::new();
        for test in from {
            test.candidates(self.view, |at, program| {
                if test.fits(self.view, at, program) {
                    starts.push(at);
                }
            });
        }
        starts.sort_unstable();
        starts.dedup();
        if starts.is_empty() {
            return false;
        }
        // Few programs stand behind a pipe, so they come first and what they must be then.
        let ends = |at: usize| {
            let program = programs.get(at);
            program.is_some_and(|program| {
                to.iter()
                    .any(|test| test.is_meant_and_fits(self.view, at, program))
            })
        };
        let Some(reader) = self.view.downstream(&starts).into_iter().find(|&at| ends(at)) else {
            return false;
        };
        // The writer that is named is the nearest one before.
        let writer = starts.iter().rev().find(|&&at| at < reader).or(starts.first());
        for &at in writer.into_iter().chain([&reader]) {
            if let Some(program) = programs.get(at) {
                self.note(Seen::Program(program.name.clone()));
            }
        }
        true
    }

    fn paths(&mut self, access: Access, test: &PathTest) -> bool {
        let [reads, writes] = self.view.paths();
        let reads = reads.filter(|_| access != Access::Write);
        let writes = writes.filter(|_| access != Access::Read);
        let mut found = false;
        for (path, pairs) in reads.chain(writes) {
            if test.fits(&self.view.facts.programs, path, pairs) {
                found = true;
                self.note(Seen::Path(path.clone()));
            }
        }
        found
    }

    fn hosts(&mut self, test: &HostTest) -> bool {
        let mut found = false;
        for host in self.view.facts.hosts.iter().filter(|host| test.fits(host)) {
            found = true;
            self.note(Seen::Host(host.host.clone()));
        }
        found
    }

    fn note_flow(&mut self, flow: &Flow) -> bool {
        for FlowEnd { kind, what } in [&flow.from, &flow.to] {
            if what.is_empty() {
                continue;
            }
            self.note(match kind {
                FlowKind::Secret | FlowKind::File => Seen::Path(PathFact {
                    path: what.clone(),
                    class: None,
                    by: Vec::new(),
                }),
                FlowKind::Network => Seen::Host(what.clone()),
                FlowKind::Command | FlowKind::Code => Seen::Program(what.clone()),
                FlowKind::Encoded | FlowKind::Environment => Seen::Object(what.clone()),
                // The text itself may hold what is not to be shown.
                FlowKind::Text => continue,
            });
        }
        true
    }

    fn text(&self, test: &TextTest) -> bool {
        if test.content && !self.view.carries_content() {
            return false;
        }
        let there = |number: &usize| self.literals.has(*number);
        test.literals.iter().all(|group| group.iter().any(there))
            && test.re.as_ref().is_none_or(|re| {
                // What is found nowhere need not be looked for in a part.
                let parts = || {
                    let part = if test.acts {
                        self.view.acting()
                    } else {
                        self.view.text()
                    };
                    let part = if test.leave {
                        leave::without_harmless(part)
                    } else {
                        Cow::Borrowed(part)
                    };
                    let left = test
                        .without
                        .iter()
                        .fold(part, |text, without| without.cut(&text).into());
                    re.is_match(&left)
                };
                let whole = !test.acts && !test.leave && test.without.is_empty();
                re.is_match(self.view.text()) && (whole || parts())
            })
    }
}

impl RunTest {
    /// Works out what the words must have; called once, when all else is set.
    pub(super) fn want(&mut self) {
        let mut wanted = Wanted::default();
        wanted.patterns(&self.written);
        wanted.sequences(&self.subcommands);
        self.flags.iter().for_each(|group| wanted.flags(group));
        self.args.iter().for_each(|group| wanted.patterns(group));
        self.has.iter().for_each(|group| wanted.literals(group));
        if let Some(re) = &self.re {
            wanted.add(re.wanted());
        }
        self.wanted = Arc::new(wanted);
        self.wild_pairs = self.wild_names.iter().map(Pairs::of_pattern).collect();
    }

    /// Gives the programs whose name is meant, those with one of the listed names first; one may come twice.
    fn candidates<'a>(&self, view: &View<'a>, mut each: impl FnMut(usize, &'a Program)) {
        let programs = &view.facts.programs;
        if self.name_set.meets(&view.present) {
            for number in self.name_set.shared(&view.present) {
                for at in view.named(number) {
                    programs.get(at).into_iter().for_each(|program| each(at, program));
                }
            }
        }
        let all = self.names.is_empty() && self.wild_names.is_empty();
        if all || !self.wild_names.is_empty() {
            for (at, program) in programs.iter().enumerate() {
                if all || self.is_wildly_named(view, at, program) {
                    each(at, program);
                }
            }
        }
    }

    /// Whether the program at `at` has a name that is meant, and fits.
    fn is_meant_and_fits(&self, view: &View<'_>, at: usize, program: &Program) -> bool {
        let all = self.names.is_empty() && self.wild_names.is_empty();
        (all || view.is_named(at, &self.name_set) || self.is_wildly_named(view, at, program))
            && self.fits(view, at, program)
    }

    /// Whether the name of the program at `at` fits one of the names with wildcards.
    fn is_wildly_named(&self, view: &View<'_>, at: usize, program: &Program) -> bool {
        let name = view.name_pairs(at);
        let mut names = self.wild_names.iter().zip(&self.wild_pairs);
        names.any(|(pattern, wanted)| name.may_hold(wanted) && pattern.fits(&program.name))
    }

    /// Whether no program of the call has a name that is meant.
    fn is_idle(&self, view: &View<'_>) -> bool {
        !self.names.is_empty() && self.wild_names.is_empty() && !self.name_set.meets(&view.present)
    }

    fn is_left_out(&self, program: &Program) -> bool {
        let stem = stem(&program.name);
        self.not_names
            .iter()
            .any(|name| **name == *program.name || **name == *stem)
    }

    /// Whether a program whose name is meant fits. What is cheap comes first.
    fn fits(&self, view: &View<'_>, at: usize, program: &Program) -> bool {
        if !self.wanted.may_be_in(view.pairs(at)) {
            return false;
        }
        let words = arguments(program);
        let some_word = |patterns: &[Pattern]| words.iter().any(|word| any_fits(patterns, word));
        let has_flag = |flags: &[Flag]| flags.iter().any(|flag| words.iter().any(|word| flag.fits(word)));
        let has = |literals: &[Literal]| literals.iter().any(|literal| literal.is_in(view.line(at)));
        !self.is_left_out(program)
            && (self.written.is_empty()
                || program
                    .argv
                    .first()
                    .is_some_and(|word| any_fits(&self.written, word)))
            && (self.subcommands.is_empty()
                || self.subcommands.iter().any(|wanted| subcommand(words, wanted)))
            && self.flags.iter().all(|group| has_flag(group))
            && !has_flag(&self.no_flags)
            && self.args.iter().all(|group| some_word(group))
            && !some_word(&self.no_args)
            && self
                .operands
                .is_none_or(|wanted| words.iter().any(|word| !word.starts_with('-')) == wanted)
            && self.takes_code.is_none_or(|wanted| view.takes_code(at) == wanted)
            && self.computed.is_none_or(|wanted| is_computed(program) == wanted)
            && self.has.iter().all(|group| has(group))
            && !has(&self.has_not)
            && self.re.as_ref().is_none_or(|re| re.is_match(view.line(at)))
            && self
                .names_only
                .is_none_or(|wanted| view.prints_names(at) == wanted)
    }
}

/// Whether the words that are no options begin with `wanted`. A word behind an option may be that option's value, so
/// that `git -C folder push` is a push.
fn subcommand(words: &[String], wanted: &[Box<str>]) -> bool {
    let option = |at: usize| {
        words
            .get(at)
            .is_some_and(|word| word.starts_with('-') || word.starts_with('+'))
    };
    let mut at = 0;
    while at < words.len() {
        if option(at) {
            at += 1;
            continue;
        }
        let mut rest = words.iter().skip(at).filter(|word| !word.starts_with('-'));
        if wanted
            .iter()
            .all(|part| rest.next().is_some_and(|word| **word == **part))
        {
            return true;
        }
        if at == 0 || !option(at - 1) {
            return false;
        }
        at += 1;
    }
    false
}

impl Flag {
    pub(super) fn new(text: &str) -> Self {
        let mut letters = text.chars().skip(1);
        match (letters.next(), letters.next()) {
            (Some(letter), None) if text.starts_with('-') => Self::Letter(letter),
            _ => Self::Word(text.into()),
        }
    }

    fn fits(&self, word: &str) -> bool {
        match self {
            Self::Letter(letter) => word.strip_prefix('-').is_some_and(|letters| {
                letters.starts_with(*letter)
                    || (letters.len() <= MAX_CLUSTER
                        && letters.contains(*letter)
                        && letters.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            }),
            Self::Word(flag) => word
                .strip_prefix(&**flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('=')),
        }
    }
}

impl PathTest {
    pub(super) fn new(
        classes: Vec<Box<str>>,
        paths: Vec<Pattern>,
        not_paths: Vec<Pattern>,
        by: Vec<Box<str>>,
    ) -> Self {
        Self {
            by,
            wanted: paths.iter().map(Pairs::of_pattern).collect(),
            classes,
            paths,
            not_paths,
        }
    }

    /// Whether a path that may hold `pairs` fits.
    fn fits(&self, programs: &[Program], fact: &PathFact, pairs: &Pairs) -> bool {
        let class = fact.class.as_deref();
        if class == Some(HARMLESS) {
            return false;
        }
        let mut paths = self.paths.iter().zip(&self.wanted);
        (self.classes.is_empty()
            || class.is_some_and(|class| self.classes.iter().any(|known| **known == *class)))
            && (self.paths.is_empty()
                || paths.any(|(pattern, wanted)| pairs.may_hold(wanted) && pattern.fits(&fact.path)))
            && !any_fits(&self.not_paths, &fact.path)
            && (self.by.is_empty() || fact.by.is_empty() || self.is_by(programs, fact))
    }

    fn is_by(&self, programs: &[Program], fact: &PathFact) -> bool {
        let mut readers = fact.by.iter().filter_map(|&at| programs.get(at));
        readers.any(|program| {
            let stem = stem(&program.name);
            self.by
                .iter()
                .any(|known| **known == *stem || **known == *program.name)
        })
    }
}

impl HostTest {
    fn fits(&self, fact: &HostFact) -> bool {
        let host = fact.host.as_str();
        let kind = if self.kinds.is_empty() {
            host_is(host, HostWord::Remote)
        } else {
            self.kinds.iter().any(|&kind| host_is(host, kind))
        };
        kind && (self.names.is_empty() || any_fits(&self.names, host))
            && !any_fits(&self.not_names, host)
            && (self.ports.is_empty() || fact.port.is_some_and(|port| self.ports.contains(&port)))
    }
}

impl FlowTest {
    fn fits(&self, flow: &Flow) -> bool {
        (self.from.is_empty() || self.from.contains(&flow.from.kind))
            && (self.to.is_empty() || self.to.contains(&flow.to.kind))
            && (self.from_what.is_empty() || any_fits(&self.from_what, &flow.from.what))
            && (self.to_what.is_empty() || any_fits(&self.to_what, &flow.to.what))
            && (self.through.is_empty()
                || flow
                    .through
                    .iter()
                    .any(|program| any_fits(&self.through, program)))
    }
}

impl DoesTest {
    fn fits(&self, behaviour: &Behaviour) -> bool {
        self.kind.is_none_or(|kind| kind == behaviour.kind)
            && (self.techniques.is_empty()
                || self
                    .techniques
                    .iter()
                    .any(|known| **known == *behaviour.technique))
            && (self.objects.is_empty() || any_fits(&self.objects, &behaviour.object))
            && !any_fits(&self.not_objects, &behaviour.object)
            && self
                .radius
                .is_none_or(|least| behaviour.radius.is_some_and(|radius| radius >= least))
            && self
                .within
                .is_none_or(|most| behaviour.radius.is_some_and(|radius| radius <= most))
    }
}
