//! Addresses of servers, and whether they may be asked.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use crate::problem::{Problem, Trouble};

/// An `http` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or number, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: String,
}

impl Address {
    /// Reads `url`.
    pub(crate) fn read(url: &str) -> Result<Self, Problem> {
        let unclear = |why: &str| {
            Problem::new(Trouble::Unclear, format!("Its address is not understood: {why}")).seen(url)
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(unclear("it has no scheme"));
        };
        if scheme.eq_ignore_ascii_case("https") {
            return Err(Problem::new(
                Trouble::NeedsNetwork,
                "It is reached by https, which is not asked here",
            )
            .seen(url));
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(unclear("its scheme is not http"));
        }
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unclear(
                "there are white space, control or foreign characters in it",
            ));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains(['@', '\\', '%']) {
            return Err(unclear("there is more than host and port before its path"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest
                .split_once(']')
                .ok_or_else(|| unclear("a bracket is missing"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 80,
            Some(port) => port.parse().map_err(|_| unclear("its port is no number"))?,
            None => return Err(unclear("something stands behind its host")),
        };
        if host.is_empty() {
            return Err(unclear("it names no host"));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// The one address that is connected to: this host, or with `network` any other but those that clouds keep secrets behind.
    pub(crate) fn resolve(&self, network: bool) -> Result<SocketAddr, Problem> {
        let plain = self.host.parse::<IpAddr>().ok();
        let local =
            self.host.eq_ignore_ascii_case("localhost") || plain.is_some_and(|address| address.is_loopback());
        if !local && !network {
            return Err(Problem::new(
                Trouble::NeedsNetwork,
                format!("It is reached at {}, which is not this host", self.host),
            ));
        }
        let found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| {
                Problem::new(
                    Trouble::NeedsNetwork,
                    format!("Its host {} is not found", self.host),
                )
                .seen(error.to_string())
            })?;
        let mut found: Vec<SocketAddr> = found.filter(|found| !local || found.ip().is_loopback()).collect();
        // Where both are there, most servers listen on the older one.
        found.sort_by_key(SocketAddr::is_ipv6);
        let address = found.first().copied().ok_or_else(|| {
            Problem::new(
                Trouble::NeedsNetwork,
                format!("Its host {} has no address that is asked", self.host),
            )
        })?;
        if link_local(address.ip()) {
            return Err(Problem::new(
                Trouble::Unclear,
                "It lies at an address of the host's own link, where clouds hand out credentials; it was not asked",
            )
            .seen(address.to_string()));
        }
        Ok(address)
    }

    /// For the `Host` header.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_what_is_none_is_refused() {
        let read = |url: &str| {
            let address = Address::read(url).unwrap();
            (address.authority(), address.path)
        };
        assert_eq!(
            read("http://127.0.0.1:8080/mcp?x=1#f"),
            ("127.0.0.1:8080".into(), "/mcp?x=1".into())
        );
        assert_eq!(read("HTTP://[::1]:9"), ("[::1]:9".into(), "/".into()));
        assert_eq!(read("http://localhost"), ("localhost:80".into(), "/".into()));
        for url in [
            "localhost:80",
            "ftp://x/",
            "http://a b/",
            "http://user:pass@127.0.0.1/",
            "http://127.0.0.1\\@evil/",
            "http://:80/",
            "http://x:port/",
            "http://[::1/",
            "http://x\r\nHost: y/",
        ] {
            assert_eq!(Address::read(url).unwrap_err().trouble, Trouble::Unclear, "{url}");
        }
        assert_eq!(
            Address::read("https://x/").unwrap_err().trouble,
            Trouble::NeedsNetwork
        );
    }

    #[test]
    fn only_this_host_is_asked_unless_told() {
        let resolve = |url: &str, network| {
            Address::read(url)
                .unwrap()
                .resolve(network)
                .map_err(|problem| problem.trouble)
        };
        assert!(resolve("http://127.0.0.1:1/", false).is_ok());
        assert!(resolve("http://localhost:1/", false).unwrap().ip().is_loopback());
        assert_eq!(resolve("http://192.0.2.1:1/", false), Err(Trouble::NeedsNetwork));
        assert!(resolve("http://192.0.2.1:1/", true).is_ok());
        for address in [
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "0.0.0.0",
        ] {
            assert_eq!(
                resolve(&format!("http://{address}/"), true),
                Err(Trouble::Unclear),
                "{address}"
            );
        }
    }
}
