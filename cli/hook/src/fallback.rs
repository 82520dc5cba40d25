//! The harness's native answer when the gateway could not be asked.
//!
//! In fail mode `closed` a call is refused and everything else passes; in `open` everything passes. What went wrong is
//! said in either case.

use std::fmt;
use std::sync::OnceLock;

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};

use crate::EXIT_BLOCK;
use crate::exchange;
use crate::harness::{Event, Harness};
use crate::reply::Reply;
use crate::settings::FailMode;

/// What this process prints and how it ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// For the harness.
    pub(crate) stdout: Vec<u8>,
    /// For the harness, where it reads that, as it is.
    pub(crate) stderr: Vec<u8>,
    /// For a person.
    pub(crate) complaint: String,
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
            stderr: reply.stderr,
            complaint: String::new(),
            exit: reply.exit,
            decides_call: true,
        }
    }
}

/// What the hook was called for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The harness.
    pub(crate) harness: &'static Harness,
    /// The event that the command line names.
    pub(crate) event: Option<&'static Event>,
    /// Our shell has started this: the harness hands its lines to that.
    pub(crate) through_shell: bool,
}

impl Asked {
    /// The event, and whether a call may hang on it.
    ///
    /// Only what plainly is another event is let through: a payload that is cut, malformed, or names its event twice counts
    /// as a call, unless the command line says what it is.
    fn event(self, payload: &[u8]) -> (Option<&'static Event>, bool) {
        let told = self
            .harness
            .event_field
            .and_then(|field| event_name(payload, field));
        match (told, self.event) {
            (Some(name), named) => {
                let event = self.harness.event(&name);
                let either =
                    event.is_some_and(|event| event.is_call) || named.is_some_and(|event| event.is_call);
                (event.or(named), either)
            }
            (None, Some(event)) => (Some(event), event.is_call),
            (None, None) => (self.harness.primary(), true),
        }
    }
}

/// The answer by fail mode. `failure` says what failed, on what, and what to do.
pub(crate) fn answer(asked: Asked, payload: &[u8], fail: FailMode, failure: &str) -> Answer {
    let (event, decides_call) = asked.event(payload);
    let refuses = fail == FailMode::Closed && decides_call;
    let reason = format!("could not check this call, so it is refused: {failure}.");
    let template = match (event, refuses) {
        // Two names that differ: the one that announces a call says how to refuse it.
        (Some(event), true) if event.is_call => Some(&event.deny),
        (_, true) => asked.harness.primary().map(|event| &event.deny),
        (Some(event), false) => Some(&event.pass),
        (None, false) => None,
    };
    let complaint = match (refuses, decides_call) {
        (true, _) => String::new(),
        (false, true) => format!("{failure}. The call runs unchecked, as configured."),
        (false, false) => format!("{failure}. This event was not recorded."),
    };
    match template {
        Some(template) => Answer {
            stdout: template.stdout(&reason),
            stderr: template.stderr(&reason).into_bytes(),
            complaint,
            exit: template.exit,
            decides_call,
        },
        None => Answer {
            stdout: Vec::new(),
            stderr: Vec::new(),
            complaint,
            exit: if refuses { EXIT_BLOCK } else { 0 },
            decides_call,
        },
    }
}

/// The event's name in the outermost object; a tool's input may contain the same words. `None` where it is not plain.
fn event_name(payload: &[u8], field: &str) -> Option<String> {
    // serde would take an array for the object, field by field.
    if !payload.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let name = reader.deserialize_map(NameAt(field)).ok()?;
    reader.end().ok()?;
    name
}

struct NameAt<'a>(&'a str);

impl<'de> Visitor<'de> for NameAt<'_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            if name != self.0 {
                entries.next_value::<IgnoredAny>()?;
            } else if found.replace(entries.next_value::<String>()?).is_some() {
                return Err(A::Error::custom("the event is named twice"));
            }
        }
        Ok(found)
    }
}

/// What the panic guard needs to know; set as soon as it is known.
static GUARD: OnceLock<(Asked, FailMode)> = OnceLock::new();

/// Notes harness and fail mode for the panic guard.
pub(crate) fn set_guard(asked: Asked, fail: FailMode) {
    let _ = GUARD.set((asked, fail));
}

