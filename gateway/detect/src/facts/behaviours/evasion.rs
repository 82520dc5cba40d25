//! Hiding what was done, and stopping what watches.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Evasion};
use defenseclaw_model::facts::Radius;

use super::super::{Analysis, flows, hosts, normal, places};
use super::watchers::{kills, packages, services};
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (&["history", "fc"], |analysis, call, _| {
        if call.short("cdw") && call.name == "history" || call.short("p") && call.name == "fc" {
            let technique = if call.short("cd") {
                "history-delete"
            } else {
                "history-off"
            };
            analysis.behave(Evasion, technique, call.name, None);
        }
    }),
    (
        &[
            "set", "shopt", "unset", "export", "declare", "unsetopt", "readonly",
        ],
        history_settings,
    ),
    (
        &[
            "rm", "unlink", "shred", "srm", "wipe", "mv", "truncate", "ln", "cp", "sed", "tee", "find",
        ],
        logs,
    ),
    (&["journalctl", "dmesg"], |analysis, call, _| {
        let clears = call.begins(&["--vacuum-", "--rotate"]) && call.name == "journalctl"
            || call.name == "dmesg" && call.short("cC");
        if clears {
            let technique = if call.holds(&["=1s", "=0", "=1", "-size=1"]) || call.name == "dmesg" {
                "log-delete"
            } else {
                "journal-vacuum"
            };
            analysis.behave(Evasion, technique, call.name, None);
        }
    }),
    (&["auditctl", "augenrules"], |analysis, call, _| {
        if call.short("D") || call.value(&["-e"]) == Some("0") || call.value(&["-r"]) == Some("0") {
            analysis.behave(Evasion, "audit-off", call.name, None);
        }
    }),
    (
        &[
            "ufw",
            "iptables",
            "ip6tables",
            "iptables-legacy",
            "nft",
            "firewall-cmd",
            "ebtables",
            "csf",
            "pfctl",
            "ipset",
        ],
        firewall,
    ),
    (
        &[
            "setenforce",
            "aa-teardown",
            "aa-disable",
            "aa-complain",
            "apparmor_parser",
            "semodule",
            "semanage",
            "setsebool",
            "aa-remove-unknown",
        ],
        mandatory,
    ),
    (
        &[
            "systemctl",
            "service",
            "rc-service",
            "initctl",
            "launchctl",
            "sv",
            "chkconfig",
            "update-rc.d",
            "rc-update",
        ],
        services,
    ),
    (&["kill", "pkill", "killall", "skill", "killall5"], kills),
    (
        &[
            "apt", "apt-get", "dnf", "yum", "rpm", "dpkg", "snap", "zypper", "pacman", "apk", "brew",
        ],
        packages,
    ),
    (
        &["touch", "debugfs", "date", "timedatectl", "hwclock"],
        timestamps,
    ),
    (&["mount", "umount"], mounts),
    (&["chattr"], |analysis, call, _| {
        if call.begins(&["+i", "+a", "-i", "-a", "=i", "+ia", "+ai", "-ia", "-ai"]) {
            let file = call
                .operands()
                .filter(|word| !word.starts_with(['+', '=']))
                .last();
            analysis.behave(Evasion, "immutable", file.unwrap_or_default(), None);
        }
    }),
    (&["swapoff"], |analysis, _, _| {
        analysis.behave(Evasion, "swap-off", "", None)
    }),
    (&["exec"], |analysis, call, _| {
        if let Some(name) = call
            .value(&["-a"])
            .filter(|name| *name != "-bash" && *name != "-sh")
        {
            analysis.behave(Evasion, "process-name", name, None);
        }
    }),
    (&["cp", "mv", "install", "ln"], renamed_binary),
    (
        &[
            "curl", "wget", "git", "npm", "pip", "ssh", "scp", "pnpm", "yarn", "sftp", "rsync", "http", "xh",
            "aws", "helm", "uv", "conda",
        ],
        verification,
    ),
    (
        &[
            "git",
            "claude",
            "codex",
            "gemini",
            "cursor-agent",
            "q",
            "aider",
            "copilot",
            "opencode",
            "goose",
            "amp",
            "sysctl",
        ],
        guard_rails,
    ),
    (
        &[
            "defenseclaw",
            "defenseclaw-cli",
            "chmod",
            "chown",
            "setfacl",
            "bpftool",
            "mount",
            "umount",
            "chattr",
        ],
        own_tools,
    ),
    (&["setfattr", "setfacl"], |_, _, _| {}),
];

