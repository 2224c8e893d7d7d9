package upload_test

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/chain"
	"callsign/internal/certfile"
	"callsign/internal/cluster/upload"
)

const corpus = "testdata/certmgmt"

type fixture struct {
	ID         string    `json:"id"`
	Purpose    string    `json:"purpose"`
	File       string    `json:"file"`
	CSR        string    `json:"csr"`
	Trust      []string  `json:"trust"`
	At         time.Time `json:"at"`
	Verdict    string    `json:"verdict"`
	Code       string    `json:"code"`
	Message    string    `json:"message"`
	Warnings   []string  `json:"warnings"`
	TrustAfter *[]string `json:"trust_after"`
}

func fixtures(t testing.TB) []fixture {
	t.Helper()
	var all struct {
		Cases []fixture `json:"cases"`
	}
	if err := json.Unmarshal(read(t, "expected.json"), &all); err != nil {
		t.Fatal(err)
	}
	return all.Cases
}

// read returns a file of the corpus, unpacked.
func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func certificate(t testing.TB, name string) *chain.Certificate {
	t.Helper()
	certs, err := certfile.LoadCertificates(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	return chain.Of(certs[0])
}

func request(t testing.TB, name string) *x509.CertificateRequest {
	t.Helper()
	if name == "" {
		return nil
	}
	block, _ := pem.Decode(read(t, name))
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// judge returns the judge of a case.
func (f *fixture) judge(t testing.TB) *upload.Judge {
	t.Helper()
	j := &upload.Judge{Purpose: f.Purpose, Request: request(t, f.CSR), At: f.At}
	for _, name := range f.Trust {
		if file, store, other := strings.Cut(name, "@"); !other || store == f.Purpose {
			j.Trust = append(j.Trust, certificate(t, file))
		}
	}
	return j
}

// placeholder is what the expected messages leave open.
var placeholder = regexp.MustCompile(`\\\{[a-z]+\\\}`)

func messageFits(t testing.TB, want, got string) bool {
	t.Helper()
	return regexp.MustCompile(`^` + placeholder.ReplaceAllString(regexp.QuoteMeta(want), `[^{}]+`) + `$`).MatchString(got)
}

func warnings(r *upload.Result) []string {
	var all []string
	for i := range r.Warnings {
		all = append(all, r.Warnings[i].String())
	}
	return all
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	cases := fixtures(t)
	if len(cases) != 109 {
		t.Fatalf("%d cases, want 109", len(cases))
	}
	for i := range cases {
		f := &cases[i]
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			j := f.judge(t)
			r := j.Judge(upload.Read(read(t, f.File)))
			if string(r.Verdict) != f.Verdict || string(r.Code) != f.Code || !messageFits(t, f.Message, r.Message) {
				t.Errorf("%s for %s: %s %s %q, want %s %s %q\n%+v", f.File, f.Purpose, r.Verdict, r.Code, r.Message, f.Verdict, f.Code, f.Message, r.Reasons)
			}
			if diff := cmp.Diff(f.Warnings, warnings(r)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if (r.Verdict == upload.Rejected) != (len(r.Reasons) > 0) {
				t.Errorf("%s with %d reasons", r.Verdict, len(r.Reasons))
			}
			for _, reason := range r.Reasons {
				if reason.Message == "" || len(reason.Fixes) == 0 {
					t.Errorf("%s has no message or no remedy", reason.Code)
				}
			}
			if f.TrustAfter != nil {
				var want []string
				for _, name := range *f.TrustAfter {
					if !strings.Contains(name, "/") { // a name of the README
						t.Fatal(name)
					}
					want = append(want, certificate(t, name).SHA256())
				}
				got := after(j, r)
				slices.Sort(want)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("trust store afterwards (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// after is the trust store after an upload, as fingerprints.
func after(j *upload.Judge, r *upload.Result) []string {
	var all []string
	for _, c := range slices.Concat(j.Trust, r.Add) {
		if !slices.Contains(r.Remove, c) {
			all = append(all, c.SHA256())
		}
	}
	return all
}
