package winauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"callsign/certsrv/winauth"
	"callsign/certsrv/winauth/winauthtest"
)

// account are the tickets of the bed's account, by password unless edit says otherwise.
func account(t *testing.T, k *winauthtest.KDC, edit func(*winauth.KerberosConfig)) *winauth.Kerberos {
	t.Helper()
	c := winauth.KerberosConfig{
		User: winauthtest.User, Password: winauth.NewPassword([]byte(winauthtest.Secret)), Realm: winauthtest.Realm, KDCs: []string{k.Addr()},
	}
	if edit != nil {
		edit(&c)
	}
	kerberos, err := winauth.NewKerberos(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kerberos.Close(); err != nil {
			t.Error(err)
		}
	})
	return kerberos
}

func keytab(t *testing.T, path string) winauth.Keytab {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := winauth.ParseKeytab(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKerberos logs in to Apache with tickets of an MIT KDC.
func TestKerberos(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, winauthtest.User, winauthtest.Secret)
	b := winauthtest.StartApache(t, k, winauthtest.ApacheOptions{})
	conf, err := os.ReadFile(k.Config())
	if err != nil {
		t.Fatal(err)
	}
	keys := keytab(t, k.Keytab(t, winauthtest.User))
	for name, edit := range map[string]func(*winauth.KerberosConfig){
		"password":         nil,
		"user at realm":    func(c *winauth.KerberosConfig) { c.User, c.Realm = winauthtest.User+"@test.example", "" },
		"domain and user":  func(c *winauth.KerberosConfig) { c.User = winauthtest.Domain + `\` + winauthtest.User },
		"keytab":           func(c *winauth.KerberosConfig) { c.Password, c.Keytab = winauth.Password{}, keys },
		"krb5.conf":        func(c *winauth.KerberosConfig) { c.Realm, c.KDCs, c.Krb5Conf = "", nil, conf },
		"second KDC":       func(c *winauth.KerberosConfig) { c.KDCs = []string{closed(t), k.Addr()} },
		"KDC found by DNS": func(c *winauth.KerberosConfig) { c.KDCs, c.LookupSRV = nil, srv(t, k.Addr()) },
	} {
		t.Run(name, func(t *testing.T) {
			conn, resp, err := login(t, b, account(t, k, edit).Credentials())
			if err != nil || resp.Status != 301 || !strings.HasSuffix(resp.Header.Get("Location"), "/certsrv/") {
				t.Fatalf("Login = %+v, %v", resp, err)
			}
			if resp, err := conn.Do(t.Context(), winauth.Request{Path: "/certsrv/certrqxt.asp"}); err != nil || resp.Status != 200 {
				t.Errorf("Do = %+v, %v", resp, err)
			}
		})
	}
	for _, line := range b.AccessLog(t, 1) { // one request for a login, and no anonymous one
		if !strings.HasPrefix(line, winauthtest.User+"@"+winauthtest.Realm+` "GET /certsrv`) {
			t.Errorf("access log: %s", line)
		}
	}
	t.Run("8 workers, 50 requests each", func(t *testing.T) { workers(t, b, account(t, k, nil).Credentials()) })
	t.Run("NTLM beside it", func(t *testing.T) {
		if _, resp, err := login(t, b, ntlm(winauthtest.User, winauthtest.Secret)); err != nil || resp.Status != 301 {
			t.Errorf("Login = %+v, %v", resp, err)
		}
	})
	t.Run("password in no log", func(t *testing.T) {
		kerberos := account(t, k, nil)
		shown := fmt.Sprintf("%v %+v %#v %s", kerberos, kerberos, kerberos.Credentials(), keys)
		if strings.Contains(shown+b.Logs(t), winauthtest.Secret) {
			t.Error("the password is in a log")
		}
	})
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// srv answers for _kerberos._tcp of the bed's realm.
func srv(t *testing.T, addr string) func(context.Context, string, string, string) (string, []*net.SRV, error) {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		if service != "kerberos" || proto != "tcp" || name != winauthtest.Realm {
			return "", nil, fmt.Errorf("asked for %s %s %s", service, proto, name)
		}
		return "", []*net.SRV{{Target: "127.0.0.1.", Port: uint16(a.Port)}}, nil
	}
}

// TestKerberosRefused: each reason why there is no ticket, or why it is not taken, with what to do.
func TestKerberosRefused(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	for _, user := range []string{winauthtest.User, "locked", "gone", "aged", "rekeyed"} {
		k.AddUser(t, user, winauthtest.Secret)
	}
	k.Admin(t, "modprinc", "-allow_tix", "locked@"+winauthtest.Realm)
	k.Admin(t, "modprinc", "-expire", "2001-01-01", "gone@"+winauthtest.Realm)
	k.Admin(t, "modprinc", "-pwexpire", "2001-01-01", "aged@"+winauthtest.Realm)
	old := keytab(t, k.Keytab(t, "rekeyed"))
	k.Admin(t, "cpw", "-pw", "another-"+winauthtest.Secret, "rekeyed@"+winauthtest.Realm)
	b := winauthtest.StartApache(t, k, winauthtest.ApacheOptions{})
	ahead := winauthtest.StartKDC(t, winauthtest.ClockOffset(20*time.Minute))
	ahead.AddUser(t, winauthtest.User, winauthtest.Secret)
	ahead.AddService(t, "HTTP/"+winauthtest.Host)
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	user := func(name string) func(*winauth.KerberosConfig) {
		return func(c *winauth.KerberosConfig) { c.User = name }
	}
	for name, tt := range map[string]struct {
		edit   func(*winauth.KerberosConfig)
		dialer func(*winauth.Dialer)
		code   string
		has    []string // in the error
		fix    string
	}{
		"wrong password":   {edit: func(c *winauth.KerberosConfig) { c.Password = winauth.NewPassword([]byte("Not-It")) }, code: "winauth.wrong-password", has: []string{"ciscora", k.Addr()}, fix: "password file"},
		"old keytab":       {edit: func(c *winauth.KerberosConfig) { c.User, c.Password, c.Keytab = "rekeyed", winauth.Password{}, old }, code: "winauth.wrong-password", has: []string{"key version", "keytab"}, fix: "new keytab"},
		"unknown user":     {edit: user("nobody"), code: "winauth.unknown-user", has: []string{"nobody"}, fix: "user@REALM"},
		"unknown realm":    {edit: func(c *winauth.KerberosConfig) { c.Realm = "OTHER.EXAMPLE" }, code: "winauth.unknown-user", has: []string{"OTHER.EXAMPLE"}, fix: "realm"},
		"locked":           {edit: user("locked"), code: "winauth.account-unusable", has: []string{"locked"}, fix: "unlock"},
		"expired account":  {edit: user("gone"), code: "winauth.account-unusable", has: []string{"gone"}, fix: "expiry"},
		"expired password": {edit: user("aged"), code: "winauth.password-expired", has: []string{"aged"}, fix: "new password"},
		"clock":            {edit: func(c *winauth.KerberosConfig) { c.KDCs = []string{ahead.Addr()} }, code: "winauth.clock-skew", has: []string{"ahead of ours", "it says 20"}, fix: "timedatectl"},
		"no KDC":           {edit: func(c *winauth.KerberosConfig) { c.KDCs = []string{closed(t)} }, code: "winauth.kdc-unreachable", has: []string{"refused"}, fix: "port 88"},
		"silent KDC": {edit: func(c *winauth.KerberosConfig) {
			c.KDCs, c.Timeout = []string{silent.Addr().String()}, 100*time.Millisecond
		}, code: "winauth.kdc-unreachable", has: []string{silent.Addr().String()}, fix: "port 88"},
		"realm not in DNS":    {edit: func(c *winauth.KerberosConfig) { c.KDCs, c.LookupSRV = nil, nobodyKnows }, code: "winauth.kdc-unreachable", has: []string{"no KDC of realm"}, fix: "_kerberos._tcp." + winauthtest.Realm},
		"unknown web server":  {dialer: func(d *winauth.Dialer) { d.SPN = "HTTP/other.test.example" }, code: "winauth.unknown-service", has: []string{"HTTP/other.test.example"}, fix: "setspn -S HTTP/other.test.example"},
		"silent beyond login": {edit: func(c *winauth.KerberosConfig) { c.KDCs = []string{silent.Addr().String()} }, dialer: func(d *winauth.Dialer) { d.LoginTimeout = 100 * time.Millisecond }, code: "winauth.kdc-unreachable", has: []string{silent.Addr().String()}, fix: "port 88"},
	} {
		t.Run(name, func(t *testing.T) {
			d := b.Dialer()
			if tt.dialer != nil {
				tt.dialer(&d)
			}
			conn, resp, err := loginBy(t, d, account(t, k, tt.edit).Credentials())
			var e *winauth.Error
			if !errors.As(err, &e) {
				t.Fatalf("Login = %+v, %v", resp, err)
			}
			if e.Code() != tt.code || e.Sent || !strings.Contains(e.Remedy(), tt.fix) {
				t.Errorf("%s, sent %v: %v; fix: %s", e.Code(), e.Sent, e, e.Remedy())
			}
			for _, want := range tt.has {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error()+e.Remedy(), winauthtest.Secret) {
				t.Error("the password is in the error")
			}
			if !conn.Closed() {
				t.Error("the connection is still open")
			}
		})
	}

	t.Run("Kerberos not offered", func(t *testing.T) {
		only := winauthtest.StartAcceptor(t, k, winauthtest.AcceptorOptions{Schemes: []string{"NTLM"}})
		_, resp, err := login(t, only, account(t, k, nil).Credentials())
		var e *winauth.Error
		if !errors.As(err, &e) || e.Code() != "winauth.not-authenticated" || !strings.Contains(e.Remedy(), "provider Negotiate") || !strings.Contains(e.Remedy(), "offers NTLM") {
			t.Errorf("Login = %+v, %v", resp, err)
		}
	})
	t.Run("Negotiate without Kerberos", func(t *testing.T) {
		only := winauthtest.StartApache(t, nil, winauthtest.ApacheOptions{})
		_, resp, err := login(t, only, account(t, k, nil).Credentials())
		var e *winauth.Error
		if !errors.As(err, &e) || e.Code() != "winauth.not-authenticated" || !strings.Contains(e.Remedy(), "the password is right") || !strings.Contains(e.Remedy(), "NTLM only") {
			t.Errorf("Login = %+v, %v", resp, err)
		}
	})
	t.Run("clock of the web server", func(t *testing.T) {
		late := winauthtest.StartAcceptor(t, k, winauthtest.AcceptorOptions{ClockOffset: -30 * time.Minute})
		_, resp, err := login(t, late, account(t, k, nil).Credentials())
		var e *winauth.Error
		if !errors.As(err, &e) || e.Code() != "winauth.clock-skew" || !strings.Contains(e.Error(), "the web server is 30m") || !strings.Contains(e.Error(), "behind ours") {
			t.Errorf("Login = %+v, %v", resp, err)
		}
	})
	t.Run("web server reads no ticket", func(t *testing.T) {
		// The service has got a new key that the web server does not know.
		k.Admin(t, "cpw", "-randkey", "HTTP/"+winauthtest.Host+"@"+winauthtest.Realm)
		_, resp, err := login(t, b, account(t, k, nil).Credentials())
		var e *winauth.Error
		if !errors.As(err, &e) || e.Code() != "winauth.not-authenticated" || e.Status != 401 || !strings.Contains(e.Remedy(), "setspn -Q HTTP/"+winauthtest.Host) {
			t.Errorf("Login = %+v, %v", resp, err)
		}
	})
}

// TestWrongPasswordOnce: a login with a wrong password is one attempt for the KDC, since each counts towards locking the
// account.
func TestWrongPasswordOnce(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, winauthtest.User, winauthtest.Secret)
	b := winauthtest.StartApache(t, k, winauthtest.ApacheOptions{})
	kerberos := account(t, k, func(c *winauth.KerberosConfig) { c.Password = winauth.NewPassword([]byte("Not-It")) })
	for n := 1; n <= 2; n++ {
		_, resp, err := login(t, b, kerberos.Credentials())
		var e *winauth.Error
		if !errors.As(err, &e) || e.Code() != "winauth.wrong-password" || e.URL == "" {
			t.Errorf("Login = %+v, %v", resp, err)
		}
		if got := strings.Count(k.Log(t), "PREAUTH_FAILED"); got != n {
			t.Errorf("after %d logins the KDC has seen %d wrong passwords", n, got)
		}
	}
}

