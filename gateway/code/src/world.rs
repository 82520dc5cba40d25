//! What was read of all files of an artifact, before it is known which function a call means.

use std::collections::HashMap;
use std::rc::Rc;

use defenseclaw_detect::scan::code::Language;

use crate::graph::{Graph, Node};
use crate::labels::{How, Labels};

/// All values, functions, calls and ends of one artifact.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) graph: Graph,
    pub(crate) files: Vec<Unit>,
    pub(crate) functions: Vec<Function>,
    pub(crate) calls: Vec<Call>,
    pub(crate) sinks: Vec<Sink>,
    /// Names of other files' variables: where, by which path.
    pub(crate) refs: Vec<(u32, Rc<str>, Node)>,
    /// Variables of files, by file and name.
    pub(crate) globals: HashMap<(u32, Rc<str>), Node>,
    /// Functions that something outside calls, by file and path.
    pub(crate) handlers: Vec<(u32, Rc<str>, Labels)>,
    /// Where texts that may name a file stand.
    pub(crate) places: HashMap<String, Vec<Node>>,
    /// What is written to files that are named by a constant.
    pub(crate) written: Vec<(String, Node)>,
    /// Names that were put together to hide them: where, and what they name.
    pub(crate) hidden: Vec<(Node, String)>,
    /// Settings that a rule may speak of: where, key and value.
    pub(crate) settings: Vec<(Node, String, String)>,
}

/// A file.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) path: String,
    pub(crate) family: Language,
    /// Its name without its ending: what others import it by.
    pub(crate) stem: String,
    /// Why it was not read to its end.
    pub(crate) cut: Option<&'static str>,
    /// Whether files beside it see its names.
    pub(crate) package: bool,
}

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) file: u32,
    pub(crate) names: Vec<String>,
    /// The class that it belongs to; empty: none.
    pub(crate) class: Rc<str>,
    /// For each parameter its names and their values.
    pub(crate) parameters: Vec<Vec<(String, Node)>>,
    /// What it answers.
    pub(crate) answer: Node,
    /// Who calls it from outside.
    pub(crate) handles: Labels,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) file: u32,
    pub(crate) path: Rc<str>,
    /// The class in whose method it stands.
    pub(crate) class: Rc<str>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) answer: Node,
    /// Whether a table says what it does.
    pub(crate) known: bool,
}

/// An argument.
#[derive(Debug, Clone)]
pub(crate) struct Argument {
    pub(crate) key: Option<String>,
    pub(crate) node: Node,
}

/// Where data ends.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) kind: String,
    /// The call.
    pub(crate) at: Node,
    pub(crate) callee: Rc<str>,
    pub(crate) targets: Vec<Node>,
}

impl World {
    /// Joins what stands in different functions and files.
    pub(crate) fn link(&mut self) {
        let index = Index::of(self);
        let mut edges: Vec<(Node, Node)> = Vec::new();
        for call in &self.calls {
            for &number in &index.meant(self, call) {
                if let Some(function) = self.functions.get(number) {
                    function.called(call, &mut edges);
                }
            }
        }
        for (file, path, node) in &self.refs {
            let found = index.variable(self, *file, path);
            edges.extend(found.map(|variable| (variable, *node)));
        }
        let mut handled: Vec<(usize, Labels)> = Vec::new();
        for (file, path, labels) in &self.handlers {
            handled.extend(
                index
                    .named(self, *file, path)
                    .into_iter()
                    .map(|number| (number, *labels)),
            );
        }
        for (from, to) in edges {
            self.graph.edge(from, to, How::Keep);
        }
        for (number, labels) in handled {
            if let Some(function) = self.functions.get_mut(number) {
                function.handles = function.handles.plus(labels);
            }
        }
        for function in &self.functions {
            for (name, node) in function.parameters.iter().flatten() {
                if !matches!(name.as_str(), "self" | "cls" | "this" | "ctx" | "context") {
                    self.graph.seed(*node, function.handles);
                }
            }
        }
        for places in self.places.values() {
            for pair in places.windows(2) {
                if let &[one, other] = pair {
                    self.graph.edge(one, other, How::SameFile);
                    self.graph.edge(other, one, How::SameFile);
                }
            }
        }
        for (path, content) in &self.written {
            for &place in self.places.get(path).into_iter().flatten().take(MAX_PLACES) {
                self.graph.edge(*content, place, How::WrittenTo);
            }
        }
    }
}

/// Most places of one path that are looked at, and most functions that one call may mean: with more, nothing is known.
const MAX_PLACES: usize = 32;
const MAX_MEANT: usize = 4;

/// Functions by their names.
struct Index<'w> {
    by_name: HashMap<&'w str, Vec<usize>>,
    files: HashMap<&'w str, Vec<u32>>,
}

