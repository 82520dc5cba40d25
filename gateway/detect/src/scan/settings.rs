//! What settings switch on, redirect and let through: variables that put code into programs, guards taken away, tools that
//! ask for what they do not need.

use defenseclaw_model::decision::Severity;
use defenseclaw_places::servers::Server;
use serde_json::Value;

use super::commands::Place;
use super::content::{automatic, line_of};
use super::{Pass, Told, names};

const INJECTED: Told = (
    "settings.code-by-variable",
    "command-execution",
    Severity::High,
    82,
    "Remove the variable: it puts code into every program that is started",
);
const REDIRECTED: Told = (
    "settings.model-redirected",
    "exfiltration",
    Severity::High,
    82,
    "Remove the variable: whoever answers there reads every prompt and writes every answer",
);
const PROXIED: Told = (
    "settings.traffic-redirected",
    "exfiltration",
    Severity::High,
    70,
    "Remove the variable, unless the proxy is the person's own",
);
const UNCHECKED: Told = (
    "settings.certificates-unchecked",
    "permissions",
    Severity::High,
    75,
    "Leave certificates checked",
);
const OTHER_SOURCE: Told = (
    "settings.package-source",
    "supply-chain",
    Severity::High,
    75,
    "Take packages from the registry that everyone uses",
);
const SAYS_YES: Told = (
    "plugin.says-yes",
    "permissions",
    Severity::High,
    82,
    "Let people decide what is allowed",
);
const GUARD_OFF: Told = (
    "settings.guard-off",
    "permissions",
    Severity::High,
    80,
    "Leave the guard on",
);
const STRANGER: Told = (
    "mcp.credential-to-stranger",
    "exfiltration",
    Severity::High,
    85,
    "Give a server its own credential and no other",
);
const SENDS_ON: Told = (
    "plugin.hook-sends-on",
    "exfiltration",
    Severity::High,
    80,
    "Do not install it, unless sending that is what it says it is for",
);
const FROM_LINK: Told = (
    "mcp.server-from-link",
    "remote-code",
    Severity::High,
    72,
    "Take the server from a registry, with its version",
);

/// Registries that everyone uses.
const REGISTRIES: &[&str] = &[
    "pypi.org",
    "registry.npmjs.org",
    "pythonhosted.org",
    "registry.yarnpkg.com",
    "download.pytorch.org",
    "proxy.golang.org",
    "index.crates.io",
];

/// Variables that hold a credential for one service, and what the hosts of that service have in their names.
const OF_SERVICES: &[(&str, &[&str])] = &[
    ("GITHUB_TOKEN", &["github"]),
    ("GH_TOKEN", &["github"]),
    ("GITHUB_PAT", &["github"]),
    ("GITLAB_TOKEN", &["gitlab"]),
    ("AWS_", &["aws", "amazon"]),
    ("AZURE_", &["azure", "microsoft"]),
    ("GOOGLE_", &["google"]),
    ("OPENAI_", &["openai", "azure"]),
    ("ANTHROPIC_", &["anthropic", "claude"]),
    ("NPM_TOKEN", &["npmjs"]),
    ("SLACK_", &["slack"]),
    ("STRIPE_", &["stripe"]),
    ("HF_TOKEN", &["huggingface", "hf."]),
    ("DATABASE_URL", &[]),
    ("SSH_", &[]),
];

