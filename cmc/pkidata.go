package cmc

import (
	"encoding/asn1"
	"errors"
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

// ParsePKIData reads the DER of a PKIData: strict DER at every depth, four sequences, nothing after. It does not judge body
// part ids or controls. Errors are *Problem with CodeMalformed.
func ParsePKIData(der []byte) (*PKIData, error) {
	return nil, errors.ErrUnsupported
}

// Marshal returns the DER of d. What ParsePKIData accepted comes back as the same bytes.
func (d *PKIData) Marshal() ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Control returns the first control of type t, or nil.
func (d *PKIData) Control(t asn1.ObjectIdentifier) *Control {
	return nil
}

// RegInfo returns the octets of the regInfo control, or nil.
func (d *PKIData) RegInfo() []byte {
	return nil
}

// ParsePKIResponse reads the DER of a PKIResponse, as ParsePKIData does.
func ParsePKIResponse(der []byte) (*PKIResponse, error) {
	return nil, errors.ErrUnsupported
}

// Marshal returns the DER of r. What ParsePKIResponse accepted comes back as the same bytes.
func (r *PKIResponse) Marshal() ([]byte, error) {
	return nil, errors.ErrUnsupported
}
