package fleet_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"callsign/capf"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// call is one call of a phone: it plays the phone and the protocol between phone and service, and holds the record
// afterwards against what was said.
func (w *world) call(h *handset) {
	p := drawPlan(w.t)
	before := w.device(h)
	w.session++
	c := capf.Caller{Session: w.session, Version: p.version, Device: h.name}
	authentic, wrong := w.present(h, &before, p, &c)
	e := expectation{w: w, h: h, d: before}
	s, err := w.service.Open(context.Background(), c)
	if before.Operation == fleet.OperationNone {
		if err != nil || s.Task().Operation != capf.OperationNone {
			w.t.Fatalf("nothing is due: %v", err)
		}
		e.check("nothing due")
		return
	}
	h.calls++
	rows := w.rows(h)
	switch refusal, refused := errors.AsType[*capf.Refusal](err); {
	case err != nil && !refused:
		w.t.Fatalf("open: %v", err)
	case !before.CompletesBy.IsZero() && time.Now().After(before.CompletesBy):
		e.refused(refusal, capf.ResultLateRequest)
		e.fails(capf.ResultLateRequest)
	case before.Auth == fleet.AuthString && before.WrongTries >= 5:
		e.refused(refusal, capf.ResultInvalidAuthString)
	case wrong:
		e.refused(refusal, capf.ResultInvalidAuthString)
		if e.d.WrongTries++; e.d.WrongTries == 5 {
			e.d.Status = failed(before.Operation)
		}
		e.stays(capf.ResultInvalidAuthString)
	case !authentic:
		if !refused || refusal.Result != capf.ResultInvalidLSC && refusal.Result != capf.ResultInvalidMIC {
			w.t.Fatalf("%s showed %s with SUDI data %q in mode %s, and got %s", h.name, p.show, p.sudi, before.Auth, codeOf(err))
		}
		e.told = refusal.Result
		e.stays(refusal.Result)
	case before.Operation == fleet.OperationInstall && len(rows) > 0 && (rows[0].State == enroll.Denied || rows[0].State == enroll.Failed) && rows[0].Created.After(before.Scheduled):
		e.refused(refusal, capf.ResultFail)
		e.fails(capf.ResultFail)
	case refused: // a request that a person at the CA has not decided
		e.refused(refusal, capf.ResultFail)
		if before.Operation != fleet.OperationInstall || refusal.Code() != "fleet.approval-pending" && refusal.Code() != "fleet.deferred" {
			w.t.Fatalf("%s is authentic by %s in mode %s and was turned away: %s", h.name, p.show, before.Auth, codeOf(err))
		}
	default:
		if e.told = -1; w.operate(h, p, s, &e) {
			h.calls-- // cut by a crash
			e.told = 0
			e.check("crash")
			return
		}
	}
	e.attempt()
	e.check(p.show + ", " + p.fate)
}

func failed(op fleet.Operation) fleet.Status {
	return map[fleet.Operation]fleet.Status{
		fleet.OperationInstall: fleet.StatusUpgradeFailed, fleet.OperationDelete: fleet.StatusDeleteFailed, fleet.OperationTroubleshoot: fleet.StatusTroubleshootFailed,
	}[op]
}

// present fills what the phone shows, and says whether that must be enough, or is a wrong string.
func (w *world) present(h *handset, d *fleet.Device, p plan, c *capf.Caller) (authentic, wrong bool) {
	show := p.show
	if show == "fitting" {
		switch {
		case d.Auth == fleet.AuthString:
			show = "string"
		case d.Auth == fleet.AuthLSC && h.lsc != nil, d.Auth == fleet.AuthMIC && h.mic == nil:
			show = "lsc"
		case d.Auth == fleet.AuthLSC, d.Auth == fleet.AuthMIC:
			show = "mic"
		}
	}
	other := w.sets[0]
	if other == h {
		other = w.sets[1]
	}
	var id *identity
	switch show {
	case "string":
		c.String = capf.Secret("471147")
	case "wrong string":
		c.String = capf.Secret("0000")
	case "lsc":
		id = h.lsc
	case "mic":
		id = h.mic
	case "other's lsc":
		id = other.lsc
	case "stolen lsc": // the certificate, without its key
		if h.lsc != nil {
			id = &identity{h.lsc.x, other.keys[len(other.keys)-1]}
		}
	}
	if id != nil {
		c.Credential = credential(w.t, h.name, id)
		sudi := map[string]*identity{"own": h.mic, "replayed": h.mic, "other's": other.mic}[p.sudi]
		session := c.Session
		if p.sudi == "replayed" {
			session--
		}
		if sudi != nil {
			c.Credential.SUDIData = sudiData(w.t, session, sudi)
		}
	}
	switch d.Auth {
	case fleet.AuthNull:
		return true, false
	case fleet.AuthString:
		right := show == "string" && len(d.AuthString) > 0
		return right, !right
	}
	return id != nil && w.accepted(h, other, d, show, p.sudi, id), false
}

