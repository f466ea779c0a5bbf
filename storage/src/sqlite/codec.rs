//! How the ledger's columns encode what is not a number, a text or somebody's own bytes.

use protocol::{AccountCode, AccountId, Amount, Book, Currency, Holding, Holdings, OwnerKind, RecordKey, TenantId};

use crate::ledger::StorageError;

const HOLDINGS_VERSION: u8 = 1;

/// The holdings column: a version byte and the balances that are not zero.
pub fn holdings_bytes(holdings: &Holdings) -> Vec<u8> {
    if holdings.is_empty() {
        return Vec::new();
    }
    // Writing plain structures to memory cannot fail.
    postcard::to_extend(holdings, vec![HOLDINGS_VERSION]).unwrap_or_default()
}

pub fn read_holdings(bytes: &[u8]) -> Result<Holdings, StorageError> {
    let holdings: Holdings = match bytes.split_first() {
        None => return Ok(Holdings::default()),
        Some((&HOLDINGS_VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| corrupt("holdings", error))?,
        Some((version, _)) => return Err(corrupt("holdings", format!("version {version}"))),
    };
    // The order of accounts is the type's own promise; rebuilding restores it whatever the order of the numbers stored.
    Ok(holdings.iter().copied().collect::<Vec<Holding>>().into_iter().collect())
}

/// An owner as one blob: kind, then id.
pub fn owner_bytes(key: &RecordKey) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[0] = key.kind.number();
    bytes[1..].copy_from_slice(&key.id);
    bytes
}

/// A row of the house table, as read.
pub struct HouseRow<'a> {
    pub tenant: &'a str,
    pub licence: &'a str,
    pub currency: &'a str,
    pub owner: &'a [u8],
    pub code: i64,
    pub sub: i64,
    pub balance: i64,
}

impl HouseRow<'_> {
    pub fn read(&self) -> Result<(Book, AccountId, Amount), StorageError> {
        let bad = |what: &str| corrupt("house account", what);
        let tenant: TenantId = self.tenant.parse().map_err(|_| bad(self.tenant))?;
        let licence = self.licence.parse().map_err(|_| bad(self.licence))?;
        let currency: Currency = self.currency.parse().map_err(|_| bad(self.currency))?;
        let (kind, id) = self.owner.split_first().ok_or_else(|| bad("owner"))?;
        let kind = OwnerKind::from_number(*kind).ok_or_else(|| bad("owner kind"))?;
        let owner = RecordKey { kind, id: id.try_into().map_err(|_| bad("owner id"))? };
        let code = u8::try_from(self.code).ok().and_then(AccountCode::from_number).ok_or_else(|| bad("code"))?;
        let sub = u32::try_from(self.sub).map_err(|_| bad("sub"))?;
        Ok((Book { tenant, licence, currency }, AccountId { owner, code, sub }, Amount(self.balance)))
    }
}

pub fn corrupt(what: &str, error: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt(format!("{what}: {error}"))
}

/// A count SQLite keeps as a signed number.
pub fn unsigned(value: i64, what: &str) -> Result<u64, StorageError> {
    u64::try_from(value).map_err(|_| corrupt(what, value))
}

/// Versions and sequences start at one and grow by one, so they never reach the sign bit.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
