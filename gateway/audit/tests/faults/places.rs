//! Places where the ledger cannot be written.
//!
//! For root, permissions do not bind. So the full and the read-only disk are small file systems of their own, mounted in
//! a private mount namespace, which needs root or unprivileged user namespaces; and what permissions forbid is tried by
//! a child under another user when the tests run as root.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use defenseclaw_audit::{Ledger, LedgerError, Query, Reader, verify};
use defenseclaw_model::config::Durability;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{assert_holds, assert_says, command, open_folder, prompt, skip, succeed};

fn open(path: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(path, Durability::Process)
}

/// Starts the child in its own mount namespace, or notes that this host does not let us.
fn in_mount_namespace(test: &str, role: &str) {
    let plain = ["unshare", "--mount"];
    let mapped = ["unshare", "--map-root-user", "--mount"];
    let through: &[&str] = if nix::unistd::geteuid().is_root() {
        &plain
    } else {
        &mapped
    };
    let folder = tempfile::tempdir().unwrap();
    let mut probe = Command::new(through[0]);
    probe
        .args(&through[1..])
        .args(["mount", "-t", "tmpfs", "tmpfs"])
        .arg(folder.path());
    match probe.output() {
        Ok(output) if output.status.success() => succeed(&mut command(through, role, folder.path())),
        Ok(output) => skip(test, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => skip(test, &format!("unshare: {error}")),
    }
}

fn mount(options: &str, folder: &Path) {
    succeed(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder),
    );
}

/// Fills the file system to the last byte.
fn fill(folder: &Path) {
    let mut ballast = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("ballast"))
        .unwrap();
    for size in [65_536, 4_096, 1] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}

fn free(folder: &Path) {
    fs::remove_file(folder.join("ballast")).unwrap();
}

/// Appends until that fails; what had been acknowledged before is still the head.
fn append_until_error(ledger: &mut Ledger) -> LedgerError {
    for number in 0..10_000 {
        let before = ledger.head();
        if let Err(error) = ledger.append(&[prompt(number, 5_000)]) {
            assert_eq!(ledger.head(), before);
            return error;
        }
    }
    unreachable!("10,000 records of 5 kB went in")
}

pub(crate) fn full_disk() {
    in_mount_namespace("a_full_disk", "full-disk");
}

pub(crate) fn full_disk_child(folder: &Path) {
    mount("size=8m", folder);
    let path = folder.join("ledger.db");

    // Not even room to begin.
    fill(folder);
    let error = open(&path).unwrap_err();
    assert_says(&error, &path);
    free(folder);

    let mut ledger = open(&path).unwrap();
    ledger.append(&[prompt(0, 100)]).unwrap();
    for _ in 0..3 {
        fill(folder);
        let error = append_until_error(&mut ledger);
        assert_says(&error, &path);
        assert!(
            error.to_string().contains("full") || error.to_string().contains("space"),
            "{error}"
        );
        let head = ledger.head();
        for _ in 0..3 {
            assert!(ledger.append(&[prompt(0, 20_000)]).is_err());
            assert_eq!(ledger.head(), head);
        }
        // Everything acknowledged can be read meanwhile, and tidying up fails without harm.
        assert_holds(&path, &head);
        let _ = ledger.maintain();
        free(folder);
        let appended = ledger.append(&[prompt(1, 100)]).unwrap();
        assert_eq!(appended.first, head.seq + 1, "it goes on by itself");
        assert_holds(&path, &ledger.head());
    }

    // A restart on the full disk: refused or not, nothing is lost.
    let head = ledger.head();
    fill(folder);
    drop(ledger);
    if let Err(error) = open(&path) {
        assert_says(&error, &path);
    }
    free(folder);
    assert_eq!(open(&path).unwrap().head(), head);
    assert_holds(&path, &head);
}

/// A write error other than a full disk; any user can have it.
pub(crate) fn size_limit() {
    let folder = tempfile::tempdir().unwrap();
    // Ignored, the signal becomes an error of write(2).
    let through = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    succeed(&mut command(&through, "size-limit", folder.path()));
}

