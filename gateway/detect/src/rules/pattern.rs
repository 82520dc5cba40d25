//! Patterns over words: arguments, paths, hosts, objects.

use memchr::memmem::Finder;

/// Longest pattern (bytes), so that matching one word costs at most this many passes over it.
pub(super) const MAX_PATTERN: usize = 160;

/// What stands for `[*]` and `[?]` while a pattern is taken apart; neither occurs in a pack.
const STAR: char = '\u{1}';
const MARK: char = '\u{2}';

/// A pattern in which `*` stands for any run of characters and `?` for any one; `[*]` and `[?]` for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Inside(Literal),
    Any,
    Wild(Box<str>),
}

impl Pattern {
    /// Compiles `text`, or says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(format!(
                "a pattern has 1 to {MAX_PATTERN} bytes; {text:?} has {}",
                text.len()
            ));
        }
        let text = text.replace("[*]", "\u{1}").replace("[?]", "\u{2}");
        let inner = text.trim_matches('*');
        let plain = !inner.contains(['*', '?']);
        let before = text.len() - text.trim_start_matches('*').len();
        let behind = text.len() - text.trim_end_matches('*').len();
        let literal: Box<str> = inner.replace(STAR, "*").replace(MARK, "?").into();
        Ok(match (plain, before, behind) {
            (true, 0, 0) => Self::Exact(literal),
            (true, _, _) if literal.is_empty() => Self::Any,
            (true, 0, _) => Self::Prefix(literal),
            (true, _, 0) => Self::Suffix(literal),
            (true, _, _) => Self::Inside(Literal::new(&literal)),
            (false, _, _) => Self::Wild(text.into()),
        })
    }

    /// Whether `text` as a whole fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exact(pattern) => **pattern == *text,
            Self::Prefix(pattern) => text.starts_with(&**pattern),
            Self::Suffix(pattern) => text.ends_with(&**pattern),
            Self::Inside(pattern) => pattern.is_in(text),
            Self::Any => true,
            Self::Wild(pattern) => wild(pattern.as_bytes(), text.as_bytes()),
        }
    }
}

/// A text that is looked for in others, made ready for that once.
#[derive(Debug, Clone)]
pub(super) struct Literal(Box<Finder<'static>>);

impl Literal {
    pub(super) fn new(text: &str) -> Self {
        Self(Box::new(Finder::new(text).into_owned()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.needle()
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        text.len() >= self.bytes().len() && self.0.find(text.as_bytes()).is_some()
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Literal {}

/// Whether any of `patterns` fits `text`.
pub(super) fn any_fits(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.fits(text))
}

/// Whether one byte of a pattern stands for one byte of a text.
fn one(wanted: u8, byte: u8) -> bool {
    match wanted {
        b'?' => true,
        1 => byte == b'*',
        2 => byte == b'?',
        _ => wanted == byte,
    }
}

/// One backtrack point: at most `pattern × text` steps.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if one(wanted, byte) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    p = star_p + 1;
                    t = star_t + 1;
                    star = Some((star_p, t));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_fit_whole_words() {
        for (pattern, text) in [
            ("a", "a"),
            ("a*", "abc"),
            ("*c", "abc"),
            ("*b*", "abc"),
            ("*", ""),
            ("a*c", "abbc"),
            ("*a?c*", "xabcx"),
            ("+*s*", "+xs"),
            ("/[*]", "/*"),
            ("*a[*]?", "xa*y"),
        ] {
            assert!(Pattern::new(pattern).unwrap().fits(text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a*", "ba"),
            ("*c", "cb"),
            ("a*c", "ab"),
            ("*a?c*", "xac"),
            ("/[*]", "/etc"),
            ("a?[*]", "abc"),
        ] {
            assert!(!Pattern::new(pattern).unwrap().fits(text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_is_empty_or_too_long_is_refused() {
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new(&"a".repeat(161)).is_err());
    }
}
