//! The operator's lists of artifacts: `artifacts` in `lists.yaml`.
//!
//! ```yaml
//! artifacts:
//!   block:
//!     - { kind: skill, name: "pdf-*", owner: security@corp.example, reason: takes form data elsewhere }
//!   allow:
//!     - { kind: mcp, name: files, digest: "sha256:…", owner: ana@corp.example, reason: read in full, expires: 2027-06-30 }
//!   first_party:
//!     - { kind: skill, name: "corp-*", signer: corp-release, owner: platform@corp.example, reason: our own skills }
//! ```
//!
//! What an entry means stands in `policies/rego/artifacts.rego`.

use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::gate::{ListEntry, ListName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lists::{MAX_ENTRIES, instant, pattern, within_bounds};

/// Hex digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// The lists as Rego gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Artifacts {
    block: Vec<Entry>,
    allow: Vec<Entry>,
    first_party: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    kind: ArtifactKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    owner: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ns: Option<i64>,
}

/// The lists as a person writes them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtifactsForm {
    #[serde(default)]
    block: Vec<EntryForm>,
    #[serde(default)]
    allow: Vec<EntryForm>,
    #[serde(default)]
    first_party: Vec<EntryForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    kind: ArtifactKind,
    name: Option<String>,
    digest: Option<String>,
    signer: Option<String>,
    owner: String,
    reason: String,
    expires: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Block,
    Allow,
    FirstParty,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::Block => "artifacts.block",
            Self::Allow => "artifacts.allow",
            Self::FirstParty => "artifacts.first_party",
        }
    }
}

impl Artifacts {
    /// Checks what was written. The error names list and place.
    pub(crate) fn read(form: ArtifactsForm) -> Result<Self, String> {
        let read = |list: List, entries: Vec<EntryForm>| {
            let name = list.name();
            if entries.len() > MAX_ENTRIES {
                let count = entries.len();
                return Err(format!(
                    "{name} has {count} entries; at most {MAX_ENTRIES} are taken"
                ));
            }
            let entries = entries.into_iter().enumerate();
            entries
                .map(|(place, entry)| {
                    Entry::read(list, entry).map_err(|why| format!("{name}[{place}]: {why}"))
                })
                .collect()
        };
        Ok(Self {
            block: read(List::Block, form.block)?,
            allow: read(List::Allow, form.allow)?,
            first_party: read(List::FirstParty, form.first_party)?,
        })
    }

    /// Adds another file's entries.
    pub(crate) fn extend(&mut self, more: Self) {
        self.block.extend(more.block);
        self.allow.extend(more.allow);
        self.first_party.extend(more.first_party);
    }

    /// Entries that no longer count at `now` (ns), for a person.
    pub(crate) fn expired(&self, now: i64) -> impl Iterator<Item = String> {
        [
            (List::Block, &self.block),
            (List::Allow, &self.allow),
            (List::FirstParty, &self.first_party),
        ]
        .into_iter()
        .flat_map(|(list, entries)| entries.iter().map(move |entry| (list, entry)))
        .filter(move |(_, entry)| entry.expires_ns.is_some_and(|at| at <= now))
        .map(|(list, entry)| format!("{}: {}", list.name(), entry.subject()))
    }
}

/// Puts the entries that were made at run time beside those of `data.operator.artifacts`.
pub(crate) fn add_kept(data: &mut Map<String, Value>, kept: &[ListEntry]) -> Result<(), String> {
    let mut target = data;
    for key in ["operator", "artifacts"] {
        let below = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
        target = below
            .as_object_mut()
            .ok_or_else(|| format!("`data.{key}` is no object"))?;
    }
    for (list, name) in [(ListName::Block, "block"), (ListName::Allow, "allow")] {
        let mut added = Vec::new();
        for entry in kept.iter().filter(|entry| entry.list == list) {
            let entries = Entry::of_kept(entry).map_err(|why| format!("{name} entry {}: {why}", entry.id))?;
            for entry in entries {
                added.push(serde_json::to_value(entry).map_err(|error| error.to_string())?);
            }
        }
        if added.len() > MAX_ENTRIES {
            return Err(format!(
                "the {name} list would have {} entries; at most {MAX_ENTRIES} are taken: forget some, or write patterns",
                added.len()
            ));
        }
        let entries = target
            .entry(name)
            .or_insert_with(|| Value::Array(Vec::new()))
            .as_array_mut()
            .ok_or_else(|| format!("`data.operator.artifacts.{name}` is no list"))?;
        entries.extend(added);
    }
    Ok(())
}

