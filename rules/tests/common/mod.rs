//! A small world around the rules: it commits plans to a ledger of its own and checks after each that nothing leaked.

#![expect(dead_code, reason = "each test file uses its part of the world")]

use std::collections::{BTreeMap, HashMap, HashSet};

use protocol::{
    AccountCode, AccountId, Amount, BetId, Book, Currency, Fact, GrantId, Leg, Micro, OwnerKind, PlayerId, RecordKey, RoundId,
    SessionId, Timestamp,
};
use rules::{
    Brand, Contribution, Decision, Done, Game, GameKind, JackpotRate, Plan, Player, PlayerState, Policy, Refused, Rejected,
    RoundState,
    bet::{self, HeldBet, InstantBet},
    bonus::{self, Offer},
    brand::OperatorLimits,
    provider::{self, Reference, RollbackCall, WinCall},
    round::TransactionStatus,
    session,
};
use uuid::Uuid;

pub const START: Timestamp = Timestamp(1_780_000_000_000);
pub const DAY_MS: i64 = 86_400_000;

pub fn policy() -> Policy {
    Policy {
        name: "demo@1".to_owned(),
        slot_cycle_ms: 0,
        table_cycle_ms: 0,
        reality_check_s: None,
        session_inactivity_s: 1200,
        operator_limits: OperatorLimits::default(),
        limit_relax_s: 86_400,
        bonus_cash_out_multiple_max: None,
    }
}

pub fn brand() -> Brand {
    Brand {
        tenant: "demo".parse().unwrap(),
        licence: "mga".parse().unwrap(),
        region: "eu".parse().unwrap(),
        time_zone: jiff::tz::TimeZone::get("Europe/Malta").unwrap(),
        policy: policy(),
    }
}

pub fn game(id: &str) -> Game {
    Game {
        id: id.parse().unwrap(),
        name: id.to_owned(),
        provider: "studio".parse().unwrap(),
        kind: GameKind::Slot,
        enabled: true,
        hosted: true,
        min_stake: Amount(1),
        max_stake: Amount(100_000),
        steps: vec![],
        wager_weight_ppm: 1_000_000,
        bonus_eligible: true,
        jackpot: Some(JackpotRate { jackpot: "grand".parse().unwrap(), rate_ppm: 15_000 }),
        rtp_ppm: 960_000,
    }
}

pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub fn bet_id(n: u128) -> BetId {
    BetId(id(n))
}

pub struct World {
    pub brand: Brand,
    pub game: Game,
    pub player: Player,
    pub rounds: HashMap<String, (u64, RoundState)>,
    pub tombstones: HashSet<RecordKey>,
    pub ledger: BTreeMap<AccountId, i128>,
    pub facts: Vec<Fact>,
    pub legs: Vec<Leg>,
    pub contributions: Vec<Contribution>,
    pub now: Timestamp,
    pub next: u128,
}

impl World {
    /// A player with that much cash and a running session.
    pub fn with_cash(cash: i64) -> Self {
        let brand = brand();
        let plan = session::open_player(&brand, PlayerId(id(7)), Currency::EUR, "clover".to_owned(), START);
        let mut world = Self {
            brand,
            game: game("reels"),
            player: plan.player,
            rounds: HashMap::new(),
            tombstones: HashSet::new(),
            ledger: BTreeMap::new(),
            facts: plan.facts.to_vec(),
            legs: vec![],
            contributions: vec![],
            now: START,
            next: 1000,
        };
        if cash > 0 {
            world.fund(cash);
        }
        world.start().unwrap();
        world
    }

    pub fn book(&self) -> Book {
        self.brand.book(Currency::EUR)
    }

    pub fn fresh(&mut self) -> u128 {
        self.next += 1;
        self.next
    }

    pub fn wait(&mut self, ms: i64) {
        self.now = self.now.plus_ms(ms);
    }