/// Turns a panic into an answer by fail mode. The event is not looked at any more: the payload may be what caused it.
///
/// The release profile aborts on panic; this hook runs before that and ends the process itself.
pub(crate) fn guard_against_panics() {
    std::panic::set_hook(Box::new(|panic| {
        exchange::complain(&format!("failed inside; please report this: {panic}"));
        let Some((asked, fail)) = GUARD.get() else {
            std::process::exit(EXIT_BLOCK.into());
        };
        let failure = "the hook client failed inside. Please report it";
        let answer = answer(*asked, b"", *fail, failure);
        if !answer.stderr.is_empty() {
            exchange::write_stderr(&answer.stderr);
        }
        let exit = match exchange::write_stdout(&answer.stdout) {
            Err(_) if *fail == FailMode::Closed => EXIT_BLOCK,
            _ => answer.exit,
        };
        std::process::exit(exit.into());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(connector: &str, event: Option<&str>) -> Asked {
        let harness = Harness::find(connector.as_ref()).unwrap();
        let event = event.map(|event| harness.event(event).unwrap());
        Asked {
            harness,
            event,
            through_shell: false,
        }
    }

    fn denies(payload: &str) -> bool {
        let claude = asked("claude-code", None);
        !answer(claude, payload.as_bytes(), FailMode::Closed, "x")
            .stdout
            .is_empty()
    }

    #[test]
    fn closed_refuses_calls_only() {
        assert!(denies(r#"{"hook_event_name":"PreToolUse","tool_name":"Bash"}"#));
        assert!(denies(r#"{"hook_event_name":"PermissionRequest"}"#));
        for other in [
            "SessionStart",
            "UserPromptSubmit",
            "PostToolUse",
            "Stop",
            "SessionEnd",
            "Notification",
            "NobodyKnows",
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
    fn the_command_line_names_the_event_where_the_payload_does_not() {
        let refuses = |connector, event, payload: &str| {
            let given = answer(asked(connector, event), payload.as_bytes(), FailMode::Closed, "x");
            given.decides_call
        };
        assert!(refuses("copilot-cli", Some("preToolUse"), "{}"));
        assert!(!refuses("copilot-cli", Some("postToolUse"), "{}"));
        assert!(!refuses("copilot-cli", Some("postToolUse"), "cut"));
        assert!(refuses("copilot-cli", None, "{}"), "nobody says what it is");
        // Where both do, either is enough.
        let stop = r#"{"hook_event_name":"Stop"}"#;
        assert!(refuses("claude-code", Some("PreToolUse"), stop));
        assert!(refuses(
            "claude-code",
            Some("Stop"),
            r#"{"hook_event_name":"PreToolUse"}"#
        ));
        assert!(!refuses("claude-code", Some("Stop"), stop));
    }

    #[test]
    fn open_lets_everything_through_and_says_so() {
        let given = answer(
            asked("claude-code", None),
            br#"{"hook_event_name":"PreToolUse"}"#,
            FailMode::Open,
            "no gateway",
        );
        assert_eq!(given.stdout, b"");
        assert_eq!(given.exit, 0);
        assert_eq!(
            given.complaint,
            "no gateway. The call runs unchecked, as configured."
        );
    }

    #[test]
    fn refusals_and_passes_are_each_harness_s_own() {
        let lines: Vec<String> = crate::harness::HARNESSES
            .iter()
            .flat_map(|harness| [FailMode::Closed, FailMode::Open].map(|fail| (harness, fail)))
            .map(|(harness, fail)| {
                let asked = Asked {
                    harness,
                    event: harness.primary(),
                    through_shell: false,
                };
                let given = answer(asked, b"", fail, "the gateway said \"no\"");
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                let (stdout, stderr) = (text(given.stdout), text(given.stderr));
                format!(
                    "{} {fail:?}: exit {} {stdout} {}",
                    harness.name,
                    given.exit,
                    stderr.trim_end()
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
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
                stdout.contains("\"permissionDecision\":\"deny\""),
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
        let fail = if mode == "open" {
            FailMode::Open
        } else {
            FailMode::Closed
        };
        set_guard(asked("claude-code", None), fail);
        panic!("told to");
    }
}
