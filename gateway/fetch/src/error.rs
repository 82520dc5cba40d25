//! Why a package could not be had.

use std::io;
use std::path::PathBuf;

use defenseclaw_model::package::PackageState;

/// Why a package could not be had. Each text tells what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address is none that may be asked.
    #[error("{url} is not asked: {why}")]
    Address {
        /// Which.
        url: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// No answer came.
    #[error("{url} did not answer: {why}. Try again, or name another registry with --registry")]
    Network {
        /// Which address.
        url: String,
        /// What happened.
        why: String,
    },
    /// The registry sends somebody else's word on what the package is.
    #[error(
        "{url} sends to {to}, which is another host: it would say which file is the right one. Name that registry itself if it is meant"
    )]
    Elsewhere {
        /// Which address.
        url: String,
        /// Where it sends.
        to: String,
    },
    /// The answer is not the one that was hoped for.
    #[error("{url} answered with status {status}: {hint}")]
    Status {
        /// Which address.
        url: String,
        /// The status.
        status: u16,
        /// What that means here.
        hint: &'static str,
    },
    /// It is larger than what is looked at.
    #[error("{url} has more than {bytes} bytes, which is the most that is taken: look at it by hand")]
    TooLarge {
        /// Which address.
        url: String,
        /// The bound.
        bytes: u64,
    },
    /// The registry's answer is not of the form that registries use.
    #[error("the registry's answer at {url} cannot be used: {why}")]
    Answer {
        /// Which address.
        url: String,
        /// Why.
        why: String,
    },
    /// There is no such version.
    #[error("{wanted} is not at {registry}: {why}")]
    NoRelease {
        /// What was asked for.
        wanted: String,
        /// Where.
        registry: String,
        /// Why.
        why: &'static str,
    },
    /// What came is not what the registry announced.
    #[error(
        "{url} is not what its registry says it is: its {kind} is {found}, and should be {expected}. Do not install it"
    )]
    Integrity {
        /// Which address.
        url: String,
        /// Which checksum.
        kind: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// It cannot be kept.
    #[error("{} cannot keep what was fetched: {source}. Name a state folder that this user may write to", path.display())]
    Quarantine {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// This host's trusted certificates cannot be read.
    #[error("no trusted certificate authority is known on this host: install the package ca-certificates")]
    Certificates,
}

impl FetchError {
    /// What is known of the package, for a policy to weigh.
    pub fn state(&self) -> PackageState {
        match self {
            Self::Address { .. } | Self::Elsewhere { .. } => PackageState::Elsewhere,
            Self::Status {
                status: 404 | 410, ..
            }
            | Self::NoRelease { .. } => PackageState::Absent,
            Self::TooLarge { .. } => PackageState::TooLarge,
            Self::Integrity { .. } => PackageState::Altered,
            Self::Quarantine { .. } => PackageState::Unscanned,
            // An answer that is none: whoever gave it is not the registry that is known here.
            Self::Network { .. } | Self::Status { .. } | Self::Answer { .. } | Self::Certificates => {
                PackageState::Unreachable
            }
        }
    }
}
