//! `doctor` on hosts in a folder, and the bundle that it packs.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Severity, Verdict};
use serde_json::Value;

use crate::common::{Answer, Host, Teller, decision, finding, session};
use crate::faults::as_nobody;

/// Words that stand in every planted secret and nowhere else.
const MARK: &str = "planted-7f3a";

struct Place(Host);

impl Place {
    fn new() -> Self {
        let host = Host::new();
        for folder in ["home", "etc/defenseclaw", "proc"] {
            fs::create_dir_all(host.path().join(folder)).unwrap();
        }
        Self(host)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = self.0.command(arguments);
        command
            .args(["--root", self.0.path().to_str().unwrap()])
            .env("HOME", self.0.path().join("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("API_TOKEN", format!("{MARK}-environment"));
        Answer::of(command.output().unwrap(), self.0.path())
    }
}

fn checks(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of<'a>(checks: &'a [Value], name: &str) -> Vec<&'a Value> {
    checks.iter().filter(|check| check["check"] == name).collect()
}

/// Each file of a bundle.
fn unpacked(path: &Path) -> Vec<(String, String)> {
    let packed = fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    entries.collect()
}

#[test]
fn without_any_daemon_every_line_has_a_known_result_and_says_what_to_do() {
    let place = Place::new();
    let answer = place.run(&["doctor", "--json"]);
    assert_eq!(answer.status, 1, "{}", answer.whole());
    let checks = checks(&answer.out);
    let names = [
        "kernel",
        "btf",
        "bpffs",
        "lsm",
        "lockdown",
        "fanotify",
        "landlock",
        "cgroup",
        "seccomp",
        "namespaces",
        "configuration",
        "mode",
        "fail-mode",
        "hook-settings",
        "gateway",
        "permissions",
        "clock",
        "ledger-time",
        "disk",
        "sinks",
        "hooks",
        "leftover",
    ];
    for name in names {
        assert!(!of(&checks, name).is_empty(), "{name}: {}", answer.out);
    }
    for check in &checks {
        let state = check["state"].as_str().unwrap();
        assert!(["ok", "note", "warning", "problem"].contains(&state), "{check}");
        assert!(state == "ok" || check["remedy"].is_string(), "{check}");
        assert!(!check["detail"].as_str().unwrap().contains('\n'), "{check}");
    }
    assert_eq!(of(&checks, "gateway")[0]["state"], "problem");
    let table = place.run(&["doctor"]);
    assert_eq!(table.out.lines().next(), Some("RESULT   CHECK          FOUND"));
    assert!(
        table
            .out
            .contains("\nproblem  gateway        the gateway at /state/gateway.sock cannot be reached"),
        "{}",
        table.out
    );
    assert!(
        table.out.lines().last().unwrap().starts_with("1 problem, "),
        "{}",
        table.out
    );
}

#[test]
fn an_ordinary_user_is_told_what_could_not_be_looked_at() {
    let place = Place::new();
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(
        place.0.path().join("config.yaml"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let answer = as_nobody(
        &place.0,
        &["doctor", "--json", "--root", place.0.path().to_str().unwrap()],
    );
    assert_eq!(answer.status, 1, "{}", answer.whole());
    let checks = checks(&answer.out);
    let configuration = of(&checks, "configuration")[0];
    assert_eq!(
        (&configuration["state"], &configuration["remedy"]),
        (&"note".into(), &"sudo defenseclaw-cli doctor".into())
    );
}

#[test]
fn a_configuration_that_no_daemon_starts_with_is_a_finding_and_not_the_end() {
    let place = Place::new();
    place.file("config.yaml", "mode: action\nsockett: /x\n");
    let answer = place.run(&["doctor", "--json"]);
    assert_eq!(answer.status, 1, "{}", answer.whole());
    let checks = checks(&answer.out);
    let found = of(&checks, "configuration")[0];
    let detail = found["detail"].as_str().unwrap();
    assert_eq!(found["state"], "problem");
    assert!(
        detail.contains("/state/config.yaml") && detail.contains("line 2"),
        "{detail}"
    );
    assert!(detail.contains("did you mean `socket`?"), "{detail}");
    assert!(
        !of(&checks, "disk").is_empty(),
        "the rest is looked at as built in"
    );
}

#[test]
fn hooks_that_nobody_remembers_are_named_with_the_way_to_be_rid_of_them() {
    let place = Place::new();
    place.file(
        "home/.claude/settings.json",
        "{\"hooks\": {\"Stop\": [\"/opt/gone/defenseclaw-hook claude-code\"]}}",
    );
    let checks = checks(&place.run(&["doctor", "--json"]).out);
    let left = of(&checks, "leftover");
    assert_eq!(
        (left.len(), &left[0]["state"], &left[0]["about"]),
        (1, &"problem".into(), &"claude-code".into())
    );
    assert!(
        left[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("defenseclaw-cli teardown claude-code"),
        "{left:?}"
    );
}

/// A state full of secrets, wherever one could stand.
fn plant(place: &Place) {
    let secret = |name: &str| format!("{MARK}-{name}");
    place.file(
        "config.yaml",
        &format!(
            "# password: {}\nmode: action\npolicies: {}\n",
            secret("comment"),
            place.0.path().join("policies").display()
        ),
    );
    place.file("policies/lists.yaml", &format!("# {}\n", secret("lists")));
    place.file("api-token", &secret("api"));
    place.file("grants.json", &format!("[\"{}\"]", secret("grant")));
    place.file("install/backups/0.bak", &secret("backup"));
    place.file(
        "etc/defenseclaw/hook.conf",
        &format!("# {}\nfail = open\ntoken = {}\n", secret("hook"), secret("key")),
    );
    place.file(
        "etc/os-release",
        &format!("ID=debian\nBUG_REPORT_URL={}\n", secret("release")),
    );
    place.file(
        "proc/cmdline",
        &format!("root=/dev/sda1 cryptkey={} lsm=landlock\n", secret("disk")),
    );
    place.file(
        "home/.claude/settings.json",
        &format!(
            "{{\"env\": {{\"KEY\": \"{}\"}}, \"hooks\": \"defenseclaw-hook\"}}",
            secret("settings")
        ),
    );
    let mut teller = Teller::new(&place.0, session(&secret("session")));
    teller.prompt(0, &secret("prompt"));
    let kind = CallKind::Command {
        command: format!("curl -H 'X: {}' http://x", secret("command")),
        background: false,
    };
    let of_call = decision(
        Verdict::Deny,
        &secret("reason"),
        vec![finding("secret.in-command", Severity::High, &secret("message"))],
    );
    let about = teller.call(1, &secret("call"), &secret("tool"), kind, of_call);
    teller.finding(
        2,
        None,
        about,
        finding("secret.in-command", Severity::High, &secret("finding")),
    );
}

#[test]
fn a_bundle_of_a_state_full_of_secrets_holds_none_and_still_tells_what_helps() {
    let place = Place::new();
    plant(&place);
    let out = place.0.path().join("out/support.tar.gz");
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    let answer = place.run(&["doctor", "bundle", "--output", out.to_str().unwrap()]);
    assert_eq!(answer.status, 0, "{}", answer.whole());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let parts = unpacked(&out);
    for (name, text) in &parts {
        assert!(!text.contains(MARK), "{name} holds a planted secret: {text}");
        assert!(!answer.out.contains(MARK));
    }
    let part = |name: &str| {
        let found = parts
            .iter()
            .find(|(known, _)| *known == format!("defenseclaw/{name}"));
        found
            .map(|(_, text)| text.clone())
            .unwrap_or_else(|| panic!("no {name}: {parts:?}"))
    };
    let records = checks(&part("records.jsonl"));
    assert_eq!(
        records
            .iter()
            .map(|record| record["kind"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["prompt", "tool_call", "finding"]
    );
    assert_eq!(
        (&records[1]["verdict"], &records[2]["rule"]),
        (&"deny".into(), &"secret.in-command".into())
    );
    assert_eq!(
        records[0]["session"], records[1]["session"],
        "one session is one number"
    );
    assert!(
        part("files.jsonl").contains("api-token"),
        "that it is there is told"
    );
    let versions: Value = serde_json::from_str(&part("versions.json")).unwrap();
    assert_eq!(versions["command_line"], serde_json::json!(["lsm=landlock"]));
    assert_eq!(versions["system"], serde_json::json!({"ID": "debian"}));
    let config: Value = serde_json::from_str(&part("config.json")).unwrap();
    assert_eq!(
        (&config["config"]["mode"], &config["hook.conf"]),
        (&"action".into(), &serde_json::json!({"fail": "open"}))
    );
    assert!(part("doctor.txt").starts_with("RESULT") && part("README.txt").contains("doctor.jsonl"));
    assert!(of(&checks(&part("doctor.jsonl")), "leftover")[0]["state"] == "warning");

    let again = place.run(&["doctor", "bundle", "--output", out.to_str().unwrap()]);
    assert_eq!(again.status, 2, "{}", again.whole());
    assert!(again.notes.contains("is there already"), "{}", again.notes);
}

#[test]
fn what_cannot_be_parsed_or_answers_with_a_secret_gets_into_no_bundle_either() {
    let place = Place::new();
    place.file(
        "config.yaml",
        &format!("mode: action\napi:\n  secret_key: {MARK}-config\n"),
    );
    place.file("ledger.db", &format!("no database: {MARK}-ledger"));
    place.file(
        "install/manifest.json",
        &format!("{{\"version\": \"{MARK}-manifest\"}}"),
    );
    let out = place.0.path().join("b.tar.gz");
    let answer = place.run(&["doctor", "bundle", "-o", out.to_str().unwrap()]);
    assert_eq!(answer.status, 0, "{}", answer.whole());
    let parts = unpacked(&out);
    for (name, text) in &parts {
        assert!(!text.contains(MARK), "{name} holds a planted secret: {text}");
    }
    let doctor = &parts
        .iter()
        .find(|(name, _)| name.ends_with("doctor.jsonl"))
        .unwrap()
        .1;
    let checks = checks(doctor);
    assert_eq!(of(&checks, "configuration")[0]["state"], "problem");
    assert_eq!(of(&checks, "hooks")[0]["state"], "problem");
    assert_eq!(of(&checks, "ledger-time")[0]["state"], "problem");
}
