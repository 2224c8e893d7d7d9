package store

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"callsign/internal/fleet"
)

const (
	insertIssuer = `INSERT INTO issuer (id, der, subject, not_after, added) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	// The phones are counted in the index.
	selectIssuers = `SELECT id, der, subject, not_after, added, (SELECT count(*) FROM device WHERE lsc_issuer_id = issuer.id) FROM issuer`
	selectIssuer  = selectIssuers + ` WHERE id = ?`
	orderIssuers  = selectIssuers + ` ORDER BY seq`
)

// addIssuer keeps a certificate that issues LSCs and returns its ID, unless it is known to be there: then nothing is done.
// The caller adds the ID to s.issuers when the transaction is on disk.
func (s *Store) addIssuer(ctx context.Context, tx *tx, der []byte, now time.Time) (string, error) {
	id := fleet.IssuerID(der)
	if _, known := s.issuers.Load(id); known {
		return "", nil
	}
	return id, putIssuer(ctx, tx, id, der, now)
}

// putIssuer is used by migrations too, whose transaction is another one. A certificate that cannot be read is kept all the same, without
// subject and end: the phone has its LSC, whatever we make of the issuer's certificate.
func putIssuer(ctx context.Context, tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, id string, der []byte, now time.Time,
) error {
	var subject string
	var notAfter time.Time
	if c, err := x509.ParseCertificate(der); err == nil {
		subject, notAfter = c.Subject.String(), c.NotAfter
	}
	if _, err := tx.ExecContext(ctx, insertIssuer, id, der, subject, millis(notAfter), millis(now)); err != nil {
		return fmt.Errorf("add issuer %s: %w", id, err)
	}
	return nil
}

// Issuers implements fleet.Store.
func (r *Devices) Issuers(ctx context.Context) ([]fleet.Issuer, error) {
	list, err := listOf(ctx, r.s.read, func(row *sql.Rows) (fleet.Issuer, error) { return scanIssuer(row) }, orderIssuers)
	if err != nil {
		return nil, fmt.Errorf("list issuers: %w", err)
	}
	return list, nil
}

// Issuer implements fleet.Store.
func (r *Devices) Issuer(ctx context.Context, id string) (fleet.Issuer, error) {
	i, err := scanIssuer(r.s.read.QueryRowContext(ctx, selectIssuer, id))
	if errors.Is(err, sql.ErrNoRows) {
		return i, fleet.ErrNotFound
	}
	if err != nil {
		return i, fmt.Errorf("read issuer %s: %w", id, err)
	}
	return i, nil
}

func scanIssuer(row interface{ Scan(...any) error }) (fleet.Issuer, error) {
	var i fleet.Issuer
	var notAfter, added sql.NullInt64
	err := row.Scan(&i.ID, &i.DER, &i.Subject, &notAfter, &added, &i.Phones)
	i.NotAfter, i.Added = timeOf(notAfter), timeOf(added)
	return i, err
}
