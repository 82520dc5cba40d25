//! The operator's lists: `lists.yaml` beside the policy.
//!
//! ```yaml
//! version: 1
//! block:
//!   - { program: nmap, owner: security@corp.example, reason: nobody scans from workstations }
//! allow:
//!   - { host: "*.corp.example", owner: platform@corp.example, reason: our own services, expires: 2027-06-30 }
//! exceptions:
//!   - { rule: command.network-to-interpreter, host: get.corp.example, owner: ana@corp.example,
//!       reason: the installer of our build images, expires: 2027-01-31 }
//! ```
//!
//! The lists of artifacts and whom to trust (`artifacts`, `trust`) stand in the same file.
//!
//! Everything is checked here, once; what an entry means stands in `policies/rego/lists.rego`. An entry that loosens
//! something (allow list, exceptions) must expire, so that nothing stays open because somebody forgot it.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::PolicyError;
use crate::artifacts::{Artifacts, ArtifactsForm};
use crate::trust::TrustForm;

/// The file's name.
pub(crate) const FILE: &str = "lists.yaml";
/// Most entries of one list. Each is tried on every call; more belong into rule packs, which have an index.
pub(crate) const MAX_ENTRIES: usize = 500;
/// Longest text of an entry (bytes).
const MAX_TEXT: usize = 1024;

/// The lists as Rego gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lists {
    block: Vec<Entry>,
    allow: Vec<Entry>,
    exceptions: Vec<Entry>,
    artifacts: Artifacts,
    /// Not `data.operator`, but `data.trust`.
    #[serde(skip)]
    trust: TrustForm,
}

/// An entry: what it is about, and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    #[serde(flatten)]
    about: About,
    /// What it is about, for a person.
    subject: String,
    owner: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ns: Option<i64>,
}

/// What an entry names; everything that it names must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    /// `ECOSYSTEM:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    version: u32,
    #[serde(default)]
    block: Vec<EntryForm>,
    #[serde(default)]
    allow: Vec<EntryForm>,
    #[serde(default)]
    exceptions: Vec<EntryForm>,
    #[serde(default)]
    artifacts: ArtifactsForm,
    #[serde(default)]
    trust: TrustForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    rule: Option<String>,
    connector: Option<String>,
    tool: Option<String>,
    program: Option<String>,
    host: Option<String>,
    path: Option<String>,
    cwd: Option<String>,
    package: Option<String>,
    owner: String,
    reason: String,
    expires: Option<String>,
}

/// What the three lists want of their entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Allow,
    Exception,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
            Self::Exception => "exceptions",
        }
    }
}

