//! Code of a language cut into code, quoted texts and comments, as far as is needed to say what in it runs texts.

/// A language, by how it writes quoted texts and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Script,
    Go,
    Rust,
    /// Java, Kotlin, C#, Swift, Scala.
    Classes,
    C,
    Dart,
}

impl Language {
    pub(super) fn of(path: &str) -> Option<Self> {
        let (_, end) = path.rsplit_once('.')?;
        Some(match end {
            "py" | "pyw" | "pyi" => Self::Python,
            "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" => Self::Script,
            "go" => Self::Go,
            "rs" => Self::Rust,
            "java" | "kt" | "cs" | "swift" | "scala" => Self::Classes,
            "c" | "h" | "cc" | "cpp" | "hpp" => Self::C,
            "dart" => Self::Dart,
            _ => return None,
        })
    }

    /// Whether `'` begins a text, not one character.
    fn single_quotes(self) -> bool {
        matches!(self, Self::Python | Self::Script | Self::Dart)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Quoted,
    Comment,
}

/// A text in parts; each ends where the next begins.
pub(super) struct Parts<'t> {
    parts: Vec<(Kind, &'t str)>,
}

/// Most parts of one text; a longer one is not looked at, and acts as a whole.
const MAX_PARTS: usize = 1 << 16;

/// The parts of `text`; `None` where they cannot be told for sure.
pub(super) fn parts(language: Language, text: &str) -> Option<Parts<'_>> {
    let bytes = text.as_bytes();
    let mut found: Vec<(Kind, &str)> = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while at < bytes.len() {
        let rest = text.get(at..)?;
        let (kind, length) = match piece(language, &text[..at], rest)? {
            Some(piece) => piece,
            None => {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            }
        };
        if begin < at {
            found.push((Kind::Code, text.get(begin..at)?));
        }
        found.push((kind, text.get(at..at + length)?));
        at += length;
        begin = at;
        if found.len() > MAX_PARTS {
            return None;
        }
    }
    if begin < text.len() {
        found.push((Kind::Code, text.get(begin..)?));
    }
    Some(Parts { parts: found })
}

/// The comment or quoted text with which `rest` begins, and its length; the outer `None` where it is not sure.
fn piece(language: Language, before: &str, rest: &str) -> Option<Option<(Kind, usize)>> {
    let line = || rest.find('\n').unwrap_or(rest.len());
    // What stands behind `:` is an address, in a text that was not seen to be one.
    let slashes = language != Language::Python && !before.ends_with(':');
    // No text begins within a word: an apostrophe between tags, a prefix that is not known.
    if rest.starts_with(['"', '\'']) && language.single_quotes() && ends_in_word(language, before) {
        return None;
    }
    Some(Some(match rest.as_bytes() {
        [b'#', ..] if language == Language::Python => (Kind::Comment, line()),
        [b'/', b'/', ..] if slashes => (Kind::Comment, line()),
        [b'/', b'*', ..] if slashes => (Kind::Comment, rest.find("*/")? + 2),
        [b'/', ..] if language == Language::Script => (Kind::Code, pattern(before, rest)?),
        [b'"', b'"', b'"', ..]
            if matches!(language, Language::Python | Language::Classes | Language::Dart) =>
        {
            quoted(language, before, rest, 3 + rest[3..].find("\"\"\"")? + 3)?
        }
        [b'\'', b'\'', b'\'', ..] if matches!(language, Language::Python | Language::Dart) => {
            quoted(language, before, rest, 3 + rest[3..].find("'''")? + 3)?
        }
        [b'"', ..] if language == Language::Rust && before.ends_with("r#") => {
            (Kind::Quoted, 1 + rest[1..].find("\"#")? + 1)
        }
        [b'"', ..] if language == Language::Rust && before.ends_with("##") => return None,
        [b'"', ..] if language == Language::C && before.ends_with('R') => return None,
        [b'"', ..] => quoted(
            language,
            before,
            rest,
            closed(rest, b'"', language == Language::Rust)?,
        )?,
        [b'\'', ..] if language.single_quotes() => {
            quoted(language, before, rest, closed(rest, b'\'', false)?)?
        }
        [b'\'', ..] => match character(rest) {
            Some(length) => (Kind::Code, length),
            None => return Some(None),
        },
        [b'`', ..] if language == Language::Go => (Kind::Quoted, 1 + rest[1..].find('`')? + 1),
        [b'`', ..] if language == Language::Script => {
            let length = closed(rest, b'`', true)?;
            // A tag before it is a function that is given the text: `$`, `sh`, `run`.
            let tagged =
                before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | ')' | ']'));
            (
                filled(&rest[..length], "${").then_some(if tagged || rest[..length].contains("${") {
                    Kind::Code
                } else {
                    Kind::Quoted
                })?,
                length,
            )
        }
        _ => return Some(None),
    }))
}

