package fleet

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"callsign/capf"
	"callsign/cmc"
	"callsign/internal/enroll"
)

// recordTimeout bounds the writing of a result after the session's own context has ended.
const recordTimeout = 10 * time.Second

// session is one phone's call. Its methods are called one after the other.
type session struct {
	s      *Service
	d      Device
	caller capf.Caller
	task   capf.Task
	story  *story
	at     StepName // the step under way
	// row is the enrolment whose certificate is on its way to the phone; nil before one is known.
	row      *enroll.Enrolment
	offering bool   // that certificate went out without message 3
	spki     []byte // key of message 4
	recorded bool   // the end of the call is on record
}

// newSession makes the session of an authenticated phone. offered is the row of the task's Offer.
func newSession(s *Service, d Device, c capf.Caller, t *story, task capf.Task, offered *enroll.Enrolment) *session {
	x := &session{s: s, d: d, caller: c, task: task, story: t, row: offered, offering: offered != nil}
	switch {
	case task.Operation == capf.OperationTroubleshoot:
		x.at = StepFetch
	case task.Operation == capf.OperationDelete:
		x.at = StepDelete
	case x.offering:
		x.at = StepOffer
	default:
		x.at = StepKey
	}
	return x
}

// Task implements capf.Session.
func (x *session) Task() capf.Task { return x.task }

// Issue implements capf.Session.
func (x *session) Issue(ctx context.Context, spki []byte) ([]byte, error) {
	s, name, log := x.s, x.d.Name, x.s.log()
	x.spki, x.row, x.offering = spki, nil, false
	if err := x.stillGranted(ctx); err != nil {
		return nil, err
	}
	owner := Owner(name)
	release, err := x.claimKey(ctx, owner, spki)
	if err != nil {
		return nil, err
	}
	defer release()
	x.story.step(StepKey, "", keyText(spki))
	x.at = StepIssue
	if err := x.supersedeOthers(ctx, owner, spki); err != nil {
		return nil, err
	}
	subject, err := x.subject()
	if err != nil {
		return nil, err
	}
	san, err := deviceURI(name)
	if err != nil {
		return nil, err
	}
	log.DebugContext(ctx, "enrolment begins", slog.String("event", "capf.enroll"), slog.String("device", name), slog.String("mode", s.Mode))
	row, err := s.Engine.Enroll(ctx, enroll.Request{
		Authority: s.Authority, Owner: owner, PublicKey: spki, Subject: subject, Extensions: san, Vouch: x.vouch(),
	})
	if err != nil {
		n := s.noteOf(err)
		x.traceFailure(ctx, &enroll.Failure{Code: n.Code, Detail: n.Detail, Remedy: n.Remedy})
		return nil, fmt.Errorf("enrol %s: %w", name, err)
	}
	x.row, x.story.a.Enrolment = &row, row.ID
	switch row.State {
	case enroll.Issued, enroll.Confirmed:
		x.story.step(StepIssue, "", fmt.Sprintf("%s, serial %s", s.Authority, row.Serial))
		x.at = StepStore
		x.traceIssued(ctx, row)
		return row.Certificate, nil
	case enroll.Denied, enroll.Failed:
		if row.Failure != nil && ownFault(row.Failure) {
			return nil, x.deferred(ctx)
		}
		return nil, x.denied(ctx)
	default:
		return nil, x.deferred(ctx)
	}
}

// stillGranted turns the phone away when what it has authenticated for does not hold any more. A phone may take minutes to
// make its key, and an administrator who cancels the operation meanwhile, sets another one or wants the phone to
// authenticate in another way has a reason: nothing is issued against it.
func (x *session) stillGranted(ctx context.Context) error {
	s, name := x.s, x.d.Name
	now, err := s.Store.Device(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		x.recorded = true // there is no record to write it into
		return s.refuse(ctx, name, capf.ReasonUnknownDevice, capf.ResultFail, problem("fleet.unknown-device",
			name+" was removed during its call", "if it is yours, run: callsign phone add "+name))
	case err != nil:
		return fmt.Errorf("read device %s: %w", name, err)
	case sameOperation(&now, &x.d) && now.Auth == x.d.Auth && bytes.Equal(now.AuthString, x.d.AuthString):
		return nil
	}
	p := changedMeanwhile(name)
	if err := x.record(ctx, outcome{end: stays, result: capf.ResultFail, note: s.noteOf(p)}); err != nil {
		return err
	}
	return s.refuse(ctx, name, capf.ReasonInvalidElement, capf.ResultFail, p)
}

