//! Texts that are known before a program runs: written out, or put together from written ones.

use std::rc::Rc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::labels::Labels;
use crate::table::{ConstantRule, Fold, Rules};

/// Longest constant that is kept (bytes). Longer ones are data; of them only the labels are known.
pub(crate) const MAX_CONSTANT: usize = 4096;

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constant {
    pub(crate) text: String,
    /// Whether it was put together: what is hidden in a program is.
    pub(crate) assembled: bool,
}

/// A constant, or a list of them.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Text(Rc<Constant>),
    List(Rc<Vec<Rc<Constant>>>),
}

impl Known {
    pub(crate) fn text(&self) -> Option<&Rc<Constant>> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }

    fn elements(&self) -> Vec<&str> {
        match self {
            Self::Text(one) => vec![one.text.as_str()],
            Self::List(all) => all.iter().map(|one| one.text.as_str()).collect(),
        }
    }
}

/// A written text, as a constant.
pub(crate) fn written(text: &str) -> Option<Known> {
    made(text.to_owned(), false)
}

/// A text that was put together.
pub(crate) fn assembled(text: String) -> Option<Known> {
    made(text, true)
}

fn made(text: String, assembled: bool) -> Option<Known> {
    (text.len() <= MAX_CONSTANT).then(|| Known::Text(Rc::new(Constant { text, assembled })))
}

/// What a call makes of constants. `own`: what it is called on.
pub(crate) fn fold(fold: Fold, own: Option<&Known>, arguments: &[Option<&Known>]) -> Option<Known> {
    let first = arguments.first().copied().flatten();
    // What a function does for a text is called with it, or on it.
    let subject = first.or(own);
    match fold {
        Fold::Same => own.or(first).cloned(),
        Fold::Join => assembled(first?.elements().join(&own?.text()?.text)),
        Fold::JoinOwn => {
            let between = first.and_then(Known::text).map_or(",", |text| &text.text);
            match own? {
                Known::Text(text) if between.is_empty() => Some(Known::Text(Rc::clone(text))),
                Known::Text(_) => None,
                list => assembled(list.elements().join(between)),
            }
        }
        Fold::Path => {
            let parts: Option<Vec<&str>> = arguments
                .iter()
                .map(|part| Some((*part)?.text()?.text.as_str()))
                .collect();
            written(&parts?.join("/"))
        }
        Fold::Format => None,
        Fold::Reverse => assembled(subject?.text()?.text.chars().rev().collect()),
        Fold::Characters => {
            let all: Vec<&str> = arguments
                .iter()
                .flat_map(|one| one.map(Known::elements).unwrap_or_default())
                .collect();
            let letters: Option<String> = all
                .iter()
                .map(|number| char::from_u32(integer(number)?))
                .collect();
            assembled(letters.filter(|letters| !letters.is_empty())?)
        }
        Fold::Base64 => decoded(&subject?.text()?.text),
        Fold::Hex => {
            let text = &subject?.text()?.text;
            let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
            let (pairs, rest) = digits.as_chunks::<2>();
            if !rest.is_empty() || digits.len() < text.trim().len() {
                return None;
            }
            let bytes = pairs.iter().filter_map(|[a, b]| u8::try_from(a << 4 | b).ok());
            assembled(String::from_utf8(bytes.collect()).ok()?)
        }
        Fold::Rot13 => assembled(subject?.text()?.text.chars().map(rotated).collect()),
    }
}

fn rotated(c: char) -> char {
    let from = match c {
        'a'..='z' => b'a',
        'A'..='Z' => b'A',
        _ => return c,
    };
    let place = (u32::from(c) - u32::from(from) + 13) % 26;
    char::from_u32(u32::from(from) + place).unwrap_or(c)
}

/// An integer as languages write it.
pub(crate) fn integer(text: &str) -> Option<u32> {
    let text = text.replace('_', "");
    match text.get(..2) {
        Some("0x" | "0X") => u32::from_str_radix(text.get(2..)?, 16).ok(),
        _ => text.parse().ok(),
    }
}

