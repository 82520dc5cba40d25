//! What `sendto`, `sendmsg` and `sendmmsg` carry, by copy.

use std::os::fd::{AsFd, OwnedFd};

use super::judge::Transport;
use super::network::{number, waits};
use super::notify::Notification;
use super::step::Step;
use super::sys::{self, Errno};
use super::target::Target;
use super::{MAX_CONTROL, MAX_MESSAGE, MAX_PARTS};

/// `sizeof(struct msghdr)` where pointers have eight bytes; `msg_len` of `struct mmsghdr` follows it.
const HEADER: usize = 56;

/// `sizeof(struct cmsghdr)`, and the alignment of control messages.
const CONTROL_HEADER: usize = 16;
const ALIGNMENT: usize = 8;

#[derive(Debug)]
pub(super) struct Message {
    data: Vec<u8>,
    control: Vec<u8>,
    /// Descriptors of the target that `control` names by their numbers here.
    passed: Vec<OwnedFd>,
    flags: i32,
    /// Where `sendmmsg` wants to know how much of the first message was sent.
    length_to: Option<u64>,
}

impl Message {
    /// `sendto`'s.
    pub(super) fn one_buffer(
        target: &Target,
        transport: Transport,
        call: &Notification,
    ) -> Result<Self, Errno> {
        let data = read_parts(target, transport, &[(call.args[1], call.args[2])])?;
        let flags = usable(call.args[3] as i32)?;
        Ok(Self {
            data,
            control: Vec::new(),
            passed: Vec::new(),
            flags,
            length_to: None,
        })
    }

