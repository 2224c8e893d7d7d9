package chain_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callsign/chain"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// This file writes certificates, octet by octet where that is needed: most of the defects that the rules are about are ones
// that x509.CreateCertificate refuses to make.

// host is the usual name of the usual leaf. Its domain is no reserved one, or the profile WebPKI would have a say.
const host = "cucm.voice-lab.net"

func derOf(f func(*cryptobyte.Builder)) []byte {
	b := cryptobyte.NewBuilder(nil)
	f(b)
	return b.BytesOrPanic()
}

func tagged(tag cbasn1.Tag, content []byte) []byte {
	return derOf(func(b *cryptobyte.Builder) {
		b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	})
}

func seqOf(content ...[]byte) []byte { return tagged(cbasn1.SEQUENCE, slices.Concat(content...)) }

func oidDER(oid asn1.ObjectIdentifier) []byte {
	return derOf(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) })
}

func intDER(n int64) []byte { return derOf(func(b *cryptobyte.Builder) { b.AddASN1Int64(n) }) }

func context(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific() }

// Keys. Those that sign are made once and known by name, since the same CA stands in many certificates.

var ecKeys sync.Map

func ecKey(name string) *ecdsa.PrivateKey {
	if k, ok := ecKeys.Load(name); ok {
		return k.(*ecdsa.PrivateKey)
	}
	k, _ := ecKeys.LoadOrStore(name, newKey(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	return k.(*ecdsa.PrivateKey)
}

func newKey[K any](k K, err error) K {
	if err != nil {
		panic(err)
	}
	return k
}

var (
	rsa2048 = sync.OnceValue(func() *rsa.PrivateKey { return newKey(rsa.GenerateKey(rand.Reader, 2048)) })
	rsa1024 = sync.OnceValue(func() *rsa.PrivateKey { return newKey(rsa.GenerateKey(rand.Reader, 1024)) })
	p224    = sync.OnceValue(func() *ecdsa.PrivateKey { return newKey(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)) })
	p384    = sync.OnceValue(func() *ecdsa.PrivateKey { return newKey(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521    = sync.OnceValue(func() *ecdsa.PrivateKey { return newKey(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	ed      = sync.OnceValue(func() ed25519.PrivateKey {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return newKey(k, err)
	})
)

func spkiOf(public crypto.PublicKey) []byte { return newKey(x509.MarshalPKIXPublicKey(public)) }

// inventedRSA is a public key of a length for which no private key is made: its modulus is just a number.
func inventedRSA(bits int) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	noise := sha256.Sum256([]byte{byte(bits), byte(bits >> 8)})
	n.Or(n, new(big.Int).SetBytes(noise[:]))
	n.SetBit(n, 0, 1)
	return spkiOf(&rsa.PublicKey{N: n, E: 65537})
}

// spkiFrom writes a key of any algorithm.
func spkiFrom(algorithm []byte, key []byte) []byte {
	return seqOf(algorithm, derOf(func(b *cryptobyte.Builder) { b.AddASN1BitString(key) }))
}

// spkiOnCurve is an EC key on a curve that crypto/x509 may not know. Its point is made up.
func spkiOnCurve(curve asn1.ObjectIdentifier, octets int) []byte {
	return spkiFrom(seqOf(oidDER(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}), oidDER(curve)), append([]byte{4}, make([]byte, 2*octets)...))
}

// spkiDSA is a DSA key with invented numbers.
func spkiDSA() []byte {
	number := func(bits uint) []byte {
		return derOf(func(b *cryptobyte.Builder) { b.AddASN1BigInt(new(big.Int).SetBit(big.NewInt(7), int(bits)-1, 1)) })
	}
	return spkiFrom(seqOf(oidDER(asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}), seqOf(number(2048), number(256), number(2047))), number(2046))
}

// Names.

// attribute is an AttributeTypeAndValue.
type attribute struct {
	arc   int // below 2.5.4; 25 is domainComponent, 1 the PKCS #9 mail address
	tag   cbasn1.Tag
	value string
}

var (
	oidMailAddress     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	oidDomainComponent = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
)

func (a attribute) der() []byte {
	oid := asn1.ObjectIdentifier{2, 5, 4, a.arc}
	switch a.arc {
	case 25:
		oid = oidDomainComponent
	case 1:
		oid = oidMailAddress
	}
	return seqOf(oidDER(oid), tagged(a.tag, []byte(a.value)))
}

func printable(arc int, value string) attribute { return attribute{arc, cbasn1.PrintableString, value} }

func utf8String(arc int, value string) attribute { return attribute{arc, cbasn1.UTF8String, value} }

func ia5String(arc int, value string) attribute { return attribute{arc, cbasn1.IA5String, value} }

// nameOf is a distinguished name, one attribute an RDN.
func nameOf(attributes ...attribute) []byte {
	var rdns [][]byte
	for _, a := range attributes {
		rdns = append(rdns, rdnOf(a))
	}
	return seqOf(rdns...)
}

// rdnOf is one RDN, of any number of attributes, in the order given.
func rdnOf(attributes ...attribute) []byte {
	var all [][]byte
	for _, a := range attributes {
		all = append(all, a.der())
	}
	return tagged(cbasn1.SET, slices.Concat(all...))
}

// usualName is the name of a party in these tests.
func usualName(common string) []byte {
	return nameOf(printable(6, "BE"), printable(10, "Voice Lab"), utf8String(3, common))
}

// General names.

func gnDNS(name string) []byte      { return tagged(context(2), []byte(name)) }
func gnMail(name string) []byte     { return tagged(context(1), []byte(name)) }
func gnURI(name string) []byte      { return tagged(context(6), []byte(name)) }
func gnIP(address string) []byte    { return tagged(context(7), addressOctets(address)) }
func gnDirectory(dn []byte) []byte  { return tagged(context(4).Constructed(), dn) }
func gnRegisteredID(n byte) []byte  { return tagged(context(8), []byte{0x2B, n}) }
func gnRange(network string) []byte { return tagged(context(7), networkOctets(network)) }

// gnOther is an otherName: a Microsoft user principal name.
func gnOther(text string) []byte {
	return tagged(context(0).Constructed(), slices.Concat(
		oidDER(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}), tagged(context(0).Constructed(), tagged(cbasn1.UTF8String, []byte(text)))))
}

func addressOctets(address string) []byte {
	ip := net.ParseIP(address)
	if v4 := ip.To4(); v4 != nil && !strings.Contains(address, ":") {
		return v4
	}
	return ip.To16()
}

func networkOctets(network string) []byte {
	_, n, err := net.ParseCIDR(network)
	if err != nil {
		panic(err)
	}
	return append(slices.Clone(n.IP), n.Mask...)
}

// Extensions.

type exten struct {
	oid      asn1.ObjectIdentifier
	critical bool
	value    []byte
}

func (e exten) der() []byte {
	return derOf(func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(e.oid)
			if e.critical {
				b.AddASN1Boolean(true)
			}
			b.AddASN1OctetString(e.value)
		})
	})
}

