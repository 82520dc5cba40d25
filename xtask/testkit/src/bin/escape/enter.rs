//! What a careless or a careful parent prepares before it starts a program: another user, descriptors left open, a terminal.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use defenseclaw_testkit::escape::scene::inherited;
use defenseclaw_testkit::escape::trial::Entrance;
use nix::libc;

use crate::sys::{Arg, Refused, call, open_at, path};

/// Becomes the program, or for a terminal waits for it.
pub(crate) fn enter(entrance: &str, command: &[&str]) -> Result<ExitCode> {
    let entrance: Entrance = serde_json::from_str(entrance).context("not an entrance")?;
    let [program, arguments @ ..] = command else {
        bail!("which program?");
    };
    if entrance.mounts {
        stand_in(&entrance).map_err(failed("mounting the stand-in"))?;
    }
    if nix::unistd::geteuid().is_root() && entrance.user != 0 {
        become_user(entrance.user).map_err(failed("becoming the user"))?;
    }
    if entrance.descriptors {
        leave_open(&entrance)?;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if entrance.terminal {
        return on_terminal(command);
    }
    Err(command.exec()).with_context(|| format!("cannot execute {program}"))
}

fn failed(what: &'static str) -> impl Fn(Refused) -> anyhow::Error {
    move |refused| anyhow::anyhow!("{what}: {refused:?}")
}

/// In a mount namespace of its own: the scene's folder over `/run`.
fn stand_in(entrance: &Entrance) -> Result<(), Refused> {
    call("unshare", libc::SYS_unshare, &[libc::CLONE_NEWNS.into()])?;
    let root = path(Path::new("/"))?;
    let private = (libc::MS_REC | libc::MS_PRIVATE).into();
    call(
        "mount",
        libc::SYS_mount,
        &[0.into(), Arg::text(&root), 0.into(), private, 0.into()],
    )?;
    let (from, to) = (path(&entrance.scene.base.join("run"))?, path(Path::new("/run"))?);
    let bind = [
        Arg::text(&from),
        Arg::text(&to),
        0.into(),
        libc::MS_BIND.into(),
        0.into(),
    ];
    call("mount", libc::SYS_mount, &bind)?;
    Ok(())
}

fn become_user(user: u32) -> Result<(), Refused> {
    let ids = [user.into(), user.into(), user.into()];
    call("setgroups", libc::SYS_setgroups, &[0.into(), 0.into()])?;
    call("setresgid", libc::SYS_setresgid, &ids)?;
    call("setresuid", libc::SYS_setresuid, &ids)?;
    Ok(())
}

fn leave_open(entrance: &Entrance) -> Result<()> {
    let scene = &entrance.scene;
    let open = |path: &Path, flags| open_at(libc::AT_FDCWD, path, flags).map_err(failed("opening"));
    let folder = scene.secret.parent().context("the secret lies in no folder")?;
    let connection = std::net::TcpStream::connect(("127.0.0.1", scene.outside.tcp))?;
    let opened = [
        (
            open(folder, libc::O_RDONLY | libc::O_DIRECTORY)?,
            inherited::FOLDER,
        ),
        (open(&scene.secret, libc::O_RDONLY)?, inherited::SECRET),
        (
            open(&scene.neighbour.join("file.txt"), libc::O_WRONLY)?,
            inherited::WRITABLE,
        ),
        (connection.into(), inherited::CONNECTION),
    ];
    // First out of the way: one of them may have the number that another is to get.
    let aside = opened.map(|(descriptor, number)| (aside(&descriptor), number));
    for (descriptor, number) in aside {
        let arguments = [
            descriptor.map_err(failed("fcntl"))?.into(),
            number.into(),
            0.into(),
        ];
        call("dup3", libc::SYS_dup3, &arguments).map_err(failed("dup3"))?;
    }
    Ok(())
}

fn aside(descriptor: &OwnedFd) -> Result<i64, Refused> {
    let arguments = [Arg::fd(descriptor), libc::F_DUPFD_CLOEXEC.into(), 50.into()];
    call("fcntl", libc::SYS_fcntl, &arguments)
}

/// Runs the program on a terminal of its own, whose other end stays open and says nothing.
fn on_terminal(mut command: Command) -> Result<ExitCode> {
    let master = open_at(
        libc::AT_FDCWD,
        Path::new("/dev/ptmx"),
        libc::O_RDWR | libc::O_NOCTTY,
    )
    .map_err(failed("opening /dev/ptmx"))?;
    let mut number = 0_i32;
    let unlock = 0_i32;
    call(
        "TIOCSPTLCK",
        libc::SYS_ioctl,
        &[Arg::fd(&master), libc::TIOCSPTLCK.into(), Arg::read(&unlock)],
    )
    .map_err(failed("unlocking the terminal"))?;
    call(
        "TIOCGPTN",
        libc::SYS_ioctl,
        &[Arg::fd(&master), libc::TIOCGPTN.into(), Arg::write(&mut number)],
    )
    .map_err(failed("the terminal's number"))?;
    let terminal = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/dev/pts/{number}"))
        .context("cannot open the terminal")?;
    command.stdin(terminal);
    // SAFETY: both calls may be made between fork and exec, and touch no memory.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let status = command.status().context("cannot start the program")?;
    // The terminal's other end has lived as long as the program.
    drop(master);
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    Ok(crate::exit(code))
}
