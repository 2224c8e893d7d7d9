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
	asp         bool   // answered by an ASP page: session cookie, Cache-Control
	cookie      string // set beside the session's
	win32       uint32
	breakage    breakage
	data        bool // a certificate, a chain or a CRL
	notIIS      bool // answered by something in front of IIS, which then logs nothing
}

const (
	htmlType     = "text/html"
	redirectType = "text/html; charset=UTF-8"
	maxHits      = 64 // distinct paths that are counted; there are fewer pages
)

func htmlReply(body []byte) reply { return reply{contentType: htmlType, body: body, asp: true} }

func iisReply(code int, win32 uint32) reply {
	return reply{code: code, contentType: htmlType, body: errorBody(code), win32: win32}
}

// ServeHTTP implements http.Handler: it authenticates, answers one page and writes one IIS log line.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	began := s.now()
	file := strings.ToLower(path.Clean("/" + r.URL.Path))
	s.mu.Lock()
	if _, known := s.hits[file]; known || len(s.hits) < maxHits {
		s.hits[file]++
	}
	s.mu.Unlock()

	c := s.present()
	l, rep := s.answer(r, file, c)
	if rep.code == 0 {
		rep.code = http.StatusOK
	}
	if rep.win32 == 0 && r.Context().Err() != nil {
		rep.win32 = win32NetnameGone
	}
	now := s.now()
	if !rep.notIIS {
		if err := s.iis.write(now, iisLine(r, l.user, rep.code, l.substatus, rep.win32, began, now)); err != nil {
			s.log.Error("IIS log not written", slog.Any("err", err))
		}
	}
	s.write(w, r, rep, l, c)
}

// answer authenticates a request and answers it. file is the path in lower case: IIS does not distinguish.
func (s *Server) answer(r *http.Request, file string, c Conditions) (login, reply) {
	if l, rep, refused := s.before(r, c); refused {
		return l, rep
	}
	l := s.authenticate(r, c) //nolint:contextcheck // the context is that of r
	switch {
	case c.SlowLogin > 0 && s.over(r.Context()):
		return l, gone()
	case l.headers != nil:
		return l, iisReply(http.StatusUnauthorized, l.win32)
	case c.Refusal == RefuseACL:
		l.substatus, l.headers = 3, s.schemes(c).offers(s.host(r))
		return l, deniedByACL()
	case c.Redirect != "":
		return l, reply{code: http.StatusFound, contentType: redirectType, location: c.Redirect, body: movedBody(c.Redirect)}
	}
	if file != "/certsrv" && s.pause(r.Context(), c.SlowPages) != nil {
		return l, gone()
	}
	rep := s.route(r, file, l.user)
	return l, c.spoil(file, rep)
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
		return htmlReply(s.pendingListPage(remembered(r)))
	case "/certsrv/certrmpn.asp":
		return s.forget(r, query)
	}
	return iisReply(http.StatusNotFound, win32FileNotFound)
}

func (s *Server) moved(r *http.Request) reply {
	scheme := "https"
	if r.TLS == nil && s.cfg.Host == "" {
		scheme = "http"
	}
	location := scheme + "://" + s.host(r) + "/certsrv/"
	return reply{code: http.StatusMovedPermanently, contentType: redirectType, location: location, body: movedBody(location)}
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
	return encoded(query, "CERTIFICATE", contentType, der[0].Raw)
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
	return encoded(query, "CERTIFICATE", "application/x-pkcs7-certificates", p7)
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
	return encoded(query, "X509 CRL", "application/pkix-crl", der)
}

// encoded answers DER for Enc=bin and PEM for everything else.
func encoded(query url.Values, kind, contentType string, der []byte) reply {
	rep := reply{contentType: contentType, body: der, asp: true, data: true}
	if !strings.EqualFold(query.Get("enc"), "bin") {
		rep.body = pemCRLF(kind, der)
	}
	return rep
}

// over tells whether the client or the server has gone away.
func (s *Server) over(ctx context.Context) bool {
	select {
	case <-s.closed:
		return true
	default:
		return ctx.Err() != nil
	}
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
