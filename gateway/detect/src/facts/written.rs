//! What a file tool writes: the content of scripts, start-up files, units and the like, read by what the path says of it.

use defenseclaw_model::facts::BehaviourKind::{Exfiltration, Persistence};
use serde_json::Value;

use super::aside::{self, Setting};
use super::spotted::Spotted;
use super::{
    Analysis, backdoor, code, edits, elsewhere, handed, installs, lookalike, mentions, muted, obeys,
    published, received, released, renamed, spelled, stricter, tracked,
};
use crate::shell::{Place, Scope};

/// Most texts of one call: a call edits a file in a handful of places.
const MAX_TEXTS: usize = 32;

/// Reads what `input` writes into the files at `paths`.
pub(super) fn note(analysis: &mut Analysis, paths: &[String], input: &Value) {
    for path in paths.iter().take(MAX_TEXTS) {
        edits::note(analysis, path, input);
    }
    let texts = texts(input);
    if texts.is_empty() {
        return;
    }
    stricter::written(analysis, &texts);
    let whole = mentions::is_whole(input);
    for path in paths.iter().take(MAX_TEXTS) {
        for text in &texts {
            file(analysis, path, text, whole, Place::default());
        }
    }
}

/// The new texts in a file tool's input.
fn texts(input: &Value) -> Vec<String> {
    const FIELDS: &[&str] = &[
        "content",
        "contents",
        "new_string",
        "new_str",
        "newText",
        "new_text",
        "file_text",
        "text",
        "insert_text",
        "code_edit",
        "replacement",
        "ReplacementContent",
        "CodeContent",
    ];
    const PATCHES: &[&str] = &["patch", "input", "diff", "patchText"];
    let mut found = Vec::new();
    let one = |value: &Value, found: &mut Vec<String>| {
        for field in FIELDS {
            found.extend(value.get(field).and_then(Value::as_str).map(str::to_owned));
        }
        for field in PATCHES {
            found.extend(value.get(field).and_then(Value::as_str).map(added));
        }
    };
    one(input, &mut found);
    for list in ["edits", "changes", "ReplacementChunks", "files"] {
        for item in input
            .get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(MAX_TEXTS)
        {
            one(item, &mut found);
        }
    }
    found.truncate(MAX_TEXTS);
    found.retain(|text| !text.is_empty());
    found
}

/// The lines that a patch adds.
fn added(patch: &str) -> String {
    patch
        .lines()
        .filter_map(|line| line.strip_prefix('+').filter(|line| !line.starts_with("++")))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What kind of text a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Script,
    Startup,
    Cron {
        user: bool,
    },
    Unit,
    Container,
    Package,
    Tasks,
    Source,
    /// Recipes of a build or a pipeline: lines that are commands, among others.
    Recipes,
    Other,
}

