//! A table of opens, made once with a supervisor and once without: everything that a program can tell is the same.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libc::{
    O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR,
    O_TMPFILE, O_TRUNC, O_WRONLY,
};

use crate::harness::{Run, folder};
use crate::target::{errno, open, openat, tell};

/// Name, path in the folder, flags, mode.
const TABLE: &[(&str, &str, i32, u32)] = &[
    ("read", "hello", O_RDONLY, 0),
    ("read, close on exec", "hello", O_RDONLY | O_CLOEXEC, 0),
    ("read and write", "hello", O_RDWR, 0),
    ("append", "hello", O_WRONLY | O_APPEND, 0),
    ("nonblocking", "hello", O_RDONLY | O_NONBLOCK, 0),
    ("truncate", "scratch", O_WRONLY | O_TRUNC, 0),
    ("truncate while reading", "scratch2", O_RDONLY | O_TRUNC, 0),
    ("create", "new1", O_CREAT | O_WRONLY, 0o666),
    ("create with set-gid", "new1s", O_CREAT | O_RDWR, 0o2777),
    ("create what exists", "hello", O_CREAT | O_RDWR, 0o600),
    ("create read-only", "new2", O_CREAT | O_RDWR, 0o400),
    ("create exclusively", "new3", O_CREAT | O_EXCL | O_RDWR, 0o640),
    (
        "create exclusively what exists",
        "hello",
        O_CREAT | O_EXCL | O_RDWR,
        0o640,
    ),
    (
        "create exclusively over a link",
        "dangling",
        O_CREAT | O_EXCL | O_RDWR,
        0o640,
    ),
    (
        "create through a dangling link",
        "dangling",
        O_CREAT | O_RDWR,
        0o640,
    ),
    (
        "create, link not followed",
        "link",
        O_CREAT | O_NOFOLLOW | O_RDWR,
        0o640,
    ),
    ("create in a missing folder", "no/file", O_CREAT | O_RDWR, 0o640),
    ("create with a slash", "new4/", O_CREAT | O_RDWR, 0o640),
    ("create a file with a slash", "hello/", O_CREAT | O_RDWR, 0o640),
    ("create a folder", "folder", O_CREAT | O_RDWR, 0o640),
    ("create the folder itself", ".", O_CREAT | O_RDWR, 0o640),
    (
        "create with directory",
        "new5",
        O_CREAT | O_DIRECTORY | O_RDWR,
        0o640,
    ),
    ("unnamed file", "folder", O_TMPFILE | O_RDWR, 0o640),
    (
        "unnamed file, never named",
        "folder",
        O_TMPFILE | O_EXCL | O_WRONLY,
        0o600,
    ),
    ("unnamed file, read only", "folder", O_TMPFILE | O_RDONLY, 0o600),
    ("unnamed file in a file", "hello", O_TMPFILE | O_RDWR, 0o600),
    ("missing", "nothing", O_RDONLY, 0),
    ("missing folder", "no/nothing", O_RDONLY, 0),
    ("empty path", "", O_RDONLY, 0),
    ("below a file", "hello/x", O_RDONLY, 0),
    ("file with a slash", "hello/", O_RDONLY, 0),
    ("folder", "folder", O_RDONLY, 0),
    ("folder with a slash", "folder/", O_RDONLY | O_DIRECTORY, 0),
    ("folder to write", "folder", O_WRONLY, 0),
    ("file as a folder", "hello", O_RDONLY | O_DIRECTORY, 0),
    ("link", "link", O_RDONLY, 0),
    ("link not followed", "link", O_RDONLY | O_NOFOLLOW, 0),
    (
        "link not followed, directory",
        "linkdir",
        O_RDONLY | O_NOFOLLOW | O_DIRECTORY,
        0,
    ),
    (
        "link not followed, slash",
        "linkdir/",
        O_RDONLY | O_NOFOLLOW | O_DIRECTORY,
        0,
    ),
    ("handle of a link", "link", O_PATH | O_NOFOLLOW, 0),
    ("handle", "hello", O_PATH, 0),
    (
        "handle of a folder",
        "folder",
        O_PATH | O_DIRECTORY | O_CLOEXEC,
        0,
    ),
    ("handle with nonsense", "hello", O_PATH | O_CREAT | O_RDWR, 0o600),
    ("through a linked folder", "linkdir/inner", O_RDONLY, 0),
    ("up and down", "linkdir/../hello", O_RDONLY, 0),
    ("many slashes", ".///folder//.//inner", O_RDONLY, 0),
    ("dangling", "dangling-for-good", O_RDONLY, 0),
    ("loop", "loop1", O_RDONLY, 0),
    ("chain of links", "chain0", O_RDONLY, 0),
    ("too long a chain", "long0", O_RDONLY, 0),
    ("unreadable", "closed", O_RDWR, 0),
    ("fifo, nothing there", "fifo", O_WRONLY | O_NONBLOCK, 0),
    ("fifo without waiting", "fifo", O_RDONLY | O_NONBLOCK, 0),
    ("fifo both ways", "fifo", O_RDWR, 0),
    ("socket", "socket", O_RDONLY, 0),
    ("access mode 3", "hello", 3, 0),
    ("null", "/dev/null", O_RDWR, 0),
    ("zero", "/dev/zero", O_RDONLY, 0),
    ("full", "/dev/full", O_WRONLY, 0),
    ("terminal", "/dev/tty", O_RDWR, 0),
    ("new terminal", "/dev/ptmx", O_RDWR | libc::O_NOCTTY, 0),
    ("standard input", "/dev/stdin", O_RDONLY, 0),
    ("standard error's folder", "/dev/fd", O_RDONLY | O_DIRECTORY, 0),
    ("system file", "/etc/passwd", O_RDONLY, 0),
    ("system file to write", "/proc/version", O_WRONLY, 0),
    ("link of the system", "/etc/mtab", O_RDONLY, 0),
    ("own executable", "/proc/self/exe", O_RDONLY, 0),
    ("own executable to write", "/proc/self/exe", O_RDWR, 0),
    ("own status", "/proc/self/status", O_RDONLY, 0),
    ("own thread", "/proc/thread-self/status", O_RDONLY, 0),
    ("own folder", "/proc/self", O_RDONLY | O_DIRECTORY, 0),
    ("own link", "/proc/self", O_PATH | O_NOFOLLOW, 0),
    ("through the own folder", "/proc/self/cwd/hello", O_RDONLY, 0),
    ("through the own root", "/proc/self/root/etc/passwd", O_RDONLY, 0),
    (
        "through the root and up",
        "/proc/self/root/../../etc/../etc/passwd",
        O_RDONLY,
        0,
    ),
    ("namespace", "/proc/self/ns/mnt", O_RDONLY, 0),
    ("jump not followed", "/proc/self/exe", O_RDONLY | O_NOFOLLOW, 0),
    ("missing in proc", "/proc/self/nothing", O_RDONLY, 0),
    ("process that is not", "/proc/99999999/status", O_RDONLY, 0),
    ("missing descriptor", "/proc/self/fd/177", O_RDONLY, 0),
    ("own threads", "/proc/self/task", O_RDONLY | O_DIRECTORY, 0),
    ("unknown flag", "hello", 0x4000_0000, 0),
];

