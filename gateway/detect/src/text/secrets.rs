//! Secrets: literal, shape, entropy, checksum, and what is only an example.

use std::sync::{Arc, LazyLock};

use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_yaml::Text;

use super::anchors::{Anchors, Hit, Spec};
use super::checks;
use super::lazy::Lazy;
use super::pack::{self, Check, Leaves, SecretPack, SecretRule, Tests};
use crate::detector::{PackError, Surface};
use crate::packs::{Pack, embedded};

/// The pack that this program was built with: what masking knows, whatever packs an operator loads.
const EMBEDDED: Pack<'static> = embedded::SECRET;

/// What shows that something was masked.
pub(crate) const MARK: &str = "***[";

/// By how much a wrong checksum lowers the confidence: the shape is there, but the issuer never gave out that token.
const WRONG_SUM: u8 = 10;

/// Most findings of secrets that one text gives; a dump of thousands is one matter.
const MAX_FINDINGS: usize = 16;

/// The pack of secrets, compiled.
#[derive(Debug)]
pub(crate) struct SecretRules {
    anchors: Anchors,
    rules: Vec<SecretRule>,
    unless: Vec<Option<Lazy>>,
    remedy: String,
    /// What is no secret for a finding, and for masking.
    finding: NoSecret,
    masking: NoSecret,
    examples: Vec<String>,
    placeholders: Vec<String>,
}

/// Values that stand where secrets stand and are none.
#[derive(Debug)]
struct NoSecret {
    references: Vec<String>,
    plain: Vec<String>,
    plain_starts: Vec<String>,
}

/// A secret in a text (bytes, at character boundaries).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret {
    /// Which rule.
    rule: usize,
    /// Where the match begins.
    start: usize,
    /// Where it ends.
    end: usize,
    /// Where the secret begins.
    pub(crate) from: usize,
    /// Where it ends.
    pub(crate) to: usize,
}

static MASKING: LazyLock<Arc<SecretRules>> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the pack is a constant, and every test of this module compiles it"
    )]
    Arc::new(SecretRules::load(EMBEDDED.0, EMBEDDED.1).expect("the embedded pack of secrets is valid"))
});

