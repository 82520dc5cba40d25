//! Where policy text comes from.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use defenseclaw_model::gate::ListEntry;
use sha2::{Digest, Sha256};

use crate::bundle::BundleFiles;
use crate::lists::{self, Lists};
use crate::{PolicyError, artifacts, trust};

/// Most bytes that a policy may have, tests included. Ours has 60 KB; an engine keeps about ten times its text in memory.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The name of the data document.
pub(crate) const DATA: &str = "data.json";

/// A bundle's lists, in the revision.
const BUNDLED_LISTS: &str = "bundle/lists.yaml";

/// What operators put on the lists at run time, in the revision.
const KEPT: &str = "artifact lists";

/// A policy's files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// Name and text of each Rego file, by name.
    pub(crate) modules: Vec<(String, String)>,
    /// Name and text of each Rego file with tests, by name.
    pub(crate) tests: Vec<(String, String)>,
    /// The data document.
    pub(crate) data: String,
    /// The operator's lists, as YAML; empty where there are none.
    pub(crate) lists: String,
    /// Those of a signed bundle, which stand beside them.
    pub(crate) bundled_lists: String,
    /// What operators put on the lists of artifacts at run time.
    pub(crate) kept: Vec<ListEntry>,
}

/// Our own policy's files, by name.
macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../policies/rego/", $name)))),+]
    };
}

/// The package that answers what becomes of an artifact.
const ADMISSION: &str = "admission";

/// The package in which an operator's lists bear on that.
const LISTED_ADMISSION: &str = "defenseclaw.artifacts";

/// The packages that decide on admission, by file. An operator's folder without them gets ours.
const ADMISSION_FILES: [(&str, &str); 6] = embedded![
    "admission.rego",
    "admission_mcp.rego",
    "admission_plugin.rego",
    "admission_skill.rego",
    "admission_tool.rego",
    "artifacts.rego",
];

/// Before the name of a file of ours that completes an operator's policy.
const OURS: &str = "built-in/";

/// Before the name of a file of a signed bundle.
const BUNDLED: &str = "bundle/";

impl Source {
    /// The policy that this program was built with.
    pub(crate) fn embedded() -> Self {
        let others = embedded![
            "decision.rego",
            "effect.rego",
            "facts.rego",
            "installs.rego",
            "lists.rego"
        ];
        Self {
            modules: owned(ADMISSION_FILES.into_iter().chain(others)),
            tests: Vec::new(),
            data: include_str!("../../../policies/rego/data.json").to_owned(),
            lists: String::new(),
            bundled_lists: String::new(),
            kept: Vec::new(),
        }
    }

    /// The same, with its tests.
    pub(crate) fn embedded_with_tests() -> Self {
        let tests = embedded![
            "admission_test.rego",
            "artifacts_test.rego",
            "decision_test.rego",
            "effect_test.rego",
            "installs_test.rego",
            "lists_test.rego",
        ];
        Self {
            tests: owned(tests),
            ..Self::embedded()
        }
    }

    /// What a signed bundle says, over our own.
    pub(crate) fn of_bundle(bundle: &BundleFiles) -> Result<Self, PolicyError> {
        let named = |files: &[(String, String)]| -> Vec<(String, String)> {
            let files = files.iter();
            files
                .map(|(name, text)| (format!("{BUNDLED}{name}"), text.clone()))
                .collect()
        };
        let ours = Self::embedded();
        if !bundle.has_policy() {
            return Ok(Self {
                tests: named(&bundle.tests),
                bundled_lists: bundle.lists.clone(),
                ..ours
            });
        }
        let data = bundle.data.as_ref().map(serde_json::to_string).transpose();
        let mut source = Self {
            modules: named(&bundle.modules),
            tests: named(&bundle.tests),
            data: data
                .map_err(|error| PolicyError::Data(error.to_string()))?
                .unwrap_or_default(),
            bundled_lists: bundle.lists.clone(),
            ..Self::default()
        };
        source.over(&ours)?;
        Ok(source)
    }

