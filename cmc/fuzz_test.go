package cmc

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seed adds files of testdata as the corpus.
func seed(f *testing.F, patterns ...string) {
	f.Helper()
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join("testdata", filepath.FromSlash(p)))
		if err != nil || len(names) == 0 {
			f.Fatalf("no seeds in %s: %v", p, err)
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil {
				f.Fatal(err)
			}
			if strings.HasSuffix(n, ".b64") {
				if der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(b)), "")); err == nil {
					b = der
				}
			}
			f.Add(b)
		}
	}
}

// contents adds the eContent of messages as the corpus.
func contents(f *testing.F, patterns ...string) {
	f.Helper()
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join("testdata", filepath.FromSlash(p)))
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil {
				f.Fatal(err)
			}
			if m, err := Open(b); err == nil {
				f.Add(m.EContent)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	seed(f, "req/*.der", "bad/*.der", "resp/*.der", "adcs/*.der")
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, err := Open(msg)
		if err != nil {
			if code(err) != CodeMalformed {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(m.Certificates) > MaxCertificates || len(m.Signers) > MaxSigners || len(m.EContent) > len(msg) {
			t.Fatal("limits are not kept")
		}
		for i := range m.Signers {
			s := &m.Signers[i]
			if s.Err == nil && !s.NoSignature && s.Certificate == nil {
				t.Fatal("a signature is right although nobody made it")
			}
			// Errors are as good as values here.
			_, _ = s.NameValues()
		}
		// BER and its DER say the same.
		der, err := toDER(msg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(der)
		if err != nil || !bytes.Equal(again.EContent, m.EContent) || len(again.Signers) != len(m.Signers) {
			t.Fatalf("the DER of an accepted message says something else: %v", err)
		}
		_, _ = ParseResponse(msg)
	})
}

func FuzzPKIData(f *testing.F) {
	seed(f, "req/*.pkidata")
	contents(f, "req/*.der", "bad/*.der", "adcs/*.der")
	f.Fuzz(func(t *testing.T, der []byte) {
		d, err := ParsePKIData(der)
		if err != nil {
			return
		}
		got, err := d.Marshal()
		if err != nil || !bytes.Equal(der, got) {
			t.Fatalf("marshal: %v\n%s", err, hexDiff(der, got))
		}
		ParseRegInfo(d.RegInfo())
		for _, r := range d.Requests {
			_, _ = CheckNullSignature(r.Raw)
		}
	})
}

func FuzzPKIResponse(f *testing.F) {
	contents(f, "resp/*.der")
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParsePKIResponse(der)
		if err != nil {
			return
		}
		got, err := r.Marshal()
		if err != nil || !bytes.Equal(der, got) {
			t.Fatalf("marshal: %v\n%s", err, hexDiff(der, got))
		}
		m := Message{EContentType: OIDPKIResponse, EContent: der}
		if resp, err := m.response(); err == nil {
			_ = resp.Err()
		}
	})
}

func FuzzCertsOnly(f *testing.F) {
	seed(f, "certs-only/*.b64", "resp/simple.der")
	f.Fuzz(func(t *testing.T, msg []byte) {
		bag, bagErr := ReadBag(msg, maxCertsOnly, maxCertificates)
		if n := len(bag.Certificates) + len(bag.CRLs); n > maxCertificates || bagErr != nil && n > 0 {
			t.Fatalf("%d members, %v", n, bagErr)
		}
		certs, err := ParseCertsOnly(msg)
		if err != nil {
			return
		}
		// The strict reader counts certificates and CRLs apart.
		p, refused := errors.AsType[*Problem](bagErr)
		if refused && p.HTTP != http.StatusRequestEntityTooLarge || !refused && len(bag.Certificates) != len(certs) {
			t.Fatalf("the bag has %d of %d certificates: %v", len(bag.Certificates), len(certs), bagErr)
		}
		der, err := CertsOnly(certs...)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCertsOnly(der)
		if err != nil || len(again) != len(certs) {
			t.Fatalf("read back: %d of %d certificates, %v", len(again), len(certs), err)
		}
		for i := range certs {
			if !certs[i].Equal(again[i]) {
				t.Fatalf("certificate %d changed", i)
			}
		}
	})
}

func FuzzTranscode(f *testing.F) {
	seed(f, "req/ber-outer.der", "bad/ber-inner-pkidata.der", "certs-only/*-ber.b64")
	f.Add([]byte{0x24, 0x80, 0x24, 0x80, 4, 1, 'a', 0, 0, 4, 1, 'b', 0, 0})
	f.Fuzz(func(t *testing.T, ber []byte) {
		der, err := toDER(ber)
		if err != nil {
			return
		}
		// Each value takes two octets or more and grows by no more than three.
		if len(der) > 3*len(ber) {
			t.Fatalf("%d octets became %d", len(ber), len(der))
		}
		if !isDERLengths(der, 0) {
			t.Fatalf("%x is not DER", der)
		}
		again, err := toDER(der)
		if err != nil || !bytes.Equal(der, again) {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func FuzzP10(f *testing.F) {
	seed(f, "p10/*.der")
	f.Fuzz(func(t *testing.T, csr []byte) {
		form, err := CheckNullSignature(csr)
		if err != nil || form == Signed {
			return
		}
		p, err := readP10(csr)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []Form{RFC, Microsoft} {
			other, err := RenullSigned(csr, to)
			if err != nil {
				t.Fatal(err)
			}
			got, err := CheckNullSignature(other)
			if err != nil || got != to {
				t.Fatalf("form %v instead of %v: %v", got, to, err)
			}
			q, err := readP10(other)
			if err != nil || !bytes.Equal(p.cri, q.cri) {
				t.Fatalf("the CertificationRequestInfo changed: %v", err)
			}
		}
		if r, err := x509.ParseCertificateRequest(csr); err == nil {
			hasAttribute(r.RawTBSCertificateRequest, oidChangeSubjectName)
		}
	})
}
