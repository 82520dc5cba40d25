//! Scanners of artifacts: skills, MCP servers' settings and tools, plugins. Offline, deterministic, linear in the files.
//!
//! | Module | Holds |
//! |---|---|
//! | [`artifact`] | the files, read within bounds: folders, archives |
//! | `content` | what is done with each file |
//! | `markdown` | documents taken apart: settings, prose, code, what is hidden |
//! | `lines` | texts as rules search them, with their line numbers |
//! | `pack`, `rules` | packs about artifacts (`kind: artifact`): groups of shapes that stand near each other |
//! | `frames` | what prose asks for, whatever its wording: words by meaning, weighed together |
//! | `commands` | commands, judged by the rules that judge an agent's calls |
//! | [`code`] | source code; the seam for what looks at syntax |
//! | `held` | credentials in plain text |
//! | `origins` | owners of code, and packages in lists of other ecosystems |
//! | `packages` | names one slip away from well-known ones; what nobody pinned |
//! | `together` | what findings mean together: harm that is hidden, taken here and sent there |
//! | `spoken` | texts in source code that a model reads: what tools say of themselves |
//! | `structured` | settings, manifests, pages and notebooks |
//! | `values` | settings as values: JSON with comments, TOML, YAML |
//! | `settings`, `grants`, `redirects` | what settings of harnesses and servers switch on, redirect and let through |
//! | `kinds` | what a file is |
//! | `launch`, `reach`, `names`, `slips` | what servers are given and where they come from; names that are nearly another's |
//! | `installers` | installers on vendors' own hosts |
//! | [`learned`] | what a model says that learned from labelled artifacts |
//! | `forbidden` | what a document names so that nobody does it |
//! | `recipes`, `inline` | commands in files that are no scripts; code in scripts |
//! | `media` | what is written in pictures, and lies behind their end |
//! | `skill`, `mcp`, `plugin` | what each kind of artifact has besides its files |
//!
//! Reading is the only I/O of this crate. It is for an unprivileged process.

pub mod artifact;
pub mod code;
mod commands;
mod content;
mod definition;
mod forbidden;
mod frames;
mod grants;
mod held;
mod inline;
mod installers;
mod kinds;
mod launch;
pub mod learned;
mod lines;
mod markdown;
mod mcp;
mod media;
mod names;
mod origins;
pub(crate) mod pack;
pub(crate) mod packages;
mod pieces;
mod plugin;
mod reach;
mod recipes;
mod redirects;
pub(crate) mod rules;
mod settings;
mod skill;
mod slips;
mod spoken;
mod structured;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_settings;
#[cfg(test)]
mod tests_skills;
mod together;
mod topic;
mod values;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanFinding, ScanKind, ScanReport, ScanVerdict};

use crate::detector::{Detector, PackError};
use artifact::{Artifact, ReadError};
use code::CodeReader;
use packages::Popular;
use rules::Present;

/// Most findings of one report: what has more is not read to the end by anyone. The worst are kept.
const MAX_FINDINGS: usize = 500;

/// What scans, ready to be used from any thread.
#[derive(Debug)]
pub struct Scanner {
    detector: Detector,
    popular: Popular,
    code: Option<Box<dyn CodeReader>>,
    /// Whether the model is asked, too.
    learned: bool,
}

/// One thing that a running server offers, as it said it.
#[derive(Debug)]
pub struct Offered<'v> {
    /// Where findings about it are; what follows `#` there is a JSON pointer into its value.
    pub place: String,
    /// The name of the tool, where it is one.
    pub tool: Option<&'v str>,
    /// What was said.
    pub value: &'v serde_json::Value,
}

/// What an artifact says of itself.
#[derive(Debug, Default)]
struct Identity {
    name: Option<String>,
    version: Option<String>,
    /// What it says that it is for, folded.
    topic: String,
}

/// One scan.
pub(crate) struct Pass<'s> {
    scanner: &'s Scanner,
    artifact: &'s Artifact,
    kind: ScanKind,
    findings: Vec<ScanFinding>,
    present: Present,
    identity: Identity,
    /// What is run without being asked: the paths of scripts that hooks, settings and packages name.
    automatic: Vec<String>,
    /// Code that scripts hold in another language.
    inline: Vec<inline::Inline>,
}

impl Scanner {
    /// A scanner with these rules.
    pub fn new(detector: Detector) -> Result<Self, PackError> {
        let popular = Popular::load(packages::EMBEDDED.0, packages::EMBEDDED.1)?;
        Ok(Self {
            detector,
            popular,
            code: None,
            learned: true,
        })
    }

    /// A scanner with the rules that this program was built with.
    pub fn embedded() -> Result<Self, PackError> {
        Self::new(Detector::embedded()?)
    }

    /// With what reads source code by syntax; without it, only its tokens are looked at.
    #[must_use]
    pub fn with_code(mut self, reader: Box<dyn CodeReader>) -> Self {
        self.code = Some(reader);
        self
    }

