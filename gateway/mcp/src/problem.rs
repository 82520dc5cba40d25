//! What went wrong, or was odd, while a server was asked: each is a finding, so that nothing unasked passes as clean.

use defenseclaw_detect::mask::mask_text;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

/// Longest evidence (bytes).
const MAX_EVIDENCE: usize = 400;

/// What kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Its settings do not say how it is started.
    Unclear,
    /// Its program or package is not on this host.
    NotHere,
    /// It wants the network.
    NeedsNetwork,
    /// It wants somebody to log in, or a key.
    NeedsLogin,
    /// It ended before it had answered.
    Ended,
    /// It did not answer in time.
    Silent,
    /// No sandbox could be closed around it.
    NoSandbox,
    /// It does not speak the protocol.
    Protocol,
    /// What it writes is no message.
    Noise,
    /// An answer to something that nobody asked.
    WrongId,
    /// An answer over a bound.
    TooLarge,
    /// Pages that do not end.
    Endless,
    /// Notifications without end.
    Flood,
    /// It took more memory or processes than it may.
    Greedy,
    /// An object has a name twice.
    Twice,
    /// It asked for something while it was asked.
    Asks,
    /// It asked for the folders that are worked in.
    AsksRoots,
    /// Two answers to one question differ.
    Differs,
    /// An entry of a list has no name, or is no object.
    Nameless,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Of which kind.
    pub trouble: Trouble,
    /// One sentence for a person, without its full stop.
    pub message: String,
    /// What was seen; masked where it is shown.
    pub evidence: String,
}

impl Problem {
    /// Without anything to show.
    pub fn new(trouble: Trouble, message: impl Into<String>) -> Self {
        Self {
            trouble,
            message: message.into(),
            evidence: String::new(),
        }
    }

    /// With what was seen.
    #[must_use]
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    /// As a finding about `server`.
    pub fn finding(&self, server: &str) -> ScanFinding {
        let (rule, category, severity, confidence, remedy) = self.trouble.told();
        ScanFinding {
            rule: rule.to_owned(),
            category: category.to_owned(),
            severity,
            confidence,
            file: crate::findings::place(&[server]),
            line: 0,
            message: self.message.clone(),
            evidence: mask_text(&self.evidence, MAX_EVIDENCE),
            remedy: remedy.to_owned(),
        }
    }
}

impl Trouble {
    /// Whether what the server offers is not known, or not all of it.
    pub fn leaves_out(self) -> bool {
        !matches!(
            self,
            Self::Noise | Self::WrongId | Self::Asks | Self::AsksRoots | Self::Differs
        )
    }

    fn told(self) -> (&'static str, &'static str, Severity, u8, &'static str) {
        use Severity::{High, Low, Medium};
        match self {
            Self::Unclear => (
                "mcp.live-unclear",
                "artifact",
                Medium,
                90,
                "Write a command or an address for it; it was not asked",
            ),
            Self::NotHere => (
                "mcp.live-not-here",
                "artifact",
                Low,
                90,
                "Install it, or let it be fetched with --allow-network; it was not asked",
            ),
            Self::NeedsNetwork => (
                "mcp.live-needs-network",
                "artifact",
                Low,
                70,
                "Ask it with --allow-network; what it offers is not known",
            ),
            Self::NeedsLogin => (
                "mcp.live-needs-login",
                "artifact",
                Low,
                70,
                "No secret is handed to it here: scan a saved answer to tools/list instead",
            ),
            Self::Ended => (
                "mcp.live-ended",
                "artifact",
                Medium,
                80,
                "Start it by hand and see what it lacks; what it offers is not known",
            ),
            Self::Silent => (
                "mcp.live-silent",
                "artifact",
                Medium,
                80,
                "Give it more time with --timeout; what it offers is not known",
            ),
            Self::NoSandbox => (
                "mcp.live-no-sandbox",
                "artifact",
                Medium,
                100,
                "See `defenseclaw-cli run --profile mcp --explain`; it was not started",
            ),
            Self::Protocol => (
                "mcp.live-protocol",
                "artifact",
                Medium,
                80,
                "It may be no MCP server; what it offers is not known",
            ),
            Self::Noise => (
                "mcp.live-noise",
                "artifact",
                Low,
                90,
                "Messages for people belong on standard error",
            ),
            Self::WrongId => (
                "mcp.live-wrong-id",
                "artifact",
                Medium,
                70,
                "A harness that minds ids less may take such an answer for another",
            ),
            Self::TooLarge => (
                "mcp.live-too-large",
                "artifact",
                High,
                60,
                "What goes beyond was not looked at; a model would have to read it in every turn",
            ),
            Self::Endless => (
                "mcp.live-endless",
                "artifact",
                High,
                70,
                "What goes beyond was not looked at",
            ),
            Self::Flood => (
                "mcp.live-flood",
                "artifact",
                High,
                70,
                "It was given up on; what it offers is not known whole",
            ),
            Self::Greedy => (
                "mcp.live-greedy",
                "artifact",
                High,
                80,
                "It was ended for what it took; nothing needs so much to say what it offers",
            ),
            Self::Twice => (
                "mcp.live-name-twice",
                "obfuscation",
                High,
                80,
                "Readers differ in which of the two they take, so that what is scanned may not be what is used",
            ),
            Self::Asks => (
                "mcp.asks-while-listing",
                "tool-poisoning",
                High,
                80,
                "It was refused. A server that uses the model or the person before it is called wants more than to serve",
            ),
            Self::AsksRoots => (
                "mcp.asks-for-folders",
                "permissions",
                Low,
                60,
                "It was refused: it wants to know which folders are worked in",
            ),
            Self::Differs => (
                "mcp.answers-differ",
                "tool-poisoning",
                High,
                80,
                "What is shown to a scanner may not be what is shown to a model",
            ),
            Self::Nameless => (
                "mcp.live-no-name",
                "artifact",
                Medium,
                70,
                "It cannot be pinned or called by a name",
            ),
        }
    }
}
