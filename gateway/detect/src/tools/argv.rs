//! A program's arguments as the shell line that means the same.

/// Shells, by the name of their file.
const SHELLS: [&str; 7] = ["sh", "bash", "zsh", "dash", "ksh", "ash", "fish"];

/// What an argument list runs, as one shell line: the text behind a shell's `-c`, else the arguments quoted.
pub fn command_line(argv: &[&str]) -> String {
    match script(argv) {
        Some(text) => text.to_owned(),
        None => argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// The text behind `-c` of a shell (`bash -lc TEXT`), if nothing follows that would be its `$0`.
fn script<'a>(argv: &[&'a str]) -> Option<&'a str> {
    let [shell, flag, text] = argv else { return None };
    let name = shell.rsplit('/').next().unwrap_or(shell);
    let is_flag = flag.starts_with('-') && !flag.starts_with("--") && flag.ends_with('c');
    (SHELLS.contains(&name) && is_flag).then_some(*text)
}

fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:=@%+,-".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
