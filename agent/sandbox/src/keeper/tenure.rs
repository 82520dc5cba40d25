//! Who pays for the end of the sandbox's mount namespace.
//!
//! A namespace goes with the last process in it, and that process's end waits until all of its mounts are gone and every processor has
//! taken note of it: a quarter of a millisecond that the caller would wait for. So the command's process sends the namespace's
//! descriptor to the warden, who never takes it: what is in flight counts as open, until the warden ends, for whom nobody waits.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};

/// The end to send by, in the process that becomes the command.
static LEASE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// What the warden holds, and what the command's process sends by.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?)
}

pub(super) fn lease(end: Option<OwnedFd>) {
    *LEASE.lock().unwrap_or_else(PoisonError::into_inner) = end;
}

/// Leaves this process's mount namespace to the warden, where there is one. Where that fails, this process pays: nothing else changes.
pub(crate) fn leave_namespace() {
    let Some(end) = LEASE.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    if let Ok(namespace) = File::open("/proc/self/ns/mnt") {
        let descriptors = [namespace.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&descriptors)];
        let _ = sendmsg::<UnixAddr>(
            end.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &message,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use nix::sched::CloneFlags;
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};

    use super::*;

    #[test]
    fn a_namespace_in_flight_outlives_its_process() {
        let (held, end) = pair().expect("a pair");
        let (told, tell) = nix::unistd::pipe().expect("a pipe");
        // SAFETY: the child ends soon, and what it takes of this process is whole in it: the C library's memory, which its `fork` keeps
        // so, and a lock that no other thread of these tests takes.
        match unsafe { fork() }.expect("forked") {
            ForkResult::Child => {
                let unshared = nix::sched::unshare(CloneFlags::CLONE_NEWNS)
                    .or_else(|_| nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS));
                lease(Some(end));
                leave_namespace();
                let inode = std::fs::metadata("/proc/self/ns/mnt").map_or(0, |meta| meta.ino());
                let inode = unshared.map_or(0, |()| inode);
                let _ = nix::unistd::write(&tell, &inode.to_ne_bytes());
                // SAFETY: ends this process.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                drop((tell, end));
                waitpid(child, None).expect("ended");
                let mut inode = [0; 8];
                nix::unistd::read(&told, &mut inode).expect("told");
                let inode = u64::from_ne_bytes(inode);
                if inode == 0 {
                    eprintln!("not run: this user gets no mount namespace here");
                    return;
                }
                let received = receive(&held);
                assert_eq!(received.metadata().expect("open").ino(), inode);
            }
        }
    }

    fn receive(held: &OwnedFd) -> File {
        use nix::sys::socket::{ControlMessageOwned, recvmsg};
        use std::io::IoSliceMut;
        use std::os::fd::FromRawFd as _;
        let mut byte = [0];
        let mut buffers = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let message = recvmsg::<UnixAddr>(
            held.as_raw_fd(),
            &mut buffers,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .expect("something was sent");
        let rights = message.cmsgs().expect("whole").find_map(|cmsg| match cmsg {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        // SAFETY: the kernel just made it for this process, and nothing else has it.
        unsafe { File::from_raw_fd(rights.expect("a descriptor")) }
    }
}
