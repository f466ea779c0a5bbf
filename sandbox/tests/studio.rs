//! The studio against a casino that misbehaves: what is unknown is taken back, what is drawn is paid, always under the
//! same transaction id, also across a restart.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use protocol::{
    Amount, Currency, ErrorCode, PlayerId, Problem, SessionId,
    problem::Retry,
    provider::{Authenticated, BalanceQuery, BalanceReply, Bet, MoneyReply, Outcome, Rollback, Win, path},
    signature,
};
use sandbox::{
    CallError, Studio, StudioClient, StudioConfig, Timing, fairness,
    studio::journal::{Journal, RoundRecord, Step},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use uuid::Uuid;

const SECRET: &[u8] = b"shared secret";
const KEY_ID: &str = "k1";
/// Guards a test against waiting for ever; nothing is measured by it.
const TEST_LIMIT: Duration = Duration::from_secs(60);

/// How the casino treats one call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Handles the call and closes the connection without an answer.
    Drop,
    /// Handles the call and never answers.
    Hang,
    /// Answers 503 without a problem document.
    Bare503,
    Refuse(ErrorCode),
}

/// By path, what its next calls meet.
type Faults = Arc<Mutex<Vec<(String, VecDeque<Fault>)>>>;

/// The casino: logs every correctly signed call in order, and misbehaves as told, path by path.
struct Casino {
    address: SocketAddr,
    log: watch::Receiver<Vec<(String, Value)>>,
    faults: Faults,
}

#[derive(Clone)]
struct CasinoState {
    log: watch::Sender<Vec<(String, Value)>>,
    faults: Faults,
    player: PlayerId,
    session: SessionId,
}

impl Casino {
    async fn start() -> Self {
        let (sender, log) = watch::channel(Vec::new());
        let faults = Faults::default();
        let state = CasinoState {
            log: sender,
            faults: faults.clone(),
            player: PlayerId(Uuid::now_v7()),
            session: SessionId(Uuid::now_v7()),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/{*path}", post(casino)).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, log, faults }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next calls to `path` meet these faults in order; afterwards all goes well.
    fn misbehave(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        let mut all = self.faults.lock().unwrap();
        all.retain(|(of, _)| of != path);
        all.push((path.to_owned(), faults.into_iter().collect()));
    }

    fn calls<T: DeserializeOwned>(&self, path: &str) -> Vec<T> {
        let log = self.log.borrow();
        log.iter().filter(|(of, _)| of == path).map(|(_, body)| serde_json::from_value(body.clone()).unwrap()).collect()
    }

    /// Waits until `path` was called so often.
    async fn called(&self, path: &str, times: usize) {
        let enough = |log: &Vec<(String, Value)>| log.iter().filter(|(of, _)| of == path).count() >= times;
        tokio::time::timeout(TEST_LIMIT, self.log.clone().wait_for(enough)).await.unwrap().unwrap();
    }

    fn client(&self) -> StudioClient {
        StudioClient::new(&self.url(), KEY_ID, SECRET, Duration::from_secs(10)).unwrap()
    }
}

async fn casino(State(state): State<CasinoState>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (timestamp, signed) = (header(signature::TIMESTAMP_HEADER), header(signature::SIGNATURE_HEADER));
    if header(signature::KEY_HEADER) != KEY_ID || !signature::verify_hex(SECRET, "POST", uri.path(), &timestamp, &body, &signed) {
        return refusal(ErrorCode::SignatureInvalid);
    }
    let fault = state.faults.lock().unwrap().iter_mut().find(|(of, _)| of == uri.path()).and_then(|(_, faults)| faults.pop_front());
    let body: Value = serde_json::from_slice(&body).unwrap();
    state.log.send_modify(|log| log.push((uri.path().to_owned(), body.clone())));
    match fault {
        // Unwinding past the handler closes the connection; this form prints nothing.
        Some(Fault::Drop) => std::panic::resume_unwind(Box::new("connection dropped")),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Bare503) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Fault::Refuse(code)) => refusal(code),
        None => acceptance(&state, uri.path(), &body),
    }
}

