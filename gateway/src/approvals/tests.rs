//! The queue on a ledger of its own, with the clock held.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use defenseclaw_audit::{Ledger, Query, Reader};
use defenseclaw_model::api::{ApprovalAnswer, Scope};
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::config::{ApprovalConfig, Durability, TimeoutAnswer};
use defenseclaw_model::decision::{Decision, Severity, Verdict};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::RecordBody;
use tokio::time::Instant;

use super::*;
use crate::ledger_writer::LedgerWriter;

const OWNER: u32 = 1000;

struct Scene {
    folder: tempfile::TempDir,
    approvals: Arc<Approvals>,
}

impl Scene {
    fn new(config: &ApprovalConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), Durability::Process).unwrap();
        let (ledger, _ended) = LedgerWriter::start(ledger, Durability::Process).unwrap();
        let approvals = Approvals::new(config, ledger, &folder.path().join("grants.json"));
        Self {
            approvals: Arc::new(approvals),
            folder,
        }
    }

    fn ask(&self, pending: Pending) -> tokio::task::JoinHandle<Answer> {
        let approvals = Arc::clone(&self.approvals);
        tokio::spawn(async move { approvals.ask(pending).await })
    }

    /// The id of the only call that waits, once it does.
    async fn waiting(&self) -> String {
        loop {
            if let [approval] = &self.approvals.list()[..] {
                return approval.id.clone();
            }
            tokio::task::yield_now().await;
        }
    }

    /// (state, scope, by) of every approval record.
    fn states(&self) -> Vec<(String, Option<String>, Option<u32>)> {
        let records = Reader::open(&self.folder.path().join("ledger.db"))
            .unwrap()
            .query(&Query::default())
            .unwrap();
        let state = |body| match body {
            RecordBody::Approval {
                state, scope, by_uid, ..
            } => (state, scope, by_uid),
            other => panic!("{other:?}"),
        };
        records
            .into_iter()
            .map(|record| state(record.draft.body))
            .collect()
    }

    fn grants(&self) -> PathBuf {
        self.folder.path().join("grants.json")
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn session(name: &str) -> SessionId {
    SessionId::new("codex", name).unwrap()
}

fn fingerprint(command: &str) -> Fingerprint {
    let call = ToolCall {
        call: CallId::new("c").unwrap(),
        tool: "shell".into(),
        kind: CallKind::Command {
            command: command.into(),
            background: false,
        },
        input: serde_json::Value::Null,
    };
    let decision = Decision {
        verdict: Verdict::Ask,
        severity: Severity::Medium,
        reason: "r".into(),
        findings: Vec::new(),
        rule: "x".into(),
        line: String::new(),
        updated_input: None,
        sandbox: None,
        policy: "p".into(),
        enforced: true,
    };
    Fingerprint::of(&call, &decision)
}

fn pending(name: &str, wait: Duration) -> Pending {
    Pending {
        session: session(name),
        owner: OWNER,
        call: CallId::new("c").unwrap(),
        tool: "shell".into(),
        summary: "make install".into(),
        reason: "It becomes root".into(),
        rule: "privilege.raise".into(),
        fingerprint: fingerprint("make install"),
        cwd: Some("/home/kim/app".into()),
        deadline: Instant::now() + wait,
    }
}

const LONG: Duration = Duration::from_secs(60);

const YES: ApprovalAnswer = ApprovalAnswer {
    approve: true,
    scope: Scope::Once,
};

fn covered(approvals: &Approvals, name: &str, owner: u32, command: &str, cwd: &str) -> bool {
    approvals
        .matches(&session(name), owner, &fingerprint(command), Some(cwd))
        .is_some()
}

#[test]
fn a_person_s_answer_is_recorded_before_it_is_given() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        let asked = scene.ask(pending("a", LONG));
        let id = scene.waiting().await;
        let shown = scene.approvals.get(&id).unwrap();
        assert_eq!((shown.tool.as_str(), shown.owner), ("shell", OWNER));
        assert!((50..=60).contains(&shown.left_s));
        scene.approvals.answer(&id, YES, 7).await.unwrap();
        let answer = asked.await.unwrap();
        assert!(answer.allows() && answer.words().contains("user 7"), "{answer:?}");
        assert_eq!(answer.approval, id);
        let again = scene.approvals.answer(&id, YES, 7).await.unwrap_err();
        assert!(matches!(again, AnswerError::Unknown(_)));
        assert!(!covered(
            &scene.approvals,
            "a",
            OWNER,
            "make install",
            "/home/kim/app"
        ));

        let asked = scene.ask(pending("a", LONG));
        let id = scene.waiting().await;
        let no = ApprovalAnswer {
            approve: false,
            scope: Scope::AlwaysHere,
        };
        scene.approvals.answer(&id, no, 8).await.unwrap();
        let answer = asked.await.unwrap();
        assert_eq!((answer.outcome, answer.scope), (Outcome::Denied, None));
        assert!(scene.approvals.grants().is_empty(), "a refusal grants nothing");
        let states = scene.states();
        let of = |state: &str, scope: Option<&str>, by| (state.to_owned(), scope.map(str::to_owned), by);
        assert_eq!(
            states,
            [
                of("requested", None, None),
                of("approved", Some("once"), Some(7)),
                of("requested", None, None),
                of("denied", None, Some(8)),
            ]
        );
    });
}

