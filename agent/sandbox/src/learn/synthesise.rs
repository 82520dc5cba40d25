//! From a record to a profile.
//!
//! The rules, in their order:
//!
//! 1. A file that was created grants writing to its folder: the kernel grants creation by folder, and the next run's
//!    name may be another.
//! 2. What lies below a temporary folder is `{tmp}`, as a whole.
//! 3. Reading below a system folder says nothing: every profile grants it. Writing there is kept, but for what is
//!    itself named among the system's (`/dev/null`).
//! 4. Where at least [`FOLD`] entries of one folder were used in the same way, the folder stands for them; a folder
//!    that stands for others is one entry of its own parent. Two things never stand for others: a place as wide as
//!    the home folder, the root or one of its folders; and a folder that is sensitive, has a sensitive one inside, or
//!    lies inside one. The project may stand for its files.
//! 5. Paths are written by place: `{project}`, `{home}`, `{tmp}`, whichever is the nearest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{Reach, Record};

/// So many entries of a folder make it a folder that is used, and not some files. Two are often a file and its lock.
pub const FOLD: usize = 3;

/// Where things are on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The project's folder.
    pub project: PathBuf,
    /// The home folder.
    pub home: PathBuf,
    /// Temporary folders.
    pub tmp: Vec<PathBuf>,
    /// What the extended profile lets everybody read; devices in it may be written too.
    pub system: Vec<PathBuf>,
    /// Folders with secrets: their files are only ever granted one by one.
    pub sensitive: Vec<PathBuf>,
}

/// A profile's grants, as plain data: the fields of `policies/sandbox/*.yaml` that learning fills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// The profile it adds to.
    pub extends: String,
    /// Files and folders.
    pub files: Files,
    /// Connections.
    pub network: Network,
}

/// Granted paths. A path in `write` that is read as well stands in both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Files {
    /// May be read, and what is below it.
    pub read: BTreeSet<String>,
    /// May be written, created and removed, and what is below it.
    pub write: BTreeSet<String>,
}

/// Granted connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// How much.
    pub mode: Mode,
    /// With `allowlist`: `address:port`.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
}

/// How much network there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// None.
    #[default]
    None,
    /// TCP to the named hosts.
    Allowlist,
    /// All.
    Full,
}

/// A learned profile, and what it could not express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The profile.
    pub profile: Profile,
    /// For the person who reads it before using it.
    pub notes: Vec<String>,
}

impl Learned {
    /// The profile as YAML, notes as comments before it.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let mut text: String = self.notes.iter().map(|note| format!("# {note}\n")).collect();
        text.push_str(&serde_saphyr::to_string(&self.profile)?);
        Ok(text)
    }
}

/// The tightest profile under the rules of this module.
pub fn synthesise(record: &Record, places: &Places, name: &str, extends: &str) -> Learned {
    let created = record.created.iter().map(|path| match path.parent() {
        // An unnamed file was noted by its folder already.
        Some(_) if path.is_dir() => path.clone(),
        Some(folder) => folder.to_path_buf(),
        None => path.clone(),
    });
    let written = record.written.iter().filter(|path| !places.system.contains(path));
    let write: BTreeSet<PathBuf> = written
        .cloned()
        .chain(created)
        .chain(record.sockets.iter().cloned())
        .collect();
    let read = record.read.iter().chain(&record.listed);
    let read: BTreeSet<PathBuf> = read
        .filter(|path| !places.system.iter().any(|system| path.starts_with(system)))
        .cloned()
        .collect();
    let files = Files {
        read: name_all(&fold(read, places), places),
        write: name_all(&fold(write, places), places),
    };
    let mut notes = Vec::new();
    let network = network(record, &mut notes);
    if record.missed > 0 {
        notes.push(format!(
            "{} opens and connections were not noted: this profile is not whole",
            record.missed
        ));
    }
    let programs: Vec<String> = record
        .programs
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let summary = match programs.len() {
        0 => "Learned from a command that opened nothing".to_owned(),
        1..=4 => format!("Learned from {}", programs.join(", ")),
        more => format!(
            "Learned from {} and {} more programs",
            programs[..3].join(", "),
            more - 3
        ),
    };
    let profile = Profile {
        name: name.to_owned(),
        summary,
        extends: extends.to_owned(),
        files,
        network,
    };
    Learned { profile, notes }
}

