package est_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"callsign/cmc"
)

// TestFixturesHaveVerdicts: every request and every certs-only answer of testdata has a verdict in expected.json, so that a
// test of its kind meets it. Attributes and answers with keys have theirs in the tests that read them.
func TestFixturesHaveVerdicts(t *testing.T) {
	t.Parallel()
	judged := map[string]bool{}
	for _, kind := range []string{"csr", "certs-only", "keygen", "reenroll"} {
		for _, f := range fixtures(t, kind) {
			judged[f.File] = true
		}
	}
	found := 0
	for _, dir := range []string{"cms", "csr", "reenroll", "rfc"} {
		err := fs.WalkDir(os.DirFS("testdata"), dir, func(name string, d fs.DirEntry, err error) error {
			base := path.Base(name)
			switch {
			case err != nil:
				return err
			case d.IsDir(), path.Ext(name) == ".key", base == "current.pem":
			case strings.Contains(base, "csrattrs"), base == "rfc7030-a4-serverkeygen-key.b64", base == "rfc7030-a4-serverkeygen-response.txt":
			default:
				found++
				if !judged[name] {
					t.Errorf("%s has no verdict", name)
				}
				delete(judged, name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(judged) > 0 || found < 80 {
		t.Errorf("%d files found; verdicts without a file: %v", found, judged)
	}
}

// TestKeyOfTheRFC: the parts of Appendix A.4 belong together, and are those of its answer.
func TestKeyOfTheRFC(t *testing.T) {
	t.Parallel()
	text := map[string][]byte{}
	der := map[string][]byte{}
	for _, part := range []string{"key", "cert"} {
		text[part] = bytes.TrimSpace(readFile(t, "rfc/rfc7030-a4-serverkeygen-"+part+".b64"))
		var err error
		if der[part], err = base64.StdEncoding.DecodeString(string(text[part])); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(readFile(t, "rfc/rfc7030-a4-serverkeygen-response.txt"), text[part]) {
			t.Errorf("the %s is not in the answer", part)
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(der["key"])
	if err != nil {
		t.Fatal(err)
	}
	certs, err := cmc.ParseCertsOnly(der["cert"])
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	if private, ok := key.(*rsa.PrivateKey); !ok || !private.PublicKey.Equal(certs[0].PublicKey) {
		t.Error("the key is not the certificate's")
	}
}
