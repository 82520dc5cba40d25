//! `scan skill`, `scan mcp`, `scan plugin`, `scan code`, `scan package`.

mod package;
mod sarif;

use std::io::Write;

use defenseclaw_code::CodeGuard;
use defenseclaw_detect::Detector;
use defenseclaw_detect::scan::Scanner;
use defenseclaw_model::scan::{ScanFinding, ScanKind, ScanReport};
use defenseclaw_run::settings::Settings;

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
    let mut report = scanner
        .scan(kind, &options.path)
        .map_err(|error| CliError::Usage(error.to_string()))?;
    if let Some(ask) = ask {
        mcp::live(&mut report, &options.path, ask, &scanner, context.notes)?;
    }
    answer(&report, &scanner, &options.answer, context)
}

/// Prints a report, and says what it comes to.
fn answer(
    report: &ScanReport,
    scanner: &Scanner,
    options: &AnswerOptions,
    context: &mut Context<'_>,
) -> Result<Answer, CliError> {
    let mut text = Vec::new();
    match options.format {
        Format::Json => json::line(&mut text, report)?,
        Format::Sarif => json::line(&mut text, &sarif::log(report, scanner.revision()))?,
        Format::Table => {
            // A file is no terminal, whatever this process was started on.
            let plain = View {
                colour: false,
                width: None,
                zone: context.view.zone.clone(),
            };
            table(
                report,
                if options.output.is_some() {
                    &plain
                } else {
                    &context.view
                },
                &mut text,
            )?;
        }
    }
    match &options.output {
        Some(path) => std::fs::write(path, &text).map_err(|error| {
            CliError::Usage(format!(
                "the answer cannot be written to {}: {error}",
                path.display()
            ))
        })?,
        None => context.out.write_all(&text)?,
    }
    let fails = report
        .findings
        .iter()
        .any(|finding| finding.severity >= options.fail_on);
    Ok(if fails { Answer::No } else { Answer::Yes })
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
