//! What an expression of `find` looks for by name.

use crate::shell::Field;

/// Deepest nesting of parentheses that is read; people write two.
const MAX_DEPTH: usize = 32;

/// The names that the tests of `find` look for, those behind a negation aside, and whether nothing is acted upon but
/// what has one of them: in `-name a -o -delete` and in `-delete -name a` everything goes.
pub(super) fn names(tests: &[(Field, usize)]) -> (Vec<&str>, bool) {
    let mut reader = Reader {
        words: tests.iter().map(|(field, _)| field.text.as_str()).collect(),
        at: 0,
        names: Vec::new(),
        by_regex: false,
        negated: false,
    };
    let found = reader.either(0);
    let whole = reader.at >= reader.words.len();
    let by_name = whole && !found.bare && (reader.by_regex || !reader.names.is_empty());
    (reader.names, by_name)
}

/// What a part of the expression says of what passes it.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Only what has a name passes.
    named: bool,
    /// Something is done in it to what has not been asked for its name.
    bare: bool,
}

struct Reader<'t> {
    words: Vec<&'t str>,
    at: usize,
    names: Vec<&'t str>,
    by_regex: bool,
    negated: bool,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    /// Alternatives, up to a closing parenthesis or the end.
    fn either(&mut self, depth: usize) -> Part {
        let mut whole = self.all(depth);
        while self
            .words
            .get(self.at)
            .is_some_and(|word| matches!(*word, "-o" | "-or" | ","))
        {
            self.at += 1;
            let next = self.all(depth);
            whole = Part {
                named: whole.named && next.named,
                bare: whole.bare || next.bare,
            };
        }
        whole
    }

    /// Tests that must all hold, in their order.
    fn all(&mut self, depth: usize) -> Part {
        let mut whole = Part::default();
        while let Some(word) = self.words.get(self.at).copied() {
            if matches!(word, "-o" | "-or" | "," | ")") {
                break;
            }
            let part = self.one(depth);
            whole.bare |= part.bare && !whole.named;
            whole.named |= part.named;
        }
        whole
    }

    fn one(&mut self, depth: usize) -> Part {
        let Some(word) = self.next() else {
            return Part::default();
        };
        match word {
            _ if depth > MAX_DEPTH => Part {
                bare: true,
                ..Part::default()
            },
            "!" | "-not" => {
                let outer = std::mem::replace(&mut self.negated, true);
                let bare = self.one(depth + 1).bare;
                self.negated = outer;
                Part { named: false, bare }
            }
            "(" => {
                let part = self.either(depth + 1);
                self.at += 1;
                part
            }
            "-path" | "-wholename" | "-ipath" | "-iwholename" => {
                // The whole pattern says more than its last part: `*/hooks/*`.
                let name = self.next().unwrap_or_default();
                self.name(name.trim_start_matches("*/").trim_start_matches("./"))
            }
            "-name" | "-iname" => {
                let name = self.next().unwrap_or_default();
                self.name(name.rsplit('/').next().unwrap_or_default())
            }
            "-regex" | "-iregex" => {
                let named = regex_says_something(self.next().unwrap_or_default());
                self.by_regex |= named;
                Part { named, bare: false }
            }
            "-delete" => Part {
                named: false,
                bare: true,
            },
            "-exec" | "-execdir" | "-ok" | "-okdir" => {
                while self.next().is_some_and(|word| !matches!(word, ";" | "+")) {}
                Part {
                    named: false,
                    bare: true,
                }
            }
            _ => {
                self.at += values_of(word);
                Part::default()
            }
        }
    }

    fn name(&mut self, name: &'t str) -> Part {
        if !self.negated {
            self.names.push(name);
        }
        Part {
            named: says_something(name),
            bare: false,
        }
    }
}

/// How many words belong to a test or action that says nothing of names.
fn values_of(word: &str) -> usize {
    const ALONE: &[&str] = &[
        "-a",
        "-and",
        "-print",
        "-print0",
        "-ls",
        "-prune",
        "-quit",
        "-empty",
        "-depth",
        "-d",
        "-xdev",
        "-mount",
        "-follow",
        "-daystart",
        "-true",
        "-false",
        "-nouser",
        "-nogroup",
        "-readable",
        "-writable",
        "-executable",
        "-noleaf",
        "-warn",
        "-nowarn",
        "-ignore_readdir_race",
        "-noignore_readdir_race",
    ];
    match word {
        "-fprintf" => 2,
        _ if !word.starts_with('-') || ALONE.contains(&word) => 0,
        _ => 1,
    }
}

/// Whether a pattern leaves anything out: it has a letter or sign outside of its classes.
fn says_something(pattern: &str) -> bool {
    let mut in_class = false;
    pattern.chars().any(|c| {
        match c {
            '[' => in_class = true,
            ']' => in_class = false,
            _ => return !in_class && !matches!(c, '*' | '?' | '.' | '/' | '\\'),
        }
        false
    })
}

/// The same of a regular expression, which must not end in what may be anything.
pub(super) fn regex_says_something(pattern: &str) -> bool {
    let end = pattern.trim_end_matches(['$', ')', '\\']);
    let mut escaped = false;
    let mut in_class = false;
    let literal = pattern.chars().any(|c| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' => escaped = !was_escaped,
            '[' if !was_escaped => in_class = true,
            ']' => in_class = false,
            _ => return c.is_alphanumeric() && !in_class && !was_escaped,
        }
        false
    });
    literal && !end.ends_with(['*', '?', '+', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acted_upon_has_a_name() {
        for (text, expected) in [
            ("-name x -delete", true),
            ("-name x -type d -prune -exec rm -rf {} +", true),
            (
                "-type d ( -name bin -o -name obj ) -prune -exec rm -rf {} +",
                true,
            ),
            ("-name dist -not -path */node_modules/* -exec rm -rf {} ;", true),
            ("-name x -exec rm {} ; -o -print", true),
            ("-path */build/* -delete", true),
            ("-delete", false),
            ("-delete -name x", false),
            ("-not -name x -delete", false),
            ("! ( -name x -o -name y ) -delete", false),
            ("-name x -prune -o -exec rm -rf {} +", false),
            ("( -name x -o -type d ) -exec rm -rf {} +", false),
            ("-name * -delete", false),
            ("-name [a-z]* -delete", false),
            ("-name *~ -delete", true),
            ("-regex .*\\.\\(o\\|d\\) -delete", true),
            ("-regex .* -delete", false),
            ("-regex .*\\w -delete", false),
            ("-regex .*x.* -delete", false),
            ("-type d -exec rm -rf {} +", false),
            ("-name x -o -delete", false),
        ] {
            let words: Vec<_> = text
                .split_whitespace()
                .map(|word| (Field::literal(word), 0))
                .collect();
            assert_eq!(names(&words).1, expected, "{text}");
        }
        let words: Vec<_> = ["-name", "a", "-not", "-path", "./b/*"]
            .map(|word| (Field::literal(word), 0))
            .into();
        assert_eq!(names(&words).0, ["a"]);
    }
}
