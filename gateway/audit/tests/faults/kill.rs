//! A writer that is killed with SIGKILL at any moment.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use defenseclaw_audit::{Ledger, Query, Reader, verify};
use defenseclaw_model::config::Durability;
use defenseclaw_model::wire::Cursor;

use crate::{command, prompt};

/// Appends for ever, and prints a line after each append that returned:
/// `FIRST LAST HASH BATCH`, where BATCH is 0 for records that came in no batch.
pub(crate) fn child(folder: &Path, rest: &[String]) {
    let durability = if rest.iter().any(|word| word == "power") {
        Durability::Power
    } else {
        Durability::Process
    };
    let mut ledger = Ledger::open(&folder.join("ledger.db"), durability).unwrap();
    let mut out = std::io::stdout();
    for turn in 0u64.. {
        let next = ledger.head().seq + 1;
        let drafts: Vec<_> = (next..=next + turn % 7)
            .map(|number| prompt(number, (turn as usize * 97) % 3_000))
            .collect();
        let (batch, appended) = if turn % 3 == 0 {
            (0, ledger.append(&drafts).unwrap())
        } else {
            let batch = ledger.sensor_position("s").unwrap().0 + 1;
            let cursor = Cursor {
                security: batch * 10,
                telemetry: next,
            };
            (
                batch,
                ledger.append_batch("s", batch, cursor, &drafts).unwrap().unwrap(),
            )
        };
        // One write, so that a line is whole or not there.
        let line = format!("{} {} {} {batch}\n", appended.first, appended.last, appended.head);
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
        ledger.maintain().unwrap();
    }
}

/// What a killed child had acknowledged.
#[derive(Default)]
struct Acknowledged {
    heads: Vec<(u64, String)>,
    batch: u64,
}

fn spawn(folder: &Path, durability: Durability) -> Child {
    command(&[], "append", folder)
        .arg(durability.as_str())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child and reads what it had printed. The pipe keeps that for us.
fn kill(mut child: Child) -> Acknowledged {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "the child ended by itself: {status}"
    );
    let mut found = Acknowledged::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let [_, last, hash, batch] = words.as_slice() else {
            unreachable!("{line}")
        };
        found.heads.push((last.parse().unwrap(), (*hash).to_owned()));
        found.batch = found.batch.max(batch.parse().unwrap());
    }
    found
}

/// Every acknowledged record is there, as it was; what was not acknowledged may be.
fn check(path: &Path, acknowledged: &Acknowledged) {
    let verified = verify(path, &mut |_, _| {}).unwrap();
    assert!(verified.is_valid(), "{:?}", verified.problems);
    let reader = Reader::open(path).unwrap();
    for (seq, hash) in &acknowledged.heads {
        let record = reader.get(*seq).unwrap();
        assert_eq!(
            record.map(|record| record.hash).as_ref(),
            Some(hash),
            "record {seq} of {}",
            verified.records
        );
    }
    let ledger = Ledger::open(path, Durability::Process).unwrap();
    assert_eq!(ledger.head(), verified.head);
    let (batch, cursor) = ledger.sensor_position("s").unwrap();
    assert!(
        batch >= acknowledged.batch,
        "batch {} was acknowledged, {batch} is stored",
        acknowledged.batch
    );
    assert_eq!(cursor.security, batch * 10, "number and position belong together");
}

/// Kills writer after writer on one growing ledger, at moments spread from its start to some hundred appends later.
fn rounds(durability: Durability, rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut records = 0;
    for round in 0..rounds {
        let mut child = spawn(folder.path(), durability);
        wait_for_first_line(&mut child);
        std::thread::sleep(Duration::from_micros(round * 7_919 % 40_000));
        let acknowledged = kill(child);
        check(&path, &acknowledged);
        records += acknowledged.heads.len();
    }
    assert!(
        records as u64 > rounds,
        "{records} appends were acknowledged in {rounds} rounds"
    );
    let all = Reader::open(&path).unwrap().query(&Query::default()).unwrap();
    assert!(
        all.iter()
            .zip(1..)
            .all(|(record, seq)| record.draft.time_ns == seq),
        "none twice, none left out"
    );
}

/// Waits until the child has something to read, without reading it.
fn wait_for_first_line(child: &mut Child) {
    use std::os::fd::AsFd;
    let pipe = child.stdout.as_ref().unwrap();
    let mut fds = [nix::poll::PollFd::new(pipe.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(30_000u16)).unwrap(),
        1,
        "no append in 30 s"
    );
}

pub(crate) fn process_durable() {
    rounds(Durability::Process, 60);
}

pub(crate) fn power_durable() {
    rounds(Durability::Power, 20);
}

/// Killed while the file is being made or soon after: what is left opens, as an empty ledger or with what was
/// acknowledged.
pub(crate) fn creation() {
    for round in 0..60u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let child = spawn(folder.path(), Durability::Process);
        std::thread::sleep(Duration::from_micros(round * 250));
        let acknowledged = kill(child);
        drop(Ledger::open(&path, Durability::Process).unwrap());
        check(&path, &acknowledged);
    }
}