impl<'w> Index<'w> {
    fn of(world: &'w World) -> Index<'w> {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, function) in world.functions.iter().enumerate() {
            for name in &function.names {
                by_name.entry(name.as_str()).or_default().push(number);
            }
        }
        let mut files: HashMap<&str, Vec<u32>> = HashMap::new();
        for (number, unit) in (0..).zip(&world.files) {
            files.entry(unit.stem.as_str()).or_default().push(number);
        }
        Self { by_name, files }
    }

    /// The functions that a call may mean.
    fn meant(&self, world: &World, call: &Call) -> Vec<usize> {
        if call.known {
            return Vec::new();
        }
        let found = match call.path.strip_prefix("self.").filter(|name| !name.contains('.')) {
            Some(name) => self.of_class(world, name, &call.class, call.file),
            None => self.named(world, call.file, &call.path),
        };
        if found.len() > MAX_MEANT {
            Vec::new()
        } else {
            found
        }
    }

    fn of_class(&self, world: &World, name: &str, class: &str, file: u32) -> Vec<usize> {
        self.pick(world, name, |function| {
            function.file == file && *function.class == *class
        })
    }

    fn pick(&self, world: &World, name: &str, fits: impl Fn(&Function) -> bool) -> Vec<usize> {
        let all = self.by_name.get(name).into_iter().flatten().take(256);
        all.filter(|&&number| world.functions.get(number).is_some_and(&fits))
            .copied()
            .collect()
    }

    /// The functions that a path may mean in a file.
    fn named(&self, world: &World, file: u32, path: &str) -> Vec<usize> {
        let Some(unit) = world.files.get(file as usize) else {
            return Vec::new();
        };
        let family = |number: u32| {
            world
                .files
                .get(number as usize)
                .is_some_and(|of| of.family == unit.family)
        };
        let (before, name) = path.rsplit_once('.').unwrap_or(("", path));
        if before.is_empty() {
            let here = self.pick(world, name, |function| {
                function.file == file && function.class.is_empty()
            });
            if !here.is_empty() {
                return here;
            }
            let class = self.maker(world, name, &family);
            if !class.is_empty() {
                return class;
            }
            let shared = unit.package || unit.family == Language::Python;
            let near = |function: &Function| shared && family(function.file) && function.class.is_empty();
            return self.pick(world, name, near);
        }
        if name == "new" {
            let made = self.maker(world, before.rsplit('.').next().unwrap_or(before), &family);
            if !made.is_empty() {
                return made;
            }
        }
        let owner = before.trim_end_matches("()").trim_end_matches(".new");
        let owner = owner.rsplit(['.', '/']).next().unwrap_or(owner);
        let of_module = self.files.get(owner).map(Vec::as_slice).unwrap_or_default();
        let mut found = self.pick(world, name, |function| {
            family(function.file) && (of_module.contains(&function.file) || *function.class == *owner)
        });
        if found.is_empty() {
            found = self.maker(world, name, &family);
        }
        if found.is_empty() {
            // A method of something that is not known: the only one of that name.
            found = self.pick(world, name, |function| {
                family(function.file) && !function.class.is_empty()
            });
            found.truncate(if found.len() > 1 { 0 } else { 1 });
        }
        found
    }

    /// What makes an object of a class.
    fn maker(&self, world: &World, class: &str, family: &impl Fn(u32) -> bool) -> Vec<usize> {
        let makers = ["__init__", "constructor", "initialize", "__construct", class];
        makers
            .iter()
            .flat_map(|maker| {
                self.pick(world, maker, |function| {
                    family(function.file) && !class.is_empty() && *function.class == *class
                })
            })
            .collect()
    }

    /// The variable of another file that a path means.
    fn variable(&self, world: &World, file: u32, path: &str) -> Option<Node> {
        let family = world.files.get(file as usize)?.family;
        let (before, name) = path.rsplit_once('.')?;
        let owner = before.rsplit(['.', '/']).next()?;
        let files = self.files.get(owner)?.iter();
        files
            .filter(|&&other| {
                world
                    .files
                    .get(other as usize)
                    .is_some_and(|unit| unit.family == family)
            })
            .find_map(|&other| world.globals.get(&(other, Rc::from(name))).copied())
    }
}

impl Function {
    /// What flows between a call and this function.
    fn called(&self, call: &Call, edges: &mut Vec<(Node, Node)>) {
        edges.push((self.answer, call.answer));
        let own = |names: &Vec<(String, Node)>| {
            names
                .first()
                .is_some_and(|(name, _)| matches!(name.as_str(), "self" | "cls" | "this"))
        };
        let skipped = usize::from(self.parameters.first().is_some_and(own));
        let mut place = skipped;
        for argument in &call.arguments {
            let names = match &argument.key {
                Some(key) => self
                    .parameters
                    .iter()
                    .find(|names| names.iter().any(|(name, _)| name == key)),
                None => {
                    place += 1;
                    self.parameters.get(place - 1)
                }
            };
            for (_, node) in names.into_iter().flatten() {
                edges.push((argument.node, *node));
            }
        }
    }
}