// changedMeanwhile is what a phone is told whose operation an administrator has changed during its call.
func changedMeanwhile(name string) *Problem {
	return problem("fleet.operation-changed", fmt.Sprintf("the operation of %s was changed or done during its call", name),
		"nothing: what is set now counts at the phone's next call; if it does not call by itself, reset it")
}

// keyText says what kind of key it is.
func keyText(spki []byte) string {
	if _, k, err := capf.ParsePublicKey(spki); err == nil {
		return k.String()
	}
	return ""
}

// vouch says how the owner of the bare key was authenticated.
func (x *session) vouch() string {
	if c := x.story.a.Credential; c == CredentialLSC || c == CredentialMIC {
		return c // which of the two the phone had
	}
	return string(x.d.Auth)
}

// claimKey refuses a key that another device has, on record or at this moment in a call of its own. The claim is held
// until the key is on record.
func (x *session) claimKey(ctx context.Context, owner string, spki []byte) (release func(), err error) {
	s, name := x.s, x.d.Name
	key := sha256.Sum256(spki)
	holder, held := s.claims.LoadOrStore(key, name)
	if held && holder != name {
		return nil, x.keyOfAnother(ctx, Owner(fmt.Sprint(holder)))
	}
	release = func() {
		if !held {
			s.claims.Delete(key)
		}
	}
	other, err := s.Store.KeyOwner(ctx, spki, owner)
	switch {
	case err != nil:
		err = fmt.Errorf("look for the key of %s: %w", name, err)
	case other != "":
		err = x.keyOfAnother(ctx, other)
	default:
		return release, nil
	}
	release()
	return nil, err
}

// keyOfAnother turns the phone away. The operation stays due: with a key of its own the phone gets its certificate.
func (x *session) keyOfAnother(ctx context.Context, owner string) error {
	name := x.d.Name
	p := problem("fleet.key-of-another-device", fmt.Sprintf("%s sent the public key of %s", name, owner),
		"two devices with one key are a cloned or broken device: delete the certificate on "+name+" and let it make a new key")
	if err := x.record(ctx, outcome{end: stays, result: capf.ResultFail, note: x.s.noteOf(p)}); err != nil {
		return err
	}
	return x.s.refuse(ctx, name, capf.ReasonInvalidElement, capf.ResultFail, p)
}

// supersedeOthers makes the phone's older unfinished requests stale: it came back with another key.
func (x *session) supersedeOthers(ctx context.Context, owner string, spki []byte) error {
	rows, err := x.s.Engine.ByOwner(ctx, owner)
	if err != nil {
		return fmt.Errorf("read enrolments of %s: %w", x.d.Name, err)
	}
	for _, e := range rows {
		switch e.State {
		case enroll.Requested, enroll.Submitted, enroll.Pending, enroll.Issued:
			if bytes.Equal(e.PublicKey, spki) && e.Authority == x.s.Authority {
				continue
			}
			if _, err := x.s.Engine.Supersede(ctx, e.ID); err != nil && !errors.Is(err, enroll.ErrState) {
				return fmt.Errorf("supersede enrolment %s of %s: %w", e.ID, x.d.Name, err)
			}
		}
	}
	return nil
}

func (x *session) subject() ([]byte, error) {
	subject := x.s.Subject
	if i := slices.IndexFunc(x.s.SubjectFor, func(r SubjectRule) bool { return r.Group.Has(&x.d) }); i >= 0 {
		subject = x.s.SubjectFor[i].Subject
	}
	if subject == nil {
		return CommonName(x.d.Name)
	}
	der, err := subject(x.d)
	if err != nil {
		return nil, fmt.Errorf("make the subject of %s: %w", x.d.Name, err)
	}
	return der, nil
}

