//! Command lines that a tool which is no harness's shell is given: as one text, as words, or as the arguments of the program
//! that the tool is named for.
//!
//! `call_aws {cli_command: "aws s3 ls"}`, `run_gcloud_command {args: ["auth", "list"]}`, `start_process {command: "sh", args:
//! […]}` and `execute_python {code: …}` say the same as a shell's line does, and are read as one.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::aside::{self, Setting};
use super::{Analysis, deeds};
use crate::shell::Place;
use crate::tools::{command_line, named_programs};

/// Most lines of one list that are read; lists of steps are short.
const MAX_LINES: usize = 64;
/// Most words of one line that comes as a list.
const MAX_WORDS: usize = 1024;

/// Words of tools that run what they are given.
const RUNNERS: &[&str] = &[
    "shell",
    "bash",
    "zsh",
    "sh",
    "terminal",
    "tmux",
    "iterm",
    "commander",
    "command",
    "commands",
    "cmd",
    "cli",
    "exec",
    "execute",
    "run",
    "process",
    "subprocess",
    "powershell",
    "pwsh",
    "script",
    "repl",
    "console",
    "call",
    "invoke",
    "spawn",
    "start",
    "interpreter",
];

/// Words beside a program's in a tool's name that say nothing of what it does: `run_gcloud_command`.
const GENERIC: &[&str] = &[
    "run", "exec", "execute", "call", "command", "commands", "cli", "cmd", "invoke", "generic", "tool",
    "api", "raw", "any", "line", "shell", "mcp", "server", "with", "args", "start", "process",
];

/// Words of tools and fields of inputs that say that it runs on another host, or in a container.
const FAR: &[&str] = &[
    "ssh",
    "remote",
    "docker",
    "container",
    "pod",
    "sandbox",
    "e2b",
    "daytona",
    "vm",
    "instance",
    "instances",
    "host",
    "hostname",
    "device",
    "machine",
    "node",
    "droplet",
    "connection",
    "server",
    "ssm",
    "target",
    "runner",
];

/// Words of tools whose code runs in a page or a service, not in an interpreter.
const PAGES: &[&str] = &[
    "browser",
    "playwright",
    "puppeteer",
    "page",
    "chrome",
    "chromium",
    "devtools",
    "tab",
    "evaluate",
    "apex",
    "sql",
    "query",
    "database",
    "figma",
    "sheet",
    "sheets",
    "dom",
];

/// Words of tools whose interpreter stands in a room of its own.
const ROOMS: &[&str] = &[
    "sandbox",
    "sandboxed",
    "e2b",
    "daytona",
    "pyodide",
    "modal",
    "wasm",
    "container",
    "docker",
];

/// First words that are a program of their own in the input of a tool that another program is named for.
const PLAIN: &[&str] = &[
    "bash", "sh", "zsh", "curl", "wget", "cat", "echo", "python", "python3", "node", "ssh", "scp", "sudo",
    "ls", "cd", "grep", "find", "nc", "chmod", "env", "export", "printenv", "tar", "base64", "rm", "cp",
    "mv", "set",
];

/// A tool by the words of its name.
pub(super) struct Tool {
    own: Vec<String>,
    server: Vec<String>,
}

impl Tool {
    pub(super) fn new(name: &str) -> Self {
        let (server, own) = name.rsplit_once("__").unwrap_or_default();
        let own = if own.is_empty() { name } else { own };
        Self {
            own: deeds::words_of(own),
            server: deeds::words_of(server),
        }
    }

    fn has(&self, words: &[&str]) -> bool {
        let mut all = self.own.iter().chain(&self.server);
        all.any(|word| words.contains(&word.as_str()))
    }

