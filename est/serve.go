package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

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

// csrattrs answers RFC 7030 section 4.5. Nothing to say is 204 and not 404, because Bouncy Castle stumbles over a 404.
func (x *exchange) csrattrs(operation) error {
	attributes := x.profile.Attributes
	if x.profile.Link == LinkRequired && !x.forwarded && LinksOf(x.r.TLS).Exporter != "" {
		// Section 4.5.2: a server that wants the link must say so; where the connection cannot carry one it would be in vain.
		var err error
		if attributes, err = withChallenge(attributes); err != nil {
			return internalError(err)
		}
	}
	if len(attributes) == 0 {
		x.send(http.StatusNoContent, "", nil)
		return nil
	}
	x.sendCMS(http.StatusOK, "application/csrattrs", attributes)
	return nil
}

// challengePassword is the attribute's type as an element of CsrAttrs.
var challengePassword = []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7}

// withChallenge adds challengePassword to a CsrAttrs that does not name it yet.
func withChallenge(attributes []byte) ([]byte, error) {
	input := cryptobyte.String(attributes)
	var list cryptobyte.String
	if len(attributes) > 0 && (!input.ReadASN1(&list, casn1.SEQUENCE) || !input.Empty()) {
		return nil, errors.New("the attributes of the profile are no CsrAttrs")
	}
	rest := list
	for !rest.Empty() {
		var element cryptobyte.String
		var tag casn1.Tag
		if !rest.ReadAnyASN1Element(&element, &tag) {
			return nil, errors.New("the attributes of the profile are no CsrAttrs")
		}
		if bytes.Equal(element, challengePassword) {
			return attributes, nil
		}
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(challengePassword)
		b.AddBytes(list)
	})
	return b.Bytes()
}

// simpleenroll answers RFC 7030 section 4.2.1.
func (x *exchange) simpleenroll(o operation) error {
	who, err := x.authenticate()
	if err != nil {
		return err
	}
	csr, err := x.readCSR(o)
	if err != nil {
		return err
	}
	return x.enroll(o, who, csr)
}

// simplereenroll answers RFC 7030 section 4.2.2.
func (x *exchange) simplereenroll(o operation) error {
	who, err := x.authenticate()
	if err != nil {
		return err
	}
	if who.Certificate == nil && !who.Relays {
		// The RFC leaves it open; without the certificate there is nothing to compare the names with.
		return &Error{
			Status: http.StatusForbidden, ErrCode: CodeReenrollCertificate,
			Text: "A certificate is renewed by who shows it: connect with the certificate that is to be renewed.",
			Fix:  "let the client use the certificate and its key for TLS; a client without one uses simpleenroll",
		}
	}
	csr, err := x.readCSR(o)
	if err != nil {
		return err
	}
	if !who.Relays {
		if err := renews(csr.CertificateRequest, who.Certificate); err != nil {
			return err
		}
	}
	return x.enroll(o, who, csr)
}

// renews refuses a request for other names than the certificate's. The names that changeSubjectName asks for are not
// compared: those in the request's own fields are (RFC 6402 section 2.8).
func renews(csr *x509.CertificateRequest, cert *x509.Certificate) error {
	subject, alternative := SameNames(csr, cert)
	if subject && alternative {
		return nil
	}
	text := fmt.Sprintf("The certificate request is for %q, the certificate that is to be renewed for %q.", csr.Subject, cert.Subject)
	if subject {
		text = fmt.Sprintf("The certificate request has the subjectAltName %s, the certificate that is to be renewed %s.",
			listed(csr.DNSNames, csr.EmailAddresses, csr.IPAddresses, csr.URIs), listed(cert.DNSNames, cert.EmailAddresses, cert.IPAddresses, cert.URIs))
	}
	return &Error{
		Status: http.StatusForbidden, ErrCode: CodeReenrollNames, Text: text,
		Fix: "take subject and subjectAltName over from the certificate unchanged (openssl x509 -x509toreq -copy_extensions copyall); for other names use simpleenroll",
	}
}

