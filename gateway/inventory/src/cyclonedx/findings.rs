//! Findings as the standard's vulnerabilities: one for each rule, with everything that it is about.

use std::collections::BTreeMap;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;
use serde_json::{Value, json};

use super::reference;
use crate::item::Inventory;

/// Most places that are written out for one rule: the rest is counted.
const MAX_PLACES: usize = 200;

/// The findings of one rule: the worst first, each with the reference of what it is about.
type Found<'i> = Vec<(String, &'i ScanFinding)>;

pub(super) fn vulnerabilities(inventory: &Inventory) -> Vec<Value> {
    let mut rules: BTreeMap<&str, Found<'_>> = BTreeMap::new();
    for item in &inventory.items {
        for finding in item.scan.iter().flat_map(|scan| &scan.findings) {
            rules
                .entry(&finding.rule)
                .or_default()
                .push((reference(item), finding));
        }
    }
    rules
        .into_iter()
        .map(|(rule, found)| vulnerability(rule, found))
        .collect()
}

fn vulnerability(rule: &str, mut found: Found<'_>) -> Value {
    found.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
    let worst = found.first().map(|(_, finding)| *finding);
    let severity = worst.map_or(Severity::None, |finding| finding.severity);
    let mut about: Vec<&String> = found.iter().map(|(reference, _)| reference).collect();
    about.sort();
    about.dedup();
    let mut properties: Vec<Value> = Vec::new();
    if let Some(worst) = worst {
        properties.push(property("category", &worst.category));
        properties.push(property("confidence", &worst.confidence.to_string()));
    }
    for (reference, finding) in found.iter().take(MAX_PLACES) {
        let place = match (finding.file.as_str(), finding.line) {
            ("", _) => String::new(),
            (file, 0) => format!(" {file}"),
            (file, line) => format!(" {file}:{line}"),
        };
        let text = format!(
            "{reference}{place} {} {}",
            finding.severity.as_str(),
            finding.message
        );
        properties.push(property("finding", &text));
    }
    if found.len() > MAX_PLACES {
        properties.push(property("more-findings", &(found.len() - MAX_PLACES).to_string()));
    }
    let affects: Vec<Value> = about
        .into_iter()
        .map(|reference| json!({ "ref": reference }))
        .collect();
    json!({
        "bom-ref": format!("finding:{rule}"),
        "id": rule,
        "source": { "name": "DefenseClaw" },
        "ratings": [{ "source": { "name": "DefenseClaw" }, "severity": rating(severity), "method": "other" }],
        "description": worst.map(|finding| finding.message.as_str()).unwrap_or_default(),
        "recommendation": worst.map(|finding| finding.remedy.as_str()).unwrap_or_default(),
        "affects": affects,
        "properties": properties,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": format!("defenseclaw:{name}"), "value": value })
}

fn rating(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}