func ce(arc int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, arc} }

// basic is basicConstraints; a path length below 0 is left out.
func basic(critical, ca bool, pathLength int) exten {
	var content [][]byte
	if ca {
		content = append(content, derOf(func(b *cryptobyte.Builder) { b.AddASN1Boolean(true) }))
	}
	if pathLength >= 0 {
		content = append(content, intDER(int64(pathLength)))
	}
	return exten{ce(19), critical, seqOf(content...)}
}

func usage(u x509.KeyUsage) exten {
	var bits [2]byte
	for i := range 9 {
		if u&(1<<i) != 0 {
			bits[i/8] |= 0x80 >> (i % 8)
		}
	}
	octets := bits[:1]
	if bits[1] != 0 {
		octets = bits[:]
	}
	unused := byte(0)
	for last := octets[len(octets)-1]; last != 0 && last&(1<<unused) == 0; {
		unused++
	}
	return exten{ce(15), true, tagged(cbasn1.BIT_STRING, append([]byte{unused}, octets...))}
}

// Extended key usages, by the last arc of 1.3.6.1.5.5.7.3; 0 is anyExtendedKeyUsage.
const (
	anyEKU    = 0
	serverEKU = 1
	clientEKU = 2
	codeEKU   = 3
)

func extended(usages ...int) exten {
	var oids [][]byte
	for _, u := range usages {
		oid := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, u}
		if u == anyEKU {
			oid = asn1.ObjectIdentifier{2, 5, 29, 37, 0}
		}
		oids = append(oids, oidDER(oid))
	}
	return exten{ce(37), false, seqOf(oids...)}
}

