//! Packages that a call would install: fetched from their registry and scanned, before the call is let through.
//!
//! | Module | Holds |
//! |---|---|
//! | `wanted` | which packages of a call are looked at, and how their versions compare |
//! | `worker` | the process that fetches one and has it scanned |
//!
//! ```text
//! call ─ facts.installs ─> look: known and fresh? ─ yes ─> input.packages ─> policy
//!                            └ no ─> queue ─> thread ─> fetch-worker ─> record ─> known
//! ```
//!
//! The gateway itself has no network and opens no package. A call waits for `installs.timeout_ms`; what takes longer goes on, and the policy
//! is told that it does. A report is kept under name and checksum, and what a registry said under name and version: a registry that gives another
//! file under the same name gives one that was not scanned.

mod wanted;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use defenseclaw_model::api::PackagesStatus;
use defenseclaw_model::config::{InstallFetch, InstallsConfig};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::facts::{Ecosystem, Install};
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::package::{
    FetchOutcome, FetchTask, PackageFact, PackageRelease, PackageState, VersionFit,
};
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::scan::{ScanReport, ScanVerdict};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::admission::report;
use crate::clock;
use crate::ledger_writer::{Bundle, LedgerWriter};
use crate::redact;
use wanted::Asked;

/// Packages that are fetched at the same time: each is a process with a scanner beside it.
const AT_ONCE: usize = 2;
/// Packages that may wait.
const MAX_PENDING: usize = 64;
/// Of them, those of one user's calls.
const MAX_PENDING_OF_USER: usize = 32;
/// Packages of one call that are looked at; a call with more is put before a person.
const MAX_OF_CALL: usize = 16;
/// Answers of registries that are remembered, and reports.
const MAX_REMEMBERED: usize = 2_048;
/// How long a failure is remembered before the registry is asked again.
const FAILED_FOR: Duration = Duration::from_secs(30);
/// Findings of a package that the policy and a person are told.
const MAX_TOLD: usize = 5;
/// Findings of a package that are recorded.
const MAX_RECORDED: usize = 20;
/// Longest text about a package (bytes).
const MAX_TEXT: usize = 400;
/// From which severity on something that was found refuses an installation, for the counter in `status`.
const REFUSES: Severity = Severity::High;

/// The packages of one call.
#[derive(Debug, Clone)]
pub struct OfCall {
    asked: Vec<Asked>,
    /// When the call came: what a registry said since is fresh enough for it.
    since: Instant,
    uid: u32,
    session: SessionId,
}

/// What was fetched, what is known of it, what waits.
pub struct Packages {
    config: InstallsConfig,
    program: PathBuf,
    ledger: LedgerWriter,
    runtime: Handle,
    state: Mutex<State>,
    /// Something was learned.
    learned: Notify,
}

/// What a scan came to.
#[derive(Debug, Clone)]
struct Scan {
    verdict: ScanVerdict,
    findings: Vec<String>,
    detail: String,
}

/// What a registry said of a package, and when.
#[derive(Debug, Clone)]
struct Answer {
    at: Instant,
    release: PackageRelease,
    /// `Scanned`, or why there is no scan.
    state: PackageState,
    scan: Option<Scan>,
    detail: String,
}

#[derive(Debug)]
struct Waiting {
    uid: u32,
    session: SessionId,
}

#[derive(Debug, Default)]
struct State {
    /// By the package as the worker is asked for it.
    answers: HashMap<String, Answer>,
    /// In the order in which they came, the oldest first; a package may stand there more than once.
    order: VecDeque<String>,
    /// By name and checksum: the version is in the file.
    scans: HashMap<String, Scan>,
    scan_order: VecDeque<String>,
    waiting: HashMap<String, Waiting>,
    queue: VecDeque<String>,
    running: usize,
    scanned: u64,
    found: u64,
    failed: u64,
    last_failure: String,
}

