package winauth_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/winauth"
	"callsign/certsrv/winauth/winauthtest"
)

// ntlm are credentials for NTLM.
func ntlm(user, password string) winauth.Credentials {
	return winauth.Credentials{User: user, Password: winauth.NewPassword([]byte(password))}
}

func login(t *testing.T, s *winauthtest.Server, creds winauth.Credentials) (*winauth.Conn, *winauth.Response, error) {
	t.Helper()
	return loginBy(t, s.Dialer(), creds)
}

func loginBy(t *testing.T, d winauth.Dialer, creds winauth.Credentials) (*winauth.Conn, *winauth.Response, error) {
	t.Helper()
	conn, err := d.Dial(t.Context(), "https://"+winauthtest.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	resp, err := conn.Login(t.Context(), winauth.Request{Path: "/certsrv"}, creds)
	return conn, resp, err
}

// logged compares the access log, which Apache writes after the answer.
func logged(t *testing.T, s *winauthtest.Server, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, s.AccessLog(t, len(want))); d != "" {
		t.Error(d)
	}
}

// TestApache logs in to a real server by NTLM. The sub-tests share it and run one after the other, since it has few children.
func TestApache(t *testing.T) {
	t.Parallel()
	b := winauthtest.StartApache(t, nil, winauthtest.ApacheOptions{KeepAlive: time.Second})
	right := ntlm(winauthtest.Domain+`\`+winauthtest.User, winauthtest.Secret)

	t.Run("right password", func(t *testing.T) {
		conn, resp, err := login(t, b, right)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Status != 301 || !strings.HasSuffix(resp.Header.Get("Location"), "/certsrv/") {
			t.Errorf("status %d, location %q", resp.Status, resp.Header.Get("Location"))
		}
		// One 401 with Type 2, one 301: no anonymous probe.
		logged(t, b, `- "GET /certsrv HTTP/1.1" 401`, `MICHAMEN\\ciscora "GET /certsrv HTTP/1.1" 301`)
		body := []byte("Mode=newreq&CertRequest=" + strings.Repeat("MII%2B", 500))
		resp, err = conn.Do(t.Context(), winauth.Request{Method: "POST", Path: "/certsrv/certrqxt.asp", Body: body})
		if err != nil || resp.Status != 200 {
			t.Errorf("POST = %+v, %v", resp, err)
		}
		logged(t, b, `- "GET /certsrv HTTP/1.1" 401`, `MICHAMEN\\ciscora "GET /certsrv HTTP/1.1" 301`,
			`MICHAMEN\\ciscora "POST /certsrv/certrqxt.asp HTTP/1.1" 200`)
	})

	forms := map[string]struct {
		user, password string
		ok             bool
	}{
		"no domain":      {"ciscora", winauthtest.Secret, true},
		"user at realm":  {"ciscora@michamen.example", winauthtest.Secret, true},
		"wrong password": {`MICHAMEN\ciscora`, "Not-The-Secret", false},
		"empty password": {`MICHAMEN\ciscora`, "", false},
		"unknown user":   {`MICHAMEN\nobody`, winauthtest.Secret, false},
		"unknown domain": {`ELSEWHERE\ciscora`, winauthtest.Secret, false},
	}
	for name, tt := range forms {
		t.Run(name, func(t *testing.T) {
			conn, resp, err := login(t, b, ntlm(tt.user, tt.password))
			if tt.ok {
				if err != nil || resp.Status != 301 {
					t.Errorf("Login = %+v, %v", resp, err)
				}
				return
			}
			var e *winauth.Error
			if !errors.Is(err, winauth.ErrNotAuthenticated) || !errors.As(err, &e) {
				t.Fatalf("Login = %+v, %v", resp, err)
			}
			if e.Code() != "winauth.not-authenticated" || e.Status != 401 || e.User != tt.user || !strings.Contains(e.Remedy(), "NTLM") {
				t.Errorf("error %+v", e)
			}
			if !conn.Closed() {
				t.Error("the connection is still open")
			}
			shown := fmt.Sprintf("%v %+v %#v %s", err, e, e, e.Remedy())
			if tt.password != "" && strings.Contains(shown, tt.password) {
				t.Error("the password is in the error")
			}
		})
	}

	t.Run("8 workers, 50 requests each", func(t *testing.T) { workers(t, b, right) })

	t.Run("server closes the connection", func(t *testing.T) {
		conn, _, err := login(t, b, right)
		if err != nil {
			t.Fatal(err)
		}
		if !conn.Alive() {
			t.Fatal("the connection is not alive after the login")
		}
		for end := time.Now().Add(20 * time.Second); conn.Alive(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("still alive after the server's timeout")
			}
		}
		if _, err := conn.Do(t.Context(), winauth.Request{Path: "/certsrv/certrqxt.asp"}); !errors.Is(err, winauth.ErrConnectionLost) {
			t.Errorf("Do on a closed connection: %v", err)
		}
		if _, resp, err := login(t, b, right); err != nil || resp.Status != 301 {
			t.Errorf("login again = %+v, %v", resp, err)
		}
	})

	t.Run("TLS", func(t *testing.T) {
		d := b.Dialer()
		d.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		_, err := d.Dial(t.Context(), b.URL())
		if !errors.Is(err, winauth.ErrTLS) {
			t.Errorf("untrusted certificate: %v", err)
		}
		if _, err := b.Dialer().Dial(t.Context(), "https://other.test.example"); !errors.Is(err, winauth.ErrTLS) {
			t.Errorf("wrong name: %v", err)
		}
	})

	t.Run("password in no log", func(t *testing.T) {
		var out strings.Builder
		slog.New(slog.NewJSONHandler(&out, nil)).Info("try", "creds", right, "pointer", &right, "password", right.Password, "nested", struct{ C winauth.Credentials }{right})
		if strings.Contains(out.String()+b.Logs(t), winauthtest.Secret) {
			t.Error("the password is in a log")
		}
	})
}

// workers lets 8 at once log in and ask for a page 50 times each.
func workers(t *testing.T, s *winauthtest.Server, creds winauth.Credentials) {
	t.Helper()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			conn, _, err := login(t, s, creds)
			if err != nil {
				t.Errorf("Login: %v", err)
				return
			}
			for range 50 {
				resp, err := conn.Do(t.Context(), winauth.Request{Path: "/certsrv/certrqxt.asp"})
				if err != nil || resp.Status != 200 || string(resp.Body) != "page\n" {
					t.Errorf("Do = %+v, %v", resp, err)
					return
				}
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
