//! System calls by number: many attacks are calls that no library wraps.

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Something refused it.
    By(String),
    /// There is nothing here to attack or to use.
    Absent(String),
}

/// What was had, or why not. For an attack `Ok` is an escape, for a twin it is that things work.
pub(crate) type Attempt = Result<String, Refused>;

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::ENOSYS
                | libc::EAFNOSUPPORT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENODEV
                | libc::ENXIO,
            ) => Self::Absent(error.to_string()),
            _ => Self::By(error.to_string()),
        }
    }
}

impl From<nix::errno::Errno> for Refused {
    fn from(error: nix::errno::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl Refused {
    /// Says what was being done.
    pub(crate) fn during(self, what: &str) -> Self {
        match self {
            Self::By(text) => Self::By(format!("{what}: {text}")),
            Self::Absent(text) => Self::Absent(format!("{what}: {text}")),
        }
    }
}

/// Refused for a reason that is no error number.
pub(crate) fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::By(why.into()))
}

/// Not here.
pub(crate) fn absent<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Absent(why.into()))
}

/// An argument of a call; what it points to lives as long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arg<'a>(i64, PhantomData<&'a ()>);

impl<'a> Arg<'a> {
    /// Points to something that the kernel reads.
    pub(crate) fn read<T: ?Sized>(value: &'a T) -> Self {
        Self(
            std::ptr::from_ref(value).cast::<u8>().expose_provenance() as i64,
            PhantomData,
        )
    }

    /// Points to something that the kernel may write.
    pub(crate) fn write<T: ?Sized>(value: &'a mut T) -> Self {
        Self(
            std::ptr::from_mut(value).cast::<u8>().expose_provenance() as i64,
            PhantomData,
        )
    }

    /// Points to a text that ends in NUL.
    pub(crate) fn text(value: &'a CString) -> Self {
        Self(value.as_ptr().expose_provenance() as i64, PhantomData)
    }

    /// The descriptor.
    pub(crate) fn fd(value: &'a impl std::os::fd::AsFd) -> Self {
        Self(value.as_fd().as_raw_fd().into(), PhantomData)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Arg<'_> {
            fn from(value: $integer) -> Self {
                Self(value as i64, PhantomData)
            }
        }
    )*};
}
integers!(i32, u32, i64, u64, usize);

/// A path for the kernel.
pub(crate) fn path(path: &Path) -> Result<CString, Refused> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| Refused::By(error.to_string()))
}

/// A word for the kernel.
pub(crate) fn word(text: &str) -> Result<CString, Refused> {
    CString::new(text).map_err(|error| Refused::By(error.to_string()))
}

/// Makes one system call. For calls that change no memory of this process but what their arguments point to.
pub(crate) fn call(what: &str, number: libc::c_long, arguments: &[Arg<'_>]) -> Result<i64, Refused> {
    let argument = |index: usize| arguments.get(index).map_or(0, |argument| argument.0);
    // SAFETY: pointers come from references that live for the call; no caller asks for a call that maps, unmaps or moves
    // memory, or that creates a thread in it.
    let result = unsafe {
        libc::syscall(
            number,
            argument(0),
            argument(1),
            argument(2),
            argument(3),
            argument(4),
            argument(5),
        )
    };
    if result == -1 {
        return Err(Refused::from(io::Error::last_os_error()).during(what));
    }
    Ok(result)
}

/// Makes one system call that gives a descriptor.
pub(crate) fn open_by(what: &str, number: libc::c_long, arguments: &[Arg<'_>]) -> Result<OwnedFd, Refused> {
    let descriptor = call(what, number, arguments)? as i32;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Opens a path below a folder.
pub(crate) fn open_at(folder: i32, name: &Path, flags: i32) -> Result<OwnedFd, Refused> {
    let name = path(name)?;
    open_by(
        "openat",
        libc::SYS_openat,
        &[
            folder.into(),
            Arg::text(&name),
            (flags | libc::O_CLOEXEC).into(),
            0o600.into(),
        ],
    )
}

/// Runs `act` in a child: what it does to itself ends with it. `Err` names the signal that ended it.
pub(crate) fn in_child(act: impl FnOnce() -> Attempt) -> Result<Attempt, nix::sys::signal::Signal> {
    use std::io::{Read as _, Write as _};
    let broken = |error: io::Error| Ok(Err(Refused::from(error).during("a child")));
    let (mut from, mut to) = match io::pipe() {
        Ok(ends) => ends,
        Err(error) => return broken(error),
    };
    // SAFETY: this program has one thread here, so the child may do anything.
    match unsafe { nix::unistd::fork() } {
        Err(error) => broken(error.into()),
        Ok(nix::unistd::ForkResult::Child) => {
            let (mark, text) = match act() {
                Ok(text) => ('+', text),
                Err(Refused::By(text)) => ('-', text),
                Err(Refused::Absent(text)) => ('0', text),
            };
            // The parent reports a child that could not speak.
            let _ = write!(to, "{mark}{text}");
            std::process::exit(0)
        }
        Ok(nix::unistd::ForkResult::Parent { child }) => {
            drop(to);
            let mut text = String::new();
            // A child that dies while speaking is told by its signal.
            let _ = from.read_to_string(&mut text);
            if let Ok(nix::sys::wait::WaitStatus::Signaled(_, signal, _)) =
                nix::sys::wait::waitpid(child, None)
            {
                return Err(signal);
            }
            Ok(match text.split_at_checked(1) {
                Some(("+", text)) => Ok(text.to_owned()),
                Some(("-", text)) => refused(text),
                Some(("0", text)) => absent(text),
                _ => refused("the child said nothing"),
            })
        }
    }
}

/// A field of `/proc/self/status`.
pub(crate) fn status_field(name: &str) -> Result<String, Refused> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| Refused::Absent(format!("no {name} in /proc/self/status")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_integers_and_pointers() {
        let mut name = [0_u8; 16];
        call(
            "prctl",
            libc::SYS_prctl,
            &[libc::PR_GET_NAME.into(), Arg::write(&mut name)],
        )
        .unwrap();
        assert_ne!(name[0], 0);
        let missing = word("/nonexistent").unwrap();
        let error = call("chdir", libc::SYS_chdir, &[Arg::text(&missing)]).unwrap_err();
        assert!(matches!(error, Refused::By(text) if text.starts_with("chdir: No such file")));
    }
}