#[test]
fn nobody_s_answer_is_the_configuration_s() {
    for (on_timeout, allowed) in [(TimeoutAnswer::Deny, false), (TimeoutAnswer::Allow, true)] {
        run(async {
            let scene = Scene::new(&ApprovalConfig {
                on_timeout,
                ..ApprovalConfig::default()
            });
            let answer = scene.ask(pending("a", Duration::from_millis(30))).await.unwrap();
            assert_eq!(answer.outcome, Outcome::TimedOut { allowed });
            assert_eq!(answer.allows(), allowed);
            assert_eq!(scene.states()[1].0, "timed_out");
            assert!(scene.approvals.list().is_empty());
        });
    }
}

#[test]
fn a_wait_ends_well_before_the_harness_gives_up() {
    run(async {
        let scene = Scene::new(&ApprovalConfig {
            timeout_s: 100_000,
            ..ApprovalConfig::default()
        });
        let now = std::time::Instant::now();
        let wait =
            |harness| scene.approvals.deadline(now, Duration::from_secs(harness)) - Instant::from_std(now);
        assert_eq!(wait(60), Duration::from_secs(58));
        assert_eq!(wait(1), Duration::ZERO);
        assert_eq!(
            wait(100_000),
            Duration::from_secs(240),
            "a connection lasts 300 s"
        );
    });
}

#[test]
fn what_nobody_waits_for_any_more_is_withdrawn() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        let (presence, client) = client::arrive();
        let approvals = Arc::clone(&scene.approvals);
        let asked = tokio::spawn(client::on_behalf_of(client, async move {
            approvals.ask(pending("a", LONG)).await
        }));
        let id = scene.waiting().await;
        drop(presence);
        assert_eq!(asked.await.unwrap().outcome, Outcome::Withdrawn);
        assert!(scene.approvals.answer(&id, YES, 7).await.is_err());

        let asked = scene.ask(pending("a", LONG));
        scene.waiting().await;
        scene.approvals.session_ended(&session("other"));
        scene.waiting().await;
        scene.approvals.session_ended(&session("a"));
        assert_eq!(asked.await.unwrap().outcome, Outcome::Withdrawn);

        // The decision itself was dropped.
        let asked = scene.ask(pending("a", LONG));
        scene.waiting().await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert!(scene.approvals.list().is_empty());
    });
}

#[test]
fn the_queue_is_bounded_for_each_session_and_for_all() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        let mut asked = Vec::new();
        for number in 0..40 {
            asked.push(scene.ask(pending("a", LONG)));
            asked.push(scene.ask(pending(&format!("s{}", number / 8), LONG)));
            for name in ["t", "u"] {
                let another = Pending {
                    owner: OWNER + 1,
                    ..pending(&format!("{name}{}", number / 8), LONG)
                };
                asked.push(scene.ask(another));
            }
            tokio::task::yield_now().await;
        }
        while asked.iter().filter(|one| one.is_finished()).count() < 160 - 128
            || scene.approvals.list().len() < 128
        {
            tokio::task::yield_now().await;
        }
        let list = scene.approvals.list();
        assert_eq!(list.len(), 128);
        let mine = list
            .iter()
            .filter(|approval| approval.session == session("a"))
            .count();
        assert_eq!(mine, 32);
        let (done, _waiting): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.is_finished());
        for refused in done {
            let answer = refused.await.unwrap();
            assert!(matches!(&answer.outcome, Outcome::NotAsked { why } if why.contains("wait already")));
            assert!(!answer.allows());
        }
    });
}

#[test]
fn one_user_does_not_fill_the_queue_for_others() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        let asked: Vec<_> = (0..100)
            .map(|number| scene.ask(pending(&format!("s{}", number / 10), LONG)))
            .collect();
        while asked.iter().filter(|one| one.is_finished()).count() < 4 || scene.approvals.list().len() < 96 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.approvals.list().len(), 96);
        let another = Pending {
            owner: OWNER + 1,
            ..pending("other", LONG)
        };
        let _asked = scene.ask(another);
        while scene.approvals.list().len() < 97 {
            tokio::task::yield_now().await;
        }
    });
}

async fn approved(scene: &Scene, name: &str, scope: Scope) -> String {
    let asked = scene.ask(pending(name, LONG));
    let id = scene.waiting().await;
    let answer = ApprovalAnswer { approve: true, scope };
    scene.approvals.answer(&id, answer, 7).await.unwrap();
    assert_eq!(asked.await.unwrap().scope, Some(scope));
    id
}

