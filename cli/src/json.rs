//! One object per line.

use std::io::{self, Write};

use defenseclaw_model::record::Record;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::{text, time};

/// A record as programs get it: the ledger's own form, with the time written out before it.
#[derive(Debug, Serialize)]
pub struct RecordLine<'a> {
    /// `time_ns` as RFC 3339 in UTC with nine digits: some JSON readers keep only 53 bits of a number.
    pub time: String,
    /// The record.
    #[serde(flatten)]
    pub record: &'a Record,
}

impl<'a> From<&'a Record> for RecordLine<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            time: time::rfc3339(record.draft.time_ns),
            record,
        }
    }
}

/// Writes one object and a line break.
pub fn line(out: &mut (impl Write + ?Sized), value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        &mut *out,
        Printable(CompactFormatter),
    ))?;
    out.write_all(b"\n")
}

/// Compact JSON in which no character can act on a terminal: a reader of the JSON sees no difference.
struct Printable(CompactFormatter);

impl Formatter for Printable {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(text::is_unsafe) {
            self.0.write_string_fragment(writer, &rest[..at])?;
            let mut chars = rest[at..].chars();
            let mut units = [0; 2];
            for unit in chars.next().unwrap_or_default().encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        self.0.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compact_printable_and_read_back_the_same() {
        let value = serde_json::json!({"a": "x\u{1b}[31m\u{9b}\u{202e}\u{e0041}é\n", "b": [1, 2]});
        let mut out = Vec::new();
        line(&mut out, &value).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"a\":\"x\\u001b[31m\\u009b\\u202e\\udb40\\udc41é\\n\",\"b\":[1,2]}\n"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
