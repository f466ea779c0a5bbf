//! The jackpots of a shard's wallet: contributions applied in batch order, one pool row per commit, wins in the same commit.
//!
//! This module never decides what a jackpot does ([`rules::jackpot`] does); it keeps the live meters beside their stored
//! version, seals the hidden thresholds and turns meters into units that end the batch.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use protocol::{
    AccountCode, Amount, EventHeader, EventPack, Fact, JackpotId, Leg, PlayerId, RecordKey, Slug, Timestamp, TraceId,
    event::JackpotMetered,
};
use ractor::ActorProcessingErr;
use rules::jackpot::{JackpotSpec, JackpotState, Meter, Moved, Secret};
use smallvec::SmallVec;
use storage::{RecordWrite, Source, UnitKey, UnitOfWork};

use super::{WalletArguments, message::Submission};
use crate::{catalogue::Catalogue, env::Env, sealing::Sealer};

/// A meter between commits.
#[derive(Clone)]
struct Live {
    version: u64,
    state: JackpotState,
    main: Amount,
    reserve: Amount,
    secret: Secret,
}

pub struct Jackpots {
    live: BTreeMap<JackpotId, Live>,
    catalogue: Arc<Catalogue>,
    sealer: Arc<Sealer>,
    env: Arc<dyn Env>,
}

/// The meters as they will be once the batch is durable, and who has won.
#[derive(Default)]
pub struct Settled {
    touched: BTreeMap<JackpotId, Live>,
    pub winners: Vec<Winner>,
}

/// A jackpot win, for the winner's actor.
#[derive(Clone, Debug)]
pub struct Winner {
    pub player: PlayerId,
    pub jackpot: JackpotId,
    pub amount: Amount,
    pub round: String,
}

impl Jackpots {
    /// Reads every configured jackpot's record; those without one wait for [`Jackpots::seeds`].
    pub async fn load(args: &WalletArguments) -> Result<Self, ActorProcessingErr> {
        let mut live = BTreeMap::new();
        for spec in &args.catalogue.jackpots {
            let key = RecordKey::jackpot(spec.id);
            let Some(record) = args.ledger.record(key).await? else { continue };
            let state = JackpotState::decode(&record.bytes)?;
            let secret = args.sealer.open(spec.id, state.cycle, &state.sealed)?;
            let book = spec.book();
            let main = record.holdings.get(&book, AccountCode::JackpotMain, 0);
            let reserve = record.holdings.get(&book, AccountCode::JackpotReserve, 0);
            live.insert(spec.id, Live { version: record.version, state, main, reserve, secret });
        }
        Ok(Self { live, catalogue: Arc::clone(&args.catalogue), sealer: Arc::clone(&args.sealer), env: Arc::clone(&args.env) })
    }

    /// The units that fund jackpots seen for the first time.
    pub fn seeds(&self) -> Result<(Vec<UnitOfWork>, Settled), ActorProcessingErr> {
        let mut units = Vec::new();
        let mut settled = Settled::default();
        for spec in self.catalogue.jackpots.iter().filter(|spec| !self.live.contains_key(&spec.id)) {
            let (secret, sealed) = self.draw(spec, 1)?;
            let seed = Meter::seed_plan(spec, &secret, sealed);
            let live = Live { version: 0, state: seed.state, main: spec.seed, reserve: Amount::ZERO, secret };
            let id = format!("{}:1", spec.id);
            units.push(self.unit("jackpot-seed", id.as_bytes(), spec, &seed.legs, &live, vec![seed.fact], None, self.trace())?);
            settled.touched.insert(spec.id, Live { version: 1, ..live });
        }
        Ok((units, settled))
    }

    /// Applies the batch's contributions in order. The answer's units go last into the same transaction.
    pub fn settle(&self, batch: &[Box<Submission>]) -> Result<(Vec<UnitOfWork>, Settled), ActorProcessingErr> {
        let mut units = Vec::new();
        let mut settled = Settled::default();
        let mut moved: BTreeMap<JackpotId, Moved> = BTreeMap::new();
        for submission in batch {
            for contribution in &submission.contributions {
                let Some(spec) = self.catalogue.jackpot(contribution.jackpot) else { continue };
                let Some(base) = self.live.get(&spec.id) else { continue };
                let live = settled.touched.entry(spec.id).or_insert_with(|| base.clone());
                let mut meter = Meter { spec, state: live.state.clone(), main: live.main, reserve: live.reserve };
                let step = meter.contribute(contribution.micro)?;
                let sum = moved.entry(spec.id).or_default();
                *sum = sum.plus(step)?;
                let crossed = contribution.may_trigger && meter.crossed(&live.secret);
                (live.state, live.main, live.reserve) = (meter.state.clone(), meter.main, meter.reserve);
                if crossed {
                    let sum = moved.remove(&spec.id).unwrap_or_default();
                    self.meter_unit(spec, live, sum, &mut units)?;
                    self.win_unit(spec, live, submission, &mut units, &mut settled.winners)?;
                }
            }
        }
        for (id, sum) in moved {
            let (Some(spec), Some(live)) = (self.catalogue.jackpot(id), settled.touched.get_mut(&id)) else { continue };
            self.meter_unit(spec, live, sum, &mut units)?;
        }
        Ok((units, settled))
    }

