//! Commands that a program's own words carry: the text behind `nodemon --exec`, each operand of `hyperfine`, the value of
//! ssh's `ProxyCommand`, git's settings that are programs, a line that begins with an editor's `!`.
//!
//! Programs that only put themselves before another program's words stand in `wrappers`; those that run a command on another
//! host, in a container or later, in `elsewhere`.

mod carriers;

use carriers::{BY_NAME, Carrier, MARKS, NO_RUNNERS, Operands};

use super::behaviours::Invocation;
use super::programs::{Call, run};
use super::shells::{nested_text, run_content};
use super::{Analysis, aside, given, table, wrappers};
use crate::shell::{Field, Place, Scope, Sink};

/// Most texts that are read of one call.
const MAX_TEXTS: usize = 32;

/// Reads the commands that the words of the program called `name` carry.
/// Gives whether one of them was a program and its words.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &mut Scope<'_>) -> bool {
    let invocation = Invocation { name, call };
    // A function of the call's own means what its body says.
    if analysis.functions.body(name).is_some() {
        return true;
    }
    let mut ran = false;
    for carrier in BY_NAME.get(name).into_iter().flatten() {
        ran |= carrier.read(analysis, &invocation, scope);
    }
    if let Some((_, marks)) = MARKS.iter().find(|(names, _)| names.contains(&name)) {
        marked(analysis, &invocation, marks, scope);
    }
    match name {
        "ssh" | "scp" | "sftp" | "autossh" | "sshfs" | "ssh-copy-id" | "slogin" => {
            secure_shell(analysis, &invocation, scope);
        }
        "git" => settings(analysis, &invocation, scope),
        "fzf" | "sk" => bound(analysis, &invocation, scope),
        "parallel" | "sem" => parallel(analysis, &invocation, scope),
        "at" => {
            if let Some(file) = invocation.value(&["-f"]) {
                run_content(analysis, &Field::literal(file), scope, place(call));
            }
        }
        "npx" | "pnpx" | "bunx" | "uvx" | "pipx" | "npm" | "pnpm" | "yarn" | "bun" | "uv" => {
            ran |= package(analysis, &invocation, scope);
        }
        "socat" => addresses(analysis, &invocation, scope),
        _ => {}
    }
    ran
}

fn place(call: Call<'_>) -> Place {
    Place {
        depth: call.place.depth + 1,
        ..call.place
    }
}

/// Whether the program called `name` carries commands.
fn is_known(name: &str) -> bool {
    BY_NAME.contains_key(name)
}

impl Carrier {
    /// Gives whether it was a program and its words.
    fn read(&self, analysis: &mut Analysis, call: &Invocation<'_>, scope: &mut Scope<'_>) -> bool {
        let arguments = call.call.arguments();
        let mut verb = self.verbs.is_empty();
        let mut skip = self.skip;
        let (mut at, mut read, mut ends) = (0, 0, false);
        while let Some((field, _)) = arguments.get(at) {
            at += 1;
            let word = field.text.as_str();
            if word.starts_with('-') && word.len() > 1 && !ends {
                ends = word == "--" && verb;
                let (option, attached) = match word.split_once('=') {
                    Some((option, value)) if word.starts_with("--") || option.len() > 2 => {
                        (option, Some(value))
                    }
                    _ => (word, None),
                };
                if self.before.contains(&option) {
                    run(analysis, call.call.inner(at), scope);
                    return true;
                }
                let next = arguments.get(at).map(|(field, _)| field.text.as_str());
                if self
                    .texts
                    .iter()
                    .any(|text| *text == option || ends_with_letter(option, text))
                {
                    at += usize::from(attached.is_none());
                    self.text(analysis, call, attached.or(next).unwrap_or_default(), scope);
                } else if let Some(value) = self.glued(word) {
                    self.text(analysis, call, value, scope);
                } else if self.values.contains(&option) && attached.is_none() {
                    at += 1;
                }
                continue;
            }
            if !verb {
                if !self.verbs.contains(&word) {
                    return false;
                }
                verb = true;
            } else if skip > 0 {
                skip -= 1;
            } else {
                match self.operands {
                    Operands::Other => {}
                    Operands::Command if at < arguments.len() => {
                        run(analysis, call.call.inner(at - 1), scope);
                        return true;
                    }
                    Operands::Texts | Operands::Command if read < MAX_TEXTS => {
                        read += 1;
                        self.text(analysis, call, word, scope);
                    }
                    Operands::Texts | Operands::Command => {}
                }
            }
        }
        false
    }

