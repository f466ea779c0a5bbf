//! The player actor: serialises everything that concerns one player.
//!
//! | phase | what | leaves the actor |
//! |---|---|---|
//! | wait | at most `player_waiting_max` commands behind the one in flight | "busy" over the bound |
//! | decide | pure rules against the row as last read | a unit to the wallet, or a retryable refusal |
//! | in flight | one plan; the receipt comes back as a message | nothing |
//! | settled | the plan's state becomes the cached row | reply, round, pushes |
//!
//! The state is a cache of the player's row: a stale plan reloads it and decides again, a lost receipt submits the same unit
//! again and its key tells what happened.

mod decide;
mod message;
mod unit;

use std::{collections::VecDeque, sync::Arc, time::Duration, time::Instant};

use protocol::{ErrorCode, Fact, PlayerId, RecordKey, Timestamp, event::RawJson, frame, frame::push};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rules::{
    Contribution, Plan, Player as PlayerView, PlayerState, Refused, RoundState, bonus, protection, round::RoundStatus, session,
};
use smallvec::SmallVec;
use storage::{Refusal, UnitOfWork};

pub use message::{PlayerMessage, Snapshot};

use crate::{
    answer::{Answer, Port},
    command::{Action, Command, RoundOutcome},
    floor::Shared,
    game::Seed,
    player::decide::Undecided,
    wallet::{Receipt, RoundName, Submission, Winner},
};

/// The actor; a player's id and the house come with its arguments.
pub struct PlayerActor;

pub struct PlayerArguments {
    pub id: PlayerId,
    pub shared: Arc<Shared>,
}

/// Pause before a lost unit is submitted again.
const RESUBMIT_AFTER: Duration = Duration::from_millis(20);
/// Shortest pause between two looks at expiries.
const TICK_MS_MIN: i64 = 50;

/// What is known of the row.
enum Row {
    /// Not read, or known to be outdated.
    Unread,
    /// The ledger has no such player.
    Absent,
    Read(Box<PlayerView>),
}

pub struct State {
    id: PlayerId,
    shared: Arc<Shared>,
    row: Row,
    in_flight: Option<Box<InFlight>>,
    waiting: VecDeque<Box<Command>>,
    seed: Option<Seed>,
    next_token: u64,
    /// When the earliest armed tick fires; later looks are armed from there.
    tick_at: Option<Timestamp>,
}

/// The one plan under way.
struct InFlight {
    token: u64,
    command: Box<Command>,
    /// Kept to submit it again when the wallet died.
    unit: UnitOfWork,
    contributions: SmallVec<[Contribution; 1]>,
    answer: Answer,
    /// The row after the commit; `None` when the unit does not touch it.
    after: Option<Box<PlayerView>>,
    round_after: Option<(u64, RoundState)>,
    notices: SmallVec<[Fact; 2]>,
    stale_retries: u32,
}

impl Actor for PlayerActor {
    type Msg = PlayerMessage;
    type State = State;
    type Arguments = PlayerArguments;

    async fn pre_start(&self, _: ActorRef<PlayerMessage>, args: PlayerArguments) -> Result<State, ActorProcessingErr> {
        let PlayerArguments { id, shared } = args;
        let mut state = State {
            id,
            shared,
            row: Row::Unread,
            in_flight: None,
            waiting: VecDeque::new(),
            seed: None,
            next_token: 1,
            tick_at: None,
        };
        // A store that is away now may be back for the first command, which reads again.
        drop(state.read_row().await);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<PlayerMessage>,
        message: PlayerMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // What need not read the store runs without a pause; only the rest pays for a future of its own.
        match message {
            PlayerMessage::Execute(command) => {
                if let Some(command) = state.execute(&myself, command) {
                    Box::pin(state.read_and_process(&myself, command, 0)).await;
                }
            }
            PlayerMessage::Receipt { token, receipt: Receipt::Committed { .. } } => {
                if let Some(command) = state.committed(&myself, token) {
                    Box::pin(state.read_and_process(&myself, command, 0)).await;
                }
            }
            PlayerMessage::Receipt { token, receipt } => Box::pin(state.not_committed(&myself, token, receipt)).await,
            PlayerMessage::Resubmit { token } => state.resubmit(&myself, token),
            PlayerMessage::JackpotWon(winner) => Box::pin(state.jackpot_won(&winner)).await,
            PlayerMessage::Snapshot(reply) => {
                let snapshot = Box::pin(state.snapshot()).await;
                drop(reply.send(snapshot));
            }
            PlayerMessage::Tick => Box::pin(state.tick(&myself)).await,
        }
        Ok(())
    }
}

