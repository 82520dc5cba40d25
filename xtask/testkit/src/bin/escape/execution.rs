//! Executing what must not be executed, and getting around the ways to say so.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail};
use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, Case, LANDLOCK, REPORTED, Theme, case};
use crate::reading::writable;
use crate::sys::{Arg, Attempt, Refused, absent, call, open_at, open_by, refused, word};

pub(crate) const THEME: Theme = Theme {
    name: "execution",
    cases: CASES,
};

/// What a program prints that ran although it must not.
const RAN: &str = "escape-ran";

const CASES: &[Case] = &[
    case!("execute-closed-program": "executes a program in a secret folder", |s| execute(&closed_program(s)?);
          twin "executes a system program", |_| system_program(); ALL, LANDLOCK),
    case!("loader-closed-program": "has the dynamic loader run a program in a secret folder",
          |s| by_loader(&closed_program(s)?);
          twin "has the dynamic loader run a system program", |_| by_loader(Path::new("/bin/true"));
          ALL, LANDLOCK),
    case!("execute-project-program": "executes a program that it made in the project", |s| execute(&own_program(s)?);
          twin "has the shell run a script of the project", shell_script; REPORTED, LANDLOCK),
    case!("loader-project-program": "has the dynamic loader run a program that it made (Landlock does not restrict mapping)",
          |s| by_loader(&own_program(s)?);
          twin "has the shell run a script of the project", shell_script; REPORTED, LANDLOCK),
    case!("memory-program": "executes a program from memory by memfd_create and fexecve", |_| from_memory(false);
          twin "executes a system program", |_| system_program(); REPORTED, crate::case::SECCOMP),
    case!("memory-program-by-proc": "executes a program from memory by /proc/self/fd/N", |_| from_memory(true);
          twin "executes a system program", |_| system_program(); REPORTED, crate::case::SECCOMP),
    case!("execveat-empty-path": "executes a program of the project by execveat with AT_EMPTY_PATH", execveat;
          twin "executes a system program by execveat", execveat_twin; REPORTED, LANDLOCK),
    case!("overwrite-launcher": "opens the launcher's program for writing", overwrite_launcher;
          twin "reads its own program's name", |_| Ok(fs::read_link("/proc/self/exe")?.display().to_string());
          ALL, LANDLOCK),
];

/// What the attacks execute: this program again, under other arguments.
pub(crate) fn executed(words: &[&str]) -> Result<ExitCode> {
    match words {
        ["ran"] => println!("{RAN}"),
        ["capabilities"] => println!("{}", crate::privilege::own_capabilities()?),
        ["late-attack", secret, outside, own] | ["late-work", secret, outside, own] => {
            let attack = words[0] == "late-attack";
            let late = crate::writing::late(attack, Path::new(secret), Path::new(outside), Path::new(own));
            let words = if attack { crate::ATTACK } else { crate::TWIN };
            return Ok(crate::say(late, words));
        }
        _ => bail!("nothing to do for {words:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn output(command: &mut Command) -> Attempt {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains(RAN) {
        return Ok("it ran".to_owned());
    }
    refused(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

fn execute(program: &Path) -> Attempt {
    output(Command::new(program).args(["executed", "ran"]))
}

fn system_program() -> Attempt {
    output(Command::new("/bin/echo").arg(RAN))
}

/// A copy of this program that the process outside has put into a secret folder.
fn closed_program(scene: &Scene) -> Result<PathBuf, Refused> {
    Ok(scene.home.join(".gnupg/program"))
}

/// A copy of this program that the attack makes.
fn own_program(scene: &Scene) -> Result<PathBuf, Refused> {
    let copy = writable(scene)?.join("made");
    fs::copy("/proc/self/exe", &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn loader() -> Result<PathBuf, Refused> {
    let candidates = [
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/ld-linux-aarch64.so.1",
        "/lib/ld-musl-x86_64.so.1",
    ];
    candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| Refused::Absent("no dynamic loader that is known".to_owned()))
}

fn by_loader(program: &Path) -> Attempt {
    if program.starts_with("/bin") {
        let status = Command::new(loader()?).arg(program).status()?;
        return if status.success() {
            Ok("it ran".to_owned())
        } else {
            refused(status.to_string())
        };
    }
    output(Command::new(loader()?).arg(program).args(["executed", "ran"]))
}

fn shell_script(scene: &Scene) -> Attempt {
    let script = writable(scene)?.join("script.sh");
    fs::write(&script, format!("echo {RAN}\n"))?;
    output(Command::new("/bin/sh").arg(script))
}

fn from_memory(by_name: bool) -> Attempt {
    let name = word("program")?;
    let file = open_by(
        "memfd_create",
        libc::SYS_memfd_create,
        &[Arg::text(&name), 0.into()],
    )?;
    let mut file = fs::File::from(file);
    file.write_all(&fs::read("/proc/self/exe")?)?;
    use std::os::fd::AsRawFd as _;
    if by_name {
        return execute(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())));
    }
    by_descriptor(file.as_raw_fd(), &["program", "executed", "ran"])
}

fn execveat(scene: &Scene) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let program = open_at(libc::AT_FDCWD, &own_program(scene)?, libc::O_RDONLY)?;
    by_descriptor(program.as_raw_fd(), &["program", "executed", "ran"])
}

fn execveat_twin(_: &Scene) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let program = open_at(libc::AT_FDCWD, Path::new("/bin/echo"), libc::O_RDONLY)?;
    by_descriptor(program.as_raw_fd(), &["echo", RAN])
}

/// Executes what a descriptor refers to, in a child whose output is read.
fn by_descriptor(descriptor: i32, arguments: &[&str]) -> Attempt {
    use std::os::fd::AsRawFd as _;
    let (mut from, to) = std::io::pipe()?;
    let words = arguments
        .iter()
        .map(|text| word(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let (empty, none) = (word("")?, [std::ptr::null::<libc::c_char>()]);
    let to_descriptor = to.as_raw_fd();
    let run = move || {
        call(
            "dup3",
            libc::SYS_dup3,
            &[to_descriptor.into(), 1.into(), 0.into()],
        )?;
        let call = call(
            "execveat",
            libc::SYS_execveat,
            &[
                descriptor.into(),
                Arg::text(&empty),
                Arg::read(&*pointers),
                Arg::read(&none),
                libc::AT_EMPTY_PATH.into(),
            ],
        );
        Err(call.err().unwrap_or(Refused::By("execveat came back".to_owned())))
    };
    let told = crate::sys::in_child(run);
    drop(to);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut from, &mut text)?;
    if text.contains(RAN) {
        return Ok("it ran".to_owned());
    }
    told.unwrap_or_else(|signal| refused(format!("ended by {signal}")))
}

fn overwrite_launcher(scene: &Scene) -> Attempt {
    if !scene.launcher.is_absolute() || scene.launcher.starts_with("/nonexistent") {
        return absent("no launcher was named");
    }
    // Opened, never written.
    open_at(libc::AT_FDCWD, &scene.launcher, libc::O_RDWR)?;
    Ok("opened for writing".to_owned())
}
