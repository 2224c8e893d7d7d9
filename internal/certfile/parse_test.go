package certfile_test

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/certfile"
)

func TestParseForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file  string
		kinds []certfile.Kind
		code  string // of the error, "" for none
		fix   string // what the remedy must name
	}{
		{file: "tomcat-full.pem", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.Certificate, certfile.Certificate}},
		{file: "tomcat-good.der", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "tomcat-good-bom.pem", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "tomcat-good-crlf.pem", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "tomcat-good-text-before.pem", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "tomcat-good-blank-after.pem", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "pub-tomcat.csr", kinds: []certfile.Kind{certfile.Request}},
		{file: "pub-tomcat-csr.der", kinds: []certfile.Kind{certfile.Request}},
		{file: "pub-tomcat.key", kinds: []certfile.Kind{certfile.PrivateKey}},
		{file: "certificate-and-key.pem", kinds: []certfile.Kind{certfile.Certificate, certfile.PrivateKey}},
		{file: "private-key-only.pem", kinds: []certfile.Kind{certfile.PrivateKey}},
		{file: "two-leaves.pem", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate}},
		{file: "ca-chain.pem", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.Certificate}},
		{file: "ca-chain.p7b", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.Certificate}},
		{file: "ca-chain-der.p7b", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.Certificate}},
		{file: "tomcat-full.p7b", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.Certificate, certfile.Certificate}},
		{file: "tomcat-full-der.p7b", kinds: []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.Certificate, certfile.Certificate}},
		{file: "tomcat-good-bare-base64.txt", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "trusted.pem", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "bad-signature.der", kinds: []certfile.Kind{certfile.Certificate}}, // not for us to judge
		{file: "root-a.crl.pem", kinds: []certfile.Kind{certfile.RevocationList}},
		{file: "tomcat-ecdsa-good.pem", kinds: []certfile.Kind{certfile.Certificate}},
		{file: "pub-tomcat-ecdsa.key", kinds: []certfile.Kind{certfile.PrivateKey}},
		{file: "bag-attributes.pem", kinds: []certfile.Kind{
			certfile.Certificate, certfile.Certificate, certfile.Certificate, certfile.Certificate, certfile.PrivateKey,
		}},
		{file: "negative-serial.pem", kinds: []certfile.Kind{certfile.Certificate}, code: certfile.CodeDamaged},
		{file: "secp256k1.pem", kinds: []certfile.Kind{certfile.Certificate}, code: certfile.CodeDamaged},
		{
			file: "encrypted-keys-and-certificate.pem", code: certfile.CodeUnsupported, fix: "openssl pkey",
			kinds: []certfile.Kind{certfile.PrivateKey, certfile.PrivateKey, certfile.Certificate},
		},
		{file: "tomcat.p12", code: certfile.CodePasswordNeeded, fix: "--password-file FILE"},
		{file: "broken-base64.pem", code: certfile.CodeDamaged},
		{file: "truncated.pem", code: certfile.CodeDamaged},
		{file: "truncated.der", code: certfile.CodeDamaged},
		{file: "trailing-bytes.der", kinds: []certfile.Kind{certfile.Certificate}, code: certfile.CodeDamaged},
		{file: "random.der", code: certfile.CodeDamaged},
		{file: "text.pem", code: certfile.CodeDamaged},
		{file: "empty.pem", code: certfile.CodeEmpty},
		{file: "no-such-file.pem", code: certfile.CodeMissing},
	} {
		t.Run(tc.file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", tc.file)
			contents, err := certfile.Load(path)
			requireProblem(t, err, tc.code, tc.fix)
			if err != nil && !strings.HasPrefix(err.Error(), path) {
				t.Errorf("error does not begin with the path: %v", err)
			}
			if diff := cmp.Diff(tc.kinds, kinds(contents)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			requireSound(t, contents, err)
			got := len(contents.CertificatesDER()) + len(contents.Requests()) + len(contents.RevocationLists())
			for _, o := range contents.Objects {
				if o.Kind == certfile.PrivateKey {
					got++
				}
			}
			if got != len(tc.kinds) {
				t.Errorf("accessors give %d objects, want %d", got, len(tc.kinds))
			}
		})
	}
}

// TestParseReadsOn checks that a damaged block costs itself only, and is named by its line.
func TestParseReadsOn(t *testing.T) {
	t.Parallel()
	good := read(t, "tomcat-good-crlf.pem")
	broken := read(t, "broken-base64.pem")
	cut := "-----BEGIN CERTIFICATE-----\nMIIB\n"
	text := good + "some words\n" + broken + "\n" + cut + good
	contents, err := certfile.Parse([]byte(text))
	if got := len(contents.Certificates()); got != 2 {
		t.Errorf("%d certificates, want 2", got)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatalf("got %v, want two joined errors", err)
	}
	var lines, want []int
	for _, inner := range joined.Unwrap() {
		if problem, ok := errors.AsType[*certfile.Error](inner); ok {
			lines = append(lines, problem.Line)
		}
	}
	first := strings.Count(good, "\n") + 2
	want = append(want, first, first+strings.Count(broken, "\n")+1)
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines of the problems (-want +got):\n%s", diff)
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	encrypted := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
	for _, tc := range []struct{ name, text, code, fix string }{
		{"encrypted PKCS #1", encrypted, certfile.CodeUnsupported, "openssl pkey"},
		{"encrypted PKCS #8", block("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), certfile.CodeUnsupported, "openssl pkey"},
		{"not a key", block("PRIVATE KEY", []byte{0x30, 0}), certfile.CodeDamaged, ""},
		{"not a trusted certificate", block("TRUSTED CERTIFICATE", []byte{0x30, 0}), certfile.CodeUnsupported, "openssl x509"},
		{"encrypted key in DER", string(encrypted8(t)), certfile.CodeUnsupported, "openssl pkey"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := certfile.Parse([]byte(tc.text))
			requireProblem(t, err, tc.code, tc.fix)
		})
	}
}

// encrypted8 returns an encrypted PKCS #8 key in DER.
func encrypted8(t *testing.T) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, "encrypted-keys-and-certificate.pem"), "-----END EC PRIVATE KEY-----\n")
	b, _ := pem.Decode([]byte(rest))
	if !ok || b == nil {
		t.Fatal("no second block")
	}
	return b.Bytes
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// codes returns the codes of all joined errors.
func codes(err error) []string {
	var all []string
	switch e := err.(type) { //nolint:errorlint // walks the tree itself, node by node
	case *certfile.Error:
		all = append(all, e.Code())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, codes(inner)...)
		}
	}
	return all
}

// requireProblem checks the code of err ("" for no error) and that its remedy names fix.
func requireProblem(t *testing.T, err error, code, fix string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	var problem interface {
		Code() string
		Remedy() string
	}
	if !errors.As(err, &problem) {
		t.Fatalf("got %v, want code %s", err, code)
	}
	if problem.Code() != code {
		t.Errorf("code %s, want %s (%v)", problem.Code(), code, err)
	}
	if problem.Remedy() == "" || !strings.Contains(problem.Remedy(), fix) {
		t.Errorf("remedy %q does not name %q", problem.Remedy(), fix)
	}
}
