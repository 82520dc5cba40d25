//! Commands that an artifact runs, or tells its reader to run: judged by the rules that judge an agent's calls.

use std::sync::LazyLock;

use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::facts::{Facts, Program};
use defenseclaw_model::ids::CallId;
use defenseclaw_model::scan::ScanFinding;
use serde_json::{Value, json};

use super::installers;
use crate::detector::Detector;
use crate::facts::{MAX_COMMAND, facts_of};
use crate::mask::mask_text;

/// Where the commands are taken to run.
const FOLDER: &str = "/home/user/project";
const HOME: &str = "/home/user";

/// Longest excerpt in the evidence (bytes).
const EXCERPT: usize = 160;

/// Most lines of a script that are judged by themselves, to tell on which of them a finding stands.
const MAX_LINES: usize = 2000;

/// In what way a command is part of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a script of its own.
    Script,
    /// In source code, as a whole: its parts need not belong together.
    Source,
    /// In a document, as a block or within a sentence: an example, or an instruction.
    Example,
    /// Within a sentence of a text about attacks.
    Quotation,
    /// Written as a text of which nobody says that it runs.
    Written,
    /// A text, whatever runs in it.
    Text,
    /// Run by the harness or the package manager without anyone asking: a hook, a server's launch, a post-install script.
    Automatic,
}

/// What was read of commands.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) findings: Vec<ScanFinding>,
    /// The programs, as far as they are known.
    pub(crate) programs: Vec<Program>,
}

static CALL: LazyLock<Option<CallId>> = LazyLock::new(|| CallId::new("scan").ok());

/// Judges a shell's text that begins on `line` of `file`.
pub(crate) fn shell(detector: &Detector, text: &str, place: Place, (file, line): (&str, u32)) -> Judged {
    let mut judged = Judged::default();
    let mut first = line;
    for part in parts(text) {
        judge_part(detector, part, place, (file, first), &mut judged);
        first = first.saturating_add(super::markdown::line_at(part, part.len()) - 1);
    }
    judged
}

/// A text in parts that can each be judged whole; a script is longer only where it carries data.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let most = rest.floor_char_boundary(MAX_COMMAND.min(rest.len()));
        let cut = if most == rest.len() {
            most
        } else {
            let head = rest.get(..most)?;
            head.rfind('\n').map_or(most, |at| at + 1)
        };
        let (part, behind) = rest.split_at_checked(cut.max(1))?;
        rest = behind;
        Some(part)
    })
}

fn judge_part(detector: &Detector, text: &str, place: Place, at: (&str, u32), judged: &mut Judged) {
    let Some((facts, findings)) = command(detector, text) else {
        return;
    };
    let mut findings: Vec<ScanFinding> = findings
        .into_iter()
        .filter_map(|finding| converted(finding, place, at))
        .collect();
    installers::excuse(detector, text, &facts, &mut findings);
    if judged.programs.len() < 512 {
        judged.programs.extend(facts.programs);
    }
    if findings.is_empty() {
        return;
    }
    locate(detector, text, at.1, &mut findings);
    judged.findings.append(&mut findings);
}

pub(super) fn command(detector: &Detector, text: &str) -> Option<(Facts, Vec<Finding>)> {
    let call = ToolCall {
        call: CALL.clone()?,
        tool: "Bash".to_owned(),
        kind: CallKind::Command {
            command: text.to_owned(),
            background: false,
        },
        input: json!({ "command": text }),
    };
    let facts = facts_of(&call, Some(FOLDER), Some(HOME));
    let findings = detector.call(&call, &facts);
    Some((facts, findings))
}

