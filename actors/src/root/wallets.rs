//! The wallets' supervisor, and the handle by which units find the wallet of their player's shard.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use protocol::PlayerId;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::{
    backoff::{self, Backoff},
    wallet::{Submission, Wallet, WalletArguments, WalletMessage},
};

/// Where each shard's wallet is, while it runs.
pub struct Wallets {
    shards: Vec<RwLock<Option<ActorRef<WalletMessage>>>>,
}

impl Wallets {
    pub fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| RwLock::new(None)).collect() }
    }

    /// The shard of a player: fixed for as long as the number of shards is, which is for ever.
    pub fn shard_of(&self, player: PlayerId) -> u16 {
        let bytes = player.as_bytes();
        let tail = u64::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]);
        (tail % self.shards.len().max(1) as u64) as u16
    }

    /// Hands a unit to its wallet; without one the port says "unknown" and the submitter tries again.
    pub fn submit(&self, player: PlayerId, submission: Submission) {
        if let Some(wallet) = self.wallet(self.shard_of(player)) {
            drop(wallet.send_message(WalletMessage::Submit(Box::new(submission))));
        }
    }

    /// Waits until every wallet has nothing queued or in flight.
    pub async fn drain(&self, max: Duration) {
        for shard in 0..self.shards.len() as u16 {
            let Some(wallet) = self.wallet(shard) else { continue };
            let (done, drained) = oneshot::channel();
            if wallet.send_message(WalletMessage::Drain(done)).is_ok() {
                drop(tokio::time::timeout(max, drained).await);
            }
        }
    }

    pub fn cells(&self) -> Vec<ActorCell> {
        (0..self.shards.len() as u16).filter_map(|shard| self.wallet(shard)).map(|wallet| wallet.get_cell()).collect()
    }

    /// Whether every shard has a running wallet: the server can take bets.
    pub fn are_ready(&self) -> bool {
        (0..self.shards.len() as u16).all(|shard| self.wallet(shard).is_some())
    }

    fn wallet(&self, shard: u16) -> Option<ActorRef<WalletMessage>> {
        self.shards.get(usize::from(shard))?.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn set(&self, shard: u16, wallet: Option<ActorRef<WalletMessage>>) {
        if let Some(place) = self.shards.get(usize::from(shard)) {
            *place.write().unwrap_or_else(std::sync::PoisonError::into_inner) = wallet;
        }
    }
}

pub struct LedgerKeeper;

#[derive(Debug)]
pub enum LedgerKeeperMessage {
    Restart { shard: u16 },
}

pub struct LedgerKeeperState {
    args: WalletArguments,
    wallets: Arc<Wallets>,
    running: HashMap<ActorId, u16>,
    backoffs: HashMap<u16, Backoff>,
}

impl Actor for LedgerKeeper {
    type Msg = LedgerKeeperMessage;
    type State = LedgerKeeperState;
    type Arguments = (WalletArguments, Arc<Wallets>);

    async fn pre_start(
        &self,
        myself: ActorRef<LedgerKeeperMessage>,
        (args, wallets): Self::Arguments,
    ) -> Result<LedgerKeeperState, ActorProcessingErr> {
        let shards = wallets.shards.len() as u16;
        let mut state = LedgerKeeperState { args, wallets, running: HashMap::new(), backoffs: HashMap::new() };
        // The first start must succeed: a server that cannot open its ledger does not open its doors.
        for shard in 0..shards {
            state.start(&myself, shard).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<LedgerKeeperMessage>,
        LedgerKeeperMessage::Restart { shard }: LedgerKeeperMessage,
        state: &mut LedgerKeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match state.start(&myself, shard).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(shard, %error, "a wallet did not start");
                state.again(&myself, shard)
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<LedgerKeeperMessage>,
        event: SupervisionEvent,
        state: &mut LedgerKeeperState,
    ) -> Result<(), ActorProcessingErr> {
        let Some((cell, reason)) = backoff::ended(event) else { return Ok(()) };
        let Some(shard) = state.running.remove(&cell.get_id()) else { return Ok(()) };
        tracing::error!(shard, %reason, "a wallet ended; its successor takes a new epoch");
        state.wallets.set(shard, None);
        state.args.stats.restarted("wallet");
        state.again(&myself, shard)
    }
}

impl LedgerKeeperState {
    async fn start(&mut self, myself: &ActorRef<LedgerKeeperMessage>, shard: u16) -> Result<(), ActorProcessingErr> {
        let arguments = WalletArguments { shard, ..self.args.clone() };
        let (wallet, _) = Actor::spawn_linked(None, Wallet, arguments, myself.get_cell()).await?;
        self.running.insert(wallet.get_id(), shard);
        self.wallets.set(shard, Some(wallet));
        Ok(())
    }

    fn again(&mut self, myself: &ActorRef<LedgerKeeperMessage>, shard: u16) -> Result<(), ActorProcessingErr> {
        let pause = self.backoffs.entry(shard).or_default().failed(Instant::now(), &self.args.settings);
        let Some(pause) = pause else { return Err(format!("the wallet of shard {shard} failed too often").into()) };
        myself.send_after(pause, move || LedgerKeeperMessage::Restart { shard });
        Ok(())
    }
}
