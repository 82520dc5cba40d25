use proptest::prelude::*;
use serde_json::json;

use super::*;

const CONNECTOR: Ours<'static> = Ours { connector: "probe" };

fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

fn hook(command: &str) -> Value {
    json!({"matcher": "*", "hooks": [{"type": "command", "command": command, "timeout": 10}]})
}

fn append(at: &str) -> Edit {
    Edit::Append {
        at: path(at),
        value: hook("/usr/bin/defenseclaw-hook probe"),
        if_present: false,
    }
}

fn set(at: &str, value: Value, existing: Existing) -> Edit {
    Edit::Set {
        at: path(at),
        value,
        existing,
    }
}

fn both() -> Vec<Edit> {
    vec![append("hooks.PreToolUse"), append("hooks.Stop")]
}

/// Installs, checks what the text says, takes out again and expects the very same bytes.
fn there_and_back(text: &str, format: Format, edits: &[Edit]) -> String {
    let (new, trace) =
        apply(text, format, edits, CONNECTOR).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(
        presence(&new, format, edits, CONNECTOR).unwrap(),
        Presence::Whole,
        "{new}"
    );
    let (again, nothing) = apply(&new, format, edits, CONNECTOR).unwrap();
    assert_eq!(
        (again.as_str(), nothing),
        (new.as_str(), Trace::default()),
        "a second time changes nothing"
    );
    let back = undo(&new, format, edits, &trace, CONNECTOR).unwrap();
    let mut before = read(text, format).unwrap();
    if before.get("hooks").is_some_and(Value::is_null) {
        before["hooks"] = json!({}); // To a harness, and to YAML once it was written out, the same.
    }
    assert_eq!(read(&back, format).unwrap(), before, "{back}");
    new
}

