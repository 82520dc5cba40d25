//! How much of the gateway one user may hold at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at once. Each takes some KiB and one of the 1024 file descriptors that a service has by default.
const CONNECTIONS: usize = 512;
/// Connections of one user: far more than a harness's parallel calls, and never all of them.
const CONNECTIONS_OF_USER: usize = 256;
/// Payload bytes that wait in memory at once: six of the largest, or thousands of usual size.
const BYTES: usize = 96 << 20;
/// Payload bytes of one user: never all of them.
const BYTES_OF_USER: usize = 48 << 20;

/// Counts what is held.
#[derive(Debug, Default)]
pub struct Slots {
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    all: Share,
    users: HashMap<u32, Share>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    connections: usize,
    bytes: usize,
}

impl Slots {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for `uid`; `None` if it, or everybody, has enough.
    pub fn connection(self: &Arc<Self>, uid: u32) -> Option<Slot> {
        let mut held = self.held();
        let user = held.users.get(&uid).copied().unwrap_or_default();
        if held.all.connections >= CONNECTIONS || user.connections >= CONNECTIONS_OF_USER {
            return None;
        }
        held.all.connections += 1;
        held.users.entry(uid).or_default().connections += 1;
        Some(Slot {
            slots: Arc::clone(self),
            uid,
        })
    }

    /// Returns once nothing is held.
    pub async fn idle(&self) {
        loop {
            let freed = self.freed.notified();
            if self.held().all.connections == 0 {
                return;
            }
            freed.await;
        }
    }
}

/// A held connection; dropping it frees it.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    uid: u32,
}

impl Slot {
    /// Room for a payload; `None` if this user, or everybody, has enough in memory.
    pub fn bytes(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let mut held = self.slots.held();
        let user = held.users.get(&self.uid).copied().unwrap_or_default();
        if held.all.bytes + bytes > BYTES || user.bytes + bytes > BYTES_OF_USER {
            return None;
        }
        held.all.bytes += bytes;
        held.users.entry(self.uid).or_default().bytes += bytes;
        Some(Room {
            slot: Arc::clone(self),
            bytes,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held();
        held.all.connections -= 1;
        if let Some(user) = held.users.get_mut(&self.uid) {
            user.connections -= 1;
            // Room keeps its connection, so that a user without one holds nothing.
            if user.connections == 0 {
                held.users.remove(&self.uid);
            }
        }
        drop(held);
        self.slots.freed.notify_waiters();
    }
}

/// Held payload bytes; dropping it frees them.
#[derive(Debug)]
pub struct Room {
    slot: Arc<Slot>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut held = self.slot.slots.held();
        held.all.bytes -= self.bytes;
        if let Some(user) = held.users.get_mut(&self.slot.uid) {
            user.bytes -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_never_holds_everything() {
        let slots = Arc::new(Slots::default());
        let mine: Vec<_> = std::iter::from_fn(|| slots.connection(1)).collect();
        assert_eq!(mine.len(), CONNECTIONS_OF_USER);
        let other = Arc::new(slots.connection(2).unwrap());
        let first = Arc::new(mine.into_iter().next().unwrap());
        assert_eq!(slots.held().all.connections, 2, "the rest was freed");
        let rooms: Vec<_> = std::iter::from_fn(|| first.bytes(16 << 20)).collect();
        assert_eq!(rooms.len(), 3);
        assert!(other.bytes(16 << 20).is_some());
        drop((rooms, first, other));
        let held = slots.held();
        assert_eq!(
            (held.all.connections, held.all.bytes, held.users.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn all_users_together_are_bounded() {
        let slots = Arc::new(Slots::default());
        let held: Vec<_> = (0..10)
            .flat_map(|uid| (0..100).filter_map(|_| slots.connection(uid)).collect::<Vec<_>>())
            .collect();
        assert_eq!(held.len(), CONNECTIONS);
    }
}
