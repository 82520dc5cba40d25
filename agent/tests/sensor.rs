//! The sensor on the running kernel: labels through every way of making a process, and everything it should see.
//!
//! A test starts this very program again as an actor ([`actor`]), labels it, lets it act, and looks at what the kernel
//! programs reported.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use defenseclaw_abi::{Label, MAX_ARGV_BYTES};
use defenseclaw_agent::sensor::Sensor;
use defenseclaw_agent::sensor::record::{Event, EventKind, Exec};
use defenseclaw_model::activity::{ExitStatus, FileAccess, Protocol};
use defenseclaw_testkit::{Need, require};

/// Session key of these tests' labels.
const SESSION: u64 = 4711;
/// Names the actor's role.
const ROLE: &str = "DEFENSECLAW_TEST_ROLE";
/// Names the folder that the actor works in.
const FOLDER: &str = "DEFENSECLAW_TEST_FOLDER";

/// One sensor at a time: each loads programs of its own, and they would all watch the same actors.
static ONE: Mutex<()> = Mutex::new(());

struct Stage {
    sensor: Option<Sensor>,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    fn new() -> Option<Self> {
        if !require(&[Need::Root, Need::Bpf]) {
            return None;
        }
        let turn = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let sensor = Some(start());
        Some(Self {
            sensor,
            folder: tempfile::tempdir().unwrap(),
            _turn: turn,
        })
    }

    fn sensor(&mut self) -> &mut Sensor {
        self.sensor.as_mut().unwrap()
    }

    /// Starts an actor; it waits until it is released.
    fn start(&self, role: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "actor", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FOLDER, self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn label(&mut self, pid: u32) -> u64 {
        let tasks = self.sensor().tasks().unwrap();
        let start_ns = tasks.iter().find(|task| task.tgid == pid).unwrap().start_ns;
        let label = Label {
            session: SESSION,
            call: 5,
            start_ns,
            exec_ns: start_ns,
            exec_tgid: pid,
            flags: 0,
        };
        self.sensor().set_label(pid, label).unwrap();
        start_ns
    }

    /// Labels an actor, lets it act to its end, and returns what was seen.
    fn play(&mut self, role: &str) -> (u32, Vec<Event>) {
        let mut child = self.start(role);
        self.label(child.id());
        release(&mut child);
        let pid = child.id();
        let events = self.until_exit(pid);
        let status = child.wait().unwrap();
        assert!(status.success(), "the actor {role} failed: {status}");
        (pid, events)
    }

    fn until_exit(&mut self, pid: u32) -> Vec<Event> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut events = Vec::new();
        while Instant::now() < deadline {
            events.extend(self.sensor().drain());
            let ended = |event: &Event| event.process.tgid == pid && matches!(event.kind, EventKind::Exit(_));
            if events.iter().any(ended) {
                std::thread::sleep(Duration::from_millis(20)); // Grandchildren may end after the actor.
                events.extend(self.sensor().drain());
                return events;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the exit of {pid} was not seen among {} records", events.len());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(sensor) = self.sensor.take() {
            sensor.stop().unwrap();
        }
    }
}

fn start() -> Sensor {
    Sensor::start(&format!("test-{}", std::process::id())).unwrap()
}

fn release(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"!").unwrap();
}

/// The execs, but for the actor's own: `spawn` returns while that is still under way, so the label may be in time for it.
fn execs(events: &[Event]) -> Vec<(&Event, &Exec)> {
    events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Exec(exec) if !exec.argv.iter().any(|argument| argument == "actor") => {
                Some((event, exec.as_ref()))
            }
            _ => None,
        })
        .collect()
}

fn opened(events: &[Event]) -> Vec<(&str, FileAccess)> {
    events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Open { path, access, .. } => Some((path.as_str(), *access)),
            _ => None,
        })
        .collect()
}

/// How often a process ends whose threads end at the same time.
const RACES: usize = 400;

// ---- what actors do -------------------------------------------------------------------------------------------------

