//! Starts a target under a supervisor: fork, restrict, exec of this same test program, which then plays the target.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use defenseclaw_sandbox::supervise::{
    Action, Answer, ConnectRequest, Counts, Filter, Handshake, Judge, NoPeople, OpenRequest, Options, People,
    Question, SuperviseError, Supervisor, Verdict, Watch,
};

/// The descriptor that a target writes its results to.
pub(crate) const OUT: i32 = 200;

/// What is to be run, and how.
pub(crate) struct Run {
    pub(crate) operation: &'static str,
    /// A program of the system in the place of this one.
    pub(crate) command: Vec<&'static str>,
    pub(crate) arguments: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) people: Arc<dyn People>,
    pub(crate) options: Options,
    pub(crate) watch: Watch,
    pub(crate) supervised: bool,
    /// Landlock: the target itself may only read and execute the system's folders.
    pub(crate) landlock: bool,
    /// Run in the child before the filter is loaded.
    pub(crate) before: fn(),
}

pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) supervisor: Option<Supervisor>,
    out: File,
}

pub(crate) struct Done {
    pub(crate) text: String,
    pub(crate) status: i32,
    pub(crate) counts: Counts,
}

impl Run {
    pub(crate) fn new(operation: &'static str, folder: &Path) -> Self {
        Self {
            operation,
            command: Vec::new(),
            arguments: Vec::new(),
            folder: folder.to_path_buf(),
            judge: Arc::new(Everything),
            people: Arc::new(NoPeople),
            options: Options {
                answer_within: Duration::from_secs(20),
                workers: 3,
            },
            watch: Watch {
                files: true,
                network: true,
            },
            supervised: true,
            landlock: false,
            before: || {},
        }
    }

    pub(crate) fn done(self) -> Done {
        self.start().wait()
    }

    pub(crate) fn start(self) -> Running {
        self.try_start()
            .map_err(|(error, _)| error)
            .expect("a supervisor")
    }

    /// The error, and the wait status of the child that has given up.
    pub(crate) fn try_start(self) -> Result<Running, (SuperviseError, i32)> {
        let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        let executable = CString::new(self.command.first().map_or(own.as_str(), |program| program)).unwrap();
        let arguments: &[&str] = match self.command.as_slice() {
            [] => &[
                "target",
                "target::entry",
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ],
            command => command,
        };
        let arguments: Vec<CString> = arguments.iter().map(|a| CString::new(*a).unwrap()).collect();
        let mut environment = vec![
            CString::new(format!("SUPERVISE_TARGET={}", self.operation)).unwrap(),
            CString::new("PATH=/usr/bin:/bin").unwrap(),
        ];
        environment
            .push(CString::new(format!("SUPERVISE_ARGUMENTS={}", self.arguments.join("\x1f"))).unwrap());
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        let (argv, envp) = (pointers(&arguments), pointers(&environment));
        let folder = CString::new(self.folder.to_str().unwrap()).unwrap();
        let (out, out_child) = pipe();
        let filter = Filter::build(self.watch).unwrap();
        let handshake = Handshake::new().unwrap();
        let rules = self.landlock.then(system_only);
        // SAFETY: the child makes system calls and what glibc allows after a fork, then execs or exits.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: as above.
            unsafe {
                libc::dup2(out_child.as_raw_fd(), OUT);
                let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                libc::dup2(null, 0);
                libc::dup2(null, 1);
                libc::chdir(folder.as_ptr());
                (self.before)();
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if let Some(rules) = rules
                    && rules.restrict_self().is_err()
                {
                    libc::_exit(96);
                }
                if self.supervised && filter.install(handshake).is_err() {
                    libc::_exit(97);
                }
                libc::execve(executable.as_ptr(), argv.as_ptr(), envp.as_ptr());
                libc::_exit(98)
            }
        }
        drop(out_child);
        let supervisor = self
            .supervised
            .then(|| Supervisor::start(handshake, pid, self.options, self.judge, self.people))
            .transpose();
        match supervisor {
            Ok(supervisor) => Ok(Running {
                pid,
                supervisor,
                out: File::from(out),
            }),
            Err(error) => Err((error, reap(pid))),
        }
    }
}

