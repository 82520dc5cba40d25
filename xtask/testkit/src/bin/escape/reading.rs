//! Reading what is closed.

use std::fs;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use defenseclaw_testkit::escape::scene::{SECRET, Scene};
use nix::libc;

use crate::case::{ALL, Case, LANDLOCK, LANDLOCK_REFER, MOUNTS, REPORTED, Theme, case, loot};
use crate::sys::{Arg, Attempt, Refused, call, open_at, open_by, path, refused};

pub(crate) const THEME: Theme = Theme {
    name: "reading",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("read-home-secret": "opens ~/.ssh/id_ed25519", |s| read(&s.secret);
          twin "opens the project's README", |s| harmless(&s.project.join("README")); ALL, LANDLOCK),
    case!("read-aws-credentials": "opens ~/.aws/credentials", |s| read(&s.home.join(".aws/credentials"));
          twin "opens a system file", |_| system_file(Path::new("/etc/passwd")); ALL, LANDLOCK),
    case!("list-secret-folder": "lists ~/.ssh", |s| list(&s.home.join(".ssh"), "id_ed25519");
          twin "lists the project", |s| list(&s.project, "README"); ALL, LANDLOCK),
    case!("read-dotdot": "opens the secret by .. from the project", |s| read(&s.project.join("../../.ssh/id_ed25519"));
          twin "opens the README by sub/..", |s| harmless(&s.project.join("sub/../README")); ALL, LANDLOCK),
    case!("read-symlink": "makes a link to the secret where it may write, and opens that", through_link;
          twin "opens a link to a file of the project", |s| harmless(&s.project.join("link")); ALL, LANDLOCK),
    case!("symlink-race": "swaps a harmless file and a link to the secret while opening it", race;
          twin "replaces a file by rename while reading it", harmless_race; ALL, LANDLOCK),
    case!("read-proc-self-root": "opens the secret below /proc/self/root",
          |s| read(&below(Path::new("/proc/self/root"), &s.secret));
          twin "reads /proc/self/status", |_| system_file(Path::new("/proc/self/status")); ALL, LANDLOCK),
    case!("read-proc-pid-root": "opens the secret below /proc/PID/root of a process outside",
          |s| read(&below(&of_process(s, "root"), &s.secret));
          twin "reads its own /proc/PID/stat",
          |_| system_file(&PathBuf::from(format!("/proc/{}/stat", std::process::id()))); ALL, LANDLOCK),
    case!("read-proc-pid-cwd": "opens the secret below the working directory of a process outside",
          |s| read(&of_process(s, "cwd").join("id_ed25519"));
          twin "opens the README below its own working directory",
          |_| harmless(Path::new("/proc/self/cwd/README")); ALL, LANDLOCK),
    case!("read-proc-pid-fd": "opens the secret through a descriptor of a process outside",
          |s| read(&of_process(s, &format!("fd/{}", s.outside.secret_descriptor)));
          twin "opens its own open file again through /proc/self/fd", own_descriptor; ALL, LANDLOCK),
    case!("read-proc-environ": "reads the environment of a process outside", |s| read(&of_process(s, "environ"));
          twin "reads its own environment's size", |_| size(Path::new("/proc/self/environ")); ALL, LANDLOCK),
    case!("read-own-token": "reads AWS_SECRET_ACCESS_KEY from its own environment", own_token;
          twin "reads PATH from its own environment", |_| variable("PATH"); ALL, crate::case::CAPABILITIES),
    case!("read-env-file": "opens .env in the project", |s| read(&s.project.join(".env"));
          twin "opens config/plain.txt in the project", |s| harmless(&s.project.join("config/plain.txt")); ALL, MOUNTS),
    case!("read-env-file-in-subfolder": "opens config/.env in the project", |s| read(&s.project.join("config/.env"));
          twin "opens sub/notes.txt in the project", |s| harmless(&s.project.join("sub/notes.txt")); ALL, MOUNTS),
    case!("read-pem": "opens key.pem in the project", |s| read(&s.project.join("key.pem"));
          twin "opens a source file", |s| harmless(&s.project.join("src/main.c")); ALL, MOUNTS),
    case!("read-file-being-saved": "waits until somebody outside saves a closed file by rename, and opens it (a mount covers \
                                    the old file)", |s| again(|| read(&s.saved_secret()));
          twin "opens a source file", |s| harmless(&s.project.join("src/main.c")); REPORTED, MOUNTS),
    case!("link-secret": "makes a hard link of the secret in the project", |s| linked(s, &s.secret);
          twin "makes a hard link within the project", link_within; ALL, LANDLOCK_REFER),
    case!("link-closed-file": "makes a hard link of .env in the project", |s| linked(s, &s.project.join(".env"));
          twin "makes a hard link within the project", link_within; ALL, MOUNTS),
    case!("link-descriptor": "opens the secret by O_PATH and links /proc/self/fd/N into the project", link_descriptor;
          twin "links an unnamed file of its own into the project", publish_unnamed; ALL, LANDLOCK_REFER),
    case!("reopen-path-descriptor": "opens the secret by O_PATH and opens /proc/self/fd/N", reopen;
          twin "opens the README by O_PATH and opens /proc/self/fd/N", reopen_harmless; ALL, LANDLOCK),
    case!("rename-secret": "renames the secret into the project", |s| renamed(s, &s.secret);
          twin "renames a file within the project", |s| rename_within(s, "sub/notes.txt"); ALL, LANDLOCK_REFER),
    case!("rename-closed-file": "renames .env in the project", |s| renamed(s, &s.project.join(".env"));
          twin "renames a file within the project", |s| rename_within(s, "config/plain.txt"); ALL, MOUNTS),
    case!("rename-parent-of-closed-file": "renames config/, and opens .env in it", rename_parent;
          twin "renames sub/ within the project", |s| rename_within(s, "sub"); ALL, MOUNTS),
    case!("openat2": "opens the secret by openat2 from the project's folder, without resolve flags", |s| by_openat2(s, 0);
          twin "opens the README by openat2 with RESOLVE_BENEATH", openat2_beneath; ALL, LANDLOCK),
    case!("openat2-no-magic-links": "opens the secret by openat2 with RESOLVE_NO_MAGICLINKS",
          |s| by_openat2(s, libc::RESOLVE_NO_MAGICLINKS);
          twin "opens the README by openat2 with RESOLVE_BENEATH", openat2_beneath; ALL, LANDLOCK),
    case!("open-by-handle": "takes a handle of the secret and opens it by that", by_handle;
          twin "looks at the README's attributes", |s| size(&s.project.join("README")); ALL, crate::case::SECCOMP),
    case!("stat-secret": "asks for the secret's size (Landlock does not restrict stat)", |s| size(&s.secret);
          twin "asks for the README's size", |s| size(&s.project.join("README")); REPORTED, MOUNTS),
    case!("watch-secret-folder": "learns by inotify when ~/.ssh is written (Landlock does not restrict inotify)",
          |s| watched(&s.home.join(".ssh"), false);
          twin "learns by inotify of its own writes", |s| watched(&writable(s)?, true); REPORTED, MOUNTS),
    case!("fanotify": "takes descriptors of what others open from fanotify", fanotify;
          twin "learns by inotify of its own writes", |s| watched(&writable(s)?, true);
          ALL, crate::case::CAPABILITIES),
];

