//! Words to commands: pipelines, lists, compounds, redirections, here-documents.
//!
//! The grammar is followed as far as it says which programs run with which words. What no shell would accept is read as
//! well as can be: the parser never fails, it says what it could not resolve.

mod compound;

use std::ops::Range;

use super::lex::ends_word;
use super::scope::Scope;
use super::word::{Field, Word};
use super::{Assignment, Command, MAX_DEPTH, Place, Redirect, RedirectKind, Sink};

/// What ends a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The text's end.
    End,
    /// `)`.
    Parenthesis,
    /// `fi`, `done`, `esac` or `}`.
    Closer,
    /// `;;` or `esac`.
    CaseItem,
}

/// How a command ended.
enum Ended {
    /// By an operator or the text's end.
    Open,
    /// It was the word that closes the surrounding compound.
    Closed,
}

/// One text being read.
pub(super) struct Parser<'t, 's> {
    pub(super) text: &'t str,
    pub(super) pos: usize,
    pub(super) sink: &'s mut dyn Sink,
    place: Place,
    /// The newline behind which the here-documents of its line stand, and where they end.
    heredocs: Option<(usize, usize)>,
    /// What the last command is known to print.
    pub(super) printed: Option<String>,
    /// What the list that is being read prints, as far as it is known.
    prints: Prints,
}

/// What a list of commands prints.
enum Prints {
    Nothing,
    Text(String),
    Unknown,
}

impl<'t, 's> Parser<'t, 's> {
    pub(super) fn new(text: &'t str, sink: &'s mut dyn Sink, place: Place) -> Self {
        Self {
            text,
            pos: 0,
            sink,
            place,
            heredocs: None,
            printed: None,
            prints: Prints::Nothing,
        }
    }

