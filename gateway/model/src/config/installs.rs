//! `installs`: what is asked of registries before a call may install something.

use serde::{Deserialize, Serialize};

/// Packages that a call would install: fetched from their registry into quarantine and scanned there, before the call is let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallsConfig {
    /// Whether that is done. Off unless somebody wants it: it is the one thing for which anything here uses the network, and a
    /// registry then learns which packages agents of this host ask for.
    pub fetch: InstallFetch,
    /// How long a call waits for the scan (ms). What takes longer goes on, and the call is put before a person. The hook client gives
    /// up after 3 s unless its `deadline_ms` says otherwise, and the agent may need one of them.
    pub timeout_ms: u64,
    /// Longest time for fetching and scanning one package (ms).
    pub fetch_timeout_ms: u64,
    /// How long a registry's word on which file a name and version stand for is taken without asking again (s). 0: it is asked at
    /// every call.
    pub fresh_s: u64,
    /// What becomes of a call whose package's registry cannot be reached.
    pub unreachable: PackageAnswer,
    /// Registries in place of the ecosystems' own: mirrors, for instance. A registry that a call names and that stands neither here nor is
    /// the ecosystem's own is never asked: an agent could send what it wants to whom it wants.
    pub registries: InstallRegistries,
}

impl Default for InstallsConfig {
    fn default() -> Self {
        Self {
            fetch: InstallFetch::Off,
            timeout_ms: 1_500,
            fetch_timeout_ms: 60_000,
            fresh_s: 600,
            unreachable: PackageAnswer::Ask,
            registries: InstallRegistries::default(),
        }
    }
}

/// Whether packages are fetched before they are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallFetch {
    /// They are not.
    #[default]
    Off,
    /// They are, and scanned.
    Scan,
}

/// What becomes of a call about one of whose packages nothing could be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageAnswer {
    /// A person is asked.
    #[default]
    Ask,
    /// It is let through; the record says that nothing was scanned.
    Allow,
    /// It is refused.
    Deny,
}

/// Registries by ecosystem, as URLs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallRegistries {
    /// npm's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub npm: Option<String>,
    /// Python's: an index with PEP 691's JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pypi: Option<String>,
    /// Rust's: a sparse index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crates: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        Config::from_yaml(Path::new("config.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn packages_are_fetched_only_where_somebody_wants_it() {
        let config = parse("").unwrap().installs;
        assert_eq!(
            (config.fetch, config.unreachable),
            (InstallFetch::Off, PackageAnswer::Ask)
        );
        let config =
            parse("installs: { fetch: scan, unreachable: deny, registries: { npm: \"https://n\" } }\n");
        let config = config.unwrap().installs;
        assert_eq!(
            (config.fetch, config.unreachable),
            (InstallFetch::Scan, PackageAnswer::Deny)
        );
        assert_eq!(config.registries.npm.as_deref(), Some("https://n"));
        for wrong in ["fetch: always", "registry: x", "registries: { gem: x }"] {
            let error = parse(&format!("installs: {{ {wrong} }}\n")).unwrap_err();
            assert!(error.contains("config.yaml"), "{error}");
        }
    }
}
