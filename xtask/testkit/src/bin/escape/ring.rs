//! io_uring: calls made by the kernel on a program's behalf, which no filter of system calls sees.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use defenseclaw_testkit::escape::scene::{DEFACED, Scene};
use nix::libc;

use crate::case::{ALL, Case, NAMED_HOSTS, SECCOMP, Theme, case, loot};
use crate::sys::{Arg, Attempt, Refused, call, open_by, path, refused};

pub(crate) const THEME: Theme = Theme {
    name: "io-uring",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("ring-setup": "sets up an io_uring", |_| Ring::new().map(|_| "a ring".to_owned());
          twin "waits by epoll", epoll; ALL, SECCOMP),
    case!("ring-open": "opens the secret by io_uring", ring_open;
          twin "reads the README by preadv2", vectored; ALL, SECCOMP),
    case!("ring-connect": "connects to a listener outside by io_uring", ring_connect;
          twin "waits by epoll", epoll; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("ring-socket": "opens an internet socket by io_uring", |_| {
              let descriptor = Ring::new()?.submit(&Entry {
                  opcode: 45,
                  descriptor: libc::AF_INET,
                  offset: libc::SOCK_STREAM as u64,
                  ..Entry::default()
              })?;
              Ok(format!("descriptor {descriptor}"))
          }; twin "waits by epoll", epoll; NAMED_HOSTS, SECCOMP),
];

/// `struct io_uring_sqe`, as far as it is used here.
#[repr(C)]
#[derive(Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    offset: u64,
    address: u64,
    length: u32,
    operation_flags: u32,
    user: u64,
    rest: [u64; 3],
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    submissions: u32,
    completions: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    queue: u32,
    reserved: [u32; 3],
    submission: Offsets,
    completion: Offsets,
}

/// `struct io_sqring_offsets`; of `struct io_cqring_offsets` the sixth is where the entries are.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: u32,
    user: u64,
}

struct Ring {
    descriptor: OwnedFd,
    parameters: Parameters,
}

impl Ring {
    fn new() -> Result<Self, Refused> {
        let mut parameters = Parameters::default();
        let descriptor = open_by(
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            &[4.into(), Arg::write(&mut parameters)],
        )?;
        Ok(Self {
            descriptor,
            parameters,
        })
    }

    /// One page is more than four entries need.
    fn map(&self, offset: i64) -> Result<*mut u8, Refused> {
        // SAFETY: a new mapping at an address of the kernel's choice, which lives as long as the process.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                self.descriptor.as_raw_fd(),
                offset,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(mapping.cast())
    }

    /// Has one operation done, and gives its result.
    fn submit(self, entry: &Entry) -> Result<i32, Refused> {
        let (submission, entries) = (self.map(0)?, self.map(0x1000_0000)?);
        let completion = self.map(0x800_0000)?;
        let at = |base: *mut u8, offset: u32| base.wrapping_add(offset as usize);
        // SAFETY: the offsets are the kernel's own, within the page that it mapped; nobody but the kernel shares it, and the
        // first slot is free in a ring that was never used.
        unsafe {
            entries.cast::<Entry>().write(std::ptr::read(entry));
            at(submission, self.parameters.submission.array)
                .cast::<u32>()
                .write(0);
            let tail = &*at(submission, self.parameters.submission.tail).cast::<AtomicU32>();
            tail.store(1, Ordering::Release);
        }
        call(
            "io_uring_enter",
            libc::SYS_io_uring_enter,
            &[
                Arg::fd(&self.descriptor),
                1.into(),
                1.into(),
                1.into(),
                0.into(),
                0.into(),
            ],
        )?;
        // `struct io_uring_cqe`: user data, result, flags.
        let offset = self.parameters.completion.dropped + 8;
        // SAFETY: as above; the call has waited for the first completion.
        let result = unsafe { at(completion, offset).cast::<i32>().read() };
        if result < 0 {
            return Err(std::io::Error::from_raw_os_error(-result).into());
        }
        Ok(result)
    }
}

fn address_of<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>().expose_provenance() as u64
}

fn ring_open(scene: &Scene) -> Attempt {
    let name = path(&scene.secret)?;
    let descriptor = Ring::new()?.submit(&Entry {
        opcode: 18,
        descriptor: libc::AT_FDCWD,
        address: address_of(name.as_bytes_with_nul()),
        ..Entry::default()
    })?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let mut file = unsafe { fs::File::from_raw_fd(descriptor) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    loot(&bytes)
}

fn ring_connect(scene: &Scene) -> Attempt {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let ring = Ring::new()?;
    let socket = open_by(
        "socket",
        libc::SYS_socket,
        &[libc::AF_INET.into(), kind.into(), 0.into()],
    )?;
    // `struct sockaddr_in`: family, port, 127.0.0.1.
    let mut address = [0_u8; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&scene.outside.tcp.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    ring.submit(&Entry {
        opcode: 16,
        descriptor: socket.as_raw_fd(),
        address: address_of(&address),
        offset: address.len() as u64,
        ..Entry::default()
    })?;
    fs::File::from(socket).write_all(DEFACED.as_bytes())?;
    Ok("sent".to_owned())
}

fn epoll(_: &Scene) -> Attempt {
    let (from, mut to) = std::io::pipe()?;
    let waiter = open_by(
        "epoll_create1",
        libc::SYS_epoll_create1,
        &[libc::EPOLL_CLOEXEC.into()],
    )?;
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 7,
    };
    let add = [
        Arg::fd(&waiter),
        libc::EPOLL_CTL_ADD.into(),
        Arg::fd(&from),
        Arg::read(&event),
    ];
    call("epoll_ctl", libc::SYS_epoll_ctl, &add)?;
    to.write_all(b"x")?;
    let wait = [
        Arg::fd(&waiter),
        Arg::write(&mut event),
        1.into(),
        1000.into(),
        0.into(),
        8.into(),
    ];
    match call("epoll_pwait", libc::SYS_epoll_pwait, &wait)? {
        0 => refused("nothing came"),
        count => Ok(format!("{count} events")),
    }
}

fn vectored(scene: &Scene) -> Attempt {
    let file = fs::File::open(scene.project.join("README"))?;
    let mut bytes = vec![0_u8; 64];
    let vector = [std::io::IoSliceMut::new(&mut bytes)];
    let arguments = [
        Arg::fd(&file),
        Arg::read(&vector),
        1.into(),
        0.into(),
        0.into(),
        0.into(),
    ];
    let length = call("preadv2", libc::SYS_preadv2, &arguments)?;
    Ok(format!("{length} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<Entry>(), 64);
        assert_eq!(size_of::<Offsets>(), 40);
        assert_eq!(size_of::<Parameters>(), 120);
    }
}
