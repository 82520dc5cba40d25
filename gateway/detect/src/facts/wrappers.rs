//! Programs that run another program which their own arguments name: `sudo`, `env`, `timeout`, `xargs`, …

use super::options::split_options;
use super::programs::{Call, run};
use super::shells::nested_text;
use super::table::Use;
use super::{Access, Analysis};
use crate::shell::{Field, Place, Scope};

/// How a wrapper names the program that it runs.
struct Wrapper {
    /// Options that take a value.
    values: &'static [&'static str],
    /// Operands before the program.
    operands: usize,
    /// The privilege that it gives, if any.
    privilege: Option<&'static str>,
    /// Whether `NAME=value` may stand before the program.
    assignments: bool,
    /// Whether the option `-c` or the rest is a text for a shell.
    text: Text,
}

/// Whether a wrapper takes a shell's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    No,
    /// As the value of `-c`.
    Option,
    /// All that follows, joined by spaces.
    Rest,
}

const PLAIN: Wrapper = Wrapper {
    values: &[],
    operands: 0,
    privilege: None,
    assignments: false,
    text: Text::No,
};

const fn with(values: &'static [&'static str], operands: usize) -> Wrapper {
    Wrapper {
        values,
        operands,
        ..PLAIN
    }
}

const fn raises(privilege: &'static str, values: &'static [&'static str], text: Text) -> Wrapper {
    Wrapper {
        values,
        privilege: Some(privilege),
        assignments: true,
        text,
        ..PLAIN
    }
}

fn wrapper(name: &str) -> Option<Wrapper> {
    Some(match name {
        "sudo" => raises(
            "sudo",
            &[
                "-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user", "--group",
                "--host", "--prompt", "--chdir", "--chroot", "--role", "--type",
            ],
            Text::No,
        ),
        "doas" => raises("doas", &["-u", "-C", "-a"], Text::No),
        "pkexec" => raises("pkexec", &["--user"], Text::No),
        "su" | "runuser" => raises(
            "su",
            &["-s", "--shell", "-g", "-G", "-u", "--user", "--group"],
            Text::Option,
        ),
        "setpriv" => raises("setpriv", &[], Text::No),
        "unshare" => raises("unshare", &["-R", "-w", "-S", "-G"], Text::No),
        "nsenter" => raises("nsenter", &["-t", "-S", "-G", "--target"], Text::No),
        "chroot" => Wrapper {
            operands: 1,
            ..raises("chroot", &[], Text::No)
        },
        "capsh" => raises("capsh", &[], Text::Option),
        "env" => Wrapper {
            assignments: true,
            ..with(&["-u", "--unset", "-C", "--chdir"], 0)
        },
        "timeout" => with(&["-s", "-k", "--signal", "--kill-after"], 1),
        "nice" => with(&["-n", "--adjustment"], 0),
        "ionice" => with(&["-c", "-n", "-p", "--class", "--classdata"], 0),
        "chrt" | "taskset" => with(&["-p"], 1),
        "stdbuf" => with(&["-i", "-o", "-e", "--input", "--output", "--error"], 0),
        "time" => with(&["-f", "-o", "--format", "--output"], 0),
        "exec" => with(&["-a"], 0),
        "nohup" | "setsid" | "builtin" | "busybox" | "unbuffer" | "dbus-run-session" | "xvfb-run"
        | "catchsegv" | "toybox" => PLAIN,
        "command" => PLAIN,
        "xargs" => with(
            &[
                "-I",
                "-n",
                "-P",
                "-d",
                "-L",
                "-s",
                "-a",
                "-E",
                "--replace",
                "--max-args",
                "--max-procs",
                "--delimiter",
                "--arg-file",
                "--max-lines",
            ],
            0,
        ),
        "parallel" => with(&["-j", "-a", "-n", "-N", "--jobs", "--colsep", "-I"], 0),
        "strace" | "ltrace" => with(&["-o", "-e", "-p", "-s", "-u", "-a", "-P", "-S"], 0),
        "sshpass" => with(&["-p", "-f", "-d", "-P"], 0),
        "proxychains" | "proxychains4" | "torsocks" | "torify" | "rlwrap" | "cpulimit" | "multitime"
        | "firejail" => with(&["-l", "-p", "-q", "-f"], 0),
        "start-stop-daemon" => with(&["-n", "-p", "-u", "-c", "-d", "-x", "-a"], 0),
        "flock" => Wrapper {
            text: Text::Option,
            ..with(&["-w", "-E", "--timeout"], 1)
        },
        "script" => Wrapper {
            text: Text::Option,
            ..with(&["-O", "-I", "-T", "-B"], 0)
        },
        "gosu" | "su-exec" | "faketime" | "envdir" | "setuidgid" | "chpst" => with(&["-u", "-e"], 1),
        "tini"
        | "dumb-init"
        | "catatonit"
        | "dotenv"
        | "env-cmd"
        | "dotenvx"
        | "host-spawn"
        | "flatpak-spawn"
        | "distrobox-host-exec"
        | "caffeinate"
        | "eatmydata"
        | "fakeroot"
        | "setarch"
        | "sem"
        | "entr"
        | "chronic"
        | "ts-node-dev"
        | "numactl"
        | "prlimit"
        | "ssh-agent"
        | "dbus-launch"
        | "winpty" => with(&["-f", "-e", "--file", "-N", "-m", "-C"], 0),
        "watch" | "defenseclaw-shell" => Wrapper {
            text: Text::Rest,
            ..with(&["-n", "--interval"], 0)
        },
        "systemd-run" => with(
            &[
                "-p",
                "-u",
                "-E",
                "--unit",
                "--property",
                "--on-calendar",
                "--slice",
            ],
            0,
        ),
        _ => return None,
    })
}

/// Tools that run what follows a word of their own (`uv run CMD`), and how many operands stand between.
fn runner_word(name: &str) -> Option<(&'static str, usize)> {
    Some(match name {
        "uv" | "poetry" | "pipenv" | "pdm" | "rye" | "hatch" | "pixi" | "doppler" | "infisical" | "op"
        | "volta" => ("run", 0),
        "conda" | "mamba" | "micromamba" => ("run", 0),
        // The launcher puts a command into a sandbox; what it is, it stays.
        "defenseclaw" | "defenseclaw-cli" => ("run", 0),
        "rustup" => ("run", 1),
        "bundle" | "mise" | "asdf" | "rbenv" | "pyenv" | "fnm" | "pnpm" | "yarn" | "npm" => ("exec", 0),
        "aws-vault" | "chamber" | "direnv" | "envchain" => ("exec", 1),
        _ => return None,
    })
}

/// Options of those tools that take a value.
const RUNNER_VALUES: &[&str] = &[
    "--with",
    "--with-requirements",
    "--python",
    "-p",
    "--project",
    "--directory",
    "--env-file",
    "--extra",
    "--group",
    "-n",
    "--name",
    "-e",
    "--environment",
    "--config",
    "-c",
    "--path",
    "--filter",
    "-C",
    "--profile",
    "--call",
];

/// Adds the program that the wrapper `name` runs; `false` if `name` is no wrapper.
pub(super) fn run_inner(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &mut Scope<'_>) -> bool {
    let arguments = call.arguments();
    if let Some((word, mut operands)) = runner_word(name) {
        if arguments.first().is_none_or(|(field, _)| field.text != word) {
            return false;
        }
        let mut at = 1;
        while let Some((field, _)) = arguments.get(at) {
            match field.text.as_str() {
                "--" => {
                    at += 1;
                    break;
                }
                text if RUNNER_VALUES.contains(&text) => at += 2,
                text if text.starts_with('-') => at += 1,
                _ if operands > 0 => {
                    operands -= 1;
                    at += 1;
                }
                _ => break,
            }
        }
        if at < arguments.len() {
            run(analysis, call.inner(at), scope);
            return true;
        }
        return false;
    }
    // With `-x` it runs the words, without a shell between.
    let plain = name == "watch"
        && arguments
            .iter()
            .take_while(|(field, _)| field.text.starts_with('-'))
            .any(|(field, _)| {
                field.text == "--exec" || (!field.text.starts_with("--") && field.text.contains('x'))
            });
    let Some(mut wrapper) = wrapper(name) else {
        return false;
    };
    if plain {
        wrapper.text = Text::No;
    }
    if let Some(privilege) = wrapper.privilege {
        analysis.privilege(privilege);
    }
    if name == "command"
        && arguments
            .first()
            .is_some_and(|(field, _)| matches!(field.text.as_str(), "-v" | "-V"))
    {
        return true;
    }
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    if name == "script" {
        outputs(analysis, name, arguments, scope);
    }
    let mut operands = wrapper.operands;
    let mut at = 0;
    while let Some((field, _)) = arguments.get(at) {
        let text = field.text.as_str();
        let value = arguments.get(at + 1).map(|(field, _)| field);
        if let Some(code) = shell_text(name, &wrapper, text, value) {
            nested_text(analysis, &code, scope, place);
            return true;
        }
        if text == "--" {
            at += 1;
            break;
        }
        let is_option = text.starts_with('-') && text.len() > 1;
        if wrapper.values.contains(&text) {
            at += 2;
        } else if is_option || (wrapper.assignments && is_assignment(text)) || (name == "su" && text == "-") {
            at += 1;
        } else if operands > 0 {
            operands -= 1;
            at += 1;
        } else {
            break;
        }
    }
    if name != "script" {
        outputs(analysis, name, arguments.get(..at).unwrap_or_default(), scope);
    }
    match wrapper.text {
        Text::Rest => {
            let rest = arguments.get(at..).unwrap_or_default();
            let text = rest
                .iter()
                .map(|(field, _)| field.text.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            nested_text(analysis, &text, scope, place);
        }
        // `su USER` opens a login shell; what follows the user are that shell's arguments.
        Text::Option if matches!(name, "su" | "script" | "capsh") => {
            let rest = arguments
                .iter()
                .position(|(field, _)| matches!(field.text.as_str(), "-c" | "--command"));
            if let Some((code, _)) = rest.and_then(|at| arguments.get(at + 1)) {
                nested_text(analysis, &code.text, scope, place);
            }
        }
        _ => {
            run(analysis, call.inner(at), scope);
        }
    }
    true
}

/// The file that a wrapper writes by itself: `strace -o FILE`, `time -o FILE`, `script FILE`.
fn outputs(analysis: &mut Analysis, name: &str, arguments: &[(Field, usize)], scope: &Scope<'_>) {
    let options: &'static [(&str, Use)] = match name {
        "strace" | "ltrace" => &[
            ("-o", Use::Write),
            ("-e", Use::Ignore),
            ("-p", Use::Ignore),
            ("-s", Use::Ignore),
            ("-u", Use::Ignore),
        ],
        "time" => &[("-o", Use::Write), ("--output", Use::Write), ("-f", Use::Ignore)],
        "script" => &[
            ("-O", Use::Write),
            ("-B", Use::Write),
            ("-I", Use::Write),
            ("-c", Use::Ignore),
            ("--command", Use::Ignore),
            ("-T", Use::Ignore),
            ("-o", Use::Ignore),
        ],
        _ => return,
    };
    let parsed = split_options(arguments, options);
    for (option, field) in &parsed.values {
        if options.contains(&(*option, Use::Write)) || option.starts_with("--output") {
            analysis.path(Access::Write, field, scope);
        }
    }
    if name == "script"
        && let Some(file) = parsed.operands.first()
    {
        analysis.path(Access::Write, file, scope);
    }
}

/// The shell text that an option of a wrapper holds.
fn shell_text(name: &str, wrapper: &Wrapper, text: &str, value: Option<&Field>) -> Option<String> {
    match text {
        "-c" | "--command" if wrapper.text == Text::Option => value.map(|value| value.text.clone()),
        "-S" | "--split-string" if name == "env" => value.map(|value| value.text.clone()),
        _ => text
            .strip_prefix("--command=")
            .filter(|_| wrapper.text == Text::Option)
            .map(str::to_owned),
    }
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(name, _)| crate::shell::is_name(name))
}