    pub fn commit(&mut self, plan: Plan) -> Done {
        assert_eq!(plan.player.version, self.player.version + 1, "a plan moves the version by one");
        for leg in &plan.legs {
            assert!(leg.amount.is_positive());
            for (account, sign) in [(leg.from, -1), (leg.to, 1)] {
                let balance = self.ledger.entry(account).or_default();
                *balance += i128::from(leg.amount.0) * sign;
                assert!(*balance >= 0 || !account.code.never_negative(), "{account} below zero");
            }
        }
        for key in &plan.absent {
            assert!(!self.tombstones.contains(key), "the shell refuses a tombstoned bet");
        }
        if let Some(key) = plan.tombstone {
            assert!(self.tombstones.insert(key));
        }
        if let Some((key, version, state)) = plan.round {
            assert_eq!(key, RecordKey::provider_round(state.provider, &state.round));
            assert_eq!(RoundState::decode(&state.encode()), Ok(state.clone()));
            let known = self.rounds.get(&state.round).map_or(0, |(version, _)| *version);
            assert_eq!(version, known, "decided on the record's version");
            self.rounds.insert(state.round.clone(), (version + 1, state));
        }
        self.player = plan.player;
        self.legs.extend(plan.legs);
        self.facts.extend(plan.facts);
        self.contributions.extend(plan.contributions);
        self.check();
        plan.done
    }

    /// What must hold after every command.
    pub fn check(&self) {
        let owner = RecordKey::player(self.player.id);
        assert_eq!(self.ledger.values().sum::<i128>(), 0);
        for (account, balance) in self.ledger.iter().filter(|(account, _)| account.owner == owner) {
            let held = self.player.holdings.get(&self.book(), account.code, account.sub);
            assert_eq!(i128::from(held.0), *balance, "{account} is the fold of its legs");
        }
        let (mut cash, mut bonus) = (0, BTreeMap::<u32, i64>::new());
        let held = |t: &&rules::round::Transaction| t.status == TransactionStatus::Held;
        for bet in self.rounds.values().flat_map(|(_, round)| round.transactions.iter().filter(held)) {
            cash += bet.cash.0;
            *bonus.entry(bet.grant).or_default() += bet.bonus.0;
        }
        assert_eq!(self.balance_of(AccountCode::InPlayCash), cash, "in play is what bets hold");
        for (grant, amount) in bonus {
            assert_eq!(self.player.holdings.get(&self.book(), AccountCode::InPlayBonus, grant).0, amount);
        }
        let bytes = self.player.state.encode();
        assert!(bytes.len() <= PlayerState::ENCODED_BYTES_MAX, "{} bytes of state", bytes.len());
        assert_eq!(PlayerState::decode(&bytes), Ok(self.player.state.clone()));
    }

    pub fn run(&mut self, decision: Decision) -> Result<Done, Rejected> {
        match decision {
            Ok(plan) => Ok(self.commit(plan)),
            Err(Refused { why, facts, player }) => {
                if let Some(player) = player {
                    assert_eq!(player.version, self.player.version + 1);
                    assert_eq!(player.holdings, self.player.holdings, "a refusal moves no money");
                    self.player = player;
                }
                self.facts.extend(facts);
                Err(why)
            }
        }
    }

    pub fn balance_of(&self, code: AccountCode) -> i64 {
        self.player.holdings.total(&self.book(), code).unwrap().0
    }

    pub fn cash(&self) -> i64 {
        self.balance_of(AccountCode::Cash)
    }

    pub fn bonus(&self) -> i64 {
        self.balance_of(AccountCode::Bonus)
    }

    /// What the house holds under a code, over all providers.
    pub fn house(&self, code: AccountCode) -> i128 {
        self.ledger.iter().filter(|(a, _)| a.owner.kind == OwnerKind::House && a.code == code).map(|(_, balance)| *balance).sum()
    }

    pub fn fund(&mut self, cash: i64) {
        let decision = session::fund(&self.brand, &self.player, "demo", Amount(cash), self.now);
        self.run(decision).unwrap();
    }

    pub fn start(&mut self) -> Result<Done, Rejected> {
        let id = SessionId(id(self.fresh()));
        self.run(session::start(&self.brand, &self.player, id, self.now))
    }

    pub fn tick(&mut self) -> Result<Done, Rejected> {
        self.run(session::tick(&self.brand, &self.player, self.now))
    }

    pub fn session(&self) -> SessionId {
        self.player.state.session.map_or(SessionId(Uuid::nil()), |session| session.id)
    }

