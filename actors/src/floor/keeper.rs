//! The keepers: supervisors of the players and of the rounds.
//!
//! Policy: a child that ends or fails is forgotten, never restarted at once: the next message to its player or round starts it
//! anew from storage. Idle children are drained by a bounded sweep.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Registry;
use crate::{settings::Settings, stats::Stats};

/// What a keeper keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    Players,
    Rounds,
}

#[derive(Debug)]
pub enum KeeperMessage {
    Sweep,
}

#[derive(Clone)]
pub struct KeeperArguments {
    pub kind: Keeper,
    pub registry: Arc<Registry>,
    pub settings: Arc<Settings>,
    pub stats: Arc<Stats>,
}

pub struct FloorKeeper;

/// How often idle actors are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Actor for FloorKeeper {
    type Msg = KeeperMessage;
    type State = KeeperArguments;
    type Arguments = KeeperArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<KeeperMessage>,
        args: KeeperArguments,
    ) -> Result<KeeperArguments, ActorProcessingErr> {
        match args.kind {
            Keeper::Players => args.registry.keep_players(myself.get_cell()),
            Keeper::Rounds => args.registry.keep_rounds(myself.get_cell()),
        }
        myself.send_interval(SWEEP_EVERY, || KeeperMessage::Sweep);
        Ok(args)
    }

    async fn handle(
        &self,
        _: ActorRef<KeeperMessage>,
        message: KeeperMessage,
        state: &mut KeeperArguments,
    ) -> Result<(), ActorProcessingErr> {
        match (message, state.kind) {
            (KeeperMessage::Sweep, Keeper::Players) => state.registry.passivate_players(state.settings.player_idle),
            (KeeperMessage::Sweep, Keeper::Rounds) => state.registry.passivate_rounds(state.settings.round_idle),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<KeeperMessage>,
        event: SupervisionEvent,
        state: &mut KeeperArguments,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, _) => state.registry.ended(cell.get_id()),
            SupervisionEvent::ActorFailed(cell, error) => {
                let kind = if state.kind == Keeper::Players { "player" } else { "round" };
                tracing::error!(actor = kind, %error, "an actor failed; it starts anew from storage with its next message");
                state.stats.restarted(kind);
                state.registry.ended(cell.get_id());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
