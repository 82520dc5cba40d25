//! Set-up as a person does it, seen through the real clients: hooks that `setup` wrote hold, `doctor` proves it, and `teardown`
//! leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

mod e2e {
    use std::collections::BTreeMap;
    use std::os::unix::process::CommandExt as _;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use defenseclaw_audit::{Query, Reader};
    use defenseclaw_model::decision::{Mode, Verdict};
    use defenseclaw_model::record::RecordBody;
    use defenseclaw_testkit::claude_code::{self, ClaudeCode};
    use defenseclaw_testkit::codex::{self, Codex};
    use defenseclaw_testkit::model_server::{ModelServer, ToolResult};
    use defenseclaw_testkit::script::{Call, Script, Turn};
    use defenseclaw_testkit::workplace::{Workplace, outside};
    use defenseclaw_testkit::{Need, Stack, StackOptions, require};
    use nix::sys::signal::Signal;
    use serde_json::Value;

    /// How long a call may take to come up for approval: the client has to start first.
    const ASKED: Duration = Duration::from_secs(60);
    /// The gateway of a stack that root starts runs as nobody, and is an operator.
    const GATEWAY_USER: u32 = 65534;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Client {
        ClaudeCode,
        Codex,
    }

    impl Client {
        fn connector(self) -> &'static str {
            match self {
                Self::ClaudeCode => "claude-code",
                Self::Codex => "codex",
            }
        }

