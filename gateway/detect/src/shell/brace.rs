//! `{a,b}` and `{1..3}`.

use super::word::{MAX_FIELDS, Piece};

/// Expands `{a,b}` where it is unquoted; beyond [`MAX_FIELDS`] the word stays as written.
pub(super) fn brace_expand(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let unquoted = |c: &str| {
        pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Text { text, quoted: false } if text.contains(c)))
    };
    if !unquoted("{") || !(unquoted(",") || unquoted("..")) {
        return vec![pieces.to_vec()];
    }
    let mut done: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut rest = pieces.to_vec();
    for piece in &mut rest {
        if let Piece::Text { text, quoted: false } = piece
            && text.contains("..")
        {
            *text = listed_ranges(text);
        }
    }
    // Each turn takes one brace group off the front; nested groups are opened by a turn of their own on each alternative.
    while let Some((before, alternatives, after)) = first_group(&rest) {
        let mut grown = Vec::new();
        for head in &done {
            for alternative in &alternatives {
                for inner in if has_group(alternative) {
                    brace_expand(alternative)
                } else {
                    vec![alternative.clone()]
                } {
                    grown.push(head.iter().chain(&before).chain(&inner).cloned().collect());
                    if grown.len() > MAX_FIELDS {
                        return vec![pieces.to_vec()];
                    }
                }
            }
        }
        done = grown;
        rest = after;
    }
    done.into_iter()
        .map(|head| head.into_iter().chain(rest.iter().cloned()).collect())
        .collect()
}

/// `{a..c}` written as `{a,b,c}`, and `{a..a}` as `a`; what is longer than [`MAX_FIELDS`] stays.
fn listed_ranges(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, group) = rest.split_at(open);
        out.push_str(before);
        // A range is short; looking further would make a text of open braces cost its square.
        const LONGEST: usize = 24;
        let end = group.bytes().take(LONGEST).position(|b| matches!(b, b'}' | b','));
        let end = end.filter(|&at| group.as_bytes()[at] == b'}');
        match end.and_then(|end| Some((end, range(&group[1..end])?))) {
            Some((end, values)) if values.len() == 1 => {
                out.push_str(&values[0]);
                rest = &group[end + 1..];
            }
            Some((end, values)) => {
                out.push('{');
                out.push_str(&values.join(","));
                out.push('}');
                rest = &group[end + 1..];
            }
            None => {
                out.push('{');
                rest = &group[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The values of `1..5` or `a..e`.
fn range(text: &str) -> Option<Vec<String>> {
    let (first, last) = text.split_once("..")?;
    let (low, high, number) = match (first.parse::<i64>(), last.parse::<i64>()) {
        (Ok(first), Ok(last)) => (first, last, true),
        _ => {
            let one = |text: &str| {
                text.bytes()
                    .next()
                    .filter(|b| text.len() == 1 && b.is_ascii_alphabetic())
            };
            (i64::from(one(first)?), i64::from(one(last)?), false)
        }
    };
    let (begin, end) = (low.min(high), low.max(high));
    if usize::try_from(end.checked_sub(begin)?).ok()? >= MAX_FIELDS {
        return None;
    }
    let text = |value: i64| match (number, u8::try_from(value)) {
        (false, Ok(letter)) => char::from(letter).to_string(),
        _ => value.to_string(),
    };
    Some((begin..=end).map(text).collect())
}

fn has_group(pieces: &[Piece]) -> bool {
    first_group(pieces).is_some()
}

type Group = (Vec<Piece>, Vec<Vec<Piece>>, Vec<Piece>);

/// Deepest nesting of brace groups that is opened; real commands have one or two.
const MAX_BRACES: usize = 4;

/// The first complete `{…,…}`: what stands before, the alternatives, what stands after.
fn first_group(pieces: &[Piece]) -> Option<Group> {
    let (mut before, mut alternatives, mut after) = (Vec::new(), vec![Vec::new()], Vec::new());
    let (mut depth, mut commas, mut closed) = (0_usize, 0_usize, false);
    for piece in pieces {
        let Piece::Text { text, quoted: false } = piece else {
            match (closed, depth) {
                (true, _) => after.push(piece.clone()),
                (false, 0) => before.push(piece.clone()),
                _ => alternatives.last_mut()?.push(piece.clone()),
            }
            continue;
        };
        let mut run = String::new();
        let flush = |run: &mut String, to: &mut Vec<Piece>| {
            if !run.is_empty() {
                to.push(Piece::Text {
                    text: std::mem::take(run),
                    quoted: false,
                });
            }
        };
        for c in text.chars() {
            match (c, closed, depth) {
                ('{', false, 0) => {
                    flush(&mut run, &mut before);
                    depth = 1;
                }
                ('}', false, 1) if commas > 0 => {
                    flush(&mut run, alternatives.last_mut()?);
                    (depth, closed) = (0, true);
                }
                (',', false, 1) => {
                    flush(&mut run, alternatives.last_mut()?);
                    alternatives.push(Vec::new());
                    commas += 1;
                }
                ('{', false, _) if depth >= MAX_BRACES => return None,
                ('{', false, _) => {
                    depth += 1;
                    run.push(c);
                }
                ('}', false, 2..) => {
                    depth -= 1;
                    run.push(c);
                }
                // `{}` and `{x}` are no groups.
                ('}', false, 1) => return None,
                _ => run.push(c),
            }
        }
        let to = if closed {
            &mut after
        } else if depth == 0 {
            &mut before
        } else {
            alternatives.last_mut()?
        };
        flush(&mut run, to);
    }
    closed.then_some((before, alternatives, after))
}
