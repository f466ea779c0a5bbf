//! The public listener: the page, demo logins, the catalogue, health, and the way to the WebSocket.

use std::sync::Arc;

use access::token::{Claims, TokenKind};
use actors::reply;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use protocol::{
    ErrorCode, GameId, PlayerId, Problem, TenantId,
    frame::{GameView, JackpotView, LaunchReply, LeaderboardView},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Edge,
    answers::{Refusal, method_not_allowed, not_found},
    pages,
    state::DemoSeat,
    ws,
};

type Shared = State<Arc<Edge>>;

pub fn router(edge: Arc<Edge>) -> Router {
    let body_max = edge.config.http.body_bytes_max;
    Router::new()
        .route("/", get(|| async { pages::file("index.html") }))
        .route("/{file}", get(|Path(file): Path<String>| async move { pages::file(&file) }))
        .route("/ws", get(ws::upgrade))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/v1/games", get(games))
        .route("/v1/jackpots", get(jackpots))
        .route("/v1/leaderboard", get(leaderboard))
        .route("/v1/demo/players", get(demo_players))
        .route("/v1/demo/login", post(demo_login))
        .route("/v1/demo/launch", post(demo_launch))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_max))
        .with_state(edge)
}

/// A request's body, or why it could not be taken.
pub type Body = Result<Bytes, BytesRejection>;

/// The bytes of a body within the bound.
pub fn bytes(body: Body) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::Oversize.into(),
        _ => Problem::new(ErrorCode::MalformedBody).detail(rejection.body_text()),
    })
}

/// Reads a JSON body; what is wrong with it is said.
fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let problem = |error: serde_json::Error| Problem::new(ErrorCode::MalformedBody).detail(error.to_string());
    Ok(serde_json::from_slice(&bytes(body)?).map_err(problem)?)
}

pub async fn readyz(State(edge): Shared) -> Response {
    if edge.is_ready() { "ready".into_response() } else { Refusal::from(ErrorCode::Unavailable).into_response() }
}

#[derive(Deserialize)]
pub struct OfTenant {
    #[serde(default)]
    tenant: Option<TenantId>,
}

impl OfTenant {
    /// The named brand, or the first by name.
    fn of(&self, edge: &Edge) -> Result<TenantId, Refusal> {
        let tenant = self.tenant.or_else(|| edge.catalogue.brands.keys().min().copied());
        tenant.filter(|tenant| edge.catalogue.brand(*tenant).is_some()).ok_or_else(|| ErrorCode::NotFound.into())
    }
}

async fn games(State(edge): Shared, Query(query): Query<OfTenant>) -> Result<Json<Vec<GameView>>, Refusal> {
    Ok(Json(game_views(&edge, query.of(&edge)?)))
}

async fn jackpots(State(edge): Shared, Query(query): Query<OfTenant>) -> Result<Json<Vec<JackpotView>>, Refusal> {
    Ok(Json(edge.core.show.jackpots_of(&edge.catalogue, query.of(&edge)?)))
}

async fn leaderboard(State(edge): Shared, Query(query): Query<OfTenant>) -> Result<Json<LeaderboardView>, Refusal> {
    Ok(Json(edge.core.show.board(query.of(&edge)?)))
}

/// A brand's games as clients see them.
pub fn game_views(edge: &Edge, tenant: TenantId) -> Vec<GameView> {
    let view = |game: &Arc<rules::Game>| GameView {
        game: game.id,
        name: game.name.clone(),
        provider: game.provider,
        kind: match game.kind {
            rules::GameKind::Slot => "slot".to_owned(),
            rules::GameKind::Table => "table".to_owned(),
        },
        min_stake: game.min_stake,
        max_stake: game.max_stake,
        steps: game.steps.clone(),
        rtp_ppm: game.rtp_ppm,
        jackpot: game.jackpot.map(|rate| rate.jackpot),
        enabled: game.enabled,
    };
    edge.catalogue.games_of(tenant).into_iter().map(view).collect()
}

// The demo: players that log in by their key.

#[derive(Serialize)]
struct DemoPlayerView {
    player: String,
    name: String,
    currency: protocol::Currency,
}

async fn demo_players(State(edge): Shared) -> Json<Vec<DemoPlayerView>> {
    let mut players: Vec<_> = edge
        .demo
        .iter()
        .filter_map(|(key, seat)| seat.shown.as_ref().map(|shown| (key, shown)))
        .map(|(key, shown)| DemoPlayerView { player: key.clone(), name: shown.name.clone(), currency: shown.currency })
        .collect();
    players.sort_by(|a, b| a.player.cmp(&b.player));
    Json(players)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoLogin {
    player: String,
}

#[derive(Serialize)]
struct LoggedIn {
    token: String,
    player_id: PlayerId,
}

fn seat(edge: &Edge, key: &str) -> Result<DemoSeat, Refusal> {
    edge.demo.get(key).cloned().ok_or_else(|| ErrorCode::UnknownPlayer.into())
}

async fn demo_login(State(edge): Shared, body: Body) -> Result<Json<LoggedIn>, Refusal> {
    let login: DemoLogin = read(body)?;
    let seat = seat(&edge, &login.player)?;
    let claims = Claims::session(seat.player, seat.tenant, edge.env.now(), edge.config.token.session_s, edge.env.uuid());
    Ok(Json(LoggedIn { token: edge.tokens.issue(&claims), player_id: seat.player }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoLaunch {
    player: String,
    game: GameId,
}

async fn demo_launch(State(edge): Shared, body: Body) -> Result<Json<LaunchReply>, Refusal> {
    let launch: DemoLaunch = read(body)?;
    let seat = seat(&edge, &launch.player)?;
    Ok(Json(launch_game(&edge, seat.player, seat.tenant, launch.game)?))
}

/// A launch token for a provider's game, and where it is played.
pub fn launch_game(edge: &Edge, player: PlayerId, tenant: TenantId, game: GameId) -> Result<LaunchReply, Problem> {
    let game = edge.catalogue.game(tenant, game).filter(|game| !game.hosted).ok_or(Problem::new(ErrorCode::UnknownGame))?;
    if !game.enabled {
        return Err(ErrorCode::GameDisabled.into());
    }
    let provider = edge.providers.get(&game.provider).ok_or(Problem::new(ErrorCode::UnknownGame))?;
    let now = edge.env.now();
    let claims = Claims::session(player, tenant, now, edge.config.token.launch_s, edge.env.uuid()).launch(
        game.id,
        game.provider,
        now,
        edge.config.token.launch_s,
        edge.env.uuid(),
    );
    let launch_token = edge.tokens.issue(&claims);
    let url = format!("{}/play?token={launch_token}", provider.url.trim_end_matches('/'));
    Ok(LaunchReply { launch_token, url })
}

/// Who a token is for.
pub fn authenticate(edge: &Edge, token: &str, kind: TokenKind) -> Result<Claims, Problem> {
    edge.tokens.verify(token, kind, edge.env.now()).map_err(|error| match error {
        access::token::TokenError::Expired => ErrorCode::TokenExpired.into(),
        error => Problem::new(ErrorCode::TokenInvalid).detail(error.to_string()),
    })
}

/// A balance in a provider's words.
pub fn balance_reply(snapshot: &actors::player::Snapshot) -> protocol::provider::BalanceReply {
    reply::balance_reply(snapshot.currency, snapshot.balance)
}
