//! The same as the reader's own `from_str`, of values and of errors.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::{Spanned, Text, from_str};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything<'t> {
    truth: bool,
    small: i8,
    #[serde(default)]
    large: u64,
    share: Option<f64>,
    letter: char,
    name: String,
    #[serde(borrow)]
    part: Option<&'t str>,
    list: Vec<Kind>,
    pair: (u16, String),
    map: BTreeMap<String, Loose>,
    line: Spanned<String>,
    unit: (),
    wrapped: Wrapped,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Plain,
    Number(u32),
    Two(u8, u8),
    Fields { a: Option<bool>, b: Vec<i64> },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Loose {
    Flag(bool),
    Number(i64),
    Texts(Vec<String>),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Wrapped(u32);

const WHOLE: &str = "truth: true\nsmall: -7\nshare: 0.5\nletter: ä\nname: 007\npart: 'quoted'\nlist: [plain, number: 4, two: [1, 2], {fields: {a: null, b: \
                     [1, -2]}}]\npair: [9, x]\nmap: {a: yes please, b: 5, c: [d, e], f: false}\nline: here\nunit: ~\nwrapped: 3\n";

/// Both readers' answers, as text: values with their places, errors with theirs.
fn both<'t, T: Deserialize<'t> + std::fmt::Debug>(text: &'t str) -> (String, String) {
    let told = |answer: Result<T, serde_saphyr::Error>| match answer {
        Ok(value) => format!("{value:#?}"),
        Err(error) => format!("{error}\n{error:?}"),
    };
    (told(from_str(text)), told(serde_saphyr::from_str(text)))
}

#[test]
fn everything_that_types_ask_for_is_read() {
    let read: Everything<'_> = from_str(WHOLE).unwrap();
    assert_eq!((read.name.as_str(), read.part), ("007", Some("quoted")));
    assert_eq!(read.list.len(), 4);
    assert_eq!(read.line.referenced.line(), 10);
    let (ours, theirs) = both::<Everything<'_>>(WHOLE);
    assert_eq!(ours, theirs);
}

#[test]
fn what_was_yaml_is_read_from_json_as_serde_reads_it_and_without_places() {
    let json = r#"{"truth": true, "small": -7, "share": null, "letter": "\u00e4", "name": "a\nb", "part": "as it is",
        "list": ["plain", {"number": 4}, {"two": [1, 2]}, {"fields": {"a": null, "b": [1, -2]}}], "pair": [9, "x"],
        "map": {"a": "yes", "b": 5, "c": ["d"], "f": false}, "line": "here", "unit": null, "wrapped": 3}"#;
    let read: Everything<'_> = Text::Json(json).read().unwrap();
    assert_eq!(
        (read.name.as_str(), read.part, read.letter),
        ("a\nb", Some("as it is"), 'ä')
    );
    assert_eq!((read.list.len(), read.map["b"].clone()), (4, Loose::Number(5)));
    assert_eq!(
        (read.line.value.as_str(), read.line.referenced.line()),
        ("here", 0)
    );
    let same: Everything<'_> = Text::Yaml(json).read().unwrap();
    assert_eq!((same.list, same.map), (read.list, read.map), "YAML holds JSON");
    for (bad, why) in [
        (json.replace("\"truth\": true", "\"truth\": 5"), "boolean"),
        (json.replace("\"small\"", "\"smal\""), "smal"),
        (json.replace("\"wrapped\": 3}", "\"wrapped\": 3"), "EOF"),
        (format!("{json} more"), "trailing"),
    ] {
        let error = Text::Json(&bad).read::<Everything<'_>>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn errors_name_the_same_place_in_the_same_words() {
    for (from, to) in [
        ("truth: true", "truth: 5"),
        ("small: -7", "small: 700"),
        ("letter: ä", "lettre: ä"),
        ("two: [1, 2]", "two: [1]"),
        ("number: 4", "numbre: 4"),
        ("b: [1, -2]", "b: [1, x]"),
        ("b: 5", "b: {c: d}"),
        ("pair: [9, x]", "pair: [9, x"),
        ("unit: ~", "truth: true"),
        ("wrapped: 3", "wrapped: *nowhere"),
        ("wrapped: 3\n", "wrapped: 3\n---\nmore: 1\n"),
        (WHOLE, ""),
    ] {
        let text = WHOLE.replace(from, to);
        assert_ne!(text, WHOLE);
        let (ours, theirs) = both::<Everything<'_>>(&text);
        assert_eq!(ours, theirs);
        assert!(from_str::<Everything<'_>>(&text).is_err(), "{to}");
    }
}

#[test]
fn the_readers_bounds_hold() {
    let bomb: String = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, number| {
        let before = number - 1;
        text + &format!("a{number}: &a{number} [*a{before}, *a{before}]\n")
    });
    let deep = "[".repeat(10_000);
    for text in [bomb, deep] {
        let (ours, theirs) = both::<Value>(&text);
        assert_eq!(ours, theirs);
        assert!(from_str::<Value>(&text).is_err());
    }
}

#[test]
fn policies_are_the_same() {
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../policies"
    ))];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let (ours, theirs) = both::<Value>(&text);
                assert_eq!(ours, theirs, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 20);
}

proptest! {
    #[test]
    fn any_text_is_read_alike(text in "[-a-z0-9:,{}&* \\[\\]\n'\"#~|>!.]{0,60}") {
        let (ours, theirs) = both::<Value>(&text);
        prop_assert_eq!(ours, theirs);
        let (ours, theirs) = both::<BTreeMap<String, Loose>>(&text);
        prop_assert_eq!(ours, theirs);
        let (ours, theirs) = both::<Vec<Kind>>(&text);
        prop_assert_eq!(ours, theirs);
    }
}
