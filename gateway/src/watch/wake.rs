//! Waiting for changes: the kernel tells of most, and a look in between finds the rest.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Time between two looks where nothing was told: a file system may not tell (a network's, a container's), and the promise is
/// one second.
const PAUSE_MS: u16 = 500;
/// Several changes come together (a temporary file, its renaming): they are looked at once.
const TOGETHER: Duration = Duration::from_millis(20);

/// Waits.
pub(super) struct Waker {
    inotify: Option<Inotify>,
    watched: HashMap<PathBuf, WatchDescriptor>,
}

impl Waker {
    pub(super) fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        if let Err(error) = &inotify {
            tracing::warn!("changes of hooks are found by looking only: inotify: {error}");
        }
        Self {
            inotify: inotify.ok(),
            watched: HashMap::new(),
        }
    }

    /// Waits for a change in one of the folders, or for the next look.
    pub(super) fn wait(&mut self, folders: BTreeSet<PathBuf>) {
        self.follow(folders);
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(Duration::from_millis(u64::from(PAUSE_MS)));
            return;
        };
        let told = poll(
            &mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(PAUSE_MS),
        );
        if told.is_ok_and(|ready| ready > 0) {
            std::thread::sleep(TOGETHER);
            // What it was is not asked: a look tells what is.
            while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
    }

    fn follow(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(inotify) = &self.inotify else { return };
        let gone: Vec<_> = self
            .watched
            .keys()
            .filter(|path| !folders.contains(*path))
            .cloned()
            .collect();
        for path in gone {
            if let Some(descriptor) = self.watched.remove(&path) {
                let _ = inotify.rm_watch(descriptor);
            }
        }
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        for path in folders {
            // Each time anew: a folder that was replaced has the same path and is another one. For the same one it changes
            // nothing.
            match inotify.add_watch(&path, flags) {
                Ok(descriptor) => {
                    self.watched.insert(path, descriptor);
                }
                Err(_) => {
                    self.watched.remove(&path);
                }
            }
        }
    }
}
