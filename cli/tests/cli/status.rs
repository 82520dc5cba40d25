//! `status` against a gateway of the test's own.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::common::{Answer, Host};
use defenseclaw_cli::view::View;
use defenseclaw_model::api::{BundleInForce, BundleStatus, GateStatus, HookCounters, LedgerStatus, Status};
use defenseclaw_model::decision::Mode;
use defenseclaw_model::wire::{AgentStatus, Counters, FamilyStatus, Tier};

fn status(agent: Option<AgentStatus>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        uptime_s: 11_520,
        mode: Mode::Observe,
        policy: "0123456789ab".to_owned(),
        ledger: LedgerStatus {
            path: "/var/lib/defenseclaw/ledger.db".to_owned(),
            records: 12_345,
            head: "ab".repeat(32),
            durability: "process".to_owned(),
            error: None,
        },
        agent,
        rss_kib: 21_913,
        open_sessions: 2,
        hooks: HookCounters {
            allowed: 1_000,
            asked: 3,
            denied: 12,
            bad: 0,
            failed: 0,
        },
        sandboxes: Vec::new(),
        gate: Some(gate()),
        packages: None,
        bundle: Some(bundle()),
    }
}

fn bundle() -> BundleStatus {
    BundleStatus {
        source: "https://policies.corp.example/workstations".to_owned(),
        group: "workstations".to_owned(),
        ring: 2,
        in_force: Some(BundleInForce {
            revision: 7,
            signer: "release@corp.example".to_owned(),
            content: "sha256:00".to_owned(),
            expires_ns: 1_800_000_000_000_000_000,
            expired: false,
        }),
        highest: 7,
        last: "refused".to_owned(),
        last_ns: 1_790_000_000_000_000_000,
        detail: "it would go back: its revision is 5, and 7 was accepted before".to_owned(),
        refused: 1,
        failed: 0,
    }
}

fn gate() -> GateStatus {
    GateStatus {
        tier: Tier::Fanotify,
        detail: "opens in 14 places wait; a canary open was refused".to_owned(),
        allowed: 31,
        warned: 4,
        blocked: 2,
        unscanned: 1,
        blocked_paths: 1,
        quarantined: 1,
        listed: 2,
        projects: 3,
    }
}

fn agent() -> AgentStatus {
    let family = |family: &str, tier, detail: &str| FamilyStatus {
        family: family.to_owned(),
        tier,
        detail: detail.to_owned(),
    };
    AgentStatus {
        kernel: "6.12.57-cloud-amd64".to_owned(),
        families: vec![
            family(
                "process",
                Tier::Observe,
                "exec, fork and exit tracepoints attached; a canary exec was seen",
            ),
            family(
                "file",
                Tier::Observe,
                "creations, writes and watched reads; a canary open was seen",
            ),
            family(
                "network",
                Tier::None,
                "the connect program cannot be loaded: EPERM",
            ),
        ],
        counters: Counters {
            security_events: 5_120,
            telemetry_events: 80_211,
            filtered: 44,
            ..Counters::default()
        },
        sessions: 2,
        labelled_processes: 14,
        backlog: 0,
        rss_kib: 18_650,
    }
}

/// The command's answer while a gateway answers one request with `body`.
fn ask(host: &Host, arguments: &[&str], body: &[u8]) -> Answer {
    let listener = UnixListener::bind(host.path().join("gateway.sock")).unwrap();
    let body = body.to_vec();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let got = stream.read(&mut request).unwrap();
        assert!(request[..got].starts_with(b"GET /v1/status HTTP/1.1\r\n"));
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
    });
    let answer = host.run(arguments);
    server.join().unwrap();
    answer
}

fn ask_status(arguments: &[&str], status: &Status) -> String {
    ask(&Host::new(), arguments, &serde_json::to_vec(status).unwrap()).done()
}

#[test]
fn with_an_agent() {
    insta::assert_snapshot!("with_agent", ask_status(&["status"], &status(Some(agent()))));
    let json = ask_status(&["status", "--json"], &status(Some(agent())));
    assert_eq!(
        serde_json::from_str::<Status>(&json).unwrap(),
        status(Some(agent()))
    );
    insta::assert_snapshot!("json", json);
}

#[test]
fn without_an_agent_only_hooks_are_in_force() {
    insta::assert_snapshot!("without_agent", ask_status(&["status"], &status(None)));
}

#[test]
fn what_was_lost_stands_out() {
    let mut bad = status(Some(agent()));
    bad.mode = Mode::Action;
    bad.ledger.error = Some("no space left on device\x1b[2J".to_owned());
    bad.hooks.bad = 4;
    bad.hooks.failed = 2;
    let agent = bad.agent.as_mut().unwrap();
    agent.backlog = 733;
    agent.counters.telemetry_ring_full = 1_204;
    agent.counters.label_map_full = 3;
    agent.counters.agent_overflow = 9;
    insta::assert_snapshot!("losses", ask_status(&["status"], &bad));
}

#[test]
fn on_a_narrow_terminal_no_detail_is_lost() {
    let view = View {
        colour: true,
        width: Some(60),
        zone: jiff::tz::TimeZone::UTC,
    };
    let mut out = Vec::new();
    defenseclaw_cli::status::print(&status(Some(agent())), &view, &mut out).unwrap();
    insta::assert_snapshot!("narrow", String::from_utf8(out).unwrap().replace('\x1b', "<ESC>"));
}

#[test]
fn every_loss_counter_is_shown() {
    let all: Counters = serde_json::from_value(
        serde_json::to_value(Counters::default())
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .map(|key| (key.clone(), serde_json::Value::from(77_001)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    )
    .unwrap();
    let mut bad = status(Some(agent()));
    bad.agent.as_mut().unwrap().counters = all;
    let out = ask_status(&["status"], &bad);
    let fields = serde_json::to_value(all).unwrap().as_object().unwrap().len();
    assert_eq!(out.matches("77,001").count(), fields, "{out}");
}

#[test]
fn an_unreachable_gateway_exits_3_and_says_what_to_do() {
    let host = Host::new();
    insta::assert_snapshot!("no_socket", host.run(&["status"]).whole());
    // A socket that its listener left behind.
    drop(UnixListener::bind(host.path().join("gateway.sock")).unwrap());
    insta::assert_snapshot!("stale_socket", host.run(&["status", "--json"]).whole());
}

#[test]
fn an_answer_of_another_version_exits_3() {
    let answer = ask(&Host::new(), &["status"], b"{\"version\":\"9.9\"}");
    assert_eq!(answer.status, 3);
    assert!(answer.notes.contains("different versions"), "{}", answer.notes);
}

#[test]
fn a_gateway_that_hangs_is_given_up_on() {
    let host = Host::new();
    let _listener = UnixListener::bind(host.path().join("gateway.sock")).unwrap();
    let begun = Instant::now();
    let answer = host.run(&["status"]);
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(answer.status, 3);
    assert!(answer.notes.contains("no answer within 2 s"), "{}", answer.notes);
}
