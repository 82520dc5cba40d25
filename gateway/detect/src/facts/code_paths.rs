//! What source text of another language does with the paths that it names: `open(PATH, 'w')`, `shutil.copy(A, B)`,
//! `fs.renameSync(A, B)`.
//!
//! Not parsed: from a quoted path it is looked back for the call whose argument it is.

use std::borrow::Cow;

use super::code::strings;
use super::groups::Group;
use super::spotted::Spotted;
use super::{Access, Analysis, landing, places};
use crate::paths::PathRules;
use crate::shell::{Field, Scope};

/// What a call does with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Writes the first.
    Writes,
    /// Copies or links the first to the second, which is written.
    Copies,
    /// Takes the first away and writes the second.
    Moves,
    /// Puts files of any name into the second, or the only one.
    Unpacks,
}

use Does::{Copies, Moves, Unpacks, Writes};

/// Calls by the end of their name. A longer one stands before those that it ends with.
const CALLS: &[(&str, Does)] = &[
    ("writeFile", Writes),
    ("writeFileSync", Writes),
    ("writeTextFile", Writes),
    ("writeTextFileSync", Writes),
    ("appendFile", Writes),
    ("appendFileSync", Writes),
    ("createWriteStream", Writes),
    ("outputFile", Writes),
    ("outputFileSync", Writes),
    ("File.write", Writes),
    ("File.binwrite", Writes),
    ("IO.write", Writes),
    ("IO.binwrite", Writes),
    ("Bun.write", Writes),
    ("file_put_contents", Writes),
    ("savetxt", Writes),
    ("write_text", Writes),
    ("os.truncate", Writes),
    ("truncateSync", Writes),
    ("shutil.copyfile", Copies),
    ("shutil.copytree", Copies),
    ("shutil.copy2", Copies),
    ("shutil.copy", Copies),
    ("copyfile", Copies),
    ("copytree", Copies),
    ("copyFileSync", Copies),
    ("copyFile", Copies),
    ("copySync", Copies),
    ("cpSync", Copies),
    ("fs.cp", Copies),
    ("fs.copy", Copies),
    ("os.symlink", Copies),
    ("os.link", Copies),
    ("symlinkSync", Copies),
    ("linkSync", Copies),
    ("fs.symlink", Copies),
    ("fs.link", Copies),
    ("FileUtils.cp", Copies),
    ("FileUtils.cp_r", Copies),
    ("FileUtils.copy", Copies),
    ("FileUtils.copy_file", Copies),
    ("FileUtils.install", Copies),
    ("FileUtils.ln", Copies),
    ("FileUtils.ln_s", Copies),
    ("FileUtils.ln_sf", Copies),
    ("File.symlink", Copies),
    ("File.link", Copies),
    ("IO.copy_stream", Copies),
    ("urlretrieve", Copies),
    ("getstore", Copies),
    ("symlink", Copies),
    ("copy", Copies),
    ("cp", Copies),
    ("link", Copies),
    ("shutil.move", Moves),
    ("os.rename", Moves),
    ("os.renames", Moves),
    ("os.replace", Moves),
    ("renameSync", Moves),
    ("moveSync", Moves),
    ("fs.rename", Moves),
    ("fs.move", Moves),
    ("File.rename", Moves),
    ("FileUtils.mv", Moves),
    ("FileUtils.move", Moves),
    ("move_uploaded_file", Moves),
    ("rename", Moves),
    ("move", Moves),
    ("extractall", Unpacks),
    ("extractTo", Unpacks),
    ("unpack_archive", Unpacks),
];

/// The words of [`CALLS`], of which one stands in every text that is looked at more closely.
pub(super) const WORDS: &[&str] = &[
    "riteFile",
    "riteTextFile",
    "ppendFile",
    "riteStream",
    "utputFile",
    "File.write",
    "File.binwrite",
    "IO.write",
    "IO.binwrite",
    "Bun.write",
    "file_put_contents",
    "savetxt",
    "write_text",
    "truncate",
    "copy",
    "Copy",
    "cpSync",
    ".cp",
    "cp(",
    "cp \"",
    "cp '",
    "link",
    "urlretrieve",
    "getstore",
    "rename",
    "move",
    "replace",
    "FileUtils",
    "extract",
    "unpack_archive",
];

/// How far back it is looked for the call (bytes): an argument or two, and what they are wrapped in.
const REACH: usize = 320;
/// Most calls that one path is wrapped in: `Path(os.path.expanduser('~/x'))`.
const MAX_WRAPS: usize = 4;

