package certsrvtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"callsign/cmc"
)

// finish is certfnsh.asp: a new request, or a look at a pending one. Every outcome is HTTP 200.
func (s *Server) finish(r *http.Request, user string) reply {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return reply{code: http.StatusBadRequest, contentType: htmlType, body: errorBody(http.StatusBadRequest), win32: win32NetnameGone}
	}
	if len(body) > maxForm {
		return iisReply(http.StatusInternalServerError, 0) // ASP 0104
	}
	var form url.Values
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/x-www-form-urlencoded") {
		form = parseForm(string(body))
	}
	agent := layoutOf(r.UserAgent())
	switch mode := strings.ToLower(strings.TrimSpace(form.Get("mode"))); {
	case mode == "chkpnd":
		return s.checkPending(r.Context(), form.Get("reqid"), user, agent)
	case mode == "newreq" || strings.HasPrefix(mode, "newreq "):
		return s.submit(r, form, user, agent)
	}
	return htmlReply(s.statusPage(s.lang(), status{disposition: DispositionError, result: eInvalidArg, last: eInvalidArg}))
}

// checkPending is Mode=chkpnd.
func (s *Server) checkPending(ctx context.Context, reqID, user string, agent layout) reply {
	mode := s.lang().words().checkPending
	if s.rpcDown() {
		return s.unreachable("", mode)
	}
	id, err := strconv.Atoi(strings.TrimSpace(reqID))
	if err != nil {
		return s.emptyProperty()
	}
	e, ok := s.look(ctx, id)
	switch {
	case !ok:
		return s.emptyProperty()
	case e.Requester != user:
		return s.notYours(mode)
	}
	return s.outcome(e, s.lang(), mode, agent)
}

// outcome renders what became of a request.
func (s *Server) outcome(e entry, l Lang, mode string, agent layout) reply {
	switch e.Disposition {
	case DispositionIssued:
		return htmlReply(s.issuedPage(l, e.ID, agent))
	case DispositionPending:
		return htmlReply(s.pendingPage(l, e.ID))
	case DispositionDenied:
		return htmlReply(s.deniedPage(l, e.ID, e.message(l)))
	case DispositionError:
	}
	return htmlReply(s.statusPage(l, status{mode: mode, disposition: DispositionError, message: e.message(l), result: e.HResult, last: e.HResult}))
}

// submit is Mode=newreq.
func (s *Server) submit(r *http.Request, form url.Values, user string, agent layout) reply {
	// A script goes on, and the CA issues, when its client has gone away meanwhile.
	ctx := context.WithoutCancel(r.Context())
	attributes := parseAttributes(form.Get("certattrib"))
	e := entry{Record: Record{Requester: user, Submitted: s.now().UTC()}}
	req, tmpl, readErr := s.examine(form.Get("certrequest"), attributes, &e)

	b := s.behaviourFor(behaviourKey(req, tmpl, attributes))
	l := s.lang()
	if b.Lang != "" {
		l = b.Lang
	}
	mode := l.words().newRequest
	if b.Delay > 0 && s.wait(ctx, b.Delay) != nil {
		return gone()
	}
	switch b.Answer {
	case Hang:
		_ = s.wait(r.Context(), 0)
		return gone()
	case ASPError:
		return iisReply(http.StatusInternalServerError, 0)
	case RPCDown:
		return s.unreachable(l, mode)
	case Default, Issue, Pending, Deny, Drop, Truncate, Reset, OtherKey:
	}
	if readErr == nil {
		readErr = s.dispose(ctx, req, tmpl, b, &e)
	}
	if readErr != nil {
		e.fail(readErr, s.now())
	}
	id, err := s.db.add(e)
	if err != nil {
		s.log.Error("request not stored", slog.Any("err", err))
		return iisReply(http.StatusInternalServerError, 0)
	}
	e.ID = id
	s.log.Info("certificate request handled", slog.String("event", EventHandled), slog.String("request_id", strconv.Itoa(id)), slog.String("template", e.Template),
		slog.String("subject", e.Subject), slog.String("outcome", e.Disposition.String()), slog.String("code", fmt.Sprintf("0x%08x", e.HResult)))
	rep := s.outcome(e, l, mode, agent)
	switch b.Answer {
	case Drop:
		return gone()
	case Truncate:
		rep.breakage, rep.win32 = truncated, win32NetnameGone
	case Reset:
		rep.breakage, rep.win32 = wasReset, win32NetnameGone
	case Default, Issue, Pending, Deny, RPCDown, ASPError, Hang, OtherKey:
	}
	if e.Disposition == DispositionPending && agent != layoutText {
		rep.cookie = remember(r, id)
	}
	return rep
}

