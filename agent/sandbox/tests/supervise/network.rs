//! Connections and messages: done as judged, to where was judged.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use defenseclaw_sandbox::supervise::{
    Action, Address, Answer, ConnectRequest, Errno, Judge, OpenRequest, Transport, Verdict,
};

use crate::harness::{Person, Run, folder};
use crate::target::{errno, tell};

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    let port = |at: usize| arguments[at].parse::<u16>().unwrap();
    match operation {
        "connect" => (0..arguments.len()).for_each(|at| tell(&connect_tcp(port(at)).to_string())),
        "answers of the kernel" => answers(port(0), port(1)),
        "datagrams" => datagrams(&[port(0), port(1)]),
        "unix" => arguments
            .iter()
            .for_each(|path| tell(&connect_unix(path.as_bytes()).to_string())),
        "flip the port" => flip_port(port(0), port(1)),
        "pass a descriptor" => pass_descriptor(),
        "fill a stream" => fill_stream(),
        "broken pipe" => broken_pipe(),
        _ => return None,
    }
    Some(())
}

fn socket(domain: i32, kind: i32) -> i32 {
    // SAFETY: numbers.
    unsafe { libc::socket(domain, kind, 0) }
}

fn inet(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    }
}

fn connect(fd: i32, bytes: *const libc::c_void, length: usize) -> i32 {
    // SAFETY: whatever the address is worth is for the kernel to say; that is what is tested.
    let rc = unsafe { libc::connect(fd, bytes.cast(), length as u32) };
    if rc < 0 { -errno() } else { 0 }
}

fn connect_in(fd: i32, port: u16) -> i32 {
    let address = inet(port);
    connect(fd, (&raw const address).cast(), 16)
}

fn connect_tcp(port: u16) -> i32 {
    connect_in(socket(libc::AF_INET, libc::SOCK_STREAM), port)
}

fn connect_unix(path: &[u8]) -> i32 {
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    match path.strip_prefix(b"@") {
        Some(name) => {
            address.push(0);
            address.extend_from_slice(name);
        }
        None => address.extend_from_slice(path),
    }
    connect(fd, address.as_ptr().cast(), address.len())
}

fn answers(open: u16, closed: u16) {
    let stream = || socket(libc::AF_INET, libc::SOCK_STREAM);
    let say = |name: &str, result: i32| tell(&format!("{name}: {result}"));
    say("open", connect_tcp(open));
    say("closed", connect_tcp(closed));
    say("no descriptor", connect_in(177, open));
    say("no socket", connect_in(OUT_FD, open));
    let address = inet(open);
    let bytes = (&raw const address).cast();
    say("too short", connect(stream(), bytes, 8));
    say("too long", connect(stream(), bytes, 400));
    say("bad address", connect(stream(), 8 as *const libc::c_void, 16));
    say(
        "wrong family",
        connect(socket(libc::AF_INET6, libc::SOCK_STREAM), bytes, 16),
    );
    say(
        "unix on inet",
        connect(stream(), b"\x01\0/nowhere".as_ptr().cast(), 11),
    );
    let twice = stream();
    say("first", connect_in(twice, open));
    say("again", connect_in(twice, open));
    say("disconnect", connect(twice, [0u8; 16].as_ptr().cast(), 16));
    let late = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
    say("not waiting", connect_in(late, open));
    let mut wait = libc::pollfd {
        fd: late,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one writable entry.
    unsafe { libc::poll(&raw mut wait, 1, 5000) };
    say("ready", i32::from(wait.revents));
    say("no such path", connect_unix(b"/nowhere/socket"));
    say("no socket there", connect_unix(b"/etc/passwd"));
    say("no such name", connect_unix(b"@nobody listens here"));
    say(
        "datagram",
        connect_in(socket(libc::AF_INET, libc::SOCK_DGRAM), closed),
    );
}

const OUT_FD: i32 = crate::harness::OUT;

fn datagrams(ports: &[u16]) {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM);
    for port in ports {
        let mut address = inet(*port);
        let text = format!("to {port}");
        let mut part = libc::iovec {
            iov_base: text.as_ptr().cast_mut().cast(),
            iov_len: text.len(),
        };
        // SAFETY: every pointer is to something that lives here; the structures are valid when zeroed.
        unsafe {
            let sent = libc::sendto(
                fd,
                text.as_ptr().cast(),
                text.len(),
                0,
                (&raw const address).cast(),
                16,
            );
            tell(&format!(
                "sendto {}",
                if sent < 0 {
                    -i64::from(errno())
                } else {
                    sent as i64
                }
            ));
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_name = (&raw mut address).cast();
            message.msg_namelen = 16;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            let sent = libc::sendmsg(fd, &raw const message, 0);
            tell(&format!(
                "sendmsg {}",
                if sent < 0 {
                    -i64::from(errno())
                } else {
                    sent as i64
                }
            ));
            let mut several: [libc::mmsghdr; 2] = std::mem::zeroed();
            several[0].msg_hdr = message;
            several[1].msg_hdr = message;
            let sent = libc::sendmmsg(fd, several.as_mut_ptr(), 2, 0);
            let length = several[0].msg_len;
            tell(&format!(
                "sendmmsg {} {length}",
                if sent < 0 { -errno() } else { sent }
            ));
        }
    }
}