impl Entry {
    fn read(list: List, mut form: EntryForm) -> Result<Self, String> {
        let expires_ns = form.expires.take().as_deref().map(instant).transpose()?;
        Self::checked(list, form, expires_ns)
    }

    fn checked(list: List, form: EntryForm, expires_ns: Option<i64>) -> Result<Self, String> {
        for (key, text) in [("owner", &form.owner), ("reason", &form.reason)] {
            if text.trim().is_empty() {
                return Err(format!(
                    "`{key}` is empty; say who answers for the entry, and why it is there"
                ));
            }
            within_bounds(key, text)?;
        }
        if let Some(name) = &form.name {
            within_bounds("name", name)?;
            pattern("name", name)?;
        }
        if let Some(digest) = &form.digest {
            check_digest(digest)?;
        }
        form.check_subject(list)?;
        if expires_ns.is_none() && list == List::Allow {
            return Err("`expires` is missing; an entry that loosens something must end, \
                        for instance `expires: 2027-06-30`"
                .to_owned());
        }
        let EntryForm {
            kind,
            name,
            digest,
            signer,
            owner,
            reason,
            ..
        } = form;
        Ok(Self {
            kind,
            name,
            digest,
            signer,
            owner,
            reason,
            expires_ns,
        })
    }

    /// What an entry that was made at run time means to Rego: one for each kind that it is about.
    fn of_kept(kept: &ListEntry) -> Result<Vec<Self>, String> {
        let list = match kept.list {
            ListName::Allow => List::Allow,
            ListName::Block => List::Block,
        };
        if kept.kind.is_none() && kept.digest.is_none() {
            return Err("it names no kind of artifact, and no digest either".to_owned());
        }
        let kinds = kept
            .kind
            .map_or_else(|| ArtifactKind::ALL.to_vec(), |kind| vec![kind]);
        let expires_ns = kept.expires_ns.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        kinds
            .into_iter()
            .map(|kind| {
                let form = EntryForm {
                    kind,
                    name: kept.name.clone(),
                    digest: kept.digest.clone(),
                    signer: None,
                    owner: kept.owner.clone(),
                    reason: kept.reason.clone(),
                    expires: None,
                };
                Self::checked(list, form, expires_ns)
            })
            .collect()
    }

    fn subject(&self) -> String {
        let keys = [
            ("name", &self.name),
            ("digest", &self.digest),
            ("signer", &self.signer),
        ];
        let named = keys
            .into_iter()
            .filter_map(|(key, text)| Some(format!(", {key} {}", text.as_ref()?)));
        format!("{}{}", self.kind, named.collect::<String>())
    }
}

