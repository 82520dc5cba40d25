use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Assembled at run time, so that no scanner of repositories takes this file for a leak.
fn token(prefix: &str, length: usize) -> String {
    let body: String = "aB3dE5fG7hJ9kL2mN4pQ6rS8tU"
        .chars()
        .cycle()
        .take(length)
        .collect();
    format!("{prefix}{body}")
}

#[test]
fn known_formats_are_masked_with_their_kind_and_length() {
    let upper: String = "ABCDEFGH234567QR".to_owned();
    for (secret, kind) in [
        (format!("AKIA{upper}"), "aws-key-id"),
        (token("ghp_", 36), "github-token"),
        (token("github_pat_", 60), "github-pat"),
        (token("glpat-", 20), "gitlab-token"),
        (token("xoxb-", 24), "slack-token"),
        (token("https://hooks.slack.com/services/", 30), "slack-webhook"),
        (token("sk_live_", 24), "stripe-key"),
        (token("sk-ant-api03-", 40), "anthropic-key"),
        (token("sk-proj-", 40), "openai-key"),
        (token("npm_", 36), "npm-token"),
        (token("pypi-", 60), "pypi-token"),
        (token("AIza", 35), "google-api-key"),
        (token("hf_", 34), "huggingface-token"),
        (token("nvapi-", 60), "nvidia-key"),
        (
            format!("{}.{}.{}", token("eyJ", 20), token("eyJ", 30), token("", 30)),
            "jwt",
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef\n-----END OPENSSH PRIVATE KEY-----".to_owned(),
            "private-key",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nabc, cut off".to_owned(),
            "private-key",
        ),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----".to_owned(),
            "private-key",
        ),
    ] {
        let masked = mask(&format!("before {secret} behind")).into_owned();
        let length = if secret.ends_with("cut off") {
            secret.len() + 7
        } else {
            secret.len()
        };
        assert!(
            masked.starts_with("before ") && masked.contains(&format!("***[{kind}, {length} bytes]")),
            "{secret}: {masked}"
        );
        assert!(!masked.contains(secret.get(12..).unwrap()), "{masked}");
    }
}

#[test]
fn secrets_beside_their_name_are_masked() {
    for (text, expected) in [
        ("password=hunter2!", "password=***[secret, 8 bytes]"),
        (
            "DB_PASSWORD='correct horse' x",
            "DB_PASSWORD='***[secret, 13 bytes]' x",
        ),
        (
            "{\"api_key\": \"abcdef123\"}",
            "{\"api_key\": \"***[secret, 9 bytes]\"}",
        ),
        ("token: s3cr3tvalue", "token: ***[secret, 11 bytes]"),
        (
            "client_secret=abc123def&x=1",
            "client_secret=***[secret, 9 bytes]&x=1",
        ),
        (
            "tool --password hunter22 run",
            "tool --password ***[secret, 8 bytes] run",
        ),
        (
            "Authorization: Bearer abc.def-123",
            "Authorization: Bearer ***[authorization, 11 bytes]",
        ),
        (
            "-H 'authorization: Basic dXNlcjpwYXNz'",
            "-H 'authorization: Basic ***[authorization, 12 bytes]'",
        ),
        (
            "https://user:pa55@host/x",
            "https://user:***[url-password, 4 bytes]@host/x",
        ),
        (
            "postgres://postgres:postgres@host/db",
            "postgres://postgres:***[url-password, 8 bytes]@host/db",
        ),
        (
            "redis://:changeme@host, PASSWORD=postgres",
            "redis://:***[url-password, 8 bytes]@host, PASSWORD=***[secret, 8 bytes]",
        ),
        (
            "curl -u admin:password https://h/",
            "curl -u admin:***[user-password, 8 bytes] https://h/",
        ),
        (
            "postgres://app:p@host/db",
            "postgres://app:***[url-password, 1 bytes]@host/db",
        ),
        (
            "curl -u me:hunter2 https://h/",
            "curl -u me:***[user-password, 7 bytes] https://h/",
        ),
    ] {
        assert_eq!(mask(text), expected);
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    for text in [
        "password=$PASSWORD",
        "--password \"$PASSWORD\"",
        "token: ${{ secrets.TOKEN }}",
        "fn login(token: String, password: &str)",
        "token: Option<String>",
        "password: string;",
        "max_tokens: 4096",
        "token=12345",
        "api_key = os.environ['KEY']",
        "apiKey: process.env.KEY",
        "password: <password>",
        "private_key: /etc/ssl/private/x.key",
        "the password is strong",
        "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ user@host",
        "git@github.com:a/b.git",
        "https://host:8080/a@b",
        "http://example.com/x:y@z",
        "docker run -u 1000:1000 x",
        "task-force-one-two-three-four-five",
        "sk-short",
        "eyJ is how a JWT begins",
        "AKIA is a prefix",
        "ghp_ is a prefix",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "PWD=/root/some/folder",
        "/usr/bin/npm_config",
    ] {
        assert_eq!(mask(text), text);
    }
}

#[test]
fn clean_text_is_borrowed() {
    assert!(matches!(mask("cargo build --release"), Cow::Borrowed(_)));
}

#[test]
fn a_cut_text_keeps_to_its_bound_and_hides_a_secret_at_the_cut() {
    let secret = token("ghp_", 36);
    let text = format!("{} {secret}{}", "x".repeat(89), "y ".repeat(5000));
    for bound in 80..140 {
        let masked = mask_text(&text, bound);
        assert!(!masked.contains(&secret[4..12]), "{bound}: {masked}");
        assert!(
            masked.len() <= bound + 40 && masked.contains("bytes in all"),
            "{masked}"
        );
    }
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "abcdefgh\n".repeat(5000));
    assert!(!mask_text(&key, 200).contains("abcdefgh"));
    assert_eq!(mask_text("short", 100), "short");
    assert!(mask_text(&"é".repeat(100), 33).starts_with(&"é".repeat(16)));
}

