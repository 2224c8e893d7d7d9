-- +goose Up
-- One row for each phone: its due operation, how it authenticates, and what became of it (internal/fleet).
CREATE TABLE device (
    name          TEXT    NOT NULL PRIMARY KEY, -- upper case
    model         TEXT    NOT NULL,
    operation     TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    auth          TEXT    NOT NULL,
    auth_string   BLOB,                         -- what the user types; cleared when the operation ends
    wrong_tries   INTEGER NOT NULL,
    key_order     TEXT    NOT NULL,
    rsa_bits      INTEGER NOT NULL,
    ec_bits       INTEGER NOT NULL,
    completes_by  INTEGER,
    scheduled     INTEGER,
    result        INTEGER,                      -- CAPF result code, NULL before the first
    note          TEXT,                         -- JSON: what the last call brought
    lsc           BLOB,                         -- DER
    lsc_serial    TEXT,
    lsc_issuer    TEXT,
    lsc_not_after INTEGER,
    shown         TEXT,                         -- JSON: certificates of the last Troubleshoot
    offered       TEXT    NOT NULL,
    created       INTEGER,
    updated       INTEGER
) STRICT, WITHOUT ROWID;

-- A key on record for another device must be found. The last octets of a SubjectPublicKeyInfo tell keys apart as well as
-- a hash does, and cost less than the whole in every row of the index.
CREATE INDEX enrolment_key ON enrolment (substr(public_key, -32));

-- +goose Down
DROP INDEX enrolment_key;
DROP TABLE device;