/// Tells for each finding the line that has it by itself, else the first line of the text.
fn locate(detector: &Detector, text: &str, first: u32, findings: &mut [ScanFinding]) {
    let mut open: Vec<&mut ScanFinding> = findings.iter_mut().collect();
    for (number, line) in super::lines::numbered(text, first).take(MAX_LINES) {
        let line = line.trim();
        if open.is_empty() {
            break;
        }
        if line.len() < 4 || line.starts_with('#') {
            continue;
        }
        let Some((_, here)) = command(detector, line) else {
            break;
        };
        open.retain_mut(|finding| {
            let is_here = here.iter().any(|one| one.rule == finding.rule);
            if is_here {
                finding.line = number;
                finding.evidence = mask_text(line, EXCERPT);
            }
            !is_here
        });
    }
}

/// Judges source code as what its interpreter would run, and as what is written into a file of that name.
pub(crate) fn source(
    detector: &Detector,
    text: &str,
    interpreter: Option<&str>,
    (file, line): (&str, u32),
) -> Vec<ScanFinding> {
    let mut findings = Vec::new();
    if let Some(interpreter) = interpreter.filter(|_| text.len() < MAX_COMMAND / 2) {
        let end = delimiter(text);
        let run = format!("{interpreter} <<'{end}'\n{text}\n{end}\n");
        if let Some((_, found)) = command(detector, &run) {
            findings.extend(
                found
                    .into_iter()
                    .filter_map(|found| converted(found, Place::Source, (file, line))),
            );
        }
    }
    findings.extend(written(detector, &format!("{FOLDER}/{file}"), text, (file, line)));
    in_one_text(detector, text, &mut findings);
    findings
}

/// What a whole file of code may hold by chance in several places is meant where one text of a line holds it.
fn in_one_text(detector: &Detector, text: &str, findings: &mut [ScanFinding]) {
    const MAX_TEXTS: usize = 64;
    const UNREAD: &[&str] = &["command.network-to-interpreter", "command.decoded"];
    let capped =
        |finding: &ScanFinding| begins(&finding.rule, UNREAD) && finding.severity == Severity::Medium;
    if !findings.iter().any(capped) {
        return;
    }
    let texts = super::spoken::literals(text);
    let piped = texts
        .iter()
        .filter(|(_, said)| said.contains('|') && !said.contains('\n'));
    for &(_, said) in piped.take(MAX_TEXTS) {
        let Some((facts, found)) = command(detector, said) else {
            continue;
        };
        let mut found: Vec<ScanFinding> = found
            .into_iter()
            .filter_map(|found| converted(found, Place::Script, ("", 0)))
            .collect();
        installers::excuse(detector, said, &facts, &mut found);
        for finding in findings.iter_mut().filter(|finding| capped(finding)) {
            if let Some(same) = found.iter().find(|found| found.rule == finding.rule) {
                finding.severity = finding.severity.max(same.severity);
            }
        }
    }
}

/// A word that ends a here-document and does not stand in `text`.
fn delimiter(text: &str) -> String {
    let mut end = "END_OF_CODE".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    end
}

/// Judges a text as what is written to `path`.
pub(crate) fn written(detector: &Detector, path: &str, text: &str, at: (&str, u32)) -> Vec<ScanFinding> {
    let Some(id) = CALL.clone() else {
        return Vec::new();
    };
    let text = text
        .get(..text.floor_char_boundary(MAX_COMMAND * 2))
        .unwrap_or(text);
    let input = json!({"file_path": path, "content": text});
    let call = ToolCall {
        call: id,
        tool: "Write".to_owned(),
        kind: CallKind::FileWrite {
            paths: vec![path.to_owned()],
        },
        input: Value::clone(&input),
    };
    let facts = facts_of(&call, Some(FOLDER), Some(HOME));
    let findings = detector.call(&call, &facts);
    findings
        .into_iter()
        .filter_map(|finding| converted(finding, Place::Written, at))
        .collect()
}

