//! Contracts against the real clients: what a client's tool really did after each kind of answer.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

#[path = "contract/gateway.rs"]
mod gateway;

mod e2e {
    use std::path::{Path, PathBuf};

    use defenseclaw_audit::{Query, Reader};
    use defenseclaw_model::call::{CallKind, HookEventKind};
    use defenseclaw_model::decision::Verdict;
    use defenseclaw_model::record::RecordBody;
    use defenseclaw_testkit::claude_code::{self, ClaudeCode};
    use defenseclaw_testkit::codex::{self, Codex};
    use defenseclaw_testkit::model_server::{ModelServer, ToolResult};
    use defenseclaw_testkit::script::{Call, Script, Turn};
    use defenseclaw_testkit::stack::program;
    use defenseclaw_testkit::workplace::{Workplace, outside};
    use defenseclaw_testkit::{Need, Stack, StackOptions, require};

    use super::gateway::Gateway;

    /// A command longer than the largest payload that the hook client takes (16 MiB).
    const OVER_EVERY_LIMIT: usize = 17 << 20;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Client {
        ClaudeCode,
        Codex,
    }

    struct Session {
        folder: tempfile::TempDir,
        place: Workplace,
        model: ModelServer,
    }

    impl Session {
        /// Runs one session whose calls are `calls`, each in a turn of its own.
        fn run(
            client: Client,
            calls: Vec<Call>,
            environment: impl Fn(&Path) -> Vec<(&'static str, String)>,
        ) -> Self {
            Self::run_with(client, calls, environment, &program("defenseclaw-hook").unwrap())
        }

        fn run_with(
            client: Client,
            calls: Vec<Call>,
            environment: impl Fn(&Path) -> Vec<(&'static str, String)>,
            hook: &Path,
        ) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let place = Workplace::make(folder.path(), outside().unwrap()).unwrap();
            let mut turns: Vec<Turn> = calls.into_iter().map(Turn::one).collect();
            turns.push(Turn::text("Done."));
            let script = Script {
                prompt: "Go on.".into(),
                turns,
            };
            let model = ModelServer::start(&script).unwrap();
            let environment = environment(folder.path());
            let hook = |name: &str| format!("{} {name}", hook.display());
            match client {
                Client::ClaudeCode => {
                    let session = ClaudeCode {
                        program: &claude_code::ensure().unwrap(),
                        home: &place.home,
                        cwd: &place.project,
                        hook: Some(&hook("claude-code")),
                        environment: &environment,
                    };
                    let result = session.start(&model, &script.prompt).unwrap().end().unwrap();
                    assert!(result.contains("\"result\":\"Done.\""), "{result:.2000}");
                }
                Client::Codex => {
                    let session = Codex {
                        program: &codex::ensure().unwrap(),
                        home: &place.home,
                        cwd: &place.project,
                        hook: Some(&hook("codex")),
                        environment: &environment,
                    };
                    let told = session.run(&model, &script.prompt).unwrap();
                    let last = told
                        .iter()
                        .rfind(|item| item["item"]["type"] == "agent_message")
                        .unwrap();
                    assert_eq!(last["item"]["text"], "Done.");
                }
            }
            assert_eq!(model.turns(), script.turns.len(), "every turn was asked for");
            Self { folder, place, model }
        }

        fn made(&self, name: &str) -> bool {
            self.place.project.join(name).exists()
        }

        fn told(&self, call: &str) -> ToolResult {
            self.model.results()[call].clone()
        }
    }

    fn touch(id: &str, name: &str) -> Call {
        Call::bash(id, &format!("touch {name}"))
    }

    /// Runs `test` where the client is there.
    fn with(client: Client, test: impl Fn(Client)) {
        let need = match client {
            Client::ClaudeCode => Need::ClaudeCode,
            Client::Codex => Need::Codex,
        };
        if require(&[need]) {
            test(client);
        }
    }

    fn each_answer_is_what_happens(client: Client) {
        let gateway = std::cell::OnceCell::new();
        let session = Session::run(
            client,
            vec![
                touch("one", "allowed.txt"),
                touch("two", "denied.txt"),
                touch("three", "asked.txt"),
                touch("four", "original.txt"),
                Call::write("five", "written.txt", "by the harness\n"),
                Call::write("six", "denied-written.txt", "by the harness\n"),
            ],
            |folder| {
                let gateway = gateway.get_or_init(|| Gateway::start(folder));
                vec![("DEFENSECLAW_SOCKET", gateway.socket())]
            },
        );
        assert!(session.made("allowed.txt"));
        assert!(!session.made("denied.txt"));
        let refusal = session.told("two").text;
        assert!(
            refusal.contains("DefenseClaw: the test says so"),
            "the model learns why: {refusal}"
        );
        assert!(!session.made("asked.txt"), "nobody is there to be asked");
        assert!(session.made("changed.txt") && !session.made("original.txt"));
        assert!(session.made("written.txt") && !session.made("denied-written.txt"));
        assert_what_was_seen(gateway.get().unwrap(), &session.place.project);
        drop(session.folder);
    }

