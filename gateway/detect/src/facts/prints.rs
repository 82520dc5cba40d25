//! What a program prints, where its words and its known input tell: `echo`, `printf`, decoders and simple filters.
//!
//! By this a command that was encoded, reversed or put together is read like one that was written out. Nothing is run;
//! what is not told here for sure is not known.

use super::behaviours::Invocation;

/// Longest text that is followed (bytes); what a line hides in itself is shorter than the line.
const MAX_TEXT: usize = 64 << 10;

/// What the call prints.
pub(super) fn printed(call: &Invocation<'_>) -> Option<String> {
    let text = match call.name {
        "dirname" | "basename" | "realpath" => part_of_path(call),
        "readlink" if call.short("fem") => part_of_path(call),
        "echo" => echo(call),
        "printf" => printf(call),
        _ => filtered(call, call.input().filter(|text| text.len() <= MAX_TEXT)?),
    };
    text.filter(|text| text.len() <= MAX_TEXT)
}

fn exact(call: &Invocation<'_>) -> bool {
    call.fields().all(|field| field.exact)
}

/// `dirname PATH`, `basename PATH`, `realpath PATH`: a part of the path, or the path.
fn part_of_path(call: &Invocation<'_>) -> Option<String> {
    if !exact(call) {
        return None;
    }
    let path = call.operands().next()?;
    let bare = path.trim_end_matches('/');
    Some(match (call.name, bare.rsplit_once('/')) {
        ("realpath" | "readlink", _) => path.to_owned(),
        ("dirname", Some(("", _))) => "/".to_owned(),
        ("dirname", Some((folder, _))) => folder.to_owned(),
        ("dirname", None) => ".".to_owned(),
        (_, Some((_, name))) => name.to_owned(),
        (_, None) => bare.to_owned(),
    })
}

fn echo(call: &Invocation<'_>) -> Option<String> {
    if !exact(call) {
        return None;
    }
    let is_option = |word: &str| {
        word.len() > 1 && word.starts_with('-') && word[1..].bytes().all(|b| b"neE".contains(&b))
    };
    let escapes = call
        .words()
        .take_while(|word| is_option(word))
        .any(|word| word.contains('e'));
    let words: Vec<_> = call.words().skip_while(|word| is_option(word)).collect();
    let text = words.join(" ");
    // dash's `echo` knows escapes without being asked.
    Some(if escapes || text.contains("\\n") || text.contains("\\0") {
        unescaped(&text)
    } else {
        text
    })
}

fn printf(call: &Invocation<'_>) -> Option<String> {
    if !exact(call) {
        return None;
    }
    let words: Vec<&str> = call.words().skip_while(|word| *word == "--").collect();
    let (format, mut rest) = words.split_first()?;
    if *format == "-v" {
        return None;
    }
    let mut out = String::new();
    loop {
        let before = rest.len();
        formatted(format, &mut rest, &mut out)?;
        // A format is used again for words that are left, if it takes any.
        if rest.is_empty() || rest.len() == before || out.len() > MAX_TEXT {
            return Some(out);
        }
    }
}

/// One pass over a format.
fn formatted(format: &str, words: &mut &[&str], out: &mut String) -> Option<()> {
    let mut plain = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        out.push_str(&unescaped(&std::mem::take(&mut plain)));
        let kind = rest
            .by_ref()
            .find(|c| !matches!(c, '0'..='9' | '-' | '.' | '+' | ' '))?;
        let word = match words.split_first() {
            _ if kind == '%' => "%",
            Some((word, left)) => {
                *words = left;
                word
            }
            None => "",
        };
        match kind {
            '%' | 's' | 'd' | 'i' | 'c' => out.push_str(word),
            'b' => out.push_str(&unescaped(word)),
            'x' => out.push_str(&format!("{:x}", word.parse::<u64>().ok()?)),
            'o' => out.push_str(&format!("{:o}", word.parse::<u64>().ok()?)),
            _ => return None,
        }
    }
    out.push_str(&unescaped(&plain));
    Some(())
}

