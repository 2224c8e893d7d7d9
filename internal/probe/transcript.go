package probe

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"
)

// maxReceived bounds what is kept of a server's words: crypto/tls takes a Certificate message of at most 256 KiB.
const maxReceived = 512 << 10

// recorder keeps what is read from a connection.
type recorder struct {
	net.Conn
	received []byte
}

// Read implements net.Conn.
func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.received = append(r.received, b[:min(n, maxReceived-len(r.received))]...)
	return n, err
}

// secret takes the secret of the server's side of a TLS 1.3 handshake out of the key log. It protects the certificates and
// nothing else.
type secret struct{ value []byte }

// Write implements io.Writer for tls.Config.KeyLogWriter.
func (s *secret) Write(line []byte) (int, error) {
	if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "SERVER_HANDSHAKE_TRAFFIC_SECRET" {
		s.value, _ = hex.DecodeString(f[2]) // crypto/tls writes hexadecimal
	}
	return len(line), nil
}

// Types of records and handshake messages, and an extension: RFC 8446 sections 4 and 5.1.
const (
	recordChangeCipher = 20
	recordAlert        = 21
	recordHandshake    = 22
	recordApplication  = 23

	messageServerHello = 2
	messageCertificate = 11

	extensionSupportedVersions = 43
)

// transcript is what a server has said of itself.
type transcript struct {
	version, suite uint16
	certificates   [][]byte
}

// readTranscript reads records as a server sends them up to its Certificate message. secret opens those of TLS 1.3. It reports
// whether there was such a message.
func readTranscript(received, secret []byte) (transcript, bool) {
	var (
		t        transcript
		messages []byte // of the handshake, whose borders are not those of the records
		opener   *opener
	)
	in := cryptobyte.String(received)
	for {
		var kind uint8
		var version uint16
		var body cryptobyte.String
		if !in.ReadUint8(&kind) || !in.ReadUint16(&version) || !in.ReadUint16LengthPrefixed(&body) {
			return t, false
		}
		switch {
		case kind == recordHandshake && opener == nil:
			messages = append(messages, body...)
		case kind == recordChangeCipher && t.version == tls.VersionTLS13:
			continue // means nothing any more
		case kind == recordApplication && t.version == tls.VersionTLS13:
			if opener == nil {
				if opener = newOpener(t.suite, secret); opener == nil {
					return t, false
				}
			}
			plain, ok := opener.open(received[len(received)-len(in)-len(body)-5:], body)
			if !ok {
				return t, false
			}
			messages = append(messages, plain...)
		default:
			return t, false
		}
		var found bool
		if messages, found = t.take(messages); found {
			return t, true
		}
	}
}

// take reads the complete messages and returns the rest.
func (t *transcript) take(messages []byte) (rest []byte, found bool) {
	for {
		in := cryptobyte.String(messages)
		var kind uint8
		var body cryptobyte.String
		if !in.ReadUint8(&kind) || !in.ReadUint24LengthPrefixed(&body) {
			return messages, false
		}
		messages = in
		switch kind {
		case messageServerHello:
			t.serverHello(body)
		case messageCertificate:
			return nil, t.certificate(body)
		}
	}
}

// serverHello reads version and cipher suite (RFC 8446 section 4.1.3). A HelloRetryRequest has the same form, and a second
// message follows it.
func (t *transcript) serverHello(in cryptobyte.String) {
	var session, extensions cryptobyte.String
	var version, suite uint16
	if !in.ReadUint16(&version) || !in.Skip(32) || !in.ReadUint8LengthPrefixed(&session) || !in.ReadUint16(&suite) || !in.Skip(1) {
		return
	}
	t.version, t.suite = version, suite
	if !in.ReadUint16LengthPrefixed(&extensions) {
		return
	}
	for !extensions.Empty() {
		var kind uint16
		var value cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&value) {
			return
		}
		if kind == extensionSupportedVersions && value.ReadUint16(&version) {
			t.version = version
		}
	}
}

// certificate reads a Certificate message: RFC 5246 section 7.4.2, or RFC 8446 section 4.4.2 with its context and extensions.
func (t *transcript) certificate(in cryptobyte.String) bool {
	var list, skipped cryptobyte.String
	modern := t.version == tls.VersionTLS13
	if modern && !in.ReadUint8LengthPrefixed(&skipped) || !in.ReadUint24LengthPrefixed(&list) || !in.Empty() {
		return false
	}
	for !list.Empty() {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) || modern && !list.ReadUint16LengthPrefixed(&skipped) {
			return false
		}
		t.certificates = append(t.certificates, der)
	}
	return true
}

// opener decrypts records of TLS 1.3: RFC 8446 sections 5.2, 5.3 and 7.3.
type opener struct {
	aead     cipher.AEAD
	iv       []byte
	sequence uint64
}

// newOpener returns nil when the suite is not one of crypto/tls, or without the secret.
func newOpener(suite uint16, secret []byte) *opener {
	if len(secret) == 0 {
		return nil
	}
	const ivBytes, aes128, aes256 = 12, 16, 32
	var key, iv []byte
	var err error
	gcm := func(b []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(b)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	}
	h, size, seal := sha256.New, aes128, gcm
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		h, size = sha512.New384, aes256
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		size, seal = chacha20poly1305.KeySize, chacha20poly1305.New
	default:
		return nil
	}
	if key, err = expand(h, secret, "key", size); err != nil {
		return nil
	}
	if iv, err = expand(h, secret, "iv", ivBytes); err != nil {
		return nil
	}
	aead, err := seal(key)
	if err != nil {
		return nil
	}
	return &opener{aead: aead, iv: iv}
}

// expand is HKDF-Expand-Label with an empty context: RFC 8446 section 7.1.
func expand(h func() hash.Hash, secret []byte, label string, size int) ([]byte, error) {
	var info cryptobyte.Builder
	info.AddUint16(uint16(size))
	info.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("tls13 " + label)) })
	info.AddUint8(0)
	bytes, err := info.Bytes()
	if err != nil {
		return nil, err
	}
	return hkdf.Expand(h, secret, string(bytes), size)
}

// open returns the handshake messages in a record; record begins with its header of 5 octets.
func (o *opener) open(record, body []byte) ([]byte, bool) {
	nonce := append([]byte(nil), o.iv...)
	tail := nonce[len(nonce)-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^o.sequence)
	o.sequence++
	plain, err := o.aead.Open(nil, nonce, body, record[:5])
	if err != nil {
		return nil, false
	}
	for len(plain) > 0 && plain[len(plain)-1] == 0 {
		plain = plain[:len(plain)-1] // padding
	}
	if len(plain) == 0 || plain[len(plain)-1] != recordHandshake {
		return nil, false
	}
	return plain[:len(plain)-1], true
}
