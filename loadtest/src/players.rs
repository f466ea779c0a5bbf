//! Players over WebSocket. [`Player`] decides what to send and takes answers in, without IO; [`play`] moves its frames;
//! [`run_player`] connects, and connects again after a break, until everything sent has been answered.

use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    ErrorCode,
    frame::{ClientFrame, Hello, Request},
    problem::Retry,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use uuid::Uuid;

use crate::{
    login::{self, Http},
    pace::Pace,
    record::{Answer, OTHER_INDEX, Op, PlayerLog, hash_of, wall_clock_ms},
    run::{Run, Stage, back_off, over, reachable},
    wire::{self, Incoming, SpinFrame},
};

/// Unanswered operations of one player in the open loop; later ones wait, their latency counting on.
const IN_FLIGHT_MAX: usize = 4;
/// Connections that are being opened at the same time.
pub const CONNECTING_MAX: usize = 32;
/// Attempts to connect in a row before a player gives up.
const CONNECT_ATTEMPTS_MAX: u32 = 60;
/// An attempt to log in, connect and say hello takes at most this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// An idle connection of a tester of ten thousand players should cost little here as well.
const READ_BUFFER_BYTES: usize = 2_048;

/// An operation without its final answer.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    op: u32,
    /// The time it was meant to leave.
    intended: Instant,
    state: Sending,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Sent(Instant),
    /// To be sent (again) then.
    Due(Instant),
}

#[derive(Debug)]
enum Step {
    Send(String),
    /// Nothing to send before this time, or before the next answer.
    Wait(Option<Instant>),
    Done,
}

pub struct Player {
    index: u32,
    frame: SpinFrame,
    stake: i64,
    pace: Option<Pace>,
    phase: f64,
    log: PlayerLog,
    unanswered: Vec<Unanswered>,
    /// The newest balance version seen; where a resumed session continues.
    version: u64,
    hellos: u32,
    /// The connection no longer serves: open another and ask again.
    reconnect: bool,
}

impl Player {
    pub fn new(index: u32, run: &Run) -> Self {
        Self {
            index,
            frame: SpinFrame::new(run.game, run.stake),
            stake: run.stake,
            pace: None,
            phase: SmallRng::seed_from_u64(run.seed ^ (u64::from(index) << 32)).random(),
            log: PlayerLog::default(),
            unanswered: Vec::new(),
            version: 0,
            hellos: 0,
            reconnect: false,
        }
    }

    /// The next thing to do. Repeats come first, so a player's operations keep their order.
    fn step(&mut self, now: Instant, stage: Stage, run: &Run) -> Step {
        if let Some(entry) = self.unanswered.iter_mut().find(|entry| matches!(entry.state, Sending::Due(at) if at <= now)) {
            entry.state = Sending::Sent(now);
            entry.attempts += 1;
            return Step::Send(self.frame.text(self.log.ops[entry.op as usize].id));
        }
        let mut wake =
            self.unanswered.iter().filter_map(|entry| if let Sending::Due(at) = entry.state { Some(at) } else { None }).min();
        match stage {
            Stage::Ready => {}
            Stage::Over => return Step::Done,
            Stage::Draining if self.unanswered.is_empty() => return Step::Done,
            Stage::Draining => {}
            Stage::Playing { .. } if run.idle => {}
            Stage::Playing { since } => {
                let pace = self.pace.get_or_insert_with(|| Pace::new(run.rate_per_sender, since, self.phase));
                let window = if *pace == Pace::Closed { 1 } else { IN_FLIGHT_MAX };
                if self.unanswered.len() < window && (self.log.ops.len() as u32) < OTHER_INDEX && run.may_send() {
                    if let Some(intended) = pace.take(now) {
                        return Step::Send(self.send_new(intended, now, run));
                    }
                    wake = [wake, pace.wake()].into_iter().flatten().min();
                }
            }
        }
        Step::Wait(wake)
    }

    fn send_new(&mut self, intended: Instant, now: Instant, run: &Run) -> String {
        let op = self.log.ops.len() as u32;
        let id = run.ids.make(wall_clock_ms(), self.index, op);
        self.log.ops.push(Op::sent(id));
        self.unanswered.push(Unanswered { op, intended, state: Sending::Sent(now), attempts: 1 });
        run.stats.sent.fetch_add(1, Relaxed);
        run.stats.in_flight.fetch_add(1, Relaxed);
        self.frame.text(id)
    }