fn network(record: &Record, notes: &mut Vec<String>) -> Network {
    let mut network = Network::default();
    for (reach, address) in &record.addresses {
        match reach {
            Reach::Tcp => {
                network.mode = network.mode.max(Mode::Allowlist);
                network.hosts.insert(address.clone());
            }
            Reach::Udp if address.ends_with(":53") => notes.push(format!(
                "names were looked up at {address}: with an allowlist, name the hosts instead of their addresses"
            )),
            Reach::Udp => {
                network.mode = Mode::Full;
                notes.push(format!("datagrams went to {address}: only the full network has them"));
            }
            Reach::Abstract => notes.push(format!("{address} was connected to: profiles do not grant it by name")),
            Reach::Other => notes.push(format!("a message went to {address}: profiles do not grant it")),
        }
    }
    if network.mode == Mode::Full {
        network.hosts.clear();
    }
    network
}

/// Puts folders in the place of what was used in them, from the deepest upwards.
fn fold(mut paths: BTreeSet<PathBuf>, places: &Places) -> BTreeSet<PathBuf> {
    let tmp: Vec<PathBuf> = places
        .tmp
        .iter()
        .filter(|tmp| !places.project.starts_with(tmp))
        .cloned()
        .collect();
    paths = paths
        .into_iter()
        .map(|path| match tmp.iter().find(|tmp| path.starts_with(tmp)) {
            Some(tmp) => tmp.clone(),
            None => path,
        })
        .collect();
    let depth = |path: &Path| path.components().count();
    let deepest = paths.iter().map(|path| depth(path)).max().unwrap_or(0);
    for level in (2..=deepest).rev() {
        let mut by_folder: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for path in paths.iter().filter(|path| depth(path) == level) {
            if let Some(folder) = path.parent() {
                *by_folder.entry(folder.to_path_buf()).or_default() += 1;
            }
        }
        let folders = by_folder
            .into_iter()
            .filter(|(folder, used)| *used >= FOLD && may_stand(folder, places));
        for (folder, _) in folders {
            paths.retain(|path| !path.starts_with(&folder));
            paths.insert(folder);
        }
    }
    // What is below a granted folder is granted with it.
    let granted = paths.clone();
    paths.retain(|path| !path.ancestors().skip(1).any(|above| granted.contains(above)));
    paths
}

/// Whether a folder may stand for what is in it.
fn may_stand(folder: &Path, places: &Places) -> bool {
    if folder == places.project {
        return true;
    }
    let wide = folder
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .count()
        < 2
        || places.home.starts_with(folder)
        || places.project.starts_with(folder);
    let sensitive = places
        .sensitive
        .iter()
        .any(|closed| closed.starts_with(folder) || folder.starts_with(closed));
    !wide && !sensitive
}

fn name_all(paths: &BTreeSet<PathBuf>, places: &Places) -> BTreeSet<String> {
    paths.iter().map(|path| name(path, places)).collect()
}

