//! `scan skill`, `scan mcp`, `scan plugin`, `scan code`, `scan package`.

mod package;
mod sarif;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use defenseclaw_code::CodeGuard;
use defenseclaw_detect::Detector;
use defenseclaw_detect::scan::Scanner;
use defenseclaw_detect::scan::artifact::ReadError;
use defenseclaw_model::scan::{ScanFinding, ScanKind, ScanReport};
use defenseclaw_run::settings::Settings;
use serde_json::Value;

use crate::args::decide::RuleChoice;
use crate::args::scan::{AnswerOptions, Format, ScanCommand};
use crate::table::{Cell, left, right, whole};
use crate::text::{counted, cut, safe};
use crate::view::{Ink, View, severity_ink};
use crate::{Answer, CliError, Context, json, mcp};

/// Scans, and prints what was found.
pub fn run(command: &ScanCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let (kind, options) = match command {
        ScanCommand::Skill(options) => (ScanKind::Skill, options),
        ScanCommand::Mcp(options) => (ScanKind::Mcp, &options.scan),
        ScanCommand::Plugin(options) => (ScanKind::Plugin, options),
        ScanCommand::Code(options) => (ScanKind::Code, options),
        ScanCommand::Package(options) => return package::run(options, context),
    };
    let ask = command.live()?;
    let scanner = scanner(&options.answer.rules, &context.settings)?;
    let mut answers = Answers::new(&scanner, &options.answer, options.paths.len());
    let mut unread = Vec::new();
    side_by_side(&scanner, kind, &options.paths, |path, scanned| {
        match scanned {
            Ok(mut report) => {
                if let Some(ask) = ask {
                    mcp::live(&mut report, path, ask, &scanner, context.notes)?;
                }
                answers.add(&report, context)?;
            }
            Err(error) => unread.push(error.to_string()),
        }
        Ok(())
    })?;
    let answer = answers.end(context)?;
    match unread.is_empty() {
        true => Ok(answer),
        false => Err(CliError::Usage(unread.join("\n"))),
    }
}

/// Scans on all processors, and hands over what came of it in the order of the paths.
fn side_by_side(
    scanner: &Scanner,
    kind: ScanKind,
    paths: &[PathBuf],
    mut take: impl FnMut(&Path, Result<ScanReport, ReadError>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS).min(paths.len());
    if threads < 2 {
        return paths
            .iter()
            .try_for_each(|path| take(path, scanner.scan(kind, path)));
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(at) else { return };
                    if sender.send((at, scanner.scan(kind, path))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for (at, path) in paths.iter().enumerate() {
            let scanned = loop {
                if let Some(scanned) = early.remove(&at) {
                    break scanned;
                }
                match receiver.recv() {
                    Ok((at, scanned)) => early.insert(at, scanned),
                    // A scan panicked: so does this thread, at the end of the scope.
                    Err(_) => return Ok(()),
                };
            };
            take(path, scanned)?;
        }
        Ok(())
    })
}

/// Most scans at a time: each may hold an artifact of the largest size that is read.
const MAX_THREADS: usize = 8;

/// Reports, as they are asked for.
pub(super) struct Answers<'a> {
    scanner: &'a Scanner,
    options: &'a AnswerOptions,
    several: bool,
    /// What is not written yet: everything, where it goes into a file.
    text: Vec<u8>,
    runs: Vec<Value>,
    fails: bool,
    any: bool,
}

impl<'a> Answers<'a> {
    /// For so many reports.
    pub(super) fn new(scanner: &'a Scanner, options: &'a AnswerOptions, count: usize) -> Self {
        Self {
            scanner,
            options,
            several: count > 1,
            text: Vec::new(),
            runs: Vec::new(),
            fails: false,
            any: false,
        }
    }

