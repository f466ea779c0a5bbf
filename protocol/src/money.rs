//! Money: `i64` minor units, checked arithmetic only (MONEY.md, Amounts).

use std::{fmt, str::FromStr};

use rust_decimal::{Decimal, prelude::ToPrimitive};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Minor units of some currency (cents, satoshi). May be negative only where a rule says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Amount(pub i64);

impl Amount {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX);

    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_sub(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    pub fn checked_mul(self, factor: i64) -> Result<Self, MoneyError> {
        self.0.checked_mul(factor).map(Self).ok_or(MoneyError::Overflow)
    }

    /// As much of this in micro units; overflow is an error, not a wrap.
    pub fn to_micro(self) -> Result<Micro, MoneyError> {
        self.0.checked_mul(Micro::PER_MINOR).map(Micro).ok_or(MoneyError::Overflow)
    }

    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    pub fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}

/// Millionths of a minor unit, for carries and contributions. Signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Micro(pub i64);

impl Micro {
    pub const ZERO: Self = Self(0);
    pub const PER_MINOR: i64 = 1_000_000;

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    pub fn checked_neg(self) -> Result<Self, MoneyError> {
        self.0.checked_neg().map(Self).ok_or(MoneyError::Overflow)
    }

    /// Whole minor units toward negative infinity, and the non-negative rest: `self = units · 10⁶ + rest`.
    pub const fn split(self) -> (Amount, Micro) {
        (Amount(self.0.div_euclid(Self::PER_MINOR)), Micro(self.0.rem_euclid(Self::PER_MINOR)))
    }
}

/// Why a sum of money could not be read or computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MoneyError {
    #[error("the amount does not fit 64 bits of minor units")]
    Overflow,
    #[error("the amount is not a plain decimal number")]
    Malformed,
    #[error("the amount is negative")]
    Negative,
    #[error("the amount has a part below a minor unit")]
    SubMinor,
    #[error("the amount has more than {max} decimal places", max = DECIMAL_PLACES_MAX)]
    TooPrecise,
    #[error("unknown currency")]
    UnknownCurrency,
}

/// A carry is kept in millionths of a minor unit, so nothing finer can be carried exactly.
pub const DECIMAL_PLACES_MAX: u32 = 14;

/// A currency with its exponent: `EUR` has 2, `JPY` 0, `BTC` 8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(u8);

/// Code and exponent (ISO 4217; crypto currencies by common practice). Append only: the position is stored.
const CURRENCIES: &[(&str, u8)] = &[
    ("EUR", 2),
    ("USD", 2),
    ("GBP", 2),
    ("JPY", 0),
    ("KWD", 3),
    ("BTC", 8),
    ("SEK", 2),
    ("DKK", 2),
    ("NOK", 2),
    ("PLN", 2),
    ("BRL", 2),
    ("MXN", 2),
    ("ARS", 2),
    ("CLP", 0),
    ("COP", 2),
    ("PEN", 2),
    ("CAD", 2),
    ("AUD", 2),
    ("NZD", 2),
    ("CHF", 2),
    ("CZK", 2),
    ("HUF", 2),
    ("RON", 2),
    ("BGN", 2),
    ("TRY", 2),
    ("INR", 2),
    ("ZAR", 2),
    ("KRW", 0),
    ("BHD", 3),
    ("TND", 3),
    ("USDT", 6),
    ("USDC", 6),
    ("LTC", 8),
    ("UAH", 2),
    ("KZT", 2),
    ("GEL", 2),
];

impl Currency {
    pub const EUR: Self = Self(0);
    pub const USD: Self = Self(1);
    pub const GBP: Self = Self(2);
    pub const JPY: Self = Self(3);
    pub const KWD: Self = Self(4);
    pub const BTC: Self = Self(5);

