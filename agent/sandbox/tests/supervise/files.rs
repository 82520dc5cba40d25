//! Opens: what is refused, what is never lent, and what waits.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use defenseclaw_sandbox::supervise::{OpenRequest, Verdict, Watch};

use defenseclaw_testkit::{Need, require};

use crate::harness::{Everything, Only, Run, folder, reap};
use crate::target::{errno, open, openat, read, tell};

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    match operation {
        "write" => arguments.iter().for_each(|path| {
            let fd = open(path, libc::O_WRONLY | libc::O_CREAT, 0o600);
            tell(&format!("{}", fd.min(0)));
        }),
        "foreign" => foreign(arguments[0]),
        "family" => family(),
        "swarm" => swarm(arguments[0]),
        "through a fifo" => through_a_fifo(),
        "wait for a writer" => {
            tell("waits");
            tell(&format!("{}", open("fifo", libc::O_RDONLY, 0)));
        }
        "become another" => {
            // SAFETY: numbers; this process has no use for its old rights.
            unsafe {
                libc::setgroups(0, std::ptr::null());
                libc::setresgid(65534, 65534, 65534);
                libc::setresuid(65534, 65534, 65534);
                libc::prctl(libc::PR_SET_DUMPABLE, 1);
            }
            tell(&read(arguments[0]));
        }
        "drop capabilities" => {
            let header: [u32; 2] = [0x2008_0522, 0];
            let none = [0u32; 6];
            // SAFETY: the kernel reads a header and two triples.
            unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
            tell(&read(arguments[0]));
        }
        "landlock" => {
            // SAFETY: an empty request.
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1u32) };
            tell(&format!("errno {}", errno()));
        }
        "relative to proc" => relative_to_proc(arguments[0]),
        "limits" => limits(),
        "other worlds" => other_worlds(),
        "terminal" => terminal(),
        _ => return None,
    }
    Some(())
}

fn foreign(pid: &str) {
    for name in [
        "status",
        "cmdline",
        "stat",
        "comm",
        "environ",
        "mem",
        "maps",
        "auxv",
        "io",
        "fd",
        "cwd/secret",
        "root/etc/passwd",
        "exe",
        "fd/0",
        "task",
        "task/self",
        "ns/mnt",
        "limits",
        "mountinfo",
        "pagemap",
    ] {
        let name = name.replace("self", pid);
        let fd = open(
            &format!("/proc/{pid}/{name}"),
            libc::O_RDONLY | libc::O_NONBLOCK,
            0,
        );
        tell(&format!("{} {}", name.replace(pid, "T"), fd.min(0)));
    }
    let folder = open(&format!("/proc/{pid}"), libc::O_RDONLY | libc::O_DIRECTORY, 0);
    tell(&format!(
        "relative {}",
        openat(folder, "environ", libc::O_RDONLY, 0)
    ));
    let handle = open(&format!("/proc/{pid}/environ"), libc::O_PATH, 0);
    tell(&format!(
        "handle {}",
        open(&format!("/proc/self/fd/{handle}"), libc::O_RDONLY, 0)
    ));
}

/// A parent looks at its child, and the child at its parent.
fn family() {
    // SAFETY: the child only opens files and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        let parent = unsafe { libc::getppid() };
        tell(&format!(
            "parent {}",
            open(&format!("/proc/{parent}/environ"), libc::O_RDONLY, 0).min(0)
        ));
        std::thread::sleep(Duration::from_millis(300));
        // SAFETY: leaves at once.
        unsafe { libc::_exit(0) };
    }
    tell(&format!(
        "child {}",
        open(&format!("/proc/{child}/environ"), libc::O_RDONLY, 0).min(0)
    ));
    tell(&format!(
        "child's folder {}",
        open(&format!("/proc/{child}/cwd/file"), libc::O_RDONLY, 0).min(0)
    ));
    reap(child);
}

/// 64 processes at once, each opening a file of its own many times.
fn swarm(folder: &str) {
    for at in 0..64 {
        // SAFETY: the child only opens and reads files and exits.
        if unsafe { libc::fork() } == 0 {
            let own = format!("content {at}");
            let right = (0..50).all(|_| read(&format!("{folder}/{at}")) == own);
            // SAFETY: leaves at once.
            unsafe { libc::_exit(i32::from(!right)) };
        }
    }
    let mut wrong = 0;
    for _ in 0..64 {
        let mut status = 0;
        // SAFETY: `status` is writable.
        unsafe { libc::wait(&raw mut status) };
        wrong += i32::from(status != 0);
    }
    tell(&format!("wrong: {wrong}"));
}