fn refusal(code: ErrorCode) -> Response {
    (StatusCode::from_u16(code.status()).unwrap(), Json(Problem::new(code))).into_response()
}

fn acceptance(state: &CasinoState, path: &str, body: &Value) -> Response {
    let string = |text: &str| text.to_owned();
    let balance =
        BalanceReply { currency: Currency::EUR, cash: string("10.00"), bonus: string("0.00"), in_play: string("0.00"), version: 3 };
    let outcome = match path {
        path::AUTHENTICATE => {
            let game_id = "starfall-remote".parse().unwrap();
            return Json(Authenticated { player_id: state.player, session_id: state.session, game_id, balance }).into_response();
        }
        path::BALANCE => return Json(balance).into_response(),
        path::BET => Outcome::BetAccepted,
        path::WIN => Outcome::WinPaid,
        path::ROLLBACK => Outcome::RolledBack,
        _ => return refusal(ErrorCode::NotFound),
    };
    let transaction_id = serde_json::from_value(body["transaction_id"].clone()).unwrap();
    Json(MoneyReply { transaction_id, outcome, receivable: None, balance }).into_response()
}

/// A studio that serves until told to stop.
struct Running {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), sandbox::StudioError>>,
    browser: reqwest::Client,
}

impl Running {
    async fn start(casino: &Casino, folder: &Path, call_timeout: Duration) -> Self {
        let timing = Timing {
            call_timeout,
            retry_first: Duration::from_millis(2),
            retry_max: Duration::from_millis(20),
            win_wait: TEST_LIMIT,
        };
        let config = StudioConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            casino_url: casino.url(),
            provider: "sandbox".parse().unwrap(),
            key_id: KEY_ID.to_owned(),
            secret: SECRET.to_vec(),
            data_dir: folder.to_owned(),
            timing,
        };
        let studio = Studio::bind(config).await.unwrap();
        let url = format!("http://{}", studio.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(studio.serve(async { drop(stopped.await) }));
        let browser = reqwest::Client::builder().no_proxy().timeout(TEST_LIMIT).build().unwrap();
        Self { url, stop: Some(stop), served, browser }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.browser.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.browser.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn launch(&self) -> Value {
        let (status, launched) = self.post("/api/launch", json!({ "token": "t", "client_seed": "lucky" })).await;
        assert_eq!(status, 200, "{launched}");
        launched
    }

    async fn spin(&self, launched: &Value) -> (u16, Value) {
        self.post("/api/spin", json!({ "play_session": launched["play_session"], "stake": 100 })).await
    }

    /// Asks until nothing is owed any more: the journal is written just after the casino's answer.
    async fn nothing_owed(&self) {
        let settled = async {
            while self.get("/healthz").await.1["owed"] != 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TEST_LIMIT, settled).await.unwrap();
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(TEST_LIMIT, self.served).await.unwrap().unwrap().unwrap();
    }
}

const PATIENT: Duration = Duration::from_secs(30);
/// For calls that are meant to time out, and long enough that no other call does.
const IMPATIENT: Duration = Duration::from_secs(2);

fn all_equal<T: PartialEq>(calls: &[T]) -> bool {
    calls.windows(2).all(|pair| pair[0] == pair[1])
}

#[tokio::test]
async fn a_spin_is_one_bet_and_one_final_win_and_can_be_checked() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    let launched = studio.launch().await;
    let mut rounds = Vec::new();
    for nonce in 0..5 {
        let (status, spun) = studio.spin(&launched).await;
        assert_eq!(status, 200, "{spun}");
        assert_eq!(spun["step"], "paid");
        assert_eq!(spun["balance"]["version"], 3);
        assert_eq!(spun["fairness"]["nonce"], nonce);
        assert_eq!(spun["fairness"]["server_seed"], Value::Null, "the seed is secret while it is drawn with");
        rounds.push(spun);
    }
    let (bets, wins) = (casino.calls::<Bet>(path::BET), casino.calls::<Win>(path::WIN));
    assert_eq!((bets.len(), wins.len()), (5, 5));
    assert!(casino.calls::<Rollback>(path::ROLLBACK).is_empty());

