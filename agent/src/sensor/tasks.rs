//! Every process with its exact start time, through the `iter/task` program: `/proc` gives start times in clock ticks only.

use std::io::Read;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use defenseclaw_abi::TaskRecord;

use super::load::SensorError;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Thread-group id.
    pub tgid: u32,
    /// Thread-group id of the real parent.
    pub ppid: u32,
    /// `start_boottime`, ns since boot.
    pub start_ns: u64,
}

/// Name of the program and of its link.
pub(super) const PROGRAM: &str = "list_tasks";

/// Runs the iterator once.
pub(super) fn list(pins: &Path) -> Result<Vec<Task>, SensorError> {
    let failed = |reason: String| SensorError::Tasks { reason };
    let link =
        PinnedLink::from_pin(pins.join("links").join(PROGRAM)).map_err(|error| failed(error.to_string()))?;
    let link = aya::programs::iter::IterLink::try_from(FdLink::from(link))
        .map_err(|error| failed(error.to_string()))?;
    let mut file = link.into_file().map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| failed(error.to_string()))?;
    Ok(bytes.chunks_exact(size_of::<TaskRecord>()).map(decode).collect())
}

/// `start_ns` u64, `tgid` u32, `ppid` u32: the layout of [`TaskRecord`].
fn decode(chunk: &[u8]) -> Task {
    let word = |at: usize| {
        let mut bytes = [0u8; 4];
        bytes.copy_from_slice(&chunk[at..at + 4]);
        u32::from_ne_bytes(bytes)
    };
    let mut start = [0u8; 8];
    start.copy_from_slice(&chunk[..8]);
    Task {
        start_ns: u64::from_ne_bytes(start),
        tgid: word(8),
        ppid: word(12),
    }
}
