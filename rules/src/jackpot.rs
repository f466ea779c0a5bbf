//! Must-hit-by jackpots: contribution with exact carry, a hidden threshold committed beforehand, the bet that crosses it wins.
//!
//! All sums are micro units of the jackpot's currency while they add up and whole minor units once they move. The meter is
//! `main · 10⁶ + carry`; what a bet adds is stake × rate, so the chance to cross is proportional to the stake.

use protocol::{
    AccountCode, AccountId, Amount, Book, Currency, Fact, JackpotId, Leg, Micro, MoneyError, PlayerId, RecordKey, Slug, TenantId,
    event,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::{player::DecodeError, postings::house};

/// A jackpot's fixed parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct JackpotSpec {
    pub id: JackpotId,
    pub name: String,
    pub tenant: TenantId,
    pub licence: Slug,
    pub currency: Currency,
    /// What the pool starts a cycle with.
    pub seed: Amount,
    /// The pool is won at or below this.
    pub ceiling: Amount,
    /// Share of each contribution that goes to the reserve, which funds the next seed; parts per million.
    pub reserve_ppm: u32,
}

/// The jackpot's record between commits. The pools' balances are the record's holdings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JackpotState {
    pub cycle: u64,
    /// Below a minor unit and not yet moved.
    pub carry_main: Micro,
    pub carry_reserve: Micro,
    /// Of what ran over the ceiling before a bet that may trigger came.
    pub carry_diversion: Micro,
    /// SHA-256(nonce ‖ what ‖ cycle ‖ threshold), public from the reset on.
    pub commitment: [u8; 32],
    /// Threshold and nonce, encrypted by the shell.
    pub sealed: Vec<u8>,
}

/// The hidden side of a cycle; never logged, emitted or stored in the clear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret {
    pub threshold: Micro,
    pub nonce: [u8; 32],
}

const COMMITMENT_LABEL: &[u8] = b"jackpot:";
const PARTS_PER_MILLION: i128 = 1_000_000;

impl JackpotState {
    const ENCODING_VERSION: u8 = 1;

    /// The bytes the record keeps.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![Self::ENCODING_VERSION]).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&Self::ENCODING_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| DecodeError),
            _ => Err(DecodeError),
        }
    }
}

/// SHA-256(nonce ‖ "jackpot:" ‖ id ‖ cycle ‖ threshold), numbers big-endian.
pub fn commitment(id: JackpotId, cycle: u64, secret: &Secret) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(secret.nonce);
    hash.update(COMMITMENT_LABEL);
    hash.update(id.as_str().as_bytes());
    hash.update(cycle.to_be_bytes());
    hash.update(secret.threshold.0.to_be_bytes());
    hash.finalize().into()
}

/// A threshold uniform in [seed, ceiling] and its nonce, from the shell's 64 bytes of entropy. Reducing 128 bits modulo a span
/// below 2⁶⁴ is off uniform by less than 2⁻⁶⁴.
pub fn draw_secret(spec: &JackpotSpec, entropy: &[u8; 64]) -> Secret {
    let (wide, rest) = entropy.split_at(16);
    let draw = u128::from_be_bytes(wide.try_into().unwrap_or_default());
    let low = spec.seed.0.saturating_mul(Micro::PER_MINOR);
    let high = spec.ceiling.0.saturating_mul(Micro::PER_MINOR).max(low);
    let span = (i128::from(high) - i128::from(low)) as u128 + 1;
    // Below the span, so the sum stays within [low, high].
    let threshold = Micro((i128::from(low) + (draw % span) as i128) as i64);
    let mut nonce = [0; 32];
    nonce.copy_from_slice(&rest[..32]);
    Secret { threshold, nonce }
}

/// A jackpot with its pools' balances, for one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter<'a> {
    pub spec: &'a JackpotSpec,
    pub state: JackpotState,
    /// Balances of the pool and its reserve.
    pub main: Amount,
    pub reserve: Amount,
}

/// Whole units to move between jackpot expense and the pools now; negative ones go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub main: Amount,
    pub reserve: Amount,
    /// What ran over the ceiling; never negative.
    pub diversion: Amount,
    /// What a reversal could not take back, because the pool had been won since: it stays where it was paid from.
    pub retained: Micro,
}