/// What a rule is about, in the words of scans. By the longest beginning of its id.
const CATEGORIES: &[(&str, &str)] = &[
    ("behaviour.", "command-execution"),
    ("behaviour.credential", "credential-access"),
    ("behaviour.exfiltration", "exfiltration"),
    ("behaviour.hidden-place", "hidden-file"),
    ("behaviour.persistence", "persistence"),
    ("behaviour.privilege", "permissions"),
    ("behaviour.remote-module", "remote-code"),
    ("c2.", "exfiltration"),
    ("c2.code-fetches-code", "remote-code"),
    ("c2.code-shell", "command-execution"),
    ("c2.commands-received", "command-execution"),
    ("c2.framework", "command-execution"),
    ("cloud.", "command-execution"),
    ("cognitive.", "persistence"),
    ("command.", "command-execution"),
    ("command.assembled-code", "obfuscation"),
    ("command.decoded", "obfuscation"),
    ("command.downloaded", "remote-code"),
    ("command.fetched", "remote-code"),
    ("command.hidden-program", "hidden-file"),
    ("command.host-folder-to-container", "permissions"),
    ("command.inline-download", "remote-code"),
    ("command.installer", "remote-code"),
    ("command.network", "remote-code"),
    ("command.package", "supply-chain"),
    ("command.powershell-download", "remote-code"),
    ("command.remote-script", "remote-code"),
    ("command.repository-script", "remote-code"),
    ("command.unknown", "obfuscation"),
    ("command.unreadable", "obfuscation"),
    ("command.untrusted-packages", "supply-chain"),
    ("credential.", "credential-access"),
    ("credential.code-that-sends", "exfiltration"),
    ("credential.dump-to-network", "exfiltration"),
    ("credential.env-file-to-network", "exfiltration"),
    ("credential.env-sent-by-code", "exfiltration"),
    ("credential.env-to-network", "exfiltration"),
    ("credential.to-network", "exfiltration"),
    ("damage.", "command-execution"),
    ("discovery.", "command-execution"),
    ("evasion.", "command-execution"),
    ("evasion.package-source", "supply-chain"),
    ("injection.", "injection"),
    ("path.", "credential-access"),
    ("path.home-sent", "exfiltration"),
    ("persistence.", "persistence"),
    ("privilege.", "permissions"),
    ("secret.", "secret"),
    ("steering.", "injection"),
    ("steering.gives-away", "exfiltration"),
    ("tamper.", "permissions"),
    ("trust.", "permissions"),
    ("trust.shadowed-tool", "tool-poisoning"),
];

/// Rules about texts: each file is asked about them once, whatever runs in it.
const OF_TEXTS: &[&str] = &["secret.", "injection.", "pii."];

/// Rules about what an agent's call leaves open, or about its being a call: a file says them of nearly everything.
const OF_CALLS: &[&str] = &[
    "behaviour.",
    "cognitive.edited",
    "cognitive.identity",
    "command.unknown-program",
    "command.unknown-code",
    "command.unreadable",
    "discovery.",
    "text.truncated",
];

/// Rules that describe what administration is: what an agent is asked about when it does so is what many a skill is for.
/// In an example they are for a person to weigh.
const OF_ADMINISTRATION: &[&str] = &[
    "cloud.",
    "damage.",
    "privilege.",
    "evasion.",
    "persistence.",
    "trust.",
    "path.",
    "tamper.",
    "cognitive.mcp-added",
    "c2.forge-access",
    "c2.tunnel",
    "command.installer",
    "credential.keyring",
    "credential.read",
    "credential.write",
    "credential.by-helper",
    "credential.cloud-token",
    "credential.cluster-store",
    "credential.env-file",
    "credential.process-secrets",
];

/// Those among them that nobody documents for work.
const NO_WORK: &[&str] = &[
    "evasion.security-stop",
    "evasion.log",
    "evasion.audit",
    "persistence.git-hooks-elsewhere",
];

/// Rules that go by where something is written. An artifact's own settings are read by what stands in them.
const BY_PLACE: &[&str] = &["tamper.", "cognitive.mcp", "behaviour."];

