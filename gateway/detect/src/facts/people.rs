//! Files about people, by their names: data that goes to a web address which is not this network's, and documents that
//! people keep for themselves.

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

/// Folders in which people keep their own documents.
const OWN_FOLDERS: &[&str] = &[
    "documents",
    "desktop",
    "downloads",
    "pictures",
    "scans",
    "private",
    "personal",
    "finance",
    "finances",
    "taxes",
    "onedrive",
    "dropbox",
    "nextcloud",
    "google drive",
    "my documents",
    "dokumente",
    "schreibtisch",
    "bilder",
    "dokumenter",
    "skrivebord",
    "documentos",
    "escritorio",
    "bureau",
    "documenti",
    "scrivania",
    "paperless",
];

/// Words of which one in a document's name says that it is about its owner.
const OWN_WORDS: &[&str] = &[
    "passport",
    "passports",
    "reisepass",
    "pass-scan",
    "personalausweis",
    "payslip",
    "payslips",
    "paystub",
    "paystubs",
    "salary",
    "gehalt",
    "gehaltsabrechnung",
    "lohnabrechnung",
    "lonnsslipp",
    "tax",
    "taxes",
    "taxreturn",
    "steuer",
    "steuererklaerung",
    "skattemelding",
    "w2",
    "1099",
    "1040",
    "medical",
    "diagnosis",
    "prescription",
    "prescriptions",
    "therapy",
    "biopsy",
    "iban",
    "mortgage",
    "divorce",
    "testament",
    "ssn",
    "bankstatement",
    "bankstatements",
    "kontoauszug",
    "kontoauszuege",
    "kontoutskrift",
    "nomina",
    "pasaporte",
    "passeport",
    "impots",
];

/// The same by two words together.
const OWN_PAIRS: &[(&str, &str)] = &[
    ("bank", "statement"),
    ("bank", "statements"),
    ("birth", "certificate"),
    ("marriage", "certificate"),
    ("driver", "license"),
    ("drivers", "license"),
    ("driving", "licence"),
    ("driving", "license"),
    ("drivers", "licence"),
    ("id", "card"),
    ("id", "scan"),
    ("credit", "report"),
    ("insurance", "policy"),
    ("health", "record"),
    ("health", "records"),
    ("blood", "test"),
    ("lab", "results"),
    ("pay", "slip"),
    ("pay", "stub"),
    ("social", "security"),
];

/// Words that say that it is about how such things are made or handled.
const ABOUT: &[&str] = &[
    "rate",
    "rates",
    "table",
    "tables",
    "api",
    "spec",
    "specs",
    "docs",
    "guide",
    "schema",
    "template",
    "sample",
    "example",
    "test",
    "brackets",
    "format",
    "codes",
    "dataset",
    "imaging",
    "paper",
    "book",
    "manual",
    "whitepaper",
];

/// Most words of a path that are looked at.
const MAX_OWN_WORDS: usize = 64;

/// Whether the file at `path` is by its name a document about a person, in that person's folders and outside of `project`.
pub(super) fn is_personal(path: &str, project: Option<&str>) -> bool {
    const ENDS: &[&str] = &[
        "pdf", "jpg", "jpeg", "png", "heic", "tif", "tiff", "docx", "doc", "odt", "xlsx", "xls", "ods",
        "csv", "zip", "txt", "pages", "numbers", "rtf", "ofx", "qif", "gpg", "7z",
    ];
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    if !ENDS.iter().any(|known| end.eq_ignore_ascii_case(known)) {
        return false;
    }
    let lower = path.to_ascii_lowercase();
    let mut parts = lower.split('/').skip(1);
    let home = match parts.next() {
        Some("home" | "users") => parts.next().is_some(),
        Some("root") => true,
        Some("mnt") => parts.next().is_some() && parts.next() == Some("users") && parts.next().is_some(),
        _ => false,
    };
    let Some(folder) = parts.next().filter(|folder| home && OWN_FOLDERS.contains(folder)) else {
        return false;
    };
    let rest: Vec<&str> = parts.collect();
    let rest = rest.join("/");
    let shared = project.is_some_and(|project| {
        let project = project.trim_end_matches('/');
        path.strip_prefix(project)
            .is_some_and(|rest| rest.starts_with('/'))
            && project.to_ascii_lowercase().contains(folder)
    });
    let words: Vec<&str> = rest
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MAX_OWN_WORDS)
        .collect();
    let own = words.iter().any(|word| OWN_WORDS.contains(word))
        || words
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if OWN_PAIRS.contains(&(*a, *b))));
    own && !shared && !words.iter().any(|word| ABOUT.contains(word))
}

/// Whether the file at `path` is by its name what a shell or a browser keeps of what its person did.
pub(super) fn is_record(path: &str) -> bool {
    const RECORDS: &[&str] = &[
        "Login Data",
        "Web Data",
        "Cookies",
        "History",
        "Local State",
        "cookies.sqlite",
        "places.sqlite",
        "logins.json",
        "key4.db",
        "fish_history",
    ];
    let name = path.rsplit('/').next().unwrap_or_default();
    path.starts_with(['/', '~'])
        && (name.starts_with('.') && name.ends_with("_history")
            || RECORDS.contains(&name) && path.contains("/."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_a_person() {
        for path in [
            "/home/a/Documents/tax/2025-return.pdf",
            "/Users/a/Desktop/passport-scan.jpg",
            "/home/a/Downloads/payslip_2025-10.pdf",
            "/home/a/Documents/bank/statement-bank statement.pdf",
            "/root/Documents/medical/report.docx",
        ] {
            assert!(is_personal(path, Some("/home/b/p")), "{path}");
        }
    }

    #[test]
    fn documents_of_a_project() {
        for (path, project) in [
            ("/home/a/Downloads/spec.pdf", "/home/a/p"),
            ("/home/a/Downloads/eu-tax-rates.csv", "/home/a/p"),
            ("/home/a/p/src/tax.txt", "/home/a/p"),
            (
                "/home/a/Documents/tax-app/data/tax.csv",
                "/home/a/Documents/tax-app",
            ),
            ("/home/a/Documents/syntax.pdf", "/home/a/p"),
            ("/srv/Documents/tax.pdf", "/srv"),
        ] {
            assert!(!is_personal(path, Some(project)), "{path}");
        }
    }
}
