//! HTTP/1.1 over the Unix socket: who asks is told by the kernel, how much and how slowly they may ask is bounded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::connector::{self, Contract, Fault, FaultKind, MAX_PAYLOAD, Reply};
use crate::engine::{Engine, Peer};
use crate::late::{self, LateBody};
use crate::slots::{Slot, Slots};
use crate::status::status;

/// For a request's headers, and for a connection that waits for its next request.
const HEADERS: Duration = Duration::from_secs(5);
/// For a request's body: a local client sends 16 MiB in milliseconds.
const BODY: Duration = Duration::from_secs(10);
/// For a connection as a whole: it ends one whose client never reads its answers.
const CONNECTION: Duration = Duration::from_secs(300);
/// Longest headers (bytes); ours have two hundred.
const MAX_HEADERS: usize = 16 * 1024;
/// Pause after a failed accept, which is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Says the exit status that the hook client is to end with.
const EXIT: &str = "x-defenseclaw-exit";
/// Says how many of the answer's last bytes are for standard error; without it none are.
const STDERR: &str = "x-defenseclaw-stderr";
/// Names the event, for harnesses whose payload does not.
const EVENT: &str = "x-defenseclaw-event";
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 62\r\n\
connection: close\r\n\r\n{\"error\":\"too many connections of this user; try again later\"}";

/// The server of hooks and operators.
pub struct Server {
    /// What answers hooks.
    pub engine: Arc<Engine>,
    /// What is held by whom.
    pub slots: Arc<Slots>,
    /// When the gateway started.
    pub started: Instant,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Server {
    /// Takes connections until `stop` says so; those that are open then finish their request.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            match accepted {
                Ok((stream, _)) => self.accepted(stream, stop.clone()),
                Err(error) => {
                    tracing::error!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
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
        let Some(slot) = self.slots.connection(peer.uid) else {
            tracing::warn!(uid = peer.uid, "a connection was refused: too many are open");
            // There is room for this in a new socket; if not, the closed connection says enough.
            let _ = stream.try_write(BUSY);
            return;
        };
        let server = Arc::clone(self);
        tokio::spawn(server.connection(stream, peer, Arc::new(slot), stop));
    }

    async fn connection(
        self: Arc<Self>,
        stream: UnixStream,
        peer: Peer,
        slot: Arc<Slot>,
        mut stop: watch::Receiver<bool>,
    ) {
        let service = service_fn(|request| {
            let (server, slot) = (Arc::clone(&self), Arc::clone(&slot));
            async move { Ok::<_, Infallible>(server.route(request, peer, slot).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let early = tokio::select! {
            outcome = &mut connection => Some(outcome),
            () = stopped(&mut stop) => None,
            () = tokio::time::sleep(CONNECTION) => return,
        };
        let outcome = match early {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(uid = peer.uid, "a connection ended early: {error}");
        }
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>, peer: Peer, slot: Arc<Slot>) -> Answer {
        let arrived = Instant::now();
        let path = request.uri().path();
        if let Some(name) = path.strip_prefix("/v1/hooks/") {
            if request.method() != Method::POST {
                return not_allowed("POST");
            }
            return match connector::find(name) {
                Some(connector) => self.hook(connector, request, peer, slot, arrived).await,
                None => unknown_connector(name),
            };
        }
        match (path, request.method()) {
            ("/v1/status", &Method::GET) => match serde_json::to_vec(&status(&self.engine, self.started)) {
                Ok(json) => answer(StatusCode::OK, json),
                Err(error) => problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &format!("the status cannot be told: {error}"),
                ),
            },
            ("/v1/status", _) => not_allowed("GET"),
            _ => problem(
                StatusCode::NOT_FOUND,
                "there is nothing at this path; known: /v1/status, /v1/hooks/CONNECTOR",
            ),
        }
    }

    async fn hook(
        self: &Arc<Self>,
        connector: &'static Contract,
        request: Request<Incoming>,
        peer: Peer,
        slot: Arc<Slot>,
        arrived: Instant,
    ) -> Answer {
        let named = request
            .headers()
            .get(EVENT)
            .and_then(|name| name.to_str().ok())
            .map(str::to_owned);
        let Some(length) = length(&request) else {
            return problem(
                StatusCode::LENGTH_REQUIRED,
                "a hook request needs a Content-Length",
            );
        };
        if length > MAX_PAYLOAD as u64 {
            let fault = Fault::unreadable(FaultKind::TooLarge);
            return native(self.engine.bad_payload(connector, fault).await);
        }
        let Some(room) = slot.bytes(length as usize) else {
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large payloads of this user wait; try again later",
            );
        };
        let payload = match tokio::time::timeout(BODY, read_body(request.into_body(), length as usize)).await
        {
            Ok(Some(payload)) => payload,
            Ok(None) => return problem(StatusCode::BAD_REQUEST, "the request's body was cut short"),
            Err(_) => {
                return problem(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request's body did not arrive in time",
                );
            }
        };
        let (engine, event) = (Arc::clone(&self.engine), named.clone());
        // On its own: a client that hangs up must not stop a decision between the agent's word and the ledger's.
        let mut decided = tokio::spawn(async move {
            let reply = engine
                .hook(connector, event.as_deref(), payload, peer, arrived)
                .await;
            drop((room, slot));
            reply
        });
        let early = tokio::time::timeout(late::LATE, &mut decided).await;
        let server = Arc::clone(self);
        let told = move |decided: Result<Reply, tokio::task::JoinError>| {
            decided.unwrap_or_else(|error| {
                tracing::error!("a hook request failed inside; please report this: {error}");
                server.engine.failed_inside(connector, named.as_deref())
            })
        };
        match early {
            Ok(decided) => native(told(decided)),
            Err(_) => waiting(connector, async move { told(decided.await) }),
        }
    }
}

/// An answer that is still to be found, and says so.
fn waiting(connector: &Contract, reply: impl Future<Output = Reply> + Send + Sync + 'static) -> Answer {
    let mut answer = Response::new(LateBody::new(reply).boxed());
    let wait = u64::try_from(late::wait(connector).as_millis()).unwrap_or(u64::MAX);
    answer.headers_mut().insert(late::HEADER, HeaderValue::from(wait));
    answer
}

/// Returns when the gateway is to stop, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// hyper refuses requests with several lengths, or with a length and chunks.
fn length(request: &Request<Incoming>) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `None`: it ended early.
async fn read_body(mut body: Incoming, length: usize) -> Option<Bytes> {
    // A length is only a promise: memory is taken as bytes arrive.
    let mut payload = BytesMut::with_capacity(length.min(64 * 1024));
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            payload.extend_from_slice(&data);
        }
    }
    (payload.len() == length).then(|| payload.freeze())
}

fn answer(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn native(mut reply: Reply) -> Answer {
    let errors = reply.stderr.len();
    reply.body.append(&mut reply.stderr);
    let mut answer = answer(StatusCode::OK, reply.body);
    if errors > 0 {
        answer.headers_mut().insert(STDERR, HeaderValue::from(errors));
    }
    answer
        .headers_mut()
        .insert(EXIT, HeaderValue::from(u16::from(reply.exit)));
    answer
}

fn problem(status: StatusCode, message: &str) -> Answer {
    answer(
        status,
        serde_json::json!({ "error": message }).to_string().into_bytes(),
    )
}

fn not_allowed(method: &'static str) -> Answer {
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("this path takes {method}"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(method));
    answer
}

fn unknown_connector(name: &str) -> Answer {
    let name: String = name.chars().take(64).collect();
    let known = connector::names();
    let message = format!("unknown connector {name:?}; known: {}", known.join(", "));
    let body = serde_json::json!({ "error": message, "known": known });
    answer(StatusCode::NOT_FOUND, body.to_string().into_bytes())
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
}