func (x *session) traceIssued(ctx context.Context, row enroll.Enrolment) {
	log := x.s.log()
	log.DebugContext(ctx, "certificate issued", slog.String("event", "capf.enrolled"), slog.String("device", x.d.Name),
		slog.Int("rv", 0), slog.String("rv_name", "EST_ERR_NONE"), slog.Any("pkcs7_length", certsOnlyLength(row.Certificate)), slog.String("mode", x.s.Mode),
		slog.String("serial", row.Serial), slog.String("issuer", row.Issuer), slog.String("request_id", row.Progress.RequestID), slog.String("pop", string(row.POP)))
	log.DebugContext(ctx, "certificate ready", slog.String("event", "capf.certificate_ready"), slog.String("device", x.d.Name), slog.String("mode", x.s.Mode))
}

// certsOnlyLength is a certificate whose value in a log is the length of the certs-only message in which EST carries it. The message is
// made only when somebody prints its length, which is the trace of an online CA.
type certsOnlyLength []byte

// LogValue implements [slog.LogValuer].
func (der certsOnlyLength) LogValue() slog.Value {
	p7, err := cmc.CertsOnly(&x509.Certificate{Raw: der})
	if err != nil { // not a certificate, which the engine would have refused
		return slog.IntValue(0)
	}
	return slog.IntValue(len(p7))
}

// traceKey is a SubjectPublicKeyInfo whose value in a log is the key in the form that the trace shows.
type traceKey []byte

// LogValue implements [slog.LogValuer].
func (spki traceKey) LogValue() slog.Value { return slog.AnyValue(innerKey(spki)) }

func (x *session) traceFailure(ctx context.Context, f *enroll.Failure) {
	rv, name := 94, "EST_ERR_UNKNOWN"
	if x.s.LibEST != nil {
		rv, name = x.s.LibEST(f)
	}
	x.s.log().WarnContext(ctx, "enrolment failed", slog.String("event", "capf.enroll_failed"), slog.String("device", x.d.Name),
		slog.Int("rv", rv), slog.String("rv_name", name), slog.Bool("timeout", f.Timeout), slog.String("mode", x.s.Mode),
		slog.String("code", f.Code), slog.String("cause", f.Detail), slog.String("remedy", f.Remedy))
}

// denied ends the operation: the authority has refused and will again until an administrator acts.
func (x *session) denied(ctx context.Context) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	f := x.row.Failure
	if f == nil {
		f = &enroll.Failure{Code: "fleet.denied", Detail: "the authority refused the request", Remedy: "look into its log"}
	}
	x.traceFailure(ctx, f)
	p := problem(f.Code, f.Detail, f.Remedy)
	if err := x.record(ctx, outcome{end: ends, result: capf.ResultFail, note: x.s.noteOf(p)}); err != nil {
		return err
	}
	return &capf.Refusal{Reason: capf.ReasonInvalidElement, Result: capf.ResultFail, Err: p}
}

// deferred keeps the operation pending: the authority has not answered within the phone's patience, or waits for a
// person. The record says so until a call brings more.
func (x *session) deferred(ctx context.Context) error {
	ctx, cancel := recordContext(ctx) // the deadline that brought us here has passed
	defer cancel()
	row, result := x.row, capf.ResultTimedOut
	f := x.s.lateAuthority(x.d.Name, row.State)
	switch {
	case row.Failure != nil:
		f, result = row.Failure, capf.ResultFail
	case row.State == enroll.Pending && row.Progress.RequestID != "":
		p := approvalPending(x.d.Name, *row)
		f.Code, f.Detail, f.Remedy = p.ErrCode, p.Detail, p.Fix
		result = capf.ResultFail
	}
	x.traceFailure(ctx, f)
	if err := x.record(ctx, outcome{end: waits, result: result, note: x.s.noteOf(problem(f.Code, f.Detail, f.Remedy))}); err != nil {
		return err
	}
	x.s.log().InfoContext(ctx, "operation stays pending", slog.String("event", "capf.deferred"), slog.String("device", x.d.Name),
		slog.String("state", string(row.State)), slog.String("request_id", row.Progress.RequestID))
	return capf.ErrNotReady
}

