//! Names as words.

use super::Classes;
use crate::quick::Table;

/// Longest name that is read (bytes); protocols allow 64 to 128.
pub(super) const MAX_NAME: usize = 256;

/// Shortest half of a name of two words that is written as one: `flushall`.
const LEAST_HALF: usize = 3;
/// Longest name that is tried so.
const MOST_JOINED: usize = 40;

/// The words of a name in lower case: parted by what is no letter or digit, and by capitals. `DeleteDBCluster` is three.
pub(super) fn split(name: &str, vocabulary: &Table<Box<str>, Classes>) -> Vec<String> {
    let mut words = Vec::new();
    let letters: Vec<char> = name.chars().take(MAX_NAME).collect();
    let mut word = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at)).copied();
        let next = letters.get(at + 1).copied();
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || before.is_ascii_uppercase() && next.is_some_and(|next| next.is_ascii_lowercase())
            });
        if begins || !letter.is_alphanumeric() {
            push(&mut words, &mut word, vocabulary);
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
    }
    push(&mut words, &mut word, vocabulary);
    words
}

/// Adds a word, as two where it is two known ones.
fn push(words: &mut Vec<String>, word: &mut String, vocabulary: &Table<Box<str>, Classes>) {
    let word = std::mem::take(word);
    if word.is_empty() {
        return;
    }
    let known = |word: &str| vocabulary.contains_key(word);
    let joined = word.is_ascii() && word.len() <= MOST_JOINED && !known(&word);
    let plural = |half: &str| known(half) || half.strip_suffix('s').is_some_and(known);
    let middle = (LEAST_HALF..(word.len() + 1).saturating_sub(LEAST_HALF))
        .filter(|_| joined)
        .find(|&at| known(&word[..at]) && plural(&word[at..]));
    match middle {
        Some(at) if word.strip_suffix('s').is_none_or(|word| !known(word)) => {
            words.push(word[..at].to_owned());
            words.push(word[at..].to_owned());
        }
        _ => words.push(word),
    }
}
