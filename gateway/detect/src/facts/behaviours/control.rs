//! Handing control over: shells on sockets, listeners, tunnels.

use defenseclaw_model::facts::BehaviourKind::{Control, Exfiltration};

use super::super::{Analysis, flows, hosts, table};
use super::{Invocation, Table};
use crate::shell::Field;
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (&["nc", "ncat", "netcat", "nc.traditional", "nc.openbsd"], netcat),
    (&["socat"], socat),
    (&["ssh", "autossh"], ssh),
    (TUNNELS, tunnel),
    (
        &[
            "iodine",
            "iodined",
            "dnscat",
            "dnscat2",
            "dns2tcp",
            "dns2tcpc",
            "dnscat2.rb",
            "icmpsh",
            "ptunnel",
            "hans",
            "icmptunnel",
        ],
        |analysis, call, _| {
            analysis.behave(Control, "dns-tunnel", call.name, None);
        },
    ),
    (
        &[
            "proxychains",
            "proxychains4",
            "tor",
            "torsocks",
            "torify",
            "microsocks",
            "3proxy",
            "dante",
            "sockd",
            "squid",
            "tinyproxy",
            "redsocks",
            "ss-local",
            "ss-server",
            "v2ray",
            "xray",
        ],
        |analysis, call, _| {
            analysis.behave(Control, "proxy", call.name, None);
        },
    ),
    (
        &[
            "x11vnc",
            "vncserver",
            "teamviewer",
            "teamviewerd",
            "anydesk",
            "xrdp",
            "rustdesk",
            "tigervncserver",
            "x0vncserver",
            "meshagent",
            "splashtop",
            "dwagent",
            "ammyy",
            "remotepc",
            "nomachine",
            "wayvnc",
        ],
        |analysis, call, _| {
            if !call.any(&["-version", "--version", "-help", "--help", "-V"]) {
                analysis.behave(Control, "remote-desktop", call.name, None);
            }
        },
    ),
    (
        &[
            "msfconsole",
            "msfvenom",
            "msfd",
            "msfrpcd",
            "meterpreter",
            "sliver",
            "sliver-server",
            "sliver-client",
            "empire",
            "powershell-empire",
            "pupy",
            "pupysh",
            "merlin",
            "merlinAgent",
            "mythic-cli",
            "cobaltstrike",
            "teamserver",
            "havoc",
            "koadic",
            "poshc2",
            "evilginx",
            "evilginx2",
            "beef-xss",
            "weevely",
            "villain",
            "covenant",
            "silenttrinity",
            "deimosc2",
            "nimplant",
            "hoaxshell",
            "setoolkit",
            "veil",
            "shellter",
            "bettercap",
            "ruler",
            "c2",
            "brc4",
            "impacket-psexec",
            "psexec.py",
            "wmiexec.py",
            "smbexec.py",
            "evil-winrm",
        ],
        |analysis, call, _| {
            if call.name != "c2" {
                analysis.behave(Control, "c2-framework", call.name, None);
            }
        },
    ),
    (&["openssl"], |analysis, call, _| {
        if call.operand(0) == Some("s_server") {
            analysis.behave(Control, "listener", "openssl", None);
        }
    }),
    (&["iptables", "nft"], |analysis, call, _| {
        if call.any(&["REDIRECT", "DNAT", "redirect", "dnat"]) {
            analysis.behave(Control, "proxy", call.name, None);
        }
    }),
    (&["telnet"], |analysis, call, _| {
        if let Some(host) = call.operand(0) {
            analysis.telnets.push(host.to_owned());
        }
    }),
    (&["git"], push),
    (&["ztcp", "rcat"], |analysis, call, _| {
        let host = call
            .operands()
            .find(|word| !matches!(*word, "connect" | "listen" | "sh" | "bash"));
        analysis.behave(Control, "reverse-shell", host.unwrap_or_default(), None);
    }),
    (
        &["ftp", "lftp", "tftp", "sftp", "smbclient", "ncftpput", "atftp"],
        |analysis, call, _| {
            let puts = |text: &str| {
                text.split([';', '\n'])
                    .any(|line| matches!(line.split_whitespace().next(), Some("put" | "mput" | "send")))
            };
            if call.words().any(puts) || call.input().is_some_and(puts) || call.name == "ncftpput" {
                analysis.behave(Exfiltration, "upload", call.operand(0).unwrap_or_default(), None);
            }
        },
    ),
    (&["ping"], |analysis, call, _| {
        if call.value(&["-p"]).is_some() {
            analysis.behave(
                Exfiltration,
                "icmp",
                call.operands().last().unwrap_or_default(),
                None,
            );
        }
    }),
];

