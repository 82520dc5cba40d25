//! What a change of profile newly allows and newly refuses.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::synthesise::{Mode, Profile};

/// One thing that was not so before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what", content = "of")]
pub enum Change {
    /// Reading this and what is below it.
    Read(String),
    /// Writing this and what is below it.
    Write(String),
    /// Connecting to this host.
    Connect(String),
    /// Connecting to anywhere.
    Network,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path) => write!(f, "read {path}"),
            Self::Write(path) => write!(f, "write {path}"),
            Self::Connect(host) => write!(f, "connect to {host}"),
            Self::Network => f.write_str("connect to anywhere"),
        }
    }
}

/// What differs between two profiles. Both must be complete: with what they inherit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Difference {
    /// Allowed now, and not before.
    pub allows: BTreeSet<Change>,
    /// Refused now, and not before.
    pub refuses: BTreeSet<Change>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.allows.is_empty() && self.refuses.is_empty() {
            return writeln!(f, "no difference");
        }
        for change in &self.allows {
            writeln!(f, "+ {change}")?;
        }
        for change in &self.refuses {
            writeln!(f, "- {change}")?;
        }
        Ok(())
    }
}

/// What going from `before` to `after` newly allows and newly refuses.
///
/// A path that was granted by a folder above it is no news. Places are compared by their words: `{home}/x` lies in
/// `{home}`; that a project lies in the home folder is true of one host and not of the profile.
pub fn diff(before: &Profile, after: &Profile) -> Difference {
    Difference {
        allows: added(before, after),
        refuses: added(after, before),
    }
}

/// What `more` grants and `less` does not.
fn added(less: &Profile, more: &Profile) -> BTreeSet<Change> {
    let paths = |granted: &BTreeSet<String>, by: &BTreeSet<String>, change: fn(String) -> Change| {
        let new = granted
            .iter()
            .filter(|path| !by.iter().any(|above| Path::new(path).starts_with(above)));
        new.map(|path| change(path.clone())).collect::<Vec<_>>()
    };
    let mut changes: BTreeSet<Change> = BTreeSet::new();
    changes.extend(paths(&more.files.read, &less.files.read, Change::Read));
    changes.extend(paths(&more.files.write, &less.files.write, Change::Write));
    match (less.network.mode, more.network.mode) {
        (Mode::Full, _) | (_, Mode::None) => {}
        (_, Mode::Full) => drop(changes.insert(Change::Network)),
        (Mode::None, Mode::Allowlist) => {
            changes.extend(more.network.hosts.iter().cloned().map(Change::Connect))
        }
        (Mode::Allowlist, Mode::Allowlist) => {
            changes.extend(
                more.network
                    .hosts
                    .difference(&less.network.hosts)
                    .cloned()
                    .map(Change::Connect),
            );
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::super::synthesise::{Files, Network};
    use super::*;

    fn profile(read: &[&str], write: &[&str], mode: Mode, hosts: &[&str]) -> Profile {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Profile {
            name: "x".into(),
            summary: String::new(),
            extends: String::new(),
            files: Files {
                read: set(read),
                write: set(write),
            },
            network: Network {
                mode,
                hosts: set(hosts),
            },
        }
    }

    #[test]
    fn changes_are_told_in_both_directions() {
        let before = profile(
            &["/usr", "{home}/.a"],
            &["{project}"],
            Mode::Allowlist,
            &["a:443", "b:443"],
        );
        let after = profile(
            &["/usr/lib", "/opt"],
            &["{project}/target"],
            Mode::Allowlist,
            &["b:443", "c:443"],
        );
        says(
            &diff(&before, &after),
            "+ read /opt\n+ connect to c:443\n- read /usr\n- read {home}/.a\n- write {project}\n- connect to a:443\n",
        );
        says(&diff(&before, &before), "no difference\n");
    }

    #[test]
    fn a_folder_above_is_more_and_one_with_a_longer_name_is_not_below() {
        let narrow = profile(&["/etc/ssl"], &[], Mode::None, &[]);
        says(
            &diff(&narrow, &profile(&["/etc/ssl/certs"], &[], Mode::None, &[])),
            "- read /etc/ssl\n",
        );
        let other = profile(&["/etc/ssl-old"], &[], Mode::None, &[]);
        says(&diff(&narrow, &other), "+ read /etc/ssl-old\n- read /etc/ssl\n");
    }

    #[test]
    fn the_whole_network_covers_every_host() {
        let list = profile(&[], &[], Mode::Allowlist, &["a:443"]);
        let full = profile(&[], &[], Mode::Full, &[]);
        says(&diff(&list, &full), "+ connect to anywhere\n");
        says(&diff(&full, &list), "- connect to anywhere\n");
        says(
            &diff(&profile(&[], &[], Mode::None, &[]), &list),
            "+ connect to a:443\n",
        );
    }

    fn says(difference: &Difference, wanted: &str) {
        assert_eq!(difference.to_string(), wanted);
    }
}
