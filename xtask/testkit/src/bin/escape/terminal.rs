//! Typing into the terminal that the sandbox shares with the person.

use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;

use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, Case, SECCOMP, Theme, case};
use crate::sys::{Arg, Attempt, Refused, absent, call, refused};

pub(crate) const THEME: Theme = Theme {
    name: "terminal",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("push-input": "pushes a line into the terminal's input by TIOCSTI", push;
          twin "asks for the terminal's size", window_size; ALL, SECCOMP, terminal true),
    case!("paste-selection": "asks the console to paste by TIOCLINUX (which a pty refuses by ENOTTY when it is reached)",
          paste; twin "asks for the terminal's modes", modes; ALL, SECCOMP, judge ErrorNumber, terminal true),
];

fn push(_: &Scene) -> Attempt {
    let input = std::io::stdin();
    for byte in b"echo pushed\n" {
        let arguments = [Arg::fd(&input), libc::TIOCSTI.into(), Arg::read(byte)];
        match call("TIOCSTI", libc::SYS_ioctl, &arguments) {
            Err(Refused::By(why)) if why.ends_with("(os error 5)") => {
                return absent("the kernel has no TIOCSTI for ordinary users (dev.tty.legacy_tiocsti)");
            }
            other => other?,
        };
    }
    let copy = input.as_fd().try_clone_to_owned()?;
    let mut line = [0; 64];
    let length = fs::File::from(copy).read(&mut line)?;
    Ok(format!(
        "{:?} came back",
        String::from_utf8_lossy(&line[..length])
    ))
}

fn paste(_: &Scene) -> Attempt {
    let subcode = [3_u8, 0];
    let arguments = [Arg::from(0), libc::TIOCLINUX.into(), Arg::read(&subcode)];
    match call("TIOCLINUX", libc::SYS_ioctl, &arguments) {
        Err(Refused::By(why)) if !why.ends_with("(os error 25)") => refused(why),
        Err(Refused::By(why)) => Ok(format!("the terminal's driver was reached: {why}")),
        other => other.map(|_| "pasted".to_owned()),
    }
}

fn window_size(_: &Scene) -> Attempt {
    let mut size = [0_u16; 4];
    let arguments = [Arg::from(0), libc::TIOCGWINSZ.into(), Arg::write(&mut size)];
    call("TIOCGWINSZ", libc::SYS_ioctl, &arguments)?;
    Ok(format!("{size:?}"))
}

fn modes(_: &Scene) -> Attempt {
    let mut modes = [0_u8; 64];
    let arguments = [Arg::from(0), libc::TCGETS.into(), Arg::write(&mut modes)];
    call("TCGETS", libc::SYS_ioctl, &arguments)?;
    Ok("read".to_owned())
}
