//! The harness's native answer when the gateway could not be asked.
//!
//! In fail mode `closed` a call is refused and everything else passes; in `open` everything passes. What went wrong is
//! said in either case.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::EXIT_BLOCK;
use crate::exchange;
use crate::reply::Reply;
use crate::settings::FailMode;

/// What this process prints and how it ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// For the harness.
    pub(crate) stdout: Vec<u8>,
    /// For a person.
    pub(crate) stderr: String,
    /// Exit status.
    pub(crate) exit: u8,
    /// Whether a call hangs on this answer, so that losing it must not let the call through.
    pub(crate) decides_call: bool,
}

impl Answer {
    /// The gateway's word, unchanged.
    pub(crate) fn from_gateway(reply: Reply) -> Self {
        Self {
            stdout: reply.body,
            stderr: String::new(),
            exit: reply.exit,
            decides_call: true,
        }
    }
}

/// The answer by fail mode. `failure` says what failed, on what, and what to do.
pub(crate) fn answer(payload: &[u8], fail: FailMode, failure: &str) -> Answer {
    let decides_call = may_be_a_call(payload);
    let (stdout, stderr) = match (fail, decides_call) {
        (FailMode::Closed, true) => (deny(failure), String::new()),
        (FailMode::Closed, false) => (Vec::new(), format!("{failure}. This event was not recorded.")),
        (FailMode::Open, true) => (
            Vec::new(),
            format!("{failure}. The call runs unchecked, as configured."),
        ),
        (FailMode::Open, false) => (Vec::new(), format!("{failure}. This event was not recorded.")),
    };
    Answer {
        stdout,
        stderr,
        exit: 0,
        decides_call,
    }
}

/// Whether `payload` announces a tool call, or could.
///
/// Only a payload that plainly names another event is let through: one that is cut, malformed, or names its event twice
/// counts as a call. The name is taken from the outermost object; a tool's input may contain the same words.
fn may_be_a_call(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event {
        hook_event_name: String,
    }
    // serde would take an array for the object, field by field.
    if !payload.trim_ascii_start().starts_with(b"{") {
        return true;
    }
    serde_json::from_slice::<Event>(payload).map_or(true, |event| event.hook_event_name == "PreToolUse")
}

/// Claude Code's native refusal of a call.
fn deny(failure: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        hook_specific_output: Specific<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Specific<'a> {
        hook_event_name: &'a str,
        permission_decision: &'a str,
        permission_decision_reason: &'a str,
    }
    let reason = format!("DefenseClaw could not check this call, so it is refused: {failure}.");
    let output = Output {
        hook_specific_output: Specific {
            hook_event_name: "PreToolUse",
            permission_decision: "deny",
            permission_decision_reason: &reason,
        },
    };
    serde_json::to_vec(&output).unwrap_or_else(|_| PLAIN_DENY.to_vec())
}

/// The same refusal without anything that could fail.
const PLAIN_DENY: &[u8] = br#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"DefenseClaw could not check this call, so it is refused: the hook client failed inside. Please report it."}}"#;

/// What the panic guard needs to know; set as soon as it is known.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Notes the fail mode for the panic guard.
pub(crate) fn set_fail_mode(fail: FailMode) {
    OPEN.store(fail == FailMode::Open, Ordering::Relaxed);
}

