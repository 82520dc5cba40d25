//! Asking the gateway: its answers as types, its refusals as ours.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::CliError;
use crate::http::{self, HttpError};

/// How long the gateway may take for a state.
pub const QUICK: Duration = Duration::from_secs(2);
/// How long it may take where it asks the agent and writes a record, or reads its rules anew.
pub const PATIENT: Duration = Duration::from_secs(10);

/// The answer to `GET path`.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str, limit: Duration) -> Result<T, CliError> {
    ask(socket, "GET", path, None, limit)
}

/// The answer to `POST path` with that body.
pub fn post<T: DeserializeOwned>(socket: &Path, path: &str, body: &impl Serialize) -> Result<T, CliError> {
    let body = serde_json::to_vec(body).map_err(io::Error::from)?;
    ask(socket, "POST", path, Some(&body), PATIENT)
}

/// The same for what takes its time.
pub fn post_within<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &impl Serialize,
    limit: Duration,
) -> Result<T, CliError> {
    let body = serde_json::to_vec(body).map_err(io::Error::from)?;
    ask(socket, "POST", path, Some(&body), limit)
}

/// The answer to `DELETE path`.
pub fn delete<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, CliError> {
    ask(socket, "DELETE", path, None, PATIENT)
}

fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
    limit: Duration,
) -> Result<T, CliError> {
    let answer = http::request(socket, method, path, body, limit).map_err(|error| explain(socket, error))?;
    serde_json::from_slice(&answer).map_err(|error| CliError::Unreachable {
        socket: socket.to_owned(),
        why: format!("its answer is not understood: {error}"),
        remedy: "The gateway and this tool are probably of different versions: restart the gateway after an upgrade."
            .to_owned(),
    })
}

/// A path's part, with everything escaped that is not plain.
pub fn part(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn explain(socket: &Path, error: HttpError) -> CliError {
    match error {
        HttpError::Refused { status: 403, body } => CliError::Forbidden(body),
        HttpError::Refused { status: 404, body } => CliError::NotFound(body),
        HttpError::Refused {
            status: 400 | 409 | 413,
            body,
        } => CliError::Usage(body),
        HttpError::Refused { status: 422, body } => CliError::Refused(body),
        error => unreachable(socket, &error),
    }
}

/// Why a gateway does not answer, and what to do.
pub fn unreachable(socket: &Path, error: &HttpError) -> CliError {
    let kind = match error {
        HttpError::Io(error) => Some(error.kind()),
        _ => None,
    };
    if kind == Some(io::ErrorKind::PermissionDenied) {
        return CliError::NotPermitted {
            what: format!(
                "the gateway's socket {} cannot be opened: {error}",
                socket.display()
            ),
            remedy: "Run as a user that may enter the socket's folder and write to the socket.".to_owned(),
        };
    }
    // No Unix socket answers a connect so, but the supervisor of a sandbox does.
    if kind == Some(io::ErrorKind::Unsupported) {
        return CliError::NotPermitted {
            what: format!(
                "the gateway's socket {} is out of reach in a supervised sandbox, from where it could not tell who calls",
                socket.display()
            ),
            remedy: "Ask from outside of the sandbox, or start it with a profile without named hosts, and without --supervise."
                .to_owned(),
        };
    }
    let why = match kind {
        Some(io::ErrorKind::NotFound) => "there is no such socket".to_owned(),
        Some(io::ErrorKind::ConnectionRefused) => "the socket is there, but nothing listens on it".to_owned(),
        _ => error.to_string(),
    };
    let remedy = match error {
        HttpError::Io(_) => {
            "Start defenseclaw-gateway. If it runs with another socket, name that one in DEFENSECLAW_SOCKET, or its \
             configuration file in DEFENSECLAW_CONFIG."
        }
        HttpError::Late(_) => {
            "The gateway hangs or its host is overloaded: look at its log, and restart it if that lasts."
        }
        HttpError::NotHttp(_) | HttpError::Refused { .. } => {
            "Something else may listen there, or a gateway of another version: look at who owns the socket."
        }
    };
    CliError::Unreachable {
        socket: socket.to_owned(),
        why,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_s_part_cannot_become_another_path() {
        assert_eq!(part("3fa81c02"), "3fa81c02");
        assert_eq!(part("a/../b?c d\r\né"), "a%2F%2E%2E%2Fb%3Fc%20d%0D%0A%C3%A9");
    }
}
