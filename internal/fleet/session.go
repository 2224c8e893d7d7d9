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
	// enrolment is the row whose certificate is on its way to the phone; empty before one is known.
	enrolment string
	offering  bool   // that certificate went out without message 3
	spki      []byte // key of message 4
	// issued is the certificate that the engine gave for that key, nil before; so it is read once and not at each use.
	issued *Certificate
}

// Task implements capf.Session.
func (x *session) Task() capf.Task { return x.task }

// Issue implements capf.Session.
func (x *session) Issue(ctx context.Context, spki []byte) ([]byte, error) {
	s, name, log := x.s, x.d.Name, x.s.log()
	x.spki, x.enrolment, x.offering, x.issued = spki, "", false, nil
	owner := Owner(name)
	release, err := x.claimKey(ctx, owner, spki)
	if err != nil {
		return nil, err
	}
	defer release()
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
		Authority: s.Authority, Owner: owner, PublicKey: spki, Subject: subject, Extensions: san, Vouch: string(x.d.Auth),
	})
	if err != nil {
		n := noteOf(err, s.now())
		x.traceFailure(ctx, &enroll.Failure{Code: n.Code, Detail: n.Detail, Remedy: n.Remedy})
		return nil, fmt.Errorf("enrol %s: %w", name, err)
	}
	x.enrolment = row.ID
	switch row.State {
	case enroll.Issued, enroll.Confirmed:
		x.issued = &Certificate{DER: row.Certificate, Serial: row.Serial, Issuer: row.Issuer, NotAfter: row.NotAfter}
		x.traceIssued(ctx, row)
		return row.Certificate, nil
	case enroll.Denied, enroll.Failed:
		if row.Failure != nil && ownFault(row.Failure) {
			return nil, x.deferred(ctx, row)
		}
		return nil, x.denied(ctx, row)
	default:
		return nil, x.deferred(ctx, row)
	}
}

// claimKey refuses a key that another device has, on record or at this moment in a call of its own. The claim is held
// until the key is on record.
func (x *session) claimKey(ctx context.Context, owner string, spki []byte) (release func(), err error) {
	s, name := x.s, x.d.Name
	key := sha256.Sum256(spki)
	holder, held := s.claims.LoadOrStore(key, name)
	if held && holder != name {
		return nil, s.keyOfAnother(ctx, name, Owner(fmt.Sprint(holder)))
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
		err = s.keyOfAnother(ctx, name, other)
	default:
		return release, nil
	}
	release()
	return nil, err
}

