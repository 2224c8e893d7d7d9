package cmc

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// PKIData is the content of a full request (RFC 5272 section 3.2.1).
type PKIData struct {
	Controls []Control
	Requests []TaggedRequest
	CMS      []Element // cmsSequence
	Other    []Element // otherMsgSequence
}

// PKIResponse is the content of a full response (RFC 5272 section 4.2).
type PKIResponse struct {
	Controls []Control
	CMS      []Element
	Other    []Element
}

// Control is a TaggedAttribute.
type Control struct {
	BodyPartID uint32
	Type       asn1.ObjectIdentifier
	Values     [][]byte // DER, each one value
}

// RequestKind tells the alternatives of TaggedRequest apart.
type RequestKind int

// The kinds of request.
const (
	TCR RequestKind = iota + 1 // PKCS#10
	CRM                        // CRMF CertReqMsg
	ORM                        // other request
)

// TaggedRequest is one request of a PKIData.
type TaggedRequest struct {
	Kind       RequestKind
	BodyPartID uint32                // of a CRM its certReqId
	Type       asn1.ObjectIdentifier // of an ORM
	// Raw is the DER of the PKCS#10 (TCR), of the CertReqMsg as a SEQUENCE (CRM), or of the value (ORM).
	Raw []byte
}

// Element is a member of cmsSequence, where Type is the content type of the ContentInfo in Raw, or of otherMsgSequence,
// where Raw is the DER of the value of that Type.
type Element struct {
	BodyPartID uint32
	Type       asn1.ObjectIdentifier
	Raw        []byte
}

// ParsePKIData reads the DER of a PKIData: strict DER at every depth, four sequences, at most MaxControls controls, nothing
// after. It does not judge body part ids or controls. Errors are *Problem with CodeMalformed.
func ParsePKIData(der []byte) (*PKIData, error) {
	seq, p := readPKI(der, "PKIData")
	if p != nil {
		return nil, p
	}
	d := new(PKIData)
	var controls, requests, cms, other cryptobyte.String
	if !seq.ReadASN1(&controls, casn1.SEQUENCE) || !seq.ReadASN1(&requests, casn1.SEQUENCE) ||
		!seq.ReadASN1(&cms, casn1.SEQUENCE) || !seq.ReadASN1(&other, casn1.SEQUENCE) || !seq.Empty() {
		return nil, malformed("the PKIData is not four sequences")
	}
	if d.Controls, p = readControls(controls); p != nil {
		return nil, p
	}
	for !requests.Empty() {
		r, ok := readTaggedRequest(&requests)
		if !ok {
			return nil, malformed("a request of the PKIData is not well-formed")
		}
		d.Requests = append(d.Requests, r)
	}
	if d.CMS, d.Other, p = readElements(cms, other); p != nil {
		return nil, p
	}
	return d, nil
}

// ParsePKIResponse reads the DER of a PKIResponse: strict DER at every depth, three sequences, at most MaxControls
// controls, nothing after. Errors are *Problem with CodeMalformed.
func ParsePKIResponse(der []byte) (*PKIResponse, error) {
	seq, p := readPKI(der, "PKIResponse")
	if p != nil {
		return nil, p
	}
	r := new(PKIResponse)
	var controls, cms, other cryptobyte.String
	if !seq.ReadASN1(&controls, casn1.SEQUENCE) || !seq.ReadASN1(&cms, casn1.SEQUENCE) ||
		!seq.ReadASN1(&other, casn1.SEQUENCE) || !seq.Empty() {
		return nil, malformed("the PKIResponse is not three sequences")
	}
	if r.Controls, p = readControls(controls); p != nil {
		return nil, p
	}
	if r.CMS, r.Other, p = readElements(cms, other); p != nil {
		return nil, p
	}
	return r, nil
}

// readPKI returns the inside of the one SEQUENCE in der.
func readPKI(der []byte, what string) (cryptobyte.String, *Problem) {
	var seq cryptobyte.String
	if len(der) > MaxMessage {
		return nil, malformed("the %s has %d octets, at most %d are allowed", what, len(der), MaxMessage)
	}
	if err := checkDER(der, 0); err != nil {
		return nil, malformed("the %s is not DER", what).because(err)
	}
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, casn1.SEQUENCE) {
		return nil, malformed("the %s is no SEQUENCE", what)
	}
	if !in.Empty() {
		return nil, malformed("%d octets follow the %s", len(in), what)
	}
	return seq, nil
}

// readBodyPartID reads an INTEGER of 0 to 4294967295.
func readBodyPartID(s *cryptobyte.String) (uint32, bool) {
	var id uint32
	ok := s.ReadASN1Integer(&id)
	return id, ok
}