/// Rules that take two things of one line of code for one: in a whole file they are often far apart.
const BY_PARTS: &[&str] = &[
    "command.decoded",
    "command.gathered-inline",
    "command.assembled-code",
    "command.network-to-interpreter",
    "command.fetched",
    "credential.",
    "damage.",
    "c2.names",
    "evasion.",
    "persistence.",
    "privilege.",
    "trust.",
    "tamper.",
    "cloud.",
    "path.",
];

/// Rules that go by words alone when a text is written: a list of patterns to look for has the same words.
const BY_WORDS: &[&str] = &["credential.", "c2.", "steering."];

fn begins(rule: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| rule.starts_with(beginning))
}

/// Whether a word is a technique's number: `T1059.004`.
fn is_technique(word: &str) -> bool {
    word.strip_prefix('T').is_some_and(|number| {
        number.len() >= 4 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

/// A call's finding in the words of scans; `None` where it says nothing of an artifact.
fn converted(finding: Finding, place: Place, (file, line): (&str, u32)) -> Option<ScanFinding> {
    let rule = finding.rule.as_str();
    if place != Place::Text && begins(rule, OF_TEXTS) {
        return None;
    }
    let category = CATEGORIES
        .iter()
        .filter(|(beginning, _)| rule.starts_with(beginning))
        .max_by_key(|(beginning, _)| beginning.len())
        .map(|&(_, category)| category)?;
    // A pattern that stands for anything stands for private keys too.
    let anything = rule == "credential.read"
        && ["/*", "[\\", "(?"]
            .iter()
            .any(|any| finding.message.contains(any));
    if (place == Place::Written && begins(rule, BY_PLACE)) || anything {
        return None;
    }
    let mut severity = finding.severity;
    // In a call such a host may be a slip of somebody's fingers; what is published with it was written by somebody who chose it.
    let chosen = rule == "trust.lookalike-host" && place != Place::Quotation;
    let administration = begins(rule, OF_ADMINISTRATION) && !begins(rule, NO_WORK);
    if begins(rule, OF_CALLS) {
        severity = severity.min(Severity::Low);
    } else {
        severity = severity.min(match place {
            // A document explains administration, a script does it; both only say that somebody should look.
            Place::Example | Place::Source | Place::Written if rule == "command.assembled-code" => {
                Severity::Low
            }
            Place::Example if administration && severity <= Severity::High => Severity::Low,
            Place::Script if administration && severity == Severity::Medium => Severity::Low,
            Place::Script if administration && severity == Severity::High => Severity::Medium,
            Place::Written if begins(rule, BY_WORDS) => Severity::Low,
            Place::Written if rule.starts_with("persistence.") => severity.min(Severity::Medium),
            Place::Source | Place::Written if begins(rule, BY_PARTS) => Severity::Medium,
            Place::Quotation => Severity::Low,
            _ => severity,
        });
    }
    if chosen {
        severity = Severity::High;
    }
    if severity == Severity::None {
        return None;
    }
    // The technique's number stands last, and of what is written the made-up path first.
    let told = |one: &&str| !one.starts_with(HOME) && !is_technique(one);
    let evidence: Vec<&str> = finding.evidence.iter().map(String::as_str).filter(told).collect();
    let evidence = mask_text(&evidence.join(", "), EXCERPT);
    let message = match finding.message.strip_prefix("Write ") {
        Some(rest) if place == Place::Written => format!("It {rest}"),
        _ => finding
            .message
            .replace("The tool's input holds", "The file holds"),
    };
    Some(ScanFinding {
        category: category.to_owned(),
        severity,
        confidence: finding.confidence,
        file: file.to_owned(),
        line,
        message,
        evidence,
        remedy: finding.remedy,
        rule: finding.rule,
    })
}

/// A finding about a text, in the words of scans.
pub(crate) fn of_text(finding: Finding, at: (&str, u32)) -> Option<ScanFinding> {
    converted(finding, Place::Text, at)
}
