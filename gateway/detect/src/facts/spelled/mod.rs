//! Other languages' source text with what it puts together spelled out: `'/etc/' + 'shadow'`, `os.path.join(home, '.ssh')`,
//! `chr(47)`, `'%s/x' % dir`, a variable that holds a text, a function imported by another name.
//!
//! No parser: tokens from left to right, a value where one stands, and everything else as it was. What is not known in the
//! middle of a path is written `*`, the home folder `~`. The text is passed twice, so that a name which a comprehension binds
//! behind its use is known too.

mod forms;
mod value;

use std::collections::HashMap;

use super::code::holds;
use forms::{RUNNERS, is_name_char, is_word, word_of};

/// Longest text that is spelled out (bytes): inline code and short programs. Longer ones are read as written.
const MAX_TEXT: usize = 16 << 10;
/// Longest value (bytes).
const MAX_VALUE: usize = 2048;
/// How far is looked for the end of an operand or a statement (bytes).
const MAX_LINE: usize = 512;
/// Most names that are followed.
const MAX_NAMES: usize = 64;
/// Deepest nesting of values in values.
const MAX_DEPTH: usize = 8;

/// `text` with its values spelled out; `None` where nothing is put together.
pub(super) fn out(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT || !puts_together(text) {
        return None;
    }
    let mut first = Reader::new(text, HashMap::new());
    first.read();
    if first.names.is_empty() {
        return first.changed.then_some(first.written);
    }
    let mut second = Reader::new(text, first.names);
    second.read();
    second.changed.then_some(second.written)
}