    let (_, revealed) = studio.post("/api/reveal", json!({ "play_session": launched["play_session"] })).await;
    assert_eq!((&revealed["draws"], &revealed["seed_hash"]), (&json!(5), &launched["fairness"]["seed_hash"]));
    assert_ne!(revealed["next"]["seed_hash"], revealed["seed_hash"]);
    let seed: [u8; 32] = hex::decode(revealed["server_seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    assert_eq!(fairness::seed_hash(&seed), revealed["seed_hash"]);
    for (nonce, ((bet, win), spun)) in bets.iter().zip(&wins).zip(&rounds).enumerate() {
        let outcome = fairness::verify(&seed, "lucky", nonce as u64, Amount(100));
        assert_eq!((bet.amount.as_str(), win.amount.as_str()), ("1.00", Currency::EUR.format(outcome.win).as_str()));
        assert_eq!((&win.round_id, win.bet_transaction_id, win.is_final), (&bet.round_id, bet.transaction_id, true));
        assert_eq!(bet.transaction_id.get_version_num(), 7);
        assert_eq!(win.transaction_id.get_version_num(), 7);
        assert_eq!((&spun["grid"], &spun["win"]), (&json!(outcome.grid), &json!(outcome.win)));
        let (_, round) = studio.get(&format!("/api/rounds/{}", bet.round_id)).await;
        assert_eq!(round["fairness"]["server_seed"], revealed["server_seed"]);
        assert_eq!(round["stops"], json!(outcome.stops));
    }
    studio.stop().await;
}

#[tokio::test]
async fn a_bet_without_an_answer_is_taken_back_until_acknowledged() {
    for (fault, timeout) in
        [(Fault::Drop, PATIENT), (Fault::Bare503, PATIENT), (Fault::Refuse(ErrorCode::Unknown), PATIENT), (Fault::Hang, IMPATIENT)]
    {
        let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
        let studio = Running::start(&casino, folder.path(), timeout).await;
        let launched = studio.launch().await;
        casino.misbehave(path::BET, [fault]);
        casino.misbehave(path::ROLLBACK, [Fault::Drop, Fault::Bare503, Fault::Refuse(ErrorCode::Busy)]);
        let (status, problem) = studio.spin(&launched).await;
        assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{fault:?}");
        casino.called(path::ROLLBACK, 4).await;
        studio.nothing_owed().await;

        let bets = casino.calls::<Bet>(path::BET);
        let rollbacks = casino.calls::<Rollback>(path::ROLLBACK);
        assert_eq!(bets.len(), 1, "{fault:?}: a bet is never sent twice");
        assert!(rollbacks.len() >= 4 && all_equal(&rollbacks), "{fault:?}: {rollbacks:?}");
        assert_eq!((rollbacks[0].reference_transaction_id, &rollbacks[0].round_id), (bets[0].transaction_id, &bets[0].round_id));
        assert_ne!(rollbacks[0].transaction_id, bets[0].transaction_id);
        assert!(casino.calls::<Win>(path::WIN).is_empty(), "{fault:?}: nothing was drawn");
        let (_, round) = studio.get(&format!("/api/rounds/{}", bets[0].round_id)).await;
        assert_eq!((&round["step"], &round["win"]), (&json!("rolled_back"), &Value::Null));
        let (status, spun) = studio.spin(&launched).await;
        assert_eq!((status, &spun["fairness"]["nonce"]), (200, &json!(1)), "{fault:?}: play goes on, the nonce is used up");
        studio.stop().await;
    }
}

#[tokio::test]
async fn a_win_is_repeated_until_acknowledged() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let studio = Running::start(&casino, folder.path(), IMPATIENT).await;
    let launched = studio.launch().await;
    let faults = [
        Fault::Drop,
        Fault::Hang,
        Fault::Bare503,
        Fault::Refuse(ErrorCode::Unknown),
        Fault::Refuse(ErrorCode::BetNotFound),
        Fault::Refuse(ErrorCode::SignatureExpired),
    ];
    casino.misbehave(path::WIN, faults);
    let (status, spun) = studio.spin(&launched).await;
    assert_eq!((status, &spun["step"]), (200, &json!("paid")), "{spun}");
    let wins = casino.calls::<Win>(path::WIN);
    assert!(wins.len() > faults.len() && all_equal(&wins), "{wins:?}");
    assert_eq!(casino.calls::<Bet>(path::BET).len(), 1);
    assert!(casino.calls::<Rollback>(path::ROLLBACK).is_empty());
    studio.stop().await;
}

#[tokio::test]
async fn a_refused_bet_leaves_nothing_owed() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    let launched = studio.launch().await;
    casino.misbehave(path::BET, [Fault::Refuse(ErrorCode::LossLimit), Fault::Refuse(ErrorCode::Busy)]);
    for code in [ErrorCode::LossLimit, ErrorCode::Busy] {
        let (status, problem) = studio.spin(&launched).await;
        assert_eq!((status, &problem["code"]), (code.status(), &json!(code)));
    }
    assert_eq!(studio.get("/healthz").await.1["owed"], 0);
    let (status, problem) = studio.post("/api/spin", json!({ "play_session": launched["play_session"], "stake": 101 })).await;
    assert_eq!((status, &problem["code"]), (422, &json!("stake_step")));
    assert_eq!(casino.calls::<Bet>(path::BET).len(), 2);
    studio.stop().await;
    assert_eq!(casino.log.borrow().len(), 3, "the launch and two bets, nothing else");
}

