package est

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seedDir adds every file of a directory of testdata to the corpus.
func seedDir(f *testing.F, dir string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no files in testdata/%s: %v", dir, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzDecodeBody: what is decoded never outgrows its body, and what was base64 decodes to the same after encoding.
func FuzzDecodeBody(f *testing.F) {
	seedDir(f, "csr")
	seedDir(f, "cms")
	f.Add([]byte("\x00 \r\n\t"))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		der, form, err := decodeBody(body, "CERTIFICATE REQUEST", "PKCS7")
		if err != nil {
			return
		}
		if len(der) > len(body) {
			t.Fatalf("%d bytes out of %d", len(der), len(body))
		}
		if der[0] != 0x30 {
			t.Fatalf("form %s of %x", form, der)
		}
		for _, broken := range []bool{false, true} {
			again, form, err := decodeBody(encodeBody(der, broken))
			if err != nil || form != formBase64 || !bytes.Equal(again, der) {
				t.Fatalf("%x becomes %x in form %q, %v", der, again, form, err)
			}
		}
	})
}

// FuzzCheckCSR: whatever passes is a request that crypto/x509 verifies, and has a key of an accepted kind.
func FuzzCheckCSR(f *testing.F) {
	files, err := filepath.Glob("testdata/csr/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no requests")
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if der, _, err := decodeBody(b, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"); err == nil {
			f.Add(der)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		csr, err := CSRPolicy{}.CheckCSR(der)
		if err != nil {
			if e := new(Error); !asError(err, &e) || e.Status != http.StatusBadRequest || e.Text == "" {
				t.Fatalf("refusal %v", err)
			}
			return
		}
		if csr.Version != 0 || csr.CheckSignature() != nil || !bytes.Equal(csr.Raw, der) {
			t.Fatalf("accepted %x", der)
		}
	})
}

func asError(err error, e **Error) bool {
	var ok bool
	*e, ok = err.(*Error) //nolint:errorlint // CheckCSR promises the type itself
	return ok
}

// FuzzParsePath: a path that is accepted has a good label, and means the same when it is built again.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"/.well-known/est/cacerts", "/.well-known/est/phones/cacerts", "/phones/.well-known/est/cacerts", "//.well-known/est/x",
		"/.well-known/est/%70hones/cacerts", "/.well-known/est/a%2fb/cacerts", "/.well-known/est/../cacerts", "/.well-known/est//",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parsePath(s)
		if err != nil {
			return
		}
		path := wellKnown + "/" + got.operation
		if got.label != "" {
			if err := CheckLabel(got.label); err != nil {
				t.Fatalf("label %q: %v", got.label, err)
			}
			path = wellKnown + "/" + got.label + "/" + got.operation
		}
		again, err := parsePath(path)
		if got.operation == "" {
			return // nothing that could be found
		}
		if err != nil || again != got {
			t.Fatalf("%q: %+v, again %+v, %v", s, got, again, err)
		}
	})
}

// FuzzHeaderFields: media types, Retry-After and clipped text of any bytes stay within their bounds.
func FuzzHeaderFields(f *testing.F) {
	for _, s := range []string{
		"application/pkcs10", "application/pkcs7-mime; smime-type=certs-only", `multipart/mixed ; boundary="x"`, ";", "a/b;c",
		"120", "Fri, 20 Nov 2026 12:00:00 GMT", "-1", "99999999999999999999",
	} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		media, smime := mediaType(s)
		if media != strings.ToLower(media) || smime != strings.ToLower(smime) || strings.Contains(media, ";") {
			t.Fatalf("media type %q, %q", media, smime)
		}
		a := &answer{header: http.Header{"Retry-After": {s}}, now: func() time.Time { return now }}
		if d, ok := a.retryAfter(); d < 0 || d > maxRetryAfter || !ok && d != 0 {
			t.Fatalf("retry after %v", d)
		}
		if got := clip(s, 40); len(got) > 43 || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("clipped to %q", got)
		}
	})
}

// FuzzClientAnswer: no answer makes the client fail otherwise than with an error, and every success holds certificates.
func FuzzClientAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/cms/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no answers")
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(200, "application/pkcs7-mime; smime-type=certs-only", b)
	}
	f.Add(202, "text/plain", []byte("wait"))
	f.Add(403, "application/pkcs7-mime; smime-type=CMC-response", []byte(base64.StdEncoding.EncodeToString([]byte{0x30, 0})))
	f.Fuzz(func(t *testing.T, status int, media string, body []byte) {
		a := &answer{
			op: "fuzz", url: "https://x", status: status, header: http.Header{"Content-Type": {media}, "Retry-After": {"1"}}, body: body,
			now: time.Now,
		}
		certs, err := a.certificates()
		var first *x509.Certificate
		if err == nil {
			first = certs[0] // never empty
		}
		if (first == nil) == (err == nil) {
			t.Fatalf("certificates %v, %v", certs, err)
		}
		got, err := a.cmc()
		if err == nil && got.Kind != ContentNone && len(got.Body) == 0 {
			t.Fatalf("kind %d without a body", got.Kind)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("error without text")
		}
	})
}

// FuzzForwardedCertificates: whatever a proxy sends ends in certificates or an error, and nothing is read of a field that does not count.
func FuzzForwardedCertificates(f *testing.F) {
	pemText, err := os.ReadFile("testdata/reenroll/current.pem")
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(pemText)
	good := ":" + base64.StdEncoding.EncodeToString(block.Bytes) + ":"
	f.Add(good, good+", "+good, "")
	f.Add("", "", url.PathEscape(string(pemText)))
	f.Add(":MAA=:", "", "%2D")
	f.Add("::", ",,", "%")
	f.Fuzz(func(t *testing.T, cert, chain, escaped string) {
		header := http.Header{}
		header.Set(fieldClientCert, cert)
		header.Set(fieldClientChain, chain)
		header.Set(fieldEscapedPEM, escaped)
		certs, err := forwardedCertificates(header, "")
		if err != nil && certs != nil || len(certs) > mostForwarded {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		header.Del(fieldClientCert)
		if certs, err := forwardedCertificates(header, fieldClientCert); len(certs) > 0 || err != nil {
			t.Errorf("a field that does not count: %d certificates, %v", len(certs), err)
		}
	})
}

// FuzzSameNames: the comparison is the same for the same names in any request, and no name makes it panic.
func FuzzSameNames(f *testing.F) {
	files, err := filepath.Glob("testdata/reenroll/*.b64")
	if err != nil || len(files) == 0 {
		f.Fatalf("no requests: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		der, _, err := decodeBody(b)
		if err != nil {
			f.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			f.Fatal(err)
		}
		var san []byte
		for _, e := range csr.Extensions {
			san = e.Value
		}
		f.Add(csr.RawSubject, san)
	}
	f.Fuzz(func(t *testing.T, subject, san []byte) {
		extensions := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}
		csr := &x509.CertificateRequest{RawSubject: subject, Extensions: extensions}
		s, a := SameNames(csr, &x509.Certificate{RawSubject: subject, Extensions: extensions})
		if _, well := alternatives(extensions); !s || a != well {
			t.Errorf("the same names are not: subject %v, alternative %v", s, a)
		}
	})
}
