package adcs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"callsign/certsrv"
	"callsign/internal/ca"
)

// mark is what the journal keeps for the search after a lost answer.
type mark struct {
	Version int     `json:"v"`                 // 1
	After   int64   `json:"after"`             // highest request id seen before the POST
	Key     []byte  `json:"key"`               // SHA-256 of the SubjectPublicKeyInfo
	Pending []int64 `json:"pending,omitempty"` // ids that were pending when looked at
	Looks   int     `json:"looks,omitempty"`   // how often they were looked at
	// Missed is when the certificate was looked for in vain for the first time, in ms since 1970: a CA that lost its client
	// goes on with the request, so it is not sent again before Config.Settle.
	Missed int64 `json:"missed,omitempty"`
	// Answered tells that the web server did answer, though not with the CA's word: it is not at the request any more.
	Answered bool `json:"answered,omitempty"`
	// Slow tells that the web server was waited for in vain: who needs longer than the submit timeout may need as long again.
	Slow bool `json:"slow,omitempty"`
	// User is the account of the client whose credentials were used; empty for our own account. Only the account that sent
	// a request may ask for it: to any other the CA says "access denied", which is no word about the request.
	User string `json:"user,omitempty"`
}

func (m mark) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("adcs: a mark of numbers and octets cannot be encoded: " + err.Error())
	}
	return b
}

func readMark(b []byte) mark {
	var m mark
	if len(b) == 0 || json.Unmarshal(b, &m) != nil || m.Version != 1 {
		// Unreadable: search from the beginning rather than post twice.
		return mark{Version: 1}
	}
	return m
}

// Issue implements ca.Authority.
func (a *Authority) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	if a.c.Total <= 0 {
		return a.issue(ctx, r, l)
	}
	bounded, cancel := context.WithTimeout(ctx, a.c.Total)
	defer cancel()
	out, err := a.issue(bounded, r, l)
	if err == nil || bounded.Err() == nil || ctx.Err() != nil {
		return out, err
	}
	// Our own bound. What was posted before it struck is on record, and the next attempt looks for the answer.
	return out, &ca.Error{
		ErrCode: CodeTotal, Timeout: true, Err: err,
		Detail: fmt.Sprintf("AD CS was not done with the request within %s", a.c.Total),
		Fix:    "find out why the CA answers slowly; if it just is slow, raise adcs.total_timeout: the request is followed up in any case",
	}
}

func (a *Authority) issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	p := l.Progress()
	user := a.userOf(r.Login)
	if m := readMark(p.Mark); m.User != "" && !sameUser(m.User, user) {
		return ca.Outcome{}, loginNeeded(m.User, p)
	} else if m.User == "" && (p.Submitted || p.RequestID != "") {
		user = "" // our own account sent it and goes on, whoever asks now
	}
	own := user == ""
	client := a.c.Client
	if own {
		if err := a.paused(); err != nil {
			return ca.Outcome{}, err
		}
	} else {
		var err error
		if client, err = a.as(r.Login); err != nil {
			return ca.Outcome{}, err
		}
		defer a.close(ctx, client)
	}
	w := &work{a: a, r: r, l: l, client: client, own: own, user: user}
	switch {
	case p.RequestID != "":
		return w.poll(ctx, p.RequestID)
	case p.Submitted:
		out, found, err := w.search(ctx)
		if found || err != nil {
			return out, err
		}
		a.log.WarnContext(ctx, "lost answer not found, the request is sent again", slog.String("ca", Name),
			slog.String("request_id", r.ID), slog.Int64("after", readMark(p.Mark).After))
		return w.submit(ctx, true)
	}
	return w.submit(ctx, false)
}

// work is one attempt at one request.
type work struct {
	a      *Authority
	r      ca.Request
	l      ca.Ledger
	client *certsrv.Client
	own    bool   // the own account
	user   string // account of the client, when it is not the own one
}

// userOf names the account that a request with these credentials is sent with; empty for our own, also when the client
// brings the same one.
func (a *Authority) userOf(l *ca.Login) string {
	if l == nil || sameUser(l.User, a.c.Client.Auth.User) {
		return ""
	}
	return l.User
}

