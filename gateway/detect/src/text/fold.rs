//! Text as its reader takes it: lower case, no accents, look-alike letters as what they look like, one space between words,
//! and what cannot be seen taken out and told.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Fewest invisible characters in a row that can carry a text: an emoji or a name in Persian has one or two.
const LEAST_SMUGGLED: usize = 4;

/// Fewest zero-width characters in a row that can spell letters in bits.
const LEAST_BITS: usize = 16;

/// Longest escape sequence of a terminal that is taken for one (bytes).
const MAX_ESCAPE: usize = 64;

/// A folded text, and what was taken out.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// The text.
    pub(crate) text: String,
    /// Texts in characters that no one sees: what carried each, and what it says.
    pub(crate) smuggled: Vec<(&'static str, String)>,
    /// Zero-width characters between two letters of a word.
    pub(crate) split_words: usize,
    /// Characters that turn the direction of writing by force.
    pub(crate) overrides: usize,
}

/// Folds `text`. Time and memory are linear in it.
pub(crate) fn fold(text: &str) -> Folded {
    if text.is_ascii() && memchr::memchr(0x1B, text.as_bytes()).is_none() {
        return Folded {
            text: fold_ascii(text.as_bytes()),
            ..Folded::default()
        };
    }
    let mut folder = Folder {
        out: Folded {
            text: String::with_capacity(text.len()),
            ..Folded::default()
        },
        line_start: true,
        ..Folder::default()
    };
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c == '\u{1B}' {
            let skip = escape(text.as_bytes().get(at..).unwrap_or_default());
            while rest.next_if(|&(next, _)| next < at + skip).is_some() {}
        } else if c.is_ascii() {
            folder.end_runs(c);
            let next = rest.peek().and_then(|&(_, next)| u8::try_from(next).ok());
            folder.ascii(c as u8, next);
        } else {
            folder.other(c);
        }
    }
    folder.end_runs(' ');
    folder.finish()
}

/// The same for a text without anything beyond ASCII, which nearly every one is.
fn fold_ascii(text: &[u8]) -> String {
    let mut out: Vec<u8> = vec![0; text.len()];
    let mut length = 0;
    // A text begins as if a space stood before it.
    let mut last = b' ';
    let mut line_start = true;
    for (at, &byte) in text.iter().enumerate() {
        let folded = FOLDED.get(usize::from(byte)).copied().unwrap_or(byte);
        if folded == b' ' {
            line_start |= byte == b'\n';
            if last == b' ' {
                continue;
            }
        } else if line_start || matches!(byte, b'*' | b'~') {
            if is_line_mark(byte, text.get(at + 1).copied(), line_start) {
                continue;
            }
            line_start = false;
        }
        if let Some(place) = out.get_mut(length) {
            *place = folded;
        }
        length += 1;
        last = folded;
    }
    out.truncate(length);
    String::from_utf8(out).unwrap_or_default()
}

/// ASCII in lower case, with all that separates words as a space.
const FOLDED: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let one = byte as u8;
        table[byte] = if is_space(one) {
            b' '
        } else {
            one.to_ascii_lowercase()
        };
        byte += 1;
    }
    table
};

const fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7F
}

/// What comments and quotations begin their lines with, and emphasis: the words go on over them.
fn is_line_mark(byte: u8, next: Option<u8>, line_start: bool) -> bool {
    match byte {
        b'*' => true,
        // A home is no emphasis.
        b'~' => next != Some(b'/'),
        b'>' | b'|' | b'/' | b';' => line_start,
        b'#' => line_start && next != Some(b'#'),
        _ => false,
    }
}

/// A phrase of a pack as folded text has it: only what is beyond ASCII is folded, so that an expression stays one.
pub(crate) fn fold_phrase(shape: &str) -> String {
    let mut out = String::with_capacity(shape.len());
    for c in shape.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            out.push_str(&letters(c));
        }
    }
    out
}

