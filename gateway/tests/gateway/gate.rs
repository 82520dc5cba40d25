//! The install gate between a fake agent and real operators.

use std::fs;
use std::os::unix::net::UnixStream;

use defenseclaw_model::admission::{AdmissionAction, ArtifactKind};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::gate::{
    GateQuestion, GateScan, GatedArtifact, QuarantineEntry, QuarantineOutcome, QuarantineVerb,
};
use defenseclaw_model::record::{Binding, RecordBody};
use defenseclaw_model::wire::{AgentStatus, FamilyStatus, Tier, ToAgent, ToGateway, Whose};
use serde_json::json;

use crate::api::{get, json_of, post};
use crate::world::{FakeAgent, World};

const ACTION: &str = "mode: action";
const DIGEST: &str = "sha256:0101010101010101010101010101010101010101010101010101010101010101";

fn artifact() -> GatedArtifact {
    GatedArtifact {
        kind: ArtifactKind::Skill,
        connector: "claude-code".into(),
        name: "pdf".into(),
        path: "/home/kim/.claude/skills/pdf".into(),
        digest: DIGEST.into(),
        uid: 1000,
        files: 1,
        bytes: 9,
    }
}

fn ask(request: u64, severity: &str) -> ToGateway {
    let findings = match severity {
        "NONE" => json!([]),
        severity => {
            json!([{"rule": "skill.exfil", "category": "exfiltration", "severity": severity, "confidence": 90,
            "file": "SKILL.md", "line": 3, "message": "it sends credentials away"}])
        }
    };
    let report = json!({"kind": "skill", "name": "pdf", "target": "x", "digest": DIGEST, "files": 1, "bytes": 9,
        "findings": findings, "verdict": {"severity": severity, "confidence": 90}});
    ToGateway::Admit {
        request,
        question: Box::new(GateQuestion {
            artifact: artifact(),
            session: None,
            opener: "/usr/bin/node".into(),
            scan: GateScan::Report {
                json: report.to_string(),
            },
            scan_ms: 2,
        }),
    }
}

fn entry(id: &str) -> QuarantineEntry {
    QuarantineEntry {
        id: id.into(),
        artifact: artifact(),
        time_ns: 5,
        reason: "HIGH: x".into(),
        severity: Severity::High,
        rules: vec!["skill.exfil".into()],
        held_at: "/var/lib/defenseclaw/quarantine/x".into(),
    }
}

fn moves(world: &World) -> Vec<(String, String, Option<u32>)> {
    let moved = |body| match body {
        RecordBody::Quarantine { entry, state, by_uid } => Some((entry.id, state, by_uid)),
        _ => None,
    };
    world
        .records()
        .into_iter()
        .filter_map(|record| moved(record.draft.body))
        .collect()
}

/// An agent with a quarantine of one entry; everybody's process is `whose` says.
fn holding(mut agent: FakeAgent, whose: Whose) -> (std::thread::JoinHandle<()>, UnixStream) {
    let stream = agent.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let mut held = vec![entry("q-000000000001")];
        while let Some(frame) = agent.receive() {
            match frame {
                ToAgent::Whose { request, .. } => agent.send(&ToGateway::Whose {
                    request,
                    whose: whose.clone(),
                }),
                ToAgent::Register { request, .. } => agent.send(&ToGateway::Registered {
                    request,
                    binding: Binding::Bound,
                }),
                ToAgent::Quarantine { request, verb } => {
                    let entries = match verb {
                        QuarantineVerb::List => held.clone(),
                        QuarantineVerb::Restore { .. } | QuarantineVerb::Delete { .. } => held.split_off(0),
                    };
                    let outcome = QuarantineOutcome::Done { entries };
                    agent.send(&ToGateway::QuarantineDone { request, outcome });
                }
                other => panic!("{other:?}"),
            }
        }
    });
    (thread, stream)
}

#[test]
fn an_answer_is_in_the_ledger_before_the_agent_has_it() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    agent.send(&ask(7, "HIGH"));
    let Some(ToAgent::Admitted { request: 7, answer }) = agent.receive() else {
        panic!("no answer\n{}", world.log())
    };
    assert_eq!((answer.action, answer.enforced), (AdmissionAction::Block, true));
    assert_eq!(answer.rules, ["skill.exfil"]);
    assert_eq!(world.kinds(), ["admission", "finding"]);
    agent.send(&ask(8, "NONE"));
    assert!(matches!(
        agent.receive(),
        Some(ToAgent::Admitted { request: 8, answer }) if answer.action == AdmissionAction::Allow
    ));
    let known = json_of(&get(&world, "/v1/artifacts"));
    assert_eq!(
        known["artifacts"][0]["answer"]["action"], "allow",
        "the last answer counts"
    );
    assert_eq!(known["artifacts"].as_array().unwrap().len(), 1);
    let status = world.status().gate.unwrap();
    assert_eq!((status.allowed, status.blocked, status.tier), (1, 1, Tier::None));
    agent.send(&ToGateway::Status {
        status: AgentStatus {
            families: vec![FamilyStatus {
                family: "install".into(),
                tier: Tier::Fanotify,
                detail: "a canary open was refused".into(),
            }],
            ..AgentStatus::default()
        },
    });
    world.until("the tier is told", |world| {
        world.status().gate.unwrap().tier == Tier::Fanotify
    });
    assert!(
        get(&world, "/v1/metrics")
            .body
            .contains("defenseclaw_artifacts_admitted_total{action=\"block\"} 1")
    );
    world.verify();
}

