package local

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CAOptions describe a CA certificate to be made.
type CAOptions struct {
	Subject  pkix.Name        // needed
	Key      KeyKind          // empty: the maker's default
	Signer   crypto.Signer    // an existing key instead of a new one
	Validity time.Duration    // 0: the maker's default
	Now      func() time.Time // nil means time.Now
	Random   io.Reader        // nil means crypto/rand
}

// NewRoot makes a self-signed root CA: P-256 and 20 years by default, key usage certificate and CRL signing.
func NewRoot(o CAOptions) (*Issuer, error) {
	return newSelfSigned(o, P256, 20*365*day, -1, x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
}

// NewCAPF makes the self-signed certificate of a CAPF that is its own CA: RSA 2048 and 5 years by default, path length 0,
// key usage digitalSignature (its TLS listener uses the certificate as well) and certificate and CRL signing.
func NewCAPF(o CAOptions) (*Issuer, error) {
	return newSelfSigned(o, RSA2048, 5*365*day, 0,
		x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
}

// NewIssuing makes a CA below i: P-256 and 10 years by default, path length 0. Its clock and random source are o's, or
// those of i.
func (i *Issuer) NewIssuing(ctx context.Context, o CAOptions) (*Issuer, error) {
	o = i.inherit(o)
	signer, spki, subject, err := o.prepare(P256)
	if err != nil {
		return nil, err
	}
	der, err := i.IssueRaw(ctx, spki, subject, nil, Options{
		CA: true, PathLen: 0, Validity: either(o.Validity, 10*365*day),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	return &Issuer{Certificate: c, Signer: signer, Chain: i.Full(), Now: o.Now, Random: o.Random}, nil
}

func newSelfSigned(o CAOptions, kind KeyKind, validity time.Duration, pathLen int, ku x509.KeyUsage) (*Issuer, error) {
	signer, spki, subject, err := o.prepare(kind)
	if err != nil {
		return nil, err
	}
	i := &Issuer{Signer: signer, Now: o.Now, Random: o.Random}
	now := i.now().UTC().Truncate(time.Second)
	validity = either(o.Validity, validity)
	// The certificate signs itself: a stand-in with its own dates is the parent for the checks of template.
	i.Certificate = &x509.Certificate{RawSubject: subject, NotBefore: now.Add(-DefaultBackdate), NotAfter: now.Add(validity)}
	t, err := i.template(spki, subject, nil, Options{CA: true, PathLen: pathLen, KeyUsage: ku, Validity: validity})
	if err != nil {
		return nil, err
	}
	t.AuthorityKeyId = t.SubjectKeyId // x509 leaves it out for a self-signed certificate
	der, err := x509.CreateCertificate(i.random(), t, t, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	if i.Certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	return i, nil
}

func (i *Issuer) inherit(o CAOptions) CAOptions {
	if o.Now == nil {
		o.Now = i.Now
	}
	if o.Random == nil {
		o.Random = i.Random
	}
	return o
}

// prepare makes the key and encodes key and subject.
func (o CAOptions) prepare(kind KeyKind) (crypto.Signer, []byte, []byte, error) {
	signer := o.Signer
	if signer == nil {
		if o.Key != "" {
			kind = o.Key
		}
		random := o.Random
		if random == nil {
			random = rand.Reader
		}
		var err error
		if signer, err = GenerateKey(random, kind); err != nil {
			return nil, nil, nil, err
		}
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	subject, err := asn1.Marshal(o.Subject.ToRDNSequence())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encode subject: %w", err)
	}
	return signer, spki, subject, nil
}

// Purpose is what a leaf certificate of the deployment itself is for.
type Purpose int

// The purposes of Issuer.NewLeaf.
const (
	// TLSServer is a listener's certificate: digitalSignature and keyEncipherment, serverAuth and clientAuth.
	TLSServer Purpose = iota + 1
	// TLSClient authenticates to an EST server: digitalSignature, clientAuth.
	TLSClient
	// Voucher signs CMC requests for bare keys: digitalSignature, id-kp-cmcRA (RFC 6402 2.10).
	Voucher
	// Responder signs the RA's CMC answers: digitalSignature, id-kp-cmcRA.
	Responder
	// EnrollmentAgent signs requests towards AD CS: digitalSignature, Certificate Request Agent.
	EnrollmentAgent
)

// LeafOptions describe a leaf certificate to be made.
type LeafOptions struct {
	Purpose Purpose
	CAOptions
	// Names go into subjectAltName: IP addresses as such, everything else as DNS names.
	Names []string
}

// Leaf is a certificate with its key and the CAs above it, up to the root.
type Leaf struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
	Chain       []*x509.Certificate
}

// NewLeaf makes a key and its certificate, P-256 and 2 years by default.
func (i *Issuer) NewLeaf(ctx context.Context, o LeafOptions) (*Leaf, error) {
	o.CAOptions = i.inherit(o.CAOptions)
	opts := Options{KeyUsage: x509.KeyUsageDigitalSignature, Validity: either(o.Validity, 2*365*day)}
	switch o.Purpose {
	case TLSServer:
		opts.KeyUsage |= x509.KeyUsageKeyEncipherment
		opts.EKUs = []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth}
	case TLSClient:
		opts.EKUs = []asn1.ObjectIdentifier{oidClientAuth}
	case Voucher, Responder:
		opts.EKUs = []asn1.ObjectIdentifier{oidCMCRA}
	case EnrollmentAgent:
		opts.EKUs = []asn1.ObjectIdentifier{oidEnrollmentAgent}
	default:
		return nil, fmt.Errorf("leaf certificate %q: unknown purpose %d", o.Subject, o.Purpose)
	}
	signer, spki, subject, err := o.prepare(P256)
	if err != nil {
		return nil, err
	}
	var exts []pkix.Extension
	if len(o.Names) > 0 {
		san, err := altNames(o.Names)
		if err != nil {
			return nil, err
		}
		exts = append(exts, san)
	}
	der, err := i.IssueRaw(ctx, spki, subject, exts, opts)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	return &Leaf{Certificate: c, Signer: signer, Chain: i.Full()}, nil
}

// Presented returns what the leaf's owner sends to a peer: the certificate and the CAs above it without the root.
func (l *Leaf) Presented() [][]byte {
	out := [][]byte{l.Certificate.Raw}
	for _, c := range l.Chain {
		if !selfSigned(c) {
			out = append(out, c.Raw)
		}
	}
	return out
}

// altNames encodes a subjectAltName of DNS names and IP addresses.
func altNames(names []string) (pkix.Extension, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(seq *cryptobyte.Builder) {
		for _, n := range names {
			tag, value := cbasn1.Tag(tagDNS), []byte(n)
			if ip := net.ParseIP(n); ip != nil {
				tag, value = tagIP, ip
				if v4 := ip.To4(); v4 != nil {
					value = v4
				}
			}
			seq.AddASN1(tag.ContextSpecific(), func(v *cryptobyte.Builder) { v.AddBytes(value) })
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encode names: %w", err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: der}, nil
}

func either(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
