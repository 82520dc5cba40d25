//! What gets a value: names, fields, patterns.

use super::Reading;
use crate::graph::Node;
use crate::labels::How;
use crate::table::{Assigning, Role, Slot};

/// Most names of one pattern.
const MAX_NAMES: usize = 64;

impl Reading<'_, '_> {
    pub(super) fn assignment(&mut self, at: u32, left: Slot, right: Slot, how: Assigning) {
        let Some(left) = self.ast.part(at, left) else {
            return self.plain(at);
        };
        let right = self.ast.part(at, right).filter(|&right| right != left);
        let again = self.is_marked(at, &self.tongue.loops);
        let through = if again { How::Whole } else { How::Keep };
        let Some(right) = right else {
            // Declared, and set elsewhere.
            if how == Assigning::New && self.ast.role(left) == Role::Name {
                let spot = self.spot(left);
                let name = self.plain_text(left);
                self.scopes
                    .of(self.scopes.now, &name, &mut self.world.graph, spot);
            }
            return;
        };
        self.setting(left, right);
        let pairs: Vec<(u32, u32)> = match (self.elements(left), self.elements(right)) {
            (Some(left), Some(right)) if left.len() == right.len() && !again => {
                left.into_iter().zip(right).collect()
            }
            _ => vec![(left, right)],
        };
        for (left, right) in pairs {
            self.give(left, right, how, through);
        }
        self.flow(right, at, How::Keep);
        let path = self.path(right);
        self.set_path(at, path);
    }

    /// The elements where several are written side by side.
    fn elements(&self, at: u32) -> Option<Vec<u32>> {
        let at = self.inner(at);
        let item = self.ast.get(at)?;
        let is_pattern = self.is_marked(at, &self.tongue.patterns);
        let is_list = item.role == Role::List || is_pattern;
        let text = self.ast.text(at);
        (is_list && !text.starts_with('{')).then(|| self.ast.children(at).take(MAX_NAMES).collect())
    }

    fn plain_text(&self, at: u32) -> String {
        self.ast.text(at).trim_start_matches(['$', '@', '&']).to_owned()
    }

    fn give(&mut self, left: u32, right: u32, how: Assigning, through: How) {
        let left = self.inner(left);
        let right_inner = self.inner(right);
        match self.ast.role(left) {
            Role::Name => match self.ast.text(left).strip_prefix('@') {
                Some(field) => self.give_own(left, field, right, how),
                None => self.give_name(left, right, how, through, None),
            },
            Role::Member(object, name) => self.give_field(left, object, name, right, how),
            Role::Index(object, _) => {
                if let Some(object) = self.ast.part(left, object) {
                    self.add_to(object, right);
                }
            }
            _ => {
                let end = self.ast.get(left).map_or(left, |item| item.end);
                let end = end.min(left.saturating_add(super::MAX_PATTERN));
                let names: Vec<u32> = (left..end)
                    .filter(|&number| self.ast.role(number) == Role::Name && !self.is_key(number))
                    .take(MAX_NAMES)
                    .collect();
                for name in names {
                    let field = self.field_of(name);
                    self.give_name(name, right, how, How::Whole, field.as_deref());
                }
            }
        }
        self.name_function(left, right_inner);
    }

    /// Whether a name in a pattern only says which field is taken.
    fn is_key(&self, at: u32) -> bool {
        let parent = self.ast.get(at).map_or(at, |item| item.parent);
        matches!(self.ast.role(parent), Role::Pair(key, _) if self.ast.part(parent, key) == Some(at))
    }

    /// The field that a name in a pattern takes: `{a}`, `{a: b}`.
    fn field_of(&self, at: u32) -> Option<String> {
        let parent = self.ast.get(at)?.parent;
        match self.ast.role(parent) {
            Role::Pair(key, _) => Some(self.ast.text(self.ast.part(parent, key)?).to_owned()),
            _ if self.ast.text(parent).starts_with('{') => Some(self.ast.text(at).to_owned()),
            _ => None,
        }
    }

