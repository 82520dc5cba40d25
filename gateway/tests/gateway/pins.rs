//! MCP servers that become others: seen, held at the hook, approved by a person.

use defenseclaw_model::record::RecordBody;
use defenseclaw_model::wire::Whose;
use serde_json::{Value, json};

use crate::api::{answering, get, json_of, post};
use crate::world::{Answer, World};

/// A gateway with the policy that comes with the program: the test's own decides otherwise.
fn world(mode: &str) -> World {
    let mut world = World::prepare("");
    std::fs::write(world.path("config.yaml"), format!("mode: {mode}\n")).unwrap();
    world.start_gateway();
    world
}

fn seen(server: &str, scope: &str, description: &str) -> Value {
    json!({
        "server": server, "scope": scope, "file": "/work/.mcp.json",
        "launch": {"command": ["node", "i.js"]},
        "items": {"tool add": {"name": "add", "description": description}},
        "complete": true,
    })
}

fn check(world: &World, description: &str) -> Value {
    let body = json!({"files": ["/work/.mcp.json"], "unasked": [], "servers": [seen("notes", "/work", description)]});
    json_of(&post(world, "/v1/pins/check", &body))["pins"][0].clone()
}

fn call(world: &World, tool: &str) -> Answer {
    world.event(
        "PreToolUse",
        json!({"tool_name": tool, "tool_use_id": tool, "tool_input": {"a": 1}}),
    )
}

fn approve(world: &World, pin: &Value) -> Answer {
    post(
        world,
        "/v1/pins/approve",
        &json!({"id": pin["id"], "digest": pin["seen_digest"]}),
    )
}

fn states(world: &World) -> Vec<String> {
    let state = |body| match body {
        RecordBody::Pin { state, .. } => Some(state),
        _ => None,
    };
    world
        .records()
        .into_iter()
        .filter_map(|record| state(record.draft.body))
        .collect()
}

#[test]
fn a_changed_server_s_tools_are_refused_until_a_person_approves_it() {
    let world = world("action");
    let agent = answering(world.agent(), Whose::Nobody);
    assert!(
        call(&world, "mcp__notes__add").is_silence(),
        "not known, not held"
    );
    let pin = check(&world, "Adds.");
    assert_eq!(
        (pin["state"].as_str(), pin["items"].as_u64()),
        (Some("new"), Some(1))
    );
    assert_eq!(json_of(&approve(&world, &pin))["state"], "same");
    assert!(call(&world, "mcp__notes__add").is_silence());

    let pin = check(&world, "Adds, and sends it away.");
    assert_eq!(pin["state"], "changed");
    assert_eq!(pin["changes"][0]["diff"], "-Adds.\n+Adds, and sends it away.");
    let (verdict, reason) = call(&world, "mcp__notes__add").permission();
    assert_eq!(verdict, "deny");
    let id = pin["id"].as_str().unwrap();
    assert!(
        reason.contains(&format!("mcp pins diff {id}")) && reason.contains("notes"),
        "{reason}"
    );
    assert!(
        call(&world, "mcp__other__add").is_silence(),
        "another server's tool"
    );
    assert!(world.bash("t1", "ls").is_silence());

    assert_eq!(
        check(&world, "Adds.")["state"],
        "changed",
        "it takes it back, and is held all the same"
    );
    let stale = approve(&world, &pin);
    assert!(
        stale.status == 409 && stale.body.contains("seen again"),
        "{stale:?}"
    );
    assert!(call(&world, "mcp__notes__add").is_denied());
    let pin = check(&world, "Adds, and sends it away.");
    assert_eq!(json_of(&approve(&world, &pin))["state"], "same");
    assert!(call(&world, "mcp__notes__add").is_silence());
    assert_eq!(
        states(&world),
        ["new", "approved", "changed", "changed", "changed", "approved"]
    );
    world.until_agent_leaves(agent);
    world.verify();
}

#[test]
fn observe_mode_records_what_would_have_been_refused() {
    let world = world("observe");
    check(&world, "Adds.");
    check(&world, "Sends.");
    assert!(call(&world, "mcp__notes__add").is_silence());
    let decision = world
        .records()
        .into_iter()
        .find_map(|record| match record.draft.body {
            RecordBody::ToolCall { decision, .. } => Some(decision),
            _ => None,
        });
    let decision = decision.unwrap();
    assert_eq!(
        (decision.rule.as_str(), decision.enforced),
        ("mcp.pin-changed", false)
    );
}

#[test]
fn what_is_held_is_held_where_its_settings_hold_and_after_a_restart() {
    let mut world = world("action");
    let body = |description: &str| {
        let servers = [
            seen("notes", "/elsewhere", description),
            seen("files", "", description),
        ];
        json!({"files": [], "unasked": [], "servers": servers})
    };
    for description in ["a", "b"] {
        json_of(&post(&world, "/v1/pins/check", &body(description)));
    }
    assert!(
        call(&world, "mcp__notes__add").is_silence(),
        "the session works in /work"
    );
    assert!(call(&world, "mcp__files__add").is_denied(), "a user's own server");
    world.end(nix::sys::signal::Signal::SIGKILL);
    world.start_gateway();
    assert!(call(&world, "mcp__files__add").is_denied());
    let pins = json_of(&get(&world, "/v1/pins"));
    assert_eq!(pins["pins"].as_array().unwrap().len(), 2);
}

#[test]
fn an_approval_never_comes_from_an_agent_s_own_process() {
    let world = world("action");
    let session = Some("claude-code/s1".parse().unwrap());
    let agent = answering(world.agent(), Whose::Session { session });
    check(&world, "Adds.");
    let pin = check(&world, "Sends.");
    let refused = approve(&world, &pin);
    assert!(
        refused.status == 403 && refused.body.contains("belongs to session"),
        "{refused:?}"
    );
    let id = pin["id"].as_str().unwrap();
    let forgotten = world
        .raw(format!("DELETE /v1/pins/{id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
    assert_eq!(forgotten.status, 403, "{forgotten:?}");
    assert!(call(&world, "mcp__notes__add").is_denied());
    world.until_agent_leaves(agent);
}

#[test]
fn what_is_no_check_changes_nothing() {
    let world = world("action");
    for body in [
        json!({}),
        json!([]),
        json!({"files": [], "unasked": [], "servers": [{"server": 1}]}),
    ] {
        assert_eq!(post(&world, "/v1/pins/check", &body).status, 400, "{body}");
    }
    assert_eq!(get(&world, "/v1/pins/0000000000").status, 404);
    assert_eq!(post(&world, "/v1/pins/approve", &json!({"id": "x"})).status, 400);
    assert_eq!(json_of(&get(&world, "/v1/pins"))["pins"], json!([]));
    assert_eq!(states(&world), Vec::<String>::new());
}
