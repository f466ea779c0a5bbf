//! Must-hit-by jackpots: exact sums, a committed threshold, and the identity contributions + seeds = paid + held.

use proptest::prelude::*;
use protocol::{AccountCode, Amount, Currency, Fact, Leg, Micro, PlayerId, RecordKey};
use rules::jackpot::{JackpotSpec, JackpotState, Meter, Moved, Secret, commitment, draw_secret, moved_legs};
use sha2::{Digest, Sha256};
use uuid::Uuid;

fn spec() -> JackpotSpec {
    JackpotSpec {
        id: "grand".parse().unwrap(),
        name: "Grand".to_owned(),
        tenant: "demo".parse().unwrap(),
        licence: "mga".parse().unwrap(),
        currency: Currency::EUR,
        seed: Amount(1000),
        ceiling: Amount(1500),
        reserve_ppm: 200_000,
    }
}

fn secret(fill: u8) -> Secret {
    draw_secret(&spec(), &[fill; 64])
}

fn meter(spec: &JackpotSpec) -> Meter<'_> {
    let plan = Meter::seed_plan(spec, &secret(1), vec![9; 60]);
    assert_eq!(plan.legs.len(), 1);
    Meter { spec, state: plan.state, main: Amount(1000), reserve: Amount(0) }
}

#[test]
fn the_threshold_is_committed_to_and_can_be_checked_afterwards() {
    let secret = secret(0xab);
    let mut preimage = secret.nonce.to_vec();
    preimage.extend_from_slice(b"jackpot:grand");
    preimage.extend_from_slice(&3_u64.to_be_bytes());
    preimage.extend_from_slice(&secret.threshold.0.to_be_bytes());
    assert_eq!(commitment(spec().id, 3, &secret)[..], Sha256::digest(&preimage)[..]);
}

#[test]
fn the_bet_that_crosses_wins_the_whole_pool() {
    let spec = spec();
    let mut meter = meter(&spec);
    let secret = Secret { threshold: Micro(1_100_000_000), nonce: [7; 32] };
    meter.contribute(Micro(124_999_998)).unwrap();
    assert!(!meter.crossed(&secret), "the reserve's share is rounded down: a millionth is missing");
    meter.contribute(Micro(1)).unwrap();
    assert!(meter.crossed(&secret));
    let winner = PlayerId(Uuid::from_u128(1));
    let won = meter.win(&secret, &self::secret(2), vec![1], winner, "r1").unwrap();
    assert_eq!(won.amount, Amount(1100));
    assert_eq!(
        won.legs.iter().map(|leg| (leg.from.code, leg.amount.0)).collect::<Vec<_>>(),
        [(AccountCode::JackpotMain, 1100), (AccountCode::JackpotReserve, 24), (AccountCode::JackpotExpense, 976)]
    );
    assert_eq!((meter.main, meter.reserve, meter.state.cycle), (Amount(1000), Amount(0), 2));
    let Fact::JackpotTriggered(told) = won.fact else { panic!("a jackpot was won") };
    assert_eq!((told.threshold, told.cycle), (secret.threshold, 1));
    assert_eq!(told.next_commitment, hex::encode(commitment(spec.id, 2, &self::secret(2))));
}

#[test]
fn a_reversal_after_the_win_is_retained() {
    let spec = spec();
    let mut meter = meter(&spec);
    let moved = meter.contribute(Micro(-5_000_000)).unwrap();
    assert_eq!(moved, Moved { retained: Micro(5_000_000), ..Moved::default() });
    assert_eq!((meter.main, meter.reserve), (Amount(1000), Amount(0)));
}

fn fold(balances: &mut [i128; 4], legs: &[Leg]) {
    let index = |code: AccountCode| match code {
        AccountCode::JackpotMain => Some(0),
        AccountCode::JackpotReserve => Some(1),
        AccountCode::JackpotDiversion => Some(2),
        AccountCode::Cash => Some(3),
        _ => None,
    };
    for leg in legs {
        for (code, sign) in [(leg.from.code, -1), (leg.to.code, 1)] {
            if let Some(index) = index(code) {
                balances[index] += sign * i128::from(leg.amount.0);
                assert!(balances[index] >= 0, "a pool below zero");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_threshold_lies_between_seed_and_ceiling(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
        let mut entropy = [0; 64];
        entropy[..32].copy_from_slice(&a);
        entropy[32..].copy_from_slice(&b);
        let secret = draw_secret(&spec(), &entropy);
        prop_assert!((1_000_000_000..=1_500_000_000).contains(&secret.threshold.0));
    }

    #[test]
    fn nothing_is_lost_and_nothing_appears(
        steps in prop::collection::vec((-40_000_000_i64..200_000_000, any::<bool>(), any::<u8>()), 1..60)
    ) {
        let spec = spec();
        let mut meter = meter(&spec);
        let mut secret = secret(1);
        let mut balances = [1000, 0, 0, 0];
        let (mut contributed, mut seeds) = (0_i128, 1000_i128);
        for (micro, may_trigger, fill) in steps {
            let moved = meter.contribute(Micro(micro)).unwrap();
            prop_assert!(moved.retained.0 >= 0);
            contributed += i128::from(micro) + i128::from(moved.retained.0);
            fold(&mut balances, &moved_legs(&spec, &moved));
            if may_trigger && meter.crossed(&secret) {
                let next = self::secret(fill);
                let from_house = 1000 - i128::from(meter.reserve.0.min(1000));
                let won = meter.win(&secret, &next, vec![], PlayerId(Uuid::nil()), "r").unwrap();
                fold(&mut balances, &won.legs);
                seeds += from_house;
                secret = next;
            }
            prop_assert!(meter.main <= spec.ceiling, "the pool never passes its ceiling");
            prop_assert_eq!((balances[0], balances[1]), (i128::from(meter.main.0), i128::from(meter.reserve.0)));
            let state = &meter.state;
            let carried = i128::from(state.carry_main.0) + i128::from(state.carry_reserve.0) + i128::from(state.carry_diversion.0);
            let held = balances.iter().sum::<i128>() * 1_000_000 + carried;
            prop_assert_eq!(contributed + seeds * 1_000_000, held, "contributions + seeds = paid + shown + reserve + diversion");
            prop_assert_eq!(JackpotState::decode(&state.encode()), Ok(state.clone()));
        }
    }

    #[test]
    fn a_reversal_takes_exactly_what_its_contribution_gave(micro in 0_i64..400_000_000) {
        let spec = spec();
        let mut meter = meter(&spec);
        meter.contribute(Micro(123_457)).unwrap();
        let before = meter.clone();
        let gave = meter.contribute(Micro(micro)).unwrap();
        let took = meter.contribute(Micro(-micro)).unwrap();
        prop_assert_eq!(meter, before);
        prop_assert_eq!((gave.main.0 + took.main.0, gave.reserve.0 + took.reserve.0), (0, 0));
        prop_assert_eq!(RecordKey::jackpot(spec.id), RecordKey::jackpot("grand".parse().unwrap()));
    }
}