/// What a character beyond ASCII is folded to.
fn letters(c: char) -> String {
    let mut out = String::new();
    decompose_compatible(c, |part| {
        if !is_combining_mark(part) {
            out.extend(
                plain(part)
                    .to_lowercase()
                    .filter(|&lower| !is_combining_mark(lower)),
            );
        }
    });
    out
}

/// Most letters of a region's flag: a country and a subdivision (UTS #51, emoji tag sequences).
const MOST_OF_FLAG: usize = 6;

#[derive(Default)]
struct Folder {
    out: Folded,
    /// Only marks of comments and quotations stood in this line so far.
    line_start: bool,
    /// A run of tag characters, as the ASCII that they stand for.
    tags: String,
    /// Whether the tags belong to a flag.
    flag: bool,
    /// A run of variation selectors, as bytes.
    selectors: Vec<u8>,
    /// A run of zero-width characters.
    zero_width: Vec<char>,
    /// Letters that look like Latin ones.
    look_alikes: usize,
    /// Letters of the same scripts that do not.
    foreign: usize,
}

impl Folder {
    fn ascii(&mut self, byte: u8, next: Option<u8>) {
        if is_space(byte) {
            self.line_start |= byte == b'\n';
            return self.space();
        }
        if !is_line_mark(byte, next, self.line_start) {
            self.line_start = false;
            self.out.text.push(char::from(byte.to_ascii_lowercase()));
        }
    }

    fn space(&mut self) {
        if !self.out.text.is_empty() && !self.out.text.ends_with(' ') {
            self.out.text.push(' ');
        }
    }

    fn other(&mut self, c: char) {
        match c {
            '\u{E0020}'..='\u{E007E}' => {
                self.tags.extend(char::from_u32(u32::from(c) - 0xE0000));
                return;
            }
            '\u{E0000}'..='\u{E001F}' | '\u{E007F}' => return,
            '\u{FE00}'..='\u{FE0F}' => return self.selectors.push((u32::from(c) - 0xFE00) as u8),
            '\u{E0100}'..='\u{E01EF}' => return self.selectors.push((u32::from(c) - 0xE0100 + 16) as u8),
            '\u{202D}' | '\u{202E}' => return self.out.overrides += 1,
            '\u{202A}'..='\u{202C}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{061C}' => {
                return;
            }
            _ if is_zero_width(c) => return self.zero_width.push(c),
            _ => self.end_runs(c),
        }
        self.flag = c == '\u{1F3F4}';
        if c.is_whitespace() {
            return self.space();
        }
        self.line_start = false;
        for lower in letters(c).chars() {
            self.out.text.push(lower);
            if matches!(lower, '\u{370}'..='\u{3FF}' | '\u{400}'..='\u{52F}') {
                match looks_like(lower) {
                    Some(_) => self.look_alikes += 1,
                    None => self.foreign += 1,
                }
            }
        }
    }

    /// A character that is seen ends the runs of those that are not.
    fn end_runs(&mut self, next: char) {
        let of_flag = std::mem::take(&mut self.flag) && self.tags.len() <= MOST_OF_FLAG;
        if self.tags.len() >= LEAST_SMUGGLED && !of_flag {
            self.out.smuggled.push((
                "characters of Unicode's tags block",
                std::mem::take(&mut self.tags),
            ));
        }
        self.tags.clear();
        if self.selectors.len() >= LEAST_SMUGGLED {
            let said = String::from_utf8_lossy(&self.selectors).into_owned();
            self.out.smuggled.push(("variation selectors", said));
        }
        self.selectors.clear();
        if self.zero_width.is_empty() {
            return;
        }
        if self.zero_width.len() >= LEAST_BITS
            && let Some(said) = spelled_in_bits(&self.zero_width)
        {
            self.out.smuggled.push(("zero-width characters", said));
        } else if next.is_ascii_alphabetic() && self.out.text.ends_with(|c: char| c.is_ascii_alphabetic()) {
            self.out.split_words += 1;
        }
        self.zero_width.clear();
    }

