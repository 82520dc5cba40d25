//! From the text of packs to compiled rules.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::index::Index;
use super::lazy::LazyRegex;
use super::node::{Access, DoesTest, Flag, FlowTest, HostTest, NameSet, Node, PathTest, RunTest, TextTest};
use super::pattern::{Literal, Pattern};
use super::schema::{self, Clause, Many, Run};
use super::{FactRule, FactRules, Message};
use crate::detector::PackError;
use crate::literals::{Case, Literals};
use crate::packs::Pack;
use crate::quick::Table;

/// Most rules in all packs together; the packs that come with the program have some hundreds.
const MAX_RULES: usize = 4096;
/// Deepest nesting of conditions.
const MAX_DEPTH: usize = 12;
/// Shortest literal by which content is looked for; shorter ones stand in every text.
const MIN_LITERAL: usize = 3;

/// The categories that a rule may have.
const CATEGORIES: &[&str] = &[
    "secret",
    "command",
    "sensitive-path",
    "c2",
    "cognitive-file",
    "trust-exploit",
    "pii",
    "injection",
];

pub(super) fn compile(packs: &[Pack<'_>]) -> Result<FactRules, PackError> {
    let mut parsed = Vec::new();
    for &(file, text) in packs {
        let pack: schema::Pack = text.read().map_err(|error| invalid(file, error.to_string()))?;
        if pack.version != 1 {
            let why = format!("it has version {}; this program knows version 1", pack.version);
            return Err(invalid(file, why));
        }
        parsed.push((file, pack));
    }
    let mut compiler = Compiler::default();
    for (file, pack) in &mut parsed {
        for (name, words) in std::mem::take(&mut pack.lists) {
            if compiler.lists.insert(name.clone(), words).is_some() {
                return Err(invalid(
                    file,
                    format!("the list {name:?} is given twice; rename one"),
                ));
            }
        }
    }
    let mut rules = Vec::new();
    let mut ids = HashSet::new();
    for (file, pack) in parsed {
        for rule in pack.rules {
            let line = rule.referenced.line();
            let rule = rule.value;
            let place = format!("rule {:?}, line {line}", rule.id);
            if !ids.insert(rule.id.clone()) {
                return Err(invalid(
                    file,
                    format!("{place}: another rule has this id; rename one"),
                ));
            }
            let rule = compiler
                .rule(file, line, &pack.category, rule)
                .map_err(|why| invalid(file, format!("{place}: {why}")))?;
            rules.push(rule);
        }
    }
    if rules.len() > MAX_RULES {
        let why = format!(
            "the packs hold {} rules; at most {MAX_RULES} are taken",
            rules.len()
        );
        return Err(invalid(packs.last().map_or("", |(file, _)| file), why));
    }
    compiler.finish(rules)
}

fn invalid(file: &str, why: String) -> PackError {
    PackError::Invalid {
        file: file.to_owned(),
        why,
    }
}

#[derive(Default)]
struct Compiler {
    lists: HashMap<String, Vec<String>>,
    literals: Vec<String>,
    numbers: HashMap<String, usize>,
    programs: Table<Box<str>, usize>,
    /// The literals that are looked for in any call's text.
    anywhere: BTreeSet<usize>,
    index: Index,
    count: u32,
}

type Compiled<T> = Result<T, String>;

impl Compiler {
    fn rule(&mut self, file: &str, line: u64, category: &str, rule: schema::Rule) -> Compiled<FactRule> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if rule.id.is_empty() || !rule.id.chars().all(known) {
            return Err("an id has lower-case letters, digits, hyphens and dots only".to_owned());
        }
        let category = rule.category.as_deref().unwrap_or(category);
        if !CATEGORIES.contains(&category) {
            return Err(format!(
                "{category:?} is no category: use one of {}",
                CATEGORIES.join(", ")
            ));
        }
        if rule.confidence > 100 {
            return Err(format!("confidence {} is above 100", rule.confidence));
        }
        if rule.tests.positive.is_empty() || rule.tests.negative.is_empty() {
            return Err("it has no test: give at least one positive and one negative sample".to_owned());
        }
        let when = self.clauses(&rule.when, 0)?;
        let unless = match rule.unless.is_empty() {
            true => None,
            false => Some(self.clauses(&rule.unless, 0)?),
        };
        if !self.index.enter(self.count, &when) {
            return Err(
                "nothing in `when` says by what to find it: name a program, a path, a tool or the like in each alternative"
                    .to_owned(),
            );
        }
        self.count += 1;
        Ok(FactRule {
            id: rule.id,
            category: category.to_owned(),
            severity: rule.severity,
            confidence: rule.confidence,
            message: Message::new(&rule.message)?,
            remedy: rule.remedy,
            technique: rule.technique,
            when,
            unless,
            file: file.to_owned(),
            line,
            tests: rule.tests,
        })
    }

    fn finish(self, rules: Vec<FactRule>) -> Result<FactRules, PackError> {
        let few = self
            .anywhere
            .iter()
            .filter_map(|&number| self.literals.get(number).cloned());
        Ok(FactRules {
            anywhere: (literals(few)?, self.anywhere.iter().copied().collect()),
            literals: literals(self.literals)?,
            rules,
            index: self.index,
            names: self.programs,
        })
    }

    fn clauses(&mut self, clauses: &Many<Clause>, depth: usize) -> Compiled<Node> {
        let mut nodes = Vec::new();
        for clause in &clauses.0 {
            nodes.push(self.clause(clause, depth)?);
        }
        match nodes.len() {
            0 => Err("a list of conditions is empty".to_owned()),
            1 => Ok(nodes.remove(0)),
            _ => Ok(Node::Any(nodes)),
        }
    }

    fn clause(&mut self, clause: &Clause, depth: usize) -> Compiled<Node> {
        if depth > MAX_DEPTH {
            return Err(format!("conditions are nested deeper than {MAX_DEPTH}"));
        }
        let mut nodes = Vec::new();
        // What is cheap comes first: evaluation stops at the first that does not hold.
        nodes.extend(any(&clause.call, |word| Ok(Node::Call(*word)))?);
        nodes.extend(any(&clause.tool, |name| {
            Pattern::new(&name.to_ascii_lowercase()).map(Node::Tool)
        })?);
        nodes.extend(any(&clause.opaque, |why| Ok(Node::Opaque(why.as_str().into())))?);
        nodes.extend(any(&clause.privilege, |word| {
            Ok(Node::Privilege(word.as_str().into()))
        })?);
        nodes.extend(any(&clause.does, |does| self.does(does))?);
        nodes.extend(any(&clause.flow, |flow| self.flow(flow))?);
        nodes.extend(any(&clause.run, |run| {
            self.run(run).map(|test| Node::Run(Box::new(test)))
        })?);
        nodes.extend(any(&clause.pipe, |pipe| {
            let mut side = |runs: &Many<Run>| {
                runs.0
                    .iter()
                    .map(|run| self.run(run))
                    .collect::<Compiled<Vec<_>>>()
            };
            Ok(Node::Pipe(side(&pipe.from)?, side(&pipe.to)?))
        })?);
        for (paths, access) in [
            (&clause.reads, Access::Read),
            (&clause.writes, Access::Write),
            (&clause.touches, Access::Either),
        ] {
            nodes.extend(any(paths, |path| {
                self.path(path).map(|test| Node::Path(access, test))
            })?);
        }
        nodes.extend(any(&clause.host, |host| self.host(host))?);
        if !clause.only_hosts.is_empty() {
            nodes.push(Node::OnlyHosts(self.patterns(&clause.only_hosts)?));
        }
        for (texts, content) in [(&clause.content, true), (&clause.input, false)] {
            let tests = texts
                .0
                .iter()
                .map(|text| self.text(text, content))
                .collect::<Compiled<Vec<_>>>()?;
            nodes.extend(one_of(tests));
        }
        for inner in &clause.all {
            nodes.push(self.clause(inner, depth + 1)?);
        }
        if !clause.any.is_empty() {
            nodes.push(self.clauses(&clause.any, depth + 1)?);
        }
        if !clause.not.is_empty() {
            nodes.push(Node::Not(Box::new(self.clauses(&clause.not, depth + 1)?)));
        }
        match nodes.len() {
            0 => Err("a condition is empty".to_owned()),
            1 => Ok(nodes.remove(0)),
            _ => Ok(Node::All(nodes)),
        }
    }

    /// The words of a list, with `@name` replaced by that list's.
    fn words(&self, words: &Many<String>) -> Compiled<Vec<String>> {
        let mut found = Vec::new();
        for word in &words.0 {
            match word.strip_prefix('@') {
                Some(name) if !name.contains(['/', '.', '@', ' ']) => {
                    let list = self.lists.get(name);
                    found.extend(
                        list.ok_or_else(|| format!("there is no list {name:?}"))?
                            .iter()
                            .cloned(),
                    );
                }
                _ => found.push(word.clone()),
            }
        }
        Ok(found)
    }

    fn patterns(&self, words: &Many<String>) -> Compiled<Vec<Pattern>> {
        self.words(words)?.iter().map(|word| Pattern::new(word)).collect()
    }

    fn flags(&self, words: &Many<String>) -> Compiled<Vec<Flag>> {
        Ok(self.words(words)?.iter().map(|word| Flag::new(word)).collect())
    }

    fn run(&mut self, run: &Run) -> Compiled<RunTest> {
        let (wild, names): (Vec<_>, Vec<_>) = self
            .words(&run.name)?
            .into_iter()
            .partition(|name| name.contains(['*', '?']));
        let mut flags = run
            .flags
            .iter()
            .map(|group| self.flags(group))
            .collect::<Compiled<Vec<_>>>()?;
        if !run.flag.is_empty() {
            flags.push(self.flags(&run.flag)?);
        }
        let mut args = run
            .args
            .iter()
            .map(|group| self.patterns(group))
            .collect::<Compiled<Vec<_>>>()?;
        if !run.arg.is_empty() {
            args.push(self.patterns(&run.arg)?);
        }
        let names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        let mut name_set = NameSet::default();
        for name in &names {
            let next = self.programs.len();
            name_set.add(*self.programs.entry(name.clone()).or_insert(next));
        }
        let sequence = |text: &String| text.split_whitespace().map(Into::into).collect();
        let mut test = RunTest {
            name_set,
            names,
            wild_names: wild
                .iter()
                .map(|name| Pattern::new(name))
                .collect::<Compiled<_>>()?,
            not_names: self.words(&run.not_name)?.into_iter().map(Into::into).collect(),
            written: self.patterns(&run.written)?,
            flags,
            no_flags: self.flags(&run.no_flag)?,
            subcommands: self.words(&run.subcommand)?.iter().map(sequence).collect(),
            args,
            no_args: self.patterns(&run.no_arg)?,
            has: run
                .has
                .iter()
                .map(|group| {
                    Ok(literal_group(group)?
                        .iter()
                        .map(|text| Literal::new(text))
                        .collect())
                })
                .collect::<Compiled<_>>()?,
            has_not: run
                .has_not
                .0
                .iter()
                .map(|text| Literal::new(&text.to_lowercase()))
                .collect(),
            re: run.re.as_deref().map(LazyRegex::new).transpose()?,
            operands: run.operands,
            takes_code: run.takes_code,
            computed: run.computed,
            names_only: run.names_only,
            wanted: Arc::default(),
            wild_pairs: Vec::new(),
        };
        test.want();
        Ok(test)
    }

    fn path(&self, path: &schema::PathClause) -> Compiled<PathTest> {
        let classes = self.words(&path.class)?;
        let rules = crate::paths::PathRules::embedded();
        if let Some(unknown) = classes
            .iter()
            .find(|class| !rules.classes().any(|known| known == class.as_str()))
        {
            return Err(format!("{unknown:?} is no class of policies/paths.yaml"));
        }
        Ok(PathTest::new(
            classes.into_iter().map(Into::into).collect(),
            self.patterns(&path.path)?,
            self.patterns(&path.not_path)?,
            self.words(&path.by)?.into_iter().map(Into::into).collect(),
        ))
    }

    fn host(&self, host: &schema::HostClause) -> Compiled<Node> {
        Ok(Node::Host(HostTest {
            names: self.patterns(&host.name)?,
            not_names: self.patterns(&host.not_name)?,
            kinds: host.kind.0.clone(),
            ports: host.port.0.clone(),
        }))
    }

    fn flow(&self, flow: &schema::FlowClause) -> Compiled<Node> {
        Ok(Node::Flow(FlowTest {
            from: flow.from.0.clone(),
            to: flow.to.0.clone(),
            from_what: self.patterns(&flow.from_what)?,
            to_what: self.patterns(&flow.to_what)?,
            through: self.patterns(&flow.through)?,
        }))
    }

    fn does(&self, does: &schema::DoesClause) -> Compiled<Node> {
        if does.kind.is_none() && does.technique.is_empty() {
            return Err("`does` names neither a kind nor a technique".to_owned());
        }
        Ok(Node::Does(DoesTest {
            kind: does.kind,
            techniques: self.words(&does.technique)?.into_iter().map(Into::into).collect(),
            objects: self.patterns(&does.object)?,
            not_objects: self.patterns(&does.not_object)?,
            radius: does.radius,
            within: does.within,
        }))
    }

    fn text(&mut self, text: &schema::TextClause, content: bool) -> Compiled<Node> {
        if text.has.is_empty() {
            return Err("a text is looked for by `has` first: name a literal that must be in it".to_owned());
        }
        let mut literals = Vec::new();
        for group in &text.has {
            let group = literal_group(group)?;
            let group = group
                .iter()
                .map(|literal| self.literal(literal))
                .collect::<Compiled<Vec<_>>>()?;
            if !content {
                self.anywhere.extend(&group);
            }
            literals.push(group);
        }
        if text.leave && text.re.is_none() {
            return Err("`leave` is about the `re` of a text".to_owned());
        }
        if text.acts && (text.re.is_none() || !content) {
            return Err("`acts` is about the `re` of a content".to_owned());
        }
        Ok(Node::Text(TextTest {
            content,
            acts: text.acts,
            leave: text.leave,
            without: self
                .words(&text.without)?
                .iter()
                .map(|without| LazyRegex::new(without))
                .collect::<Result<_, _>>()?,
            literals,
            re: text.re.as_deref().map(LazyRegex::new).transpose()?,
        }))
    }

    fn literal(&mut self, literal: &str) -> Compiled<usize> {
        if literal.len() < MIN_LITERAL {
            return Err(format!(
                "{literal:?} is too short to look for: use {MIN_LITERAL} bytes or more"
            ));
        }
        if let Some(&number) = self.numbers.get(literal) {
            return Ok(number);
        }
        let number = self.literals.len();
        self.literals.push(literal.to_owned());
        self.numbers.insert(literal.to_owned(), number);
        Ok(number)
    }
}