impl State {
    /// Takes a command in; it comes back when deciding it has to read the store.
    fn execute(&mut self, myself: &ActorRef<PlayerMessage>, command: Box<Command>) -> Option<Box<Command>> {
        if self.in_flight.is_some() {
            if self.waiting.len() >= self.shared.settings.player_waiting_max {
                command.reply.send(ErrorCode::Busy.into());
            } else {
                self.waiting.push_back(command);
            }
            return None;
        }
        self.process(myself, command)
    }

    /// Takes up waiting commands until one is in flight, or one has to read the store.
    fn next(&mut self, myself: &ActorRef<PlayerMessage>) -> Option<Box<Command>> {
        while self.in_flight.is_none() {
            let command = self.waiting.pop_front()?;
            if let Some(command) = self.process(myself, command) {
                return Some(command);
            }
        }
        None
    }

    /// Decides one command from what is known and submits its unit; gives it back when that is not enough.
    fn process(&mut self, myself: &ActorRef<PlayerMessage>, command: Box<Command>) -> Option<Box<Command>> {
        let started = Instant::now();
        if started > command.deadline || matches!(command.action, Action::Held { .. }) {
            return Some(command);
        }
        let Row::Read(player) = &self.row else { return Some(command) };
        match decide::decide(&self.shared, self.id, Some(player), &mut self.seed, &command.action) {
            Ok((plan, detail)) => self.submit_plan(myself, command, plan, detail.as_ref(), 0),
            Err(Undecided::Refused(refused)) if refused.why.is_final() => self.submit_refusal(myself, command, refused, 0),
            Err(_) => return Some(command),
        }
        self.shared.stats.step("decide", started.elapsed());
        None
    }

    /// Reads what is missing and decides one command, then takes up those that wait.
    async fn read_and_process(&mut self, myself: &ActorRef<PlayerMessage>, command: Box<Command>, stale_retries: u32) {
        let mut next = Some((command, stale_retries));
        while let Some((command, stale_retries)) = next {
            self.decide_with_store(myself, command, stale_retries).await;
            next = self.next(myself).map(|command| (command, 0));
        }
    }

    async fn decide_with_store(&mut self, myself: &ActorRef<PlayerMessage>, command: Box<Command>, stale_retries: u32) {
        let started = Instant::now();
        if started > command.deadline {
            return self.finish(*command, ErrorCode::DeadlinePassed.into(), RoundOutcome::Unchanged);
        }
        if self.read_row().await.is_err() {
            let code = if matches!(command.action, Action::Spin { .. }) { ErrorCode::LimitUnknown } else { ErrorCode::Unavailable };
            return self.finish(*command, code.into(), RoundOutcome::Unchanged);
        }
        let row = match &self.row {
            Row::Read(player) => Some(player.as_ref()),
            _ => None,
        };
        let decided = match &command.action {
            Action::Held { .. } => decide::held(&self.shared, row, &command.action, stale_retries > 0).await,
            action => decide::decide(&self.shared, self.id, row, &mut self.seed, action),
        };
        match decided {
            Ok((plan, detail)) => self.submit_plan(myself, command, plan, detail.as_ref(), stale_retries),
            Err(Undecided::Refused(refused)) if refused.why.is_final() => {
                self.submit_refusal(myself, command, refused, stale_retries)
            }
            Err(Undecided::Refused(refused)) => self.answer_unstored(command, Answer::problem(&refused.why.problem())).await,
            Err(Undecided::Unknown(code)) => self.answer_unstored(command, code.into()).await,
            Err(Undecided::Unavailable) => self.finish(*command, ErrorCode::Unavailable.into(), RoundOutcome::Unchanged),
        }
        self.shared.stats.step("decide", started.elapsed());
    }

