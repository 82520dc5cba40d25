//! Looking around: accounts, networks, security products. Much of it is everyday work; the words say what it is, not that
//! it is wrong.

use defenseclaw_model::facts::BehaviourKind::Discovery;

use super::super::{Analysis, flows};
use super::watchers::is_watcher;
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (
        &[
            "who", "w", "last", "lastlog", "users", "lslogins", "finger", "lastb",
        ],
        |analysis, call, _| analysis.behave(Discovery, "accounts", call.name, None),
    ),
    (
        &[
            "nmap",
            "masscan",
            "zmap",
            "rustscan",
            "arp-scan",
            "nbtscan",
            "fping",
            "netdiscover",
            "unicornscan",
            "naabu",
            "hping3",
            "hping",
        ],
        |analysis, call, _| {
            let target = call
                .operands_after(&[
                    "-p",
                    "-oN",
                    "-oX",
                    "-oA",
                    "-oG",
                    "-T",
                    "--script",
                    "-iL",
                    "-e",
                    "--top-ports",
                    "--rate",
                    "-c",
                    "-t",
                    "-w",
                ])
                .last();
            let target = target.unwrap_or_default();
            if !flows::is_near(target) {
                analysis.behave(Discovery, "network-scan", target, None);
            }
        },
    ),
    (&["nc", "ncat", "netcat"], |analysis, call, _| {
        if call.short("z") && !call.words().any(flows::is_near) {
            analysis.behave(
                Discovery,
                "network-scan",
                call.operands_after(&["-w"]).next().unwrap_or_default(),
                None,
            );
        }
    }),
    (
        &[
            "ifconfig", "arp", "netstat", "ss", "route", "iwconfig", "ip", "nmcli", "iw",
        ],
        |analysis, call, _| {
            let looks = call.name != "ip"
                || call.operands().next().is_some_and(|word| {
                    [
                        "a", "addr", "address", "r", "route", "neigh", "n", "link", "l", "rule",
                    ]
                    .contains(&word)
                }) && !call.any(&["add", "del", "set", "up", "down"]);
            if looks {
                analysis.behave(
                    Discovery,
                    if call.name == "arp" {
                        "hosts"
                    } else {
                        "network-config"
                    },
                    call.name,
                    None,
                );
            }
        },
    ),
    (&["ps", "top", "pstree", "htop"], |analysis, call, _| {
        analysis.behave(Discovery, "processes", call.name, None)
    }),
    (
        &[
            "grep",
            "egrep",
            "rg",
            "pgrep",
            "which",
            "pidof",
            "ls",
            "systemctl",
            "service",
            "dpkg",
            "rpm",
        ],
        security_tools,
    ),
    (
        &[
            "getenforce",
            "sestatus",
            "aa-status",
            "apparmor_status",
            "ufw",
            "auditctl",
            "iptables",
        ],
        |analysis, call, _| {
            let looks = match call.name {
                "ufw" => call.any(&["status"]),
                "auditctl" => call.short("ls"),
                "iptables" => call.short("LS"),
                _ => true,
            };
            if looks {
                analysis.behave(Discovery, "security-tools", call.name, None);
            }
        },
    ),
    (&["find"], permissions),
    (&["getcap"], |analysis, call, _| {
        if call.short("r") {
            analysis.behave(Discovery, "permissions", "capabilities", None);
        }
    }),
    (
        &[
            "linpeas",
            "linpeas.sh",
            "linenum",
            "LinEnum",
            "LinEnum.sh",
            "lse",
            "lse.sh",
            "pspy",
            "pspy64",
            "pspy32",
            "linux-exploit-suggester",
            "les.sh",
            "unix-privesc-check",
            "linuxprivchecker",
            "deepce",
            "amicontained",
            "cdk",
            "peirates",
            "kube-hunter",
        ],
        |analysis, call, _| {
            // AWS's own `cdk` has the same name as a tool to leave containers.
            if call.name != "cdk" || call.any(&["evaluate", "run", "auto-escape"]) {
                analysis.behave(Discovery, "permissions", call.name, None);
                analysis.behave(Discovery, "attack-tool", call.name, None);
            }
        },
    ),
    (
        &[
            "showmount",
            "smbclient",
            "ldapsearch",
            "rpcinfo",
            "enum4linux",
            "crackmapexec",
            "netexec",
            "nxc",
            "smbmap",
            "rpcclient",
            "nmblookup",
            "bloodhound-python",
            "wpscan",
            "nikto",
            "gobuster",
            "ffuf",
            "dirb",
            "dirbuster",
            "sqlmap",
            "feroxbuster",
            "nuclei",
            "subfinder",
            "amass",
            "theHarvester",
            "wfuzz",
        ],
        |analysis, call, _| {
            let technique = match call.name {
                "showmount" | "smbclient" | "ldapsearch" | "rpcinfo" | "rpcclient" | "nmblookup" => "hosts",
                _ => "attack-tool",
            };
            analysis.behave(Discovery, technique, call.name, None);
        },
    ),
    (&["dig", "host"], |analysis, call, _| {
        if call.any(&["axfr", "AXFR"]) || call.short("l") && call.name == "host" {
            analysis.behave(Discovery, "hosts", "zone transfer", None);
        }
    }),
];

fn security_tools(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let watches = |word: &str| {
        word.split(['|', '\\', ' ', ','])
            .any(|name| is_watcher(name.trim_matches(['(', ')', '^', '$', '.', '*', '[', ']'])))
    };
    // In a project's own files such a name is a word like any other.
    let project = matches!(call.name, "grep" | "egrep" | "rg")
        && (call.short("rR") || call.operands().nth(1).is_some() || call.name == "rg");
    let looks = match call.name {
        "systemctl" | "service" => {
            call.any(&["status", "is-active", "list-units", "list-unit-files"])
                || call.operands().last() == Some("status")
        }
        "ls" => call.holds(&[
            "/opt/CrowdStrike",
            "/opt/Tanium",
            "/var/ossec",
            "/opt/sentinelone",
            "/etc/falco",
        ]),
        "dpkg" | "rpm" => call.short("lqW"),
        _ => true,
    };
    if looks && !project && (call.name == "ls" || call.words().any(watches)) {
        analysis.behave(
            Discovery,
            "security-tools",
            call.operands().last().unwrap_or_default(),
            None,
        );
    }
}

/// `find / -perm -4000`, `find / -writable`.
fn permissions(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let by_mode = call.values(&["-perm"]).any(|mode| {
        let mode = mode.trim_start_matches(['-', '/', '+']);
        mode.contains('s')
            || (mode.len() >= 4 && mode.trim_start_matches('0').starts_with(['2', '4', '6']))
            || matches!(
                mode,
                "222" | "o+w" | "o=w" | "0002" | "2" | "002" | "o=rwx" | "777"
            )
    });
    let wide = call.operand(0).is_some_and(|root| {
        root.starts_with('/') && !scope.cwd.as_deref().is_some_and(|cwd| root.starts_with(cwd))
    });
    if wide && (by_mode || call.any(&["-writable", "-nouser"])) {
        analysis.behave(
            Discovery,
            "permissions",
            call.operand(0).unwrap_or_default(),
            None,
        );
    }
}
