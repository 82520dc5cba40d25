//! What breaks under the gateway, and clients that mean it no good.

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use defenseclaw_model::wire::ToAgent;
use defenseclaw_testkit::{Need, require};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::world::{World, bash, payload, read_answer, write_hook};

const ACTION: &str = "mode: action";

#[test]
fn a_gateway_killed_while_it_decides_gives_no_answer_and_loses_no_record() {
    let mut world = World::start(ACTION);
    assert!(world.bash("t1", "ls").is_silence());
    let mut agent = world.agent();
    let mut stream = world.connect();
    write_hook(&mut stream, payload("PreToolUse", bash("t2", "ls")).as_bytes());
    assert!(matches!(agent.receive(), Some(ToAgent::Register { .. })));
    world.end(Signal::SIGKILL);
    assert_eq!(read_answer(&mut stream), None);
    world.start_gateway();
    assert_eq!(world.kinds(), ["tool_call"], "the one that was acknowledged");
    assert!(world.bash("t3", "ls").is_silence());
    world.verify();
}

/// Limits how large the gateway's files may grow, or lifts the limit: a full disk that needs no root.
fn limit_files(world: &World, bytes: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &world.pid().to_string(), &format!("--fsize={bytes}:")])
        .status()
        .expect("prlimit of util-linux");
    assert!(status.success());
}

/// A gateway that meets write errors where it would be ended by a signal.
fn with_full_disk(config: &str) -> World {
    let mut world = World::prepare(config);
    world.start_wrapped(&["/bin/sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    assert!(world.bash("before", "ls").is_silence());
    limit_files(&world, "4096");
    world
}

#[test]
fn a_full_disk_is_answered_by_fail_mode_told_and_got_over() {
    if !require(&[Need::Program("prlimit")]) {
        return;
    }
    let world = with_full_disk(ACTION);
    let before = world.records().len();
    let (verdict, reason) = world.bash("t1", "ls").permission();
    assert_eq!(verdict, "deny");
    assert!(
        reason.contains("could not be recorded") && reason.contains("ledger.db"),
        "{reason}"
    );
    assert!(
        world.event("Stop", json!({})).is_silence(),
        "only calls are refused"
    );
    assert!(world.post("nonsense").is_denied());
    let status = world.status();
    assert!(
        status
            .ledger
            .error
            .is_some_and(|error| error.contains("ledger.db"))
    );
    assert_eq!(status.hooks.failed, 2);
    limit_files(&world, "unlimited");
    assert!(world.bash("t2", "ls").is_silence());
    assert_eq!(world.status().ledger.error, None);
    assert_eq!(
        world.records().len(),
        before + 1,
        "what was not recorded was not half recorded"
    );
    world.verify();
}

#[test]
fn a_full_disk_does_not_open_what_the_policy_closes() {
    if !require(&[Need::Program("prlimit")]) {
        return;
    }
    let world = with_full_disk("mode: action\nfail_mode: open");
    assert!(world.bash("t1", "ls").is_silence());
    assert!(
        world
            .bash("t2", "deny-me")
            .permission()
            .1
            .contains("told to deny")
    );
    assert_eq!(world.status().hooks.failed, 2);
}

#[test]
fn a_batch_waits_for_the_disk_and_is_acknowledged_only_then() {
    if !require(&[Need::Program("prlimit")]) {
        return;
    }
    let world = with_full_disk(ACTION);
    let mut agent = world.agent();
    let gap = defenseclaw_model::record::RecordBody::Gap {
        cause: "ring_full".into(),
        missing: Some(3),
        detail: "x".into(),
    };
    let record = defenseclaw_model::record::Draft {
        time_ns: 1,
        session: None,
        call: None,
        body: gap,
    };
    agent.send(&defenseclaw_model::wire::ToGateway::Batch {
        batch: 1,
        records: vec![record],
        cursor: Default::default(),
    });
    agent
        .stream
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    assert_eq!(agent.receive(), None, "not acknowledged");
    agent
        .stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    limit_files(&world, "unlimited");
    assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: 1 }));
    assert_eq!(world.kinds(), ["tool_call", "gap"]);
}

#[test]
fn slow_clients_are_cut_off_and_hold_up_nobody() {
    let world = World::start(ACTION);
    let start = Instant::now();
    let mut slow: Vec<_> = (0..100)
        .map(|number| {
            let mut stream = world.connect();
            let part: &[u8] = match number % 3 {
                0 => b"",
                1 => b"POST /v1/hooks/claude-code HT",
                _ => b"POST /v1/hooks/claude-code HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{",
            };
            stream.write_all(part).unwrap();
            stream
        })
        .collect();
    let asked = Instant::now();
    assert!(world.bash("t1", "ls").is_silence());
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let mut rest = Vec::new();
    for stream in &mut slow {
        // Ends in time, whatever is or is not answered.
        let _ = stream.read_to_end(&mut rest);
    }
    let took = start.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(18),
        "{took:?}"
    );
    assert!(world.bash("t2", "ls").is_silence());
    assert_eq!(world.kinds(), ["tool_call", "tool_call"]);
}

#[test]
fn one_user_cannot_take_every_connection() {
    let world = World::start(ACTION);
    let held: Vec<_> = (0..256).map(|_| world.connect()).collect();
    let mut refused = world.connect();
    let _ = refused.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = read_answer(&mut refused).unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("too many connections"), "{answer:?}");
    drop(held);
    world.until("connections are free again", |world| {
        let mut stream = world.connect();
        let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        read_answer(&mut stream).is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_client_that_hangs_up_does_not_stop_its_decision_half_way() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    let mut stream = world.connect();
    write_hook(&mut stream, payload("PreToolUse", bash("t1", "ls")).as_bytes());
    let frame = agent.receive();
    let Some(ToAgent::Register { request, .. }) = frame else {
        panic!("{frame:?}")
    };
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    let binding = defenseclaw_model::record::Binding::Bound;
    agent.send(&defenseclaw_model::wire::ToGateway::Registered { request, binding });
    world.until("it is recorded", |world| world.kinds() == ["tool_call"]);
}
