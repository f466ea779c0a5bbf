//! The round actor: owns one game round, its bets and their order.
//!
//! | kind | lives | record |
//! |---|---|---|
//! | instant hosted round | from stake to settlement, one unit; then it waits, empty, for the next round | none: its facts stand in the unit |
//! | held round of a provider | while it is called, then passivated | [`rules::RoundState`], read at start and after anything unclear |
//!
//! One call is in flight at a time; the others wait, at most `round_waiting_max`. A provider's round is never timed out here:
//! it stays held until the provider or a four-eyes decision ends it.

mod message;

use std::{collections::VecDeque, sync::Arc};

use protocol::{ErrorCode, RecordKey};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rules::RoundState;
use storage::{Ledger, StorageError};

pub use message::{HeldRequest, RoundMessage, SpinCall};

use crate::{
    answer::Port,
    command::{Action, RoundOutcome},
    floor::Shared,
    player::PlayerMessage,
};

pub struct RoundActor;

pub struct RoundArguments {
    /// `None` for an instant round.
    pub record: Option<RecordKey>,
    pub shared: Arc<Shared>,
}

pub struct State {
    shared: Arc<Shared>,
    record: Option<RecordKey>,
    stored: Stored,
    in_flight: Option<u64>,
    next_token: u64,
    waiting: VecDeque<Box<HeldRequest>>,
}

enum Stored {
    Unread,
    Read(Option<(u64, RoundState)>),
}

impl Actor for RoundActor {
    type Msg = RoundMessage;
    type State = State;
    type Arguments = RoundArguments;

    async fn pre_start(&self, _: ActorRef<RoundMessage>, args: RoundArguments) -> Result<State, ActorProcessingErr> {
        let RoundArguments { record, shared } = args;
        let mut state = State { shared, record, stored: Stored::Unread, in_flight: None, next_token: 1, waiting: VecDeque::new() };
        // A store that is away now may be back for the first call, which reads again.
        drop(state.read_record().await);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RoundMessage>,
        message: RoundMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RoundMessage::Spin(call) => state.spin(&myself, *call),
            RoundMessage::Held(request) => Box::pin(state.held(&myself, request)).await,
            RoundMessage::Saved { token, .. } if state.record.is_none() => state.over(&myself, token),
            RoundMessage::Saved { token, outcome } => Box::pin(state.saved(&myself, token, outcome)).await,
        }
        Ok(())
    }
}

impl State {
    /// Hands the stake to the player with the game that will draw for it; the round is over when the player's answer is out.
    fn spin(&mut self, myself: &ActorRef<RoundMessage>, call: SpinCall) {
        let SpinCall { player, mut command, .. } = call;
        command.round = Some(self.port(myself));
        self.shared.registry.send(&self.shared, player, PlayerMessage::Execute(Box::new(command)));
    }

    /// The instant round is settled or refused: the actor is free for another.
    fn over(&mut self, myself: &ActorRef<RoundMessage>, token: u64) {
        if self.in_flight.take_if(|in_flight| *in_flight == token).is_some() {
            self.shared.registry.park_round(myself);
        }
    }

    async fn held(&mut self, myself: &ActorRef<RoundMessage>, request: Box<HeldRequest>) {
        if self.in_flight.is_some() {
            if self.waiting.len() >= self.shared.settings.round_waiting_max {
                request.command.reply.send(ErrorCode::Busy.into());
            } else {
                self.waiting.push_back(request);
            }
            return;
        }
        self.call(myself, *request).await;
    }

    async fn call(&mut self, myself: &ActorRef<RoundMessage>, request: HeldRequest) {
        let HeldRequest { player, mut command } = request;
        if self.read_record().await.is_err() {
            return command.reply.send(ErrorCode::Unavailable.into());
        }
        if let (Action::Held { stored, .. }, Stored::Read(read)) = (&mut command.action, &self.stored) {
            stored.clone_from(read);
        }
        command.round = Some(self.port(myself));
        self.shared.registry.send(&self.shared, player, PlayerMessage::Execute(Box::new(command)));
    }

    async fn saved(&mut self, myself: &ActorRef<RoundMessage>, token: u64, outcome: RoundOutcome) {
        if self.in_flight != Some(token) {
            return;
        }
        self.in_flight = None;
        match outcome {
            RoundOutcome::Saved(stored) => self.stored = Stored::Read(stored),
            RoundOutcome::Unchanged => {}
            RoundOutcome::Unknown => self.stored = Stored::Unread,
        }
        while self.in_flight.is_none() {
            let Some(request) = self.waiting.pop_front() else { return };
            self.call(myself, *request).await;
        }
    }

    fn port(&mut self, myself: &ActorRef<RoundMessage>) -> Port<RoundOutcome> {
        let (actor, token) = (myself.clone(), self.next_token);
        self.next_token += 1;
        self.in_flight = Some(token);
        Port::new(move |outcome| drop(actor.send_message(RoundMessage::Saved { token, outcome })))
    }

    async fn read_record(&mut self) -> Result<(), StorageError> {
        let (Stored::Unread, Some(record)) = (&self.stored, self.record) else { return Ok(()) };
        self.stored = Stored::Read(read(self.shared.ledger.as_ref(), record).await?);
        Ok(())
    }
}

/// A held round's record with its version.
pub async fn read(ledger: &dyn Ledger, key: RecordKey) -> Result<Option<(u64, RoundState)>, StorageError> {
    let Some(record) = ledger.record(key).await? else { return Ok(None) };
    let state = RoundState::decode(&record.bytes).map_err(|error| StorageError::Corrupt(format!("{key}: {error}")))?;
    Ok(Some((record.version, state)))
}
