//! Secrets taken out of text before anything is stored, shown or sent on.
//!
//! What is found stands afterwards as its first characters (where a format has a public prefix), its kind and its
//! length: `ghp_***[github-token, 40 bytes]`. Masking what is masked changes nothing.
//!
//! The formats stand in one regular expression of the `regex` crate, which runs in time linear in the text; matching is
//! by shape, and errs towards masking. A secret without any shape and without a name beside it cannot be known.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What shows that something was masked.
const MARK: &str = "***[";

/// How far behind the cut a secret may reach that begins before it (bytes), so that one at the cut is still known for
/// what it is. A PEM block needs only its first line.
const MARGIN: usize = 4096;

/// Deepest JSON that is kept; a harness's tool input has about four levels.
const MAX_DEPTH: usize = 32;

/// Most entries that are kept of one JSON array or object.
const MAX_ENTRIES: usize = 4096;

/// One format of secret.
struct Format {
    /// What it is called in the masked text.
    kind: &'static str,
    /// Its shape. A group `keep…` stands before the secret and stays; a group `secret…` is the secret, else all of it is.
    shape: &'static str,
    /// Characters of the secret that stay: the format's public prefix.
    prefix: usize,
}

const fn format(kind: &'static str, prefix: usize, shape: &'static str) -> Format {
    Format { kind, shape, prefix }
}

/// In order: where two begin at the same place, the first that matches names it. Sources: each vendor's documentation
/// of its token format.
const FORMATS: &[Format] = &[
    format(
        "private-key",
        0,
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
    ),
    format(
        "aws-key-id",
        4,
        r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z2-7]{16}\b",
    ),
    format(
        "github-token",
        4,
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    ),
    format(
        "gitlab-token",
        6,
        r"\bgl(?:pat|oas|rt|cbt|ptt|ft|imt|agent|soat|dt)-[A-Za-z0-9_.-]{20,}",
    ),
    format(
        "slack-token",
        5,
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}",
    ),
    format(
        "slack-webhook",
        33,
        r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_+-]{20,}",
    ),
    format(
        "stripe-key",
        8,
        r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{24,}",
    ),
    format("anthropic-key", 7, r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    format(
        "openai-key",
        3,
        r"\bsk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}",
    ),
    format("npm-token", 4, r"\bnpm_[A-Za-z0-9]{36}\b"),
    format("pypi-token", 5, r"\bpypi-[A-Za-z0-9_-]{50,}"),
    format(
        "google-key",
        4,
        r"\bAIza[A-Za-z0-9_-]{35}|\bya29\.[A-Za-z0-9_-]{20,}|\bGOCSPX-[A-Za-z0-9_-]{20,}",
    ),
    format("huggingface-token", 3, r"\bhf_[A-Za-z0-9]{30,}"),
    format("nvidia-key", 6, r"\bnvapi-[A-Za-z0-9_-]{40,}"),
    format("digitalocean-token", 7, r"\bdo[opr]_v1_[a-f0-9]{64}"),
    format("sendgrid-key", 3, r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    format("vault-token", 4, r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    format("databricks-token", 4, r"\bdapi[a-f0-9]{32}\b"),
    format("docker-token", 8, r"\bdckr_pat_[A-Za-z0-9_-]{20,}"),
    format("age-key", 15, r"\bAGE-SECRET-KEY-1[A-Z0-9]{40,}"),
    format("telegram-token", 0, r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    format(
        "jwt",
        3,
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    ),
    format(
        "authorization",
        0,
        r#"(?i:(?P<keep>authorization["']?\s{0,4}[:=]\s{0,4}["']?(?:bearer|basic|token|digest|bot|apikey)\s{1,4}))(?P<secret>[^\s"',;]{4,})"#,
    ),
    format(
        "bearer-token",
        0,
        r#"(?P<keep>\b[Bb]earer\s{1,4})(?P<secret>[A-Za-z0-9_.~+/=-]{16,})"#,
    ),
    format(
        "url-password",
        0,
        r#"(?P<keep>\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/@:"'<>]{0,128}:)(?P<secret>[^\s/@"'<>]{1,256})@"#,
    ),
    format(
        "secret",
        0,
        r#"(?i:(?P<keep>(?:password|passwd|passphrase|secret|secret[_-]?key|token|api[_-]?key|apikey|access[_-]?key|auth[_-]?key|encryption[_-]?key|signing[_-]?key|private[_-]?key|client[_-]?secret|credential|credentials|session[_-]?id|cookie)["']?\s{0,4}(?::|=>|:=|=)\s{0,4})(?P<secret>"[^"\n]{4,}"|'[^'\n]{4,}'|[^\s"',;&|<>(){}]{6,}))"#,
    ),
    format(
        "secret",
        0,
        r#"(?i:(?P<keep>--(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|auth|client[_-]?secret)\s{1,4}))(?P<secret>"[^"\n]{4,}"|'[^'\n]{4,}'|[^\s"',;&|<>(){}-][^\s"',;&|<>(){}]{5,})"#,
    ),
    format(
        "user-password",
        0,
        r#"(?P<keep>(?:\s|^)(?:-u|--user)[\s=]{1,4}["']?[^\s:"']{1,64}:)(?P<secret>[^\s"']{3,})"#,
    ),
];

/// The formats as one expression, each in a group of its own, and where that group's parts are.
struct Scanner {
    any: Regex,
    /// For each format: the indices of its whole, of what stays before, and of the secret.
    groups: Vec<(usize, Option<usize>, Option<usize>)>,
}

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let mut text = String::new();
    for (index, format) in FORMATS.iter().enumerate() {
        // ASCII word boundaries, for which the engine stays on its fast path in any text.
        let shape = format.shape.replace(r"\b", r"(?-u:\b)");
        let shape = shape.replace("(?P<keep>", &format!("(?P<keep{index}>"));
        let shape = shape.replace("(?P<secret>", &format!("(?P<secret{index}>"));
        text.push_str(if index == 0 { "" } else { "|" });
        text.push_str(&format!("(?P<whole{index}>{shape})"));
    }
    #[expect(
        clippy::expect_used,
        reason = "the expression is a constant, and every test of this module compiles it"
    )]
    let any = Regex::new(&text).expect("the formats are valid expressions");
    let names: Vec<_> = any.capture_names().collect();
    let at = |name: String| names.iter().position(|known| *known == Some(name.as_str()));
    let groups = (0..FORMATS.len())
        .map(|index| {
            (
                at(format!("whole{index}")).unwrap_or(0),
                at(format!("keep{index}")),
                at(format!("secret{index}")),
            )
        })
        .collect();
    Scanner { any, groups }
});

