//! Harnesses that differ from Claude Code in how they name an event and in how they are answered.

use serde_json::{Value, json};

use crate::world::{Answer, World};

const ACTION: &str = "mode: action";
/// What the tests' policy refuses.
const REFUSED: &str = "deny-me";

fn ask(world: &World, connector: &str, event: Option<&str>, payload: &Value) -> Answer {
    let payload = payload.to_string();
    let event = event.map_or_else(String::new, |event| format!("x-defenseclaw-event: {event}\r\n"));
    let head = format!(
        "POST /v1/hooks/{connector} HTTP/1.1\r\nhost: x\r\n{event}content-length: {}\r\nconnection: close\r\n\r\n",
        payload.len()
    );
    world.raw(format!("{head}{payload}").as_bytes())
}

#[test]
fn an_event_that_only_the_command_line_names() {
    let world = World::start(ACTION);
    let call = |command: &str| json!({"sessionId": "s", "cwd": "/w", "toolName": "bash", "toolArgs": json!({"command": command}).to_string()});
    let refused = ask(&world, "copilot-cli", Some("preToolUse"), &call(REFUSED));
    let reply: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(reply["permissionDecision"], "deny", "{refused:?}");
    let allowed = ask(&world, "copilot-cli", Some("preToolUse"), &call("ls"));
    assert!(allowed.is_silence(), "{allowed:?}");
    let unnamed = ask(&world, "copilot-cli", None, &call("ls"));
    assert!(
        unnamed.body.contains("defenseclaw-hook copilot-cli EVENT"),
        "{unnamed:?}"
    );
    assert_eq!(world.kinds(), ["tool_call", "tool_call", "finding"]);
}

#[test]
fn a_harness_that_is_answered_by_exit_status_and_standard_error() {
    let world = World::start(ACTION);
    let run = |command: &str| {
        let payload = json!({"agent_action_name": "pre_run_command", "trajectory_id": "t",
                             "tool_info": {"command_line": command, "cwd": "/w"}});
        ask(&world, "windsurf", None, &payload)
    };
    let refused = run(REFUSED);
    assert_eq!((refused.status, refused.exit), (200, Some(2)));
    assert_eq!(
        refused.stderr,
        Some(refused.body.len()),
        "all of it is for standard error"
    );
    assert!(refused.body.starts_with("DefenseClaw: "), "{refused:?}");
    assert!(run("ls").is_silence());
}

#[test]
fn a_harness_that_takes_silence_for_a_refusal_is_told_that_there_is_no_objection() {
    let world = World::start(ACTION);
    let payload = json!({"conversationId": "c", "stepIdx": 1, "workspacePaths": ["/w"],
                         "toolCall": {"name": "run_command", "args": {"CommandLine": "ls", "Cwd": "/w"}}});
    let allowed = ask(&world, "antigravity", Some("PreToolUse"), &payload);
    assert_eq!(
        (allowed.exit, allowed.body.as_str()),
        (Some(0), r#"{"decision":"allow"}"#)
    );
}

#[test]
fn sessions_of_several_harnesses_go_side_by_side() {
    let world = World::start(ACTION);
    let codex = json!({"hook_event_name": "PreToolUse", "session_id": "same", "cwd": "/w", "tool_name": "Bash",
                       "tool_use_id": "c", "tool_input": {"command": "ls"}});
    assert!(ask(&world, "codex", None, &codex).is_silence());
    assert!(ask(&world, "claude-code", None, &codex).is_silence());
    let sessions: Vec<String> = world
        .records()
        .iter()
        .filter_map(|record| record.draft.session.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(sessions, ["codex/same", "claude-code/same"]);
}
