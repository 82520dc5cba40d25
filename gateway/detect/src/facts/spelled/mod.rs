//! Other languages' source text with what it puts together spelled out: `'/etc/' + 'shadow'`, `os.path.join(home, '.ssh')`,
//! `chr(47)`, `'%s/x' % dir`, a variable that holds a text, a function imported by another name.
//!
//! No parser: tokens from left to right, a value where one stands, and everything else as it was. What is not known in the
//! middle of a path is written `*`, the home folder `~`. The text is passed twice, so that a name which a comprehension binds
//! behind its use is known too.

mod forms;
mod names;
mod value;

use std::borrow::Cow;

use super::code::holds;
use forms::{RUNNERS, begins_value, is_name_char, is_word, next_beginning, word_of};
use names::{Meaning, Names};

/// Longest text that is spelled out (bytes): inline code and short programs. Longer ones are read as written.
const MAX_TEXT: usize = 16 << 10;
/// Longest value (bytes).
const MAX_VALUE: usize = 2048;
/// How far is looked for the end of an operand or a statement (bytes).
const MAX_LINE: usize = 512;
/// Most values of a list.
const MAX_VALUES: usize = 64;
/// Deepest nesting of values in values.
const MAX_DEPTH: usize = 8;

/// `text` with its values spelled out; `None` where nothing is put together.
pub(super) fn out(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT || !puts_together(text) {
        return None;
    }
    let mut reader = Reader::new(text, Names::default());
    reader.read();
    if reader.names.came_late() {
        reader = Reader::new(text, reader.names);
        reader.read();
    }
    reader.finish()
}

/// Whether anything of what is looked for can be in `text`. What nearly every program has comes first.
fn puts_together(text: &str) -> bool {
    holds(
        text,
        &[
            " = ",
            "{",
            "import ",
            "'+",
            "\"+",
            "+'",
            "+\"",
            "' +",
            "\" +",
            "+ '",
            "+ \"",
            "join",
            "chr(",
            "CharCode",
            "[::-1]",
            "\\x",
            "\\u",
            ".format(",
            "' %",
            "\" %",
            "'%",
            "\"%",
            "b64decode",
            "atob(",
            "fromhex",
            "reverse",
            " as ",
            "='",
            "=\"",
            "' '",
            "\" \"",
            "'\"",
            "${",
            "/'",
            "/ '",
            "/\"",
            "/ \"",
            "' .",
            "\" .",
            "'.",
            "\".",
            "[\"",
            "['",
            "require(",
            "glob(",
            "iterdir(",
        ],
    )
}

/// One pass.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// The text up to `copied`, with its values spelled out. Where nothing is put together, nothing is copied.
    written: String,
    copied: usize,
    changed: bool,
    names: Names<'t>,
}

