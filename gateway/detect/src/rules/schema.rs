//! The form of a pack of fact rules, as it stands in `policies/rules/*.yaml`.
//!
//! Everything here mirrors the YAML; `compile` turns it into what is asked at run time. A list means "any of these",
//! a map means "all of these", everywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::facts::{BehaviourKind, FlowKind, Radius};
use defenseclaw_yaml::Spanned;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A pack.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pack {
    pub(super) version: u32,
    #[expect(dead_code, reason = "read beforehand, to tell whose pack this is")]
    pub(super) kind: String,
    /// The category of its rules, unless a rule says another.
    pub(super) category: String,
    /// Lists of words that rules refer to as `@name`, in this pack and in others.
    #[serde(default)]
    pub(super) lists: BTreeMap<String, Vec<String>>,
    pub(super) rules: Vec<Spanned<Rule>>,
}

/// A rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) id: String,
    #[serde(default)]
    pub(super) category: Option<String>,
    pub(super) severity: Severity,
    pub(super) confidence: u8,
    pub(super) message: String,
    #[serde(default)]
    pub(super) remedy: String,
    /// MITRE ATT&CK, for instance `T1059.004`.
    #[serde(default)]
    pub(super) technique: String,
    pub(super) when: Many<Clause>,
    #[serde(default)]
    pub(super) unless: Many<Clause>,
    pub(super) tests: Tests,
}

/// What a rule must find, and what it must leave alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tests {
    pub(super) positive: Vec<Sample>,
    pub(super) negative: Vec<Sample>,
}

/// One tool call of a test: a command line, or a tool and its input.
#[derive(Debug, Clone)]
pub(super) enum Sample {
    Command(String),
    Call(SampleCall),
}

/// A tool call of a test, in full.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleCall {
    pub(super) tool: String,
    pub(super) input: serde_json::Value,
    #[serde(default)]
    pub(super) cwd: Option<String>,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Clause {
    pub(super) all: Vec<Clause>,
    pub(super) any: Many<Clause>,
    pub(super) not: Many<Clause>,
    /// A program that the call runs.
    pub(super) run: Many<Run>,
    /// Two programs, the output of the first of which reaches the second through pipes.
    pub(super) pipe: Many<PipeClause>,
    pub(super) reads: Many<PathClause>,
    pub(super) writes: Many<PathClause>,
    pub(super) touches: Many<PathClause>,
    pub(super) host: Many<HostClause>,
    /// Every host that is not this one is among these, and there is one.
    pub(super) only_hosts: Many<String>,
    pub(super) flow: Many<FlowClause>,
    pub(super) does: Many<DoesClause>,
    pub(super) opaque: Many<String>,
    pub(super) privilege: Many<String>,
    pub(super) tool: Many<String>,
    pub(super) call: Many<CallWord>,
    /// The text that is written, or that an unknown tool is given.
    pub(super) content: Many<TextClause>,
    /// Any text in the input, the command line included.
    pub(super) input: Many<TextClause>,
}

/// One program and its arguments; all that is given must hold of the same one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Run {
    pub(super) name: Many<String>,
    /// Names, without regard to versions, that it must not have.
    pub(super) not_name: Many<String>,
    /// Patterns for the program as it is written: `/tmp/*`.
    #[serde(rename = "as")]
    pub(super) written: Many<String>,
    /// Options, any of these: `-x` is found in `-axb` too, `--long` in `--long=value` too.
    pub(super) flag: Many<String>,
    /// Options, each of these.
    pub(super) flags: Vec<Many<String>>,
    pub(super) no_flag: Many<String>,
    /// Subcommands, any of these: `push`, `remote add`.
    #[serde(rename = "sub")]
    pub(super) subcommand: Many<String>,
    /// Patterns, any of which matches some argument.
    pub(super) arg: Many<String>,
    /// Patterns, each of which matches some argument.
    pub(super) args: Vec<Many<String>>,
    pub(super) no_arg: Many<String>,
    /// Substrings of the whole line, each of these; `a|b` is either. In lower case.
    pub(super) has: Vec<String>,
    pub(super) has_not: Many<String>,
    /// A regular expression over the whole line.
    pub(super) re: Option<String>,
    /// Whether it has an argument that is no option.
    pub(super) operands: Option<bool>,
    /// Whether what comes through a pipe or substitution would run as code.
    pub(super) takes_code: Option<bool>,
    /// Whether the program's own name is the output of a command or a variable.
    pub(super) computed: Option<bool>,
    /// Of what it prints nothing but names is kept, by its own form of output or by a filter behind it.
    pub(super) names_only: Option<bool>,
}

/// A pipe's ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PipeClause {
    pub(super) from: Many<Run>,
    pub(super) to: Many<Run>,
}

/// A path by class, by pattern, or both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PathClause {
    pub(super) class: Many<String>,
    pub(super) path: Many<String>,
    pub(super) not_path: Many<String>,
    /// Names of programs, one of which reads or writes it, or else it is not known which does.
    pub(super) by: Many<String>,
}

/// A host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HostClause {
    /// Patterns: `*.example.com`.
    pub(super) name: Many<String>,
    pub(super) not_name: Many<String>,
    pub(super) kind: Many<HostWord>,
    pub(super) port: Many<u16>,
}

/// What kind of address a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HostWord {
    /// This host: never matched by a clause that names no kind.
    Local,
    /// Any but this one.
    Remote,
    /// A literal address outside private ranges.
    PublicAddress,
    /// A literal address in a private range.
    PrivateAddress,
    /// A link-local address at which clouds give credentials.
    Metadata,
    /// A name.
    Name,
}