#[tokio::test]
async fn a_win_refused_for_good_is_a_case_for_people() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    let launched = studio.launch().await;
    casino.misbehave(path::WIN, [Fault::Refuse(ErrorCode::BetAlreadySettled)]);
    let (_, spun) = studio.spin(&launched).await;
    assert_eq!((&spun["step"], &spun["balance"]), (&json!("stuck"), &Value::Null));
    let (_, health) = studio.get("/healthz").await;
    assert_eq!((&health["owed"], &health["stuck"]), (&json!(0), &json!(1)));
    studio.stop().await;
}

#[tokio::test]
async fn what_is_owed_survives_a_restart_under_the_same_id() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    let launched = studio.launch().await;
    casino.misbehave(path::BET, [Fault::Drop]);
    casino.misbehave(path::ROLLBACK, std::iter::repeat_n(Fault::Bare503, 100_000));
    assert_eq!(studio.spin(&launched).await.0, 503);
    casino.called(path::ROLLBACK, 2).await;
    studio.stop().await;
    assert_eq!(casino.calls::<Bet>(path::BET).len(), 1);

    casino.misbehave(path::ROLLBACK, []);
    let before = casino.calls::<Rollback>(path::ROLLBACK).len();
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    casino.called(path::ROLLBACK, before + 1).await;
    studio.nothing_owed().await;
    let rollbacks = casino.calls::<Rollback>(path::ROLLBACK);
    assert!(all_equal(&rollbacks), "{rollbacks:?}");
    let (_, round) = studio.get(&format!("/api/rounds/{}", rollbacks[0].round_id)).await;
    assert_eq!(round["step"], "rolled_back");
    assert_eq!(round["fairness"]["seed_hash"], launched["fairness"]["seed_hash"]);
    studio.stop().await;
    let settled = casino.calls::<Rollback>(path::ROLLBACK).len();
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    assert_eq!(studio.get("/healthz").await.1["owed"], 0);
    studio.stop().await;
    assert_eq!(casino.calls::<Rollback>(path::ROLLBACK).len(), settled, "what is settled stays settled");
}