/// `text` without its secrets; borrowed where it holds none.
pub fn mask(text: &str) -> Cow<'_, str> {
    // The shortest thing that any format masks has more bytes than this.
    const SHORTEST: usize = 8;
    if text.len() < SHORTEST {
        return Cow::Borrowed(text);
    }
    SCANNER.any.replace_all(text, replacement)
}

/// `text` without its secrets, cut to about `max_bytes`; a cut text says how long it was.
pub fn mask_text(text: &str, max_bytes: usize) -> String {
    let seen = text.floor_char_boundary(max_bytes.saturating_add(MARGIN));
    let mut masked = mask(&text[..seen]).into_owned();
    if masked.len() > max_bytes || seen < text.len() {
        masked.truncate(masked.floor_char_boundary(max_bytes));
        masked.push_str(&format!("… ({} bytes in all)", text.len()));
    }
    masked
}

/// `value` with every string masked and cut to about `max_bytes`, and with the values of fields masked whose names say
/// that they are secret. What is nested deeper or has more entries than is kept is replaced by a remark.
pub fn mask_value(value: &Value, max_bytes: usize) -> Value {
    value_at(value, max_bytes, MAX_DEPTH)
}

fn value_at(value: &Value, max_bytes: usize, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else {
        return Value::String("(nested too deep to be kept)".to_owned());
    };
    match value {
        Value::String(text) => Value::String(mask_text(text, max_bytes)),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .take(MAX_ENTRIES)
                .map(|item| value_at(item, max_bytes, deeper))
                .collect(),
        ),
        Value::Object(fields) => {
            let masked = fields.iter().take(MAX_ENTRIES).map(|(name, field)| {
                let kept = match field {
                    Value::String(text) if is_secret_name(name) && !is_reference(text) => {
                        Value::String(hidden("secret", "", text))
                    }
                    field => value_at(field, max_bytes, deeper),
                };
                (mask_text(name, max_bytes), kept)
            });
            Value::Object(masked.collect())
        }
        other => other.clone(),
    }
}

