//! A program's words, asked in the ways that programs themselves ask.

use super::super::flows;
use super::super::normal;
use super::super::programs::Call;
use crate::shell::{Field, Scope};

/// One program's call.
#[derive(Clone, Copy)]
pub(in super::super) struct Invocation<'c> {
    /// The program's name, without its folder.
    pub(in super::super) name: &'c str,
    pub(in super::super) call: Call<'c>,
}

impl<'c> Invocation<'c> {
    /// The arguments.
    pub(in super::super) fn words(&self) -> impl Iterator<Item = &'c str> + Clone + use<'c> {
        self.call.arguments().iter().map(|(field, _)| field.text.as_str())
    }

    /// The arguments with what is known of them.
    pub(in super::super) fn fields(&self) -> impl Iterator<Item = &'c Field> + Clone + use<'c> {
        self.call.arguments().iter().map(|(field, _)| field)
    }

    /// Whether one of the arguments is one of `wanted`.
    pub(in super::super) fn any(&self, wanted: &[&str]) -> bool {
        self.words().any(|word| wanted.contains(&word))
    }

    /// Whether one of the arguments holds one of `parts`.
    pub(in super::super) fn holds(&self, parts: &[&str]) -> bool {
        self.words()
            .any(|word| parts.iter().any(|part| word.contains(part)))
    }

    /// Whether a cluster of one-letter options holds one of `letters`: `-rf` for `r`.
    pub(in super::super) fn short(&self, letters: &str) -> bool {
        self.words().take_while(|word| *word != "--").any(|word| {
            word.len() > 1
                && word.starts_with('-')
                && !word.starts_with("--")
                && word[1..].contains(|c| letters.contains(c))
        })
    }

    /// Whether an argument begins with `start`: OpenSSL's and others' long options with one dash.
    pub(in super::super) fn short_word(&self, word: &str) -> bool {
        self.any(&[word])
    }

    /// Whether an argument begins with one of `starts`.
    pub(in super::super) fn begins(&self, starts: &[&str]) -> bool {
        self.words()
            .any(|word| starts.iter().any(|start| word.starts_with(start)))
    }

    /// The value of the first of the options `names`.
    pub(in super::super) fn value(&self, names: &'c [&'c str]) -> Option<&'c str> {
        self.values(names).next()
    }

    /// The values of the options `names`: the word behind, or what is attached to it.
    pub(in super::super) fn values(
        &self,
        names: &'c [&'c str],
    ) -> impl Iterator<Item = &'c str> + Clone + use<'c> {
        let arguments = self.call.arguments();
        let clusters = self.name == "curl";
        arguments.iter().enumerate().filter_map(move |(at, (field, _))| {
            let word = field.text.as_str();
            if !word.starts_with('-') {
                return None;
            }
            if let Some(rest) = in_cluster(word, names).filter(|_| clusters) {
                let next = || arguments.get(at + 1).map(|(field, _)| field.text.as_str());
                return if rest.is_empty() { next() } else { Some(rest) };
            }
            names.iter().find_map(|name| {
                let rest = word.strip_prefix(name)?;
                match rest.as_bytes().first() {
                    None => arguments.get(at + 1).map(|(field, _)| field.text.as_str()),
                    Some(b'=') => Some(&rest[1..]),
                    Some(_) if name.len() == 2 && !word.starts_with("--") => Some(rest),
                    Some(_) => None,
                }
            })
        })
    }

    /// The arguments that are no options.
    pub(in super::super) fn operands(&self) -> impl Iterator<Item = &'c str> + Clone + use<'c> {
        self.words().filter(|word| !word.starts_with('-') || *word == "-")
    }

    /// The `at`th argument that is no option.
    pub(in super::super) fn operand(&self, at: usize) -> Option<&'c str> {
        self.operands().nth(at)
    }

    /// The arguments that are neither options nor the values of the options `values`.
    pub(in super::super) fn operands_after(
        &self,
        values: &'c [&'c str],
    ) -> impl Iterator<Item = &'c str> + Clone + use<'c> {
        self.operand_fields(values).map(|field| field.text.as_str())
    }

    /// [`Invocation::operands_after`], with what is known of them.
    pub(in super::super) fn operand_fields(
        &self,
        values: &'c [&'c str],
    ) -> impl Iterator<Item = &'c Field> + Clone + use<'c> {
        let mut skip = false;
        self.fields().filter(move |field| {
            let word = field.text.as_str();
            if std::mem::take(&mut skip) {
                return false;
            }
            if word.starts_with('-') && word.len() > 1 {
                skip = values.contains(&word) || clustered(word, values);
                return false;
            }
            true
        })
    }

    /// What comes in on the standard input, where the text says it.
    pub(in super::super) fn input(&self) -> Option<&'c str> {
        self.call.input()
    }

    /// The program's path, if it was named by one.
    pub(in super::super) fn path(&self, scope: &Scope<'_>) -> Option<String> {
        let (field, _) = self.call.fields.first()?;
        field
            .text
            .contains('/')
            .then(|| normal::normalise(&field.text, scope.cwd.as_deref()))
    }

    /// Variables of the environment in the words, whose names say that they hold secrets.
    pub(in super::super) fn secret_variables(&self) -> impl Iterator<Item = &'c str> + use<'c> {
        self.fields()
            .filter(|field| !field.exact)
            .flat_map(|field| flows::secret_names(&field.text))
    }
}

/// What stands behind one of the options `names` in a cluster of curl's, behind letters that take no value: `-sT FILE`,
/// `-sSd@FILE`.
fn in_cluster<'w>(word: &'w str, names: &[&str]) -> Option<&'w str> {
    const FLAGS: &[u8] = b"sSfkLiIvgGjlNOpqRtnaBJZ#0123456";
    let letters = word
        .strip_prefix('-')
        .filter(|letters| !letters.starts_with('-'))?;
    let at = letters
        .bytes()
        .position(|letter| !FLAGS.contains(&letter))
        .filter(|at| *at > 0)?;
    let option = letters.as_bytes().get(at)?;
    let named = names.iter().any(|name| name.as_bytes() == [b'-', *option]);
    named.then(|| letters.get(at + 1..)).flatten()
}

/// A cluster whose last letter takes the next word: `-sLo FILE`.
fn clustered(word: &str, values: &[&str]) -> bool {
    let bytes = word.as_bytes();
    bytes.len() > 2
        && bytes[1] != b'-'
        && bytes[1..].iter().all(u8::is_ascii_alphabetic)
        && values
            .iter()
            .any(|value| value.as_bytes() == [b'-', bytes[bytes.len() - 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_clusters() {
        for (word, value) in [
            ("-sT", Some("")),
            ("-sSd@a", Some("@a")),
            ("-T", None),
            ("-so", None),
            ("--T", None),
            ("-s", None),
            ("-", None),
        ] {
            assert_eq!(in_cluster(word, &["-d", "-T"]), value, "{word}");
        }
    }
}