// accepted is the rule of certificate modes in a few words.
func (w *world) accepted(h, other *handset, d *fleet.Device, show, sudi string, id *identity) bool {
	hasSUDI := sudi == "own" && h.mic != nil
	if w.sudi && !hasSUDI || sudi == "replayed" && h.mic != nil || sudi == "other's" && other.mic != nil {
		return false
	}
	switch show {
	case "lsc":
		return time.Now().Before(id.x.NotAfter) && w.inUse(id.x) && (d.Auth == fleet.AuthLSC || d.NoMIC || !strings.HasPrefix(h.name, "SEP"))
	case "mic":
		return d.Auth == fleet.AuthMIC || d.LSC == nil || w.beside
	default:
		return false
	}
}

// inUse tells whether some phone's LSC on record is of the issuer of x: nothing else makes LSCs trusted here.
func (w *world) inUse(x *x509.Certificate) bool {
	for _, h := range w.sets {
		if d := w.device(h); d.LSC != nil && d.LSC.Issuer == x.Issuer.String() {
			return true
		}
	}
	return false
}

// operate plays the operation of an accepted call; true when the server crashed.
func (w *world) operate(h *handset, p plan, s capf.Session, e *expectation) (crashed bool) {
	ctx := context.Background()
	task := s.Task()
	vanish := func(result capf.Result) {
		s.Abort(ctx, lost)
		e.stays(result)
	}
	if task.Operation.String() != string(e.d.Operation) {
		w.t.Fatalf("task %v for operation %s", task.Operation, e.d.Operation)
	}
	if p.meddle != "" && !p.meddleLate && w.meddle(h, p, e) {
		return true
	}
	switch {
	case p.fate == "vanishes at once":
		vanish(capf.ResultPhoneCommError)
	case task.Operation == capf.OperationTroubleshoot:
		certs, reason := []capf.CertificateEntry(nil), capf.ReasonInvalidElement
		if h.lsc != nil {
			certs, reason = []capf.CertificateEntry{{Type: capf.CertificateLSC, DER: h.lsc.x.Raw}}, capf.ReasonUpdateCertificate
		}
		w.must(s.Fetched(ctx, certs, reason))
		result := capf.ResultSuccess
		if len(certs) == 0 {
			result = capf.ResultFetchNoCertificate
		}
		e.succeeds(fleet.StatusTroubleshootSuccess, result)
	case task.Operation == capf.OperationDelete:
		reason := capf.ReasonInvalidElement
		if h.lsc != nil {
			reason = capf.ReasonUpdateCertificate
		}
		w.must(s.Deleted(ctx, reason))
		h.lsc, h.stored = nil, nil
		e.succeeds(fleet.StatusDeleteSuccess, capf.ResultSuccess)
	default:
		return w.install(h, p, s, e)
	}
	return false
}