/// The path by its nearest place.
fn name(path: &Path, places: &Places) -> String {
    let mut named: Vec<(&Path, &str)> = vec![(&places.project, "{project}"), (&places.home, "{home}")];
    named.extend(places.tmp.iter().map(|tmp| (tmp.as_path(), "{tmp}")));
    let nearest = named
        .into_iter()
        .filter(|(place, _)| place.is_absolute() && place.parent().is_some() && path.starts_with(place))
        .max_by_key(|(place, _)| place.components().count());
    match nearest {
        Some((place, word)) => match path.strip_prefix(place) {
            Ok(rest) if rest.as_os_str().is_empty() => word.to_owned(),
            Ok(rest) => format!("{word}/{}", rest.display()),
            Err(_) => path.display().to_string(),
        },
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            project: "/home/ada/engine".into(),
            home: "/home/ada".into(),
            tmp: vec!["/tmp".into(), "/var/tmp".into()],
            system: ["/usr", "/lib", "/etc/ld.so.cache"].map(PathBuf::from).to_vec(),
            sensitive: vec!["/home/ada/.ssh".into(), "/home/ada/.config/secrets".into()],
        }
    }

    fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    fn strings(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn learn(record: Record) -> Learned {
        synthesise(&record, &places(), "learned", "strict")
    }

    #[test]
    fn files_stay_files_until_there_are_three() {
        let two = Record {
            read: set(&["/home/ada/.cargo/a/x", "/home/ada/.cargo/a/y"]),
            ..Record::default()
        };
        assert_eq!(
            learn(two).profile.files.read,
            strings(&["{home}/.cargo/a/x", "{home}/.cargo/a/y"])
        );
        let three = set(&[
            "/home/ada/.cargo/a/x",
            "/home/ada/.cargo/a/y",
            "/home/ada/.cargo/a/z",
        ]);
        let three = Record {
            read: three,
            ..Record::default()
        };
        assert_eq!(learn(three).profile.files.read, strings(&["{home}/.cargo/a"]));
    }

    #[test]
    fn folders_of_folders_fold_but_never_into_home_or_root() {
        let mut read = BTreeSet::new();
        for crate_name in ["a", "b", "c"] {
            for file in ["1", "2", "3"] {
                read.insert(PathBuf::from(format!(
                    "/home/ada/.cargo/registry/{crate_name}/{file}"
                )));
                read.insert(PathBuf::from(format!("/home/ada/.{crate_name}{file}")));
                read.insert(PathBuf::from(format!("/etc/{crate_name}{file}")));
            }
        }
        let files = learn(Record {
            read,
            ..Record::default()
        })
        .profile
        .files
        .read;
        assert!(files.contains("{home}/.cargo/registry"));
        assert!(!files.contains("{home}") && !files.contains("/etc"), "{files:?}");
        assert_eq!(files.len(), 1 + 9 + 9);
    }

    #[test]
    fn secrets_are_granted_one_by_one() {
        let read = set(&[
            "/home/ada/.ssh/config",
            "/home/ada/.ssh/known_hosts",
            "/home/ada/.ssh/id_ed25519",
            "/home/ada/.config/a",
            "/home/ada/.config/b",
            "/home/ada/.config/c",
        ]);
        let learned = learn(Record {
            read,
            ..Record::default()
        });
        assert_eq!(
            learned.profile.files.read.len(),
            6,
            "{:?}",
            learned.profile.files.read
        );
    }

    #[test]
    fn the_system_and_temporary_names_vanish() {
        let record = Record {
            read: set(&["/usr/lib/x.so", "/etc/ld.so.cache", "/tmp/cc123.s", "/etc/hosts"]),
            written: set(&["/usr/lib/python/cache"]),
            created: set(&[
                "/tmp/cc123.o",
                "/var/tmp/y",
                "/home/ada/engine/target/debug/engine",
            ]),
            ..Record::default()
        };
        let files = learn(record).profile.files;
        assert_eq!(files.read, strings(&["/etc/hosts", "{tmp}"]));
        assert_eq!(
            files.write,
            strings(&["/usr/lib/python/cache", "{project}/target/debug", "{tmp}"])
        );
    }

    #[test]
    fn a_project_in_a_temporary_folder_stays_a_project() {
        let mut places = places();
        places.project = "/tmp/engine".into();
        let record = Record {
            read: set(&["/tmp/engine/src/main.rs"]),
            ..Record::default()
        };
        let learned = synthesise(&record, &places, "learned", "strict");
        assert_eq!(learned.profile.files.read, strings(&["{project}/src/main.rs"]));
    }

    #[test]
    fn connections_make_a_list_and_datagrams_do_not() {
        let tcp = (Reach::Tcp, "10.0.0.1:443".to_owned());
        let dns = (Reach::Udp, "10.0.0.53:53".to_owned());
        let quic = (Reach::Udp, "10.0.0.1:443".to_owned());
        let record = |addresses: &[(Reach, String)]| Record {
            addresses: addresses.iter().cloned().collect(),
            ..Record::default()
        };
        assert_eq!(learn(record(&[])).profile.network, Network::default());
        let listed = learn(record(&[tcp.clone(), dns]));
        assert_eq!(listed.profile.network.mode, Mode::Allowlist);
        assert_eq!(listed.profile.network.hosts, strings(&["10.0.0.1:443"]));
        assert_eq!(listed.notes.len(), 1);
        assert_eq!(learn(record(&[tcp, quic])).profile.network.mode, Mode::Full);
    }

    #[test]
    fn yaml_reads_back() {
        let record = Record {
            read: set(&["/home/ada/engine/a: b"]),
            programs: set(&["/usr/bin/cc"]),
            addresses: [(Reach::Udp, "10.0.0.53:53".to_owned())].into(),
            missed: 1,
            ..Record::default()
        };
        let learned = learn(record);
        let yaml = learned.to_yaml().unwrap();
        assert!(yaml.starts_with("# names were looked up"), "{yaml}");
        assert_eq!(
            serde_saphyr::from_str::<Profile>(&yaml).unwrap(),
            learned.profile,
            "{yaml}"
        );
    }
}
