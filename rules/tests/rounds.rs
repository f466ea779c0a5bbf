//! The sentences of MONEY about held rounds and providers, one test each.

mod common;

use common::{World, bet_id, game};
use protocol::{AccountCode, Amount, Micro, RecordKey};
use rules::{
    Done, Rejected, RoundState,
    player::Status,
    protection,
    provider::{self, Reference},
    round::{RoundStatus, TransactionStatus},
};

#[test]
fn a_stake_stays_in_play_until_the_final_win_even_of_zero() {
    let mut world = World::with_cash(100);
    let mark = world.facts.len();
    let bet = world.hold("r1", 60).unwrap();
    assert_eq!((world.cash(), world.balance_of(AccountCode::InPlayCash)), (40, 60));
    assert_eq!(world.player.state.open_rounds.len(), 1);
    world.win("r1", bet, 25, false).unwrap();
    assert_eq!(world.balance_of(AccountCode::InPlayCash), 60, "a win that is not final releases nothing");
    world.win("r1", bet, 0, true).unwrap();
    assert_eq!((world.cash(), world.balance_of(AccountCode::InPlayCash)), (65, 0));
    assert_eq!(world.house(AccountCode::Revenue), 35);
    assert_eq!(world.told(mark), ["bet.placed", "wallet.hold", "bet.settled", "bet.settled", "round.closed"]);
    assert!(world.player.state.open_rounds.is_empty());
    assert_eq!(world.hold("r1", 1), Err(Rejected::RoundClosed));
    world.win("r1", bet, 5, false).unwrap();
    assert_eq!(world.cash(), 70, "a late win of a closed round is paid");
    let triggers: Vec<_> = world.contributions.iter().map(|c| (c.micro.0, c.may_trigger)).collect();
    assert_eq!(triggers, [(900_000, false), (0, true)], "the money at the bet, the trigger at settlement");
}

#[test]
fn a_close_releases_every_stake_once() {
    let mut world = World::with_cash(100);
    world.hold("r1", 10).unwrap();
    world.hold("r1", 20).unwrap();
    assert_eq!(world.close("r1"), Ok(Done::RoundClosed));
    assert_eq!(world.house(AccountCode::Revenue), 30);
    let legs = world.legs.len();
    assert_eq!(world.close("r1"), Ok(Done::RoundClosed));
    assert_eq!(world.legs.len(), legs);
    assert_eq!(world.close("r2"), Err(Rejected::UnknownRound));
}

#[test]
fn an_interrupted_round_is_resolved_before_the_next_of_its_game() {
    let mut world = World::with_cash(100);
    world.hold("r1", 10).unwrap();
    assert!(matches!(world.hold("r2", 10), Err(Rejected::RoundOpen { .. })));
    assert!(matches!(world.spin(10, 0), Err(Rejected::RoundOpen { .. })));
    world.game = game("other");
    world.hold("r2", 10).unwrap();
    assert_eq!(world.hold("r1", 10), Err(Rejected::RoundMismatch), "another game's round");
}

#[test]
fn wins_rollbacks_and_closes_are_never_blocked_by_protection() {
    let mut world = World::with_cash(100);
    let bet = world.hold("r1", 50).unwrap();
    world.brand.policy.operator_limits.loss = [Some(Amount(0)); 3];
    world.run(protection::self_exclude(&world.brand, &world.player, None, world.now)).unwrap();
    world.player.state.status = Status::Blocked;
    world.game.enabled = false;
    let win = world.win("r1", bet, 10, false).unwrap();
    world.take_back("r1", win).unwrap();
    world.win("r1", bet, 30, true).unwrap();
    world.take_back("r1", bet).unwrap();
    assert_eq!(world.cash(), 130);
}

