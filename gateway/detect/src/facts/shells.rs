//! Texts that a shell runs: `sh -c TEXT`, `eval`, `source`, scripts that the call itself has written.

use super::programs::Call;
use super::{Access, Analysis, functions, given, languages};
use crate::shell::{self, Field, Place, Redirect, RedirectKind, Scope, Sink, Word};

/// `sh -c TEXT`, `sh FILE`, and `sh` on its standard input.
pub(super) fn shell_call(analysis: &mut Analysis, call: Call<'_>, scope: &Scope<'_>) {
    let (mut code, mut input) = (false, false);
    let mut rest = call.arguments().iter();
    let mut operand = None;
    let is_fish = call
        .fields
        .first()
        .is_some_and(|(field, _)| field.text.ends_with("fish"));
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    while let Some((field, _)) = rest.next() {
        match field.text.as_str() {
            "-o" | "-O" | "+o" | "+O" | "--rcfile" | "--init-file" => {
                rest.next();
            }
            "--" => {
                operand = rest.next();
                break;
            }
            "--command" | "--init-command" => {
                code = true;
            }
            text if text.starts_with("--command=") || text.starts_with("--init-command=") => {
                let text = text.split_once('=').map_or("", |(_, text)| text);
                nested_text(analysis, text, scope, place);
            }
            text if text.starts_with("--") => {}
            text if text.starts_with(['-', '+']) && text.len() > 1 => {
                // fish runs the text of `-C` before all else.
                code = code || text.contains('c') || (text.ends_with('C') && is_fish);
                input = input || (text.starts_with('-') && text.contains('s'));
            }
            _ => {
                operand = Some(&call.fields[call.fields.len() - rest.len() - 1]);
                break;
            }
        }
    }
    match (operand, code) {
        // What it runs is what the substituted commands print: their pipe says so.
        (Some((field, word)), true) if is_substitution(call, *word) && !field.exact => {}
        (Some((field, _)), true) => match rest.as_slice() {
            [] => nested_text(analysis, &field.text, scope, place),
            // `sh -c TEXT NAME ARGUMENTS`
            [name, given @ ..] => {
                let mut inner = scope.clone();
                inner.set("0", vec![name.0.clone()]);
                functions::bind(&mut inner, given, &call.command.words);
                nested_text(analysis, &field.text, &inner, place);
            }
        },
        (Some((_, word)), false) if process_text(call, *word).is_some() => {
            let text = process_text(call, *word).unwrap_or_default();
            nested_text(analysis, text, scope, place);
        }
        // With `-s` the operands are the parameters of what comes in.
        (Some((field, _)), false) if !input && !languages::is_input(&field.text) => {
            analysis.path(Access::Read, field, scope);
            run_content(analysis, field, scope, place);
        }
        _ => {
            if let Some(text) = incoming(analysis, call, scope) {
                nested_text(analysis, &text, scope, place);
            }
        }
    }
}

/// The text that comes in, where it stands in the call: in a here-document, or in a file that the call has written.
pub(super) fn incoming(analysis: &Analysis, call: Call<'_>, scope: &Scope<'_>) -> Option<String> {
    if let Some(text) = call.input() {
        // What a command prints is told by its pipe: `. /dev/stdin <<< "$(direnv export bash)"`.
        let text = text.trim();
        let string = |redirect: &Redirect| redirect.kind == RedirectKind::HereString;
        let printed = call.command.redirects.iter().any(string)
            && text.starts_with("$(")
            && text.ends_with(')')
            && text.matches("$(").count() == 1;
        return (!printed).then(|| text.to_owned());
    }
    let mut redirects = call.command.redirects.iter();
    let last = redirects.rfind(|redirect| redirect.kind == RedirectKind::Read)?;
    match last.targets.as_slice() {
        [file] => analysis.contents.of(file, scope),
        _ => None,
    }
}

fn is_substitution(call: Call<'_>, word: usize) -> bool {
    call.command.words.get(word).is_some_and(Word::is_substitution)
}

fn process_text<'c>(call: Call<'c>, word: usize) -> Option<&'c str> {
    call.command.words.get(word).and_then(Word::process_text)
}

/// Reads a script that the call itself has written before.
pub(super) fn run_content(analysis: &mut Analysis, field: &Field, scope: &Scope<'_>, place: Place) {
    if let Some(text) = analysis.contents.of(field, scope) {
        nested_text(analysis, &text, scope, place);
    }
}

/// Reads a text that a shell is given, in a scope of its own.
pub(super) fn nested_text(analysis: &mut Analysis, text: &str, scope: &Scope<'_>, place: Place) {
    analysis.spend(text.len() + scope.weight());
    if !analysis.stopped() {
        let mut inner = scope.clone();
        shell::read(text, analysis, &mut inner, place);
    }
}

pub(super) fn eval(analysis: &mut Analysis, call: Call<'_>, scope: &mut Scope<'_>) {
    let arguments = call.arguments();
    let text = arguments
        .iter()
        .map(|(field, _)| field.text.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    // What a substitution prints is told by the pipe from its programs; what a variable holds is told by nothing.
    if arguments
        .iter()
        .any(|(field, _)| !field.exact && !field.substitution)
    {
        analysis.opaque("eval", &text);
    }
    if arguments
        .iter()
        .all(|(field, word)| is_substitution(call, *word) && !field.exact)
    {
        return;
    }
    analysis.spend(text.len());
    if !analysis.stopped() {
        // `eval` runs in the shell itself: what it sets stays set.
        shell::read(
            &text,
            analysis,
            scope,
            Place {
                depth: call.place.depth + 1,
                ..call.place
            },
        );
    }
}

/// `tee FILE`: its input is the file's content.
pub(super) fn tee(analysis: &mut Analysis, call: Call<'_>, scope: &Scope<'_>) {
    if let Some(text) = call.input() {
        for (field, _) in call
            .arguments()
            .iter()
            .filter(|(field, _)| !field.text.starts_with('-'))
        {
            analysis.spend(text.len());
            given::file(analysis, std::slice::from_ref(field), text, call, scope);
            analysis
                .contents
                .keep(std::slice::from_ref(field), text.to_owned(), scope);
        }
    }
}

/// `source FILE`: what it reads it runs, in the shell itself.
pub(super) fn sourced(analysis: &mut Analysis, call: Call<'_>, scope: &Scope<'_>) {
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    let Some((field, word)) = call.arguments().first() else {
        return;
    };
    match process_text(call, *word) {
        Some(text) => nested_text(analysis, text, scope, place),
        None if languages::is_input(&field.text) => {
            if let Some(text) = incoming(analysis, call, scope) {
                nested_text(analysis, &text, scope, place);
            }
        }
        None => {
            analysis.path(Access::Read, field, scope);
            run_content(analysis, field, scope, place);
        }
    }
}

/// `alias NAME=TEXT` and `trap TEXT SIGNAL`: read where they stand, as the body of a function is.
pub(super) fn later(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    for (field, _) in call.arguments().iter().filter(|(field, _)| field.exact) {
        match (name, field.text.split_once('=')) {
            ("alias", Some((_, text))) => nested_text(analysis, text, scope, place),
            ("trap", _) if field.text.contains([' ', ';']) => {
                nested_text(analysis, &field.text, scope, place)
            }
            _ => {}
        }
    }
}
