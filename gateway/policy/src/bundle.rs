//! What is in a policy bundle: OPA's layout, read within bounds and kept in memory.
//!
//! ```text
//! .manifest          {"revision": "7", "roots": ["admission", "defenseclaw", …]}
//! *.rego             modules, `*_test.rego` their tests
//! data.json          in a folder it stands below that folder's path
//! rules/*.yaml       rule packs, instead of the built-in ones
//! lists.yaml         beside the host's own
//! ```
//!
//! `opa` reads the first three and passes over the others. Nothing is ever written to a disk: an archive's paths are names here, and
//! one that is not plain, a link, a device, a file that has no place in a bundle refuse it whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::source::{DATA, package_of};

/// Most bytes of everything in it, unpacked. The built-in policy and packs together have one million.
const MAX_UNPACKED: u64 = 8 << 20;
/// Most bytes of one file.
const MAX_FILE: u64 = 2 << 20;
/// Most files. The built-in policy and packs have about 40.
const MAX_FILES: usize = 1000;
/// Longest path (bytes), and most folders in one another.
const MAX_PATH: usize = 200;
const MAX_DEPTH: usize = 8;
/// The manifest's name.
const MANIFEST: &str = ".manifest";
/// The folder of rule packs.
const RULES: &str = "rules";
/// The folder of Rego in an operator's folder.
const REGO: &str = "rego";

/// Why a bundle cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The archive is none, or not of the form that is taken.
    #[error("the bundle's archive is not taken: {0}")]
    Archive(String),
    /// A file in it is not taken.
    #[error("{path} in the bundle is not taken: {why}")]
    File {
        /// Its path.
        path: String,
        /// Why, and what to do.
        why: String,
    },
    /// More than is read.
    #[error("the bundle has more than {0}; take out what is no policy")]
    TooLarge(String),
    /// The folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// `.manifest`, as OPA defines it. What concerns compiled policies has no place here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    revision: String,
    /// Which parts of `data` are this bundle's; without them, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roots: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rego_version: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
}

/// The files of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleFiles {
    manifest: Manifest,
    /// Name and text of each Rego file that is no test.
    pub(crate) modules: Vec<(String, String)>,
    /// And of the tests.
    pub(crate) tests: Vec<(String, String)>,
    /// The data document, if there is one.
    pub(crate) data: Option<Map<String, Value>>,
    /// `lists.yaml`; empty where there is none.
    pub(crate) lists: String,
    rules: Vec<(String, String)>,
}

impl BundleFiles {
    /// Reads an archive (tar.gz).
    pub fn read(archive: &[u8]) -> Result<Self, BundleError> {
        let tar = unpacked(archive)?;
        let mut files = BTreeMap::new();
        let wrong = |error: std::io::Error| BundleError::Archive(error.to_string());
        for entry in tar::Archive::new(tar.as_slice()).entries().map_err(wrong)? {
            let mut entry = entry.map_err(wrong)?;
            let kind = entry.header().entry_type();
            let path = plain(&entry.path_bytes())?;
            let refused = |why: &str| BundleError::File {
                path: path.clone(),
                why: why.to_owned(),
            };
            if kind.is_dir() {
                continue;
            }
            if !kind.is_file() {
                return Err(refused(
                    "it is no file or folder; links and devices are not taken",
                ));
            }
            if files.len() >= MAX_FILES {
                return Err(BundleError::TooLarge(format!("{MAX_FILES} files")));
            }
            if entry.size() > MAX_FILE {
                return Err(refused(&format!("it has more than {MAX_FILE} bytes")));
            }
            let mut text = String::new();
            entry
                .read_to_string(&mut text)
                .map_err(|_| refused("it is no text in UTF-8, or cut off"))?;
            if files.insert(path.clone(), text).is_some() {
                return Err(refused("it is in there twice"));
            }
        }
        Self::of_files(files)
    }

    /// What a folder as `policies` names it makes as a bundle: `rego/`, `rules/` and `lists.yaml`.
    pub fn of_folder(folder: &Path, revision: u64) -> Result<Self, BundleError> {
        let mut files = BTreeMap::new();
        read_folder(
            &folder.join(REGO),
            "",
            |name| name == DATA || name.ends_with(".rego"),
            &mut files,
        )?;
        read_folder(
            &folder.join(RULES),
            "rules/",
            |name| name.ends_with(".yaml"),
            &mut files,
        )?;
        let lists = folder.join(crate::lists::FILE);
        if lists.exists() {
            files.insert(crate::lists::FILE.to_owned(), read_text(&lists)?);
        }
        let mut bundle = Self::of_files(files)?;
        bundle.manifest.revision = revision.to_string();
        bundle.manifest.roots = Some(bundle.own_roots());
        Ok(bundle)
    }

