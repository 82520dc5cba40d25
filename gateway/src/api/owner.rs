//! Whose the other end of a connection on loopback is, as the kernel's socket table tells (`sock_diag(7)`).
//!
//! One question with the connection's four numbers, one answer: however many connections there are, it takes the same.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// `SOCK_DIAG_BY_FAMILY`, as question and as answer.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// Bytes of a question: `struct nlmsghdr` and `struct inet_diag_req_v2`.
const QUESTION: usize = 16 + 56;
/// Where in an answer the user stands: behind `struct nlmsghdr`, and in `struct inet_diag_msg` behind four bytes, the
/// connection's numbers and three counters.
const UID_AT: usize = 16 + 4 + 48 + 12;
/// The kernel answers while the question is sent; this only keeps a defect from stopping the gateway.
const PATIENCE: TimeVal = TimeVal::new(0, 50_000);

/// The user whose socket is connected from `theirs` to `ours`. `None`: the kernel does not say.
pub fn of(theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    match ask(theirs, ours) {
        Ok(uid) => uid,
        Err(error) => {
            tracing::warn!("whose a connection on loopback is cannot be told: {error}");
            None
        }
    }
}

fn ask(theirs: SocketAddr, ours: SocketAddr) -> io::Result<Option<u32>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&netlink, sockopt::ReceiveTimeout, &PATIENCE)?;
    send(
        netlink.as_raw_fd(),
        &question(theirs, ours),
        MsgFlags::MSG_NOSIGNAL,
    )?;
    let mut answer = [0; 1024];
    let count = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(uid_in(&answer[..count]))
}

fn question(theirs: SocketAddr, ours: SocketAddr) -> Vec<u8> {
    let family = match theirs {
        SocketAddr::V4(_) => nix::libc::AF_INET,
        SocketAddr::V6(_) => nix::libc::AF_INET6,
    };
    let mut bytes = Vec::with_capacity(QUESTION);
    bytes.extend((QUESTION as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([
        u8::try_from(family).unwrap_or_default(),
        u8::try_from(nix::libc::IPPROTO_TCP).unwrap_or_default(),
        0,
        0,
    ]);
    bytes.extend(u32::MAX.to_ne_bytes()); // In any state.
    bytes.extend(theirs.port().to_be_bytes());
    bytes.extend(ours.port().to_be_bytes());
    bytes.extend(sixteen(theirs.ip()));
    bytes.extend(sixteen(ours.ip()));
    bytes.extend([0; 4]); // On any interface.
    bytes.extend([0xff; 8]); // Whatever its cookie.
    bytes
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn uid_in(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let uid = answer.get(UID_AT..UID_AT + 4)?;
    (kind == BY_FAMILY).then_some(u32::from_ne_bytes(uid.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_says_whose_a_connection_is() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                // A host without IPv6.
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, theirs) = listener.accept().unwrap();
            let ours = server.local_addr().unwrap();
            assert_eq!(client.local_addr().unwrap(), theirs);
            assert_eq!(of(theirs, ours), Some(nix::unistd::geteuid().as_raw()));
            let nobody = SocketAddr::new(theirs.ip(), 1);
            assert_eq!(of(nobody, ours), None);
        }
    }

    #[test]
    fn no_answer_is_taken_for_another() {
        assert_eq!(uid_in(&[]), None);
        assert_eq!(uid_in(&[0; 200]), None, "an error");
        let mut answer = [0; 88];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[UID_AT..UID_AT + 4].copy_from_slice(&1_000_u32.to_ne_bytes());
        assert_eq!(uid_in(&answer), Some(1_000));
        assert_eq!(uid_in(&answer[..UID_AT + 3]), None, "cut short");
    }
}