/// Programs that carry others' connections to this host, past its firewall.
pub(super) const TUNNELS: &[&str] = &[
    "ngrok",
    "cloudflared",
    "lt",
    "localtunnel",
    "bore",
    "frpc",
    "frps",
    "chisel",
    "sshuttle",
    "gost",
    "rathole",
    "ligolo",
    "ligolo-ng",
    "revsocks",
    "pwncat",
    "pwncat-cs",
    "stunnel",
    "nps",
    "npc",
    "earthworm",
    "ew",
    "venom",
    "pagekite",
    "zrok",
    "inlets",
    "playit",
    "wstunnel",
    "gsocket",
    "gs-netcat",
    "tailscale",
    "expose",
    "tmate",
    "ttyd",
    "gotty",
    "shellinabox",
    "sish",
    "pinggy",
];

/// Options by which netcat runs a program.
const RUNS: &[&str] = &["-e", "-c", "--exec", "--sh-exec", "--lua-exec"];

fn netcat(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let listens = call.short("l") || call.any(&["--listen"]);
    let runs = call
        .words()
        .any(|word| RUNS.contains(&word) || word.starts_with("--exec=") || word.starts_with("--sh-exec="))
        || call.words().any(|word| {
            word.len() > 2
                && word.starts_with('-')
                && !word.starts_with("--")
                && word.ends_with('e')
                && word[1..].bytes().all(|b| b.is_ascii_lowercase())
        });
    let host = call
        .operands_after(&[
            "-w",
            "-s",
            "-p",
            "-e",
            "-c",
            "-i",
            "-q",
            "-x",
            "-X",
            "--exec",
            "--sh-exec",
        ])
        .find(|word| !word.starts_with('/'))
        .unwrap_or_default();
    match (listens, runs) {
        (true, true) => analysis.behave(Control, "bind-shell", call.value(&["-p"]).unwrap_or(host), None),
        // With nowhere to go it is a piece of a pattern; that it stands in the call itself is for the rules.
        (false, true) if host.is_empty() => {}
        (false, true) => analysis.behave(Control, "reverse-shell", host, None),
        (true, false) => analysis.behave(Control, "listener", call.value(&["-p"]).unwrap_or(host), None),
        (false, false) => {}
    }
}

fn socat(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<String> = call.operands().map(str::to_ascii_lowercase).collect();
    let runs = words.iter().any(|word| {
        ["exec:", "system:", "shell:"]
            .iter()
            .any(|start| word.starts_with(start))
    });
    let listens = words
        .iter()
        .find(|word| word.contains("-listen:") || word.contains("-l:"));
    let connects = words.iter().find(|word| {
        [
            "tcp:",
            "tcp4:",
            "tcp6:",
            "tcp-connect:",
            "tcp4-connect:",
            "udp:",
            "openssl:",
            "openssl-connect:",
            "ssl:",
            "sctp:",
            "udp-connect:",
        ]
        .iter()
        .any(|start| word.starts_with(start))
    });
    let host = |word: &String| word.split(':').nth(1).unwrap_or_default().to_owned();
    match (listens, connects, runs) {
        (Some(port), _, true) => analysis.behave(Control, "bind-shell", host(port), None),
        (None, Some(to), true) => analysis.behave(Control, "reverse-shell", host(to), None),
        (Some(_), Some(to), false) => analysis.behave(Control, "tunnel", host(to), None),
        (Some(port), None, false) => analysis.behave(Control, "listener", host(port), None),
        _ => {}
    }
}

/// `-R` opens this host to another, `-D` and `-w` a way through it. `-L` only reaches a service from here.
fn ssh(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let mut opens = call.words().any(|word| {
        let cluster = word
            .strip_prefix('-')
            .filter(|rest| !rest.starts_with('-'))
            .unwrap_or_default();
        matches!(word, "-R" | "-D" | "-w")
            || cluster.starts_with('R')
            || cluster.starts_with('D')
            || (cluster.len() > 1
                && cluster.len() < 8
                && cluster.ends_with(['R', 'D', 'w'])
                && cluster.bytes().all(|b| b.is_ascii_alphabetic()))
    });
    let remote = call.words().any(|word| {
        let cluster = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        cluster.is_some_and(|cluster| cluster.starts_with('R') || cluster.len() < 8 && cluster.ends_with('R'))
    });
    let written = call
        .value(&["-F"])
        .and_then(|file| analysis.contents.of(&Field::literal(file), scope));
    let settings = written.as_deref().or(call.input().filter(|_| call.any(&["-F"])));
    let settings = settings.into_iter().flat_map(str::lines);
    let (mut forwards, mut opens_all) = (remote, false);
    for (key, value) in call.values(&["-o"]).chain(settings).filter_map(setting) {
        forwards |= key == "remoteforward" && !value.eq_ignore_ascii_case("none");
        opens |= key == "dynamicforward" || key == "tunnel" && !value.eq_ignore_ascii_case("no");
        opens_all |= matches!(key.as_str(), "dynamicforward" | "localforward") && is_everywhere(value);
    }
    if opens || forwards || opens_all {
        let host = call
            .operands_after(&[
                "-R", "-D", "-L", "-w", "-p", "-i", "-o", "-l", "-F", "-J", "-b", "-c", "-fNR", "-NR",
                "-NfR", "-ND", "-NfD", "-fND",
            ])
            .next()
            .unwrap_or_default();
        analysis.behave(Control, "tunnel", host, None);
        if forwards || opens_all {
            analysis.behave(Control, "way-in", host, None);
        }
    }
    if call.holds(&["ProxyCommand="])
        && call.words().any(|word| {
            word.contains("sh 0<&2")
                || word.contains("/dev/tcp")
                || word.contains(";sh")
                || word.contains("=sh")
                || word.contains("=;")
        })
    {
        analysis.behave(
            defenseclaw_model::facts::BehaviourKind::Execution,
            "gtfobin-shell",
            "ssh",
            None,
        );
    }
}

