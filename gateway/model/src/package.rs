//! Packages that a call would install: fetched from their registries and scanned before.
//!
//! The gateway asks a worker, which alone has the network, with [`FetchTask`]; it answers with [`FetchOutcome`]. What the policy
//! weighs is a [`PackageFact`].

use serde::{Deserialize, Serialize};

use crate::config::PackageAnswer;
use crate::decision::Severity;
use crate::facts::Ecosystem;
use crate::scan::ScanReport;

/// The verb of the whole tool that fetches one package and has it scanned.
pub const FETCH_VERB: &str = "fetch-worker";

/// Largest task of that worker (bytes of JSON).
pub const FETCH_TASK: usize = 16 << 10;

/// Largest outcome (bytes of JSON): a report at its bound, and what stands around it.
pub const FETCH_OUTCOME: usize = crate::gate::WORKER_REPORT + (64 << 10);

/// What the worker is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchTask {
    /// The package as a person writes it: `npm:left-pad@1.3.0`, `pypi:six`.
    pub package: String,
    /// The registry's URL, where it is not the ecosystem's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Longest time for all of it (ms).
    pub timeout_ms: u64,
    /// Checksums, as [`PackageRelease::integrity`] writes them, of which a report is there: such a file is not fetched again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
}

/// What a registry gives under a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PackageRelease {
    /// The exact version.
    pub version: String,
    /// The checksum that the registry announces and that was compared: `sha512-…` as npm writes it, or `sha256:…`.
    pub integrity: String,
    /// Where the file lies.
    pub url: String,
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FetchOutcome {
    /// It was fetched, compared and scanned.
    Scanned {
        /// What it was.
        release: PackageRelease,
        /// What was found.
        report: ScanReport,
    },
    /// The registry gives a file of which a report is there.
    Known {
        /// Which.
        release: PackageRelease,
    },
    /// There is no report.
    Failed {
        /// What kind of failure.
        why: PackageState,
        /// As far as the registry had told it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<PackageRelease>,
        /// Why, for a person.
        reason: String,
    },
}

/// How far a package is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PackageState {
    /// Fetched and scanned.
    Scanned,
    /// Being fetched or scanned.
    Scanning,
    /// The registry did not answer, or not in time.
    Unreachable,
    /// The registry has no such package or version.
    Absent,
    /// What came is not what the registry announces.
    Altered,
    /// The registry sends elsewhere, or the call names a registry that the operator does not.
    Elsewhere,
    /// It is over a bound of what is fetched or scanned.
    TooLarge,
    /// It came, and could not be scanned.
    Unscanned,
    /// So many packages wait that this one was not taken.
    Busy,
}

impl PackageState {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scanned => "scanned",
            Self::Scanning => "scanning",
            Self::Unreachable => "unreachable",
            Self::Absent => "absent",
            Self::Altered => "altered",
            Self::Elsewhere => "elsewhere",
            Self::TooLarge => "too_large",
            Self::Unscanned => "unscanned",
            Self::Busy => "busy",
        }
    }
}

/// How the version that was scanned compares with what the call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VersionFit {
    /// The call names exactly that version.
    Exact,
    /// The call leaves it open: at the installation another may be the newest.
    Open,
    /// It is not told that the call would take that version: another one may be installed.
    Other,
}

/// A package of a call as the policy weighs it: an entry of `input.packages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageFact {
    /// Whose package it is.
    pub ecosystem: Ecosystem,
    /// The name under which its registry has it.
    pub name: String,
    /// How far it is known.
    pub state: PackageState,
    /// The exact version that was looked at; empty where that is not known.
    pub version: String,
    /// Its checksum.
    pub integrity: String,
    /// How that version compares with what the call asks for.
    pub fit: VersionFit,
    /// The worst that the scan found.
    pub severity: Severity,
    /// How sure it is, 0 to 100.
    pub confidence: u8,
    /// The worst findings, each as `rule in file:line`.
    pub findings: Vec<String>,
    /// More, for a person: what was found first, or why there is no scan.
    pub detail: String,
    /// What the operator wants of a call whose package's registry cannot be reached.
    pub unreachable: PackageAnswer,
}

/// The name of a Python package as its registry compares names: in lower case, with one hyphen for each run of `-`, `_` and `.` (PEP 503).
/// Indexes, folders of installed packages and people each write it in another way.
pub fn pypi_name(written: &str) -> String {
    let mut name = String::with_capacity(written.len());
    for letter in written.chars() {
        match letter {
            '-' | '_' | '.' if name.ends_with('-') => {}
            '-' | '_' | '.' => name.push('-'),
            letter => name.push(letter.to_ascii_lowercase()),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_python_packages_are_compared_as_their_registry_does() {
        for written in [
            "Friendly-Bard",
            "friendly_bard",
            "FRIENDLY.BARD",
            "friendly._-.bard",
        ] {
            assert_eq!(pypi_name(written), "friendly-bard");
        }
        assert_ne!(pypi_name("friendlybard"), pypi_name("friendly-bard"));
    }

    #[test]
    fn names_are_those_of_the_json() {
        for state in [
            PackageState::Scanned,
            PackageState::Scanning,
            PackageState::Unreachable,
            PackageState::Absent,
            PackageState::Altered,
            PackageState::Elsewhere,
            PackageState::TooLarge,
            PackageState::Unscanned,
            PackageState::Busy,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
