//! What settings allow without asking: commands, files, tools, modes in which nobody is asked.

use defenseclaw_model::decision::Severity;
use serde_json::Value;

use super::content::line_of;
use super::skill::listed;
use super::{Pass, Told};

const ALLOWS: Told = (
    "permissions.settings-allow",
    "permissions",
    Severity::High,
    80,
    "Let people decide what is allowed without asking",
);
const ALLOWS_MUCH: Told = (
    "permissions.settings-allow-much",
    "permissions",
    Severity::Medium,
    65,
    "Name the commands that it needs, with their arguments",
);
const REACHES_PRIVATE: Told = (
    "permissions.private-files",
    "permissions",
    Severity::High,
    80,
    "Leave files outside the project to the person",
);
const NOBODY_ASKED: Told = (
    "permissions.nobody-asked",
    "permissions",
    Severity::High,
    82,
    "Let the agent ask before it acts",
);

/// Most entries of a list of permissions that are looked at.
const MAX_ENTRIES: usize = 1000;

/// How deep such lists may lie in settings.
const MAX_DEPTH: usize = 8;

/// Programs that run whatever they are given, or as whom they like: allowing one of them allows everything.
const RUNS_ANYTHING: &[&str] = &[
    "sudo",
    "su",
    "doas",
    "sh",
    "bash",
    "zsh",
    "dash",
    "fish",
    "eval",
    "exec",
    "nc",
    "ncat",
    "socat",
    "ssh",
    "dd",
    "mkfs",
    "osascript",
    "powershell",
    "pwsh",
    "cmd",
    "nsenter",
    "chroot",
    "crontab",
    "launchctl",
];

/// Programs with which much can be done, and which honest settings allow, too.
const DOES_MUCH: &[&str] = &[
    "curl", "wget", "rm", "python", "python3", "node", "perl", "ruby", "docker", "env", "xargs", "chmod",
    "chown", "scp", "rsync", "kill",
];

/// Names of lists of what is allowed.
const LISTS: &[&str] = &[
    "allow",
    "allowed",
    "allowedTools",
    "allowed-tools",
    "allowed_tools",
    "coreTools",
    "autoApprove",
    "alwaysAllow",
    "trustedCommands",
    "trustedTools",
    "allowlist",
    "allowList",
    "commandAllowlist",
    "terminalAllowlist",
    "permissions",
    "autoApprovedCommands",
];

/// What one entry of a list allows.
#[derive(Debug, PartialEq, Eq)]
enum Grant {
    Anything,
    Private,
    Much,
    Ordinary,
}

impl Pass<'_> {
    /// What settings allow, wherever it stands in them.
    pub(super) fn grants(&mut self, path: &str, text: &str, value: &Value) {
        let mut entries = Vec::new();
        gather(value, "", MAX_DEPTH, &mut entries);
        let mut much = Vec::new();
        for entry in entries.into_iter().take(MAX_ENTRIES) {
            let at = (path, line_of_entry(text, entry));
            match grant_of(entry) {
                Grant::Anything => {
                    let message = "Its settings allow any command without asking".to_owned();
                    self.tell(ALLOWS, at, message, entry);
                }
                Grant::Private => {
                    let message =
                        "Its settings let an agent into files that are not the project's".to_owned();
                    self.tell(REACHES_PRIVATE, at, message, entry);
                }
                Grant::Much => much.push((entry, at.1)),
                Grant::Ordinary => {}
            }
        }
        if let Some(&(entry, line)) = much.first() {
            let message = format!(
                "Its settings allow {} commands that can do much, without asking",
                much.len()
            );
            self.tell(ALLOWS_MUCH, (path, line), message, entry);
        }
        self.modes(path, text, value);
    }

    /// What a document is allowed by its own settings, as far as no honest one needs it.
    pub(super) fn granted(&mut self, tools: &Value, at: (&str, u32)) {
        for entry in listed(tools).iter().take(MAX_ENTRIES) {
            if grant_of(entry) == Grant::Private {
                let message = "It lets itself into files that are not the project's".to_owned();
                self.tell(REACHES_PRIVATE, at, message, entry);
            }
        }
    }

    /// Modes in which nobody is asked.
    pub(super) fn modes(&mut self, path: &str, text: &str, value: &Value) {
        for (stands, name) in modes_of(value) {
            if stands {
                let message = format!("Its settings have nobody asked ({name})");
                self.tell(NOBODY_ASKED, (path, line_of(text, name)), message, name);
            }
        }
        let folders = value
            .pointer("/permissions/additionalDirectories")
            .and_then(Value::as_array);
        for folder in folders.into_iter().flatten().filter_map(Value::as_str) {
            if matches!(
                folder,
                "/" | "~" | "~/" | "/home" | "/etc" | "/root" | "$HOME" | "//"
            ) || is_private(folder)
            {
                let message = "Its settings let an agent into folders that are not the project's".to_owned();
                self.tell(
                    REACHES_PRIVATE,
                    (path, line_of(text, "additionalDirectories")),
                    message,
                    folder,
                );
            }
        }
    }
}

