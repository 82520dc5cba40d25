//! System V and POSIX objects, and keyrings: shared by all processes of a user, and no files.

use std::ffi::CString;

use defenseclaw_testkit::escape::scene::{SECRET, Scene};
use nix::libc;

use crate::case::{ALL, Case, IPC, REPORTED, SECCOMP, Theme, case, loot};
use crate::sys::{Arg, Attempt, Refused, absent, call, open_by, refused, word};

pub(crate) const THEME: Theme = Theme {
    name: "ipc",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("shared-memory": "attaches a System V segment of a process outside (Landlock does not restrict it)",
          |s| read_segment(s.outside.shared_memory_key);
          twin "makes and attaches a System V segment of its own", own_segment; REPORTED, IPC),
    case!("message-queue": "takes a message from a System V queue of a process outside (Landlock does not restrict it)",
          |s| take_message(s.outside.message_queue_key);
          twin "sends itself a message through a queue of its own", own_queue; REPORTED, IPC),
    case!("posix-queue": "takes a message from a POSIX queue of a process outside (Landlock does not restrict it)",
          |s| take_posix(&s.outside.posix_queue);
          twin "sends itself a message through a pipe", own_pipe; REPORTED, IPC),
    case!("read-key": "reads a key of the user's keyring", read_key;
          twin "reads random bytes", own_random; ALL, SECCOMP),
    case!("add-key": "adds a key to its own keyring", add_own_key;
          twin "reads random bytes", own_random; ALL, SECCOMP),
    case!("request-key": "asks the kernel for a key of the user by request_key", request_key;
          twin "reads random bytes", own_random; ALL, SECCOMP),
];

const SIZE: usize = 4096;
/// Type of the messages; any positive number.
const KIND: i64 = 1;

/// `struct msgbuf` with room for a secret.
#[repr(C)]
struct Message {
    kind: i64,
    text: [u8; 64],
}

pub(crate) fn segment(key: i32, create: bool) -> Result<i32, Refused> {
    let flags = if create {
        libc::IPC_CREAT | libc::IPC_EXCL | 0o600
    } else {
        0
    };
    let id = call(
        "shmget",
        libc::SYS_shmget,
        &[key.into(), SIZE.into(), flags.into()],
    )?;
    Ok(id as i32)
}

/// Attaches a segment, and gives its address.
pub(crate) fn attach(id: i32) -> Result<*mut u8, Refused> {
    // SAFETY: attached at an address of the kernel's choice; nobody refers to it yet.
    let address = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if address.addr() == usize::MAX {
        return Err(Refused::from(std::io::Error::last_os_error()).during("shmat"));
    }
    Ok(address.cast())
}

fn read_segment(key: i32) -> Attempt {
    if key == 0 {
        return absent("the process outside could not make one");
    }
    let address = attach(segment(key, false)?)?;
    // SAFETY: a segment of SIZE bytes was attached there, and stays so.
    let bytes = unsafe { std::slice::from_raw_parts(address, SIZE) };
    loot(bytes)
}

pub(crate) fn remove_segment(id: i32) {
    // The process ends next; what is left then is the kernel's report.
    let _ = call(
        "shmctl",
        libc::SYS_shmctl,
        &[id.into(), libc::IPC_RMID.into(), 0.into()],
    );
}

fn own_segment(_: &Scene) -> Attempt {
    let id = segment(libc::IPC_PRIVATE, true)?;
    let attached = attach(id);
    remove_segment(id);
    attached?;
    Ok("attached".to_owned())
}

pub(crate) fn queue(key: i32, create: bool) -> Result<i32, Refused> {
    let flags = if create {
        libc::IPC_CREAT | libc::IPC_EXCL | 0o600
    } else {
        0
    };
    Ok(call("msgget", libc::SYS_msgget, &[key.into(), flags.into()])? as i32)
}