#[test]
fn the_scope_follows_welcome_and_everything_that_changes_it() {
    let world = World::start(ACTION);
    let mut agent = world.agent();
    let first = agent.scope();
    assert!(first.revision > 0 && first.projects.is_empty());
    let work = world.path("work");
    fs::create_dir_all(work.join("src")).unwrap();
    fs::create_dir(work.join(".git")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| world.event("SessionStart", json!({"cwd": work.join("src")})));
        // Before the hook is registered, and so before its harness goes on.
        let scope = agent.scope();
        assert_eq!(scope.projects, [work.to_str().unwrap()]);
        assert_eq!(scope.revision, first.revision);
        agent.answer(Binding::Bound);
    });
    let (thread, stream) = holding(agent, Whose::Nobody);
    assert_eq!(post(&world, "/v1/policy/reload", &json!({})).status, 200);
    let block = json!({"verb": "add", "list": "block", "kind": "skill", "name": "pdf", "reason": "r"});
    assert_eq!(
        json_of(&post(&world, "/v1/artifact-lists", &block))["list"],
        "block"
    );
    world.until_agent_leaves((thread, stream));
    let mut agent = world.agent();
    let last = agent.scope();
    assert!(last.revision > first.revision);
    assert_eq!(last.projects, [work.to_str().unwrap()]);
    agent.send(&ask(1, "NONE"));
    assert!(matches!(
        agent.receive(),
        Some(ToAgent::Admitted { answer, .. }) if answer.action == AdmissionAction::Block
    ));
}

#[test]
fn what_went_into_quarantine_is_recorded_once() {
    let mut world = World::start(ACTION);
    let mut agent = world.agent();
    let told = || ToGateway::Quarantined {
        entry: Box::new(entry("q-000000000001")),
    };
    for _ in 0..3 {
        agent.send(&told());
        assert_eq!(
            agent.receive(),
            Some(ToAgent::QuarantineNoted {
                id: "q-000000000001".into()
            })
        );
    }
    world.end(nix::sys::signal::Signal::SIGKILL);
    world.start_gateway();
    let mut agent = world.agent();
    agent.send(&told());
    assert!(matches!(agent.receive(), Some(ToAgent::QuarantineNoted { .. })));
    assert_eq!(
        moves(&world),
        [("q-000000000001".to_owned(), "held".to_owned(), None)]
    );
    assert_eq!(world.status().gate.unwrap().quarantined, 1);
}

#[test]
fn an_operator_releases_and_the_same_bytes_are_admitted() {
    let world = World::start(ACTION);
    let held = holding(world.agent(), Whose::Nobody);
    let list = json_of(&get(&world, "/v1/quarantine"));
    assert_eq!(list["entries"][0]["id"], "q-000000000001");
    assert_eq!(
        post(&world, "/v1/quarantine/q-9/restore", &json!(null)).status,
        404
    );
    let body = json!({"reason": "read in full", "for_s": 3600});
    let released = json_of(&post(&world, "/v1/quarantine/q-000000000001/release", &body));
    assert_eq!(released["artifact"]["name"], "pdf");
    let uid = nix::unistd::geteuid().as_raw();
    assert_eq!(
        moves(&world),
        [("q-000000000001".to_owned(), "released".to_owned(), Some(uid))]
    );
    assert_eq!(json_of(&get(&world, "/v1/quarantine"))["entries"], json!([]));
    let listed = json_of(&get(&world, "/v1/artifact-lists"));
    assert_eq!(listed["entries"][0]["digest"], DIGEST);
    world.until_agent_leaves(held);
    let mut agent = world.agent();
    agent.send(&ask(1, "CRITICAL"));
    assert!(matches!(
        agent.receive(),
        Some(ToAgent::Admitted { answer, .. }) if answer.action == AdmissionAction::Allow
    ));
}

#[test]
fn an_agent_s_own_process_releases_nothing() {
    let world = World::start(ACTION);
    let held = holding(world.agent(), Whose::Session { session: None });
    for (path, body) in [
        ("/v1/quarantine/q-000000000001/release", json!({"reason": "r"})),
        ("/v1/quarantine/q-000000000001/restore", json!(null)),
        ("/v1/quarantine/q-000000000001/delete", json!(null)),
        (
            "/v1/artifact-lists",
            json!({"verb": "add", "list": "allow", "digest": DIGEST, "reason": "r"}),
        ),
    ] {
        let answer = post(&world, path, &body);
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    assert!(moves(&world).is_empty() && !world.kinds().contains(&"list_change"));
    world.until_agent_leaves(held);
}

#[test]
fn without_an_agent_it_is_said_that_nothing_is_scanned() {
    let world = World::start(ACTION);
    let answer = get(&world, "/v1/quarantine");
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("no agent is connected"), "{answer:?}");
    let gate = world.status().gate.unwrap();
    assert_eq!(gate.tier, Tier::None);
    assert!(gate.detail.contains("nothing is scanned"), "{}", gate.detail);
}
