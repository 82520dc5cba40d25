//! Calls: what is called, and what tables say of it.

use std::rc::Rc;

use super::{GLOBALS, Reading, UNKNOWN, joined};
use crate::constants::{Known, fold};
use crate::graph::Node;
use crate::labels::{How, Labels};
use crate::table::{ANSWER, At, CallRule, Fold, Naming, Role, Slot, fits};
use crate::world::{Argument, Call, Sink};

/// Most arguments of one call that are looked at one by one.
const MAX_ARGUMENTS: usize = 256;

/// One call, taken apart.
struct Called {
    at: u32,
    path: Rc<str>,
    receiver: Option<u32>,
    /// Arguments by place.
    placed: Vec<u32>,
    /// Arguments, and fields of objects among them, by name.
    keyed: Vec<(String, u32)>,
    /// Functions that stand behind the arguments.
    blocks: Vec<u32>,
}

impl Reading<'_, '_> {
    pub(super) fn call(&mut self, at: u32, function: Slot, arguments: Slot) {
        let Some(function) = self.ast.part(at, function) else {
            return self.plain(at);
        };
        let receiver = match self.ast.role(function) {
            Role::Member(object, _) => self.ast.part(function, object),
            _ => None,
        };
        let arguments = self.ast.part(at, arguments);
        let mut path = self.path(function).unwrap_or_else(|| Rc::from(UNKNOWN));
        // PHP calls what a text names.
        let named = (self.ast.role(function) == Role::Name)
            .then(|| self.constant(function))
            .flatten();
        if let Some(name) = named.as_ref().and_then(Known::text) {
            self.note_hidden(at, name);
            path = Rc::from(name.text.as_str());
        }
        self.called(at, path, receiver, arguments);
    }

    pub(super) fn method(&mut self, at: u32, object: Slot, name: Slot, arguments: Slot) {
        let Some(name) = self.ast.part(at, name) else {
            return self.plain(at);
        };
        let object = self.ast.part(at, object);
        let name = self.ast.text(name).trim_start_matches('$');
        let path = match object {
            Some(object) if self.is_own(object) => joined("self", name),
            Some(object) => joined(self.path(object).as_deref().unwrap_or(UNKNOWN), name),
            None => self.imports.get(name).cloned().unwrap_or_else(|| Rc::from(name)),
        };
        let arguments = self.ast.part(at, arguments);
        // Ruby has sources that look like calls: `params`, `request.params`.
        self.source(at, &path);
        self.called(at, path, object, arguments);
    }

    pub(super) fn constructor(&mut self, at: u32, class: Slot, arguments: Slot) {
        let Some(class) = self.ast.part(at, class) else {
            return self.plain(at);
        };
        let name = self.path(class).unwrap_or_else(|| {
            let text = self.ast.text(class);
            Rc::from(
                text.split('<')
                    .next()
                    .unwrap_or(text)
                    .trim_start_matches('\\')
                    .replace('\\', "."),
            )
        });
        let arguments = self.ast.part(at, arguments);
        self.called(at, Rc::from(format!("{name}.new")), None, arguments);
    }

    pub(super) fn verb(&mut self, at: u32, verb: u16) {
        let name = self
            .tongue
            .verbs
            .get(usize::from(verb))
            .cloned()
            .unwrap_or_default();
        let children: Vec<u32> = self.ast.children(at).collect();
        let text = children
            .iter()
            .any(|&child| matches!(self.ast.role(child), Role::Text | Role::Escape));
        if text {
            self.string(at);
        }
        let called = Called {
            at,
            path: Rc::from(name),
            receiver: None,
            placed: if text { vec![at] } else { children },
            keyed: Vec::new(),
            blocks: Vec::new(),
        };
        self.judge(&called);
    }

