//! A studio's servers: keep-alive connections that place a bet and then pay its win, for one player after the other.
//!
//! A connection has one call in flight. A call whose connection broke, or whose answer was "later", is repeated with the
//! same transaction id and body until it is answered.

use std::{fmt::Write, sync::atomic::Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use protocol::{
    Amount, Currency, ErrorCode,
    problem::Retry,
    provider::path,
    signature::{KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_hex},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::{
    login::{self, Http},
    pace::Pace,
    record::{Answer, Op, PlayerLog, hash_of, wall_clock_ms},
    run::{Addresses, Run, Stage, Target, back_off, over, reachable},
    wire,
};

pub const PROVIDER_ID: &str = "sandbox";
pub const KEY_ID: &str = "sandbox-1";

/// One player as the studio knows it.
struct Guest {
    index: u32,
    session: Uuid,
    currency: Currency,
    /// The accepted bet whose win comes next: its index and its round.
    open: Option<u32>,
    log: PlayerLog,
}

/// A call that is to be made until it is answered.
struct Call {
    path: &'static str,
    body: Bytes,
    guest: usize,
    op: usize,
    intended: Instant,
}

enum Answered {
    Yes,
    /// The run ended first.
    Never,
}

pub struct Connection {
    number: u32,
    http: Http,
    host: String,
    guests: Vec<Guest>,
    next_guest: usize,
    random: SmallRng,
    stage: watch::Receiver<Stage>,
    over_stage: watch::Receiver<Stage>,
    target: watch::Receiver<Target>,
}

impl Connection {
    /// Connection `number` of `connections` serves every player whose number leaves it as the rest.
    pub fn new(number: u32, connections: u32, players: u32, run: &Run) -> Self {
        let guest = |index| Guest { index, session: Uuid::nil(), currency: Currency::EUR, open: None, log: PlayerLog::default() };
        Self {
            number,
            http: Http::default(),
            host: String::new(),
            guests: (number..players).step_by(connections as usize).map(guest).collect(),
            next_guest: 0,
            random: SmallRng::seed_from_u64(run.seed ^ (u64::from(number) << 32)),
            stage: run.stage.clone(),
            over_stage: run.stage.clone(),
            target: run.target.clone(),
        }
    }

    /// From login to the last answer; gives back what every player's calls were, by player number.
    pub async fn run(mut self, run: &Run) -> Vec<(u32, PlayerLog)> {
        let mut over_stage = self.over_stage.clone();
        let set_up = tokio::select! {
            biased;
            () = over(&mut over_stage) => Ok(false),
            set_up = self.set_up(run) => set_up.map(|()| true),
        };
        match set_up {
            Ok(true) => {
                run.stats.connected.fetch_add(1, Relaxed);
                self.play(run).await;
                run.stats.connected.fetch_sub(1, Relaxed);
            }
            Ok(false) => {}
            Err(error) => run.stats.error(|| format!("a connection could not be set up: {error:#}")),
        }
        self.guests.into_iter().map(|guest| (guest.index, guest.log)).collect()
    }

    async fn set_up(&mut self, run: &Run) -> Result<()> {
        let addresses = reachable(&mut self.target, &mut self.over_stage).await.context("the run is over")?;
        let mut public = Http::default();
        for guest in 0..self.guests.len() {
            self.seat(guest, &mut public, addresses, run).await?;
        }
        Ok(())
    }

    /// Logs a player in and launches the game as the studio's page would.
    async fn seat(&mut self, guest: usize, public: &mut Http, addresses: Addresses, run: &Run) -> Result<()> {
        #[derive(Deserialize)]
        struct Authenticated {
            player_id: Uuid,
            session_id: Uuid,
            currency: Currency,
        }
        let index = self.guests[guest].index;
        login::login(public, addresses.http, index).await?;
        let launch_token = login::launch(public, addresses.http, index, run.game.as_str()).await?;
        self.connect(addresses).await?;
        let body = serde_json::to_vec(&protocol::provider::Authenticate { launch_token })?;
        let (status, reply, _) = self.post(path::AUTHENTICATE, body.into(), run).await?;
        ensure!(status == StatusCode::OK, "authenticate answered {status}: {}", String::from_utf8_lossy(&reply));
        let Authenticated { player_id, session_id, currency } = serde_json::from_slice(&reply)?;
        let guest = &mut self.guests[guest];
        (guest.log.player, guest.session, guest.currency) = (player_id, session_id, currency);
        Ok(())
    }

    async fn connect(&mut self, addresses: Addresses) -> Result<()> {
        if !self.http.is_connected() {
            self.host = addresses.provider.to_string();
            self.http.connect(addresses.provider).await?;
        }
        Ok(())
    }

    async fn post(&mut self, path: &str, body: Bytes, run: &Run) -> Result<(StatusCode, Bytes, bool)> {
        let timestamp = wall_clock_ms().to_string();
        let signature = sign_hex(run.secret.as_bytes(), "POST", path, &timestamp, &body);
        let headers = [(KEY_HEADER, KEY_ID), (TIMESTAMP_HEADER, timestamp.as_str()), (SIGNATURE_HEADER, signature.as_str())];
        let reply = self.http.post(&self.host, path, body, &headers).await?;
        Ok((reply.status, reply.body, reply.replayed))
    }

    async fn play(&mut self, run: &Run) {
        let mut pace = None;
        let phase = self.random.random();
        while !self.guests.is_empty() {
            let stage = *self.stage.borrow_and_update();
            let since = match stage {
                Stage::Draining | Stage::Over => return,
                Stage::Playing { since } if !run.idle && run.may_send() => since,
                _ => {
                    if self.stage.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            let pace = pace.get_or_insert_with(|| Pace::new(run.rate_per_sender, since, phase));
            let Some(intended) = pace.take(Instant::now()) else {
                let wake = pace.wake().unwrap_or_else(Instant::now);
                tokio::select! {
                    () = tokio::time::sleep_until(wake) => {}
                    _ = self.stage.changed() => {}
                }
                continue;
            };
            let call = self.next_call(intended, run);
            if let Answered::Never = self.call(&call, run).await {
                return;
            }
        }
    }

    /// The win of the guest's open bet, or a bet of the next guest.
    fn next_call(&mut self, intended: Instant, run: &Run) -> Call {
        let number = self.next_guest;
        let win = self.random_win(run.stake);
        let guest = &mut self.guests[number];
        let (player, session, currency) = (guest.log.player, guest.session, guest.currency);
        let op = guest.log.ops.len();
        let id = run.ids.make(wall_clock_ms(), guest.index, op as u32);
        guest.log.ops.push(Op::sent(id));
        let mut body = format!("{{\"transaction_id\":\"{id}\",\"player_id\":\"{player}\",\"currency\":\"{currency}\"");
        // Writing to a string cannot fail.
        let (path, written) = match guest.open.take() {
            None => {
                let (game, amount) = (run.game, currency.format(Amount(run.stake)));
                let rest = write!(
                    body,
                    ",\"round_id\":\"{id}\",\"session_id\":\"{session}\",\"game_id\":\"{game}\",\"amount\":\"{amount}\"}}"
                );
                (path::BET, rest)
            }
            Some(bet) => {
                let (bet, amount) = (guest.log.ops[bet as usize].id, currency.format(Amount(win)));
                let rest = write!(
                    body,
                    ",\"round_id\":\"{bet}\",\"bet_transaction_id\":\"{bet}\",\"amount\":\"{amount}\",\"is_final\":true}}"
                );
                guest.log.ops[op].net = Some(win.saturating_sub(run.stake));
                (path::WIN, rest)
            }
        };
        debug_assert!(written.is_ok());
        if path == path::BET {
            // The stake moves from cash to in play, so in all nothing changes.
            guest.log.ops[op].net = Some(0);
        }
        run.stats.sent.fetch_add(1, Relaxed);
        run.stats.in_flight.fetch_add(1, Relaxed);
        Call { path, body: body.into(), guest: number, op, intended }
    }

    /// Mostly nothing, sometimes several stakes; in the mean some 94 % come back.
    fn random_win(&mut self, stake: i64) -> i64 {
        match self.random.random_range(0..100) {
            0..70 => 0,
            70..90 => stake,
            90..98 => stake.saturating_mul(4),
            _ => stake.saturating_mul(21),
        }
    }

    /// Makes a call until it has its final answer.
    async fn call(&mut self, call: &Call, run: &Run) -> Answered {
        let mut over_stage = self.over_stage.clone();
        tokio::select! {
            biased;
            answered = self.call_until_answered(call, run) => answered,
            () = over(&mut over_stage) => Answered::Never,
        }
    }

    async fn call_until_answered(&mut self, call: &Call, run: &Run) -> Answered {
        let mut attempts = 0;
        loop {
            let Some(addresses) = reachable(&mut self.target, &mut self.over_stage).await else { return Answered::Never };
            if attempts > 0 {
                tokio::time::sleep(back_off(attempts)).await;
            }
            attempts += 1;
            let sent_at = Instant::now();
            let answer = self.attempt(call, addresses, run).await;
            let now = Instant::now();
            match answer {
                Ok((StatusCode::OK, body, replayed)) if self.accepted(call, &body, replayed, now, run) => return Answered::Yes,
                Ok((StatusCode::OK, ..)) => {}
                Ok((status, body, _)) if self.refused(call, status, &body, now, run) => return Answered::Yes,
                Ok(_) => {}
                Err(error) => self.connection_lost(sent_at, &error, run).await,
            }
        }
    }

    async fn attempt(&mut self, call: &Call, addresses: Addresses, run: &Run) -> Result<(StatusCode, Bytes, bool)> {
        self.connect(addresses).await?;
        self.post(call.path, call.body.clone(), run).await
    }

    /// The sender counts as gone until it reaches the server again.
    async fn connection_lost(&mut self, sent_at: Instant, error: &anyhow::Error, run: &Run) {
        run.stats.connection_lost(std::iter::once(sent_at), &format!("{error:#}"));
        run.stats.connected.fetch_sub(1, Relaxed);
        let mut attempts = 1;
        while let Some(addresses) = reachable(&mut self.target, &mut self.over_stage).await {
            match self.connect(addresses).await {
                Ok(()) => break,
                Err(_) => tokio::time::sleep(back_off(attempts)).await,
            }
            attempts += 1;
        }
        run.stats.connected.fetch_add(1, Relaxed);
    }

    /// Whether the answer could be read and is kept.
    fn accepted(&mut self, call: &Call, body: &Bytes, replayed: bool, now: Instant, run: &Run) -> bool {
        let numbers = std::str::from_utf8(body).ok().and_then(|text| wire::read_money(text).ok().flatten());
        let Some(numbers) = numbers else {
            run.stats.error(|| format!("a reply cannot be read: {}", String::from_utf8_lossy(body)));
            return false;
        };
        let guest = &mut self.guests[call.guest];
        let op = &mut guest.log.ops[call.op];
        op.answer = Answer::Accepted(numbers);
        op.reply_hash = hash_of(body);
        if replayed {
            run.stats.replayed.fetch_add(1, Relaxed);
        }
        run.stats.answered(self.number, call.intended, now, true);
        if call.path == path::BET {
            guest.open = Some(call.op as u32);
        } else {
            run.stats.rounds.fetch_add(1, Relaxed);
            self.next_guest = (call.guest + 1) % self.guests.len();
        }
        true
    }

    /// Whether the refusal is final; it is kept then.
    fn refused(&mut self, call: &Call, status: StatusCode, body: &Bytes, now: Instant, run: &Run) -> bool {
        let text = String::from_utf8_lossy(body);
        let Ok(refusal) = wire::read_refusal(&text) else {
            run.stats.error(|| format!("{} answered {status} without a problem: {text}", call.path));
            return false;
        };
        run.stats.code(refusal.code);
        if refusal.retry != Retry::Never {
            run.stats.error(|| format!("to be repeated: {}", refusal.code));
            return false;
        }
        if refusal.code == ErrorCode::IdConflict {
            run.stats.error(|| format!("an id was called used before with other content: {}", String::from_utf8_lossy(&call.body)));
        }
        let op = &mut self.guests[call.guest].log.ops[call.op];
        op.answer = Answer::Refused(refusal.code);
        op.net = None;
        op.reply_hash = hash_of(body);
        run.stats.answered(self.number, call.intended, now, false);
        self.next_guest = (call.guest + 1) % self.guests.len();
        true
    }
}
