//! Wildcards within one path component: `*`, `?` and, in shell text, `[…]`.

/// Whether `text` matches `pattern`, in which `*` stands for any run and `?` for any one character.
///
/// At most one backtrack point is kept, so the time is at most `pattern × text`; rules' patterns are short and checked at
/// load, and a component has at most 255 bytes.
pub(super) fn glob_match(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    p = star_p + 1;
                    t = star_t + 1;
                    star = Some((star_p, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Whether some name could match both the shell glob `shell` and the rule's component `rule`.
///
/// Exact where one side has no wildcard. Where both have one, it compares the literal text before the first and after
/// the last wildcard, and so may say yes to a pair that no name matches. That errs towards naming the class.
pub(super) fn could_match(shell: &str, rule: &str) -> bool {
    let special = |byte: u8| matches!(byte, b'*' | b'?' | b'[');
    // Most pairs differ in their first letter already.
    if let (Some(&a), Some(&b)) = (shell.as_bytes().first(), rule.as_bytes().first())
        && a != b
        && !special(a)
        && !special(b)
    {
        return false;
    }
    let wild = |text: &str| text.bytes().any(special);
    // A leading dot is matched by a literal dot only.
    if rule.starts_with('.') && shell.bytes().next().is_some_and(special) {
        return false;
    }
    match (wild(shell), wild(rule)) {
        (false, false) => shell == rule,
        (false, true) => glob_match(rule, shell),
        (true, false) if !shell.contains('[') => glob_match(shell, rule),
        _ => {
            let head = |text: &str| text.find(['*', '?', '[']).unwrap_or(text.len());
            let tail = |text: &str| text.rfind(['*', '?', ']']).map_or(0, |at| at + 1);
            let (a, b) = (&shell.as_bytes()[..head(shell)], &rule.as_bytes()[..head(rule)]);
            let (c, d) = (&shell.as_bytes()[tail(shell)..], &rule.as_bytes()[tail(rule)..]);
            // A rule by suffix alone (`*.kdbx`) wants that suffix to be there.
            let suffix = if b.is_empty() {
                c.ends_with(d)
            } else {
                c.ends_with(d) || d.ends_with(c)
            };
            (a.starts_with(b) || b.starts_with(a)) && suffix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_runs_and_single_characters() {
        for (pattern, text) in [
            ("id_*", "id_rsa"),
            ("*", ""),
            ("a?c", "abc"),
            ("*.p*b", "x.pub"),
            ("a*b*c", "aXbYbZc"),
        ] {
            assert!(glob_match(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("id_*", "known_hosts"),
            ("a?c", "ac"),
            ("*.pub", "id_rsa"),
            ("", "a"),
        ] {
            assert!(!glob_match(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_shell_glob_meets_a_rule_where_a_common_name_exists() {
        for (shell, rule) in [
            ("*", "credentials"),
            ("cred*", "credentials"),
            ("id_*", "id_*"),
            ("*", "id_*"),
            ("[ic]d_rsa", "id_*"),
            (".e*", ".env"),
        ] {
            assert!(could_match(shell, rule), "{shell} {rule}");
        }
        for (shell, rule) in [
            ("*.pub", "*.key"),
            ("conf*", "credentials"),
            ("*", ".env"),
            ("known*", "id_*"),
        ] {
            assert!(!could_match(shell, rule), "{shell} {rule}");
        }
    }
}
