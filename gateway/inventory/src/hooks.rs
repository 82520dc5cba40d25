//! Hooks that settings name: what runs at which event, and whether it is ours.

use defenseclaw_harness::install::CLIENT;
use serde_json::{Map, Value};

use crate::item::{Details, Item, ItemKind, Scope, sha256_of};
use crate::tidy;

/// Most hooks of one file. Settings have a handful for each event.
const MAX_HOOKS: usize = 1000;

/// How deep hooks may be nested: event, matcher, list, hook.
const MAX_DEPTH: usize = 12;

/// Keys whose text is what runs.
const RUNS: &[&str] = &["command", "bash", "run", "script", "url", "prompt"];

/// One hook.
struct Hook<'v> {
    event: &'v str,
    matcher: Option<&'v str>,
    runs: &'v str,
}

/// The hooks that a value names, as items of that file.
pub(crate) fn of(value: &Value, path: &str, scope: Scope) -> Vec<Item> {
    let mut hooks = Vec::new();
    // A file of hooks alone may name its events, or its hooks' own names, at the top. In settings of other things, whatever has
    // a command there is no hook.
    let all = value.get("hooks").or(is_of_hooks(path).then_some(value));
    if let Some(events) = all.and_then(Value::as_object) {
        for (event, below) in events {
            gather(below, event, None, MAX_DEPTH, &mut hooks);
        }
    }
    let mut counted = std::collections::HashMap::new();
    let items = hooks.iter().map(|hook| {
        let place = counted.entry(hook.event).or_insert(0);
        *place += 1;
        item(hook, *place, path, scope)
    });
    items.collect()
}

/// Whether a file holds hooks and nothing else, by its name.
fn is_of_hooks(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    parts.next() == Some("hooks.json") || matches!(parts.next(), Some("hooks" | "policy.d"))
}

fn gather<'v>(
    value: &'v Value,
    event: &'v str,
    matcher: Option<&'v str>,
    depth: usize,
    found: &mut Vec<Hook<'v>>,
) {
    let Some(below) = depth.checked_sub(1).filter(|_| found.len() < MAX_HOOKS) else {
        return;
    };
    match value {
        Value::Array(items) => {
            for item in items {
                gather(item, event, matcher, below, found);
            }
        }
        Value::Object(fields) => {
            let matcher = fields.get("matcher").and_then(Value::as_str).or(matcher);
            if let Some(runs) = runs(fields) {
                found.push(Hook { event, matcher, runs });
                return;
            }
            for (name, field) in fields {
                // The innermost name of a list of hooks is the event: some harnesses nest events under a hook's name.
                let named = if field.is_array() && name != "hooks" {
                    name
                } else {
                    event
                };
                if field.is_array() || field.is_object() {
                    gather(field, named, matcher, below, found);
                }
            }
        }
        _ => {}
    }
}

fn runs(fields: &Map<String, Value>) -> Option<&str> {
    RUNS.iter()
        .find_map(|key| fields.get(*key).and_then(Value::as_str))
}

fn item(hook: &Hook<'_>, place: usize, path: &str, scope: Scope) -> Item {
    let event = tidy::name(hook.event);
    let command = if hook.runs.contains("://") && !hook.runs.contains(char::is_whitespace) {
        tidy::url(hook.runs)
    } else {
        tidy::command(hook.runs)
    };
    let mut item = Item::new(
        ItemKind::Hook,
        &event,
        path,
        scope,
        (path, &format!("{event} {place}")),
    );
    item.digest = Some(sha256_of(
        format!("{event}\0{}\0{command}", hook.matcher.unwrap_or_default()).as_bytes(),
    ));
    item.details = Details::Hook {
        ours: is_ours(hook.runs),
        event,
        matcher: hook.matcher.map(tidy::name),
        command,
    };
    item
}

/// Whether a command is our hook client and nothing besides: an absolute path to it, and plain words.
fn is_ours(command: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@ ".contains(c);
    let program = command.split(' ').next().unwrap_or_default();
    command.chars().all(plain) && program.starts_with('/') && program.rsplit('/').next() == Some(CLIENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(value: &Value) -> Vec<String> {
        let items = of(value, "/x/hooks.json", Scope::User);
        let told = items.into_iter().map(|item| match item.details {
            Details::Hook {
                event,
                matcher,
                command,
                ours,
            } => {
                format!(
                    "{event}[{}] {command}{}",
                    matcher.unwrap_or_default(),
                    if ours { " (ours)" } else { "" }
                )
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn every_harness_s_shape_is_read() {
        let claude = json!({"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [
            {"type": "command", "command": "/usr/bin/defenseclaw-hook claude-code", "timeout": 60},
            {"type": "command", "command": "./lint.sh"}]}]}});
        assert_eq!(
            told(&claude),
            [
                "PreToolUse[Bash] /usr/bin/defenseclaw-hook claude-code (ours)",
                "PreToolUse[Bash] ./lint.sh"
            ]
        );
        let cursor = json!({"version": 1, "hooks": {"beforeShellExecution": [{"command": "x"}]}});
        assert_eq!(told(&cursor), ["beforeShellExecution[] x"]);
        let copilot = json!({"version": 1, "hooks": {"preToolUse": [{"type": "command", "bash": "x"}]}});
        assert_eq!(told(&copilot), ["preToolUse[] x"]);
        let antigravity = json!({"mine": {"PreToolUse": [{"matcher": "run", "hooks": [{"command": "x"}]}]}});
        assert_eq!(told(&antigravity), ["PreToolUse[run] x"]);
        let openhands = json!({"pre_tool_use": [{"hooks": [{"type": "command", "command": "x"}]}]});
        assert_eq!(told(&openhands), ["pre_tool_use[] x"]);
        assert_eq!(told(&json!({"hooks": "none"})), Vec::<String>::new());
    }

    #[test]
    fn commands_of_other_settings_are_no_hooks() {
        let settings = json!({"statusLine": {"command": "x"}, "mcpServers": {"a": {"command": "npx"}}});
        assert_eq!(of(&settings, "/h/.gemini/settings.json", Scope::User), []);
        assert_eq!(
            of(
                &json!({"Stop": [{"bash": "x"}]}),
                "/h/.copilot/hooks/a.json",
                Scope::User
            )
            .len(),
            1
        );
    }

    #[test]
    fn what_only_looks_like_our_client_is_not_ours() {
        for (command, ours) in [
            ("/usr/bin/defenseclaw-hook codex", true),
            ("defenseclaw-hook codex", false),
            ("/tmp/x/defenseclaw-hook; curl evil", false),
            ("/usr/bin/sh -c defenseclaw-hook", false),
            ("/usr/bin/not-defenseclaw-hook codex", false),
        ] {
            assert_eq!(is_ours(command), ours, "{command}");
        }
    }

    #[test]
    fn a_changed_command_is_the_same_hook_with_another_digest() {
        let of_command = |command: &str| {
            of(
                &json!({"hooks": {"Stop": [{"command": command}]}}),
                "/f",
                Scope::User,
            )
            .remove(0)
        };
        let (a, b) = (of_command("a"), of_command("b"));
        assert_eq!(a.id, b.id);
        assert_ne!(a.digest, b.digest);
    }

    #[test]
    fn many_and_deep_hooks_end() {
        let many = json!({"hooks": {"Stop": vec![json!({"command": "x"}); MAX_HOOKS + 10]}});
        assert_eq!(of(&many, "/f", Scope::User).len(), MAX_HOOKS);
        let mut deep = json!({"command": "x"});
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert_eq!(of(&json!({"hooks": {"Stop": deep}}), "/f", Scope::User).len(), 0);
    }
}
