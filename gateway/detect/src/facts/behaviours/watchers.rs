//! Stopping or removing what watches a host.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Evasion};
use defenseclaw_model::facts::Radius;

use super::super::Analysis;
use super::Invocation;
use crate::shell::Scope;

/// Programs that watch a host, by the starts of their units, processes and packages.
const WATCHERS: &[&str] = &[
    "falcon",
    "crowdstrike",
    "osquery",
    "wazuh",
    "ossec",
    "clam",
    "freshclam",
    "auditbeat",
    "filebeat",
    "packetbeat",
    "sysmon",
    "fail2ban",
    "tripwire",
    "aide",
    "rkhunter",
    "chkrootkit",
    "sentinel",
    "cbagent",
    "cbdaemon",
    "cbsensor",
    "mdatp",
    "sophos",
    "sav-protect",
    "esets",
    "kesl",
    "kav4fs",
    "ds_agent",
    "xagt",
    "cylance",
    "falco",
    "tetragon",
    "tracee",
    "carbonblack",
    "splunk",
    "snort",
    "suricata",
    "zeek",
    "samhain",
    "sysdig",
    "qualys",
    "nessus",
    "nxlog",
    "elastic-agent",
    "elastic-endpoint",
    "lacework",
    "aws-guardduty",
    "amazon-ssm",
    "aliyun",
    "aegis",
    "cloudmonitor",
    "qcloud",
    "yunsuo",
    "rapid7",
    "ir_agent",
    "velociraptor",
    "limacharlie",
    "rphcp",
    "traps",
    "cortex",
    "bdsec",
    "bitdefender",
    "mcafee",
    "ma.service",
    "mfe",
    "symantec",
    "rtvscan",
    "trendmicro",
    "fapolicyd",
    "usbguard",
    "opensnitch",
    "portsentry",
    "psad",
    "sshguard",
    "threatstack",
    "uptycs",
    "nsca-agent",
    "datadog-agent-security",
];

/// Whether `name` is of a program that watches this host.
pub(super) fn is_watcher(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    WATCHERS.iter().any(|known| name.starts_with(known))
}

/// What stopping `unit` amounts to.
fn stopped_service(unit: &str) -> &'static str {
    let unit = unit.rsplit('/').next().unwrap_or_default();
    match unit.trim_end_matches(".service").trim_end_matches(".socket") {
        "auditd" | "audit" => "audit-off",
        "systemd-journald" | "journald" | "rsyslog" | "rsyslogd" | "syslog" | "syslog-ng" | "syslogd"
        | "klogd" => "journal-off",
        "firewalld"
        | "ufw"
        | "iptables"
        | "ip6tables"
        | "nftables"
        | "netfilter-persistent"
        | "csf"
        | "lfd" => "firewall-off",
        "apparmor" | "selinux" | "setroubleshoot" => "mac-off",
        unit if unit.starts_with("defenseclaw") => "defenseclaw-tamper",
        unit if is_watcher(unit) => "security-stop",
        _ => "",
    }
}

pub(super) fn services(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const STOPS: &[&str] = &[
        "stop", "disable", "mask", "kill", "off", "remove", "unload", "bootout", "down", "del", "isolate",
    ];
    let touches = call
        .operands()
        .any(|word| word.starts_with("defenseclaw") || word.contains("defenseclaw"));
    let changes = |word: &str| {
        matches!(
            word,
            "restart" | "reload" | "edit" | "revert" | "unlink" | "set-property" | "freeze"
        )
    };
    let stops = call.operands().any(|word| STOPS.contains(&word));
    if touches && (stops || call.operands().any(changes)) {
        analysis.behave(Evasion, "defenseclaw-tamper", call.name, None);
        return;
    }
    if !stops {
        return;
    }
    for unit in call.operands().filter(|word| !STOPS.contains(word)) {
        let technique = stopped_service(unit);
        if technique.is_empty() {
            let radius = if call.any(&["--user"]) {
                Radius::Files
            } else {
                Radius::System
            };
            analysis.behave(Destruction, "service-stop", unit, radius);
        } else {
            analysis.behave(Evasion, technique, unit, None);
        }
    }
}

pub(super) fn kills(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let all = match call.name {
        "kill" => call.words().skip(1).any(|word| word == "-1"),
        "killall5" => true,
        "pkill" => call.operands().any(|word| matches!(word, "." | ".*" | "")),
        _ => false,
    };
    if all {
        analysis.behave(Destruction, "kill-all", call.name, Radius::System);
    }
    // The shell that runs this: it is not to write its history.
    if call.name == "kill" && call.any(&["-9", "-KILL"]) && call.any(&["$$"]) {
        analysis.behave(Evasion, "history-off", "$$", None);
    }
    for name in call.operands() {
        let technique = stopped_service(name);
        if name.contains("defenseclaw") {
            analysis.behave(Evasion, "defenseclaw-tamper", call.name, None);
        } else if !technique.is_empty() {
            analysis.behave(Evasion, technique, name, None);
        }
    }
    if call
        .words()
        .any(|word| word.contains("pidof") || word.contains("pgrep"))
    {
        for name in call
            .words()
            .flat_map(|word| word.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '`' | '"')))
        {
            if is_watcher(name) {
                analysis.behave(Evasion, "security-stop", name, None);
            }
        }
    }
}

pub(super) fn packages(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const REMOVES: &[&str] = &[
        "remove",
        "purge",
        "autoremove",
        "erase",
        "uninstall",
        "del",
        "-r",
        "-P",
        "-e",
        "--remove",
        "--purge",
        "-R",
        "-Rs",
        "-Rns",
        "disable",
    ];
    if !call.any(REMOVES) {
        return;
    }
    for name in call.operands().filter(|word| !REMOVES.contains(word)) {
        let technique = stopped_service(name);
        if !technique.is_empty() {
            analysis.behave(Evasion, technique, name, None);
        } else if matches!(
            name,
            "rsyslog" | "auditd" | "apparmor" | "selinux-policy" | "ufw" | "firewalld"
        ) {
            analysis.behave(Evasion, "security-stop", name, None);
        }
    }
}
