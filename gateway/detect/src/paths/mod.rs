//! Path classes: which paths matter, by `policies/paths.yaml`.
//!
//! The rules are compiled once. [`PathRules::classify`] is called for every file event of every labelled process, so it
//! looks each component of the path up in one hash map and compares only the few patterns that name that component.

mod glob;
mod load;

use std::sync::LazyLock;

use defenseclaw_model::decision::Severity;

use glob::{could_match, glob_match};
pub use load::PathRulesError;

use crate::quick::Table;

/// The rules that this program was built with.
const EMBEDDED: &str = include_str!("../../../../policies/paths.yaml");

/// Longest name that the kernel's filter map takes (bytes): the sensor's key is 64 bytes with its terminator.
pub const MAX_WATCHED_NAME: usize = 63;

/// Deepest path that is classified (components). `PATH_MAX` is 4096 bytes, so no path that the kernel takes is deeper.
const MAX_COMPONENTS: usize = 2048;

/// Compiled path rules.
#[derive(Debug)]
pub struct PathRules {
    classes: Vec<Class>,
    patterns: Vec<Pattern>,
    /// Patterns by one of their literal components.
    by_component: Table<Box<str>, Vec<u32>>,
    /// Patterns without any literal component, with how the last component of a path must begin and end for them.
    wild: Vec<(u32, Ends)>,
}

/// The first and the last byte of a component's name, where a pattern says them. Most names have others.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    first: Option<u8>,
    last: Option<u8>,
}

impl Ends {
    /// Of every name that the last component of `pattern` matches; nothing where the path goes on behind it.
    fn of(pattern: &Pattern) -> Self {
        let text = match pattern.components.last() {
            _ if pattern.below => return Self::default(),
            Some(Component::Literal(text) | Component::Glob(text)) => text.as_bytes(),
            None => return Self::default(),
        };
        let literal = |byte: &u8| Some(*byte).filter(|byte| !matches!(byte, b'*' | b'?'));
        Self {
            first: text.first().and_then(literal),
            last: text.last().and_then(literal),
        }
    }

    fn fit(self, name: &str) -> bool {
        let name = name.as_bytes();
        self.first.is_none_or(|byte| name.first() == Some(&byte))
            && self.last.is_none_or(|byte| name.last() == Some(&byte))
    }
}

/// What is known of a class.
#[derive(Debug)]
struct Class {
    id: String,
    severity: Severity,
    description: String,
    secret: bool,
    guarded: bool,
}

/// One compiled pattern.
#[derive(Debug)]
struct Pattern {
    /// Index into the classes.
    class: u32,
    /// Whether a match takes the path out of the class.
    except: bool,
    /// Whether it must begin at `/`; else it may match below any folder.
    anchored: bool,
    /// Whether it matches anything below, and not the path itself.
    below: bool,
    /// Its components, without `**`.
    components: Vec<Component>,
    /// Which component it is found by.
    key: Option<usize>,
    /// How the kernel pre-filters reads of it.
    watch: Option<Watch>,
}

/// One component of a pattern.
#[derive(Debug)]
enum Component {
    Literal(Box<str>),
    Glob(Box<str>),
}

/// How reads of a pattern are watched.
#[derive(Debug)]
struct Watch {
    name: WatchedName,
    /// The components before the first glob, as written below `~` or `/`; empty if there is none.
    prefix: String,
    /// Whether the pattern stands below homes.
    home: bool,
}

/// A name by which the kernel pre-filters reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchedName {
    /// The name; at most [`MAX_WATCHED_NAME`] bytes.
    pub name: String,
    /// Where in the path it stands.
    pub place: NamePlace,
}

/// Where in a path a watched name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePlace {
    /// It is the last component.
    Last,
    /// It is any component before the last.
    Directory,
}

static RULES: LazyLock<PathRules> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the text is compiled in, and a test parses it")]
    PathRules::parse(EMBEDDED).expect("the embedded path rules are valid")
});

