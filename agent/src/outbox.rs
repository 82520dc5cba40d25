//! Records on their way to the gateway: kept until the gateway says that they are in the ledger.

use std::collections::VecDeque;

use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::wire::{Cursor, MAX_BATCH, MAX_UNACKNOWLEDGED, ToGateway};

/// Most records that wait for a gateway that is away. About 40 MiB of ordinary ones; what comes after is counted, and
/// the gap is a record.
pub const MAX_BACKLOG: usize = 50_000;

/// The outbox.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<(Draft, Cursor)>,
    /// The batches that were sent and not acknowledged, oldest first: number, and how many of the records at the front.
    in_flight: VecDeque<(u64, usize)>,
    /// Number of the batch that was sent last.
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
        self.acknowledged(last_batch);
        self.in_flight.clear();
        self.batch = last_batch;
    }

    /// The next batch, unless as many as may be are in flight or nothing waits.
    pub fn next_batch(&mut self, time_ns: u64) -> Option<ToGateway> {
        let sent: usize = self.in_flight.iter().map(|(_, count)| count).sum();
        if self.in_flight.len() >= MAX_UNACKNOWLEDGED || self.waiting.len() <= sent {
            return None;
        }
        self.report_overflow(time_ns);
        let end = self.waiting.len().min(sent + MAX_BATCH);
        self.batch += 1;
        self.in_flight.push_back((self.batch, end - sent));
        let cursor = self
            .waiting
            .get(end - 1)
            .map(|(_, cursor)| *cursor)
            .unwrap_or_default();
        let records = self
            .waiting
            .range(sent..end)
            .map(|(draft, _)| draft.clone())
            .collect();
        Some(ToGateway::Batch {
            batch: self.batch,
            records,
            cursor,
        })
    }

    /// The gateway has the batch, and those before it.
    pub fn acknowledged(&mut self, batch: u64) {
        while let Some((_, count)) = self.in_flight.pop_front_if(|(number, _)| *number <= batch) {
            self.waiting.drain(..count);
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
        assert!(outbox.next_batch(0).is_none(), "all is under way");
        outbox.push(draft(2), Cursor::default());
        assert_eq!(times(outbox.next_batch(0)), (2, vec![2]));
        // The connection broke before the gateway appended them.
        outbox.connected(0);
        assert_eq!(times(outbox.next_batch(0)), (1, vec![1, 2]));
        outbox.acknowledged(1);
        assert!(outbox.is_empty());
    }

    #[test]
    fn only_so_many_batches_are_under_way() {
        let mut outbox = Outbox::default();
        for n in 0..=MAX_UNACKNOWLEDGED as u64 {
            outbox.push(draft(n), Cursor::default());
            outbox.next_batch(0);
        }
        assert_eq!(outbox.len(), MAX_UNACKNOWLEDGED + 1);
        outbox.acknowledged(2);
        assert_eq!(outbox.len(), MAX_UNACKNOWLEDGED - 1);
        let last = MAX_UNACKNOWLEDGED as u64;
        assert_eq!(times(outbox.next_batch(0)), (last + 1, vec![last]));
    }

    #[test]
    fn a_batch_that_the_ledger_has_is_not_sent_again() {
        let mut outbox = Outbox::default();
        outbox.push(draft(1), Cursor::default());
        outbox.next_batch(0);
        outbox.push(draft(2), Cursor::default());
        outbox.next_batch(0);
        outbox.push(draft(3), Cursor::default());
        // The first was appended, but the acknowledgement was lost; so was the second.
        outbox.connected(1);
        assert_eq!(times(outbox.next_batch(0)), (2, vec![2, 3]));
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