impl SecretRules {
    /// The rules that masking goes by: those that this program was built with.
    pub(crate) fn masking() -> &'static Self {
        &MASKING
    }

    /// Loads a pack; the embedded one is there once, for masking and for findings.
    pub(super) fn shared(file: &str, text: Text<'_>) -> Result<Arc<Self>, PackError> {
        if text == EMBEDDED.1 {
            return Ok(Arc::clone(&MASKING));
        }
        Self::load(file, text).map(Arc::new)
    }

    fn load(file: &str, text: Text<'_>) -> Result<Self, PackError> {
        let pack: SecretPack = pack::parse(file, text)?;
        for rule in &pack.rules {
            pack::check_rule(file, &rule.id, rule.confidence, rule.tests.as_ref())?;
            if rule.tests.is_none() && !rule.mask_only {
                return Err(pack::refuse(file, &rule.id, "give it tests"));
            }
        }
        let specs: Vec<Spec<'_>> = pack
            .rules
            .iter()
            .map(|rule| Spec {
                shape: &rule.shape,
                nocase: rule.nocase,
                inside: rule.inside,
            })
            .collect();
        let at = |number: usize, why: &str| match pack.rules.get(number) {
            Some(rule) => pack::refuse(file, &rule.id, why),
            None => PackError::Invalid {
                file: file.to_owned(),
                why: why.to_owned(),
            },
        };
        let anchors = Anchors::new(&specs).map_err(|(number, why)| at(number, &why))?;
        let mut unless = Vec::new();
        for (number, rule) in pack.rules.iter().enumerate() {
            let one = rule
                .unless
                .as_deref()
                .map(|unless| Lazy::new(unless, false))
                .transpose();
            let one = one.map_err(|why| at(number, &format!("its `unless`: {why}")))?;
            unless.push(one.map(|(unless, _)| unless));
        }
        let lower = |texts: Vec<String>| texts.into_iter().map(|text| text.to_ascii_lowercase()).collect();
        Ok(Self {
            anchors,
            unless,
            remedy: pack.remedy,
            finding: NoSecret {
                references: pack.references,
                plain: pack.plain,
                plain_starts: pack.plain_starts,
            },
            masking: NoSecret {
                references: pack.masking_references,
                plain: pack.masking_plain,
                plain_starts: pack.masking_plain_starts,
            },
            examples: pack.examples,
            placeholders: lower(pack.placeholders),
            rules: pack.rules,
        })
    }

    pub(super) fn tests(&self) -> impl Iterator<Item = (&str, &Tests)> {
        self.rules
            .iter()
            .filter_map(|rule| Some((rule.id.value.as_str(), rule.tests.as_ref()?)))
    }

    /// Every match, for masking or for findings.
    fn matches(&self, text: &str, finding: bool) -> Vec<Secret> {
        let mut found = Vec::new();
        let mut covered = 0;
        for hit in self.anchors.hits(text.as_bytes()) {
            let Some(rule) = self.rules.get(hit.pattern) else {
                continue;
            };
            if (if finding { rule.mask_only } else { rule.find_only }) || hit.start < covered {
                continue;
            }
            let secret = self.spanned(text, hit, rule);
            if rule.until.is_some() {
                // What such a secret holds is part of it: no search inside, so that the whole stays linear.
                covered = secret.end;
            }
            found.push(secret);
        }
        found
    }

    fn spanned(&self, text: &str, hit: Hit, rule: &SecretRule) -> Secret {
        let end = match &rule.until {
            None => hit.end,
            Some(until) => text
                .as_bytes()
                .get(hit.end..)
                .and_then(|rest| memchr::memmem::find(rest, until.as_bytes()))
                .map_or(text.len(), |at| {
                    // To the end of that line's marker.
                    let from = hit.end + at + until.len();
                    let rest = text.as_bytes().get(from..).unwrap_or_default();
                    memchr::memmem::find(rest.get(..rest.len().min(64)).unwrap_or_default(), b"-----")
                        .map_or(from, |close| from + close + 5)
                }),
        };
        let (from, to) = if rule.until.is_some() {
            (hit.start, end)
        } else {
            hit.secret
        };
        Secret {
            rule: hit.pattern,
            start: text.floor_char_boundary(hit.start),
            end: text.ceil_char_boundary(end),
            from: text.floor_char_boundary(from),
            to: text.ceil_char_boundary(to),
        }
    }

    /// The places that masking replaces, in order, none over another, each with what stands there instead.
    pub(crate) fn hidden(&self, text: &str) -> Vec<(usize, usize, String)> {
        let mut found: Vec<Secret> = self
            .matches(text, false)
            .into_iter()
            .filter_map(|secret| self.without_quotes(text, secret, true))
            .collect();
        found.sort_by_key(|secret| (secret.from, secret.rule));
        let mut kept: Vec<Secret> = Vec::with_capacity(found.len());
        for secret in found {
            match kept.last_mut() {
                // The rest of a secret that begins inside another must not stay.
                Some(last) if secret.from < last.to => last.to = last.to.max(secret.to),
                _ => kept.push(secret),
            }
        }
        kept.into_iter()
            .map(|secret| (secret.from, secret.to, self.masked(text, secret)))
            .collect()
    }

    /// The secret inside its quotes; `None` where a rule that goes by a name sees what plainly is no secret.
    fn without_quotes(&self, text: &str, mut secret: Secret, masking: bool) -> Option<Secret> {
        let rule = self.rules.get(secret.rule)?;
        let value = text.get(secret.from..secret.to)?;
        if value.contains(MARK) || text.get(secret.from..)?.starts_with(MARK) {
            return None;
        }
        if rule.by_name {
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            if quote.is_some_and(|quote| value.len() > 1 && value.ends_with(quote)) {
                secret.from += 1;
                secret.to -= 1;
            }
            let bare = text.get(secret.from..secret.to)?;
            let none = if masking { &self.masking } else { &self.finding };
            let plain = match rule.leaves {
                Leaves::Nothing if masking => false,
                Leaves::Numbers if masking => bare.bytes().all(|byte| byte.is_ascii_digit()),
                _ => none.is_plain(bare),
            };
            if none.is_reference(bare) || plain {
                return None;
            }
        }
        Some(secret)
    }

    fn masked(&self, text: &str, secret: Secret) -> String {
        let value = text.get(secret.from..secret.to).unwrap_or_default();
        let Some(rule) = self.rules.get(secret.rule) else {
            return hidden("secret", "", value);
        };
        hidden(kind(rule), value.get(..rule.shows).unwrap_or_default(), value)
    }

    /// What is to be said of the secrets in `text`.
    pub(super) fn find(&self, surface: Surface, text: &str) -> Vec<Finding> {
        let mut judged: Vec<(Secret, u8, Severity)> = Vec::new();
        for secret in self.matches(text, true) {
            let Some(secret) = self.without_quotes(text, secret, false) else {
                continue;
            };
            let Some(rule) = self.rules.get(secret.rule) else {
                continue;
            };
            if let Some(confidence) = self.confidence(text, secret, rule) {
                judged.push((secret, confidence, rule.severity));
            }
        }
        // Of rules that see the same secret the gravest names it, then the first: formats stand before names.
        judged.sort_by_key(|&(secret, _, severity)| (std::cmp::Reverse(severity), secret.rule));
        let mut taken: Vec<Secret> = Vec::new();
        let mut findings = Vec::new();
        for (secret, confidence, severity) in judged {
            let over = |one: &Secret| one.from < secret.to && secret.from < one.to;
            if findings.len() >= MAX_FINDINGS {
                break;
            }
            if taken.iter().any(over) {
                continue;
            }
            taken.push(secret);
            if let Some(finding) = self.finding(surface, text, secret, confidence, severity) {
                findings.push(finding);
            }
        }
        findings
    }

    fn finding(
        &self,
        surface: Surface,
        text: &str,
        secret: Secret,
        confidence: u8,
        severity: Severity,
    ) -> Option<Finding> {
        let rule = self.rules.get(secret.rule)?;
        let place = super::place(surface);
        Some(Finding {
            rule: rule.id.value.clone(),
            category: "secret".to_owned(),
            severity,
            message: format!("{place} holds {}", rule.what),
            remedy: rule.remedy.as_ref().unwrap_or(&self.remedy).clone(),
            evidence: vec![self.masked(text, secret)],
            confidence,
        })
    }

    /// How sure a match is; `None` where it is no secret.
    fn confidence(&self, text: &str, secret: Secret, rule: &SecretRule) -> Option<u8> {
        let value = text.get(secret.from..secret.to)?;
        let body = value.get(rule.shows..).unwrap_or(value);
        let whole = text.get(secret.start..secret.end)?;
        let unless = self
            .unless
            .get(secret.rule)
            .and_then(Option::as_ref)
            .and_then(Lazy::free);
        let letters = body.bytes().any(|byte| byte.is_ascii_alphabetic());
        let digits = body.bytes().any(|byte| byte.is_ascii_digit());
        if value.len() < rule.length
            || (rule.mixed && !(letters && digits))
            || unless.is_some_and(|unless| unless.is_match(whole.as_bytes()))
        {
            return None;
        }
        if rule.check == Some(Check::PemBody) {
            return pem_body(whole).then_some(rule.confidence);
        }
        if checks::entropy(body.as_bytes()) < rule.entropy || self.is_made_up(value, body) {
            return None;
        }
        match rule.check {
            Some(Check::CrcAtEnd) if checks::crc_at_end(value) => Some(99),
            Some(Check::CrcAtEnd) => Some(rule.confidence.saturating_sub(WRONG_SUM)),
            Some(Check::JwtHeader) if !checks::jwt_header(value) => None,
            _ => Some(rule.confidence),
        }
    }

    /// A name of a secret, not the secret, as masking sees it.
    pub(crate) fn is_reference(&self, text: &str) -> bool {
        self.masking.is_reference(text)
    }

    /// Values of documentation and tests: they say so, repeat themselves, or count up.
    fn is_made_up(&self, value: &str, body: &str) -> bool {
        let lower = body.to_ascii_lowercase();
        self.examples.iter().any(|example| value == example)
            || self.placeholders.iter().any(|part| lower.contains(part.as_str()))
            || counts_or_repeats(lower.as_bytes())
    }
}

