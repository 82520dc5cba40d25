//! The plugins for OpenCode and OpenClaw, run by node under a host that calls them as the harness does.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

#[path = "contract/gateway.rs"]
mod gateway;

mod shims {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use defenseclaw_harness::shims::files;
    use defenseclaw_model::call::HookEventKind;
    use defenseclaw_testkit::{Need, require};
    use serde_json::{Value, json};

    use super::gateway::Gateway;

    const OPENCODE: &str = include_str!("shims/opencode-host.mjs");
    const OPENCLAW: &str = include_str!("shims/openclaw-host.mjs");

    /// Runs a host script beside a connector's plugin; gives what it says of each call.
    fn run(connector: &str, host: &str, folder: &Path, environment: &[(&str, &str)]) -> Vec<Value> {
        for file in files(connector) {
            std::fs::write(folder.join(file.path), file.content).unwrap();
        }
        std::fs::write(folder.join("package.json"), r#"{"type":"module"}"#).unwrap();
        std::fs::write(folder.join("host.mjs"), host).unwrap();
        let output = Command::new("node")
            .arg(folder.join("host.mjs"))
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }

    /// Where node is there and no root-owned settings rule out what these tests set.
    fn possible() -> bool {
        assert!(
            !Path::new(defenseclaw_model::config::HOOK_CONF).exists(),
            "a hook.conf is installed on this machine"
        );
        require(&[Need::Program("node")])
    }

    fn events(gateway: &Gateway) -> Vec<String> {
        let name = |kind: &HookEventKind| {
            serde_json::to_value(kind).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        gateway
            .seen()
            .iter()
            .map(|parsed| name(&parsed.event.kind))
            .collect()
    }

    #[test]
    fn opencode_does_what_it_is_told() {
        if !possible() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(folder.path());
        let ran = run(
            "opencode",
            OPENCODE,
            folder.path(),
            &[("DEFENSECLAW_SOCKET", &gateway.socket())],
        );
        let refused = |call: &str| json!({"callID": call, "blocked": "DefenseClaw: the test says so"});
        assert_eq!(
            ran[0],
            json!({"callID": "one", "args": {"command": "touch allowed.txt"}})
        );
        assert_eq!(ran[1], refused("two"));
        assert_eq!(
            ran[2],
            refused("three"),
            "there is nobody whom OpenCode could ask for us"
        );
        assert_eq!(
            ran[3],
            json!({"callID": "four", "args": {"command": "touch changed.txt"}})
        );
        assert_eq!(ran[4], refused("five"));
        let too_large = ran[5]["blocked"].as_str().unwrap();
        assert!(too_large.contains("over the limit of 16 MiB"), "{too_large}");
        assert_eq!(
            events(&gateway),
            [
                "session_start",
                "user_prompt_submit",
                "pre_tool_use",
                "post_tool_use",
                "pre_tool_use",
                "pre_tool_use",
                "pre_tool_use",
                "post_tool_use",
                "pre_tool_use",
                "stop"
            ]
        );
    }

    #[test]
    fn openclaw_does_what_it_is_told() {
        if !possible() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(folder.path());
        let ran = run(
            "openclaw",
            OPENCLAW,
            folder.path(),
            &[("DEFENSECLAW_SOCKET", &gateway.socket())],
        );
        let refused = |call: &str| json!({"toolCallId": call, "blocked": "DefenseClaw: the test says so"});
        assert_eq!(
            ran[0],
            json!({"toolCallId": "one", "params": {"command": "touch allowed.txt"}})
        );
        assert_eq!(ran[1], refused("two"));
        assert_eq!(
            ran[2],
            json!({"toolCallId": "three", "asked": {"title": "DefenseClaw", "description": "the test says so",
                   "severity": "warning", "timeoutBehavior": "deny"}})
        );
        assert_eq!(
            ran[3],
            json!({"toolCallId": "four", "params": {"command": "touch changed.txt"}})
        );
        assert_eq!(ran[4], refused("five"));
        let seen = events(&gateway);
        assert_eq!(
            (seen.first().unwrap().as_str(), seen.last().unwrap().as_str()),
            ("session_start", "stop")
        );
        assert_eq!(seen.iter().filter(|event| *event == "pre_tool_use").count(), 5);
    }

    #[test]
    fn without_a_gateway_the_fail_mode_answers() {
        if !possible() {
            return;
        }
        for (connector, host) in [("opencode", OPENCODE), ("openclaw", OPENCLAW)] {
            let folder = tempfile::tempdir().unwrap();
            let nobody = folder.path().join("nobody.sock").display().to_string();
            let with = |fail: &str| {
                let environment = [
                    ("DEFENSECLAW_SOCKET", nobody.as_str()),
                    ("DEFENSECLAW_FAIL_MODE", fail),
                ];
                run(connector, host, folder.path(), &environment)
            };
            for entry in with("closed") {
                let reason = entry["blocked"].as_str().unwrap();
                assert!(
                    reason.starts_with("DefenseClaw: could not check this call"),
                    "{connector}: {reason}"
                );
            }
            for entry in with("open") {
                assert!(entry.get("blocked").is_none(), "{connector}: {entry}");
            }
            for entry in with("sometimes") {
                let reason = entry["blocked"].as_str().unwrap();
                assert!(
                    reason.contains("neither `open` nor `closed`"),
                    "{connector}: {reason}"
                );
            }
        }
    }

    /// Runs one session against a gateway that says this to every request.
    fn against(answer: &'static str, pause: Duration) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("g.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    let (now, later) = answer.split_once('|').unwrap_or((answer, ""));
                    let _ = stream.write_all(now.as_bytes());
                    std::thread::sleep(pause);
                    let _ = stream.write_all(later.as_bytes());
                });
            }
        });
        let host = r#"
            import plugin from "./index.js";
            const handlers = {};
            plugin.register({ on: (name, handler) => (handlers[name] = handler) });
            const answer = await handlers.before_tool_call({ toolName: "exec", params: {}, toolCallId: "1" }, {});
            console.log(JSON.stringify([answer ?? null]));
        "#;
        let socket = socket.display().to_string();
        run(
            "openclaw",
            host,
            folder.path(),
            &[("DEFENSECLAW_SOCKET", &socket)],
        )
    }

    #[test]
    fn an_answer_that_is_not_ours_refuses() {
        if !possible() {
            return;
        }
        for answer in [
            "",
            "nonsense",
            "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: 9\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: 2\r\n\r\n[]",
            "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: 1\r\n\r\n{",
        ] {
            let ran = against(answer, Duration::ZERO);
            assert_eq!(ran[0]["block"], true, "{answer:?}: {ran:?}");
        }
        let silence = "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(against(silence, Duration::ZERO), [Value::Null]);
    }

    #[test]
    fn a_gateway_that_hangs_costs_the_deadline_and_one_that_asks_a_person_is_waited_for() {
        if !possible() {
            return;
        }
        let start = Instant::now();
        let ran = against("|", Duration::from_secs(60));
        assert!(
            ran[0]["blockReason"].as_str().unwrap().contains("within 3000 ms"),
            "{ran:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(10));
        let late = "HTTP/1.1 200 OK\r\nx-defenseclaw-late: 20000\r\ntransfer-encoding: chunked\r\n\r\n|\
                    25\r\n0 0\n{\"params\":{\"command\":\"approved\"}}\r\n0\r\n\r\n";
        let ran = against(late, Duration::from_millis(3_500));
        assert_eq!(ran[0]["params"]["command"], "approved", "{ran:?}");
    }
}
