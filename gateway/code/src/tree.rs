//! A file as a list of nodes, read within bounds. Nothing here calls itself, however deep a file is nested.

use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, TreeCursor};

use crate::table::{Role, Slot, Tongue};

/// Largest file that is parsed (bytes). Sources that people write are far smaller; bundles that are not are told of.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Most nodes of one file, some one for each two bytes of the largest.
pub(crate) const MAX_NODES: usize = 600_000;

/// Most nodes of one artifact (some 60 bytes of memory each).
pub(crate) const MAX_ALL_NODES: usize = 2_000_000;

/// How many steps the parser may take: as many for each byte, and so many besides. It takes some two for a byte of ordinary
/// code; a text that lets it try many readings at once takes more, and ends here.
const STEPS_PER_BYTE: usize = 24;
const STEPS_BESIDES: usize = 20_000;

/// How many steps the parser takes between two looks at the bound.
const STEPS_PER_LOOK: usize = 100;

/// A node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) role: Role,
    pub(crate) kind: u16,
    /// The number of the field of its parent that it stands in; 0: none.
    pub(crate) field: u16,
    pub(crate) parent: u32,
    /// The number behind the last node below it.
    pub(crate) end: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) line: u32,
    /// Its operator, by the number of its kind; 0: none.
    pub(crate) operator: u16,
}

/// A file's nodes, each before what is below it.
#[derive(Debug)]
pub(crate) struct Ast<'t> {
    pub(crate) text: &'t str,
    pub(crate) items: Vec<Item>,
    /// Why it was not read to its end.
    pub(crate) cut: Option<&'static str>,
}

/// Reads a text whose first line has that number. `left`: how many nodes the artifact may still have.
pub(crate) fn read<'t>(tongue: &Tongue, text: &'t str, line: u32, left: usize) -> Ast<'t> {
    let nothing = |why| Ast {
        text,
        items: Vec::new(),
        cut: Some(why),
    };
    if text.len() > MAX_BYTES {
        return nothing("it is larger than 1 MiB");
    }
    let mut parser = Parser::new();
    let language = tongue.parser.whole();
    if language.is_none_or(|language| parser.set_language(&language).is_err()) {
        return nothing("its grammar does not fit this program");
    }
    let bytes = text.as_bytes();
    let most = (bytes.len() * STEPS_PER_BYTE + STEPS_BESIDES) / STEPS_PER_LOOK;
    let mut looks = 0;
    let mut look = |_: &ParseState| {
        looks += 1;
        if looks > most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let mut give = |at: usize, _| bytes.get(at..).unwrap_or_default();
    let options = ParseOptions::new().progress_callback(&mut look);
    let Some(tree) = parser.parse_with_options(&mut give, None, Some(options)) else {
        return nothing("it takes the parser too many steps");
    };
    let mut ast = Ast {
        text,
        items: Vec::new(),
        cut: None,
    };
    let mut cursor = tree.walk();
    ast.flatten(tongue, &mut cursor, line, left.min(MAX_NODES));
    ast
}

impl<'t> Ast<'t> {
    fn flatten(&mut self, tongue: &Tongue, cursor: &mut TreeCursor<'_>, line: u32, most: usize) {
        let mut open: Vec<usize> = Vec::new();
        loop {
            let node = cursor.node();
            if node.is_named() {
                if self.items.len() >= most {
                    self.cut = Some("it has too many parts");
                    break;
                }
                let mut item = item(tongue, &node, cursor, open.last().copied(), line);
                let number = self.items.len();
                item.end = u32::try_from(number + 1).unwrap_or(u32::MAX);
                self.items.push(item);
                let leaf = matches!(item.role, Role::Skip | Role::Text | Role::Escape | Role::Number);
                if !leaf && cursor.goto_first_child() {
                    open.push(number);
                    continue;
                }
            } else if let (Some("operator" | "operators"), Some(&parent)) = (cursor.field_name(), open.last())
                && let Some(parent) = self.items.get_mut(parent)
            {
                parent.operator = node.kind_id();
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    self.close(&mut open, 0);
                    return;
                }
                let depth = open.len().saturating_sub(1);
                self.close(&mut open, depth);
            }
        }
        self.close(&mut open, 0);
    }

    /// Ends the open nodes from `depth` on.
    fn close(&mut self, open: &mut Vec<usize>, depth: usize) {
        let end = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        for number in open.drain(depth..) {
            if let Some(item) = self.items.get_mut(number) {
                item.end = end;
            }
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Item> {
        self.items.get(number as usize)
    }

    pub(crate) fn role(&self, number: u32) -> Role {
        self.get(number).map_or(Role::Skip, |item| item.role)
    }

    /// The text of a node.
    pub(crate) fn text(&self, number: u32) -> &'t str {
        self.get(number)
            .and_then(|item| self.text.get(item.from as usize..item.to as usize))
            .unwrap_or_default()
    }

    /// The nodes directly below one, but for comments and types.
    pub(crate) fn children(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        let end = self.get(number).map_or(0, |item| item.end);
        let mut at = number + 1;
        std::iter::from_fn(move || {
            while at < end {
                let here = at;
                at = self.get(here)?.end.max(here + 1);
                if self.role(here) != Role::Skip {
                    return Some(here);
                }
            }
            None
        })
    }

    /// The part of a node that stands in a slot.
    pub(crate) fn part(&self, number: u32, slot: Slot) -> Option<u32> {
        let in_field = |field: u16| {
            self.children(number)
                .find(|&child| self.get(child).is_some_and(|item| item.field == field))
        };
        match slot {
            Slot::None => None,
            Slot::Field(field) => in_field(field),
            Slot::Either(one, other) => in_field(one).or_else(|| in_field(other)),
            Slot::Child(nth) => self.children(number).nth(nth),
        }
    }

    pub(crate) fn operator(&self, tongue: &Tongue, number: u32) -> &'static str {
        let id = self.get(number).map_or(0, |item| item.operator);
        if id == 0 {
            return "";
        }
        tongue.grammar.node_kind_for_id(id).unwrap_or_default()
    }
}

fn item(tongue: &Tongue, node: &Node<'_>, cursor: &TreeCursor<'_>, parent: Option<usize>, line: u32) -> Item {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let kind = node.kind_id();
    let role = tongue.roles.get(usize::from(kind)).copied().unwrap_or_default();
    Item {
        role,
        kind,
        field: cursor.field_id().map_or(0, u16::from),
        parent: parent.map_or(u32::MAX, small),
        end: 0,
        from: small(node.start_byte()),
        to: small(node.end_byte()),
        line: line.saturating_add(small(node.start_position().row)),
        operator: 0,
    }
}
