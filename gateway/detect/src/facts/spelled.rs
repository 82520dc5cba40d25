//! Other languages' source text with what it puts together spelled out: `'/etc/' + 'shadow'`, `os.path.join(home, '.ssh')`,
//! `chr(47)`, `'%s/x' % dir`, a variable that holds a text, a function imported by another name.
//!
//! No parser: tokens from left to right, a value where one stands, and everything else as it was. What is not known in the
//! middle of a path is written `*`, the home folder `~`. The text is passed twice, so that a name which a comprehension binds
//! behind its use is known too.

use std::borrow::Cow;
use std::collections::HashMap;

use super::code::holds;

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

    /// A value and everything that is joined to it. Where none stands, the place is left as it was.
    fn value(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        if depth > MAX_DEPTH {
            return None;
        }
        let Some(mut value) = self.single(depth) else {
            self.at = start;
            return None;
        };
        loop {
            let end = self.at;
            self.blanks();
            let path = holds(&value.text, &["/", "~"]) || value.text.is_empty();
            let joint =
                if self.take("+") || self.take("..") || (self.rest().starts_with(". ") && self.take(".")) {
                    ""
                } else if path
                    && self.rest().starts_with(['/'])
                    && !self.rest().starts_with("//")
                    && self.take("/")
                {
                    "/"
                } else if self.rest().starts_with(['\'', '"']) && self.text[..end].ends_with(['\'', '"']) {
                    ""
                } else if self.rest().starts_with('%') && value.text.contains('%') {
                    self.at += 1;
                    self.blanks();
                    let given = self.arguments_or_one(depth);
                    value = Value {
                        text: fill(&value.text, &given),
                        made: true,
                    };
                    continue;
                } else {
                    self.at = end;
                    break;
                };
            self.blanks();
            let before = self.at;
            match self.single(depth + 1) {
                Some(next) => {
                    value.text = format!(
                        "{}{joint}{}",
                        value
                            .text
                            .trim_end_matches(if joint.is_empty() { '\0' } else { '/' }),
                        next.text
                    )
                }
                None => {
                    // What is not known: one operand without brackets, or a call.
                    self.at = before;
                    if !self.skip_operand() {
                        self.at = end;
                        break;
                    }
                    value.text = format!(
                        "{}{joint}*",
                        value
                            .text
                            .trim_end_matches(if joint.is_empty() { '\0' } else { '/' })
                    );
                }
            }
            value.made = true;
            if value.text.len() > MAX_VALUE {
                self.at = start;
                return None;
            }
        }
        Some(value)
    }

    /// A name, a number, a call or an index whose value is not known.
    fn skip_operand(&mut self) -> bool {
        let start = self.at;
        let rest = self.rest();
        self.at += rest.len()
            - rest
                .trim_start_matches(|c: char| is_name_char(c) || matches!(c, '.' | '$'))
                .len();
        if self.rest().starts_with(['(', '['])
            && let Some(end) = self.line(&[]).find([')', ']'])
        {
            self.at += end + 1;
        }
        self.at > start
    }

    /// One value with what is done to it.
    fn single(&mut self, depth: usize) -> Option<Value> {
        let mut value = self.first(depth)?;
        loop {
            let rest = self.rest();
            let reversed = [
                "[::-1]",
                ".reverse",
                ".split('').reverse().join('')",
                ".split(\"\").reverse().join(\"\")",
            ];
            if let Some(word) = reversed.iter().rev().find(|word| rest.starts_with(**word)) {
                self.at += word.len();
                value = Value {
                    text: value.text.chars().rev().collect(),
                    made: true,
                };
            } else if self.take(".format(") {
                let given = self.list(depth, ')');
                value = Value {
                    text: fill(&value.text, &given),
                    made: true,
                };
            } else if self.take(".joinpath(") {
                let given = self.list(depth, ')');
                value = Value {
                    text: joined(std::iter::once(value.text).chain(given)),
                    made: true,
                };
            } else if self.take(".join(map(chr,[") || self.take(".join(map(chr, [") {
                let text = self.codes()?;
                self.take("))");
                value = Value { text, made: true };
            } else if self.take(".join([") || self.take(".join((") {
                let given = self.list(
                    depth,
                    if self.text[..self.at].ends_with('[') {
                        ']'
                    } else {
                        ')'
                    },
                );
                self.take(")");
                value = Value {
                    text: given.join(&value.text),
                    made: true,
                };
            } else if let Some(word) = [
                ".decode()",
                ".toString()",
                ".strip()",
                ".decode('utf-8')",
                ".expanduser()",
                ".resolve()",
                ".decode(\"utf-8\")",
            ]
            .iter()
            .find(|word| rest.starts_with(**word))
            {
                self.at += word.len();
            } else {
                return Some(value);
            }
            if value.text.len() > MAX_VALUE {
                return None;
            }
        }
    }

    /// A string, a known name, or a call that makes a text.
    fn first(&mut self, depth: usize) -> Option<Value> {
        let made = |text: String| Some(Value { text, made: true });
        let rest = self.rest();
        let boundary = !self.text[..self.at].ends_with(|c: char| is_name_char(c) || c == '.');
        let quoted = rest.starts_with(['\'', '"', '`']);
        if !quoted && !boundary {
            return None;
        }
        let word = word_of(rest.strip_prefix('$').unwrap_or(rest));
        if !quoted && !begins_value(word) && !self.names.contains_key(word) {
            return None;
        }
        if let Some(home) = HOMES.iter().find(|home| rest.starts_with(**home)) {
            self.at += home.len();
            return made("~".to_owned());
        }
        if let Some(call) = JOINS.iter().find(|call| rest.starts_with(**call)) {
            self.at += call.len();
            let parts = self.list(depth, ')');
            return (!parts.is_empty()).then(|| Value {
                text: joined(parts),
                made: true,
            });
        }
        if let Some(call) = SAME.iter().find(|call| rest.starts_with(**call)) {
            self.at += call.len();
            let value = self.value(depth + 1)?;
            self.blanks();
            return self.take(")").then_some(Value { made: true, ..value });
        }
        for (call, decode) in DECODERS {
            if rest.starts_with(call) {
                self.at += call.len();
                let value = self.value(depth + 1)?;
                let end = self.line(&[]).find(')').filter(|&end| end < 24)?;
                self.at += end + 1;
                return decode(&value.text).and_then(made);
            }
        }
        for call in ["bytes([", "bytearray([", "String.fromCharCode(...["] {
            if rest.starts_with(call) {
                self.at += call.len();
                let text = self.codes()?;
                self.take(")");
                return made(text);
            }
        }
        for call in ["chr(", "String.fromCharCode("] {
            if rest.starts_with(call) {
                let end = self.line(&[]).find(')')?;
                let code = |part: &str| part.trim().parse::<u32>().ok().and_then(char::from_u32);
                let text = rest[call.len()..end]
                    .split(',')
                    .map(code)
                    .collect::<Option<String>>()?;
                self.at += end + 1;
                return made(text);
            }
        }
        let prefix = matches!(word, "f" | "r" | "b" | "u" | "fr" | "rb")
            && rest[word.len()..].starts_with(['\'', '"']);
        if prefix || rest.starts_with(['\'', '"', '`']) {
            self.at += if prefix { word.len() } else { 0 };
            return self.string(word.contains('r'));
        }
        let name = word.len() + usize::from(rest.starts_with('$'));
        match self.names.get(word) {
            Some(Meaning::Text(text)) if !rest[name..].starts_with('(') => {
                let text = text.clone();
                self.at += name;
                made(text)
            }
            _ => None,
        }
    }

    /// Numbers up to `]`, as the characters that they are.
    fn codes(&mut self) -> Option<String> {
        let line = self.line(&[]);
        let end = line.find(']')?;
        let code = |part: &str| part.trim().parse::<u32>().ok().and_then(char::from_u32);
        let text = line[..end].split(',').map(code).collect::<Option<String>>()?;
        self.at += end + 1;
        Some(text)
    }

    fn string(&mut self, raw: bool) -> Option<Value> {
        let rest = self.rest();
        let quote = rest.chars().next()?;
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let mark = if rest.starts_with(&triple) {
            triple
        } else {
            quote.to_string()
        };
        let inner = &rest[mark.len()..];
        let mut end = 0;
        loop {
            let next = inner[end..]
                .find([quote, '\\', '\n'])
                .filter(|_| end <= MAX_VALUE)?
                + end;
            match inner.as_bytes()[next] {
                b'\\' => end = next + 1 + inner[next + 1..].chars().next()?.len_utf8(),
                b'\n' if mark.len() == 1 && quote != '`' => return None,
                _ if inner[next..].starts_with(&mark) => {
                    end = next;
                    break;
                }
                _ => end = next + 1,
            }
        }
        self.at += end + 2 * mark.len();
        let source = &inner[..end];
        let text = if raw {
            Cow::Borrowed(source)
        } else {
            unescaped(source)
        };
        let text = self.interpolated(&text);
        (text.len() <= MAX_VALUE).then(|| Value {
            made: text != source,
            text: text.into_owned(),
        })
    }

    /// `{name}`, `${name}`, `#{name}` as what it holds; the home folder by whatever says it.
    fn interpolated<'s>(&self, text: &'s str) -> Cow<'s, str> {
        if !text.contains('{') {
            return Cow::Borrowed(text);
        }
        let mut written = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..].find('}').map(|close| open + close) else {
                break;
            };
            let name = rest[open + 1..close].trim();
            let value = match self.names.get(name) {
                Some(Meaning::Text(text)) => Some(text.as_str()),
                _ if HOMES.contains(&name) => Some("~"),
                _ => None,
            };
            match value {
                Some(value) => {
                    written.push_str(rest[..open].trim_end_matches(['$', '#']));
                    written.push_str(value);
                }
                None => written.push_str(&rest[..=close]),
            }
            rest = &rest[close + 1..];
        }
        written.push_str(rest);
        Cow::Owned(written)
    }

    /// The values up to `close`; `*` for each that is not known.
    fn list(&mut self, depth: usize, close: char) -> Vec<String> {
        let mut values = Vec::new();
        while values.len() < MAX_NAMES {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            self.take("*");
            let value = self.value(depth + 1);
            let known = value.is_some();
            let rest = self.rest();
            let end = self.line(&[',', close, ';']).len();
            if rest.len() == end {
                break;
            }
            if known || end > 0 {
                let plain = rest[..end].trim().is_empty();
                values.push(value.filter(|_| plain).map_or("*".to_owned(), |value| value.text));
            }
            self.at += end;
            if !self.take(",") {
                self.take(close.encode_utf8(&mut [0; 4]));
                break;
            }
        }
        values
    }

    fn arguments_or_one(&mut self, depth: usize) -> Vec<String> {
        if self.take("(") {
            return self.list(depth, ')');
        }
        match self.single(depth + 1) {
            Some(value) => vec![value.text],
            None => {
                self.skip_operand();
                vec!["*".to_owned()]
            }
        }
    }
}

