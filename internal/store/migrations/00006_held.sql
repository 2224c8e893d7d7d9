-- Requests that an administrator has to approve, and what he said.

-- +goose Up
-- The table is made anew, because the check of a column cannot be changed. Columns and rows keep their order.
CREATE TABLE enrolment_6 (
    seq            INTEGER PRIMARY KEY, -- order of arrival
    id             TEXT    NOT NULL UNIQUE CHECK (length(id) = 32),
    -- What was asked for. Never changed after the insert.
    authority      TEXT    NOT NULL,
    owner          TEXT    NOT NULL,
    label          TEXT    NOT NULL,
    public_key     BLOB    NOT NULL, -- DER SubjectPublicKeyInfo
    subject        BLOB    NOT NULL, -- DER Name
    extensions     BLOB,             -- DER SEQUENCE OF Extension
    csr            BLOB,             -- DER PKCS #10
    vouch          TEXT    NOT NULL,
    reuse_ms       INTEGER NOT NULL DEFAULT 0,
    request_hash   BLOB    NOT NULL CHECK (length(request_hash) = 32), -- SHA-256 over authority, owner, label, subject and public key
    created        INTEGER NOT NULL,
    -- Where it stands.
    state          TEXT    NOT NULL CHECK (state IN ('held', 'requested', 'submitted', 'pending', 'issued', 'confirmed', 'denied', 'failed', 'stale')),
    submitted      INTEGER NOT NULL DEFAULT 0,
    resubmitted    INTEGER NOT NULL DEFAULT 0,
    ca_request     TEXT    NOT NULL DEFAULT '', -- the authority's own number
    ca_number      INTEGER,                     -- the same as a number, when it is one
    mark           BLOB,
    certificate    BLOB,             -- DER
    chain          BLOB,             -- DER certificates one after the other, issuing CA first
    serial         TEXT    NOT NULL DEFAULT '',
    issuer         TEXT    NOT NULL DEFAULT '',
    not_after      INTEGER,
    pop            TEXT    NOT NULL DEFAULT '',
    failure        TEXT,             -- JSON
    attempts       INTEGER NOT NULL DEFAULT 0,
    next_attempt   INTEGER,
    retry_after_ms INTEGER NOT NULL DEFAULT 0,
    updated        INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    dismissed      INTEGER,          -- when an administrator took it off the list of stale certificates
    decision       TEXT              -- JSON: what an administrator said of a held request
) STRICT;

INSERT INTO enrolment_6 (seq, id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, request_hash, created,
        state, submitted, resubmitted, ca_request, ca_number, mark, certificate, chain, serial, issuer, not_after, pop, failure,
        attempts, next_attempt, retry_after_ms, updated, version, dismissed)
    SELECT seq, id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, request_hash, created,
        state, submitted, resubmitted, ca_request, ca_number, mark, certificate, chain, serial, issuer, not_after, pop, failure,
        attempts, next_attempt, retry_after_ms, updated, version, dismissed
    FROM enrolment ORDER BY seq;
DROP TABLE enrolment;
ALTER TABLE enrolment_6 RENAME TO enrolment;

-- At most one live row for each request: the database itself holds the rule that keeps issuing to once.
CREATE UNIQUE INDEX enrolment_live ON enrolment (request_hash) WHERE state IN ('held', 'requested', 'submitted', 'pending', 'issued');
CREATE INDEX enrolment_request ON enrolment (request_hash);
CREATE INDEX enrolment_owner ON enrolment (owner);
CREATE INDEX enrolment_due ON enrolment (next_attempt) WHERE state IN ('requested', 'submitted', 'pending') AND next_attempt IS NOT NULL;
CREATE INDEX enrolment_ca_number ON enrolment (authority, ca_number) WHERE ca_number IS NOT NULL;
-- A key on record for another device: see migration 2.
CREATE INDEX enrolment_key ON enrolment (substr(public_key, -32));
-- Rows that somebody looks for by their state. Those of certificates in use, by far the most, are not among them.
CREATE INDEX enrolment_state ON enrolment (state) WHERE state = 'held' OR state = 'pending' OR state = 'denied' OR state = 'failed' OR state = 'stale';

-- +goose Down
CREATE TABLE enrolment_5 (
    seq            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE CHECK (length(id) = 32),
    authority      TEXT    NOT NULL,
    owner          TEXT    NOT NULL,
    label          TEXT    NOT NULL,
    public_key     BLOB    NOT NULL,
    subject        BLOB    NOT NULL,
    extensions     BLOB,
    csr            BLOB,
    vouch          TEXT    NOT NULL,
    reuse_ms       INTEGER NOT NULL DEFAULT 0,
    request_hash   BLOB    NOT NULL CHECK (length(request_hash) = 32),
    created        INTEGER NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('requested', 'submitted', 'pending', 'issued', 'confirmed', 'denied', 'failed', 'stale')),
    submitted      INTEGER NOT NULL DEFAULT 0,
    resubmitted    INTEGER NOT NULL DEFAULT 0,
    ca_request     TEXT    NOT NULL DEFAULT '',
    ca_number      INTEGER,
    mark           BLOB,
    certificate    BLOB,
    chain          BLOB,
    serial         TEXT    NOT NULL DEFAULT '',
    issuer         TEXT    NOT NULL DEFAULT '',
    not_after      INTEGER,
    pop            TEXT    NOT NULL DEFAULT '',
    failure        TEXT,
    attempts       INTEGER NOT NULL DEFAULT 0,
    next_attempt   INTEGER,
    retry_after_ms INTEGER NOT NULL DEFAULT 0,
    updated        INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    dismissed      INTEGER
) STRICT;
-- What waits for an administrator would go out unseen: it fails.
INSERT INTO enrolment_5 (seq, id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, request_hash, created,
        state, submitted, resubmitted, ca_request, ca_number, mark, certificate, chain, serial, issuer, not_after, pop, failure,
        attempts, next_attempt, retry_after_ms, updated, version, dismissed)
    SELECT seq, id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, request_hash, created,
        iif(state = 'held', 'failed', state), submitted, resubmitted, ca_request, ca_number, mark, certificate, chain, serial, issuer, not_after, pop, failure,
        attempts, next_attempt, retry_after_ms, updated, version, dismissed
    FROM enrolment ORDER BY seq;
DROP TABLE enrolment;
ALTER TABLE enrolment_5 RENAME TO enrolment;
CREATE UNIQUE INDEX enrolment_live ON enrolment (request_hash) WHERE state IN ('requested', 'submitted', 'pending', 'issued');
CREATE INDEX enrolment_request ON enrolment (request_hash);
CREATE INDEX enrolment_owner ON enrolment (owner);
CREATE INDEX enrolment_due ON enrolment (next_attempt) WHERE state IN ('requested', 'submitted', 'pending') AND next_attempt IS NOT NULL;
CREATE INDEX enrolment_ca_number ON enrolment (authority, ca_number) WHERE ca_number IS NOT NULL;
CREATE INDEX enrolment_key ON enrolment (substr(public_key, -32));
CREATE INDEX enrolment_state ON enrolment (state) WHERE state = 'pending' OR state = 'denied' OR state = 'failed' OR state = 'stale';