func (s *Service) keyOfAnother(ctx context.Context, name, owner string) error {
	return s.refuse(ctx, name, capf.ReasonInvalidElement, capf.ResultFail, problem("fleet.key-of-another-device",
		fmt.Sprintf("%s sent the public key of %s", name, owner),
		"two devices with one key are a cloned or broken device: delete the certificate on "+name+" and let it make a new key"))
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
	if x.s.Subject == nil {
		return CommonName(x.d.Name)
	}
	der, err := x.s.Subject(x.d)
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
func (x *session) denied(ctx context.Context, row enroll.Enrolment) error {
	f := row.Failure
	if f == nil {
		f = &enroll.Failure{Code: "fleet.denied", Detail: "the authority refused the request", Remedy: "look into its log"}
	}
	x.traceFailure(ctx, f)
	if err := x.end(ctx, false, capf.ResultFail, func(d *Device) {
		d.Note = &Note{Code: f.Code, Detail: f.Detail, Remedy: f.Remedy, At: x.s.now()}
	}); err != nil {
		return err
	}
	return &capf.Refusal{Reason: capf.ReasonInvalidElement, Result: capf.ResultFail, Err: problem(f.Code, f.Detail, f.Remedy)}
}

// deferred keeps the operation pending: the authority has not answered within the phone's patience, or waits for a
// person. The record says so until a call brings more.
func (x *session) deferred(ctx context.Context, row enroll.Enrolment) error {
	ctx, cancel := recordContext(ctx) // the deadline that brought us here has passed
	defer cancel()
	f := &enroll.Failure{
		Code: "fleet.deferred", Timeout: true,
		Detail: fmt.Sprintf("the CA has not answered for %s in time; the request goes on (state %s)", x.d.Name, row.State),
		Remedy: "nothing, unless it stays so: the phone gets the certificate at its next call",
	}
	switch {
	case row.Failure != nil:
		f = row.Failure
	case row.State == enroll.Pending && row.Progress.RequestID != "":
		p := approvalPending(x.d.Name, row)
		f.Code, f.Detail, f.Remedy = p.ErrCode, p.Detail, p.Fix
	}
	x.traceFailure(ctx, f)
	if err := x.note(ctx, f); err != nil {
		return err
	}
	x.s.log().InfoContext(ctx, "operation stays pending", slog.String("event", "capf.deferred"), slog.String("device", x.d.Name),
		slog.String("state", string(row.State)), slog.String("request_id", row.Progress.RequestID))
	return capf.ErrNotReady
}

// note writes down why a call brought no certificate while its operation stays due.
func (x *session) note(ctx context.Context, f *enroll.Failure) error {
	_, err := x.s.Store.UpdateDevice(ctx, x.d.Name, func(d *Device) error {
		if !x.current(d) {
			return errSuperseded
		}
		d.Note = &Note{Code: f.Code, Detail: f.Detail, Remedy: f.Remedy, At: x.s.now()}
		return nil
	})
	if err != nil && !errors.Is(err, errSuperseded) {
		return fmt.Errorf("record why %s has to wait: %w", x.d.Name, err)
	}
	return nil
}

// Stored implements capf.Session.
func (x *session) Stored(ctx context.Context, der []byte, r capf.Reason) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	if r != capf.ReasonUpdateCertificate {
		return x.notStored(ctx, r)
	}
	lsc := x.issued
	if lsc == nil || !bytes.Equal(lsc.DER, der) { // one that an earlier call left
		var err error
		if lsc, err = newCertificate(der); err != nil {
			return err
		}
	}
	x.traceResult(ctx, "capf.recording", capf.ResultSuccess)
	return x.endWith(ctx, true, capf.ResultSuccess, x.enrolment, func(d *Device) { d.LSC, d.Note = lsc, nil })
}

// notStored is a phone's refusal of the certificate. After an offer the install goes on with a new key; otherwise the
// operation has failed.
func (x *session) notStored(ctx context.Context, r capf.Reason) error {
	if x.enrolment != "" {
		if _, err := x.s.Engine.Supersede(ctx, x.enrolment); err != nil {
			return fmt.Errorf("supersede enrolment %s of %s: %w", x.enrolment, x.d.Name, err)
		}
	}
	if x.offering {
		x.enrolment, x.offering = "", false
		return nil
	}
	return x.end(ctx, false, capf.ResultPhoneCommError, func(d *Device) {
		d.Note = &Note{
			Code: "fleet.not-stored", At: x.s.now(), Detail: fmt.Sprintf("the phone did not store its certificate (reason %d)", r),
			Remedy: "look at the phone's console, then run: callsign phone set " + d.Name + " --operation install",
		}
	})
}

// Fetched implements capf.Session.
func (x *session) Fetched(ctx context.Context, certs []capf.CertificateEntry, _ capf.Reason) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	shown := make([]Shown, 0, len(certs))
	for _, c := range certs {
		kind := "lsc"
		if c.Type == capf.CertificateMIC {
			kind = "mic"
		}
		shown = append(shown, Shown{Type: kind, DER: c.DER})
		if leaf, err := x509.ParseCertificate(c.DER); err == nil {
			x.s.log().InfoContext(ctx, "certificate shown", slog.String("event", "capf.fetched"), slog.String("device", x.d.Name),
				slog.String("type", kind), slog.String("subject", leaf.Subject.String()), slog.String("issuer", leaf.Issuer.String()),
				slog.String("serial", leaf.SerialNumber.Text(16)))
		}
	}
	result := capf.ResultSuccess
	if len(shown) == 0 {
		result = capf.ResultFetchNoCertificate
	}
	return x.end(ctx, true, result, func(d *Device) { d.Shown, d.Note = shown, nil })
}

