//! The units, as systemd's own programs judge them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use defenseclaw_testkit::{Need, require};

use crate::packaging;

const UNITS: [&str; 5] = [
    "defenseclaw-agent.service",
    "defenseclaw-gateway.service",
    "defenseclaw-gateway.socket",
    "defenseclaw-gateway-agent.socket",
    "defenseclaw-gateway-api.socket",
];
/// Most exposure that a service may have, in tenths.
const SCORES: [(&str, u32); 2] = [
    ("defenseclaw-gateway.service", 15),
    ("defenseclaw-agent.service", 45),
];

fn text(unit: &str) -> String {
    fs::read_to_string(packaging("systemd").join(unit)).unwrap()
}

fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The units in a folder, with programs that are there.
fn laid_out(folder: &Path) {
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["defenseclaw-gateway", "defenseclaw-agent"] {
        fs::write(programs.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for unit in UNITS {
        let placed = text(unit).replace("/usr/lib/defenseclaw/", &format!("{}/", programs.display()));
        fs::write(folder.join(unit), placed).unwrap();
    }
}

fn verify(folder: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(UNITS.map(|unit| folder.join(unit)))
        // Ours first, then the host's: what the units refer to is there.
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output()
        .unwrap()
}

fn about_ours(output: &Output) -> String {
    let words = words(output);
    let lines = words.lines().filter(|line| line.contains("defenseclaw"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn systemd_understands_every_line_of_every_unit() {
    if !require(&[Need::Program("systemd-analyze")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    laid_out(folder.path());
    let clean = verify(folder.path());
    assert_eq!(about_ours(&clean), "", "{}", words(&clean));
    // The twin: a word that systemd does not know, and a program that is not there.
    let unit = folder.path().join("defenseclaw-gateway.service");
    let spoilt = fs::read_to_string(&unit)
        .unwrap()
        .replace("ProtectClock=", "ProtectClocks=");
    fs::write(&unit, spoilt).unwrap();
    fs::remove_file(folder.path().join("programs/defenseclaw-agent")).unwrap();
    let found = about_ours(&verify(folder.path()));
    assert!(
        found.contains("ProtectClocks") && found.contains("defenseclaw-agent"),
        "{found}"
    );
}

fn security(unit: &Path, threshold: u32) -> Output {
    Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={threshold}"))
        .arg(unit)
        .output()
        .unwrap()
}

#[test]
fn services_are_exposed_no_more_than_was_promised() {
    if !require(&[Need::Program("systemd-analyze")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (unit, most) in SCORES {
        let judged = security(&packaging("systemd").join(unit), most);
        assert!(judged.status.success(), "{}", words(&judged));
        // The twin: without what binds its capabilities it is over the bound.
        let loose: Vec<_> = text(unit)
            .lines()
            .filter(|line| !line.starts_with("CapabilityBoundingSet=") && !line.starts_with("SystemCall"))
            .map(str::to_owned)
            .collect();
        let loosened = folder.path().join(unit);
        fs::write(&loosened, loose.join("\n")).unwrap();
        assert!(!security(&loosened, most).status.success(), "{unit}");
    }
}

/// What a line of the table with a cross is about: the setting, or the capability or address family after `~`.
fn subject(line: &str) -> Option<String> {
    let name = line.strip_prefix("✗ ")?.split_whitespace().next()?;
    let (setting, what) = name.split_once('=').unwrap_or((name, ""));
    let what = what.trim_start_matches('~');
    let inner = |part: &str| {
        part.replace('(', "")
            .trim_matches(|c| ")*_@".contains(c))
            .to_owned()
    };
    Some(match (setting, what) {
        ("CapabilityBoundingSet", what) => {
            inner(what.trim_start_matches("CAP_").split('|').next().unwrap_or(what))
        }
        ("RestrictAddressFamilies" | "SystemCallFilter", what) => {
            inner(what.trim_start_matches("AF_").split('|').next().unwrap_or(what))
        }
        (setting, _) => format!("{}=", setting.split('/').next().unwrap_or(setting)),
    })
}

#[test]
fn whatever_is_not_closed_is_argued_in_the_unit() {
    if !require(&[Need::Program("systemd-analyze")]) {
        return;
    }
    for (unit, _) in SCORES {
        let judged = words(&security(&packaging("systemd").join(unit), 100));
        let text = text(unit);
        let comments: String = text.lines().filter(|line| line.starts_with('#')).collect();
        let open: BTreeSet<String> = judged.lines().filter_map(subject).collect();
        assert!(open.len() > 5, "the table was not understood:\n{judged}");
        let silent: Vec<_> = open
            .iter()
            .filter(|subject| !comments.contains(subject.as_str()))
            .collect();
        assert!(silent.is_empty(), "{unit} says nothing of {silent:?}\n{judged}");
    }
}

#[test]
fn sockets_are_where_the_configuration_has_them_and_named_as_the_gateway_knows_them() {
    let line = |unit: &str, key: &str| {
        let text = text(unit);
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::to_owned);
        found.unwrap_or_else(|| panic!("{unit} has no {key}"))
    };
    let expected = [
        (
            "defenseclaw-gateway.socket",
            "/run/defenseclaw/gateway.sock",
            "gateway",
            Some("0666"),
        ),
        (
            "defenseclaw-gateway-agent.socket",
            "/run/defenseclaw/gateway-agent.sock",
            "agent",
            Some("0600"),
        ),
        ("defenseclaw-gateway-api.socket", "127.0.0.1:18970", "api", None),
    ];
    // Naming them there would start every one of them with the service, and the API's is to stay off.
    let service = text("defenseclaw-gateway.service");
    assert!(!service.lines().any(|line| line.starts_with("Sockets=")));
    for (unit, listens, name, mode) in expected {
        assert_eq!(line(unit, "ListenStream="), listens);
        assert_eq!(line(unit, "FileDescriptorName="), name);
        if let Some(mode) = mode {
            assert_eq!(line(unit, "SocketMode="), mode);
        }
        assert_eq!(line(unit, "Service="), "defenseclaw-gateway.service");
    }
}
