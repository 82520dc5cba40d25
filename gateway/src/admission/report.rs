//! A scanner's report as it comes from a process that has read what somebody hostile wrote: brought within bounds, or not believed.

use defenseclaw_detect::mask::mask_text;
use defenseclaw_model::decision::Finding;
use defenseclaw_model::scan::{ScanFinding, ScanReport, ScanVerdict};

/// Most findings of a report: the scanner's own bound.
const MAX_REPORTED: usize = 500;
/// Longest name of a rule or category (bytes).
pub(crate) const MAX_RULE: usize = 96;
/// Longest sentence that is kept of a report (bytes).
pub(crate) const MAX_TEXT: usize = 600;

/// Masks and cuts what a report says, and works out its verdict anew; says what no scanner of ours writes.
pub(crate) fn tidy(report: &mut ScanReport) -> Result<(), &'static str> {
    if report.findings.len() > MAX_REPORTED {
        return Err("more findings than are told");
    }
    let name = |text: &str, more: &str| {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
        !text.is_empty() && text.len() <= MAX_RULE && text.chars().all(fine)
    };
    for finding in &mut report.findings {
        if !name(&finding.rule, ".-_") || !name(&finding.category, "-") || finding.confidence > 100 {
            return Err("a finding without a proper name");
        }
        for text in [
            &mut finding.message,
            &mut finding.evidence,
            &mut finding.remedy,
            &mut finding.file,
        ] {
            *text = mask_text(text, MAX_TEXT);
        }
    }
    let said = report.verdict.severity;
    report.verdict = ScanVerdict::of(&report.findings);
    if said > report.verdict.severity {
        return Err("a verdict that no finding of it bears out");
    }
    Ok(())
}

/// A finding as the ledger keeps it.
pub(crate) fn finding_of(finding: &ScanFinding) -> Finding {
    let place = match finding.line {
        0 => finding.file.clone(),
        line => format!("{}:{line}", finding.file),
    };
    let evidence = [place, finding.evidence.clone()];
    Finding {
        rule: finding.rule.clone(),
        category: finding.category.clone(),
        severity: finding.severity,
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        evidence: evidence.into_iter().filter(|text| !text.is_empty()).collect(),
        confidence: finding.confidence,
    }
}

/// Somebody else's text: masked, on one line, at most that many bytes.
pub(crate) fn text(text: &str, most: usize) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let masked = mask_text(&plain, most);
    cut(&masked, most)
}

/// The first `most` bytes, at a character's border.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
        .to_owned()
}
