//! Collecting credentials by program; reading them by path stands in `places`.

use defenseclaw_model::facts::BehaviourKind::{Credential, Discovery, Execution};
use defenseclaw_model::facts::{FlowKind, Radius};

use super::super::{Analysis, flows, radius};
use super::{Invocation, Table, opened};
use crate::shell::{STARTED, Scope};

pub(super) const TABLE: Table = &[
    (
        &["procdump", "mimipenguin", "memdump", "avml", "lime", "dumpit"],
        |analysis, call, _| {
            analysis.behave(
                Credential,
                "memory-dump",
                call.operands().last().unwrap_or_default(),
                None,
            );
        },
    ),
    (&["gcore"], |analysis, call, _| {
        let mut dumped = call.operands_after(&["-o"]).filter(|word| *word != STARTED);
        if let Some(process) = dumped.next() {
            analysis.behave(Credential, "memory-dump", process, None);
        }
    }),
    (&["gdb", "lldb"], debugger),
    (
        &[
            "secret-tool",
            "kwallet-query",
            "security",
            "keyctl",
            "gnome-keyring",
            "kwalletcli",
            "lazagne",
            "laZagne",
            "seahorse",
            "firefox_decrypt",
        ],
        keyring,
    ),
    (&["gpg", "gpg2"], |analysis, call, _| {
        if call.any(&[
            "--export-secret-keys",
            "--export-secret-subkeys",
            "--export-secret-key",
        ]) {
            analysis.behave(Credential, "keyring", "gpg secret keys", None);
        }
    }),
    (&["ssh-add"], |analysis, call, _| {
        if call.short("lL") {
            analysis.behave(Credential, "ssh-agent", "keys", None);
        }
    }),
    (
        &[
            "klist",
            "kinit",
            "ktutil",
            "kadmin",
            "kadmin.local",
            "secretsdump",
            "secretsdump.py",
            "GetUserSPNs",
            "getTGT",
            "ticketer",
            "mimikatz",
            "rubeus",
            "kerbrute",
            "keytabextract",
            "tickey",
        ],
        |analysis, call, _| {
            if call.name != "kinit" || call.short("kt") {
                analysis.behave(Credential, "kerberos", call.name, None);
            }
        },
    ),
    (
        &[
            "unshadow",
            "john",
            "hashcat",
            "hashid",
            "ssh2john",
            "ssh2john.py",
            "zip2john",
            "fcrackzip",
            "pdfcrack",
            "keepass2john",
        ],
        |analysis, call, _| {
            analysis.behave(Credential, "crack", call.name, None);
        },
    ),
    (
        &[
            "hydra",
            "medusa",
            "ncrack",
            "patator",
            "crowbar",
            "thc-hydra",
            "sucrack",
            "brutespray",
        ],
        |analysis, call, _| {
            analysis.behave(Credential, "brute-force", call.name, None);
        },
    ),
    (&["chmod"], opened::modes),
    (&["getent"], |analysis, call, _| match call.operand(0) {
        Some("shadow" | "gshadow") => analysis.behave(Credential, "shadow", "getent shadow", None),
        Some("passwd" | "group") => analysis.behave(Discovery, "accounts", "getent", None),
        _ => {}
    }),
    (&["env", "printenv", "set", "export", "declare"], environment),
    (&["ps"], |analysis, call, _| {
        if call.words().any(|word| {
            !word.starts_with("--") && word.trim_start_matches('-').ends_with("eww")
                || matches!(word, "auxe" | "-auxe" | "auxeww" | "eww")
        }) {
            analysis.behave(Credential, "env-of-process", "ps", None);
        }
    }),
    (
        &["grep", "egrep", "fgrep", "rg", "ag", "ack", "zgrep", "git"],
        search,
    ),
    (
        &["find", "fd", "fdfind", "locate", "plocate", "mlocate", "ls"],
        find,
    ),
    (
        &["xclip", "xsel", "wl-paste", "pbpaste", "clipman", "cliphist"],
        |analysis, call, _| {
            let reads = match call.name {
                "xclip" => call.any(&["-o", "-out"]),
                "xsel" => call.short("o") || call.any(&["--output"]) || call.words().next().is_none(),
                "cliphist" => call.any(&["list", "decode"]),
                _ => true,
            };
            if reads {
                analysis.behave(Credential, "clipboard", call.name, None);
            }
        },
    ),
    (
        &[
            "logkeys",
            "evtest",
            "showkey",
            "xinput",
            "xev",
            "keysniffer",
            "lkl",
            "uberkey",
        ],
        |analysis, call, _| {
            if call.name != "xinput" || call.any(&["test", "test-xi2"]) {
                analysis.behave(Credential, "keylog", call.name, None);
            }
        },
    ),
    (
        &[
            "tcpdump",
            "tshark",
            "dumpcap",
            "ettercap",
            "bettercap",
            "responder",
            "Responder.py",
            "dsniff",
            "ngrep",
            "wireshark",
            "arpspoof",
            "sslstrip",
            "mitm6",
        ],
        sniff,
    ),
    (
        &[
            "scrot",
            "gnome-screenshot",
            "import",
            "xwd",
            "maim",
            "grim",
            "spectacle",
            "ffmpeg",
            "arecord",
            "parecord",
            "fswebcam",
            "recordmydesktop",
        ],
        capture,
    ),
    (
        &["mysqldump", "pg_dump", "pg_dumpall", "mongodump", "sqlite3"],
        |analysis, call, _| {
            if call.any(&["--all-databases", "-A"]) || call.name == "pg_dumpall" {
                analysis.behave(Credential, "database-dump", call.name, None);
            }
        },
    ),
    (
        &[
            "linpeas",
            "linpeas.sh",
            "pspy",
            "pspy64",
            "trufflehog",
            "snaffler",
            "swaks",
            "gitrob",
        ],
        |analysis, call, _| {
            if matches!(call.name, "snaffler" | "gitrob") {
                analysis.behave(Credential, "secret-search", call.name, None);
            }
        },
    ),
    (&["git"], |analysis, call, _| {
        if call.operand(0) == Some("credential") && matches!(call.operand(1), Some("fill" | "approve"))
            || call.any(&["credential-store"]) && call.any(&["get"])
        {
            analysis.behave(Credential, "cloud-token", "git credential", None);
        }
    }),
    (&["npm"], |analysis, call, _| {
        if call.operand(0) == Some("token") && matches!(call.operand(1), Some("create"))
            || call.any(&["get"]) && call.holds(&["_authToken", "_auth"])
        {
            analysis.behave(Credential, "cloud-token", "npm token", None);
        }
    }),
];

