//! What a value can look like: calls and names that are known, and how their parts are put together.

use std::borrow::Cow;

use super::super::prints;

/// What the home folder is called.
pub(super) const HOMES: &[&str] = &[
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
pub(super) fn begins_value(word: &str) -> bool {
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
pub(super) const JOINS: &[&str] = &[
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
pub(super) const SAME: &[&str] = &[
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
pub(super) const RUNNERS: &[&str] = &[
    "exec",
    "execSync",
    "spawn",
    "spawnSync",
    "execFile",
    "execFileSync",
    "system",
    "popen",
];

pub(super) type Decode = fn(&str) -> Option<String>;

/// Calls that decode a text.
pub(super) const DECODERS: &[(&str, Decode)] = &[
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
    String::from_utf8(prints::base64(text)?).ok()
}

fn hex(text: &str) -> Option<String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.chunks(2).map(pair).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A byte that belongs to a name.
const NAME: u8 = 1;
/// A byte with which a name, a string or a variable begins.
const BEGINS: u8 = 2;
/// A byte of a character that only Unicode's tables tell of.
const BEYOND: u8 = 4;

const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let one = byte as u8;
        kinds[byte] = if one.is_ascii_alphanumeric() || one == b'_' {
            NAME | BEGINS
        } else if matches!(one, b'\'' | b'"' | b'`' | b'$') {
            BEGINS
        } else if one.is_ascii() {
            0
        } else {
            BEYOND
        };
        byte += 1;
    }
    kinds
};

/// The name at the beginning of `text`.
pub(super) fn word_of(text: &str) -> &str {
    let plain = text
        .bytes()
        .position(|byte| KINDS[usize::from(byte)] & NAME == 0)
        .unwrap_or(text.len());
    let rest = &text[plain..];
    if rest.bytes().next().is_none_or(|byte| byte.is_ascii()) {
        return &text[..plain];
    }
    let end = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
    &text[..plain + end]
}

/// Where at or behind `from` a name, a string or a variable can begin.
pub(super) fn next_beginning(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = text.get(at..)?;
        at += rest
            .bytes()
            .position(|byte| KINDS[usize::from(byte)] & (BEGINS | BEYOND) != 0)?;
        let next = text[at..].chars().next()?;
        if next.is_ascii() || is_name_char(next) {
            return Some(at);
        }
        at += next.len_utf8();
    }
}

pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_char)
}

/// Parts of a path; what is absolute begins anew.
pub(super) fn joined<'t>(parts: impl IntoIterator<Item = Cow<'t, str>>) -> String {
    let mut path = String::new();
    for part in parts {
        if part.starts_with(['/', '~']) || path.is_empty() {
            path = part.into_owned();
        } else {
            path = format!("{}/{part}", path.trim_end_matches('/'));
        }
    }
    path
}

/// `{}`, `{0}`, `%s` replaced by what is given.
pub(super) fn fill(text: &str, given: &[Cow<'_, str>]) -> String {
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
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
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
