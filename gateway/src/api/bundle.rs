//! Signed policy bundles: looked for at an operator's word, and gone back from.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use defenseclaw_model::api::{BundleAnswer, BundleRollback};

use super::{Api, Caller, Problem};
use crate::bundle::Bundles;

/// Longest reason (bytes).
const MAX_REASON: usize = 500;

pub(super) async fn pull(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<BundleAnswer>, Problem> {
    let uid = api.operator(&caller, None).await?;
    bundles(&api)?.pull(uid).await.map(Json).map_err(refused)
}

pub(super) async fn roll_back(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<BundleAnswer>, Problem> {
    let form = "{\"reason\": \"why\"}";
    let wish: BundleRollback = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("this is not understood: {error}. It is {form}")))?;
    if wish.reason.trim().is_empty() || wish.reason.len() > MAX_REASON {
        return Err(Problem::bad(format!("a reason has 1 to {MAX_REASON} bytes")));
    }
    let uid = api.operator(&caller, None).await?;
    bundles(&api)?
        .roll_back(uid, wish.reason)
        .await
        .map(Json)
        .map_err(refused)
}

fn bundles(api: &Api) -> Result<&Bundles, Problem> {
    let none = "no policy bundles are configured: name where they come from, and whose are taken, in `bundle` of the configuration";
    api.engine
        .rules()
        .bundles()
        .ok_or_else(|| refused(none.to_owned()))
}

fn refused(why: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}