    fn assert_what_was_seen(gateway: &Gateway, project: &Path) {
        let seen = gateway.seen();
        assert!(
            matches!(seen[0].event.kind, HookEventKind::SessionStart { .. }),
            "{:?}",
            seen[0]
        );
        let prompts = seen.iter().filter(
            |parsed| matches!(&parsed.event.kind, HookEventKind::UserPromptSubmit { prompt } if prompt == "Go on."),
        );
        assert_eq!(prompts.count(), 1);
        let calls: Vec<_> = seen
            .iter()
            .filter_map(|parsed| match &parsed.event.kind {
                HookEventKind::PreToolUse(call) => Some(call),
                _ => None,
            })
            .collect();
        let ids: Vec<&str> = calls.iter().map(|call| call.call.as_str()).collect();
        assert_eq!(ids, ["one", "two", "three", "four", "five", "six"]);
        assert_eq!(
            calls[0].kind,
            CallKind::Command {
                command: "touch allowed.txt".into(),
                background: false
            }
        );
        let written = project.join("written.txt").display().to_string();
        assert_eq!(calls[4].kind, CallKind::FileWrite { paths: vec![written] });
        let ended: Vec<&str> = seen
            .iter()
            .filter_map(|parsed| match &parsed.event.kind {
                HookEventKind::PostToolUse { call, .. } => Some(call.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(ended, ["one", "four", "five"], "only what ran has ended");
        let stop = seen
            .iter()
            .find(|parsed| parsed.event.kind == HookEventKind::Stop)
            .unwrap();
        assert_eq!(stop.said.as_deref(), Some("Done."));
        assert!(matches!(
            seen.last().unwrap().event.kind,
            HookEventKind::SessionEnd { .. }
        ));
        let sessions: std::collections::BTreeSet<_> =
            seen.iter().map(|parsed| &parsed.event.session).collect();
        assert_eq!(sessions.len(), 1);
    }

    /// No gateway is there at all.
    fn without_a_gateway(client: Client, fail: &'static str) -> Session {
        Session::run(client, vec![touch("one", "one.txt")], |folder| {
            let nobody: PathBuf = folder.join("nobody.sock");
            vec![
                ("DEFENSECLAW_SOCKET", nobody.display().to_string()),
                ("DEFENSECLAW_FAIL_MODE", fail.to_owned()),
            ]
        })
    }

    fn a_missing_gateway_is_answered_by_fail_mode(client: Client) {
        let closed = without_a_gateway(client, "closed");
        assert!(!closed.made("one.txt"));
        let refusal = closed.told("one").text;
        assert!(refusal.contains("cannot be reached"), "{refusal}");
        assert!(without_a_gateway(client, "open").made("one.txt"));
    }

    fn a_payload_over_every_limit_does_not_run(client: Client) {
        let gateway = std::cell::OnceCell::new();
        let huge = format!("touch huge.txt #{}", "x".repeat(OVER_EVERY_LIMIT));
        let calls = vec![Call::bash("one", &huge), touch("two", "after.txt")];
        let session = Session::run(client, calls, |folder| {
            let gateway = gateway.get_or_init(|| Gateway::start(folder));
            vec![("DEFENSECLAW_SOCKET", gateway.socket())]
        });
        assert!(!session.made("huge.txt"));
        let refusal = session.told("one").text;
        assert!(refusal.contains("over the limit of 16 MiB"), "{refusal:.300}");
        assert!(session.made("after.txt"), "the session goes on");
    }

    /// The whole way: the real client, hook client and gateway, the built-in policy, and the ledger.
    #[test]
    fn codex_under_the_real_gateway() {
        if !require(&[Need::Codex]) {
            return;
        }
        let stack = Stack::start(StackOptions {
            agent: false,
            ..StackOptions::default()
        })
        .unwrap();
        let session = Session::run_with(
            Client::Codex,
            vec![
                touch("one", "allowed.txt"),
                Call::bash("two", "cat ~/.ssh/id_ed25519 > stolen.txt"),
            ],
            |_| stack.environment(),
            &stack.program("defenseclaw-hook"),
        );
        assert!(session.made("allowed.txt") && !session.made("stolen.txt"));
        let refusal = session.told("two").text;
        assert!(refusal.contains("DefenseClaw: "), "{refusal}");
        let records = Reader::open(&stack.ledger())
            .unwrap()
            .query(&Query::default())
            .unwrap();
        let calls: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.draft.body {
                RecordBody::ToolCall { tool, decision, .. } => Some((tool.as_str(), decision.verdict)),
                _ => None,
            })
            .collect();
        assert_eq!(calls, [("Bash", Verdict::Allow), ("Bash", Verdict::Deny)]);
        let codex = records.iter().filter_map(|record| record.draft.session.as_ref());
        assert!(codex.into_iter().all(|session| session.connector() == "codex"));
    }

    #[test]
    fn claude_code_does_what_it_is_told() {
        with(Client::ClaudeCode, each_answer_is_what_happens);
    }

    #[test]
    fn codex_does_what_it_is_told() {
        with(Client::Codex, each_answer_is_what_happens);
    }

    #[test]
    fn claude_code_without_a_gateway() {
        with(Client::ClaudeCode, a_missing_gateway_is_answered_by_fail_mode);
    }

    #[test]
    fn codex_without_a_gateway() {
        with(Client::Codex, a_missing_gateway_is_answered_by_fail_mode);
    }

    #[test]
    fn claude_code_with_a_payload_over_every_limit() {
        with(Client::ClaudeCode, a_payload_over_every_limit_does_not_run);
    }

    #[test]
    fn codex_with_a_payload_over_every_limit() {
        with(Client::Codex, a_payload_over_every_limit_does_not_run);
    }
}