impl NoSecret {
    /// A name of a secret, not the secret: `$TOKEN`, `${{ secrets.X }}`, `<token>`, `%TOKEN%`.
    fn is_reference(&self, text: &str) -> bool {
        self.references
            .iter()
            .any(|start| text.starts_with(start.as_str()))
    }

    /// Values that stand behind `token:` and its like in code and settings without being secret.
    fn is_plain(&self, text: &str) -> bool {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let path = text.starts_with(['.', '~', '[', '='])
            || text.strip_prefix('/').is_some_and(|rest| rest.contains('/'));
        path || (digits && text.len() < 9)
            || self.plain.iter().any(|word| text.eq_ignore_ascii_case(word))
            || self
                .plain_starts
                .iter()
                .any(|start| text.starts_with(start.as_str()))
            || text.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '…'))
    }
}

/// What stands in a secret's place.
pub(crate) fn hidden(kind: &str, prefix: &str, secret: &str) -> String {
    format!("{prefix}{MARK}{kind}, {} bytes]", secret.len())
}

fn kind(rule: &SecretRule) -> &str {
    let kind = rule
        .id
        .value
        .split_once('.')
        .map_or(rule.id.value.as_str(), |(_, kind)| kind);
    kind.strip_suffix("-loose").unwrap_or(kind)
}

