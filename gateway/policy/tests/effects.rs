//! What the embedded policy says of what the kernel saw: whole sequences of activities of one call.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::net::IpAddr;

use defenseclaw_detect::paths::PathRules;
use defenseclaw_detect::{Detector, facts_of};
use defenseclaw_model::activity::{
    Action, Activity, Attribution, Basis, Explained, FileAccess, FileId, Protocol,
};
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::decision::{Mode, Posture, Severity, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId};
use defenseclaw_model::record::Binding;
use defenseclaw_policy::{CallEffects, DecideInput, JudgeInput, Policy};

const IMAGE: ImageId = ImageId { tgid: 7, exec_ns: 1 };

/// One activity, in short.
enum Did {
    Read(&'static str, &'static str),
    Wrote(&'static str, &'static str),
    Connected(&'static str, &'static str, u16),
    Ran(&'static str),
}

fn facts(command: &str) -> (Facts, CallKind) {
    let kind = CallKind::Command {
        command: command.to_owned(),
        background: false,
    };
    let call = ToolCall {
        call: CallId::new("c").unwrap(),
        tool: "Bash".to_owned(),
        kind,
        input: serde_json::Value::Null,
    };
    (facts_of(&call, Some("/home/u/p"), Some("/home/u")), call.kind)
}

fn activity(did: &Did) -> Activity {
    let file = FileId { dev: 1, ino: 2 };
    let open = |path: &str, access| Action::Open {
        path: path.to_owned(),
        path_truncated: false,
        access,
        file,
        class: PathRules::embedded().classify(path).map(str::to_owned),
    };
    let (program, action) = match did {
        Did::Read(program, path) => (*program, open(path, FileAccess::Read)),
        Did::Wrote(program, path) => (*program, open(path, FileAccess::Create)),
        Did::Connected(program, address, port) => {
            let address: IpAddr = address.parse().unwrap();
            (
                *program,
                Action::Connect {
                    protocol: Protocol::Tcp,
                    address,
                    port: *port,
                },
            )
        }
        Did::Ran(path) => {
            let action = Action::Exec {
                path: (*path).to_owned(),
                argv: vec![(*path).to_owned()],
                argv_truncated: false,
                cwd: "/home/u/p".to_owned(),
                file,
                parent: IMAGE,
            };
            (*path, action)
        }
    };
    Activity {
        time_ns: 1,
        session: SessionId::new("claude-code", "s").unwrap(),
        process: ProcessId { tgid: 7, start_ns: 1 },
        image: IMAGE,
        program: program.to_owned(),
        action,
        attribution: Attribution {
            call: Some(CallId::new("c").unwrap()),
            basis: Basis::Lineage,
            explained: Explained::Derived,
            after_call: false,
        },
    }
}

/// Judges what a call did, one activity after the other, as the gateway does.
fn judge(policy: &Policy, command: &str, doings: &[Did]) -> Vec<(String, Severity)> {
    let (facts, _) = facts(command);
    let mut effects = CallEffects::default();
    let mut found = Vec::new();
    for did in doings {
        let activity = activity(did);
        let input = JudgeInput {
            activity: &activity,
            declared: Some(&facts),
            tool: Some("Bash"),
            call_effects: effects.clone(),
        };
        found.extend(
            policy
                .judge(&input)
                .unwrap()
                .into_iter()
                .map(|finding| (finding.rule, finding.severity)),
        );
        if let Action::Open {
            path,
            access: FileAccess::Read,
            class: Some(class),
            ..
        } = &activity.action
            && PathRules::embedded().is_secret(class)
        {
            effects.credential_reads.push(path.clone());
        }
    }
    found
}

fn verdict(policy: &Policy, command: &str) -> Verdict {
    let (facts, call_kind) = facts(command);
    let call = ToolCall {
        call: CallId::new("c").unwrap(),
        tool: "Bash".to_owned(),
        kind: call_kind.clone(),
        input: serde_json::Value::Null,
    };
    let input = DecideInput {
        connector: "claude-code",
        session: &SessionId::new("claude-code", "s").unwrap(),
        mode: Mode::Action,
        now_ns: 0,
        cwd: Some("/home/u/p"),
        tool: "Bash",
        call_kind: &call_kind,
        facts: &facts,
        findings: &Detector::embedded().unwrap().call(&call, &facts),
        posture: &Posture::default(),
        binding: &Binding::Bound,
        sandbox: None,
        artifacts: &[],
        mcp: None,
        packages: &[],
    };
    policy.decide(&input).unwrap().verdict
}

#[test]
fn a_build_script_that_sends_a_credential_is_found_though_it_was_allowed() {
    let policy = Policy::embedded().unwrap();
    assert_eq!(verdict(&policy, "./build.sh"), Verdict::Allow);
    let found = judge(
        &policy,
        "./build.sh",
        &[
            Did::Ran("/home/u/p/build.sh"),
            Did::Wrote("/usr/bin/bash", "/home/u/p/out.txt"),
            Did::Read("/usr/bin/cat", "/home/u/.aws/credentials"),
            Did::Connected("/usr/bin/curl", "127.0.0.1", 39_123),
        ],
    );
    let expected = [
        ("effect.undeclared-credential-read".to_owned(), Severity::High),
        ("effect.exfiltration-shape".to_owned(), Severity::Critical),
    ];
    assert_eq!(found, expected);
}

#[test]
fn ordinary_work_leaves_no_finding() {
    let policy = Policy::embedded().unwrap();
    for (command, doings) in [
        (
            "git push origin main",
            vec![
                Did::Ran("/usr/bin/git"),
                Did::Ran("/usr/bin/ssh"),
                Did::Read("/usr/bin/ssh", "/home/u/.ssh/id_ed25519"),
                Did::Connected("/usr/bin/ssh", "203.0.113.9", 22),
                Did::Wrote("/usr/bin/git", "/home/u/p/.git/refs/remotes/origin/main"),
            ],
        ),
        (
            "npm install",
            vec![
                Did::Read("/usr/bin/node", "/home/u/.npmrc"),
                Did::Connected("/usr/bin/node", "203.0.113.9", 443),
                Did::Wrote("/usr/bin/node", "/home/u/p/node_modules/x/index.js"),
                Did::Ran("/usr/bin/node"),
            ],
        ),
        (
            "cargo build",
            vec![
                Did::Connected("/home/u/.cargo/bin/cargo", "203.0.113.9", 443),
                Did::Ran("/usr/bin/cc"),
                Did::Wrote("/usr/bin/rustc", "/home/u/p/target/x.o"),
            ],
        ),
        (
            "pip install -r requirements.txt",
            vec![Did::Connected("/usr/bin/python3.11", "203.0.113.9", 443)],
        ),
        (
            "aws s3 ls",
            vec![
                Did::Read("/usr/bin/python3.11", "/home/u/.aws/credentials"),
                Did::Connected("/usr/bin/python3.11", "203.0.113.9", 443),
            ],
        ),
        (
            "kubectl get pods",
            vec![
                Did::Read("/usr/local/bin/kubectl", "/home/u/.kube/config"),
                Did::Connected("/usr/local/bin/kubectl", "203.0.113.9", 6443),
            ],
        ),
        (
            "curl -s https://api.example.com/",
            vec![Did::Connected("/usr/bin/curl", "203.0.113.9", 443)],
        ),
        (
            "git clone https://github.com/a/b",
            vec![
                Did::Wrote("/usr/bin/git", "/home/u/p/b/.git/hooks/pre-commit.sample"),
                Did::Wrote("/usr/bin/git", "/home/u/p/b/CLAUDE.md"),
                Did::Connected("/usr/lib/git-core/git-remote-https", "203.0.113.9", 443),
            ],
        ),
        (
            "npm test",
            vec![Did::Connected("/usr/bin/node", "127.0.0.1", 3000)],
        ),
        (
            "make",
            vec![
                Did::Ran("/usr/bin/gcc"),
                Did::Wrote("/usr/bin/ld", "/home/u/p/a.out"),
            ],
        ),
    ] {
        assert_eq!(verdict(&policy, command), Verdict::Allow, "{command}");
        assert_eq!(judge(&policy, command, &doings), [], "{command}");
    }
}
