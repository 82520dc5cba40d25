//! Whether the arguments of an exec are the command of a tool call.
//!
//! A harness hands a command to a shell as `SHELL -c TEXT`, where TEXT is the command itself or a line that ends in
//! `eval WORD`, WORD being the command quoted for the shell.

/// How many bytes of a command must be there for a cut argument to match: shorter ones could be anybody's.
const MIN_PREFIX: usize = 64;

/// Whether `argv` runs `command`.
pub fn runs(argv: &[String], truncated: bool, command: &str) -> bool {
    let Some(text) = script(argv) else { return false };
    if text == command || (truncated && is_cut(text, command)) {
        return true;
    }
    match evaluated(text) {
        Some((word, closed)) => word == command || (truncated && !closed && is_cut(&word, command)),
        None => false,
    }
}

/// The text behind `-c` of a shell, whatever other options (`-l`) stand beside it.
fn script(argv: &[String]) -> Option<&str> {
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
    Some(unquote(&text[at + "eval ".len()..]))
}

/// Reads one shell word: `'…'`, `"…"`, `\x` and bare characters up to a blank.
fn unquote(text: &str) -> (String, bool) {
    let mut word = String::with_capacity(text.len());
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>') => return (word, true),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if character == open => quote = None,
            (Some('\''), _) => word.push(character),
            (Some(_), '\\') => match characters.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some('\n') | None => {}
                Some(next) => word.extend(['\\', next]),
            },
            (None, '\\') => match characters.next() {
                Some('\n') | None => {}
                Some(next) => word.push(next),
            },
            (_, plain) => word.push(plain),
        }
    }
    (word, quote.is_none())
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
        fn no_text_makes_it_panic(text in ".{0,200}", command in ".{0,40}") {
            runs(&argv(&text), true, &command);
        }
    }
}
