//! `scan-worker`: scans one artifact for the install gate, or one package from a registry, closed in.
//!
//! ```text
//! agent ─ starts ─> worker: loads its rules, closes itself in ─> "ready"
//!       ─ {"kind", "name", "path", "connector"[, "package"]} and the copy's descriptor ─>
//!       <─ {"bytes": N}, then N bytes of JSON (a `WorkerReport`) in messages of at most 64 KiB ─
//! ```
//!
//! Standard input is one end of a pair of sequenced-packet sockets. One worker scans one artifact, so that nothing that it read can
//! meet the next. What goes wrong is said once, as `{"error": …}`, before or in place of the report. A worker that could not close itself
//! in reads nothing.

use std::fs::File;
use std::io::{IoSliceMut, Seek};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use defenseclaw_code::CodeGuard;
use defenseclaw_detect::scan::Scanner;
use defenseclaw_detect::scan::artifact::{CopyError, from_memory, read_copy};
use defenseclaw_fetch::Wanted;
use defenseclaw_fetch::wanted::NoPackage;
use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::gate::{WORKER_MESSAGE, WORKER_REPORT, WorkerReport, WorkerTask};
use defenseclaw_model::scan::ScanKind;
use defenseclaw_sandbox::confine::{Bounds, ConfineError, close_in};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;

/// How much a worker may take. The scanner keeps at most 128 MiB of files and unpacks streams of 64 MiB; twice that is for what it makes
/// of them. Processor time is for the case that nobody outside ends it: an artifact at every bound takes a few seconds.
const BOUNDS: Bounds = Bounds {
    memory: 768 << 20,
    cpu_s: 60,
    descriptors: 8,
};
/// Findings that are left of a report which is too large; the worst stand first.
const KEPT: usize = 100;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("the rules cannot be loaded: {0}")]
    Rules(String),
    #[error("this process has other threads, which would not be closed in")]
    Threads,
    #[error("the worker could not close itself in, and scans nothing: {0}")]
    Open(#[from] ConfineError),
    #[error("standard input is no socket of the gate: {0}")]
    Socket(Errno),
    #[error("the task is not understood: {0}")]
    Task(String),
    #[error(transparent)]
    Package(#[from] NoPackage),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("the report cannot be sent: {0}")]
    Send(Errno),
    #[error("the report has no form in JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Scans one artifact. Exit status 0: it was reported, or nobody wanted anything.
pub fn run() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text: String = error.to_string().chars().take(1024).collect();
            // There is nobody else to tell.
            let _ = send(json!({"error": text}).to_string().as_bytes());
            ExitCode::from(2)
        }
    }
}

fn work() -> Result<(), WorkerError> {
    let rules = |error: &dyn std::fmt::Display| WorkerError::Rules(error.to_string());
    let code = CodeGuard::embedded().map_err(|error| rules(&error))?;
    let scanner = Scanner::embedded().map_err(|error| rules(&error))?;
    let scanner = scanner.with_code(Box::new(code));
    // What is made at first use is made now, while nobody waits.
    let warm = from_memory([("SKILL.md".to_owned(), WARM_UP.as_bytes().to_vec())]);
    let _ = scanner.scan_read(ScanKind::Skill, &warm, "", "");
    drop(warm);
    alone()?;
    close_in(BOUNDS)?;
    send(b"ready").map_err(WorkerError::Send)?;
    let Some((task, copy)) = receive()? else {
        return Ok(());
    };
    let mut copy = File::from(copy);
    // Whoever wrote it may have left its position at the end.
    copy.rewind().map_err(CopyError::Read)?;
    let artifact = read_copy(copy)?;
    let report = match &task.package {
        None => scanner.scan_read(kind(task.kind), &artifact, &task.path, &task.name),
        Some(package) => {
            let wanted: Wanted = package.package.parse()?;
            defenseclaw_fetch::scan_read(&wanted, &package.version, &artifact, &scanner)
        }
    };
    let signature = artifact.signature.clone();
    drop(artifact);
    let json = bounded(WorkerReport { report, signature })?;
    send(json!({"bytes": json.len()}).to_string().as_bytes()).map_err(WorkerError::Send)?;
    for part in json.chunks(WORKER_MESSAGE) {
        send(part).map_err(WorkerError::Send)?;
    }
    Ok(())
}

/// A document that touches most of what a scan does.
const WARM_UP: &str =
    "---\nname: warm\ndescription: up\n---\n# Warm up\n\nRun `make`:\n\n```sh\nmake all | tee log\n```\n";

fn kind(kind: ArtifactKind) -> ScanKind {
    match kind {
        ArtifactKind::Skill => ScanKind::Skill,
        ArtifactKind::Mcp => ScanKind::Mcp,
        ArtifactKind::Plugin => ScanKind::Plugin,
        ArtifactKind::Tool => ScanKind::Tool,
    }
}

/// The filter is put around one thread. Where the kernel does not tell (no `/proc`), this program starts none.
fn alone() -> Result<(), WorkerError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    match threads.map(str::trim) {
        None | Some("1") => Ok(()),
        Some(_) => Err(WorkerError::Threads),
    }
}

/// The report as JSON within the bound.
fn bounded(mut report: WorkerReport) -> Result<Vec<u8>, WorkerError> {
    let mut kept = KEPT;
    loop {
        let json = serde_json::to_vec(&report)?;
        if json.len() <= WORKER_REPORT || report.report.findings.is_empty() {
            return Ok(json);
        }
        report.report.findings.truncate(kept);
        kept /= 2;
    }
}

fn stdin() -> BorrowedFd<'static> {
    // SAFETY: standard input is open as long as this process is: nothing in it closes it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// One message. Written, not sent: the filter knows one way less.
fn send(message: &[u8]) -> Result<(), Errno> {
    loop {
        match nix::unistd::write(stdin(), message) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The one task, and the copy's descriptor. `None`: the other end was closed, because the worker is not needed.
fn receive() -> Result<Option<(WorkerTask, OwnedFd)>, WorkerError> {
    let mut buffer = vec![0; WORKER_MESSAGE];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let received = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(stdin().as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(received) => break received,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(WorkerError::Socket(errno)),
        }
    };
    let (length, flags) = (received.bytes, received.flags);
    let mut descriptors = Vec::new();
    for message in received.cmsgs().map_err(WorkerError::Socket)? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
            descriptors.extend(
                numbers
                    .into_iter()
                    .map(|number| unsafe { OwnedFd::from_raw_fd(number) }),
            );
        }
    }
    if length == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    let wrong = |why: &str| Err(WorkerError::Task(why.to_owned()));
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return wrong("it is larger than a task may be");
    }
    let Ok([copy]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return wrong("it comes with exactly one descriptor");
    };
    let task = serde_json::from_slice(buffer.get(..length).unwrap_or_default())
        .map_err(|error| WorkerError::Task(error.to_string()))?;
    Ok(Some((task, copy)))
}
