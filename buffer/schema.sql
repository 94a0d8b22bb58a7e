-- Numbered migrations of the two databases. A section "-- telemetry N" or "-- records N" brings
-- that database from user_version N-1 to N; sections are never changed once released.
--
-- A row's id is physical: it is never reused in its file. sequence = id - base, where base is in
-- meta ('base.<stream>') and changes with the log id only. Rows at or below base belong to a
-- former log id. meta 'anchor.<stream>' is the hash of the newest evicted row.

-- telemetry 1
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY, value BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY,
    time_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    clock_offset_ns INTEGER NOT NULL,
    synchronised INTEGER NOT NULL,
    boot INTEGER NOT NULL,          -- name.id of the boot id
    catalogue INTEGER NOT NULL,     -- name.id of the catalogue's hash
    hash BLOB NOT NULL,
    group_id INTEGER NOT NULL,      -- id of the key
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
-- One row per finished group, written with the key of the next one.
CREATE TABLE finished_group (
    id INTEGER PRIMARY KEY,         -- id of its key
    last_id INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,       -- commit time of its last row
    used_bytes INTEGER NOT NULL,
    catalogue INTEGER NOT NULL
) STRICT;

-- records 1
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY, value BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE alarm (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL,
    clock_offset_ns INTEGER NOT NULL, synchronised INTEGER NOT NULL, boot INTEGER NOT NULL,
    catalogue INTEGER NOT NULL, hash BLOB NOT NULL, group_id INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, samples INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL,
    clock_offset_ns INTEGER NOT NULL, synchronised INTEGER NOT NULL, boot INTEGER NOT NULL,
    catalogue INTEGER NOT NULL, hash BLOB NOT NULL, group_id INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, samples INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL,
    clock_offset_ns INTEGER NOT NULL, synchronised INTEGER NOT NULL, boot INTEGER NOT NULL,
    catalogue INTEGER NOT NULL, hash BLOB NOT NULL, group_id INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, samples INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cursor (
    destination TEXT NOT NULL,
    stream INTEGER NOT NULL,
    ranges TEXT NOT NULL,           -- "start-stop,start-stop": half-open sequences
    PRIMARY KEY (destination, stream)
) STRICT, WITHOUT ROWID;
CREATE TABLE catalogue (hash BLOB PRIMARY KEY, event_id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- Losses not yet reported by a gap record.
CREATE TABLE pending_gap (
    stream INTEGER NOT NULL, cause TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, count INTEGER NOT NULL
) STRICT;

-- telemetry 2
-- Heads signed by the gateway's key; id is the row of the record.
CREATE TABLE signed_head (
    stream INTEGER NOT NULL, id INTEGER NOT NULL, hash BLOB NOT NULL,
    key_id BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (stream, id)
) STRICT, WITHOUT ROWID;

-- records 2
CREATE TABLE signed_head (
    stream INTEGER NOT NULL, id INTEGER NOT NULL, hash BLOB NOT NULL,
    key_id BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (stream, id)
) STRICT, WITHOUT ROWID;
