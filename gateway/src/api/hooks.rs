//! `POST /v1/hooks/{connector}`: the decision path's front door.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use tokio::task::JoinError;

use super::{Api, Caller, Problem};
use crate::approvals::client;
use crate::connector::{self, Contract, Fault, FaultKind, MAX_PAYLOAD, Reply};
use crate::engine::Said;
use crate::late::{self, LateBody};

/// Says the exit status that the hook client is to end with.
pub(super) const EXIT: &str = "x-defenseclaw-exit";
/// Says how many of the answer's last bytes are for standard error; without it none are.
const STDERR: &str = "x-defenseclaw-stderr";
/// Names the event, for harnesses whose payload does not.
const EVENT: &str = "x-defenseclaw-event";
/// Says that the harness hands its shell lines to our program.
const PREFIXED: &str = "x-defenseclaw-shell";
/// For a request's body: a local client sends 16 MiB in milliseconds.
const BODY: Duration = Duration::from_secs(10);

pub(super) async fn hook(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let connector = connector::find(&name).ok_or_else(|| unknown_connector(&name))?;
    let Some(length) = length(&request) else {
        return Err(Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "a hook request needs a Content-Length",
        ));
    };
    if length > MAX_PAYLOAD as u64 {
        let fault = Fault::unreadable(FaultKind::TooLarge);
        return Ok(native(api.engine.bad_payload(connector, fault).await));
    }
    let event = request
        .headers()
        .get(EVENT)
        .and_then(|name| name.to_str().ok())
        .map(str::to_owned);
    let prefixed = request.headers().contains_key(PREFIXED);
    let (payload, room) = receive(&caller, request, length as usize).await?;
    let peer = caller.peer();
    let (engine, slot, named) = (Arc::clone(&api.engine), Arc::clone(caller.slot()), event.clone());
    // Dropped with this future, or with the answer that is still to be found, when the client hangs up.
    let (presence, client) = client::arrive();
    // On its own: a client that hangs up must not stop a decision between the agent's word and the ledger's.
    let mut decided = tokio::spawn(client::on_behalf_of(client, {
        let (api, caller) = (Arc::clone(&api), caller.clone());
        async move {
            let said = Said {
                named: named.as_deref(),
                prefixed,
            };
            let decision = engine.hook(connector, said, payload, peer, arrived);
            // In this order: the caller is looked at while the decision waits for the ledger. It is there until it is answered.
            let (reply, ()) = tokio::join!(decision, async { note(&api, &caller) });
            drop((room, slot));
            reply
        }
    }));
    let early = tokio::time::timeout(late::LATE, &mut decided).await;
    let told = {
        let api = Arc::clone(&api);
        move |decided: Result<Reply, JoinError>| {
            decided.unwrap_or_else(|error| {
                tracing::error!("a hook request failed inside; please report this: {error}");
                api.engine.failed_inside(connector, event.as_deref())
            })
        }
    };
    Ok(match early {
        Ok(decided) => {
            api.metrics.hook(arrived.elapsed());
            native(told(decided))
        }
        Err(_) => waiting(connector, async move {
            // How long a person took says nothing of the gateway, and is not counted.
            let reply = told(decided.await);
            drop(presence);
            reply
        }),
    })
}

/// Remembers the caller's harness, for when an operator's process is to be told from an agent's: once for each connection,
/// whose process stays the same. The root agent knows better, but may go.
fn note(api: &Api, caller: &Caller) {
    if api.engine.agent().connected() {
        api.governed.missed();
    } else if let Some(hook) = caller.peer().pid
        && caller.first_noted()
    {
        api.governed.note(hook);
    }
}

/// An answer that is still to be found, and says so.
fn waiting(connector: &Contract, reply: impl Future<Output = Reply> + Send + 'static) -> Response {
    let mut response = Response::new(Body::new(LateBody::new(reply)));
    let wait = u64::try_from(late::wait(connector).as_millis()).unwrap_or(u64::MAX);
    response
        .headers_mut()
        .insert(late::HEADER, HeaderValue::from(wait));
    response
}

/// hyper refuses requests with several lengths, or with a length and chunks.
pub(super) fn length(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body, and the room that it takes. A length is only a promise: memory is taken as bytes arrive.
pub(super) async fn receive(
    caller: &Caller,
    request: Request,
    length: usize,
) -> Result<(Bytes, crate::slots::Room), Problem> {
    let room = caller
        .slot()
        .bytes(length)
        .ok_or_else(|| Problem::busy("too many large payloads of this user wait"))?;
    let body = axum::body::to_bytes(request.into_body(), length);
    match tokio::time::timeout(BODY, body).await {
        Ok(Ok(payload)) if payload.len() == length => Ok((payload, room)),
        Ok(_) => Err(Problem::bad("the request's body was cut short")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not arrive in time",
        )),
    }
}

fn native(mut reply: Reply) -> Response {
    let errors = reply.stderr.len();
    reply.body.append(&mut reply.stderr);
    let mut response = Response::new(Body::from(reply.body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if errors > 0 {
        headers.insert(STDERR, HeaderValue::from(errors));
    }
    headers.insert(EXIT, HeaderValue::from(u16::from(reply.exit)));
    response
}

fn unknown_connector(name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    let known = connector::names();
    Problem::missing(format!("unknown connector {name:?}; known: {}", known.join(", "))).known(known)
}
