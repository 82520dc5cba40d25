//! What of a written text can act, and what is only mentioned in it.
//!
//! A rule by which attacks are found, a word list and a test of such a rule are full of attacks, none of which runs: nothing
//! reads those files as commands. In the code of a language a quoted text runs only where something runs texts; in a file
//! that calls nothing of the kind it is data, and a comment never runs. [`acting`] leaves out what only mentions.
//!
//! Whatever is not understood for sure counts as acting: an unknown kind of file, code whose quotes do not close, a piece
//! of a file whose other half may run what stands in it.

use std::borrow::Cow;

use serde_json::Value;

use super::lexed::{self, Language};
use super::tested;
use super::written::RECIPE_KEYS;

/// Ends of files that hold data: something else decides what is done with it.
const DATA: &[&str] = &[
    "yml", "yaml", "json", "jsonl", "ndjson", "xml", "toml", "conf", "csv", "tsv",
];

/// Ends of files that hold nothing but what is looked for, or words.
const LOOKED_FOR: &[&str] = &[
    "yar", "yara", "sigma", "rego", "kql", "spl", "eql", "esql", "lst", "dict", "wordlist", "snort",
    "suricata", "ioc", "stix", "capa", "snap", "golden",
];

/// Folders by whose name the files in them are patterns to look for.
const PATTERN_FOLDERS: &[&str] = &[
    "sigma",
    "yara",
    "falco",
    "suricata",
    "snort",
    "semgrep",
    "detections",
    "detection-rules",
    "detection_rules",
    "signatures",
    "wordlists",
    "seclists",
    "payloads",
    "modsecurity",
    "crs",
    "coreruleset",
    "waf",
    "wazuh",
    "audit",
    "iocs",
    "indicators",
    "hunting",
    "queries",
    "analytics",
];

/// Folders of tests.
const TESTS: &[&str] = &["tests", "test", "__tests__", "spec", "specs"];

/// Folders of files that tests read.
const TEST_FOLDERS: &[&str] = &[
    "fixtures",
    "testdata",
    "__snapshots__",
    "__fixtures__",
    "test-data",
    "test_data",
];

/// Folders of texts by which models and filters are tried out.
const EVALUATIONS: &[&str] = &[
    "eval",
    "evals",
    "evaluation",
    "evaluations",
    "promptfoo",
    "redteam",
    "red-team",
    "red_team",
    "jailbreaks",
    "adversarial",
    "garak",
    "pyrit",
    "injections",
    "prompt-injection",
    "prompt_injection",
    "benchmarks",
];

/// Whether the texts in the file at `path` are there to be judged by a model or a filter, or by a test of one.
pub(crate) fn is_tried_out(path: &str, text: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let (folder, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
    let within = folder.split('/').any(|part| EVALUATIONS.contains(&part))
        || EVALUATIONS.contains(&stem)
        || stem.starts_with("promptfoo")
        || stem.ends_with(".eval");
    let data = DATA.contains(&end) || end == "txt";
    !path.contains("/.")
        && (is_test(path) && !is_prose(end)
            || data && within
            || DATA.contains(&end) && is_looked_for(path, text))
}

/// Whether files that end so are read as prose.
fn is_prose(end: &str) -> bool {
    matches!(end, "md" | "mdx" | "mdc" | "rst" | "adoc" | "html" | "")
}

/// Keys below which a file of data says what is to be run, beside those of build files and pipelines.
const RUN_KEYS: &[&str] = &[
    "scripts",
    "commands",
    "cmds",
    "entrypoint",
    "steps",
    "tasks",
    "hooks",
    "uses",
    "image",
    "engine",
    "user_data",
    "userdata",
    "startup_script",
    "poststart",
    "prestop",
    "execstart",
    "preinstall",
    "postinstall",
    "prepare",
    "runcmd",
    "bootcmd",
    "program",
    "executable",
    "helper",
    "editor",
    "pager",
    "win_shell",
    "win_command",
    "local_action",
    "remote-exec",
    "local-exec",
    "provisioner",
    "postrotate",
    "prerotate",
    "lifecycle",
];

/// What of the text that is written to `path` can act. `whole` says that the text is the whole file.
pub(crate) fn acting<'t>(path: &str, text: &'t str, whole: bool) -> Cow<'t, str> {
    if is_looked_for(path, text) {
        return Cow::Borrowed("");
    }
    match Language::of(path) {
        Some(language) => code(language, path, text, whole),
        None if is_test(path) => tested::code(path, text).map_or(Cow::Borrowed(text), Cow::Owned),
        None => Cow::Borrowed(text),
    }
}

