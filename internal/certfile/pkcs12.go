package certfile

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	gopkcs12 "software.sslmate.com/src/go-pkcs12"

	"callsign/internal/secret"
)

// maxWork bounds the key derivations of all PKCS #12 in a file together: a modern file has three, a key store one for
// each key.
const maxWork = 4 * MaxIterations

// errPassword is why open did not open a file.
var errPassword = errors.New("wrong password")

// pkcs12 adds what a PKCS #12 file holds.
func (p *parser) pkcs12(der []byte) {
	p.contents.PKCS12 = true
	f, e := readPFX(der)
	if e == nil {
		if p.iterations += f.iterations; p.iterations > maxWork {
			e = tooManyIterations(int64(p.iterations))
		}
	}
	if e != nil {
		p.fail(place{}, e)
		return
	}
	found, err := f.open(secret.String{}, p.options.CertificatesOnly)
	if errors.Is(err, errPassword) {
		password, asked := p.askPassword()
		if asked != nil {
			p.problems = append(p.problems, asked)
			return
		}
		found, err = f.open(password, p.options.CertificatesOnly)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		p.fail(place{}, e)
		return
	}
	if err != nil {
		p.fail(place{}, &Error{
			ErrCode: CodeWrongPassword, Detail: "the password does not open the PKCS #12 file",
			Fix: "give the password that was chosen when the file was exported: --password-file FILE",
		})
		return
	}
	certificates := 0
	for _, x := range found {
		at := place{}
		switch {
		case x.problem != nil:
			p.fail(at, x.problem)
		case x.signer != nil:
			p.add(at, Object{Kind: PrivateKey, Key: x.signer})
		case x.kind == PrivateKey && x.der == nil:
			p.add(at, Object{Kind: PrivateKey})
		case x.kind == Other:
			p.add(at, Object{Kind: Other})
		default:
			if x.kind == Certificate {
				certificates++
				at.name = fmt.Sprintf("certificate %d of the PKCS #12 file", certificates)
			}
			p.take(at, x.kind, x.der)
		}
	}
	if len(found) == 0 {
		p.fail(place{}, &Error{
			ErrCode: CodeEmpty, Detail: "the PKCS #12 file is empty",
			Fix: "export it again with the certificates included",
		})
	}
}

// askPassword asks for the password once.
func (p *parser) askPassword() (secret.String, error) {
	if p.options.Password != nil && p.password == nil {
		p.password = new(answer)
		p.password.secret, p.password.err = p.options.Password()
	}
	switch {
	case p.password != nil && p.password.err != nil:
		return secret.String{}, p.password.err
	case p.password == nil || p.password.secret.IsZero():
		return secret.String{}, &Error{
			ErrCode: CodePasswordNeeded, Detail: "is a PKCS #12 file, which needs its password",
			Fix: "give the password with --password-file FILE; or convert the file: " + convertCommand,
		}
	default:
		return p.password.secret, nil
	}
}

// contained is what a part of a PKCS #12 file turned out to be.
type contained struct {
	kind    Kind
	der     []byte // of certificates, revocation lists and unencrypted keys
	signer  crypto.Signer
	problem *Error
}

// open reads all parts with a password. The error is errPassword, or an *Error when nothing can be read whatever the
// password; a part that cannot be read is a problem of its own.
func (f *pfx) open(password secret.String, certificatesOnly bool) ([]contained, error) {
	if !fits(password) {
		return nil, errPassword
	}
	if f.mac {
		certs, err := f.verify(password)
		if err != nil || certs != nil {
			return fromCertificates(certs), err
		}
	}
	fill, err := newFiller()
	if err != nil {
		return nil, convertPKCS12("the PKCS #12 file cannot be taken apart", err)
	}
	var found []contained
	for i := range f.parts {
		part := &f.parts[i]
		if certificatesOnly && (part.bag.Equal(oidShroudedKeyBag) || part.bag.Equal(oidKeyBag)) {
			found = append(found, contained{kind: PrivateKey})
			continue
		}
		inside, err := f.openPart(part, password, fill)
		if err != nil {
			return nil, err
		}
		found = append(found, inside...)
	}
	return found, nil
}

// verify checks the password with the integrity check of the file, and returns the certificates if it is a trust store. The
// errors are those of open. DecodeTrustStore makes the check before everything else, and derives nothing that was not counted.
func (f *pfx) verify(password secret.String) ([]*x509.Certificate, error) {
	certs, err := gopkcs12.DecodeTrustStore(f.der, password.Reveal())
	if errors.Is(err, gopkcs12.ErrIncorrectPassword) {
		return nil, errPassword
	}
	if err == nil {
		return certs, nil
	}
	// It is no trust store. Or it is so odd that the check was never made: then another password fails in the same way.
	_, other := gopkcs12.DecodeTrustStore(f.der, password.Reveal()+"\x01")
	if !errors.Is(other, gopkcs12.ErrIncorrectPassword) {
		return nil, convertPKCS12("the integrity check of the PKCS #12 file cannot be made", err)
	}
	return nil, nil
}

