//! What it means that a path is read or written.

use defenseclaw_model::facts::BehaviourKind::{
    Credential, Destruction, Discovery, Evasion, Persistence, Privilege,
};
use defenseclaw_model::facts::Radius;

use super::behaviours::is_log;
use super::{Access, Analysis, histories};
use crate::paths::PathRules;

/// Whether a path of `class` gives a secret away when it is read.
pub(super) fn is_secret(rules: &PathRules, class: &str) -> bool {
    rules.is_secret(class) || matches!(class, "credential-folder" | "env-file" | "process-secrets")
}

/// Notes what follows from the path at `at` of the facts.
pub(super) fn touched(analysis: &mut Analysis, access: Access, at: usize) {
    let list = match access {
        Access::Read => &analysis.facts.reads,
        Access::Write => &analysis.facts.writes,
    };
    let Some(fact) = list.get(at) else { return };
    let path = fact.path.clone();
    let class = fact.class.as_deref().unwrap_or_default();
    let noted = match access {
        Access::Read => read(&path, class),
        Access::Write => written(&path, class),
    };
    if noted == Some((Credential, "history-search")) && histories::is_looked_up(analysis) {
        return;
    }
    if let Some((kind, technique)) = noted {
        let radius = (kind == Destruction).then_some(Radius::System);
        analysis.behave(kind, technique, &path, radius);
    }
}

