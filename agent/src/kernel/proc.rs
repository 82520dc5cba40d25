//! What `/proc` tells of a process. Used only to bind a session to a running tree; activities come from the kernel programs.

use std::fs;
use std::os::unix::fs::MetadataExt;

use defenseclaw_model::activity::FileId;

/// Most argument bytes that are read of a running process.
const MAX_CMDLINE: usize = 128 << 10;

/// Parent of a process, or `None` when it is gone.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may hold anything: the fields go on behind the last ')'.
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    std::str::from_utf8(rest)
        .ok()?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Arguments of a process; empty when it is gone or a zombie.
pub fn arguments(pid: u32) -> Vec<String> {
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.truncate(MAX_CMDLINE);
    split_arguments(&bytes)
}

/// Splits NUL-separated arguments.
pub fn split_arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|&byte| byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// Path of the executed file, or an empty string.
pub fn executable(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The process that a thread belongs to.
pub fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// Working directory of a process.
pub fn cwd(pid: u32) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/cwd"))
        .ok()
        .map(|path| path.to_string_lossy().into_owned())
}

/// Real user id of a process.
pub fn uid(pid: u32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Whether the process is there (a zombie counts as gone).
pub fn is_alive(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.iter()
            .rposition(|&byte| byte == b')')
            .and_then(|end| stat.get(end + 2))
            .is_some_and(|&state| state != b'Z' && state != b'X')
    })
}

/// Device (in the kernel's own encoding) and inode of the file at `path`.
pub fn file_id(path: &std::path::Path) -> Option<FileId> {
    let meta = fs::metadata(path).ok()?;
    let (major, minor) = (
        nix::sys::stat::major(meta.dev()),
        nix::sys::stat::minor(meta.dev()),
    );
    // include/linux/kdev_t.h: 12 bits major, 20 bits minor.
    Some(FileId {
        dev: ((major as u32) << 20) | (minor as u32 & 0xf_ffff),
        ino: meta.ino(),
    })
}

/// Resident memory of this process (KiB).
pub fn own_rss_kib() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .unwrap_or(4096);
    pages * (page as u64) / 1024
}

/// Gives memory that was freed back to the system. Reading the kernel's types takes tens of MiB for a moment; the C library
/// would keep them.
pub fn return_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and may be called at any time from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id();
        assert_eq!(parent(pid), Some(std::os::unix::process::parent_id()));
        assert!(is_alive(pid));
        assert!(!arguments(pid).is_empty());
        assert_eq!(
            executable(pid),
            std::env::current_exe().unwrap().to_string_lossy()
        );
    }

    #[test]
    fn arguments_keep_empty_ones() {
        assert_eq!(split_arguments(b"a\0\0b\0"), ["a", "", "b"]);
        assert!(split_arguments(b"").is_empty());
    }
}
