package cluster_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/chain"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

// labSubject are the subject settings of the requests in testdata.
func labSubject(alternates ...string) cluster.Subject {
	return cluster.Subject{
		Units: []string{"Collaboration"}, Organization: "Example Voice Lab", Locality: "Lab City", State: "Lab State", Country: "US",
		AlternateHostNames: alternates,
	}
}

// key returns a key by its text.
func key(t testing.TB, text string) cluster.KeySpec {
	t.Helper()
	k, err := cluster.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestGolden compares what is made with the requests of a call manager.
func TestGolden(t *testing.T) {
	t.Parallel()
	none := ""
	cases := map[string]struct {
		fields  cluster.Fields
		subject cluster.Subject
		profile purpose.Profile
	}{
		"pub-tomcat":     {fields: cluster.Fields{Purpose: "tomcat"}},
		"pub-tomcat-new": {fields: cluster.Fields{Purpose: "tomcat", Node: "CUCMPUB.lab.example.com"}},
		"sub-tomcat":     {fields: cluster.Fields{Purpose: "tomcat", Node: "cucmsub"}},
		"pub-tomcat-nosan": {
			fields: cluster.Fields{Purpose: "tomcat", ParentDomain: &none},
		},
		"pub-tomcat-ip": {
			fields: cluster.Fields{Purpose: "tomcat"}, subject: labSubject("192.0.2.10", "phones.example.net", "2001:DB8:0:0::10"),
		},
		"pub-tomcat-ou":    {fields: cluster.Fields{Purpose: "tomcat", IncludeOU: true}},
		"pub-tomcat-1024":  {fields: cluster.Fields{Purpose: "tomcat", Key: key(t, "rsa:1024")}},
		"pub-tomcat-3072":  {fields: cluster.Fields{Purpose: "tomcat", Key: key(t, "rsa:3072"), Hash: cluster.SHA384}},
		"pub-tomcat-4096":  {fields: cluster.Fields{Purpose: "tomcat", Key: key(t, "rsa:4096"), Hash: cluster.SHA512}},
		"pub-tomcat-ecdsa": {fields: cluster.Fields{Purpose: "tomcat-ECDSA"}},
		"pub-tomcat-p521":  {fields: cluster.Fields{Purpose: "tomcat-ECDSA", Key: key(t, "ec:521")}},
		"pub-callmanager":  {fields: cluster.Fields{Purpose: "CallManager"}},
		"pub-capf":         {fields: cluster.Fields{Purpose: "CAPF", CommonName: "CAPF-1a2b3c4d"}},
		"pub-ipsec":        {fields: cluster.Fields{Purpose: "ipsec"}},
		"pub-tvs":          {fields: cluster.Fields{Purpose: "TVS"}},
		"ms-tomcat":        {fields: cluster.Fields{Purpose: "tomcat", Multi: true, IncludeOU: true}, profile: purpose.Profile125},
		"ms-callmanager-ecdsa": {
			fields: cluster.Fields{Purpose: "CallManager-ECDSA", Multi: true, Key: key(t, "ec:256")},
		},
	}
	files, err := filepath.Glob(filepath.Join("testdata", "requests", "*.csr"))
	if err != nil || len(files) != len(cases) {
		t.Fatalf("%d requests for %d cases, %v", len(files), len(cases), err)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("testdata", "requests", name+".csr"))
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(text)
			if block == nil || block.Type != "CERTIFICATE REQUEST" {
				t.Fatal("no PEM")
			}
			subject := c.subject
			if subject.Organization == "" {
				subject = labSubject()
			}
			template, err := lab(t).Prepare(c.fields, subject, c.profile)
			if err != nil {
				t.Fatal(err)
			}
			der, _, err := template.Request(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			want, got := parsedRequest(t, block.Bytes), parsedRequest(t, der)
			if chain.NameKey(want.RawSubject) != chain.NameKey(got.RawSubject) {
				t.Errorf("the subject is %s, want %s", got.Subject, want.Subject)
			}
			if got.Subject.String() != want.Subject.String() { // with regard to case
				t.Errorf("the subject is %s, want %s", got.Subject, want.Subject)
			}
			if d := cmp.Diff(extensions(want), extensions(got)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(names(want), template.Names()); d != "" {
				t.Error(d)
			}
			if got.SignatureAlgorithm != want.SignatureAlgorithm {
				t.Errorf("signed with %s, want %s", got.SignatureAlgorithm, want.SignatureAlgorithm)
			}
			if w, g := chain.KeyText(want.PublicKey, want.PublicKeyAlgorithm), chain.KeyText(got.PublicKey, got.PublicKeyAlgorithm); w != g {
				t.Errorf("the key is %s, want %s", g, w)
			}
			if bytes.Equal(got.RawSubjectPublicKeyInfo, want.RawSubjectPublicKeyInfo) {
				t.Error("the key is not new")
			}
		})
	}
}

func parsedRequest(t testing.TB, der []byte) *x509.CertificateRequest {
	t.Helper()
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	return r
}

// extensions returns extensions as text in an order that does not depend on theirs.
func extensions(r *x509.CertificateRequest) []string {
	var all []string
	for _, e := range r.Extensions {
		all = append(all, extensionText(e))
	}
	slices.Sort(all)
	return all
}

func extensionText(e pkix.Extension) string {
	return fmt.Sprintf("%s %t %x", e.Id, e.Critical, e.Value)
}

// names returns the names of a request, addresses last.
func names(r *x509.CertificateRequest) []string {
	all := slices.Clone(r.DNSNames)
	for _, ip := range r.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}
