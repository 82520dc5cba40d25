//! Options, their values and operands, told apart.

use super::table::Use;
use crate::shell::Field;

/// A program's arguments, told apart.
pub(super) struct Arguments<'c> {
    /// Options with their values.
    pub(super) values: Vec<(&'c str, Field)>,
    /// Options without.
    pub(super) flags: Vec<&'c str>,
    /// The rest.
    pub(super) operands: Vec<&'c Field>,
}

/// Tells options, their values and operands apart.
pub(super) fn split_options<'c>(
    arguments: &'c [(Field, usize)],
    known: &'static [(&'static str, Use)],
) -> Arguments<'c> {
    let takes_value = |option: &str| known.iter().any(|(name, _)| *name == option);
    let mut parsed = Arguments {
        values: Vec::new(),
        flags: Vec::new(),
        operands: Vec::new(),
    };
    let mut rest = arguments.iter().map(|(field, _)| field);
    while let Some(field) = rest.next() {
        let text = field.text.as_str();
        if text == "--" {
            parsed.operands.extend(rest);
            break;
        }
        if !text.starts_with('-') || text == "-" {
            parsed.operands.push(field);
            continue;
        }
        if takes_value(text) {
            if let Some(value) = rest.next() {
                parsed.values.push((text, value.clone()));
            }
            continue;
        }
        if let Some((option, value)) = text.split_once('=').filter(|_| text.starts_with("--")) {
            parsed.values.push((
                option,
                Field {
                    text: value.to_owned(),
                    ..field.clone()
                },
            ));
            continue;
        }
        parsed.flags.push(text);
        if text.starts_with("--") {
            continue;
        }
        // `-ofile`, or a cluster whose last letter takes the next word: `-sLo file`.
        // OpenSSL's options are words: `-noout` is no cluster of letters.
        if known.iter().any(|(name, _)| *name == "-out") {
            continue;
        }
        let letters = &text[1..];
        let letter = letters.char_indices().find(|(_, c)| {
            known
                .iter()
                .any(|(name, _)| name.as_bytes() == [b'-', *c as u8] && c.is_ascii())
        });
        let Some((at, c)) = letter else { continue };
        let option = known
            .iter()
            .map(|(name, _)| *name)
            .find(|name| name.as_bytes() == [b'-', c as u8]);
        let attached = &letters[at + 1..];
        let value = if attached.is_empty() {
            rest.next().cloned()
        } else {
            Some(Field {
                text: attached.to_owned(),
                ..field.clone()
            })
        };
        if let (Some(option), Some(value)) = (option, value) {
            parsed.values.push((option, value));
        }
    }
    parsed
}