    /// The program that the tool is named for, with the subcommand that its own name adds: `git_push` is `git push`.
    fn program(&self) -> Option<Vec<&str>> {
        let known = |word: &String| named_programs().contains(word);
        let generic = |word: &&str| GENERIC.contains(word);
        if let Some(at) = self.own.iter().position(known) {
            let words = self.own.iter().skip(at).map(String::as_str);
            return Some(words.filter(|word| !generic(word)).collect());
        }
        // `aws-api__call`, but not `docker__exec_in`: what else the tool's own name says is its own affair.
        let plain = self.own.iter().all(|word| generic(&word.as_str()));
        let at = self.server.iter().position(known).filter(|_| plain)?;
        self.server.get(at).map(|word| vec![word.as_str()])
    }
}

/// What a tool is given to run.
pub(super) struct Line {
    pub(super) text: String,
    /// Whether its interpreter stands in a room of its own, made to be thrown away.
    pub(super) contained: bool,
}

/// What `fields` of a call of `tool` give it to run.
pub(super) fn of(tool: &Tool, fields: &Map<String, Value>) -> Option<Line> {
    let far = tool.has(FAR) || fields.keys().any(|field| is_far_field(field));
    let runs = tool.has(RUNNERS) || tool.program().is_some();
    let named = |wanted: fn(&str) -> bool| fields.iter().filter(move |(name, _)| wanted(&spelled(name)));
    let free = |text| Line {
        text,
        contained: false,
    };
    let command = || named(is_command_field).find_map(|(_, value)| line(tool, fields, value, runs, far));
    let given = || {
        let mut lists = named(is_list_field).filter(|_| runs);
        lists.find_map(|(_, value)| arguments(tool, fields, value, far))
    };
    let code = || {
        let text = named(is_code_field).find_map(|(_, value)| code_line(tool, fields, value.as_str()?))?;
        Some(Line {
            text,
            contained: tool.has(ROOMS),
        })
    };
    command().or_else(given).map(free).or_else(code)
}

/// The line that a call of `tool` has run, where it is one that counts as run here.
pub(crate) fn inner_line(tool: &str, input: &Value) -> Option<String> {
    let tool = Tool::new(tool);
    let fields = input.as_object()?;
    let below = ["arguments", "params", "parameters", "input"]
        .iter()
        .filter_map(|name| fields.get(*name)?.as_object());
    let line = std::iter::once(fields)
        .chain(below)
        .find_map(|fields| of(&tool, fields))?;
    (!line.contained).then_some(line.text)
}

/// Reads what `fields` give `tool` to run, wherever that is.
pub(super) fn note(analysis: &mut Analysis, tool: &Tool, fields: &Map<String, Value>) {
    let Some(line) = of(tool, fields) else { return };
    let setting = match line.contained {
        true => Setting::Container,
        false => Setting::Remote,
    };
    aside::command_line(analysis, &line.text, setting, Place::default());
}

/// The line that stands in a field named for one.
fn line(tool: &Tool, fields: &Map<String, Value>, value: &Value, runs: bool, far: bool) -> Option<String> {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Array(items) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).take(MAX_WORDS).collect();
            match words.first() {
                Some(first) if first.contains(' ') => {
                    Cow::Owned(words[..words.len().min(MAX_LINES)].join("\n"))
                }
                Some(_) => Cow::Owned(command_line(&words)),
                None => return None,
            }
        }
        _ => return None,
    };
    let mut text = text.into_owned();
    if !runs {
        return Some(text);
    }
    if !text.trim().contains(' ') {
        let given = ["args", "argv", "arguments", "parameters"]
            .iter()
            .find_map(|name| fields.get(*name));
        if let Some(given) = given.and_then(words_of) {
            text = format!("{} {given}", text.trim());
        }
    }
    Some(if far { text } else { with_program(tool, text) })
}

/// The line whose arguments alone are given.
fn arguments(tool: &Tool, fields: &Map<String, Value>, value: &Value, far: bool) -> Option<String> {
    let given = words_of(value)?;
    let program = ["program", "executable", "bin", "binary", "file"]
        .iter()
        .find_map(|name| fields.get(*name)?.as_str());
    match program {
        Some(program) => Some(format!("{program} {given}")),
        None if far && tool.program()?.first().is_none_or(|name| *name != "docker") => None,
        None => tool.program().map(|_| with_program(tool, given)),
    }
}

