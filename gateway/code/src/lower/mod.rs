//! From syntax to flow: each node becomes a value, and what its kind means becomes edges. One pass, in the order of the text;
//! nothing calls itself.
//!
//! | Module | Holds |
//! |---|---|
//! | `scope` | variables |
//! | `assign` | what gets a value |
//! | `names` | what a name, a field, an element is |
//! | `calls` | what tables say of calls |
//! | `texts` | constants: written, joined, folded |

mod assign;
mod calls;
mod names;
mod scope;
mod texts;

use std::collections::HashMap;
use std::rc::Rc;

use defenseclaw_detect::scan::code::{Language, SourceFile};

use crate::constants::Known;
use crate::graph::{Node, Spot};
use crate::imports;
use crate::labels::{How, Label, Labels};
use crate::table::{ANSWER, Role, Rules, Slot, Tongue};
use crate::tree::Ast;
use crate::world::{Function, Unit, World};
use scope::{ScopeKind, Scopes};

/// Longest path of a name (bytes); what is longer has none.
const MAX_PATH: usize = 160;

/// The path of what has no name: a literal, what stands in parentheses.
const UNKNOWN: &str = "?";

/// How many nodes of a pattern are looked through for names; patterns may lie in patterns.
const MAX_PATTERN: u32 = 512;

/// The path of the object whose fields are the global names.
const GLOBALS: &str = "<globals>";

/// Reads one file into the world.
pub(crate) fn file(
    world: &mut World,
    tongue: &Tongue,
    rules: &Rules,
    source: &SourceFile<'_>,
    ast: &Ast<'_>,
) {
    let number = u32::try_from(world.files.len()).unwrap_or(u32::MAX);
    world.files.push(Unit {
        path: source.path.to_owned(),
        family: family(source.language),
        stem: imports::stem(&stem_path(source.path)).to_owned(),
        cut: ast.cut,
        package: tongue.package,
    });
    let count = ast.items.len();
    let base = ast.items.iter().fold(None, |base, item| {
        let node = world.graph.node(Spot {
            file: number,
            line: item.line,
        });
        Some(base.unwrap_or(node))
    });
    let Some(base) = base else { return };
    let mut reading = Reading {
        world,
        tongue,
        rules,
        ast,
        language: source.language,
        file: number,
        base,
        paths: vec![None; count],
        constants: vec![None; count],
        functions: HashMap::new(),
        scopes: Scopes::new(),
        imports: HashMap::new(),
        handles: Labels::NONE,
    };
    reading.walk();
    let globals: Vec<(Rc<str>, Node)> = reading
        .scopes
        .of_file()
        .map(|(name, node)| (Rc::clone(name), node))
        .collect();
    for (name, node) in globals {
        world.globals.insert((number, name), node);
    }
}

/// A package's name is that of its folder.
fn stem_path(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match imports::stem(name) {
        "__init__" | "index" | "mod" if !folder.is_empty() => {
            folder.rsplit('/').next().unwrap_or(folder).to_owned()
        }
        _ => name.to_owned(),
    }
}

/// Languages whose files call each other.
fn family(language: Language) -> Language {
    match language {
        Language::TypeScript => Language::JavaScript,
        other => other,
    }
}

/// One file being read.
pub(super) struct Reading<'w, 'a> {
    world: &'w mut World,
    tongue: &'a Tongue,
    rules: &'a Rules,
    ast: &'a Ast<'a>,
    language: Language,
    file: u32,
    base: Node,
    paths: Vec<Option<Rc<str>>>,
    constants: Vec<Option<Known>>,
    /// The functions by the nodes that write them.
    functions: HashMap<u32, usize>,
    scopes: Scopes,
    imports: HashMap<String, Rc<str>>,
    /// Who calls the function that follows, by its decorators.
    handles: Labels,
}

impl Reading<'_, '_> {
    fn walk(&mut self) {
        let count = u32::try_from(self.ast.items.len()).unwrap_or(u32::MAX);
        let mut open: Vec<u32> = Vec::new();
        let mut at = 0;
        while at < count {
            self.leave_until(&mut open, at);
            let role = self.ast.role(at);
            if role == Role::Import {
                for (name, path) in imports::read(self.language, self.ast.text(at)) {
                    self.imports.insert(name, Rc::from(path));
                }
                at = self.ast.get(at).map_or(count, |item| item.end).max(at + 1);
                continue;
            }
            self.enter(at, role);
            open.push(at);
            at += 1;
        }
        self.leave_until(&mut open, count);
    }

