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
		if v, ok := m.withoutString().Element(TagPassword); ok && len(v) > 0 {
			t.Errorf("the string %x is shown", v)
		}
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

// FuzzCredential: no credential is accepted but one that says what the recorded ones say. The parts come from a whole
// AUTH_RESPONSE, as from a phone.
func FuzzCredential(f *testing.F) {
	known := map[string][]byte{} // certificate to what may be signed over it
	for _, r := range recordedCredentials(f) {
		f.Add(r.bytes(f, 1), r.Device, r.session)
		known[r.Device+string(r.credential.Certificate)] = r.credential.Certificate
		s, _, err := r.credential.SUDI()
		if err != nil {
			f.Fatal(err)
		}
		known[string(s.SignedBytes(r.session))] = s.Certificate
	}
	f.Fuzz(func(t *testing.T, b []byte, device string, session uint32) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		c, err := credentialOf(m)
		if err != nil {
			return
		}
		for _, allow := range []bool{false, true} {
			err := c.VerifySignatures(device, allow)
			if err != nil && (code(err) == "" || err.(coder).Remedy() == "") { //nolint:errorlint // its own error, not a wrapped one
				t.Errorf("error without a code or a remedy: %v", err)
			}
			if err == nil && known[device+string(c.Certificate)] == nil {
				t.Errorf("accepted for %q: %x", device, b)
			}
		}
		s, present, err := c.SUDI()
		if err != nil || !present {
			return
		}
		if s.Verify(session) == nil && known[string(s.SignedBytes(session))] == nil {
			t.Errorf("SUDI data accepted for session %d: %x", session, b)
		}
	})
}
