package ra_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/est"
	"callsign/internal/ca/local"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

// TestJudge: before a key is made a request meets everything that it would meet afterwards, and costs nothing of the rate.
func TestJudge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].Rules = ra.Rules{Subject: "SEP[0-9A-F]{12}", Keys: []string{"p-256"}}
		c.Labels[0].Rate = enroll.Rate{Count: 1, Per: time.Hour}
		c.Reserved = []string{"SEPAAAAAAAAAAAA"}
	}).ready()
	who := est.Identity{Name: "u", User: "u"}
	ask := func(cn string) est.EnrollRequest {
		return est.EnrollRequest{Operation: "serverkeygen", Identity: who, CSR: asked(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}})}
	}
	for range 2 {
		for cn, code := range map[string]string{"server": ra.CodeSubjectDenied, "SEPAAAAAAAAAAAA": ra.CodeReserved, "SEP001122334455": ""} {
			if got, _ := refused(t, w.ra.Judge(t.Context(), ask(cn))); got != code {
				t.Errorf("%s: refused with %q, want %q", cn, got, code)
			}
		}
	}
	if asked, _ := w.ca.counts(); asked != 0 {
		t.Errorf("the CA was asked %d times", asked)
	}
	_, err := w.ra.Enroll(t.Context(), ask("SEP001122334455"))
	check(t, err)
	if got, _ := refused(t, w.ra.Judge(t.Context(), ask("SEP001122334456"))); got != ra.CodeRate {
		t.Errorf("a key would be made for a client whose rate is used up: %q", got)
	}
}

// TestOneSubjectOneClient: a certificate with another's common name after its own, or the parts of another's subject in another order, is
// not the other: not as a client, nor as a registrar, nor as a voucher.
func TestOneSubjectOneClient(t *testing.T) {
	t.Parallel()
	cmcRA := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	w := newWorld(t, func(c *ra.Config) { c.Labels[0].Registrars = []string{"CN=registrar"} }).ready()
	issue := func(by *local.Issuer, pairs ...string) *x509.Certificate {
		t.Helper()
		types := map[string]asn1.ObjectIdentifier{"CN": {2, 5, 4, 3}, "OU": {2, 5, 4, 11}, "serialNumber": {2, 5, 4, 5}}
		var name pkix.RDNSequence
		for _, p := range pairs {
			kind, value, _ := strings.Cut(p, "=")
			name = append(name, []pkix.AttributeTypeAndValue{{Type: types[kind], Value: value}})
		}
		subject, err := asn1.Marshal(name)
		check(t, err)
		spki, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
		check(t, err)
		der, err := by.IssueRaw(t.Context(), spki, subject, nil, local.Options{KeyUsage: x509.KeyUsageDigitalSignature, EKUs: []asn1.ObjectIdentifier{oidClientAuth, cmcRA}})
		check(t, err)
		c, err := x509.ParseCertificate(der)
		check(t, err)
		return c
	}
	owners := map[string]bool{}
	names := [][]string{
		{"CN=victim"},
		{"CN=attacker", "CN=victim"},
		{"CN=victim", "OU=x"},
		{"OU=x", "CN=victim"},
		{"OU=x", "OU=y", "CN=a"},
		{"OU=y", "OU=x", "CN=a"},
		{"serialNumber=1", "CN=b"},
		{"serialNumber=2", "serialNumber=1", "CN=b"},
	}
	for _, n := range names {
		who, err := w.ra.Authenticate(t.Context(), est.Credentials{Operation: "simpleenroll", Certificates: []*x509.Certificate{issue(w.root, n...)}})
		check(t, err)
		owners[who.Name] = true
	}
	if len(owners) != len(names) {
		t.Errorf("%d subjects are %d clients: %v", len(names), len(owners), owners)
	}
	for n, relays := range map[string]bool{"CN=registrar": true, "CN=attacker,CN=registrar": false} {
		who, _ := w.ra.Authenticate(t.Context(), est.Credentials{Operation: "simplereenroll", Certificates: []*x509.Certificate{issue(w.sub, strings.Split(n, ",")...)}})
		if who.Relays != relays {
			t.Errorf("%s: registrar is %t", n, who.Relays)
		}
	}
	for n, is := range map[string]bool{"CN=capf-ra": true, "CN=attacker,CN=capf-ra": false} {
		allowed, err := ra.Allowed("CN=capf-ra")
		check(t, err)
		if got := allowed(issue(w.root, strings.Split(n, ",")...)); got != is {
			t.Errorf("%s: on the list of vouchers is %t", n, got)
		}
	}
}

