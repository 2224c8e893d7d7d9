package certfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/certfile"
)

// requireSound checks what holds for every input: an object or an error, and what was read and is written again reads as
// the same.
func requireSound(t *testing.T, contents *certfile.Contents, err error) {
	t.Helper()
	if contents == nil {
		t.Fatal("nil contents")
	}
	if err == nil && len(contents.Objects) == 0 {
		t.Fatal("neither objects nor an error")
	}
	if len(contents.Objects) > certfile.MaxObjects {
		t.Fatalf("%d objects", len(contents.Objects))
	}
	for _, o := range contents.Objects {
		if o.Describe() == "" {
			t.Fatalf("%v without a description", o.Kind)
		}
		set := o.Certificate != nil || o.Request != nil || o.RevocationList != nil || o.Key != nil
		if set && o.Err != nil || o.Err != nil && err == nil {
			t.Fatalf("%s: set %v, own error %v, error %v", o.Describe(), set, o.Err, err)
		}
		if hasRaw := o.Kind != certfile.PrivateKey && o.Kind != certfile.Other; hasRaw != (o.Raw != nil) {
			t.Fatalf("%s has %d raw bytes", o.Describe(), len(o.Raw))
		}
	}
	want := summaries(contents.Objects)
	if len(want) == 0 {
		return
	}
	again, err := certfile.Parse(rewritten(t, contents.Objects))
	for _, s := range want {
		if !s.Parses && err == nil {
			t.Fatal("what did not parse does now")
		}
	}
	if diff := cmp.Diff(want, summaries(again.Objects)); diff != "" {
		t.Fatalf("second reading differs (-first +second): %v\n%s", err, diff)
	}
}

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
	f.Add(der(f, "root-a.crl.pem"))
	f.Add(asBER(f, der(f, "ca-chain.p7b"), 5))
	a := newAuthority(f, "seed")
	f.Add(append(a.odd(f), a.Raw...))
	f.Add([]byte("-----BEGIN X-----AAAA-----END X----------BEGIN Y-----\rAAAA\r-----END Y-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		contents, err := certfile.Parse(data)
		requireSound(t, contents, err)
		only, onlyErr := certfile.ParseWith(data, certfile.Options{CertificatesOnly: true})
		if diff := cmp.Diff(contents.CertificatesDER(), only.CertificatesDER()); diff != "" {
			t.Fatalf("without keys there are other certificates (%v, %v):\n%s", err, onlyErr, diff)
		}
		if err == nil && onlyErr != nil {
			t.Fatalf("without keys it fails: %v", onlyErr)
		}
	})
}

func FuzzParsePKCS12(f *testing.F) {
	for _, c := range archives(f) {
		f.Add(c.data, c.password)
	}
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		contents, err := certfile.ParseWith(data, with(password))
		requireSound(t, contents, err)
	})
}
