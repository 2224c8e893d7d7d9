package certsrvtest

import (
	"encoding/asn1"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The server half of SPNEGO, RFC 4178 with Microsoft's habits (MS-SPNG).

var (
	oidSPNEGO = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
	oidKRB5   = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
	// oidMSKRB5 is oidKRB5 as Windows 2000 wrote it by mistake, and every Windows since names first.
	oidMSKRB5  = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2}
	oidNTLMSSP = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}
)

// negState of RFC 4178 section 4.2.2.
const (
	acceptCompleted  = 0
	acceptIncomplete = 1
)

var errSPNEGO = errors.New("malformed SPNEGO token")

// negToken is a client's token: NegTokenInit, or with resp NegTokenResp.
type negToken struct {
	resp     bool
	mechs    []asn1.ObjectIdentifier
	mechsDER []byte // the list as it was sent: what mechListMIC signs
	token    []byte // mechToken or responseToken; nil: none
	mic      []byte // mechListMIC; nil: none
}

const (
	tagInit = cbasn1.Tag(0xA0) // NegotiationToken CHOICE, and field 0
	tagResp = cbasn1.Tag(0xA1)
	tag2    = cbasn1.Tag(0xA2)
	tag3    = cbasn1.Tag(0xA3)
	tagGSS  = cbasn1.Tag(0x60) // InitialContextToken, RFC 2743 section 3.1
)

// mostMechs bounds the mechanisms of a token; Windows names four.
const mostMechs = 32

// gssToken opens an InitialContextToken: a mechanism and its own octets.
func gssToken(b []byte) (mech asn1.ObjectIdentifier, inner []byte, err error) {
	in, body := cryptobyte.String(b), cryptobyte.String(nil)
	if !in.ReadASN1(&body, tagGSS) || !in.Empty() || !body.ReadASN1ObjectIdentifier(&mech) {
		return nil, nil, errSPNEGO
	}
	return mech, body, nil
}

// wrapGSS is the reverse of gssToken.
func wrapGSS(mech asn1.ObjectIdentifier, inner []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tagGSS, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(mech)
		b.AddBytes(inner)
	})
	return b.BytesOrPanic()
}

// parseNegToken reads a client's SPNEGO token: the first of a login comes in an InitialContextToken, later ones bare. Some
// clients leave the frame out at once.
func parseNegToken(b []byte) (*negToken, error) {
	if len(b) > 0 && b[0] == byte(tagGSS) {
		mech, inner, err := gssToken(b)
		if err != nil || !mech.Equal(oidSPNEGO) {
			return nil, errSPNEGO
		}
		b = inner
	}
	in, choice, seq := cryptobyte.String(b), cryptobyte.String(nil), cryptobyte.String(nil)
	t := &negToken{resp: in.PeekASN1Tag(tagResp)}
	tag := tagInit
	if t.resp {
		tag = tagResp
	}
	if !in.ReadASN1(&choice, tag) || !in.Empty() || !choice.ReadASN1(&seq, cbasn1.SEQUENCE) || !choice.Empty() {
		return nil, errSPNEGO
	}
	if err := t.fields(seq); err != nil {
		return nil, err
	}
	if !t.resp && len(t.mechs) == 0 {
		return nil, errSPNEGO
	}
	return t, nil
}

// fields reads the members of both kinds, which differ in what the first two are.
func (t *negToken) fields(seq cryptobyte.String) error {
	last := cbasn1.Tag(0)
	for !seq.Empty() {
		var field cryptobyte.String
		var tag cbasn1.Tag
		if !seq.ReadAnyASN1(&field, &tag) || tag <= last { // each field once, in its order
			return errSPNEGO
		}
		last = tag
		var ok bool
		switch {
		case tag == tagInit && !t.resp:
			ok = t.readMechs(field)
		case tag == tag2:
			ok = field.ReadASN1Bytes(&t.token, cbasn1.OCTET_STRING) && field.Empty()
		case tag == tag3 && field.PeekASN1Tag(cbasn1.OCTET_STRING):
			ok = field.ReadASN1Bytes(&t.mic, cbasn1.OCTET_STRING) && field.Empty()
		default: // negState and supportedMech of a client, reqFlags, negHints: nothing to us
			ok = tag >= tagInit && tag <= tag3+1
		}
		if !ok {
			return errSPNEGO
		}
	}
	return nil
}

func (t *negToken) readMechs(field cryptobyte.String) bool {
	var list cryptobyte.String
	t.mechsDER = append([]byte(nil), field...)
	if !field.ReadASN1(&list, cbasn1.SEQUENCE) || !field.Empty() {
		return false
	}
	for !list.Empty() {
		var mech asn1.ObjectIdentifier
		if len(t.mechs) == mostMechs || !list.ReadASN1ObjectIdentifier(&mech) {
			return false
		}
		t.mechs = append(t.mechs, mech)
	}
	return true
}

// negResponse is the server's NegTokenResp. mech, token and mic may be nil.
func negResponse(state int64, mech asn1.ObjectIdentifier, token, mic []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tagResp, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(tagInit, func(b *cryptobyte.Builder) { b.AddASN1Int64WithTag(state, cbasn1.ENUM) })
			if mech != nil {
				b.AddASN1(tagResp, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(mech) })
			}
			if token != nil {
				b.AddASN1(tag2, func(b *cryptobyte.Builder) { b.AddASN1OctetString(token) })
			}
			if mic != nil {
				b.AddASN1(tag3, func(b *cryptobyte.Builder) { b.AddASN1OctetString(mic) })
			}
		})
	})
	return b.BytesOrPanic()
}
