//! `policies/programs.yaml`: how harnesses are installed, and where their versions and models stand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The table that this program was built with: file name and YAML.
const EMBEDDED: (&str, &str) = ("programs.yaml", include_str!("../../../policies/programs.yaml"));

/// The version of the table's format that this program reads.
const VERSION: u32 = 1;

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct ProgramsError {
    /// The file.
    pub file: String,
    /// Why, and where.
    pub message: String,
}

/// The table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    version: u32,
    /// Folders with programs.
    pub folders: Vec<Pattern>,
    /// Folders with npm packages.
    pub node: Vec<Pattern>,
    /// Folders with installed Python distributions.
    pub python: Vec<Pattern>,
    /// Each connector's.
    pub connectors: BTreeMap<String, Program>,
}

/// How one harness is installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Who makes it.
    pub supplier: String,
    /// npm packages.
    #[serde(default)]
    pub npm: Vec<String>,
    /// Python distributions.
    #[serde(default)]
    pub pypi: Vec<String>,
    /// Packages of the host's package manager.
    #[serde(default)]
    pub dpkg: Vec<String>,
    /// Folders or files that are called after the version.
    #[serde(default)]
    pub versions: Vec<Pattern>,
    /// Folders with a `package.json` of the harness itself.
    #[serde(default)]
    pub packages: Vec<Pattern>,
    /// Where settings say the model: keys from the outermost on.
    #[serde(default)]
    pub models: Vec<Vec<String>>,
    /// Where they say who serves it.
    #[serde(default)]
    pub providers: Vec<Vec<String>>,
}

/// A pattern of paths: below every home, or on the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    /// Whether it begins in a home.
    pub in_home: bool,
    /// Its components.
    pub components: Vec<String>,
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (in_home, rest) = match (text.strip_prefix("~/"), text.strip_prefix('/')) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(format!("{text:?} begins neither with `~/` nor with `/`")),
        };
        let components: Vec<String> = rest.split('/').map(str::to_owned).collect();
        if components
            .iter()
            .any(|part| part.is_empty() || part == "." || part == "..")
        {
            return Err(format!("{text:?} has an empty component, `.` or `..`"));
        }
        Ok(Self { in_home, components })
    }
}

impl Pattern {
    /// As it is written.
    pub fn written(&self) -> PathBuf {
        let start = if self.in_home { "~" } else { "/" };
        PathBuf::from(start).join(self.components.join("/"))
    }
}

/// The table that this program was built with.
pub fn embedded() -> Result<Programs, ProgramsError> {
    load(EMBEDDED.0, EMBEDDED.1)
}

/// Reads a table. `file` is named in errors.
pub fn load(file: &str, yaml: &str) -> Result<Programs, ProgramsError> {
    let invalid = |message: String| ProgramsError {
        file: file.to_owned(),
        message,
    };
    let table: Programs = defenseclaw_yaml::from_str(yaml).map_err(|error| invalid(error.to_string()))?;
    if table.version != VERSION {
        return Err(invalid(format!(
            "version {} of the table; this program reads version {VERSION}",
            table.version
        )));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use defenseclaw_harness::install::spec;

    #[test]
    fn every_harness_that_can_be_set_up_has_its_programs_and_its_places() {
        let table = embedded().unwrap();
        let places = defenseclaw_places::embedded().unwrap();
        let connectors: Vec<&str> = spec::all()
            .unwrap()
            .iter()
            .map(|spec| spec.connector.as_str())
            .collect();
        assert_eq!(connectors.len(), 11);
        for connector in &connectors {
            assert!(table.connectors.contains_key(*connector), "{connector}");
            assert!(
                places.iter().any(|place| place.connector == *connector),
                "{connector}"
            );
        }
        for connector in table.connectors.keys() {
            assert!(connectors.contains(&connector.as_str()), "{connector}");
        }
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_place() {
        for (yaml, named) in [
            (
                "version: 2\nfolders: []\nnode: []\npython: []\nconnectors: {}\n",
                "version 2",
            ),
            (
                "version: 1\nfolders: [x]\nnode: []\npython: []\nconnectors: {}\n",
                "\"x\"",
            ),
            (
                "version: 1\nfolders: [/a/../b]\nnode: []\npython: []\nconnectors: {}\n",
                "`..`",
            ),
            (
                "version: 1\nfolders: []\nnode: []\npython: []\nconnectors: {}\nmore: 1\n",
                "more",
            ),
        ] {
            let error = load("p.yaml", yaml).unwrap_err().to_string();
            assert!(error.starts_with("p.yaml: ") && error.contains(named), "{error}");
        }
    }
}
