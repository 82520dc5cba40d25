//! Programs that run another program which their own arguments name: `sudo`, `env`, `timeout`, `xargs`, …

use super::options::split_options;
use super::programs::{Call, run};
use super::shells::{incoming, nested_text};
use super::table::Use;
use super::{Access, Analysis, behaviours};
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
        "run0" => raises(
            "run0",
            &[
                "-u",
                "--user",
                "-g",
                "--group",
                "-D",
                "--chdir",
                "--unit",
                "--property",
                "--slice",
                "--nice",
            ],
            Text::No,
        ),
        "sg" => Wrapper {
            text: Text::Option,
            ..with(&[], 1)
        },
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
        "cross-env" => Wrapper {
            assignments: true,
            ..PLAIN
        },
        "valgrind" | "fakechroot" | "ifne" | "noti" | "tsp" | "task-spooler" | "nq" | "ccache"
        | "sccache" | "distcc" | "icecc" | "scan-build" | "heaptrack" | "linux64" | "linux32" | "i386"
        | "x86_64" | "arch" | "chronos" | "wine" | "ltrace-wrapper" => {
            with(&["-L", "-N", "-D", "-t", "-m"], 0)
        }
        "bear" => with(&["-o", "--output", "--config"], 0),
        "systemd-inhibit" => with(&["--what", "--who", "--why", "--mode"], 0),
        "systemd-cat" => with(
            &["-t", "-p", "--identifier", "--priority", "--stderr-priority"],
            0,
        ),
        "proot" => with(&["-r", "-R", "-S", "-b", "-w", "-q", "-k", "-i"], 0),
        "choom" | "cgexec" | "aa-exec" => {
            with(&["-n", "--adjust", "-g", "-p", "--profile", "--namespace"], 0)
        }
        "runcon" | "abduco" | "dtach" => with(&[], 1),
        "daemonize" => with(&["-a", "-c", "-e", "-o", "-p", "-l", "-u", "-E"], 0),
        "daemon" => with(&["-n", "--name", "-u", "--user", "-o", "-e", "-P", "-r", "-D"], 0),
        "srun" | "mpirun" | "mpiexec" => with(
            &[
                "-n",
                "-np",
                "-N",
                "-p",
                "-c",
                "-t",
                "-J",
                "-w",
                "-H",
                "--host",
                "--hostfile",
                "-x",
            ],
            0,
        ),
        "sandbox-exec" => with(&["-p", "-f", "-n", "-D"], 0),
        _ if name.starts_with("qemu-") && !name.contains("system") && name != "qemu-img" => {
            with(&["-L", "-E", "-cpu", "-s", "-g", "-r"], 0)
        }
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
                "--on-active",
                "--on-boot",
                "--on-startup",
                "--on-unit-active",
                "--on-unit-inactive",
                "--timer-property",
                "--setenv",
                "--description",
                "--working-directory",
                "--uid",
                "--gid",
                "--nice",
                "--slice",
                "--service-type",
                "-M",
                "--machine",
                "-H",
                "--host",
            ],
            0,
        ),
        _ => return None,
    })
}

/// Whether the program called `name` runs another one.
pub(super) fn is_known(name: &str) -> bool {
    wrapper(name).is_some()
}