    fn called(&mut self, at: u32, path: Rc<str>, receiver: Option<u32>, arguments: Option<u32>) {
        let mut called = Called {
            at,
            path,
            receiver,
            placed: Vec::new(),
            keyed: Vec::new(),
            blocks: self
                .ast
                .children(at)
                .filter(|&child| matches!(self.ast.role(child), Role::Function(..)))
                .collect(),
        };
        let list: Vec<u32> = match arguments.map(|arguments| (arguments, self.ast.role(arguments))) {
            Some((arguments, Role::Plain | Role::List)) => {
                self.ast.children(arguments).take(MAX_ARGUMENTS).collect()
            }
            Some((one, _)) => vec![one],
            None => Vec::new(),
        };
        for argument in list {
            let inner = self.inner(argument);
            if !self.keyword(inner, &mut called.keyed) {
                called.placed.push(argument);
                let object = self.ast.text(inner).starts_with('{') && self.ast.role(inner) != Role::Name;
                if object {
                    let fields: Vec<u32> = self.ast.children(inner).take(MAX_ARGUMENTS).collect();
                    for field in fields {
                        self.keyword(field, &mut called.keyed);
                    }
                }
            }
        }
        self.judge(&called);
    }

    fn keyword(&self, at: u32, keyed: &mut Vec<(String, u32)>) -> bool {
        let Role::Pair(key, value) = self.ast.role(at) else {
            return false;
        };
        if let (Some(key), Some(value)) = (self.ast.part(at, key), self.ast.part(at, value)) {
            let key = self.ast.text(key).trim_matches(['"', '\'', ':', ' ']);
            keyed.push((key.to_owned(), value));
        }
        true
    }

    /// Does what the tables say of a call, and what holds for every call.
    fn judge(&mut self, called: &Called) {
        let tongue = self.tongue;
        let rules: Vec<&CallRule> = tongue
            .calls
            .find(&called.path)
            .into_iter()
            .filter(|rule| self.applies(rule, called))
            .collect();
        let mut answered = false;
        for rule in &rules {
            answered |= self.apply(rule, called);
        }
        if !answered {
            for part in called.receiver.iter().chain(&called.placed).copied() {
                self.flow(part, called.at, How::Keep);
            }
            for (_, value) in &called.keyed {
                self.flow(*value, called.at, How::Element);
            }
        }
        // What a method is given is in its object from then on: `list.append(x)`, `url.searchParams.set(k, v)`.
        if rules.iter().all(|rule| rule.folds.is_some())
            && let Some(holder) = called.receiver.and_then(|receiver| self.holder_of(receiver))
        {
            for &argument in &called.placed {
                let argument = self.value(argument);
                self.world.graph.edge(argument, holder, How::Element);
            }
        }
        self.give_to_functions(called);
        if self.path(called.at).is_none() {
            self.set_path(called.at, Some(answer_of(&called.path)));
        }
        let arguments = called.placed.iter().map(|&argument| Argument {
            key: None,
            node: self.value(argument),
        });
        let keyed = called.keyed.iter().map(|(key, value)| Argument {
            key: Some(key.clone()),
            node: self.value(*value),
        });
        let call = Call {
            file: self.file,
            path: Rc::clone(&called.path),
            class: self
                .scopes
                .class()
                .map_or_else(|| Rc::from(""), |(_, class)| class),
            arguments: arguments.chain(keyed).collect(),
            answer: self.value(called.at),
            known: !rules.is_empty(),
        };
        self.world.calls.push(call);
    }

    fn applies(&self, rule: &CallRule, called: &Called) -> bool {
        rule.when.iter().all(|(key, values)| {
            let place = key
                .strip_prefix('#')
                .and_then(|place| place.parse::<usize>().ok());
            let said = match place {
                Some(place) => called.placed.get(place).copied(),
                None => called
                    .keyed
                    .iter()
                    .find(|(name, _)| name == key)
                    .map(|&(_, value)| value),
            };
            let said = said.map_or_else(String::new, |at| self.said(at));
            values.iter().any(|value| fits(value, &said))
        })
    }

    /// What an argument says: its constant, else as it is written.
    fn said(&self, at: u32) -> String {
        let known = self.constant(self.inner(at));
        let text = known.as_ref().and_then(Known::text).map(|text| text.text.clone());
        text.unwrap_or_else(|| self.ast.text(at).trim_matches(['"', '\'', '`']).to_owned())
    }

