//! From a command to a rule's decision: a table, without a rule of its own.

use protocol::{ErrorCode, PlayerId, ProviderId, RecordKey, event::RawJson};
use rules::{
    Brand, Decision, Game, Player, Refused, Rejected, RoundState, bet, bonus, protection, provider,
    provider::{Reference, RollbackCall, WinCall},
    session,
};
use storage::{Source, UnitKey};

use crate::{
    answer::Answer,
    command::{Action, HeldCall},
    floor::Shared,
    game::{Draw, Seed},
};

/// Why a command got no decision.
#[derive(Debug)]
pub enum Undecided {
    /// The rules say no.
    Refused(Refused),
    /// The command names something that does not exist.
    Unknown(ErrorCode),
    /// The store did not answer; nothing is known, so nothing is allowed.
    Unavailable,
}

impl From<Refused> for Undecided {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Rejected> for Undecided {
    fn from(why: Rejected) -> Self {
        Self::Refused(why.into())
    }
}

impl From<storage::StorageError> for Undecided {
    fn from(error: storage::StorageError) -> Self {
        tracing::error!(%error, "a decision could not read the store");
        Self::Unavailable
    }
}

/// A plan with the detail its game shows.
pub type Decided = Result<(rules::Plan, Option<RawJson>), Undecided>;

/// Decides one command against the player as loaded. Calls about held rounds also read the store: see [`held`].
pub fn decide(shared: &Shared, id: PlayerId, player: Option<&Player>, seed: &mut Option<Seed>, action: &Action) -> Decided {
    let now = shared.env.now();
    let Some(player) = player else {
        let Action::Open { currency, tenant, client_seed } = action else {
            return Err(Undecided::Unknown(ErrorCode::UnknownPlayer));
        };
        let brand = shared.catalogue.brand(*tenant).ok_or(Undecided::Unknown(ErrorCode::InvalidValue))?;
        return Ok((session::open_player(brand, id, *currency, client_seed.clone(), now), None));
    };
    let brand: &Brand = shared.catalogue.brand(player.state.tenant).ok_or(Undecided::Unavailable)?;
    let decision: Decision = match action {
        Action::Open { .. } => Err(Rejected::Nothing.into()),
        Action::Fund { source, amount } => session::fund(brand, player, source, *amount, now),
        Action::StartSession { session } => session::start(brand, player, *session, now),
        Action::EndSession { reason } => session::end(brand, player, reason, now),
        Action::Spin { .. } => return spin(shared, brand, player, seed, action),
        Action::Held { .. } => return Err(Undecided::Unavailable),
        Action::PromoWin { provider, campaign, amount, micro, currency, .. } => {
            provider::promo_win(brand, player, *provider, campaign, *amount, *micro, *currency, now)
        }
        Action::AcknowledgeRealityCheck => protection::acknowledge(brand, player, now),
        Action::SetLimit { limit, window, value } => protection::set_limit(brand, player, *limit, *window, *value, now),
        Action::TimeOut { hours } => protection::time_out(brand, player, *hours, now),
        Action::SelfExclude { months } => protection::self_exclude(brand, player, *months, now),
        Action::IssueBonus { offer, grant } => {
            let offer = shared.catalogue.offers.get(offer).ok_or(Undecided::Unknown(ErrorCode::UnknownCampaign))?;
            bonus::issue(brand, player, offer, *grant, now)
        }
        Action::ForfeitBonus { grant } => bonus::forfeit(brand, player, *grant, now),
        Action::RotateSeed { client_seed } => {
            let current = shared.seeds.seed(id, player.state.fairness.seed_index);
            let next = shared.seeds.seed(id, player.state.fairness.seed_index + 1);
            session::rotate_seed(brand, player, client_seed.clone(), Some(hex::encode(current.seed)), next.hash, now)
        }
        Action::Tick => session::tick(brand, player, now),
    };
    Ok((decision?, None))
}

/// Accepts the stake, draws, settles: three pure steps without a pause between them.
fn spin(shared: &Shared, brand: &Brand, player: &Player, seed: &mut Option<Seed>, action: &Action) -> Decided {
    let Action::Spin { game, stake, round, bet, source } = action else { return Err(Undecided::Unavailable) };
    let now = shared.env.now();
    let game = game_of(shared, player, *game)?;
    if !game.hosted {
        return Err(Undecided::Unknown(ErrorCode::UnknownGame));
    }
    let accepted = bet::accept_instant(brand, game, player, &bet::InstantBet { round: *round, bet: *bet, stake: *stake }, now)?;
    let fairness = &player.state.fairness;
    if seed.as_ref().is_none_or(|seed| seed.index != fairness.seed_index) {
        *seed = Some(shared.seeds.seed(player.id, fairness.seed_index));
    }
    let seed = seed.as_ref().ok_or(Undecided::Unavailable)?;
    let outcome = source.draw(&Draw {
        server_seed: &seed.seed,
        seed_hash: &seed.hash,
        client_seed: &fairness.client_seed,
        nonce: accepted.nonce(),
        stake: *stake,
    });
    let plan = accepted.settle(outcome.win, Some(outcome.detail.clone()))?;
    Ok((plan, Some(outcome.detail)))
}

fn game_of<'a>(shared: &'a Shared, player: &Player, game: protocol::GameId) -> Result<&'a Game, Undecided> {
    shared.catalogue.game(player.state.tenant, game).map(AsRef::as_ref).ok_or(Undecided::Refused(Rejected::UnknownGame.into()))
}

