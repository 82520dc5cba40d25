//! Which program a process is: by the name of the file that was started, as the kernel has it.
//!
//! `/usr/lib/defenseclaw/defenseclaw-gateway` is another name of this program, and started by that name it is the gateway. Arguments
//! and environment choose nothing, and neither does `argv[0]`, which a caller writes as it likes: what counts is the path that the
//! caller had the kernel start. Who can choose that could as well start another program. Where a program is started by a descriptor, that path
//! says nothing, and the file's own name decides.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// A program in this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `defenseclaw-cli`, whatever its file is called.
    Tool,
    /// `defenseclaw-gateway`.
    Gateway,
}

/// The gateway's name.
const GATEWAY: &[u8] = b"defenseclaw-gateway";
/// What the kernel names a program that was started by a descriptor (execveat(2)).
const BY_DESCRIPTOR: &[u8] = b"/dev/fd/";
/// As decided; 0 before.
static DECIDED: AtomicU8 = AtomicU8::new(0);
const TOOL_DECIDED: u8 = 1;
const GATEWAY_DECIDED: u8 = 2;

/// What this process is, from its start to its end. The allocator asks: this allocates nothing.
pub(crate) fn own() -> Role {
    match DECIDED.load(Ordering::Relaxed) {
        TOOL_DECIDED => Role::Tool,
        GATEWAY_DECIDED => Role::Gateway,
        _ => decide(),
    }
}

/// Every thread that comes here finds the same.
#[cold]
fn decide() -> Role {
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    let started = started();
    let role = of_name(if started.starts_with(BY_DESCRIPTOR) {
        file(&mut buffer)
    } else {
        started
    });
    let decided = match role {
        Role::Tool => TOOL_DECIDED,
        Role::Gateway => GATEWAY_DECIDED,
    };
    DECIDED.store(decided, Ordering::Relaxed);
    role
}

/// By the last part of a path.
fn of_name(path: &[u8]) -> Role {
    match path.rsplit(|&byte| byte == b'/').next() {
        Some(name) if name == GATEWAY => Role::Gateway,
        _ => Role::Tool,
    }
}

/// The path that the kernel was asked to start.
fn started() -> &'static [u8] {
    // SAFETY: it takes no pointer.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let path: *const libc::c_char = std::ptr::with_exposed_provenance(path as usize);
    if path.is_null() {
        return &[];
    }
    // SAFETY: the kernel put a path there that ends with a zero byte, above the stack, and nothing here writes to it.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// The path of this program's file.
fn file(buffer: &mut [u8]) -> &[u8] {
    // SAFETY: the buffer is as long as it is said to be, and the path ends with a zero byte.
    let length = unsafe {
        libc::readlink(
            c"/proc/self/exe".as_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    };
    usize::try_from(length)
        .ok()
        .and_then(|length| buffer.get(..length))
        .unwrap_or_default()
}

/// Whether the file's bits, not the caller's rights, make this process who it is.
pub(crate) fn raised() -> bool {
    // SAFETY: none of them takes a pointer or fails.
    unsafe { libc::getuid() != libc::geteuid() || libc::getgid() != libc::getegid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_name_of_the_file_is_the_gateway() {
        for path in [
            "/usr/lib/defenseclaw/defenseclaw-gateway",
            "./defenseclaw-gateway",
            "defenseclaw-gateway",
        ] {
            assert_eq!(of_name(path.as_bytes()), Role::Gateway, "{path}");
        }
        for path in [
            "/usr/lib/defenseclaw/defenseclaw-cli",
            "/tmp/defenseclaw-gateway/defenseclaw-cli",
            "/usr/bin/xdefenseclaw-gateway",
            "/usr/bin/defenseclaw-gateway.old",
            "/usr/bin/defenseclaw-gateway/",
            "",
        ] {
            assert_eq!(of_name(path.as_bytes()), Role::Tool, "{path}");
        }
    }

    #[test]
    fn the_kernel_and_the_file_tell_the_same_of_this_test() {
        let own = std::env::current_exe().unwrap();
        let own = own.file_name().unwrap().as_encoded_bytes();
        assert!(started().ends_with(own));
        let mut buffer = [0; 4096];
        assert!(file(&mut buffer).ends_with(own));
        assert!(!raised());
    }
}
