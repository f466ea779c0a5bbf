//! The internal listener: Prometheus metrics, the ops console and its live feed. It is a separate address, kept off the public.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use actors::{pipeline::showman, stats::LatencySnapshot};
use axum::{
    Router,
    extract::{
        Path, Query, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use protocol::{
    ErrorCode, TenantId, Timestamp,
    frame::{JackpotView, LeaderboardDelta, LeaderboardView},
};
use serde::{Deserialize, Serialize};

use super::{
    Edge,
    answers::{Refusal, method_not_allowed, not_found},
    pages, public, ws,
};

/// Frames of the feed a console may be behind before it is dropped.
const SEND_MAX: Duration = Duration::from_secs(5);
const FEED_EVERY: Duration = Duration::from_secs(1);

pub fn router(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/", get(|| async { pages::file("ops.html") }))
        .route("/ops", get(|| async { pages::file("ops.html") }))
        .route("/ops/feed", get(feed))
        .route("/{file}", get(|Path(file): Path<String>| async move { pages::file(&file) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(public::readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(edge)
}

async fn metrics(State(edge): State<Arc<Edge>>) -> String {
    let shared = edge.core.floor.shared();
    let newest = edge.core.positions.newest();
    for (follower, position) in edge.core.positions.followers() {
        metrics::gauge!("pitboss_follower_lag_units", "follower" => follower).set(newest.saturating_sub(position) as f64);
    }
    metrics::gauge!("pitboss_segments_newest_sequence").set(newest as f64);
    metrics::gauge!("pitboss_players_awake").set(shared.registry.players_len() as f64);
    metrics::gauge!("pitboss_rounds_awake").set(shared.registry.rounds_len() as f64);
    metrics::gauge!("pitboss_connections").set(edge.connections.load(Ordering::Relaxed) as f64);
    metrics::gauge!("pitboss_commands_under_way").set(shared.admission.under_way() as f64);
    metrics::gauge!("pitboss_bets_per_minute").set(edge.core.show.view().bets_last_minute as f64);
    edge.metrics.render()
}

#[derive(Deserialize)]
struct OfTenant {
    #[serde(default)]
    tenant: Option<TenantId>,
}

async fn feed(
    State(edge): State<Arc<Edge>>,
    Query(query): Query<OfTenant>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !ws::same_host(&headers) {
        return Refusal::from(ErrorCode::OriginRefused).into_response();
    }
    upgrade.read_buffer_size(1_024).on_upgrade(move |socket| Feed::new(edge, query.tenant).run(socket))
}

/// One console's view of the floor.
struct Feed {
    edge: Arc<Edge>,
    tenant: Option<TenantId>,
    latency: LatencySnapshot,
    /// The board as last told, under this feed's own sequence.
    board: Option<LeaderboardView>,
}

/// What ops see once a second.
#[derive(Serialize)]
struct Figures {
    at: Timestamp,
    bets_per_minute: u64,
    spins_per_s: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    open_rounds: usize,
    players: usize,
    connections: u64,
    in_flight: usize,
    segment_lag: u64,
    projection_lag: u64,
    batch_p50: usize,
    refusals: BTreeMap<&'static str, u64>,
    jackpots: Vec<JackpotView>,
    money: Vec<Money>,
    leaderboard: Option<LeaderboardView>,
    delta: Option<LeaderboardDelta>,
    actors: Actors,
}

#[derive(Serialize)]
struct Money {
    currency: protocol::Currency,
    stakes: i64,
    payouts: i64,
    ggr: i64,
}

#[derive(Serialize)]
struct Actors {
    players: usize,
    rounds: usize,
    restarts: u64,
}

impl Feed {
    fn new(edge: Arc<Edge>, tenant: Option<TenantId>) -> Self {
        let latency = edge.core.floor.shared().stats.live.latency_snapshot();
        Self { edge, tenant, latency, board: None }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let mut every = tokio::time::interval(FEED_EVERY);
        let mut stop = self.edge.stop.clone();
        loop {
            tokio::select! {
                _ = every.tick() => {
                    let text = serde_json::to_string(&self.figures().await).unwrap_or_default();
                    let sent = tokio::time::timeout(SEND_MAX, socket.send(Message::Text(text.into()))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
                message = socket.recv() => if !matches!(message, Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_)))) {
                    return;
                },
                () = crate::stop::stopped(&mut stop) => return,
            }
        }
    }

    async fn figures(&mut self) -> Figures {
        let edge = Arc::clone(&self.edge);
        let core = &edge.core;
        let shared = core.floor.shared();
        let view = core.show.view();
        let latency = shared.stats.live.latency_snapshot();
        let percentiles = latency.since(&self.latency);
        self.latency = latency;
        let newest = core.positions.newest();
        let head = shared.ledger.head(0).await.map_or(newest, |head| head.sequence);
        let (leaderboard, delta) = self.board(&view);
        Figures {
            at: edge.env.now(),
            bets_per_minute: view.bets_last_minute,
            spins_per_s: view.bets_last_second,
            p50_ms: percentiles.p50,
            p95_ms: percentiles.p95,
            p99_ms: percentiles.p99,
            open_rounds: usize::try_from(view.open_bets).unwrap_or(0),
            players: shared.registry.connections_len(),
            connections: edge.connections.load(Ordering::Relaxed),
            in_flight: shared.admission.under_way(),
            segment_lag: head.saturating_sub(newest),
            projection_lag: head.saturating_sub(core.positions.of("projections")),
            batch_p50: shared.stats.live.batch_last.load(Ordering::Relaxed),
            refusals: shared.stats.live.refusals(),
            jackpots: view.jackpots.into_values().collect(),
            money: view.money.iter().map(money).collect(),
            leaderboard,
            delta,
            actors: Actors {
                players: shared.registry.players_len(),
                rounds: shared.registry.rounds_len(),
                restarts: shared.stats.live.restarts.load(Ordering::Relaxed),
            },
        }
    }

    /// The whole board first, then what changed of it.
    fn board(&mut self, view: &showman::View) -> (Option<LeaderboardView>, Option<LeaderboardDelta>) {
        let busiest = || view.boards.iter().max_by_key(|(_, board)| board.rows.iter().map(|row| row.rounds).sum::<u64>());
        let Some(tenant) = self.tenant.or_else(|| busiest().map(|(tenant, _)| *tenant)) else { return (None, None) };
        let Some(board) = view.boards.get(&tenant) else { return (None, None) };
        let Some(known) = &mut self.board else {
            self.tenant = self.tenant.or_else(|| (!board.rows.is_empty()).then_some(tenant));
            let first = LeaderboardView { sequence: 0, ..board.clone() };
            self.board = self.tenant.is_some().then(|| first.clone());
            return (Some(first), None);
        };
        let Some((rows, gone)) = showman::delta(Some(known), &board.rows) else { return (None, None) };
        known.sequence += 1;
        known.rows.clone_from(&board.rows);
        (None, Some(LeaderboardDelta { board: known.board.clone(), sequence: known.sequence, rows, gone }))
    }
}

fn money(money: &showman::Money) -> Money {
    let shown = |sum: i128| i64::try_from(sum).unwrap_or(i64::MAX);
    Money { currency: money.currency, stakes: shown(money.stakes), payouts: shown(money.payouts), ggr: shown(money.ggr) }
}