/// `\n`, `\x41`, `\101`, `\0101`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&kind, tail)) = rest.split_first() else {
            bytes.push(b'\\');
            break;
        };
        let (value, used) = match kind {
            b'x' => number(tail, 16, 2),
            b'0'..=b'7' => number(rest, 8, if kind == b'0' { 4 } else { 3 }),
            _ => (None, 0),
        };
        match (kind, value) {
            (b'x', Some(value)) => {
                bytes.push(value);
                rest = &tail[used..];
            }
            (b'0'..=b'7', Some(value)) => {
                bytes.push(value);
                rest = &rest[used..];
            }
            (b'n', _) => (bytes, rest) = pushed(bytes, b'\n', tail),
            (b't', _) => (bytes, rest) = pushed(bytes, b'\t', tail),
            (b'r', _) => (bytes, rest) = pushed(bytes, b'\r', tail),
            (b'\\', _) => (bytes, rest) = pushed(bytes, b'\\', tail),
            _ => bytes.push(b'\\'),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pushed(mut bytes: Vec<u8>, byte: u8, rest: &[u8]) -> (Vec<u8>, &[u8]) {
    bytes.push(byte);
    (bytes, rest)
}

/// A number of at most `most` digits, and how many it has.
fn number(text: &[u8], radix: u32, most: usize) -> (Option<u8>, usize) {
    let digits = text
        .iter()
        .take(most)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    let value = text[..digits].iter().fold(0_u32, |value, b| {
        value * radix + char::from(*b).to_digit(radix).unwrap_or(0)
    });
    ((digits > 0).then(|| value.to_le_bytes()[0]), digits)
}

/// What a filter makes of its input.
fn filtered(call: &Invocation<'_>, input: &str) -> Option<String> {
    let options = |wanted: &[&str]| call.any(wanted);
    match call.name {
        "cat" | "tee" | "sort" | "uniq"
            if call.name == "tee" || call.operand(0).is_none_or(|word| word == "-") =>
        {
            Some(input.to_owned())
        }
        "rev" => Some(
            input
                .lines()
                .map(|line| line.chars().rev().collect::<String>())
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        "tac" => Some(input.lines().rev().collect::<Vec<_>>().join("\n")),
        "base64" if call.short("dD") || options(&["--decode"]) => decoded(base64(input)?),
        "base64" => None,
        "base32" if call.short("d") || options(&["--decode"]) => decoded(base32(input)?),
        "basenc" if call.short("d") || options(&["--decode"]) => {
            if options(&["--base16"]) {
                decoded(hex(input)?)
            } else if options(&["--base32"]) {
                decoded(base32(input)?)
            } else {
                decoded(base64(input)?)
            }
        }
        "openssl"
            if call.any(&["-d"])
                && call.any(&["base64", "-base64", "-a"])
                && !call.begins(&["-aes", "-k", "-pass"]) =>
        {
            decoded(base64(input)?)
        }
        "xxd" if call.short("r") && (call.short("p") || options(&["-ps", "-plain"])) => decoded(hex(input)?),
        "tr" => translated(call, input),
        "sed" => substituted(call, input),
        "cut" => cut(call, input),
        "head" | "tail" => ends(call, input),
        _ => None,
    }
}

fn decoded(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Base 64, either alphabet; what is no digit of it is stepped over, as decoders are told to.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    digits(text, 6, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    })
}

fn base32(text: &str) -> Option<Vec<u8>> {
    digits(text, 5, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    })
}

/// Hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    digits(text, 4, |byte| {
        char::from(byte).to_digit(16).map(|digit| digit.to_le_bytes()[0])
    })
}

