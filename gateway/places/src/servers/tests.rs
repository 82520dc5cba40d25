//! Every harness's way of writing, as its documentation and its files have it.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::text::{Format, value};

/// What is said of a server, on one line: name, line, how it is reached, variables or headers, where, whether it is off, whose project.
fn told(server: &Server<'_>) -> String {
    let names = |variables: &[Variable<'_>]| {
        let names: Vec<&str> = variables.iter().map(|variable| variable.name).collect();
        if names.is_empty() {
            String::new()
        } else {
            format!(" +{}", names.join("+"))
        }
    };
    let reach = match server.transport() {
        Transport::Stdio(stdio) => {
            let cwd = stdio.cwd.map(|cwd| format!(" in {cwd}")).unwrap_or_default();
            format!("{}{}{cwd}", stdio.words().join(" "), names(&server.env))
        }
        Transport::Http(http) => format!(
            "{} {}{}",
            http.protocol.as_str(),
            http.url,
            names(&server.headers)
        ),
        Transport::Unclear => "?".to_owned(),
    };
    let off = if server.enabled { "" } else { " off" };
    let project = server
        .project
        .map(|project| format!(" of {project}"))
        .unwrap_or_default();
    format!("{}@{} {reach}{off}{project}", server.name, server.line)
}

fn read(text: &str, format: Format) -> Vec<String> {
    let value = value(text, format).unwrap();
    let found = of(&value, text);
    assert!(!found.more);
    found.servers.iter().map(told).collect()
}

