//! What the tables of `policies/code` say: of each language what its syntax means and which calls matter, and for all
//! languages which flows are findings. Everything that can be wrong with a table is told when it is loaded.

use std::collections::{BTreeMap, HashMap};

use defenseclaw_model::decision::Severity;
use serde::Deserialize;
use tree_sitter::Language;

use crate::TableError;
use crate::grammar::Grammar;
use crate::labels::{Label, Labels};

/// A language, as its table is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageFile {
    version: u32,
    syntax: Syntax,
    /// Names by which an object calls itself.
    #[serde(default)]
    own: Vec<String>,
    /// Objects whose fields are the global names.
    #[serde(default)]
    roots: Vec<String>,
    /// Whether the last expression of a function is its value.
    #[serde(default)]
    tail: bool,
    /// Whether files of one folder see each other's names without importing them.
    #[serde(default)]
    package: bool,
    /// Names of fields of a tool's description that hold the function to call.
    #[serde(default)]
    handlers: Vec<String>,
    #[serde(default)]
    values: Vec<ValueRule>,
    calls: Vec<CallRule>,
}

/// Which kinds of node mean what. A kind is followed by its fields; `#0` is the first child with a name.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Syntax {
    names: Vec<String>,
    strings: Vec<String>,
    texts: Vec<String>,
    escapes: Vec<String>,
    numbers: Vec<String>,
    members: BTreeMap<String, [String; 2]>,
    indexes: BTreeMap<String, [String; 2]>,
    calls: BTreeMap<String, [String; 2]>,
    methods: BTreeMap<String, [String; 3]>,
    constructors: BTreeMap<String, [String; 2]>,
    /// Kinds that call what has a name of its own: a command in backticks.
    verbs: BTreeMap<String, String>,
    declares: BTreeMap<String, [String; 2]>,
    assigns: BTreeMap<String, [String; 2]>,
    augments: BTreeMap<String, [String; 2]>,
    functions: BTreeMap<String, [String; 3]>,
    patterns: Vec<String>,
    classes: BTreeMap<String, [String; 2]>,
    returns: Vec<String>,
    lists: Vec<String>,
    pairs: BTreeMap<String, [String; 2]>,
    joins: Vec<String>,
    branches: Vec<String>,
    loops: Vec<String>,
    decorators: Vec<String>,
    imports: Vec<String>,
    /// Kinds that give a value to what stands before them.
    early: Vec<String>,
    skips: Vec<String>,
}

/// A name that is a source by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueRule {
    names: Vec<String>,
    pub(crate) gives: Vec<Label>,
    /// What one named field of it gives instead.
    #[serde(default)]
    pub(crate) single: Option<Vec<Label>>,
}

/// What is known of calls.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CallRule {
    names: Vec<String>,
    /// Only where this keyword, or `#0` the first argument, is one of these; `*` stands for any text, and nothing for none.
    pub(crate) when: BTreeMap<String, Vec<String>>,
    /// What the answer is, whatever the arguments.
    pub(crate) gives: Vec<Label>,
    /// What data ends here.
    pub(crate) sink: Option<String>,
    /// Which argument that is: `all`, `receiver`, `answer`, or a number.
    pub(crate) at: At,
    /// The keywords that may stand for that argument.
    pub(crate) keys: Vec<String>,
    /// The answer is a file that is read, by the path in that argument.
    pub(crate) reads: Option<At>,
    /// The answer is a handle of the file that is named there.
    pub(crate) opens: Option<At>,
    /// A file is written: its path, and the content.
    pub(crate) writes: Option<(At, At)>,
    /// These are taken from what goes through.
    pub(crate) clears: Vec<Label>,
    /// Nothing of the arguments is in the answer.
    pub(crate) clean: bool,
    /// Its arguments, and what it is called on, are checked by it.
    pub(crate) checks: bool,
    /// Functions that are given to it have parameters from outside.
    pub(crate) handler: Vec<Label>,
    /// What it puts together.
    pub(crate) folds: Option<Fold>,
    /// What it makes of names.
    pub(crate) names_as: Option<Naming>,
}

/// Which argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum At {
    #[default]
    All,
    Receiver,
    Answer,
    #[serde(rename = "0")]
    First,
    #[serde(rename = "1")]
    Second,
    #[serde(rename = "2")]
    Third,
}

