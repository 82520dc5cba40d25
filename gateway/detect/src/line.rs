//! Whether a shell's line carries the command of a tool call.
//!
//! A harness hands a command to a shell as `SHELL -c TEXT`, where TEXT is the command itself or a line that ends in
//! `eval WORD`, WORD being the command quoted for the shell. Where a harness has been told to hand its lines to our launcher,
//! TEXT is `defenseclaw-shell WORD`, WORD being that line quoted once more.

use defenseclaw_model::sandbox::{LAUNCHER, SHELL};

/// How many bytes of a command must be there for a cut argument to match: shorter ones could be anybody's.
const MIN_PREFIX: usize = 64;

/// Whether `argv` runs `command`.
pub fn runs(argv: &[String], truncated: bool, command: &str) -> bool {
    let Some(text) = script(argv) else { return false };
    carries(text, truncated, command)
        || handed_on(text).is_some_and(|(line, closed)| carries(&line, truncated && !closed, command))
}

/// Whether a line is `command`, or hands it to `eval`. `truncated`: the line may have been cut.
pub fn carries(line: &str, truncated: bool, command: &str) -> bool {
    if line == command || (truncated && is_cut(line, command)) {
        return true;
    }
    match evaluated(line) {
        Some((word, closed)) => word == command || (truncated && !closed && is_cut(&word, command)),
        None => false,
    }
}

/// The command that a line hands to `eval`; else the line itself.
pub fn command_in(line: &str) -> Option<String> {
    match evaluated(line) {
        Some((word, true)) => Some(word),
        Some((_, false)) => None,
        None => Some(line.to_owned()),
    }
}

/// The line that `defenseclaw-shell LINE` is given, and whether its quoting is complete. `None`: `text` is something else.
pub fn handed_on(text: &str) -> Option<(String, bool)> {
    let (program, _, rest) = unquote(text);
    if program.rsplit('/').next() != Some(SHELL) {
        return None;
    }
    let (line, closed, rest) = unquote(rest.strip_prefix(' ')?);
    rest.trim().is_empty().then_some((line, closed))
}

/// Whether a shell's line begins with a program of ours that leads into a sandbox, with nothing before it.
pub fn begins_launch(argv: &[String]) -> bool {
    let Some(text) = script(argv) else { return false };
    let begins = |text: &str| {
        let (program, ..) = unquote(text.strip_prefix("exec ").unwrap_or(text));
        let name = program.rsplit('/').next().unwrap_or_default();
        program.starts_with('/') && (name == SHELL || name == LAUNCHER)
    };
    begins(text) || evaluated(text).is_some_and(|(word, _)| begins(&word))
}

/// The text behind `-c` of a shell, whatever other options (`-l`) stand beside it.
pub fn script(argv: &[String]) -> Option<&str> {
    let flags = argv.get(1..)?;
    let mut has_c = false;
    for argument in flags {
        if argument.starts_with('-') && argument.len() > 1 && !argument.starts_with("--") {
            has_c |= argument.ends_with('c');
        } else {
            return has_c.then_some(argument.as_str());
        }
    }
    None
}

fn is_cut(part: &str, whole: &str) -> bool {
    // Decoding a cut in the middle of a character leaves a replacement character at the end.
    let part = part.trim_end_matches(char::REPLACEMENT_CHARACTER);
    part.len() >= MIN_PREFIX && whole.starts_with(part)
}

/// The word behind the first `eval`, unquoted, and whether its quoting is complete.
fn evaluated(text: &str) -> Option<(String, bool)> {
    let at = if text.starts_with("eval ") {
        0
    } else {
        text.find("&& eval ")
            .map(|at| at + 3)
            .or_else(|| text.find("; eval ").map(|at| at + 2))?
    };
    let (word, closed, _) = unquote(&text[at + "eval ".len()..]);
    Some((word, closed))
}

