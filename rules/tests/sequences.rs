//! Any sequence of commands keeps the money whole: the world checks sums, floors, holdings, stakes in play and the size of the
//! row after each; here the limits, the wins and the conversions are checked on top.

mod common;

use common::{World, game};
use proptest::prelude::*;
use protocol::{
    Amount, BetId, Fact,
    frame::{LimitKind, LimitWindow},
};
use rules::{Rejected, protection, provider::Reference, round::TransactionKind};

#[derive(Clone, Debug)]
enum Step {
    Spin { stake: i64, win: i64 },
    Hold { round: u8, stake: i64, is_free: bool },
    Win { round: u8, bet: u8, amount: i64, micro: i64, is_final: bool },
    TakeBack { round: u8, transaction: u8 },
    Unknown,
    Close(u8),
    Void(u8),
    Issue { amount: i64, multiplier: u32, cap: Option<u32> },
    Forfeit,
    Limit { kind: u8, window: u8, value: Option<i64> },
    TimeOut,
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stake = 1_i64..400;
    let step = prop_oneof![
        6 => (stake.clone(), prop_oneof![Just(0), 0_i64..2000]).prop_map(|(stake, win)| Step::Spin { stake, win }),
        6 => (0_u8..4, stake, prop::bool::weighted(0.1)).prop_map(|(round, stake, is_free)| Step::Hold { round, stake, is_free }),
        6 => (0_u8..4, 0_u8..6, 0_i64..900, prop_oneof![Just(0), 0_i64..1_000_000], any::<bool>())
            .prop_map(|(round, bet, amount, micro, is_final)| Step::Win { round, bet, amount, micro, is_final }),
        4 => (0_u8..4, 0_u8..12).prop_map(|(round, transaction)| Step::TakeBack { round, transaction }),
        1 => Just(Step::Unknown),
        2 => (0_u8..4).prop_map(Step::Close),
        1 => (0_u8..4).prop_map(Step::Void),
        2 => (1_i64..500, 0_u32..5, prop::option::of(0_u32..4))
            .prop_map(|(amount, multiplier, cap)| Step::Issue { amount, multiplier, cap }),
        1 => Just(Step::Forfeit),
        2 => (0_u8..4, 0_u8..3, prop::option::of(1_i64..3000)).prop_map(|(kind, window, value)| Step::Limit { kind, window, value }),
        1 => Just(Step::TimeOut),
        3 => prop_oneof![0_i64..60_000, 0_i64..200_000_000].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

/// Rounds get a new name once they are over, so that sequences go on.
struct Run {
    world: World,
    names: [u32; 4],
}

impl Run {
    fn round(&mut self, slot: u8) -> String {
        let slot = usize::from(slot);
        let name = |n: u32| format!("r{slot}-{n}");
        let is_over = |run: &Self| {
            run.world.rounds.get(&name(run.names[slot])).is_some_and(|(_, round)| round.status != rules::round::RoundStatus::Open)
        };
        if is_over(self) {
            self.names[slot] += 1;
        }
        self.world.game = game(["reels", "wheel", "cards", "dice"][slot]);
        name(self.names[slot])
    }

    /// The last round of a slot, over or not: late wins and rollbacks come to both.
    fn last(&self, slot: u8) -> String {
        format!("r{slot}-{}", self.names[usize::from(slot)])
    }

    fn transaction(&self, round: &str, index: u8, bets_only: bool) -> Option<BetId> {
        let (_, state) = self.world.rounds.get(round)?;
        let is_bet = |kind: &TransactionKind| matches!(kind, TransactionKind::Bet { .. });
        let fitting: Vec<_> = state.transactions.iter().filter(|t| !bets_only || is_bet(&t.kind)).map(|t| t.id).collect();
        (!fitting.is_empty()).then(|| fitting[usize::from(index) % fitting.len()])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Spin { stake, win } => {
                self.world.game = game("slots");
                drop(self.world.spin(stake, win));
            }
            Step::Hold { round, stake, is_free } => {
                let round = self.round(round);
                let bet = common::bet_id(self.world.fresh());
                let stake = if is_free { 0 } else { stake };
                drop(self.world.hold_as(&round, bet, stake, is_free));
            }
            Step::Win { round, bet, amount, micro, is_final } => {
                let round = self.last(round);
                let Some(bet) = self.transaction(&round, bet, true) else { return };
                match self.world.win_micro(&round, bet, amount, micro, is_final) {
                    Ok(_) | Err(Rejected::BetRolledBack) => {}
                    Err(why) => panic!("a win was refused: {why:?}"),
                }
            }
            Step::TakeBack { round, transaction } => {
                let round = self.last(round);
                let Some(id) = self.transaction(&round, transaction, false) else { return };
                self.world.take_back(&round, id).unwrap();
            }
            Step::Unknown => {
                let id = common::bet_id(self.world.fresh());
                self.world.rollback("elsewhere", id, Reference::Unknown).unwrap();
            }
            Step::Close(round) => {
                let round = self.last(round);
                if self.world.rounds.contains_key(&round) {
                    self.world.close(&round).unwrap();
                }
            }
            Step::Void(round) => drop(self.world.void(&self.last(round))),
            Step::Issue { amount, multiplier, cap } => drop(self.world.issue(amount, multiplier, cap)),
            Step::Forfeit => {
                if let Some(grant) = self.world.player.state.bonus {
                    self.world.forfeit(grant.id).unwrap();
                }
            }
            Step::Limit { kind, window, value } => self.limit(kind, window, value),
            Step::TimeOut => {
                let decision = protection::time_out(&self.world.brand, &self.world.player, 24, self.world.now);
                drop(self.world.run(decision));
            }
            Step::Wait(ms) => self.wait(ms),
        }
    }

    fn limit(&mut self, kind: u8, window: u8, value: Option<i64>) {
        let kind = [LimitKind::Stake, LimitKind::Wager, LimitKind::Loss, LimitKind::SessionTime][usize::from(kind)];
        let window = matches!(kind, LimitKind::Wager | LimitKind::Loss).then_some(LimitWindow::ALL[usize::from(window)]);
        let world = &mut self.world;
        world.run(protection::set_limit(&world.brand, &world.player, kind, window, value, world.now)).unwrap();
    }

    fn wait(&mut self, ms: i64) {
        self.world.wait(ms);
        if let Ok(rules::Done::Ticked { next }) = self.world.tick() {
            assert!(next.is_none_or(|next| next > self.world.now), "what was due has fired");
        }
        drop(self.world.start());
    }

    /// After an accepted stake no limit of the player is passed.
    fn assert_within_limits(&self, before: usize) {
        let placed = |fact: &Fact| matches!(fact, Fact::RoundSettled(_) | Fact::BetPlaced(_));
        if !self.world.facts[before..].iter().any(placed) {
            return;
        }
        let state = &self.world.player.state;
        for (index, usage) in state.usage.iter().enumerate() {
            assert!(state.limits.wager[index].own.is_none_or(|limit| usage.wagered.0 <= limit || usage.wagered.0 == 0));
            let is_free = matches!(self.world.facts.last(), Some(Fact::BetPlaced(bet)) if bet.is_free);
            assert!(is_free || state.limits.loss[index].own.is_none_or(|limit| usage.net_loss.0 <= limit));
        }
        assert!(state.exclusion.is_none());
    }

    fn assert_conversions_within_caps(&self, caps: &[(protocol::GrantId, Option<Amount>)]) {
        for fact in &self.world.facts {
            if let Fact::BonusCompleted(done) = fact {
                let cap = caps.iter().find(|(grant, _)| *grant == done.grant).and_then(|(_, cap)| *cap);
                assert!(cap.is_none_or(|cap| done.converted <= cap));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_keeps_the_money_whole(steps in steps()) {
        let mut run = Run { world: World::with_cash(5_000), names: [0; 4] };
        let mut caps = vec![];
        for step in steps {
            let before = run.world.facts.len();
            let is_free_step = matches!(step, Step::Hold { is_free: true, .. });
            run.step(step);
            if !is_free_step {
                run.assert_within_limits(before);
            }
            if let Some(grant) = run.world.player.state.bonus
                && caps.iter().all(|(id, _)| *id != grant.id)
            {
                caps.push((grant.id, grant.max_cash_out));
            }
        }
        run.assert_conversions_within_caps(&caps);
    }
}
