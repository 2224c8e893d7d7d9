package chain_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"callsign/chain"
)

// benchChain is a leaf, its intermediate and its root, all with keys of one kind.
func benchChain(b *testing.B, newKey func() (crypto.Signer, error)) []*x509.Certificate {
	b.Helper()
	var certs []*x509.Certificate
	var parent *x509.Certificate
	var parentKey crypto.Signer
	for i, name := range []string{"Bench Root", "Bench Intermediate", "cucm.example.com"} {
		key, err := newKey()
		if err != nil {
			b.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name, Organization: []string{"Bench"}, Country: []string{"BE"}},
			NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), BasicConstraintsValid: true, IsCA: i < 2,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		if i == 2 {
			template.KeyUsage = x509.KeyUsageDigitalSignature
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			template.DNSNames = []string{name, "cucm-sub.example.com"}
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			b.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		parent, parentKey = cert, key
		certs = append([]*x509.Certificate{cert}, certs...)
	}
	return certs
}

// BenchmarkThree verifies a chain of three certificates, explained, and the same with crypto/x509 in the same loop, so
// that both have the same machine. Both get parsed certificates, as a TLS handshake has them, and a ready store.
func BenchmarkThree(b *testing.B) {
	for name, newKey := range map[string]func() (crypto.Signer, error){
		"RSA-2048": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		"P-256":    func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	} {
		b.Run(name, func(b *testing.B) {
			certs := benchChain(b, newKey)
			presented := certs[:2]
			v := &chain.Verifier{Anchors: chain.NewStoreX509(certs[2:]), Now: at(noon)}
			roots := x509.NewCertPool()
			roots.AddCert(certs[2])
			var ours, theirs time.Duration
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				r := v.Verify(chain.OfAll(presented), "cucm.example.com")
				between := time.Now()
				if err := r.Err(); err != nil {
					b.Fatal(err)
				}
				pool := x509.NewCertPool()
				pool.AddCert(presented[1])
				_, err := presented[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: pool, DNSName: "cucm.example.com", CurrentTime: noon})
				theirs += time.Since(between)
				ours += between.Sub(began)
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(ours)/float64(theirs), "ratio")
			b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "ours-ns/op")
			b.ReportMetric(float64(theirs.Nanoseconds())/float64(b.N), "x509-ns/op")
		})
	}
}