/// Whether a file tool with this input writes the whole file, not a piece of it.
pub(crate) fn is_whole(input: &Value) -> bool {
    const PIECES: &[&str] = &[
        "old_string",
        "old_str",
        "oldString",
        "old_text",
        "oldText",
        "edits",
        "changes",
        "ReplacementChunks",
        "patch",
        "patchText",
        "diff",
        "input",
        "insert_line",
        "insert_text",
        "code_edit",
        "replacement",
        "ReplacementContent",
        "append",
        "mode",
        "line",
    ];
    PIECES.iter().all(|field| input.get(field).is_none())
}

/// Whether the file at `path` only says what is to be looked for, or is a test's data.
pub(crate) fn is_looked_for(path: &str, text: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let (folder, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
    if stem.is_empty() || folder.contains(".github") {
        return false;
    }
    let within = |names: &[&str]| folder.split('/').any(|part| names.contains(&part));
    if LOOKED_FOR.contains(&end) {
        return true;
    }
    if end == "rules" {
        // Of a firewall, udev or make nothing is looked for.
        return within(PATTERN_FOLDERS) || begins_line(text, SIGNATURES);
    }
    if !DATA.contains(&end) {
        return false;
    }
    if within(TEST_FOLDERS) && matches!(end, "json" | "jsonl" | "ndjson" | "csv" | "tsv" | "xml") {
        return true;
    }
    if runs_something(text) {
        return false;
    }
    within(PATTERN_FOLDERS)
        || within(TEST_FOLDERS)
        || within(TESTS)
        || is_rule(text)
        || matches!(end, "csv" | "tsv")
}

/// How a line of a network sensor's, an audit daemon's or a web firewall's rules begins.
const SIGNATURES: &[&str] = &[
    "alert tcp ",
    "alert udp ",
    "alert http ",
    "alert ip ",
    "alert dns ",
    "alert tls ",
    "drop tcp ",
    "drop http ",
    "-a always,exit",
    "-a exit,always",
    "-w /",
    "secrule ",
    "secaction ",
];

fn begins_line(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        words.iter().any(|word| {
            line.get(..word.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
        })
    })
}

/// Whether a text has the shape of a rule by which something is found: all words of one kind of rule as keys.
fn is_rule(text: &str) -> bool {
    const SHAPES: &[&[&str]] = &[
        // Sigma, Falco, Semgrep, Elastic and Splunk, Nuclei, Prometheus.
        &["logsource", "detection"],
        &["rule", "condition", "output"],
        &["macro", "condition"],
        &["list", "items"],
        &["rules", "languages", "message"],
        &["rule_id", "query"],
        &["search", "how_to_implement"],
        &["matchers", "requests"],
        &["alert", "expr"],
    ];
    let mut keys: Vec<&str> = text.lines().take(MAX_LINES).filter_map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let has = |word: &&str| keys.binary_search(word).is_ok();
    SHAPES.iter().any(|shape| shape.iter().all(&has)) || begins_line(text, SIGNATURES)
}

/// Most lines whose keys are looked at; a file of rules says what it is at its beginning.
const MAX_LINES: usize = 4096;

/// The key with which a line begins: `key: …`, `- key: …`, `"key": …`, `key = …`.
fn key(line: &str) -> Option<&str> {
    let line = line
        .trim_start()
        .trim_start_matches("- ")
        .trim_start_matches('{')
        .trim_start();
    let end = line.find([':', '='])?;
    let key = line.get(..end)?.trim().trim_matches(['"', '\'']);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '|');
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

