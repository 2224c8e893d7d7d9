package est_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"callsign/est"

	"github.com/google/go-cmp/cmp"
)

// fixtureCert reads a certificate of testdata/pki.
func fixtureCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(readFile(t, "pki/"+name+".pem"))
	if block == nil {
		t.Fatalf("%s is no PEM", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTrustUpdate goes through a change of the root, seen from clients that hold one root or the other.
func TestTrustUpdate(t *testing.T) {
	t.Parallel()
	named := map[string]string{} // fingerprint: name
	load := func(names ...string) []*x509.Certificate {
		var certs []*x509.Certificate
		for _, name := range names {
			c := fixtureCert(t, name)
			named[string(c.Raw)] = name
			certs = append(certs, c)
		}
		return certs
	}
	const oldRoot, newRoot, oldNew, newOld, issuing = "root-OldWithOld", "root-NewWithNew", "root-OldWithNew", "root-NewWithOld", "issuing-ca"
	all := []string{issuing, newRoot, oldNew, newOld, oldRoot}
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name           string
		held, received []string
		at             time.Time
		anchors, added []string
		intermediates  []string
		refused        []string
		fails          bool
	}{
		{"old root, everything received", []string{oldRoot}, all, now, []string{oldRoot, newRoot}, []string{newRoot}, []string{issuing, oldNew, newOld}, nil, false},
		{"new root, everything received", []string{newRoot}, all, now, []string{newRoot, oldRoot}, []string{oldRoot}, []string{issuing, oldNew, newOld}, nil, false},
		{"no NewWithOld", []string{oldRoot}, []string{issuing, newRoot, oldNew, oldRoot}, now, []string{oldRoot}, nil, nil, []string{newRoot, issuing, oldNew}, false},
		{"another root alone", []string{oldRoot}, []string{newRoot, issuing}, now, []string{oldRoot}, nil, nil, []string{newRoot, issuing}, true},
		{"NewWithOld without the root", []string{oldRoot}, []string{newOld, issuing}, now, []string{oldRoot}, nil, []string{newOld, issuing}, nil, false},
		{"the same again", []string{newRoot}, []string{newRoot, newRoot, issuing, issuing}, now, []string{newRoot}, nil, []string{issuing}, nil, false},
		{"too late", []string{oldRoot}, all, now.AddDate(1, 0, 0), []string{oldRoot}, nil, nil, []string{newRoot, issuing, oldNew, newOld}, false},
		{"end entity", []string{newRoot}, []string{issuing, "leaf"}, now, []string{newRoot}, nil, []string{issuing}, []string{"leaf"}, false},
		{"nothing", []string{newRoot}, nil, now, []string{newRoot}, nil, nil, nil, true},
		{"nothing held", nil, all, now, nil, nil, nil, []string{newRoot, oldRoot, issuing, oldNew, newOld}, true},
	} {
		got, err := est.TrustUpdate(load(tt.held...), load(tt.received...), tt.at)
		if e, ok := errors.AsType[*est.TrustError](err); ok != tt.fails || ok && (e.Code() != est.CodeTrustUpdate || e.Remedy() == "" || !strings.HasPrefix(e.Error(), "none of the ")) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		names := func(certs []*x509.Certificate) []string {
			var out []string
			for _, c := range certs {
				out = append(out, named[string(c.Raw)])
			}
			return out
		}
		var refused []string
		for _, r := range got.Refused {
			refused = append(refused, named[string(r.Certificate.Raw)])
			if r.Remedy() == "" || r.Unwrap() == nil || !strings.Contains(r.Error(), "is not believed: ") {
				t.Errorf("%s: refused %v", tt.name, r)
			}
		}
		want := [][]string{tt.anchors, tt.added, tt.intermediates, tt.refused}
		if diff := cmp.Diff(want, [][]string{names(got.Anchors), names(got.New), names(got.Intermediates), refused}); diff != "" {
			t.Errorf("%s: anchors, new, intermediates, refused (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestTrustUpdateKeepsBelow: a CA below an anchor does not become a root by signing itself.
func TestTrustUpdateKeepsBelow(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	itself := makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test Issuing CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, ca.key.Public(), ca.key)
	got, err := est.TrustUpdate([]*x509.Certificate{ca.root}, []*x509.Certificate{ca.root, ca.issuing, itself}, time.Now())
	if err != nil || len(got.New) != 0 || len(got.Intermediates) != 1 || len(got.Refused) != 1 || !got.Refused[0].Certificate.Equal(itself) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestConfirmFingerprint compares what people type.
func TestConfirmFingerprint(t *testing.T) {
	t.Parallel()
	root, issuing, leaf := fixtureCert(t, "root-NewWithNew"), fixtureCert(t, "issuing-ca"), fixtureCert(t, "leaf")
	certs := []*x509.Certificate{leaf, issuing, root}
	short, long, ofLeaf := sha256.Sum256(root.Raw), sha512.Sum512(root.Raw), sha256.Sum256(leaf.Raw)
	digits := hex.EncodeToString(short[:])
	var pairs []string
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, strings.ToUpper(digits[i:i+2]))
	}
	colons := strings.Join(pairs, ":")
	for name, text := range map[string]string{
		"plain": digits, "colons": colons, "blanks": strings.Join(pairs, " "), "openssl": "sha256 Fingerprint=" + colons, "named": "sha256:" + digits,
		"named with colons": "SHA-256: " + colons, "long": hex.EncodeToString(long[:]), "line end": digits + "\r\n",
	} {
		if got, err := est.ConfirmFingerprint(certs, text); err != nil || !got.Equal(root) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, tt := range map[string]struct{ text, want string }{
		"another":    {strings.Repeat("ab", 32), "received: "},
		"end entity": {hex.EncodeToString(ofLeaf[:]), "no CA certificate of the server has"},
		"SHA-1":      {strings.Repeat("ab", 20), "64 or 128 hexadecimal digits"},
		"no hex":     {strings.Repeat("xy", 32), "64 or 128 hexadecimal digits"},
		"empty":      {"", "64 or 128 hexadecimal digits"},
	} {
		_, err := est.ConfirmFingerprint(certs, tt.text)
		if e, ok := errors.AsType[*est.TrustError](err); !ok || e.Code() != est.CodeFingerprint || e.Remedy() == "" || !strings.Contains(e.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