fn through_a_fifo() {
    let writer = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(100));
        let fd = open("fifo", libc::O_WRONLY, 0);
        // SAFETY: readable bytes; the descriptor is ours.
        unsafe { libc::write(fd, b"through".as_ptr().cast(), 7) };
    });
    tell(&read("fifo"));
    writer.join().unwrap();
    let reader = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(100));
        read("fifo")
    });
    let fd = open("fifo", libc::O_WRONLY, 0);
    // SAFETY: readable bytes; the descriptor is ours.
    unsafe { libc::write(fd, b"and back".as_ptr().cast(), 8) };
    // SAFETY: ours.
    unsafe { libc::close(fd) };
    tell(&reader.join().unwrap());
}

/// The supervisor's own folder in `/proc` must not be reachable by descriptors of `/proc` either.
fn relative_to_proc(supervisor: &str) {
    let proc = open("/proc", libc::O_RDONLY | libc::O_DIRECTORY, 0);
    let own = format!("Pid:\t{}", std::process::id());
    for path in ["self/status", "thread-self/status", "./self/../self/status"] {
        let fd = openat(proc, path, libc::O_RDONLY, 0);
        let text = std::fs::read_to_string(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        tell(&format!(
            "{path} {}",
            text.lines()
                .any(|line| line.starts_with("Tgid:") && line[5..].trim() == &own[5..])
        ));
    }
    tell(&format!(
        "supervisor {}",
        openat(proc, &format!("{supervisor}/environ"), libc::O_RDONLY, 0)
    ));
    // By a scope of `openat2`, where the kernel itself takes `self` to be who asks.
    let how: [u64; 3] = [0, 0, libc::RESOLVE_IN_ROOT];
    // SAFETY: a C string and a structure of the given size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            proc,
            c"self/environ".as_ptr(),
            how.as_ptr(),
            24,
        )
    };
    tell(&format!("scope {}", if fd < 0 { -errno() } else { 0 }));
}

/// Calls by which a process leaves what its supervisor can judge.
fn other_worlds() {
    let say = |name: &str, result: i64| tell(&format!("{name} {}", if result < 0 { -errno() } else { 0 }));
    // SAFETY: the kernel refuses every one of these, or this process is one that ends soon.
    unsafe {
        say("unshare mounts", libc::unshare(libc::CLONE_NEWNS).into());
        say(
            "unshare users",
            libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID).into(),
        );
        say("unshare table", libc::unshare(libc::CLONE_FILES).into());
        let none = std::ptr::null();
        say(
            "mount",
            libc::mount(c"/".as_ptr(), c"/mnt".as_ptr(), none, libc::MS_BIND, none.cast()).into(),
        );
        say(
            "open_tree",
            libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), 1),
        );
        say(
            "open_tree_attr",
            libc::syscall(467, libc::AT_FDCWD, c"/".as_ptr(), 1, 0usize, 0usize),
        );
        say("io_uring", libc::syscall(libc::SYS_io_uring_setup, 4, 0usize));
        say("clone3", libc::syscall(libc::SYS_clone3, 0usize, 0usize));
    }
    #[cfg(target_arch = "x86_64")]
    {
        let result: i64;
        // SAFETY: `getpid` by the 32-bit entry; it takes nothing and changes one register, which `inlateout` names.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("rax") 20i64 => result, options(nostack));
            tell(&format!("32 bit {result}"));
            say("x32", libc::syscall(0x4000_0000 | libc::SYS_getpid));
        }
    }
}

/// Whether `/dev/tty` is this session's own terminal.
fn terminal() {
    let fd = open("/dev/tty", libc::O_RDWR, 0);
    // SAFETY: numbers.
    unsafe { tell(&format!("{} {}", fd >= 0, libc::tcgetsid(fd) == libc::getsid(0))) };
}

fn limits() {
    let most = libc::rlimit {
        rlim_cur: 201,
        rlim_max: 201,
    };
    // SAFETY: readable; the result is in the lines that follow.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most) };
    let last = (0..300)
        .map(|_| open("/dev/null", libc::O_RDONLY, 0))
        .find(|fd| *fd < 0);
    tell(&format!("{last:?}"));
}

fn only(folder: &Path) -> Arc<Only> {
    Arc::new(Only {
        allowed: vec![folder.to_path_buf()],
        ..Only::default()
    })
}

