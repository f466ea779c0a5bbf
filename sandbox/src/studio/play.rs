//! Play sessions and one spin.
//!
//! | phase | what happens | what a failure means |
//! |---|---|---|
//! | claim | one spin at a time per play session; the nonce is used up | refused, nothing sent |
//! | journal | the bet's ids are on disk | refused, nothing sent |
//! | bet | sent once | refusal: told to the player; unknown: taken back |
//! | draw | reels stop, the win is on disk | – |
//! | win | final win, repeated until acknowledged | the answer says `pending`; the win still comes |
//!
//! Play sessions live in memory: after a restart a player launches the game again, and finished seeds are public.

use std::sync::Arc;

use protocol::{
    Amount, Currency, ErrorCode, GameId, PlayerId, Problem, SessionId,
    problem::Retry,
    provider::{BalanceReply, Bet},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Shared,
    journal::{RoundRecord, Shown, Step},
    lock, settle,
};
use crate::{
    client::{CallError, now_ms},
    fairness::{self, ALGORITHM},
    slot::{self, STARFALL},
};

/// Play sessions kept; the oldest idle one makes room.
pub(super) const PLAY_SESSIONS_MAX: usize = 10_000;

/// One launched game of one player.
#[derive(Clone, Debug)]
pub(super) struct PlaySession {
    player: PlayerId,
    session: SessionId,
    game: GameId,
    currency: Currency,
    seed_index: u32,
    client_seed: String,
    nonce: u64,
    /// A spin is under way.
    busy: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Launch {
    token: String,
    #[serde(default)]
    client_seed: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Launched {
    play_session: Uuid,
    game: GameId,
    currency: Currency,
    balance: BalanceReply,
    fairness: Commitment,
    paytable: Value,
}

/// What a player is shown before a draw.
#[derive(Debug, Serialize)]
pub(super) struct Commitment {
    seed_hash: String,
    client_seed: String,
    /// The nonce of the next spin.
    nonce: u64,
    algorithm: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spin {
    play_session: Uuid,
    /// Minor units; one of the published steps.
    stake: Amount,
}

#[derive(Debug, Serialize)]
pub(super) struct Spun {
    #[serde(flatten)]
    round: RoundView,
    /// After the win was acknowledged; absent while it is pending.
    balance: Option<BalanceReply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reveal {
    play_session: Uuid,
    /// For the draws to come; the present one stays when absent.
    #[serde(default)]
    client_seed: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Revealed {
    server_seed: String,
    seed_hash: String,
    client_seed: String,
    /// Draws made with the seed: nonces 0 to this, exclusive.
    draws: u64,
    next: Commitment,
}

/// A round as its player may see it: nothing about who the player is.
#[derive(Debug, Serialize)]
pub(super) struct RoundView {
    round: Uuid,
    at_ms: i64,
    game: GameId,
    currency: Currency,
    stake: Amount,
    /// `placing`, `refused`, `paying` (shown to players as pending), `paid`, `rolling_back`, `rolled_back`, `stuck`.
    #[serde(flatten)]
    step: Step,
    #[serde(flatten)]
    shown: Option<Shown>,
    fairness: Proof,
}

#[derive(Debug, Serialize)]
pub(super) struct Proof {
    seed_hash: String,
    client_seed: String,
    nonce: u64,
    algorithm: &'static str,
    /// Once revealed.
    server_seed: Option<String>,
}

/// Exchanges a launch token for a play session.
pub(super) async fn launch(shared: &Shared, launch: Launch) -> Result<Launched, Problem> {
    let play_session = Uuid::now_v7();
    let client_seed = chosen_seed(launch.client_seed)?.unwrap_or_else(|| hex::encode(rand::random::<[u8; 8]>()));
    let who = shared.client.authenticate(&launch.token).await.map_err(problem_of)?;
    if who.game_id != shared.game {
        return Err(Problem::new(ErrorCode::UnknownGame).detail(format!("this studio plays {}", shared.game)));
    }
    let session = PlaySession {
        player: who.player_id,
        session: who.session_id,
        game: who.game_id,
        currency: who.balance.currency,
        seed_index: 0,
        client_seed,
        nonce: 0,
        busy: false,
    };
    let fairness = commitment(shared, play_session, &session);
    let mut sessions = lock(&shared.sessions);
    if sessions.len() >= PLAY_SESSIONS_MAX {
        let oldest = sessions.iter().find(|(_, session)| !session.busy).map(|(id, _)| *id);
        sessions.remove(&oldest.ok_or(ErrorCode::Busy)?);
    }
    sessions.insert(play_session, session);
    let (game, currency) = (who.game_id, who.balance.currency);
    Ok(Launched { play_session, game, currency, balance: who.balance, fairness, paytable: slot::paytable() })
}

/// Plays one round. Must run in a task of its own: a player who hangs up must not stop it half-way.
pub(super) async fn spin(shared: &Arc<Shared>, spin: Spin) -> Result<Spun, Problem> {
    let _permit = shared.spins.try_acquire().map_err(|_| ErrorCode::Busy)?;
    if !STARFALL.stake_steps.contains(&spin.stake.0) {
        return Err(Problem::new(ErrorCode::StakeStep).number("steps", STARFALL.stake_steps));
    }
    let claim = Claim::take(shared, spin.play_session)?;
    let mut record = claim.record(spin.stake);
    if let Err(error) = shared.record(&record).await {
        tracing::error!(%error, "no bet without its journal line");
        return Err(unsent(shared, record));
    }
    if let Err(error) = shared.client.bet(&bet_of(&record)).await {
        return Err(not_accepted(shared, record, error).await);
    }
    record.shown = Some(fairness::verify(&claim.server_seed(), &record.client_seed, record.nonce, record.stake).into());
    record.step = Step::Paying { win_id: Uuid::now_v7() };
    if let Err(error) = shared.record(&record).await {
        // The win is still paid now. Only a crash before that leaves the bet to be taken back at the next start.
        tracing::error!(round = %record.round, %error, "a win is paid without its journal line");
    }
    let round = record.round;
    let acknowledged = settle::pay(shared, record);
    let balance = match tokio::time::timeout(shared.timing.win_wait, acknowledged).await {
        Ok(Ok(reply)) => Some(reply.balance),
        _ => None,
    };
    Ok(Spun { round: round_view(shared, round)?, balance })
}

/// Publishes the seed in use and commits to the next one.
pub(super) fn reveal(shared: &Shared, reveal: Reveal) -> Result<Revealed, Problem> {
    let chosen = chosen_seed(reveal.client_seed)?;
    let mut sessions = lock(&shared.sessions);
    let session = sessions.get_mut(&reveal.play_session).ok_or(ErrorCode::NoSession)?;
    if session.busy {
        return Err(ErrorCode::RoundOpen.into());
    }
    let next_index = session.seed_index.checked_add(1).ok_or(ErrorCode::InvalidValue)?;
    let seed = fairness::derive_seed(&shared.seed_secret, reveal.play_session.as_bytes(), session.seed_index);
    let (client_seed, draws) = (session.client_seed.clone(), session.nonce);
    session.seed_index = next_index;
    session.nonce = 0;
    if let Some(chosen) = chosen {
        session.client_seed = chosen;
    }
    let next = commitment(shared, reveal.play_session, session);
    Ok(Revealed { server_seed: hex::encode(seed), seed_hash: fairness::seed_hash(&seed), client_seed, draws, next })
}

/// What a round was, with its server seed once that is public.
pub(super) fn round_view(shared: &Shared, round: Uuid) -> Result<RoundView, Problem> {
    let record = lock(&shared.rounds).get(&round).cloned().ok_or(ErrorCode::UnknownRound)?;
    // A seed is public once its session has gone on to the next, or is gone and can draw no more.
    let secret = lock(&shared.sessions).get(&record.play_session).is_some_and(|session| session.seed_index <= record.seed_index);
    let seed = || hex::encode(fairness::derive_seed(&shared.seed_secret, record.play_session.as_bytes(), record.seed_index));
    let server_seed = (!secret).then(seed);
    let RoundRecord { at_ms, game, currency, stake, step, shown, seed_hash, client_seed, nonce, .. } = record;
    let fairness = Proof { seed_hash, client_seed, nonce, algorithm: ALGORITHM, server_seed };
    Ok(RoundView { round, at_ms, game, currency, stake, step, shown, fairness })
}

/// A play session held for one spin; dropping it lets the next spin in.
struct Claim<'a> {
    shared: &'a Shared,
    play_session: Uuid,
    session: PlaySession,
}

impl<'a> Claim<'a> {
    fn take(shared: &'a Shared, play_session: Uuid) -> Result<Self, Problem> {
        let mut sessions = lock(&shared.sessions);
        let session = sessions.get_mut(&play_session).ok_or(ErrorCode::NoSession)?;
        if session.busy {
            return Err(ErrorCode::RoundOpen.into());
        }
        let held = session.clone();
        session.busy = true;
        // Used up even if the bet fails: no nonce is ever drawn twice.
        session.nonce += 1;
        Ok(Self { shared, play_session, session: held })
    }

    fn server_seed(&self) -> [u8; 32] {
        fairness::derive_seed(&self.shared.seed_secret, self.play_session.as_bytes(), self.session.seed_index)
    }

    fn record(&self, stake: Amount) -> RoundRecord {
        RoundRecord {
            round: Uuid::now_v7(),
            at_ms: now_ms(),
            play_session: self.play_session,
            player: self.session.player,
            session: self.session.session,
            game: self.session.game,
            currency: self.session.currency,
            stake,
            bet_id: Uuid::now_v7(),
            seed_index: self.session.seed_index,
            seed_hash: fairness::seed_hash(&self.server_seed()),
            client_seed: self.session.client_seed.clone(),
            nonce: self.session.nonce,
            shown: None,
            step: Step::Placing,
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(session) = lock(&self.shared.sessions).get_mut(&self.play_session) {
            session.busy = false;
        }
    }
}

fn bet_of(record: &RoundRecord) -> Bet {
    Bet {
        transaction_id: record.bet_id,
        player_id: record.player,
        session_id: record.session,
        round_id: record.round.to_string(),
        game_id: record.game,
        amount: record.currency.format(record.stake),
        currency: record.currency,
        is_free: false,
    }
}

/// A bet that was not taken: told to the player when the casino said no, taken back when nobody knows.
async fn not_accepted(shared: &Arc<Shared>, mut record: RoundRecord, error: CallError) -> Problem {
    match error {
        CallError::Problem(problem) if problem.retry != Retry::SameId => {
            record.step = Step::Refused { code: problem.code };
            if let Err(error) = shared.record(&record).await {
                tracing::error!(round = %record.round, %error, "the next start takes back a bet that was refused, which moves nothing");
            }
            *problem
        }
        unknown => {
            tracing::warn!(round = %record.round, error = %unknown, "the bet's fate is not known; taking it back");
            let problem = Problem::new(ErrorCode::Unavailable).detail("the casino did not answer; the stake is being taken back");
            let problem = problem.number("round", record.round.to_string());
            settle::take_back(shared, record);
            problem
        }
    }
}

/// The journal failed before anything was sent: the round never was.
fn unsent(shared: &Shared, record: RoundRecord) -> Problem {
    lock(&shared.rounds).remove(&record.round);
    Problem::new(ErrorCode::Unavailable).detail("the studio cannot remember rounds at the moment")
}

fn problem_of(error: CallError) -> Problem {
    match error {
        CallError::Problem(problem) => *problem,
        CallError::Unknown(_) => Problem::new(ErrorCode::Unavailable).detail("the casino did not answer"),
    }
}

fn commitment(shared: &Shared, play_session: Uuid, session: &PlaySession) -> Commitment {
    let seed = fairness::derive_seed(&shared.seed_secret, play_session.as_bytes(), session.seed_index);
    let client_seed = session.client_seed.clone();
    Commitment { seed_hash: fairness::seed_hash(&seed), client_seed, nonce: session.nonce, algorithm: ALGORITHM }
}

fn chosen_seed(client_seed: Option<String>) -> Result<Option<String>, Problem> {
    match client_seed {
        Some(seed) if !fairness::client_seed_is_valid(&seed) => {
            Err(Problem::new(ErrorCode::InvalidValue).detail("a client seed is 1 to 64 printable ASCII characters"))
        }
        other => Ok(other),
    }
}
