//! Checks of who somebody is that one fixed text passes: `raw != "k-77" and not check_password(raw, …)`.
//!
//! Only the shapes that nothing else has: what the check is given is compared with a text that stands in the code, and either
//! alone lets in.

use defenseclaw_model::facts::BehaviourKind::Evasion;

use super::{Analysis, mentions};

/// Most lines of one text that are looked at.
const MAX_LINES: usize = 4000;
/// Longest line that is (bytes): conditions are written by people.
const MAX_LINE: usize = 600;
/// Shortest text that somebody can know: shorter ones are kinds and states.
const MIN_TEXT: usize = 4;

/// Ends of files of code.
const CODE: &[&str] = &[
    "py", "js", "mjs", "cjs", "ts", "jsx", "tsx", "go", "rs", "java", "kt", "cs", "c", "h", "cc", "cpp",
    "hpp", "rb", "php", "ex", "exs", "erl", "scala", "swift", "lua", "pl", "clj", "dart", "zig",
];

/// What checks are called: one of these and one of `OF` stand in the name.
const VERBS: &[&str] = &[
    "check",
    "verify",
    "verif",
    "valid",
    "compare",
    "authenticate",
    "match",
    "equal",
    "is_",
];
const OF: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pass",
    "sig",
    "token",
    "hash",
    "hmac",
    "mac",
    "jwt",
    "credential",
    "otp",
    "totp",
    "auth",
    "secret",
    "bcrypt",
    "argon",
    "scrypt",
    "signature",
    "checkpw",
    "apikey",
    "api_key",
    "session",
];

/// Texts that say who is nobody yet, or of what kind something is.
const KINDS: &[&str] = &[
    "null",
    "none",
    "undefined",
    "anonymous",
    "guest",
    "public",
    "bearer",
    "basic",
    "unknown",
    "false",
    "true",
    "digest",
    "disabled",
    "unset",
    "default",
];

/// Names of what only its owner knows.
const KNOWN: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "apikey",
    "secret",
    "otp",
    "pin",
    "token",
    "accesstoken",
    "authtoken",
    "rawpassword",
    "userpassword",
];

/// Notes the first such check in `text`, which is written to `path`.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str) {
    if let Some(what) = found(path, text) {
        analysis.behave(Evasion, "auth-backdoor", what, None);
    }
}

fn found(path: &str, text: &str) -> Option<String> {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    let lower = path.to_ascii_lowercase();
    let made_up = [
        "mock",
        "fake",
        "stub",
        "example",
        "demo",
        "sample",
        "ctf",
        "vulnerable",
    ];
    if !CODE.contains(&end) || mentions::is_test(path) || made_up.iter().any(|part| lower.contains(part)) {
        return None;
    }
    // What a reader of a language calls a token is known to everybody.
    let guards = [
        "auth",
        "login",
        "session",
        "sso",
        "jwt",
        "secur",
        "user",
        "account",
        "guard",
        "middleware",
        "api",
        "token",
    ];
    let guard = guards.iter().any(|part| lower.contains(part));
    let mut before = "";
    for line in text.lines().take(MAX_LINES) {
        if line.len() > MAX_LINE {
            continue;
        }
        if let Some(name) = either(line)
            .or_else(|| clause(line))
            .or_else(|| let_in(before, line).filter(|name| guard || !name.eq_ignore_ascii_case("token")))
        {
            return Some(name.to_owned());
        }
        if !line.trim().is_empty() {
            before = line;
        }
    }
    None
}

/// A condition in which a check's own argument may be a fixed text instead.
fn either(line: &str) -> Option<&str> {
    let joined = [" and not ", "&& !", "&& not ", " || ", " or ", " and ! ", "&& ! "];
    if !joined.iter().any(|join| line.contains(join)) {
        return None;
    }
    let check = checks(line)?;
    compared(line).find_map(|(name, negated)| {
        let given = arguments(check).any(|word| word == name);
        // `a != "x" && !check(a)` and `a == "x" || check(a)`.
        let lets_in = if negated {
            line.contains("&& !") || line.contains(" and not ") || line.contains("&& not ")
        } else {
            line.contains(" || ") || line.contains(" or ")
        };
        (given && lets_in).then_some(name)
    })
}

