package enroll

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Live tells whether a row in this state stands for its request: the same request gets the same row.
func (s State) Live() bool {
	switch s {
	case Requested, Submitted, Pending, Issued:
		return true
	default:
		return false
	}
}

// Open tells whether the engine still has work to do on a row in this state.
func (s State) Open() bool { return s == Requested || s == Submitted || s == Pending }

// Known tells whether s is one of the states of this package.
func (s State) Known() bool {
	switch s {
	case Requested, Submitted, Pending, Issued, Confirmed, Denied, Failed, Stale:
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

// Admit decides whether last, the newest row of the same request as e, answers it, and returns the row to go on with.
// Every Journal calls it, so that they all decide alike.
//
//   - A live row answers, unless it is an issued one whose time is over (see [Request].Reuse) at e.Created.
//   - A row that failed or was superseded when the authority had perhaps been asked and its answer was never seen hands its progress on:
//     the new row begins as submitted, and the authority looks for the lost answer before it issues again.
//     A new row that comes with its certificate (see [ca.Private]) stays as it is: there is nothing to look for.
//   - Everything else (confirmed, denied, refused by the owner) is history; a new request begins.
func Admit(e, last Enrolment) (Enrolment, Admission) {
	if last.State.Live() {
		if last.outlived(e.Created, e.Reuse) {
			return e, Replace
		}
		return last, Existing
	}
	if e.State != Issued && (last.State == Failed || last.State == Stale) && last.Progress.Submitted && len(last.Certificate) == 0 {
		e.State, e.Progress = Submitted, last.Progress
	}
	return e, Fresh
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
