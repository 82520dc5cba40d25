//! The policy and the rule packs in force, and how they are replaced.
//!
//! Both are read, checked and swapped as a whole: a decision is made by one policy and the packs that belong to it, and a
//! policy or pack that is refused changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

pub use defenseclaw_inspect::{Rules, RulesError};
use defenseclaw_model::gate::ListEntry;
use defenseclaw_policy::{BundleFiles, PolicyError};

use crate::bundle::Bundles;
use crate::clock;

/// The rules that everyone in the gateway shares.
#[derive(Debug)]
pub struct RulesInForce {
    folder: Option<PathBuf>,
    current: RwLock<Arc<Rules>>,
    /// What else the rules in force were made from; held while they are replaced.
    made_from: Mutex<MadeFrom>,
    /// Held from the reading of other rules until they are in force: what reads them later is in force later.
    turn: Mutex<()>,
    /// Who keeps signed bundles, where any are configured.
    bundles: OnceLock<Bundles>,
}

/// What else the rules in force were made from, beside the folder.
#[derive(Debug, Default)]
struct MadeFrom {
    /// What operators put on the lists of artifacts at run time.
    kept: Vec<ListEntry>,
    /// The signed bundle.
    bundle: Option<Arc<BundleFiles>>,
}

impl RulesInForce {
    /// Reads them for the first time.
    pub fn start(folder: Option<&Path>) -> Result<Self, RulesError> {
        Self::start_with(folder, Vec::new())
    }

    /// The same with what operators have put on the lists of artifacts.
    pub fn start_with(folder: Option<&Path>, kept: Vec<ListEntry>) -> Result<Self, RulesError> {
        Self::start_layers(folder, None, kept)
    }

    /// The same over a signed bundle.
    pub fn start_layers(
        folder: Option<&Path>,
        bundle: Option<Arc<BundleFiles>>,
        kept: Vec<ListEntry>,
    ) -> Result<Self, RulesError> {
        Ok(Self {
            folder: folder.map(Path::to_owned),
            current: RwLock::new(Arc::new(load(bundle.as_deref(), folder, &kept)?)),
            made_from: Mutex::new(MadeFrom { kept, bundle }),
            turn: Mutex::default(),
            bundles: OnceLock::new(),
        })
    }

    fn made_from(&self) -> MutexGuard<'_, MadeFrom> {
        self.made_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else replaces the rules; nobody does while the guard lives.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who keeps signed bundles, where any are configured.
    pub fn bundles(&self) -> Option<&Bundles> {
        self.bundles.get()
    }

    /// Names who keeps signed bundles.
    pub(crate) fn keep_bundles(&self, bundles: Bundles) {
        // Once, at start: there is no second one.
        let _ = self.bundles.set(bundles);
    }

    /// The rules that a bundle would give here. Takes a good part of a second.
    pub(crate) fn compiled(&self, bundle: Option<&Arc<BundleFiles>>) -> Result<Rules, RulesError> {
        let kept = self.kept();
        load(bundle.map(Arc::as_ref), self.folder.as_deref(), &kept)
    }

    /// Puts what [`Self::compiled`] gave in force.
    pub(crate) fn install(&self, rules: Rules, bundle: Option<Arc<BundleFiles>>) -> Result<(), PolicyError> {
        let mut made_from = self.made_from();
        // The lists may have changed meanwhile.
        let policy = rules.policy.relisted(&made_from.kept)?;
        let rules = Rules { policy, ..rules };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        made_from.bundle = bundle;
        Ok(())
    }

    /// What operators have put on the lists of artifacts.
    pub fn kept(&self) -> Vec<ListEntry> {
        self.made_from().kept.clone()
    }

    /// Whether the policy takes these lists.
    pub fn check_kept(&self, kept: &[ListEntry]) -> Result<(), PolicyError> {
        self.current().policy.relisted(kept).map(|_| ())
    }

    /// Puts other lists of artifacts in force; no file is read.
    pub fn relist(&self, kept: Vec<ListEntry>) -> Result<(), PolicyError> {
        let mut made_from = self.made_from();
        let current = self.current();
        let policy = current.policy.relisted(&kept)?;
        let rules = Rules {
            policy,
            detector: current.detector.clone(),
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        made_from.kept = kept;
        Ok(())
    }

    /// Those in force now. Whoever needs them twice for one thing keeps what this gave.
    pub fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them again, and puts them in force if they are in order. Takes a good part of a second. Gives the revision
    /// before, and the one that is in force now.
    pub fn reload(&self) -> Result<(String, String), RulesError> {
        let _turn = self.turn();
        let made_from = self.made_from();
        let bundle = made_from.bundle.as_deref();
        let rules = Arc::new(load(bundle, self.folder.as_deref(), &made_from.kept)?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let revisions = (
            current.policy.revision().to_owned(),
            rules.policy.revision().to_owned(),
        );
        *current = rules;
        Ok(revisions)
    }
}

fn load(
    bundle: Option<&BundleFiles>,
    folder: Option<&Path>,
    kept: &[ListEntry],
) -> Result<Rules, RulesError> {
    let rules = Rules::load_layers(bundle, folder, kept)?;
    for entry in rules.policy.expired(clock::now_ns()) {
        tracing::warn!("an entry of lists.yaml has expired and no longer counts: {entry}");
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_refused_changes_nothing_and_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let rules = RulesInForce::start(Some(folder.path())).unwrap();
        let built_in = rules.current().policy.revision().to_owned();
        assert_eq!(built_in, Rules::embedded().unwrap().policy.revision());

        let lists = folder.path().join("lists.yaml");
        fs::write(&lists, "version: 1\nblock: [{ program: nmap }]\n").unwrap();
        let error = rules.reload().unwrap_err().to_string();
        assert!(error.contains("lists.yaml") && error.contains("owner"), "{error}");
        assert_eq!(rules.current().policy.revision(), built_in);

        fs::write(
            &lists,
            "version: 1\nblock: [{ program: nmap, owner: o, reason: r }]\n",
        )
        .unwrap();
        let (before, after) = rules.reload().unwrap();
        assert_eq!(before, built_in);
        assert_ne!(after, built_in);
        assert_eq!(rules.current().policy.revision(), after);
    }

    #[test]
    fn a_bad_pack_is_refused_by_name_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let rules = RulesInForce::start(Some(folder.path())).unwrap();
        let before = rules.current().policy.revision().to_owned();
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(
            folder.path().join("rules/mine.yaml"),
            "version: 1\nkind: facts\nrules:\n  - id: x\n",
        )
        .unwrap();
        let error = rules.reload().unwrap_err().to_string();
        assert!(error.contains("mine.yaml"), "{error}");
        assert_eq!(rules.current().policy.revision(), before);
    }
}