// listed shows alternative names.
func listed(dns, mail []string, ips []net.IP, uris []*url.URL) string {
	names := slices.Concat(dns, mail)
	for _, ip := range ips {
		names = append(names, ip.String())
	}
	for _, u := range uris {
		names = append(names, u.String())
	}
	if len(names) == 0 {
		return "(none, or of other kinds)"
	}
	return clip(strings.Join(names, ", "), 150)
}

// readCSR reads the PKCS#10 of the request and judges it.
func (x *exchange) readCSR(o operation) (parsedCSR, error) {
	der, err := x.decode(o, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
	if err != nil {
		return parsedCSR{}, err
	}
	csr, err := x.profile.CSR.check(der)
	if err != nil {
		return parsedCSR{}, err
	}
	return csr, x.mayChange(csr)
}

// mayChange refuses changeSubjectName where it is not allowed.
func (x *exchange) mayChange(csr parsedCSR) error {
	if csr.change == nil || x.profile.ChangeSubject {
		return nil
	}
	return &Error{
		Status: http.StatusForbidden, ErrCode: CodeCSRChangeSubject,
		Text: "The certificate request asks for other names (changeSubjectName), which is not allowed here.",
		Fix:  "put the wanted subject and subjectAltName into the request itself",
	}
}

// enroll answers a request for a certificate that was read.
func (x *exchange) enroll(o operation, who Identity, csr parsedCSR) error {
	linked, err := x.judgeLink(csr.csrForm, who)
	if err != nil {
		return err
	}
	cert, err := x.ask(o, who, csr, linked)
	if err != nil || cert == nil {
		return err
	}
	// Only the issued certificate (section 4.2.3): strongSwan and globalsign/est fail when the chain is there.
	answer, err := cmc.CertsOnly(cert)
	if err != nil {
		return internalError(err)
	}
	x.sendCMS(http.StatusOK, "application/pkcs7-mime; smime-type=certs-only", answer)
	return nil
}

// ask hands the request to the Backend. It returns nil when the answer, 202, is sent.
func (x *exchange) ask(o operation, who Identity, csr parsedCSR, linked bool) (*x509.Certificate, error) {
	result, err := x.h.Backend.Enroll(x.r.Context(), x.request(o, who, csr, linked))
	if err != nil {
		return nil, internalError(err)
	}
	if result.Certificate == nil {
		text := result.Text
		if text == "" {
			text = "The certificate is not ready yet."
		}
		x.setRetryAfter(result.RetryAfter)
		x.sendNote(http.StatusAccepted, text)
		return nil, nil //nolint:nilnil // nothing more to answer
	}
	if !bytes.Equal(result.Certificate.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) {
		return nil, internalError(errors.New("the authority returned a certificate for another key"))
	}
	return result.Certificate, nil
}

// request is the request as the Backend gets it.
func (x *exchange) request(o operation, who Identity, csr parsedCSR, linked bool) EnrollRequest {
	r := EnrollRequest{
		Label: x.label, Operation: o.name, CSR: csr.CertificateRequest, Identity: who, Peer: x.peer, TLS: x.r.TLS, RequestID: x.id,
		Linked: linked, ChangeSubject: csr.change,
	}
	if csr.challenge != nil && !linked {
		r.Challenge = *csr.challenge
	}
	return r
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
		Label: x.label, Body: body, Peer: x.peer, TLS: x.r.TLS, Forwarded: x.forwarded, RequestID: x.id,
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

// authenticate asks the Backend who the caller is. A caller who shows nothing is challenged, or refused by the Backend.
func (x *exchange) authenticate() (Identity, error) {
	c := Credentials{Label: x.label, Operation: x.op, Peer: x.peer, Certificates: x.certificates, Forwarded: x.forwarded, RequestID: x.id}
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
		// Where passwords are of no use the Backend says so, instead of a challenge that leads nowhere.
		if _, err := x.h.Backend.Authenticate(x.r.Context(), c); err != nil {
			if refusal := internalError(err); refusal.Status != http.StatusUnauthorized {
				return Identity{}, refusal
			}
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
