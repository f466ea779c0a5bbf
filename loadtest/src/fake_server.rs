//! For tests: a server with a ledger of its own in memory, which can be told to fail in the ways that matter.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt, StreamExt};
use protocol::{
    Amount, Currency, ErrorCode, Problem,
    frame::{ClientFrame, Request, refusal_text, reply_text},
    signature::{SIGNATURE_HEADER, TIMESTAMP_HEADER, verify_hex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

pub const SECRET: &str = "a secret of the test";

/// Which of its commands go wrong; zero never does.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Commit, then break the connection before the reply.
    pub drop_reply_every: usize,
    /// Answer "busy" and do nothing.
    pub busy_every: usize,
    /// Acknowledge, and lose the unit.
    pub lose_every: usize,
}

#[derive(Default)]
struct Money {
    cash: i64,
    in_play: i64,
    version: u64,
}

#[derive(Default)]
struct Ledger {
    faults: Faults,
    commands: usize,
    players: HashMap<Uuid, Money>,
    replies: HashMap<Uuid, String>,
    units: Vec<String>,
}

/// What becomes of a command.
enum Fate {
    Reply { body: String, replayed: bool },
    Busy,
    Drop,
}

#[derive(Clone)]
pub struct FakeServer {
    pub address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

impl FakeServer {
    pub async fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ledger = Arc::new(Mutex::new(Ledger { faults, ..Ledger::default() }));
        let server = Self { address: listener.local_addr().unwrap(), ledger };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                // A connection that breaks is what these tests are about.
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        server
    }

    /// The export's lines.
    pub fn export(&self) -> Vec<String> {
        let ledger = self.ledger.lock().unwrap();
        ledger.units.iter().enumerate().map(|(at, unit)| format!("{{\"shard\":0,\"sequence\":{},{unit}", at + 1)).collect()
    }

    /// How many commands came, repeats included.
    pub fn commands(&self) -> usize {
        self.ledger.lock().unwrap().commands
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut first = [0];
        stream.peek(&mut first).await.ok()?;
        if first == *b"G" { self.serve_ws(stream).await } else { self.serve_http(stream).await }
    }

    async fn serve_ws(&self, stream: TcpStream) -> Option<()> {
        let mut ws = tokio_tungstenite::accept_async(stream).await.ok()?;
        let mut player = Uuid::nil();
        while let Message::Text(text) = ws.next().await?.ok()? {
            let frame = ClientFrame::parse(&text).unwrap();
            let reply = match frame.request {
                Request::Hello(hello) => {
                    player = hello.token.parse().unwrap();
                    let version = self.ledger.lock().unwrap().players[&player].version;
                    let balance = format!("{{\"cash\":0,\"bonus\":0,\"in_play\":0,\"version\":{version}}}");
                    reply_text(frame.id, format!("{{\"player\":\"{player}\",\"balance\":{balance}}}").as_bytes(), false)
                }
                Request::Spin(spin) => match self.ledger.lock().unwrap().spin(player, frame.id.0, spin.stake.0) {
                    Fate::Reply { body, replayed } => reply_text(frame.id, body.as_bytes(), replayed),
                    Fate::Busy => refusal_text(Some(frame.id), busy().as_bytes(), false),
                    Fate::Drop => return None,
                },
                other => panic!("{other:?}"),
            };
            ws.send(Message::Text("{\"v\":1,\"seq\":1,\"push\":\"balance\",\"data\":{}}".into())).await.ok()?;
            ws.send(Message::Text(reply.into())).await.ok()?;
        }
        Some(())
    }

    async fn serve_http(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let path = line.split(' ').nth(1)?.to_owned();
            let mut headers = HashMap::new();
            loop {
                line.clear();
                stream.read_line(&mut line).await.ok()?;
                let Some((name, value)) = line.trim().split_once(": ") else { break };
                headers.insert(name.to_lowercase(), value.to_owned());
            }
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            stream.read_exact(&mut body).await.ok()?;
            if path.starts_with("/v1/provider/") {
                let (timestamp, signature) = (&headers[TIMESTAMP_HEADER], &headers[SIGNATURE_HEADER]);
                assert!(verify_hex(SECRET.as_bytes(), "POST", &path, timestamp, &body, signature));
            }
            let (status, replayed, reply) = match self.ledger.lock().unwrap().http(&path, &body) {
                Fate::Reply { body, replayed } => ("200 OK", replayed, body),
                Fate::Busy => ("503 Service Unavailable", false, busy()),
                Fate::Drop => return None,
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nidempotent-replayed: {replayed}\r\n\r\n", reply.len());
            stream.write_all((head + &reply).as_bytes()).await.ok()?;
        }
    }
}

fn busy() -> String {
    serde_json::to_string(&Problem::new(ErrorCode::Busy)).unwrap()
}

fn fresh(body: String) -> Fate {
    Fate::Reply { body, replayed: false }
}

impl Ledger {
    fn login(&mut self, name: &str) -> Uuid {
        let player = Uuid::from_u128(0xf00d_0000 + name.rsplit('-').next().unwrap().parse::<u128>().unwrap());
        if let Entry::Vacant(vacant) = self.players.entry(player) {
            vacant.insert(Money { cash: 100_000, in_play: 0, version: 1 });
            let leg = leg("house/bank", &format!("player:{player}/cash"), 100_000);
            self.units.push(unit(&format!("system:seed/{name}"), &[leg], player, 1, "\"\""));
        }
        player
    }

    /// Lets a command through, unless it is a repeat or its turn to fail.
    fn commit(&mut self, source: &str, id: Uuid, player: Uuid, change: impl FnOnce(&mut Money) -> (Vec<String>, String)) -> Fate {
        self.commands += 1;
        let turn = |every: usize| every > 0 && self.commands.is_multiple_of(every);
        if turn(self.faults.busy_every) {
            return Fate::Busy;
        }
        if let Some(body) = self.replies.get(&id) {
            return Fate::Reply { body: body.clone(), replayed: true };
        }
        let (lose, drop_reply) = (turn(self.faults.lose_every), turn(self.faults.drop_reply_every));
        let money = self.players.get_mut(&player).unwrap();
        money.version += 1;
        let (legs, body) = change(money);
        let version = money.version;
        if !lose {
            self.units.push(unit(&format!("{source}/{id}"), &legs, player, version, &body));
        }
        self.replies.insert(id, body.clone());
        if drop_reply { Fate::Drop } else { fresh(body) }
    }

    fn spin(&mut self, player: Uuid, id: Uuid, stake: i64) -> Fate {
        self.commit(&format!("player:{player}"), id, player, |money| {
            let win = if money.version % 3 == 0 { stake * 2 } else { 0 };
            money.cash += win - stake;
            let cash = format!("player:{player}/cash");
            let mut legs = vec![leg(&cash, "house/revenue", stake)];
            if win > 0 {
                legs.push(leg("house/revenue", &cash, win));
            }
            let Money { cash, version, .. } = *money;
            let balance = format!("{{\"cash\":{cash},\"bonus\":0,\"in_play\":0,\"version\":{version}}}");
            (legs, format!("{{\"round\":\"r\",\"stake\":{stake},\"win\":{win},\"win_bonus\":0,\"balance\":{balance}}}"))
        })
    }

    fn http(&mut self, path: &str, body: &[u8]) -> Fate {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        let player = || -> Uuid { text("player_id").parse().unwrap() };
        match path {
            "/v1/demo/login" => {
                let player = self.login(&text("player"));
                fresh(format!("{{\"token\":\"{player}\",\"player_id\":\"{player}\"}}"))
            }
            "/v1/demo/launch" => fresh(format!("{{\"launch_token\":\"{}\"}}", self.login(&text("player")))),
            "/v1/provider/authenticate" => {
                let (player, session) = (text("launch_token"), Uuid::from_u128(5));
                fresh(format!("{{\"player_id\":\"{player}\",\"session_id\":\"{session}\",\"currency\":\"EUR\"}}"))
            }
            "/v1/provider/bet" => {
                let bet: protocol::provider::Bet = serde_json::from_slice(body).unwrap();
                self.callback(bet.transaction_id, bet.player_id.0, |money, cash, held| {
                    let stake = Currency::EUR.parse(&bet.amount).unwrap().0;
                    money.cash -= stake;
                    money.in_play += stake;
                    vec![leg(cash, held, stake)]
                })
            }
            "/v1/provider/win" => {
                let win: protocol::provider::Win = serde_json::from_slice(body).unwrap();
                assert!(self.replies.contains_key(&win.bet_transaction_id) && win.is_final);
                self.callback(win.transaction_id, player(), |money, cash, held| {
                    let amount = Currency::EUR.parse(&win.amount).unwrap().0;
                    let released = std::mem::take(&mut money.in_play);
                    money.cash += amount;
                    let paid = (amount > 0).then(|| leg("house/revenue", cash, amount));
                    [leg(held, "house/revenue", released)].into_iter().chain(paid).collect()
                })
            }
            other => panic!("{other}"),
        }
    }

    fn callback(&mut self, id: Uuid, player: Uuid, change: impl FnOnce(&mut Money, &str, &str) -> Vec<String>) -> Fate {
        self.commit("provider:sandbox", id, player, |money| {
            let legs = change(money, &format!("player:{player}/cash"), &format!("player:{player}/in_play_cash"));
            let format = |amount| Currency::EUR.format(Amount(amount));
            let (cash, in_play, version) = (format(money.cash), format(money.in_play), money.version);
            let body = format!(
                "{{\"transaction_id\":\"{id}\",\"outcome\":\"x\",\"currency\":\"EUR\",\"cash\":\"{cash}\",\"bonus\":\"0.00\",\"in_play\":\"{in_play}\",\"version\":{version}}}"
            );
            (legs, body)
        })
    }
}

/// A leg of the export between two accounts, each written `owner/code`.
pub fn leg(from: &str, to: &str, amount: i64) -> String {
    let account = |text: &str| {
        let (owner, code) = text.rsplit_once('/').unwrap();
        format!("{{\"owner\":\"{owner}\",\"code\":\"{code}\",\"sub\":0}}")
    };
    let (from, to) = (account(from), account(to));
    format!("{{\"tenant\":\"t\",\"licence\":\"l\",\"currency\":\"EUR\",\"from\":{from},\"to\":{to},\"amount\":{amount}}}")
}

/// A unit of the export without its place, which whoever numbers it puts before.
pub fn unit(key: &str, legs: &[String], player: Uuid, version: u64, reply: &str) -> String {
    let (source, id) = key.rsplit_once('/').unwrap();
    let (legs, at) = (legs.join(","), crate::record::wall_clock_ms());
    format!(
        "\"key\":{{\"source\":\"{source}\",\"id\":\"{id}\"}},\"body_hash\":\"00\",\"at\":{at},\"legs\":[{legs}],\"records\":[{{\"key\":\"player:{player}\",\"version\":{version}}}],\"events\":{{\"events\":[]}},\"reply\":{reply}}}"
    )
}
