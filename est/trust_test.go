package est_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"testing"

	"callsign/est"
)

// TestTrust judges servers by explicit and by implicit anchors.
func TestTrust(t *testing.T) {
	t.Parallel()
	explicit, implicit := errors.New("no explicit anchor"), errors.New("no implicit anchor")
	yes := func(tls.ConnectionState, string) error { return nil }
	no := func(err error) func(tls.ConnectionState, string) error {
		return func(tls.ConnectionState, string) error { return err }
	}
	chainOnly := func(_ tls.ConnectionState, host string) error { // an anchor that fits, and another name
		if host != "" {
			return explicit
		}
		return nil
	}
	plain := &x509.Certificate{}
	registrar := &x509.Certificate{UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}}
	for _, tt := range []struct {
		name  string
		trust est.Trust
		leaf  *x509.Certificate
		want  error
	}{
		{"explicit", est.Trust{Explicit: yes}, plain, nil},
		{"implicit", est.Trust{Implicit: yes}, plain, nil},
		{"explicit refuses, implicit does not", est.Trust{Explicit: no(explicit), Implicit: yes}, plain, nil},
		{"both refuse", est.Trust{Explicit: no(explicit), Implicit: no(implicit)}, plain, explicit},
		{"implicit alone refuses", est.Trust{Implicit: no(implicit)}, plain, implicit},
		{"another name", est.Trust{Explicit: chainOnly}, plain, explicit},
		{"another name of a registrar", est.Trust{Explicit: chainOnly}, registrar, nil},
		{"a registrar of others", est.Trust{Explicit: no(explicit)}, registrar, explicit},
		{"another name of a registrar of the web", est.Trust{Implicit: chainOnly}, registrar, explicit},
	} {
		err := tt.trust.VerifyConnection("ra.example.com")(tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.leaf}})
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if (est.Trust{}).VerifyConnection("x")(tls.ConnectionState{}) == nil {
		t.Error("nothing trusts")
	}
}
