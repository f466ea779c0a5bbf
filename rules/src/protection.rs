//! What players set to protect themselves: limits, reality checks, time-outs, self-exclusion.
//!
//! Tightening is immediate. Relaxing waits for the policy's time and a second, equal command after it; any tightening
//! meanwhile cancels it.

use jiff::ToSpan;
use protocol::{
    Amount, Fact, Timestamp, event,
    frame::{LimitKind, LimitView, LimitWindow, PendingLimit, RealityCheckView},
};

use crate::{
    brand::Brand,
    limits,
    plan::{Decision, Done, Rejected},
    player::{Exclusion, ExclusionKind, Limit, Limits, Player, PlayerState, Relaxation, Session},
    postings::Draft,
    session, windows,
};

/// Shortest and longest time-out, in hours: a day and six weeks.
pub const TIME_OUT_HOURS_MIN: u32 = 24;
pub const TIME_OUT_HOURS_MAX: u32 = 6 * 7 * 24;
/// Shortest and longest self-exclusion with an end, in months; longer is for ever.
pub const EXCLUSION_MONTHS_MIN: u32 = 6;
pub const EXCLUSION_MONTHS_MAX: u32 = 1_200;
const HOUR_MS: i64 = 3_600_000;
/// A pending relaxation takes this much of the row, in bytes.
const RELAXATION_BYTES: usize = 13;

/// When the session's reality check is due.
pub(crate) fn reality_due_at(brand: &Brand, state: &PlayerState, session: &Session) -> Option<Timestamp> {
    reality_interval_s(brand, state).map(|seconds| session.reality_from.plus_ms(seconds.saturating_mul(1000)))
}

fn reality_interval_s(brand: &Brand, state: &PlayerState) -> Option<i64> {
    state.limits.reality_check_s.own.or(brand.policy.reality_check_s)
}

/// Refuses new rounds while a check is pending or due.
pub(crate) fn check_reality(brand: &Brand, state: &PlayerState, session: &Session, now: Timestamp) -> Result<(), Rejected> {
    if session.reality_pending || reality_due_at(brand, state, session).is_some_and(|due| due <= now) {
        let seconds = session.elapsed_s(now);
        return Err(Rejected::RealityCheckPending { seconds, wagered: session.wagered, returned: session.returned });
    }
    Ok(())
}

/// Marks a due check as pending, once; answers whether it did.
pub(crate) fn show_reality_check(brand: &Brand, draft: &mut Draft, now: Timestamp) -> bool {
    let state = &draft.player.state;
    let Some(session) = state.session.filter(|session| !session.reality_pending) else {
        return false;
    };
    if check_reality(brand, state, &session, now).is_ok() {
        return false;
    }
    draft.state().session = Some(Session { reality_pending: true, ..session });
    draft.facts.push(Fact::RealityCheckShown(reality_fact(&session, now)));
    true
}

fn reality_fact(session: &Session, now: Timestamp) -> event::RealityCheck {
    event::RealityCheck {
        session: session.id,
        seconds: session.elapsed_s(now),
        wagered: session.wagered,
        returned: session.returned,
    }
}

/// The check that waits for the player, for a reply. What is due but not yet shown appears once a bet or a tick finds it.
pub fn reality_view(player: &Player, now: Timestamp) -> Option<RealityCheckView> {
    let session = player.state.session.as_ref().filter(|session| {
        let own_s = player.state.limits.reality_check_s.own;
        let due = own_s.is_some_and(|seconds| session.reality_from.plus_ms(seconds.saturating_mul(1000)) <= now);
        session.reality_pending || due
    })?;
    Some(RealityCheckView {
        seconds: session.elapsed_s(now),
        wagered: session.wagered,
        returned: session.returned,
        net: Amount(session.returned.0.saturating_sub(session.wagered.0)),
    })
}

