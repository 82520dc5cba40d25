//! What a command leaves in the background goes on when the command has ended: it must not reach more then, nor less.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

use defenseclaw_testkit::escape::scene::DEFACED;
use nix::unistd::{ForkResult, fork};

use crate::case::{ALL, Case, LANDLOCK, MOUNTS, NAMED_HOSTS, Theme, case, loot};
use crate::reading::writable;
use crate::sockets::own_socket;
use crate::sys::{Attempt, Refused, refused};
use crate::writing::create_below;

pub(crate) const THEME: Theme = Theme {
    name: "outliving",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("outlive-read-secret": "opens ~/.ssh/id_ed25519 when the command has ended",
          |s| outlive(|| loot(&fs::read(&s.secret)?));
          twin "opens the project's README when the command has ended", |s| working(|| {
              Ok(format!("{} bytes", fs::read(s.project.join("README"))?.len()))
          }); ALL, LANDLOCK),
    case!("outlive-write-home": "makes a file in the home folder when the command has ended",
          |s| outlive(|| create_below(&s.home, ".bash_login"));
          twin "makes a file in its folder when the command has ended",
          |s| working(|| create_below(&writable(s)?, "late.txt")); ALL, LANDLOCK, judge Outside),
    case!("outlive-create-settings": "creates .claude/settings.json when the command has ended and nothing need hold its place",
          |s| outlive(|| create_below(&s.project.join(".claude"), "settings.json"));
          twin "creates docs/settings.json when the command has ended",
          |s| working(|| create_below(&writable(s)?.join("docs"), "settings.json")); ALL, MOUNTS, judge Outside),
    case!("outlive-connect": "connects to a TCP listener on 127.0.0.1 when the command has ended", |s| outlive(|| {
              let to = SocketAddr::from((Ipv4Addr::LOCALHOST, s.outside.tcp));
              TcpStream::connect_timeout(&to, Duration::from_secs(2))?.write_all(DEFACED.as_bytes())?;
              Ok("sent".to_owned())
          }); twin "asks a socket of its own when the command has ended", |s| working(|| own_socket(s));
          NAMED_HOSTS, LANDLOCK, judge Outside),
];

/// How long after its parent's end a job waits: whoever stayed outside for the command has done by then what it does at its end.
const LATER: Duration = Duration::from_millis(150);

/// Ends this program, and does it in a process that is left behind.
fn outlive(act: impl FnOnce() -> Attempt) -> Attempt {
    let command = std::process::id();
    // SAFETY: this program has one thread, so the child may do anything.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        std::process::exit(0);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while parent_id() == command {
        if Instant::now() > deadline {
            return refused("the command does not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(LATER);
    act()
}

/// The same for what has to work: here a call that the kernel does not know is one that nobody answers any more.
fn working(act: impl FnOnce() -> Attempt) -> Attempt {
    match outlive(act) {
        Err(Refused::Absent(text)) => refused(text),
        other => other,
    }
}
