//! Init of the test guests: mounts what a Linux program expects, runs one command, prints the verdict, powers off.
#![expect(
    clippy::print_stdout,
    reason = "the console is this program's only way to speak"
)]

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use defenseclaw_vm_tests::{BEGUN, COMMAND_FILE, VERDICT};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Target and file system, in order.
const MOUNTS: [(&str, &str); 10] = [
    ("/proc", "proc"),
    ("/sys", "sysfs"),
    ("/dev", "devtmpfs"),
    ("/dev/pts", "devpts"),
    ("/tmp", "tmpfs"),
    ("/run", "tmpfs"),
    ("/sys/fs/cgroup", "cgroup2"),
    ("/sys/fs/bpf", "bpf"),
    ("/sys/kernel/tracing", "tracefs"),
    ("/sys/kernel/security", "securityfs"),
];

fn main() -> ExitCode {
    println!("{BEGUN}");
    match run() {
        Ok(()) => println!("{VERDICT}success"),
        Err(error) => println!("{VERDICT}failure {error:#}"),
    }
    if std::process::id() != 1 {
        return ExitCode::SUCCESS;
    }
    // Init must never return: the kernel would panic and the verdict could be lost in its noise.
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    println!("cannot power off: {error}");
    loop {
        std::thread::park();
    }
}

fn run() -> Result<()> {
    for (target, kind) in MOUNTS {
        fs::create_dir_all(target).ok();
        let none: Option<&str> = None;
        if let Err(error) = mount(Some(kind), target, Some(kind), MsFlags::empty(), none) {
            println!("no {kind} on {target}: {error}");
        }
    }
    loopback_up().context("the loopback interface")?;
    let text = fs::read_to_string(COMMAND_FILE).with_context(|| format!("no {COMMAND_FILE}"))?;
    for lines in text.split("\n\n") {
        command(lines)?;
    }
    Ok(())
}

/// Runs one command: variables, then its words, one a line.
fn command(lines: &str) -> Result<()> {
    let mut words = lines.lines().peekable();
    let mut variables = vec![("PATH", "/bin"), ("HOME", "/root"), ("RUST_BACKTRACE", "1")];
    while let Some(variable) = words.next_if(|word| word.starts_with('@')) {
        variables.extend(variable[1..].split_once('='));
    }
    let program = words.next().with_context(|| format!("{COMMAND_FILE} is empty"))?;
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(variables);
    let status = command
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program}: {status}");
    }
    Ok(())
}

/// What `ip link set lo up` does.
fn loopback_up() -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None)?;
    // SAFETY: `ifreq` is plain data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from)?;
    }
    let up = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING)?;
    request.ifr_ifru.ifru_flags = up;
    // SAFETY: the descriptor is open, and the kernel reads one `ifreq` from a pointer that is valid for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    nix::errno::Errno::result(result)?;
    Ok(())
}