/// Turns a panic into an answer by fail mode. The event is not looked at any more: the payload may be what caused it.
///
/// The release profile aborts on panic; this hook runs before that and ends the process itself.
pub(crate) fn guard_against_panics() {
    std::panic::set_hook(Box::new(|panic| {
        exchange::complain(&format!("failed inside; please report this: {panic}"));
        if OPEN.load(Ordering::Relaxed) {
            std::process::exit(0);
        }
        let exit = match exchange::write_stdout(PLAIN_DENY) {
            Ok(()) => 0,
            Err(_) => EXIT_BLOCK,
        };
        std::process::exit(exit.into());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denies(payload: &str) -> bool {
        !answer(payload.as_bytes(), FailMode::Closed, "x")
            .stdout
            .is_empty()
    }

    #[test]
    fn closed_refuses_calls_only() {
        assert!(denies(r#"{"hook_event_name":"PreToolUse","tool_name":"Bash"}"#));
        for other in [
            "SessionStart",
            "UserPromptSubmit",
            "PostToolUse",
            "Stop",
            "SessionEnd",
            "Notification",
        ] {
            assert!(!denies(&format!(r#"{{"hook_event_name":"{other}"}}"#)), "{other}");
        }
    }

    #[test]
    fn an_event_s_name_inside_the_tool_s_input_does_not_count() {
        assert!(denies(
            r#"{"tool_input":{"hook_event_name":"Stop"},"hook_event_name":"PreToolUse"}"#
        ));
        assert!(denies(
            r#"{"hook_event_name":"PreToolUse","tool_input":{"command":"\"hook_event_name\":\"Stop\""}}"#
        ));
        assert!(!denies(
            r#"{"tool_input":{"hook_event_name":"PreToolUse"},"hook_event_name":"PostToolUse"}"#
        ));
    }

    #[test]
    fn whatever_is_ambiguous_counts_as_a_call() {
        for payload in [
            "",
            "{",
            "null",
            "[]",
            r#"["Stop"]"#,
            r#"{"tool_name":"Bash"}"#,
            r#"{"hook_event_name":7}"#,
            r#"{"hook_event_name":"Stop","hook_event_name":"PreToolUse"}"#,
            r#"{"hook_event_name":"PreToolUse","hook_event_name":"Stop"}"#,
            r#"{"hook_event_name":"Stop""#,
            r#"{"hook_event_name":"Stop"} trailing"#,
        ] {
            assert!(denies(payload), "{payload}");
        }
        assert!(denies(&format!(
            r#"{{"hook_event_name":"Stop","x":{}"#,
            "[".repeat(100_000)
        )));
    }

    #[test]
    fn open_lets_everything_through_and_says_so() {
        let given = answer(
            br#"{"hook_event_name":"PreToolUse"}"#,
            FailMode::Open,
            "no gateway",
        );
        assert_eq!(given.stdout, b"");
        assert_eq!(given.exit, 0);
        assert_eq!(
            given.stderr,
            "no gateway. The call runs unchecked, as configured."
        );
    }

    #[test]
    fn refusals_are_claude_code_s_own() {
        let given = answer(b"", FailMode::Closed, "the gateway said \"no\"\n");
        let json: serde_json::Value = serde_json::from_slice(&given.stdout).unwrap();
        insta::assert_json_snapshot!(json, @r#"
        {
          "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": "DefenseClaw could not check this call, so it is refused: the gateway said \"no\"\n."
          }
        }
        "#);
        let plain: serde_json::Value = serde_json::from_slice(PLAIN_DENY).unwrap();
        assert_eq!(plain["hookSpecificOutput"]["permissionDecision"], "deny");
    }

    #[test]
    fn a_panic_ends_as_a_refusal() {
        for (mode, refused) in [("closed", true), ("open", false)] {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "fallback::tests::panics_when_told",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env("PANIC_IN_MODE", mode)
                .output()
                .unwrap();
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{stdout}");
            assert_eq!(
                stdout.contains(std::str::from_utf8(PLAIN_DENY).unwrap()),
                refused,
                "{stdout}"
            );
            assert!(String::from_utf8_lossy(&output.stderr).contains("failed inside"));
        }
    }

    /// The child of the test above; on its own it does nothing.
    #[test]
    fn panics_when_told() {
        let Ok(mode) = std::env::var("PANIC_IN_MODE") else {
            return;
        };
        guard_against_panics();
        set_fail_mode(if mode == "open" {
            FailMode::Open
        } else {
            FailMode::Closed
        });
        panic!("told to");
    }
}
