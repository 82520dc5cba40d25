//! Opens: what is refused, what is never lent, and what waits.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use defenseclaw_sandbox::supervise::{OpenRequest, Verdict, Watch};

use defenseclaw_testkit::{Need, require};

use crate::harness::{Only, Run, folder, in_a_process_of_its_own, reap};
use crate::target::{errno, open, read, tell};

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    match operation {
        "write" => arguments.iter().for_each(|path| {
            let fd = open(path, libc::O_WRONLY | libc::O_CREAT, 0o600);
            tell(&format!("{}", fd.min(0)));
        }),
        "swarm" => swarm(arguments[0]),
        "through a fifo" => through_a_fifo(),
        "wait for a writer" => {
            tell("waits");
            tell(&format!("{}", open("fifo", libc::O_RDONLY, 0)));
        }
        "limits" => limits(),
        "write and run" => write_and_run(),
        "terminal" => terminal(),
        _ => return None,
    }
    Some(())
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
        unsafe {
            libc::write(fd, b"through".as_ptr().cast(), 7);
            libc::close(fd);
        }
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

/// Whether `/dev/tty` is this session's own terminal.
fn terminal() {
    let fd = open("/dev/tty", libc::O_RDWR, 0);
    // SAFETY: numbers.
    unsafe { tell(&format!("{} {}", fd >= 0, libc::tcgetsid(fd) == libc::getsid(0))) };
}

/// A program that was just written must not be "busy" because the supervisor still has it open for writing.
fn write_and_run() {
    let mut busy = 0;
    for _ in 0..300 {
        let fd = open(
            "script",
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC,
            0o755,
        );
        let text = b"#!/bin/true\n";
        // SAFETY: readable bytes and our own descriptor; the child execs or exits.
        unsafe {
            libc::write(fd, text.as_ptr().cast(), text.len());
            libc::close(fd);
            let child = libc::fork();
            if child == 0 {
                let arguments = [c"script".as_ptr(), std::ptr::null()];
                libc::execv(arguments[0], arguments.as_ptr());
                libc::_exit(errno());
            }
            busy += u32::from(reap(child) != 0);
        }
    }
    tell(&format!("busy {busy}"));
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
#[ignore = "run by the test that follows"]
fn through_a_fifo_alone() {
    let folder = folder();
    fifo(folder.path());
    for _ in 0..10 {
        assert_eq!(
            Run::new("through a fifo", folder.path()).done().text,
            "through\nand back\n"
        );
    }
}

#[test]
fn a_fifo_holds_up_nobody_else() {
    in_a_process_of_its_own("files::through_a_fifo_alone");
}

#[test]
#[ignore = "run by the test that follows"]
fn write_and_run_alone() {
    let folder = folder();
    assert_eq!(Run::new("write and run", folder.path()).done().text, "busy 0\n");
}

#[test]
fn a_program_just_written_can_be_run() {
    in_a_process_of_its_own("files::write_and_run_alone");
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
