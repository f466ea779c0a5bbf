//! Calls provider contract v1 as a studio does: signed, over kept-alive HTTP, and honest about what it does not know.
//!
//! This module never retries: whether a call may be repeated is said by [`CallError::retry`], and the caller repeats it
//! with the same transaction id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::{
    Problem,
    problem::Retry,
    provider::{
        self, Authenticate, Authenticated, BalanceQuery, BalanceReply, Bet, MoneyReply, PromoWin, Rollback, RoundClose, Win,
    },
    signature,
};
use serde::{Serialize, de::DeserializeOwned};

/// Idle connections kept open to the casino.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The casino answered with a problem document.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// No answer, or none that can be read: the call may have happened.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
}

impl CallError {
    /// Whether and how the call may be repeated.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Problem(problem) => problem.retry,
            Self::Unknown(_) => Retry::SameId,
        }
    }
}

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be built: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// An answer as it came, for those who compare bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawReply {
    pub status: u16,
    /// Whether the casino marked the answer as stored by an earlier, identical call.
    pub replayed: bool,
    pub body: Vec<u8>,
}

/// A provider's side of the contract. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct StudioClient {
    http: reqwest::Client,
    casino_url: String,
    key_id: String,
    secret: Vec<u8>,
}

impl StudioClient {
    /// `casino_url` is scheme, host and port, e.g. `http://127.0.0.1:8081`.
    pub fn new(casino_url: &str, key_id: &str, secret: &[u8], timeout: Duration) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let casino_url = casino_url.trim_end_matches('/').to_owned();
        Ok(Self { http, casino_url, key_id: key_id.to_owned(), secret: secret.to_vec() })
    }

    pub async fn authenticate(&self, launch_token: &str) -> Result<Authenticated, CallError> {
        self.call(provider::path::AUTHENTICATE, &Authenticate { launch_token: launch_token.to_owned() }).await
    }

    pub async fn balance(&self, query: &BalanceQuery) -> Result<BalanceReply, CallError> {
        self.call(provider::path::BALANCE, query).await
    }

    pub async fn bet(&self, bet: &Bet) -> Result<MoneyReply, CallError> {
        self.call(provider::path::BET, bet).await
    }

    pub async fn win(&self, win: &Win) -> Result<MoneyReply, CallError> {
        self.call(provider::path::WIN, win).await
    }

    pub async fn rollback(&self, rollback: &Rollback) -> Result<MoneyReply, CallError> {
        self.call(provider::path::ROLLBACK, rollback).await
    }

    pub async fn close(&self, close: &RoundClose) -> Result<MoneyReply, CallError> {
        self.call(provider::path::ROUND_CLOSE, close).await
    }

    pub async fn promo_win(&self, win: &PromoWin) -> Result<MoneyReply, CallError> {
        self.call(provider::path::PROMO_WIN, win).await
    }

    /// Signs and posts a body as it is.
    pub async fn call_raw(&self, path: &str, body: Vec<u8>) -> Result<RawReply, CallError> {
        let timestamp = now_ms().to_string();
        let signature = signature::sign_hex(&self.secret, "POST", path, &timestamp, &body);
        let request = self
            .http
            .post(format!("{}{path}", self.casino_url))
            .header("content-type", "application/json")
            .header(signature::KEY_HEADER, &self.key_id)
            .header(signature::TIMESTAMP_HEADER, timestamp)
            .header(signature::SIGNATURE_HEADER, signature)
            .body(body);
        let response = request.send().await.map_err(unknown)?;
        let status = response.status().as_u16();
        let replayed = response.headers().get(signature::REPLAYED_HEADER).is_some_and(|value| value.as_bytes() == b"true");
        let body = response.bytes().await.map_err(unknown)?.to_vec();
        Ok(RawReply { status, replayed, body })
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Unknown(format!("the request is no JSON: {error}")))?;
        let reply = self.call_raw(path, body).await?;
        if reply.status == 200 {
            return serde_json::from_slice(&reply.body).map_err(|error| CallError::Unknown(format!("unreadable answer: {error}")));
        }
        match serde_json::from_slice::<Problem>(&reply.body) {
            Ok(problem) => Err(CallError::Problem(Box::new(problem))),
            Err(_) => Err(CallError::Unknown(format!("HTTP {} without a problem document", reply.status))),
        }
    }
}

impl std::fmt::Debug for StudioClient {
    /// Tells nothing of the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StudioClient").field("casino_url", &self.casino_url).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn unknown(error: reqwest::Error) -> CallError {
    CallError::Unknown(error.without_url().to_string())
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
