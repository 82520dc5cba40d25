//! Refusals, in words: what failed, and what to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error: String,
    known: Vec<String>,
}

/// The body of every refusal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// What failed and what to do, for a person.
    error: String,
    /// What would have been taken instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    known: Vec<String>,
}

impl Problem {
    /// With that status.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            known: Vec::new(),
        }
    }

    /// The request makes no sense.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// This caller may not do that.
    pub fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    /// There is no such thing.
    pub fn missing(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// Not now.
    pub fn busy(what: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{what}; try again later"),
        )
    }

    /// A fault of ours.
    pub fn inside() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the gateway failed inside; please report this with its log",
        )
    }

    /// Names what would have been taken.
    pub fn known(mut self, known: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.known = known.into_iter().map(Into::into).collect();
        self
    }

    /// What failed.
    pub fn message(&self) -> &str {
        &self.error
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.error,
            known: self.known,
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<defenseclaw_audit::LedgerError> for Problem {
    fn from(error: defenseclaw_audit::LedgerError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("ledger: {error}"))
    }
}
