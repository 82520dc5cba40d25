//! Personal data: numbers with their checksums, and addresses in bulk.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use defenseclaw_model::decision::{Finding, Severity};
use regex::{Regex, RegexSet};

use super::checks;
use super::pack::{self, PiiCheck, PiiPack, PiiRule, Tests};
use crate::detector::{PackError, Surface};

/// Longest value (bytes): an e-mail address.
const MAX_VALUE: usize = 96;

/// How near a rule's word must stand (bytes, either side).
const NEAR: usize = 96;

/// Most different values that are counted for one rule; more change nothing.
const MAX_DISTINCT: usize = 256;

/// Bytes before an `@` in which an address's name begins.
const MAX_NAME: usize = 64;

/// The pack of personal data, compiled.
#[derive(Debug)]
pub(super) struct PiiRules {
    rules: Vec<PiiRule>,
    /// Which rules a value matches, in one pass.
    any: RegexSet,
    shapes: Vec<Regex>,
    near: Vec<Option<AhoCorasick>>,
    remedy: String,
}

/// What one rule saw in a text.
#[derive(Debug, Clone, Default)]
struct Seen {
    values: BTreeSet<String>,
}

impl PiiRules {
    pub(super) fn load(file: &str, yaml: &str) -> Result<Self, PackError> {
        let pack: PiiPack = pack::parse(file, yaml)?;
        let (mut shapes, mut near) = (Vec::new(), Vec::new());
        for rule in &pack.rules {
            pack::check_rule(file, &rule.id, rule.confidence, Some(&rule.tests))?;
            let refuse = |why: String| pack::refuse(file, &rule.id, &why);
            let shape = Regex::new(&anchored(&rule.shape))
                .map_err(|error| refuse(format!("its shape does not compile: {error}")))?;
            shapes.push(shape);
            let words = Some(&rule.near).filter(|words| !words.is_empty());
            let words = words
                .map(|words| AhoCorasick::builder().ascii_case_insensitive(true).build(words))
                .transpose();
            near.push(words.map_err(|error| refuse(format!("its words do not fit together: {error}")))?);
        }
        let any = RegexSet::new(pack.rules.iter().map(|rule| anchored(&rule.shape))).map_err(|error| {
            PackError::Invalid {
                file: file.to_owned(),
                why: format!("the shapes of all rules do not fit together: {error}"),
            }
        })?;
        Ok(Self {
            rules: pack.rules,
            any,
            shapes,
            near,
            remedy: pack.remedy,
        })
    }

    pub(super) fn tests(&self) -> impl Iterator<Item = (&str, &Tests)> {
        self.rules
            .iter()
            .map(|rule| (rule.id.value.as_str(), &rule.tests))
    }

    /// What is to be said of the personal data in `text`. Each place is tried once, on a window of constant size.
    pub(super) fn find(&self, surface: Surface, text: &str) -> Vec<Finding> {
        let mut seen: Vec<Seen> = Vec::new();
        let mut taken = 0;
        for start in starts(text) {
            if start < taken {
                continue;
            }
            let window = window(text, start);
            for number in self.any.matches(window) {
                let Some(end) = self.value_at(text, start, number) else {
                    continue;
                };
                taken = taken.max(end);
                if seen.is_empty() {
                    seen.resize(self.rules.len(), Seen::default());
                }
                let value = text.get(start..end).unwrap_or_default();
                if let Some(seen) = seen.get_mut(number)
                    && seen.values.len() < MAX_DISTINCT
                {
                    seen.values.insert(plain(value));
                }
            }
        }
        self.rules
            .iter()
            .zip(seen)
            .filter_map(|(rule, seen)| self.finding(surface, rule, &seen))
            .collect()
    }

