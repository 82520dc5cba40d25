//! What the gateway says of itself.

use std::time::Instant;

use defenseclaw_model::api::Status;

use crate::bundle::Bundles;
use crate::engine::Engine;

/// The present state.
pub fn status(engine: &Engine, started: Instant) -> Status {
    // Not in the middle of the rest, which takes locks of its own.
    let open_sessions = engine.sessions().count() as u64;
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: started.elapsed().as_secs(),
        mode: engine.mode(),
        policy: engine.rules().current().policy.revision().to_owned(),
        ledger: engine.ledger().status(),
        agent: engine.agent().status(),
        rss_kib: std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|text| rss_kib(&text))
            .unwrap_or(0),
        open_sessions,
        hooks: engine.counters().read(),
        sandboxes: engine.sandboxed(),
        gate: Some(engine.admissions().status()),
        bundle: engine.rules().bundles().map(Bundles::status),
        packages: Some(engine.packages().status()),
    }
}

/// `VmRSS` in `/proc/PID/status`, which the kernel gives in KiB whatever its page size.
fn rss_kib(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_kib() {
        assert_eq!(
            rss_kib("Name:\tx\nVmRSS:\t    9812 kB\nRssAnon:\t 1 kB\n"),
            Some(9812)
        );
        assert_eq!(rss_kib("Name:\tx\n"), None);
        assert!(rss_kib(&std::fs::read_to_string("/proc/self/status").unwrap()).unwrap() > 100);
    }
}
