//! Calls in other languages' source text that delete, or that hand a text to a shell.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Execution};
use defenseclaw_model::facts::Radius;

use super::behaviours::Invocation;
use super::code::{MAX_PATH, holds, strings};
use super::groups::Group;
use super::programs::Call;
use super::shells::nested_text;
use super::spotted::Spotted;
use super::{Analysis, flows, hosts, languages, radius, table};
use crate::shell::{Field, Place, Scope, Sink};

/// Most texts for a shell that are read in one text.
const MAX_SHELLS: usize = 16;

/// `shutil.rmtree(PATH)` and its like.
pub(super) fn deletions(analysis: &mut Analysis, code: &Spotted<'_>, scope: &Scope<'_>) {
    let text = code.text;
    let mut all = |path: &str| {
        if let Some(all) = path.strip_suffix("/*") {
            let all = match all.trim_end_matches(['/', '*']) {
                "" => "/",
                all => all,
            };
            let reach = radius::of(&Field::literal(all), scope);
            analysis.behave(Destruction, "delete-tree", all, reach);
        }
    };
    for (at, word) in code.uses(Group::DeletesFile, MAX_SHELLS) {
        let argument = text[at + word.len()..].trim_start();
        let quoted = argument.starts_with(['"', '\'']);
        quoted
            .then(|| strings(argument).next())
            .flatten()
            .into_iter()
            .for_each(|(path, _)| all(path));
    }
    for (at, _) in code.uses(Group::UnlinksPath, MAX_SHELLS) {
        let before = &text[text.floor_char_boundary(at.saturating_sub(MAX_PATH))..at];
        all(before.rsplit('\'').next().unwrap_or_default());
    }
    everything(analysis, code, scope);
    for (at, word) in code.uses(Group::DeletesTree, MAX_SHELLS) {
        let argument = text[at + word.len()..].trim_start();
        let home = is_home(argument);
        let literal = argument
            .starts_with(['"', '\'', '`'])
            .then(|| strings(argument).next())
            .flatten()
            .map(|(path, _)| path);
        match literal {
            Some(path) => {
                let field = Field::literal(path);
                let reach = radius::of(&field, scope);
                analysis.behave(Destruction, "delete-tree", radius::contents_of(path), reach);
            }
            None if home => analysis.behave(Destruction, "delete-tree", "~", Radius::Home),
            None => {}
        }
    }
}

/// Whether an argument is the home folder itself, and not something below it.
fn is_home(argument: &str) -> bool {
    const HOMES: &[&str] = &[
        "expanduser('~')",
        "expanduser(\"~\")",
        "homedir",
        "Path.home",
        "Dir.home",
        "HOME",
    ];
    let argument = &argument[..argument.floor_char_boundary(160)];
    let first = argument.split(['\n', ';']).next().unwrap_or_default();
    let Some(end) = HOMES
        .iter()
        .find_map(|home| first.find(home).map(|at| at + home.len()))
    else {
        return false;
    };
    let joins = holds(&first[..end], &["join(", "resolve(", "Path("]);
    let behind = first[end..].trim_start_matches(['(', ')', ']', '\'', '"', '}']);
    !joins && (behind.starts_with("/*") || !behind.trim_start().starts_with(['/', '+', '.']))
}

/// A far folder that is gone through, and files that are deleted on the way.
fn everything(analysis: &mut Analysis, code: &Spotted<'_>, scope: &Scope<'_>) {
    if !code.has_all(&[Group::Lists, Group::Deletes]) {
        return;
    }
    let text = code.text;
    for (quoted, behind) in strings(text) {
        let before = &text[..text.len() - behind.len() - quoted.len() - 2];
        let folder = quoted.starts_with(['/', '~']) && (before.ends_with('(') || lists_all(text, behind));
        let path = radius::contents_of(quoted);
        let reach = radius::of(&Field::literal(path), scope);
        if folder && reach >= Radius::Home && !path.contains('*') {
            analysis.behave(Destruction, "delete-tree", path, reach);
        }
    }
}

