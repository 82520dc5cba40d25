//! Starting programs that only tell something: bounded in time and in what they print.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::host::Ran;

/// How long one may take. `journalctl` on a large journal takes a second or two.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often to look whether it is done.
const PAUSE: Duration = Duration::from_millis(10);
/// Most that is taken of what it prints (bytes).
const MAX_OUTPUT: u64 = 1 << 20;

/// Runs a program. Whatever it does, this comes back.
pub(super) fn run(program: &Path, arguments: &[&str]) -> Ran {
    run_within(program, arguments, DEADLINE)
}

fn run_within(program: &Path, arguments: &[&str], limit: Duration) -> Ran {
    let spawned = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that all of it can be ended.
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ran::Absent,
        Err(error) => return Ran::NotStarted(error.to_string()),
    };
    let (sender, receiver) = mpsc::channel();
    let out = child.stdout.take();
    // Not waited for: something that the program left behind may hold the other end for ever.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(out) = out {
            let _ = out.take(MAX_OUTPUT).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    let deadline = Instant::now() + limit;
    let Some(good) = wait(&mut child, deadline) else {
        end(&mut child);
        return Ran::Late;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(left) {
        Ok(bytes) => Ran::Done {
            good,
            out: String::from_utf8_lossy(&bytes).into_owned(),
        },
        Err(_) => Ran::Late,
    }
}

/// Whether it ended well; `None` where it did not end.
fn wait(child: &mut Child, deadline: Instant) -> Option<bool> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            _ => return None,
        }
    }
}

/// Ends a program and what it started. It was not waited for yet, so the number is still its own.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(group),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ran {
        run_within(Path::new("/bin/sh"), &["-c", script], limit)
    }

    #[test]
    fn what_a_program_says_and_how_it_ended() {
        let done = |good, out: &str| Ran::Done {
            good,
            out: out.to_owned(),
        };
        let long = Duration::from_secs(60);
        assert_eq!(shell("echo yes", long), done(true, "yes\n"));
        assert_eq!(shell("echo no; exit 3", long), done(false, "no\n"));
        assert_eq!(run(Path::new("/nowhere/program"), &[]), Ran::Absent);
    }

    #[test]
    fn one_that_does_not_end_is_ended_and_one_that_leaves_something_behind_is_not_waited_for() {
        let short = Duration::from_millis(50);
        assert_eq!(shell("sleep 600", short), Ran::Late);
        assert_eq!(shell("sleep 1 & echo done", short), Ran::Late);
    }
}