#[tokio::test]
async fn a_journal_left_by_a_crash_is_worked_off() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let win_id = Uuid::now_v7();
    let placing = left_behind(Step::Placing);
    let mut paying = left_behind(Step::Paying { win_id });
    paying.shown = Some(sandbox::slot::outcome_at(Amount(100), [15, 12, 21, 13, 23]).into());
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    for record in [&placing, &paying] {
        journal.append(record).unwrap();
    }
    drop(journal);
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    casino.called(path::ROLLBACK, 1).await;
    casino.called(path::WIN, 1).await;
    studio.nothing_owed().await;
    let (rollbacks, wins) = (casino.calls::<Rollback>(path::ROLLBACK), casino.calls::<Win>(path::WIN));
    assert_eq!((rollbacks.len(), wins.len()), (1, 1));
    assert_eq!(rollbacks[0].reference_transaction_id, placing.bet_id);
    assert_eq!((wins[0].transaction_id, wins[0].bet_transaction_id, wins[0].amount.as_str()), (win_id, paying.bet_id, "8.00"));
    studio.stop().await;
}

fn left_behind(step: Step) -> RoundRecord {
    RoundRecord {
        round: Uuid::now_v7(),
        at_ms: 0,
        play_session: Uuid::now_v7(),
        player: PlayerId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        game: "starfall-remote".parse().unwrap(),
        currency: Currency::EUR,
        stake: Amount(100),
        bet_id: Uuid::now_v7(),
        seed_index: 0,
        seed_hash: String::new(),
        client_seed: "c".to_owned(),
        nonce: 0,
        shown: None,
        step,
    }
}

#[tokio::test]
async fn the_client_tells_a_refusal_from_the_unknown() {
    let casino = Casino::start().await;
    let client = casino.client();
    let query = BalanceQuery { player_id: PlayerId(Uuid::now_v7()) };
    assert_eq!(client.balance(&query).await.unwrap().cash, "10.00");
    casino.misbehave(path::BALANCE, [Fault::Refuse(ErrorCode::UnknownPlayer), Fault::Bare503, Fault::Drop]);
    match client.balance(&query).await {
        Err(CallError::Problem(problem)) => assert_eq!(problem.code, ErrorCode::UnknownPlayer),
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        let error = client.balance(&query).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown(_)), "{error:?}");
        assert_eq!(error.retry(), Retry::SameId);
    }
    let stranger = StudioClient::new(&casino.url(), KEY_ID, b"another secret", PATIENT).unwrap();
    match stranger.balance(&query).await {
        Err(CallError::Problem(problem)) => assert_eq!(problem.code, ErrorCode::SignatureInvalid),
        other => panic!("{other:?}"),
    }
    let raw = client.call_raw(path::BALANCE, serde_json::to_vec(&query).unwrap()).await.unwrap();
    assert_eq!((raw.status, raw.replayed), (200, false));
}

#[tokio::test]
async fn bad_requests_get_problem_documents() {
    let (casino, folder) = (Casino::start().await, tempfile::tempdir().unwrap());
    let studio = Running::start(&casino, folder.path(), PATIENT).await;
    let unknown = Uuid::now_v7();
    for (path, body, code) in [
        ("/api/spin", json!({ "play_session": unknown, "stake": 100 }), ErrorCode::NoSession),
        ("/api/spin", json!({ "play_session": unknown, "stake": "1.00" }), ErrorCode::MalformedBody),
        ("/api/reveal", json!({ "play_session": unknown }), ErrorCode::NoSession),
        ("/api/launch", json!({ "token": "t", "client_seed": "" }), ErrorCode::InvalidValue),
        ("/api/nothing", json!({}), ErrorCode::NotFound),
    ] {
        let (status, problem) = studio.post(path, body).await;
        assert_eq!((status, &problem["code"]), (code.status(), &json!(code)), "{path}");
    }
    assert_eq!(studio.get(&format!("/api/rounds/{unknown}")).await.1["code"], "unknown_round");
    let page = studio.browser.get(format!("{}/play?token=t", studio.url)).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    assert!(page.text().await.unwrap().contains("Starfall"));
    studio.stop().await;
}
