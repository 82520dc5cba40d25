//! MCP servers that settings name, as items.

use defenseclaw_places::servers;
use serde_json::{Value, json};

use crate::item::{Details, Item, ItemKind, Package, Scope, ServerDetails, sha256_of};
use crate::tidy::{self, MAX_WORDS};

/// Most tools that are kept of one server.
const MAX_TOOLS: usize = 1000;

/// One server: the item, its tools, and its definition in the words that most harnesses use, for the scanner.
pub(crate) struct Server {
    pub(crate) item: Item,
    pub(crate) tools: Vec<Item>,
    pub(crate) definition: Value,
}

/// The servers that a value names. `true` beside them: there were more.
pub(crate) fn of(value: &Value, path: &str, scope: Scope) -> (Vec<Server>, bool) {
    listed(&servers::of(value, ""), path, scope)
}

/// The servers of a file that holds them alone, each by its name at the top, if it names none otherwise.
pub(crate) fn of_server_file(value: &Value, path: &str, scope: Scope) -> (Vec<Server>, bool) {
    match of(value, path, scope) {
        (found, more) if found.is_empty() && !more => listed(&servers::at_the_top(value, ""), path, scope),
        found => found,
    }
}

fn listed(found: &servers::Servers<'_>, path: &str, scope: Scope) -> (Vec<Server>, bool) {
    let reachable = found.servers.iter().filter(|server| server.is_reachable());
    let listed = reachable.map(|server| of_one(server, path, scope)).collect();
    (listed, found.more)
}

fn of_one(server: &servers::Server<'_>, path: &str, scope: Scope) -> Server {
    let name = tidy::name(&server.name);
    let details = details(server);
    let mut item = Item::new(
        ItemKind::McpServer,
        &name,
        path,
        scope,
        (path, &format!("{}\0{name}", server.project.unwrap_or_default())),
    );
    item.version = details
        .package
        .as_ref()
        .and_then(|package| package.version.clone());
    // A structure of texts always has a form as JSON.
    item.digest = Some(sha256_of(&serde_json::to_vec(&details).unwrap_or_default()));
    item.details = Details::Server(details);
    let tools = tools(server.settings.get("tools"), &item, "settings");
    let definition = json!({ "mcpServers": { &item.name: definition(server) } });
    Server {
        item,
        tools,
        definition,
    }
}

/// Tools that a list declares, as parts of an item. A list of names alone says which of a server's tools are allowed.
pub(crate) fn tools(list: Option<&Value>, of: &Item, source: &str) -> Vec<Item> {
    let list = list.and_then(Value::as_array);
    let declared = list.into_iter().flatten().take(MAX_TOOLS);
    let items = declared.filter_map(|tool| {
        let name = tidy::name(tool.get("name")?.as_str()?);
        let mut item = Item::new(ItemKind::Tool, &name, &of.path, of.level, (&of.id, &name));
        item.digest = Some(sha256_of(tool.to_string().as_bytes()));
        item.part_of = Some(of.id.clone());
        item.details = Details::Tool {
            source: source.to_owned(),
        };
        Some(item)
    });
    items.collect()
}

fn details(server: &servers::Server<'_>) -> ServerDetails {
    let words = words(server);
    let (command, args) = match words.split_first() {
        Some((program, args)) => (Some(tidy::command(program)), tidy::arguments(args)),
        None => (None, Vec::new()),
    };
    ServerDetails {
        transport: match server.transport() {
            servers::Transport::Http(http) => http.protocol.as_str().to_owned(),
            servers::Transport::Stdio(_) | servers::Transport::Unclear => "stdio".to_owned(),
        },
        command,
        args,
        url: server.http.as_ref().map(|http| tidy::url(http.url)),
        package: package_of(&words),
        env: names(&server.env),
        headers: names(&server.headers),
        disabled: !server.enabled,
        project: server.project.map(tidy::command),
    }
}

