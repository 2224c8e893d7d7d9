package ra

import (
	"fmt"
	"net/http"
	"time"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// verdict is the answer to an enrolment before it is put into EST's or CMC's words.
type verdict struct {
	status     int // HTTP: 200, 202, 4xx, 5xx
	code       string
	text       string // for the peer, which is authenticated here
	fix        string
	retryAfter time.Duration
	hresult    uint32
	row        enroll.Enrolment
}

// failure is what went wrong, from a row or from an error.
type failure struct {
	enroll.Failure
	temporary bool
	after     time.Duration
}

func failureOf(err error) failure {
	e := asCA(err)
	return failure{
		Failure:   enroll.Failure{Code: e.Code(), Detail: e.Error(), Remedy: e.Remedy(), HResult: e.HResult, Timeout: e.Timeout},
		temporary: !e.Final, after: e.After,
	}
}

// judge turns a journal row into a verdict. A row that is still open when the time to answer is over gets 202 when
// nothing went wrong so far, and 503 or 504 when an attempt failed; the engine goes on in both cases.
func (a *RA) judge(row enroll.Enrolment, clientLogin bool) verdict {
	v := verdict{row: row}
	if row.State.Open() && row.Failure != nil && row.Failure.Code == ca.CodeLoginNeeded {
		// The client's own next call brings it on; how long the row would rest without one is nothing to tell.
		if row.State == enroll.Pending {
			v.row.RetryAfter = 0
			return a.pending(v)
		}
		return a.working(v)
	}
	switch row.State {
	case enroll.Held:
		return a.held(v)
	case enroll.Issued, enroll.Confirmed:
		v.status = http.StatusOK
		return v
	case enroll.Pending:
		return a.pending(v)
	case enroll.Denied, enroll.Failed:
		f := failure{Failure: enroll.Failure{Code: CodeDenied, Detail: "the CA refused the request"}}
		if row.Failure != nil {
			f.Failure = *row.Failure
		}
		v = a.failed(f, clientLogin)
		if row.State == enroll.Denied && v.status == http.StatusInternalServerError {
			v.status = http.StatusForbidden
		}
		if row.Rejected() {
			v.text = fmt.Sprintf("request %s: %s", row.ID, oneLine(f.Detail))
		}
		v.row = row
		return v
	case enroll.Stale:
		// It has no future, but the same request sent again has a new row.
		v.status, v.code, v.retryAfter = http.StatusServiceUnavailable, CodeSuperseded, a.c.RetryAfter
		v.text, v.fix = "another request took the place of this one; repeat it", "nothing: the next call of the client begins anew"
		return v
	}
	if row.Failure != nil {
		f := failure{Failure: *row.Failure, temporary: true}
		if !row.NextAttempt.IsZero() {
			f.after = max(row.NextAttempt.Sub(a.c.Now()), time.Second)
		}
		v = a.failed(f, clientLogin)
		v.row = row
		return v
	}
	return a.working(v)
}

// working is the answer while the engine is at it.
func (a *RA) working(v verdict) verdict {
	v.status, v.retryAfter = http.StatusAccepted, a.c.RetryAfter
	v.text = "the request is being worked on; repeat it later"
	return v
}

// held is the answer while a request waits for an administrator of ours.
func (a *RA) held(v verdict) verdict {
	v.status, v.code, v.retryAfter = http.StatusAccepted, CodeHeld, a.c.PendingRetry
	v.text = fmt.Sprintf("request %s waits until an administrator approves it; repeat it later", v.row.ID)
	return v
}

// pending is the answer while the CA waits for a person.
func (a *RA) pending(v verdict) verdict {
	v.status, v.code, v.retryAfter = http.StatusAccepted, CodePending, v.row.RetryAfter
	if v.retryAfter <= 0 {
		v.retryAfter = a.c.PendingRetry
	}
	v.text = "the CA keeps the request until somebody approves it; repeat it later"
	if id := v.row.Progress.RequestID; id != "" {
		v.text = fmt.Sprintf("the CA keeps request %s until somebody approves it; repeat it later", id)
	}
	return v
}

// failed is the table from the authority's failures to statuses. clientLogin tells that the credentials were the
// client's own and not the server's.
func (a *RA) failed(f failure, clientLogin bool) verdict {
	v := verdict{code: f.Code, text: f.Detail, fix: f.Remedy, hresult: f.HResult, retryAfter: f.after}
	switch {
	case f.Code == ca.CodeTemplateNotOffered:
		v.status = a.c.TemplateStatus
	case f.Code == ca.CodeLoginRefused && clientLogin:
		v.status = http.StatusUnauthorized
	case f.Code == ca.CodeLoginRefused:
		// The server's own account: nothing the client can do, and the administrator can.
		v.status = http.StatusServiceUnavailable
	case f.Code == ca.CodeUnexpectedAnswer || f.Code == ca.CodeOtherKey:
		v.status = http.StatusBadGateway
	case f.temporary && (f.Timeout || f.Code == ca.CodeNotResolved || f.Code == ca.CodeCannotConnect):
		v.status = http.StatusGatewayTimeout
	case f.temporary:
		v.status = http.StatusServiceUnavailable
	default:
		v.status = http.StatusInternalServerError
	}
	switch {
	case v.status == http.StatusUnauthorized && f.Code == ca.CodeTemplateNotOffered:
		// The account is good: what the original says comes first, and then what it leaves users to find out.
		v.text, v.retryAfter = fmt.Sprintf("%s %s (%s)", unauthorized, oneLine(f.Detail), f.Code), 0
	case v.status == http.StatusUnauthorized:
		v.text, v.retryAfter = unauthorized, 0
	case v.status == http.StatusServiceUnavailable, v.status == http.StatusGatewayTimeout, v.status == http.StatusBadGateway && f.temporary:
		v.text = fmt.Sprintf("%s (%s)", oneLine(f.Detail), f.Code)
		if v.retryAfter <= 0 {
			v.retryAfter = a.c.Unavailable
		}
	default:
		v.retryAfter = 0
	}
	return v
}

// est is the verdict as a refusal of EST.
func (v verdict) est() *est.Error {
	return &est.Error{Status: v.status, ErrCode: v.code, Text: v.text, Fix: v.fix, RetryAfter: v.retryAfter}
}

// fill puts the verdict into a CMC response (cmc.md 6 and step 25).
func (v verdict) fill(r *cmc.Response, token []byte, now time.Time) {
	r.FailInfo = cmc.NoFailInfo
	switch v.status {
	case http.StatusOK:
		r.Status = cmc.StatusSuccess
		if id := v.row.Progress.RequestID; id != "" {
			r.Text = fmt.Sprintf("issued by the CA as request %s", id)
		}
	case http.StatusAccepted:
		r.Status, r.Text = cmc.StatusPending, v.text
		r.Pending = &cmc.PendInfo{Token: token, Time: now.Add(v.retryAfter)}
	default:
		r.Status, r.Text = cmc.StatusFailed, v.text
		switch {
		case v.status == http.StatusServiceUnavailable || v.status == http.StatusGatewayTimeout || v.status == http.StatusBadGateway && v.retryAfter > 0:
			r.FailInfo = cmc.TryLater
		case v.status >= http.StatusInternalServerError:
			r.FailInfo = cmc.InternalCAError
		default:
			r.FailInfo = cmc.BadRequest
		}
	}
}