/// `text` behind the program that the tool is named for, where it does not name a program itself.
fn with_program(tool: &Tool, text: String) -> String {
    let Some(program) = tool.program() else {
        return text;
    };
    let first = text.split_whitespace().next().unwrap_or_default();
    let base = first.rsplit('/').next().unwrap_or_default();
    let named = program.first().is_some_and(|name| {
        base == *name || base.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    });
    if named || PLAIN.contains(&base) || named_programs().contains(base) {
        return text;
    }
    let sub = program.get(1..).unwrap_or_default();
    let repeats = sub.first().is_some_and(|sub| *sub == first);
    let program = if repeats { &program[..1] } else { &program[..] };
    let name = program.first().map_or("", |name| match *name {
        "redis" => "redis-cli",
        "postgres" => "psql",
        name => name,
    });
    let mut line = name.to_owned();
    for word in program.iter().skip(1) {
        line.push(' ');
        line.push_str(word);
    }
    format!("{line} {text}")
}

/// Arguments as they would stand in a line.
fn words_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).take(MAX_WORDS).collect();
            // Behind a program's name `sh -c` is not taken apart here.
            (!words.is_empty()).then(|| {
                words
                    .iter()
                    .map(|word| command_line(&[*word]))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        }
        _ => None,
    }
}

/// Code that an interpreter is given, as the line that runs it.
fn code_line(tool: &Tool, fields: &Map<String, Value>, code: &str) -> Option<String> {
    if tool.has(PAGES) {
        return None;
    }
    let said = ["language", "lang", "runtime", "interpreter", "kernel"]
        .iter()
        .find_map(|name| fields.get(*name)?.as_str());
    let said = said.map(str::to_ascii_lowercase).unwrap_or_default();
    let is = |names: &[&str]| match said.is_empty() {
        true => tool.has(names),
        false => names.iter().any(|name| said.starts_with(name)),
    };
    let line = if is(&["bash", "sh", "shell", "zsh"]) {
        code.to_owned()
    } else if is(&["python", "ipython", "jupyter", "py"]) {
        command_line(&["python3", "-c", code])
    } else if is(&[
        "javascript",
        "js",
        "node",
        "nodejs",
        "typescript",
        "ts",
        "deno",
        "bun",
    ]) {
        command_line(&["node", "-e", code])
    } else if is(&["ruby"]) {
        command_line(&["ruby", "-e", code])
    } else if is(&["powershell", "pwsh"]) {
        command_line(&["pwsh", "-c", code])
    } else if said.is_empty()
        && tool.has(&["interpreter", "code"])
        && tool.has(&["run", "execute", "exec", "interpreter"])
    {
        command_line(&["python3", "-c", code])
    } else {
        return None;
    };
    Some(line)
}

/// Fields in which command lines stand.
fn is_command_field(field: &str) -> bool {
    matches!(
        field,
        "command"
            | "cmd"
            | "commands"
            | "script"
            | "shellcommand"
            | "shellcmd"
            | "commandline"
            | "cmdline"
            | "bash"
            | "run"
            | "shell"
            | "clicommand"
            | "awscommand"
            | "awsclicommand"
            | "gcloudcommand"
            | "azcommand"
            | "kubectlcommand"
            | "dockercommand"
            | "ghcommand"
            | "gitcommand"
            | "helmcommand"
            | "shellscript"
            | "bashscript"
            | "bashcommand"
            | "terminalcommand"
            | "powershell"
            | "keystrokes"
            | "keys"
            | "exec"
            | "scriptcontent"
            | "userdata"
            | "startupscript"
    )
}

/// Fields in which a program's arguments stand without it.
fn is_list_field(field: &str) -> bool {
    matches!(field, "args" | "argv" | "arguments" | "flags" | "subcommand")
}

