//! A shell's command line, read the way a shell reads it, as far as that says what runs with which words.
//!
//! Time and memory are linear in the text: it is read once, what has to be read again (backticks, `bash -c` texts,
//! copies of the scope) is paid for from one budget of the [`Sink`], and when that is used up the analysis stops and
//! says so. Nesting is bounded by [`MAX_DEPTH`].

mod brace;
mod change;
mod lex;
mod parse;
mod scope;
mod word;

use std::ops::Range;

pub(crate) use scope::{STARTED, Scope};
pub(crate) use word::{Field, Piece, Word, is_name};

/// Deepest nesting of subshells, compounds, substitutions and `sh -c` texts that is followed. Real command lines have
/// less than ten; each level costs a few hundred bytes of stack in ten or so frames.
pub(crate) const MAX_DEPTH: usize = 40;

/// One simple command.
#[derive(Debug, Default)]
pub(crate) struct Command {
    /// Its words as written.
    pub(crate) words: Vec<Word>,
    /// Its words expanded, each with the index of the word that it came from.
    pub(crate) fields: Vec<(Field, usize)>,
    /// Its redirections.
    pub(crate) redirects: Vec<Redirect>,
    /// `NAME=value` before it.
    pub(crate) assignments: Vec<Assignment>,
    /// What is known to come in through its pipe.
    pub(crate) input: Option<String>,
    /// Whether it stands behind a pipe.
    pub(crate) piped: bool,
}

/// `NAME=value`.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    /// What it may be; several for an array.
    pub(crate) values: Vec<Field>,
    /// Programs (by range) whose output the value holds.
    pub(crate) feeds: Vec<Range<usize>>,
}

/// One redirection.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) kind: RedirectKind,
    /// The file; several where a loop variable names it.
    pub(crate) targets: Vec<Field>,
    /// The text of a here-document or here-string.
    pub(crate) body: Option<String>,
    /// Programs whose output or input the target is.
    pub(crate) feeds: Vec<Range<usize>>,
    /// Programs whose output the target's variables hold.
    pub(crate) followed: Vec<Range<usize>>,
}

/// What a redirection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectKind {
    Read,
    Write,
    ReadWrite,
    Duplicate,
    HereDocument,
    HereString,
}

/// Where in the nesting a command stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// Nesting of any kind.
    pub(crate) depth: usize,
    /// Nesting of substitutions: programs of different levels are not joined by one pipe.
    pub(crate) level: u16,
}

/// Who is told what a command line holds.
pub(crate) trait Sink {
    /// Whether a bound was hit: the rest is not read.
    fn stopped(&self) -> bool;
    /// Takes `bytes` from the budget; stops when it is used up.
    fn spend(&mut self, bytes: usize);
    /// Stops: `why` as a word of `Opaque::why`.
    fn stop(&mut self, why: &'static str, text: &str);
    /// Something cannot be resolved.
    fn opaque(&mut self, why: &'static str, text: &str);
    /// Number of programs so far.
    fn programs(&self) -> usize;
    /// The programs of `from` at `level` write into those of `to`.
    fn pipe(&mut self, from: Range<usize>, to: Range<usize>, level: u16);
    /// What `from` prints is what those of `to` at `level` read: a compound's `< <(…)`.
    fn feed(&mut self, from: Range<usize>, to: Range<usize>, level: u16);
    /// A function of this name is defined.
    fn function(&mut self, name: &str);
    /// The function's body was read: its text, and the programs in it.
    fn body(&mut self, name: &str, text: &str, programs: Range<usize>);
    /// A variable is set, for the shell or for one command.
    fn assigned(&mut self, assignment: &Assignment, scope: &Scope<'_>);
    /// A simple command; gives what it is known to print.
    fn command(&mut self, command: &Command, scope: &mut Scope<'_>, place: Place) -> Option<String>;
}

/// Reads `text` and tells `sink`.
pub(crate) fn read(text: &str, sink: &mut dyn Sink, scope: &mut Scope<'_>, place: Place) {
    if place.depth >= MAX_DEPTH {
        sink.stop("too-deep", text);
        return;
    }
    parse::Parser::new(text, sink, place).list(scope, parse::Until::End);
}
