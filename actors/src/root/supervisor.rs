//! The top of the tree.

use std::sync::Arc;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{runtime::Handle, sync::watch};

use super::wallets::{LedgerKeeper, Wallets};
use crate::{
    backoff,
    floor::{FloorKeeper, Keeper, KeeperArguments, Registry},
    pipeline::{PipelineArguments, PipelineKeeper, PipelineMessage},
    wallet::WalletArguments,
};

pub struct Root;

pub struct RootArguments {
    pub wallet: WalletArguments,
    pub wallets: Arc<Wallets>,
    pub registry: Arc<Registry>,
    pub pipeline: PipelineArguments,
    pub pipeline_handle: Handle,
    pub fatal: watch::Sender<Option<String>>,
}

#[derive(Debug)]
pub enum RootMessage {
    Start(Branch),
    /// Passed on to the pipeline.
    Pipeline(PipelineMessage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    Ledger,
    Players,
    Rounds,
    Pipeline,
}

pub struct State {
    args: RootArguments,
    branches: Vec<(ActorId, Branch)>,
    pipeline: Option<ActorRef<PipelineMessage>>,
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = State;
    type Arguments = RootArguments;

    async fn pre_start(&self, myself: ActorRef<RootMessage>, args: RootArguments) -> Result<State, ActorProcessingErr> {
        let mut state = State { args, branches: Vec::new(), pipeline: None };
        for branch in [Branch::Ledger, Branch::Players, Branch::Rounds, Branch::Pipeline] {
            state.start(&myself, branch).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMessage>,
        message: RootMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMessage::Start(branch) => {
                if let Err(error) = state.start(&myself, branch).await {
                    state.fail(format!("{branch:?} did not start again: {error}"));
                }
            }
            RootMessage::Pipeline(message) => {
                if let Some(pipeline) = &state.pipeline {
                    drop(pipeline.send_message(message));
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMessage>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some((cell, reason)) = backoff::ended(event) else { return Ok(()) };
        let Some(at) = state.branches.iter().position(|(id, _)| *id == cell.get_id()) else { return Ok(()) };
        let (_, branch) = state.branches.swap_remove(at);
        tracing::error!(?branch, %reason, "a branch of the tree ended");
        state.args.wallet.stats.restarted("branch");
        match branch {
            Branch::Ledger => state.fail(reason),
            branch => drop(myself.send_message(RootMessage::Start(branch))),
        }
        Ok(())
    }
}

impl State {
    async fn start(&mut self, myself: &ActorRef<RootMessage>, branch: Branch) -> Result<(), ActorProcessingErr> {
        let cell = myself.get_cell();
        let id = match branch {
            Branch::Ledger => {
                let arguments = (self.args.wallet.clone(), Arc::clone(&self.args.wallets));
                Actor::spawn_linked(None, LedgerKeeper, arguments, cell).await?.0.get_id()
            }
            Branch::Players | Branch::Rounds => {
                let kind = if branch == Branch::Players { Keeper::Players } else { Keeper::Rounds };
                let arguments = KeeperArguments {
                    kind,
                    registry: Arc::clone(&self.args.registry),
                    settings: Arc::clone(&self.args.wallet.settings),
                    stats: Arc::clone(&self.args.wallet.stats),
                };
                Actor::spawn_linked(None, FloorKeeper, arguments, cell).await?.0.get_id()
            }
            Branch::Pipeline => {
                // Spawned on its own runtime, so that all its children run there too.
                let arguments = self.args.pipeline.clone();
                let spawned = self.args.pipeline_handle.spawn(Actor::spawn_linked(None, PipelineKeeper, arguments, cell));
                let (pipeline, _) = spawned.await??;
                self.pipeline = Some(pipeline.clone());
                pipeline.get_id()
            }
        };
        self.branches.push((id, branch));
        Ok(())
    }

    fn fail(&self, reason: String) {
        tracing::error!(%reason, "the tree cannot go on");
        drop(self.args.fatal.send(Some(reason)));
    }
}