fn debugger(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let attached = call.any(&["-p", "--pid", "-attach"]) || call.begins(&["--pid=", "-p"]);
    let number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit()) || word.starts_with(['$', '`']);
    let given = call
        .value(&["-p", "--pid", "-attach", "--attach-pid"])
        .or_else(|| {
            call.operands_after(&["-ex", "-iex", "-x", "-ix", "--ex", "-o", "-O"])
                .nth(1)
                .filter(number)
        });
    // A program that the debugger starts itself, and one that the line has started, are one's own.
    let other = given.map_or(attached || call.holds(&["attach"]), |process| process != STARTED);
    let dumps = call.holds(&[
        "dump memory",
        "dump binary memory",
        "generate-core",
        "gcore",
        "save-core",
    ]);
    if dumps && other {
        analysis.behave(Credential, "memory-dump", given.unwrap_or(call.name), None);
    }
    if attached && call.holds(&["call ", "print system", "system(", "dlopen"]) {
        analysis.behave(Execution, "process-inject", call.name, None);
    }
}

fn keyring(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let reads = match call.name {
        "secret-tool" => call.any(&["lookup", "search"]),
        "security" => call.begins(&["find-generic", "find-internet", "dump-keychain", "export"]),
        "keyctl" => call.any(&["print", "read", "pipe", "show", "dump"]),
        _ => true,
    };
    if reads {
        analysis.behave(Credential, "keyring", call.name, None);
    }
}