impl Moved {
    /// Both together; a batch moves the sum of its contributions.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        Ok(Self {
            main: self.main.checked_add(other.main)?,
            reserve: self.reserve.checked_add(other.reserve)?,
            diversion: self.diversion.checked_add(other.diversion)?,
            retained: self.retained.checked_add(other.retained)?,
        })
    }
}

/// A jackpot that was won: the pool to its winner, and the next cycle's seed.
#[derive(Clone, Debug, PartialEq)]
pub struct JackpotWin {
    pub amount: Amount,
    pub legs: SmallVec<[Leg; 3]>,
    /// The next cycle; the meter holds the same.
    pub state: JackpotState,
    pub fact: Fact,
}

/// The first cycle of a jackpot.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedPlan {
    pub legs: SmallVec<[Leg; 1]>,
    pub state: JackpotState,
    pub fact: Fact,
}

impl JackpotSpec {
    pub const fn book(&self) -> Book {
        Book { tenant: self.tenant, licence: self.licence, currency: self.currency }
    }

    fn account(&self, code: AccountCode) -> AccountId {
        AccountId::new(RecordKey::jackpot(self.id), code)
    }

    fn leg(&self, from: AccountId, to: AccountId, amount: Amount) -> Option<Leg> {
        amount.is_positive().then(|| Leg { book: self.book(), from, to, amount })
    }
}

impl<'a> Meter<'a> {
    /// What must move when the jackpot comes into being.
    pub fn seed_plan(spec: &'a JackpotSpec, secret: &Secret, sealed: Vec<u8>) -> SeedPlan {
        const FIRST_CYCLE: u64 = 1;
        let commitment = commitment(spec.id, FIRST_CYCLE, secret);
        let zero = Micro::ZERO;
        let state =
            JackpotState { cycle: FIRST_CYCLE, carry_main: zero, carry_reserve: zero, carry_diversion: zero, commitment, sealed };
        let leg = spec.leg(house(AccountCode::JackpotExpense), spec.account(AccountCode::JackpotMain), spec.seed);
        let fact = Fact::JackpotSeeded(event::JackpotSeeded {
            jackpot: spec.id,
            cycle: FIRST_CYCLE,
            currency: spec.currency,
            seed: spec.seed,
            commitment: hex::encode(commitment),
        });
        SeedPlan { legs: leg.into_iter().collect(), state, fact }
    }

    /// Adds a contribution, or takes one back when it is negative, and answers what must move. Nothing is lost: what is below
    /// a unit is carried, what runs over the ceiling is diverted, and a reversal never takes the pool below its seed.
    pub fn contribute(&mut self, micro: Micro) -> Result<Moved, MoneyError> {
        // Truncating division mirrors itself, so a reversal takes exactly what its contribution gave.
        let to_reserve = i128::from(micro.0) * i128::from(self.spec.reserve_ppm) / PARTS_PER_MILLION;
        let to_main = i128::from(micro.0) - to_reserve;
        let seed = i128::from(self.spec.seed.0) * i128::from(Micro::PER_MINOR);
        let ceiling = i128::from(self.spec.ceiling.0) * i128::from(Micro::PER_MINOR);
        let before = self.meter();
        // A pool that stands outside its bounds already (the operator moved them) is left where it is.
        let main = (before + to_main).clamp(seed.min(before), ceiling.max(before));
        let over = before + to_main - main;
        let reserve_before = wide(self.reserve, self.state.carry_reserve);
        let reserve = (reserve_before + to_reserve).max(0);
        let missing = (-over).max(0) + reserve - (reserve_before + to_reserve);
        let diverted = over.max(0) + i128::from(self.state.carry_diversion.0);

        let (main, carry_main) = narrow(main)?;
        let (reserve, carry_reserve) = narrow(reserve)?;
        let (diversion, carry_diversion) = narrow(diverted)?;
        let moved = Moved {
            main: main.checked_sub(self.main)?,
            reserve: reserve.checked_sub(self.reserve)?,
            diversion,
            retained: Micro(i64::try_from(missing).map_err(|_| MoneyError::Overflow)?),
        };
        self.state.carry_main = carry_main;
        self.state.carry_reserve = carry_reserve;
        self.state.carry_diversion = carry_diversion;
        self.main = main;
        self.reserve = reserve;
        Ok(moved)
    }

