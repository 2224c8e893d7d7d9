package local_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"callsign/chain"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
)

// root makes a root of a name that began some time ago and lasts for some time.
func root(t *testing.T, name string, kind local.KeyKind, begun, validity time.Duration) *local.Issuer {
	t.Helper()
	at := time.Now().Add(-begun)
	i, err := local.NewCAPF(local.CAOptions{Subject: pkix.Name{CommonName: name}, Key: kind, Validity: begun + validity, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	i.Now = nil
	return i
}

// free is a root without a path length.
func free(t *testing.T, kind local.KeyKind, begun, validity time.Duration) *local.Issuer {
	t.Helper()
	at := time.Now().Add(-begun)
	i, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Phones CA"}, Key: kind, Validity: begun + validity, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	i.Now = nil
	return i
}

const (
	hour = time.Hour
	year = 365 * 24 * hour
)

func TestRollover(t *testing.T) {
	t.Parallel()
	for _, kinds := range [][2]local.KeyKind{{local.P256, local.P256}, {local.RSA2048, local.P384}, {local.P256, local.RSA2048}} {
		t.Run(string(kinds[0])+" to "+string(kinds[1]), func(t *testing.T) {
			t.Parallel()
			before, after := root(t, "Phones CA", kinds[0], 4*year, year/2), root(t, "Phones CA", kinds[1], hour, 5*year)
			limited := kinds[0] == local.P256 && kinds[1] == local.P256
			if !limited {
				before, after = free(t, kinds[0], 4*year, year/2), free(t, kinds[1], hour, 5*year)
			}
			oldWithNew, newWithOld, err := local.Rollover(before.Certificate, before.Signer, after.Certificate, after.Signer, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for name, c := range map[string]struct{ got, of, by *x509.Certificate }{
				"OldWithNew": {oldWithNew, before.Certificate, after.Certificate}, "NewWithOld": {newWithOld, after.Certificate, before.Certificate},
			} {
				if !bytes.Equal(c.got.RawSubject, c.of.RawSubject) || !bytes.Equal(c.got.RawIssuer, c.by.RawSubject) ||
					!bytes.Equal(c.got.RawSubjectPublicKeyInfo, c.of.RawSubjectPublicKeyInfo) {
					t.Errorf("%s: subject %s, issuer %s", name, c.got.Subject, c.got.Issuer)
				}
				if !bytes.Equal(c.got.SubjectKeyId, c.of.SubjectKeyId) || !bytes.Equal(c.got.AuthorityKeyId, c.by.SubjectKeyId) {
					t.Errorf("%s: key identifiers %x, %x", name, c.got.SubjectKeyId, c.got.AuthorityKeyId)
				}
				if !c.got.IsCA || c.got.MaxPathLenZero != limited || c.got.KeyUsage != c.of.KeyUsage {
					t.Errorf("%s: CA %v, path length %d, usage %v", name, c.got.IsCA, c.got.MaxPathLen, c.got.KeyUsage)
				}
			}
			// RFC 4210 sections 4.4.1 and 4.4.2.
			if !oldWithNew.NotBefore.Equal(before.Certificate.NotBefore) || !oldWithNew.NotAfter.Equal(before.Certificate.NotAfter) {
				t.Errorf("OldWithNew: %s to %s", oldWithNew.NotBefore, oldWithNew.NotAfter)
			}
			if !newWithOld.NotBefore.Equal(after.Certificate.NotBefore) || !newWithOld.NotAfter.Equal(before.Certificate.NotAfter) {
				t.Errorf("NewWithOld: %s to %s", newWithOld.NotBefore, newWithOld.NotAfter)
			}
			oldLeaf, newLeaf := leafOf(t, before), leafOf(t, after)
			for name, tt := range map[string]struct {
				anchor, leaf *x509.Certificate
				with         *x509.Certificate
			}{
				"an old client and a new leaf": {before.Certificate, newLeaf, newWithOld},
				"a new client and an old leaf": {after.Certificate, oldLeaf, oldWithNew},
			} {
				if !verifies(tt.anchor, tt.leaf, tt.with) {
					t.Errorf("%s: not verified", name)
				}
				if verifies(tt.anchor, tt.leaf) {
					t.Errorf("%s: verified without the rollover certificate", name)
				}
			}
		})
	}
}

func leafOf(t *testing.T, i *local.Issuer) *x509.Certificate {
	t.Helper()
	l, err := i.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.TLSServer, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "leaf"}}})
	if err != nil {
		t.Fatal(err)
	}
	return l.Certificate
}

