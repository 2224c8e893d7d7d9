-- The certificates of call manager clusters. Times are Unix milliseconds in UTC; see the package documentation.
-- Node '' stands for every node. Keys are PKCS #8; nothing reads them but what compares them with what they belong to.

-- +goose Up
CREATE TABLE cluster (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    revision INTEGER NOT NULL -- one more with each change
) STRICT;

-- Identity certificates: those in service, and those that were replaced, with their keys until they are forgotten.
CREATE TABLE cluster_identity (
    id          INTEGER PRIMARY KEY,
    cluster     INTEGER NOT NULL REFERENCES cluster (id),
    purpose     TEXT    NOT NULL,
    node        TEXT    NOT NULL CHECK (node <> ''),
    replaced    INTEGER,          -- NULL: in service
    multi       INTEGER NOT NULL, -- the same certificate and key on several nodes
    -- Of the certificate, so that lists need not read it.
    sha256      TEXT    NOT NULL CHECK (length(sha256) = 64),
    common_name TEXT    NOT NULL,
    issuer_name TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    subject_key TEXT    NOT NULL,
    issuer_key  TEXT    NOT NULL,
    serial      TEXT    NOT NULL,
    key_type    TEXT    NOT NULL,
    key_bits    INTEGER NOT NULL,
    not_before  INTEGER,
    not_after   INTEGER,
    self_signed INTEGER NOT NULL,
    ca          INTEGER NOT NULL,
    key_id      TEXT    NOT NULL,
    authority   TEXT    NOT NULL,
    description TEXT    NOT NULL,
    since       INTEGER,
    key         BLOB    NOT NULL,
    der         BLOB    NOT NULL
) STRICT;
-- One in service at each place: the database itself holds the rule.
CREATE UNIQUE INDEX cluster_identity_service ON cluster_identity (cluster, purpose, node) WHERE replaced IS NULL;
CREATE INDEX cluster_identity_replaced ON cluster_identity (cluster, replaced) WHERE replaced IS NOT NULL;

-- Requests that wait for their certificate.
CREATE TABLE cluster_request (
    id       INTEGER PRIMARY KEY,
    cluster  INTEGER NOT NULL REFERENCES cluster (id),
    purpose  TEXT    NOT NULL,
    node     TEXT    NOT NULL,
    key_hash TEXT    NOT NULL CHECK (length(key_hash) = 64), -- SHA-256 of the SubjectPublicKeyInfo in lower-case hex
    created  INTEGER,
    key      BLOB    NOT NULL,
    der      BLOB    NOT NULL, -- PKCS #10
    UNIQUE (cluster, purpose, node)
) STRICT;

-- What is remembered of requests that were replaced or deleted.
CREATE TABLE cluster_retired (
    seq      INTEGER PRIMARY KEY, -- in the order in which they ended
    cluster  INTEGER NOT NULL REFERENCES cluster (id),
    purpose  TEXT    NOT NULL,
    node     TEXT    NOT NULL,
    key_hash TEXT    NOT NULL,
    created  INTEGER,
    ended    INTEGER
) STRICT;
CREATE INDEX cluster_retired_place ON cluster_retired (cluster, purpose, node, seq);

-- Trust certificates. The certificates themselves are elsewhere, so that a list of thousands reads few pages.
CREATE TABLE cluster_trust (
    id          INTEGER PRIMARY KEY,
    cluster     INTEGER NOT NULL REFERENCES cluster (id),
    store       TEXT    NOT NULL,
    node        TEXT    NOT NULL,
    folded_name TEXT    NOT NULL, -- the common name in lower case; SQL's lower() stops at a NUL, which a name may have
    -- As in cluster_identity.
    sha256      TEXT    NOT NULL CHECK (length(sha256) = 64),
    common_name TEXT    NOT NULL,
    issuer_name TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    subject_key TEXT    NOT NULL,
    issuer_key  TEXT    NOT NULL,
    serial      TEXT    NOT NULL,
    key_type    TEXT    NOT NULL,
    key_bits    INTEGER NOT NULL,
    not_before  INTEGER,
    not_after   INTEGER,
    self_signed INTEGER NOT NULL,
    ca          INTEGER NOT NULL,
    key_id      TEXT    NOT NULL,
    authority   TEXT    NOT NULL,
    origin      TEXT    NOT NULL,
    of_purpose  TEXT    NOT NULL, -- of a copy of an identity certificate
    of_node     TEXT    NOT NULL,
    description TEXT    NOT NULL,
    added       INTEGER,
    UNIQUE (cluster, store, node, sha256)
) STRICT;
CREATE INDEX cluster_trust_subject ON cluster_trust (cluster, store, subject_key);
CREATE INDEX cluster_trust_name ON cluster_trust (cluster, store, folded_name);
CREATE INDEX cluster_trust_fingerprint ON cluster_trust (cluster, sha256);
CREATE INDEX cluster_trust_copy ON cluster_trust (cluster, store, of_purpose) WHERE origin = 'system';

CREATE TABLE cluster_trust_der (
    id  INTEGER PRIMARY KEY REFERENCES cluster_trust (id) ON DELETE CASCADE,
    der BLOB    NOT NULL
) STRICT;

-- What requests and self-signed certificates of a node say beside the common name.
CREATE TABLE cluster_subject (
    cluster              INTEGER NOT NULL REFERENCES cluster (id),
    node                 TEXT    NOT NULL,
    units                TEXT,             -- JSON, NULL for none
    organization         TEXT    NOT NULL,
    locality             TEXT    NOT NULL,
    state                TEXT    NOT NULL,
    country              TEXT    NOT NULL,
    alternate_host_names TEXT,             -- JSON, NULL for none
    PRIMARY KEY (cluster, node)
) STRICT, WITHOUT ROWID;

-- The history: the last changes of each cluster.
CREATE TABLE cluster_event (
    cluster INTEGER NOT NULL REFERENCES cluster (id),
    number  INTEGER NOT NULL, -- from 1 on, for each cluster
    at      INTEGER,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    purpose TEXT    NOT NULL, -- or the trust store
    node    TEXT    NOT NULL,
    went    TEXT    NOT NULL, -- fingerprint
    came    TEXT    NOT NULL, -- fingerprint or key hash of what came
    detail  TEXT    NOT NULL,
    PRIMARY KEY (cluster, number)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE cluster_event;
DROP TABLE cluster_subject;
DROP TABLE cluster_trust_der;
DROP TABLE cluster_trust;
DROP TABLE cluster_retired;
DROP TABLE cluster_request;
DROP TABLE cluster_identity;
DROP TABLE cluster;
