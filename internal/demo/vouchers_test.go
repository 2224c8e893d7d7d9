package demo

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// TestVoucherIsKnownByItsFingerprint: the demo's CA issues for everybody, so a certificate with the right subject and
// purpose from it vouches for nobody.
func TestVoucherIsKnownByItsFingerprint(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerOnlineCA, nil)
	certs, err := certfile.LoadCertificates(p.c.CAPF.RACertificateFile)
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := sha256.Sum256(certs[0].Raw)
	if d := cmp.Diff([]string{hex.EncodeToString(fingerprint[:])}, p.c.RA.Vouchers); d != "" {
		t.Errorf("ra.vouchers (-want +got):\n%s", d)
	}
	if err := p.c.CheckFiles(); err != nil {
		t.Errorf("the configuration is not accepted: %v", err)
	}
	twin, err := p.enterprise.Issuing().NewLeaf(t.Context(), local.LeafOptions{
		Purpose: local.Voucher, CAOptions: local.CAOptions{Subject: pkix.Name{
			CommonName: certs[0].Subject.CommonName, Organization: certs[0].Subject.Organization,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if twin.Certificate.Subject.String() != certs[0].Subject.String() {
		t.Fatalf("subject %s, want %s", twin.Certificate.Subject, certs[0].Subject)
	}
	if err := errors.Join(
		certfile.WriteCertificates(p.c.CAPF.RACertificateFile, twin.Certificate, p.enterprise.Issuing().Certificate),
		certfile.WriteKey(p.c.CAPF.RAKeyFile, twin.Signer),
	); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.ready()
	const phone = "SEP00000000F001"
	p.add(phone)
	if got, err := p.call(phone); err == nil && got.Certificate != nil {
		t.Error("a certificate by a voucher that is not on the list")
	}
	_, rows := p.record(phone)
	if len(rows) != 1 || rows[0].State != enroll.Denied || rows[0].Failure == nil || rows[0].Failure.Code != "upstream.refused" {
		t.Errorf("rows %s", states(rows))
	}
	if n := len(p.issuedBy(phone)); n != 0 {
		t.Errorf("the CA issued %d certificates", n)
	}
}
