//! Secrets of which a call keeps only what is none: the names of variables, a login file's columns before the password,
//! commands that are looked up in a history, nothing at all of a file that is edited in place.

use defenseclaw_model::facts::BehaviourKind::Credential;
use defenseclaw_model::facts::{PathFact, Program};

use super::{Analysis, flows, histories};

/// Most programs that one output is followed through; people write four.
const MAX_STEPS: usize = 16;

/// Programs that hand on what comes in, line by line.
const PASSING: &[&str] = &[
    "cat", "tr", "strings", "sort", "uniq", "head", "tail", "grep", "egrep", "sudo", "xargs",
];

/// Programs that say whether a file is there, not what is in it.
const ASKING: &[&str] = &["[", "[[", "test", "ls", "stat", "chmod", "chown", "touch"];

/// What is in the names of variables that hold a secret, or an address with one in it.
const TELLING: &[&str] = &[
    "key", "token", "secret", "pass", "pwd", "cred", "auth", "salt", "cert", "priv", "sign", "url", "uri",
    "dsn", "conn", "database", "redis", "mongo", "pin", "cookie", "session", "jwt", "seed",
];

/// The class of a file that is read without that anything secret is shown, or written without that anything is let in:
/// no rule looks at it.
pub(crate) const HARMLESS: &str = "harmless";

/// What stands in the file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `NAME=value`.
    Variables,
    /// `host:port:database:user:password`.
    Columns,
    /// Commands that somebody typed.
    History,
}

fn kind_of(fact: &PathFact) -> Option<Kind> {
    let name = fact.path.rsplit('/').next().unwrap_or_default();
    match fact.class.as_deref() {
        Some("process-secrets") if name == "environ" => Some(Kind::Variables),
        Some("env-file") if name != ".npmrc" && name != ".envrc" => Some(Kind::Variables),
        Some("credential") if name == ".pgpass" => Some(Kind::Columns),
        _ if super::places::is_history(name) => Some(Kind::History),
        _ => None,
    }
}

/// Takes the class off a file of which nothing secret is kept, before flows are drawn from it.
pub(super) fn settle(analysis: &mut Analysis) {
    for at in 0..analysis.facts.reads.len() {
        let Some(kind) = analysis.facts.reads.get(at).and_then(kind_of) else {
            continue;
        };
        let mut readers = 0;
        let kept = analysis.nodes.iter().enumerate().all(|(program, node)| {
            let reads = node.reads.contains(&at);
            readers += usize::from(reads);
            !reads || keeps(analysis, kind, program, 0)
        });
        if !kept || readers == 0 {
            continue;
        }
        let Some(fact) = analysis.facts.reads.get_mut(at) else {
            continue;
        };
        fact.class = Some(HARMLESS.to_owned());
        let path = fact.path.clone();
        analysis.facts.behaviours.retain(|known| {
            known.kind != Credential
                || !matches!(known.technique.as_str(), "env-of-process" | "history-search")
                || known.object != path
        });
    }
}

/// Whether what the program at `at` prints of its input, or what is left of it further on, is no secret.
fn keeps(analysis: &Analysis, kind: Kind, at: usize, step: usize) -> bool {
    let (Some(node), Some(program)) = (analysis.nodes.get(at), analysis.facts.programs.get(at)) else {
        return false;
    };
    if node.digests || cuts(kind, program) || step == 0 && ASKING.contains(&program.name.as_str()) {
        return true;
    }
    if step >= MAX_STEPS
        || writes_elsewhere(analysis, node)
        || node.sends.is_some()
        || !PASSING.contains(&program.name.as_str())
    {
        return false;
    }
    let mut readers = analysis
        .facts
        .pipes
        .iter()
        .filter(|pipe| pipe.from == at)
        .peekable();
    readers.peek().is_some() && readers.all(|pipe| pipe.to > at && keeps(analysis, kind, pipe.to, step + 1))
}