fn kind_of(path: &str, text: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let startup = [
        ".bashrc",
        ".bash_profile",
        ".bash_login",
        ".bash_logout",
        ".bash_aliases",
        ".profile",
        ".zshrc",
        ".zshenv",
        ".zprofile",
        ".zlogin",
        ".envrc",
        ".xprofile",
        ".xinitrc",
        ".xsession",
        "rc.local",
        "bash.bashrc",
        "profile",
    ];
    match name {
        _ if path.contains("/cron.d/") || name == "crontab" => Kind::Cron { user: true },
        _ if path.contains("/spool/cron/") => Kind::Cron { user: false },
        _ if path.contains("/cron.")
            || path.contains("/init.d/")
            || path.contains("/profile.d/")
            || path.contains("/update-motd.d/") =>
        {
            Kind::Startup
        }
        _ if startup.contains(&name) => Kind::Startup,
        _ if handed::is_hook(path) => match text.lines().next().filter(|line| line.starts_with("#!")) {
            Some(line) if !line.contains("sh") => Kind::Source,
            _ => Kind::Startup,
        },
        _ if matches!(end, "service" | "timer" | "desktop" | "path") => Kind::Unit,
        _ if name.starts_with("Dockerfile") || end == "dockerfile" || name == "Containerfile" => {
            Kind::Container
        }
        _ if matches!(
            end,
            "yml" | "yaml" | "mk" | "gradle" | "tf" | "hcl" | "cmake" | "rake" | "toml"
        ) || matches!(
            name,
            "Makefile"
                | "makefile"
                | "GNUmakefile"
                | "justfile"
                | "Justfile"
                | "Jenkinsfile"
                | "Rakefile"
                | "Gemfile"
                | "Vagrantfile"
                | "Tiltfile"
                | "CMakeLists.txt"
                | "Procfile"
                | "configure.ac"
                | "devcontainer.json"
                | "BUILD"
                | "BUILD.bazel"
                | "Brewfile"
                | "Fastfile"
        ) =>
        {
            Kind::Recipes
        }
        "package.json" | "composer.json" => Kind::Package,
        "tasks.json" if path.contains(".vscode") => Kind::Tasks,
        _ if matches!(end, "sh" | "bash" | "zsh" | "ksh") => Kind::Script,
        _ if matches!(
            end,
            "py" | "pyw"
                | "js"
                | "mjs"
                | "cjs"
                | "ts"
                | "rb"
                | "pl"
                | "php"
                | "lua"
                | "pth"
                | "rs"
                | "go"
                | "java"
                | "kt"
                | "cs"
                | "c"
                | "cc"
                | "cpp"
        ) =>
        {
            Kind::Source
        }
        _ => match text.lines().next().filter(|line| line.starts_with("#!")) {
            Some(line) if line.contains("sh") => Kind::Script,
            Some(_) => Kind::Source,
            None => Kind::Other,
        },
    }
}

/// Reads `text`, which stands at `place` of the call, as what the file at `path` holds, or a piece of it.
pub(super) fn content(analysis: &mut Analysis, path: &str, text: &str, place: Place) {
    file(analysis, path, text, false, place);
}

fn file(analysis: &mut Analysis, path: &str, text: &str, whole: bool, place: Place) {
    installs::written(analysis, path, text);
    let acting = mentions::acting(path, text, whole);
    if !is_prose(path) && !acting.is_empty() {
        // A name is misleading wherever it stands.
        lookalike::text(analysis, text);
        fetches(analysis, &acting, place);
        published::note(analysis, path, &acting);
        renamed::note(analysis, path, &acting);
        handed::note(analysis, path, &acting);
        muted::note(analysis, path, &acting);
        released::note(analysis, &acting);
        backdoor::note(analysis, path, &acting);
        obeys::note(analysis, path, text, &acting);
    }
    tracked::note(analysis, path, text);
    let text = acting.as_ref();
    let command = |analysis: &mut Analysis, text: &str, setting| {
        if !text.trim().is_empty() {
            aside::command_line(analysis, text, setting, place);
        }
    };
    let before = analysis.facts.behaviours.len();
    match kind_of(path, text) {
        Kind::Script => command(analysis, text, Setting::Script),
        Kind::Startup => command(analysis, text, Setting::Startup),
        Kind::Cron { user } => command(analysis, &elsewhere::cron_commands(text, user), Setting::Startup),
        Kind::Unit => {
            let starts = [
                "ExecStart=",
                "ExecStartPre=",
                "ExecStartPost=",
                "ExecStop=",
                "ExecReload=",
                "Exec=",
            ];
            let lines = text.lines().filter_map(|line| {
                let line = line.trim();
                starts
                    .iter()
                    .find_map(|start| line.strip_prefix(start))
                    .map(|line| line.trim_start_matches(['-', '@', '+', '!', ':']))
            });
            command(analysis, &lines.collect::<Vec<_>>().join("\n"), Setting::Startup);
        }
        Kind::Container => {
            let joined = text.replace("\\\n", " ");
            let lines = joined.lines().filter_map(|line| {
                let line = line.trim().trim_start_matches("- ");
                let command = ["RUN ", "CMD ", "ENTRYPOINT "]
                    .iter()
                    .find_map(|word| line.strip_prefix(word))?
                    .trim();
                Some(exec_form(command).unwrap_or_else(|| command.to_owned()))
            });
            command(
                analysis,
                &lines.collect::<Vec<_>>().join("\n"),
                Setting::Container,
            );
        }
        Kind::Package => package(analysis, text, place),
        Kind::Tasks => {
            if text.contains("folderOpen") {
                analysis.behave(Persistence, "editor-task", path, None);
            }
        }
        Kind::Source => aside::with(analysis, Setting::Script, |inner| {
            inner.place = place;
            let scope = Scope::new(None, None);
            let language = path.rsplit('.').next().unwrap_or_default();
            let code = Spotted::new(text);
            code::behaviours(inner, language, &code, &scope);
            let spelled = spelled::out(text);
            if let Some(spelled) = &spelled {
                code::behaviours(inner, language, &Spotted::new(spelled), &scope);
            }
            received::sends_secrets(inner, &code, spelled.as_deref());
            if handed::is_hook(path) {
                received::hook_sends(inner, &code);
            }
        }),
        Kind::Recipes => command(analysis, &recipes(text), Setting::Container),
        Kind::Other => {}
    }
    if handed::runs_unasked(path) {
        sends_unasked(analysis, before);
    }
}