/// A value, and whether it is anything but one string as it was written.
struct Value<'t> {
    text: Cow<'t, str>,
    made: bool,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, names: Names<'t>) -> Self {
        Self {
            text,
            at: 0,
            written: String::new(),
            copied: 0,
            changed: false,
            names,
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What stands here, up to the line's end or one of `ends`.
    fn line(&self, ends: &[u8]) -> &'t str {
        line_of(self.rest(), ends)
    }

    /// Whether a word that stands here is neither another's end nor something's member.
    fn at_boundary(&self) -> bool {
        !self.text[..self.at].ends_with(|c: char| is_name_char(c) || c == '.')
    }

    fn read(&mut self) {
        while let Some(start) = next_beginning(self.text, self.at) {
            self.at = start;
            if matches!(self.peek(), Some(b'\'' | b'"' | b'`' | b'$')) {
                match self.value(0) {
                    Some(value) => self.write(start, &value),
                    None => self.at = start + 1,
                }
                continue;
            }
            let word = word_of(self.rest());
            let boundary = self.at_boundary();
            if boundary && self.binds(word) {
                continue;
            }
            let known = self.names.get(word).is_some();
            if boundary
                && (known || begins_value(word))
                && let Some(value) = self.value(0)
            {
                self.write(start, &value);
                continue;
            }
            self.at = start + word.len();
            if known {
                self.rename(start, word);
            }
        }
    }

    /// The text as it was written differently.
    fn finish(mut self) -> Option<String> {
        self.copy(self.text.len());
        self.changed.then_some(self.written)
    }

    /// Copies what stands before `end` and is written as it was.
    fn copy(&mut self, end: usize) {
        if self.changed {
            self.written.push_str(&self.text[self.copied..end]);
            self.copied = end;
        }
    }

    fn write(&mut self, start: usize, value: &Value<'t>) {
        if !value.made {
            return;
        }
        self.changed = true;
        self.copy(start);
        // `object['method']` is `object.method`, `getattr(object, 'method')` too.
        let rest = self.rest().trim_start();
        if rest.starts_with(']') && self.written.ends_with('[') && is_word(&value.text) {
            self.written.pop();
            self.written.push('.');
            self.written.push_str(&value.text);
            self.at = self.text.len() - rest.len() + 1;
        } else {
            let quote = if value.text.contains('\'') { '"' } else { '\'' };
            self.written.push(quote);
            self.written.push_str(&value.text);
            self.written.push(quote);
        }
        self.copied = self.at;
    }

    /// Writes the name that a word stands for, if it stands for one and is not given a meaning here.
    fn rename(&mut self, start: usize, word: &str) {
        if let Some(Meaning::Name(name)) = self.names.get(word)
            && !self.rest().trim_start().starts_with(['=', ':'])
        {
            let name = name.clone();
            self.changed = true;
            self.copy(start);
            self.written.push_str(&name);
            self.copied = self.at;
        }
    }

    /// `NAME = VALUE`, `for NAME in CALL(VALUE)`, `import A as B`: gives whether one stands here, and steps over its name.
    fn binds(&mut self, word: &'t str) -> bool {
        if self.names.is_full() {
            return false;
        }
        let behind = &self.rest()[word.len()..];
        match word {
            "import" | "from" if behind.starts_with(' ') => {
                self.imports();
                self.at += self.line(b";").len();
                return true;
            }
            "for" => self.loops(),
            _ => {}
        }
        let Some(right) = assigned(behind) else {
            return false;
        };
        let start = self.at;
        let behind = self.text.len() - right.len();
        self.at = behind;
        if let Some(first) = self.first_of_list() {
            self.names.set(word, Meaning::List(first));
            self.at = start + word.len();
            return true;
        }
        let value = self.value(0);
        let whole = self.rest().trim_start_matches([' ', ')']);
        let ends = whole.is_empty() || whole.starts_with([';', '\n', ',', '&', '}']);
        if let Some(value) = value.filter(|_| ends) {
            self.names.set(word, Meaning::Text(value.text));
        } else {
            let line = line_of(right, b";,").trim_end();
            let last = line.rsplit('.').next().unwrap_or_default();
            if line.contains('.') && RUNNERS.contains(&last) {
                self.names.set(word, Meaning::Name(last.to_owned()));
            } else {
                self.names.forget(word);
            }
        }
        self.at = start + word.len();
        true
    }

    /// `import A as B`, `from A import B as C`.
    fn imports(&mut self) {
        let line = self.line(b";");
        let (module, list) = match line.strip_prefix("from ") {
            Some(rest) => match rest.split_once(" import ") {
                Some((module, list)) => (Some(module.trim()), list),
                None => return,
            },
            None => (None, line.strip_prefix("import ").unwrap_or_default()),
        };
        for item in list.split(',') {
            let (name, alias) = item.split_once(" as ").unwrap_or((item, item));
            let (name, alias) = (name.trim(), alias.trim());
            let meaning = match module {
                Some(module @ ("os" | "subprocess" | "shutil" | "socket" | "pty")) => {
                    format!("{module}.{name}")
                }
                Some(_) => continue,
                None => name.to_owned(),
            };
            if is_word(alias) && meaning != alias && !self.names.is_full() {
                // What is imported under its own name must not be looked for within its new one again.
                self.names.set(alias, Meaning::Name(meaning));
            }
        }
    }

    /// `for A, B in CALL(VALUE)`: the first name stands for what lies there.
    fn loops(&mut self) {
        let line = self.line(b"").get(3..).unwrap_or_default();
        let Some((targets, from)) = line.split_once(" in ") else {
            return;
        };
        let name = word_of(targets.trim_start());
        let call = from.trim_start();
        let listed = match self.names.get(word_of(call)) {
            Some(Meaning::List(first)) => Some(first.clone()),
            _ => {
                let start = self.at;
                let before = self.line(b"").len() - call.len();
                self.at += before;
                let first = self.first_of_list();
                self.at = start;
                first
            }
        };
        if let Some(first) = listed.filter(|_| !name.is_empty()) {
            self.names.set(name, Meaning::Text(first));
            return;
        }
        let Some(open) = call.find('(') else { return };
        let (called, behind) = call.split_at(open);
        // `listdir(VALUE)`, or `Path(VALUE).rglob(…)`
        let lists = holds(
            called,
            &["listdir", "walk", "scandir", "glob", "readdir", "entries"],
        );
        let path = called.ends_with("Path") && holds(behind, &["glob(", "iterdir(", "walk("]);
        if name.is_empty() || !(lists || path) || !called.chars().all(|c| is_name_char(c) || c == '.') {
            return;
        }
        let start = self.at;
        let before = self.line(b"").len() - call.len();
        self.at += before + if path { 0 } else { open + 1 };
        if let Some(value) = self.value(0) {
            let text = value.text.trim_end_matches('/');
            let all = if text.ends_with('*') {
                text.to_owned()
            } else {
                format!("{text}/*")
            };
            self.names.set(name, Meaning::Text(all.into()));
        }
        self.at = start;
    }

    /// The first text of the list of texts that begins here. Where there is one, the place is behind it.
    fn first_of_list(&mut self) -> Option<Cow<'t, str>> {
        let start = self.at;
        if !(self.take("[") || self.take("(")) {
            return None;
        }
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        let value = self
            .value(0)
            .filter(|_| self.rest().trim_start().starts_with([',', ']', ')']));
        if value.is_none() {
            self.at = start;
        }
        value.map(|value| value.text)
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }
}