// Deleted implements capf.Session.
func (x *session) Deleted(ctx context.Context, r capf.Reason) error {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	return x.end(ctx, true, capf.ResultSuccess, func(d *Device) {
		d.LSC, d.Note = nil, nil
		if r != capf.ReasonUpdateCertificate {
			d.Note = &Note{Code: "fleet.nothing-deleted", Detail: "no certificate on phone", At: x.s.now()}
		}
	})
}

// Abort implements capf.Session.
func (x *session) Abort(ctx context.Context, cause error) {
	ctx, cancel := recordContext(ctx)
	defer cancel()
	if err := x.abort(ctx, cause); err != nil {
		x.s.log().ErrorContext(ctx, "the end of a call was not recorded", slog.String("device", x.d.Name), slog.String("err", err.Error()))
	}
}

func (x *session) abort(ctx context.Context, cause error) error {
	var refusal *capf.Refusal
	if errors.Is(cause, capf.ErrNotReady) || errors.As(cause, &refusal) {
		return nil // recorded where it happened
	}
	note := noteOf(cause, x.s.now())
	if _, ok := errors.AsType[*capf.PhoneError](cause); ok {
		return x.end(ctx, false, capf.ResultPhoneCommError, func(d *Device) { d.Note = note })
	}
	// The operation stays pending: the phone calls again by itself.
	result := capf.ResultPhoneCommError
	if errors.Is(cause, context.DeadlineExceeded) {
		result = capf.ResultTimedOut
	}
	_, err := x.s.Store.UpdateDevice(ctx, x.d.Name, func(d *Device) error {
		if !x.current(d) {
			return errSuperseded
		}
		d.Result, d.HasResult, d.Note = result, true, note
		if x.offering {
			d.Offered = x.enrolment
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSuperseded) {
		return fmt.Errorf("record the end of the call of %s: %w", x.d.Name, err)
	}
	x.traceResult(ctx, "capf.aborted", result)
	return nil
}

// errSuperseded leaves a record alone whose operation an administrator has changed during the call.
var errSuperseded = errors.New("operation was changed during the call")

func (x *session) current(d *Device) bool {
	return d.Operation == x.d.Operation && d.Scheduled.Equal(x.d.Scheduled)
}

func (x *session) end(ctx context.Context, ok bool, r capf.Result, change func(*Device)) error {
	return x.endWith(ctx, ok, r, "", change)
}

// endWith records the result of the operation, and confirms the enrolment in the same transaction. What an
// administrator has scheduled during the call stays.
func (x *session) endWith(ctx context.Context, ok bool, r capf.Result, enrolment string, change func(*Device)) error {
	update := func(d *Device) error {
		if x.current(d) {
			d.finish(d.Operation, ok, r)
		}
		change(d)
		return nil
	}
	var err error
	if enrolment != "" {
		_, err = x.s.Store.FinishDevice(ctx, x.d.Name, Finish{Enrolment: enrolment}, update)
		if errors.Is(err, enroll.ErrState) {
			// Another call of the phone has superseded this one's request. What the phone holds is recorded all the same;
			// the operation is left to the other call.
			x.s.log().WarnContext(ctx, "certificate stored that another call had superseded", slog.String("device", x.d.Name), slog.String("request_id", enrolment))
			_, err = x.s.Store.UpdateDevice(ctx, x.d.Name, func(d *Device) error { change(d); return nil })
		}
	} else {
		_, err = x.s.Store.UpdateDevice(ctx, x.d.Name, update)
	}
	if err != nil {
		return fmt.Errorf("record the result of %s: %w", x.d.Name, err)
	}
	x.traceResult(ctx, "capf.result", r)
	return nil
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

func newCertificate(der []byte) (*Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the issued certificate: %w", err)
	}
	return &Certificate{DER: der, Serial: hex.EncodeToString(leaf.SerialNumber.Bytes()), Issuer: leaf.Issuer.String(), NotAfter: leaf.NotAfter}, nil
}

// recordContext outlives the session's own context: what happened is written down even when the phone is gone.
func recordContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}
