//! Carrying a call to its end: at once, after a wait, or after a question.
//!
//! What can be done at once is done by the worker that received the call. What waits (a FIFO without a writer, a
//! connection that is being made) or asks gets a thread of its own, of which there is a bounded number. The keeper
//! looks after those: it withdraws questions and interrupts waits whose target is gone, and refuses what was not
//! answered in time.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::judge::{Action, Answer, Question};
use super::supervisor::Core;
use super::sys::{self, Errno};
use super::{MAX_QUESTIONS, MAX_WAITS};

/// How often the keeper looks. A killed target's question stays open for no longer than this.
const TICK: Duration = Duration::from_millis(50);

/// Stack of a waiting thread: it runs a handful of small functions.
const STACK: usize = 512 * 1024;

pub(super) type Then = Box<dyn FnOnce(&Core) -> Step + Send>;

/// What is next for a call.
pub(super) enum Step {
    /// The call ends with this.
    Done(Result<i64, Errno>),
    /// The call ends with this descriptor.
    Inject { fd: OwnedFd, close_on_exec: bool },
    /// The rest may wait for others.
    Block(Then),
    /// A person decides; `then` is the rest if the answer is yes.
    Ask {
        pid: i32,
        action: Action,
        reason: String,
        then: Then,
    },
}

/// What a verdict comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ruling {
    Go,
    Ask(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Computing: neither waits nor asks.
    Busy,
    Asking(Instant),
    Waiting,
    /// Somebody else has answered the call.
    Over,
}

/// A call that has a thread of its own.
#[derive(Debug)]
struct Job {
    id: u64,
    tid: i32,
    asks: bool,
    phase: Mutex<Phase>,
    withdrawn: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil what they hold.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// Leaves a phase that the keeper may end; false when it has.
    fn back(&self) -> bool {
        let mut phase = lock(&self.phase);
        let goes_on = *phase != Phase::Over;
        if goes_on {
            *phase = Phase::Busy;
        }
        goes_on
    }
}

/// The calls that have threads of their own.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    list: Mutex<Vec<Arc<Job>>>,
    changed: Condvar,
}

impl Jobs {
    /// The keeper's thread.
    pub(super) fn keep(core: &Core) {
        let jobs = &core.jobs;
        let mut list = lock(&jobs.list);
        while !core.stopped() {
            list = if list.is_empty() {
                jobs.changed.wait(list).unwrap_or_else(PoisonError::into_inner)
            } else {
                jobs.changed
                    .wait_timeout(list, TICK)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            };
            for job in list.iter() {
                look_after(core, job, core.stopped());
            }
        }
        for job in list.iter() {
            look_after(core, job, true);
        }
    }

    pub(super) fn wake_keeper(&self) {
        let _list = lock(&self.list);
        self.changed.notify_all();
    }

    /// Interrupts what still waits; true when nothing waits any more. Questions are not waited for.
    pub(super) fn interrupt_waits(&self) -> bool {
        let list = lock(&self.list);
        let mut none = true;
        for job in list.iter().filter(|job| *lock(&job.phase) == Phase::Waiting) {
            none = false;
            sys::interrupt(job.tid);
        }
        none
    }

    fn add(&self, job: &Arc<Job>) {
        lock(&self.list).push(Arc::clone(job));
        self.changed.notify_all();
    }

    fn remove(&self, job: &Arc<Job>) {
        lock(&self.list).retain(|other| !Arc::ptr_eq(other, job));
    }
}

fn look_after(core: &Core, job: &Job, stopping: bool) {
    let gone = stopping || !core.listener.valid(job.id);
    let mut phase = lock(&job.phase);
    match *phase {
        Phase::Asking(_) if gone => {
            *phase = Phase::Over;
            job.withdrawn.store(true, Ordering::Release);
        }
        Phase::Asking(deadline) if Instant::now() >= deadline => {
            *phase = Phase::Over;
            job.withdrawn.store(true, Ordering::Release);
            core.counters.timed_out.fetch_add(1, Ordering::Relaxed);
            core.finish(job.id, Err(Errno::EACCES));
        }
        // The signal may come a moment before the call that it is to interrupt: it is sent until the job ends.
        Phase::Waiting if gone => sys::interrupt(job.tid),
        _ => {}
    }
}

/// Carries a call on as far as it goes without waiting; the rest goes to a thread of its own.
pub(super) fn drive(core: &Arc<Core>, id: u64, step: Step) {
    match step {
        Step::Done(result) => core.finish(id, result),
        Step::Inject { fd, close_on_exec } => core.inject(id, fd, close_on_exec),
        waits @ (Step::Block(_) | Step::Ask { .. }) => spawn(core, id, waits),
    }
}

fn spawn(core: &Arc<Core>, id: u64, step: Step) {
    let asks = matches!(step, Step::Ask { .. });
    let (slots, most, refusal) = if asks {
        (&core.questions, MAX_QUESTIONS, Errno::EACCES)
    } else {
        (&core.waits, MAX_WAITS, Errno::EAGAIN)
    };
    if slots.fetch_add(1, Ordering::AcqRel) >= most {
        slots.fetch_sub(1, Ordering::AcqRel);
        core.counters.refused_full.fetch_add(1, Ordering::Relaxed);
        core.finish(id, Err(refusal));
        return;
    }
    let run = {
        let core = Arc::clone(core);
        move || job_thread(core, id, asks, step)
    };
    let thread = std::thread::Builder::new()
        .name("supervise-job".into())
        .stack_size(STACK)
        .spawn(run);
    if thread.is_err() {
        slots.fetch_sub(1, Ordering::AcqRel);
        core.counters.refused_full.fetch_add(1, Ordering::Relaxed);
        core.finish(id, Err(refusal));
    }
}

