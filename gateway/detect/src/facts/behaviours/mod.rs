//! What programs do by their purpose: a table from each program's name to the functions that know it.
//!
//! A function looks at the words of one call, so a call costs a look-up in one map and the few functions that know the
//! program. What follows from a path alone stands in `places`; what follows from where data goes, in `flows`.

mod abuse;
mod assigned;
mod control;
mod credential;
mod databases;
mod destruction;
mod dialled;
mod discovery;
mod evasion;
mod execution;
mod exposed;
mod modules;
mod opened;
mod persistence;
mod privilege;
mod remote;
mod stored;
mod watchers;
mod words;

use std::sync::LazyLock;

use defenseclaw_model::facts::BehaviourKind;

use super::{Analysis, flows, hosts, installs};
use crate::quick;
use crate::shell::{Scope, Sink};

use super::programs::Call;
pub(super) use assigned::{assigned, environment, function};
pub(super) use databases::statements;
pub(super) use evasion::is_log;
pub(super) use words::Invocation;

/// A function that knows a program.
type Handler = fn(&mut Analysis, &Invocation<'_>, &Scope<'_>);

/// Programs by name, and what knows them.
type Table = &'static [(&'static [&'static str], Handler)];

/// What knows each program.
type Handlers = quick::Table<&'static str, Vec<Handler>>;

static HANDLERS: LazyLock<Handlers> = LazyLock::new(|| {
    let tables: [Table; 14] = [
        abuse::TABLE,
        control::TABLE,
        credential::TABLE,
        databases::TABLE,
        destruction::TABLE,
        dialled::TABLE,
        exposed::TABLE,
        discovery::TABLE,
        evasion::TABLE,
        execution::TABLE,
        persistence::TABLE,
        privilege::TABLE,
        remote::TABLE,
        installs::TABLE,
    ];
    let mut handlers = Handlers::default();
    for (names, handler) in tables.into_iter().flatten() {
        for name in *names {
            handlers.entry(name).or_default().push(*handler);
        }
    }
    handlers
});

/// Notes what the program called `name` does.
pub(super) fn of_program(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let invocation = Invocation { name, call };
    flows::describe(analysis, &invocation, scope);
    execution::any_program(analysis, &invocation, scope);
    if analysis.stopped() {
        return;
    }
    for word in invocation.words().filter(|word| word.contains(':')) {
        abuse::address(analysis, word);
    }
    let handlers = HANDLERS.get(name).or_else(|| HANDLERS.get(stem(name)));
    for handler in handlers.into_iter().flatten() {
        handler(analysis, &invocation, scope);
    }
}

/// Notes what reaching `host` means.
pub(super) fn reached(analysis: &mut Analysis, host: &str) {
    if hosts::is_metadata(host) {
        analysis.behave(BehaviourKind::Credential, "metadata-service", host, None);
    } else if abuse::is_pool(host) {
        analysis.behave(BehaviourKind::Abuse, "miner", host, None);
    }
}

/// Notes what follows from the call as a whole.
pub(super) fn whole(analysis: &mut Analysis) {
    credential::whole(analysis);
    control::whole(analysis);
    abuse::fork_bomb(analysis);
}

/// A name without its version or kind: `python` for `python3.12`, `mkfs` for `mkfs.ext4`.
fn stem(name: &str) -> &str {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    match name.split_once('.') {
        Some((head, tail)) if head == "mkfs" || tail == "sh" || tail == "py" || tail == "pl" => head,
        _ => name,
    }
}
