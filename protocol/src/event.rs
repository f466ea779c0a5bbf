//! What happened, as analysts and compliance read it (E1): facts, how a unit packs them, and the envelope they travel in.
//!
//! | form | where | holds |
//! |---|---|---|
//! | [`Fact`] | in the deciding code | typed payload |
//! | [`EventPack`] | in the unit, JSON, once per unit | a shared header and the facts' payloads |
//! | [`Envelope`] | event consumers, the bus | one event, everything spelled out |

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    Amount, Balance, BetId, Currency, EventId, GameId, JackpotId, Micro, PlayerId, ProviderId, RoundId, SessionId, TenantId,
    Timestamp, TraceId,
};

/// A piece of JSON carried verbatim: a game's own detail of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(pub Box<RawValue>);

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl JsonSchema for RawJson {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RawJson".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "any JSON value, as the game describes it" })
    }
}

/// What all events of a unit share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventHeader {
    /// Id of the first event; the n-th event's id is this plus n.
    pub id: EventId,
    pub at: Timestamp,
    pub tenant: TenantId,
    /// Where the data lives (residency), e.g. `eu`.
    pub region: TenantRegion,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player: Option<PlayerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    pub trace: TraceId,
}

/// A region's short name.
pub type TenantRegion = crate::Slug;

/// The events of one unit as stored with it: one JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventPack {
    #[serde(flatten)]
    pub header: EventHeader,
    pub events: Vec<PackedEvent>,
}

/// One fact inside a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackedEvent {
    #[serde(rename = "type")]
    pub event_type: std::borrow::Cow<'static, str>,
    #[serde(rename = "v")]
    pub schema_version: u16,
    pub payload: Fact,
}

/// One event, spelled out (FEATURES E1).
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Envelope {
    pub event_id: EventId,
    pub event_type: String,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// When the relay took the event over; RFC 3339, UTC.
    pub ingested_at: String,
    pub tenant_id: TenantId,
    pub region: TenantRegion,
    pub player_id: Option<PlayerId>,
    pub session_id: Option<SessionId>,
    pub trace_id: TraceId,
    pub schema_version: u16,
    /// Where the event stands in the ledger: consumers keep this as their position.
    pub shard: u16,
    pub sequence: u64,
    pub payload: Fact,
}

impl EventPack {
    pub fn new(header: EventHeader, facts: impl IntoIterator<Item = Fact>) -> Self {
        let events = facts
            .into_iter()
            .map(|fact| PackedEvent { event_type: fact.event_type().into(), schema_version: fact.schema_version(), payload: fact })
            .collect();
        Self { header, events }
    }

    /// The envelopes of a pack that was committed at (shard, sequence).
    pub fn envelopes(&self, shard: u16, sequence: u64, ingested_at: Timestamp) -> impl Iterator<Item = Envelope> + '_ {
        let header = self.header;
        self.events.iter().enumerate().map(move |(index, event)| Envelope {
            event_id: EventId(Uuid::from_u128(header.id.0.as_u128().wrapping_add(index as u128))),
            event_type: event.event_type.to_string(),
            occurred_at: header.at.to_rfc3339(),
            ingested_at: ingested_at.to_rfc3339(),
            tenant_id: header.tenant,
            region: header.region,
            player_id: header.player,
            session_id: header.session,
            trace_id: header.trace,
            schema_version: event.schema_version,
            shard,
            sequence,
            payload: event.payload.clone(),
        })
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident($payload:ident) = $text:literal, v $version:literal;)*) => {
        /// Everything that can happen, with its payload. Untagged on the wire: the type stands beside the payload.
        #[derive(Clone, Debug, PartialEq, JsonSchema)]
        #[schemars(untagged)]
        pub enum Fact {
            $($(#[$doc])* $name($payload),)*
        }

        impl Fact {
            /// Every event type with its schema version.
            pub const TYPES: &'static [(&'static str, u16)] = &[$(($text, $version)),*];

            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)* }
            }

            pub const fn schema_version(&self) -> u16 {
                match self { $(Self::$name(_) => $version,)* }
            }

            /// Reads a payload of a named type.
            pub fn parse(event_type: &str, payload: &str) -> Result<Self, FactError> {
                match event_type {
                    $($text => serde_json::from_str(payload).map(Self::$name).map_err(FactError::Payload),)*
                    _ => Err(FactError::UnknownType(event_type.to_owned())),
                }
            }

            /// The JSON Schema of each payload, by event type.
            pub fn schemas() -> Vec<(&'static str, u16, Schema)> {
                vec![$(($text, $version, schemars::schema_for!($payload))),*]
            }
        }

        impl Serialize for Fact {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$name(payload) => payload.serialize(serializer),)* }
            }
        }
    };
}

