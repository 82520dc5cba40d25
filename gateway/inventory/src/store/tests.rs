use super::*;
use crate::item::{ItemKind, Scope};
use std::os::unix::fs::PermissionsExt;

fn inventory(time_ns: u64, names: &[&str]) -> Inventory {
    Inventory {
        time_ns,
        host: "h".to_owned(),
        tool: "t".to_owned(),
        roots: vec!["/home/a".to_owned()],
        policy: Some("p".to_owned()),
        items: names
            .iter()
            .map(|name| Item::new(ItemKind::Skill, name, name, Scope::User, (name, "")))
            .collect(),
        troubles: vec![Trouble::new("/x", "unreadable", "why")],
    }
}

#[test]
fn what_is_kept_reads_back_the_same_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/inventory.db");
    let mut store = Store::open(&path).unwrap();
    let (one, two) = (inventory(10, &["a", "b"]), inventory(20, &["b", "c"]));
    assert_eq!(store.add(&one).unwrap().scan, 1);
    assert_eq!(store.add(&two).unwrap().scan, 2);
    let store = Store::read(&path).unwrap();
    assert_eq!(
        (store.last().unwrap(), store.scan(1).unwrap()),
        (two.clone(), one.clone())
    );
    assert_eq!(
        (
            store.as_of(19).unwrap(),
            store.as_of(20).unwrap(),
            store.as_of(1).unwrap()
        ),
        (one.clone(), two, one)
    );
    let scans = store.scans().unwrap();
    assert_eq!((scans.len(), scans[1].items, scans[1].troubles), (2, 2, 1));
    let bodies: i64 = store
        .connection
        .query_row("SELECT count(*) FROM body", [], |row| row.get(0))
        .unwrap();
    assert_eq!(bodies, 3, "the item that both found is stored once");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(matches!(store.scan(3), Err(StoreError::NoScan { .. })));
}

#[test]
fn the_oldest_go_with_what_only_they_had_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut store = Store::open(&path).unwrap();
    for (time, names) in [(1, ["a"]), (2, ["b"]), (3, ["c"])] {
        store.add_keeping(&inventory(time, &names), 2).unwrap();
    }
    let kept: Vec<u64> = store.scans().unwrap().iter().map(|scan| scan.scan).collect();
    assert_eq!(kept, [2, 3]);
    let count = |query: &str| {
        store
            .connection
            .query_row(query, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(
        (
            count("SELECT count(*) FROM body"),
            count("SELECT count(*) FROM found")
        ),
        (2, 2)
    );
    for change in [
        "UPDATE scan SET items = 0",
        "UPDATE body SET item = ''",
        "UPDATE found SET place = 9",
    ] {
        let error = store.connection.execute(change, []).unwrap_err().to_string();
        assert!(error.contains("never changed"), "{error}");
    }
}

#[test]
fn what_is_no_inventory_of_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    assert!(matches!(Store::read(&path), Err(StoreError::None(_))));
    Store::open(&path).unwrap();
    assert!(matches!(
        Store::read(&path).unwrap().last(),
        Err(StoreError::None(_))
    ));
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
    let other = folder.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE x (y); PRAGMA user_version = 1")
        .unwrap();
    assert!(matches!(Store::open(&other), Err(StoreError::Foreign { .. })));
    std::fs::write(
        folder.path().join("text"),
        "no database at all, but long enough to be looked at\n".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Store::open(&folder.path().join("text")),
        Err(StoreError::Sqlite { .. })
    ));
}

#[test]
fn snapshots_lie_where_this_user_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let home = Path::new("/home/ada");
    assert_eq!(place(folder.path(), Some(home)), folder.path().join(FILE));
    let missing = folder.path().join("missing");
    assert_eq!(
        place(&missing, Some(home)),
        home.join(".local/state/defenseclaw").join(FILE)
    );
    assert_eq!(place(&missing, None), missing.join(FILE));
}
