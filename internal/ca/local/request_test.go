package local_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
)

// present makes the files of a local CA that signs itself.
func present(t *testing.T, chain bool, kind local.KeyKind) (local.Files, *local.Issuer) {
	t.Helper()
	dir := t.TempDir()
	f := local.Files{Certificate: filepath.Join(dir, "ca.pem"), Key: filepath.Join(dir, "ca.key")}
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Old Root"}})
	if err != nil {
		t.Fatal(err)
	}
	i, err := root.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Old CA", Organization: []string{"Example"}}, Key: kind})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(certfile.WriteCertificates(f.Certificate, i.Full()...), certfile.WriteKey(f.Key, i.Signer))
	if chain {
		f.Chain = filepath.Join(dir, "ca-root.pem")
		err = errors.Join(err, certfile.WriteCertificates(f.Certificate, i.Certificate), certfile.WriteCertificates(f.Chain, i.Chain...))
	}
	if err != nil {
		t.Fatal(err)
	}
	return f, i
}

// code is the code of an error with a remedy.
func code(err error) string {
	var coded interface {
		Code() string
		Remedy() string
	}
	if !errors.As(err, &coded) || coded.Remedy() == "" {
		return ""
	}
	return coded.Code()
}

func TestCARequest(t *testing.T) {
	t.Parallel()
	name, err := local.ParseSubject(`CN=Phones CA\, west,OU=Voice,O=Example,C=DE`)
	if err != nil {
		t.Fatal(err)
	}
	for title, tc := range map[string]struct {
		present local.KeyKind // of the CA that is there; empty: none
		options local.RequestOptions
		subject string
		kind    local.KeyKind
		same    bool
		code    string
	}{
		"as the present one":      {present: local.P256, subject: "CN=Old CA,O=Example", kind: local.P256},
		"as the present RSA one":  {present: local.RSA2048, subject: "CN=Old CA,O=Example", kind: local.RSA2048},
		"another subject and key": {present: local.P256, options: local.RequestOptions{Subject: name, Key: local.P384}, subject: `CN=Phones CA\, west,OU=Voice,O=Example,C=DE`, kind: local.P384},
		"the present key again":   {present: local.P384, options: local.RequestOptions{SameKey: true}, subject: "CN=Old CA,O=Example", kind: local.P384, same: true},
		"the first one":           {options: local.RequestOptions{Subject: name}, subject: `CN=Phones CA\, west,OU=Voice,O=Example,C=DE`, kind: local.RSA2048},
		"the first one, no name":  {code: local.CodeCARequest},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			var f local.Files
			if tc.present != "" {
				f, _ = present(t, false, tc.present)
			} else {
				dir := t.TempDir()
				f = local.Files{Certificate: filepath.Join(dir, "ca.pem"), Key: filepath.Join(dir, "ca.key")}
			}
			r, err := f.Request(tc.options)
			if code(err) != tc.code {
				t.Fatalf("error %v, want code %q", err, tc.code)
			}
			if tc.code != "" {
				return
			}
			checkRequest(t, r.DER, tc.subject)
			want := &local.Request{DER: r.DER, Subject: tc.subject, KeyFile: f.NextKey(), Kind: tc.kind, Made: !tc.same}
			if tc.same {
				want.KeyFile = f.Key
			}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			info, err := os.Stat(r.KeyFile)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the key's file: %v, %v; want mode 0600", info, err)
			}
			key, err := certfile.LoadKey(r.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			if csr, err := x509.ParseCertificateRequest(r.DER); err != nil || !certfile.Fits(csr.PublicKey, key) {
				t.Errorf("the request is for another key than that of %s", r.KeyFile)
			}
		})
	}
}

