//! The floor: who is seated where, and the door the edge knocks at.
//!
//! Players and rounds start lazily on their first message and are drained when idle. The registry is ours (dashmap): an entry
//! goes only when the actor that made it goes, and a send that fails starts the actor anew.

mod keeper;
mod registry;

use std::{collections::HashMap, sync::Arc, time::Instant};

use protocol::{Amount, BetId, ErrorCode, GameId, PlayerId, ProviderId, RecordKey, RequestId, RoundId, Slug, TraceId};
use storage::{Ledger, Source, UnitKey};
use tokio::sync::oneshot;

pub use keeper::{FloorKeeper, Keeper, KeeperArguments, KeeperMessage};
pub use registry::{Connection, Push, Registry};

use crate::{
    admission::Admission,
    answer::Responder,
    catalogue::Catalogue,
    command::{Action, Command, HeldCall, body_hash},
    env::Env,
    game::{OutcomeSource, Seeds},
    player::{PlayerMessage, Snapshot},
    root::Wallets,
    round::{HeldRequest, RoundMessage, SpinCall},
    settings::Settings,
    stats::Stats,
};

/// The house every actor works in.
pub struct Shared {
    pub ledger: Arc<dyn Ledger>,
    pub catalogue: Arc<Catalogue>,
    pub env: Arc<dyn Env>,
    pub wallets: Arc<Wallets>,
    pub registry: Arc<Registry>,
    pub seeds: Seeds,
    pub sources: HashMap<GameId, Arc<dyn OutcomeSource>>,
    pub settings: Arc<Settings>,
    pub stats: Arc<Stats>,
    pub admission: Arc<Admission>,
}

impl Shared {
    /// A command the core itself makes, under a fresh id.
    pub fn own_command(&self, action: Action, reply: Responder) -> Command {
        let id = self.env.uuid();
        let name = Slug::from_known("core");
        Command {
            key: UnitKey::new(Source::System(name), id.as_bytes()),
            body_hash: blake3::hash(id.as_bytes()).into(),
            trace: TraceId(id),
            deadline: Instant::now() + self.settings.command_deadline,
            action,
            reply,
            round: None,
            permit: None,
        }
    }
}

/// The edge's handle on the floor. Cheap to clone.
#[derive(Clone)]
pub struct Floor {
    shared: Arc<Shared>,
}

/// Who asks and how to answer; the edge fills it once per request.
pub struct Asked {
    pub trace: TraceId,
    pub reply: Responder,
}

impl Floor {
    pub const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A hosted spin: a round of its own asks the player.
    pub fn spin(&self, player: PlayerId, id: RequestId, game: GameId, stake: Amount, asked: Asked) {
        let Some(source) = self.shared.sources.get(&game) else { return asked.reply.send(ErrorCode::UnknownGame.into()) };
        let round = RoundId(self.shared.env.uuid());
        let action = Action::Spin { game, stake, round, bet: BetId(id.0), source: Arc::clone(source) };
        let hash = body_hash("spin", &(game, stake));
        let Some(command) = self.command(UnitKey::new(Source::Player(player), id.as_bytes()), hash, action, asked) else { return };
        let call = RoundMessage::Spin(Box::new(SpinCall { player, game, command }));
        self.shared.registry.instant_round(&self.shared, call);
    }

    /// A provider's call about one of its rounds.
    pub fn held(&self, player: PlayerId, provider: ProviderId, round: String, call: HeldCall, hash: [u8; 32], asked: Asked) {
        let record = RecordKey::provider_round(provider, &round);
        let key = UnitKey::new(Source::Provider(provider), call.transaction().as_bytes());
        let action = Action::Held { call, provider, round, stored: None };
        let Some(command) = self.command(key, hash, action, asked) else { return };
        let message = RoundMessage::Held(Box::new(HeldRequest { player, command }));
        self.shared.registry.send_round(&self.shared, record, message);
    }

    /// Any other command of a player or provider.
    pub fn execute(&self, player: PlayerId, key: UnitKey, hash: [u8; 32], action: Action, asked: Asked) {
        let Some(command) = self.command(key, hash, action, asked) else { return };
        self.shared.registry.send(&self.shared, player, PlayerMessage::Execute(Box::new(command)));
    }

    /// A command of the server itself (seeding, sessions), under a key it names or a fresh one.
    pub async fn own(&self, player: PlayerId, key: Option<UnitKey>, action: Action) -> crate::answer::Answer {
        let Some(permit) = self.shared.admission.enter() else { return ErrorCode::Busy.into() };
        let (reply, receiver) = Responder::oneshot();
        let mut command = self.shared.own_command(action, reply);
        command.permit = Some(permit);
        if let Some(key) = key {
            command.body_hash = blake3::hash(&key.id).into();
            command.key = key;
        }
        self.shared.registry.send(&self.shared, player, PlayerMessage::Execute(Box::new(command)));
        receiver.await.unwrap_or_else(|_| ErrorCode::Unknown.into())
    }

    /// What a player looks like now.
    pub async fn snapshot(&self, player: PlayerId) -> Result<Snapshot, ErrorCode> {
        let (reply, receiver) = oneshot::channel();
        self.shared.registry.send(&self.shared, player, PlayerMessage::Snapshot(reply));
        receiver.await.unwrap_or(Err(ErrorCode::Unavailable))
    }

    /// Seats a connection for pushes; the one it replaces, if any, comes back.
    pub fn connect(&self, player: PlayerId, connection: Connection) -> Option<Connection> {
        let replaced = self.shared.registry.connect(player, connection);
        self.shared.registry.send(&self.shared, player, PlayerMessage::Tick);
        replaced
    }

    /// Unseats it, unless another took its place.
    pub fn disconnect(&self, player: PlayerId, connection: u64) {
        self.shared.registry.disconnect(player, connection);
    }

    /// Puts a command at the admission bound, or answers "busy".
    fn command(&self, key: UnitKey, body_hash: [u8; 32], action: Action, asked: Asked) -> Option<Command> {
        let Asked { trace, reply } = asked;
        let Some(permit) = self.shared.admission.enter() else {
            reply.send(ErrorCode::Busy.into());
            return None;
        };
        let deadline = Instant::now() + self.shared.settings.command_deadline;
        Some(Command { key, body_hash, trace, deadline, action, reply, round: None, permit: Some(permit) })
    }
}