// sameUser compares account names as Windows does: upper and lower case are the same.
func sameUser(a, b string) bool { return strings.EqualFold(a, b) }

// loginNeeded parks a request until the client that began it asks again.
func loginNeeded(user string, p ca.Progress) *ca.Error {
	detail := fmt.Sprintf("the request was begun with the account %s of the client, whose password is not kept", user)
	if p.RequestID != "" {
		detail = fmt.Sprintf("request %s of the CA was sent with the account %s of the client, whose password is not kept", p.RequestID, user)
	}
	return &ca.Error{
		ErrCode: ca.CodeLoginNeeded, Detail: detail, After: parked,
		Fix: "let the EST client ask again with this account; or give it a user in est.users_file, then the CA is asked with adcs.username",
	}
}

// parked is how long a request rests that only the client's own call can bring on.
const parked = 24 * time.Hour

// submit posts the request. The journal knows that it may have been posted before the first octet leaves.
func (w *work) submit(ctx context.Context, again bool) (ca.Outcome, error) {
	der, err := w.message()
	if err != nil {
		return ca.Outcome{}, err
	}
	before := func(ctx context.Context) error {
		after, err := w.l.HighestRequestID(ctx)
		if err != nil {
			return err
		}
		key := sha256.Sum256(w.r.PublicKey)
		p := w.l.Progress()
		p.Submitted, p.Resubmitted = true, p.Resubmitted || again
		p.Mark = mark{Version: 1, After: after, Key: key[:], User: w.user}.encode()
		return w.l.Record(ctx, p)
	}
	answer, err := w.send(ctx, certsrv.Submission{Request: der, Template: w.a.template(w.r)}, before)
	if err != nil {
		return ca.Outcome{}, w.notAnswered(ctx, answer, err)
	}
	return w.outcome(ctx, answer, true)
}

// send runs the requests of an enrolment. Credentials that were checked a moment ago need no second look at the templates.
func (w *work) send(ctx context.Context, s certsrv.Submission, before func(context.Context) error) (certsrv.Answer, error) {
	if w.own || !w.r.Login.Checked {
		return w.client.Enroll(ctx, certsrv.EnrollOptions{Submission: s, BeforeSubmit: before, Submitted: w.number})
	}
	if err := before(ctx); err != nil {
		return certsrv.Answer{}, err
	}
	answer, err := w.client.Submit(ctx, s)
	if err != nil {
		return certsrv.Answer{}, err
	}
	if answer.RequestID != "" {
		if err := w.number(ctx, answer.RequestID); err != nil {
			return answer, err
		}
	}
	if answer.Outcome != certsrv.Issued {
		return answer, nil
	}
	fetched, err := w.client.Fetch(ctx, answer.RequestID)
	if err != nil {
		return answer, err
	}
	return fetched, nil
}

// number records the CA's id of the request.
func (w *work) number(ctx context.Context, id string) error {
	p := w.l.Progress()
	if p.RequestID == id {
		return nil
	}
	p.Submitted, p.RequestID = true, id
	return w.l.Record(ctx, p)
}

// notAnswered handles an enrolment that ended without the CA's word. When it is certain that nothing was posted, the
// journal takes its note back, so that the next attempt need not search.
func (w *work) notAnswered(ctx context.Context, answer certsrv.Answer, err error) error {
	if _, ok := errors.AsType[*certsrv.Problem](err); !ok {
		return err // the journal's: the engine knows
	}
	switch p, _ := errors.AsType[*certsrv.Problem](err); {
	case answer.RequestID != "":
	case !errors.Is(err, certsrv.ErrAnswerLost):
		if err := w.takeBack(ctx); err != nil {
			return err
		}
	case p.HTTPStatus != 0:
		m := readMark(w.l.Progress().Mark)
		m.Answered = true
		if err := w.remark(ctx, m); err != nil {
			return err
		}
	case p.Timeout:
		m := readMark(w.l.Progress().Mark)
		m.Slow = true
		if err := w.remark(ctx, m); err != nil {
			return err
		}
	}
	return w.a.failure(err, w.own)
}

