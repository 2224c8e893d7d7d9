package enroll

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/binary"
	"slices"
	"time"
)

// Live tells whether a row in this state stands for its request: the same request gets the same row.
func (s State) Live() bool {
	switch s {
	case Held, Requested, Submitted, Pending, Issued:
		return true
	default:
		return false
	}
}

// Open tells whether the engine still has work to do on a row in this state. On a held one it has none yet.
func (s State) Open() bool { return s == Requested || s == Submitted || s == Pending }

// unsettled tells whether a row in this state has no end yet: it is open, or held.
func (s State) unsettled() bool { return s == Held || s.Open() }

// Known tells whether s is one of the states of this package.
func (s State) Known() bool {
	switch s {
	case Held, Requested, Submitted, Pending, Issued, Confirmed, Denied, Failed, Stale:
		return true
	default:
		return false
	}
}

// Key is what makes two requests the same one: SHA-256 over authority, owner, label, subject and public key, each preceded by
// its length.
func (r *Request) Key() [sha256.Size]byte {
	b := make([]byte, 0, 5*4+len(r.Authority)+len(r.Owner)+len(r.Label)+len(r.Subject)+len(r.PublicKey))
	for _, field := range []string{r.Authority, r.Owner, r.Label} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field))) // #nosec G115 -- a name or label of 4 GiB cannot be
		b = append(b, field...)
	}
	for _, field := range [][]byte{r.Subject, r.PublicKey} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field))) // #nosec G115 -- nor can a name or key
		b = append(b, field...)
	}
	return sha256.Sum256(b)
}

// Admission is what [Journal].Open does with a new request, given the newest row of the same request.
type Admission int

// The decisions of [Admit].
const (
	Existing Admission = iota + 1 // the newest row answers; nothing is stored
	Fresh                         // the new row is stored
	Replace                       // the new row is stored and the newest one becomes stale, in one transaction
)

// approvalLasts is for how long an approval of which nothing came counts for the same request again.
const approvalLasts = 30 * 24 * time.Hour

// Admit decides whether last, the newest row of the same request as e, answers it, and returns the row to go on with.
// Every Journal calls it, so that they all decide alike.
//
//   - A live row answers, unless it is an issued one whose time is over (see [Request].Reuse) at e.Created.
//   - So does one that an administrator denied, for ever: see [Engine.Approve] for a change of mind.
//   - A row that failed or was superseded when the authority had perhaps been asked and its answer was never seen hands its progress on:
//     the new row begins as submitted, and the authority looks for the lost answer before it issues again. A held row keeps the
//     progress until it is approved.
//     A new row that comes with its certificate (see [ca.Private]) stays as it is: there is nothing to look for.
//   - A row that was approved and ended without a certificate, for whatever reason but the authority's refusal, hands the
//     approval on for 30 days from it: the new row is not held. The request must be the same byte for byte, with its CSR and
//     extensions, which the identity of a request does not cover: nobody approved any others.
//   - Everything else (confirmed, refused by the authority or by the owner) is history; a new request begins.
func Admit(e, last Enrolment) (Enrolment, Admission) {
	switch {
	case last.State.Live() && last.outlived(e.Created, e.Reuse):
		return e, Replace
	case last.State.Live(), last.Rejected():
		return last, Existing
	case e.State == Issued:
		return e, Fresh
	}
	if e.State == Held && last.approves(&e) {
		e.State, e.NextAttempt, e.Decision = Requested, e.Created, last.Decision
	}
	if last.Unanswered() {
		e.Progress = last.Progress
		if e.State == Requested {
			e.State = Submitted
		}
	}
	return e, Fresh
}

// approves tells whether the approval of a row that is over, and of which nothing came, is good for a new row.
func (e *Enrolment) approves(next *Enrolment) bool {
	return (e.State == Failed || e.State == Stale) && len(e.Certificate) == 0 &&
		e.Decision != nil && e.Decision.Approved && next.Created.Before(e.Decision.At.Add(approvalLasts)) &&
		bytes.Equal(e.CSR, next.CSR) && e.Vouch == next.Vouch &&
		slices.EqualFunc(e.Extensions, next.Extensions, func(a, b pkix.Extension) bool {
			return a.Critical == b.Critical && a.Id.Equal(b.Id) && bytes.Equal(a.Value, b.Value)
		})
}

// Rejected tells whether an administrator of ours denied the request, not its authority.
func (e *Enrolment) Rejected() bool {
	return e.State == Denied && e.Decision != nil && !e.Decision.Approved
}

// outlived tells whether an issued row no longer answers a request made at now. An issued row changes no more until it ceases to
// be one, so Updated is when it was issued.
func (e *Enrolment) outlived(now time.Time, reuse time.Duration) bool {
	if e.State != Issued {
		return false
	}
	if reuse > 0 && !now.Before(e.Updated.Add(reuse)) {
		return true
	}
	return !e.NotAfter.IsZero() && !now.Before(e.NotAfter)
}