func alt(names ...[]byte) exten { return exten{ce(17), false, seqOf(names...)} }

func altDNS(names ...string) exten {
	var all [][]byte
	for _, n := range names {
		all = append(all, gnDNS(n))
	}
	return alt(all...)
}

func subjectKey(id []byte) exten { return exten{ce(14), false, tagged(cbasn1.OCTET_STRING, id)} }

// authorityKey is an authority key identifier of any of its parts.
func authorityKey(id []byte, issuer []byte, serial *big.Int) exten {
	var content [][]byte
	if id != nil {
		content = append(content, tagged(context(0), id))
	}
	if issuer != nil {
		content = append(content, tagged(context(1).Constructed(), gnDirectory(issuer)))
	}
	if serial != nil {
		number := derOf(func(b *cryptobyte.Builder) { b.AddASN1BigInt(serial) })
		content = append(content, append([]byte{byte(context(2))}, number[1:]...))
	}
	return exten{ce(35), false, seqOf(content...)}
}

// subtrees are the permitted or the excluded ones of name constraints.
type subtrees [][]byte

func constrain(permitted, excluded subtrees) exten {
	var content [][]byte
	for n, trees := range []subtrees{permitted, excluded} {
		if trees == nil {
			continue
		}
		var all [][]byte
		for _, base := range trees {
			all = append(all, seqOf(base))
		}
		content = append(content, tagged(context(uint8(n)).Constructed(), slices.Concat(all...)))
	}
	return exten{ce(30), true, seqOf(content...)}
}

// Policies, by the last arc of 1.3.6.1.4.1.99999.1; 0 is anyPolicy.
func policyOID(n int) []byte {
	if n == 0 {
		return oidDER(asn1.ObjectIdentifier{2, 5, 29, 32, 0})
	}
	return oidDER(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1, n})
}

func policies(ids ...int) exten {
	var all [][]byte
	for _, n := range ids {
		all = append(all, seqOf(policyOID(n)))
	}
	return exten{ce(32), false, seqOf(all...)}
}

// mappings maps the first of each pair to the second.
func mappings(pairs ...[2]int) exten {
	var all [][]byte
	for _, p := range pairs {
		all = append(all, seqOf(policyOID(p[0]), policyOID(p[1])))
	}
	return exten{ce(33), true, seqOf(all...)}
}

// demand is policyConstraints; a value below 0 is left out.
func demand(explicit, inhibitMapping int64) exten {
	var content [][]byte
	for n, v := range []int64{explicit, inhibitMapping} {
		if v >= 0 {
			content = append(content, append([]byte{byte(context(uint8(n)))}, intDER(v)[1:]...))
		}
	}
	return exten{ce(36), true, seqOf(content...)}
}

func inhibitAny(skip int64) exten { return exten{ce(54), true, intDER(skip)} }

// uncritical and critical return an extension marked so.
func uncritical(e exten) exten {
	e.critical = false
	return e
}

func critical(e exten) exten {
	e.critical = true
	return e
}

// unknownExtension is one that nobody knows.
func unknownExtension(critical bool) exten {
	return exten{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 2}, critical, []byte{5, 0}}
}

// Signatures.

// scheme is a signature algorithm.
type scheme struct {
	id       []byte // AlgorithmIdentifier
	hash     crypto.Hash
	invented bool // the signature is made up
}

func schemeOf(hash crypto.Hash, null bool, oid ...int) scheme {
	content := oidDER(oid)
	if null {
		content = append(content, 5, 0)
	}
	return scheme{id: seqOf(content), hash: hash}
}

