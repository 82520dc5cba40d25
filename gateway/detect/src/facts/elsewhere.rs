//! Programs that run a command somewhere else: `ssh HOST CMD`, `docker exec NAME CMD`, `kubectl exec POD -- CMD`; and those
//! that keep one for later: `at`, `crontab`, `tmux`.

use super::aside::{self, Setting};
use super::behaviours::Invocation;
use super::programs::Call;
use super::shells::{incoming, nested_text};
use super::{Analysis, languages, table};
use crate::shell::{Place, Scope};

const SSH_VALUES: &[&str] = &[
    "-p", "-i", "-o", "-l", "-L", "-R", "-D", "-F", "-J", "-W", "-b", "-c", "-E", "-e", "-I", "-m", "-O",
    "-Q", "-S", "-w", "-B",
];
pub(super) const RUN_VALUES: &[&str] = &[
    "-v",
    "--volume",
    "-e",
    "--env",
    "--env-file",
    "-w",
    "--workdir",
    "-p",
    "--publish",
    "--name",
    "-u",
    "--user",
    "--network",
    "--net",
    "--entrypoint",
    "--platform",
    "-l",
    "--label",
    "--mount",
    "-h",
    "--hostname",
    "--gpus",
    "--shm-size",
    "-m",
    "--memory",
    "--cpus",
    "--cap-add",
    "--cap-drop",
    "--security-opt",
    "--device",
    "--restart",
    "--add-host",
    "--dns",
    "--ulimit",
    "--tmpfs",
    "--pid",
    "--ipc",
    "--runtime",
    "--log-driver",
    "--log-opt",
    "-f",
    "--file",
    "--project-name",
    "--index",
    "--pull",
    "--userns",
    "--link",
    "--expose",
    "--health-cmd",
    "--stop-signal",
    "--sysctl",
    "--context",
    "-H",
    "--volumes-from",
    "--group-add",
    "--cidfile",
    "--detach-keys",
];

/// Reads what the program called `name` runs elsewhere or later.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let invocation = Invocation { name, call };
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    match name {
        "ssh" | "autossh" | "dbclient" | "mosh" => {
            elsewhere(analysis, &remote_text(&invocation), Setting::Remote, place);
            if let Some(body) = incoming(analysis, call, scope).filter(|_| takes_input(&invocation)) {
                elsewhere(analysis, &body, Setting::Remote, place);
            }
        }
        "docker" | "podman" | "nerdctl" | "docker-compose" | "lxc" | "incus" | "kubectl" | "oc"
        | "nsenter" | "limactl" | "toolbox" | "crictl" | "ctr" | "distrobox" | "apptainer"
        | "singularity" => {
            if let Some(text) = container_text(&invocation) {
                elsewhere(analysis, &text, Setting::Container, place);
            }
            if let Some(body) = incoming(analysis, call, scope).filter(|_| takes_input(&invocation)) {
                elsewhere(analysis, &body, Setting::Container, place);
            }
        }
        "vagrant" | "gcloud" | "az" | "aws" | "ansible" | "salt" | "multipass" | "fly" | "flyctl"
        | "heroku" | "pdsh" | "pssh" | "clush" | "parallel-ssh" => {
            if let Some(text) = invocation
                .value(&["-c", "--command", "-a", "--args", "--scripts", "-C"])
                .filter(|text| text.contains(' '))
            {
                elsewhere(analysis, text, Setting::Remote, place);
            }
            if let Some(parameters) = invocation.value(&["--parameters"]) {
                let text: String = parameters
                    .split(['[', ']', '"', '\'', '='])
                    .filter(|part| part.contains(' '))
                    .collect::<Vec<_>>()
                    .join("\n");
                elsewhere(analysis, &text, Setting::Remote, place);
            }
        }
        "at" | "batch" => {
            if let Some(text) = invocation.input() {
                nested_text(analysis, text, scope, place);
            }
        }
        "crontab" => {
            if let Some(text) = invocation.input() {
                elsewhere(analysis, &cron_commands(text, false), Setting::Startup, place);
            }
        }
        "tmux"
        | "screen"
        | "nix-shell"
        | "nix"
        | "systemd-run"
        | "byobu"
        | "konsole"
        | "xterm"
        | "gnome-terminal"
        | "wezterm"
        | "kitty"
        | "alacritty"
        | "zellij"
        | "tilix"
        | "x-terminal-emulator"
        | "terminator"
        | "xfce4-terminal"
        | "mate-terminal"
        | "lxterminal"
        | "urxvt"
        | "rxvt"
        | "foot"
        | "ghostty" => {
            for word in invocation.words().filter(|word| word.contains(' ')) {
                nested_text(analysis, word, scope, place);
            }
        }
        _ => {}
    }
}

