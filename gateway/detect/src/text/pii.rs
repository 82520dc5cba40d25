//! Personal data: numbers with their checksums, and addresses in bulk.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_yaml::Text;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::Extractor;

use super::checks;
use super::lazy::{Lazy, digits};
use super::pack::{self, PiiCheck, PiiPack, PiiRule, Tests};
use crate::detector::{PackError, Surface};

/// Longest value (bytes): an e-mail address.
const MAX_VALUE: usize = 96;

/// Values of two kinds from which on a text lists people.
const TOGETHER: usize = 5;

/// Longest head of a table that is looked at (bytes).
const HEAD: usize = 256;

/// How near a rule's word must stand (bytes, either side).
const NEAR: usize = 96;

/// Most different values that are counted for one rule; more change nothing.
const MAX_DISTINCT: usize = 256;

/// Bytes before an `@` in which an address's name begins.
const MAX_NAME: usize = 64;

/// Bytes that are looked over at once for anything that can tell of a value.
const BLOCK: usize = 64;

/// How far behind a value's first character a digit stands at most that tells of it (bytes).
const AHEAD: usize = 6;

/// The pack of personal data, compiled.
#[derive(Debug)]
pub(super) struct PiiRules {
    rules: Vec<PiiRule>,
    shapes: Vec<Lazy>,
    /// For each byte: the rules whose values can begin with it, and how many digits such a value has at least.
    begins: Vec<Vec<(usize, usize)>>,
    near: Vec<Option<AhoCorasick>>,
    remedy: String,
}

/// What one rule saw in a text.
#[derive(Debug, Clone, Default)]
struct Seen {
    values: BTreeSet<String>,
}

