//! `setup`, `teardown` and `doctor` on a host in a folder, against a gateway of the test's own.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::{Answer, Host};

/// A hook client that denies the canary as Claude Code wants it, and lets everything else pass.
const CLIENT: &str = r#"#!/bin/sh
if grep -q defenseclaw-canary-denied; then
  echo '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"own test call, which is always refused"}}'
fi
"#;

struct Setup {
    host: Host,
}

impl Setup {
    fn new() -> Self {
        let host = Host::new();
        for folder in ["home/.claude", "etc", "bin"] {
            fs::create_dir_all(host.path().join(folder)).unwrap();
        }
        let setup = Self { host };
        setup.client(CLIENT);
        setup
    }

    fn path(&self, path: &str) -> PathBuf {
        self.host.path().join(path)
    }

    fn client(&self, script: &str) {
        let client = self.path("bin/defenseclaw-hook");
        fs::write(&client, script).unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.path("home/.claude/settings.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let root = self.host.path().to_str().unwrap().to_owned();
        let mut command = self.host.command(arguments);
        command
            .args(["--root", &root])
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/bin:/bin");
        if arguments[0] == "setup" {
            command.arg("--client").arg(self.path("bin/defenseclaw-hook"));
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments).output().unwrap(), self.host.path())
    }

    /// Answers every request for one of those paths with its text, and others with 404.
    fn gateway(&self, answers: &'static [(&'static str, &'static str)]) {
        let listener = UnixListener::bind(self.path("gateway.sock")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 2048];
                let got = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..got]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let (status, body) = answers
                    .iter()
                    .find(|(known, _)| *known == path)
                    .map_or(("404 Not Found", ""), |(_, body)| ("200 OK", *body));
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }
}

const STATUS: &str = r#"{"version":"0.1.0","uptime_s":1,"mode":"action","policy":"0123456789ab","ledger":{"path":"/l","records":3,"head":"ab","durability":"process"},"agent":null,"rss_kib":1,"open_sessions":0,"hooks":{"allowed":0,"asked":0,"denied":0,"bad":0,"failed":0}}"#;

