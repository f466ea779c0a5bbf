//! A bonus over the WebSocket: progress, the maximum bet, forfeiture.

use serde_json::json;

use crate::support::{TestServer, new_id, ws::Ws};

#[tokio::test(flavor = "multi_thread")]
async fn wagering_grows_by_each_stake_and_the_maximum_bet_binds() {
    let server = TestServer::configured(&[], &[("max_bet = \"4.00\"", "max_bet = \"1.00\"")]);
    let (mut ws, welcome) = Ws::login(&server, "ben").await;
    let bonus = &welcome["bonus"];
    assert_eq!((&bonus["state"], &bonus["amount"], &bonus["requirement"]), (&json!("active"), &json!(2_000), &json!(20_000)));
    assert_eq!(welcome["balance"]["bonus"], 2_000);
    assert_eq!(bonus["progress"], 0);
    let mut progress = 0;
    for stake in [20, 100, 40, 100, 20] {
        let spun = ws.spin(stake).await.ok();
        progress += stake;
        assert_eq!(spun["bonus"]["progress"], progress, "{spun}");
        assert_eq!(spun["stake_bonus"], 0, "cash goes first");
    }
    let problem = ws.spin(200).await.refused();
    assert_eq!((problem.code.as_str(), &problem.numbers["max"]), ("bonus_max_bet", &json!(100)));
    let read = ws.request("balance", json!({})).await.ok();
    assert_eq!(read["bonus"]["progress"], progress, "a refused stake counts nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn bonus_money_is_staked_after_cash_and_its_share_of_a_win_stays_bonus() {
    let server = TestServer::configured(
        &[],
        &[(
            "key = \"ben\"\nname = \"Ben\"\ntenant = \"demo\"\ncurrency = \"EUR\"\nbalance = \"50.00\"",
            "key = \"ben\"\nname = \"Ben\"\ntenant = \"demo\"\ncurrency = \"EUR\"\nbalance = \"0.10\"",
        )],
    );
    let (mut ws, welcome) = Ws::login(&server, "ben").await;
    assert_eq!((&welcome["balance"]["cash"], &welcome["balance"]["bonus"]), (&json!(10), &json!(2_000)));
    let spun = ws.spin(40).await.ok();
    assert_eq!(spun["stake_bonus"], 30, "ten of cash, the rest of bonus");
    let (win, win_bonus) = (spun["win"].as_i64().unwrap(), spun["win_bonus"].as_i64().unwrap());
    assert_eq!(win_bonus, win * 30 / 40, "the bonus share, rounded down");
    assert_eq!(spun["balance"]["cash"], win - win_bonus);
    assert_eq!(spun["balance"]["bonus"], 2_000 - 30 + win_bonus);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_met_requirement_turns_bonus_into_cash_once() {
    let server = TestServer::configured(&[], &[("wagering_multiple = 10", "wagering_multiple = 1")]);
    let (mut ws, welcome) = Ws::login(&server, "ben").await;
    assert_eq!(welcome["bonus"]["requirement"], 2_000);
    let mut before = welcome["balance"].clone();
    for number in 1..=10 {
        let spun = ws.spin(200).await.ok();
        let total = |balance: &serde_json::Value| balance["cash"].as_i64().unwrap() + balance["bonus"].as_i64().unwrap();
        // Ten stakes of two meet it; until then nothing converts, and the conversion itself is within its cap.
        assert_eq!(total(&spun["balance"]), total(&before) - 200 + spun["win"].as_i64().unwrap(), "spin {number}");
        before = spun["balance"].clone();
    }
    assert_eq!(before["bonus"], 0, "all of it is cash now");
    let completed = ws.push_where("bonus", |data| data["event"].as_str().is_some_and(|event| event.contains("completed"))).await;
    assert!(!completed.data["data"].is_null());
    assert_ne!(ws.request("balance", json!({})).await.ok()["bonus"]["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forfeited_bonus_is_gone_and_cash_stays() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "ben").await;
    let grant = &welcome["bonus"]["grant"];
    assert_eq!(ws.request("bonus.forfeit", json!({ "grant": new_id() })).await.code(), "unknown_grant");
    let told = ws.request("bonus.forfeit", json!({ "grant": grant })).await.ok();
    assert_eq!((&told["balance"]["cash"], &told["balance"]["bonus"]), (&json!(5_000), &json!(0)));
    assert_eq!(ws.spin(400).await.code(), "ok", "its terms bind no more");
}
