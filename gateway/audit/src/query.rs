//! Which records, and by which index they are found.

use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::{CallId, SessionId};
use rusqlite::types::Value;

use crate::row::{COLUMNS, severity_rank, stored};

/// Which records. Everything that is given must hold; the default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Not before this time, ns since the Unix epoch.
    pub since_ns: Option<u64>,
    /// Not after this time, ns since the Unix epoch.
    pub until_ns: Option<u64>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this call. A call id is unique within its session only.
    pub call: Option<CallId>,
    /// Of at least this severity.
    pub min_severity: Option<Severity>,
    /// Of one of these [`KINDS`](crate::KINDS); empty means any.
    pub kinds: Vec<String>,
    /// Further on in the chain than this place.
    pub after_seq: Option<u64>,
    /// Only the newest so many of all that match.
    pub newest: Option<usize>,
    /// At most so many: the first that match, or together with `newest` the lesser number of the newest.
    pub limit: Option<usize>,
}

/// A query as SQL with its parameters.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Value>,
}

impl Query {
    /// The index is chosen here and not by SQLite, which keeps no statistics of a file that only grows: the condition that
    /// usually leaves the fewest records goes first. The chosen records are found as numbers and only then read, so that
    /// sorting never moves bodies.
    pub(crate) fn statement(&self) -> Statement {
        let mut parameters = Vec::new();
        let mut conditions: Vec<String> = Vec::new();
        let mut with = |condition: &str, value: Value| {
            parameters.push(value);
            conditions.push(format!("{condition} ?{}", parameters.len()));
        };
        if let Some(call) = &self.call {
            with("call =", Value::Text(call.to_string()));
        }
        if let Some(session) = &self.session {
            with("session =", Value::Text(session.to_string()));
        }
        if let Some(severity) = self.min_severity.filter(|severity| *severity > Severity::None) {
            // The first half is what the index was made with; SQLite does not infer it.
            with(
                "severity > 0 AND severity >=",
                Value::Integer(severity_rank(severity)),
            );
        }
        if let Some(since) = self.since_ns {
            with("time_ns >=", Value::Integer(clamped(since)));
        }
        if let Some(until) = self.until_ns {
            with("time_ns <=", Value::Integer(clamped(until)));
        }
        if let Some(after) = self.after_seq {
            with("seq >", Value::Integer(clamped(after)));
        }
        if !self.kinds.is_empty() {
            let first = parameters.len() + 1;
            parameters.extend(self.kinds.iter().map(|kind| Value::Text(kind.clone())));
            let marks: Vec<String> = (first..=parameters.len())
                .map(|number| format!("?{number}"))
                .collect();
            conditions.push(format!("kind IN ({})", marks.join(", ")));
        }
        let filter = if conditions.is_empty() {
            "true".to_owned()
        } else {
            conditions.join(" AND ")
        };
        let index = self
            .index()
            .map_or("NOT INDEXED".to_owned(), |index| format!("INDEXED BY {index}"));
        let order = if self.newest.is_some() { "seq DESC" } else { "seq" };
        let bound = match (self.newest, self.limit) {
            (Some(newest), Some(limit)) => Some(newest.min(limit)),
            (newest, limit) => newest.or(limit),
        };
        parameters.push(Value::Integer(bound.map_or(-1, |bound| clamped(bound as u64))));
        let limit = parameters.len();
        let sql = if self.newest.is_none() && self.index().is_none() {
            format!("SELECT {COLUMNS} FROM record NOT INDEXED WHERE {filter} ORDER BY seq LIMIT ?{limit}")
        } else {
            format!(
                "SELECT {COLUMNS} FROM record WHERE seq IN \
                 (SELECT seq FROM record {index} WHERE {filter} ORDER BY {order} LIMIT ?{limit}) ORDER BY seq"
            )
        };
        Statement { sql, parameters }
    }

    /// The index to go by; `None` for the table itself, in the order of the chain.
    fn index(&self) -> Option<&'static str> {
        if self.call.is_some() {
            Some("record_by_call")
        } else if self.session.is_some() {
            Some("record_by_session")
        } else if self
            .min_severity
            .is_some_and(|severity| severity > Severity::None)
        {
            Some("record_by_severity")
        } else if self.after_seq.is_some() {
            // Whoever follows the chain asks for its last few records: nothing is quicker.
            None
        } else if self.since_ns.is_some() || self.until_ns.is_some() {
            Some("record_by_time")
        } else if !self.kinds.is_empty() {
            Some("record_by_kind")
        } else {
            None
        }
    }
}

/// No record lies past what SQLite's integers hold.
fn clamped(number: u64) -> i64 {
    stored(number.min(i64::MAX.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::config::Durability;
    use rusqlite::{Connection, params_from_iter};

    use super::*;

    /// What SQLite says it will do, one step per line.
    fn plan(conn: &Connection, query: &Query) -> String {
        let Statement { sql, parameters } = query.statement();
        let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain
            .query_map(params_from_iter(parameters), |row| row.get::<_, String>(3))
            .unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_condition_is_met_by_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        drop(crate::Ledger::open(&path, Durability::Process).unwrap());
        let conn = Connection::open(&path).unwrap();
        let everything = Query {
            since_ns: Some(1),
            until_ns: Some(2),
            session: Some(SessionId::new("a", "b").unwrap()),
            call: Some(CallId::new("c").unwrap()),
            min_severity: Some(Severity::High),
            kinds: vec!["gap".into(), "daemon".into()],
            after_seq: Some(3),
            newest: None,
            limit: None,
        };
        let no_call = Query {
            call: None,
            ..everything.clone()
        };
        let no_session = Query {
            session: None,
            ..no_call.clone()
        };
        let no_severity = Query {
            min_severity: None,
            ..no_session.clone()
        };
        let time = Query {
            after_seq: None,
            ..no_severity.clone()
        };
        let kinds = Query {
            since_ns: None,
            until_ns: None,
            ..time.clone()
        };
        for (query, index) in [
            (&everything, "INDEX record_by_call (call=?"),
            (&no_call, "INDEX record_by_session (session=?"),
            (&no_session, "INDEX record_by_severity (severity>?"),
            (&no_severity, "INTEGER PRIMARY KEY (rowid>?"),
            (&time, "INDEX record_by_time (time_ns>? AND time_ns<?"),
            (&kinds, "COVERING INDEX record_by_kind (kind=?"),
        ] {
            for newest in [None, Some(10)] {
                let plan = plan(
                    &conn,
                    &Query {
                        newest,
                        ..query.clone()
                    },
                );
                assert!(plan.contains(index), "{query:?}\n{plan}");
                assert!(!plan.contains("SCAN record"), "{query:?}\n{plan}");
            }
        }
    }

    #[test]
    fn nothing_is_sorted_where_the_chain_already_has_the_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        drop(crate::Ledger::open(&path, Durability::Process).unwrap());
        let conn = Connection::open(&path).unwrap();
        let session = Some(SessionId::new("a", "b").unwrap());
        let call = Some(CallId::new("c").unwrap());
        for query in [
            Query::default(),
            Query {
                newest: Some(5),
                ..Query::default()
            },
            Query {
                after_seq: Some(5),
                since_ns: Some(9),
                ..Query::default()
            },
            Query {
                session,
                newest: Some(5),
                ..Query::default()
            },
            Query {
                call,
                limit: Some(5),
                ..Query::default()
            },
            Query {
                kinds: vec!["gap".into()],
                newest: Some(5),
                ..Query::default()
            },
        ] {
            let plan = plan(&conn, &query);
            assert!(!plan.contains("TEMP B-TREE"), "{query:?}\n{plan}");
        }
    }
}
