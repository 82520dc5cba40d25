//! Rule packs and policy, loaded together.

use std::path::Path;

use defenseclaw_detect::rules::Report;
use defenseclaw_detect::{Detector, PackError};
use defenseclaw_model::gate::ListEntry;
use defenseclaw_policy::{BundleFiles, Policy, PolicyError, run_bundle_tests};

/// Most failing tests that an error names.
const NAMED: usize = 3;

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
    /// Tests of a bundle do not pass.
    #[error("{failed} of the bundle's own tests do not pass: {named}")]
    Tests {
        /// How many.
        failed: usize,
        /// The first of them, and why.
        named: String,
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
        Self::load_layers(None, folder, kept)
    }

    /// The same over a signed bundle: what the folder does not hold is as there, and what that does not hold as built in.
    pub fn load_layers(
        bundle: Option<&BundleFiles>,
        folder: Option<&Path>,
        kept: &[ListEntry],
    ) -> Result<Self, RulesError> {
        if let Some(folder) = folder {
            std::fs::read_dir(folder).map_err(|source| RulesError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        }
        let packs = folder
            .map(|folder| folder.join("rules"))
            .filter(|packs| packs.is_dir());
        let bundled = bundle.map(BundleFiles::rules).filter(|packs| !packs.is_empty());
        let detector = match (packs, bundled) {
            (Some(packs), _) => Detector::from_dir(&packs)?,
            (None, Some(bundled)) => Detector::from_texts(bundled)?,
            (None, None) => Detector::embedded()?,
        };
        let policy = Policy::load_layers(bundle, folder, detector.revision(), kept)?;
        Ok(Self { detector, policy })
    }

    /// Whether a bundle holds by itself: it can be put in force, and its own tests pass, those beside its rules too. Gives how
    /// many tests that were.
    pub fn prove(bundle: &BundleFiles) -> Result<usize, RulesError> {
        Self::load_layers(Some(bundle), None, &[])?;
        let rego = run_bundle_tests(bundle)?;
        let packs = if bundle.rules().is_empty() {
            Report::default()
        } else {
            Detector::test_texts(bundle.rules())?
        };
        let of_rego = rego.failed.iter();
        let of_rego = of_rego.map(|failure| format!("{}: {}", failure.test, failure.why));
        let failed: Vec<String> = of_rego.chain(packs.failures).collect();
        if failed.is_empty() {
            return Ok(rego.passed.len() + packs.samples);
        }
        let named = failed.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        Err(RulesError::Tests {
            failed: failed.len(),
            named,
        })
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