/// What the home folder is called.
const HOMES: &[&str] = &[
    "os.path.expanduser('~')",
    "os.path.expanduser(\"~\")",
    "os.environ['HOME']",
    "os.environ[\"HOME\"]",
    "os.environ.get('HOME')",
    "os.environ.get(\"HOME\")",
    "os.getenv('HOME')",
    "os.getenv(\"HOME\")",
    "pathlib.Path.home()",
    "Path.home()",
    "require('os').homedir()",
    "require(\"os\").homedir()",
    "os.homedir()",
    "process.env.HOME",
    "process.env['HOME']",
    "ENV['HOME']",
    "ENV[\"HOME\"]",
    "$ENV{HOME}",
    "getenv('HOME')",
    "getenv(\"HOME\")",
    "Dir.home",
    "Bun.env.HOME",
    "Deno.env.get('HOME')",
    "Deno.env.get(\"HOME\")",
];

/// Whether one of the calls and names below, or a string's prefix, begins with `word`.
fn begins_value(word: &str) -> bool {
    matches!(
        word,
        "os" | "pathlib"
            | "Path"
            | "require"
            | "process"
            | "ENV"
            | "getenv"
            | "Dir"
            | "Bun"
            | "Deno"
            | "path"
            | "File"
            | "glob"
            | "str"
            | "String"
            | "chr"
            | "base64"
            | "b64decode"
            | "base64_decode"
            | "Base64"
            | "decode_base64"
            | "atob"
            | "Buffer"
            | "bytes"
            | "bytearray"
            | "binascii"
            | "hex2bin"
            | "f"
            | "r"
            | "b"
            | "u"
            | "fr"
            | "rb"
    )
}

