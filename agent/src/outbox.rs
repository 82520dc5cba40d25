//! Records on their way to the gateway: kept until the gateway says that they are in the ledger.

use std::collections::VecDeque;

use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::wire::{Cursor, MAX_BATCH, ToGateway};

/// Most records that wait for a gateway that is away. About 40 MiB of ordinary ones; what comes after is counted, and
/// the gap is a record.
pub const MAX_BACKLOG: usize = 50_000;

/// The outbox.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<(Draft, Cursor)>,
    /// Number of records at the front that were sent and not acknowledged.
    in_flight: usize,
    /// Number of the batch in flight, or of the last one.
    batch: u64,
    overflow: u64,
    unreported: u64,
}

impl Outbox {
    /// Adds a record. `cursor` is the position in the kernel's streams once the record is in the ledger.
    pub fn push(&mut self, draft: Draft, cursor: Cursor) {
        if self.waiting.len() >= MAX_BACKLOG {
            self.overflow += 1;
            self.unreported += 1;
        } else {
            self.waiting.push_back((draft, cursor));
        }
    }

    /// Records waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Records lost because the backlog was full.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The connection was made: what the ledger has is dropped, what was in flight is sent again.
    pub fn connected(&mut self, last_batch: u64) {
        if self.in_flight > 0 && self.batch <= last_batch {
            self.waiting.drain(..self.in_flight);
        }
        self.in_flight = 0;
        self.batch = last_batch;
    }

    /// The next batch, unless one is in flight or nothing waits.
    pub fn next_batch(&mut self, time_ns: u64) -> Option<ToGateway> {
        if self.in_flight > 0 || self.waiting.is_empty() {
            return None;
        }
        self.report_overflow(time_ns);
        let count = self.waiting.len().min(MAX_BATCH);
        self.in_flight = count;
        self.batch += 1;
        let cursor = self
            .waiting
            .get(count - 1)
            .map(|(_, cursor)| *cursor)
            .unwrap_or_default();
        let records = self
            .waiting
            .iter()
            .take(count)
            .map(|(draft, _)| draft.clone())
            .collect();
        Some(ToGateway::Batch {
            batch: self.batch,
            records,
            cursor,
        })
    }

    /// The gateway has the batch.
    pub fn acknowledged(&mut self, batch: u64) {
        if batch == self.batch && self.in_flight > 0 {
            self.waiting.drain(..self.in_flight);
            self.in_flight = 0;
        }
    }

    /// Turns what was lost since the last report into a record of its own, as soon as there is room.
    fn report_overflow(&mut self, time_ns: u64) {
        if self.unreported == 0 || self.waiting.len() >= MAX_BACKLOG {
            return;
        }
        let missing = std::mem::take(&mut self.unreported);
        let cursor = self.waiting.back().map(|(_, cursor)| *cursor).unwrap_or_default();
        let body = RecordBody::Gap {
            cause: "agent_overflow".into(),
            missing: Some(missing),
            detail: format!("the gateway was away and more than {MAX_BACKLOG} records waited"),
        };
        self.waiting.push_back((
            Draft {
                time_ns,
                session: None,
                call: None,
                body,
            },
            cursor,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(n: u64) -> Draft {
        Draft {
            time_ns: n,
            session: None,
            call: None,
            body: RecordBody::Stop {},
        }
    }

    fn times(frame: Option<ToGateway>) -> (u64, Vec<u64>) {
        match frame {
            Some(ToGateway::Batch { batch, records, .. }) => {
                (batch, records.iter().map(|r| r.time_ns).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_stays_until_it_is_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.push(draft(1), Cursor::default());
        assert_eq!(times(outbox.next_batch(0)), (1, vec![1]));
        outbox.push(draft(2), Cursor::default());
        assert!(outbox.next_batch(0).is_none(), "one at a time");
        // The connection broke before the gateway appended it.
        outbox.connected(0);
        assert_eq!(times(outbox.next_batch(0)), (1, vec![1, 2]));
        outbox.acknowledged(1);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_batch_that_the_ledger_has_is_not_sent_again() {
        let mut outbox = Outbox::default();
        outbox.push(draft(1), Cursor::default());
        outbox.next_batch(0);
        outbox.push(draft(2), Cursor::default());
        // Appended, but the acknowledgement was lost.
        outbox.connected(1);
        assert_eq!(times(outbox.next_batch(0)), (2, vec![2]));
    }

    #[test]
    fn what_does_not_fit_becomes_a_gap() {
        let mut outbox = Outbox::default();
        for n in 0..MAX_BACKLOG as u64 + 3 {
            outbox.push(draft(n), Cursor::default());
        }
        assert_eq!((outbox.len(), outbox.overflow()), (MAX_BACKLOG, 3));
        outbox.next_batch(0);
        outbox.acknowledged(1);
        outbox.next_batch(7);
        let gap = outbox.waiting.back().map(|(draft, _)| draft.body.clone());
        assert!(matches!(gap, Some(RecordBody::Gap { missing: Some(3), .. })));
    }
}
