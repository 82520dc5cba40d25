//! Taken away, put back, deleted; and what a crash at any step leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::sync::atomic::Ordering;

use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::gate::GatedArtifact;
use defenseclaw_testkit::{Need, require};
use nix::sys::stat::lstat;

use super::*;

/// Steps of `hold`, and those of `restore`.
const HOLD: std::ops::RangeInclusive<usize> = 1..=7;
const RESTORE: std::ops::RangeInclusive<usize> = 8..=9;

struct Stage {
    folder: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Stage {
    /// With the store on the artifact's file system, or on another one.
    fn new(other: bool) -> Option<Self> {
        if !require(&[Need::Root]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = if other {
            tempfile::tempdir_in("/dev/shm").unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let device = |path: &Path| path.metadata().unwrap().dev();
        assert_eq!(
            device(folder.path()) != device(state.path()),
            other,
            "/dev/shm is a file system of its own"
        );
        let root = folder.path().join("x");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("SKILL.md"), "text").unwrap();
        fs::write(root.join("a/b.sh"), "echo").unwrap();
        symlink("a/b.sh", root.join("link")).unwrap();
        for path in ["", "a", "SKILL.md", "a/b.sh"] {
            chown(root.join(path), Some(1234), Some(1235)).unwrap();
        }
        fs::set_permissions(root.join("a/b.sh"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
        Some(Self { folder, state })
    }

    fn artifact(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("x")
    }

    fn store(&self) -> Quarantine {
        Quarantine::open(self.state.path()).unwrap()
    }

    fn hold(&self, store: &Quarantine) -> Result<QuarantineEntry, QuarantineError> {
        let path = self.artifact();
        let stat = lstat(&path).unwrap();
        store.hold(entry(&path), &path, (stat.st_dev, stat.st_ino))
    }

    /// Whole, as it was, under its owner.
    fn is_whole(&self) -> bool {
        let root = self.artifact();
        let Ok(meta) = root.symlink_metadata() else {
            return false;
        };
        let script = root.join("a/b.sh").metadata().unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o7777),
            (1234, 1235, 0o750)
        );
        assert_eq!((script.uid(), script.mode() & 0o7777), (1234, 0o751));
        assert_eq!(fs::read_to_string(root.join("link")).unwrap(), "echo");
        assert_eq!(fs::read_to_string(root.join("SKILL.md")).unwrap(), "text");
        true
    }

    /// Names in the artifact's folder.
    fn left(&self) -> Vec<String> {
        let all = fs::read_dir(self.folder.path()).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn entry(path: &Path) -> QuarantineEntry {
    QuarantineEntry {
        id: new_id().unwrap(),
        artifact: GatedArtifact {
            kind: ArtifactKind::Skill,
            connector: "claude-code".into(),
            name: "x".into(),
            path: path.to_string_lossy().into_owned(),
            digest: String::new(),
            uid: 1234,
            files: 2,
            bytes: 8,
        },
        time_ns: 1,
        reason: "because".into(),
        severity: Severity::High,
        rules: vec![],
        held_at: String::new(),
    }
}

fn done(outcome: QuarantineOutcome) -> Vec<QuarantineEntry> {
    match outcome {
        QuarantineOutcome::Done { entries } => entries,
        QuarantineOutcome::Refused { reason } => panic!("{reason}"),
    }
}

fn refused(outcome: QuarantineOutcome) -> String {
    match outcome {
        QuarantineOutcome::Refused { reason } => reason,
        QuarantineOutcome::Done { entries } => panic!("{entries:?}"),
    }
}

fn restore(id: &str) -> QuarantineVerb {
    QuarantineVerb::Restore { id: id.into() }
}

#[test]
fn what_is_taken_away_is_gone_and_comes_back_as_it_was() {
    for other in [false, true] {
        let Some(stage) = Stage::new(other) else { return };
        assert!(stage.is_whole());
        let store = stage.store();
        let held = stage.hold(&store).unwrap();
        assert!(stage.left().is_empty(), "{:?}", stage.left());
        assert_eq!(
            done(store.obey(&QuarantineVerb::List)),
            std::slice::from_ref(&held)
        );
        let meta = Path::new(&held.held_at).metadata().unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0));
        // It outlives the agent, and is told until the ledger has it.
        let store = stage.store();
        assert_eq!(store.unnoted(), std::slice::from_ref(&held));
        store.noted(&held.id).unwrap();
        assert!(store.unnoted().is_empty());
        assert_eq!(done(store.obey(&restore(&held.id))).len(), 1);
        assert!(stage.is_whole());
        assert_eq!(stage.left(), ["x"]);
        assert!(done(store.obey(&QuarantineVerb::List)).is_empty());
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_unknown_is_touched() {
    let Some(stage) = Stage::new(false) else { return };
    let store = stage.store();
    let held = stage.hold(&store).unwrap();
    fs::write(stage.artifact(), "another").unwrap();
    assert!(refused(store.obey(&restore(&held.id))).contains("nothing is overwritten"));
    assert_eq!(fs::read_to_string(stage.artifact()).unwrap(), "another");
    for id in ["q-000000000000", "../../etc", "", "q-00000000000/"] {
        assert!(refused(store.obey(&QuarantineVerb::Delete { id: id.into() })).contains("no entry"));
    }
    done(store.obey(&QuarantineVerb::Delete { id: held.id.clone() }));
    assert!(!Path::new(&held.held_at).exists() && done(store.obey(&QuarantineVerb::List)).is_empty());
}

#[test]
fn nothing_is_put_back_through_a_link() {
    let Some(stage) = Stage::new(false) else { return };
    let outer = tempfile::tempdir().unwrap();
    let place = outer.path().canonicalize().unwrap().join("place");
    fs::create_dir(&place).unwrap();
    let path = place.join("x");
    fs::rename(stage.artifact(), &path).unwrap();
    let store = stage.store();
    let stat = lstat(&path).unwrap();
    let held = store
        .hold(entry(&path), &path, (stat.st_dev, stat.st_ino))
        .unwrap();
    fs::remove_dir(&place).unwrap();
    symlink(stage.folder.path(), &place).unwrap();
    refused(store.obey(&restore(&held.id)));
    assert!(stage.left().is_empty());
    // With the folder itself there it goes.
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    done(store.obey(&restore(&held.id)));
    assert_eq!(fs::read_to_string(path.join("SKILL.md")).unwrap(), "text");
}

#[test]
fn only_what_was_scanned_is_taken_and_of_a_link_only_the_link() {
    let Some(stage) = Stage::new(false) else { return };
    let store = stage.store();
    let path = stage.artifact();
    let changed = store.hold(entry(&path), &path, (1, 1));
    assert!(matches!(changed, Err(QuarantineError::Changed(_))), "{changed:?}");
    assert!(stage.is_whole() && store.names().is_empty());
    let link = path.with_file_name("y");
    symlink(&path, &link).unwrap();
    let stat = lstat(&link).unwrap();
    store
        .hold(entry(&link), &link, (stat.st_dev, stat.st_ino))
        .unwrap();
    assert!(stage.is_whole());
    assert_eq!(stage.left(), ["x"]);
}

#[test]
fn a_crash_at_any_step_leaves_it_where_it_was_or_wholly_taken() {
    for other in [false, true] {
        for step in HOLD {
            let Some(stage) = Stage::new(other) else { return };
            let store = stage.store();
            store.dies_at.store(step, Ordering::Relaxed);
            let held = stage.hold(&store);
            drop(store);
            let store = stage.store();
            let entries = done(store.obey(&QuarantineVerb::List));
            // Steps 5 and 6 are those of another file system alone.
            assert_eq!(held.is_err(), other || !matches!(step, 5 | 6), "step {step}");
            match entries.as_slice() {
                [] => assert!(stage.is_whole() && step <= 2, "step {step}"),
                [entry] => {
                    assert!(stage.left().is_empty(), "step {step}: {:?}", stage.left());
                    done(store.obey(&restore(&entry.id)));
                    assert!(stage.is_whole(), "step {step}");
                }
                more => panic!("step {step}: {more:?}"),
            }
        }
    }
}

#[test]
fn a_crash_while_it_is_put_back_loses_nothing() {
    for other in [false, true] {
        for step in RESTORE {
            let Some(stage) = Stage::new(other) else { return };
            let store = stage.store();
            let held = stage.hold(&store).unwrap();
            store.dies_at.store(step, Ordering::Relaxed);
            refused(store.obey(&restore(&held.id)));
            drop(store);
            let store = stage.store();
            if step == 8 {
                assert!(stage.left().is_empty(), "{:?}", stage.left());
                done(store.obey(&restore(&held.id)));
            }
            assert!(stage.is_whole(), "step {step}");
            assert_eq!(stage.left(), ["x"]);
        }
    }
}

#[test]
fn a_store_that_somebody_else_made_is_not_used() {
    let Some(stage) = Stage::new(false) else { return };
    let path = stage.state.path().join("quarantine");
    symlink(stage.folder.path(), &path).unwrap();
    assert!(matches!(
        Quarantine::open(stage.state.path()),
        Err(QuarantineError::Store { .. })
    ));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Quarantine::open(stage.state.path()).unwrap_err();
    assert!(error.to_string().contains("0700"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Quarantine::open(stage.state.path()).is_ok());
}
