package est

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"callsign/cmc"
)

// cacerts answers RFC 7030 section 4.1.
func (x *exchange) cacerts(operation) error {
	certs, err := x.h.Backend.CACerts(x.r.Context(), x.label)
	if err != nil {
		return internalError(err)
	}
	if len(certs) == 0 {
		return &Error{
			Status: http.StatusServiceUnavailable, ErrCode: CodeInternal, RetryAfter: defaultRetryAfter,
			Text: "The CA certificates are not known yet.", Fix: "wait until the CA can be reached",
		}
	}
	der, err := cmc.CertsOnly(certs...)
	if err != nil {
		return internalError(err)
	}
	// Section 4.1.3 names no smime-type, and a strict reader may not expect one.
	x.sendCMS(http.StatusOK, "application/pkcs7-mime", der)
	return nil
}

// csrattrs answers RFC 7030 section 4.5: nothing to say. 204 and not 404, because Bouncy Castle stumbles over a 404.
func (x *exchange) csrattrs(operation) error {
	x.send(http.StatusNoContent, "", nil)
	return nil
}

// simpleenroll answers RFC 7030 section 4.2.1.
func (x *exchange) simpleenroll(o operation) error {
	who, err := x.authenticate()
	if err != nil {
		return err
	}
	der, err := x.decode(o, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
	if err != nil {
		return err
	}
	csr, err := x.profile.CSR.check(der)
	if err != nil {
		return err
	}
	if csr.change != nil && !x.profile.ChangeSubject {
		return &Error{
			Status: http.StatusForbidden, ErrCode: CodeCSRChangeSubject,
			Text: "The certificate request asks for other names (changeSubjectName), which is not allowed here.",
			Fix:  "put the wanted subject and subjectAltName into the request itself",
		}
	}
	result, err := x.h.Backend.Enroll(x.r.Context(), EnrollRequest{
		Label: x.label, Operation: o.name, CSR: csr.CertificateRequest, Identity: who, Peer: x.peer, TLS: x.r.TLS, RequestID: x.id,
		ChangeSubject: csr.change,
	})
	if err != nil {
		return internalError(err)
	}
	if result.Certificate == nil {
		text := result.Text
		if text == "" {
			text = "The certificate is not ready yet."
		}
		x.setRetryAfter(result.RetryAfter)
		x.sendText(http.StatusAccepted, text)
		return nil
	}
	if !bytes.Equal(result.Certificate.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) {
		return internalError(errors.New("the authority returned a certificate for another key"))
	}
	// Only the issued certificate (section 4.2.3): strongSwan and globalsign/est fail when the chain is there.
	answer, err := cmc.CertsOnly(result.Certificate)
	if err != nil {
		return internalError(err)
	}
	x.sendCMS(http.StatusOK, "application/pkcs7-mime; smime-type=certs-only", answer)
	return nil
}

// fullcmc answers RFC 7030 section 4.3.
func (x *exchange) fullcmc(o operation) error {
	backend, ok := x.h.Backend.(FullCMC)
	if !ok {
		return notOffered(o.name)
	}
	body, err := x.decode(o, "PKCS7", "CMS")
	if err != nil {
		return err
	}
	reply := backend.FullCMC(x.r.Context(), CMCRequest{
		Label: x.label, Body: body, Peer: x.peer, TLS: x.r.TLS, RequestID: x.id,
	})
	if reply.Status < 200 || reply.Status > 599 || (reply.Status < 300 && len(reply.Body) == 0 && reply.Status != http.StatusAccepted) {
		return internalError(errors.New("the authority gave no usable CMC reply"))
	}
	if reply.RetryAfter > 0 || mustRetryAfter(reply.Status) {
		x.setRetryAfter(reply.RetryAfter)
	}
	if reply.Status >= 400 {
		x.logFailure(&Error{Status: reply.Status, ErrCode: reply.Code, Text: "The full CMC request was refused."})
	}
	switch {
	case len(reply.Body) == 0:
		x.sendText(reply.Status, http.StatusText(reply.Status)+".")
	case reply.CertsOnly:
		x.sendCMS(reply.Status, "application/pkcs7-mime; smime-type=certs-only", reply.Body)
	default:
		x.sendCMS(reply.Status, "application/pkcs7-mime; smime-type=CMC-response", reply.Body)
	}
	return nil
}

// Numbers of libEST for how a client tried to authenticate, as they stand in "HTTP authentication failed. Auth type=1".
const (
	authNone   = 0
	authBasic  = 1
	authDigest = 2
	authBearer = 3
	authFailed = 4
)

// maxCredential bounds user name and password; libEST's own bound is 255.
const maxCredential = 1024

// authenticate asks the Backend who the caller is. A caller who shows nothing is challenged without asking.
func (x *exchange) authenticate() (Identity, error) {
	c := Credentials{Label: x.label, Operation: x.op, Peer: x.peer, Certificates: x.r.TLS.PeerCertificates, RequestID: x.id}
	number, name := authNone, "none"
	if field := x.r.Header.Get("Authorization"); field != "" {
		scheme, _, _ := strings.Cut(field, " ")
		user, password, ok := x.r.BasicAuth()
		switch {
		case ok && len(user) <= maxCredential && len(password) <= maxCredential:
			c.HasPassword, c.User, c.Password = true, user, []byte(password)
			number, name = authBasic, "basic"
		case strings.EqualFold(scheme, "Digest"):
			number, name = authDigest, "digest"
		case strings.EqualFold(scheme, "Bearer"):
			number, name = authBearer, "bearer"
		default:
			number, name = authFailed, "failed"
		}
	}
	if !c.HasPassword && len(c.Certificates) == 0 {
		if number != authNone {
			x.logAuthFailed(number, name)
		}
		return Identity{}, &Error{
			Status: http.StatusUnauthorized, ErrCode: CodeCredentials,
			Text: "The server was unable to authorize the request.",
			Fix:  "give the client a user name and password (HTTP Basic) or a TLS client certificate",
		}
	}
	who, err := x.h.Backend.Authenticate(x.r.Context(), c)
	if err == nil {
		return who, nil
	}
	refusal := internalError(err)
	if refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden {
		x.logAuthFailed(number, name)
		if refusal.ErrCode == "" {
			refusal.ErrCode = CodeAuthFailed
		}
	}
	return Identity{}, refusal
}

func (x *exchange) logAuthFailed(number int, name string) {
	x.log.LogAttrs(x.r.Context(), slog.LevelWarn, "EST client not authenticated", slog.String("event", "est.auth_failed"),
		slog.Int("auth_type", number), slog.String("auth_name", name))
}

// logFailure writes one line for a refusal.
func (x *exchange) logFailure(e *Error) {
	n := serverNumber(e.Status, e.ErrCode)
	event, level := "est.failed", slog.LevelWarn
	if e.ErrCode == CodeCredentials && x.r.Header.Get("Authorization") == "" {
		// Not a failure: libEST's client always asks once without credentials to learn the challenge.
		n, event, level = LibESTAuthPending, "est.challenge", slog.LevelDebug
	}
	if e.Status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("event", event), slog.Int("status", e.Status), slog.Int("rv", int(n)), slog.String("rv_name", n.String()),
		slog.String("text", clip(e.Text, 512)), slog.String("code", e.ErrCode),
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("err", e.Err.Error()))
	}
	if e.Fix != "" {
		attrs = append(attrs, slog.String("remedy", e.Fix))
	}
	x.log.LogAttrs(x.r.Context(), level, "EST request refused", attrs...)
}
