//! A hook that someone takes away while the gateway runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use defenseclaw_harness::install::{Scope, Site, User, setup, spec};
use defenseclaw_model::record::RecordBody;

use crate::world::World;

/// A second is promised. A busy machine may take longer for everything around it.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_hook_that_is_taken_away_is_back_and_on_record() {
    let world = World::start("mode: action");
    let (home, client) = (world.path("home"), world.path("defenseclaw-hook"));
    fs::create_dir(&home).unwrap();
    fs::write(&client, "").unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    let owner = fs::metadata(&home).unwrap();
    let site = Site {
        root: world.path("root"),
        user: User {
            uid: owner.uid(),
            gid: owner.gid(),
            home: home.clone(),
        },
        privileged: false,
        state: world.path("state"),
        client,
        fail_closed: true,
        sandboxed: false,
        variables: BTreeMap::new(),
        programs: Vec::new(),
    };
    let codex = spec::named("codex").unwrap().unwrap();
    let file = setup(&site, codex, Scope::User, false, 1).unwrap().remove(0).file;
    let states = |world: &World| -> Vec<String> {
        let bodies = world.records().into_iter().map(|record| record.draft.body);
        bodies
            .filter_map(|body| match body {
                RecordBody::Harness { state, .. } => Some(state),
                RecordBody::Finding { finding, about_seq } => {
                    assert!(about_seq.is_some(), "{finding:?}");
                    Some(finding.rule)
                }
                _ => None,
            })
            .collect()
    };
    until(|| states(&world) == ["installed"]);

    let whole = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    until(|| fs::read_to_string(&file).is_ok_and(|text| text == whole));
    until(|| states(&world) == ["installed", "missing", "tamper.hook-removed", "repaired"]);
}

fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
