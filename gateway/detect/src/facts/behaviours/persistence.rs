//! What will run again without anyone asking. What is written to such places is told by `places`.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Evasion, Persistence};
use defenseclaw_model::facts::Radius;

use super::super::{Access, Analysis, places};
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (&["crontab", "fcrontab"], crontab),
    (&["at", "batch"], |analysis, call, _| {
        if !call.short("lcdrV") {
            analysis.behave(
                Persistence,
                "at",
                call.operands().next().unwrap_or_default(),
                None,
            );
        }
    }),
    (&["systemctl"], unit),
    (&["systemd-run"], |analysis, call, _| {
        if call.begins(&["--on-", "--timer-property"]) {
            analysis.behave(
                Persistence,
                "systemd-unit",
                call.value(&["--unit"]).unwrap_or_default(),
                None,
            );
        }
    }),
    (&["loginctl"], |analysis, call, _| {
        if call.operand(0) == Some("enable-linger") {
            analysis.behave(Persistence, "systemd-unit", "linger", None);
        }
    }),
    (
        &["update-rc.d", "chkconfig", "insserv", "rc-update", "initctl"],
        |analysis, call, _| {
            if !call.any(&["--list", "show", "remove", "del", "off", "list"]) {
                analysis.behave(
                    Persistence,
                    "init-script",
                    call.operand(0).unwrap_or_default(),
                    None,
                );
            }
        },
    ),
    (&["git"], git),
    (&["insmod", "modprobe", "kmod", "dkms"], module),
    (&["ssh-copy-id"], |analysis, call, _| {
        let host = call
            .operands_after(&["-i", "-p", "-o"])
            .last()
            .unwrap_or_default();
        analysis.behave(Persistence, "ssh-authorized-key", host, None);
    }),
    (&["alias"], alias),
    (&["trap"], |analysis, call, _| {
        if call
            .operands()
            .skip(1)
            .any(|word| matches!(word, "DEBUG" | "ERR" | "RETURN"))
            && call.operand(0).is_some_and(|code| code.contains('/'))
        {
            analysis.behave(Persistence, "shell-startup", "trap", None);
        }
    }),
    (&["npm", "pnpm", "yarn"], package_script),
    (
        &[
            "claude",
            "codex",
            "gemini",
            "cursor-agent",
            "copilot",
            "openclaw",
            "opencode",
        ],
        harness,
    ),
    (
        &["pam-auth-update", "authconfig", "authselect"],
        |analysis, call, _| {
            analysis.behave(Persistence, "pam", call.name, None);
        },
    ),
    (&["udevadm"], |analysis, call, _| {
        if call.operand(0) == Some("control") && call.holds(&["--reload", "-R"]) {
            analysis.behave(Persistence, "udev", "reload", None);
        }
    }),
    (&["update-alternatives", "dpkg-divert"], |analysis, call, _| {
        if call.any(&["--install", "--add", "--set"]) && call.holds(&["/tmp/", "/dev/shm/", "/var/tmp/"]) {
            analysis.behave(
                Persistence,
                "alias-shadow",
                call.words().last().unwrap_or_default(),
                None,
            );
        }
    }),
];

fn crontab(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    if call.short("l") {
        return;
    }
    if call.short("r") {
        analysis.behave(Destruction, "delete-files", "crontab", Radius::Files);
        return;
    }
    analysis.behave(Persistence, "cron", "crontab", None);
}

fn unit(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let mut words = call.operands();
    if words.any(|word| {
        matches!(
            word,
            "enable" | "link" | "edit" | "set-default" | "add-wants" | "add-requires" | "reenable"
        )
    }) {
        analysis.behave(
            Persistence,
            "systemd-unit",
            words.next().unwrap_or_default(),
            None,
        );
    }
}

/// Settings by which git runs a program, for one call or from now on.
fn git(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    if call.operand(0) == Some("add") {
        // What is added is kept, and pushed. Only what has a class of its own is worth a read.
        for field in call.fields().skip(1).filter(|field| !field.text.starts_with('-')) {
            if analysis
                .rules
                .classify(&field.text)
                .is_some_and(|class| places::is_secret(analysis.rules, class))
            {
                analysis.path(Access::Read, field, scope);
            }
        }
    }
    const RUN: &[&str] = &[
        "core.hookspath",
        "core.fsmonitor",
        "core.sshcommand",
        "core.gitproxy",
        "credential.helper",
        "core.askpass",
        "init.templatedir",
    ];
    let mut before = "";
    for word in call.words() {
        let key = word.split('=').next().unwrap_or_default().to_ascii_lowercase();
        let sets = before == "-c" || call.operand(0) == Some("config") || call.any(&["config"]);
        let filter = key.starts_with("filter.") && (key.ends_with(".clean") || key.ends_with(".smudge"));
        let external = key.starts_with("diff.") && key.ends_with(".textconv");
        if sets
            && (RUN.contains(&key.as_str()) || filter || external)
            && !call.any(&["--unset", "--get", "--unset-all", "unset", "get"])
        {
            let value = word
                .split_once('=')
                .map(|(_, value)| value)
                .or_else(|| following(call, word));
            if let Some(value) = value {
                setting(analysis, &key, value);
            }
        }
        before = word;
    }
}

