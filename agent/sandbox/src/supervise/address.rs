//! Socket addresses as the target gives them: bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sys::Errno;

/// `sizeof(struct sockaddr_storage)`: the kernel takes nothing longer.
pub(super) const MAX_ADDRESS: usize = 128;

/// The longest `sun_path`.
const MAX_UNIX_PATH: usize = 108;

/// An address, told apart as far as judging needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    /// `AF_UNSPEC` in a connect: takes a connection away and makes none.
    Disconnect,
    Ip(SocketAddr),
    UnixPath(Vec<u8>),
    UnixAbstract(Vec<u8>),
    Other(u16),
}

/// Reads an address. `sends`: it is a message's and not a connect's; `domain`: the socket's own family.
pub(super) fn parse(bytes: &[u8], domain: i32, sends: bool) -> Result<Parsed, Errno> {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return Err(Errno::EINVAL);
    };
    let family = u16::from_ne_bytes(*family);
    match i32::from(family) {
        // A datagram to "unspecified" goes to that address all the same on IPv4 sockets.
        libc::AF_UNSPEC if sends && domain == libc::AF_INET => v4(rest),
        libc::AF_UNSPEC if sends => Err(Errno::EAFNOSUPPORT),
        libc::AF_UNSPEC => Ok(Parsed::Disconnect),
        libc::AF_INET => v4(rest),
        libc::AF_INET6 => v6(rest),
        // Only a Unix socket looks into the file system for it.
        libc::AF_UNIX if domain == libc::AF_UNIX => unix(rest),
        _ => Ok(Parsed::Other(family)),
    }
}

fn v4(rest: &[u8]) -> Result<Parsed, Errno> {
    // Port, address, eight bytes of padding that have to be there.
    let Some(fields) = rest.first_chunk::<14>() else {
        return Err(Errno::EINVAL);
    };
    let port = u16::from_be_bytes([fields[0], fields[1]]);
    let address = Ipv4Addr::new(fields[2], fields[3], fields[4], fields[5]);
    Ok(Parsed::Ip(SocketAddr::new(IpAddr::V4(address), port)))
}

fn v6(rest: &[u8]) -> Result<Parsed, Errno> {
    // Port, flow, address; a scope may follow.
    let Some(fields) = rest.first_chunk::<22>() else {
        return Err(Errno::EINVAL);
    };
    let port = u16::from_be_bytes([fields[0], fields[1]]);
    let mut address = [0u8; 16];
    address.copy_from_slice(&fields[6..22]);
    // `::ffff:1.2.3.4` is IPv4 on the wire, and so is the address judged.
    Ok(Parsed::Ip(SocketAddr::new(
        Ipv6Addr::from(address).to_canonical(),
        port,
    )))
}

fn unix(rest: &[u8]) -> Result<Parsed, Errno> {
    match rest {
        [] => Err(Errno::EINVAL),
        path if path.len() > MAX_UNIX_PATH => Err(Errno::EINVAL),
        [0, name @ ..] => Ok(Parsed::UnixAbstract(name.to_vec())),
        path => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Ok(Parsed::UnixPath(path[..end].to_vec()))
        }
    }
}

/// The bytes of a Unix address with this path.
pub(super) fn unix_address(path: &[u8]) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(path);
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inet(family: i32, rest: &[u8]) -> Vec<u8> {
        [&(family as u16).to_ne_bytes(), rest].concat()
    }

    #[test]
    fn addresses_are_told_apart() {
        let v4 = inet(libc::AF_INET, &[0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let home = Parsed::Ip("127.0.0.1:80".parse().unwrap());
        assert_eq!(parse(&v4, libc::AF_INET, false), Ok(home.clone()));
        let mut mapped = vec![0, 80, 0, 0, 0, 0];
        mapped.extend_from_slice(&"::ffff:127.0.0.1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(
            parse(&inet(libc::AF_INET6, &mapped), libc::AF_INET6, false),
            Ok(home.clone())
        );
        assert_eq!(parse(&v4[..15], libc::AF_INET, false), Err(Errno::EINVAL));
        let hidden = inet(libc::AF_UNSPEC, &v4[2..]);
        assert_eq!(
            parse(&hidden, libc::AF_INET, true),
            Ok(home),
            "a datagram would go there"
        );
        assert_eq!(parse(&hidden, libc::AF_INET, false), Ok(Parsed::Disconnect));
        assert_eq!(
            parse(&unix_address(b"/run/x"), 1, false),
            Ok(Parsed::UnixPath(b"/run/x".to_vec()))
        );
        assert_eq!(
            parse(b"\x01\0\0abc", 1, false),
            Ok(Parsed::UnixAbstract(b"abc".to_vec()))
        );
        assert_eq!(parse(b"\x10\0", 16, false), Ok(Parsed::Other(16)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..MAX_ADDRESS), sends: bool) {
            let _ = parse(&bytes, libc::AF_INET, sends);
        }
    }
}