// gone is the log line of a client that went away, and no answer.
func gone() reply { return reply{code: http.StatusOK, win32: win32NetnameGone, breakage: dropped} }

// behaviourKey names the template whose behaviour counts: the one that the request names, even when it was refused.
func behaviourKey(req *request, tmpl *Template, attributes map[string]string) string {
	switch {
	case tmpl != nil:
		return strings.ToLower(tmpl.Name)
	case req != nil && len(req.templates) > 0:
		return strings.ToLower(req.templates[0])
	}
	return strings.ToLower(attributes["certificatetemplate"])
}

// examine reads the request and finds its template. What it learns goes into e even when it fails.
func (s *Server) examine(field string, attributes map[string]string, e *entry) (*request, *Template, error) {
	der, err := decodeRequest(field)
	if err != nil {
		return nil, nil, err
	}
	req, err := s.reader().read(der)
	if err != nil {
		return nil, nil, err
	}
	e.Kind, e.POP, e.OnBehalfOf = req.kind, req.signed, req.requester
	e.Subject, e.PublicKeyHash = req.csr.Subject.String(), req.keyHash()
	if len(req.agents) > 0 {
		e.Agent = req.agents[0].Subject.String()
	}
	if s.cfg.AttributeSAN {
		if err := req.addSAN(attributes["san"]); err != nil {
			return req, nil, &statusError{eInvalidData}
		}
	}
	if s.standalone() {
		return req, nil, nil
	}
	req.addTemplate(attributes["certificatetemplate"])
	tmpl, err := s.resolve(req.templates)
	if tmpl != nil {
		e.Template = tmpl.Name
	}
	return req, tmpl, err
}

// reader returns what reads requests as of now.
func (s *Server) reader() *requestReader {
	rd := &requestReader{
		anchors: s.cfg.AgentAnchors, requireNullSigner: s.cfg.RequireNullSigner, refuseNull: s.cfg.RefuseNull,
		acceptRFCNoSig: s.cfg.AcceptRFCNoSig, now: s.now(),
	}
	for _, chain := range s.cfg.CA.Certificates() {
		rd.intermediates = append(rd.intermediates, chain...)
		if len(s.cfg.AgentAnchors) == 0 {
			rd.anchors = append(rd.anchors, chain...)
		}
	}
	return rd
}

// policyError is a denial by the policy module, with the extra words that some of them have.
type policyError struct {
	code uint32
	text string // key of words.policyText, with name
}

func (e *policyError) Error() string { return (&statusError{e.code}).Error() }

// resolve finds the one template that all names (common names in any case, or OIDs) mean.
func (s *Server) resolve(names []string) (*Template, error) {
	if len(names) == 0 {
		return nil, &policyError{code: eNoCertType}
	}
	var found *Template
	for i, name := range names {
		t := s.template(name)
		if t == nil {
			t = s.templateByOID(name)
		}
		if i > 0 && (t != found || t == nil && !strings.EqualFold(name, names[0])) {
			return nil, &policyError{code: eTemplateConflict}
		}
		found = t
	}
	if found == nil {
		return nil, &policyError{code: eUnsupportedType, text: names[0]}
	}
	return found, nil
}

