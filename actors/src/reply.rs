//! How a carried-out plan is told: one encoder per caller, made before the commit since the unit stores the bytes.

use protocol::{
    Balance, Book, Currency, MoneyError, SessionId,
    event::RawJson,
    frame::SpinResult,
    provider::{BalanceReply, MoneyReply, Outcome},
};
use rules::{Done, Plan};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{answer::Answer, command::Action};

/// A small reply that carries what changed and the balance after it.
#[derive(Serialize)]
struct Told<T: Serialize> {
    #[serde(flatten)]
    what: T,
    balance: Balance,
}

#[derive(Serialize)]
struct Nothing {}

/// The answer to a command whose plan is about to be committed.
pub fn encode(action: &Action, plan: &Plan, book: &Book, detail: Option<&RawJson>) -> Result<Answer, MoneyError> {
    let balance = plan.player.balance(book)?;
    Ok(match (action, &plan.done) {
        (Action::Spin { game, stake, .. }, Done::Spun { round, stake_bonus, win_cash, win_bonus, .. }) => {
            Answer::json(&SpinResult {
                round: *round,
                game: *game,
                stake: *stake,
                stake_bonus: *stake_bonus,
                win: win_cash.checked_add(*win_bonus)?,
                win_bonus: *win_bonus,
                detail: detail.cloned().unwrap_or_else(|| RawJson(RawValue::NULL.to_owned())),
                bonus: rules::bonus::view(&plan.player, book),
                balance,
            })
        }
        (Action::Held { call, .. }, done) => money_reply(call.transaction().0, done, book.currency, balance),
        (Action::PromoWin { transaction, .. }, done) => money_reply(transaction.0, done, book.currency, balance),
        (Action::StartSession { .. }, Done::SessionStarted { resumed }) => {
            #[derive(Serialize)]
            struct Started {
                session: Option<SessionId>,
                resumed: bool,
            }
            let session = plan.player.state.session.map(|session| session.id);
            Answer::json(&Told { what: Started { session, resumed: *resumed }, balance })
        }
        (_, Done::LimitSet { effective_at, pending }) => {
            #[derive(Serialize)]
            struct Set {
                effective_at: protocol::Timestamp,
                pending: bool,
            }
            Answer::json(&Told { what: Set { effective_at: *effective_at, pending: *pending }, balance })
        }
        (_, Done::Excluded { until }) => {
            #[derive(Serialize)]
            struct Excluded {
                until: Option<protocol::Timestamp>,
            }
            Answer::json(&Told { what: Excluded { until: *until }, balance })
        }
        _ => Answer::json(&Told { what: Nothing {}, balance }),
    })
}

fn money_reply(transaction_id: uuid::Uuid, done: &Done, currency: Currency, balance: Balance) -> Answer {
    let (outcome, receivable) = match done {
        Done::WinPaid { receivable } => (Outcome::WinPaid, *receivable),
        Done::RolledBack { receivable } => (Outcome::RolledBack, *receivable),
        Done::Tombstoned => (Outcome::Tombstoned, protocol::Amount::ZERO),
        Done::AlreadyRolledBack => (Outcome::AlreadyRolledBack, protocol::Amount::ZERO),
        Done::RoundClosed | Done::RoundVoided => (Outcome::RoundClosed, protocol::Amount::ZERO),
        Done::PromoPaid => (Outcome::PromoPaid, protocol::Amount::ZERO),
        _ => (Outcome::BetAccepted, protocol::Amount::ZERO),
    };
    let receivable = receivable.is_positive().then(|| currency.format(receivable));
    Answer::json(&MoneyReply { transaction_id, outcome, receivable, balance: balance_reply(currency, balance) })
}

/// Balances as providers read them.
pub fn balance_reply(currency: Currency, balance: Balance) -> BalanceReply {
    BalanceReply {
        currency,
        cash: currency.format(balance.cash),
        bonus: currency.format(balance.bonus),
        in_play: currency.format(balance.in_play),
        version: balance.version,
    }
}
