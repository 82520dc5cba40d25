//! Running code that nobody could read before, or through a program that is not made for it.

use defenseclaw_model::facts::BehaviourKind::{Control, Execution};

use super::super::groups::Group;
use super::super::spotted::Spotted;
use super::super::{Analysis, normal, table};
use super::modules::module;
use super::{Invocation, Table};
use crate::shell::{Piece, Scope};

pub(super) const TABLE: Table = &[
    (&["find", "fd", "fdfind"], find),
    (
        &[
            "vim",
            "vi",
            "nvim",
            "view",
            "rvim",
            "vimdiff",
            "ex",
            "ed",
            "emacs",
            "gdb",
            "lldb",
            "nmap",
            "tar",
            "bsdtar",
            "zip",
            "rsync",
            "man",
            "mysql",
            "sqlite3",
            "psql",
            "tclsh",
            "expect",
            "rpm",
            "tcpdump",
            "gcc",
            "cc",
            "c89",
            "c99",
            "make",
            "awk",
            "gawk",
            "mawk",
            "nawk",
            "sed",
            "git",
            "apt",
            "apt-get",
            "ftp",
            "less",
            "more",
            "dc",
            "openvpn",
            "ansible",
            "crash",
            "journalctl",
            "screen",
            "tmux",
            "scp",
            "sftp",
            "ssh",
            "wget",
            "aria2c",
            "mail",
            "rpmquery",
            "rpmverify",
            "dnf",
            "puppet",
            "knife",
            "start-stop-daemon",
            "run-parts",
            "msgfilter",
            "enscript",
            "xelatex",
            "pdflatex",
            "dmsetup",
            "at",
            "busctl",
            "gimp",
            "irb",
            "jjs",
            "jrunscript",
            "jshell",
            "octave",
            "R",
            "julia",
            "scala",
            "slsh",
            "nsenter",
            "systemctl",
            "service",
            "ghc",
            "ghci",
            "perf",
            "cmake",
            "composer",
            "pip",
            "npm",
            "split",
            "logrotate",
            "xdotool",
        ],
        gtfobin,
    ),
    (
        &[
            "env",
            "nice",
            "stdbuf",
            "taskset",
            "timeout",
            "time",
            "setarch",
            "strace",
            "ltrace",
            "flock",
            "ionice",
            "logsave",
            "perf",
            "chrt",
            "cpulimit",
            "choom",
            "rlwrap",
            "valgrind",
            "torify",
            "torsocks",
            "softlimit",
            "pexec",
            "multitime",
            "distcc",
            "setlock",
            "start-stop-daemon",
            "watch",
            "xargs",
            "expect",
            "script",
            "busybox",
            "unshare",
            "nohup",
            "setsid",
            "parallel",
            "ld.so",
            "linux64",
            "genie",
            "cpulimit",
            "ssh-agent",
            "dbus-run-session",
            "run-parts",
            "sg",
            "stty",
            "capsh",
        ],
        bare_shell,
    ),
    (
        &["bash", "sh", "dash", "zsh", "ksh", "ash", "csh", "tcsh"],
        privileged_shell,
    ),
    (
        &[
            "pip",
            "pipx",
            "npm",
            "pnpm",
            "yarn",
            "go",
            "cargo",
            "gem",
            "deno",
            "uv",
            "npx",
            "bunx",
            "easy_install",
            "luarocks",
            "cpan",
            "uvx",
            "poetry",
            "bun",
        ],
        module,
    ),
    (&["dd", "tee", "cp"], inject),
    (&["java"], |analysis, call, _| {
        if call.begins(&["-javaagent:/tmp", "-javaagent:/dev/shm"]) {
            analysis.behave(Execution, "process-inject", "java agent", None);
        }
    }),
];

/// What holds for any program: how it is named, and where it lies.
pub(super) fn any_program(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    if is_disguised(call) {
        analysis.behave(Execution, "assembled-code", call.name, None);
    }
    let name = call.name;
    match name {
        "mkfifo" | "mknod" => analysis.fifo = true,
        "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" | "rustc" | "go" | "cargo" | "make" | "cmake"
        | "ninja" | "nvcc" | "zig" | "ld" | "ghc" | "javac" => analysis.compiled = true,
        "chmod"
            if call.words().any(|word| {
                word.contains("+x")
                    || word.contains("+rwx")
                    || matches!(word, "755" | "0755" | "777" | "0777" | "700" | "775" | "u+x")
            }) =>
        {
            /// A call makes a few files executable.
            const MOST: usize = 16;
            for file in call.operands().skip(1).take(MOST) {
                if analysis.made_executable.len() < MOST {
                    analysis
                        .made_executable
                        .push(normal::normalise(file, scope.cwd.as_deref()));
                }
            }
        }
        _ => {}
    }
    if (name.starts_with("ld-linux") || name.starts_with("ld-musl") || name == "ld.so")
        && call.operand(0).is_some()
    {
        analysis.behave(Execution, "ld-linux", call.operand(0).unwrap_or_default(), None);
    }
    let Some(path) = call.path(scope) else { return };
    if path.starts_with("/proc/") && path.contains("/fd/") {
        analysis.behave(Execution, "memfd", &path, None);
    }
    let shared = path.starts_with("/dev/shm/");
    let temporary = path.starts_with("/tmp/") || path.starts_with("/var/tmp/");
    let hidden = path
        .split('/')
        .skip(2)
        .any(|part| part.starts_with('.') && part.len() > 1);
    if shared || (temporary && (hidden || analysis.made_executable.contains(&path) && !analysis.compiled)) {
        analysis.behave(Execution, "temp-exec", &path, None);
    }
}