pub(crate) fn send_message(queue: i32) -> Result<(), Refused> {
    let mut message = Message {
        kind: KIND,
        text: [0; 64],
    };
    message.text[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let arguments = [
        queue.into(),
        Arg::read(&message),
        message.text.len().into(),
        libc::IPC_NOWAIT.into(),
    ];
    call("msgsnd", libc::SYS_msgsnd, &arguments)?;
    Ok(())
}

fn receive_message(queue: i32) -> Attempt {
    let mut message = Message {
        kind: 0,
        text: [0; 64],
    };
    let length = message.text.len();
    let arguments = [
        queue.into(),
        Arg::write(&mut message),
        length.into(),
        KIND.into(),
        libc::IPC_NOWAIT.into(),
    ];
    call("msgrcv", libc::SYS_msgrcv, &arguments)?;
    loot(&message.text)
}

fn take_message(key: i32) -> Attempt {
    if key == 0 {
        return absent("the process outside could not make one");
    }
    receive_message(queue(key, false)?)
}

pub(crate) fn remove_queue(id: i32) {
    // As with segments.
    let _ = call(
        "msgctl",
        libc::SYS_msgctl,
        &[id.into(), libc::IPC_RMID.into(), 0.into()],
    );
}

fn own_queue(_: &Scene) -> Attempt {
    let id = queue(libc::IPC_PRIVATE, true)?;
    let received = send_message(id).and_then(|()| receive_message(id));
    remove_queue(id);
    received
}

/// Opens a POSIX queue; with `create`, makes it with one message, a secret.
pub(crate) fn posix_queue(name: &str, create: bool) -> Result<std::os::fd::OwnedFd, Refused> {
    let name = word(name)?;
    let mut flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // `struct mq_attr`: flags, most messages, size of one, current messages, reserved.
    let attributes = [0_i64, 4, 64, 0, 0, 0, 0, 0];
    if create {
        flags |= libc::O_CREAT | libc::O_EXCL;
    }
    let arguments = [
        Arg::text(&name),
        flags.into(),
        0o600.into(),
        Arg::read(&attributes),
    ];
    let queue = open_by("mq_open", libc::SYS_mq_open, &arguments)?;
    if create {
        let text = SECRET.as_bytes();
        let arguments = [
            Arg::fd(&queue),
            Arg::read(text),
            text.len().into(),
            0.into(),
            0.into(),
        ];
        call("mq_timedsend", libc::SYS_mq_timedsend, &arguments)?;
    }
    Ok(queue)
}

pub(crate) fn remove_posix_queue(name: &CString) {
    // As with segments.
    let _ = call("mq_unlink", libc::SYS_mq_unlink, &[Arg::text(name)]);
}

fn take_posix(name: &str) -> Attempt {
    if name.is_empty() {
        return absent("the process outside could not make one");
    }
    let queue = posix_queue(name, false)?;
    let mut text = [0_u8; 64];
    let length = text.len();
    let arguments = [
        Arg::fd(&queue),
        Arg::write(&mut text),
        length.into(),
        0.into(),
        0.into(),
    ];
    call("mq_timedreceive", libc::SYS_mq_timedreceive, &arguments)?;
    loot(&text)
}

fn own_pipe(_: &Scene) -> Attempt {
    use std::io::{Read as _, Write as _};
    let (mut from, mut to) = std::io::pipe()?;
    to.write_all(b"twin")?;
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok("read".to_owned())
}

fn own_random(_: &Scene) -> Attempt {
    let mut bytes = [0_u8; 16];
    call(
        "getrandom",
        libc::SYS_getrandom,
        &[Arg::write(&mut bytes), 16.into(), 0.into()],
    )?;
    Ok("16 bytes".to_owned())
}

const KEYCTL_UNLINK: i32 = 9;
const KEYCTL_SEARCH: i32 = 10;
const KEYCTL_READ: i32 = 11;
/// The keyring of all processes of a user.
const USER_KEYRING: i32 = -4;
/// The keyring of a process.
const PROCESS_KEYRING: i32 = -2;

/// Adds a key with a secret to a keyring.
fn add(name: &str, ring: i32) -> Result<i32, Refused> {
    let (kind, name) = (word("user")?, word(name)?);
    let text = SECRET.as_bytes();
    let arguments = [
        Arg::text(&kind),
        Arg::text(&name),
        Arg::read(text),
        text.len().into(),
        ring.into(),
    ];
    match call("add_key", libc::SYS_add_key, &arguments) {
        Err(Refused::By(why)) if why.ends_with("(os error 122)") => {
            absent("the user's quota of keys is used up")
        }
        key => Ok(key? as i32),
    }
}

/// Adds a key that every process of the user may read.
pub(crate) fn add_key(name: &str) -> Result<i32, Refused> {
    let key = add(name, USER_KEYRING)?;
    let all = 0x3f3f_0000_u32;
    call(
        "KEYCTL_SETPERM",
        libc::SYS_keyctl,
        &[5.into(), key.into(), all.into()],
    )?;
    Ok(key)
}

pub(crate) fn remove_key(key: i32) {
    // As with segments. A keyring gives back what a link takes of the user's quota only when it is unlinked.
    let unlink = [KEYCTL_UNLINK.into(), key.into(), USER_KEYRING.into()];
    let _ = call("KEYCTL_UNLINK", libc::SYS_keyctl, &unlink);
}

fn read(key: i64) -> Attempt {
    let mut text = [0_u8; 64];
    let arguments = [KEYCTL_READ.into(), key.into(), Arg::write(&mut text), 64.into()];
    call("KEYCTL_READ", libc::SYS_keyctl, &arguments)?;
    loot(&text)
}

fn read_key(scene: &Scene) -> Attempt {
    if scene.outside.key.is_empty() {
        return absent("the process outside could not make one");
    }
    let (kind, name) = (word("user")?, word(&scene.outside.key)?);
    let arguments = [
        KEYCTL_SEARCH.into(),
        USER_KEYRING.into(),
        Arg::text(&kind),
        Arg::text(&name),
        0.into(),
    ];
    read(call("KEYCTL_SEARCH", libc::SYS_keyctl, &arguments)?)
}

fn add_own_key(_: &Scene) -> Attempt {
    let key = add("escape", PROCESS_KEYRING)?;
    if key <= 0 {
        return refused("no key was made");
    }
    Ok(format!("key {key}"))
}

fn request_key(scene: &Scene) -> Attempt {
    if scene.outside.key.is_empty() {
        return absent("the process outside could not make one");
    }
    let (kind, name) = (word("user")?, word(&scene.outside.key)?);
    // The session's keyring, which is searched, leads to the user's unless a login has made another.
    let arguments = [Arg::text(&kind), Arg::text(&name), 0.into(), 0.into()];
    read(call("request_key", libc::SYS_request_key, &arguments)?)
}
