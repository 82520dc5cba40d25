//! Calls in sandboxes: what the policy may say, and what the harness's shell is told.

use std::fs;

use defenseclaw_model::decision::{Decision, Verdict};
use defenseclaw_model::record::RecordBody;
use defenseclaw_model::sandbox::SandboxRoute;
use serde_json::{Value, json};

use crate::world::{Answer, World, bash, payload};

const SANDBOXED: &str = "mode: action\nconnectors: { claude-code: { sandbox: workspace } }";

/// A request with these headers and this body.
fn post(world: &World, path: &str, headers: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    world.raw(format!("{head}{body}").as_bytes())
}

/// A hook that came through our shell.
fn through_shell(world: &World, event: &str, more: Value) -> Answer {
    let headers = "x-defenseclaw-shell: 1\r\n";
    post(world, "/v1/hooks/claude-code", headers, &payload(event, more))
}

fn room(world: &World, line: &str) -> Value {
    let question = json!({"connector": "claude-code", "session": "s1", "line": line}).to_string();
    let answer = post(world, "/v1/sandbox", "", &question);
    assert_eq!((answer.status, answer.exit), (200, Some(0)), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn decisions(world: &World) -> Vec<Decision> {
    let decision = |record: defenseclaw_model::record::Record| match record.draft.body {
        RecordBody::ToolCall { decision, .. } => Some(decision),
        _ => None,
    };
    world.records().into_iter().filter_map(decision).collect()
}

#[test]
fn a_shell_line_gets_the_sandbox_of_its_call() {
    let world = World::start(SANDBOXED);
    through_shell(&world, "SessionStart", json!({}));
    assert!(through_shell(&world, "PreToolUse", bash("t1", "make all")).is_silence());
    let line = "{ shopt -u extglob; } && eval 'make all' < /dev/null && pwd -P >| /tmp/claude-1-cwd";
    assert_eq!(
        room(&world, line),
        json!({"profile": "workspace", "call": "t1", "project": "/work"})
    );
    assert_eq!(room(&world, "eval other && pwd"), json!({"profile": "workspace"}));
    through_shell(&world, "PostToolUse", bash("t1", "make all"));
    let refused = through_shell(&world, "PreToolUse", bash("t2", "deny-me"));
    assert!(refused.is_denied());
    let decisions = decisions(&world);
    let sandbox = decisions[0].sandbox.clone().unwrap();
    assert_eq!(
        (sandbox.profile.as_str(), sandbox.by),
        ("workspace", Some(SandboxRoute::ShellPrefix))
    );
    assert_eq!(decisions[1].sandbox, None, "what does not run, runs nowhere");
    assert_eq!(world.rules(), Vec::<String>::new());
    let status = world.status();
    assert_eq!(status.sandboxes[0].profile, "workspace");
    for bad in ["", "nonsense", "{}", r#"{"connector":"x","line":"l","more":1}"#] {
        assert_eq!(post(&world, "/v1/sandbox", "", bad).status, 400, "{bad}");
    }
}

#[test]
fn a_sandbox_that_the_policy_made_up_is_its_error() {
    let world = World::prepare("mode: action\nfail_mode: closed");
    let rego = world.path("policy/rego/decision.rego");
    let text = fs::read_to_string(&rego).unwrap();
    let odd = text.replace(
        "\"reason\": \"nothing objects\"",
        "\"sandbox\": \"made-up\", \"reason\": \"nothing objects\"",
    );
    fs::write(&rego, odd).unwrap();
    let mut world = world;
    world.start_gateway();
    let (verdict, reason) = world.bash("t1", "ls").permission();
    assert_eq!(verdict, "deny");
    assert!(
        reason.contains("made-up") && reason.contains("network-none"),
        "{reason}"
    );
    assert_eq!(decisions(&world)[0].verdict, Verdict::Deny);
}

#[test]
fn a_sandbox_that_nobody_can_open_is_said_at_the_start() {
    let world = World::prepare("");
    for (own, why) in [
        ("claude-code: { sandbox: wide-open }", "wide-open"),
        ("windsurf: { sandbox: workspace }", "defenseclaw-cli run"),
        ("unknown: { sandbox: workspace }", "there is no connector"),
    ] {
        fs::write(world.path("config.yaml"), format!("connectors: {{ {own} }}\n")).unwrap();
        let output = world.command().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.contains(".sandbox") && said.contains(why), "{own}: {said}");
    }
}
