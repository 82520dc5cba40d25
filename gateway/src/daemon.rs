//! Starts the gateway from its configuration and stops it in order.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use defenseclaw_audit::Ledger;
use defenseclaw_harness::contract::Contracts;
use defenseclaw_model::config::{ApiConfig, Config};
use defenseclaw_model::gate::ListEntry;
use defenseclaw_service::Notifier;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admission::{Admissions, lists};
use crate::agent::{AgentLink, Agents};
use crate::alive::{self, Alive};
use crate::api::Api;
use crate::approvals::Approvals;
use crate::bundle::{self, Bundles};
use crate::clock;
use crate::engine::{Engine, Parts, sandbox};
use crate::error::GatewayError;
use crate::held::Held;
use crate::judge::Judge;
use crate::ledger_writer::{Ended, LedgerWriter};
use crate::listen::{self, Socket};
use crate::packages::Packages;
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
/// Most threads that decide at the same time: a few cores of a host are enough for its agents, and each has its own part of the heap.
const WORKERS: usize = 4;
/// Threads for large payloads, the agent's batches and user look-ups. Few, because each has its own part of the heap.
const HELPERS: usize = 3;
/// How long such a thread waits for more work.
const HELPER_IDLE: Duration = Duration::from_secs(2);

/// Runs the gateway until it is told to stop (`SIGTERM`, `SIGINT`). `SIGHUP` has it read its rules again. `started` is called once
/// everything is set up; the program gives back then what only that needed.
pub fn run(config: &Config, allow_root: bool, started: fn()) -> Result<(), GatewayError> {
    if nix::unistd::geteuid().is_root() && !allow_root {
        return Err(GatewayError::Root);
    }
    // These threads answer everything that is short; what is long goes elsewhere.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.min(WORKERS))
        .thread_name("decide")
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

/// A listener, and what removes its file at the end; the service manager's stays.
type Listening = (Option<Socket>, UnixListener);

/// Everything that is set up before the first connection is taken.
struct Gateway {
    config: Config,
    engine: Arc<Engine>,
    agents: Arc<Agents>,
    link: Arc<AgentLink>,
    ledger: LedgerWriter,
    writer_ended: Ended,
    hooks: Listening,
    agent: Listening,
    loopback: Option<(TcpListener, Token)>,
}

impl Gateway {
    fn start(config: &Config) -> Result<Self, GatewayError> {
        let kept = lists::load(&config.state.join(lists::FILE))?;
        let mut bundle = bundle::Kept::load(config)?;
        let rules = Arc::new(first_rules(config, kept, bundle.as_mut())?);
        Contracts::embedded().map_err(|error| GatewayError::Contract(error.clone()))?;
        check_sandboxes(config, &rules)?;
        redact::warm_up();
        // Before the ledger is touched: a gateway that cannot listen leaves no trace. Who connects meanwhile waits.
        let held = Held::take(config)?;
        let api = held.api_config(config)?;
        let hooks = listening(held.hooks, &config.socket, listen::FOR_ANYONE)?;
        let agent = listening(held.agent, &config.agent_socket(), listen::FOR_THE_AGENT)?;
        listen::make_folder(&config.state, 0o750)?;
        let held = held.api.map(|(listener, _)| listener);
        let loopback = api.map(|api| loopback(held, &api, &config.state)).transpose()?;
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
        if let Some(bundle) = bundle {
            let told = Arc::clone(&admissions);
            let changed = move || told.rules_changed();
            let bundles = Bundles::start(bundle, Arc::clone(&rules), ledger.clone(), changed);
            rules.keep_bundles(bundles.map_err(|source| GatewayError::System {
                what: "cannot start the thread that keeps policy bundles",
                source,
            })?);
        }
        let agents = Arc::new(Agents {
            admissions: Arc::clone(&admissions),
            link: Arc::clone(&link),
            sessions: Arc::clone(&sessions),
            ledger: ledger.clone(),
            judge: judge.clone(),
            appending: tokio::sync::Mutex::default(),
        });
        let packages = Packages::new(&config.installs, ledger.clone());
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
                packages,
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
        let mut signals = Signals::new()?;
        let notifier = Arc::new(Notifier::from_environment());
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
        let engine = Arc::clone(&self.engine);
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

        let status = format!("decides in mode {}", self.config.mode.as_str());
        alive::ask_over(&self.config.socket)
            .await
            .map_err(|source| GatewayError::Deaf {
                socket: self.config.socket.clone(),
                source,
            })?;
        notifier.ready(&status);
        let alive = Alive::new(Arc::clone(engine.rules()), self.ledger.clone());
        let signs = tokio::spawn(alive.give_signs(Arc::clone(&notifier), status.clone()));
        let reason = loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::Stop(reason) => break reason,
                    Told::Reload => reload(&engine, &notifier, &status).await,
                },
                _ = &mut writer_ended => return Err(GatewayError::Stopped("the ledger's writer")),
                _ = &mut server => return Err(GatewayError::Stopped("the server of hooks")),
            }
        };
        tracing::info!("stopping on {reason}");
        notifier.stopping("finishes what is in flight");
        signs.abort();
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
        if let Some(bundles) = engine.rules().bundles() {
            bundles.stop();
        }
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

