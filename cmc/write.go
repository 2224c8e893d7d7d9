package cmc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// content is a SignedData to be written.
type content struct {
	eContentType asn1.ObjectIdentifier
	eContent     []byte
	certificates []*x509.Certificate
	signingTime  time.Time
}

// signed is a SignerInfo that was written.
type signed struct {
	info   []byte // DER
	digest []byte // DER of the digest's AlgorithmIdentifier
}

// addContentInfo adds the ContentInfo of a SignedData, whose fields f adds.
func addContentInfo(b *cryptobyte.Builder, f func(*cryptobyte.Builder)) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, f)
		})
	})
}

// marshal returns the DER of the SignedData with the given SignerInfos. As DER wants, certificates and SignerInfos are
// sorted by their encodings.
func (c *content) marshal(signers ...signed) ([]byte, error) {
	version := int64(3)
	if c.eContentType.Equal(OIDData) {
		version = 1
	}
	var digests, infos, certs [][]byte
	for _, s := range signers {
		if !slices.ContainsFunc(digests, func(d []byte) bool { return bytes.Equal(d, s.digest) }) {
			digests = append(digests, s.digest)
		}
		infos = append(infos, s.info)
	}
	for _, cert := range c.certificates {
		if !slices.ContainsFunc(certs, func(d []byte) bool { return bytes.Equal(d, cert.Raw) }) {
			certs = append(certs, cert.Raw)
		}
	}
	return marshal(func(b *cryptobyte.Builder) {
		addContentInfo(b, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(version)
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(setOf(digests)) })
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(c.eContentType)
				b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) { b.AddASN1OctetString(c.eContent) })
			})
			if len(certs) > 0 {
				b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) { b.AddBytes(setOf(certs)) })
			}
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(setOf(infos)) })
		})
	})
}

// sign writes the SignerInfo of the holder of cert, named by issuer and serial number. extra are further signed attributes
// (DER).
func (c *content) sign(random io.Reader, s crypto.Signer, cert *x509.Certificate, extra ...[]byte) (signed, error) {
	hash, sigAlg, err := signAlgorithm(s, cert)
	if err != nil {
		return signed{}, err
	}
	attrs, err := c.attributes(hash, extra)
	if err != nil {
		return signed{}, err
	}
	sig, err := s.Sign(random, sum(hash, appendTLV(nil, tagSet, attrs)), hash)
	if err != nil {
		return signed{}, unusable("signing with the key of %s", cert.Subject).because(err)
	}
	// The digest algorithm of CMS has no parameters (RFC 5754 section 2).
	digest := algorithm{oid: hashOID(hash)}
	return signerInfo(1, digest, attrs, sigAlg, sig, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(cert.RawIssuer)
			b.AddASN1BigInt(cert.SerialNumber)
		})
	})
}

// noSignature writes a SignerInfo without a signature for the key with the given identifier: the value is the SHA-256 of
// the signed attributes. The NULL after its SHA-256 is what Microsoft's reader is known to meet.
func (c *content) noSignature(keyID []byte) (signed, error) {
	attrs, err := c.attributes(crypto.SHA256, nil)
	if err != nil {
		return signed{}, err
	}
	hash := sum(crypto.SHA256, appendTLV(nil, tagSet, attrs))
	digest := algorithm{oidSHA256, derNull}
	return signerInfo(3, digest, attrs, algorithm{OIDNoSignature, derNull}, hash, func(b *cryptobyte.Builder) {
		b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(keyID) })
	})
}

// signerInfo puts a SignerInfo together; attrs are the contents of the SET OF.
func signerInfo(version int64, digest algorithm, attrs []byte, sigAlg algorithm, sig []byte, sid func(*cryptobyte.Builder)) (signed, error) {
	digestDER, err := marshal(func(b *cryptobyte.Builder) { addAlgorithm(b, digest) })
	if err != nil {
		return signed{}, err
	}
	info, err := marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(version)
			sid(b)
			b.AddBytes(digestDER)
			b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) { b.AddBytes(attrs) })
			addAlgorithm(b, sigAlg)
			b.AddASN1OctetString(sig)
		})
	})
	return signed{info, digestDER}, err
}

// attributes returns the contents of the DER SET OF signed attributes: contentType, signingTime, messageDigest and extra.
func (c *content) attributes(hash crypto.Hash, extra [][]byte) ([]byte, error) {
	contentType, err := attribute(oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(c.eContentType) })
	if err != nil {
		return nil, err
	}
	signingTime, err := attribute(oidSigningTime, func(b *cryptobyte.Builder) { addTime(b, c.signingTime) })
	if err != nil {
		return nil, err
	}
	digest, err := attribute(oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(sum(hash, c.eContent)) })
	if err != nil {
		return nil, err
	}
	return setOf(append([][]byte{contentType, signingTime, digest}, extra...)), nil
}

// attribute returns the DER of an Attribute with one value.
func attribute(t asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) ([]byte, error) {
	return marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(t)
			b.AddASN1(casn1.SET, value)
		})
	})
}

// addTime adds a UTCTime until 2049 and a GeneralizedTime afterwards (RFC 5652 section 11.3).
func addTime(b *cryptobyte.Builder, t time.Time) {
	t = t.UTC().Truncate(time.Second)
	if y := t.Year(); y >= 1950 && y < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

// hashOID returns the name of a digest.
func hashOID(h crypto.Hash) asn1.ObjectIdentifier {
	switch h {
	case crypto.SHA1:
		return oidSHA1
	case crypto.SHA384:
		return oidSHA384
	case crypto.SHA512:
		return oidSHA512
	}
	return oidSHA256
}

// signAlgorithm chooses digest and signature algorithm for the key of cert, and makes sure that s holds that key.
func signAlgorithm(s crypto.Signer, cert *x509.Certificate) (crypto.Hash, algorithm, error) {
	pub, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(cert.PublicKey) {
		return 0, algorithm{}, unusable("the key does not belong to the certificate of %s", cert.Subject)
	}
	if err := checkKey(cert.PublicKey); err != nil {
		return 0, algorithm{}, unusable("the certificate of %s cannot sign messages", cert.Subject).because(err)
	}
	switch k := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return crypto.SHA256, algorithm{oidSHA256WithRSA, derNull}, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 384:
			return crypto.SHA384, algorithm{oid: oidECDSAWithSHA384}, nil
		case 521:
			return crypto.SHA512, algorithm{oid: oidECDSAWithSHA512}, nil
		}
	}
	return crypto.SHA256, algorithm{oid: oidECDSAWithSHA256}, nil
}

// signOnce returns the DER of a SignedData with one signer, whose certificate is chain[0].
func signOnce(c *content, random io.Reader, s crypto.Signer, chain []*x509.Certificate, extra ...[]byte) ([]byte, error) {
	if len(chain) == 0 || s == nil {
		return nil, unusable("a key and its certificate are needed to sign")
	}
	info, err := c.sign(random, s, chain[0], extra...)
	if err != nil {
		return nil, err
	}
	return c.marshal(info)
}
