//! `fetch-worker`: takes one package from its registry and has it scanned, for the gateway.
//!
//! ```text
//! gateway ─ starts, FetchTask on standard input ─> fetch-worker: closes itself to all but the network
//!                                                   ├─ starts ─> scan-worker: closed in, no network
//!                                                   ├─ registry: which file, its checksum; the file, into memory; compared
//!                                                   └─ the file's descriptor ─> scan-worker ─ report ─>
//!         <─ FetchOutcome on standard output ─
//! ```
//!
//! Whoever has the network reads what registries say, and nothing of what is in the package; whoever reads the package has nothing else.
//! One process fetches one package. It never sees a login: none is in its environment, and none is sent.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use defenseclaw_fetch::{FetchError, Package, Wanted, ask};
use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::gate::{PackageTask, WorkerReport, WorkerTask};
use defenseclaw_model::package::{FETCH_TASK, FetchOutcome, FetchTask, PackageRelease, PackageState};
use defenseclaw_sandbox::confine::{Bounds, ConfineError, close_to_network};
use defenseclaw_worker::{ScanError, Worker, message};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// How much this process may take: a package of 64 MiB, the copy of it that is handed on, and TLS.
const BOUNDS: Bounds = Bounds {
    memory: 1 << 30,
    cpu_s: 60,
    descriptors: 64,
};
/// Largest copy that is handed on (bytes): the largest package and what stands before it.
const MAX_COPY: u64 = (64 << 20) + (8 << 10);
/// What of the task's time a scan gets at least, however long fetching took.
const FOR_THE_SCAN: Duration = Duration::from_secs(2);

/// What names, certificates and starting the scanner need of this host.
const READABLE: &[&str] = &[
    "/usr",
    "/lib",
    "/lib64",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/dev/null",
    "/dev/urandom",
];

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
enum FetcherError {
    #[error("the task is not understood: {0}")]
    Task(String),
    #[error("where this program lies cannot be told: {0}")]
    Program(std::io::Error),
    #[error("this process could not be closed to the host, and fetches nothing: {0}")]
    Open(#[from] ConfineError),
    #[error("the outcome cannot be written: {0}")]
    Write(#[from] std::io::Error),
    #[error("the outcome has no form in JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Fetches one package. Exit status 0: an outcome was written.
pub fn run() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The gateway takes the end without an outcome for a failure; a person who tries it reads why.
            let _ = writeln!(std::io::stderr(), "defenseclaw-cli: fetch-worker: {error}");
            ExitCode::from(2)
        }
    }
}

fn work() -> Result<(), FetcherError> {
    let begun = Instant::now();
    // The gateway's thread that waits for this process ends with it.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let task = task()?;
    let program = std::env::current_exe().map_err(FetcherError::Program)?;
    closed(&program)?;
    let deadline = begun + Duration::from_millis(task.timeout_ms);
    let outcome = outcome(&task, &program, deadline);
    let mut out = std::io::stdout().lock();
    out.write_all(&serde_json::to_vec(&outcome)?)?;
    out.flush()?;
    Ok(())
}

fn task() -> Result<FetchTask, FetcherError> {
    let mut text = Vec::new();
    let most = FETCH_TASK as u64 + 1;
    std::io::stdin().lock().take(most).read_to_end(&mut text)?;
    if text.len() > FETCH_TASK {
        return Err(FetcherError::Task("it is larger than a task may be".to_owned()));
    }
    serde_json::from_slice(&text).map_err(|error| FetcherError::Task(error.to_string()))
}

fn closed(program: &Path) -> Result<(), ConfineError> {
    // Certificates and resolver settings may lie elsewhere, as this host says.
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| std::env::var_os(name).map(PathBuf::from));
    let resolver = Path::new("/etc/resolv.conf").canonicalize().ok();
    let own = named.into_iter().flatten().chain(resolver);
    let own: Vec<PathBuf> = own.chain([program.to_owned()]).collect();
    let fixed = READABLE.iter().map(Path::new);
    let readable: Vec<&Path> = fixed.chain(own.iter().map(PathBuf::as_path)).collect();
    close_to_network(BOUNDS, MAX_COPY, &readable).map(|_| ())
}

fn outcome(task: &FetchTask, program: &Path, deadline: Instant) -> FetchOutcome {
    let failed = |why, release, reason: String| FetchOutcome::Failed { why, release, reason };
    let wanted: Wanted = match task.package.parse() {
        Ok(wanted) => wanted,
        Err(error) => return failed(PackageState::Absent, None, format!("{error}")),
    };
    // It loads its rules while the registry is asked.
    let worker = Worker::start(program, None, Arc::default());
    let left = deadline.saturating_duration_since(Instant::now());
    let fetched = ask(
        &wanted,
        task.registry.as_deref(),
        left.saturating_sub(FOR_THE_SCAN),
    );
    let question = match fetched {
        Ok(question) => question,
        Err(error) => return failed(error.state(), None, error.to_string()),
    };
    let release = question.release();
    if task.known.contains(&release.integrity) {
        return FetchOutcome::Known { release };
    }
    let package = match question.take() {
        Ok(package) => package,
        Err(error) => return failed(state(&error), Some(release), error.to_string()),
    };
    match worker.and_then(|worker| scanned(worker, &wanted, &package, deadline)) {
        Ok(WorkerReport { report, .. }) => FetchOutcome::Scanned { release, report },
        Err(error) => failed(PackageState::Unscanned, Some(release), error.to_string()),
    }
}

/// The registry is known by now: what is missing is the file.
fn state(error: &FetchError) -> PackageState {
    match error.state() {
        PackageState::Absent => PackageState::Unreachable,
        other => other,
    }
}

fn scanned(
    mut worker: Worker,
    wanted: &Wanted,
    package: &Package,
    deadline: Instant,
) -> Result<WorkerReport, ScanError> {
    let PackageRelease { version, url, .. } = &package.release;
    let task = message(&WorkerTask {
        kind: ArtifactKind::Tool,
        name: wanted.name.clone(),
        path: url.clone(),
        connector: String::new(),
        package: Some(PackageTask {
            package: wanted.to_string(),
            version: version.clone(),
        }),
    })?;
    let copy = copied(package).map_err(ScanError::Start)?;
    worker.ask(&task, &copy, deadline)?;
    let json = worker.answer(deadline)?;
    serde_json::from_str(&json).map_err(|_| ScanError::Garbage("the report is none"))
}

/// The package as the one entry of a copy, in memory.
fn copied(package: &Package) -> Result<OwnedFd, std::io::Error> {
    let name = package.file_name.as_bytes();
    let too_long = |_| std::io::Error::other("the file's name is too long");
    let mut head = b"DCA1".to_vec();
    head.extend(u32::try_from(name.len()).map_err(too_long)?.to_le_bytes());
    head.extend(name);
    head.push(0);
    head.extend(0o644_u32.to_le_bytes());
    head.extend((package.bytes.len() as u64).to_le_bytes());
    let memory = memfd_create(c"package", MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&head)?;
    file.write_all(&package.bytes)?;
    Ok(file.into())
}
