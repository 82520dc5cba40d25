//! What "the same call" means to an approval that holds for more than one.

use std::fmt;

use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::decision::Decision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a tool's input says beside the action that makes no other action of it: words for a person, and bounds of time and
/// of what is shown. Whatever is not named here belongs to the call: a flag that takes a command out of its sandbox, its
/// environment, its folder.
const REMARKS: [&str; 22] = [
    "allow_multiple",
    "description",
    "explanation",
    "instruction",
    "intent",
    "justification",
    "limit",
    "max_output_chars",
    "max_output_tokens",
    "offset",
    "prompt",
    "reason",
    "reasoning",
    "security_risk",
    "thought",
    "timeout",
    "timeout_ms",
    "title",
    "toolAction",
    "toolSummary",
    "view_range",
    "yield_time_ms",
];
/// Where the action itself stands, which is compared in its normal form. No array: one word and three are not the same.
const COMMANDS: [&str; 2] = ["command", "cmd"];
/// What is written. Whoever allows a file's change for a while has read one of its changes; the rules look at each.
const CONTENTS: [&str; 15] = [
    "code_edit",
    "content",
    "contents",
    "edits",
    "expected_replacements",
    "file_text",
    "insert_line",
    "new_source",
    "new_str",
    "new_string",
    "old_str",
    "old_string",
    "patch",
    "replace_all",
    "text",
];