/// Whether a program's name was put together so that it cannot be read: `c''at`, `w\ho`, `/???/b?n/nc`, `$(echo l)s`.
fn is_disguised(call: &Invocation<'_>) -> bool {
    let Some((field, word)) = call.call.fields.first() else {
        return false;
    };
    let Some(word) = call.call.command.words.get(*word) else {
        return false;
    };
    if let [Piece::Text { quoted: false, text }] = word.pieces.as_slice() {
        // A glob that stands for a program.
        return text.contains(['?', '[']) && text.contains('/') && text.len() > 3 && field.glob;
    }
    // Quotes in the middle of a name, where neither a blank nor a path with variables asks for them.
    let inner: Vec<_> = word
        .pieces
        .iter()
        .filter(|piece| !matches!(piece, Piece::Text { text, .. } if text.is_empty()))
        .collect();
    let source = word.source().trim_start_matches('\\');
    let letters = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
    };
    if word
        .pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Known { .. }))
    {
        return true;
    }
    let texts = word
        .pieces
        .iter()
        .all(|piece| matches!(piece, Piece::Text { .. }));
    if texts && letters(&field.text) {
        let body = source.trim_matches(['\'', '"']);
        return body.contains(['\'', '"', '\\']) || source.starts_with("$'");
    }
    // Several variables side by side: `$a$b`.
    let variables = inner
        .iter()
        .filter(|piece| matches!(piece, Piece::Variable { .. }))
        .count();
    let separate = field.text.contains('/') || word.source().contains('/');
    variables > 1 && inner.len() == variables && !separate
        || (variables >= 1 && inner.len() > 1 && !separate && field.exact && word.source().contains("$@"))
}

/// `find . -exec /bin/sh \;`: a shell with nothing to do but wait for words.
fn find(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.words().collect();
    for (at, word) in words.iter().enumerate() {
        if matches!(*word, "-exec" | "-execdir" | "-ok" | "-okdir")
            && is_bare_shell(words.get(at + 1..).unwrap_or_default())
        {
            analysis.behave(Execution, "gtfobin-shell", call.name, None);
        }
    }
}

/// Whether `words` are a shell without a script, text or file.
fn is_bare_shell(words: &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    let name = first.rsplit('/').next().unwrap_or_default();
    (table::is_shell(name) || matches!(name, "csh" | "tcsh" | "fish"))
        && rest
            .iter()
            .take_while(|word| !matches!(**word, ";" | "+" | "\\;"))
            .all(|word| matches!(*word, "-i" | "-p" | "-l" | "-" | "--norc" | "--noprofile" | "-ip"))
}

/// Wrappers that people do not open a shell with.
fn bare_shell(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.words().collect();
    let at = words.iter().position(|word| {
        let name = word.rsplit('/').next().unwrap_or_default();
        table::is_shell(name) || matches!(name, "csh" | "tcsh")
    });
    let Some(at) = at else { return };
    // `env -i bash` opens a clean shell, `env bash` is the first line of scripts.
    let piped = call.call.command.input.is_some() || !call.call.command.redirects.is_empty();
    let everyday = matches!(
        call.name,
        "env" | "nohup" | "setsid" | "time" | "script" | "ssh-agent" | "dbus-run-session"
    ) && !words[at].contains('/');
    if !piped
        && !everyday
        && is_bare_shell(words.get(at..).unwrap_or_default())
        && analysis.waits_for_no_pipe()
    {
        analysis.behave(Execution, "gtfobin-shell", call.name, None);
    }
}

/// `bash -p`: keeps what a setuid bit gives.
fn privileged_shell(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    if call
        .words()
        .next()
        .is_some_and(|word| matches!(word, "-p" | "-ip" | "-pi" | "-pc"))
    {
        analysis.behave(Execution, "gtfobin-shell", call.name, None);
    }
}