/// Not a test of its own: what this program does when it was started as an actor. libtest runs it in a thread that is not
/// the group leader, so every exec below is one that the kernel's `de_thread` has to sort out.
#[test]
fn actor() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    std::io::stdin().read_exact(&mut [0]).unwrap();
    match role.as_str() {
        "worker" => std::thread::spawn(|| assert!(Command::new("/bin/true").status().unwrap().success()))
            .join()
            .unwrap(),
        "replace" => {
            use std::os::unix::process::CommandExt;
            panic!("{}", Command::new("/bin/true").exec());
        }
        "daemonize" => {
            let script = format!(
                "(setsid sh -c 'sleep 0.05; echo x > {}/late' &) &",
                folder.display()
            );
            assert!(
                Command::new("/bin/sh")
                    .args(["-c", &script])
                    .status()
                    .unwrap()
                    .success()
            );
            std::thread::sleep(Duration::from_millis(400));
        }
        "swarm" => swarm(34_000),
        "racers" => racers(),
        "paths" => paths(&folder),
        "connect" => connect(),
        "arguments" => {
            let long = "x".repeat(3 * MAX_ARGV_BYTES);
            assert!(Command::new("/bin/true").arg(long).status().unwrap().success());
        }
        "flood" => {
            for number in 0..60_000 {
                let path = folder.join(format!("flood-{}", number % 8));
                std::fs::File::create(path).unwrap();
            }
        }
        "deep" => deep(&folder),
        "io_uring" => io_uring(),
        "open_calls" => open_calls(&folder),
        "compat" => compat(&folder),
        other => panic!("no such role: {other}"),
    }
}

/// Processes whose threads end by themselves, with 0, while the whole is told to end with 5: the last of them may be one that
/// had its own status.
fn racers() {
    const THREADS: usize = 8;
    for _ in 0..RACES {
        // SAFETY: the child starts threads and ends; nothing that another thread of the parent may hold is asked for.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let together = std::sync::Arc::new(std::sync::Barrier::new(THREADS + 1));
                for _ in 0..THREADS {
                    let together = std::sync::Arc::clone(&together);
                    std::thread::spawn(move || {
                        together.wait();
                        // SAFETY: ends the calling thread alone; what it holds lasts until the process ends.
                        unsafe { nix::libc::syscall(nix::libc::SYS_exit, 0) };
                    });
                }
                together.wait();
                // SAFETY: ends the child, without running anything of the parent's.
                unsafe { nix::libc::_exit(5) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                use nix::sys::wait::{WaitStatus, waitpid};
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 5));
            }
        }
    }
}

/// Many processes that fork and end at once: more than there are pids, so that numbers are used again.
fn swarm(count: u32) {
    for _ in 0..count {
        // SAFETY: the child calls nothing but _exit, which is async-signal-safe.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                // SAFETY: ends the child at once, without running anything of the parent's.
                unsafe { nix::libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                nix::sys::wait::waitpid(child, None).unwrap();
            }
        }
    }
}

fn paths(folder: &Path) {
    let secret = folder.join(".aws/credentials");
    let read = |path: &Path| drop(std::fs::File::open(path).unwrap());
    std::fs::write(folder.join("made"), "x").unwrap();
    drop(
        std::fs::OpenOptions::new()
            .append(true)
            .open(folder.join("made"))
            .unwrap(),
    );
    std::fs::write("/dev/null", "x").unwrap();
    read(&folder.join("credentials.txt"));
    read(&secret);
    read(&folder.join("link"));
    read(&PathBuf::from(format!("/proc/self/root{}", secret.display())));
    std::env::set_current_dir(folder.join(".aws")).unwrap();
    read(Path::new("../.aws/./credentials"));
    read(&folder.join("hard"));
}

fn connect() {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    let _ = TcpStream::connect("127.0.0.1:9"); // Refused: the attempt counts.
    let _ = TcpStream::connect("[::1]:9");
    let _ = TcpStream::connect("[::ffff:127.0.0.1]:9");
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .connect("127.0.0.1:53")
        .unwrap();
    // Accepting is not connecting.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
}

fn deep(folder: &Path) {
    let mut path = folder.to_path_buf();
    for _ in 0..80 {
        path.push("d");
    }
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("bottom"), "x").unwrap();
}

fn io_uring() {
    let mut parameters = [0u8; 120]; // struct io_uring_params
    // SAFETY: the parameters are zeroed and large enough; the descriptor is closed when the process ends.
    unsafe { nix::libc::syscall(nix::libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) };
}