    pub fn spin(&mut self, stake: i64, win: i64) -> Result<Done, Rejected> {
        let n = self.fresh();
        let bet = InstantBet { round: RoundId(id(n)), bet: bet_id(n), stake: Amount(stake) };
        let decision = match bet::accept_instant(&self.brand, &self.game, &self.player, &bet, self.now) {
            Ok(accepted) => accepted.settle(Amount(win), None),
            Err(refused) => Err(refused),
        };
        self.run(decision)
    }

    pub fn hold(&mut self, round: &str, stake: i64) -> Result<BetId, Rejected> {
        let transaction = bet_id(self.fresh());
        self.hold_as(round, transaction, stake, false).map(|_| transaction)
    }

    pub fn hold_as(&mut self, round: &str, transaction: BetId, stake: i64, is_free: bool) -> Result<Done, Rejected> {
        let session = self.rounds.get(round).map_or(self.session(), |(_, round)| round.session);
        let call = HeldBet {
            provider: self.game.provider,
            round,
            transaction,
            session,
            stake: Amount(stake),
            currency: Currency::EUR,
            is_free,
        };
        let record = self.rounds.get(round).map(|(version, state)| (*version, state));
        self.run(bet::hold(&self.brand, &self.game, &self.player, record, &call, self.now))
    }

    pub fn win(&mut self, round: &str, bet: BetId, amount: i64, is_final: bool) -> Result<BetId, Rejected> {
        self.win_micro(round, bet, amount, 0, is_final)
    }

    pub fn win_micro(&mut self, round: &str, bet: BetId, amount: i64, micro: i64, is_final: bool) -> Result<BetId, Rejected> {
        let transaction = bet_id(self.fresh());
        let call = WinCall {
            provider: self.game.provider,
            round,
            transaction,
            bet,
            amount: Amount(amount),
            micro: Micro(micro),
            currency: Currency::EUR,
            is_final,
        };
        let record = self.rounds.get(round).map(|(version, state)| (*version, state));
        self.run(provider::win(&self.brand, Some(&self.game), &self.player, record, &call, self.now)).map(|_| transaction)
    }

    pub fn rollback(&mut self, round: &str, reference: BetId, found: Reference) -> Result<Done, Rejected> {
        let transaction = bet_id(self.fresh());
        let call = RollbackCall { provider: self.game.provider, round, transaction, reference };
        let record = self.rounds.get(round).map(|(version, state)| (*version, state));
        self.run(provider::rollback(&self.brand, Some(&self.game), &self.player, record, &call, found, self.now))
    }

    pub fn take_back(&mut self, round: &str, reference: BetId) -> Result<Done, Rejected> {
        self.rollback(round, reference, Reference::InThisRound)
    }

    pub fn close(&mut self, round: &str) -> Result<Done, Rejected> {
        let record = self.rounds.get(round).map(|(version, state)| (*version, state));
        self.run(provider::close(&self.brand, Some(&self.game), &self.player, record, self.now))
    }

    pub fn void(&mut self, round: &str) -> Result<Done, Rejected> {
        let record = self.rounds.get(round).map(|(version, state)| (*version, state));
        self.run(provider::void(&self.brand, Some(&self.game), &self.player, record, "operator", self.now))
    }

    pub fn issue(&mut self, amount: i64, multiplier: u32, max_cash_out_multiple: Option<u32>) -> Result<GrantId, Rejected> {
        let grant = GrantId(id(self.fresh()));
        let offer =
            Offer { name: "welcome".to_owned(), amount: Amount(amount), multiplier, max_bet: None, max_cash_out_multiple, days: 7 };
        self.run(bonus::issue(&self.brand, &self.player, &offer, grant, self.now)).map(|_| grant)
    }

    pub fn forfeit(&mut self, grant: GrantId) -> Result<Done, Rejected> {
        self.run(bonus::forfeit(&self.brand, &self.player, grant, self.now))
    }

    /// The types of the facts since `mark`.
    pub fn told(&self, mark: usize) -> Vec<&'static str> {
        self.facts[mark..].iter().map(Fact::event_type).collect()
    }
}
