//! Faults in mid-session: what is in force says so, what was acknowledged stays.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

mod e2e {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};
    use std::time::{Duration, Instant};

    use defenseclaw_model::record::RecordBody;
    use defenseclaw_testkit::script::{Call, Script, Turn};
    use defenseclaw_testkit::scripted_agent::{Outcome, Running};
    use defenseclaw_testkit::{Need, Stack, StackOptions, require};
    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    use crate::common::{Scene, announce, await_file};

    /// The hook's whole deadline, and what starting a process may take on a busy machine.
    const HOOK_DEADLINE: Duration = Duration::from_millis(3_000 + 2_000);

    fn without_agent() -> StackOptions {
        StackOptions {
            agent: false,
            ..StackOptions::default()
        }
    }

    fn payload(call: &str) -> Value {
        json!({
            "session_id": "fault-session", "transcript_path": "", "cwd": "/tmp", "hook_event_name": "PreToolUse",
            "tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": call,
        })
    }

    fn ask(command: &mut Command, payload: &Value) -> Output {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(payload.to_string().as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    fn ask_at(stack: &Stack, socket: &Path, fail_mode: &str) -> Output {
        let mut command = stack.command("defenseclaw-hook");
        command
            .arg("claude-code")
            .env("DEFENSECLAW_SOCKET", socket)
            .env("DEFENSECLAW_FAIL_MODE", fail_mode);
        ask(&mut command, &payload("c"))
    }

    /// Exit status 2, or the native denial.
    fn denies(output: &Output) -> bool {
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        output.status.code() == Some(2) || answer["hookSpecificOutput"]["permissionDecision"] == "deny"
    }

    fn lets_pass(output: &Output) -> bool {
        output.status.success() && output.stdout.is_empty()
    }

    #[test]
    fn without_a_gateway_the_hook_answers_by_its_fail_mode() {
        let stack = Stack::start(without_agent()).unwrap();
        let nobody = stack.folder().join("nobody.sock");
        let closed = ask_at(&stack, &nobody, "closed");
        assert!(denies(&closed), "{closed:?}");
        let open = ask_at(&stack, &nobody, "open");
        assert!(lets_pass(&open), "{open:?}");
    }

    #[test]
    fn before_a_mute_gateway_the_hook_keeps_its_deadline() {
        let stack = Stack::start(without_agent()).unwrap();
        let mute = stack.folder().join("mute.sock");
        // Takes connections and says nothing: the listener's queue is enough for that.
        let _listener = UnixListener::bind(&mute).unwrap();
        for (mode, right) in [("closed", denies as fn(&Output) -> bool), ("open", lets_pass)] {
            let start = Instant::now();
            let output = ask_at(&stack, &mute, mode);
            assert!(right(&output), "{mode}: {output:?}");
            assert!(
                start.elapsed() < HOOK_DEADLINE,
                "{mode}: took {:?}",
                start.elapsed()
            );
        }
    }

    #[test]
    fn every_acknowledged_call_survives_kill_9_of_the_gateway() {
        let mut stack = Stack::start(without_agent()).unwrap();
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for round in 0..4 {
            let pid = stack.gateway_pid().unwrap();
            // Killed in the middle of a stream of requests, at a different distance each time.
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(150 + 70 * round));
                let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
                nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
            });
            for call in 0..2_000 {
                let id = format!("call-{round}-{call}");
                let output = ask(
                    stack.command("defenseclaw-hook").arg("claude-code"),
                    &payload(&id),
                );
                // The hook fails closed, so that silence can only have come from the gateway.
                if lets_pass(&output) {
                    acknowledged.push(id);
                } else {
                    assert!(denies(&output), "{output:?}");
                    refused += 1;
                    break;
                }
            }
            killer.join().unwrap();
            stack.end_gateway(Signal::SIGKILL).unwrap();
            stack.start_gateway().unwrap();
        }
        announce(&format!(
            "{} calls acknowledged, {refused} refused while the gateway was dead",
            acknowledged.len()
        ));
        assert!(
            acknowledged.len() >= 8 && refused > 0,
            "the gateway was never killed in mid-stream"
        );
        let mut reader = defenseclaw_audit::Reader::open(&stack.ledger()).unwrap();
        let records = reader.query(&defenseclaw_audit::Query::default()).unwrap();
        assert!(!reader.changed().unwrap());
        for id in &acknowledged {
            let found = records.iter().any(|record| {
                matches!(record.draft.body, RecordBody::ToolCall { .. })
                    && record.draft.call.as_ref().is_some_and(|call| call.as_str() == id)
            });
            assert!(found, "{id} was acknowledged and is not in the ledger");
        }
        let verified = defenseclaw_audit::verify(&stack.ledger(), &mut |_, _| {}).unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    }

    /// A session in which one call waits for the test's word, and acts before, while and after it does.
    fn waiting_session(scene: &mut Scene) -> (Script, std::path::PathBuf, std::path::PathBuf) {
        let actor = scene.actor.display().to_string();
        let (ready, go) = (scene.place.project.join("ready"), scene.place.project.join("go"));
        let before = scene.acting("before", &actor, false);
        let ticking = (0..8)
            .map(|_| format!("sleep=150 create={}", scene.path("tick")))
            .collect::<Vec<_>>()
            .join(" ");
        let background = Call::background("background", &format!("{actor} background {ticking}"));
        let first = scene.operations(false);
        let last = scene.operations(true);
        let waiting = Call::bash(
            "waiting",
            &format!(
                "{actor} waiting {first}; touch {}; until [ -e {} ]; do sleep 0.05; done; {actor} waiting {last}",
                ready.display(),
                go.display()
            ),
        );
        let after = scene.acting("after", &actor, false);
        let turns = vec![
            Turn::one(before),
            Turn::one(background),
            Turn::one(waiting),
            Turn::one(after),
            Turn::one(Call::bash("end", "sleep 1.5")),
        ];
        (
            Script {
                prompt: "Act.".into(),
                turns,
            },
            ready,
            go,
        )
    }

    fn assert_nothing_lost(scene: &mut Scene, session: &str, what: &str) {
        scene.stack.settle().unwrap();
        let score = scene.score(session, Vec::new());
        announce(&format!("{what}: {}", score.report()));
        assert_eq!(
            (score.wrong.len(), score.unseen.len()),
            (0, 0),
            "{}",
            score.report()
        );
        scene.assert_chain_holds();
    }

    /// What an agent had taken from the rings when it was killed, and had not brought to the ledger, is gone: the next one says how
    /// much that was, and no more than that may be missing.
    fn assert_nothing_lost_in_silence(scene: &mut Scene, session: &str, what: &str) {
        scene.stack.settle().unwrap();
        let score = scene.score(session, Vec::new());
        let told: u64 = scene
            .all_records()
            .iter()
            .filter_map(|record| match &record.draft.body {
                RecordBody::Gap { cause, missing, .. } if cause == "agent_restart" => *missing,
                _ => None,
            })
            .sum();
        announce(&format!("{what}: {}; told as missing: {told}", score.report()));
        assert!(score.wrong.is_empty(), "{}", score.report());
        assert!(
            score.unseen.len() as u64 <= told,
            "{told} are told as missing: {}",
            score.report()
        );
        scene.assert_chain_holds();
    }

    #[test]
    fn an_agent_killed_and_restarted_in_mid_session_goes_on_attributing() {
        if !require(&[Need::Root, Need::Bpf]) {
            return;
        }
        let mut scene = Scene::observed();
        let (script, ready, go) = waiting_session(&mut scene);
        let running = Running::start(
            &script,
            &scene.stack.hook_command(),
            &scene.place.project,
            &scene.environment(),
        )
        .unwrap();
        await_file(&ready);
        scene.stack.end_agent(Signal::SIGKILL).unwrap();
        assert!(
            scene.stack.status().unwrap().agent.is_none(),
            "the status says that only hooks are in force"
        );
        // The background process goes on meanwhile: the sensor is the kernel's and needs no agent.
        std::thread::sleep(Duration::from_millis(400));
        scene.stack.start_agent().unwrap();
        fs::write(&go, "").unwrap();
        let report = running.finish().unwrap();
        assert!(
            report.calls.values().all(|call| call.outcome == Outcome::Ran),
            "{:?}",
            report.calls
        );
        assert_nothing_lost_in_silence(&mut scene, &report.session, "agent killed and restarted");
    }

    #[test]
    fn a_gateway_killed_and_restarted_in_mid_session_loses_nothing() {
        if !require(&[Need::Root, Need::Bpf]) {
            return;
        }
        let mut scene = Scene::observed();
        let (script, ready, go) = waiting_session(&mut scene);
        let running = Running::start(
            &script,
            &scene.stack.hook_command(),
            &scene.place.project,
            &scene.environment(),
        )
        .unwrap();
        await_file(&ready);
        let acknowledged = scene.all_records();
        scene.stack.end_gateway(Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_millis(400));
        scene.stack.start_gateway().unwrap();
        scene
            .stack
            .wait("the agent to come back", |status| status.agent.is_some())
            .unwrap();
        fs::write(&go, "").unwrap();
        let report = running.finish().unwrap();
        assert!(
            report.calls.values().all(|call| call.outcome == Outcome::Ran),
            "{:?}",
            report.calls
        );
        assert_nothing_lost(&mut scene, &report.session, "gateway killed and restarted");
        let now = scene.all_records();
        assert_eq!(
            now[..acknowledged.len()],
            acknowledged[..],
            "what was there before is there still, unchanged"
        );
    }
}
