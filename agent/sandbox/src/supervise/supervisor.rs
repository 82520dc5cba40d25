//! The supervisor: its threads, what they share, and what they count.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::filter::Handshake;
use super::judge::{Action, Answer, Judge, People, Question, Verdict};
use super::network::NetworkCall;
use super::notify::{Listener, Notification};
use super::open::OpenCall;
use super::step::{Jobs, OpenQuestions, Ruling, Step, drive, prepare_thread};
use super::sys::{self, Errno};
use super::target::{Family, OwnRights, Target};
use super::{MAX_ASKED, MAX_REMEMBERED, SuperviseError};

/// How a supervisor behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A question that is not answered within this is refused.
    pub answer_within: Duration,
    /// Threads that receive calls. Two or more, so that a slow disk under one open does not hold up all others.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        // Eight opens at the same time are more than one command's process tree makes; each worker costs a stack.
        Self {
            answer_within: Duration::from_secs(120),
            workers: processors.clamp(2, 8),
        }
    }
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Calls that were received.
    pub received: u64,
    /// Requests that the profile was asked about.
    pub judged: u64,
    /// Questions that were put to a person.
    pub asked: u64,
    /// Requests refused, by the profile, by a person, or by an earlier answer.
    pub denied: u64,
    /// Questions refused because nobody answered in time.
    pub timed_out: u64,
    /// Calls refused because too many waited or asked already.
    pub refused_full: u64,
    /// Calls refused because the target's rights or memory could not be looked into, or were not the supervisor's.
    pub refused_unlike: u64,
    /// Calls whose thread was gone before the answer.
    pub gone: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    received: AtomicU64,
    judged: AtomicU64,
    asked: AtomicU64,
    denied: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) refused_full: AtomicU64,
    refused_unlike: AtomicU64,
    gone: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What all threads of a supervisor share.
pub(super) struct Core {
    pub(super) listener: Listener,
    pub(super) judge: Arc<dyn Judge>,
    pub(super) people: Arc<dyn People>,
    pub(super) options: Options,
    pub(super) family: Family,
    pub(super) counters: Counters,
    pub(super) jobs: Jobs,
    pub(super) open_questions: Arc<OpenQuestions>,
    pub(super) questions: AtomicUsize,
    pub(super) waits: AtomicUsize,
    own: OwnRights,
    answers: Mutex<HashMap<Action, bool>>,
    /// One worker at a time waits for calls: two that wake for one call would leave one of them stuck in the kernel.
    turn: Mutex<()>,
    stop: AtomicBool,
    stop_event: OwnedFd,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// `ENOENT` once the call is held no more.
    pub(super) fn still_held(&self, id: u64) -> Result<(), Errno> {
        if self.listener.valid(id) {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        }
    }

    pub(super) fn finish(&self, id: u64, result: Result<i64, Errno>) {
        if self.listener.reply(id, result).is_err() {
            count(&self.counters.gone);
        }
    }

    /// Gives the descriptor to the target. Its own limits hold: a full table is its own EMFILE.
    pub(super) fn inject(&self, id: u64, fd: OwnedFd, close_on_exec: bool) {
        if let Err(errno) = self.listener.hand_over(id, fd, close_on_exec) {
            self.finish(id, Err(errno));
        }
    }

    /// What a verdict comes to, with the answers that were given before.
    pub(super) fn rule(
        &self,
        verdict: Verdict,
        action: &Action,
        approved: Option<&Action>,
    ) -> Result<Ruling, Errno> {
        count(&self.counters.judged);
        let reason = match verdict {
            Verdict::Allow => return Ok(Ruling::Go),
            Verdict::Deny(errno) => {
                count(&self.counters.denied);
                return Err(errno);
            }
            Verdict::Ask(reason) => reason,
        };
        if approved == Some(action) {
            return Ok(Ruling::Go);
        }
        match self.earlier_answer(action) {
            Some(true) => Ok(Ruling::Go),
            Some(false) => {
                count(&self.counters.denied);
                Err(Errno::EACCES)
            }
            None => Ok(Ruling::Ask(reason)),
        }
    }

    /// What a person has said for the whole run.
    pub(super) fn earlier_answer(&self, action: &Action) -> Option<bool> {
        action.answered(&self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a question; false where there were too many.
    pub(super) fn may_ask(&self) -> bool {
        if self.counters.asked.fetch_add(1, Ordering::Relaxed) < MAX_ASKED {
            return true;
        }
        self.counters.asked.fetch_sub(1, Ordering::Relaxed);
        count(&self.counters.refused_full);
        false
    }

    pub(super) fn remember(&self, action: &Action, answer: Answer) {
        if matches!(answer, Answer::Deny | Answer::Nobody) {
            count(&self.counters.denied);
        }
        let holds = match answer {
            Answer::ForRun => true,
            Answer::Deny => false,
            Answer::Once | Answer::Nobody => return,
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() < MAX_REMEMBERED {
            answers.insert(action.clone(), holds);
        }
    }

    pub(super) fn question(
        &self,
        pid: i32,
        action: &Action,
        reason: String,
        withdrawn: &Arc<AtomicBool>,
    ) -> Question {
        let program: Option<PathBuf> = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        Question {
            pid,
            program,
            action: action.clone(),
            reason,
            withdrawn: Arc::clone(withdrawn),
        }
    }

    /// The next call; None when there will be none any more.
    fn next(&self) -> Option<Notification> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.stopped() {
                return None;
            }
            let wait = [
                (self.listener.as_fd(), libc::POLLIN),
                (self.stop_event.as_fd(), libc::POLLIN),
            ];
            let Ok(ready) = sys::poll(&wait, -1) else { continue };
            if ready[0] & libc::POLLIN != 0 {
                match self.listener.receive() {
                    Ok(call) => {
                        count(&self.counters.received);
                        return Some(call);
                    }
                    // Withdrawn before it was taken: its thread was killed.
                    Err(Errno::ENOENT | Errno::EINTR) => {}
                    Err(errno) => {
                        tracing::error!(%errno, "the kernel gives no more calls to the supervisor");
                        return None;
                    }
                }
            } else if ready[0] & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
                // The last process with this filter is gone.
                return None;
            }
        }
    }