    /// `sendmsg`'s, or the first of `sendmmsg`'s: "one was sent" is a true answer, and the caller sends the rest by
    /// another call. Gives the address's place and length too.
    pub(super) fn gather(
        target: &Target,
        transport: Transport,
        call: &Notification,
    ) -> Result<(Self, Option<(u64, i32)>), Errno> {
        let several = call.number == libc::SYS_sendmmsg;
        let flags = usable(if several { call.args[3] } else { call.args[2] } as i32)?;
        if several && call.args[2] as u32 == 0 {
            // The kernel would say 0; no program sends nothing this way.
            return Err(Errno::EINVAL);
        }
        let mut header = [0u8; HEADER];
        target.read(call.args[1], &mut header)?;
        let word = |at: usize| {
            let mut word = [0u8; 8];
            word.copy_from_slice(&header[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let (name, parts, count, control, control_length) = (word(0), word(16), word(24), word(32), word(40));
        // The length is an int with padding behind it.
        let name_length = word(8) as i32;
        let data = read_parts(target, transport, &read_vector(target, parts, count)?)?;
        let mut message = Self {
            data,
            control: Vec::new(),
            passed: Vec::new(),
            flags,
            length_to: several.then(|| call.args[1] + HEADER as u64),
        };
        if control != 0 && control_length > 0 {
            message.read_control(target, control, control_length)?;
        }
        // `copy_msghdr_from_user`: an address without a place or a length is none, and a longer one is cut.
        let name = (name != 0 && name_length != 0).then(|| (name, name_length.min(128)));
        Ok((message, name))
    }

    fn read_control(&mut self, target: &Target, at: u64, length: u64) -> Result<(), Errno> {
        if length > MAX_CONTROL as u64 {
            return Err(Errno::ENOBUFS);
        }
        self.control = vec![0u8; length as usize];
        target.read(at, &mut self.control)?;
        let mut begin = 0;
        while begin + CONTROL_HEADER <= self.control.len() {
            let mut size = [0u8; 8];
            size.copy_from_slice(&self.control[begin..begin + 8]);
            let size = usize::try_from(u64::from_ne_bytes(size)).map_err(|_| Errno::EINVAL)?;
            let end = begin
                .checked_add(size)
                .filter(|end| size >= CONTROL_HEADER && *end <= self.control.len());
            let end = end.ok_or(Errno::EINVAL)?;
            match (int(&self.control, begin + 8), int(&self.control, begin + 12)) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for at in (begin + CONTROL_HEADER..end.saturating_sub(3)).step_by(4) {
                        let fd = target.descriptor(int(&self.control, at))?;
                        self.control[at..at + 4].copy_from_slice(&number(&fd).to_ne_bytes());
                        self.passed.push(fd);
                    }
                }
                // The kernel would check them against the supervisor.
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => return Err(Errno::EPERM),
                _ => {}
            }
            begin = end.next_multiple_of(ALIGNMENT);
        }
        Ok(())
    }

    /// Sends it, waiting on a thread of its own where the target would have waited.
    pub(super) fn send(
        self,
        target: Target,
        socket: OwnedFd,
        address: Vec<u8>,
        object: Option<OwnedFd>,
    ) -> Step {
        let at_once = self.flags | libc::MSG_DONTWAIT;
        match sys::send(socket.as_fd(), &self.data, &address, &self.control, at_once) {
            Err(Errno::EAGAIN) if self.flags & libc::MSG_DONTWAIT == 0 && waits(&socket) => {
                Step::Block(Box::new(move |_| {
                    let _object = object;
                    let sent = sys::send(socket.as_fd(), &self.data, &address, &self.control, self.flags);
                    self.sent(&target, sent)
                }))
            }
            sent => self.sent(&target, sent),
        }
    }

    fn sent(&self, target: &Target, sent: Result<usize, Errno>) -> Step {
        if sent == Err(Errno::EPIPE) && self.flags & libc::MSG_NOSIGNAL == 0 {
            // SAFETY: numbers. The kernel would have sent this signal to this thread, and it is held until our answer.
            unsafe { libc::syscall(libc::SYS_tgkill, target.status.tgid, target.tid, libc::SIGPIPE) };
        }
        Step::Done(match (sent, self.length_to) {
            (Ok(sent), Some(place)) => target
                .write(place, &u32::try_from(sent).unwrap_or(u32::MAX).to_ne_bytes())
                .map(|()| 1),
            (Ok(sent), None) => i64::try_from(sent).map_err(|_| Errno::EMSGSIZE),
            (Err(errno), _) => Err(errno),
        })
    }
}

fn int(bytes: &[u8], at: usize) -> i32 {
    let mut int = [0u8; 4];
    int.copy_from_slice(&bytes[at..at + 4]);
    i32::from_ne_bytes(int)
}

/// With `MSG_ZEROCOPY` the kernel would go on reading our copy after the call. "No buffer" makes callers copy.
fn usable(flags: i32) -> Result<i32, Errno> {
    if flags & libc::MSG_ZEROCOPY != 0 {
        Err(Errno::ENOBUFS)
    } else {
        Ok(flags)
    }
}

fn read_vector(target: &Target, at: u64, count: u64) -> Result<Vec<(u64, u64)>, Errno> {
    if count > MAX_PARTS as u64 {
        return Err(Errno::EMSGSIZE);
    }
    let mut bytes = vec![0u8; count as usize * 16];
    target.read(at, &mut bytes)?;
    let (pairs, _) = bytes.as_chunks::<16>();
    Ok(pairs
        .iter()
        .map(|pair| {
            let (mut base, mut length) = ([0u8; 8], [0u8; 8]);
            base.copy_from_slice(&pair[..8]);
            length.copy_from_slice(&pair[8..]);
            (u64::from_ne_bytes(base), u64::from_ne_bytes(length))
        })
        .collect())
}

/// The bytes of a message. A stream may be sent in part, so it is cut at the bound; anything else is whole or not sent.
fn read_parts(target: &Target, transport: Transport, parts: &[(u64, u64)]) -> Result<Vec<u8>, Errno> {
    let mut data = Vec::new();
    for (at, length) in parts {
        let room = MAX_MESSAGE - data.len();
        let fits = usize::try_from(*length).unwrap_or(usize::MAX);
        if fits > room && transport != Transport::Stream {
            return Err(Errno::EMSGSIZE);
        }
        let begin = data.len();
        data.resize(begin + fits.min(room), 0);
        target.read(*at, &mut data[begin..])?;
    }
    Ok(data)
}
