package certsrv_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
)

// vectorCA is the CA that the enrollment agent of the request vectors belongs to.
type vectorCA struct {
	cert *x509.Certificate
	key  any
}

func (ca *vectorCA) Certificates() [][]*x509.Certificate {
	return [][]*x509.Certificate{{ca.cert}}
}

func (ca *vectorCA) Issue(_ context.Context, r certsrvtest.Issuance) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(r.PublicKey)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: r.RawSubject, ExtraExtensions: r.Extensions,
		NotBefore: certsrv.Epoch(), NotAfter: certsrv.Epoch().AddDate(1, 0, 0),
	}, ca.cert, pub, ca.key)
}

func vector(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("certsrvtest", "testdata", "adcs", name))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(b); block != nil {
		return block.Bytes
	}
	return b
}

// TestRequestVectors sends every request of the vectors, CMC and PKCS #7 and what is wrong with them, as this client does: the
// status that comes back is the documented one, and it is one that the client explains.
func TestRequestVectors(t *testing.T) {
	t.Parallel()
	cert, err := x509.ParseCertificate(vector(t, "anchor-enterprise.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(vector(t, "anchor-enterprise.key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	table := strings.Split(strings.TrimSpace(string(vector(t, "expected.tsv"))), "\n")[1:]
	if len(table) < 13 {
		t.Fatalf("only %d vectors", len(table))
	}
	for _, line := range table {
		row := strings.Split(line, "\t")
		file, want := filepath.Base(row[0]), row[1]
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			_, c, _, _ := startSim(t, nil, func(cfg *certsrvtest.Config) {
				cfg.CA = &vectorCA{cert, key}
				cfg.Templates = []certsrvtest.Template{{Name: "CallsignPhone", RASignatures: 1}}
			})
			a, err := c.Enroll(t.Context(), certsrv.EnrollOptions{Submission: certsrv.Submission{Request: vector(t, file), Template: "CallsignPhone"}})
			if err != nil {
				t.Fatal(err)
			}
			if want == "issued" {
				if a.Outcome != certsrv.Issued || a.Certificate.CheckSignatureFrom(cert) != nil {
					t.Errorf("%+v", a)
				}
				return
			}
			if got := fmt.Sprintf("0x%08X", uint32(a.HResult)); got != want {
				t.Errorf("%s, want %s (%s): %+v", got, want, row[2], a)
			}
			if s, known := certsrv.LookupHResult(a.HResult); !known || a.Problem().Remedy() != s.Remedy {
				t.Errorf("%s is not explained: %+v", a.HResult, a.Problem())
			}
		})
	}
}