/// Whether a program writes into a file that keeps what is written.
fn writes_elsewhere(analysis: &Analysis, node: &flows::Node) -> bool {
    let mut written = node.writes.iter().filter_map(|at| analysis.facts.writes.get(*at));
    written.any(|fact| fact.path != "/dev/null")
}

/// Whether a filter keeps of each line only what is no secret.
fn cuts(kind: Kind, program: &Program) -> bool {
    let words: Vec<&str> = program.argv.iter().skip(1).map(String::as_str).collect();
    let name = program.name.as_str();
    match name {
        "sed" | "gsed" if kind == Kind::Variables && in_place(&words) => {
            !scripts(&words).iter().any(|script| tells(script))
        }
        "sed" | "gsed" if kind == Kind::Variables => {
            let given = scripts(&words);
            let quiet = words.iter().any(|word| {
                matches!(
                    *word,
                    "-n" | "-nE" | "-En" | "-nr" | "-rn" | "--quiet" | "--silent"
                )
            });
            matches!(given.as_slice(), [script] if leaves_names(script, quiet))
        }
        "cut" => {
            let value = |short, long| value(&words, short, long).unwrap_or_default();
            let (by, fields) = (value("-d", "--delimiter"), value("-f", "--fields"));
            match kind {
                Kind::Variables => by == "=" && fields == "1",
                Kind::Columns => by == ":" && before_the_last(fields),
                Kind::History => false,
            }
        }
        "awk" | "gawk" | "mawk" => {
            let by = value(&words, "-F", "--field-separator").unwrap_or_default();
            let script = words.iter().find(|word| word.contains('{'));
            match kind {
                Kind::Variables => by == "=" && script.is_some_and(|script| prints_columns(script, 1)),
                Kind::Columns => by == ":" && script.is_some_and(|script| prints_columns(script, 4)),
                Kind::History => false,
            }
        }
        "grep" | "egrep" | "rg" if kind == Kind::History => histories::looks_up(program),
        "grep" | "egrep" | "rg" if kind == Kind::Variables => {
            let mut given = words.iter().filter(|word| !word.starts_with('-'));
            let plain = words.iter().filter(|word| word.starts_with('-')).all(|word| {
                matches!(
                    *word,
                    "-E" | "-h" | "-a" | "-aE" | "-hE" | "-Eh" | "-Ea" | "-w" | "-m1"
                )
            });
            plain && given.next().is_some_and(|pattern| names_plain(pattern))
        }
        _ => false,
    }
}

fn value<'w>(words: &[&'w str], short: &str, long: &str) -> Option<&'w str> {
    words.iter().enumerate().find_map(|(at, word)| {
        if *word == short || *word == long {
            return words.get(at + 1).copied();
        }
        let glued = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        glued.or_else(|| word.strip_prefix(short).filter(|_| !word.starts_with("--")))
    })
}

/// Fields of `cut` that end before the fifth: `1`, `1-4`, `1,2,4`.
fn before_the_last(fields: &str) -> bool {
    !fields.is_empty()
        && fields.split(',').all(|part| {
            let end = part.split_once('-').map_or(part, |(_, end)| end);
            matches!(end, "1" | "2" | "3" | "4")
        })
}

/// Whether a script of awk does nothing but print columns up to `last`.
fn prints_columns(script: &str, last: u8) -> bool {
    let bare: String = script.split_whitespace().collect();
    let Some(printed) = bare
        .strip_prefix("{print")
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        return false;
    };
    let mut quoted = false;
    let mut columns = 0;
    let mut letters = printed.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '$' => {
                let column = letters.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
                let longer = letters.peek().is_some_and(char::is_ascii_digit);
                if column == 0 || column > u32::from(last) || longer {
                    return false;
                }
                columns += 1;
            }
            ',' => {}
            _ => return false,
        }
    }
    columns > 0 && !quoted
}

/// Whether `sed` writes back what it reads, and so prints nothing.
fn in_place(words: &[&str]) -> bool {
    words.iter().any(|word| {
        word.starts_with("--in-place")
            || word.starts_with("-i")
            || matches!(*word, "-Ei" | "-ri" | "-si" | "-zi")
    })
}