fn words(server: &servers::Server<'_>) -> Vec<String> {
    let words = server
        .stdio
        .as_ref()
        .map(servers::Stdio::words)
        .unwrap_or_default();
    words.into_iter().map(str::to_owned).collect()
}

/// The definition as the scanner reads it, with the same reader. Here values stay: secrets are looked for.
fn definition(server: &servers::Server<'_>) -> Value {
    match server.settings {
        Value::String(url) => json!({ "url": url }),
        settings => settings.clone(),
    }
}

/// Names of variables or headers, sorted.
fn names(variables: &[servers::Variable<'_>]) -> Vec<String> {
    let mut names: Vec<String> = variables
        .iter()
        .map(|variable| tidy::name(variable.name))
        .collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_WORDS);
    names
}

/// The package that a runner fetches and runs.
pub(crate) fn package_of(words: &[String]) -> Option<Package> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = unwrapped(&words);
    let program = words.first()?.rsplit('/').next()?;
    let second = words.get(1).copied().unwrap_or_default();
    match (program, second) {
        ("npx" | "bunx" | "pnpx", _) => npm(&words[1..]),
        ("npm", "exec" | "x") | ("pnpm" | "yarn", "dlx") | ("bun", "x") => npm(&words[2..]),
        ("uvx", _) => pypi(&words[1..]),
        ("pipx", "run") => pypi(&words[2..]),
        ("uv", "tool") if words.get(2) == Some(&"run") => pypi(&words[3..]),
        ("docker" | "podman", "run") => image(&words[2..]),
        _ => None,
    }
}

/// Without `env NAME=value`.
fn unwrapped<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let is_env = words
        .first()
        .is_some_and(|word| word.rsplit('/').next() == Some("env"));
    let skipped = words.iter().skip(usize::from(is_env));
    skipped
        .skip_while(|word| is_env && word.contains('='))
        .copied()
        .collect()
}

/// The first word that is no option, or what `named` options name.
fn subject<'w>(words: &[&'w str], named: &[&str], valued: &[&str]) -> Option<&'w str> {
    let mut first = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some((option, value)) = word.split_once('=').filter(|(option, _)| named.contains(option)) {
            let _ = option;
            return Some(value);
        }
        if named.contains(word) {
            return words.next().copied();
        }
        if valued.contains(word) {
            words.next();
        } else if !word.starts_with('-') {
            first = Some(*word);
            break;
        }
    }
    first
}

fn npm(words: &[&str]) -> Option<Package> {
    let word = subject(
        words,
        &["-p", "--package"],
        &["-c", "--call", "--registry", "--cache"],
    )?;
    let at = word.get(1..).and_then(|rest| rest.rfind('@')).map(|at| at + 1);
    let (name, version) = match at {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "@/._-".contains(c);
    // A path, an archive or a repository is no package of the registry.
    let foreign = name.starts_with(['.', '/']) || (!name.starts_with('@') && name.contains('/'));
    (!foreign && !name.is_empty() && name.chars().all(plain)).then(|| package("npm", name, version))
}

fn pypi(words: &[&str]) -> Option<Package> {
    let valued = [
        "--with",
        "--python",
        "-p",
        "--index",
        "--index-url",
        "--with-editable",
        "--refresh-package",
    ];
    let word = subject(words, &["--from", "--spec"], &valued)?;
    let (name, version) = match word.split_once("==").or_else(|| word.split_once('@')) {
        Some((name, version)) => (name, Some(version)),
        None => (word, None),
    };
    let name = name.split('[').next().unwrap_or_default().trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_path = name.starts_with('.') || version.is_some_and(|version| version.contains("://"));
    (!is_path && !name.is_empty() && name.chars().all(plain)).then(|| package("pypi", name, version))
}

fn image(words: &[&str]) -> Option<Package> {
    let valued = [
        "-e",
        "--env",
        "-v",
        "--volume",
        "--name",
        "--network",
        "--net",
        "-p",
        "--publish",
        "-w",
        "--workdir",
        "-u",
        "--user",
        "--mount",
        "--entrypoint",
        "--env-file",
        "-m",
        "--memory",
        "--cpus",
        "--add-host",
        "-l",
        "--label",
        "--platform",
        "--gpus",
    ];
    let word = subject(words, &[], &valued)?;
    let (name, version) = match word.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => match word.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((name, tag)) => (name, Some(tag)),
            None => (word, None),
        },
    };
    Some(package("oci", name, version))
}

