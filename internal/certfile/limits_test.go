package certfile_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"callsign/internal/certfile"
)

func TestParseLimits(t *testing.T) {
	t.Parallel()
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "large.pem")
		if err := os.WriteFile(path, bytes.Repeat([]byte("x\n"), certfile.MaxBytes/2+1), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := certfile.Load(path)
		requireProblem(t, err, certfile.CodeTooLarge, "")
		if !strings.Contains(err.Error(), path+": is larger than 16 MiB") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("objects", func(t *testing.T) {
		t.Parallel()
		block := string(pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte{1}}))
		fits, err := certfile.Parse([]byte(strings.Repeat(block, certfile.MaxObjects)))
		if err != nil || len(fits.Objects) != certfile.MaxObjects {
			t.Errorf("%d objects, %v", len(fits.Objects), err)
		}
		full, err := certfile.Parse([]byte(strings.Repeat(block, certfile.MaxObjects+1)))
		requireProblem(t, err, certfile.CodeTooLarge, "")
		if len(full.Objects) != certfile.MaxObjects || !strings.Contains(err.Error(), "10000 objects") {
			t.Errorf("%d objects, %v", len(full.Objects), err)
		}
	})
	t.Run("problems", func(t *testing.T) {
		t.Parallel()
		_, err := certfile.Parse([]byte(strings.Repeat("-----BEGIN X-----\n-----END Y-----\n", certfile.MaxObjects+1)))
		requireProblem(t, err, certfile.CodeTooLarge, "")
	})
	a := newAuthority(t, "CA")
	t.Run("one object", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			label, text string
			limit       int
		}{
			{"CERTIFICATE", "the certificate has 262145 bytes, more than 256 KiB", certfile.MaxObjectBytes},
			{"CERTIFICATE REQUEST", "the certificate request has 262145 bytes, more than 256 KiB", certfile.MaxObjectBytes},
			{"PRIVATE KEY", "the private key has 16385 bytes, more than 16 KiB", certfile.MaxKeyBytes},
			{"EC PRIVATE KEY", "the private key has 16385 bytes, more than 16 KiB", certfile.MaxKeyBytes},
		} {
			contents, err := certfile.Parse([]byte(block(c.label, make([]byte, c.limit+1)) + block("CERTIFICATE", a.Raw)))
			requireProblem(t, err, certfile.CodeTooLarge, "")
			if len(contents.Certificates()) != 1 || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %d certificates, %v", c.label, len(contents.Certificates()), err)
			}
			// What is as large as allowed is looked at.
			_, err = certfile.Parse([]byte(block(c.label, make([]byte, c.limit))))
			requireProblem(t, err, certfile.CodeDamaged, "")
		}
	})
	t.Run("revocation list", func(t *testing.T) {
		t.Parallel()
		list := a.revocationList(t, 30_000)
		if len(list) < 2*certfile.MaxObjectBytes {
			t.Fatalf("the list has %d bytes only", len(list))
		}
		for _, data := range [][]byte{list, []byte(block("X509 CRL", list))} {
			contents, err := certfile.Parse(data)
			if err != nil || len(contents.RevocationLists()) != 1 {
				t.Errorf("%d lists, %v", len(contents.RevocationLists()), err)
			}
		}
	})
}

// TestParseBundle reads 10,000 certificates, and makes sure that the memory for them grows with their number and no
// faster. It runs before the parallel tests, whose memory would be counted as well.
func TestParseBundle(t *testing.T) {
	a := newAuthority(t, "CA")
	used := func(n int) uint64 {
		data := a.bundle(t, n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		contents, err := certfile.Parse(data)
		runtime.ReadMemStats(&after)
		if err != nil || len(contents.Certificates()) != n || len(contents.CertificatesDER()) != n {
			t.Fatalf("%d of %d certificates, %v", len(contents.Certificates()), n, err)
		}
		first, last := contents.Objects[0], contents.Objects[n-1]
		if first.Line != 1 || last.Line != 1+(n-1)*bytes.Count(data, []byte("\n"))/n || bytes.Equal(first.Raw, last.Raw) {
			t.Errorf("lines %d and %d", first.Line, last.Line)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := used(1000), used(certfile.MaxObjects)
	t.Logf("1,000 certificates: %d KiB allocated; 10,000: %d KiB", small>>10, large>>10)
	if large > 15*small {
		t.Errorf("ten times the certificates take %d instead of %d bytes", large, small)
	}
}

func BenchmarkParseBundle(b *testing.B) {
	data := newAuthority(b, "CA").bundle(b, certfile.MaxObjects)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := certfile.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

// counted counts the bytes that are read of endless input.
type counted struct{ n int }

func (c *counted) Read(p []byte) (int, error) {
	c.n += len(p)
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestRead(t *testing.T) {
	t.Parallel()
	good := read(t, "tomcat-good-crlf.pem")
	contents, err := certfile.Read(iotest.OneByteReader(strings.NewReader(good)), "stdin", certfile.Options{})
	if err != nil || len(contents.Certificates()) != 1 {
		t.Errorf("%d certificates, %v", len(contents.Certificates()), err)
	}
	endless := new(counted)
	_, err = certfile.Read(endless, "stdin", certfile.Options{})
	requireProblem(t, err, certfile.CodeTooLarge, "")
	if endless.n != certfile.MaxBytes+1 || !strings.HasPrefix(err.Error(), "stdin: is larger") {
		t.Errorf("%d bytes were read, %v", endless.n, err)
	}
	contents, err = certfile.Read(iotest.ErrReader(io.ErrUnexpectedEOF), "stdin", certfile.Options{})
	requireProblem(t, err, certfile.CodeUnreadable, "")
	if contents == nil || !strings.HasPrefix(err.Error(), "stdin: cannot be read") {
		t.Errorf("got %v", err)
	}
	_, err = certfile.Read(strings.NewReader(""), "stdin", certfile.Options{})
	requireProblem(t, err, certfile.CodeEmpty, "")
}
