//! `doctor`: whether the installation holds, by looking and by trying.

mod checks;
mod hooks;

use std::io::{self, Write};

use serde::Serialize;

use crate::args::DoctorOptions;
use crate::setup::site::Target;
use crate::text::{self, safe};
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, json};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but a person should know something.
    Warn,
    /// It does not hold.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked: a stable word.
    pub check: &'static str,
    /// On what: a connector, a file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    fn ok(check: &'static str, about: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            check,
            about: about.into(),
            state: State::Ok,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    fn warn(self, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Warn,
            remedy: remedy.into(),
            ..self
        }
    }

    fn fail(self, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            remedy: remedy.into(),
            ..self
        }
    }
}

/// Makes every check and prints it as it comes out.
pub fn run(options: &DoctorOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let target = Target::for_looking(&options.root, &context.settings)?;
    let mut worst = State::Ok;
    let mut say = |check: Check, context: &mut Context<'_>| -> Result<(), CliError> {
        worst = worst.max(check.state);
        if options.json {
            json::line(context.out, &check)?;
        } else {
            print(&check, &context.view, context.out)?;
        }
        // A canary may take seconds: what is known is shown.
        Ok(context.out.flush()?)
    };
    let (found, answers) = checks::host(&target, &context.settings);
    for check in found {
        say(check, context)?;
    }
    let (found, installed) = hooks::known(&target);
    for check in found {
        say(check, context)?;
    }
    let settings = context.settings.clone();
    let mut clients: Vec<_> = installed
        .iter()
        .map(|installed| installed.client.clone())
        .collect();
    clients.sort_unstable();
    clients.dedup();
    for client in clients {
        say(checks::client(&client), context)?;
    }
    for one in &installed {
        for check in hooks::one(one, &target, &settings, answers && !options.no_canary) {
            say(check, context)?;
        }
    }
    for check in hooks::not_set_up(&installed, &target)? {
        say(check, context)?;
    }
    Ok(if worst == State::Fail {
        Answer::No
    } else {
        Answer::Yes
    })
}

fn print(check: &Check, view: &View, out: &mut dyn Write) -> io::Result<()> {
    let (word, ink) = match check.state {
        State::Ok => ("ok", Ink::Good),
        State::Warn => ("warn", Ink::Warn),
        State::Fail => ("FAIL", Ink::Bad),
    };
    let name = if check.about.is_empty() {
        check.check.to_owned()
    } else {
        format!("{} {}", check.check, check.about)
    };
    let word = view.paint(ink, &text::pad(word, 5));
    writeln!(out, "{word} {}: {}", safe(&name), safe(&check.detail))?;
    if !check.remedy.is_empty() {
        writeln!(out, "      {}", safe(&check.remedy))?;
    }
    Ok(())
}
