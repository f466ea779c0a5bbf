//! The provider listener: contract v1, verified over the raw bytes before anything is parsed.

use std::sync::Arc;

use access::token::TokenKind;
use actors::{
    Answer, Responder,
    command::{Action, HeldCall, body_hash},
    floor::Asked,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, OriginalUri, State},
    http::{HeaderMap, Method},
    response::Response,
    routing::post,
};
use protocol::{
    BetId, Currency, ErrorCode, MoneyError, PlayerId, Problem, ProviderId, TraceId,
    provider::{Authenticate, Authenticated, BalanceQuery, Bet, PromoWin, ROUND_ID_LEN_MAX, Rollback, RoundClose, Win, path},
    signature,
};
use serde::{Serialize, de::DeserializeOwned};
use storage::{Source, UnitKey};
use uuid::Uuid;

use super::{
    Edge,
    answers::{Refusal, method_not_allowed, not_found, respond},
    public,
};

type Shared = State<Arc<Edge>>;

pub fn router(edge: Arc<Edge>) -> Router {
    let body_max = edge.config.http.body_bytes_max;
    Router::new()
        .route(path::AUTHENTICATE, post(call::<Authenticate>))
        .route(path::BALANCE, post(call::<BalanceQuery>))
        .route(path::BET, post(call::<Bet>))
        .route(path::WIN, post(call::<Win>))
        .route(path::ROLLBACK, post(call::<Rollback>))
        .route(path::ROUND_CLOSE, post(call::<RoundClose>))
        .route(path::PROMO_WIN, post(call::<PromoWin>))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_max))
        .with_state(edge)
}

/// One call of the contract: what it is once its signature holds.
trait Call: DeserializeOwned + Serialize + Send + 'static {
    fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> impl Future<Output = Result<Answer, Problem>> + Send;
}

async fn call<C: Call>(
    State(edge): Shared,
    OriginalUri(uri): OriginalUri,
    method: Method,
    headers: HeaderMap,
    body: public::Body,
) -> Response {
    let started = std::time::Instant::now();
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let answered = async {
        let bytes = public::bytes(body)?;
        let provider = verify(&edge, &method, path, &headers, &bytes)?;
        let call: C =
            serde_json::from_slice(&bytes).map_err(|error| Problem::new(ErrorCode::MalformedBody).detail(error.to_string()))?;
        call.answer(&edge, provider).await
    };
    let answer = answered.await.unwrap_or_else(|problem| Answer::problem(&problem));
    edge.core.floor.shared().stats.answered(answer.code, started.elapsed());
    respond(answer)
}

/// The provider whose key signed method, path, timestamp and body, within the replay window.
fn verify(edge: &Edge, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<ProviderId, Problem> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(key), Some(timestamp), Some(signed)) =
        (header(signature::KEY_HEADER), header(signature::TIMESTAMP_HEADER), header(signature::SIGNATURE_HEADER))
    else {
        return Err(Problem::new(ErrorCode::SignatureInvalid).detail("key, timestamp and signature headers are required"));
    };
    let now = edge.env.now();
    let mut keys = edge.providers.values().flat_map(|provider| provider.keys.iter().map(move |key| (provider, key)));
    let (provider, key) =
        keys.find(|(_, known)| known.id == key && known.is_valid(now)).ok_or(Problem::new(ErrorCode::KeyUnknown))?;
    if !signature::verify_hex(key.secret.expose(), method.as_str(), path, timestamp, body, signed) {
        return Err(ErrorCode::SignatureInvalid.into());
    }
    let window_ms = i64::try_from(edge.config.provider.replay_window_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let at: i64 =
        timestamp.parse().map_err(|_| Problem::new(ErrorCode::SignatureExpired).detail("the timestamp is milliseconds"))?;
    let skew_ms = now.0.saturating_sub(at);
    if skew_ms.saturating_abs() > window_ms {
        return Err(Problem::new(ErrorCode::SignatureExpired).number("skew_ms", skew_ms).number("window_ms", window_ms));
    }
    Ok(provider.id)
}

fn v7(id: Uuid) -> Result<Uuid, Problem> {
    if protocol::id::is_v7(&id) { Ok(id) } else { Err(ErrorCode::NotUuidV7.into()) }
}

fn named(text: &str, what: &str) -> Result<(), Problem> {
    if (1..=ROUND_ID_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::InvalidValue).detail(format!("{what} is 1 to {ROUND_ID_LEN_MAX} printable ASCII characters")))
}

fn amount_problem(error: MoneyError) -> Problem {
    let code = if error == MoneyError::SubMinor { ErrorCode::SubMinorStake } else { ErrorCode::InvalidAmount };
    Problem::new(code).detail(error.to_string())
}

