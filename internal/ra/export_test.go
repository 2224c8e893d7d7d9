package ra

import (
	"context"
	"crypto/x509"
	"time"

	"callsign/est"
	"callsign/internal/enroll"
)

// StatusOf is the HTTP status that answers a row in this state, with the Retry-After.
func (a *RA) StatusOf(row enroll.Enrolment) (int, time.Duration) {
	v := a.judge(row, false)
	return v.status, v.retryAfter
}

// Enter takes a place to hash a password.
func (u *Users) Enter(ctx context.Context) (done func(), err error) { return u.enter(ctx) }

// Refusal is what the rules of label "phones" say to a request of the client of this name.
func (r Rules) Refusal(csr *x509.CertificateRequest, name string, others bool) (*est.Error, error) {
	c, err := compileRules(r, "phones")
	if err != nil {
		return nil, err
	}
	return c.check(csr, name, others), nil
}

// ClientName is the name that a certificate gives its owner.
func ClientName(pattern string, cert *x509.Certificate) (string, bool) {
	c, err := compileClients(pattern, nil)
	if err != nil {
		return "", false
	}
	return c.nameOf(cert)
}

// Glob tells whether s fits a pattern.
func Glob(pattern, s string) bool { return glob(pattern, s) }

// Published is what cacerts answers at a time when an authority tells this and the configuration has extra.
func Published(told, extra []*x509.Certificate, now time.Time) []*x509.Certificate {
	return newKnown(told, extra).at(now)
}

// GeneralNames are the names in the value of a subjectAltName, as text.
func GeneralNames(value []byte) ([]string, error) {
	list, err := parseGeneralNames(value)
	var out []string
	for _, n := range list {
		out = append(out, n.String())
	}
	return out, err
}

// AsksAgain tells whether Run has been asked to fetch the chains again, and takes the request back.
func (a *RA) AsksAgain() bool {
	select {
	case <-a.again:
		return true
	default:
		return false
	}
}

// UnderWay is how many hashes are being computed or wait for their turn.
func (u *Users) UnderWay() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.under)
}

// MayVouch is why nobody may vouch for a request; empty when somebody may.
func (a *RA) MayVouch(csr *x509.CertificateRequest) string {
	if p := a.mayVouch(nil, csr); p != nil {
		return p.Code()
	}
	return ""
}

// Allowed tells which certificates are on a list of vouchers.
func Allowed(entries ...string) (func(*x509.Certificate) bool, error) {
	return allowList("vouchers", entries)
}
