//! Counters in the form that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use defenseclaw_model::api::Status;

/// Upper bounds of the hook histogram's buckets (µs): from below the usual time to the hook client's own deadline.
const BUCKETS_US: [u64; 12] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 3_000_000,
];

/// What is counted here and nowhere else.
#[derive(Debug, Default)]
pub struct Metrics {
    hooks: [AtomicU64; BUCKETS_US.len() + 1],
    hooks_us: AtomicU64,
    /// Requests other than hooks, by the first digit of their status.
    requests: [AtomicU64; 6],
    refused: AtomicU64,
}

/// What stands at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Calls that wait for a person.
    pub approvals_waiting: usize,
    /// Event streams that are open.
    pub streams: usize,
}

impl Metrics {
    /// A hook was answered after that time.
    pub fn hook(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|&bound| bound < us);
        self.hooks[bucket].fetch_add(1, Ordering::Relaxed);
        self.hooks_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Another request was answered with that status.
    pub fn request(&self, status: u16) {
        let class = usize::from(status / 100).min(self.requests.len() - 1);
        self.requests[class].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was refused because its user has too many.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything, as text.
    pub fn render(&self, status: &Status, gauges: &Gauges) -> String {
        let mut page = Page::default();
        let version = format!("version=\"{}\",policy=\"{}\"", status.version, status.policy);
        page.one(
            "build_info",
            "gauge",
            "The gateway's version and policy",
            &[(&version, 1)],
        );
        page.plain(
            "uptime_seconds",
            "gauge",
            "Since the gateway started",
            status.uptime_s,
        );
        page.plain(
            "resident_memory_kibibytes",
            "gauge",
            "Memory of the gateway",
            status.rss_kib,
        );
        let hooks = status.hooks;
        page.one(
            "hooks_total",
            "counter",
            "Hook requests by outcome",
            &[
                ("outcome=\"allow\"", hooks.allowed),
                ("outcome=\"ask\"", hooks.asked),
                ("outcome=\"deny\"", hooks.denied),
                ("outcome=\"bad\"", hooks.bad),
                ("outcome=\"failed\"", hooks.failed),
            ],
        );
        self.hook_times(&mut page);
        let class = |digit: usize| self.requests[digit].load(Ordering::Relaxed);
        page.one(
            "requests_total",
            "counter",
            "Other requests by class of status",
            &[
                ("status=\"2xx\"", class(2)),
                ("status=\"4xx\"", class(4)),
                ("status=\"5xx\"", class(5)),
            ],
        );
        let refused = self.refused.load(Ordering::Relaxed);
        page.plain(
            "connections_refused_total",
            "counter",
            "Connections of users who had too many",
            refused,
        );
        page.plain(
            "sessions_open",
            "gauge",
            "Sessions that have not ended",
            status.open_sessions,
        );
        page.plain(
            "approvals_waiting",
            "gauge",
            "Calls that wait for a person",
            gauges.approvals_waiting as u64,
        );
        page.plain(
            "event_streams",
            "gauge",
            "Event streams that are open",
            gauges.streams as u64,
        );
        page.plain(
            "ledger_records",
            "gauge",
            "Records in the ledger",
            status.ledger.records,
        );
        let failing = u64::from(status.ledger.error.is_some());
        page.plain(
            "ledger_failing",
            "gauge",
            "Whether appends to the ledger fail at present",
            failing,
        );
        gate(&mut page, status);
        agent(&mut page, status);
        page.0
    }

    fn hook_times(&self, page: &mut Page) {
        let name = "hook_duration_seconds";
        page.head(name, "histogram", "From a hook request's arrival to its answer");
        let mut below = 0;
        for (bucket, count) in self.hooks.iter().enumerate() {
            below += count.load(Ordering::Relaxed);
            let bound = match BUCKETS_US.get(bucket) {
                Some(&us) => seconds(us),
                None => "+Inf".to_owned(),
            };
            page.line(
                &format!("{name}_bucket"),
                &format!("le=\"{bound}\""),
                &below.to_string(),
            );
        }
        page.line(
            &format!("{name}_sum"),
            "",
            &seconds(self.hooks_us.load(Ordering::Relaxed)),
        );
        page.line(&format!("{name}_count"), "", &below.to_string());
    }
}

fn gate(page: &mut Page, status: &Status) {
    let Some(gate) = &status.gate else { return };
    page.one(
        "artifacts_admitted_total",
        "counter",
        "Artifacts that were asked about, by answer",
        &[
            ("action=\"allow\"", gate.allowed),
            ("action=\"warn\"", gate.warned),
            ("action=\"block\"", gate.blocked),
        ],
    );
    page.plain(
        "artifacts_unscanned_total",
        "counter",
        "Of these, answered by fail mode because there was no scan",
        gate.unscanned,
    );
    page.plain(
        "artifacts_quarantined",
        "gauge",
        "Artifacts in quarantine",
        gate.quarantined,
    );
}

fn agent(page: &mut Page, status: &Status) {
    let connected = u64::from(status.agent.is_some());
    page.plain(
        "agent_connected",
        "gauge",
        "Whether the agent is connected: without it only hooks are in force",
        connected,
    );
    let Some(agent) = &status.agent else { return };
    page.plain(
        "agent_backlog",
        "gauge",
        "Records that wait in the agent",
        agent.backlog,
    );
    page.plain(
        "labelled_processes",
        "gauge",
        "Processes that belong to a session",
        agent.labelled_processes,
    );
    let counters = &agent.counters;
    page.one(
        "kernel_events_total",
        "counter",
        "Records taken from the kernel",
        &[
            ("ring=\"security\"", counters.security_events),
            ("ring=\"telemetry\"", counters.telemetry_events),
        ],
    );
    page.one(
        "kernel_events_lost_total",
        "counter",
        "Records that the kernel could not deliver, by cause",
        &[
            ("cause=\"security_ring_full\"", counters.security_ring_full),
            ("cause=\"telemetry_ring_full\"", counters.telemetry_ring_full),
            ("cause=\"label_map_full\"", counters.label_map_full),
            ("cause=\"read_fault\"", counters.read_faults),
            ("cause=\"program_missed\"", counters.program_misses),
            ("cause=\"agent_overflow\"", counters.agent_overflow),
            ("cause=\"undecodable\"", counters.undecodable),
        ],
    );
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The text, line by line. Every name gets our prefix.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP defenseclaw_{name} {help}\n# TYPE defenseclaw_{name} {kind}"
        );
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(self.0, "defenseclaw_{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
        self.head(name, kind, help);
        for (labels, value) in values {
            self.line(name, labels, &value.to_string());
        }
    }

    fn plain(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.one(name, kind, help, &[("", value)]);
    }
}