/// The other calls that return a descriptor of an opened file.
fn open_calls(folder: &Path) {
    use std::ffi::CString;
    let path = |name: &str| CString::new(folder.join(name).to_str().unwrap()).unwrap();
    let (creat, openat2) = (path("creat"), path("openat2"));
    let how = [nix::libc::O_CREAT as u64 | nix::libc::O_WRONLY as u64, 0o600, 0];
    // SAFETY: the strings live across the calls; `how` is a valid `struct open_how` of 24 bytes.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        assert!(nix::libc::syscall(nix::libc::SYS_creat, creat.as_ptr(), 0o600) >= 0);
        #[cfg(not(target_arch = "x86_64"))]
        assert!(nix::libc::creat(creat.as_ptr(), 0o600) >= 0);
        let at = nix::libc::AT_FDCWD;
        assert!(nix::libc::syscall(nix::libc::SYS_openat2, at, openat2.as_ptr(), how.as_ptr(), 24) >= 0);
    }
}

/// A 32-bit system call from a 64-bit program: another table of numbers.
#[cfg(target_arch = "x86_64")]
fn compat(folder: &Path) {
    use std::num::NonZeroUsize;
    let bytes = std::ffi::CString::new(folder.join("compat").to_str().unwrap())
        .unwrap()
        .into_bytes_with_nul();
    let flags = nix::sys::mman::MapFlags::MAP_PRIVATE
        | nix::sys::mman::MapFlags::MAP_ANONYMOUS
        | nix::sys::mman::MapFlags::MAP_32BIT;
    let protection = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping; the bytes fit a page; open(2) by `int 0x80` reads the path and touches no other
    // memory. The registers that the 32-bit entry may change are declared.
    unsafe {
        let page = nix::sys::mman::mmap_anonymous(None, NonZeroUsize::new(4096).unwrap(), protection, flags)
            .unwrap();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), page.as_ptr().cast::<u8>(), bytes.len());
        let mut result: u64 = 5; // open
        std::arch::asm!(
            "push rbx", "mov ebx, {path:e}", "int 0x80", "pop rbx",
            path = in(reg) page.as_ptr() as u32,
            inout("rax") result, in("ecx") 0o101, in("edx") 0o600,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
        assert!((result as i32) >= 0, "open returned {}", result as i32);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn compat(_folder: &Path) {}

// ---- the tests ------------------------------------------------------------------------------------------------------

#[test]
fn a_child_forked_by_a_worker_thread_inherits_the_label() {
    let Some(mut stage) = Stage::new() else { return };
    let (pid, events) = stage.play("worker");
    let execs = execs(&events);
    let [(event, exec)] = execs.as_slice() else {
        panic!("{execs:?}")
    };
    assert_eq!((event.session, event.call), (SESSION, 5));
    assert_ne!(event.process.tgid, pid);
    assert_eq!(exec.parent.tgid, pid);
    assert_eq!(exec.argv, ["/bin/true"]);
    assert_eq!(
        exec.path,
        std::fs::canonicalize("/bin/true").unwrap().to_str().unwrap()
    );
    assert_eq!(exec.filename, "/bin/true");
    assert_eq!(exec.cwd, std::env::current_dir().unwrap().to_str().unwrap());
}

#[test]
fn an_exec_from_a_thread_keeps_the_process() {
    let Some(mut stage) = Stage::new() else { return };
    let mut child = stage.start("replace");
    let start_ns = stage.label(child.id());
    release(&mut child);
    let events = stage.until_exit(child.id());
    child.wait().unwrap();
    let (event, exec) = execs(&events)[0];
    assert_eq!(
        (event.process.tgid, event.process.start_ns),
        (child.id(), start_ns)
    );
    assert_eq!(exec.parent.tgid, child.id());
    let exits: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Exit(_)))
        .collect();
    assert_eq!(
        exits.len(),
        1,
        "the threads that de_thread ended are no exits of the process"
    );
    assert_eq!(exits[0].kind, EventKind::Exit(ExitStatus::Code(0)));
}

#[test]
fn the_status_is_the_one_that_the_parent_is_told() {
    let Some(mut stage) = Stage::new() else { return };
    let (actor, events) = stage.play("racers");
    let exits: Vec<_> = events
        .iter()
        .filter(|event| event.process.tgid != actor)
        .filter_map(|event| match &event.kind {
            EventKind::Exit(status) => Some(*status),
            _ => None,
        })
        .collect();
    assert_eq!(exits, [ExitStatus::Code(5); RACES]);
}

