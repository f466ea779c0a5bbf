//! A provider's client: calls of the contract with their raw answers.

use protocol::{Problem, provider::path};
use sandbox::{StudioClient, client::RawReply};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{TestServer, WAIT_MAX, new_id};

pub const GAME: &str = "starfall-remote";
pub const KEY_ID: &str = "sandbox-1";

/// One answer of the provider listener.
#[derive(Clone, Debug)]
pub struct Answer(pub RawReply);

impl Answer {
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.0.status, 200, "refused: {}", super::text(&self.0.body));
        serde_json::from_slice(&self.0.body).expect("JSON")
    }

    #[track_caller]
    pub fn refused(&self) -> Problem {
        assert_ne!(self.0.status, 200, "carried out: {}", super::text(&self.0.body));
        let problem: Problem = serde_json::from_slice(&self.0.body).expect("a problem document");
        assert_eq!(problem.status, self.0.status, "the document says its status");
        problem
    }

    /// The code of the refusal, or the outcome of what was carried out.
    pub fn said(&self) -> String {
        let body: Value = serde_json::from_slice(&self.0.body).expect("JSON");
        body["code"].as_str().or(body["outcome"].as_str()).unwrap_or("ok").to_owned()
    }
}

/// The secret of the demo's provider.
pub fn secret(server: &TestServer) -> Vec<u8> {
    let text = std::fs::read_to_string(server.data().join("keys/provider-sandbox-1.key")).expect("the provider's key");
    hex::decode(text.trim()).expect("hex")
}

/// A provider with one player at its game.
pub struct Seat {
    pub client: StudioClient,
    pub player: String,
    pub session: String,
    /// Cash in minor units when the seat was taken.
    pub cash: i64,
}

impl Seat {
    /// Launches the game for a demo player and authenticates as the studio does.
    pub async fn take(server: &TestServer, player: &str) -> Self {
        let launched = server.launch(player, GAME).await;
        let client = client(server);
        let reply = call(&client, path::AUTHENTICATE, &json!({ "launch_token": launched["launch_token"] })).await.ok();
        assert_eq!(reply["game_id"], GAME);
        let text = |key: &str| reply[key].as_str().expect("a text").to_owned();
        Self { client, player: text("player_id"), session: text("session_id"), cash: minor(&reply["cash"]) }
    }

    /// The same seat at a server that was started again.
    pub fn reconnect(&mut self, server: &TestServer) {
        self.client = client(server);
    }

    pub async fn call(&self, path: &str, body: &Value) -> Answer {
        call(&self.client, path, body).await
    }

    pub fn bet_body(&self, id: Uuid, round: &str, amount: &str) -> Value {
        json!({
            "transaction_id": id, "player_id": self.player, "session_id": self.session, "round_id": round, "game_id": GAME,
            "amount": amount, "currency": "EUR",
        })
    }

    pub fn win_body(&self, id: Uuid, round: &str, bet: Uuid, amount: &str, is_final: bool) -> Value {
        json!({
            "transaction_id": id, "player_id": self.player, "round_id": round, "bet_transaction_id": bet, "amount": amount,
            "currency": "EUR", "is_final": is_final,
        })
    }

    pub fn rollback_body(&self, id: Uuid, round: &str, reference: Uuid) -> Value {
        json!({ "transaction_id": id, "player_id": self.player, "round_id": round, "reference_transaction_id": reference })
    }

    pub async fn bet(&self, id: Uuid, round: &str, amount: &str) -> Answer {
        self.call(path::BET, &self.bet_body(id, round, amount)).await
    }

    pub async fn win(&self, id: Uuid, round: &str, bet: Uuid, amount: &str, is_final: bool) -> Answer {
        self.call(path::WIN, &self.win_body(id, round, bet, amount, is_final)).await
    }

    pub async fn rollback(&self, id: Uuid, round: &str, reference: Uuid) -> Answer {
        self.call(path::ROLLBACK, &self.rollback_body(id, round, reference)).await
    }

    pub async fn close(&self, round: &str) -> Answer {
        let body = json!({ "transaction_id": new_id(), "player_id": self.player, "round_id": round });
        self.call(path::ROUND_CLOSE, &body).await
    }

    pub async fn promo(&self, id: Uuid, campaign: &str, amount: &str) -> Answer {
        let body = json!({
            "transaction_id": id, "player_id": self.player, "campaign_id": campaign, "amount": amount, "currency": "EUR",
        });
        self.call(path::PROMO_WIN, &body).await
    }

    /// Cash and in play, minor units.
    pub async fn balance(&self) -> (i64, i64) {
        let reply = self.call(path::BALANCE, &json!({ "player_id": self.player })).await.ok();
        (minor(&reply["cash"]), minor(&reply["in_play"]))
    }
}

pub fn client(server: &TestServer) -> StudioClient {
    StudioClient::new(&server.provider_url(), KEY_ID, &secret(server), WAIT_MAX).expect("a client")
}

pub async fn call(client: &StudioClient, path: &str, body: &Value) -> Answer {
    call_bytes(client, path, body.to_string().into_bytes()).await
}

pub async fn call_bytes(client: &StudioClient, path: &str, body: Vec<u8>) -> Answer {
    Answer(client.call_raw(path, body).await.expect("an answer"))
}

/// Euro text as minor units.
pub fn minor(text: &Value) -> i64 {
    let text = text.as_str().expect("a decimal string");
    let eur: protocol::Currency = "EUR".parse().expect("a currency");
    eur.parse(text).expect("an amount").0
}