    fn first_step(&self, call: &Notification) -> Step {
        let unlike = |errno: Errno| {
            if errno == Errno::EPERM {
                count(&self.counters.refused_unlike);
            }
            Step::Done(Err(errno))
        };
        let target = match Target::take(call.id, call.tid, &self.own) {
            Ok(target) => target,
            Err(errno) => return unlike(errno),
        };
        match call.number {
            libc::SYS_connect | libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg => {
                match NetworkCall::gather(target, call).and_then(|call| self.gathered(call)) {
                    Ok(call) => call.attempt(self, None),
                    Err(errno) => unlike(errno),
                }
            }
            _ => match OpenCall::gather(target, call).and_then(|call| self.gathered(call)) {
                Ok(call) => call.attempt(self, None),
                Err(errno) => unlike(errno),
            },
        }
    }

    /// What was gathered is the caller's only if the call is still held: else its number may be another's by now.
    fn gathered<C: Held>(&self, call: C) -> Result<C, Errno> {
        self.still_held(call.id())?;
        Ok(call)
    }

    fn work(core: &Arc<Self>) {
        while let Some(call) = core.next() {
            let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core.first_step(&call)));
            drive(core, call.id, step.unwrap_or(Step::Done(Err(Errno::EACCES))));
        }
    }
}

/// A gathered call.
pub(super) trait Held {
    fn id(&self) -> u64;
}

/// A running supervisor. Dropped, it stops: calls of targets that still live then fail with `ENOSYS`.
#[derive(Debug)]
pub struct Supervisor {
    core: Arc<Core>,
    workers: Vec<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Takes the listener from the child, starts the threads, and lets the child go on to its exec.
    ///
    /// Call it in the parent after the fork, when the parent has dropped whatever capabilities it is going to drop:
    /// it acts only for targets which have all the rights that it has itself now.
    ///
    /// # Errors
    /// Says what is missing. The child has not run anything by then: its `install` fails and it must exit.
    pub fn start(
        handshake: Handshake,
        child: i32,
        options: Options,
        judge: Arc<dyn Judge>,
        people: Arc<dyn People>,
    ) -> Result<Self, SuperviseError> {
        let (listener, release) = handshake.adopt(child)?;
        sys::install_interrupt().map_err(SuperviseError::Threads)?;
        let own = OwnRights::now().ok_or(SuperviseError::NoProc)?;
        let family = Family::of(child).ok_or(SuperviseError::NoProc)?;
        // Fails here, before the command starts, where the child could not be acted for.
        Target::take(0, child, &own).map_err(SuperviseError::NoAccess)?;
        listener.prefer_same_processor();
        let core = Arc::new(Core {
            listener,
            judge,
            people,
            options,
            family,
            counters: Counters::default(),
            jobs: Jobs::default(),
            open_questions: Arc::default(),
            questions: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            own,
            answers: Mutex::default(),
            turn: Mutex::default(),
            stop: AtomicBool::new(false),
            stop_event: sys::eventfd().map_err(|errno| SuperviseError::Threads(errno.into()))?,
        });
        let mut supervisor = Self {
            core,
            workers: Vec::new(),
            keeper: None,
        };
        supervisor
            .start_threads(options.workers.max(1))
            .map_err(SuperviseError::Threads)?;
        release.release()?;
        Ok(supervisor)
    }

    fn start_threads(&mut self, workers: usize) -> std::io::Result<()> {
        let (report, reports) = std::sync::mpsc::channel();
        for _ in 0..workers {
            let (core, report) = (Arc::clone(&self.core), report.clone());
            let work = move || {
                let prepared = prepare_thread();
                let ready = prepared.is_ok();
                let _ = report.send(prepared);
                if ready {
                    Core::work(&core);
                }
            };
            self.workers
                .push(std::thread::Builder::new().name("supervise".into()).spawn(work)?);
        }
        for _ in 0..workers {
            reports.recv().map_err(|_| std::io::ErrorKind::BrokenPipe)??;
        }
        let core = Arc::clone(&self.core);
        let keep = move || {
            sys::block_signals();
            Jobs::keep(&core);
        };
        self.keeper = Some(
            std::thread::Builder::new()
                .name("supervise-keeper".into())
                .spawn(keep)?,
        );
        Ok(())
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.core.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            received: read(&counters.received),
            judged: read(&counters.judged),
            asked: read(&counters.asked),
            denied: read(&counters.denied),
            timed_out: read(&counters.timed_out),
            refused_full: read(&counters.refused_full),
            refused_unlike: read(&counters.refused_unlike),
            gone: read(&counters.gone),
        }
    }

    /// Waits until no process with this filter is left: background processes outlive the command that started them.
    pub fn wait_until_unused(mut self) -> Counts {
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        self.counts()
    }

    fn stop(&mut self) {
        self.core.stop.store(true, Ordering::Release);
        sys::wake(self.core.stop_event.as_fd());
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        self.core.jobs.wake_keeper();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        // A thread that waits holds the listener open. It is in a call that the signal ends.
        while !self.core.jobs.interrupt_waits() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}