/// A setting of ssh, `Key value` or `Key=value`, with its key in lower case.
fn setting(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().split_once(|c: char| c == '=' || c.is_whitespace())?;
    Some((
        key.to_ascii_lowercase(),
        value.trim_start_matches([' ', '=', '\t']),
    ))
}

/// Whether an address to listen on is every address of this host.
fn is_everywhere(value: &str) -> bool {
    ["0.0.0.0:", "*:", "[::]:", ":::"]
        .iter()
        .any(|all| value.starts_with(all))
}

fn tunnel(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let opens = match call.name {
        "tailscale" => call.any(&["funnel"]),
        "cloudflared" => !call.any(&["--version", "version", "update"]) && call.any(&["tunnel"]),
        "ngrok" => !call.any(&["--version", "version", "help", "config"]),
        _ => !call.any(&["--version", "--help", "-V", "-v", "-h", "version", "help"]),
    };
    if opens {
        analysis.behave(Control, "tunnel", call.name, None);
    }
}

/// A push to an address that stands in the call, rather than to a remote of the repository.
fn push(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let mut words = call.operands_after(&["-C", "-c"]);
    let (verb, target) = (words.next(), words.next());
    let address = match (verb, target) {
        (Some("push"), Some(target)) => Some(target),
        (Some("remote"), Some("add" | "set-url")) => words.nth(1),
        _ => None,
    };
    let host = address.and_then(|text| hosts::url_host(text).or_else(|| hosts::remote_path_host(text, 22)));
    if let Some(host) = host.filter(|host| !flows::is_near(&host.host)) {
        let technique = if verb == Some("push") {
            "git-remote"
        } else {
            "git-remote-set"
        };
        analysis.behave(Exfiltration, technique, host.host, None);
    }
}

/// What follows from the call as a whole: a shell that is joined to a socket.
pub(in super::super) fn whole(analysis: &mut Analysis) {
    let socket = analysis.nodes.iter().any(|node| node.socket) || analysis.shell_socket;
    let host = analysis
        .facts
        .hosts
        .first()
        .map(|host| host.host.clone())
        .unwrap_or_default();
    let programs = &analysis.facts.programs;
    // A shell, or what reads lines of it and runs them, that has no code of its own.
    let bare = |at: usize| {
        let takes = analysis
            .nodes
            .get(at)
            .is_some_and(|node| node.runs & flows::Way::Input.bit() != 0);
        programs
            .get(at)
            .is_some_and(|program| takes && (table::is_shell(&program.name) || program.name.starts_with('$')))
    };
    let to_socket = |name: &str| {
        matches!(
            name,
            "nc" | "ncat" | "netcat" | "telnet" | "socat" | "openssl" | "nc.traditional"
        )
    };
    let piped = analysis.facts.pipes.iter().any(|pipe| {
        bare(pipe.from)
            && programs
                .get(pipe.to)
                .is_some_and(|program| to_socket(&program.name))
    }) || analysis
        .facts
        .pipes
        .iter()
        .filter(|pipe| bare(pipe.to) && to_socket(&programs[pipe.from].name))
        .any(|pipe| {
            analysis.telnets.len() > 1
                || analysis
                    .facts
                    .pipes
                    .iter()
                    .any(|next| next.from == pipe.to && to_socket(&programs[next.to].name))
                || analysis.fifo
        });
    let joined = socket && (0..programs.len()).any(bare);
    if piped || joined {
        analysis.behave(Control, "reverse-shell", host, None);
    }
}