// verifies tells whether our engine finds a path, and so does crypto/x509 unless the roots have a path length, against which it counts
// self-issued certificates as well (RFC 5280 section 4.2.1.9 does not).
func verifies(anchor, leaf *x509.Certificate, between ...*x509.Certificate) bool {
	v := chain.Verifier{Anchors: chain.NewStoreX509([]*x509.Certificate{anchor}), Intermediates: chain.OfAll(between)}
	ours := v.Verify([]*chain.Certificate{chain.Of(leaf)}, "").OK()
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	o.Roots.AddCert(anchor)
	for _, c := range between {
		o.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(o)
	return ours && (err == nil || anchor.MaxPathLenZero)
}

func TestRolloverRefuses(t *testing.T) {
	t.Parallel()
	before, after := root(t, "Phones CA", local.P256, year, year), root(t, "Phones CA", local.P256, hour, year)
	other, ended := root(t, "Other CA", local.P256, hour, year), root(t, "Phones CA", local.P256, year, -hour)
	sub, err := other.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Phones CA"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]*local.Issuer{
		"other names": {before, other}, "one key": {before, before}, "an old root that has ended": {ended, after}, "no root": {sub, after},
		"a key of another": {{Certificate: before.Certificate, Signer: after.Signer}, after},
	} {
		if _, _, err := local.Rollover(pair[0].Certificate, pair[0].Signer, pair[1].Certificate, pair[1].Signer, time.Now()); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

// TestInstallRenewedRoot: a root that is renewed by another one of its name brings the certificates that join them; the next renewal keeps
// them as long as they last.
func TestInstallRenewedRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := local.Files{Certificate: filepath.Join(dir, "ca.pem"), Key: filepath.Join(dir, "ca.key")}
	old := root(t, "Phones CA", local.P256, 4*year, year/2)
	if err := errors.Join(certfile.WriteCertificates(f.Certificate, old.Certificate), certfile.WriteKey(f.Key, old.Signer)); err != nil {
		t.Fatal(err)
	}
	renew := func() (*local.Installation, *x509.Certificate) {
		t.Helper()
		if _, err := f.Request(local.RequestOptions{}); err != nil {
			t.Fatal(err)
		}
		key, err := certfile.LoadKey(f.NextKey())
		if err != nil {
			t.Fatal(err)
		}
		next, err := local.NewCAPF(local.CAOptions{Subject: pkix.Name{CommonName: "Phones CA"}, Signer: key})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := f.Plan([]*x509.Certificate{next.Certificate}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return plan, next.Certificate
	}
	plan, second := renew()
	if len(plan.Rollover) != 3 || !plan.NextKey || len(plan.Above) != 0 {
		t.Fatalf("plan: %+v", plan)
	}
	if certs, err := certfile.LoadCertificates(plan.RolloverPath()); err == nil {
		t.Errorf("written by the plan alone: %v", certs)
	}
	if _, err := plan.Apply(time.Now()); err != nil {
		t.Fatal(err)
	}
	certs, err := certfile.LoadCertificates(plan.RolloverPath())
	if err != nil || len(certs) != 3 {
		t.Fatalf("%d rollover certificates, %v", len(certs), err)
	}
	if !verifies(old.Certificate, leafOf(t, issuerIn(t, f)), certs...) {
		t.Error("an old client does not verify a new leaf")
	}
	again, third := renew()
	if _, err := again.Apply(time.Now()); err != nil {
		t.Fatal(err)
	}
	certs, err = certfile.LoadCertificates(plan.RolloverPath())
	if err != nil || len(certs) != 6 || !slices.ContainsFunc(certs, second.Equal) || slices.ContainsFunc(certs, third.Equal) {
		t.Fatalf("after the second renewal: %d certificates, %v", len(certs), err)
	}
	if !verifies(old.Certificate, leafOf(t, issuerIn(t, f)), certs...) {
		t.Error("the oldest client does not verify the newest leaf")
	}
	// What joins two roots is no root.
	if _, err := f.Plan([]*x509.Certificate{crossFor(t, f, old)}, time.Now()); code(err) != local.CodeCAUnsuitable {
		t.Errorf("a cross certificate: %v", err)
	}
}

// issuerIn is the CA in place.
func issuerIn(t *testing.T, f local.Files) *local.Issuer {
	t.Helper()
	cert, _, err := f.Present()
	if err != nil {
		t.Fatal(err)
	}
	key, err := certfile.LoadKey(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &local.Issuer{Certificate: cert, Signer: key, Random: rand.Reader}
}

// crossFor is the present key signed by the old root.
func crossFor(t *testing.T, f local.Files, old *local.Issuer) *x509.Certificate {
	t.Helper()
	now := issuerIn(t, f)
	_, newWithOld, err := local.Rollover(old.Certificate, old.Signer, now.Certificate, now.Signer, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return newWithOld
}
