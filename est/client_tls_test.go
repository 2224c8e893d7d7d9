package est_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"callsign/chain"
	"callsign/est"
)

// TestClientOwnCheck: the caller judges the server's certificate, and its remedy reaches the user.
func TestClientOwnCheck(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	for _, tt := range []struct {
		name, host, code string
		ca               *testCA
		number           int
		remedy           string
	}{
		{name: "trusted", host: "localhost", ca: a.ca},
		{"unknown issuer", "localhost", est.CodeServerUntrusted, newTestCA(t), 38, "into the store"},
		{"other name", "ra.example", est.CodeServerName, a.ca, 53, "dNSName ra.example"},
		{"both", "ra.example", est.CodeServerUntrusted, newTestCA(t), 38, "into the store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := chain.Verifier{Anchors: chain.NewStore(chain.Of(tt.ca.root)).Named("the store")}
			client := newClient(t, url, tt.ca)
			client.TLS = &tls.Config{
				MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // VerifyConnection checks
				VerifyConnection: v.VerifyConnection(tt.host, nil),
			}
			_, err := client.CACerts(t.Context())
			if tt.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkClientError(t, err, tt.code, tt.number)
			if e, _ := errors.AsType[*est.ClientError](err); !strings.Contains(e.Remedy(), tt.remedy) {
				t.Errorf("remedy %q, want %q", e.Remedy(), tt.remedy)
			}
		})
	}
}
