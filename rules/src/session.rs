//! A player's opening, funding, play session and expiries.
//!
//! One play session spans games, channels and reconnections; it ends at logout, exclusion, its time limit or the policy's
//! inactivity. Expiries are decided by [`tick`], as idempotent as the state they read; [`next_due`] says when to look.

use protocol::{AccountCode, Amount, Currency, Fact, Holdings, PlayerId, SessionId, Timestamp, event};
use smallvec::SmallVec;

use crate::{
    bonus,
    brand::Brand,
    limits,
    plan::{Decision, Done, Plan, Refused, Rejected},
    player::{Exclusion, ExclusionKind, Fairness, Limits, Player, PlayerState, Session, Status, WindowUsage},
    postings::{Draft, house},
    protection,
};

/// Longest client seed, in characters of printable ASCII.
pub const CLIENT_SEED_LEN_MAX: usize = 64;

impl Session {
    /// Whole seconds since the session started.
    pub const fn elapsed_s(&self, now: Timestamp) -> i64 {
        now.since_ms(self.started_at).div_euclid(1000)
    }
}

/// A player without money, open for play.
pub fn open_player(brand: &Brand, id: PlayerId, currency: Currency, client_seed: String, _now: Timestamp) -> Plan {
    let state = PlayerState {
        tenant: brand.tenant,
        currency,
        status: Status::Open,
        exclusion: None,
        limits: Limits::default(),
        usage: [WindowUsage::default(); 3],
        session: None,
        last_rounds: SmallVec::new(),
        bonus: None,
        grants_issued: 0,
        fairness: Fairness { seed_index: 0, nonce: 0, client_seed },
        carries: SmallVec::new(),
        open_rounds: SmallVec::new(),
        rest_until: None,
        completed: SmallVec::new(),
    };
    let player = Player { id, version: 0, holdings: Holdings::default(), state };
    let mut draft = Draft::owning(brand.book(currency), player);
    draft.facts.push(Fact::PlayerOpened(event::PlayerOpened { currency }));
    draft.plan(Done::Opened)
}

/// Money from outside, as the demo's seed and later deposits bring it.
pub fn fund(brand: &Brand, player: &Player, source: &str, amount: Amount, _now: Timestamp) -> Decision {
    if !amount.is_positive() {
        return Err(Rejected::InvalidValue { what: "funds come in positive amounts" }.into());
    }
    let mut draft = Draft::new(brand, player);
    draft.pay_cash(house(AccountCode::Bank), amount)?;
    let balance = draft.balance()?;
    let currency = player.state.currency;
    draft.facts.push(Fact::Funded(event::Funded { source: source.to_owned(), amount, currency, balance }));
    Ok(draft.plan(Done::Funded))
}

/// Whether the account may play; the first check of every bet.
pub(crate) fn usable(state: &PlayerState, now: Timestamp) -> Result<(), Rejected> {
    if state.status == Status::Blocked {
        return Err(Rejected::AccountBlocked);
    }
    match state.exclusion {
        Some(exclusion) if exclusion.is_active(now) => Err(match exclusion.kind {
            ExclusionKind::TimeOut => Rejected::TimedOut { until: exclusion.until },
            ExclusionKind::SelfExclusion => Rejected::SelfExcluded { until: exclusion.until },
        }),
        _ => Ok(()),
    }
}

impl Exclusion {
    /// A time-out ends by itself. A self-exclusion does not: after its time the player must ask to return.
    pub fn is_active(&self, now: Timestamp) -> bool {
        match self.kind {
            ExclusionKind::SelfExclusion => true,
            ExclusionKind::TimeOut => self.until.is_none_or(|until| now < until),
        }
    }
}

/// The running session, unless the player has been away for too long.
pub(crate) fn running<'a>(brand: &Brand, state: &'a PlayerState, now: Timestamp) -> Option<&'a Session> {
    state.session.as_ref().filter(|session| now < inactive_at(brand, session))
}

fn inactive_at(brand: &Brand, session: &Session) -> Timestamp {
    session.last_seen_at.plus_ms(brand.policy.session_inactivity_s.saturating_mul(1000))
}

/// Starts a play session or resumes the one that runs.
pub fn start(brand: &Brand, player: &Player, session: SessionId, now: Timestamp) -> Decision {
    usable(&player.state, now)?;
    let mut draft = Draft::new(brand, player);
    end_time_out(brand, &mut draft, now);
    if running(brand, &player.state, now).is_some() {
        touch(draft.state(), now);
        return Ok(draft.plan(Done::SessionStarted { resumed: true }));
    }
    if let Some(until) = player.state.rest_until
        && now < until
    {
        let limit_s = limits::session_time_s(brand, &player.state).unwrap_or_default();
        return Err(Rejected::SessionTimeLimit { limit_s, elapsed_s: limit_s }.into());
    }
    end_session(&mut draft, "inactivity", now);
    draft.state().rest_until = None;
    draft.state().session = Some(Session {
        id: session,
        started_at: now,
        last_seen_at: now,
        wagered: Amount::ZERO,
        returned: Amount::ZERO,
        reality_from: now,
        reality_pending: false,
    });
    let (currency, balance) = (player.state.currency, draft.balance()?);
    draft.facts.push(Fact::SessionStarted(event::SessionStarted { session, currency, balance }));
    Ok(draft.plan(Done::SessionStarted { resumed: false }))
}

