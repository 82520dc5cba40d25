//! The sockets, where the service manager holds them: who calls while the gateway starts anew waits for its answer.

use std::net::SocketAddr;

use defenseclaw_model::config::{ApiConfig, Config};
use defenseclaw_service::sockets::{self, For, Passed, SocketsError};
use tokio::net::{TcpListener, UnixListener};

use crate::error::GatewayError;

/// `FileDescriptorName=` of the socket of hooks and operators.
pub const HOOKS: &str = "gateway";
/// `FileDescriptorName=` of the agent's socket.
pub const AGENT: &str = "agent";
/// `FileDescriptorName=` of the API's socket on loopback.
pub const API: &str = "api";

/// What the service manager handed over, each looked at.
#[derive(Debug, Default)]
pub struct Held {
    /// For hooks and operators.
    pub hooks: Option<UnixListener>,
    /// For the agent.
    pub agent: Option<UnixListener>,
    /// For the API.
    pub api: Option<(TcpListener, SocketAddr)>,
}

impl Held {
    /// Takes the sockets. Called once, within the event loop.
    pub fn take(config: &Config) -> Result<Self, GatewayError> {
        let mut held = Self::default();
        for passed in sockets::take()? {
            held.add(passed, config)?;
        }
        Ok(held)
    }

    fn add(&mut self, passed: Passed, config: &Config) -> Result<(), GatewayError> {
        let name = passed.name.clone();
        let failed = |source| GatewayError::System {
            what: "cannot use the service manager's socket",
            source,
        };
        let again = match name.as_str() {
            HOOKS => {
                let listener = passed.unix(&config.socket, For::Anyone)?;
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                self.hooks.replace(listener).is_some()
            }
            AGENT => {
                let listener = passed.unix(&config.agent_socket(), For::TheOwner)?;
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                self.agent.replace(listener).is_some()
            }
            API => {
                let (listener, address) = passed.loopback()?;
                let listener = TcpListener::from_std(listener).map_err(failed)?;
                self.api.replace((listener, address)).is_some()
            }
            _ => {
                let why = format!("is none of this gateway's: {HOOKS}, {AGENT} and {API}");
                return Err(wrong(name, why));
            }
        };
        if again {
            return Err(wrong(name, "came twice".to_owned()));
        }
        Ok(())
    }

    /// What the API is to be: as configured, or, where its socket unit was switched on, as if it were configured.
    pub fn api_config(&self, config: &Config) -> Result<Option<ApiConfig>, GatewayError> {
        match (&config.api, &self.api) {
            (Some(api), Some((_, address))) if api.listen != *address => {
                let why = format!("listens on {address}, and `api.listen` is {}", api.listen);
                Err(wrong(API.to_owned(), why))
            }
            (None, Some((_, address))) => Ok(Some(ApiConfig {
                listen: *address,
                ..ApiConfig::default()
            })),
            (api, _) => Ok(api.clone()),
        }
    }
}

fn wrong(name: String, why: String) -> GatewayError {
    let remedy =
        "Compare its unit (`systemctl cat defenseclaw-gateway*.socket`) with the configuration".to_owned();
    SocketsError::Wrong { name, why, remedy }.into()
}
