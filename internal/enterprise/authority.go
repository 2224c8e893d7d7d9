package enterprise

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
)

const (
	day = 24 * time.Hour
	// setUp is how long ago the CA of a new enterprise was set up: real ones are older than their web server's certificate.
	setUp = 400 * day
	// maxRenewals bounds how often a CA was renewed.
	maxRenewals = 31
)

// How long revocation lists hold, as AD CS has it by default.
const (
	baseCRL  = 7 * day
	deltaCRL = day
)

// authority is the enterprise's CA, with a certificate for each renewal. It implements certsrvtest.CA and
// certsrvtest.CRLSource.
type authority struct {
	root    *local.Issuer
	issuing []*local.Issuer // by renewal index; not empty
	now     func() time.Time

	mu   sync.Mutex
	crls map[crlName]*x509.RevocationList
}

type crlName struct {
	renewal int
	delta   bool
}

func subject(name string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: []string{"Callsign Demo"}}
}

// openAuthority loads the CA from dir, or makes one there, and renews it until it was renewed that often.
func openAuthority(ctx context.Context, dir string, renewals int, now func() time.Time) (*authority, error) {
	a := &authority{now: now, crls: map[crlName]*x509.RevocationList{}}
	var err error
	began := now().Add(-setUp)
	a.root, err = stored(filepath.Join(dir, "root"), func() (*local.Issuer, error) {
		return local.NewRoot(local.CAOptions{Subject: subject("Demo Root CA"), Now: func() time.Time { return began }})
	})
	if err != nil {
		return nil, err
	}
	for k := 0; ; k++ {
		i, err := stored(filepath.Join(dir, fmt.Sprintf("ca-%d", k)), func() (*local.Issuer, error) {
			if k > renewals {
				return nil, fs.ErrNotExist
			}
			return a.renew(ctx, k)
		})
		switch {
		case errors.Is(err, fs.ErrNotExist) && k > renewals:
			return a, nil
		case err != nil:
			return nil, err
		}
		i.Chain, i.Now = a.root.Full(), now
		a.issuing = append(a.issuing, i)
	}
}

