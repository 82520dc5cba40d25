//! What a test needs and a host may lack.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;

use nix::libc;

use crate::{claude_code, clean_root, codex};

/// Something that not every host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Effective uid 0.
    Root,
    /// A kernel with BTF that lets root load BPF programs.
    Bpf,
    /// The real Claude Code, or npm and a registry to get it from.
    ClaudeCode,
    /// The real Codex, or npm and a registry to get it from.
    Codex,
    /// A root to install packages in, or debootstrap and a mirror to make it with.
    CleanRoot,
    /// A program in `PATH`.
    Program(&'static str),
}

impl Need {
    /// Why the host lacks it; `None` if it does not.
    fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!nix::unistd::geteuid().is_root()).then(|| "needs root".to_owned()),
            Self::Bpf if !Path::new("/sys/kernel/btf/vmlinux").exists() => {
                Some("needs a kernel with BTF (/sys/kernel/btf/vmlinux)".to_owned())
            }
            Self::Bpf => create_bpf_map()
                .err()
                .map(|error| format!("needs a host that allows bpf(2): {error}")),
            Self::ClaudeCode => claude_code::ensure()
                .err()
                .map(|error| format!("needs Claude Code: {error:#}")),
            Self::Codex => codex::ensure()
                .err()
                .map(|error| format!("needs Codex: {error:#}")),
            Self::CleanRoot => clean_root::ensure()
                .err()
                .map(|error| format!("needs a clean root: {error:#}")),
            Self::Program(name) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
                (!found).then(|| format!("needs the program {name}"))
            }
        }
    }
}

/// Asks the kernel for the smallest map there is: a container may hold uid 0 and still be refused. Whether the sensor's own
/// programs load is for the tests to find out.
fn create_bpf_map() -> nix::Result<()> {
    /// `BPF_MAP_CREATE`, and the head of its `union bpf_attr`: map type, key size, value size, entries.
    const BPF_MAP_CREATE: libc::c_int = 0;
    const ARRAY: u32 = 2;
    let attributes: [u32; 4] = [ARRAY, 4, 4, 1];
    // SAFETY: the kernel reads `size_of_val(&attributes)` bytes from a pointer that is valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    let descriptor = nix::errno::Errno::result(result)?;
    let descriptor = i32::try_from(descriptor).map_err(|_| nix::errno::Errno::EBADF)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// Whether this host has everything that the running test needs. If not, the test's name and the reason go to standard
/// error and to the file that `DEFENSECLAW_SKIPPED` names, and the test returns without having run.
pub fn require(needs: &[Need]) -> bool {
    let Some(reason) = needs.iter().find_map(|need| need.missing()) else {
        return true;
    };
    let thread = std::thread::current();
    let line = format!("{}: {reason}", thread.name().unwrap_or("a test"));
    eprintln!("NOT RUN  {line}");
    if let Some(file) = std::env::var_os("DEFENSECLAW_SKIPPED") {
        let opened = OpenOptions::new().create(true).append(true).open(&file);
        // A test that cannot be accounted for must not pass as run.
        let noted = opened.and_then(|mut file| writeln!(file, "{}", line.replace('\n', " ")));
        if let Err(error) = noted {
            panic!(
                "cannot note that {line} in {}: {error}",
                Path::new(&file).display()
            );
        }
    }
    false
}