/// Fields in which code stands.
fn is_code_field(field: &str) -> bool {
    matches!(
        field,
        "code" | "pythoncode" | "python" | "source" | "sourcecode" | "javascript" | "cell"
    )
}

/// Fields that say where else it runs.
fn is_far_field(field: &str) -> bool {
    matches!(
        spelled(field).as_str(),
        "container"
            | "containerid"
            | "containername"
            | "pod"
            | "podname"
            | "host"
            | "hostname"
            | "instance"
            | "instanceid"
            | "instanceids"
            | "connection"
            | "connectionname"
            | "connectionid"
            | "server"
            | "serverid"
            | "vm"
            | "vmname"
            | "node"
            | "device"
            | "deviceid"
            | "sandboxid"
            | "targets"
    )
}

/// A field's name without case and what parts its words.
fn spelled(field: &str) -> String {
    let letters = field.chars().take(32).filter(|c| c.is_alphanumeric());
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tools_are_given_to_run() {
        for (tool, input, line) in [
            (
                "mcp__aws-api__call_aws",
                json!({"cli_command": "aws s3 ls", "max_results": 5}),
                Some("aws s3 ls"),
            ),
            (
                "mcp__gcloud__run_gcloud_command",
                json!({"args": ["auth", "list"]}),
                Some("gcloud auth list"),
            ),
            (
                "mcp__kubernetes__kubectl",
                json!({"command": "get pods -A"}),
                Some("kubectl get pods -A"),
            ),
            (
                "mcp__azure__az_cli",
                json!({"command": "az ad sp list"}),
                Some("az ad sp list"),
            ),
            (
                "mcp__git__git_push",
                json!({"args": ["--force", "origin", "main"]}),
                Some("git push --force origin main"),
            ),
            (
                "mcp__redis__execute_command",
                json!({"command": "FLUSHALL"}),
                Some("redis-cli FLUSHALL"),
            ),
            (
                "mcp__commander__start_process",
                json!({"command": "nc", "args": ["a.example", "80"]}),
                Some("nc a.example 80"),
            ),
            ("mcp__term__run", json!({"cmd": ["ls", "-la"]}), Some("ls -la")),
            (
                "mcp__term__run",
                json!({"arguments": {"command": "id -u"}}),
                Some("id -u"),
            ),
            (
                "mcp__ssh__exec",
                json!({"host": "web1", "command": "uptime"}),
                Some("uptime"),
            ),
            (
                "mcp__docker__exec",
                json!({"container": "web", "command": "ls /"}),
                Some("ls /"),
            ),
            (
                "mcp__jupyter__execute_code",
                json!({"code": "print(1)"}),
                Some("python3 -c 'print(1)'"),
            ),
            (
                "execute_code",
                json!({"language": "bash", "code": "id"}),
                Some("id"),
            ),
            (
                "mcp__node__run_code",
                json!({"code": "f()"}),
                Some("node -e 'f()'"),
            ),
            // A room of its own, a page, a form, a list of something else.
            ("mcp__sandbox__run_python", json!({"code": "print(1)"}), None),
            (
                "mcp__playwright__browser_run_code",
                json!({"code": "page.click()"}),
                None,
            ),
            ("mcp__github__create_issue", json!({"title": "run ls"}), None),
            ("mcp__stats__plot", json!({"args": ["x", "y"]}), None),
            ("mcp__a__b", json!("text"), None),
        ] {
            assert_eq!(inner_line(tool, &input).as_deref(), line, "{tool} {input}");
        }
    }

    #[test]
    fn hostile_inputs_end() {
        let many: Vec<String> = vec!["a b".to_owned(); 5000];
        assert!(inner_line("mcp__term__run", &json!({"commands": many})).is_some());
        for input in [
            json!({"command": []}),
            json!({"command": 7}),
            json!({"args": {}}),
            json!({"command": ""}),
            json!(null),
        ] {
            let _ = inner_line("mcp__docker__run", &input);
        }
    }
}