#[test]
fn servers_are_read_as_each_harness_writes_them() {
    use Format::{Json, Toml, Yaml};
    for (dialect, format, text, expected) in [
        (
            "Claude Code, a project's",
            Json,
            "{\"mcpServers\": {\n\"fs\": {\"type\": \"stdio\", \"command\": \"npx\", \"args\": [\"-y\", \"x@1\"], \"env\": {\"TOKEN\": \"s\"}},\n\
             \"web\": {\"type\": \"http\", \"url\": \"https://h.example/mcp\", \"headers\": {\"Authorization\": \"Bearer s\"}},\n\
             \"old\": {\"type\": \"sse\", \"url\": \"https://h.example/sse\"},\n\"var\": {\"type\": \"http\", \"url\": \"${BASE}/mcp\"}}}",
            vec![
                "fs@2 npx -y x@1 +TOKEN",
                "old@4 sse https://h.example/sse",
                "var@5 http ${BASE}/mcp",
                "web@3 http https://h.example/mcp +Authorization",
            ],
        ),
        (
            "Claude Code, a user's, with projects",
            Json,
            "{\"numStartups\": 3,\n\"mcpServers\": {\"a\": {\"command\": \"x\"}},\n\"projects\": {\n\"/src/p\": {\n\"mcpServers\": {\n\
             \"a\": {\"command\": \"y\"},\n\"b\": {\"command\": \"z\"}},\n\"disabledMcpServers\": [\"b\"], \"history\": []}, \"/src/q\": {}}}",
            vec!["a@2 x", "a@6 y of /src/p", "b@7 z off of /src/p"],
        ),
        (
            "Codex",
            Toml,
            "model = \"x\"\n[mcp_servers.fs]\ncommand = \"npx\"\nargs = [\"-y\", \"x@1\"]\ncwd = \"/srv\"\nenv = { TOKEN = \"s\" }\n\
             env_vars = [\"HOME\"]\n[mcp_servers.web]\nurl = \"https://h.example\"\nenabled = false\nhttp_headers = { A = \"s\" }\n\
             env_http_headers = { B = \"NAME\" }\n",
            vec![
                "fs@2 npx -y x@1 +TOKEN+HOME in /srv",
                "web@8 http https://h.example +A+B off",
            ],
        ),
        (
            "Cursor, with comments",
            Json,
            "{// servers\n \"mcpServers\": {\n\"b\": {\"command\": \"npx\", \"args\": [\"b@latest\"], \"envFile\": \".env\"},\n},}",
            vec!["b@3 npx b@latest"],
        ),
        (
            "VS Code",
            Json,
            "{\"inputs\": [], \"servers\": {\n\"gh\": {\"type\": \"http\", \"url\": \"https://h.example\"},\n\
             \"fs\": {\"type\": \"stdio\", \"command\": \"x\", \"cwd\": \"${workspaceFolder}\"}}}",
            vec!["fs@3 x in ${workspaceFolder}", "gh@2 http https://h.example"],
        ),
        (
            "VS Code's own settings",
            Json,
            "{\"editor.tabSize\": 4, \"mcp\": {\"servers\": {\n\"a\": {\"command\": \"x\"}}}}",
            vec!["a@2 x"],
        ),
        (
            "Gemini CLI",
            Json,
            "{\"mcpServers\": {\"maps\": {\"httpUrl\": \"https://m.example/mcp\", \"url\": \"https://m.example/sse\", \"command\": \"x\"},\n\
             \"off\": {\"command\": \"y\", \"trust\": true}, \"out\": {\"command\": \"z\"}},\n\
             \"mcp\": {\"allowed\": [\"maps\", \"off\"], \"excluded\": [\"off\"], \"serverCommand\": \"s\"}}",
            vec!["maps@1 http https://m.example/mcp", "off@2 y off", "out@2 z off"],
        ),
        (
            "Windsurf, Antigravity",
            Json,
            "{\"mcpServers\": {\"w\": {\"serverUrl\": \"http://localhost:9000/mcp\"}, \"x\": {\"serverUrl\": \"wss://h.example\"},\n\
             \"off\": {\"command\": \"x\", \"disabled\": true}}}",
            vec![
                "off@2 x off",
                "w@1 http http://localhost:9000/mcp",
                "x@1 ws wss://h.example",
            ],
        ),
        (
            "Copilot CLI",
            Json,
            "{\"mcpServers\": {\"l\": {\"type\": \"local\", \"command\": \"x\", \"tools\": [\"*\"]}, \"s\": {\"type\": \"sse\", \
             \"url\": \"https://h.example\"}}, \"disabledMcpServers\": [\"l\"]}",
            vec!["l@1 x off", "s@1 sse https://h.example"],
        ),
        (
            "OpenCode",
            Json,
            "{\n // mine\n \"mcp\": {\"fs\": {\"type\": \"local\", \"command\": [\"npx\", \"-y\", \"x@1\"], \"environment\": {\"TOKEN\": \"s\"},},\n\
             \"r\": {\"type\": \"remote\", \"url\": \"{env:URL}\", \"enabled\": false, \"headers\": {\"K\": \"s\"}}}}",
            vec!["fs@3 npx -y x@1 +TOKEN", "r@4 http {env:URL} +K off"],
        ),
        (
            "OpenClaw",
            Json,
            "{agents: {}, mcp: {servers: {\n  a: {command: 'x', args: ['y'], workingDirectory: '/w'},\n  b: {url: 'https://h.example', \
             transport: 'sse'}}}}",
            vec!["a@2 x y in /w", "b@3 sse https://h.example"],
        ),
        (
            "Hermes",
            Yaml,
            "model: {provider: x}\nmcp_servers:\n  fs:\n    command: npx\n    args: [\"-y\", \"x@1\"]\n    env: {TOKEN: s}\n  \
             web:\n    url: https://h.example\n    headers: {A: s}\n    enabled: false\n",
            vec!["fs@3 npx -y x@1 +TOKEN", "web@7 http https://h.example +A off"],
        ),
        (
            "OpenHands, mcp.json",
            Json,
            "{\"mcpServers\": {\"a\": {\"url\": \"https://h.example\", \"transport\": \"sse\"}}}",
            vec!["a@1 sse https://h.example"],
        ),
        (
            "OpenHands, config.toml",
            Toml,
            "[mcp]\nsse_servers = [\"https://h.example\", {url = \"https://i.example\", api_key = \"s\"}]\n\
             stdio_servers = [\n{name = \"n\", command = \"x\", args = [\"y\"], env = {A = \"s\"}}\n]\n",
            vec![
                "n@4 x y +A",
                "sse_servers[0]@2 http https://h.example",
                "sse_servers[1]@2 http https://i.example",
            ],
        ),
        (
            "Zed, both ways",
            Json,
            "{\"context_servers\": {\"a\": {\"command\": {\"path\": \"npx\", \"args\": [\"x\"], \"env\": {\"B\": \"s\"}}, \"env\": {\"A\": \"s\"}},\n\
             \"b\": {\"source\": \"custom\", \"command\": \"y\", \"args\": []}}}",
            vec!["a@1 npx x +A+B", "b@2 y"],
        ),
        (
            "Goose",
            Yaml,
            "extensions:\n  dev:\n    type: builtin\n    enabled: true\n  fs:\n    type: stdio\n    cmd: npx\n    args: [x]\n    \
             envs: {A: s}\n    env_keys: [B]\n  web:\n    type: streamable_http\n    uri: https://h.example\n    enabled: false\n",
            vec!["fs@5 npx x +A+B", "web@11 http https://h.example off"],
        ),
        (
            "Amp",
            Json,
            "{\"amp.mcpServers\": {\n\"a\": {\"command\": \"x\"}}}",
            vec!["a@2 x"],
        ),
        (
            "Continue",
            Yaml,
            "mcpServers:\n  - name: My server\n    command: sh\n    args: [-c, x]\n  - name: none\n    schema: v1\n",
            vec!["My server@2 sh -c x"],
        ),
        (
            "variables of a list",
            Json,
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": \"y\", \"env\": [\"A=s\", \"B\"]}, \"b\": \"https://h.example\"}}",
            vec!["a@1 x y +A+B", "b@1 http https://h.example"],
        ),
    ] {
        assert_eq!(read(text, format), expected, "{dialect}");
    }
}