#[test]
fn an_approval_covers_the_same_call_of_the_same_user_in_the_same_place_and_no_other() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        let approvals = &scene.approvals;
        approved(&scene, "a", Scope::Session).await;
        let here = "/home/kim/app";
        assert!(covered(approvals, "a", OWNER, "make install", here));
        assert!(!covered(approvals, "b", OWNER, "make install", here));
        assert!(!covered(approvals, "a", OWNER, "make install", "/home/kim"));
        assert!(!covered(approvals, "a", OWNER, "make uninstall", here));
        assert!(!covered(approvals, "a", OWNER + 1, "make install", here));
        approvals.session_ended(&session("a"));
        assert!(!covered(approvals, "a", OWNER, "make install", here));
        assert!(!scene.grants().exists(), "a session's approval is not kept");

        let id = approved(&scene, "a", Scope::AlwaysHere).await;
        approvals.session_ended(&session("a"));
        assert!(covered(approvals, "b", OWNER, "make install", here));
        assert!(!covered(approvals, "b", OWNER, "make install", "/tmp"));
        assert!(!covered(approvals, "b", OWNER + 1, "make install", here));
        assert!(
            approvals
                .matches(&session("b"), OWNER, &fingerprint("make install"), None)
                .is_none()
        );
        let claude = SessionId::new("claude-code", "b").unwrap();
        assert!(
            approvals
                .matches(&claude, OWNER, &fingerprint("make install"), Some(here))
                .is_none()
        );

        assert_eq!(approvals.revoke(&id, 7).await.unwrap().unwrap().id, id);
        assert!(approvals.revoke(&id, 7).await.unwrap().is_none());
        assert!(!covered(approvals, "b", OWNER, "make install", here));
        assert_eq!(scene.states().last().unwrap().0, "revoked");
    });
}

#[test]
fn a_call_in_no_known_folder_cannot_be_approved_for_one() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        let asked = scene.ask(Pending {
            cwd: None,
            ..pending("a", LONG)
        });
        let id = scene.waiting().await;
        let always = ApprovalAnswer {
            approve: true,
            scope: Scope::AlwaysHere,
        };
        assert!(matches!(
            scene.approvals.answer(&id, always, 7).await,
            Err(AnswerError::NoFolder)
        ));
        scene.approvals.answer(&id, YES, 7).await.unwrap();
        assert!(asked.await.unwrap().allows());
    });
}

fn grants_in(path: &Path) -> Result<usize, String> {
    let own = nix::unistd::geteuid().as_raw();
    let grants = Grants::open(path, own).map_err(|error| error.to_string())?;
    Ok(grants.list(0).count())
}

#[test]
fn what_is_kept_comes_back_and_is_taken_from_nobody_else() {
    run(async {
        let scene = Scene::new(&ApprovalConfig::default());
        approved(&scene, "a", Scope::AlwaysHere).await;
        approved(&scene, "a", Scope::Session).await;
        let file = scene.grants();
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(grants_in(&file), Ok(1));
        for others in [0o640, 0o602, 0o666] {
            mode(others);
            assert!(grants_in(&file).unwrap_err().contains("others may use it"));
        }
        mode(0o600);
        let own = nix::unistd::geteuid().as_raw();
        let stranger = Grants::open(&file, own + 1).unwrap_err().to_string();
        assert!(stranger.contains("belongs to uid"), "{stranger}");
        let link = scene.folder.path().join("link.json");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(grants_in(&link).unwrap_err().contains("a link"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"always-here\"", "\"session\"")).unwrap();
        assert_eq!(
            grants_in(&file),
            Ok(0),
            "only what holds for a folder is kept there"
        );
        std::fs::write(&file, text.replace("\"version\":1", "\"version\":2")).unwrap();
        assert!(grants_in(&file).unwrap_err().contains("version 2"));
        std::fs::write(&file, "nonsense").unwrap();
        assert!(grants_in(&file).unwrap_err().contains("Remove the file"));
        assert_eq!(grants_in(&scene.folder.path().join("none.json")), Ok(0));
    });
}

#[test]
fn a_grant_ends_and_the_oldest_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut grants = Grants::none(&folder.path().join("grants.json"));
    let grant = |number: u64, until_ns| Grant {
        id: number.to_string(),
        scope: Scope::Session,
        session: session("a"),
        owner: OWNER,
        fingerprint: fingerprint("make"),
        cwd: None,
        summary: String::new(),
        rule: String::new(),
        by_uid: 0,
        given_ns: 0,
        until_ns,
    };
    grants.add(grant(0, 100), 0).unwrap();
    let found = |grants: &Grants, now| {
        grants
            .matching(&session("a"), OWNER, &fingerprint("make"), None, now)
            .is_some()
    };
    assert!(found(&grants, 99) && !found(&grants, 100));
    for number in 1..=5_000 {
        grants.add(grant(number, 1_000), 0).unwrap();
    }
    let kept: Vec<_> = grants.list(0).collect();
    assert_eq!((kept.len(), kept[0].id.as_str()), (4_096, "905"));
}