fn flip_port(allowed: u16, refused: u16) {
    let address = inet(allowed);
    // SAFETY: the address outlives the threads; the port is read and written as one atomic word of two bytes.
    let port = unsafe { AtomicU16::from_ptr((&raw const address.sin_port).cast_mut()) };
    let over = AtomicBool::new(false);
    let mut results = std::collections::BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                port.store(refused.to_be(), Ordering::Relaxed);
                port.store(allowed.to_be(), Ordering::Relaxed);
            }
        });
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let fd = socket(libc::AF_INET, libc::SOCK_STREAM);
            *results
                .entry(connect(fd, (&raw const address).cast(), 16))
                .or_insert(0u32) += 1;
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            // SAFETY: readable; the descriptor is ours. Without TIME_WAIT, ports do not run out.
            unsafe {
                libc::setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const at_once).cast(),
                    8,
                );
                libc::close(fd);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    tell(&format!(
        "{} {}",
        results.get(&0).unwrap_or(&0),
        results.get(&-libc::EACCES).unwrap_or(&0)
    ));
}

fn pass_descriptor() {
    let mut ends = [0; 2];
    // SAFETY: buffers of sufficient size and alignment, all of them ours.
    unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr());
        let memory = libc::memfd_create(c"passed".as_ptr(), 0);
        libc::write(memory, b"carried".as_ptr().cast(), 7);
        let mut control = [0u64; 4];
        let mut part = libc::iovec {
            iov_base: b"!".as_ptr().cast_mut().cast(),
            iov_len: 1,
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(memory);
        tell(&format!("sent {}", libc::sendmsg(ends[0], &raw const message, 0)));
        libc::close(memory);
        let mut byte = [0u8];
        part = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        message.msg_iov = &raw mut part;
        control = [0; 4];
        message.msg_control = control.as_mut_ptr().cast();
        libc::recvmsg(ends[1], &raw mut message, 0);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let got = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
        let mut buf = [0u8; 16];
        let length = libc::pread(got, buf.as_mut_ptr().cast(), 16, 0);
        tell(&format!(
            "got {:?}",
            String::from_utf8_lossy(&buf[..length.max(0) as usize])
        ));
    }
}

