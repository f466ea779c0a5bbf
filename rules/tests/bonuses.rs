//! The sentences of MONEY about bonuses, one test each.

mod common;

use common::{DAY_MS, World, game};
use protocol::{AccountCode, Amount, GrantId, frame::BonusState};
use rules::{Done, Rejected, bonus};

#[test]
fn real_money_goes_first_and_the_odd_unit_of_a_win_is_cash() {
    let mut world = World::with_cash(33);
    world.issue(100, 30, None).unwrap();
    let done = world.spin(100, 100).unwrap();
    let Done::Spun { stake_cash, stake_bonus, win_cash, win_bonus, .. } = done else { panic!("{done:?}") };
    assert_eq!((stake_cash, stake_bonus), (Amount(33), Amount(67)));
    assert_eq!((win_cash, win_bonus), (Amount(33), Amount(67)));
    let done = world.spin(100, 1).unwrap();
    assert!(matches!(done, Done::Spun { win_cash: Amount(1), win_bonus: Amount(0), .. }), "{done:?}");
}

#[test]
fn a_game_that_takes_no_bonus_funds_sees_none() {
    let mut world = World::with_cash(10);
    world.issue(100, 30, None).unwrap();
    world.game.bonus_eligible = false;
    assert_eq!(world.spin(11, 0), Err(Rejected::InsufficientFunds { available: Amount(10) }));
}

#[test]
fn one_grant_at_a_time() {
    let mut world = World::with_cash(10);
    let grant = world.issue(100, 30, None).unwrap();
    assert_eq!(world.issue(100, 30, None), Err(Rejected::BonusActive));
    assert_eq!(world.forfeit(GrantId(common::id(1))), Err(Rejected::UnknownGrant));
    world.forfeit(grant).unwrap();
    assert_eq!((world.bonus(), world.cash(), world.house(AccountCode::BonusCost)), (0, 10, 0));
    world.issue(50, 30, None).unwrap();
    assert_eq!(world.player.state.bonus.unwrap().number, 2);
}

#[test]
fn progress_counts_by_the_games_weight_and_converts_within_the_cap() {
    let mut world = World::with_cash(1000);
    world.brand.policy.bonus_cash_out_multiple_max = Some(2);
    world.issue(100, 1, Some(5)).unwrap();
    world.game.wager_weight_ppm = 333_333;
    world.spin(100, 0).unwrap();
    assert_eq!(world.player.state.bonus.unwrap().progress, Amount(33), "rounded down");
    world.game.wager_weight_ppm = 1_000_000;
    world.spin(66, 0).unwrap();
    assert_eq!(world.player.state.bonus.unwrap().progress, Amount(99));
    let mark = world.facts.len();
    world.spin(834 + 100, 9340).unwrap();
    assert_eq!(world.told(mark), ["round.settled", "bonus.completed"]);
    // 9340 split 834 : 100 pays 1000 to bonus; 200 of it converts, the rest goes to bonus cost.
    assert_eq!((world.cash(), world.bonus()), (8340 + 200, 0));
    assert_eq!(world.house(AccountCode::BonusCost), -100 + 800);
    assert!(world.player.state.bonus.is_none());
}

#[test]
fn an_open_bets_bonus_share_goes_to_cash_within_the_cash_out_after_completion() {
    let mut world = World::with_cash(0);
    world.issue(100, 2, Some(3)).unwrap();
    let bet = world.hold("r1", 50).unwrap();
    world.game = game("other");
    for win in [50, 50, 150, 50] {
        world.spin(50, win).unwrap();
    }
    assert!(world.player.state.bonus.is_none(), "converted");
    assert_eq!(world.cash(), 150);
    world.game = game("reels");
    world.win("r1", bet, 200, true).unwrap();
    // The cash-out is 300: 150 converted, the late share adds 150, its last 50 go to bonus cost.
    assert_eq!((world.cash(), world.house(AccountCode::BonusCost)), (300, -100 + 50));
}

#[test]
fn an_open_bets_bonus_share_goes_to_bonus_cost_after_forfeiture() {
    let mut world = World::with_cash(0);
    let grant = world.issue(100, 2, None).unwrap();
    let bet = world.hold("r1", 50).unwrap();
    world.forfeit(grant).unwrap();
    assert_eq!(world.balance_of(AccountCode::InPlayBonus), 50, "the stake is still in play");
    world.win("r1", bet, 150, true).unwrap();
    assert_eq!((world.cash(), world.house(AccountCode::BonusCost)), (0, -100 + 50 + 150));
}

#[test]
fn a_rollback_never_undoes_a_conversion() {
    let mut world = World::with_cash(100);
    world.issue(100, 1, None).unwrap();
    let bet = world.hold("r1", 100).unwrap();
    world.win("r1", bet, 0, true).unwrap();
    assert_eq!((world.cash(), world.bonus()), (100, 0), "converted");
    world.take_back("r1", bet).unwrap();
    assert_eq!((world.cash(), world.player.state.bonus), (200, None));
}

#[test]
fn an_expired_grant_pays_counts_and_converts_nothing() {
    let mut world = World::with_cash(0);
    world.issue(100, 1, None).unwrap();
    let bet = world.hold("r1", 60).unwrap();
    world.wait(7 * DAY_MS);
    world.start().unwrap();
    world.game = game("other");
    assert_eq!(world.spin(10, 0), Err(Rejected::InsufficientFunds { available: Amount(0) }));
    world.tick().unwrap();
    world.take_back("r1", bet).unwrap();
    assert_eq!((world.cash(), world.bonus(), world.house(AccountCode::BonusCost)), (0, 0, 0));
}

#[test]
fn a_lost_grant_binds_nothing_and_a_rollback_revives_it() {
    let mut world = World::with_cash(0);
    world.issue(100, 10, None).unwrap();
    world.player.state.bonus.as_mut().unwrap().max_bet = Some(Amount(100));
    let bet = world.hold("r1", 100).unwrap();
    assert_eq!(bonus::view(&world.player, &world.book()).unwrap().state, BonusState::Active, "its win may still come");
    world.win("r1", bet, 0, true).unwrap();
    assert_eq!(bonus::view(&world.player, &world.book()).unwrap().state, BonusState::Lost);
    world.fund(500);
    world.spin(400, 400).unwrap();
    assert_eq!(world.player.state.bonus.unwrap().progress, Amount(100), "a lost grant counts nothing");
    world.take_back("r1", bet).unwrap();
    assert_eq!(bonus::view(&world.player, &world.book()).unwrap().state, BonusState::Active);
    assert_eq!(world.spin(101, 0), Err(Rejected::BonusMaxBet { max: Amount(100) }));
    let mark = world.facts.len();
    world.player.state.bonus.as_mut().unwrap().max_bet = None;
    world.spin(600, 0).unwrap();
    world.issue(10, 1, None).unwrap();
    assert_eq!(world.told(mark), ["round.settled", "bonus.forfeited", "bonus.issued"]);
}