#[test]
fn what_is_no_server_is_none_and_what_lacks_a_reach_says_so() {
    for none in [
        "null",
        "[]",
        "3",
        "{\"mcpServers\": 3}",
        "{\"mcpServers\": {\"a\": 1, \"b\": [\"c\"], \"c\": \"text\"}}",
        "{\"servers\": [{\"url\": \"https://api.example\"}]}",
        "{\"extensions\": {\"a\": {\"enabled\": true}}}",
        "{\"servers\": {\"a\": \"https://api.example\"}}",
        "{\"projects\": [1], \"mcp\": {\"allowed\": []}}",
        "{\"hooks\": {\"a\": {\"command\": \"x\"}}}",
    ] {
        assert_eq!(read(none, Format::Json), Vec::<String>::new(), "{none}");
    }
    let text = r#"{"servers": {"none": {}, "empty": {"command": ""}, "odd": {"command": 3, "url": ["x"]}}}"#;
    assert_eq!(read(text, Format::Json), ["empty@1 ", "none@1 ?", "odd@1 ?"]);
}

#[test]
fn which_of_a_command_and_an_address_counts_is_what_the_harness_takes() {
    for (settings, expected) in [
        (json!({"command": "x", "url": "https://h"}), "x"),
        (json!({"command": "x", "url": "https://h", "type": "stdio"}), "x"),
        (
            json!({"command": "x", "url": "https://h", "type": "http"}),
            "http https://h",
        ),
        (
            json!({"command": "x", "url": "https://h", "type": "remote"}),
            "http https://h",
        ),
        (
            json!({"command": "x", "url": "https://h", "httpUrl": "https://i"}),
            "http https://i",
        ),
    ] {
        let value = json!({"mcpServers": {"a": settings}});
        let found = of(&value, "");
        let server = &found.servers[0];
        assert_eq!(told(server), format!("a@1 {expected}"));
        assert!(
            server.stdio.is_some() && server.http.is_some(),
            "both are there to be judged"
        );
        let addresses = server.http.iter().map(|http| 1 + http.others.len());
        assert_eq!(
            addresses.sum::<usize>(),
            1 + usize::from(expected.ends_with("//i"))
        );
    }
}