/// More than a socket's buffer holds, through `sendmsg` on a socket that waits.
fn fill_stream() {
    let mut ends = [0; 2];
    // SAFETY: two writable ints.
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    let reader = std::thread::spawn(move || {
        let mut total = 0;
        let mut buf = vec![0u8; 65536];
        loop {
            std::thread::sleep(Duration::from_millis(2));
            // SAFETY: a writable buffer.
            let read = unsafe { libc::read(ends[1], buf.as_mut_ptr().cast(), buf.len()) };
            if read <= 0 {
                return total;
            }
            total += read;
        }
    });
    let data = vec![7u8; 1 << 20];
    let mut sent = 0;
    while sent < data.len() {
        let mut part = libc::iovec {
            iov_base: data[sent..].as_ptr().cast_mut().cast(),
            iov_len: data.len() - sent,
        };
        // SAFETY: the message points to what lives here.
        let now = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            libc::sendmsg(ends[0], &raw const message, 0)
        };
        assert!(now > 0, "{}", errno());
        sent += now as usize;
    }
    // SAFETY: ours.
    unsafe { libc::close(ends[0]) };
    tell(&format!("{sent} {}", reader.join().unwrap()));
}

fn broken_pipe() {
    let mut ends = [0; 2];
    // SAFETY: as above; the signal is what is waited for.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr());
        libc::close(ends[1]);
        let message: libc::msghdr = std::mem::zeroed();
        libc::sendmsg(ends[0], &raw const message, libc::MSG_NOSIGNAL);
        let mut part = libc::iovec {
            iov_base: b"!".as_ptr().cast_mut().cast(),
            iov_len: 1,
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        libc::sendmsg(ends[0], &raw const message, libc::MSG_NOSIGNAL);
        tell(&format!("errno {}", errno()));
        libc::sendmsg(ends[0], &raw const message, 0);
    }
    tell("still alive");
}

/// Ports and paths, each with its verdict; opens are free.
struct Ports(Vec<(Address, Verdict)>);

impl Judge for Ports {
    fn open(&self, _: &OpenRequest) -> Verdict {
        Verdict::Allow
    }

    fn connect(&self, request: &ConnectRequest) -> Verdict {
        let rule = self.0.iter().find(|(address, _)| *address == request.address);
        rule.map_or(Verdict::REFUSED, |(_, verdict)| verdict.clone())
    }
}

