//! Pins of MCP servers: compared, shown, approved, forgotten.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use defenseclaw_mcp::pins::PinError;
use defenseclaw_model::pins::{Pin, PinApproval, PinCheck, Pins};

use super::hooks::{length, receive};
use super::{Api, Caller, Problem, Via};
use crate::clock;
use crate::ledger_writer::Bundle;
use crate::pins::draft;

/// Largest check that is read (bytes): some dozens of servers with all that they offer.
const MAX_CHECK: u64 = 16 << 20;
/// Largest approval that is read (bytes); real ones have a hundred.
const MAX_APPROVAL: usize = 4 << 10;
/// Most of all differences in one answer (bytes); `GET /v1/pins/{id}` has those of one pin.
const MAX_CHANGES: usize = 1 << 20;

/// A process on the socket: over TCP nobody can be told whose servers are meant.
fn uid_of(caller: &Caller) -> Result<u32, Problem> {
    match caller.via() {
        Via::Socket { peer, .. } => Ok(peer.uid),
        Via::Token { .. } => Err(Problem::forbidden(
            "over TCP no server is compared with its pin, because the system does not tell who asks. Use the Unix socket, or \
             defenseclaw-cli",
        )),
    }
}

/// Whose pins the caller sees: `None` is everybody's.
fn sees(api: &Api, caller: &Caller) -> Option<u32> {
    match caller.via() {
        Via::Token { .. } => None,
        Via::Socket { peer, .. } if api.access.is_operator(peer.uid) => None,
        Via::Socket { peer, .. } => Some(peer.uid),
    }
}

pub(super) async fn check(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Pins>, Problem> {
    let uid = uid_of(&caller)?;
    let length = length(&request)
        .ok_or_else(|| Problem::new(StatusCode::LENGTH_REQUIRED, "a check needs a Content-Length"))?;
    if length > MAX_CHECK {
        let why = format!("a check has at most {MAX_CHECK} bytes; check fewer servers at once");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let (body, _room) = receive(&caller, request, length as usize).await?;
    let book = Arc::clone(api.engine.pins());
    let (mut pins, events) = api
        .inspected(move || {
            let check: PinCheck = serde_json::from_slice(&body)
                .map_err(|error| Problem::bad(format!("the check is not understood: {error}")))?;
            let checked = book.change(|store| store.check(uid, &check, clock::now_ns()));
            checked.map_err(refused)
        })
        .await?;
    let mut bundle = Bundle::default();
    for event in &events {
        bundle.push(draft(&event.pin, event.what, uid));
    }
    // A server that is held is so whatever becomes of the record; that it could not be written is said.
    if !events.is_empty() {
        record(&api, bundle).await?;
    }
    let mut left = MAX_CHANGES;
    for pin in &mut pins {
        let size: usize = pin
            .changes
            .iter()
            .map(|change| change.diff.len() + change.pointer.len())
            .sum();
        match left.checked_sub(size) {
            Some(less) => left = less,
            None => pin.changes.clear(),
        }
    }
    Ok(Json(Pins { pins }))
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Pins>, Problem> {
    let (book, whose) = (Arc::clone(api.engine.pins()), sees(&api, &caller));
    let pins = api.inspected(move || book.read(|store| store.list(whose)).map_err(refused));
    Ok(Json(Pins { pins: pins.await? }))
}

/// A pin that the caller may see.
async fn seen(api: &Api, caller: &Caller, id: String) -> Result<Pin, Problem> {
    let (book, wanted) = (Arc::clone(api.engine.pins()), id.clone());
    let found = api
        .inspected(move || book.read(|store| store.get(&wanted)).map_err(refused))
        .await?;
    let whose = sees(api, caller);
    let found = found.filter(|pin| whose.is_none_or(|uid| uid == pin.uid));
    found.ok_or_else(|| refused(PinError::Unknown(id)))
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Pin>, Problem> {
    seen(&api, &caller, id).await.map(Json)
}

pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Pin>, Problem> {
    if body.len() > MAX_APPROVAL {
        let why = format!("an approval has at most {MAX_APPROVAL} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let approval: PinApproval = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad(format!(
            "the approval is not understood: {error}. It is {{\"id\": \"…\", \"digest\": \"…\"}}, the `seen_digest` that was looked at"
        ))
    })?;
    // Whoever may not approve is not told what there is either.
    let book = Arc::clone(api.engine.pins());
    let wanted = approval.id.clone();
    let found = api
        .inspected(move || book.read(|store| store.get(&wanted)).map_err(refused))
        .await?;
    let uid = api.operator(&caller, found.as_ref().map(|pin| pin.uid)).await?;
    let pin = found.ok_or_else(|| refused(PinError::Unknown(approval.id.clone())))?;
    if pin.seen_digest != approval.digest {
        return Err(refused(PinError::Stale {
            id: pin.id,
            server: pin.server,
        }));
    }
    // First the record, then the pin: what is let through without a record would be nobody's doing.
    record(&api, Bundle::one(draft(&pin, "approved", uid))).await?;
    let book = Arc::clone(api.engine.pins());
    let approved = api
        .helped(move || {
            let approved = book.change(|store| store.approve(&approval, uid, clock::now_ns()));
            approved.map_err(refused)
        })
        .await;
    if approved.is_err() {
        // It was seen anew in between, or the disk failed: the record above must not be the last word.
        record(&api, Bundle::one(draft(&pin, "withdrawn", uid))).await?;
    }
    approved.map(Json)
}

pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Pin>, Problem> {
    let uid = api.operator(&caller, None).await?;
    let pin = seen(&api, &caller, id.clone()).await?;
    record(&api, Bundle::one(draft(&pin, "forgotten", uid))).await?;
    let book = Arc::clone(api.engine.pins());
    let wanted = id.clone();
    let forgotten = api
        .helped(move || book.change(|store| store.forget(&wanted)).map_err(refused))
        .await?;
    forgotten.map(Json).ok_or_else(|| refused(PinError::Unknown(id)))
}

async fn record(api: &Api, bundle: Bundle) -> Result<(), Problem> {
    api.engine.ledger().append(bundle).await.map_err(|error| {
        let why = format!("it could not be recorded: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })
}

fn refused(error: PinError) -> Problem {
    let status = match &error {
        PinError::Unknown(_) => StatusCode::NOT_FOUND,
        PinError::Stale { .. } => StatusCode::CONFLICT,
        PinError::TooMuch(_) => StatusCode::PAYLOAD_TOO_LARGE,
        PinError::File { .. } | PinError::Foreign(_) => {
            tracing::error!("{error}");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Problem::new(status, error.to_string())
}