/// Whether the code before a quote ends in a word that is not made to stand there.
fn ends_in_word(language: Language, before: &str) -> bool {
    let word = before
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default();
    match language {
        Language::Python => word.len() > 2 || !word.bytes().all(|byte| b"rbfutRBFUT".contains(&byte)),
        _ => !matches!(
            word,
            "" | "return" | "case" | "from" | "import" | "typeof" | "in" | "of"
        ),
    }
}

/// A quoted text of this length, which is code where code stands in it.
fn quoted(language: Language, before: &str, rest: &str, length: usize) -> Option<(Kind, usize)> {
    let text = rest.get(..length)?;
    let mark = match language {
        Language::Python => {
            let prefix = before
                .rsplit(|c: char| !c.is_ascii_alphabetic())
                .next()
                .unwrap_or_default();
            (prefix.len() <= 2 && prefix.contains(['f', 'F', 't'])).then_some("{")
        }
        Language::Dart => Some("${"),
        Language::Classes => Some(if before.ends_with(['$', '@']) {
            "{"
        } else if text.contains("\\(") {
            "\\("
        } else {
            "${"
        }),
        _ => None,
    };
    let kind = match mark {
        Some(mark) if text.contains(mark) => {
            if !filled(text, mark) {
                return None;
            }
            Kind::Code
        }
        _ => Kind::Quoted,
    };
    Some((kind, length))
}

/// Whether all code that stands in a quoted text also ends in it.
fn filled(text: &str, mark: &str) -> bool {
    let close = if mark.ends_with('(') { ')' } else { '}' };
    text.match_indices(mark)
        .last()
        .is_none_or(|(at, _)| text[at..].contains(close))
}