/// Calls that join the parts of a path.
const JOINS: &[&str] = &[
    "os.path.join(",
    "path.join(",
    "path.resolve(",
    "require('path').join(",
    "require(\"path\").join(",
    "File.join(",
    "File.expand_path(",
    "pathlib.Path(",
    "pathlib.PurePath(",
    "Path(",
];

/// Calls that give what they are given, or nearly.
const SAME: &[&str] = &[
    "os.path.expanduser(",
    "os.path.abspath(",
    "os.path.expandvars(",
    "glob.glob(",
    "glob.iglob(",
    "Dir.glob(",
    "str(",
    "String(",
];

/// Functions that run a text, by whatever name they are called.
const RUNNERS: &[&str] = &[
    "exec",
    "execSync",
    "spawn",
    "spawnSync",
    "execFile",
    "execFileSync",
    "system",
    "popen",
];

type Decode = fn(&str) -> Option<String>;

/// Calls that decode a text.
const DECODERS: &[(&str, Decode)] = &[
    ("base64.b64decode(", base64),
    ("b64decode(", base64),
    ("base64_decode(", base64),
    ("Base64.decode64(", base64),
    ("decode_base64(", base64),
    ("atob(", base64),
    ("Buffer.from(", base64),
    ("bytes.fromhex(", hex),
    ("bytearray.fromhex(", hex),
    ("binascii.unhexlify(", hex),
    ("hex2bin(", hex),
];

