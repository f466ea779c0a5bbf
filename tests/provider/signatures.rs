//! Who may call, and bodies nobody should send.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::{provider::path, signature};
use serde_json::json;

use crate::support::{
    TestServer, http_client, new_id,
    provider::{Answer, KEY_ID, Seat, call, call_bytes, client, secret},
};

struct Signed<'a> {
    key: Option<&'a str>,
    timestamp: Option<String>,
    signature: Option<String>,
    body: Vec<u8>,
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn post(server: &TestServer, path: &str, signed: Signed<'_>) -> Answer {
    let mut request = http_client().post(format!("{}{path}", server.provider_url())).body(signed.body);
    let headers = [
        (signature::KEY_HEADER, signed.key.map(str::to_owned)),
        (signature::TIMESTAMP_HEADER, signed.timestamp),
        (signature::SIGNATURE_HEADER, signed.signature),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(kind.as_deref(), Some(if status == 200 { "application/json" } else { "application/problem+json" }), "HTTP {status}");
    let replayed = response.headers().contains_key(signature::REPLAYED_HEADER);
    Answer(sandbox::client::RawReply { status, replayed, body: response.bytes().await.unwrap().to_vec() })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_by_a_known_key_and_just_now_is_heard() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let (secret, path) = (secret(&server), path::BALANCE);
    let body = json!({ "player_id": seat.player }).to_string().into_bytes();
    let good = |at: i64| Signed {
        key: Some(KEY_ID),
        timestamp: Some(at.to_string()),
        signature: Some(signature::sign_hex(&secret, "POST", path, &at.to_string(), &body)),
        body: body.clone(),
    };
    let at = now_ms();
    assert_eq!(post(&server, path, good(at)).await.said(), "ok");
    // A window of five minutes, either way, with a minute of room for this test.
    for skew in [-240_000, 240_000] {
        assert_eq!(post(&server, path, good(at + skew)).await.said(), "ok", "{skew}");
    }
    let mut other_body = body.clone();
    other_body.push(b' ');
    let timestamp = Some(at.to_string());
    let text = |text: &str| Some(text.to_owned());
    let sign = |secret: &[u8], method: &str, path: &str| Some(signature::sign_hex(secret, method, path, &at.to_string(), &body));
    let cases = [
        ("no key", Signed { key: None, ..good(at) }, "signature_invalid"),
        ("no timestamp", Signed { timestamp: None, ..good(at) }, "signature_invalid"),
        ("no signature", Signed { signature: None, ..good(at) }, "signature_invalid"),
        ("unknown key", Signed { key: Some("sandbox-9"), ..good(at) }, "key_unknown"),
        ("empty signature", Signed { signature: text(""), ..good(at) }, "signature_invalid"),
        ("no hex", Signed { signature: text(&"z".repeat(64)), ..good(at) }, "signature_invalid"),
        ("another secret", Signed { signature: sign(b"x", "POST", path), ..good(at) }, "signature_invalid"),
        ("another method", Signed { signature: sign(&secret, "GET", path), ..good(at) }, "signature_invalid"),
        ("another path", Signed { signature: sign(&secret, "POST", path::BET), ..good(at) }, "signature_invalid"),
        ("another body", Signed { body: other_body, ..good(at) }, "signature_invalid"),
        ("another time", Signed { timestamp: Some((at + 1).to_string()), ..good(at) }, "signature_invalid"),
        ("too old", good(at - 301_000), "signature_expired"),
        ("too new", good(at + 330_000), "signature_expired"),
    ];
    for (what, signed, code) in cases {
        let problem = post(&server, path, signed).await.refused();
        assert_eq!((problem.code.as_str(), problem.status), (code, 401), "{what}");
        if code == "signature_expired" {
            assert_eq!(problem.numbers["window_ms"], 300_000, "{what}");
        }
    }
    // A signature is over the path with its query, and a time that is no number is none.
    let with_query = format!("{path}?a=b");
    assert_eq!(post(&server, &with_query, good(at)).await.said(), "signature_invalid");
    let signed = signature::sign_hex(&secret, "POST", path, "soon", &body);
    let soon = Signed { timestamp: text("soon"), signature: Some(signed), ..good(at) };
    assert_eq!(post(&server, path, soon).await.said(), "signature_expired");
    assert!(timestamp.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_are_valid_while_one_replaces_the_other() {
    let keys = "id = \"sandbox-1\"\nsecret_file = \"keys/provider-sandbox-1.key\"";
    let three = format!(
        "{keys}\n\n[[providers.keys]]\nid = \"old\"\nsecret = \"an old secret of the studio\"\nnot_after = \"2001-01-01T00:00:00Z\"\n\n\
         [[providers.keys]]\nid = \"next\"\nsecret = \"the next secret of the studio\""
    );
    let server = TestServer::configured(&[], &[(keys, &three)]);
    let seat = Seat::take(&server, "ana").await;
    let body = json!({ "player_id": seat.player });
    let with = |key: &str, secret: &str| {
        sandbox::StudioClient::new(&server.provider_url(), key, secret.as_bytes(), Duration::from_secs(30)).unwrap()
    };
    assert_eq!(call(&with("next", "the next secret of the studio"), path::BALANCE, &body).await.said(), "ok");
    assert_eq!(call(&with("old", "an old secret of the studio"), path::BALANCE, &body).await.said(), "key_unknown");
    assert_eq!(call(&with("next", "an old secret of the studio"), path::BALANCE, &body).await.said(), "signature_invalid");
    assert_eq!(seat.balance().await.0, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_understood_are_refused_and_move_nothing() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let good = seat.bet_body(new_id(), "r-1", "1.00");
    let with = |key: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[key] = value;
        body.to_string().into_bytes()
    };
    let without = |key: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(key);
        body.to_string().into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes();
    for (what, body, code, status) in [
        ("empty", Vec::new(), "malformed_body", 400),
        ("no JSON", b"bet".to_vec(), "malformed_body", 400),
        ("no UTF-8", b"\xff\xfe".to_vec(), "malformed_body", 400),
        ("deep", deep, "malformed_body", 400),
        ("an unknown key", with("bonus", json!(1)), "malformed_body", 400),
        ("a number as amount", with("amount", json!(1)), "malformed_body", 400),
        ("no amount", without("amount"), "malformed_body", 400),
        ("no id", without("transaction_id"), "malformed_body", 400),
        ("an id that is none", with("transaction_id", json!("1")), "malformed_body", 400),
        ("a v4 id", with("transaction_id", json!("01890a5d-ac96-474b-bcce-b302099a8057")), "not_uuid_v7", 400),
        ("a comma", with("amount", json!("1,00")), "invalid_amount", 400),
        ("an exponent", with("amount", json!("1e2")), "invalid_amount", 400),
        ("negative", with("amount", json!("-1.00")), "invalid_amount", 400),
        ("over 64 bits", with("amount", json!("99999999999999999999.00")), "invalid_amount", 400),
        ("no digits", with("amount", json!("")), "invalid_amount", 400),
        ("half a cent", with("amount", json!("1.005")), "sub_minor_stake", 400),
        ("no round", with("round_id", json!("")), "invalid_value", 422),
        ("a long round", with("round_id", json!("r".repeat(65))), "invalid_value", 422),
        ("a round with spaces", with("round_id", json!("a b")), "invalid_value", 422),
        ("zero", with("amount", json!("0.00")), "stake_too_low", 422),
        ("too low", with("amount", json!("0.05")), "stake_too_low", 422),
        ("too high", with("amount", json!("100.01")), "stake_too_high", 422),
        ("an unknown game", with("game_id", json!("nothing")), "unknown_game", 404),
        ("a hosted game", with("game_id", json!("starfall")), "unknown_game", 404),
        ("an unknown player", with("player_id", json!(new_id())), "unknown_player", 404),
        ("another session", with("session_id", json!(new_id())), "no_session", 409),
    ] {
        // Each refusal the rules decide is stored under its id, so each has one of its own.
        let mut body = body;
        if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&body)
            && value["transaction_id"] == good["transaction_id"]
        {
            value["transaction_id"] = json!(new_id());
            body = value.to_string().into_bytes();
        }
        let problem = call_bytes(&seat.client, path::BET, body).await.refused();
        assert_eq!((problem.code.as_str(), problem.status), (code, status), "{what}: {problem:?}");
    }
    let mut foreign = seat.bet_body(new_id(), "r-1", "1.00");
    foreign["currency"] = json!("SEK");
    assert_eq!(seat.call(path::BET, &foreign).await.said(), "wrong_currency");
    let large = with("round_id", json!("r".repeat(70_000)));
    assert_eq!(seat.client.call_raw(path::BET, large).await.unwrap().status, 413);
    assert_eq!(seat.balance().await, (10_000, 0), "nothing moved");
    assert_eq!(seat.bet(new_id(), "r-1", "1.00").await.said(), "bet_accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_problems_too() {
    let server = TestServer::start();
    let client = client(&server);
    assert_eq!(call(&client, "/v1/provider/steal", &json!({})).await.refused().code.as_str(), "not_found");
    let got = http_client().get(format!("{}{}", server.provider_url(), path::BET)).send().await.unwrap();
    assert_eq!(got.status(), 405);
    assert_eq!(got.json::<serde_json::Value>().await.unwrap()["code"], "method_not_allowed");
    // The players' addresses are not here, and the providers' are not there.
    assert_eq!(call(&client, "/v1/demo/login", &json!({ "player": "ana" })).await.said(), "not_found");
    let public = http_client().post(format!("{}{}", server.http(), path::BET)).body("{}").send().await.unwrap();
    assert_eq!(public.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_token_is_exchanged_for_its_player_and_nothing_else() {
    let server = TestServer::with(&[("token.launch_s", "1")]);
    let client = client(&server);
    let exchange = async |token: &str| call(&client, path::AUTHENTICATE, &json!({ "launch_token": token })).await;
    for token in ["", "nonsense"] {
        assert_eq!(exchange(token).await.said(), "token_invalid");
    }
    let session = server.token("ana").await;
    assert_eq!(exchange(&session).await.said(), "token_invalid", "a session's token is none");
    let launched = server.launch("ana", "starfall-remote").await;
    let token = launched["launch_token"].as_str().unwrap();
    let first = exchange(token).await;
    if first.0.status == 200 {
        let reply = first.ok();
        assert_eq!((&reply["currency"], &reply["cash"], &reply["in_play"]), (&json!("EUR"), &json!("100.00"), &json!("0.00")));
    }
    let refused = crate::support::until("the token to expire", async || {
        let answer = exchange(token).await;
        (answer.0.status != 200).then_some(answer)
    });
    assert_eq!(refused.await.said(), "token_expired");
}
