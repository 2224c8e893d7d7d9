package certsrvtest

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"callsign/certsrv/winauth"
)

// TestExtendedProtection is the matrix of binding and setting, for both mechanisms and every way to carry them.
func TestExtendedProtection(t *testing.T) {
	t.Parallel()
	ways := []string{"NTLM", "NTLM in Negotiate", "NTLM in SPNEGO", "Kerberos", "Kerberos, client knows bindings"}
	bindings := []string{"none", "right", "wrong", "zero"}
	passes := func(way, binding string, epa EPA) bool {
		if way == "Kerberos" && binding == "zero" {
			binding = "none" // that is how it is written
		}
		if way == "Kerberos, client knows bindings" && binding == "none" {
			binding = "zero"
		}
		return epa == EPAOff || binding == "right" || binding == "none" && epa == EPAAccept
	}
	for _, epa := range []EPA{EPAOff, EPAAccept, EPARequire} {
		c, log := kerberosConfig(t)
		s := start(t, c)
		if err := s.SetConditions(Conditions{EPA: epa}); err != nil {
			t.Fatal(err)
		}
		right, err := winauth.ChannelBinding(s.cert)
		if err != nil {
			t.Fatal(err)
		}
		wrong := right
		wrong[7] ^= 4
		values := map[string][]byte{"none": nil, "right": right[:], "wrong": wrong[:], "zero": make([]byte, 16)}
		skew := time.Duration(0) // each ticket needs a time of its own
		for _, way := range ways {
			for _, binding := range bindings {
				skew += time.Second
				before := len(log.lines())
				status := s.dial(t, textAgent).bound(way, values[binding], skew)
				lines := log.lines()
				want := " 301 0 0 "
				if !passes(way, binding, epa) {
					want = " 401 1 2148074310 "
				}
				if last := lines[len(lines)-1]; len(lines) == before || !strings.Contains(last, want) {
					t.Errorf("%s, %s, %s: %d, %s", epa, way, binding, status, last)
				}
			}
		}
	}
}

// bound logs in with a binding and returns the last status.
func (w *wire) bound(way string, binding []byte, skew time.Duration) int {
	w.t.Helper()
	client := client3{user: "ra", domain: "LAB", password: testPassword, mic: true, binding: binding}
	t1 := type1(40, clientFlags)
	var status int
	switch way {
	case "NTLM":
		status = w.login(client, t1).StatusCode
	case "NTLM in Negotiate":
		_, t2 := w.negotiate(t1)
		status, _ = w.negotiate(client.message(w.t, t1, t2))
	case "NTLM in SPNEGO":
		_, b := w.negotiate(negInit(t1, oidNTLMSSP))
		status, _ = w.negotiate(negResponse(acceptIncomplete, nil, client.message(w.t, t1, parseNegAnswer(w.t, b).Token), nil))
	default:
		c := &ticketClient{binding: binding, skew: skew, knowsBindings: strings.Contains(way, "knows")}
		status, _ = w.negotiate(negInit(c.token(w.t), oidKRB5))
	}
	return status
}

// TestExtendedProtectionWithoutTLS: plain HTTP has no channel to bind to, so nothing is expected.
func TestExtendedProtectionWithoutTLS(t *testing.T) {
	t.Parallel()
	c, _ := kerberosConfig(t)
	c.EPA = EPARequire
	_, addr := serve(t, c, nil)
	for i, way := range []string{"NTLM", "NTLM in SPNEGO", "Kerberos"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{t: t, conn: conn, r: bufio.NewReader(conn), host: "lab:80", agent: textAgent}
		if status := w.bound(way, nil, time.Duration(i)*time.Second); status != http.StatusMovedPermanently {
			t.Errorf("%s: %d", way, status)
		}
		_ = conn.Close()
	}
}