impl PathRules {
    /// The rules of `policies/paths.yaml` that this program was built with.
    pub fn embedded() -> &'static Self {
        &RULES
    }

    /// Compiles rules in the form of `policies/paths.yaml`.
    pub fn parse(yaml: &str) -> Result<Self, PathRulesError> {
        load::compile(yaml)
    }

    /// The class of `path`, if it has one. The path should be absolute and lexically normal; one that begins with `~`
    /// or is relative can still match what is bound to no fixed place.
    pub fn classify(&self, path: &str) -> Option<&str> {
        self.find(path, glob_match)
    }

    /// The class of the first rule that some path could match which the shell glob `pattern` stands for:
    /// `~/.ssh/*` is a private key, `~/.ssh/*.pub` is not.
    pub fn classify_glob(&self, pattern: &str) -> Option<&str> {
        // A component with a glob may stand for any literal component, so the index by component does not help:
        // every pattern is tried. Patterns are few hundred and a command holds few globs.
        let path: Vec<&str> = split(pattern);
        let anchored = pattern.starts_with('/');
        let mut best: Option<u32> = None;
        for rule in self.patterns.iter().filter(|p| !p.except) {
            if best.is_some_and(|class| class <= rule.class) || !rule.fits_glob(&path, anchored) {
                continue;
            }
            let excepted = self
                .patterns
                .iter()
                .any(|p| p.except && p.class == rule.class && p.holds(&path, anchored, None, glob_match));
            if !excepted {
                best = Some(rule.class);
            }
        }
        best.and_then(|class| self.classes.get(class as usize))
            .map(|class| class.id.as_str())
    }

    fn find(&self, path: &str, matches: fn(&str, &str) -> bool) -> Option<&str> {
        let components = split(path);
        if components.len() > MAX_COMPONENTS {
            return None;
        }
        let anchored = path.starts_with('/');
        let mut found: Vec<u32> = Vec::new();
        let mut excepted: Vec<u32> = Vec::new();
        let mut note =
            |pattern: &Pattern| if pattern.except { &mut excepted } else { &mut found }.push(pattern.class);
        for (at, component) in components.iter().enumerate() {
            for &index in self.by_component.get(*component).into_iter().flatten() {
                let pattern = &self.patterns[index as usize];
                if pattern.holds(&components, anchored, Some(at), matches) {
                    note(pattern);
                }
            }
        }
        let name = components.last().copied().unwrap_or_default();
        for &(index, _) in self.wild.iter().filter(|(_, ends)| ends.fit(name)) {
            let pattern = &self.patterns[index as usize];
            if pattern.holds(&components, anchored, None, matches) {
                note(pattern);
            }
        }
        let class = found
            .into_iter()
            .filter(|class| !excepted.contains(class))
            .min()?;
        self.classes.get(class as usize).map(|class| class.id.as_str())
    }

    /// Names by which the kernel pre-filters reads, sorted and without duplicates. A read passes the filter if its last
    /// component is one of the [`NamePlace::Last`] names or one of its folders is one of the [`NamePlace::Directory`]
    /// names; [`PathRules::classify`] then decides.
    pub fn watched_names(&self) -> Vec<WatchedName> {
        let mut names: Vec<_> = self
            .patterns
            .iter()
            .filter_map(|p| p.watch.as_ref())
            .map(|w| w.name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The watched files and folders with a fixed place, those below homes for `home`, sorted and without duplicates:
    /// for whoever wants to know them by inode before they are read. A pattern with a wildcard gives the folder before
    /// the wildcard.
    pub fn watched_read_paths(&self, home: &str) -> Vec<String> {
        let home = home.trim_end_matches('/');
        let mut paths: Vec<_> = self
            .patterns
            .iter()
            .filter_map(|p| p.watch.as_ref())
            .filter(|w| !w.prefix.is_empty())
            .map(|w| {
                if w.home {
                    format!("{home}{}", w.prefix)
                } else {
                    w.prefix.clone()
                }
            })
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// The classes' ids, in the order in which they are tried.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.id.as_str())
    }

    /// How bad it is when an agent touches a path of `class`; `NONE` for an unknown class.
    pub fn severity(&self, class: &str) -> Severity {
        self.class(class).map_or(Severity::None, |class| class.severity)
    }

    /// What the paths of `class` are, as half a sentence for a person; empty for an unknown class.
    pub fn describes(&self, class: &str) -> &str {
        self.class(class).map_or("", |class| class.description.as_str())
    }

    /// Whether reading a path of `class` gives a secret away.
    pub fn is_secret(&self, class: &str) -> bool {
        self.class(class).is_some_and(|class| class.secret)
    }

    /// Whether writing a path of `class` changes what runs later, who may log in, or what protects this host.
    pub fn is_guarded(&self, class: &str) -> bool {
        self.class(class).is_some_and(|class| class.guarded)
    }

    fn class(&self, id: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.id == id)
    }
}