// lateAuthority is what is said while nobody knows more than that the authority takes its time.
func (*Service) lateAuthority(name string, state enroll.State) *enroll.Failure {
	return &enroll.Failure{
		Code: "fleet.deferred", Timeout: true,
		Detail: fmt.Sprintf("the CA has not answered for %s in time; the request goes on (state %s)", name, state),
		Remedy: "nothing, unless it stays so: the phone gets the certificate at its next call (one call waits for capf.answer_within)",
	}
}

// Stored implements capf.Session.
func (x *session) Stored(ctx context.Context, _ []byte, r capf.Reason) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	if r != capf.ReasonUpdateCertificate {
		return x.notStored(ctx, r)
	}
	lsc, issuer, err := x.s.newCertificate(ctx, x.row)
	if err != nil {
		return err
	}
	x.traceResult(ctx, "capf.recording", capf.ResultSuccess)
	x.story.a.Enrolment, x.story.a.Serial = x.row.ID, lsc.Serial
	x.story.step(x.at, "", "")
	err = x.record(ctx, outcome{end: ends, ok: true, result: capf.ResultSuccess, enrolment: x.row.ID, issuer: issuer, facts: func(d *Device) {
		d.LSC, d.RenewAt = lsc, time.Time{}
		if x.s.RenewAt != nil {
			d.RenewAt = x.s.RenewAt(d)
		}
	}})
	if err != nil {
		return err
	}
	x.s.issued(lsc.IssuerID)
	return nil
}

// notStored is a phone's refusal of the certificate. After an offer the install goes on with a new key; otherwise the
// operation has failed.
func (x *session) notStored(ctx context.Context, r capf.Reason) error {
	x.story.a.Enrolment = x.row.ID
	if _, err := x.s.Engine.Supersede(ctx, x.row.ID); err != nil && !errors.Is(err, enroll.ErrState) {
		return fmt.Errorf("supersede enrolment %s of %s: %w", x.row.ID, x.d.Name, err)
	}
	p := problem("fleet.not-stored", fmt.Sprintf("the phone did not store its certificate (reason %d)", r),
		"look at the phone's console, then run: callsign phone set "+x.d.Name+" --operation install")
	if x.offering {
		x.story.step(StepOffer, p.ErrCode, p.Detail)
		x.row, x.offering, x.at = nil, false, StepKey
		return nil
	}
	return x.record(ctx, outcome{end: ends, result: capf.ResultPhoneCommError, note: x.s.noteOf(p)})
}

// maxShown is how many certificates of a phone are looked at, logged and kept: a phone has two, perhaps with those of
// their issuers, and a message has room for thousands that are none.
const maxShown = 16

// Fetched implements capf.Session.
func (x *session) Fetched(ctx context.Context, certs []capf.CertificateEntry, _ capf.Reason) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	j, err := x.s.judges(ctx)
	if err != nil {
		return err
	}
	count := fmt.Sprintf("%d certificates", len(certs))
	if len(certs) > maxShown {
		certs, count = certs[:maxShown], fmt.Sprintf("%s, of which the first %d are kept", count, maxShown)
	}
	shown := make([]Shown, 0, len(certs))
	for _, c := range certs {
		kind := CredentialLSC
		if c.Type == capf.CertificateMIC {
			kind = CredentialMIC
		}
		leaf, err := x509.ParseCertificate(c.DER)
		if err == nil {
			kind = j.kindOf(leaf, x.d.LSC, kind)
		}
		shown = append(shown, Shown{Type: kind, DER: c.DER})
		x.traceShown(ctx, kind, c.DER, leaf)
	}
	result, detail := capf.ResultSuccess, count
	switch len(shown) {
	case 0:
		result, detail = capf.ResultFetchNoCertificate, "no certificate on phone"
	case 1:
		detail = label(shown[0].Type)
	}
	x.story.step(StepFetch, "", detail)
	return x.record(ctx, outcome{end: ends, ok: true, result: result, facts: func(d *Device) { d.Shown = shown }})
}

