package ra_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/chain"
	"callsign/est"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/ra"
)

// rolled are the certificates of testdata/rollover by their names.
func rolled(t *testing.T) map[string]*x509.Certificate {
	t.Helper()
	files, err := filepath.Glob("testdata/rollover/*.pem")
	check(t, err)
	out := map[string]*x509.Certificate{}
	for _, f := range files {
		certs, err := certfile.LoadCertificates(f)
		check(t, err)
		out[f[len("testdata/rollover/"):len(f)-len(".pem")]] = certs[0]
	}
	return out
}

func namesOf(all map[string]*x509.Certificate, list []*x509.Certificate) []string {
	var out []string
	for _, c := range list {
		for name, known := range all {
			if known.Equal(c) {
				out = append(out, name)
			}
		}
	}
	return out
}

func TestPublished(t *testing.T) {
	t.Parallel()
	all := rolled(t)
	of := func(names ...string) []*x509.Certificate {
		var out []*x509.Certificate
		for _, n := range names {
			if all[n] == nil {
				t.Fatalf("no %s", n)
			}
			out = append(out, all[n])
		}
		return out
	}
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	full := []string{"issuing-ca", "root-NewWithNew", "root-OldWithNew", "root-NewWithOld", "root-OldWithOld"}
	tests := []struct {
		name        string
		told, extra []*x509.Certificate
		now         time.Time
		want        []string
	}{
		{"all of it from the CA, in any order", of("issuing-ca", "root-OldWithOld", "root-NewWithOld", "root-NewWithNew", "root-OldWithNew"), nil, now, full},
		{"joined by the configuration", of("issuing-ca", "root-NewWithNew"), of("root-NewWithOld", "root-OldWithOld", "root-OldWithNew"), now, full},
		{"the root from the configuration", of("issuing-ca"), of("root-NewWithOld", "root-NewWithNew"), now, []string{"issuing-ca", "root-NewWithNew", "root-NewWithOld"}},
		{"each once", of("issuing-ca", "root-NewWithNew", "issuing-ca", "root-OldWithNew"), of("root-NewWithNew", "root-OldWithNew"), now, []string{"issuing-ca", "root-NewWithNew", "root-OldWithNew"}},
		{"a root of its own", of("root-NewWithNew"), of("root-NewWithOld"), now, []string{"root-NewWithNew", "root-NewWithOld"}},
		{"after the old key's end", of("issuing-ca", "root-NewWithNew"), of("root-NewWithOld", "root-OldWithOld", "root-OldWithNew"), now.AddDate(1, 0, 0), full[:2]},
		{"before the old key's end and without it", of("issuing-ca", "root-NewWithNew"), nil, now, full[:2]},
		{"no CA at all", of("issuing-ca", "root-NewWithNew"), of("leaf"), now, full[:2]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, namesOf(all, ra.Published(tt.told, tt.extra, tt.now))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	other := newCA(t, "Other").Certificate
	if got := ra.Published(of("issuing-ca", "root-NewWithNew"), []*x509.Certificate{other}, now); len(got) != 2 {
		t.Errorf("a CA of another label is published: %d certificates", len(got))
	}
	if got := ra.Published(of("issuing-ca", "root-NewWithNew")[:1], nil, now); len(got) != 1 {
		t.Errorf("a chain that does not reach its root: %d certificates", len(got))
	}
}

// TestRolloverServesBothClients: with what cacerts answers, a client of the old root verifies new certificates and a client of the new root
// old ones; each needs one certificate of it.
func TestRolloverServesBothClients(t *testing.T) {
	t.Parallel()
	all := rolled(t)
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	answer := ra.Published([]*x509.Certificate{all["issuing-ca"], all["root-NewWithNew"]}, []*x509.Certificate{all["root-OldWithOld"], all["root-NewWithOld"], all["root-OldWithNew"]}, now)
	for _, tt := range []struct{ name, anchor, leaf, needs string }{
		{"old client, new leaf", "root-OldWithOld", "leaf", "root-NewWithOld"},
		{"new client, old leaf", "root-NewWithNew", "leaf-under-old-root", "root-OldWithNew"},
	} {
		without := slices.DeleteFunc(slices.Clone(answer), all[tt.needs].Equal)
		for _, with := range []bool{true, false} {
			pool := without
			if with {
				pool = answer
			}
			v := chain.Verifier{
				Anchors: chain.NewStoreX509([]*x509.Certificate{all[tt.anchor]}), Intermediates: chain.OfAll(pool), Usage: chain.Any,
				Now: func() time.Time { return now },
			}
			if got := v.Verify([]*chain.Certificate{chain.Of(all[tt.leaf])}, ""); got.OK() != with {
				t.Errorf("%s, %s there: %v: %v", tt.name, tt.needs, with, got.Err())
			}
		}
	}
}

// TestRenewedCA: a certificate from a renewed CA makes the RA ask for the chain anew; then cacerts has the new root, and what joins it
// with the old one.
func TestRenewedCA(t *testing.T) {
	t.Parallel()
	begun := time.Now().Add(-time.Hour)
	before, err := local.NewCAPF(local.CAOptions{Subject: pkix.Name{CommonName: "Phones CA"}, Key: local.P256, Now: func() time.Time { return begun }})
	check(t, err)
	after, err := local.NewCAPF(local.CAOptions{Subject: pkix.Name{CommonName: "Phones CA"}, Key: local.P256})
	check(t, err)
	oldWithNew, newWithOld, err := local.Rollover(before.Certificate, before.Signer, after.Certificate, after.Signer, time.Now())
	check(t, err)
	signer := func(i *local.Issuer) *local.Authority {
		a, err := local.New(local.Config{Certificate: i.Certificate, Signer: i.Signer})
		check(t, err)
		return a
	}
	w := newWorld(t, func(c *ra.Config) { c.Rollover = []*x509.Certificate{oldWithNew, newWithOld} })
	w.ca.local = signer(before)
	ctx := w.ready().t.Context()
	first, err := w.client(nil).SimpleEnroll(ctx, newCSR(t, newKey(t), "SEP001122334455"))
	check(t, err)
	check(t, first.CheckSignatureFrom(before.Certificate))
	if w.ra.AsksAgain() {
		t.Error("the chain is asked for again although the issuer is known")
	}
	w.ca.mu.Lock()
	w.ca.local = signer(after)
	w.ca.mu.Unlock()
	second, err := w.client(nil).SimpleEnroll(ctx, newCSR(t, newKey(t), "SEP001122334455"))
	check(t, err)
	check(t, second.CheckSignatureFrom(after.Certificate))
	if !w.ra.AsksAgain() {
		t.Error("an unknown issuer did not make the RA ask for the chain")
	}
	check(t, w.ra.Refresh(ctx))
	certs, err := w.client(nil).CACerts(ctx)
	check(t, err)
	if len(certs) != 3 || !certs[0].Equal(after.Certificate) || !certs[1].Equal(oldWithNew) || !certs[2].Equal(newWithOld) {
		t.Errorf("cacerts: %d certificates, %v", len(certs), certs)
	}
	// What the former root has issued can be renewed: its key is known by OldWithNew.
	_, err = w.ra.Authenticate(ctx, est.Credentials{Operation: "simplereenroll", Certificates: []*x509.Certificate{client(t, before, "x")}})
	check(t, err)
}