    /// What an answer goes into: the parameters of functions that are given along with it.
    fn give_to_functions(&mut self, called: &Called) {
        for &argument in called.placed.iter().chain(&called.blocks) {
            let inner = self.inner(argument);
            let Some(&number) = self.functions.get(&inner) else {
                continue;
            };
            let answer = self.value(called.at);
            let parameters = self
                .world
                .functions
                .get(number)
                .map(|function| function.parameters.clone());
            for (_, parameter) in parameters.into_iter().flatten().flatten() {
                self.world.graph.edge(answer, parameter, How::Keep);
            }
        }
    }

    /// Applies one rule. Says whether the answer is known by it.
    fn apply(&mut self, rule: &CallRule, called: &Called) -> bool {
        let here = self.value(called.at);
        self.world.graph.seed(here, Labels::of(&rule.gives));
        let mut answered = rule.clean || (!rule.gives.is_empty() && rule.folds.is_none());
        if let Some(naming) = rule.names_as {
            self.names_as(naming, called);
        }
        if let Some(at) = rule.reads {
            for target in self.targets(at, &[], called) {
                let target = self.value(target);
                self.world.graph.edge(target, here, How::Read);
            }
            answered = true;
        }
        if let Some(at) = rule.opens {
            for target in self.targets(at, &[], called) {
                let target = self.value(target);
                self.world.graph.edge(target, here, How::Read);
                self.world.graph.edge(here, target, How::SameFile);
            }
            answered = true;
        }
        if let Some((path, content)) = rule.writes {
            self.writes(path, content, called);
        }
        if !rule.clears.is_empty() {
            let how = How::Without(Labels::of(&rule.clears));
            for part in called.receiver.iter().chain(&called.placed).copied() {
                self.flow(part, called.at, how);
            }
            answered = true;
        }
        if rule.checks {
            for part in called.receiver.iter().chain(&called.placed).copied() {
                self.checked(part);
            }
        }
        if !rule.handler.is_empty() {
            self.handler(rule, called);
        }
        if let Some(kind) = rule.folds {
            answered |= self.folded(kind, called);
        }
        if let Some(kind) = &rule.sink {
            self.sink(kind, rule, called);
        }
        answered
    }

    /// The parts of a call that a rule means.
    fn targets(&self, at: At, keys: &[String], called: &Called) -> Vec<u32> {
        let named = called.keyed.iter().filter(|(key, _)| keys.contains(key));
        let mut targets: Vec<u32> = named.map(|(_, value)| *value).collect();
        match at {
            At::Answer => targets.push(called.at),
            At::Receiver => targets.extend(called.receiver),
            At::First => targets.extend(called.placed.first()),
            At::Second => targets.extend(called.placed.get(1)),
            At::Third => targets.extend(called.placed.get(2)),
            At::All => {
                targets.extend(&called.placed);
                if keys.is_empty() {
                    targets.extend(called.keyed.iter().map(|(_, value)| *value));
                }
            }
        }
        targets
    }

    fn writes(&mut self, path: At, content: At, called: &Called) {
        let contents: Vec<Node> = self
            .targets(content, &[], called)
            .into_iter()
            .map(|content| self.value(content))
            .collect();
        for target in self.targets(path, &[], called) {
            let mut places = vec![self.value(target)];
            places.extend(self.holder_of(target));
            let text = self.constant(self.inner(target));
            for &content in &contents {
                for &place in &places {
                    self.world.graph.edge(content, place, How::WrittenTo);
                }
                if let Some(text) = text.as_ref().and_then(Known::text) {
                    self.world.written.push((text.text.clone(), content));
                }
            }
        }
    }

    fn handler(&mut self, rule: &CallRule, called: &Called) {
        let labels = Labels::of(&rule.handler);
        let keyed = called.keyed.iter().map(|(_, value)| *value);
        let given = called.placed.iter().chain(&called.blocks).copied();
        for argument in given.chain(keyed) {
            let inner = self.inner(argument);
            if let Some(&number) = self.functions.get(&inner) {
                if let Some(function) = self.world.functions.get_mut(number) {
                    function.handles = function.handles.plus(labels);
                }
            } else if let Some(path) = self.path(inner).filter(|_| self.constant(inner).is_none()) {
                self.world.handlers.push((self.file, path, labels));
            }
        }
    }

