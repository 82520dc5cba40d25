//! What others may know besides: the running gateway of admissions, a store of pins of tools.

use std::path::Path;

use defenseclaw_model::admission::ArtifactKind;

use crate::item::{AdmissionState, Item};

/// Who may have admitted an artifact before.
pub trait Admissions: Sync {
    /// The last answer about that content at that path; `None`: nobody asked.
    fn last(&self, kind: ArtifactKind, path: &Path, digest: &str) -> Option<AdmissionState>;
}

/// Who may know a server's tools.
pub trait Tools: Sync {
    /// The tools of that server, by name, with the digest of each definition.
    fn of(&self, server: &Item) -> Vec<KnownTool>;
}

/// A tool as someone pinned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTool {
    /// Its name.
    pub name: String,
    /// `sha256:` and 64 hex digits over its definition.
    pub digest: String,
}

/// Nobody who knows anything: no gateway, no pins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Admissions for Nobody {
    fn last(&self, _: ArtifactKind, _: &Path, _: &str) -> Option<AdmissionState> {
        None
    }
}

impl Tools for Nobody {
    fn of(&self, _: &Item) -> Vec<KnownTool> {
        Vec::new()
    }
}