/// The path of the hook settings depends on who runs the test.
fn without_root_s_notes(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("hook.conf"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_harness_s_shell_lines_are_led_through_ours_only_while_its_calls_run_in_a_sandbox() {
    let setup = Setup::new();
    fs::write(setup.settings(), "{\n  \"env\": {\"MINE\": \"1\"}\n}\n").unwrap();
    let config = || fs::read_to_string(setup.path("config.yaml")).unwrap_or_default();
    let settings =
        || -> Value { serde_json::from_str(&fs::read_to_string(setup.settings()).unwrap()).unwrap() };
    let sandbox =
        |profile: &str| setup.run(&["setup", "claude-code", "--mode", "action", "--sandbox", profile]);
    let lacking = sandbox("workspace");
    assert!(lacking.notes.contains("defenseclaw-shell"), "{}", lacking.whole());
    let shell = setup.path("bin/defenseclaw-shell");
    for name in ["bin/defenseclaw-shell", "bin/defenseclaw-cli"] {
        fs::write(setup.path(name), "").unwrap();
    }
    let done = sandbox("workspace");
    assert_eq!(done.status, 0, "{}", done.whole());
    assert!(
        done.out
            .contains("run in the sandbox workspace, by the harness's shell prefix"),
        "{}",
        done.whole()
    );
    assert!(
        config().contains("sandbox: workspace") && config().contains("mode: action"),
        "{}",
        config()
    );
    let env = settings()["env"].clone();
    assert_eq!(env["CLAUDE_CODE_SHELL_PREFIX"], shell.to_str().unwrap());
    assert_eq!(env["MINE"], "1");
    // Another profile is the gateway's to know; the settings stay as they are.
    let build = setup.run(&["setup", "claude-code", "--sandbox", "build", "--json"]);
    let report: Value = serde_json::from_str(&build.out).unwrap();
    assert_eq!(
        (&report["sandbox"], &report["files"][0]["kind"]),
        (&"build".into(), &"unchanged".into())
    );
    assert!(
        config().contains("sandbox: build") && config().contains("mode: action"),
        "{}",
        config()
    );
    let off = sandbox("off");
    assert_eq!(off.status, 0, "{}", off.whole());
    assert!(config().contains("sandbox: \"off\""), "{}", config());
    assert_eq!(settings()["env"], serde_json::json!({"MINE": "1"}));
    assert!(settings()["hooks"]["PreToolUse"].is_array(), "the hooks stay");
    for (connector, profile, why) in [
        ("claude-code", "wide-open", "wide-open"),
        ("claude-code", "base", "extended"),
        ("windsurf", "workspace", "defenseclaw-cli run --profile workspace"),
    ] {
        let refused = setup.run(&["setup", connector, "--sandbox", profile]);
        assert_eq!(refused.status, 2, "{}", refused.whole());
        assert!(refused.notes.contains(why), "{}", refused.whole());
    }
    assert_eq!(setup.run(&["teardown", "claude-code"]).status, 0);
    assert_eq!(
        fs::read_to_string(setup.settings()).unwrap(),
        "{\n  \"env\": {\"MINE\": \"1\"}\n}\n"
    );
}

#[test]
fn a_hook_is_set_up_and_taken_away() {
    let setup = Setup::new();
    fs::write(setup.settings(), "{\n  \"model\": \"opus\"\n}\n").unwrap();
    let dry = setup.run(&["setup", "claude-code", "--dry-run"]);
    assert_eq!(dry.status, 0, "{}", dry.whole());
    assert!(
        dry.out
            .starts_with("would change /state/home/.claude/settings.json\n  -")
            && dry.out.contains("\n  +")
    );
    assert_eq!(
        fs::read_to_string(setup.settings()).unwrap(),
        "{\n  \"model\": \"opus\"\n}\n"
    );

    let done = setup.run(&["setup", "claude-code"]);
    let shown = crate::common::without_hashes(&without_root_s_notes(&done.whole()));
    insta::assert_snapshot!(shown, @r"
    changed /state/home/.claude/settings.json
      as it was: /state/install/backups/<sha-256>.bak
    --- stderr
    --- exit 0
    ");
    let again = setup.run(&["setup", "claude-code", "--json"]);
    let report: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(report["files"][0]["kind"], "unchanged");
    assert_eq!(report["running"], serde_json::json!([]));

    let removed = setup.run(&["teardown", "claude-code"]);
    insta::assert_snapshot!(without_root_s_notes(&removed.whole()), @r"
    restored /state/home/.claude/settings.json
    --- stderr
    --- exit 0
    ");
    assert_eq!(
        fs::read_to_string(setup.settings()).unwrap(),
        "{\n  \"model\": \"opus\"\n}\n"
    );
    let nothing = setup.run(&["teardown", "claude-code"]);
    insta::assert_snapshot!(nothing.whole(), @r"
    --- stderr
    defenseclaw-cli: claude-code is not set up here (user). Nothing was changed
    --- exit 1
    ");
}

#[test]
fn what_cannot_be_set_up_says_why() {
    let setup = Setup::new();
    fs::write(setup.settings(), "{\n  \"model\": opus\n}\n").unwrap();
    let broken = setup.run(&["setup", "claude-code"]);
    assert_eq!(broken.status, 2);
    assert!(
        broken.notes.contains("/state/home/.claude/settings.json: line 2"),
        "{}",
        broken.notes
    );
    let unknown = setup.run(&["setup", "clippy"]);
    assert_eq!(unknown.status, 2);
    assert!(
        unknown.notes.contains("Known: claude-code, codex"),
        "{}",
        unknown.notes
    );
    fs::remove_file(setup.path("bin/defenseclaw-hook")).unwrap();
    let no_client = setup.run(&["setup", "codex"]);
    assert_eq!(no_client.status, 2);
    assert!(no_client.notes.contains("it is not there"), "{}", no_client.notes);
    let no_mode = setup.run(&["setup", "codex", "--mode", "enforce"]);
    assert!(
        no_mode.notes.contains("use observe, action or hitl"),
        "{}",
        no_mode.notes
    );
}

#[test]
fn the_mode_goes_into_the_configuration_and_the_rest_of_it_stays() {
    let setup = Setup::new();
    let config = setup.path("config.yaml");
    fs::write(&config, "# mine\nmode: observe # for now\n").unwrap();
    assert_eq!(setup.run(&["setup", "codex", "--mode", "action"]).status, 0);
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(
        text,
        "# mine\nmode: observe # for now\nconnectors:\n  codex:\n    mode: action\n"
    );
    let changed = setup.run(&["setup", "codex", "--mode", "hitl"]);
    assert!(changed.out.contains("restart the gateway"), "{}", changed.whole());
    assert!(fs::read_to_string(&config).unwrap().ends_with("    mode: hitl\n"));
    let same = setup.run(&["setup", "codex", "--mode", "hitl"]);
    assert!(!same.out.contains("restart the gateway"), "{}", same.whole());
}

#[test]
fn an_agent_s_own_process_is_refused() {
    let setup = Setup::new();
    assert_eq!(setup.run(&["setup", "claude-code"]).status, 0);
    setup.gateway(&[(
        "/v1/peer",
        r#"{"uid":0,"operator":true,"governed":"yes","detail":"session s1"}"#,
    )]);
    for command in [&["teardown", "claude-code"][..], &["setup", "codex"]] {
        let refused = setup.run(command);
        assert_eq!(refused.status, 4, "{}", refused.whole());
        assert!(
            refused
                .notes
                .contains("belongs to an agent's session (session s1)"),
            "{}",
            refused.notes
        );
    }
    assert!(
        fs::read_to_string(setup.settings())
            .unwrap()
            .contains("defenseclaw-hook")
    );
}

#[test]
fn a_gateway_that_does_not_tell_stands_in_nobody_s_way() {
    let setup = Setup::new();
    setup.gateway(&[("/v1/status", STATUS)]);
    assert_eq!(setup.run(&["setup", "claude-code"]).status, 0);
}

#[test]
fn harnesses_are_listed() {
    let setup = Setup::new();
    let program = setup.path("bin/claude");
    fs::write(&program, "#!/bin/sh\necho '2.1.197 (Claude Code)'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let list = |setup: &Setup| {
        // Root looks into everybody's home unless told otherwise.
        let own = nix::unistd::geteuid().is_root().then_some("--only-own");
        let mut command = setup.command(&["setup", "--detect"]);
        command.args(own);
        let path = format!("{}:/usr/bin:/bin", setup.path("bin").display());
        Answer::of(command.env("PATH", path).output().unwrap(), setup.host.path())
    };
    let before = list(&setup);
    assert!(
        before
            .out
            .contains("claude-code  not set up  /state/bin/claude, 2.1.197 (Claude Code)"),
        "{}",
        before.whole()
    );
    setup.run(&["setup", "claude-code"]);
    assert!(list(&setup).out.contains("claude-code  set up (user)"));
}

/// Checks that depend on the hook and on nothing else of whoever runs the test.
const OURS: [&str; 7] = [
    "configuration",
    "gateway",
    "ledger",
    "agent",
    "client",
    "hook",
    "canary",
];

/// What these came to.
fn checks(answer: &Answer) -> Vec<(String, String)> {
    let lines = answer
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|check| OURS.contains(&check["check"].as_str().unwrap()))
        .map(|check| {
            (
                check["check"].as_str().unwrap().to_owned(),
                check["state"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn doctor_proves_a_hook_by_a_call_that_is_denied() {
    let setup = Setup::new();
    fs::write(setup.path("config.yaml"), "mode: action\n").unwrap();
    setup.gateway(&[("/v1/status", STATUS)]);
    assert_eq!(setup.run(&["setup", "claude-code"]).status, 0);
    let good = setup.run(&["doctor", "--json"]);
    let host = [
        ("configuration", "ok"),
        ("gateway", "ok"),
        ("ledger", "ok"),
        ("agent", "warning"),
    ];
    assert_eq!(
        checks(&good),
        expected(&[&host[..], &[("client", "ok"), ("hook", "ok"), ("canary", "ok")]].concat()),
        "{}",
        good.whole()
    );
    assert!(
        good.out
            .contains("defenseclaw-canary-denied was denied in the harness's own words")
    );

    // A hook that answers and does not block is a failure, whatever it says.
    setup.client("#!/bin/sh\necho 'own test call, which is always refused'\n");
    let bad = setup.run(&["doctor", "--json"]);
    assert_eq!(bad.status, 1);
    assert_eq!(
        checks(&bad),
        expected(
            &[
                &host[..],
                &[("client", "ok"), ("hook", "ok"), ("canary", "problem")]
            ]
            .concat()
        ),
        "{}",
        bad.whole()
    );
    assert!(bad.out.contains("was NOT denied"));

    // One that refuses everything because it cannot ask is none either.
    setup.client("#!/bin/sh\necho 'DefenseClaw could not check this call' >&2\nexit 2\n");
    let blind = setup.run(&["doctor", "--json"]);
    assert_eq!(blind.status, 1);
    assert!(blind.out.contains("not by the policy"), "{}", blind.out);

    fs::write(setup.settings(), "{}").unwrap();
    let gone = setup.run(&["doctor"]);
    assert_eq!(gone.status, 1);
    assert!(gone.out.contains("settings.json: no hook of ours is left in it\n                        → Run `defenseclaw-cli setup claude-code` again"), "{}", gone.out);
}

#[test]
fn in_observe_mode_nothing_is_proven() {
    let setup = Setup::new();
    setup.gateway(&[("/v1/status", STATUS)]);
    setup.run(&["setup", "claude-code"]);
    setup.client("#!/bin/sh\n");
    let answer = setup.run(&["doctor"]);
    assert!(
        answer
            .out
            .contains("mode observe: nothing is blocked, so nothing is proven"),
        "{}",
        answer.out
    );
    assert_eq!(answer.status, 0, "{}", answer.out);
}

#[test]
fn doctor_without_a_gateway_says_what_to_do() {
    let setup = Setup::new();
    let answer = setup.run(&["doctor"]);
    assert_eq!(answer.status, 1);
    assert!(
        answer
            .out
            .contains("problem  gateway        the gateway at /state/gateway.sock cannot be reached"),
        "{}",
        answer.out
    );
    assert!(answer.out.contains("Start defenseclaw-gateway"));
    assert!(answer.out.contains("hooks          none is installed"));
}
