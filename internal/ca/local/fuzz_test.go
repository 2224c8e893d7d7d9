package local_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"callsign/internal/ca"
	"callsign/internal/ca/local"
)

// FuzzIssue offers foreign bytes as key, subject and extension: never a panic, and what is issued can be read and is no
// CA certificate.
func FuzzIssue(f *testing.F) {
	i := newCAPF(f, local.P256, clock)
	a := authority(f, i, nil)
	r := phone(f)
	f.Add(r.PublicKey, r.Subject, 17, true, r.Extensions[0].Value)
	f.Add(r.PublicKey, r.Subject, 19, true, []byte{0x30, 3, 1, 1, 0xff})
	f.Add([]byte{0x30, 0}, []byte{0x30, 0}, 15, false, []byte{})
	f.Fuzz(func(t *testing.T, key, name []byte, id int, critical bool, value []byte) {
		req := ca.Request{PublicKey: key, Subject: name, Vouch: "null", Extensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, id & 0x3f}, Critical: critical, Value: value},
		}}
		out, err := a.Issue(t.Context(), req, nil)
		if err != nil || out.Status != ca.Issued {
			return
		}
		c, err := x509.ParseCertificate(out.Certificate)
		if err != nil {
			t.Fatalf("issued, and nobody can read it: %v", err)
		}
		if c.IsCA {
			t.Fatal("a CA certificate came out")
		}
	})
}
