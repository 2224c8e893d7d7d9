package config_test

import (
	"regexp"
	"strings"
	"testing"

	"callsign/internal/ca/local"
	"callsign/internal/config"
	"callsign/internal/fleet"
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

// TestVoucherSubjectIsTheFleets: the common name of every phone that may be added may be vouched for by default, and
// no other.
func TestVoucherSubjectIsTheFleets(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile("^(?:" + config.Default().RA.VoucherSubject + ")$")
	for _, name := range []string{
		"SEP001122334455", "SEPAABBCCDDEEFF", "SEP00112233445", "SEP0011223344556", "SEP00112233445G", "SEPaabbccddeeff", "ATA001122334455",
		"CSFALICE", "CSFalice", "TCT-A.B_C", "BOT1", "TABX", "CTIPORT1", "CSF", "CSF A", "XYZALICE", "",
		"CSF" + strings.Repeat("A", 47), "CSF" + strings.Repeat("A", 48), "BOT" + strings.Repeat("9", 12), "SEP001122334455\n",
	} {
		d := fleet.NewDevice("SEP001122334455")
		d.Name = name
		want := d.Validate() == nil
		for _, model := range []string{"", "8865-", "CP-8865-", "Cisco 8865-"} {
			if got := pattern.MatchString(model + name); got != want {
				t.Errorf("%q: the pattern says %t, fleet %t", model+name, got, want)
			}
		}
	}
	for _, cn := range []string{"-SEP001122334455", "8865SEP001122334455", "8865-", "a,b-SEP001122334455", "SEP001122334455-8865"} {
		if pattern.MatchString(cn) {
			t.Errorf("the pattern takes %q", cn)
		}
	}
}

// TestSubjectFitsVoucherSubject: a subject that our own RA would refuse is found before a phone meets it.
func TestSubjectFitsVoucherSubject(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, subject, pattern, want string
	}{
		{"defaults", "{name}", "", ""},
		{"with model", "{model}-{name}", "", ""},
		{"form that the default refuses", "phone/{model}-{name}", "", `capf.subject: makes common names such as "phone/8865-SEP001122334455", which ra.voucher_subject refuses`},
		{"names alone", "{model}-{name}", "SEP[0-9A-F]{12}", `capf.subject: makes common names such as "8865-SEP001122334455", which ra.voucher_subject refuses`},
		{"models only", "{name}", "[0-9]+-SEP[0-9A-F]{12}", `capf.subject: makes common names such as "SEP001122334455", which ra.voucher_subject refuses`},
		{"soft clients alone", "{model}-{name}", "CSF[A-Z]+", `capf.subject: makes common names such as "8865-CSFALICE", which ra.voucher_subject refuses`},
		{"own form", "phone-{name}", "phone-SEP[0-9A-F]{12}", ""},
		{"no form by which a phone is known", "{name} phone", "", `capf.subject: must end in {name} or -{name}, by which phones are recognised (got "{name} phone")`},
		{"phones of one site, which no sample can be", "{name}", "SEPABCDEF[0-9A-F]{6}", ""},
		{"no regular expression", "{name}", "(", "ra.voucher_subject: is not a regular expression: missing closing ): `(` (got \"(\")"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := vouching(tc.subject, tc.pattern)
			got := ""
			if err := c.Check(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	c := vouching("{model}-{name}", "SEP[0-9A-F]{12}")
	c.EST.Listen = "" // the RA is another process, with a configuration of its own
	if err := c.Check(); err != nil {
		t.Errorf("without an RA: %v", err)
	}
}

// vouching returns a good configuration whose CAPF vouches for phones at the RA beside it.
func vouching(subject, pattern string) config.Config {
	return issuing(func(c *config.Config) {
		c.CAPF.Issuer, c.CAPF.RAURL, c.CAPF.Subject = config.IssuerOnlineCA, "https://ra:8084/.well-known/est", subject
		c.CAPF.RACAFile, c.CAPF.RACertificateFile, c.CAPF.RAKeyFile = "ra-ca.pem", "capf-ra.pem", "capf-ra.key"
		c.EST.Listen, c.EST.CertificateFile, c.EST.KeyFile = "127.0.0.1:8084", "est.pem", "est.key"
		c.RA.Authority, c.RA.Vouchers, c.RA.VoucherCAFile = config.AuthorityLocal, []string{"CN=CAPF RA"}, "ra-ca.pem"
		c.RA.ResponderCertificateFile, c.RA.ResponderKeyFile = "responder.pem", "responder.key"
		if pattern != "" {
			c.RA.VoucherSubject = pattern
		}
	})
}

// TestPhoneListeners: what of the listeners for phones is refused, and why.
func TestPhoneListeners(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		want   string // part of the problem; empty: none
	}{
		{"plain on loopback", func(c *config.Config) { c.CAPF.PlainListen = "127.0.0.1:3806" }, ""},
		{"plain on IPv6 loopback", func(c *config.Config) { c.CAPF.PlainListen = "[::1]:3806" }, ""},
		{"plain on localhost", func(c *config.Config) { c.CAPF.PlainListen = "localhost:3806" }, ""},
		{"plain for others", func(c *config.Config) { c.CAPF.PlainListen = "192.0.2.1:3806" }, "no loopback address"},
		{"plain for all", func(c *config.Config) { c.CAPF.PlainListen = ":3806" }, "no loopback address"},
		{"plain under a name", func(c *config.Config) { c.CAPF.PlainListen = "pbx:3806" }, "no loopback address"},
		{"plain for others on purpose", func(c *config.Config) { c.CAPF.PlainListen, c.CAPF.PlainBeyondLoopback = "192.0.2.1:3806", true }, ""},
		{"plain where TLS is", func(c *config.Config) { c.CAPF.PlainListen = c.CAPF.Listen }, "another listener"},
		{"plain alone", func(c *config.Config) {
			c.CAPF.Listen, c.CAPF.PlainListen, c.CAPF.CertificateFile, c.CAPF.KeyFile = "", "127.0.0.1:3806", "", ""
		}, ""},
		{"old phones beside", func(c *config.Config) { c.CAPF.LegacyListen = "192.0.2.1:3805" }, ""},
		{"old phones at the same door", func(c *config.Config) { c.CAPF.LegacyListen = c.CAPF.Listen }, ""},
		{"old phones without a certificate", func(c *config.Config) {
			c.CAPF.Listen, c.CAPF.LegacyListen, c.CAPF.CertificateFile, c.CAPF.KeyFile = "", "127.0.0.1:3805", "", ""
		}, "capf.certificate_file"},
		{"a fallback that cannot be", func(c *config.Config) { c.Renewal.Enabled, c.Renewal.Fallback = true, config.FallbackMIC }, "capf.mic_files is empty"},
		{"the same without renewal", func(c *config.Config) { c.Renewal.Fallback = config.FallbackMIC }, ""},
		{"fingerprints as tools print them", func(c *config.Config) { c.CAPF.Distrusted = []string{strings.Repeat("AB:", 31) + "ab"} }, ""},
		{"a short fingerprint", func(c *config.Config) { c.CAPF.Distrusted = []string{"abcd"} }, "no SHA-256 fingerprint"},
		{"a subject without a name", func(c *config.Config) { c.CAPF.SubjectFor = []string{"CSF*={model}"} }, "must contain {name}"},
		{"a subject without a pattern", func(c *config.Config) { c.CAPF.SubjectFor = []string{"{name}"} }, "is no rule for subjects; use PATTERN=TEMPLATE"},
		{"a window without minutes", func(c *config.Config) { c.Renewal.Windows = []string{"Mo-Fr 22-5"} }, `is no span of time; use days and times such as "Mo-Fr`},
		{"a zone that is none", func(c *config.Config) { c.Renewal.Zone = "Mars/Olympus" }, "no time zone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := issuing(tc.change)
			err := c.Check()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
