-- The receiver's store. Each section is one numbered migration, applied once and never edited:
-- a change of the schema is a new section at the end.
--
-- A record's key is one integer, so that identity, order and deduplication are one b-tree:
--     records.id = (stream_key << 40) | sequence
--     stream_key = logs.id * 4 + (stream - 1)        stream: 1 alarm 2 event 3 telemetry 4 evidence
-- 2^40 sequences are 3,400 years at 10 records a second; 2^21 logs fit into 63 bits.

-- migration 1
CREATE TABLE gateways (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    enterprise   TEXT NOT NULL,
    software     TEXT NOT NULL,
    last_seen_ns INTEGER NOT NULL,
    status       BLOB NOT NULL DEFAULT x'' -- last plantgate.wire.v1.Status
) STRICT;

CREATE TABLE logs (
    id            INTEGER PRIMARY KEY,     -- in order of first sight
    gateway       INTEGER NOT NULL REFERENCES gateways (id),
    log_id        BLOB NOT NULL,           -- 16 bytes
    first_seen_ns INTEGER NOT NULL,
    UNIQUE (gateway, log_id)
) STRICT;

CREATE TABLE records (
    id              INTEGER PRIMARY KEY,
    hash            BLOB NOT NULL,
    previous_hash   BLOB NOT NULL,
    received_ns     INTEGER NOT NULL,
    time_ns         INTEGER NOT NULL,
    monotonic_ns    INTEGER NOT NULL,
    boot_id         BLOB NOT NULL,
    clock_offset_ns INTEGER NOT NULL,
    synchronised    INTEGER NOT NULL,
    historical      INTEGER NOT NULL,
    group_sequence  INTEGER NOT NULL,
    catalogue       BLOB NOT NULL,         -- telemetry keys: 32 bytes; else empty
    samples         INTEGER NOT NULL,
    payload         BLOB NOT NULL          -- last, so that the columns above need no overflow page
) STRICT;

-- Acknowledged sequences, compacted: disjoint, not adjacent. Holds records and declared gaps.
CREATE TABLE ranges (
    stream_key INTEGER NOT NULL,
    start      INTEGER NOT NULL,
    stop       INTEGER NOT NULL,
    PRIMARY KEY (stream_key, start)
) STRICT, WITHOUT ROWID;

-- Sequences the gateway no longer holds; they count as acknowledged.
CREATE TABLE gaps (
    stream_key  INTEGER NOT NULL,
    start       INTEGER NOT NULL,
    stop        INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    PRIMARY KEY (stream_key, start, stop)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalogues (
    hash        BLOB PRIMARY KEY,          -- SHA-256 of encoded
    encoded     BLOB NOT NULL,             -- plantgate.wire.v1.Catalogue
    received_ns INTEGER NOT NULL
) STRICT;

-- Which files belong to which alarm; the files lie in evidence/, named by SHA-256.
CREATE TABLE attachments (
    gateway    INTEGER NOT NULL REFERENCES gateways (id),
    alarm_id   BLOB NOT NULL,
    sha256     BLOB NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (gateway, alarm_id, sha256)
) STRICT, WITHOUT ROWID;

-- What must not happen: one identity with two contents, broken chains, refused records, two boxes
-- with one name. A row repeats as a count, so a stubborn gateway cannot fill the disk with it.
CREATE TABLE faults (
    gateway  INTEGER NOT NULL REFERENCES gateways (id),
    log_id   BLOB NOT NULL,
    stream   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    kind     TEXT NOT NULL,                -- conflict, chain, damaged, second_log
    hash     BLOB NOT NULL,
    reason   TEXT NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns  INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (gateway, log_id, stream, sequence, kind)
) STRICT, WITHOUT ROWID;

CREATE VIEW record_list AS
SELECT gateways.name AS gateway, hex(logs.log_id) AS log_id, (records.id >> 40) % 4 + 1 AS stream,
       records.id & 0xFFFFFFFFFF AS sequence, records.time_ns, records.samples,
       length(records.payload) AS payload_bytes, records.historical
FROM records JOIN logs ON logs.id = records.id >> 42 JOIN gateways ON gateways.id = logs.gateway;

-- migration 2
-- Alarms that their gateway has in memory only, because its disk takes nothing. A row goes when the
-- same alarm comes as a record.
CREATE TABLE volatile_alarms (
    gateway      INTEGER NOT NULL REFERENCES gateways (id),
    key          BLOB NOT NULL,            -- SHA-256 of the payload
    log          INTEGER NOT NULL REFERENCES logs (id),
    time_ns      INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    boot_id      BLOB NOT NULL,
    received_ns  INTEGER NOT NULL,
    payload      BLOB NOT NULL,
    PRIMARY KEY (gateway, key)
) STRICT, WITHOUT ROWID;

-- migration 3
-- Derived streams (a destination's filter at the gateway): what each is made of and leaves out; all
-- empty for a log as it is. A record of one covers the log's sequences from source_first on.
ALTER TABLE logs ADD COLUMN destination TEXT NOT NULL DEFAULT '';
ALTER TABLE logs ADD COLUMN source_log_id BLOB NOT NULL DEFAULT x'';
ALTER TABLE logs ADD COLUMN filter TEXT NOT NULL DEFAULT '';
ALTER TABLE logs ADD COLUMN status BLOB NOT NULL DEFAULT x'';  -- last Status said of this log
ALTER TABLE records ADD COLUMN source_first INTEGER NOT NULL DEFAULT 0;  -- 0: itself
