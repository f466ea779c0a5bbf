//! Limits on stake, wager, loss and session time: the strictest of the player's and the operator's wins.
//!
//! Net loss of a window = cash stakes placed in it − cash returned on those very bets, whenever it came (MONEY.md, Limits).
//! Statistics saturate instead of overflowing: a counter at its end refuses every further bet, which is the safe side.

use protocol::{Amount, Fact, Timestamp, event, frame::LimitWindow};

use crate::{
    brand::Brand,
    plan::Rejected,
    player::{Limit, PlayerState, Session, WindowUsage},
};

/// The limit in force.
pub(crate) fn effective(own: Limit, operator: Option<i64>) -> Option<i64> {
    match (own.own, operator) {
        (Some(own), Some(operator)) => Some(own.min(operator)),
        (own, operator) => own.or(operator),
    }
}

/// The usage as of the windows `now` falls in. A clock that went back stays in the later window.
pub(crate) fn rolled(usage: &[WindowUsage; 3], windows: [i32; 3]) -> [WindowUsage; 3] {
    let mut rolled = *usage;
    for (usage, window) in rolled.iter_mut().zip(windows) {
        if usage.window < window {
            *usage = WindowUsage { window, ..WindowUsage::default() };
        }
    }
    rolled
}

/// Numbers of the windows a usage stands in.
pub(crate) fn numbers(usage: &[WindowUsage; 3]) -> [i32; 3] {
    usage.map(|usage| usage.window)
}

/// Whether a stake of `stake`, of it `cash`, fits every limit. `round_stake` is what the round has staked before.
pub(crate) fn check(
    brand: &Brand,
    state: &PlayerState,
    usage: &[WindowUsage; 3],
    round_stake: Amount,
    stake: Amount,
    cash: Amount,
) -> Result<(), Rejected> {
    let operator = &brand.policy.operator_limits;
    let minor = |amount: Option<Amount>| amount.map(|amount| amount.0);
    if let Some(limit) = effective(state.limits.stake, minor(operator.stake))
        && round_stake.0.saturating_add(stake.0) > limit
    {
        return Err(Rejected::StakeLimit { limit: Amount(limit), round_stake });
    }
    for (index, window) in LimitWindow::ALL.into_iter().enumerate() {
        let spent = usage[index].wagered;
        if let Some(limit) = effective(state.limits.wager[index], minor(operator.wager[index]))
            && spent.0.saturating_add(stake.0) > limit
        {
            return Err(Rejected::WagerLimit { window, limit: Amount(limit), spent });
        }
    }
    for (index, window) in LimitWindow::ALL.into_iter().enumerate() {
        let spent = usage[index].net_loss;
        if let Some(limit) = effective(state.limits.loss[index], minor(operator.loss[index]))
            && spent.0.saturating_add(cash.0) > limit
        {
            return Err(Rejected::LossLimit { window, limit: Amount(limit), spent });
        }
    }
    Ok(())
}

/// Seconds a session may last, when limited.
pub(crate) fn session_time_s(brand: &Brand, state: &PlayerState) -> Option<i64> {
    effective(state.limits.session_time_s, brand.policy.operator_limits.session_time_s)
}

pub(crate) fn check_session_time(brand: &Brand, state: &PlayerState, session: &Session, now: Timestamp) -> Result<(), Rejected> {
    let elapsed_s = session.elapsed_s(now);
    match session_time_s(brand, state) {
        Some(limit_s) if elapsed_s >= limit_s => Err(Rejected::SessionTimeLimit { limit_s, elapsed_s }),
        _ => Ok(()),
    }
}

/// Corrects the windows a bet counted in, where they still run.
pub(crate) fn correct(state: &mut PlayerState, windows: &[i32; 3], wagered: i64, net_loss: i64) {
    for (usage, window) in state.usage.iter_mut().zip(windows) {
        if usage.window == *window {
            usage.wagered = Amount(usage.wagered.0.saturating_add(wagered));
            usage.net_loss = Amount(usage.net_loss.0.saturating_add(net_loss));
        }
    }
}

/// The compliance fact of a limit refusal; `None` for other refusals.
pub(crate) fn hit(brand: &Brand, rejected: &Rejected, attempted: Amount) -> Option<Fact> {
    let (limit, window, value, spent, attempted) = match *rejected {
        Rejected::StakeLimit { limit, round_stake } => ("stake", None, limit.0, round_stake.0, attempted.0),
        Rejected::WagerLimit { window, limit, spent } => ("wager", Some(window), limit.0, spent.0, attempted.0),
        Rejected::LossLimit { window, limit, spent } => ("loss", Some(window), limit.0, spent.0, attempted.0),
        Rejected::SessionTimeLimit { limit_s, elapsed_s } => ("session_time", None, limit_s, elapsed_s, 0),
        _ => return None,
    };
    Some(Fact::LimitHit(event::LimitHit {
        limit: limit.to_owned(),
        window: window.map(|window| window.as_str().to_owned()),
        value,
        spent,
        attempted,
        policy: brand.policy.name.clone(),
    }))
}
