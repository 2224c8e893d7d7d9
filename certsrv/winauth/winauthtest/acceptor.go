package winauthtest

import (
	"crypto/elliptic"
	_ "embed"
	"net"
	"strings"
	"testing"
	"time"
)

// Protection is whether a server looks at channel bindings, in the words of IIS.
type Protection string

// The modes of Extended Protection.
const (
	Off     Protection = "off"
	Accept  Protection = "accept"  // a binding that is there must be right
	Require Protection = "require" // and it must be there
)

// AcceptorOptions say what an acceptor demands.
type AcceptorOptions struct {
	Protection Protection // empty means Off
	TLS12      bool       // speak TLS 1.2 and nothing else, in place of TLS 1.3
	SHA384     bool       // have a certificate that is signed with SHA-384, in place of SHA-256
	// KerberosOnly offers Negotiate and refuses NTLM in it, as IIS does with the provider Negotiate:Kerberos.
	KerberosOnly bool
	// Schemes are what is offered and taken; none means Negotiate (with Kerberos and NTLM in it) and NTLM.
	Schemes []string
	// ClockOffset makes the server's clock run ahead of this machine's, or behind with a negative offset.
	ClockOffset time.Duration
}

//go:embed acceptor.py
var acceptor string

// StartAcceptor starts a web server that authenticates each connection by NTLM (bare in both schemes) or Kerberos and looks at
// channel bindings. It answers GET and POST with the user's name and whether the login was bound to TLS:
// "MICHAMEN\ciscora bound=True". The cryptography is that of MIT Kerberos and gss-ntlmssp.
func StartAcceptor(t testing.TB, k *KDC, o AcceptorOptions) *Server {
	t.Helper()
	python := need(t, "python3", "/usr/bin/python3")
	need(t, "python3-gssapi", "/usr/lib/python3/dist-packages/gssapi")
	curve, hash := elliptic.P256(), "sha256"
	if o.SHA384 {
		curve, hash = elliptic.P384(), "sha384"
	}
	if o.Protection == "" {
		o.Protection = Off
	}
	version := "1.3"
	if o.TLS12 {
		version = "1.2"
	}
	s := newServer(t, curve)
	write(t, s.path("acceptor.py"), acceptor)
	keytab := ""
	if k != nil {
		keytab = k.AddService(t, "HTTP/"+Host)
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if o.KerberosOnly {
		o.Schemes = []string{"Negotiate:Kerberos"}
	}
	if len(o.Schemes) == 0 {
		o.Schemes = []string{"Negotiate", "NTLM"}
	}
	s.proc = start(t, append(s.environment(k, keytab), shifted(t, o.ClockOffset)...), nil, python, s.path("acceptor.py"),
		host, port, s.path("srv.pem"), s.path("srv.key"), string(o.Protection), version, hash, strings.Join(o.Schemes, ","))
	s.proc.await(t, s.addr)
	return s
}