#[test]
fn an_unknown_bet_is_not_found_and_may_still_come() {
    let mut world = World::with_cash(100);
    let why = world.win("r1", bet_id(1), 10, true).unwrap_err();
    assert_eq!(why, Rejected::BetNotFound);
    assert!(!why.is_final());
    world.hold("r1", 10).unwrap();
    assert_eq!(world.win("r1", bet_id(1), 10, true), Err(Rejected::BetNotFound));
}

#[test]
fn a_rollback_before_its_bet_leaves_a_tombstone_the_bet_must_find_absent() {
    let mut world = World::with_cash(100);
    let bet = bet_id(5);
    assert_eq!(world.rollback("r1", bet, Reference::Unknown), Ok(Done::Tombstoned));
    assert!(world.tombstones.contains(&RecordKey::tombstone(world.game.provider, &bet.0)));
    assert_eq!(world.rollback("r1", bet, Reference::Tombstoned), Ok(Done::AlreadyRolledBack));
    assert_eq!(world.rollback("r1", bet_id(6), Reference::Refused), Ok(Done::Tombstoned));
    assert_eq!(world.tombstones.len(), 1, "a refused id can never become a bet");
    assert_eq!(world.rollback("r1", bet_id(7), Reference::Elsewhere), Err(Rejected::ReferenceMismatch { transaction: bet_id(7) }));
}

#[test]
fn a_rolled_back_bet_returns_its_split_and_takes_no_win() {
    let mut world = World::with_cash(30);
    world.issue(100, 30, None).unwrap();
    let bet = world.hold("r1", 50).unwrap();
    assert_eq!((world.cash(), world.bonus()), (0, 80));
    world.take_back("r1", bet).unwrap();
    assert_eq!((world.cash(), world.bonus()), (30, 100));
    assert_eq!(world.take_back("r1", bet), Ok(Done::AlreadyRolledBack));
    assert_eq!(world.win("r1", bet, 10, true), Err(Rejected::BetRolledBack));
    assert_eq!(world.player.state.usage[0].wagered, Amount(0));
    assert_eq!(world.contributions.iter().map(|c| c.micro.0).sum::<i64>(), 0);
}

#[test]
fn a_settled_bet_is_rolled_back_from_the_house_with_its_progress() {
    let mut world = World::with_cash(30);
    world.issue(100, 30, None).unwrap();
    let bet = world.hold("r1", 50).unwrap();
    world.win("r1", bet, 0, true).unwrap();
    assert_eq!(world.player.state.bonus.unwrap().progress, Amount(50));
    world.take_back("r1", bet).unwrap();
    assert_eq!(world.player.state.bonus.unwrap().progress, Amount(0));
    assert_eq!((world.cash(), world.bonus(), world.house(AccountCode::Revenue)), (30, 100, 0));
    assert_eq!(world.player.state.usage[0].net_loss, Amount(0));
}

#[test]
fn a_reversed_win_takes_what_there_is_and_the_rest_is_owed() {
    let mut world = World::with_cash(50);
    let bet = world.hold("r1", 50).unwrap();
    let win = world.win("r1", bet, 80, true).unwrap();
    world.spin(60, 0).unwrap();
    let mark = world.facts.len();
    assert_eq!(world.take_back("r1", win), Ok(Done::RolledBack { receivable: Amount(60) }));
    assert_eq!((world.cash(), world.balance_of(AccountCode::Receivable)), (0, -60));
    assert_eq!(world.told(mark), ["win.reversed", "wallet.receivable.raised"]);
    assert_eq!(world.player.state.usage[0].net_loss, Amount(110));
}

