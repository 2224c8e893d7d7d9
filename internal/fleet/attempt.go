package fleet

import (
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
