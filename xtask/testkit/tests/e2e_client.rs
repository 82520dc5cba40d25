//! The test kit against the real client: what the other tests take for granted of it.

mod e2e {
    use std::fs;

    use defenseclaw_testkit::claude_code::{self, ClaudeCode};
    use defenseclaw_testkit::model_server::ModelServer;
    use defenseclaw_testkit::script::{Call, Script, Turn};
    use defenseclaw_testkit::workplace::{Workplace, outside};
    use defenseclaw_testkit::{Need, require};
    use serde_json::Value;

    #[test]
    fn claude_code_follows_a_script_and_reports_every_event() {
        if !require(&[Need::ClaudeCode]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = Workplace::make(folder.path(), outside().unwrap()).unwrap();
        let events = folder.path().join("events");
        let hook = format!("(cat; echo) >> {}", events.display());
        let made = place.project.join("made.txt").display().to_string();
        let script = Script {
            prompt: "Go on.".into(),
            turns: vec![
                Turn::serial(vec![
                    Call::bash("one", "sleep 0.3; echo one"),
                    Call::bash("two", "sleep 0.3; echo two"),
                ]),
                Turn::one(Call::write("three", &made, "made\n")),
                Turn::one(Call::bash("four", "exit 3")),
                Turn::text("Done."),
            ],
        };
        let model = ModelServer::start(&script).unwrap();
        let program = claude_code::ensure().unwrap();
        let client = ClaudeCode {
            program: &program,
            home: &place.home,
            cwd: &place.project,
            hook: Some(&hook),
            environment: &[],
        };
        let result = client.start(&model, &script.prompt).unwrap().finish().unwrap();
        assert_eq!(result["result"], "Done.");
        assert_eq!(model.turns(), script.turns.len());
        assert_eq!(model.results()["two"].text, "two");
        assert!(model.results()["four"].is_error);
        assert_eq!(fs::read_to_string(made).unwrap(), "made\n");
        let events = fs::read_to_string(events).unwrap();
        let events: Vec<Value> = events
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let names: Vec<&str> = events
            .iter()
            .filter_map(|event| event["hook_event_name"].as_str())
            .collect();
        let count = |name: &str| names.iter().filter(|n| **n == name).count();
        assert_eq!(
            (
                count("PreToolUse"),
                count("PostToolUse"),
                count("PostToolUseFailure")
            ),
            (4, 3, 1),
            "{names:?}"
        );
        assert_eq!(names.first(), Some(&"SessionStart"));
        assert_eq!(names.last(), Some(&"SessionEnd"));
        // Read-only calls of one turn run side by side: both are asked for before either has ended.
        let first_end = names.iter().position(|name| *name == "PostToolUse").unwrap();
        assert_eq!(
            names[..first_end]
                .iter()
                .filter(|name| **name == "PreToolUse")
                .count(),
            2,
            "{names:?}"
        );
    }
}
