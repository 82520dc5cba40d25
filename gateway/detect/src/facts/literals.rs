//! Many short texts, looked for in one pass.

use std::sync::OnceLock;

use regex::Regex;

/// A set of texts; an empty set is found nowhere.
pub(super) struct Literals {
    texts: &'static [&'static str],
    found: OnceLock<Option<Regex>>,
}

impl Literals {
    pub(super) const fn new(texts: &'static [&'static str]) -> Self {
        Self {
            texts,
            found: OnceLock::new(),
        }
    }

    /// Whether one of the texts stands in `text`.
    pub(super) fn within(&self, text: &str) -> bool {
        let regex = self.found.get_or_init(|| {
            let escaped: Vec<String> = self.texts.iter().map(|text| regex::escape(text)).collect();
            Regex::new(&escaped.join("|")).ok()
        });
        match regex {
            Some(regex) => regex.is_match(text),
            None => self.texts.iter().any(|known| text.contains(known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_found_and_nothing_else() {
        static SET: Literals = Literals::new(&["a.b", "c("]);
        for (text, expected) in [
            ("xa.by", true),
            ("c(1)", true),
            ("axb", false),
            ("c", false),
            ("", false),
        ] {
            assert_eq!(SET.within(text), expected, "{text}");
        }
    }
}
