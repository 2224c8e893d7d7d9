package demo

import (
	"testing"

	"callsign/internal/config"
	"callsign/internal/enroll"
)

// TestPhonesUnderALabel: capf.ra_url may have a label in its path. What CAPF vouches for is then requested under that label.
func TestPhonesUnderALabel(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
		c.Labels = []config.Label{{Name: "phones", Profile: c.RA.Profile}}
		c.CAPF.RAURL += "/phones"
	})
	p.start()
	p.ready()
	const phone = "SEP0000000000F2"
	p.add(phone)
	p.settled(phone, p.certified(phone))
	rows, _, err := p.a.Records.Journal.Find(t.Context(), enroll.Filter{Labels: []string{"phones"}})
	if err != nil || len(rows) != 1 || rows[0].State != enroll.Issued && rows[0].State != enroll.Confirmed {
		t.Errorf("under the label%s, %v; want one issued", states(rows), err)
	}
}