/// Notes that what a hook does since `before` sends something away, whenever it runs.
fn sends_unasked(analysis: &mut Analysis, before: usize) {
    let new = analysis.facts.behaviours.get(before..).unwrap_or_default();
    let sent = new
        .iter()
        .find(|found| {
            found.kind == Exfiltration && matches!(found.technique.as_str(), "upload" | "paste" | "mail")
        })
        .map(|found| found.object.clone());
    if let Some(host) = sent {
        analysis.behave(Exfiltration, "hook-sends", host, None);
    }
}

/// Reads a line that is put into the file at `path`, which may hold much else.
pub(super) fn line(analysis: &mut Analysis, path: &str, text: &str, place: Place) {
    muted::put_in(analysis, path, text);
    renamed::put_in(analysis, path, text);
    tracked::note(analysis, path, text);
    let setting = match kind_of(path, text) {
        Kind::Script => Setting::Script,
        Kind::Startup | Kind::Unit => Setting::Startup,
        Kind::Container | Kind::Recipes | Kind::Package | Kind::Tasks => Setting::Container,
        Kind::Cron { .. } => return content(analysis, path, text, place),
        Kind::Source | Kind::Other => return,
    };
    aside::command_line(analysis, text, setting, place);
}

/// Texts for people, and examples for tests, name commands that nobody runs.
fn is_prose(path: &str) -> bool {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    !path.ends_with("CMakeLists.txt")
        && matches!(
            end,
            "md" | "mdx" | "rst" | "txt" | "adoc" | "org" | "html" | "po" | "jsonl" | "csv" | "log" | "ipynb"
        )
        || ["/fixtures/", "/testdata/", "/docs/", "/rules/", "/__snapshots__/"]
            .iter()
            .any(|part| path.contains(part))
}

/// Most commands that are read out of one text.
const MAX_COMMANDS: usize = 64;

/// Keys of build files and pipelines behind which commands stand.
pub(super) const RECIPE_KEYS: &[&str] = &[
    "run",
    "script",
    "before_script",
    "after_script",
    "command",
    "cmd",
    "shell",
    "bash",
    "sh",
    "pwsh",
    "exec",
    "entry",
    "install",
    "before_install",
    "setup",
    "post_install",
    "postCreateCommand",
    "initializeCommand",
    "onCreateCommand",
    "postStartCommand",
    "ansible.builtin.shell",
    "ansible.builtin.command",
    "raw",
    "inline",
    "args",
    "release",
    "web",
    "worker",
];