    /// Where the value ends that rule `number` sees at `start`.
    fn value_at(&self, text: &str, start: usize, number: usize) -> Option<usize> {
        let rule = self.rules.get(number)?;
        let found = self.shapes.get(number)?.find(window(text, start))?;
        let value = found.as_str();
        let plain = plain(value);
        let example = rule
            .examples
            .iter()
            .any(|example| plain.contains(example.as_str()));
        if example || rule.check.is_some_and(|check| !holds(check, value)) {
            return None;
        }
        let end = start + found.end();
        if let Some(words) = self.near.get(number)? {
            let from = text.floor_char_boundary(start.saturating_sub(NEAR));
            let to = text.ceil_char_boundary(text.len().min(end + NEAR));
            words.find(text.get(from..to)?)?;
        }
        Some(end)
    }

    fn finding(&self, surface: Surface, rule: &PiiRule, seen: &Seen) -> Option<Finding> {
        let count = seen.values.len();
        if count < rule.few {
            return None;
        }
        let severity: Severity = if count >= rule.many {
            rule.many_severity
        } else {
            rule.severity
        };
        let counted = if count >= MAX_DISTINCT {
            format!("{count} or more")
        } else {
            count.to_string()
        };
        Some(Finding {
            rule: rule.id.value.clone(),
            category: "pii".to_owned(),
            severity,
            message: format!("{} holds {}", super::place(surface), rule.what),
            remedy: self.remedy.clone(),
            evidence: vec![format!("{counted} different")],
            confidence: rule.confidence,
        })
    }
}

fn anchored(shape: &str) -> String {
    // ASCII classes: the numbers are ASCII, and the automaton stays small.
    format!(
        r"^(?:{})(?-u:\b)",
        shape.replace(r"\b", r"(?-u:\b)").replace(r"\d", "[0-9]")
    )
}

fn window(text: &str, start: usize) -> &str {
    text.get(start..text.floor_char_boundary(start.saturating_add(MAX_VALUE)))
        .unwrap_or_default()
}

/// Letters and digits only, by which two spellings are one.
fn plain(value: &str) -> String {
    value
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '@' || *c == '.')
        .collect::<String>()
        .to_ascii_uppercase()
}

/// Where a value can begin: at a word with at least two digits among its first four characters, at `+` and a digit, and
/// where the name before an `@` begins.
fn starts(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let class = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let mut name = None;
    let mut name_start = move |at: usize, byte: u8| -> Option<usize> {
        if byte == b'@' {
            return name.filter(|&from| at - from <= MAX_NAME);
        }
        let in_name = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-');
        name = if in_name { name.or(Some(at)) } else { None };
        None
    };
    bytes.iter().enumerate().filter_map(move |(at, &byte)| {
        if let Some(from) = name_start(at, byte) {
            return Some(from);
        }
        if byte == b'+' || byte == b'(' {
            return class(at + 1).is_ascii_digit().then_some(at);
        }
        let begins =
            byte.is_ascii_alphanumeric() && !at.checked_sub(1).is_some_and(|before| in_number(class(before)));
        let digits = (at..at + 4).filter(|&at| class(at).is_ascii_digit()).count();
        let letters_first =
            byte.is_ascii_alphabetic() && (at + 6..at + 9).all(|at| class(at).is_ascii_alphanumeric());
        (begins && (digits >= 2 || letters_first && digits == 0 && class(at + 6).is_ascii_digit()))
            .then_some(at)
    })
}

/// Whether a value that began here would be the middle of something longer.
fn in_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'#')
}

fn holds(check: PiiCheck, value: &str) -> bool {
    let digits = || checks::digits(value);
    match check {
        PiiCheck::Luhn => checks::luhn(&digits()),
        PiiCheck::Iban => checks::iban(value),
        PiiCheck::Mod11_10 => checks::mod11_10(&digits()),
        PiiCheck::Mod11_2 => checks::mod11_2(value),
        PiiCheck::Nhs => checks::nhs(&digits()),
        PiiCheck::Cpf => checks::cpf(&digits()),
        PiiCheck::Pesel => checks::pesel(&digits()),
        PiiCheck::Bsn => checks::bsn(&digits()),
        PiiCheck::Verhoeff => checks::verhoeff(&digits()),
        PiiCheck::Nir => checks::nir(&digits()),
        PiiCheck::Dni => checks::dni(value),
        PiiCheck::CodiceFiscale => checks::codice_fiscale(value),
    }
}
