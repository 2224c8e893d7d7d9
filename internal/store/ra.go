package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"callsign/internal/ra"
)

var _ ra.Memory = (*RAMemory)(nil)

// RAMemory implements [ra.Memory].
type RAMemory struct{ s *Store }

// RAMemory returns the registration authority's memory of CMC messages.
func (s *Store) RAMemory() *RAMemory { return &RAMemory{s: s} }

const selectRAMessage = `SELECT digest, signer, nonce, transaction_id, request, label, enrolment, accepted FROM ra_message WHERE digest = ?`

// Find implements ra.Memory.
func (r *RAMemory) Find(ctx context.Context, digest [sha256.Size]byte) (ra.Message, bool, error) {
	m, err := scanRAMessage(r.s.read.QueryRowContext(ctx, selectRAMessage, digest[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ra.Message{}, false, nil
	case err != nil:
		return ra.Message{}, false, r.fault("find message", err)
	}
	return m, true, nil
}

// NonceSeen implements ra.Memory.
func (r *RAMemory) NonceSeen(ctx context.Context, signer [sha256.Size]byte, nonce []byte) (bool, error) {
	return r.exists(ctx, "find nonce", `SELECT EXISTS (SELECT 1 FROM ra_message WHERE signer = ? AND nonce = ?)`, signer[:], nonce)
}

// VouchedBy implements ra.Memory.
func (r *RAMemory) VouchedBy(ctx context.Context, signer [sha256.Size]byte, enrolment string) (bool, error) {
	if enrolment == "" {
		return false, nil
	}
	return r.exists(ctx, "find enrolment", `SELECT EXISTS (SELECT 1 FROM ra_message WHERE enrolment = ? AND enrolment <> '' AND signer = ?)`, enrolment, signer[:])
}

// TransactionRequest implements ra.Memory.
func (r *RAMemory) TransactionRequest(ctx context.Context, transaction []byte) (request [sha256.Size]byte, ok bool, err error) {
	request, ok, err = transactionRequest(ctx, r.s.read, transaction)
	if err != nil {
		return request, false, r.fault("find transaction", err)
	}
	return request, ok, nil
}

// Remember implements ra.Memory. The checks and the insert are one transaction of the only writer, so of two
// contradicting messages at the same moment the second loses.
func (r *RAMemory) Remember(ctx context.Context, m ra.Message) error {
	err := r.s.write(ctx, func(ctx context.Context, t *tx) error {
		if _, err := scanRAMessage(t.QueryRowContext(ctx, selectRAMessage, m.Digest[:])); !errors.Is(err, sql.ErrNoRows) {
			return err // nil: it is there already
		}
		var seen bool
		if err := t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM ra_message WHERE signer = ? AND nonce = ?)`, m.Signer[:], m.Nonce).Scan(&seen); err != nil {
			return err
		}
		if seen {
			return ra.ErrNonceReplayed
		}
		request := m.Request[:]
		if m.Request == [sha256.Size]byte{} {
			request = nil
		} else if earlier, ok, err := transactionRequest(ctx, t, m.Transaction); err != nil {
			return err
		} else if ok && earlier != m.Request {
			return ra.ErrTransactionReused
		}
		_, err := t.ExecContext(ctx,
			`INSERT INTO ra_message (digest, signer, nonce, transaction_id, request, label, enrolment, accepted) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			m.Digest[:], m.Signer[:], blob(m.Nonce), blob(m.Transaction), request, m.Label, m.Enrolment, m.Time.UnixMilli())
		return err
	})
	if errors.Is(err, ra.ErrNonceReplayed) || errors.Is(err, ra.ErrTransactionReused) {
		return err
	}
	return r.fault("remember message", err)
}

// Bind implements ra.Memory.
func (r *RAMemory) Bind(ctx context.Context, digest [sha256.Size]byte, enrolment string) error {
	return r.fault("bind message", r.s.write(ctx, func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx, `UPDATE ra_message SET enrolment = ? WHERE digest = ?`, enrolment, digest[:])
		return err
	}))
}

// Prune implements ra.Memory.
func (r *RAMemory) Prune(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := r.s.write(ctx, func(ctx context.Context, t *tx) error {
		res, err := t.ExecContext(ctx, `DELETE FROM ra_message WHERE accepted < ?`, before.UnixMilli())
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, r.fault("prune messages", err)
}

func (r *RAMemory) exists(ctx context.Context, op, query string, args ...any) (bool, error) {
	var there bool
	if err := r.s.read.QueryRowContext(ctx, query, args...).Scan(&there); err != nil {
		return false, r.fault(op, err)
	}
	return there, nil
}

func (r *RAMemory) fault(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("registration authority's memory: %s: %w", op, explain(r.s.path, err))
}

// transactionRequest works on the readers and inside of a write.
func transactionRequest(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, transaction []byte,
) (request [sha256.Size]byte, ok bool, err error) {
	var b []byte
	err = q.QueryRowContext(ctx,
		`SELECT request FROM ra_message WHERE transaction_id = ? AND request IS NOT NULL ORDER BY accepted LIMIT 1`, blob(transaction)).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return request, false, nil
	}
	if err != nil {
		return request, false, err
	}
	copy(request[:], b)
	return request, true, nil
}

func scanRAMessage(row *sql.Row) (ra.Message, error) {
	var m ra.Message
	var digest, signer, request []byte
	var accepted int64
	if err := row.Scan(&digest, &signer, &m.Nonce, &m.Transaction, &request, &m.Label, &m.Enrolment, &accepted); err != nil {
		return ra.Message{}, err
	}
	copy(m.Digest[:], digest)
	copy(m.Signer[:], signer)
	copy(m.Request[:], request)
	m.Nonce, m.Transaction = bytes.Clone(m.Nonce), bytes.Clone(m.Transaction)
	m.Time = time.UnixMilli(accepted).UTC()
	return m, nil
}
