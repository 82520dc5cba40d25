//! `defenseclaw-cli run` beside the daemons: a command that no harness started is a session of its own, with what was in force.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod e2e {
    use std::fs;
    use std::process::{Command, Stdio};

    use defenseclaw_audit::{Query, Reader};
    use defenseclaw_model::activity::{Action, Explained};
    use defenseclaw_model::record::{Binding, Record, RecordBody};
    use defenseclaw_testkit::{Need, Stack, StackOptions, require};

    /// A project outside of the temporary folders, which every sandbox may write.
    fn project() -> tempfile::TempDir {
        let home = std::env::var_os("HOME").unwrap();
        tempfile::Builder::new()
            .prefix("dc-run-")
            .tempdir_in(home)
            .unwrap()
    }

    /// Runs a shell line in a sandbox, among the stack's programs.
    fn run(stack: &Stack, project: &tempfile::TempDir, options: &[&str], line: &str) -> Option<i32> {
        let mut command: Command = stack.command("defenseclaw-cli");
        command
            .arg("run")
            .args(options)
            .args(["--", "/bin/sh", "-c", line])
            .current_dir(project)
            .stdin(Stdio::null());
        command.status().unwrap().code()
    }

    fn records(stack: &mut Stack) -> Vec<Record> {
        stack.settle().unwrap();
        Reader::open(&stack.ledger())
            .unwrap()
            .query(&Query::default())
            .unwrap()
    }

    #[test]
    fn a_command_without_a_harness_is_a_session_with_its_protections() {
        let sensor = require(&[Need::Root, Need::Bpf]);
        let mut stack = Stack::start(StackOptions {
            agent: sensor,
            ..StackOptions::default()
        })
        .unwrap();
        let project = project();
        let line = "echo made > made.txt; cat made.txt > copy.txt; exit 3";
        assert_eq!(
            run(&stack, &project, &["--profile", "network-none"], line),
            Some(3)
        );
        assert_eq!(
            fs::read_to_string(project.path().join("copy.txt")).unwrap(),
            "made\n"
        );
        let mut records = records(&mut stack);
        records.retain(|record| {
            let session = record.draft.session.as_ref();
            session.is_some_and(|session| session.connector() == "run")
        });
        let of = |kind: &str| {
            let found: Vec<_> = records
                .iter()
                .filter(|record| record.draft.body.kind() == kind)
                .collect();
            assert_eq!(found.len(), 1, "{kind}: {found:?}");
            found[0].draft.body.clone()
        };
        let RecordBody::Sandbox { report, seen, .. } = of("sandbox") else {
            unreachable!()
        };
        assert_eq!(
            (report.profile.as_str(), report.best_effort),
            ("network-none", false)
        );
        let network = report
            .protections
            .iter()
            .find(|one| one.family == "network")
            .unwrap();
        assert_eq!((network.by.as_str(), network.required), ("seccomp", true));
        let seen = seen.unwrap();
        assert!(seen.no_new_privileges && seen.filters >= 1, "{seen:?}");
        let RecordBody::ToolCall { decision, input, .. } = of("tool_call") else {
            unreachable!()
        };
        assert!(!decision.enforced);
        assert_eq!(input["argv"][2], line);
        if !sensor {
            return;
        }
        let RecordBody::SessionStart { binding, .. } = of("session_start") else {
            unreachable!()
        };
        assert_eq!(binding, Binding::Bound);
        let acts: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.draft.body {
                RecordBody::Activity { activity } => Some(activity),
                _ => None,
            })
            .collect();
        let wrote = |name: &str| {
            acts.iter()
                .any(|act| matches!(&act.action, Action::Open { path, .. } if path.ends_with(name)))
        };
        assert!(wrote("/made.txt") && wrote("/copy.txt"), "{acts:#?}");
        assert!(
            acts.iter()
                .all(|act| act.attribution.explained != Explained::Unexplained),
            "{acts:#?}"
        );
        // The shell and what it started, told as parts of the one call.
        assert!(
            acts.iter()
                .all(|act| act.attribution.call.as_ref().unwrap().as_str() == "command")
        );
        let RecordBody::SessionEnd { reason } = of("session_end") else {
            unreachable!()
        };
        assert_eq!(reason.as_deref(), Some("the command ended: exit 3"));
        let shown = stack.cli(&[
            "session",
            "show",
            records[0].draft.session.as_ref().unwrap().to_string().as_str(),
        ]);
        assert!(shown.unwrap().contains("entered the sandbox network-none"));
    }

    /// From within some sandboxes the gateway is out of reach; what is in force there is told all the same.
    #[test]
    fn what_is_in_force_is_recorded_of_every_kind_of_sandbox() {
        let mut stack = Stack::start(StackOptions {
            agent: false,
            ..StackOptions::default()
        })
        .unwrap();
        let project = project();
        let kinds: [&[&str]; 4] = [
            &["--profile", "strict"],
            &["--profile", "read-only"],
            &["--supervise"],
            &["--profile", "network-allowlist"],
        ];
        for options in kinds {
            assert_eq!(run(&stack, &project, options, "exit 0"), Some(0), "{options:?}");
        }
        let told: Vec<_> = records(&mut stack)
            .into_iter()
            .filter_map(|record| match record.draft.body {
                RecordBody::Sandbox { report, seen, .. } => {
                    Some((report.profile, seen.unwrap().no_new_privileges))
                }
                _ => None,
            })
            .collect();
        let profiles = ["strict", "read-only", "workspace", "network-allowlist"];
        assert_eq!(told, profiles.map(|profile| (profile.to_owned(), true)));
    }

    #[test]
    fn whatever_a_command_in_a_sandbox_tells_the_gateway_it_stays_its_session() {
        if !require(&[Need::Root, Need::Bpf]) {
            return;
        }
        let mut stack = Stack::start(StackOptions {
            agent: true,
            ..StackOptions::default()
        })
        .unwrap();
        let project = project();
        // A sandbox within the sandbox: its launcher tells of it, too, from a process that has a session already.
        let cli = stack.program("defenseclaw-cli");
        let inner = format!(
            "{} run --best-effort --profile strict -- /bin/true; true",
            cli.display()
        );
        assert_eq!(
            run(&stack, &project, &["--profile", "network-none"], &inner),
            Some(0)
        );
        let mut sessions: Vec<_> = records(&mut stack)
            .into_iter()
            .filter(|record| matches!(record.draft.body, RecordBody::Sandbox { .. }))
            .filter_map(|record| record.draft.session)
            .collect();
        assert!(!sessions.is_empty());
        sessions.dedup();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
    }
}