/// Decides a call about a held round, which may have to look whether a transaction is known.
pub async fn held(shared: &Shared, player: Option<&Player>, action: &Action, is_stale: bool) -> Decided {
    let Action::Held { call, provider, round, stored } = action else { return Err(Undecided::Unavailable) };
    let player = player.ok_or(Undecided::Unknown(ErrorCode::UnknownPlayer))?;
    let brand: &Brand = shared.catalogue.brand(player.state.tenant).ok_or(Undecided::Unavailable)?;
    let plan = call_of(shared, brand, player, *provider, round, stored.as_ref(), call, is_stale).await?;
    Ok((plan, None))
}

#[expect(clippy::too_many_arguments, reason = "the parts of one call, named where they are read")]
async fn call_of(
    shared: &Shared,
    brand: &Brand,
    player: &Player,
    provider: ProviderId,
    round: &str,
    stored: Option<&(u64, RoundState)>,
    call: &HeldCall,
    is_stale: bool,
) -> Result<rules::Plan, Undecided> {
    let now = shared.env.now();
    let view = stored.map(|(version, state)| (*version, state));
    let game = match (stored, call) {
        (Some((_, state)), _) => shared.catalogue.game(player.state.tenant, state.game).map(AsRef::as_ref),
        (None, HeldCall::Bet { game, .. }) => Some(game_of(shared, player, *game)?),
        (None, _) => None,
    };
    Ok(match call {
        HeldCall::Bet { transaction, game: id, session, stake, currency, is_free } => {
            let game = game_of(shared, player, *id)?;
            if game.provider != provider || game.hosted {
                return Err(Rejected::UnknownGame.into());
            }
            let bet = bet::HeldBet {
                provider,
                round,
                transaction: *transaction,
                session: *session,
                stake: *stake,
                currency: *currency,
                is_free: *is_free,
            };
            let decided = bet::hold(brand, game, player, view, &bet, now);
            // The plan claims the transaction, so a tombstone shows as a stale plan at the commit. It is read only then, or when
            // the bet is refused anyway, for the right answer: an accepted bet reads nothing before its commit.
            let looks = is_stale || decided.is_err();
            if looks && shared.ledger.record(RecordKey::tombstone(provider, &transaction.0)).await?.is_some() {
                return Err(Rejected::BetRolledBack.into());
            }
            decided?
        }
        HeldCall::Win { transaction, bet, amount, micro, currency, is_final } => {
            let call = WinCall {
                provider,
                round,
                transaction: *transaction,
                bet: *bet,
                amount: *amount,
                micro: *micro,
                currency: *currency,
                is_final: *is_final,
            };
            provider::win(brand, game, player, view, &call, now)?
        }
        HeldCall::Rollback { transaction, reference } => {
            let found = find_reference(shared, provider, stored, reference.0).await?;
            let call = RollbackCall { provider, round, transaction: *transaction, reference: *reference };
            provider::rollback(brand, game, player, view, &call, found, now)?
        }
        HeldCall::Close { .. } => provider::close(brand, game, player, view, now)?,
        HeldCall::Void { reason, .. } => provider::void(brand, game, player, view, reason, now)?,
    })
}

/// What is known of the transaction a rollback names.
async fn find_reference(
    shared: &Shared,
    provider: ProviderId,
    stored: Option<&(u64, RoundState)>,
    reference: uuid::Uuid,
) -> Result<Reference, Undecided> {
    if stored.is_some_and(|(_, state)| state.transactions.iter().any(|transaction| transaction.id.0 == reference)) {
        return Ok(Reference::InThisRound);
    }
    let key = UnitKey::new(Source::Provider(provider), reference.as_bytes());
    if let Some(unit) = shared.ledger.unit_by_key(key).await? {
        return Ok(if Answer::from_stored(&unit.reply).ok { Reference::Elsewhere } else { Reference::Refused });
    }
    let tombstone = shared.ledger.record(RecordKey::tombstone(provider, &reference)).await?;
    Ok(if tombstone.is_some() { Reference::Tombstoned } else { Reference::Unknown })
}