/// How constants become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fold {
    /// What it is called on stands between the elements of the argument.
    Join,
    /// The elements of what it is called on are joined.
    JoinOwn,
    /// The arguments one behind the other, as a path where there are several.
    Path,
    /// A format and what goes into it.
    Format,
    Reverse,
    /// Numbers of characters.
    Characters,
    Base64,
    Hex,
    Rot13,
    /// The text stays.
    Same,
}

/// How a call names something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Naming {
    /// The first argument is the name of a module.
    Module,
    /// The second is the name of a field of the first.
    Field,
    /// The first is the name of what it is called on.
    Method,
    /// The answer is called like the first argument.
    Alias,
    /// The global names as an object.
    Globals,
}

/// The tables for all languages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    version: u32,
    /// Labels of constants by what stands in them.
    pub(crate) constants: Vec<ConstantRule>,
    /// Names that nobody hides without a reason.
    pub(crate) hidden: Vec<String>,
    /// Files that run when something is installed or built.
    pub(crate) automatic: Vec<String>,
    /// Parts of paths of files that are tests.
    pub(crate) tests: Vec<String>,
    pub(crate) flows: Vec<FlowRule>,
    pub(crate) settings: Vec<SettingRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct ConstantRule {
    pub(crate) label: Option<Label>,
    /// Any of these stands in it, in lower case.
    pub(crate) holds: Vec<String>,
    /// It is one of these.
    pub(crate) is: Vec<String>,
    /// It begins with one of these, and a space or nothing follows.
    pub(crate) first_word: Vec<String>,
    /// It ends with one of these.
    pub(crate) ends: Vec<String>,
    /// Its host is an address and no local one.
    pub(crate) address: bool,
}

/// A flow that is a finding.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowRule {
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) severity: Severity,
    pub(crate) confidence: u8,
    pub(crate) sinks: Vec<String>,
    pub(crate) from: Vec<Label>,
    /// All of these, too.
    #[serde(default)]
    pub(crate) with: Vec<Label>,
    /// None of these.
    #[serde(default)]
    pub(crate) unless: Vec<Label>,
    /// Whether it is a step worse in what runs at installation.
    #[serde(default)]
    pub(crate) automatic: bool,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// A setting that is a finding by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingRule {
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) severity: Severity,
    pub(crate) confidence: u8,
    pub(crate) keys: Vec<String>,
    pub(crate) values: Vec<String>,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// Where a part of a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// In the field with that number.
    Field(u16),
    /// In one of two.
    Either(u16, u16),
    /// That child with a name.
    Child(usize),
    None,
}

/// What a kind of node means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// Its value is that of its parts.
    #[default]
    Plain,
    Skip,
    Name,
    Text,
    Escape,
    Str,
    Number,
    Member(Slot, Slot),
    Index(Slot, Slot),
    Call(Slot, Slot),
    Method(Slot, Slot, Slot),
    Constructor(Slot, Slot),
    Verb(u16),
    Assign(Slot, Slot, Assigning),
    Function(Slot, Slot, Slot),
    Class(Slot, Slot),
    Return,
    List,
    Pair(Slot, Slot),
    Join,
    Decorator,
    Import,
}

/// How something gets a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assigning {
    /// A new variable of this function.
    New,
    /// One that is known, wherever it was declared.
    Known,
    /// It is added to what is there.
    More,
}

/// A language, ready to read files.
#[derive(Debug)]
pub(crate) struct Tongue {
    /// Names its kinds and fields.
    pub(crate) grammar: Language,
    /// Parses it.
    pub(crate) parser: &'static Grammar,
    pub(crate) roles: Vec<Role>,
    pub(crate) branches: Vec<bool>,
    pub(crate) loops: Vec<bool>,
    pub(crate) patterns: Vec<bool>,
    pub(crate) early: Vec<bool>,
    pub(crate) verbs: Vec<String>,
    pub(crate) own: Vec<String>,
    pub(crate) roots: Vec<String>,
    pub(crate) handlers: Vec<String>,
    pub(crate) tail: bool,
    pub(crate) package: bool,
    pub(crate) values: Named<ValueRule>,
    pub(crate) calls: Named<CallRule>,
}

/// Rules by the last part of the name that they are about.
#[derive(Debug)]
pub(crate) struct Named<R> {
    rules: Vec<R>,
    by_last: HashMap<String, Vec<(String, usize)>>,
}

/// What stands behind a call's name in a path: its answer.
pub(crate) const ANSWER: &str = "()";