// traceShown logs a certificate that the phone has shown; leaf is nil when it does not parse.
func (x *session) traceShown(ctx context.Context, kind string, der []byte, leaf *x509.Certificate) {
	sum := sha256.Sum256(der)
	attrs := []slog.Attr{
		slog.String("event", "capf.fetched"), slog.String("device", x.d.Name), slog.String("type", kind),
		slog.String("sha256", hex.EncodeToString(sum[:])), slog.Any("certificate", der),
	}
	if leaf != nil {
		attrs = append(attrs, slog.String("subject", short(leaf.Subject.String())), slog.String("issuer", short(leaf.Issuer.String())),
			slog.String("serial", shownSerial(leaf)))
	}
	x.s.log().LogAttrs(ctx, slog.LevelInfo, "certificate shown", attrs...)
}

// Deleted implements capf.Session.
func (x *session) Deleted(ctx context.Context, r capf.Reason) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	o := outcome{end: ends, ok: true, result: capf.ResultSuccess, facts: func(d *Device) { d.LSC, d.RenewAt = nil, time.Time{} }}
	detail := ""
	if r != capf.ReasonUpdateCertificate {
		o.note = &Note{Code: "fleet.nothing-deleted", Detail: "no certificate on phone", At: x.s.now()}
		detail = o.note.Detail
	}
	x.story.step(StepDelete, "", detail)
	return x.record(ctx, o)
}

// Abort implements capf.Session.
func (x *session) Abort(ctx context.Context, cause error) {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	if x.recorded {
		return
	}
	if err := x.record(ctx, x.aborted(cause)); err != nil {
		x.s.log().ErrorContext(ctx, "the end of a call was not recorded", slog.String("device", x.d.Name), slog.String("err", err.Error()))
	}
}

// aborted says what becomes of an operation that did not come to its end. Unless the phone itself has said that it
// cannot, it stays due: the phone calls again by itself.
func (x *session) aborted(cause error) outcome {
	o := outcome{end: stays, result: capf.ResultFail, note: x.s.noteOf(cause)}
	protocol, isProtocol := errors.AsType[*capf.ProtocolError](cause)
	_, refused := errors.AsType[*capf.PhoneError](cause)
	switch {
	case refused:
		o.end, o.result = ends, capf.ResultPhoneCommError
	case isProtocol && protocol.Code() == capf.CodeNoUsableKey:
		o.end = ends
		o.note = x.s.noteOf(problem("fleet.ec-not-possible",
			fmt.Sprintf("%s is to have an EC key, and its client of protocol version %d can make RSA keys only", x.d.Name, x.caller.Version),
			"run: callsign phone set "+x.d.Name+" --key-order ec_rsa --operation install; or update the phone's firmware"))
	case errors.Is(cause, capf.ErrServerClosed):
		o.note = x.s.noteOf(problem(capf.CodeServerStopping, "the server was stopped during the call of "+x.d.Name,
			"nothing: the phone calls again by itself"))
	case errors.Is(cause, capf.ErrNotReady):
		f := x.s.lateAuthority(x.d.Name, enroll.Requested)
		o.result, o.note = capf.ResultTimedOut, x.s.noteOf(problem(f.Code, f.Detail, f.Remedy))
	case errors.Is(cause, context.DeadlineExceeded):
		o.result = capf.ResultTimedOut
	case isProtocol:
		o.result = resultOf(protocol.Code())
	}
	return o
}

// resultOf is the result of a call that a fault of connection or message has ended.
func resultOf(code string) capf.Result {
	switch code {
	case capf.CodeSilentPeer, capf.CodeTimedOut:
		return capf.ResultTimedOut
	case capf.CodeInternalError, capf.CodeBadPublicKey, capf.CodeOtherKey:
		return capf.ResultFail
	default:
		return capf.ResultPhoneCommError
	}
}

// errSuperseded leaves a record alone whose operation an administrator has changed during the call.
var errSuperseded = errors.New("operation was changed during the call")

// ending is what becomes of an operation at the end of a call.
type ending int

const (
	ends  ending = iota // it is done, or has failed
	stays               // it stays due, and the record says how the call ended
	waits               // it stays due, and nothing has gone wrong yet
)

