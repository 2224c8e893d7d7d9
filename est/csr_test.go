package est_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/est"

	"github.com/google/go-cmp/cmp"
)

// fixture is a row of testdata/expected.json.
type fixture struct {
	File, Kind, Verdict, Note string
	HTTP                      int
	SHA256                    []string
	NewSubject                *string  `json:"new_subject"`
	NewSAN                    []string `json:"new_san"`
	SAN                       []string
}

func fixtures(t testing.TB, kind string) []fixture {
	t.Helper()
	b, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var all, out []fixture
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Kind == kind {
			out = append(out, f)
		}
	}
	if len(out) < 2 {
		t.Fatalf("only %d fixtures of kind %s", len(out), kind)
	}
	return out
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// httpClient trusts ca and keeps no connections.
func httpClient(t testing.TB, ca *testCA) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: clientTLS(ca), DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// reply is an answer read to its end.
type reply struct {
	StatusCode int
	Header     http.Header
}

// send makes one request and returns the whole answer.
func send(t testing.TB, c *http.Client, method, url string, body []byte, header map[string]string) (reply, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	r.SetBasicAuth("estuser", "estpwd")
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header}, got
}

const pkcs10 = "application/pkcs10"

// TestRequestFixtures posts every request of testdata/csr and compares the status with the verdict.
func TestRequestFixtures(t *testing.T) {
	t.Parallel()
	lines := new(logLines)
	a := newAuthority(t)
	a.profile.ChangeSubject = true
	url := serve(t, &est.Handler{Backend: a, Log: lines.logger()}, a.ca.server) + "/.well-known/est/simpleenroll"
	client := httpClient(t, a.ca)
	for _, f := range fixtures(t, "csr") {
		t.Run(f.File, func(t *testing.T) {
			response, body := send(t, client, http.MethodPost, url, readFile(t, f.File), map[string]string{"Content-Type": pkcs10})
			if response.StatusCode != f.HTTP {
				t.Fatalf("status %d, want %d (%s)\n%s", response.StatusCode, f.HTTP, f.Note, body)
			}
			if f.HTTP != http.StatusOK {
				if strings.Count(string(body), "\n") != 1 || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
					t.Errorf("refusal %q of type %q is not one line of text", body, response.Header.Get("Content-Type"))
				}
				return
			}
			warned := strings.Contains(lines.String(), `"request_id":"`+response.Header.Get("X-Request-Id")+`","op":"simpleenroll","label":"","form"`)
			if want := f.Verdict == "tolerate"; warned != want {
				t.Errorf("warning about the form: %v, want %v", warned, want)
			}
			asked := a.requests()
			r := asked[len(asked)-1]
			var san []string
			for _, name := range r.CSR.DNSNames {
				san = append(san, "DNS:"+name)
			}
			for _, ip := range r.CSR.IPAddresses {
				san = append(san, "IP:"+ip.String())
			}
			if diff := cmp.Diff(f.SAN, san); diff != "" {
				t.Errorf("subjectAltName (-want +got):\n%s", diff)
			}
			cert := a.issued[len(a.issued)-1]
			if f.NewSubject != nil && *f.NewSubject != "" && cert.Subject.CommonName != "SEP0011AABBCC77" {
				t.Errorf("subject %v, want %s", cert.Subject, *f.NewSubject)
			}
			if f.NewSAN != nil && !cmp.Equal(cert.DNSNames, []string{"new.example.com"}) {
				t.Errorf("subjectAltName %v, want %v", cert.DNSNames, f.NewSAN)
			}
		})
	}
}

// TestCheckCSRCodes holds the code of each reason for a refusal.
func TestCheckCSRCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, code string
		policy     est.CSRPolicy
	}{
		{file: "bad-signature.b64", code: est.CodeCSRBadSignature},
		{file: "bad-signature-otherkey.b64", code: est.CodeCSRBadSignature},
		{file: "bad-tampered.b64", code: est.CodeCSRBadSignature},
		{file: "mismatched-alg.b64", code: est.CodeCSRBadSignature},
		{file: "weak-rsa1024.b64", code: est.CodeCSRKeyTooShort},
		{file: "weak-rsa1024.b64", policy: est.CSRPolicy{MinRSABits: 1024}},
		{file: "good-rsa2048-san.b64", code: est.CodeCSRKeyTooShort, policy: est.CSRPolicy{MinRSABits: 3072}},
		{file: "weak-p224.b64", code: est.CodeCSRKeyType},
		{file: "sha1-rsa2048.b64", code: est.CodeCSRWeakDigest},
		{file: "sha1-rsa2048.b64", policy: est.CSRPolicy{AllowSHA1: true}},
		{file: "nosignature-octetstring.b64", code: est.CodeCSRUnsigned},
		{file: "nosignature-rawhash.b64", code: est.CodeCSRUnsigned},
		{file: "challenge-two-values.b64", code: est.CodeCSRAttributes},
		{file: "challenge-twice.b64", code: est.CodeCSRAttributes},
		{file: "link-both-differ.b64", code: est.CodeCSRAttributes},
		{file: "csn-empty.b64", code: est.CodeCSRAttributes},
		{file: "two-extreq.b64", code: est.CodeCSRAttributes},
		{file: "empty-subject.b64", code: est.CodeCSRNoSubject},
		{file: "empty-subject.b64", policy: est.CSRPolicy{AllowEmptySubject: true}},
		{file: "version1.b64", code: est.CodeCSRVersion},
		{file: "no-attributes-field.b64", code: est.CodeCSRNoAttributes},
		{file: "trailing.b64", code: est.CodeCSRMalformed},
		{file: "is-certificate.b64", code: est.CodeCSRMalformed},
		{file: "good-p256.b64"},
		{file: "good-msext.b64"},
		{file: "good-p256.b64", code: "x.no", policy: est.CSRPolicy{Check: refuseAll}},
	} {
		t.Run(tt.file+" "+tt.code, func(t *testing.T) {
			t.Parallel()
			der, err := est.DecodeBody(readFile(t, "csr/"+tt.file))
			if err != nil {
				t.Fatal(err)
			}
			csr, err := tt.policy.CheckCSR(der)
			if tt.code == "" {
				if err != nil || csr == nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var e *est.Error
			if !errors.As(err, &e) || e.Code() != tt.code {
				t.Fatalf("error %v, want code %s", err, tt.code)
			}
			if tt.code != "x.no" && (e.Remedy() == "" || e.Status != http.StatusBadRequest) {
				t.Errorf("status %d, remedy %q", e.Status, e.Remedy())
			}
		})
	}
}
