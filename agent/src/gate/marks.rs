//! Which folders and files the kernel asks about, kept up as places come into being.
//!
//! A thread of its own watches governed folders by inotify and marks what is new in them. An open of a governed folder waits until this
//! thread has marked everything that was in it: whoever lists a place finds all of it held. What remains is the time between a
//! folder's coming into a place and its mark, for whoever opens a file in it by name without listing the place.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::fanotify::{MarkFlags, MaskFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use nix::sys::stat::{FileStat, SFlag, fstatat};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};

use super::copy::{MAX_DEPTH, MAX_ENTRIES, kind, open_plain};
use super::places::{Governed, Look};
use super::programs;
use super::shared::{Shared, Tell, Tells};
use super::tree;

/// Most folders that are watched. A watch and a mark keep about 2 KiB of kernel memory.
const MAX_FOLDERS: usize = 100_000;
/// Most files that are marked one by one.
const MAX_FILES: usize = 500_000;
/// Most links that are followed one after another in a place.
const MAX_LINKS: usize = 8;
/// What the host itself runs on is never held, wherever a link leads.
const NEVER: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys",
    "/usr", "/var",
];

/// What the thread is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// An open of that folder waits.
    Folder(u64, PathBuf),
    /// A harness is about to run in these folders.
    Projects(u64, Vec<PathBuf>),
    /// A harness's program.
    Program(PathBuf),
    /// The places changed.
    Scope(Governed, SyncSender<()>),
    /// Enough.
    Stop,
}

/// The thread's state.
pub(crate) struct Marker {
    shared: Arc<Shared>,
    inotify: Inotify,
    watches: HashMap<WatchDescriptor, (PathBuf, PathBuf)>,
    /// What a bound left out was told.
    told: bool,
}

const OPENS: MaskFlags = MaskFlags::FAN_OPEN_PERM.union(MaskFlags::FAN_OPEN_EXEC_PERM);