/// The modes in which nobody is asked, whether each is set, and its field's name.
fn modes_of(value: &Value) -> [(bool, &'static str); 13] {
    let says = |pointer: &str, words: &[&str]| {
        let said = value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        words.iter().any(|word| said.eq_ignore_ascii_case(word))
    };
    let is = |pointer: &str| value.pointer(pointer).and_then(Value::as_bool) == Some(true);
    [
        (
            says("/permissions/defaultMode", &["bypassPermissions", "dontAsk"]),
            "defaultMode",
        ),
        (
            says("/permissionMode", &["bypassPermissions", "dontAsk", "yolo"]),
            "permissionMode",
        ),
        (
            says("/approval_policy", &["never"]) && says("/sandbox_mode", &["danger-full-access"]),
            "approval_policy",
        ),
        (
            says("/approvalPolicy", &["never"]) && says("/sandbox", &["danger-full-access"]),
            "approvalPolicy",
        ),
        (
            says("/approvalMode", &["yolo", "full-auto"]) || says("/general/defaultApprovalMode", &["yolo"]),
            "approvalMode",
        ),
        (
            is("/yolo") || is("/autoAccept") || is("/tools/autoAccept") || is("/dangerouslySkipPermissions"),
            "autoAccept",
        ),
        (
            is("/permissions/autoApproveAll") || is("/autoApproveAll") || is("/alwaysApprove"),
            "autoApproveAll",
        ),
        (
            says("/permission", &["allow"]) || says("/permission/*", &["allow"]),
            "permission",
        ),
        (
            says("/permission/bash", &["allow"]) && says("/permission/edit", &["allow"]),
            "permission",
        ),
        (says("/permission/bash/*", &["allow"]), "permission"),
        (
            says("/tools/exec/ask", &["off"]) && says("/tools/exec/security", &["full"]),
            "tools",
        ),
        (
            says("/agents/defaults/sandbox/mode", &["off"]) && says("/tools/exec/ask", &["off"]),
            "sandbox",
        ),
        (
            value
                .pointer("/chat.tools.terminal.autoApprove/~1.*~1")
                .and_then(Value::as_bool)
                == Some(true),
            "chat.tools.terminal.autoApprove",
        ),
    ]
}

/// The line on which an entry of a list stands.
fn line_of_entry(text: &str, entry: &str) -> u32 {
    text.find(entry)
        .map_or(1, |at| super::markdown::line_at(text, at))
}

/// The entries of all lists of what is allowed.
fn gather<'v>(value: &'v Value, within: &str, depth: usize, found: &mut Vec<&'v str>) {
    let Some(below) = depth.checked_sub(1).filter(|_| found.len() < MAX_ENTRIES) else {
        return;
    };
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                // What is denied or asked about is no grant, and what tools say of themselves no setting.
                if matches!(
                    name.as_str(),
                    "deny" | "ask" | "tools" | "blocked" | "excludeTools"
                ) && !field.is_object()
                {
                    continue;
                }
                match field {
                    Value::Array(items) if LISTS.contains(&name.as_str()) => {
                        // Much else allows `*`: origins, file types. A list of tools is named so.
                        let tools = within == "permissions"
                            || ["tool", "prove", "allow", "command"].iter().any(|word| {
                                name.to_ascii_lowercase().contains(word)
                                    && !matches!(
                                        name.as_str(),
                                        "allow" | "allowed" | "allowlist" | "allowList"
                                    )
                            });
                        let entries = items.iter().filter_map(Value::as_str);
                        // A shell by its bare name, where permissions are listed, is every command.
                        let entries = entries.map(|entry| match entry {
                            "Bash" if within == "permissions" => "Bash(*)",
                            entry => entry,
                        });
                        found.extend(entries.filter(|entry| tools || *entry != "*"));
                    }
                    Value::String(text) if matches!(name.as_str(), "allowed-tools" | "allowedTools") => {
                        found.push(text)
                    }
                    field => gather(field, name, below, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, within, below, found)),
        _ => {}
    }
}

