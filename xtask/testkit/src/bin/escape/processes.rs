//! Reaching into a process outside the sandbox, of the same user.

use std::fs;
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};

use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, Case, LANDLOCK, LANDLOCK_SCOPES, REPORTED, SECCOMP, Theme, case, loot};
use crate::sys::{Arg, Attempt, Refused, call, open_by, refused};

pub(crate) const THEME: Theme = Theme {
    name: "processes",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("ptrace-attach": "attaches to a process outside by ptrace, and reads its memory", |s| {
              let secret = s.outside.secret_address;
              trace(s.outside.pid, secret, s.outside.secret_length).and_then(|bytes| loot(&bytes))
          }; twin "traces its own child", trace_child; ALL, LANDLOCK),
    case!("process-vm-readv": "reads a process outside by process_vm_readv", |s| {
              vector(s.outside.pid, s.outside.secret_address, s.outside.secret_length).and_then(|bytes| loot(&bytes))
          }; twin "starts a child and waits for it", |_| child_ends(); ALL, LANDLOCK),
    case!("process-vm-writev": "changes a process outside by process_vm_writev", write_vector;
          twin "starts a child and waits for it", |_| child_ends(); ALL, LANDLOCK, judge Outside),
    case!("proc-mem-read": "reads a process outside by /proc/PID/mem", |s| {
              let mut bytes = vec![0; s.outside.secret_length];
              memory(s, false)?.read_exact_at(&mut bytes, s.outside.secret_address)?;
              loot(&bytes)
          }; twin "reads its own memory map", |_| {
              Ok(format!("{} bytes", fs::read("/proc/self/maps")?.len()))
          }; ALL, LANDLOCK),
    case!("proc-mem-write": "changes a process outside by /proc/PID/mem", |s| {
              memory(s, true)?.write_all_at(&[0xff; 8], s.outside.word_address)?;
              Ok("wrote".to_owned())
          }; twin "lists its own open files", |_| {
              Ok(format!("{} open", fs::read_dir("/proc/self/fd")?.count()))
          }; ALL, LANDLOCK, judge Outside),
    case!("pidfd-getfd": "takes a descriptor of the secret from a process outside by pidfd_getfd", take_descriptor;
          twin "waits for a child by its pidfd", wait_by_pidfd; ALL, LANDLOCK),
    case!("signal-outside": "sends SIGUSR1 to a process outside", |s| signal(s.outside.pid, libc::SIGUSR1);
          twin "ends its own child by a signal", end_child; ALL, LANDLOCK_SCOPES, judge Outside),
    case!("signal-outside-by-pidfd": "sends SIGUSR1 to a process outside by pidfd_send_signal", signal_by_pidfd;
          twin "ends its own child by a signal", end_child; ALL, LANDLOCK_SCOPES, judge Outside),
    case!("signal-by-owner": "makes a process outside the owner of a pipe's SIGIO (F_SETOWN, F_SETSIG)",
          |s| signal_by_owner(s.outside.pid);
          twin "gets SIGIO of its own pipe", own_signal; ALL, LANDLOCK_SCOPES, judge Outside),
    case!("limit-outside": "lowers a limit of a process outside by prlimit (Landlock does not restrict it)",
          |s| limit(s.outside.pid);
          twin "lowers a limit of its own", |_| limit(0); REPORTED, SECCOMP),
    case!("renice-outside": "lowers the priority of a process outside (Landlock does not restrict it)",
          |s| renice(s.outside.pid);
          twin "lowers its own priority", |_| renice(0); REPORTED, SECCOMP),
];

/// A child that waits until its input is closed.
/// A child that runs its program: whoever starts one goes on while the kernel still maps it.
fn waiting_child() -> Result<Child, Refused> {
    let mut child = Command::new("/bin/cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let (Some(input), Some(output)) = (&mut child.stdin, &mut child.stdout) {
        input.write_all(b"x")?;
        output.read_exact(&mut [0])?;
    }
    Ok(child)
}

fn child_ends() -> Attempt {
    let mut child = waiting_child()?;
    drop(child.stdin.take());
    Ok(child.wait()?.to_string())
}

fn end_child(_: &Scene) -> Attempt {
    let mut child = waiting_child()?;
    signal(child.id() as i32, libc::SIGTERM)?;
    Ok(child.wait()?.to_string())
}

fn trace(process: i32, address: u64, length: usize) -> Result<Vec<u8>, Refused> {
    let request = |what: &str, request: u32, address: u64| {
        call(
            what,
            libc::SYS_ptrace,
            &[request.into(), process.into(), address.into(), 0.into()],
        )
    };
    // Not PTRACE_ATTACH: its SIGSTOP may come after the stop of an exec, and stay.
    request("PTRACE_SEIZE", libc::PTRACE_SEIZE, 0)?;
    request("PTRACE_INTERRUPT", libc::PTRACE_INTERRUPT, 0)?;
    let mut status = 0_i32;
    let options = [
        process.into(),
        Arg::write(&mut status),
        libc::__WALL.into(),
        0.into(),
    ];
    call("wait4", libc::SYS_wait4, &options)?;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let mut word = 0_u64;
        let at = address + bytes.len() as u64;
        let peeked = call(
            "PTRACE_PEEKDATA",
            libc::SYS_ptrace,
            &[
                libc::PTRACE_PEEKDATA.into(),
                process.into(),
                at.into(),
                Arg::write(&mut word),
            ],
        );
        if let Err(error) = peeked {
            request("PTRACE_DETACH", libc::PTRACE_DETACH, 0)?;
            return Err(error);
        }
        bytes.extend(word.to_ne_bytes());
    }
    request("PTRACE_DETACH", libc::PTRACE_DETACH, 0)?;
    Ok(bytes)
}

