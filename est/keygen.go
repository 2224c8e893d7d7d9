package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/cmc"
)

// largestMadeRSA bounds the keys that are made: longer ones take minutes.
const largestMadeRSA = 4096

// boundary is libEST's, which its client finds in the header; base64 holds no hyphens, so no body holds it.
const boundary = "est-server-boundary"

// keyEncryption is how a client wants a private key encrypted (RFC 7030 section 4.4.1).
type keyEncryption struct {
	symmetric  []byte // id-aa-decryptKeyID
	asymmetric []byte // id-aa-asymmDecryptKeyID
	ciphers    []asn1.ObjectIdentifier
}

// wanted tells whether the client asks for encryption.
func (e *keyEncryption) wanted() bool { return e.symmetric != nil || e.asymmetric != nil }

// parseKeyEncryption reads the attributes of a request that speak of encryption, by type: each with the SET of its values.
func parseKeyEncryption(attributes map[string][][]byte) (e keyEncryption, ok bool) {
	single := map[string][]byte{}
	for kind, sets := range attributes {
		set := cryptobyte.String(sets[0])
		var value cryptobyte.String
		var tag casn1.Tag
		if len(sets) != 1 || !set.ReadAnyASN1Element(&value, &tag) || !set.Empty() {
			return e, false
		}
		single[kind] = value
	}
	for kind, to := range map[string]*[]byte{oidDecryptKeyID: &e.symmetric, oidAsymmDecryptKeyID: &e.asymmetric} {
		element, there := single[kind]
		if !there {
			continue
		}
		input := cryptobyte.String(element)
		var value cryptobyte.String
		if !input.ReadASN1(&value, casn1.OCTET_STRING) || !input.Empty() || len(value) == 0 {
			return e, false
		}
		*to = value
	}
	if element, there := single[oidSMIMECapabilities]; there {
		input := cryptobyte.String(element)
		var list cryptobyte.String
		if !input.ReadASN1(&list, casn1.SEQUENCE) || !input.Empty() {
			return e, false
		}
		for !list.Empty() {
			var capability cryptobyte.String
			var oid asn1.ObjectIdentifier
			if len(e.ciphers) == maxAttributes || !list.ReadASN1(&capability, casn1.SEQUENCE) || !capability.ReadASN1ObjectIdentifier(&oid) {
				return e, false
			}
			e.ciphers = append(e.ciphers, oid)
		}
	}
	return e, true
}

// seal is how a private key is brought to its client: in clear within TLS when cipher is nil.
type seal struct {
	recipient *x509.Certificate
	cipher    asn1.ObjectIdentifier
}

// chooseSeal decides how the key is sent. A client that asks for what cannot be done gets an error, never a key in clear.
func (x *exchange) chooseSeal(e keyEncryption, who Identity) (seal, error) {
	refuse := func(text, fix string) (seal, error) {
		return seal{}, &Error{Status: http.StatusBadRequest, ErrCode: CodeKeyEncryption, Text: text, Fix: fix}
	}
	switch {
	case !e.wanted() && x.profile.KeyGeneration == KeysEncrypted:
		return refuse("Private keys are sent encrypted only: name the key of your certificate in id-aa-asymmDecryptKeyID, with SMIMECapabilities.",
			`let the client ask for encryption, or set server_keygen = "on" for this label`)
	case !e.wanted():
		return seal{}, nil
	case e.asymmetric == nil:
		return refuse("The key that id-aa-decryptKeyID names is not known here.", "use id-aa-asymmDecryptKeyID with the key of the client's RSA certificate; keys that both sides share are not kept")
	case x.h.KeySigner == nil:
		return refuse("Private keys cannot be encrypted here.", "this server has no certificate to sign encrypted keys with")
	case who.Certificate == nil:
		return refuse("The key that id-aa-asymmDecryptKeyID names is not known here: connect with the certificate that it belongs to.", "let the client use a certificate with an RSA key for TLS")
	}
	if id, err := cmc.KeyID(who.Certificate); err != nil || !bytes.Equal(id, e.asymmetric) {
		return refuse("The key that id-aa-asymmDecryptKeyID names is not that of the client's certificate.", "name the subjectKeyIdentifier of the client's certificate")
	}
	if _, ok := who.Certificate.PublicKey.(*rsa.PublicKey); !ok {
		return refuse("Private keys are encrypted for RSA keys only, and the client's certificate has another.", "use a client certificate with an RSA key, or ask for the key without encryption")
	}
	if u := who.Certificate.KeyUsage; u != 0 && u&x509.KeyUsageKeyEncipherment == 0 {
		return refuse("The client's certificate is not for key encipherment (key usage).", "use a certificate with the key usage keyEncipherment, or ask for the key without encryption")
	}
	for _, known := range []asn1.ObjectIdentifier{cmc.OIDAES256CBC, cmc.OIDAES128CBC} {
		for _, asked := range e.ciphers {
			if asked.Equal(known) {
				return seal{recipient: who.Certificate, cipher: known}, nil
			}
		}
	}
	return refuse("SMIMECapabilities names no cipher that is known here: aes256-CBC and aes128-CBC are.", "let the client offer aes256-CBC (2.16.840.1.101.3.4.1.42)")
}

