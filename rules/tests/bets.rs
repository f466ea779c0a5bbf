//! The sentences of MONEY about a bet, its limits and its session, one test each.

mod common;

use common::{DAY_MS, World, game};
use protocol::{
    AccountCode, Amount, Fact, Timestamp,
    frame::{LimitKind, LimitWindow},
};
use rules::{
    Done, GameKind, Rejected,
    player::Status,
    protection,
    session::{self, next_due},
};

fn set(world: &mut World, kind: LimitKind, window: Option<LimitWindow>, value: Option<i64>) -> Result<Done, Rejected> {
    world.run(protection::set_limit(&world.brand, &world.player, kind, window, value, world.now))
}

#[test]
fn an_instant_round_moves_gross_and_tells_one_fact() {
    let mut world = World::with_cash(1000);
    let (legs, facts) = (world.legs.len(), world.facts.len());
    world.spin(100, 250).unwrap();
    let moved: Vec<_> = world.legs[legs..].iter().map(|leg| (leg.from.code, leg.to.code, leg.amount.0)).collect();
    assert_eq!(
        moved,
        [(AccountCode::Cash, AccountCode::Revenue, 100), (AccountCode::Revenue, AccountCode::Cash, 250)],
        "gross, stake first"
    );
    assert_eq!(world.told(facts), ["round.settled"]);
    assert_eq!(world.cash(), 1150);
    let session = world.player.state.session.unwrap();
    assert_eq!((session.wagered, session.returned), (Amount(100), Amount(250)));
    assert_eq!(world.player.state.fairness.nonce, 1);
    assert_eq!(world.contributions[0].micro.0, 100 * 15_000);
    assert!(world.contributions[0].may_trigger);
}

#[test]
fn a_win_never_funds_its_own_stake() {
    let mut world = World::with_cash(99);
    assert_eq!(world.spin(100, 1_000_000), Err(Rejected::InsufficientFunds { available: Amount(99) }));
}

/// Every cause of refusal at once; removing the first uncovers the next, in MONEY's order.
#[test]
fn the_first_refusal_wins_in_the_order_of_checks() {
    let mut world = World::with_cash(1000);
    world.brand.policy.slot_cycle_ms = 60_000;
    world.issue(1000, 30, None).unwrap();
    world.player.state.bonus.as_mut().unwrap().max_bet = Some(Amount(10));
    world.spin(10, 0).unwrap();
    world.wait(50_000);
    world.brand.policy.reality_check_s = Some(10);
    world.brand.policy.operator_limits.session_time_s = Some(20);
    world.brand.policy.operator_limits.stake = Some(Amount(500));
    world.brand.policy.operator_limits.wager = [None, None, Some(Amount(600))];
    world.brand.policy.operator_limits.loss = [None, Some(Amount(700)), None];
    world.game.enabled = false;
    world.game.steps = vec![Amount(10), Amount(90_000)];
    world.player.state.status = Status::Blocked;
    let kept = world.player.state.session.take();

    assert_eq!(world.spin(90_001, 0), Err(Rejected::AccountBlocked));
    world.player.state.status = Status::Open;
    assert_eq!(world.spin(90_001, 0), Err(Rejected::NoSession));
    world.player.state.session = kept;
    assert_eq!(world.spin(90_001, 0), Err(Rejected::GameDisabled));
    world.game.enabled = true;
    world.game.max_stake = Amount(90_000);
    assert_eq!(world.spin(0, 0), Err(Rejected::StakeTooLow { min: Amount(1) }));
    assert_eq!(world.spin(90_001, 0), Err(Rejected::StakeTooHigh { max: Amount(90_000) }));
    assert_eq!(world.spin(89_999, 0), Err(Rejected::StakeStep { steps: vec![Amount(10), Amount(90_000)] }));
    assert_eq!(world.spin(90_000, 0), Err(Rejected::GameCycle { wait_ms: 10_000 }));
    world.brand.policy.slot_cycle_ms = 0;
    assert!(matches!(world.spin(90_000, 0), Err(Rejected::RealityCheckPending { seconds: 50, .. })));
    world.run(protection::acknowledge(&world.brand, &world.player, world.now)).unwrap();
    assert_eq!(world.spin(90_000, 0), Err(Rejected::SessionTimeLimit { limit_s: 20, elapsed_s: 50 }));
    world.brand.policy.operator_limits.session_time_s = None;
    assert_eq!(world.spin(90_000, 0), Err(Rejected::InsufficientFunds { available: Amount(1990) }));
    world.fund(200_000);
    assert_eq!(world.spin(90_000, 0), Err(Rejected::StakeLimit { limit: Amount(500), round_stake: Amount(0) }));
    world.brand.policy.operator_limits.stake = None;
    assert_eq!(
        world.spin(90_000, 0),
        Err(Rejected::WagerLimit { window: LimitWindow::Month, limit: Amount(600), spent: Amount(10) })
    );
    world.brand.policy.operator_limits.wager = [None; 3];
    assert_eq!(
        world.spin(90_000, 0),
        Err(Rejected::LossLimit { window: LimitWindow::Week, limit: Amount(700), spent: Amount(10) })
    );
    world.brand.policy.operator_limits.loss = [None; 3];
    assert_eq!(world.spin(90_000, 0), Err(Rejected::BonusMaxBet { max: Amount(10) }));
    world.spin(10, 0).unwrap();
}