var (
	ecdsaSHA256   = schemeOf(crypto.SHA256, false, 1, 2, 840, 10045, 4, 3, 2)
	ecdsaSHA384   = schemeOf(crypto.SHA384, false, 1, 2, 840, 10045, 4, 3, 3)
	ecdsaSHA1     = schemeOf(crypto.SHA1, false, 1, 2, 840, 10045, 4, 1)
	rsaSHA256     = schemeOf(crypto.SHA256, true, 1, 2, 840, 113549, 1, 1, 11)
	rsaSHA1       = schemeOf(crypto.SHA1, true, 1, 2, 840, 113549, 1, 1, 5)
	rsaMD5        = schemeOf(crypto.MD5, true, 1, 2, 840, 113549, 1, 1, 4)
	edPure        = schemeOf(0, false, 1, 3, 101, 112)
	dsaSHA256     = scheme{id: schemeOf(0, false, 2, 16, 840, 1, 101, 3, 4, 3, 2).id, invented: true}
	unknownScheme = scheme{id: schemeOf(0, false, 1, 3, 6, 1, 4, 1, 99999, 3).id, invented: true}
)

func usualScheme(key crypto.Signer) scheme {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return rsaSHA256
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return ecdsaSHA384
		}
		return ecdsaSHA256
	default:
		return edPure
	}
}

// sign returns the signature of tbs.
func (s *scheme) sign(key crypto.Signer, tbs []byte) []byte {
	if s.invented {
		return []byte("this is no signature at all, and nobody will ever be able to verify it")
	}
	digest := tbs
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(tbs)
		digest = h.Sum(nil)
	}
	return newKey(key.Sign(rand.Reader, digest, s.hash))
}

// writing is a certificate before it is signed. Edits change what a good CA would write.
type writing struct {
	version         int // as people count: 1 to 3
	serial          *big.Int
	serialDER       []byte // in place of serial
	issuer, subject []byte
	from, to        time.Time
	spki            []byte
	extensions      []exten
	rawExtensions   []byte // in place of extensions, whole
	inner, outer    []byte // AlgorithmIdentifiers, of the scheme by default
	scheme          *scheme
	key             crypto.Signer // signs
	damage          bool          // the signature does not fit
}

type edit func(*writing)

func timeDER(t time.Time) []byte {
	return derOf(func(b *cryptobyte.Builder) {
		if t.Year() >= 2050 {
			b.AddASN1GeneralizedTime(t)
			return
		}
		b.AddASN1UTCTime(t)
	})
}

func (w *writing) der() []byte {
	s := w.scheme
	if s == nil {
		usual := usualScheme(w.key)
		s = &usual
	}
	inner, outer := w.inner, w.outer
	if inner == nil {
		inner = s.id
	}
	if outer == nil {
		outer = s.id
	}
	tbs := derOf(func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if w.version > 1 {
				b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(w.version - 1)) })
			}
			if w.serialDER != nil {
				b.AddBytes(w.serialDER)
			} else {
				b.AddASN1BigInt(w.serial)
			}
			b.AddBytes(inner)
			b.AddBytes(w.issuer)
			b.AddBytes(seqOf(timeDER(w.from), timeDER(w.to)))
			b.AddBytes(w.subject)
			b.AddBytes(w.spki)
			switch {
			case w.rawExtensions != nil:
				b.AddBytes(w.rawExtensions)
			case len(w.extensions) > 0:
				var all [][]byte
				for _, e := range w.extensions {
					all = append(all, e.der())
				}
				b.AddBytes(tagged(context(3).Constructed(), seqOf(all...)))
			}
		})
	})
	signature := s.sign(w.key, tbs)
	if w.damage {
		signature = s.sign(w.key, append([]byte("other "), tbs...))
	}
	return seqOf(tbs, outer, derOf(func(b *cryptobyte.Builder) { b.AddASN1BitString(signature) }))
}

// with puts extensions in, in place of those of the same kind.
func with(extensions ...exten) edit {
	return func(w *writing) {
		for _, e := range extensions {
			i := slices.IndexFunc(w.extensions, func(x exten) bool { return x.oid.Equal(e.oid) })
			if i < 0 {
				w.extensions = append(w.extensions, e)
				continue
			}
			w.extensions[i] = e
		}
	}
}

