package demo

import (
	"testing"
	"time"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/config"
)

func TestExplore(t *testing.T) {
	for _, direct := range []bool{false, true} {
		for _, b := range []string{"hang", "slow=3s", "pending,lang=fr", "deny=0x80094800", "pending", "rpc-down", "drop,times=1", "500"} {
			t.Run(b, func(t *testing.T) {
				t.Parallel()
				const name = "SEP0000000000A1"
				p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
					c.CAPF.AnswerWithin, c.RA.AnswerWithin = 1500*time.Millisecond, time.Second
					c.ADCS.SubmitTimeout = 500 * time.Millisecond
					if direct {
						c.CAPF.RAURL = ""
					}
				})
				p.start()
				p.ready()
				p.add(name)
				bb, err := certsrvtest.ParseBehaviour(b)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.enterprise.server.SetBehaviour("", bb); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				r, err := p.call(name)
				d, rows := p.record(name)
				t.Logf("%v %s direct=%v: %v %+v\n  %s %s %v %+v %s", time.Since(began), b, direct, err, r.Outcome.Reason, d.Operation, d.Status, d.Result, d.Note, states(rows))
				time.Sleep(300 * time.Millisecond)
				r, err = p.call(name)
				d, rows = p.record(name)
				t.Logf("second %v: %v %+v\n  %s %s %v %+v %s", time.Since(began), err, r.Outcome.Reason, d.Operation, d.Status, d.Result, d.Note, states(rows))
				_ = p.enterprise.server.SetBehaviour("", certsrvtest.Behaviour{})
				began = time.Now()
				for range 60 {
					r, err = p.call(name)
					if err == nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				d, rows = p.record(name)
				t.Logf("end %v: %v %+v\n  %s %s %v %+v %s  ISSUED %d", time.Since(began), err, r.Outcome.Reason, d.Operation, d.Status, d.Result, d.Note, states(rows), len(p.issuedBy(name)))
			})
		}
	}
}
