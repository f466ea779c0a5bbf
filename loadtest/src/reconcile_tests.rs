//! Synthetic exports: a clean one passes, and each way of losing, doubling or bending money is found.

use super::*;
use crate::{fake_server::leg, record::OTHER_INDEX};

const IDS: Ids = Ids::new(77);
const PLAYER: Uuid = Uuid::from_u128(0xa11ce);
const STARTED_MS: i64 = 1_000;

fn id(op: u32) -> Uuid {
    IDS.make(5_000, 0, op)
}

fn body(cash: i64, version: u64, win: i64) -> String {
    format!(
        r#"{{"round":"r","stake":20,"stake_bonus":0,"win":{win},"win_bonus":0,"balance":{{"cash":{cash},"bonus":0,"in_play":0,"version":{version}}}}}"#
    )
}

fn acknowledged(op: u32, cash: i64, version: u64, win: i64) -> Op {
    let body = body(cash, version, win);
    let (numbers, net) = wire::read_spin(&body, 20).unwrap();
    Op { answer: Answer::Accepted(numbers), net, reply_hash: hash_of(body.as_bytes()), ..Op::sent(id(op)) }
}

/// A unit without its place in the ledger; [`reconcile`] numbers them.
fn unit(key: &str, legs: &[String], version: u64, reply: &str) -> String {
    let (source, id) = key.rsplit_once('/').unwrap();
    let legs = legs.join(",");
    format!(
        r#""key":{{"source":"{source}","id":"{id}"}},"body_hash":"00","at":5000,"legs":[{legs}],"records":[{{"key":"player:{PLAYER}","version":{version}}}],"events":{{"id":"x","events":[]}},"reply":{reply}}}"#
    )
}

fn funding() -> String {
    unit("system:seed/fund", &[leg("house/bank", &format!("player:{PLAYER}/cash"), 1_000)], 1, "\"\"")
}

fn spin(op: u32, cash: i64, version: u64, win: i64) -> String {
    let cash_account = format!("player:{PLAYER}/cash");
    let mut legs =
        vec![leg(&cash_account, "house:studio/revenue", 20), leg("house/jackpot_expense", "jackpot:star/jackpot_main", 1)];
    if win > 0 {
        legs.push(leg("house:studio/revenue", &cash_account, win));
    }
    unit(&format!("player:{PLAYER}/{}", id(op)), &legs, version, &body(cash, version, win))
}

/// What a jackpot pays lands behind the bet, in a unit of the server's own.
fn jackpot(version: u64) -> String {
    unit("system:jackpot/9", &[leg("jackpot:star/jackpot_main", &format!("player:{PLAYER}/cash"), 500)], version, "\"\"")
}

fn clean() -> (Vec<Op>, Vec<String>) {
    let refusal = Op { answer: Answer::Refused(ErrorCode::StakeLimit), ..Op::sent(id(2)) };
    let ops = vec![acknowledged(0, 980, 2, 0), acknowledged(1, 1_010, 3, 50), refusal, acknowledged(3, 1_490, 5, 0)];
    let problem = serde_json::to_string(&protocol::Problem::new(ErrorCode::StakeLimit)).unwrap();
    let refused = unit(&format!("player:{PLAYER}/{}", id(2)), &[], 3, &problem);
    let hello = unit(&format!("player:{PLAYER}/{}", IDS.make(5_000, 0, OTHER_INDEX)), &[], 1, "{}");
    let units = vec![funding(), hello, spin(0, 980, 2, 0), spin(1, 1_010, 3, 50), refused, jackpot(4), spin(3, 1_490, 5, 0)];
    (ops, units)
}