impl Lists {
    /// Reads the lists from YAML. `file` is named in errors.
    pub(crate) fn from_yaml(file: &Path, text: &str) -> Result<Self, PolicyError> {
        let wrong = |why: String| PolicyError::Lists {
            file: file.to_owned(),
            why,
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let form: FileForm = defenseclaw_yaml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if form.version != 1 {
            return Err(wrong(format!(
                "version {} is not known; write `version: 1`",
                form.version
            )));
        }
        form.trust.check().map_err(wrong)?;
        let read = |kind: Kind, entries: Vec<EntryForm>| {
            if entries.len() > MAX_ENTRIES {
                return Err(wrong(format!(
                    "{} has {} entries; at most {MAX_ENTRIES} are taken, write a rule pack for more",
                    kind.name(),
                    entries.len()
                )));
            }
            let entries = entries.into_iter().enumerate();
            entries
                .map(|(place, entry)| {
                    Entry::read(kind, entry).map_err(|why| wrong(format!("{}[{place}]: {why}", kind.name())))
                })
                .collect()
        };
        Ok(Self {
            block: read(Kind::Block, form.block)?,
            allow: read(Kind::Allow, form.allow)?,
            exceptions: read(Kind::Exception, form.exceptions)?,
            artifacts: Artifacts::read(form.artifacts).map_err(wrong)?,
            trust: form.trust,
        })
    }

    /// Adds another file's entries.
    pub(crate) fn extend(&mut self, more: Self) {
        self.block.extend(more.block);
        self.allow.extend(more.allow);
        self.exceptions.extend(more.exceptions);
        self.artifacts.extend(more.artifacts);
        self.trust.extend(more.trust);
    }

    /// Whom the operator trusts.
    pub(crate) fn trust(&self) -> &TrustForm {
        &self.trust
    }

    /// Entries that no longer count at `now_ns`, for a person: their list and subject.
    pub(crate) fn expired(&self, now_ns: u64) -> Vec<String> {
        let now = i64::try_from(now_ns).unwrap_or(i64::MAX);
        [
            (Kind::Block, &self.block),
            (Kind::Allow, &self.allow),
            (Kind::Exception, &self.exceptions),
        ]
        .into_iter()
        .flat_map(|(kind, entries)| entries.iter().map(move |entry| (kind, entry)))
        .filter(|(_, entry)| entry.expires_ns.is_some_and(|at| at <= now))
        .map(|(kind, entry)| format!("{}: {}", kind.name(), entry.subject))
        .chain(self.artifacts.expired(now))
        .collect()
    }
}

impl Entry {
    fn read(kind: Kind, form: EntryForm) -> Result<Self, String> {
        let EntryForm {
            rule,
            connector,
            tool,
            program,
            host,
            path,
            cwd,
            package,
            owner,
            reason,
            expires,
        } = form;
        let about = About {
            rule,
            connector,
            tool,
            program,
            host: host.map(|host| host.to_lowercase()),
            path,
            cwd,
            package,
        };
        about.check(kind)?;
        for (name, text) in [("owner", &owner), ("reason", &reason)] {
            if text.trim().is_empty() {
                return Err(format!(
                    "`{name}` is empty; say who answers for the entry, and why it is there"
                ));
            }
            within_bounds(name, text)?;
        }
        let expires_ns = expires.as_deref().map(instant).transpose()?;
        if expires_ns.is_none() && kind != Kind::Block {
            return Err("`expires` is missing; an entry that loosens something must end, \
                        for instance `expires: 2027-06-30`"
                .into());
        }
        Ok(Self {
            subject: about.subject(),
            about,
            owner,
            reason,
            expires_ns,
        })
    }
}

impl About {
    /// Its keys, in the order in which they are told.
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("rule", &self.rule),
            ("program", &self.program),
            ("host", &self.host),
            ("path", &self.path),
            ("package", &self.package),
            ("tool", &self.tool),
            ("cwd", &self.cwd),
            ("connector", &self.connector),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key, text.as_deref()?)))
    }

    fn subject(&self) -> String {
        let words: Vec<_> = self.named().map(|(key, text)| format!("{key} {text}")).collect();
        words.join(", ")
    }

    fn check(&self, kind: Kind) -> Result<(), String> {
        for (key, text) in self.named() {
            within_bounds(key, text)?;
            pattern(key, text)?;
        }
        match (kind, &self.rule) {
            (Kind::Exception, None) => {
                return Err("`rule` is missing; an exception is from a rule, for instance `rule: command.unknown-code`".into());
            }
            (Kind::Block | Kind::Allow, Some(_)) => {
                return Err(
                    "`rule` belongs to `exceptions`; name a program, host, path, package or tool here".into(),
                );
            }
            _ => {}
        }
        if let Some(package) = &self.package {
            known_package(package)?;
        }
        let names_something = self
            .named()
            .any(|(key, _)| ["program", "host", "path", "package", "tool"].contains(&key));
        if kind != Kind::Exception && !names_something {
            return Err(
                "it names no program, host, path, package or tool, so that it would fit every call".into(),
            );
        }
        Ok(())
    }
}

/// `npm:left-pad`, `pypi:acme-*`: without a known ecosystem in front an entry would never fit, and nobody would notice.
fn known_package(package: &str) -> Result<(), String> {
    const ECOSYSTEMS: &[&str] = &[
        "npm", "pypi", "crates", "gem", "go", "system", "docker", "git", "skill", "plugin", "mcp", "hook",
        "vscode", "script",
    ];
    let ecosystem = package.split_once(':').map(|(ecosystem, _)| ecosystem);
    if package.starts_with('*') || ecosystem.is_some_and(|ecosystem| ECOSYSTEMS.contains(&ecosystem)) {
        return Ok(());
    }
    Err(format!(
        "`package: {package}` names no ecosystem; write `npm:{package}`, for instance, or one of {}",
        ECOSYSTEMS.join(", ")
    ))
}

