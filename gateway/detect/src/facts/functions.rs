//! Functions that the text defines: what their calls give them, and where their output goes.
//!
//! A body is read where it stands, with parameters that may hold anything. Where a call gives it arguments it is read once
//! more with these, in the call's place; and what a call prints or takes in, the body's programs print and take in.

use std::ops::Range;

use super::Analysis;
use super::programs::Call;
use crate::shell::{self, Field, Place, Scope, Sink, Word};

/// Most functions whose bodies are kept.
const MAX_FUNCTIONS: usize = 64;
/// Longest body that is read again (bytes).
const MAX_BODY: usize = 4096;
/// Most times that bodies are read again for one tool call.
const MAX_CALLS: usize = 16;
/// Most arguments that a call's parameters are followed for: `$1` to `$9`.
const MAX_PARAMETERS: usize = 9;

/// The functions of one tool call.
#[derive(Default)]
pub(super) struct Functions {
    known: Vec<Function>,
    /// Those that are being read: a function that calls itself is not read within itself.
    running: Vec<usize>,
    calls: usize,
}

struct Function {
    name: String,
    /// The body's text; empty where it uses no parameter.
    text: String,
    programs: Range<usize>,
}

impl Functions {
    pub(super) fn define(&mut self, name: &str, text: &str, programs: Range<usize>) {
        if self.known.len() >= MAX_FUNCTIONS || programs.is_empty() && text.is_empty() {
            return;
        }
        let text = if text.len() <= MAX_BODY && has_parameters(text) {
            text
        } else {
            ""
        };
        self.known.push(Function {
            name: name.to_owned(),
            text: text.to_owned(),
            programs,
        });
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.known.iter().rposition(|function| function.name == name)
    }

    /// The programs of the body of the function called `name`.
    pub(super) fn body(&self, name: &str) -> Option<Range<usize>> {
        self.position(name).map(|at| self.known[at].programs.clone())
    }

    /// Each function's name and the programs of its body.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.known
            .iter()
            .map(|function| (function.name.as_str(), function.programs.clone()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn has_parameters(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let rest = text[at + 1..].trim_start_matches('{');
        rest.starts_with(['@', '*']) || rest.starts_with(|c: char| ('1'..='9').contains(&c))
    })
}

/// Reads the body of the function called `name` with the arguments of `call`.
pub(super) fn run(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let Some(at) = analysis.functions.position(name) else {
        return;
    };
    let text = analysis.functions.known[at].text.clone();
    let runs = analysis.functions.running.contains(&at) || analysis.functions.calls >= MAX_CALLS;
    if text.is_empty() || call.arguments().is_empty() || runs {
        return;
    }
    analysis.functions.calls += 1;
    analysis.functions.running.push(at);
    analysis.spend(text.len() + scope.weight());
    if !analysis.stopped() {
        let mut inner = scope.clone();
        bind(&mut inner, call.arguments(), &call.command.words);
        let place = Place {
            depth: call.place.depth + 1,
            ..call.place
        };
        shell::read(&text, analysis, &mut inner, place);
    }
    analysis.functions.running.pop();
}

/// Sets `$1`, `$2`, … and `$@` to what `arguments`, which came from `words`, are.
pub(super) fn bind(scope: &mut Scope<'_>, arguments: &[(Field, usize)], words: &[Word]) {
    let feeds = |word: usize| {
        words.get(word).map_or(Vec::new(), |word| {
            word.feeds.iter().chain(&word.followed).cloned().collect()
        })
    };
    for (at, (field, word)) in arguments.iter().take(MAX_PARAMETERS).enumerate() {
        scope.set_fed(&(at + 1).to_string(), vec![field.clone()], feeds(*word));
    }
    let all: Vec<Field> = arguments.iter().map(|(field, _)| field.clone()).collect();
    let fed: Vec<Range<usize>> = arguments.iter().flat_map(|(_, word)| feeds(*word)).collect();
    scope.set_fed("@", all.clone(), fed.clone());
    scope.set_fed("*", all, fed);
    scope.positional = true;
}
