-- What renewal, reports and the story of a phone need. Times are Unix milliseconds in UTC; see the package documentation.

-- +goose Up
-- The table is made anew, with rowids: in a table without them a record that is longer than a quarter of a page lies partly
-- elsewhere, and every look-up that passes by has to fetch it from there. Short columns come first.
CREATE TABLE device_4 (
    name           TEXT    NOT NULL PRIMARY KEY, -- upper case
    operation      TEXT    NOT NULL,
    origin         TEXT    NOT NULL,             -- who set the operation: '' for an administrator
    status         TEXT    NOT NULL,
    auth           TEXT    NOT NULL,
    auth_string    BLOB,                         -- what the user types; cleared when the operation ends
    wrong_tries    INTEGER NOT NULL,
    key_order      TEXT    NOT NULL,
    rsa_bits       INTEGER NOT NULL,
    ec_bits        INTEGER NOT NULL,
    no_mic         INTEGER NOT NULL,
    completes_by   INTEGER,
    scheduled      INTEGER,
    renew_at       INTEGER,                      -- when the schedule of renewals looks at it; NULL: never
    result         INTEGER,                      -- CAPF result code, NULL before the first
    created        INTEGER,
    updated        INTEGER,
    lsc_not_before INTEGER,
    lsc_not_after  INTEGER,
    lsc_issuer_id  TEXT,                         -- issuer.id, '' when the authority gave no certificate of its own; NULL: no LSC
    lsc_serial     TEXT,
    lsc_issuer     TEXT,
    model          TEXT    NOT NULL,
    description    TEXT    NOT NULL,
    search         TEXT    NOT NULL,             -- name, model and description in lower case
    offered        TEXT    NOT NULL,
    note           TEXT,                         -- JSON: what the last call brought
    lsc            BLOB,                         -- DER
    shown          TEXT                          -- JSON: certificates of the last Troubleshoot
) STRICT;

INSERT INTO device_4 (name, operation, origin, status, auth, auth_string, wrong_tries, key_order, rsa_bits, ec_bits, no_mic, completes_by,
        scheduled, result, created, updated, lsc_not_after, lsc_issuer_id, lsc_serial, lsc_issuer, model, description, search, offered, note, lsc, shown)
    SELECT name, operation, '', status, auth, auth_string, wrong_tries, key_order, rsa_bits, ec_bits, 0, completes_by,
        scheduled, result, created, updated, lsc_not_after, iif(lsc IS NULL, NULL, ''), lsc_serial, lsc_issuer, model, '',
        lower(name) || char(31) || lower(model) || char(31), offered, note, lsc, shown
    FROM device;
DROP TABLE device;
ALTER TABLE device_4 RENAME TO device;

-- Most carry the name, so that an equal value gives the rows in the order of their names.
CREATE INDEX device_status ON device (status, name);
CREATE INDEX device_auth ON device (auth, name);
CREATE INDEX device_due ON device (operation, name, origin, status) WHERE operation <> 'none';
CREATE INDEX device_renew ON device (renew_at, name) WHERE renew_at IS NOT NULL AND operation = 'none' AND lsc_issuer_id IS NOT NULL;
CREATE INDEX device_expiry ON device (lsc_not_after, name, lsc_not_before) WHERE lsc_not_after IS NOT NULL;
CREATE INDEX device_issuer ON device (lsc_issuer_id, name);
-- Text is looked for here, not in the rows with their certificates.
CREATE INDEX device_search ON device (search, name);

-- The last calls of each phone: the story that phone show tells.
CREATE TABLE attempt (
    seq    INTEGER PRIMARY KEY,
    device TEXT    NOT NULL,
    number INTEGER NOT NULL, -- from 1 on, for each device
    story  TEXT    NOT NULL  -- JSON
) STRICT;
CREATE UNIQUE INDEX attempt_device ON attempt (device, number);

-- The certificates that have issued LSCs.
CREATE TABLE issuer (
    seq       INTEGER PRIMARY KEY, -- order in which they were first seen
    id        TEXT    NOT NULL UNIQUE, -- SHA-256 of der in lower-case hex
    der       BLOB    NOT NULL,
    subject   TEXT    NOT NULL,
    not_after INTEGER,
    added     INTEGER NOT NULL
) STRICT;

-- What the last step of the renewal left: one row, or none before the first step.
CREATE TABLE renewal (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    policy TEXT    NOT NULL,
    at     INTEGER -- when phones were scheduled last
) STRICT;

ALTER TABLE enrolment ADD COLUMN dismissed INTEGER; -- when an administrator took it off the list of stale certificates
-- Rows that somebody looks for by their state. Those of certificates in use, by far the most, are not among them.
CREATE INDEX enrolment_state ON enrolment (state) WHERE state = 'pending' OR state = 'denied' OR state = 'failed' OR state = 'stale';

-- +goose Down
DROP INDEX enrolment_state;
ALTER TABLE enrolment DROP COLUMN dismissed;
DROP TABLE renewal;
DROP TABLE issuer;
DROP TABLE attempt;
CREATE TABLE device_2 (
    name          TEXT    NOT NULL PRIMARY KEY,
    model         TEXT    NOT NULL,
    operation     TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    auth          TEXT    NOT NULL,
    auth_string   BLOB,
    wrong_tries   INTEGER NOT NULL,
    key_order     TEXT    NOT NULL,
    rsa_bits      INTEGER NOT NULL,
    ec_bits       INTEGER NOT NULL,
    completes_by  INTEGER,
    scheduled     INTEGER,
    result        INTEGER,
    note          TEXT,
    lsc           BLOB,
    lsc_serial    TEXT,
    lsc_issuer    TEXT,
    lsc_not_after INTEGER,
    shown         TEXT,
    offered       TEXT    NOT NULL,
    created       INTEGER,
    updated       INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO device_2 SELECT name, model, operation, status, auth, auth_string, wrong_tries, key_order, rsa_bits, ec_bits, completes_by,
    scheduled, result, note, lsc, lsc_serial, lsc_issuer, lsc_not_after, shown, offered, created, updated FROM device;
DROP TABLE device;
ALTER TABLE device_2 RENAME TO device;
