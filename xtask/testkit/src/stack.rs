//! Gateway and agent of one build in one temporary folder.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use defenseclaw_model::api::Status;
use defenseclaw_model::config::{Durability, FailMode};
use defenseclaw_model::decision::Mode;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The gateway runs as nobody when the starter is root.
const NOBODY: u32 = 65534;
/// How long a daemon may take to be ready. Loading the sensor on a busy machine takes seconds.
const READY: Duration = Duration::from_secs(30);
/// The programs of a build.
const PROGRAMS: [&str; 5] = [
    "defenseclaw-gateway",
    "defenseclaw-agent",
    "defenseclaw-hook",
    "defenseclaw-shell",
    "defenseclaw-cli",
];

/// How to start a stack.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Folder with the programs; by default the one that `DEFENSECLAW_BIN_DIR` names, or `target/dist`.
    pub programs: Option<PathBuf>,
    /// Whether decisions take effect.
    pub mode: Mode,
    /// What the hook says when the gateway cannot be reached.
    pub fail_mode: FailMode,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// Whether the agent runs too (needs root).
    pub agent: bool,
    /// The sandbox of each connector's commands: connector and profile.
    pub sandboxes: Vec<(&'static str, &'static str)>,
    /// Further lines of the configuration.
    pub config: String,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            programs: None,
            mode: Mode::Action,
            fail_mode: FailMode::Closed,
            durability: Durability::Process,
            agent: true,
            sandboxes: Vec::new(),
            config: String::new(),
        }
    }
}

/// A running stack. Dropping it stops both daemons, unloads what the agent loaded, and removes the folder.
#[derive(Debug)]
pub struct Stack {
    folder: TempDir,
    options: StackOptions,
    gateway: Option<Child>,
    agent: Option<Child>,
    /// Whether an agent was started: one that is killed leaves its kernel programs, which slow down every system call of this host.
    loaded: bool,
    /// One stack at a time: two sensors would each see the other's sessions, and timings would blur.
    _alone: Flock<File>,
}

impl Stack {
    /// Starts the daemons and waits until they are ready.
    pub fn start(options: StackOptions) -> Result<Self> {
        let user = nix::unistd::geteuid();
        let lock = std::env::temp_dir().join(format!("defenseclaw-testkit-{user}.lock"));
        let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
        let alone = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .context("flock")?;
        let folder = tempfile::Builder::new()
            .prefix("defenseclaw-")
            .tempdir()
            .context("no temporary folder")?;
        let mut stack = Self {
            folder,
            options,
            gateway: None,
            agent: None,
            loaded: false,
            _alone: alone,
        };
        stack.prepare()?;
        stack.start_gateway()?;
        if stack.options.agent {
            stack.start_agent()?;
        }
        Ok(stack)
    }

    fn prepare(&self) -> Result<()> {
        let top = self.folder.path();
        fs::set_permissions(top, fs::Permissions::from_mode(0o755))?;
        for name in ["bin", "run", "state", "log"] {
            fs::create_dir(top.join(name))?;
        }
        if nix::unistd::geteuid().is_root() {
            for name in ["run", "state"] {
                chown(top.join(name), Some(NOBODY), Some(NOBODY))?;
            }
        }
        let source = match &self.options.programs {
            Some(folder) => folder.clone(),
            None => default_programs(),
        };
        let wanted = PROGRAMS
            .into_iter()
            .filter(|name| self.options.agent || *name != "defenseclaw-agent");
        for name in wanted {
            let from = source.join(name);
            // Copied, because the checkout may lie where nobody else may look.
            fs::copy(&from, self.program(name))
                .with_context(|| format!("no program {}: run `cargo xtask build`", from.display()))?;
        }
        // Where programs are as installed, a small one of the tool's name hands over to the tool.
        let whole = source.join("lib/defenseclaw-cli");
        if whole.is_file() {
            fs::create_dir(top.join("bin/lib"))?;
            fs::copy(&whole, top.join("bin/lib/defenseclaw-cli"))?;
        }
        let mut text = format!(
            // The homes of whoever runs this are not for tests to govern; those of its own sessions are.
            "mode: {}\nfail_mode: {}\ndurability: {}\ngate: {{ homes: [] }}\n",
            serde_json::to_value(self.options.mode)?
                .as_str()
                .unwrap_or_default(),
            serde_json::to_value(self.options.fail_mode)?
                .as_str()
                .unwrap_or_default(),
            self.options.durability.as_str(),
        );
        if !self.options.sandboxes.is_empty() {
            text.push_str("connectors:\n");
        }
        for (connector, profile) in &self.options.sandboxes {
            text.push_str(&format!("  {connector}: {{ sandbox: {profile} }}\n"));
        }
        text.push_str(&self.options.config);
        fs::write(top.join("config.yaml"), text)?;
        Ok(())
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join("bin").join(name)
    }