/// What an entry allows.
fn grant_of(entry: &str) -> Grant {
    let entry = entry.trim();
    if matches!(
        entry,
        "*" | "Bash(*)"
            | "Bash(*:*)"
            | "Bash(:*)"
            | "Bash(**)"
            | "ShellTool(*)"
            | "run_shell_command(*)"
            | "Shell(*)"
            | "execute:*"
            | "terminal:*"
    ) {
        return Grant::Anything;
    }
    let Some((tool, inside)) = entry.split_once('(') else {
        return match entry {
            "Bash" | "ShellTool" | "run_shell_command" | "Shell" => Grant::Much,
            _ => Grant::Ordinary,
        };
    };
    let inside = inside.trim_end_matches(')').trim();
    let tool = tool.trim().to_ascii_lowercase();
    if [
        "read",
        "write",
        "edit",
        "multiedit",
        "glob",
        "grep",
        "notebookedit",
    ]
    .contains(&tool.as_str())
    {
        let everything = matches!(inside, "/**" | "//**" | "~/**" | "/*" | "~/*" | "//" | "/" | "~");
        return if everything || is_private(inside) {
            Grant::Private
        } else {
            Grant::Ordinary
        };
    }
    let shell = [
        "bash",
        "shell",
        "run_shell_command",
        "shelltool",
        "terminal",
        "execute",
        "powershell",
    ];
    if !shell.contains(&tool.as_str()) {
        return Grant::Ordinary;
    }
    command_grant(inside)
}

/// What an entry about commands allows.
fn command_grant(inside: &str) -> Grant {
    let program = inside.split([':', ' ', '*']).next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    // `bash scripts/x.sh:*` runs one script, `bash -c:*` and `bash:*` anything.
    let rest = inside
        .get(inside.find(program).unwrap_or(0) + program.len()..)
        .unwrap_or_default();
    let open = rest.is_empty() || matches!(rest.trim(), ":*" | "*" | ": *" | "-c:*" | "-c *" | "-lc:*");
    if RUNS_ANYTHING.contains(&program) && open && (rest.contains('*') || rest.is_empty()) {
        return Grant::Anything;
    }
    if DOES_MUCH.contains(&program) && open {
        Grant::Much
    } else {
        Grant::Ordinary
    }
}

/// Whether a pattern reaches files of a person that hold keys, run by themselves, or steer agents.
fn is_private(pattern: &str) -> bool {
    const PRIVATE: &[&str] = &[
        "/.ssh",
        "/.aws",
        "/.gnupg",
        "/.kube",
        "/.netrc",
        "/.npmrc",
        "/.config/gcloud",
        "/.docker/config",
        "/.claude/settings",
        "/.claude/CLAUDE.md",
        "/.claude.json",
        "/.codex/",
        "/.bashrc",
        "/.zshrc",
        "/.profile",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/sudoers",
        "/etc/**",
        "/.git-credentials",
        "/.mozilla",
        "/Library/Keychains",
        "/.password-store",
        "/.gitconfig",
    ];
    PRIVATE.iter().any(|private| pattern.contains(private))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{has, scan};
    use super::*;
    use defenseclaw_model::scan::ScanKind;

    #[test]
    fn grants_are_told_by_what_they_allow() {
        for (entry, grant) in [
            ("Bash(*)", Grant::Anything),
            ("Bash(sudo:*)", Grant::Anything),
            ("Bash(bash -c:*)", Grant::Anything),
            ("ShellTool", Grant::Much),
            ("Read(~/.ssh/**)", Grant::Private),
            ("Edit(~/.claude/settings.json)", Grant::Private),
            ("Bash(curl:*)", Grant::Much),
            ("Bash(bash scripts/check.sh:*)", Grant::Ordinary),
            ("Bash(npm run test:*)", Grant::Ordinary),
            ("Read(./src/**)", Grant::Ordinary),
            ("WebFetch(domain:docs.rs)", Grant::Ordinary),
        ] {
            assert_eq!(grant_of(entry), grant, "{entry}");
        }
    }

    #[test]
    fn settings_in_which_nobody_is_asked_are_told() {
        let settings = |name: &str, text: &str| scan(ScanKind::Plugin, &[(name, text)]);
        let bad = settings(
            ".codex/config.toml",
            "approval_policy = \"never\"\nsandbox_mode = \"danger-full-access\"\n",
        );
        assert!(has(&bad, "permissions.nobody-asked"), "{bad:#?}");
        let good = settings(
            ".codex/config.toml",
            "approval_policy = \"on-request\"\nsandbox_mode = \"workspace-write\"\n",
        );
        assert!(good.verdict.severity < Severity::High, "{good:#?}");
        let bad = settings(
            "settings.json",
            r#"{"permissions": {"allow": ["Read(~/.aws/**)"]}}"#,
        );
        assert!(has(&bad, "permissions.private-files"), "{bad:#?}");
        let good = settings(
            "settings.json",
            r#"{"permissions": {"allow": ["Bash(git diff:*)"], "deny": ["Read(~/.aws/**)", "Bash(*)"]}}"#,
        );
        assert!(good.verdict.severity < Severity::High, "{good:#?}");
    }
}