impl<R> Named<R> {
    fn new(rules: Vec<R>, names: impl Fn(&R) -> &[String]) -> Self {
        let mut by_last: HashMap<String, Vec<(String, usize)>> = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            for name in names(rule) {
                let last = last_of(name);
                let last = if last.contains('*') { "*" } else { last };
                by_last
                    .entry(last.to_owned())
                    .or_default()
                    .push((name.clone(), number));
            }
        }
        Self { rules, by_last }
    }

    /// The rules about `path`, in the order in which they stand.
    pub(crate) fn find<'n>(&'n self, path: &str) -> Vec<&'n R> {
        let lists = [self.by_last.get(last_of(path)), self.by_last.get("*")];
        let named = lists.into_iter().flatten().flatten();
        let mut numbers: Vec<usize> = named
            .filter(|(name, _)| fits(name, path))
            .map(|&(_, number)| number)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .iter()
            .filter_map(|&number| self.rules.get(number))
            .collect()
    }
}

/// The last part of a dotted name.
pub(crate) fn last_of(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether a path is what a name with `*` for any text says. Linear in the path for each star.
pub(crate) fn fits(name: &str, path: &str) -> bool {
    let mut parts = name.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

impl Rules {
    pub(crate) fn load(file: &str, text: &str) -> Result<Self, TableError> {
        let rules: Self =
            defenseclaw_yaml::from_str(text).map_err(|error| refuse(file, error.to_string()))?;
        known_version(file, rules.version)?;
        let ids = rules.flows.iter().map(|rule| (&rule.id, rule.confidence));
        let ids = ids.chain(rules.settings.iter().map(|rule| (&rule.id, rule.confidence)));
        for (id, confidence) in ids {
            if !id.starts_with("code.") || confidence > 100 {
                let why = format!("{id:?}: write its id as code.name, and a confidence from 0 to 100");
                return Err(refuse(file, why));
            }
        }
        Ok(rules)
    }
}

impl Tongue {
    /// A language by its table. Kinds and fields that the grammar does not have are refused.
    pub(crate) fn load(file: &str, text: &str, parser: &'static Grammar) -> Result<Self, TableError> {
        let grammar = parser.names();
        let table: LanguageFile =
            defenseclaw_yaml::from_str(text).map_err(|error| refuse(file, error.to_string()))?;
        known_version(file, table.version)?;
        let kinds = grammar.node_kind_count();
        let mut tongue = Self {
            roles: vec![Role::Plain; kinds],
            branches: vec![false; kinds],
            loops: vec![false; kinds],
            patterns: vec![false; kinds],
            early: vec![false; kinds],
            verbs: Vec::new(),
            own: table.own,
            roots: table.roots,
            handlers: table.handlers,
            tail: table.tail,
            package: table.package,
            values: Named::new(table.values, |rule| &rule.names),
            calls: Named::new(table.calls, |rule| &rule.names),
            grammar,
            parser,
        };
        tongue.syntax(table.syntax).map_err(|why| refuse(file, why))?;
        Ok(tongue)
    }

    fn syntax(&mut self, syntax: Syntax) -> Result<(), String> {
        use Assigning::{Known, More, New};
        for (kinds, role) in [
            (&syntax.names, Role::Name),
            (&syntax.texts, Role::Text),
            (&syntax.escapes, Role::Escape),
            (&syntax.strings, Role::Str),
            (&syntax.numbers, Role::Number),
            (&syntax.returns, Role::Return),
            (&syntax.lists, Role::List),
            (&syntax.joins, Role::Join),
            (&syntax.decorators, Role::Decorator),
            (&syntax.imports, Role::Import),
            (&syntax.skips, Role::Skip),
        ] {
            for kind in kinds {
                self.set(kind, role)?;
            }
        }
        let two = |make: fn(Slot, Slot) -> Role| make;
        for (kinds, make) in [
            (&syntax.members, two(Role::Member)),
            (&syntax.indexes, two(Role::Index)),
            (&syntax.calls, two(Role::Call)),
            (&syntax.constructors, two(Role::Constructor)),
            (&syntax.classes, two(Role::Class)),
            (&syntax.pairs, two(Role::Pair)),
            (
                &syntax.declares,
                two(|left, right| Role::Assign(left, right, New)),
            ),
            (
                &syntax.assigns,
                two(|left, right| Role::Assign(left, right, Known)),
            ),
            (
                &syntax.augments,
                two(|left, right| Role::Assign(left, right, More)),
            ),
        ] {
            for (kind, [a, b]) in kinds {
                self.set(kind, make(self.slot(a)?, self.slot(b)?))?;
            }
        }
        let three = |make: fn(Slot, Slot, Slot) -> Role| make;
        for (kinds, make) in [
            (&syntax.methods, three(Role::Method)),
            (&syntax.functions, three(Role::Function)),
        ] {
            for (kind, [a, b, c]) in kinds {
                self.set(kind, make(self.slot(a)?, self.slot(b)?, self.slot(c)?))?;
            }
        }
        for (kind, verb) in &syntax.verbs {
            let number = u16::try_from(self.verbs.len()).map_err(|error| error.to_string())?;
            self.verbs.push(verb.clone());
            self.set(kind, Role::Verb(number))?;
        }
        self.marks(&syntax)
    }

    /// Notes of kinds what they are besides.
    fn marks(&mut self, syntax: &Syntax) -> Result<(), String> {
        for kind in syntax.branches.iter().chain(&syntax.loops) {
            for id in self.ids(kind)? {
                mark(&mut self.branches, id);
            }
        }
        for (kinds, marks) in [(&syntax.loops, 0), (&syntax.patterns, 1), (&syntax.early, 2)] {
            for kind in kinds {
                for id in self.ids(kind)? {
                    mark([&mut self.loops, &mut self.patterns, &mut self.early][marks], id);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, kind: &str, role: Role) -> Result<(), String> {
        for id in self.ids(kind)? {
            if let Some(known) = self.roles.get_mut(usize::from(id)) {
                if *known != Role::Plain {
                    return Err(format!("the kind {kind:?} is given two meanings; leave one"));
                }
                *known = role;
            }
        }
        Ok(())
    }

    /// The numbers of a kind: a grammar may have several for one name.
    fn ids(&self, kind: &str) -> Result<Vec<u16>, String> {
        let count = u16::try_from(self.grammar.node_kind_count()).unwrap_or(u16::MAX);
        let ids: Vec<u16> = (0..count)
            .filter(|&id| {
                self.grammar.node_kind_is_named(id) && self.grammar.node_kind_for_id(id) == Some(kind)
            })
            .collect();
        if ids.is_empty() {
            return Err(format!(
                "the grammar has no kind {kind:?}; see its node-types.json"
            ));
        }
        Ok(ids)
    }

    fn slot(&self, name: &str) -> Result<Slot, String> {
        if name.is_empty() {
            return Ok(Slot::None);
        }
        if let Some(number) = name.strip_prefix('#') {
            let number = number
                .parse()
                .map_err(|_| format!("{name:?} is no number of a child"))?;
            return Ok(Slot::Child(number));
        }
        let field = |name: &str| {
            let id = self.grammar.field_id_for_name(name);
            id.map(u16::from)
                .ok_or_else(|| format!("the grammar has no field {name:?}; see its node-types.json"))
        };
        match name.split_once('|') {
            Some((one, other)) => Ok(Slot::Either(field(one)?, field(other)?)),
            None => Ok(Slot::Field(field(name)?)),
        }
    }
}

fn mark(marks: &mut [bool], id: u16) {
    if let Some(mark) = marks.get_mut(usize::from(id)) {
        *mark = true;
    }
}

fn known_version(file: &str, version: u32) -> Result<(), TableError> {
    match version {
        1 => Ok(()),
        other => Err(refuse(
            file,
            format!("it has version {other}; this program knows version 1"),
        )),
    }
}

fn refuse(file: &str, why: String) -> TableError {
    TableError {
        file: file.to_owned(),
        why,
    }
}

impl FlowRule {
    pub(crate) fn holds(&self, labels: Labels) -> bool {
        labels.meets(Labels::of(&self.from))
            && labels.has(Labels::of(&self.with))
            && !labels.meets(Labels::of(&self.unless))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        assert!(fits("*.execute", "self.db.execute") && !fits("*.execute", "execute"));
        assert!(fits("a.b", "a.b") && !fits("a.b", "a.bc"));
        assert!(fits("*Command.new()*.arg", "std.process.Command.new().env().arg"));
        assert!(fits("*", "x") && fits("fs.*", "fs.x") && !fits("fs.*", "gs.x"));
    }
}