/// A text, or one with a `*` at its start or its end; nothing that fits everything.
pub(crate) fn pattern(key: &str, text: &str) -> Result<(), String> {
    let inner = text
        .strip_prefix('*')
        .or_else(|| text.strip_suffix('*'))
        .unwrap_or(text);
    if inner.is_empty() {
        return Err(format!(
            "`{key}: {text}` fits everything; leave the key out if it does not matter"
        ));
    }
    if inner.contains('*') {
        return Err(format!(
            "`{key}: {text}`: a `*` stands at the start or the end, and once"
        ));
    }
    Ok(())
}

pub(crate) fn within_bounds(key: &str, text: &str) -> Result<(), String> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    Err(format!(
        "`{key}` has {} bytes; at most {MAX_TEXT} are taken",
        text.len()
    ))
}

/// A day (its end, UTC) or an instant, in ns since the Unix epoch.
pub(crate) fn instant(text: &str) -> Result<i64, String> {
    let parsed = text.parse::<Timestamp>().or_else(|error| {
        let day: Date = text.parse().map_err(|_| error)?;
        Ok::<_, jiff::Error>(day.tomorrow()?.to_zoned(TimeZone::UTC)?.timestamp())
    });
    let at = parsed.map_err(|error| {
        format!("`expires: {text}` is no day (2027-06-30) or instant (2027-06-30T12:00:00Z): {error}")
    })?;
    i64::try_from(at.as_nanosecond()).map_err(|_| format!("`expires: {text}` is too far away"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Lists, String> {
        Lists::from_yaml(Path::new("lists.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_taken() {
        let lists = read(
            "version: 1\nblock:\n  - { program: nmap, owner: o, reason: r }\nallow:\n  - { host: \"*.Corp.example\", \
             owner: o, reason: r, expires: 2027-06-30 }\nexceptions:\n  - { rule: a.b, path: \"/srv/*\", owner: o, \
             reason: r, expires: \"2027-06-30T00:00:00Z\" }\n",
        )
        .unwrap();
        assert_eq!(lists.allow[0].subject, "host *.corp.example");
        let day = 24 * 3600 * 1_000_000_000;
        assert_eq!(
            lists.allow[0].expires_ns.unwrap() - lists.exceptions[0].expires_ns.unwrap(),
            day
        );
        assert_eq!(
            lists.expired(u64::MAX),
            ["allow: host *.corp.example", "exceptions: rule a.b, path /srv/*"]
        );
        assert!(lists.expired(0).is_empty());
        assert_eq!(read("").unwrap(), Lists::default());
    }

    #[test]
    fn an_entry_that_nobody_answers_for_or_that_fits_everything_is_refused() {
        let cases = [
            ("block:\n  - { program: x, reason: r }", "owner"),
            ("block:\n  - { program: x, owner: ' ', reason: r }", "owner"),
            ("block:\n  - { owner: o, reason: r }", "every call"),
            (
                "block:\n  - { package: left-pad, owner: o, reason: r }",
                "npm:left-pad",
            ),
            (
                "block:\n  - { program: '*', owner: o, reason: r }",
                "fits everything",
            ),
            (
                "block:\n  - { program: 'a*b', owner: o, reason: r }",
                "at the start or the end",
            ),
            ("block:\n  - { rule: x, owner: o, reason: r }", "exceptions"),
            ("allow:\n  - { program: x, owner: o, reason: r }", "expires"),
            (
                "allow:\n  - { program: x, owner: o, reason: r, expires: soon }",
                "soon",
            ),
            (
                "exceptions:\n  - { program: x, owner: o, reason: r, expires: 2027-01-01 }",
                "rule",
            ),
            (
                "exceptions:\n  - { rule: x, programme: y, owner: o, reason: r, expires: 2027-01-01 }",
                "programme",
            ),
        ];
        for (text, named) in cases {
            let error = read(&format!("version: 1\n{text}\n")).unwrap_err();
            assert!(
                error.contains("lists.yaml") && error.contains(named),
                "{text}: {error}"
            );
        }
        assert!(read("version: 2\n").unwrap_err().contains("version 2"));
    }
}