/// Where data goes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FlowClause {
    pub(super) from: Many<FlowKind>,
    pub(super) to: Many<FlowKind>,
    pub(super) from_what: Many<String>,
    pub(super) to_what: Many<String>,
    pub(super) through: Many<String>,
}

/// A behaviour: `kind/technique`, or in full.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DoesClause {
    pub(super) kind: Option<BehaviourKind>,
    pub(super) technique: Many<String>,
    pub(super) object: Many<String>,
    pub(super) not_object: Many<String>,
    /// At least this far.
    pub(super) radius: Option<Radius>,
    /// At most this far.
    pub(super) within: Option<Radius>,
}

/// A text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TextClause {
    /// Literals, each of these, `a|b` either; without regard to ASCII case.
    pub(super) has: Vec<String>,
    /// A regular expression that is tried where the literals are found; without regard to case.
    pub(super) re: Option<String>,
    /// Whether the expression is tried on what can act alone: not on comments, quoted texts that nothing runs, and files
    /// of what is looked for.
    pub(super) acts: bool,
    /// Whether sentences do not count that let an agent do nothing but what is harmless.
    pub(super) leave: bool,
    /// Regular expressions for what is left out of the text before `re` is tried: what says the opposite in like words.
    pub(super) without: Many<String>,
}

/// What kind of tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallWord {
    Command,
    FileWrite,
    FileRead,
    FileSearch,
    Network,
    Other,
}

/// One thing or a list of things.
#[derive(Debug, Clone)]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Many<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What a bare word stands for where a map could stand.
pub(super) trait Word: Sized {
    fn word(text: &str) -> Result<Self, String>;
}

impl Word for String {
    fn word(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Word for Run {
    fn word(text: &str) -> Result<Self, String> {
        Ok(Self {
            name: Many(vec![text.to_owned()]),
            ..Self::default()
        })
    }
}

impl Word for PathClause {
    fn word(text: &str) -> Result<Self, String> {
        let one = Many(vec![text.to_owned()]);
        Ok(if text.starts_with('@') || text.contains(['/', '*', '.']) {
            Self {
                path: one,
                ..Self::default()
            }
        } else {
            Self {
                class: one,
                ..Self::default()
            }
        })
    }
}

impl Word for HostClause {
    fn word(text: &str) -> Result<Self, String> {
        let kind = HostWord::deserialize(StrDeserializer::<de::value::Error>::new(text));
        Ok(match kind {
            Ok(kind) => Self {
                kind: Many(vec![kind]),
                ..Self::default()
            },
            Err(_) => Self {
                name: Many(vec![text.to_owned()]),
                ..Self::default()
            },
        })
    }
}

impl Word for DoesClause {
    fn word(text: &str) -> Result<Self, String> {
        let (kind, technique) = text.split_once('/').unwrap_or((text, ""));
        let kind = BehaviourKind::deserialize(StrDeserializer::<de::value::Error>::new(kind))
            .map_err(|error| format!("{text:?} is no kind/technique: {error}"))?;
        let technique = if technique.is_empty() {
            Vec::new()
        } else {
            vec![technique.to_owned()]
        };
        Ok(Self {
            kind: Some(kind),
            technique: Many(technique),
            ..Self::default()
        })
    }
}

impl Word for FlowClause {
    /// `secret>network`; either side may be missing.
    fn word(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once('>')
            .ok_or_else(|| format!("{text:?} is no flow: write `from>to`"))?;
        let side = |text: &str| match text.trim() {
            "" => Ok(Many::default()),
            kind => FlowKind::word(kind).map(|kind| Many(vec![kind])),
        };
        Ok(Self {
            from: side(from)?,
            to: side(to)?,
            ..Self::default()
        })
    }
}

impl Word for TextClause {
    fn word(text: &str) -> Result<Self, String> {
        Ok(Self {
            has: vec![text.to_owned()],
            ..Self::default()
        })
    }
}

impl Word for CallWord {
    fn word(text: &str) -> Result<Self, String> {
        Self::deserialize(StrDeserializer::<de::value::Error>::new(text)).map_err(|error| error.to_string())
    }
}

impl Word for HostWord {
    fn word(text: &str) -> Result<Self, String> {
        Self::deserialize(StrDeserializer::<de::value::Error>::new(text)).map_err(|error| error.to_string())
    }
}

impl Word for FlowKind {
    fn word(text: &str) -> Result<Self, String> {
        Self::deserialize(StrDeserializer::<de::value::Error>::new(text)).map_err(|error| error.to_string())
    }
}

impl Word for u16 {
    fn word(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is no port number"))
    }
}

impl Word for Clause {
    fn word(text: &str) -> Result<Self, String> {
        Err(format!("{text:?} is no condition: write `key: value`"))
    }
}

impl Word for PipeClause {
    fn word(text: &str) -> Result<Self, String> {
        Err(format!("{text:?} is no pipe: write `{{from: …, to: …}}`"))
    }
}

/// Reads one element: a word or a map.
struct One<T>(T);

impl<'de, T: Word + Deserialize<'de>> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Word + Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = One<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a map")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<One<T>, E> {
                T::word(text).map(One).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<One<T>, E> {
                T::word(&number.to_string()).map(One).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<One<T>, E> {
                T::word(&number.to_string()).map(One).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<One<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(One)
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, T: Word + Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Word + Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Many<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, a map, or a list of these")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Many<T>, E> {
                T::word(text).map(|one| Many(vec![one])).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Many<T>, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Many<T>, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Many<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| Many(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(One(item)) = list.next_element::<One<T>>()? {
                    items.push(item);
                }
                Ok(Many(items))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Sample;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command line, or {tool, input}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Sample, E> {
                Ok(Sample::Command(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sample, A::Error> {
                SampleCall::deserialize(MapAccessDeserializer::new(map)).map(Sample::Call)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