/// The scripts that `sed` is given.
fn scripts<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let mut given = Vec::new();
    let mut first = None;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "-e" | "--expression" => given.extend(rest.next().copied()),
            // A file of commands may hold any.
            "-f" | "--file" => return vec!["w"],
            _ if word.starts_with("--expression=") => {
                given.extend(word.split_once('=').map(|(_, script)| script));
            }
            _ if word.starts_with('-') => {}
            _ => first = first.or(Some(*word)),
        }
    }
    if given.is_empty() {
        given.extend(first);
    }
    given
}

/// Whether a script of an edit in place also writes what it finds elsewhere, or runs something.
fn tells(script: &str) -> bool {
    let tail = script.rsplit(['/', '|', '#', ',']).next().unwrap_or_default();
    let bare = script == "w" || script.starts_with("w ");
    let flags = tail.trim_end_matches(['}', ' ', ';']);
    bare || script.contains("/dev/")
        || [" w ", "/w ", ";w ", "/gw ", "#w ", "|w ", "}w ", "{w ", "pw "]
            .iter()
            .any(|part| script.contains(part))
        || flags.contains(['e', 'w']) && flags.len() <= 3
        || flags == "e"
}

/// Whether a script of `sed` leaves of `NAME=value` the name, with other text of its own.
fn leaves_names(script: &str, quiet: bool) -> bool {
    let mut letters = script.chars();
    let (Some('s'), Some(mark)) = (letters.next(), letters.next()) else {
        return false;
    };
    let mut parts = letters.as_str().split(mark);
    let (Some(pattern), Some(new), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    if !flags.bytes().all(|flag| matches!(flag, b'g' | b'p' | b'I')) {
        return false;
    }
    // `s/=.*/`: what stands behind the sign goes; a line without one stays whole, and holds no value.
    if matches!(pattern, "=.*" | "=.*$" | "=.\\+" | "=.\\+$") {
        return !new.contains('&') && !new.contains('\\');
    }
    // `s/^\([A-Z_]*\)=.*/\1/p`: what does not match is not printed.
    let plain = pattern.trim_start_matches('^').trim_end_matches('$');
    let plain = plain.strip_prefix("export ").unwrap_or(plain);
    let group = plain
        .strip_prefix("\\(")
        .and_then(|rest| rest.split_once("\\)"))
        .or_else(|| plain.strip_prefix('(').and_then(|rest| rest.split_once(')')));
    let Some((group, rest)) = group else { return false };
    let name = group
        .strip_prefix('[')
        .and_then(|set| set.split_once(']'))
        .is_some_and(|(set, times)| {
            matches!(times, "*" | "+" | "\\+" | "\\{1,\\}")
                && set
                    .trim_start_matches('^')
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-=# ".contains(c))
                && set.starts_with('^') == set.contains('=')
        });
    let back = new.replace("\\1", "");
    quiet
        && flags.contains('p')
        && name
        && matches!(rest, "=.*" | "=.\\+" | "=")
        && rest != "="
        && pattern.starts_with('^')
        && !back.contains('&')
        && !back.contains('\\')
}

/// Whether a pattern of `grep` asks for variables by names that hold no secret: `^(NODE_ENV|PORT)=`.
fn names_plain(pattern: &str) -> bool {
    let Some(named) = pattern.strip_prefix('^') else {
        return false;
    };
    let named = named.strip_suffix('=').unwrap_or(named);
    let named = named.replace("\\(", "(").replace("\\)", ")").replace("\\|", "|");
    let named = named
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(&named);
    named.split('|').all(|name| {
        let name = name.trim_start_matches('^').trim_end_matches('=');
        name.len() > 1
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !flows::is_secret_name(name)
            && !TELLING
                .iter()
                .any(|part| name.to_ascii_lowercase().contains(part))
    }) && pattern.ends_with(['=', ')'])
}