// without takes extensions out, by their arc below 2.5.29.
func without(arcs ...int) edit {
	return func(w *writing) {
		w.extensions = slices.DeleteFunc(w.extensions, func(e exten) bool {
			return slices.ContainsFunc(arcs, func(arc int) bool { return e.oid.Equal(ce(arc)) })
		})
	}
}

func bare(w *writing)    { w.extensions = nil }
func damaged(w *writing) { w.damage = true }

func named(dn []byte) edit            { return func(w *writing) { w.subject = dn } }
func issuedBy(dn []byte) edit         { return func(w *writing) { w.issuer = dn } }
func versioned(n int) edit            { return func(w *writing) { w.version = n } }
func numbered(n *big.Int) edit        { return func(w *writing) { w.serial = n } }
func valid(from, to time.Time) edit   { return func(w *writing) { w.from, w.to = from, to } }
func forKey(spki []byte) edit         { return func(w *writing) { w.spki = spki } }
func signedAs(s scheme) edit          { return func(w *writing) { w.scheme = &s } }
func signedWith(k crypto.Signer) edit { return func(w *writing) { w.key = k } }

// reKeyed gives a certificate another key, and the key identifier that belongs to it.
func reKeyed(public crypto.PublicKey) edit {
	return func(w *writing) {
		w.spki = spkiOf(public)
		with(subjectKey(keyIDOf(w.spki)))(w)
	}
}

func keyIDOf(spki []byte) []byte {
	sum := sha256.Sum256(spki)
	return sum[:20] // RFC 7093 2 (1)
}

// Parties.

// authority is a CA: its certificate, and what it signs with.
type authority struct {
	subject []byte
	key     crypto.Signer
	ski     []byte // as it is in its certificate, nil for none
	serial  *big.Int
	issuer  []byte
	cert    []byte // DER
}

var serials atomic.Int64

// nextSerial is a positive number of 8 octets that no other certificate has.
func nextSerial() *big.Int {
	sum := sha256.Sum256(big.NewInt(serials.Add(1)).Bytes())
	return new(big.Int).SetUint64(binary.BigEndian.Uint64(sum[:])>>1 | 1<<62)
}

// written is what a good CA writes for a subject and key; a is nil for a self-signed certificate.
func (a *authority) written(subject []byte, key crypto.Signer, ca bool) *writing {
	w := &writing{
		version: 3, serial: nextSerial(), subject: subject, spki: spkiOf(key.Public()),
		from: noon.AddDate(0, 0, -30), to: noon.AddDate(0, 0, 60),
	}
	if a == nil {
		w.issuer, w.key = subject, key
	} else {
		w.issuer, w.key = a.subject, a.key
		if a.ski != nil {
			w.extensions = append(w.extensions, authorityKey(a.ski, nil, nil))
		}
	}
	if ca {
		w.from, w.to = noon.AddDate(-2, 0, 0), noon.AddDate(8, 0, 0)
		w.extensions = append(w.extensions, subjectKey(keyIDOf(w.spki)), basic(true, true, -1), usage(x509.KeyUsageCertSign|x509.KeyUsageCRLSign))
	}
	return w
}

// finish signs, and returns the CA as its certificate says it is.
func (w *writing) finish(key crypto.Signer) *authority {
	a := &authority{subject: w.subject, key: key, serial: w.serial, issuer: w.issuer, cert: w.der()}
	for _, e := range w.extensions {
		if e.oid.Equal(ce(14)) {
			in := cryptobyte.String(e.value)
			var id cryptobyte.String
			if in.ReadASN1(&id, cbasn1.OCTET_STRING) {
				a.ski = id
			}
		}
	}
	return a
}

// root makes a self-signed CA. The key is known by the name.
func root(name string, edits ...edit) *authority { return (*authority)(nil).ca(name, edits...) }

// ca makes a CA below a.
func (a *authority) ca(name string, edits ...edit) *authority {
	return a.caWithKey(usualName(name), ecKey(name), edits...)
}

func (a *authority) caWithKey(subject []byte, key crypto.Signer, edits ...edit) *authority {
	w := a.written(subject, key, true)
	for _, e := range edits {
		e(w)
	}
	return w.finish(key)
}