    /// The gateway's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/gateway.sock")
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("state/ledger.db")
    }

    /// What a daemon wrote to its standard output and error: `gateway` or `agent`.
    pub fn log(&self, daemon: &str) -> String {
        fs::read_to_string(self.folder.path().join("log").join(daemon)).unwrap_or_default()
    }

    /// The hook's command line, as a harness's settings hold it.
    pub fn hook_command(&self) -> String {
        format!("{} claude-code", self.program("defenseclaw-hook").display())
    }

    /// What programs of this stack, and harnesses under it, need in their environment.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let top = self.folder.path();
        let fail = if self.options.fail_mode == FailMode::Open {
            "open"
        } else {
            "closed"
        };
        vec![
            ("DEFENSECLAW_SOCKET", self.socket().display().to_string()),
            ("DEFENSECLAW_STATE", top.join("state").display().to_string()),
            (
                "DEFENSECLAW_CONFIG",
                top.join("config.yaml").display().to_string(),
            ),
            ("DEFENSECLAW_FAIL_MODE", fail.to_owned()),
        ]
    }

    /// A command with one of the stack's programs, in the stack's environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command.envs(self.environment());
        command
    }

    /// Runs the operator's tool and returns its standard output.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let output = self
            .command("defenseclaw-cli")
            .args(arguments)
            .env("NO_COLOR", "1")
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "defenseclaw-cli {} failed: {}\n{text}{errors}",
                arguments.join(" "),
                output.status
            );
        }
        Ok(text)
    }

    fn spawn(&self, program: &str, log: &str) -> Result<Child> {
        let path = self.folder.path().join("log").join(log);
        let log = File::options().create(true).append(true).open(&path)?;
        let mut command = self.command(program);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir("/");
        if program == "defenseclaw-gateway" && nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().with_context(|| format!("cannot start {program}"))
    }

    /// Starts the gateway and waits until it answers.
    pub fn start_gateway(&mut self) -> Result<()> {
        self.gateway = Some(self.spawn("defenseclaw-gateway", "gateway")?);
        self.wait("the gateway to answer", |_| true)
    }

    /// Starts the agent and waits until the gateway has it.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(self.spawn("defenseclaw-agent", "agent")?);
        self.loaded = true;
        self.wait("the agent to connect", |status| status.agent.is_some())
    }

    /// Waits until the gateway's status is as it should be.
    pub fn wait(&mut self, what: &str, ready: impl Fn(&Status) -> bool) -> Result<()> {
        let deadline = Instant::now() + READY;
        let mut last = None;
        while Instant::now() < deadline {
            match self.status() {
                Ok(status) if ready(&status) => return Ok(()),
                other => last = Some(other),
            }
            let ended =
                |child: &mut Option<Child>| child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let ended = ended(&mut self.gateway).or_else(|| ended(&mut self.agent));
            if let Some(status) = ended {
                bail!(
                    "a daemon ended ({status}) while waiting for {what}\n{}",
                    self.logs()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "waited {} s for {what}; last status: {last:?}\n{}",
            READY.as_secs(),
            self.logs()
        )
    }

    /// `GET /v1/status`.
    pub fn status(&self) -> Result<Status> {
        let body = get(&self.socket(), "/v1/status")?;
        serde_json::from_slice(&body).context("the gateway's status is not as expected")
    }

    /// Waits until everything that the kernel saw so far is in the ledger: the agent's backlog is empty and the number
    /// of records has stood still for half a second.
    pub fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        let (mut records, mut since) = (0, Instant::now());
        while Instant::now() < deadline {
            let status = self.status()?;
            let backlog = status.agent.as_ref().map_or(0, |agent| agent.backlog);
            if status.ledger.records != records || backlog > 0 {
                (records, since) = (status.ledger.records, Instant::now());
            } else if since.elapsed() > Duration::from_millis(500) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "the ledger did not come to rest within {} s\n{}",
            READY.as_secs(),
            self.logs()
        )
    }

    /// The gateway's pid.
    pub fn gateway_pid(&self) -> Option<u32> {
        self.gateway.as_ref().map(Child::id)
    }

    /// The agent's pid.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// Ends the gateway with a signal and reaps it.
    pub fn end_gateway(&mut self, signal: Signal) -> Result<()> {
        end(&mut self.gateway, signal)
    }

    /// Ends the agent with a signal and reaps it.
    pub fn end_agent(&mut self, signal: Signal) -> Result<()> {
        end(&mut self.agent, signal)
    }

    /// Stops both daemons in good order: the agent first, so that its last records still arrive.
    pub fn stop(&mut self) -> Result<()> {
        self.end_agent(Signal::SIGTERM)?;
        self.end_gateway(Signal::SIGTERM)
    }

    /// Both logs, for a person.
    pub fn logs(&self) -> String {
        format!(
            "--- gateway log ---\n{}--- agent log ---\n{}",
            self.log("gateway"),
            self.log("agent")
        )
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping the stack: {error:#}");
        }
        if self.loaded {
            match self.command("defenseclaw-agent").arg("unload").output() {
                Ok(output) if output.status.success() => {}
                failed => eprintln!("unloading the stack's kernel programs: {failed:?}"),
            }
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Sends a signal and waits; after ten seconds the child is killed, and that is an error.
fn end(child: &mut Option<Child>, signal: Signal) -> Result<()> {
    let Some(mut child) = child.take() else {
        return Ok(());
    };
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    kill(Pid::from_raw(i32::try_from(child.id())?), signal).context("cannot signal a daemon")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    bail!("a daemon did not end within 10 s of {signal}")
}

/// One of the programs of a build, where it was built to.
pub fn program(name: &str) -> Result<PathBuf> {
    let program = default_programs().join(name);
    if !program.is_file() {
        bail!("no program {}: run `cargo xtask build`", program.display());
    }
    Ok(program)
}

/// `target/dist` of the checkout that this crate was built from, unless `DEFENSECLAW_BIN_DIR` says otherwise.
pub fn default_programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("DEFENSECLAW_BIN_DIR") {
        return folder.into();
    }
    target_folder().join("dist")
}

/// Cargo's output folder.
pub fn target_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    // target/PROFILE/program, target/PROFILE/deps/test
    let found = own
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    found.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        Path::to_owned,
    )
}

/// The body of a `GET` over a Unix socket.
pub fn get(socket: &Path, path: &str) -> Result<Vec<u8>> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("no gateway at {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    if !head.starts_with("HTTP/1.1 200") {
        bail!(
            "GET {path} was answered {}",
            head.lines().next().unwrap_or_default()
        );
    }
    Ok(answer.split_off(end + 4))
}
