//! What this kernel has.

use std::io;

/// Landlock's version on this kernel, as the kernel counts: 1 (5.13), 2 (5.19), 3 (6.2), 4 (6.7), 5 (6.10), 6 (6.12), 7 (6.15), 8 and
/// 9 (7.x). 0 where it is missing or switched off.
pub fn landlock_abi() -> i32 {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the kernel takes no attributes: a null pointer of length 0 is what it asks for.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// A system call's result, with its error.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
