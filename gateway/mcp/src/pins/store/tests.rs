use serde_json::{Value, json};

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("pins.db")).unwrap();
    (folder, store)
}

fn seen(server: &str, description: &str) -> PinSeen {
    PinSeen {
        server: server.into(),
        scope: "/work".into(),
        file: "/work/.mcp.json".into(),
        launch: json!({"command": ["node", "i.js"]}),
        items: [(
            "tool add".to_owned(),
            json!({"name": "add", "description": description}),
        )]
        .into(),
        complete: true,
    }
}

fn check(servers: Vec<PinSeen>) -> PinCheck {
    PinCheck {
        files: vec!["/work/.mcp.json".into()],
        unasked: Vec::new(),
        servers,
    }
}

/// State and event after seeing that description.
fn look(store: &mut Store, description: &str) -> (PinState, Vec<&'static str>, Pin) {
    let (pins, events) = store
        .check(7, &check(vec![seen("notes", description)]), 5)
        .unwrap();
    (
        pins[0].state,
        events.iter().map(|event| event.what).collect(),
        pins[0].clone(),
    )
}

fn approval(pin: &Pin) -> PinApproval {
    PinApproval {
        id: pin.id.clone(),
        digest: pin.seen_digest.clone(),
    }
}

#[test]
fn a_change_is_held_until_it_is_approved_whatever_the_server_says_then() {
    let (_folder, mut store) = store();
    let (state, events, pin) = look(&mut store, "Adds.");
    assert_eq!((state, events), (PinState::New, vec!["new"]));
    assert_eq!(
        store.approve(&approval(&pin), 0, 6).unwrap().state,
        PinState::Same
    );
    let (state, events, _) = look(&mut store, "Adds.");
    assert_eq!((state, events), (PinState::Same, vec![]));

    let (state, events, pin) = look(&mut store, "Sends.");
    assert_eq!((state, events), (PinState::Changed, vec!["changed"]));
    assert_eq!(
        (pin.changes[0].item.as_str(), pin.changes[0].diff.as_str()),
        ("tool add", "-Adds.\n+Sends.")
    );
    let (state, events, _) = look(&mut store, "Sends.");
    assert_eq!((state, events), (PinState::Changed, vec![]), "told once");
    let (state, _, _) = look(&mut store, "Adds.");
    assert_eq!(state, PinState::Changed, "hiding it again does not help");

    let (_, _, pin) = look(&mut store, "Sends.");
    let (_, _, other) = look(&mut store, "Steals.");
    assert!(
        matches!(store.approve(&approval(&pin), 0, 7), Err(PinError::Stale { .. })),
        "another than was looked at"
    );
    let approved = store.approve(&approval(&other), 3, 8).unwrap();
    assert_eq!(
        (approved.state, approved.approved_by, approved.changes.len()),
        (PinState::Same, Some(3), 0)
    );
    assert_eq!(look(&mut store, "Steals.").0, PinState::Same);
}

#[test]
fn launch_and_completeness_count_and_a_new_one_is_held_too_when_it_changes() {
    let (_folder, mut store) = store();
    for change in ["launch", "complete", "items"] {
        store.check(7, &check(vec![seen(change, "Adds.")]), 5).unwrap();
        let mut other = seen(change, "Adds.");
        match change {
            "launch" => other.launch = json!({"command": ["node", "other.js"]}),
            "complete" => other.complete = false,
            _ => drop(other.items.insert("tool more".into(), Value::Null)),
        }
        let (pins, _) = store.check(7, &check(vec![other]), 5).unwrap();
        let pin = pins.iter().find(|pin| pin.server == change).unwrap();
        assert_eq!((pin.state, pin.changes.len()), (PinState::Changed, 1), "{change}");
    }
}