// serverkeygen answers RFC 7030 section 4.4: it makes a key of the kind of the request's and asks for its certificate. Key
// and signature of the request count for nothing else.
func (x *exchange) serverkeygen(o operation) error {
	if x.profile.KeyGeneration == KeysOff {
		return notOffered(o.name)
	}
	who, err := x.authenticate()
	if err != nil {
		return err
	}
	der, err := x.decode(o, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
	if err != nil {
		return err
	}
	policy := x.profile.CSR
	wish, err := policy.checkForm(der, false)
	if err == nil {
		err = policy.checkContents(wish)
	}
	if err == nil {
		err = x.mayChange(wish)
	}
	if err != nil {
		return err
	}
	encryption, ok := parseKeyEncryption(wish.encryption)
	if !ok {
		return refuseCSR(CodeCSRAttributes, "The certificate request names the encryption of the private key in a malformed way, or twice.", nil)
	}
	how, err := x.chooseSeal(encryption, who)
	if err != nil {
		return err
	}
	linked, err := x.judgeLink(wish.csrForm, who)
	if err != nil {
		return err
	}
	memory := x.h.Keys
	if memory == nil {
		memory = &x.h.ownKeys
	}
	id := keyRequest(who.Name, x.label, wish)
	if judge, ok := x.h.Backend.(Judge); ok && !memory.has(id) {
		if err := judge.Judge(x.r.Context(), x.request(o, who, wish, linked)); err != nil {
			return internalError(err)
		}
	}
	made, err := memory.make(x.r.Context(), id, wish.CertificateRequest)
	if err != nil {
		return err
	}
	cert, err := x.ask(o, who, parsedCSR{CertificateRequest: made.csr, csrForm: wish.csrForm}, linked)
	memory.settle(id, final(err))
	if err != nil || cert == nil {
		return err // the key waits: who asks again, also after a refusal, is known by it
	}
	// Before the answer is out, so that whoever has it and asks again gets another key.
	memory.forget(id)
	delivered, err := x.sendKey(made.key, cert, how)
	if err != nil {
		return internalError(err)
	}
	if !delivered {
		memory.keep(id, made) // for the client's next try
	}
	return nil
}

// final tells whether an error of the Backend is a refusal, and no failure that passes.
func final(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests
}

// sendKey answers with a private key and its certificate, in the form that libEST's client reads.
func (x *exchange) sendKey(key crypto.Signer, cert *x509.Certificate, how seal) (delivered bool, err error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return false, fmt.Errorf("encode the key: %w", err)
	}
	kind, body := "application/pkcs8", pkcs8
	if how.recipient != nil {
		kind = "application/pkcs7-mime; smime-type=server-generated-key"
		if body, err = cmc.SealKey(time.Now(), nil, pkcs8, x.h.KeySigner, x.h.KeySignerChain, how.recipient, how.cipher); err != nil {
			return false, err
		}
	}
	certs, err := cmc.CertsOnly(cert)
	if err != nil {
		return false, err
	}
	var b bytes.Buffer
	for _, part := range []struct {
		kind string
		der  []byte
	}{{kind, body}, {"application/pkcs7-mime; smime-type=certs-only", certs}} {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, part.kind)
		text := encodeBody(part.der, true)
		b.Write(text)
		b.WriteString("\r\n")
		clear(text)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	delivered = x.send(http.StatusOK, "multipart/mixed; boundary="+boundary, b.Bytes())
	clear(b.Bytes())
	clear(pkcs8)
	return delivered, nil
}

// Limits of a KeyMemory.
const (
	mostKeys       = 1000
	mostKeysOfOne  = 50
	keepKey        = 31 * 24 * time.Hour // longer than a request waits for an administrator
	waitToGenerate = 5 * time.Second
)

// KeyMemory holds private keys that serverkeygen has made until the CA has certified them, so that who comes back after a
// 202 gets the certificate of the same key, and a request that was refused is known again. They are in memory alone: after
// a restart the same request is given another key, and the certificate of the first one is never fetched. It holds at most
// 1000 keys, at most 50 of one client, each for at most 31 days; those of requests that were refused make room for others, the
// oldest first. The zero value is ready for use, by several Handlers too.
type KeyMemory struct {
	mu    sync.Mutex
	keys  map[keyID]*madeKey
	once  sync.Once
	turns chan struct{} // one for each key that is being made
}

// keyID is what makes two requests for a key the same one.
type keyID struct {
	client string
	wish   [sha256.Size]byte
}

// madeKey is a key with the request for it.
type madeKey struct {
	csr   *x509.CertificateRequest // signed by it
	key   crypto.Signer
	until time.Time

	refused bool // the last answer was a refusal; guarded by KeyMemory.mu
}

