package certfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"callsign/internal/secret"
)

// KeyPair is a private key with its certificate and the certificates above it.
type KeyPair struct {
	Chain []*x509.Certificate // leaf first, then the others in the order of the file; at least one
	Key   crypto.Signer
}

// Leaf returns the key's own certificate.
func (p *KeyPair) Leaf() *x509.Certificate { return p.Chain[0] }

// TLS returns the pair in the form crypto/tls wants, with the leaf parsed.
func (p *KeyPair) TLS() tls.Certificate {
	cert := tls.Certificate{PrivateKey: p.Key, Leaf: p.Chain[0]}
	for _, c := range p.Chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

// LoadCertificates returns the certificates in the file, at least one. Other objects in it are passed over, private keys
// also when they are encrypted; anything damaged, and a certificate that crypto/x509 refuses, is an error.
func LoadCertificates(path string) ([]*x509.Certificate, error) {
	contents, err := LoadWith(path, Options{CertificatesOnly: true})
	if err != nil {
		return nil, err
	}
	certs := contents.Certificates()
	if len(certs) == 0 {
		return nil, &Error{
			Path: path, ErrCode: CodeEmpty, Detail: "holds no certificate" + butHolds(contents),
			Fix: "put the certificate into " + path + " in PEM or DER form",
		}
	}
	return certs, nil
}

// LoadRevocationLists returns the revocation lists in the file, at least one. Other objects in it are passed over as by
// LoadCertificates. The signatures are not checked.
func LoadRevocationLists(path string) ([]*x509.RevocationList, error) {
	contents, err := LoadWith(path, Options{CertificatesOnly: true})
	if err != nil {
		return nil, err
	}
	lists := contents.RevocationLists()
	if len(lists) == 0 {
		return nil, &Error{
			Path: path, ErrCode: CodeEmpty, Detail: "holds no revocation list" + butHolds(contents),
			Fix: "put the revocation list (CRL) into " + path + " in PEM or DER form",
		}
	}
	return lists, nil
}

// LoadPool returns the certificates in the file as a pool of trust anchors.
func LoadPool(path string) (*x509.CertPool, error) {
	certs, err := LoadCertificates(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// LoadKey returns the one private key in the file, which group and others cannot read. It returns an *Error, or the
// *secret.FileError of a file that is missing or exposed.
func LoadKey(path string) (crypto.Signer, error) {
	if err := secret.CheckFile(path); err != nil {
		return nil, err
	}
	contents, err := Load(path)
	if err != nil {
		return nil, err
	}
	switch keys := contents.Keys(); len(keys) {
	case 0:
		return nil, &Error{
			Path: path, ErrCode: CodeEmpty, Detail: "holds no private key" + butHolds(contents),
			Fix: "put the private key into " + path + " in PEM or DER form, mode 0600",
		}
	case 1:
		return keys[0], nil
	default:
		return nil, &Error{
			Path: path, ErrCode: CodeManyKeys, Detail: fmt.Sprintf("holds %d private keys", len(keys)),
			Fix: "leave only the key that belongs to the certificate",
		}
	}
}

// LoadKeyPair reads a certificate with the certificates above it, and its key. The certificate that fits the key comes
// first, wherever it stands in the file; without one the error says so.
func LoadKeyPair(certificateFile, keyFile string) (*KeyPair, error) {
	certs, err := LoadCertificates(certificateFile)
	if err != nil {
		return nil, err
	}
	key, err := LoadKey(keyFile)
	if err != nil {
		return nil, err
	}
	for i, cert := range certs {
		if !Fits(cert.PublicKey, key) {
			continue
		}
		chain := make([]*x509.Certificate, 0, len(certs))
		chain = append(chain, cert)
		chain = append(chain, certs[:i]...)
		chain = append(chain, certs[i+1:]...)
		return &KeyPair{Chain: chain, Key: key}, nil
	}
	return nil, &Error{
		Path: certificateFile, ErrCode: CodeMismatch,
		Detail: fmt.Sprintf("its certificate (%s) was not made for the key in %s", certs[0].Subject, keyFile),
		Fix:    "configure the certificate and the key that were made together",
	}
}

// Fits reports whether public is the public half of key.
func Fits(public crypto.PublicKey, key crypto.Signer) bool {
	own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(public)
}

// butHolds says what was found instead of what was looked for.
func butHolds(c *Contents) string {
	if len(c.Objects) == 0 {
		return ""
	}
	return ", only a " + c.Objects[0].Kind.String()
}

// parseKey reads a private key in the forms of PKCS #8, PKCS #1 and SEC 1.
func parseKey(der []byte) (crypto.Signer, *Error) {
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if rsaKey, rsaErr := x509.ParsePKCS1PrivateKey(der); rsaErr == nil {
			key, err = rsaKey, nil
		} else if ecKey, ecErr := x509.ParseECPrivateKey(der); ecErr == nil {
			key, err = ecKey, nil
		}
	}
	if err != nil {
		return nil, damaged("the private key does not parse", err)
	}
	return signer(key)
}

// signer returns a key that was read as one that can sign.
func signer(key any) (crypto.Signer, *Error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	default:
		return nil, &Error{
			ErrCode: CodeWeakKey, Detail: fmt.Sprintf("the private key (%T) cannot sign", key),
			Fix: "make an RSA or EC key and a certificate for it",
		}
	}
}