/// What the actors answer, within the time a caller may wait; later it is unknown, never no.
async fn ask(edge: &Edge, send: impl FnOnce(Asked)) -> Answer {
    let (reply, receiver) = Responder::oneshot();
    send(Asked { trace: TraceId(edge.env.uuid()), reply });
    match tokio::time::timeout(edge.reply_timeout(), receiver).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => ErrorCode::Unknown.into(),
    }
}

async fn held(
    edge: &Edge,
    provider: ProviderId,
    player: PlayerId,
    round: String,
    call: HeldCall,
    hash: [u8; 32],
) -> Result<Answer, Problem> {
    v7(call.transaction().0)?;
    named(&round, "round_id")?;
    Ok(ask(edge, |asked| edge.core.floor.held(player, provider, round, call, hash, asked)).await)
}

impl Call for Authenticate {
    async fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> Result<Answer, Problem> {
        let claims = public::authenticate(edge, &self.launch_token, TokenKind::Launch)?;
        let (Some(game_id), true) = (claims.game, claims.provider == Some(provider)) else {
            return Err(ErrorCode::TokenInvalid.into());
        };
        // A game may be launched where no connection of ours is open: the play session starts here then.
        let session = actors::command::Action::StartSession { session: edge.env.uuid().into() };
        let started = edge.core.floor.own(claims.player, None, session).await;
        if !started.ok {
            return Ok(started);
        }
        let snapshot = edge.core.floor.snapshot(claims.player).await?;
        let (session_id, _) = snapshot.session.ok_or(Problem::new(ErrorCode::NoSession))?;
        let balance = public::balance_reply(&snapshot);
        Ok(Answer::json(&Authenticated { player_id: claims.player, session_id, game_id, balance }))
    }
}

impl Call for BalanceQuery {
    async fn answer(self, edge: &Arc<Edge>, _: ProviderId) -> Result<Answer, Problem> {
        let snapshot = edge.core.floor.snapshot(self.player_id).await?;
        Ok(Answer::json(&public::balance_reply(&snapshot)))
    }
}

impl Call for Bet {
    async fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> Result<Answer, Problem> {
        let hash = body_hash("bet", &self);
        let call = HeldCall::Bet {
            transaction: BetId(self.transaction_id),
            game: self.game_id,
            session: self.session_id,
            stake: self.currency.parse(&self.amount).map_err(amount_problem)?,
            currency: self.currency,
            is_free: self.is_free,
        };
        held(edge, provider, self.player_id, self.round_id, call, hash).await
    }
}

impl Call for Win {
    async fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> Result<Answer, Problem> {
        let hash = body_hash("win", &self);
        let (amount, micro) = exact(self.currency, &self.amount)?;
        let call = HeldCall::Win {
            transaction: BetId(self.transaction_id),
            bet: BetId(self.bet_transaction_id),
            amount,
            micro,
            currency: self.currency,
            is_final: self.is_final,
        };
        held(edge, provider, self.player_id, self.round_id, call, hash).await
    }
}

impl Call for Rollback {
    async fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> Result<Answer, Problem> {
        let hash = body_hash("rollback", &self);
        let call =
            HeldCall::Rollback { transaction: BetId(self.transaction_id), reference: BetId(v7(self.reference_transaction_id)?) };
        held(edge, provider, self.player_id, self.round_id, call, hash).await
    }
}

impl Call for RoundClose {
    async fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> Result<Answer, Problem> {
        let hash = body_hash("round/close", &self);
        let call = HeldCall::Close { transaction: BetId(self.transaction_id) };
        held(edge, provider, self.player_id, self.round_id, call, hash).await
    }
}

impl Call for PromoWin {
    async fn answer(self, edge: &Arc<Edge>, provider: ProviderId) -> Result<Answer, Problem> {
        let hash = body_hash("promo_win", &self);
        let transaction = BetId(v7(self.transaction_id)?);
        named(&self.campaign_id, "campaign_id")?;
        let (amount, micro) = exact(self.currency, &self.amount)?;
        let action = Action::PromoWin { provider, transaction, campaign: self.campaign_id, amount, micro, currency: self.currency };
        let key = UnitKey::new(Source::Provider(provider), transaction.as_bytes());
        Ok(ask(edge, |asked| edge.core.floor.execute(self.player_id, key, hash, action, asked)).await)
    }
}

fn exact(currency: Currency, amount: &str) -> Result<(protocol::Amount, protocol::Micro), Problem> {
    currency.parse_exact(amount).map_err(amount_problem)
}

impl From<Refusal> for Problem {
    fn from(Refusal(problem): Refusal) -> Self {
        problem
    }
}
