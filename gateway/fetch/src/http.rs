//! Requests within bounds. Nothing of the user goes out: no login, no cookie, no name of theirs.

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::error::FetchError;

/// Largest document of a registry (bytes). The index of a crate with thousands of versions has about one million.
pub(crate) const MAX_DOCUMENT: u64 = 16 << 20;

/// Largest package (bytes): what is larger is a model or a data set, and would not be read to the end anyway.
pub(crate) const MAX_PACKAGE: u64 = 64 << 20;

/// Most redirects: registries need one, to where files lie.
const MAX_REDIRECTS: usize = 5;

/// Longest time for all requests of one package, unless somebody wants it shorter.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Where a redirect may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirects {
    /// To any address that may be asked: what comes is compared with a checksum, or signed.
    Anywhere,
    /// On the same host: what comes says which checksum.
    SameHost,
}

/// Whoever asks a registry.
pub(crate) struct Http {
    agent: Agent,
    /// Whether the registry itself is on this host: only then may anything be asked for without encryption.
    local: bool,
    until: Instant,
    /// How long all of it may take, for messages.
    allowed: Duration,
}

/// What a server said to a question that names what is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Nothing has changed.
    Unchanged,
    /// Here it is.
    New {
        /// Its bytes.
        bytes: Vec<u8>,
        /// What to name next time.
        etag: Option<String>,
    },
}

/// How a document is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// What is there already, as the server named it.
    pub etag: Option<&'a str>,
    /// Most bytes that are taken.
    pub most: u64,
    /// Longest time for all of it.
    pub deadline: Duration,
    /// Whether an address on this host may do without encryption.
    pub plain_loopback: bool,
}

/// Longest name of a version that is kept and sent back (bytes).
const MAX_ETAG: usize = 256;

/// Asks an https server for a document.
pub fn document(url: &str, wish: &Wish<'_>) -> Result<Document, FetchError> {
    if url.starts_with("http://") && !wish.plain_loopback {
        return Err(FetchError::Address {
            url: url.to_owned(),
            why: "anyone on the way could hold it back. Use an https address",
        });
    }
    let http = Http::within(url, wish.deadline)?;
    http.ask(url, None, wish.etag, wish.most, Redirects::Anywhere)
}

impl Http {
    /// For a registry at `base`, for `allowed` from now on.
    pub(crate) fn new(base: &str, allowed: Duration) -> Result<Self, FetchError> {
        Self::within(base, allowed.min(DEADLINE))
    }