    /// Adds what the last pipeline prints to what its list prints.
    fn gather(&mut self, ran: bool) {
        let printed = self.printed.take();
        self.prints = match (std::mem::replace(&mut self.prints, Prints::Nothing), printed) {
            (kept, None) if !ran => kept,
            (Prints::Nothing, Some(text)) => Prints::Text(text),
            (Prints::Text(before), Some(text)) => Prints::Text(format!("{before}\n{text}")),
            _ => Prints::Unknown,
        };
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.pos + ahead).copied()
    }

    pub(super) fn next_char(&mut self) -> Option<char> {
        let c = self.text[self.pos..].chars().next()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    /// The source from `start` to here.
    pub(super) fn since(&self, start: usize) -> String {
        self.text.get(start..self.pos).unwrap_or_default().to_owned()
    }

    pub(super) fn unterminated(&mut self, text: &str) {
        self.sink.opaque("unterminated", text);
    }

    /// Goes one level down, if the bound allows it; else the analysis stops, and says so.
    pub(super) fn enter(&mut self, substitution: bool, inside: impl FnOnce(&mut Self)) {
        if self.place.depth >= MAX_DEPTH {
            let rest: String = self.text[self.pos..].chars().take(80).collect();
            self.sink.stop("too-deep", &rest);
            return;
        }
        let outer = self.place;
        self.place.depth += 1;
        self.place.level += u16::from(substitution);
        inside(self);
        self.place = outer;
    }

    /// Parses a text of its own one level of substitution down; gives the programs that it runs.
    pub(super) fn nested(&mut self, text: &str, scope: &Scope<'_>) -> (Range<usize>, Option<String>) {
        let first = self.sink.programs();
        let mut printed = None;
        self.nested_with(text, scope, |parser, scope| {
            parser.list(scope, Until::End);
            printed = parser.printed.take();
        });
        (first..self.sink.programs(), printed)
    }

    pub(super) fn nested_with(
        &mut self,
        text: &str,
        scope: &Scope<'_>,
        read: impl FnOnce(&mut Parser<'_, '_>, &mut Scope<'_>),
    ) {
        self.sink.spend(scope.weight() + text.len());
        let mut scope = scope.clone();
        self.enter(true, |parser| {
            let mut inner = Parser::new(text, &mut *parser.sink, parser.place);
            read(&mut inner, &mut scope);
        });
    }

    /// Blanks, line continuations and a comment.
    fn blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => self.pos += 1,
                b'\\' if self.peek_at(1) == Some(b'\n') => self.pos += 2,
                b'#' if self.pos == 0
                    || self
                        .text
                        .as_bytes()
                        .get(self.pos - 1)
                        .is_some_and(|&b| ends_word(b)) =>
                {
                    self.pos += self.text[self.pos..]
                        .find('\n')
                        .unwrap_or(self.text.len() - self.pos);
                }
                _ => return,
            }
        }
    }

    fn newline(&mut self) {
        match self.heredocs.take() {
            Some((newline, end)) if self.pos >= newline && end > self.pos => self.pos = end,
            kept => {
                self.heredocs = kept.filter(|(newline, _)| *newline > self.pos);
                self.pos += 1;
            }
        }
    }

    fn blank_lines(&mut self) {
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return;
            }
            self.newline();
        }
    }

    /// Reads commands until `until`, which is left where it stands (a closing word is taken).
    pub(super) fn list(&mut self, scope: &mut Scope<'_>, until: Until) {
        let outer = std::mem::replace(&mut self.prints, Prints::Nothing);
        self.elements(scope, until);
        self.printed = match std::mem::replace(&mut self.prints, outer) {
            Prints::Text(text) => Some(text),
            Prints::Nothing | Prints::Unknown => None,
        };
    }

    fn elements(&mut self, scope: &mut Scope<'_>, until: Until) {
        let mut before: Option<Range<usize>> = None;
        let mut input: Option<String> = None;
        while !self.sink.stopped() {
            self.blanks();
            let Some(byte) = self.peek() else { return };
            match (byte, self.peek_at(1)) {
                (b'\n', _) => self.newline(),
                (b')', _) if until == Until::Parenthesis => return,
                (b';', Some(b';' | b'&')) if until == Until::CaseItem => return,
                (b')' | b';' | b'&' | b'|', next) if (byte, next) != (b'&', Some(b'>')) => {
                    self.pos += 1;
                    (before, input) = (None, None);
                }
                _ => {
                    let start = self.pos;
                    if let Ended::Closed = self.pipe_element(scope, until, &mut before, &mut input) {
                        return;
                    }
                    if self.pos == start {
                        self.next_char();
                    }
                }
            }
        }
    }

    /// One command, joined by a pipe to the one before, and the operator behind it if that is a pipe.
    fn pipe_element(
        &mut self,
        scope: &mut Scope<'_>,
        until: Until,
        before: &mut Option<Range<usize>>,
        input: &mut Option<String>,
    ) -> Ended {
        let first = self.sink.programs();
        self.printed = None;
        if let Ended::Closed = self.command(scope, until, input.take(), before.is_some()) {
            return Ended::Closed;
        }
        let programs = first..self.sink.programs();
        if let Some(from) = before.take() {
            self.sink.pipe(from, programs.clone(), self.place.level);
        }
        self.blanks();
        match (self.peek(), self.peek_at(1)) {
            (Some(b'|'), Some(b'|')) => {
                self.pos += 2;
                self.gather(true);
            }
            (Some(b'|'), next) => {
                self.pos += if next == Some(b'&') { 2 } else { 1 };
                *before = Some(programs);
                *input = self.printed.take();
            }
            _ => self.gather(self.sink.programs() > first),
        }
        Ended::Open
    }

    fn command(&mut self, scope: &mut Scope<'_>, until: Until, input: Option<String>, piped: bool) -> Ended {
        let mut command = Command {
            input,
            piped,
            ..Command::default()
        };
        while !self.sink.stopped() {
            self.blanks();
            let Some(byte) = self.peek() else { break };
            match (byte, self.peek_at(1)) {
                (b'\n' | b';' | b'|' | b')', _) => break,
                (b'<' | b'>', Some(b'(')) => {}
                (b'&', Some(b'>')) | (b'<' | b'>', _) => {
                    self.redirection(scope, &mut command);
                    continue;
                }
                (b'&', _) => break,
                (b'(', _) if command.words.is_empty() && command.assignments.is_empty() => {
                    let first = self.sink.programs();
                    self.parenthesis(scope);
                    self.redirections_behind(first, scope);
                    return Ended::Open;
                }
                (b'(', Some(b')')) if command.words.len() == 1 => {
                    self.pos += 2;
                    self.function_body(&command.words[0].as_argument(), scope, until);
                    return Ended::Open;
                }
                (b'(', _) => break,
                _ => {}
            }
            let Some(word) = self.word(scope) else { break };
            if matches!(self.peek(), Some(b'<' | b'>')) && is_descriptor(&word) {
                continue;
            }
            if command.words.is_empty() {
                if let Some(keyword) = word.bare().filter(|_| command.assignments.is_empty()) {
                    match self.keyword(keyword, scope, until) {
                        Keyword::None => {}
                        Keyword::Skip => continue,
                        Keyword::Done => return Ended::Open,
                        Keyword::Closer => return Ended::Closed,
                    }
                }
                if let Some((name, value)) = word.assignment() {
                    let name = name.to_owned();
                    self.assignment(name, value, scope, &mut command);
                    continue;
                }
            }
            self.add_word(word, scope, &mut command);
        }
        self.finish(command, scope);
        Ended::Open
    }

    fn add_word(&mut self, mut word: Word, scope: &Scope<'_>, command: &mut Command) {
        word.follow(scope);
        let index = command.words.len();
        if let Some(field) = word.plain() {
            self.sink.spend(field.text.len() + 16);
            command.fields.push((field, index));
        } else {
            let fields = word.expand(scope);
            self.sink
                .spend(fields.iter().map(|field| field.text.len() + 16).sum());
            command
                .fields
                .extend(fields.into_iter().map(|field| (field, index)));
        }
        command.words.push(word);
    }

    /// `NAME=value` or `NAME=(…)` before a command.
    fn assignment(&mut self, name: String, mut value: Word, scope: &mut Scope<'_>, command: &mut Command) {
        value.follow(scope);
        let mut feeds = std::mem::take(&mut value.feeds);
        feeds.append(&mut value.followed);
        let values = if value.is_empty() && self.peek() == Some(b'(') {
            self.pos += 1;
            let mut values = Vec::new();
            while !self.sink.stopped() {
                self.blank_lines();
                match self.word(scope) {
                    Some(mut word) => {
                        values.extend(word.expand(scope));
                        feeds.append(&mut word.feeds);
                    }
                    None => break,
                }
            }
            if self.peek() == Some(b')') {
                self.pos += 1;
            }
            values
        } else if value.is_empty() {
            vec![Field::literal("")]
        } else {
            value.expand_whole(scope)
        };
        self.sink
            .spend(values.iter().map(|field| field.text.len() + 16).sum());
        command.assignments.push(Assignment { name, values, feeds });
    }

    /// Hands a simple command over.
    fn finish(&mut self, mut command: Command, scope: &mut Scope<'_>) {
        for assignment in &command.assignments {
            self.sink.assigned(assignment, scope);
        }
        if command.words.is_empty() {
            for assignment in std::mem::take(&mut command.assignments) {
                scope.set_fed(&assignment.name, assignment.values, assignment.feeds);
            }
            if command.redirects.is_empty() {
                return;
            }
        }
        self.printed = self.sink.command(&command, scope, self.place);
    }

    /// One redirection, with the position on its operator.
    fn redirection(&mut self, scope: &mut Scope<'_>, command: &mut Command) {
        const OPERATORS: [(&str, RedirectKind); 12] = [
            ("&>>", RedirectKind::Write),
            ("<<<", RedirectKind::HereString),
            ("<<-", RedirectKind::HereDocument),
            ("<<", RedirectKind::HereDocument),
            ("&>", RedirectKind::Write),
            (">>", RedirectKind::Write),
            (">|", RedirectKind::Write),
            (">&", RedirectKind::Duplicate),
            ("<&", RedirectKind::Duplicate),
            ("<>", RedirectKind::ReadWrite),
            (">", RedirectKind::Write),
            ("<", RedirectKind::Read),
        ];
        let rest = &self.text[self.pos..];
        let Some((operator, kind)) = OPERATORS.into_iter().find(|(text, _)| rest.starts_with(text)) else {
            self.pos += 1;
            return;
        };
        self.pos += operator.len();
        while let Some(b' ' | b'\t') = self.peek() {
            self.pos += 1;
        }
        let Some(mut word) = self.word(scope) else { return };
        word.follow(scope);
        if kind == RedirectKind::HereDocument {
            let body = self.here_document(&word, operator == "<<-", scope);
            command.redirects.push(Redirect {
                kind,
                targets: Vec::new(),
                body: Some(body),
                feeds: Vec::new(),
                followed: Vec::new(),
            });
            return;
        }
        let targets = word.expand_whole(scope);
        let kind = match (kind, targets.first().map(|target| target.text.as_str())) {
            // `>&file` writes both outputs to a file; `2>&1` and `>&-` name descriptors.
            (RedirectKind::Duplicate, Some(target)) if operator == ">&" && !is_descriptor_text(target) => {
                RedirectKind::Write
            }
            _ => kind,
        };
        let body = match kind {
            RedirectKind::HereString => Some(targets.first().map(|t| t.text.clone()).unwrap_or_default()),
            // `< <(echo TEXT)`
            RedirectKind::Read => word.process_text().map(str::to_owned),
            _ => None,
        };
        command.redirects.push(Redirect {
            kind,
            targets,
            body,
            feeds: word.feeds,
            followed: word.followed,
        });
    }

    /// Finds the body of a here-document, which begins behind the line's end or the line's last here-document.
    fn here_document(&mut self, delimiter: &Word, strip_tabs: bool, scope: &mut Scope<'_>) -> String {
        let quoted = delimiter.source().contains(['\'', '"', '\\']);
        let end_line: String = delimiter.as_argument();
        let (newline, start) = match self.heredocs {
            Some((newline, end)) if newline >= self.pos => (newline, end),
            _ => match self.text[self.pos..].find('\n') {
                Some(at) => (self.pos + at, self.pos + at + 1),
                None => (self.text.len(), self.text.len()),
            },
        };
        let mut end = start;
        let mut body_end = None;
        for line in self.text[start..].split_inclusive('\n') {
            let bare = line.trim_end_matches('\n').trim_end_matches('\r');
            let bare = if strip_tabs {
                bare.trim_start_matches('\t')
            } else {
                bare
            };
            if bare == end_line {
                body_end = Some(end);
                end += line.len();
                break;
            }
            end += line.len();
        }
        let body = self.text[start..body_end.unwrap_or(end)].to_owned();
        self.sink.spend(body.len());
        if body_end.is_none() {
            let shown: String = body.chars().take(80).collect();
            self.unterminated(&format!("<<{end_line} {shown}"));
        }
        self.heredocs = Some((newline, end));
        if !quoted {
            self.substitutions_in(&body, scope);
        }
        body
    }
}

enum Keyword {
    /// An ordinary word.
    None,
    /// A command still follows.
    Skip,
    /// A whole compound was read.
    Done,
    /// It closes the surrounding compound.
    Closer,
}

fn is_descriptor(word: &Word) -> bool {
    word.bare()
        .is_some_and(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        || word
            .bare()
            .is_some_and(|text| text.len() > 2 && text.starts_with('{') && text.ends_with('}'))
}

fn is_descriptor_text(text: &str) -> bool {
    text == "-" || text.trim_end_matches('-').bytes().all(|b| b.is_ascii_digit())
}