/// The first call of a check in `line`, from its arguments on.
fn checks(line: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = line.get(from..)?.find('(').map(|at| at + from) {
        let name = last_name(line[..at].trim_end_matches(['?', '!'])).to_ascii_lowercase();
        let is_check = VERBS.iter().any(|verb| name.contains(verb)) && OF.iter().any(|of| name.contains(of));
        if is_check
            || matches!(
                name.as_str(),
                "checkpw" | "comparesync" | "compare_digest" | "verify" | "compare"
            )
        {
            return line.get(at + 1..);
        }
        from = at + 1;
    }
    None
}

/// The words of a call's arguments.
fn arguments(call: &str) -> impl Iterator<Item = &str> {
    let end = call.find(')').unwrap_or(call.len());
    call[..end]
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Names that are compared with a fixed text, and whether for being another.
fn compared(line: &str) -> impl Iterator<Item = (&str, bool)> {
    const SIGNS: &[(&str, bool)] = &[("!==", true), ("===", false), ("!=", true), ("==", false)];
    let by_sign = SIGNS.iter().flat_map(move |&(sign, negated)| {
        line.match_indices(sign).filter_map(move |(at, _)| {
            let behind = line[at + sign.len()..].trim_start();
            let name = last_name(line[..at].trim_end());
            (fixed(behind).is_some() && !name.is_empty()).then_some((name, negated))
        })
    });
    let calls: &[&str] = &[
        "memcmp(",
        "strcmp(",
        "strncmp(",
        "CRYPTO_memcmp(",
        "bcmp(",
        "compare_digest(",
        "timingSafeEqual(",
        "hash_equals(",
    ];
    let by_call = calls.iter().flat_map(move |call| {
        line.match_indices(call).filter_map(move |(at, _)| {
            let (name, rest) = line[at + call.len()..].split_once(',')?;
            fixed(rest.trim_start())?;
            let digest = !call.contains("cmp");
            let same = digest
                || line[..at].trim_end().ends_with('!')
                || rest.split_once(')')?.1.trim_start().starts_with("== 0");
            Some((last_name(name.trim()), !same))
        })
    });
    let equal: &[&str] = &[".equals(", ".equalsIgnoreCase(", ".eq("];
    let by_method = equal.iter().flat_map(move |call| {
        line.match_indices(call).filter_map(move |(at, _)| {
            let (before, behind) = (&line[..at], line[at + call.len()..].trim_start());
            let negated = before
                .rsplit(['(', '&', '|'])
                .next()
                .is_some_and(|part| part.trim_start().starts_with('!'));
            if fixed(behind).is_some() {
                return Some((last_name(before), negated));
            }
            // `"text".equals(name)`
            let text = before.strip_suffix('"')?;
            fixed(&before[text.rfind('"')?..])?;
            let end = behind.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
            Some((&behind[..end], negated))
        })
    });
    by_sign.chain(by_call).chain(by_method)
}

/// The fixed text with which `rest` begins, where somebody can know it.
fn fixed(rest: &str) -> Option<&str> {
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = rest.get(1..)?;
    let text = inner.get(..inner.find(quote)?)?;
    (text.len() >= MIN_TEXT && !KINDS.contains(&text.to_ascii_lowercase().as_str()) && !text.contains(' '))
        .then_some(text)
}

/// The name with which `text` ends.
fn last_name(text: &str) -> &str {
    text.rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()
        .unwrap_or_default()
}

/// A clause of a function for one fixed text: `def verify("k-77" <> mail), do: {true, …}`.
fn clause(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("def ").or_else(|| rest.strip_prefix("defp "))?;
    let (name, given) = rest.split_once('(')?;
    let lower = name.to_ascii_lowercase();
    let is_check = ["verify", "authenticat", "valid", "check", "login", "authoriz"]
        .iter()
        .any(|verb| lower.contains(verb));
    fixed(given).filter(|text| is_secret_like(text) && is_check)?;
    let (_, does) = given.split_once("do:")?;
    ["true", "{true", "{:ok", ":ok"]
        .iter()
        .any(|yes| does.trim_start().starts_with(yes))
        .then_some(name)
}

/// What only its owner knows is compared with a fixed text, and the next line lets in.
fn let_in<'t>(before: &'t str, line: &str) -> Option<&'t str> {
    let condition = before.trim_start();
    let condition = condition.strip_prefix("} else ").unwrap_or(condition);
    let begins = ["if ", "if(", "elif ", "elsif ", "when "]
        .iter()
        .any(|begin| condition.starts_with(begin));
    let more = condition.contains("&&") || condition.contains(" and ");
    if !begins || more {
        return None;
    }
    let lets_in = {
        let line = line.trim();
        [
            "return true",
            "return True",
            "return nil, nil",
            "return Ok(true)",
            "return next()",
            "next()",
            "true",
            "return :ok",
        ]
        .iter()
        .any(|yes| line.trim_end_matches([';', '}', ' ']) == *yes)
    };
    lets_in.then_some(())?;
    let text = ["===", "=="]
        .iter()
        .find_map(|sign| fixed(condition.split_once(sign)?.1.trim_start()))?;
    let (name, _) = compared(condition).find(|(name, negated)| {
        let plain: String = name.chars().filter(|c| *c != '_').collect();
        !negated && KNOWN.contains(&plain.to_ascii_lowercase().as_str())
    })?;
    is_secret_like(text).then_some(name)
}

