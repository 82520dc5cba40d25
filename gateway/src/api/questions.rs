//! Questions of supervised sandboxes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use defenseclaw_model::api::{SandboxAnswer, SandboxAsk, SandboxAsked};

use super::{Api, Caller, Problem};

/// Largest question that is read (bytes): three paths of at most 4 KiB, and words.
const MAX_QUESTION: usize = 32 << 10;

/// Anybody on the socket may ask: an answer is worth something only to who asked.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<SandboxAsked>, Problem> {
    if body.len() > MAX_QUESTION {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a question has at most {MAX_QUESTION} bytes"),
        ));
    }
    let ask: SandboxAsk = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the question is not understood: {error}")))?;
    let peer = caller.peer();
    let pid = peer.pid.unwrap_or_default();
    let id = api.questions.put(&api.engine, peer.uid, pid, &ask);
    id.map(|id| Json(SandboxAsked { id }))
        .ok_or_else(|| Problem::busy("too many questions wait for a person"))
}

pub(super) async fn fetch(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<SandboxAnswer>, Problem> {
    let answer = api.questions.fetch(&id, caller.peer().uid);
    answer
        .map(Json)
        .ok_or_else(|| Problem::missing("this user asked no such question, or has its answer"))
}
