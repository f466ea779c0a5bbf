//! Brings what is owed to the casino: the same transaction id again and again, waiting longer each time, until the
//! casino acknowledges it or refuses it for good.
//!
//! | found | sent | acknowledged |
//! |---|---|---|
//! | bet of unknown fate | rollback | `rolled_back` |
//! | drawn round | final win, zero included | `paid` |
//!
//! This module never gives up on an unknown or retryable answer; only a stop of the studio interrupts it.

use std::{sync::Arc, time::Duration};

use protocol::{
    ErrorCode,
    problem::Retry,
    provider::{MoneyReply, Rollback, Win},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Shared,
    journal::{RoundRecord, Step},
};
use crate::client::CallError;

/// Starts paying a drawn round; the receiver gets the casino's acknowledgement.
pub(super) fn pay(shared: &Arc<Shared>, record: RoundRecord) -> oneshot::Receiver<MoneyReply> {
    let (acknowledged, receiver) = oneshot::channel();
    let task_shared = shared.clone();
    shared.spawn(async move {
        if let Some(reply) = settle(&task_shared, record).await {
            // Nobody may be waiting any more; the record tells them.
            let _ = acknowledged.send(reply);
        }
    });
    receiver
}

/// Starts taking back a bet whose fate is not known.
pub(super) fn take_back(shared: &Arc<Shared>, mut record: RoundRecord) {
    let task_shared = shared.clone();
    shared.spawn(async move {
        record.step = Step::RollingBack { rollback_id: Uuid::now_v7() };
        // Unwritten, the next start would find the bet and take it back under another id, which moves nothing twice.
        write(&task_shared, &record).await;
        settle(&task_shared, record).await;
    });
}

/// Goes on with what an earlier run left.
pub(super) fn resume(shared: &Arc<Shared>, record: RoundRecord) {
    match record.step {
        Step::Placing => take_back(shared, record),
        _ => drop(pay(shared, record)),
    }
}

/// Sends until there is a final answer; `None` when that is a refusal.
async fn settle(shared: &Arc<Shared>, mut record: RoundRecord) -> Option<MoneyReply> {
    let mut wait = shared.timing.retry_first;
    loop {
        match send_once(shared, &record).await {
            Ok(reply) => {
                record.step = match record.step {
                    Step::RollingBack { rollback_id } => Step::RolledBack { rollback_id },
                    Step::Paying { win_id } => Step::Paid { win_id },
                    other => other,
                };
                write(shared, &record).await;
                return Some(reply);
            }
            Err(CallError::Problem(problem)) if is_final(&problem) => {
                tracing::error!(round = %record.round, code = %problem.code, "the casino refuses for good; a case for people");
                record.step = Step::Stuck { code: problem.code };
                write(shared, &record).await;
                return None;
            }
            Err(error) => {
                tracing::warn!(round = %record.round, wait_ms = wait.as_millis() as u64, %error, "not acknowledged; will repeat");
                tokio::time::sleep(wait).await;
                wait = next_wait(wait, shared.timing.retry_max);
            }
        }
    }
}

async fn send_once(shared: &Shared, record: &RoundRecord) -> Result<MoneyReply, CallError> {
    // The semaphore is never closed; were it, sending unbounded would still be better than not paying.
    let _turn = shared.settlements.acquire().await.ok();
    match record.step {
        Step::Paying { win_id } => shared.client.win(&win_of(record, win_id)).await,
        Step::RollingBack { rollback_id } => shared.client.rollback(&rollback_of(record, rollback_id)).await,
        _ => Err(CallError::Unknown("nothing is owed for this round".to_owned())),
    }
}

fn win_of(record: &RoundRecord, win_id: Uuid) -> Win {
    let win = record.shown.as_ref().map_or(protocol::Amount::ZERO, |shown| shown.win);
    Win {
        transaction_id: win_id,
        player_id: record.player,
        round_id: record.round.to_string(),
        bet_transaction_id: record.bet_id,
        amount: record.currency.format(win),
        currency: record.currency,
        is_final: true,
    }
}

fn rollback_of(record: &RoundRecord, rollback_id: Uuid) -> Rollback {
    Rollback {
        transaction_id: rollback_id,
        player_id: record.player,
        round_id: record.round.to_string(),
        reference_transaction_id: record.bet_id,
    }
}

/// A refusal about the caller's key or clock says nothing about the money: once that is mended the same call succeeds.
fn is_final(problem: &protocol::Problem) -> bool {
    use ErrorCode::*;
    problem.retry == Retry::Never
        && !matches!(problem.code, SignatureInvalid | SignatureExpired | KeyUnknown | Forbidden | NotFound)
}

fn next_wait(wait: Duration, max: Duration) -> Duration {
    wait.saturating_mul(2).min(max)
}

/// A record that cannot be written is only repeated after the next start, under the same id, which is harmless.
async fn write(shared: &Shared, record: &RoundRecord) {
    if let Err(error) = shared.record(record).await {
        tracing::error!(round = %record.round, %error, "the journal did not take a record");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_maximum() {
        let max = Duration::from_secs(1);
        let waits: Vec<u128> = std::iter::successors(Some(Duration::from_millis(300)), |wait| Some(next_wait(*wait, max)))
            .take(4)
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [300, 600, 1000, 1000]);
    }

    #[test]
    fn only_a_refusal_about_the_money_ends_the_retries() {
        assert!(is_final(&ErrorCode::BetAlreadySettled.into()));
        for code in
            [ErrorCode::BetNotFound, ErrorCode::Busy, ErrorCode::Unknown, ErrorCode::SignatureInvalid, ErrorCode::KeyUnknown]
        {
            assert!(!is_final(&code.into()), "{code}");
        }
    }
}
