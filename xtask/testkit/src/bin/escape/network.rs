//! Leaving by the network. Listeners outside are on loopback, and notice what reaches them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use defenseclaw_testkit::escape::scene::{DEFACED, Scene};
use nix::libc;

use crate::case::{ALL, CAPABILITIES, Case, LANDLOCK, NAMED_HOSTS, OFFLINE, SECCOMP, Theme, case};
use crate::sys::{Arg, Attempt, Refused, absent, call, open_by, refused, word};

pub(crate) const THEME: Theme = Theme {
    name: "network",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("tcp-connect": "connects to a TCP listener on 127.0.0.1", |s| talk(&local(s.outside.tcp));
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, LANDLOCK, judge Outside),
    case!("tcp-connect-ipv6": "connects to a TCP listener on ::1", |s| talk(&local6(s.outside.tcp6)?);
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, LANDLOCK, judge Outside),
    case!("tcp-connect-mapped": "connects to 127.0.0.1 as ::ffff:127.0.0.1", |s| {
              talk(&(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), s.outside.tcp).into())
          }; twin "talks through a Unix socket pair", pair; NAMED_HOSTS, LANDLOCK, judge Outside),
    case!("tcp-fast-open-sendto": "sends without connect by sendto with MSG_FASTOPEN", |s| fast_open(s, false);
          twin "sends through a socket pair by send with MSG_NOSIGNAL", pair_send; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("tcp-fast-open-sendmsg": "sends without connect by sendmsg with MSG_FASTOPEN", |s| fast_open(s, true);
          twin "sends through a socket pair by send with MSG_NOSIGNAL", pair_send; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("tcp-listen": "listens on a TCP port", |_| {
              Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string())
          }; twin "talks through a Unix socket pair", pair; OFFLINE, LANDLOCK),
    case!("udp-send": "sends a datagram to a UDP port on 127.0.0.1", |s| {
              udp()?.send_to(DEFACED.as_bytes(), local(s.outside.udp))?;
              Ok("sent".to_owned())
          }; twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("udp-connect-write": "connects a UDP socket and writes it", |s| {
              let socket = udp()?;
              socket.connect(local(s.outside.udp))?;
              socket.send(DEFACED.as_bytes())?;
              Ok("sent".to_owned())
          }; twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("udp-sendmmsg": "sends several datagrams by sendmmsg", send_many;
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("dns-query": "asks a name server for a name that carries a secret", dns;
          twin "looks up localhost in /etc/hosts", hosts; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("ping-socket": "sends an echo request by an ICMP datagram socket", ping;
          twin "talks through a Unix socket pair", pair; OFFLINE, SECCOMP),
    case!("raw-socket": "opens a raw ICMP socket", |_| family(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
          twin "talks through a Unix socket pair", pair; ALL, SECCOMP),
    case!("packet-socket": "opens a socket that sees all packets",
          |_| family(libc::AF_PACKET, libc::SOCK_RAW, i32::from(3_u16.to_be()));
          twin "talks through a Unix socket pair", pair; ALL, SECCOMP),
    case!("netlink-route": "asks the kernel for the host's interfaces", |_| netlink(libc::NETLINK_ROUTE);
          twin "talks through a Unix socket pair", pair; OFFLINE, SECCOMP),
    case!("netlink-diagnostics": "opens a socket that lists the host's connections",
          |_| family(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG);
          twin "talks through a Unix socket pair", pair; OFFLINE, SECCOMP),
    case!("multipath-tcp": "connects by multipath TCP, which Landlock did not see before ABI 8", multipath;
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP, judge Outside),
    case!("sctp-socket": "opens an SCTP socket", |_| family(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP);
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP),
    case!("smc-socket": "opens an SMC socket, which falls back to TCP", |_| family(43, libc::SOCK_STREAM, 0);
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP),
    case!("vsock": "opens a socket to the virtual machine's host", |_| family(libc::AF_VSOCK, libc::SOCK_STREAM, 0);
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP),
    case!("crypto-socket": "opens a socket of the kernel's crypto interface", |_| family(libc::AF_ALG, libc::SOCK_SEQPACKET, 0);
          twin "reads random bytes", random; NAMED_HOSTS, SECCOMP),
    case!("odd-families": "opens a socket of any family that programs do not need", odd_families;
          twin "talks through a Unix socket pair", pair; NAMED_HOSTS, SECCOMP),
    case!("set-interface-flags": "sets the flags of the loopback interface, to what they are", interface;
          twin "reads the host's name", |_| Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned());
          ALL, CAPABILITIES),
];

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn local6(port: u16) -> Result<SocketAddr, Refused> {
    if port == 0 {
        return absent("the host has no ::1");
    }
    Ok((Ipv6Addr::LOCALHOST, port).into())
}

fn talk(to: &SocketAddr) -> Attempt {
    TcpStream::connect_timeout(to, Duration::from_secs(2))?.write_all(DEFACED.as_bytes())?;
    Ok("sent".to_owned())
}

fn udp() -> Result<UdpSocket, Refused> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)
}

fn pair(_: &Scene) -> Attempt {
    let (mut one, mut other) = UnixStream::pair()?;
    one.write_all(b"twin")?;
    let mut bytes = [0; 4];
    other.read_exact(&mut bytes)?;
    Ok("a pair".to_owned())
}

fn pair_send(_: &Scene) -> Attempt {
    let (one, _other) = UnixStream::pair()?;
    let text = b"twin";
    let flags = libc::MSG_NOSIGNAL;
    call(
        "sendto",
        libc::SYS_sendto,
        &[
            Arg::fd(&one),
            Arg::read(text),
            text.len().into(),
            flags.into(),
            0.into(),
            0.into(),
        ],
    )?;
    Ok("sent".to_owned())
}

fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Refused> {
    let kind = kind | libc::SOCK_CLOEXEC;
    open_by(
        "socket",
        libc::SYS_socket,
        &[family.into(), kind.into(), protocol.into()],
    )
}

fn family(family: i32, kind: i32, protocol: i32) -> Attempt {
    socket(family, kind, protocol)?;
    Ok(format!("a socket of family {family}"))
}

/// `struct sockaddr_in` of a port on 127.0.0.1.
fn address(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn fast_open(scene: &Scene, by_message: bool) -> Attempt {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    send_to(&socket, scene.outside.tcp, by_message, libc::MSG_FASTOPEN)?;
    // Without a cookie the kernel connects first, and sends then.
    std::thread::sleep(Duration::from_millis(50));
    Ok("sent".to_owned())
}

fn send_to(socket: &OwnedFd, port: u16, by_message: bool, flags: i32) -> Result<(), Refused> {
    let (mut address, mut text) = (address(port), DEFACED.as_bytes().to_vec());
    let length = size_of_val(&address);
    if !by_message {
        let arguments = [
            Arg::fd(socket),
            Arg::read(&*text),
            text.len().into(),
            flags.into(),
            Arg::read(&address),
            length.into(),
        ];
        call("sendto", libc::SYS_sendto, &arguments)?;
        return Ok(());
    }
    let mut vector = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    let mut header = header(&mut address, &mut vector);
    call(
        "sendmsg",
        libc::SYS_sendmsg,
        &[Arg::fd(socket), Arg::write(&mut header), flags.into()],
    )?;
    Ok(())
}

fn header(address: &mut libc::sockaddr_in, vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zero is a valid message header: no name, no data, no control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = std::ptr::from_mut(address).cast();
    header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    header.msg_iov = std::ptr::from_mut(vector);
    header.msg_iovlen = 1;
    header
}

fn send_many(scene: &Scene) -> Attempt {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let (mut address, mut text) = (address(scene.outside.udp), DEFACED.as_bytes().to_vec());
    let mut vector = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    let mut messages = [libc::mmsghdr {
        msg_hdr: header(&mut address, &mut vector),
        msg_len: 0,
    }];
    let arguments = [Arg::fd(&socket), Arg::write(&mut messages), 1.into(), 0.into()];
    call("sendmmsg", libc::SYS_sendmmsg, &arguments)?;
    Ok("sent".to_owned())
}

/// A query for `defaced-by-escape.example`, type A, with the id 1.
fn dns(scene: &Scene) -> Attempt {
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [DEFACED, "example"] {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    udp()?.send_to(&query, local(scene.outside.udp))?;
    Ok("asked".to_owned())
}

fn hosts(_: &Scene) -> Attempt {
    let text = fs::read_to_string("/etc/hosts")?;
    if text.contains("localhost") {
        Ok("found".to_owned())
    } else {
        absent("/etc/hosts does not name localhost")
    }
}

fn ping(_: &Scene) -> Attempt {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
    let address = address(0);
    // Echo request; the kernel fills in identifier and checksum.
    let echo = [8_u8, 0, 0, 0, 0, 0, 0, 1];
    let length = size_of_val(&address);
    let arguments = [
        Arg::fd(&socket),
        Arg::read(&echo),
        echo.len().into(),
        0.into(),
        Arg::read(&address),
        length.into(),
    ];
    call("sendto", libc::SYS_sendto, &arguments)?;
    let mut answer = [0_u8; 64];
    std::thread::sleep(Duration::from_millis(20));
    let arguments = [
        Arg::fd(&socket),
        Arg::write(&mut answer),
        64.into(),
        libc::MSG_DONTWAIT.into(),
        0.into(),
        0.into(),
    ];
    let length = call("recvfrom", libc::SYS_recvfrom, &arguments)?;
    Ok(format!("an answer of {length} bytes"))
}

fn netlink(protocol: i32) -> Attempt {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    // `struct nlmsghdr` and `struct rtgenmsg`: RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP.
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(18_u16.to_ne_bytes());
    request.extend(0x301_u16.to_ne_bytes());
    request.extend([0; 12]);
    let mut file = fs::File::from(socket);
    file.write_all(&request)?;
    let mut answer = vec![0; 16384];
    let length = file.read(&mut answer)?;
    if answer[..length].windows(3).any(|bytes| bytes == b"lo\0") {
        return Ok("the host's interfaces".to_owned());
    }
    refused("the answer names no interface")
}

fn multipath(scene: &Scene) -> Attempt {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    let address = address(scene.outside.tcp);
    let length = size_of_val(&address);
    call(
        "connect",
        libc::SYS_connect,
        &[Arg::fd(&socket), Arg::read(&address), length.into()],
    )?;
    fs::File::from(socket).write_all(DEFACED.as_bytes())?;
    Ok("sent".to_owned())
}

fn odd_families(_: &Scene) -> Attempt {
    // Amateur radio, IPX, AppleTalk, PPPoE, RDS, CAN, TIPC, Bluetooth, KCM, QIPCRTR, XDP, NFC, phonet, key management.
    let families = [3, 4, 5, 24, 21, 29, 30, 31, 41, 42, 44, 39, 35, 15];
    let kinds = [
        libc::SOCK_RAW,
        libc::SOCK_DGRAM,
        libc::SOCK_STREAM,
        libc::SOCK_SEQPACKET,
    ];
    let mut opened = Vec::new();
    let mut denied = None;
    for family in families {
        for kind in kinds {
            match socket(family, kind, 0) {
                Ok(_) => opened.push(family),
                Err(Refused::By(why)) => denied = Some(why),
                Err(Refused::Absent(_)) => {}
            }
        }
    }
    opened.dedup();
    match (opened.as_slice(), denied) {
        ([], Some(why)) => refused(why),
        ([], None) => absent("the kernel knows none of them"),
        (some, _) => Ok(format!("families {some:?}")),
    }
}

fn random(_: &Scene) -> Attempt {
    let mut bytes = [0_u8; 16];
    let length = bytes.len();
    call(
        "getrandom",
        libc::SYS_getrandom,
        &[Arg::write(&mut bytes), length.into(), 0.into()],
    )?;
    Ok("16 bytes".to_owned())
}

/// Sets the loopback interface's flags to what they are: it changes nothing, and needs the right to change them.
fn interface(_: &Scene) -> Attempt {
    let socket = match socket(libc::AF_INET, libc::SOCK_DGRAM, 0) {
        Err(Refused::By(_)) => socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?,
        socket => socket?,
    };
    // `struct ifreq`: the name, then the flags.
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(&word("lo")?.as_bytes()[..2]);
    call(
        "SIOCGIFFLAGS",
        libc::SYS_ioctl,
        &[Arg::fd(&socket), 0x8913.into(), Arg::write(&mut request)],
    )?;
    call(
        "SIOCSIFFLAGS",
        libc::SYS_ioctl,
        &[Arg::fd(&socket), 0x8914.into(), Arg::write(&mut request)],
    )?;
    Ok("set".to_owned())
}