// stored loads an issuer from base.pem and base.key. Without these it is made and written.
func stored(base string, make func() (*local.Issuer, error)) (*local.Issuer, error) {
	_, err := certfile.LoadCertificates(base + ".pem")
	if err == nil {
		pair, err := certfile.LoadKeyPair(base+".pem", base+".key")
		if err != nil {
			return nil, err
		}
		return &local.Issuer{Certificate: pair.Leaf(), Signer: pair.Key}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	i, err := make()
	if err != nil {
		return nil, err
	}
	// The certificate last: a key that was left alone is made anew.
	return i, errors.Join(certfile.WriteKey(base+".key", i.Signer), certfile.WriteCertificates(base+".pem", i.Certificate))
}

// renew makes the certificate of renewal k: the first one, then in turn one for a new key and one for the key of before.
// They lie in the past as far as there is room, a week apart.
func (a *authority) renew(ctx context.Context, k int) (*local.Issuer, error) {
	at := a.root.Certificate.NotBefore.Add(local.DefaultBackdate)
	var last *local.Issuer
	if k > 0 {
		last = a.issuing[k-1]
		at = last.Certificate.NotBefore.Add(local.DefaultBackdate + 7*day)
	}
	if now := a.now(); at.After(now) {
		at = now
	}
	signer, err := local.GenerateKey(rand.Reader, local.P256)
	if err != nil {
		return nil, err
	}
	if k > 0 && k%2 == 0 {
		signer = last.Signer
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	name, err := asn1.Marshal(subject("Demo Issuing CA").ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("encode subject: %w", err)
	}
	then := *a.root
	then.Now = func() time.Time { return at }
	der, err := then.IssueRaw(ctx, spki, name, nil, local.Options{
		CA: true, PathLen: 1, Validity: 10 * 365 * day, // one CA below: the template SubCA
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	return &local.Issuer{Certificate: c, Signer: signer}, nil
}

// newest is the issuing CA as it signs now.
func (a *authority) newest() *local.Issuer { return a.issuing[len(a.issuing)-1] }

// Certificates implements certsrvtest.CA.
func (a *authority) Certificates() [][]*x509.Certificate {
	chains := make([][]*x509.Certificate, len(a.issuing))
	for k, i := range a.issuing {
		chains[k] = i.Full()
	}
	return chains
}

var (
	oidClientAuth      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
	oidServerAuth      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidIPsecEndSystem  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 5}
	oidEnrollmentAgent = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 1}
	oidExtKeyUsage     = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidDeltaCRL        = asn1.ObjectIdentifier{2, 5, 29, 27}
)

// Templates that AD CS ships, in lower case; what they certify is theirs and not the request's.
const (
	templateWeb   = "webserver"
	templateAgent = "enrollmentagent"
	templateSubCA = "subca"
)

// Issue implements certsrvtest.CA with the usages that the template stands for: those of phones, unless it has the name
// of one that AD CS ships.
func (a *authority) Issue(ctx context.Context, r certsrvtest.Issuance) ([]byte, error) {
	exts := r.Extensions
	o := local.Options{
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		EKUs:     []asn1.ObjectIdentifier{oidClientAuth, oidServerAuth, oidIPsecEndSystem},
	}
	switch template := strings.ToLower(r.Template); {
	case r.CA: // the extensions say it
		o = local.Options{CA: true, PathLen: -1, Validity: 5 * 365 * day}
	case template == templateWeb:
		o.EKUs, exts = []asn1.ObjectIdentifier{oidServerAuth}, without(exts, oidExtKeyUsage)
	case template == templateAgent:
		o.KeyUsage, o.EKUs, exts = x509.KeyUsageDigitalSignature, []asn1.ObjectIdentifier{oidEnrollmentAgent}, without(exts, oidExtKeyUsage)
	}
	return a.newest().IssueRaw(ctx, r.PublicKey, r.RawSubject, exts, o)
}

func without(exts []pkix.Extension, id asn1.ObjectIdentifier) []pkix.Extension {
	var out []pkix.Extension
	for _, e := range exts {
		if !e.Id.Equal(id) {
			out = append(out, e)
		}
	}
	return out
}

// CRL implements certsrvtest.CRLSource. Nothing is ever revoked here, so the lists are empty; each holds as long as those
// of AD CS do, and is then made anew with a higher number.
func (a *authority) CRL(_ context.Context, renewal int, delta bool) ([]byte, error) {
	if renewal < 0 || renewal >= len(a.issuing) {
		return nil, fmt.Errorf("the CA has no certificate with renewal index %d", renewal)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	base, err := a.crl(renewal, nil)
	if err == nil && delta {
		base, err = a.crl(renewal, base)
	}
	if err != nil {
		return nil, err
	}
	return base.Raw, nil
}

// crl returns the base list of a renewal, or the delta list to the given base.
func (a *authority) crl(renewal int, base *x509.RevocationList) (*x509.RevocationList, error) {
	name, now := crlName{renewal: renewal, delta: base != nil}, a.now().UTC().Truncate(time.Second)
	if have := a.crls[name]; have != nil && now.Before(have.NextUpdate) {
		return have, nil
	}
	// Seconds since 1970 grow also from one run to the next.
	t := &x509.RevocationList{Number: big.NewInt(now.Unix()), ThisUpdate: now, NextUpdate: now.Add(baseCRL)}
	if base != nil {
		t.NextUpdate = now.Add(deltaCRL)
		number, err := asn1.Marshal(base.Number)
		if err != nil {
			return nil, fmt.Errorf("encode the number of the base list: %w", err)
		}
		t.ExtraExtensions = []pkix.Extension{{Id: oidDeltaCRL, Critical: true, Value: number}} // RFC 5280 section 5.2.4
	}
	by := a.issuing[renewal]
	der, err := x509.CreateRevocationList(rand.Reader, t, by.Certificate, by.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("read own revocation list: %w", err)
	}
	a.crls[name] = list
	return list, nil
}