/// The player has seen the reality check.
pub fn acknowledge(brand: &Brand, player: &Player, now: Timestamp) -> Decision {
    let session = player.state.session.ok_or(Rejected::NoSession)?;
    if check_reality(brand, &player.state, &session, now).is_ok() {
        return Err(Rejected::Nothing.into());
    }
    let mut draft = Draft::new(brand, player);
    draft.state().session = Some(Session { reality_pending: false, reality_from: now, ..session });
    session::touch(draft.state(), now);
    draft.facts.push(Fact::RealityCheckAcknowledged(reality_fact(&session, now)));
    Ok(draft.plan(Done::RealityChecked))
}

/// Sets, tightens or relaxes one of the player's own limits; `None` removes it.
pub fn set_limit(
    brand: &Brand,
    player: &Player,
    kind: LimitKind,
    window: Option<LimitWindow>,
    value: Option<i64>,
    now: Timestamp,
) -> Decision {
    let least = if matches!(kind, LimitKind::SessionTime | LimitKind::RealityCheck) { 1 } else { 0 };
    if value.is_some_and(|value| !(least..=PlayerState::LIMIT_VALUE_MAX).contains(&value)) {
        return Err(Rejected::InvalidValue { what: "the value of the limit is out of range" }.into());
    }
    let mut draft = Draft::new(brand, player);
    session::touch(draft.state(), now);
    let room = player.state.room_bytes();
    let unset = if kind == LimitKind::RealityCheck { brand.policy.reality_check_s } else { None };
    let limit = slot(&mut draft.state().limits, kind, window)?;
    let in_force = limit.own.or(unset);
    let tightens = match (value.or(unset), in_force) {
        (Some(new), Some(old)) => new <= old,
        (Some(_), None) | (None, None) => true,
        (None, Some(_)) => false,
    };
    let confirmed = limit.pending.is_some_and(|pending| pending.value == value && pending.effective_at <= now);
    let (effective_at, pending) = if tightens || confirmed {
        *limit = Limit { own: value, pending: None };
        (now, false)
    } else {
        let wait = Relaxation { value, effective_at: now.plus_ms(brand.policy.limit_relax_s.saturating_mul(1000)) };
        // The same wish twice does not wait twice.
        let waiting = limit.pending.filter(|pending| pending.value == value).unwrap_or(wait);
        if limit.pending.is_none() && room < RELAXATION_BYTES {
            return Err(Rejected::InvalidValue { what: "too many relaxations are waiting" }.into());
        }
        limit.pending = Some(waiting);
        (waiting.effective_at, true)
    };
    draft.facts.push(Fact::LimitSet(event::LimitSet {
        limit: kind.as_str().to_owned(),
        window: window.map(|window| window.as_str().to_owned()),
        value,
        effective_at,
        policy: brand.policy.name.clone(),
    }));
    Ok(draft.plan(Done::LimitSet { effective_at, pending }))
}

fn slot(limits: &mut Limits, kind: LimitKind, window: Option<LimitWindow>) -> Result<&mut Limit, Rejected> {
    match (kind, window) {
        (LimitKind::Stake, None) => Ok(&mut limits.stake),
        (LimitKind::SessionTime, None) => Ok(&mut limits.session_time_s),
        (LimitKind::RealityCheck, None) => Ok(&mut limits.reality_check_s),
        (LimitKind::Wager, Some(window)) => Ok(&mut limits.wager[window as usize]),
        (LimitKind::Loss, Some(window)) => Ok(&mut limits.loss[window as usize]),
        _ => Err(Rejected::InvalidValue { what: "wager and loss limits have a window, the others have none" }),
    }
}

/// A pause the player takes.
pub fn time_out(brand: &Brand, player: &Player, hours: u32, now: Timestamp) -> Decision {
    if !(TIME_OUT_HOURS_MIN..=TIME_OUT_HOURS_MAX).contains(&hours) {
        return Err(Rejected::InvalidValue { what: "a time-out lasts 24 hours to six weeks" }.into());
    }
    let until = Some(now.plus_ms(i64::from(hours) * HOUR_MS));
    exclude(brand, player, Exclusion { kind: ExclusionKind::TimeOut, until }, now)
}