impl Pass<'_> {
    /// Credentials of one service that are handed to the server of somebody else.
    fn credentials_to_strangers(&mut self, server: &Server<'_>, at: (&str, u32)) {
        let Some(http) = &server.http else { return };
        let Some((_, host)) = http.url.split_once("://") else {
            return;
        };
        let host = host
            .split(['/', '?'])
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        for header in &server.headers {
            let (name, value) = (header.name, header.value.as_deref().unwrap_or_default());
            let strange = OF_SERVICES.iter().find(|(variable, hosts)| {
                let given = value
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .any(|word| word.starts_with(variable));
                given && !hosts.iter().any(|known| host.contains(known))
            });
            if let Some((variable, _)) = strange {
                let message = format!("The header {name} hands {variable} to {host}, whose it is not");
                self.tell(STRANGER, at, message, value);
            }
        }
    }

    /// A hook that sends on what it is told of each call.
    pub(super) fn sends_on(&mut self, command: &str, at: (&str, u32)) {
        let fetches = ["curl ", "wget ", "nc ", "ncat ", "http "]
            .iter()
            .any(|program| command.contains(program));
        let all = [
            "@-",
            "--post-file=-",
            "-T -",
            "-sT -",
            "--upload-file -",
            "@/dev/stdin",
            "-d \"$(cat)\"",
            "$(cat)",
        ];
        let here = ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|here| command.contains(here));
        if fetches && !here && all.iter().any(|word| command.contains(word)) {
            let message =
                "A hook sends on what it is told of each event: prompts, calls and their results".to_owned();
            self.tell(SENDS_ON, at, message, command);
        }
    }

    /// What a server is launched with besides its command.
    pub(super) fn judge_launch(&mut self, server: &Server<'_>, at: (&str, u32)) {
        for variable in &server.env {
            if let Some(value) = variable.value.as_deref() {
                self.variable(variable.name, value, at);
            }
        }
        self.credentials_to_strangers(server, at);
        for field in ["alwaysAllow", "autoApprove", "autoAllow", "trustedTools"] {
            let list = server.settings.get(field);
            let all = list.is_some_and(|list| {
                list.as_array()
                    .is_some_and(|list| list.iter().filter_map(Value::as_str).any(|one| one.trim() == "*"))
                    || list.as_str() == Some("*")
            });
            if all {
                let message = format!("Every tool of the server runs without asking ({field})");
                self.tell(GUARD_OFF, at, message, field);
            }
        }
        for &word in server.stdio.iter().flat_map(|stdio| &stdio.args) {
            let link = word.strip_prefix("git+").unwrap_or(word);
            let known = [
                "https://github.com/",
                "https://gitlab.com/",
                "https://registry.npmjs.org/",
                "https://files.pythonhosted.org/",
            ];
            let archive = [
                ".tgz", ".tar.gz", ".zip", ".whl", ".git", ".js", ".mjs", ".ts", ".py", ".sh",
            ];
            let program = link.split(['#', '?', '@']).next().unwrap_or_default();
            if link.starts_with("http")
                && !known.iter().any(|known| link.starts_with(known))
                && archive.iter().any(|ending| program.ends_with(ending))
            {
                let message =
                    "Each start fetches the server from a link, and runs what lies there then".to_owned();
                self.tell(FROM_LINK, at, message, word);
            }
        }
    }

    /// Variables that settings give to programs.
    pub(super) fn variables(&mut self, variables: &Value, at: (&str, u32)) {
        for (name, value) in variables.as_object().into_iter().flatten() {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.variable(name, &value, at);
        }
    }

    fn variable(&mut self, name: &str, value: &str, at: (&str, u32)) {
        if let Some((told, message)) = variable(name, value) {
            self.tell(told, at, format!("{message}: {name}"), &format!("{name}={value}"));
        }
    }

    /// A hook that answers every question about a call with yes.
    pub(super) fn says_yes(&mut self, command: &str, at: (&str, u32)) {
        let plain: String = command
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'' | '\\'))
            .collect::<String>()
            .to_ascii_lowercase();
        let yes = [
            "permissiondecision:allow",
            "decision:approve",
            "decision:allow",
            "behavior:allow",
            "permission:allow",
        ];
        let no = ["deny", "block", ":ask"];
        if yes.iter().any(|word| plain.contains(word)) && !no.iter().any(|word| plain.contains(word)) {
            let message = "A hook approves whatever it is asked about".to_owned();
            self.tell(SAYS_YES, at, message, command);
        }
    }

    /// Settings of harnesses and editors that an artifact brings along.
    pub(super) fn harness_settings(&mut self, path: &str, text: &str, value: &Value) {
        let at = |name: &str| (path, line_of(text, name));
        let is = |field: &str, wanted: bool| value.pointer(field).and_then(Value::as_bool) == Some(wanted);
        let taken = [
            (
                is("/enableAllProjectMcpServers", true),
                "enableAllProjectMcpServers",
                "Every MCP server of a project starts without asking",
            ),
            (is("/sandbox/enabled", false), "sandbox", "The sandbox is off"),
            (
                is("/sandbox/autoAllowBashIfSandboxed", true)
                    && is("/sandbox/allowUnsandboxedCommands", true),
                "sandbox",
                "Commands run outside the sandbox without asking",
            ),
            (
                is("/disableAllHooks", true),
                "disableAllHooks",
                "Every hook is off, those of guards too",
            ),
            (
                is("/chat.tools.autoApprove", true) || is("/chat.tools.global.autoApprove", true),
                "chat.tools.autoApprove",
                "Every tool call is approved by itself",
            ),
            (
                is("/security.workspace.trust.enabled", false),
                "security.workspace.trust.enabled",
                "Every folder is trusted",
            ),
            (
                is("/skipDangerousModePermissionPrompt", true),
                "skipDangerousModePermissionPrompt",
                "The warning before the mode without questions is off",
            ),
            (
                value.get("autoApprove").and_then(Value::as_bool) == Some(true),
                "autoApprove",
                "Everything is approved by itself",
            ),
        ];
        for (stands, name, message) in taken {
            if stands {
                self.tell(GUARD_OFF, at(name), message.to_owned(), name);
            }
        }
        if (value.get("permissions").is_some()
            || value.get("hooks").is_some()
            || path.ends_with("settings.json"))
            && let Some(variables) = value.get("env")
        {
            self.variables(variables, at("env"));
        }
        self.commands_of_settings(path, text, value);
    }

    /// Commands that settings have run without asking.
    fn commands_of_settings(&mut self, path: &str, text: &str, value: &Value) {
        let at = |name: &str| (path, line_of(text, name));
        for field in [
            "apiKeyHelper",
            "awsAuthRefresh",
            "awsCredentialExport",
            "otelHeadersHelper",
        ] {
            if let Some(command) = value.get(field).and_then(Value::as_str) {
                self.by_itself(command, at(field));
            }
        }
        if let Some(command) = value.pointer("/statusLine/command").and_then(Value::as_str) {
            self.by_itself(command, at("statusLine"));
        }
        for task in value.get("tasks").and_then(Value::as_array).into_iter().flatten() {
            let opens = task.pointer("/runOptions/runOn").and_then(Value::as_str) == Some("folderOpen");
            let command = task.get("command").and_then(Value::as_str).filter(|_| opens);
            if let Some(command) = command {
                let words: Vec<&str> = std::iter::once(command)
                    .chain(
                        task.get("args")
                            .and_then(Value::as_array)
                            .into_iter()
                            .flatten()
                            .filter_map(Value::as_str),
                    )
                    .collect();
                self.by_itself(&words.join(" "), at("folderOpen"));
            }
        }
    }

    fn by_itself(&mut self, command: &str, at: (&str, u32)) {
        let before = self.findings.len();
        self.script(command, Place::Automatic, at);
        automatic(&mut self.findings, before);
    }
}

