//! The unprivileged process that looks at a copy. One process, one artifact; one waits ahead, with its rules loaded.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use defenseclaw_model::gate::{WORKER_VERB, WorkerTask};
pub use defenseclaw_worker::ScanError;
use defenseclaw_worker::{User, Worker, message};

/// Where workers come from.
pub struct Scanner {
    programs: Vec<PathBuf>,
    user: String,
    ends: Arc<AtomicBool>,
    warm: Mutex<Option<Worker>>,
}

impl Scanner {
    /// Workers are the first of `programs` that is there, and run as `user`.
    /// No scan goes on once `ends` is set.
    pub fn new(programs: Vec<PathBuf>, user: String, ends: Arc<AtomicBool>) -> Self {
        Self {
            programs,
            user,
            ends,
            warm: Mutex::new(None),
        }
    }

    /// Has a worker ready for the next scan.
    pub fn warm_up(&self) {
        let mut warm = self
            .warm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if warm.is_none() {
            *warm = self.start().ok();
        }
    }

    /// Has the copy scanned; gives the report's JSON.
    pub fn scan(&self, task: &WorkerTask, copy: &OwnedFd, deadline: Instant) -> Result<String, ScanError> {
        let warm = self
            .warm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let text = message(task)?;
        // The one that waited may have been ended by somebody since: nothing was asked of it yet, so another may be.
        let asked = warm.and_then(|mut worker| worker.ask(&text, copy, deadline).ok().map(|()| worker));
        let mut worker = match asked {
            Some(worker) => worker,
            None => {
                let mut worker = self.start()?;
                worker.ask(&text, copy, deadline)?;
                worker
            }
        };
        worker.answer(deadline)
    }

    fn start(&self) -> Result<Worker, ScanError> {
        let program = self.programs.iter().find(|program| program.is_file());
        let program = program.ok_or_else(|| {
            ScanError::Missing(
                self.programs
                    .first()
                    .cloned()
                    .unwrap_or_else(|| WORKER_VERB.into()),
            )
        })?;
        let user = nix::unistd::User::from_name(&self.user).ok().flatten();
        let user = user.filter(|user| !user.uid.is_root());
        let user = user.ok_or_else(|| ScanError::User(self.user.clone()))?;
        let user = User {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        };
        Worker::start(program, Some(user), self.ends.clone())
    }
}