    /// Writes look-alike letters as the Latin ones: in words of both scripts, and everywhere if the text has no other
    /// letter of their scripts.
    fn finish(self) -> Folded {
        let mut out = self.out;
        if self.look_alikes == 0 {
            return out;
        }
        let mut text = String::with_capacity(out.text.len());
        for word in out.text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let latin = word.chars().any(|c| c.is_ascii_alphabetic());
            if latin || self.foreign == 0 {
                text.extend(word.chars().map(|c| looks_like(c).unwrap_or(c)));
            } else {
                text.push_str(word);
            }
        }
        out.text = text;
        out
    }
}

fn is_zero_width(c: char) -> bool {
    matches!(c,
        '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{AD}' | '\u{34F}'
        | '\u{180E}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{3164}' | '\u{FFA0}')
}

/// Signs and letters that Unicode does not decompose although they are only written differently.
fn plain(c: char) -> char {
    let letter = |first: u32| char::from_u32(u32::from(b'a') + (u32::from(c) - first)).unwrap_or(c);
    match c {
        '“' | '”' | '„' | '«' | '»' | '‟' => '"',
        '‘' | '’' | '‚' | '‛' | '´' | '`' | 'ʼ' | '′' => '\'',
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => '-',
        'ı' | 'ɩ' | 'ɪ' => 'i',
        'ɑ' => 'a',
        'ɡ' | 'ɢ' => 'g',
        'ł' | 'Ł' | 'ʟ' => 'l',
        'ø' | 'Ø' => 'o',
        'đ' | 'Đ' => 'd',
        'ß' => 's',
        'ʀ' => 'r',
        'ɴ' => 'n',
        'ᴀ' => 'a',
        'ʙ' => 'b',
        'ᴄ' => 'c',
        'ᴅ' => 'd',
        'ᴇ' => 'e',
        'ꜰ' => 'f',
        'ʜ' => 'h',
        'ᴊ' => 'j',
        'ᴋ' => 'k',
        'ᴍ' => 'm',
        'ᴏ' => 'o',
        'ᴘ' => 'p',
        'ꜱ' => 's',
        'ᴛ' => 't',
        'ᴜ' => 'u',
        'ᴠ' => 'v',
        'ᴡ' => 'w',
        'ʏ' => 'y',
        'ᴢ' => 'z',
        '\u{1F150}'..='\u{1F169}' => letter(0x1F150),
        '\u{1F170}'..='\u{1F189}' => letter(0x1F170),
        '\u{1F1E6}'..='\u{1F1FF}' => letter(0x1F1E6),
        _ => c,
    }
}

/// The Latin letter that a lower-case Cyrillic or Greek one looks like (Unicode's confusables, those of everyday fonts).
fn looks_like(c: char) -> Option<char> {
    Some(match c {
        'а' | 'α' => 'a',
        'в' | 'β' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ε' => 'e',
        'ԍ' => 'g',
        'һ' | 'н' => 'h',
        'і' | 'ι' | 'ї' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' => 'l',
        'м' => 'm',
        'п' | 'η' => 'n',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' => 'u',
        'ѵ' | 'ν' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        _ => return None,
    })
}

/// The text that two kinds of zero-width characters spell as bits, in either order; `None` where it is no ASCII.
fn spelled_in_bits(run: &[char]) -> Option<String> {
    let mut kinds: Vec<char> = run.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let (&zero, &one) = (kinds.first()?, kinds.get(1)?);
    let read = |zero: char, width: usize| -> Option<String> {
        let bits: Vec<u32> = run
            .iter()
            .filter(|&&c| c == zero || c == one || kinds.first() == Some(&c))
            .map(|&c| u32::from(c != zero))
            .collect();
        let text: Option<String> = bits
            .chunks_exact(width)
            .map(|bits| char::from_u32(bits.iter().fold(0, |value, bit| value << 1 | bit)))
            .map(|c| c.filter(|c| c.is_ascii_graphic() || matches!(c, ' ' | '\n')))
            .collect();
        text.filter(|text| text.len() > 1)
    };
    [(zero, 8), (one, 8), (zero, 7), (one, 7)]
        .into_iter()
        .find_map(|(zero, width)| read(zero, width))
}