// keyRequest is the ID of a request. Its signature and its link are no part of it: who comes back on another connection
// sends others.
func keyRequest(client, label string, wish parsedCSR) keyID {
	h := sha256.New()
	field := func(b []byte) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(b))) // a hash takes everything
		h.Write(b)
	}
	field([]byte(label))
	field(wish.RawSubject)
	field(wish.RawSubjectPublicKeyInfo)
	for _, e := range wish.Extensions {
		field([]byte(e.Id.String() + ":" + strconv.FormatBool(e.Critical)))
		field(e.Value)
	}
	if c := wish.change; c != nil {
		field(c.Subject)
		field(c.SubjectAlt)
	}
	return keyID{client: client, wish: [sha256.Size]byte(h.Sum(nil))}
}

// errKeygenBusy is the refusal when there is no room, or no time, for another key.
func errKeygenBusy() *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, ErrCode: CodeKeygenBusy, RetryAfter: defaultRetryAfter,
		Text: "Too many private keys are being made at the same time.", Fix: "let clients make their keys themselves (simpleenroll), or spread them over time",
	}
}

// make returns the key that waits for the request, or makes one of the kind that it has.
func (m *KeyMemory) make(ctx context.Context, id keyID, wish *x509.CertificateRequest) (*madeKey, error) {
	m.once.Do(func() { m.turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)) })
	if k, room := m.find(id); k != nil {
		return k, nil
	} else if !room {
		return nil, errKeygenBusy()
	}
	wait := time.NewTimer(waitToGenerate)
	defer wait.Stop()
	select {
	case m.turns <- struct{}{}:
		defer func() { <-m.turns }()
	case <-wait.C:
		return nil, errKeygenBusy()
	case <-ctx.Done():
		return nil, internalError(ctx.Err())
	}
	key, err := generate(wish.PublicKey)
	if err != nil {
		return nil, err
	}
	// The identifier of the request's own key would be wrong for the new one.
	extensions := slices.DeleteFunc(slices.Clone(wish.Extensions), func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.14" })
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: wish.RawSubject, ExtraExtensions: extensions}, key)
	if err != nil {
		return nil, internalError(fmt.Errorf("make a request for the new key: %w", err))
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, internalError(fmt.Errorf("read the request for the new key: %w", err))
	}
	k := m.keep(id, &madeKey{csr: csr, key: key, until: time.Now().Add(keepKey)})
	if k == nil {
		return nil, errKeygenBusy()
	}
	return k, nil
}

// keep remembers a key, and returns the one that waits already when the same request came twice at the same time; nil when
// there is no room.
func (m *KeyMemory) keep(id keyID, k *madeKey) *madeKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	if there := m.keys[id]; there != nil {
		return there
	}
	victims, room := m.room(id)
	if !room {
		return nil
	}
	for _, v := range victims {
		delete(m.keys, v)
	}
	if m.keys == nil {
		m.keys = map[keyID]*madeKey{}
	}
	m.keys[id] = k
	return k
}

// find returns the key that waits for a request, and whether there is room for another one of this client. What is too old
// goes.
func (m *KeyMemory) find(id keyID) (k *madeKey, room bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(m.keys, func(_ keyID, k *madeKey) bool { return !now.Before(k.until) })
	if k := m.keys[id]; k != nil {
		return k, true
	}
	_, room = m.room(id)
	return nil, room
}

// has tells whether a key waits for a request.
func (m *KeyMemory) has(id keyID) bool {
	k, _ := m.find(id)
	return k != nil
}

// room tells whether one more key of a client has room, and which keys of refused requests have to go for it: the oldest of its own
// when it has its share, else the oldest of all. m.mu is held.
func (m *KeyMemory) room(id keyID) (victims []keyID, room bool) {
	ofOne := 0
	var own, oldest keyID
	var ownUntil, oldestUntil time.Time
	for other, k := range m.keys {
		if other.client == id.client {
			ofOne++
			if k.refused && (ownUntil.IsZero() || k.until.Before(ownUntil)) {
				own, ownUntil = other, k.until
			}
		}
		if k.refused && (oldestUntil.IsZero() || k.until.Before(oldestUntil)) {
			oldest, oldestUntil = other, k.until
		}
	}
	switch {
	case ofOne >= mostKeysOfOne:
		return []keyID{own}, !ownUntil.IsZero()
	case len(m.keys) >= mostKeys:
		return []keyID{oldest}, !oldestUntil.IsZero()
	}
	return nil, true
}

// settle notes whether the last answer to a request was a refusal.
func (m *KeyMemory) settle(id keyID, refused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.keys[id]; k != nil {
		k.refused = refused
	}
}

func (m *KeyMemory) forget(id keyID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, id)
}

// generate makes a key of the kind and size of another.
func generate(like crypto.PublicKey) (crypto.Signer, error) {
	kind := KeySpecOf(like)
	if kind.Bits > largestMadeRSA {
		return nil, refuseCSR(CodeCSRKeyType, fmt.Sprintf("RSA keys of at most %d bits are made here, not of %d.", largestMadeRSA, kind.Bits), nil)
	}
	key, err := kind.Generate()
	if err != nil {
		return nil, internalError(err) // the policy lets no such kind through
	}
	return key, nil
}
