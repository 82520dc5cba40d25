//! The thread that answers opens. It opens nothing itself and waits for nobody: what it knows it answers at once, everything else it
//! holds until somebody has found out, or until the time is over.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::fanotify::{FanotifyEvent, FanotifyResponse, MarkFlags, MaskFlags, Response};
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::copy::{Stamp, kind};
use super::intent;
use super::jobs::{Job, Jobs};
use super::marks::Request;
use super::places::{HIDDEN, Which};
use super::programs;
use super::shared::{Done, Judged, Outcome, Shared, Tell};

/// Most opens that are held at once: each holds a descriptor. Beyond, the fail mode answers.
const MAX_HELD: usize = 4_096;
/// For how long the fail mode answers for an artifact that could not be judged, before it is tried again: a harness opens many files one
/// after another, and each would wait the whole time.
const FAILED_FOR: Duration = Duration::from_secs(2);
/// Most artifacts whose files are kept in mind.
const MAX_JUDGED: usize = 10_000;
/// Most files whose answers are at hand; beyond, they are found again from their artifacts.
const MAX_HITS: usize = 500_000;
/// How long the jobs of what nobody waits for may take.
const BACKGROUND: Duration = Duration::from_secs(60);

/// An open that waits.
struct Held {
    event: FanotifyEvent,
    until: Instant,
}

/// An artifact with a job, and the opens that wait for it.
struct Waiting {
    which: Which,
    opens: Vec<Held>,
}

/// A file that was judged: how it was, where it stood, and what its opens get.
struct Hit {
    stamp: Stamp,
    path: Box<[u8]>,
    epoch: (u64, u64),
    allow: bool,
}

/// The thread's state.
pub(crate) struct Opens {
    shared: Arc<Shared>,
    jobs: Arc<Jobs>,
    marker: Sender<Request>,
    marker_wake: Arc<EventFd>,
    hits: HashMap<(u64, u64), Hit>,
    judged: HashMap<PathBuf, Judged>,
    failed: HashMap<PathBuf, Instant>,
    waiting: HashMap<PathBuf, Waiting>,
    folders: HashMap<u64, (FanotifyEvent, Instant)>,
    next_folder: u64,
    stopped: bool,
}

