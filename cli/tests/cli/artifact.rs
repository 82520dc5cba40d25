//! `artifact`, and `policy check` and `test` on what decides about artifacts: without any daemon.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Answer, Host};

fn verdict(severity: &str, findings: &Value) -> Value {
    json!({
        "kind": "skill", "name": "pdf-forms", "version": "1.4.0",
        "scanner_verdict": {"severity": severity, "findings": findings, "confidence": 90},
        "trust": {"signed_by": null, "origin": null},
    })
}

fn check(host: &Host, input: &str, more: &[&str]) -> Answer {
    let file = host.path().join("artifact.json");
    std::fs::write(&file, input).unwrap();
    let file = file.to_str().unwrap().to_owned();
    host.run(&[&["policy", "check", "--input", &file], more].concat())
}

fn answer(answer: &Answer) -> (i32, String, String) {
    let line: Value = serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(answer.out.lines().count(), 1);
    assert_eq!(line["policy"].as_str().unwrap().len(), 12);
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    (answer.status, text("action"), text("reason"))
}

#[test]
fn an_artifact_is_checked_and_a_block_is_the_exit_status() {
    let host = Host::new();
    for (severity, findings, status, action, reason) in [
        (
            "NONE",
            json!([]),
            0,
            "allow",
            "The scan found nothing in this skill.",
        ),
        ("MEDIUM", json!(["a"]), 0, "warn", "medium finding: [\"a\"]"),
        (
            "HIGH",
            json!(["a", {"rule": "b.c"}]),
            1,
            "block",
            "HIGH: [\"a\", \"b.c\"]",
        ),
        ("CRITICAL", json!(["a"]), 1, "block", "critical finding"),
    ] {
        let checked = check(&host, &verdict(severity, &findings).to_string(), &[]);
        assert_eq!(checked.notes, "");
        assert_eq!(answer(&checked), (status, action.to_owned(), reason.to_owned()));
    }
}

#[test]
fn what_is_malformed_blocks_and_what_is_no_json_is_usage() {
    let host = Host::new();
    let mut odd = verdict("NONE", &json!([]));
    odd["kind"] = json!("agent");
    let checked = check(&host, &odd.to_string(), &[]);
    assert_eq!(answer(&checked), (1, "block".to_owned(), "no match".to_owned()));
    assert!(checked.notes.contains("agent"), "{checked:?}");
    for input in ["", "{", "[]", "{\"kind\":\"skill\"}", "{\"scanner_verdict\":{}}"] {
        let checked = check(&host, input, &[]);
        assert_eq!(
            (checked.status, checked.out.as_str()),
            (2, ""),
            "{input}: {checked:?}"
        );
    }
}

#[test]
fn a_finding_cannot_act_on_the_terminal() {
    let host = Host::new();
    let checked = check(
        &host,
        &verdict("HIGH", &json!(["\u{1b}[2J\u{202e}"])).to_string(),
        &[],
    );
    assert!(
        !checked.out.contains('\u{1b}') && !checked.out.contains('\u{202e}'),
        "{checked:?}"
    );
}