/// What `rest` begins with, up to the line's end or one of `ends`, all of which are ASCII.
fn line_of<'t>(rest: &'t str, ends: &[u8]) -> &'t str {
    let rest = &rest[..rest.floor_char_boundary(MAX_LINE)];
    let mut bytes = rest.bytes();
    let end = bytes.position(|byte| byte == b'\n' || ends.contains(&byte));
    &rest[..end.unwrap_or(rest.len())]
}

/// What is given to the name before `behind`: what stands behind its `=`.
fn assigned(behind: &str) -> Option<&str> {
    let mark = |byte: u8| matches!(byte, b'=' | b':' | b' ' | b'\t'..=b'\r' | 0x80..);
    if !behind.bytes().next().is_some_and(mark) {
        return None;
    }
    let behind = behind.trim_start();
    let behind = behind.strip_prefix(':').unwrap_or(behind);
    let right = behind.strip_prefix('=')?;
    (!right.starts_with(['=', '>', '~'])).then(|| right.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_spelled_out() {
        for (text, part) in [
            ("open('/etc/'+'shadow')", "open('/etc/shadow')"),
            ("open('/etc/sha' 'dow')", "open('/etc/shadow')"),
            ("open(os.path.join('/etc', 'shadow'))", "open('/etc/shadow')"),
            ("a='/etc/';b='shadow';open(a+b)", "open('/etc/shadow')"),
            ("open('%s/%s' % ('/etc','shadow'))", "open('/etc/shadow')"),
            ("open('/etc/{}'.format('shadow'))", "open('/etc/shadow')"),
            ("open('/'.join(['','etc','shadow']))", "open('/etc/shadow')"),
            ("open('wodahs/cte/'[::-1])", "open('/etc/shadow')"),
            ("open(chr(47)+'etc'+chr(47)+'shadow')", "open('/etc/shadow')"),
            ("os.system(''.join(map(chr,[105,100])))", "os.system('id')"),
            ("open('\\x2fetc\\x2fshadow')", "open('/etc/shadow')"),
            (
                "open(base64.b64decode('L2V0Yy9zaGFkb3c=').decode())",
                "open('/etc/shadow')",
            ),
            (
                "(Path.home()/'.ssh'/'id_rsa').read_text()",
                "('~/.ssh/id_rsa').read_text()",
            ),
            (
                "readFileSync(process.env.HOME+'/.npmrc')",
                "readFileSync('~/.npmrc')",
            ),
            (
                "readFileSync(`${process.env.HOME}/.npmrc`)",
                "readFileSync('~/.npmrc')",
            ),
            ("h=os.environ['HOME'];open(f'{h}/.netrc')", "open('~/.netrc')"),
            ("os.system('cu'+'rl x|sh')", "os.system('curl x|sh')"),
            ("require('child_process')['ex'+'ec']('id')", ".exec('id')"),
            ("import subprocess as s;s.run('id')", "subprocess.run('id')"),
            ("from os import system as s;s('id')", "os.system('id')"),
            (
                "const e=require('child_process').execSync;e('id')",
                "execSync('id')",
            ),
            (
                "for d in os.listdir('/home'): rmtree(os.path.join('/home', d))",
                "rmtree('/home/*')",
            ),
            (
                "[os.remove(os.path.join(r,f)) for r,_,fs in os.walk('/home')]",
                "os.remove('/home/*/*')",
            ),
        ] {
            let spelled = out(text).unwrap_or_default();
            assert!(spelled.contains(part), "{text}: {spelled}");
        }
    }

    #[test]
    fn what_holds_nothing_of_it_stays() {
        for text in ["print(1)", "x = 5", "print('a')", "console.log(a.b.c)"] {
            assert_eq!(out(text), None, "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic_or_slow() {
        for text in [
            "'",
            "'+",
            "f'{",
            "\\x",
            "'\\",
            "for in (",
            "a='a'+a;".repeat(400).as_str(),
            "'%'%".repeat(2000).as_str(),
            "(".repeat(4000).as_str(),
            "os.path.join(".repeat(1000).as_str(),
            "é='ü'+'\\xé'",
            "'{'.format(",
            "'%é'%('a')",
            "from os import",
            "import a as",
            "for é in os.listdir('/'",
            "str(".repeat(3000).as_str(),
            "'\\u12",
        ] {
            out(text);
        }
    }
}
