//! What the ledger survives: `kill -9`, a full disk, limits, read-only places.
//!
//! The program starts itself as its own child processes: a writer that is killed must be another process, and so must one
//! that lives in its own mount namespace or under another user.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kill;
mod places;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use defenseclaw_audit::{Head, LedgerError, Query, Reader, verify};
use defenseclaw_model::record::{Draft, RecordBody};
use libtest_mimic::{Arguments, Trial};

/// First argument of a child.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, role, folder, rest @ ..] = arguments.as_slice()
        && first == CHILD
    {
        child(role, Path::new(folder), rest);
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("acknowledged_records_survive_kill_9", || {
            done(kill::process_durable)
        }),
        Trial::test(
            "acknowledged_records_survive_kill_9_with_power_durability",
            || done(kill::power_durable),
        ),
        Trial::test("a_creation_survives_kill_9", || done(kill::creation)),
        Trial::test("a_full_disk", || done(places::full_disk)),
        Trial::test("a_limit_on_file_size", || done(places::size_limit)),
        Trial::test("a_read_only_file_system", || done(places::read_only_file_system)),
        Trial::test("a_read_only_folder", || done(places::read_only_folder)),
        Trial::test("a_reader_that_may_not_write", || {
            done(places::reader_without_rights)
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A panic is the failure.
fn done(test: fn()) -> Result<(), libtest_mimic::Failed> {
    test();
    Ok(())
}

fn child(role: &str, folder: &Path, rest: &[String]) {
    match role {
        "append" => kill::child(folder, rest),
        "full-disk" => places::full_disk_child(folder),
        "size-limit" => places::size_limit_child(folder),
        "read-only" => places::read_only_file_system_child(folder),
        "denied" => places::denied_child(folder),
        "follow" => places::follow_child(folder),
        other => unreachable!("{other} is no role"),
    }
}

/// This program as a child. `through` is what starts it, for instance `unshare`.
fn command(through: &[&str], role: &str, folder: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match through {
        [] => Command::new(&own),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&own);
            command
        }
    };
    command.args([CHILD, role]).arg(folder);
    command
}

/// Runs a child to its end and fails with what it printed.
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Notes by name and reason what this host cannot run; `cargo xtask test` lists it, and fails on it in CI.
fn skip(test: &str, reason: &str) {
    let line = format!("{test}: {reason}\n");
    if let Some(file) = std::env::var_os("DEFENSECLAW_SKIPPED") {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
    std::io::stderr()
        .write_all(format!("skipped: {line}").as_bytes())
        .unwrap();
}

/// A folder that other users can look into, and the path of a ledger in it.
fn open_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("ledger.db");
    (folder, path)
}

fn prompt(number: u64, bytes: usize) -> Draft {
    let text = format!("{number} {}", "x".repeat(bytes));
    let session = Some("claude-code/s".parse().unwrap());
    Draft {
        time_ns: number,
        session,
        call: None,
        body: RecordBody::Prompt { text },
    }
}

/// Everything up to `head` is there and the chain is valid.
fn assert_holds(path: &Path, head: &Head) {
    let verified = verify(path, &mut |_, _| {}).unwrap();
    assert!(verified.is_valid(), "{:?}", verified.problems);
    assert_eq!(&verified.head, head);
    assert_eq!(
        Reader::open(path)
            .unwrap()
            .query(&Query::default())
            .unwrap()
            .len() as u64,
        head.seq
    );
}

/// The message names the file or its folder, and the failure is one that passes.
fn assert_says(error: &LedgerError, path: &Path) {
    let folder = path.parent().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(folder), "{error}");
    assert!(error.is_transient(), "{error:?}");
}
