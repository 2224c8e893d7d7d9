package app_test

import (
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"

	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// TestRemedyFitsTheCA: what is said to do about a CA that cannot sign names what is wrong with it.
func TestRemedyFitsTheCA(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, c *config.Config)
		want   string
	}{
		{"validity", func(_ *testing.T, c *config.Config) { c.CAPF.ValidityDays = local.MaxValidityDays + 1 }, "set capf.validity_days to 1 to 1825"},
		{"no CA", func(_ *testing.T, c *config.Config) {
			c.CA.CertificateFile, c.CA.KeyFile = c.EST.CertificateFile, c.EST.KeyFile
		}, "name the certificate of a CA in ca.certificate_file"},
		{"another's key", func(t *testing.T, c *config.Config) {
			other, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Other"}, Key: local.P256})
			if err != nil {
				t.Fatal(err)
			}
			if err := certfile.WriteKey(c.CA.KeyFile, other.Signer); err != nil {
				t.Fatal(err)
			}
		}, "configure the certificate and the key that were made together"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := freshDeployment(t)
			tc.change(t, c)
			a, err := app.Start(t.Context(), app.Options{Config: c})
			if err == nil {
				_ = a.Stop(t.Context())
				t.Fatal("it started")
			}
			var p interface{ Remedy() string }
			if !errors.As(err, &p) || !strings.Contains(p.Remedy(), tc.want) {
				t.Errorf("error %v, remedy %v, want %q", err, p, tc.want)
			}
		})
	}
}
