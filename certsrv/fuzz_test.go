package certsrv

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"callsign/certsrv/winauth"
)

func seed(f *testing.F) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*.html"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzClassify: whatever the page, a request id is a short number, words are one printable line, and a page that is
// recognised has an outcome.
func FuzzClassify(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		a, ok := classify(body)
		if ok != (a.Outcome != 0) {
			t.Errorf("ok = %v with outcome %v", ok, a.Outcome)
		}
		if len(a.RequestID) > 18 || strings.Trim(a.RequestID, "0123456789") != "" {
			t.Errorf("request id %q", a.RequestID)
		}
		if a.HResult != 0 && a.HResult&0x80000000 == 0 {
			t.Errorf("status %s is no failure", a.HResult)
		}
		for _, s := range []string{a.Message, a.StatusText} {
			if strings.ContainsAny(s, "\r\n\x00") || !utf8.ValidString(s) || utf8.RuneCountInString(s) > 603 {
				t.Errorf("words %q", s)
			}
		}
		if p := a.Problem(); p != nil && (p.Code() == "" || p.Remedy() == "") {
			t.Errorf("problem without code or remedy: %+v", p)
		}
	})
}

// FuzzTemplates: every template has a name that can be sent, and is found by it.
func FuzzTemplates(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		list, ok := parseTemplates(body)
		if !ok && len(list.Templates) > 0 {
			t.Errorf("templates of a page that is none: %v", list)
		}
		for _, tp := range list.Templates {
			if tp.Name == "" || strings.ContainsAny(tp.Name, "\r\n;") {
				t.Errorf("template name %q", tp.Name)
			}
			if _, found := list.Find(tp.Name); !found {
				t.Errorf("template %q is not found", tp.Name)
			}
		}
	})
}

// FuzzRenewals: the number is small and not negative.
func FuzzRenewals(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if n, ok := parseRenewals(body); n < 0 || n > 999999 || (!ok && n != 0) {
			t.Errorf("parseRenewals = %d, %v", n, ok)
		}
	})
}

// FuzzFetched: a body of certnew.cer ends in a certificate, in an outcome without one, or in a problem.
func FuzzFetched(f *testing.F) {
	seed(f)
	ca := newTestCA(f, "Root")
	f.Add(ca.cert.Raw)
	f.Add(pemOf(ca.cert.Raw))
	f.Add(pemOf(ca.p7b(f, ca.cert)))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, p := readFetched("https://h/", body)
		switch {
		case p != nil:
			if p.Code() == "" || p.Remedy() == "" {
				t.Errorf("problem without code or remedy: %+v", p)
			}
		case a.Outcome == 0:
			t.Error("neither outcome nor problem")
		case a.Certificate != nil && a.Outcome != Issued:
			t.Errorf("certificate with outcome %v", a.Outcome)
		}
	})
}

// FuzzCRL: a body of certcrl.crl ends in a CRL of the kind that was asked for, or in a problem.
func FuzzCRL(f *testing.F) {
	seed(f)
	ca := newTestCA(f, "Root")
	for _, der := range [][]byte{ca.crl(f, 1, 2, false), ca.crl(f, 2, 1, true)} {
		f.Add(der)
		f.Add(crlPEM(der))
		f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	}
	f.Add(ca.cert.Raw)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, delta := range []bool{false, true} {
			list, p := readCRL("https://h/", &winauth.Response{Status: 200, Body: body}, 0, delta)
			switch {
			case p != nil:
				if p.Code() == "" || p.Remedy() == "" || p.Detail == "" {
					t.Errorf("problem without code, remedy or words: %+v", p)
				}
			case list == nil || isDelta(list) != delta:
				t.Errorf("delta %v: %v", delta, list)
			}
		}
	})
}