fn history_settings(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let mut words = call.words();
    let off = match call.name {
        "set" => words.any(|word| word == "+o") && call.any(&["history"]),
        "shopt" => call.short("u") && call.any(&["history", "histappend", "cmdhist"]),
        "unset" => {
            call.any(&[
                "HISTFILE",
                "HISTSIZE",
                "HISTFILESIZE",
                "SAVEHIST",
                "PROMPT_COMMAND",
            ]) && !call.any(&["PROMPT_COMMAND"])
        }
        "unsetopt" => call.any(&["SHARE_HISTORY", "INC_APPEND_HISTORY"]),
        _ => false,
    };
    if off {
        analysis.behave(Evasion, "history-off", call.name, None);
    }
    if matches!(call.name, "export" | "declare" | "readonly") {
        for (name, value) in call.words().filter_map(|word| word.split_once('=')) {
            super::assigned::environment(analysis, name, value);
        }
        if call.name == "export" && call.short("n") && call.any(&["HISTFILE", "HISTSIZE"]) {
            analysis.behave(Evasion, "history-off", "HISTFILE", None);
        }
    }
}

/// Logs and histories that are deleted, emptied or edited.
fn logs(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let technique = match call.name {
        "rm" | "unlink" | "shred" | "srm" | "wipe" | "mv" => "log-delete",
        "find" if call.any(&["-delete"]) || call.any(&["rm", "shred", "unlink"]) => "log-delete",
        "find" => return,
        "truncate" => "log-truncate",
        "sed" if call.short("i") || call.begins(&["--in-place"]) => "log-truncate",
        "cp" if call.operand(0) == Some("/dev/null") => "log-truncate",
        "ln" if call.operand(0) == Some("/dev/null") => "log-delete",
        "tee" if !call.short("a") => "log-truncate",
        _ => return,
    };
    for field in call.fields().filter(|field| !field.text.starts_with('-')) {
        let path = normal::normalise(&field.text, scope.cwd.as_deref());
        let name = path.rsplit('/').next().unwrap_or_default();
        if is_log(&path) {
            analysis.behave(Evasion, technique, &path, None);
        } else if places::is_history(name) || name.starts_with(".bash_hist") || name.starts_with(".zsh_hist")
        {
            analysis.behave(Evasion, "history-delete", &path, None);
        }
    }
}

/// A log of the system itself: of logins, of its kernel, of its audit; not of one project's service.
pub(in super::super) fn is_log(path: &str) -> bool {
    let Some(rest) = path
        .strip_prefix("/var/log")
        .or_else(|| path.strip_prefix("/var/adm"))
    else {
        return matches!(path, "/var/run/utmp" | "/run/utmp");
    };
    let rest = rest.trim_start_matches('/');
    const LOGS: &[&str] = &[
        "wtmp",
        "btmp",
        "utmp",
        "lastlog",
        "auth",
        "secure",
        "syslog",
        "messages",
        "kern",
        "audit",
        "journal",
        "cron",
        "faillog",
        "sudo",
        "boot",
        "maillog",
        "tallylog",
        "dmesg",
        "daemon",
        "apt/history",
        "dpkg",
    ];
    rest.is_empty() || rest.starts_with('*') || LOGS.iter().any(|log| rest.starts_with(log))
}

