//! Calls that wait for a person, from the hook to the operator's answer.

use std::io::Write;
use std::time::Duration;

use defenseclaw_model::record::RecordBody;
use defenseclaw_model::wire::Whose;
use serde_json::{Value, json};

use crate::api::{answering, get, json_of, post};
use crate::world::World;

const ACTION: &str = "mode: action";

/// A call of Codex, which cannot ask by itself, on a thread of its own; gives the whole answer as text.
fn codex(world: &World, call: &str, command: &str) -> std::thread::JoinHandle<String> {
    let payload = json!({
        "session_id": "c1", "hook_event_name": "PreToolUse", "cwd": "/work", "tool_name": "Bash", "tool_use_id": call,
        "tool_input": {"command": command}
    })
    .to_string();
    let mut stream = world.connect();
    write!(
        stream,
        "POST /v1/hooks/codex HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{payload}",
        payload.len()
    )
    .unwrap();
    std::thread::spawn(move || {
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    })
}

fn waiting(world: &World) -> Vec<Value> {
    json_of(&get(world, "/v1/approvals"))["approvals"]
        .as_array()
        .unwrap()
        .clone()
}

fn states(world: &World) -> Vec<String> {
    let state = |body| match body {
        RecordBody::Approval { state, .. } => Some(state),
        _ => None,
    };
    world
        .records()
        .into_iter()
        .filter_map(|record| state(record.draft.body))
        .collect()
}

