//! In which room a shell line runs that a harness handed to our program.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use defenseclaw_model::sandbox::{RoomAnswer, RoomQuestion, SandboxEntered, SandboxNoted};

use super::hooks::{EXIT, length, receive};
use super::{Api, Caller, Problem};

/// Largest question (bytes): a line is one argument, which has 128 KiB at most, and JSON may need six bytes for one.
const MAX_QUESTION: u64 = 1 << 20;

/// The answer holds only the caller's own user's calls. Whoever asks without need learns the room of a call of its own, and
/// that call counts as asked about: its harness then gets the same answer.
pub(super) async fn room(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let length = length(&request)
        .ok_or_else(|| Problem::new(StatusCode::LENGTH_REQUIRED, "a question needs a Content-Length"))?;
    if length > MAX_QUESTION {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a question has at most {MAX_QUESTION} bytes"),
        ));
    }
    let (body, _room) = receive(&caller, request, length as usize).await?;
    let question: RoomQuestion = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the question is not understood: {error}")))?;
    let answer: RoomAnswer = api.engine.room(caller.peer().uid, &question);
    // The reader is the hook client's, which wants that header of every answer.
    Ok(([(EXIT, "0")], Json(answer)))
}

/// Most of a launcher's report that is read (bytes): the command's arguments take most of it.
const MAX_REPORT: u64 = 4 << 20;

/// Anybody on the socket may say that it has entered a sandbox; the record says who did, and what the kernel shows of it.
pub(super) async fn entered(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let length = length(&request)
        .ok_or_else(|| Problem::new(StatusCode::LENGTH_REQUIRED, "a report needs a Content-Length"))?;
    if length > MAX_REPORT {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a report has at most {MAX_REPORT} bytes"),
        ));
    }
    let (body, _room) = receive(&caller, request, length as usize).await?;
    let entered: SandboxEntered = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the report is not understood: {error}")))?;
    let session = api
        .engine
        .entered(caller.peer(), entered)
        .await
        .map_err(|error| Problem::busy(&format!("the report cannot be recorded: {error}")))?;
    Ok(([(EXIT, "0")], Json(SandboxNoted { session })))
}