func (s *Server) templateByOID(oid string) *Template {
	for i := range s.cfg.Templates {
		if s.templateOID(i) == oid {
			return &s.cfg.Templates[i]
		}
	}
	return nil
}

// templateOID is the configured OID of template i, or one below Microsoft's arc for templates of an enterprise.
func (s *Server) templateOID(i int) string {
	if oid := s.cfg.Templates[i].OID; oid != "" {
		return oid
	}
	return "1.3.6.1.4.1.311.21.8.1.2." + strconv.Itoa(i+3)
}

func (s *Server) mayEnroll(t *Template, user string) bool {
	return len(t.Enrollers) == 0 || slices.ContainsFunc(t.Enrollers, func(name string) bool { return strings.EqualFold(s.qualify(name), user) })
}

// dispose applies the template's rules and the behaviour: it issues, keeps, or fails.
func (s *Server) dispose(ctx context.Context, req *request, t *Template, b Behaviour, e *entry) error {
	if t != nil {
		if err := s.judge(req, t, e.Requester); err != nil {
			return err
		}
	}
	issuance, err := s.issuance(req, t, e.Requester)
	if err != nil {
		return err
	}
	answer := b.Answer
	if answer == Default && s.standalone() {
		answer = Pending
	}
	switch answer {
	case Deny:
		code := b.HResult
		if code == 0 || code == eAdminDenied {
			e.Text = s.manager()
			return &managerError{}
		}
		return &policyError{code: code, text: templateName(t)}
	case Pending:
		e.Disposition, e.Issuance, e.Approve = DispositionPending, issuance, b.ApproveAfter
		e.Message = e.message(English)
		return nil
	case OtherKey:
		return s.issueOther(ctx, issuance, e)
	case Default, Issue, RPCDown, ASPError, Hang, Drop, Truncate, Reset:
	}
	return s.issue(ctx, issuance, e)
}

// issueOther issues for a key that nobody asked for.
func (s *Server) issueOther(ctx context.Context, i *Issuance, e *entry) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return &constructingError{}
	}
	other := *i
	if other.PublicKey, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return &constructingError{}
	}
	return s.issue(ctx, &other, e)
}

func templateName(t *Template) string {
	if t == nil {
		return ""
	}
	return t.Name
}

// judge is the policy module: permission, key, names, and the signatures of registration authorities.
func (s *Server) judge(req *request, t *Template, user string) error {
	if !s.mayEnroll(t, user) {
		return &policyError{code: eTemplateDenied}
	}
	if key, ok := req.csr.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < t.MinKeyBits {
		return &policyError{code: eKeyLength}
	}
	if t.RequireSAN && !req.hasSAN() {
		return &policyError{code: eSANRequired}
	}
	return judgeAgents(req, t.RASignatures)
}

// judgeAgents wants as many enrollment agents as the template says, and at least one for a request on behalf of someone
// and for one that its key did not sign: otherwise nobody would answer for it.
func judgeAgents(req *request, wanted int) error {
	switch {
	case wanted == 0 && req.signed && req.requester == "":
		return nil
	case len(req.agents) == 0 && wanted == 0 && !req.signed:
		return &verifyingError{eBadSignature}
	case len(req.agents) == 0:
		return &policyError{code: eSignatureRequired}
	}
	for _, a := range req.agents {
		if !cmc.HasKeyPurpose(a, cmc.OIDCertificateRequestAgent) {
			return &policyError{code: eSignatureRejected}
		}
	}
	if len(req.agents) < wanted {
		return &policyError{code: eSignatureCount}
	}
	return nil
}

