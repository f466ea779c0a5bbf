//! Frames no client should send: each gets its stable code, and the connection survives where docs/protocol.md says so.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{
    TestServer, new_id,
    ws::{Ws, frame},
};

/// A text frame of a client whose payload is no UTF-8; the mask is zero, so the payload is the payload.
fn invalid_utf8_frame() -> Vec<u8> {
    let payload = b"\xff\xfe{}";
    let mut bytes = vec![0x81, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_cannot_be_understood_are_answered_and_the_connection_goes_on() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let id = new_id();
    let spin = |data: &str| format!(r#"{{"v":1,"id":"{id}","type":"spin","data":{data}}}"#);
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(5_000), close.repeat(5_000));
    let no_id = None;
    let cases: Vec<(&str, String, &str, Option<Uuid>)> = vec![
        ("empty", String::new(), "malformed_frame", no_id),
        ("no JSON", "spin!".to_owned(), "malformed_frame", no_id),
        ("half a frame", spin("{}")[..20].to_owned(), "malformed_frame", no_id),
        ("an array", "[1,2]".to_owned(), "malformed_frame", no_id),
        ("null", "null".to_owned(), "malformed_frame", no_id),
        ("ten thousand deep", nested("[", "]"), "malformed_frame", no_id),
        ("an unknown key", format!(r#"{{"v":1,"id":"{id}","type":"ping","extra":1}}"#), "malformed_frame", no_id),
        ("no type", format!(r#"{{"v":1,"id":"{id}"}}"#), "malformed_frame", Some(id)),
        ("deep data", spin(&nested("[", "]")), "malformed_frame", Some(id)),
        ("unknown type", frame(id, "cheat", &json!({})), "unknown_type", Some(id)),
        ("another version", format!(r#"{{"v":2,"id":"{id}","type":"ping"}}"#), "unsupported_version", Some(id)),
        ("no data", format!(r#"{{"v":1,"id":"{id}","type":"spin"}}"#), "malformed_frame", Some(id)),
        ("an unknown field", spin(r#"{"game":"starfall","stake":20,"win":9}"#), "malformed_frame", Some(id)),
        ("a text as stake", spin(r#"{"game":"starfall","stake":"20"}"#), "malformed_frame", Some(id)),
        ("half a cent", spin(r#"{"game":"starfall","stake":20.5}"#), "malformed_frame", Some(id)),
        ("an exponent", spin(r#"{"game":"starfall","stake":2e1}"#), "malformed_frame", Some(id)),
        ("over 64 bits", spin(r#"{"game":"starfall","stake":9223372036854775808}"#), "malformed_frame", Some(id)),
        ("a name that is none", spin(r#"{"game":"STAR FALL","stake":20}"#), "malformed_frame", Some(id)),
    ];
    for (what, text, code, re) in cases {
        ws.send_text(text).await;
        let reply = ws.reply().await;
        assert_eq!(reply.code(), code, "{what}: {reply:?}");
        // An id that can be made out is answered, so that a client can tell what failed.
        if re.is_some() {
            assert_eq!(reply.re, re, "{what}");
        }
    }
    let v4 = Uuid::from_u128(0x0189_0a5d_ac96_474b_8cce_b302_099a_8057);
    ws.send_text(frame(v4, "ping", &json!({}))).await;
    assert_eq!(ws.reply().await.code(), "not_uuid_v7");
    ws.send(Message::binary(frame(new_id(), "ping", &json!({})).into_bytes())).await;
    assert_eq!(ws.reply().await.code(), "malformed_frame", "binary");
    assert_eq!(ws.spin(20).await.code(), "ok", "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn stakes_a_game_does_not_take_are_refused_with_what_it_takes() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "load-000001").await;
    let mut told = Vec::new();
    for (stake, code, numbers) in [
        (0, "stake_too_low", json!({ "min": 20 })),
        (-20, "stake_too_low", json!({ "min": 20 })),
        (i64::MIN, "stake_too_low", json!({ "min": 20 })),
        (19, "stake_too_low", json!({ "min": 20 })),
        (401, "stake_too_high", json!({ "max": 400 })),
        (i64::MAX, "stake_too_high", json!({ "max": 400 })),
        (21, "stake_step", json!({ "steps": [20, 40, 100, 200, 400] })),
    ] {
        let problem = ws.spin(stake).await.refused();
        assert_eq!(problem.code.as_str(), code, "{stake}");
        for (name, value) in numbers.as_object().unwrap() {
            assert_eq!(problem.numbers.get(name), Some(value), "{stake}: {problem:?}");
        }
        told.push(problem);
    }
    for (game, code) in [("no-such-game", "unknown_game"), ("starfall-remote", "unknown_game")] {
        assert_eq!(ws.request("spin", json!({ "game": game, "stake": 20 })).await.code(), code, "{game}");
    }
    assert_eq!(ws.balance().await["cash"], welcome["balance"]["cash"], "nothing moved");
    assert_eq!(ws.spin(20).await.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_longer_than_allowed_closes_with_1009() {
    let server = TestServer::with(&[("ws.frame_bytes_max", "2048")]);
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let pad = |length: usize| " ".repeat(length) + &frame(new_id(), "ping", &json!({}));
    ws.send_text(pad(1_900)).await;
    assert_eq!(ws.reply().await.code(), "ok", "just below");
    ws.send_text(pad(2_048)).await;
    assert_eq!(ws.closed().await, Some(1009));
    let (mut ws, _) = Ws::login(&server, "ana").await;
    assert_eq!(ws.spin(20).await.code(), "ok", "the player comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_utf8_ends_its_connection_and_no_other() {
    let server = TestServer::start();
    let (mut other, _) = Ws::login(&server, "ben").await;
    let (mut ws, _) = Ws::login(&server, "ana").await;
    ws.stream().write_all(&invalid_utf8_frame()).await.unwrap();
    ws.closed().await;
    assert_eq!(other.request("ping", json!({})).await.code(), "ok");
    let (mut ws, _) = Ws::login(&server, "ana").await;
    assert_eq!(ws.spin(20).await.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_websocket_end_their_connection_and_no_other() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    for garbage in [
        &b"\x00\x01\x02"[..],
        b"GET /ws HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"POST /v1/demo/login HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let address = server.http().replace("http://", "");
        let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
        raw.write_all(garbage).await.unwrap();
        raw.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut raw, &mut answer);
        // Whether it answers 400 or hangs up, it ends.
        drop(tokio::time::timeout(crate::support::WAIT_MAX, read).await.expect("the server ends it"));
    }
    assert_eq!(ws.spin(20).await.code(), "ok");
}
