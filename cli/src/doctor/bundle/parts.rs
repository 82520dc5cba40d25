//! What a bundle tells besides the checks: chosen field by field.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use defenseclaw_audit::Query;
use defenseclaw_detect::mask::{mask_text, mask_value};
use defenseclaw_model::api::Status;
use defenseclaw_model::config::HOOK_CONF;
use defenseclaw_model::record::{Record, RecordBody};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::daemons::UNITS;
use super::super::host::{Clock, Held, Host, Ran};
use super::super::{Scene, config, files, versions};
use super::{MAX_TEXT, Part, unquoted};
use crate::ledger::Ledger;
use crate::{CliError, json, time};

/// Words of the kernel command line that matter here; the others may name keys and disks.
const WORDS: [&str; 7] = [
    "lsm",
    "security",
    "lockdown",
    "apparmor",
    "selinux",
    "systemd.unified_cgroup_hierarchy",
    "cgroup_no_v1",
];
/// What of /etc/os-release is told.
const SYSTEM: [&str; 4] = ["ID", "VERSION_ID", "PRETTY_NAME", "VARIANT_ID"];
/// Files of the kernel that are told as they are.
const KERNEL: [&str; 6] = [
    "/sys/kernel/security/lsm",
    "/sys/kernel/security/lockdown",
    "/proc/sys/kernel/seccomp/actions_avail",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/user/max_user_namespaces",
];
/// Most files of ours that are listed.
const MAX_FILES: usize = 1_000;
/// How deep folders of ours are listed.
const MAX_DEPTH: usize = 3;

/// All of them.
pub(super) fn of(scene: &Scene<'_>, status: Option<&Status>, last: usize) -> Result<Vec<Part>, CliError> {
    Ok(vec![
        whole("status.json", &status_of(status))?,
        whole("versions.json", &versions_of(scene, status))?,
        whole("config.json", &config_of(scene))?,
        lines("files.jsonl", &files_of(scene))?,
        lines("records.jsonl", &records(scene, last))?,
        lines("log.jsonl", &log(&scene.host, last))?,
    ])
}

fn whole(name: &'static str, value: &Value) -> io::Result<Part> {
    lines(name, std::slice::from_ref(value))
}

/// The one way out: whatever stands in a value is masked once more.
fn lines(name: &'static str, values: &[Value]) -> io::Result<Part> {
    let mut bytes = Vec::new();
    for value in values {
        json::line(&mut bytes, &mask_value(value, MAX_TEXT))?;
    }
    Ok(Part { name, bytes })
}

fn status_of(status: Option<&Status>) -> Value {
    let told = status.and_then(|status| serde_json::to_value(status).ok());
    told.unwrap_or_else(|| json!({"answers": false}))
}

fn versions_of(scene: &Scene<'_>, status: Option<&Status>) -> Value {
    let host = &scene.host;
    let facts = &host.facts;
    let release = host.read("/etc/os-release").unwrap_or_default();
    let system = release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| SYSTEM.contains(key))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').into()));
    let line = host.read("/proc/cmdline").unwrap_or_default();
    let words: Vec<&str> = line
        .split_whitespace()
        .filter(|word| WORDS.contains(&word.split('=').next().unwrap_or_default()))
        .collect();
    let kernel = KERNEL.iter().map(|path| {
        let text = host.read(path).ok().map(|text| text.trim().to_owned());
        ((*path).to_owned(), json!(text))
    });
    json!({
        "time": time::rfc3339(host.now_ns),
        "tool": versions::OWN,
        "gateway": status.map(|status| status.version.as_str()),
        "programs": files::found(host).iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "looked_at_as_root": host.is_root(),
        "system": system.collect::<serde_json::Map<_, _>>(),
        "release": facts.release,
        "machine": facts.machine,
        "page_size": facts.page_size,
        "landlock": facts.landlock,
        "fanotify": match &facts.fanotify {
            Held::Yes => "holds opens",
            Held::No(_) => "refused",
            Held::NotAsked => "not asked",
        },
        "clock": match facts.clock {
            Clock::Synchronised => "synchronised",
            Clock::Free => "not synchronised",
            Clock::Unknown => "unknown",
        },
        "btf": host.path("/sys/kernel/btf/vmlinux").exists(),
        "cgroup2": host.path("/sys/fs/cgroup/cgroup.controllers").exists(),
        "command_line": words,
        "kernel": kernel.collect::<serde_json::Map<_, _>>(),
    })
}

/// The configuration as it was understood: what is no known key is not in it, comments neither.
fn config_of(scene: &Scene<'_>) -> Value {
    let understood = match &scene.fault {
        None => serde_json::to_value(&scene.settings.config).unwrap_or_default(),
        Some(fault) => json!({"fault": unquoted(&config::told(&fault.to_string()))}),
    };
    let hook = scene.host.read(HOOK_CONF).unwrap_or_default();
    let known = hook
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .filter(|(key, _)| ["socket", "fail", "deadline_ms"].contains(key))
        .map(|(key, value)| (key.to_owned(), value.into()));
    json!({
        "file": scene.settings.file.display().to_string(),
        "there": scene.settings.file.exists(),
        "socket_from_environment": scene.settings.socket_from_environment,
        "config": understood,
        "hook.conf": known.collect::<serde_json::Map<_, _>>(),
    })
}