/// The id of the one call that waits.
fn id(world: &World) -> String {
    world.until("a call waits", |world| waiting(world).len() == 1);
    waiting(world)[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_call_waits_runs_when_it_is_approved_and_is_not_asked_about_again_in_its_session() {
    let world = World::start(ACTION);
    let agent = answering(world.agent(), Whose::Nobody);
    let call = codex(&world, "t1", "ask-me");
    let id = id(&world);
    let shown = &waiting(&world)[0];
    assert_eq!(
        (shown["tool"].as_str(), shown["rule"].is_string()),
        (Some("Bash"), true)
    );
    assert!(shown["summary"].as_str().unwrap().contains("ask-me"), "{shown}");
    // Past the time after which the hook client is told to wait.
    std::thread::sleep(Duration::from_millis(1_700));
    let path = format!("/v1/approvals/{id}");
    let answered = json_of(&post(&world, &path, &json!({"approve": true, "for": "session"})));
    assert_eq!(answered["id"], id.as_str());
    let answer = call.join().unwrap();
    assert!(
        answer.contains("x-defenseclaw-late: ") && !answer.contains("deny"),
        "{answer}"
    );
    assert_eq!(
        post(&world, &path, &json!({"approve": true})).status,
        404,
        "it was answered"
    );

    let again = codex(&world, "t2", "ask-me").join().unwrap();
    assert!(!again.contains("deny") && !again.contains("late"), "{again}");
    assert_eq!(states(&world), ["requested", "approved"]);
    world.until_agent_leaves(agent);
}

#[test]
fn a_call_that_is_refused_or_that_nobody_answers_does_not_run() {
    let world = World::start("mode: action\napprovals: { timeout_s: 3 }");
    let agent = answering(world.agent(), Whose::Nobody);
    let call = codex(&world, "t1", "ask-me");
    let path = format!("/v1/approvals/{}", id(&world));
    assert_eq!(post(&world, &path, &json!({"approve": "yes"})).status, 400);
    json_of(&post(&world, &path, &json!({"approve": false})));
    assert!(call.join().unwrap().contains("\"deny\""));
    let answer = codex(&world, "t2", "ask-me").join().unwrap();
    assert!(
        answer.contains("\"deny\"") && answer.contains("in time"),
        "{answer}"
    );
    assert_eq!(states(&world), ["requested", "denied", "requested", "timed_out"]);
    world.until_agent_leaves(agent);
}

#[test]
fn a_call_whose_client_hangs_up_leaves_the_queue() {
    let world = World::start(ACTION);
    let mut stream = world.connect();
    let payload = json!({
        "session_id": "c1", "hook_event_name": "PreToolUse", "cwd": "/work", "tool_name": "Bash", "tool_use_id": "t1",
        "tool_input": {"command": "ask-me"}
    })
    .to_string();
    let head = format!(
        "POST /v1/hooks/codex HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        payload.len()
    );
    stream.write_all((head + &payload).as_bytes()).unwrap();
    id(&world);
    drop(stream);
    world.until("nothing waits", |world| waiting(world).is_empty());
    world.until("it is recorded", |world| {
        states(world) == ["requested", "withdrawn"]
    });

    // And one that has been told to wait.
    let mut stream = world.connect();
    stream
        .write_all(
            (format!(
                "POST /v1/hooks/codex HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
                payload.len()
            ) + &payload)
                .as_bytes(),
        )
        .unwrap();
    id(&world);
    std::thread::sleep(Duration::from_millis(1_800));
    drop(stream);
    world.until("nothing waits", |world| waiting(world).is_empty());
}

#[test]
fn an_approval_never_comes_from_an_agent_s_own_process() {
    let world = World::start("mode: action\napprovals: { timeout_s: 4 }");
    let session = Some("codex/c1".parse().unwrap());
    let agent = answering(world.agent(), Whose::Session { session });
    let call = codex(&world, "t1", "ask-me");
    let path = format!("/v1/approvals/{}", id(&world));
    let refused = post(&world, &path, &json!({"approve": true}));
    assert!(
        refused.status == 403 && refused.body.contains("belongs to session codex/c1"),
        "{refused:?}"
    );
    assert!(call.join().unwrap().contains("\"deny\""));
    world.until_agent_leaves(agent);
}

/// Puts a sandbox's question, gives its id.
fn question(world: &World, action: &str, wait: u64) -> String {
    let ask = json!({
        "program": "/usr/bin/make", "action": action, "reason": "outside the profile workspace",
        "profile": "workspace", "project": "/work", "wait_s": wait,
    });
    let asked = json_of(&post(world, "/v1/sandbox/questions", &ask));
    asked["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_sandbox_s_question_waits_with_the_calls_and_its_answer_is_given_once() {
    let world = World::start(ACTION);
    let agent = answering(world.agent(), Whose::Nobody);
    let asked = question(&world, "read /home/ada/notes", 60);
    let path = format!("/v1/sandbox/questions/{asked}");
    assert_eq!(json_of(&get(&world, &path))["state"], "waiting");
    let id = id(&world);
    let shown = &waiting(&world)[0];
    assert_eq!(shown["summary"], "/usr/bin/make wants to read /home/ada/notes");
    assert_eq!(shown["rule"], "sandbox.outside-profile");
    json_of(&post(
        &world,
        &format!("/v1/approvals/{id}"),
        &json!({"approve": true}),
    ));
    let mut state = Value::Null;
    for _ in 0..100 {
        state = json_of(&get(&world, &path));
        if state["state"] != "waiting" {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(state, json!({"state": "approved", "scope": "once"}));
    assert_eq!(get(&world, &path).status, 404, "given once");
    assert_eq!(states(&world), ["requested", "approved"]);
    world.until_agent_leaves(agent);
}

#[test]
fn a_question_whose_launcher_is_gone_is_taken_back_and_one_that_nobody_answers_is_refused() {
    let world = World::start(ACTION);
    let agent = answering(world.agent(), Whose::Nobody);
    question(&world, "read /a", 120);
    id(&world);
    world.until("it is taken back", |world| waiting(world).is_empty());
    let late = question(&world, "read /b", 3);
    let path = format!("/v1/sandbox/questions/{late}");
    world.until("nobody answers", |world| {
        json_of(&get(world, &path))["state"] == "unanswered"
    });
    assert_eq!(
        states(&world),
        ["requested", "withdrawn", "requested", "timed_out"]
    );
    let bad = post(&world, "/v1/sandbox/questions", &json!({"action": "x"}));
    assert_eq!(bad.status, 400);
    world.until_agent_leaves(agent);
}
