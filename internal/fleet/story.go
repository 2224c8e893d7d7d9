package fleet

import (
	"crypto/tls"
	"slices"
	"time"

	"callsign/capf"
)

// What a phone may show to authenticate, as an Attempt has it.
const (
	CredentialNone   = "none"
	CredentialString = "string"
	CredentialLSC    = "lsc"
	CredentialMIC    = "mic"
)

// story gathers what happens in a call, for the attempt that goes on record with its result.
type story struct {
	now  func() time.Time
	mark time.Time // end of the last step
	a    Attempt
}

// tell begins the story of a call for the operation that is due for d.
func (s *Service) tell(c capf.Caller, d *Device) *story {
	now := s.now()
	a := Attempt{
		Session: c.Session, Began: now, Version: c.Version, Operation: d.Operation, Auth: d.Auth, Credential: CredentialNone,
	}
	if c.Peer != nil {
		a.Peer = c.Peer.String()
	}
	if c.TLSVersion != 0 {
		a.TLS, a.Cipher = tls.VersionName(c.TLSVersion), tls.CipherSuiteName(c.Cipher)
	}
	return &story{now: s.now, mark: now, a: a}
}

// step ends a step. code is empty when it went well.
func (t *story) step(name StepName, code, detail string) {
	now := t.now()
	t.a.Steps = append(t.a.Steps, Step{Name: name, Duration: now.Sub(t.mark), Code: code, Detail: detail})
	t.mark = now
}

// end returns the attempt with its result.
func (t *story) end(ok bool, r capf.Result, note *Note) *Attempt {
	a := t.a
	a.Steps = slices.Clone(a.Steps)
	a.OK, a.Result, a.Note, a.Duration = ok, r, note, t.now().Sub(a.Began)
	return &a
}

// fail returns the attempt that ended in a step. Unlike step it may be called again, in a change that is tried again.
func (t *story) fail(name StepName, r capf.Result, note *Note) *Attempt {
	a := t.end(false, r, note)
	a.Steps = append(a.Steps, Step{Name: name, Duration: t.now().Sub(t.mark), Code: note.Code, Detail: note.Detail})
	return a
}
