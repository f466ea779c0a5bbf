//! What a client or a provider does, one call each; a call can be repeated under its id.

use actors::{
    Answer, Responder,
    answer::Lost,
    command::{Action, HeldCall, body_hash},
    floor::Asked,
    player::Snapshot,
};
use protocol::{
    AccountCode, Amount, Balance, BetId, Book, Currency, ErrorCode, GrantId, Holdings, Micro, PlayerId, RecordKey, RequestId,
    SessionId, TraceId, frame::SpinResult, problem::Retry, provider::MoneyReply,
};
use storage::{Source, StoredUnit, UnitKey};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    House,
    catalogue::{OFFER, hosted_game, provider_game, studio, tenant},
};

pub type Pending = oneshot::Receiver<Answer>;

/// The n-th player.
pub fn player(n: u64) -> PlayerId {
    PlayerId(numbered(0x10, n))
}

pub fn session_of(player: PlayerId) -> SessionId {
    SessionId(Uuid::from_u128(player.0.as_u128() ^ 1))
}

/// An id of version 7 that is the same in every run.
pub fn numbered(space: u8, n: u64) -> Uuid {
    let mut bytes = [0; 10];
    bytes[1] = space;
    bytes[2..].copy_from_slice(&n.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(1_780_000_000_000, &bytes).into_uuid()
}

pub fn book() -> Book {
    Book { tenant: tenant(), licence: "mga".parse().unwrap(), currency: Currency::EUR }
}

/// One call, to be sent as often as it takes.
#[derive(Clone, Debug)]
pub struct Call {
    pub player: PlayerId,
    pub id: Uuid,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Open,
    Fund(i64),
    StartSession,
    EndSession,
    Spin(i64),
    Bet { round: String, stake: i64 },
    Win { round: String, bet: Uuid, amount: i64, micro: i64, is_final: bool },
    Rollback { round: String, reference: Uuid },
    Close { round: String },
    Promo { amount: i64, micro: i64 },
    Limit { limit: protocol::frame::LimitKind, window: Option<protocol::frame::LimitWindow>, value: Option<i64> },
    Acknowledge,
    IssueBonus(Uuid),
    ForfeitBonus(Uuid),
}

impl Call {
    pub fn is_provider(&self) -> bool {
        use What::{Bet, Close, Promo, Rollback, Win};
        matches!(self.what, Bet { .. } | Win { .. } | Rollback { .. } | Close { .. } | Promo { .. })
    }

    pub fn key(&self) -> UnitKey {
        let source = if self.is_provider() { Source::Provider(studio()) } else { Source::Player(self.player) };
        UnitKey::new(source, self.id.as_bytes())
    }

    pub fn hash(&self) -> [u8; 32] {
        match self.what {
            // As the floor hashes it.
            What::Spin(stake) => body_hash("spin", &(hosted_game(), Amount(stake))),
            _ => body_hash("test", &(self.player, format!("{:?}", self.what))),
        }
    }

    fn held(&self) -> Option<(String, HeldCall)> {
        let transaction = BetId(self.id);
        Some(match &self.what {
            What::Bet { round, stake } => {
                let (game, session) = (provider_game(), session_of(self.player));
                let (stake, currency) = (Amount(*stake), Currency::EUR);
                (round.clone(), HeldCall::Bet { transaction, game, session, stake, currency, is_free: false })
            }
            What::Win { round, bet, amount, micro, is_final } => {
                let (bet, amount, micro, is_final) = (BetId(*bet), Amount(*amount), Micro(*micro), *is_final);
                (round.clone(), HeldCall::Win { transaction, bet, amount, micro, currency: Currency::EUR, is_final })
            }
            What::Rollback { round, reference } => {
                (round.clone(), HeldCall::Rollback { transaction, reference: BetId(*reference) })
            }
            What::Close { round } => (round.clone(), HeldCall::Close { transaction }),
            _ => return None,
        })
    }

    fn action(&self) -> Action {
        match &self.what {
            What::Open => Action::Open { currency: Currency::EUR, tenant: tenant(), client_seed: "seed".to_owned() },
            What::Fund(amount) => Action::Fund { source: "demo".to_owned(), amount: Amount(*amount) },
            What::StartSession => Action::StartSession { session: session_of(self.player) },
            What::EndSession => Action::EndSession { reason: "logout".to_owned() },
            What::Promo { amount, micro } => Action::PromoWin {
                provider: studio(),
                transaction: BetId(self.id),
                campaign: "spring".to_owned(),
                amount: Amount(*amount),
                micro: Micro(*micro),
                currency: Currency::EUR,
            },
            What::Limit { limit, window, value } => Action::SetLimit { limit: *limit, window: *window, value: *value },
            What::Acknowledge => Action::AcknowledgeRealityCheck,
            What::IssueBonus(grant) => Action::IssueBonus { offer: OFFER.to_owned(), grant: GrantId(*grant) },
            What::ForfeitBonus(grant) => Action::ForfeitBonus { grant: GrantId(*grant) },
            What::Spin(_) | What::Bet { .. } | What::Win { .. } | What::Rollback { .. } | What::Close { .. } => {
                unreachable!("the floor has a door of its own for it")
            }
        }
    }
}

/// Whether an answer ends a command: anything but "again later" and "unknown".
pub fn is_final(answer: &Answer) -> bool {
    answer.code.is_none_or(|code| code.retry() == Retry::Never)
}

pub fn spun(answer: &Answer) -> SpinResult {
    assert!(answer.ok, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

pub fn money(answer: &Answer) -> MoneyReply {
    assert!(answer.ok, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

pub fn refused(answer: &Answer) -> ErrorCode {
    assert!(!answer.ok, "{answer:?}");
    answer.code.unwrap()
}

impl House {
    /// Sends a call and does not wait.
    pub fn send(&self, call: &Call) -> Pending {
        let (reply, pending) = Responder::oneshot();
        let asked = Asked { trace: TraceId(call.id), reply };
        let floor = &self.core.floor;
        match (&call.what, call.held()) {
            (What::Spin(stake), _) => floor.spin(call.player, RequestId(call.id), hosted_game(), Amount(*stake), asked),
            (_, Some((round, held))) => floor.held(call.player, studio(), round, held, call.hash(), asked),
            _ => floor.execute(call.player, call.key(), call.hash(), call.action(), asked),
        }
        pending
    }

    pub async fn call(&self, call: &Call) -> Answer {
        self.send(call).await.unwrap_or_else(|_| Answer::lost())
    }

    /// Repeats a call until its answer is final.
    pub async fn insist(&self, call: &Call) -> Answer {
        let started = std::time::Instant::now();
        loop {
            let answer =
                tokio::time::timeout(super::WAIT_MAX, self.call(call)).await.expect("an answer comes, or its port is dropped");
            if is_final(&answer) {
                return answer;
            }
            assert!(started.elapsed() < super::WAIT_MAX, "no final answer to {call:?}: {answer:?}");
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    }

    /// A fresh call of a player.
    pub fn make(&self, player: PlayerId, what: What) -> Call {
        Call { player, id: actors::Env::uuid(self.place.env.as_ref()), what }
    }

    pub async fn act(&self, player: PlayerId, what: What) -> Answer {
        self.call(&self.make(player, what)).await
    }

    /// A player with money and a session.
    pub async fn seat(&self, player: PlayerId, cash: i64) {
        for what in [What::Open, What::Fund(cash), What::StartSession] {
            let answer = self.insist(&self.make(player, what)).await;
            assert!(answer.ok, "{answer:?}");
        }
    }

    pub async fn spin(&self, player: PlayerId, stake: i64) -> Answer {
        self.act(player, What::Spin(stake)).await
    }

    /// A stake in a provider's round, with its transaction id.
    pub async fn bet(&self, player: PlayerId, round: &str, stake: i64) -> (Uuid, Answer) {
        let call = self.make(player, What::Bet { round: round.to_owned(), stake });
        (call.id, self.call(&call).await)
    }

    pub async fn win(&self, player: PlayerId, round: &str, bet: Uuid, amount: i64, is_final: bool) -> Answer {
        self.act(player, What::Win { round: round.to_owned(), bet, amount, micro: 0, is_final }).await
    }

    pub async fn rollback(&self, player: PlayerId, round: &str, reference: Uuid) -> Answer {
        self.act(player, What::Rollback { round: round.to_owned(), reference }).await
    }

    pub async fn close_round(&self, player: PlayerId, round: &str) -> Answer {
        self.act(player, What::Close { round: round.to_owned() }).await
    }

    pub async fn snapshot(&self, player: PlayerId) -> Snapshot {
        // An actor that dies with the question in its mailbox answers nothing; its successor does.
        loop {
            match self.core.floor.snapshot(player).await {
                Err(ErrorCode::Unavailable) => tokio::task::yield_now().await,
                snapshot => return snapshot.unwrap(),
            }
        }
    }

    /// Balances as the ledger's row has them.
    pub async fn stored_balance(&self, player: PlayerId) -> Balance {
        let record = self.ledger.record(RecordKey::player(player)).await.unwrap().expect("the player has a row");
        rules::player::balance_of(&record.holdings, &book(), record.version).unwrap()
    }

    /// The unit of a call, if one is stored.
    pub async fn unit_of(&self, call: &Call) -> Option<StoredUnit> {
        self.ledger.unit_by_key(call.key()).await.unwrap()
    }
}

/// Balances of every owner as the legs of the units make them.
pub fn fold(units: &[StoredUnit], owner: RecordKey) -> Holdings {
    let mut holdings = Holdings::default();
    for leg in units.iter().flat_map(|unit| &unit.legs) {
        if leg.from.owner == owner || leg.to.owner == owner {
            holdings.apply(owner, leg).unwrap();
        }
    }
    holdings
}

pub fn cash_of(holdings: &Holdings) -> i64 {
    holdings.get(&book(), AccountCode::Cash, 0).0
}
