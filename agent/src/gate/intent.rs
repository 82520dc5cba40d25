//! Whether a thread that waits in an open means to write.
//!
//! The kernel's question does not say so, but the thread stands still in its system call, and `/proc` tells the call's arguments. A
//! writer is let through: installing and editing would otherwise wait for itself, since a file that is open for writing is not quiet. An
//! answer of "no" where that cannot be told only makes a writer wait.

use nix::libc;

/// Whether the thread is in an open for writing.
pub(crate) fn writes(thread: i32) -> bool {
    if thread <= 0 {
        return false;
    }
    let text = std::fs::read_to_string(format!("/proc/{thread}/syscall"));
    text.is_ok_and(|text| says_write(&text))
}

fn says_write(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let number = words.next().and_then(|number| number.parse::<i64>().ok());
    let arguments: Vec<u64> = words
        .map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect();
    let flags = match number {
        Some(number) if number == libc::SYS_openat => arguments.get(2),
        #[cfg(target_arch = "x86_64")]
        Some(number) if number == libc::SYS_open => arguments.get(1),
        #[cfg(target_arch = "x86_64")]
        Some(number) if number == libc::SYS_creat => return true,
        // openat2 has its flags in memory that another thread may be changing.
        _ => None,
    };
    let accessed = |flags: &u64| (*flags as i32) & libc::O_ACCMODE;
    flags.is_some_and(|flags| matches!(accessed(flags), libc::O_WRONLY | libc::O_RDWR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_an_open_tell() {
        let call = |number: i64, flags: i32| {
            format!("{number} 0xffffff9c 0x7ffe {flags:#x} 0x1b6 0x0 0x0 0x7ffe 0x7f\n")
        };
        assert!(says_write(&call(
            libc::SYS_openat,
            libc::O_RDWR | libc::O_CLOEXEC
        )));
        assert!(says_write(&call(
            libc::SYS_openat,
            libc::O_WRONLY | libc::O_CREAT
        )));
        assert!(!says_write(&call(
            libc::SYS_openat,
            libc::O_RDONLY | libc::O_CLOEXEC
        )));
        assert!(!says_write(&call(libc::SYS_openat2, libc::O_RDWR)));
        assert!(!says_write(&call(libc::SYS_execve, libc::O_RDWR)));
        assert!(!says_write("running\n") && !says_write("-1 0x7f 0x7f") && !says_write(""));
    }
}
