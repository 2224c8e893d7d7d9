package winauth

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// The mechanisms: SPNEGO (RFC 4178), Kerberos (RFC 4121), and NTLM inside SPNEGO.
var (
	oidSPNEGO   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
	oidKerberos = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
	oidNTLM     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}
)

// Kinds of Kerberos messages inside a GSS token (RFC 4121 section 4.1).
const (
	tokenAPReq    = 0x0100
	tokenAPRep    = 0x0200
	tokenKRBError = 0x0300
)

const gssMutual = 2 // GSS_C_MUTUAL_FLAG: the server is to prove that it could read the ticket

// kerberosLogin is one login by Kerberos: one token to the server, at most one back.
type kerberosLogin struct {
	ticket *ticket
	auth   types.Authenticator
}

// token returns what to send: an AP-REQ with the ticket, bound to the TLS connection, in a GSS token in a NegTokenInit.
func (l *kerberosLogin) token(binding *[16]byte) (string, error) {
	var err error
	l.auth, err = types.NewAuthenticator(l.ticket.client.realm, l.ticket.client.name)
	if err != nil {
		return "", err
	}
	// RFC 4121 section 4.1.1: no binding is zeros here, other than in NTLM.
	sum := binary.LittleEndian.AppendUint32(nil, 16)
	if binding != nil {
		sum = append(sum, binding[:]...)
	} else {
		sum = append(sum, make([]byte, 16)...)
	}
	l.auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: binary.LittleEndian.AppendUint32(sum, gssMutual)}
	req, err := messages.NewAPReq(l.ticket.ticket, l.ticket.key, l.auth)
	if err != nil {
		return "", err
	}
	types.SetFlag(&req.APOptions, flags.APOptionMutualRequired)
	raw, err := req.Marshal()
	if err != nil {
		return "", err
	}
	var b cryptobyte.Builder
	gssToken(&b, oidSPNEGO, func(b *cryptobyte.Builder) {
		b.AddASN1(tagged(0), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tagged(0), func(b *cryptobyte.Builder) {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidKerberos) })
				})
				b.AddASN1(tagged(2), func(b *cryptobyte.Builder) {
					b.AddASN1(der.OCTET_STRING, func(b *cryptobyte.Builder) {
						gssToken(b, oidKerberos, func(b *cryptobyte.Builder) {
							b.AddUint16(tokenAPReq)
							b.AddBytes(raw)
						})
					})
				})
			})
		})
	})
	out, err := b.Bytes()
	return base64.StdEncoding.EncodeToString(out), err
}

// gssToken frames a mechanism's token (RFC 2743 section 3.1).
func gssToken(b *cryptobyte.Builder, mechanism asn1.ObjectIdentifier, inner cryptobyte.BuilderContinuation) {
	b.AddASN1(initial, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(mechanism)
		inner(b)
	})
}

const initial = der.Tag(0x60) // [APPLICATION 0], constructed

func tagged(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

// answer is what a server says to a Kerberos token.
type answer struct {
	mechanism asn1.ObjectIdentifier // nil when the server names none
	message   int                   // tokenAPRep, tokenKRBError, or 0 for none
	raw       []byte                // the Kerberos message
}

var errToken = errors.New("the server's Negotiate token is malformed")

// parseAnswer reads a NegTokenResp, or a Kerberos token without that frame, as some servers send it.
func parseAnswer(b []byte) (answer, error) {
	var a answer
	in := cryptobyte.String(b)
	if !in.PeekASN1Tag(tagged(1)) {
		return a, a.kerberos(in)
	}
	var resp, body cryptobyte.String
	if !in.ReadASN1(&resp, tagged(1)) || !in.Empty() || !resp.ReadASN1(&body, der.SEQUENCE) || !resp.Empty() {
		return a, errToken
	}
	var part, token cryptobyte.String
	var has bool
	// Of the state of the negotiation the HTTP status tells enough.
	if !body.ReadOptionalASN1(&part, &has, tagged(0)) {
		return a, errToken
	}
	if !body.ReadOptionalASN1(&part, &has, tagged(1)) || has && (!part.ReadASN1ObjectIdentifier(&a.mechanism) || !part.Empty()) {
		return a, errToken
	}
	if !body.ReadOptionalASN1(&part, &has, tagged(2)) || has && (!part.ReadASN1(&token, der.OCTET_STRING) || !part.Empty()) {
		return a, errToken
	}
	// What may follow is a code over the list of mechanisms, of which we sent one.
	if len(token) == 0 || a.mechanism.Equal(oidNTLM) {
		return a, nil
	}
	return a, a.kerberos(token)
}

// kerberos reads a Kerberos message, in its GSS frame or bare.
func (a *answer) kerberos(in cryptobyte.String) error {
	if in.PeekASN1Tag(initial) {
		var frame cryptobyte.String
		var mechanism asn1.ObjectIdentifier
		var kind uint16
		if !in.ReadASN1(&frame, initial) || !frame.ReadASN1ObjectIdentifier(&mechanism) || !mechanism.Equal(oidKerberos) || !frame.ReadUint16(&kind) {
			return errToken
		}
		a.message, a.raw = int(kind), frame
	} else {
		switch {
		case len(in) > 0 && in[0] == 0x7e: // [APPLICATION 30] KRB-ERROR
			a.message = tokenKRBError
		case len(in) > 0 && in[0] == 0x6f: // [APPLICATION 15] AP-REP
			a.message = tokenAPRep
		default:
			return errToken
		}
		a.raw = in
	}
	if a.message != tokenAPRep && a.message != tokenKRBError {
		return errToken
	}
	return nil
}

// refusal returns the KRB-ERROR of an answer, nil when it has none.
func (a *answer) refusal() *kdcError {
	if a.message != tokenKRBError {
		return nil
	}
	if e, ok := asRefusal(a.raw); ok {
		return e
	}
	return nil
}

var errProof = errors.New("the server's answer does not prove that it could read the ticket")

// prove checks the AP-REP of an answer: only who can read the ticket knows its key, and the time in our token.
func (l *kerberosLogin) prove(a answer) error {
	var rep messages.APRep
	if err := rep.Unmarshal(a.raw); err != nil {
		return errToken
	}
	b, err := decrypt(rep.EncPart, l.ticket.key, keyusage.AP_REP_ENCPART)
	if err != nil {
		return errProof
	}
	var part messages.EncAPRepPart
	if err := part.Unmarshal(b); err != nil {
		return errToken
	}
	if part.CTime.Unix() != l.auth.CTime.Unix() || part.Cusec != l.auth.Cusec {
		return errProof
	}
	return nil
}