// remark records a new mark.
func (w *work) remark(ctx context.Context, m mark) error {
	p := w.l.Progress()
	p.Mark = m.encode()
	return w.l.Record(ctx, p)
}

// takeBack notes that the CA has nothing of this request. Whose account it is for stays known: the next attempt must not
// send it with another.
func (w *work) takeBack(ctx context.Context) error {
	p := w.l.Progress()
	if p.RequestID != "" || !p.Submitted && (w.own || len(p.Mark) > 0) {
		return nil
	}
	p.Submitted, p.Mark = false, nil
	if !w.own {
		p.Mark = mark{Version: 1, User: w.user}.encode()
	}
	return w.l.Record(ctx, p)
}

// poll asks for a request whose id is known.
func (w *work) poll(ctx context.Context, id string) (ca.Outcome, error) {
	answer, err := w.client.Fetch(ctx, id)
	if err != nil {
		return ca.Outcome{}, w.a.failure(err, w.own)
	}
	return w.outcome(ctx, answer, false)
}

// outcome turns the CA's word into ours. posted tells that it is the answer to a POST of this attempt.
func (w *work) outcome(ctx context.Context, answer certsrv.Answer, posted bool) (ca.Outcome, error) {
	switch answer.Outcome {
	case certsrv.Issued:
		if !ca.CertifiesKey(answer.Certificate, w.r.PublicKey) {
			return denied(answer, &ca.Error{
				ErrCode: CodeOtherKey, Final: true,
				Detail: "request " + answer.RequestID + " of the CA has a certificate for another key",
				Fix:    "look the request up in the CA console; order a new certificate: callsign phone set NAME --operation install",
			}), nil
		}
		return w.a.issued(ctx, w.r, answer.Certificate, answer.RequestID), nil
	case certsrv.Pending:
		return ca.Outcome{Status: ca.Pending, RequestID: answer.RequestID}, nil
	}
	problem := answer.Problem()
	if problem == nil {
		problem = &certsrv.Problem{ErrCode: certsrv.CodeUnexpectedPage, Detail: "the CA's answer has no known outcome"}
	}
	e := w.a.failure(problem, w.own)
	w.signatures(e, answer.HResult)
	if answer.Outcome == certsrv.Failed && posted && answer.RequestID == "" {
		// An error page with no id: the CA took nothing.
		if err := w.takeBack(ctx); err != nil {
			return ca.Outcome{}, err
		}
	}
	if !posted && answer.HResult == certsrv.StatusAccessDenied {
		// No verdict on the request: the account may not read it (any more).
		return ca.Outcome{}, &ca.Error{
			ErrCode: CodeNotReadable, HResult: uint32(answer.HResult), Err: e, After: time.Hour,
			Detail: "the CA does not let the account read request " + answer.RequestID,
			Fix:    "set adcs.username to the account that sent the request (Requester Name in the CA console), or give the present one the permission Read at the CA",
		}
	}
	if !e.Final {
		return ca.Outcome{}, e
	}
	return denied(answer, e), nil
}

func denied(answer certsrv.Answer, e *ca.Error) ca.Outcome {
	return ca.Outcome{Status: ca.Denied, RequestID: answer.RequestID, Denial: e}
}

