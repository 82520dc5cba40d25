//! Made-up secrets. A collection holds marks such as `⟪github-pat⟫` in place of them, so that no scanner of a forge, and
//! no reader, takes a file of this repository for a leak; the values exist only while the collections are measured.
//! They have the shape and the checksum of the real thing, and follow from the case's id: each run measures the same.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Opens a mark.
const OPEN: char = '⟪';
/// Closes a mark.
const CLOSE: char = '⟫';

const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Every kind of mark.
pub const KINDS: &[&str] = &[
    "anthropic-key",
    "aws-key-id",
    "aws-secret",
    "azure-storage",
    "br-cpf",
    "card-amex",
    "card-mastercard",
    "card-visa",
    "db-password",
    "digitalocean",
    "discord-webhook",
    "docker-pat",
    "email",
    "es-dni",
    "github-fine",
    "github-pat",
    "gitlab-pat",
    "google-key",
    "hex-secret",
    "hf-token",
    "iban-de",
    "iban-fr",
    "iban-gb",
    "jwt",
    "npm-token",
    "openai-key",
    "pem-ec",
    "pem-openssh",
    "pem-rsa",
    "phone-de",
    "phone-us",
    "pypi-token",
    "sendgrid",
    "slack-bot",
    "slack-webhook",
    "ssn",
    "stripe-live",
    "telegram-bot",
    "vault",
];

/// Fills every mark in a value's strings. `seed` is the case's id.
pub fn fill(value: &mut Value, seed: &str) -> Result<()> {
    let mut source = Source::new(seed);
    fill_from(value, &mut source)
}

fn fill_from(value: &mut Value, source: &mut Source) -> Result<()> {
    match value {
        Value::String(text) if text.contains(OPEN) => *text = filled(text, source)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_from(item, source))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|item| fill_from(item, source))?,
        _ => {}
    }
    Ok(())
}

fn filled(text: &str, source: &mut Source) -> Result<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (kind, after) = after
            .split_once(CLOSE)
            .with_context(|| format!("a mark without {CLOSE}"))?;
        result.push_str(before);
        result.push_str(&make(kind, source)?);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

fn make(kind: &str, source: &mut Source) -> Result<String> {
    if !KINDS.contains(&kind) {
        bail!(
            "no synthetic value is called {kind:?}: use one of {}",
            KINDS.join(", ")
        );
    }
    Ok(token(kind, source)
        .or_else(|| key_material(kind, source))
        .unwrap_or_else(|| personal(kind, source)))
}

/// Tokens of services, by their documented shapes.
fn token(kind: &str, s: &mut Source) -> Option<String> {
    Some(match kind {
        "anthropic-key" => format!("sk-ant-api03-{}AA", s.word(BASE64_URL, 93)),
        "aws-key-id" => format!("AKIA{}", s.word(BASE32, 16)),
        "aws-secret" => s.word(BASE64, 40),
        "azure-storage" => format!("{}==", s.word(BASE64, 86)),
        "digitalocean" => format!("dop_v1_{}", s.word(HEX, 64)),
        "discord-webhook" => format!(
            "https://discord.com/api/webhooks/{}/{}",
            s.number(18),
            s.word(BASE64_URL, 68)
        ),
        "docker-pat" => format!("dckr_pat_{}", s.word(BASE64_URL, 27)),
        "github-fine" => format!("github_pat_{}_{}", s.word(BASE62, 22), s.word(BASE62, 59)),
        "github-pat" => checked("ghp_", &s.word(BASE62, 30)),
        "gitlab-pat" => format!("glpat-{}", s.word(BASE64_URL, 20)),
        "google-key" => format!("AIza{}", s.word(BASE64_URL, 35)),
        "hf-token" => format!("hf_{}", s.word(LETTERS, 34)),
        "npm-token" => checked("npm_", &s.word(BASE62, 30)),
        "openai-key" => format!(
            "sk-proj-{}T3BlbkFJ{}",
            s.word(BASE64_URL, 74),
            s.word(BASE64_URL, 74)
        ),
        "pypi-token" => format!("pypi-AgEIcHlwaS5vcmc{}", s.word(BASE64_URL, 150)),
        "sendgrid" => format!("SG.{}.{}", s.word(BASE64_URL, 22), s.word(BASE64_URL, 43)),
        "slack-bot" => format!("xoxb-{}-{}-{}", s.number(12), s.number(13), s.word(BASE62, 24)),
        "slack-webhook" => format!(
            "https://hooks.slack.com/services/T{}/B{}/{}",
            s.word(UPPER, 10),
            s.word(UPPER, 10),
            s.word(BASE62, 24)
        ),
        "stripe-live" => format!("sk_live_{}", s.word(BASE62, 24)),
        "telegram-bot" => format!("{}:AA{}", s.number(10), s.word(BASE64_URL, 33)),
        "vault" => format!("hvs.{}", s.word(BASE64_URL, 92)),
        _ => return None,
    })
}

