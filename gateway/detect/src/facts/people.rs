//! Files about people, by their names, that go to a web address which is not this network's.

use defenseclaw_model::facts::BehaviourKind::Exfiltration;
use defenseclaw_model::facts::FlowKind;

use super::Analysis;

/// What files about people are called: a file of `users` or `contacts` is more often a test's.
const PEOPLE: &[&str] = &[
    "patient",
    "employee",
    "salar",
    "payroll",
    "customers",
    "customer_",
    "clients_",
    "personnel",
    "medical",
    "diagnoses",
    "diagnosis",
    "students",
    "passports",
    "kunden",
    "mitarbeiter",
    "gehalt",
    "bewerber",
    "applicants",
    "health_records",
];

/// Parts of names that say that nobody is meant.
const MADE_UP: &[&str] = &[
    "synthetic",
    "sample",
    "example",
    "mock",
    "fake",
    "dummy",
    "seed",
    "fixture",
    "test",
    "demo",
    "schema",
    "template",
    "anonym",
    "stats",
    "count",
];

/// Ends of files that hold data.
const DATA: &[&str] = &[
    "csv", "tsv", "xlsx", "xls", "ods", "json", "jsonl", "ndjson", "parquet", "sql", "db", "sqlite",
    "sqlite3", "dump", "gz", "zip", "tgz", "zst", "pdf", "docx", "rds", "feather", "xml", "txt", "gpg",
];

/// Whether a file's name says that it holds data about people.
pub(super) fn is_about(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    DATA.contains(&end)
        && PEOPLE.iter().any(|part| name.contains(part))
        && !MADE_UP.iter().any(|part| path.contains(part))
}

/// Notes the files about people among what goes to web addresses.
pub(super) fn note(analysis: &mut Analysis) {
    let facts = &analysis.facts;
    let sent = facts.flows.iter().find(|flow| {
        let (from, to) = (&flow.from, &flow.to);
        from.kind == FlowKind::File
            && to.kind == FlowKind::Network
            && is_about(&from.what)
            && is_web(analysis, &to.what)
    });
    if let Some(host) = sent.map(|flow| flow.to.what.clone()) {
        analysis.behave(Exfiltration, "people", host, None);
    }
}

/// Whether `host` is reached by a web address; copies to one's own hosts by name are another thing.
fn is_web(analysis: &Analysis, host: &str) -> bool {
    let inside = [".internal", ".local", ".corp", ".lan"];
    !host.is_empty()
        && !inside.iter().any(|end| host.ends_with(end))
        && analysis.facts.programs.iter().any(|program| {
            program.argv.iter().any(|word| {
                word.match_indices(host)
                    .any(|(at, _)| word[..at].ends_with("https://") || word[..at].ends_with("http://"))
            })
        })
}
