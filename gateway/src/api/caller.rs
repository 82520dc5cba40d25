//! Who asks, as far as the system tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::process::Process;
use crate::engine::Peer;
use crate::slots::Slot;

/// Stands for a user whom the kernel does not name: no user has this id (`(uid_t)-1`).
pub const UNKNOWN: u32 = u32::MAX;

/// One connection's other end.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    via: Via,
    slot: Arc<Slot>,
    until: watch::Sender<Option<Instant>>,
    noted: AtomicBool,
}

/// How the caller is connected.
#[derive(Debug)]
pub enum Via {
    /// By the Unix socket: the kernel says who it is.
    Socket {
        /// Process and user at the time of the connection.
        peer: Peer,
        /// The connection.
        stream: Arc<UnixStream>,
        /// When it was taken, in clock ticks since boot.
        accepted: u64,
    },
    /// By loopback TCP, with the token: whoever may read the token's file.
    Token {
        /// The user of the socket at the other end; [`UNKNOWN`] where the kernel does not say.
        uid: u32,
    },
}

/// Until when a connection may last; `None` for as long as its stream goes on.
pub type Until = watch::Receiver<Option<Instant>>;

impl Caller {
    /// A new connection that holds `slot` and lasts until `until`.
    pub fn new(via: Via, slot: Slot, until: Instant) -> (Self, Until) {
        let (sender, receiver) = watch::channel(Some(until));
        let inner = Inner {
            via,
            slot: Arc::new(slot),
            until: sender,
            noted: AtomicBool::new(false),
        };
        (Self(Arc::new(inner)), receiver)
    }

    /// How it is connected.
    pub fn via(&self) -> &Via {
        &self.0.via
    }

    /// Process and user, as a hook request has them. Over TCP there is no process.
    pub fn peer(&self) -> Peer {
        match self.0.via {
            Via::Socket { peer, .. } => peer,
            Via::Token { uid } => Peer { pid: None, uid },
        }
    }

    /// Whether this is asked for the first time of this connection.
    pub(super) fn first_noted(&self) -> bool {
        !self.0.noted.swap(true, Ordering::Relaxed)
    }

    /// The process that connected. `None` over TCP, and where it is gone or runs in another pid namespace.
    pub fn process(&self) -> Option<Process> {
        match &self.0.via {
            Via::Socket {
                peer,
                stream,
                accepted,
            } => Process::of(peer.pid?, stream, *accepted),
            Via::Token { .. } => None,
        }
    }

    /// What it holds of the gateway.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.0.slot
    }

    /// Lets the connection last as long as its stream goes on, or ends it at `until`.
    pub fn last(&self, until: Option<Instant>) {
        self.0.until.send_replace(until);
    }
}

/// Returns once the connection's time is over.
pub async fn over(mut until: Until) {
    loop {
        let at = *until.borrow_and_update();
        let changed = until.changed();
        match at {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at) => return,
                changed = changed => if changed.is_err() { return },
            },
            None => {
                if changed.await.is_err() {
                    return;
                }
            }
        }
    }
}