    /// Whether the meter has reached the hidden threshold.
    pub fn crossed(&self, secret: &Secret) -> bool {
        self.meter() >= i128::from(secret.threshold.0)
    }

    fn meter(&self) -> i128 {
        wide(self.main, self.state.carry_main)
    }

    /// Pays the whole pool to the bet that crossed the threshold and starts the next cycle, its seed from the reserve first.
    /// What is below a unit stays in the meter and opens the next cycle with it.
    pub fn win(
        &mut self,
        secret: &Secret,
        next: &Secret,
        next_sealed: Vec<u8>,
        winner: PlayerId,
        round: &str,
    ) -> Result<JackpotWin, MoneyError> {
        let spec = self.spec;
        let (amount, cycle) = (self.main, self.state.cycle);
        let from_reserve = spec.seed.min(self.reserve).max(Amount::ZERO);
        let from_house = spec.seed.checked_sub(from_reserve)?;
        let pool = spec.account(AccountCode::JackpotMain);
        let cash = AccountId::new(RecordKey::player(winner), AccountCode::Cash);
        let legs = [
            spec.leg(pool, cash, amount),
            spec.leg(spec.account(AccountCode::JackpotReserve), pool, from_reserve),
            spec.leg(house(AccountCode::JackpotExpense), pool, from_house),
        ];
        let next_cycle = cycle.checked_add(1).ok_or(MoneyError::Overflow)?;
        let next_commitment = commitment(spec.id, next_cycle, next);
        self.main = spec.seed;
        self.reserve = self.reserve.checked_sub(from_reserve)?;
        self.state.cycle = next_cycle;
        self.state.commitment = next_commitment;
        self.state.sealed = next_sealed;
        let fact = Fact::JackpotTriggered(event::JackpotTriggered {
            jackpot: spec.id,
            cycle,
            currency: spec.currency,
            player: winner,
            round: round.to_owned(),
            amount,
            threshold: secret.threshold,
            nonce: hex::encode(secret.nonce),
            next_seed: spec.seed,
            next_commitment: hex::encode(next_commitment),
        });
        Ok(JackpotWin { amount, legs: legs.into_iter().flatten().collect(), state: self.state.clone(), fact })
    }
}

/// The legs of what [`Meter::contribute`] moved: expense → pool, or back. The meter never asks for more than a pool has: what a
/// reversal cannot take is retained there, so every leg here can be paid.
pub fn moved_legs(spec: &JackpotSpec, moved: &Moved) -> SmallVec<[Leg; 2]> {
    let expense = house(AccountCode::JackpotExpense);
    let pools = [
        (AccountCode::JackpotMain, moved.main),
        (AccountCode::JackpotReserve, moved.reserve),
        (AccountCode::JackpotDiversion, moved.diversion),
    ];
    let leg = |(code, amount): (AccountCode, Amount)| {
        let pool = spec.account(code);
        let (from, to) = if amount.0 > 0 { (expense, pool) } else { (pool, expense) };
        (!amount.is_zero()).then_some(Leg { book: spec.book(), from, to, amount: Amount(amount.0.saturating_abs()) })
    };
    pools.into_iter().filter_map(leg).collect()
}

fn wide(units: Amount, carry: Micro) -> i128 {
    i128::from(units.0) * i128::from(Micro::PER_MINOR) + i128::from(carry.0)
}

fn narrow(micro: i128) -> Result<(Amount, Micro), MoneyError> {
    let units = i64::try_from(micro.div_euclid(i128::from(Micro::PER_MINOR))).map_err(|_| MoneyError::Overflow)?;
    // The rest of a division by 10⁶ fits.
    Ok((Amount(units), Micro(micro.rem_euclid(i128::from(Micro::PER_MINOR)) as i64)))
}
