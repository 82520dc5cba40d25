//! Specifications, what the contracts say, and canary calls: three sides that have to agree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Host, scopes, spec};
use crate::install::{Scope, Spec, canary, edit, spec as specs};

#[test]
fn every_specification_is_read_and_named_after_its_file() {
    for spec in specs::all().unwrap() {
        assert!(
            spec.system.is_some() || !spec.system_note.is_empty(),
            "{}",
            spec.connector
        );
        let text = serde_json::to_string(&canary::payload(&spec.canary, "s", "/w")).unwrap();
        assert!(
            text.contains(canary::COMMAND),
            "{}: the canary is in no field",
            spec.connector
        );
        assert!(!text.contains('{') || !text.contains("{canary}"), "{text}");
    }
}

#[test]
fn a_reply_that_does_not_block_proves_nothing() {
    use canary::{Outcome, judge, run};
    let claude = &spec("claude-code").canary;
    let deny = r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"own test call, which is always refused"}}"#;
    assert!(matches!(
        judge(claude, Some(0), deny.into(), String::new()),
        Outcome::Blocked { by_policy: true, .. }
    ));
    let unasked = deny.replace(canary::REFUSAL, "no gateway");
    assert!(matches!(
        judge(claude, Some(0), unasked, String::new()),
        Outcome::Blocked { by_policy: false, .. }
    ));
    for reply in [
        "",
        "{}",
        "deny",
        &deny.replace("deny\"", "allow\""),
        &deny.replace("permissionDecision\"", "x\""),
    ] {
        assert!(
            matches!(
                judge(claude, Some(0), reply.to_owned(), String::new()),
                Outcome::Passed { .. }
            ),
            "{reply}"
        );
    }
    assert!(matches!(
        judge(&spec("windsurf").canary, Some(2), String::new(), "x".into()),
        Outcome::Blocked { .. }
    ));

    // The payload really arrives, and what the program says really counts.
    let host = Host::new();
    let script = "#!/bin/sh\ngrep -q defenseclaw-canary-denied && { echo own test call, which is always refused >&2; exit 2; }\n";
    fs::write(&host.site.client, script).unwrap();
    let line = format!("{} claude-code", host.site.client.display());
    assert!(matches!(
        run(claude, &line, "s", &host.site.root, None),
        Outcome::Blocked { by_policy: true, .. }
    ));
    assert!(matches!(
        run(claude, "/nowhere/defenseclaw-hook x", "s", &host.site.root, None),
        Outcome::Failed(_)
    ));
}

#[test]
fn specifications_with_mistakes_are_refused_by_name() {
    let good = include_str!("../../../../../policies/harness/install/windsurf.yaml");
    assert!(Spec::parse("w.yaml", good).is_ok());
    for (from, to, word) in [
        ("path: [hooks.json]", "path: [../hooks.json]", "relative"),
        (
            "path: [hooks.json]",
            "path: [hooks.json]\n      colour: red",
            "colour",
        ),
        ("folder: \"~/.codeium/windsurf\"", "folder: codeium", "absolute"),
        ("[hooks, \"{event}\"]", "[hooks]", "{event}"),
        ("- pre_read_code", "- pre_run_command", "twice"),
        ("- { exit: 2 }", "[]", "canary"),
        ("format: json", "format: whole", "whole"),
    ] {
        let bad = good
            .replacen(from, to, 1)
            .replace("blocked:\n    []", "blocked: []");
        assert_ne!(bad, good, "{from}");
        let error = Spec::parse("w.yaml", &bad).unwrap_err().to_string();
        assert!(error.starts_with("w.yaml: ") && error.contains(word), "{error}");
    }
}

/// What a contract says and what is installed are two files: they have to agree.
#[test]
fn what_is_installed_fits_the_contract() {
    use crate::contract::Contracts;
    use defenseclaw_model::call::{CallKind, HookEventKind};
    use defenseclaw_model::decision::{Decision, Severity, Verdict};

    let contracts = Contracts::embedded().unwrap();
    assert_eq!(
        contracts
            .names()
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>(),
        specs::all()
            .unwrap()
            .iter()
            .map(|spec| spec.connector.as_str())
            .collect()
    );
    for spec in specs::all().unwrap() {
        let contract = contracts.find(&spec.connector).unwrap();
        let payload = canary::payload(&spec.canary, "s", "/w").to_string();
        let is_plugin = contract.transport() == crate::contract::Transport::Plugin;
        assert_eq!(is_plugin, spec.canary.plugin.is_some(), "{}", spec.connector);
        let hint = contract
            .needs_event_argument()
            .then_some(spec.canary.event.as_str());
        let parsed = contract.parse(payload.as_bytes(), hint).unwrap();
        let HookEventKind::PreToolUse(call) = &parsed.event.kind else {
            panic!("{}: the canary is no tool call", spec.connector);
        };
        assert!(
            matches!(&call.kind, CallKind::Command { command, .. } if command == canary::COMMAND),
            "{}: {:?}",
            spec.connector,
            call.kind
        );
        if is_plugin {
            continue; // What its plugin makes of a reply is tried in Node below.
        }
        let decision = Decision {
            verdict: Verdict::Deny,
            severity: Severity::High,
            reason: format!("this is our {}", canary::REFUSAL),
            findings: Vec::new(),
            rule: String::new(),
            line: String::new(),
            updated_input: None,
            sandbox: None,
            policy: String::new(),
            enforced: true,
        };
        let judged = |decision: &Decision| {
            let reply = contract.decided(&parsed.native, decision);
            let body = String::from_utf8(reply.body).unwrap();
            canary::judge(
                &spec.canary,
                Some(i32::from(reply.exit)),
                body,
                String::from_utf8(reply.stderr).unwrap(),
            )
        };
        assert!(
            matches!(
                judged(&decision),
                canary::Outcome::Blocked { by_policy: true, .. }
            ),
            "{}",
            spec.connector
        );
        let allowed = Decision {
            verdict: Verdict::Allow,
            ..decision
        };
        assert!(
            matches!(judged(&allowed), canary::Outcome::Passed { .. }),
            "{}",
            spec.connector
        );
    }
}

