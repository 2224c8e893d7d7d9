package demo

import (
	"strings"
	"testing"

	"callsign/capf"
	"callsign/internal/config"
)

// TestRecordNamesTheTroubleOfTheRA: where CAPF asks the RA of its own process, phone show need not send anybody to the RA's
// log: it says what keeps the RA from its CA, and what to do.
func TestRecordNamesTheTroubleOfTheRA(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
		c.ADCS.CAFile = c.CAPF.CertificateFile // a certificate, and not that of the web server's CA
		patience(c)
	})
	p.start()
	p.add(troubled)
	p.refused(troubled, capf.ReasonInvalidElement)
	d, rows := p.told("upstream.unavailable")
	if d.Note == nil || d.Note.Code != "upstream.unavailable" {
		t.Fatalf("note %+v%s", d.Note, states(rows))
	}
	for _, part := range []string{"certsrv.tls-untrusted", "CN=Demo Root CA,O=Callsign Demo", "adcs.ca_file"} {
		if !strings.Contains(d.Note.Detail, part) {
			t.Errorf("the record says %q and not %q", d.Note.Detail, part)
		}
	}
	if !strings.Contains(d.Note.Remedy, "import the certificate of CN=Demo Root CA") {
		t.Errorf("the record advises: %s", d.Note.Remedy)
	}
}
