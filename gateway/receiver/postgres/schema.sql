-- The receiver's store in PostgreSQL 13 or later. Each section is one numbered migration, applied
-- once and never edited: a change of the schema is a new section at the end.
--
-- stream_key = logs.id * 4 + (stream - 1)        stream: 1 alarm 2 event 3 telemetry 4 evidence
--
-- records is partitioned by the record's own time, never by its arrival: what is sent twice lands
-- in the same partition both times, where its key exists already. That one identity is not stored
-- twice with two times is held by streams.acknowledged, read and changed under the row's lock.

-- migration 1
CREATE TABLE gateways (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    enterprise   text NOT NULL,
    software     text NOT NULL,
    last_seen_ns bigint NOT NULL,
    status       bytea NOT NULL DEFAULT ''  -- last plantgate.wire.v1.Status
);

CREATE TABLE logs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- in order of first sight
    gateway       bigint NOT NULL REFERENCES gateways,
    log_id        bytea NOT NULL,           -- 16 bytes
    first_seen_ns bigint NOT NULL,
    UNIQUE (gateway, log_id)
);

-- One row a stream: the lock that orders receivers, the acknowledged sequences (records and
-- declared gaps, compacted by the type itself), and the newest record, for the chain.
CREATE TABLE streams (
    stream_key    bigint PRIMARY KEY,
    acknowledged  int8multirange NOT NULL DEFAULT '{}',
    gone          int8multirange NOT NULL DEFAULT '{}',   -- of these, what the gateway no longer held
    head_sequence bigint NOT NULL DEFAULT 0,
    head_hash     bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

CREATE TABLE records (
    stream_key      bigint NOT NULL,
    sequence        bigint NOT NULL,
    time_ns         bigint NOT NULL,
    hash            bytea NOT NULL,
    previous_hash   bytea NOT NULL,
    received_ns     bigint NOT NULL,
    monotonic_ns    bigint NOT NULL,
    boot_id         bytea NOT NULL,
    clock_offset_ns bigint NOT NULL,
    synchronised    boolean NOT NULL,
    historical      boolean NOT NULL,
    group_sequence  bigint NOT NULL,
    catalogue       bytea NOT NULL,         -- telemetry keys: 32 bytes; else empty
    samples         bigint NOT NULL,
    payload         bytea NOT NULL,
    PRIMARY KEY (stream_key, sequence, time_ns)
) PARTITION BY RANGE (time_ns);
ALTER TABLE records ALTER payload SET STORAGE EXTERNAL;  -- compressed by the gateway already

-- Records whose time is too far from today for a partition of its own: a clock that was never set.
CREATE TABLE records_other PARTITION OF records DEFAULT;

CREATE TABLE catalogues (
    hash        bytea PRIMARY KEY,          -- SHA-256 of encoded
    encoded     bytea NOT NULL,             -- plantgate.wire.v1.Catalogue
    received_ns bigint NOT NULL
);

-- Which files belong to which alarm; the files lie in the receivers' folder, named by SHA-256.
CREATE TABLE attachments (
    gateway    bigint NOT NULL REFERENCES gateways,
    alarm_id   bytea NOT NULL,
    sha256     bytea NOT NULL,
    media_type text NOT NULL,
    PRIMARY KEY (gateway, alarm_id, sha256)
);

-- What must not happen. A row repeats as a count, so a stubborn gateway cannot fill the disk with it.
CREATE TABLE faults (
    gateway  bigint NOT NULL REFERENCES gateways,
    log_id   bytea NOT NULL,
    stream   integer NOT NULL,
    sequence bigint NOT NULL,
    kind     text NOT NULL,                 -- conflict, chain, damaged, second_log
    hash     bytea NOT NULL,
    reason   text NOT NULL,
    first_ns bigint NOT NULL,
    last_ns  bigint NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (gateway, log_id, stream, sequence, kind)
);

CREATE VIEW record_list AS
SELECT gateways.name AS gateway, encode(logs.log_id, 'hex') AS log_id,
       records.stream_key % 4 + 1 AS stream, records.sequence,
       to_timestamp(records.time_ns / 1e9) AS time, records.samples,
       octet_length(records.payload) AS payload_bytes, records.historical
FROM records JOIN logs ON logs.id = records.stream_key / 4 JOIN gateways ON gateways.id = logs.gateway;

-- migration 2
-- Numbers of a receive journal's messages that are in this database, by the journal's name and
-- creation. In the same transaction as their records: a restored backup says truly what it misses.
CREATE TABLE journals (
    name     text PRIMARY KEY,
    consumed int8multirange NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- What came by a journal, was acknowledged there and has no place in records: an identity with
-- another hash, a message that cannot be read. Nothing deletes it but a person.
CREATE TABLE aside (
    journal     text NOT NULL,
    number      bigint NOT NULL,            -- of the message
    part        integer NOT NULL,
    received_ns bigint NOT NULL,
    gateway     text NOT NULL,
    reason      text NOT NULL,
    content     bytea NOT NULL,             -- plantgate.wire.v1.Record, or the whole message
    PRIMARY KEY (journal, number, part)
);

-- migration 3
-- Alarms that their gateway has in memory only, because its disk takes nothing. A row goes when the
-- same alarm comes as a record.
CREATE TABLE volatile_alarms (
    gateway      bigint NOT NULL REFERENCES gateways,
    key          bytea NOT NULL,            -- SHA-256 of the payload
    log          bigint NOT NULL REFERENCES logs,
    time_ns      bigint NOT NULL,
    monotonic_ns bigint NOT NULL,
    boot_id      bytea NOT NULL,
    received_ns  bigint NOT NULL,
    payload      bytea NOT NULL,
    PRIMARY KEY (gateway, key)
);

-- migration 4
-- Derived streams (a destination's filter at the gateway): what each is made of and leaves out; all
-- empty for a log as it is. A record of one covers the log's sequences from source_first on.
ALTER TABLE logs ADD COLUMN destination text NOT NULL DEFAULT '';
ALTER TABLE logs ADD COLUMN source_log_id bytea NOT NULL DEFAULT '';
ALTER TABLE logs ADD COLUMN filter text NOT NULL DEFAULT '';
ALTER TABLE logs ADD COLUMN status bytea NOT NULL DEFAULT '';  -- last Status said of this log
ALTER TABLE records ADD COLUMN source_first bigint NOT NULL DEFAULT 0;  -- 0: itself