fn trace_child(_: &Scene) -> Attempt {
    let mut child = waiting_child()?;
    // Its heap begins with zeros or not; that it can be read is what counts.
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id()))?;
    let start = maps.split('-').next().unwrap_or_default();
    let address = u64::from_str_radix(start, 16).map_err(|error| Refused::By(error.to_string()))?;
    let read = trace(child.id() as i32, address, 8);
    drop(child.stdin.take());
    child.wait()?;
    Ok(format!("{} bytes", read?.len()))
}

fn vector(process: i32, address: u64, length: usize) -> Result<Vec<u8>, Refused> {
    let mut bytes = vec![0_u8; length];
    let local = [std::io::IoSliceMut::new(&mut bytes)];
    // `struct iovec` of the other process: address and length.
    let remote = [address, length as u64];
    call(
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        &[
            process.into(),
            Arg::read(&local),
            1.into(),
            Arg::read(&remote),
            1.into(),
            0.into(),
        ],
    )?;
    Ok(bytes)
}

fn write_vector(scene: &Scene) -> Attempt {
    let bytes = [0xff_u8; 8];
    let local = [IoSlice::new(&bytes)];
    let remote = [scene.outside.word_address, 8];
    call(
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        &[
            scene.outside.pid.into(),
            Arg::read(&local),
            1.into(),
            Arg::read(&remote),
            1.into(),
            0.into(),
        ],
    )?;
    Ok("wrote".to_owned())
}

fn memory(scene: &Scene, write: bool) -> Result<fs::File, Refused> {
    Ok(fs::OpenOptions::new()
        .read(true)
        .write(write)
        .open(format!("/proc/{}/mem", scene.outside.pid))?)
}

fn pidfd(process: i32) -> Result<std::os::fd::OwnedFd, Refused> {
    open_by("pidfd_open", libc::SYS_pidfd_open, &[process.into(), 0.into()])
}

fn take_descriptor(scene: &Scene) -> Attempt {
    let process = pidfd(scene.outside.pid)?;
    let arguments = [
        Arg::fd(&process),
        scene.outside.secret_descriptor.into(),
        0.into(),
    ];
    let file = fs::File::from(open_by("pidfd_getfd", libc::SYS_pidfd_getfd, &arguments)?);
    let mut bytes = vec![0; 256];
    let length = file.read_at(&mut bytes, 0)?;
    loot(&bytes[..length])
}

fn wait_by_pidfd(_: &Scene) -> Attempt {
    let mut child = waiting_child()?;
    let process = pidfd(child.id() as i32)?;
    drop(child.stdin.take());
    let mut poll = libc::pollfd {
        fd: process.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let ready = call(
        "ppoll",
        libc::SYS_ppoll,
        &[Arg::write(&mut poll), 1.into(), 0.into(), 0.into()],
    )?;
    child.wait()?;
    Ok(format!("{ready} ended"))
}

fn signal(process: i32, signal: i32) -> Attempt {
    call("kill", libc::SYS_kill, &[process.into(), signal.into()])?;
    Ok("sent".to_owned())
}

fn signal_by_pidfd(scene: &Scene) -> Attempt {
    let process = pidfd(scene.outside.pid)?;
    let arguments = [Arg::fd(&process), libc::SIGUSR1.into(), 0.into(), 0.into()];
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal, &arguments)?;
    Ok("sent".to_owned())
}

/// A pipe that signals `owner` with SIGUSR1 when something is written to it.
fn signal_by_owner(owner: i32) -> Attempt {
    use std::io::Write as _;
    let (mut from, mut to) = std::io::pipe()?;
    let set = |what: &str, command: i32, value: i32| {
        call(
            what,
            libc::SYS_fcntl,
            &[Arg::fd(&from), command.into(), value.into()],
        )
    };
    set("F_SETOWN", libc::F_SETOWN, owner)?;
    set("F_SETSIG", 10, libc::SIGUSR1)?;
    set("F_SETFL", libc::F_SETFL, libc::O_ASYNC)?;
    to.write_all(b"x")?;
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok("written".to_owned())
}

fn own_signal(_: &Scene) -> Attempt {
    crate::outside::count_signals()?;
    signal_by_owner(std::process::id() as i32)?;
    match crate::outside::signals() {
        0 => refused("no signal came"),
        count => Ok(format!("{count} signals")),
    }
}

fn limit(process: i32) -> Attempt {
    let wanted = [200_u64, 200];
    let mut old = [0_u64; 2];
    let resource = libc::RLIMIT_SIGPENDING as i32;
    let arguments = [
        process.into(),
        resource.into(),
        Arg::read(&wanted),
        Arg::write(&mut old),
    ];
    call("prlimit64", libc::SYS_prlimit64, &arguments)?;
    Ok(format!("lowered from {}", old[0]))
}

fn renice(process: i32) -> Attempt {
    call(
        "setpriority",
        libc::SYS_setpriority,
        &[0.into(), process.into(), 5.into()],
    )?;
    Ok("lowered".to_owned())
}