impl Packages {
    /// Nothing is fetched until a call asks. Called within the runtime that the ledger's writer answers to.
    pub fn new(config: &InstallsConfig, ledger: LedgerWriter) -> Arc<Self> {
        Arc::new(Self {
            config: config.clone(),
            program: worker::program(),
            ledger,
            runtime: Handle::current(),
            state: Mutex::default(),
            learned: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packages of a call that are to be looked at; `None`: there are none, or nothing is fetched here.
    pub fn of_call(
        &self,
        installs: &[Install],
        session: &SessionId,
        uid: u32,
        since: Instant,
    ) -> Option<OfCall> {
        if self.config.fetch == InstallFetch::Off || installs.is_empty() {
            return None;
        }
        let asked = wanted::packages(installs, &self.config.registries);
        (!asked.is_empty()).then(|| OfCall {
            asked,
            since,
            uid,
            session: session.clone(),
        })
    }

    /// Waits until all of a call's packages are known, or the time for that is over.
    pub async fn wait(self: &Arc<Self>, of: &OfCall) -> Vec<PackageFact> {
        let deadline = of.since + Duration::from_millis(self.config.timeout_ms);
        loop {
            let learned = self.learned.notified();
            tokio::pin!(learned);
            // Before looking: what is learned between the look and the wait is heard.
            learned.as_mut().enable();
            let facts = self.look(of);
            let known = facts.iter().all(|fact| fact.state != PackageState::Scanning);
            if known || tokio::time::timeout_at(deadline.into(), learned).await.is_err() {
                return facts;
            }
        }
    }

    /// What is known of a call's packages now. What is not known, or not fresh, is fetched.
    pub fn look(self: &Arc<Self>, of: &OfCall) -> Vec<PackageFact> {
        let mut state = self.state();
        let mut facts = Vec::with_capacity(of.asked.len());
        for (place, asked) in of.asked.iter().enumerate() {
            let package = asked.package();
            let fact = if asked.elsewhere {
                let detail = "the call names another registry than the one that is asked here; name it in the \
                              configuration (installs.registries) if it is to be trusted";
                self.without(asked, PackageState::Elsewhere, detail)
            } else if let Some(answer) = self.fresh(&state, &package, of.since) {
                self.fact(asked, answer)
            } else if place >= MAX_OF_CALL {
                let detail = format!("a call's first {MAX_OF_CALL} packages are looked at, and it has more");
                self.without(asked, PackageState::Busy, &detail)
            } else if state.enqueue(&package, of) {
                self.without(asked, PackageState::Scanning, "")
            } else {
                let detail = "too many packages wait to be fetched; try again when they are done";
                self.without(asked, PackageState::Busy, detail)
            };
            facts.push(fact);
        }
        while state.running < AT_ONCE && state.running < state.waiting.len() && !state.queue.is_empty() {
            state.running += 1;
            let packages = Arc::clone(self);
            let thread = std::thread::Builder::new().name("packages".into());
            if let Err(error) = thread.spawn(move || packages.work()) {
                tracing::error!("no thread for fetching packages: {error}");
                state.running -= 1;
                break;
            }
        }
        facts
    }

    /// What was said of a package, if that is fresh enough for a call that came at `since`.
    fn fresh<'s>(&self, state: &'s State, package: &str, since: Instant) -> Option<&'s Answer> {
        let answer = state.answers.get(package)?;
        let fresh = Duration::from_secs(self.config.fresh_s);
        let fresh = match answer.state {
            PackageState::Scanned => fresh,
            _ => fresh.min(FAILED_FOR),
        };
        (answer.at >= since || answer.at.elapsed() < fresh).then_some(answer)
    }

    fn without(&self, asked: &Asked, state: PackageState, detail: &str) -> PackageFact {
        PackageFact {
            ecosystem: asked.ecosystem,
            name: asked.name.clone(),
            state,
            version: String::new(),
            integrity: String::new(),
            fit: VersionFit::Other,
            severity: Severity::None,
            confidence: 100,
            findings: Vec::new(),
            detail: detail.to_owned(),
            unreachable: self.config.unreachable,
        }
    }

    fn fact(&self, asked: &Asked, answer: &Answer) -> PackageFact {
        let mut fact = self.without(asked, answer.state, &answer.detail);
        fact.version.clone_from(&answer.release.version);
        fact.integrity.clone_from(&answer.release.integrity);
        if let Some(scan) = &answer.scan {
            fact.fit = asked.fit(&answer.release.version);
            fact.severity = scan.verdict.severity;
            fact.confidence = scan.verdict.confidence;
            fact.findings.clone_from(&scan.findings);
            fact.detail.clone_from(&scan.detail);
        }
        fact
    }

    /// Fetches what waits, until nothing does.
    fn work(&self) {
        loop {
            let (package, known) = {
                let mut state = self.state();
                let Some(package) = state.queue.pop_front() else {
                    state.running -= 1;
                    return;
                };
                let known = state.integrities(&package);
                (package, known)
            };
            let begun = Instant::now();
            let task = FetchTask {
                registry: self.registry(&package),
                timeout_ms: self.config.fetch_timeout_ms,
                known,
                package: package.clone(),
            };
            let outcome = worker::fetch(&self.program, &task);
            self.learn(&package, outcome, begun);
        }
    }

    fn registry(&self, package: &str) -> Option<String> {
        let ecosystems = [Ecosystem::Npm, Ecosystem::Pypi, Ecosystem::Crates];
        let of = package.split(':').next().unwrap_or_default();
        let ecosystem = ecosystems.into_iter().find(|one| one.as_str() == of)?;
        wanted::registry(ecosystem, &self.config.registries).map(str::to_owned)
    }

    /// Records what came of a package, and then knows it.
    fn learn(&self, package: &str, outcome: FetchOutcome, begun: Instant) {
        let (release, state, mut report, detail) = match outcome {
            FetchOutcome::Known { release } => (release, PackageState::Scanned, None, String::new()),
            FetchOutcome::Scanned { release, report } => {
                (release, PackageState::Scanned, Some(report), String::new())
            }
            FetchOutcome::Failed { why, release, reason } => (
                release.unwrap_or_default(),
                why,
                None,
                report::text(&reason, MAX_TEXT),
            ),
        };
        let mut answer = Answer {
            at: begun,
            release: tidy(release),
            state,
            scan: None,
            detail,
        };
        if let Some(Err(why)) = report.as_mut().map(report::tidy) {
            answer.state = PackageState::Unscanned;
            answer.detail =
                format!("the scanner's report holds {why}; it may have been taken over by what it read");
            report = None;
        }
        let key = format!("{}\n{}", name_of(package), answer.release.integrity);
        let known = self.state().scans.get(&key).cloned();
        answer.scan = report.as_ref().map(scan_of).or(known);
        if answer.state == PackageState::Scanned && answer.scan.is_none() {
            // The worker was told of a report that is no longer there: the next call has it scanned again.
            answer.state = PackageState::Unscanned;
            "its report was forgotten meanwhile; try again".clone_into(&mut answer.detail);
        }
        // A registry that only says again what is known is worth no record.
        if (report.is_some() || answer.state != PackageState::Scanned)
            && !self.record(package, &answer, report, begun)
        {
            answer.state = PackageState::Unscanned;
            answer.scan = None;
            "what came of it could not be recorded".clone_into(&mut answer.detail);
        }
        // Fresh from now on: the registry was asked after this began.
        self.state().remember(package, key, answer);
        self.learned.notify_waiters();
    }

    /// Whether it is in the ledger.
    fn record(&self, package: &str, answer: &Answer, report: Option<ScanReport>, begun: Instant) -> bool {
        let session = self
            .state()
            .waiting
            .get(package)
            .map(|waiting| waiting.session.clone());
        let findings = report.map(|report| report.findings).unwrap_or_default();
        let draft = |body| Draft {
            time_ns: clock::now_ns(),
            session: session.clone(),
            call: None,
            body,
        };
        let mut bundle = Bundle::one(draft(RecordBody::Package {
            package: redact::tool(package),
            state: answer.state,
            release: (!answer.release.version.is_empty()).then(|| answer.release.clone()),
            severity: answer
                .scan
                .as_ref()
                .map_or(Severity::None, |scan| scan.verdict.severity),
            findings: findings.len() as u64,
            scan_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            detail: answer.detail.clone(),
        }));
        for finding in findings.iter().take(MAX_RECORDED) {
            let mut finding = report::finding_of(finding);
            redact::finding(&mut finding);
            let about_seq = None;
            bundle.push_about(draft(RecordBody::Finding { finding, about_seq }), 0);
        }
        match self.runtime.block_on(self.ledger.append(bundle)) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("what came of {package} could not be recorded: {error}");
                false
            }
        }
    }

    /// What `status` says.
    pub fn status(&self) -> PackagesStatus {
        let state = self.state();
        PackagesStatus {
            fetch: self.config.fetch,
            pending: state.waiting.len() as u64,
            scanned: state.scanned,
            found: state.found,
            failed: state.failed,
            last_failure: state.last_failure.clone(),
        }
    }
}

