//! Empty folders that keep places from being taken, for as long as any sandbox needs them.
//!
//! What is missing can only be covered once something is there to be covered. But whoever takes that folder away outside takes the
//! cover with it, in every sandbox: so several that run at the same time share it. Each holds a lock on it, a mark tells it from a
//! folder that somebody made, and whoever finds that nobody else holds it takes it away.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The mark: a sticky bit, which says nothing in an empty folder, and which a folder has from its first moment on.
const MARK: u32 = 0o1000;
/// Of a place holder; others outside may make it a folder of theirs at any time.
const MODE: u32 = MARK | 0o755;
/// How often, and with which pause, a place is tried that another sandbox is just taking away: that takes two system calls.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// The places that one sandbox relies on.
#[derive(Debug, Default)]
pub struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    folder: File,
}

impl Places {
    /// Makes the folders `reserved`, and holds them and those of `sealed` that another sandbox has made. One of `sealed` that has
    /// gone since somebody found it there, as a place holder does when its last sandbox ends, is made too.
    ///
    /// # Errors
    /// When one cannot be made or held; what was made until then is taken away.
    pub fn take(reserved: &[PathBuf], sealed: &[PathBuf]) -> io::Result<Self> {
        let mut places = Self::default();
        let is_gone = |path: &Path| fs::symlink_metadata(path).is_err();
        let shared = sealed
            .iter()
            .filter(|path| is_place_holder(path) || is_gone(path));
        for path in reserved.iter().chain(shared) {
            match Place::take(path) {
                Ok(place) => places.0.extend(place),
                Err(error) => {
                    places.put_away();
                    return Err(error);
                }
            }
        }
        Ok(places)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes away what nobody else holds, and gives what this process had open: closing the last descriptor of a folder that is gone
    /// takes a file system its time, and nobody needs to wait for that.
    pub fn put_away(&mut self) -> Vec<File> {
        let mut folders = Vec::new();
        while let Some(place) = self.0.pop() {
            folders.extend(place.put_away());
        }
        folders
    }
}

/// An empty folder with the mark. Somebody's own folder is not empty or has no such mark.
fn is_place_holder(path: &Path) -> bool {
    let marked = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.mode() & MARK != 0);
    marked && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

impl Place {
    /// None: something else is there, and is sealed as what it is.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            match DirBuilder::new().mode(MODE).create(path) {
                // Nobody can make it here: another sandbox around this one holds the folder read-only.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(None),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let folder = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
                Ok(folder) => folder,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => return Ok(None),
            };
            if !is_marked(&folder) {
                return Ok(None);
            }
            if let Err(error) = lock(&folder, libc::LOCK_SH)
                && error.kind() == io::ErrorKind::WouldBlock
            {
                std::thread::sleep(PAUSE);
                continue;
            }
            if is_still(path, &folder) {
                let path = path.to_owned();
                return Ok(Some(Self { path, folder }));
            }
        }
        let why = format!(
            "{} is locked by another program: end that program, or remove the folder if it is empty",
            path.display()
        );
        Err(io::Error::new(io::ErrorKind::WouldBlock, why))
    }

    /// None where it stays: letting go of it is closing it.
    fn put_away(self) -> Option<File> {
        let Self { path, folder } = self;
        let busy = lock(&folder, libc::LOCK_EX).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if busy || !is_still(&path, &folder) || !is_marked(&folder) {
            return None;
        }
        match fs::remove_dir(&path) {
            Ok(()) => return Some(folder),
            // Somebody outside made it theirs. What fails here leaves a mark that says nothing in a folder with content.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let _ = folder.set_permissions(Permissions::from_mode(MODE & !MARK));
            }
            Err(_) => {}
        }
        None
    }
}

fn is_marked(folder: &File) -> bool {
    folder.metadata().is_ok_and(|meta| meta.mode() & MARK != 0)
}

/// Whether that name still leads to that folder.
fn is_still(path: &Path, folder: &File) -> bool {
    match (fs::symlink_metadata(path), folder.metadata()) {
        (Ok(there), Ok(held)) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
        _ => false,
    }
}

/// Without waiting. File systems that know no locks fail otherwise than by `WouldBlock`; there the maker stands alone.
fn lock(folder: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers alone.
    if unsafe { libc::flock(folder.as_raw_fd(), kind | libc::LOCK_NB) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_with_the_last_that_holds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".claude");
        let mut maker = Places::take(std::slice::from_ref(&path), &[]).expect("made");
        assert!(is_place_holder(&path));
        let mut other = Places::take(&[], std::slice::from_ref(&path)).expect("held");
        assert!(!other.is_empty());
        maker.put_away();
        assert!(path.is_dir(), "another sandbox relies on it");
        other.put_away();
        assert!(!path.exists());
        let mut late = Places::take(&[], std::slice::from_ref(&path)).expect("made");
        assert!(path.is_dir(), "it was there when the sandbox was planned");
        late.put_away();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_somebody_s_own_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("own");
        fs::create_dir(&own).expect("made");
        let places = Places::take(&[], std::slice::from_ref(&own)).expect("looked at");
        assert!(places.is_empty(), "an empty folder without the mark");
        let late = Places::take(std::slice::from_ref(&own), &[]).expect("looked at");
        assert!(late.is_empty(), "somebody was faster: it is theirs");
        let filled = folder.path().join("filled");
        let mut places = Places::take(std::slice::from_ref(&filled), &[]).expect("made");
        fs::write(filled.join("settings.json"), "{}").expect("written from outside");
        places.put_away();
        let mode = fs::metadata(&filled).expect("there").mode();
        assert_eq!(mode & MARK, 0, "it is no place holder any more");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&own, &link).expect("made");
        assert!(
            Places::take(&[link], &[]).expect("looked at").is_empty(),
            "a link is followed by nobody"
        );
    }

    #[test]
    fn what_was_left_by_one_that_was_killed_is_taken_away_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".codex");
        drop(Places::take(std::slice::from_ref(&path), &[]).expect("made"));
        assert!(path.is_dir());
        Places::take(&[], std::slice::from_ref(&path))
            .expect("held")
            .put_away();
        assert!(!path.exists());
    }

    #[test]
    fn a_place_that_others_keep_locked_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".claude");
        DirBuilder::new().mode(MODE).create(&path).expect("made");
        let held = File::open(&path).expect("opened");
        lock(&held, libc::LOCK_EX).expect("locked");
        let error = Places::take(&[], std::slice::from_ref(&path)).expect_err("nobody could rely on it");
        assert!(error.to_string().contains(".claude is locked"), "{error}");
    }
}