impl Opens {
    /// Knows nothing yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        jobs: Arc<Jobs>,
        marker: Sender<Request>,
        marker_wake: Arc<EventFd>,
    ) -> Self {
        Self {
            shared,
            jobs,
            marker,
            marker_wake,
            hits: HashMap::new(),
            judged: HashMap::new(),
            failed: HashMap::new(),
            waiting: HashMap::new(),
            folders: HashMap::new(),
            next_folder: 0,
            stopped: false,
        }
    }

    /// Answers until it is told to stop; then what waits gets the fail mode's answer.
    pub(crate) fn run(mut self, tells: &Receiver<Tell>, wake: &EventFd) {
        self.shared.is_own_thread();
        loop {
            let timeout = self.next_deadline();
            let mut fds = [
                PollFd::new(self.shared.fan.as_fd(), PollFlags::POLLIN),
                PollFd::new(wake.as_fd(), PollFlags::POLLIN),
            ];
            // An interrupted wait is followed by a look that finds nothing.
            let _ = poll(&mut fds, timeout);
            let told = fds[1].any().unwrap_or(true);
            if told {
                let _ = wake.read(); // Nothing to read is no error.
                while let Ok(tell) = tells.try_recv() {
                    match tell {
                        Tell::Stop => self.stop(),
                        Tell::End => return,
                        tell => self.tell(tell),
                    }
                }
            }
            self.read();
            self.overdue();
        }
    }

    fn next_deadline(&self) -> PollTimeout {
        let opens = self
            .waiting
            .values()
            .flat_map(|waiting| waiting.opens.iter().map(|open| open.until));
        let folders = self.folders.values().map(|(_, until)| *until);
        match opens.chain(folders).min() {
            None => PollTimeout::NONE,
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    fn read(&mut self) {
        match self.shared.fan.read_events() {
            Ok(events) => events.into_iter().for_each(|event| self.open(event)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The kernel has refused what it could not hand over.
            Err(error) => self.shared.gap(
                "gate_read",
                &format!("an open could not be looked at, and was refused: {error}"),
            ),
        }
    }

    fn open(&mut self, event: FanotifyEvent) {
        let Some(file) = event.fd() else { return };
        if self.stopped || self.shared.is_own(event.pid()) {
            return self.answer(&event, true);
        }
        let Ok(stat) = fstat(file) else {
            return self.answer(&event, false);
        };
        match kind(&stat) {
            SFlag::S_IFDIR => return self.folder(event),
            // Nothing is in it yet: whoever installs something creates its files first.
            SFlag::S_IFREG if stat.st_size == 0 => return self.answer(&event, true),
            _ => {}
        }
        let stamp = Stamp::of(&stat);
        if event.mask().contains(MaskFlags::FAN_OPEN_EXEC_PERM) && self.shared.is_program(stamp.file) {
            return self.harness(event);
        }
        let Some(path) = path_of(file) else {
            return self.answer(&event, false);
        };
        if let Some(hit) = self.hits.get(&stamp.file)
            && hit.stamp == stamp
            && hit.epoch == self.shared.epoch()
            && *hit.path == *path.as_os_str().as_bytes()
        {
            return self.answer(&event, hit.allow);
        }
        self.look(event, &stat, stamp, &path);
    }

    /// An open of a file that is not known as it is.
    fn look(&mut self, event: FanotifyEvent, stat: &FileStat, stamp: Stamp, path: &Path) {
        let epoch = self.shared.epoch();
        let direct = self.shared.governed().artifact_at(path);
        let Some(which) = direct.or_else(|| self.by_inode(stat, path)) else {
            self.hit(stamp, path, epoch, true);
            return self.answer(&event, true);
        };
        // What the gate is moving; and nobody else's artifact is called so.
        if which.name.starts_with(HIDDEN) {
            return self.answer(&event, false);
        }
        let judged = self
            .judged
            .get(&which.path)
            .filter(|judged| judged.revision == epoch.0);
        if let Some(judged) = judged
            && judged.until.is_some_and(|until| Instant::now() < until)
        {
            return self.answer(&event, judged.allows() || !which.holds);
        }
        if let Some(judged) = judged
            && judged.knows(&stamp)
        {
            let allow = judged.allows() || !which.holds;
            self.hit(stamp, path, epoch, allow);
            return self.answer(&event, allow);
        }
        if self.shared.settings.observes(&which.connector) || !which.holds {
            self.answer(&event, true);
            return self.background(which, event.pid());
        }
        // Who opens it to write makes it; what the writer leaves is judged at the next open.
        if intent::writes(event.pid()) {
            let allow = self.judged.get(&which.path).is_none_or(Judged::allows);
            return self.answer(&event, allow);
        }
        if self
            .failed
            .get(&which.path)
            .is_some_and(|at| at.elapsed() < FAILED_FOR)
        {
            return self.fail(&event, &which.connector);
        }
        self.hold(event, which);
    }

    /// The next open of the file as it is now gets the same answer.
    fn hit(&mut self, stamp: Stamp, path: &Path, epoch: (u64, u64), allow: bool) {
        let hit = Hit {
            stamp,
            path: path.as_os_str().as_bytes().into(),
            epoch,
            allow,
        };
        if self.hits.len() >= MAX_HITS {
            self.hits.clear();
        }
        self.hits.insert(stamp.file, hit);
    }

    /// The file may be one of an artifact's under another name: a hard link, or another mount. One that was moved out is no longer.
    fn by_inode(&self, stat: &FileStat, path: &Path) -> Option<Which> {
        let known = self.shared.path_of((stat.st_dev, stat.st_ino))?;
        let same = |path: &Path| {
            nix::sys::stat::lstat(path)
                .is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
        };
        if known == path || !same(&known) {
            return None;
        }
        let which = self.shared.governed().artifact_at(&known)?;
        // Whoever links somebody else's file into a place of theirs must not have its opens refused.
        let owner = nix::sys::stat::lstat(&which.physical).ok()?.st_uid;
        (owner == stat.st_uid).then_some(which)
    }

    fn hold(&mut self, event: FanotifyEvent, which: Which) {
        let held: usize = self.waiting.values().map(|waiting| waiting.opens.len()).sum();
        if held >= MAX_HELD {
            return self.fail(&event, &which.connector);
        }
        self.shared.held.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + self.shared.settings.timeout;
        let opener = event.pid();
        let open = Held { event, until };
        match self.waiting.get_mut(&which.path) {
            Some(waiting) => {
                waiting.which = which;
                waiting.opens.push(open);
            }
            None => {
                let waiting = Waiting {
                    which: which.clone(),
                    opens: vec![open],
                };
                self.waiting.insert(which.path.clone(), waiting);
                self.start(which, opener, until, true);
            }
        }
    }

    fn background(&mut self, which: Which, opener: i32) {
        // What changes while a job runs is seen at the next open.
        if self.waiting.contains_key(&which.path) {
            return;
        }
        if self
            .failed
            .get(&which.path)
            .is_some_and(|at| at.elapsed() < FAILED_FOR)
        {
            return;
        }
        let waiting = Waiting {
            which: which.clone(),
            opens: Vec::new(),
        };
        self.waiting.insert(which.path.clone(), waiting);
        self.start(which, opener, Instant::now() + BACKGROUND, false);
    }

    fn start(&self, which: Which, opener: i32, deadline: Instant, waits: bool) {
        self.jobs.push(Job::Judge {
            which,
            opener,
            begun: Instant::now(),
            deadline,
            waits,
        });
    }

    fn folder(&mut self, event: FanotifyEvent) {
        let Some(path) = event.fd().and_then(path_of) else {
            return self.answer(&event, true);
        };
        self.next_folder += 1;
        if self.folders.len() >= MAX_HELD
            || self.marker.send(Request::Folder(self.next_folder, path)).is_err()
        {
            return self.answer(&event, true);
        }
        let until = Instant::now() + self.shared.settings.timeout;
        self.folders.insert(self.next_folder, (event, until));
        let _ = self.marker_wake.write(1); // It fails only when 2^64 wakes wait.
    }

    /// A harness is about to run: what it will read of its project is governed first.
    fn harness(&mut self, event: FanotifyEvent) {
        let projects = programs::projects_of(event.pid(), &self.shared.sources.homes);
        self.next_folder += 1;
        if projects.is_empty()
            || self.folders.len() >= MAX_HELD
            || self
                .marker
                .send(Request::Projects(self.next_folder, projects))
                .is_err()
        {
            return self.answer(&event, true);
        }
        let _ = self.marker_wake.write(1); // It fails only when 2^64 wakes wait.
        if self.shared.settings.observes("") {
            return self.answer(&event, true);
        }
        let until = Instant::now() + self.shared.settings.timeout;
        self.folders.insert(self.next_folder, (event, until));
    }

    fn tell(&mut self, tell: Tell) {
        match tell {
            Tell::Marked(folder) => {
                if let Some((event, _)) = self.folders.remove(&folder) {
                    self.answer(&event, true);
                }
            }
            Tell::Look(which) => self.background(which, 0),
            Tell::Done(done) => self.done(*done),
            Tell::Beat(beat) => self.shared.beat.store(beat, Ordering::Release),
            Tell::Stop | Tell::End => {}
        }
    }

    fn done(&mut self, done: Done) {
        let Done { which, outcome } = done;
        let Some(mut waiting) = self.waiting.remove(&which.path) else {
            return;
        };
        let judged = match outcome {
            Outcome::Judged(judged) => judged,
            Outcome::Failed => {
                self.failed.insert(which.path, Instant::now());
                for open in &waiting.opens {
                    self.fail(&open.event, &waiting.which.connector);
                }
                return;
            }
        };
        let allows = judged.allows() || !waiting.which.holds;
        // Those whose file was judged as it is now are answered; the others need another look.
        waiting.opens.retain(|open| {
            let Some(now) = open.event.fd().and_then(|file| fstat(file).ok()) else {
                self.answer(&open.event, false);
                return false;
            };
            let same = judged.knows(&Stamp::of(&now));
            let answered = if same || judged.quarantined || judged.until.is_some() {
                Some(allows)
            } else {
                // What was replaced meanwhile is in no copy, and never will be.
                (now.st_nlink == 0).then_some(false)
            };
            if let Some(allow) = answered {
                self.answer(&open.event, allow);
            }
            answered.is_none()
        });
        self.failed.remove(&which.path);
        if self.judged.len() >= MAX_JUDGED {
            // Rare; what is forgotten is judged again at its next open.
            self.judged.clear();
            self.hits.clear();
        }
        if judged.quarantined {
            self.judged.remove(&which.path);
        } else {
            self.judged.insert(which.path.clone(), judged);
        }
        if let Some(first) = waiting.opens.first() {
            let (opener, until) = (first.event.pid(), first.until);
            self.start(waiting.which.clone(), opener, until, true);
            self.waiting.insert(which.path, waiting);
        }
    }

    fn overdue(&mut self) {
        let now = Instant::now();
        let mut late = Vec::new();
        for waiting in self.waiting.values_mut() {
            let mut at = 0;
            while at < waiting.opens.len() {
                if waiting.opens[at].until <= now {
                    late.push((
                        waiting.opens.swap_remove(at).event,
                        waiting.which.connector.clone(),
                    ));
                } else {
                    at += 1;
                }
            }
        }
        for (event, connector) in late {
            self.fail(&event, &connector);
        }
        let late: Vec<u64> = self
            .folders
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(&token, _)| token)
            .collect();
        for token in late {
            if let Some((event, _)) = self.folders.remove(&token) {
                self.answer(&event, true);
            }
        }
    }

    /// Nothing is asked from now on but what is on its way.
    fn stop(&mut self) {
        self.stopped = true;
        let none = MaskFlags::empty();
        // What stays marked is let go on below, and ends with the group.
        let _ = self
            .shared
            .fan
            .mark(MarkFlags::FAN_MARK_FLUSH, none, nix::fcntl::AT_FDCWD, Some("/"));

        for waiting in std::mem::take(&mut self.waiting).into_values() {
            for open in &waiting.opens {
                self.fail(&open.event, &waiting.which.connector);
            }
        }
        for (event, _) in std::mem::take(&mut self.folders).into_values() {
            self.answer(&event, true);
        }
    }

    /// The answer where nobody could be asked.
    fn fail(&self, event: &FanotifyEvent, connector: &str) {
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
        self.answer(event, self.shared.settings.fails_open(connector));
    }

    fn answer(&self, event: &FanotifyEvent, allow: bool) {
        let Some(file) = event.fd() else { return };
        let response = if allow {
            Response::FAN_ALLOW
        } else {
            Response::FAN_DENY
        };
        if !allow {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        // ENOENT: whoever opened was killed, and the question with it.
        match self
            .shared
            .fan
            .write_response(FanotifyResponse::new(file, response))
        {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => tracing::error!(%error, "an open could not be answered"),
        }
    }
}

/// The path of an open file.
fn path_of(file: BorrowedFd<'_>) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::fcntl::readlink(link.as_str()).ok().map(Into::into)
}
