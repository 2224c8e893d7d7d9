package probe

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"net"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// record is octets as a record of TLS.
func record(kind uint8, body []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint8(kind)
	b.AddUint16(tls.VersionTLS12)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
	return b.BytesOrPanic()
}

// message is a handshake message.
func message(kind uint8, body []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint8(kind)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
	return b.BytesOrPanic()
}

// hello is a ServerHello of a version and suite.
func hello(version, suite uint16) []byte {
	var b cryptobyte.Builder
	b.AddUint16(tls.VersionTLS12)
	b.AddBytes(make([]byte, 32))
	b.AddUint8(0)
	b.AddUint16(suite)
	b.AddUint8(0)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		if version == tls.VersionTLS13 {
			b.AddUint16(extensionSupportedVersions)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(version) })
		}
	})
	return message(messageServerHello, b.BytesOrPanic())
}

// certificates is a Certificate message.
func certificates(version uint16, ders ...[]byte) []byte {
	var b cryptobyte.Builder
	if version == tls.VersionTLS13 {
		b.AddUint8(0)
	}
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, der := range ders {
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
			if version == tls.VersionTLS13 {
				b.AddUint16(0)
			}
		}
	})
	return message(messageCertificate, b.BytesOrPanic())
}

// sealed encrypts messages as records of a server, with padding.
func sealed(t testing.TB, suite uint16, secret []byte, records ...[]byte) []byte {
	t.Helper()
	o := newOpener(suite, secret)
	if o == nil {
		t.Fatalf("no opener for %#x", suite)
	}
	var out []byte
	for i, plain := range records {
		plain = append(append(bytes.Clone(plain), recordHandshake), 0, 0)
		nonce := bytes.Clone(o.iv)
		nonce[len(nonce)-1] ^= byte(i)
		header := []byte{recordApplication, 3, 3, 0, 0}
		size := len(plain) + o.aead.Overhead()
		header[3], header[4] = byte(size>>8), byte(size)
		out = append(append(out, header...), o.aead.Seal(nil, nonce, plain, header)...)
	}
	return out
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestTranscript(t *testing.T) {
	t.Parallel()
	const suite12 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	const suite13 = tls.TLS_AES_128_GCM_SHA256
	one, two, key := []byte("one"), []byte("two"), bytes.Repeat([]byte{7}, 32)
	old := certificates(tls.VersionTLS12, one, two)
	modern := certificates(tls.VersionTLS13, one, two)
	hello12, hello13 := hello(tls.VersionTLS12, suite12), hello(tls.VersionTLS13, suite13)
	retry := record(recordHandshake, hello13)
	change := record(recordChangeCipher, []byte{1})
	for _, tc := range []struct {
		name string
		in   []byte
		key  []byte
		want int // certificates; -1 for no message
	}{
		{"TLS 1.2", record(recordHandshake, join(hello12, old)), nil, 2},
		{"TLS 1.2, no certificate", record(recordHandshake, join(hello12, certificates(tls.VersionTLS12))), nil, 0},
		{"TLS 1.2 in many records", join(record(recordHandshake, hello12[:3]), record(recordHandshake, join(hello12[3:], old[:9])), record(recordHandshake, old[9:])), nil, 2},
		{"TLS 1.2 cut off", record(recordHandshake, join(hello12, old[:len(old)-1])), nil, -1},
		{"alert", record(recordAlert, []byte{2, 40}), nil, -1},
		{"application data first", record(recordApplication, []byte("x")), key, -1},
		{"TLS 1.3", join(retry, sealed(t, suite13, key, modern)), key, 2},
		{"TLS 1.3 in two records", join(retry, change, sealed(t, suite13, key, modern[:5], modern[5:])), key, 2},
		{"TLS 1.3 with retry", join(retry, change, retry, sealed(t, suite13, key, message(8, nil), modern)), key, 2},
		{"TLS 1.3 without secret", join(retry, sealed(t, suite13, key, modern)), nil, -1},
		{"TLS 1.3 with another secret", join(retry, sealed(t, suite13, key, modern)), key[:31], -1},
		{"unknown suite", join(record(recordHandshake, hello(tls.VersionTLS13, 0x1304)), sealed(t, suite13, key, modern)), key, -1},
		{"TLS 1.3 with a list of 1.2", join(retry, sealed(t, suite13, key, old)), key, -1},
		{"empty", nil, nil, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, ok := readTranscript(tc.in, tc.key)
			if ok != (tc.want >= 0) || ok && len(got.certificates) != tc.want {
				t.Fatalf("got %d certificates, %v, want %d", len(got.certificates), ok, tc.want)
			}
			if tc.want == 2 && (!bytes.Equal(got.certificates[0], one) || !bytes.Equal(got.certificates[1], two)) {
				t.Errorf("got %q", got.certificates)
			}
		})
	}
}

// TestRecorderIsBounded: a server that talks without end fills no memory.
func TestRecorderIsBounded(t *testing.T) {
	t.Parallel()
	r := recorder{Conn: endless{}}
	for range 10 {
		if _, err := r.Read(make([]byte, maxReceived/3)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.received) != maxReceived {
		t.Errorf("kept %d octets", len(r.received))
	}
}

type endless struct{ net.Conn }

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// FuzzTranscript: whatever a server sends, the certificates are pieces of it.
func FuzzTranscript(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 32)
	f.Add(record(recordHandshake, join(hello(tls.VersionTLS12, 0xC02B), certificates(tls.VersionTLS12, []byte("one")))), []byte(nil))
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256} {
		f.Add(join(record(recordHandshake, hello(tls.VersionTLS13, suite)), sealed(f, suite, key, certificates(tls.VersionTLS13, []byte("one")))), key)
	}
	b, err := base64.StdEncoding.DecodeString("FgMDAFoCAABWAwPPIa10nmGvEb4dZ4wBHovtcYwl7Zqb")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, key)
	f.Fuzz(func(t *testing.T, received, secret []byte) {
		got, ok := readTranscript(received, secret)
		size := 0
		for _, der := range got.certificates {
			size += len(der)
		}
		if size > len(received) || len(got.certificates) > len(received)/3 {
			t.Errorf("%d octets in %d certificates out of %d received, found %v", size, len(got.certificates), len(received), ok)
		}
	})
}
