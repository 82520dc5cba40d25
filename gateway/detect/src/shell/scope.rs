//! What a shell knows at one point of a command line: its folder and the variables that the line itself has set.

use std::borrow::Cow;
use std::ops::Range;

use super::word::{Field, MAX_VALUE};

/// Most variables that are followed. A command line that sets more is a script; what it uses beyond counts as unresolved.
const MAX_VARIABLES: usize = 64;

/// Most values of one loop variable, and most words in one value, that are followed.
pub(crate) const MAX_ALTERNATIVES: usize = 64;

/// What `$!` is, the process that the line itself has started: one above the highest number that Linux gives
/// (`PID_MAX_LIMIT`), so that no other process is meant by it.
pub(crate) const STARTED: &str = "4194304";

/// The state of one shell.
#[derive(Debug, Clone)]
pub(crate) struct Scope<'h> {
    /// Working directory, where it is known.
    pub(crate) cwd: Option<String>,
    /// The folder before the last `cd`.
    pub(crate) previous: Option<String>,
    /// The home folder, where it is known.
    pub(crate) home: Option<&'h str>,
    /// Whether positional parameters may hold anything: inside functions.
    pub(crate) positional: bool,
    variables: Vec<Variable>,
}

/// A variable that the line itself has set.
#[derive(Debug, Clone)]
struct Variable {
    name: String,
    /// What it may hold, where that can be told.
    values: Option<Vec<Field>>,
    /// Programs (by range) whose output it holds.
    feeds: Vec<Range<usize>>,
}

/// Most ranges of programs whose output one variable is followed from.
const MAX_FEEDS: usize = 8;

impl<'h> Scope<'h> {
    pub(crate) fn new(cwd: Option<&str>, home: Option<&'h str>) -> Self {
        Self {
            cwd: cwd.map(str::to_owned),
            previous: None,
            home,
            positional: false,
            variables: Vec::new(),
        }
    }

    /// The values that `name` may have; `None` if that cannot be told.
    pub(crate) fn value(&self, name: &str) -> Option<Cow<'_, [Field]>> {
        if let Some(variable) = self.variables.iter().find(|known| known.name == name) {
            return variable.values.as_deref().map(Cow::Borrowed);
        }
        let literal = |text: &str| Some(Cow::Owned(vec![Field::literal(text)]));
        match name {
            "HOME" => self.home.and_then(literal),
            "PWD" => self.cwd.as_deref().and_then(literal),
            "OLDPWD" => self.previous.as_deref().and_then(literal),
            "IFS" => literal(" "),
            // Whatever the number is, it is the same wherever a name is made with it.
            "RANDOM" | "SECONDS" | "BASHPID" | "PPID" | "EPOCHSECONDS" | "$" => literal("4242"),
            "!" => literal(STARTED),
            // Whichever it is, it runs the text that it is given.
            "SHELL" | "BASH" => literal("/bin/bash"),
            "@" | "*" if !self.positional => literal(""),
            _ if !self.positional && name.len() == 1 && matches!(name.as_bytes(), [b'1'..=b'9']) => {
                literal("")
            }
            _ => None,
        }
    }

    /// Sets `name`; what is too long or too many counts as unresolved.
    pub(crate) fn set(&mut self, name: &str, values: Vec<Field>) {
        self.set_fed(name, values, Vec::new());
    }

    /// Programs whose output `name` holds.
    pub(crate) fn feeds(&self, name: &str) -> &[Range<usize>] {
        let variable = self.variables.iter().find(|known| known.name == name);
        variable.map_or(&[], |variable| variable.feeds.as_slice())
    }

    /// [`Scope::set`], for a value that holds the output of the programs of `feeds`.
    pub(crate) fn set_fed(&mut self, name: &str, mut values: Vec<Field>, mut feeds: Vec<Range<usize>>) {
        feeds.truncate(MAX_FEEDS);
        values.truncate(MAX_ALTERNATIVES);
        let follow =
            !values.is_empty() && values.iter().map(|value| value.text.len()).sum::<usize>() <= MAX_VALUE;
        let splits = |value: &Field| value.text.bytes().filter(u8::is_ascii_whitespace).count();
        let resolved = follow
            && values
                .iter()
                .all(|value| value.exact && splits(value) < MAX_ALTERNATIVES);
        let values = resolved.then_some(values);
        if let Some(old) = self.variables.iter_mut().find(|known| known.name == name) {
            (old.values, old.feeds) = (values, feeds);
        } else if self.variables.len() < MAX_VARIABLES {
            self.variables.push(Variable {
                name: name.to_owned(),
                values,
                feeds,
            });
        }
    }

    /// Whether `c` parts the fields of a value that stands without quotes.
    pub(crate) fn separates(&self, c: char) -> bool {
        if self.variables.is_empty() {
            return matches!(c, ' ' | '\t' | '\n');
        }
        let own = self.variables.iter().find(|known| known.name == "IFS");
        match own.and_then(|variable| variable.values.as_deref()) {
            Some([value]) => value.text.contains(c),
            _ => matches!(c, ' ' | '\t' | '\n'),
        }
    }

    /// Bytes that a copy costs.
    pub(crate) fn weight(&self) -> usize {
        let values = |list: &Option<Vec<Field>>| -> usize {
            list.iter().flatten().map(|value| value.text.len() + 32).sum()
        };
        self.variables
            .iter()
            .map(|variable| variable.name.len() + 32 + values(&variable.values) + 16 * variable.feeds.len())
            .sum::<usize>()
            + 64
    }
}
