//! Variables: where each is known, and which of its values stands where.

use std::collections::HashMap;
use std::rc::Rc;

use crate::constants::Known;
use crate::graph::{Graph, Node, Spot};
use crate::labels::How;

/// A variable.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Every value that it ever has: what functions within others see.
    pub(crate) any: Node,
    /// The value that it has here.
    pub(crate) now: Node,
    pub(crate) path: Option<Rc<str>>,
    pub(crate) constant: Option<Known>,
    scope: usize,
}

/// A function, a class, a file.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) parent: Option<usize>,
    /// The node that it is; a file is none.
    node: u32,
    pub(crate) kind: ScopeKind,
}

/// What a scope is.
#[derive(Debug, Clone)]
pub(crate) enum ScopeKind {
    File,
    Class(Rc<str>),
    Function(usize),
}

/// A part of a function that may be left out, or be run again.
#[derive(Debug)]
struct Frame {
    node: u32,
    again: bool,
    /// Variables that get a value in it, and the one that they had before.
    before: HashMap<usize, Node>,
}

/// All variables of a file.
#[derive(Debug)]
pub(crate) struct Scopes {
    pub(crate) all: Vec<Scope>,
    pub(crate) now: usize,
    variables: Vec<Variable>,
    names: HashMap<(usize, Rc<str>), usize>,
    frames: Vec<Frame>,
}

/// Most scopes that are looked through for a name: nobody nests functions deeper.
const MAX_DEPTH: usize = 64;

/// Most parts within parts that values are merged behind: each variable that is set in them is merged once for each.
const MAX_BRANCHES: usize = 24;

impl Scopes {
    pub(crate) fn new() -> Self {
        Self {
            all: vec![Scope {
                parent: None,
                node: u32::MAX,
                kind: ScopeKind::File,
            }],
            now: 0,
            variables: Vec::new(),
            names: HashMap::new(),
            frames: Vec::new(),
        }
    }

    pub(crate) fn open(&mut self, node: u32, kind: ScopeKind) {
        self.all.push(Scope {
            parent: Some(self.now),
            node,
            kind,
        });
        self.now = self.all.len() - 1;
    }

    fn up(&self) -> impl Iterator<Item = usize> + '_ {
        let parent = |&scope: &usize| self.all.get(scope).and_then(|scope| scope.parent);
        std::iter::successors(Some(self.now), parent).take(MAX_DEPTH)
    }

    fn kind(&self, scope: usize) -> Option<&ScopeKind> {
        self.all.get(scope).map(|scope| &scope.kind)
    }

    /// The function that this stands in.
    pub(crate) fn function(&self) -> Option<usize> {
        self.up().find_map(|scope| match self.kind(scope) {
            Some(ScopeKind::Function(number)) => Some(*number),
            _ => None,
        })
    }

    /// The scope and the name of the class that this stands in.
    pub(crate) fn class(&self) -> Option<(usize, Rc<str>)> {
        self.up().find_map(|scope| match self.kind(scope) {
            Some(ScopeKind::Class(name)) => Some((scope, Rc::clone(name))),
            _ => None,
        })
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Variable> {
        self.variables.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut Variable> {
        self.variables.get_mut(number)
    }

    /// The variable that a name means here.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let name: Rc<str> = Rc::from(name);
        self.up()
            .find_map(|scope| self.names.get(&(scope, Rc::clone(&name))).copied())
    }

    /// The variable of exactly that scope.
    pub(crate) fn held(&self, scope: usize, name: &str) -> Option<usize> {
        self.names.get(&(scope, Rc::from(name))).copied()
    }

    /// A variable of that scope, made where it is not there.
    pub(crate) fn of(&mut self, scope: usize, name: &str, graph: &mut Graph, spot: Spot) -> usize {
        let key = (scope, Rc::from(name));
        if let Some(&known) = self.names.get(&key) {
            return known;
        }
        let any = graph.node(Spot {
            file: spot.file,
            line: 0,
        });
        self.variables.push(Variable {
            any,
            now: any,
            path: None,
            constant: None,
            scope,
        });
        self.names.insert(key, self.variables.len() - 1);
        self.variables.len() - 1
    }

    /// The variables of the file, with what they may hold.
    pub(crate) fn of_file(&self) -> impl Iterator<Item = (&Rc<str>, Node)> {
        let own = self.names.iter().filter(|((scope, _), _)| *scope == 0);
        own.filter_map(|((_, name), &number)| Some((name, self.get(number)?.any)))
    }

    /// The value that a variable has where this stands.
    pub(crate) fn value(&self, number: usize) -> Option<Node> {
        let variable = self.get(number)?;
        let here = self.now == variable.scope;
        Some(if here { variable.now } else { variable.any })
    }

    /// Gives a variable a new value.
    pub(crate) fn assign(&mut self, number: usize, graph: &mut Graph, spot: Spot) -> Option<Node> {
        let node = graph.node(spot);
        let elsewhere = self.now != self.get(number)?.scope;
        let variable = self.variables.get_mut(number)?;
        let old = variable.now;
        graph.edge(node, variable.any, How::Keep);
        if elsewhere {
            // When that function runs is not known: both values may be there.
            graph.edge(node, variable.now, How::Keep);
            (variable.path, variable.constant) = (None, None);
            return Some(node);
        }
        variable.now = node;
        (variable.path, variable.constant) = (None, None);
        if let Some(frame) = self.frames.last_mut() {
            frame.before.entry(number).or_insert(old);
        }
        Some(node)
    }

    pub(crate) fn enter_branch(&mut self, node: u32, again: bool) {
        if self.frames.len() >= MAX_BRANCHES {
            return;
        }
        self.frames.push(Frame {
            node,
            again,
            before: HashMap::new(),
        });
    }

    /// Ends what began with that node.
    pub(crate) fn leave(&mut self, node: u32, graph: &mut Graph, file: u32) {
        if let Some(scope) = self.all.get(self.now).filter(|scope| scope.node == node) {
            self.now = scope.parent.unwrap_or(self.now);
        }
        if let Some(frame) = self.frames.pop_if(|frame| frame.node == node) {
            self.merge(frame, graph, file);
        }
    }

    /// Behind a part that may be left out, a variable has its value from before or from within.
    fn merge(&mut self, frame: Frame, graph: &mut Graph, file: u32) {
        let mut changed: Vec<(usize, Node)> = frame.before.into_iter().collect();
        changed.sort_unstable();
        for (number, before) in changed {
            let Some(variable) = self.variables.get_mut(number) else {
                continue;
            };
            let within = variable.now;
            let merged = graph.node(Spot { file, line: 0 });
            graph.edge(before, merged, How::Keep);
            graph.edge(within, merged, How::Keep);
            graph.edge(merged, before, How::SameFile);
            graph.edge(merged, within, How::SameFile);
            if frame.again {
                graph.edge(within, before, How::Keep);
            }
            variable.now = merged;
            if before != variable.any {
                variable.constant = None;
            }
            if let Some(outer) = self.frames.last_mut() {
                outer.before.entry(number).or_insert(before);
            }
        }
    }
}