#[test]
fn what_left_its_settings_is_gone_and_what_was_not_asked_is_not() {
    let (_folder, mut store) = store();
    let pin = look(&mut store, "Adds.").2;
    store.approve(&approval(&pin), 0, 6).unwrap();
    let mut unasked = check(vec![]);
    unasked.unasked = vec![("/work/.mcp.json".into(), "notes".into())];
    assert_eq!(store.check(7, &unasked, 7).unwrap().1, []);
    let elsewhere = PinCheck {
        files: vec!["/other.json".into()],
        ..check(vec![])
    };
    assert_eq!(store.check(7, &elsewhere, 7).unwrap().1, []);
    assert_eq!(store.check(8, &check(vec![]), 7).unwrap().1, [], "another user's");
    let (_, events) = store.check(7, &check(vec![]), 7).unwrap();
    assert_eq!((events[0].what, events[0].pin.state), ("gone", PinState::Gone));
    let (state, events, _) = look(&mut store, "Adds.");
    assert_eq!((state, events), (PinState::Same, vec!["returned"]));
    store.check(7, &check(vec![]), 7).unwrap();
    assert_eq!(
        look(&mut store, "Sends.").0,
        PinState::Changed,
        "and another when it came back"
    );
    assert_eq!(
        store.check(7, &check(vec![]), 7).unwrap().1,
        [],
        "what is held stays so"
    );
}

#[test]
fn pins_survive_and_belong_to_one_process() {
    let (folder, mut store) = store();
    let file = folder.path().join("pins.db");
    let pin = look(&mut store, "Adds.").2;
    store.approve(&approval(&pin), 0, 6).unwrap();
    look(&mut store, "Sends.");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        matches!(Store::open(&file), Err(PinError::File { .. })),
        "a second process"
    );
    // Without a word, as when it is killed.
    std::mem::forget(store);
    let copy = folder.path().join("copy.db");
    for end in ["", "-wal"] {
        std::fs::copy(
            folder.path().join(format!("pins.db{end}")),
            folder.path().join(format!("copy.db{end}")),
        )
        .unwrap();
    }
    let store = Store::open(&copy).unwrap();
    let pins = store.list(Some(7)).unwrap();
    assert_eq!((pins.len(), pins[0].state), (1, PinState::Changed));
    assert_eq!(store.list(Some(8)).unwrap(), []);
    let shown = store.get(&pins[0].id).unwrap().unwrap();
    assert_eq!(
        (
            shown.changes.len(),
            shown.offers.len(),
            shown.launch["command"][0].as_str()
        ),
        (1, 1, Some("node"))
    );
    assert_eq!(store.known().unwrap()[0].tools, ["add"]);
}

#[test]
fn a_forgotten_pin_is_new_again_and_what_is_no_store_is_refused() {
    let (folder, mut store) = store();
    let pin = look(&mut store, "Adds.").2;
    assert_eq!(
        store.forget(&pin.id).unwrap().map(|pin| pin.server),
        Some("notes".into())
    );
    assert_eq!(store.forget(&pin.id).unwrap(), None);
    assert_eq!(look(&mut store, "Sends.").0, PinState::New);
    assert!(matches!(
        store.approve(
            &PinApproval {
                id: "x".into(),
                digest: String::new()
            },
            0,
            1
        ),
        Err(PinError::Unknown(_))
    ));
    let other = folder.path().join("other.db");
    let db = Connection::open(&other).unwrap();
    db.execute_batch("CREATE TABLE t (a); PRAGMA user_version = 9")
        .unwrap();
    drop(db);
    assert!(matches!(Store::open(&other), Err(PinError::Foreign(_))));
    std::fs::write(&other, "x".repeat(5_000)).unwrap();
    assert!(matches!(Store::open(&other), Err(PinError::File { .. })));
}

#[test]
fn what_is_too_much_changes_nothing() {
    let (_folder, mut store) = store();
    let large = seen("large", &"x".repeat(MAX_CONTENT));
    let refused = store.check(7, &check(vec![seen("small", "a"), large]), 1);
    assert!(matches!(refused, Err(PinError::TooMuch(_))));
    assert_eq!(store.list(None).unwrap(), []);
    let many = (0..=MAX_OF_USER).map(|n| seen(&n.to_string(), "a")).collect();
    assert!(matches!(
        store.check(7, &check(many), 1),
        Err(PinError::TooMuch(_))
    ));
    assert_eq!(store.list(None).unwrap(), []);
}
