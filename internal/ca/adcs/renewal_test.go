package adcs_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
)

// renewing is a CA that is renewed with another key while it runs.
type renewing struct {
	mu      sync.Mutex
	issuers []*local.Issuer
}

func (r *renewing) renew(t *testing.T, root *local.Issuer) {
	t.Helper()
	i, err := root.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Renewed"}})
	check(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.issuers = append(r.issuers, i)
}

func (r *renewing) all() []*local.Issuer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.issuers)
}

func (r *renewing) Issue(ctx context.Context, i certsrvtest.Issuance) ([]byte, error) {
	all := r.all()
	e := enterprise{i: all[len(all)-1], ku: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	return e.Issue(ctx, i)
}

func (r *renewing) Certificates() [][]*x509.Certificate {
	var out [][]*x509.Certificate
	for _, i := range r.all() {
		out = append(out, i.Full())
	}
	return out
}

// TestRenewedCA: the first certificate of a renewed CA comes with its chain at once, and more of them cause no more looks.
func TestRenewedCA(t *testing.T) {
	t.Parallel()
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Root"}})
	check(t, err)
	authority := &renewing{}
	authority.renew(t, root)
	w := newWorld(t, func(c *certsrvtest.Config, _ *certsrv.Client) { c.CA = authority })
	a := w.authority(nil)
	looks := func() int { return w.sim.Hits()["/certsrv/certcarc.asp"] }
	issue := func() ca.Outcome { return mustIssue(t, a, signed(t), w.page()) }
	if out := issue(); len(out.Chain) != 0 || looks() != 0 {
		t.Errorf("a chain that nobody wanted was read: %d looks", looks())
	}
	_, err = a.Chain(t.Context())
	check(t, err)
	if out := issue(); len(out.Chain) != 2 || looks() != 1 {
		t.Errorf("chain of %d, %d looks", len(out.Chain), looks())
	}
	authority.renew(t, root)
	for range 3 {
		out := issue()
		all := authority.all()
		if len(out.Chain) != 2 || !slices.Equal(out.Chain[0], all[len(all)-1].Certificate.Raw) || looks() != 2 {
			t.Errorf("chain of %d, %d looks", len(out.Chain), looks())
		}
	}
	if !strings.Contains(w.log.String(), "not known yet") {
		t.Errorf("nobody tells:\n%s", w.log.String())
	}
	// Renewed again, too soon for another look; the certificate is handed out all the same.
	authority.renew(t, root)
	if out := issue(); len(out.Chain) != 0 || looks() != 2 {
		t.Errorf("chain of %d, %d looks", len(out.Chain), looks())
	}
	w.now = w.now.Add(2 * time.Minute)
	if out := issue(); len(out.Chain) != 2 || looks() != 3 {
		t.Errorf("chain of %d, %d looks", len(out.Chain), looks())
	}
}