fn reconcile(ops: Vec<Op>, units: &[String]) -> Findings {
    let log = PlayerLog { player: PLAYER, ops };
    let mut reconciler = Reconciler::new(Mode::Ws, IDS, STARTED_MS, vec![log]);
    for (index, unit) in units.iter().enumerate() {
        let line = format!(r#"{{"shard":0,"sequence":{},{unit}"#, index + 1);
        reconciler.take(line.as_bytes()).unwrap();
    }
    reconciler.finish()
}

#[test]
fn a_true_ledger_is_clean() {
    let (ops, units) = clean();
    let findings = reconcile(ops, &units);
    assert!(findings.are_clean(), "{findings:?}");
    assert_eq!((findings.accepted, findings.refused, findings.units, findings.same_bytes), (3, 1, 7, 3));
}

#[test]
fn a_lost_operation_is_found() {
    let (ops, mut units) = clean();
    drop(units.remove(6));
    assert_eq!(reconcile(ops, &units), Findings { acked_lost: 1, ..without_examples(&units, 3, 1, 2) }.with_one_example());
}

#[test]
fn a_lost_refusal_is_found() {
    let (mut ops, mut units) = clean();
    drop(units.remove(4));
    assert_eq!(reconcile(ops.clone(), &units).acked_lost, 1);
    // What the edge refused was never to be recorded.
    ops[2].answer = Answer::Refused(ErrorCode::MalformedFrame);
    assert!(reconcile(ops, &units).are_clean());
}

#[test]
fn a_key_in_two_units_is_found() {
    let (ops, mut units) = clean();
    units.push(units[6].clone());
    let findings = reconcile(ops, &units);
    assert_eq!((findings.duplicated, findings.acked_lost), (1, 0));
    assert!(!findings.are_clean());
}

#[test]
fn a_second_unit_under_another_key_is_found() {
    let (ops, mut units) = clean();
    units.push(units[6].replace(&id(3).to_string(), &Uuid::from_u128(9).to_string()));
    assert_eq!(reconcile(ops.clone(), &units).duplicated, 1);
    // Older than the run: somebody's earlier play.
    let last = units.len() - 1;
    units[last] = units[last].replace(r#""at":5000"#, r#""at":999"#);
    assert!(reconcile(ops, &units).are_clean());
}

#[test]
fn a_balance_that_is_not_the_fold_is_found() {
    // The reply and its stored copy agree with each other, not with the legs.
    let (mut ops, mut units) = clean();
    ops[3] = acknowledged(3, 1_491, 5, 0);
    units[6] = spin(3, 1_491, 5, 0);
    assert_eq!(reconcile(ops, &units).mismatched_balances, 1);
    // The jackpot came a unit later than the balances say.
    let (ops, mut units) = clean();
    units.swap(5, 6);
    assert_eq!(reconcile(ops, &units).mismatched_balances, 1);
}

#[test]
fn a_version_that_is_not_the_records_is_found() {
    let (ops, mut units) = clean();
    let at = units[6].rfind(r#""version":5}]"#).unwrap();
    units[6].replace_range(at..at + 12, r#""version":6}"#);
    assert_eq!(reconcile(ops, &units).mismatched_balances, 1);
}

#[test]
fn a_stored_reply_that_says_something_else_is_found() {
    let (ops, mut units) = clean();
    units[3] = units[3].replace(r#""win":50"#, r#""win":51"#);
    assert_eq!(reconcile(ops, &units).mismatched_balances, 1);
    // Other bytes of the same meaning are no contradiction, and are not counted as the same bytes.
    let (ops, mut units) = clean();
    units[3] = units[3].replace(r#""stake":20,"#, r#""stake": 20,"#);
    let findings = reconcile(ops, &units);
    assert!(findings.are_clean());
    assert_eq!(findings.same_bytes, 2);
}

#[test]
fn a_win_that_the_legs_do_not_pay_is_found() {
    // Balances follow the legs, yet the reply promised ten more.
    let (mut ops, mut units) = clean();
    ops[1] = acknowledged(1, 1_010, 3, 60);
    units[3] = units[3].replace(r#""win":50"#, r#""win":60"#);
    assert_eq!(reconcile(ops, &units).mismatched_balances, 1);
}

#[test]
fn a_refusal_that_moves_money_is_found() {
    let (ops, mut units) = clean();
    units[4] = units[4].replace(r#""legs":[]"#, &format!(r#""legs":[{}]"#, leg("house/bank", "house/suspense", 1)));
    assert_eq!(reconcile(ops, &units).mismatched_balances, 1);
}

#[test]
fn what_was_never_answered_is_found_until_its_repeat_is() {
    let (mut ops, units) = clean();
    ops[3].answer = Answer::Open;
    assert_eq!(reconcile(ops.clone(), &units).unanswered, 1);
    ops[3] = acknowledged(3, 1_490, 5, 0);
    assert!(reconcile(ops, &units).are_clean());
}

#[test]
fn a_gap_in_the_sequence_is_found() {
    let mut reconciler = Reconciler::new(Mode::Ws, IDS, STARTED_MS, Vec::new());
    for sequence in [1, 2, 4] {
        reconciler.take(format!(r#"{{"shard":0,"sequence":{sequence},{}"#, funding()).as_bytes()).unwrap();
    }
    assert_eq!(reconciler.finish().out_of_order, 1);
}

#[test]
fn provider_units_are_found_by_their_provider() {
    let money = |cash: &str, in_play: &str, version: u64| {
        format!(
            r#"{{"transaction_id":"t","outcome":"bet_accepted","currency":"EUR","cash":"{cash}","bonus":"0.00","in_play":"{in_play}","version":{version}}}"#
        )
    };
    let told = |op: u32, body: &str, net: i64| Op {
        answer: Answer::Accepted(wire::read_money(body).unwrap().unwrap()),
        net: Some(net),
        reply_hash: hash_of(body.as_bytes()),
        ..Op::sent(id(op))
    };
    let (cash, held) = (format!("player:{PLAYER}/cash"), format!("player:{PLAYER}/in_play_cash"));
    let (bet, win) = (money("9.80", "0.20", 2), money("10.10", "0.00", 3));
    let units = [
        funding(),
        unit(&format!("provider:{PROVIDER_ID}/{}", id(0)), &[leg(&cash, &held, 20)], 2, &bet),
        unit(
            &format!("provider:{PROVIDER_ID}/{}", id(1)),
            &[leg(&held, "house:studio/revenue", 20), leg("house:studio/revenue", &cash, 30)],
            3,
            &win,
        ),
    ];
    let reconcile = |ops: Vec<Op>| {
        let mut reconciler = Reconciler::new(Mode::Provider, IDS, STARTED_MS, vec![PlayerLog { player: PLAYER, ops }]);
        for (index, unit) in units.iter().enumerate() {
            reconciler.take(format!(r#"{{"shard":0,"sequence":{},{unit}"#, index + 1).as_bytes()).unwrap();
        }
        reconciler.finish()
    };
    assert!(reconcile(vec![told(0, &bet, 0), told(1, &win, 10)]).are_clean());
    assert_eq!(reconcile(vec![told(0, &bet, 0), told(1, &win, 11)]).mismatched_balances, 1);
    // A bet that nobody sent.
    assert_eq!(reconcile(vec![told(0, &bet, 0)]).duplicated, 1);
}

fn without_examples(units: &[String], accepted: u64, refused: u64, same_bytes: u64) -> Findings {
    // Funding and the jackpot have one leg, spins two and the winning one three.
    let legs = units.iter().map(|unit| unit.matches("\"amount\"").count() as u64).sum();
    Findings { units: units.len() as u64, legs, accepted, refused, same_bytes, ..Findings::default() }
}

impl Findings {
    fn with_one_example(mut self) -> Self {
        self.examples =
            vec![format!("{} was answered ({:?}) and is not in the ledger", id(3), acknowledged(3, 1_490, 5, 0).answer)];
        self
    }
}
