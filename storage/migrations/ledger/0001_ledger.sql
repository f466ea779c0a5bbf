-- The ledger of one shard. The layout was settled by measurement: docs/performance-ledger.md.

-- Every commit moves this row; a writer whose epoch, sequence or hash does not match commits nothing.
CREATE TABLE shard (
    shard    INTEGER PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    hash     BLOB    NOT NULL
) STRICT;
INSERT INTO shard (shard, epoch, sequence, hash) VALUES (0, 0, 0, zeroblob(32));

-- One row a unit: its legs, the records it wrote, its packed events and its reply, encoded. It is the outbox row too.
CREATE TABLE unit (
    sequence INTEGER PRIMARY KEY,
    body     BLOB    NOT NULL
) STRICT;

-- The id stands first, so that time-ordered ids grow the index at its end.
CREATE TABLE unit_key (
    id       BLOB    NOT NULL,
    source   BLOB    NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (id, source)
) STRICT, WITHOUT ROWID;

-- A record and the balances of the accounts it owns stand in one row: they change together.
CREATE TABLE record (
    kind     INTEGER NOT NULL,
    id       BLOB    NOT NULL,
    version  INTEGER NOT NULL,
    holdings BLOB    NOT NULL,
    bytes    BLOB    NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Balances of house accounts: no version, written once per batch.
CREATE TABLE house (
    tenant   TEXT    NOT NULL,
    licence  TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    owner    BLOB    NOT NULL,
    code     INTEGER NOT NULL,
    sub      INTEGER NOT NULL,
    balance  INTEGER NOT NULL,
    PRIMARY KEY (tenant, licence, currency, owner, code, sub)
) STRICT, WITHOUT ROWID;