#[test]
fn json_is_masked_by_shape_and_by_name() {
    let secret = token("ghp_", 36);
    let value = json!({"command": format!("echo {secret}"), "password": "abc", "n": [1, true, null, "ok"], "token": "$TOKEN",
        "env": {"MY_API_KEY": "v", "tokens": "many"}});
    let masked = mask_value(&value, 1000);
    assert_eq!(
        masked,
        json!({"command": "echo ghp_***[github-token, 40 bytes]", "password": "***[secret, 3 bytes]", "n": [1, true, null, "ok"],
            "token": "$TOKEN", "env": {"MY_API_KEY": "***[secret, 1 bytes]", "tokens": "many"}})
    );
    let mut deep = json!("x");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert!(mask_value(&deep, 10).to_string().contains("nested too deep"));
}

#[test]
fn a_word_behind_a_telling_option_is_masked() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        mask_arguments(&words(&["tool", "--password", "hunter2", "x"])),
        ["tool", "--password", "***[secret, 7 bytes]", "x"]
    );
    assert_eq!(
        mask_arguments(&words(&["tool", "--token", "--verbose", "x"])),
        ["tool", "--token", "--verbose", "x"]
    );
    assert_eq!(
        mask_arguments(&words(&["tool", "--path", "abc"])),
        ["tool", "--path", "abc"]
    );
}

#[test]
fn hostile_texts_are_masked_in_linear_time() {
    for unit in [
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJaaaaaaaaaa.",
        "eyJaaaaaaaaaa.eyJaaaaaaaaa.",
        "https://a:",
        "password=",
        "password='",
        "authorization: bearer ",
        "sk-",
        "AKIA",
        "gl",
        "a",
        "--token ",
        "-u a:",
        "\"",
        "x://y:z@",
        "glpat-",
        "é",
    ] {
        let text = unit.repeat((1 << 20) / unit.len());
        let started = Instant::now();
        let masked = mask(&text).len();
        assert!(
            masked > 0 && started.elapsed() < Duration::from_secs(15),
            "{unit} took {:?}",
            started.elapsed()
        );
    }
}

proptest! {
    #[test]
    fn masking_twice_is_masking_once(text in ".{0,200}", secret in "[a-z0-9/=_-]{0,30}") {
        for text in [text.clone(), format!("{text} password={secret} {text}"), format!("https://a:{secret}@{text}"),
            format!("{text} --token '{secret}'"), format!("Authorization: Bearer {secret}{text}")] {
            let once = mask(&text).into_owned();
            prop_assert_eq!(mask(&once), once.as_str());
        }
    }

    #[test]
    fn cutting_never_panics_and_keeps_to_its_bound(text in any::<String>(), bound in 0_usize..64) {
        prop_assert!(mask_text(&text, bound).len() <= bound + 48);
    }
}
