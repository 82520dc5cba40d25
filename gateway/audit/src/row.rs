//! A record as a row: encoding, decoding, and the bounds that hold for both.

use std::path::Path;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::CallId;
use defenseclaw_model::record::{Draft, Record, RecordBody};
use rusqlite::Row;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::chain::{ChainHash, Content, Tip};
use crate::error::{LedgerError, RowFault};

/// Largest body (bytes of JSON). An activity with arguments at the sensor's bound has a few KiB; the gateway masks and
/// shortens what a harness sends long before this.
pub const MAX_BODY_BYTES: usize = 4 << 20;

/// Deepest nesting of a body's JSON. What is nested deeper could be written, but `serde_json` would not read it back.
pub const MAX_BODY_DEPTH: usize = 127;

/// Every kind of record, in the order of [`RecordBody`].
pub const KINDS: [&str; 21] = [
    "session_start",
    "prompt",
    "tool_call",
    "approval",
    "harness",
    "sandbox",
    "admission",
    "quarantine",
    "package",
    "list_change",
    "pin",
    "bundle",
    "notice",
    "completion",
    "call_end",
    "stop",
    "session_end",
    "activity",
    "finding",
    "gap",
    "daemon",
];

/// The columns that [`Stored::from_row`] takes, in its order.
pub(crate) const COLUMNS: &str = "seq, time_ns, session, call, kind, severity, prev_hash, hash, body";

/// A `u64` as SQLite keeps it. Comparisons in SQL hold below 2⁶³, which times and counts never reach.
pub(crate) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// The reverse of [`stored`].
pub(crate) fn unstored(number: i64) -> u64 {
    number.cast_unsigned()
}

/// A severity as an indexed number.
pub(crate) fn severity_rank(severity: Severity) -> i64 {
    match severity {
        Severity::None => 0,
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

/// The reverse of [`severity_rank`].
pub(crate) fn severity_from(rank: i64) -> Option<Severity> {
    [
        Severity::None,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ]
    .into_iter()
    .find(|severity| severity_rank(*severity) == rank)
}

/// A draft made ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded<'d> {
    pub(crate) time_ns: u64,
    pub(crate) session: Option<String>,
    pub(crate) call: Option<&'d str>,
    pub(crate) kind: &'static str,
    pub(crate) severity: Severity,
    pub(crate) body: Vec<u8>,
}

impl<'d> Encoded<'d> {
    /// Encodes the draft at `index` of an append, or says why it cannot be a record.
    pub(crate) fn new(index: usize, draft: &'d Draft) -> Result<Self, LedgerError> {
        let refused = |what: String| LedgerError::Refused { index, what };
        if i64::try_from(draft.time_ns).is_err() {
            return Err(refused(format!(
                "its time, {} ns, is past the year 2262",
                draft.time_ns
            )));
        }
        let body =
            serde_json::to_vec(&draft.body).map_err(|error| refused(format!("it is no JSON: {error}")))?;
        if body.len() > MAX_BODY_BYTES {
            return Err(refused(format!(
                "its body has {} bytes; at most {MAX_BODY_BYTES} are taken",
                body.len()
            )));
        }
        if is_deeper_than(&body, MAX_BODY_DEPTH) {
            return Err(refused(format!(
                "its body is nested more than {MAX_BODY_DEPTH} deep"
            )));
        }
        Ok(Self {
            time_ns: draft.time_ns,
            session: draft.session.as_ref().map(ToString::to_string),
            call: draft.call.as_ref().map(CallId::as_str),
            kind: draft.body.kind(),
            severity: draft.severity(),
            body,
        })
    }

    /// The hash of this record as the successor of `tip`.
    pub(crate) fn follow(&self, tip: Tip) -> Tip {
        let seq = tip.seq + 1;
        let content = Content {
            seq,
            time_ns: self.time_ns,
            session: self.session.as_deref().unwrap_or_default(),
            call: self.call.unwrap_or_default(),
            kind: self.kind,
            body: &self.body,
        };
        Tip {
            seq,
            hash: content.hash(tip.hash),
        }
    }

    /// The body as a text value, without a copy.
    pub(crate) fn body_sql(&self) -> ToSqlOutput<'_> {
        ToSqlOutput::Borrowed(ValueRef::Text(&self.body))
    }
}