impl PiiRules {
    pub(super) fn load(file: &str, text: Text<'_>) -> Result<Self, PackError> {
        let pack: PiiPack = pack::parse(file, text)?;
        let (mut shapes, mut near) = (Vec::new(), Vec::new());
        let mut begins: Vec<Vec<(usize, usize)>> = vec![Vec::new(); 256];
        for (number, rule) in pack.rules.iter().enumerate() {
            pack::check_rule(file, &rule.id, rule.confidence, Some(&rule.tests))?;
            let refuse = |why: String| pack::refuse(file, &rule.id, &why);
            let shape = format!(r"(?:{})\b", rule.shape);
            let (shape, hir) = Lazy::new(&shape, false).map_err(|why| refuse(format!("its shape: {why}")))?;
            let least = digits(&hir);
            let can = first_bytes(&hir);
            for (begins, _) in begins.iter_mut().zip(can).filter(|(_, can)| *can) {
                begins.push((number, least));
            }
            shapes.push(shape);
            let words = Some(&rule.near).filter(|words| !words.is_empty());
            let mut builder = AhoCorasick::builder();
            let builder = builder
                .ascii_case_insensitive(true)
                .kind(Some(AhoCorasickKind::ContiguousNFA));
            let words = words.map(|words| builder.build(words)).transpose();
            near.push(words.map_err(|error| refuse(format!("its words do not fit together: {error}")))?);
        }
        Ok(Self {
            rules: pack.rules,
            shapes,
            begins,
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
            for number in self.possible(window(text, start)) {
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
        let kinds = seen.iter().filter(|seen| seen.values.len() >= TOGETHER).count();
        self.rules
            .iter()
            .zip(seen)
            .filter_map(|(rule, seen)| self.finding(surface, rule, &seen, kinds >= 2))
            .collect()
    }

    /// The rules whose values a window can begin with, by its first byte and its digits.
    fn possible(&self, window: &[u8]) -> impl Iterator<Item = usize> {
        let digits = window
            .iter()
            .map(|byte| u8::from(byte.is_ascii_digit()))
            .sum::<u8>();
        let first = window.first().copied().unwrap_or(0);
        let begins = self.begins.get(usize::from(first)).into_iter().flatten();
        begins
            .filter(move |&&(_, least)| least <= usize::from(digits))
            .map(|&(number, _)| number)
    }

    /// Where the value ends that rule `number` sees at `start`.
    fn value_at(&self, text: &str, start: usize, number: usize) -> Option<usize> {
        let rule = self.rules.get(number)?;
        let end = start
            + self
                .shapes
                .get(number)?
                .anchored()?
                .find(window(text, start))?
                .end();
        let value = text.get(start..end)?;
        let plain = plain(value);
        let example = rule
            .examples
            .iter()
            .any(|example| plain.contains(example.as_str()));
        if example || rule.check.is_some_and(|check| !holds(check, value)) {
            return None;
        }
        if let Some(words) = self.near.get(number)? {
            let from = text.floor_char_boundary(start.saturating_sub(NEAR));
            let to = text.ceil_char_boundary(text.len().min(end + NEAR));
            words
                .find(text.get(from..to)?)
                .or_else(|| words.find(table_head(text)?))?;
        }
        Some(end)
    }

    /// `people`: whether the text holds several kinds, as a list of people does.
    fn finding(&self, surface: Surface, rule: &PiiRule, seen: &Seen, people: bool) -> Option<Finding> {
        let count = seen.values.len();
        let listed = people && count >= TOGETHER;
        if count < rule.few && !listed {
            return None;
        }
        let severity: Severity = if count >= rule.many {
            rule.many_severity
        } else {
            rule.severity
        };
        let severity = if listed {
            severity.max(Severity::Medium)
        } else {
            severity
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

/// The first line, where it names a table's columns.
fn table_head(text: &str) -> Option<&str> {
    let reach = text.floor_char_boundary(HEAD.min(text.len()));
    let line = text.get(..reach)?.trim_start().lines().next()?;
    let columns = line.matches([',', ';', '|', '\t']).count();
    (columns > 0).then_some(line)
}

/// The bytes that a text can begin with that an expression matches; all where that is not known.
fn first_bytes(hir: &Hir) -> [bool; 256] {
    let mut begins = Extractor::new().limit_class(256).limit_total(4096).extract(hir);
    begins.keep_first_bytes(1);
    let mut can = [false; 256];
    let known = begins.literals().unwrap_or_default();
    if known.is_empty() || known.iter().any(|one| one.is_empty()) {
        return [true; 256];
    }
    for byte in known.iter().filter_map(|one| one.as_bytes().first()) {
        if let Some(can) = can.get_mut(usize::from(*byte)) {
            *can = true;
        }
    }
    can
}

/// What a value that begins at `start` can reach to.
fn window(text: &str, start: usize) -> &[u8] {
    let bytes = text.as_bytes();
    bytes
        .get(start..bytes.len().min(start.saturating_add(MAX_VALUE)))
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

/// Where a value can begin: at a word with at least two digits among its first five characters, at `+` or `(` and a digit,
/// at six letters and a digit, and where the name before an `@` begins.
fn starts(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    // Nothing begins in a block that has neither a digit nor an `@`, nor digits behind it.
    (0..bytes.len())
        .step_by(BLOCK)
        .filter(|&from| {
            let reach = bytes
                .get(from..bytes.len().min(from + BLOCK + AHEAD))
                .unwrap_or_default();
            let telling = reach
                .iter()
                .map(|&byte| u8::from(byte.is_ascii_digit() | (byte == b'@')));
            telling.sum::<u8>() > 0
        })
        .flat_map(|from| (from..bytes.len().min(from + BLOCK)).filter_map(|at| start_at(bytes, at)))
}

/// Where a value begins that is told by the byte at `at`.
fn start_at(bytes: &[u8], at: usize) -> Option<usize> {
    let class = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let byte = class(at);
    if byte == b'@' {
        return name_before(bytes, at);
    }
    if byte == b'+' || byte == b'(' {
        return class(at + 1).is_ascii_digit().then_some(at);
    }
    if !byte.is_ascii_alphanumeric() || at.checked_sub(1).is_some_and(|before| in_number(class(before))) {
        return None;
    }
    let digits = (at..at + 5).filter(|&at| class(at).is_ascii_digit()).count();
    (digits >= 2 || class(at + AHEAD).is_ascii_digit() && byte.is_ascii_alphabetic()).then_some(at)
}

fn name_before(bytes: &[u8], at: usize) -> Option<usize> {
    let in_name =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-');
    let length = bytes
        .get(..at)?
        .iter()
        .rev()
        .take(MAX_NAME)
        .take_while(in_name)
        .count();
    (length > 0).then(|| at - length)
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
