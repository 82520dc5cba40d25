//! Compounds: groups, functions, conditions, loops, tests.

use super::super::scope::Scope;
use super::super::{Command, RedirectKind};
use super::{Keyword, Parser, Until};

impl Parser<'_, '_> {
    /// The redirections behind a compound, whose programs begin at `first`.
    pub(super) fn redirections_behind(&mut self, first: usize, scope: &mut Scope<'_>) {
        let inside = first..self.sink.programs();
        let mut command = Command::default();
        loop {
            self.blanks();
            let start = self.pos;
            match (self.peek(), self.peek_at(1)) {
                (Some(b'<' | b'>'), Some(b'(')) => break,
                (Some(b'<' | b'>'), _) | (Some(b'&'), Some(b'>')) => self.redirection(scope, &mut command),
                (Some(b'0'..=b'9'), Some(b'<' | b'>')) => self.pos += 1,
                _ => break,
            }
            if self.sink.stopped() || self.pos == start {
                break;
            }
        }
        if !command.redirects.is_empty() {
            let reads = |kind| {
                matches!(
                    kind,
                    RedirectKind::Read | RedirectKind::HereString | RedirectKind::HereDocument
                )
            };
            for redirect in command.redirects.iter().filter(|redirect| reads(redirect.kind)) {
                for feed in redirect.feeds.iter().chain(&redirect.followed) {
                    self.sink.feed(feed.clone(), inside.clone(), self.place.level);
                }
            }
            self.sink.command(&command, scope, self.place);
        }
    }

    /// `(…)` and `((…))` at a command's place.
    pub(super) fn parenthesis(&mut self, scope: &mut Scope<'_>) {
        let start = self.pos;
        if self.peek_at(1) == Some(b'(')
            && let Some(end) = self.arithmetic_end(start)
        {
            self.arithmetic(start, end, scope);
            return;
        }
        self.pos += 1;
        self.sink.spend(scope.weight());
        let mut inner = scope.clone();
        self.enter(false, |parser| parser.list(&mut inner, Until::Parenthesis));
        if self.peek() == Some(b')') {
            self.pos += 1;
        } else if !self.sink.stopped() {
            let source = self.since(start);
            self.unterminated(&source);
        }
    }

    /// What stands behind `NAME ()`.
    pub(super) fn function_body(&mut self, name: &str, scope: &Scope<'_>, until: Until) {
        self.sink.function(name);
        self.sink.spend(scope.weight());
        let mut inner = scope.clone();
        inner.positional = true;
        self.blank_lines();
        let (start, first) = (self.pos, self.sink.programs());
        self.enter(false, |parser| {
            parser.command(&mut inner, until, None, false);
        });
        let text = self.text.get(start..self.pos).unwrap_or_default();
        self.sink.body(name, text, first..self.sink.programs());
    }

    /// Acts on a keyword at a command's place.
    pub(super) fn keyword(&mut self, keyword: &str, scope: &mut Scope<'_>, until: Until) -> Keyword {
        let first = self.sink.programs();
        match keyword {
            "then" | "do" | "else" | "elif" | "!" | "time" | "coproc" => Keyword::Skip,
            "fi" | "done" | "esac" | "}" => match until {
                Until::Closer | Until::CaseItem => Keyword::Closer,
                Until::End | Until::Parenthesis => Keyword::Skip,
            },
            "if" | "while" | "until" | "{" => {
                self.enter(false, |parser| parser.list(scope, Until::Closer));
                self.redirections_behind(first, scope);
                Keyword::Done
            }
            "for" | "select" => {
                self.loop_variable(scope);
                self.enter(false, |parser| parser.list(scope, Until::Closer));
                self.redirections_behind(first, scope);
                Keyword::Done
            }
            "case" => {
                self.case(scope);
                self.redirections_behind(first, scope);
                Keyword::Done
            }
            "[[" => {
                self.test(scope);
                Keyword::Done
            }
            "function" => {
                self.blanks();
                let name = self.word(scope).map_or(String::new(), |name| name.as_argument());
                self.blanks();
                if self.text[self.pos..].starts_with("()") {
                    self.pos += 2;
                }
                self.function_body(&name, scope, until);
                Keyword::Done
            }
            _ => Keyword::None,
        }
    }

    /// `NAME in words` behind `for`.
    fn loop_variable(&mut self, scope: &mut Scope<'_>) {
        self.blanks();
        if self.text[self.pos..].starts_with("((")
            && let Some(end) = self.arithmetic_end(self.pos)
        {
            self.arithmetic(self.pos, end, scope);
            return;
        }
        let Some(name) = self.word(scope) else { return };
        self.blank_lines();
        let start = self.pos;
        if self.word(scope).is_none_or(|word| word.bare() != Some("in")) {
            self.pos = start;
            return;
        }
        let (mut values, mut feeds) = (Vec::new(), Vec::new());
        loop {
            self.blanks();
            match self.word(scope) {
                Some(mut word) if !self.sink.stopped() => {
                    word.follow(scope);
                    values.extend(word.expand(scope));
                    feeds.append(&mut word.feeds);
                    feeds.append(&mut word.followed);
                }
                _ => break,
            }
        }
        self.sink
            .spend(values.iter().map(|field| field.text.len() + 16).sum());
        if let Some(name) = name.bare() {
            scope.set_fed(name, values, feeds);
        }
    }

    fn case(&mut self, scope: &mut Scope<'_>) {
        self.blanks();
        self.word(scope);
        self.blank_lines();
        self.word(scope);
        while !self.sink.stopped() {
            let start = self.pos;
            self.blank_lines();
            while let Some(b';' | b'&' | b'(') = self.peek() {
                self.pos += 1;
                self.blank_lines();
            }
            // The patterns, up to their parenthesis.
            loop {
                match self.word(scope) {
                    Some(word) if word.bare() == Some("esac") => return,
                    Some(_) => {}
                    None => break,
                }
                self.blanks();
                if self.peek() == Some(b'|') {
                    self.pos += 1;
                    self.blanks();
                }
            }
            if self.peek() == Some(b')') {
                self.pos += 1;
            }
            let mut closed = false;
            self.enter(false, |parser| {
                parser.list(scope, Until::CaseItem);
                closed = parser.peek() != Some(b';');
            });
            if closed || self.pos == start {
                return;
            }
        }
    }

    /// `[[ … ]]`, for the substitutions in it.
    fn test(&mut self, scope: &mut Scope<'_>) {
        while !self.sink.stopped() {
            self.blank_lines();
            match self.word(scope) {
                Some(word) if word.bare() == Some("]]") => return,
                Some(_) => {}
                None if self.peek().is_none() => return,
                None => self.pos += 1,
            }
        }
    }
}
