//! What targets do. The test program runs itself with `SUPERVISE_TARGET` set; nothing here is a test by itself.

use std::ffi::CString;
use std::io::Error;

use crate::harness::OUT;

/// Writes a line to the test that started this target.
pub(crate) fn tell(line: &str) {
    let line = format!("{line}\n");
    // SAFETY: readable bytes; the descriptor was given by the harness.
    unsafe { libc::write(OUT, line.as_ptr().cast(), line.len()) };
}

pub(crate) fn errno() -> i32 {
    Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// `open` without the library's changes to the flags: descriptor or negative errno.
pub(crate) fn open(path: &str, flags: i32, mode: u32) -> i32 {
    openat(libc::AT_FDCWD, path, flags, mode)
}

pub(crate) fn openat(dir: i32, path: &str, flags: i32, mode: u32) -> i32 {
    let path = CString::new(path).unwrap();
    // SAFETY: a C string and numbers.
    let fd = unsafe { libc::syscall(libc::SYS_openat, dir, path.as_ptr(), flags, mode) };
    if fd < 0 { -errno() } else { fd as i32 }
}

/// Opens, reads and tells: the content, or the errno.
pub(crate) fn read(path: &str) -> String {
    let fd = open(path, libc::O_RDONLY, 0);
    if fd < 0 {
        return format!("errno {}", -fd);
    }
    let mut buf = [0u8; 256];
    // SAFETY: a writable buffer; the descriptor is ours.
    let length = unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) };
    // SAFETY: ours.
    unsafe { libc::close(fd) };
    if length < 0 {
        format!("read errno {}", errno())
    } else {
        String::from_utf8_lossy(&buf[..length as usize]).into()
    }
}

#[test]
#[ignore = "run by the other tests, as their target"]
fn entry() {
    let Ok(operation) = std::env::var("SUPERVISE_TARGET") else {
        return;
    };
    let arguments = std::env::var("SUPERVISE_ARGUMENTS").unwrap_or_default();
    let arguments: Vec<&str> = arguments.split('\x1f').filter(|a| !a.is_empty()).collect();
    match operation.as_str() {
        "table" => crate::table::run(),
        "read" => arguments.iter().for_each(|path| tell(&read(path))),
        other => crate::files::act(other, &arguments)
            .or_else(|| crate::asking::act(other, &arguments))
            .or_else(|| crate::races::act(other, &arguments))
            .or_else(|| crate::rights::act(other, &arguments))
            .or_else(|| crate::network::act(other, &arguments))
            .or_else(|| crate::bench::act(other, &arguments))
            .unwrap_or_else(|| tell(&format!("no such operation: {other}"))),
    }
}