impl State {
    /// Whether it waits, or is under way.
    fn enqueue(&mut self, package: &str, of: &OfCall) -> bool {
        if self.waiting.contains_key(package) {
            return true;
        }
        let own = self
            .waiting
            .values()
            .filter(|waiting| waiting.uid == of.uid)
            .count();
        if self.waiting.len() >= MAX_PENDING || own >= MAX_PENDING_OF_USER {
            return false;
        }
        let waiting = Waiting {
            uid: of.uid,
            session: of.session.clone(),
        };
        self.waiting.insert(package.to_owned(), waiting);
        self.queue.push_back(package.to_owned());
        true
    }

    /// Checksums under this name of which a report is there.
    fn integrities(&self, package: &str) -> Vec<String> {
        /// Most that a worker is told: a task has a bound.
        const MOST: usize = 32;
        let start = format!("{}\n", name_of(package));
        let keys = self.scan_order.iter().rev().filter(|key| key.starts_with(&start));
        keys.filter_map(|key| key.rsplit('\n').next().map(str::to_owned))
            .take(MOST)
            .collect()
    }

    fn remember(&mut self, package: &str, key: String, answer: Answer) {
        self.waiting.remove(package);
        match answer.state {
            PackageState::Scanned => {
                self.scanned += 1;
                let severity = answer.scan.as_ref().map(|scan| scan.verdict.severity);
                self.found += u64::from(severity.is_some_and(|severity| severity >= REFUSES));
                self.last_failure.clear();
            }
            _ => {
                self.failed += 1;
                self.last_failure = format!("{package}: {}", answer.detail);
            }
        }
        if let Some(scan) = &answer.scan
            && self.scans.insert(key.clone(), scan.clone()).is_none()
        {
            self.scan_order.push_back(key);
            if self.scan_order.len() > MAX_REMEMBERED
                && let Some(oldest) = self.scan_order.pop_front()
            {
                self.scans.remove(&oldest);
            }
        }
        if self.answers.insert(package.to_owned(), answer).is_none() {
            self.order.push_back(package.to_owned());
            if self.order.len() > MAX_REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.answers.remove(&oldest);
            }
        }
    }
}

