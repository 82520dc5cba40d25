//! Writing outside the project: the outside is what knows.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use defenseclaw_testkit::escape::scene::{DEFACED, Scene};
use nix::libc;

use crate::case::{
    ALL, CAPABILITIES, Case, LANDLOCK, LANDLOCK_REFER, LANDLOCK_TRUNCATE, MOUNTS, OWN_TMP, REPORTED, Theme,
    case,
};
use crate::reading::{await_bytes, link_proc, writable};
use crate::sys::{Arg, Attempt, Refused, absent, call, open_at, path, refused};

pub(crate) const THEME: Theme = Theme {
    name: "writing",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("write-neighbour": "writes a file of the project beside it", |s| overwrite(&s.neighbour.join("file.txt"));
          twin "writes a file of its own", write_own; ALL, LANDLOCK, judge Outside),
    case!("create-in-parent": "creates a file in the folder above the project", |s| create(&s.project.join("../new"));
          twin "creates a file in a new folder of its own", create_own; ALL, LANDLOCK, judge Outside),
    case!("append-profile": "appends to ~/.profile", |s| append(&s.home.join(".profile"));
          twin "appends to a file of its own", append_own; ALL, LANDLOCK, judge Outside),
    case!("replace-bashrc": "replaces ~/.bashrc by rename", |s| replace(s, &s.home.join(".bashrc"));
          twin "replaces a file of its own by rename", replace_own; ALL, LANDLOCK_REFER, judge Outside),
    case!("append-authorized-keys": "appends to ~/.ssh/authorized_keys",
          |s| append(&s.home.join(".ssh/authorized_keys"));
          twin "appends to a file of its own", append_own; ALL, LANDLOCK, judge Outside),
    case!("create-user-harness-settings": "creates ~/.claude/settings.json",
          |s| create_below(&s.home.join(".claude"), "settings.json");
          twin "creates a file in a new folder of its own", create_own; ALL, LANDLOCK, judge Outside),
    case!("create-user-program": "creates ~/.local/bin/git", |s| create(&s.home.join(".local/bin/git"));
          twin "creates an executable file of its own", create_executable; ALL, LANDLOCK, judge Outside),
    case!("create-user-service": "creates a unit of the user's service manager",
          |s| create(&s.home.join(".config/systemd/user/x.service"));
          twin "creates a file in a new folder of its own", create_own; ALL, LANDLOCK, judge Outside),
    case!("truncate-outside": "shortens a file outside by truncate(2)", |s| truncate(&s.neighbour.join("file.txt"));
          twin "shortens a file of its own by truncate(2)", truncate_own; ALL, LANDLOCK_TRUNCATE, judge Outside),
    case!("delete-outside": "removes a file outside", |s| done(fs::remove_file(s.neighbour.join("file.txt")), "removed");
          twin "removes a file of its own", remove_own; ALL, LANDLOCK, judge Outside),
    case!("rename-outside": "renames a folder outside",
          |s| done(fs::rename(&s.neighbour, s.home.join("work/other")), "renamed");
          twin "renames a folder of its own", rename_own; ALL, LANDLOCK, judge Outside),
    case!("publish-unnamed-outside": "links an unnamed file of its own into a folder outside",
          |s| publish(s, &s.neighbour.join("new"));
          twin "links an unnamed file of its own into its folder", |s| publish(s, &writable(s)?.join("published"));
          ALL, LANDLOCK_REFER, judge Outside),
    case!("symlink-write": "writes through a link to a file outside", write_through_link;
          twin "writes through a link to a file of its own", write_through_own_link; ALL, LANDLOCK, judge Outside),
    case!("write-fifo": "writes commands into a FIFO that a process outside reads", |s| append(&s.fifo());
          twin "writes and reads a FIFO of its own", own_fifo; ALL, LANDLOCK, judge Outside),
    case!("write-shared-tmp": "writes a file of the same user in /tmp", |s| overwrite(&s.shared_tmp);
          twin "writes in its own temporary folder", write_temporary; OWN_TMP, LANDLOCK, judge Outside),
    case!("write-shared-memory-file": "writes a file of the same user in /dev/shm",
          |s| overwrite(&s.shared_memory_file);
          twin "makes an anonymous shared mapping's file by memfd_create", own_memory_file;
          OWN_TMP, LANDLOCK, judge Outside),
    case!("chmod-outside": "changes permissions of a file outside (Landlock does not restrict chmod)",
          |s| mode(&s.neighbour.join("file.txt"), 0o777);
          twin "changes permissions of a file of its own", mode_own; REPORTED, MOUNTS, judge Outside),
    case!("chown-outside": "gives a file outside away, as root (Landlock does not restrict chown)", give_away;
          twin "gives a file of its own to its own group", own_group; REPORTED, MOUNTS, judge Outside),
    case!("setxattr-outside": "sets an attribute of a file outside (Landlock does not restrict setxattr)",
          |s| attribute(&s.neighbour.join("file.txt"));
          twin "sets an attribute of a file of its own", |s| attribute(&own(s, "twin")?);
          REPORTED, MOUNTS, judge Outside),
    case!("utimes-outside": "sets a file's time outside (Landlock does not restrict utimensat)",
          |s| touch(&s.neighbour.join("file.txt"));
          twin "sets the time of a file of its own", |s| touch(&own(s, "twin")?); REPORTED, MOUNTS, judge Outside),
    case!("device-node": "makes a node of the kernel log's device, and reads that", device_node;
          twin "makes a FIFO of its own", own_fifo; ALL, CAPABILITIES),
    case!("late-daemon": "leaves a process behind that attacks when the run is over", late_daemon;
          twin "leaves a process behind that writes a file of its own", late_writer; ALL, LANDLOCK),
];