    fn folded(&mut self, kind: Fold, called: &Called) -> bool {
        let own = called.receiver.and_then(|own| self.constant(self.inner(own)));
        let arguments: Vec<Option<Known>> = called
            .placed
            .iter()
            .map(|&argument| self.constant(self.inner(argument)))
            .collect();
        let arguments: Vec<Option<&Known>> = arguments.iter().map(Option::as_ref).collect();
        if let Some(known) = fold(kind, own.as_ref(), &arguments) {
            self.know(called.at, Some(known));
        }
        let how = match kind {
            Fold::Join | Fold::JoinOwn | Fold::Format => How::Piece,
            _ => How::Keep,
        };
        for part in called.receiver.iter().chain(&called.placed).copied() {
            self.flow(part, called.at, how);
        }
        let keyed: Vec<u32> = called.keyed.iter().map(|(_, value)| *value).collect();
        for part in keyed {
            self.flow(part, called.at, how);
        }
        true
    }

    fn names_as(&mut self, naming: Naming, called: &Called) {
        let first = called.placed.first().copied();
        let text = |reading: &Self, at: Option<u32>| {
            let known = at.and_then(|at| reading.constant(reading.inner(at)));
            known.as_ref().and_then(Known::text).cloned()
        };
        let path = match naming {
            Naming::Globals => Some(Rc::from(GLOBALS)),
            Naming::Alias => first.and_then(|first| self.path(first)),
            Naming::Module => text(self, first).map(|name| {
                self.note_hidden(called.at, &name);
                Rc::from(crate::imports::module(&name.text))
            }),
            Naming::Method => text(self, first).map(|name| {
                self.note_hidden(called.at, &name);
                let of = called.receiver.and_then(|receiver| self.path(receiver));
                joined(of.as_deref().unwrap_or(GLOBALS), &name.text)
            }),
            Naming::Field => {
                let of = first.and_then(|first| self.path(first));
                let name = text(self, called.placed.get(1).copied());
                of.zip(name).map(|(of, name)| {
                    self.note_hidden(called.at, &name);
                    joined(&of, &name.text)
                })
            }
        };
        if let Some(path) = path {
            self.source(called.at, &path);
            self.set_path(called.at, Some(path));
        }
    }

    fn note_hidden(&mut self, at: u32, name: &crate::constants::Constant) {
        if name.assembled {
            let here = self.value(at);
            self.world.hidden.push((here, name.text.clone()));
        }
    }

    fn sink(&mut self, kind: &str, rule: &CallRule, called: &Called) {
        let targets = self.targets(rule.at, &rule.keys, called);
        let nodes = |reading: &Self, targets: &[u32]| -> Vec<Node> {
            targets.iter().map(|&target| reading.value(target)).collect()
        };
        let mut ends: Vec<(&str, Vec<Node>)> = Vec::new();
        let is_text = matches!(targets.as_slice(), &[only] if self.ast.role(self.inner(only)) != Role::List);
        if kind == "words" && is_text {
            ends.push(("shell", nodes(self, &targets)));
        } else if matches!(kind, "command" | "words") {
            // A command as a list, or word by word, has a program and arguments; as one text it is the shell's.
            let words: Vec<u32> = match targets.as_slice() {
                &[only] if self.ast.role(self.inner(only)) == Role::List => {
                    self.ast.children(self.inner(only)).take(MAX_ARGUMENTS).collect()
                }
                words => words.to_vec(),
            };
            ends.push(("program", nodes(self, words.get(..1).unwrap_or_default())));
            ends.push(("arguments", nodes(self, &targets)));
        } else {
            ends.push((kind, nodes(self, &targets)));
        }
        let at = self.value(called.at);
        for (kind, mut targets) in ends {
            if kind == "argument" {
                targets.extend(called.receiver.map(|receiver| self.value(receiver)));
            }
            self.world.sinks.push(Sink {
                kind: kind.to_owned(),
                at,
                callee: Rc::clone(&called.path),
                targets,
            });
        }
    }
}

/// The path of a call's answer. A chain of the same call is as long as one of them.
fn answer_of(path: &str) -> Rc<str> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let again = format!(".{last}{ANSWER}.{last}");
    let path = match path.strip_suffix(&again) {
        Some(before) => format!("{before}.{last}"),
        None => path.to_owned(),
    };
    Rc::from(format!("{path}{ANSWER}"))
}