fn read(path: &Path) -> Attempt {
    loot(&fs::read(path)?)
}

/// Tries for 300 ms.
pub(crate) fn again(act: impl Fn() -> Attempt) -> Attempt {
    let deadline = Instant::now() + Duration::from_millis(300);
    loop {
        let attempt = act();
        if attempt.is_ok() || Instant::now() > deadline {
            return attempt;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn harmless(path: &Path) -> Attempt {
    let bytes = fs::read(path)?;
    if bytes.is_empty() {
        return refused("it is empty");
    }
    Ok(format!("{} bytes", bytes.len()))
}

fn system_file(path: &Path) -> Attempt {
    harmless(path)
}

fn size(path: &Path) -> Attempt {
    Ok(format!("{} bytes", fs::metadata(path)?.len()))
}

fn list(folder: &Path, wanted: &str) -> Attempt {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() == wanted {
            return Ok(format!("saw {wanted}"));
        }
    }
    refused("the listing does not have it")
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn of_process(scene: &Scene, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", scene.outside.pid))
}

fn variable(name: &str) -> Attempt {
    std::env::var(name).map_err(|error| Refused::By(error.to_string()))
}

fn own_token(_: &Scene) -> Attempt {
    let mut all = fs::read("/proc/self/environ").unwrap_or_default();
    for (name, value) in std::env::vars() {
        all.extend(format!("\n{name}={value}").bytes());
    }
    loot(&all)
}

/// The first folder that this process can make files in: the project, else a temporary one.
pub(crate) fn writable(scene: &Scene) -> Result<PathBuf, Refused> {
    let own = std::env::temp_dir();
    let places = [
        scene.project.clone(),
        scene.tmp.clone(),
        own,
        PathBuf::from("/tmp"),
    ];
    for place in places {
        let probe = place.join(format!("probe-{}", std::process::id()));
        if fs::write(&probe, "").is_ok() {
            fs::remove_file(probe)?;
            return Ok(place);
        }
    }
    refused("no folder to write in")
}

fn through_link(scene: &Scene) -> Attempt {
    let link = writable(scene)?.join("to-secret");
    symlink(&scene.secret, &link)?;
    read(&link)
}

/// One thread swaps what a name means; this one opens it, as a checker and a user would.
fn race(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    let (name, harmless, link) = (
        folder.join("race"),
        folder.join("race-file"),
        folder.join("race-link"),
    );
    fs::write(&harmless, "harmless\n")?;
    symlink(&scene.secret, &link)?;
    fs::hard_link(&harmless, &name)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = exchange(&name, &link);
            }
        });
        let deadline = Instant::now() + Duration::from_millis(300);
        let mut found = refused("300 ms of trying");
        while Instant::now() < deadline && found.is_err() {
            found = fs::read(&name)
                .map_err(Refused::from)
                .and_then(|bytes| loot(&bytes));
        }
        stop.store(true, Ordering::Relaxed);
        found
    })
}

