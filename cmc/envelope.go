package cmc

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // a subjectKeyIdentifier is one, as RFC 5280 section 4.2.1.2 makes it
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers of an encrypted private key (RFC 5652, RFC 5958). They are never modified.
var (
	// OIDAES256CBC and OIDAES128CBC are what the content of an envelope can be encrypted with.
	OIDAES256CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	OIDAES128CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}

	oidEnvelopedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}
	oidKeyPackage    = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 2, 1, 2, 78, 5} // id-ct-KP-aKeyPackage
)

// SealKey encrypts a private key (DER PKCS #8) for the holder of a certificate with an RSA key: a ContentInfo with EnvelopedData
// (key transport with rsaEncryption, the recipient by its subjectKeyIdentifier) around a SignedData around an
// AsymmetricKeyPackage, as RFC 7030 section 4.4.2 wants a key that a server has made. The holder of chain[0] signs. cipher is
// OIDAES256CBC or OIDAES128CBC. random may be nil for crypto/rand. Errors are *Problem.
func SealKey(now time.Time, random io.Reader, pkcs8 []byte, signer crypto.Signer, chain []*x509.Certificate, recipient *x509.Certificate, encryption asn1.ObjectIdentifier) ([]byte, error) {
	if random == nil {
		random = rand.Reader
	}
	public, ok := recipient.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, unusable("a key can be encrypted for RSA keys only, and that of %s is none", recipient.Subject)
	}
	size := map[string]int{OIDAES256CBC.String(): 32, OIDAES128CBC.String(): 16}[encryption.String()]
	if size == 0 {
		return nil, unusable("encryption with %s is not known", encryption)
	}
	keyID, err := KeyID(recipient)
	if err != nil {
		return nil, err
	}
	packed, err := marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(pkcs8) })
	})
	if err != nil {
		return nil, err
	}
	inner, err := signOnce(&content{eContentType: oidKeyPackage, eContent: packed, certificates: chain, signingTime: now}, random, signer, chain)
	if err != nil {
		return nil, err
	}
	key, iv := make([]byte, size), make([]byte, aes.BlockSize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, unusable("there are no random bytes").because(err)
	}
	if _, err := io.ReadFull(random, iv); err != nil {
		return nil, unusable("there are no random bytes").because(err)
	}
	// What is encrypted is the content without its tag and length (RFC 5652 section 6.3), of the ContentInfo's content.
	sd, p := openContentInfo(inner)
	if p != nil {
		return nil, p
	}
	plain := appendTLV(nil, tagSequence, sd)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, unusable("the key cannot be encrypted").because(err)
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	for range n {
		plain = append(plain, byte(n))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	// rsaEncryption is what readers of CMS know without being asked; who opens the envelope is not a server that others can ask
	// again and again.
	sealed, err := rsa.EncryptPKCS1v15(random, public, key) //nolint:staticcheck // see above
	if err != nil {
		return nil, unusable("the key cannot be encrypted for %s", recipient.Subject).because(err)
	}
	return marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidEnvelopedData)
			b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1Int64(2)
					b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
						b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1Int64(2)
							b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(keyID) })
							addAlgorithm(b, algorithm{oidRSAEncryption, derNull})
							b.AddASN1OctetString(sealed)
						})
					})
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidSignedData)
						addAlgorithm(b, algorithm{encryption, octets(iv)})
						b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(plain) })
					})
				})
			})
		})
	})
}

// KeyID is the identifier of a certificate's key: that in the certificate, else the SHA-1 of the key as RFC 5280 section
// 4.2.1.2 makes it.
func KeyID(c *x509.Certificate) ([]byte, error) {
	if len(c.SubjectKeyId) > 0 {
		return c.SubjectKeyId, nil
	}
	in := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	var spki, alg cryptobyte.String
	var key asn1.BitString
	if !in.ReadASN1(&spki, casn1.SEQUENCE) || !spki.ReadASN1(&alg, casn1.SEQUENCE) || !spki.ReadASN1BitString(&key) {
		return nil, unusable("the key of %s cannot be read", c.Subject)
	}
	sum := sha1.Sum(key.Bytes) //nolint:gosec // an identifier, no proof
	return sum[:], nil
}

// OpenKey opens what SealKey makes with the recipient's key: any recipient of the envelope that the key opens counts. It returns
// the private key (DER PKCS #8) and the certificate whose signature around it is right; nil when nobody has signed, or
// with a certificate that is not there. Whether the signer is to be trusted is the caller's judgement. Errors are *Problem.
func OpenKey(der []byte, key *rsa.PrivateKey) (pkcs8 []byte, signer *x509.Certificate, err error) {
	if len(der) > MaxMessage {
		return nil, nil, malformed("the envelope has %d octets, at most %d are allowed", len(der), MaxMessage)
	}
	if der, err = toDER(der); err != nil {
		return nil, nil, malformed("the envelope is no BER value").because(err)
	}
	e, err := readEnvelope(der)
	if err != nil {
		return nil, nil, err
	}
	plain, err := e.open(key)
	if err != nil {
		return nil, nil, err
	}
	wrapped, err := marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSignedData)
			b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) { b.AddBytes(plain) })
		})
	})
	if err != nil {
		return nil, nil, err
	}
	m, err := Open(wrapped)
	if err != nil {
		return nil, nil, err
	}
	if !m.EContentType.Equal(oidKeyPackage) {
		return nil, nil, malformed("the envelope holds content of type %v, not a key package", m.EContentType)
	}
	in := cryptobyte.String(m.EContent)
	var packed, one cryptobyte.String
	if !in.ReadASN1(&packed, casn1.SEQUENCE) || !in.Empty() || !packed.ReadASN1Element(&one, casn1.SEQUENCE) || !packed.Empty() {
		return nil, nil, malformed("the key package does not hold exactly one key")
	}
	for i := range m.Signers {
		if s := &m.Signers[i]; s.Err == nil && s.Certificate != nil {
			signer = s.Certificate
		}
	}
	return one, signer, nil
}

