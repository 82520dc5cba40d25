//! Who is trusted how far: `data.trust`, from `data.json` and from `trust` in `lists.yaml`.
//!
//! ```yaml
//! trust:
//!   signers:
//!     acme: { public_key: "base64…", auto_allow_up_to: MEDIUM, owner: ana@corp.example, reason: reviewed supplier }
//!   origins:
//!     registry.corp.example: { auto_allow_up_to: LOW, owner: ana@corp.example, reason: our own registry }
//! ```

use std::collections::BTreeMap;

use defenseclaw_artifact::TrustedKeys;
use defenseclaw_model::decision::Severity;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::PolicyError;
use crate::lists::within_bounds;

/// Most signers, and most origins. Each key costs a decompression when the policy is read.
const MAX_IDS: usize = 500;

/// What an origin begins with that only the folder says in which a harness keeps an artifact.
const CLAIMED: &str = "claimed:";

/// `trust` in `lists.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TrustForm {
    signers: BTreeMap<String, SignerForm>,
    origins: BTreeMap<String, OriginForm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerForm {
    public_key: String,
    auto_allow_up_to: Option<Severity>,
    owner: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginForm {
    auto_allow_up_to: Severity,
    owner: String,
    reason: String,
}

impl TrustForm {
    /// Adds another file's signers and origins; one that stands in both is as that file says.
    pub(crate) fn extend(&mut self, more: Self) {
        self.signers.extend(more.signers);
        self.origins.extend(more.origins);
    }

    /// Checks that somebody answers for each entry.
    pub(crate) fn check(&self) -> Result<(), String> {
        let signers = self
            .signers
            .iter()
            .map(|(id, s)| ("signers", id, &s.owner, &s.reason));
        let origins = self
            .origins
            .iter()
            .map(|(id, o)| ("origins", id, &o.owner, &o.reason));
        for (list, id, owner, reason) in signers.chain(origins) {
            for (key, text) in [("owner", owner), ("reason", reason)] {
                let at = |why: String| format!("trust.{list}.{id}: {why}");
                within_bounds(key, text).map_err(at)?;
                if text.trim().is_empty() {
                    return Err(at(format!(
                        "`{key}` is empty; say who answers for the entry, and why it is there"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Puts the operator's signers and origins beside those of `data.json`.
pub(crate) fn merge(data: &mut Map<String, Value>, form: &TrustForm) -> Result<(), PolicyError> {
    let entry = |severity: Option<Severity>, key: Option<&str>| {
        let mut entry = Map::new();
        if let Some(severity) = severity {
            entry.insert("auto_allow_up_to".to_owned(), severity.as_str().into());
        }
        if let Some(key) = key {
            entry.insert("public_key".to_owned(), key.into());
        }
        Value::Object(entry)
    };
    for (id, signer) in &form.signers {
        let value = entry(signer.auto_allow_up_to, Some(&signer.public_key));
        put(data, "signers", id, value)?;
    }
    for (id, origin) in &form.origins {
        put(data, "origins", id, entry(Some(origin.auto_allow_up_to), None))?;
    }
    Ok(())
}

fn put(data: &mut Map<String, Value>, list: &str, id: &str, value: Value) -> Result<(), PolicyError> {
    let wrong = |why: &str| PolicyError::Data(format!("trust.{list}: {why}"));
    let empty = || Value::Object(Map::new());
    let trust = data.entry("trust").or_insert_with(empty);
    let trust = trust
        .as_object_mut()
        .ok_or_else(|| wrong("`trust` is no object"))?;
    let ids = trust.entry(list).or_insert_with(empty);
    let ids = ids.as_object_mut().ok_or_else(|| wrong("it is no object"))?;
    if ids.insert(id.to_owned(), value).is_some() {
        return Err(wrong(&format!(
            "{id} stands in data.json and in lists.yaml; which of them counts is not for a program to choose"
        )));
    }
    Ok(())
}

/// What `data.trust` says, checked.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// The keys of signers that have one.
    pub(crate) keys: TrustedKeys,
    /// What a person should know of it.
    pub(crate) notes: Vec<String>,
}

impl Trust {
    /// Reads the policy's data. A key that is none and a limit that is no severity are errors: both would leave somebody
    /// thinking that a trust is in force which is not.
    pub(crate) fn from_data(json: &str) -> Result<Self, PolicyError> {
        let data: Value = serde_json::from_str(json).map_err(|error| PolicyError::Data(error.to_string()))?;
        let mut trust = Self::default();
        let Some(form) = data.get("trust") else {
            return Ok(trust);
        };
        for list in ["signers", "origins"] {
            trust.read(list, form.get(list))?;
        }
        Ok(trust)
    }

    fn read(&mut self, list: &str, ids: Option<&Value>) -> Result<(), PolicyError> {
        let wrong = |why: String| PolicyError::Data(format!("trust.{list}{why}"));
        let Some(ids) = ids else { return Ok(()) };
        let ids = ids.as_object().ok_or_else(|| wrong(" is no object".to_owned()))?;
        if ids.len() > MAX_IDS {
            return Err(wrong(format!(
                " has {} entries; at most {MAX_IDS} are taken",
                ids.len()
            )));
        }
        for (id, entry) in ids {
            if list == "origins" && id.starts_with(CLAIMED) {
                self.notes.push(format!(
                    "trust.origins.{id}: whatever runs as a user can put a plugin under that name in the user's home, and then it is trusted, too"
                ));
            }
            let at = |why: String| wrong(format!(".{id}: {why}"));
            let entry = entry
                .as_object()
                .ok_or_else(|| at("it is no object".to_owned()))?;
            if let Some(limit) = entry.get("auto_allow_up_to") {
                self.limit(list, id, limit).map_err(at)?;
            }
            if let Some(key) = entry.get("public_key") {
                if list != "signers" {
                    return Err(at("`public_key` belongs to `trust.signers`".to_owned()));
                }
                let key = key
                    .as_str()
                    .ok_or_else(|| at("`public_key` is no text".to_owned()))?;
                self.keys.add(id, key).map_err(|error| at(error.to_string()))?;
            }
        }
        Ok(())
    }

    fn limit(&mut self, list: &str, id: &str, limit: &Value) -> Result<(), String> {
        let severity: Severity = serde_json::from_value(limit.clone()).map_err(|_| {
            format!("`auto_allow_up_to` is {limit}; use \"NONE\", \"LOW\", \"MEDIUM\" or \"HIGH\"")
        })?;
        if severity == Severity::Critical {
            self.notes.push(format!(
                "trust.{list}.{id}: auto_allow_up_to is CRITICAL; it counts as HIGH, since no trust lifts a critical finding"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base point of the curve: a key that anyone may use in a test.
    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn refused(json: &str) -> String {
        Trust::from_data(json).unwrap_err().to_string()
    }

    #[test]
    fn what_is_right_is_taken() {
        let json = format!(
            r#"{{"trust": {{"signers": {{"acme": {{"auto_allow_up_to": "MEDIUM", "public_key": "{KEY}"}}, "b": {{}}}},
               "origins": {{"npm": {{"auto_allow_up_to": "CRITICAL"}}}}}}}}"#
        );
        let trust = Trust::from_data(&json).unwrap();
        assert_eq!(trust.keys.ids().collect::<Vec<_>>(), ["acme"]);
        assert!(trust.notes[0].contains("trust.origins.npm"), "{:?}", trust.notes);
        assert!(Trust::from_data("{}").unwrap().notes.is_empty());
        let claimed =
            r#"{"trust": {"origins": {"claimed:claude-code/market": {"auto_allow_up_to": "LOW"}}}}"#;
        let notes = Trust::from_data(claimed).unwrap().notes;
        assert!(
            notes[0].contains("origins.claimed:claude-code/market: whatever runs"),
            "{notes:?}"
        );
    }

    #[test]
    fn what_would_only_look_like_trust_is_refused() {
        for (json, named) in [
            (
                r#"{"trust": {"signers": {"acme": {"auto_allow_up_to": "medium"}}}}"#,
                "signers.acme",
            ),
            (
                r#"{"trust": {"signers": {"acme": {"auto_allow_up_to": 2}}}}"#,
                "signers.acme",
            ),
            (
                r#"{"trust": {"signers": {"acme": {"public_key": "AAAA"}}}}"#,
                "signers.acme",
            ),
            (
                r#"{"trust": {"signers": {"acme": {"public_key": 1}}}}"#,
                "no text",
            ),
            (r#"{"trust": {"signers": []}}"#, "no object"),
            (r#"{"trust": {"signers": {"acme": "MEDIUM"}}}"#, "signers.acme"),
            (
                r#"{"trust": {"origins": {"npm": {"public_key": "AAAA"}}}}"#,
                "belongs to",
            ),
        ] {
            assert!(refused(json).contains(named), "{json}: {}", refused(json));
        }
    }

    #[test]
    fn the_operator_s_trust_stands_beside_that_of_the_data() {
        let form: TrustForm = defenseclaw_yaml::from_str(&format!(
            "signers:\n  acme: {{ public_key: '{KEY}', auto_allow_up_to: LOW, owner: o, reason: r }}\n\
             origins:\n  npm: {{ auto_allow_up_to: HIGH, owner: o, reason: r }}\n"
        ))
        .unwrap();
        form.check().unwrap();
        let mut data = Map::new();
        merge(&mut data, &form).unwrap();
        assert_eq!(data["trust"]["signers"]["acme"]["auto_allow_up_to"], "LOW");
        assert_eq!(data["trust"]["origins"]["npm"]["auto_allow_up_to"], "HIGH");
        let twice = merge(&mut data, &form).unwrap_err().to_string();
        assert!(twice.contains("acme stands in"), "{twice}");
        let nobody: TrustForm =
            defenseclaw_yaml::from_str("origins:\n  npm: { auto_allow_up_to: LOW, owner: '', reason: r }\n")
                .unwrap();
        assert!(nobody.check().unwrap_err().contains("trust.origins.npm"));
    }
}