func (w *world) install(h *handset, p plan, s capf.Session, e *expectation) (crashed bool) {
	ctx, task := context.Background(), s.Task()
	if task.Offer != nil {
		x, err := x509.ParseCertificate(task.Offer)
		w.must(err)
		switch {
		case p.fate == "vanishes unstored":
			s.Abort(ctx, lost)
			e.stays(capf.ResultPhoneCommError)
			return false
		case p.fate != "does not store" && p.fate != "other key after offer" && h.keyOf(x) != nil:
			w.storing(h, p, s, e, x)
			return false
		}
		w.must(s.Stored(ctx, task.Offer, capf.ReasonInvalidElement))
		h.key = nil // it no longer fits: the phone begins anew
	}
	key := w.makeKey(h, p, task, s, e)
	if key == nil {
		return false
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	w.must(err)
	patience, cancel := context.WithTimeout(ctx, capf.DefaultAnswerWithin)
	defer cancel()
	der, err := s.Issue(patience, spki)
	if err != nil {
		s.Abort(ctx, err)
		refusal, refused := errors.AsType[*capf.Refusal](err)
		switch {
		case errors.Is(err, capf.ErrNotReady):
			e.waits()
		case !refused:
			w.t.Fatalf("issue: %v", err)
		case refusal.Code() == "fleet.key-of-another-device":
			if p.fate != "another's key" {
				w.t.Fatalf("%s is told of another's key", h.name)
			}
			e.stays(capf.ResultFail)
		default:
			e.fails(capf.ResultFail)
		}
		return false
	}
	if p.fate == "another's key" && h.key != key {
		w.t.Fatalf("%s got a certificate for another's key", h.name)
	}
	x, err := x509.ParseCertificate(der)
	w.must(err)
	if p.meddle != "" && p.meddleLate && w.meddle(h, p, e) {
		return true
	}
	w.storing(h, p, s, e, x)
	return false
}

// keyOf returns the phone's key to a certificate, unfinished or in use; nil when it has none.
func (h *handset) keyOf(x *x509.Certificate) crypto.Signer {
	switch {
	case capf.SameKey(h.key, x.PublicKey):
		return h.key
	case h.lsc != nil && capf.SameKey(h.lsc.key, x.PublicKey):
		return h.lsc.key
	default:
		return nil
	}
}

// makeKey answers message 3; nil when that has ended the call.
func (w *world) makeKey(h *handset, p plan, task capf.Task, s capf.Session, e *expectation) crypto.Signer {
	ctx := context.Background()
	keys := task.Keys
	if p.version < 3 && keys[0].Type == capf.KeyEC {
		keys = keys[1:]
	}
	if len(keys) == 0 {
		s.Abort(ctx, &capf.ProtocolError{ErrCode: capf.CodeNoUsableKey, Detail: "no key"})
		e.fails(capf.ResultFail)
		return nil
	}
	if p.fate == "declines" && len(keys) == 1 {
		s.Abort(ctx, &capf.PhoneError{Command: capf.KeyGenerateResponse, Reason: capf.ReasonInvalidElement})
		e.fails(capf.ResultPhoneCommError)
		return nil
	}
	if p.fate == "declines" {
		keys = keys[1:]
	}
	i := 0
	for w.sets[i] != h {
		i++
	}
	if p.fate == "another's key" {
		other := w.sets[(i+1)%len(w.sets)]
		if rows := w.rows(other); len(rows) > 0 && other.key != nil {
			spki, err := x509.MarshalPKIXPublicKey(other.key.Public())
			w.must(err)
			if bytes.Equal(rows[0].PublicKey, spki) {
				return other.key
			}
		}
	}
	if h.key != nil {
		if have, err := capf.KeySpecOf(h.key.Public()); err == nil && have == keys[0] {
			return h.key
		}
	}
	if keys[0].Type == capf.KeyRSA {
		h.key = w.m.rsa[i]
		return h.key
	}
	h.key, h.keys = h.keys[0], append(h.keys[1:len(h.keys):len(h.keys)], h.keys[0])
	return h.key
}

// storing answers message 9.
func (w *world) storing(h *handset, p plan, s capf.Session, e *expectation, x *x509.Certificate) {
	ctx := context.Background()
	store := func() {
		key := h.keyOf(x)
		if h.lsc = (&identity{x, key}); key == h.key {
			h.key = nil
		}
	}
	switch p.fate {
	case "vanishes stored":
		store()
		s.Abort(ctx, lost)
		e.stays(capf.ResultPhoneCommError)
	case "vanishes unstored":
		s.Abort(ctx, lost)
		e.stays(capf.ResultPhoneCommError)
	case "does not store":
		w.must(s.Stored(ctx, x.Raw, capf.ReasonInvalidElement))
		s.Abort(ctx, &capf.PhoneError{Command: capf.StoreCertificateResponse, Reason: capf.ReasonInvalidElement})
		e.fails(capf.ResultPhoneCommError)
	default:
		store()
		w.must(s.Stored(ctx, x.Raw, capf.ReasonUpdateCertificate))
		h.stored, h.confirmed = x.Raw, append(h.confirmed, x.Raw)
		e.succeeds(fleet.StatusUpgradeSuccess, capf.ResultSuccess)
	}
}

// meddle is what happens while the phone is at work; true for a crash.
func (w *world) meddle(h *handset, p plan, e *expectation) (crashed bool) {
	if p.meddle == "crash" {
		w.kill()
		w.boot()
		return true
	}
	w.administer(h)
	e.d, e.superseded = w.device(h), true
	return false
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Fatal(err)
	}
}