// issuance is what the CA will be asked for.
func (s *Server) issuance(req *request, t *Template, user string) (*Issuance, error) {
	i := &Issuance{PublicKey: req.csr.RawSubjectPublicKeyInfo, RawSubject: req.csr.RawSubject, Extensions: req.extensions}
	if t == nil {
		if !req.signed {
			return nil, &verifyingError{eBadSignature}
		}
		return i, nil
	}
	i.Template = t.Name
	if t.SubCA {
		exts, err := subCAExtensions(t, req.extensions)
		if err != nil {
			return nil, &statusError{eInvalidData}
		}
		i.Extensions, i.CA = exts, true
	}
	if t.BuildFromAD {
		account := user
		if req.requester != "" {
			account = req.requester
		}
		if _, name, ok := strings.Cut(account, `\`); ok {
			account = name
		}
		subject, err := marshalName(account)
		if err != nil {
			return nil, &statusError{eInvalidData}
		}
		i.RawSubject = subject
	}
	return i, nil
}

// issue asks the CA and checks that what it gives is a certificate for the requested key.
func (s *Server) issue(ctx context.Context, i *Issuance, e *entry) error {
	der, err := s.cfg.CA.Issue(ctx, *i)
	if err != nil {
		s.log.Warn("CA did not issue", slog.Any("err", err))
		return &constructingError{}
	}
	c, err := x509.ParseCertificate(der)
	if err != nil || string(c.RawSubjectPublicKeyInfo) != string(i.PublicKey) {
		s.log.Error("CA gave a certificate for another key, or none", slog.Any("err", err))
		return &constructingError{}
	}
	e.Disposition, e.HResult, e.Certificate, e.Serial, e.Issuance = DispositionIssued, 0, der, hexSerial(c), nil
	e.Resolved = s.now().UTC()
	e.Message = e.message(English)
	return nil
}

// constructingError is a failure of the CA itself.
type constructingError struct{}

func (*constructingError) Error() string { return (&statusError{eConstructingFailed}).Error() }

// managerError is a denial by a person.
type managerError struct{}

func (*managerError) Error() string { return (&statusError{eAdminDenied}).Error() }

// fail records why a request came to nothing.
func (e *entry) fail(err error, now time.Time) {
	var (
		policy    *policyError
		verifying *verifyingError
		plain     *statusError
		manager   *managerError
	)
	e.Disposition, e.Resolved = DispositionError, now.UTC()
	switch {
	case errors.As(err, &policy):
		e.Disposition, e.HResult, e.Text = DispositionDenied, policy.code, policy.text
	case errors.As(err, &manager):
		e.Disposition, e.HResult = DispositionDenied, eAdminDenied
	case errors.As(err, &verifying):
		e.HResult, e.Text = verifying.code, textVerifying
	case errors.As(err, &plain):
		e.HResult, e.Text = plain.code, textParsing
	default:
		e.HResult, e.Text = eConstructingFailed, textConstructing
	}
	e.Message = e.message(English)
}

// What entry.Text says for requests with DispositionError.
const (
	textParsing      = "parsing"
	textVerifying    = "verifying"
	textConstructing = "constructing"
)

// message renders the disposition message in a language.
func (e *entry) message(l Lang) string {
	w := l.words()
	switch e.Disposition {
	case DispositionIssued:
		return w.issuedMsg
	case DispositionPending:
		return w.taken
	case DispositionError:
		switch e.Text {
		case textParsing:
			return w.parsing
		case textVerifying:
			return w.verifying
		}
		return w.constructing
	case DispositionDenied:
	}
	switch e.HResult {
	case eAdminDenied:
		return fmt.Sprintf(w.byManager, e.Text)
	case eUnsupportedType:
		return fmt.Sprintf("%s  0x%08x, %s", w.byPolicy, e.HResult, fmt.Sprintf(w.unsupportedTemplate, e.Text))
	case eNoCertType:
		return fmt.Sprintf("%s  0x%08x, %s", w.byPolicy, e.HResult, w.missingTemplate)
	}
	return w.byPolicy
}

func marshalName(cn string) ([]byte, error) {
	return marshalRDN(pkix.Name{CommonName: cn})
}
