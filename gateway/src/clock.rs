//! The time that records carry.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, ns since the Unix epoch; 0 on a clock that is before it.
pub fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