#[test]
fn a_process_that_detaches_itself_keeps_the_label() {
    let Some(mut stage) = Stage::new() else { return };
    let (_, events) = stage.play("daemonize");
    let late = events
        .iter()
        .find(|event| matches!(&event.kind, EventKind::Open { path, .. } if path.ends_with("/late")))
        .expect("the detached process's file");
    assert_eq!(late.session, SESSION);
    // Its image leads back to the actor's, whoever its parent is by now.
    let execs = execs(&events);
    let mut image = late.image;
    let mut steps = 0;
    while let Some((_, exec)) = execs.iter().find(|(event, _)| event.image == image) {
        image = exec.parent;
        steps += 1;
    }
    assert!(steps >= 2, "{execs:?}");
    assert!(
        !execs.iter().any(|(event, _)| event.image == image),
        "the chain ends at the actor"
    );
}

#[test]
fn tens_of_thousands_of_processes_leave_no_label_behind() {
    let Some(mut stage) = Stage::new() else { return };
    let (pid, events) = stage.play("swarm");
    let exits = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Exit(_)))
        .count();
    let counters = stage.sensor().counters();
    assert_eq!(exits as u64 + counters.security_ring_full, 34_001, "{counters:?}");
    assert_eq!(
        stage.sensor().labels(),
        [],
        "a label of actor {pid} or its children is left"
    );
    assert_eq!(stage.sensor().calls(), 0);
    // The numbers are in use again; an unlabelled process that got one of them is not watched.
    assert!(Command::new("/bin/true").status().unwrap().success());
    assert!(stage.sensor().drain().is_empty());
}

#[test]
fn a_stale_label_is_not_inherited_by_a_reused_pid() {
    let Some(mut stage) = Stage::new() else { return };
    let mut child = stage.start("worker");
    let pid = child.id();
    let stale = Label {
        session: SESSION,
        call: 0,
        start_ns: 1,
        exec_ns: 1,
        exec_tgid: pid,
        flags: 0,
    };
    stage.sensor().set_label(pid, stale).unwrap();
    release(&mut child);
    child.wait().unwrap();
    assert!(
        stage.sensor().drain().is_empty(),
        "the label belongs to an earlier process of that number"
    );
    assert_eq!(
        stage.sensor().labels(),
        [],
        "and goes with the process that carries the number now"
    );
}