/// The length of a text in quotes, quotes included; `None` if they do not close.
fn closed(rest: &str, quote: u8, over_lines: bool) -> Option<usize> {
    let mut bytes = rest.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'\n' if !over_lines => return None,
            _ if byte == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The length of one character in quotes: `'a'`, `'\n'`, `'\u{1F600}'`.
fn character(rest: &str) -> Option<usize> {
    const LONGEST: usize = 12;
    let length = closed(rest, b'\'', false)?;
    let inner = rest.get(1..length - 1)?;
    (inner.chars().count() == 1 || inner.starts_with('\\') && inner.len() <= LONGEST).then_some(length)
}

/// Longest regular expression that is looked for (bytes).
const MAX_PATTERN: usize = 1024;

/// The length of the regular expression with which `rest` begins, or of a slash that begins none; `None` where a quote behind
/// it may stand in one or not.
fn pattern(before: &str, rest: &str) -> Option<usize> {
    let near = &rest[1..rest.floor_char_boundary(rest.len().min(MAX_PATTERN))];
    let line = near.split('\n').next().unwrap_or_default();
    if line.len() + 1 == MAX_PATTERN && !line.contains('/') {
        return None;
    }
    if !begins_value(before) {
        let next = line.find('/').unwrap_or(0);
        return (!line[..next].contains(['"', '\'', '`'])).then_some(1);
    }
    let mut class = false;
    let mut bytes = line.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'[' => class = true,
            b']' => class = false,
            b'/' if !class => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Whether a `/` behind this begins a regular expression: where a value is awaited nothing can be divided.
fn begins_value(before: &str) -> bool {
    const WORDS: &[&str] = &[
        "return", "typeof", "case", "in", "of", "void", "delete", "else", "do", "await", "yield", "throw",
    ];
    let before = before.trim_end();
    let word = before
        .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$')
        .next();
    before.ends_with([
        '(', ',', '=', ':', '[', '!', '&', '|', '?', '{', ';', '+', '-', '*', '%',
    ]) || before.ends_with("=>")
        || word.is_some_and(|word| WORDS.contains(&word))
}

/// Names that run a text, whole or as a word of a longer name (`create_subprocess_shell`, `execFileSync`).
const RUNNERS: &[&str] = &[
    "subprocess",
    "popen",
    "popen2",
    "popen3",
    "exec",
    "execute",
    "execv",
    "execve",
    "execvp",
    "execvpe",
    "execl",
    "execle",
    "execlp",
    "execlpe",
    "execa",
    "execfile",
    "spawn",
    "spawnl",
    "spawnlp",
    "spawnv",
    "spawnvp",
    "system",
    "eval",
    "getattr",
    "globals",
    "locals",
    "__dict__",
    "__getattribute__",
    "__globals__",
    "__class__",
    "__subclasses__",
    "__loader__",
    "attrgetter",
    "methodcaller",
    "runpy",
    "vars",
    "importlib",
    "import_module",
    "__import__",
    "__builtins__",
    "builtins",
    "ctypes",
    "cdll",
    "dlopen",
    "ffi",
    "pexpect",
    "paramiko",
    "fabric",
    "plumbum",
    "shelljs",
    "zx",
    "pty",
    "openpty",
    "forkpty",
    "syscall",
    "runtime",
    "getstatusoutput",
    "getoutput",
    "check_output",
    "check_call",
    "processbuilder",
    "child_process",
    "pickle",
    "marshal",
    "unsafe",
    "libc",
    "docker",
    "ssh",
    "kubernetes",
    "crontab",
];

/// Names that do so in the scripts of browsers and Node, as written.
const SCRIPT_RUNNERS: &[&str] = &[
    "Function",
    "globalThis",
    "Reflect",
    "vm",
    "constructor",
    "WebAssembly",
    "Deno",
    "Bun",
];

/// Names of functions and settings that often run what they are given, or hand it to what does.
const HANDLES: &[&str] = &[
    "run",
    "shell",
    "bash",
    "sh",
    "cmd",
    "command",
    "commands",
    "script",
    "scripts",
    "process",
    "invoke",
    "launch",
    "task",
    "job",
    "args",
    "entrypoint",
    "hook",
    "hooks",
    "call",
    "perform",
    "write",
    "writefile",
    "append",
    "send",
    "sendall",
    "post",
    "put",
    "publish",
    "upload",
    "dump",
    "print",
    "println",
    "printf",
    "fprintf",
    "fputs",
    "puts",
    "log",
    "schedule",
    "exports",
    "request",
    "fetch",
    "open",
];

/// Words in the names of modules that run texts.
const MODULES: &[&str] = &[
    "child", "cluster", "worker", "workers", "vm", "process", "ssh2", "shell", "bash", "sh", "exec", "run",
    "script", "sandbox", "command", "cmd", "remote",
];

/// Of these the ones that say so in a test too.
const SHELLS: &[&str] = &["shell", "bash", "sh"];

impl Parts<'_> {
    /// The text without comments, and without what stands in quotes unless that acts too.
    pub(super) fn joined(&self, quoted_acts: bool) -> String {
        let mut out = String::new();
        for (kind, part) in &self.parts {
            match kind {
                Kind::Code => out.push_str(part),
                Kind::Quoted if quoted_acts || is_argument(part) => out.push_str(part),
                Kind::Quoted => out.push_str("\"text\""),
                Kind::Comment => out.push(' '),
            }
        }
        out
    }

    /// Whether something in the code runs texts, or may; in a test only what is sure to.
    pub(super) fn runs(&self, language: Language, test: bool) -> bool {
        let mut imports = false;
        for (at, (kind, part)) in self.parts.iter().enumerate() {
            let next = self.parts.get(at + 1).map_or("", |(_, next)| next);
            match kind {
                Kind::Comment => continue,
                Kind::Quoted => {
                    let inner = part.trim_matches(['"', '\'', '`']);
                    // `{"command": "…"}` says what something else is to run.
                    let key = !test
                        && next.trim_start().starts_with([':', ']'])
                        && inner
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                    let named = |word: &str| {
                        is_runner(language, word) || if imports { MODULES } else { HANDLES }.contains(&word)
                    };
                    if (imports || key) && words(inner).any(|word| named(&word)) {
                        return true;
                    }
                }
                Kind::Code => {
                    // Scala runs a text by a mark behind it.
                    if language == Language::Classes && at > 0 && part.trim_start().starts_with(".!") {
                        return true;
                    }
                    if names(language, part, next, test) {
                        return true;
                    }
                }
            }
            // `require('child_process')`, `import … from 'child_process'`, Go's list of imports.
            imports = *kind == Kind::Code && is_import(part)
                || imports && *kind == Kind::Quoted && language == Language::Go
                || imports && *kind == Kind::Code && part.trim().is_empty();
        }
        false
    }
}

/// Whether a quoted text is a path, a name or a pattern, which calls are given that run no texts.
fn is_argument(quoted: &str) -> bool {
    let inner = quoted.trim_matches(['"', '\'', '`']);
    let path = inner.starts_with(['/', '~', '.']) || !inner.contains([' ', '\n', '\t']);
    path && !inner.contains(['(', '|', ';', '&', '<', '>'])
        && !inner.starts_with("/dev/tcp")
        && !inner.starts_with("/dev/udp")
}

/// Whether code ends where the name of a module is awaited.
fn is_import(code: &str) -> bool {
    let code = code.trim_end().trim_end_matches('(').trim_end();
    ["require", "import", "from", "resolve"]
        .iter()
        .any(|word| code.ends_with(word))
}

fn is_runner(language: Language, word: &str) -> bool {
    RUNNERS.contains(&word) && !(word == "system" && language == Language::Classes)
}

/// Whether a name in `code` runs texts. `next` is the part behind it.
fn names(language: Language, code: &str, next: &str, test: bool) -> bool {
    const DEFINES: &[&str] = &[
        "def",
        "fn",
        "func",
        "function",
        "class",
        "fun",
        "void",
        "struct",
        "interface",
    ];
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    const IMPORTS: &[&str] = &["import", "from", "use", "using"];
    let mut last = "";
    // The first word of the line.
    let mut first = "";
    let mut rest = code;
    while let Some(begin) = rest.find(is_name) {
        let gap = &rest[..begin];
        let tail = &rest[begin..];
        let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
        let (name, behind) = (&tail[..end], &tail[end..]);
        let defined =
            DEFINES.contains(&last) || name.len() > 2 && !name.chars().any(|c| c.is_ascii_lowercase());
        let handed = {
            let behind = behind.trim_start();
            let behind = if behind.is_empty() { next } else { behind };
            behind.starts_with(['(', ':', '`']) || behind.starts_with('=') && !behind.starts_with("==")
        };
        if first.is_empty() || gap.contains('\n') {
            first = name;
        }
        let imported = IMPORTS.contains(&first);
        // `pattern.exec(text)` looks for something; in Node what runs is of a module that is named.
        let matches = language == Language::Script && name == "exec" && gap.ends_with('.');
        let found = words(name).any(|word| {
            is_runner(language, &word)
                || imported && MODULES.contains(&&*word)
                || handed && if test { SHELLS } else { HANDLES }.contains(&&*word)
        }) || is_runner(language, &name.to_ascii_lowercase())
            || language == Language::Script && (SCRIPT_RUNNERS.contains(&name) || name == "$" && handed)
            || language != Language::Python && matches!(name, "Process" | "ProcessStartInfo" | "Command");
        // A module whose name is worked out may be any.
        let computed = matches!(name, "require" | "import")
            && behind
                .trim_start()
                .strip_prefix('(')
                .is_some_and(|inner| !inner.trim().is_empty());
        if computed || found && !defined && !matches {
            return true;
        }
        last = name;
        rest = behind;
    }
    false
}

/// The words of a name, in lower case: `execFileSync` is `exec`, `file`, `sync`.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut found: Vec<String> = Vec::new();
    let mut low = false;
    let mut open = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            (open, low) = (false, false);
            continue;
        }
        if !open || low && c.is_ascii_uppercase() {
            found.push(String::new());
        }
        if let Some(word) = found.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
        (open, low) = (true, !c.is_ascii_uppercase());
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(path: &str, text: &str) -> Option<bool> {
        let language = Language::of(path).unwrap();
        parts(language, text).map(|parts| parts.runs(language, false))
    }

    fn left(path: &str, text: &str) -> Option<String> {
        parts(Language::of(path).unwrap(), text).map(|parts| parts.joined(false))
    }

    #[test]
    fn what_runs_texts_is_seen() {
        for (path, text) in [
            ("a.py", "import os\nos.system(X)"),
            ("a.py", "from subprocess import run"),
            ("a.py", "getattr(m, 'x')(X)"),
            ("a.py", "x = f\"{__import__('os').popen('id')}\""),
            ("a.js", "const c = require('child_process'); c.go(X)"),
            ("a.js", "const c = require('child_' + 'process')"),
            ("a.js", "import('node:vm')"),
            ("a.ts", "$`id`"),
            ("a.js", "new Function(x)"),
            ("a.js", "x = `${eval(y)}`"),
            ("a.go", "import \"os/exec\""),
            ("a.rs", "Command::new(x)"),
            ("a.java", "Runtime.getRuntime().exec(x)"),
            ("a.cs", "Process.Start(x)"),
            ("a.c", "system(x);"),
            ("a.py", "BashOperator(bash_command='x y')"),
            ("a.py", "{\"command\": \"x y\"}"),
        ] {
            assert_eq!(runs(path, text), Some(true), "{text}");
        }
    }

    #[test]
    fn what_only_compares_does_not() {
        for (path, text) in [
            ("a.py", "import re\nassert match(BAD)  # exec(x)"),
            ("a.py", "def test_shell_exec():\n    assert x('eval(y)')"),
            ("a.js", "expect(check('exec(x)')).toBe(true)"),
            ("a.js", "const m = /a'b/.exec(text)"),
            ("a.java", "System.out.flush();"),
            ("a.rs", "let c = 'x'; assert!(denies(\"system(x)\"));"),
        ] {
            assert_eq!(runs(path, text), Some(false), "{text}");
        }
    }

    #[test]
    fn quotes_that_may_be_none_are_not_read() {
        for text in ["if (x) /'/.test(a); exec('b')", "'a\nb'", "`${`a`", "a /* b"] {
            assert_eq!(left("a.js", text), None, "{text}");
        }
        assert_eq!(left("a.py", "x = \"\"\"a\nb"), None);
    }

    #[test]
    fn paths_stay_and_commands_go() {
        let kept = left("a.py", "rm('/a b', 'c', 'd | e')  # f");
        assert_eq!(kept.as_deref(), Some("rm('/a b', 'c', \"text\")   "));
    }
}
