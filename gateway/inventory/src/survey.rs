//! Looking at a host: the places of every home and project, within bounds, with everything told that could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;

use defenseclaw_harness::install::spec::{self, SpecError};
use defenseclaw_places::PlacesError;

use crate::files::Bounds;
use crate::gather::{self, Candidate, Reading};
use crate::installs::{self, Installs};
use crate::item::{Inventory, Item, Scope, Trouble};
use crate::look::{Looking, Outcome};
use crate::programs::{self, Programs, ProgramsError};
use crate::seams::{Admissions, Nobody, Tools};
use crate::{Judge, tidy};

/// Most items of one inventory: a host with dozens of users has some thousand.
pub const MAX_ITEMS: usize = 200_000;

/// Most troubles that are told one by one.
pub const MAX_TROUBLES: usize = 5_000;

/// Most artifacts that are read at once: each may take `defenseclaw_detect::scan::artifact::MAX_TOTAL` of memory.
const MAX_WORKERS: usize = 4;

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A folder that was named is none.
    #[error("{} cannot be looked at: {why}. Name a home or project folder that this user may read", path.display())]
    Base {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The table of places is broken.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The table of programs is broken.
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// The table of hooks is broken.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No user is known.
    #[error("{} cannot be read, so that the users of this host are not known: {source}. Name homes with --home", path.display())]
    Users {
        /// The list of users.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where places begin: the host's root, a home, a project.
#[derive(Debug, Clone)]
pub struct Base {
    pub(crate) path: PathBuf,
    pub(crate) scope: Scope,
    pub(crate) bounds: Bounds,
}

impl Base {
    /// A home. Links that lead out of another user's home are not followed by root.
    pub fn home(path: &Path) -> Result<Self, SurveyError> {
        Self::new(path, Scope::User)
    }

    /// A project's folder.
    pub fn project(path: &Path) -> Result<Self, SurveyError> {
        Self::new(path, Scope::Project)
    }

    /// The host: where its files begin, which is `/`.
    pub fn host(root: &Path) -> Self {
        Self {
            path: root.to_owned(),
            scope: Scope::System,
            bounds: Bounds::default(),
        }
    }

    fn new(path: &Path, scope: Scope) -> Result<Self, SurveyError> {
        let failed = |why: String| SurveyError::Base {
            path: path.to_owned(),
            why,
        };
        let real = path.canonicalize().map_err(|error| failed(error.to_string()))?;
        let metadata = std::fs::metadata(&real).map_err(|error| failed(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(failed("it is no folder".to_owned()));
        }
        let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
        let another_s = nix::unistd::geteuid().is_root() && owner != 0;
        Ok(Self {
            bounds: Bounds {
                within: another_s.then(|| real.clone()),
            },
            path: real,
            scope,
        })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The homes of the host's people: root's, and those of users from 1000 on that exist. What cannot be looked at is told.
pub fn all_homes(root: &Path) -> Result<(Vec<Base>, Vec<Trouble>), SurveyError> {
    /// The first user id that people have, and the one that nobody is.
    const PEOPLE: std::ops::Range<u32> = 1000..65534;
    let path = root.join("etc/passwd");
    let text = std::fs::read_to_string(&path).map_err(|source| SurveyError::Users { path, source })?;
    let (mut homes, mut troubles, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let (Some(uid), Some(home)) = (fields.get(2).and_then(|uid| uid.parse().ok()), fields.get(5)) else {
            continue;
        };
        let is_person = uid == 0 || PEOPLE.contains(&uid);
        let home = root.join(home.trim_start_matches('/'));
        if !is_person || home == root || !seen.insert(home.clone()) || !home.exists() {
            continue;
        }
        match Base::home(&home) {
            Ok(base) => homes.push(base),
            Err(error) => troubles.push(Trouble::new(
                home.display().to_string(),
                "unreadable",
                error.to_string(),
            )),
        }
    }
    Ok((homes, troubles))
}

/// How far looking has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Things that were looked at.
    pub done: usize,
    /// Things in all.
    pub of: usize,
}

/// A look at a host.
pub struct Survey<'a> {
    /// Where the host's files begin: `/`.
    pub root: PathBuf,
    /// Homes and projects.
    pub bases: Vec<Base>,
    /// What scans and admits; `None`: nothing is scanned, and nobody asked.
    pub judge: Option<&'a Judge>,
    /// Who may have admitted something before.
    pub admissions: &'a dyn Admissions,
    /// Who may know tools of servers.
    pub tools: &'a dyn Tools,
    /// The time, ns since the Unix epoch.
    pub now_ns: u64,
    /// The host's name.
    pub host: String,
    /// The program that looks, with its version.
    pub tool: String,
}

impl<'a> Survey<'a> {
    /// Of the host whose files begin at `root`, with those homes and projects, by what scans and admits.
    pub fn new(root: &Path, bases: Vec<Base>, judge: Option<&'a Judge>, now_ns: u64) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Self {
            root: root.to_owned(),
            bases,
            judge,
            admissions: &Nobody,
            tools: &Nobody,
            now_ns,
            host: tidy::name(&host.to_string_lossy()),
            tool: format!("defenseclaw {}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// Looks, and tells between whiles how far it has come.
    pub fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Inventory, SurveyError> {
        let places = defenseclaw_places::embedded()?;
        let programs = programs::embedded()?;
        let mut troubles = Vec::new();
        let mut bases = vec![Base::host(&self.root)];
        bases.extend(self.bases.iter().cloned());
        let mut items = self.installs(&programs, &bases, &mut troubles)?;
        let candidates = gather::candidates(&places, &bases, &mut troubles);
        let looked = self.look(&programs, by_file(candidates), progress);
        items.extend(looked.items);
        troubles.extend(looked.troubles);
        Ok(Inventory {
            time_ns: self.now_ns,
            host: self.host.clone(),
            tool: self.tool.clone(),
            roots: self
                .bases
                .iter()
                .map(|base| base.path.display().to_string())
                .collect(),
            policy: self.judge.map(|judge| judge.revision().to_owned()),
            items: tidied(items, &mut troubles),
            troubles: told(troubles),
        })
    }

    fn installs(
        &self,
        programs: &Programs,
        bases: &[Base],
        troubles: &mut Vec<Trouble>,
    ) -> Result<Vec<Item>, SurveyError> {
        let host = installs::Host {
            programs,
            root: &self.root,
            packages: installs::host_packages(&self.root, troubles),
        };
        let mut items = Vec::new();
        for spec in spec::all()? {
            let mut own = Vec::new();
            for base in bases.iter().filter(|base| base.scope != Scope::Project) {
                let look = Installs::of(&host, spec, base, troubles);
                own.extend(look.into_iter().flat_map(Installs::all));
            }
            if own.is_empty() {
                let homes = bases.iter().filter(|base| base.scope == Scope::User);
                own.extend(homes.filter_map(|base| Installs::of(&host, spec, base, troubles)?.traces()));
            }
            items.extend(own);
        }
        Ok(items)
    }

    /// Looks at everything, several at once. The order of what comes out is that of what went in.
    fn look(
        &self,
        programs: &Programs,
        groups: Vec<Vec<Candidate>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Outcome {
        let looking = Looking {
            judge: self.judge,
            admissions: self.admissions,
            tools: self.tools,
            programs,
            now_ns: self.now_ns,
        };
        let of = groups.len();
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_WORKERS)
            .min(of.max(1));
        let waiting = Mutex::new(groups.into_iter().enumerate());
        let (sender, receiver) = mpsc::channel();
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (sender, waiting, looking) = (sender.clone(), &waiting, &looking);
                scope.spawn(move || {
                    // A poisoned lock means that another worker died: what it left is still in order.
                    let next = || {
                        waiting
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .next()
                    };
                    while let Some((place, group)) = next() {
                        if sender.send((place, looking.at(&group))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            progress(Progress { done: 0, of });
            for (place, outcome) in receiver {
                outcomes.insert(place, outcome);
                progress(Progress {
                    done: outcomes.len(),
                    of,
                });
            }
        });
        let mut all = Outcome::default();
        for outcome in outcomes.into_values() {
            all.items.extend(outcome.items);
            all.troubles.extend(outcome.troubles);
        }
        all
    }
}

/// Candidates that are the same files on disk, by way of links, together: ten thousand links to one folder are one reading.
fn by_file(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut groups: BTreeMap<(Reading, PathBuf), Vec<Candidate>> = BTreeMap::new();
    for one in candidates {
        let real = one.path.canonicalize().unwrap_or_else(|_| one.path.clone());
        groups.entry((one.reading, real)).or_default().push(one);
    }
    groups.into_values().collect()
}

/// In a stable order, each identity once, within the bound.
fn tidied(mut items: Vec<Item>, troubles: &mut Vec<Trouble>) -> Vec<Item> {
    let order = |item: &Item| (item.kind, item.path.clone(), item.name.clone(), item.id.clone());
    items.sort_by_cached_key(order);
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(item.id.clone()));
    if items.len() > MAX_ITEMS {
        let message = format!(
            "{} things were found, of which the first {MAX_ITEMS} are listed",
            items.len()
        );
        troubles.push(Trouble::new("", "limit", message));
        items.truncate(MAX_ITEMS);
    }
    items
}

fn told(mut troubles: Vec<Trouble>) -> Vec<Trouble> {
    for trouble in &mut troubles {
        trouble.message = tidy::command(&trouble.message);
    }
    troubles.sort();
    troubles.dedup();
    if troubles.len() > MAX_TROUBLES {
        let message = format!(
            "{} things could not be looked at; the first {MAX_TROUBLES} are listed",
            troubles.len()
        );
        troubles.truncate(MAX_TROUBLES);
        troubles.push(Trouble::new("", "limit", message));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_homes_of_people_are_found_and_those_of_services_are_not() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc", "root", "home/ada", "srv/www"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let passwd = "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/srv/www:/x\nada:x:1000:1000::/home/ada:/bin/sh\n\
                      bob:x:1001:1001::/home/bob:/x\nnobody:x:65534:65534::/:/x\nbroken\nada2:x:1002:1002::/home/ada:/x\n";
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        let (homes, troubles) = all_homes(root.path()).unwrap();
        let names: Vec<_> = homes
            .iter()
            .map(|home| home.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!((names, troubles.len()), (vec!["root", "ada"], 0));
        let error = all_homes(&root.path().join("etc")).unwrap_err().to_string();
        assert!(error.contains("--home"), "{error}");
    }

    #[test]
    fn what_is_no_folder_is_refused_with_its_name() {
        let error = Base::home(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at/all") && error.contains("No such file"),
            "{error}"
        );
        assert!(
            Base::project(Path::new("/etc/passwd"))
                .unwrap_err()
                .to_string()
                .contains("no folder")
        );
    }

    #[test]
    fn troubles_are_told_once_and_counted_beyond_the_bound() {
        let many = (0..MAX_TROUBLES + 3).map(|n| Trouble::new(format!("/{n}"), "unreadable", "x"));
        let twice = many.clone().chain(many);
        let told = told(twice.collect());
        assert_eq!(told.len(), MAX_TROUBLES + 1);
        assert!(
            told[MAX_TROUBLES]
                .message
                .starts_with(&(MAX_TROUBLES + 3).to_string())
        );
    }
}
