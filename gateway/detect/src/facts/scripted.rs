//! Files that a program's own little language writes: awk's `print > "FILE"`, sed's `w FILE`, an editor's `:w FILE`,
//! sqlite's `.output FILE`.

use super::behaviours::Invocation;
use super::code::strings;
use super::programs::Call;
use super::{Access, Analysis};
use crate::shell::{Field, Scope};

/// Most files that one call's texts write.
const MAX_FILES: usize = 16;

/// Notes what the texts that the program called `name` is given write.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let call = Invocation { name, call };
    let words = call.words().chain(call.input());
    let files: Vec<&str> = match name {
        "awk" | "gawk" | "mawk" | "nawk" => call.words().flat_map(awk).take(MAX_FILES).collect(),
        "sed" | "gsed" => words
            .flat_map(str::lines)
            .flat_map(|line| line.split(['{', '}']))
            .filter_map(sed)
            .take(MAX_FILES)
            .collect(),
        "vi" | "vim" | "nvim" | "ex" | "ed" | "view" => words
            .flat_map(|text| text.split(['\n', '|']))
            .filter_map(editor)
            .take(MAX_FILES)
            .collect(),
        "sqlite3" | "sqlite" => words.flat_map(sqlite).take(MAX_FILES).collect(),
        "sftp" | "ftp" | "lftp" | "tftp" | "smbclient" => {
            let texts = words.filter(|text| text.contains(' '));
            let own: Vec<&str> = call.words().collect();
            let commands = texts.flat_map(|text| text.split(['\n', ';']));
            let mut found: Vec<&str> = commands
                .filter_map(|command| fetched(&command.split_whitespace().collect::<Vec<_>>()))
                .take(MAX_FILES)
                .collect();
            found.extend(fetched(&own));
            found
        }
        _ => return,
    };
    for file in files {
        let text = match (file.strip_prefix("~/"), scope.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => file.to_owned(),
        };
        analysis.path(Access::Write, &Field::literal(text), scope);
    }
}

/// `print > "FILE"`, `printf(…) >> "FILE"`.
fn awk(text: &str) -> impl Iterator<Item = &str> {
    let prints = text.contains("print") && text.contains('>');
    let texts = prints.then(|| strings(text)).into_iter().flatten();
    texts.filter_map(|(quoted, behind)| {
        let before = &text[..text.len() - behind.len() - quoted.len() - 2];
        let before = before.trim_end();
        // What is greater than a text is compared with it, in a condition.
        let printed = || {
            let mut statements = before.rsplit([';', '{', '\n']);
            statements
                .next()
                .is_some_and(|statement| statement.contains("print"))
        };
        (before.ends_with('>') && quoted.contains(['/', '~']) && printed()).then_some(quoted)
    })
}

/// `w FILE` and `s/a/b/w FILE`, behind any address.
fn sed(command: &str) -> Option<&str> {
    let command = command.trim();
    let (before, file) = command.rsplit_once("w ")?;
    let file = file.trim();
    let address = before
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'$' | b',' | b'!' | b' ' | b'~' | b'+' | b';'));
    // A substitution or a pattern ends in its own mark, behind which flags may stand.
    let (mark, marks) = match before.strip_prefix('s') {
        Some(rest) => (rest.chars().next(), 3),
        None => (Some('/'), 2),
    };
    let ended = mark.is_some_and(|mark| !mark.is_alphanumeric() && before.matches(mark).count() >= marks);
    let path = file.starts_with(['/', '~', '.']) && !file.contains(char::is_whitespace);
    (path && (address || ended)).then_some(file)
}

/// `:w FILE`, `:w! FILE`, `:saveas FILE`, `:w >> FILE`, behind any range.
fn editor(command: &str) -> Option<&str> {
    let command = command
        .trim()
        .trim_start_matches(|c: char| matches!(c, '+' | ':' | '%' | ',' | '$' | '.') || c.is_ascii_digit());
    let (word, rest) = command.split_once(char::is_whitespace)?;
    let writes = matches!(
        word.trim_end_matches('!'),
        "w" | "wr" | "write" | "wq" | "W" | "sav" | "saveas" | "x" | "xit" | "up" | "update" | "w>>"
    );
    let file = rest.trim().trim_start_matches('>').trim_start();
    let path = file.starts_with(['/', '~', '.', '$']) && !file.contains(char::is_whitespace);
    (writes && path).then_some(file)
}