/// The rules to start with. A bundle that no longer fits this host or this program is no reason not to start: what there is beside it
/// decides then, and that is said.
fn first_rules(
    config: &Config,
    kept: Vec<ListEntry>,
    bundle: Option<&mut bundle::Kept>,
) -> Result<RulesInForce, GatewayError> {
    let folder = config.policies.as_deref();
    if let Some(bundle) = bundle
        && let Some(files) = bundle.files()
    {
        match RulesInForce::start_layers(folder, Some(files), kept.clone()) {
            Ok(rules) => return Ok(rules),
            Err(error) => bundle.complain(error.to_string()),
        }
    }
    Ok(RulesInForce::start_with(folder, kept)?)
}

/// What a signal asks for.
enum Told {
    Stop(&'static str),
    Reload,
}

/// The signals that the gateway obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, GatewayError> {
        let signals = |kind| {
            signal(kind).map_err(|source| GatewayError::System {
                what: "cannot wait for signals",
                source,
            })
        };
        Ok(Self {
            terminate: signals(SignalKind::terminate())?,
            interrupt: signals(SignalKind::interrupt())?,
            hangup: signals(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// Reads the rules again. Those that are refused change nothing, and the manager shows that.
async fn reload(engine: &Arc<Engine>, notifier: &Notifier, status: &str) {
    notifier.reloading("reads its rules again");
    let rules = Arc::clone(engine.rules());
    let outcome = tokio::task::spawn_blocking(move || rules.reload()).await;
    let (state, detail) = match outcome {
        Ok(Ok((before, now))) => {
            engine.admissions().rules_changed();
            (
                "policy_reloaded",
                format!("policy {now}, before {before}; by SIGHUP"),
            )
        }
        Ok(Err(error)) => (
            "policy_refused",
            format!("those before stay in force: {error}; by SIGHUP"),
        ),
        Err(error) => ("policy_refused", format!("it failed inside: {error}; by SIGHUP")),
    };
    tracing::info!("{state}: {detail}");
    record(engine.ledger(), state, detail).await;
    notifier.ready(&match state {
        "policy_refused" => format!("{status}; the new rules were refused, those before stay in force"),
        _ => status.to_owned(),
    });
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

/// The service manager's listener, else one of our own.
fn listening(held: Option<UnixListener>, path: &Path, mode: u32) -> Result<Listening, GatewayError> {
    if let Some(listener) = held {
        return Ok((None, listener));
    }
    if let Some(folder) = path.parent() {
        listen::make_folder(folder, 0o755)?;
    }
    Socket::bind(path, mode).map(|(socket, listener)| (Some(socket), listener))
}

/// The listener on loopback with its token, which is made if it is not there.
fn loopback(
    held: Option<TcpListener>,
    api: &ApiConfig,
    state: &Path,
) -> Result<(TcpListener, Token), GatewayError> {
    let listener = held.map_or_else(|| listen::loopback(api.listen), Ok)?;
    let file = api.token_file.clone().unwrap_or_else(|| state.join(TOKEN));
    let token = Token::load(&file)?;
    tracing::info!("listening on {}, for the token in {}", api.listen, file.display());
    Ok((listener, token))
}

async fn record(ledger: &LedgerWriter, state: &str, detail: String) {
    if let Err(error) = ledger.note("gateway", state, detail).await {
        tracing::error!("gateway {state}: could not be recorded: {error}");
    }
}
