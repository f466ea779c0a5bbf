//! What a round's actor is told.

use protocol::{GameId, PlayerId};

use crate::command::{Command, RoundOutcome};

/// Messages of the round actor.
#[derive(Debug)]
pub enum RoundMessage {
    /// The one stake of an instant hosted round.
    Spin(Box<SpinCall>),
    /// A provider's call about a held round; its command is a [`crate::command::Action::Held`].
    Held(Box<HeldRequest>),
    /// What became of the call in flight; an older token is of an earlier call.
    Saved { token: u64, outcome: RoundOutcome },
}

/// A player's spin on its way through its round.
#[derive(Debug)]
pub struct SpinCall {
    pub player: PlayerId,
    pub game: GameId,
    pub command: Command,
}

/// A provider's call on its way through its round.
#[derive(Debug)]
pub struct HeldRequest {
    pub player: PlayerId,
    pub command: Command,
}