    fn give_name(&mut self, left: u32, right: u32, how: Assigning, through: How, field: Option<&str>) {
        let name = self.plain_text(left);
        let spot = self.spot(left);
        let scope = self.scopes.now;
        let number = match how {
            Assigning::New => self.scopes.of(scope, &name, &mut self.world.graph, spot),
            Assigning::Known | Assigning::More => match self.scopes.find(&name) {
                Some(known) => known,
                None => self.scopes.of(scope, &name, &mut self.world.graph, spot),
            },
        };
        let before = self
            .scopes
            .get(number)
            .map(|variable| (variable.now, variable.constant.clone()));
        let Some(node) = self.scopes.assign(number, &mut self.world.graph, spot) else {
            return;
        };
        let value = self.value(right);
        self.world.graph.edge(value, node, through);
        self.world.graph.edge(node, value, How::SameFile);
        let mut path = self.path(right);
        let mut constant = self.constant(right);
        if let Some(field) = field {
            let of = path.as_deref().unwrap_or_default();
            // What is taken out of a source by name may be one variable of it.
            self.single_of(node, of, field);
            path = path.map(|path| super::joined(&path, field));
            constant = None;
        }
        if how == Assigning::More {
            let (old, known) = before.unwrap_or((node, None));
            self.world.graph.edge(old, node, How::Piece);
            constant = super::texts::both(known.as_ref(), constant.as_ref());
            path = None;
        }
        if self
            .scopes
            .get(number)
            .is_some_and(|variable| variable.now == node)
            && let Some(variable) = self.scopes.get_mut(number)
        {
            variable.path = path;
            variable.constant = constant.clone();
        }
        if how == Assigning::More {
            self.label(node, constant.as_ref());
        }
    }

    fn single_of(&mut self, node: Node, of: &str, field: &str) {
        let rules = self.tongue.values.find(&format!("{of}.{field}"));
        let labels: Vec<_> = rules.iter().flat_map(|rule| rule.gives.iter().copied()).collect();
        self.world.graph.seed(node, crate::labels::Labels::of(&labels));
    }

    fn give_field(&mut self, left: u32, object: Slot, name: Slot, right: u32, how: Assigning) {
        let (Some(object), Some(name)) = (self.ast.part(left, object), self.ast.part(left, name)) else {
            return;
        };
        if !self.is_own(object) {
            return self.add_to(object, right);
        }
        let field = self.ast.text(name).trim_start_matches(['$', '#']).to_owned();
        self.give_own(left, &field, right, how);
    }

    /// Gives a field of this object a value.
    fn give_own(&mut self, left: u32, field: &str, right: u32, how: Assigning) {
        let spot = self.spot(left);
        let number = self.field(field, spot);
        let Some(any) = self.scopes.get(number).map(|variable| variable.any) else {
            return;
        };
        let node = self.world.graph.node(spot);
        let value = self.value(right);
        let through = if how == Assigning::More {
            How::Piece
        } else {
            How::Keep
        };
        self.world.graph.edge(value, node, through);
        self.world.graph.edge(node, any, How::Keep);
        let (path, constant) = (self.path(right), self.constant(right));
        if let Some(variable) = self.scopes.get_mut(number) {
            let first = variable.now == variable.any;
            variable.now = node;
            variable.path = path.filter(|_| first);
            variable.constant = constant.filter(|_| first);
        }
    }

    /// What is put into a field or an element is in the whole, too.
    fn add_to(&mut self, object: u32, right: u32) {
        let value = self.value(right);
        if let Some(node) = self.holder_of(object) {
            self.world.graph.edge(value, node, How::Element);
        }
    }

    /// The variable behind `a.b[c].d`.
    pub(super) fn holder_of(&mut self, mut at: u32) -> Option<Node> {
        const DEEPEST: usize = 16;
        for _ in 0..DEEPEST {
            at = self.inner(at);
            match self.ast.role(at) {
                Role::Name => {
                    let name = self.plain_text(at);
                    let variable = self.scopes.find(&name)?;
                    return self.scopes.value(variable);
                }
                Role::Member(object, name) => {
                    let of = self.ast.part(at, object)?;
                    if self.is_own(of) {
                        let name = self.ast.part(at, name)?;
                        let field = self.ast.text(name).trim_start_matches(['$', '#']).to_owned();
                        let spot = self.spot(at);
                        let number = self.field(&field, spot);
                        return self.scopes.get(number).map(|variable| variable.any);
                    }
                    at = of;
                }
                Role::Index(object, _) => at = self.ast.part(at, object)?,
                _ => return None,
            }
        }
        None
    }

    /// A function that is given a name is known by it.
    pub(super) fn name_function(&mut self, left: u32, right: u32) {
        let Some(&number) = self.functions.get(&right) else {
            return;
        };
        let name = super::last_name(self.ast.text(left))
            .trim_matches(['"', '\''])
            .to_owned();
        if let Some(function) = self.world.functions.get_mut(number) {
            function.names.push(name);
        }
    }
}
