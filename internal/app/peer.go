package app

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/certfile"
)

// peerTLS returns the TLS settings of a client of ours that calls rawURL. chain judges what the server presents, by the
// host of the URL and the certificates in file, which key of the configuration names. Without a file the system's roots
// count.
func (g *generation) peerTLS(rawURL, key, file string) (*tls.Config, error) {
	judge, err := g.peerJudge(rawURL, key, file)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection judges the certificate in crypto/tls' place, on resumed sessions too
		VerifyConnection: func(state tls.ConnectionState) error {
			return judge(chain.OfAll(state.PeerCertificates)).Err()
		},
	}, nil
}

// showClient makes the client of tc show a certificate to a peer that asks for one, whichever issuers that names: its refusal
// says more than its silence. IIS asks by a second handshake, unless it is set up to ask at once.
func showClient(tc *tls.Config, certificateFile, keyFile string) error {
	pair, err := certfile.LoadKeyPair(certificateFile, keyFile)
	if err != nil {
		return err
	}
	shown := pair.TLS()
	tc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	tc.Renegotiation = tls.RenegotiateOnceAsClient
	return nil
}

// judgement is what is found of a certificate that a peer presents, and where what it is judged by comes from.
type judgement struct {
	*chain.Result

	store string // name of the trust store
}

// peerJudge returns what judges the certificates that the server of rawURL presents; see peerTLS.
func (g *generation) peerJudge(rawURL, key, file string) (func(presented []*chain.Certificate) judgement, error) {
	host := rawURL
	if u, err := url.Parse(rawURL); err == nil {
		host = u.Hostname()
	}
	if file == "" {
		return func(presented []*chain.Certificate) judgement {
			roots := SystemRoots(parsed(presented), g.now()).Named("the system's roots (" + key + " is not set)")
			v := chain.Verifier{Anchors: roots, Now: g.now}
			return judgement{v.Verify(presented, host), roots.String()}
		}, nil
	}
	certs, err := certfile.LoadCertificates(file)
	if err != nil {
		return nil, err
	}
	v := chain.Verifier{Anchors: chain.NewStoreX509(certs).Named(key + " (" + file + ")"), Now: g.now}
	return func(presented []*chain.Certificate) judgement {
		return judgement{v.Verify(presented, host), v.Anchors.String()}
	}, nil
}

// parsed are those of the certificates that crypto/x509 takes.
func parsed(certs []*chain.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range certs {
		if x := c.X509(); x != nil {
			out = append(out, x)
		}
	}
	return out
}

// mostAsked is for how many of the presented certificates the system's roots are looked up.
const mostAsked = 4

// SystemRoots returns those of the system's roots in which paths from what a server presents end. crypto/x509 knows the
// system's roots and lists them for nobody, so it is asked for paths: from the first certificate, or from those above
// it when something in the first one keeps it from having any, each as if it were within its dates and for any use and
// name. Whether it is, chain says afterwards; here nothing is decided but which roots may be believed. The system trusts
// what is in its store whether that is self-signed or not.
func SystemRoots(presented []*x509.Certificate, now time.Time) *chain.Store {
	store := chain.NewStore()
	o := x509.VerifyOptions{Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range presented {
		o.Intermediates.AddCert(c)
	}
	for _, c := range presented[:min(len(presented), mostAsked)] {
		switch o.CurrentTime = now; {
		case now.Before(c.NotBefore):
			o.CurrentTime = c.NotBefore
		case now.After(c.NotAfter):
			o.CurrentTime = c.NotAfter
		}
		paths, err := c.Verify(o)
		if err != nil {
			continue // chain finds out why
		}
		for _, path := range paths {
			store.Add(chain.Anchor{Certificate: chain.Of(path[len(path)-1]), Partial: true})
		}
		break
	}
	return store
}

// whole is what is wrong with a certificate together with what is nearly right.
func whole(f *chain.Fault) string {
	return strings.Join(append([]string{f.Detail}, f.NearMisses...), "; ")
}
