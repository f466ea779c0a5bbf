//! What a player's browser and an operator see of the studio; parses, bounds, and knows no money.
//!
//! Errors are problem documents, the same as the casino's.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use protocol::{ErrorCode, Problem};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use super::{Shared, journal::Step, lock, play};
use crate::slot;

/// Largest request body, bytes; the longest legal one is a launch token with a client seed.
const BODY_BYTES_MAX: usize = 8 * 1024;

const PAGE: &str = include_str!("page.html");

/// The page loads nothing from anywhere and talks to this studio only.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/play", get(page))
        .route("/healthz", get(health))
        .route("/api/paytable", get(|| async { Json(slot::paytable()) }))
        .route("/api/launch", post(launch))
        .route("/api/spin", post(spin))
        .route("/api/reveal", post(reveal))
        .route("/api/rounds/{id}", get(round))
        .fallback(|| async { problem(ErrorCode::NotFound.into()) })
        .method_not_allowed_fallback(|| async { problem(ErrorCode::MethodNotAllowed.into()) })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        // The address holds a launch token.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE).into_response()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let (mut owed, mut stuck) = (0_usize, 0_usize);
    for record in lock(&shared.rounds).values() {
        owed += usize::from(record.step.is_owed());
        stuck += usize::from(matches!(record.step, Step::Stuck { .. }));
    }
    Json(json!({ "status": "ok", "provider": shared.provider, "owed": owed, "stuck": stuck })).into_response()
}

async fn launch(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match parse(&body) {
        Ok(launch) => answer(play::launch(&shared, launch).await),
        Err(error) => problem(error),
    }
}

async fn spin(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let spin = match parse(&body) {
        Ok(spin) => spin,
        Err(error) => return problem(error),
    };
    // A task of its own, because this handler is dropped when the browser hangs up.
    match tokio::spawn(async move { play::spin(&shared, spin).await }).await {
        Ok(result) => answer(result),
        Err(_) => problem(ErrorCode::Internal.into()),
    }
}

async fn reveal(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match parse(&body) {
        Ok(reveal) => answer(play::reveal(&shared, reveal)),
        Err(error) => problem(error),
    }
}

async fn round(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match Uuid::parse_str(&id) {
        Ok(id) => answer(play::round_view(&shared, id)),
        Err(_) => problem(ErrorCode::UnknownRound.into()),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::new(ErrorCode::MalformedBody).detail(error.to_string()))
}

fn answer<T: Serialize>(result: Result<T, Problem>) -> Response {
    match result {
        Ok(value) => ([(header::CACHE_CONTROL, "no-store")], Json(value)).into_response(),
        Err(error) => problem(error),
    }
}

fn problem(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}
