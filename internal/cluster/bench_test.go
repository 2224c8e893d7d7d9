package cluster_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"testing"

	"callsign/chain"
	"callsign/internal/cluster"
	"callsign/internal/cluster/upload"
)

// manyTrusted is how many certificates the trust store of the benchmarks has.
const manyTrusted = 10_000

// crowded returns a world whose tomcat-trust has many certificates, among them the issuers of the tests.
func crowded(b *testing.B) *world {
	b.Helper()
	w := newWorld(b, b.TempDir())
	b.Cleanup(func() { _ = w.store.Close() })
	p := pki()
	w.put(cluster.Upload{Purpose: "tomcat-trust", File: file(p.root.x, p.issuing.x)}, upload.Accepted, "")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	c := &cluster.Change{At: w.clock}
	for i := range manyTrusted {
		x := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: fmt.Sprintf("peer%05d.example.com", i), Organization: []string{"Example"}},
			NotBefore: epoch.AddDate(-1, 0, 0), NotAfter: epoch.AddDate(0, 0, i%1000), DNSNames: []string{fmt.Sprintf("peer%05d.example.com", i)},
			SubjectKeyId: []byte{byte(i), byte(i >> 8), 1, 2},
		}
		der, err := x509.CreateCertificate(rand.Reader, x, p.issuing.x, key.Public(), p.issuing.key)
		if err != nil {
			b.Fatal(err)
		}
		if x, err = x509.ParseCertificate(der); err != nil {
			b.Fatal(err)
		}
		c.AddTrust = append(c.AddTrust, cluster.Trust{Store: "tomcat-trust", DER: der, Record: cluster.NewRecord(x), Origin: cluster.Uploaded})
	}
	w.view(func(r cluster.Reader) error {
		c.Revision, err = r.Revision(context.Background())
		return err
	})
	if err := w.Service.Store.Apply(context.Background(), w.Cluster.Name, c); err != nil {
		b.Fatal(err)
	}
	return w
}

// BenchmarkCheckUpload judges an identity certificate with its chain of three, against a trust store of 10,000.
func BenchmarkCheckUpload(b *testing.B) {
	w := crowded(b)
	c, p := w.create(cluster.Fields{Purpose: multiECDSA}), pki()
	u := cluster.Upload{Purpose: multiECDSA, File: file(p.issuing.sign(b, c.DER, w.clock, nil))}
	for b.Loop() {
		o, err := w.CheckUpload(context.Background(), u)
		if err != nil || o.Verdict != upload.Accepted {
			b.Fatal(o, err)
		}
	}
}

// BenchmarkList lists what expires within 30 days of 10,000 certificates.
func BenchmarkList(b *testing.B) {
	w := crowded(b)
	soon, err := cluster.ParseThreshold("30d")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		rows, err := w.List(context.Background(), cluster.Query{Within: &soon})
		if err != nil || len(rows) < 250 || len(rows) > 350 {
			b.Fatal(len(rows), err)
		}
	}
}

// BenchmarkJudge judges an upload against all of a store of 10,000 that is in memory, as with --trust-dir; parsing it is measured as well.
func BenchmarkJudge(b *testing.B) {
	w := crowded(b)
	c, p := w.create(cluster.Fields{Purpose: multiECDSA}), pki()
	f := file(p.issuing.sign(b, c.DER, w.clock, nil))
	csr, err := x509.ParseCertificateRequest(c.DER)
	if err != nil {
		b.Fatal(err)
	}
	var ders [][]byte
	w.view(func(r cluster.Reader) error {
		all, err := r.TrustAll(context.Background(), "tomcat-trust")
		for i := range all {
			ders = append(ders, all[i].DER)
		}
		return err
	})
	b.Run("judge", func(b *testing.B) {
		j := upload.Judge{Purpose: multiECDSA, Request: csr, Trust: chain.ParseAll(ders), At: w.clock}
		for b.Loop() {
			if r := j.Judge(f); r.Verdict != upload.Accepted {
				b.Fatal(r)
			}
		}
	})
	b.Run("parse and judge", func(b *testing.B) {
		for b.Loop() {
			j := upload.Judge{Purpose: multiECDSA, Request: csr, Trust: chain.ParseAll(ders), At: w.clock}
			if r := j.Judge(f); r.Verdict != upload.Accepted {
				b.Fatal(r)
			}
		}
	})
}
