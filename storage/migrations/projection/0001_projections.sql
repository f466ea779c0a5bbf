-- Projections of the ledger's units; rebuildable from them at any time.

-- How far each shard was applied, and the latest time seen until then.
CREATE TABLE position (
    shard INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    at_max INTEGER NOT NULL
) STRICT;

-- The latest time of all units up to a sequence, one row per applied block: how a balance at a time finds its sequence.
CREATE TABLE moment (
    shard INTEGER NOT NULL,
    at INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (shard, at, sequence)
) STRICT, WITHOUT ROWID;

-- The newest lines of all owners of a bucket, until there are enough of them to be filed under their owners.
CREATE TABLE recent (
    shard INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    lines BLOB NOT NULL,
    PRIMARY KEY (shard, bucket, first_sequence)
) STRICT, WITHOUT ROWID;

-- Filed lines: what touched an owner's accounts, packed, with the balances after the last of them.
CREATE TABLE page (
    owner BLOB NOT NULL,
    shard INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    last_version INTEGER NOT NULL,
    count INTEGER NOT NULL,
    closing BLOB NOT NULL,
    lines BLOB NOT NULL,
    PRIMARY KEY (owner, shard, first_sequence)
) STRICT, WITHOUT ROWID;

-- Rounds by their id; ids that grow with time append.
CREATE TABLE round (
    name BLOB NOT NULL,
    player BLOB NOT NULL,
    provider TEXT NOT NULL,
    shard INTEGER NOT NULL,
    position INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (name, player, provider)
) STRICT, WITHOUT ROWID;

CREATE INDEX round_open ON round (shard, position) WHERE is_open = 1;
