//! Decisions and records, read from the ledger.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use defenseclaw_audit::Reader;
use defenseclaw_model::decision::{Severity, Verdict};
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::{Record, RecordBody};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Problem};
use crate::clock;

/// Records in an answer where the request does not say.
const USUAL: usize = 100;
/// Most records in an answer.
const MOST: usize = 1_000;
/// Most bytes of records in an answer: the newest go first. A single record can have 4 MiB.
const MAX_BYTES: usize = 8 << 20;
/// Most records that are looked through for one answer, the newest: a few tens of milliseconds.
const MAX_LOOKED: usize = 20_000;

/// Which decisions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionsQuery {
    /// Not before: ns since the Unix epoch, or how long ago (`10m`, `2h`, `3d`).
    since: Option<String>,
    /// Of that session, written `connector/id`.
    session: Option<SessionId>,
    /// At least that severe.
    severity: Option<Severity>,
    /// With that verdict.
    verdict: Option<Verdict>,
    /// After that record.
    after: Option<u64>,
    /// At most that many of the newest (100 where it is not given, 1000 at most).
    limit: Option<usize>,
}

/// Answer of `GET /v1/decisions`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Decisions {
    /// Records of tool calls, the oldest first.
    records: Vec<Record>,
    /// Whether older ones matched too, or may have: the answer is bounded in number and bytes, and so is how far it looks.
    more: bool,
}

pub(super) async fn decisions(
    State(api): State<Arc<Api>>,
    query: Result<Query<DecisionsQuery>, QueryRejection>,
) -> Result<Json<Decisions>, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad(error.body_text()))?;
    let limit = query.limit.unwrap_or(USUAL);
    if limit == 0 || limit > MOST {
        return Err(Problem::bad(format!("limit is 1 to {MOST}")));
    }
    let since_ns = query.since.as_deref().map(since).transpose()?;
    let asked = defenseclaw_audit::Query {
        since_ns,
        session: query.session,
        min_severity: query.severity,
        kinds: vec!["tool_call".to_owned()],
        after_seq: query.after,
        newest: Some(if query.verdict.is_some() {
            MAX_LOOKED
        } else {
            limit + 1
        }),
        ..defenseclaw_audit::Query::default()
    };
    let path = api.engine.ledger().path().to_owned();
    let found = api
        .helped(move || Ok(newest(&Reader::open(&path)?, &asked, query.verdict, limit)?))
        .await?;
    Ok(Json(found))
}

/// The newest that match, within the bounds.
fn newest(
    reader: &Reader,
    query: &defenseclaw_audit::Query,
    verdict: Option<Verdict>,
    limit: usize,
) -> Result<Decisions, defenseclaw_audit::LedgerError> {
    let mut kept = std::collections::VecDeque::new();
    let (mut bytes, mut looked, mut more) = (0, 0, false);
    reader.visit(query, |record| {
        looked += 1;
        let wanted = match (&record.draft.body, verdict) {
            (RecordBody::ToolCall { decision, .. }, Some(verdict)) => decision.verdict == verdict,
            _ => true,
        };
        if wanted {
            let size = weight(&record);
            bytes += size;
            kept.push_back((size, record));
        }
        while kept.len() > limit || (bytes > MAX_BYTES && kept.len() > 1) {
            more = true;
            bytes -= kept.pop_front().map_or(0, |(size, _)| size);
        }
        ControlFlow::Continue(())
    })?;
    Ok(Decisions {
        records: kept.into_iter().map(|(_, record)| record).collect(),
        more: more || looked >= MAX_LOOKED,
    })
}

/// Its size as JSON (bytes).
pub(super) fn weight(record: &Record) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What was read from the ledger can be written; were it not, it would not be sent either.
    let _ = serde_json::to_writer(&mut count, record);
    count.0
}

/// An instant, or how long ago.
fn since(text: &str) -> Result<u64, Problem> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let unknown = || {
        Problem::bad(format!(
            "since={text:?} is no time: give ns since the Unix epoch, or how long ago, as 90s, 10m, 2h or 3d"
        ))
    };
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(unknown)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(unknown()),
    };
    let number: u64 = number.parse().map_err(|_| unknown())?;
    let ago = number.saturating_mul(seconds).saturating_mul(1_000_000_000);
    Ok(clock::now_ns().saturating_sub(ago))
}

pub(super) async fn record(
    State(api): State<Arc<Api>>,
    seq: Result<Path<u64>, PathRejection>,
) -> Result<Json<Record>, Problem> {
    let Path(seq) = seq.map_err(|_| Problem::bad("a record is named by its number, from 1"))?;
    let path = api.engine.ledger().path().to_owned();
    let record = api.helped(move || Ok(Reader::open(&path)?.get(seq)?)).await?;
    record
        .map(Json)
        .ok_or_else(|| Problem::missing(format!("the ledger has no record {seq}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_how_long_ago() {
        assert_eq!(since("1700000000000000000").unwrap(), 1_700_000_000_000_000_000);
        let hour = clock::now_ns() - since("1h").unwrap();
        assert!((3_599_000_000_000..3_601_000_000_000).contains(&hour), "{hour}");
        assert_eq!(since("99999999999999d").unwrap(), 0);
        for wrong in ["", "h", "yesterday", "1w", "-1h", "1é"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
