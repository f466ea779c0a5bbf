//! From a plan to the closed unit of work, with its event pack and stored reply.

use bytes::Bytes;
use protocol::{EventHeader, EventPack, Fact, PlayerId, RecordKey, Timestamp};
use rules::{Brand, Plan, Player, RoundState};
use smallvec::SmallVec;
use storage::{Guard, RecordWrite, UnitOfWork};

use crate::{
    answer::Answer,
    command::{Action, Command},
    env::Env,
};

/// The unit of an accepted plan.
pub fn of_plan(command: &Command, plan: &mut Plan, brand: &Brand, answer: &Answer, env: &dyn Env, at: Timestamp) -> UnitOfWork {
    let mut records = SmallVec::new();
    records.push(player_write(&plan.player));
    if let Some((key, expected, state)) = &plan.round {
        records.push(round_write(*key, *expected, state));
    }
    if let Some(tombstone) = plan.tombstone {
        records.push(RecordWrite { key: tombstone, expected: 0, bytes: Some(Bytes::new()) });
    }
    // What must be absent is claimed, not only looked at: of a bet and a rollback of it that cross each other, one is stale.
    records.extend(plan.absent.iter().map(|key| RecordWrite { key: *key, expected: 0, bytes: Some(Bytes::new()) }));
    UnitOfWork {
        key: command.key.clone(),
        body_hash: command.body_hash,
        at,
        legs: std::mem::take(&mut plan.legs),
        guards: SmallVec::new(),
        records,
        events: pack(command, &plan.player, brand, std::mem::take(&mut plan.facts), env, at),
        reply: answer.to_stored(),
    }
}

/// The unit of a final refusal: key, reply and events, no legs; with the player's row when the refusal changed it.
#[expect(clippy::too_many_arguments, reason = "the parts of one unit, named where it is made")]
pub fn of_refusal(
    command: &Command,
    player: &Player,
    changed: Option<&Player>,
    facts: SmallVec<[Fact; 2]>,
    brand: &Brand,
    answer: &Answer,
    env: &dyn Env,
    at: Timestamp,
) -> UnitOfWork {
    // A refusal, too, names the versions it was decided on: what moved meanwhile decides again.
    let mut guards: SmallVec<[Guard; 1]> = SmallVec::new();
    if changed.is_none() {
        guards.push(Guard { key: RecordKey::player(player.id), version: player.version });
    }
    if let Action::Held { provider, round, stored, .. } = &command.action {
        let version = stored.as_ref().map_or(0, |(version, _)| *version);
        guards.push(Guard { key: RecordKey::provider_round(*provider, round), version });
    }
    UnitOfWork {
        key: command.key.clone(),
        body_hash: command.body_hash,
        at,
        legs: SmallVec::new(),
        guards,
        records: changed.map(player_write).into_iter().collect(),
        events: pack(command, player, brand, facts, env, at),
        reply: answer.to_stored(),
    }
}

fn player_write(player: &Player) -> RecordWrite {
    RecordWrite { key: RecordKey::player(player.id), expected: player.version - 1, bytes: Some(Bytes::from(player.state.encode())) }
}

fn round_write(key: RecordKey, expected: u64, state: &RoundState) -> RecordWrite {
    RecordWrite { key, expected, bytes: Some(Bytes::from(state.encode())) }
}

fn pack(command: &Command, player: &Player, brand: &Brand, facts: SmallVec<[Fact; 2]>, env: &dyn Env, at: Timestamp) -> Bytes {
    if facts.is_empty() {
        return Bytes::new();
    }
    let header = EventHeader {
        id: env.uuid().into(),
        at,
        tenant: brand.tenant,
        region: brand.region,
        player: Some(PlayerId(player.id.0)),
        session: player.state.session.map(|session| session.id),
        trace: command.trace,
    };
    Bytes::from(EventPack::new(header, facts).to_bytes())
}
