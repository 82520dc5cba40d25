//! Starts the gateway from its configuration and stops it in order.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use defenseclaw_audit::Ledger;
use defenseclaw_harness::contract::Contracts;
use defenseclaw_model::config::{ApiConfig, Config};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admission::{Admissions, lists};
use crate::agent::{AgentLink, Agents};
use crate::api::Api;
use crate::approvals::Approvals;
use crate::clock;
use crate::engine::{Engine, Parts, sandbox};
use crate::error::GatewayError;
use crate::judge::Judge;
use crate::ledger_writer::{Ended, LedgerWriter};
use crate::listen::{self, Socket};
use crate::pins::PinBook;
use crate::redact;
use crate::rules::RulesInForce;
use crate::server::Server;
use crate::sessions::Sessions;
use crate::slots::Slots;
use crate::token::Token;
use crate::watch::Watch;

/// Where in the state folder lasting approvals are kept.
const GRANTS: &str = "grants.json";
/// Where in the state folder the pins of MCP servers are kept.
const PINS: &str = "pins.db";
/// Where the API's token is kept unless the configuration says otherwise.
const TOKEN: &str = "api-token";
/// How long requests in flight may take to finish at the end. A decision waits at most one second for the agent.
const DRAIN: Duration = Duration::from_secs(5);
/// Threads for large payloads, the agent's batches and user look-ups. Few, because each has its own part of the heap.
const HELPERS: usize = 3;
/// How long such a thread waits for more work.
const HELPER_IDLE: Duration = Duration::from_secs(2);

/// Runs the gateway until it is told to stop (`SIGTERM`, `SIGINT`). `started` is called once everything is set up; the program
/// gives back then what only that needed.
pub fn run(config: &Config, allow_root: bool, started: fn()) -> Result<(), GatewayError> {
    if nix::unistd::geteuid().is_root() && !allow_root {
        return Err(GatewayError::Root);
    }
    // One thread answers everything that is short; what is long goes elsewhere.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(HELPERS)
        .thread_keep_alive(HELPER_IDLE)
        .build()
        .map_err(|source| GatewayError::System {
            what: "cannot start the event loop",
            source,
        })?;
    let gateway = {
        let _entered = runtime.enter();
        Gateway::start(config)?
    };
    started();
    runtime.block_on(gateway.run())
}

/// Everything that is set up before the first connection is taken.
struct Gateway {
    config: Config,
    engine: Arc<Engine>,
    agents: Arc<Agents>,
    link: Arc<AgentLink>,
    ledger: LedgerWriter,
    writer_ended: Ended,
    hooks: (Socket, UnixListener),
    agent: (Socket, UnixListener),
    loopback: Option<(TcpListener, Token)>,
}

impl Gateway {
    fn start(config: &Config) -> Result<Self, GatewayError> {
        let kept = lists::load(&config.state.join(lists::FILE))?;
        let rules = Arc::new(RulesInForce::start_with(config.policies.as_deref(), kept)?);
        Contracts::embedded().map_err(|error| GatewayError::Contract(error.clone()))?;
        check_sandboxes(config, &rules)?;
        redact::warm_up();
        if let Some(folder) = config.socket.parent() {
            listen::make_folder(folder, 0o755)?;
        }
        // Before the ledger is touched: a gateway that cannot listen leaves no trace. Who connects meanwhile waits.
        let hooks = Socket::bind(&config.socket, listen::FOR_ANYONE)?;
        let agent = Socket::bind(&config.agent_socket(), listen::FOR_THE_AGENT)?;
        listen::make_folder(&config.state, 0o750)?;
        let loopback = config
            .api
            .as_ref()
            .map(|api| loopback(api, &config.state))
            .transpose()?;
        let path = config.ledger();
        let ledger = Ledger::open(&path, config.durability)?;
        let sessions = Arc::new(Mutex::new(Sessions::rebuild(
            &path,
            rules.current().policy.risk(),
            clock::now_ns(),
        )?));
        let (ledger, writer_ended) =
            LedgerWriter::start(ledger, config.durability).map_err(|source| GatewayError::System {
                what: "cannot start the ledger's thread",
                source,
            })?;
        let judge = Judge::new(Arc::clone(&rules), Arc::clone(&sessions), path);
        let grants = config.state.join(GRANTS);
        let approvals = Arc::new(Approvals::new(&config.approvals, ledger.clone(), &grants));
        // Behind the ledger's lock: one gateway has the state folder.
        let pins = Arc::new(PinBook::open(&config.state.join(PINS))?);
        let link = Arc::new(AgentLink::default());
        let admissions = Arc::new(Admissions::start(
            config,
            Arc::clone(&rules),
            ledger.clone(),
            Arc::clone(&link),
        )?);
        let agents = Arc::new(Agents {
            admissions: Arc::clone(&admissions),
            link: Arc::clone(&link),
            sessions: Arc::clone(&sessions),
            ledger: ledger.clone(),
            judge: judge.clone(),
        });
        let engine = Arc::new(Engine::new(
            config,
            Parts {
                rules,
                ledger: ledger.clone(),
                sessions,
                judge,
                agent: Arc::clone(&link),
                approvals,
                admissions,
                pins,
            },
        ));
        Ok(Self {
            config: config.clone(),
            engine,
            agents,
            link,
            ledger,
            writer_ended,
            hooks,
            agent,
            loopback,
        })
    }