// cross has a certify another CA once more.
func (a *authority) cross(other *authority, edits ...edit) *authority {
	return a.caWithKey(other.subject, other.key, edits...)
}

// leaf makes the usual TLS server's certificate below a, or a self-signed one when a is nil.
func (a *authority) leaf(edits ...edit) []byte { return a.leafWithKey(ecKey("leaf"), edits...) }

func (a *authority) leafWithKey(key crypto.Signer, edits ...edit) []byte {
	w := a.written(nameOf(printable(10, "Voice Lab"), utf8String(3, host)), key, false)
	w.extensions = append(w.extensions, usage(x509.KeyUsageDigitalSignature), extended(serverEKU, clientEKU), altDNS(host))
	for _, e := range edits {
		e(w)
	}
	return w.der()
}

// certs are the certificates of CAs.
func certs(authorities ...*authority) [][]byte {
	var all [][]byte
	for _, a := range authorities {
		all = append(all, a.cert)
	}
	return all
}

func parsed(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// storeOf is a trust store of certificates.
func storeOf(ders ...[]byte) *chain.Store { return chain.NewStore(chain.ParseAll(ders)...) }

// CRLs.

// revocations is a CRL before it is signed.
type revocations struct {
	issuer     []byte
	from, to   time.Time // no nextUpdate when to is zero
	entries    [][]byte
	extensions []exten
	scheme     *scheme
	key        crypto.Signer
	damage     bool
}

type crlEdit func(*revocations)

// reason of a revocation; a value below 0 is left out.
const noReason = -1

// listing puts a certificate of this serial number into the list.
func listing(serial *big.Int, reason int, extensions ...exten) crlEdit {
	return func(r *revocations) {
		if reason >= 0 {
			extensions = append(extensions, exten{ce(21), false, tagged(cbasn1.ENUM, []byte{byte(reason)})})
		}
		entry := [][]byte{derOf(func(b *cryptobyte.Builder) { b.AddASN1BigInt(serial) }), timeDER(noon.Add(-2 * time.Hour))}
		if len(extensions) > 0 {
			var all [][]byte
			for _, e := range extensions {
				all = append(all, e.der())
			}
			entry = append(entry, seqOf(all...))
		}
		r.entries = append(r.entries, seqOf(entry...))
	}
}

func updated(from, to time.Time) crlEdit { return func(r *revocations) { r.from, r.to = from, to } }

func crlWith(e exten) crlEdit {
	return func(r *revocations) {
		r.extensions = slices.DeleteFunc(r.extensions, func(x exten) bool { return x.oid.Equal(e.oid) })
		r.extensions = append(r.extensions, e)
	}
}

// point is an issuing distribution point with these fields, each a tag and its content.
func point(fields ...[]byte) crlEdit { return crlWith(exten{ce(28), true, seqOf(fields...)}) }

// crl makes a CRL of a CA.
func (a *authority) crl(edits ...crlEdit) *x509.RevocationList {
	r := &revocations{issuer: a.subject, from: noon.Add(-time.Hour), to: noon.Add(time.Hour), key: a.key, extensions: []exten{{ce(20), false, intDER(1)}}}
	if a.ski != nil {
		r.extensions = append(r.extensions, authorityKey(a.ski, nil, nil))
	}
	for _, e := range edits {
		e(r)
	}
	s := usualScheme(r.key)
	if r.scheme != nil {
		s = *r.scheme
	}
	fields := [][]byte{intDER(1), s.id, r.issuer, timeDER(r.from)}
	if !r.to.IsZero() {
		fields = append(fields, timeDER(r.to))
	}
	if len(r.entries) > 0 {
		fields = append(fields, seqOf(r.entries...))
	}
	var extensions [][]byte
	for _, e := range r.extensions {
		extensions = append(extensions, e.der())
	}
	fields = append(fields, tagged(context(0).Constructed(), seqOf(extensions...)))
	tbs := seqOf(fields...)
	signature := s.sign(r.key, tbs)
	if r.damage {
		signature = s.sign(r.key, append([]byte("other "), tbs...))
	}
	return newKey(x509.ParseRevocationList(seqOf(tbs, s.id, derOf(func(b *cryptobyte.Builder) { b.AddASN1BitString(signature) }))))
}
