//! The registry: the running actor of each player and round, and the connection each player is seated at.

use std::{
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::{DashMap, mapref::entry::Entry};
use protocol::{PlayerId, RecordKey, TenantId, frame::push};
use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use tokio::sync::mpsc;

use super::Shared;
use crate::{
    pipeline::showman::Tick,
    player::{PlayerActor, PlayerArguments, PlayerMessage},
    round::{RoundActor, RoundArguments, RoundMessage},
};

/// Sends that may fail because the actor just went, before the message is given up (its ports then say "unknown").
const SEND_ATTEMPTS_MAX: usize = 3;

/// Actors of finished instant rounds that wait for another round.
const PARKED_ROUNDS_MAX: usize = 1_024;

/// Where pushes of a player go.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Grows with each connection of this process.
    pub id: u64,
    pub pushes: mpsc::Sender<Push>,
    /// Counts pushes left out because the queue was full.
    pub dropped: Arc<AtomicU64>,
    /// Whose jackpots and board it hears of.
    pub tenant: TenantId,
    pub watches_board: Arc<AtomicBool>,
}

/// One push, without its sequence number: the connection numbers what it sends.
#[derive(Clone, Debug)]
pub struct Push {
    pub name: &'static str,
    /// JSON.
    pub data: Arc<str>,
    /// The connection ends after this push.
    pub closes: bool,
}

impl Connection {
    /// Queues a push; a full queue leaves it out and counts it.
    fn push(&self, push: Push) {
        if self.pushes.try_send(push).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Seat<M> {
    actor: ActorRef<M>,
    /// Milliseconds since the registry was made.
    last_used_ms: AtomicU64,
}

/// Who runs and who listens.
pub struct Registry {
    players: DashMap<PlayerId, Seat<PlayerMessage>>,
    rounds: DashMap<RecordKey, Seat<RoundMessage>>,
    by_actor: DashMap<ActorId, Seated>,
    parked_rounds: Mutex<Vec<ActorRef<RoundMessage>>>,
    connections: DashMap<PlayerId, Connection>,
    players_keeper: RwLock<Option<ActorCell>>,
    rounds_keeper: RwLock<Option<ActorCell>>,
    made: Instant,
}

#[derive(Clone, Copy)]
enum Seated {
    Player(PlayerId),
    Round(RecordKey),
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            players: DashMap::new(),
            rounds: DashMap::new(),
            by_actor: DashMap::new(),
            parked_rounds: Mutex::new(Vec::new()),
            connections: DashMap::new(),
            players_keeper: RwLock::new(None),
            rounds_keeper: RwLock::new(None),
            made: Instant::now(),
        }
    }
}

impl Registry {
    // Players.

    /// Sends to a player's actor, starting it when it does not run.
    pub fn send(&self, shared: &Arc<Shared>, player: PlayerId, mut message: PlayerMessage) {
        for _ in 0..SEND_ATTEMPTS_MAX {
            let Some(actor) = self.player(shared, player) else { return };
            match actor.send_message(message) {
                Ok(()) => return,
                Err(ractor::MessagingErr::SendErr(back)) => {
                    self.forget_player(player, actor.get_id());
                    message = back;
                }
                Err(_) => return,
            }
        }
    }

    /// Tells a player's actor if it runs; a sleeping one reads its row when it wakes.
    pub fn tell(&self, player: PlayerId, message: PlayerMessage) {
        if let Some(seat) = self.players.get(&player) {
            drop(seat.actor.send_message(message));
        }
    }