#[test]
fn files_are_seen_by_their_place_in_the_tree_and_by_identity() {
    let Some(mut stage) = Stage::new() else { return };
    let folder = stage.folder.path().to_path_buf();
    let secret = folder.join(".aws/credentials");
    std::fs::create_dir(folder.join(".aws")).unwrap();
    std::fs::write(&secret, "x").unwrap();
    std::fs::write(folder.join("credentials.txt"), "x").unwrap();
    symlink(&secret, folder.join("link")).unwrap();
    std::fs::hard_link(&secret, folder.join("hard")).unwrap();
    let file = defenseclaw_agent::kernel::proc::file_id(&secret).unwrap();
    stage.sensor().watch_file(file);
    let (_, events) = stage.play("paths");
    let text = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let expected = [
        (text("made"), FileAccess::Create),
        (text("made"), FileAccess::Write),
        (text(".aws/credentials"), FileAccess::Read),
        (text(".aws/credentials"), FileAccess::Read), // By a symbolic link.
        (text(".aws/credentials"), FileAccess::Read), // By /proc/self/root.
        (text(".aws/credentials"), FileAccess::Read), // By a relative path.
        (text("hard"), FileAccess::Read), // By a hard link: the name is innocent, the file is known.
    ];
    let seen: Vec<_> = opened(&events)
        .into_iter()
        .map(|(path, access)| (path.to_owned(), access))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn every_call_that_opens_is_seen() {
    let Some(mut stage) = Stage::new() else { return };
    let (_, events) = stage.play("open_calls");
    let names: Vec<_> = opened(&events)
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["creat", "openat2"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_system_call_is_seen() {
    let Some(mut stage) = Stage::new() else { return };
    let mut child = stage.start("compat");
    stage.label(child.id());
    release(&mut child);
    let events = stage.until_exit(child.id());
    if !child.wait().unwrap().success() {
        // A kernel without IA32 emulation has no such way in: nothing may have been created either.
        assert!(!stage.folder.path().join("compat").exists());
        return;
    }
    assert_eq!(opened(&events).len(), 1);
}

#[test]
fn connections_are_seen_with_their_destination() {
    let Some(mut stage) = Stage::new() else { return };
    let (_, events) = stage.play("connect");
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Connect {
                protocol,
                address,
                port,
            } => Some((protocol, address.to_string(), port)),
            _ => None,
        })
        .collect();
    let expected = [
        (Protocol::Tcp, "127.0.0.1", 9),
        (Protocol::Tcp, "::1", 9),
        (Protocol::Tcp, "127.0.0.1", 9),
    ];
    for (seen, (protocol, address, port)) in seen.iter().zip(expected) {
        assert_eq!((seen.0, seen.1.as_str(), seen.2), (protocol, address, port));
    }
    assert_eq!(
        (seen[3].0, seen[3].1.as_str(), seen[3].2),
        (Protocol::Udp, "127.0.0.1", 53)
    );
    assert_eq!(
        seen.len(),
        5,
        "the accepted side is no connection of its own: {seen:?}"
    );
}

#[test]
fn long_arguments_and_deep_paths_are_cut_and_say_so() {
    let Some(mut stage) = Stage::new() else { return };
    let (_, events) = stage.play("arguments");
    let (_, exec) = execs(&events)[0];
    assert!(exec.argv_truncated);
    assert_eq!(
        exec.argv.iter().map(|argument| argument.len() + 1).sum::<usize>(),
        MAX_ARGV_BYTES + 1
    );
    let (_, events) = stage.play("deep");
    let cut = events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::Open {
                path, path_truncated, ..
            } => Some((path.clone(), *path_truncated)),
            _ => None,
        })
        .unwrap();
    assert!(
        cut.1 && cut.0.starts_with("…/d/d/") && cut.0.ends_with("/bottom"),
        "{}",
        cut.0
    );
    assert_eq!(stage.sensor().counters().truncated, 2);
}

#[test]
fn a_full_telemetry_ring_is_counted_and_leaves_the_security_ring_alone() {
    let Some(mut stage) = Stage::new() else { return };
    let mut child = stage.start("flood");
    stage.label(child.id());
    release(&mut child);
    assert!(child.wait().unwrap().success()); // Nobody reads meanwhile.
    let events = stage.until_exit(child.id());
    let counters = stage.sensor().counters();
    assert!(counters.telemetry_ring_full > 0, "{counters:?}");
    let files = opened(&events).len() as u64;
    // Not everything is in `events`: a turn takes a bounded number.
    assert!(files > 0);
    let mut rest = files;
    loop {
        let more = stage.sensor().drain();
        if more.is_empty() {
            break;
        }
        rest += opened(&more).len() as u64;
    }
    assert_eq!(
        rest + counters.telemetry_ring_full,
        60_000,
        "every record was taken or counted"
    );
    assert_eq!(counters.security_ring_full, 0);
}

#[test]
fn an_io_uring_is_noticed() {
    let Some(mut stage) = Stage::new() else { return };
    let watched = stage
        .sensor()
        .families()
        .iter()
        .any(|family| family.family == "io_uring" && family.detail.ends_with("create"));
    let (_, events) = stage.play("io_uring");
    let seen = events
        .iter()
        .any(|event| matches!(event.kind, EventKind::IoUring { entries: 8 }));
    // A kernel may be built without io_uring, or have it switched off.
    let disabled =
        std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_else(|_| "2".into());
    assert_eq!(seen, watched && disabled.trim() != "2");
}

#[test]
fn a_sensor_whose_agent_died_goes_on_and_is_taken_over() {
    let Some(mut stage) = Stage::new() else { return };
    let mut child = stage.start("worker");
    stage.label(child.id());
    let id = stage.sensor().id().to_owned();
    drop(stage.sensor.take()); // What kill -9 leaves: everything pinned, nobody reading.
    release(&mut child);
    assert!(child.wait().unwrap().success());
    stage.sensor = Some(start());
    assert!(stage.sensor().was_adopted());
    assert_eq!(stage.sensor().id(), id);
    let events = stage.sensor().drain();
    assert_eq!(
        execs(&events).len(),
        1,
        "what happened meanwhile waited in the ring"
    );
    assert_eq!(stage.sensor().labels(), []);
}
