//! What apt knows, and when it is to look again.

use std::fs;
use std::process::Command;

use crate::host::{find_in_path, output};

/// Whether apt knows a package that it could install.
pub(crate) fn apt_has(package: &str) -> bool {
    let policy = output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy
        .lines()
        .any(|line| line.trim().starts_with("Candidate: ") && !line.contains("(none)"))
}

/// apt's lists of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lists {
    /// This machine has apt.
    pub(super) apt: bool,
    /// It has fetched its lists some time.
    pub(super) there: bool,
    /// This run has fetched them, or tried to.
    pub(super) tried: bool,
    /// They can be fetched: by root, or by who can become root.
    pub(super) may: bool,
}

impl Lists {
    /// `tried`: this run has fetched them, or tried to. `may`: whether this process can become root.
    pub(super) fn look(tried: bool, may: impl FnOnce() -> bool) -> Self {
        let apt = find_in_path("apt-get").is_some();
        Self {
            apt,
            there: are_there(),
            tried,
            // Asking sudo may ask a person: not where nothing depends on it.
            may: apt && !tried && may(),
        }
    }

    /// Why they are to be fetched before anything is decided by them; `None`: they are as good as they get.
    pub(super) fn wanted(&self) -> Option<&'static str> {
        match *self {
            Self { apt: false, .. } | Self { tried: true, .. } => None,
            Self { there: false, .. } => Some("this machine never fetched its lists of packages"),
            // Who cannot fetch them is told by the old ones what is missing.
            Self { may: false, .. } => None,
            _ => Some(
                "the kernel programs need a compiler and its LLVM: of old lists the compiler would be outdated, and its LLVM unknown",
            ),
        }
    }
}

/// Whether there are lists: without any, `apt_has` denies everything.
pub(super) fn are_there() -> bool {
    let Ok(entries) = fs::read_dir("/var/lib/apt/lists") else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_fetched_once_where_apt_is_and_somebody_may() {
        let old = Lists {
            apt: true,
            there: true,
            tried: false,
            may: true,
        };
        assert!(old.wanted().is_some_and(|why| why.contains("outdated")));
        for enough in [
            Lists { tried: true, ..old },
            Lists { may: false, ..old },
            Lists { apt: false, ..old },
        ] {
            assert_eq!(enough.wanted(), None, "{enough:?}");
        }
        // Without any list there is nothing to go on with, whoever runs this: a person is told to fetch them.
        let none = Lists {
            there: false,
            may: false,
            ..old
        };
        assert!(none.wanted().is_some_and(|why| why.contains("never")));
        assert_eq!(Lists { tried: true, ..none }.wanted(), None);
    }
}
