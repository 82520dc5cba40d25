//! What a server was when it was pinned, and what it is now.
//!
//! | Module | Holds |
//! |---|---|
//! | `diff` | differences, readable |
//! | [`store`] | pins in SQLite: one writer, the gateway |
//! | [`lookup`] | which pin a tool call is about |

mod diff;
pub mod lookup;
pub mod store;

use std::collections::BTreeMap;

use defenseclaw_model::pins::{PinChange, PinSeen};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ask::Asked;
use crate::canonical::digest;

pub use diff::readable;
pub use store::{Event, PinError, Store};

/// What is pinned of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// How it is started or reached.
    pub launch: Value,
    /// What it offers.
    pub items: BTreeMap<String, Value>,
    /// Whether that was all.
    pub complete: bool,
}

impl Content {
    /// SHA-256 over launch and items, each item by its own SHA-256 over RFC 8785's text.
    pub fn digest(&self) -> String {
        digest(&json!({"launch": self.launch, "items": self.digests(), "complete": self.complete}))
    }

    /// Each item's SHA-256.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.items
            .iter()
            .map(|(name, item)| (name.clone(), digest(item)))
            .collect()
    }

    /// What is different in `new`.
    pub fn changes(&self, new: &Self) -> Vec<PinChange> {
        diff::changes(self, new)
    }
}

/// What was seen of a server, for the gateway to compare. `None`: it has not answered at all.
pub fn seen(asked: &Asked) -> Option<PinSeen> {
    if asked.answers.protocol.is_empty() {
        return None;
    }
    let scope = asked
        .server
        .scope
        .as_ref()
        .map(|scope| scope.display().to_string());
    Some(PinSeen {
        server: asked.server.name.clone(),
        scope: scope.unwrap_or_default(),
        file: asked.server.file.display().to_string(),
        launch: asked.launch.clone(),
        items: asked.answers.items(),
        complete: asked.answers.complete(),
    })
}
