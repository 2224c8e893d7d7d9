package upstream_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
)

// microsoft is the CA behind the simulated pages.
type microsoft struct{ *local.Issuer }

func (m microsoft) Issue(ctx context.Context, r certsrvtest.Issuance) ([]byte, error) {
	return m.IssueRaw(ctx, r.PublicKey, r.RawSubject, r.Extensions, local.Options{KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment})
}

func (m microsoft) Certificates() [][]*x509.Certificate { return [][]*x509.Certificate{m.Full()} }

// onMicrosoft is an authority that asks a simulated AD CS of the issuing CA.
func onMicrosoft(t *testing.T, issuing *local.Issuer) ca.Authority {
	t.Helper()
	leaf := func(p local.Purpose) *local.Leaf {
		l, err := issuing.NewLeaf(t.Context(), local.LeafOptions{Purpose: p, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "leaf"}}, Names: []string{"127.0.0.1"}})
		check(t, err)
		return l
	}
	web, agent := leaf(local.TLSServer), leaf(local.EnrollmentAgent)
	sim, err := certsrvtest.New(certsrvtest.Config{
		CA: microsoft{issuing}, Users: []certsrvtest.User{{Name: `LAB\ciscora`, Password: "secret"}},
		Templates: []certsrvtest.Template{{Name: "Phone"}},
	})
	check(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	go func() {
		done <- sim.Serve(l, &tls.Config{Certificates: []tls.Certificate{{Certificate: web.Presented(), PrivateKey: web.Signer}}, MinVersion: tls.VersionTLS12})
	}()
	pool := x509.NewCertPool()
	pool.AddCert(issuing.Chain[0])
	client := &certsrv.Client{
		URL: "https://" + l.Addr().String() + "/certsrv", TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		Auth: winauth.Credentials{User: `LAB\ciscora`, Password: winauth.NewPassword([]byte("secret"))},
	}
	t.Cleanup(func() {
		check(t, client.Close())
		check(t, sim.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	a, err := adcs.New(adcs.Config{Client: client, Template: "Phone", Agent: agent.Signer, AgentChain: []*x509.Certificate{agent.Certificate}})
	check(t, err)
	_, err = a.Chain(t.Context())
	check(t, err)
	return a
}

// TestEveryKey: keys of every kind that phones make go through RA and AD CS, bare and signed.
func TestEveryKey(t *testing.T) {
	t.Parallel()
	for _, kind := range []local.KeyKind{local.RSA2048, local.P256, local.P384, local.P521} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			subject, err := asn1.Marshal(pkix.Name{CommonName: "SEP001122334455"}.ToRDNSequence())
			check(t, err)
			for name, vouch := range map[string]string{"bare": "null", "signed": ""} {
				key, err := local.GenerateKey(rand.Reader, kind)
				check(t, err)
				spki, err := x509.MarshalPKIXPublicKey(key.Public())
				check(t, err)
				r := ca.Request{ID: "f0112233445566778899aabbccddeeff", Owner: "phone:SEP001122334455", PublicKey: spki, Subject: subject, Vouch: vouch}
				if vouch == "" {
					r.CSR, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: subject}, key)
					check(t, err)
				}
				w := newWorldOn(t, func(issuing *local.Issuer) ca.Authority { return onMicrosoft(t, issuing) })
				a := w.authority(nil)
				l := &page{}
				var out ca.Outcome
				// The RA may say "come back" while AD CS works; the row goes on.
				for range 100 {
					if out, err = a.Issue(t.Context(), r, l); err != nil || out.Status != ca.Pending {
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
				if err != nil || out.Status != ca.Issued {
					t.Fatalf("%s: %+v (%+v), %v", name, out.Status, out.Denial, err)
				}
				c, err := x509.ParseCertificate(out.Certificate)
				check(t, err)
				if !ca.CertifiesKey(c, spki) || c.Subject.CommonName != "SEP001122334455" {
					t.Errorf("%s: certificate for %s, another key or name", name, c.Subject)
				}
			}
		})
	}
}
