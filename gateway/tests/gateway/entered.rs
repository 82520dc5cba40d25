//! Commands that entered a sandbox: whose they are, and what the ledger has of them.

use defenseclaw_model::activity::{Action, Activity, Attribution, Basis, ExitStatus, Explained};
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId};
use defenseclaw_model::record::{Binding, Draft, Record, RecordBody};
use defenseclaw_model::wire::{Cursor, ToAgent, ToGateway, Whose};
use serde_json::{Value, json};

use crate::world::{Answer, FakeAgent, World, bash};

fn report(profile: &str) -> Value {
    let network =
        json!({"family": "network", "by": "seccomp", "required": true, "proof": "proven", "detail": "none"});
    json!({"profile": profile, "project": "/work", "landlock_abi": 7, "best_effort": false, "protections": [network]})
}

fn enter(world: &World, call: Option<&str>, command: &[&str]) -> Answer {
    let body = json!({"report": report("strict"), "call": call, "command": command}).to_string();
    let head = format!(
        "POST /v1/sandbox/entered HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    world.raw(format!("{head}{body}").as_bytes())
}

fn session_in(answer: &Answer) -> SessionId {
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    answer["session"].as_str().unwrap().parse().unwrap()
}

fn of_session(world: &World, session: &SessionId) -> Vec<Record> {
    let mut records = world.records();
    records.retain(|record| record.draft.session.as_ref() == Some(session));
    records
}

#[test]
fn a_command_that_nobody_started_as_a_call_begins_a_session() {
    let world = World::start("mode: action");
    let answer = enter(&world, None, &["cat", "/home/kim/.aws/credentials"]);
    let session = session_in(&answer);
    assert_eq!(session.connector(), "run");
    let records = of_session(&world, &session);
    let kinds: Vec<_> = records.iter().map(|record| record.draft.body.kind()).collect();
    assert_eq!(kinds, ["session_start", "tool_call", "sandbox"]);
    let RecordBody::ToolCall {
        decision, binding, ..
    } = &records[1].draft.body
    else {
        panic!("{records:?}")
    };
    // Nobody waits for leave to run it.
    assert!(
        !decision.enforced && !decision.findings.is_empty(),
        "{decision:?}"
    );
    assert_eq!(*binding, Binding::NoAgent);
    let RecordBody::Sandbox {
        report, seen, pid, ..
    } = &records[2].draft.body
    else {
        panic!("{records:?}")
    };
    assert_eq!(report.profile, "strict");
    assert_eq!(*pid, Some(std::process::id()));
    // This test is in no sandbox, whatever it says: the kernel's word stands beside its own.
    assert_eq!(seen.map(|seen| seen.filters), Some(0));
    assert_ne!(
        session_in(&enter(&world, None, &["true"])),
        session,
        "each is its own"
    );
    world.verify();
}

#[test]
fn a_call_s_command_stays_in_its_session() {
    let world = World::start("mode: observe");
    world.event("PreToolUse", bash("c1", "make"));
    let session = session_in(&enter(&world, Some("c1"), &["bash", "-c", "make"]));
    assert_eq!(session.connector(), "claude-code");
    let records = of_session(&world, &session);
    let last = records.last().unwrap();
    assert_eq!(
        (last.draft.body.kind(), last.draft.call.as_ref().unwrap().as_str()),
        ("sandbox", "c1")
    );
    let other = session_in(&enter(&world, Some("c2"), &["make"]));
    assert_eq!(other.connector(), "run", "there is no such call");
}

#[test]
fn what_is_missing_shows_and_nonsense_is_refused() {
    let world = World::start("mode: observe");
    let mut bad = report("workspace");
    bad["best_effort"] = json!(true);
    bad["protections"][0]["by"] = json!("missing");
    let body = json!({"report": bad, "command": ["true"]}).to_string();
    let request = |body: &str| {
        let length = body.len();
        let head = format!(
            "POST /v1/sandbox/entered HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        world.raw(format!("{head}{body}").as_bytes())
    };
    let session = session_in(&request(&body));
    let records = of_session(&world, &session);
    let severity = records.last().unwrap().draft.severity();
    assert_eq!(severity.as_str(), "LOW");
    for bad in ["", "{}", r#"{"report": {}, "command": []}"#, "nonsense"] {
        assert_eq!(request(bad).status, 400, "{bad}");
    }
}

/// Answers what the gateway asks of its agent about one command, and gives the session that it began.
fn answer_as_agent(agent: &mut FakeAgent, whose: Whose) -> Option<(SessionId, u32)> {
    let Some(ToAgent::Whose { request, .. }) = agent.receive() else {
        panic!("it did not ask whose process that is")
    };
    let known = matches!(whose, Whose::Session { .. });
    agent.send(&ToGateway::Whose { request, whose });
    if known {
        return None;
    }
    match agent.receive() {
        Some(ToAgent::Adopt {
            request,
            session,
            pid,
            call,
        }) => {
            assert_eq!(call.call.as_str(), "command");
            let binding = Binding::Bound;
            agent.send(&ToGateway::Registered { request, binding });
            Some((session, pid))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_an_agent_the_process_is_labelled_and_its_end_ends_the_session() {
    let world = World::start("mode: observe");
    let mut agent = world.agent();
    let (answer, adopted, mut agent) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| enter(&world, None, &["make", "all"]));
        let adopted = answer_as_agent(&mut agent, Whose::Nobody);
        (asking.join().unwrap(), adopted, agent)
    });
    let session = session_in(&answer);
    let (named, pid) = adopted.unwrap();
    assert_eq!((&named, pid), (&session, std::process::id()));
    let process = ProcessId {
        tgid: pid,
        start_ns: 5,
    };
    let exit = |tgid: u32, status| Draft {
        time_ns: 9,
        session: Some(session.clone()),
        call: None,
        body: RecordBody::Activity {
            activity: Activity {
                time_ns: 9,
                session: session.clone(),
                process: ProcessId { tgid, ..process },
                image: ImageId { tgid, exec_ns: 6 },
                program: "/usr/bin/make".into(),
                action: Action::Exit {
                    status,
                    duration_ns: 4,
                },
                attribution: Attribution {
                    call: CallId::new("command").ok(),
                    basis: Basis::Lineage,
                    explained: Explained::Declared,
                    after_call: false,
                },
            },
        },
    };
    // A child's end is not the command's.
    for (batch, tgid, status) in [(1, pid + 1, ExitStatus::Code(0)), (2, pid, ExitStatus::Code(2))] {
        agent.send(&ToGateway::Batch {
            batch,
            records: vec![exit(tgid, status)],
            cursor: Cursor::default(),
        });
        if batch == 2 {
            assert!(
                matches!(agent.receive(), Some(ToAgent::SessionEnd { session: ended }) if ended == session)
            );
        }
        assert!(matches!(agent.receive(), Some(ToAgent::Ack { batch: acked }) if acked == batch));
    }
    let records = of_session(&world, &session);
    let kinds: Vec<_> = records.iter().map(|record| record.draft.body.kind()).collect();
    assert_eq!(
        kinds,
        [
            "session_start",
            "tool_call",
            "sandbox",
            "activity",
            "activity",
            "call_end",
            "session_end"
        ]
    );
    let end = serde_json::to_value(&records[6].draft.body).unwrap();
    assert_eq!(end["reason"], "the command ended: exit 2");
    let failed = serde_json::to_value(&records[5].draft.body).unwrap();
    assert_eq!(failed["failed"], true);
}

#[test]
fn a_process_of_a_session_stays_in_it_whatever_it_claims() {
    let world = World::start("mode: observe");
    let mut agent = world.agent();
    let own: SessionId = "codex/s9".parse().unwrap();
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| enter(&world, Some("c77"), &["make"]));
        let session = Some(own.clone());
        assert_eq!(answer_as_agent(&mut agent, Whose::Session { session }), None);
        asking.join().unwrap()
    });
    assert_eq!(session_in(&answer), own);
    let records = of_session(&world, &own);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].draft.call, None, "the call is not one of that session");
}
