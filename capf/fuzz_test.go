package capf

import (
	"bytes"
	"testing"
)

// recordedValues calls add with every recorded message, and every element of the tag if that is not 0.
func recordedValues(f *testing.F, tag Tag) {
	f.Helper()
	for _, r := range recordings(f) {
		for i := range r.Messages {
			if tag == 0 {
				f.Add(r.bytes(f, i))
				continue
			}
			if v, ok := r.message(f, i).Element(tag); ok {
				f.Add(v)
			}
		}
	}
}

// FuzzReadMessage: what is read encodes to the same bytes again, and nothing beyond the message is read.
func FuzzReadMessage(f *testing.F) {
	recordedValues(f, 0)
	f.Add([]byte{0x55, 2, 0, 0, 0, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := ReadMessage(r, MaxUnauthenticated)
		if err != nil {
			return
		}
		used := b[:len(b)-r.Len()]
		again, err := m.MarshalBinary()
		if err != nil || !bytes.Equal(again, used) {
			t.Errorf("got %x (%v), want %x", again, err, used)
		}
		whole, err := ParseMessage(used)
		if err != nil || len(whole.Elements) != len(m.Elements) {
			t.Errorf("ParseMessage disagrees: %v", err)
		}
		var c Caller
		_ = c.fill(m)
		_, _ = keySpecOf(m)
		_, _ = m.info(), retryDelay(m)
	})
}

// FuzzCertificatePackage: an accepted package encodes to the same bytes again.
func FuzzCertificatePackage(f *testing.F) {
	recordedValues(f, TagCertificate)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MaxBody {
			return
		}
		entries, err := ParseCertificatePackage(b)
		if err != nil {
			return
		}
		again, err := AppendCertificatePackage(nil, entries...)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("got %x (%v), want %x", again, err, b)
		}
	})
}

// FuzzSUDI: accepted SUDI data and signed data encode to the same bytes again.
func FuzzSUDI(f *testing.F) {
	recordedValues(f, TagSUDIData)
	recordedValues(f, TagSHA2SignedData)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSUDI(b); err == nil {
			again, err := s.AppendBinary(nil)
			if err != nil || !bytes.Equal(again, b) {
				t.Errorf("SUDI data: got %x (%v), want %x", again, err, b)
			}
		}
		if s, err := ParseSHA2Signature(b); err == nil {
			again, err := s.AppendBinary(nil)
			if err != nil || !bytes.Equal(again, b) {
				t.Errorf("signed data: got %x (%v), want %x", again, err, b)
			}
		}
	})
}

// FuzzPublicKey: an accepted key has a canonical form that is accepted as itself, of the same kind.
func FuzzPublicKey(f *testing.F) {
	recordedValues(f, TagPublicKey)
	f.Add([]byte{0x30, 6, 2, 1, 0x23, 2, 1, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		spki, k, err := ParsePublicKey(b)
		if err != nil {
			return
		}
		again, k2, err := ParsePublicKey(spki)
		if err != nil || k2 != k || !bytes.Equal(again, spki) {
			t.Errorf("canonical form %x of %x: %v %v (%v)", spki, b, k, k2, err)
		}
	})
}
