package chain_test

import (
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/chain"

	"github.com/google/go-cmp/cmp"
)

// connected has a client and a server shake hands over a loopback connection, and exchange an octet, so that tickets of TLS
// 1.3 arrive. It returns what either side says, and whether the session was resumed.
func connected(t *testing.T, client, server *tls.Config) (clientErr, serverErr error, resumed bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	deadline := time.Now().Add(30 * time.Second)
	served := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer raw.Close()
		raw.SetDeadline(deadline)
		conn := tls.Server(raw, server)
		if err := conn.Handshake(); err != nil {
			served <- err
			return
		}
		_, err = conn.Write([]byte{1})
		if err == nil {
			// The client closes, or has refused the certificate: TLS 1.3 says so after the server's handshake only.
			if _, err = conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				err = nil
			}
		}
		served <- err
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(deadline)
	conn := tls.Client(raw, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	resumed = conn.ConnectionState().DidResume
	if clientErr == nil {
		conn.Close()
	}
	return clientErr, <-served, resumed
}

func keyPair(key crypto.Signer, ders ...[]byte) tls.Certificate {
	return tls.Certificate{Certificate: ders, PrivateKey: key}
}

// results collects what VerifyConnection logs.
type results struct {
	mu  sync.Mutex
	all []string
}

func (r *results) log(result *chain.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, found(result.Faults))
}

func (r *results) check(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(want, r.all); diff != "" {
		t.Errorf("results (-want +got)\n%s", diff)
	}
}

// versions runs a test for the versions of TLS that are in use.
func versions(t *testing.T, f func(t *testing.T, version uint16)) {
	t.Helper()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			f(t, version)
		})
	}
}

// TestTLSServer: a client judges what a server presents.
func TestTLSServer(t *testing.T) {
	t.Parallel()
	top := root("Root")
	middle := top.ca("Middle")
	versions(t, func(t *testing.T, version uint16) {
		for _, tc := range []struct {
			name       string
			presented  [][]byte
			store      [][]byte
			serverName string
			want       string
			text       string
		}{
			{"accepted", [][]byte{middle.leaf(), middle.cert}, certs(top), host, "", ""},
			{"strangers and the wrong order", [][]byte{middle.leaf(), root("Other").cert, top.cert, middle.cert}, certs(top), host, "", ""},
			{"another name", [][]byte{middle.leaf(), middle.cert}, certs(top), "www.voice-lab.net", "reference_name@0", "the certificate is not for www.voice-lab.net; it is for: " + host},
			{"no intermediate", [][]byte{middle.leaf()}, certs(top), host, "issuer_found@0", "neither presented nor"},
			{"several faults", [][]byte{middle.leaf(past), middle.cert}, nil, "www.voice-lab.net", "issuer_found@1 validity_end@0 reference_name@0", "(also: expired, name_mismatch)"},
			{"self-signed", [][]byte{(*authority)(nil).leaf()}, certs(top), host, "self_signed_stored@0", "is self-signed and not in the trust store"},
		} {
			var log results
			v := &chain.Verifier{Anchors: storeOf(tc.store...), Now: at(noon)}
			client := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, ServerName: tc.serverName, VerifyConnection: v.VerifyConnection(tc.serverName, log.log)}
			server := &tls.Config{Certificates: []tls.Certificate{keyPair(ecKey("leaf"), tc.presented...)}}
			clientErr, serverErr, _ := connected(t, client, server)
			log.check(t, tc.want)
			if tc.want == "" {
				if clientErr != nil || serverErr != nil {
					t.Errorf("%s: client %v, server %v", tc.name, clientErr, serverErr)
				}
				continue
			}
			refused, ok := errors.AsType[*chain.Error](clientErr)
			if !ok || found(refused.Faults) != tc.want || !strings.Contains(clientErr.Error(), tc.text) {
				t.Errorf("%s: client %v, want %s", tc.name, clientErr, tc.text)
			}
			if serverErr == nil || !strings.Contains(serverErr.Error(), "bad certificate") {
				t.Errorf("%s: the server is told %v", tc.name, serverErr)
			}
		}
	})
}

