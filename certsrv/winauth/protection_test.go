package winauth_test

import (
	"errors"
	"strings"
	"testing"

	"callsign/certsrv/winauth"
	"callsign/certsrv/winauth/winauthtest"
)

// TestExtendedProtection: who checks the binding of a login to its TLS connection finds it right with NTLM and Kerberos, on
// TLS 1.2 and 1.3, and refuses a login without one, or with one of another connection.
func TestExtendedProtection(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, winauthtest.User, winauthtest.Secret)
	ways := map[string]winauth.Credentials{
		"NTLM":     ntlm(winauthtest.Domain+`\`+winauthtest.User, winauthtest.Secret),
		"Kerberos": account(t, k, nil).Credentials(),
	}
	for name, o := range map[string]winauthtest.AcceptorOptions{
		"off": {Protection: winauthtest.Off}, "accept": {Protection: winauthtest.Accept}, "require": {Protection: winauthtest.Require},
		"off, TLS 1.2":    {Protection: winauthtest.Off, TLS12: true},
		"accept, TLS 1.2": {Protection: winauthtest.Accept, TLS12: true}, "require, TLS 1.2": {Protection: winauthtest.Require, TLS12: true},
		"require, SHA-384": {Protection: winauthtest.Require, SHA384: true},
		// NTLM goes inside Negotiate where the server offers nothing else.
		"accept, Negotiate": {Protection: winauthtest.Accept, Schemes: []string{"Negotiate"}}, "require, Negotiate": {Protection: winauthtest.Require, Schemes: []string{"Negotiate"}},
		"require, Negotiate, TLS 1.2": {Protection: winauthtest.Require, Schemes: []string{"Negotiate"}, TLS12: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := winauthtest.StartAcceptor(t, k, o)
			for way, creds := range ways {
				conn, resp, err := login(t, s, creds)
				if err != nil {
					t.Errorf("%s: %v", way, err)
					continue
				}
				bound := "bound=True"
				if o.Protection == winauthtest.Off {
					bound = "bound=False"
				}
				if resp.Status != 200 || !strings.HasSuffix(string(resp.Body), bound) {
					t.Errorf("%s: %d %s", way, resp.Status, resp.Body)
				}
				if resp, err := conn.Do(t.Context(), winauth.Request{Method: "POST", Path: "/certsrv/certfnsh.asp", Body: []byte("x")}); err != nil || resp.Status != 200 {
					t.Errorf("%s: Do = %+v, %v", way, resp, err)
				}

				without := s.Dialer()
				without.NoChannelBinding = true
				_, resp, err = loginBy(t, without, creds)
				refused(t, way+" without binding", o.Protection == winauthtest.Require, "switch that on", resp, err)

				_, resp, err = loginBy(t, winauth.Flipped(s.Dialer()), creds)
				refused(t, way+" with one bit flipped", o.Protection != winauthtest.Off, "no proxy that ends TLS", resp, err)
			}
		})
	}
}

// refused demands that a login was refused, with a hint at Extended Protection and what it was for this login, or that it was
// not.
func refused(t *testing.T, what string, want bool, hint string, resp *winauth.Response, err error) {
	t.Helper()
	if !want {
		if err != nil || resp.Status != 200 {
			t.Errorf("%s: %+v, %v", what, resp, err)
		}
		return
	}
	var e *winauth.Error
	if !errors.As(err, &e) || e.Code() != "winauth.not-authenticated" {
		t.Errorf("%s: %+v, %v", what, resp, err)
		return
	}
	for _, words := range []string{"Extended Protection", hint} {
		if !strings.Contains(e.Remedy(), words) {
			t.Errorf("%s: remedy %q lacks %q", what, e.Remedy(), words)
		}
	}
}

// TestOnlyKerberos: a server that refuses NTLM is told from a wrong password.
func TestOnlyKerberos(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, winauthtest.User, winauthtest.Secret)
	s := winauthtest.StartAcceptor(t, k, winauthtest.AcceptorOptions{KerberosOnly: true})
	_, resp, err := login(t, s, ntlm(winauthtest.Domain+`\`+winauthtest.User, winauthtest.Secret))
	var e *winauth.Error
	if !errors.As(err, &e) || e.Code() != "winauth.not-authenticated" || !strings.Contains(e.Remedy(), "log in by Kerberos") {
		t.Errorf("NTLM: %+v, %v", resp, err)
	}
	_, resp, err = login(t, s, winauth.Credentials{User: winauthtest.User, Password: winauth.NewPassword([]byte(winauthtest.Secret)), Method: winauth.Basic})
	if !errors.As(err, &e) || e.Code() != "winauth.not-authenticated" || !strings.Contains(e.Remedy(), "Web-Basic-Auth") || !strings.Contains(e.Remedy(), "offers Negotiate") {
		t.Errorf("Basic: %+v, %v", resp, err)
	}
	if _, resp, err := login(t, s, account(t, k, nil).Credentials()); err != nil || resp.Status != 200 {
		t.Errorf("Kerberos: %+v, %v", resp, err)
	}
}
