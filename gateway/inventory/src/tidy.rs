//! Texts of settings, made fit to be kept: masked, cut.

use defenseclaw_detect::mask;

/// Longest name, version, event or licence that is kept (bytes): what is longer is no name.
const MAX_NAME: usize = 256;

/// Longest command, argument or address that is kept (bytes).
const MAX_COMMAND: usize = 2048;

/// Most arguments, variables or headers that are kept of one server.
pub(crate) const MAX_WORDS: usize = 64;

/// A name: masked, cut.
pub(crate) fn name(text: &str) -> String {
    mask::mask_text(text, MAX_NAME)
}

/// A command line: masked, cut.
pub(crate) fn command(text: &str) -> String {
    mask::mask_text(text, MAX_COMMAND)
}

/// A program's arguments: each masked and cut; an address among them loses what [`url`] takes.
pub(crate) fn arguments(words: &[String]) -> Vec<String> {
    let shown: Vec<String> = words.iter().take(MAX_WORDS).map(|word| word_of(word)).collect();
    let mut masked: Vec<String> = mask::mask_arguments(&shown)
        .iter()
        .map(|word| mask::mask_text(word, MAX_COMMAND))
        .collect();
    if words.len() > MAX_WORDS {
        masked.push(format!("… ({} in all)", words.len()));
    }
    masked
}

/// `--header "Authorization: Bearer x"` and `KEY=value` of runners: the value of what is secret by its name, and addresses.
fn word_of(word: &str) -> String {
    if word.contains("://") {
        let (before, address) = word.split_at(word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0));
        return match address.split_once('=') {
            Some((name, value)) if value.contains("://") && !name.contains("://") => {
                format!("{before}{name}={}", url(value))
            }
            _ => format!("{before}{}", url(address)),
        };
    }
    word.to_owned()
}

/// An address without its user and password, and with the names of its query alone; masked, cut.
pub(crate) fn url(text: &str) -> String {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (text, None),
    };
    let address = match address.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority
                .rsplit_once('@')
                .map_or_else(|| authority.to_owned(), |(_, host)| format!("***@{host}"));
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    };
    let names = query.map(|query| {
        let names = query
            .split('&')
            .take(MAX_WORDS)
            .map(|pair| match pair.split_once('=') {
                // A reference to a variable is no secret, and says where the secret comes from.
                Some((name, value)) if is_reference(value) => format!("{name}={value}"),
                Some((name, _)) => format!("{name}=***"),
                None => "***".to_owned(),
            });
        format!("?{}", names.collect::<Vec<_>>().join("&"))
    });
    mask::mask_text(&format!("{address}{}", names.unwrap_or_default()), MAX_COMMAND)
}

fn is_reference(value: &str) -> bool {
    let inside = value.strip_prefix("${").and_then(|value| value.strip_suffix('}'));
    inside.is_some_and(|name| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_:.".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_where_and_loses_who() {
        for (given, kept) in [
            ("https://mcp.example/sse", "https://mcp.example/sse"),
            (
                "https://ada:hunter2@mcp.example/sse",
                "https://***@mcp.example/sse",
            ),
            ("https://a@b@mcp.example/x", "https://***@mcp.example/x"),
            (
                "https://mcp.example/x?key=abc123&v=2#frag",
                "https://mcp.example/x?key=***&v=***",
            ),
            (
                "https://mcp.example/x?k=${TOKEN}",
                "https://mcp.example/x?k=${TOKEN}",
            ),
            ("https://mcp.example/x?justsecret", "https://mcp.example/x?***"),
            ("not an address", "not an address"),
        ] {
            assert_eq!(url(given), kept);
        }
    }

    #[test]
    fn arguments_lose_what_is_secret_by_shape_or_by_the_word_before() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let token = format!("ghp_{}", "a1B2".repeat(9));
        let masked = arguments(&words(&[
            "-y",
            "pkg",
            "--token",
            "hunter2hunter2",
            &token,
            "--url=https://u:p@h.example/?a=b",
            "https://u:p@h.example/",
        ]));
        assert_eq!(&masked[..2], ["-y", "pkg"]);
        assert!(
            !masked.concat().contains("hunter2") && !masked.concat().contains(&token),
            "{masked:?}"
        );
        assert_eq!(masked[5], "--url=https://***@h.example/?a=***");
        assert_eq!(masked[6], "https://***@h.example/");
    }

    #[test]
    fn many_arguments_are_counted() {
        let many = vec!["x".to_owned(); MAX_WORDS + 1];
        let masked = arguments(&many);
        assert_eq!(masked.len(), MAX_WORDS + 1);
        assert_eq!(masked[MAX_WORDS], format!("… ({} in all)", MAX_WORDS + 1));
    }
}