    /// The value that is attached to an option of one letter: `-P'cat x'`.
    fn glued<'c>(&self, word: &'c str) -> Option<&'c str> {
        let value = word
            .get(2..)
            .filter(|value| !word.starts_with("--") && value.contains(' '))?;
        let option = word.get(..2)?;
        self.texts.contains(&option).then_some(value)
    }

    fn text(&self, analysis: &mut Analysis, call: &Invocation<'_>, text: &str, scope: &Scope<'_>) {
        let text = text.strip_prefix("exec=").unwrap_or(text);
        if !text.contains(char::is_whitespace) {
            return;
        }
        match self.setting {
            Some(setting) => aside::command_line(analysis, text, setting, place(call.call)),
            None => nested_text(analysis, text, scope, place(call.call)),
        }
    }
}

/// A cluster of letters whose last one is the option `text`: `-rs` for `-s`.
fn ends_with_letter(option: &str, text: &str) -> bool {
    let bytes = option.as_bytes();
    text.len() == 2
        && (3..=5).contains(&bytes.len())
        && bytes[1..].iter().all(u8::is_ascii_lowercase)
        && bytes.last() == text.as_bytes().last()
}

/// Texts behind a mark.
fn marked(analysis: &mut Analysis, call: &Invocation<'_>, marks: &[&str], scope: &Scope<'_>) {
    let input = call.input().into_iter().flat_map(str::lines);
    let mut read = 0;
    for line in call.words().chain(input) {
        // `--cmd='shell TEXT'`
        let value = line.split_once('=').filter(|_| line.starts_with("--"));
        let line = value.map_or(line, |(_, value)| value);
        let line = line.trim_start_matches(['+', ':', ' ', '\t', '"', '\'']);
        let behind = marks.iter().find_map(|mark| line.strip_prefix(mark));
        let Some(text) = behind.map(|text| text.trim_end_matches(['"', '\'']).trim()) else {
            continue;
        };
        if text.contains(' ') && read < MAX_TEXTS {
            read += 1;
            nested_text(analysis, text, scope, place(call.call));
        }
    }
}

/// `-o ProxyCommand=TEXT`, `-oLocalCommand=TEXT`, `-o 'ProxyCommand TEXT'`.
fn secure_shell(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    for setting in call.values(&["-o"]) {
        let Some((name, text)) = setting.trim().split_once(['=', ' ', '\t']) else {
            continue;
        };
        let text = text.trim().trim_start_matches('=').trim_start();
        let name = name.to_ascii_lowercase();
        if text.is_empty() || text.eq_ignore_ascii_case("none") {
            continue;
        }
        match name.as_str() {
            "proxycommand"
            | "localcommand"
            | "knownhostscommand"
            | "authorizedkeyscommand"
            | "ssh_command" => {
                nested_text(analysis, text, scope, place(call.call));
            }
            "remotecommand" => {
                aside::command_line(analysis, text, aside::Setting::Remote, place(call.call));
            }
            _ => {}
        }
    }
}