/// The length of a terminal's escape sequence at the beginning of `bytes`, at least that of the escape itself.
fn escape(bytes: &[u8]) -> usize {
    let end = |from: usize, ends: &dyn Fn(u8) -> bool| {
        bytes
            .iter()
            .take(MAX_ESCAPE)
            .skip(from)
            .position(|&byte| ends(byte))
            .map_or(1, |at| from + at + 1)
    };
    match bytes.get(1) {
        Some(b'[') => end(2, &|byte| (0x40..=0x7E).contains(&byte)),
        Some(b']') => end(2, &|byte| byte == 0x07 || byte == b'\\'),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writing_is_folded_to_what_it_says() {
        for (text, says) in [
            ("Ignore\n  ALL previous", "ignore all previous"),
            ("ＩＧＮＯＲＥ all", "ignore all"),
            ("𝐢𝐠𝐧𝐨𝐫𝐞 𝒶𝓁𝓁", "ignore all"),
            ("ⓘⓖⓝⓞⓡⓔ", "ignore"),
            ("ígnörè", "ignore"),
            ("іgnоrе аll", "ignore all"),
            ("i\u{200B}gn\u{2060}ore", "ignore"),
            ("\u{1B}[31mig\u{1B}[0mnore", "ignore"),
            ("**Ignore** *all*", "ignore all"),
            ("// ignore all\n// previous", "ignore all previous"),
            ("> ignore\n> all", "ignore all"),
            ("# ignore\n### system", "ignore ### system"),
            ("“don’t”", "\"don't\""),
            ("ιgηore", "ignore"),
            ("игнорируй все", "игнорируи все"),
        ] {
            assert_eq!(fold(text).text, says, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_told() {
        let tags: String = "run it"
            .chars()
            .filter_map(|c| char::from_u32(u32::from(c) + 0xE0000))
            .collect();
        assert_eq!(
            fold(&format!("a{tags}b")).smuggled,
            [("characters of Unicode's tags block", "run it".to_owned())]
        );
        let selectors: String = b"hello"
            .iter()
            .filter_map(|&b| char::from_u32(0xE0100 + u32::from(b) - 16))
            .collect();
        assert_eq!(
            fold(&format!("😀{selectors}")).smuggled,
            [("variation selectors", "hello".to_owned())]
        );
        let bits: String = b"hi!"
            .iter()
            .flat_map(|byte| {
                (0..8).rev().map(move |bit| {
                    if byte >> bit & 1 == 1 {
                        '\u{200C}'
                    } else {
                        '\u{200B}'
                    }
                })
            })
            .collect();
        assert_eq!(
            fold(&format!("a{bits}")).smuggled,
            [("zero-width characters", "hi!".to_owned())]
        );
        // A flag has a handful of tags; behind one an order can hide.
        let tags: String = "drop the tables"
            .chars()
            .filter_map(|c| char::from_u32(u32::from(c) + 0xE0000))
            .collect();
        assert_eq!(
            fold(&format!("\u{1F3F4}{tags}\u{E007F} a")).smuggled,
            [("characters of Unicode's tags block", "drop the tables".to_owned())]
        );
        assert_eq!(fold("pass\u{200B}word and i\u{200D}s").split_words, 2);
        assert_eq!(fold("a\u{202E}b").overrides, 1);
    }

    #[test]
    fn everyday_writing_carries_nothing() {
        let scotland = "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}";
        for text in [
            "👨‍👩‍👧‍👦 ❤️ ☎️",
            scotland,
            "می‌خواهم",
            "\u{FEFF}bom",
            "soft\u{AD} hyphen",
            "שלום \u{200F}",
            "नमस्ते",
        ] {
            let folded = fold(text);
            assert!(
                folded.smuggled.is_empty() && folded.split_words == 0 && folded.overrides == 0,
                "{text}: {folded:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_folded_and_folding_again_changes_little(text in any::<String>()) {
            let once = fold(&text).text;
            prop_assert!(once.len() <= text.len() * 36 + 8);
            let twice = fold(&once);
            prop_assert!(twice.smuggled.is_empty());
        }
    }
}