    /// Takes a frame of the server in.
    fn receive(&mut self, text: &str, now: Instant, run: &Run) {
        match wire::read_frame(text) {
            Ok(Incoming::Push) => {}
            Ok(Incoming::Accepted { re, body, replayed }) => self.accepted(re, body, replayed, now, run),
            Ok(Incoming::Refused { re: Some(re), body }) => self.refused(re, body, now, run),
            Ok(Incoming::Refused { re: None, body }) => {
                run.stats.error(|| format!("a frame was refused without its id: {body}"));
                self.reconnect = true;
            }
            Err(error) => run.stats.error(|| format!("a frame cannot be read ({error}): {text}")),
        }
    }

    fn position(&self, re: Uuid, run: &Run) -> Option<usize> {
        let (player, op) = run.ids.locate(re)?;
        let index = self.unanswered.iter().position(|entry| entry.op as usize == op)?;
        (player == self.index as usize && self.log.ops[op].id == re).then_some(index)
    }

    fn accepted(&mut self, re: Uuid, body: &str, replayed: bool, now: Instant, run: &Run) {
        let Some(position) = self.position(re, run) else { return self.answered_again(re, body, run) };
        let (numbers, net) = match wire::read_spin(body, self.stake) {
            Ok(read) => read,
            Err(error) => return run.stats.error(|| format!("a reply cannot be read ({error}): {body}")),
        };
        let Unanswered { op, intended, .. } = self.unanswered.remove(position);
        let op = &mut self.log.ops[op as usize];
        op.answer = Answer::Accepted(numbers);
        op.net = net;
        op.reply_hash = hash_of(body.as_bytes());
        self.version = self.version.max(numbers.version);
        if replayed {
            run.stats.replayed.fetch_add(1, Relaxed);
        }
        run.stats.answered(self.index, intended, now, true);
    }

    /// A second answer to an id must be the first one again.
    fn answered_again(&self, re: Uuid, body: &str, run: &Run) {
        let known =
            run.ids.locate(re).filter(|(player, _)| *player == self.index as usize).and_then(|(_, op)| self.log.ops.get(op));
        if known.is_none_or(|op| op.id != re || op.reply_hash != hash_of(body.as_bytes())) {
            run.stats.error(|| format!("an answer nobody waits for, or another one than before: {re} {body}"));
        }
    }

    fn refused(&mut self, re: Uuid, body: &str, now: Instant, run: &Run) {
        let refusal = match wire::read_refusal(body) {
            Ok(refusal) => refusal,
            Err(error) => return run.stats.error(|| format!("a refusal cannot be read ({error}): {body}")),
        };
        run.stats.code(refusal.code);
        let Some(position) = self.position(re, run) else { return self.answered_again(re, body, run) };
        let entry = &mut self.unanswered[position];
        if wire::is_about_connection(refusal.code) {
            self.reconnect = true;
        }
        if refusal.retry != Retry::Never || wire::is_about_connection(refusal.code) {
            run.stats.error(|| format!("to be repeated: {}", refusal.code));
            entry.state = Sending::Due(now + back_off(entry.attempts));
            return;
        }
        if refusal.code == ErrorCode::IdConflict {
            run.stats.error(|| format!("an id was called used before with other content: {re}"));
        }
        let Unanswered { op, intended, .. } = self.unanswered.remove(position);
        let op = &mut self.log.ops[op as usize];
        op.answer = Answer::Refused(refusal.code);
        op.reply_hash = hash_of(body.as_bytes());
        run.stats.answered(self.index, intended, now, false);
    }

    /// The connection broke: what was sent and not answered goes out first on the next one.
    fn connection_lost(&mut self, why: &dyn std::fmt::Display, now: Instant, run: &Run) {
        let sent = self.unanswered.iter().filter_map(|entry| if let Sending::Sent(at) = entry.state { Some(at) } else { None });
        run.stats.connection_lost(sent, why);
        for entry in &mut self.unanswered {
            entry.state = Sending::Due(now);
        }
        self.reconnect = false;
    }
}