#[test]
fn json_keeps_comments_order_and_spacing() {
    let text = "// mine\n{\n    \"z\": 1, // last letter first\n    \"hooks\": {\n        /* two */ \"PreToolUse\": [ { \"matcher\": \"Bash\", \"hooks\": [] } ]\n    },\n    \"a\": [1,2 ,  3,],\n}\n";
    insta::assert_snapshot!(there_and_back(text, Format::Jsonc, &both()), @r#"
    // mine
    {
        "z": 1, // last letter first
        "hooks": {
            /* two */ "PreToolUse": [ { "matcher": "Bash", "hooks": [] },
                {
                    "hooks": [
                        {
                            "command": "/usr/bin/defenseclaw-hook probe",
                            "timeout": 10,
                            "type": "command"
                        }
                    ],
                    "matcher": "*"
                } ],
            "Stop": [
                {
                    "hooks": [
                        {
                            "command": "/usr/bin/defenseclaw-hook probe",
                            "timeout": 10,
                            "type": "command"
                        }
                    ],
                    "matcher": "*"
                }
            ]
        },
        "a": [1,2 ,  3,],
    }
    "#);
}

#[test]
fn toml_keeps_comments_order_and_spacing() {
    let text = "# mine\nmodel   = 'o'  # why\n\n[hooks]\nmanaged_dir = \"/srv\"\n\n[[hooks.PreToolUse]]\nmatcher = \"^Bash$\"\nhooks = []\n\n[projects.\"/w\"]\ntrust_level = \"trusted\" # yes\n";
    insta::assert_snapshot!(there_and_back(text, Format::Toml, &both()), @r#"
    # mine
    model   = 'o'  # why

    [hooks]
    managed_dir = "/srv"

    [[hooks.PreToolUse]]
    matcher = "^Bash$"
    hooks = []

    [[hooks.PreToolUse]]
    matcher = "*"

    [[hooks.PreToolUse.hooks]]
    command = "/usr/bin/defenseclaw-hook probe"
    timeout = 10
    type = "command"

    [[hooks.Stop]]
    matcher = "*"

    [[hooks.Stop.hooks]]
    command = "/usr/bin/defenseclaw-hook probe"
    timeout = 10
    type = "command"

    [projects."/w"]
    trust_level = "trusted" # yes
    "#);
}

#[test]
fn yaml_keeps_comments_order_and_spacing() {
    let text = "# mine\nmodel: x   # why\nhooks:\n  # guards\n  PreToolUse:\n    - matcher: Bash\n      command: |\n        one\n        two\n  # after\n\nlast: [1,  2]\n";
    insta::assert_snapshot!(there_and_back(text, Format::Yaml, &both()), @r#"
    # mine
    model: x   # why
    hooks:
      # guards
      PreToolUse:
        - matcher: Bash
          command: |
            one
            two
        - hooks:
            - command: "/usr/bin/defenseclaw-hook probe"
              timeout: 10
              type: command
          matcher: "*"
      Stop:
        - hooks:
            - command: "/usr/bin/defenseclaw-hook probe"
              timeout: 10
              type: command
          matcher: "*"
      # after

    last: [1,  2]
    "#);
}

#[test]
fn every_shape_of_a_place_is_taken_and_given_back() {
    let edits = both();
    for (format, texts) in [
        (
            Format::Json,
            &[
                "",
                "{}",
                "{}\n",
                "{ }",
                "{\"hooks\":{}}",
                "{\"hooks\": {\"Stop\": []}}\r\n",
                "\u{feff}{\"a\": \"ä\"}",
                "{\r\n\t\"a\": 1\r\n}\r\n",
                "{\"hooks\":{\"PreToolUse\":[{\"x\":1}],\"Stop\":[1,2]}}",
            ][..],
        ),
        (
            Format::Json5,
            &[
                "{hooks: {'Stop': [],}, a: +.5, b: 0xF, c: Infinity}\n",
                "// only\n{\n  // in\n}\n",
            ],
        ),
        (
            Format::Toml,
            &[
                "",
                "a = 1",
                "[hooks]\n",
                "# end\n",
                "[a.b]\nc = 1 # x\n\n# tail\n",
                "[[hooks.Stop]]\nx = 1\n",
                "hooks.Stop = []\n",
                "hooks = { Stop = [] }\n",
                "[features]\nhooks = true\n",
            ],
        ),
        (
            Format::Yaml,
            &[
                "",
                "# only\n",
                "a: 1",
                "a: 1\n...\n",
                "---\na: 1\n",
                "hooks:\n",
                "hooks:   # none\nb: 2\n",
                "hooks: {}\n",
                "hooks: {Stop: []}\nb: 1\n",
                "hooks: {Stop: [1], x: y}\n",
                "hooks:\n  Stop:\n  - x: 1\n  - 2\n",
                "hooks:\n    Stop: []\n    b: |\n      t\n\n\nz: 1\n",
                "a: 1\r\nhooks:\r\n  b: 2\r\n",
                "{a: 1}\n",
                "ä: ö\nhooks:\n  b: 'ü'\n",
            ],
        ),
    ] {
        for text in texts {
            if *text == "a: 1\n...\n" {
                continue; // Below: what stands after the end of a document cannot be added to.
            }
            there_and_back(text, format, &edits);
        }
    }
}

#[test]
fn what_was_there_before_comes_back_byte_for_byte_in_the_usual_files() {
    for (format, text) in [
        (
            Format::Json,
            "{\n  \"model\": \"opus\",\n  \"permissions\": {\n    \"allow\": [\"Bash(ls)\"]\n  }\n}\n",
        ),
        (
            Format::Json,
            "{\n  \"hooks\": {\n    \"Stop\": [\n      {\n        \"hooks\": []\n      }\n    ]\n  }\n}",
        ),
        (
            Format::Toml,
            "model = \"x\" # y\n\n[projects.\"/w\"]\ntrust_level = \"trusted\"\n",
        ),
        (
            Format::Yaml,
            "model: x # y\n\n# about hooks\nhooks:\n  Stop:\n    - command: mine\n\nend: 1\n",
        ),
        (Format::Yaml, "a: {b: 1}\nhooks: {Stop: [1]}\n"),
    ] {
        let (new, trace) = apply(text, format, &both(), CONNECTOR).unwrap();
        assert_ne!(new, text);
        assert_eq!(undo(&new, format, &both(), &trace, CONNECTOR).unwrap(), text);
    }
}

#[test]
fn only_our_own_go_where_others_came_after_us() {
    let (new, trace) = apply("{}\n", Format::Json, &both(), CONNECTOR).unwrap();
    let theirs = new.replacen("\"Stop\": [", "\"Stop\": [\n      {\"theirs\": 1},", 1);
    let back = undo(&theirs, Format::Json, &both(), &trace, CONNECTOR).unwrap();
    assert_eq!(
        read(&back, Format::Json).unwrap(),
        json!({"hooks": {"Stop": [{"theirs": 1}]}})
    );
}

#[test]
fn an_older_entry_of_ours_is_replaced() {
    for (format, text) in [
        (
            Format::Json,
            r#"{"hooks": {"Stop": [{"hooks": [{"command": "'/old/bin/defenseclaw-hook' probe Stop"}]}, {"keep": 1}]}}"#,
        ),
        (
            Format::Toml,
            "[[hooks.Stop]]\nhooks = [{ command = \"/old/bin/defenseclaw-hook probe\" }]\n\n[[hooks.Stop]]\nkeep = 1\n",
        ),
        (
            Format::Yaml,
            "hooks:\n  Stop:\n  - command: /old/bin/defenseclaw-hook probe\n  # theirs\n  - keep: 1\n",
        ),
    ] {
        let edits = [append("hooks.Stop")];
        assert!(matches!(
            presence(text, format, &edits, CONNECTOR).unwrap(),
            Presence::Altered(_)
        ));
        let (new, _) = apply(text, format, &edits, CONNECTOR).unwrap();
        let stop = read(&new, format).unwrap()["hooks"]["Stop"].clone();
        assert_eq!(
            stop,
            json!([{"keep": 1}, hook("/usr/bin/defenseclaw-hook probe")]),
            "{new}"
        );
    }
}

#[test]
fn entries_of_others_are_not_ours() {
    for command in [
        "/usr/bin/defenseclaw-hook other",
        "/usr/bin/defenseclaw-hooks probe",
        "/usr/bin/defenseclaw-hook probe; rm -rf /",
        "echo defenseclaw-hook probe",
    ] {
        assert!(!CONNECTOR.runs_client(&hook(command)), "{command}");
    }
    assert!(CONNECTOR.runs_client(&hook("\"/opt/x/defenseclaw-hook\" probe PreToolUse")));
}

#[test]
fn values_are_set_kept_replaced_or_refused() {
    for (format, empty, other) in [
        (Format::Json, "{}", "{\"a\": {\"version\": 2}}"),
        (Format::Toml, "", "[a]\nversion = 2 # two\n"),
        (Format::Yaml, "", "a:\n  version: 2 # two\n"),
    ] {
        let edit = |existing| [set("a.version", json!(1), existing)];
        let (new, trace) = apply(empty, format, &edit(Existing::Refuse), CONNECTOR).unwrap();
        assert_eq!(read(&new, format).unwrap(), json!({"a": {"version": 1}}));
        assert_eq!(
            read(
                &undo(&new, format, &edit(Existing::Refuse), &trace, CONNECTOR).unwrap(),
                format
            )
            .unwrap(),
            json!({})
        );
        assert_eq!(
            apply(other, format, &edit(Existing::Keep), CONNECTOR).unwrap().0,
            other
        );
        let refused = apply(other, format, &edit(Existing::Refuse), CONNECTOR).unwrap_err();
        assert!(
            refused.to_string().contains("a.version is 2 already"),
            "{refused}"
        );
        let (new, trace) = apply(other, format, &edit(Existing::Replace), CONNECTOR).unwrap();
        assert_eq!(read(&new, format).unwrap(), json!({"a": {"version": 1}}));
        assert_eq!(
            undo(&new, format, &edit(Existing::Replace), &trace, CONNECTOR).unwrap(),
            other
        );
    }
}

#[test]
fn a_list_that_is_not_there_is_left_alone_where_that_matters() {
    let edit = [Edit::Append {
        at: path("plugins.allow"),
        value: json!("defenseclaw"),
        if_present: true,
    }];
    assert_eq!(apply("{}", Format::Json5, &edit, CONNECTOR).unwrap().0, "{}");
    assert_eq!(
        presence("{}", Format::Json5, &edit, CONNECTOR).unwrap(),
        Presence::Whole
    );
    let (new, _) = apply("{plugins: {allow: ['x']}}", Format::Json5, &edit, CONNECTOR).unwrap();
    assert_eq!(
        read(&new, Format::Json5).unwrap(),
        json!({"plugins": {"allow": ["x", "defenseclaw"]}})
    );
}

#[test]
fn what_cannot_be_read_is_named_by_line_and_column() {
    for (format, text, line) in [
        (Format::Json, "{\n  \"a\": ,\n}", 2),
        (Format::Json, "{\n // no comments here\n}", 2),
        (Format::Jsonc, "{\n  \"a\": 1\n  \"b\": 2\n}", 2),
        (Format::Toml, "a = 1\nb = = 2\n", 2),
        (Format::Yaml, "a: 1\nb: [1\nc: 2\n", 3),
    ] {
        let Err(EditError::Syntax { line: told, .. }) = apply(text, format, &both(), CONNECTOR) else {
            panic!("{text:?} was taken");
        };
        assert_eq!(told, line, "{text:?}");
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    for (format, text, word) in [
        (Format::Json, "[]", "no table"),
        (Format::Json, "{\"hooks\": 1}", "hooks"),
        (Format::Json, "{\"hooks\": {\"Stop\": {}}}", "hooks.Stop"),
        (Format::Json, "{\"hooks\": {}, \"hooks\": {}}", "twice"),
        (Format::Toml, "hooks = 1\n", "hooks"),
        (Format::Toml, "[hooks]\nStop = 1\n", "hooks.Stop"),
        (Format::Yaml, "- a\n", "no table"),
        (Format::Yaml, "hooks: 1\n", "hooks"),
        (Format::Yaml, "x: &x {a: 1}\nhooks: *x\n", "alias"),
        (Format::Yaml, "a: 1\n---\nb: 2\n", "more than one"),
        (Format::Whole, "x", "not made of keys"),
    ] {
        let error = apply(text, format, &both(), CONNECTOR).unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("Nothing was changed"),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn depth_and_size_are_bounded() {
    for (format, open) in [(Format::Json, "["), (Format::Yaml, "["), (Format::Toml, "[")] {
        let text = match format {
            Format::Toml => format!("a = {}", open.repeat(100_000)),
            Format::Yaml => format!("a: {}", open.repeat(100_000)),
            _ => format!("{{\"a\": {}", open.repeat(100_000)),
        };
        assert!(apply(&text, format, &both(), CONNECTOR).is_err());
    }
    let large = format!("# {}\n", "x".repeat(MAX_FILE_BYTES));
    assert!(
        apply(&large, Format::Yaml, &both(), CONNECTOR)
            .unwrap_err()
            .to_string()
            .contains("MiB")
    );
}

#[test]
fn a_hook_that_is_gone_or_altered_is_told_apart() {
    let edits = both();
    let (whole, _) = apply("{}", Format::Json, &edits, CONNECTOR).unwrap();
    let now = |text: &str| presence(text, Format::Json, &edits, CONNECTOR).unwrap();
    assert_eq!(now("{}"), Presence::Missing);
    assert_eq!(
        now(&whole.replacen("\"timeout\": 10", "\"timeout\": 0", 1)),
        Presence::Altered("the entry in hooks.PreToolUse is not as it was installed".into())
    );
    assert_eq!(
        now(&whole.replacen("PreToolUse", "PostToolUse", 1)),
        Presence::Altered("the entry in hooks.PreToolUse is gone".into())
    );
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Bool(true)),
        any::<i32>().prop_map(Value::from),
        "[a-zA-Z0-9 :#{}\\[\\]'\"\\\\äñ,&*-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    let lists = prop::collection::btree_map(
        prop_oneof![
            Just("PreToolUse".to_owned()),
            Just("Stop".to_owned()),
            Just("Other".to_owned())
        ],
        prop::collection::vec(value(), 0..3).prop_map(Value::from),
        0..3,
    );
    (
        prop::collection::btree_map("[a-z]{1,8}", value(), 0..5),
        prop::option::of(lists),
    )
        .prop_map(|(mut map, hooks)| {
            map.remove("hooks");
            if let Some(hooks) = hooks {
                map.insert("hooks".into(), Value::Object(hooks.into_iter().collect()));
            }
            Value::Object(map.into_iter().collect())
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_json_file_is_edited_and_given_back(value in document(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        there_and_back(&text, Format::Json, &both());
    }

    #[test]
    fn any_yaml_file_is_edited_and_given_back(value in document(), flow: bool) {
        let text = if flow { value.to_string() } else { serde_saphyr::to_string(&value).unwrap() };
        there_and_back(&text, Format::Yaml, &both());
    }

    #[test]
    fn any_toml_file_is_edited_and_given_back(value in document()) {
        let Ok(text) = toml_edit::ser::to_string_pretty(&value) else { return Ok(()); };
        match apply(&text, Format::Toml, &both(), CONNECTOR) {
            Ok(_) => { there_and_back(&text, Format::Toml, &both()); }
            // TOML has two kinds of lists; one that holds other things than tables cannot take one.
            Err(error) => prop_assert!(error.to_string().contains("Nothing was changed")),
        }
    }

    #[test]
    fn nothing_makes_it_panic(text in "[\\[\\]{}:,\"'#&*!|>\\-\\n\\r\\t a-c0ä=.]{0,60}") {
        for format in [Format::Json, Format::Jsonc, Format::Json5, Format::Toml, Format::Yaml] {
            if let Ok((new, trace)) = apply(&text, format, &both(), CONNECTOR) {
                let _ = undo(&new, format, &both(), &trace, CONNECTOR);
            }
        }
    }
}