/// Whether git runs the value of this setting.
fn is_program(key: &str) -> bool {
    const WHOLE: &[&str] = &[
        "core.sshcommand",
        "core.pager",
        "core.editor",
        "core.fsmonitor",
        "core.askpass",
        "core.gitproxy",
        "core.alternaterefscommand",
        "credential.helper",
        "sequence.editor",
        "diff.external",
        "gpg.program",
        "gpg.ssh.program",
        "gpg.ssh.defaultkeycommand",
        "gpg.x509.program",
        "interactive.difffilter",
        "uploadpack.packobjectshook",
        "sendemail.smtpserver",
        "sendemail.sendmailcmd",
    ];
    const ENDS: &[&str] = &[
        ".helper",
        ".clean",
        ".smudge",
        ".process",
        ".textconv",
        ".command",
        ".cmd",
        ".driver",
        ".uploadpack",
        ".receivepack",
        ".proxycommand",
    ];
    WHOLE.contains(&key)
        || key.starts_with("alias.")
        || key.starts_with("pager.")
        || key.contains('.') && ENDS.iter().any(|end| key.ends_with(end))
}

/// Settings of git that are programs, for one call or from now on, and options of its own that name a program.
fn settings(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let mut setting = |key: &str, value: &str| {
        let key = key.to_ascii_lowercase();
        // An alias that does not begin so is another command of git.
        let text = value.trim_start().strip_prefix('!');
        let text = match (text, key.starts_with("alias.")) {
            (Some(text), _) => text,
            (None, false) => value,
            (None, true) => return,
        };
        if is_program(&key) && text.contains(' ') {
            nested_text(analysis, text, scope, place(call.call));
        }
    };
    for (key, value) in call
        .values(&["-c", "--config"])
        .filter_map(|word| word.split_once('='))
    {
        setting(key, value);
    }
    let mut operands =
        call.operands_after(&["-c", "-C", "-f", "--file", "--type", "--git-dir", "--work-tree"]);
    if operands.next() == Some("config") {
        let mut rest = operands.skip_while(|word| matches!(*word, "set" | "add"));
        if let (Some(key), Some(value)) = (rest.next(), rest.next()) {
            setting(key, value);
        }
    }
    let programs = [
        "--upload-pack",
        "--receive-pack",
        "-x",
        "--exec",
        "--extcmd",
        "--tree-filter",
        "--index-filter",
        "--msg-filter",
        "--commit-filter",
        "--open-files-in-pager",
        "-u",
    ];
    for text in call
        .values(&programs)
        .filter(|text| text.contains(' '))
        .take(MAX_TEXTS)
    {
        nested_text(analysis, text, scope, place(call.call));
    }
}

/// `fzf --bind 'KEY:execute(TEXT)'`.
fn bound(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    const ACTIONS: &[&str] = &[
        "execute",
        "execute-silent",
        "reload",
        "become",
        "transform",
        "preview",
    ];
    for binding in call.values(&["--bind"]).take(MAX_TEXTS) {
        let Some((before, text)) = binding.split_once('(') else {
            continue;
        };
        let action = before.rsplit([':', '+', ',']).next().unwrap_or_default();
        if ACTIONS.contains(&action) {
            let text = text.strip_suffix(')').unwrap_or(text);
            nested_text(analysis, text, scope, place(call.call));
        }
    }
}

/// `parallel 'TEXT' ::: …`, `parallel ::: TEXT…`, and `parallel` with the texts on its standard input.
fn parallel(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let words: Vec<&str> = call.words().collect();
    let end = words
        .iter()
        .position(|word| word.starts_with(":::"))
        .unwrap_or(words.len());
    let (own, given) = words.split_at(end);
    let mut operands = own.iter().filter(|word| !word.starts_with('-'));
    if operands.clone().any(|word| word.contains(' ')) {
        // A text among the words: they are joined, and a shell reads them.
        for text in operands.filter(|word| word.contains(' ')).take(MAX_TEXTS) {
            nested_text(analysis, text, scope, place(call.call));
        }
    } else if operands.all(|word| word.bytes().all(|b| b.is_ascii_digit())) {
        let lines = call.input().into_iter().flat_map(str::lines);
        for text in given.iter().skip(1).copied().chain(lines).take(MAX_TEXTS) {
            nested_text(analysis, text, scope, place(call.call));
        }
    }
}

