//! What the gateway answers besides hooks: to whom, how much, and over TCP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use defenseclaw_model::record::{Binding, RecordBody};
use defenseclaw_model::wire::{AgentStatus, ToAgent, ToGateway, Whose};
use serde_json::{Value, json};

use crate::world::{Answer, FakeAgent, World, bash, payload, read_answer_from};

const ACTION: &str = "mode: action";

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(crate) fn get(world: &World, path: &str) -> Answer {
    world.raw(request("GET", path, "", "").as_bytes())
}

pub(crate) fn post(world: &World, path: &str, body: &Value) -> Answer {
    world.raw(request("POST", path, "", &body.to_string()).as_bytes())
}

pub(crate) fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// Answers everything that the gateway asks: hooks are bound, and processes are whose `whose` says.
pub(crate) fn answering(mut agent: FakeAgent, whose: Whose) -> (std::thread::JoinHandle<()>, UnixStream) {
    let stream = agent.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        while let Some(frame) = agent.receive() {
            match frame {
                ToAgent::Whose { request, .. } => agent.send(&ToGateway::Whose {
                    request,
                    whose: whose.clone(),
                }),
                ToAgent::Register { request, .. } => agent.send(&ToGateway::Registered {
                    request,
                    binding: Binding::Bound,
                }),
                _ => agent.send(&ToGateway::Status {
                    status: AgentStatus::default(),
                }),
            }
        }
    });
    (thread, stream)
}

