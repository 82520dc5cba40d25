//! The worker that fetches one package: started, told, listened to, ended.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use defenseclaw_model::package::{FETCH_OUTCOME, FETCH_VERB, FetchOutcome, FetchTask, PackageState};
use defenseclaw_model::sandbox::{LAUNCHER, WHOLE_TOOL};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What of the gateway's environment the worker gets: how to reach the network here, and whom to trust there.
const KEPT: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// How much longer than its task a worker may take, to end and to say what came of it.
const GRACE: Duration = Duration::from_secs(3);

/// Why a worker gave no outcome.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("no {} is installed beside the gateway; install the whole package", .0.display())]
    Missing(PathBuf),
    #[error("the worker that fetches packages cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the worker that fetches packages cannot be told what to fetch: {0}")]
    Task(std::io::Error),
    #[error("the worker that fetches packages cannot be heard: {0}")]
    Listen(std::io::Error),
    #[error("it was not fetched and scanned within {} ms", .0.as_millis())]
    Time(Duration),
    #[error("the worker's outcome has more than {0} bytes")]
    Size(usize),
    #[error("the worker ended without an outcome: {0}")]
    Outcome(String),
}

/// Where the tool is that fetches.
pub(super) fn program() -> PathBuf {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    let folder = own.ok().and_then(|own| own.parent().map(Path::to_owned));
    let folder = folder.unwrap_or_else(|| PathBuf::from("/usr/lib/defenseclaw"));
    // The whole tool where it has a folder of its own; else it lies beside the gateway.
    let mut places = WHOLE_TOOL.iter().map(|tool| folder.join(tool));
    let found = places.find(|place| place.is_file());
    found.unwrap_or_else(|| folder.join(LAUNCHER))
}

/// Has a package fetched and scanned. It holds up the thread that asks.
pub(super) fn fetch(program: &Path, task: &FetchTask) -> FetchOutcome {
    let outcome = asked(program, task);
    outcome.unwrap_or_else(|error| FetchOutcome::Failed {
        why: match error {
            WorkerError::Time(_) => PackageState::Unreachable,
            _ => PackageState::Unscanned,
        },
        release: None,
        reason: error.to_string(),
    })
}

/// A child that is ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn asked(program: &Path, task: &FetchTask) -> Result<FetchOutcome, WorkerError> {
    if !program.is_file() {
        return Err(WorkerError::Missing(program.to_owned()));
    }
    let allowed = Duration::from_millis(task.timeout_ms).saturating_add(GRACE);
    let deadline = Instant::now() + allowed;
    let kept = KEPT
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .arg(FETCH_VERB)
        .env_clear()
        .envs(kept)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(WorkerError::Start)?;
    let mut running = Running(child);
    let text = serde_json::to_vec(task).map_err(|error| WorkerError::Task(error.into()))?;
    // A task fits into a pipe: writing does not wait for the worker. Dropped, the pipe says that this is all.
    if let Some(mut stdin) = running.0.stdin.take() {
        stdin.write_all(&text).map_err(WorkerError::Task)?;
    }
    let Some(mut out) = running.0.stdout.take() else {
        return Err(WorkerError::Outcome("it has no standard output".to_owned()));
    };
    let mut said = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WorkerError::Time(allowed));
        }
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(WorkerError::Listen(errno.into())),
        }
        let count = out.read(&mut buffer).map_err(WorkerError::Listen)?;
        if count == 0 {
            break;
        }
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if said.len() > FETCH_OUTCOME {
            return Err(WorkerError::Size(FETCH_OUTCOME));
        }
    }
    serde_json::from_slice(&said).map_err(|error| WorkerError::Outcome(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn played(script: &str, timeout_ms: u64) -> FetchOutcome {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let task = FetchTask {
            package: "npm:pad".to_owned(),
            registry: None,
            timeout_ms,
            known: Vec::new(),
        };
        fetch(&path, &task)
    }

    #[test]
    fn an_outcome_is_taken_and_everything_else_is_none() {
        let script = r#"[ "$1" = fetch-worker ] && grep -q npm:pad && printf '{"outcome":"known","release":{"version":"1","integrity":"i","url":"u"}}'"#;
        assert!(matches!(played(script, 20_000), FetchOutcome::Known { release } if release.version == "1"));
        for script in [
            "cat >/dev/null",
            "exit 1",
            "echo '{'",
            "head -c 6000000 /dev/zero",
        ] {
            let outcome = played(script, 20_000);
            assert!(
                matches!(
                    outcome,
                    FetchOutcome::Failed {
                        why: PackageState::Unscanned,
                        ..
                    }
                ),
                "{script}: {outcome:?}"
            );
        }
    }

    #[test]
    fn a_worker_that_does_not_end_is_ended() {
        let outcome = played("exec sleep 600", 0);
        let FetchOutcome::Failed { why, reason, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(why, PackageState::Unreachable);
        assert!(reason.contains("3000 ms"), "{reason}");
    }

    #[test]
    fn a_tool_that_is_not_there_is_named() {
        let task = FetchTask {
            package: "npm:pad".to_owned(),
            registry: None,
            timeout_ms: 1,
            known: Vec::new(),
        };
        let outcome = fetch(Path::new("/nonexistent/defenseclaw-cli"), &task);
        let FetchOutcome::Failed { reason, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(reason.contains("/nonexistent/defenseclaw-cli"), "{reason}");
    }
}