/// Reads one shell word: `'…'`, `"…"`, `\x` and bare characters up to a blank. Gives it, whether its quoting is complete, and
/// what follows it.
fn unquote(text: &str) -> (String, bool, &str) {
    let mut word = String::with_capacity(text.len());
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>') => return (word, true, &text[at..]),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if character == open => quote = None,
            (Some('\''), _) => word.push(character),
            (Some(_), '\\') => match characters.next() {
                Some((_, next @ ('"' | '\\' | '$' | '`'))) => word.push(next),
                Some((_, '\n')) | None => {}
                Some((_, next)) => word.extend(['\\', next]),
            },
            (None, '\\') => match characters.next() {
                Some((_, '\n')) | None => {}
                Some((_, next)) => word.push(next),
            },
            (_, plain) => word.push(plain),
        }
    }
    (word, quote.is_none(), "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn argv(script: &str) -> Vec<String> {
        ["/bin/bash", "-c", script].map(str::to_owned).to_vec()
    }

    /// As Claude Code writes it.
    fn claude(command: &str) -> String {
        let quoted = format!("'{}'", command.replace('\'', r#"'"'"'"#));
        format!(
            "source $HOME/.claude/shell-snapshots/s.sh 2>/dev/null || true && shopt -u extglob 2>/dev/null || true && \
             eval {quoted} < /dev/null && pwd -P >| /tmp/claude-1a2b-cwd"
        )
    }

    #[test]
    fn a_command_is_recognised_bare_and_quoted() {
        assert!(runs(&argv("ls -la"), false, "ls -la"));
        assert!(runs(
            &argv("true && eval ls < /dev/null && pwd -P >| /tmp/x"),
            false,
            "ls"
        ));
        assert!(runs(
            &argv(&claude("echo 'it''s' \"$X\" && eval 'b'")),
            false,
            "echo 'it''s' \"$X\" && eval 'b'"
        ));
        let login: Vec<String> = ["zsh", "-l", "-c", "make"].map(str::to_owned).to_vec();
        assert!(runs(&login, false, "make"));
    }

    /// As Claude Code writes it where it has a shell prefix.
    fn prefixed(command: &str) -> String {
        format!(
            "/opt/x/defenseclaw-shell '{}'",
            claude(command).replace('\'', r#"'"'"'"#)
        )
    }

    #[test]
    fn a_line_that_is_handed_to_the_launcher_is_recognised() {
        let command = "echo 'it''s' \"$X\" && eval 'b'";
        assert!(runs(&argv(&prefixed(command)), false, command));
        assert!(!runs(&argv(&prefixed(command)), false, "echo"));
        assert!(
            !runs(&argv(&format!("{} ; ls", prefixed("ls"))), false, "ls"),
            "something follows"
        );
        assert_eq!(
            handed_on("'/a b/defenseclaw-shell' '/x/defenseclaw-hook claude-code'"),
            Some(("/x/defenseclaw-hook claude-code".to_owned(), true))
        );
        assert_eq!(handed_on("/bin/defenseclaw-shells x"), None);
        assert_eq!(handed_on("defenseclaw-shell"), None);
        let long = format!("cat <<'EOF'\n{}\nEOF", "x".repeat(9000));
        let whole = prefixed(&long);
        assert!(runs(&argv(&whole[..4000]), true, &long));
        assert!(!runs(&argv(&whole[..4000]), false, &long));
    }

    #[test]
    fn a_launch_begins_with_a_program_of_ours_and_nothing_else() {
        assert!(begins_launch(&argv(&prefixed("ls"))));
        assert!(begins_launch(&argv(
            "exec '/usr/bin/defenseclaw-cli' run --profile p -- sh"
        )));
        assert!(begins_launch(&argv(&claude(
            "'/usr/bin/defenseclaw-cli' run --profile p -- sh"
        ))));
        for other in [
            "LD_PRELOAD=/x '/usr/bin/defenseclaw-cli' run",
            "true; /usr/bin/defenseclaw-cli run",
            "defenseclaw-cli run",
            "ls",
        ] {
            assert!(
                !begins_launch(&argv(other)) && !begins_launch(&argv(&claude(other))),
                "{other}"
            );
        }
    }

    #[test]
    fn another_command_is_not() {
        assert!(!runs(&argv(&claude("ls -la")), false, "ls"));
        assert!(!runs(&argv(&claude("ls")), false, "ls -la"));
        assert!(!runs(&argv("echo eval ls"), false, "ls"));
        assert!(!runs(&["bash".into(), "ls".into()], false, "ls"));
        assert!(!runs(&[], false, ""));
    }

    #[test]
    fn a_cut_argument_matches_by_a_long_enough_prefix() {
        let command = format!("cat <<'EOF'\n{}\nEOF", "x".repeat(9000));
        let whole = claude(&command);
        assert!(runs(&argv(&whole[..4000]), true, &command));
        assert!(!runs(&argv(&whole[..4000]), false, &command));
        let cut = whole.find("eval ").unwrap() + 20;
        assert!(!runs(&argv(&whole[..cut]), true, &command), "too short to tell");
    }

    proptest! {
        #[test]
        fn every_command_survives_the_quoting(command in "\\PC{1,60}") {
            prop_assert!(runs(&argv(&claude(&command)), false, &command));
        }

        #[test]
        fn every_command_survives_the_launcher_s_quoting(command in "\\PC{1,60}") {
            prop_assert!(runs(&argv(&prefixed(&command)), false, &command));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", command in ".{0,40}") {
            runs(&argv(&text), true, &command);
        }
    }
}
