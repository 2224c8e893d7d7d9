package app

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
)

// TestRevokedWhateverElse: a certificate that was revoked is known as that when its CRL is old, and when it has ended and is renewed within
// the grace.
func TestRevokedWhateverElse(t *testing.T) {
	t.Parallel()
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Root"}})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Voucher, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "device"}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, tt := range map[string]struct {
		next    time.Duration // of the CRL, from now
		at      time.Time
		revoked bool
		reason  int
		want    bool
	}{
		"revoked":                   {time.Hour, now, true, 1, true},
		"not revoked":               {time.Hour, now, false, 0, false},
		"on hold":                   {time.Hour, now, true, 6, true},
		"by an old CRL":             {-time.Minute, now, true, 1, true},
		"not revoked by an old CRL": {-time.Minute, now, false, 0, false},
		"revoked and ended":         {time.Hour, leaf.Certificate.NotAfter.Add(time.Hour), true, 1, true},
		"ended":                     {time.Hour, leaf.Certificate.NotAfter.Add(time.Hour), false, 0, false},
	} {
		list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(tt.next)}
		if tt.revoked {
			list.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: leaf.Certificate.SerialNumber, RevocationTime: now.Add(-time.Hour), ReasonCode: tt.reason}}
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, root.Certificate, root.Signer)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "crl")
		if err := certfile.WriteFile(file, der, 0o600); err != nil {
			t.Fatal(err)
		}
		r := &revocation{
			files: []string{file}, now: func() time.Time { return tt.at }, log: slog.New(slog.DiscardHandler),
			read: map[string]time.Time{}, lists: map[string][]*x509.RevocationList{},
		}
		if err := r.check(t.Context(), []*x509.Certificate{leaf.Certificate, root.Certificate}); (err != nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