/// The target's side.
pub(crate) fn run() {
    // SAFETY: only this process's mask.
    unsafe { libc::umask(0o027) };
    for (name, path, flags, mode) in TABLE {
        tell(&format!("{name}: {}", outcome(open(path, *flags, *mode))));
    }
    let long = "x".repeat(256);
    tell(&format!("long name: {}", outcome(open(&long, O_RDONLY, 0))));
    tell(&format!(
        "long path: {}",
        outcome(open(&"./".repeat(2100), O_RDONLY, 0))
    ));
    tell(&format!(
        "nearly too long: {}",
        outcome(open(&format!("{}hello", "./".repeat(2040)), O_RDONLY, 0))
    ));
    from_folders();
    by_how();
    // SAFETY: an address that is not there; the kernel says so.
    let bad = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, 8usize, O_RDONLY, 0) };
    tell(&format!("bad address: {bad} {}", errno()));
    let memory = std::thread::spawn(|| open("/proc/thread-self/comm", O_RDONLY, 0))
        .join()
        .unwrap();
    tell(&format!("another thread: {}", outcome(memory)));
}

fn from_folders() {
    let folder = open("folder", O_RDONLY | O_DIRECTORY, 0);
    let handle = open("folder", O_PATH, 0);
    let file = open("hello", O_RDONLY, 0);
    for (name, dir, path) in [
        ("from a folder", folder, "inner"),
        ("from a handle", handle, "inner"),
        ("from a folder, up", folder, "../hello"),
        ("from a file", file, "inner"),
        ("from a file, absolute", file, "/etc/passwd"),
        ("from nothing", 190, "inner"),
        ("from a number below 0", -7, "inner"),
    ] {
        tell(&format!("{name}: {}", outcome(openat(dir, path, O_RDONLY, 0))));
    }
    for (name, flags) in [
        ("again", O_RDONLY),
        ("again, to write", O_RDWR),
        ("again, appending", O_WRONLY | O_APPEND),
    ] {
        tell(&format!(
            "{name}: {}",
            outcome(open(&format!("/proc/self/fd/{file}"), flags, 0))
        ));
        tell(&format!(
            "{name}, by /dev: {}",
            outcome(open(&format!("/dev/fd/{file}"), flags, 0))
        ));
    }
    let unnamed = open("folder", O_TMPFILE | O_RDWR, 0o600);
    tell(&format!(
        "unnamed again: {}",
        outcome(open(&format!("/proc/self/fd/{unnamed}"), O_RDWR, 0))
    ));
    // SAFETY: a C string.
    let memory = unsafe { libc::memfd_create(c"m".as_ptr(), 0) };
    tell(&format!(
        "memory again: {}",
        outcome(open(&format!("/proc/self/fd/{memory}"), O_RDWR, 0))
    ));
    let mut ends = [0; 2];
    // SAFETY: two writable ints.
    unsafe { libc::pipe(ends.as_mut_ptr()) };
    tell(&format!(
        "pipe again: {}",
        outcome(open(
            &format!("/proc/self/fd/{}", ends[0]),
            O_RDONLY | O_NONBLOCK,
            0
        ))
    ));
}