    /// The policy in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, PolicyError> {
        Self::read_over(dir, &Self::embedded())
    }

    /// The policy in `dir`; what it does not hold is as in `base`.
    fn read_over(dir: &Path, base: &Self) -> Result<Self, PolicyError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PolicyError::Read { path, source }
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed(dir))? {
            paths.push(entry.map_err(failed(dir))?.path());
        }
        paths.sort();
        let mut source = Self::default();
        let mut left = MAX_BYTES;
        for path in paths {
            let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                continue;
            };
            if name != DATA && !name.ends_with(".rego") {
                continue;
            }
            let text = read_bounded(&path, left)?;
            left -= text.len();
            match name.as_str() {
                DATA => source.data = text,
                _ if name.ends_with("_test.rego") => source.tests.push((name, text)),
                _ => source.modules.push((name, text)),
            }
        }
        if source.modules.is_empty() && source.data.is_empty() {
            return Err(PolicyError::Empty(dir.to_owned()));
        }
        source.over(base)?;
        source.bundled_lists.clone_from(&base.bundled_lists);
        Ok(source)
    }

    /// Completes this policy with what it does not hold.
    fn over(&mut self, base: &Self) -> Result<(), PolicyError> {
        if self.modules.is_empty() {
            self.take_modules(base)?;
        } else if self.data.is_empty() {
            "{}".clone_into(&mut self.data);
        }
        self.complete(base);
        Ok(())
    }

    /// For a policy with nothing but data: the base's modules, and what the data does not say as there.
    fn take_modules(&mut self, base: &Self) -> Result<(), PolicyError> {
        let wrong = |error: serde_json::Error| PolicyError::Data(error.to_string());
        let mut data: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&base.data).map_err(wrong)?;
        let theirs: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&self.data).map_err(wrong)?;
        data.extend(theirs);
        self.data = serde_json::to_string(&data).map_err(wrong)?;
        let modules = base.modules.iter();
        self.modules = modules
            .map(|(name, text)| (inherited(name), text.clone()))
            .collect();
        Ok(())
    }

    /// Adds the base's admission where this policy has none. One with an `admission` package of its own has all of it.
    fn complete(&mut self, base: &Self) {
        let packages: Vec<String> = self.packages().map(str::to_owned).collect();
        let has = |package: &str| packages.iter().any(|known| known == package);
        for (name, text) in &base.modules {
            let package = package_of(text).unwrap_or_default();
            let of_admission = package.starts_with(ADMISSION) || package == LISTED_ADMISSION;
            let replaced = package.starts_with(ADMISSION) && has(ADMISSION);
            if of_admission && !replaced && !has(package) {
                self.modules.push((inherited(name), text.clone()));
            }
        }
    }

    /// The modules that nobody added to an operator's, and their packages.
    pub(crate) fn own_modules(&self) -> impl Iterator<Item = &(String, String)> {
        self.modules.iter().filter(|(name, _)| !name.starts_with(OURS))
    }

    fn packages(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().filter_map(|(_, text)| package_of(text))
    }

    /// The data document as JSON: `data.json`, with the operator's lists as `operator`, and the signers and origins of
    /// `lists.yaml` beside those in `trust`.
    pub(crate) fn data_json(&self) -> Result<String, PolicyError> {
        let has_lists = !self.lists.is_empty() || !self.bundled_lists.is_empty();
        if !has_lists && self.kept.is_empty() {
            return Ok(self.data.clone());
        }
        let wrong = |error: serde_json::Error| PolicyError::Data(error.to_string());
        let mut data: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&self.data).map_err(wrong)?;
        if has_lists {
            let lists = self.all_lists()?;
            trust::merge(&mut data, lists.trust())?;
            data.insert("operator".to_owned(), serde_json::to_value(lists).map_err(wrong)?);
        }
        artifacts::add_kept(&mut data, &self.kept).map_err(PolicyError::Kept)?;
        serde_json::to_string(&data).map_err(wrong)
    }

    /// The lists of the bundle and of the host together.
    pub(crate) fn all_lists(&self) -> Result<Lists, PolicyError> {
        let bundled = format!("{BUNDLED}{}", lists::FILE);
        let mut all = Lists::from_yaml(Path::new(&bundled), &self.bundled_lists)?;
        all.extend(Lists::from_yaml(Path::new(lists::FILE), &self.lists)?);
        Ok(all)
    }

    /// What decides where there is a bundle, a folder as `policies` in the configuration names it, both or none: the folder's `rego/`
    /// goes before the bundle's, and that before our own. The lists of both count.
    pub(crate) fn of_layers(
        bundle: Option<&BundleFiles>,
        folder: Option<&Path>,
    ) -> Result<Self, PolicyError> {
        let base = bundle.map_or_else(|| Ok(Self::embedded()), Self::of_bundle)?;
        let Some(folder) = folder else {
            return Ok(base);
        };
        let rego = folder.join("rego");
        let mut source = if rego.is_dir() {
            Self::read_over(&rego, &base)?
        } else {
            base
        };
        let lists = folder.join(lists::FILE);
        if lists.exists() {
            source.lists = read_bounded(&lists, MAX_BYTES)?;
        }
        Ok(source)
    }

    /// Where the clauses of decisions stand: the lines that hold `"clause": "WORD"`, as `file:line`.
    pub(crate) fn clauses(&self) -> HashMap<String, String> {
        let mut clauses = HashMap::new();
        for (name, text) in &self.modules {
            for (number, line) in text.lines().enumerate() {
                let Some((_, rest)) = line.split_once("\"clause\":") else {
                    continue;
                };
                if let Some(word) = rest.split('"').nth(1) {
                    let place = format!("{name}:{}", number + 1);
                    clauses.entry(word.to_owned()).or_insert(place);
                }
            }
        }
        clauses
    }

    /// The clause that stands at `file:line`: from the line that begins it to the brace that ends it.
    pub(crate) fn clause_at(&self, place: &str) -> Option<String> {
        let (file, line) = place.rsplit_once(':')?;
        let line: usize = line.parse().ok()?;
        let (_, text) = self.modules.iter().find(|(name, _)| name == file)?;
        let lines: Vec<&str> = text.lines().collect();
        let at = line.checked_sub(1).filter(|at| *at < lines.len())?;
        // A clause's head is the line above its body that is not indented; its end is the next brace that is not either.
        let first = (0..=at)
            .rev()
            .find(|&at| lines[at].starts_with(|c: char| c.is_alphabetic()))?;
        let ends = |line: &&str| line.starts_with('}') && !line.ends_with('{');
        let last = (at..lines.len()).find(|&at| ends(&lines[at])).unwrap_or(at);
        Some(lines[first..=last].join("\n"))
    }

    /// The first 12 hex digits of the SHA-256 over names and texts of all files but the tests.
    pub(crate) fn revision(&self) -> String {
        let mut digest = Sha256::new_with_prefix(b"defenseclaw.policy.v1\0");
        let files = self
            .modules
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        // Strings and numbers: there is always a form.
        let kept = serde_json::to_string(&self.kept).unwrap_or_default();
        let data = [
            (DATA, self.data.as_str()),
            (lists::FILE, self.lists.as_str()),
            (BUNDLED_LISTS, self.bundled_lists.as_str()),
            (KEPT, kept.as_str()),
        ];
        // A policy without them has the revision that it had before there were any.
        let there = |(name, text): &(&str, &str)| match *name {
            KEPT => !self.kept.is_empty(),
            BUNDLED_LISTS => !text.is_empty(),
            _ => true,
        };
        for (name, text) in files.chain(data).filter(there) {
            for part in [name, text] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part.as_bytes());
            }
        }
        short(digest)
    }
}

/// The revision of a policy together with that of the rule packs.
pub(crate) fn joined(policy: &str, rules: &str) -> String {
    let mut digest = Sha256::new_with_prefix(b"defenseclaw.policy+rules.v1\0");
    for part in [policy, rules] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    short(digest)
}

/// The first 12 hex digits.
fn short(digest: Sha256) -> String {
    let digest = digest.finalize();
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn owned<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let files = files.into_iter();
    files
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

/// The name of a base's module in a policy that it completes.
fn inherited(name: &str) -> String {
    if name.starts_with(OURS) || name.starts_with(BUNDLED) {
        name.to_owned()
    } else {
        format!("{OURS}{name}")
    }
}

/// The package that a module is of.
pub(crate) fn package_of(text: &str) -> Option<&str> {
    let after = text.lines().find_map(|line| line.strip_prefix("package "))?;
    after.split_whitespace().next()
}

fn read_bounded(path: &Path, left: usize) -> Result<String, PolicyError> {
    let failed = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(left as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() > left {
        return Err(PolicyError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}