/// A program's arguments without their secrets: like [`mask`] for each, and a word behind `--password` and its like is
/// masked although it stands alone.
pub fn mask_arguments(arguments: &[String]) -> Vec<String> {
    let mut masked: Vec<String> = Vec::with_capacity(arguments.len());
    let mut named = false;
    for argument in arguments {
        let bare = argument.trim_start_matches('-');
        let hide = named && !argument.starts_with('-') && !is_reference(argument);
        masked.push(if hide {
            hidden("secret", "", argument)
        } else {
            mask(argument).into_owned()
        });
        named = bare.len() < argument.len() && is_secret_name(bare);
    }
    masked
}

fn is_secret_name(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
        "clientsecret",
        "authorization",
        "credential",
        "credentials",
        "authtoken",
        "accesstoken",
        "refreshtoken",
    ];
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    NAMES
        .iter()
        .any(|known| plain == *known || (plain.len() <= 40 && plain.ends_with(known)))
}

fn replacement(found: &Captures<'_>) -> String {
    let whole = found.get(0).map_or("", |whole| whole.as_str());
    let matched = SCANNER
        .groups
        .iter()
        .position(|(group, _, _)| found.get(*group).is_some());
    let Some((format, (_, keep, secret))) =
        matched.and_then(|at| Some((FORMATS.get(at)?, SCANNER.groups.get(at)?)))
    else {
        return whole.to_owned();
    };
    let Some(secret) = secret.and_then(|group| found.get(group)) else {
        let prefix = whole.get(..format.prefix).unwrap_or_default();
        return hidden(format.kind, prefix, whole);
    };
    let kept = keep
        .and_then(|group| found.get(group))
        .map_or("", |kept| kept.as_str());
    let text = secret.as_str();
    let quote = text
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))
        .filter(|&q| text.len() > 1 && text.ends_with(q));
    let bare = quote.map_or(text, |quote| text.trim_matches(quote));
    if is_reference(bare) || is_plain(format, bare) || bare.contains(MARK) {
        return whole.to_owned();
    }
    let quote = quote.map(String::from).unwrap_or_default();
    let behind = whole.get(kept.len() + text.len()..).unwrap_or_default();
    format!("{kept}{quote}{}{quote}{behind}", hidden(format.kind, "", bare))
}

fn hidden(kind: &str, prefix: &str, secret: &str) -> String {
    format!("{prefix}{MARK}{kind}, {} bytes]", secret.len())
}

/// A name of a secret, not the secret: `$TOKEN`, `${{ secrets.X }}`, `<token>`, `%TOKEN%`.
fn is_reference(text: &str) -> bool {
    text.starts_with(['$', '<', '%', '{'])
        || text.starts_with("process.env")
        || text.starts_with("os.environ")
        || text.starts_with("env.")
        || text.starts_with("secrets.")
}

/// Values that stand behind `token:` and its like in code and settings without being secret.
fn is_plain(format: &Format, text: &str) -> bool {
    const WORDS: [&str; 14] = [
        "string",
        "required",
        "optional",
        "undefined",
        "password",
        "redacted",
        "example",
        "changeme",
        "placeholder",
        "Option",
        "SecretString",
        "default",
        "number",
        "boolean",
    ];
    let type_like = [
        "Option<", "String", "&str", "Vec<", "str,", "None", "self.", "config.", "null",
    ];
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if format.kind == "user-password" {
        // `docker run -u 1000:1000`.
        return digits;
    }
    let path = text.starts_with(['.', '~', '[', '='])
        || text.strip_prefix('/').is_some_and(|rest| rest.contains('/'));
    format.kind == "secret"
        && (path
            || (digits && text.len() < 9)
            || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
            || type_like.iter().any(|start| text.starts_with(start))
            || text.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '…')))
}

#[cfg(test)]
mod tests;
