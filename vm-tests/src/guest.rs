//! Boots a kernel and an archive in an emulator under a deadline and reads the verdict off the console.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::{BEGUN, VERDICT};

/// What a guest said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether its program ended well.
    pub success: bool,
    /// The verdict's words.
    pub verdict: String,
    /// Boot to power-off.
    pub took: Duration,
}

/// What to boot.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// What it unpacks.
    pub initramfs: &'a Path,
    /// The kernel's list of security modules.
    pub lsm: &'a str,
    /// Memory (MiB). Half of it is what its files may take.
    pub memory: u32,
    /// Its processor.
    pub arch: Arch,
    /// Files that are its disks, `/dev/vda` and so on. What it writes there is forgotten, unless it says otherwise.
    pub disks: &'a [Disk<'a>],
    /// Further words of the kernel's command line.
    pub words: &'a str,
    /// How often it may come up: a guest that is to restart does so on the same disks.
    pub boots: u32,
    /// How long it may take.
    pub limit: Duration,
}

/// A disk.
#[derive(Debug, Clone, Copy)]
pub struct Disk<'a> {
    /// The file that it is.
    pub file: &'a Path,
    /// Whether what is written stays in that file.
    pub kept: bool,
}

/// Boots and waits. Every console line is passed to `show`.
///
/// An emulated processor now and then faults while the kernel still boots, before anything of ours runs. That says nothing
/// of what is tested, so such a guest is booted once more; once its init has begun, the outcome stands.
pub fn boot(guest: Guest<'_>, show: &mut dyn FnMut(&str)) -> Result<Report> {
    let mut begun = false;
    let first = boot_once(guest, &mut |line| {
        begun |= line.contains(BEGUN);
        show(line);
    });
    if first.is_ok() || begun {
        return first;
    }
    eprintln!("The guest's kernel did not come up to its init; booting it once more.");
    boot_once(guest, show)
}

fn boot_once(guest: Guest<'_>, show: &mut dyn FnMut(&str)) -> Result<Report> {
    listen(&mut emulator(&guest), guest.boots, guest.limit, show)
}

/// Starts what is a guest, or is to be taken for one, and waits until it ends. Every line that it prints is passed to `show`.
///
/// # Errors
/// When it cannot be started, comes up more often than `most` times, takes longer than `limit`, or ends without a verdict.
pub fn listen(
    command: &mut Command,
    most: u32,
    limit: Duration,
    show: &mut dyn FnMut(&str),
) -> Result<Report> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {:?}: run `cargo xtask setup`",
                command.get_program()
            )
        })?;
    let console = child.stdout.take().context("the console was not piped")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let (mut verdict, mut boots) = (None, 0);
    loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                show(&line);
                boots += u32::from(line.contains(BEGUN));
                if boots > most {
                    child.kill()?;
                    child.wait()?;
                    bail!("the guest restarted, and was not to: its kernel failed (see the console)");
                }
                if let Some((_, words)) = line.split_once(VERDICT) {
                    verdict = Some(words.to_owned());
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                bail!("the guest did not power off within {} s", limit.as_secs());
            }
        }
    }
    child.wait()?;
    let verdict = verdict
        .context("the guest ended without a verdict: its kernel or its init failed (see the console)")?;
    Ok(Report {
        success: verdict.starts_with("success"),
        verdict,
        took: start.elapsed(),
    })
}

/// Emulated, not virtualised: works in any container, and boots in seconds all the same.
fn emulator(guest: &Guest<'_>) -> Command {
    let (program, machine, console): (_, &[&str], _) = match guest.arch {
        Arch::Arm64 => (
            "qemu-system-aarch64",
            &["-M", "virt", "-cpu", "max,pauth-impdef=on"],
            "ttyAMA0",
        ),
        // The emulated `cmpxchg16b` now and then leaves garbage in the flags, on which the guest's kernel dies with a double
        // fault in its allocator. Without it the kernel takes another way.
        Arch::Amd64 => ("qemu-system-x86_64", &["-cpu", "max,-cx16"], "ttyS0"),
    };
    let mut command = Command::new(program);
    command
        .args(machine)
        .args(["-accel", "tcg", "-m", &guest.memory.to_string()]);
    command.args(["-smp", "2", "-net", "none"]);
    if guest.boots == 1 {
        command.arg("-no-reboot");
    }
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    for (number, disk) in guest.disks.iter().enumerate() {
        let snapshot = if disk.kept { "off" } else { "on" };
        // A comma in a name is written twice. What the guest wrote is this machine's from then on: nothing is gained by a sync.
        let file = disk.file.display().to_string().replace(',', ",,");
        command.arg("-drive").arg(format!(
            "file={file},if=none,id=disk{number},format=raw,cache=unsafe,snapshot={snapshot}"
        ));
        command
            .arg("-device")
            .arg(format!("virtio-blk-pci,drive=disk{number}"));
    }
    command.arg("-kernel").arg(guest.kernel);
    command.arg("-initrd").arg(guest.initramfs);
    command.arg("-append").arg(
        format!(
            "console={console} panic=-1 quiet rdinit=/init lsm={} {}",
            guest.lsm, guest.words
        )
        .trim_end(),
    );
    command
}
