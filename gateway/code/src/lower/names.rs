//! Names: variables, fields, elements, and the dotted paths that tables know them by.

use std::rc::Rc;

use super::{GLOBALS, Reading, UNKNOWN, is_letter, joined};
use crate::constants::Known;
use crate::graph::Spot;
use crate::labels::{How, Label, Labels};
use crate::table::{Role, Slot};

impl Reading<'_, '_> {
    /// Whether a name only names a part of what stands around it.
    pub(super) fn is_label(&self, at: u32) -> bool {
        let Some(parent) = self.ast.get(at).map(|item| item.parent) else {
            return true;
        };
        let slot = match self.ast.role(parent) {
            Role::Member(_, name) | Role::Method(_, name, _) => name,
            Role::Function(name, _, _) | Role::Class(name, _) => name,
            Role::Pair(key, _) => key,
            _ => return false,
        };
        self.ast.part(parent, slot) == Some(at)
    }

    pub(super) fn name(&mut self, at: u32) {
        if self.is_label(at) {
            return;
        }
        let name = self.ast.text(at);
        if let Some(field) = name.strip_prefix('@') {
            return self.own_field(at, field);
        }
        let plain = name.trim_start_matches(['$', '&']);
        let here = self.value(at);
        let spot = self.spot(at);
        let imported = self.imports.get(plain).cloned();
        let mut variable = self.scopes.find(plain);
        if variable.is_none() && imported.is_none() && !plain.is_empty() {
            // A variable that is set further down, or a name of the language.
            variable = Some(self.scopes.of(0, plain, &mut self.world.graph, spot));
        }
        if let (None, Some(path)) = (variable, &imported) {
            self.world.refs.push((self.file, Rc::clone(path), here));
        }
        let known = variable.and_then(|variable| self.scopes.get(variable));
        let unset = known.is_none_or(|known| known.now == known.any);
        let own = known.and_then(|known| known.path.clone());
        let constant = known.and_then(|known| known.constant.clone());
        let path = own
            .or(imported)
            .unwrap_or_else(|| Rc::from(if name.starts_with('$') { name } else { plain }));
        if let Some(node) = variable.and_then(|variable| self.scopes.value(variable)) {
            self.world.graph.edge(node, here, How::Keep);
            self.world.graph.edge(here, node, How::SameFile);
        }
        if unset {
            self.source(at, &path);
        }
        let is_root = unset && self.tongue.roots.iter().any(|root| *root == *path);
        self.set_path(at, Some(if is_root { Rc::from(GLOBALS) } else { path }));
        if let Some(slot) = self.constants.get_mut(at as usize) {
            *slot = constant;
        }
    }

    /// Marks a value that is a source by its name. Says whether it is one.
    pub(super) fn source(&mut self, at: u32, path: &str) -> bool {
        let node = self.value(at);
        let found = self.tongue.values.find(path);
        for rule in &found {
            self.world.graph.seed(node, Labels::of(&rule.gives));
        }
        !found.is_empty()
    }

    /// One field of a source that is none as a whole. Says whether it was that.
    pub(super) fn single(&mut self, at: u32, object: Option<&str>, field: &str) -> bool {
        const CREDENTIALS: [&str; 7] = ["key", "token", "secret", "passw", "credential", "auth", "cookie"];
        let node = self.value(at);
        let rules = object
            .map(|object| self.tongue.values.find(object))
            .unwrap_or_default();
        let single = rules.iter().find_map(|rule| rule.single.as_ref());
        if let Some(single) = single {
            let lower = field.to_ascii_lowercase();
            let named = CREDENTIALS.iter().any(|part| lower.contains(part));
            let token = Labels::of(&[Label::Token]);
            let labels = Labels::of(single);
            self.world
                .graph
                .seed(node, if named { labels.plus(token) } else { labels });
        }
        single.is_some()
    }

    pub(super) fn member(&mut self, at: u32, object: Slot, name: Slot) {
        let (Some(object), Some(name)) = (self.ast.part(at, object), self.ast.part(at, name)) else {
            return self.plain(at);
        };
        let field = self.ast.text(name).trim_start_matches(['$', '#']);
        if self.is_own(object) {
            return self.own_field(at, field);
        }
        let of = self.path(object);
        let path = joined(of.as_deref().unwrap_or(UNKNOWN), field);
        if self.single(at, of.as_deref(), field) {
            // What is asked of a source by name is known by its own rule: `os.environ.get`.
            self.set_path(at, Some(path));
            return;
        }
        if !self.source(at, &path) {
            let here = self.value(at);
            self.world.refs.push((self.file, Rc::clone(&path), here));
        }
        self.set_path(at, Some(path));
        self.flow(object, at, How::Keep);
    }

    pub(super) fn is_own(&self, at: u32) -> bool {
        let text = self.ast.text(at).trim_start_matches('$');
        text.len() <= 8 && self.tongue.own.iter().any(|own| own == text)
    }

    /// The variable of a field of this object.
    pub(super) fn field(&mut self, field: &str, spot: Spot) -> usize {
        let scope = self.scopes.class().map_or(0, |(scope, _)| scope);
        match self.scopes.held(scope, field) {
            Some(known) if scope != 0 => known,
            _ => self
                .scopes
                .of(scope, &format!("self.{field}"), &mut self.world.graph, spot),
        }
    }

    pub(super) fn own_field(&mut self, at: u32, field: &str) {
        let spot = self.spot(at);
        let number = self.field(field, spot);
        let here = self.value(at);
        let Some(variable) = self.scopes.get(number) else {
            return;
        };
        let (any, path, constant) = (variable.any, variable.path.clone(), variable.constant.clone());
        self.world.graph.edge(any, here, How::Keep);
        self.set_path(at, Some(path.unwrap_or_else(|| joined("self", field))));
        if let Some(slot) = self.constants.get_mut(at as usize) {
            *slot = constant;
        }
    }

    pub(super) fn index(&mut self, at: u32, object: Slot, index: Slot) {
        let Some(object) = self.ast.part(at, object) else {
            return self.plain(at);
        };
        let index = self.ast.part(at, index).map(|index| self.inner(index));
        let constant = index.and_then(|index| self.constant(index));
        let name = constant.as_ref().and_then(Known::text).cloned();
        let of = self.path(object);
        if self.ast.text(at).ends_with("[::-1]") {
            let turned = self.constant(object);
            let turned = crate::constants::fold(crate::table::Fold::Reverse, turned.as_ref(), &[]);
            self.know(at, turned);
        } else if let Some(name) = &name {
            let is_name = !name.text.is_empty() && name.text.bytes().all(is_letter);
            if self.single(at, of.as_deref(), &name.text) {
                return;
            }
            if let Some(of) = of.as_deref().filter(|_| is_name) {
                let path = if of == GLOBALS {
                    Rc::from(name.text.as_str())
                } else {
                    joined(of, &name.text)
                };
                if name.assembled {
                    let here = self.value(at);
                    self.world.hidden.push((here, name.text.clone()));
                }
                self.source(at, &path);
                self.set_path(at, Some(path));
            }
        }
        // Of a source of which each part is by itself, a part is taken, whatever its name; the name may be a source, too.
        if constant.is_none() && self.single(at, of.as_deref(), "") {
            if let Some(index) = index {
                self.flow(index, at, How::Keep);
            }
            return;
        }
        self.flow(object, at, How::Whole);
    }
}
