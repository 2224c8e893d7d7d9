package config_test

import (
	"testing"

	"callsign/internal/ca/local"
	"callsign/internal/config"
)

// TestValidityIsTheCAs: what the configuration takes the local CA takes as well.
func TestValidityIsTheCAs(t *testing.T) {
	t.Parallel()
	for days, good := range map[int]bool{
		local.MinValidityDays - 1: false, local.MinValidityDays: true, local.MaxValidityDays: true, local.MaxValidityDays + 1: false,
	} {
		c := issuing(func(c *config.Config) { c.CAPF.ValidityDays = days })
		if err := c.Check(); (err == nil) != good {
			t.Errorf("%d days: %v", days, err)
		}
	}
}

// issuing returns a good configuration with a local CA.
func issuing(change func(*config.Config)) config.Config {
	c := config.Default()
	c.CAPF.CertificateFile, c.CAPF.KeyFile = "capf.pem", "capf.key"
	c.CA.CertificateFile, c.CA.KeyFile = "ca.pem", "ca.key"
	change(&c)
	return c
}