// TestAnotherAccount: somebody else's login has tickets of its own, by its own password, although ours has a keytab.
func TestAnotherAccount(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, winauthtest.User, winauthtest.Secret)
	k.AddUser(t, "other", "Secret-2")
	b := winauthtest.StartApache(t, k, winauthtest.ApacheOptions{})
	ours := account(t, k, func(c *winauth.KerberosConfig) {
		c.Password, c.Keytab = winauth.Password{}, keytab(t, k.Keytab(t, winauthtest.User))
	})
	if _, resp, err := login(t, b, ours.Credentials()); err != nil || resp.Status != 301 {
		t.Fatalf("Login = %+v, %v", resp, err)
	}
	for name, tt := range map[string]struct {
		user, password, code string
	}{
		"right":            {"other", "Secret-2", ""},
		"wrong":            {"other", winauthtest.Secret, "winauth.wrong-password"},
		"ours, no keytab":  {winauthtest.User, "Secret-2", "winauth.wrong-password"},
		"ours, its secret": {winauthtest.User, winauthtest.Secret, ""},
		"no password":      {winauthtest.User, "", "winauth.bad-credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			theirs, err := ours.For(tt.user, winauth.NewPassword([]byte(tt.password)))
			if err == nil {
				defer func() { _ = theirs.Close() }()
				_, _, err = login(t, b, theirs.Credentials())
			}
			var e *winauth.Error
			switch {
			case tt.code == "" && err != nil, tt.code != "" && (!errors.As(err, &e) || e.Code() != tt.code):
				t.Errorf("Login: %v, want %q", err, tt.code)
			}
		})
	}
}