        fn need(self) -> Need {
            match self {
                Self::ClaudeCode => Need::ClaudeCode,
                Self::Codex => Need::Codex,
            }
        }
    }

    /// A person's home and project, and a gateway in mode action. No hook is installed.
    struct Scene {
        client: Client,
        stack: Stack,
        place: Workplace,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        fn make(client: Client) -> Self {
            Self::with(client, false)
        }

        /// With the sensor, which tells a person from an agent.
        fn with(client: Client, agent: bool) -> Self {
            let stack = Stack::start(StackOptions {
                agent,
                mode: Mode::Action,
                ..StackOptions::default()
            })
            .unwrap();
            let folder = tempfile::tempdir().unwrap();
            let place = Workplace::make(folder.path(), outside().unwrap()).unwrap();
            Self {
                client,
                stack,
                place,
                _folder: folder,
            }
        }

        /// What the person's shell has in its environment: it reaches set-up, the client, and through it the hook.
        fn environment(&self) -> Vec<(&'static str, String)> {
            let mut environment = self.stack.environment();
            environment.push(match self.client {
                Client::ClaudeCode => ("CLAUDE_CONFIG_DIR", self.settings_folder().display().to_string()),
                Client::Codex => ("CODEX_HOME", self.settings_folder().display().to_string()),
            });
            environment
        }

        /// For Claude Code another than the usual one, which only its variable names.
        fn settings_folder(&self) -> PathBuf {
            match self.client {
                Client::ClaudeCode => self.place.home.join("settings/claude"),
                Client::Codex => self.place.home.join(".codex"),
            }
        }

        fn settings(&self) -> PathBuf {
            match self.client {
                Client::ClaudeCode => self.settings_folder().join("settings.json"),
                Client::Codex => self.settings_folder().join("hooks.json"),
            }
        }

        /// Settings that a person wrote, with a hook of their own and a layout that no program would give them.
        fn write_own_settings(&self) -> Vec<u8> {
            let own = self.place.project.join("own-hook-ran");
            let text = format!(
                "{{\n  \"hooks\" :  {{ \"PreToolUse\":[\n   {{\"matcher\": \"Bash\", \"hooks\": [ {{\"type\":\"command\",\
                 \"command\":\"touch {}\"}} ]}}] }}  }}\n\n",
                own.display()
            );
            std::fs::create_dir_all(self.settings_folder()).unwrap();
            std::fs::write(self.settings(), &text).unwrap();
            text.into_bytes()
        }

        /// Runs the operator's tool as the person would; its objects, and whether the answer was yes.
        fn cli(&self, arguments: &[&str]) -> (Vec<Value>, bool) {
            let output = self
                .stack
                .command("defenseclaw-cli")
                .args(arguments)
                .envs(self.environment())
                .env("HOME", &self.place.home)
                .env_remove("SUDO_UID")
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.code().is_some_and(|status| status <= 1),
                "defenseclaw-cli {arguments:?}: {}\n{errors}",
                output.status
            );
            let text = String::from_utf8(output.stdout).unwrap();
            let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
            (objects.collect(), output.status.success())
        }

        /// `setup`, or `teardown`: what became of the one file.
        fn change(&self, verb: &str, more: &[&str]) -> String {
            let mut arguments = vec![verb, self.client.connector(), "--json"];
            arguments.extend(more);
            let (report, done) = self.cli(&arguments);
            assert!(done, "{report:?}");
            let files = report[0]["files"].as_array().unwrap();
            assert_eq!(files.len(), 1, "{report:?}");
            assert_eq!(files[0]["file"], self.settings().display().to_string());
            files[0]["kind"].as_str().unwrap().to_owned()
        }

        /// Runs a session of the real client with `calls`, each in a turn of its own.
        fn session(&self, calls: Vec<Call>) -> BTreeMap<String, ToolResult> {
            let mut turns: Vec<Turn> = calls.into_iter().map(Turn::one).collect();
            turns.push(Turn::text("Done."));
            let script = Script {
                prompt: "Go on.".into(),
                turns,
            };
            let model = ModelServer::start(&script).unwrap();
            let environment = self.environment();
            match self.client {
                Client::ClaudeCode => {
                    let client = ClaudeCode {
                        program: &claude_code::ensure().unwrap(),
                        home: &self.place.home,
                        cwd: &self.place.project,
                        hook: None,
                        environment: &environment,
                    };
                    let result = client.start(&model, &script.prompt).unwrap().end().unwrap();
                    assert!(result.contains("\"result\":\"Done.\""), "{result:.2000}");
                }
                Client::Codex => {
                    let client = Codex {
                        program: &codex::ensure().unwrap(),
                        home: &self.place.home,
                        cwd: &self.place.project,
                        hook: None,
                        environment: &environment,
                    };
                    client.run(&model, &script.prompt).unwrap();
                }
            }
            assert_eq!(model.turns(), script.turns.len(), "every turn was asked for");
            model.results()
        }

        fn made(&self, name: &str) -> bool {
            self.place.project.join(name).exists()
        }

        fn remove(&self, name: &str) {
            std::fs::remove_file(self.place.project.join(name)).unwrap();
        }

        /// Verdict and rule of each tool call in the ledger, in order.
        fn decided(&self) -> Vec<(Verdict, String)> {
            let ledger = Reader::open(&self.stack.ledger()).unwrap();
            let records = ledger.query(&Query::default()).unwrap();
            let decisions = records.into_iter().filter_map(|record| match record.draft.body {
                RecordBody::ToolCall { decision, .. } => Some((decision.verdict, decision.rule)),
                _ => None,
            });
            decisions.collect()
        }

        fn canary(&self) -> (Value, bool) {
            let (checks, good) = self.cli(&["doctor", "--json"]);
            let about = format!("{} ({})", self.client.connector(), self.place.home.display());
            let canary = checks
                .iter()
                .find(|check| check["check"] == "canary" && check["about"] == about)
                .cloned();
            (canary.unwrap_or_default(), good)
        }
    }

    fn bash(id: &str, command: &str) -> Call {
        Call::bash(id, command)
    }

    /// A call that the built-in policy refuses. Its target tells whether it ran.
    fn theft(id: &str) -> Call {
        bash(id, "cat ~/.ssh/id_ed25519 > stolen.txt")
    }

    fn holds_in_order(of: &[u8], within: &[u8]) -> bool {
        let mut rest = within.iter();
        of.iter().all(|byte| rest.any(|other| other == byte))
    }

    fn hooks_hold_until_they_are_taken_away(client: Client) {
        if !require(&[client.need()]) {
            return;
        }
        let scene = Scene::make(client);
        let before = scene.write_own_settings();

        assert_eq!(scene.change("setup", &["--dry-run"]), "changed");
        assert_eq!(
            std::fs::read(scene.settings()).unwrap(),
            before,
            "a dry run writes nothing"
        );
        assert_eq!(scene.change("setup", &[]), "changed");
        let installed = std::fs::read(scene.settings()).unwrap();
        assert!(
            holds_in_order(&before, &installed),
            "every byte of the person's stays"
        );
        assert_eq!(scene.change("setup", &[]), "unchanged");
        assert_eq!(std::fs::read(scene.settings()).unwrap(), installed);

        let told = scene.session(vec![bash("one", "touch allowed.txt"), theft("two")]);
        assert!(scene.made("allowed.txt") && !scene.made("stolen.txt"));
        assert!(told["two"].text.contains("DefenseClaw: "), "{}", told["two"].text);
        assert!(scene.made("own-hook-ran"), "the person's own hook runs as before");
        let verdicts: Vec<_> = scene.decided().into_iter().map(|(verdict, _)| verdict).collect();
        assert_eq!(verdicts, [Verdict::Allow, Verdict::Deny]);

        let (canary, good) = scene.canary();
        assert!(good && canary["state"] == "ok", "{canary}");
        let (verdict, rule) = scene.decided().pop().unwrap();
        assert_eq!((verdict, rule.as_str()), (Verdict::Deny, "doctor.canary"));

        assert_eq!(
            std::fs::read(scene.settings()).unwrap(),
            installed,
            "sessions leave it alone"
        );
        scene.change("teardown", &[]);
        assert_eq!(
            std::fs::read(scene.settings()).unwrap(),
            before,
            "byte for byte as it was"
        );
        let known = scene.decided().len();
        scene.remove("own-hook-ran");
        scene.session(vec![theft("three")]);
        assert!(scene.made("stolen.txt"), "nobody is asked any more");
        assert!(scene.made("own-hook-ran"));
        assert_eq!(scene.decided().len(), known);
        assert_eq!(scene.canary().0, Value::Null, "nothing is left to prove");
    }

    /// A harness that was never configured: the files that set-up makes go away with it.
    fn a_file_made_by_setup_goes_with_it(client: Client) {
        if !require(&[client.need()]) {
            return;
        }
        let scene = Scene::make(client);
        assert_eq!(scene.change("setup", &[]), "created");
        scene.session(vec![bash("one", "touch allowed.txt"), theft("two")]);
        assert!(scene.made("allowed.txt") && !scene.made("stolen.txt"));
        assert_eq!(scene.change("teardown", &[]), "removed");
        assert!(!scene.settings().exists());
    }

    /// Waits for a call to come up, and approves it as an operator: the sensor tells that this process is none of the agent's.
    /// Returns what the queue said of the call.
    fn approve(scene: &Scene) -> Value {
        let waiting = waiting(scene);
        let id = waiting["id"].as_str().unwrap();
        let mut approve = scene.stack.command("defenseclaw-cli");
        approve.args(["approvals", "approve", id]).current_dir("/");
        let operator = approve.uid(GATEWAY_USER).gid(GATEWAY_USER).output().unwrap();
        assert!(operator.status.success(), "{operator:?}");
        waiting
    }

    /// The call that comes up for approval.
    fn waiting(scene: &Scene) -> Value {
        let begun = Instant::now();
        while begun.elapsed() < ASKED {
            if let Some(waiting) = scene.cli(&["approvals", "list", "--json"]).0.pop() {
                return waiting;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nothing came up for approval within {} s", ASKED.as_secs());
    }

    /// Codex cannot ask from a hook, so the call waits in the queue.
    #[test]
    fn a_person_lets_codex_go_on() {
        if !require(&[Need::Root, Need::Bpf, Client::Codex.need()]) {
            return;
        }
        let mut scene = Scene::with(Client::Codex, true);
        scene.change("setup", &["--mode", "hitl"]);
        scene.stack.end_gateway(Signal::SIGTERM).unwrap();
        scene.stack.start_gateway().unwrap();
        // It comes back by itself, and only it tells a person from an agent.
        scene
            .stack
            .wait("the agent to come back", |status| status.agent.is_some())
            .unwrap();
        let (canary, good) = scene.canary();
        assert!(good && canary["state"] == "ok", "{canary}");

        let waited = std::thread::scope(|threads| {
            let person = threads.spawn(|| approve(&scene));
            scene.session(vec![theft("one")]);
            person.join().unwrap()
        });
        assert_eq!(waited["tool"], "Bash");
        assert!(
            waited["summary"].as_str().unwrap().contains("id_ed25519"),
            "{waited}"
        );
        assert!(scene.made("stolen.txt"), "it ran once a person had said so");
    }

    /// Without the sensor nobody can tell a person in the agent's own login from the agent, whatever the user: a call that
    /// nobody may answer is not run.
    #[test]
    fn without_the_sensor_nobody_in_the_agents_login_answers() {
        if !require(&[Need::Root, Client::Codex.need()]) {
            return;
        }
        let mut scene = Scene::make(Client::Codex);
        scene.change("setup", &["--mode", "hitl"]);
        scene.stack.end_gateway(Signal::SIGTERM).unwrap();
        // The refused call waits until then.
        let config = scene.stack.folder().join("config.yaml");
        let text = std::fs::read_to_string(&config).unwrap() + "\napprovals: { timeout_s: 15 }\n";
        std::fs::write(&config, text).unwrap();
        scene.stack.start_gateway().unwrap();
        std::thread::scope(|threads| {
            let agent = threads.spawn(|| scene.session(vec![theft("one")]));
            let id = waiting(&scene)["id"].as_str().unwrap().to_owned();
            for user in [0, GATEWAY_USER] {
                let mut approve = scene.stack.command("defenseclaw-cli");
                approve.args(["approvals", "approve", &id]).current_dir("/");
                let answer = approve.uid(user).gid(user).output().unwrap();
                assert_eq!(answer.status.code(), Some(4), "user {user}: {answer:?}");
            }
            // It ends its session; the call that waits is withdrawn with it, or times out.
            agent.join().unwrap();
        });
        assert!(!scene.made("stolen.txt"));
    }

    #[test]
    fn claude_code_holds_until_teardown() {
        hooks_hold_until_they_are_taken_away(Client::ClaudeCode);
    }

    #[test]
    fn codex_holds_until_teardown() {
        hooks_hold_until_they_are_taken_away(Client::Codex);
    }

    #[test]
    fn claude_code_that_was_never_configured() {
        a_file_made_by_setup_goes_with_it(Client::ClaudeCode);
    }

    #[test]
    fn codex_that_was_never_configured() {
        a_file_made_by_setup_goes_with_it(Client::Codex);
    }
}
