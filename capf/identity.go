package capf

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
)

// Identity is a certificate with its key, by which a phone authenticates.
type Identity struct {
	Certificate []byte          // DER
	Type        CertificateType // what the phone says that it is; 0 means CertificateLSC
	Key         crypto.Signer   // of the certificate, RSA or EC
}

// elements are 4, 6 and 20 for a device name. An RSA key too small for a SHA-512 digest makes no 20, and phones below
// protocol version 3 know none.
func (i *Identity) elements(device string, version uint8) (certificate, sha1Signed Element, sha512Signed *Element, err error) {
	if err = i.check(); err != nil {
		return
	}
	kind := i.Type
	if kind == 0 {
		kind = CertificateLSC
	}
	value, err := AppendCertificatePackage(nil, CertificateEntry{Type: kind, DER: i.Certificate})
	if err != nil {
		return
	}
	certificate = Element{Tag: TagCertificate, Value: value}
	signed := SignedBytes(device, i.Certificate)
	sig, err := signDigest(i.Key, sha1Sum(signed))
	if err != nil {
		return
	}
	sha1Signed = Element{Tag: TagSignedData, Value: sig}
	if p, ok := i.Key.Public().(*rsa.PublicKey); version < 3 || ok && padRSA(p.Size(), sha512Sum(signed)) == nil {
		return
	}
	if sig, err = signDigest(i.Key, sha512Sum(signed)); err != nil {
		return
	}
	value, err = SHA2Signature{Digest: DigestSHA512, Signature: sig}.AppendBinary(nil)
	return certificate, sha1Signed, &Element{Tag: TagSHA2SignedData, Value: value}, err
}

// sudi is element 16 for a session.
func (i *Identity) sudi(session uint32) (Element, error) {
	if err := i.check(); err != nil {
		return Element{}, err
	}
	if _, ok := i.Key.Public().(*rsa.PublicKey); !ok {
		return Element{}, problemf(CodeBadCredential, "SUDI data is made with RSA keys only, and this one is %T", i.Key.Public())
	}
	s := SUDI{Certificate: i.Certificate}
	signed := s.SignedBytes(session)
	var err error
	if s.SHA1Signature, err = signDigest(i.Key, sha1Sum(signed)); err != nil {
		return Element{}, err
	}
	if s.SHA512Signature, err = signDigest(i.Key, sha512Sum(signed)); err != nil {
		return Element{}, err
	}
	value, err := s.AppendBinary(nil)
	return Element{Tag: TagSUDIData, Value: value}, err
}

// check refuses an identity whose parts do not belong together.
func (i *Identity) check() error {
	cert, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		return &ProtocolError{ErrCode: CodeBadCredential, Detail: "certificate to authenticate with does not parse", Err: err}
	}
	if !SameKey(i.Key, cert.PublicKey) {
		return problemf(CodeBadCredential, "the key to authenticate with is not that of the certificate")
	}
	return nil
}

// signDigest signs a digest without DigestInfo.
func signDigest(key crypto.Signer, digest []byte) ([]byte, error) {
	sig, err := func() ([]byte, error) {
		if k, ok := key.(*rsa.PrivateKey); ok && k.N.BitLen() < smallestStandardRSA {
			return signSmall(k, digest)
		}
		return key.Sign(rand.Reader, digest, crypto.Hash(0))
	}()
	if err != nil {
		return nil, &ProtocolError{ErrCode: CodeBadCredential, Detail: "sign with the key of the phone", Err: err}
	}
	return sig, nil
}

// signSmall signs with a key that crypto/rsa does not work with. Such a key protects nothing, so its time tells nothing.
func signSmall(k *rsa.PrivateKey, digest []byte) ([]byte, error) {
	block := padRSA(k.Size(), digest)
	if block == nil {
		return nil, fmt.Errorf("a digest of %d bytes is too long for an RSA key of %d bits", len(digest), k.N.BitLen())
	}
	m := new(big.Int).SetBytes(block)
	return m.Exp(m, k.D, k.N).FillBytes(block), nil
}
