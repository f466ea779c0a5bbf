//! A small casino that commits lawful random units: what projections are tested and measured with.

use bytes::Bytes;
use protocol::{
    AccountCode, AccountId, Amount, Balance, BetId, Book, Currency, EventHeader, EventId, EventPack, Fact, Leg, Micro, PlayerId,
    ProviderId, RecordKey, RoundId, TenantId, Timestamp, TraceId, event,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use smallvec::{SmallVec, smallvec};
use storage::{RecordWrite, Source, StoredUnit, UnitKey, UnitOfWork};
use uuid::Uuid;

pub const SHARD: u16 = 0;
const STAKE: i64 = 100;

pub struct Player {
    pub id: PlayerId,
    pub cash: i64,
    pub in_play: i64,
    pub version: u64,
}

struct Held {
    player: usize,
    round: String,
    provider: ProviderId,
    bet: BetId,
}

/// Everything by seed.
pub struct World {
    rng: StdRng,
    pub players: Vec<Player>,
    held: Vec<Held>,
    /// Instant and settled rounds that a jackpot or a reversal may still reach.
    recent: Vec<(usize, String, ProviderId)>,
    pub sequence: u64,
    pub at: Timestamp,
    ids: u64,
    /// Share of spins among the units, in percent.
    pub spins_percent: u32,
}

pub fn book() -> Book {
    Book { tenant: TenantId("demo".parse().unwrap()), licence: "mga".parse().unwrap(), currency: Currency::EUR }
}

pub fn provider(number: usize) -> ProviderId {
    ProviderId(["house", "studio"][number].parse().unwrap())
}

pub fn cash_of(player: PlayerId) -> AccountId {
    AccountId::new(RecordKey::player(player), AccountCode::Cash)
}

pub fn revenue(provider: ProviderId) -> AccountId {
    AccountId::new(RecordKey::house(provider), AccountCode::Revenue)
}

fn house(code: AccountCode) -> AccountId {
    AccountId::new(RecordKey::HOUSE, code)
}

fn leg(from: AccountId, to: AccountId, amount: i64) -> Leg {
    Leg { book: book(), from, to, amount: Amount(amount) }
}

impl World {
    pub fn new(seed: u64, players: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let players =
            (0..players).map(|_| Player { id: PlayerId(Uuid::from_u128(rng.random())), cash: 0, in_play: 0, version: 0 }).collect();
        let at = Timestamp(1_700_000_000_000);
        Self { rng, players, held: Vec::new(), recent: Vec::new(), sequence: 0, at, ids: 0, spins_percent: 60 }
    }

    pub fn units(&mut self, count: usize) -> Vec<StoredUnit> {
        (0..count).map(|_| self.unit()).collect()
    }

    /// The next unit of somebody.
    pub fn unit(&mut self) -> StoredUnit {
        self.at = self.at.plus_ms(self.rng.random_range(-3..40));
        let player = self.rng.random_range(0..self.players.len());
        if self.players[player].cash < STAKE {
            return self.fund(player);
        }
        if self.rng.random_range(0..100) < self.spins_percent {
            return self.spin(player);
        }
        match self.rng.random_range(0..7) {
            0 | 1 => self.place(player),
            2 if !self.held.is_empty() => self.settle(),
            3 if !self.held.is_empty() => self.void(),
            4 if !self.recent.is_empty() => self.jackpot(),
            5 => self.refuse(player),
            6 => self.start_session(player),
            _ => self.place(player),
        }
    }

    pub fn fund(&mut self, player: usize) -> StoredUnit {
        let amount = 10 * STAKE;
        let id = self.players[player].id;
        self.players[player].cash += amount;
        let legs = smallvec![leg(house(AccountCode::PspClearing), cash_of(id), amount)];
        let balance = self.touch(player);
        let fact = event::Funded { source: "demo".to_owned(), amount: Amount(amount), currency: Currency::EUR, balance };
        self.commit(Some(player), legs, vec![Fact::Funded(fact)])
    }

    /// An instant round: gross legs and one event.
    pub fn spin(&mut self, player: usize) -> StoredUnit {
        let (id, provider) = (self.players[player].id, provider(0));
        let win = if self.rng.random_ratio(1, 3) { self.rng.random_range(1..4 * STAKE) } else { 0 };
        let mut legs: SmallVec<[Leg; 6]> = smallvec![leg(cash_of(id), revenue(provider), STAKE)];
        if win > 0 {
            legs.push(leg(revenue(provider), cash_of(id), win));
        }
        self.players[player].cash += win - STAKE;
        let balance = self.touch(player);
        let round = self.id();
        let symbols =
            r#"{"symbols":[[3,1,4],[1,5,9],[2,6,5]],"multiplier":2,"seed_hash":"9f86d081884c7d659a2feaa0c55ad015","nonce":17}"#;
        let fact = event::RoundSettled {
            round: RoundId(round),
            bet: BetId(round),
            game: "sevens".parse().unwrap(),
            provider,
            currency: Currency::EUR,
            stake_cash: Amount(STAKE),
            stake_bonus: Amount::ZERO,
            win_cash: Amount(win),
            win_bonus: Amount::ZERO,
            contributions: vec![event::ContributionShare { jackpot: "mega".parse().unwrap(), micro: Micro(1_000_000) }],
            progress: None,
            detail: Some(serde_json::from_str(symbols).unwrap()),
            balance,
        };
        self.recent.push((player, round.to_string(), provider));
        self.commit(Some(player), legs, vec![Fact::RoundSettled(fact)])
    }

    fn place(&mut self, player: usize) -> StoredUnit {
        let id = self.players[player].id;
        let provider = provider(self.rng.random_range(0..2));
        // Providers number their rounds as they like, and two may use the same number.
        let round = format!("R-{}", self.rng.random_range(0..100_000));
        let bet = BetId(self.id());
        self.players[player].cash -= STAKE;
        self.players[player].in_play += STAKE;
        let in_play = AccountId::new(RecordKey::player(id), AccountCode::InPlayCash);
        let legs = smallvec![leg(cash_of(id), in_play, STAKE)];
        let balance = self.touch(player);
        let placed = event::BetPlaced {
            round: round.clone(),
            bet,
            game: "wheel".parse().unwrap(),
            provider,
            currency: Currency::EUR,
            stake_cash: Amount(STAKE),
            stake_bonus: Amount::ZERO,
            is_free: false,
            contributions: Vec::new(),
            balance,
        };
        let hold = event::WalletHold { round: round.clone(), bet, cash: Amount(STAKE), bonus: Amount::ZERO };
        self.held.push(Held { player, round, provider, bet });
        self.commit(Some(player), legs, vec![Fact::BetPlaced(placed), Fact::WalletHold(hold)])
    }

    fn settle(&mut self) -> StoredUnit {
        let index = self.rng.random_range(0..self.held.len());
        let Held { player, round, provider, bet } = self.held.swap_remove(index);
        let id = self.players[player].id;
        let win = self.rng.random_range(0..3) * STAKE / 2;
        let in_play = AccountId::new(RecordKey::player(id), AccountCode::InPlayCash);
        let mut legs: SmallVec<[Leg; 6]> = smallvec![leg(in_play, revenue(provider), STAKE)];
        if win > 0 {
            legs.push(leg(revenue(provider), cash_of(id), win));
        }
        self.players[player].in_play -= STAKE;
        self.players[player].cash += win;
        let balance = self.touch(player);
        let game = "wheel".parse().unwrap();
        let settled = event::BetSettled {
            round: round.clone(),
            bet,
            game,
            provider,
            currency: Currency::EUR,
            stake_cash: Amount(STAKE),
            stake_bonus: Amount::ZERO,
            win_cash: Amount(win),
            win_bonus: Amount::ZERO,
            progress: None,
            balance,
        };
        let closed = event::RoundClosed { round: round.clone(), game, provider };
        self.recent.push((player, round, provider));
        self.commit(Some(player), legs, vec![Fact::BetSettled(settled), Fact::RoundClosed(closed)])
    }

    fn void(&mut self) -> StoredUnit {
        let index = self.rng.random_range(0..self.held.len());
        let Held { player, round, provider, bet } = self.held.swap_remove(index);
        let id = self.players[player].id;
        let in_play = AccountId::new(RecordKey::player(id), AccountCode::InPlayCash);
        let legs = smallvec![leg(in_play, cash_of(id), STAKE)];
        self.players[player].in_play -= STAKE;
        self.players[player].cash += STAKE;
        let balance = self.touch(player);
        let fact = event::BetVoided {
            round,
            bet,
            game: "wheel".parse().unwrap(),
            provider,
            currency: Currency::EUR,
            stake_cash: Amount(STAKE),
            stake_bonus: Amount::ZERO,
            was_settled: false,
            reason: "rollback".to_owned(),
            balance,
        };
        self.commit(Some(player), legs, vec![Fact::BetVoided(fact)])
    }

    /// A jackpot's own unit names player and round and has no player in its header.
    fn jackpot(&mut self) -> StoredUnit {
        let index = self.rng.random_range(0..self.recent.len());
        let (player, round, _) = self.recent.swap_remove(index);
        let id = self.players[player].id;
        let jackpot = "mega".parse().unwrap();
        let pool = AccountId::new(RecordKey::jackpot(jackpot), AccountCode::JackpotMain);
        let amount = 7 * STAKE;
        self.players[player].cash += amount;
        self.touch(player);
        let fact = event::JackpotTriggered {
            jackpot,
            cycle: 1,
            currency: Currency::EUR,
            player: id,
            round,
            amount: Amount(amount),
            threshold: Micro(7),
            nonce: "00".to_owned(),
            next_seed: Amount::ZERO,
            next_commitment: "00".to_owned(),
        };
        let legs = smallvec![leg(house(AccountCode::JackpotExpense), pool, amount), leg(pool, cash_of(id), amount)];
        let mut unit = self.commit(Some(player), legs, vec![Fact::JackpotTriggered(fact)]);
        unit.key = UnitKey::new(Source::System("jackpot".parse().unwrap()), self.sequence.to_be_bytes());
        unit
    }

    /// A refusal is a unit without legs and without records.
    fn refuse(&mut self, player: usize) -> StoredUnit {
        let code = protocol::ErrorCode::InsufficientFunds;
        let game = "sevens".parse().unwrap();
        let fact = event::DebitRefused { game, stake: Amount(STAKE), currency: Currency::EUR, code };
        let mut unit = self.commit(Some(player), SmallVec::new(), vec![Fact::DebitRefused(fact)]);
        unit.records.clear();
        unit
    }

    fn start_session(&mut self, player: usize) -> StoredUnit {
        let balance = self.touch(player);
        let session = protocol::SessionId(self.id());
        let fact = event::SessionStarted { session, currency: Currency::EUR, balance };
        self.commit(Some(player), SmallVec::new(), vec![Fact::SessionStarted(fact)])
    }

    /// The next version of a player's row.
    fn touch(&mut self, player: usize) -> Balance {
        let player = &mut self.players[player];
        player.version += 1;
        Balance { cash: Amount(player.cash), bonus: Amount::ZERO, in_play: Amount(player.in_play), version: player.version }
    }

    /// A UUIDv7 by time and counter.
    fn id(&mut self) -> Uuid {
        self.ids += 1;
        let random = (u64::from(self.rng.random::<u32>()) << 24) | (self.ids & 0xff_ffff);
        Uuid::from_u128((self.at.0 as u128) << 80 | 0x7000_u128 << 64 | 0x8000_u128 << 48 | u128::from(random & 0xffff_ffff_ffff))
    }

    pub fn commit(&mut self, player: Option<usize>, legs: SmallVec<[Leg; 6]>, facts: Vec<Fact>) -> StoredUnit {
        self.sequence += 1;
        let id = self.id();
        let header = EventHeader {
            id: EventId(id),
            at: self.at,
            tenant: book().tenant,
            region: "eu".parse().unwrap(),
            player: player.map(|player| self.players[player].id),
            session: None,
            trace: TraceId(id),
        };
        let records = player.map(|player| {
            let Player { id, version, .. } = self.players[player];
            RecordWrite { key: RecordKey::player(id), expected: version.saturating_sub(1), bytes: None }
        });
        let source = match player {
            Some(player) => Source::Player(self.players[player].id),
            None => Source::System("test".parse().unwrap()),
        };
        let unit = UnitOfWork {
            key: UnitKey::new(source, id.as_bytes()),
            body_hash: [7; 32],
            at: self.at,
            legs,
            guards: SmallVec::new(),
            records: records.into_iter().collect(),
            events: Bytes::from(EventPack::new(header, facts).to_bytes()),
            reply: Bytes::from_static(b"{}"),
        };
        StoredUnit::new(SHARD, self.sequence, &unit)
    }
}
