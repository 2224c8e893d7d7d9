package winauthtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"callsign/certsrv/winauth"
)

// The account that every server of the bed knows: by NTLM as MICHAMEN\ciscora, ciscora and ciscora@michamen.example, by
// Kerberos as ciscora@[Realm] once it was added to the KDC.
const (
	User   = "ciscora"
	Domain = "MICHAMEN"
	Secret = "Secret-1-of-the-test-bed"
)

// Server is a running web server for https://[Host].
type Server struct {
	dir   string
	addr  string
	cert  *x509.Certificate
	proc  *process
	trust *x509.CertPool
}

// newServer makes the scratch directory of a server, with its certificate (srv.pem, srv.key) and the accounts of NTLM
// (ntlmusers). A curve decides on the hash of the certificate's signature, and with it on that of channel bindings.
func newServer(t testing.TB, curve elliptic.Curve) *Server {
	t.Helper()
	need(t, "gss-ntlmssp", "/etc/gss/mech.d/mech.ntlmssp.conf")
	s := &Server{dir: scratch(t), addr: freeAddr(t), trust: x509.NewCertPool()}
	write(t, s.path("ntlmusers"), Domain+":"+User+":"+Secret+"\n:"+User+"@michamen.example:"+Secret+"\n")
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Host}, DNSNames: []string{Host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.path("srv.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, s.path("srv.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	s.trust.AddCert(s.cert)
	return s
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// URL returns "https://" and [Host]; dial by [Server.Dial] whatever the name.
func (s *Server) URL() string { return "https://" + Host }

// TLS returns a configuration that trusts the server.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{RootCAs: s.trust, MinVersion: tls.VersionTLS12}
}

// Dial connects to the server whatever the address.
func (s *Server) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, s.addr)
}

// Addr returns host and port.
func (s *Server) Addr() string { return s.addr }

// Dialer returns what logs in to the server.
func (s *Server) Dialer() winauth.Dialer {
	return winauth.Dialer{TLS: s.TLS(), DialContext: s.Dial, UserAgent: "CiscoRA 1.0"}
}

// environment is what MIT's acceptors need to know. Files by environment: a GssapiCredStore of mod_auth_gssapi breaks NTLM.
func (s *Server) environment(k *KDC, keytab string) []string {
	env := []string{"NTLM_USER_FILE=" + s.path("ntlmusers"), "KRB5RCACHETYPE=none"}
	if k != nil {
		env = append(env, "KRB5_CONFIG="+k.Config(), "KRB5_KTNAME=FILE:"+keytab)
	}
	return env
}