/// Plays on one connection. `Ok` when nothing is left to do, an error when the connection is lost.
async fn play<S>(ws: &mut WebSocketStream<S>, player: &mut Player, run: &Run, stage: &mut watch::Receiver<Stage>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let now_stage = *stage.borrow_and_update();
        let mut wrote = false;
        let wake = loop {
            match player.step(Instant::now(), now_stage, run) {
                Step::Send(text) => {
                    ws.feed(Message::Text(text.into())).await?;
                    wrote = true;
                }
                Step::Wait(wake) => break wake,
                Step::Done => return Ok(()),
            }
        };
        if wrote {
            ws.flush().await?;
        }
        tokio::select! {
            biased;
            frame = ws.next() => match frame {
                Some(Ok(Message::Text(text))) => player.receive(text.as_str(), Instant::now(), run),
                Some(Ok(Message::Close(close))) => bail!("closed by the server: {close:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("end of stream"),
            },
            () = sleep_until(wake) => {}
            changed = stage.changed() => changed.context("the run is gone")?,
        }
        if player.reconnect {
            bail!("the server asks for a new connection");
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Opens a WebSocket and says hello; the server's version of the balance must not lie behind what was acknowledged.
async fn connect(
    player: &mut Player,
    token: &mut Option<String>,
    address: SocketAddr,
    run: &Run,
) -> Result<WebSocketStream<TcpStream>> {
    let current = match token.clone() {
        Some(current) => current,
        None => {
            let logged_in = login::login(&mut Http::default(), address, player.index).await?;
            player.log.player = logged_in.player_id;
            token.insert(logged_in.token).clone()
        }
    };
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
    let (mut ws, _) = tokio_tungstenite::client_async_with_config(format!("ws://{address}/ws"), stream, Some(config)).await?;
    if let Err(error) = say_hello(&mut ws, player, current, run).await {
        // Whatever was wrong with the old token, a new login settles it.
        *token = None;
        return Err(error);
    }
    Ok(ws)
}

async fn say_hello<S>(ws: &mut WebSocketStream<S>, player: &mut Player, token: String, run: &Run) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    #[derive(Deserialize)]
    struct Welcome {
        player: Uuid,
        balance: protocol::Balance,
    }
    let id = run.ids.make(wall_clock_ms(), player.index, OTHER_INDEX | player.hellos);
    player.hellos = (player.hellos + 1) & (OTHER_INDEX - 1);
    let resume_from = (player.version > 0).then_some(player.version);
    let frame = ClientFrame { id: protocol::RequestId(id), request: Request::Hello(Hello { token, resume_from }) };
    ws.send(Message::Text(frame.to_text().into())).await?;
    loop {
        let Message::Text(text) = ws.next().await.context("closed during hello")?? else { continue };
        match wire::read_frame(&text)? {
            Incoming::Accepted { re, body, .. } if re == id => {
                let welcome: Welcome = serde_json::from_str(body).context("reading the welcome")?;
                if welcome.balance.version < player.version {
                    let (now, before) = (welcome.balance.version, player.version);
                    run.stats.error(|| format!("the balance went back from version {before} to {now}"));
                }
                player.log.player = welcome.player;
                return Ok(());
            }
            Incoming::Refused { body, .. } => bail!("hello refused: {body}"),
            _ => {}
        }
    }
}

/// One player from login to its last answer; gives back everything it sent.
pub async fn run_player(mut player: Player, run: &Run, connecting: &Semaphore) -> PlayerLog {
    let (mut stage, mut target) = (run.stage.clone(), run.target.clone());
    let mut over_stage = run.stage.clone();
    let mut token = None;
    let mut failures = 0;
    while failures < CONNECT_ATTEMPTS_MAX {
        let Some(address) = reachable(&mut target, &mut over_stage).await else { break };
        let attempt = async {
            let _permit = connecting.acquire().await?;
            tokio::time::timeout(CONNECT_TIMEOUT, connect(&mut player, &mut token, address.http, run))
                .await
                .context("connecting took too long")?
        };
        let connected = tokio::select! {
            biased;
            () = over(&mut over_stage) => break,
            connected = attempt => connected,
        };
        let mut ws = match connected {
            Ok(ws) => ws,
            Err(error) => {
                failures += 1;
                run.stats.connection_lost(std::iter::empty(), &format!("{error:#}"));
                tokio::time::sleep(back_off(failures)).await;
                continue;
            }
        };
        failures = 0;
        run.stats.connected.fetch_add(1, Relaxed);
        let played = play(&mut ws, &mut player, run, &mut stage).await;
        run.stats.connected.fetch_sub(1, Relaxed);
        match played {
            Ok(()) => {
                drop(ws.close(None).await);
                break;
            }
            Err(error) => player.connection_lost(&format!("{error:#}"), Instant::now(), run),
        }
    }
    player.log
}

#[cfg(test)]
#[path = "players_tests.rs"]
mod tests;
