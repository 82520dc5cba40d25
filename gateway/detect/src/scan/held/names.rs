//! What a name stands for: a credential, a key, or neither.

/// Last words of names that stand for a credential.
const CREDENTIALS: [&str; 27] = [
    "password",
    "passwd",
    "passwort",
    "kennwort",
    "passphrase",
    "passcode",
    "pwd",
    "pw",
    "pass",
    "psk",
    "secret",
    "token",
    "apikey",
    "credential",
    "credentials",
    "clave",
    "senha",
    "contrasena",
    "mdp",
    "auth",
    "authorization",
    "wachtwoord",
    "pat",
    "bearer",
    "unseal",
    "secretkey",
    "accesskey",
];

/// Ends of last words that do so too: `pgpassword`, `botToken`.
const ENDS: [&str; 5] = ["password", "passwd", "passphrase", "secret", "token"];

/// Words before `key` that make it a credential.
const OF_KEYS: [&str; 57] = [
    "api",
    "secret",
    "access",
    "private",
    "signing",
    "sign",
    "auth",
    "encryption",
    "crypt",
    "master",
    "webhook",
    "license",
    "licence",
    "session",
    "jwt",
    "hmac",
    "service",
    "account",
    "deploy",
    "client",
    "shared",
    "root",
    "admin",
    "db",
    "app",
    "bot",
    "device",
    "upload",
    "write",
    "push",
    "ssh",
    "vpn",
    "aes",
    "enc",
    "ocr",
    "maps",
    "cdn",
    "purge",
    "prod",
    "live",
    "server",
    "ingest",
    "smtp",
    "partner",
    "callback",
    "company",
    "vault",
    "relay",
    "gateway",
    "office",
    "registry",
    "repo",
    "ci",
    "cookie",
    "merchant",
    "payment",
    "backend",
];

/// Words before `key` that make it the name of something.
const OF_NAMES: [&str; 28] = [
    "cache",
    "primary",
    "foreign",
    "sort",
    "partition",
    "row",
    "dedup",
    "idempotency",
    "group",
    "object",
    "query",
    "route",
    "lookup",
    "index",
    "map",
    "hash",
    "bucket",
    "topic",
    "job",
    "lock",
    "item",
    "event",
    "translation",
    "message",
    "column",
    "field",
    "data",
    "storage",
];

/// Words at the end of a name that say nothing of what it names.
const SUFFIXES: [&str; 12] = [
    "default",
    "value",
    "fallback",
    "prod",
    "live",
    "production",
    "old",
    "new",
    "main",
    "base64",
    "hex",
    "text",
];

/// How sure a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// It names a credential.
    Credential,
    /// A key, of which nobody knows whether it opens anything.
    Key,
}

/// What a name stands for.
pub(super) fn named(name: &str) -> Option<Named> {
    let name = name.strip_suffix(".value").unwrap_or(name);
    let words = words_of(name);
    let mut words: &[String] = &words;
    while let [before @ .., last] = words
        && (SUFFIXES.contains(&last.as_str()) || last.bytes().all(|byte| byte.is_ascii_digit()))
    {
        words = before;
    }
    let (last, before) = words.split_last()?;
    let last = last.trim_end_matches(|c: char| c.is_ascii_digit());
    if words.iter().any(|word| word == "public" || word == "pub") {
        return None;
    }
    if CREDENTIALS.contains(&last) || ENDS.iter().any(|end| last.ends_with(end)) {
        return Some(Named::Credential);
    }
    if !matches!(last, "key" | "keys" | "salt") {
        return None;
    }
    match before.last() {
        Some(word) if OF_KEYS.contains(&word.as_str()) => Some(Named::Credential),
        Some(word) if OF_NAMES.contains(&word.as_str()) => None,
        _ => (last == "key").then_some(Named::Key),
    }
}

/// The words of a name in lower case: `dbPassword`, `DB_PASSWORD` and `db.password` are the same two.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if matches!(c, '_' | '-' | '.' | ' ') {
            words.push(String::new());
            lower_before = false;
            continue;
        }
        if c.is_uppercase() && lower_before {
            words.push(String::new());
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_their_words() {
        for name in [
            "dbPassword",
            "PGPASSWORD",
            "api_key",
            "app.secret.value",
            "x-auth-token",
            "JWT_SECRET_2",
        ] {
            assert_eq!(named(name), Some(Named::Credential), "{name}");
        }
        assert_eq!(
            (named("KEY"), named("turnKey")),
            (Some(Named::Key), Some(Named::Key))
        );
        for name in [
            "secretName",
            "token_url",
            "password_field",
            "monkey",
            "PUBLIC_API_KEY",
            "cacheKey",
            "storage_key",
            "",
        ] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