    fn within(base: &str, allowed: Duration) -> Result<Self, FetchError> {
        let local = base.starts_with("http://") && is_loopback(base);
        let mut config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("defenseclaw/", env!("CARGO_PKG_VERSION")));
        if local {
            config = config.proxy(None);
        } else {
            config = config.tls_config(trusted()?);
        }
        let http = Self {
            agent: config.build().into(),
            local,
            until: Instant::now() + allowed,
            allowed,
        };
        http.allowed(base)?;
        Ok(http)
    }

    /// Asks for a document.
    pub(crate) fn json<T: DeserializeOwned>(&self, url: &str, accept: &str) -> Result<T, FetchError> {
        let bytes = self.get(url, Some(accept), MAX_DOCUMENT, Redirects::SameHost)?;
        serde_json::from_slice(&bytes).map_err(|error| FetchError::Answer {
            url: url.to_owned(),
            why: format!("it is not the JSON that was expected: {error}"),
        })
    }

    /// Asks for a text.
    pub(crate) fn text(&self, url: &str) -> Result<String, FetchError> {
        let bytes = self.get(url, None, MAX_DOCUMENT, Redirects::SameHost)?;
        String::from_utf8(bytes).map_err(|_| FetchError::Answer {
            url: url.to_owned(),
            why: "it is no text".to_owned(),
        })
    }

    /// Asks for a package's file.
    pub(crate) fn file(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        self.get(url, None, MAX_PACKAGE, Redirects::Anywhere)
    }

    /// Asks for `url`, follows redirects, and takes at most `most` bytes.
    fn get(
        &self,
        url: &str,
        accept: Option<&str>,
        most: u64,
        redirects: Redirects,
    ) -> Result<Vec<u8>, FetchError> {
        match self.ask(url, accept, None, most, redirects)? {
            Document::New { bytes, .. } => Ok(bytes),
            // Nothing was named that could be unchanged.
            Document::Unchanged => Err(FetchError::Status {
                url: url.to_owned(),
                status: 304,
                hint: hint(304),
            }),
        }
    }

    /// The same, unless the server has just what `etag` names.
    fn ask(
        &self,
        url: &str,
        accept: Option<&str>,
        etag: Option<&str>,
        most: u64,
        redirects: Redirects,
    ) -> Result<Document, FetchError> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            self.allowed(&at)?;
            let failed = |why: String| FetchError::Network { url: at.clone(), why };
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(format!("{} ms are over", self.allowed.as_millis())));
            }
            let mut request = self.agent.get(&at).config().timeout_global(Some(left)).build();
            if let Some(accept) = accept {
                request = request.header("Accept", accept);
            }
            if let Some(etag) = etag {
                request = request.header("If-None-Match", etag);
            }
            let response = request.call().map_err(|error| failed(error.to_string()))?;
            let status = response.status().as_u16();
            match status {
                200 => {}
                304 if etag.is_some() => return Ok(Document::Unchanged),
                301 | 302 | 303 | 307 | 308 => {
                    let location = response
                        .headers()
                        .get("location")
                        .and_then(|value| value.to_str().ok());
                    let next = location.and_then(|location| joined(&at, location));
                    let next = next.ok_or_else(|| FetchError::Answer {
                        url: at.clone(),
                        why: "it redirects to no address".to_owned(),
                    })?;
                    if redirects == Redirects::SameHost && authority(&next) != authority(url) {
                        return Err(FetchError::Elsewhere {
                            url: url.to_owned(),
                            to: next,
                        });
                    }
                    at = next;
                    continue;
                }
                _ => {
                    return Err(FetchError::Status {
                        url: at,
                        status,
                        hint: hint(status),
                    });
                }
            }
            let named = response
                .headers()
                .get("etag")
                .and_then(|value| value.to_str().ok());
            let named = named.filter(|etag| etag.len() <= MAX_ETAG).map(str::to_owned);
            let mut bytes = Vec::new();
            response
                .into_body()
                .into_reader()
                .take(most + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| failed(error.to_string()))?;
            if bytes.len() as u64 > most {
                return Err(FetchError::TooLarge { url: at, bytes: most });
            }
            return Ok(Document::New { bytes, etag: named });
        }
        Err(FetchError::Address {
            url: url.to_owned(),
            why: "it redirects in circles, or too often",
        })
    }

    fn allowed(&self, url: &str) -> Result<(), FetchError> {
        let refused = |why| FetchError::Address {
            url: url.to_owned(),
            why,
        };
        let authority = authority(url).ok_or_else(|| refused("it is no URL"))?;
        if authority.contains('@') {
            return Err(refused("it holds a login, and none is ever sent. Leave it out"));
        }
        if url.starts_with("https://") {
            return Ok(());
        }
        if !url.starts_with("http://") {
            return Err(refused("it is no https address"));
        }
        if self.local && is_loopback(url) {
            return Ok(());
        }
        Err(refused(
            "anyone on the way could change what it answers. Use an https address",
        ))
    }
}

/// The certificate authorities that this host trusts.
fn trusted() -> Result<TlsConfig, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    let certificates: Vec<Certificate<'static>> = found
        .certs
        .iter()
        .map(|one| Certificate::from_der(one.as_ref()).to_owned())
        .collect();
    if certificates.is_empty() {
        return Err(FetchError::Certificates);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "it wants a login, and none is ever sent",
        404 | 410 => "there is no such package or version; it may be a name that somebody made up",
        429 => "it is asked too often; try again later",
        500.. => "it has trouble of its own; try again later",
        _ => "that is no answer",
    }
}

/// What stands between `://` and the path.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#', '\\'])
        .next()
        .filter(|authority| !authority.is_empty())
}

fn is_loopback(url: &str) -> bool {
    let Some(authority) = authority(url) else {
        return false;
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a redirect leads.
fn joined(from: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let origin = from.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    match location {
        _ if location.starts_with("//") => None,
        _ if location.starts_with('/') => Some(format!("{origin}{location}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_names_that_only_begin_like_it() {
        for (url, expected) in [
            ("http://127.0.0.1:8/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:8/", true),
            ("http://127.0.0.1.evil.example/", false),
            ("http://localhost.evil.example/", false),
            ("http://evil.example/127.0.0.1", false),
            ("x", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }

    #[test]
    fn what_anyone_could_change_on_the_way_is_not_asked() {
        for base in [
            "http://registry.example",
            "ftp://127.0.0.1",
            "http://127.0.0.1.evil.example",
            "https://u:p@h.example",
        ] {
            assert!(
                matches!(
                    Http::new(base, DEADLINE),
                    Err(FetchError::Address { .. } | FetchError::Certificates)
                ),
                "{base}"
            );
        }
    }
}