/// Notes the paths that `code` names, with what it does with them.
pub(super) fn named(analysis: &mut Analysis, code: &Spotted<'_>, scope: &Scope<'_>) {
    let mut before = "";
    for (quoted, rest) in strings(code.text) {
        path(analysis, code, (before, quoted, rest), scope);
        before = quoted;
    }
}

/// One quoted string: the one before it, itself, and what stands behind it.
fn path(
    analysis: &mut Analysis,
    code: &Spotted<'_>,
    (before, quoted, rest): (&str, &str, &str),
    scope: &Scope<'_>,
) {
    // Perl: `open(F, ">>PATH")`.
    let bare = quoted.trim_start_matches(['>', '+', '<', ' ']);
    let opened = bare.len() < quoted.len() && quoted.contains('>');
    let written = if opened { bare } else { quoted };
    let text = match (written.strip_prefix("~/"), scope.home) {
        (Some(rest), Some(home)) => Cow::Owned(format!("{home}/{rest}")),
        _ => Cow::Borrowed(written),
    };
    let class = analysis.rules.classify(&text);
    let sensitive = is_sensitive(analysis.rules, &text, class);
    let at = code.text.len() - rest.len() - quoted.len() - 2;
    let handles = code.has(Group::HandlesFile) && !text.contains(char::is_whitespace);
    let call = handles.then(|| call_of(&code.text[..at])).flatten();
    let field = Field {
        glob: text.contains('*'),
        ..Field::literal(text.as_ref())
    };
    let places = match call {
        Some((Copies | Moves, 1)) => {
            class == Some("system-tree") || landing::matters(analysis, &field, scope)
        }
        Some((Unpacks, _)) => landing::matters(analysis, &field, scope),
        _ => false,
    };
    if !sensitive && class.is_none() && !places {
        return;
    }
    match call {
        Some((Unpacks, _)) if places => landing::filled(analysis, &field, scope),
        Some((Copies | Moves, _)) if places => {
            let source = Field::literal(before);
            landing::copied(analysis, &[&source], &field, landing::Manner::default(), scope);
        }
        Some((Moves, 0)) => {
            analysis.path(Access::Read, &field, scope);
            analysis.path(Access::Write, &field, scope);
        }
        Some((Writes, 0) | (Copies | Moves, 1)) => analysis.path(Access::Write, &field, scope),
        Some((Copies, 0)) if !sensitive => {}
        Some((Copies, 0)) => analysis.path(Access::Read, &field, scope),
        _ if opened || is_written(&code.text[..at], before, rest) => {
            analysis.path(Access::Write, &field, scope);
        }
        _ if sensitive => analysis.path(Access::Read, &field, scope),
        _ => {}
    }
}

/// Whether a path, which is of `class` as it is written, gives a secret away.
fn is_sensitive(rules: &PathRules, path: &str, class: Option<&str>) -> bool {
    let class = if path.contains('*') {
        rules.classify_glob(path)
    } else {
        class
    };
    let class = class.or_else(|| path.strip_prefix('/').and_then(|tail| rules.classify(tail)));
    class.is_some_and(|class| places::is_secret(rules, class))
}

/// Whether what stands around a path says that it is written: `open(PATH, "w")`, `Path(PATH).write_text(…)`, Perl's
/// `open(F, ">", PATH)`.
fn is_written(text: &str, before: &str, rest: &str) -> bool {
    let modes = |text: &str| {
        let text = text.trim_start();
        let text = text
            .strip_prefix("mode")
            .map_or(text, |text| text.trim_start().trim_start_matches([':', '=']));
        text.trim_start().strip_prefix(['"', '\'']).is_some_and(is_mode)
    };
    // Behind the path, the wrapper's end and what gives the same path again: `Path(PATH).expanduser().open('w')`.
    let mut behind = rest.trim_start_matches(')');
    for same in [".expanduser()", ".resolve()", ".absolute()"] {
        behind = behind
            .strip_prefix(same)
            .unwrap_or(behind)
            .trim_start_matches(')');
    }
    let method = ["write_text", "write_bytes", "symlink_to", "hardlink_to", "touch"]
        .iter()
        .any(|name| {
            behind
                .strip_prefix('.')
                .is_some_and(|behind| behind.starts_with(name))
        });
    let opens = behind.strip_prefix(".open(").is_some_and(modes);
    let second = rest.trim_start_matches(')').trim_start().strip_prefix(',');
    let flags = second.is_some_and(|rest| {
        let end = rest.floor_char_boundary(80.min(rest.len()));
        let rest = rest[..end].split([')', ';', '\n']).next().unwrap_or_default();
        ["O_WRONLY", "O_RDWR", "O_APPEND", "O_CREAT", "O_TRUNC", "WRONLY"]
            .iter()
            .any(|flag| rest.contains(flag))
    });
    let perl = matches!(before, ">" | ">>" | "+<" | "+>" | "+>>")
        || before.starts_with(">:")
        || before.starts_with(">>:");
    let follows = text.trim_end().ends_with(',');
    // `Path('x').rename(PATH)`: the only argument is what it becomes.
    let becomes = [".rename(", ".replace("]
        .iter()
        .any(|call| text.ends_with(call) && rest.trim_start().starts_with(')'));
    method || opens || flags || second.is_some_and(modes) || perl && follows || becomes
}

