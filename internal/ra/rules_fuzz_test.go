package ra_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"callsign/internal/ra"
)

// FuzzGeneralNames: what is read is shown in one line, and names that rules let pass are of the kind that they allow.
func FuzzGeneralNames(f *testing.F) {
	for _, s := range []string{
		"300f820d612e6578616d706c652e636f6d", "30068704c0000207", "301fa01d060a2b060104018237140203a00f0c0d61646d696e40612e6c6f63616c",
		"3011a40f300d310b300906035504030c026162", "300588032a0304", "3000", "308080", "30038201610a",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	k := newKey(f)
	f.Fuzz(func(t *testing.T, der []byte) {
		names, err := ra.GeneralNames(der)
		for _, n := range names {
			if strings.ContainsFunc(n, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", n)
			}
		}
		request, makeErr := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: "x"}, ExtraExtensions: []pkix.Extension{{Id: oidSAN, Value: der}},
		}, k)
		if makeErr != nil {
			return
		}
		csr, parseErr := x509.ParseCertificateRequest(request)
		if parseErr != nil {
			return
		}
		refusal, ruleErr := ra.Rules{Names: []string{"dns:*.example.com"}}.Refusal(csr, "", false)
		if ruleErr != nil {
			t.Fatal(ruleErr)
		}
		if err != nil && refusal == nil {
			t.Error("names that cannot be read are let pass")
		}
		host := regexp.MustCompile(`^[A-Za-z0-9._-]*\.example\.com$`)
		for _, n := range csr.DNSNames {
			if refusal == nil && !host.MatchString(strings.ToLower(n)) {
				t.Errorf("%q is let pass", n)
			}
		}
		if refusal == nil && len(csr.IPAddresses)+len(csr.URIs)+len(csr.EmailAddresses) > 0 {
			t.Error("a name of another kind is let pass")
		}
	})
}

// FuzzRules: rules of any form are taken or refused with their key, and never panic when they judge.
func FuzzRules(f *testing.F) {
	f.Add("SEP[0-9A-F]{12}", "O=Example", "dns:*.example.com", "rsa:2048-4096", "clientAuth")
	f.Add("(", "2.5.4.10=x", "ip:10.0.0.0/8", "p-256", "1.2.3")
	f.Add("", "=", "uri:", "rsa:-", "9.9")
	csr := asked(f, newKey(f), x509.CertificateRequest{Subject: pkix.Name{CommonName: "SEP001122334455"}, DNSNames: []string{"a.example.com"}})
	keys := regexp.MustCompile(`^(subject|subject_has|names|keys|usages): `)
	f.Fuzz(func(t *testing.T, subject, has, name, key, usage string) {
		rules := ra.Rules{Subject: subject, SubjectHas: []string{has}, Names: []string{name}, Keys: []string{key}, Usages: []string{usage}}
		refusal, err := rules.Refusal(csr, "SEP001122334455", false)
		switch {
		case err != nil && !keys.MatchString(err.Error()):
			t.Errorf("no key in %q", err)
		case (err == nil) != (ra.CheckRules(rules) == nil):
			t.Errorf("CheckRules and New differ: %v", err)
		case refusal != nil && (refusal.Text == "" || refusal.Fix == ""):
			t.Errorf("%+v", refusal)
		}
	})
}

// FuzzClientName: a name that is found stands in the certificate.
func FuzzClientName(f *testing.F) {
	f.Add(`SEP[0-9A-F]{12}`, "CP-8865-SEP001122334455")
	f.Add(`^(?:CP-\d+-)?(SEP.*)$`, "SEP1")
	f.Add(``, "x")
	f.Add(`(a)|b`, "b")
	f.Add(`#`, "x")
	f.Add(`=(.)`, "x")
	f.Fuzz(func(t *testing.T, pattern, cn string) {
		names := pkix.Name{CommonName: cn}.ToRDNSequence()
		raw, err := asn1.Marshal(names)
		if err != nil {
			return // no text that a certificate can hold
		}
		cert := &x509.Certificate{RawSubject: raw}
		cert.Subject.FillFromRDNSequence(&names)
		name, ok := ra.ClientName(pattern, cert)
		if ok && name == "" && pattern != "" {
			t.Error("an empty name is a name")
		}
		if ok && !strings.Contains(cn, name) && !strings.Contains(cert.Subject.String(), name) {
			t.Errorf("%q is not in %q", name, cn)
		}
	})
}
