//! The hello: authenticates, starts or resumes the play session, seats the connection and says where everything stands.

use access::token::TokenKind;
use actors::command::Action;
use axum::extract::ws::WebSocket;
use protocol::{
    ErrorCode, Problem, RequestId,
    frame::{self, Hello, RoundView, SessionNotice, Welcome, push},
};

use super::{Answer, End, Seat, Task, close, send};
use crate::edge::{public, state::Edge};

/// Rounds a resumed client is told at once; more are in its history.
const MISSED_ROUNDS_MAX: usize = 100;

impl Task {
    pub(super) async fn hello(&mut self, socket: &mut WebSocket, id: RequestId, hello: Hello) -> Result<(), End> {
        match self.welcome(&hello).await {
            Ok(welcome) => {
                let answer = Answer::json(&welcome);
                let text = frame::reply_text(id, &answer.body, false);
                send(socket, axum::extract::ws::Message::Text(text.into())).await
            }
            Err(problem) => {
                self.refuse(socket, Some(id), &problem).await?;
                match problem.code {
                    ErrorCode::TokenInvalid | ErrorCode::TokenExpired => {
                        Err(End { code: close::POLICY, reason: "not authenticated" })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    async fn welcome(&mut self, hello: &Hello) -> Result<Welcome, Problem> {
        let claims = public::authenticate(&self.edge, &hello.token, TokenKind::Session)?;
        if let Some(seat) = self.seat.filter(|seat| seat.player != claims.player) {
            self.edge.core.floor.disconnect(seat.player, self.id);
            self.seat = None;
        }
        let floor = self.edge.core.floor.clone();
        let session = self.edge.env.uuid().into();
        let started = floor.own(claims.player, None, Action::StartSession { session }).await;
        if !started.ok {
            return Err(serde_json::from_slice(&started.body).unwrap_or_else(|_| Problem::new(ErrorCode::Unknown)));
        }
        if self.seat.is_none() {
            self.take_seat(Seat { player: claims.player, tenant: claims.tenant });
        }
        let snapshot = floor.snapshot(claims.player).await?;
        let (session, session_started_at) = snapshot.session.ok_or(Problem::new(ErrorCode::NoSession))?;
        let missed = match hello.resume_from {
            Some(version) => missed(&self.edge, &snapshot, version).await?,
            None => Vec::new(),
        };
        Ok(Welcome {
            player: snapshot.player,
            session,
            resumed: started_resumed(&started),
            currency: snapshot.currency,
            exponent: snapshot.currency.exponent(),
            server_time: self.edge.env.now(),
            session_started_at,
            balance: snapshot.balance,
            bonus: snapshot.bonus,
            reality_check: snapshot.reality_check,
            games: public::game_views(&self.edge, snapshot.tenant),
            jackpots: self.edge.core.show.jackpots_of(&self.edge.catalogue, snapshot.tenant),
            fairness: snapshot.fairness,
            missed,
        })
    }

    /// From here on pushes come in, and an older connection of the player is told and closed.
    fn take_seat(&mut self, seat: Seat) {
        self.seat = Some(seat);
        if let Some(old) = self.edge.core.floor.connect(seat.player, self.connection(seat.tenant)) {
            let notice =
                SessionNotice { notice: "replaced".to_owned(), detail: "the session goes on at another connection".to_owned() };
            let data = serde_json::to_string(&notice).unwrap_or_default().into();
            drop(old.pushes.try_send(actors::floor::Push { name: push::SESSION, data, closes: true }));
        }
    }
}

fn started_resumed(started: &Answer) -> bool {
    #[derive(serde::Deserialize)]
    struct Started {
        resumed: bool,
    }
    serde_json::from_slice::<Started>(&started.body).is_ok_and(|started| started.resumed)
}

/// The rounds that changed after a balance version, once the projection has reached the player's last commit.
async fn missed(edge: &Edge, snapshot: &actors::player::Snapshot, version: u64) -> Result<Vec<RoundView>, Problem> {
    super::requests::reach(edge, snapshot.player, snapshot.balance.version).await?;
    let rounds = edge.core.projections.rounds_since_version(snapshot.player, version, MISSED_ROUNDS_MAX).await;
    rounds.map_err(|_| ErrorCode::Unavailable.into())
}
