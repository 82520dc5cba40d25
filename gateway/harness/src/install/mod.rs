//! Where a hook lives, and how it gets there and away again.
//!
//! | Module | Holds |
//! |---|---|
//! | [`spec`] | `policies/harness/install/*.yaml`: where each harness keeps its hooks, and what belongs there |
//! | [`site`] | for whom and where something is installed, and what is to be written there |
//! | [`edit`] | changes to a settings file that leave every other byte of it alone |
//! | [`change`] | setting up and tearing down |
//! | [`check`] | whether what was installed is still there, and putting it back |
//! | [`leftover`](mod@leftover) | hooks of ours that no manifest knows |
//! | [`manifest`] | what was installed, and the files as they were before |
//! | [`detect`] | which harnesses are on this host, and which of their sessions run |
//! | [`canary`] | a call that is always denied, through an installed hook |

pub mod canary;
pub mod change;
pub mod check;
pub mod detect;
pub mod edit;
mod files;
pub mod leftover;
pub mod manifest;
pub mod site;
pub mod spec;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

pub use change::{Change, ChangeKind, Withdrawn, leaves_something, setup, teardown, withdraw};
pub use check::{Health, check, repair};
pub use leftover::{Leftover, leftover};
pub use manifest::{Installed, Manifest, Stage, Store};
pub use site::{Site, User};
pub use spec::{Scope, Spec};

/// The hook client's program name.
pub const CLIENT: &str = "defenseclaw-hook";

/// Why something was not installed, removed or looked at. The text says what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The harness has no such place.
    #[error(
        "{title} has no place for hooks of the whole host: {note}. Install them for each user (without --system)"
    )]
    NoSuchPlace {
        /// The harness.
        title: String,
        /// Why.
        note: String,
    },
    /// The hook client cannot be named in a harness's settings.
    #[error("the hook client {}: {why}. Install it at /usr/bin/defenseclaw-hook, or name another with --client", path.display())]
    Client {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A variable names a folder that is none.
    #[error(
        "the environment variable {name} is {value:?}, which is no absolute path. Set it right or unset it"
    )]
    Variable {
        /// Its name.
        name: String,
        /// What it says.
        value: OsString,
    },
    /// A settings file could not be edited.
    #[error("{}: {source}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: edit::EditError,
    },
    /// A settings file is no text.
    #[error("{}: byte {at} is not UTF-8. Mend the file, then try again; nothing was changed", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
    /// A settings file is over the limit.
    #[error("{} is over {} MiB, which no settings file is. Nothing was changed", path.display(), edit::MAX_FILE_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something other than a file is in the way.
    #[error("{} is no plain file. Move it away, then try again", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A link leads out of where the file must lie.
    #[error(
        "{} leads to {}, out of {}. Links are not followed there on behalf of another user; run this as that user, or \
         take the link away",
        path.display(), leads_to.display(), boundary.display()
    )]
    Outside {
        /// The file.
        path: PathBuf,
        /// Where it leads.
        leads_to: PathBuf,
        /// Where it must lie.
        boundary: PathBuf,
    },
    /// Someone else wrote a file meanwhile.
    #[error("{} was changed by someone else just now. Try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be reached.
    #[error("{} could not be {what}: {source}. {}", path.display(), remedy(source))]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The state folder cannot be written.
    #[error(
        "the folder {} cannot be made or written: {source}. It is made in the state folder, which the gateway makes when \
         it first starts; run this as root, or as the user whose gateway it is", folder.display()
    )]
    State {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is not to be believed.
    #[error(
        "{} can be written by others, or is another user's, so that it is not believed. Find out who wrote it, then \
         move it away and set up again", path.display()
    )]
    Untrusted {
        /// The file.
        path: PathBuf,
    },
    /// The manifest is not understood.
    #[error("{}: {what}. Move it away and set up again; the backups beside it stay", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Someone else is installing.
    #[error("another setup or teardown holds {}. Try again when it is done", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// Nothing was installed.
    #[error("{connector} is not set up here ({scope}). Nothing was changed")]
    NotInstalled {
        /// The connector.
        connector: String,
        /// Whose hooks.
        scope: &'static str,
    },
    /// A specification was refused.
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => "Run this as a user who may, for the whole host as root",
        std::io::ErrorKind::StorageFull => "Free space on its file system",
        std::io::ErrorKind::ReadOnlyFilesystem => "Its file system is read-only: change its source",
        _ => "See what lies at that path",
    }
}