// envelope is an EnvelopedData.
type envelope struct {
	recipients [][]byte // encrypted keys of those by key transport with rsaEncryption
	encryption algorithm
	content    []byte
}

// readEnvelope reads a ContentInfo with an EnvelopedData (RFC 5652 section 6.1) whose content is a SignedData.
func readEnvelope(der []byte) (*envelope, error) {
	in := cryptobyte.String(der)
	var info, wrapped, ed, recipients, ec cryptobyte.String
	var contentType asn1.ObjectIdentifier
	var version int64
	if !in.ReadASN1(&info, casn1.SEQUENCE) || !in.Empty() || !info.ReadASN1ObjectIdentifier(&contentType) || !contentType.Equal(oidEnvelopedData) ||
		!info.ReadASN1(&wrapped, context0Constructed) || !info.Empty() || !wrapped.ReadASN1(&ed, casn1.SEQUENCE) || !wrapped.Empty() {
		return nil, malformed("the message is no EnvelopedData")
	}
	if !ed.ReadASN1Integer(&version) || !ed.SkipOptionalASN1(context0Constructed) || !ed.ReadASN1(&recipients, casn1.SET) ||
		!ed.ReadASN1(&ec, casn1.SEQUENCE) {
		return nil, malformed("the EnvelopedData is not well-formed")
	}
	e := new(envelope)
	for !recipients.Empty() {
		if len(e.recipients) == MaxSigners {
			return nil, malformed("the EnvelopedData has more than %d recipients", MaxSigners)
		}
		if !recipients.PeekASN1Tag(casn1.SEQUENCE) { // another kind than key transport
			if _, ok := readAny(&recipients); !ok {
				return nil, malformed("a recipient is not well-formed")
			}
			continue
		}
		var ktri, key cryptobyte.String
		if !recipients.ReadASN1(&ktri, casn1.SEQUENCE) || !ktri.ReadASN1Integer(&version) {
			return nil, malformed("a recipient is not well-formed")
		}
		_, named := readAny(&ktri) // who it is: the key tells
		alg, ok := readAlgorithm(&ktri)
		if !named || !ok || !ktri.ReadASN1(&key, casn1.OCTET_STRING) || !ktri.Empty() {
			return nil, malformed("a recipient is not well-formed")
		}
		if alg.oid.Equal(oidRSAEncryption) && alg.noParams() {
			e.recipients = append(e.recipients, key)
		}
	}
	var ok bool
	var content cryptobyte.String
	if !ec.ReadASN1ObjectIdentifier(&contentType) {
		return nil, malformed("the encrypted content is not well-formed")
	}
	if e.encryption, ok = readAlgorithm(&ec); !ok || !ec.ReadASN1(&content, context0) || !ec.Empty() {
		return nil, malformed("the encrypted content is not well-formed")
	}
	if !contentType.Equal(oidSignedData) {
		return nil, malformed("the encrypted content is of type %v, not signedData", contentType)
	}
	e.content = content
	return e, nil
}

// open decrypts the content.
func (e *envelope) open(key *rsa.PrivateKey) ([]byte, error) {
	size := map[string]int{OIDAES256CBC.String(): 32, OIDAES128CBC.String(): 16}[e.encryption.oid.String()]
	if size == 0 {
		return nil, malformed("the content is encrypted with %v; AES-256 and AES-128 in CBC mode are known", e.encryption.oid)
	}
	iv, err := readOctets(e.encryption.params)
	if err != nil || len(iv) != aes.BlockSize || len(e.content) == 0 || len(e.content)%aes.BlockSize != 0 {
		return nil, malformed("the encrypted content is not well-formed")
	}
	why := fmt.Errorf("none of %d recipients fits", len(e.recipients))
	for _, sealed := range e.recipients {
		session := make([]byte, size)
		_, _ = rand.Read(session) // never fails
		// A wrong key leaves the random one in place, so that nothing tells how it was wrong.
		if err := rsa.DecryptPKCS1v15SessionKey(nil, key, sealed, session); err != nil { //nolint:staticcheck // what senders use
			why = err
			continue
		}
		block, err := aes.NewCipher(session)
		if err != nil {
			return nil, malformed("the content cannot be decrypted").because(err)
		}
		plain := make([]byte, len(e.content))
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, e.content)
		if plain, ok := unpad(plain); ok && len(plain) > 0 && plain[0] == tagSequence {
			return plain, nil
		}
	}
	return nil, malformed("the key does not open the envelope").because(why)
}

// unpad takes the padding of RFC 5652 section 6.3 away.
func unpad(plain []byte) ([]byte, bool) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize || n > len(plain) {
		return nil, false
	}
	good := 1
	for _, b := range plain[len(plain)-n:] {
		good &= subtle.ConstantTimeByteEq(b, byte(n))
	}
	return plain[:len(plain)-n], good == 1
}
