package certsrvtest

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"callsign/cmc"
)

// reply is an answer before it is written.
type reply struct {
	code        int // 0: 200
	contentType string
	location    string
	body        []byte
	asp         bool // answered by an ASP page: session cookie, Cache-Control
	win32       uint32
	breaks      PageFault // end the connection in place of the answer, or in the middle of it
}

const (
	htmlType = "text/html"
	maxHits  = 64 // distinct paths that are counted; there are fewer pages
)

func htmlReply(body []byte) reply { return reply{contentType: htmlType, body: body, asp: true} }

func iisReply(code int, win32 uint32) reply {
	return reply{code: code, contentType: htmlType, body: errorBody(code), win32: win32}
}

// ServeHTTP implements http.Handler: it authenticates, answers one page and writes one IIS log line.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := s.now()
	file := strings.ToLower(path.Clean("/" + r.URL.Path))
	s.mu.Lock()
	if _, known := s.hits[file]; known || len(s.hits) < maxHits {
		s.hits[file]++
	}
	s.mu.Unlock()

	c := s.present()
	l, rep := s.answer(w, r, c, file)
	if rep.code == 0 {
		rep.code = http.StatusOK
	}
	now := s.now()
	if c.Refusal != RefusePoolDown && c.Refusal != RefuseSignIn { // those never reach IIS
		if err := s.iis.write(now, iisLine(r, l.user, rep.code, l.substatus, rep.win32, began, now)); err != nil {
			s.log.Error("IIS log not written", slog.Any("err", err))
		}
	}
	if rep.breaks == FaultDrop {
		panic(http.ErrAbortHandler)
	}
	if c.NoKeepAlive {
		w.Header().Set("Connection", "close")
	}
	s.write(w, r, rep)
	if rep.breaks != "" || c.CloseConnections && rep.code != http.StatusUnauthorized {
		// What was written goes out, and nothing after it.
		_ = http.NewResponseController(w).Flush()
		if rep.breaks == FaultReset {
			connOf(r).abort()
		}
		panic(http.ErrAbortHandler)
	}
}

// answer is what a request gets, with the login that goes before it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, c Conditions, file string) (login, reply) {
	switch {
	case c.Refusal == RefusePoolDown:
		return login{}, iisReply(http.StatusServiceUnavailable, 0)
	case c.Refusal == RefuseSignIn:
		return login{}, reply{contentType: htmlType, body: signInBody()}
	case s.cfg.RequireTLS && r.TLS == nil, c.Refusal == RefuseNoTLS:
		return login{substatus: 4}, forbidden(4)
	case c.Refusal == RefuseNoClientCert:
		return login{substatus: 7}, forbidden(7)
	}
	l := s.authenticate(r, c) //nolint:contextcheck // the context is that of r
	for _, h := range l.headers {
		w.Header().Add("WWW-Authenticate", h)
	}
	if l.headers != nil {
		return l, iisReply(http.StatusUnauthorized, l.win32)
	}
	if l.final != "" {
		w.Header().Add("WWW-Authenticate", l.final)
	}
	switch {
	case c.Refusal == RefuseACL:
		l.substatus = 3
		for _, h := range s.schemes(c).offers(s.host(r)) {
			w.Header().Add("WWW-Authenticate", h)
		}
		return l, iisReply(http.StatusUnauthorized, win32AccessDenied)
	case c.Redirect != "":
		return l, reply{code: http.StatusFound, contentType: htmlType, location: c.Redirect, body: movedBody(c.Redirect)}
	}
	if file != "/certsrv" && s.pause(r.Context(), c.SlowPages) != nil {
		return l, gone()
	}
	rep := s.route(r, file, l.user)
	return l, rep.faulty(c.fault(file))
}

// forbidden is a 403 with its substatus, which IIS writes on the page.
func forbidden(substatus int) reply {
	return reply{
		code: http.StatusForbidden, contentType: htmlType, win32: win32AccessDenied,
		body: iisBody("HTTP Error 403." + strconv.Itoa(substatus) + " - Forbidden"),
	}
}

// fault is how a page fails.
func (c *Conditions) fault(file string) PageFault {
	switch file {
	case "/certsrv":
		return c.Login
	case "/certsrv/certrqxt.asp", "/certsrv/certrqma.asp":
		return c.TemplateList
	case "/certsrv/certcarc.asp":
		return c.CACertificates
	case "/certsrv/certnew.cer", "/certsrv/certnew.p7b":
		return c.Certificate
	case "/certsrv/certcrl.crl":
		return c.CRL
	}
	return ""
}

// faulty is rep as it comes when its page fails.
func (rep reply) faulty(f PageFault) reply {
	switch f {
	case "":
		return rep
	case FaultDrop, FaultTruncate, FaultReset:
		rep.breaks = f
		return rep
	}
	code, err := strconv.Atoi(string(f))
	if err != nil {
		return rep // check lets nothing else through
	}
	return iisReply(code, 0)
}