    /// By rules alone: what the model is trained with.
    #[must_use]
    pub fn without_model(mut self) -> Self {
        self.learned = false;
        self
    }

    /// The first 12 hex digits of the SHA-256 over the packs.
    pub fn revision(&self) -> &str {
        self.detector.revision()
    }

    /// Scans what stands at `path`.
    pub fn scan(&self, kind: ScanKind, path: &Path) -> Result<ScanReport, ReadError> {
        let artifact = artifact::read(path)?;
        let name = path.canonicalize().ok();
        let name = name.as_deref().unwrap_or(path).file_name();
        let name = name
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(self.scan_read(kind, &artifact, &path.display().to_string(), &name))
    }

    /// Scans what running servers say that they offer, each by itself: every text of it, names of fields too.
    pub fn offered(&self, offered: &[Offered<'_>]) -> Vec<ScanFinding> {
        let artifact = artifact::from_memory([]);
        let mut findings = Vec::new();
        for one in offered {
            let mut pass = Pass {
                scanner: self,
                artifact: &artifact,
                kind: ScanKind::Mcp,
                findings: Vec::new(),
                present: Present::default(),
                identity: Identity::default(),
                automatic: Vec::new(),
                inline: Vec::new(),
            };
            pass.offered(one);
            findings.append(&mut pass.findings);
        }
        tidy(findings)
    }

    /// Scans files that were read. `name` is the artifact's where it says none itself.
    pub fn scan_read(&self, kind: ScanKind, artifact: &Artifact, target: &str, name: &str) -> ScanReport {
        let mut pass = Pass {
            scanner: self,
            artifact,
            kind,
            findings: artifact.problems.clone(),
            present: Present::default(),
            identity: Identity {
                topic: topic::of(artifact),
                ..Identity::default()
            },
            automatic: inline::named_scripts(artifact),
            inline: Vec::new(),
        };
        pass.files();
        match kind {
            ScanKind::Skill => pass.skill(),
            ScanKind::Mcp | ScanKind::Tool => pass.mcp(),
            ScanKind::Plugin => pass.plugin(target),
            ScanKind::Code => {}
        }
        pass.report(target, name)
    }
}

impl Pass<'_> {
    pub(crate) fn detector(&self) -> &Detector {
        &self.scanner.detector
    }

    /// Adds a finding of the scanner's own.
    fn tell(&mut self, rule: Told, (file, line): (&str, u32), message: String, evidence: &str) {
        let (id, category, severity, confidence, remedy) = rule;
        self.findings.push(ScanFinding {
            rule: id.to_owned(),
            category: category.to_owned(),
            severity,
            confidence,
            file: file.to_owned(),
            line,
            message,
            evidence: crate::mask::mask_text(evidence, 160),
            remedy: remedy.to_owned(),
        });
    }

    fn together(&mut self) {
        let found = std::mem::take(&mut self.findings);
        for one in together::judge(&found) {
            self.tell(one.told, (&one.at.file, one.at.line), one.message, &one.evidence);
        }
        self.findings.extend(found);
    }

    fn report(mut self, target: &str, name: &str) -> ScanReport {
        let rules = self.scanner.detector.artifact_rules();
        self.findings.extend(rules.across(&self.present));
        if !topic::is_about_attacks(&self.identity.topic) {
            self.together();
        }
        let mut findings = tidy(self.findings);
        if self.scanner.learned {
            let model = learned::embedded();
            findings = tidy(learned::judge(model, self.kind, self.artifact, findings));
        }
        ScanReport {
            kind: self.kind,
            name: self.identity.name.unwrap_or_else(|| name.to_owned()),
            version: self.identity.version,
            target: target.to_owned(),
            digest: self.artifact.digest.clone(),
            files: self.artifact.files.len() as u64,
            bytes: self.artifact.bytes,
            verdict: ScanVerdict::of(&findings),
            findings,
        }
    }
}

/// Rule, category, severity, confidence and remedy of a finding of the scanner's own.
type Told = (&'static str, &'static str, Severity, u8, &'static str);

/// Of the same rule at the same place the gravest; the worst first, then by place.
fn tidy(findings: Vec<ScanFinding>) -> Vec<ScanFinding> {
    let mut kept: HashMap<(String, String, u32), ScanFinding> = HashMap::new();
    for finding in findings {
        let key = (finding.rule.clone(), finding.file.clone(), finding.line);
        match kept.get_mut(&key) {
            Some(known) if (known.severity, known.confidence) >= (finding.severity, finding.confidence) => {}
            _ => {
                kept.insert(key, finding);
            }
        }
    }
    let mut findings: Vec<ScanFinding> = kept.into_values().collect();
    findings.sort_by(|a, b| {
        (Reverse(a.severity), &a.file, a.line, &a.rule).cmp(&(Reverse(b.severity), &b.file, b.line, &b.rule))
    });
    findings.truncate(MAX_FINDINGS);
    findings
}
