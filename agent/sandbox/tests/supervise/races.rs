//! A second thread of the target changes what a path means while the first one opens it.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Only, Run, folder};
use crate::target::{open, tell};

const FOR: Duration = Duration::from_secs(2);

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    match operation {
        "flip the text" => flip_text(arguments[0], arguments[1]),
        "flip the link" => flip_link(arguments[0], arguments[1]),
        "flip the folder" => flip_folder(arguments[0]),
        _ => return None,
    }
    Some(())
}

/// Opens the same path as often as it can for a while, and counts what it read.
fn race(open: impl Fn() -> i32, flip: impl Fn() + Send + Sync) {
    let over = AtomicBool::new(false);
    let (mut harmless, mut secret, mut refused, mut other) = (0u32, 0u32, 0u32, 0u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                flip();
            }
        });
        let end = Instant::now() + FOR;
        while Instant::now() < end {
            let fd = open();
            if fd < 0 {
                if fd == -libc::EACCES {
                    refused += 1
                } else {
                    other += 1
                }
                continue;
            }
            let mut buf = [0u8; 8];
            // SAFETY: a writable buffer; the descriptor is ours.
            unsafe {
                libc::read(fd, buf.as_mut_ptr().cast(), buf.len());
                libc::close(fd);
            }
            if buf.starts_with(b"allowed") {
                harmless += 1
            } else {
                secret += 1
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    tell(&format!("{harmless} {secret} {refused} {other}"));
}

fn flip_text(allowed: &str, secret: &str) {
    assert_eq!(allowed.len(), secret.len());
    let path: Vec<AtomicU8> = CString::new(allowed)
        .unwrap()
        .into_bytes_with_nul()
        .into_iter()
        .map(AtomicU8::new)
        .collect();
    let put = |text: &str| {
        for (to, byte) in path.iter().zip(text.bytes()) {
            to.store(byte, Ordering::Relaxed);
        }
    };
    let open = || {
        // SAFETY: bytes that always end in NUL, whatever the other thread writes.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY, 0) };
        if fd < 0 {
            -crate::target::errno()
        } else {
            fd as i32
        }
    };
    race(open, || {
        put(secret);
        put(allowed);
    });
}

fn flip_link(allowed: &str, secret: &str) {
    let replace = |to: &str| {
        let _ = std::fs::remove_file("next");
        std::os::unix::fs::symlink(to, "next").unwrap();
        std::fs::rename("next", "current").unwrap();
    };
    replace(allowed);
    race(
        || open("current", libc::O_RDONLY, 0),
        || {
            replace(secret);
            replace(allowed);
        },
    );
}

/// `here/file`, where `here` is now a folder and now a link to the folder of secrets.
fn flip_folder(secrets: &str) {
    let exchange = || {
        // SAFETY: C strings.
        unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                libc::AT_FDCWD,
                c"here".as_ptr(),
                libc::AT_FDCWD,
                c"there".as_ptr(),
                libc::RENAME_EXCHANGE,
            )
        };
    };
    std::os::unix::fs::symlink(secrets, "there").unwrap();
    race(|| open("here/file", libc::O_RDONLY, 0), exchange);
}

fn outcome(operation: &'static str, allowed: &str, secret: &str) -> [u64; 4] {
    let folder = folder();
    let open = folder.path().join("open");
    let closed = folder.path().join("shut");
    for sub in [&open, &closed, &open.join("here")] {
        std::fs::create_dir(sub).unwrap();
    }
    let allowed = open.join(allowed);
    let secret = closed.join(secret);
    std::fs::write(&allowed, "allowed").unwrap();
    std::fs::write(&secret, "secret!").unwrap();
    let arguments = if operation == "flip the folder" {
        vec![closed.to_str().unwrap().to_owned()]
    } else {
        vec![
            allowed.to_str().unwrap().to_owned(),
            secret.to_str().unwrap().to_owned(),
        ]
    };
    let judge = Arc::new(Only {
        allowed: vec![open.clone()],
        ..Only::default()
    });
    let done = Run {
        arguments,
        judge: judge.clone(),
        ..Run::new(operation, &open)
    }
    .done();
    let numbers: Vec<u64> = done.text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let numbers: [u64; 4] = numbers.try_into().unwrap_or_else(|_| panic!("{}", done.text));
    eprintln!(
        "{operation}: allowed {}, secret {}, refused {}, other {}",
        numbers[0], numbers[1], numbers[2], numbers[3]
    );
    numbers
}

#[test]
fn a_path_that_changes_in_memory_opens_what_was_judged() {
    let [allowed, secret, refused, _] = outcome("flip the text", "file", "file");
    assert_eq!(secret, 0, "the secret was read");
    assert!(
        allowed > 100 && refused > 10,
        "the race was not run: {allowed} {refused}"
    );
}

#[test]
fn a_link_that_changes_opens_what_was_judged() {
    let [allowed, secret, refused, _] = outcome("flip the link", "file", "file");
    assert_eq!(secret, 0, "the secret was read");
    assert!(
        allowed > 100 && refused > 10,
        "the race was not run: {allowed} {refused}"
    );
}

#[test]
fn a_folder_that_changes_opens_what_was_judged() {
    let [allowed, secret, refused, _] = outcome("flip the folder", "here/file", "file");
    assert_eq!(secret, 0, "the secret was read");
    assert!(
        allowed > 100 && refused > 10,
        "the race was not run: {allowed} {refused}"
    );
}
