package offline

import (
	"context"
	"crypto/x509"
	"time"

	"callsign/internal/ca"
)

// Name is the authority's name in records and logs.
const Name = "offline"

// Pause is how long a request rests before the engine asks again, which changes nothing: what ends the wait is an import.
const Pause = 7 * 24 * time.Hour

// Authority is the authority "offline". It implements ca.Authority. The zero value has no CA certificates.
type Authority struct {
	chain []*x509.Certificate
}

var _ ca.Authority = (*Authority)(nil)

// New returns the authority of a CA with these certificates, issuing CA first; none as long as they are not known.
func New(chain []*x509.Certificate) *Authority { return &Authority{chain: chain} }

// Name implements ca.Authority.
func (a *Authority) Name() string { return Name }

// Chain implements ca.Authority: the configured certificates, none when nothing is configured. It never fails.
func (a *Authority) Chain(context.Context) ([]*x509.Certificate, error) { return a.chain, nil }

// Issue implements ca.Authority: the request is pending. Only a bare key that nobody vouches for is denied.
func (a *Authority) Issue(_ context.Context, r ca.Request, _ ca.Ledger) (ca.Outcome, error) {
	if r.CSR == nil && r.Vouch == "" {
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{
			ErrCode: CodeNotVouched, Final: true, Detail: "the request holds a bare key and nobody vouches for its owner",
			Fix: "this is a fault of the caller, not of the phone; report it with the request id",
		}}, nil
	}
	return ca.Outcome{Status: ca.Pending, RequestID: RequestID(r.ID), RetryAfter: Pause}, nil
}

// RequestID is the short number by which people know the request of a journal row: the first 8 digits of the row's id.
func RequestID(id string) string { return id[:min(len(id), 8)] }