/// Passwords, keys and signed tokens.
fn key_material(kind: &str, s: &mut Source) -> Option<String> {
    Some(match kind {
        "db-password" => s.word(BASE62, 20),
        "hex-secret" => s.word(HEX, 64),
        "jwt" => {
            let payload = format!(r#"{{"sub":"{}","iat":1735689600}}"#, s.number(8));
            let header = base64_url(br#"{"alg":"HS256","typ":"JWT"}"#);
            format!(
                "{header}.{}.{}",
                base64_url(payload.as_bytes()),
                s.word(BASE64_URL, 43)
            )
        }
        "pem-ec" => pem("EC PRIVATE KEY", "MHcCAQEEI", 3, s),
        "pem-openssh" => pem("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", 6, s),
        "pem-rsa" => pem("RSA PRIVATE KEY", "MIIEpAIBAAKCAQEA", 25, s),
        _ => return None,
    })
}

/// What identifies a person or an account.
fn personal(kind: &str, s: &mut Source) -> String {
    match kind {
        "card-amex" => luhn(format!("37{}", s.word(DIGITS, 12))),
        "card-mastercard" => luhn(format!("5{}{}", 1 + s.below(5), s.word(DIGITS, 13))),
        "card-visa" => luhn(format!("4{}", s.word(DIGITS, 14))),
        "iban-de" => iban("DE", &s.number(18)),
        "iban-fr" => iban("FR", &s.number(23)),
        "iban-gb" => iban("GB", &format!("NWBK{}", s.number(14))),
        "ssn" => format!(
            "{:03}-{:02}-{:04}",
            101 + s.below(500),
            1 + s.below(99),
            1 + s.below(9999)
        ),
        "es-dni" => {
            let number = 10_000_000 + s.below(80_000_000);
            let letter = b"TRWAGMYFPDXBNJZSQVHLCKE"[number % 23];
            format!("{number}{}", char::from(letter))
        }
        "br-cpf" => cpf(&s.number(9)),
        "phone-us" => format!("+1 {}-555-{:04}", 201 + s.below(700), s.below(10_000)),
        "phone-de" => format!("+49 30 {}", s.number(8)),
        _ => format!(
            "{}.{}@mail.example",
            s.word("aeiklmnorst", 6),
            s.word("aeiklmnorst", 8)
        ),
    }
}

/// GitHub's and npm's shape: the last six characters are the CRC-32 of the 30 before, in base 62.
fn checked(prefix: &str, random: &str) -> String {
    let alphabet = BASE62.as_bytes();
    let mut rest = crc32(random.as_bytes());
    let mut sum = [b'0'; 6];
    for place in sum.iter_mut().rev() {
        *place = alphabet[(rest % 62) as usize];
        rest /= 62;
    }
    format!("{prefix}{random}{}", String::from_utf8_lossy(&sum))
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

fn pem(name: &str, start: &str, lines: usize, s: &mut Source) -> String {
    let mut body = format!("{start}{}", s.word(BASE64, 64 - start.len()));
    for _ in 1..lines {
        body.push('\n');
        body.push_str(&s.word(BASE64, 64));
    }
    format!("-----BEGIN {name}-----\n{body}\n-----END {name}-----")
}

fn base64_url(bytes: &[u8]) -> String {
    let alphabet = BASE64_URL.as_bytes();
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_usize, |sum, at| {
            sum << 8 | usize::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..=chunk.len() {
            text.push(char::from(alphabet[group >> (18 - 6 * at) & 63]));
        }
    }
    text
}

fn luhn(digits: String) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte - b'0') * if at % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// Check digits of ISO 13616: the whole, turned and read in base 36, leaves 1 when divided by 97.
fn iban(country: &str, account: &str) -> String {
    let remainder = format!("{account}{country}00")
        .chars()
        .filter_map(|letter| letter.to_digit(36))
        .fold(0, |sum, digit| {
            (sum * if digit > 9 { 100 } else { 10 } + digit) % 97
        });
    format!("{country}{:02}{account}", 98 - remainder)
}

fn cpf(nine: &str) -> String {
    let mut digits: Vec<u32> = nine.chars().filter_map(|digit| digit.to_digit(10)).collect();
    for _ in 0..2 {
        let sum: u32 = digits
            .iter()
            .rev()
            .zip(2..)
            .map(|(digit, weight)| digit * weight)
            .sum();
        digits.push((sum * 10 % 11) % 10);
    }
    let text: String = digits.iter().map(ToString::to_string).collect();
    format!("{}.{}.{}-{}", &text[..3], &text[3..6], &text[6..9], &text[9..])
}

/// Characters that follow from a seed: SHA-256 of the seed and a counter.
struct Source {
    seed: String,
    counter: u64,
    left: Vec<u8>,
}

impl Source {
    fn new(seed: &str) -> Self {
        Self {
            seed: seed.to_owned(),
            counter: 0,
            left: Vec::new(),
        }
    }

    fn byte(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.left.pop() {
                return byte;
            }
            self.left = Sha256::digest(format!("{}\n{}", self.seed, self.counter)).to_vec();
            self.counter += 1;
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = (0..4).fold(0_usize, |sum, _| sum << 8 | usize::from(self.byte()));
        number % bound
    }

    fn word(&mut self, alphabet: &str, length: usize) -> String {
        let letters = alphabet.as_bytes();
        (0..length)
            .map(|_| char::from(letters[self.below(letters.len())]))
            .collect()
    }

    /// A decimal number of so many digits, without a leading zero.
    fn number(&mut self, length: usize) -> String {
        format!("{}{}", 1 + self.below(9), self.word(DIGITS, length - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &str) -> String {
        make(kind, &mut Source::new("seed")).expect("a known kind")
    }

    #[test]
    fn every_kind_gives_a_value_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in KINDS {
            assert!(seen.insert(one(kind)), "{kind}");
        }
        assert!(make("nothing", &mut Source::new("x")).is_err());
    }

    #[test]
    fn marks_are_filled_wherever_they_stand_and_always_the_same() {
        let mut first = serde_json::json!({"a": ["x⟪aws-key-id⟫y ⟪aws-key-id⟫"], "n": 1});
        let mut again = first.clone();
        fill(&mut first, "one").expect("filled");
        fill(&mut again, "one").expect("filled");
        assert_eq!(first, again);
        let text = first["a"][0].as_str().expect("a string");
        assert_eq!(text.matches("AKIA").count(), 2, "{text}");
        assert!(text.starts_with('x') && !text.contains(OPEN), "{text}");
        assert!(fill(&mut serde_json::json!("⟪aws-key-id"), "one").is_err());
    }

    #[test]
    fn checksums_are_right() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(iban("GB", "NWBK60161331926819"), "GB29NWBK60161331926819");
        assert_eq!(luhn("7992739871".to_owned()), "79927398713");
        assert_eq!(cpf("111444777"), "111.444.777-35");
        assert_eq!(base64_url(b"hello"), "aGVsbG8");
        assert_eq!(one("github-pat").len(), 40);
    }
}