fn decoded(text: &str) -> Option<Known> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let usual = GeneralPurpose::new(&alphabet::STANDARD, config);
    let for_urls = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    let bytes = usual.decode(text).or_else(|_| for_urls.decode(text)).ok()?;
    assembled(String::from_utf8(bytes).ok()?)
}

/// A text as it is after its escapes: `\n`, `\x41`, `\u0041`, `\u{41}`, `\101`.
pub(crate) fn unescaped(text: &str, out: &mut String) {
    let mut rest = text.strip_prefix('\\').unwrap_or(text).chars();
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let c = match rest.next() {
        Some('n') => Some('\n'),
        Some('t') => Some('\t'),
        Some('r') => Some('\r'),
        Some('x' | 'u' | 'U') => number(rest.as_str().trim_matches(['{', '}']), 16),
        Some(digit @ '0'..='7') => number(&format!("{digit}{}", rest.as_str()), 8),
        Some('\n') | None => None,
        Some(other) => Some(other),
    };
    out.extend(c);
}

impl Rules {
    /// What a constant says by itself.
    pub(crate) fn labels_of(&self, text: &str) -> Labels {
        const LONGEST: usize = 1024;
        let cut = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text);
        let lower = cut.to_ascii_lowercase().replace('\\', "/");
        let meant = self.constants.iter().filter(|rule| rule.means(&lower));
        meant.fold(Labels::NONE, |all, rule| {
            all.plus(Labels(rule.label.map_or(0, crate::labels::Label::bit)))
        })
    }
}

impl ConstantRule {
    fn means(&self, text: &str) -> bool {
        let word = |word: &String| {
            text.strip_prefix(word.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n']))
        };
        self.holds.iter().any(|part| text.contains(part.as_str()))
            || self.is.iter().any(|whole| whole == text)
            || self.ends.iter().any(|end| text.ends_with(end.as_str()))
            || self.first_word.iter().any(word)
            || (self.address && has_address(text))
    }
}

/// Whether the host in a URL is a public IPv4 address, or the text is one.
fn has_address(text: &str) -> bool {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = host.split(['/', ':', '?']).next().unwrap_or_default();
    let Ok(address) = host.parse::<std::net::Ipv4Addr>() else {
        return false;
    };
    let local = address.is_private()
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_link_local()
        || address.is_broadcast();
    !local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(known: Option<Known>) -> String {
        known
            .and_then(|known| known.text().map(|text| text.text.clone()))
            .unwrap_or_default()
    }

    #[test]
    fn what_is_encoded_is_read() {
        let of = |text| written(text).unwrap();
        assert_eq!(text(fold(Fold::Base64, None, &[Some(&of("b3M="))])), "os");
        assert_eq!(text(fold(Fold::Hex, Some(&of("6f73")), &[])), "os");
        assert_eq!(text(fold(Fold::Rot13, None, &[Some(&of("bf"))])), "os");
        assert_eq!(text(fold(Fold::Reverse, None, &[Some(&of("so"))])), "os");
        let letters = Known::List(Rc::new(
            ["111", "0x73"]
                .iter()
                .map(|text| {
                    Rc::new(Constant {
                        text: (*text).to_owned(),
                        assembled: false,
                    })
                })
                .collect(),
        ));
        assert_eq!(text(fold(Fold::Characters, None, &[Some(&letters)])), "os");
        assert!(fold(Fold::Hex, None, &[Some(&of("6f7"))]).is_none());
    }

    #[test]
    fn escapes_are_letters() {
        let mut out = String::new();
        for escape in ["\\x65", "\\u0076", "\\u{61}", "\\154", "\\n", "\\\\"] {
            unescaped(escape, &mut out);
        }
        assert_eq!(out, "eval\n\\");
    }

    #[test]
    fn a_public_address_is_no_name() {
        assert!(has_address("http://203.0.113.9:8080/x") && has_address("198.51.100.4"));
        assert!(!has_address("http://127.0.0.1/x") && !has_address("https://a.example/1.2.3.4"));
    }
}
