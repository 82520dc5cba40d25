//! MCP servers by what is written of them: how settings launch them, and what their tools say of themselves.

use std::collections::BTreeMap;

use defenseclaw_model::decision::Severity;
use defenseclaw_places::servers::{self, MAX_SERVERS, Server};
use serde_json::Value;

use super::commands::Place;
use super::content::{automatic, line_of};
use super::rules::Shown;
use super::{Offered, Pass, Told, packages};
use crate::tools::command_line;

/// Most texts of one tool's definition, and how deep they may lie.
const MAX_TEXTS: usize = 2000;
const MAX_DEPTH: usize = 32;

/// Most tools of one list.
const MAX_TOOLS: usize = 5000;

/// Longest description that is ordinary (bytes): what is longer is before the model's eyes in every turn.
const LONG: usize = 4000;

const PLAIN_HTTP: Told = (
    "mcp.plain-http",
    "remote-code",
    Severity::Medium,
    80,
    "Use https: whoever is on the way can change what tools say and return",
);
const UNPINNED: Told = (
    "mcp.unpinned-server",
    "remote-code",
    Severity::Low,
    75,
    "Name one version of the package, so that it is the one that was scanned",
);
const ENV_SECRET: Told = (
    "mcp.secret-in-settings",
    "secret",
    Severity::Medium,
    70,
    "Refer to an environment variable, as in ${TOKEN}",
);
const SHADOWS: Told = (
    "mcp.same-tool-twice",
    "tool-poisoning",
    Severity::High,
    75,
    "Rename or remove one of them: the model cannot tell which one it calls",
);
const CUT: Told = (
    "mcp.too-large",
    "artifact",
    Severity::High,
    60,
    "Ask for fewer tools: what goes beyond was not looked at",
);
const LONG_TEXT: Told = (
    "mcp.long-description",
    "tool-poisoning",
    Severity::Low,
    50,
    "Read it to the end: a tool says in a few lines what it does",
);