    fn of_files(files: BTreeMap<String, String>) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for (path, text) in files {
            let refused = |why: String| BundleError::File {
                path: path.clone(),
                why,
            };
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            match (folder, name) {
                ("", MANIFEST) => {
                    bundle.manifest =
                        serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
                }
                ("", crate::lists::FILE) => bundle.lists = text,
                (_, DATA) => bundle.add_data(folder, &text).map_err(refused)?,
                (RULES, name) if name.ends_with(".yaml") => bundle.rules.push((name.to_owned(), text)),
                (_, name) if name.ends_with("_test.rego") => bundle.tests.push((path, text)),
                (_, name) if name.ends_with(".rego") => bundle.modules.push((path, text)),
                _ => {
                    return Err(refused(format!(
                        "a bundle holds {MANIFEST}, *.rego, {DATA}, {RULES}/*.yaml and {}",
                        crate::lists::FILE
                    )));
                }
            }
        }
        bundle.check_roots()?;
        if bundle.modules.is_empty()
            && bundle.data.is_none()
            && bundle.rules.is_empty()
            && bundle.lists.is_empty()
        {
            return Err(BundleError::Archive("there is no policy in it".to_owned()));
        }
        Ok(bundle)
    }

    /// Puts a data document in its place: that of `a/b/data.json` is `data.a.b`.
    fn add_data(&mut self, folder: &str, text: &str) -> Result<(), String> {
        let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for part in folder.rsplit('/').filter(|part| !part.is_empty()) {
            value = Value::Object(Map::from_iter([(part.to_owned(), value)]));
        }
        let Value::Object(object) = value else {
            return Err("it is no object".to_owned());
        };
        joined(self.data.get_or_insert_default(), object)
    }

    /// Checks that everything lies below the manifest's roots.
    fn check_roots(&self) -> Result<(), BundleError> {
        let Some(roots) = &self.manifest.roots else {
            return Ok(());
        };
        let refused = |path: &str, at: &str| BundleError::File {
            path: path.to_owned(),
            why: format!(
                "data.{} is below none of the manifest's roots",
                at.replace('/', ".")
            ),
        };
        for (name, text) in &self.modules {
            let package = package_of(text).unwrap_or_default().replace('.', "/");
            if !roots.iter().any(|root| is_below(&package, root)) {
                return Err(refused(name, &package));
            }
        }
        for (key, value) in self.data.iter().flatten() {
            outside(key, value, roots).map_or(Ok(()), |at| Err(refused(DATA, &at)))?;
        }
        Ok(())
    }

    /// The first part of every package, and every key of the data.
    fn own_roots(&self) -> Vec<String> {
        let packages = self.modules.iter().filter_map(|(_, text)| package_of(text));
        let first = packages.map(|package| package.split('.').next().unwrap_or_default().to_owned());
        let keys = self.data.iter().flatten().map(|(key, _)| key.clone());
        first.chain(keys).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The revision that the manifest says.
    pub fn revision(&self) -> &str {
        &self.manifest.revision
    }

    /// Its rule packs: name and text.
    pub fn rules(&self) -> &[(String, String)] {
        &self.rules
    }

    /// Whether it says anything to Rego: modules or data.
    pub(crate) fn has_policy(&self) -> bool {
        !self.modules.is_empty() || self.data.is_some()
    }

    /// The archive (tar.gz). The same files give the same bytes.
    pub fn pack(&self) -> Result<Vec<u8>, BundleError> {
        let wrong = |error: std::io::Error| BundleError::Archive(error.to_string());
        let manifest = serde_json::to_string(&self.manifest).map_err(|error| wrong(error.into()))?;
        let mut files = BTreeMap::from([(MANIFEST.to_owned(), manifest)]);
        files.extend(self.modules.iter().chain(&self.tests).cloned());
        if let Some(data) = &self.data {
            let data = serde_json::to_string(data).map_err(|error| wrong(error.into()))?;
            files.insert(DATA.to_owned(), data);
        }
        if !self.lists.is_empty() {
            files.insert(crate::lists::FILE.to_owned(), self.lists.clone());
        }
        let rules = self.rules.iter();
        files.extend(rules.map(|(name, text)| (format!("{RULES}/{name}"), text.clone())));
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::best()));
        for (path, text) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            builder
                .append_data(&mut header, path, text.as_bytes())
                .map_err(wrong)?;
        }
        builder.into_inner().and_then(GzEncoder::finish).map_err(wrong)
    }
}