// write sends rep with the headers of IIS and, for pages, of ASP.
func (s *Server) write(w http.ResponseWriter, r *http.Request, rep reply) {
	h := w.Header()
	h.Set("Server", "Microsoft-IIS/10.0")
	h.Set("X-Powered-By", "ASP.NET")
	h.Set("Content-Type", rep.contentType)
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	body := rep.body
	if rep.breaks != "" {
		body = body[:len(body)/2]
	}
	if rep.location != "" {
		h.Set("Location", rep.location)
	}
	if rep.asp {
		h.Set("Cache-Control", "private")
		if !strings.Contains(r.Header.Get("Cookie"), "ASPSESSIONID") {
			s.setSession(h, r.TLS != nil)
		}
	}
	w.WriteHeader(rep.code)
	if _, err := w.Write(body); err != nil {
		s.log.Debug("answer not written", slog.String("peer", r.RemoteAddr), slog.Any("err", err))
	}
}

// setSession gives a new client ASP's session cookie: letters only, nothing that the server would ask for again.
func (s *Server) setSession(h http.Header, secure bool) {
	var random [32]byte
	if err := s.read(random[:]); err != nil {
		s.log.Error("no randomness", slog.Any("err", err))
		return
	}
	for i := range random {
		random[i] = 'A' + random[i]%26
	}
	cookie := "ASPSESSIONID" + string(random[:8]) + "=" + string(random[8:]) + "; "
	if secure {
		cookie += "secure; "
	}
	h.Set("Set-Cookie", cookie+"path=/")
}

// route answers an authenticated request. file is the path in lower case: IIS does not distinguish.
func (s *Server) route(r *http.Request, file, user string) reply {
	query := parseForm(r.URL.RawQuery)
	switch file {
	case "/certsrv":
		if strings.HasSuffix(r.URL.Path, "/") {
			return htmlReply(s.welcomePage())
		}
		return s.moved(r)
	case "/certsrv/default.asp":
		return htmlReply(s.welcomePage())
	case "/certsrv/certrqus.asp":
		return htmlReply(s.menuPage("certrqbi.asp", "certrqad.asp"))
	case "/certsrv/certrqad.asp":
		return htmlReply(s.menuPage("certrqma.asp", "certrqxt.asp"))
	case "/certsrv/certrqxt.asp", "/certsrv/certrqma.asp":
		return htmlReply(s.requestPage(user))
	case "/certsrv/certfnsh.asp":
		return s.finish(r, user)
	case "/certsrv/certnew.cer":
		return s.certificate(r, query, user)
	case "/certsrv/certnew.p7b":
		return s.chain(r, query, user)
	case "/certsrv/certcrl.crl":
		return s.crl(r.Context(), query)
	case "/certsrv/certcarc.asp":
		if s.rpcDown() {
			return s.unreachable("", "")
		}
		return htmlReply(s.caPage())
	case "/certsrv/certckpn.asp":
		return htmlReply(s.pendingListPage())
	case "/certsrv/certrmpn.asp":
		return htmlReply(s.removedPage())
	}
	return iisReply(http.StatusNotFound, win32FileNotFound)
}

func (s *Server) moved(r *http.Request) reply {
	scheme := "https"
	if r.TLS == nil && s.cfg.Host == "" {
		scheme = "http"
	}
	location := scheme + "://" + s.host(r) + "/certsrv/"
	return reply{code: http.StatusMovedPermanently, contentType: "text/html; charset=UTF-8", location: location, body: movedBody(location)}
}

// unreachable is the page of a web server that cannot reach its CA.
func (s *Server) unreachable(l Lang, mode string) reply {
	if l == "" {
		l = s.lang()
	}
	return htmlReply(s.statusPage(l, status{mode: mode, disposition: DispositionError, result: eRPCUnavailable, last: eRPCUnavailable}))
}

// certificate is certnew.cer: a certificate, or a status page, both with HTTP 200.
func (s *Server) certificate(r *http.Request, query url.Values, user string) reply {
	der, problem := s.requested(r.Context(), query, user)
	if problem != nil {
		return *problem
	}
	contentType := "application/pkix-cert"
	if layoutOf(r.UserAgent()) == layoutText {
		contentType = s.cfg.TextContentType
	}
	return s.encoded(query, "CERTIFICATE", contentType, der[0].Raw)
}

// chain is certnew.p7b: the same with the chain, as a degenerate SignedData.
func (s *Server) chain(r *http.Request, query url.Values, user string) reply {
	certs, problem := s.requested(r.Context(), query, user)
	if problem != nil {
		return *problem
	}
	p7, err := cmc.CertsOnly(certs...)
	if err != nil {
		s.log.Error("PKCS #7 not made", slog.Any("err", err))
		return iisReply(http.StatusInternalServerError, 0)
	}
	return s.encoded(query, "CERTIFICATE", "application/x-pkcs7-certificates", p7)
}