/// Why a stored event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    #[error("event payload: {0}")]
    Payload(serde_json::Error),
}

/// Deserialising needs the type beside the payload, so [`PackedEvent`] does it.
impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a fact is read together with its type"))
    }
}

impl EventPack {
    /// Reads a stored pack.
    pub fn parse(bytes: &[u8]) -> Result<Self, FactError> {
        #[derive(Deserialize)]
        struct Pack<'a> {
            id: EventId,
            at: Timestamp,
            tenant: TenantId,
            region: TenantRegion,
            #[serde(default)]
            player: Option<PlayerId>,
            #[serde(default)]
            session: Option<SessionId>,
            trace: TraceId,
            #[serde(borrow)]
            events: Vec<Event<'a>>,
        }
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(rename = "type", borrow)]
            event_type: std::borrow::Cow<'a, str>,
            v: u16,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        let pack: Pack<'_> = serde_json::from_slice(bytes).map_err(FactError::Payload)?;
        let events = pack
            .events
            .into_iter()
            .map(|event| {
                let payload = Fact::parse(&event.event_type, event.payload.get())?;
                Ok(PackedEvent { event_type: payload.event_type().into(), schema_version: event.v, payload })
            })
            .collect::<Result<_, FactError>>()?;
        let Pack { id, at, tenant, region, player, session, trace, .. } = pack;
        Ok(Self { header: EventHeader { id, at, tenant, region, player, session, trace }, events })
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Payloads hold no map with non-string keys and no failing serialiser, so writing to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

facts! {
    PlayerOpened(PlayerOpened) = "player.opened", v 1;
    SessionStarted(SessionStarted) = "session.started", v 1;
    SessionEnded(SessionEnded) = "session.ended", v 1;
    /// An instant round, whole; the publisher derives bet.placed, bet.settled, … from it.
    RoundSettled(RoundSettled) = "round.settled", v 1;
    /// A stake of a held round was taken.
    BetPlaced(BetPlaced) = "bet.placed", v 1;
    WalletHold(WalletHold) = "wallet.hold", v 1;
    BetSettled(BetSettled) = "bet.settled", v 1;
    BetVoided(BetVoided) = "bet.voided", v 1;
    /// A win was taken back.
    WinReversed(WinReversed) = "win.reversed", v 1;
    RoundClosed(RoundClosed) = "round.closed", v 1;
    DebitRefused(DebitRefused) = "wallet.debit.refused", v 1;
    Funded(Funded) = "wallet.funded", v 1;
    ReceivableRaised(ReceivableRaised) = "wallet.receivable.raised", v 1;
    PromoPaid(PromoPaid) = "promo.paid", v 1;
    Tombstoned(Tombstoned) = "bet.tombstoned", v 1;
    JackpotSeeded(JackpotSeeded) = "jackpot.seeded", v 1;
    JackpotMetered(JackpotMetered) = "jackpot.metered", v 1;
    JackpotTriggered(JackpotTriggered) = "jackpot.triggered", v 1;
    BonusIssued(BonusIssued) = "bonus.issued", v 1;
    BonusCompleted(BonusCompleted) = "bonus.completed", v 1;
    BonusForfeited(BonusEnded) = "bonus.forfeited", v 1;
    BonusExpired(BonusEnded) = "bonus.expired", v 1;
    LimitHit(LimitHit) = "rg.limit.hit", v 1;
    LimitSet(LimitSet) = "rg.limit_set", v 1;
    RealityCheckShown(RealityCheck) = "rg.reality_check.shown", v 1;
    RealityCheckAcknowledged(RealityCheck) = "rg.reality_check.acknowledged", v 1;
    TimeoutStarted(Exclusion) = "rg.timeout.started", v 1;
    TimeoutEnded(Exclusion) = "rg.timeout.ended", v 1;
    SelfExcluded(Exclusion) = "rg.self_excluded", v 1;
    FairnessRotated(FairnessRotated) = "fairness.rotated", v 1;
}

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
    )*};
}

