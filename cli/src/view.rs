//! How people see things: colour, width, time zone.

use std::io::IsTerminal;

use defenseclaw_model::decision::{Severity, Verdict};
use jiff::tz::TimeZone;

/// Narrowest width that output is fitted to; below it lines wrap, which beats showing nothing.
const NARROWEST: usize = 60;

/// How output for people looks.
#[derive(Debug, Clone)]
pub struct View {
    /// Whether to colour.
    pub colour: bool,
    /// Columns of the terminal; `None` where the output is no terminal and lines may be as long as they are.
    pub width: Option<usize>,
    /// The zone in which times are shown.
    pub zone: TimeZone,
}

/// What a piece of text is, as far as its looks are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Headings and names.
    Strong,
    /// Detail that the eye may skip.
    Faint,
    /// Fine.
    Good,
    /// Wants a look.
    Warn,
    /// Wants an answer.
    Bad,
    /// As the terminal has it.
    Plain,
}

impl View {
    /// For standard output: colour and width only where it is a terminal. `NO_COLOR` (not empty) and `TERM=dumb` turn
    /// colour off; `COLUMNS` gives a width to output that is no terminal.
    pub fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let asked = std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok());
        let width = match terminal_size::terminal_size_of(std::io::stdout()) {
            Some((terminal_size::Width(columns), _)) if terminal => Some(usize::from(columns)),
            _ => asked,
        };
        Self {
            colour: terminal && !set("NO_COLOR") && !dumb,
            width: width.map(|columns| columns.max(NARROWEST)),
            zone: TimeZone::system(),
        }
    }

    /// `text`, which must be safe for a terminal already, in that ink.
    pub fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Ink::Plain => return text.to_owned(),
            Ink::Strong => "1",
            Ink::Faint => "2",
            Ink::Good => "32",
            Ink::Warn => "33",
            Ink::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The ink for a severity.
pub fn severity_ink(severity: Severity) -> Ink {
    match severity {
        Severity::None => Ink::Faint,
        Severity::Low => Ink::Plain,
        Severity::Medium => Ink::Warn,
        Severity::High | Severity::Critical => Ink::Bad,
    }
}

/// The ink for a verdict.
pub fn verdict_ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Allow => Ink::Good,
        Verdict::Ask => Ink::Warn,
        Verdict::Deny => Ink::Bad,
    }
}