#[test]
fn what_the_profile_does_not_grant_is_refused() {
    let (inside, outside) = (folder(), folder());
    std::fs::write(inside.path().join("in"), "in").unwrap();
    std::fs::write(outside.path().join("out"), "out").unwrap();
    std::os::unix::fs::symlink(outside.path().join("out"), inside.path().join("link")).unwrap();
    std::os::unix::fs::symlink(inside.path().join("in"), outside.path().join("back")).unwrap();
    let path = |dir: &tempfile::TempDir, name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let arguments = vec![
        path(&inside, "in"),
        path(&inside, "link"),
        path(&outside, "out"),
        path(&outside, "back"),
        path(&outside, "nothing"),
        format!(
            "{}/../{}/out",
            inside.path().display(),
            outside.path().file_name().unwrap().to_str().unwrap()
        ),
    ];
    let run = Run {
        arguments,
        judge: only(inside.path()),
        landlock: true,
        ..Run::new("read", inside.path())
    };
    let done = run.done();
    // The object counts, not the name that led to it.
    assert_eq!(done.text, "in\nerrno 13\nerrno 13\nin\nerrno 2\nerrno 13\n");
    assert_eq!(done.counts.denied, 3);
    let arguments = vec![
        path(&inside, "made"),
        path(&outside, "made"),
        path(&outside, "out"),
    ];
    let done = Run {
        arguments,
        judge: only(inside.path()),
        ..Run::new("write", inside.path())
    }
    .done();
    assert_eq!(done.text, "0\n-13\n-13\n");
    assert!(inside.path().join("made").exists() && !outside.path().join("made").exists());
}

#[test]
fn requests_say_what_is_wanted() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    let judge = only(folder.path());
    let run = Run {
        arguments: vec!["link/new".into()],
        judge: judge.clone(),
        ..Run::new("write", folder.path())
    };
    assert_eq!(run.done().text, "0\n");
    let seen = judge.seen.lock().unwrap();
    let request: &OpenRequest = seen.iter().find(|request| request.access.create).unwrap();
    assert_eq!(request.path, folder.path().join("real/new"));
    assert_eq!(request.given, Path::new("link/new"));
    assert!(request.access.write && !request.access.read && !request.folder && !request.removed);
}

/// Another process of the same user, outside of the supervised tree.
struct Stranger(std::process::Child);

