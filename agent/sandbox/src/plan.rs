//! From a profile to what is done for one launch: its paths filled in, looked up on this host, and weighed against each other.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::glob;
use crate::profile::{Profile, Tmp, UnixSockets};

mod git;
mod search;
mod sockets;
#[cfg(test)]
mod tests;

pub(crate) use search::searched;
pub use search::{Closing, MAX_FOLDERS};
pub use sockets::MAX_SOCKETS;

/// The host's temporary folders.
pub const TMP: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// What programs look for a temporary folder in.
const TMP_VARIABLES: [&str; 4] = ["TMPDIR", "TMP", "TEMP", "TEMPDIR"];
/// The gateway's sockets: hooks of an agent that runs inside must reach it.
pub(crate) const GATEWAY: &str = "/run/defenseclaw";

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The project's folder cannot be used.
    #[error("the project folder {path} cannot be used: {why}")]
    Project {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The profile cannot be used by itself.
    #[error("the profile {0} only serves to be extended; use one that extends it, for instance workspace")]
    Abstract(String),
    /// A folder that matters cannot be looked into.
    #[error("{path} cannot be looked into: {source}")]
    Look {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a launch happens.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The folder that is worked in.
    pub project: PathBuf,
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// The gateway's socket, which stays within reach; `None`: no gateway does.
    pub gateway: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The project, canonical.
    pub project: PathBuf,
    /// Whether the profile grants writing in it.
    pub writes_project: bool,
    /// What may be read and executed. Canonical, existing.
    pub read: Vec<PathBuf>,
    /// What may be written, too.
    pub write: Vec<PathBuf>,
    /// Device nodes.
    pub devices: Vec<PathBuf>,
    /// What is closed: existing paths that a grant would reach.
    pub closed: Vec<PathBuf>,
    /// What is sealed: existing paths that a write grant would reach.
    pub sealed: Vec<PathBuf>,
    /// Folders above what is sealed or closed, inside what may be written: not to be moved away.
    pub pinned: Vec<PathBuf>,
    /// Missing paths that are to stay missing.
    pub reserved: Vec<PathBuf>,
    /// Unix sockets and folders of them that are out of reach.
    pub sockets: Vec<PathBuf>,
    /// Whether there are more of them than can be closed.
    pub sockets_cut: bool,
    /// Temporary folders that are replaced by empty ones.
    pub private_tmp: Vec<PathBuf>,
    /// What `/etc/hosts` is inside, where it is not the host's.
    pub hosts_file: Option<String>,
    /// Whether the search for closed files in the project hit its bound.
    pub search_cut: bool,
    /// What is closed once it is there.
    pub closing: Closing,
    /// Whether Unix sockets out of the sandbox are out of reach, those too that come later.
    pub bounds_sockets: bool,
    /// The gateway's socket.
    pub gateway: Option<PathBuf>,
}

impl Plan {
    /// What `profile` means in `setting`.
    ///
    /// # Errors
    /// When the project cannot be used as one, or something that decides cannot be looked at.
    pub fn new(profile: &Profile, setting: &Setting) -> Result<Self, PlanError> {
        if profile.is_abstract {
            return Err(PlanError::Abstract(profile.name.clone()));
        }
        let project = usable_project(setting)?;
        let home = setting.home.as_ref().and_then(|home| fs::canonicalize(home).ok());
        let places = Places {
            project: project.clone(),
            home,
        };
        let mut plan = Self {
            project: project.clone(),
            ..Self::default()
        };
        plan.read = existing(places.all(&profile.files.read));
        plan.write = existing(places.all(&profile.files.write));
        if profile.tmp == Tmp::Private {
            plan.private_tmp = existing(TMP.iter().map(PathBuf::from));
            // The host's are not granted; the sandbox's own are, in their place.
            plan.write.retain(|path| !plan.private_tmp.contains(path));
        }
        plan.writes_project = plan.write.iter().any(|root| project.starts_with(root));
        plan.devices = places.existing_matches(&profile.files.devices)?;
        plan.find_closed(profile, &places)?;
        plan.find_sealed(profile, &places);
        plan.bounds_sockets = profile.unix_sockets == UnixSockets::Inside;
        plan.gateway.clone_from(&setting.gateway);
        if plan.bounds_sockets {
            (plan.sockets, plan.sockets_cut) = sockets::outside(|path| plan.keeps_socket(path));
            if plan.gateway.is_none() {
                // Also where none listens now: one that comes back has another socket in the same place.
                plan.sockets.extend(existing([PathBuf::from(GATEWAY)]));
            }
        }
        plan.tidy();
        plan.pin();
        Ok(plan)
    }

    /// Finds what is closed, by its place and by its name.
    fn find_closed(&mut self, profile: &Profile, places: &Places) -> Result<(), PlanError> {
        let files = &profile.files;
        let stays = |pattern: &&String| !pattern.contains("**") && !files.open.contains(pattern);
        let placed: Vec<String> = files.closed.iter().filter(stays).cloned().collect();
        let mut closed = places.existing_matches(&placed)?;
        self.closing = Closing::new(&files.closed, &files.open, places.all(&placed).collect());
        let found = search::closed(&self.project, &self.closing);
        closed.extend(found.paths);
        let settings = existing(places.all(&files.sealed));
        let targets = found.targets.into_iter();
        closed.extend(targets.filter(|target| self.may_be_a_linked_secret(target, places, &settings)));
        self.search_cut = found.cut;
        closed.retain(|path| self.reaches(path));
        self.closed = closed;
        Ok(())
    }

    /// Whether `target`, which a link in the project leads to, is closed. Anybody who ever worked in the project may have made that link:
    /// what supervises an agent (its settings, the programs of its hooks, the gateway's socket) must not vanish by one.
    fn may_be_a_linked_secret(&self, target: &Path, places: &Places, settings: &[PathBuf]) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        if target.starts_with(&self.project) {
            return target != self.project && !settings.iter().any(|path| overlap(path, target));
        }
        let file =
            fs::metadata(target).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 == 0);
        let own = places.home.as_ref().is_some_and(|home| target.starts_with(home));
        file && own && !settings.iter().any(|path| overlap(path, target))
    }

    /// Whether a grant reaches `path`.
    fn reaches(&self, path: &Path) -> bool {
        let under = |path: &Path, roots: &[PathBuf]| roots.iter().any(|root| path.starts_with(root));
        let seen = path.starts_with(&self.project) || !under(path, &self.private_tmp);
        seen && (under(path, &self.read) || under(path, &self.write))
    }

    /// Whether `path` is closed, also if it came into being after this plan was made.
    pub fn closes(&self, path: &Path) -> bool {
        self.closed.iter().any(|closed| path.starts_with(closed))
            || self.reaches(path) && self.closing.means(path, &self.project)
    }

    /// Whether a Unix socket at `path` stays within reach, or a folder with one that does.
    pub fn keeps_socket(&self, path: &Path) -> bool {
        path.starts_with(&self.project)
            || self.gateway.is_some() && path.starts_with(GATEWAY)
            || self
                .gateway
                .as_ref()
                .is_some_and(|gateway| gateway.starts_with(path))
            || self.private_tmp.iter().any(|tmp| path.starts_with(tmp))
    }

    /// Places that are closed once something is there.
    pub fn places_to_close(&self) -> impl Iterator<Item = &Path> {
        self.closing
            .places
            .iter()
            .map(PathBuf::as_path)
            .filter(|place| self.reaches(place))
    }

    /// Finds what is sealed, and what is kept from being made. A worktree's repository is granted on the way.
    fn find_sealed(&mut self, profile: &Profile, places: &Places) {
        if !self.writes_project {
            return;
        }
        let mut sealed = existing(places.all(&profile.files.sealed));
        if let Some(common) = git::common_folder(&self.project) {
            // A worktree's commits are written where its repository is.
            sealed.extend(existing(
                ["hooks", "config", "modules"].map(|name| common.join(name)),
            ));
            self.write.push(common);
        }
        let writable = |path: &Path| self.write.iter().any(|root| path.starts_with(root));
        sealed.retain(|path| writable(path));
        for reserved in &profile.files.reserved {
            let used = places.all(&reserved.if_exists).any(|path| path.exists());
            for path in places.all([&reserved.path]).filter(|_| used) {
                let parent = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
                let (Some(parent), Some(name)) = (parent, path.file_name()) else {
                    continue;
                };
                let path = parent.join(name);
                if fs::symlink_metadata(&path).is_err() && writable(&path) {
                    self.reserved.push(path);
                }
            }
        }
        self.sealed = sealed;
    }

    /// Sorts, and drops what something above it covers.
    fn tidy(&mut self) {
        for list in [
            &mut self.read,
            &mut self.write,
            &mut self.devices,
            &mut self.closed,
            &mut self.sockets,
        ] {
            list.sort_unstable();
            list.dedup_by(|below, above| below.starts_with(&*above));
        }
        for list in [&mut self.sealed, &mut self.reserved] {
            list.sort_unstable();
            list.dedup();
        }
        let closed = std::mem::take(&mut self.closed);
        self.sealed
            .retain(|path| !closed.iter().any(|closed| path.starts_with(closed)));
        self.closed = closed;
        let tops = self.sealed.clone();
        self.sealed
            .retain(|path| !tops.iter().any(|top| path != top && path.starts_with(top)));
    }

    /// Finds the folders that must not be moved away with what is closed or sealed in them.
    fn pin(&mut self) {
        let mut pinned = BTreeSet::new();
        for path in self.sealed.iter().chain(&self.closed).chain(&self.reserved) {
            let Some(root) = self.write.iter().find(|root| path.starts_with(root)) else {
                continue;
            };
            let between = path.ancestors().skip(1).take_while(|above| *above != root);
            pinned.extend(between.map(Path::to_owned));
        }
        self.pinned = pinned.into_iter().collect();
    }

    /// Whether the sandbox has what only a mount namespace closes.
    pub fn wants_mounts(&self) -> bool {
        !(self.closed.is_empty()
            && self.sealed.is_empty()
            && self.reserved.is_empty()
            && self.sockets.is_empty()
            && self.private_tmp.is_empty()
            && self.hosts_file.is_none())
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn usable_project(setting: &Setting) -> Result<PathBuf, PlanError> {
    let refuse = |why: &str| PlanError::Project {
        path: setting.project.clone(),
        why: why.to_owned(),
    };
    let project = fs::canonicalize(&setting.project).map_err(|error| refuse(&error.to_string()))?;
    if !project.is_dir() {
        return Err(refuse("it is no folder"));
    }
    let home = setting.home.as_ref().and_then(|home| fs::canonicalize(home).ok());
    if home.as_ref().is_some_and(|home| home.starts_with(&project)) {
        return Err(refuse(
            "the home folder lies in it, so that granting it would grant everything; name a folder below home with --project",
        ));
    }
    const SYSTEM: [&str; 12] = [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/proc",
        "/root/.ssh",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var/lib",
    ];
    let system = project == Path::new("/")
        || SYSTEM
            .iter()
            .any(|folder| Path::new(folder).starts_with(&project));
    let inside = ["/dev", "/proc", "/sys", "/etc", "/boot"]
        .iter()
        .any(|folder| project.starts_with(folder));
    if system || inside {
        return Err(refuse(
            "it is the system's; name a folder of your own with --project",
        ));
    }
    Ok(project)
}

/// The folder that is worked in from `folder`: the nearest one above with a repository, else itself. Never the home folder.
pub fn project_of(folder: &Path, home: Option<&Path>) -> PathBuf {
    folder
        .ancestors()
        .take_while(|above| Some(*above) != home && above.parent().is_some())
        .find(|above| fs::symlink_metadata(above.join(".git")).is_ok())
        .unwrap_or(folder)
        .to_owned()
}

/// What `profile` grants for reading and what it closes by its place, as existing paths: what learning takes for granted and what
/// it never makes a folder of.
///
/// # Errors
/// As [`Plan::new`].
pub fn named(profile: &Profile, setting: &Setting) -> Result<(Vec<PathBuf>, Vec<PathBuf>), PlanError> {
    let places = Places {
        project: usable_project(setting)?,
        home: setting.home.as_ref().and_then(|home| fs::canonicalize(home).ok()),
    };
    let mut system = existing(places.all(&profile.files.read));
    system.extend(places.existing_matches(&profile.files.devices)?);
    Ok((system, places.existing_matches(&profile.files.closed)?))
}

/// What stands for the words in braces.
struct Places {
    project: PathBuf,
    home: Option<PathBuf>,
}

impl Places {
    /// The paths that `entries` mean; those of a home that is not known are left out.
    fn all<'p, I>(&'p self, entries: I) -> impl Iterator<Item = PathBuf> + 'p
    where
        I: IntoIterator<Item = &'p String>,
        I::IntoIter: 'p,
    {
        entries.into_iter().flat_map(|entry| self.fill(entry))
    }

    fn fill(&self, entry: &str) -> Vec<PathBuf> {
        let below = |root: &Path, rest: &str| match rest.trim_start_matches('/') {
            "" => root.to_owned(),
            rest => root.join(rest),
        };
        if let Some(rest) = entry.strip_prefix("{project}") {
            vec![below(&self.project, rest)]
        } else if let Some(rest) = entry.strip_prefix("{home}") {
            self.home.iter().map(|home| below(home, rest)).collect()
        } else if let Some(rest) = entry.strip_prefix("{tmp}") {
            TMP.iter().map(|tmp| below(Path::new(tmp), rest)).collect()
        } else {
            vec![PathBuf::from(entry)]
        }
    }

    /// What exists of `patterns`, `*` in them filled in. Without those that are searched for (`**`).
    fn existing_matches(&self, patterns: &[String]) -> Result<Vec<PathBuf>, PlanError> {
        let mut found = Vec::new();
        for path in self.all(patterns.iter().filter(|pattern| !pattern.contains("**"))) {
            if path.as_os_str().to_string_lossy().contains('*') {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                    continue;
                };
                let names = match fs::read_dir(parent) {
                    Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.file_name())),
                    Err(_) => continue,
                };
                let matching = names.filter(|candidate| glob::matches(name, candidate));
                found.extend(existing(matching.map(|name| parent.join(name))));
            } else {
                found.extend(existing([path]));
            }
        }
        Ok(found)
    }
}