func nobodyKnows(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: winauthtest.Realm, IsNotFound: true}
}

// TestTickets: a ticket is kept for many logins, and a new one is fetched when it has expired.
func TestTickets(t *testing.T) {
	t.Parallel()
	const life = 4 * time.Second
	k := winauthtest.StartKDC(t, winauthtest.TicketLife(life))
	k.AddUser(t, winauthtest.User, winauthtest.Secret)
	b := winauthtest.StartApache(t, k, winauthtest.ApacheOptions{})
	dials := 0
	kerberos := account(t, k, func(c *winauth.KerberosConfig) {
		c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	began := time.Now()
	for range 3 {
		if _, resp, err := login(t, b, kerberos.Credentials()); err != nil || resp.Status != 301 {
			t.Fatalf("Login = %+v, %v", resp, err)
		}
	}
	first := dials
	if first > 3 && time.Since(began) < life/2 { // without pre-authentication, with it, and the ticket for the service
		t.Errorf("the KDC was asked %d times for three logins", first)
	}
	time.Sleep(life + time.Second) // from here on: on a busy machine the last of these tickets may have been fetched just now
	if _, resp, err := login(t, b, kerberos.Credentials()); err != nil || resp.Status != 301 {
		t.Errorf("after the end of the ticket: %+v, %v", resp, err)
	}
	if dials == first {
		t.Error("no new ticket after the end of the old one")
	}
	if err := kerberos.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := login(t, b, kerberos.Credentials()); err == nil {
		t.Error("a login after Close")
	}
}
