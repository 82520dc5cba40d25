//! The collections of `policies/evaluation`, and the runner with a stand-in for the tool.
#![expect(clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use defenseclaw_testkit::evaluation::artifacts;
use defenseclaw_testkit::evaluation::code;
use defenseclaw_testkit::evaluation::collection::{self, Label, Question, Split};
use defenseclaw_testkit::evaluation::inspector;

const CATEGORIES: [&str; 6] = [
    "secret",
    "command",
    "sensitive-path",
    "c2",
    "cognitive-file",
    "trust-exploit",
];

fn collections() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/evaluation")
}

#[test]
fn the_collections_can_be_read_and_are_large_enough_for_their_intervals() {
    let cases = collection::read(&collections()).expect("valid collections");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        *counts.entry(&case.set).or_default() += 1;
        if case.set == "everyday" {
            assert_eq!(case.label, Label::Benign, "{}", case.id);
            continue;
        }
        let text_only = case.set == "text" && ["injection", "pii"].contains(&case.category.as_str());
        assert!(
            text_only || CATEGORIES.contains(&case.category.as_str()),
            "{}: {}",
            case.id,
            case.category
        );
    }
    for (set, least) in [
        ("everyday", 6000),
        ("pairs", 1400),
        ("techniques", 400),
        ("text", 500),
    ] {
        assert!(counts.get(set).is_some_and(|count| *count >= least), "{counts:?}");
    }
}

#[test]
fn the_skills_can_be_read_and_each_harm_has_its_twin() {
    let skills = artifacts::read(&collections().join("artifacts")).expect("valid skills");
    let of = |label| skills.iter().filter(move |skill| skill.label == label);
    let (attacks, benign) = (of(Label::Attack).count(), of(Label::Benign).count());
    assert!(attacks >= 100 && benign >= attacks + 40, "{attacks} and {benign}");
    for attack in of(Label::Attack) {
        let twin = attack.id.trim_end_matches('a').to_owned() + "b";
        let twin = skills.iter().find(|skill| skill.id == twin).expect("a twin");
        assert_eq!(attack.side, twin.side, "{}", attack.id);
        assert_ne!(attack.files, twin.files, "{}", attack.id);
    }
    // Rules were looked over with all of these, or the model learned from them: nothing of them may count as held out, and of all
    // else a third has to be.
    let mut seen = 0;
    for folder in [
        "advisers",
        "almanac",
        "assorted",
        "audit",
        "betrayal",
        "blind",
        "brokers",
        "bulletin",
        "bundles",
        "chronicle",
        "classic",
        "clinics",
        "conduct",
        "council",
        "counter",
        "couriers",
        "depots",
        "endpoints",
        "envoys",
        "erosion",
        "fair",
        "foundry",
        "frontier",
        "gazette",
        "handlers",
        "harbor",
        "herald",
        "incidents",
        "insiders",
        "interfaces",
        "jury",
        "lab",
        "leaks",
        "ledgers",
        "lookalikes",
        "manifests",
        "market",
        "mirrors",
        "neighbours",
        "panel",
        "parley",
        "plain",
        "plugins",
        "poisons",
        "programs",
        "prose",
        "proxies",
        "published",
        "pulpit",
        "quiet",
        "quorum",
        "registry",
        "reports",
        "servers",
        "shelf",
        "stewards",
        "storefront",
        "strange",
        "strongbox",
        "supply",
        "toolboxes",
        "triage",
        "varied",
        "vaults",
        "voices",
        "volumes",
        "whispers",
        "workshop",
    ] {
        let of_folder = artifacts::read(&collections().join("artifacts").join(folder)).expect("valid skills");
        assert!(!of_folder.is_empty() && of_folder.iter().all(|skill| skill.side == Split::Dev));
        seen += of_folder.len();
    }
    let held = skills.iter().filter(|skill| skill.side == Split::Holdout).count();
    let others = skills.len() - seen;
    assert!(held * 3 > others, "{held} of {others} are held out");
}