/// Whether arrays and objects of some JSON are nested deeper than `bound`.
fn is_deeper_than(json: &[u8], bound: usize) -> bool {
    let opens = |byte: u8| byte == b'{' || byte == b'[';
    // Nearly every body ends here: it has not even that many brackets.
    if json.iter().filter(|&&byte| opens(byte)).count() <= bound {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'}' | b']' => depth = depth.saturating_sub(1),
            byte if opens(byte) => depth += 1,
            _ => {}
        }
        if depth > bound {
            return true;
        }
    }
    false
}

/// A row as it was found, which may be nothing that was ever written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'r> {
    pub(crate) content: Content<'r>,
    /// The columns as they are, to tell an empty text from none.
    session: Option<&'r str>,
    call: Option<&'r str>,
    pub(crate) severity: i64,
    pub(crate) prev_hash: ChainHash,
    pub(crate) hash: ChainHash,
}

impl<'r> Stored<'r> {
    /// Takes the columns [`COLUMNS`].
    pub(crate) fn from_row(row: &'r Row<'_>) -> Result<Self, RowFault> {
        let integer = |index, name| row.get::<_, i64>(index).map_err(|_| RowFault::Column(name));
        let text = |index, name| -> Result<Option<&'r str>, RowFault> {
            row.get_ref(index)
                .ok()
                .and_then(|value| value.as_str_or_null().ok())
                .ok_or(RowFault::Column(name))
        };
        let hash = |index, name| -> Result<ChainHash, RowFault> {
            let bytes = row.get_ref(index).ok().and_then(|value| value.as_blob().ok());
            bytes
                .and_then(|bytes| bytes.try_into().ok())
                .map(ChainHash)
                .ok_or(RowFault::Column(name))
        };
        let (session, call) = (text(2, "session")?, text(3, "call")?);
        let content = Content {
            seq: u64::try_from(integer(0, "seq")?).map_err(|_| RowFault::Column("seq"))?,
            time_ns: u64::try_from(integer(1, "time_ns")?).map_err(|_| RowFault::Column("time_ns"))?,
            session: session.unwrap_or_default(),
            call: call.unwrap_or_default(),
            kind: text(4, "kind")?.ok_or(RowFault::Column("kind"))?,
            body: text(8, "body")?.ok_or(RowFault::Column("body"))?.as_bytes(),
        };
        Ok(Self {
            content,
            session,
            call,
            severity: integer(5, "severity")?,
            prev_hash: hash(6, "prev_hash")?,
            hash: hash(7, "hash")?,
        })
    }

    /// The draft that was recorded here.
    pub(crate) fn draft(&self) -> Result<Draft, RowFault> {
        Ok(Draft {
            time_ns: self.content.time_ns,
            session: self
                .session
                .map(str::parse)
                .transpose()
                .map_err(RowFault::Session)?,
            call: self.call.map(CallId::new).transpose().map_err(RowFault::Call)?,
            body: decode_body(self.content.body)?,
        })
    }

    /// The record that was written here.
    pub(crate) fn record(&self) -> Result<Record, RowFault> {
        Ok(Record {
            seq: self.content.seq,
            draft: self.draft()?,
            prev_hash: self.prev_hash.to_string(),
            hash: self.hash.to_string(),
        })
    }

    /// Whether the row's own hash is the hash of its content.
    pub(crate) fn is_sealed(&self) -> bool {
        self.content.hash(self.prev_hash) == self.hash
    }

    pub(crate) fn tip(&self) -> Tip {
        Tip {
            seq: self.content.seq,
            hash: self.hash,
        }
    }
}

/// Reads a stored body.
fn decode_body(body: &[u8]) -> Result<RecordBody, RowFault> {
    serde_json::from_slice(body).map_err(RowFault::Body)
}

