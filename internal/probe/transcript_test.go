package probe

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// certificates is a Certificate message.
func certificates(ders ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, der := range ders {
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
		}
	})
	return message(messageCertificate, b.BytesOrPanic())
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestTranscript(t *testing.T) {
	t.Parallel()
	const recordApplication, messageServerHello = 23, 2
	one, two := []byte("one"), []byte("two")
	hello, list := message(messageServerHello, make([]byte, 38)), certificates(one, two)
	for _, tc := range []struct {
		name  string
		in    []byte
		want  [][]byte
		found bool
	}{
		{"one record", record(recordHandshake, join(hello, list)), [][]byte{one, two}, true},
		{"no certificate", record(recordHandshake, join(hello, certificates())), nil, true},
		{
			"many records",
			join(record(recordHandshake, hello[:3]), record(recordHandshake, join(hello[3:], list[:9])), record(recordHandshake, list[9:])),
			[][]byte{one, two},
			true,
		},
		{"record without content", join(record(recordHandshake, nil), record(recordHandshake, list)), [][]byte{one, two}, true},
		{"cut off", record(recordHandshake, join(hello, list[:len(list)-1])), nil, false},
		{"record cut off", record(recordHandshake, list)[:20], nil, false},
		{"more behind the list", record(recordHandshake, message(messageCertificate, join(list[4:], one))), nil, false},
		{"list cut off", record(recordHandshake, message(messageCertificate, []byte{0, 0, 3, 0, 0, 1})), nil, false},
		{"alert", record(recordAlert, []byte{2, 40}), nil, false},
		{"encrypted", join(record(recordHandshake, hello), record(recordApplication, list)), nil, false},
		{"empty", nil, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, found := readTranscript(tc.in)
			if found != tc.found {
				t.Errorf("found %v, want %v", found, tc.found)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
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
	list := certificates([]byte("one"), []byte("two"))
	f.Add(record(recordHandshake, list))
	f.Add(join(record(recordHandshake, list[:9]), record(recordHandshake, list[9:])))
	f.Add(record(recordAlert, []byte{2, 40}))
	b, err := base64.StdEncoding.DecodeString("FgMDAFoCAABWAwPPIa10nmGvEb4dZ4wBHovtcYwl7Zqb")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, received []byte) {
		got, found := readTranscript(received)
		size := 0
		for _, der := range got {
			size += len(der)
		}
		if size > len(received) || len(got) > len(received)/3 {
			t.Errorf("%d octets in %d certificates out of %d received, found %v", size, len(got), len(received), found)
		}
	})
}