/// Whether what stands behind a path's closing quote goes through all that lies there: `.iterdir()`, `.rglob('*')`. A
/// program that looks at names on its way means some of them.
fn lists_all(text: &str, behind: &str) -> bool {
    let behind = behind.trim_start_matches(')');
    let all = [
        ".iterdir()",
        ".glob('*')",
        ".glob(\"*\")",
        ".rglob('*')",
        ".rglob(\"*\")",
        ".glob('**/*')",
        ".glob(\"**/*\")",
    ];
    all.iter().any(|call| behind.starts_with(call))
        && !holds(
            text,
            &["startswith(", ".suffix", ".name ==", "fnmatch", "st_mtime"],
        )
}

/// Texts that are handed to a shell, or lists of words to a program.
pub(super) fn shells(analysis: &mut Analysis, code: &Spotted<'_>, scope: &Scope<'_>) {
    let text = code.text;
    if code.has(Group::TextRuns) {
        run_texts(analysis, text, scope);
    }
    if !code.has(Group::Shells) && memchr::memchr(b'`', text.as_bytes()).is_none() {
        return;
    }
    let place = Place {
        depth: analysis.place.depth + 1,
        ..analysis.place
    };
    let mut read = 0;
    let mut at = 0;
    while read < MAX_SHELLS && !analysis.stopped() {
        let Some((begin, word)) = next_shell(text, at) else {
            return;
        };
        // A command is no longer than a path; looking further would make open quotes cost their square.
        let end = text.floor_char_boundary((begin + word.len()).saturating_add(MAX_PATH));
        let rest = &text[begin + word.len()..end];
        at = begin + word.len();
        let command = match word {
            "`" | "%x(" | "qx(" => {
                let close = if word == "`" { '`' } else { ')' };
                let end = rest.find(close).unwrap_or(0);
                at += end + 1;
                rest[..end].to_owned()
            }
            _ => argument(rest),
        };
        if command.len() > 1 && command.len() <= MAX_PATH {
            read += 1;
            nested_text(analysis, &command, scope, place);
        }
    }
}

/// Strings that are run themselves: Groovy's `"…".execute()`, Scala's `"…".!`.
fn run_texts(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    let place = Place {
        depth: analysis.place.depth + 1,
        ..analysis.place
    };
    let run = strings(text).filter(|(quoted, behind)| {
        quoted.contains(' ') && (behind.starts_with(".execute()") || behind.starts_with(".!"))
    });
    for (quoted, _) in run.take(MAX_SHELLS) {
        nested_text(analysis, quoted, scope, place);
    }
}