impl Stranger {
    fn new(folder: &Path) -> Self {
        Self(
            std::process::Command::new("sleep")
                .arg("60")
                .current_dir(folder)
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn other_processes_are_not_opened_up() {
    let folder = folder();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    let stranger = Stranger::new(folder.path());
    for pid in [stranger.0.id(), std::process::id()] {
        let run = Run {
            arguments: vec![pid.to_string()],
            judge: Arc::new(Everything),
            landlock: true,
            ..Run::new("foreign", folder.path())
        };
        let text = run.done().text;
        for line in text.lines() {
            let public = ["status", "cmdline", "stat", "comm", "task", "task/T"];
            let (name, result) = line.rsplit_once(' ').unwrap();
            let wanted = if public.contains(&name) { "0" } else { "-13" };
            assert_eq!(result, wanted, "{line} of {pid}");
        }
        assert_eq!(text.lines().count(), 22);
    }
}

#[test]
fn the_own_family_is() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let text = Run::new("family", folder.path()).done().text;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["child 0", "child's folder 0", "parent 0"]);
}

#[test]
fn the_supervisors_own_proc_is_never_given() {
    let folder = folder();
    let run = Run {
        arguments: vec![std::process::id().to_string()],
        ..Run::new("relative to proc", folder.path())
    };
    let wanted =
        "self/status true\nthread-self/status true\n./self/../self/status true\nsupervisor -13\nscope -13\n";
    assert_eq!(run.done().text, wanted);
}

#[test]
fn a_target_with_fewer_rights_gets_none() {
    if !require(&[Need::Root]) {
        return;
    }
    let folder = folder();
    let file = folder.path().join("root's");
    std::fs::write(&file, "x").unwrap();
    for operation in ["become another", "drop capabilities"] {
        let run = Run {
            arguments: vec![file.to_str().unwrap().into()],
            ..Run::new(operation, folder.path())
        };
        let done = run.done();
        assert_eq!(done.text, "errno 1\n", "{operation}");
        assert!(done.counts.refused_unlike > 0);
    }
}

#[test]
fn a_domain_of_its_own_is_refused_not_undone() {
    let folder = folder();
    assert_eq!(
        Run::new("landlock", folder.path()).done().text,
        format!("errno {}\n", libc::EOPNOTSUPP)
    );
}

#[test]
fn sixty_four_processes_at_once_get_each_its_own() {
    let folder = folder();
    for at in 0..64 {
        std::fs::write(folder.path().join(at.to_string()), format!("content {at}")).unwrap();
    }
    let run = Run {
        arguments: vec![folder.path().to_str().unwrap().into()],
        judge: only(folder.path()),
        ..Run::new("swarm", folder.path())
    };
    let done = run.done();
    assert_eq!(done.text, "wrong: 0\n");
    assert!(done.counts.received >= 3200);
}

fn fifo(folder: &Path) {
    let path = std::ffi::CString::new(folder.join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[test]
fn a_fifo_holds_up_nobody_else() {
    let folder = folder();
    fifo(folder.path());
    assert_eq!(
        Run::new("through a fifo", folder.path()).done().text,
        "through\nand back\n"
    );
}

#[test]
fn the_dead_wait_for_no_fifo() {
    let folder = folder();
    fifo(folder.path());
    let mut running = Run::new("wait for a writer", folder.path()).start();
    assert_eq!(running.line(), "waits");
    std::thread::sleep(Duration::from_millis(100));
    // SAFETY: our own child, not reaped yet.
    unsafe { libc::kill(running.pid, libc::SIGKILL) };
    reap(running.pid);
    let ended = running.supervisor.unwrap().wait_until_unused();
    assert!(ended.received > 0);
    // The thread that waited for the other end is gone: nobody reads any more.
    let writes = || {
        std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(folder.path().join("fifo"))
    };
    use std::os::unix::fs::OpenOptionsExt;
    assert_eq!(
        writes()
            .map(|mut f| f.write(b"x").is_ok())
            .unwrap_err()
            .raw_os_error(),
        Some(libc::ENXIO)
    );
}

#[test]
fn the_targets_own_limits_hold() {
    let folder = folder();
    assert_eq!(
        Run::new("limits", folder.path()).done().text,
        format!("Some({})\n", -libc::EMFILE)
    );
}

#[test]
fn what_is_not_watched_is_not_stopped() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let run = Run {
        arguments: vec!["file".into()],
        watch: Watch {
            files: false,
            network: true,
        },
        judge: Arc::new(Nothing),
        ..Run::new("read", folder.path())
    };
    let done = run.done();
    assert_eq!((done.text.as_str(), done.counts.judged), ("x\n", 0));
}

struct Nothing;

impl defenseclaw_sandbox::supervise::Judge for Nothing {
    fn open(&self, _: &OpenRequest) -> Verdict {
        Verdict::REFUSED
    }

    fn connect(&self, _: &defenseclaw_sandbox::supervise::ConnectRequest) -> Verdict {
        Verdict::REFUSED
    }
}

/// The target sees other things at the same names: a mount namespace of its own, with a file put over another.
#[test]
fn a_target_with_mounts_of_its_own_is_served_from_those() {
    if !require(&[Need::Root]) {
        return;
    }
    let folder = folder();
    std::fs::write(folder.path().join("secret"), "behind the mask").unwrap();
    std::fs::write(folder.path().join("mask"), "mask").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("link")).unwrap();
    let judge = only(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = Run {
        arguments: vec![
            path("secret"),
            path("link"),
            "secret".into(),
            "link".into(),
            "/proc/self/cwd/secret".into(),
        ],
        judge: judge.clone(),
        before: || {
            // SAFETY: C strings and numbers, in a child that is about to exec.
            unsafe {
                libc::unshare(libc::CLONE_NEWNS);
                let none = std::ptr::null();
                libc::mount(
                    none,
                    c"/".as_ptr(),
                    none,
                    libc::MS_REC | libc::MS_PRIVATE,
                    none.cast(),
                );
                libc::mount(
                    c"mask".as_ptr(),
                    c"secret".as_ptr(),
                    none,
                    libc::MS_BIND,
                    none.cast(),
                );
                // The working folder again, with the new mount in it.
                libc::chdir(c".".as_ptr());
            }
        },
        ..Run::new("read", folder.path())
    };
    assert_eq!(run.done().text, "mask\n".repeat(5));
    let seen = judge.seen.lock().unwrap();
    assert_eq!(
        seen.iter()
            .filter(|request| request.path == folder.path().join("secret"))
            .count(),
        5
    );
}

#[test]
fn there_is_no_way_round() {
    let folder = folder();
    let text = Run::new("other worlds", folder.path()).done().text;
    let lines: Vec<&str> = text.lines().collect();
    let wanted = [
        "unshare mounts -1",
        "unshare users -1",
        "unshare table 0",
        "mount -1",
        "open_tree -1",
        "open_tree_attr -1",
        "io_uring -1",
        "clone3 -38",
    ];
    assert_eq!(lines[..8], wanted);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(lines[8..], ["32 bit -38", "x32 -38"]);
    }
}

/// The target has a session and a terminal of its own.
#[test]
fn a_terminal_is_the_targets_own() {
    let folder = folder();
    let own_terminal = || {
        // SAFETY: calls of the C library in a child that is about to exec; the terminal's other end stays open.
        unsafe {
            libc::setsid();
            let master = libc::open(c"/dev/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY);
            libc::grantpt(master);
            libc::unlockpt(master);
            let mut name = [0; 64];
            libc::ptsname_r(master, name.as_mut_ptr(), name.len());
            libc::open(name.as_ptr(), libc::O_RDWR);
        }
    };
    for supervised in [false, true] {
        let run = Run {
            supervised,
            before: own_terminal,
            ..Run::new("terminal", folder.path())
        };
        assert_eq!(run.done().text, "true true\n", "supervised: {supervised}");
    }
}
