//! Source text handed to an interpreter on its command line: not parsed, but looked over.
//!
//! What a quoted string in it names outright (the path of something sensitive, a URL) is declared. The text itself is
//! noted as opaque.

use super::{Access, Analysis, hosts};
use crate::paths::PathRules;
use crate::shell::{Field, Scope, Sink};

/// Most quoted strings that are looked at in one text.
const MAX_STRINGS: usize = 256;

/// Longest quoted string that can be a path (bytes).
const MAX_PATH: usize = 4096;

/// Notes what `text` names.
pub(super) fn scan(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    analysis.spend(text.len());
    if analysis.stopped() {
        return;
    }
    analysis.opaque("interpreter", text);
    if decodes(text) && executes(text) {
        analysis.opaque("encoding", text);
    }
    for host in hosts::hosts_in(text) {
        analysis.host(host);
    }
    for quoted in strings(text) {
        let expanded = match (quoted.strip_prefix("~/"), scope.home) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => quoted.to_owned(),
        };
        if is_sensitive(analysis.rules, &expanded) {
            analysis.path(Access::Read, &Field::literal(expanded), scope);
        }
    }
}

fn is_sensitive(rules: &PathRules, path: &str) -> bool {
    let class = rules.classify(path);
    let class = class.or_else(|| path.strip_prefix('/').and_then(|tail| rules.classify(tail)));
    class.is_some_and(|class| rules.is_secret(class) || class == "env-file")
}

/// The quoted strings of `text`, by the nearest closing quote.
fn strings(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let open = rest.find(['"', '\'', '`'])?;
        let quote = char::from(rest.as_bytes()[open]);
        let inner = &rest[open + 1..];
        match inner.find([quote, '\n']) {
            // A quote that closes nothing on its line (an apostrophe) is stepped over.
            Some(end) if inner[end..].starts_with(quote) => {
                rest = &inner[end + 1..];
                Some(&inner[..end])
            }
            _ => {
                rest = inner;
                Some("")
            }
        }
    })
    .take(MAX_STRINGS)
    .filter(|quoted| !quoted.is_empty() && quoted.len() <= MAX_PATH)
}

fn decodes(text: &str) -> bool {
    [
        "b64decode",
        "base64",
        "fromhex",
        "unhexlify",
        "atob(",
        "decode64",
        "unpack(",
        "codecs.decode",
        "marshal.loads",
        "zlib.decompress",
    ]
    .iter()
    .any(|word| text.contains(word))
}

fn executes(text: &str) -> bool {
    [
        "exec(",
        "eval(",
        "system(",
        "popen",
        "subprocess",
        "child_process",
        "spawn(",
        "__import__('os')",
    ]
    .iter()
    .any(|word| text.contains(word))
}
