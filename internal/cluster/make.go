package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"callsign/internal/ca/local"
	"callsign/internal/cluster/purpose"
)

// Request makes a key, and with it the request (PKCS #10, RFC 2986) of a template that Prepare returned. Its attribute
// extensionRequest has subjectAltName, basicConstraints for a CA, keyUsage and extendedKeyUsage. random is crypto/rand.Reader,
// except in tests; crypto/rsa and crypto/ecdsa do without it.
func (t *Template) Request(random io.Reader) (der []byte, key crypto.Signer, err error) {
	if t.selfSigned {
		return nil, nil, errors.New("the template is for a self-signed certificate, not for a request")
	}
	exts, err := t.requested()
	if err != nil {
		return nil, nil, err
	}
	subject, err := asn1.Marshal(t.name)
	if err != nil {
		return nil, nil, fmt.Errorf("encode subject: %w", err)
	}
	if key, err = t.generate(random); err != nil {
		return nil, nil, err
	}
	der, err = x509.CreateCertificateRequest(random, &x509.CertificateRequest{
		RawSubject: subject, DNSNames: t.DNSNames, IPAddresses: t.ips(), ExtraExtensions: exts, SignatureAlgorithm: t.algorithm(),
	}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make request for %s: %w", t.Purpose, err)
	}
	return der, key, nil
}

// SelfSigned makes a key, and with it the self-signed certificate of a template that PrepareSelfSigned returned, valid from
// now, cut to the second: 1826 days for five years, 7305 for twenty. random is as for Request.
func (t *Template) SelfSigned(random io.Reader, now time.Time) (der []byte, key crypto.Signer, err error) {
	if !t.selfSigned {
		return nil, nil, errors.New("the template is for a request, not for a self-signed certificate")
	}
	subject, err := asn1.Marshal(t.name)
	if err != nil {
		return nil, nil, fmt.Errorf("encode subject: %w", err)
	}
	serial, err := local.NewSerial(random)
	if err != nil {
		return nil, nil, err
	}
	if key, err = t.generate(random); err != nil {
		return nil, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	id, err := local.KeyIdentifier(spki)
	if err != nil {
		return nil, nil, err
	}
	from := now.UTC().Truncate(time.Second)
	c := &x509.Certificate{
		SerialNumber: serial, RawSubject: subject, NotBefore: from, NotAfter: from.AddDate(0, 0, days(t.Years)),
		KeyUsage: t.KeyUsage, ExtKeyUsage: t.ExtKeyUsage, BasicConstraintsValid: true, IsCA: t.CA, MaxPathLenZero: t.CA,
		SubjectKeyId: id, AuthorityKeyId: id, // x509 leaves the latter out of a self-signed certificate unless it is told
		DNSNames: t.DNSNames, IPAddresses: t.ips(), SignatureAlgorithm: t.algorithm(),
	}
	if der, err = x509.CreateCertificate(random, c, c, key.Public(), key); err != nil {
		return nil, nil, fmt.Errorf("make self-signed certificate for %s: %w", t.Purpose, err)
	}
	return der, key, nil
}

// days are the whole days of years of 365 days and a quarter.
func days(years int) int { return years * 1461 / 4 }

func (t *Template) ips() []net.IP {
	var all []net.IP
	for _, a := range t.IPAddresses {
		all = append(all, a.AsSlice())
	}
	return all
}

// generate makes the key.
func (t *Template) generate(random io.Reader) (key crypto.Signer, err error) {
	curves := map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}
	switch curve := curves[t.Key.Bits]; {
	case t.Key.Type == purpose.RSA:
		key, err = rsa.GenerateKey(random, t.Key.Bits)
	case t.Key.Type == purpose.EC && curve != nil:
		key, err = ecdsa.GenerateKey(curve, random)
	default:
		err = errors.New("no such key")
	}
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", t.Key, err)
	}
	return key, nil
}

func (t *Template) algorithm() x509.SignatureAlgorithm {
	return map[purpose.KeyType]map[Hash]x509.SignatureAlgorithm{
		purpose.RSA: {SHA256: x509.SHA256WithRSA, SHA384: x509.SHA384WithRSA, SHA512: x509.SHA512WithRSA},
		purpose.EC:  {SHA256: x509.ECDSAWithSHA256, SHA384: x509.ECDSAWithSHA384, SHA512: x509.ECDSAWithSHA512},
	}[t.Key.Type][t.Hash]
}

// Extensions that crypto/x509 writes into certificates but not into requests (RFC 5280 4.2.1.3, 4.2.1.9 and 4.2.1.12).
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// requested returns the extensions that a request asks for beside the names. Only basicConstraints is critical, as in the
// requests of a call manager: how critical key usage is, is for the CA to say.
func (t *Template) requested() ([]pkix.Extension, error) {
	var exts []pkix.Extension
	add := func(id asn1.ObjectIdentifier, critical bool, value any) error {
		der, err := asn1.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode extension %s: %w", id, err)
		}
		exts = append(exts, pkix.Extension{Id: id, Critical: critical, Value: der})
		return nil
	}
	var errs []error
	if t.CA {
		errs = append(errs, add(oidBasicConstraints, true, struct {
			CA      bool
			PathLen int
		}{true, 0}))
	}
	if t.KeyUsage != 0 {
		errs = append(errs, add(oidKeyUsage, false, bitString(t.KeyUsage)))
	}
	if len(t.ExtKeyUsage) > 0 {
		var oids []asn1.RawValue
		for _, u := range t.ExtKeyUsage {
			oid, err := u.OID().MarshalBinary()
			errs = append(errs, err)
			oids = append(oids, asn1.RawValue{Tag: asn1.TagOID, Bytes: oid})
		}
		errs = append(errs, add(oidExtKeyUsage, false, oids))
	}
	return exts, errors.Join(errs...)
}

// bitString is a key usage as RFC 5280 4.2.1.3 numbers its bits, the first one foremost and none after the last that is set.
func bitString(usage x509.KeyUsage) asn1.BitString {
	var out asn1.BitString
	for bit := range 9 {
		if usage&(1<<bit) == 0 {
			continue
		}
		for len(out.Bytes) <= bit/8 {
			out.Bytes = append(out.Bytes, 0)
		}
		out.Bytes[bit/8] |= 0x80 >> (bit % 8)
		out.BitLength = bit + 1
	}
	return out
}