fn elsewhere(analysis: &mut Analysis, text: &str, setting: Setting, place: Place) {
    if !text.trim().is_empty() {
        aside::command_line(analysis, text, setting, place);
    }
}

/// The words from `first` on, as the text that a remote shell is given.
fn from_first(call: &Invocation<'_>, first: Option<&str>) -> String {
    let Some(first) = first else { return String::new() };
    let begin = call
        .words()
        .position(|word| std::ptr::eq(word.as_ptr(), first.as_ptr()) && word.len() == first.len());
    let words: Vec<&str> = call.words().skip(begin.unwrap_or(usize::MAX)).collect();
    words.join(" ")
}

/// The words as a program is given them, without a shell in between.
fn quoted(words: &[&str]) -> String {
    let quote = |word: &&str| {
        let plain = !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,~".contains(&b));
        if plain {
            (*word).to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// What the host that `ssh` is told of is given to run; empty for its login shell.
fn remote_text(call: &Invocation<'_>) -> String {
    from_first(call, call.operands_after(SSH_VALUES).nth(1))
}

/// Whether what the call runs elsewhere is a shell or an interpreter that runs what comes in: `ssh HOST sudo bash -s`,
/// `docker exec -i NAME sh`.
pub(super) fn takes_input(call: &Invocation<'_>) -> bool {
    match call.name {
        "ssh" | "autossh" | "dbclient" => {
            call.operands_after(SSH_VALUES).next().is_some()
                && !call.short("N")
                && is_reader(&remote_text(call), true)
        }
        "docker" | "podman" | "nerdctl" | "docker-compose" | "lxc" | "incus" | "kubectl" | "oc"
        | "crictl" | "ctr" | "distrobox" | "apptainer" | "singularity" | "multipass" | "limactl" => {
            container_text(call).is_some_and(|text| is_reader(&text, false))
        }
        _ => false,
    }
}

/// Whether a command is one program that runs its standard input; an empty one is the login shell.
fn is_reader(text: &str, login: bool) -> bool {
    let mut words = text
        .split_whitespace()
        .map(|word| word.trim_matches(['\'', '"']))
        .skip_while(|word| {
            matches!(
                *word,
                "sudo" | "doas" | "exec" | "env" | "nohup" | "command" | "time"
            ) || word.starts_with('-')
                || word.contains('=')
        });
    let Some(first) = words.next() else { return login };
    let name = first.rsplit('/').next().unwrap_or_default();
    if !table::is_shell(name) && !table::interpreter(name) {
        return false;
    }
    for word in words {
        match word {
            "-s" | "-se" | "-es" | "-xs" | "-sx" => return true,
            word if languages::is_input(word) => return true,
            "-c" | "-e" | "-lc" | "-m" => return false,
            word if word.starts_with(['-', '+']) => {}
            _ => return false,
        }
    }
    true
}

/// What a container is given to run.
fn container_text(call: &Invocation<'_>) -> Option<String> {
    let words: Vec<&str> = call.words().collect();
    if let Some(at) = words
        .iter()
        .position(|word| *word == "--")
        .filter(|_| call.any(&["exec", "run", "create", "debug", "enter"]))
    {
        return Some(quoted(words.get(at + 1..).unwrap_or_default()));
    }
    let mut operands = call
        .operands_after(RUN_VALUES)
        .skip_while(|word| matches!(*word, "compose" | "container"));
    if !matches!(operands.next(), Some("exec" | "run" | "shell" | "enter")) {
        return None;
    }
    // The container, service or image; then what runs in it.
    let inner = operands.nth(1);
    let begin = inner.and_then(|first| {
        words
            .iter()
            .position(|word| std::ptr::eq(word.as_ptr(), first.as_ptr()) && word.len() == first.len())
    });
    let text = quoted(words.get(begin.unwrap_or(usize::MAX)..).unwrap_or_default());
    let entry = call.value(&["--entrypoint"]).unwrap_or_default();
    Some(if entry.is_empty() {
        text
    } else {
        format!("{entry} {text}")
    })
}

/// The commands of a crontab, one a line; `user` says whether a name stands before each.
pub(super) fn cron_commands(text: &str, user: bool) -> String {
    let mut commands = Vec::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let fields = if line.starts_with('@') { 1 } else { 5 } + usize::from(user);
        let mut rest = line;
        for _ in 0..fields {
            rest = rest
                .find(char::is_whitespace)
                .map_or("", |at| rest[at..].trim_start());
        }
        if !rest.is_empty() {
            commands.push(rest);
        }
    }
    commands.join("\n")
}