fn local(port: u16) -> Address {
    Address::Ip(([127, 0, 0, 1], port).into())
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn connections_are_allowed_refused_and_asked_about() {
    let folder = folder();
    let ((allowed, port_a), (refused, port_r), (asked, port_q)) = (listener(), listener(), listener());
    let person = Person::new(Answer::ForRun, Duration::from_millis(50));
    let run = Run {
        arguments: [port_a, port_r, port_q, port_q]
            .map(|port| port.to_string())
            .to_vec(),
        judge: Arc::new(Ports(vec![
            (local(port_a), Verdict::Allow),
            (local(port_r), Verdict::Deny(Errno::EPERM)),
            (local(port_q), Verdict::Ask("not in the list".into())),
        ])),
        people: person.clone(),
        ..Run::new("connect", folder.path())
    };
    assert_eq!(run.done().text, "0\n-1\n0\n0\n");
    assert!(allowed.accept().is_ok() && asked.accept().is_ok() && asked.accept().is_ok());
    assert_eq!(refused.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let wanted = Action::Connect {
        address: local(port_q),
        transport: Transport::Stream,
    };
    assert_eq!(*person.asked.lock().unwrap(), [wanted]);
}

#[test]
fn the_kernels_answers_are_passed_on() {
    let folder = folder();
    let answers = |supervised| {
        let (_open, port) = listener();
        let closed = listener().1;
        let run = Run {
            supervised,
            arguments: vec![port.to_string(), closed.to_string()],
            ..Run::new("answers of the kernel", folder.path())
        };
        run.done().text
    };
    let plain = answers(false);
    assert_eq!(plain.lines().count(), 18);
    assert_eq!(plain, answers(true));
}

#[test]
fn datagrams_go_only_where_allowed() {
    let folder = folder();
    let (free, closed) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let run = Run {
        arguments: vec![port(&free).to_string(), port(&closed).to_string()],
        judge: Arc::new(Ports(vec![(local(port(&free)), Verdict::Allow)])),
        ..Run::new("datagrams", folder.path())
    };
    let text = run.done().text;
    let length = format!("to {}", port(&free)).len();
    let sent = format!("sendto {length}\nsendmsg {length}\nsendmmsg 1 {length}\n");
    assert_eq!(text, format!("{sent}sendto -13\nsendmsg -13\nsendmmsg -13 0\n"));
    let mut buf = [0u8; 32];
    for socket in [&free, &closed] {
        socket.set_nonblocking(true).unwrap();
    }
    for _ in 0..3 {
        let (length, _) = free.recv_from(&mut buf).unwrap();
        assert_eq!(buf[..length], *format!("to {}", port(&free)).as_bytes());
    }
    assert!(closed.recv_from(&mut buf).is_err());
}

#[test]
fn unix_sockets_are_judged_by_where_they_lie() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let _free = UnixListener::bind(path("free")).unwrap();
    let closed = UnixListener::bind(path("closed")).unwrap();
    closed.set_nonblocking(true).unwrap();
    std::os::unix::fs::symlink("closed", path("innocent")).unwrap();
    std::os::unix::fs::symlink("free", path("roundabout")).unwrap();
    let name = format!("supervise-test-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    let run = Run {
        arguments: [
            "free",
            "closed",
            "innocent",
            "roundabout",
            &format!("@{name}"),
            "@other",
        ]
        .map(String::from)
        .to_vec(),
        judge: Arc::new(Ports(vec![
            (Address::UnixPath(path("free")), Verdict::Allow),
            (Address::UnixAbstract(name.clone().into_bytes()), Verdict::Allow),
        ])),
        ..Run::new("unix", folder.path())
    };
    assert_eq!(run.done().text, "0\n-13\n-13\n0\n0\n-13\n");
    assert!(closed.accept().is_err());
}

#[test]
fn an_address_that_changes_in_memory_is_connected_to_as_judged() {
    let folder = folder();
    let ((allowed, port_a), (refused, port_r)) = (listener(), listener());
    let over = Arc::new(AtomicBool::new(false));
    let accepts = {
        let over = over.clone();
        std::thread::spawn(move || {
            let mut accepted = 0;
            while !over.load(Ordering::Relaxed) {
                match allowed.accept() {
                    Ok((mut stream, _)) => {
                        accepted += 1;
                        let _ = stream.read(&mut [0]);
                    }
                    Err(_) => std::thread::sleep(Duration::from_micros(200)),
                }
            }
            accepted
        })
    };
    let run = Run {
        arguments: vec![port_a.to_string(), port_r.to_string()],
        judge: Arc::new(Ports(vec![(local(port_a), Verdict::Allow)])),
        ..Run::new("flip the port", folder.path())
    };
    let text = run.done().text;
    over.store(true, Ordering::Relaxed);
    println!("connected, refused: {text}; accepted {}", accepts.join().unwrap());
    assert_eq!(
        refused.accept().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "the refused port was reached"
    );
    let counts: Vec<u32> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(counts[0] > 50 && counts[1] > 50, "the race was not run: {text}");
}

#[test]
fn messages_carry_descriptors_and_much_data() {
    let folder = folder();
    assert_eq!(
        Run::new("pass a descriptor", folder.path()).done().text,
        "sent 1\ngot \"carried\"\n"
    );
    assert_eq!(
        Run::new("fill a stream", folder.path()).done().text,
        "1048576 1048576\n"
    );
    let done = Run::new("broken pipe", folder.path()).done();
    assert_eq!(done.text, "errno 32\n");
    assert!(libc::WIFSIGNALED(done.status) && libc::WTERMSIG(done.status) == libc::SIGPIPE);
}