#[test]
fn every_installed_hook_is_an_event_of_the_contract_and_gets_its_time() {
    use crate::contract::{Contracts, Transport};

    let host = Host::new();
    for spec in specs::all().unwrap() {
        let contract = Contracts::embedded().unwrap().find(&spec.connector).unwrap();
        if contract.transport() == Transport::Plugin {
            continue; // Its shim names the events, and is tested with it.
        }
        let plain = |name: &str| name.to_lowercase().replace('_', "");
        let events: Vec<_> = contract.events().into_iter().map(plain).collect();
        for scope in scopes(spec) {
            for file in host.site.plan(spec, scope).unwrap() {
                let mut calls = 0;
                for edit in &file.edits {
                    let edit::Edit::Append { at, value, .. } = edit else {
                        continue;
                    };
                    let event = at.last().unwrap();
                    assert!(events.contains(&plain(event)), "{}: {event}", spec.connector);
                    let with_event = format!("defenseclaw-hook {} {event}\"", spec.connector);
                    assert_eq!(
                        value.to_string().contains(&with_event),
                        contract.needs_event_argument(),
                        "{value}"
                    );
                    calls += usize::from(contract.is_call(event) || spec.connector == "openhands");
                    let text = value.to_string();
                    let limit = contract.limit().as_millis();
                    let (seconds, millis) = (limit / 1000, limit);
                    let told = text.split("\"timeout").nth(1).and_then(|rest| {
                        rest.split(|c: char| !c.is_ascii_digit())
                            .find(|digits| !digits.is_empty())?
                            .parse::<u128>()
                            .ok()
                    });
                    // Windsurf's entries take no limit.
                    let enough = if spec.connector == "gemini-cli" {
                        millis
                    } else {
                        seconds
                    };
                    assert!(
                        told.is_none_or(|told| told >= enough),
                        "{}: {text} gives less than {limit} ms",
                        spec.connector
                    );
                }
                assert!(calls > 0, "{}: no event of it decides a call", spec.connector);
            }
        }
    }
}

/// The plugins as installed, in Node in place of their harness: refused without a gateway, and by one that denies.
#[test]
fn an_installed_plugin_is_tried_in_node() {
    use canary::{Outcome, run_plugin};
    use std::io::{Read, Write};

    let node = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("node"))
        .find(|path| path.is_file())
        .expect("the project's set-up installs Node for its tests");
    for (connector, reply) in [
        (
            "opencode",
            r#"{"block":"own test call, which is always refused"}"#,
        ),
        (
            "openclaw",
            r#"{"block":true,"blockReason":"own test call, which is always refused"}"#,
        ),
    ] {
        let host = Host::new();
        host.setup(connector, Scope::User).unwrap();
        let spec = spec(connector);
        let probe = spec.canary.plugin.as_ref().unwrap();
        let installed = host.manifest().installed.remove(0);
        let mut files = installed.files.iter().map(|file| file.planned.path.clone());
        let file = files
            .find(|path| path.file_name().unwrap() == probe.file.as_str())
            .unwrap();
        let socket = host.site.root.join("g.sock");
        let wrapper = host.site.root.join("node");
        fs::write(
            &wrapper,
            format!(
                "#!/bin/sh\nDEFENSECLAW_SOCKET={} exec {} \"$@\"\n",
                socket.display(),
                node.display()
            ),
        )
        .unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let tried = || run_plugin(&spec.canary, probe, &wrapper, &file, "s", Path::new("/"), None);
        let without = tried();
        assert!(
            matches!(&without, Outcome::Blocked { by_policy: false, .. }),
            "{connector}: {without:?}"
        );

        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let gateway = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut chunk = [0; 4096];
            while !request.contains(canary::COMMAND) {
                let got = stream.read(&mut chunk).unwrap();
                assert!(got > 0, "{request}");
                request.push_str(std::str::from_utf8(&chunk[..got]).unwrap());
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: {}\r\n\r\n",
                reply.len()
            );
            stream.write_all((head + reply).as_bytes()).unwrap();
            request
        });
        let with = tried();
        assert!(
            matches!(&with, Outcome::Blocked { by_policy: true, .. }),
            "{connector}: {with:?}"
        );
        assert!(
            gateway
                .join()
                .unwrap()
                .starts_with(&format!("POST /v1/hooks/{connector} "))
        );
    }
}

/// The refusal is known by its words, which the policy has and nothing else says.
#[test]
fn the_policy_says_what_a_canary_is_known_by() {
    let policy = include_str!("../../../../../policies/rego/decision.rego");
    assert!(policy.contains(canary::REFUSAL));
    assert!(policy.contains(&format!("\"name\": \"{}\"", canary::COMMAND)));
}