fn job_thread(core: Arc<Core>, id: u64, asks: bool, step: Step) {
    if prepare_thread().is_err() {
        core.finish(id, Err(Errno::EACCES));
        release_slot(&core, asks);
        return;
    }
    let job = Arc::new(Job {
        id,
        tid: sys::gettid(),
        asks,
        phase: Mutex::new(Phase::Busy),
        withdrawn: Arc::default(),
    });
    core.jobs.add(&job);
    if let Some(core) = carry(core, &job, step) {
        core.jobs.remove(&job);
        release_slot(&core, job.asks);
    }
}

fn release_slot(core: &Core, asks: bool) {
    let slots = if asks { &core.questions } else { &core.waits };
    slots.fetch_sub(1, Ordering::AcqRel);
}

/// Every thread that acts for targets: a umask of its own, no signals but the one that interrupts it.
pub(super) fn prepare_thread() -> Result<(), Errno> {
    sys::block_signals();
    sys::unshare_fs()
}

/// Runs a job to its end. None: the supervisor ended while a question was open.
fn carry(mut core: Arc<Core>, job: &Job, mut step: Step) -> Option<Arc<Core>> {
    loop {
        step = match step {
            Step::Done(result) => {
                core.finish(job.id, result);
                return Some(core);
            }
            Step::Inject { fd, close_on_exec } => {
                core.inject(job.id, fd, close_on_exec);
                return Some(core);
            }
            Step::Block(then) => {
                *lock(&job.phase) = Phase::Waiting;
                let next = run(then, &core);
                if !job.back() {
                    return Some(core);
                }
                next
            }
            Step::Ask {
                pid,
                action,
                reason,
                then,
            } => {
                let deadline = Instant::now() + core.options.answer_within;
                *lock(&job.phase) = Phase::Asking(deadline);
                core.jobs.wake_keeper();
                let (back, answer) = decide(core, job, pid, &action, reason, deadline)?;
                core = back;
                if !job.back() {
                    return Some(core);
                }
                match answer {
                    Answer::Once | Answer::ForRun => run(then, &core),
                    Answer::Deny | Answer::Nobody => Step::Done(Err(Errno::EACCES)),
                }
            }
        }
    }
}

/// Has a person decide; many processes that want the same wait for one answer. None: the supervisor ended.
fn decide(
    core: Arc<Core>,
    job: &Job,
    pid: i32,
    action: &Action,
    reason: String,
    deadline: Instant,
) -> Option<(Arc<Core>, Answer)> {
    while !core.open_questions.enter(action) {
        core.open_questions.wait(TICK);
        match (core.earlier_answer(action), *lock(&job.phase)) {
            (_, Phase::Over) => return Some((core, Answer::Nobody)),
            (Some(true), _) => return Some((core, Answer::ForRun)),
            (Some(false), _) => return Some((core, Answer::Deny)),
            (None, _) => {}
        }
    }
    let asking = Asking {
        questions: Arc::clone(&core.open_questions),
        action,
    };
    // It may have been answered just before it could be asked.
    if let Some(yes) = core.earlier_answer(action) {
        return Some((core, if yes { Answer::ForRun } else { Answer::Deny }));
    }
    if !core.may_ask() {
        return Some((core, Answer::Nobody));
    }
    let question = core.question(pid, action, reason, &job.withdrawn);
    let people = Arc::clone(&core.people);
    // An answer may take long. Meanwhile this thread must not keep the listener open: if the supervisor ends, the target
    // has to fail and not to hang.
    let weak = Arc::downgrade(&core);
    drop(core);
    let answer = ask(&*people, &question, deadline);
    let core = weak.upgrade()?;
    // An answer that came too late has decided nothing.
    if *lock(&job.phase) != Phase::Over {
        core.remember(action, answer);
    }
    drop(asking);
    Some((core, answer))
}

/// The questions that are being asked.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions {
    actions: Mutex<HashSet<Action>>,
    closed: Condvar,
}

impl OpenQuestions {
    /// False: somebody asks this already.
    fn enter(&self, action: &Action) -> bool {
        lock(&self.actions).insert(action.clone())
    }

    fn wait(&self, at_most: Duration) {
        let actions = lock(&self.actions);
        drop(
            self.closed
                .wait_timeout(actions, at_most)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Leaves the open questions however asking ends.
struct Asking<'a> {
    questions: Arc<OpenQuestions>,
    action: &'a Action,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.questions.actions).remove(self.action);
        self.questions.closed.notify_all();
    }
}

/// A panic ends the call, not the thread that would have answered it.
fn run(then: Then, core: &Core) -> Step {
    let rest = std::panic::AssertUnwindSafe(|| then(core));
    std::panic::catch_unwind(rest).unwrap_or(Step::Done(Err(Errno::EACCES)))
}

/// A panic while asking is no answer.
fn ask(people: &dyn super::People, question: &Question, deadline: Instant) -> Answer {
    let asking = std::panic::AssertUnwindSafe(|| people.ask(question, deadline));
    std::panic::catch_unwind(asking).unwrap_or(Answer::Nobody)
}
