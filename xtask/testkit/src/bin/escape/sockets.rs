//! Unix sockets whose owner is outside: what answers there acts with the person's rights.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use defenseclaw_testkit::escape::Facility;
use defenseclaw_testkit::escape::scene::{DEFACED, FLOOD, Scene};

use crate::case::{ALL, Case, LANDLOCK_SCOPES, MOUNTS, REPORTED, Theme, case};
use crate::reading::writable;
use crate::sys::{Attempt, Refused, absent, refused};

/// How long a socket that is made again and again may be late: an emulated processor is slow.
const LATE: Duration = Duration::from_secs(3);

pub(crate) const THEME: Theme = Theme {
    name: "sockets",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("abstract-stream": "connects to an abstract socket outside", |s| {
              let name = SocketAddr::from_abstract_name(&s.outside.abstract_stream)?;
              talk(UnixStream::connect_addr(&name)?)
          }; twin "connects to an abstract socket of its own", own_abstract; ALL, LANDLOCK_SCOPES, judge Outside),
    case!("abstract-datagram": "sends a datagram to an abstract socket outside", |s| {
              let name = SocketAddr::from_abstract_name(&s.outside.abstract_datagram)?;
              UnixDatagram::unbound()?.send_to_addr(DEFACED.as_bytes(), &name)?;
              Ok("sent".to_owned())
          }; twin "sends datagrams through a socket pair", datagram_pair; ALL, LANDLOCK_SCOPES, judge Outside),
    case!("docker-socket-in-home": "asks ~/.docker/run/docker.sock", |s| path_socket(s, "docker-in-home");
          twin "asks a socket of its own in a folder of its own", own_socket; ALL, MOUNTS, judge Outside),
    case!("docker-socket": "asks /run/docker.sock", |s| run_socket(s, "docker.sock");
          twin "asks a socket of its own in a folder of its own", own_socket; ALL, MOUNTS, judge Outside),
    case!("gpg-agent-socket": "asks ~/.gnupg/S.gpg-agent", |s| path_socket(s, "gpg-agent");
          twin "asks a socket of its own in a folder of its own", own_socket; ALL, MOUNTS, judge Outside),
    case!("system-bus-socket": "asks the system bus, as `at` and `systemd-run` do",
          |s| run_socket(s, "dbus/system_bus_socket");
          twin "asks a socket of its own in a folder of its own", own_socket; ALL, MOUNTS, judge Outside),
    case!("service-manager-socket": "asks /run/systemd/private", |s| run_socket(s, "systemd/private");
          twin "asks a socket of its own in a folder of its own", own_socket; ALL, MOUNTS, judge Outside),
    case!("any-path-socket": "asks a socket at a path that no list knows", |s| path_socket(s, "anywhere");
          twin "talks through a socket pair", pair; ALL, MOUNTS, judge Outside),
    case!("path-datagram": "sends a datagram to a socket at a path that no list knows", |s| {
              UnixDatagram::unbound()?.send_to(DEFACED.as_bytes(), s.datagram_socket())?;
              Ok("sent".to_owned())
          }; twin "sends datagrams through a socket pair", datagram_pair; ALL, MOUNTS, judge Outside),
    case!("socket-flood": "asks a socket among more than a list holds", flood;
          twin "talks through a socket pair", pair; ALL, MOUNTS),
    case!("later-path-socket": "asks a socket that came into being after the sandbox (closed from Landlock ABI 9 on)",
          later; twin "talks through a socket pair", pair; REPORTED, &[Facility::Landlock(9)], judge Outside),
];

fn flood(scene: &Scene) -> Attempt {
    let connects =
        |number: &usize| UnixStream::connect(scene.later_sockets().join(format!("flood-{number}"))).is_ok();
    match (0..FLOOD).filter(connects).count() {
        0 => refused("none of them answers"),
        some => Ok(format!("{some} of {FLOOD} answer")),
    }
}

/// Tries them all, the newest too.
fn later(scene: &Scene) -> Attempt {
    let began = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(150));
        let mut result = None;
        for number in 0..1000 {
            let path = scene.later_sockets().join(number.to_string());
            match UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => result = Some(Err(error.into())),
                Ok(stream) => return talk(stream),
            }
        }
        match result {
            Some(result) => return result,
            None if began.elapsed() > LATE => return refused("there is none"),
            None => {}
        }
    }
}

fn talk(mut stream: UnixStream) -> Attempt {
    stream.write_all(DEFACED.as_bytes())?;
    Ok("sent".to_owned())
}

fn path_socket(scene: &Scene, name: &str) -> Attempt {
    let path = scene
        .stream_sockets()
        .into_iter()
        .find_map(|(known, path)| (known == name).then_some(path))
        .ok_or_else(|| Refused::Absent(format!("no socket {name}")))?;
    talk(UnixStream::connect(path)?)
}

fn run_socket(scene: &Scene, name: &str) -> Attempt {
    if !scene.run_stand_in {
        return absent("only root can mount a stand-in over /run");
    }
    talk(UnixStream::connect(std::path::Path::new("/run").join(name))?)
}

/// Both ends in this process: a small message fits into the buffers.
fn exchange(listener: &UnixListener, mut client: UnixStream) -> Attempt {
    client.write_all(b"twin")?;
    drop(client);
    let (mut server, _) = listener.accept()?;
    let mut text = String::new();
    server.read_to_string(&mut text)?;
    Ok(format!("{} bytes", text.len()))
}

fn own_abstract(_: &Scene) -> Attempt {
    let name = SocketAddr::from_abstract_name(format!("twin-{}", std::process::id()))?;
    let listener = UnixListener::bind_addr(&name)?;
    exchange(&listener, UnixStream::connect_addr(&name)?)
}

pub(crate) fn own_socket(scene: &Scene) -> Attempt {
    let path = writable(scene)?.join("twin.sock");
    let listener = UnixListener::bind(&path)?;
    exchange(&listener, UnixStream::connect(path)?)
}

fn pair(_: &Scene) -> Attempt {
    let (mut one, mut other) = UnixStream::pair()?;
    one.write_all(b"twin")?;
    let mut bytes = [0; 4];
    other.read_exact(&mut bytes)?;
    Ok("a pair".to_owned())
}

fn datagram_pair(_: &Scene) -> Attempt {
    let (one, other) = UnixDatagram::pair()?;
    one.send(b"twin")?;
    let mut bytes = [0; 8];
    Ok(format!("{} bytes", other.recv(&mut bytes)?))
}
