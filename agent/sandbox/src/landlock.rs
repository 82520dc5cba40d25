//! File grants and scopes by Landlock, to the newest version that both kernel and library know.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope,
};

use crate::plan::Plan;

/// Most folders that are listed to grant around something that is closed.
const MAX_CARVED: usize = 4_096;

/// Why the rules could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel or the library refused.
    #[error("Landlock's rules cannot be made: {0}")]
    Rules(#[from] RulesetError),
    /// The kernel applied less than was asked for.
    #[error("Landlock applied only a part of its rules")]
    Partial,
    /// Granting around what is closed took too much.
    #[error("more than 4096 entries lie beside what is closed; a mount namespace would close it directly")]
    TooMany,
}

/// The library's name for the kernel's version.
pub(crate) fn abi(version: i32) -> ABI {
    match version {
        i32::MIN..=0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        _ => ABI::V9,
    }
}

/// What one version of Landlock bounds.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// `truncate` by path (version 3).
    pub truncate: bool,
    /// Device nodes' controls (version 5).
    pub ioctl: bool,
    /// Signals and abstract Unix sockets (version 6).
    pub scopes: bool,
    /// Path Unix sockets (version 9).
    pub unix: bool,
}

/// What version `version` bounds.
pub fn reach(version: i32) -> Reach {
    let files = AccessFs::from_all(abi(version));
    Reach {
        truncate: files.contains(AccessFs::Truncate),
        ioctl: files.contains(AccessFs::IoctlDev),
        scopes: version >= 6,
        unix: files.contains(AccessFs::ResolveUnix),
    }
}

/// Rules that wait to be put in force.
pub struct Rules(landlock::RulesetCreated);

/// The rules of `plan`. `carve` grants around what is closed, where nothing else closes it. `sockets_inside` bounds path Unix
/// sockets, where this version can, to the written folders and `gateway`.
///
/// # Errors
/// When the kernel refuses a rule, or carving takes too much.
pub fn rules(
    plan: &Plan,
    version: i32,
    carve: bool,
    sockets_inside: bool,
    gateway: Option<&Path>,
) -> Result<Rules, LandlockError> {
    let abi = abi(version);
    let mut handled = AccessFs::from_all(abi);
    if !sockets_inside {
        handled.remove(AccessFs::ResolveUnix);
    }
    let mut ruleset = Ruleset::default().handle_access(handled)?;
    if version >= 6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    let mut ruleset = ruleset.create()?;
    let files = AccessFs::from_file(abi);
    let read = AccessFs::from_read(abi) & handled;
    let write = (AccessFs::from_all(abi) & handled)
        & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let device = handled
        & (AccessFs::ReadFile
            | AccessFs::WriteFile
            | AccessFs::ReadDir
            | AccessFs::IoctlDev
            | AccessFs::Truncate);
    let mut add = |path: &Path, access: BitFlags<AccessFs>| -> Result<(), LandlockError> {
        // What went away since it was looked up needs no grant.
        let Ok(fd) = PathFd::new(path) else { return Ok(()) };
        let folder = fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        let access = if folder { access } else { access & files };
        if !access.is_empty() {
            (&mut ruleset).add_rule(PathBeneath::new(fd, access))?;
        }
        Ok(())
    };
    if carve && !plan.closed.is_empty() {
        let listing = read & AccessFs::ReadDir;
        let mut left = MAX_CARVED;
        for root in &plan.read {
            for (path, whole) in around(root, &plan.closed, &mut left).ok_or(LandlockError::TooMany)? {
                add(&path, if whole { read } else { listing })?;
            }
        }
    } else {
        for path in &plan.read {
            add(path, read)?;
        }
    }
    for path in plan.write.iter().chain(&plan.private_tmp) {
        add(path, write)?;
    }
    for path in &plan.devices {
        add(path, device)?;
    }
    if let Some(gateway) = gateway.filter(|_| sockets_inside && handled.contains(AccessFs::ResolveUnix)) {
        add(gateway, AccessFs::ResolveUnix.into())?;
    }
    Ok(Rules(ruleset))
}

/// `root` without what lies in `closed`: each path, and whether it is granted whole or only for listing.
fn around(root: &Path, closed: &[PathBuf], left: &mut usize) -> Option<Vec<(PathBuf, bool)>> {
    let mut granted = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        *left = left.checked_sub(1)?;
        if closed.contains(&path) {
            continue;
        }
        if !closed.iter().any(|closed| closed.starts_with(&path)) {
            granted.push((path, true));
            continue;
        }
        if let Ok(entries) = fs::read_dir(&path) {
            waiting.extend(
                entries
                    .flatten()
                    .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_symlink()))
                    .map(|entry| entry.path()),
            );
        }
        granted.push((path, false));
    }
    Some(granted)
}

impl Rules {
    /// Puts the rules in force for this thread, for good.
    ///
    /// # Errors
    /// When the kernel refuses, or applies only a part.
    pub fn enforce(self) -> Result<(), LandlockError> {
        let status = self.0.restrict_self()?;
        match status.ruleset {
            landlock::RulesetStatus::NotEnforced => Err(LandlockError::Partial),
            // What this version lacks was not asked for: see `rules`.
            landlock::RulesetStatus::FullyEnforced | landlock::RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_lie_around_what_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("there");
        fs::create_dir_all(root.join("home/.ssh")).expect("made");
        fs::create_dir_all(root.join("home/work")).expect("made");
        fs::create_dir_all(root.join("usr")).expect("made");
        let closed = [root.join("home/.ssh")];
        let mut left = 100;
        let mut granted = around(&root, &closed, &mut left).expect("few");
        granted.sort();
        let expected = [
            (root.clone(), false),
            (root.join("home"), false),
            (root.join("home/work"), true),
            (root.join("usr"), true),
        ];
        assert_eq!(granted, expected);
        assert!(around(&root, &closed, &mut 2).is_none(), "bounded");
    }
}