#[test]
fn a_refused_debit_says_so_and_a_limit_says_its_numbers() {
    let mut world = World::with_cash(1000);
    world.brand.policy.operator_limits.stake = Some(Amount(50));
    let mark = world.facts.len();
    assert!(world.spin(60, 0).is_err());
    assert_eq!(world.told(mark), ["wallet.debit.refused", "rg.limit.hit"]);
    let Fact::LimitHit(hit) = &world.facts[mark + 1] else { panic!("a limit was hit") };
    assert_eq!((hit.limit.as_str(), hit.value, hit.spent, hit.attempted), ("stake", 50, 0, 60));
    assert_eq!(hit.policy, "demo@1");
}

#[test]
fn the_strictest_of_players_and_operators_limit_wins() {
    let mut world = World::with_cash(1000);
    world.brand.policy.operator_limits.wager[0] = Some(Amount(300));
    set(&mut world, LimitKind::Wager, Some(LimitWindow::Day), Some(200)).unwrap();
    world.spin(200, 200).unwrap();
    assert!(matches!(world.spin(1, 0), Err(Rejected::WagerLimit { limit: Amount(200), .. })));
    world.brand.policy.operator_limits.wager[0] = Some(Amount(100));
    assert!(matches!(world.spin(1, 0), Err(Rejected::WagerLimit { limit: Amount(100), .. })));
}

#[test]
fn net_loss_counts_open_stakes_whole_and_returns_whenever_they_come() {
    let mut world = World::with_cash(1000);
    world.brand.policy.operator_limits.loss[0] = Some(Amount(100));
    let bet = world.hold("r1", 100).unwrap();
    world.game = game("other");
    assert!(matches!(world.spin(1, 0), Err(Rejected::LossLimit { spent: Amount(100), .. })), "an open stake counts whole");
    world.game = game("reels");
    world.win("r1", bet, 40, true).unwrap();
    assert_eq!(world.player.state.usage[0].net_loss, Amount(60));
    world.spin(40, 0).unwrap();
    assert!(world.spin(1, 0).is_err());
}

#[test]
fn a_win_of_yesterdays_bet_gives_nothing_to_todays_window() {
    let mut world = World::with_cash(1000);
    let bet = world.hold("r1", 100).unwrap();
    world.wait(DAY_MS);
    world.start().unwrap();
    world.game = game("other");
    world.spin(30, 0).unwrap();
    world.game = game("reels");
    world.win("r1", bet, 500, true).unwrap();
    assert_eq!(world.player.state.usage[0].net_loss, Amount(30));
    assert_eq!(world.player.state.usage[0].wagered, Amount(30));
}

#[test]
fn the_stake_ceiling_is_on_the_sum_of_the_round() {
    let mut world = World::with_cash(1000);
    world.brand.policy.operator_limits.stake = Some(Amount(100));
    world.hold("r1", 60).unwrap();
    assert_eq!(world.hold("r1", 41), Err(Rejected::StakeLimit { limit: Amount(100), round_stake: Amount(60) }));
    world.hold("r1", 40).unwrap();
}

#[test]
fn a_game_cycle_is_per_game_and_a_returned_bet_is_none() {
    let mut world = World::with_cash(1000);
    world.brand.policy.slot_cycle_ms = 2500;
    world.brand.policy.table_cycle_ms = 5000;
    world.spin(10, 0).unwrap();
    world.wait(2499);
    assert_eq!(world.spin(10, 0), Err(Rejected::GameCycle { wait_ms: 1 }));
    world.game = game("table");
    world.game.kind = GameKind::Table;
    let bet = world.hold("t1", 10).unwrap();
    world.take_back("t1", bet).unwrap();
    world.hold("t2", 10).unwrap();
    world.close("t2").unwrap();
    assert_eq!(world.hold("t3", 10), Err(Rejected::GameCycle { wait_ms: 5000 }));
    world.game = game("reels");
    world.wait(1);
    world.spin(10, 0).unwrap();
}

