//! Names, fields, paths and patches in; kinds of action out.

use defenseclaw_model::call::CallKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::table::check_union;
use super::*;

fn kind(tool: &str, input: Value) -> CallKind {
    kind_of(tool, &input, Some("/home/kim/w"), Some("/home/kim"))
}

fn command(text: &str) -> CallKind {
    CallKind::Command {
        command: text.into(),
        background: false,
    }
}

fn write(paths: &[&str]) -> CallKind {
    CallKind::FileWrite {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn read(path: &str) -> CallKind {
    CallKind::FileRead {
        paths: vec![path.into()],
    }
}

#[test]
fn every_spelling_of_a_shell_runs_a_command() {
    for (tool, input) in [
        ("Bash", json!({"command": "ls -l"})),
        ("run_shell_command", json!({"command": "ls -l"})),
        ("RunShellCommand", json!({"command": "ls -l"})),
        ("exec_command", json!({"cmd": "ls -l"})),
        ("shell", json!({"command": ["bash", "-lc", "ls -l"]})),
        ("local_shell", json!({"command": ["/bin/sh", "-c", "ls -l"]})),
        ("run_command", json!({"CommandLine": "ls -l"})),
        ("terminal", json!({"command": "ls -l"})),
        ("container.exec", json!({"cmd": ["ls", "-l"]})),
        ("Bash", json!("ls -l")),
        ("some_vendor_tool", json!({"command": "ls -l"})),
    ] {
        assert_eq!(kind(tool, input), command("ls -l"), "{tool}");
    }
    let background = json!({"command": "x", "run_in_background": true});
    assert_eq!(
        kind("Bash", background),
        CallKind::Command {
            command: "x".into(),
            background: true
        }
    );
}

#[test]
fn arguments_become_the_line_that_means_the_same() {
    for (argv, line) in [
        (&["rm", "-rf", "a b"][..], "rm -rf 'a b'"),
        (&["echo", "it's"], r"echo 'it'\''s'"),
        (&["bash", "-c", "ls", "zero"], "bash -c ls zero"),
        (&["bash", "x.sh"], "bash x.sh"),
        (&["echo", "$HOME", ""], "echo '$HOME' ''"),
        (&["/usr/bin/zsh", "-lc", "ls | wc"], "ls | wc"),
    ] {
        assert_eq!(command_line(argv), line);
    }
}

#[test]
fn editors_write_and_viewers_read() {
    assert_eq!(
        kind("Write", json!({"file_path": "/w/a", "content": "x"})),
        write(&["/w/a"])
    );
    assert_eq!(
        kind("write_to_file", json!({"TargetFile": "/w/a", "CodeContent": "x"})),
        write(&["/w/a"])
    );
    let edit = |word: &str| json!({"command": word, "path": "a.txt"});
    assert_eq!(
        kind("str_replace_based_edit_tool", edit("create")),
        write(&["/home/kim/w/a.txt"])
    );
    assert_eq!(
        kind("str_replace_based_edit_tool", edit("view")),
        read("/home/kim/w/a.txt")
    );
    assert_eq!(
        kind("read_file", json!({"absolute_path": "~/.ssh/id_rsa"})),
        read("/home/kim/.ssh/id_rsa")
    );
    assert_eq!(
        kind("move_file", json!({"source": "a", "destination": "/b"})),
        write(&["/b", "/home/kim/w/a"])
    );
    assert_eq!(
        kind("unheard_of", json!({"path": "/etc/hosts", "content": "x"})),
        write(&["/etc/hosts"])
    );
    assert_eq!(
        kind("unheard_of", json!({"path": "/etc/hosts"})),
        read("/etc/hosts")
    );
    assert_eq!(kind("unheard_of", json!({"n": 1})), CallKind::Other);
    assert_eq!(
        kind("Task", json!({"prompt": "x", "path": "/a"})),
        CallKind::Other
    );
}

#[test]
fn searches_start_here_unless_they_say_where() {
    let search = |path: &str| CallKind::FileSearch {
        paths: vec![path.into()],
    };
    assert_eq!(kind("Grep", json!({"pattern": "x"})), search("/home/kim/w"));
    assert_eq!(
        kind("list_directory", json!({"dir_path": "sub"})),
        search("/home/kim/w/sub")
    );
}

#[test]
fn a_command_works_where_its_input_says() {
    let folder = |tool, input: Value| folder_of(tool, &input, Some("/home/kim/w"), Some("/home/kim"));
    assert_eq!(
        folder("exec_command", json!({"cmd": "cat id_rsa", "workdir": "~/.ssh"})).as_deref(),
        Some("/home/kim/.ssh")
    );
    assert_eq!(
        folder("run_shell_command", json!({"command": "ls", "dir_path": "sub"})).as_deref(),
        Some("/home/kim/w/sub")
    );
    assert_eq!(
        folder("unheard_of", json!({"command": "ls", "cwd": "/srv"})).as_deref(),
        Some("/srv")
    );
    assert_eq!(folder("Bash", json!({"command": "ls"})), None);
    assert_eq!(folder("mcp__x__y", json!({"command": "ls", "cwd": "/srv"})), None);
}

#[test]
fn what_an_mcp_server_does_is_no_action_of_the_harness() {
    for tool in [
        "mcp__files__read_file",
        "mcp_files_write",
        "MCP:shell",
        "mcp__x__y",
    ] {
        assert_eq!(
            kind(tool, json!({"command": "rm", "path": "/a"})),
            CallKind::Other,
            "{tool}"
        );
    }
    assert_eq!(kind("mcpower", json!({"command": "rm"})), command("rm"));
}

#[test]
fn a_patch_names_its_files() {
    let patch = "*** Begin Patch\n*** Add File: a/new.rs\n+*** Delete File: no\n*** Update File: /etc/x\n\
                 *** Move to: /etc/y\n@@\n-a\n+b\n*** Delete File: old.rs\n*** End Patch\n";
    let expected = write(&["/home/kim/w/a/new.rs", "/etc/x", "/etc/y", "/home/kim/w/old.rs"]);
    for field in ["command", "patch", "input", "patchText"] {
        assert_eq!(kind("apply_patch", json!({ field: patch })), expected, "{field}");
    }
    assert_eq!(kind("apply_patch", json!(patch)), expected);
    let diff = "--- a/src/x.rs\t2026\n+++ b/src/x.rs\t2026\n@@ -1 +1 @@\n--- not a heading\n+++\n--- a/gone\n+++ /dev/null\n";
    assert_eq!(paths_of_patch(diff), ["src/x.rs", "gone"]);
}

#[test]
fn a_relative_path_without_a_folder_is_not_made_up() {
    let no_folder = kind_of("Read", &json!({"file_path": "a"}), None, None);
    assert_eq!(no_folder, CallKind::Other);
    let relative = kind_of("Read", &json!({"file_path": "a"}), Some("w"), None);
    assert_eq!(relative, CallKind::Other);
    assert_eq!(
        kind_of("Read", &json!({"file_path": "file:///etc/x"}), None, None),
        read("/etc/x")
    );
}

#[test]
fn selectors_reach_into_lists() {
    let value = json!({"a": {"b": [{"c": 1}, {"c": null}, {"c": 3}, 4]}, "n": null});
    let all = |text: &str| Selector::new(text).unwrap().all(&value).len();
    assert_eq!(all("a.b[].c"), 2);
    assert_eq!(all("a.b[]"), 4);
    assert_eq!(all("n"), 0);
    assert_eq!(Selector::new("a.b[].c").unwrap().first(&value), Some(&json!(1)));
    for bad in ["", ".", "a..b", "a[0]", "[]", "a.b.c.d.e.f.g.h.i", "a b"] {
        assert!(Selector::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_table_with_a_mistake_is_refused() {
    let refused = |text: &str| check_union(text).unwrap_err().to_string();
    let tail = "by_fields: []\n";
    let twice = "version: 1\ntools:\n  - { names: [a_b], kind: other }\n  - { names: [AB], kind: other }\n";
    assert!(refused(&format!("{twice}{tail}")).contains("given twice"));
    assert!(refused(&format!("version: 2\ntools: []\n{tail}")).contains("version 2"));
    let nowhere = "version: 1\ntools:\n  - { names: [a], kind: command }\n";
    assert!(refused(&format!("{nowhere}{tail}")).contains("not where"));
    let typo = "version: 1\ntools:\n  - { names: [a], knid: other }\n";
    assert!(refused(&format!("{typo}{tail}")).contains("knid"));
    let selector = "version: 1\ntools:\n  - { names: [a], kind: command, at: [\"a..b\"] }\n";
    assert!(refused(&format!("{selector}{tail}")).contains("selects nothing"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("(command|path|file_path|edits|patch|url|[a-z]{0,4})", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(tool in "(Bash|Edit|Grep|apply_patch|WebFetch|mcp__x|.{0,8})", input in any_json()) {
        let _ = kind_of(&tool, &input, Some("/w"), Some("/home/kim"));
    }

    #[test]
    fn paths_come_out_absolute_and_plain(path in "[a-z./~]{0,24}") {
        if let CallKind::FileRead { paths } = kind("Read", json!({"file_path": path})) {
            prop_assert!(paths[0].starts_with('/') && !paths[0].contains("//"));
            prop_assert!(!paths[0].split('/').any(|part| part == ".." || part == "."));
        }
    }

    #[test]
    fn quoting_is_undone_by_a_shell(words in prop::collection::vec("[a-z '\"$\\\\*;|&]{1,8}", 1..4)) {
        let argv: Vec<&str> = std::iter::once("printf").chain(["%s\\n"]).chain(words.iter().map(String::as_str)).collect();
        let output = std::process::Command::new("sh").args(["-c", &command_line(&argv)]).output().unwrap();
        let expected: String = words.iter().map(|word| format!("{word}\n")).collect();
        prop_assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}

#[test]
fn what_is_typed_into_a_running_shell_is_a_command() {
    let kind = |tool: &str, input: Value| kind_of(tool, &input, Some("/w"), None);
    let command = |text: &str| CallKind::Command {
        command: text.into(),
        background: false,
    };
    let typed = json!({"session_id": 1, "chars": "rm -rf ~\n"});
    assert_eq!(kind("write_stdin", typed), command("rm -rf ~\n"));
    assert_eq!(
        kind("write_stdin", json!({"session_id": 1})),
        command(""),
        "a look"
    );
    assert_eq!(
        kind("new_terminal_tool", json!({"keystrokes": "id\n"})),
        command("id\n")
    );
}
