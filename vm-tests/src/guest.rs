//! Boots a kernel and an archive in an emulator under a deadline and reads the verdict off the console.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

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
    /// How long it may take.
    pub limit: Duration,
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
    let (start, limit) = (Instant::now(), guest.limit);
    let mut command = emulator(guest.lsm, guest.memory);
    command
        .arg("-kernel")
        .arg(guest.kernel)
        .arg("-initrd")
        .arg(guest.initramfs);
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
    let mut verdict = None;
    loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                show(&line);
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
fn emulator(lsm: &str, memory: u32) -> Command {
    let (program, machine, console): (_, &[&str], _) = if cfg!(target_arch = "aarch64") {
        (
            "qemu-system-aarch64",
            &["-M", "virt", "-cpu", "max,pauth-impdef=on"],
            "ttyAMA0",
        )
    } else {
        // The emulated `cmpxchg16b` now and then leaves garbage in the flags, on which the guest's kernel dies with a double
        // fault in its allocator. Without it the kernel takes another way.
        ("qemu-system-x86_64", &["-cpu", "max,-cx16"], "ttyS0")
    };
    let mut command = Command::new(program);
    command
        .args(machine)
        .args(["-accel", "tcg", "-m", &memory.to_string()]);
    command.args(["-smp", "2", "-no-reboot", "-net", "none"]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    command
        .arg("-append")
        .arg(format!("console={console} panic=-1 quiet rdinit=/init lsm={lsm}"));
    command
}
