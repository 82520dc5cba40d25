//! The recorder: does what its arguments say and notes it. See `defenseclaw_testkit::truth` for the operations.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use defenseclaw_testkit::truth::{Act, ActKind};
use nix::unistd::{ForkResult, fork, setsid};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let tag = arguments.next().context("usage: actor TAG OPERATION…")?;
    for operation in arguments {
        act(&tag, &operation).with_context(|| format!("{tag}: {operation}"))?;
    }
    Ok(())
}

fn act(tag: &str, operation: &str) -> Result<()> {
    let (name, object) = operation.split_once('=').context("an operation is NAME=OBJECT")?;
    let note = |kind| {
        Act {
            tag: tag.to_owned(),
            kind,
            pid: std::process::id(),
            object: object.to_owned(),
        }
        .record()
    };
    match name {
        "create" => {
            File::create_new(object)?.write_all(tag.as_bytes())?;
            note(ActKind::Create)
        }
        "write" => {
            File::options().write(true).open(object)?;
            note(ActKind::Write)
        }
        "read" => {
            File::open(object)?;
            note(ActKind::Read)
        }
        "connect" => {
            TcpStream::connect(object)?;
            note(ActKind::Connect)
        }
        // Noted by the child, whose act it is.
        "exec" => execute(tag, object),
        "thread-exec" => std::thread::scope(|scope| {
            scope
                .spawn(|| execute(tag, object))
                .join()
                .unwrap_or_else(|_| bail!("the thread panicked"))
        }),
        "executed" => note(ActKind::Exec),
        "daemon" => daemon(tag, object),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(object.parse()?));
            Ok(())
        }
        other => bail!("no operation {other}"),
    }
}

/// Runs this program again; the child notes its own exec.
fn execute(tag: &str, word: &str) -> Result<()> {
    let program = std::env::current_exe()?;
    let status = Command::new(program)
        .args([tag, &format!("executed={word}")])
        .status()?;
    if !status.success() {
        bail!("the child failed: {status}");
    }
    Ok(())
}

/// The classic daemon: no longer in the caller's session, its parent gone, acting after the call is over.
fn daemon(tag: &str, path: &str) -> Result<()> {
    // SAFETY: this program has one thread here, so the child may do anything.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        nix::sys::wait::waitpid(child, None)?;
        return Ok(());
    }
    setsid()?;
    // Whoever reads our standard output must not wait for the orphan: it is started with none.
    let later = format!("create={path}");
    Command::new(std::env::current_exe()?)
        .args([tag, "sleep=200", &later])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::process::exit(0)
}
