//! The one place where answers and errors become HTTP.

use actors::Answer;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{ErrorCode, Problem, signature};

/// An error as problem details (RFC 9457).
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self(Problem::new(code))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        respond(Answer::problem(&self.0))
    }
}

/// An actor's answer with its status, and the replay marked beside the body.
pub fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if answer.ok { "application/json" } else { "application/problem+json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if answer.replayed {
        response.headers_mut().insert(signature::REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    response
}

/// Any address nobody serves.
pub async fn not_found() -> Refusal {
    ErrorCode::NotFound.into()
}

/// An address that exists, by a method it does not take.
pub async fn method_not_allowed() -> Refusal {
    ErrorCode::MethodNotAllowed.into()
}
