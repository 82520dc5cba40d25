//! An agent that behaves, and agents that do not.

use std::time::{Duration, Instant};

use defenseclaw_model::activity::{Action, Activity, Attribution, Basis, Explained, FileAccess, FileId};
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId};
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use defenseclaw_model::wire::{Cursor, MAX_BATCH, MAX_FRAME, ToAgent, ToGateway, WIRE_VERSION};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::world::{FakeAgent, World, bash};

const ACTION: &str = "mode: action";

fn session() -> SessionId {
    SessionId::new("claude-code", "s1").unwrap()
}

fn call(id: &str) -> CallId {
    CallId::new(id).unwrap()
}

fn acted(call_id: Option<&str>, action: Action) -> Draft {
    let image = ImageId { tgid: 7, exec_ns: 1 };
    let activity = Activity {
        time_ns: 1_000,
        session: session(),
        process: ProcessId { tgid: 7, start_ns: 1 },
        image,
        program: "/usr/bin/cat".into(),
        action,
        attribution: Attribution {
            call: call_id.map(call),
            basis: Basis::Lineage,
            explained: Explained::Derived,
            after_call: false,
        },
    };
    let body = RecordBody::Activity { activity };
    Draft {
        time_ns: 1_000,
        session: Some(session()),
        call: call_id.map(call),
        body,
    }
}

fn read_credentials(call_id: Option<&str>) -> Draft {
    let action = Action::Open {
        path: "/home/kim/.aws/credentials".into(),
        path_truncated: false,
        access: FileAccess::Read,
        file: FileId { dev: 1, ino: 2 },
        class: None,
    };
    acted(call_id, action)
}

fn exec(argv: &[&str]) -> Draft {
    let action = Action::Exec {
        path: "/usr/bin/x".into(),
        argv: argv.iter().map(|word| (*word).into()).collect(),
        argv_truncated: false,
        cwd: "/work".into(),
        file: FileId { dev: 1, ino: 3 },
        parent: ImageId { tgid: 1, exec_ns: 0 },
    };
    acted(None, action)
}

fn batch(number: u64, records: Vec<Draft>) -> ToGateway {
    ToGateway::Batch {
        batch: number,
        records,
        cursor: Cursor {
            security: number * 10,
            telemetry: number,
        },
    }
}

fn bindings(world: &World) -> Vec<Binding> {
    let binding = |record: defenseclaw_model::record::Record| match record.draft.body {
        RecordBody::ToolCall { binding, .. } | RecordBody::SessionStart { binding, .. } => Some(binding),
        _ => None,
    };
    world.records().into_iter().filter_map(binding).collect()
}

fn findings(world: &World) -> Vec<(Finding, Option<u64>)> {
    let finding = |record: defenseclaw_model::record::Record| match record.draft.body {
        RecordBody::Finding { finding, about_seq } => Some((finding, about_seq)),
        _ => None,
    };
    world.records().into_iter().filter_map(finding).collect()
}

/// The session starts and one call runs, with an agent that binds everything.
fn one_call(world: &World, agent: &mut FakeAgent) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            agent.answer(Binding::Bound);
            agent.answer(Binding::Bound);
        });
        assert!(world.event("SessionStart", json!({})).is_silence());
        assert!(world.bash("t1", "make").is_silence());
    });
}