fn firewall(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let off = match call.name {
        "ufw" => call.any(&["disable", "reset"]),
        "nft" => {
            call.any(&["flush"]) && call.any(&["ruleset", "table", "chain"])
                || call.any(&["delete"]) && call.any(&["table"])
        }
        "firewall-cmd" => call.any(&["--panic-off"]) || call.begins(&["--set-default-zone=trusted"]),
        "csf" => call.any(&["-x", "--disable"]),
        "pfctl" => call.any(&["-d"]),
        "ipset" => call.any(&["flush", "destroy"]),
        _ => {
            call.any(&["-F", "--flush", "-X", "--delete-chain"])
                || (call.any(&["-P", "--policy"]) && call.any(&["ACCEPT"]))
        }
    };
    if off {
        analysis.behave(Evasion, "firewall-off", call.name, None);
        if call.any(&["-F", "--flush", "flush", "reset"]) {
            analysis.behave(Destruction, "firewall-flush", call.name, Radius::System);
        }
    }
}

fn mandatory(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let off = match call.name {
        "setenforce" => call.any(&["0", "Permissive", "permissive"]),
        "apparmor_parser" => call.short("R") || call.any(&["--remove"]),
        "semanage" => call.any(&["permissive"]),
        "semodule" => call.short("DBr"),
        "setsebool" => false,
        _ => true,
    };
    if off {
        analysis.behave(Evasion, "mac-off", call.name, None);
    }
}

fn timestamps(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let (changes, object) = match call.name {
        "touch" => {
            let options = ["-t", "-d", "-r", "--date", "--reference", "-acmr", "-amr", "-am"];
            let set = call.words().any(|word| {
                options.contains(&word)
                    || word.starts_with("--date=")
                    || word.starts_with("--reference=")
                    || (word.starts_with('-') && !word.starts_with("--") && word.ends_with(['r', 't', 'd']))
            });
            (set, call.operands().last().unwrap_or_default())
        }
        "debugfs" => (
            call.holds(&["set_inode_field", "mtime", "crtime"]),
            call.operands().last().unwrap_or_default(),
        ),
        "date" => (
            call.any(&["-s", "--set"]) || call.begins(&["--set=", "-s"]),
            "clock",
        ),
        "timedatectl" => (
            call.any(&["set-time"]) || call.any(&["set-ntp"]) && call.any(&["false", "0", "no"]),
            "clock",
        ),
        _ => (call.begins(&["--set"]), "clock"),
    };
    if changes {
        analysis.behave(Evasion, "timestomp", object, None);
    }
}

fn mounts(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let over = call.operands().last().unwrap_or_default();
    let process = over
        .strip_prefix("/proc/")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '$'));
    if process || call.holds(&["hidepid"]) {
        analysis.behave(Evasion, "hide-process", over, None);
    }
}

/// A system's program under another name.
fn renamed_binary(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const TOOLS: &[&str] = &[
        "sh", "bash", "dash", "zsh", "curl", "wget", "nc", "ncat", "socat", "python", "perl", "ssh",
        "base64", "cat", "find", "vim", "su", "sudo", "chmod",
    ];
    let operands: Vec<_> = call.operands_after(&["-m", "-o", "-g", "-t"]).collect();
    let [source, target] = operands.as_slice() else {
        return;
    };
    let source = normal::normalise(source, scope.cwd.as_deref());
    let system = ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"]
        .iter()
        .any(|folder| source.starts_with(folder));
    let name = source.rsplit('/').next().unwrap_or_default();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let new = target
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let hidden = ["/tmp", "/var/tmp", "/dev/shm"]
        .iter()
        .any(|folder| target.starts_with(folder));
    let renamed = new != name && !target.ends_with('/') && !matches!(new, "." | "tmp" | "bin");
    if system && TOOLS.contains(&stem) && (hidden || (renamed && call.name != "ln")) {
        analysis.behave(Evasion, "binary-rename", *target, None);
    }
}