func fromCertificates(certs []*x509.Certificate) []contained {
	found := make([]contained, 0, len(certs))
	for _, c := range certs {
		found = append(found, contained{kind: Certificate, der: c.Raw})
	}
	return found
}

// fits reports whether PKCS #12 can express the password: it knows the characters of the basic multilingual plane.
func fits(password secret.String) bool {
	beyond := func(r rune) bool { return r > 0xFFFF }
	return utf8.ValidString(password.Reveal()) && !slices.ContainsFunc([]rune(password.Reveal()), beyond)
}

// openPart reads one part.
func (f *pfx) openPart(p *part, password secret.String, fill *filler) ([]contained, error) {
	if !p.encrypted() {
		return []contained{p.plain()}, nil
	}
	if p.bag != nil && len(p.value) > MaxKeyBytes {
		return []contained{{problem: tooLargeObject("a key of the PKCS #12 file", len(p.value), MaxKeyBytes)}}, nil
	}
	var key any
	var certs []*x509.Certificate
	file, err := p.alone(password, fill)
	if err == nil {
		key, _, certs, err = gopkcs12.DecodeChain(file, password.Reveal())
	}
	notImplemented, unsupported := errors.AsType[gopkcs12.NotImplementedError](err)
	switch {
	case unsupported:
		return []contained{{problem: convertPKCS12("a part of the PKCS #12 file is not supported", notImplemented)}}, nil
	case err != nil && !f.mac:
		// Without the integrity check a wrong password shows only in what comes out.
		return nil, errPassword
	case err != nil:
		return []contained{{problem: convertPKCS12("a part of the PKCS #12 file cannot be read", err)}}, nil
	case p.bag == nil:
		return fromCertificates(certs), nil
	}
	own, problem := signer(key)
	return []contained{{kind: PrivateKey, signer: own, problem: problem}}, nil
}

// plain reads a bag that is not encrypted.
func (p *part) plain() contained {
	kind, der, ok := Other, []byte(nil), true
	switch {
	case p.bag.Equal(oidCertBag):
		kind = Certificate
		der, ok = certificateIn(p.value, oidX509)
	case p.bag.Equal(oidCRLBag):
		kind = RevocationList
		der, ok = certificateIn(p.value, oidX509CRL)
	case p.bag.Equal(oidKeyBag):
		kind, der = PrivateKey, p.value
	}
	if !ok {
		return contained{problem: badPKCS12()}
	}
	return contained{kind: kind, der: der}
}

// filler is a certificate and a key that mean nothing.
type filler struct{ certificate, key []byte }

func newFiller() (*filler, error) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &filler{certificate: cert, key: der}, err
}

// alone returns a PKCS #12 file with this part and what go-pkcs12 wants to find beside it. go-pkcs12 reads one key and its
// chain only; one part at a time lets it read any number of keys, and certificates without a key. And it derives keys as
// often as a file says, also in bags that are themselves encrypted, where nobody could look before; behind the filler's key
// it stops at such a bag, because it takes no second key.
func (p *part) alone(password secret.String, fill *filler) ([]byte, error) {
	var safes, file cryptobyte.Builder
	safes.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addData(b, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addBag(b, oidCertBag, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidX509)
						b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddASN1OctetString(fill.certificate) })
					})
				})
				if p.bag == nil {
					addBag(b, oidKeyBag, func(b *cryptobyte.Builder) { b.AddBytes(fill.key) })
				} else {
					addBag(b, p.bag, func(b *cryptobyte.Builder) { b.AddBytes(p.value) })
				}
			})
		})
		if p.bag == nil {
			b.AddBytes(p.value)
		}
	})
	content, err := safes.Bytes()
	if err != nil {
		return nil, err
	}
	file.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		addData(b, func(b *cryptobyte.Builder) { b.AddBytes(content) })
		addMAC(b, content, password)
	})
	return file.Bytes()
}

// addData adds a ContentInfo of type data.
func addData(b *cryptobyte.Builder, content cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidData)
		b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.OCTET_STRING, content) })
	})
}

// addBag adds a SafeBag without attributes.
func addBag(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, value cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(context0, value)
	})
}

// addMAC adds the integrity check without which go-pkcs12 takes no password: PBMAC1 (RFC 9579) with one round and a fixed
// salt. It protects nothing; the check of the file itself was verified before.
func addMAC(b *cryptobyte.Builder, content []byte, password secret.String) {
	const rounds, size = 1, sha256.Size
	salt := []byte("one part")
	key, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, rounds, size)
	if err != nil {
		b.SetError(err)
		return
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	hmacSHA256 := func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidHMACSHA256) }
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidPBMAC1)
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidPBKDF2)
						b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1OctetString(salt)
							b.AddASN1Int64(rounds)
							b.AddASN1Int64(size)
							b.AddASN1(cbasn1.SEQUENCE, hmacSHA256)
						})
					})
					b.AddASN1(cbasn1.SEQUENCE, hmacSHA256)
				})
			})
			b.AddASN1OctetString(mac.Sum(nil))
		})
		b.AddASN1OctetString(salt) // not used by PBMAC1, but not optional
	})
}