fn environment(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let dumps = match call.name {
        "env" => call.operands().next().is_none() && !call.any(&["--help", "--version"]),
        "printenv" => call.operands().next().is_none(),
        "set" => call.words().next().is_none(),
        "export" => call.any(&["-p"]) || call.words().next().is_none(),
        _ => {
            call.words().next().is_none()
                || call.words().eq(["-x"])
                || call.words().eq(["-p"])
                || call.words().eq(["-xp"])
        }
    };
    if dumps {
        analysis.behave(Credential, "env-dump", "", None);
    }
    if call.name == "printenv" {
        for name in call.operands().filter(|name| flows::is_secret_name(name)) {
            analysis.behave(Credential, "env-dump", name, None);
        }
    }
}

/// `echo $AWS_SECRET_ACCESS_KEY`: shown, unless it goes into a file or another program, which flows tell.
pub(super) fn whole(analysis: &mut Analysis) {
    let mut shown = Vec::new();
    for (at, node) in analysis.nodes.iter().enumerate() {
        let program = analysis.facts.programs.get(at);
        let prints = program.is_some_and(|program| matches!(program.name.as_str(), "echo" | "printf"));
        if prints && node.writes.is_empty() && !analysis.facts.pipes.iter().any(|pipe| pipe.from == at) {
            let names = node.gives.iter().filter(|end| end.kind == FlowKind::Environment);
            shown.extend(names.map(|end| end.what.clone()));
        }
    }
    for name in shown {
        analysis.behave(Credential, "env-dump", name, None);
    }
}

/// Whether a pattern looks for secrets as such.
fn is_secret_pattern(pattern: &str) -> bool {
    let lower = pattern.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "api_key",
        "apikey",
        "api-key",
        "aws_access",
        "aws_secret",
        "private key",
        "private_key",
        "begin rsa",
        "begin openssh",
        "akia",
        "credential",
        "access_token",
        "passphrase",
        "ghp_",
        "sk_live",
        "token",
        "_key",
    ]
    .iter()
    .any(|word| lower.contains(word))
        || matches!(lower.trim_matches(['\\', 'b', '^', '$']), "pass" | "pwd" | "key")
}

/// `grep -r password /`: within a project it is how code is read, beyond it is a search for secrets.
fn search(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    if call.name == "git" {
        // A search through all that was ever committed.
        let history = call.operand(0) == Some("log")
            && call
                .words()
                .any(|word| (word.starts_with("-S") || word.starts_with("-G")) && is_secret_pattern(word))
            || call.operand(0) == Some("grep")
                && call.words().any(is_secret_pattern)
                && call.words().any(|word| word.contains("rev-list"));
        if history {
            analysis.behave(Credential, "secret-search", "git history", None);
        }
        return;
    }
    let values = &[
        "-e",
        "-f",
        "-m",
        "-A",
        "-B",
        "-C",
        "--include",
        "--exclude",
        "--exclude-dir",
        "-g",
        "-t",
        "--glob",
        "--type",
        "-d",
        "--color",
    ];
    let given = call.values(&["-e", "--regexp"]);
    let explicit: Vec<&str> = given.collect();
    let mut operands = call.operand_fields(values);
    let pattern = if explicit.is_empty() {
        operands.next().map_or("", |field| field.text.as_str())
    } else {
        ""
    };
    if !explicit.iter().copied().chain([pattern]).any(is_secret_pattern) {
        return;
    }
    let tree = call.short("rR") || call.any(&["--recursive"]) || matches!(call.name, "rg" | "ag" | "ack");
    for field in operands {
        let reach = radius::of(field, scope);
        let name = field.text.rsplit('/').next().unwrap_or_default();
        let far = reach >= Radius::Home
            || field.text.starts_with("/var/www")
            || field.text.starts_with("/opt")
            || field.text.starts_with("/srv")
            || field.text.starts_with("/home/");
        if (tree
            && far
            && !scope
                .cwd
                .as_deref()
                .is_some_and(|cwd| field.text.starts_with(cwd)))
            || super::super::places::is_history(name)
            || (far && field.glob)
        {
            analysis.behave(Credential, "secret-search", &field.text, None);
        }
    }
}