impl Marker {
    /// Begins with nothing marked.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, Errno> {
        Ok(Self {
            shared,
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?,
            watches: HashMap::new(),
            told: false,
        })
    }

    /// Takes the calling thread as its own, before anything is marked.
    pub(crate) fn begin(&mut self, events: &Tells) {
        self.shared.is_own_thread();
        self.programs();
        self.all(events);
    }

    /// Marks the harnesses' programs that are there: they come and go with updates.
    fn programs(&self) {
        for program in programs::found(&self.shared.sources.homes) {
            self.program(&program);
        }
    }

    fn program(&self, program: &Path) {
        let Ok(meta) = program.symlink_metadata() else {
            return;
        };
        if !meta.is_file() || programs::is_interpreter(program) {
            return;
        }
        let file = (meta.dev(), meta.ino());
        if self.shared.is_program(file) {
            return;
        }
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_DONT_FOLLOW;
        let marked = self.shared.fan.mark(
            flags,
            MaskFlags::FAN_OPEN_EXEC_PERM,
            nix::fcntl::AT_FDCWD,
            Some(program),
        );
        match marked {
            Ok(()) => self.shared.program(file),
            Err(error) => {
                tracing::warn!(program = %program.display(), %error, "a harness is not held when it starts")
            }
        }
    }

    /// Governs the folders that a harness is about to run in.
    fn projects(&mut self, projects: &[PathBuf], events: &Tells) {
        let new: Vec<&PathBuf> = projects
            .iter()
            .filter(|project| !self.shared.sources.start(project))
            .collect();
        if new.is_empty() {
            return;
        }
        let governed = self.shared.sources.governed();
        self.shared.governed_mut().renew(governed);
        for project in new {
            self.visit(project, project, 0, events);
        }
    }

    /// Marks until it is told to stop.
    pub(crate) fn run(mut self, requests: &Receiver<Request>, wake: &EventFd, events: &Tells) {
        loop {
            let mut fds = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(wake.as_fd(), PollFlags::POLLIN),
            ];
            // An interrupted wait is followed by a look that finds nothing.
            let _ = poll(&mut fds, PollTimeout::NONE);
            let _ = wake.read();
            self.drain(events);
            while let Ok(request) = requests.try_recv() {
                match request {
                    Request::Folder(token, path) => {
                        // What came between the drain and this open.
                        self.drain(events);
                        self.folder(&path, events);
                        events.send(Tell::Marked(token));
                    }
                    Request::Projects(token, projects) => {
                        self.projects(&projects, events);
                        events.send(Tell::Marked(token));
                    }
                    Request::Program(program) => {
                        if programs::is_harness(&program) {
                            self.program(&program);
                        }
                    }
                    Request::Scope(governed, done) => {
                        self.programs();
                        *self.shared.governed_mut() = governed;
                        self.all(events);
                        let _ = done.send(()); // Nobody has to wait for it.
                    }
                    Request::Stop => return,
                }
            }
        }
    }

    /// Looks at everything anew.
    pub(crate) fn all(&mut self, events: &Tells) {
        let bases = self.shared.governed().bases();
        for base in bases {
            self.visit(&base, &base, 0, events);
        }
    }

    fn drain(&mut self, events: &Tells) {
        loop {
            match self.inotify.read_events() {
                Ok(all) => all.into_iter().for_each(|event| self.event(&event, events)),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn event(&mut self, event: &InotifyEvent, events: &Tells) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.shared.gap(
                "gate_overflow",
                "too much happened in governed places at once: all of them were marked anew",
            );
            return self.all(events);
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            if let Some((physical, _)) = self.watches.remove(&event.wd) {
                self.shared.marked().remove(&physical);
            }
            return;
        }
        let (Some((physical, stands)), Some(name)) = (self.watches.get(&event.wd), &event.name) else {
            return;
        };
        let (physical, stands) = (physical.join(name), stands.join(name));
        self.visit(&physical, &stands, 0, events);
    }

    /// An open of this folder waits. One that came into being in a folder that nobody watches is marked now.
    fn folder(&mut self, physical: &Path, events: &Tells) {
        let stands = {
            let governed = self.shared.governed();
            let artifact = governed.artifact_at(physical);
            artifact.map(|artifact| match physical.strip_prefix(&artifact.physical) {
                Ok(below) if !below.as_os_str().is_empty() => artifact.path.join(below),
                _ => artifact.path,
            })
        };
        if let Some(stands) = stands
            && !self.shared.marked().contains(physical)
        {
            self.visit(physical, &stands, 0, events);
        }
    }

    /// Marks what stands at `stands` and lies at `physical`, if it is governed, with all below it.
    fn visit(&mut self, physical: &Path, stands: &Path, links: usize, events: &Tells) {
        let look = self.shared.governed().look(stands);
        if look.is_nothing() {
            return;
        }
        let Ok(meta) = physical.symlink_metadata() else {
            return;
        };
        // A link within an artifact is a part of it: the copy tells where it leads.
        let within = look
            .artifact
            .as_ref()
            .is_some_and(|artifact| artifact.path != stands);
        if meta.is_symlink() && within {
            return;
        }
        if meta.is_symlink() {
            return self.follow(physical, stands, meta.uid(), links, events);
        }
        if look.artifact.is_some() {
            return self.artifact(physical, stands, events);
        }
        if !meta.is_dir() {
            return;
        }
        let Some(folder) = self.watch(physical, stands) else {
            return;
        };
        // Where every name may be an artifact the listing waits too; where only fixed names are, the files are enough.
        let mask = match (look.any, look.parent) {
            (true, _) => OPENS | MaskFlags::FAN_ONDIR | MaskFlags::FAN_EVENT_ON_CHILD,
            (_, true) => OPENS | MaskFlags::FAN_EVENT_ON_CHILD,
            _ => MaskFlags::empty(),
        };
        if !mask.is_empty() {
            self.mark_folder(&folder, mask, physical);
        }
        for name in below(&folder, &look) {
            self.visit(&physical.join(&name), &stands.join(&name), links, events);
        }
    }

    /// A link in a place. What it leads to is governed as what stands there, if it belongs to whoever made the link: else anyone could
    /// have the files of the host held.
    fn follow(&mut self, physical: &Path, stands: &Path, owner: u32, links: usize, events: &Tells) {
        let target = physical.canonicalize().ok();
        let own = target.as_ref().and_then(|target| target.metadata().ok());
        let own = own.is_some_and(|meta| meta.uid() == owner);
        let look = self.shared.governed().look(stands);
        match target {
            Some(target)
                if own
                    && links < MAX_LINKS
                    && target.components().count() > 2
                    && !physical.starts_with(&target)
                    && !NEVER.iter().any(|never| target.starts_with(never)) =>
            {
                self.shared.governed_mut().link(target.clone(), stands.to_owned());
                self.visit(&target, stands, links + 1, events);
            }
            // Nothing can be held there: the link itself is judged, and what it leads to is told.
            _ => {
                if let Some(mut artifact) = look.artifact {
                    artifact.physical = physical.to_owned();
                    events.send(Tell::Look(artifact));
                }
            }
        }
    }

    /// Marks an artifact, or a part of one, with all below it.
    fn artifact(&mut self, physical: &Path, stands: &Path, events: &Tells) {
        let (Some(above), Some(name)) = (physical.parent(), physical.file_name()) else {
            return;
        };
        let Ok(parent) = open_plain(above) else { return };
        let Ok(stat) = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
            return;
        };
        let mut odd = self.one(parent.as_fd(), name.as_ref(), &stat, physical);
        let mut folders = Vec::new();
        if kind(&stat) == SFlag::S_IFDIR {
            folders.push((physical.to_owned(), stands.to_owned(), 0));
        }
        let mut seen = 0;
        while let Some((physical, stands, depth)) = folders.pop() {
            let Some(folder) = self.watch(&physical, &stands) else {
                continue;
            };
            let mask = OPENS | MaskFlags::FAN_ONDIR | MaskFlags::FAN_EVENT_ON_CHILD;
            self.mark_folder(&folder, mask, &physical);
            // The copy stops at the same bounds, so that what is not marked below is refused as a whole.
            for name in tree::names(folder.as_fd(), MAX_ENTRIES).unwrap_or_default() {
                seen += 1;
                let Ok(stat) = fstatat(&folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                    continue;
                };
                let path = physical.join(&name);
                if kind(&stat) == SFlag::S_IFDIR && depth < MAX_DEPTH && seen < MAX_ENTRIES {
                    folders.push((path, stands.join(&name), depth + 1));
                } else {
                    odd |= self.one(folder.as_fd(), name.as_os_str(), &stat, &path);
                }
            }
        }
        if odd && let Some(artifact) = self.shared.governed().artifact_at(physical) {
            events.send(Tell::Look(artifact));
        }
    }

    /// Marks a file; says whether it is something that is never marked and has to be looked at.
    fn one(&mut self, folder: BorrowedFd<'_>, name: &std::ffi::OsStr, stat: &FileStat, path: &Path) -> bool {
        match kind(stat) {
            SFlag::S_IFREG => {
                if !self.shared.remember((stat.st_dev, stat.st_ino), path, MAX_FILES) {
                    self.full();
                    return false;
                }
                let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_DONT_FOLLOW;
                self.refused(self.shared.fan.mark(flags, OPENS, folder, Some(name)), path);
                false
            }
            SFlag::S_IFDIR | SFlag::S_IFLNK => false,
            // The kernel does not ask about opens of a FIFO or a device (from 6.14 on).
            _ => true,
        }
    }

    fn watch(&mut self, physical: &Path, stands: &Path) -> Option<OwnedFd> {
        let folder = open_plain(physical).ok()?;
        // To look at a file there is to wait for that program, which would hold everybody's opens.
        if fstatfs(&folder).is_ok_and(|stat| stat.filesystem_type() == FUSE_SUPER_MAGIC) {
            let path = physical.display();
            self.shared.gap(
                "gate_unmarked",
                &format!("{path} lies on a file system that a program serves (FUSE): it is not held"),
            );
            return None;
        }
        if self.watches.len() >= MAX_FOLDERS {
            self.full();
            return Some(folder);
        }
        let mask = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        // The descriptor's own path: no other folder can be watched in this one's place.
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        match self.inotify.add_watch(path.as_str(), mask) {
            Ok(watch) => {
                self.watches
                    .insert(watch, (physical.to_owned(), stands.to_owned()));
            }
            Err(Errno::ENOSPC) => self.full(),
            Err(error) => {
                tracing::warn!(path = %physical.display(), %error, "a governed folder is not watched")
            }
        }
        Some(folder)
    }

    fn mark_folder(&self, folder: &OwnedFd, mask: MaskFlags, path: &Path) {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        self.refused(self.shared.fan.mark(flags, mask, folder, Some(".")), path);
        self.shared.marked().insert(path.to_owned());
    }

    fn refused(&self, marked: Result<(), Errno>, path: &Path) {
        match marked {
            // It is gone again.
            Ok(()) | Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => {}
            Err(error) => {
                let path = path.display();
                self.shared.gap(
                    "gate_unmarked",
                    &format!("{path} could not be marked ({error}): it is not held"),
                );
            }
        }
    }

    fn full(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.shared.gap("gate_full", &format!(
                "more than {MAX_FOLDERS} folders or {MAX_FILES} files are governed, or the kernel's own bound on watches was met \
                 (fs.inotify.max_user_watches): what is beyond is not held"
            ));
        }
    }
}

/// The names in a folder that may be, or lead to, artifacts.
fn below(folder: &OwnedFd, look: &Look) -> Vec<std::ffi::OsString> {
    if look.any {
        return tree::names(folder.as_fd(), MAX_ENTRIES).unwrap_or_default();
    }
    look.next.iter().map(Into::into).collect()
}
