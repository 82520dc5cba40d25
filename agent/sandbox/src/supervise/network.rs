//! `connect`, and messages that carry an address, done for the target on a duplicate of its socket.
//!
//! A duplicate is the same open socket: its options, its namespace, whether it waits. The address is copied once,
//! judged, and handed to the kernel as judged. What a message carries is copied too; descriptors in it are taken from
//! the target and passed on.
//!
//! A peer that asks for `SO_PEERCRED` sees the supervisor's process number. Who governs the target by process has to
//! govern the supervisor as well.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use super::address::{self, MAX_ADDRESS, Parsed};
use super::judge::{Action, Address, ConnectRequest, Transport};
use super::message::Message;
use super::notify::Notification;
use super::proc;
use super::resolve::{Found, View, Walk};
use super::step::{Ruling, Step};
use super::supervisor::{Core, Held};
use super::sys::{self, Errno};
use super::target::Target;

/// One call, with all that was in the target's memory.
#[derive(Debug)]
pub(super) struct NetworkCall {
    target: Target,
    socket: OwnedFd,
    transport: Transport,
    domain: i32,
    /// The address in the call; None: none, or none of any effect.
    address: Option<Vec<u8>>,
    /// The folder that a Unix path is relative to.
    base: Option<OwnedFd>,
    message: Option<Message>,
}

impl Held for NetworkCall {
    fn id(&self) -> u64 {
        self.target.id
    }
}

impl NetworkCall {
    pub(super) fn gather(target: Target, call: &Notification) -> Result<Self, Errno> {
        let socket = target.descriptor(call.args[0] as i32)?;
        let transport = match sys::socket_option(socket.as_fd(), libc::SO_TYPE)? {
            libc::SOCK_STREAM => Transport::Stream,
            libc::SOCK_DGRAM => Transport::Datagram,
            other => Transport::Other(other),
        };
        let domain = sys::socket_option(socket.as_fd(), libc::SO_DOMAIN)?;
        let (address, message) = match call.number {
            libc::SYS_connect => (
                Some(read_address(&target, call.args[1], call.args[2] as i32)?),
                None,
            ),
            libc::SYS_sendto => {
                let address = read_address(&target, call.args[4], call.args[5] as i32)?;
                let message = Message::one_buffer(&target, transport, call)?;
                ((!address.is_empty()).then_some(address), Some(message))
            }
            _ => {
                let (message, name) = Message::gather(&target, transport, call)?;
                let address = match name {
                    Some((at, length)) => Some(read_address(&target, at, length)?).filter(|a| !a.is_empty()),
                    None => None,
                };
                (address, Some(message))
            }
        };
        let relative = address
            .as_ref()
            .is_some_and(|a| a.starts_with(&(libc::AF_UNIX as u16).to_ne_bytes()));
        let base = if relative {
            Some(target.base(libc::AT_FDCWD)?)
        } else {
            None
        };
        Ok(Self {
            target,
            socket,
            transport,
            domain,
            address,
            base,
            message,
        })
    }

    /// Judges and does it. `approved`: what a person has said yes to.
    pub(super) fn attempt(self, core: &Core, approved: Option<Action>) -> Step {
        match self.judged(core, approved.as_ref()) {
            Ok(Judged::Go { address, object }) => self.go(address, object),
            Ok(Judged::Ask(action, reason)) => Step::Ask {
                pid: self.target.status.tgid,
                action: action.clone(),
                reason,
                then: Box::new(move |core| self.attempt(core, Some(action))),
            },
            Err(errno) => Step::Done(Err(errno)),
        }
    }

    fn judged(&self, core: &Core, approved: Option<&Action>) -> Result<Judged, Errno> {
        let Some(bytes) = &self.address else {
            return Ok(Judged::Go {
                address: Vec::new(),
                object: None,
            });
        };
        let mut address = bytes.clone();
        let mut object = None;
        let mut identity = None;
        let judged = match address::parse(bytes, self.domain, self.message.is_some())? {
            Parsed::Disconnect => return Ok(Judged::Go { address, object }),
            Parsed::Ip(to) => Address::Ip(to),
            Parsed::UnixAbstract(name) => Address::UnixAbstract(name),
            Parsed::Other(family) => Address::Other(family),
            Parsed::UnixPath(path) => {
                let (socket, place) = self.unix_object(core, &path)?;
                identity = Some(sys::statx(socket.as_fd())?.identity());
                // The very object that is judged, whatever its name leads to by then.
                address = address::unix_address(sys::own_fd_path(socket.as_fd()).as_bytes());
                object = Some(socket);
                Address::UnixPath(place)
            }
        };
        let action = Action::Connect {
            address: judged.clone(),
            transport: self.transport,
        };
        let request = ConnectRequest {
            pid: self.target.status.tgid,
            address: judged,
            transport: self.transport,
            object: identity,
        };
        let ruling = core.rule(core.judge.connect(&request), &action, approved)?;
        core.still_held(self.target.id)?;
        Ok(match ruling {
            Ruling::Go => Judged::Go { address, object },
            Ruling::Ask(reason) => Judged::Ask(action, reason),
        })
    }

    fn unix_object(&self, core: &Core, path: &[u8]) -> Result<(OwnedFd, PathBuf), Errno> {
        let view = View {
            target: &self.target,
            family: core.family,
        };
        let walk = Walk {
            follow: true,
            create: false,
            resolve: 0,
        };
        match view.find(self.base.as_ref().map(AsFd::as_fd), path, walk)? {
            Found::Object { fd, .. } => {
                let place = sys::path_of(fd.as_fd())?;
                if sys::on_procfs(fd.as_fd())? {
                    proc::guard(&self.target, core.family, &place, false)?;
                }
                Ok((fd, PathBuf::from(OsString::from_vec(place))))
            }
            Found::Missing { .. } => Err(Errno::ENOENT),
        }
    }

    fn go(self, address: Vec<u8>, object: Option<OwnedFd>) -> Step {
        let Self {
            target,
            socket,
            transport,
            message,
            ..
        } = self;
        match message {
            Some(message) => message.send(target, socket, address, object),
            // A datagram socket only takes note of the address.
            None if transport == Transport::Datagram => {
                Step::Done(sys::connect(socket.as_fd(), &address).map(|()| 0))
            }
            None => Step::Block(Box::new(move |_| {
                let _object = object;
                Step::Done(sys::connect(socket.as_fd(), &address).map(|()| 0))
            })),
        }
    }
}

enum Judged {
    /// `object` is what `address` names by number, and has to stay open until the kernel has looked.
    Go {
        address: Vec<u8>,
        object: Option<OwnedFd>,
    },
    Ask(Action, String),
}

fn read_address(target: &Target, at: u64, length: i32) -> Result<Vec<u8>, Errno> {
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    if length > MAX_ADDRESS {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0u8; length];
    target.read(at, &mut bytes)?;
    Ok(bytes)
}

/// Whether calls on this socket wait.
pub(super) fn waits(socket: &OwnedFd) -> bool {
    sys::status_flags(socket.as_fd()).is_ok_and(|flags| flags & libc::O_NONBLOCK == 0)
}

/// A descriptor's number, for a control message.
pub(super) fn number(fd: &OwnedFd) -> i32 {
    fd.as_raw_fd()
}