/// Those that exist, without symbolic links.
fn existing(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut folder = None;
    paths
        .into_iter()
        .filter_map(|path| resolved(&path, &mut folder))
        .collect()
}

/// `path` without symbolic links, if it exists. `folder`: the folder that was resolved last, since neighbours come one after the other.
fn resolved(path: &Path, folder: &mut Option<(PathBuf, PathBuf)>) -> Option<PathBuf> {
    // Behind a link's name, `/` and `/.` would make the look follow it, while the last name is still the link's.
    let path: &Path = &path.components().collect::<PathBuf>();
    // Most are not there: one look is cheaper than following every part of their paths.
    let meta = fs::symlink_metadata(path).ok()?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return fs::canonicalize(path).ok();
    };
    if meta.is_symlink() {
        return fs::canonicalize(path).ok();
    }
    match folder {
        Some((last, canonical)) if last == parent => Some(canonical.join(name)),
        _ => {
            let canonical = fs::canonicalize(parent).ok()?;
            let found = canonical.join(name);
            *folder = Some((parent.to_owned(), canonical));
            Some(found)
        }
    }
}

/// The variables that the sandbox's programs get.
pub fn environment(
    profile: &Profile,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let among = |patterns: &[String], name: &OsStr| {
        patterns
            .iter()
            .any(|pattern| glob::matches(OsStr::new(pattern), name))
    };
    let environment = &profile.environment;
    variables
        .into_iter()
        .filter(|(name, _)| environment.keep.is_empty() || among(&environment.keep, name))
        .filter(|(name, _)| among(&environment.pass, name) || !among(&environment.drop, name))
        .map(|(name, value)| {
            let own = profile.tmp == Tmp::Private && TMP_VARIABLES.iter().any(|known| name == *known);
            // Whatever folder it named is not the sandbox's own, and may not be writable.
            let value = if own { OsString::from(TMP[0]) } else { value };
            (name, value)
        })
        .collect()
}
