//! The packs' schema, and errors that name file, rule and line.

use defenseclaw_model::decision::Severity;
use defenseclaw_yaml::{Spanned, Text};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::detector::{PackError, Surface};

/// The tests that stand beside a rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tests {
    /// Texts in which the rule must find something.
    pub(super) positive: Vec<TestText>,
    /// Texts that look alike, in which it must not.
    pub(super) negative: Vec<TestText>,
}

/// A text, alone or with the surface that it stands on.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TestText {
    /// On the surface that the pack's kind has by itself.
    Plain(String),
    /// On this surface.
    On {
        /// Which.
        surface: SurfaceName,
        /// What.
        text: String,
    },
}

/// A surface, as packs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SurfaceName {
    Prompt,
    Completion,
    ToolResult,
    ToolInput,
}

impl From<SurfaceName> for Surface {
    fn from(name: SurfaceName) -> Self {
        match name {
            SurfaceName::Prompt => Self::Prompt,
            SurfaceName::Completion => Self::Completion,
            SurfaceName::ToolResult => Self::ToolResult,
            SurfaceName::ToolInput => Self::ToolInput,
        }
    }
}

/// What every text pack says first.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub(super) version: u32,
    pub(super) kind: String,
    pub(super) category: String,
}

/// `category: secret`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretPack {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "category")]
    _category: String,
    /// What to do instead, unless a rule says otherwise.
    pub(super) remedy: String,
    /// How values begin that name a secret and are none.
    #[serde(default)]
    pub(super) references: Vec<String>,
    /// Values that stand where secrets stand and are none.
    #[serde(default)]
    pub(super) plain: Vec<String>,
    /// How such values begin.
    #[serde(default)]
    pub(super) plain_starts: Vec<String>,
    /// The same three for masking, which is stricter.
    #[serde(default)]
    pub(super) masking_references: Vec<String>,
    #[serde(default)]
    pub(super) masking_plain: Vec<String>,
    #[serde(default)]
    pub(super) masking_plain_starts: Vec<String>,
    /// Values of documentation.
    #[serde(default)]
    pub(super) examples: Vec<String>,
    /// Parts that only made-up values have.
    #[serde(default)]
    pub(super) placeholders: Vec<String>,
    pub(super) rules: Vec<SecretRule>,
}

/// One format of secret.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRule {
    pub(super) id: Spanned<String>,
    /// What it is, with its article: `a GitHub token`.
    pub(super) what: String,
    /// Its shape. A group `keep` stands before the secret and stays; a group `secret` is the secret, else all of it is.
    pub(super) shape: String,
    #[serde(default)]
    pub(super) nocase: bool,
    /// Whether it may begin in the middle of a word.
    #[serde(default)]
    pub(super) inside: bool,
    /// Bytes of the secret that stay when it is masked: the format's public prefix.
    #[serde(default)]
    pub(super) shows: usize,
    /// What it extends to behind its shape, or to the text's end.
    #[serde(default)]
    pub(super) until: Option<String>,
    /// Whether the value has no shape of its own, only a name beside it: what is plainly no secret stays.
    #[serde(default)]
    pub(super) by_name: bool,
    /// What masking leaves of a value without a shape of its own, besides references.
    #[serde(default)]
    pub(super) leaves: Leaves,
    /// Whether it is masked and no finding.
    #[serde(default)]
    pub(super) mask_only: bool,
    /// Whether it is a finding and masked by another rule.
    #[serde(default)]
    pub(super) find_only: bool,
    /// Least entropy (bits for each byte) of what is not shown.
    #[serde(default)]
    pub(super) entropy: f64,
    /// Least length of the secret (bytes), for the finding.
    #[serde(default)]
    pub(super) length: usize,
    /// Whether letters and digits must both be there.
    #[serde(default)]
    pub(super) mixed: bool,
    /// A whole match that this expression matches is no finding.
    #[serde(default)]
    pub(super) unless: Option<String>,
    #[serde(default)]
    pub(super) check: Option<Check>,
    #[serde(default = "medium")]
    pub(super) severity: Severity,
    #[serde(default = "half")]
    pub(super) confidence: u8,
    #[serde(default)]
    pub(super) remedy: Option<String>,
    #[serde(default)]
    pub(super) tests: Option<Tests>,
}

/// What masking leaves of values that have only a name beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Leaves {
    /// What is plainly no secret.
    #[default]
    Plain,
    /// Numbers: `-u 1000:1000`.
    Numbers,
    /// Nothing: what stands there is a password, however weak.
    Nothing,
}

/// A checksum or structure that a secret has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Check {
    /// CRC-32 in base 62 at the end. A right one makes sure, a wrong one less sure.
    CrcAtEnd,
    /// A JSON Web Token's header. Without it there is no finding.
    JwtHeader,
    /// A PEM header with a key behind it. Without it there is no finding.
    PemBody,
}

/// `category: pii`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PiiPack {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "category")]
    _category: String,
    pub(super) remedy: String,
    pub(super) rules: Vec<PiiRule>,
}