impl Running {
    pub(crate) fn wait(mut self) -> Done {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        let status = reap(self.pid);
        let counts = self
            .supervisor
            .as_ref()
            .map(Supervisor::counts)
            .unwrap_or_default();
        Done { text, status, counts }
    }

    /// What the target has written so far, up to the next line's end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0u8];
        while self.out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

/// Waits for a child; its wait status.
pub(crate) fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(reaped, pid);
    status
}

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: two writable ints; the kernel gives both descriptors to us.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

fn system_only() -> landlock::RulesetCreated {
    use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules};
    let own = std::env::current_exe().unwrap();
    let read = AccessFs::from_read(ABI::V4);
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V4))
        .unwrap()
        .create()
        .unwrap()
        .add_rules(path_beneath_rules(
            ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc"],
            read,
        ))
        .unwrap()
        .add_rules(path_beneath_rules([own], AccessFs::Execute | AccessFs::ReadFile))
        .unwrap()
}

/// Allows all.
pub(crate) struct Everything;

impl Judge for Everything {
    fn open(&self, _: &OpenRequest) -> Verdict {
        Verdict::Allow
    }

    fn connect(&self, _: &ConnectRequest) -> Verdict {
        Verdict::Allow
    }
}

/// Allows the system and what is below `allowed`; asks about `asked`, refuses the rest.
#[derive(Default)]
pub(crate) struct Only {
    pub(crate) allowed: Vec<PathBuf>,
    pub(crate) asked: Vec<PathBuf>,
    pub(crate) connects: Option<fn(&ConnectRequest) -> Verdict>,
    pub(crate) seen: Mutex<Vec<OpenRequest>>,
}

impl Judge for Only {
    fn open(&self, request: &OpenRequest) -> Verdict {
        self.seen.lock().unwrap().push(request.clone());
        let own = std::env::current_exe().unwrap();
        let system = ["/usr", "/lib", "/etc/ld.so.cache", "/proc", "/sys", "/dev/null"];
        let below = |folders: &[PathBuf]| folders.iter().any(|folder| request.path.starts_with(folder));
        if below(&self.allowed) || system.iter().any(|f| request.path.starts_with(f)) || request.path == own {
            Verdict::Allow
        } else if below(&self.asked) {
            Verdict::Ask("outside of the profile".into())
        } else {
            Verdict::REFUSED
        }
    }

    fn connect(&self, request: &ConnectRequest) -> Verdict {
        self.connects.map_or(Verdict::REFUSED, |judge| judge(request))
    }
}

/// A person who answers after a while, and notes what was asked.
pub(crate) struct Person {
    pub(crate) answer: Answer,
    pub(crate) after: Duration,
    pub(crate) asked: Mutex<Vec<Action>>,
    pub(crate) withdrawn: Mutex<u32>,
}

impl Person {
    pub(crate) fn new(answer: Answer, after: Duration) -> Arc<Self> {
        Arc::new(Self {
            answer,
            after,
            asked: Mutex::default(),
            withdrawn: Mutex::default(),
        })
    }
}

impl People for Person {
    fn ask(&self, question: &Question, deadline: Instant) -> Answer {
        self.asked.lock().unwrap().push(question.action.clone());
        let end = Instant::now() + self.after;
        while Instant::now() < end {
            if question.withdrawn() {
                *self.withdrawn.lock().unwrap() += 1;
                return Answer::Nobody;
            }
            assert!(
                Instant::now() < deadline + Duration::from_secs(1),
                "a question that is never withdrawn"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.answer
    }
}

/// A folder of its own below `/var/tmp`, which no rule of these tests grants as a whole.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("supervise-")
        .tempdir_in("/var/tmp")
        .unwrap()
}

/// Runs one ignored test of this program in a process that forks nothing else: a fork copies what a supervisor has open at
/// that moment, and here every test is a supervisor and forks.
pub(crate) fn in_a_process_of_its_own(test: &str) {
    let own = std::env::current_exe().unwrap();
    let run = std::process::Command::new(own)
        .args([test, "--exact", "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}