    /// Takes leave of all that ends before `at`.
    fn leave_until(&mut self, open: &mut Vec<u32>, at: u32) {
        while let Some(&last) = open.last() {
            let Some(item) = self.ast.get(last).filter(|item| item.end <= at) else {
                break;
            };
            open.pop();
            self.leave(last, item.role);
            self.scopes.leave(last, &mut self.world.graph, self.file);
        }
    }

    fn enter(&mut self, at: u32, role: Role) {
        let Some(item) = self.ast.get(at) else { return };
        if self.is_marked(item.parent, &self.tongue.branches) {
            let again = self.is_marked(item.parent, &self.tongue.loops);
            self.scopes.enter_branch(at, again);
        }
        match role {
            Role::Assign(left, right, how)
                if self.is_marked(at, &self.tongue.loops) && !self.is_marked(at, &self.tongue.early) =>
            {
                self.assignment(at, left, right, how);
            }
            Role::Plain => self.early(at),
            Role::Function(name, parameters, _) => self.enter_function(at, name, parameters),
            Role::Class(name, _) => {
                let name = self.ast.part(at, name).map_or("", |name| self.ast.text(name));
                let class = Rc::from(last_name(name));
                self.scopes.open(at, ScopeKind::Class(class));
            }
            _ => {}
        }
    }

    fn is_marked(&self, at: u32, marks: &[bool]) -> bool {
        let kind = self.ast.get(at).map(|item| usize::from(item.kind));
        kind.is_some_and(|kind| marks.get(kind) == Some(&true))
    }

    /// Does what follows in the text and is done before: `f(x) for x in y`.
    fn early(&mut self, at: u32) {
        let ast = self.ast;
        if !self.tongue.early.contains(&true) {
            return;
        }
        for child in ast.children(at) {
            if let Role::Assign(left, right, how) = ast.role(child)
                && self.is_marked(child, &self.tongue.early)
            {
                self.assignment(child, left, right, how);
            }
        }
    }

    fn enter_function(&mut self, at: u32, name: Slot, parameters: Slot) {
        let name = self
            .ast
            .part(at, name)
            .map(|name| last_name(self.ast.text(name)).to_owned());
        let class = match self.scopes.all.get(self.scopes.now).map(|scope| &scope.kind) {
            Some(ScopeKind::Class(class)) => Rc::clone(class),
            _ => Rc::from(""),
        };
        let number = self.world.functions.len();
        let answer = self.world.graph.node(self.spot(at));
        self.world.functions.push(Function {
            file: self.file,
            names: name.into_iter().collect(),
            class,
            parameters: Vec::new(),
            answer,
            handles: std::mem::take(&mut self.handles),
        });
        self.functions.insert(at, number);
        self.scopes.open(at, ScopeKind::Function(number));
        let Some(parameters) = self.ast.part(at, parameters) else {
            return;
        };
        let single = self.ast.role(parameters) == Role::Name;
        let list: Vec<u32> = if single {
            vec![parameters]
        } else {
            self.ast.children(parameters).collect()
        };
        for parameter in list {
            self.parameter(number, parameter);
        }
    }

    /// Declares what a parameter names: one name, or all of a pattern.
    fn parameter(&mut self, function: usize, at: u32) {
        let end = self
            .ast
            .get(at)
            .map_or(at, |item| item.end)
            .min(at.saturating_add(MAX_PATTERN));
        let is_pattern = |&number: &u32| self.is_marked(number, &self.tongue.patterns);
        let is_name = |&number: &u32| self.ast.role(number) == Role::Name;
        let Some(first) = (at..end).find(|number| is_pattern(number) || is_name(number)) else {
            return;
        };
        let mut groups: Vec<Vec<u32>> = Vec::new();
        if is_pattern(&first) {
            let whole = self.ast.get(first).map_or(first, |item| item.end);
            groups.push((first..whole.min(end)).filter(is_name).collect());
        } else {
            // `a, b string` are two parameters; what a parameter has as its value is none.
            let same = |number: &u32| {
                let (one, other) = (self.ast.get(first), self.ast.get(*number));
                one.zip(other)
                    .is_some_and(|(one, other)| one.parent == other.parent && one.field == other.field)
            };
            let several = self.language == Language::Go;
            groups.push(vec![first]);
            groups.extend(
                (first + 1..end)
                    .filter(|number| several && is_name(number) && same(number))
                    .map(|number| vec![number]),
            );
        }
        for group in groups {
            let mut names = Vec::new();
            for name in group {
                let text = self.ast.text(name).trim_start_matches(['$', '&', '*']).to_owned();
                let spot = self.spot(name);
                let variable = self
                    .scopes
                    .of(self.scopes.now, &text, &mut self.world.graph, spot);
                if let Some(node) = self.scopes.assign(variable, &mut self.world.graph, spot) {
                    names.push((text, node));
                }
            }
            if let Some(function) = self.world.functions.get_mut(function) {
                function.parameters.push(names);
            }
        }
    }