/// A skill on disk.
fn skill(host: &Host) -> String {
    let path = host.path().join("pdf-forms");
    std::fs::create_dir_all(path.join("scripts")).unwrap();
    std::fs::write(path.join("SKILL.md"), "# Forms\n").unwrap();
    std::fs::write(path.join("scripts/fill.py"), "print(1)\n").unwrap();
    path.to_str().unwrap().to_owned()
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[test]
fn an_artifact_is_signed_trusted_verified_and_admitted() {
    let host = Host::new();
    let (path, key) = (skill(&host), host.path().join("acme.key"));
    let key = key.to_str().unwrap();
    let made = host.run(&["artifact", "keygen", key, "--signer", "acme", "--json"]);
    let public = json_of(&made)["public_key"].as_str().unwrap().to_owned();
    let policies = host.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let lists = format!(
        "version: 1\ntrust:\n  signers:\n    acme: {{ public_key: \"{public}\", auto_allow_up_to: HIGH, owner: o, reason: r }}\n"
    );
    std::fs::write(policies.join("lists.yaml"), lists).unwrap();
    let policies = policies.to_str().unwrap();
    let identity = ["--kind", "skill", "--name", "pdf-forms", "--version", "1.4.0"];
    let verify = |more: &[&str]| {
        host.run(
            &[
                &["artifact", "verify", &path, "--policies", policies, "--json"],
                more,
            ]
            .concat(),
        )
    };

    let unsigned = verify(&identity);
    assert_eq!(
        (unsigned.status, &json_of(&unsigned)["signed_by"]),
        (1, &Value::Null)
    );
    assert!(
        json_of(&unsigned)["reason"]
            .as_str()
            .unwrap()
            .contains("not signed")
    );

    let signed = host.run(&[&["artifact", "sign", &path, "--key", key][..], &identity].concat());
    assert_eq!(
        signed.done(),
        "signed as skill pdf-forms 1.4.0 by acme: /state/pdf-forms/defenseclaw.sig.json\n"
    );
    for arguments in [&identity[..], &[]] {
        let verified = verify(arguments);
        assert_eq!(
            (verified.status, &json_of(&verified)["signed_by"]),
            (0, &json!("acme")),
            "{verified:?}"
        );
    }
    let digest = json_of(&host.run(&["artifact", "manifest", &path, "--json"]))["digest"].clone();
    assert_eq!(json_of(&verify(&identity))["digest"], digest);
    let other = verify(&["--kind", "skill", "--name", "pdf-tools", "--version", "1.4.0"]);
    assert_eq!(other.status, 1);
    assert!(
        json_of(&other)["reason"].as_str().unwrap().contains("pdf-tools"),
        "{other:?}"
    );
    let nobody = host.run(&["artifact", "verify", &path, "--built-in"]);
    assert!(
        nobody.status == 1 && nobody.out.contains("no trusted signer"),
        "{nobody:?}"
    );

    // What was verified is what the policy is told.
    let mut input = verdict("HIGH", &json!(["a"]));
    let checked = check(&host, &input.to_string(), &["--policies", policies]);
    assert_eq!(checked.status, 1);
    input["trust"]["signed_by"] = json!("acme");
    let checked = check(&host, &input.to_string(), &["--policies", policies]);
    assert_eq!((checked.status, answer(&checked).1.as_str()), (0, "allow"));

    std::fs::write(Path::new(&path).join("SKILL.md"), "# forms\n").unwrap();
    let changed = verify(&identity);
    assert!(
        changed.status == 1 && changed.out.contains("since it was signed"),
        "{changed:?}"
    );
}

#[test]
fn what_artifact_cannot_do_is_said() {
    let host = Host::new();
    let path = skill(&host);
    let key = host.path().join("k");
    let key = key.to_str().unwrap();
    host.run(&["artifact", "keygen", key, "--signer", "acme"]).done();
    for (arguments, named) in [
        (&["artifact", "keygen", key, "--signer", "acme"][..], "exists"),
        (
            &["artifact", "keygen", "/state/none", "--signer", "a b"],
            "id of a signer",
        ),
        (
            &[
                "artifact", "sign", &path, "--key", "/nowhere", "--kind", "skill", "--name", "x",
            ],
            "/nowhere",
        ),
        (
            &[
                "artifact", "sign", &path, "--key", key, "--kind", "agent", "--name", "x",
            ],
            "mcp",
        ),
        (
            &[
                "artifact", "sign", "/nowhere", "--key", key, "--kind", "skill", "--name", "x",
            ],
            "/nowhere",
        ),
        (&["artifact", "verify", "/nowhere"], "/nowhere"),
        (&["artifact", "verify", &path, "--name", "x"], "--kind"),
        (&["artifact", "manifest", "/nowhere"], "/nowhere"),
    ] {
        let said = host.run(arguments);
        assert!(
            said.status == 2 && said.notes.contains(named),
            "{arguments:?}: {said:?}"
        );
    }
    std::os::unix::fs::symlink("/etc/passwd", Path::new(&path).join("link")).unwrap();
    let linked = host.run(&["artifact", "manifest", &path]);
    assert!(
        linked.status == 2 && linked.notes.contains("/etc/passwd"),
        "{linked:?}"
    );
}

#[test]
fn the_manifest_names_every_file() {
    let host = Host::new();
    let path = skill(&host);
    let shown = crate::common::without_hashes(&host.run(&["artifact", "manifest", &path]).done());
    assert_eq!(
        shown,
        "<sha-256> -          8 SKILL.md\n<sha-256> -          9 scripts/fill.py\n2 entries, digest sha256:<sha-256>\n"
    );
}

/// A folder with our own policy.
fn policies(host: &Host) -> std::path::PathBuf {
    let rego = host.path().join("policies/rego");
    std::fs::create_dir_all(&rego).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/rego")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, rego.join(path.file_name().unwrap())).unwrap();
    }
    rego
}