fn done(result: std::io::Result<()>, what: &str) -> Attempt {
    result?;
    Ok(what.to_owned())
}

fn overwrite(path: &Path) -> Attempt {
    done(
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(DEFACED.as_bytes())),
        "wrote",
    )
}

fn append(path: &Path) -> Attempt {
    done(
        fs::OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(DEFACED.as_bytes())),
        "appended",
    )
}

fn create(path: &Path) -> Attempt {
    done(
        fs::File::create_new(path).and_then(|mut file| file.write_all(DEFACED.as_bytes())),
        "created",
    )
}

pub(crate) fn create_below(folder: &Path, name: &str) -> Attempt {
    // What it is refused, the next line is refused too.
    let _ = fs::create_dir_all(folder);
    create(&folder.join(name))
}

fn replace(scene: &Scene, target: &Path) -> Attempt {
    let prepared = writable(scene)?.join("prepared");
    fs::write(&prepared, DEFACED)?;
    done(fs::rename(prepared, target), "replaced")
}

fn truncate(file: &Path) -> Attempt {
    let name = path(file)?;
    call("truncate", libc::SYS_truncate, &[Arg::text(&name), 0.into()])?;
    Ok("shortened".to_owned())
}

/// A file of its own with some content.
fn own(scene: &Scene, name: &str) -> Result<std::path::PathBuf, Refused> {
    let file = writable(scene)?.join(name);
    fs::write(&file, "twin\n")?;
    Ok(file)
}

fn write_own(scene: &Scene) -> Attempt {
    overwrite(&own(scene, "twin")?)
}

fn append_own(scene: &Scene) -> Attempt {
    append(&own(scene, "twin")?)
}

fn create_own(scene: &Scene) -> Attempt {
    create_below(&writable(scene)?.join("twin-folder/sub"), "file")
}

fn create_executable(scene: &Scene) -> Attempt {
    let file = own(scene, "twin")?;
    mode(&file, 0o755)
}

fn replace_own(scene: &Scene) -> Attempt {
    replace(scene, &own(scene, "twin")?)
}

fn truncate_own(scene: &Scene) -> Attempt {
    truncate(&own(scene, "twin")?)
}

fn remove_own(scene: &Scene) -> Attempt {
    done(fs::remove_file(own(scene, "twin")?), "removed")
}

fn rename_own(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    fs::create_dir(folder.join("twin-folder"))?;
    done(
        fs::rename(folder.join("twin-folder"), folder.join("twin-other")),
        "renamed",
    )
}

fn publish(scene: &Scene, to: &Path) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let file = fs::File::from(open_at(
        libc::AT_FDCWD,
        &writable(scene)?,
        libc::O_TMPFILE | libc::O_RDWR,
    )?);
    (&file).write_all(DEFACED.as_bytes())?;
    link_proc(file.as_raw_fd(), to)?;
    Ok("linked".to_owned())
}

fn write_through_link(scene: &Scene) -> Attempt {
    let link = writable(scene)?.join("to-neighbour");
    symlink(scene.neighbour.join("file.txt"), &link)?;
    overwrite(&link)
}

fn write_through_own_link(scene: &Scene) -> Attempt {
    let file = own(scene, "twin")?;
    let link = writable(scene)?.join("to-own");
    symlink(file, &link)?;
    overwrite(&link)
}