    fn leave(&mut self, at: u32, role: Role) {
        match role {
            Role::Skip | Role::Import | Role::Text | Role::Escape => {}
            Role::Plain => self.plain(at),
            Role::Name => self.name(at),
            Role::Str => self.string(at),
            Role::Number => self.number(at),
            Role::Member(object, name) => self.member(at, object, name),
            Role::Index(object, index) => self.index(at, object, index),
            Role::Call(function, arguments) => self.call(at, function, arguments),
            Role::Method(object, name, arguments) => self.method(at, object, name, arguments),
            Role::Constructor(class, arguments) => self.constructor(at, class, arguments),
            Role::Verb(verb) => self.verb(at, verb),
            // What a loop gives a value to has it before its body.
            Role::Assign(..) if self.is_marked(at, &self.tongue.loops) => {}
            Role::Assign(left, right, how) => self.assignment(at, left, right, how),
            Role::Function(name, _, body) => self.leave_function(at, name, body),
            Role::Class(..) => {}
            Role::Return => self.answer(at),
            Role::List => self.list(at),
            Role::Pair(key, value) => self.pair(at, key, value),
            Role::Join => self.join(at),
            Role::Decorator => self.decorator(at),
        }
    }

    fn value(&self, at: u32) -> Node {
        self.base.saturating_add(at)
    }

    fn spot(&self, at: u32) -> Spot {
        Spot {
            file: self.file,
            line: self.ast.get(at).map_or(0, |item| item.line),
        }
    }

    fn flow(&mut self, from: u32, to: u32, how: How) {
        let (from, to) = (self.value(from), self.value(to));
        self.world.graph.edge(from, to, how);
    }

    fn path(&self, at: u32) -> Option<Rc<str>> {
        self.paths.get(at as usize).cloned().flatten()
    }

    fn set_path(&mut self, at: u32, path: Option<Rc<str>>) {
        if let Some(known) = self.paths.get_mut(at as usize) {
            *known = path.filter(|path| path.len() <= MAX_PATH);
        }
    }

    fn constant(&self, at: u32) -> Option<Known> {
        self.constants.get(at as usize).cloned().flatten()
    }

    /// What stands in parentheses, behind `await`, as an argument.
    fn inner(&self, mut at: u32) -> u32 {
        const DEEPEST: usize = 16;
        for _ in 0..DEEPEST {
            let mut children = self.ast.children(at);
            match (self.ast.role(at), children.next(), children.next()) {
                (Role::Plain, Some(only), None) if !self.is_marked(at, &self.tongue.patterns) => at = only,
                _ => break,
            }
        }
        at
    }

    /// The value of its parts; where it has one part, all of what that is.
    fn plain(&mut self, at: u32) {
        let ast = self.ast;
        let compared = ast.operator(self.tongue, at);
        if COMPARISONS.contains(&compared) {
            return self.compared(at, compared);
        }
        let mut only = None;
        let mut count = 0;
        for child in ast.children(at) {
            self.flow(child, at, How::Keep);
            only = Some(child);
            count += 1;
        }
        if let (Some(only), 1) = (only, count) {
            let (path, constant) = (self.path(only), self.constant(only));
            self.set_path(at, path);
            if let Some(known) = self.constants.get_mut(at as usize) {
                *known = constant;
            }
        }
    }

    /// A comparison says nothing of what is compared, but that it may have been checked.
    fn compared(&mut self, at: u32, operator: &str) {
        if matches!(operator, "in" | "not in" | "not")
            && let Some(left) = self.ast.children(at).next()
        {
            self.checked(left);
        }
    }

    /// A variable was checked.
    fn checked(&mut self, at: u32) {
        let Some(at) = self.what_is_checked(self.inner(at)) else {
            return;
        };
        let name = self.ast.text(at).trim_start_matches('$');
        if let Some(node) = self
            .scopes
            .find(name)
            .and_then(|variable| self.scopes.value(variable))
        {
            self.world.graph.seed(node, Labels::of(&[Label::Checked]));
        }
    }

