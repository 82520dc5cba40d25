//! What the end-to-end tests share: reading a ledger beside the recorded truth.

// Each test program takes what it needs.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "every test program compiles this module for itself"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use defenseclaw_audit::{Query, Reader};
use defenseclaw_model::activity::{Action, Activity, FileAccess};
use defenseclaw_model::decision::Mode;
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::{Record, RecordBody};
use defenseclaw_testkit::script::Call;
use defenseclaw_testkit::truth::{self, Act, ActKind, Score, TRUTH};
use defenseclaw_testkit::workplace::{Workplace, outside};
use defenseclaw_testkit::{Stack, StackOptions};

/// What the ledger says of each act: the call, or `None`.
pub(crate) type Seen = BTreeMap<(ActKind, String), Option<String>>;

/// A stack, a workplace, and a file that the recorder appends to.
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) place: Workplace,
    pub(crate) truth: PathBuf,
    pub(crate) actor: PathBuf,
    objects: usize,
}

impl Scene {
    /// A scene whose calls are all let run: they read credentials, which policy would refuse.
    pub(crate) fn observed() -> Self {
        Self::set(StackOptions {
            mode: Mode::Observe,
            ..StackOptions::default()
        })
    }

    pub(crate) fn set(options: StackOptions) -> Self {
        let stack = Stack::start(options).unwrap();
        let place = Workplace::make(stack.folder(), outside().unwrap()).unwrap();
        let truth = stack.folder().join("truth.jsonl");
        File::create(&truth).unwrap();
        let actor = stack.folder().join("bin/actor");
        fs::copy(env!("CARGO_BIN_EXE_actor"), &actor).unwrap();
        Self {
            stack,
            place,
            truth,
            actor,
            objects: 0,
        }
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = self.stack.environment();
        environment.push((TRUTH, self.truth.display().to_string()));
        environment.push(("HOME", self.place.home.display().to_string()));
        environment
    }

    /// A name that no other act of this scene has.
    pub(crate) fn fresh(&mut self, what: &str) -> String {
        self.objects += 1;
        format!("{what}-{}", self.objects)
    }

    pub(crate) fn path(&mut self, what: &str) -> String {
        let name = self.fresh(what);
        self.place.project.join(name).display().to_string()
    }

    /// Operations of every kind, for one call. With `orphan`, one of them happens after the call is over.
    pub(crate) fn operations(&mut self, orphan: bool) -> String {
        let mut operations = Vec::new();
        for _ in 0..3 {
            operations.push(format!("create={}", self.path("made")));
            operations.push(format!("connect=127.0.0.1:{}", outside().unwrap()));
        }
        let old = self.path("old");
        fs::write(&old, "old").unwrap();
        operations.push(format!("write={old}"));
        // Only reads of watched paths are seen: each call has a credential file of its own.
        let home = self.path("home");
        fs::create_dir_all(format!("{home}/.aws")).unwrap();
        fs::write(format!("{home}/.aws/credentials"), "none").unwrap();
        operations.push(format!("read={home}/.aws/credentials"));
        operations.push(format!("exec={}", self.fresh("word")));
        operations.push(format!("thread-exec={}", self.fresh("word")));
        operations.push(format!("create={}", self.path("made")));
        if orphan {
            operations.push(format!("daemon={}", self.path("orphan")));
        }
        operations.join(" ")
    }

    /// A command that acts in every way. `program` runs the recorder.
    pub(crate) fn acting(&mut self, id: &str, program: &str, orphan: bool) -> Call {
        let operations = self.operations(orphan);
        Call::bash(id, &format!("{program} {id} {operations}"))
    }

    /// A file edit by the harness itself, noted as an act of its call.
    pub(crate) fn writing(&mut self, id: &str, acts: &mut Vec<Act>) -> Call {
        let path = self.path("written");
        acts.push(Act {
            tag: id.into(),
            kind: ActKind::Create,
            pid: 0,
            object: path.clone(),
        });
        Call::write(id, &path, "by the harness\n")
    }

    pub(crate) fn records(&self, session: &str) -> Vec<Record> {
        let session = SessionId::new("claude-code", session).unwrap();
        let query = Query {
            session: Some(session),
            ..Query::default()
        };
        Reader::open(&self.stack.ledger()).unwrap().query(&query).unwrap()
    }

    /// Everything in the ledger, of whatever session.
    pub(crate) fn all_records(&self) -> Vec<Record> {
        Reader::open(&self.stack.ledger())
            .unwrap()
            .query(&Query::default())
            .unwrap()
    }

    /// Compares the ledger with what the recorder noted, and with `more` that the test itself knows.
    pub(crate) fn score(&self, session: &str, more: Vec<Act>) -> Score {
        let mut acts = truth::read(&self.truth).unwrap();
        acts.extend(more);
        Score::of(&acts, &seen(&self.records(session)))
    }

    pub(crate) fn assert_chain_holds(&self) {
        let verified = defenseclaw_audit::verify(&self.stack.ledger(), &mut |_, _| {}).unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    }
}

pub(crate) fn activities(records: &[Record]) -> impl Iterator<Item = &Activity> {
    records.iter().filter_map(|record| match &record.draft.body {
        RecordBody::Activity { activity } => Some(activity),
        _ => None,
    })
}

/// The acts among the ledger's activities. One that the ledger gives to two calls is given to neither.
pub(crate) fn seen(records: &[Record]) -> Seen {
    let mut seen = Seen::new();
    for activity in activities(records) {
        let Some(key) = key(&activity.action) else {
            continue;
        };
        let call = activity.attribution.call.as_ref().map(ToString::to_string);
        let known = seen.entry(key).or_insert_with(|| call.clone());
        if *known != call {
            *known = Some("two calls at once".to_owned());
        }
    }
    seen
}

fn key(action: &Action) -> Option<(ActKind, String)> {
    match action {
        Action::Open { path, access, .. } => {
            let kind = match access {
                FileAccess::Read => ActKind::Read,
                FileAccess::Write => ActKind::Write,
                FileAccess::Create => ActKind::Create,
            };
            Some((kind, target(path).to_owned()))
        }
        Action::Connect { address, port, .. } => Some((ActKind::Connect, format!("{address}:{port}"))),
        Action::Exec { argv, .. } => {
            let word = argv.iter().find_map(|word| word.strip_prefix("executed="))?;
            Some((ActKind::Exec, word.to_owned()))
        }
        _ => None,
    }
}

/// The file that a write beside it is for: `X.tmp.PID.HEX` is renamed to `X`.
fn target(path: &str) -> &str {
    path.split_once(".tmp.").map_or(path, |(target, _)| target)
}

/// Past the test harness's capture: numbers that a person wants to see when everything passes too.
pub(crate) fn announce(text: &str) {
    std::io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .unwrap();
}

/// Waits for a file to appear.
pub(crate) fn await_file(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} did not appear", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
