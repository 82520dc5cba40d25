//! The install gate: what was answered, what lies in quarantine, what operators allow and block.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use defenseclaw_model::gate::{LastAdmission, ListEntry, ListVerb, QuarantineEntry, Release};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Api, Caller, Problem};
use crate::admission::quarantine::Wish;
use crate::admission::{ListsError, QuarantineError};

/// Largest body (bytes): names and reasons of at most a KiB each.
const MAX_BODY: usize = 16 << 10;

/// Answer of `GET /v1/artifacts`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Artifacts {
    /// By path.
    artifacts: Vec<LastAdmission>,
}

/// Answer of `GET /v1/quarantine`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Held {
    /// What lies there.
    entries: Vec<QuarantineEntry>,
}

/// Answer of `GET /v1/artifact-lists`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// The entries, the oldest first. Some may have expired.
    entries: Vec<ListEntry>,
}

pub(super) async fn artifacts(State(api): State<Arc<Api>>) -> Json<Artifacts> {
    Json(Artifacts {
        artifacts: api.engine.admissions().artifacts(),
    })
}

pub(super) async fn held(State(api): State<Arc<Api>>) -> Result<Json<Held>, Problem> {
    let entries = api.engine.admissions().quarantine().await?;
    Ok(Json(Held { entries }))
}

pub(super) async fn restore(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<QuarantineEntry>, Problem> {
    deal_with(&api, &caller, &id, Wish::Restore).await
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<QuarantineEntry>, Problem> {
    deal_with(&api, &caller, &id, Wish::Delete).await
}

pub(super) async fn release(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<QuarantineEntry>, Problem> {
    let release: Release = read(&body, "{\"reason\": \"why\", \"for_s\": 2592000}")?;
    deal_with(&api, &caller, &id, Wish::Release(release)).await
}

async fn deal_with(
    api: &Api,
    caller: &Caller,
    id: &str,
    wish: Wish,
) -> Result<Json<QuarantineEntry>, Problem> {
    let uid = api.operator(caller, None).await?;
    let entry = api.engine.admissions().deal_with(id, wish, uid).await?;
    Ok(Json(entry))
}

pub(super) async fn lists(State(api): State<Arc<Api>>) -> Json<Listed> {
    Json(Listed {
        entries: api.engine.admissions().listed(),
    })
}

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<ListEntry>, Problem> {
    let verb: ListVerb = read(
        &body,
        "{\"verb\": \"add\", \"list\": \"allow\" or \"block\", \"kind\", \"name\", \"digest\", \"reason\", \"for_s\"} or \
         {\"verb\": \"forget\", \"id\"}",
    )?;
    let uid = api.operator(&caller, None).await?;
    let entry = api.engine.admissions().change_lists(verb, uid).await?;
    Ok(Json(entry))
}

fn read<T: DeserializeOwned>(body: &Bytes, form: &str) -> Result<T, Problem> {
    if body.len() > MAX_BODY {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("this has at most {MAX_BODY} bytes"),
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad(format!("this is not understood: {error}. It is {form}")))
}

impl From<ListsError> for Problem {
    fn from(error: ListsError) -> Self {
        let status = match &error {
            ListsError::Verb(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ListsError::Unknown(_) => StatusCode::NOT_FOUND,
            ListsError::Io { .. } | ListsError::Invalid { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<QuarantineError> for Problem {
    fn from(error: QuarantineError) -> Self {
        let status = match &error {
            // The gateway is well, and the answer is "no".
            QuarantineError::Lists(ListsError::Verb(_))
            | QuarantineError::Refused(_)
            | QuarantineError::NoAgent => StatusCode::UNPROCESSABLE_ENTITY,
            QuarantineError::Unknown(_) => StatusCode::NOT_FOUND,
            QuarantineError::NoAnswer(_) | QuarantineError::Lists(_) | QuarantineError::Unrecorded(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.to_string())
    }
}