/// Puts digits of `bits` bits together; `None` where the text has something else than digits, blanks and padding.
fn digits(text: &str, bits: u32, value: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut held, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        match value(byte) {
            Some(digit) => {
                held = (held << bits | u32::from(digit)) & 0xffff;
                count += bits;
                if count >= 8 {
                    count -= 8;
                    out.push((held >> count).to_le_bytes()[0]);
                }
            }
            None if byte.is_ascii_whitespace() || byte == b'=' => {}
            None => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The characters of a set of `tr`: ranges, classes and escapes.
fn set(text: &str) -> Option<Vec<char>> {
    let text = match text {
        "[:upper:]" => "A-Z",
        "[:lower:]" => "a-z",
        "[:digit:]" => "0-9",
        "[:space:]" => " \t\n\r",
        "\\n" => "\n",
        text if text.contains("[:") => return None,
        text => text,
    };
    let chars: Vec<char> = unescaped(text).chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match (chars.get(at + 1), chars.get(at + 2)) {
            (Some('-'), Some(&last)) if last >= c => {
                out.extend(c..=last);
                at += 3;
            }
            _ => {
                out.push(c);
                at += 1;
            }
        }
        // A set holds characters of one byte; more is no set that a person writes.
        if out.len() > 512 {
            return None;
        }
    }
    Some(out)
}

fn translated(call: &Invocation<'_>, input: &str) -> Option<String> {
    let from = set(call.operand(0)?)?;
    if call.short("cCs") {
        return None;
    }
    let to = if call.short("d") {
        Vec::new()
    } else {
        set(call.operand(1)?)?
    };
    // What each character of ASCII becomes; the last of a set stands for all that it lacks.
    let mut table: [Option<char>; 128] = std::array::from_fn(|at| u8::try_from(at).ok().map(char::from));
    for (at, c) in from.iter().enumerate() {
        *table.get_mut(*c as usize)? = to.get(at).or(to.last()).copied();
    }
    let change = |c: char| table.get(c as usize).copied().unwrap_or(Some(c));
    Some(input.chars().filter_map(change).collect())
}

/// `s/a/b/` with plain text on both sides.
fn substituted(call: &Invocation<'_>, input: &str) -> Option<String> {
    /// A script that hides something has a few of them.
    const MOST: usize = 8;
    let scripts: Vec<&str> = call.words().filter(|word| !word.starts_with('-')).collect();
    let [script] = scripts.as_slice() else { return None };
    if call.short("nirE") {
        return None;
    }
    let mut text = input.to_owned();
    for (count, one) in script.split(';').enumerate() {
        let one = one.trim();
        let separator = one.strip_prefix('s')?.chars().next()?;
        let parts: Vec<&str> = one.get(1 + separator.len_utf8()..)?.split(separator).collect();
        let [from, to, flags] = parts.as_slice() else {
            return None;
        };
        let special = |text: &str| text.contains(['.', '*', '[', '\\', '^', '$', '&', '+', '?', '(', '{']);
        if from.is_empty() || special(from) || special(to) || to.len() > from.len() * 8 || count >= MOST {
            return None;
        }
        text = match *flags {
            "g" => text.replace(from, to),
            "" => text
                .lines()
                .map(|line| line.replacen(from, to, 1))
                .collect::<Vec<_>>()
                .join("\n"),
            _ => return None,
        };
        if text.len() > MAX_TEXT {
            return None;
        }
    }
    Some(text)
}

/// `cut -c2-5`, `cut -d: -f2`.
fn cut(call: &Invocation<'_>, input: &str) -> Option<String> {
    let span = |text: &str| -> Option<(usize, usize)> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let low = if low.is_empty() {
            1
        } else {
            low.parse::<usize>().ok()?
        };
        let high = if high.is_empty() {
            usize::MAX
        } else {
            high.parse().ok()?
        };
        (low >= 1 && high >= low).then_some((low - 1, high))
    };
    if call.operands_after(&["-c", "-b", "-d", "-f"]).next().is_some() {
        return None;
    }
    let lines = input.lines();
    if let Some(list) = call.value(&["-c", "-b"]) {
        let (low, high) = span(list)?;
        return Some(
            lines
                .map(|line| line.chars().take(high).skip(low).collect::<String>())
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    let (low, high) = span(call.value(&["-f"])?)?;
    let by = call
        .value(&["-d"])
        .and_then(|text| text.chars().next())
        .unwrap_or('\t');
    let fields = |line: &str| {
        line.split(by)
            .take(high)
            .skip(low)
            .collect::<Vec<_>>()
            .join(&by.to_string())
    };
    Some(lines.map(fields).collect::<Vec<_>>().join("\n"))
}

/// `head -c5`, `tail -n +2`.
fn ends(call: &Invocation<'_>, input: &str) -> Option<String> {
    if call.operands_after(&["-c", "-n"]).next().is_some() {
        return None;
    }
    let count = |text: &str| text.trim_start_matches('-').parse::<usize>().ok();
    if let Some(bytes) = call.value(&["-c"]) {
        return match (call.name, bytes.strip_prefix('+')) {
            ("tail", Some(from)) => Some(
                input
                    .chars()
                    .skip(from.parse::<usize>().ok()?.saturating_sub(1))
                    .collect(),
            ),
            ("head", None) => Some(input.chars().take(count(bytes)?).collect()),
            ("tail", None) => {
                let skip = input.chars().count().saturating_sub(count(bytes)?);
                Some(input.chars().skip(skip).collect())
            }
            _ => None,
        };
    }
    let lines: Vec<&str> = input.lines().collect();
    let number = call
        .value(&["-n"])
        .or_else(|| call.words().next().filter(|word| word.starts_with('-')))
        .unwrap_or("10");
    let kept = match (call.name, number.strip_prefix('+')) {
        ("tail", Some(from)) => lines.get(from.parse::<usize>().ok()?.saturating_sub(1)..)?,
        ("head", None) => lines.get(..count(number)?.min(lines.len()))?,
        ("tail", None) => lines.get(lines.len().saturating_sub(count(number)?)..)?,
        _ => return None,
    };
    Some(kept.join("\n"))
}