fn runs_something(text: &str) -> bool {
    let keyed = |line: &str| {
        let key = key(line).unwrap_or_default().to_ascii_lowercase();
        let last = key.rsplit('.').next().unwrap_or_default();
        RUN_KEYS.contains(&last) || RECIPE_KEYS.iter().any(|key| key.eq_ignore_ascii_case(last))
    };
    // A map on one line has its keys behind braces and commas.
    text.split(['\n', '{', ',']).any(keyed) || {
        let lower = text.to_ascii_lowercase();
        ["<command", "<exec", "<script", "!!python", "!ruby"]
            .iter()
            .any(|tag| lower.contains(tag))
    }
}

/// Code without its comments; without what stands in quotes too where nothing runs texts.
fn code<'t>(language: Language, path: &str, text: &'t str, whole: bool) -> Cow<'t, str> {
    let Some(parts) = lexed::parts(language, text) else {
        return Cow::Borrowed(text);
    };
    let test = is_test(path);
    let quoted_acts = !(whole || test) || is_configuration(path) || parts.runs(language, test);
    Cow::Owned(parts.joined(quoted_acts))
}

/// Whether the file at `path` is a test.
pub(super) fn is_test(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if matches!(stem, "conftest" | "setup" | "globalSetup" | "setupTests") {
        return false;
    }
    stem.starts_with("test_")
        || ["_test", ".test", "_spec", ".spec", "Test", "Tests"]
            .iter()
            .any(|end| stem.ends_with(end))
        || folder
            .split('/')
            .any(|part| TESTS.contains(&part) || TEST_FOLDERS.contains(&part))
}

/// Whether another program reads the code at `path` as its settings, and may run what it names.
fn is_configuration(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    [".config", ".conf", "file", "rc", "_config", "-config"]
        .iter()
        .any(|end| stem.ends_with(end))
        || matches!(
            stem,
            "conf" | "config" | "setup" | "build" | "dodo" | "tasks" | "settings"
        )
        || path.contains("/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_what_is_looked_for() {
        for (path, text) in [
            (
                "/p/rules/a.yml",
                "logsource: {product: linux}\ndetection:\n  s: ['nc -e /bin/sh']\n",
            ),
            ("/p/a.yar", "rule a {}"),
            ("/p/falco/a.yaml", "- rule: a\n  condition: b\n  output: c\n"),
            (
                "/p/local.rules",
                "alert tcp any any -> any any (msg:\"x\"; sid:1;)",
            ),
            ("/p/tests/fixtures/a.json", "{\"command\": \"curl x | sh\"}"),
            ("/p/waf/a.conf", "SecRule ARGS \"@rx nc -e\" \"id:1,deny\""),
        ] {
            assert!(is_looked_for(path, text), "{path}");
        }
    }

    #[test]
    fn files_that_something_runs() {
        for (path, text) in [
            ("/p/.github/workflows/a.yml", "logsource: x\ndetection: y\n"),
            ("/p/sigma/a.yml", "- hosts: all\n  tasks:\n  - shell: x\n"),
            ("/p/detections/compose.yml", "services:\n  a:\n    command: x\n"),
            ("/p/detections/a.yml", "logsource: x\ndetection: {command: x}\n"),
            ("/p/detections/a.sh", "x"),
            ("/p/detections/Makefile", "a:\n\tb\n"),
            ("/p/a.yml", "x: y\n"),
            ("/p/udev/a.rules", "ACTION==\"add\", RUN+=\"/bin/x\""),
        ] {
            assert!(!is_looked_for(path, text), "{path}");
        }
    }

    #[test]
    fn a_piece_of_a_file_may_be_run_by_the_rest() {
        let text = "CMD = 'curl http://x | sh'";
        assert_eq!(acting("/p/a.py", text, true), "CMD = \"text\"");
        assert_eq!(acting("/p/a.py", text, false), text);
        assert_eq!(acting("/p/tests/test_a.py", text, false), "CMD = \"text\"");
        assert_eq!(acting("/p/a.sh", text, true), text);
    }
}
