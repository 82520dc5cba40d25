//! Real clients whose every command runs in a sandbox: the session comes out as it does without.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

mod common;

mod e2e {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use defenseclaw_audit::{Query, Reader};
    use defenseclaw_model::activity::{Action, Explained};
    use defenseclaw_model::decision::Mode;
    use defenseclaw_model::record::{Record, RecordBody};
    use defenseclaw_model::sandbox::SandboxRoute;
    use defenseclaw_testkit::claude_code::{self, ClaudeCode};
    use defenseclaw_testkit::codex::{self, Codex};
    use defenseclaw_testkit::model_server::{ModelServer, ToolResult};
    use defenseclaw_testkit::script::{Call, Script, Turn};
    use defenseclaw_testkit::workplace::{Workplace, outside};
    use defenseclaw_testkit::{Need, Stack, StackOptions, require};

    use crate::common::{activities, announce};

    /// The profile that the sessions run in.
    const PROFILE: &str = "workspace";

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
    }

    /// How the commands get into their sandbox.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Way {
        /// They do not.
        None,
        /// By the client's shell prefix.
        Prefix,
        /// By the hook's reply.
        Reply,
    }

    /// What came of a session.
    struct Outcome {
        told: BTreeMap<String, ToolResult>,
        /// Files of the project, by name.
        files: BTreeMap<String, String>,
        /// For each call: whether its processes were in a sandbox.
        inside: BTreeMap<String, bool>,
        records: Vec<Record>,
        /// Whether the kernel was looked into.
        sensor: bool,
    }

    /// Says whether it runs in a sandbox: in one, nothing that is started gains privileges.
    fn noted(id: &str, command: &str) -> String {
        format!("/bin/grep -c 'NoNewPrivs:.1' /proc/self/status >> {id}.inside\n{command}")
    }

    /// Commands of every kind; the names are the calls' ids. None of their output depends on the day or the process.
    fn commands(client: Client) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut bash = |id: &str, command: &str| calls.push(Call::bash(id, &noted(id, command)));
        bash("output", "echo out; printf 'no newline'");
        bash("errors", "echo err >&2");
        bash("status", "exit 7");
        bash(
            "quotes",
            "echo \"it's\" 'a \"quoted\" $HOME' \\$x; printf '%s\\n' 'tab\there' 'ü 漢'",
        );
        bash("heredoc", "cat <<'EOF'\n$HOME `date` 'x'\nEOF\ncat <<< string");
        bash(
            "pipe",
            "seq 1 5 | sort -r | while read -r x; do printf '%s,' \"$x\"; done",
        );
        bash(
            "stdin",
            "cat; echo \"read nothing: $?\"; read -r x || echo closed",
        );
        bash(
            "signal",
            "{ sh -c 'kill -TERM $$'; } 2>/dev/null; echo \"status $?\"",
        );
        bash("killed", "kill -KILL $$");
        bash(
            "environment",
            "export KEPT=1; env | grep -E '^(KEPT|HOME|LANG|CLAUDECODE)=' | sort",
        );
        bash(
            "terminal",
            "test -t 0 || echo stdin; test -t 1 || echo stdout; tty || true",
        );
        bash("missing", "no-such-program-anywhere");
        bash(
            "folder",
            "mkdir -p sub/deep && cd sub && pwd | sed \"s|$PWD|HERE|\"",
        );
        bash("whereabouts", "basename \"$PWD\"; touch here.txt");
        bash(
            "files",
            "echo content > made.txt; mkdir -p d; cp made.txt d/; ls d; rm made.txt; git status --short d",
        );
        bash(
            "python",
            "python3 -c 'import os; print(sum(range(10)), os.getuid() >= 0)' 2>/dev/null || echo none",
        );
        bash(
            "temporary",
            "f=$(mktemp) && echo x > \"$f\" && cat \"$f\" && rm \"$f\"",
        );
        bash("job", "sleep 0.2 & wait $!; echo \"job $?\"");
        bash(
            "outliving",
            "(sleep 1; touch late.txt) > /dev/null 2>&1 & echo started",
        );
        bash("many", "for i in $(seq 1 2000); do echo \"line $i\"; done");
        if client == Client::ClaudeCode {
            calls.push(Call::background(
                "background",
                &noted("background", "sleep 0.5; echo done > background.txt"),
            ));
        }
        calls.push(Call::bash(
            "end",
            &noted("end", "sleep 2; cat *.txt ../*.txt 2>/dev/null | sort | uniq"),
        ));
        calls
    }

    fn run(client: Client, way: Way, mut calls: Vec<Call>) -> Outcome {
        let sandboxes = match way {
            Way::None => Vec::new(),
            Way::Prefix | Way::Reply => vec![(client.connector(), PROFILE)],
        };
        let sensor = require(&[Need::Root, Need::Bpf]);
        let mut stack = Stack::start(StackOptions {
            agent: sensor,
            mode: Mode::Action,
            sandboxes,
            ..StackOptions::default()
        })
        .unwrap();
        let folder = tempfile::Builder::new().prefix("dc-room-").tempdir().unwrap();
        let place = Workplace::make(folder.path(), outside().unwrap()).unwrap();
        let mut turns: Vec<Turn> = calls.drain(..).map(Turn::one).collect();
        turns.push(Turn::text("Done."));
        let script = Script {
            prompt: "Go on.".into(),
            turns,
        };
        let model = ModelServer::start(&script).unwrap();
        let mut environment = stack.environment();
        environment.push(("HOME", place.home.display().to_string()));
        if way == Way::Prefix {
            environment.push((
                "CLAUDE_CODE_SHELL_PREFIX",
                stack.program("defenseclaw-shell").display().to_string(),
            ));
        }
        let hook = format!(
            "{} {}",
            stack.program("defenseclaw-hook").display(),
            client.connector()
        );
        match client {
            Client::ClaudeCode => {
                let session = ClaudeCode {
                    program: &claude_code::ensure().unwrap(),
                    home: &place.home,
                    cwd: &place.project,
                    hook: Some(&hook),
                    environment: &environment,
                };
                let result = session.start(&model, &script.prompt).unwrap().finish().unwrap();
                assert_eq!(result["result"], "Done.");
            }
            Client::Codex => {
                let session = Codex {
                    program: &codex::ensure().unwrap(),
                    home: &place.home,
                    cwd: &place.project,
                    hook: Some(&hook),
                    environment: &environment,
                };
                session.run(&model, &script.prompt).unwrap();
            }
        }
        stack.settle().unwrap();
        let records = Reader::open(&stack.ledger())
            .unwrap()
            .query(&Query::default())
            .unwrap();
        let here = folder.path().display().to_string();
        let told = model.results().into_iter().map(|(id, result)| {
            let text = result.text.replace(&here, "FOLDER");
            (id, ToolResult { text, ..result })
        });
        let mut files = BTreeMap::new();
        collect(&place.project, "", &mut files);
        let inside = files
            .iter()
            .filter_map(|(name, text)| {
                Some((
                    name.rsplit('/').next()?.strip_suffix(".inside")?.to_owned(),
                    text.trim() == "1",
                ))
            })
            .collect();
        // The build script names a port, which is another in each run.
        files.retain(|name, _| !name.ends_with(".inside") && name != "build.sh");
        Outcome {
            told: told.collect(),
            files,
            inside,
            records,
            sensor,
        }
    }

    fn collect(folder: &Path, above: &str, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".git" {
                continue;
            }
            let path = format!("{above}{name}");
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{path}/"), files);
            } else {
                files.insert(path, fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }

    /// What a client says of a call, without what differs from run to run.
    fn same_text(text: &str) -> String {
        let line = |line: &str| {
            let moving = line.starts_with("Chunk ID:")
                || line.starts_with("Wall time:")
                || line.contains("background with ID");
            if moving { String::new() } else { line.to_owned() }
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What the clients do by themselves, whenever they like, and no command of these sessions does: in one run more often than in
    /// another. Codex looks at the repository with this setting, and reads the shell's state that it saved; Claude Code looks for
    /// running editors and for the repository's remote.
    const OWN: [&str; 5] = [
        "safe.bareRepository=explicit",
        "/.codex/shell_snapshots/",
        "code|cursor|windsurf",
        "[\"grep\", \"-v\", \"grep\"]",
        "\"config\", \"--get\", \"remote.origin.url\"",
    ];

    fn compare(client: Client, way: Way, but: &[&str]) {
        let plain = run(client, Way::None, commands(client));
        let sandboxed = run(client, way, commands(client));
        for (id, told) in &plain.told {
            if but.contains(&id.as_str()) {
                continue;
            }
            let other = &sandboxed.told[id];
            assert_eq!(same_text(&told.text), same_text(&other.text), "{id}");
            assert_eq!(told.is_error, other.is_error, "{id}");
        }
        assert_eq!(plain.told.len(), sandboxed.told.len());
        if but.is_empty() {
            assert_eq!(plain.files, sandboxed.files);
        }
        assert!(plain.inside.values().all(|inside| !inside), "{:?}", plain.inside);
        let outside: Vec<_> = plain
            .inside
            .keys()
            .filter(|id| sandboxed.inside.get(*id) != Some(&true))
            .collect();
        assert!(
            outside.is_empty(),
            "these calls did not run in a sandbox: {outside:?}"
        );
        assert_records(way, &sandboxed);
        let (known, now) = (strangers(&plain.records), strangers(&sandboxed.records));
        let new: Vec<_> = now
            .difference(&known)
            .filter(|act| !OWN.iter().any(|own| act.contains(own)))
            .collect();
        assert!(new.is_empty(), "unexplained only in a sandbox: {new:#?}");
        announce(&format!(
            "{} {way:?}: {} calls, each in {PROFILE}, with the same results as without",
            client.connector(),
            sandboxed.inside.len()
        ));
    }

    fn assert_records(way: Way, outcome: &Outcome) {
        let route = match way {
            Way::Prefix => SandboxRoute::ShellPrefix,
            _ => SandboxRoute::UpdatedInput,
        };
        let mut calls = 0;
        for record in &outcome.records {
            match &record.draft.body {
                RecordBody::ToolCall { decision, .. } => {
                    let sandbox = decision.sandbox.as_ref().unwrap_or_else(|| panic!("{record:?}"));
                    assert_eq!((sandbox.profile.as_str(), sandbox.by), (PROFILE, Some(route)));
                    calls += 1;
                }
                RecordBody::Finding { finding, .. } => {
                    assert!(!finding.rule.starts_with("sandbox."), "{record:?}");
                }
                _ => {}
            }
        }
        assert_eq!(calls, outcome.told.len());
        if outcome.sensor {
            // What runs in the sandbox is its call's: every one has a launcher, and what that became.
            let mut ran = BTreeSet::new();
            for activity in activities(&outcome.records) {
                if let (Some(call), Action::Exec { argv, .. }) =
                    (&activity.attribution.call, &activity.action)
                    && argv.first().is_some_and(|program| program == "/bin/grep")
                {
                    ran.insert(call.to_string());
                }
            }
            let lost: Vec<_> = outcome.told.keys().filter(|id| !ran.contains(*id)).collect();
            assert!(lost.is_empty(), "not attributed to their call: {lost:?}");
        }
    }

    /// What no call explains.
    fn strangers(records: &[Record]) -> BTreeSet<String> {
        activities(records)
            .filter(|activity| activity.attribution.explained == Explained::Unexplained)
            .filter(|activity| !matches!(activity.action, Action::Exit { .. }))
            .map(|activity| match &activity.action {
                Action::Exec { argv, .. } => format!("{} {argv:?}", activity.program),
                Action::Open { access, .. } => format!("{} {access:?}", activity.program),
                other => format!("{} {other:?}", activity.program),
            })
            .collect()
    }

    #[test]
    fn claude_code_by_its_shell_prefix() {
        if require(&[Need::ClaudeCode]) {
            compare(Client::ClaudeCode, Way::Prefix, &[]);
        }
    }

    #[test]
    fn claude_code_by_the_hook_s_reply() {
        if require(&[Need::ClaudeCode]) {
            // The shell that the client knows is above the launcher: `cd` ends with the call, and it tells of its end, by its own lines.
            compare(
                Client::ClaudeCode,
                Way::Reply,
                &["whereabouts", "end", "killed", "missing"],
            );
        }
    }

    #[test]
    fn codex_by_the_hook_s_reply() {
        if require(&[Need::Codex]) {
            compare(Client::Codex, Way::Reply, &[]);
        }
    }
}