// requested returns the certificate that ReqID asks for with its chain, or the page that says why not.
func (s *Server) requested(ctx context.Context, query url.Values, user string) ([]*x509.Certificate, *reply) {
	if s.rpcDown() {
		down := s.unreachable("", "")
		return nil, &down
	}
	if strings.EqualFold(query.Get("reqid"), "CACert") {
		chains := s.cfg.CA.Certificates()
		k, err := renewalIndex(query, len(chains))
		if err != nil {
			p := s.emptyProperty()
			return nil, &p
		}
		return chains[k], nil
	}
	id, err := strconv.Atoi(strings.TrimSpace(query.Get("reqid")))
	if err != nil {
		p := s.emptyProperty()
		return nil, &p
	}
	e, ok := s.look(ctx, id)
	if !ok {
		p := s.emptyProperty()
		return nil, &p
	}
	if e.Requester != user {
		p := s.notYours("")
		return nil, &p
	}
	if e.Disposition != DispositionIssued {
		p := htmlReply(s.statusPage(s.lang(), status{
			disposition: e.Disposition, message: e.message(s.lang()), last: e.HResult, comInfo: "",
		}))
		return nil, &p
	}
	leaf, err := x509.ParseCertificate(e.Certificate)
	if err != nil {
		s.log.Error("stored certificate unreadable", slog.String("request_id", strconv.Itoa(id)), slog.Any("err", err))
		p := iisReply(http.StatusInternalServerError, 0)
		return nil, &p
	}
	return append([]*x509.Certificate{leaf}, s.issuers(leaf)...), nil
}

// issuers returns the chain above leaf: that of the newest CA certificate that signed it.
func (s *Server) issuers(leaf *x509.Certificate) []*x509.Certificate {
	chains := s.cfg.CA.Certificates()
	for _, chain := range slices.Backward(chains) {
		if leaf.CheckSignatureFrom(chain[0]) == nil {
			return chain
		}
	}
	return chains[len(chains)-1]
}

// emptyProperty is the answer for an id or an index that does not exist.
func (s *Server) emptyProperty() reply {
	return htmlReply(s.statusPage(s.lang(), status{disposition: DispositionError, result: ePropertyEmpty, last: ePropertyEmpty}))
}

// notYours is the answer for a request that another account made.
func (s *Server) notYours(mode string) reply {
	return htmlReply(s.statusPage(s.lang(), status{
		mode: mode, disposition: DispositionDenied, message: s.lang().words().notYours, result: eAccessDenied, last: eAccessDenied,
	}))
}

func (s *Server) renewals() int { return len(s.cfg.CA.Certificates()) - 1 }

// renewalIndex reads the Renewal parameter: 0 when missing, and -1 is the newest, as python-certsrv sends it.
func renewalIndex(query url.Values, n int) (int, error) {
	v := query.Get("renewal")
	if v == "" {
		return 0, nil
	}
	k, err := strconv.Atoi(v)
	if err == nil && k == -1 {
		return n - 1, nil
	}
	if err != nil || k < 0 || k >= n {
		return 0, fmt.Errorf("no CA certificate with renewal index %q", v)
	}
	return k, nil
}

func (s *Server) crl(ctx context.Context, query url.Values) reply {
	source, ok := s.cfg.CA.(CRLSource)
	if !ok {
		return iisReply(http.StatusNotFound, win32FileNotFound)
	}
	if s.rpcDown() {
		return s.unreachable("", "")
	}
	k, err := renewalIndex(query, s.renewals()+1)
	if err != nil {
		return s.emptyProperty()
	}
	der, err := source.CRL(ctx, k, strings.EqualFold(query.Get("type"), "delta"))
	if err != nil {
		s.log.Info("no CRL", slog.Any("err", err))
		return s.emptyProperty()
	}
	return s.encoded(query, "X509 CRL", "application/pkix-crl", der)
}

// encoded answers DER for Enc=bin and PEM for everything else.
func (s *Server) encoded(query url.Values, kind, contentType string, der []byte) reply {
	if other := s.present().ContentType; other != "" {
		contentType = other
	}
	rep := reply{contentType: contentType, body: der, asp: true}
	if !strings.EqualFold(query.Get("enc"), "bin") {
		rep.body = pemCRLF(kind, der)
	}
	return rep
}

// wait blocks for d, or for ever when d is 0. It fails when the client or the server goes away first.
func (s *Server) wait(ctx context.Context, d time.Duration) error {
	var expired <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-expired:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return errors.New("server closed")
	}
}

func hexSerial(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }
