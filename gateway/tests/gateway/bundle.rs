//! Signed policy bundles: a fleet's policy decides here, and only an operator hurries it or goes back.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use defenseclaw_artifact::{BundleTerms, SignerKey, seal};
use defenseclaw_model::record::RecordBody;
use defenseclaw_model::wire::Whose;
use defenseclaw_policy::BundleFiles;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::api::{answering, json_of, post};
use crate::world::World;

pub(crate) const PULL: &str = "/v1/policy/bundle/pull";
const ROLLBACK: &str = "/v1/policy/bundle/rollback";

/// A gateway that takes this signer's bundles from the file `offered`, in the policy that comes with the program.
fn world(key: &SignerKey) -> World {
    let world = World::prepare("");
    let config = format!(
        "mode: action\nbundle: {{ path: {}, group: hosts, keys: {{ acme: \"{}\" }} }}\n",
        world.path("offered").display(),
        key.public_key()
    );
    fs::write(world.path("config.yaml"), config).unwrap();
    world
}

/// A signed bundle that blocks a program.
pub(crate) fn blocking(key: &SignerKey, revision: u64, program: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let lists = format!("version: 1\nblock: [{{ program: {program}, owner: o, reason: r }}]\n");
    fs::write(folder.path().join("lists.yaml"), lists).unwrap();
    let archive = BundleFiles::of_folder(folder.path(), revision)
        .unwrap()
        .pack()
        .unwrap();
    let issued_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let terms = BundleTerms {
        group: "hosts".into(),
        ring: 9,
        revision,
        issued_s,
        expires_s: issued_s + 86_400,
    };
    seal(&archive, &terms, key).unwrap()
}

fn offer(world: &World, key: &SignerKey, revision: u64, program: &str) {
    let beside = world.path("offered.new");
    fs::write(&beside, blocking(key, revision, program)).unwrap();
    fs::rename(beside, world.path("offered")).unwrap();
}

pub(crate) fn revision(world: &World) -> Option<u64> {
    Some(world.status().bundle?.in_force?.revision)
}

#[test]
fn a_fleet_s_policy_decides_here_and_only_an_operator_hurries_it_or_goes_back() {
    let key = SignerKey::generate("acme").unwrap();
    let mut world = world(&key);
    offer(&world, &key, 7, "frobnicate");
    world.start_gateway();
    world.until("the bundle is in force", |world| revision(world) == Some(7));
    assert!(world.bash("t1", "frobnicate now").is_denied());
    assert!(world.bash("t2", "ls -la").is_silence());

    // What an agent started may neither hurry it nor go back.
    offer(&world, &key, 8, "defenestrate");
    let session = Some("claude-code/s1".parse().unwrap());
    let reason = json!({"reason": "it is in the way"});
    let thread = answering(world.agent(), Whose::Session { session });
    for (path, body) in [(PULL, json!({})), (ROLLBACK, reason.clone())] {
        let refused = post(&world, path, &body);
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    assert_eq!(revision(&world), Some(7));
    world.until_agent_leaves(thread);

    let thread = answering(world.agent(), Whose::Nobody);
    let pulled = json_of(&post(&world, PULL, &json!({})));
    assert_eq!(
        (&pulled["state"], &pulled["status"]["in_force"]["revision"]),
        (&json!("accepted"), &json!(8))
    );
    assert!(world.bash("t3", "frobnicate now").is_silence());
    assert!(world.bash("t4", "defenestrate now").is_denied());
    assert_eq!(post(&world, ROLLBACK, &json!({"reason": " "})).status, 400);
    let back = json_of(&post(&world, ROLLBACK, &reason));
    assert_eq!(
        (&back["state"], &back["status"]["in_force"]["revision"]),
        (&json!("rolled_back"), &json!(7))
    );
    assert!(world.bash("t5", "frobnicate now").is_denied());
    assert_eq!(
        post(&world, ROLLBACK, &reason).status,
        422,
        "there is none before it"
    );
    world.until_agent_leaves(thread);

    // Killed at once, it has what it had.
    world.end(Signal::SIGKILL);
    world.start_gateway();
    assert_eq!(revision(&world), Some(7));
    assert!(world.bash("t6", "frobnicate now").is_denied());
    let states: Vec<_> = world
        .records()
        .into_iter()
        .filter_map(|record| match record.draft.body {
            RecordBody::Bundle { state, by_uid, .. } => Some((state, by_uid.is_some())),
            _ => None,
        })
        .collect();
    let expected = [("accepted", false), ("accepted", true), ("rolled_back", true)];
    let expected = expected.map(|(state, by)| (state.to_owned(), by));
    assert_eq!(states[..3], expected);
    world.verify();
}

#[test]
fn a_gateway_without_bundles_says_so() {
    let world = World::start("mode: action");
    assert_eq!(world.status().bundle, None);
    let thread = answering(world.agent(), Whose::Nobody);
    let refused = post(&world, PULL, &json!({}));
    assert!(
        refused.status == 422 && refused.body.contains("`bundle`"),
        "{refused:?}"
    );
    world.until_agent_leaves(thread);
}