fn by_how() {
    let how = |path: &str, words: [u64; 3], size: usize| {
        let path = std::ffi::CString::new(path).unwrap();
        let mut padded = [0u64; 8];
        padded[..3].copy_from_slice(&words);
        // SAFETY: a C string and a structure that is longer than any size used here.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                libc::AT_FDCWD,
                path.as_ptr(),
                padded.as_ptr(),
                size,
            )
        };
        if fd < 0 { -errno() } else { fd as i32 }
    };
    let (beneath, in_root) = (libc::RESOLVE_BENEATH, libc::RESOLVE_IN_ROOT);
    for (name, path, words, size) in [
        ("how", "hello", [O_RDONLY as u64, 0, 0], 24),
        ("how, longer", "hello", [O_RDONLY as u64, 0, 0], 32),
        ("how, too short", "hello", [O_RDONLY as u64, 0, 0], 16),
        ("how, unknown flag", "hello", [1 << 40, 0, 0], 24),
        ("how, mode without create", "hello", [0, 0o600, 0], 24),
        ("how, create", "new9", [(O_CREAT | O_RDWR) as u64, 0o666, 0], 24),
        ("how, beneath", "folder/../hello", [0, 0, beneath], 24),
        ("how, not beneath", "../x", [0, 0, beneath], 24),
        ("how, absolute beneath", "/etc/passwd", [0, 0, beneath], 24),
        ("how, in root", "/hello", [0, 0, in_root], 24),
        ("how, in root, up", "../../hello", [0, 0, in_root], 24),
        (
            "how, create in root",
            "/folder/new10",
            [(O_CREAT | O_RDWR) as u64, 0o666, in_root],
            24,
        ),
        ("how, no links", "link", [0, 0, libc::RESOLVE_NO_SYMLINKS], 24),
        (
            "how, no jumps",
            "/proc/self/exe",
            [0, 0, libc::RESOLVE_NO_MAGICLINKS],
            24,
        ),
        (
            "how, no jumps, plain link",
            "link",
            [0, 0, libc::RESOLVE_NO_MAGICLINKS],
            24,
        ),
        (
            "how, other mount",
            "/proc/version",
            [0, 0, libc::RESOLVE_NO_XDEV],
            24,
        ),
    ] {
        tell(&format!("{name}: {}", outcome(how(path, words, size))));
    }
}

