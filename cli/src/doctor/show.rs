//! Checks for a person: three columns, and what to do below.

use std::io::{self, Write};

use super::{Check, State};
use crate::text::{self, safe};
use crate::view::{Ink, View};

/// Width of the column of results.
const RESULT: usize = 8;
/// Width of the column of names: the longest is `configuration`.
const NAME: usize = 14;
/// Least width of what was found.
const LEAST: usize = 30;

/// How many checks came out how.
#[derive(Debug, Default)]
pub(super) struct Counts([usize; 4]);

impl Counts {
    pub(super) fn add(&mut self, state: State) {
        self.0[state as usize] += 1;
    }

    pub(super) fn problems(&self) -> usize {
        self.0[State::Problem as usize]
    }
}

fn word(state: State) -> (&'static str, Ink) {
    match state {
        State::Ok => ("ok", Ink::Good),
        State::Note => ("note", Ink::Plain),
        State::Warning => ("warning", Ink::Warn),
        State::Problem => ("problem", Ink::Bad),
    }
}

/// The columns' names.
pub(super) fn heading(view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let names = format!(
        "{}{}FOUND",
        text::pad("RESULT", RESULT + 1),
        text::pad("CHECK", NAME + 1)
    );
    writeln!(out, "{}", view.paint(Ink::Faint, &names))
}

/// One check. Nothing of it is cut: what to do is the last thing to leave out.
pub(super) fn line(check: &Check, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let before = RESULT + 1 + NAME + 1;
    let room = view
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(before).max(LEAST));
    let found = if check.about.is_empty() {
        check.detail.clone()
    } else {
        format!("{}: {}", check.about, check.detail)
    };
    let (result, ink) = word(check.state);
    let first = format!(
        "{} {}",
        view.paint(ink, &text::pad(result, RESULT)),
        text::pad(check.check, NAME)
    );
    for (i, found) in text::wrap(&safe(&found), room).iter().enumerate() {
        let start = if i == 0 {
            first.as_str()
        } else {
            &" ".repeat(before - 1)
        };
        writeln!(out, "{start} {found}")?;
    }
    if check.remedy.is_empty() {
        return Ok(());
    }
    for (i, line) in text::wrap(&safe(&check.remedy), room.saturating_sub(2))
        .iter()
        .enumerate()
    {
        let arrow = if i == 0 { "→" } else { " " };
        writeln!(out, "{}{arrow} {line}", " ".repeat(before))?;
    }
    Ok(())
}

/// How many of each.
pub(super) fn summary(counts: &Counts, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let all = [State::Problem, State::Warning, State::Note, State::Ok].map(|state| {
        let (word, ink) = word(state);
        let number = counts.0[state as usize];
        let plural = if number == 1 || state == State::Ok {
            ""
        } else {
            "s"
        };
        let ink = if number == 0 { Ink::Faint } else { ink };
        view.paint(ink, &format!("{number} {word}{plural}"))
    });
    writeln!(out, "\n{}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn columns_hold_and_nothing_acts_on_the_terminal() {
        let view = View {
            colour: false,
            width: Some(70),
            zone: TimeZone::UTC,
        };
        let mut out = Vec::new();
        let mut counts = Counts::default();
        let long = "a way that is so long that it has to go on in the line below";
        let checks = [
            Check::ok("kernel", "", "Linux 6.12"),
            Check::ok("hook", "codex (/home/\u{1b}[31mada)", long).fail(long),
        ];
        heading(&view, &mut out).unwrap();
        for check in &checks {
            counts.add(check.state);
            line(check, &view, &mut out).unwrap();
        }
        summary(&counts, &view, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