#[test]
fn a_call_is_registered_before_the_harness_is_answered_and_ended_after_its_record() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    std::thread::scope(|scope| {
        let hook = scope.spawn(|| world.bash("t1", "make all"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!hook.is_finished(), "it waits for the agent");
        assert_eq!(world.kinds(), [] as [&str; 0]);
        match agent.answer(Binding::Bound) {
            ToAgent::Register {
                session: of,
                hook_pid,
                call: Some(declared),
                denied,
                ..
            } => {
                assert_eq!(
                    (of, declared.call, declared.tool.as_str()),
                    (session(), call("t1"), "Bash")
                );
                assert_eq!((hook_pid, denied), (std::process::id(), false));
                assert_eq!(declared.cwd.as_deref(), Some("/work"));
            }
            other => panic!("{other:?}"),
        }
        assert!(hook.join().unwrap().is_silence());
        assert_eq!(bindings(&world), [Binding::Bound]);

        let end = scope.spawn(|| world.event("PostToolUse", bash("t1", "make all")));
        assert!(matches!(
            agent.answer(Binding::Bound),
            ToAgent::Register { call: None, .. }
        ));
        assert_eq!(
            agent.receive(),
            Some(ToAgent::CallEnd {
                session: session(),
                call: call("t1")
            })
        );
        assert_eq!(world.kinds(), ["tool_call", "call_end"], "the record comes first");
        assert!(end.join().unwrap().is_silence());

        let end = scope.spawn(|| world.event("SessionEnd", json!({})));
        agent.answer(Binding::Bound);
        assert_eq!(agent.receive(), Some(ToAgent::SessionEnd { session: session() }));
        assert!(end.join().unwrap().is_silence());

        let denied = scope.spawn(|| world.bash("t2", "deny-me"));
        assert!(matches!(
            agent.answer(Binding::Bound),
            ToAgent::Register { denied: true, .. }
        ));
        assert!(denied.join().unwrap().is_denied());
    });
}

#[test]
fn an_agent_that_never_answers_costs_one_second_and_is_named() {
    let world = World::start(ACTION);
    let _agent = world.agent();
    let start = Instant::now();
    assert!(world.bash("t1", "make").is_silence());
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_millis(2500),
        "{took:?}"
    );
    assert!(
        matches!(&bindings(&world)[..], [Binding::Failed { reason }] if reason.contains("did not answer"))
    );
}

#[test]
fn an_agent_that_goes_away_while_it_is_asked_does_not_hold_up_the_call() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    std::thread::scope(|scope| {
        let start = Instant::now();
        let hook = scope.spawn(|| world.bash("t1", "make"));
        assert!(matches!(agent.receive(), Some(ToAgent::Register { .. })));
        agent.hang_up();
        assert!(hook.join().unwrap().is_silence());
        assert!(start.elapsed() < Duration::from_millis(900));
    });
    assert!(matches!(&bindings(&world)[..], [Binding::Failed { reason }] if reason.contains("broke")));
    world.until("the agent's end is recorded", |world| world.daemons().len() == 3);
    let (daemon, state, detail) = world.daemons().pop().unwrap();
    assert_eq!((daemon.as_str(), state.as_str()), ("agent", "disconnected"));
    assert!(detail.contains("closed"), "{detail}");
    assert!(world.bash("t2", "make").is_silence());
    assert_eq!(bindings(&world)[1], Binding::NoAgent);
}

