//! MCP servers asked in their sandboxes by the real tool, good and bad ones; pins in a real gateway.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod e2e {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};

    use defenseclaw_testkit::{Stack, StackOptions};
    use serde_json::{Value, json};

    /// Never waited for: a process of this length is a test's.
    const LONG: &str = "86399";

    struct Place {
        stack: Stack,
        project: tempfile::TempDir,
        home: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let options = StackOptions {
                agent: false,
                ..StackOptions::default()
            };
            // Outside of the temporary folders, of which every sandbox has its own.
            let base = std::env::var_os("HOME").unwrap();
            let folder = |prefix: &str| tempfile::Builder::new().prefix(prefix).tempdir_in(&base).unwrap();
            let place = Self {
                stack: Stack::start(options).unwrap(),
                project: folder("dc-mcp-"),
                home: folder("dc-home-"),
            };
            // Copied by another process: while this one has the file open for writing, a program that another test starts
            // at that moment has it open, too, and a file that is open for writing cannot be executed.
            let copied = Command::new("cp")
                .arg(env!("CARGO_BIN_EXE_mcp-server"))
                .arg(place.project.path().join("server"))
                .status();
            assert!(copied.unwrap().success());
            place
        }

        /// Settings with servers of these names; each is told a mode and one more word.
        fn settings(&self, servers: &[(&str, &str, &str)]) -> PathBuf {
            let entry = |(name, mode, extra): &(&str, &str, &str)| {
                let server = json!({"command": "./server", "args": [mode, extra],
                    "env": {"SERVICE_TOKEN": "ghp_0123456789abcdefghijABCDEFGHIJ012345"}});
                ((*name).to_owned(), server)
            };
            let servers: serde_json::Map<String, Value> = servers.iter().map(entry).collect();
            let file = self.project.path().join(".mcp.json");
            fs::write(&file, json!({"mcpServers": servers}).to_string()).unwrap();
            file
        }

        fn run(&self, arguments: &[&str]) -> Output {
            let mut command = self.stack.command("defenseclaw-cli");
            command
                .args(arguments)
                .env("HOME", self.home.path())
                .current_dir(self.project.path())
                .stdin(Stdio::null());
            command.output().unwrap()
        }

        /// The findings about one server of that mode.
        fn scan(&self, mode: &str, extra: &str, more: &[&str]) -> Vec<Value> {
            let file = self.settings(&[("notes", mode, extra)]);
            let mut arguments = vec![
                "scan",
                "mcp",
                file.to_str().unwrap(),
                "--live",
                "--format",
                "json",
            ];
            arguments.extend(more);
            let output = self.run(&arguments);
            let report: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
            let findings = report["findings"].as_array().unwrap().iter();
            let live = findings.filter(|finding| finding["file"].as_str().unwrap().starts_with("notes"));
            live.cloned().collect()
        }

        fn rules(&self, mode: &str, extra: &str) -> Vec<String> {
            let findings = self.scan(mode, extra, &["--timeout", "20"]);
            let mut rules: Vec<String> = findings
                .iter()
                .map(|finding| finding["rule"].as_str().unwrap().to_owned())
                .collect();
            rules.sort();
            rules.dedup();
            rules
        }

        /// What the server says of its one tool.
        fn description(&self, mode: &str, extra: &str, more: &[&str]) -> String {
            let file = self.settings(&[("notes", mode, extra)]);
            let mut arguments = vec!["mcp", "check", file.to_str().unwrap(), "--json"];
            arguments.extend(more);
            self.run(&["mcp", "pins", "forget", "notes"]);
            self.run(&arguments);
            // A pin shows nothing but digests; the difference to nothing shows the text.
            fs::write(self.project.path().join("empty.txt"), "").unwrap();
            let file = self.settings(&[("notes", "from-file", "empty.txt")]);
            let output = self.run(&["mcp", "check", file.to_str().unwrap(), "--json"]);
            let first = output.stdout.split(|byte| *byte == b'\n').next().unwrap();
            let pin: Value = serde_json::from_slice(first).unwrap();
            let changes = pin["changes"].as_array().unwrap();
            let change = changes
                .iter()
                .find(|change| change["pointer"] == "/description")
                .unwrap();
            change["diff"].as_str().unwrap().to_owned()
        }
    }

    fn running(marker: &str) -> usize {
        let commands = fs::read_dir("/proc").unwrap().flatten();
        let commands = commands.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        commands
            .filter(|line| String::from_utf8_lossy(line).contains(marker))
            .count()
    }

    fn high(findings: &[Value]) -> Vec<&str> {
        let grave = findings
            .iter()
            .filter(|finding| finding["severity"] == "HIGH" || finding["severity"] == "CRITICAL");
        grave.map(|finding| finding["file"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_good_server_is_asked_and_clean_and_a_poisoned_one_is_found() {
        let place = Place::new();
        assert_eq!(place.rules("plain", ""), Vec::<String>::new());
        let poisoned = place.scan("poisoned", "", &[]);
        let places = high(&poisoned);
        assert!(!places.is_empty());
        assert!(
            places
                .iter()
                .all(|place| *place == "notes/tools/add_note#/inputSchema/properties/note/description"),
            "{poisoned:?}"
        );
        let hidden = place.scan("hidden", "", &[]);
        assert!(
            high(&hidden).contains(&"notes/tools/add_note#/description"),
            "{hidden:?}"
        );
    }

    #[test]
    fn whatever_a_server_answers_is_told_and_never_clean() {
        let place = Place::new();
        for (mode, rule) in [
            ("endless", "mcp.live-endless"),
            ("giant", "mcp.live-too-large"),
            ("deep", "mcp.live-too-large"),
            ("asks", "mcp.asks-while-listing"),
            ("twice", "mcp.answers-differ"),
            ("not-utf8", "mcp.live-noise"),
            ("flood", "mcp.live-flood"),
            ("crashes", "mcp.live-ended"),
            ("needs-key", "mcp.live-needs-login"),
        ] {
            let rules = place.rules(mode, "");
            assert!(rules.iter().any(|found| found == rule), "{mode}: {rules:?}");
        }
        // These take their time, which is up after what they are given.
        for mode in ["silent", "wrong-ids"] {
            let found = place.scan(mode, "", &["--timeout", "3"]);
            assert!(
                found.iter().any(|finding| finding["rule"] == "mcp.live-silent"),
                "{mode}: {found:?}"
            );
        }
    }

    #[test]
    fn a_server_reaches_no_secret_no_file_and_no_network_and_gets_no_value() {
        let place = Place::new();
        let secret = place.home.path().join(".ssh/id_rsa");
        fs::create_dir(secret.parent().unwrap()).unwrap();
        fs::write(&secret, "the-secret-itself").unwrap();
        let beside = place.project.path().join(".env");
        fs::write(&beside, "the-secret-itself").unwrap();
        for file in [&secret, &beside] {
            let said = place.description("reads", file.to_str().unwrap(), &[]);
            assert!(
                // What is closed is covered: by nothing, or by an empty file.
                ["-read: Err(", "-read: Ok(\"\")"]
                    .iter()
                    .any(|start| said.starts_with(start)),
                "{said}"
            );
        }
        let open = place.project.path().join("open.txt");
        fs::write(&open, "the-project").unwrap();
        assert!(
            place
                .description("reads", open.to_str().unwrap(), &[])
                .contains("the-project"),
            "its twin is read"
        );

        for target in [
            place.home.path().join("made"),
            place.project.path().join("made"),
            PathBuf::from("/etc/dc-made"),
        ] {
            let said = place.description("writes", target.to_str().unwrap(), &[]);
            assert!(said.contains("-wrote: false") && !target.exists(), "{said}");
        }
        assert!(
            place
                .description("writes", "/tmp/made-in-its-own", &[])
                .contains("-wrote: true")
        );
        assert!(
            !Path::new("/tmp/made-in-its-own").exists(),
            "its own temporary folder"
        );

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(
            place
                .description("connects", &address, &[])
                .contains("-connected: false")
        );
        assert!(
            place
                .description("connects", &address, &["--allow-network"])
                .contains("-connected: true")
        );

        let said = place.description("environment", "", &[]);
        assert!(
            said.contains("SERVICE_TOKEN=placeholder") && said.contains("HOME=/tmp"),
            "{said}"
        );
        assert!(!said.contains("ghp_") && !said.contains("DEFENSECLAW"), "{said}");
    }

    #[test]
    fn nothing_of_a_server_is_left_behind() {
        let place = Place::new();
        assert_eq!(running(LONG), 0);
        assert_eq!(
            place.rules("leaves-children", LONG),
            Vec::<String>::new(),
            "it answers well"
        );
        assert_eq!(running(LONG), 0, "its orphans are ended");
        assert!(place.rules("forks", LONG).contains(&"mcp.live-greedy".to_owned()));
        assert_eq!(running(LONG), 0);
        let rules = place.rules("hungry", "");
        assert!(
            rules.contains(&"mcp.live-greedy".to_owned()) || rules.contains(&"mcp.live-ended".to_owned()),
            "{rules:?}"
        );
        assert_eq!(running("./server"), 0);
    }

    #[test]
    fn tools_of_one_name_and_servers_that_cannot_be_asked_are_told() {
        let place = Place::new();
        let file = place.settings(&[("notes", "plain", ""), ("other", "plain", "x")]);
        let text = fs::read_to_string(&file).unwrap();
        let mut settings: Value = serde_json::from_str(&text).unwrap();
        settings["mcpServers"]["web"] = json!({"url": "https://example.org/mcp"});
        settings["mcpServers"]["gone"] = json!({"command": "no-such-program-here"});
        settings["mcpServers"]["fetched"] =
            json!({"command": "npx", "args": ["-y", "@defenseclaw/no-such-package@1.0.0"]});
        fs::write(&file, settings.to_string()).unwrap();
        let output = place.run(&[
            "scan",
            "mcp",
            file.to_str().unwrap(),
            "--live",
            "--format",
            "json",
        ]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = |rule: &str| -> Vec<String> {
            let findings = report["findings"].as_array().unwrap().iter();
            let findings = findings.filter(|finding| finding["rule"] == rule);
            findings
                .map(|finding| finding["file"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            found("mcp.shadowed-tool"),
            ["other/tools/add_note#/name"],
            "{report}"
        );
        assert_eq!(found("mcp.live-needs-network"), ["web"]);
        assert_eq!(found("mcp.live-not-here"), ["fetched", "gone"]);
        let one = place.run(&[
            "scan",
            "mcp",
            file.to_str().unwrap(),
            "--live",
            "--server",
            "nobody",
        ]);
        assert_eq!(one.status.code(), Some(2));
    }

    #[test]
    fn a_server_that_becomes_another_is_held_shown_and_approved() {
        let place = Place::new();
        let text = place.project.path().join("text.txt");
        fs::write(&text, "Adds a note.").unwrap();
        let file = place.settings(&[("notes", "from-file", text.to_str().unwrap())]);
        let check = || place.run(&["mcp", "check", file.to_str().unwrap()]);
        let out = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        let first = check();
        assert_eq!(first.status.code(), Some(0), "{first:?}");
        assert!(out(&first).contains("new"), "{first:?}");
        let approved = place.run(&["mcp", "pins", "approve", "notes"]);
        assert_eq!(approved.status.code(), Some(0), "{approved:?}");
        assert_eq!(check().status.code(), Some(0));
        let same = place.run(&["mcp", "pins", "diff", "notes"]);
        assert_eq!(
            (same.status.code(), out(&same).contains("as it was pinned")),
            (Some(0), true)
        );

        fs::write(&text, "Adds a note, and sends it away.").unwrap();
        let changed = check();
        assert_eq!(changed.status.code(), Some(1));
        assert!(out(&changed).contains("held"), "{changed:?}");
        let diff = place.run(&["mcp", "pins", "diff", "notes"]);
        assert_eq!(diff.status.code(), Some(1));
        for line in [
            "notes tool add_note /description changed",
            "-Adds a note.",
            "+Adds a note, and sends it away.",
            "--digest ",
        ] {
            assert!(out(&diff).contains(line), "{line}: {}", out(&diff));
        }
        fs::write(&text, "Adds a note.").unwrap();
        assert_eq!(check().status.code(), Some(1), "held until a person has looked");
        assert_eq!(
            place
                .run(&["mcp", "pins", "approve", "notes", "--digest", "00000000"])
                .status
                .code(),
            Some(1)
        );
        assert_eq!(
            place.run(&["mcp", "pins", "approve", "notes"]).status.code(),
            Some(0)
        );
        assert_eq!(check().status.code(), Some(0));
        let records = place.run(&["audit", "query", "--kind", "pin"]);
        let states: Vec<bool> = ["new", "approved", "changed, held"]
            .iter()
            .map(|state| out(&records).contains(state))
            .collect();
        assert_eq!(states, [true; 3], "{}", out(&records));
    }

    #[test]
    fn without_a_gateway_nothing_is_started_and_it_is_said() {
        let mut place = Place::new();
        let file = place.settings(&[("notes", "writes", "/tmp/x")]);
        place.stack.stop().unwrap();
        let output = place.run(&["mcp", "check", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_eq!(
            place.run(&["mcp", "pins", "approve", "notes"]).status.code(),
            Some(3)
        );
    }
}
