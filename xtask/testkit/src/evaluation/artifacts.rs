//! Skills, MCP servers and plugins, benign and with one change that means harm, and what `scan` makes of them. See
//! `policies/evaluation/README.md` for the files and the marks in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::collection::{Label, Split};
use super::inspector::Severity;
use super::synthetic;

/// Mixed into the hash that splits.
const SPLIT_SEED: &str = "defenseclaw-artifacts-1";
/// Percent of the skills and pairs that are held out.
const HOLDOUT_PERCENT: u64 = 50;

/// The mark that a pair of its own files has where the change stands, and the second one.
const CHANGES: [&str; 2] = ["%%CHANGE%%", "%%CHANGE2%%"];

/// An artifact that means no harm.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Benign {
    id: String,
    /// As a pair's.
    #[serde(default)]
    seen: bool,
    #[serde(default = "skill")]
    kind: String,
    files: BTreeMap<String, String>,
}

/// A change to one of them, and its harmless twin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    id: String,
    /// Whether rules were made for it before it joined: it is never held out.
    #[serde(default)]
    seen: bool,
    category: String,
    /// The artifact that is changed; a pair without one has its own `kind` and `files`, with marks where changes stand.
    #[serde(default)]
    base: Option<String>,
    #[serde(default = "skill")]
    kind: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    file: String,
    /// The text that the change stands in place of; without it, it is appended.
    #[serde(default)]
    instead: Option<String>,
    attack: String,
    benign: String,
    /// What stands at the second mark.
    #[serde(default)]
    attack2: String,
    #[serde(default)]
    benign2: String,
    /// Further files, with their text in both.
    #[serde(default)]
    more: BTreeMap<String, Twin>,
}

/// A text in the attack and in its twin; an empty one is no file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Twin {
    attack: String,
    benign: String,
}

fn skill() -> String {
    "skill".to_owned()
}

