package capf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// TestTranscripts decodes and encodes every recorded message byte for byte, whatever pieces it comes in.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for i, r := range recordings(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			for k := range r.Messages {
				wire := r.bytes(t, k)
				m, err := ReadMessage(iotest.OneByteReader(bytes.NewReader(wire)), MaxUnauthenticated)
				if err != nil {
					t.Fatalf("message %d: %v", k+1, err)
				}
				if m.SessionID != uint32(i+1) {
					t.Errorf("message %d: session %d, want %d", k+1, m.SessionID, i+1)
				}
				if len(m.Unknown()) != 0 {
					t.Errorf("message %d: unknown elements %v", k+1, m.Unknown())
				}
				again, err := m.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(again, wire) {
					t.Errorf("message %d:\ngot  %x\nwant %x", k+1, again, wire)
				}
				checkContents(t, m)
			}
		})
	}
}

// checkContents parses what is inside the elements and encodes it again.
func checkContents(t *testing.T, m Message) {
	t.Helper()
	if v, ok := m.Element(TagCertificate); ok {
		entries, err := ParseCertificatePackage(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := AppendCertificatePackage(nil, entries...)
		if err != nil || !bytes.Equal(again, v) {
			t.Errorf("certificate package: got %x (%v), want %x", again, err, v)
		}
	}
	if v, ok := m.Element(TagSHA2SignedData); ok {
		s, err := ParseSHA2Signature(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, v) {
			t.Errorf("signed data: got %x (%v), want %x", again, err, v)
		}
	}
	if v, ok := m.Element(TagSUDIData); ok {
		s, err := ParseSUDI(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, v) {
			t.Errorf("SUDI data: got %x (%v), want %x", again, err, v)
		}
	}
	if v, ok := m.Element(TagPublicKey); ok {
		spki, _, err := ParsePublicKey(v)
		if err != nil || !bytes.Equal(spki, v) {
			t.Errorf("public key: got %x (%v), want %x", spki, err, v)
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, hex, code string
	}{
		{"protocol id", "56 02 00000001 0000", CodeBadProtocolID},
		{"element over the end", "55 02 00000001 0004 0d 0002 41", CodeElementOverEnd},
		{"element of 65535 bytes", "55 02 00000001 0003 0d ffff", CodeElementOverEnd},
		{"one byte left over", "55 02 00000001 0005 01 0001 01 07", CodeElementOverEnd},
		{"reason of two bytes", "55 02 00000001 0005 01 0002 0101", CodeElementLength},
		{"empty version", "55 02 00000001 0003 07 0000", CodeElementLength},
		{"key size of one byte", "55 03 00000001 0004 0a 0001 08", CodeElementLength},
		{"retry delay of three bytes", "55 10 00000001 0006 0c 0003 000001", CodeElementLength},
		{"version twice", "55 02 00000001 0008 07 0001 03 07 0001 03", CodeDuplicateElement},
		{"body over the limit", "55 02 00000001 4001", CodeMessageTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := hex.DecodeString(strings.ReplaceAll(tt.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			_, err = ReadMessage(bytes.NewReader(b), MaxUnauthenticated)
			p, ok := errors.AsType[*ProtocolError](err)
			if !ok || p.Code() != tt.code {
				t.Errorf("%s: got %v, want %s", tt.hex, err, tt.code)
			}
		})
	}
}

// TestUnknownKept shows that unknown elements, also twice, are skipped and not lost.
func TestUnknownKept(t *testing.T) {
	t.Parallel()
	want := Message{Command: AuthResponse, SessionID: 0xdeadbeef, Elements: []Element{
		{Tag: 14, Value: []byte("a")},
		{Tag: TagReason, Value: []byte{1}},
		{Tag: 99, Value: []byte{}},
		{Tag: 14, Value: []byte("b")},
		{Tag: 0, Value: []byte{0}},
		{Tag: TagCertificateID, Value: []byte{1, 2, 3}},
	}}
	b, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("message changed (-want +got):\n%s", diff)
	}
	if n := len(got.Unknown()); n != 4 {
		t.Errorf("%d unknown elements, want 4", n)
	}
	if r, ok := got.Reason(); !ok || r != ReasonUpdateCertificate {
		t.Errorf("reason %v %v", r, ok)
	}
}

func TestShortReads(t *testing.T) {
	t.Parallel()
	whole, err := Message{Command: EndSession, SessionID: 1, Elements: []Element{reasonElement(1)}}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := ReadMessage(bytes.NewReader(whole[:n]), MaxBody); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestTooLongToSend(t *testing.T) {
	t.Parallel()
	_, err := Message{Elements: []Element{{Tag: TagCertificate, Value: make([]byte, MaxBody-2)}}}.MarshalBinary()
	if p, ok := errors.AsType[*ProtocolError](err); !ok || p.Code() != CodeMessageTooLong {
		t.Errorf("got %v, want %s", err, CodeMessageTooLong)
	}
	if _, err := AppendCertificatePackage(nil, CertificateEntry{DER: make([]byte, MaxBody)}); err == nil {
		t.Error("a certificate package that is too long was made")
	}
	if _, err := AppendCertificatePackage(nil); err == nil {
		t.Error("an empty certificate package was made")
	}
}

func TestCertificatePackage(t *testing.T) {
	t.Parallel()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	want := []CertificateEntry{{Type: CertificateLSC, DER: a.cert.Raw}, {Type: CertificateMIC, DER: a.cert.Raw}}
	b, err := AppendCertificatePackage(nil, want...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseCertificatePackage(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("two entries (-want +got):\n%s", diff)
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "cut": b[:len(b)-1], "entry tag": append([]byte{2}, b[1:]...), "short entry": {1, 0, 1, 0},
		"not DER": {1, 0, 4, 0, 1, 0x30, 0x05}, "not a SEQUENCE": {1, 0, 5, 0, 1, 0x02, 0x01, 0x01},
		"DER and more": {1, 0, 5, 0, 1, 0x30, 0x00, 0x00},
	} {
		if _, err := ParseCertificatePackage(bad); err == nil {
			t.Errorf("%s: %x was accepted", name, bad)
		}
	}
}
