//! Calls in other languages' source text that delete, or that hand a text to a shell.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Execution};
use defenseclaw_model::facts::Radius;

use super::code::{MAX_PATH, holds, strings};
use super::literals::Literals;
use super::programs::Call;
use super::shells::nested_text;
use super::{Analysis, flows, hosts, radius, table};
use crate::shell::{Field, Place, Scope, Sink};

/// Most texts for a shell that are read in one text.
const MAX_SHELLS: usize = 16;

/// `shutil.rmtree(PATH)` and its like.
pub(super) fn deletions(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    const TREES: &[&str] = &[
        "rmtree(",
        "rmSync(",
        "rm_rf(",
        "rm_r(",
        "rimraf(",
        "removeSync(",
        "rmdirSync(",
        "remove_tree(",
        "remove_dir_all(",
    ];
    /// Calls that delete one file, which in a loop is all of them.
    const FILES: &[&str] = &[
        "os.remove(",
        "os.unlink(",
        "unlinkSync(",
        "File.delete(",
        "FileUtils.rm(",
    ];
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
    for word in FILES {
        for (at, _) in text.match_indices(word).take(MAX_SHELLS) {
            let argument = text[at + word.len()..].trim_start();
            let quoted = argument.starts_with(['"', '\'']);
            quoted
                .then(|| strings(argument).next())
                .flatten()
                .into_iter()
                .for_each(|(path, _)| all(path));
        }
    }
    for (at, _) in text.match_indices("'.unlink(").take(MAX_SHELLS) {
        let before = &text[text.floor_char_boundary(at.saturating_sub(MAX_PATH))..at];
        all(before.rsplit('\'').next().unwrap_or_default());
    }
    everything(analysis, text, scope);
    for word in TREES {
        for (at, _) in text.match_indices(word).take(MAX_SHELLS) {
            let rest = &text[at + word.len()..];
            let argument = rest.trim_start();
            let home = holds(
                argument.split(')').next().unwrap_or_default(),
                &["expanduser", "homedir", "Path.home", "Dir.home", "HOME"],
            );
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
}

/// What lists a folder, whatever it is listed for.
static LISTS: Literals = Literals::new(&[
    "listdir(",
    "os.walk(",
    "scandir(",
    "glob(",
    "readdirSync(",
    "readdir(",
    "DirectoryIterator(",
    "opendir(",
    "opendir ",
    "Find.find(",
    "Dir.children(",
    "Dir.each_child(",
    "Files.walk(",
    "WalkDir",
    "filepath.Walk(",
    "read_dir(",
    "find(sub",
    "finddepth(",
]);

/// What deletes a file whose name a variable holds.
static DELETES: Literals = Literals::new(&[
    "unlink($",
    "unlink(",
    "unlink $",
    "unlinkSync(",
    "os.remove(",
    "File.delete(",
    "FileUtils.rm",
    "rmtree(",
    "rmSync(",
    "Files.delete(",
    "os.Remove(",
    "os.RemoveAll(",
    "remove_file(",
    "remove_dir_all(",
    ".unlink()",
]);

/// A far folder that is gone through, and files that are deleted on the way.
fn everything(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    if !(LISTS.within(text) && DELETES.within(text)) {
        return;
    }
    for (quoted, behind) in strings(text) {
        let before = &text[..text.len() - behind.len() - quoted.len() - 2];
        let folder = quoted.starts_with(['/', '~']) && before.ends_with('(');
        let path = radius::contents_of(quoted);
        let reach = radius::of(&Field::literal(path), scope);
        if folder && reach >= Radius::Home && !path.contains('*') {
            analysis.behave(Destruction, "delete-tree", path, reach);
        }
    }
}

/// Texts that are handed to a shell, or lists of words to a program.
pub(super) fn shells(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    const CALLS: &[&str] = &[
        "os.system(",
        "os.popen(",
        "subprocess.run(",
        "subprocess.call(",
        "subprocess.Popen(",
        "subprocess.check_output(",
        "subprocess.check_call(",
        "subprocess.getoutput(",
        "execSync(",
        "exec(",
        "spawn(",
        "spawnSync(",
        "execFileSync(",
        "execFile(",
        "system(",
        "shell_exec(",
        "passthru(",
        "popen(",
        "Kernel.exec(",
        "os.execute(",
        "io.popen(",
        "%x(",
        "`",
        "system ",
        "exec ",
        "qx(",
    ];
    let place = Place {
        depth: analysis.place.depth + 1,
        ..analysis.place
    };
    let mut read = 0;
    let mut at = 0;
    while read < MAX_SHELLS && !analysis.stopped() {
        let Some((begin, word)) = next_call(text, at, CALLS) else {
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

/// A program of awk: commands whose output it reads (`"cmd" | getline`), into which it prints (`print | "cmd"`) and that it
/// runs (`system(…)`).
pub(super) fn awk(analysis: &mut Analysis, call: Call<'_>, scope: &Scope<'_>) {
    let programs = call.arguments().iter().map(|(field, _)| field.text.as_str());
    for text in programs.filter(|text| text.contains('{')) {
        let place = Place {
            depth: call.place.depth + 1,
            ..call.place
        };
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

/// The first of `calls` at or behind `from`.
fn next_call<'w>(text: &str, from: usize, calls: &[&'w str]) -> Option<(usize, &'w str)> {
    let rest = text.get(from..)?;
    // Each of them has one of these letters at its end, so the text is passed once.
    for (at, _) in rest.match_indices(['(', '`', ' ']) {
        let end = from + at + 1;
        // The letter before tells most of them apart.
        let before =
            |word: &str, end: usize| end.checked_sub(2).and_then(|at| word.as_bytes().get(at)).copied();
        let letter = before(text, end);
        let found = calls.iter().find(|word| {
            (word.len() < 2 || before(word, word.len()) == letter) && text[..end].ends_with(**word)
        });
        if let Some(word) = found {
            return Some((end - word.len(), word));
        }
    }
    None
}

/// The command that stands as a call's first argument: one string, or a list of strings.
fn argument(rest: &str) -> String {
    let rest = rest.trim_start().trim_start_matches(['f', 'r', 'b']);
    if rest.starts_with(['"', '\'', '`']) {
        let Some((first, behind)) = strings(rest).next() else {
            return String::new();
        };
        // `spawn('sh', ['-c', '…'])`
        let list = behind
            .trim_start()
            .strip_prefix(',')
            .map(str::trim_start)
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
