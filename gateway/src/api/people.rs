//! Approvals and grants: what waits for a person, and what people have allowed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use defenseclaw_model::api::{Approval, ApprovalAnswer};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Api, Caller, Problem, Via};
use crate::approvals::{AnswerError, Grant};

/// Largest answer that is read (bytes); real ones have fifty.
const MAX_ANSWER: usize = 4 << 10;

/// Answer of `GET /v1/approvals`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waiting {
    /// The calls that wait, the oldest first.
    approvals: Vec<Approval>,
}

/// Answer of `GET /v1/grants`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Held {
    /// The approvals that hold for more than one call, the oldest first.
    grants: Vec<Grant>,
}

/// Operators see everything, a session's owner what belongs to it.
fn sees(api: &Api, caller: &Caller, owner: u32) -> bool {
    match caller.via() {
        Via::Token { .. } => true,
        Via::Socket { peer, .. } => peer.uid == owner || api.access.is_operator(peer.uid),
    }
}

pub(super) async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Json<Waiting> {
    let mut approvals = api.engine.approvals().list();
    approvals.retain(|approval| sees(&api, &caller, approval.owner));
    Json(Waiting { approvals })
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Approval>, Problem> {
    let found = api
        .engine
        .approvals()
        .get(&id)
        .filter(|found| sees(&api, &caller, found.owner));
    found.map(Json).ok_or_else(|| unknown(AnswerError::Unknown(id)))
}

pub(super) async fn answer(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Approval>, Problem> {
    if body.len() > MAX_ANSWER {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("an answer has at most {MAX_ANSWER} bytes"),
        ));
    }
    let answer: ApprovalAnswer = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad(format!(
            "the answer is not understood: {error}. It is {{\"approve\": true or false, \"for\": \"once\", \"session\" or \
             \"always-here\"}}"
        ))
    })?;
    // Whoever may not answer is not told what waits either.
    let owner = api.engine.approvals().get(&id).map(|approval| approval.owner);
    let uid = api.operator(&caller, owner).await?;
    let approval = api
        .engine
        .approvals()
        .answer(&id, answer, uid)
        .await
        .map_err(unknown)?;
    Ok(Json(approval))
}

pub(super) async fn grants(State(api): State<Arc<Api>>) -> Json<Held> {
    Json(Held {
        grants: api.engine.approvals().grants(),
    })
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Grant>, Problem> {
    let uid = api.operator(&caller, None).await?;
    let grant = api.engine.approvals().revoke(&id, uid).await.map_err(unknown)?;
    grant.map(Json).ok_or_else(|| {
        Problem::missing(format!(
            "no approval {id:?} holds; it was taken back, or its time is over"
        ))
    })
}

fn unknown(error: AnswerError) -> Problem {
    let status = match &error {
        AnswerError::Unknown(_) => StatusCode::NOT_FOUND,
        AnswerError::NoFolder => StatusCode::CONFLICT,
        AnswerError::Grants(_) | AnswerError::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
        AnswerError::Inside => return Problem::inside(),
    };
    Problem::new(status, error.to_string())
}