/// Whether a quoted text begins that says how a file is opened, and that it is to be written.
fn is_mode(text: &str) -> bool {
    let mode = text.split(['"', '\'']).next().unwrap_or_default();
    let letters = mode.bytes().all(|byte| b"rwaxbtce+".contains(&byte));
    let writes = mode.starts_with(['w', 'a', 'x']) || mode.starts_with("r+") || mode.starts_with("rb+");
    mode.starts_with('>') || mode.starts_with("+<") || writes && letters
}

/// What the call does in whose arguments `text` ends, and which of them would follow.
fn call_of(text: &str) -> Option<(Does, usize)> {
    let mut text = &text[text.floor_char_boundary(text.len().saturating_sub(REACH))..];
    for _ in 0..MAX_WRAPS {
        let (callee, at, closed) = open_call(text);
        let name = callee.trim_end();
        if let Some(does) = known(name) {
            return Some((does, at));
        }
        if !closed || !WRAPS.iter().any(|wrap| name.ends_with(wrap)) {
            return None;
        }
        text = name.trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | ':'));
    }
    None
}

/// What only makes a path of another: its argument is the outer call's.
const WRAPS: &[&str] = &[
    "expanduser",
    "expand_path",
    "join",
    "resolve",
    "Path",
    "PurePath",
    "abspath",
    "realpath",
    "expandvars",
    "normalize",
    "str",
    "String",
    "Pathname.new",
    "Paths.get",
    "Path.of",
];

/// What the call named `name` does with its arguments.
fn known(name: &str) -> Option<Does> {
    let (_, does) = CALLS.iter().find(|(call, _)| {
        name.strip_suffix(call).is_some_and(|before| {
            let method = before.ends_with('.') && call.contains('.');
            !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$'))
                && (!before.ends_with('.') || method || is_module(before) || !PLAIN.contains(call))
        })
    })?;
    Some(*does)
}

/// Calls whose name alone says little: as methods of a value they mean something else.
const PLAIN: &[&str] = &["copy", "cp", "move", "rename", "link", "symlink", "write_text"];

/// Whether a name with its dot at the end is a module for files.
fn is_module(before: &str) -> bool {
    [
        "fs.",
        "os.",
        "shutil.",
        "Deno.",
        "fsp.",
        "fse.",
        "promises.",
        "fs').",
        "fs\").",
        "promises').",
        "promises\").",
        "extra').",
        "extra\").",
    ]
    .iter()
    .any(|module| before.ends_with(module))
}

/// The call whose parentheses are open at the end of `text`, or that begins the statement there; how many commas lie
/// between; and whether it has parentheses.
fn open_call(text: &str) -> (&str, usize, bool) {
    let bytes = text.as_bytes();
    let (mut depth, mut commas, mut quote) = (0_usize, 0, None);
    // Where the leftmost argument begins.
    let mut first = text.len();
    let mut begin = 0;
    for at in (0..bytes.len()).rev() {
        let byte = bytes[at];
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'' | b'`') => quote = Some(byte),
            (None, b')' | b']') => depth += 1,
            (None, b'[') => depth = depth.saturating_sub(1),
            (None, b'(') if depth == 0 => return (&text[..at], commas, true),
            (None, b'(') => depth -= 1,
            (None, b',') if depth == 0 => commas += 1,
            (None, b';' | b'{' | b'\n') if depth == 0 => {
                begin = at + 1;
                break;
            }
            _ => continue,
        }
        first = at;
    }
    // `rename "A", "B"`: without parentheses it begins its statement.
    let head = text[begin..first.max(begin)].trim_start();
    let word = head.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | ':')));
    (&head[..word.unwrap_or(head.len())], commas, false)
}