/// `latest` and ranges name no version.
fn package(registry: &str, name: &str, version: Option<&str>) -> Package {
    let exact = version.filter(|version| {
        let digits = version.starts_with(|c: char| c.is_ascii_digit() || c == 'v');
        (digits || version.starts_with("sha256:")) && !version.contains(['*', '^', '~', '>', '<', ' '])
    });
    Package {
        registry: registry.to_owned(),
        name: tidy::name(name),
        version: exact.map(tidy::name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defenseclaw_places::servers::MAX_SERVERS;
    use proptest::prelude::*;
    use serde_json::Map;

    fn told(value: &Value) -> Vec<String> {
        let (servers, more) = of(value, "/f", Scope::User);
        assert!(!more);
        let told = servers.into_iter().map(|server| {
            let Details::Server(details) = &server.item.details else {
                panic!()
            };
            format!(
                "{} {} {}{}",
                server.item.name,
                details.transport,
                server.item.command().unwrap_or_default(),
                if details.disabled { " off" } else { "" }
            )
        });
        told.collect()
    }

    #[test]
    fn every_harness_s_words_are_understood() {
        for (value, expected) in [
            (
                json!({"mcpServers": {"a": {"command": "npx", "args": ["-y", "p@1.0"]}}}),
                "a stdio npx -y p@1.0",
            ),
            (
                json!({"servers": {"a": {"type": "sse", "url": "https://h.example/s"}}}),
                "a sse https://h.example/s",
            ),
            (
                json!({"mcp_servers": {"a": {"url": "https://h.example", "enabled": false}}}),
                "a http https://h.example off",
            ),
            (
                json!({"mcp": {"a": {"type": "local", "command": ["x", "y"]}}}),
                "a stdio x y",
            ),
            (json!({"mcp": {"servers": {"a": {"command": "x"}}}}), "a stdio x"),
            (
                json!({"mcpServers": {"a": {"httpUrl": "https://h.example"}}}),
                "a http https://h.example",
            ),
            (
                json!({"mcpServers": {"a": {"serverUrl": "wss://h.example"}}}),
                "a ws wss://h.example",
            ),
            (
                json!({"projects": {"/p": {"mcpServers": {"a": {"command": "x"}}}}}),
                "a stdio x",
            ),
            (
                json!({"mcp": {"sse_servers": ["https://h.example"]}}),
                "sse_servers[0] http https://h.example",
            ),
            (
                json!({"mcp": {"stdio_servers": [{"name": "n", "command": "x"}]}}),
                "n stdio x",
            ),
        ] {
            assert_eq!(told(&value), [expected]);
        }
        for none in [
            json!(null),
            json!([]),
            json!({"mcpServers": 3}),
            json!({"mcpServers": {"a": 1, "b": {}}}),
        ] {
            assert_eq!(told(&none), Vec::<String>::new());
        }
    }

    #[test]
    fn values_of_variables_and_headers_are_not_kept_but_are_scanned() {
        let secret = "s3cr3t-value-that-nobody-may-see";
        let value = json!({"mcpServers": {"a": {"command": "x", "args": ["--api-key", secret], "env": {"API_KEY": secret},
            "headers": {"Authorization": secret}, "url": format!("https://u:{secret}@h.example/?k={secret}")}}});
        let (servers, _) = of(&value, "/f", Scope::User);
        let kept = serde_json::to_string(&servers[0].item).unwrap();
        assert!(!kept.contains(secret), "{kept}");
        assert!(
            kept.contains("API_KEY") && kept.contains("Authorization"),
            "{kept}"
        );
        assert!(servers[0].definition.to_string().contains(secret));
    }

    #[test]
    fn packages_of_runners_are_told_with_exact_versions_only() {
        let package = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            package_of(&words).map_or_else(
                || "-".to_owned(),
                |package| {
                    format!(
                        "{} {} {}",
                        package.registry,
                        package.name,
                        package.version.unwrap_or_default()
                    )
                },
            )
        };
        for (line, expected) in [
            ("npx -y @acme/server@1.2.3 --x", "npm @acme/server 1.2.3"),
            ("npx -y @acme/server@latest", "npm @acme/server "),
            ("npx --package=p@2.0.0 run", "npm p 2.0.0"),
            ("/usr/bin/npx p", "npm p "),
            ("pnpm dlx p@1.0.0-beta.1", "npm p 1.0.0-beta.1"),
            ("npx ./local", "-"),
            ("npx github:a/b", "-"),
            ("uvx mcp-server-git==0.6.2", "pypi mcp-server-git 0.6.2"),
            ("uvx --from git+https://x.example/y tool", "-"),
            ("uvx --python 3.12 pkg[extra]@1.0", "pypi pkg 1.0"),
            ("env A=b uvx pkg", "pypi pkg "),
            (
                "docker run -i --rm -e TOKEN ghcr.io/acme/server:1.4",
                "oci ghcr.io/acme/server 1.4",
            ),
            ("docker run r.example:5000/s", "oci r.example:5000/s "),
            ("python -m server", "-"),
            ("npx", "-"),
        ] {
            assert_eq!(package(line), expected, "{line}");
        }
    }

    #[test]
    fn tools_are_declared_by_objects_and_not_by_lists_of_what_is_allowed() {
        let value =
            json!({"mcpServers": {"a": {"command": "x", "tools": [{"name": "read"}, "*", {"x": 1}]}}});
        let (servers, _) = of(&value, "/f", Scope::User);
        let names: Vec<_> = servers[0].tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["read"]);
        assert_eq!(servers[0].tools[0].part_of.as_ref(), Some(&servers[0].item.id));
    }

    #[test]
    fn more_servers_than_are_looked_at_are_told() {
        let map: Map<String, Value> = (0..=MAX_SERVERS)
            .map(|n| (n.to_string(), json!({"command": "x"})))
            .collect();
        let (servers, more) = of(&json!({ "mcpServers": map }), "/f", Scope::User);
        assert_eq!((servers.len(), more), (MAX_SERVERS, true));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(npx|uvx|docker|run|-y|--from|@?[a-z/@=.:-]{0,12}|\\PC{0,8})".prop_map(Value::from),
        ];
        let keys = "(mcpServers|servers|mcp|projects|hooks|command|args|env|url|tools|name|type|[a-z]{0,3})";
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
        fn whatever_settings_say_ends_with_things_of_their_own(value in any_json()) {
            let (servers, _) = of(&value, "/f/hooks.json", Scope::User);
            let mut seen = std::collections::BTreeSet::new();
            for server in &servers {
                prop_assert!(server.item.command().is_some());
                seen.insert(server.item.id.clone());
            }
            let hooks = crate::hooks::of(&value, "/f/hooks.json", Scope::User);
            prop_assert!(hooks.iter().all(|hook| !seen.contains(&hook.id) && hook.command().is_some()));
            crate::documents::front(&format!("---\n{value}\n---\n"));
        }

        #[test]
        fn no_user_of_an_address_is_kept(user in "[a-z]{4,9}Q", password in "[a-z0-9@:]{4,9}Q", path in "(/[a-z]{0,5}){0,3}") {
            let kept = tidy::url(&format!("https://{user}:{password}@h.example{path}?a={password}"));
            prop_assert!(!kept.contains('Q'), "{}", kept);
        }
    }
}