/// A program of awk: commands whose output it reads (`"cmd" | getline`), into which it prints (`print | "cmd"`) and that it
/// runs (`system(…)`).
pub(super) fn awk(analysis: &mut Analysis, call: Call<'_>, scope: &Scope<'_>) {
    let invocation = Invocation { name: "awk", call };
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    let from_input = invocation
        .value(&["-f", "--file"])
        .is_some_and(languages::is_input);
    let programs = invocation.words().chain(call.input().filter(|_| from_input));
    // What a variable is set to, it may run: `awk -v c=TEXT '{system(c)}'`.
    if invocation.holds(&["system(", "getline"]) {
        let given = invocation
            .values(&["-v", "--assign"])
            .filter_map(|word| word.split_once('='));
        let given: Vec<&str> = given.map(|(_, value)| value).collect();
        let own = call
            .command
            .assignments
            .iter()
            .flat_map(|assignment| &assignment.values);
        let own = own.map(|value| value.text.as_str());
        for value in given
            .into_iter()
            .chain(own)
            .filter(|value| value.contains(' '))
            .take(MAX_SHELLS)
        {
            nested_text(analysis, value, scope, place);
        }
    }
    for text in programs.filter(|text| text.contains('{')) {
        let runs = text.contains("system(");
        let reads = text.contains("getline");
        let mut fetched = None;
        for (quoted, behind) in strings(text).take(MAX_SHELLS) {
            let before = &text[..text.len() - behind.len() - quoted.len() - 2];
            let before = before.trim_end().trim_end_matches(['&', '(']).trim_end();
            let piped = before.ends_with('|') && !before.ends_with("||");
            let command = piped
                || before.ends_with("system")
                || before.ends_with('=')
                || behind.trim_start().starts_with('|');
            if !command || !(runs || reads || piped) || quoted.len() < 2 {
                continue;
            }
            fetched = fetched.or_else(|| {
                hosts::hosts_in(quoted)
                    .into_iter()
                    .find(|host| !flows::is_near(&host.host))
            });
            nested_text(analysis, quoted, scope, place);
            if let Some(node) = analysis.current.and_then(|at| analysis.nodes.get_mut(at))
                && piped
                && table::is_shell(quoted.rsplit('/').next().unwrap_or_default())
            {
                node.runs |= flows::Way::Input.bit();
            }
        }
        let own = text.contains("system($") || text.contains("system( $");
        if let Some(node) = analysis
            .current
            .and_then(|at| analysis.nodes.get_mut(at))
            .filter(|_| own)
        {
            node.runs |= flows::Way::Input.bit();
        }
        if let Some(host) = fetched.filter(|_| runs && reads) {
            analysis.behave(Execution, "network-to-code", host.host, None);
        }
    }
}

/// The first call at or behind `from` that hands something to a shell.
fn next_shell(text: &str, from: usize) -> Option<(usize, &'static str)> {
    let rest = text.get(from..)?;
    // Each of them has one of these at its end, so the text is passed once.
    for at in memchr::memchr3_iter(b'(', b'`', b' ', rest.as_bytes()) {
        let before = &text[..from + at];
        let end = before.len() + 1;
        if rest.as_bytes()[at] == b'`' {
            return Some((before.len(), "`"));
        }
        // The letter before tells most of them apart from all other calls.
        let letter = before.as_bytes().last().copied().unwrap_or_default();
        if !BEFORE_LAST[usize::from(letter)] {
            continue;
        }
        let found = Group::Shells
            .words()
            .iter()
            .find(|word| text[..end].ends_with(**word));
        if let Some(word) = found {
            return Some((end - word.len(), word));
        }
    }
    None
}

/// The letters that stand before the last one of a call that hands something to a shell.
const BEFORE_LAST: [bool; 256] = {
    let mut letters = [false; 256];
    let words = Group::Shells.words();
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_bytes();
        letters[word[word.len() - 2] as usize] = true;
        at += 1;
    }
    letters
};

/// The command that stands as a call's first argument: one string, or a list of strings.
fn argument(rest: &str) -> String {
    let rest = rest.trim_start().trim_start_matches(['f', 'r', 'b', '~', 'c']);
    if rest.starts_with(['"', '\'', '`']) {
        let Some((first, behind)) = strings(rest).next() else {
            return String::new();
        };
        // `spawn('sh', ['-c', '…'])`
        let list = behind
            .trim_start()
            .strip_prefix(',')
            .map(str::trim_start)
            // `Deno.Command('sh', { args: ['-c', '…'] })`
            .map(|list| match list.split_once("args:") {
                Some((before, list)) if before.trim() == "{" => list.trim_start(),
                _ => list,
            })
            .filter(|list| list.starts_with('['));
        return match list {
            Some(list) => format!("{} {}", quoted(first), words(list)),
            None => first.to_owned(),
        };
    }
    if rest.starts_with('[') {
        words(rest)
    } else {
        String::new()
    }
}

/// The strings of a list, as words of a shell.
fn words(list: &str) -> String {
    let end = list.find(']').unwrap_or(list.len());
    strings(&list[..end])
        .map(|(word, _)| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