#[test]
fn it_says_how_it_is_and_what_it_answers() {
    let world = World::start(ACTION);
    assert!(world.bash("t1", "ls").is_silence());
    assert!(world.bash("t2", "deny-me").is_denied());
    assert_eq!(json_of(&get(&world, "/v1/health")), json!({"ok": true}));
    let document = json_of(&get(&world, "/v1/openapi.json"));
    assert_eq!(document["openapi"], "3.1.0");
    // Every path that is documented is there.
    for path in document["paths"].as_object().unwrap().keys() {
        let path = path
            .replace("{seq}", "1")
            .replace("{id}", "x")
            .replace("{connector}", "claude-code");
        let answer = world.raw(request("OPTIONS", &path, "", "").as_bytes());
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
    }
    let metrics = get(&world, "/v1/metrics");
    for line in [
        "defenseclaw_hooks_total{outcome=\"allow\"} 1",
        "defenseclaw_hooks_total{outcome=\"deny\"} 1",
        "defenseclaw_hook_duration_seconds_count 2",
        "defenseclaw_hook_duration_seconds_bucket{le=\"+Inf\"} 2",
        "defenseclaw_sessions_open 1",
        "defenseclaw_agent_connected 0",
        "# TYPE defenseclaw_ledger_records gauge",
    ] {
        assert!(metrics.body.contains(line), "{line}\n{}", metrics.body);
    }
    let peer = json_of(&get(&world, "/v1/peer"));
    assert_eq!(peer["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(peer["operator"], true, "the gateway's own user");
    let missing = get(&world, "/v2/status");
    assert!(
        missing.status == 404 && missing.body.contains("/v1/status"),
        "{missing:?}"
    );
}

#[test]
fn decisions_and_records_are_found_by_what_is_asked() {
    let world = World::start(ACTION);
    for (call, command) in [("a", "ls"), ("b", "deny-me"), ("c", "ask-me"), ("d", "ls")] {
        world.bash(call, command);
    }
    let calls = |query: &str| -> Vec<String> {
        let found = json_of(&get(&world, &format!("/v1/decisions{query}")));
        let records = found["records"].as_array().unwrap().clone();
        let call = |record: Value| record["call"].as_str().unwrap().to_owned();
        records.into_iter().map(call).collect()
    };
    assert_eq!(calls(""), ["a", "b", "c", "d"]);
    assert_eq!(calls("?limit=2"), ["c", "d"]);
    assert_eq!(calls("?verdict=deny"), ["b"]);
    assert_eq!(calls("?severity=MEDIUM"), ["b", "c"]);
    assert_eq!(calls("?session=claude-code/s1&verdict=allow&limit=1"), ["d"]);
    assert_eq!(calls("?session=claude-code/other"), Vec::<String>::new());
    assert_eq!(calls("?since=1h"), ["a", "b", "c", "d"]);
    let more = |query: &str| json_of(&get(&world, &format!("/v1/decisions{query}")))["more"].clone();
    assert_eq!((more("?limit=2"), more("?limit=4")), (json!(true), json!(false)));
    for wrong in [
        "?limit=0",
        "?limit=1001",
        "?since=yesterday",
        "?verdict=maybe",
        "?colour=red",
        "?session=x",
    ] {
        let answer = get(&world, &format!("/v1/decisions{wrong}"));
        assert!(
            answer.status == 400 && answer.body.contains("error"),
            "{wrong}: {answer:?}"
        );
    }
    let record = json_of(&get(&world, "/v1/records/2"));
    assert_eq!(
        (record["seq"].clone(), record["call"].clone()),
        (json!(2), json!("a"))
    );
    assert_eq!(get(&world, "/v1/records/999").status, 404);
    assert_eq!(get(&world, "/v1/records/first").status, 400);
}

#[test]
fn an_item_is_inspected_as_the_tool_would_and_nothing_is_recorded() {
    let world = World::start(ACTION);
    let before = world.records().len();
    let call = json!({"id": "1", "tool": "Bash", "input": {"command": "deny-me"}});
    let said = json_of(&post(&world, "/v1/inspect", &call));
    assert_eq!(
        (said["id"].clone(), said["verdict"].clone()),
        (json!("1"), json!("deny"))
    );
    assert_eq!(said["findings"][0]["rule"], "test.deny");
    let wrong = post(&world, "/v1/inspect", &json!({"id": "1"}));
    assert!(wrong.status == 400 && wrong.body.contains("neither"), "{wrong:?}");
    let large = format!(
        "POST /v1/inspect HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        (1 << 20) + 1
    );
    assert_eq!(world.raw(large.as_bytes()).status, 413);
    assert_eq!(world.records().len(), before);
}

#[test]
fn an_operator_s_verb_needs_a_process_that_no_agent_started() {
    let world = World::start(ACTION);
    world.bash("t1", "ls");
    let reload = || post(&world, "/v1/policy/reload", &json!({}));
    // Without an agent: what started this test has started what called the hook, and so is taken for a harness.
    let refused = reload();
    assert!(
        refused.status == 403 && refused.body.contains("which calls hooks"),
        "{refused:?}"
    );

    let session = Some("claude-code/s1".parse().unwrap());
    for (whose, status, words) in [
        (
            Whose::Session { session },
            403,
            "belongs to session claude-code/s1",
        ),
        (
            Whose::Session { session: None },
            403,
            "belongs to an agent's session",
        ),
        (
            Whose::Unknown {
                reason: "the map was full".into(),
            },
            403,
            "the map was full",
        ),
        (Whose::Nobody, 200, "policy"),
    ] {
        let thread = answering(world.agent(), whose);
        let answer = reload();
        assert!(
            answer.status == status && answer.body.contains(words),
            "{answer:?}"
        );
        let approval = post(&world, "/v1/approvals/00000000", &json!({"approve": true}));
        assert_eq!(
            approval.status,
            if status == 200 { 404 } else { 403 },
            "{approval:?}"
        );
        let peer = json_of(&get(&world, "/v1/peer"));
        assert_eq!(peer["governed"] == "no", status == 200, "{peer}");
        world.until_agent_leaves(thread);
    }
    let daemons = world.daemons();
    assert!(
        daemons.iter().any(|(_, state, _)| state == "policy_reloaded"),
        "{daemons:?}"
    );
}

#[test]
fn rules_that_are_refused_leave_those_before_in_force() {
    let world = World::start(ACTION);
    let thread = answering(world.agent(), Whose::Nobody);
    let before = world.status().policy;
    let file = world.path("policy/rego/decision.rego");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}\nnonsense")).unwrap();
    let refused = post(&world, "/v1/policy/reload", &json!({}));
    assert!(
        refused.status == 422 && refused.body.contains("decision.rego"),
        "{refused:?}"
    );
    assert_eq!(world.status().policy, before);
    assert!(world.bash("t1", "deny-me").is_denied());
    fs::write(&file, good.replace("deny-me", "never-mind")).unwrap();
    let reloaded = json_of(&post(&world, "/v1/policy/reload", &json!({})));
    assert_eq!(reloaded["before"], before);
    assert_eq!(reloaded["policy"], world.status().policy);
    assert!(world.bash("t2", "deny-me").is_silence());
    world.until_agent_leaves(thread);
}

/// Reads events until one has that name; gives (id, data) of each before and of it.
fn events_until(reader: &mut impl BufRead, name: &str) -> Vec<(u64, Value)> {
    let (mut events, mut id, mut last) = (Vec::new(), 0, String::new());
    for line in reader.lines() {
        let line = line.unwrap();
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.parse().unwrap();
        } else if let Some(text) = line.strip_prefix("event: ") {
            last = text.to_owned();
        } else if let Some(text) = line.strip_prefix("data: ") {
            events.push((id, serde_json::from_str(text).unwrap()));
            if last == name {
                return events;
            }
        }
    }
    panic!("the stream ended before {name}: {events:?}")
}

