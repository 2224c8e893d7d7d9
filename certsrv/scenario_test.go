package certsrv_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
)

// TestSimulatorScenarios: every word by which the simulated server breaks is told with a code and a remedy, or is nothing
// to the client. A word that is new to the simulator needs a row here.
func TestSimulatorScenarios(t *testing.T) {
	t.Parallel()
	const issued = "" // it does not matter to the client
	rows := map[string]string{
		"issue": issued, "pending": "pending", "deny=0x80094800": certsrv.CodeDenied, "rpc-down": certsrv.CodeCAUnavailable,
		"500": certsrv.CodeServerError, "hang": certsrv.CodeAnswerLost, "drop": certsrv.CodeAnswerLost, "truncate": certsrv.CodeAnswerLost,
		"reset": certsrv.CodeAnswerLost, "other-key": issued, "slow=1ms": issued, "approve=1h": issued, "times=1": issued,
		"lang=fr": issued, "auth=negotiate": issued, "auth=basic": certsrv.CodeNotAuthenticated, "epa=require": issued, "standalone": "pending",
		"slow-login=1ms": issued, "slow-pages=1ms": issued, "reauth": certsrv.CodeNotAuthenticated, "split": certsrv.CodeNotAuthenticated, "401": certsrv.CodeNotAuthenticated,
		"401.3": certsrv.CodeNotAuthenticated, "403.4": certsrv.CodeForbidden, "403.7": certsrv.CodeForbidden, "503": certsrv.CodeServerError,
		"sign-in": certsrv.CodeLoginNotAsked, "redirect=/pki/certsrv": certsrv.CodeRedirected, "close": certsrv.CodeConnectionLost,
		"no-keep-alive": certsrv.CodeConnectionLost, "content-type=text/html": issued, "login=500": certsrv.CodeServerError,
		"certrqxt=500": certsrv.CodeServerError, "certcarc=404": issued, "certnew=reset": certsrv.CodeConnectionLost, "certcrl=drop": issued,
	}
	var seen []string
	for words, want := range rows {
		sc, err := certsrvtest.ParseScenario(words)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range certsrvtest.Words() {
			if len(words) >= len(w.Name) && words[:len(w.Name)] == w.Name && (words == w.Name || words[len(w.Name)] == '=') {
				seen = append(seen, w.Name)
			}
		}
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			_, c, _, _ := startSim(t, newSimCA(t, 0), sc.Apply)
			if words == "hang" {
				c.SubmitTimeout = 100 * time.Millisecond
			}
			c.SkipTemplateCheck = words == "standalone"
			a, err := c.Enroll(t.Context(), submission(t, "CiscoRA"))
			var p *certsrv.Problem
			switch {
			case err != nil && !errors.As(err, &p):
				t.Fatal(err)
			case err == nil && a.Outcome == certsrv.Pending:
				if want != "pending" {
					t.Errorf("pending, want %q", want)
				}
				return
			case err == nil:
				p = a.Problem()
			}
			switch {
			case p == nil && want != issued:
				t.Errorf("%v, want %s", a.Outcome, want)
			case p != nil && p.Code() != want:
				t.Errorf("%s (%v), want %q", p.Code(), p, want)
			case p != nil && p.Remedy() == "":
				t.Errorf("%v has no remedy", p)
			}
		})
	}
	for _, w := range certsrvtest.Words() {
		if !slices.Contains(seen, w.Name) {
			t.Errorf("word %s of the simulator has no row", w.Name)
		}
	}
}