    fn submit_plan(
        &mut self,
        myself: &ActorRef<PlayerMessage>,
        command: Box<Command>,
        mut plan: Plan,
        detail: Option<&RawJson>,
        stale_retries: u32,
    ) {
        let shared = Arc::clone(&self.shared);
        let Some(brand) = shared.catalogue.brand(plan.player.state.tenant) else {
            return self.finish(*command, ErrorCode::Unavailable.into(), RoundOutcome::Unchanged);
        };
        let book = brand.book(plan.player.state.currency);
        let answer = match crate::reply::encode(&command.action, &plan, &book, detail) {
            Ok(answer) => answer,
            Err(error) => {
                let answer = Answer::problem(&rules::Rejected::Money(error).problem());
                return self.finish(*command, answer, RoundOutcome::Unchanged);
            }
        };
        let notices = notices(&plan.facts);
        let unit = unit::of_plan(&command, &mut plan, brand, &answer, shared.env.as_ref(), shared.env.now());
        let round_after = plan.round.map(|(_, expected, state)| (expected + 1, state));
        self.submit(
            myself,
            InFlight {
                token: 0,
                command,
                unit,
                contributions: plan.contributions,
                answer,
                after: Some(Box::new(plan.player)),
                round_after,
                notices,
                stale_retries,
            },
        );
    }

    /// A final refusal becomes a unit without legs; any other is told and forgotten.
    fn submit_refusal(&mut self, myself: &ActorRef<PlayerMessage>, command: Box<Command>, refused: Refused, stale_retries: u32) {
        let answer = Answer::problem(&refused.why.problem());
        let shared = Arc::clone(&self.shared);
        let Row::Read(player) = &self.row else { return self.finish(*command, answer, RoundOutcome::Unchanged) };
        let Some(brand) = shared.catalogue.brand(player.state.tenant) else {
            return self.finish(*command, ErrorCode::Unavailable.into(), RoundOutcome::Unchanged);
        };
        if matches!(command.action, Action::Tick) {
            return self.finish(*command, answer, RoundOutcome::Unchanged);
        }
        let notices = notices(&refused.facts);
        let (env, at) = (shared.env.as_ref(), shared.env.now());
        let unit = unit::of_refusal(&command, player, refused.player.as_ref(), refused.facts, brand, &answer, env, at);
        let after = refused.player.map(Box::new);
        let contributions = SmallVec::new();
        self.submit(
            myself,
            InFlight { token: 0, command, unit, contributions, answer, after, round_after: None, notices, stale_retries },
        );
    }

    /// Nothing of this answer is stored; so a command that was carried out before must not be told it, but its first answer.
    async fn answer_unstored(&self, command: Box<Command>, answer: Answer) {
        let answer = match self.shared.ledger.unit_by_key(command.key.clone()).await {
            Ok(Some(unit)) if unit.body_hash == command.body_hash => Answer::from_stored(&unit.reply),
            Ok(Some(_)) => ErrorCode::IdConflict.into(),
            Ok(None) => answer,
            Err(_) => ErrorCode::Unavailable.into(),
        };
        self.finish(*command, answer, RoundOutcome::Unchanged);
    }

    fn submit(&mut self, myself: &ActorRef<PlayerMessage>, mut in_flight: InFlight) {
        in_flight.token = self.next_token;
        self.next_token += 1;
        self.send_unit(myself, &in_flight);
        self.in_flight = Some(Box::new(in_flight));
    }

