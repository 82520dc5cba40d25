//! Files and folders, read within bounds. What cannot be read is a [`Trouble`], never silence.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::item::Trouble;

/// Largest settings file that is read (bytes). The largest that harnesses write themselves, a user's state with the history of
/// its projects, has some MiB.
pub(crate) const MAX_SETTINGS: u64 = 16 << 20;

/// Largest list of the host's packages (bytes): thousands of packages have some 10 MiB.
pub(crate) const MAX_PACKAGE_LIST: u64 = 128 << 20;

/// Most entries of one folder that are looked at. A person has dozens of skills, a shared folder hundreds.
pub(crate) const MAX_ENTRIES: usize = 20_000;

/// What a path is, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) owner: u32,
    pub(crate) size: u64,
    pub(crate) modified_ns: u64,
    /// Where it leads, where it is a link.
    pub(crate) link: Option<String>,
    pub(crate) is_dir: bool,
}

/// How far links are followed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// The folder that links must not lead out of: a home that is looked at on behalf of another user, whose links may name what
    /// only the one who looks may read.
    pub(crate) within: Option<PathBuf>,
}

impl Bounds {
    /// What is at a path, links followed. `None`: nothing is there.
    pub(crate) fn stat(&self, path: &Path) -> Result<Option<Stat>, Trouble> {
        let own = match std::fs::symlink_metadata(path) {
            Ok(own) => own,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(unreadable(path, &error)),
        };
        let link = own.file_type().is_symlink().then(|| target_of(path));
        let metadata = if link.is_some() {
            std::fs::metadata(path)
        } else {
            Ok(own)
        };
        let metadata = metadata.map_err(|error| dangling(path, link.as_deref(), &error))?;
        self.check(path)?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(special(path, &metadata));
        }
        Ok(Some(Stat {
            owner: metadata.uid(),
            size: if metadata.is_dir() { 0 } else { metadata.len() },
            modified_ns: modified(&metadata),
            is_dir: metadata.is_dir(),
            link,
        }))
    }

    fn check(&self, path: &Path) -> Result<(), Trouble> {
        let Some(within) = &self.within else { return Ok(()) };
        let real = path.canonicalize().map_err(|error| unreadable(path, &error))?;
        if real.starts_with(within) {
            return Ok(());
        }
        Err(Trouble::new(
            path.display().to_string(),
            "outside",
            format!(
                "It leads out of {}, to {}: on behalf of another user that is not followed. Scan as that user",
                within.display(),
                real.display()
            ),
        ))
    }

    /// A settings file as text; `None`: nothing is there.
    pub(crate) fn text(&self, path: &Path, most: u64) -> Result<Option<(String, Stat)>, Trouble> {
        let Some(stat) = self.stat(path)? else {
            return Ok(None);
        };
        if stat.is_dir {
            return Err(Trouble::new(
                path.display().to_string(),
                "invalid",
                "It is a folder where a file of settings was expected",
            ));
        }
        let file = open(path).map_err(|error| unreadable(path, &error))?;
        let mut bytes = Vec::new();
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(path, &error))?;
        if bytes.len() as u64 > most {
            return Err(Trouble::new(
                path.display().to_string(),
                "limit",
                format!(
                    "It is over {} MiB, which no settings are: it was not read",
                    most >> 20
                ),
            ));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some((text, stat))),
            Err(error) => Err(Trouble::new(
                path.display().to_string(),
                "invalid",
                format!(
                    "Byte {} is no UTF-8: it was not read",
                    error.utf8_error().valid_up_to()
                ),
            )),
        }
    }

    /// The names in a folder, sorted; none where there is no such folder. Told beside them: what was left out.
    pub(crate) fn names(&self, folder: &Path) -> (Vec<std::ffi::OsString>, Option<Trouble>) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return (Vec::new(), None),
            Err(error) => return (Vec::new(), Some(unreadable(folder, &error))),
        };
        if let Err(trouble) = self.check(folder) {
            return (Vec::new(), Some(trouble));
        }
        let (mut names, mut trouble) = (Vec::new(), None);
        for entry in entries {
            match entry {
                Ok(_) if names.len() >= MAX_ENTRIES => {
                    let message =
                        format!("It has more than {MAX_ENTRIES} entries: only as many were looked at");
                    trouble = Some(Trouble::new(folder.display().to_string(), "limit", message));
                    break;
                }
                Ok(entry) => names.push(entry.file_name()),
                Err(error) => trouble = Some(unreadable(folder, &error)),
            }
        }
        names.sort();
        (names, trouble)
    }
}

