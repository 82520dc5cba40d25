//! Which program takes what comes through a pipe or a substitution as code.

use defenseclaw_model::facts::Program;

use super::view::{arguments, stem};

/// Programs that run text in some language.
const INTERPRETERS: &[&str] = &[
    "ash",
    "bash",
    "bun",
    "csh",
    "dash",
    "deno",
    "fish",
    "ksh",
    "lua",
    "mksh",
    "node",
    "nodejs",
    "osascript",
    "perl",
    "php",
    "pwsh",
    "pypy",
    "python",
    "rbash",
    "ruby",
    "sh",
    "tclsh",
    "tcsh",
    "zsh",
];

/// Options behind which an interpreter's code, or what names it, stands.
const CODE_OPTIONS: &[&str] = &["--eval", "--print", "-E", "-c", "-e", "-m", "-p", "-r"];

/// Whether `program` would run as code what reaches it.
pub(super) fn takes_code(program: &Program) -> bool {
    let name = program.name.as_str();
    if matches!(name, "eval" | "." | "source") {
        return true;
    }
    // A program that a variable names, with nothing to say what it would run: `while read line; do $line; done`.
    if name.starts_with('$') {
        return !runs_own_words(program);
    }
    INTERPRETERS.contains(&stem(name)) && (!runs_own_words(program) || code_from_elsewhere(program))
}

/// The text for `-c` is what a command printed, or wholly what a variable holds.
fn code_from_elsewhere(program: &Program) -> bool {
    let words = arguments(program);
    words.iter().zip(words.iter().skip(1)).any(|(option, text)| {
        let whole = text.trim_matches('"');
        is_code_option(option) && (is_substituted(text) || (whole.starts_with('$') && !whole.contains(' ')))
    })
}

/// Its own words say what it runs: a text, a module or a file. `-` and `<(…)` are the pipe itself.
fn runs_own_words(program: &Program) -> bool {
    let words = arguments(program);
    if words.iter().any(|word| word == "-s") {
        return false;
    }
    let own = |word: &String| {
        is_code_option(word)
            || !(word.starts_with('-')
                || word.starts_with("<(")
                || matches!(word.as_str(), "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0"))
    };
    words.iter().any(own)
}

fn is_code_option(word: &str) -> bool {
    CODE_OPTIONS.contains(&word) || (word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
}

/// Whether a word holds the output of a command.
pub(super) fn is_substituted(word: &str) -> bool {
    word.contains("$(") || word.contains('`')
}

/// Whether which program runs is itself the output of a command. `$(which python3)` names it all the same.
pub(super) fn is_computed(program: &Program) -> bool {
    let name = program.name.as_str();
    is_substituted(name) && !name.starts_with("$(which ") && !name.starts_with("$(command -v ")
}
