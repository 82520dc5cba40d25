//! What was added, removed and changed between two inventories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::item::{Details, Inventory, Item, ItemKind};

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is there with something else in it.
    Changed,
}

impl Became {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// One field that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// `version`, `digest`, `command`, `environment`, `findings`, `admission`, `owner`, `link`, `readers`, `disabled`.
    pub field: String,
    /// What it was; empty: nothing.
    pub before: String,
    /// What it is; empty: nothing.
    pub after: String,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What became of it.
    pub became: Became,
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: ItemKind,
    /// Its name.
    pub name: String,
    /// Where it lies, or lay.
    pub path: String,
    /// What changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// All of it, in the order of kinds and paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// When the earlier inventory was taken, ns since the Unix epoch.
    pub before_ns: u64,
    /// When the later one was.
    pub after_ns: u64,
    /// What became of what.
    pub changes: Vec<Change>,
}

/// Compares two inventories. What stands in the later one alone is added only where the earlier one looked there, too: that is
/// the caller's to see to by comparing scans of the same roots.
pub fn between(before: &Inventory, after: &Inventory) -> Diff {
    let earlier: BTreeMap<&str, &Item> = before.items.iter().map(|item| (item.id.as_str(), item)).collect();
    let later: BTreeMap<&str, &Item> = after.items.iter().map(|item| (item.id.as_str(), item)).collect();
    let mut changes = Vec::new();
    for item in &after.items {
        match earlier.get(item.id.as_str()) {
            None => changes.push(change(item, Became::Added, Vec::new())),
            Some(was) => {
                let fields = fields(was, item);
                if !fields.is_empty() {
                    changes.push(change(item, Became::Changed, fields));
                }
            }
        }
    }
    let gone = before
        .items
        .iter()
        .filter(|item| !later.contains_key(item.id.as_str()));
    changes.extend(gone.map(|item| change(item, Became::Removed, Vec::new())));
    changes.sort_by(|a, b| (a.kind, &a.path, &a.name, a.became).cmp(&(b.kind, &b.path, &b.name, b.became)));
    Diff {
        before_ns: before.time_ns,
        after_ns: after.time_ns,
        changes,
    }
}

fn change(item: &Item, became: Became, fields: Vec<Field>) -> Change {
    Change {
        became,
        id: item.id.clone(),
        kind: item.kind,
        name: item.name.clone(),
        path: item.path.clone(),
        fields,
    }
}

fn fields(was: &Item, is: &Item) -> Vec<Field> {
    let pairs = [
        ("version", was.version.clone(), is.version.clone()),
        ("name", Some(was.name.clone()), Some(is.name.clone())),
        ("command", was.command(), is.command()),
        ("environment", environment(was), environment(is)),
        ("disabled", disabled(was), disabled(is)),
        ("digest", was.digest.clone(), is.digest.clone()),
        ("link", was.link.clone(), is.link.clone()),
        (
            "owner",
            was.owner_uid.map(|uid| uid.to_string()),
            is.owner_uid.map(|uid| uid.to_string()),
        ),
        (
            "readers",
            Some(was.connectors.join(", ")),
            Some(is.connectors.join(", ")),
        ),
        ("findings", findings(was, is), findings(is, was)),
        ("admission", admission(was, is), admission(is, was)),
    ];
    let changed = pairs.into_iter().filter(|(_, before, after)| before != after);
    changed
        .map(|(field, before, after)| Field {
            field: field.to_owned(),
            before: before.unwrap_or_default(),
            after: after.unwrap_or_default(),
        })
        .collect()
}

/// Names of a server's variables and headers.
fn environment(item: &Item) -> Option<String> {
    let Details::Server(server) = &item.details else {
        return None;
    };
    let names: Vec<&str> = server
        .env
        .iter()
        .chain(&server.headers)
        .map(String::as_str)
        .collect();
    Some(names.join(", "))
}

fn disabled(item: &Item) -> Option<String> {
    let Details::Server(server) = &item.details else {
        return None;
    };
    Some(server.disabled.to_string())
}

/// The rules that found something, with how often; `None` where one of both was not scanned, which is no change.
fn findings(item: &Item, other: &Item) -> Option<String> {
    let (own, _) = (item.scan.as_ref()?, other.scan.as_ref()?);
    let mut rules: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for finding in &own.findings {
        *rules
            .entry((finding.severity.as_str(), finding.rule.as_str()))
            .or_insert(0) += 1;
    }
    let mut told: Vec<String> = rules
        .into_iter()
        .map(|((severity, rule), times)| match times {
            1 => format!("{severity} {rule}"),
            times => format!("{severity} {rule} ({times})"),
        })
        .collect();
    let more = own.total().saturating_sub(own.findings.len() as u64);
    if more > 0 {
        told.push(format!("{more} more"));
    }
    Some(if told.is_empty() {
        "none".to_owned()
    } else {
        told.join(", ")
    })
}