// search looks for the certificate of a request whose answer was lost. found is false when nothing was found and the
// request may be posted again.
func (w *work) search(ctx context.Context) (_ ca.Outcome, found bool, _ error) {
	p := w.l.Progress()
	m := readMark(p.Mark)
	ids := m.Pending
	if m.Looks == 0 {
		highest, err := w.l.HighestRequestID(ctx)
		if err != nil {
			return ca.Outcome{}, false, err
		}
		// Ids that other rows recorded since are known to be somebody else's, and must not use up the budget.
		budget := min(int64(w.a.c.Tried)+max(highest-m.After, 0), mostTried)
		ids = make([]int64, 0, budget)
		for id := m.After + 1; id <= m.After+budget; id++ {
			ids = append(ids, id)
		}
	}
	answer, pending, err := w.look(ctx, ids, m.Looks > 0)
	if err != nil {
		return ca.Outcome{}, false, err
	}
	if answer != nil {
		if err := w.number(ctx, answer.RequestID); err != nil {
			return ca.Outcome{}, false, err
		}
		w.a.log.InfoContext(ctx, "lost answer found", slog.String("ca", Name), slog.String("request_id", w.r.ID),
			slog.String("ca_request", answer.RequestID))
		return w.a.issued(ctx, w.r, answer.Certificate, answer.RequestID), true, nil
	}
	if len(pending) == 0 {
		return ca.Outcome{}, false, w.settled(ctx, m)
	}
	if m.Looks >= w.a.c.Looks {
		return ca.Outcome{}, false, nil
	}
	m.Pending, m.Looks = pending, m.Looks+1
	if err := w.remark(ctx, m); err != nil {
		return ca.Outcome{}, false, err
	}
	return ca.Outcome{}, false, &ca.Error{
		ErrCode: CodeSearching, After: w.a.c.LookPause,
		Detail: "the answer to the request was lost, and requests that may be it wait for approval: " + numbers(pending),
		Fix:    "approve or deny these requests in the CA console; after " + (time.Duration(w.a.c.Looks) * w.a.c.LookPause).String() + " the request is sent again",
	}
}

// settled returns an error while the CA may still be at a request that was looked for in vain.
func (w *work) settled(ctx context.Context, m mark) error {
	if m.Answered || w.a.c.Settle < 0 {
		return nil
	}
	now := w.a.c.Now()
	if m.Missed == 0 || now.Before(time.UnixMilli(m.Missed)) { // or the clock was set back
		m.Missed = now.UnixMilli()
		if err := w.remark(ctx, m); err != nil {
			return err
		}
	}
	settle, lost, more := w.a.c.Settle, "", ""
	if m.Slow {
		waited := cmp.Or(w.a.c.Client.SubmitTimeout, certsrv.DefaultSubmitTimeout)
		settle, lost = max(settle, waited), fmt.Sprintf("; the submission timed out after %s", waited)
		more = "; if the CA is always that slow, raise adcs.submit_timeout"
	}
	rest := time.UnixMilli(m.Missed).Add(settle).Sub(now)
	if rest <= 0 {
		return nil
	}
	return &ca.Error{
		ErrCode: CodeSearching, After: rest,
		Detail: "the answer to the request was lost, and the CA may still be working on it" + lost,
		Fix:    "none: it is looked for again, and sent again when the CA turns out not to have it" + more,
	}
}

// look fetches ids until one has our key. It returns the ids that are pending. everyID looks at all of them; otherwise a row
// of missing ids ends it.
func (w *work) look(ctx context.Context, ids []int64, everyID bool) (*certsrv.Answer, []int64, error) {
	var pending []int64
	missing := 0
	for _, id := range ids {
		answer, err := w.client.Fetch(ctx, strconv.FormatInt(id, 10))
		if err != nil {
			return nil, nil, w.a.failure(err, w.own)
		}
		missing++
		switch {
		case answer.Outcome == certsrv.Issued && ca.CertifiesKey(answer.Certificate, w.r.PublicKey):
			return &answer, nil, nil
		case answer.Outcome == certsrv.Pending:
			pending, missing = append(pending, id), 0
		case answer.Outcome != certsrv.Failed:
			missing = 0 // somebody else's
		case answer.HResult != certsrv.StatusPropertyEmpty && answer.HResult != certsrv.StatusNoRequest:
			if p := answer.Problem(); p != nil && p.Retryable {
				return nil, nil, w.a.failure(p, w.own)
			}
			missing = 0
		}
		if missing >= w.a.c.Missing && !everyID {
			break
		}
	}
	return nil, pending, nil
}

func numbers(ids []int64) string {
	var s strings.Builder
	for i, id := range ids {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(strconv.FormatInt(id, 10))
	}
	return s.String()
}
