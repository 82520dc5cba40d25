//! Variables that are set and functions that are defined: what they change in the programs that follow.

use defenseclaw_model::facts::BehaviourKind::{Credential, Evasion, Persistence};

use super::super::{Analysis, aside, flows, hosts, installs};
use crate::shell::{Assignment, Place, Scope};

/// Notes what setting a variable does.
pub(in super::super) fn assigned(analysis: &mut Analysis, assignment: &Assignment, _: &Scope<'_>) {
    // Only names in capitals mean something to a program.
    if !assignment
        .name
        .starts_with(|c: char| c.is_ascii_uppercase() || matches!(c, 'h' | 'n'))
    {
        return;
    }
    let value = assignment.values.first().map_or("", |value| value.text.as_str());
    environment(analysis, &assignment.name, value);
}

/// Variables whose value other programs run.
const COMMANDS: &[&str] = &[
    "GIT_SSH_COMMAND",
    "GIT_PROXY_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "GIT_ASKPASS",
    "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR",
    "GIT_PAGER",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "PROMPT_COMMAND",
    "PAGER",
    "MANPAGER",
    "EDITOR",
    "VISUAL",
    "LESSOPEN",
    "LESSCLOSE",
    "GIT_SSH",
    "RSYNC_RSH",
    "SVN_SSH",
    "CVS_RSH",
    "BROWSER",
    "GH_PAGER",
    "GH_EDITOR",
    "BAT_PAGER",
    "AWS_PAGER",
    "SYSTEMD_PAGER",
    "SYSTEMD_EDITOR",
    "SUDO_EDITOR",
    "KUBE_EDITOR",
    "PSQL_PAGER",
    "PSQL_EDITOR",
    "FCEDIT",
    "FZF_DEFAULT_COMMAND",
    "FZF_CTRL_T_COMMAND",
    "GIT_CONFIG_VALUE_0",
    "GIT_CONFIG_VALUE_1",
    "CC",
    "CXX",
    "RUSTC_WRAPPER",
    "MAKEFLAGS",
];

