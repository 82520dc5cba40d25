//! What the gateway says of itself and of the caller: status, health, metrics, peer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use defenseclaw_model::api::Status;
use schemars::JsonSchema;
use serde::Serialize;

use super::governed::Standing;
use super::{Api, Caller, Via, openapi};
use crate::status::status;

/// Answer of `GET /v1/health`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// Whether decisions can be made and recorded.
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Answer of `GET /v1/peer`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Peer {
    /// The user who asks.
    uid: u32,
    /// The process that asks; absent over TCP and from another pid namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Whether the user is an operator.
    operator: bool,
    /// Whether the process belongs to an agent's session.
    governed: Belongs,
    /// How that is known, or why it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Whether a process belongs to an agent's session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Belongs {
    No,
    Yes,
    Unknown,
}

pub(super) async fn state(State(api): State<Arc<Api>>) -> Json<Status> {
    Json(status(&api.engine, api.started))
}

pub(super) async fn health(State(api): State<Arc<Api>>) -> Response {
    let why = if *api.stopping.borrow() {
        Some("the gateway stops".to_owned())
    } else {
        api.engine.ledger().status().error
    };
    let status = match why {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let health = Health {
        ok: why.is_none(),
        why,
    };
    (status, Json(health)).into_response()
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let status = status(&api.engine, api.started);
    let gauges = crate::metrics::Gauges {
        approvals_waiting: api.engine.approvals().list().len(),
        streams: api.streams.open(),
    };
    let text = api.metrics.render(&status, &gauges);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

pub(super) async fn peer(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Json<Peer> {
    let peer = caller.peer();
    let (governed, detail) = match caller.via() {
        Via::Token { .. } => (
            Belongs::Unknown,
            Some("over TCP the process is not known".to_owned()),
        ),
        Via::Socket { .. } => match api.standing(&caller).await {
            Standing::Free => (Belongs::No, None),
            Standing::Governed(why) => (Belongs::Yes, Some(why)),
            Standing::Unknown(why) => (Belongs::Unknown, Some(why)),
        },
    };
    Json(Peer {
        uid: peer.uid,
        pid: peer.pid,
        operator: matches!(caller.via(), Via::Socket { .. }) && api.access.is_operator(peer.uid),
        governed,
        detail,
    })
}

pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::document_text()).into_response()
}