/// Opens a file to be read, without waiting for a FIFO's other end.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY).bits())
        .open(path)?;
    // What stands there may have been replaced since it was looked at.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file any more"));
    }
    Ok(file)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn target_of(path: &Path) -> String {
    std::fs::read_link(path)
        .map(|target| target.display().to_string())
        .unwrap_or_default()
}

fn modified(metadata: &Metadata) -> u64 {
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    let ns = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(ns)
}

fn special(path: &Path, metadata: &Metadata) -> Trouble {
    let kind = metadata.file_type();
    let what = if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Trouble::new(
        path.display().to_string(),
        "special",
        format!("It is {what}, and was not opened. Find out who put it there"),
    )
}

fn dangling(path: &Path, link: Option<&str>, error: &io::Error) -> Trouble {
    match link {
        Some(target) => Trouble::new(
            path.display().to_string(),
            "unreadable",
            format!("The link to {target} leads nowhere that can be read: {error}"),
        ),
        None => unreadable(path, error),
    }
}

/// What cannot be read, and what to do.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "Scan as its owner, or as root",
        _ => "See what lies at that path",
    };
    Trouble::new(
        path.display().to_string(),
        "unreadable",
        format!("It cannot be read: {error}. {remedy}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_settings_file_is_told_and_what_is_absent_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bounds = Bounds::default();
        assert_eq!(bounds.text(&path("none"), 10), Ok(None));
        assert_eq!(bounds.text(&path("none/below"), 10), Ok(None));
        let kind = |name: &str, most| bounds.text(&path(name), most).unwrap_err().kind;
        std::fs::write(path("big"), [b'x'; 11]).unwrap();
        assert_eq!(
            (
                kind("big", 10).as_str(),
                bounds.text(&path("big"), 11).unwrap().unwrap().0.len()
            ),
            ("limit", 11)
        );
        std::fs::write(path("bytes"), [b'a', 0xff]).unwrap();
        assert_eq!(kind("bytes", 10), "invalid");
        std::fs::create_dir(path("folder")).unwrap();
        assert_eq!(kind("folder", 10), "invalid");
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(kind("fifo", 10), "special");
        std::os::unix::fs::symlink("fifo", path("to-fifo")).unwrap();
        assert_eq!(kind("to-fifo", 10), "special");
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        let told = bounds.text(&path("loop"), 10).unwrap_err();
        assert_eq!(told.kind, "unreadable");
        assert!(told.message.contains("loop"), "{}", told.message);
    }

    #[test]
    fn a_link_is_followed_and_told_but_not_out_of_another_user_s_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap().join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(folder.path().join("outside"), "x").unwrap();
        std::fs::write(home.join("inside"), "x").unwrap();
        std::os::unix::fs::symlink("../outside", home.join("out")).unwrap();
        std::os::unix::fs::symlink("inside", home.join("in")).unwrap();
        let own = Bounds::default();
        let other = Bounds {
            within: Some(home.clone()),
        };
        let (_, stat) = own.text(&home.join("out"), 10).unwrap().unwrap();
        assert_eq!(stat.link.as_deref(), Some("../outside"));
        assert_eq!(other.text(&home.join("out"), 10).unwrap_err().kind, "outside");
        assert!(other.text(&home.join("in"), 10).unwrap().is_some());
    }
}