#[test]
fn a_win_after_a_void_first_retakes_the_stake() {
    let mut world = World::with_cash(50);
    let bet = world.hold("r1", 50).unwrap();
    assert_eq!(world.void("r1"), Ok(Done::RoundVoided));
    assert_eq!((world.cash(), world.player.state.usage[0].wagered), (50, Amount(0)));
    world.spin(20, 0).unwrap();
    let win = world.win("r1", bet, 200, true).unwrap();
    assert_eq!(world.rounds["r1"].1.transactions.iter().find(|t| t.id == win).unwrap().cash, Amount(200));
    assert_eq!((world.cash(), world.balance_of(AccountCode::Receivable)), (200, -20));
    assert_eq!(world.player.state.usage[0].wagered, Amount(70));
    assert_eq!(world.rounds["r1"].1.status, RoundStatus::Voided);
    world.hold("r2", 10).unwrap();
    world.void("r2").unwrap();
    let voided = world.rounds["r2"].1.transactions[0].clone();
    assert_eq!(voided.status, TransactionStatus::Voided);
    assert_eq!(world.take_back("r2", voided.id), Ok(Done::AlreadyRolledBack));
    assert_eq!(world.win("r2", voided.id, 10, true), Err(Rejected::BetRolledBack));
}

#[test]
fn remainders_below_a_unit_add_up_and_come_back_exactly() {
    let mut world = World::with_cash(100);
    let bet = world.hold("r1", 10).unwrap();
    let first = world.win_micro("r1", bet, 0, 600_000, false).unwrap();
    assert_eq!((world.cash(), world.player.state.carries[0].1), (90, Micro(600_000)));
    let second = world.win_micro("r1", bet, 1, 500_000, false).unwrap();
    assert_eq!((world.cash(), world.player.state.carries[0].1), (92, Micro(100_000)));
    world.take_back("r1", first).unwrap();
    assert_eq!((world.cash(), world.player.state.carries[0].1), (91, Micro(500_000)));
    world.take_back("r1", second).unwrap();
    assert_eq!((world.cash(), world.player.state.carries.len()), (90, 0));
}

#[test]
fn a_remainder_without_a_place_is_rounded_up_to_the_player() {
    let mut world = World::with_cash(1);
    for (name, paid) in [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 2)] {
        let (before, one) = (world.cash(), Amount(1));
        let provider = name.parse().unwrap();
        let currency = protocol::Currency::EUR;
        let decision = provider::promo_win(&world.brand, &world.player, provider, "spring", one, Micro(1), currency, world.now);
        assert_eq!(world.run(decision), Ok(Done::PromoPaid));
        assert_eq!(world.cash() - before, paid, "{name}");
    }
    assert_eq!(world.house(AccountCode::BonusCost), -6, "charged to bonus cost");
}

#[test]
fn a_free_bet_moves_nothing_and_its_win_is_cash() {
    let mut world = World::with_cash(0);
    let bet = bet_id(1);
    world.hold_as("r1", bet, 0, true).unwrap();
    assert!(world.legs.is_empty());
    assert!(world.hold_as("r1", bet_id(2), 5, true).is_err());
    world.win("r1", bet, 30, true).unwrap();
    assert_eq!(world.cash(), 30);
}

#[test]
fn a_full_round_refuses_bets_and_never_wins() {
    let mut world = World::with_cash(10_000);
    let bet = world.hold("r1", 1).unwrap();
    for _ in 1..RoundState::TRANSACTIONS_MAX {
        world.hold("r1", 1).unwrap();
    }
    assert_eq!(world.hold("r1", 1), Err(Rejected::TooManyBets));
    let before = world.cash();
    for _ in 0..200 {
        world.win("r1", bet, 1, false).unwrap();
    }
    assert_eq!(world.cash(), before + 200);
    assert_eq!(world.rounds["r1"].1.transactions.len(), RoundState::TRANSACTIONS_MAX + 1);
}

#[test]
fn open_rounds_have_a_bound_and_the_row_keeps_its_size() {
    let mut world = World::with_cash(10_000);
    world.brand.policy.slot_cycle_ms = 60_000;
    let refused = (0..10).find_map(|n| {
        world.game = game(&format!("a-game-with-a-name-{n}"));
        world.hold(&format!("r{n}"), 1).err()
    });
    assert!(matches!(refused, Some(Rejected::TooManyBets | Rejected::GameCycle { .. })), "{refused:?}");
    assert!(!world.player.state.open_rounds.is_empty());
}