// readControls reads the members of a controlSequence.
func readControls(s cryptobyte.String) ([]Control, *Problem) {
	var cs []Control
	for !s.Empty() {
		if len(cs) == MaxControls {
			return nil, malformed("there are more than %d controls", MaxControls)
		}
		var seq, set cryptobyte.String
		var c Control
		var ok bool
		if !s.ReadASN1(&seq, casn1.SEQUENCE) {
			return nil, malformed("a control is not well-formed")
		}
		if c.BodyPartID, ok = readBodyPartID(&seq); !ok || !seq.ReadASN1ObjectIdentifier(&c.Type) ||
			!seq.ReadASN1(&set, casn1.SET) || !seq.Empty() {
			return nil, malformed("a control is not well-formed")
		}
		if c.Values, ok = readValues(set); !ok {
			return nil, malformed("the values of control %v are not well-formed", c.Type)
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// readTaggedRequest reads one member of a reqSequence.
func readTaggedRequest(s *cryptobyte.String) (TaggedRequest, bool) {
	var in, raw cryptobyte.String
	var tag casn1.Tag
	var r TaggedRequest
	var ok bool
	if !s.ReadAnyASN1(&in, &tag) {
		return r, false
	}
	switch tag {
	case context0Constructed:
		r.Kind = TCR
		if r.BodyPartID, ok = readBodyPartID(&in); !ok || !in.ReadASN1Element(&raw, casn1.SEQUENCE) || !in.Empty() {
			return r, false
		}
		r.Raw = raw
	case context1Constructed:
		r.Kind = CRM
		r.Raw = appendTLV(nil, tagSequence, in)
		var certReq cryptobyte.String
		if !in.ReadASN1(&certReq, casn1.SEQUENCE) {
			return r, false
		}
		if r.BodyPartID, ok = readBodyPartID(&certReq); !ok {
			return r, false
		}
	case context2Constructed:
		r.Kind = ORM
		if r.BodyPartID, ok = readBodyPartID(&in); !ok || !in.ReadASN1ObjectIdentifier(&r.Type) {
			return r, false
		}
		if r.Raw, ok = readAny(&in); !ok || !in.Empty() {
			return r, false
		}
	default:
		return r, false
	}
	return r, true
}

// readElements reads the members of cmsSequence and otherMsgSequence.
func readElements(cms, other cryptobyte.String) (c, o []Element, p *Problem) {
	for !cms.Empty() {
		var seq, raw cryptobyte.String
		var e Element
		var ok bool
		if !cms.ReadASN1(&seq, casn1.SEQUENCE) {
			return nil, nil, malformed("a member of cmsSequence is not well-formed")
		}
		if e.BodyPartID, ok = readBodyPartID(&seq); !ok || !seq.ReadASN1Element(&raw, casn1.SEQUENCE) || !seq.Empty() {
			return nil, nil, malformed("a member of cmsSequence is not well-formed")
		}
		e.Raw = raw
		var info cryptobyte.String
		if !raw.ReadASN1(&info, casn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&e.Type) {
			return nil, nil, malformed("a member of cmsSequence is no ContentInfo")
		}
		c = append(c, e)
	}
	for !other.Empty() {
		var seq cryptobyte.String
		var e Element
		var ok bool
		if !other.ReadASN1(&seq, casn1.SEQUENCE) {
			return nil, nil, malformed("a member of otherMsgSequence is not well-formed")
		}
		if e.BodyPartID, ok = readBodyPartID(&seq); !ok || !seq.ReadASN1ObjectIdentifier(&e.Type) {
			return nil, nil, malformed("a member of otherMsgSequence is not well-formed")
		}
		if e.Raw, ok = readAny(&seq); !ok || !seq.Empty() {
			return nil, nil, malformed("a member of otherMsgSequence is not well-formed")
		}
		o = append(o, e)
	}
	return c, o, nil
}

// Marshal returns the DER of d. What ParsePKIData accepted comes back as the same bytes.
func (d *PKIData) Marshal() ([]byte, error) {
	return marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addControls(b, d.Controls)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, r := range d.Requests {
					addTaggedRequest(b, r)
				}
			})
			addElements(b, d.CMS, d.Other)
		})
	})
}

// Marshal returns the DER of r. What ParsePKIResponse accepted comes back as the same bytes.
func (r *PKIResponse) Marshal() ([]byte, error) {
	return marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addControls(b, r.Controls)
			addElements(b, r.CMS, r.Other)
		})
	})
}

// addControls adds a controlSequence.
func addControls(b *cryptobyte.Builder, cs []Control) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, c := range cs {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Uint64(uint64(c.BodyPartID))
				b.AddASN1ObjectIdentifier(c.Type)
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
					for _, v := range c.Values {
						b.AddBytes(v)
					}
				})
			})
		}
	})
}

// addTaggedRequest adds one member of a reqSequence.
func addTaggedRequest(b *cryptobyte.Builder, r TaggedRequest) {
	switch r.Kind {
	case CRM:
		inner := cryptobyte.String(r.Raw)
		var msg cryptobyte.String
		if !inner.ReadASN1(&msg, casn1.SEQUENCE) || !inner.Empty() {
			b.SetError(unusable("request %d is no CertReqMsg", r.BodyPartID))
			return
		}
		b.AddASN1(context1Constructed, func(b *cryptobyte.Builder) { b.AddBytes(msg) })
	case ORM:
		b.AddASN1(context2Constructed, func(b *cryptobyte.Builder) {
			b.AddASN1Uint64(uint64(r.BodyPartID))
			b.AddASN1ObjectIdentifier(r.Type)
			b.AddBytes(r.Raw)
		})
	default:
		b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) {
			b.AddASN1Uint64(uint64(r.BodyPartID))
			b.AddBytes(r.Raw)
		})
	}
}

// addElements adds cmsSequence and otherMsgSequence.
func addElements(b *cryptobyte.Builder, cms, other []Element) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range cms {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Uint64(uint64(e.BodyPartID))
				b.AddBytes(e.Raw)
			})
		}
	})
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range other {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Uint64(uint64(e.BodyPartID))
				b.AddASN1ObjectIdentifier(e.Type)
				b.AddBytes(e.Raw)
			})
		}
	})
}

// Control returns the first control of type t, or nil.
func (d *PKIData) Control(t asn1.ObjectIdentifier) *Control {
	return findControl(d.Controls, t)
}

// RegInfo returns the octets of the regInfo control, or nil.
func (d *PKIData) RegInfo() []byte {
	b, err := d.Control(OIDRegInfo).octets()
	if err != nil {
		return nil
	}
	return b
}