#[test]
fn values_are_there_for_the_scanner_and_are_shown_by_nothing_else() {
    let value = json!({"mcpServers": {"a": {"command": "x", "env": {"KEY": "s3cr3t"}, "env_vars": ["HOME"], "environment": {"N": 0}},
        "b": {"url": "u", "http_headers": {"K": "s3cr3t"}, "env_http_headers": {"L": "NAME"}}}});
    let found = of(&value, "");
    let [stdio, http] = &found.servers[..] else {
        panic!()
    };
    let values: Vec<_> = stdio
        .env
        .iter()
        .map(|variable| variable.value.as_deref())
        .collect();
    assert_eq!(values, [Some("s3cr3t"), Some("0"), None]);
    let values: Vec<_> = http
        .headers
        .iter()
        .map(|header| header.value.as_deref())
        .collect();
    assert_eq!(values, [Some("s3cr3t"), None]);
    let shown = format!("{:?}{:?}", stdio.env, http.headers);
    assert!(shown.contains("KEY") && !shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn servers_stand_at_the_top_or_by_themselves_where_that_is_asked_for() {
    let plugin = json!({"ship": {"command": "node", "args": ["s.js"]}, "version": 1, "about": {"x": 1}});
    let found = at_the_top(&plugin, "{\n\"ship\": {}");
    assert_eq!(told(&found.servers[0]), "ship@2 node s.js");
    assert_eq!(found.servers.len(), 1);
    assert!(of(&plugin, "").servers.is_empty());

    let one = |value: Value| alone(&value).map(|server| told(&server));
    assert_eq!(
        one(json!({"name": "n", "command": "x", "args": []})).unwrap(),
        "n@1 x"
    );
    assert_eq!(
        one(json!({"url": "https://h", "type": "http"})).unwrap(),
        "@1 http https://h"
    );
    for none in [
        json!({"command": "x"}),
        json!({"url": "https://h"}),
        json!({"command": "x", "args": [], "hooks": {}}),
        json!({"command": "x", "args": [], "tasks": []}),
    ] {
        assert_eq!(one(none), None);
    }
}

#[test]
fn more_servers_than_are_looked_at_are_told() {
    let map: Map<String, Value> = (0..=MAX_SERVERS)
        .map(|n| (n.to_string(), json!({"command": "x"})))
        .collect();
    let value = json!({ "mcpServers": map, "servers": map });
    let found = of(&value, "");
    assert_eq!((found.servers.len(), found.more), (MAX_SERVERS, true));
    // What is no server pushes none out, wherever it stands.
    for field in FIELDS {
        let mut decoys: Map<String, Value> = (0..2000).map(|n| (format!("a{n}"), json!({"x": 1}))).collect();
        decoys.insert("z".to_owned(), json!({"command": "x"}));
        let value = json!({ *field: decoys });
        let found = of(&value, "");
        assert!(
            !found.more && found.servers.iter().any(|server| server.name == "z"),
            "{field}"
        );
    }
    let list: Vec<Value> = (0..MAX_SERVERS).map(|_| json!("https://h")).collect();
    let value = json!({"mcp": {"sse_servers": list}});
    let found = of(&value, "");
    assert_eq!((found.servers.len(), found.more), (MAX_SERVERS, false));
}

fn any_settings() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(npx|-y|https?://[a-z]{0,4}|A=b|\\PC{0,8})".prop_map(Value::from),
    ];
    let keys = "(mcpServers|servers|mcp|projects|extensions|sse_servers|disabledMcpServers|allowed|command|args|env|url|httpUrl|type|name|[a-z]{0,3})";
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_settings_say_is_read_the_same_with_and_without_their_text(value in any_settings()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let (with, without) = (of(&value, &text), of(&value, ""));
        prop_assert_eq!(with.servers.len(), without.servers.len());
        let lines = text.lines().count() as u32;
        for (one, other) in with.servers.iter().zip(&without.servers) {
            prop_assert!(one.line >= 1 && one.line <= lines.max(1));
            prop_assert_eq!(Server { line: 1, ..one.clone() }, other.clone());
        }
        let _ = (at_the_top(&value, &text), alone(&value));
    }
}