/// The lines of a build file or a pipeline that are commands: below a rule, behind a key that says so, or in a list below one.
pub(super) fn recipes(text: &str) -> String {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let deep = line.starts_with(['\t', ' ', '-']);
        let line = line
            .trim()
            .trim_start_matches("- ")
            .trim_start_matches(['@', '+']);
        let (key, rest) = line.split_once([':', '=']).unwrap_or(("", line));
        let key = key.trim().trim_matches('"');
        let rest = if RECIPE_KEYS.contains(&key) { rest } else { line };
        if let Some(command) = exec_form(rest) {
            if RECIPE_KEYS.contains(&key) && found.len() < MAX_COMMANDS {
                found.push(command);
            }
            continue;
        }
        let rest = rest
            .trim()
            .trim_end_matches(',')
            .trim_matches(['"', '\''])
            .trim_start_matches(['|', '>'])
            .trim();
        let plain =
            rest.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '$' | ':' | '('));
        if (deep || RECIPE_KEYS.contains(&key)) && plain && rest.contains(' ') && found.len() < MAX_COMMANDS {
            found.push(rest.to_owned());
        }
    }
    found.join("\n")
}

/// `["sh", "-c", "TEXT"]` as the command line that it stands for.
fn exec_form(text: &str) -> Option<String> {
    let list = text.trim().strip_prefix('[')?;
    let words = code::strings(list).map(|(word, _)| format!("'{}'", word.replace('\'', "'\\''")));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Commands in the strings of any file that fetch something and hand it on: what stands from there to the string's end.
fn fetches(analysis: &mut Analysis, text: &str, place: Place) {
    const RUNS: &[&str] = &[
        "exec", "system", "spawn", "command", "popen", "shell", "script", "`", "run", "sh(", "sh ", "sh'",
        "sh\"", "entry", "cmd",
    ];
    const SAYS: &[&str] = &[
        "print", "echo", "log", "usage", "help", "descri", "message", "readme", "assert", "expect(", "name:",
        "title", "panic",
    ];
    let mut read = 0;
    for line in text.lines() {
        let Some(at) = ["curl ", "wget "].iter().filter_map(|word| line.find(word)).min() else {
            continue;
        };
        let trimmed = line.trim_start();
        let before = line[..at].to_ascii_lowercase();
        let comment = ["#", "//", "*", "--", ";", "<!--"]
            .iter()
            .any(|mark| trimmed.starts_with(mark));
        let quote = before.chars().rfind(|c| matches!(c, '"' | '\'' | '`'));
        let runs =
            RUNS.iter().any(|word| before.contains(word)) && !SAYS.iter().any(|word| before.contains(word));
        if comment || !line[at..].contains('|') || !runs || read >= MAX_COMMANDS {
            continue;
        }
        read += 1;
        let command = &line[at..line.floor_char_boundary((at + 2048).min(line.len()))];
        let end = quote.and_then(|quote| {
            let open = before.matches(quote).count() % 2 == 1;
            command.find(quote).filter(|_| open)
        });
        let command =
            command[..end.unwrap_or(command.len())].trim_end_matches(['\\', ']', ')', ',', ';', '}']);
        aside::command_line(analysis, command, Setting::Container, place);
    }
}

/// The scripts that a package manager runs by itself.
fn package(analysis: &mut Analysis, text: &str, place: Place) {
    const OWN: &[&str] = &[
        "preinstall",
        "install",
        "postinstall",
        "prepare",
        "prepublish",
        "post-install-cmd",
        "post-update-cmd",
    ];
    for line in text.lines() {
        let mut parts = line.splitn(4, '"').skip(1);
        let (Some(key), Some(_), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let own = OWN.contains(&key);
        if own
            || value.contains("curl ")
            || value.contains("wget ")
            || value.contains("/dev/tcp")
            || value.contains("base64")
            || [
                "node -e", "python", "rm -", "~/", "$HOME", "eval", "perl -e", "ruby -e",
            ]
            .iter()
            .any(|part| value.contains(part))
        {
            let value = value
                .trim_end()
                .trim_end_matches(',')
                .trim_end_matches('"')
                .replace("\\\"", "\"");
            let setting = if own { Setting::Startup } else { Setting::Script };
            let before = analysis.facts.behaviours.len();
            aside::command_line(analysis, &value, setting, place);
            if own {
                sends_unasked(analysis, before);
            }
        }
    }
}