/// `npm:left-pad` of `npm:left-pad@1.3.0`: what reports are kept under, whatever version a call names.
fn name_of(package: &str) -> &str {
    let start = package.find(':').map_or(0, |at| at + 1);
    let rest = package.get(start..).unwrap_or_default();
    let scoped = usize::from(rest.starts_with('@'));
    let end = rest
        .get(scoped..)
        .and_then(|rest| rest.find(['@', '=']))
        .map(|at| at + scoped);
    match end {
        Some(end) => package.get(..start + end).unwrap_or(package),
        None => package,
    }
}

/// What a registry says is somebody else's text.
fn tidy(release: PackageRelease) -> PackageRelease {
    PackageRelease {
        version: report::text(&release.version, 128),
        integrity: report::text(&release.integrity, 128),
        url: report::text(&release.url, MAX_TEXT),
    }
}

/// `report` was tidied.
fn scan_of(report: &ScanReport) -> Scan {
    let told = report
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::None);
    let findings: Vec<String> = told
        .clone()
        .take(MAX_TOLD)
        .map(|finding| format!("{} in {}:{}", finding.rule, inner(&finding.file), finding.line))
        .collect();
    let detail = told.clone().next().map_or_else(String::new, |worst| {
        format!("{} ({} in {})", worst.message, worst.rule, inner(&worst.file))
    });
    Scan {
        verdict: report.verdict,
        findings,
        detail: report::text(&detail, MAX_TEXT),
    }
}

/// The path in the package.
fn inner(path: &str) -> &str {
    path.rsplit_once("!/").map_or(path, |(_, inner)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_kept_under_a_name_without_its_version() {
        for (package, name) in [
            ("npm:pad", "npm:pad"),
            ("npm:pad@1.0.0", "npm:pad"),
            ("npm:@a/pad", "npm:@a/pad"),
            ("npm:@a/pad@latest", "npm:@a/pad"),
            ("pypi:pad==1.0", "pypi:pad"),
            ("crates:pad@1.0.0", "crates:pad"),
        ] {
            assert_eq!(name_of(package), name);
        }
    }

    fn of_user(uid: u32) -> OfCall {
        OfCall {
            asked: Vec::new(),
            since: Instant::now(),
            uid,
            session: "claude-code/s".parse().unwrap(),
        }
    }

    #[test]
    fn one_user_leaves_room_for_others_and_all_leave_some_memory() {
        let mut state = State::default();
        let taken = |state: &mut State, uid| {
            (0..MAX_PENDING)
                .filter(|number| state.enqueue(&format!("npm:{uid}-{number}"), &of_user(uid)))
                .count()
        };
        assert_eq!(taken(&mut state, 1), MAX_PENDING_OF_USER);
        assert!(
            state.enqueue("npm:1-0", &of_user(1)),
            "what waits already waits for all"
        );
        assert_eq!(taken(&mut state, 2), MAX_PENDING_OF_USER);
        assert_eq!(taken(&mut state, 3), 0);
        assert_eq!(state.queue.len(), MAX_PENDING);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut state = State::default();
        let release = |integrity: String| PackageRelease {
            version: "1".to_owned(),
            integrity,
            url: String::new(),
        };
        for number in 0..MAX_REMEMBERED + 10 {
            let package = format!("npm:p{number}");
            let answer = Answer {
                at: Instant::now(),
                release: release(number.to_string()),
                state: PackageState::Scanned,
                scan: Some(Scan {
                    verdict: ScanVerdict::default(),
                    findings: Vec::new(),
                    detail: String::new(),
                }),
                detail: String::new(),
            };
            state.remember(&package, format!("{package}\n{number}"), answer);
        }
        assert_eq!(state.answers.len(), MAX_REMEMBERED);
        assert_eq!(
            (state.scans.len(), state.order.len()),
            (MAX_REMEMBERED, MAX_REMEMBERED)
        );
        assert!(state.integrities("npm:p0").is_empty());
        assert_eq!(state.integrities("npm:p2000@1"), ["2000"]);
    }
}
