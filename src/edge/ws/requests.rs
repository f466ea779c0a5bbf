//! From a request to the floor, or to what is read beside it.

use std::{sync::Arc, time::Duration, time::Instant};

use actors::{
    Answer, Responder,
    command::{Action, body_hash},
    floor::Asked,
};
use protocol::{
    ErrorCode, PlayerId, Problem, RequestId, TraceId,
    frame::{History, HistoryQuery, Request, RoundQuery},
};
use serde::Serialize;
use storage::{Source, UnitKey};

use super::{Reply, Seat, Task};
use crate::edge::{public, state::Edge};

/// Longest wait for a projection to show a player's own last write.
const READ_YOUR_WRITES_MAX: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const HISTORY_ROUNDS: u32 = 20;
const HISTORY_ROUNDS_MAX: u32 = 100;

impl Task {
    /// Sends one request on its way; its answer comes back through the reply queue.
    pub(super) fn request(&mut self, seat: Seat, id: RequestId, request: Request) {
        let name = request.type_name();
        match request {
            Request::Spin(spin) => {
                let asked = self.asked(id);
                self.edge.core.floor.spin(seat.player, id, spin.game, spin.stake, asked);
            }
            Request::RealityCheckAck(data) => self.execute(seat, id, name, &data, Action::AcknowledgeRealityCheck),
            Request::LimitSet(data) => {
                let action = Action::SetLimit { limit: data.limit, window: data.window, value: data.value };
                self.execute(seat, id, name, &data, action);
            }
            Request::TimeOut(data) => self.execute(seat, id, name, &data, Action::TimeOut { hours: data.hours }),
            Request::SelfExclude(data) => self.execute(seat, id, name, &data, Action::SelfExclude { months: data.months }),
            Request::BonusForfeit(data) => self.execute(seat, id, name, &data, Action::ForfeitBonus { grant: data.grant }),
            Request::FairnessRotate(data) => {
                let client_seed = data.client_seed.clone();
                self.execute(seat, id, name, &data, Action::RotateSeed { client_seed });
            }
            Request::SessionEnd(data) => self.execute(seat, id, name, &data, Action::EndSession { reason: "logout".to_owned() }),
            Request::Leaderboard(_) => {
                self.watches_board.store(true, std::sync::atomic::Ordering::Relaxed);
                self.answer(id, Answer::json(&self.edge.core.show.board(seat.tenant)));
            }
            Request::Launch(launch) => {
                let launched = public::launch_game(&self.edge, seat.player, seat.tenant, launch.game);
                self.answer(id, launched.map_or_else(|problem| Answer::problem(&problem), |reply| Answer::json(&reply)));
            }
            Request::Ping(_) => {
                #[derive(Serialize)]
                struct Pong {
                    server_time: protocol::Timestamp,
                }
                self.answer(id, Answer::json(&Pong { server_time: self.edge.env.now() }));
            }
            Request::Balance(_) | Request::LimitGet(_) | Request::Fairness(_) | Request::History(_) | Request::Round(_) => {
                self.read(seat.player, id, request);
            }
            // Answered before a request comes here.
            Request::Hello(_) => self.answer(id, ErrorCode::UnknownType.into()),
        }
    }

    /// A keyed command of the player; the id scopes to the player.
    fn execute(&self, seat: Seat, id: RequestId, name: &str, data: &impl Serialize, action: Action) {
        let key = UnitKey::new(Source::Player(seat.player), id.as_bytes());
        self.edge.core.floor.execute(seat.player, key, body_hash(name, data), action, self.asked(id));
    }

    /// A request that only reads, answered beside this task.
    fn read(&self, player: PlayerId, id: RequestId, request: Request) {
        let (edge, asked) = (Arc::clone(&self.edge), self.asked(id));
        tokio::spawn(async move {
            let answer = read(&edge, player, request).await.unwrap_or_else(|problem| Answer::problem(&problem));
            asked.reply.send(answer);
        });
    }

    fn answer(&self, re: RequestId, answer: Answer) {
        // There is a place for every request in flight.
        drop(self.replies.try_send(Reply { re, answer, since: Instant::now() }));
    }

    fn asked(&self, re: RequestId) -> Asked {
        let (replies, since) = (self.replies.clone(), Instant::now());
        let reply = Responder::new(move |answer| drop(replies.try_send(Reply { re, answer, since })));
        Asked { trace: TraceId(self.edge.env.uuid()), reply }
    }
}

async fn read(edge: &Edge, player: PlayerId, request: Request) -> Result<Answer, Problem> {
    let snapshot = edge.core.floor.snapshot(player).await?;
    Ok(match request {
        Request::LimitGet(_) => {
            #[derive(Serialize)]
            struct Limits {
                limits: Vec<protocol::frame::LimitView>,
            }
            Answer::json(&Limits { limits: snapshot.limits })
        }
        Request::Fairness(_) => Answer::json(&snapshot.fairness),
        Request::History(query) => {
            reach(edge, player, snapshot.balance.version).await?;
            history(edge, player, &query).await?
        }
        Request::Round(query) => {
            reach(edge, player, snapshot.balance.version).await?;
            round(edge, player, &query).await?
        }
        _ => {
            #[derive(Serialize)]
            struct Balance {
                balance: protocol::Balance,
                bonus: Option<protocol::frame::BonusView>,
            }
            Answer::json(&Balance { balance: snapshot.balance, bonus: snapshot.bonus })
        }
    })
}

async fn history(edge: &Edge, player: PlayerId, query: &HistoryQuery) -> Result<Answer, Problem> {
    let limit = query.limit.unwrap_or(HISTORY_ROUNDS).clamp(1, HISTORY_ROUNDS_MAX) as usize;
    let rounds = edge.core.projections.rounds(player, query.before, limit).await.map_err(|_| ErrorCode::Unavailable)?;
    let next = rounds.last().filter(|_| rounds.len() == limit).map(|round| round.position);
    Ok(Answer::json(&History { rounds, next }))
}

async fn round(edge: &Edge, player: PlayerId, query: &RoundQuery) -> Result<Answer, Problem> {
    let found = edge.core.projections.round(Some(player), &query.round).await.map_err(|_| ErrorCode::Unavailable)?;
    found.map(|round| Answer::json(&round)).ok_or_else(|| ErrorCode::UnknownRound.into())
}

/// Waits until the projection shows the player's own last write; a projection too far behind says so instead of showing less.
pub async fn reach(edge: &Edge, player: PlayerId, version: u64) -> Result<(), Problem> {
    let until = Instant::now() + READ_YOUR_WRITES_MAX;
    loop {
        let shown = edge.core.projections.player_version(player).await.map_err(|_| ErrorCode::Unavailable)?;
        if shown >= version {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Problem::new(ErrorCode::Unavailable).detail("history is catching up").number("behind", version - shown));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
