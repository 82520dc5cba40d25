//! HTTP/1.1 over the Unix socket and loopback TCP: who asks is told by the kernel or the token, how much and how slowly they
//! may ask is bounded.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tower_service::Service;

use crate::api::caller::{UNKNOWN, over};
use crate::api::{Api, Caller, Problem, Via, owner, process};
use crate::engine::Peer;
use crate::slots::{Slot, Slots};
use crate::token::Token;

/// For a request's headers, and for a connection that waits for its next request.
const HEADERS: Duration = Duration::from_secs(5);
/// For a connection as a whole: it ends one whose client never reads its answers. Longer than any call waits for a person.
const CONNECTION: Duration = Duration::from_secs(300);
/// Longest headers (bytes); ours have two hundred.
const MAX_HEADERS: usize = 16 * 1024;
/// Pause after a failed accept, which is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Hosts that a request over TCP may name: another one means that a page in somebody's browser made it, by a name that was
/// made to lead here.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 62\r\n\
connection: close\r\n\r\n{\"error\":\"too many connections of this user; try again later\"}";

/// The server of hooks and operators.
pub struct Server {
    api: Arc<Api>,
    router: Router,
    slots: Arc<Slots>,
    token: Option<Token>,
}

impl Server {
    /// Serves `api` within the bounds of `slots`; `token` opens TCP.
    pub fn new(api: Arc<Api>, slots: Arc<Slots>, token: Option<Token>) -> Self {
        Self {
            router: crate::api::routes::router(&api),
            api,
            slots,
            token,
        }
    }

    /// Takes connections until `stop` says so; those that are open then finish their request.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            match accepted {
                Ok((stream, _)) => self.accepted(stream, stop.clone()),
                Err(error) => cannot_accept(&error).await,
            }
        }
    }

    /// The same on loopback.
    pub async fn serve_tcp(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            match accepted {
                Ok((stream, _)) => self.accepted_tcp(stream, stop.clone()),
                Err(error) => cannot_accept(&error).await,
            }
        }
    }

    fn accepted(self: &Arc<Self>, stream: UnixStream, stop: watch::Receiver<bool>) {
        let peer = match stream.peer_cred() {
            Ok(peer) => Peer {
                pid: peer
                    .pid()
                    .and_then(|pid| u32::try_from(pid).ok())
                    .filter(|&pid| pid > 0),
                uid: peer.uid(),
            },
            Err(error) => {
                return tracing::warn!("a connection was refused: its user cannot be told: {error}");
            }
        };
        let Some(slot) = self.slot(peer.uid, |busy| stream.try_write(busy)) else {
            return;
        };
        let stream = Arc::new(stream);
        let via = Via::Socket {
            peer,
            stream: Arc::clone(&stream),
            accepted: process::ticks(),
        };
        tokio::spawn(Arc::clone(self).connection(Shared(stream), via, slot, stop));
    }

    fn accepted_tcp(self: &Arc<Self>, stream: TcpStream, stop: watch::Receiver<bool>) {
        let ends = (stream.peer_addr().ok(), stream.local_addr().ok());
        let uid = match ends {
            (Some(theirs), Some(ours)) => owner::of(theirs, ours),
            _ => None,
        };
        let uid = uid.unwrap_or(UNKNOWN);
        let Some(slot) = self.slot(uid, |busy| stream.try_write(busy)) else {
            return;
        };
        // Answers are written whole: there is nothing to gain from waiting for more.
        let _ = stream.set_nodelay(true);
        let via = Via::Token { uid };
        tokio::spawn(Arc::clone(self).connection(stream, via, slot, stop));
    }

    fn slot(&self, uid: u32, say: impl FnOnce(&[u8]) -> io::Result<usize>) -> Option<Slot> {
        let slot = self.slots.connection(uid);
        if slot.is_none() {
            tracing::warn!(uid, "a connection was refused: too many are open");
            self.api.metrics.refused();
            // There is room for this in a new socket; if not, the closed connection says enough.
            let _ = say(BUSY);
        }
        slot
    }

    async fn connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        via: Via,
        slot: Slot,
        mut stop: watch::Receiver<bool>,
    ) {
        let (caller, until) = Caller::new(via, slot, tokio::time::Instant::now() + CONNECTION);
        let service = service_fn(|request| self.answer(request, caller.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let over = over(until);
        tokio::pin!(over);
        let early = tokio::select! {
            outcome = &mut connection => Some(outcome),
            () = stopped(&mut stop) => None,
            () = &mut over => return,
        };
        let outcome = match early {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(uid = caller.peer().uid, "a connection ended early: {error}");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, caller: Caller) -> Result<Response, hyper::Error> {
        // A tool call hangs on the one as on the other.
        let path = request.uri().path();
        let is_hook = path.starts_with("/v1/hooks/") || path == "/v1/sandbox";
        if let Err(problem) = self.admit(&request, &caller, is_hook) {
            self.api.metrics.request(problem.status().as_u16());
            return Ok(problem.into_response());
        }
        request.extensions_mut().insert(caller);
        // The router is always ready, and cannot fail.
        let Ok(response) = self.router.clone().call(request).await;
        if !is_hook {
            self.api.metrics.request(response.status().as_u16());
        }
        Ok(response)
    }

    /// Over TCP the token and a loopback host are needed for everything; other requests than hooks are limited in number.
    fn admit(&self, request: &Request<Incoming>, caller: &Caller, is_hook: bool) -> Result<(), Problem> {
        let uid = match caller.via() {
            Via::Socket { peer, .. } => peer.uid,
            Via::Token { uid } => {
                self.host(request)?;
                self.token(request)?;
                *uid
            }
        };
        if is_hook {
            Ok(())
        } else {
            self.api.access.count(uid, Instant::now())
        }
    }

    fn host(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        if is_loopback(host) {
            Ok(())
        } else {
            Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "the Host header does not name this host's loopback: ask for 127.0.0.1 or localhost",
            ))
        }
    }

    fn token(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        match (&self.token, given) {
            (Some(token), Some(given)) if token.admits(given) => Ok(()),
            (_, None) => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "over TCP every request needs the header `Authorization: Bearer TOKEN`, with the token in the file that \
                 `api.token_file` names (by default api-token in the state folder)",
            )),
            _ => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "the token is not this gateway's",
            )),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    LOOPBACK_NAMES.iter().any(|name| {
        let rest = host
            .get(..name.len())
            .filter(|start| start.eq_ignore_ascii_case(name));
        let port = rest.map(|_| &host[name.len()..]);
        port.is_some_and(|port| {
            port.is_empty()
                || port
                    .strip_prefix(':')
                    .is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        })
    })
}

async fn cannot_accept(error: &io::Error) {
    tracing::error!("cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Returns when the gateway is to stop, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A stream whose socket can be asked about its peer while it is served.
struct Shared(Arc<UnixStream>);

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Shared {
    fn poll_writing(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        use std::os::fd::AsRawFd;
        let end = nix::sys::socket::shutdown(self.0.as_raw_fd(), nix::sys::socket::Shutdown::Write);
        Poll::Ready(end.map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_answer_states_its_own_length() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }

    #[test]
    fn only_names_of_loopback_are_taken_for_it() {
        for host in [
            "localhost",
            "LocalHost:18970",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:18970",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "evil.example",
            "localhost:",
            "localhost:80x",
            "é",
            "127.0.0.2",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