/// Tools that run what follows a word of their own (`uv run CMD`), and how many operands stand between.
fn runner_word(name: &str) -> Option<(&'static [&'static str], usize)> {
    Some(match name {
        "uv" | "poetry" | "pipenv" | "pdm" | "rye" | "hatch" | "pixi" | "doppler" | "infisical" | "op"
        | "volta" => (&["run"], 0),
        "conda" | "mamba" | "micromamba" => (&["run"], 0),
        // The launcher puts a command into a sandbox; what it is, it stays.
        "defenseclaw" | "defenseclaw-cli" => (&["run"], 0),
        "rustup" => (&["run"], 1),
        "bundle" | "mise" | "asdf" | "rbenv" | "pyenv" | "fnm" | "pnpm" | "yarn" | "npm" => {
            (&["exec", "x"], 0)
        }
        "stack" | "opam" | "cabal" => (&["exec"], 0),
        "dotenv" | "honcho" | "foreman" | "devbox" | "teller" | "chamber-run" => (&["run"], 0),
        "rtx" => (&["exec", "x"], 0),
        "perf" => (&["stat", "record", "trace", "mem", "sched"], 0),
        "rr" | "uftrace" => (&["record", "live"], 0),
        "ntfy" => (&["done"], 0),
        "nvm" => (&["exec", "run"], 1),
        "aws-vault" | "chamber" | "direnv" | "envchain" => (&["exec"], 1),
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
    if let Some((words, mut operands)) = runner_word(name) {
        // Of a tool for several versions, their names may stand before the program: `mise exec node@20 -- CMD`.
        let names_versions = matches!(name, "mise" | "rtx");
        let begins = arguments
            .iter()
            .position(|(field, _)| words.contains(&field.text.as_str()));
        let Some(begin) = begins.filter(|at| *at == 0 || matches!(name, "dotenv" | "honcho" | "foreman"))
        else {
            return false;
        };
        let mut at = begin + 1;
        while let Some((field, _)) = arguments.get(at) {
            match field.text.as_str() {
                "--" => {
                    at += 1;
                    break;
                }
                text if RUNNER_VALUES.contains(&text) => at += 2,
                text if text.starts_with('-') => at += 1,
                text if names_versions && text.contains('@') => at += 1,
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
        if name == "setarch" && at == 0 && !is_option && text.contains("86") {
            // The architecture, which may be left out.
            at += 1;
            continue;
        }
        if wrapper.assignments
            && let Some((variable, value)) = text.split_once('=').filter(|_| is_assignment(text))
        {
            behaviours::environment(analysis, variable, value);
        }
        if wrapper.values.contains(&text) || ends_with_value(text, wrapper.values) {
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
        Text::Option if is_login(name, arguments) => {
            let options = arguments.iter().enumerate();
            let mut texts = options.filter_map(|(at, (field, _))| {
                let next = arguments.get(at + 1).map(|(field, _)| field);
                shell_text(name, &wrapper, &field.text, next)
            });
            // macOS's `script FILE CMD` runs words; without any of that a login shell reads what comes in.
            let command = (name == "script").then(|| second_operand(arguments)).flatten();
            if let Some(code) = texts.next() {
                nested_text(analysis, &code, scope, place);
            } else if let Some(at) = command {
                run(analysis, call.inner(at), scope);
            } else if let Some(text) = incoming(analysis, call, scope).filter(|_| name != "script") {
                nested_text(analysis, &text, scope, place);
            }
        }
        _ if at >= arguments.len() && opens_shell(name, arguments) => {
            if let Some(text) = incoming(analysis, call, scope) {
                nested_text(analysis, &text, scope, place);
            }
        }
        _ if name == "xargs" && is_replaced(arguments, at) => {
            let lines = call.input().unwrap_or_default();
            nested_text(analysis, lines, scope, place);
            run(analysis, call.inner(at), scope);
        }
        // `sudo -s TEXT`, `sg GROUP TEXT`: a shell reads it.
        _ if matches!(name, "sudo" | "sg")
            && arguments
                .get(at)
                .is_some_and(|(field, _)| field.text.contains(' ')) =>
        {
            if let Some((field, _)) = arguments.get(at) {
                nested_text(analysis, &field.text, scope, place);
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

/// Whether a wrapper opens a shell for what follows, so that only an option's value is a text of the call's own.
fn is_login(name: &str, arguments: &[(Field, usize)]) -> bool {
    let user = |(field, _): &(Field, usize)| field.text.starts_with("-u") || field.text.starts_with("--user");
    matches!(name, "su" | "script" | "capsh") || name == "runuser" && !arguments.iter().any(user)
}

/// Whether a wrapper without a program of its own opens a shell.
pub(super) fn opens_shell(name: &str, arguments: &[(Field, usize)]) -> bool {
    match name {
        "sudo" | "doas" => arguments.iter().any(|(field, _)| {
            matches!(field.text.as_str(), "-s" | "-i" | "--shell" | "--login") || is_cluster(&field.text, 'i')
        }),
        "chroot" | "unshare" | "nsenter" | "su" | "runuser" | "run0" => true,
        _ => false,
    }
}

/// Where the second operand stands: `script -q FILE CMD`.
fn second_operand(arguments: &[(Field, usize)]) -> Option<usize> {
    let mut operands = arguments
        .iter()
        .enumerate()
        .filter(|(_, (field, _))| !field.text.starts_with('-'));
    operands.nth(1).map(|(at, _)| at)
}

/// `xargs -I{} sh -c '{}'`: each line is the text.
fn is_replaced(arguments: &[(Field, usize)], at: usize) -> bool {
    let marks = arguments.iter().zip(arguments.iter().skip(1));
    let mark = marks
        .take(at)
        .find_map(|((option, _), (next, _))| match option.text.strip_prefix("-I") {
            Some("") => Some(next.text.as_str()),
            mark => mark,
        });
    let words = arguments.get(at..).unwrap_or_default();
    mark.is_some() && words.len() == 3 && words.last().map(|(field, _)| field.text.as_str()) == mark
}

/// A cluster of options whose last letter takes the next word: `-fo FILE`.
fn ends_with_value(text: &str, values: &[&str]) -> bool {
    let bytes = text.as_bytes();
    (3..=4).contains(&bytes.len())
        && bytes[0] == b'-'
        && bytes[1..].iter().all(u8::is_ascii_alphabetic)
        && !values.contains(&&text[..2])
        && values
            .iter()
            .any(|value| value.as_bytes() == [b'-', bytes[bytes.len() - 1]])
}

/// The shell text that an option of a wrapper holds.
fn shell_text(name: &str, wrapper: &Wrapper, text: &str, value: Option<&Field>) -> Option<String> {
    let takes = wrapper.text == Text::Option;
    let attached = |options: &[&str]| {
        let (option, value) = text.split_once('=')?;
        options.contains(&option).then(|| value.to_owned())
    };
    match text {
        "-c" | "--command" | "--session-command" if takes => value.map(|value| value.text.clone()),
        // `-qc TEXT`
        _ if takes && is_cluster(text, 'c') => value.map(|value| value.text.clone()),
        "-S" | "--split-string" if name == "env" => value.map(|value| value.text.clone()),
        _ if name == "env" && is_cluster(text, 'S') => value.map(|value| value.text.clone()),
        _ if name == "env" => attached(&["--split-string"]),
        _ if takes => attached(&["--command", "--session-command"]),
        _ => None,
    }
}

/// Whether `text` is a cluster of letters whose last one is `letter`.
fn is_cluster(text: &str, letter: char) -> bool {
    text.len() <= 6
        && text.strip_prefix('-').is_some_and(|letters| {
            letters.ends_with(letter) && letters.bytes().all(|b| b.is_ascii_alphabetic())
        })
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(name, _)| crate::shell::is_name(name))
}
