//! Hosts for tests: a folder with files, and answers that are laid down beforehand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use defenseclaw_model::api::{GateStatus, HookCounters, LedgerStatus, Status};
use defenseclaw_model::config::Config;
use defenseclaw_model::decision::Mode;
use defenseclaw_model::wire::{AgentStatus, Counters, FamilyStatus, Tier};
use defenseclaw_run::settings::Settings;

use super::host::{Clock, Facts, Held, Host, Probes, Ran, Space};

/// 2026-11-21T10:00:00Z.
pub(super) const NOW: u64 = 1_795_255_200_000_000_000;

#[derive(Default)]
struct Answers {
    programs: BTreeMap<String, Ran>,
    space: Option<Space>,
}

struct Laid(Rc<RefCell<Answers>>);

impl Probes for Laid {
    fn run(&self, program: &Path, arguments: &[&str]) -> Ran {
        let line = format!("{} {}", program.display(), arguments.join(" "));
        let answers = self.0.borrow();
        let mut known = answers.programs.iter();
        known
            .find(|(begin, _)| line.starts_with(begin.as_str()))
            .map_or(Ran::Absent, |(_, answer)| answer.clone())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let space = self.0.borrow().space;
        space.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// A host in a folder, whose superuser is whoever runs the test.
pub(super) struct Place {
    pub(super) host: Host,
    _folder: tempfile::TempDir,
    answers: Rc<RefCell<Answers>>,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let answers = Rc::<RefCell<Answers>>::default();
        let own = nix::unistd::geteuid().as_raw();
        let host = Host {
            root: folder.path().to_owned(),
            superuser: own,
            uid: own,
            now_ns: NOW,
            facts: Facts {
                release: "6.12.0-test".to_owned(),
                machine: "x86_64".to_owned(),
                page_size: 4096,
                landlock: 7,
                fanotify: Held::Yes,
                clock: Clock::Synchronised,
            },
            probes: Box::new(Laid(Rc::clone(&answers))),
        };
        Self {
            host,
            _folder: folder,
            answers,
        }
    }

    /// Lays down a file.
    pub(super) fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.host.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Lays down a file with that mode.
    pub(super) fn file_of(&self, path: &str, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Lays down what a command that begins so comes to.
    pub(super) fn answer(&self, begin: &str, answer: Ran) {
        self.answers
            .borrow_mut()
            .programs
            .insert(begin.to_owned(), answer);
    }

    /// Lays down how much room there is.
    pub(super) fn space(&self, space: Space) {
        self.answers.borrow_mut().space = Some(space);
    }

    /// Settings whose files lie in the folder.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = settings();
        settings.config.state = self.host.path("/var/lib/defenseclaw");
        settings.config.socket = self.host.path("/run/defenseclaw/gateway.sock");
        settings.socket = settings.config.socket.clone();
        settings.ledger = settings.config.ledger();
        settings.file = self.host.path("/etc/defenseclaw/config.yaml");
        settings
    }
}

/// Settings in mode `action`.
pub(super) fn settings() -> Settings {
    let config = Config {
        mode: Mode::Action,
        ..Config::default()
    };
    Settings {
        socket: config.socket.clone(),
        ledger: config.ledger(),
        policies: None,
        file: "/etc/defenseclaw/config.yaml".into(),
        socket_from_environment: false,
        config,
    }
}

/// A gateway in mode `action` with an agent, and a gate of that tier.
pub(super) fn status(gate: Option<Tier>) -> Status {
    let family = |name: &str| FamilyStatus {
        family: name.to_owned(),
        tier: Tier::Observe,
        detail: "a canary was seen".to_owned(),
    };
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: 60,
        mode: Mode::Action,
        policy: "0123456789ab".to_owned(),
        ledger: LedgerStatus {
            path: "/var/lib/defenseclaw/ledger.db".to_owned(),
            records: 3,
            head: "ab".to_owned(),
            durability: "process".to_owned(),
            error: None,
        },
        agent: Some(AgentStatus {
            kernel: "6.12.0-test".to_owned(),
            families: vec![family("process"), family("file")],
            counters: Counters::default(),
            sessions: 0,
            labelled_processes: 0,
            backlog: 0,
            rss_kib: 1,
        }),
        rss_kib: 1,
        open_sessions: 0,
        hooks: HookCounters::default(),
        sandboxes: Vec::new(),
        gate: Some(GateStatus {
            tier: gate.unwrap_or(Tier::None),
            detail: "an open was held and refused".to_owned(),
            allowed: 0,
            warned: 0,
            blocked: 0,
            unscanned: 0,
            blocked_paths: 0,
            quarantined: 0,
            listed: 0,
            projects: 0,
        }),
        bundle: None,
        packages: None,
    }
}