/// Everything that a program can ask about a descriptor; then it is closed.
fn outcome(fd: i32) -> String {
    if fd < 0 {
        return format!("errno {}", -fd);
    }
    // SAFETY: a zeroed `stat` is valid, the buffers are writable, the descriptor is ours.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &raw mut stat);
        // A descriptor that the supervisor made shows no O_NOFOLLOW.
        let flags = libc::fcntl(fd, libc::F_GETFL) & !O_NOFOLLOW;
        let on_exec = libc::fcntl(fd, libc::F_GETFD);
        libc::fcntl(fd, libc::F_SETFL, flags | O_NONBLOCK);
        let mut buf = [0u8; 16];
        let volatile = stat.st_mode & libc::S_IFMT != libc::S_IFREG;
        let content = if volatile && stat.st_mode & libc::S_IFMT != libc::S_IFIFO {
            String::new()
        } else {
            match libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) {
                length if length < 0 => format!("read errno {}", errno()),
                length => String::from_utf8_lossy(&buf[..length as usize]).into_owned(),
            }
        };
        // The number has to be the lowest free one, as always.
        let lowest = libc::dup(fd) > fd;
        for extra in 3..100 {
            if extra > fd {
                libc::close(extra);
            }
        }
        libc::close(fd);
        format!(
            "mode {:o} flags {flags:o} on exec {on_exec} lowest {lowest} {content:?}",
            stat.st_mode
        )
    }
}

fn prepare(folder: &Path) {
    use std::os::unix::fs::symlink;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("hello", "hello there\n");
    write("scratch", "to be emptied");
    write("scratch2", "to be emptied");
    write("closed", "for nobody");
    std::fs::set_permissions(folder.join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    write("folder/inner", "inside\n");
    for (name, to) in [
        ("link", "hello"),
        ("linkdir", "folder"),
        ("dangling", "made-through-link"),
        ("dangling-for-good", "nowhere/at/all"),
        ("loop1", "loop2"),
        ("loop2", "loop1"),
    ] {
        symlink(to, folder.join(name)).unwrap();
    }
    for (name, length) in [("chain", 40), ("long", 41)] {
        for at in 0..length {
            let to = if at + 1 == length {
                "hello".into()
            } else {
                format!("{name}{}", at + 1)
            };
            symlink(to, folder.join(format!("{name}{at}"))).unwrap();
        }
    }
    let fifo = std::ffi::CString::new(folder.join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
}

fn table(supervised: bool) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let folder = folder();
    prepare(folder.path());
    let done = Run {
        supervised,
        ..Run::new("table", folder.path())
    }
    .done();
    assert_eq!(done.status, 0, "{}", done.text);
    let lines = done.text.lines().filter_map(|line| line.split_once(": "));
    let made = std::fs::read_dir(folder.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        (
            entry.file_name().into_string().unwrap(),
            format!(
                "{:o} {}",
                meta.permissions().mode(),
                meta.is_file() as u64 * meta.len()
            ),
        )
    });
    (
        lines
            .map(|(name, result)| (name.to_owned(), result.to_owned()))
            .collect(),
        made.collect(),
    )
}

#[test]
fn opens_are_the_same_with_and_without_a_supervisor() {
    let (plain, plain_folder) = table(false);
    let (supervised, folder) = table(true);
    assert!(plain.len() > 100, "{} lines", plain.len());
    let different: Vec<String> = plain
        .iter()
        .filter(|(name, result)| supervised.get(*name) != Some(result))
        .map(|(name, result)| {
            format!(
                "{name}:\n  plain      {result}\n  supervised {:?}",
                supervised.get(name)
            )
        })
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(plain_folder, folder, "what the opens made");
}