    /// The batch is durable: its meters are the live ones.
    pub fn adopt(&mut self, settled: Settled) {
        self.live.extend(settled.touched);
    }

    /// What a batch moved into (or out of) a pool, as one unit.
    fn meter_unit(
        &self,
        spec: &JackpotSpec,
        live: &mut Live,
        moved: Moved,
        units: &mut Vec<UnitOfWork>,
    ) -> Result<(), ActorProcessingErr> {
        let legs = rules::jackpot::moved_legs(spec, &moved);
        let fact = Fact::JackpotMetered(JackpotMetered {
            jackpot: spec.id,
            cycle: live.state.cycle,
            currency: spec.currency,
            main: moved.main,
            reserve: moved.reserve,
            diversion: moved.diversion,
            shown: live.main,
        });
        let id = self.env.uuid();
        let facts = if legs.is_empty() { Vec::new() } else { vec![fact] };
        units.push(self.unit("jackpot", id.as_bytes(), spec, &legs, live, facts, None, self.trace())?);
        live.version += 1;
        Ok(())
    }

    fn win_unit(
        &self,
        spec: &JackpotSpec,
        live: &mut Live,
        submission: &Submission,
        units: &mut Vec<UnitOfWork>,
        winners: &mut Vec<Winner>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(row) = submission.unit.records.iter().find(|write| write.key.kind == protocol::OwnerKind::Player) else {
            return Err("a contribution came without its player's row".into());
        };
        let player = PlayerId(uuid::Uuid::from_bytes(row.key.id));
        let (next, sealed) = self.draw(spec, live.state.cycle + 1)?;
        let mut meter = Meter { spec, state: live.state.clone(), main: live.main, reserve: live.reserve };
        let round = submission.round.to_string();
        let cycle = live.state.cycle;
        let win = meter.win(&live.secret, &next, sealed, player, &round)?;
        (live.state, live.main, live.reserve, live.secret) = (meter.state, meter.main, meter.reserve, next);
        let touch = RecordWrite { key: row.key, expected: row.expected + 1, bytes: None };
        let id = format!("{}:{cycle}", spec.id);
        units.push(self.unit(
            "jackpot-win",
            id.as_bytes(),
            spec,
            &win.legs,
            live,
            vec![win.fact],
            Some(touch),
            submission.trace,
        )?);
        live.version += 1;
        winners.push(Winner { player, jackpot: spec.id, amount: win.amount, round });
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one unit, named where it is made")]
    fn unit(
        &self,
        source: &str,
        id: &[u8],
        spec: &JackpotSpec,
        legs: &[Leg],
        live: &Live,
        facts: Vec<Fact>,
        winner: Option<RecordWrite>,
        trace: TraceId,
    ) -> Result<UnitOfWork, ActorProcessingErr> {
        let now = self.env.now();
        let source: Slug = source.parse()?;
        let player = winner.as_ref().map(|touch| PlayerId(uuid::Uuid::from_bytes(touch.key.id)));
        let own =
            RecordWrite { key: RecordKey::jackpot(spec.id), expected: live.version, bytes: Some(Bytes::from(live.state.encode())) };
        Ok(UnitOfWork {
            key: UnitKey::new(Source::System(source), id),
            body_hash: blake3::hash(id).into(),
            at: now,
            legs: SmallVec::from_slice(legs),
            guards: SmallVec::new(),
            records: std::iter::once(own).chain(winner).collect(),
            events: self.pack(spec, facts, player, trace, now),
            reply: Bytes::new(),
        })
    }

    fn pack(&self, spec: &JackpotSpec, facts: Vec<Fact>, player: Option<PlayerId>, trace: TraceId, at: Timestamp) -> Bytes {
        let Some(brand) = self.catalogue.brand(spec.tenant) else { return Bytes::new() };
        if facts.is_empty() {
            return Bytes::new();
        }
        let header =
            EventHeader { id: self.env.uuid().into(), at, tenant: spec.tenant, region: brand.region, player, session: None, trace };
        Bytes::from(EventPack::new(header, facts).to_bytes())
    }

    fn trace(&self) -> TraceId {
        TraceId(self.env.uuid())
    }

    /// The next cycle's hidden threshold, drawn and sealed.
    fn draw(&self, spec: &JackpotSpec, cycle: u64) -> Result<(Secret, Vec<u8>), ActorProcessingErr> {
        let mut entropy = [0; 64];
        self.env.fill(&mut entropy);
        let secret = rules::jackpot::draw_secret(spec, &entropy);
        let mut nonce = [0; 24];
        self.env.fill(&mut nonce);
        let sealed = self.sealer.seal(spec.id, cycle, &secret, nonce)?;
        Ok((secret, sealed))
    }
}
