package ra

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// Message is a full CMC request that was accepted, as remembered.
type Message struct {
	Digest      [sha256.Size]byte // of the message, byte for byte
	Signer      [sha256.Size]byte // of the SubjectPublicKeyInfo of the voucher's certificate
	Nonce       []byte            // senderNonce, 8 octets or more
	Transaction []byte            // transactionId, big endian without leading zeros
	// Request is the SHA-256 of the CertificationRequestInfo; all zero for a query. Messages of one transaction ask for
	// the same or are queries.
	Request   [sha256.Size]byte
	Label     string
	Enrolment string    // journal row; empty until it is known
	Time      time.Time // when it was accepted
}

// Errors of Memory.Remember.
var (
	// ErrNonceReplayed: the voucher used this nonce in another message (cmc.md 5, step 17).
	ErrNonceReplayed = errors.New("nonce was used before")
	// ErrTransactionReused: the transaction belongs to another request (step 24).
	ErrTransactionReused = errors.New("transaction was used for another request")
)

// Memory remembers accepted CMC messages, so that a retransmission is told from a replay, also after a restart. Every
// write is on disk when the method returns. Implementations are safe for concurrent use.
type Memory interface {
	// Find returns the message with this digest; ok is false when there is none.
	Find(ctx context.Context, digest [sha256.Size]byte) (m Message, ok bool, err error)
	// NonceSeen tells whether the voucher used the nonce before.
	NonceSeen(ctx context.Context, signer [sha256.Size]byte, nonce []byte) (bool, error)
	// TransactionRequest returns the Request of the transaction's first message that was no query; ok is false when there
	// is none.
	TransactionRequest(ctx context.Context, transaction []byte) (request [sha256.Size]byte, ok bool, err error)
	// Remember stores m in one step with the checks: it returns ErrNonceReplayed or ErrTransactionReused and stores
	// nothing when m contradicts an earlier message. A message with the digest of m is left as it is.
	Remember(ctx context.Context, m Message) error
	// Bind writes the journal row of the message with this digest.
	Bind(ctx context.Context, digest [sha256.Size]byte, enrolment string) error
	// VouchedBy tells whether the voucher has a message bound to this journal row: only he may ask for its state.
	VouchedBy(ctx context.Context, signer [sha256.Size]byte, enrolment string) (bool, error)
	// Prune forgets messages that were accepted before t and returns how many.
	Prune(ctx context.Context, t time.Time) (int64, error)
}
