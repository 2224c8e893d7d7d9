package adcs_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/certsrv/winauth/winauthtest"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
)

// kerberosWorld is a world whose web server takes Kerberos alone, with the tickets of a real KDC, and requires the channel
// binding. edit changes how the own account gets its tickets.
func kerberosWorld(t *testing.T, kdc *winauthtest.KDC, edit func(*winauth.KerberosConfig)) *world {
	t.Helper()
	keys, err := os.ReadFile(kdc.AddService(t, "HTTP/"+winauthtest.Host))
	check(t, err)
	c := winauth.KerberosConfig{User: "ciscora", Password: winauth.NewPassword([]byte("secret")), Realm: winauthtest.Realm, KDCs: []string{kdc.Addr()}}
	if edit != nil {
		edit(&c)
	}
	tickets, err := winauth.NewKerberos(c)
	check(t, err)
	return newWorld(t, func(s *certsrvtest.Config, client *certsrv.Client) {
		s.Keytab, s.Domain, s.EPA = keys, "LAB", certsrvtest.EPARequire
		s.Conditions.Auth = "kerberos"
		client.Auth, client.SPN = tickets.Credentials(), "HTTP/"+winauthtest.Host
	})
}

// startKDC starts a KDC with the accounts of a world.
func startKDC(t *testing.T, opts ...winauthtest.KDCOption) *winauthtest.KDC {
	t.Helper()
	kdc := winauthtest.StartKDC(t, opts...)
	kdc.AddUser(t, "ciscora", "secret")
	kdc.AddUser(t, "other", "other secret")
	return kdc
}

// TestKerberosAccounts: our account has a keytab, and a client that brings an account of its own logs in by that one's
// password and nothing else.
func TestKerberosAccounts(t *testing.T) {
	t.Parallel()
	kdc := startKDC(t)
	w := kerberosWorld(t, kdc, func(c *winauth.KerberosConfig) {
		b, err := os.ReadFile(kdc.Keytab(t, "ciscora"))
		check(t, err)
		c.Password = winauth.Password{}
		c.Keytab, err = winauth.ParseKeytab(b)
		check(t, err)
	})
	a := w.authority(nil)
	mustIssue(t, a, signed(t), w.page())

	for _, l := range []*ca.Login{
		{User: "other@" + winauthtest.Realm, Password: []byte("wrong")},
		{User: "ciscora", Password: []byte("wrong")}, // the name that the keytab is for
		{User: "nobody", Password: []byte("wrong")},
		{User: "ciscora"},
	} {
		e := wantError(t, a.CheckLogin(t.Context(), l), ca.CodeLoginRefused)
		if e.Fix == "" || !strings.Contains(e.Error(), l.User) {
			t.Errorf("%s: %v; fix: %s", l.User, e, e.Fix)
		}
	}
	r := signed(t)
	r.Login = &ca.Login{User: "other", Password: []byte("other secret"), Checked: true}
	check(t, a.CheckLogin(t.Context(), r.Login))
	mustIssue(t, a, r, w.page())
	mustIssue(t, a, signed(t), w.page()) // what others got wrong does not keep our account waiting

	var who []string
	for _, q := range w.sim.Requests() {
		who = append(who, q.Requester)
	}
	if got := strings.Join(who, " "); got != `LAB\ciscora LAB\other LAB\ciscora` {
		t.Errorf("requests by %s", got)
	}
	if log := w.log.String(); strings.Contains(log, "secret") {
		t.Errorf("a password is in the log:\n%s", log)
	}
}

// TestKerberosRefusedAccount: a password that the KDC refuses is tried once in each pause, however many phones wait.
func TestKerberosRefusedAccount(t *testing.T) {
	t.Parallel()
	kdc := startKDC(t)
	w := kerberosWorld(t, kdc, func(c *winauth.KerberosConfig) { c.Password = winauth.NewPassword([]byte("wrong")) })
	a := w.authority(nil)
	for range 5 {
		_, err := a.Issue(t.Context(), bare(t), w.page())
		if e := wantError(t, err, ca.CodeLoginRefused); !strings.Contains(e.Error(), "ciscora@"+winauthtest.Realm) || !strings.Contains(e.Fix, "adcs.password_file") {
			t.Errorf("%v; fix: %s", e, e.Fix)
		}
	}
	if n := strings.Count(kdc.Log(t), "PREAUTH_FAILED"); n != 1 {
		t.Errorf("the KDC saw %d wrong passwords for five phones", n)
	}
	w.now = w.now.Add(2 * adcs.DefaultLoginPause)
	_, err := a.Issue(t.Context(), bare(t), w.page())
	wantError(t, err, ca.CodeLoginRefused)
	if n := strings.Count(kdc.Log(t), "PREAUTH_FAILED"); n != 2 {
		t.Errorf("the KDC saw %d wrong passwords after the pause", n)
	}
	if n := w.sim.Hits()["/certsrv"]; n != 0 {
		t.Errorf("the web server was asked %d times without a ticket", n)
	}
}

// TestKerberosFailures: what keeps tickets away has a code and names the keys to set, and what may pass by itself is tried
// again.
func TestKerberosFailures(t *testing.T) {
	t.Parallel()
	kdc, ahead, gone := startKDC(t), startKDC(t, winauthtest.ClockOffset(time.Hour)), startKDC(t)
	gone.Stop()
	for name, tt := range map[string]struct {
		at    *winauthtest.KDC
		spn   string
		code  string
		final bool
		fix   string
	}{
		"clock":              {at: ahead, code: certsrv.CodeClockSkew, fix: "timedatectl"},
		"no KDC":             {at: gone, code: certsrv.CodeKDCUnreachable, fix: "adcs.kdcs"},
		"unknown web server": {at: kdc, spn: "HTTP/alias.test.example", code: certsrv.CodeNoTicket, final: true, fix: "adcs.spn"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := kerberosWorld(t, kdc, func(c *winauth.KerberosConfig) { c.KDCs = []string{tt.at.Addr()} })
			if tt.spn != "" {
				w.client.SPN = tt.spn
			}
			_, err := w.authority(nil).Issue(t.Context(), bare(t), w.page())
			e := wantError(t, err, tt.code)
			if e.Final != tt.final || !strings.Contains(e.Fix, tt.fix) {
				t.Errorf("final %v: %v; fix: %s", e.Final, e, e.Fix)
			}
			if n := len(w.sim.Requests()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}