/// What a variable does, where that is harm.
fn variable(name: &str, value: &str) -> Option<(Told, &'static str)> {
    let upper = name.to_ascii_uppercase();
    let lower = value.to_ascii_lowercase();
    let remote = lower.contains("://")
        && !["localhost", "127.0.0.1", "[::1]", "host.docker.internal", "://$"]
            .iter()
            .any(|here| lower.contains(here));
    let host = names::host_of(&lower).unwrap_or_default();
    let code = match upper.as_str() {
        "LD_PRELOAD"
        | "LD_AUDIT"
        | "DYLD_INSERT_LIBRARIES"
        | "BASH_ENV"
        | "ENV"
        | "PYTHONSTARTUP"
        | "PERL5OPT"
        | "RUBYOPT"
        | "PROMPT_COMMAND"
        | "GIT_SSH_COMMAND"
        | "GIT_ASKPASS"
        | "NODE_REPL_EXTERNAL_MODULE"
        | "JAVA_TOOL_OPTIONS" => upper != "ENV" || lower.contains('/'),
        "NODE_OPTIONS" => [
            "--require",
            "-r ",
            "--import",
            "--loader",
            "--experimental-loader",
        ]
        .iter()
        .any(|flag| lower.contains(flag)),
        "LD_LIBRARY_PATH" | "PYTHONPATH" => lower.contains("/tmp") || lower.contains("/."),
        _ => false,
    };
    if code {
        return Some((
            INJECTED,
            "A variable puts code into the programs that are started",
        ));
    }
    let model = [
        "ANTHROPIC",
        "OPENAI",
        "CLAUDE",
        "GEMINI",
        "GOOGLE_GEMINI",
        "CODEX",
        "MISTRAL",
        "OLLAMA",
        "OPENROUTER",
        "GROQ",
        "DEEPSEEK",
        "AZURE_OPENAI",
    ]
    .iter()
    .any(|maker| upper.starts_with(maker));
    if model
        && ["BASE_URL", "API_BASE", "API_URL", "ENDPOINT", "API_HOST"]
            .iter()
            .any(|end| upper.ends_with(end))
        && remote
        && !names::is_of_models(&host)
    {
        return Some((
            REDIRECTED,
            "A variable sends what is said to the model to another host",
        ));
    }
    if matches!(upper.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY") && remote {
        // A name is mostly a company's own; an address that everyone can reach is not.
        let public = host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| !address.is_private());
        let (id, category, _, confidence, remedy) = PROXIED;
        let severity = if public { Severity::High } else { Severity::Low };
        return Some((
            (id, category, severity, confidence, remedy),
            "A variable sends all traffic through another host",
        ));
    }
    let unchecked = match upper.as_str() {
        "NODE_TLS_REJECT_UNAUTHORIZED" | "PYTHONHTTPSVERIFY" => matches!(value, "0" | "false"),
        "NPM_CONFIG_STRICT_SSL" => value == "false",
        "GIT_SSL_NO_VERIFY" => value != "0",
        _ => false,
    };
    if unchecked {
        return Some((UNCHECKED, "A variable has certificates believed unchecked"));
    }
    let registry = matches!(
        upper.as_str(),
        "NPM_CONFIG_REGISTRY"
            | "PIP_INDEX_URL"
            | "PIP_EXTRA_INDEX_URL"
            | "UV_INDEX_URL"
            | "UV_EXTRA_INDEX_URL"
            | "UV_DEFAULT_INDEX"
            | "UV_INDEX"
            | "YARN_NPM_REGISTRY_SERVER"
            | "GOPROXY"
            | "CARGO_REGISTRIES_CRATES_IO_INDEX"
    );
    if registry && remote && !REGISTRIES.iter().any(|known| names::is_below(&host, known)) {
        return Some((
            OTHER_SOURCE,
            "A variable has packages taken from another registry",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_redirect_are_told_from_those_that_configure() {
        for (name, value) in [
            ("NODE_OPTIONS", "--require /tmp/x.js"),
            ("LD_PRELOAD", "/tmp/x.so"),
            ("ANTHROPIC_BASE_URL", "http://203.0.113.5:8080"),
            ("OPENAI_BASE_URL", "https://api.openai.com:v1@llm.example/v1"),
            ("HTTPS_PROXY", "http://198.51.100.2:3128"),
            ("npm_config_registry", "https://npm.example.net/"),
        ] {
            assert!(variable(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("NODE_OPTIONS", "--max-old-space-size=4096"),
            ("ANTHROPIC_BASE_URL", "http://localhost:11434"),
            ("OPENAI_BASE_URL", "https://api.openai.com/v1"),
            ("ANTHROPIC_BASE_URL", "https://api.z.ai/api/anthropic"),
            ("ENV", "production"),
            ("HTTPS_PROXY", "${HTTPS_PROXY}"),
            ("LOG_LEVEL", "debug"),
        ] {
            assert!(variable(name, value).is_none(), "{name}");
        }
    }
}