/// Notes what `name=value` in the environment does.
pub(in super::super) fn environment(analysis: &mut Analysis, name: &str, value: &str) {
    let value = value.trim_matches(['"', '\'']);
    if COMMANDS.contains(&name) && value.contains(' ') {
        let place = Place {
            depth: analysis.place.depth + 1,
            ..analysis.place
        };
        aside::command_line(analysis, value, aside::Setting::Startup, place);
    }
    match name {
        "HISTFILE" if value.is_empty() || value == "/dev/null" => {
            analysis.behave(Evasion, "history-off", name, None)
        }
        "HISTSIZE" | "HISTFILESIZE" | "SAVEHIST" if value == "0" || value.is_empty() => {
            analysis.behave(Evasion, "history-off", name, None)
        }
        "HISTIGNORE" if value == "*" => analysis.behave(Evasion, "history-off", name, None),
        "HISTCONTROL" if value.contains("ignore") => analysis.behave(Evasion, "history-control", name, None),
        "LD_PRELOAD" | "LD_AUDIT" | "DYLD_INSERT_LIBRARIES"
            if !value.is_empty() && !is_known_library(value) =>
        {
            analysis.behave(Persistence, "ld-preload", value, None);
        }
        "BASH_ENV" | "PROMPT_COMMAND" | "PYTHONSTARTUP" | "ZDOTDIR" if !value.is_empty() => {
            analysis.behave(Persistence, "shell-startup", name, None);
        }
        "PERL5OPT" | "RUBYOPT" | "NODE_OPTIONS" | "PYTHONPATH" | "PERL5LIB" | "JAVA_TOOL_OPTIONS"
            if ["/tmp/", "/dev/shm/", "/var/tmp/"]
                .iter()
                .any(|part| value.contains(part)) =>
        {
            analysis.behave(Persistence, "ld-preload", name, None);
        }
        "GIT_SSH_COMMAND" | "GIT_PROXY_COMMAND" | "GIT_EXTERNAL_DIFF" | "GIT_ASKPASS" | "SSH_ASKPASS"
            if value.contains(['|', ';', '`']) || value.contains("/tmp/") || value.contains("sh -c") =>
        {
            analysis.behave(Persistence, "git-hook", name, None);
        }
        "PATH"
            if value.starts_with(".:")
                || value.starts_with("/tmp")
                || value.starts_with("/dev/shm")
                || value.starts_with("/var/tmp")
                || value.starts_with(':') =>
        {
            analysis.behave(
                Persistence,
                "path-hijack",
                value.split(':').next().unwrap_or_default(),
                None,
            );
        }
        "SSH_AUTH_SOCK" if value.starts_with("/tmp/") || value.contains("agent.") => {
            analysis.behave(Credential, "ssh-agent", value, None)
        }
        "KRB5CCNAME" => analysis.behave(Credential, "kerberos", value, None),
        "NODE_TLS_REJECT_UNAUTHORIZED" | "PYTHONHTTPSVERIFY" if value == "0" => {
            analysis.behave(Evasion, "tls-verify-off", name, None)
        }
        "GIT_SSL_NO_VERIFY" if matches!(value, "1" | "true") => {
            analysis.behave(Evasion, "tls-verify-off", name, None)
        }
        "HUSKY" | "LEFTHOOK" if value == "0" => analysis.behave(Evasion, "sandbox-off", name, None),
        "HUSKY_SKIP_HOOKS" | "PRE_COMMIT_ALLOW_NO_CONFIG" if value == "1" => {
            analysis.behave(Evasion, "sandbox-off", name, None)
        }
        "http_proxy" | "https_proxy" | "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" => proxy(analysis, value),
        "ANTHROPIC_BASE_URL" | "OPENAI_BASE_URL" | "OPENAI_API_BASE" | "GOOGLE_GEMINI_BASE_URL" => {
            base(analysis, value)
        }
        "npm_config_registry" | "GOPROXY" => installs::variable(analysis, name, value),
        _ if ["PIP", "UV_", "NPM_", "YARN_", "BUN_"]
            .iter()
            .any(|start| name.starts_with(start)) =>
        {
            installs::variable(analysis, name, value);
        }
        _ if name.starts_with("DEFENSECLAW_") => analysis.behave(Evasion, "defenseclaw-tamper", name, None),
        _ => {}
    }
}

/// Libraries that developers load for memory and its checking.
fn is_known_library(value: &str) -> bool {
    [
        "jemalloc",
        "tcmalloc",
        "mimalloc",
        "libasan",
        "libubsan",
        "libtsan",
        "libgomp",
        "libstdc++",
        "libfaketime",
        "libeatmydata",
        "libSegFault",
        "libmkl",
        "libiomp",
        "libnvidia",
        "libtorch",
        "libcuda",
        "libnuma",
        "libpython",
    ]
    .iter()
    .any(|known| value.contains(known))
}

fn proxy(analysis: &mut Analysis, value: &str) {
    if let Some(host) = hosts::url_host(value).filter(|host| !flows::is_near(&host.host)) {
        analysis.behave(Evasion, "proxy-env", host.host, None);
    }
}

/// Where an agent's or program's model answers from.
fn base(analysis: &mut Analysis, value: &str) {
    if let Some(host) = hosts::url_host(value).filter(|host| !flows::is_near(&host.host)) {
        analysis.behave(Evasion, "model-redirect", host.host, None);
    }
}

/// Programs that nobody defines anew for convenience.
const SHADOWED: &[&str] = &[
    "sudo", "su", "ssh", "passwd", "doas", "login", "gpg", "ps", "netstat", "ss", "lsof", "last",
];

/// Notes what defining a function does.
pub(in super::super) fn function(analysis: &mut Analysis, name: &str) {
    if SHADOWED.contains(&name) {
        analysis.behave(Persistence, "alias-shadow", name, None);
    }
}