/// One artifact, with what is right.
#[derive(Debug, Clone)]
pub struct Skill {
    /// Unique.
    pub id: String,
    /// The folder that it is from; empty at the top.
    pub set: String,
    /// `skill`, `mcp`, `plugin` or `code`.
    pub kind: String,
    /// The kind of harm; of a benign skill that belongs to no pair `popular`.
    pub category: String,
    /// What is right.
    pub label: Label,
    /// The side of the split.
    pub side: Split,
    /// Path to content.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What the tool said of a skill.
#[derive(Debug, Clone, Deserialize)]
pub struct Said {
    /// The greatest severity, and how sure that is.
    pub verdict: SaidVerdict,
    /// What was found.
    pub findings: Vec<SaidFinding>,
}

/// The greatest severity.
#[derive(Debug, Clone, Deserialize)]
pub struct SaidVerdict {
    /// How bad.
    pub severity: Severity,
}

/// One finding.
#[derive(Debug, Clone, Deserialize)]
pub struct SaidFinding {
    /// The rule.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub file: String,
    /// On which line.
    pub line: u32,
}

/// Reads the artifacts in a folder that holds `benign.yaml` and `pairs.yaml`, and in the folders in it that do.
pub fn read(folder: &Path) -> Result<Vec<Skill>> {
    let mut bases: Vec<(String, Benign)> = Vec::new();
    let mut skills = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    for within in folders {
        let set = within.strip_prefix(folder).unwrap_or(&within);
        let set = set.to_string_lossy().into_owned();
        let benign: Vec<Benign> = parse(&within.join("benign.yaml"))?;
        bases.extend(benign.into_iter().map(|base| (set.clone(), base)));
        let pairs: Vec<Pair> = parse(&within.join("pairs.yaml"))?;
        for pair in &pairs {
            let side = if pair.seen { Split::Dev } else { side(&pair.id) };
            for (label, end) in [(Label::Attack, "a"), (Label::Benign, "b")] {
                let (kind, files) = changed(&bases, pair, label)?;
                skills.push(Skill {
                    id: format!("{}-{end}", pair.id),
                    set: set.clone(),
                    kind,
                    category: pair.category.clone(),
                    label,
                    side,
                    files: contents(&format!("{}-{end}", pair.id), files)?,
                });
            }
        }
    }
    for (set, base) in bases {
        skills.push(Skill {
            set,
            side: if base.seen { Split::Dev } else { side(&base.id) },
            kind: base.kind,
            category: "popular".to_owned(),
            label: Label::Benign,
            files: contents(&base.id, base.files)?,
            id: base.id,
        });
    }
    let mut ids = std::collections::BTreeSet::new();
    for skill in &skills {
        ensure!(ids.insert(&skill.id), "the id {} is given twice", skill.id);
    }
    Ok(skills)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is not valid", path.display()))
}

/// An artifact's kind and files with a pair's change.
fn changed(
    bases: &[(String, Benign)],
    pair: &Pair,
    label: Label,
) -> Result<(String, BTreeMap<String, String>)> {
    let of = |attack: &str, benign: &str| {
        if label == Label::Attack {
            attack.to_owned()
        } else {
            benign.to_owned()
        }
    };
    let change = of(&pair.attack, &pair.benign);
    let (kind, mut files) = match &pair.base {
        None => {
            let texts = [change, of(&pair.attack2, &pair.benign2)];
            let files = pair.files.iter().map(|(path, text)| {
                let marks = CHANGES.iter().zip(&texts);
                let text = marks.fold(text.clone(), |text, (mark, change)| text.replace(mark, change));
                (path.clone(), text)
            });
            (pair.kind.clone(), files.collect())
        }
        Some(name) => {
            let base = bases.iter().map(|(_, base)| base).find(|base| base.id == *name);
            let base = base.with_context(|| format!("{}: there is no artifact {name}", pair.id))?;
            let mut files = base.files.clone();
            let file = files.entry(pair.file.clone()).or_default();
            match &pair.instead {
                Some(old) => {
                    ensure!(
                        file.matches(old.as_str()).count() == 1,
                        "{}: {old:?} is not there once",
                        pair.id
                    );
                    *file = file.replace(old.as_str(), &change);
                }
                None => file.push_str(&change),
            }
            (base.kind.clone(), files)
        }
    };
    for (path, twin) in &pair.more {
        let text = of(&twin.attack, &twin.benign);
        if !text.is_empty() {
            files.insert(path.clone(), text);
        }
    }
    Ok((kind, files))
}

/// Texts with their marks filled in.
fn contents(id: &str, files: BTreeMap<String, String>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut made = BTreeMap::new();
    for (path, text) in files {
        let mut value = Value::String(text);
        synthetic::fill(&mut value, id).with_context(|| format!("artifact {id}"))?;
        made.insert(path, content(value.as_str().unwrap_or_default()));
    }
    Ok(made)
}

fn side(group: &str) -> Split {
    side_of(SPLIT_SEED, group)
}

/// The side of a split in halves.
pub(super) fn side_of(seed: &str, group: &str) -> Split {
    let digest = Sha256::digest(format!("{seed}\n{group}"));
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if number % 100 < HOLDOUT_PERCENT {
        Split::Holdout
    } else {
        Split::Dev
    }
}

/// A text with its marks made into bytes.
fn content(text: &str) -> Vec<u8> {
    let rest_of = |mark: &str| text.strip_prefix(mark);
    for (mark, magic) in [
        (
            "«elf»",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".as_slice(),
        ),
        ("«macho»", b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x02\0\0\0"),
        ("«pe»", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0"),
        ("«pyc»", b"\xcb\r\r\n\x01\0\0\0aaaabbbb\xe3\0\0\0\0\0\0\0"),
        (
            "«png»",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0",
        ),
    ] {
        if let Some(rest) = rest_of(mark) {
            return [magic, rest.as_bytes()].concat();
        }
    }
    for (mark, deep) in [("«zip ", false), ("«zip2 ", true)] {
        let Some((name, inner)) = rest_of(mark).and_then(|rest| rest.split_once('»')) else {
            continue;
        };
        let packed = zipped(name, inner.as_bytes());
        return if deep {
            zipped("inner.zip", &packed)
        } else {
            packed
        };
    }
    unseen(text).into_bytes()
}

/// Texts that no one sees: `«tags T»` in tag characters, `«zw T»` with a zero-width character between each two letters.
fn unseen(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('«') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let inside = behind
            .split_once('»')
            .map(|(inside, rest)| (inside.trim_start_matches('«'), rest));
        let Some((inside, behind)) = inside else { break };
        if let Some(said) = inside.strip_prefix("tags ") {
            out.extend(
                said.chars()
                    .filter_map(|c| char::from_u32(u32::from(c) + 0xE0000)),
            );
        } else if let Some(said) = inside.strip_prefix("zw ") {
            for c in said.chars() {
                out.extend([c, '\u{200b}']);
            }
        } else {
            out.push_str(&format!("«{inside}»"));
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A zip archive with one stored file.
fn zipped(name: &str, content: &[u8]) -> Vec<u8> {
    let sum = synthetic::crc32(content).to_le_bytes();
    let size = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
    let common = [
        b"\x14\0\0\0\0\0\0\0\0\0".as_slice(),
        &sum,
        &size,
        &size,
        &length,
        b"\0\0",
    ]
    .concat();
    let local = [b"PK\x03\x04".as_slice(), &common, name.as_bytes(), content].concat();
    let at = u32::try_from(local.len()).unwrap_or(u32::MAX).to_le_bytes();
    let central = [b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 14], name.as_bytes()].concat();
    let central_size = u32::try_from(central.len()).unwrap_or(u32::MAX).to_le_bytes();
    let end = [
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(),
        &central_size,
        &at,
        b"\0\0",
    ]
    .concat();
    [local, central, end].concat()
}

/// Writes a skill into a folder of its own under `folder`, and gives that.
pub fn write(skill: &Skill, folder: &Path) -> Result<std::path::PathBuf> {
    let root = folder.join(&skill.id);
    for (path, content) in &skill.files {
        let file = root.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(root)
}

/// Runs `program scan KIND` on each artifact. The answers are in the artifacts' order.
pub fn ask(program: &Path, skills: &[&Skill]) -> Result<(Vec<Said>, Duration)> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let roots: Vec<_> = skills
        .iter()
        .map(|skill| write(skill, folder.path()))
        .collect::<Result<_>>()?;
    let start = Instant::now();
    let mut answers = Vec::with_capacity(skills.len());
    for (skill, root) in skills.iter().zip(&roots) {
        let output = Command::new(program)
            .args(["scan", &skill.kind, "--built-in", "--format", "json"])
            .arg(root)
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "scanning {} ended with {}: {}",
            root.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        answers.push(serde_json::from_slice(&output.stdout).context("not an answer of scan")?);
    }
    Ok((answers, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifacts_fit_together() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/evaluation/artifacts");
        let artifacts = read(&folder).unwrap();
        for kind in ["skill", "mcp", "plugin"] {
            let of_kind = || artifacts.iter().filter(|artifact| artifact.kind == kind);
            assert!(
                of_kind().any(|artifact| artifact.label == Label::Attack),
                "{kind}"
            );
            assert!(
                of_kind().any(|artifact| artifact.label == Label::Benign),
                "{kind}"
            );
        }
        let marked = |bytes: &[u8]| bytes.windows(8).any(|eight| eight == b"%%CHANGE");
        assert!(
            !artifacts
                .iter()
                .any(|artifact| artifact.files.values().any(|file| marked(file)))
        );
    }

    #[test]
    fn marks_become_bytes() {
        assert!(content("«elf»").starts_with(b"\x7fELF"));
        let zip = content("«zip a.txt»hello");
        assert!(zip.starts_with(b"PK\x03\x04") && zip.windows(5).any(|five| five == b"hello"));
        assert_eq!(unseen("a«tags B»c"), "a\u{e0042}c");
        assert_eq!(unseen("«zw ab»"), "a\u{200b}b\u{200b}");
        assert_eq!(unseen("«Яндекс» x"), "«Яндекс» x");
    }
}
