//! Rego decisions through regorus behind one type.
//!
//! | Module | Holds |
//! |---|---|
//! | [`input`] | what a decision and a judgement are made from |
//! | [`source`] | where policy text comes from, and its revision |
//! | [`bundle`] | what is in a policy bundle |
//! | [`artifacts`] | the operator's block and allow lists of artifacts |
//! | [`trust`] | whose signatures and origins are trusted how far |
//! | [`coverage`] | which branches of a policy its tests reach |
//! | [`engine`] | prepared engines, bounded evaluation |
//! | [`answer`] | the policy's answer, checked before anyone acts on it |
//! | [`lists`] | the operator's block and allow lists and exceptions |
//! | [`risk`] | what findings add to a session's risk, and how fast that fades |
//! | [`rooms`] | which sandbox profiles there are |
//! | [`testing`] | Rego tests |
//! | [`value`] | inputs as Rego values |
//!
//! [`Policy`] is prepared once and asked from any thread. It holds no rule of its own: what is allowed stands in
//! `policies/rego`. An answer that is not exactly of the expected form is an error, and the caller's fail mode decides.

mod answer;
mod artifacts;
mod bundle;
mod coverage;
mod engine;
mod input;
mod lists;
mod risk;
mod rooms;
mod source;
mod testing;
mod trust;
mod value;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use defenseclaw_artifact::TrustedKeys;
use defenseclaw_model::admission::{Admission, AdmissionAction, AdmissionInput};
use defenseclaw_model::decision::{Decision, Finding};
use defenseclaw_model::gate::ListEntry;
use defenseclaw_model::sandbox::Sandbox;

pub use bundle::{BundleError, BundleFiles};
pub use coverage::{FileCoverage, Missed};
use engine::Engines;
pub use input::{CallEffects, DecideInput, JudgeInput, RefusedArtifact};
use lists::Lists;
pub use risk::RiskRules;
use rooms::Rooms;
use source::Source;
pub use testing::{Failure, TestReport, run_bundle_tests, run_embedded_rego_tests, run_rego_tests};
use trust::Trust;

/// The question that decides on a tool call.
const DECISION: &str = "data.defenseclaw.decision.decision";
/// The question that judges an activity.
const FINDINGS: &str = "data.defenseclaw.effect.findings";
/// The question whether an artifact may be used, without the operator's lists.
const ADMISSION: &str = "data.admission.decision";
/// The same with them: this is what is asked.
const LISTED_ADMISSION: &str = "data.defenseclaw.artifacts.decision";

/// A prepared policy. Cheap to clone: clones share it.
#[derive(Clone)]
pub struct Policy {
    shared: Arc<Shared>,
}

struct Shared {
    revision: String,
    /// What all of this was made from, so that the lists of artifacts can change without a look at any file.
    source: Source,
    /// The rule packs' revision, where it is part of this one's.
    rules: Option<String>,
    /// Where each clause of a decision stands.
    clauses: HashMap<String, String>,
    risk: RiskRules,
    lists: Lists,
    rooms: Rooms,
    trust: Trust,
    engines: Engines,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("revision", &self.shared.revision)
            .finish_non_exhaustive()
    }
}

