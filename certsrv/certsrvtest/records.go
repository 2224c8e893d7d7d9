package certsrvtest

import "time"

// Disposition is the CA's verdict on a request, with the numbers of the status page.
type Disposition int

// Dispositions (CR_DISP_...).
const (
	DispositionError   Disposition = 1 // not parseable, signature wrong, or the CA failed
	DispositionDenied  Disposition = 2
	DispositionIssued  Disposition = 3
	DispositionPending Disposition = 5
)

// String returns "error", "denied", "issued" or "pending".
func (d Disposition) String() string {
	switch d {
	case DispositionError:
		return "error"
	case DispositionDenied:
		return "denied"
	case DispositionIssued:
		return "issued"
	case DispositionPending:
		return "pending"
	}
	return "unknown"
}

// What [Config.Log] has in the attribute "event" when something becomes of a request, whose id is in "request_id". With
// EventHandled "outcome" is a Disposition in words, "code" the status as 0x and eight digits, "template" and "subject" those of
// the request.
const (
	EventHandled  = "certsrvtest.handled"  // it was received and disposed of
	EventApproved = "certsrvtest.approved" // it was pending, and the manager has issued it
	EventDenied   = "certsrvtest.denied"   // it was pending, and the manager has denied it
)

// Kind is the form of a request.
type Kind string

// Forms of requests.
const (
	KindPKCS10 Kind = "pkcs10" // bare PKCS #10
	KindCMC    Kind = "cmc"    // CMC full request around a PKCS #10
	KindPKCS7  Kind = "pkcs7"  // PKCS #7 on behalf of someone
)

// Record is one request in the CA's database, for inspection by tests and by the admin endpoint.
type Record struct {
	ID            int         `json:"id"`
	Disposition   Disposition `json:"disposition"`
	HResult       uint32      `json:"hresult,omitempty"` // last status; 0 is success
	Message       string      `json:"message"`           // disposition message, English
	Template      string      `json:"template,omitempty"`
	Subject       string      `json:"subject,omitempty"`    // RFC 2253 form of the request's subject
	PublicKeyHash string      `json:"public_key,omitempty"` // SHA-256 of the DER SubjectPublicKeyInfo, lower-case hex
	Kind          Kind        `json:"kind,omitempty"`       // empty when the request could not be read
	POP           bool        `json:"pop"`                  // the request was signed by its own key
	Agent         string      `json:"agent,omitempty"`      // subject of the enrollment agent that signed, empty for none
	OnBehalfOf    string      `json:"on_behalf_of,omitempty"`
	Requester     string      `json:"requester"`        // account that sent it, `DOMAIN\user`
	Serial        string      `json:"serial,omitempty"` // of the issued certificate: hex, no colons, lower-case
	Certificate   []byte      `json:"certificate,omitempty"`
	Submitted     time.Time   `json:"submitted"`
	Resolved      time.Time   `json:"resolved,omitzero"` // when issued or denied
}
