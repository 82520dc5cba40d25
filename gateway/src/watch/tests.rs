use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use defenseclaw_harness::install::{Scope, Site, User, setup, spec, teardown};
use defenseclaw_model::record::RecordBody;
use tempfile::TempDir;

use super::rounds::Rounds;

struct Host {
    _folder: TempDir,
    site: Site,
    rounds: Rounds,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["home", "state", "bin"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let client = root.join("bin/defenseclaw-hook");
        fs::write(&client, "").unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
        let owner = fs::metadata(&root).unwrap();
        let site = Site {
            user: User {
                uid: owner.uid(),
                gid: owner.gid(),
                home: root.join("home"),
            },
            privileged: false,
            state: root.join("state"),
            client,
            fail_closed: true,
            sandboxed: false,
            variables: BTreeMap::new(),
            programs: Vec::new(),
            root,
        };
        Self {
            _folder: folder,
            rounds: Rounds::new(&site.state),
            site,
            now: Instant::now(),
        }
    }

    fn setup(&self) {
        let spec = spec::named("claude-code").unwrap().unwrap();
        setup(&self.site, spec, Scope::User, false, 1).unwrap();
    }

    fn teardown(&self) {
        let spec = spec::named("claude-code").unwrap().unwrap();
        teardown(&self.site, spec, Scope::User, false).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.site.user.home.join(".claude/settings.json")
    }

    /// What one round records: states of hooks, and rules of findings.
    fn round(&mut self) -> Vec<String> {
        let word = |body: &RecordBody| match body {
            RecordBody::Harness { state, .. } => state.clone(),
            RecordBody::Finding { finding, .. } => finding.rule.clone(),
            other => panic!("{other:?}"),
        };
        self.rounds.round(self.now).iter().flatten().map(word).collect()
    }
}

#[test]
fn set_up_and_teardown_are_told_and_are_no_tampering() {
    let mut host = Host::new();
    assert!(host.round().is_empty());
    host.setup();
    assert_eq!(host.round(), ["installed"]);
    assert!(host.round().is_empty(), "once");
    host.setup();
    assert!(host.round().is_empty(), "a second time changes nothing");
    host.teardown();
    assert_eq!(host.round(), ["removed"]);
    assert!(!host.file().exists());
}

#[test]
fn what_was_installed_before_the_start_is_watched_and_no_news() {
    let mut host = Host::new();
    host.setup();
    assert!(host.round().is_empty());
    fs::write(host.file(), "{}").unwrap();
    assert_eq!(host.round(), ["missing", "tamper.hook-removed", "repaired"]);
    assert!(
        fs::read_to_string(host.file())
            .unwrap()
            .contains("defenseclaw-hook")
    );
    assert!(host.round().is_empty());
}

#[test]
fn what_was_done_while_no_gateway_ran_is_noticed_at_the_start() {
    let mut host = Host::new();
    host.setup();
    fs::remove_file(host.file()).unwrap();
    assert_eq!(host.round(), ["missing", "tamper.hook-removed", "repaired"]);
}

#[test]
fn other_changes_of_the_file_are_nobody_s_business() {
    let mut host = Host::new();
    host.setup();
    host.round();
    let text = fs::read_to_string(host.file())
        .unwrap()
        .replacen('{', "{\"model\": \"x\",", 1);
    fs::write(host.file(), text).unwrap();
    assert!(host.round().is_empty());
}

#[test]
fn a_switch_is_reported_and_stays_the_person_s() {
    let mut host = Host::new();
    host.setup();
    host.round();
    let text = fs::read_to_string(host.file())
        .unwrap()
        .replacen('{', "{\"disableAllHooks\": true,", 1);
    fs::write(host.file(), text).unwrap();
    assert_eq!(host.round(), ["changed", "tamper.hook-removed", "unrepaired"]);
    assert!(
        fs::read_to_string(host.file())
            .unwrap()
            .contains("disableAllHooks")
    );
}

#[test]
fn who_never_stops_is_not_fought_without_end_and_fills_no_ledger() {
    let mut host = Host::new();
    host.setup();
    host.round();
    let (mut told, mut put_back) = (Vec::new(), 0);
    for _ in 0..50 {
        fs::write(host.file(), "{}").unwrap();
        told.extend(host.round());
        if fs::read_to_string(host.file())
            .unwrap()
            .contains("defenseclaw-hook")
        {
            put_back += 1;
        } else {
            // The next removal has something to remove.
            host.setup();
            told.extend(host.round());
        }
    }
    assert_eq!(put_back, 5);
    assert!(told.len() <= 3 * 10, "{}", told.len());
    host.now += Duration::from_secs(61);
    fs::write(host.file(), "{\"a\": 1}").unwrap();
    assert_eq!(host.round(), ["missing", "tamper.hook-removed", "repaired"]);
}

#[test]
fn a_list_that_is_taken_away_or_written_by_others_is_a_finding_and_no_teardown() {
    let mut host = Host::new();
    host.setup();
    host.round();
    let list = host.site.state.join("install/manifest.json");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(host.round(), ["tamper.install-manifest"]);
    fs::remove_file(&list).unwrap();
    assert_eq!(host.round(), ["tamper.install-manifest"]);
    assert!(host.round().is_empty());
    fs::remove_file(host.file()).unwrap();
    assert_eq!(host.round(), ["missing", "tamper.hook-removed", "repaired"]);
}

#[test]
fn a_hook_client_that_is_gone_is_reported() {
    let mut host = Host::new();
    host.setup();
    host.round();
    fs::remove_file(&host.site.client).unwrap();
    assert_eq!(host.round(), ["missing", "tamper.hook-removed", "unrepaired"]);
}

#[test]
fn the_folders_that_are_there_are_watched() {
    let mut host = Host::new();
    host.setup();
    host.round();
    assert!(
        host.rounds
            .folders()
            .contains(&host.site.user.home.join(".claude"))
    );
    fs::remove_dir_all(host.site.user.home.join(".claude")).unwrap();
    assert!(host.rounds.folders().contains(&host.site.user.home));
}