/// Why a policy could not be prepared or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A folder or file cannot be read.
    #[error("cannot read the policy at {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder holds no policy.
    #[error("{} holds neither *.rego files nor data.json; a policy has decision.rego and effect.rego", .0.display())]
    Empty(PathBuf),
    /// More text than a policy may have.
    #[error("{} makes the policy larger than {} bytes; split off what is no policy", path.display(), source::MAX_BYTES)]
    TooLarge {
        /// The file that went over the bound.
        path: PathBuf,
    },
    /// The text is no Rego.
    #[error("the policy file {file} is not valid Rego: {why}")]
    Syntax {
        /// Its name.
        file: String,
        /// What the parser says.
        why: String,
    },
    /// `lists.yaml` is not valid.
    #[error("{}: {why}", file.display())]
    Lists {
        /// Its name.
        file: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// What operators put on the lists of artifacts is not valid.
    #[error("the lists of artifacts: {0}")]
    Kept(String),
    /// `data.json` is not valid.
    #[error("the policy's data.json is not valid: {0}")]
    Data(String),
    /// A rule that must be there is not.
    #[error("the policy does not define {rule}; it cannot decide without it: {why}")]
    Missing {
        /// Its path.
        rule: &'static str,
        /// What the engine says.
        why: String,
    },
    /// The input cannot be handed over.
    #[error("the policy's input has no form in Rego: {0}")]
    Input(String),
    /// The input is over the bound.
    #[error(
        "the policy's input has more than the {} bytes that are evaluated",
        value::MAX_INPUT
    )]
    InputTooLarge,
    /// Evaluation failed or ran out of time.
    #[error("evaluating {rule} failed: {why}")]
    Evaluation {
        /// Which rule.
        rule: String,
        /// What the engine says.
        why: String,
    },
    /// The policy answered something that is no answer.
    #[error("{rule} gave no usable answer: {why}; correct the policy")]
    Answer {
        /// Which rule.
        rule: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The text of the clause that a decision's `line` names, in the policy of a signed bundle and a folder (or the built-in one). `None`:
/// there is no such line.
pub fn clause_in(
    bundle: Option<&BundleFiles>,
    folder: Option<&Path>,
    place: &str,
) -> Result<Option<String>, PolicyError> {
    Ok(Source::of_layers(bundle, folder)?.clause_at(place))
}

impl Policy {
    /// The policy that this program was built with.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::prepare(Source::embedded())
    }

    /// The policy in `dir`: every `*.rego` file but the tests, and `data.json`.
    pub fn from_dir(dir: &Path) -> Result<Self, PolicyError> {
        Self::prepare(Source::read(dir)?)
    }

    /// The policy of a folder as `policies` in the configuration names it: its `rego/` instead of the built-in modules, and
    /// its `lists.yaml`. Without a folder the built-in policy. `rules` is the revision of the rule packs, which is part of
    /// the policy's.
    pub fn load(folder: Option<&Path>, rules: &str) -> Result<Self, PolicyError> {
        Self::load_with(folder, rules, &[])
    }

    /// The same with what operators put on the lists of artifacts at run time.
    pub fn load_with(folder: Option<&Path>, rules: &str, kept: &[ListEntry]) -> Result<Self, PolicyError> {
        Self::load_layers(None, folder, rules, kept)
    }

    /// The same over the policy of a signed bundle, whose place a part of the folder takes.
    pub fn load_layers(
        bundle: Option<&BundleFiles>,
        folder: Option<&Path>,
        rules: &str,
        kept: &[ListEntry],
    ) -> Result<Self, PolicyError> {
        let mut source = Source::of_layers(bundle, folder)?;
        source.kept = kept.to_vec();
        Self::joined(source, Rooms::of(folder), Some(rules))
    }

    /// This policy with other lists of artifacts. No file is read.
    pub fn relisted(&self, kept: &[ListEntry]) -> Result<Self, PolicyError> {
        let shared = &self.shared;
        let source = Source {
            kept: kept.to_vec(),
            ..shared.source.clone()
        };
        Self::joined(source, shared.rooms.clone(), shared.rules.as_deref())
    }

    fn joined(source: Source, rooms: Rooms, rules: Option<&str>) -> Result<Self, PolicyError> {
        let mut policy = Self::build(source, rooms)?;
        if let Some(rules) = rules {
            policy.revision = source::joined(&policy.revision, rules);
            policy.rules = Some(rules.to_owned());
        }
        Ok(Self {
            shared: Arc::new(policy),
        })
    }

    fn prepare(source: Source) -> Result<Self, PolicyError> {
        Ok(Self {
            shared: Arc::new(Self::build(source, Rooms::of(None))?),
        })
    }

    fn build(source: Source, rooms: Rooms) -> Result<Shared, PolicyError> {
        rooms.check(&source.data)?;
        let engines = Engines::new(&source)?;
        for rule in [DECISION, FINDINGS, ADMISSION, LISTED_ADMISSION] {
            engines.require(rule)?;
        }
        Ok(Shared {
            revision: source.revision(),
            clauses: source.clauses(),
            risk: RiskRules::from_data(&source.data)?,
            lists: source.all_lists()?,
            trust: Trust::from_data(&source.data_json()?)?,
            rooms,
            engines,
            rules: None,
            source,
        })
    }

    /// The first 12 hex digits of the SHA-256 over the policy's files.
    pub fn revision(&self) -> &str {
        &self.shared.revision
    }

    /// What findings add to a session's risk.
    pub fn risk(&self) -> &RiskRules {
        &self.shared.risk
    }

    /// Whether there is a sandbox profile of that name; the error names those that there are.
    pub fn knows_profile(&self, name: &str) -> Result<(), String> {
        let rooms = &self.shared.rooms;
        if rooms.knows(name) {
            Ok(())
        } else {
            Err(format!(
                "there is no sandbox profile {name:?}; known: {}",
                rooms.list()
            ))
        }
    }

    /// Entries of the operator's lists that no longer count at `now_ns`, for a person.
    pub fn expired(&self, now_ns: u64) -> Vec<String> {
        self.shared.lists.expired(now_ns)
    }

    /// What a person should know of rules that were taken all the same.
    pub fn notes(&self) -> &[String] {
        &self.shared.trust.notes
    }

    /// The public keys of `data.trust.signers`: whose signatures over artifacts count.
    pub fn trusted_keys(&self) -> &TrustedKeys {
        &self.shared.trust.keys
    }

    /// Says whether an artifact may be used. An error is no answer: the caller's fail mode decides.
    pub fn admit(&self, input: &AdmissionInput) -> Result<Admission, PolicyError> {
        self.admit_value(input)
    }

    /// The same for what may claim another name than the one that it lies under. What blocks either name blocks it; nothing that loosens
    /// goes by a claim, since anybody can write any name into a manifest.
    pub fn admit_claiming(&self, input: &AdmissionInput, claimed: &str) -> Result<Admission, PolicyError> {
        let admission = self.admit(input)?;
        if admission.action == AdmissionAction::Block || claimed.is_empty() || claimed == input.name {
            return Ok(admission);
        }
        let named = AdmissionInput {
            name: claimed.to_owned(),
            ..input.without_findings()
        };
        let other = self.admit(&named)?;
        Ok(if other.action == AdmissionAction::Block {
            other
        } else {
            admission
        })
    }

    /// The same for an input that is not known to be of the right form: the policy itself says what it does not take.
    pub fn admit_json(&self, input: &serde_json::Value) -> Result<Admission, PolicyError> {
        self.admit_value(input)
    }

    fn admit_value(&self, input: &impl serde::Serialize) -> Result<Admission, PolicyError> {
        let value = self.shared.engines.ask(LISTED_ADMISSION, input)?;
        let answer = answer::admission(LISTED_ADMISSION, &value)?;
        Ok(Admission {
            action: answer.action,
            reason: answer.reason,
            policy: self.shared.revision.clone(),
        })
    }

    /// Decides on a tool call. The decision's findings are the input's and the policy's own, the worst first.
    pub fn decide(&self, input: &DecideInput<'_>) -> Result<Decision, PolicyError> {
        let value = self.shared.engines.ask(DECISION, input)?;
        let answer = answer::decision(DECISION, &value, input.findings.len())?;
        let profile = self.shared.rooms.chosen(answer.sandbox, input.sandbox);
        let profile = profile.map_err(|why| PolicyError::Answer { rule: DECISION, why })?;
        let mut findings = input.findings.to_vec();
        for waiver in answer.waived {
            if let Some(finding) = findings.get_mut(waiver.finding) {
                finding
                    .evidence
                    .push(format!("set aside by {}: {}", waiver.by, waiver.reason));
            }
        }
        findings.extend(answer.findings);
        answer::worst_first(&mut findings);
        Ok(Decision {
            verdict: answer.verdict,
            severity: answer.severity,
            reason: answer.reason,
            findings,
            rule: answer.rule,
            line: self
                .shared
                .clauses
                .get(&answer.clause)
                .cloned()
                .unwrap_or_default(),
            updated_input: answer.updated_input,
            sandbox: profile.map(|profile| Sandbox { profile, by: None }),
            policy: self.shared.revision.clone(),
            enforced: input.mode.enforces(),
        })
    }

    /// Judges an activity; gives what the rules found, the worst first.
    pub fn judge(&self, input: &JudgeInput<'_>) -> Result<Vec<Finding>, PolicyError> {
        let value = self.shared.engines.ask(FINDINGS, input)?;
        answer::findings(FINDINGS, &value)
    }
}
