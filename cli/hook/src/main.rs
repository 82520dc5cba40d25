//! The hook client: one payload on standard input, one question to the gateway, the harness's native reply on standard
//! output.
//!
//! | Module | Holds |
//! |---|---|
//! | [`settings`] | where the gateway listens, what to say when it cannot be asked, how long to wait |
//! | [`exchange`] | standard input, the socket and standard output, each under one deadline |
//! | [`reply`] | the strict reader of the gateway's HTTP/1.1 answer |
//! | [`fallback`] | the harness's native answer by fail mode, and the guard that gives it after a panic |
//!
//! Nearly every harness lets a tool run when its hook crashes, hangs or prints nonsense. So this program never does: every
//! way out of it is an answer, and all of them lie within one deadline.

mod exchange;
mod fallback;
mod reply;
mod settings;

use std::process::ExitCode;
use std::time::Instant;

use exchange::{Deadline, Failure};
use fallback::Answer;
use settings::{FailMode, Settings};

/// Harnesses whose native answers this program knows.
const CONNECTORS: [&str; 1] = ["claude-code"];

/// Claude Code takes this status as "blocked" and shows standard error; every other non-zero status lets the call run.
const EXIT_BLOCK: u8 = 2;

fn main() -> ExitCode {
    let started = Instant::now();
    fallback::guard_against_panics();
    let connector = match connector() {
        Ok(connector) => connector,
        Err(message) => {
            exchange::complain(&message);
            return ExitCode::from(EXIT_BLOCK);
        }
    };
    let (settings, fault) = match settings::load() {
        Ok(settings) => (settings, None),
        // Settings that cannot be understood are no reason to let calls through: refuse until they are mended.
        Err(error) => (Settings::default(), Some(Failure::Settings(error))),
    };
    fallback::set_fail_mode(settings.fail);
    let deadline = Deadline::new(started, settings.deadline);
    let mut payload = Vec::new();
    let asked = exchange::read_stdin(&mut payload, deadline).and_then(|()| match fault {
        Some(fault) => Err(fault),
        None => exchange::ask(connector, &settings, &payload, deadline),
    });
    let answer = match asked {
        Ok(reply) => Answer::from_gateway(reply),
        Err(failure) => fallback::answer(&payload, settings.fail, &failure.to_string()),
    };
    deliver(&answer, settings.fail)
}

/// The one argument, if it is a connector that this program can answer for.
fn connector() -> Result<&'static str, String> {
    let mut arguments = std::env::args_os().skip(1);
    let given = arguments.next().unwrap_or_default();
    let known = CONNECTORS.into_iter().find(|name| given == *name);
    match (known, arguments.next()) {
        (Some(name), None) => Ok(name),
        (Some(_), Some(_)) => Err(
            "too many arguments. Use: defenseclaw-hook CONNECTOR, with the hook's payload on standard input"
                .into(),
        ),
        (None, _) => Err(format!(
            "unknown connector {given:?}; known: {}. Use: defenseclaw-hook CONNECTOR, with the hook's payload on \
             standard input",
            CONNECTORS.join(", ")
        )),
    }
}

/// Prints the answer. A harness that takes no output is stopped by the exit status instead.
fn deliver(answer: &Answer, fail: FailMode) -> ExitCode {
    if !answer.stderr.is_empty() {
        exchange::complain(&answer.stderr);
    }
    match exchange::write_stdout(&answer.stdout) {
        Ok(()) => ExitCode::from(answer.exit),
        Err(failure) => {
            exchange::complain(&failure.to_string());
            let blocks = fail == FailMode::Closed && answer.decides_call;
            ExitCode::from(if blocks { EXIT_BLOCK } else { 0 })
        }
    }
}