/// `find / -name id_rsa`, `locate .pem`.
fn find(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const NAMES: &[&str] = &[
        "id_rsa",
        "id_dsa",
        "id_ed25519",
        "id_ecdsa",
        ".pem",
        ".key",
        ".kdbx",
        ".ppk",
        "credentials",
        "shadow",
        ".htpasswd",
        ".pgpass",
        ".netrc",
        "wp-config.php",
        ".env",
        "passw",
        "secret",
        ".ovpn",
        ".p12",
        ".pfx",
        "authorized_keys",
        ".aws",
        ".git-credentials",
        ".keytab",
        "krb5cc",
        "_history",
        "wallet.dat",
        "login.keychain",
        "ssh-agent",
        "agent.",
        "logins.json",
        "cookies.sqlite",
        ".vault-token",
        "kubeconfig",
    ];
    if call.name == "ls" {
        return;
    }
    let located = call.name.ends_with("locate");
    let reach = if located {
        Radius::System
    } else {
        call.fields()
            .take_while(|field| !field.text.starts_with(['-', '(', '!']))
            .map(|field| radius::of(field, scope))
            .max()
            .unwrap_or(Radius::Project)
    };
    let temporary =
        call.operand(0).is_some_and(|root| root.starts_with("/tmp")) && call.holds(&["agent.", "ssh-"]);
    let wide = reach >= Radius::Home
        || call.operand(0).is_some_and(|root| {
            root.starts_with("/home/") && !scope.cwd.as_deref().is_some_and(|cwd| root.starts_with(cwd))
        });
    if !wide && !temporary {
        return;
    }
    let patterns: Vec<_> = if located {
        call.operands().collect()
    } else {
        call.values(&[
            "-name",
            "-iname",
            "-path",
            "-ipath",
            "-regex",
            "-iregex",
            "-wholename",
        ])
        .collect()
    };
    if let Some(name) = patterns.iter().find(|pattern| {
        NAMES
            .iter()
            .any(|name| pattern.to_ascii_lowercase().contains(name))
    }) {
        analysis.behave(Credential, "secret-search", *name, None);
    }
}

/// Options of those that capture that take a value.
const CAPTURE_VALUES: &[&str] = &[
    "-i", "-w", "-c", "-C", "-G", "-W", "-s", "-B", "-F", "-T", "-y", "-z", "-Z", "-Y", "-e", "-E", "-a",
    "-b", "-d", "-D", "-o", "-O", "-t", "-V", "-f",
];

fn sniff(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let replays = |word: &str| {
        word == "-r"
            || word.starts_with("-r/")
            || word.strip_prefix('-').is_some_and(|letters| {
                letters.ends_with('r')
                    && letters.len() <= 4
                    && letters.bytes().all(|byte| b"nqtvAXxeSKr".contains(&byte))
            })
    };
    if call.any(&["--list-interfaces", "-D", "--version", "-h", "--help"])
        || call.words().any(replays)
        || matches!(call.value(&["-i", "--interface"]), Some("lo" | "lo0"))
        || stays_here(call)
    {
        return;
    }
    analysis.behave(Credential, "sniff", call.name, None);
}

/// Whether the filter of a capture lets nothing pass but what this host says to itself: each of its alternatives names
/// a loopback address, and none takes something out.
fn stays_here(call: &Invocation<'_>) -> bool {
    let mut filter = call.value(&["-f"]).unwrap_or_default().to_owned();
    for word in call.operands_after(CAPTURE_VALUES) {
        filter.push(' ');
        filter.push_str(word);
    }
    let filter = filter
        .to_ascii_lowercase()
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace("||", " or ");
    let mut depth = 0_usize;
    let mut near = false;
    let mut previous = "";
    for word in filter.split_whitespace() {
        match word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "not" | "!" => return false,
            "or" if depth == 0 && !std::mem::take(&mut near) => return false,
            _ if word.starts_with('!') => return false,
            _ => {
                let address =
                    flows::is_near(word) && !matches!(word, "0" | "0.0.0.0" | "host.docker.internal");
                near |= depth == 0 && matches!(previous, "host" | "net") && address;
            }
        }
        previous = word;
    }
    near
}

/// Pictures of the screen, sound from the microphone.
fn capture(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let captures = match call.name {
        "import" => call.any(&["-window"]) && call.any(&["root"]),
        "xwd" => call.any(&["-root"]),
        "ffmpeg" => call.holds(&["x11grab", "/dev/video", "pulse", "kmsgrab"]),
        _ => true,
    };
    if captures {
        analysis.behave(Credential, "screen-capture", call.name, None);
    }
}
