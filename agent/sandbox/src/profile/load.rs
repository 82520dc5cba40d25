//! From YAML to profiles: reading, inheriting, checking.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Environment, Family, Files, Network, NetworkMode, Profile, Tmp, UnixSockets};

/// The profiles that come with the program: name and JSON (see `build.rs`).
pub const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// Longest profile (bytes): a hundred times the longest that comes with the program would still fit.
const MAX_FILE: usize = 1 << 20;
/// Longest chain of profiles that extend each other.
const MAX_CHAIN: usize = 8;
/// Most entries in one list, with what is inherited. Each costs a system call at launch.
const MAX_ENTRIES: usize = 1024;

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("the profile {path} cannot be read: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is none of that name.
    #[error("there is no profile {name:?}; there are: {known}")]
    Unknown {
        /// Which was asked for.
        name: String,
        /// Those that can be used, with commas.
        known: String,
    },
    /// Not the schema.
    #[error("the profile {name} is not valid: {why}")]
    Syntax {
        /// Which.
        name: String,
        /// What is wrong, with line and column.
        why: String,
    },
    /// Readable, but it makes no sense.
    #[error("the profile {name} is not valid: {why}")]
    Invalid {
        /// Which.
        name: String,
        /// What is wrong and what to do.
        why: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    name: String,
    summary: String,
    #[serde(default)]
    extends: Option<String>,
    #[serde(default, rename = "abstract")]
    is_abstract: bool,
    #[serde(default)]
    files: Files,
    #[serde(default)]
    network: Option<Network>,
    #[serde(default)]
    unix_sockets: Option<UnixSockets>,
    #[serde(default)]
    tmp: Option<Tmp>,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    requires: Vec<Family>,
}

/// The profiles of a host: those that come with the program, and those of a folder, which take the place of the former.
#[derive(Debug, Default)]
pub struct Profiles {
    /// Unparsed: a launch needs one chain of them, and every launch pays for what it reads.
    texts: BTreeMap<String, Source>,
}

#[derive(Debug)]
enum Source {
    Embedded(&'static str),
    File(PathBuf),
}

impl Profiles {
    /// Those that come with the program.
    pub fn embedded() -> Self {
        let texts = EMBEDDED
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Source::Embedded(text)))
            .collect();
        Self { texts }
    }

    /// Those that come with the program, and over them the `*.yaml` files of `folder`, which may be missing.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn with_folder(folder: &Path) -> Result<Self, ProfileError> {
        let mut profiles = Self::embedded();
        profiles.add(folder)?;
        Ok(profiles)
    }

    /// Adds the `*.yaml` files of `folder`, which may be missing; they take the place of others with their names.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn add(&mut self, folder: &Path) -> Result<(), ProfileError> {
        let io = |source| ProfileError::Io {
            path: folder.to_owned(),
            source,
        };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        for entry in entries {
            let path = entry.map_err(io)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            if let (Some(name), Some("yaml")) = (name, path.extension().and_then(|e| e.to_str())) {
                self.texts.insert(name, Source::File(path));
            }
        }
        Ok(())
    }

    /// The names of all, abstract ones included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// The profile called `name`, with what it inherits.
    ///
    /// # Errors
    /// When there is none, or it or one that it extends is not valid.
    pub fn get(&self, name: &str) -> Result<Profile, ProfileError> {
        let mut chain = Vec::new();
        let mut next = Some(name.to_owned());
        while let Some(name) = next {
            if chain.len() >= MAX_CHAIN {
                return Err(invalid(
                    &name,
                    "more than 8 profiles extend each other; is it a circle?",
                ));
            }
            let file = self.file(&name)?;
            next = file.extends.clone();
            chain.push(file);
        }
        let mut files = chain.into_iter().rev();
        let Some(first) = files.next() else {
            return Err(self.unknown(name));
        };
        let mut profile = Profile {
            name: first.name,
            summary: first.summary,
            is_abstract: first.is_abstract,
            files: first.files,
            network: first.network.unwrap_or_default(),
            unix_sockets: first.unix_sockets.unwrap_or_default(),
            tmp: first.tmp.unwrap_or_default(),
            environment: first.environment,
            requires: first.requires,
        };
        for file in files {
            extend(&mut profile, file);
        }
        check(&profile)?;
        Ok(profile)
    }

    fn file(&self, name: &str) -> Result<File, ProfileError> {
        let syntax = |why: String| ProfileError::Syntax {
            name: name.to_owned(),
            why,
        };
        let file: File = match self.texts.get(name) {
            Some(Source::Embedded(json)) => {
                serde_json::from_str(json).map_err(|error| syntax(error.to_string()))?
            }
            Some(Source::File(path)) => {
                let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Io {
                    path: path.clone(),
                    source,
                })?;
                if text.len() > MAX_FILE {
                    return Err(invalid(name, "it is longer than 1 MiB"));
                }
                defenseclaw_yaml::from_str(&text).map_err(|error| syntax(error.to_string()))?
            }
            None => return Err(self.unknown(name)),
        };
        if file.version != 1 {
            return Err(invalid(
                name,
                &format!("version {} is not known; write `version: 1`", file.version),
            ));
        }
        if file.name != name {
            return Err(invalid(
                name,
                &format!("its `name` is {:?}; it must be that of its file", file.name),
            ));
        }
        Ok(file)
    }

    fn unknown(&self, name: &str) -> ProfileError {
        let known = self
            .names()
            .filter(|name| self.file(name).is_ok_and(|file| !file.is_abstract))
            .collect::<Vec<_>>()
            .join(", ");
        ProfileError::Unknown {
            name: name.to_owned(),
            known,
        }
    }
}