// checkRequest looks at the signature, the subject and the extensions.
func checkRequest(t *testing.T, der []byte, subject string) {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil {
		t.Errorf("signature: %v", err)
	}
	if got := csr.Subject.String(); got != subject {
		t.Errorf("subject %s, want %s", got, subject)
	}
	var got []string
	for _, e := range csr.Extensions {
		got = append(got, e.Id.String())
		switch e.Id.String() {
		case "2.5.29.19":
			var bc struct {
				CA      bool
				PathLen int
			}
			if rest, err := asn1.Unmarshal(e.Value, &bc); err != nil || len(rest) > 0 || !bc.CA || bc.PathLen != 0 || !e.Critical {
				t.Errorf("basic constraints: %+v, %v", bc, err)
			}
		case "2.5.29.15":
			var ku asn1.BitString
			if rest, err := asn1.Unmarshal(e.Value, &ku); err != nil || len(rest) > 0 || ku.At(0)+ku.At(5)+ku.At(6) != 3 || ku.BitLength != 7 || !e.Critical {
				t.Errorf("key usage: %+v, %v", ku, err)
			}
		}
	}
	if diff := cmp.Diff([]string{"2.5.29.19", "2.5.29.15", "2.5.29.14"}, got); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
}

// TestCARequestAgain: a key that waits for its certificate is not lost by asking again.
func TestCARequestAgain(t *testing.T) {
	t.Parallel()
	f, _ := present(t, false, local.P256)
	first, err := f.Request(local.RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key := func() string {
		t.Helper()
		b, err := os.ReadFile(f.NextKey())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	waiting := key()
	again, err := f.Request(local.RequestOptions{})
	if err != nil || again.Made || key() != waiting || first.KeyFile != again.KeyFile {
		t.Errorf("asked again: made a key %v, %v", again.Made, err)
	}
	if _, err := f.Request(local.RequestOptions{Key: local.RSA2048}); code(err) != local.CodeCARequest || key() != waiting {
		t.Errorf("another kind of key while one waits: %v", err)
	}
	replaced, err := f.Request(local.RequestOptions{Key: local.P384, Replace: true})
	if err != nil || !replaced.Made || replaced.Kind != local.P384 || key() == waiting {
		t.Errorf("replaced: %+v, %v", replaced, err)
	}
}

func TestParseSubject(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"CN=a":                             "CN=a",
		" cn = a , O = B C ":               "CN=a,O=B C",
		`CN=a\,b,O=\\x`:                    `CN=a\,b,O=\\x`,
		"CN=Ä,O=Ö":                         "CN=Ä,O=Ö",
		"CN=x,OU=1,OU=2,L=3,ST=4,C=DE":     "CN=x,OU=1,OU=2,L=3,ST=4,C=DE",
		"CN=x,DC=corp,DC=example,DC=com":   "CN=x,DC=corp,DC=example,DC=com",
		"O=first,CN=a name that is no URL": "O=first,CN=a name that is no URL",
	} {
		der, err := local.ParseSubject(in)
		if err != nil {
			t.Errorf("ParseSubject(%q): %v", in, err)
			continue
		}
		var rdns pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &rdns); err != nil {
			t.Errorf("ParseSubject(%q) gives no name: %v", in, err)
		}
		if in[:2] != "CN" || len(rdns) < 4 { // crypto/x509 writes domain components as numbers
			if got := rdns.String(); got != want {
				t.Errorf("ParseSubject(%q) = %s, want %s", in, got, want)
			}
		}
	}
	for _, in := range []string{"", "a", "X=1", "CN=", "CN=a,", "C=Germany", `CN=a\`, "CN=a,,O=b", "/CN=a"} {
		if der, err := local.ParseSubject(in); err == nil {
			t.Errorf("ParseSubject(%q) = %x, want an error", in, der)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	for _, s := range []string{"CN=a", `CN=a\,b,O=x`, "DC=com", "CN=Ä", "=", `\`, ",,,", "CN=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		der, err := local.ParseSubject(s)
		if err != nil {
			return
		}
		var rdns pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 || len(rdns) == 0 {
			t.Errorf("ParseSubject(%q) = %x, which is no name: %v", s, der, err)
		}
	})
}