/// Programs that run others from their own options or language.
fn gtfobin(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const OPTIONS: &[&str] = &[
        "--checkpoint-action=exec",
        "--to-command=",
        "--use-compress-program=sh",
        "-TT",
        "--unzip-command=",
        "--use-askpass=",
        "--on-download-error=",
        "--on-download-complete=",
        "--eval=$(shell",
        "APT::Update::Pre-Invoke",
        "Dpkg::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "--shell-escape",
        "--batch-interpreter",
        "--script-security",
        "--pipe=exec",
        "ext::sh",
        "PermitLocalCommand=yes",
        "--renice",
        "--plugin-dir",
        "--rsync-path=sh",
        "protocol.ext.allow=always",
        "-wrapper",
        "--exec='!",
    ];
    let found = call.words().any(|word| {
        // The first letter rules out nearly all.
        let first = word.as_bytes().first();
        let mut options = OPTIONS.iter().filter(|option| option.as_bytes().first() == first);
        options.any(|option| word.starts_with(option)) || (word.contains("::=") && word.contains("Invoke"))
    }) || match call.name {
        "tar" | "bsdtar" => call
            .value(&["-I", "--use-compress-program"])
            .is_some_and(|program| program.contains("sh ") || program.contains("/sh")),
        "zip" => call.short("T") && call.holds(&["sh "]),
        "rsync" => call.value(&["-e", "--rsh"]).is_some_and(|program| {
            program.contains("sh -c") || program.starts_with("sh ") || program.starts_with("/bin/sh")
        }),
        "man" => call
            .value(&["-P", "--pager", "-H"])
            .is_some_and(|pager| pager.contains("sh")),
        "tcpdump" => call
            .value(&["-z"])
            .is_some_and(|program| !matches!(program, "gzip" | "bzip2" | "xz" | "zstd")),
        "split" => call.begins(&["--filter="]) && call.holds(&["sh"]),
        "scp" | "sftp" => call.value(&["-S"]).is_some(),
        "git" => {
            call.holds(&[
                "--upload-pack=",
                "--exec=sh",
                "--exec-path=/tmp",
                "core.pager=sh",
                "core.editor=sh",
            ]) || call.call.command.assignments.iter().any(|assignment| {
                matches!(assignment.name.as_str(), "PAGER" | "GIT_PAGER")
                    && assignment
                        .values
                        .first()
                        .is_some_and(|value| value.text.starts_with("sh "))
            })
        }
        "start-stop-daemon" => call
            .value(&["-x", "--exec"])
            .is_some_and(|program| program.ends_with("sh")),
        "run-parts" => call.holds(&["^sh$", "--regex"]),
        "systemctl" | "journalctl" | "service" => {
            call.call.command.assignments.iter().any(|assignment| {
                matches!(
                    assignment.name.as_str(),
                    "SYSTEMD_EDITOR" | "EDITOR" | "SYSTEMD_PAGER"
                )
            }) || call.holds(&["../../bin/sh"])
        }
        "sed" => call.operands().any(|word| {
            word.starts_with("1e ")
                || word.ends_with("/e")
                    && word.starts_with("s/")
                    && call.input().is_none()
                    && word.contains("sh")
        }),
        "nmap" => {
            call.any(&["--interactive"])
                || call.value(&["--script"]).is_some_and(|script| {
                    script.starts_with('/') || script.starts_with('$') || script.starts_with('<')
                })
        }
        "pip" => {
            // A wheel is unpacked; nothing of it runs at that.
            call.any(&["install"])
                && call
                    .operands()
                    .filter(|word| !word.ends_with(".whl"))
                    .any(|word| word.starts_with("/tmp/") || word.contains("$TF") || word == "$TF")
        }
        "npm" => call.any(&["exec", "x"]) && call.any(&["/bin/sh", "sh", "bash"]),
        "busctl" => call.holds(&["../../"]),
        "xdotool" => call.any(&["exec"]) && call.holds(&["/sh"]),
        "logrotate" => call.any(&["-l", "--mail"]) && call.holds(&["sh "]),
        _ => false,
    };
    // An address is no text of the program's own language: `postgres://shop:shop@db/shop`.
    let is_address = |word: &str| word.contains("://") && !word.contains(char::is_whitespace);
    let texts = call
        .words()
        .filter(|word| word.len() >= 3 && !is_address(word))
        .chain(call.input());
    let own = matches!(call.name, "awk" | "gawk" | "mawk" | "nawk" | "mail" | "find");
    let language = !matches!(call.name, "git" | "tmux" | "screen" | "ssh")
        && texts
            .clone()
            .any(|text| Spotted::new(text).has(Group::EscapesToShell))
        && (!own || texts.clone().any(|text| text.contains("system(")))
        || own
            && texts.clone().any(|text| {
                text.contains("system(\"sh")
                    || text.contains("system(\"/bin")
                    || text.contains("| \"sh\"")
                    || text.contains("|\"/bin/sh\"")
            });
    let socket = own && texts.clone().any(|text| text.contains("/inet/tcp/"));
    if socket {
        analysis.behave(Control, "reverse-shell", call.name, None);
    }
    if found || language {
        analysis.behave(Execution, "gtfobin-shell", call.name, None);
    }
}

/// Writing into another process's memory.
fn inject(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let memory = |word: &str| word.trim_start_matches("of=").starts_with("/proc/") && word.ends_with("/mem");
    if call
        .words()
        .any(|word| (call.name != "dd" || word.starts_with("of=")) && memory(word))
    {
        analysis.behave(Execution, "process-inject", call.name, None);
    }
}