    /// Every currency known, in the order of their stored numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CURRENCIES.len() as u8).map(Self)
    }

    /// The number the stores keep.
    pub const fn number(self) -> u8 {
        self.0
    }

    pub fn from_number(number: u8) -> Result<Self, MoneyError> {
        if usize::from(number) < CURRENCIES.len() { Ok(Self(number)) } else { Err(MoneyError::UnknownCurrency) }
    }

    pub fn code(self) -> &'static str {
        CURRENCIES[usize::from(self.0)].0
    }

    /// Decimal places of the minor unit, 0 to 8.
    pub fn exponent(self) -> u32 {
        u32::from(CURRENCIES[usize::from(self.0)].1)
    }

    /// Reads a decimal string that may go below a minor unit: whole units and the exact rest, in millionths.
    /// Negative amounts are refused: direction is said by the operation, never by a sign.
    pub fn parse_exact(self, text: &str) -> Result<(Amount, Micro), MoneyError> {
        if text.is_empty() || text.len() > 40 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') {
            return Err(MoneyError::Malformed);
        }
        let decimal = Decimal::from_str_exact(text).map_err(|error| match error {
            rust_decimal::Error::ExceedsMaximumPossibleValue => MoneyError::Overflow,
            rust_decimal::Error::Underflow => MoneyError::TooPrecise,
            _ => MoneyError::Malformed,
        })?;
        if decimal.is_sign_negative() && !decimal.is_zero() {
            return Err(MoneyError::Negative);
        }
        let decimal = decimal.normalize();
        if decimal.scale() > self.exponent() + 6 {
            return Err(MoneyError::TooPrecise);
        }
        let scale = Decimal::from(10_i64.pow(self.exponent()));
        let minor = decimal.checked_mul(scale).ok_or(MoneyError::Overflow)?;
        let units = minor.trunc();
        let rest = (minor - units).checked_mul(Decimal::from(Micro::PER_MINOR)).ok_or(MoneyError::Overflow)?;
        Ok((Amount(units.to_i64().ok_or(MoneyError::Overflow)?), Micro(rest.to_i64().ok_or(MoneyError::Overflow)?)))
    }

    /// Reads a decimal string of whole minor units; anything finer is [`MoneyError::SubMinor`].
    pub fn parse(self, text: &str) -> Result<Amount, MoneyError> {
        match self.parse_exact(text)? {
            (amount, Micro::ZERO) => Ok(amount),
            _ => Err(MoneyError::SubMinor),
        }
    }

    /// The decimal string of an amount, with exactly the currency's places: `12.30`, `-0.05`, `1200`.
    pub fn format(self, amount: Amount) -> String {
        let exponent = self.exponent() as usize;
        let digits = amount.0.unsigned_abs().to_string();
        let sign = if amount.0 < 0 { "-" } else { "" };
        if exponent == 0 {
            return format!("{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = exponent + 1);
        let (whole, cents) = digits.split_at(digits.len() - exponent);
        format!("{sign}{whole}.{cents}")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let number = CURRENCIES.iter().position(|(code, _)| *code == text).ok_or(MoneyError::UnknownCurrency)?;
        Ok(Self(number as u8))
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.serialize_str(self.code()) } else { serializer.serialize_u8(self.0) }
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            code.parse().map_err(|_| de::Error::custom(format!("unknown currency {code:?}")))
        } else {
            Self::from_number(u8::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": CURRENCIES.iter().map(|(code, _)| *code).collect::<Vec<_>>() })
    }
}

/// What a player has after a commit; every money reply carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Balance {
    /// Withdrawable money, minor units.
    pub cash: Amount,
    /// Bonus money over all grants, minor units.
    pub bonus: Amount,
    /// Stakes of open rounds, cash and bonus together, minor units.
    pub in_play: Amount,
    /// The version of the player's row this was read from; grows by one with each commit that touches the player.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_strings_are_read_exactly() {
        assert_eq!(Currency::EUR.parse("12.3"), Ok(Amount(1230)));
        assert_eq!(Currency::JPY.parse("12"), Ok(Amount(12)));
        assert_eq!(Currency::JPY.parse("12.5"), Err(MoneyError::SubMinor));
        assert_eq!(Currency::BTC.parse("0.00000001"), Ok(Amount(1)));
        assert_eq!(Currency::EUR.parse_exact("0.012345"), Ok((Amount(1), Micro(234_500))));
        assert_eq!(Currency::EUR.parse_exact("0.000000001"), Err(MoneyError::TooPrecise));
        assert_eq!(Currency::EUR.parse("-1"), Err(MoneyError::Negative));
        assert_eq!(Currency::EUR.parse("99999999999999999999"), Err(MoneyError::Overflow));
        for bad in ["", "1e3", "+1", "0x1", "1,0", " 1", "..", "NaN", "1.2.3", "-"] {
            assert_eq!(Currency::EUR.parse(bad), Err(MoneyError::Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(minor in 0..i64::MAX, number in 0..CURRENCIES.len() as u8) {
            let currency = Currency(number);
            prop_assert_eq!(currency.parse(&currency.format(Amount(minor))), Ok(Amount(minor)));
        }

        #[test]
        fn splitting_a_micro_loses_nothing(micro in any::<i64>()) {
            let (units, rest) = Micro(micro).split();
            prop_assert!((0..Micro::PER_MINOR).contains(&rest.0));
            prop_assert_eq!(i128::from(units.0) * i128::from(Micro::PER_MINOR) + i128::from(rest.0), i128::from(micro));
        }
    }
}
