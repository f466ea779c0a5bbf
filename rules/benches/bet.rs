//! What a decision costs: the hosted hot path, a provider's bet and win, the row's encoding, a jackpot contribution.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;

use common::{World, bet_id, game};
use criterion::{Criterion, criterion_group, criterion_main};
use protocol::{Amount, Currency, Micro, RoundId};
use rules::{
    PlayerState,
    bet::{self, HeldBet, InstantBet},
    jackpot::{JackpotSpec, Meter, draw_secret},
    provider::{self, WinCall},
};

fn world() -> World {
    let mut world = World::with_cash(1_000_000);
    world.brand.policy.operator_limits.loss = [Some(Amount(900_000)); 3];
    world.brand.policy.operator_limits.wager = [Some(Amount(900_000)); 3];
    world.brand.policy.slot_cycle_ms = 1;
    world.brand.policy.reality_check_s = Some(3600);
    world.issue(1000, 30, None).unwrap();
    world
}

fn decisions(criterion: &mut Criterion) {
    let world = world();
    let bet = InstantBet { round: RoundId(common::id(1)), bet: bet_id(2), stake: Amount(100) };
    criterion.bench_function("accept_and_settle", |bencher| {
        bencher.iter(|| {
            let accepted = bet::accept_instant(&world.brand, &world.game, &world.player, black_box(&bet), world.now);
            accepted.unwrap().settle(Amount(90), None).unwrap()
        });
    });
    let session = world.session();
    let (provider, currency) = (world.game.provider, Currency::EUR);
    let held = HeldBet { provider, round: "r1", transaction: bet_id(3), session, stake: Amount(100), currency, is_free: false };
    let call = WinCall {
        provider,
        round: "r1",
        transaction: bet_id(4),
        bet: bet_id(3),
        amount: Amount(90),
        micro: Micro(0),
        currency,
        is_final: true,
    };
    criterion.bench_function("hold_and_win", |bencher| {
        bencher.iter(|| {
            let plan = bet::hold(&world.brand, &world.game, &world.player, None, black_box(&held), world.now).unwrap();
            let (_, _, round) = plan.round.unwrap();
            provider::win(&world.brand, Some(&world.game), &plan.player, Some((1, &round)), &call, world.now).unwrap()
        });
    });
}

fn encodings(criterion: &mut Criterion) {
    let mut world = world();
    world.game = game("another");
    world.hold("r1", 10).unwrap();
    let bytes = world.player.state.encode();
    criterion.bench_function("encode_player", |bencher| bencher.iter(|| black_box(&world.player.state).encode()));
    criterion.bench_function("decode_player", |bencher| bencher.iter(|| PlayerState::decode(black_box(&bytes)).unwrap()));
}

fn contributions(criterion: &mut Criterion) {
    let world = world();
    let spec = JackpotSpec {
        id: "grand".parse().unwrap(),
        name: "Grand".to_owned(),
        tenant: world.brand.tenant,
        licence: world.brand.licence,
        currency: Currency::EUR,
        seed: Amount(1_000_000),
        ceiling: Amount(5_000_000_000_000),
        reserve_ppm: 200_000,
    };
    let secret = draw_secret(&spec, &[3; 64]);
    let state = Meter::seed_plan(&spec, &secret, vec![]).state;
    let mut meter = Meter { spec: &spec, state, main: spec.seed, reserve: Amount(0) };
    criterion.bench_function("jackpot_contribute", |bencher| {
        bencher.iter(|| {
            meter.contribute(black_box(Micro(1_500_000))).unwrap();
            meter.crossed(&secret)
        });
    });
}

criterion_group!(benches, decisions, encodings, contributions);
criterion_main!(benches);
