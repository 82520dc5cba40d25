//! A process that belongs to an agent's session changes nobody's hooks.

use std::path::Path;

use serde::Deserialize;

use crate::{CliError, gateway};

/// The part of the gateway's answer that matters here.
#[derive(Deserialize)]
struct Peer {
    governed: String,
    #[serde(default)]
    detail: Option<String>,
}

/// Asks the gateway whether this process belongs to an agent's session, and refuses if it does.
///
/// Where no gateway answers there is no session to belong to. What an agent could then do to files is the kernel's to deny;
/// and what it did, the gateway sees when it is back.
pub(super) fn refuse(socket: &Path, what: &str) -> Result<(), CliError> {
    match gateway::get::<Peer>(socket, "/v1/peer", gateway::QUICK) {
        Ok(peer) if peer.governed == "yes" => Err(CliError::NotPermitted {
            what: format!(
                "this process belongs to an agent's session{}, which may not {what}",
                peer.detail
                    .map(|detail| format!(" ({detail})"))
                    .unwrap_or_default()
            ),
            remedy: "Run it from a terminal of your own.".to_owned(),
        }),
        _ => Ok(()),
    }
}
