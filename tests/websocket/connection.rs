//! Who may connect, one connection at a time, and the bounds of a connection.

use serde_json::json;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

use crate::support::{
    TestServer, http_client, new_id,
    ws::{Ws, frame},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_takes_the_seat_of_the_first() {
    let server = TestServer::start();
    let (mut first, one) = Ws::login(&server, "ana").await;
    let (mut second, two) = Ws::login(&server, "ana").await;
    assert_eq!(one["session"], two["session"], "the play session goes on");
    assert_eq!(two["resumed"], true);
    let notice = first.push_where("session", |data| data["notice"] == "replaced").await;
    assert!(!notice.data["detail"].as_str().unwrap().is_empty());
    assert_eq!(first.closed().await, Some(1008));
    assert_eq!(second.spin(20).await.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sequence_of_pushes_has_no_gap() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "load-000001").await;
    ws.request("leaderboard", json!({})).await.ok();
    while ws.pushes.len() < 6 {
        ws.spin(20).await.ok();
    }
    let sequence: Vec<u64> = ws.pushes.iter().map(|push| push.seq).collect();
    let expected: Vec<u64> = (1..=sequence.len() as u64).collect();
    assert_eq!(sequence, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_the_window_holds_are_busy_and_the_connection_goes_on() {
    let server = TestServer::with(&[("ws.in_flight_max", "2")]);
    let (mut ws, welcome) = Ws::login(&server, "load-000001").await;
    const SENT: usize = 60;
    let mut ids = Vec::new();
    for _ in 0..SENT {
        let id = new_id();
        ws.send_text(frame(id, "spin", &json!({ "game": "starfall", "stake": 20 }))).await;
        ids.push(id);
    }
    let (mut played, mut busy) = (0, Vec::new());
    for _ in 0..SENT {
        let reply = ws.reply().await;
        match reply.code() {
            "ok" => played += 1,
            "busy" => busy.push(reply.re.unwrap()),
            other => panic!("{other}"),
        }
    }
    assert!(!busy.is_empty() && played > 0, "{played} played, {} busy", busy.len());
    let version = welcome["balance"]["version"].as_u64().unwrap();
    assert_eq!(ws.balance().await["version"], version + played, "what was busy was not tried");
    let again = ws.spin_as(busy[0], 20).await;
    assert!(!again.replayed, "busy stored nothing");
    assert_eq!(again.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_hello_in_time_the_connection_is_closed() {
    let server = TestServer::with(&[("ws.hello_timeout_s", "1")]);
    let mut silent = Ws::open(&server).await;
    assert_eq!(silent.closed().await, Some(1008));
    // Frames that are no hello do not buy time.
    let mut noisy = Ws::open(&server).await;
    noisy.send_text("{}").await;
    assert_eq!(noisy.reply().await.code(), "malformed_frame");
    assert_eq!(noisy.closed().await, Some(1008));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_must_be_a_hello() {
    let server = TestServer::start();
    let mut ws = Ws::open(&server).await;
    let reply = ws.request("balance", json!({})).await;
    assert_eq!(reply.code(), "unauthenticated");
    assert_eq!(ws.closed().await, Some(1008));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_hold_is_refused_and_closes() {
    let server = TestServer::with(&[("token.session_s", "1")]);
    let token = server.token("ana").await;
    let mut tampered = token.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let launch = server.launch("ana", "starfall-remote").await["launch_token"].as_str().unwrap().to_owned();
    for (what, token, code) in [
        ("empty", String::new(), "token_invalid"),
        ("nonsense", "not-a-token".to_owned(), "token_invalid"),
        ("tampered", String::from_utf8(tampered).unwrap(), "token_invalid"),
        ("a launch token", launch, "token_invalid"),
    ] {
        let mut ws = Ws::open(&server).await;
        assert_eq!(ws.request("hello", json!({ "token": token })).await.code(), code, "{what}");
        assert_eq!(ws.closed().await, Some(1008), "{what}");
    }
    // The token holds for a second; from some moment on it has expired and never comes back.
    let expired = crate::support::until("the token to expire", async || {
        let mut ws = Ws::open(&server).await;
        let reply = ws.request("hello", json!({ "token": token })).await;
        (reply.code() != "ok").then_some((reply, ws))
    });
    let (reply, mut ws) = expired.await;
    assert_eq!(reply.code(), "token_expired");
    assert_eq!(ws.closed().await, Some(1008));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_without_a_token_is_malformed_and_may_be_said_again() {
    let server = TestServer::start();
    let mut ws = Ws::open(&server).await;
    assert_eq!(ws.request("hello", json!({})).await.code(), "malformed_frame");
    let token = server.token("ana").await;
    assert_eq!(ws.request("hello", json!({ "token": token })).await.code(), "ok");
}

async fn upgrade_status(server: &TestServer, origin: Option<&str>) -> Result<(), (u16, String)> {
    let mut request = server.ws_url().into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match connect_async(request).await {
        Ok(_) => Ok(()),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8_lossy(body).into_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_origin_is_refused() {
    let server = TestServer::start();
    assert!(upgrade_status(&server, None).await.is_ok(), "no browser");
    assert!(upgrade_status(&server, Some(&server.http())).await.is_ok(), "the page of this host");
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
        let (status, body) = upgrade_status(&server, Some(origin)).await.expect_err(origin);
        assert_eq!(status, 403, "{origin}");
        assert!(body.contains("origin_refused"), "{origin}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_origins_replace_the_host() {
    let server = TestServer::configured(&[], &[("origins = []", "origins = [\"https://play.example\"]")]);
    assert!(upgrade_status(&server, Some("https://play.example")).await.is_ok());
    assert_eq!(upgrade_status(&server, Some(&server.http())).await.expect_err("not listed").0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_bound_are_refused_and_places_come_back() {
    let server = TestServer::with(&[("ws.connections_max", "2")]);
    let (first, _) = Ws::login(&server, "ana").await;
    let (_second, _) = Ws::login(&server, "ben").await;
    let (status, body) = upgrade_status(&server, None).await.expect_err("the third");
    assert_eq!(status, 503);
    assert!(body.contains("\"busy\""), "{body}");
    first.close().await;
    crate::support::until("a place", async || upgrade_status(&server, None).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed_and_one_that_answers_pings_is_not() {
    let server = TestServer::with(&[("ws.ping_interval_s", "1"), ("ws.idle_timeout_s", "2")]);
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let (silent, _) = Ws::login(&server, "ben").await;
    let connections = async || {
        let metrics = http_client().get(format!("{}/metrics", server.ops_url())).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("pitboss_connections "));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok())
    };
    // `ws` reads while it waits, so that its pongs go out; `silent` never reads.
    let watched =
        async { crate::support::until("one connection", async || connections().await.filter(|count| *count == 1.0)).await };
    tokio::select! {
        _ = watched => {}
        code = ws.closed() => panic!("the one that answers was closed: {code:?}"),
    }
    assert_eq!(ws.spin(20).await.code(), "ok");
    drop(silent);
}