fn base64(text: &str) -> Option<String> {
    String::from_utf8(super::prints::base64(text)?).ok()
}

fn hex(text: &str) -> Option<String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.chunks(2).map(pair).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name at the beginning of `text`.
fn word_of(text: &str) -> &str {
    let end = text.find(|c: char| !is_name_char(c)).unwrap_or(text.len());
    &text[..end]
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_char)
}

/// Parts of a path; what is absolute begins anew.
fn joined(parts: impl IntoIterator<Item = String>) -> String {
    let mut path = String::new();
    for part in parts {
        if part.starts_with(['/', '~']) || path.is_empty() {
            path = part;
        } else {
            path = format!("{}/{part}", path.trim_end_matches('/'));
        }
    }
    path
}

/// `{}`, `{0}`, `%s` replaced by what is given.
fn fill(text: &str, given: &[String]) -> String {
    let mut written = String::new();
    let mut rest = text;
    let mut next = given.iter();
    while let Some(at) = rest.find(['{', '%']) {
        written.push_str(&rest[..at]);
        let (length, fits) = if rest[at..].starts_with('%') {
            (
                2.min(rest.len() - at),
                rest[at..].starts_with("%s") || rest[at..].starts_with("%d"),
            )
        } else {
            let close = rest[at..].find('}').map_or(1, |close| close + 1);
            (close, close > 1)
        };
        let length = if rest.is_char_boundary(at + length) {
            length
        } else {
            1
        };
        match next.next().filter(|_| fits) {
            Some(value) => written.push_str(value),
            None => written.push_str(&rest[at..at + length]),
        }
        rest = &rest[at + length..];
    }
    written.push_str(rest);
    written
}

/// `\x2f`, `\u002f`, `\n` and their like as what they stand for.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut written = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        written.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let code = |from: usize, digits: usize, radix| {
            let code = behind
                .get(from..from + digits)
                .and_then(|code| u32::from_str_radix(code, radix).ok());
            code.and_then(char::from_u32).map(|c| (c, from + digits))
        };
        let (c, length) = match behind.chars().next() {
            Some('x') => code(1, 2, 16).unwrap_or(('x', 1)),
            Some('u') => code(1, 4, 16).unwrap_or(('u', 1)),
            Some('0'..='1') => code(0, 3, 8).unwrap_or(('\0', 1)),
            Some('n') => ('\n', 1),
            Some('t') => ('\t', 1),
            Some('r') => ('\r', 1),
            Some(c) => (c, c.len_utf8()),
            None => ('\\', 0),
        };
        written.push(c);
        rest = &behind[length..];
    }
    written.push_str(rest);
    Cow::Owned(written)
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