/// `get REMOTE FILE`, `get REMOTE -o FILE`: a transfer client's command.
fn fetched<'t>(words: &[&'t str]) -> Option<&'t str> {
    let verb = words
        .iter()
        .position(|word| matches!(*word, "get" | "reget" | "pget" | "recv" | "mget"))?;
    let rest = words.get(verb + 1..)?;
    let named = rest
        .iter()
        .position(|word| *word == "-o")
        .and_then(|at| rest.get(at + 1));
    let second = || rest.iter().filter(|word| !word.starts_with('-')).nth(1);
    named
        .or_else(second)
        .copied()
        .filter(|file| file.starts_with(['/', '~', '.']))
}

/// `.output FILE`, `.once FILE`, `.backup FILE`, `writefile('FILE', …)`.
fn sqlite(text: &str) -> impl Iterator<Item = &str> {
    let commands = text.lines().filter_map(|line| {
        let (word, rest) = line.trim().split_once(char::is_whitespace)?;
        let writes = matches!(
            word,
            ".output" | ".once" | ".backup" | ".save" | ".log" | ".clone" | ".dump"
        );
        let file = rest.split_whitespace().next_back()?;
        (writes && file != "stdout").then(|| file.trim_matches(['"', '\'']))
    });
    let calls = text
        .match_indices("writefile(")
        .take(MAX_FILES)
        .filter_map(|(at, word)| {
            let rest = text[at + word.len()..].trim_start().strip_prefix('\'')?;
            rest.split('\'').next()
        });
    commands.chain(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sed_writes() {
        for (command, file) in [
            ("w /etc/cron.d/x", Some("/etc/cron.d/x")),
            ("$w /etc/cron.d/x", Some("/etc/cron.d/x")),
            ("1,3w ~/x", Some("~/x")),
            ("/a b/w ./x", Some("./x")),
            ("s/a/b/w /x", Some("/x")),
            ("s/a/b/gw /x", Some("/x")),
            ("s/new /old/", None),
            ("s/w /x/g", None),
            ("s/a/b/; w /x", Some("/x")),
            ("s|a|how /x|", None),
            ("i\\ now /x", None),
            ("", None),
        ] {
            assert_eq!(sed(command), file, "{command}");
        }
    }

    #[test]
    fn what_an_editor_writes() {
        for (command, file) in [
            (":w! ~/x", Some("~/x")),
            ("w >> /x", Some("/x")),
            ("%w /x", Some("/x")),
            ("saveas /x", Some("/x")),
            ("wq", None),
            ("set w /x y", None),
            ("normal w /x", None),
        ] {
            assert_eq!(editor(command), file, "{command}");
        }
    }

    #[test]
    fn what_a_client_fetches() {
        let file = |text: &str| fetched(&text.split_whitespace().collect::<Vec<_>>()).map(str::to_owned);
        assert_eq!(file("get k ~/.bashrc").as_deref(), Some("~/.bashrc"));
        assert_eq!(file("get -p k -o /x").as_deref(), Some("/x"));
        assert_eq!(file("get k"), None);
        assert_eq!(file("put /x k"), None);
    }

    #[test]
    fn what_awk_and_sqlite_write() {
        let one = |files: Vec<&str>| files.first().map(|file| (*file).to_owned());
        assert_eq!(one(awk("{print $1 > \"/x\"}").collect()).as_deref(), Some("/x"));
        assert_eq!(
            one(awk("{printf(\"a\") >> \"/x\"}").collect()).as_deref(),
            Some("/x")
        );
        assert_eq!(one(awk("$1 > \"/x\" {print}").collect()), None);
        assert_eq!(
            one(sqlite(".output /x\nselect 1").collect()).as_deref(),
            Some("/x")
        );
        assert_eq!(
            one(sqlite("select writefile('/x', 1)").collect()).as_deref(),
            Some("/x")
        );
        assert_eq!(one(sqlite(".output stdout").collect()), None);
    }
}
