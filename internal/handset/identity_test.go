package handset

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/capf"
	"callsign/internal/certfile"
)

// micPEM makes a certificate with an RSA key and returns both as PEM.
func micPEM(t *testing.T, w *world, name string) (certificate, key []byte) {
	t.Helper()
	signer, err := capf.GenerateKey(capf.KeySpec{Type: capf.KeyRSA, Bits: 2048})
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.sign(name, spki)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = certfile.EncodeKey(signer); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

func write(t *testing.T, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	cert, key := micPEM(t, w, "CP-8841-SEP0000000000D1")
	other, otherKey := micPEM(t, w, "SEP0000000000D2")
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	write(t, path("beside.pem"), cert)
	write(t, path("beside.key"), key)
	write(t, path("misfit-beside.pem"), cert)
	write(t, path("misfit-beside.key"), otherKey)
	exposed := write(t, path("exposed.pem"), join(cert, key))
	if err := os.Chmod(exposed, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		file string
		code string // empty: loaded
		fix  string
	}{
		"together":             {write(t, path("together.pem"), join(cert, key)), "", ""},
		"key first":            {write(t, path("first.pem"), join(key, cert)), "", ""},
		"with its CA":          {write(t, path("ca.pem"), join(other, cert, key)), "", ""},
		"key beside":           {path("beside.pem"), "", ""},
		"no key":               {write(t, path("alone.pem"), cert), certfile.CodeEmpty, "alone.key"},
		"key of another":       {write(t, path("misfit.pem"), join(cert, otherKey)), certfile.CodeMismatch, ""},
		"key of other, beside": {path("misfit-beside.pem"), certfile.CodeMismatch, ""},
		"key only":             {write(t, path("key.pem"), key), certfile.CodeEmpty, ""},
		"no file":              {path("missing.pem"), certfile.CodeMissing, ""},
		"others can read it":   {exposed, "secret.file-exposed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, err := LoadIdentity(tt.file, capf.CertificateMIC)
			if tt.code == "" {
				if err != nil || i.Type != capf.CertificateMIC || i.Key == nil {
					t.Errorf("%v, %v", i, err)
				}
				return
			}
			told, ok := err.(interface{ Remedy() string })
			if codeOf(err) != tt.code || !ok || told.Remedy() == "" || !strings.Contains(told.Remedy(), tt.fix) {
				t.Errorf("got %v (%s), want %s with a remedy like %q", err, codeOf(err), tt.code, tt.fix)
			}
		})
	}
}

// TestPhoneWithCertificate authenticates by the LSC of an earlier enrolment, makes SUDI data with a MIC and shows both.
func TestPhoneWithCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	first, err := (&Phone{Name: "SEP0000000000D1", Server: w.address, Dir: dir}).Enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lsc, err := LoadIdentity(first.CertificatePath, capf.CertificateLSC)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := micPEM(t, w, "CP-8841-SEP0000000000D1")
	mic, err := LoadIdentity(write(t, filepath.Join(dir, "mic.pem"), append(cert, key...)), capf.CertificateMIC)
	if err != nil {
		t.Fatal(err)
	}
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Dir: dir, Identity: lsc, SUDI: mic}
	if r, err := p.Enroll(t.Context()); err != nil || r.Certificate == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	c := w.callers[1]
	if err := c.Credential.VerifySignatures(p.Name, false); err != nil {
		t.Error(err)
	}
	s, present, err := c.Credential.SUDI()
	if err != nil || !present || string(s.Certificate) != string(mic.Certificate) || s.Verify(c.Session) != nil {
		t.Errorf("SUDI data: %v, %v", present, err)
	}
	w.task = capf.Task{Operation: capf.OperationTroubleshoot}
	if r, err := p.Enroll(t.Context()); err != nil || r.Shown != 2 || w.shown != 2 {
		t.Errorf("shown: %+v, %v, %d", r, err, w.shown)
	}
}