#[test]
fn more_games_than_the_row_remembers_cannot_dodge_the_cycle() {
    let mut world = World::with_cash(1000);
    world.brand.policy.slot_cycle_ms = 2500;
    for n in 0..4 {
        world.game = game(&format!("g{n}"));
        world.spin(1, 0).unwrap();
        world.wait(100);
    }
    world.game = game("g4");
    assert_eq!(world.spin(1, 0), Err(Rejected::GameCycle { wait_ms: 2100 }), "until the oldest start binds nothing");
    world.wait(2100);
    world.spin(1, 0).unwrap();
}

#[test]
fn a_reality_check_is_shown_once_and_blocks_until_acknowledged() {
    let mut world = World::with_cash(1000);
    world.brand.policy.reality_check_s = Some(600);
    world.spin(100, 30).unwrap();
    world.wait(600_000);
    let mark = world.facts.len();
    let refused = Rejected::RealityCheckPending { seconds: 600, wagered: Amount(100), returned: Amount(30) };
    assert_eq!(world.spin(1, 0), Err(refused.clone()));
    assert_eq!(world.hold("r1", 1), Err(refused), "on every channel");
    assert_eq!(world.told(mark), ["wallet.debit.refused", "rg.reality_check.shown", "wallet.debit.refused"]);
    assert_eq!(protection::reality_view(&world.player, world.now).unwrap().net, Amount(-70));
    world.run(protection::acknowledge(&world.brand, &world.player, world.now)).unwrap();
    assert_eq!(world.run(protection::acknowledge(&world.brand, &world.player, world.now)), Err(Rejected::Nothing));
    world.spin(1, 0).unwrap();
}

#[test]
fn later_stakes_check_exclusion_limits_and_funds_only() {
    let mut world = World::with_cash(100);
    world.brand.policy.slot_cycle_ms = 60_000;
    world.brand.policy.reality_check_s = Some(1);
    world.brand.policy.operator_limits.session_time_s = Some(1);
    world.hold("r1", 10).unwrap();
    world.wait(5000);
    world.game.enabled = false;
    world.game.min_stake = Amount(50);
    world.hold("r1", 10).unwrap();
    assert_eq!(world.hold("r1", 81), Err(Rejected::InsufficientFunds { available: Amount(80) }));
    world.run(protection::time_out(&world.brand, &world.player, 24, world.now)).unwrap();
    assert!(matches!(world.hold("r1", 10), Err(Rejected::TimedOut { .. })));
}

#[test]
fn reconnecting_resumes_the_session_and_dodges_no_time_limit() {
    let mut world = World::with_cash(100);
    set(&mut world, LimitKind::SessionTime, None, Some(3600)).unwrap();
    let first = world.session();
    for _ in 0..5 {
        world.wait(600_000);
        assert_eq!(world.start(), Ok(Done::SessionStarted { resumed: true }));
    }
    assert_eq!(world.session(), first);
    world.wait(600_000);
    assert!(matches!(world.spin(1, 0), Err(Rejected::SessionTimeLimit { limit_s: 3600, elapsed_s: 3600 })));
    world.tick().unwrap();
    assert_eq!(world.spin(1, 0), Err(Rejected::NoSession));
    assert!(matches!(world.start(), Err(Rejected::SessionTimeLimit { .. })), "a forced end lasts as long as an inactivity");
    world.wait(1_200_000);
    assert_eq!(world.start(), Ok(Done::SessionStarted { resumed: false }));
}

#[test]
fn inactivity_ends_the_session() {
    let mut world = World::with_cash(100);
    world.wait(1_200_000);
    assert_eq!(world.spin(1, 0), Err(Rejected::NoSession));
    let mark = world.facts.len();
    world.start().unwrap();
    assert_eq!(world.told(mark), ["session.ended", "session.started"]);
}

#[test]
fn a_tick_fires_what_is_due_and_only_that() {
    let mut world = World::with_cash(100);
    assert_eq!(world.tick(), Err(Rejected::Nothing));
    world.brand.policy.reality_check_s = Some(60);
    world.issue(50, 30, None).unwrap();
    assert_eq!(next_due(&world.brand, &world.player), Some(world.now.plus_ms(60_000)));
    world.wait(60_000);
    assert_eq!(world.tick(), Ok(Done::Ticked { next: Some(Timestamp(common::START.0 + 1_200_000)) }));
    assert!(world.player.state.session.unwrap().reality_pending);
    world.wait(7 * DAY_MS);
    let mark = world.facts.len();
    assert_eq!(world.tick(), Ok(Done::Ticked { next: None }));
    assert_eq!(world.told(mark), ["session.ended", "bonus.expired"]);
    assert_eq!(world.bonus(), 0);
}