/// `a|b`, in lower case.
fn literal_group(text: &str) -> Compiled<Vec<Box<str>>> {
    let group: Vec<Box<str>> = text.split('|').map(|part| part.to_lowercase().into()).collect();
    if group.iter().any(|part| part.is_empty()) {
        return Err(format!("{text:?} has an empty alternative"));
    }
    Ok(group)
}

fn literals(literals: impl IntoIterator<Item = String>) -> Result<Literals<Box<[u8]>>, PackError> {
    let literals = literals
        .into_iter()
        .map(|literal| literal.into_bytes().into_boxed_slice());
    Literals::new(literals, Case::IsOne).map_err(|short| {
        let short = String::from_utf8_lossy(&short);
        invalid(
            "all packs",
            format!("the literal {short:?} is too short to look for"),
        )
    })
}

fn any<T>(items: &Many<T>, compile: impl FnMut(&T) -> Compiled<Node>) -> Compiled<Option<Node>> {
    items
        .0
        .iter()
        .map(compile)
        .collect::<Compiled<Vec<_>>>()
        .map(one_of)
}

fn one_of(mut nodes: Vec<Node>) -> Option<Node> {
    match nodes.len() {
        0 => None,
        1 => nodes.pop(),
        _ => Some(Node::Any(nodes)),
    }
}
