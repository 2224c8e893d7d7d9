package est_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/est"

	"github.com/google/go-cmp/cmp"
)

// attrsFixture returns the DER of a file of testdata/csrattrs or testdata/rfc.
func attrsFixture(t testing.TB, name string) []byte {
	t.Helper()
	dir := "csrattrs"
	if strings.HasPrefix(name, "rfc") {
		dir = "rfc"
	}
	text, err := os.ReadFile(filepath.Join("testdata", dir, name+".b64"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := est.DecodeBody(text)
	if err != nil {
		der = text // no SEQUENCE, which est.DecodeBody does not take
	}
	return der
}

// attrsMeaning is what CSRAttrs say, in words.
type attrsMeaning struct {
	Elements               []string
	Keys                   []string
	Link, Identity         bool
	Extensions, Signatures []string
	Subject                []string // of the template
	Warnings               int
}

func said(a *est.CSRAttrs) attrsMeaning {
	var s attrsMeaning
	for _, e := range a.Elements {
		text := e.Type.String()
		if e.IsAttribute() {
			text += fmt.Sprintf("{%d}", len(e.Values))
		}
		s.Elements = append(s.Elements, text)
	}
	for _, k := range a.Keys() {
		s.Keys = append(s.Keys, k.String())
	}
	s.Link, s.Identity = a.WantsLink()
	for _, e := range a.Extensions() {
		text := e.ID.String()
		if e.Critical {
			text += " critical"
		}
		if e.Value == nil {
			text += " ?"
		}
		s.Extensions = append(s.Extensions, text)
	}
	for _, alg := range a.SignatureAlgorithms() {
		s.Signatures = append(s.Signatures, alg.String())
	}
	if t := a.Template(); t != nil {
		for _, rdn := range t.Subject {
			for _, attribute := range rdn {
				text := attribute.Type.String() + "=?"
				if attribute.Value != nil {
					text = fmt.Sprintf("%s=%s", attribute.Type, attribute.Value[2:])
				}
				s.Subject = append(s.Subject, text)
			}
		}
	}
	s.Warnings = len(a.Warnings())
	return s
}

const (
	challengePassword = "1.2.840.113549.1.9.7"
	extensionRequest  = "1.2.840.113549.1.9.14{1}"
	requestTemplate   = "1.2.840.113549.1.9.16.2.61{1}"
)

// TestCSRAttrsFixtures reads the examples of the RFCs and others, says what they mean, and writes them again.
func TestCSRAttrsFixtures(t *testing.T) {
	t.Parallel()
	template := attrsMeaning{
		Keys:       []string{"p-256"},
		Extensions: []string{"2.5.29.17", "2.5.29.15 critical", "2.5.29.37 ?"},
		Subject:    []string{"2.5.4.3=?", "2.5.4.11=myDept", "2.5.4.11=myGroup"},
	}
	withTemplate := func(elements ...string) attrsMeaning {
		s := template
		s.Elements = elements
		return s
	}
	p521 := attrsMeaning{
		Elements: []string{challengePassword, "1.2.840.10045.2.1{1}", "1.2.840.113549.1.9.20", "0.9.2342.19200300.100.1.5", "2.5.4.5", "1.2.840.10045.4.3.4"},
		Keys:     []string{"p-521"}, Link: true, Signatures: []string{"ECDSA-SHA512"},
	}
	legacyTemplate := withTemplate(challengePassword, "1.2.840.113549.1.1.1{1}", requestTemplate)
	legacyTemplate.Link = true
	for name, want := range map[string]attrsMeaning{
		"rfc7030-a2-csrattrs": {
			Elements: []string{"1.3.6.1.1.1.1.22", "2.999.1{1}", challengePassword, "2.999.2{3}", "1.3.36.3.3.2.8.1.1.11", "2.16.840.1.101.3.4.2.2"},
			Keys:     []string{"1.3.36.3.3.2.8.1.1.11"}, Link: true,
		},
		"rfc7030-s4.5.2-csrattrs": {
			Elements: []string{challengePassword, "1.2.840.10045.2.1{1}", extensionRequest, "1.2.840.10045.4.3.3"},
			Keys:     []string{"p-384"}, Link: true, Signatures: []string{"ECDSA-SHA384"}, Warnings: 1,
		},
		"rfc9908-s5.1-csrattrs": {Elements: []string{extensionRequest}, Extensions: []string{"2.5.29.17 critical"}},
		"rfc9908-s5.2-csrattrs": {
			Elements: []string{challengePassword, "1.2.840.10045.2.1{1}", "1.3.6.1.1.1.1.22", "1.2.840.10045.4.3.3"},
			Keys:     []string{"p-384"}, Link: true, Signatures: []string{"ECDSA-SHA384"},
		},
		"rfc9908-s5.3-csrattrs": p521,
		"rfc9908-s5.4-csrattrs": {
			Elements: []string{challengePassword, "1.2.840.113549.1.1.1{1}", "1.2.840.113549.1.1.11"},
			Keys:     []string{"rsa:4096"}, Link: true, Signatures: []string{"SHA256-RSA"},
		},
		"rfc9908-s5.5-csrattrs": {
			Elements: []string{challengePassword, "1.2.840.10045.2.1{1}", "2.5.4.5", "1.2.840.10045.4.3.3"},
			Keys:     []string{"p-384"}, Link: true, Signatures: []string{"ECDSA-SHA384"},
		},
		"rfc9908-s5.6-csrattrs": p521,
		"empty":                 {},
		"oids":                  {Elements: []string{challengePassword, "1.2.840.10045.4.3.2"}, Link: true, Signatures: []string{"ECDSA-SHA256"}},
		"oids-and-attributes": {
			Elements: []string{challengePassword, "1.2.840.10045.2.1{1}", extensionRequest, "1.2.840.10045.4.3.2"},
			Keys:     []string{"p-256"}, Link: true, Extensions: []string{"2.5.29.17"}, Signatures: []string{"ECDSA-SHA256"},
		},
		"rsa3072": {
			Elements: []string{"1.2.840.113549.1.1.1{1}", "1.2.840.113549.1.1.11"}, Keys: []string{"rsa:3072"}, Signatures: []string{"SHA256-RSA"},
		},
		"key-any-size": {Elements: []string{"1.2.840.113549.1.1.1{0}"}, Keys: []string{"rsa"}},
		"link-both":    {Elements: []string{"1.2.840.113549.1.9.16.2.58", challengePassword}, Link: true, Identity: true},
		"unknown":      {Elements: []string{"1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2{3}", challengePassword}, Link: true},
		"nul":          {Elements: []string{challengePassword, "1.2.840.10045.4.3.2"}, Link: true, Signatures: []string{"ECDSA-SHA256"}},
		"template":     withTemplate(requestTemplate), "template-and-legacy": legacyTemplate,
		"template-rsa3072": {Elements: []string{requestTemplate}, Keys: []string{"rsa:3072"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			der := attrsFixture(t, name)
			a, err := est.ParseCSRAttrs(der)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, said(a)); diff != "" {
				t.Errorf("meaning (-want +got):\n%s", diff)
			}
			again, err := a.Marshal()
			if err != nil || !bytes.Equal(again, der) {
				t.Errorf("became %x, %v; was %x", again, err, der)
			}
		})
	}
}

// TestCSRAttrsRefused reads what is against the RFCs.
func TestCSRAttrsRefused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"two-extreq": "two extensionRequests", "both-extreq": "two extension requests", "not-sequence": "not one DER SEQUENCE",
		"bad-element": "element 2 is neither", "truncated": "not one DER SEQUENCE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := est.ParseCSRAttrs(attrsFixture(t, name))
			e, ok := errors.AsType[*est.CSRAttrsError](err)
			if !ok || !strings.Contains(e.Error(), want) || e.Code() != est.CodeCSRAttrs || e.Remedy() == "" {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	if _, err := est.ParseCSRAttrs(make([]byte, 1<<20)); err == nil {
		t.Error("a megabyte is read")
	}
}

// TestCSRAttrsMade writes elements of every kind and reads them.
func TestCSRAttrsMade(t *testing.T) {
	t.Parallel()
	rsa3072, err := est.ParseKeySpec("rsa:3072")
	if err != nil {
		t.Fatal(err)
	}
	cn, err := x509.ParseOID("2.5.4.3")
	if err != nil {
		t.Fatal(err)
	}
	usage := est.ExtensionTemplate{ID: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true}
	given := est.ExtensionTemplate{ID: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 3, 0x82, 1, 'a'}}
	attr, err := est.TemplateAttr(&est.CSRTemplate{
		Subject: [][]est.NameAttribute{{{Type: cn}}, {{Type: cn, Value: []byte{12, 1, 'x'}}}}, Key: &rsa3072, Extensions: []est.ExtensionTemplate{given, usage},
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := est.KeyAttr(est.KeySpec{Algorithm: "ec", Curve: "p-384"})
	if err != nil {
		t.Fatal(err)
	}
	extensions, err := est.ExtensionRequestAttr([]est.ExtensionTemplate{given})
	if err != nil {
		t.Fatal(err)
	}
	der, err := (&est.CSRAttrs{Elements: []est.CSRAttr{key, extensions}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := est.ParseCSRAttrs(der)
	if err != nil {
		t.Fatal(err)
	}
	want := attrsMeaning{Elements: []string{"1.2.840.10045.2.1{1}", extensionRequest}, Keys: []string{"p-384"}, Extensions: []string{"2.5.29.17"}}
	if diff := cmp.Diff(want, said(legacy)); diff != "" {
		t.Errorf("legacy (-want +got):\n%s", diff)
	}
	if der, err = (&est.CSRAttrs{Elements: []est.CSRAttr{key, attr}}).Marshal(); err != nil {
		t.Fatal(err)
	}
	both, err := est.ParseCSRAttrs(der)
	if err != nil {
		t.Fatal(err)
	}
	want = attrsMeaning{
		Elements: []string{"1.2.840.10045.2.1{1}", requestTemplate}, Keys: []string{"rsa:3072"},
		Extensions: []string{"2.5.29.17", "2.5.29.37 critical ?"}, Subject: []string{"2.5.4.3=?", "2.5.4.3=x"},
	}
	if diff := cmp.Diff(want, said(both)); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	if _, err := est.ExtensionRequestAttr([]est.ExtensionTemplate{usage}); err == nil {
		t.Error("an extensionRequest without a value is written")
	}
	if _, err := est.TemplateAttr(&est.CSRTemplate{Extensions: []est.ExtensionTemplate{given, given}}); err == nil {
		t.Error("an extension is written twice")
	}
	if _, err := est.KeyAttr(est.KeySpec{Algorithm: "ec", Curve: "p-1"}); err == nil {
		t.Error("a curve that does not exist is written")
	}
}

// TestKeySpec reads, writes, compares and makes kinds of keys.
func TestKeySpec(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"rsa:2048", "p-256", "p-384", "p-521", "ed25519"} {
		spec, err := est.ParseKeySpec(text)
		if err != nil || spec.String() != text {
			t.Fatalf("%s became %v, %v", text, spec, err)
		}
		key, err := spec.Generate()
		if err != nil {
			t.Fatal(err)
		}
		if got := est.KeySpecOf(key.Public()); got != spec || !spec.Accepts(got) {
			t.Errorf("%s made %v", text, got)
		}
	}
	for _, text := range []string{"", "rsa:", "rsa:512", "rsa:9000", "rsa:2048x", "p-224", "P-256", "dsa"} {
		if spec, err := est.ParseKeySpec(text); err == nil {
			t.Errorf("%q became %v", text, spec)
		}
	}
	anyRSA, err := est.ParseKeySpec("rsa")
	if err != nil || !anyRSA.Accepts(est.KeySpec{Algorithm: "rsa", Bits: 1024}) || anyRSA.Accepts(est.KeySpec{Algorithm: "ec"}) {
		t.Errorf("rsa accepts wrongly, %v", err)
	}
	if _, err := (est.KeySpec{Algorithm: "ec", Curve: "1.3.132.0.10"}).Generate(); err == nil {
		t.Error("a key on an unknown curve was made")
	}
}