#[test]
fn a_time_out_ends_by_itself_and_a_self_exclusion_does_not() {
    let mut world = World::with_cash(100);
    assert!(world.run(protection::time_out(&world.brand, &world.player, 23, world.now)).is_err());
    assert!(world.run(protection::time_out(&world.brand, &world.player, 1009, world.now)).is_err());
    world.run(protection::time_out(&world.brand, &world.player, 48, world.now)).unwrap();
    assert!(world.player.state.session.is_none(), "an exclusion ends the session");
    assert!(world.run(protection::time_out(&world.brand, &world.player, 24, world.now)).is_err(), "never shortened");
    assert!(matches!(world.start(), Err(Rejected::TimedOut { .. })));
    world.wait(2 * DAY_MS);
    let mark = world.facts.len();
    world.start().unwrap();
    assert_eq!(world.told(mark), ["rg.timeout.ended", "session.started"]);
    assert!(world.run(protection::self_exclude(&world.brand, &world.player, Some(5), world.now)).is_err());
    world.run(protection::self_exclude(&world.brand, &world.player, Some(6), world.now)).unwrap();
    assert!(world.run(protection::time_out(&world.brand, &world.player, 1008, world.now)).is_err());
    world.wait(400 * DAY_MS);
    assert!(matches!(world.start(), Err(Rejected::SelfExcluded { .. })));
    world.run(protection::self_exclude(&world.brand, &world.player, None, world.now)).unwrap();
    assert!(world.run(protection::self_exclude(&world.brand, &world.player, Some(12), world.now)).is_err());
}

#[test]
fn tightening_is_immediate_and_relaxing_waits_for_time_and_a_second_word() {
    let mut world = World::with_cash(100);
    let now = world.now;
    let later = now.plus_ms(DAY_MS);
    assert_eq!(set(&mut world, LimitKind::Stake, None, Some(50)), Ok(Done::LimitSet { effective_at: now, pending: false }));
    let waits = Ok(Done::LimitSet { effective_at: later, pending: true });
    assert_eq!(set(&mut world, LimitKind::Stake, None, Some(80)), waits);
    world.wait(3_600_000);
    assert_eq!(set(&mut world, LimitKind::Stake, None, Some(80)), waits, "asking twice does not wait twice");
    world.now = later;
    assert!(matches!(world.spin(60, 0), Err(Rejected::NoSession)));
    world.start().unwrap();
    assert!(matches!(world.spin(60, 0), Err(Rejected::StakeLimit { .. })), "time alone relaxes nothing");
    assert_eq!(set(&mut world, LimitKind::Stake, None, Some(80)), Ok(Done::LimitSet { effective_at: later, pending: false }));
    world.spin(60, 0).unwrap();
    set(&mut world, LimitKind::Stake, None, None).unwrap();
    set(&mut world, LimitKind::Stake, None, Some(70)).unwrap();
    assert_eq!(world.player.state.limits.stake.pending, None, "a decrease cancels the pending increase");
    assert!(set(&mut world, LimitKind::Stake, Some(LimitWindow::Day), Some(1)).is_err());
    assert!(set(&mut world, LimitKind::Loss, None, Some(1)).is_err());
    assert!(set(&mut world, LimitKind::Loss, Some(LimitWindow::Day), Some(-1)).is_err());
    let views = protection::limit_views(&world.brand, &world.player, world.now);
    assert_eq!((views.len(), views[0].effective), (9, Some(70)));
}

#[test]
fn a_new_client_seed_starts_its_draws_at_zero() {
    let mut world = World::with_cash(100);
    world.spin(1, 0).unwrap();
    let mut rotate = |seed: &str| {
        let (revealed, hash) = (Some("aa".to_owned()), "bb".to_owned());
        let decision = session::rotate_seed(&world.brand, &world.player, seed.to_owned(), revealed, hash, world.now);
        world.run(decision)
    };
    for bad in ["", "caf\u{e9}", "a\nb", &"x".repeat(65)] {
        assert!(rotate(bad).is_err(), "{bad:?}");
    }
    rotate(&"x".repeat(64)).unwrap();
    assert_eq!((world.player.state.fairness.seed_index, world.player.state.fairness.nonce), (1, 0));
}
