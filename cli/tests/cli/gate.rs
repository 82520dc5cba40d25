//! `gate …` against a gateway of the test's own, and what the ledger says of the gate, in words.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use defenseclaw_model::gate::{GateAnswer, GatedArtifact};
use defenseclaw_model::record::RecordBody;
use serde_json::{Value, json};

use crate::common::{Answer, Host, START, Teller, session, without_hashes};

const DIGEST: &str = "sha256:0101010101010101010101010101010101010101010101010101010101010101";

fn artifact() -> Value {
    json!({"kind": "skill", "connector": "claude-code", "name": "pdf\u{1b}[31m-forms", "path": "/home/a/.claude/skills/pdf-forms",
           "digest": DIGEST, "uid": 1000, "files": 3, "bytes": 4711})
}

fn held() -> Value {
    json!({"id": "q-3fa81c02bd10", "artifact": artifact(), "time_ns": START, "reason": "HIGH: [\"skill.exfil\"]",
           "severity": "HIGH", "rules": ["skill.exfil", "script.network"], "held_at": "/var/lib/defenseclaw/quarantine/q-3fa81c02bd10"})
}

fn listed() -> Value {
    json!({"id": "l-0a0b0c0d", "list": "allow", "digest": DIGEST, "owner": "user ana", "reason": "read in full",
           "expires_ns": START, "added_ns": 1, "by_uid": 1000})
}

/// The tool's answer, and the request, while a gateway answers one with that.
fn ask(arguments: &[&str], status: &str, body: &Value) -> (Answer, String) {
    let host = Host::new();
    let listener = UnixListener::bind(host.path().join("gateway.sock")).unwrap();
    let body = body.to_string();
    let status = status.to_owned();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut part = [0; 4096];
        loop {
            let got = stream.read(&mut part).unwrap();
            request.extend(&part[..got]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, sent)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if sent.len() >= length {
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(body.as_bytes()).unwrap();
                let line = text.lines().next().unwrap().to_owned();
                return format!("{line} {sent}");
            }
        }
    });
    let answer = host.run(arguments);
    (answer, server.join().unwrap())
}

#[test]
fn what_is_held_is_shown_without_what_a_terminal_obeys() {
    let mut whole = String::new();
    let cases: [(&[&str], Value); 4] = [
        (&["gate", "list"], json!({"entries": [held()]})),
        (&["gate", "show", "q-3fa81c02bd10"], json!({"entries": [held()]})),
        (&["gate", "lists"], json!({"entries": [listed()]})),
        (&["gate", "list"], json!({"entries": []})),
    ];
    for (arguments, body) in cases {
        let (answer, asked) = ask(arguments, "200 OK", &body);
        whole.push_str(&format!(
            "$ {}\n{asked}\n{}\n",
            arguments.join(" "),
            answer.done()
        ));
    }
    assert!(!whole.contains('\u{1b}'));
    insta::assert_snapshot!("gate_held", whole);
}

#[test]
fn verbs_send_what_was_asked_for_and_refusals_have_their_exit_status() {
    let mut whole = String::new();
    let cases: [(&[&str], Value); 5] = [
        (&["gate", "restore", "q-3fa81c02bd10"], held()),
        (&["gate", "delete", "q-3fa81c02bd10"], held()),
        (
            &[
                "gate",
                "release",
                "q-3fa81c02bd10",
                "--reason",
                "read",
                "--expires",
                "2d",
            ],
            held(),
        ),
        (
            &["gate", "allow", "--digest", DIGEST, "--reason", "read"],
            listed(),
        ),
        (&["gate", "forget", "l-0a0b0c0d"], listed()),
    ];
    for (arguments, body) in cases {
        let (answer, asked) = ask(arguments, "200 OK", &body);
        whole.push_str(&format!(
            "$ {}\n{asked}\n{}\n",
            arguments.join(" "),
            answer.done()
        ));
    }
    insta::assert_snapshot!("gate_verbs", whole);
    let refused = json!({"error": "no"});
    for (status, exit) in [
        ("403 Forbidden", 4),
        ("404 Not Found", 1),
        ("422 Unprocessable", 1),
        ("503 No", 3),
    ] {
        let (answer, _) = ask(&["gate", "restore", "q-1"], status, &refused);
        assert_eq!(answer.status, exit, "{status}: {}", answer.whole());
    }
    let host = Host::new();
    for arguments in [
        &["gate", "block", "--reason", "r"][..],
        &["gate", "block", "--name", "x", "--reason", "r"],
        &["gate", "allow", "--digest", "d"],
        &["gate", "release", "q-1", "--reason", "r", "--expires", "soon"],
    ] {
        assert_eq!(host.run(arguments).status, 2, "{arguments:?}");
    }
}

#[test]
fn records_of_the_gate_are_told_in_words() {
    let host = Host::new();
    let mut teller = Teller::new(&host, session("s-gate"));
    let artifact: GatedArtifact = serde_json::from_value(artifact()).unwrap();
    let answer: GateAnswer =
        serde_json::from_value(json!({"action": "block", "reason": "HIGH: [\"skill.exfil\"]",
        "severity": "HIGH", "enforced": false, "rules": ["skill.exfil"]}))
        .unwrap();
    teller.add(
        0,
        None,
        RecordBody::Admission {
            artifact,
            opener: "/usr/bin/node".to_owned(),
            answer,
            policy: "0123456789ab".to_owned(),
            signed_by: Some("acme".to_owned()),
            unscanned: Some("the scanner ran out of time".to_owned()),
            scan_ms: 12,
        },
    );
    let entry = serde_json::from_value(held()).unwrap();
    let state = "released".to_owned();
    let by_uid = Some(1000);
    teller.add_to_none(1, RecordBody::Quarantine { entry, state, by_uid });
    let (list, state, entry) = ("allow".to_owned(), "added".to_owned(), listed());
    teller.add_to_none(
        2,
        RecordBody::ListChange {
            list,
            state,
            entry,
            by_uid,
        },
    );
    let package = |state: &str, severity: &str, findings: u64, detail: &str| {
        let mut body = json!({"kind": "package", "package": "npm:pad@latest", "state": state, "severity": severity,
            "findings": findings, "scan_ms": 12, "detail": detail});
        if state == "scanned" {
            body["release"] =
                json!({"version": "1.0.0", "integrity": "sha512-AAAA", "url": "https://h.example/pad.tgz"});
        }
        serde_json::from_value(body).unwrap()
    };
    teller.add(3, None, package("scanned", "NONE", 0, ""));
    teller.add(4, None, package("scanned", "HIGH", 2, ""));
    let escape = "h.example did not answer\u{1b}[31m";
    teller.add_to_none(5, package("unreachable", "NONE", 0, escape));
    drop(teller);
    let shown = [
        &["audit", "tail"][..],
        &["audit", "show", "1"],
        &["session", "show", "last"],
    ]
    .map(|arguments| host.run(arguments).done())
    .join("\n");
    assert!(!shown.contains('\u{1b}'));
    insta::assert_snapshot!("gate_records", without_hashes(&shown));
}
