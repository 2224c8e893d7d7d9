package certsrvtest

import (
	"bufio"
	"errors"
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
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, nil) }()
	for i, way := range []string{"NTLM", "NTLM in SPNEGO", "Kerberos"} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{t: t, conn: conn, r: bufio.NewReader(conn), host: "lab:80", agent: textAgent}
		if status := w.bound(way, nil, time.Duration(i)*time.Second); status != http.StatusMovedPermanently {
			t.Errorf("%s: %d", way, status)
		}
		_ = conn.Close()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