/// Whether a shell glob says enough of a name to be held against a rule that names a file in any folder: `cat src/*` is
/// no attempt on an `id_rsa` that might lie there.
fn specific(glob: &str) -> bool {
    const LITERAL_BYTES: usize = 3;
    glob.bytes()
        .filter(|byte| !matches!(byte, b'*' | b'?' | b'[' | b']'))
        .count()
        >= LITERAL_BYTES
}

/// Whether a glob names something beyond an ending: `*.md` does not, `id_*` does.
fn names(glob: &str) -> bool {
    let name = match glob.rsplit_once('.') {
        Some((before, _)) if before.bytes().all(|byte| matches!(byte, b'*' | b'?')) => before,
        _ => glob,
    };
    specific(name)
}

/// How many components a home folder has at the beginning of a path that may lie in one.
fn home_depth(path: &[&str]) -> usize {
    match path.first() {
        Some(&"home" | &"Users") => 2,
        Some(&"root") => 1,
        _ => 0,
    }
}

fn split(path: &str) -> Vec<&str> {
    path.split('/')
        .filter(|component| !component.is_empty() && *component != "~")
        .collect()
}

impl Pattern {
    /// Whether the pattern holds for the path `components`; with `at`, only with its key component there.
    fn holds(
        &self,
        path: &[&str],
        anchored: bool,
        at: Option<usize>,
        matches: fn(&str, &str) -> bool,
    ) -> bool {
        let wanted = self.components.len();
        let start = match (self.anchored, at, self.key) {
            (true, _, _) if !anchored => return false,
            (true, _, _) => 0,
            (false, Some(at), Some(key)) => match at.checked_sub(key) {
                Some(start) => start,
                None => return false,
            },
            // A pattern without a literal component has one component at the end: `**/*.kdbx`.
            (false, _, _) => match path.len().checked_sub(wanted) {
                Some(start) => start,
                None => return false,
            },
        };
        let Some(rest) = path.get(start..) else {
            return false;
        };
        let length_fits = if self.below {
            rest.len() > wanted
        } else {
            rest.len() == wanted
        };
        length_fits
            && self
                .components
                .iter()
                .zip(rest)
                .all(|(component, text)| match component {
                    Component::Literal(literal) => **literal == **text,
                    Component::Glob(glob) => matches(glob, text),
                })
    }

    /// Whether some path that the glob components stand for fits this pattern.
    fn fits_glob(&self, path: &[&str], anchored: bool) -> bool {
        if self.anchored && !anchored {
            return false;
        }
        let wanted = self.components.len();
        if !self.anchored && !self.below && wanted == 1 && !path.last().is_some_and(|name| specific(name)) {
            return false;
        }
        let starts = match (self.anchored, self.below) {
            (true, _) => 0..=0,
            (false, true) => 0..=path.len().saturating_sub(wanted + 1),
            (false, false) => match path.len().checked_sub(wanted) {
                Some(start) => start..=start,
                None => return false,
            },
        };
        starts.into_iter().any(|start| {
            let rest = path.get(start..).unwrap_or_default();
            let length_fits = if self.below {
                rest.len() > wanted
            } else {
                rest.len() == wanted
            };
            // Below some folder `**/*.md` could be anything; what is at no fixed place has to be named somewhere.
            let named = self.anchored
                || wanted == 1
                || start <= home_depth(path)
                || rest.iter().take(wanted).any(|text| names(text));
            named
                && length_fits
                && self
                    .components
                    .iter()
                    .zip(rest)
                    .all(|(component, text)| match component {
                        Component::Literal(literal) => could_match(text, literal),
                        Component::Glob(glob) => could_match(text, glob),
                    })
        })
    }
}

#[cfg(test)]
mod tests;