/// `socat - SYSTEM:TEXT`
fn addresses(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    for word in call.words().take(MAX_TEXTS) {
        let Some((kind, text)) = word.split_once(':') else {
            continue;
        };
        if matches!(kind.to_ascii_lowercase().as_str(), "system" | "exec" | "shell") && text.contains(' ') {
            nested_text(analysis, text.trim_matches(['"', '\'']), scope, place(call.call));
        }
    }
}

/// `npx PACKAGE …`: a package that itself runs what its words say. What other packages do is not told here. Gives whether
/// it was one.
fn package(analysis: &mut Analysis, call: &Invocation<'_>, scope: &mut Scope<'_>) -> bool {
    const VALUES: &[&str] = &[
        "-p",
        "--package",
        "--from",
        "--with",
        "--python",
        "-w",
        "--workspace",
        "--spec",
    ];
    let mut operands = call.operands_after(VALUES);
    let first = match (call.name, operands.next()) {
        ("npx" | "pnpx" | "bunx" | "uvx", first) => first,
        ("pipx", Some("run")) | ("bun", Some("x")) => operands.next(),
        ("npm" | "pnpm" | "yarn", Some("exec" | "x" | "dlx")) => operands.next(),
        ("uv", Some("tool")) => operands.next().and_then(|_| operands.next()),
        _ => None,
    };
    let Some(first) = first else { return false };
    let name = first.rsplit('/').next().unwrap_or_default();
    let name = name.split('@').next().unwrap_or_default();
    if !(is_known(name) || table::is_shell(name) || wrappers::is_known(name)) {
        return false;
    }
    let at = call.words().position(|word| std::ptr::eq(word, first));
    if let Some(at) = at {
        run(analysis, call.call.inner(at), scope);
    }
    at.is_some()
}

/// `ANY … sh -c TEXT`: whatever the program is, it is given a shell to start.
pub(super) fn shell_among_words(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &mut Scope<'_>) {
    let arguments = call.arguments();
    if NO_RUNNERS.contains(&name) || arguments.len() < 3 {
        return;
    }
    let at = arguments.windows(3).position(|three| {
        let [(shell, _), (option, _), _] = three else {
            return false;
        };
        let option = option.text.as_str();
        table::is_shell(shell.text.rsplit('/').next().unwrap_or_default())
            && option.len() <= 5
            && option.starts_with('-')
            && !option.starts_with("--")
            && option.ends_with('c')
    });
    if let Some(at) = at {
        run(analysis, call.inner(at), scope);
    }
}

/// Keeps what a program writes under another name: `cp FILE FILE`, `dd of=FILE` behind a text.
pub(super) fn copied(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let invocation = Invocation { name, call };
    let mut operands = invocation.operand_fields(&["-m", "-o", "-g", "-t", "-S"]);
    let (from, to) = match (name, operands.next(), operands.next(), operands.next()) {
        ("cp" | "mv" | "install" | "ln", Some(from), Some(to), None) => (from.clone(), to.clone()),
        ("dd", ..) => {
            let part = |key: &str| invocation.words().find_map(|word| word.strip_prefix(key));
            let Some(to) = part("of=") else { return };
            (Field::literal(part("if=").unwrap_or("-")), Field::literal(to))
        }
        _ => return,
    };
    let text = if super::languages::is_input(&from.text) {
        call.input().map(str::to_owned)
    } else {
        analysis.contents.of(&from, scope)
    };
    if let Some(text) = text {
        analysis.spend(text.len());
        given::file(analysis, std::slice::from_ref(&to), &text, call, scope);
        analysis.contents.keep(std::slice::from_ref(&to), text, scope);
    }
}