/// Ends the play session: logout, or whatever the shell names.
pub fn end(brand: &Brand, player: &Player, reason: &str, now: Timestamp) -> Decision {
    let mut draft = Draft::new(brand, player);
    if !end_session(&mut draft, reason, now) {
        return Err(Rejected::Nothing.into());
    }
    Ok(draft.plan(Done::SessionEnded))
}

/// Fires what is due.
pub fn tick(brand: &Brand, player: &Player, now: Timestamp) -> Decision {
    match next_due(brand, player) {
        Some(due) if due <= now => {}
        _ => return Err(Rejected::Nothing.into()),
    }
    let mut draft = Draft::new(brand, player);
    end_time_out(brand, &mut draft, now);
    if let Some(session) = draft.player.state.session {
        if now >= inactive_at(brand, &session) {
            end_session(&mut draft, "inactivity", now);
        } else if limits::check_session_time(brand, &draft.player.state, &session, now).is_err() {
            end_session(&mut draft, "time_limit", now);
            // What separates two sessions is the policy's inactivity; a forced end is no shorter than that.
            draft.state().rest_until = Some(now.plus_ms(brand.policy.session_inactivity_s.saturating_mul(1000)));
        } else {
            protection::show_reality_check(brand, &mut draft, now);
        }
    }
    bonus::expire_if_due(&mut draft, now)?;
    let next = next_due(brand, &draft.player);
    Ok(draft.plan(Done::Ticked { next }))
}

/// When [`tick`] will next have something to do. A relaxation of a limit is not among it: it waits for the player's word.
pub fn next_due(brand: &Brand, player: &Player) -> Option<Timestamp> {
    let state = &player.state;
    let time_out = state.exclusion.filter(|e| e.kind == ExclusionKind::TimeOut).and_then(|e| e.until);
    let grant = state.bonus.map(|grant| grant.deadline);
    let session = state.session.as_ref();
    let inactivity = session.map(|session| inactive_at(brand, session));
    let limit = session.and_then(|session| {
        limits::session_time_s(brand, state).map(|limit_s| session.started_at.plus_ms(limit_s.saturating_mul(1000)))
    });
    let reality = session.filter(|session| !session.reality_pending).and_then(|s| protection::reality_due_at(brand, state, s));
    [time_out, grant, inactivity, limit, reality].into_iter().flatten().min()
}

/// A new pair of seeds: the shell reveals the old server seed and commits to the next.
pub fn rotate_seed(
    brand: &Brand,
    player: &Player,
    client_seed: String,
    revealed_seed: Option<String>,
    seed_hash: String,
    now: Timestamp,
) -> Decision {
    let printable = client_seed.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if client_seed.is_empty() || client_seed.len() > CLIENT_SEED_LEN_MAX || !printable {
        return Err(Rejected::InvalidValue { what: "a client seed is 1 to 64 printable ASCII characters" }.into());
    }
    let longer = client_seed.len().saturating_sub(player.state.fairness.client_seed.len());
    if longer > player.state.room_bytes() {
        return Err(Rejected::InvalidValue { what: "too many rounds are open for a client seed this long" }.into());
    }
    let mut draft = Draft::new(brand, player);
    touch(draft.state(), now);
    let fairness = &mut draft.state().fairness;
    *fairness = Fairness { seed_index: fairness.seed_index.saturating_add(1), nonce: 0, client_seed: client_seed.clone() };
    draft.facts.push(Fact::FairnessRotated(event::FairnessRotated { revealed_seed, seed_hash, client_seed }));
    Ok(draft.plan(Done::SeedRotated))
}

/// Notes a command of the player; inactivity counts from here.
pub(crate) fn touch(state: &mut PlayerState, now: Timestamp) {
    if let Some(session) = &mut state.session {
        session.last_seen_at = session.last_seen_at.max(now);
    }
}

/// Ends the session if one is kept; answers whether it did.
pub(crate) fn end_session(draft: &mut Draft, reason: &str, now: Timestamp) -> bool {
    let Some(session) = draft.state().session.take() else {
        return false;
    };
    draft.facts.push(Fact::SessionEnded(event::SessionEnded {
        session: session.id,
        reason: reason.to_owned(),
        seconds: session.elapsed_s(now),
        wagered: session.wagered,
        returned: session.returned,
    }));
    true
}

fn end_time_out(brand: &Brand, draft: &mut Draft, now: Timestamp) {
    if let Some(exclusion) = draft.player.state.exclusion
        && !exclusion.is_active(now)
    {
        draft.state().exclusion = None;
        let policy = brand.policy.name.clone();
        draft.facts.push(Fact::TimeoutEnded(event::Exclusion { until: exclusion.until, policy }));
    }
}

/// `Refused` from a draft that only shows a reality check: what the refusal itself changed.
pub(crate) fn refused_with(draft: Draft, why: Rejected) -> Refused {
    Refused { why, facts: draft.facts, player: Some(draft.player) }
}
