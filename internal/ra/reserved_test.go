package ra_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"

	"callsign/cmc"
	"callsign/internal/ra"
)

// TestReservedNames: nobody gets a certificate for the names of our own listeners, in whatever place and spelling.
func TestReservedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Reserved = []string{"ra.example.test", "Callsign RA", "192.0.2.7", "2001:DB8::7", "CAPF-1a2b3c4d", ""}
	}).ready()
	c := w.client(nil)
	uri := func(s string) []*url.URL {
		u, err := url.Parse(s)
		check(t, err)
		return []*url.URL{u}
	}
	tests := []struct {
		name    string
		request x509.CertificateRequest
		refused bool
	}{
		{"another name", x509.CertificateRequest{Subject: pkix.Name{CommonName: "SEP001122334455"}, DNSNames: []string{"phone.example.test"}}, false},
		{"wildcard beside", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"*.phones.example.test"}}, false},
		{"common name", x509.CertificateRequest{Subject: pkix.Name{CommonName: "callsign ra"}}, true},
		{"common name that is the host", x509.CertificateRequest{Subject: pkix.Name{CommonName: "RA.Example.Test"}}, true},
		{"DNS name", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"a.test", "Ra.example.TEST"}}, true},
		{"DNS name with a dot", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"ra.example.test."}}, true},
		{"wildcard", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"*.example.test"}}, true},
		{"wildcard in a label", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"r*.example.test"}}, true},
		{"wildcard as common name", x509.CertificateRequest{Subject: pkix.Name{CommonName: "*.example.test"}}, true},
		{"IPv4", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}}, true},
		{"IPv6", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, IPAddresses: []net.IP{net.ParseIP("2001:db8:0::7")}}, true},
		{"address as common name", x509.CertificateRequest{Subject: pkix.Name{CommonName: "2001:db8:0:0::7"}}, true},
		{"URI", x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, URIs: uri("https://ra.example.test:8084/x")}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			csr, err := x509.CreateCertificateRequest(rand.Reader, &tt.request, newKey(t))
			check(t, err)
			_, err = c.SimpleEnroll(t.Context(), csr)
			if !tt.refused {
				check(t, err)
				return
			}
			if e := wantStatus(t, err, 403); !strings.Contains(e.Text, "listener") {
				t.Errorf("told %q", e.Text)
			}
		})
	}
}

func TestReservedNamesAreNotVouchedFor(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(c *ra.Config) { c.Reserved = []string{"sep001122334455"} })
	if r := g.send(compose(t, g.now, big.NewInt(1), nil, newSPKI(t), nil)); r.Status != 403 || r.Code != ra.CodeReserved {
		t.Errorf("%d %s", r.Status, r.Code)
	}
}

// TestHiddenExtensions: extensions under Microsoft's attribute, which AD CS reads and the policy does not, are not vouched
// for. The key signed this request, so it would be passed on as it is.
func TestHiddenExtensions(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	k := newKey(t)
	san, err := asn1.Marshal([]pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 3, 0x82, 1, 'a'}}})
	check(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "SEP001122334455"},
		Attributes: []pkix.AttributeTypeAndValueSET{{ //nolint:staticcheck // the only way to other attributes
			Type:  asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 14},
			Value: [][]pkix.AttributeTypeAndValue{{{Type: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}},
		}},
	}, k)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	check(t, err)
	r := g.send(compose(t, g.now, big.NewInt(1), nil, spki, func(q *cmc.Request) { q.CSR, q.Witnessed = der, false }))
	if r.Status != 403 || r.Code != ra.CodeExtension {
		t.Errorf("%d %s %s", r.Status, r.Code, base64.StdEncoding.EncodeToString(r.Body))
	}
}