/// One kind of personal data.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PiiRule {
    pub(super) id: Spanned<String>,
    /// What it is, in the plural: `payment card numbers`.
    pub(super) what: String,
    /// Its shape, from its first character on.
    pub(super) shape: String,
    #[serde(default)]
    pub(super) check: Option<PiiCheck>,
    /// Words of which one must stand near it; none: it stands alone.
    #[serde(default)]
    pub(super) near: Vec<String>,
    /// Values of documentation (without separators), and parts of them.
    #[serde(default)]
    pub(super) examples: Vec<String>,
    /// From how many different ones on there is a finding.
    #[serde(default = "one")]
    pub(super) few: usize,
    /// From how many different ones on it is `many_severity`.
    pub(super) many: usize,
    #[serde(default = "low")]
    pub(super) severity: Severity,
    #[serde(default = "medium")]
    pub(super) many_severity: Severity,
    pub(super) confidence: u8,
    pub(super) tests: Tests,
}

/// A checksum of personal numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PiiCheck {
    Luhn,
    Iban,
    #[serde(rename = "mod11-10")]
    Mod11_10,
    #[serde(rename = "mod11-2")]
    Mod11_2,
    Nhs,
    Cpf,
    Pesel,
    Bsn,
    Verhoeff,
    Nir,
    Dni,
    CodiceFiscale,
}

/// `category: injection`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InjectionPack {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "category")]
    _category: String,
    pub(super) remedy: String,
    /// Words that show that a text is about injections.
    pub(super) discussion: Vec<String>,
    /// Words that stand in encoded instructions (`rot13`, reversed, digits for letters).
    pub(super) core_words: Vec<String>,
    pub(super) rules: Vec<InjectionRule>,
}

/// One technique of steering an agent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InjectionRule {
    pub(super) id: Spanned<String>,
    /// What it is, with its article: `an attempt to override the agent's instructions`.
    pub(super) what: String,
    #[serde(default)]
    pub(super) signals: Vec<Signal>,
    /// How a text is carried past its reader, for rules about that.
    #[serde(default)]
    pub(super) carrier: Option<Carrier>,
    /// For a carrier: how bad it is, whatever the text says.
    #[serde(default = "low")]
    pub(super) severity: Severity,
    #[serde(default = "half")]
    pub(super) confidence: u8,
    pub(super) tests: Tests,
}

/// How a text is carried past its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Carrier {
    /// In what a page, document or terminal does not show.
    Hidden,
    /// In a code.
    Encoded,
    /// In characters that no one sees.
    Invisible,
    /// With invisible characters inside words.
    SplitWords,
    /// With the direction of writing turned by force.
    Direction,
    /// A picture whose address takes data away.
    DataPicture,
}

/// A phrase by which a technique shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    /// How much it says: 4 is a finding of its own, 1 says something only beside others.
    pub(super) weight: f64,
    /// The surfaces on which it counts; none named: all.
    #[serde(default)]
    pub(super) on: Vec<SurfaceName>,
    /// The phrase in folded text: lower case, without accents, one space between words.
    pub(super) shapes: Vec<Spanned<String>>,
}

fn one() -> usize {
    1
}

fn low() -> Severity {
    Severity::Low
}

fn medium() -> Severity {
    Severity::Medium
}

fn half() -> u8 {
    50
}

/// Reads one pack.
pub(super) fn parse<T: DeserializeOwned>(file: &str, text: Text<'_>) -> Result<T, PackError> {
    text.read().map_err(|error| PackError::Invalid {
        file: file.to_owned(),
        why: error.to_string(),
    })
}

/// What a pack says before its rules. They are many, so the rest is read only where that part does not stand alone; what
/// comes behind is read, and refused, with the rules.
pub(super) fn head(file: &str, text: Text<'_>) -> Result<Head, PackError> {
    if let Text::Yaml(yaml) = text
        && let Some((before, _)) = yaml.split_once("\nrules:")
        && let Ok(head) = parse(file, Text::Yaml(before))
    {
        return Ok(head);
    }
    parse(file, text)
}

/// Refuses a rule, by its name and line.
pub(super) fn refuse(file: &str, id: &Spanned<String>, why: &str) -> PackError {
    PackError::Invalid {
        file: file.to_owned(),
        why: format!("rule {:?}, line {}: {why}", id.value, id.defined.line()),
    }
}

/// What holds for every rule: an id with the category's prefix, and tests of both kinds.
pub(super) fn check_rule(
    file: &str,
    id: &Spanned<String>,
    confidence: u8,
    tests: Option<&Tests>,
) -> Result<(), PackError> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !id.value.contains('.') || !id.value.chars().all(known) {
        return Err(refuse(
            file,
            id,
            "write its id as category.name, in lower-case letters, digits and hyphens",
        ));
    }
    if confidence > 100 {
        return Err(refuse(file, id, "confidence goes from 0 to 100"));
    }
    if tests.is_some_and(|tests| tests.positive.is_empty() || tests.negative.is_empty()) {
        return Err(refuse(
            file,
            id,
            "give it at least one positive and one negative test",
        ));
    }
    Ok(())
}