fn admission(item: &Item, other: &Item) -> Option<String> {
    let (own, _) = (item.admission.as_ref()?, other.admission.as_ref()?);
    Some(own.action.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{AdmissionSource, AdmissionState, ScanSummary, Scope, ServerDetails};
    use defenseclaw_model::admission::AdmissionAction;
    use defenseclaw_model::decision::Severity;
    use defenseclaw_model::scan::ScanFinding;

    fn inventory(items: Vec<Item>) -> Inventory {
        Inventory {
            time_ns: 1,
            host: "h".to_owned(),
            tool: "t".to_owned(),
            roots: Vec::new(),
            policy: None,
            items,
            troubles: Vec::new(),
        }
    }

    fn server() -> Item {
        let mut item = Item::new(ItemKind::McpServer, "db", "/s", Scope::User, ("/s", "db"));
        item.details = Details::Server(ServerDetails {
            transport: "stdio".to_owned(),
            command: Some("npx".to_owned()),
            args: vec!["p@1.0.0".to_owned()],
            ..ServerDetails::default()
        });
        item.version = Some("1.0.0".to_owned());
        item.digest = Some("sha256:a".to_owned());
        item
    }

    fn scanned(severities: &[Severity]) -> Option<ScanSummary> {
        let findings: Vec<ScanFinding> = severities
            .iter()
            .map(|&severity| ScanFinding {
                rule: "r.x".to_owned(),
                category: "c".to_owned(),
                severity,
                confidence: 50,
                file: String::new(),
                line: 0,
                message: String::new(),
                evidence: String::new(),
                remedy: String::new(),
            })
            .collect();
        Some(ScanSummary::of(&findings, "rev"))
    }

    /// What a change of an item is told as.
    fn told(change: impl FnOnce(&mut Item)) -> Vec<String> {
        let mut was = server();
        was.scan = scanned(&[]);
        let mut is = was.clone();
        change(&mut is);
        let diff = between(&inventory(vec![was]), &inventory(vec![is]));
        let fields = diff.changes.into_iter().flat_map(|change| {
            assert_eq!(change.became, Became::Changed);
            change.fields
        });
        fields
            .map(|field| format!("{}: {} → {}", field.field, field.before, field.after))
            .collect()
    }

    #[test]
    fn what_stays_the_same_is_no_change_and_what_comes_and_goes_is() {
        let other = Item::new(ItemKind::Skill, "s", "/k", Scope::User, ("/k", ""));
        let (one, both) = (inventory(vec![server()]), inventory(vec![server(), other]));
        assert_eq!(between(&one, &one).changes, []);
        let became = |before, after| {
            between(before, after)
                .changes
                .iter()
                .map(|change| (change.became, change.kind))
                .collect::<Vec<_>>()
        };
        assert_eq!(became(&one, &both), [(Became::Added, ItemKind::Skill)]);
        assert_eq!(became(&both, &one), [(Became::Removed, ItemKind::Skill)]);
    }

    #[test]
    fn each_kind_of_change_is_told_by_its_field() {
        assert_eq!(
            told(|item| item.version = Some("2.0.0".to_owned())),
            ["version: 1.0.0 → 2.0.0"]
        );
        assert_eq!(told(|item| item.digest = None), ["digest: sha256:a → "]);
        assert_eq!(told(|item| item.owner_uid = Some(7)), ["owner:  → 7"]);
        assert_eq!(
            told(|item| item.scan = scanned(&[Severity::High; 2])),
            ["findings: none → HIGH r.x (2)"]
        );
        assert_eq!(
            told(|item| item.scan = None),
            Vec::<String>::new(),
            "not scanned is no finding that went away"
        );
        let server = |change: fn(&mut ServerDetails)| {
            told(move |item| match &mut item.details {
                Details::Server(server) => change(server),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(
            server(|server| server.args[0] = "q".to_owned()),
            ["command: npx p@1.0.0 → npx q"]
        );
        assert_eq!(
            server(|server| server.env.push("TOKEN".to_owned())),
            ["environment:  → TOKEN"]
        );
        assert_eq!(
            server(|server| server.disabled = true),
            ["disabled: false → true"]
        );
        let state = |action| {
            Some(AdmissionState {
                action,
                reason: String::new(),
                source: AdmissionSource::Policy,
                policy: String::new(),
                signed_by: None,
            })
        };
        let with = |action| {
            let mut item = self::server();
            item.admission = state(action);
            inventory(vec![item])
        };
        let diff = between(&with(AdmissionAction::Allow), &with(AdmissionAction::Block));
        assert_eq!(
            (
                diff.changes[0].fields[0].before.as_str(),
                diff.changes[0].fields[0].after.as_str()
            ),
            ("allow", "block")
        );
    }
}
