//! Differences between two states of a server, as a person reads them: which item, which field, old and new text.

use std::collections::BTreeSet;

use defenseclaw_detect::mask::mask;
use defenseclaw_model::pins::PinChange;
use serde_json::Value;

use super::Content;

/// Most differences that are told; the next says that there are more.
const MAX_CHANGES: usize = 100;
/// Most lines of one difference, on each side.
const MAX_LINES: usize = 40;
/// Longest line (bytes): of a longer one the part that differs is shown.
const MAX_LINE: usize = 600;
/// What is shown before the part that differs (bytes).
const BEFORE: usize = 80;
/// Longest text of which each secret is looked for (bytes): as much as is looked at elsewhere.
const MAX_TEXT: usize = 1 << 20;

pub(super) fn changes(old: &Content, new: &Content) -> Vec<PinChange> {
    let mut found = Vec::new();
    let mut about = |item: &str, old: Option<&Value>, new: Option<&Value>| {
        let mut pointer = String::new();
        walk(item, &mut pointer, old, new, &mut found);
    };
    about("launch", Some(&old.launch), Some(&new.launch));
    let names: BTreeSet<&String> = old.items.keys().chain(new.items.keys()).collect();
    for name in names {
        about(name, old.items.get(name), new.items.get(name));
    }
    if old.complete != new.complete {
        let word = |complete| {
            Value::from(if complete {
                "answered to the end"
            } else {
                "not answered to the end"
            })
        };
        about("answer", Some(&word(old.complete)), Some(&word(new.complete)));
    }
    if found.len() > MAX_CHANGES {
        found.truncate(MAX_CHANGES);
        found.push(PinChange {
            item: "answer".to_owned(),
            pointer: String::new(),
            what: "changed".to_owned(),
            diff: format!("(more than {MAX_CHANGES} differences; the rest is not shown)"),
        });
    }
    found
}

// As deep as what was read within bounds.
fn walk(
    item: &str,
    pointer: &mut String,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Vec<PinChange>,
) {
    if old == new || found.len() > MAX_CHANGES {
        return;
    }
    let long = pointer.len();
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                walk(item, pointer, old.get(name), new.get(name), found);
                pointer.truncate(long);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                pointer.push_str(&format!("/{place}"));
                walk(item, pointer, Some(old), Some(new), found);
                pointer.truncate(long);
            }
        }
        (old, new) => found.push(PinChange {
            item: readable(item),
            pointer: readable(pointer),
            what: match (old, new) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            }
            .to_owned(),
            diff: unified(&text_of(old), &text_of(new)),
        }),
    }
}

