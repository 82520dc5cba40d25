//! Constants: written, joined, put together by what is known of calls.

use std::rc::Rc;

use super::Reading;
use crate::constants::{Constant, Known, MAX_CONSTANT, assembled, unescaped, written};
use crate::graph::Node;
use crate::labels::How;
use crate::table::{Role, Slot};

/// Most elements of a list of constants that are kept.
const MAX_ELEMENTS: usize = 2048;

/// What may be the name of a file: it is joined to other places that name the same.
fn may_name_file(text: &str) -> bool {
    (3..=256).contains(&text.len())
        && text.contains(['/', '.', '\\'])
        && !text.contains([' ', '\n', '<', '{', '*'])
        && !text.contains("://")
}

impl Reading<'_, '_> {
    /// Notes what a value is known to be, and what that says.
    pub(super) fn know(&mut self, at: u32, known: Option<Known>) {
        let node = self.value(at);
        self.label(node, known.as_ref());
        if let Some(text) = known.as_ref().and_then(Known::text)
            && may_name_file(&text.text)
        {
            self.world.places.entry(text.text.clone()).or_default().push(node);
        }
        if let Some(slot) = self.constants.get_mut(at as usize) {
            *slot = known;
        }
    }

    pub(super) fn label(&mut self, node: Node, known: Option<&Known>) {
        if let Some(text) = known.and_then(Known::text) {
            let labels = self.rules.labels_of(&text.text);
            self.world.graph.seed(node, labels);
        }
    }

    /// A string: its text where all of it is known, else a text made of pieces.
    pub(super) fn string(&mut self, at: u32) {
        let mut out = String::new();
        let (mut parts, mut known, mut pieces) = (0, true, 0);
        let children: Vec<u32> = self.ast.children(at).collect();
        for &child in &children {
            parts += 1;
            match self.ast.role(child) {
                Role::Text => out.push_str(self.ast.text(child)),
                Role::Escape => unescaped(self.ast.text(child), &mut out),
                _ => {
                    pieces += 1;
                    match self.constant(child).as_ref().and_then(Known::text) {
                        Some(text) => out.push_str(&text.text),
                        None => known = false,
                    }
                }
            }
        }
        if parts == 0 {
            let text = self.ast.text(at);
            let text = text.trim_start_matches(|c: char| c.is_ascii_alphabetic() || matches!(c, '#' | ':'));
            out.push_str(text.trim_matches(['"', '\'', '`', '#']));
        }
        if pieces > 0 {
            self.pieces(at, &children);
        }
        match (known, pieces) {
            (true, 0) => self.know(at, written(&out)),
            (true, _) => self.know(at, assembled(out)),
            (false, _) => {
                let node = self.value(at);
                self.label(node, written(&out).as_ref());
            }
        }
    }

    /// Pieces of one text. Behind a fixed host nothing decides any more where it goes.
    fn pieces(&mut self, at: u32, parts: &[u32]) {
        let mut fixed = false;
        for (number, &part) in parts.iter().enumerate() {
            let text = match self.ast.role(part) {
                Role::Text => self.ast.text(part).to_owned(),
                Role::Escape => continue,
                _ => {
                    let how = if fixed { How::Tail } else { How::Piece };
                    self.flow(part, at, how);
                    let known = self.constant(part);
                    known
                        .as_ref()
                        .and_then(Known::text)
                        .map_or_else(String::new, |text| text.text.clone())
                }
            };
            if number == 0 {
                fixed = has_host(&text);
            }
        }
    }

    pub(super) fn number(&mut self, at: u32) {
        if let Some(slot) = self.constants.get_mut(at as usize) {
            *slot = written(self.ast.text(at));
        }
    }

    /// `a + b`: a text of pieces, or what a comparison says, which is nothing.
    pub(super) fn join(&mut self, at: u32) {
        let operator = self.ast.operator(self.tongue, at);
        if super::COMPARISONS.contains(&operator) {
            return self.compared(at, operator);
        }
        let parts: Vec<u32> = self.ast.children(at).collect();
        if matches!(operator, "||" | "??" | "or" | "and" | "&&") {
            for &part in &parts {
                self.flow(part, at, How::Keep);
            }
            return;
        }
        self.pieces(at, &parts);
        let known: Option<Vec<Known>> = parts.iter().map(|&part| self.constant(part)).collect();
        let mut texts = known.iter().flatten().filter_map(Known::text);
        if matches!(operator, "+" | "." | "" | ".." | "<<")
            && let (Some(first), Some(second)) = (texts.next(), texts.next())
            && parts.len() == 2
        {
            let text = format!("{}{}", first.text, second.text);
            self.know(at, assembled(text));
        }
    }

    pub(super) fn list(&mut self, at: u32) {
        let children: Vec<u32> = self.ast.children(at).collect();
        for &child in &children {
            self.flow(child, at, How::Element);
        }
        let known: Option<Vec<Rc<Constant>>> = children
            .iter()
            .take(MAX_ELEMENTS)
            .map(|&child| self.constant(self.inner(child))?.text().cloned())
            .collect();
        let size = |known: &[Rc<Constant>]| known.iter().map(|one| one.text.len()).sum::<usize>();
        let known = known.filter(|known| !known.is_empty() && size(known) <= MAX_CONSTANT);
        if let Some(slot) = self.constants.get_mut(at as usize) {
            *slot = known.map(|known| Known::List(Rc::new(known)));
        }
    }

    pub(super) fn pair(&mut self, at: u32, key: Slot, value: Slot) {
        let (Some(key), Some(value)) = (self.ast.part(at, key), self.ast.part(at, value)) else {
            return self.plain(at);
        };
        self.flow(value, at, How::Keep);
        self.setting(key, value);
        let inner = self.inner(value);
        self.name_function(key, inner);
        let name = self.ast.text(key).trim_matches(['"', '\'']);
        if self.tongue.handlers.iter().any(|handler| handler == name)
            && let Some(function) = self.functions.get(&inner)
            && let Some(function) = self.world.functions.get_mut(*function)
        {
            let tool = crate::labels::Labels::of(&[crate::labels::Label::Tool]);
            function.handles = function.handles.plus(tool);
        }
    }

    /// Notes what is set to something that a rule may speak of.
    pub(super) fn setting(&mut self, key: u32, value: u32) {
        const LONGEST: usize = 80;
        let name = super::last_name(self.ast.text(key)).trim_matches(['"', '\'', ':', '$']);
        let said = self.ast.text(value);
        if said.len() > LONGEST || name.is_empty() {
            return;
        }
        let of_rules = self
            .rules
            .settings
            .iter()
            .any(|rule| rule.keys.iter().any(|one| one == name));
        if of_rules {
            let here = self.value(value);
            self.world
                .settings
                .push((here, name.to_owned(), said.trim_matches(['"', '\'']).to_owned()));
        }
    }
}

/// What `a += b` is, where both are known.
pub(super) fn both(one: Option<&Known>, other: Option<&Known>) -> Option<Known> {
    let (one, other) = (one?.text()?, other?.text()?);
    assembled(format!("{}{}", one.text, other.text))
}

/// Whether a text begins with a whole host.
fn has_host(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.find('/').is_some_and(|at| at > 0))
}