fn extend(profile: &mut Profile, file: File) {
    profile.name = file.name;
    profile.summary = file.summary;
    profile.is_abstract = file.is_abstract;
    let (ours, theirs) = (&mut profile.files, file.files);
    for (ours, theirs) in [
        (&mut ours.read, theirs.read),
        (&mut ours.write, theirs.write),
        (&mut ours.devices, theirs.devices),
        (&mut ours.closed, theirs.closed),
        (&mut ours.open, theirs.open),
        (&mut ours.sealed, theirs.sealed),
        (&mut profile.environment.keep, file.environment.keep),
        (&mut profile.environment.drop, file.environment.drop),
        (&mut profile.environment.pass, file.environment.pass),
    ] {
        ours.extend(theirs);
    }
    ours.reserved.extend(theirs.reserved);
    profile.requires.extend(file.requires);
    profile.network = file.network.unwrap_or_else(|| profile.network.clone());
    profile.unix_sockets = file.unix_sockets.unwrap_or(profile.unix_sockets);
    profile.tmp = file.tmp.unwrap_or(profile.tmp);
}

fn invalid(name: &str, why: &str) -> ProfileError {
    ProfileError::Invalid {
        name: name.to_owned(),
        why: why.to_owned(),
    }
}

fn check(profile: &Profile) -> Result<(), ProfileError> {
    let files = &profile.files;
    let reserved = files.reserved.iter();
    let conditions = reserved
        .clone()
        .flat_map(|r| r.if_exists.iter().chain([&r.path]))
        .map(|p| ("reserved", p));
    let plain = [
        ("read", &files.read),
        ("write", &files.write),
        ("devices", &files.devices),
        ("closed", &files.closed),
        ("open", &files.open),
        ("sealed", &files.sealed),
    ];
    for (list, entries) in plain {
        if entries.len() > MAX_ENTRIES {
            return Err(invalid(
                &profile.name,
                &format!("`files.{list}` has more than {MAX_ENTRIES} entries"),
            ));
        }
    }
    let all = plain
        .into_iter()
        .flat_map(|(list, entries)| entries.iter().map(move |entry| (list, entry)));
    for (list, entry) in all.chain(conditions) {
        if let Some(why) = bad_path(list, entry) {
            return Err(invalid(
                &profile.name,
                &format!("`files.{list}`, {entry:?}: {why}"),
            ));
        }
    }
    match (profile.network.mode, profile.network.hosts.as_slice()) {
        (NetworkMode::Allowlist, []) => {
            return Err(invalid(
                &profile.name,
                "`network.mode: allowlist` needs `network.hosts`; without any host, write `mode: none`",
            ));
        }
        (NetworkMode::Full | NetworkMode::None, [_, ..]) => {
            return Err(invalid(
                &profile.name,
                "`network.hosts` has a meaning only with `mode: allowlist`",
            ));
        }
        _ => {}
    }
    for host in &profile.network.hosts {
        let parts = host.rsplit_once(':');
        let valid =
            parts.is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
        if !valid {
            return Err(invalid(
                &profile.name,
                &format!("`network.hosts`, {host:?}: write NAME:PORT, for instance \"example.org:443\""),
            ));
        }
    }
    Ok(())
}

fn bad_path(list: &str, entry: &str) -> Option<&'static str> {
    let rooted = entry.starts_with('/')
        || ["{project}", "{home}", "{tmp}"].iter().any(|place| {
            entry
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    if !rooted {
        return Some("write an absolute path, or begin with {project}, {home} or {tmp}");
    }
    if entry.split('/').any(|part| part == "..") {
        return Some("`..` is not allowed; name the folder itself");
    }
    if entry.contains('\0') || entry.contains('\n') {
        return Some("there is a control character in it");
    }
    let deep = entry.split('/').filter(|part| *part == "**").count();
    if deep > 0 && !(deep == 1 && entry.starts_with("{project}/**/") && matches!(list, "closed" | "open")) {
        return Some("`**` stands only in `closed` and `open`, as {project}/**/NAME");
    }
    if deep == 1 && entry.split('/').count() != 3 {
        return Some("behind `**` stands one name");
    }
    if matches!(list, "read" | "write" | "sealed" | "reserved") && entry.contains('*') {
        return Some("this list takes no `*`");
    }
    None
}
