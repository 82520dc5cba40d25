//! Rule packs and policy, loaded together.

use std::path::Path;

use defenseclaw_detect::{Detector, PackError};
use defenseclaw_model::gate::ListEntry;
use defenseclaw_policy::{Policy, PolicyError};

/// The rules that decide. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What finds.
    pub detector: Detector,
    /// What weighs the findings and decides.
    pub policy: Policy,
}

/// Why rules were refused.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The folder is not there.
    #[error("cannot read the policies in {}: {source}. Correct `policies` in the configuration, or make the folder", folder.display())]
    Folder {
        /// The folder.
        folder: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A rule pack was refused.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The policy was refused.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Rules {
    /// The rules of a folder as `policies` in the configuration names it: its `rules/` instead of the built-in packs, its
    /// `rego/` instead of the built-in policy. A part that it does not hold, or all without a folder, is as built in.
    pub fn load(folder: Option<&Path>) -> Result<Self, RulesError> {
        Self::load_with(folder, &[])
    }

    /// The same with what operators put on the lists of artifacts at run time.
    pub fn load_with(folder: Option<&Path>, kept: &[ListEntry]) -> Result<Self, RulesError> {
        if let Some(folder) = folder {
            std::fs::read_dir(folder).map_err(|source| RulesError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        }
        let packs = folder
            .map(|folder| folder.join("rules"))
            .filter(|packs| packs.is_dir());
        let detector = match packs {
            Some(packs) => Detector::from_dir(&packs)?,
            None => Detector::embedded()?,
        };
        let policy = Policy::load_with(folder, detector.revision(), kept)?;
        Ok(Self { detector, policy })
    }

    /// Those that this program was built with.
    pub fn embedded() -> Result<Self, RulesError> {
        Self::load(None)
    }

    /// Which rules these are: 12 hex digits over everything that decides.
    pub fn revision(&self) -> &str {
        self.policy.revision()
    }
}