/// The tar file in an archive, within bounds.
fn unpacked(archive: &[u8]) -> Result<Vec<u8>, BundleError> {
    let mut rest = archive;
    let mut tar = Vec::new();
    // It takes no byte behind the end.
    GzDecoder::new(&mut rest)
        .take(MAX_UNPACKED + 1)
        .read_to_end(&mut tar)
        .map_err(|error| BundleError::Archive(format!("it is no tar.gz, or cut off: {error}")))?;
    if tar.len() as u64 > MAX_UNPACKED {
        return Err(BundleError::TooLarge(format!("{MAX_UNPACKED} bytes unpacked")));
    }
    if !rest.is_empty() {
        return Err(BundleError::Archive(
            "there is something behind its end".to_owned(),
        ));
    }
    Ok(tar)
}

/// A path of an archive as one of plain names. `opa` writes a slash before them.
fn plain(bytes: &[u8]) -> Result<String, BundleError> {
    let shown = String::from_utf8_lossy(bytes);
    let refused = |why: &str| BundleError::File {
        path: shown.chars().take(MAX_PATH).collect(),
        why: why.to_owned(),
    };
    let path = std::str::from_utf8(bytes).map_err(|_| refused("its path is not UTF-8"))?;
    let path = path
        .strip_prefix("./")
        .or_else(|| path.strip_prefix('/'))
        .unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.len() > MAX_PATH {
        return Err(refused("its path is too long"));
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err(refused("it lies in too many folders"));
    }
    let fine = |part: &str| {
        !matches!(part, "." | "..") && !part.is_empty() && !part.chars().any(|c| c.is_control() || c == '\\')
    };
    // The folder that everything lies in may be named by itself.
    if !path.is_empty() && path != "." && !path.split('/').all(fine) {
        return Err(refused("its path is not made of plain names"));
    }
    Ok(path.to_owned())
}

/// Adds `more`; the same place must not be said twice.
fn joined(all: &mut Map<String, Value>, more: Map<String, Value>) -> Result<(), String> {
    for (key, value) in more {
        match (all.get_mut(&key), value) {
            (None, value) => {
                all.insert(key, value);
            }
            (Some(Value::Object(inner)), Value::Object(value)) => joined(inner, value)?,
            _ => return Err(format!("`{key}` stands in another {DATA}, too")),
        }
    }
    Ok(())
}

fn is_below(path: &str, root: &str) -> bool {
    let root = root.trim_matches('/');
    root.is_empty() || path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

/// What of the data at `path` is below no root.
fn outside(path: &str, value: &Value, roots: &[String]) -> Option<String> {
    if roots.iter().any(|root| is_below(path, root)) {
        return None;
    }
    let leads_on = roots.iter().any(|root| is_below(root.trim_matches('/'), path));
    match value {
        Value::Object(object) if leads_on => object
            .iter()
            .find_map(|(key, value)| outside(&format!("{path}/{key}"), value, roots)),
        _ => Some(path.to_owned()),
    }
}

/// The texts of a folder, by `prefix` and name; nothing where there is no folder.
fn read_folder(
    folder: &Path,
    prefix: &str,
    takes: impl Fn(&str) -> bool,
    files: &mut BTreeMap<String, String>,
) -> Result<(), BundleError> {
    if !folder.is_dir() {
        return Ok(());
    }
    let failed = |source| BundleError::Read {
        path: folder.display().to_string(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if takes(name) {
            files.insert(format!("{prefix}{name}"), read_text(&path)?);
        }
        if files.len() > MAX_FILES {
            return Err(BundleError::TooLarge(format!("{MAX_FILES} files")));
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, BundleError> {
    let failed = |source| BundleError::Read {
        path: path.display().to_string(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        let path = path.display();
        return Err(BundleError::TooLarge(format!("{MAX_FILE} bytes in {path}")));
    }
    Ok(text)
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
