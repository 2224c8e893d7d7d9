-- The enrolment journal: one row for each request that was sent, or is to be sent, to an authority.
-- Times are Unix milliseconds in UTC; see the package documentation.

-- +goose Up
CREATE TABLE enrolment (
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
    state          TEXT    NOT NULL CHECK (state IN ('requested', 'submitted', 'pending', 'issued', 'confirmed', 'denied', 'failed', 'stale')),
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
    version        INTEGER NOT NULL
) STRICT;

-- At most one live row for each request: the database itself holds the rule that keeps issuing to once.
CREATE UNIQUE INDEX enrolment_live ON enrolment (request_hash) WHERE state IN ('requested', 'submitted', 'pending', 'issued');
CREATE INDEX enrolment_request ON enrolment (request_hash);
CREATE INDEX enrolment_owner ON enrolment (owner);
CREATE INDEX enrolment_due ON enrolment (next_attempt) WHERE state IN ('requested', 'submitted', 'pending') AND next_attempt IS NOT NULL;
CREATE INDEX enrolment_ca_number ON enrolment (authority, ca_number) WHERE ca_number IS NOT NULL;

-- +goose Down
DROP TABLE enrolment;
