//! Identifiers. A type per noun, so that a round can never be passed where a player is meant.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl $name {
            /// The sixteen bytes the stores keep.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
    )*};
}

uuid_id! {
    /// A player's pseudonym: nothing about the person can be read from it.
    PlayerId;
    /// One play session; it spans games, channels and reconnections (MONEY.md, Limits).
    SessionId;
    /// One game round.
    RoundId;
    /// One stake inside a round; for hosted games the client's request id, for providers their transaction id.
    BetId;
    /// A client-made UUIDv7 that makes a command repeatable.
    RequestId;
    /// One event.
    EventId;
    /// One bonus grant.
    GrantId;
    /// One trace, from the frame to the event.
    TraceId;
}

macro_rules! slug_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Slug);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.as_str())
            }
        }

        impl FromStr for $name {
            type Err = SlugError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl $name {
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }
    )*};
}

slug_id! {
    /// A brand. Every account, event and limit carries it.
    TenantId;
    /// A game provider (studio or aggregator).
    ProviderId;
    /// A game of the catalogue.
    GameId;
    /// A jackpot.
    JackpotId;
}

/// A short name kept inline: 1 to [`Slug::LEN_MAX`] of `a-z 0-9 - _ .`, so ids are `Copy` and cost no allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug {
    bytes: [u8; Slug::LEN_MAX],
    len: u8,
}

impl Slug {
    pub const LEN_MAX: usize = 23;

    /// A name written in the code, checked when it is compiled into a constant.
    ///
    /// # Panics
    /// When the name is not a valid one.
    pub const fn from_known(text: &'static str) -> Self {
        let source = text.as_bytes();
        assert!(!source.is_empty() && source.len() <= Self::LEN_MAX, "an id has 1 to 23 characters");
        let mut bytes = [0; Self::LEN_MAX];
        let mut index = 0;
        while index < source.len() {
            assert!(
                matches!(source[index], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'),
                "an id is made of a-z, 0-9, '-', '_' and '.'"
            );
            bytes[index] = source[index];
            index += 1;
        }
        Self { bytes, len: source.len() as u8 }
    }

    pub fn as_str(&self) -> &str {
        // The constructor admits ASCII only, so this never falls back.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// What is wrong with a short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    #[error("an id has 1 to {max} characters", max = Slug::LEN_MAX)]
    Length,
    #[error("an id is made of a-z, 0-9, '-', '_' and '.'")]
    Character,
}

impl FromStr for Slug {
    type Err = SlugError;
    fn from_str(text: &str) -> Result<Self, SlugError> {
        if text.is_empty() || text.len() > Self::LEN_MAX {
            return Err(SlugError::Length);
        }
        if !text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')) {
            return Err(SlugError::Character);
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, len: text.len() as u8 })
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Slug {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Slug;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an id of 1 to {} characters of a-z 0-9 - _ .", Slug::LEN_MAX)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Slug, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Slug {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Slug".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9._-]{1,23}$" })
    }
}

/// Whether an id is a UUID of version 7, as our own contracts require (MONEY.md, The unit of work, 5).
pub fn is_v7(id: &Uuid) -> bool {
    id.get_version_num() == 7
}