impl EntryForm {
    /// Whether it names enough to say which artifacts are meant.
    fn check_subject(&self, list: List) -> Result<(), String> {
        match list {
            List::Block | List::Allow if self.signer.is_some() => {
                Err("`signer` belongs to `artifacts.first_party`; whom to trust how far stands in `trust.signers`".to_owned())
            }
            List::Block | List::Allow if self.name.is_none() && self.digest.is_none() => {
                Err("it names neither `name` nor `digest`, so that it would fit every artifact of its kind".to_owned())
            }
            List::FirstParty if self.digest.is_none() && self.signer.is_none() => Err(
                "it names neither `signer` nor `digest`; anyone can call a thing yours, so say who signs it or which \
                 content it has"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

fn check_digest(digest: &str) -> Result<(), String> {
    let digits = digest.strip_prefix("sha256:").unwrap_or_default();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() == DIGEST_DIGITS && digits.bytes().all(hex) {
        return Ok(());
    }
    Err(format!(
        "`digest: {digest}` is not `sha256:` and {DIGEST_DIGITS} lower-case hex digits, as `defenseclaw-cli artifact \
         manifest` prints it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Artifacts, String> {
        Artifacts::read(defenseclaw_yaml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn what_is_whole_is_taken_and_ends_when_it_says() {
        let lists = read(&format!(
            "block:\n  - {{ kind: skill, name: 'pdf-*', owner: o, reason: r }}\n\
             allow:\n  - {{ kind: mcp, digest: 'sha256:{}', owner: o, reason: r, expires: 2027-06-30 }}\n\
             first_party:\n  - {{ kind: tool, name: x, signer: us, owner: o, reason: r, expires: '2027-01-01T00:00:00Z' }}\n",
            "0a".repeat(32)
        ))
        .unwrap();
        assert_eq!((lists.block.len(), lists.block[0].expires_ns), (1, None));
        assert_eq!(lists.expired(0).count(), 0);
        let expired: Vec<_> = lists.expired(i64::MAX).collect();
        assert!(
            expired[0].starts_with("artifacts.allow: mcp, digest sha256:0a"),
            "{expired:?}"
        );
        assert_eq!(expired[1], "artifacts.first_party: tool, name x, signer us");
        assert_eq!(expired.len(), 2);
    }

    fn kept(list: ListName, name: Option<&str>, digest: Option<String>) -> ListEntry {
        ListEntry {
            id: "l-00000001".to_owned(),
            list,
            kind: name.map(|_| ArtifactKind::Skill),
            name: name.map(str::to_owned),
            digest,
            owner: "ana".to_owned(),
            reason: "r".to_owned(),
            expires_ns: Some(9),
            added_ns: 1,
            by_uid: 0,
        }
    }

    #[test]
    fn what_operators_add_stands_beside_what_the_data_says() {
        let mut data = Map::new();
        data.insert(
            "operator".to_owned(),
            serde_json::json!({"artifacts": {"block": [{"kind": "mcp"}]}}),
        );
        let digest = format!("sha256:{}", "0a".repeat(32));
        let entries = [
            kept(ListName::Block, Some("x-*"), None),
            kept(ListName::Allow, None, Some(digest.clone())),
        ];
        add_kept(&mut data, &entries).unwrap();
        let lists = &data["operator"]["artifacts"];
        assert_eq!(lists["block"][1]["name"], "x-*");
        assert_eq!(lists["block"].as_array().unwrap().len(), 2);
        let kinds: Vec<_> = lists["allow"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["kind"])
            .collect();
        assert_eq!(kinds, ["skill", "mcp", "plugin", "tool"]);
        assert_eq!(
            (&lists["allow"][0]["digest"], &lists["allow"][0]["expires_ns"]),
            (&digest.into(), &9.into())
        );
        let endless = ListEntry {
            expires_ns: None,
            ..kept(ListName::Allow, Some("x"), None)
        };
        assert!(add_kept(&mut data, &[endless]).unwrap_err().contains("expires"));
        let all = kept(ListName::Block, Some("*"), None);
        assert!(add_kept(&mut data, &[all]).unwrap_err().contains("l-00000001"));
        let nothing = kept(ListName::Block, None, None);
        assert!(add_kept(&mut data, &[nothing]).unwrap_err().contains("no kind"));
        let many = vec![kept(ListName::Block, Some("y"), None); MAX_ENTRIES + 1];
        assert!(add_kept(&mut data, &many).unwrap_err().contains("501"));
    }

    #[test]
    fn what_nobody_answers_for_or_what_fits_everything_is_refused() {
        let cases = [
            ("block:\n  - { kind: skill, name: x, reason: r }", "owner"),
            (
                "block:\n  - { kind: skill, name: x, owner: ' ', reason: r }",
                "owner",
            ),
            ("block:\n  - { name: x, owner: o, reason: r }", "kind"),
            (
                "block:\n  - { kind: Skill, name: x, owner: o, reason: r }",
                "Skill",
            ),
            (
                "block:\n  - { kind: skill, owner: o, reason: r }",
                "every artifact",
            ),
            (
                "block:\n  - { kind: skill, name: '*', owner: o, reason: r }",
                "fits everything",
            ),
            (
                "block:\n  - { kind: skill, name: x, signer: s, owner: o, reason: r }",
                "first_party",
            ),
            (
                "allow:\n  - { kind: skill, name: x, owner: o, reason: r }",
                "expires",
            ),
            (
                "allow:\n  - { kind: skill, digest: abc, owner: o, reason: r, expires: 2027-01-01 }",
                "sha256:",
            ),
            (
                "first_party:\n  - { kind: skill, name: x, owner: o, reason: r }",
                "signer",
            ),
            (
                "allow:\n  - { kind: skill, name: x, until: 1, owner: o, reason: r }",
                "until",
            ),
        ];
        for (text, named) in cases {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        let upper = format!(
            "block:\n  - {{ kind: skill, digest: 'sha256:{}', owner: o, reason: r }}",
            "0A".repeat(32)
        );
        assert!(read(&upper).unwrap_err().contains("lower-case"));
    }
}