#[test]
fn the_programs_can_be_read_and_each_language_has_eight_attacks_with_a_twin() {
    let programs = code::read(&collections().join("code")).expect("valid programs");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for attack in programs.iter().filter(|program| program.label == Label::Attack) {
        let twin = attack.id.trim_end_matches('a').to_owned() + "b";
        let twin = programs
            .iter()
            .find(|program| program.id == twin)
            .expect("a twin");
        assert!(
            attack.side == twin.side && attack.files != twin.files,
            "{}",
            attack.id
        );
        *counts
            .entry(attack.id.split('-').next().unwrap_or_default())
            .or_default() += 1;
    }
    assert!(
        counts.len() == 8 && counts.values().all(|&count| count >= 8),
        "{counts:?}"
    );
}

#[test]
fn every_question_is_one_line_with_its_marks_filled_and_no_answer_in_it() {
    for case in collection::read(&collections()).expect("valid collections") {
        let line = inspector::question(&case).expect("a question");
        assert!(!line.contains(['⟪', '⟫', '\n']), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let keys: Vec<&str> = value
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        match case.question {
            Question::Call { .. } => assert_eq!(keys, ["cwd", "id", "input", "tool"]),
            Question::Text { surface, .. } => {
                assert_eq!(keys, ["id", "surface", "text"]);
                assert!(
                    ["prompt", "completion", "tool_result"].contains(&surface.as_str()),
                    "{surface}"
                );
            }
        }
    }
}

/// What a forge's scanner would stop at: a known prefix followed by enough characters of a token.
#[test]
fn no_file_holds_what_a_scanner_takes_for_a_secret() {
    const PREFIXES: [(&str, usize); 16] = [
        ("AKIA", 16),
        ("ghp_", 36),
        ("github_pat_", 40),
        ("glpat-", 20),
        ("sk_live_", 20),
        ("xoxb-", 20),
        ("AIza", 35),
        ("sk-ant-", 20),
        ("sk-proj-", 20),
        ("npm_", 36),
        ("pypi-", 40),
        ("hf_", 30),
        ("SG.", 40),
        ("dop_v1_", 30),
        ("dckr_pat_", 20),
        ("hvs.", 20),
    ];
    let folders = [
        "",
        "artifacts",
        "artifacts/blind",
        "artifacts/near",
        "artifacts/strange",
        "artifacts/varied",
        "code",
    ]
    .map(|folder| collections().join(folder));
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("the folder"));
    let files = entries.map(|entry| entry.expect("an entry").path());
    for file in files.filter(|path| path.is_file()) {
        let text = fs::read_to_string(&file).expect("text");
        for (prefix, length) in PREFIXES {
            for (at, _) in text.match_indices(prefix) {
                let token: String = text[at + prefix.len()..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
                    .collect();
                let documented = token.ends_with("EXAMPLE") || token.chars().all(|c| "xX.".contains(c));
                assert!(
                    token.len() < length || documented,
                    "{}: {prefix}{token}",
                    file.display()
                );
            }
        }
    }
}

/// A tool that denies what contains `ATTACK`, asks about `ODD`, cannot read `BAD`, and allows the rest.
const STAND_IN: &str = r#"#!/bin/sh
[ "$*" = "inspect --jsonl" ] || exit 2
F='"findings":[{"rule":"r","category":"c2","severity":"HIGH","message":"m"}]'
exec sed -E \
  -e '/BAD/ s/.*"id":"([^"]*)".*/{"id":"\1","error":"unreadable"}/; t' \
  -e "/ATTACK/ s/.*\"id\":\"([^\"]*)\".*/{\"id\":\"\1\",\"verdict\":\"deny\",\"severity\":\"HIGH\",$F}/; t" \
  -e "/ODD/ s/.*\"id\":\"([^\"]*)\".*/{\"id\":\"\1\",\"verdict\":\"ask\",\"severity\":\"HIGH\",$F}/; t" \
  -e 's/.*"id":"([^"]*)".*/{"id":"\1","verdict":"allow","severity":"NONE","findings":[]}/'
"#;

fn stand_in(folder: &Path, script: &str) -> PathBuf {
    let program = folder.join("tool");
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    program
}

/// Runs `eval` over six calls with a tool.
fn eval(script: &str, options: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let case = |id: &str, pair: &str, label: &str, command: &str| {
        format!(
            r#"{{"id":"{id}","set":"pairs","category":"c2","label":"{label}","pair":"{pair}","tool":"Bash","input":{{"command":"{command}"}},"cwd":"/w"}}"#
        )
    };
    let lines = [
        case("1a", "first", "attack", "ATTACK ⟪github-pat⟫"),
        case("1b", "first", "benign", "ls"),
        case("2a", "second", "attack", "nothing to see"),
        case("2b", "second", "benign", "pwd"),
        case("3a", "third", "attack", "ATTACK"),
        case("3b", "third", "benign", "ODD"),
    ];
    let collections = folder.path().join("collections");
    fs::create_dir(&collections).expect("a folder");
    fs::write(collections.join("pairs.jsonl"), lines.join("\n")).expect("a collection");
    Command::new(env!("CARGO_BIN_EXE_eval"))
        .arg("--cli")
        .arg(stand_in(folder.path(), script))
        .arg("--collections")
        .arg(collections)
        .args(options)
        .output()
        .expect("eval runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn rates_are_counted_by_label() {
    let output = eval(STAND_IN, &["--split", "all", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let all = rows
        .iter()
        .find(|row| row["category"] == "*")
        .expect("the whole set");
    assert_eq!((&all["attack"], &all["benign"]), (&3.into(), &3.into()), "{all}");
    assert_eq!(all["recall_verdict"]["hits"], 2, "{all}");
    assert_eq!(all["recall_finding"]["hits"], 2, "{all}");
    assert_eq!(all["false_objected"]["hits"], 1, "{all}");
    assert_eq!(all["false_denied"]["hits"], 0, "{all}");
    assert_eq!(all["false_found"]["hits"], 1, "{all}");
    let pairs = rows
        .iter()
        .find(|row| row["pairs_right"].is_object())
        .expect("pairs");
    assert_eq!(
        (&pairs["pairs_right"]["hits"], &pairs["pairs_right"]["of"]),
        (&1.into(), &3.into())
    );
    assert!(rows.last().expect("a last row")["lines_per_second"].is_number());
}

#[test]
fn the_table_shows_intervals() {
    let output = eval(STAND_IN, &["--split", "all"]);
    let table = text(&output.stdout);
    assert!(table.contains("66.67 [20.77, 93.85]"), "{table}");
    assert!(table.contains("lines a second"), "{table}");
}

#[test]
fn misses_are_shown_of_the_development_part_only() {
    for split in ["all", "holdout"] {
        let refused = eval(STAND_IN, &["--split", split, "--misses"]);
        assert!(!refused.status.success());
        assert!(
            text(&refused.stderr).contains("dev only"),
            "{}",
            text(&refused.stderr)
        );
    }
    let shown = eval(STAND_IN, &["--misses"]);
    let out = text(&shown.stdout);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(out.contains(r#""wanted":"noticed""#), "{out}");
}

#[test]
fn a_case_that_the_tool_cannot_read_is_an_error_and_no_success() {
    let script = STAND_IN.replace("/BAD/", "/nothing to see/");
    let output = eval(&script, &["--split", "all", "--json"]);
    let out = text(&output.stdout);
    assert!(out.contains(r#""errors":1"#), "{out}");
}

#[test]
fn answers_missing_or_out_of_order_stop_the_measurement() {
    let short = eval("#!/bin/sh\nhead -n 1 >/dev/null\n", &["--split", "all"]);
    assert!(!short.status.success());
    assert!(
        text(&short.stderr).contains("0 of 6 answers"),
        "{}",
        text(&short.stderr)
    );
    let answer = r#"{"id":"9","verdict":"allow","severity":"NONE","findings":[]}"#;
    let wrong = eval(&format!("#!/bin/sh\necho '{answer}'\n"), &["--split", "all"]);
    assert!(
        text(&wrong.stderr).contains("order is part of the contract"),
        "{}",
        text(&wrong.stderr)
    );
}