#[test]
fn new_records_are_streamed_and_a_client_goes_on_where_it_was() {
    let mut world = World::start(ACTION);
    world.bash("before", "ls");
    let follow = |headers: &str| {
        let mut stream = world.connect();
        stream
            .write_all(request("GET", "/v1/events", headers, "").as_bytes())
            .unwrap();
        BufReader::new(stream)
    };
    let mut stream = follow("");
    let mut head = String::new();
    while !head.contains("records follow") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(
        head.contains("text/event-stream") && head.starts_with("HTTP/1.1 200"),
        "{head}"
    );
    world.bash("t1", "deny-me");
    let events = events_until(&mut stream, "tool_call");
    assert_eq!(events.len(), 1, "only what is new");
    assert_eq!(events[0].1["call"], "t1");
    let last = events[0].0;
    drop(stream);
    world.event("Stop", json!({}));
    world.bash("t2", "ls");
    let mut stream = follow(&format!("last-event-id: {last}\r\n"));
    let events = events_until(&mut stream, "tool_call");
    let kinds: Vec<_> = events
        .iter()
        .map(|(_, record)| record["body"]["kind"].clone())
        .collect();
    assert_eq!(kinds, ["stop", "tool_call"]);
    assert_eq!(events[0].0, last + 1);
    let wrong = world.raw(request("GET", "/v1/events", "last-event-id: x\r\n", "").as_bytes());
    assert_eq!(wrong.status, 400);
    // A stream does not keep the gateway from stopping, and is told.
    assert!(world.end(nix::sys::signal::Signal::SIGTERM).success());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("event: dropped") && rest.contains("the gateway stops"),
        "{rest}"
    );
}

#[test]
fn streams_are_bounded_and_one_that_nobody_reads_harms_nobody() {
    let world = World::start(ACTION);
    let open = || {
        let mut stream = world.connect();
        stream
            .write_all(request("GET", "/v1/events", "", "").as_bytes())
            .unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8(status.to_vec()).unwrap())
    };
    let (streams, answers): (Vec<_>, Vec<_>) = (0..9).map(|_| open()).unzip();
    assert_eq!(answers[..8], ["HTTP/1.1 200"; 8]);
    assert_eq!(answers[8], "HTTP/1.1 503");
    for call in 0..300 {
        assert!(
            world
                .bash(&format!("t{call}"), &format!("echo {}", "x".repeat(1500)))
                .is_silence()
        );
    }
    drop(streams);
    world.until("the streams are gone", |world| {
        get(world, "/v1/metrics")
            .body
            .contains("defenseclaw_event_streams 0")
    });
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn over_tcp(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read_answer_from(&mut stream).unwrap()
}

#[test]
fn over_tcp_the_token_opens_reading_and_hooks_and_nothing_that_changes() {
    let address = free_address();
    let world = World::start(&format!("{ACTION}\napi:\n  listen: {address}"));
    let file = world.path("state/api-token");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap();
    let authorised = format!("authorization: Bearer {}\r\n", token.trim());
    let ask = |method: &str, path: &str, headers: &str, body: &str| {
        over_tcp(address, &request(method, path, headers, body))
    };
    for path in [
        "/v1/status",
        "/v1/health",
        "/v1/decisions",
        "/v1/openapi.json",
        "/v1/approvals",
    ] {
        assert_eq!(ask("GET", path, "", "").status, 401, "{path}");
        assert_eq!(
            ask("GET", path, "authorization: Bearer x\r\n", "").status,
            401,
            "{path}"
        );
        assert_eq!(ask("GET", path, &authorised, "").status, 200, "{path}");
    }
    let hook = payload("PreToolUse", bash("t1", "deny-me"));
    assert_eq!(ask("POST", "/v1/hooks/claude-code", "", &hook).status, 401);
    assert!(ask("POST", "/v1/hooks/claude-code", &authorised, &hook).is_denied());
    let item = r#"{"surface":"prompt","text":"hello"}"#;
    assert_eq!(ask("POST", "/v1/inspect", &authorised, item).status, 200);
    for (method, path) in [
        ("POST", "/v1/policy/reload"),
        ("POST", "/v1/approvals/00000000"),
        ("DELETE", "/v1/grants/00000000"),
    ] {
        let refused = ask(method, path, &authorised, r#"{"approve":true}"#);
        assert!(
            refused.status == 403 && refused.body.contains("over TCP"),
            "{refused:?}"
        );
    }
    // A page in a browser, by a name that was made to lead here.
    let rebound = request("GET", "/v1/status", &authorised, "").replace("localhost", "evil.example");
    assert_eq!(over_tcp(address, &rebound).status, 421);
}

#[test]
fn over_tcp_a_session_belongs_to_the_user_who_called() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can call as another user");
    }
    let address = free_address();
    let world = World::start(&format!("{ACTION}\napi:\n  listen: {address}"));
    let token = fs::read_to_string(world.path("state/api-token")).unwrap();
    let authorised = format!("authorization: Bearer {}\r\n", token.trim());
    let hook = |call: &str| {
        let body = payload("PreToolUse", bash(call, "ls"));
        request("POST", "/v1/hooks/claude-code", &authorised, &body)
    };
    let script = "exec 3<>/dev/tcp/127.0.0.1/$1; printf %s \"$2\" >&3; cat <&3";
    let nobody = std::os::unix::process::CommandExt::uid(
        std::process::Command::new("bash").args([
            "-c",
            script,
            "-",
            &address.port().to_string(),
            &hook("t1"),
        ]),
        65_534,
    )
    .output()
    .unwrap();
    let said = String::from_utf8(nobody.stdout).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200") && !said.contains("deny"),
        "{said}"
    );
    let forged = over_tcp(address, &hook("t2"));
    assert!(forged.is_denied(), "{forged:?}");
    let caller = world
        .records()
        .into_iter()
        .find_map(|record| match record.draft.body {
            RecordBody::ToolCall {
                binding: Binding::Forged { caller },
                ..
            } => Some(caller),
            _ => None,
        });
    assert_eq!(caller.as_deref(), Some("user 0; the session is user 65534's"));
}