// TestTLSClient: a server judges what a client presents, or does not.
func TestTLSClient(t *testing.T) {
	t.Parallel()
	maker := (*authority)(nil).caWithKey(usualName("Maker"), rsa2048())
	phone := maker.leafWithKey(ecKey("phone"), named(nameOf(utf8String(3, "CP-8865-SEP74A02FC0A675"))), without(17, 37), signedAs(rsaSHA1))
	versions(t, func(t *testing.T, version uint16) {
		for _, tc := range []struct {
			name string
			mic  bool
			show bool
			auth tls.ClientAuthType
			want string
		}{
			{"manufacturing certificate", true, true, tls.RequireAnyClientCert, ""},
			{"issuer without the mark", false, true, tls.RequireAnyClientCert, "signature_algorithm@0"},
			{"no certificate", true, false, tls.RequestClientCert, "presented@0"},
		} {
			var log results
			store := &chain.Store{}
			store.Add(chain.Anchor{Certificate: chain.Parse(maker.cert), MIC: tc.mic})
			v := &chain.Verifier{Anchors: store, Usage: chain.MIC, Now: at(noon)}
			client := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
			if tc.show {
				pair := keyPair(ecKey("phone"), phone)
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			server := &tls.Config{Certificates: []tls.Certificate{keyPair(ecKey("leaf"), (*authority)(nil).leaf())}, ClientAuth: tc.auth, VerifyConnection: v.VerifyConnection("", log.log)}
			clientErr, serverErr, _ := connected(t, client, server)
			log.check(t, tc.want)
			if (serverErr == nil) != (tc.want == "") || (clientErr == nil) != (tc.want == "") {
				t.Errorf("%s: server %v, client %v", tc.name, serverErr, clientErr)
			}
			if _, ok := errors.AsType[*chain.Error](serverErr); ok != (tc.want != "") {
				t.Errorf("%s: server %T", tc.name, serverErr)
			}
		}
	})
}

// TestTLSResumption: a resumed session is judged again, by the store of now.
func TestTLSResumption(t *testing.T) {
	t.Parallel()
	top := root("Root")
	middle := top.ca("Middle")
	versions(t, func(t *testing.T, version uint16) {
		var log results
		now := noon
		v := &chain.Verifier{Anchors: storeOf(top.cert), Now: func() time.Time { return now }}
		client := &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, ServerName: host,
			ClientSessionCache: tls.NewLRUClientSessionCache(4), VerifyConnection: v.VerifyConnection(host, log.log),
		}
		server := &tls.Config{Certificates: []tls.Certificate{keyPair(ecKey("leaf"), middle.leaf(), middle.cert)}}
		for i := range 2 {
			clientErr, serverErr, resumed := connected(t, client, server)
			if clientErr != nil || serverErr != nil || resumed != (i > 0) {
				t.Fatalf("connection %d: client %v, server %v, resumed %v", i, clientErr, serverErr, resumed)
			}
		}
		now = noon.AddDate(1, 0, 0)
		if clientErr, _, resumed := connected(t, client, server); clientErr == nil || !resumed {
			t.Errorf("a year later: client %v, resumed %v", clientErr, resumed)
		}
		now = noon
		other := client.Clone()
		other.VerifyConnection = (&chain.Verifier{Anchors: storeOf(root("Other").cert), Now: at(noon)}).VerifyConnection(host, log.log)
		if clientErr, _, _ := connected(t, other, server); clientErr == nil {
			t.Error("accepted although the root is no longer trusted")
		}
		log.check(t, "", "", "validity_end@0", "issuer_found@1")
	})
}

// TestTLSNoLog: nobody has to listen.
func TestTLSNoLog(t *testing.T) {
	t.Parallel()
	top := root("Root")
	v := &chain.Verifier{Anchors: storeOf(top.cert), Now: at(noon)}
	f := v.VerifyConnection(host, nil)
	if err := f(tls.ConnectionState{}); err == nil {
		t.Error("accepted without a certificate")
	}
	server := &tls.Config{Certificates: []tls.Certificate{keyPair(ecKey("leaf"), top.leaf())}}
	if clientErr, serverErr, _ := connected(t, &tls.Config{InsecureSkipVerify: true, VerifyConnection: f}, server); clientErr != nil || serverErr != nil {
		t.Errorf("client %v, server %v", clientErr, serverErr)
	}
}
