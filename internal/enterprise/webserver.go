package enterprise

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
)

// webHost is the name of the web server, where it has no better one.
const webHost = "adcs.callsign.example"

// otherHost is the name in a certificate that is for another host.
const otherHost = "intranet.callsign.example"

// webServer makes the certificate that the web server shows under these names.
func (a *authority) webServer(ctx context.Context, names []string, t Trouble) (certfile.KeyPair, error) {
	by, now := a.newest(), a.now()
	o := local.LeafOptions{Purpose: local.TLSServer, Names: names, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: names[0]}}}
	switch t {
	case NoTrouble:
	case SelfSigned:
		return selfSigned(names, now)
	case Untrusted:
		root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Other Root CA", Organization: []string{"Somebody else"}}, Now: a.now})
		if err != nil {
			return certfile.KeyPair{}, err
		}
		if by, err = root.NewIssuing(ctx, local.CAOptions{Subject: pkix.Name{CommonName: "Other Issuing CA", Organization: []string{"Somebody else"}}}); err != nil {
			return certfile.KeyPair{}, err
		}
	case WrongName:
		o.Names, o.Subject.CommonName = []string{otherHost}, otherHost
	case NotYetValid:
		o.Now = func() time.Time { return now.Add(day) }
	case Expired:
		o.Now, o.Validity = func() time.Time { return now.Add(-31 * day) }, 30*day
	}
	then := *by
	if o.Now != nil {
		then.Now = o.Now
	}
	leaf, err := then.NewLeaf(ctx, o)
	if err != nil {
		return certfile.KeyPair{}, err
	}
	return certfile.KeyPair{Chain: []*x509.Certificate{leaf.Certificate, by.Certificate}, Key: leaf.Signer}, nil
}

// selfSigned is a certificate as the manager of IIS makes one: no CA, and its own issuer.
func selfSigned(names []string, now time.Time) (certfile.KeyPair, error) {
	key, err := local.GenerateKey(rand.Reader, local.P256)
	if err != nil {
		return certfile.KeyPair{}, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-local.DefaultBackdate), NotAfter: now.Add(365 * day),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return certfile.KeyPair{}, fmt.Errorf("sign the web server's certificate: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return certfile.KeyPair{}, fmt.Errorf("read own certificate: %w", err)
	}
	return certfile.KeyPair{Chain: []*x509.Certificate{c}, Key: key}, nil
}