    /// The variable that a check is about: itself, its host, or it in another form.
    fn what_is_checked(&self, mut at: u32) -> Option<u32> {
        const HOSTS: [&str; 6] = ["host", "hostname", "origin", "netloc", "Host", "Hostname"];
        const FORMS: [&str; 8] = [
            "to_s",
            "toString",
            "trim",
            "toLowerCase",
            "lower",
            "strip",
            "downcase",
            "String",
        ];
        const DEEPEST: usize = 4;
        for _ in 0..DEEPEST {
            let (object, name) = match self.ast.role(at) {
                Role::Name => return Some(at),
                Role::Member(object, name) => (self.ast.part(at, object)?, self.ast.part(at, name)?),
                Role::Method(object, name, _) => (self.ast.part(at, object)?, self.ast.part(at, name)?),
                Role::Call(function, _) => {
                    let function = self.ast.part(at, function)?;
                    let Role::Member(object, name) = self.ast.role(function) else {
                        return None;
                    };
                    (self.ast.part(function, object)?, self.ast.part(function, name)?)
                }
                _ => return None,
            };
            let name = self.ast.text(name);
            if !HOSTS.contains(&name) && !FORMS.contains(&name) {
                return None;
            }
            at = self.inner(object);
        }
        None
    }

    fn leave_function(&mut self, at: u32, name: Slot, body: Slot) {
        let Some(&number) = self.functions.get(&at) else {
            return;
        };
        if let Some(name) = self.ast.part(at, name) {
            self.set_path(at, Some(Rc::from(last_name(self.ast.text(name)))));
        }
        let Some(body) = self.ast.part(at, body) else {
            return;
        };
        let answer = self.world.functions.get(number).map(|function| function.answer);
        let Some(answer) = answer else { return };
        let kind = self
            .ast
            .get(body)
            .and_then(|item| self.tongue.grammar.node_kind_for_id(item.kind))
            .unwrap_or_default();
        let is_block = kind.contains("block") || kind.contains("body") || kind.contains("compound");
        let value = match (is_block, self.tongue.tail) {
            (false, _) => Some(body),
            (true, true) => self.ast.children(body).last(),
            (true, false) => None,
        };
        if let Some(value) = value {
            let value = self.value(value);
            self.world.graph.edge(value, answer, How::Keep);
        }
        let here = self.value(at);
        self.world.graph.edge(answer, here, How::Keep);
    }

    fn answer(&mut self, at: u32) {
        self.plain(at);
        let number = self.scopes.function();
        let answer = number.and_then(|number| self.world.functions.get(number));
        if let Some(answer) = answer.map(|function| function.answer) {
            let here = self.value(at);
            self.world.graph.edge(here, answer, How::Keep);
        }
    }

    /// What a decorator or an annotation says of who calls the function.
    fn decorator(&mut self, at: u32) {
        let mut labels = Labels::NONE;
        let path = self.ast.children(at).find_map(|child| self.path(child));
        let text = self.ast.text(at).trim_start_matches(['@', '#', '[']);
        let written = text
            .split(['(', ']', ' ', '\n'])
            .next()
            .unwrap_or_default()
            .replace("::", ".");
        let path = path.map_or(written, |path| path.trim_end_matches(ANSWER).to_owned());
        for rule in self.tongue.calls.find(&path) {
            labels = labels.plus(Labels::of(&rule.handler));
        }
        let holder = self
            .ast
            .get(at)
            .and_then(|item| self.ast.get(item.parent))
            .map(|item| item.parent);
        match holder.and_then(|holder| self.functions.get(&holder)) {
            Some(&number) => {
                if let Some(function) = self.world.functions.get_mut(number) {
                    function.handles = function.handles.plus(labels);
                }
            }
            None => self.handles = self.handles.plus(labels),
        }
    }
}

/// Operators that compare.
const COMPARISONS: [&str; 18] = [
    "==",
    "===",
    "!=",
    "!==",
    "<",
    ">",
    "<=",
    ">=",
    "in",
    "not in",
    "not",
    "is",
    "is not",
    "instanceof",
    "!",
    "<=>",
    "=~",
    "!~",
];

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A field of what has a path.
fn joined(of: &str, field: &str) -> Rc<str> {
    if of == GLOBALS {
        Rc::from(field)
    } else {
        Rc::from(format!("{of}.{field}"))
    }
}

/// The last part of a name that may be qualified.
fn last_name(text: &str) -> &str {
    let text = text.split(['<', '(']).next().unwrap_or(text);
    text.rsplit(['.', ':', '\\', ' '])
        .next()
        .unwrap_or(text)
        .trim_start_matches('$')
}