    fn send_unit(&self, myself: &ActorRef<PlayerMessage>, in_flight: &InFlight) {
        let (actor, token) = (myself.clone(), in_flight.token);
        let round = match &in_flight.command.action {
            _ if in_flight.contributions.is_empty() => RoundName::None,
            Action::Spin { round, .. } => RoundName::Hosted(*round),
            Action::Held { round, .. } => RoundName::Provider(round.clone()),
            _ => RoundName::None,
        };
        self.shared.wallets.submit(
            self.id,
            Submission {
                unit: in_flight.unit.clone(),
                contributions: in_flight.contributions.clone(),
                round,
                trace: in_flight.command.trace,
                submitted_at: Instant::now(),
                port: Port::new(move |receipt| drop(actor.send_message(PlayerMessage::Receipt { token, receipt }))),
            },
        );
    }

    fn resubmit(&mut self, myself: &ActorRef<PlayerMessage>, token: u64) {
        if let Some(in_flight) = self.in_flight.as_ref().filter(|in_flight| in_flight.token == token) {
            self.send_unit(myself, in_flight);
        }
    }

    /// The plan in flight is durable: its state becomes the cached row. Answers a waiting command that has to read the store.
    fn committed(&mut self, myself: &ActorRef<PlayerMessage>, token: u64) -> Option<Box<Command>> {
        let InFlight { command, answer, after, round_after, notices, .. } = *self.take_in_flight(token)?;
        if let Some(after) = after {
            self.row = Row::Read(after);
        }
        self.push_after(&command.action, round_after.as_ref(), &notices);
        let outcome = if round_after.is_some() { RoundOutcome::Saved(round_after) } else { RoundOutcome::Unchanged };
        self.finish(*command, answer, outcome);
        self.arm_tick(myself);
        self.next(myself)
    }

    fn take_in_flight(&mut self, token: u64) -> Option<Box<InFlight>> {
        self.in_flight.take_if(|in_flight| in_flight.token == token)
    }