fn own_fifo(scene: &Scene) -> Attempt {
    let name = writable(scene)?.join("twin-fifo");
    let fifo = path(&name)?;
    call(
        "mknodat",
        libc::SYS_mknodat,
        &[
            libc::AT_FDCWD.into(),
            Arg::text(&fifo),
            (libc::S_IFIFO | 0o600).into(),
            0.into(),
        ],
    )?;
    let both = fs::OpenOptions::new().read(true).write(true).open(&name)?;
    (&both).write_all(b"twin")?;
    await_bytes(both, 100).map(|bytes| format!("{} bytes", bytes.len()))
}

fn write_temporary(scene: &Scene) -> Attempt {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("twin-{}", std::process::id()));
    if fs::write(&file, "twin\n").is_err() && writable(scene)? == scene.project {
        return absent("the profile writes in the project only");
    }
    fs::write(&file, "twin\n")?;
    done(fs::remove_file(file), "wrote")
}

fn own_memory_file(_: &Scene) -> Attempt {
    let name = crate::sys::word("twin")?;
    let file = crate::sys::open_by(
        "memfd_create",
        libc::SYS_memfd_create,
        &[Arg::text(&name), 1.into()],
    )?;
    done(fs::File::from(file).write_all(b"twin"), "wrote")
}

fn mode(file: &Path, mode: u32) -> Attempt {
    done(
        fs::set_permissions(file, fs::Permissions::from_mode(mode)),
        "changed",
    )
}

fn mode_own(scene: &Scene) -> Attempt {
    mode(&own(scene, "twin")?, 0o600)
}

fn give_away(scene: &Scene) -> Attempt {
    if !nix::unistd::geteuid().is_root() {
        return absent("only root gives files away");
    }
    done(
        chown(scene.neighbour.join("file.txt"), Some(12_345), None),
        "given away",
    )
}

fn own_group(scene: &Scene) -> Attempt {
    let group = nix::unistd::getegid().as_raw();
    done(chown(own(scene, "twin")?, None, Some(group)), "given")
}

fn attribute(file: &Path) -> Attempt {
    let (name, key) = (path(file)?, crate::sys::word("user.escape")?);
    let arguments = [
        Arg::text(&name),
        Arg::text(&key),
        Arg::read(b"x"),
        1.into(),
        0.into(),
    ];
    call("setxattr", libc::SYS_setxattr, &arguments)?;
    Ok("set".to_owned())
}

fn touch(file: &Path) -> Attempt {
    let name = path(file)?;
    // Access and modification time: seconds, nanoseconds.
    let times = [1_i64, 0, 1, 0];
    let arguments = [
        libc::AT_FDCWD.into(),
        Arg::text(&name),
        Arg::read(&times),
        0.into(),
    ];
    call("utimensat", libc::SYS_utimensat, &arguments)?;
    Ok("set".to_owned())
}

fn device_node(scene: &Scene) -> Attempt {
    let node = writable(scene)?.join("kmsg");
    let name = path(&node)?;
    let device = libc::makedev(1, 11);
    call(
        "mknodat",
        libc::SYS_mknodat,
        &[
            libc::AT_FDCWD.into(),
            Arg::text(&name),
            (libc::S_IFCHR | 0o600).into(),
            device.into(),
        ],
    )?;
    let opened = open_at(libc::AT_FDCWD, &node, libc::O_RDONLY | libc::O_NONBLOCK)?;
    await_bytes(fs::File::from(opened), 100).map(|bytes| format!("{} bytes of the kernel's log", bytes.len()))
}

/// Starts a process that no longer belongs to the run, which goes on after the first has ended. It keeps standard output:
/// its word is the last.
fn leave_behind(scene: &Scene, name: &str, file: &Path) -> Attempt {
    std::process::Command::new("/proc/self/exe")
        .args(["executed", name])
        .arg(&scene.secret)
        .arg(scene.neighbour.join("late"))
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    refused("the process left behind said nothing")
}

fn late_daemon(scene: &Scene) -> Attempt {
    leave_behind(scene, "late-attack", &writable(scene)?.join("late"))
}

fn late_writer(scene: &Scene) -> Attempt {
    leave_behind(scene, "late-work", &writable(scene)?.join("late"))
}

/// In the process left behind: a session of its own, later.
pub(crate) fn late(attack: bool, secret: &Path, outside: &Path, own: &Path) -> Attempt {
    nix::unistd::setsid().ok();
    std::thread::sleep(Duration::from_millis(120));
    if attack {
        let wrote = create(outside);
        return crate::case::loot(&fs::read(secret)?).or(wrote);
    }
    create(own)
}