// TestExtendedProtectionResumed: a client that would resume its TLS session, which shows no certificate again, logs in as often
// as it likes.
func TestExtendedProtectionResumed(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := config(t, 0)
		c.EPA = EPARequire
		s := start(t, c)
		s.tls.MaxVersion = version
		s.tls.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		binding, err := winauth.ChannelBinding(s.cert)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			w := s.dial(t, textAgent)
			if status := w.bound("NTLM", binding[:], 0); status != http.StatusMovedPermanently {
				t.Errorf("TLS %x, connection %d: %d", version, n, status)
			}
		}
	}
}

// TestExtendedProtectionCertificates: a login is bound to the certificate that its connection was shown, of several.
func TestExtendedProtectionCertificates(t *testing.T) {
	t.Parallel()
	first, firstKey := newCertificate(t, "localhost", nil, nil)
	second, secondKey := newCertificate(t, "pki.lab.test", nil, nil)
	odd, oddKey := ed25519Certificate(t)
	certs := []tls.Certificate{
		{Certificate: [][]byte{first.Raw}, PrivateKey: firstKey},
		{Certificate: [][]byte{second.Raw}, PrivateKey: secondKey},
		{Certificate: [][]byte{odd.Raw}, PrivateKey: oddKey},
	}
	byName := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		for i, c := range []string{"localhost", "pki.lab.test", "odd.lab.test"} {
			if hello.ServerName == c {
				return &certs[i], nil
			}
		}
		return nil, nil
	}
	for _, tc := range []struct {
		name, sni string
		conf      *tls.Config
		shown     *x509.Certificate
		other     *x509.Certificate // a login that is bound to this one is refused; nil: none is
	}{
		{"by name, first", "localhost", &tls.Config{Certificates: certs}, first, second},
		{"by name, second", "pki.lab.test", &tls.Config{Certificates: certs}, second, first},
		{"unknown name: the first", "elsewhere.test", &tls.Config{Certificates: certs}, first, second},
		{"no name: the first", "", &tls.Config{Certificates: certs[1:]}, second, first},
		{"chosen", "pki.lab.test", &tls.Config{GetCertificate: byName}, second, first},
		{"nothing chosen: the first", "elsewhere.test", &tls.Config{GetCertificate: byName, Certificates: certs}, first, second},
		{"configuration chosen", "pki.lab.test", &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: certs}, nil
		}}, second, first},
		{"no configuration chosen", "pki.lab.test", &tls.Config{Certificates: certs, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, nil
		}}, second, first},
		{"signature without a binding", "odd.lab.test", &tls.Config{GetCertificate: byName}, odd, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := config(t, 0)
			c.EPA = EPARequire
			_, addr := serve(t, c, tc.conf)
			dial := func() *wire {
				conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: tc.sni, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if got := conn.ConnectionState().PeerCertificates[0]; !got.Equal(tc.shown) {
					t.Errorf("the client is shown %s, want %s", got.Subject, tc.shown.Subject)
				}
				return &wire{t: t, conn: conn, r: bufio.NewReader(conn), host: "lab", agent: textAgent}
			}
			if tc.other == nil {
				if status := dial().bound("NTLM", nil, 0); status != http.StatusMovedPermanently {
					t.Errorf("no binding where none is defined: %d", status)
				}
				return
			}
			for cert, want := range map[*x509.Certificate]int{tc.shown: http.StatusMovedPermanently, tc.other: http.StatusUnauthorized} {
				binding, err := winauth.ChannelBinding(cert)
				if err != nil {
					t.Fatal(err)
				}
				if status := dial().bound("NTLM", binding[:], 0); status != want {
					t.Errorf("bound to %s: %d, want %d", cert.Subject, status, want)
				}
			}
		})
	}
}

// ed25519Certificate has a signature for which RFC 5929 defines no channel binding.
func ed25519Certificate(t *testing.T) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"odd.lab.test"}, NotBefore: clock.AddDate(-1, 0, 0), NotAfter: clock.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}
