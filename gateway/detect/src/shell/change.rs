//! `${NAME/from/to}` and its like: what the shell makes of a value before it uses it.

/// What `${NAME…}` makes of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `/from/to`, and whether everywhere.
    Replace(String, String, bool),
    /// `:offset:length`.
    Slice(isize, Option<isize>),
    /// `#pattern`, and whether the longest.
    Front(String, bool),
    /// `%pattern`, and whether the longest.
    Back(String, bool),
    /// `^`, and whether all letters.
    Upper(bool),
    /// `,`, and whether all letters.
    Lower(bool),
}

impl Change {
    /// The value behind the change; `None` where a pattern is more than text with one `*` at its end.
    pub(super) fn of(&self, value: &str) -> Option<String> {
        let first = |change: fn(&str) -> String| {
            let end = value.chars().next().map_or(0, char::len_utf8);
            format!("{}{}", change(&value[..end]), &value[end..])
        };
        Some(match self {
            Self::Replace(from, to, true) => value.replace(from, to),
            Self::Replace(from, to, false) => value.replacen(from, to, 1),
            Self::Slice(offset, length) => {
                let all: Vec<char> = value.chars().collect();
                let count = isize::try_from(all.len()).ok()?;
                let begin = if *offset < 0 { count + offset } else { *offset }.clamp(0, count);
                let end = match length {
                    Some(length) if *length < 0 => count + length,
                    Some(length) => begin.saturating_add(*length),
                    None => count,
                };
                let end = end.clamp(begin, count);
                all.get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)?
                    .iter()
                    .collect()
            }
            Self::Front(pattern, longest) => match pattern.strip_prefix('*') {
                Some(text) if !is_glob(text) => {
                    let at = if *longest {
                        value.rfind(text)
                    } else {
                        value.find(text)
                    };
                    at.map_or(value, |at| &value[at + text.len()..]).to_owned()
                }
                None if !is_glob(pattern) => value.strip_prefix(pattern.as_str()).unwrap_or(value).to_owned(),
                _ => return None,
            },
            Self::Back(pattern, longest) => match pattern.strip_suffix('*') {
                Some(text) if !is_glob(text) => {
                    let at = if *longest {
                        value.find(text)
                    } else {
                        value.rfind(text)
                    };
                    at.map_or(value, |at| &value[..at]).to_owned()
                }
                None if !is_glob(pattern) => value.strip_suffix(pattern.as_str()).unwrap_or(value).to_owned(),
                _ => return None,
            },
            Self::Upper(true) => value.to_uppercase(),
            Self::Lower(true) => value.to_lowercase(),
            Self::Upper(false) => first(str::to_uppercase),
            Self::Lower(false) => first(str::to_lowercase),
        })
    }
}

pub(super) fn is_glob(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The change that `rest` of `${NAME rest}` makes, where its own words are literal.
pub(super) fn change_of(rest: &str) -> Option<Change> {
    /// A pattern is a few characters; what grows a value by more stays unresolved.
    const LONGEST: usize = 64;
    let literal = |text: &str| {
        let plain = text.len() <= LONGEST && !text.contains(['$', '`', '\\', '\'', '"']);
        plain.then(|| text.to_owned())
    };
    match rest.as_bytes().first()? {
        b'/' => {
            let (all, rest) = match rest.strip_prefix("//") {
                Some(rest) => (true, rest),
                None => (false, &rest[1..]),
            };
            let (from, to) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = !from.is_empty() && !from.contains(['*', '?', '[']);
            plain.then_some(Change::Replace(literal(from)?, literal(to)?, all))
        }
        b':' => {
            let mut numbers = rest[1..].split(':');
            let offset = numbers.next()?.trim().trim_matches(['(', ')']).parse().ok()?;
            let length = numbers.next().map(|text| text.trim().parse()).transpose().ok()?;
            Some(Change::Slice(offset, length))
        }
        b'#' => literal(rest.trim_start_matches('#'))
            .map(|pattern| Change::Front(pattern, rest.starts_with("##"))),
        b'%' => {
            literal(rest.trim_start_matches('%')).map(|pattern| Change::Back(pattern, rest.starts_with("%%")))
        }
        b'^' => Some(Change::Upper(rest == "^^")),
        b',' => Some(Change::Lower(rest == ",,")),
        _ => None,
    }
}
