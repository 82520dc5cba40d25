//! Descriptors that a careless parent left open, or that an accomplice passes on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use defenseclaw_testkit::escape::scene::{DEFACED, Scene, inherited};
use nix::libc;

use crate::case::{ALL, CAPABILITIES, Case, LANDLOCK, REPORTED, SECCOMP, Theme, case, loot};
use crate::sys::{Arg, Attempt, Refused, absent, call, open_at, refused};

pub(crate) const THEME: Theme = Theme {
    name: "descriptors",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("inherited-folder": "opens the secret below an inherited descriptor of its folder", |_| {
              let file = open_at(inherited::FOLDER, Path::new("id_ed25519"), libc::O_RDONLY)?;
              read(file)
          }; twin "opens the README below a descriptor of its own", |s| {
              let folder = fs::File::open(&s.project)?;
              let file = open_at(folder.as_raw_fd(), Path::new("README"), libc::O_RDONLY)?;
              Ok(format!("{file:?}"))
          }; ALL, LANDLOCK),
    case!("inherited-secret": "reads an inherited descriptor of the secret", |_| loot(&read_inherited(inherited::SECRET)?);
          twin "reads a descriptor that it passes to itself", dup_own; ALL, CAPABILITIES),
    case!("inherited-secret-by-proc": "opens an inherited descriptor of the secret again by /proc/self/fd",
          |_| loot(&fs::read(format!("/proc/self/fd/{}", inherited::SECRET))?);
          twin "opens standard output's name by /proc/self/fd", |_| {
              Ok(fs::read_link("/proc/self/fd/1")?.display().to_string())
          }; ALL, CAPABILITIES),
    case!("inherited-writable": "writes an inherited descriptor of a file outside",
          |_| write_inherited(inherited::WRITABLE);
          twin "writes standard error", |_| {
              std::io::stderr().write_all(b"twin\n")?;
              Ok("wrote".to_owned())
          }; ALL, CAPABILITIES, judge Outside),
    case!("inherited-connection": "sends through an inherited connection to a listener outside",
          |_| write_inherited(inherited::CONNECTION);
          twin "sends through a socket pair of its own", socket_pair; ALL, CAPABILITIES, judge Outside),
    case!("passed-descriptor": "takes a descriptor of the secret from an accomplice outside, by SCM_RIGHTS (who passes it on is outside)", accomplice;
          twin "passes a descriptor to itself by SCM_RIGHTS", pass_own; REPORTED, SECCOMP),
];

fn read(file: OwnedFd) -> Attempt {
    let mut bytes = Vec::new();
    fs::File::from(file).read_to_end(&mut bytes)?;
    loot(&bytes)
}

/// The descriptor with this number, which somebody else opened, or nobody did.
fn borrowed(descriptor: i32) -> ManuallyDrop<fs::File> {
    // SAFETY: never closed through this value; reading or writing a number that is not open fails.
    ManuallyDrop::new(unsafe { fs::File::from_raw_fd(descriptor) })
}

fn read_inherited(descriptor: i32) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    borrowed(descriptor).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_inherited(descriptor: i32) -> Attempt {
    borrowed(descriptor).write_all(DEFACED.as_bytes())?;
    Ok("wrote".to_owned())
}

fn dup_own(scene: &Scene) -> Attempt {
    let file = fs::File::open(scene.project.join("README"))?;
    let copy = file.try_clone()?;
    let length = read_inherited(copy.as_raw_fd())?.len();
    Ok(format!("{length} bytes"))
}

fn socket_pair(_: &Scene) -> Attempt {
    let (mut one, mut other) = UnixStream::pair()?;
    one.write_all(b"twin")?;
    drop(one);
    let mut text = String::new();
    other.read_to_string(&mut text)?;
    Ok(format!("{} bytes", text.len()))
}

fn accomplice(scene: &Scene) -> Attempt {
    let socket = scene.passing_socket();
    if !socket.exists() {
        return absent("the accomplice's socket is not there");
    }
    let connection = UnixStream::connect(socket)?;
    read(receive(&connection)?)
}

fn pass_own(scene: &Scene) -> Attempt {
    let (one, other) = UnixStream::pair()?;
    let file = fs::File::open(scene.project.join("README"))?;
    send(&one, &file)?;
    let mut bytes = Vec::new();
    fs::File::from(receive(&other)?).read_to_end(&mut bytes)?;
    Ok(format!("{} bytes", bytes.len()))
}

/// A control message with one descriptor: `struct cmsghdr`, the descriptor, padding.
#[repr(C)]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
    padding: i32,
}

const CONTROL_LENGTH: usize = size_of::<usize>() + 3 * size_of::<i32>();

/// Sends one byte and a descriptor.
pub(crate) fn send(over: &UnixStream, file: &fs::File) -> Result<(), Refused> {
    let mut control = Control {
        length: CONTROL_LENGTH,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        descriptor: file.as_raw_fd(),
        padding: 0,
    };
    message("sendmsg", libc::SYS_sendmsg, over, &mut control)
}

fn receive(over: &UnixStream) -> Result<OwnedFd, Refused> {
    let mut control = Control {
        length: 0,
        level: 0,
        kind: 0,
        descriptor: -1,
        padding: 0,
    };
    message("recvmsg", libc::SYS_recvmsg, over, &mut control)?;
    if control.length != CONTROL_LENGTH || control.descriptor < 0 {
        return refused("no descriptor came");
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(control.descriptor) })
}

fn message(
    what: &str,
    number: libc::c_long,
    over: &UnixStream,
    control: &mut Control,
) -> Result<(), Refused> {
    let mut byte = [b'x'];
    let mut vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: all zero is a valid message header: no name, no data, no control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = std::ptr::from_mut(control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    call(what, number, &[Arg::fd(over), Arg::write(&mut header), 0.into()])?;
    Ok(())
}