/// Our files and folders, without a byte of what they hold.
fn files_of(scene: &Scene<'_>) -> Vec<Value> {
    let settings = scene.settings;
    let mut folders: Vec<&Path> = vec![&settings.config.state];
    folders.extend(settings.file.parent());
    folders.extend(settings.socket.parent());
    folders.extend(settings.policies.as_deref());
    let mut listed = Vec::new();
    for program in files::found(&scene.host) {
        listed.extend(one(&program));
    }
    for folder in folders {
        listed.extend(one(folder));
        // An instance of its own may lie among other things: only a folder that is ours is looked into.
        if is_ours(folder, scene) {
            list(folder, MAX_DEPTH, &mut listed);
        }
    }
    if listed.len() >= MAX_FILES {
        listed.truncate(MAX_FILES);
        listed.push(json!({"more": "further files are not listed"}));
    }
    listed
}

fn is_ours(folder: &Path, scene: &Scene<'_>) -> bool {
    folder == scene.settings.config.state
        || Some(folder) == scene.settings.policies.as_deref()
        || folder.file_name().is_some_and(|name| name == "defenseclaw")
}

fn list(folder: &Path, depth: usize, listed: &mut Vec<Value>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .take(MAX_FILES)
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable();
    for path in paths {
        if listed.len() >= MAX_FILES {
            return;
        }
        listed.extend(one(&path));
        if depth > 1 && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            list(&path, depth - 1, listed);
        }
    }
}

fn one(path: &Path) -> Option<Value> {
    let meta = path.symlink_metadata().ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "folder",
        kind if kind.is_symlink() => "link",
        kind if kind.is_socket() => "socket",
        kind if kind.is_file() => "file",
        _ => "special",
    };
    Some(json!({
        "path": path.to_string_lossy(),
        "kind": kind,
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "bytes": meta.len(),
    }))
}

/// Of the last records what no payload is.
fn records(scene: &Scene<'_>, last: usize) -> Vec<Value> {
    let mut told = Vec::new();
    if last == 0 {
        return told;
    }
    let outcome = Ledger::open(&scene.settings.ledger).and_then(|ledger| {
        let query = Query {
            newest: Some(last),
            ..Query::default()
        };
        ledger.each(&query, |record| {
            told.push(record_of(&record));
            Ok(())
        })
    });
    if let Err(error) = outcome {
        told.push(json!({"unread": config::told(&error.to_string())}));
    }
    told
}

fn record_of(record: &Record) -> Value {
    let draft = &record.draft;
    let mut told = json!({
        "seq": record.seq,
        "time": time::rfc3339(draft.time_ns),
        "kind": draft.body.kind(),
        "session": draft.session.as_ref().map(|session| short(&session.to_string())),
        "call": draft.call.as_ref().map(|call| short(call.as_str())),
    });
    let more = match &draft.body {
        RecordBody::ToolCall {
            decision,
            decision_us,
            ..
        } => json!({
            "verdict": decision.verdict,
            "severity": decision.severity,
            "rule": decision.rule,
            "enforced": decision.enforced,
            "decision_us": decision_us,
        }),
        RecordBody::Finding { finding, about_seq } => json!({
            "rule": finding.rule,
            "severity": finding.severity,
            "about_seq": about_seq,
        }),
        _ => Value::Null,
    };
    if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
        told.extend(more);
    }
    told
}

/// The same number for the same name, from which the name cannot be told: a harness chose it.
fn short(name: &str) -> String {
    Sha256::digest(name)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The last lines of the services' logs, where systemd keeps them.
fn log(host: &Host, last: usize) -> Vec<Value> {
    if last == 0 || !host.path("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    let lines = format!("--lines={last}");
    let mut arguments = vec!["--no-pager", "--output=json", &lines];
    for unit in UNITS {
        arguments.extend(["--unit", unit]);
    }
    match host.probes.run(Path::new("journalctl"), &arguments) {
        Ran::Done { out, .. } => out.lines().filter_map(log_line).collect(),
        _ => vec![json!({"unread": "journalctl did not tell them"})],
    }
}

fn log_line(line: &str) -> Option<Value> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let micros: u64 = text("__REALTIME_TIMESTAMP").parse().unwrap_or(0);
    Some(json!({
        "time": time::rfc3339(micros.saturating_mul(1_000)),
        "unit": text("_SYSTEMD_UNIT"),
        "pid": text("_PID"),
        "priority": text("PRIORITY"),
        "message": mask_text(text("MESSAGE"), MAX_TEXT),
    }))
}