// outcome is how a call ends.
type outcome struct {
	end       ending
	ok        bool
	result    capf.Result
	note      *Note
	enrolment string        // to be confirmed; empty: none
	issuer    []byte        // of the LSC that facts puts on record
	facts     func(*Device) // what is so whatever an administrator has set meanwhile; nil: nothing
}

// record writes the end of the call, with the attempt and the confirmation of the enrolment in the same transaction. What
// an administrator has scheduled during the call stays.
func (x *session) record(ctx context.Context, o outcome) error {
	f := Finish{Enrolment: o.enrolment, Issuer: o.issuer, Attempt: x.story.end(o.ok, o.result, o.note)}
	if !o.ok {
		f.Attempt = x.story.fail(x.at, o.result, o.note)
	}
	_, err := x.s.Store.FinishDevice(ctx, x.d.Name, f, func(d *Device) error {
		if sameOperation(d, &x.d) {
			x.apply(d, o)
		}
		if o.facts != nil {
			o.facts(d)
		}
		return nil
	})
	if errors.Is(err, enroll.ErrState) && o.facts != nil {
		// Another call of the phone has superseded this one's request. What the phone holds is recorded all the same;
		// the operation is left to the other call.
		x.s.log().WarnContext(ctx, "certificate stored that another call had superseded", slog.String("device", x.d.Name), slog.String("request_id", o.enrolment))
		f.Enrolment = ""
		_, err = x.s.Store.FinishDevice(ctx, x.d.Name, f, func(d *Device) error { o.facts(d); return nil })
	}
	if err != nil {
		return fmt.Errorf("record the end of the call of %s: %w", x.d.Name, err)
	}
	x.recorded = true
	switch o.end {
	case ends:
		x.traceResult(ctx, "capf.result", o.result)
	case stays:
		x.traceResult(ctx, "capf.aborted", o.result)
	case waits:
	}
	return nil
}

// apply writes the outcome into the record for whose operation the phone called.
func (x *session) apply(d *Device, o outcome) {
	switch o.end {
	case ends:
		d.finish(d.Operation, o.ok, o.result)
	case stays:
		d.Result, d.HasResult = o.result, true
		if x.offering {
			d.Offered = x.row.ID
		}
	case waits:
	}
	d.Note = o.note
}

func (x *session) traceResult(ctx context.Context, event string, r capf.Result) {
	d := &x.d
	// One line at info for each call: of an installed certificate the engine and the end of the session have told already.
	level := slog.LevelInfo
	if event == "capf.recording" || d.Operation == OperationInstall && r == capf.ResultSuccess {
		level = slog.LevelDebug
	}
	if log := x.s.log(); !log.Enabled(ctx, level) {
		return
	}
	status := finalStatus(d.Operation, r == capf.ResultSuccess || r == capf.ResultFetchNoCertificate)
	attrs := []slog.Attr{
		slog.String("event", event), slog.String("device", d.Name), slog.String("operation", d.Operation.VendorName()),
		slog.Int("result", r.Number()), slog.String("result_name", r.Name()),
	}
	if event == "capf.result" {
		attrs = append(attrs, slog.Int("status", status.VendorNumber()), slog.String("status_name", status.VendorName()),
			slog.Any("public_key", traceKey(x.spki)), slog.String("auth_before", vendorAuth(d.Auth)), slog.String("auth", vendorAuth(d.Auth)),
			slog.String("key_size", vendorRSASize(d.RSABits)), slog.String("ec_key_size", vendorECSize(d.KeyOrder, d.ECBits)),
			slog.String("key_order", vendorKeyOrder(d.KeyOrder)), slog.String("completes_by", d.vendorTime()))
	}
	x.s.log().LogAttrs(ctx, level, "operation result", attrs...)
}

// innerKey is the form in which the trace shows a key: PKCS#1 for RSA, the SubjectPublicKeyInfo otherwise.
func innerKey(spki []byte) []byte {
	if pub, err := x509.ParsePKIXPublicKey(spki); err == nil {
		if k, ok := pub.(*rsa.PublicKey); ok {
			return x509.MarshalPKCS1PublicKey(k)
		}
	}
	return spki
}

// recordContext outlives the session's own context: what happened is written down even when the phone is gone.
func recordContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}
