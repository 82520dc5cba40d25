//! Where policy text comes from.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{PolicyError, lists};

/// Most bytes that a policy may have, tests included. Ours has 60 KB; an engine keeps about ten times its text in memory.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The name of the data document.
const DATA: &str = "data.json";

/// A policy's files.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Name and text of each Rego file, by name.
    pub(crate) modules: Vec<(String, String)>,
    /// Name and text of each Rego file with tests, by name.
    pub(crate) tests: Vec<(String, String)>,
    /// The data document.
    pub(crate) data: String,
    /// The operator's lists, as YAML; empty where there are none.
    pub(crate) lists: String,
}

/// Our own policy's files, by name.
macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../policies/rego/", $name)))),+]
    };
}

impl Source {
    /// The policy that this program was built with.
    pub(crate) fn embedded() -> Self {
        let modules = embedded!["decision.rego", "effect.rego", "facts.rego", "lists.rego",];
        Self {
            modules: modules
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
            tests: Vec::new(),
            data: include_str!("../../../policies/rego/data.json").to_owned(),
            lists: String::new(),
        }
    }

    /// The policy in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, PolicyError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PolicyError::Read { path, source }
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed(dir))? {
            paths.push(entry.map_err(failed(dir))?.path());
        }
        paths.sort();
        let mut source = Self {
            data: "{}".to_owned(),
            ..Self::default()
        };
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
        if source.modules.is_empty() {
            return Err(PolicyError::Empty(dir.to_owned()));
        }
        Ok(source)
    }

    /// The policy of a folder as `policies` in the configuration names it: `rego/` instead of our own modules, and
    /// `lists.yaml`.
    pub(crate) fn of_operator(folder: &Path) -> Result<Self, PolicyError> {
        let rego = folder.join("rego");
        let mut source = if rego.is_dir() {
            Self::read(&rego)?
        } else {
            Self::embedded()
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
        let data = [(DATA, self.data.as_str()), (lists::FILE, self.lists.as_str())];
        for (name, text) in files.chain(data) {
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
