package certfile_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/certfile"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		contents, err := certfile.Parse(data)
		if contents == nil {
			t.Fatal("nil contents")
		}
		if err == nil && len(contents.Objects) == 0 {
			t.Fatal("neither objects nor an error")
		}
		// What was read and is written again must read as the same.
		certs := contents.Certificates()
		if len(certs) == 0 {
			return
		}
		again, err := certfile.Parse(certfile.EncodeCertificates(certs...))
		if err != nil {
			t.Fatalf("second reading: %v", err)
		}
		raw := func(certs []*x509.Certificate) (out [][]byte) {
			for _, c := range certs {
				out = append(out, c.Raw)
			}
			return out
		}
		if diff := cmp.Diff(raw(certs), raw(again.Certificates())); diff != "" {
			t.Fatalf("second reading differs (-first +second):\n%s", diff)
		}
	})
}
