-- What the registration authority remembers of full CMC requests: a retransmission is told from a replay.
-- Times are Unix milliseconds in UTC; see the package documentation.

-- +goose Up
CREATE TABLE ra_message (
    digest      BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of the message
    signer      BLOB    NOT NULL CHECK (length(signer) = 32),             -- SHA-256 of the voucher's SubjectPublicKeyInfo
    nonce       BLOB    NOT NULL,
    transaction_id BLOB NOT NULL,                                         -- big endian, no leading zeros
    request     BLOB    CHECK (request IS NULL OR length(request) = 32),  -- SHA-256 of the CertificationRequestInfo; NULL: a query
    label       TEXT    NOT NULL,
    enrolment   TEXT    NOT NULL DEFAULT '',                              -- journal row, empty until known
    accepted    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX ra_message_nonce ON ra_message (signer, nonce);
CREATE INDEX ra_message_transaction ON ra_message (transaction_id);
CREATE INDEX ra_message_enrolment ON ra_message (enrolment) WHERE enrolment <> '';
CREATE INDEX ra_message_accepted ON ra_message (accepted);

-- +goose Down
DROP TABLE ra_message;