/// Certificates and host keys that are not checked.
fn verification(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let off = match call.name {
        "curl" => call.short("k") || call.any(&["--insecure", "--proxy-insecure"]),
        "wget" => call.any(&["--no-check-certificate"]),
        "git" => {
            call.holds(&["http.sslVerify=false", "http.sslverify=false"])
                || call.any(&["http.sslVerify", "http.sslverify"]) && call.any(&["false", "0"])
        }
        "npm" | "pnpm" | "yarn" => {
            call.any(&["strict-ssl"]) && call.any(&["false"])
                || call.any(&["--strict-ssl=false", "strict-ssl=false"])
        }
        "pip" => call.begins(&["--trusted-host"]),
        "uv" => call.begins(&["--allow-insecure-host"]),
        "conda" => {
            call.any(&["ssl_verify"]) && call.any(&["false", "False"]) || call.any(&["--insecure", "-k"])
        }
        "http" | "xh" => call.any(&["--verify=no", "--verify=false"]),
        "aws" => call.any(&["--no-verify-ssl"]),
        "helm" => call.any(&["--insecure-skip-tls-verify"]),
        _ => call.holds(&["StrictHostKeyChecking=no", "StrictHostKeyChecking no"]),
    };
    if !off {
        return;
    }
    let far = call.operands().filter_map(hosts::url_host).map(|host| host.host);
    let far: Vec<_> = far.collect();
    if far.is_empty() {
        analysis.behave(Evasion, "tls-verify-off", call.name, None);
    }
    for host in far.into_iter().filter(|host| !flows::is_near(host)) {
        analysis.behave(Evasion, "tls-verify-off", host, None);
    }
}

/// Guard rails that are stepped over: of git, of agent products, of the kernel.
fn guard_rails(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const AGENTS: &[&str] = &[
        "--dangerously-skip-permissions",
        "--allow-dangerously-skip-permissions",
        "--yolo",
        "--dangerously-bypass-approvals-and-sandbox",
        "--trust-all-tools",
        "--allow-all-tools",
        "--approval-mode=yolo",
        "--permission-mode=bypassPermissions",
        "bypassPermissions",
        "danger-full-access",
        "--sandbox=danger-full-access",
        "--yes-always",
        "--dangerously-allow-all",
        "--allow-all-paths",
        "--no-sandbox",
    ];
    let found = match call.name {
        "git" => {
            let verb = call.operands_after(&["-C", "-c"]).next();
            let skips = call.any(&["--no-verify"])
                || verb == Some("commit")
                    && call
                        .words()
                        .any(|word| word == "-n" || word == "-nm" || word == "-anm");
            skips.then_some("--no-verify")
        }
        "sysctl" => call.words().find(|word| {
            [
                "kernel.yama.ptrace_scope=0",
                "kernel.randomize_va_space=0",
                "kernel.kptr_restrict=0",
                "kernel.unprivileged_bpf_disabled=0",
                "kernel.dmesg_restrict=0",
                "kernel.modules_disabled=0",
                "fs.protected_symlinks=0",
                "fs.protected_hardlinks=0",
                "fs.suid_dumpable=",
                "kernel.core_pattern=|",
            ]
            .iter()
            .any(|setting| word.replace(' ', "").starts_with(setting))
        }),
        _ => call.words().find(|word| AGENTS.contains(word)),
    };
    if let Some(found) = found {
        analysis.behave(Evasion, "sandbox-off", found, None);
    }
}

/// DefenseClaw by its own tools, and by what changes its files' modes.
fn own_tools(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let tampers = match call.name {
        "defenseclaw" | "defenseclaw-cli" => matches!(
            (call.operand(0), call.operand(1)),
            (Some("setup" | "teardown"), _)
                | (Some("approvals"), Some("approve" | "deny"))
                | (Some("session"), Some("freeze" | "lock" | "kill"))
        ),
        _ => call.words().any(is_own),
    };
    if tampers {
        analysis.behave(Evasion, "defenseclaw-tamper", call.name, None);
    }
}

fn is_own(word: &str) -> bool {
    [
        "/usr/bin/defenseclaw",
        "/usr/sbin/defenseclaw",
        "/usr/lib/defenseclaw",
        "/etc/defenseclaw",
        "/var/lib/defenseclaw",
        "/run/defenseclaw",
        "/sys/fs/bpf/defenseclaw",
    ]
    .iter()
    .any(|start| word.starts_with(start))
}