    async fn not_committed(&mut self, myself: &ActorRef<PlayerMessage>, token: u64, receipt: Receipt) {
        if receipt == Receipt::Unknown {
            if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.token == token) {
                // The same unit again, until it is known what became of it.
                myself.send_after(RESUBMIT_AFTER, move || PlayerMessage::Resubmit { token });
            }
            return;
        }
        let Some(in_flight) = self.take_in_flight(token) else { return };
        match receipt {
            Receipt::Refused(refusal) => self.unit_refused(myself, *in_flight, refusal).await,
            _ => self.finish(*in_flight.command, ErrorCode::Unavailable.into(), RoundOutcome::Unchanged),
        }
        if let Some(command) = self.next(myself) {
            self.read_and_process(myself, command, 0).await;
        }
    }

    /// The ledger refused the unit alone.
    async fn unit_refused(&mut self, myself: &ActorRef<PlayerMessage>, in_flight: InFlight, refusal: Refusal) {
        let InFlight { mut command, stale_retries, .. } = in_flight;
        match refusal {
            Refusal::Replay { reply, .. } => {
                // The first answer may stand in a row that is newer than the one known here.
                self.row = Row::Unread;
                self.finish(*command, Answer::from_stored(&reply), RoundOutcome::Unknown);
            }
            Refusal::Conflict => {
                self.row = Row::Unread;
                self.finish(*command, ErrorCode::IdConflict.into(), RoundOutcome::Unknown);
            }
            Refusal::Stale { .. } | Refusal::SameBatch if stale_retries < self.shared.settings.stale_retries_max => {
                self.row = Row::Unread;
                match self.reload_round(&mut command.action).await {
                    Ok(()) => self.decide_with_store(myself, command, stale_retries + 1).await,
                    Err(_) => self.finish(*command, ErrorCode::Unavailable.into(), RoundOutcome::Unknown),
                }
            }
            Refusal::Stale { .. } | Refusal::SameBatch => {
                self.row = Row::Unread;
                self.finish(*command, ErrorCode::Busy.into(), RoundOutcome::Unknown);
            }
            Refusal::Invalid { reason } => {
                tracing::error!(player = %self.id, action = command.action.name(), %reason, "the ledger found a plan invalid");
                self.row = Row::Unread;
                self.finish(*command, ErrorCode::Internal.into(), RoundOutcome::Unknown);
            }
        }
    }

    async fn reload_round(&self, action: &mut Action) -> Result<(), storage::StorageError> {
        let Action::Held { provider, round, stored, .. } = action else { return Ok(()) };
        *stored = crate::round::read(self.shared.ledger.as_ref(), RecordKey::provider_round(*provider, round)).await?;
        Ok(())
    }

    fn finish(&self, command: Command, answer: Answer, round: RoundOutcome) {
        command.reply.send(answer);
        if let Some(port) = command.round {
            port.send(round);
        }
    }

    async fn read_row(&mut self) -> Result<(), storage::StorageError> {
        if matches!(self.row, Row::Read(_)) {
            // An absent player may have been opened by a predecessor's unit in flight; the guard on version zero tells.
            return Ok(());
        }
        self.row = match self.shared.ledger.record(RecordKey::player(self.id)).await? {
            None => Row::Absent,
            Some(record) => {
                let state = PlayerState::decode(&record.bytes)
                    .map_err(|error| storage::StorageError::Corrupt(format!("player {}: {error}", self.id)))?;
                Row::Read(Box::new(PlayerView { id: self.id, version: record.version, holdings: record.holdings, state }))
            }
        };
        Ok(())
    }

    async fn jackpot_won(&mut self, winner: &Winner) {
        // The row moved without this actor; whatever is in flight is stale and will be decided again.
        self.row = Row::Unread;
        self.shared.registry.push(self.id, push::JACKPOT_WON, || {
            serde_json::json!({ "jackpot": winner.jackpot, "amount": winner.amount, "round": winner.round }).to_string()
        });
        if self.read_row().await.is_ok() {
            self.push_balance();
        }
    }

    async fn snapshot(&mut self) -> Result<Snapshot, ErrorCode> {
        if self.in_flight.is_none() {
            self.read_row().await.map_err(|_| ErrorCode::Unavailable)?;
        }
        let Row::Read(player) = &self.row else { return Err(ErrorCode::UnknownPlayer) };
        let brand = self.shared.catalogue.brand(player.state.tenant).ok_or(ErrorCode::Unavailable)?;
        let book = brand.book(player.state.currency);
        let now = self.shared.env.now();
        let fairness = &player.state.fairness;
        let previous = fairness.seed_index.checked_sub(1).map(|index| hex::encode(self.shared.seeds.seed(self.id, index).seed));
        Ok(Snapshot {
            player: self.id,
            tenant: player.state.tenant,
            currency: player.state.currency,
            session: player.state.session.map(|session| (session.id, session.started_at)),
            balance: player.balance(&book).map_err(|_| ErrorCode::Unavailable)?,
            bonus: bonus::view(player, &book),
            reality_check: protection::reality_view(player, now).filter(|_| is_reality_pending(player)),
            fairness: frame::FairnessView {
                seed_hash: self.shared.seeds.seed(self.id, fairness.seed_index).hash,
                client_seed: fairness.client_seed.clone(),
                nonce: fairness.nonce,
                previous_seed: previous,
            },
            limits: protection::limit_views(brand, player, now),
        })
    }

    // Time.

    /// Fires what is due as an idempotent unit of its own.
    async fn tick(&mut self, myself: &ActorRef<PlayerMessage>) {
        self.tick_at = None;
        if self.in_flight.is_none() && self.is_due() {
            let command = self.shared.own_command(Action::Tick, crate::answer::Responder::nobody());
            self.read_and_process(myself, Box::new(command), 0).await;
        }
        self.arm_tick(myself);
    }

    fn is_due(&self) -> bool {
        self.next_due().is_some_and(|due| due <= self.shared.env.now())
    }

    fn next_due(&self) -> Option<Timestamp> {
        let Row::Read(player) = &self.row else { return None };
        let brand = self.shared.catalogue.brand(player.state.tenant)?;
        session::next_due(brand, player)
    }

    /// A connected player is looked at when the next expiry is due; a passivated one needs no timer, it ticks when it is next read.
    fn arm_tick(&mut self, myself: &ActorRef<PlayerMessage>) {
        if !self.shared.registry.is_connected(self.id) {
            return;
        }
        let Some(due) = self.next_due().filter(|due| self.tick_at.is_none_or(|at| *due < at)) else { return };
        let wait_ms = due.since_ms(self.shared.env.now()).max(TICK_MS_MIN);
        self.tick_at = Some(due);
        myself.send_after(Duration::from_millis(wait_ms.unsigned_abs()), || PlayerMessage::Tick);
    }

    // Pushes.

    fn push_after(&self, action: &Action, round: Option<&(u64, RoundState)>, notices: &[Fact]) {
        if !action.is_own() {
            self.push_balance();
            if let Some((version, round)) = round {
                self.shared.registry.push(self.id, push::ROUND, || {
                    let status = match round.status {
                        RoundStatus::Open => "open",
                        RoundStatus::Closed => "settled",
                        RoundStatus::Voided => "voided",
                    };
                    serde_json::json!({ "round": round.round, "game": round.game, "status": status, "version": version })
                        .to_string()
                });
            }
        }
        notices.iter().for_each(|fact| self.push_notice(fact));
    }

    fn push_balance(&self) {
        let Row::Read(player) = &self.row else { return };
        let Some(brand) = self.shared.catalogue.brand(player.state.tenant) else { return };
        if let Ok(balance) = player.balance(&brand.book(player.state.currency)) {
            self.shared.registry.push(self.id, push::BALANCE, || serde_json::to_string(&balance).unwrap_or_default());
        }
    }

    fn push_notice(&self, fact: &Fact) {
        let name = match fact {
            Fact::RealityCheckShown(_) | Fact::RealityCheckAcknowledged(_) => push::REALITY_CHECK,
            Fact::LimitHit(_) | Fact::LimitSet(_) => push::LIMIT,
            Fact::SessionEnded(ended) => {
                let notice = frame::SessionNotice { notice: "ended".to_owned(), detail: ended.reason.clone() };
                return self.shared.registry.push(self.id, push::SESSION, || serde_json::to_string(&notice).unwrap_or_default());
            }
            _ => push::BONUS,
        };
        let Row::Read(player) = &self.row else { return };
        self.shared.registry.push(self.id, name, || match fact {
            Fact::RealityCheckShown(_) => {
                let view = protection::reality_view(player, self.shared.env.now());
                serde_json::to_string(&view).unwrap_or_default()
            }
            Fact::RealityCheckAcknowledged(_) => "null".to_owned(),
            _ => serde_json::json!({ "event": fact.event_type(), "data": fact }).to_string(),
        });
    }
}

fn is_reality_pending(player: &PlayerView) -> bool {
    player.state.session.is_some_and(|session| session.reality_pending)
}

/// The facts a player is told about while connected.
fn notices(facts: &[Fact]) -> SmallVec<[Fact; 2]> {
    let told = |fact: &&Fact| {
        matches!(
            fact,
            Fact::RealityCheckShown(_)
                | Fact::RealityCheckAcknowledged(_)
                | Fact::LimitHit(_)
                | Fact::LimitSet(_)
                | Fact::SessionEnded(_)
                | Fact::BonusIssued(_)
                | Fact::BonusCompleted(_)
                | Fact::BonusForfeited(_)
                | Fact::BonusExpired(_)
        )
    };
    facts.iter().filter(told).cloned().collect()
}
