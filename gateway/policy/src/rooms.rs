//! Which sandbox profiles there are, and what the policy's data says of them (`data.decision.sandbox`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::sandbox::{OFF, PROFILES, is_profile_name};
use serde::Deserialize;

use crate::PolicyError;

/// Below an operator's folder: profiles beside the built-in ones.
const FOLDER: &str = "sandbox";

/// The names of all profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rooms(BTreeSet<String>);

#[derive(Deserialize)]
struct DataForm {
    decision: Option<DecisionForm>,
}

#[derive(Deserialize)]
struct DecisionForm {
    sandbox: Option<SandboxForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SandboxForm {
    #[serde(default)]
    instead_of_asking: BTreeMap<String, String>,
}

impl Rooms {
    /// The built-in profiles, and those in an operator's folder. What they hold is the launcher's to read.
    pub(crate) fn of(folder: Option<&Path>) -> Self {
        let mut names: BTreeSet<String> = PROFILES.map(str::to_owned).into();
        let entries = folder.and_then(|folder| std::fs::read_dir(folder.join(FOLDER)).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(name) = stem.filter(|name| is_profile_name(name))
                && path.extension().is_some_and(|extension| extension == "yaml")
            {
                names.insert(name.to_owned());
            }
        }
        Self(names)
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The names, for a message.
    pub(crate) fn list(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// What the policy chose, unless it is a name that nobody knows. `own`: what the connector's calls run in otherwise.
    pub(crate) fn chosen(&self, answer: Option<String>, own: Option<&str>) -> Result<Option<String>, String> {
        match answer {
            None => Ok(own.map(str::to_owned)),
            Some(name) if name == OFF => Ok(None),
            Some(name) if self.knows(&name) => Ok(Some(name)),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(format!("`sandbox` is {name:?}; known: {OFF}, {}", self.list()))
            }
        }
    }

    /// Checks the names in the policy's data.
    pub(crate) fn check(&self, json: &str) -> Result<(), PolicyError> {
        let wrong = |why: String| PolicyError::Data(format!("decision.sandbox: {why}"));
        let data: DataForm =
            serde_json::from_str(json).map_err(|error| PolicyError::Data(error.to_string()))?;
        let Some(form) = data.decision.and_then(|decision| decision.sandbox) else {
            return Ok(());
        };
        for (severity, profile) in form.instead_of_asking {
            severity.parse::<Severity>().map_err(wrong)?;
            if !self.knows(&profile) {
                return Err(wrong(format!(
                    "{profile:?} is no profile; known: {}",
                    self.list()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_s_word_goes_before_the_connector_s_and_unknown_names_are_refused() {
        let rooms = Rooms::of(None);
        assert_eq!(rooms.chosen(None, None), Ok(None));
        assert_eq!(rooms.chosen(None, Some("build")), Ok(Some("build".into())));
        assert_eq!(rooms.chosen(Some("off".into()), Some("build")), Ok(None));
        assert_eq!(
            rooms.chosen(Some("strict".into()), Some("build")),
            Ok(Some("strict".into()))
        );
        let error = rooms.chosen(Some("wide-open".into()), None).unwrap_err();
        assert!(error.contains("wide-open") && error.contains("strict"), "{error}");
    }

    #[test]
    fn an_operator_s_profiles_are_known_by_their_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for name in ["mine.yaml", "Bad.yaml", "readme.md", "off.yaml"] {
            std::fs::write(folder.path().join(FOLDER).join(name), "").unwrap();
        }
        let rooms = Rooms::of(Some(folder.path()));
        assert!(rooms.knows("mine") && rooms.knows("workspace"));
        assert!(!rooms.knows("Bad") && !rooms.knows("readme") && !rooms.knows("off"));
    }

    #[test]
    fn names_in_the_data_are_checked() {
        let rooms = Rooms::of(None);
        let with = |text: &str| format!(r#"{{"decision":{{"sandbox":{{"instead_of_asking":{text}}}}}}}"#);
        assert!(rooms.check("{}").is_ok());
        assert!(rooms.check(&with(r#"{"MEDIUM":"network-none"}"#)).is_ok());
        for bad in [
            r#"{"MEDIUM":"nowhere"}"#,
            r#"{"MIDDLING":"strict"}"#,
            r#"["strict"]"#,
        ] {
            assert!(
                matches!(rooms.check(&with(bad)), Err(PolicyError::Data(_))),
                "{bad}"
            );
        }
    }
}