impl Pass<'_> {
    /// What a scan of MCP settings needs besides the files: everything is done where the files are read.
    pub(super) fn mcp(&mut self) {
        let found = self.artifact.files.iter().any(|file| {
            [
                ".json", ".jsonc", ".toml", ".yaml", ".yml", ".md", ".py", ".js", ".ts", ".mjs",
            ]
            .iter()
            .any(|end| file.path.ends_with(end))
        });
        if !found && self.artifact.files.len() == 1 {
            let told = (
                "mcp.unreadable",
                "artifact",
                Severity::Medium,
                60,
                "Name a JSON file with mcpServers, or an answer to tools/list",
            );
            self.tell(
                told,
                ("", 0),
                "It holds no settings of MCP servers".to_owned(),
                "",
            );
        }
    }

    /// Servers and tools in settings or saved answers, whatever the file is called.
    pub(super) fn servers(&mut self, path: &str, text: &str, value: &Value) {
        let mut tools: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut named = servers::of(value, text);
        if named.more {
            let message = format!("It names more than {MAX_SERVERS} servers");
            self.tell(CUT, (path, 0), message, "");
        }
        named.servers.retain(is_server);
        if named.servers.is_empty() {
            named.servers.extend(servers::alone(value));
        }
        for server in &named.servers {
            let line = server.line;
            self.launch(server, (path, line));
            self.judge_server(server, (path, line));
            for list in ["tools", "prompts", "resources"] {
                if let Some(list) = server.settings.get(list).and_then(Value::as_array) {
                    self.tools(list, &server.name, (path, text), &mut tools);
                }
            }
            for field in ["instructions", "description", "serverInstructions"] {
                if let Some(said) = server.settings.get(field).filter(|said| said.is_string()) {
                    self.texts(said, (path, line));
                }
            }
        }
        let lists = [value.get("tools"), value.pointer("/result/tools")];
        for list in lists.into_iter().flatten().filter_map(Value::as_array) {
            self.tools(list, "", (path, text), &mut tools);
        }
        if value
            .get("inputSchema")
            .or_else(|| value.get("input_schema"))
            .is_some()
        {
            self.tools(std::slice::from_ref(value), "", (path, text), &mut tools);
        }
        for field in ["prompts", "resources", "instructions"] {
            for value in [value.get(field), value.pointer(&format!("/result/{field}"))]
                .into_iter()
                .flatten()
            {
                self.texts(value, (path, line_of(text, field)));
            }
        }
        for (tool, servers) in tools {
            if servers.len() > 1 {
                let line = line_of(text, &tool);
                let message = format!("The tool {tool} is there {} times", servers.len());
                self.tell(SHADOWS, (path, line), message, &servers.join(", "));
            }
        }
    }

    /// How a server is started or reached.
    fn launch(&mut self, server: &Server<'_>, (path, line): (&str, u32)) {
        if let Some(stdio) = &server.stdio {
            let words = stdio.words();
            let command = command_line(&words);
            let before = self.findings.len();
            self.script(&command, Place::Automatic, (path, line));
            automatic(&mut self.findings, before);
            for finding in self.findings.iter_mut().skip(before) {
                finding.line = line;
            }
            self.unpinned(&words, (path, line));
        }
        self.judge_launch(server, (path, line));
        let local = |url: &str| {
            ["localhost", "127.", "[::1]", "host.docker.internal"]
                .iter()
                .any(|host| {
                    url.strip_prefix("http://")
                        .is_some_and(|rest| rest.starts_with(host))
                })
        };
        let plain = server
            .http
            .iter()
            .flat_map(|http| std::iter::once(&http.url).chain(&http.others));
        for url in plain.filter(|url| url.starts_with("http://") && !local(url)) {
            self.tell(
                PLAIN_HTTP,
                (path, line),
                "The server is reached without encryption".to_owned(),
                url,
            );
        }
        for variable in server.env.iter().chain(&server.headers) {
            let Some(value) = variable.value.as_deref() else {
                continue;
            };
            // What stands there is put in by whoever starts it.
            let filled_in = ["${", "{{", "<", "{env:", "{file:"];
            if filled_in.iter().any(|mark| value.contains(mark)) {
                continue;
            }
            let name = variable.name;
            let masked = crate::mask::mask_value(&serde_json::json!({ name: value }), 256);
            let secret = masked
                .get(name)
                .and_then(Value::as_str)
                .is_some_and(|masked| masked.contains("***["));
            if secret {
                let message = format!("A secret stands in its settings, as {name}");
                self.tell(ENV_SECRET, (path, line), message, name);
            }
        }
    }

    fn unpinned(&mut self, words: &[&str], at: (&str, u32)) {
        let program = defenseclaw_model::facts::Program {
            name: words
                .first()
                .and_then(|word| word.rsplit('/').next())
                .unwrap_or_default()
                .to_owned(),
            argv: words.iter().map(|&word| word.to_owned()).collect(),
        };
        for package in packages::of_programs(&[program], at.1) {
            if package.run && !package.pinned {
                let message = format!(
                    "Each start runs the newest version of {}, whatever it is by then",
                    package.name
                );
                self.tell(UNPINNED, at, message, &package.name);
            }
        }
    }

    fn tools(
        &mut self,
        list: &[Value],
        server: &str,
        (path, text): (&str, &str),
        seen: &mut BTreeMap<String, Vec<String>>,
    ) {
        if list.len() > MAX_TOOLS {
            let message = format!("It has more than {MAX_TOOLS} tools");
            self.tell(CUT, (path, 0), message, "");
        }
        for tool in list.iter().take(MAX_TOOLS) {
            let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
            let line = line_of_tool(text, name);
            self.judge_name(name, (path, line));
            let servers = seen.entry(name.to_owned()).or_default();
            servers.push(server.to_owned());
            self.judge_length(tool, name, (path, line));
            self.texts(tool, (path, line));
            self.judge_tool(tool, (path, line));
        }
    }

    fn judge_length(&mut self, tool: &Value, name: &str, at: (&str, u32)) {
        let description = tool
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if description.len() > LONG {
            let message = format!("The tool {name} describes itself in {} bytes", description.len());
            self.tell(LONG_TEXT, at, message, "");
        }
    }

    /// What a running server offers: judged as what settings and saved answers hold; findings name the field.
    pub(super) fn offered(&mut self, offered: &Offered<'_>) {
        let place = &offered.place;
        if let Some(name) = offered.tool {
            self.judge_name(name, (place, 0));
            self.judge_length(offered.value, name, (place, 0));
        }
        let before = self.findings.len();
        self.texts(offered.value, (place, 0));
        if self.findings.len() == before {
            return;
        }
        let mut fields = Vec::new();
        pointers(offered.value, MAX_DEPTH, &mut String::new(), &mut fields);
        // Which field is to blame: the first in which the rule finds the same by itself. What is only there in several
        // together is the whole's.
        let alone: Vec<Vec<String>> = fields.iter().map(|(_, text)| self.rules_in(text)).collect();
        for finding in self.findings.iter_mut().skip(before) {
            let field = alone.iter().position(|rules| rules.contains(&finding.rule));
            if let Some((pointer, _)) = field.and_then(|field| fields.get(field)) {
                finding.file = format!("{place}#{pointer}");
            }
        }
    }

    /// The rules that find something in one text by itself.
    fn rules_in(&self, text: &str) -> Vec<String> {
        let mut pass = Pass {
            scanner: self.scanner,
            artifact: self.artifact,
            kind: self.kind,
            findings: Vec::new(),
            present: super::Present::default(),
            identity: super::Identity::default(),
            automatic: Vec::new(),
            inline: Vec::new(),
        };
        pass.texts(&Value::from(text), ("", 0));
        pass.findings.into_iter().map(|finding| finding.rule).collect()
    }

    /// Every string of a value, names of fields too, as prose before a model's eyes.
    fn texts(&mut self, value: &Value, (path, line): (&str, u32)) {
        let mut texts = Vec::new();
        if !strings(value, MAX_DEPTH, &mut texts) {
            let message = "It nests deeper, or has more texts, than is looked at".to_owned();
            self.tell(CUT, (path, line), message, "");
        }
        let before = self.findings.len();
        let shown: Vec<(u32, &str)> = texts
            .iter()
            .flat_map(|text| text.lines())
            .map(|text| (line, text))
            .collect();
        self.language(path, &shown, Shown::Plainly, true);
        let all = texts.join("\n");
        let hidden = super::markdown::hidden_in(&all);
        for passage in hidden {
            let lines: Vec<(u32, &str)> = passage.text.lines().map(|text| (line, text)).collect();
            self.prose(path, &lines, Shown::Hidden);
        }
        for finding in self.findings.iter_mut().skip(before) {
            finding.line = line;
        }
    }
}