    async fn run(self) -> Result<(), GatewayError> {
        let signals = |kind| {
            signal(kind).map_err(|source| GatewayError::System {
                what: "cannot wait for signals",
                source,
            })
        };
        let (mut terminate, mut interrupt) = (
            signals(SignalKind::terminate())?,
            signals(SignalKind::interrupt())?,
        );
        record(&self.ledger, "started", self.summary()).await;
        tracing::info!("listening on {}", self.config.socket.display());

        let ((hook_socket, hooks), (agent_socket, agents)) = (self.hooks, self.agent);
        let hooks_watch =
            Watch::start(&self.config.state, self.ledger.clone()).map_err(|source| GatewayError::System {
                what: "cannot start the thread that watches installed hooks",
                source,
            })?;
        let (stop, stopping) = watch::channel(false);
        let slots = Arc::new(Slots::default());
        let config = &self.config;
        let api = Api::new(
            self.engine,
            &config.operators,
            config.approvals.by_owner,
            stopping.clone(),
        );
        let (loopback, token) = self.loopback.unzip();
        let server = Arc::new(Server::new(Arc::new(api), Arc::clone(&slots), token));
        let tcp =
            loopback.map(|listener| tokio::spawn(Arc::clone(&server).serve_tcp(listener, stopping.clone())));
        let mut server = tokio::spawn(server.serve(hooks, stopping));
        let own_uid = nix::unistd::geteuid().as_raw();
        let agents = tokio::spawn(self.agents.serve(agents, own_uid));
        let mut writer_ended = self.writer_ended;

        let reason = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = &mut writer_ended => return Err(GatewayError::Stopped("the ledger's writer")),
            _ = &mut server => return Err(GatewayError::Stopped("the server of hooks")),
        };
        tracing::info!("stopping on {reason}");
        let _ = stop.send(true);
        // The listeners go first, so that a hook client that comes now is told at once.
        let _ = server.await;
        if let Some(tcp) = tcp {
            let _ = tcp.await;
        }
        if tokio::time::timeout(DRAIN, slots.idle()).await.is_err() {
            let seconds = DRAIN.as_secs();
            tracing::warn!("requests are still in flight after {seconds} s; stopping all the same");
        }
        agents.abort();
        drop(hooks_watch);
        self.link.close("the gateway stops");
        record(&self.ledger, "stopped", reason.to_owned()).await;
        self.ledger.stop().await;
        let _ = writer_ended.await;
        drop((hook_socket, agent_socket));
        Ok(())
    }

    fn summary(&self) -> String {
        let mode = self.config.mode.as_str();
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "version {version}, mode {mode}, policy {}",
            self.engine.rules().current().policy.revision()
        )
    }
}

/// A room that nobody can open is said before the first call, not at it.
fn check_sandboxes(config: &Config, rules: &RulesInForce) -> Result<(), GatewayError> {
    for connector in config.connectors.keys() {
        let Some(profile) = config.sandbox_of(connector) else {
            continue;
        };
        let known = rules.current().policy.knows_profile(profile);
        known
            .and_then(|()| sandbox::possible(connector))
            .map_err(|why| GatewayError::Sandbox {
                connector: connector.clone(),
                why,
            })?;
    }
    Ok(())
}

/// The listener on loopback with its token, which is made if it is not there.
fn loopback(api: &ApiConfig, state: &Path) -> Result<(TcpListener, Token), GatewayError> {
    let listener = listen::loopback(api.listen)?;
    let file = api.token_file.clone().unwrap_or_else(|| state.join(TOKEN));
    let token = Token::load(&file)?;
    tracing::info!("listening on {}, for the token in {}", api.listen, file.display());
    Ok((listener, token))
}

async fn record(ledger: &LedgerWriter, state: &str, detail: String) {
    if let Err(error) = ledger.note("gateway", state, detail).await {
        tracing::error!("that the gateway has {state} could not be recorded: {error}");
    }
}