type Noted = Option<(defenseclaw_model::facts::BehaviourKind, &'static str)>;

fn read(path: &str, class: &str) -> Noted {
    let name = path.rsplit('/').next().unwrap_or_default();
    Some(match class {
        "system-auth" => (Credential, "shadow"),
        "browser-store" => (Credential, "browser-store"),
        "password-manager" => (Credential, "keyring"),
        "process-secrets" if path.ends_with("/environ") => (Credential, "env-of-process"),
        "process-secrets" => (Credential, "memory-dump"),
        "credential" if is_cloud(path) => (Credential, "cloud-token"),
        _ if path.starts_with("/etc/krb5.keytab")
            || name.starts_with("krb5cc_")
            || name.ends_with(".keytab") =>
        {
            (Credential, "kerberos")
        }
        _ if is_history(name) => (Credential, "history-search"),
        _ if path.starts_with("/dev/input/event") => (Credential, "keylog"),
        _ if path == "/etc/passwd"
            || path == "/etc/group"
            || path == "/var/log/wtmp"
            || path == "/var/run/utmp" =>
        {
            (Discovery, "accounts")
        }
        _ if path == "/etc/hosts" || name == "known_hosts" => (Discovery, "hosts"),
        _ if path == "/etc/resolv.conf" || path.starts_with("/proc/net/") => (Discovery, "network-config"),
        _ if path == "/.dockerenv" || path == "/proc/1/cgroup" || path == "/proc/self/cgroup" => {
            (Discovery, "container")
        }
        _ => return None,
    })
}

fn is_cloud(path: &str) -> bool {
    [
        "/.aws/",
        "/gcloud/",
        "/.azure/",
        "/.oci/",
        "/serviceaccount/",
        "/.kube/",
        "/doctl/",
        "/.terraform",
    ]
    .iter()
    .any(|part| path.contains(part))
}

/// A shell's or client's history.
pub(super) fn is_history(name: &str) -> bool {
    matches!(
        name,
        ".bash_history"
            | ".zsh_history"
            | ".zhistory"
            | ".histfile"
            | ".sh_history"
            | ".ash_history"
            | ".history"
            | "fish_history"
            | ".python_history"
            | ".mysql_history"
            | ".psql_history"
            | ".node_repl_history"
            | ".rediscli_history"
    ) || name.starts_with('.') && name.ends_with("_history")
}

/// Programs that everyone runs without a second thought: whoever stands in their place is run in their place.
const SHADOWED: &[&str] = &[
    "ls",
    "ps",
    "cat",
    "sudo",
    "su",
    "ssh",
    "sshd",
    "login",
    "passwd",
    "bash",
    "sh",
    "netstat",
    "ss",
    "top",
    "find",
    "id",
    "who",
    "lsof",
    "crontab",
    "systemctl",
    "journalctl",
    "auditctl",
    "last",
    "w",
    "pgrep",
    "kill",
    "iptables",
    "lsmod",
    "sha256sum",
    "md5sum",
];

fn written(path: &str, class: &str) -> Noted {
    let name = path.rsplit('/').next().unwrap_or_default();
    let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    Some(match class {
        "defenseclaw" => (Evasion, "defenseclaw-tamper"),
        "block-device" => (Destruction, "overwrite-device"),
        "privilege-config" => return privilege(path),
        "system-auth" => (Privilege, "password-change"),
        "ssh-access" if name.starts_with("authorized_keys") => (Persistence, "ssh-authorized-key"),
        "ssh-access" => (Persistence, "ssh-config"),
        "harness-managed" | "harness-settings" if name.contains("mcp") => (Persistence, "mcp-server"),
        "harness-managed" | "harness-settings" => (Persistence, "harness-hook"),
        "shell-startup" if below(&["/etc/profile"]) => (Persistence, "profile"),
        "shell-startup" => (Persistence, "shell-startup"),
        "git-hooks" => (Persistence, "git-hook"),
        "persistence" => return autostart(path),
        _ if is_history(name) => (Evasion, "history-delete"),
        _ if below(&["/etc/update-motd.d/"]) || path == "/etc/motd" => (Persistence, "motd"),
        _ if below(&[
            "/etc/NetworkManager/dispatcher.d/",
            "/etc/network/if-up.d/",
            "/etc/dhcp/",
            "/etc/rc",
        ]) =>
        {
            (Persistence, "init-script")
        }
        _ if below(&["/lib/modules/", "/usr/lib/modules/", "/etc/modules"]) => (Persistence, "kernel-module"),
        _ if below(&["/lib/security/", "/usr/lib/security/"])
            || (name.starts_with("pam_") && name.ends_with(".so")) =>
        {
            (Persistence, "pam")
        }
        _ if below(&["/etc/selinux/"]) => (Evasion, "mac-off"),
        _ if below(&["/etc/audit/"]) => (Evasion, "audit-off"),
        _ if below(&["/etc/apparmor.d/"]) => (Evasion, "mac-off"),
        _ if below(&["/etc/ld.so.conf", "/etc/ld.so.preload"]) => (Persistence, "ld-preload"),
        _ if name.ends_with(".pth") && path.contains("site-packages")
            || name == "sitecustomize.py"
            || name == "usercustomize.py" =>
        {
            (Persistence, "package-hook")
        }
        _ if path == "/proc/sysrq-trigger" => (Destruction, "reboot"),
        _ if below(&["/proc/sys/kernel/"]) => (Evasion, "sandbox-off"),
        _ if is_log(path) => (Evasion, "log-truncate"),
        _ if below(&[
            "/usr/local/bin/",
            "/usr/local/sbin/",
            "/usr/bin/",
            "/bin/",
            "/usr/sbin/",
            "/sbin/",
        ]) && SHADOWED.contains(&name) =>
        {
            (Persistence, "path-hijack")
        }
        _ if is_hidden_place(path) => (Evasion, "hide-file"),
        _ => return None,
    })
}

fn privilege(path: &str) -> Noted {
    Some(match path {
        "/etc/ld.so.preload" => (Persistence, "ld-preload"),
        "/etc/passwd" | "/etc/group" => (Privilege, "password-change"),
        _ if path.starts_with("/etc/pam.d/") => (Persistence, "pam"),
        _ if path.contains("polkit") => (Privilege, "polkit"),
        _ => (Privilege, "sudoers"),
    })
}

fn autostart(path: &str) -> Noted {
    let technique = if path.contains("cron") {
        "cron"
    } else if path.contains("/spool/at") {
        "at"
    } else if path.contains("/systemd/") {
        "systemd-unit"
    } else if path.contains("autostart") {
        "xdg-autostart"
    } else if path.contains("/udev/") {
        "udev"
    } else if path.contains("modules-load") || path.contains("modprobe") {
        "kernel-module"
    } else if path.contains("/apt/") {
        "package-hook"
    } else if path.ends_with("/.ssh/config") {
        "ssh-config"
    } else {
        "init-script"
    };
    Some((Persistence, technique))
}

/// A place for temporary files, with a name that `ls` does not show: what hides there is seldom a cache.
fn is_hidden_place(path: &str) -> bool {
    const KNOWN: &[&str] = &[
        ".cache",
        ".X11-unix",
        ".ICE-unix",
        ".git",
        ".venv",
        ".env",
        ".npm",
        ".config",
        ".font-unix",
        ".local",
    ];
    let blank = path
        .split('/')
        .any(|part| part == "..." || (!part.is_empty() && part.trim().is_empty()));
    let hidden = ["/tmp/.", "/var/tmp/.", "/dev/shm/."]
        .iter()
        .find_map(|folder| path.strip_prefix(folder));
    blank
        || hidden.is_some_and(|rest| {
            let first = rest.split('/').next().unwrap_or_default();
            !first.is_empty() && !KNOWN.iter().any(|known| known[1..] == *first) && !first.contains('.')
        })
}
