//! How hook requests were answered.

use std::sync::atomic::{AtomicU64, Ordering};

use defenseclaw_model::api::HookCounters;
use defenseclaw_model::decision::Verdict;

/// Counts since the gateway started.
#[derive(Debug, Default)]
pub struct Counters {
    allowed: AtomicU64,
    asked: AtomicU64,
    denied: AtomicU64,
    bad: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    /// An answer by decision; events that need none count as allowed.
    pub fn answered(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Allow => &self.allowed,
            Verdict::Ask => &self.asked,
            Verdict::Deny => &self.denied,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that was malformed, oversized or unknown.
    pub fn bad(&self) {
        self.bad.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer by fail mode because of a fault of ours.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub fn read(&self) -> HookCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HookCounters {
            allowed: read(&self.allowed),
            asked: read(&self.asked),
            denied: read(&self.denied),
            bad: read(&self.bad),
            failed: read(&self.failed),
        }
    }
}
