//! Our sandboxes together with those that agents bring along, in both orders, with the real clients.
//!
//! What is promised stands as a table in `agent/sandbox/README.md`, "With an agent's own sandbox".

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod e2e {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, lchown};
    use std::os::unix::process::CommandExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use defenseclaw_testkit::claude_code::{self, ClaudeCode};
    use defenseclaw_testkit::codex::{self, Codex};
    use defenseclaw_testkit::escape::UNPRIVILEGED;
    use defenseclaw_testkit::model_server::{ModelServer, ToolResult};
    use defenseclaw_testkit::script::{Call, Script, Turn};
    use defenseclaw_testkit::stack::default_programs;
    use defenseclaw_testkit::{Need, require};
    use serde_json::json;

    /// Tells what the sandbox around it lets it do. It must not write outside, nor read the key; it must write inside.
    const PROBE: &str = "echo made > made.txt; echo write=$?; cat ~/.ssh/id 2>&1; echo key=$?; cat .env 2>&1; echo env=$?; \
                         (echo x > ../outside.txt) 2>/dev/null; echo outside=$?; grep Seccomp_filters /proc/self/status";
    const SECRET: &str = "composed-secret";
    /// The filters that our launcher installs.
    const OURS: usize = 1;

    /// A home with a project in it, of an ordinary user, outside of the temporary folders; programs where every user may run them.
    struct House {
        folder: tempfile::TempDir,
        home: PathBuf,
        project: PathBuf,
        cli: PathBuf,
        user: u32,
    }

    impl House {
        fn new() -> Self {
            let root = nix::unistd::geteuid().is_root();
            let place = if root {
                "/home".into()
            } else {
                std::env::var("HOME").unwrap()
            };
            let folder = tempfile::Builder::new()
                .prefix("composed-")
                .tempdir_in(place)
                .unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let home = folder.path().join("home");
            let project = home.join("project");
            for path in [
                ".ssh",
                ".claude",
                ".codex",
                "project/.git/objects",
                "project/.git/hooks",
            ] {
                fs::create_dir_all(home.join(path)).unwrap();
            }
            fs::write(home.join(".ssh/id"), SECRET).unwrap();
            fs::write(project.join(".env"), SECRET).unwrap();
            let cli = folder.path().join("defenseclaw-cli");
            fs::copy(default_programs().join("defenseclaw-cli"), &cli).unwrap();
            let user = if root {
                UNPRIVILEGED
            } else {
                nix::unistd::geteuid().as_raw()
            };
            Self {
                folder,
                home,
                project,
                cli,
                user,
            }
        }

        /// A program of ours in the house: every user may run it.
        fn brought(&self, program: &Path) -> PathBuf {
            let copy = self.folder.path().join(program.file_name().unwrap());
            if fs::hard_link(program, &copy).is_err() {
                fs::copy(program, &copy).unwrap();
            }
            copy
        }

        fn script(&self, name: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        /// A program that becomes the user, where root runs the tests, and then `command`, which `"$@"` may stand in.
        fn as_user(&self, name: &str, command: &str) -> PathBuf {
            let user = self.user;
            let become_user = if nix::unistd::geteuid().is_root() {
                format!("setpriv --reuid {user} --regid {user} --clear-groups ")
            } else {
                String::new()
            };
            self.script(name, &format!("exec {become_user}{command}"))
        }

        fn settle(&self) {
            if !nix::unistd::geteuid().is_root() {
                return;
            }
            let mut waiting = vec![self.home.clone()];
            while let Some(path) = waiting.pop() {
                lchown(&path, Some(self.user), Some(self.user)).unwrap();
                if path.is_dir() && !path.is_symlink() {
                    waiting.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
                }
            }
        }

        /// Runs words in the project as the user; gives what was printed, errors too, and the status.
        fn run(&self, words: &[&str]) -> (String, Option<i32>) {
            self.settle();
            let mut command = Command::new(words[0]);
            if nix::unistd::geteuid().is_root() {
                command.uid(self.user).gid(self.user);
            }
            let output = command
                .args(&words[1..])
                .env("HOME", &self.home)
                .env("CODEX_HOME", self.home.join(".codex"))
                .current_dir(&self.project)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (
                text + &String::from_utf8_lossy(&output.stderr),
                output.status.code(),
            )
        }

        fn assert_nothing_ran(&self) {
            assert!(
                !self.project.join("made.txt").exists(),
                "the command ran all the same"
            );
        }

        /// That the probe, which told `text`, ran within `filters` filters and got nowhere.
        fn assert_held(&self, text: &str, filters: usize) {
            assert!(text.contains("write=0"), "{text}");
            assert!(self.project.join("made.txt").exists(), "{text}");
            assert!(!text.contains(SECRET), "{text}");
            assert!(text.contains("key=1") && text.contains("env=1"), "{text}");
            assert!(
                !text.contains("outside=0") && !self.home.join("outside.txt").exists(),
                "{text}"
            );
            let found = text.split("Seccomp_filters:").nth(1).unwrap_or_default();
            let found: usize = found
                .split_whitespace()
                .next()
                .unwrap_or("0")
                .parse()
                .unwrap_or(0);
            assert_eq!(found, filters, "{text}");
        }
    }

    fn script_of(command: &str) -> Script {
        Script {
            prompt: "Go on.".into(),
            turns: vec![Turn::one(Call::bash("probe", command)), Turn::text("Done.")],
        }
    }

    fn told(model: &ModelServer) -> ToolResult {
        model.results().remove("probe").unwrap()
    }

    const WORKSPACE_WRITE: [&str; 2] = ["-c", "sandbox_mode=\"workspace-write\""];

    #[test]
    fn our_sandbox_closes_within_codex_s() {
        if !require(&[Need::Codex, Need::Program("bwrap")]) {
            return;
        }
        let house = House::new();
        let (codex, cli) = (codex::ensure().unwrap(), house.cli.display().to_string());
        let codex = house.brought(&codex).display().to_string();
        let theirs = [&[codex.as_str(), "sandbox"], &WORKSPACE_WRITE[..], &["--"]].concat();
        // What Codex does not close by itself, ours does.
        let (text, _) = house.run(&[&theirs[..], &["sh", "-c", PROBE]].concat());
        assert!(text.contains("write=0") && text.contains(SECRET), "{text}");
        fs::remove_file(house.project.join("made.txt")).unwrap();
        let ours = [cli.as_str(), "run", "--", "sh", "-c", PROBE];
        let (text, status) = house.run(&[&theirs[..], &ours].concat());
        assert_eq!(status, Some(0), "{text}");
        house.assert_held(&text, OURS + 1);
    }

    #[test]
    fn codex_s_sandbox_within_ours_fails_and_says_so() {
        if !require(&[Need::Codex]) {
            return;
        }
        let house = House::new();
        let (codex, cli) = (codex::ensure().unwrap(), house.cli.display().to_string());
        let codex = house.brought(&codex).display().to_string();
        let ours = [cli.as_str(), "run", "--", codex.as_str(), "sandbox"];
        let (text, status) = house.run(&[&ours[..], &WORKSPACE_WRITE, &["--", "sh", "-c", PROBE]].concat());
        assert_ne!(status, Some(0), "{text}");
        assert!(text.contains("bwrap"), "{text}");
        house.assert_nothing_ran();
        let off = [
            "-c",
            "sandbox_mode=\"danger-full-access\"",
            "--",
            "sh",
            "-c",
            PROBE,
        ];
        let (text, _) = house.run(&[&ours[..], &off].concat());
        house.assert_held(&text, OURS);
    }

    #[test]
    fn a_whole_codex_works_in_ours() {
        if !require(&[Need::Codex]) {
            return;
        }
        let house = House::new();
        let codex = house.brought(&codex::ensure().unwrap());
        let inside = format!(
            "{} run --profile agent -- {} \"$@\"",
            house.cli.display(),
            codex.display()
        );
        let program = house.as_user("codex-inside", &inside);
        let script = script_of(PROBE);
        let model = ModelServer::start(&script).unwrap();
        let session = Codex {
            program: &program,
            home: &house.home,
            cwd: &house.project,
            hook: None,
            environment: &[],
        };
        house.settle();
        session.run(&model, &script.prompt).unwrap();
        house.assert_held(&told(&model).text, OURS);
    }

    #[test]
    fn a_codex_session_s_own_sandbox_holds_around_ours() {
        if !require(&[Need::Codex, Need::Program("bwrap")]) {
            return;
        }
        let house = House::new();
        let codex = house.brought(&codex::ensure().unwrap());
        // Behind the settings, so that it is this that counts.
        let program = house.as_user(
            "codex-outside",
            &format!("{} -c 'sandbox_mode=\"workspace-write\"' \"$@\"", codex.display()),
        );
        // As the hook's reply puts it before a command.
        let launched = format!("{} run -- sh -c '{PROBE}'", house.cli.display());
        let script = script_of(&launched);
        let model = ModelServer::start(&script).unwrap();
        let session = Codex {
            program: &program,
            home: &house.home,
            cwd: &house.project,
            hook: None,
            environment: &[],
        };
        house.settle();
        session.run(&model, &script.prompt).unwrap();
        house.assert_held(&told(&model).text, OURS + 1);
    }

    /// One session of Claude Code as the user, with `settings`, started by `command`.
    fn claude(
        house: &House,
        settings: &serde_json::Value,
        command: &str,
        environment: &[(&str, String)],
    ) -> ToolResult {
        fs::write(house.home.join(".claude/settings.json"), settings.to_string()).unwrap();
        house.settle();
        let program = house.as_user("claude-as-user", command);
        let script = script_of(PROBE);
        let model = ModelServer::start(&script).unwrap();
        let session = ClaudeCode {
            program: &program,
            home: &house.home,
            cwd: &house.project,
            hook: None,
            environment,
        };
        let result = session.start(&model, &script.prompt).unwrap().finish().unwrap();
        assert_eq!(result["result"], "Done.");
        told(&model)
    }

    #[test]
    fn our_sandbox_closes_within_claude_code_s() {
        if !require(&[Need::ClaudeCode, Need::Program("bwrap"), Need::Program("socat")]) {
            return;
        }
        let house = House::new();
        let client = house.brought(&claude_code::ensure().unwrap());
        let command = format!("{} \"$@\"", client.display());
        let settings = json!({"sandbox": {"enabled": true}});
        let alone = claude(&house, &settings, &command, &[]);
        assert!(
            alone.text.contains("write=0") && alone.text.contains(SECRET),
            "{alone:?}"
        );
        fs::remove_file(house.project.join("made.txt")).unwrap();
        let prefix = format!(
            "exec {} run --project {} -- /bin/bash -c \"$1\"",
            house.cli.display(),
            house.project.display()
        );
        let prefix = house.script("prefix", &prefix);
        let environment = [("CLAUDE_CODE_SHELL_PREFIX", prefix.display().to_string())];
        let both = claude(&house, &settings, &command, &environment);
        house.assert_held(&both.text, OURS + 1);
    }

    #[test]
    fn claude_code_s_sandbox_within_ours_fails_and_says_so_and_without_it_a_whole_agent_works() {
        if !require(&[Need::ClaudeCode, Need::Program("bwrap"), Need::Program("socat")]) {
            return;
        }
        let house = House::new();
        let client = house.brought(&claude_code::ensure().unwrap());
        let command = format!(
            "{} run --profile agent -- {} \"$@\"",
            house.cli.display(),
            client.display()
        );
        // It runs as if it were not shut in by us: the variable that says so would weaken nothing of ours.
        let both = claude(&house, &json!({"sandbox": {"enabled": true}}), &command, &[]);
        assert!(both.text.contains("bwrap"), "{both:?}");
        house.assert_nothing_ran();
        let ours = claude(&house, &json!({}), &command, &[]);
        house.assert_held(&ours.text, OURS);
        let settings = house.home.join(".claude/settings.json");
        assert_eq!(fs::read_to_string(settings).unwrap(), "{}", "sealed");
    }

    #[test]
    fn ours_within_ours_fails_and_says_so() {
        let house = House::new();
        let cli = house.cli.display().to_string();
        let (text, status) = house.run(&[&cli, "run", "--", &cli, "run", "--", "sh", "-c", PROBE]);
        assert_eq!(status, Some(125), "{text}");
        assert!(text.contains("not started"), "{text}");
        house.assert_nothing_ran();
    }
}
