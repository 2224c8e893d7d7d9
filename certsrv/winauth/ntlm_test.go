package winauth

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// TestNTOWFv2 uses the values of MS-NLMP 4.2.4: NTOWFv2 of User, Domain and Password, and the SessionBaseKey that belongs to
// the proof there.
func TestNTOWFv2(t *testing.T) {
	t.Parallel()
	key := ntowfv2("Password", "User", "Domain")
	if got := hex.EncodeToString(key); got != "0c868a403bfd7a93a3001ef22ef02e3f" {
		t.Errorf("NTOWFv2 %s", got)
	}
	proof := asHex(t, "68cd0ab851e51c96aabc927bebef6a1c")
	if got := hex.EncodeToString(hmacMD5(key, proof)); got != "8de40ccadbc14a82f15cb0ad0de95ca3" {
		t.Errorf("SessionBaseKey %s", got)
	}
}

// pairs reads AV pairs.
func pairs(t *testing.T, b []byte) map[uint16][]byte {
	t.Helper()
	out := map[uint16][]byte{}
	for len(b) >= 4 {
		id, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if _, twice := out[id]; twice || len(b) < 4+n {
			t.Fatalf("pair %d is there twice or too long: %x", id, b)
		}
		out[id] = b[4 : 4+n]
		b = b[4+n:]
		if id == avEOL {
			return out
		}
	}
	t.Fatal("no end of the pairs")
	return nil
}

// TestBoundAuthenticate: what the server said of itself comes back, with what the login is bound to, in the part that the
// password proves; and the MIC covers the three messages as they were sent.
func TestBoundAuthenticate(t *testing.T) {
	t.Parallel()
	// Flags of the server's own, a time, and two pairs that are the client's to say.
	info := asHex(t, "0600040001000000"+"07000800"+"0102030405060708"+"09000200"+"4100"+"0a001000"+"ffffffffffffffffffffffffffffffff"+"00000000")
	challenge := challengeBytes()[:56]
	binary.LittleEndian.PutUint16(challenge[atTargetInfo:], uint16(len(info)))
	binary.LittleEndian.PutUint16(challenge[atTargetInfo+2:], uint16(len(info)))
	challenge = append(challenge, info...)
	binding := [16]byte{1, 2, 3}
	for name, want := range map[string]target{
		"bound":   {spn: "HTTP/lab-dc.test.example", binding: &binding},
		"unbound": {spn: "HTTP/lab-dc.test.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ntlm{creds: creds(`LAB\ra`), target: want}
			first, err := m.first()
			if err != nil {
				t.Fatal(err)
			}
			token, err := m.next(base64.StdEncoding.EncodeToString(challenge))
			if err != nil {
				t.Fatal(err)
			}
			negotiate, err := decodeToken(first)
			if err != nil {
				t.Fatal(err)
			}
			msg, err := decodeToken(token)
			if err != nil {
				t.Fatal(err)
			}
			nt, err := field(msg, atNTResponse)
			if err != nil || len(nt) < 44 {
				t.Fatalf("NT response %x, %v", nt, err)
			}
			key := ntowfv2("hunter2", "ra", "LAB")
			if !bytes.Equal(nt[:16], hmacMD5(key, challenge[24:32], nt[16:])) {
				t.Error("the proof is wrong")
			}
			got := pairs(t, nt[44:])
			if flags := got[avFlags]; !bytes.Equal(flags, []byte{3, 0, 0, 0}) {
				t.Errorf("flags %x", flags)
			}
			if !bytes.Equal(got[7], []byte{1, 2, 3, 4, 5, 6, 7, 8}) || !bytes.Equal(got[avTargetName], utf16le(want.spn)) {
				t.Errorf("time %x, target name %q", got[7], got[avTargetName])
			}
			if b, has := got[avChannelBindings]; has != (want.binding != nil) || has && !bytes.Equal(b, binding[:]) {
				t.Errorf("binding %x", b)
			}
			if flags := binary.LittleEndian.Uint32(msg[atFlags:]); flags&flagVersion == 0 {
				t.Errorf("flags %x say nothing of the version before the MIC", flags)
			}
			blank := bytes.Clone(msg)
			clear(blank[atMIC:authenticateHeader])
			if !bytes.Equal(msg[atMIC:authenticateHeader], hmacMD5(hmacMD5(key, nt[:16]), negotiate, challenge, blank)) {
				t.Error("the MIC is wrong")
			}
		})
	}
}
