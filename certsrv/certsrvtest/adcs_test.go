package certsrvtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/cmc"

	"github.com/google/go-cmp/cmp"
)

// enterpriseCA is the CA of the request fixtures.
func enterpriseCA(t *testing.T) *honestCA {
	t.Helper()
	c, err := x509.ParseCertificate(readPEM(t, "adcs", "anchor-enterprise.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return &honestCA{chains: [][]*x509.Certificate{{c}}, key: readKey(t, "anchor-enterprise.key.pem")}
}

func readKey(t *testing.T, name string) crypto.Signer {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(readPEM(t, "adcs", name))
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer)
}

func enterprise(t *testing.T) Config {
	c := config(t, 0)
	c.CA = enterpriseCA(t)
	c.Templates = []Template{{Name: "CallsignPhone", RASignatures: 1}}
	return c
}

// submitOne posts a request to a fresh server and returns what became of it: "issued", or the code on the status page.
func submitOne(t *testing.T, c Config, der []byte, template string) (string, Record) {
	t.Helper()
	s := start(t, c)
	w := s.basic(t, scriptAgent)
	page := w.submit(der, template)
	rec, ok := s.Request(1)
	if !ok {
		t.Fatalf("no record\n%s", page)
	}
	v := classify(page)
	if v.Outcome == "issued" {
		return v.Outcome, rec
	}
	// The last status of the status page is the reason, in both places where a client may look.
	status := classify(w.get("/certsrv/certnew.cer?ReqID=1&Enc=b64"))
	if v.HResult != "" && v.HResult != status.HResult {
		t.Errorf("certfnsh.asp says %s, certnew.cer %s", v.HResult, status.HResult)
	}
	if v.Outcome != status.Outcome {
		t.Errorf("certfnsh.asp says %s, certnew.cer %s", v.Outcome, status.Outcome)
	}
	return strings.ToUpper(status.HResult[2:]), rec
}

// TestExpectedADCS submits every request fixture to a fresh server.
func TestExpectedADCS(t *testing.T) {
	t.Parallel()
	for _, row := range rows(t, "adcs", "expected.tsv") {
		file, want := filepath.Base(row[0]), strings.TrimPrefix(row[1], "0x")
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			c := enterprise(t)
			got, rec := submitOne(t, c, readFile(t, "adcs", file), "CallsignPhone")
			if got != want {
				t.Fatalf("%s, want %s (%s)", got, want, row[2])
			}
			if want != "issued" {
				if asked := c.CA.(*honestCA).asked; len(asked) != 0 {
					t.Errorf("the CA was asked to issue %v", asked)
				}
				return
			}
			leaf, err := x509.ParseCertificate(rec.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			if err := leaf.CheckSignatureFrom(c.CA.Certificates()[0][0]); err != nil {
				t.Error(err)
			}
			if rec.Agent == "" || rec.POP != strings.Contains(file, "signed-inner") || rec.Template != "CallsignPhone" {
				t.Errorf("record %+v", rec)
			}
			if strings.Contains(file, "eobo") != (rec.OnBehalfOf != "") || strings.Contains(file, "pkcs7") != (rec.Kind == KindPKCS7) {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestADCSOptions checks the switches for what nobody knows of real servers.
func TestADCSOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file string
		change     func(*Config)
		want       string
	}{
		{"null signer required, absent", "cmc-agent-only-rsa2048.der", func(c *Config) { c.RequireNullSigner = true }, "80090006"},
		{"null signer required, present", "cmc-supplied-rsa2048.der", func(c *Config) { c.RequireNullSigner = true }, "issued"},
		{"null signature refused", "cmc-supplied-rsa2048.der", func(c *Config) { c.RefuseNull = true }, "80090006"},
		{"null signature refused, really signed", "cmc-signed-inner.der", func(c *Config) { c.RefuseNull = true }, "issued"},
		{"two signatures wanted", "cmc-supplied-p256.der", func(c *Config) { c.Templates[0].RASignatures = 2 }, "8009480A"},
		{"no signature wanted, agent signs all the same", "cmc-supplied-p256.der", func(c *Config) { c.Templates[0].RASignatures = 0 }, "issued"},
		{"no signature wanted, null-signed request without agent", "bad-cmc-no-agent.der", func(c *Config) { c.Templates[0].RASignatures = 0 }, "80090006"},
		{"no signature wanted, null-signed request, agent without the EKU", "bad-cmc-agent-eku.der", func(c *Config) { c.Templates[0].RASignatures = 0 }, "8009480B"},
		{"no signature wanted, on behalf of somebody", "pkcs7-eobo-signed-inner.der", func(c *Config) { c.Templates[0].RASignatures = 0 }, "issued"},
		{"agent of another CA", "cmc-supplied-rsa2048.der", func(c *Config) { c.CA = newCA(t, 0) }, "800B0109"},
		{"agent expired", "cmc-supplied-rsa2048.der", func(c *Config) { c.Now = func() time.Time { return clock.AddDate(20, 0, 0) } }, "800B0101"},
		{"RSA key too short", "cmc-supplied-rsa2048.der", func(c *Config) { c.Templates[0].MinKeyBits = 3072 }, "80094811"},
		{"EC key and RSA minimum", "cmc-supplied-p256.der", func(c *Config) { c.Templates[0].MinKeyBits = 3072 }, "issued"},
		{"another template in the request", "cmc-supplied-rsa2048.der", func(c *Config) {
			c.Templates = append(c.Templates, Template{Name: "Other"})
		}, "80094802"},
		{"account may not enroll", "cmc-supplied-rsa2048.der", func(c *Config) { c.Templates[0].Enrollers = []string{"second"} }, "80094012"},
		{"CA fails", "cmc-supplied-rsa2048.der", func(c *Config) { c.CA.(*honestCA).fail = errors.New("HSM gone") }, "80004005"},
		{"subject from the directory", "cmc-eobo-rsa2048.der", func(c *Config) { c.Templates[0].BuildFromAD = true }, "issued"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := enterprise(t)
			tc.change(&c)
			template := "CallsignPhone"
			if len(c.Templates) > 1 {
				template = c.Templates[1].Name
			}
			got, rec := submitOne(t, c, readFile(t, "adcs", tc.file), template)
			if got != tc.want {
				t.Fatalf("%s, want %s", got, tc.want)
			}
			if got == "issued" && c.Templates[0].BuildFromAD {
				leaf, err := x509.ParseCertificate(rec.Certificate)
				if err != nil || leaf.Subject.CommonName != "SEP001122334455$" {
					t.Errorf("subject %v, %v", leaf.Subject, err)
				}
			}
		})
	}
}

// agent is an enrollment agent below an issuing CA that is below a root.
func agent(t *testing.T, ca *honestCA) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	eku, err := asn1.Marshal([]asn1.ObjectIdentifier{cmc.OIDCertificateRequestAgent})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := marshalName("agent")
	if err != nil {
		t.Fatal(err)
	}
	parent := ca.chains[len(ca.chains)-1][0]
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), RawSubject: subject, NotBefore: clock.Add(-time.Hour), NotAfter: clock.AddDate(1, 0, 0),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: eku}}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, parent, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// TestVouchedByOurOwn sends what package cmc makes for AD CS, for a bare key, in both shapes.
func TestVouchedByOurOwn(t *testing.T) {
	t.Parallel()
	for _, shape := range []cmc.Shape{cmc.Supplied, cmc.AgentOnly} {
		c := config(t, 1)
		c.Templates[0].RASignatures = 1
		ca := c.CA.(*honestCA)
		agentCert, agentKey := agent(t, ca)
		phone, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(phone.Public())
		if err != nil {
			t.Fatal(err)
		}
		csr, err := cmc.NullSigned(spki, pkix.Name{CommonName: "SEP0011"}, nil, cmc.RFC)
		if err != nil {
			t.Fatal(err)
		}
		der, err := cmc.ADCSRequest(csr, "CiscoRA", shape, agentKey, []*x509.Certificate{agentCert}, clock, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		got, rec := submitOne(t, c, der, "CiscoRA")
		if got != "issued" || rec.Agent != "CN=agent" || rec.POP || rec.Kind != KindCMC {
			t.Errorf("%v: %s %+v", shape, got, rec)
		}
	}
}

// TestExtensions checks what reaches the CA: no template, no CA rights; and which names of templates in a request count.
func TestExtensions(t *testing.T) {
	t.Parallel()
	bmp := func(s string) []byte {
		b := []byte{asn1.TagBMPString, byte(2 * len(s))}
		for _, c := range []byte(s) {
			b = append(b, 0, c)
		}
		return b
	}
	v2, err := asn1.Marshal(struct {
		ID    asn1.ObjectIdentifier
		Major int
	}{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 8, 1, 2, 3}, 100})
	if err != nil {
		t.Fatal(err)
	}
	san := pkix.Extension{Id: oidSAN, Value: []byte{0x30, 3, 0x82, 1, 'a'}}
	basic := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xFF}}
	name := pkix.Extension{Id: oidTemplateName, Value: bmp("CiscoRA")}
	byOID := pkix.Extension{Id: oidTemplateV2, Value: v2}
	for _, tc := range []struct {
		name, template, want string
		exts, reach          []pkix.Extension
	}{
		{"names pass, CA rights do not", "CiscoRA", "issued", []pkix.Extension{basic, san}, []pkix.Extension{san}},
		{"template in the request only", "", "issued", []pkix.Extension{name}, nil},
		{"template by OID in the request only", "", "issued", []pkix.Extension{byOID, san}, []pkix.Extension{san}},
		{"both agree", "ciscora", "issued", []pkix.Extension{name, byOID}, nil},
		{"both disagree", "WebServer", "80094802", []pkix.Extension{name}, nil},
		{"unpublished and published", "Nothing", "80094802", []pkix.Extension{name}, nil},
		{"template extension malformed", "CiscoRA", "8009310B", []pkix.Extension{{Id: oidTemplateName, Value: []byte{0x1E, 9}}}, nil},
		{"SAN wanted and missing", "NeedsSAN", "80094803", nil, nil},
		{"SAN wanted and there", "NeedsSAN", "issued", []pkix.Extension{san}, []pkix.Extension{san}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := config(t, 0)
			c.Templates = append(c.Templates, Template{Name: "NeedsSAN", RequireSAN: true})
			csr, _ := newCSR(t, "x", tc.exts...)
			got, _ := submitOne(t, c, csr, tc.template)
			if got != tc.want {
				t.Fatalf("%s, want %s", got, tc.want)
			}
			if got == "issued" {
				if diff := cmp.Diff(tc.reach, c.CA.(*honestCA).asked[0].Extensions); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

func TestSANAttribute(t *testing.T) {
	t.Parallel()
	csr, _ := newCSR(t, "x", pkix.Extension{Id: oidSAN, Value: []byte{0x30, 3, 0x82, 1, 'a'}})
	form := submission(csr, "CiscoRA%SAN")
	for _, allowed := range []bool{false, true} {
		c := config(t, 0)
		c.AttributeSAN = allowed
		s := start(t, c)
		body := strings.Replace(form, "CiscoRA%25SAN", "CiscoRA%0D%0ASAN:dns=b.example%26ipaddress=192.0.2.1%26email=m@d%26upn=u@d", 1)
		_, page := s.basic(t, scriptAgent).do("POST", "/certsrv/certfnsh.asp", body)
		if classify(page).Outcome != "issued" {
			t.Fatal(page)
		}
		leaf, err := x509.ParseCertificate(s.Issued()[0].Certificate)
		if err != nil {
			t.Fatal(err)
		}
		got, want := fmt.Sprint(leaf.DNSNames, leaf.IPAddresses, leaf.EmailAddresses), "[a] [] []"
		if allowed {
			want = "[b.example] [192.0.2.1] [m@d]"
		}
		if got != want {
			t.Errorf("allowed %t: %s, want %s", allowed, got, want)
		}
	}
}

// TestTampered flips a bit in each octet of the signed part of a good request: never issued for another key or subject.
func TestTampered(t *testing.T) {
	t.Parallel()
	good := readFile(t, "adcs", "cmc-supplied-p256.der")
	rd := &requestReader{anchors: enterpriseCA(t).chains[0], now: clock}
	req, err := rd.read(good)
	if err != nil || len(req.agents) != 1 {
		t.Fatalf("%+v, %v", req, err)
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		r, err := rd.read(bad)
		if err == nil && (r.keyHash() != req.keyHash() || string(r.csr.RawSubject) != string(req.csr.RawSubject) || r.requester != req.requester) {
			t.Errorf("octet %d: another request is accepted", i)
		}
	}
}

func TestIssueForAnotherKey(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.CA = liar{c.CA.(*honestCA)}
	csr, _ := newCSR(t, "x")
	if got, _ := submitOne(t, c, csr, "CiscoRA"); got != "80004005" {
		t.Errorf("a certificate for another key is handed out: %s", got)
	}
}

// liar certifies its own key.
type liar struct{ *honestCA }

func (l liar) Issue(ctx context.Context, r Issuance) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(l.key.Public())
	if err != nil {
		return nil, err
	}
	r.PublicKey = spki
	return l.honestCA.Issue(ctx, r)
}