// expectation is the record as it must be after a call.
type expectation struct {
	w          *world
	h          *handset
	d          fleet.Device
	superseded bool        // an administrator has set another operation meanwhile
	told       capf.Result // result of the attempt; -1: not known
	ok         bool
}

// refused holds a refusal against the result that it must have.
func (e *expectation) refused(r *capf.Refusal, want capf.Result) {
	if r == nil || r.Result != want || r.Reason != capf.ReasonInvalidElement || r.Code() == "" || r.Remedy() == "" {
		e.w.t.Fatalf("%s: got %s, want a refusal with %v", e.h.name, codeOf(r), want)
	}
	e.told = want
}

// codeOf is what failures say of a refusal.
func codeOf(err error) string {
	if r, ok := errors.AsType[*capf.Refusal](err); ok && r != nil {
		return r.Code() + ", " + r.Result.Name()
	}
	return "no refusal"
}

// stays: the operation is still due, and the record tells the result.
func (e *expectation) stays(r capf.Result) {
	if e.told = r; !e.superseded {
		e.d.Result, e.d.HasResult = r, true
	}
}

// waits: the operation is still due, and nothing has gone wrong.
func (e *expectation) waits() { e.told = -1 }

func (e *expectation) fails(r capf.Result) { e.ends(failed(e.d.Operation), r) }

func (e *expectation) succeeds(s fleet.Status, r capf.Result) {
	e.ok = true
	e.ends(s, r)
}

func (e *expectation) ends(s fleet.Status, r capf.Result) {
	if e.told = r; e.superseded {
		return
	}
	e.d.Operation, e.d.Status, e.d.Result, e.d.HasResult, e.d.WrongTries, e.d.AuthString = fleet.OperationNone, s, r, true, 0, nil
}

// check holds the record against the expectation; what is said in words is not compared.
func (e *expectation) check(what string) {
	got, want := e.w.device(e.h), e.d
	same := got.Operation == want.Operation && got.Status == want.Status && got.Auth == want.Auth && got.WrongTries == want.WrongTries &&
		got.HasResult == want.HasResult && got.Result == want.Result && bytes.Equal(got.AuthString, want.AuthString) && got.Scheduled.Equal(want.Scheduled)
	if !same {
		e.w.t.Fatalf("%s after %s:\ngot  %s\nwant %s", e.h.name, what, brief(&got), brief(&want))
	}
}

func brief(d *fleet.Device) string {
	return fmt.Sprintf("operation %s, status %s, mode %s, %d wrong strings, string of %d, result %v (%t), scheduled %s",
		d.Operation, d.Status, d.Auth, d.WrongTries, len(d.AuthString), d.Result, d.HasResult, d.Scheduled.Format(time.RFC3339Nano))
}

// attempt holds the last attempt against what the phone was told.
func (e *expectation) attempt() {
	all, err := e.w.phones.Attempts(context.Background(), e.h.name, 1)
	if err != nil || len(all) != 1 {
		e.w.t.Fatalf("%s: %d attempts, %v", e.h.name, len(all), err)
	}
	a := all[0]
	last := a.Steps[len(a.Steps)-1]
	if a.Session != e.w.session || a.OK != e.ok || (last.Code == "") != e.ok || !e.ok && a.Note == nil || e.told >= 0 && a.Result != e.told {
		e.w.t.Fatalf("%s: attempt of session %d went well: %t, result %v, last step %s %q; want session %d, %t, result %v",
			e.h.name, a.Session, a.OK, a.Result, last.Name, last.Code, e.w.session, e.ok, e.told)
	}
}
