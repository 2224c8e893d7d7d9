package local

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RFC 5280 4.2.1.2 names SHA-1 for key identifiers; nothing is protected by it.
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Issuer is a CA certificate with its key: what signs.
type Issuer struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
	Chain       []*x509.Certificate // the CAs above Certificate, up to the root; empty when it is self-signed
	Now         func() time.Time    // nil means time.Now
	Random      io.Reader           // nil means crypto/rand
}

// Options say what IssueRaw writes beside subject, key and extensions.
type Options struct {
	KeyUsage x509.KeyUsage           // 0: no key usage extension
	EKUs     []asn1.ObjectIdentifier // empty: no extended key usage extension
	CA       bool                    // basic constraints CA:TRUE; otherwise CA:FALSE, critical
	PathLen  int                     // with CA: path length constraint; negative for none
	Validity time.Duration           // 0 means 365 days
	Backdate time.Duration           // how far notBefore lies back; 0 means 5 minutes, negative means none
}

// DefaultBackdate is how far notBefore lies in the past: phones' clocks lag.
const DefaultBackdate = 5 * time.Minute

const day = 24 * time.Hour

// Full returns the issuer's chain, issuing certificate first.
func (i *Issuer) Full() []*x509.Certificate {
	return append([]*x509.Certificate{i.Certificate}, i.Chain...)
}

// Check tells whether the issuer can sign at all: a CA certificate, allowed to sign certificates, that belongs to the
// key, and a key type whose signatures phones know.
func (i *Issuer) Check() error {
	if i.Certificate == nil || i.Signer == nil {
		return errors.New("issuing certificate or key is missing")
	}
	pub, ok := i.Signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(i.Certificate.PublicKey) {
		return fmt.Errorf("the key does not belong to the issuing certificate %q", i.Certificate.Subject)
	}
	if !i.Certificate.BasicConstraintsValid || !i.Certificate.IsCA {
		return fmt.Errorf("certificate %q is no CA certificate (basic constraints)", i.Certificate.Subject)
	}
	if ku := i.Certificate.KeyUsage; ku != 0 && ku&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("certificate %q may not sign certificates (key usage keyCertSign is missing)", i.Certificate.Subject)
	}
	_, err := signatureAlgorithm(i.Signer.Public())
	return err
}

// IssueRaw signs a certificate for a DER SubjectPublicKeyInfo and a DER Name with the given extensions and options. It
// judges nothing: rules are the caller's. An extension of exts replaces the one that Options or the issuer would write
// (key usage, extended key usage, basic constraints, key identifiers). The result is DER. It fails when the issuer is out of its
// dates, because a certificate from such an issuer verifies nowhere.
func (i *Issuer) IssueRaw(_ context.Context, spki, subject []byte, exts []pkix.Extension, o Options) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	t, err := i.template(spki, subject, exts, o)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(i.random(), t, i.Certificate, pub, i.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return der, nil
}

func (i *Issuer) template(spki, subject []byte, exts []pkix.Extension, o Options) (*x509.Certificate, error) {
	alg, err := signatureAlgorithm(i.Signer.Public())
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial(i.random())
	if err != nil {
		return nil, err
	}
	ski, err := KeyIdentifier(spki)
	if err != nil {
		return nil, err
	}
	now := i.now().UTC().Truncate(time.Second)
	if now.Before(i.Certificate.NotBefore) || now.After(i.Certificate.NotAfter) {
		return nil, &outOfDates{now: now, issuer: i.Certificate}
	}
	from, until := period(now, i.Certificate, o)
	t := &x509.Certificate{
		SerialNumber:          serial,
		RawSubject:            subject,
		NotBefore:             from,
		NotAfter:              until,
		KeyUsage:              o.KeyUsage,
		UnknownExtKeyUsage:    o.EKUs,
		BasicConstraintsValid: true,
		IsCA:                  o.CA,
		SubjectKeyId:          ski,
		SignatureAlgorithm:    alg,
		ExtraExtensions:       exts,
	}
	if o.CA && o.PathLen >= 0 {
		t.MaxPathLen, t.MaxPathLenZero = o.PathLen, o.PathLen == 0
	}
	return t, nil
}

// period keeps the certificate inside its issuer's dates.
func period(now time.Time, issuer *x509.Certificate, o Options) (from, until time.Time) {
	backdate, validity := o.Backdate, o.Validity
	switch {
	case backdate == 0:
		backdate = DefaultBackdate
	case backdate < 0:
		backdate = 0
	}
	if validity <= 0 {
		validity = 365 * day
	}
	from, until = now.Add(-backdate), now.Add(validity)
	if from.Before(issuer.NotBefore) {
		from = issuer.NotBefore
	}
	if until.After(issuer.NotAfter) {
		until = issuer.NotAfter
	}
	return from, until
}

// outOfDates is the failure of an issuer before or after its own dates.
type outOfDates struct {
	now    time.Time
	issuer *x509.Certificate
}

func (e *outOfDates) Error() string {
	return fmt.Sprintf("the issuing certificate %q is valid from %s to %s, and now is %s", e.issuer.Subject,
		e.issuer.NotBefore.UTC().Format(time.RFC3339), e.issuer.NotAfter.UTC().Format(time.RFC3339), e.now.Format(time.RFC3339))
}

func (i *Issuer) now() time.Time {
	if i.Now == nil {
		return time.Now()
	}
	return i.Now()
}

func (i *Issuer) random() io.Reader {
	if i.Random == nil {
		return rand.Reader
	}
	return i.Random
}

// signatureAlgorithm is SHA-256 with the issuer's key: what every phone that takes SHA-2 at all can verify.
func signatureAlgorithm(pub crypto.PublicKey) (x509.SignatureAlgorithm, error) {
	switch pub.(type) {
	case *rsa.PublicKey:
		return x509.SHA256WithRSA, nil
	case *ecdsa.PublicKey:
		return x509.ECDSAWithSHA256, nil
	}
	return 0, fmt.Errorf("issuing key is a %T; only RSA and EC keys sign", pub)
}

// KeyIdentifier returns the subjectKeyIdentifier of a DER SubjectPublicKeyInfo: SHA-1 of the contents of its BIT STRING
// (RFC 5280 4.2.1.2, method 1).
func KeyIdentifier(spki []byte) ([]byte, error) {
	var seq, alg cryptobyte.String
	var key asn1.BitString
	in := cryptobyte.String(spki)
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() ||
		!seq.ReadASN1(&alg, cbasn1.SEQUENCE) || !seq.ReadASN1BitString(&key) || !seq.Empty() {
		return nil, errors.New("public key is no SubjectPublicKeyInfo")
	}
	sum := sha1.Sum(key.RightAlign()) //nolint:gosec // see the import
	return sum[:], nil
}

// selfSigned tells whether the certificate names itself as issuer.
func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }
