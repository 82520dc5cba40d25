//! Secrets taken out of text before anything is stored, shown or sent on.
//!
//! What is found stands afterwards as its first characters (where a format has a public prefix), its kind and its
//! length: `ghp_***[github-token, 40 bytes]`. Masking what is masked changes nothing.
//!
//! The formats are the rules of `policies/rules/secret.yaml`, the same that findings go by; masking is by shape alone, and
//! errs towards masking. Its work is linear in the text. A secret without any shape and without a name beside it cannot be
//! known.

use std::borrow::Cow;

use serde_json::Value;

use crate::text::secrets::{SecretRules, hidden};

/// How far behind the cut a secret may reach that begins before it (bytes), so that one at the cut is still known for
/// what it is. A PEM block needs only its first line.
const MARGIN: usize = 4096;

/// Deepest JSON that is kept; a harness's tool input has about four levels.
const MAX_DEPTH: usize = 32;

/// Most entries that are kept of one JSON array or object.
const MAX_ENTRIES: usize = 4096;

/// `text` without its secrets; borrowed where it holds none.
pub fn mask(text: &str) -> Cow<'_, str> {
    // The shortest thing that any format masks has more bytes than this.
    const SHORTEST: usize = 8;
    if text.len() < SHORTEST {
        return Cow::Borrowed(text);
    }
    let places = SecretRules::masking().hidden(text);
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for (from, to, instead) in places {
        masked.push_str(text.get(done..from).unwrap_or_default());
        masked.push_str(&instead);
        done = to;
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(masked)
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

fn is_reference(text: &str) -> bool {
    SecretRules::masking().is_reference(text)
}

#[cfg(test)]
mod tests;