#[test]
fn to_say_that_a_session_has_ended_makes_nobody_an_operator() {
    let world = World::start(ACTION);
    world.bash("t1", "ls");
    world.event("SessionEnd", json!({"reason": "other"}));
    assert_eq!(world.status().open_sessions, 0);
    let refused = post(&world, "/v1/policy/reload", &json!({}));
    assert!(
        refused.status == 403 && refused.body.contains("which calls hooks"),
        "{refused:?}"
    );
    // Nor does a restart, nor an agent that was there and is gone.
    let mut world = world;
    world.event("SessionStart", json!({"source": "startup"}));
    world.end(nix::sys::signal::Signal::SIGTERM);
    world.start_gateway();
    let refused = post(&world, "/v1/policy/reload", &json!({}));
    assert!(
        refused.status == 403 && refused.body.contains("own coding agents"),
        "{refused:?}"
    );
    let thread = answering(world.agent(), Whose::Nobody);
    assert_eq!(post(&world, "/v1/policy/reload", &json!({})).status, 200);
    world.until_agent_leaves(thread);
    assert_eq!(post(&world, "/v1/policy/reload", &json!({})).status, 403);
}

#[test]
fn nobody_s_inspections_hold_up_an_operator() {
    let world = World::start(ACTION);
    world.bash("t1", "ls");
    let text = "a\\u0301 ".repeat(120_000);
    let item = format!(r#"{{"surface":"prompt","text":"{text}"}}"#);
    let item = request("POST", "/v1/inspect", "", &item);
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = world.connect();
            stream.write_all(item.as_bytes()).unwrap();
            stream
        })
        .collect();
    let found = json_of(&get(&world, "/v1/decisions"));
    assert_eq!(found["records"].as_array().unwrap().len(), 1);
    drop(busy);
}

#[test]
fn a_token_that_others_can_read_or_an_address_that_others_reach_is_refused() {
    let address = free_address();
    let mut world = World::start(&format!("{ACTION}\napi:\n  listen: {address}"));
    world.end(nix::sys::signal::Signal::SIGTERM);
    let file = world.path("state/api-token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = |world: &World| {
        let output = world.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let message = refused(&world);
    assert!(
        message.contains("api-token") && message.contains("others may use it"),
        "{message}"
    );
    assert!(!world.socket().exists());
    fs::remove_file(&file).unwrap();
    world.start_gateway();
    assert!(world.bash("t", "ls").is_silence());

    let world = World::prepare("api:\n  listen: 0.0.0.0:0");
    assert!(refused(&world).contains("only loopback is taken"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::prepare(&format!("api:\n  listen: {}", taken.local_addr().unwrap()));
    assert!(refused(&world).contains("another port"));
}

#[test]
fn too_many_requests_of_one_user_are_refused_and_hooks_are_not() {
    let world = World::start(ACTION);
    let refused = (0..600)
        .filter(|_| get(&world, "/v1/health").status == 429)
        .count();
    assert!(refused > 50, "{refused}");
    assert!(world.bash("t1", "deny-me").is_denied());
}
