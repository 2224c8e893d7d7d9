package certsrv_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/certsrv/winauth/winauthtest"
)

// counter counts the connections that a client has open.
type counter struct {
	open, most, made atomic.Int64
}

func (c *counter) dial(next func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.made.Add(1)
		now := c.open.Add(1)
		for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
		}
		return &counted{Conn: conn, closed: sync.OnceFunc(func() { c.open.Add(-1) })}, nil
	}
}

type counted struct {
	net.Conn
	closed func()
}

func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}

// TestEnrollThroughApache: whole enrolments behind a real login. Apache asks for NTLM or Kerberos, which share no code with
// us, and hands on to the simulated pages what is logged in. 1,000 enrolments, 8 at a time, all succeed, each has its own
// request, and no connection is left.
func TestEnrollThroughApache(t *testing.T) {
	t.Parallel()
	const enrolments, atOnce = 500, 8 // by each way
	kdc := winauthtest.StartKDC(t)
	kdc.AddUser(t, winauthtest.User, winauthtest.Secret)
	password := winauth.NewPassword([]byte(winauthtest.Secret))
	ca := newSimCA(t, 0)
	sim, behind, _, _ := startSim(t, ca, func(c *certsrvtest.Config) { c.Basic, c.NTLM, c.Host = true, false, winauthtest.Host })
	// The simulator's address, which its client dials whatever the name.
	probe, err := behind.DialContext(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	backend := probe.RemoteAddr().String()
	_ = probe.Close()
	apache := winauthtest.StartApache(t, kdc, winauthtest.ApacheOptions{
		Backend: backend, BackendUser: `MICHAMEN\ciscora`, BackendPassword: simPassword,
	})

	done := 0
	for _, way := range []string{"NTLM", "Kerberos"} {
		var conns, kdcs counter
		auth := winauth.Credentials{User: winauthtest.Domain + `\` + winauthtest.User, Password: password}
		if way == "Kerberos" {
			tickets, err := winauth.NewKerberos(winauth.KerberosConfig{
				User: winauthtest.User, Password: password, Realm: winauthtest.Realm, KDCs: []string{kdc.Addr()},
				DialContext: kdcs.dial(new(net.Dialer).DialContext),
			})
			if err != nil {
				t.Fatal(err)
			}
			auth = tickets.Credentials()
		}
		c := &certsrv.Client{
			URL: apache.URL() + "/certsrv", TLS: apache.TLS(), Auth: auth, DialContext: conns.dial(apache.Dial), MaxSessions: atOnce,
		}
		var ids []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		next := make(chan int)
		for range atOnce {
			wg.Go(func() {
				for i := range next {
					request := certsrv.NewCSR(t, fmt.Sprintf("%s-%d", way, i))
					a, err := c.Enroll(t.Context(), certsrv.EnrollOptions{Submission: certsrv.Submission{Request: request, Template: "CiscoRA"}})
					if err != nil || a.Outcome != certsrv.Issued || a.Certificate == nil || a.Certificate.Subject.CommonName != fmt.Sprintf("%s-%d", way, i) {
						t.Errorf("%s enrolment %d: %+v, %v", way, i, a, err)
						continue
					}
					mu.Lock()
					ids = append(ids, a.RequestID)
					mu.Unlock()
				}
			})
		}
		for i := range enrolments {
			next <- i
		}
		close(next)
		wg.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		slices.Sort(ids)
		done += len(slices.Compact(ids))
		if n := conns.open.Load() + kdcs.open.Load(); n != 0 {
			t.Errorf("%s: %d connections are left of %d", way, n, conns.made.Load()+kdcs.made.Load())
		}
		// Two requests for the account, one for the web server: all logins share what they bring.
		if asked := kdcs.made.Load(); way == "Kerberos" && asked != 3 {
			t.Errorf("the KDC was asked %d times", asked)
		}
		if most := conns.most.Load(); most > atOnce {
			t.Errorf("%s: %d connections at a time, more than %d", way, most, atOnce)
		}
		t.Logf("%s: %d connections for %d enrolments", way, conns.made.Load(), enrolments)
	}
	if issued := len(sim.Issued()); done != 2*enrolments || issued != done {
		t.Errorf("%d enrolments have an id of their own and the CA issued %d, want %d", done, issued, 2*enrolments)
	}
}