/// The strings of a value with where they are; a field's name is where its value is.
fn pointers<'v>(value: &'v Value, depth: usize, at: &mut String, found: &mut Vec<(String, &'v str)>) {
    let Some(below) = depth.checked_sub(1) else { return };
    if found.len() >= MAX_TEXTS {
        return;
    }
    let long = at.len();
    match value {
        Value::String(text) => found.push((at.clone(), text)),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                at.push_str(&format!("/{place}"));
                pointers(item, below, at, found);
                at.truncate(long);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                found.push((at.clone(), name));
                pointers(field, below, at, found);
                at.truncate(long);
            }
        }
        _ => {}
    }
}

/// The line on which a tool of that name stands.
fn line_of_tool(text: &str, name: &str) -> u32 {
    let quoted = format!("\"{name}\"");
    text.find(&quoted)
        .map_or(1, |at| super::markdown::line_at(text, at))
}

/// Whether what stands among servers is judged as one. Everything that is settings is looked at here, so a bare `endpoint` is not enough.
fn is_server(server: &Server<'_>) -> bool {
    let has = |field: &str| {
        server
            .settings
            .get(field)
            .is_some_and(|one| one.is_string() || one.is_array() || one.is_object())
    };
    let told = |field: &&str| server.settings.get(*field).is_some_and(Value::is_string);
    let reached = ["url", "serverUrl", "httpUrl", "type", "transport"]
        .iter()
        .any(told)
        || server.settings.is_string();
    has("command")
        || has("cmd")
        || (server.http.is_some() && reached)
        || server.settings.get("tools").is_some_and(Value::is_array)
}

/// Gathers the strings of a value; says whether all of them are there.
fn strings<'v>(value: &'v Value, depth: usize, found: &mut Vec<&'v str>) -> bool {
    let Some(below) = depth.checked_sub(1) else {
        return false;
    };
    if found.len() >= MAX_TEXTS {
        return false;
    }
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => {
            for item in items {
                if !strings(item, below, found) {
                    return false;
                }
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                found.push(name);
                if !strings(field, below, found) {
                    return false;
                }
            }
        }
        _ => {}
    }
    true
}