/// Whether more than half of the steps from one byte to the next go up or down by one, or none.
pub(crate) fn counts_or_repeats(body: &[u8]) -> bool {
    let plain = |pair: &&[u8]| {
        matches!(pair, [a, b] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() && a.abs_diff(*b) <= 1)
            || matches!(
                pair,
                [b'9', b'0'] | [b'z', b'a'] | [b'9', b'a'] | [b'f', b'0'] | [b'z', b'0'] | [b'0', b'a']
            )
    };
    let steps = body.len().saturating_sub(1);
    steps >= 4 && body.windows(2).filter(plain).count() * 2 > steps
}

/// Whether a key stands behind a PEM header: a line of base64, which has 64 characters and no spaces.
fn pem_body(pem: &str) -> bool {
    const LEAST: usize = 40;
    let Some((_, rest)) = pem
        .split_once("KEY")
        .and_then(|(_, rest)| rest.split_once("-----"))
    else {
        return false;
    };
    let rest = rest.replace("\\n", "\n").replace("\\r", "");
    let in_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    rest.bytes()
        .take(4096)
        .scan(0, |run, byte| {
            *run = if in_key(byte) { *run + 1 } else { 0 };
            Some(*run)
        })
        .any(|run| run >= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_bodies_count_or_repeat() {
        for body in [
            "1234567890abcdef1234567890",
            "aaaaaaaaaaaaaaaa",
            "abcdefghijklmnop",
            "0000000000001111",
        ] {
            assert!(counts_or_repeats(body.as_bytes()), "{body}");
        }
        assert!(!counts_or_repeats(b"k3jq9xw2mz7rb5vt8yn4"));
    }

    #[test]
    fn a_pem_header_alone_is_no_key() {
        assert!(!pem_body(
            "-----BEGIN RSA PRIVATE KEY----- is how it begins, says the manual"
        ));
        let body = "MIIEpAIBAAKCAQEA7bq".repeat(4);
        assert!(pem_body(&format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
        )));
        assert!(pem_body(&format!(
            "-----BEGIN PRIVATE KEY-----\\n{body}\\n-----END PRIVATE KEY-----"
        )));
    }
}