#[test]
fn agents_that_do_not_keep_to_the_protocol_are_disconnected() {
    let world = World::start(ACTION);
    let oversize = (MAX_FRAME as u32 + 1).to_le_bytes();
    let mut garbage = 20u32.to_le_bytes().to_vec();
    garbage.extend_from_slice(b"this is no JSON text");
    let hello = ToGateway::Hello {
        wire: WIRE_VERSION,
        version: "x".into(),
        sensor: "s".into(),
        status: Default::default(),
    };
    let too_many = batch(1, vec![exec(&["x"]); MAX_BATCH + 1]);
    let tool_call = batch(
        1,
        vec![Draft {
            time_ns: 1,
            session: None,
            call: None,
            body: RecordBody::Stop {},
        }],
    );
    type Misbehaviour<'a> = &'a dyn Fn(&mut FakeAgent);
    let cases: [(&str, Misbehaviour<'_>); 6] = [
        ("frame of 16777217 bytes", &|agent| agent.send_bytes(&oversize)),
        ("not understood", &|agent| agent.send_bytes(&garbage)),
        ("second introduction", &|agent| agent.send(&hello)),
        ("513 records", &|agent| agent.send(&too_many)),
        ("sent a stop record", &|agent| agent.send(&tool_call)),
        ("within a frame", &|agent| {
            agent.send_bytes(&[9, 0, 0, 0, b'{']);
            agent.stream.shutdown(std::net::Shutdown::Write).unwrap();
        }),
    ];
    for (said, misbehave) in cases {
        let mut agent = world.agent();
        misbehave(&mut agent);
        assert_eq!(agent.receive(), None, "{said}");
        world.until("it is told", |world| {
            world
                .daemons()
                .last()
                .is_some_and(|(_, _, detail)| detail.contains(said))
        });
        world.until("its place is free", |world| world.status().agent.is_none());
        assert!(world.bash("t", "ls").is_silence(), "and hooks go on");
    }
    let (mut agent, _) = (
        FakeAgent {
            stream: std::os::unix::net::UnixStream::connect(world.agent_socket()).unwrap(),
            scopes: Vec::new(),
        },
        (),
    );
    agent.send(&ToGateway::Hello {
        wire: 99,
        version: "x".into(),
        sensor: "s".into(),
        status: Default::default(),
    });
    assert_eq!(agent.receive(), None);
    world.until("the version is told", |world| {
        world.log().contains("speaks version 99")
    });
}

#[test]
fn there_is_one_agent_at_a_time() {
    let world = World::start(ACTION);
    let mut first = world.agent();
    let (_, welcome) = FakeAgent::connect(&world, "sensor-2");
    assert_eq!(welcome, None);
    one_call(&world, &mut first);
    assert_eq!(bindings(&world), [Binding::Bound, Binding::Bound]);
    first.hang_up();
    world.until("the place is free", |world| world.status().agent.is_none());
    world.agent();
}

#[test]
fn what_the_kernel_saw_is_judged_with_what_its_call_declared_and_did() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    one_call(&world, &mut agent);
    agent.send(&batch(
        1,
        vec![
            read_credentials(Some("t1")),
            exec(&["ls"]),
            read_credentials(Some("t1")),
            read_credentials(None),
        ],
    ));
    assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: 1 }));
    let found = findings(&world);
    let messages: Vec<_> = found
        .iter()
        .map(|(finding, _)| finding.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "declared true, by Bash, after 0",
            "declared true, by Bash, after 1",
            "declared false, by no tool, after 0"
        ]
    );
    let records = world.records();
    for (_, about) in found {
        let about = &records[about.unwrap() as usize - 1];
        assert!(
            matches!(&about.draft.body, RecordBody::Activity { activity }
                if matches!(&activity.action, Action::Open { class: Some(class), .. } if class == "credential")),
            "{about:?}"
        );
    }
    world.verify();
}

#[test]
fn a_batch_is_appended_once_and_acknowledged_each_time() {
    let mut world = World::start(ACTION);
    let mut agent = world.agent();
    for number in [1, 2, 2, 1, 3] {
        agent.send(&batch(number, vec![exec(&["ls"])]));
        assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: number }));
    }
    assert_eq!(world.kinds(), ["activity"; 3]);
    // Acknowledged, so it survives; and the gateway that comes next knows how far it got.
    world.end(Signal::SIGKILL);
    world.start_gateway();
    assert_eq!(world.kinds(), ["activity"; 3]);
    let (mut agent, welcome) = FakeAgent::connect(&world, "sensor-1");
    match welcome {
        Some(ToAgent::Welcome {
            last_batch, cursor, ..
        }) => {
            assert_eq!(
                (last_batch, cursor),
                (
                    3,
                    Cursor {
                        security: 30,
                        telemetry: 3
                    }
                )
            );
        }
        other => panic!("{other:?}"),
    }
    agent.send(&batch(3, vec![exec(&["ls"])]));
    assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: 3 }));
    assert_eq!(world.kinds(), ["activity"; 3]);
    world.verify();
}

#[test]
fn what_was_read_before_an_agent_went_away_is_still_appended() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    agent.send(&batch(1, vec![exec(&["ls"]); 100]));
    agent.send(&batch(2, vec![exec(&["ls"]); 100]));
    agent.hang_up();
    world.until("both are in", |world| world.kinds().len() == 200);
}