    fn player(&self, shared: &Arc<Shared>, player: PlayerId) -> Option<ActorRef<PlayerMessage>> {
        let now_ms = self.now_ms();
        if let Some(seat) = self.players.get(&player) {
            seat.last_used_ms.store(now_ms, Ordering::Relaxed);
            return Some(seat.actor.clone());
        }
        let keeper = keeper(&self.players_keeper)?;
        match self.players.entry(player) {
            Entry::Occupied(seat) => Some(seat.get().actor.clone()),
            Entry::Vacant(place) => {
                let arguments = PlayerArguments { id: player, shared: Arc::clone(shared) };
                let (actor, _) = ActorRuntime::spawn_linked_instant(None, PlayerActor, arguments, keeper).ok()?;
                self.by_actor.insert(actor.get_id(), Seated::Player(player));
                place.insert(Seat { actor: actor.clone(), last_used_ms: AtomicU64::new(now_ms) });
                Some(actor)
            }
        }
    }

    fn forget_player(&self, player: PlayerId, actor: ActorId) {
        self.players.remove_if(&player, |_, seat| seat.actor.get_id() == actor);
        self.by_actor.remove(&actor);
    }

    // Rounds.

    /// A round that lives for one stake and is in no table. Its actor is one that has finished an earlier round, or a new one:
    /// starting and ending an actor costs more than the bet it carries.
    pub fn instant_round(&self, shared: &Arc<Shared>, mut message: RoundMessage) {
        while let Some(actor) = self.parked().pop() {
            match actor.send_message(message) {
                Ok(()) => return,
                // It was killed while it waited.
                Err(ractor::MessagingErr::SendErr(back)) => message = back,
                Err(_) => return,
            }
        }
        let Some(keeper) = keeper(&self.rounds_keeper) else { return };
        let arguments = RoundArguments { record: None, shared: Arc::clone(shared) };
        if let Ok((actor, _)) = ActorRuntime::spawn_linked_instant(None, RoundActor, arguments, keeper) {
            drop(actor.send_message(message));
        }
    }

