package cmc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// forgery is a certificate made for one test.
type forgery struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// forge issues a certificate for key under the vectors' vouching anchor, after change.
func forge(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) forgery {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "forged.example.test"},
		NotBefore: clock().Add(-time.Hour), NotAfter: clock().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{OIDKeyPurposeCMCRA},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, loadCert(t, "anchor-ra"), key.Public(), loadKey(t, "anchor-ra"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return forgery{key, c}
}

// ecKey returns a new key on a curve.
func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// goodPKIData returns the content of req/vouched-rsa2048.der after change.
func goodPKIData(t testing.TB, change func(*PKIData)) []byte {
	t.Helper()
	d, err := ParsePKIData(load(t, "req/vouched-rsa2048.pkidata"))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(d)
	}
	der, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// signAs signs a PKIData as the named signer of the vectors.
func signAs(t testing.TB, name string, pkiData []byte) []byte {
	t.Helper()
	return signWith(t, forgery{loadKey(t, name), loadCert(t, name)}, pkiData)
}

// signWith signs a PKIData.
func signWith(t testing.TB, f forgery, pkiData []byte) []byte {
	t.Helper()
	chain := []*x509.Certificate{f.cert}
	msg, err := signOnce(&content{OIDPKIData, pkiData, chain, clock()}, rand.Reader, f.key, chain)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// rawSigner describes a SignerInfo that no decent writer would write.
type rawSigner struct {
	version int64
	byKeyID bool
	digest  algorithm
	attrs   [][]byte // signed attributes in this order; nil for none
	sigAlg  algorithm
}

// wireAttribute returns the DER of an attribute with the given values.
func wireAttribute(t testing.TB, oid asn1.ObjectIdentifier, values ...[]byte) []byte {
	t.Helper()
	der, err := attribute(oid, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(values, nil)) })
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// oidDER returns the DER of an object identifier.
func oidDER(t testing.TB, oid asn1.ObjectIdentifier) []byte {
	t.Helper()
	der, err := asn1.Marshal(oid)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// decent returns what a decent signer of PKIData content writes.
func decent(t testing.TB, eContent []byte) rawSigner {
	t.Helper()
	return rawSigner{
		version: 1, digest: algorithm{oidSHA256, derNull}, sigAlg: algorithm{oidSHA256WithRSA, derNull},
		attrs: [][]byte{
			wireAttribute(t, oidContentType, oidDER(t, OIDPKIData)),
			wireAttribute(t, oidMessageDigest, octets(sum(crypto.SHA256, eContent))),
		},
	}
}

// write returns a SignedData with the SignerInfo r of the vectors' CAPF. The signature is right for the attributes as DER
// wants them sorted, whatever their order on the wire.
func (r rawSigner) write(t testing.TB, eContentType asn1.ObjectIdentifier, eContent []byte) []byte {
	t.Helper()
	cert, key := loadCert(t, "capf-ra-rsa"), loadKey(t, "capf-ra-rsa").(*rsa.PrivateKey)
	covered := eContent
	if r.attrs != nil {
		covered = appendTLV(nil, tagSet, setOf(r.attrs))
	}
	hash := hashByOID(r.digest.oid)
	sig, err := key.Sign(rand.Reader, sum(hash, covered), hash)
	if err != nil {
		t.Fatal(err)
	}
	info, err := marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(r.version)
			if r.byKeyID {
				b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(cert.SubjectKeyId) })
			} else {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddBytes(cert.RawIssuer)
					b.AddASN1BigInt(cert.SerialNumber)
				})
			}
			addAlgorithm(b, r.digest)
			if r.attrs != nil {
				b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(r.attrs, nil)) })
			}
			addAlgorithm(b, r.sigAlg)
			b.AddASN1OctetString(sig)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	c := content{eContentType: eContentType, eContent: eContent, certificates: []*x509.Certificate{cert}}
	msg, err := c.marshal(signed{info: info, digest: oidDigest(t, r.digest)})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// oidDigest returns the DER of an AlgorithmIdentifier.
func oidDigest(t testing.TB, a algorithm) []byte {
	t.Helper()
	der, err := marshal(func(b *cryptobyte.Builder) { addAlgorithm(b, a) })
	if err != nil {
		t.Fatal(err)
	}
	return der
}
