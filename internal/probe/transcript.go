package probe

import (
	"net"

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

// Types of records and of a handshake message: RFC 5246 sections 6.2.1 and 7.4.
const (
	recordAlert     = 21
	recordHandshake = 22

	messageCertificate = 11
)

// readTranscript reads records of TLS 1.0 to 1.2 as a server sends them, in the clear, up to its Certificate message, and
// returns the certificates in it. It reports whether there was such a message.
func readTranscript(received []byte) ([][]byte, bool) {
	var messages []byte // of the handshake, whose borders are not those of the records
	in := cryptobyte.String(received)
	for {
		var kind uint8
		var body cryptobyte.String
		if !in.ReadUint8(&kind) || !in.Skip(2) || !in.ReadUint16LengthPrefixed(&body) || kind != recordHandshake {
			return nil, false
		}
		messages = append(messages, body...)
		for {
			rest := cryptobyte.String(messages)
			if !rest.ReadUint8(&kind) || !rest.ReadUint24LengthPrefixed(&body) {
				break
			}
			if kind == messageCertificate {
				return readCertificates(body)
			}
			messages = rest
		}
	}
}

// readCertificates reads the body of a Certificate message: RFC 5246 section 7.4.2.
func readCertificates(in cryptobyte.String) ([][]byte, bool) {
	var list cryptobyte.String
	if !in.ReadUint24LengthPrefixed(&list) || !in.Empty() {
		return nil, false
	}
	var certificates [][]byte
	for !list.Empty() {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) {
			return nil, false
		}
		certificates = append(certificates, der)
	}
	return certificates, true
}
