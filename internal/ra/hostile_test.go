package ra_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

// TestJudge: before a key is made a request meets everything that it would meet afterwards, and costs nothing of the rate.
func TestJudge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].Rules = ra.Rules{Subject: "SEP[0-9A-F]{12}", Keys: []string{"p-256"}}
		c.Labels[0].Rate = enroll.Rate{Count: 1, Per: time.Hour}
		c.Reserved = []string{"SEPAAAAAAAAAAAA"}
	}).ready()
	who := est.Identity{Name: "u", User: "u"}
	ask := func(cn string) est.EnrollRequest {
		return est.EnrollRequest{Operation: "serverkeygen", Identity: who, CSR: asked(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}})}
	}
	for range 2 {
		for cn, code := range map[string]string{"server": ra.CodeSubjectDenied, "SEPAAAAAAAAAAAA": ra.CodeReserved, "SEP001122334455": ""} {
			if got, _ := refused(t, w.ra.Judge(t.Context(), ask(cn))); got != code {
				t.Errorf("%s: refused with %q, want %q", cn, got, code)
			}
		}
	}
	if asked, _ := w.ca.counts(); asked != 0 {
		t.Errorf("the CA was asked %d times", asked)
	}
	_, err := w.ra.Enroll(t.Context(), ask("SEP001122334455"))
	check(t, err)
	if got, _ := refused(t, w.ra.Judge(t.Context(), ask("SEP001122334456"))); got != ra.CodeRate {
		t.Errorf("a key would be made for a client whose rate is used up: %q", got)
	}
}
