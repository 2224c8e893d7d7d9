package fleet

import (
	"net"
	"time"

	"callsign/capf"
)

// AttemptsKept is how many attempts of a phone are kept; older ones are forgotten.
const AttemptsKept = 20

// Attempt is one call of a phone for which an operation was due: the story that `phone show` tells.
type Attempt struct {
	Session    uint32        `json:"session"` // session id on the wire
	Began      time.Time     `json:"began"`
	Duration   time.Duration `json:"-"`
	Peer       string        `json:"peer"`             // HOST:PORT
	Version    uint8         `json:"version"`          // CAPF protocol version of the phone
	TLS        string        `json:"tls,omitempty"`    // e.g. "TLS 1.2"; empty on a plain listener
	Cipher     string        `json:"cipher,omitempty"` // e.g. "TLS_RSA_WITH_AES_256_CBC_SHA"
	Operation  Operation     `json:"operation"`
	Auth       AuthMode      `json:"authentication"` // what the record asked for
	Credential string        `json:"credential"`     // what the phone showed: "none", "string", "lsc" or "mic"
	OK         bool          `json:"ok"`
	Result     capf.Result   `json:"result"`
	Steps      []Step        `json:"steps"`
	Note       *Note         `json:"note,omitempty"`      // why it failed; nil when all went well
	Enrolment  string        `json:"enrolment,omitempty"` // journal row
	Serial     string        `json:"serial,omitempty"`    // of the certificate that was stored or shown
	// Repeats is how many calls after this one were turned away in the same way: see Repeated. Latest is when the last of
	// them came; Session, Peer and Note are its own.
	Repeats int       `json:"repeats,omitempty"`
	Latest  time.Time `json:"latest,omitzero"`
}

// Repeated counts next, a call that came after a, in a when both were turned away before anything was granted, from the
// same host and for the same reason; false when it is another story. Whoever calls under a phone's name and proves
// nothing would otherwise drive the phone's own calls out of the record.
func (a *Attempt) Repeated(next *Attempt) bool {
	if a.turnedAway() == "" || a.turnedAway() != next.turnedAway() || host(a.Peer) != host(next.Peer) ||
		a.Operation != next.Operation || a.Auth != next.Auth || a.Credential != next.Credential {
		return false
	}
	a.Repeats++
	a.Latest, a.Session, a.Peer, a.Note = next.Began, next.Session, next.Peer, next.Note
	return true
}

// turnedAway is the code by which a call ended in its first step; empty when it went further.
func (a *Attempt) turnedAway() string {
	if a.OK || len(a.Steps) != 1 || a.Steps[0].Name != StepAuthenticate {
		return ""
	}
	return a.Steps[0].Code
}

func host(peer string) string {
	if h, _, err := net.SplitHostPort(peer); err == nil {
		return h
	}
	return peer
}

// Step is one part of an attempt. The last one of an attempt that failed is the one that failed.
type Step struct {
	Name     StepName      `json:"step"`
	Duration time.Duration `json:"-"`
	Code     string        `json:"code,omitempty"`   // why it failed; empty when it went well
	Detail   string        `json:"detail,omitempty"` // what there is to say, e.g. the key or the authority
}

// StepName names a part of an attempt.
type StepName string

// The steps of an attempt, in the order in which an install has them.
const (
	StepAuthenticate StepName = "authenticate" // device, time limit and credentials are judged
	StepOffer        StepName = "offer"        // the phone stores a certificate that an earlier call left
	StepKey          StepName = "key"          // the phone makes its key
	StepIssue        StepName = "issue"        // the authority is asked
	StepStore        StepName = "store"        // the phone stores the certificate
	StepFetch        StepName = "fetch"        // the phone shows its certificates
	StepDelete       StepName = "delete"       // the phone deletes its certificate
)
