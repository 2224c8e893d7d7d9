package adcs_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
)

// other are the credentials of an EST client with an account of its own.
func other() *ca.Login {
	return &ca.Login{User: `LAB\other`, Password: []byte("other secret"), Checked: true}
}

// TestOnlyTheClientsAccountGoesOn: a request that was sent with the client's account rests, whatever became of the answer,
// until a call brings the same account. Our own account, which may not read it, neither asks for it nor sends it again.
func TestOnlyTheClientsAccountGoesOn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		behaviour certsrvtest.Behaviour
		code      string // of the first attempt; empty: pending
	}{
		{"answer lost", certsrvtest.Behaviour{Answer: certsrvtest.Drop, Times: 1}, certsrv.CodeAnswerLost},
		{"pending", certsrvtest.Behaviour{Answer: certsrvtest.Pending}, ""},
		{"CA down", certsrvtest.Behaviour{Answer: certsrvtest.RPCDown, Times: 1}, certsrv.CodeCAUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			check(t, w.sim.SetBehaviour("", tt.behaviour))
			a := w.authority(nil)
			r, l := signed(t), w.page()
			r.Login = other()
			out, err := a.Issue(t.Context(), r, l)
			if tt.code != "" {
				wantError(t, err, tt.code)
			} else if err != nil || out.Status != ca.Pending {
				t.Fatalf("%+v, %v", out, err)
			}
			before := len(w.rows())
			for _, login := range []*ca.Login{nil, {User: `LAB\ciscora`, Password: []byte("secret"), Checked: true}} {
				r.Login = login
				_, err = a.Issue(t.Context(), r, l)
				e := wantError(t, err, ca.CodeLoginNeeded)
				if e.Final || e.After <= 0 || !strings.Contains(e.Error(), `LAB\other`) || strings.Contains(e.Error(), "secret") {
					t.Errorf("%+v", e)
				}
			}
			if n := len(w.rows()); n != before {
				t.Errorf("the CA was asked %d times without the client's account", n-before)
			}
			if tt.code == "" {
				check(t, w.sim.Approve(t.Context(), 1))
			}
			r.Login = other()
			r.Login.User = `lab\OTHER` // Windows knows no case in names
			mustIssue(t, a, r, l)
			if n := len(w.sim.Requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
			if got := w.sim.Requests()[0].Requester; got != `LAB\other` {
				t.Errorf("sent by %s", got)
			}
			if strings.Contains(string(l.p.Mark), "secret") {
				t.Error("the journal has the password")
			}
		})
	}
}

// TestCrashWithLogin kills the attempt at each write of the journal; our own account comes first afterwards, as the sweep
// does, then the client: one certificate.
func TestCrashWithLogin(t *testing.T) {
	t.Parallel()
	crash := errors.New("crash")
	for _, at := range []int{0, 1} {
		for _, written := range []bool{false, true} {
			t.Run("record "+strconv.Itoa(at)+" written="+strconv.FormatBool(written), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, nil)
				a := w.authority(nil)
				r, l := signed(t), w.page()
				r.Login = other()
				n := 0
				l.fail = func(p ca.Progress) error {
					defer func() { n++ }()
					if n != at {
						return nil
					}
					if written {
						l.p = p
					}
					return crash
				}
				if _, err := a.Issue(t.Context(), r, l); !errors.Is(err, crash) {
					t.Fatalf("got %v", err)
				}
				l.fail = nil
				r.Login = nil
				if at > 0 || written { // else nothing is known of the attempt, and nothing was sent
					_, err := a.Issue(t.Context(), r, l)
					wantError(t, err, ca.CodeLoginNeeded)
				}
				r.Login = other()
				if at == 0 && written { // as if it had been sent
					w.settled(a, r, l)
				} else {
					mustIssue(t, a, r, l)
				}
				if n := len(w.sim.Issued()); n != 1 {
					t.Errorf("%d certificates issued", n)
				}
			})
		}
	}
}

// TestNotReadableIsNoDenial: what another account sent, before adcs.username was changed, is not denied because the present
// one may not read it.
func TestNotReadableIsNoDenial(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{Answer: certsrvtest.Pending}))
	r, l := signed(t), w.page()
	out, err := w.authority(nil).Issue(t.Context(), r, l)
	if err != nil || out.Status != ca.Pending {
		t.Fatal(out, err)
	}
	changed := newOwn(w, `LAB\other`, "other secret")
	defer func() { check(t, changed.Close()) }()
	_, err = w.authorityOf(changed).Issue(t.Context(), r, l)
	if e := wantError(t, err, "adcs.not-readable"); e.Final || !strings.Contains(e.Fix, "adcs.username") {
		t.Errorf("%+v", e)
	}
	// A client with an account of its own does not take over what our account sent.
	check(t, w.sim.Approve(t.Context(), 1))
	r.Login = other()
	mustIssue(t, w.authority(nil), r, l)
}

// newOwn is the client of a configuration with another account.
func newOwn(w *world, user, password string) *certsrv.Client {
	return &certsrv.Client{
		URL: w.client.URL, TLS: w.client.TLS, Log: w.client.Log,
		Auth: winauth.Credentials{User: user, Password: winauth.NewPassword([]byte(password))},
	}
}

func (w *world) authorityOf(c *certsrv.Client) *adcs.Authority {
	w.t.Helper()
	return w.authority(func(o *adcs.Config) { o.Client = c })
}