/// Self-exclusion, for months or for ever. It does not end by itself: a return is asked for.
pub fn self_exclude(brand: &Brand, player: &Player, months: Option<u32>, now: Timestamp) -> Decision {
    let until = match months {
        None => None,
        Some(months) if (EXCLUSION_MONTHS_MIN..=EXCLUSION_MONTHS_MAX).contains(&months) => Some(after_months(brand, months, now)?),
        Some(_) => return Err(Rejected::InvalidValue { what: "a self-exclusion lasts at least six months" }.into()),
    };
    exclude(brand, player, Exclusion { kind: ExclusionKind::SelfExclusion, until }, now)
}

fn after_months(brand: &Brand, months: u32, now: Timestamp) -> Result<Timestamp, Rejected> {
    jiff::Timestamp::from_millisecond(now.0)
        .and_then(|at| at.to_zoned(brand.time_zone.clone()).checked_add(i64::from(months).months()))
        .map(|end| Timestamp(end.timestamp().as_millisecond()))
        .map_err(|_| Rejected::InvalidValue { what: "the exclusion ends outside the calendar" })
}

/// An exclusion is lengthened or hardened, never shortened or softened.
fn exclude(brand: &Brand, player: &Player, wanted: Exclusion, now: Timestamp) -> Decision {
    let old = player.state.exclusion.filter(|old| old.is_active(now));
    let softer = old.is_some_and(|old| old.kind == ExclusionKind::SelfExclusion && wanted.kind == ExclusionKind::TimeOut);
    let shorter = old.is_some_and(|old| match (old.until, wanted.until) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => new < old,
    });
    if softer || shorter {
        return Err(Rejected::InvalidValue { what: "an exclusion cannot be shortened" }.into());
    }
    let mut draft = Draft::new(brand, player);
    session::end_session(&mut draft, "excluded", now);
    draft.state().exclusion = Some(wanted);
    let payload = event::Exclusion { until: wanted.until, policy: brand.policy.name.clone() };
    draft.facts.push(match wanted.kind {
        ExclusionKind::TimeOut => Fact::TimeoutStarted(payload),
        ExclusionKind::SelfExclusion => Fact::SelfExcluded(payload),
    });
    Ok(draft.plan(Done::Excluded { until: wanted.until }))
}

/// Every limit with what is in force and what is spent of it.
pub fn limit_views(brand: &Brand, player: &Player, now: Timestamp) -> Vec<LimitView> {
    let (state, operator) = (&player.state, &brand.policy.operator_limits);
    let usage = limits::rolled(&state.usage, windows::window_numbers(&brand.time_zone, now));
    let session = state.session.as_ref();
    let view = |kind, window, own: Limit, operator: Option<i64>, spent| LimitView {
        limit: kind,
        window,
        own: own.own,
        operator,
        effective: if kind == LimitKind::RealityCheck { own.own.or(operator) } else { limits::effective(own, operator) },
        spent,
        pending: own.pending.map(|pending| PendingLimit { value: pending.value, effective_at: pending.effective_at }),
    };
    let own = &state.limits;
    let mut views = vec![view(LimitKind::Stake, None, own.stake, operator.stake.map(|a| a.0), None)];
    for (index, window) in LimitWindow::ALL.into_iter().enumerate() {
        let ceiling = operator.wager[index].map(|a| a.0);
        views.push(view(LimitKind::Wager, Some(window), own.wager[index], ceiling, Some(usage[index].wagered.0)));
    }
    for (index, window) in LimitWindow::ALL.into_iter().enumerate() {
        let ceiling = operator.loss[index].map(|a| a.0);
        views.push(view(LimitKind::Loss, Some(window), own.loss[index], ceiling, Some(usage[index].net_loss.0)));
    }
    let elapsed = session.map(|session| session.elapsed_s(now));
    views.push(view(LimitKind::SessionTime, None, own.session_time_s, operator.session_time_s, elapsed));
    let since = session.map(|session| now.since_ms(session.reality_from).div_euclid(1000));
    views.push(view(LimitKind::RealityCheck, None, own.reality_check_s, brand.policy.reality_check_s, since));
    views
}