#[test]
fn a_branch_of_admission_without_a_test_fails_the_tests() {
    let host = Host::new();
    let rego = policies(&host);
    let folder = rego.parent().unwrap().to_str().unwrap();
    let whole = host.run(&["policy", "test", folder]);
    assert_eq!(whole.status, 0, "{whole:?}");
    assert!(whole.out.contains("admission.rego: 100 % of "), "{whole:?}");
    let file = rego.join("admission_tool.rego");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("\nnever := 1 if input.name == \"never\"\n");
    std::fs::write(&file, &text).unwrap();
    let tested = host.run(&["policy", "test", folder]);
    assert_eq!(tested.status, 1);
    let line = text.lines().count();
    assert!(
        tested.out.contains(&format!(
            "  admission_tool.rego:{line}: no test reaches it: never := 1 if"
        )) && tested.out.contains("admission_tool.rego: 50 % of 2 branches")
            && tested.out.contains("not enough: 1 branch of admission"),
        "{tested:?}"
    );
    let json = host.run(&["policy", "test", folder, "--json"]);
    let file = json
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["file"] == "admission_tool.rego")
        .unwrap();
    assert_eq!(
        (&file["branches"], &file["covered"], &file["uncovered"][0]["line"]),
        (&json!(2), &json!(1), &json!(line))
    );
}

#[test]
fn the_built_in_admission_is_tested_whole() {
    let host = Host::new();
    let tested = host.run(&["policy", "test", "--json"]);
    for file in [
        "admission",
        "admission_skill",
        "admission_mcp",
        "admission_plugin",
        "admission_tool",
        "artifacts",
    ] {
        let line = format!("{{\"file\":\"{file}.rego\"");
        let line = tested
            .out
            .lines()
            .find(|shown| shown.starts_with(&line))
            .unwrap_or_else(|| panic!("{file}"));
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["uncovered"], &line["required"]),
            (&json!([]), &json!(true))
        );
    }
}

#[test]
fn what_expired_or_counts_otherwise_is_told_when_a_folder_is_validated() {
    let host = Host::new();
    let folder = host.path().join("lists");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("lists.yaml"),
        "version: 1\ntrust:\n  origins:\n    npm: { auto_allow_up_to: CRITICAL, owner: o, reason: r }\nartifacts:\n  allow:\n    \
         - { kind: skill, name: old, owner: o, reason: r, expires: 2020-01-01 }\n    \
         - { kind: skill, name: new, owner: o, reason: r, expires: 2099-01-01T00:00:00Z }\n",
    )
    .unwrap();
    let folder = folder.to_str().unwrap();
    let said = host.run(&["policy", "validate", folder]).done();
    assert!(
        said.contains("expired, so it does nothing: artifacts.allow: skill, name old\n"),
        "{said}"
    );
    assert!(
        !said.contains("name new") && said.contains("note: trust.origins.npm"),
        "{said}"
    );
    let json = json_of(&host.run(&["policy", "validate", folder, "--json"]));
    assert_eq!(json["expired"], json!(["artifacts.allow: skill, name old"]));
}