/// Whether anything of what is looked for can be in `text`.
fn puts_together(text: &str) -> bool {
    holds(
        text,
        &[
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
            " = ",
            "='",
            "=\"",
            "' '",
            "\" \"",
            "'\"",
            "${",
            "{",
            "/'",
            "/ '",
            "/\"",
            "/ \"",
            "' .",
            "\" .",
            "'.",
            "\".",
            "import ",
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
    written: String,
    changed: bool,
    names: HashMap<&'t str, Meaning>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    Text(String),
    /// Another name: of a module, or a function.
    Name(String),
    /// The first text of a list.
    List(String),
}

/// A value, and whether it is anything but one string as it was written.
struct Value {
    text: String,
    made: bool,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, names: HashMap<&'t str, Meaning>) -> Self {
        Self {
            text,
            at: 0,
            written: String::with_capacity(text.len() + 32),
            changed: false,
            names,
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// What stands here, up to the line's end or one of `ends`.
    fn line(&self, ends: &[char]) -> &'t str {
        let rest = self.rest();
        let rest = &rest[..rest.floor_char_boundary(MAX_LINE)];
        &rest[..rest
            .find(|c| c == '\n' || ends.contains(&c))
            .unwrap_or(rest.len())]
    }

    fn read(&mut self) {
        while self.at < self.text.len() {
            let start = self.at;
            let next = self.rest().chars().next().unwrap_or(' ');
            if !is_name_char(next) && !matches!(next, '\'' | '"' | '`' | '$') {
                self.at += next.len_utf8();
                self.written.push(next);
                continue;
            }
            if self.binds() {
                self.written.push_str(&self.text[start..self.at]);
                continue;
            }
            if let Some(value) = self.value(0) {
                self.write(start, &value);
                continue;
            }
            self.at = start;
            let word = word_of(self.rest());
            if word.is_empty() {
                let c = self.rest().chars().next().unwrap_or(' ');
                self.at += c.len_utf8();
                self.written.push(c);
                continue;
            }
            self.at += word.len();
            match self.names.get(word) {
                Some(Meaning::Name(name)) if !self.rest().trim_start().starts_with(['=', ':']) => {
                    self.written.push_str(name);
                    self.changed = true;
                }
                _ => self.written.push_str(word),
            }
        }
    }

    fn write(&mut self, start: usize, value: &Value) {
        if !value.made {
            self.written.push_str(&self.text[start..self.at]);
            return;
        }
        self.changed = true;
        // `object['method']` is `object.method`, `getattr(object, 'method')` too.
        let rest = self.rest().trim_start();
        if rest.starts_with(']') && self.written.ends_with('[') && is_word(&value.text) {
            self.written.pop();
            self.written.push('.');
            self.written.push_str(&value.text);
            self.at = self.text.len() - rest.len() + 1;
            return;
        }
        let quote = if value.text.contains('\'') { '"' } else { '\'' };
        self.written.push(quote);
        self.written.push_str(&value.text);
        self.written.push(quote);
    }

    /// `NAME = VALUE`, `for NAME in CALL(VALUE)`, `import A as B`: gives whether one stands here, and steps over its name.
    fn binds(&mut self) -> bool {
        let rest = self.rest();
        let boundary =
            !self.text[..self.at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.'));
        let word = word_of(rest);
        if !boundary || word.is_empty() || self.names.len() >= MAX_NAMES {
            return false;
        }
        match word {
            "import" | "from" if rest[word.len()..].starts_with(' ') => {
                self.imports();
                self.at += self.line(&[';']).len();
                return true;
            }
            "for" => self.loops(),
            _ => {}
        }
        let behind = rest[word.len()..].trim_start();
        let behind = behind.strip_prefix(':').unwrap_or(behind);
        if let Some(right) = behind
            .strip_prefix('=')
            .filter(|right| !right.starts_with(['=', '>', '~']))
        {
            let start = self.at;
            self.at = self.text.len() - right.trim_start().len();
            if let Some(first) = self.first_of_list() {
                self.names.insert(word, Meaning::List(first));
                self.at = start + word.len();
                return true;
            }
            let value = self.value(0);
            let whole = self.rest().trim_start_matches([' ', ')']);
            let ends = whole.is_empty() || whole.starts_with([';', '\n', ',', '&', '}']);
            if let Some(value) = value.filter(|_| ends) {
                self.names.insert(word, Meaning::Text(value.text));
            } else {
                self.at = start;
                let behind = self.text.len() - right.trim_start().len();
                let line = Reader {
                    at: behind,
                    ..Reader::new(self.text, HashMap::new())
                }
                .line(&[';', ','])
                .trim_end();
                let last = line.rsplit('.').next().unwrap_or_default();
                if line.contains('.') && RUNNERS.contains(&last) {
                    self.names.insert(word, Meaning::Name(last.to_owned()));
                } else {
                    self.names.remove(word);
                }
            }
            self.at = start + word.len();
            return true;
        }
        false
    }

    /// `import A as B`, `from A import B as C`.
    fn imports(&mut self) {
        let line = self.line(&[';']);
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
            if is_word(alias) && meaning != alias && self.names.len() < MAX_NAMES {
                // What is imported under its own name must not be looked for within its new one again.
                self.names.insert(alias, Meaning::Name(meaning));
            }
        }
    }

    /// `for A, B in CALL(VALUE)`: the first name stands for what lies there.
    fn loops(&mut self) {
        let line = self.line(&[]).get(3..).unwrap_or_default();
        let Some((targets, from)) = line.split_once(" in ") else {
            return;
        };
        let name = word_of(targets.trim_start());
        let call = from.trim_start();
        let listed = match self.names.get(word_of(call)) {
            Some(Meaning::List(first)) => Some(first.clone()),
            _ => {
                let start = self.at;
                let before = self.line(&[]).len() - call.len();
                self.at += before;
                let first = self.first_of_list();
                self.at = start;
                first
            }
        };
        if let Some(first) = listed.filter(|_| !name.is_empty()) {
            self.names.insert(name, Meaning::Text(first));
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
        let line_at = self.text.len() - self.rest().len();
        let before = self.line(&[]).len() - call.len();
        self.at = line_at + before + if path { 0 } else { open + 1 };
        if let Some(value) = self.value(0) {
            let text = value.text.trim_end_matches('/');
            let all = if text.ends_with('*') {
                text.to_owned()
            } else {
                format!("{text}/*")
            };
            self.names.insert(name, Meaning::Text(all));
        }
        self.at = start;
    }

    /// The first text of the list of texts that begins here. Where there is one, the place is behind it.
    fn first_of_list(&mut self) -> Option<String> {
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
