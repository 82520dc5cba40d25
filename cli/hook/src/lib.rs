//! The hook client: one payload on standard input, one question to the gateway, the harness's native reply on standard
//! output.
//!
//! | Module | Holds |
//! |---|---|
//! | [`settings`] | where the gateway listens, what to say when it cannot be asked, how long to wait |
//! | [`harness`] | the harnesses, as a table made from their contracts when this program is built |
//! | [`exchange`] | standard input, the socket and standard output, each under one deadline |
//! | [`reply`] | the strict reader of the gateway's HTTP/1.1 answer |
//! | [`fallback`] | the harness's native answer by fail mode, and the guard that gives it after a panic |
//! | [`shell`] | the other program of this crate: a harness's shell line, run in the sandbox that its call was given |
//!
//! Nearly every harness lets a tool run when its hook crashes, hangs or prints nonsense. So this program never does: every
//! way out of it is an answer, and all of them lie within one deadline.

mod exchange;
mod fallback;
mod harness;
mod reply;
mod settings;
mod shell;

use std::time::{Duration, Instant};

use exchange::{Deadline, Failure};
use fallback::{Answer, Asked};
use harness::{HARNESSES, Harness};
use settings::{FailMode, Settings};

/// Most harnesses take this status as "blocked" and show standard error; every other non-zero status lets the call run.
const EXIT_BLOCK: u8 = 2;
/// Before the harness's own limit, for starting this program and for writing its answer on a busy machine.
const MARGIN: Duration = Duration::from_secs(5);
const USE: &str = "Use: defenseclaw-hook CONNECTOR [EVENT], with the hook's payload on standard input";
/// Before the connector: the harness hands its shell lines to [`shell`], which has started this.
const THROUGH_SHELL: &str = "--shell";

pub use shell::run as shell;

/// Runs `defenseclaw-hook`.
pub fn hook() -> u8 {
    let started = Instant::now();
    fallback::guard_against_panics();
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "--version")
    {
        return version();
    }
    let asked = match arguments() {
        Ok(asked) => asked,
        Err(message) => {
            exchange::complain(&message);
            return EXIT_BLOCK;
        }
    };
    let (settings, fault) = match settings::load() {
        Ok(settings) => (settings, None),
        // Settings that cannot be understood are no reason to let calls through: refuse until they are mended.
        Err(error) => (Settings::default(), Some(Failure::Settings(error))),
    };
    fallback::set_guard(asked, settings.fail);
    let limit = asked.harness.limit().saturating_sub(MARGIN);
    let deadline = Deadline::new(started, settings.deadline.min(limit), limit);
    let mut payload = Vec::new();
    let answered = exchange::read_stdin(&mut payload, deadline).and_then(|()| match fault {
        Some(fault) => Err(fault),
        None => exchange::ask(asked, &settings, &payload, deadline),
    });
    let answer = match answered {
        Ok(reply) => Answer::from_gateway(reply),
        Err(failure) => fallback::answer(asked, &payload, settings.fail, &failure.to_string()),
    };
    deliver(&answer, settings.fail)
}

/// For `doctor`, which looks whether all programs are of one build.
fn version() -> u8 {
    let line = concat!("defenseclaw-hook ", env!("CARGO_PKG_VERSION"), "\n");
    match exchange::write_stdout(line.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// The harness, and the event if it is named.
fn arguments() -> Result<Asked, String> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let through_shell = arguments.next_if(|first| first == THROUGH_SHELL).is_some();
    let given = arguments.next().unwrap_or_default();
    let Some(harness) = Harness::find(&given) else {
        let known: Vec<&str> = HARNESSES.iter().map(|harness| harness.name).collect();
        return Err(format!(
            "unknown connector {given:?}; known: {}. {USE}",
            known.join(", ")
        ));
    };
    let named = arguments.next();
    if arguments.next().is_some() {
        return Err(format!("too many arguments. {USE}"));
    }
    let event = match named {
        None => None,
        Some(name) => match name.to_str().and_then(|name| harness.event(name)) {
            Some(event) => Some(event),
            None => {
                return Err(format!(
                    "{} has no event {name:?} that is known. {USE}",
                    harness.name
                ));
            }
        },
    };
    Ok(Asked {
        harness,
        event,
        through_shell,
    })
}

/// Prints the answer. A harness that takes no output is stopped by the exit status instead.
fn deliver(answer: &Answer, fail: FailMode) -> u8 {
    if !answer.complaint.is_empty() {
        exchange::complain(&answer.complaint);
    }
    if !answer.stderr.is_empty() {
        exchange::write_stderr(&answer.stderr);
    }
    match exchange::write_stdout(&answer.stdout) {
        Ok(()) => answer.exit,
        Err(failure) => {
            exchange::complain(&failure.to_string());
            let blocks = fail == FailMode::Closed && answer.decides_call;
            if blocks { EXIT_BLOCK } else { 0 }
        }
    }
}