fn setting(analysis: &mut Analysis, key: &str, value: &str) {
    // The helpers that git comes with keep passwords; they run nothing else.
    let known = matches!(
        value,
        "store" | "cache" | "osxkeychain" | "manager" | "manager-core" | "libsecret" | "true" | "false" | ""
    ) || value.starts_with("cache ")
        || value.starts_with("store ")
        || value.contains("gh auth")
        || value.contains("git-credential")
        || value.contains("aws codecommit");
    if key == "core.hookspath" && matches!(value, "/dev/null") {
        analysis.behave(Evasion, "sandbox-off", "git hooks", None);
        return;
    }
    // Options of ssh itself: a key, a port.
    let plain = key == "core.sshcommand" && value.starts_with("ssh") && !value.contains("ProxyCommand");
    if !known && !plain {
        analysis.behave(Persistence, "git-hook", format!("{key}={value}"), None);
    }
}

/// The word behind `word`.
fn following<'c>(call: &Invocation<'c>, word: &str) -> Option<&'c str> {
    call.words().skip_while(|known| *known != word).nth(1)
}

fn module(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let looks = match call.name {
        "modprobe" => {
            call.short("rnDR") || call.any(&["--dry-run", "--show-depends", "--remove", "--showconfig"])
        }
        "kmod" => !matches!(call.operand(0), Some("load" | "insert")),
        "dkms" => !matches!(call.operand(0), Some("install" | "add")),
        _ => false,
    };
    if !looks {
        analysis.behave(
            Persistence,
            "kernel-module",
            call.operands().last().unwrap_or_default(),
            None,
        );
    }
}

/// Programs that nobody renames for convenience: what stands in their place sees passwords or hides files.
const SHADOWED: &[&str] = &[
    "sudo", "su", "doas", "ssh", "passwd", "gpg", "login", "scp", "pass", "ps", "netstat", "ss", "lsof",
    "last", "who", "crontab",
];

fn alias(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    for word in call.words() {
        let Some((name, value)) = word.split_once('=') else {
            continue;
        };
        let first = value
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .trim_start_matches('\\');
        let chained = value.contains([';', '|', '&', '`'])
            || value.contains("$(")
            || value.contains("/tmp/")
            || value.contains("/dev/");
        let common = [
            "ls", "cd", "cat", "grep", "git", "vi", "vim", "rm", "id", "whoami",
        ]
        .contains(&name);
        if (SHADOWED.contains(&name) && first != name && first != "sudo")
            || ((common || SHADOWED.contains(&name)) && chained)
        {
            analysis.behave(Persistence, "alias-shadow", name, None);
        }
    }
}

/// Scripts that a package manager runs by itself.
fn package_script(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let lifecycle = [
        "scripts.preinstall",
        "scripts.install",
        "scripts.postinstall",
        "scripts.prepare",
        "scripts.prepublish",
    ];
    if call.operand(0) == Some("pkg")
        && call.operand(1) == Some("set")
        && let Some(word) = call
            .words()
            .find(|word| lifecycle.iter().any(|key| word.starts_with(key)))
    {
        analysis.behave(
            Persistence,
            "package-hook",
            word.split('=').next().unwrap_or_default(),
            None,
        );
    }
    if call.operand(0) == Some("config")
        && call.holds(&["script-shell", "node-options", "onload-script", "git="])
        && call.any(&["set"])
    {
        analysis.behave(
            Persistence,
            "package-hook",
            call.operand(2).unwrap_or_default(),
            None,
        );
    }
}

/// What an agent product is given to run.
fn harness(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.operands().take(4).collect();
    match words.as_slice() {
        [
            "mcp",
            "add" | "add-json" | "add-from-claude-desktop" | "install",
            name,
            ..,
        ] => {
            analysis.behave(Persistence, "mcp-server", name, None);
        }
        [
            "plugin" | "plugins" | "extensions" | "extension",
            "install" | "add" | "link",
            name,
            ..,
        ]
        | ["plugin", "marketplace", "add", name] => {
            analysis.behave(Persistence, "harness-hook", name, None);
        }
        ["config", "set", key, ..]
            if ["permission", "hook", "approval", "sandbox", "trust"]
                .iter()
                .any(|part| key.to_ascii_lowercase().contains(part)) =>
        {
            analysis.behave(Persistence, "harness-hook", key, None);
        }
        _ => {}
    }
}