payloads! {
    PlayerOpened { currency: Currency, }
    SessionStarted { session: SessionId, currency: Currency, balance: Balance, }
    SessionEnded {
        session: SessionId,
        /// `logout`, `inactivity`, `excluded`, `time_limit`, `replaced`.
        reason: String,
        seconds: i64, wagered: Amount, returned: Amount,
    }
    RoundSettled {
        round: RoundId, bet: BetId, game: GameId, provider: ProviderId, currency: Currency,
        stake_cash: Amount, stake_bonus: Amount, win_cash: Amount, win_bonus: Amount,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        contributions: Vec<ContributionShare>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<WagerProgress>,
        /// Symbols, multiplier, fairness: what recall shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<RawJson>,
        balance: Balance,
    }
    BetPlaced {
        round: String, bet: BetId, game: GameId, provider: ProviderId, currency: Currency,
        stake_cash: Amount, stake_bonus: Amount, is_free: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        contributions: Vec<ContributionShare>,
        balance: Balance,
    }
    WalletHold { round: String, bet: BetId, cash: Amount, bonus: Amount, }
    BetSettled {
        round: String, bet: BetId, game: GameId, provider: ProviderId, currency: Currency,
        /// What this settlement released of the stake; zero when the stake was settled before.
        stake_cash: Amount, stake_bonus: Amount,
        win_cash: Amount, win_bonus: Amount,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<WagerProgress>,
        balance: Balance,
    }
    BetVoided {
        round: String, bet: BetId, game: GameId, provider: ProviderId, currency: Currency,
        stake_cash: Amount, stake_bonus: Amount,
        /// Whether the bet had been settled; then GGR is corrected at this event's time.
        was_settled: bool,
        /// `rollback`, `operator`, `deadline`.
        reason: String,
        balance: Balance,
    }
    WinReversed {
        round: String, win: BetId, game: GameId, provider: ProviderId, currency: Currency,
        cash: Amount, bonus: Amount, receivable: Amount, balance: Balance,
    }
    RoundClosed { round: String, game: GameId, provider: ProviderId, }
    DebitRefused { game: GameId, stake: Amount, currency: Currency, code: crate::ErrorCode, }
    Funded {
        /// Where the money came from: `demo`, `deposit`.
        source: String,
        amount: Amount, currency: Currency, balance: Balance,
    }
    ReceivableRaised { amount: Amount, currency: Currency, reference: Uuid, }
    PromoPaid { provider: ProviderId, campaign: String, amount: Amount, currency: Currency, balance: Balance, }
    Tombstoned { provider: ProviderId, reference: Uuid, }
    JackpotSeeded {
        jackpot: JackpotId, cycle: u64, currency: Currency, seed: Amount,
        /// SHA-256 commitment to the hidden threshold, lower-case hex.
        commitment: String,
    }
    JackpotMetered {
        jackpot: JackpotId, cycle: u64, currency: Currency,
        /// What this commit moved from jackpot expense into the pools, minor units, signed.
        main: Amount, reserve: Amount,
        /// What ran over the ceiling.
        diversion: Amount,
        /// What the pool shows after this commit.
        shown: Amount,
    }
    JackpotTriggered {
        jackpot: JackpotId, cycle: u64, currency: Currency, player: PlayerId, round: String, amount: Amount,
        /// The revealed threshold (micro units of the meter) and its nonce, lower-case hex.
        threshold: Micro, nonce: String,
        next_seed: Amount,
        next_commitment: String,
    }
    BonusIssued { grant: crate::GrantId, number: u32, amount: Amount, currency: Currency, requirement: Amount, deadline: Timestamp, }
    BonusCompleted { grant: crate::GrantId, converted: Amount, capped: Amount, currency: Currency, }
    BonusEnded { grant: crate::GrantId, forfeited: Amount, currency: Currency, }
    LimitHit {
        /// `stake`, `wager`, `loss`, `session_time`.
        limit: String,
        /// `day`, `week`, `month`; absent for stake and session time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
        value: i64, spent: i64, attempted: i64,
        policy: String,
    }
    LimitSet {
        limit: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<i64>,
        effective_at: Timestamp, policy: String,
    }
    RealityCheck { session: SessionId, seconds: i64, wagered: Amount, returned: Amount, }
    Exclusion { until: Option<Timestamp>, policy: String, }
    FairnessRotated {
        /// Lower-case hex of the seed now public, and of the hash of the seed now in use.
        revealed_seed: Option<String>, seed_hash: String, client_seed: String,
    }
}

/// What a bet added to a jackpot, in millionths of a minor unit; negative when a rollback takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContributionShare {
    pub jackpot: JackpotId,
    pub micro: Micro,
}

/// Where the wagering requirement stands after a settlement, minor units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WagerProgress {
    pub grant: crate::GrantId,
    pub added: Amount,
    pub done: Amount,
    pub requirement: Amount,
}