/// Stands for a call together with the rules that objected to it: SHA-256 (hex).
///
/// Two calls are the same if their tool, their command (but for blanks at its ends) or paths or targets, and the rules that
/// found something are the same, and so is everything else in its input that could change what it does. The rules belong to it because a person who allowed a write to `~/.bashrc` that adds an
/// alias has not allowed one in which a rule sees a reverse shell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The call's, as it was decided.
    pub fn of(call: &ToolCall, decision: &Decision) -> Self {
        let mut digest = Parts(Sha256::new_with_prefix(b"defenseclaw.approval.v1\0"));
        digest.part(&call.tool);
        match &call.kind {
            CallKind::Command { command, background } => {
                digest.part("command");
                digest.part(command.trim());
                digest.part(if *background { "background" } else { "" });
                digest.rest(&call.input, &COMMANDS);
            }
            CallKind::FileWrite { paths } => {
                digest.list("write", paths);
                digest.rest(&call.input, &CONTENTS);
            }
            CallKind::FileRead { paths } => {
                digest.list("read", paths);
                digest.rest(&call.input, &[]);
            }
            CallKind::FileSearch { paths } => {
                digest.list("search", paths);
                digest.rest(&call.input, &[]);
            }
            CallKind::Network { targets } => {
                digest.list("network", targets);
                digest.rest(&call.input, &[]);
            }
            // Nothing is known of such a tool but its input: it must be the same to the letter.
            CallKind::Other => {
                digest.part("input");
                digest.part(&canonical(&call.input));
            }
        }
        let mut rules: Vec<_> = decision
            .findings
            .iter()
            .map(|finding| finding.rule.clone())
            .collect();
        rules.push(decision.rule.clone());
        digest.list("rules", &rules);
        Self(
            digest
                .0
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parts with their lengths, so that no two lists of parts have the same bytes.
struct Parts(Sha256);

impl Parts {
    fn part(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    /// The fields of an input but for remarks, and for texts that are `known`.
    fn rest(&mut self, input: &serde_json::Value, known: &[&str]) {
        let serde_json::Value::Object(fields) = input else {
            // A patch or a command as plain text, which is the action itself.
            return;
        };
        let is_known = |name: &str, value: &serde_json::Value| {
            known.contains(&name) && (value.is_string() || known != COMMANDS)
        };
        let mut rest: Vec<_> = fields
            .iter()
            .filter(|(name, value)| !REMARKS.contains(&name.as_str()) && !is_known(name, value))
            .collect();
        rest.sort_unstable_by_key(|(name, _)| *name);
        self.part("rest");
        self.part(&rest.len().to_string());
        for (name, value) in rest {
            self.part(name);
            self.part(&canonical(value));
        }
    }

    /// Order and repetition say nothing.
    fn list(&mut self, name: &str, items: &[String]) {
        let mut items: Vec<&str> = items.iter().map(String::as_str).collect();
        items.sort_unstable();
        items.dedup();
        self.part(name);
        self.part(&items.len().to_string());
        items.into_iter().for_each(|item| self.part(item));
    }
}

/// JSON with the keys of every object in order. Depth is bounded where payloads are read.
fn canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            let fields: Vec<_> = fields
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::decision::{Finding, Severity, Verdict};
    use defenseclaw_model::ids::CallId;
    use serde_json::json;

    use super::*;

    fn call(tool: &str, kind: CallKind) -> ToolCall {
        ToolCall {
            call: CallId::new("c").unwrap(),
            tool: tool.into(),
            kind,
            input: json!({"a": {"y": 1, "x": [2]}}),
        }
    }

    fn command(text: &str) -> ToolCall {
        let kind = CallKind::Command {
            command: text.into(),
            background: false,
        };
        call("Bash", kind)
    }

    fn decided(rules: &[&str]) -> Decision {
        let finding = |rule: &&str| Finding {
            rule: (*rule).into(),
            category: "command".into(),
            severity: Severity::Medium,
            message: "m".into(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 80,
        };
        Decision {
            verdict: Verdict::Ask,
            severity: Severity::Medium,
            reason: "r".into(),
            findings: rules.iter().map(finding).collect(),
            rule: rules[0].into(),
            line: String::new(),
            updated_input: None,
            sandbox: None,
            policy: "p".into(),
            enforced: true,
        }
    }

    #[test]
    fn the_same_call_is_the_same_and_any_other_is_not() {
        let of = |call: &ToolCall| Fingerprint::of(call, &decided(&["a"]));
        assert_eq!(of(&command("make  x")), of(&command(" make  x\n")));
        assert_ne!(of(&command("echo 'a  b'")), of(&command("echo 'a b'")));
        let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
        let write = |list: &[&str]| of(&call("Edit", CallKind::FileWrite { paths: paths(list) }));
        assert_eq!(write(&["/b", "/a"]), write(&["/a", "/b"]));
        assert_ne!(write(&["/a"]), write(&["/a", "/b"]));
        assert_ne!(
            write(&["/a"]),
            of(&call(
                "Edit",
                CallKind::FileRead {
                    paths: paths(&["/a"])
                }
            ))
        );
        let other = call("mcp__x", CallKind::Other);
        let mut reordered = other.clone();
        reordered.input = serde_json::from_str(r#"{"a":{"x":[2],"y":1}}"#).unwrap();
        assert_eq!(of(&other), of(&reordered));
        reordered.input = json!({"a": {"y": 1, "x": [3]}});
        assert_ne!(of(&other), of(&reordered));
    }

    #[test]
    fn what_changes_a_call_beside_its_command_makes_it_another() {
        let of = |more: serde_json::Value| {
            let mut call = command("make");
            call.input = json!({"command": "make"});
            call.input
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            Fingerprint::of(&call, &decided(&["a"]))
        };
        let plain = of(json!({}));
        assert_eq!(plain, of(json!({"description": "Build it", "timeout": 5})));
        assert_eq!(plain, of(json!({"command": " make\n"})), "blanks at its ends");
        for more in [
            json!({"dangerouslyDisableSandbox": true}),
            json!({"with_escalated_permissions": true}),
            json!({"env": {"LD_PRELOAD": "/tmp/x.so"}}),
            json!({"workdir": "/"}),
            json!({"command": ["make"]}),
        ] {
            assert_ne!(plain, of(more.clone()), "{more}");
        }
    }

    #[test]
    fn an_edit_is_the_same_whatever_it_writes_but_not_with_another_flag() {
        let of = |input: serde_json::Value| {
            let kind = CallKind::FileWrite {
                paths: vec!["/a".into()],
            };
            let mut call = call("Edit", kind);
            call.input = input;
            Fingerprint::of(&call, &decided(&["a"]))
        };
        let one = of(json!({"file_path": "/a", "old_string": "x", "new_string": "y"}));
        assert_eq!(
            one,
            of(json!({"file_path": "/a", "old_string": "p", "new_string": "q", "replace_all": true}))
        );
        assert_ne!(
            one,
            of(json!({"file_path": "/a", "new_string": "y", "then_run": "sh /a"}))
        );
    }

    #[test]
    fn what_another_rule_finds_is_another_call() {
        let call = command("x");
        let of = |rules: &[&str]| Fingerprint::of(&call, &decided(rules));
        assert_eq!(of(&["a", "b", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a"]), of(&["a", "c2.reverse-shell"]));
    }
}
