package certsrvtest

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"testing"

	"callsign/cmc"
)

// TestSubCA: the template decides what kind of CA it makes, whatever the request asks for, and the pages hand out the chain.
func TestSubCA(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy, want int
		zero         bool
	}{"no CA below": {0, 0, true}, "one CA below": {1, 1, false}, "no limit": {-1, -1, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, 0)
			c.Templates = append(c.Templates, Template{Name: "SubCA", DisplayName: "Subordinate Certification Authority", SubCA: true, PathLen: tc.policy})
			s := start(t, c)
			w := s.basic(t, textAgent)
			csr, key := newCSR(t, "Phones CA",
				pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 6, 1, 1, 0xff, 2, 1, 5}}, // pathlen:5
				pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{3, 2, 7, 0x80}},                // digitalSignature
				pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1}},    // serverAuth
			)
			v := classify(w.submit(csr, "SubCA"))
			if v.Outcome != "issued" {
				t.Fatalf("the CA answered %+v", v)
			}
			block, _ := pem.Decode([]byte(w.get("/certsrv/certnew.cer?ReqID=" + v.ID + "&Enc=b64")))
			if block == nil {
				t.Fatal("certnew.cer is no PEM")
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if !cert.BasicConstraintsValid || !cert.IsCA || cert.MaxPathLen != tc.want || cert.MaxPathLenZero != tc.zero {
				t.Errorf("basic constraints: CA %v, path length %d (zero: %v), want %d", cert.IsCA, cert.MaxPathLen, cert.MaxPathLenZero, tc.want)
			}
			if want := x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign; cert.KeyUsage != want || len(cert.ExtKeyUsage) != 0 {
				t.Errorf("key usage %b, extended %v; want %b and none", cert.KeyUsage, cert.ExtKeyUsage, want)
			}
			at := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidTemplateName) })
			if at < 0 {
				t.Fatal("the certificate does not name its template")
			}
			if got, err := templateNameExtension(cert.Extensions[at].Value); err != nil || got != "SubCA" {
				t.Errorf("template %q, %v", got, err)
			}
			if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
				t.Error("the certificate is for another key")
			}
			// Internet Explorer's link "Download certificate chain".
			der := []byte(w.get("/certsrv/certnew.p7b?ReqID=" + v.ID + "&Enc=bin"))
			if b, err := base64.StdEncoding.DecodeString(string(der)); err == nil {
				der = b
			}
			chain, err := cmc.ParseCertsOnly(der)
			if err != nil || len(chain) != 3 || !slices.ContainsFunc(chain, cert.Equal) {
				t.Errorf("certnew.p7b has %d certificates, %v; want the CA's own and the two above", len(chain), err)
			}
			if err := cert.CheckSignatureFrom(s.ca.Certificates()[0][0]); err != nil {
				t.Errorf("signature: %v", err)
			}
		})
	}
}
