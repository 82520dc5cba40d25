//! What keeps the gateway from starting or running.

use std::path::PathBuf;

use defenseclaw_audit::LedgerError;
use defenseclaw_model::config::ConfigError;

use crate::admission::ListsError;
use crate::bundle::BundleFault;
use crate::rules::RulesError;
use crate::token::TokenError;

/// Why the gateway stopped or did not start. The text tells a person what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration was refused.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The lists of artifacts cannot be read.
    #[error(transparent)]
    Lists(#[from] ListsError),
    /// A connector's sandbox cannot be had.
    #[error("configuration: `connectors.{connector}.sandbox`: {why}")]
    Sandbox {
        /// The connector.
        connector: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Signed policy bundles cannot be kept.
    #[error("policy bundles: {0}")]
    Bundles(#[from] BundleFault),
    /// The pins cannot be read.
    #[error("{0}")]
    Pins(#[from] defenseclaw_mcp::pins::PinError),
    /// Started as root.
    #[error(
        "the gateway parses what agents send and must not run as root. Start it as an unprivileged user (the package's \
         service uses `defenseclaw`), or pass --allow-root where you accept that"
    )]
    Root,
    /// A folder is missing and cannot be made.
    #[error("cannot create the folder {}: {source}. Create it, or let the gateway's user write its parent", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another gateway serves that socket.
    #[error("another gateway already serves {}: it holds {}. Stop that one first", socket.display(), lock.display())]
    Running {
        /// The socket.
        socket: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// A socket cannot be served.
    #[error("cannot listen on {}: {source}. {}", path.display(), listen_remedy(source))]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The socket's path does not fit a socket address.
    #[error(
        "the socket path {} has {} bytes, and the system takes at most {limit}. Configure a shorter one",
        path.display(), path.as_os_str().len()
    )]
    SocketPath {
        /// The socket.
        path: PathBuf,
        /// Most bytes.
        limit: usize,
    },
    /// A socket of the service manager's cannot be used.
    #[error(transparent)]
    Held(#[from] defenseclaw_service::sockets::SocketsError),
    /// The gateway serves, and its own first request finds no answer.
    #[error("the gateway listens on {}, and {source}. See the log before this line", socket.display())]
    Deaf {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The API's address is not loopback.
    #[error(
        "the API cannot listen on {address}: only loopback is taken, because the token travels in the clear. Set `api.listen` to 127.0.0.1:PORT"
    )]
    NotLoopback {
        /// The address.
        address: std::net::SocketAddr,
    },
    /// The API's address cannot be served.
    #[error(
        "the API cannot listen on {address}: {source}. Stop whoever listens there, or set another port in `api.listen`"
    )]
    Address {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The API's token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The ledger cannot be opened, or its open sessions cannot be read.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// A built-in contract of a harness was refused.
    #[error("harness contract: {0}. This build is broken; please report it")]
    Contract(defenseclaw_harness::contract::ContractError),
    /// The policy or a rule pack was refused.
    #[error("policy: {0}")]
    Rules(#[from] RulesError),
    /// The system refused something basic.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A part without which there is no gateway ended.
    #[error("{0} stopped unexpectedly. Start the gateway again and see the log before this line")]
    Stopped(&'static str),
}

fn listen_remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => "Let the gateway's user write that folder",
        std::io::ErrorKind::StorageFull => "Free space on its file system",
        _ => "See whether its folder exists and what lies at that path",
    }
}