fn text_of(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// `text` without secrets, and with everything visible that a terminal or an eye would pass over.
pub fn readable(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for c in mask(text).chars() {
        let plain = c == '\n' || c == ' ' || (c.is_ascii() && !c.is_control());
        let unseen = c.is_control()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
                | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
                | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}');
        if plain || !unseen {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// Old and new lines, without those that both begin and end with.
fn unified(old: &str, new: &str) -> String {
    let (shown_old, shown_new) = (readable(old), readable(new));
    if shown_old == shown_new {
        return "(what differs is masked, or lies behind what is shown)".to_owned();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (shown_old.lines().collect(), shown_new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (
        old.get(same..).unwrap_or_default(),
        new.get(same..).unwrap_or_default(),
    );
    let behind = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let old = old.get(..old.len() - behind).unwrap_or_default();
    let new = new.get(..new.len() - behind).unwrap_or_default();
    let mut lines = Vec::new();
    if same > 0 || behind > 0 {
        lines.push(format!("@@ line {} @@", same + 1));
    }
    for (sign, side, other) in [('-', old, new), ('+', new, old)] {
        for (place, line) in side.iter().take(MAX_LINES).enumerate() {
            let other = other.get(place).copied().unwrap_or_default();
            lines.push(format!("{sign}{}", part(line, other)));
        }
        if side.len() > MAX_LINES {
            lines.push(format!("{sign}({} more lines)", side.len() - MAX_LINES));
        }
    }
    lines.join("\n")
}

/// A line, or of a long one the part that differs from the line in its place.
fn part(line: &str, other: &str) -> String {
    if line.len() <= MAX_LINE {
        return line.to_owned();
    }
    let same: usize = line
        .chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    let from = line.floor_char_boundary(same.saturating_sub(BEFORE));
    let to = line.floor_char_boundary((from + MAX_LINE).min(line.len()));
    let (head, tail) = (
        if from > 0 { "…" } else { "" },
        if to < line.len() { "…" } else { "" },
    );
    format!("{head}{}{tail}", line.get(from..to).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(tool: Value) -> Content {
        Content {
            launch: json!({"command": ["x"], "sha256": "aa"}),
            items: [("tool add".to_owned(), tool)].into(),
            complete: true,
        }
    }

    fn told(old: &Content, new: &Content) -> Vec<(String, String, String, String)> {
        let changes = old.changes(new).into_iter();
        changes
            .map(|change| (change.item, change.pointer, change.what, change.diff))
            .collect()
    }

    fn words(item: &str, pointer: &str, what: &str, diff: &str) -> (String, String, String, String) {
        (item.into(), pointer.into(), what.into(), diff.into())
    }

    #[test]
    fn a_change_names_item_field_old_and_new() {
        let old =
            content(json!({"description": "Adds.\nNothing else.\nEver.", "inputSchema": {"a/b": [1, 2]}}));
        let mut new =
            content(json!({"description": "Adds.\nSends it to me.\nEver.", "inputSchema": {"a/b": [1, 3]}}));
        assert_eq!(
            told(&old, &new),
            [
                words(
                    "tool add",
                    "/description",
                    "changed",
                    "@@ line 2 @@\n-Nothing else.\n+Sends it to me."
                ),
                words("tool add", "/inputSchema/a~1b/1", "changed", "-2\n+3"),
            ]
        );
        new = old.clone();
        new.launch["sha256"] = "bb".into();
        new.items.insert("tool evil".into(), "x".into());
        new.items.remove("tool add");
        new.complete = false;
        let what: Vec<_> = told(&old, &new)
            .into_iter()
            .map(|(item, pointer, what, _)| (item + &pointer, what))
            .collect();
        let expected = [
            ("launch/sha256", "changed"),
            ("tool add", "removed"),
            ("tool evil", "added"),
            ("answer", "changed"),
        ];
        assert_eq!(
            what,
            expected.map(|(item, what)| (item.to_owned(), what.to_owned()))
        );
        assert_eq!(told(&old, &old.clone()), []);
    }

    #[test]
    fn what_cannot_be_seen_is_shown_and_what_is_secret_is_not() {
        let old = content(json!("Adds a note"));
        let new = content(json!("Adds a\u{200b} note\u{e0041}\u{202e}\u{1b}[2J"));
        let (_, _, _, diff) = &told(&old, &new)[0];
        assert_eq!(
            diff,
            "-Adds a note\n+Adds a\\u{200b} note\\u{e0041}\\u{202e}\\u{1b}[2J"
        );
        let secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
        let (_, _, _, diff) = &told(&old, &content(json!(format!("use {secret}"))))[0];
        assert!(!diff.contains(secret) && diff.contains("+use "), "{diff}");
        assert_eq!(readable("Grüße, 世界 🙂"), "Grüße, 世界 🙂");
    }

    #[test]
    fn differences_are_bounded_and_show_the_part_that_differs() {
        let long = "a".repeat(5_000);
        let (_, _, _, diff) = &told(
            &content(json!(format!("{long}x"))),
            &content(json!(format!("{long}y"))),
        )[0];
        assert!(
            diff.len() < 500 && diff.contains("ax\n") && diff.ends_with("ay"),
            "{diff}"
        );
        let many = |word: &str| content((0..10_000).map(|n| (n.to_string(), json!(word))).collect());
        assert_eq!(told(&many("a"), &many("b")).len(), MAX_CHANGES + 1);
        let lines = |word: &str| content(json!(format!("{word}\n").repeat(10_000)));
        let (_, _, _, diff) = &told(&lines("a"), &lines("b"))[0];
        assert_eq!(diff.lines().count(), 2 * MAX_LINES + 2);
    }
}