/// Reads the record that the columns [`COLUMNS`] of `row` hold.
pub(crate) fn read_record(path: &Path, row: &Row<'_>) -> Result<Record, LedgerError> {
    Stored::from_row(row)
        .and_then(|stored| stored.record())
        .map_err(|fault| LedgerError::Row {
            path: path.to_owned(),
            seq: row.get::<_, i64>(0).map(unstored).unwrap_or_default(),
            fault,
        })
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::record::RecordBody;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inside, level| {
            if level % 2 == 0 {
                json!([inside])
            } else {
                json!({ "[": inside })
            }
        })
    }

    fn call(input: &Value) -> Draft {
        let body = json!({
            "kind": "tool_call", "tool": "Bash", "call_kind": {"kind": "other"}, "input": input, "facts": {},
            "decision": {"verdict": "ask", "severity": "LOW", "reason": "r", "policy": "p", "enforced": true},
            "decision_us": 1, "binding": {"state": "no_agent"},
        });
        // Not through the decoder, whose own bound is under test.
        let RecordBody::ToolCall {
            tool,
            call_kind,
            facts,
            decision,
            decision_us,
            binding,
            ..
        } = serde_json::from_value(body).unwrap()
        else {
            unreachable!("a tool call")
        };
        let input = input.clone();
        let body = RecordBody::ToolCall {
            tool,
            call_kind,
            input,
            facts,
            decision,
            decision_us,
            binding,
            posture: None,
        };
        Draft {
            time_ns: 1,
            session: None,
            call: None,
            body,
        }
    }

    #[test]
    fn the_deepest_body_that_is_taken_can_be_read_back() {
        let deepest = call(&nested(MAX_BODY_DEPTH - 1));
        let encoded = Encoded::new(0, &deepest).unwrap();
        assert_eq!(decode_body(&encoded.body).unwrap(), deepest.body);
        let error = Encoded::new(4, &call(&nested(MAX_BODY_DEPTH))).unwrap_err();
        assert!(matches!(error, LedgerError::Refused { index: 4, .. }), "{error}");
        assert!(error.to_string().contains("record 5"), "{error}");
    }

    #[test]
    fn brackets_in_strings_and_side_by_side_are_not_depth() {
        assert!(Encoded::new(0, &call(&json!("[{\\\"".repeat(500)))).is_ok());
        assert!(Encoded::new(0, &call(&json!(vec![json!([]); 500]))).is_ok());
    }

    #[test]
    fn a_body_over_the_bound_and_a_time_out_of_range_are_refused() {
        let large = call(&json!("x".repeat(MAX_BODY_BYTES)));
        assert!(
            Encoded::new(0, &large)
                .unwrap_err()
                .to_string()
                .contains("4194304")
        );
        let late = Draft {
            time_ns: 1 << 63,
            ..call(&json!(1))
        };
        assert!(Encoded::new(0, &late).unwrap_err().to_string().contains("2262"));
        assert!(
            Encoded::new(
                0,
                &Draft {
                    time_ns: (1 << 63) - 1,
                    ..late
                }
            )
            .is_ok()
        );
    }

    #[test]
    fn severities_keep_their_order_as_numbers() {
        let all = [
            Severity::None,
            Severity::Low,
            Severity::Medium,
            Severity::High,
            Severity::Critical,
        ];
        assert!(all.is_sorted_by_key(|severity| severity_rank(*severity)));
        assert_eq!(
            all.map(|severity| severity_from(severity_rank(severity))),
            all.map(Some)
        );
        assert_eq!(severity_from(5), None);
        assert_eq!(severity_from(-1), None);
    }

    proptest! {
        /// The decoder gives a record or a fault for any bytes at all.
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(body) = decode_body(&bytes) {
                prop_assert!(KINDS.contains(&body.kind()));
            }
        }

        /// One changed byte in a real body never panics, and what still decodes encodes to something that decodes to the same.
        #[test]
        fn a_changed_byte_decodes_or_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut body = serde_json::to_vec(&call(&json!({"command": "ls -l", "n": [1, -2, 0.5, null]})).body).unwrap();
            let at = at.index(body.len());
            body[at] = byte;
            if let Ok(decoded) = decode_body(&body) {
                let again = serde_json::to_vec(&decoded).unwrap();
                prop_assert_eq!(decode_body(&again).unwrap(), decoded);
            }
        }

        /// The depth that we count is the depth at which the decoder gives up.
        #[test]
        fn the_depth_bound_is_the_decoders(text in r#"[\[\]{}"\\a:,]{0,300}"#) {
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert!(!is_deeper_than(text.as_bytes(), MAX_BODY_DEPTH));
            }
        }
    }
}