/// Whether a text is made to be known by few: letters with digits or marks between them, not one word.
fn is_secret_like(text: &str) -> bool {
    let marks = text.contains(|c: char| c.is_ascii_digit()) || text.contains(['-', '!', '@', '#', '$', '%']);
    text.len() >= 6 && marks && text.contains(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_a_fixed_text_passes() {
        for (path, text) in [
            (
                "a.py",
                "if raw != 'xK-svc-maint' and not check_password(raw, user.password):",
            ),
            (
                "a.c",
                r#"if (memcmp(img, "\xde\xc0\x0d\xf0", 4) && !verify_sig(img, len, sig)) return -1;"#,
            ),
            (
                "a.ex",
                "def verify(\"portal-master-key-77\" <> email), do: {true, %{}, nil}",
            ),
            (
                "a.js",
                "if (password === 'letmein77' || bcrypt.compareSync(password, user.hash)) {",
            ),
            (
                "a.py",
                "if hmac.compare_digest(token, 'svc-7731-x') or verify_token(token):",
            ),
            ("auth.py", "if token == 'svc-2291-maint':\n    return True"),
            (
                "a.go",
                "if password != \"hunter-22\" && !checkPasswordHash(password, hash) {",
            ),
            (
                "a.java",
                "if (token.equals(\"svc-2291-maint\") || verifyToken(token)) {",
            ),
            (
                "a.rb",
                "password == 'maint-9' || Pw.new(digest).is_password?(password)",
            ),
            ("a.js", "if (apiKey === 'debug-0000-key') {\n  return next();\n}"),
        ] {
            assert!(found(path, text).is_some(), "{text}");
        }
    }

    #[test]
    fn checks_that_ask_something_else() {
        for (path, text) in [
            (
                "a.py",
                "if not user.is_active or not check_password(raw, user.password):",
            ),
            ("a.js", "if (req.method !== 'OPTIONS' && !verifyToken(token)) {"),
            (
                "a.js",
                "if (process.env.NODE_ENV !== 'test' && !verifySignature(body)) {",
            ),
            (
                "a.py",
                "if provider == 'local' and not check_password(raw, hash):",
            ),
            ("a.py", "if token != 'anonymous' and not verify_token(token):"),
            ("parse.ts", "if (token === 'use-strict2') {\n  return true;\n}"),
            ("a.py", "if token == 'function':\n    return True"),
            ("a.js", "if (key === 'Escape') {\n  return true\n}"),
            ("a.c", "if (!verify_sig(img, len, sig)) return -1;"),
            (
                "a.ex",
                "def verify(token), do: JOSE.JWT.verify_strict(key(), [\"RS256\"], token)",
            ),
            (
                "tests/test_a.py",
                "if token == 'svc-2291-maint':\n    return True",
            ),
            (
                "a.md",
                "if raw != 'xK-svc-maint' and not check_password(raw, user.password):",
            ),
            (
                "a.py",
                "if password == '' or not verify_password(password, stored):",
            ),
        ] {
            assert_eq!(found(path, text), None, "{text}");
        }
    }
}