    /// One more.
    pub(super) fn add(&mut self, report: &ScanReport, context: &mut Context<'_>) -> Result<(), CliError> {
        self.fails |= report
            .findings
            .iter()
            .any(|finding| finding.severity >= self.options.fail_on);
        match self.options.format {
            Format::Json => json::line(&mut self.text, report)?,
            Format::Sarif => self.runs.push(sarif::run(report, self.scanner.revision())),
            Format::Table => {
                // A file is no terminal, whatever this process was started on.
                let plain = View {
                    colour: false,
                    width: None,
                    zone: context.view.zone.clone(),
                };
                let view = match self.options.output {
                    Some(_) => &plain,
                    None => &context.view,
                };
                if std::mem::replace(&mut self.any, true) {
                    writeln!(self.text)?;
                }
                if self.several {
                    writeln!(self.text, "{}", view.paint(Ink::Faint, &safe(&report.target)))?;
                }
                table(report, view, &mut self.text)?;
            }
        }
        if self.options.output.is_none() {
            context.out.write_all(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }

    /// Says what they come to.
    pub(super) fn end(mut self, context: &mut Context<'_>) -> Result<Answer, CliError> {
        if self.options.format == Format::Sarif {
            json::line(&mut self.text, &sarif::log(std::mem::take(&mut self.runs)))?;
        }
        match &self.options.output {
            Some(path) => std::fs::write(path, &self.text).map_err(|error| {
                CliError::Usage(format!(
                    "the answer cannot be written to {}: {error}",
                    path.display()
                ))
            })?,
            None => context.out.write_all(&self.text)?,
        }
        Ok(if self.fails { Answer::No } else { Answer::Yes })
    }
}

/// A scanner with the packs that the options and the configuration name.
pub(crate) fn scanner(choice: &RuleChoice, settings: &Settings) -> Result<Scanner, CliError> {
    with_code(detector(choice, settings)?)
}

/// A scanner with these packs that reads source code by syntax.
pub(crate) fn with_code(detector: Detector) -> Result<Scanner, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
    let code = CodeGuard::embedded().map_err(|error| usage(&error))?;
    let scanner = Scanner::new(detector).map_err(|error| usage(&error))?;
    Ok(scanner.with_code(Box::new(code)))
}

/// The packs that the options and the configuration name.
fn detector(choice: &RuleChoice, settings: &Settings) -> Result<Detector, CliError> {
    let folder = match (&choice.policies, choice.built_in) {
        (Some(folder), _) => Some(folder.as_path()),
        (None, true) => None,
        (None, false) => settings.policies.as_deref(),
    };
    if let Some(folder) = folder
        && let Err(error) = std::fs::read_dir(folder)
    {
        let why = format!("cannot read the policies in {}: {error}", folder.display());
        return Err(CliError::Usage(why));
    }
    let packs = folder
        .map(|folder| folder.join("rules"))
        .filter(|packs| packs.is_dir());
    let detector = match packs {
        Some(packs) => Detector::from_dir(&packs),
        None => Detector::embedded(),
    };
    detector.map_err(|error| CliError::Usage(error.to_string()))
}

fn table(report: &ScanReport, view: &View, out: &mut impl Write) -> std::io::Result<()> {
    let version = report
        .version
        .as_deref()
        .map(|version| format!(" {}", safe(version)));
    writeln!(
        out,
        "{} {}{}: {}, {}, sha256 {}",
        report.kind.as_str(),
        view.paint(Ink::Strong, &safe(&report.name)),
        version.unwrap_or_default(),
        counted(report.files, "file", "files"),
        counted(report.bytes, "byte", "bytes"),
        report
            .digest
            .strip_prefix("sha256:")
            .and_then(|digits| digits.get(..16))
            .unwrap_or_default()
    )?;
    if report.findings.is_empty() {
        return writeln!(out, "{}", view.paint(Ink::Good, "nothing found"));
    }
    let columns = [
        left("SEVERITY", 8),
        right("SURE", 4),
        left("CATEGORY", 8),
        left("RULE", 8),
        left("WHERE", 8),
        left("WHAT", 8),
    ];
    let rows: Vec<Vec<Cell>> = report.findings.iter().map(row).collect();
    let mut lines = whole(&columns, &rows, view).into_iter();
    if let Some(heading) = lines.next() {
        writeln!(out, "{heading}")?;
    }
    for (line, finding) in lines.zip(&report.findings) {
        writeln!(out, "{line}")?;
        for (name, text) in [("saw", &finding.evidence), ("do", &finding.remedy)] {
            if !text.is_empty() {
                let text = format!("          {name}: {}", safe(text));
                let text = view
                    .width
                    .map_or_else(|| text.clone(), |width| cut(&text, width).into_owned());
                writeln!(out, "{}", view.paint(Ink::Faint, &text))?;
            }
        }
    }
    let verdict = report.verdict;
    let count = counted(report.findings.len() as u64, "finding", "findings");
    let severity = view.paint(severity_ink(verdict.severity), verdict.severity.as_str());
    writeln!(out, "{severity}, {} % sure: {count}", verdict.confidence)
}

fn row(finding: &ScanFinding) -> Vec<Cell> {
    let place = match (finding.file.as_str(), finding.line) {
        ("", _) => "-".to_owned(),
        (file, 0) => safe(file).into_owned(),
        (file, line) => format!("{}:{line}", safe(file)),
    };
    vec![
        Cell(
            finding.severity.as_str().to_owned(),
            severity_ink(finding.severity),
        ),
        Cell::from(finding.confidence.to_string()),
        Cell::from(safe(&finding.category).into_owned()),
        Cell::from(safe(&finding.rule).into_owned()),
        Cell::from(place),
        Cell::from(safe(&finding.message).into_owned()),
    ]
}
