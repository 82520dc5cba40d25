//! What is copied, and what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use defenseclaw_artifact::Manifest;
use nix::sys::stat::Mode;

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A copy of what was written a moment ago: as soon as it is quiet.
fn settled(path: &Path) -> Result<Copy, CopyError> {
    loop {
        match copy(path, soon()) {
            Err(CopyError::Unquiet(_)) => std::thread::sleep(TICK / 4),
            other => return other,
        }
    }
}

fn skill() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("skill");
    fs::create_dir_all(root.join("a")).unwrap();
    fs::write(root.join("SKILL.md"), "# x\n").unwrap();
    fs::write(root.join("a/b.py"), "print(1)\n").unwrap();
    fs::write(root.join("a.b"), "").unwrap();
    fs::write(root.join("defenseclaw.sig.json"), "{}").unwrap();
    fs::set_permissions(root.join("a/b.py"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("SKILL.md", root.join("link")).unwrap();
    folder
}

fn bytes(copy: &Copy) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::from(copy.memory.try_clone().unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn a_signature_file_that_changes_is_scanned_anew_under_the_same_digest() {
    let folder = skill();
    let root = folder.path().join("skill");
    let (before, again) = (settled(&root).unwrap(), settled(&root).unwrap());
    assert_eq!((before.scanned, &before.digest), (again.scanned, &again.digest));
    fs::write(root.join("defenseclaw.sig.json"), "{\"read this\":1}").unwrap();
    let after = settled(&root).unwrap();
    assert_eq!(after.digest, before.digest);
    assert_ne!(after.scanned, before.scanned);
}

#[test]
fn the_digest_is_that_of_the_artifact_crate() {
    let folder = skill();
    let root = folder.path().join("skill");
    let copied = settled(&root).unwrap();
    assert_eq!(copied.digest, Manifest::of(&root).unwrap().digest());
    let file = root.join("defenseclaw.sig.json");
    assert_eq!(
        settled(&file).unwrap().digest,
        Manifest::of(&file).unwrap().digest()
    );
    assert_eq!((copied.files, copied.bytes, copied.stamps.len()), (4, 15, 4));
}

#[test]
fn entries_stand_in_order_with_their_kinds_and_the_memory_is_sealed() {
    let folder = skill();
    let copied = settled(&folder.path().join("skill")).unwrap();
    let all = bytes(&copied);
    assert_eq!(&all[..4], b"DCA1");
    let (mut at, mut seen) = (4, Vec::new());
    while at < all.len() {
        let length = u32::from_le_bytes(all[at..at + 4].try_into().unwrap()) as usize;
        let name = String::from_utf8(all[at + 4..at + 4 + length].to_vec()).unwrap();
        at += 4 + length;
        let kind = all[at];
        let content = u64::from_le_bytes(all[at + 5..at + 13].try_into().unwrap()) as usize;
        seen.push((name, kind, content));
        at += 13 + content;
    }
    let expected = [
        ("SKILL.md", 0, 4),
        ("a", 2, 0),
        ("a.b", 0, 0),
        ("a/b.py", 0, 9),
        ("defenseclaw.sig.json", 0, 2),
        ("link", 1, 8),
    ];
    let expected: Vec<_> = expected.iter().map(|&(n, k, c)| (n.to_owned(), k, c)).collect();
    assert_eq!(seen, expected);
    assert!(File::from(copied.memory).write_all(b"x").is_err());
}

#[test]
fn a_fifo_is_told_and_never_opened_and_a_link_is_not_followed() {
    let folder = skill();
    let root = folder.path().join("skill");
    let plain = settled(&root).unwrap();
    nix::unistd::mkfifo(&root.join("pipe"), Mode::from_bits_truncate(0o644)).unwrap();
    symlink("/etc/passwd", root.join("out")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    // Opening the FIFO would wait for a writer that never comes.
    let copied = settled(&root).unwrap();
    assert_ne!(copied.digest, plain.digest);
    let all = bytes(&copied);
    let holds = |text: &[u8]| all.windows(text.len()).any(|window| window == text);
    assert!(holds(b"/etc/passwd") && !holds(b"root:x:0"));
    assert_eq!(
        copied.stamps.len(),
        plain.stamps.len() + 1,
        "the FIFO is known too"
    );
}

#[test]
fn the_artifact_itself_may_be_a_link_that_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("x");
    symlink("/etc", &link).unwrap();
    let copied = settled(&link).unwrap();
    assert_eq!((copied.files, copied.stamps.len()), (0, 0));
    assert!(bytes(&copied).ends_with(b"/etc"));
    assert!(matches!(
        copy(&link.join("passwd"), soon()),
        Err(CopyError::System { .. } | CopyError::Gone(_))
    ));
}

#[test]
fn a_file_with_a_writer_is_not_quiet_and_one_with_a_reader_is() {
    let folder = skill();
    let root = folder.path().join("skill");
    settled(&root).unwrap();
    let reader = File::open(root.join("SKILL.md")).unwrap();
    settled(&root).unwrap();
    drop(reader);
    let writer = fs::OpenOptions::new()
        .write(true)
        .open(root.join("SKILL.md"))
        .unwrap();
    assert!(matches!(copy(&root, soon()), Err(CopyError::Unquiet(path)) if path.ends_with("SKILL.md")));
    drop(writer);
    settled(&root).unwrap();
}

#[test]
fn what_goes_over_a_bound_is_named_and_what_is_just_below_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("big");
    fs::create_dir(&root).unwrap();
    let huge = File::create(root.join("huge")).unwrap();
    huge.set_len(MAX_FILE).unwrap();
    drop(huge);
    assert_eq!(settled(&root).unwrap().bytes, MAX_FILE);
    File::options()
        .write(true)
        .open(root.join("huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(matches!(settled(&root), Err(CopyError::Bound { path, .. }) if path.ends_with("huge")));
    fs::remove_file(root.join("huge")).unwrap();
    let mut deep = root.clone();
    for _ in 0..MAX_DEPTH {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    assert!(settled(&root).is_ok());
    fs::create_dir(deep.join("d")).unwrap();
    assert!(matches!(settled(&root), Err(CopyError::Bound { bound, .. }) if bound.contains("folders")));
}

#[test]
fn a_copy_ends_in_time() {
    let folder = skill();
    let ended = copy(&folder.path().join("skill"), Instant::now());
    assert!(matches!(ended, Err(CopyError::Time(_))), "{ended:?}");
}

#[test]
fn a_folder_that_others_keep_changing_is_read_or_said_to_be_unquiet() {
    let folder = skill();
    let root = folder.path().join("skill");
    let other = folder.path().join("other");
    symlink("/etc", &other).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                nix::fcntl::renameat2(
                    AT_FDCWD,
                    &root.join("a"),
                    AT_FDCWD,
                    &other,
                    nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                )
                .unwrap();
            }
        });
        for _ in 0..200 {
            if let Ok(copied) = copy(&root, soon()) {
                let all = bytes(&copied);
                assert!(!all.windows(8).any(|window| window == b"root:x:0"));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
