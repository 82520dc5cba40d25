//! Harnesses, as far as the client must know them: their events, and what they take for a refusal.

/// One harness.
#[derive(Debug)]
pub(crate) struct Harness {
    /// The connector's name.
    pub(crate) name: &'static str,
    /// The payload's field with the event's name; without one the command line names it.
    pub(crate) event_field: Option<&'static str>,
    /// The event by whose reply a call is refused of which not even the event is known.
    primary: &'static str,
    /// How long the harness waits for its hook.
    limit_ms: u64,
    events: &'static [Event],
}

/// One event of a harness.
#[derive(Debug)]
pub(crate) struct Event {
    /// The harness's own name of it.
    pub(crate) name: &'static str,
    /// Whether a call hangs on it.
    pub(crate) is_call: bool,
    /// What to say for "no objection"; often nothing.
    pub(crate) pass: Template,
    /// What to say for "refused".
    pub(crate) deny: Template,
}

/// A native reply; `{reason}` stands where the reason goes.
#[derive(Debug)]
pub(crate) struct Template {
    /// Exit status.
    pub(crate) exit: u8,
    /// Standard output: JSON.
    body: &'static str,
    /// Standard error: text.
    stderr: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/harnesses.rs"));

const REASON: &str = "{reason}";

impl Harness {
    /// The harness of that name.
    pub(crate) fn find(name: &std::ffi::OsStr) -> Option<&'static Self> {
        HARNESSES.iter().find(|harness| name == harness.name)
    }

    /// The event of that name.
    pub(crate) fn event(&self, name: &str) -> Option<&'static Event> {
        self.events.iter().find(|event| event.name == name)
    }

    /// The event that stands for whatever cannot be told.
    pub(crate) fn primary(&self) -> Option<&'static Event> {
        self.event(self.primary)
    }

    /// How long the harness waits for its hook.
    pub(crate) fn limit(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.limit_ms)
    }
}

impl Template {
    /// Standard output, with the reason as the inside of a JSON string.
    pub(crate) fn stdout(&self, reason: &str) -> Vec<u8> {
        self.body.replace(REASON, &escaped(reason)).into_bytes()
    }

    /// Standard error.
    pub(crate) fn stderr(&self, reason: &str) -> String {
        self.stderr.replace(REASON, reason)
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            control if control < ' ' => escaped.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_can_be_refused_and_every_body_is_json() {
        for harness in &HARNESSES {
            let primary = harness.primary().unwrap();
            assert!(primary.is_call, "{}", harness.name);
            for event in harness.events {
                let said = event.deny.stdout("a \"reason\"\\\n\u{1}\u{e4}");
                if event.is_call {
                    let loud = event.deny.exit != 0 || !said.is_empty();
                    assert!(loud, "{} {}", harness.name, event.name);
                }
                for body in [said, event.pass.stdout("")] {
                    if !body.is_empty() {
                        serde_json::from_slice::<serde_json::Value>(&body).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn the_gateway_says_the_same() {
        use defenseclaw_harness::contract::Contracts;
        let contracts = Contracts::embedded().unwrap();
        assert_eq!(contracts.names().len(), HARNESSES.len());
        for contract in contracts.iter() {
            let harness = Harness::find(contract.name().as_ref()).unwrap();
            assert_eq!(harness.limit(), contract.limit());
            assert_eq!(harness.event_field.is_none(), contract.needs_event_argument());
            assert_eq!(harness.events.len(), contract.events().len());
            for event in harness.events {
                let reason = "it \"says\" {event} no\n";
                let refused = contract.refused(Some(event.name), reason);
                assert_eq!(event.is_call, contract.is_call(event.name));
                if event.is_call {
                    assert_eq!(event.deny.exit, refused.exit);
                    let ours: serde_json::Value =
                        serde_json::from_slice(&event.deny.stdout(reason)).unwrap_or_default();
                    let theirs: serde_json::Value = serde_json::from_slice(&refused.body).unwrap_or_default();
                    assert_eq!(ours, theirs, "{} {}", harness.name, event.name);
                    assert_eq!(event.deny.stderr(reason).into_bytes(), refused.stderr);
                }
                let passed = contract.passed(event.name);
                assert_eq!(
                    (event.pass.exit, event.pass.stdout("")),
                    (passed.exit, passed.body)
                );
            }
        }
    }
}