// TestRenewalUnderAnotherLabel: what the CA has issued to somebody else than a client of the label is not renewed there, where template,
// usages and approval may be others.
func TestRenewalUnderAnotherLabel(t *testing.T) {
	t.Parallel()
	owners := map[string][]string{}
	w := newWorld(t, func(c *ra.Config) {
		other := newCA(t, "MIC")
		for i := range c.Labels {
			c.Labels[i].ClientCAs = []*x509.Certificate{other.Certificate}
		}
		l := c.Labels[1]
		l.Name, l.ClientCAs = "nobody", nil
		c.Labels = append(c.Labels, l)
		l.Name, l.Authentication = "password", ra.AuthPassword
		c.Labels = append(c.Labels, l)
		c.Owners = func(_ context.Context, x *x509.Certificate) ([]string, error) {
			return owners[x.Subject.CommonName], nil
		}
	}).ready()
	owners["of here"] = []string{"est:floor2/cert:1/x"}
	owners["of another label"] = []string{"est:/u", "est:floor22/u"}
	owners["phone"] = []string{"phone:SEP001122334455", "est:floor2/voucher:CN=capf-ra"}
	for _, tt := range []struct {
		cn, label string
		password  bool
		code      string
	}{
		{"of here", "floor2", false, ""},
		{"of another label", "floor2", false, ra.CodeReenrollIssuer},
		{"of another label", "", false, ""},
		{"phone", "floor2", false, ra.CodeReenrollIssuer},
		{"somebody of the enterprise", "floor2", false, ra.CodeReenrollIssuer},
		{"somebody of the enterprise", "nobody", false, ra.CodeReenrollIssuer},
		{"of another label", "password", true, ""},
	} {
		c := est.Credentials{Label: tt.label, Operation: "simplereenroll", Certificates: []*x509.Certificate{client(t, w.sub, tt.cn)}}
		if tt.password {
			c.HasPassword, c.User, c.Password = true, user, []byte(password)
		}
		_, err := w.ra.Authenticate(t.Context(), c)
		if code, _ := refused(t, err); code != tt.code {
			t.Errorf("%s under %q: refused with %q (%v), want %q", tt.cn, tt.label, code, err, tt.code)
		}
	}
	// Where the label takes clients of this CA anyway, its certificates are renewed.
	w = newWorld(t, func(c *ra.Config) {
		c.Owners = func(context.Context, *x509.Certificate) ([]string, error) { return nil, nil }
	}).ready()
	_, err := w.ra.Authenticate(t.Context(), est.Credentials{Operation: "simplereenroll", Certificates: []*x509.Certificate{client(t, w.sub, "x"), w.sub.Certificate}})
	check(t, err)
}

// TestReservedNamesInDisguise: a common name that is no text here, and one that ends for some readers at a zero, could still be that of a
// listener for whoever reads it otherwise.
func TestReservedNamesInDisguise(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) { c.Reserved = []string{"ra.example.test"} }).ready()
	const host = "ra.example.test"
	wide := make([]byte, 0, 4*len(host)) // UniversalString: four octets each
	for _, b := range []byte(host) {
		wide = append(wide, 0, 0, 0, b)
	}
	for _, tt := range []struct {
		name  string
		value asn1.RawValue
		code  string
	}{
		{"text", asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("device")}, ""},
		{"UniversalString", asn1.RawValue{Tag: 28, Bytes: wide}, ra.CodeReserved},
		{"VisibleString", asn1.RawValue{Tag: 26, Bytes: []byte(host)}, ra.CodeReserved},
		{"before a zero", asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(host + "\x00.evil.test")}, ra.CodeReserved},
		{"T61String", asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte(host)}, ra.CodeReserved},
	} {
		subject, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: tt.value}}})
		check(t, err)
		csr := asked(t, newKey(t), x509.CertificateRequest{RawSubject: subject})
		err = w.ra.Judge(t.Context(), est.EnrollRequest{Operation: "simpleenroll", Identity: est.Identity{Name: "u", User: "u"}, CSR: csr})
		if code, _ := refused(t, err); code != tt.code {
			t.Errorf("%s: refused with %q, want %q", tt.name, code, tt.code)
		}
	}
}

// TestVouchedMicrosoftExtensions: extensions under Microsoft's attribute are found however its type is encoded: readers of BER take forms
// that crypto/x509 skips.
func TestVouchedMicrosoftExtensions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	csr := asked(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "SEP001122334455"}})
	if code := w.ra.MayVouch(csr); code != "" {
		t.Errorf("a phone's request: %s", code)
	}
	for name, oid := range map[string][]byte{
		"DER":         {6, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14},
		"long length": {6, 0x81, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14},
	} {
		attribute := append(append([]byte{0x30, byte(len(oid) + 4)}, oid...), 0x31, 2, 0x30, 0)
		var b cryptobyte.Builder
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(0)
				b.AddBytes(csr.RawSubject)
				b.AddBytes(csr.RawSubjectPublicKeyInfo)
				b.AddASN1(casn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(attribute) })
			})
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
			})
			b.AddASN1BitString([]byte{1})
		})
		der, err := b.Bytes()
		check(t, err)
		hostile, err := x509.ParseCertificateRequest(der)
		check(t, err)
		if code := w.ra.MayVouch(hostile); code != ra.CodeExtension {
			t.Errorf("%s: %q", name, code)
		}
	}
}