pub(crate) fn size_limit_child(folder: &Path) {
    let path = folder.join("ledger.db");
    let mut ledger = open(&path).unwrap();
    ledger.append(&[prompt(0, 100)]).unwrap();
    let (before, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    for round in 1..4 {
        // Not at a page's border: the last write is cut in the middle.
        setrlimit(Resource::RLIMIT_FSIZE, round * 400_000 + 1_234, hard).unwrap();
        let error = append_until_error(&mut ledger);
        assert!(
            matches!(error, LedgerError::Io { .. } | LedgerError::Full { .. }),
            "{error:?}"
        );
        assert_says(&error, &path);
        assert_holds(&path, &ledger.head());
        setrlimit(Resource::RLIMIT_FSIZE, before, hard).unwrap();
        let first = ledger.head().seq + 1;
        assert_eq!(ledger.append(&[prompt(1, 100)]).unwrap().first, first);
        assert_holds(&path, &ledger.head());
    }
}

pub(crate) fn read_only_file_system() {
    in_mount_namespace("a_read_only_file_system", "read-only");
}

pub(crate) fn read_only_file_system_child(folder: &Path) {
    mount("size=8m", folder);
    let path = folder.join("ledger.db");
    let mut ledger = open(&path).unwrap();
    ledger.append(&[prompt(0, 100), prompt(1, 100)]).unwrap();
    // As a crash leaves it, with its records still in the log.
    let crashed = folder.join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(folder.join("ledger.db-wal"), folder.join("crashed.db-wal")).unwrap();
    let head = ledger.head();
    drop(ledger);

    mount("remount,ro", folder);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error:?}");
    assert_says(&error, &path);
    let error = open(&folder.join("new.db")).unwrap_err();
    assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error:?}");
    // A closed ledger is read there like any other. One with a log cannot be: saying so beats showing half of it.
    assert_holds(&path, &head);
    let mut reader = Reader::open(&path).unwrap();
    assert!(!reader.changed().unwrap());
    let error = Reader::open(&crashed).unwrap_err();
    assert!(matches!(error, LedgerError::Unreadable { .. }), "{error:?}");
    assert!(error.to_string().contains("-wal"), "{error}");

    mount("remount,rw", folder);
    let mut ledger = open(&path).unwrap();
    ledger.append(&[prompt(2, 100)]).unwrap();
    assert!(
        reader.changed().unwrap(),
        "a reader that was there before sees the writer come"
    );
    assert_eq!(reader.head().unwrap(), ledger.head());
    assert_holds(&crashed, &head);
}

/// This program under a user whom permissions bind: ourselves, or `nobody` if we are root. It is copied, because a
/// build folder may be closed to others.
fn unprivileged(role: &str, folder: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let copy = folder.join("program");
    fs::copy(own, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy);
        command
    } else {
        Command::new(&copy)
    };
    command.args([crate::CHILD, role]).arg(folder.join("state"));
    command
}

/// Makes a folder `state` below `folder`, and gives the path of a ledger in it.
fn state(folder: &Path) -> std::path::PathBuf {
    let state = folder.join("state");
    fs::create_dir(&state).unwrap();
    state.join("ledger.db")
}

fn forbid_writing(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();
}

fn permit_writing(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn read_only_folder() {
    let (folder, _) = open_folder();
    let path = state(folder.path());
    open(&path)
        .unwrap()
        .append(&[prompt(0, 100), prompt(1, 100)])
        .unwrap();
    forbid_writing(&folder.path().join("state"));
    succeed(&mut unprivileged("denied", folder.path()));
    permit_writing(&folder.path().join("state"));
}

pub(crate) fn denied_child(folder: &Path) {
    let path = folder.join("ledger.db");
    for path in [&path, &folder.join("new.db")] {
        let error = open(path).unwrap_err();
        assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error:?}");
        assert_says(&error, path);
    }
    let records = Reader::open(&path).unwrap().query(&Query::default()).unwrap();
    assert_eq!(records.len(), 2, "it can still be read");
    assert!(verify(&path, &mut |_, _| {}).unwrap().is_valid());
}

/// A member of the ledger's group: may read its files, and write none of them, while the writer works.
pub(crate) fn reader_without_rights() {
    let (folder, _) = open_folder();
    let path = state(folder.path());
    let mut ledger = open(&path).unwrap();
    ledger.append(&[prompt(0, 100)]).unwrap();
    forbid_writing(&folder.path().join("state"));
    let mut follower = unprivileged("follow", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(out.next().unwrap().unwrap(), "1");
    for number in 2..6 {
        ledger.append(&[prompt(number, 100)]).unwrap();
        follower.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        assert_eq!(out.next().unwrap().unwrap(), number.to_string());
    }
    drop(follower.stdin.take());
    assert!(follower.wait().unwrap().success());
    permit_writing(&folder.path().join("state"));
}

/// Prints the number of records, and again after each line that it reads.
pub(crate) fn follow_child(folder: &Path) {
    let mut reader = Reader::open(&folder.join("ledger.db")).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "{}", reader.head().unwrap().seq).unwrap();
    for line in std::io::stdin().lines() {
        line.unwrap();
        assert!(reader.changed().unwrap());
        writeln!(out, "{}", reader.query(&Query::default()).unwrap().len()).unwrap();
    }
}
