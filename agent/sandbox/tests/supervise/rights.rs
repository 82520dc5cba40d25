//! No right is lent, and no way leads round the supervisor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use defenseclaw_sandbox::supervise::SuperviseError;
use defenseclaw_testkit::{Need, require};

use crate::harness::{Everything, Run, folder, reap};
use crate::target::{errno, open, openat, read, tell};

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    match operation {
        "foreign" => foreign(arguments[0]),
        "family" => family(),
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
        "other worlds" => other_worlds(),
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

/// Found out before the command starts, and then it does not start.
#[test]
fn a_child_with_fewer_rights_is_not_started() {
    if !require(&[Need::Root]) {
        return;
    }
    let folder = folder();
    let fewer: fn() = || {
        let header: [u32; 2] = [0x2008_0522, 0];
        let none = [0u32; 6];
        // SAFETY: the kernel reads a header and two triples.
        unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    };
    let other: fn() = || {
        // SAFETY: numbers.
        unsafe { libc::setresuid(65534, 65534, 65534) };
    };
    for before in [fewer, other] {
        // Without `no_new_privs` a filter needs a capability; the harness sets it.
        let run = Run {
            before,
            ..Run::new("read", folder.path())
        };
        let (error, status) = run.try_start().map(|running| running.pid).unwrap_err();
        assert!(matches!(error, SuperviseError::NoAccess(_)), "{error}");
        assert_eq!(libc::WEXITSTATUS(status), 97, "the child goes no further");
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
