//! `policy bundle build`, `sign` and `verify`, without any daemon; the rules of the bundle in force in `policy check`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;

use serde_json::Value;

use crate::common::{Answer, Host};

/// A host with a folder of policies and a key; gives the signer's public key.
fn host() -> (Host, String) {
    let host = Host::new();
    let folder = host.path().join("policies");
    fs::create_dir(&folder).unwrap();
    let lists = "version: 1\nblock: [{ program: frobnicate, owner: o, reason: r }]\n";
    fs::write(folder.join("lists.yaml"), lists).unwrap();
    let made = run(
        &host,
        &["artifact", "keygen", "KEY", "--signer", "acme", "--json"],
    )
    .done();
    let made: Value = serde_json::from_str(&made).unwrap();
    (host, made["public_key"].as_str().unwrap().to_owned())
}

/// Runs it with the words in capitals as files of the host.
fn run(host: &Host, arguments: &[&str]) -> Answer {
    let file = |name: &str| host.path().join(name).to_str().unwrap().to_owned();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|word| match *word {
            "KEY" => file("acme.key"),
            "FOLDER" => file("policies"),
            "OTHER" => file("other.key"),
            "ARCHIVE" => file("p.tar.gz"),
            "BUNDLE" => file("p.bundle"),
            other => other.to_owned(),
        })
        .collect();
    host.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn build(host: &Host) -> Answer {
    run(
        host,
        &[
            "policy",
            "bundle",
            "build",
            "FOLDER",
            "--revision",
            "7",
            "-o",
            "ARCHIVE",
        ],
    )
}

fn sign(host: &Host, more: &[&str]) -> Answer {
    let sign = [
        "policy", "bundle", "sign", "ARCHIVE", "--key", "KEY", "--group", "hosts", "-o", "BUNDLE",
    ];
    run(host, &[&sign, more].concat())
}

fn verify(host: &Host, key: &str) -> Answer {
    run(
        host,
        &[
            "policy",
            "bundle",
            "verify",
            "BUNDLE",
            "--key",
            &format!("acme={key}"),
        ],
    )
}

#[test]
fn a_bundle_is_built_signed_and_verified() {
    let (host, key) = host();
    assert!(build(&host).done().contains("revision 7, 0 tests pass"));
    let signed = sign(&host, &["--ring", "2", "--valid", "2d"]).done();
    assert!(
        signed.contains("signed by acme: revision 7 for hosts, rings up to 2, until"),
        "{signed}"
    );
    let good = verify(&host, &key);
    assert_eq!(good.status, 0, "{good:?}");
    assert!(
        good.out.starts_with("signed by acme: revision 7 for hosts"),
        "{good:?}"
    );

    let other = run(&host, &["artifact", "keygen", "OTHER", "--signer", "x", "--json"]);
    let other: Value = serde_json::from_str(&other.done()).unwrap();
    let wrong = verify(&host, other["public_key"].as_str().unwrap());
    assert_eq!(wrong.status, 1);
    assert!(wrong.notes.contains("not made with the key of acme"), "{wrong:?}");
    let none = run(&host, &["policy", "bundle", "verify", "BUNDLE"]);
    assert_eq!(none.status, 2);
    assert!(none.notes.contains("bundle.keys"), "{none:?}");

    let bundle = host.path().join("p.bundle");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes.truncate(bytes.len() - 1);
    fs::write(&bundle, bytes).unwrap();
    let cut = verify(&host, &key);
    assert_eq!(cut.status, 1);
    assert!(cut.notes.contains("cut off"), "{cut:?}");
}

#[test]
fn what_could_not_be_put_in_force_is_not_built() {
    let (host, _) = host();
    let lists = host.path().join("policies/lists.yaml");
    let good = fs::read_to_string(&lists).unwrap();
    fs::write(&lists, good.replace("owner: o, ", "")).unwrap();
    let refused = build(&host);
    assert_eq!(refused.status, 1);
    assert!(
        refused.notes.contains("lists.yaml") && refused.notes.contains("owner"),
        "{refused:?}"
    );
    fs::write(&lists, good).unwrap();
    assert_eq!(build(&host).status, 0);
    for (more, words) in [
        (["--group", "All Hosts"], "is no group"),
        (["--valid", "900d"], "366 days"),
    ] {
        let sign = [
            "policy", "bundle", "sign", "ARCHIVE", "--key", "KEY", "-o", "BUNDLE",
        ];
        let group: &[&str] = if more[0] == "--group" {
            &[]
        } else {
            &["--group", "hosts"]
        };
        let refused = run(&host, &[&sign, group, &more].concat());
        assert_eq!(refused.status, 2);
        assert!(refused.notes.contains(words), "{refused:?}");
    }
}

#[test]
fn the_bundle_in_force_decides_here_too() {
    let (host, key) = host();
    build(&host).done();
    sign(&host, &[]).done();
    let config = format!("bundle: {{ path: /x, group: hosts, keys: {{ acme: \"{key}\" }} }}\n");
    fs::write(host.path().join("config.yaml"), config).unwrap();
    let call = host.path().join("call.json");
    fs::write(&call, r#"{"tool":"Bash","input":{"command":"frobnicate now"}}"#).unwrap();
    let check = || host.run(&["policy", "check", "--input", call.to_str().unwrap()]);
    assert_eq!(check().status, 0, "none is in force yet");
    fs::copy(host.path().join("p.bundle"), host.path().join("bundle-current")).unwrap();
    let refused = check();
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.out.contains("list.block"), "{refused:?}");
}