    /// Keeps a round's actor for another round, or lets it go when enough wait.
    pub fn park_round(&self, actor: &ActorRef<RoundMessage>) {
        let mut parked = self.parked();
        if parked.len() < PARKED_ROUNDS_MAX { parked.push(actor.clone()) } else { actor.stop(None) }
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Vec<ActorRef<RoundMessage>>> {
        self.parked_rounds.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends to a held round's actor, starting it when it does not run.
    pub fn send_round(&self, shared: &Arc<Shared>, record: RecordKey, mut message: RoundMessage) {
        for _ in 0..SEND_ATTEMPTS_MAX {
            let Some(actor) = self.round(shared, record) else { return };
            match actor.send_message(message) {
                Ok(()) => return,
                Err(ractor::MessagingErr::SendErr(back)) => {
                    self.forget_round(record, actor.get_id());
                    message = back;
                }
                Err(_) => return,
            }
        }
    }

    fn round(&self, shared: &Arc<Shared>, record: RecordKey) -> Option<ActorRef<RoundMessage>> {
        let now_ms = self.now_ms();
        if let Some(seat) = self.rounds.get(&record) {
            seat.last_used_ms.store(now_ms, Ordering::Relaxed);
            return Some(seat.actor.clone());
        }
        let keeper = keeper(&self.rounds_keeper)?;
        match self.rounds.entry(record) {
            Entry::Occupied(seat) => Some(seat.get().actor.clone()),
            Entry::Vacant(place) => {
                let arguments = RoundArguments { record: Some(record), shared: Arc::clone(shared) };
                let (actor, _) = ActorRuntime::spawn_linked_instant(None, RoundActor, arguments, keeper).ok()?;
                self.by_actor.insert(actor.get_id(), Seated::Round(record));
                place.insert(Seat { actor: actor.clone(), last_used_ms: AtomicU64::new(now_ms) });
                Some(actor)
            }
        }
    }

    fn forget_round(&self, record: RecordKey, actor: ActorId) {
        self.rounds.remove_if(&record, |_, seat| seat.actor.get_id() == actor);
        self.by_actor.remove(&actor);
    }

    // Upkeep.

    /// An actor ended: its entry goes, unless a successor already has the place.
    pub fn ended(&self, actor: ActorId) {
        match self.by_actor.remove(&actor) {
            Some((_, Seated::Player(player))) => drop(self.players.remove_if(&player, |_, seat| seat.actor.get_id() == actor)),
            Some((_, Seated::Round(record))) => drop(self.rounds.remove_if(&record, |_, seat| seat.actor.get_id() == actor)),
            None => {}
        }
    }

    /// Drains the actors nobody has used for `idle`; connected players stay awake for their expiries.
    pub fn passivate_players(&self, idle: Duration) {
        let oldest = self.now_ms().saturating_sub(millis(idle));
        self.players
            .iter()
            .filter(|seat| seat.last_used_ms.load(Ordering::Relaxed) < oldest && !self.connections.contains_key(seat.key()))
            .for_each(|seat| drop(seat.actor.drain()));
    }

    pub fn passivate_rounds(&self, idle: Duration) {
        let oldest = self.now_ms().saturating_sub(millis(idle));
        self.rounds
            .iter()
            .filter(|seat| seat.last_used_ms.load(Ordering::Relaxed) < oldest)
            .for_each(|seat| drop(seat.actor.drain()));
    }

    pub fn keep_players(&self, keeper: ActorCell) {
        set(&self.players_keeper, keeper);
    }

    pub fn keep_rounds(&self, keeper: ActorCell) {
        set(&self.rounds_keeper, keeper);
    }

    pub fn players_len(&self) -> usize {
        self.players.len()
    }

    pub fn rounds_len(&self) -> usize {
        self.rounds.len()
    }

    /// The running actor of a player, for fault tests.
    pub fn running_player(&self, player: PlayerId) -> Option<ActorCell> {
        self.players.get(&player).map(|seat| seat.actor.get_cell())
    }

    /// Any running players, for fault tests.
    pub fn running_players(&self, max: usize) -> Vec<ActorCell> {
        self.players.iter().take(max).map(|seat| seat.actor.get_cell()).collect()
    }

    /// Any running held rounds, for fault tests.
    pub fn running_rounds(&self, max: usize) -> Vec<ActorCell> {
        self.rounds.iter().take(max).map(|seat| seat.actor.get_cell()).collect()
    }

    // Connections.

    pub fn connect(&self, player: PlayerId, connection: Connection) -> Option<Connection> {
        self.connections.insert(player, connection)
    }

    pub fn disconnect(&self, player: PlayerId, connection: u64) {
        self.connections.remove_if(&player, |_, seated| seated.id == connection);
    }

    pub fn is_connected(&self, player: PlayerId) -> bool {
        self.connections.contains_key(&player)
    }

    pub fn connections_len(&self) -> usize {
        self.connections.len()
    }

    /// Pushes to a player if anybody listens. A full queue drops the push: the connection counts it and tells its client to
    /// resynchronise, so a slow reader never holds an actor.
    pub fn push(&self, player: PlayerId, name: &'static str, data: impl FnOnce() -> String) {
        if let Some(connection) = self.connections.get(&player) {
            connection.push(Push { name, data: data().into(), closes: false });
        }
    }

    /// Tells everybody of a brand what the showman published.
    pub fn cry(&self, tick: &Tick) {
        let board = tick.board.as_deref().and_then(|delta| serde_json::to_string(delta).ok()).map(Arc::<str>::from);
        for connection in self.connections.iter().filter(|connection| connection.tenant == tick.tenant) {
            if let Some(jackpots) = &tick.jackpots {
                connection.push(Push { name: push::JACKPOT, data: Arc::clone(jackpots), closes: false });
            }
            if let Some(board) = board.as_ref().filter(|_| connection.watches_board.load(Ordering::Relaxed)) {
                connection.push(Push { name: push::LEADERBOARD, data: Arc::clone(board), closes: false });
            }
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.made.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn keeper(place: &RwLock<Option<ActorCell>>) -> Option<ActorCell> {
    place.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

fn set(place: &RwLock<Option<ActorCell>>, cell: ActorCell) {
    *place.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(cell);
}