#[test]
fn open_calls_and_what_they_did_survive_a_killed_gateway() {
    let mut world = World::start(ACTION);
    let mut agent = world.agent();
    one_call(&world, &mut agent);
    agent.send(&batch(1, vec![read_credentials(Some("t1"))]));
    assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: 1 }));
    world.end(Signal::SIGKILL);
    world.start_gateway();
    let (mut agent, welcome) = FakeAgent::connect(&world, "sensor-1");
    let Some(ToAgent::Welcome { sessions, .. }) = welcome else {
        panic!("{welcome:?}")
    };
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].session, session());
    assert_eq!(sessions[0].open_calls[0].call, call("t1"));
    agent.send(&batch(2, vec![read_credentials(Some("t1"))]));
    assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: 2 }));
    assert_eq!(findings(&world)[1].0.message, "declared true, by Bash, after 1");
}

#[test]
fn a_forged_hook_is_denied_and_changes_nothing() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    one_call(&world, &mut agent);
    let forged = || Binding::Forged {
        caller: "pid 7 (/usr/bin/python3)".into(),
    };
    std::thread::scope(|scope| {
        // The same id as the call that runs: it must not take that call's place.
        let call = scope.spawn(|| world.bash("t1", "cat ~/.aws/credentials"));
        agent.answer(forged());
        assert!(call.join().unwrap().permission().1.contains("forged"));
        for event in ["PostToolUse", "SessionEnd", "Stop", "UserPromptSubmit"] {
            let mut more = bash("t1", "make");
            more["prompt"] = "do it".into();
            let hook = scope.spawn(move || more);
            let more = hook.join().unwrap();
            let hook = scope.spawn(|| world.event(event, more));
            agent.answer(forged());
            assert!(hook.join().unwrap().is_silence());
        }
    });
    let forged: Vec<_> = findings(&world);
    assert_eq!(forged.len(), 4);
    assert!(
        forged
            .iter()
            .all(|(finding, _)| finding.rule == "trust.forged-hook" && finding.severity == Severity::High)
    );
    assert_eq!(world.status().open_sessions, 1);
    agent.send(&batch(1, vec![read_credentials(Some("t1"))]));
    // No notice that the call ended came before this.
    assert_eq!(agent.receive(), Some(ToAgent::Ack { batch: 1 }));
    agent.hang_up();
    world.until("the place is free", |world| world.status().agent.is_none());
    let (_agent, welcome) = FakeAgent::connect(&world, "sensor-1");
    let Some(ToAgent::Welcome { sessions, .. }) = welcome else {
        panic!("{welcome:?}")
    };
    let open = &sessions[0].open_calls[0];
    assert_eq!(serde_json::to_value(&open.kind).unwrap()["command"], "make");
}

#[test]
fn the_agent_s_word_about_itself_is_shown() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    assert_eq!(world.status().agent.unwrap().kernel, "test");
    let status = defenseclaw_model::wire::AgentStatus {
        sessions: 5,
        ..Default::default()
    };
    agent.send(&ToGateway::Status { status });
    world.until("the new status is known", |world| {
        world.status().agent.is_some_and(|agent| agent.sessions == 5)
    });
}

#[test]
fn many_calls_at_once_are_all_registered_recorded_and_answered() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    std::thread::scope(|scope| {
        let hooks: Vec<_> = (0..40)
            .map(|n| (n, &world))
            .map(|(n, world)| scope.spawn(move || world.bash(&format!("t{n}"), "make")))
            .collect();
        // Answered in another order than asked.
        let requests: Vec<_> = (0..40)
            .map(|_| match agent.receive() {
                Some(ToAgent::Register { request, .. }) => request,
                other => panic!("{other:?}"),
            })
            .collect();
        for request in requests.into_iter().rev() {
            agent.send(&ToGateway::Registered {
                request,
                binding: Binding::Bound,
            });
        }
        for hook in hooks {
            assert!(hook.join().unwrap().is_silence());
        }
    });
    assert_eq!(bindings(&world), vec![Binding::Bound; 40]);
    world.verify();
}
