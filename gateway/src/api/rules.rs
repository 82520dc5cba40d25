//! What the rules in force say of a call or text, and other rules in their place.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use defenseclaw_inspect::{Inspected, Inspector, Item, ItemError, Rules};
use schemars::JsonSchema;
use serde::Serialize;

use super::hooks::{length, receive};
use super::{Api, Caller, Problem};

/// Largest item that is inspected (bytes). Whoever has larger ones has the operator's tool, which needs no gateway.
const MAX_ITEM: u64 = 1 << 20;

/// Answer of `POST /v1/policy/reload`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reloaded {
    /// The revision that decides from now on.
    policy: String,
    /// The revision that decided before.
    before: String,
}

pub(super) async fn inspect(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Inspected>, Problem> {
    let length = length(&request)
        .ok_or_else(|| Problem::new(StatusCode::LENGTH_REQUIRED, "an item needs a Content-Length"))?;
    if length > MAX_ITEM {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "an item has at most {MAX_ITEM} bytes here; `defenseclaw-cli inspect --jsonl` takes larger ones"
            ),
        ));
    }
    let (body, _room) = receive(&caller, request, length as usize).await?;
    let rules = api.engine.rules().current();
    let inspected = api
        .inspected(move || {
            let item: Item = serde_json::from_slice(&body)
                .map_err(|error| Problem::bad(format!("the item is not understood: {error}")))?;
            Inspector::new(Rules::clone(&rules))
                .inspect(item)
                .map_err(refused)
        })
        .await?;
    Ok(Json(inspected))
}

fn refused(error: ItemError) -> Problem {
    match error {
        ItemError::Shape(_) => Problem::bad(error.to_string()),
        ItemError::Policy(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Reloaded>, Problem> {
    let uid = api.operator(&caller, None).await?;
    let engine = Arc::clone(&api.engine);
    let outcome = api
        .helped(move || {
            engine.rules().reload().map_err(|error| {
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    format!("the rules were refused, and those before stay in force: {error}"),
                )
            })
        })
        .await;
    let (state, detail) = match &outcome {
        Ok((before, now)) => (
            "policy_reloaded",
            format!("policy {now}, before {before}; by user {uid}"),
        ),
        Err(problem) => ("policy_refused", format!("{}; by user {uid}", problem.message())),
    };
    if outcome.is_ok() {
        api.engine.admissions().rules_changed();
    }
    record(&api, state, detail).await?;
    let (before, policy) = outcome?;
    Ok(Json(Reloaded { policy, before }))
}

async fn record(api: &Api, state: &str, detail: String) -> Result<(), Problem> {
    tracing::info!("{state}: {detail}");
    api.engine
        .ledger()
        .note("gateway", state, detail)
        .await
        .map_err(|error| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("it could not be recorded: {error}"),
            )
        })
}