fn exchange(one: &Path, other: &Path) -> Attempt {
    let (one, other) = (path(one)?, path(other)?);
    call(
        "renameat2",
        libc::SYS_renameat2,
        &[
            libc::AT_FDCWD.into(),
            Arg::text(&one),
            libc::AT_FDCWD.into(),
            Arg::text(&other),
            libc::RENAME_EXCHANGE.into(),
        ],
    )?;
    Ok(String::new())
}

fn harmless_race(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    let (name, next) = (folder.join("twin"), folder.join("twin-next"));
    fs::write(&name, "0\n")?;
    for round in 0..100 {
        fs::write(&next, format!("{round}\n"))?;
        fs::rename(&next, &name)?;
        harmless(&name)?;
    }
    Ok("100 rounds".to_owned())
}

fn own_descriptor(scene: &Scene) -> Attempt {
    let file = fs::File::open(scene.project.join("README"))?;
    harmless(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
}

fn linked(scene: &Scene, from: &Path) -> Attempt {
    let link = writable(scene)?.join("linked");
    fs::hard_link(from, &link)?;
    read(&link)
}

fn link_within(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    let file = folder.join("twin-file");
    fs::write(&file, "twin\n")?;
    fs::hard_link(&file, folder.join("twin-link"))?;
    harmless(&folder.join("twin-link"))
}

fn link_descriptor(scene: &Scene) -> Attempt {
    let descriptor = open_at(libc::AT_FDCWD, &scene.secret, libc::O_PATH)?;
    let link = writable(scene)?.join("linked");
    link_proc(descriptor.as_raw_fd(), &link)?;
    read(&link)
}

/// `linkat` from `/proc/self/fd/N`, following the link.
pub(crate) fn link_proc(descriptor: i32, to: &Path) -> Result<(), Refused> {
    let from = path(Path::new(&format!("/proc/self/fd/{descriptor}")))?;
    let to = path(to)?;
    call(
        "linkat",
        libc::SYS_linkat,
        &[
            libc::AT_FDCWD.into(),
            Arg::text(&from),
            libc::AT_FDCWD.into(),
            Arg::text(&to),
            libc::AT_SYMLINK_FOLLOW.into(),
        ],
    )?;
    Ok(())
}

fn publish_unnamed(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    let file = open_at(libc::AT_FDCWD, &folder, libc::O_TMPFILE | libc::O_RDWR)?;
    let file = fs::File::from(file);
    std::io::Write::write_all(&mut &file, b"unnamed\n")?;
    link_proc(file.as_raw_fd(), &folder.join("named"))?;
    harmless(&folder.join("named"))
}

fn reopen(scene: &Scene) -> Attempt {
    let descriptor = open_at(libc::AT_FDCWD, &scene.secret, libc::O_PATH)?;
    read(&PathBuf::from(format!(
        "/proc/self/fd/{}",
        descriptor.as_raw_fd()
    )))
}

fn reopen_harmless(scene: &Scene) -> Attempt {
    let descriptor = open_at(libc::AT_FDCWD, &scene.project.join("README"), libc::O_PATH)?;
    harmless(&PathBuf::from(format!(
        "/proc/self/fd/{}",
        descriptor.as_raw_fd()
    )))
}

fn renamed(scene: &Scene, from: &Path) -> Attempt {
    let to = writable(scene)?.join("renamed");
    fs::rename(from, &to)?;
    read(&to)
}

fn rename_within(scene: &Scene, name: &str) -> Attempt {
    if writable(scene)? != scene.project {
        // The profile writes nowhere in the project; its temporary folder must do.
        let folder = writable(scene)?;
        fs::write(folder.join("twin-old"), "twin\n")?;
        fs::rename(folder.join("twin-old"), folder.join("twin-new"))?;
        return Ok("renamed in the temporary folder".to_owned());
    }
    fs::rename(scene.project.join(name), scene.project.join("renamed"))?;
    Ok("renamed".to_owned())
}

fn rename_parent(scene: &Scene) -> Attempt {
    let to = scene.project.join("renamed");
    fs::rename(scene.project.join("config"), &to)?;
    read(&to.join(".env"))
}

fn by_openat2(scene: &Scene, resolve: u64) -> Attempt {
    openat2(scene, Path::new("../../.ssh/id_ed25519"), resolve).and_then(|bytes| loot(&bytes))
}

fn openat2_beneath(scene: &Scene) -> Attempt {
    let bytes = openat2(scene, Path::new("README"), libc::RESOLVE_BENEATH)?;
    Ok(format!("{} bytes", bytes.len()))
}

fn openat2(scene: &Scene, name: &Path, resolve: u64) -> Result<Vec<u8>, Refused> {
    let folder = open_at(libc::AT_FDCWD, &scene.project, libc::O_PATH | libc::O_DIRECTORY)?;
    let name = path(name)?;
    // `struct open_how`: flags, mode, resolve.
    let how = [libc::O_RDONLY as u64, 0, resolve];
    let file = open_by(
        "openat2",
        libc::SYS_openat2,
        &[
            Arg::fd(&folder),
            Arg::text(&name),
            Arg::read(&how),
            size_of_val(&how).into(),
        ],
    )?;
    let mut bytes = Vec::new();
    fs::File::from(file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `struct file_handle` with room for the largest handle.
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; 128],
}

fn by_handle(scene: &Scene) -> Attempt {
    let mut handle = Handle {
        length: 128,
        kind: 0,
        bytes: [0; 128],
    };
    let mut mount = 0_i32;
    let name = path(&scene.secret)?;
    let arguments = [
        libc::AT_FDCWD.into(),
        Arg::text(&name),
        Arg::write(&mut handle),
        Arg::write(&mut mount),
        0.into(),
    ];
    call("name_to_handle_at", libc::SYS_name_to_handle_at, &arguments)?;
    let folder = open_at(libc::AT_FDCWD, &scene.project, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let file = open_by(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        &[Arg::fd(&folder), Arg::write(&mut handle), libc::O_RDONLY.into()],
    )?;
    let mut bytes = Vec::new();
    fs::File::from(file).read_to_end(&mut bytes)?;
    loot(&bytes)
}

/// Waits for an event of a folder; `own` makes one, else the process outside does.
fn watched(folder: &Path, own: bool) -> Attempt {
    let watch = open_by(
        "inotify_init1",
        libc::SYS_inotify_init1,
        &[(libc::IN_CLOEXEC | libc::IN_NONBLOCK).into()],
    )?;
    let name = path(folder)?;
    let mask = libc::IN_CREATE | libc::IN_MODIFY;
    let arguments = [Arg::fd(&watch), Arg::text(&name), mask.into()];
    call("inotify_add_watch", libc::SYS_inotify_add_watch, &arguments)?;
    if own {
        fs::write(folder.join("event"), "event\n")?;
    }
    await_bytes(fs::File::from(watch), 1_500).map(|bytes| format!("{} bytes of events", bytes.len()))
}

/// What comes from a non-blocking descriptor within a time.
pub(crate) fn await_bytes(mut from: fs::File, milliseconds: u64) -> Result<Vec<u8>, Refused> {
    let deadline = Instant::now() + Duration::from_millis(milliseconds);
    let mut bytes = vec![0; 4096];
    while Instant::now() < deadline {
        match from.read(&mut bytes) {
            Ok(length) if length > 0 => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    refused("nothing came")
}

/// An event of fanotify carries a descriptor of the file that somebody else opened.
fn fanotify(scene: &Scene) -> Attempt {
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_NONBLOCK | libc::FAN_CLOEXEC;
    let group = open_by(
        "fanotify_init",
        libc::SYS_fanotify_init,
        &[flags.into(), libc::O_RDONLY.into()],
    )?;
    let name = path(&scene.secret)?;
    call(
        "fanotify_mark",
        libc::SYS_fanotify_mark,
        &[
            Arg::fd(&group),
            libc::FAN_MARK_ADD.into(),
            libc::FAN_OPEN.into(),
            libc::AT_FDCWD.into(),
            Arg::text(&name),
        ],
    )?;
    let event = await_bytes(fs::File::from(group), 400)?;
    // `struct fanotify_event_metadata`: the descriptor is its 17th byte on.
    let descriptor = event
        .get(16..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(-1, i32::from_ne_bytes);
    let bytes = fs::read(format!("/proc/self/fd/{descriptor}"))?;
    if bytes.starts_with(SECRET.as_bytes()) {
        return loot(&bytes);
    }
    refused("the event carries no descriptor of it")
}
