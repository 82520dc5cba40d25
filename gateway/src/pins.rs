//! Pins of MCP servers: the store, and what calls are told of it without waiting for a disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use defenseclaw_mcp::pins::lookup::Lookup;
use defenseclaw_mcp::pins::{PinError, Store, readable};
use defenseclaw_model::pins::{McpFact, Pin};
use defenseclaw_model::record::{Draft, RecordBody};

use crate::clock;

/// Longest name or summary in a record (bytes).
const MAX_TEXT: usize = 500;
/// Most differences that a record names.
const MAX_NAMED: usize = 8;

/// The pins of this host.
#[derive(Debug)]
pub struct PinBook {
    store: Mutex<Store>,
    lookup: RwLock<Arc<Lookup>>,
}

impl PinBook {
    /// Opens the store at `file`, or makes it.
    ///
    /// # Errors
    /// When it cannot be used: a host whose held servers are not known must not start as if there were none.
    pub fn open(file: &Path) -> Result<Self, PinError> {
        let store = Store::open(file)?;
        let lookup = Lookup::new(store.known()?);
        Ok(Self {
            store: Mutex::new(store),
            lookup: RwLock::new(Arc::new(lookup)),
        })
    }

    /// What is known of the server whose tool that call names; `None`: it is no server's.
    pub fn fact(&self, uid: u32, cwd: Option<&str>, tool: &str) -> Option<McpFact> {
        let lookup = Arc::clone(&self.lookup.read().unwrap_or_else(PoisonError::into_inner));
        lookup.fact(uid, cwd, tool)
    }

    /// Reads from the store. It may wait for the disk.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Store) -> Result<T, PinError>) -> Result<T, PinError> {
        work(&self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the store; calls are told of it from then on. It waits for the disk.
    pub(crate) fn change<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, PinError>,
    ) -> Result<T, PinError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut store)?;
        let lookup = Lookup::new(store.known()?);
        *self.lookup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lookup);
        Ok(done)
    }
}

/// The record of what became of a pin: `new`, `changed`, `returned`, `gone`, `approved`, `withdrawn`, `forgotten`.
pub(crate) fn draft(pin: &Pin, state: &str, by_uid: u32) -> Draft {
    let cut = |text: &str| {
        let text = readable(text);
        text.get(..text.floor_char_boundary(MAX_TEXT))
            .unwrap_or_default()
            .to_owned()
    };
    let changes = pin.changes.iter().take(MAX_NAMED);
    let mut named: Vec<String> = changes
        .map(|change| format!("{}{} {}", change.item, change.pointer, change.what))
        .collect();
    if pin.changes.len() > MAX_NAMED {
        named.push(format!("{} more", pin.changes.len() - MAX_NAMED));
    }
    Draft {
        time_ns: clock::now_ns(),
        session: None,
        call: None,
        body: RecordBody::Pin {
            pin: pin.id.clone(),
            server: cut(&pin.server),
            scope: cut(&pin.scope),
            state: state.to_owned(),
            digest: pin.seen_digest.clone(),
            by_uid,
            detail: cut(&named.join(", ")),
        },
    }
}
