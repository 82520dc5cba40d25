//! What is in force, by what, and whether that was proven.

use std::fmt;

use serde::Serialize;

use crate::profile::Family;

/// What closes or bounds a family of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Landlock's rules.
    Landlock,
    /// The system call filter.
    Seccomp,
    /// Mounts in a namespace of the sandbox's own.
    MountNamespace,
    /// A process outside that makes each connection itself.
    Supervisor,
    /// A property of the process: capabilities, descriptors, no new privileges.
    Process,
    /// Nothing: the profile does not want it bounded.
    Open,
    /// Nothing, though the profile wants it: this host cannot.
    Missing,
}

impl Mechanism {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::MountNamespace => "mount-namespace",
            Self::Supervisor => "supervisor",
            Self::Process => "process",
            Self::Open => "open",
            Self::Missing => "missing",
        }
    }
}

/// Whether an attempt was made that had to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It was made, and failed.
    Proven,
    /// It was not made: nothing on this host would have worked without the sandbox either.
    NoWitness,
    /// It was made, and got through.
    Failed,
    /// There is nothing to prove.
    NotNeeded,
}

/// One family of actions in one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Protection {
    /// Which actions.
    pub family: Family,
    /// What bounds them.
    pub by: Mechanism,
    /// Whether the profile cannot do without.
    pub required: bool,
    /// Whether it was proven.
    pub proof: Proof,
    /// How far it goes, or why it is missing.
    pub detail: String,
}

/// All that is in force for one launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The profile's name.
    pub profile: String,
    /// The folder that is worked in.
    pub project: String,
    /// Landlock's version on this kernel; 0 where there is none.
    pub landlock_abi: i32,
    /// Whether the launch went on without something that the profile requires.
    pub best_effort: bool,
    /// The families.
    pub protections: Vec<Protection>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Report {
    /// What the profile requires and the launch has not, or has not by its canary.
    pub fn lacking(&self) -> impl Iterator<Item = &Protection> {
        self.protections.iter().filter(|protection| {
            protection.required && (protection.by == Mechanism::Missing || protection.proof == Proof::Failed)
        })
    }

    /// The protection of `family`.
    pub fn of(&self, family: Family) -> Option<&Protection> {
        self.protections
            .iter()
            .find(|protection| protection.family == family)
    }

    pub(crate) fn proven(&mut self, family: Family, proof: Proof) {
        if let Some(protection) = self.protections.iter_mut().find(|p| p.family == family) {
            protection.proof = proof;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "profile   {}", self.profile)?;
        writeln!(f, "project   {}", self.project)?;
        match self.landlock_abi {
            0 => writeln!(f, "landlock  none on this kernel")?,
            abi => writeln!(f, "landlock  ABI {abi}")?,
        }
        writeln!(f)?;
        writeln!(f, "{:<17} {:<16} {:<10} DETAIL", "WHAT", "BY", "PROOF")?;
        for protection in &self.protections {
            let proof = match protection.proof {
                Proof::Proven => "proven",
                Proof::NoWitness => "no witness",
                Proof::Failed => "FAILED",
                Proof::NotNeeded => "-",
            };
            let line = format!(
                "{:<17} {:<16} {proof:<10} {}",
                protection.family.as_str(),
                protection.by.as_str(),
                protection.detail
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
