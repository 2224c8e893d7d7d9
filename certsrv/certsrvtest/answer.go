package certsrvtest

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// breakage is how an answer fails on its way.
type breakage int

const (
	whole     breakage = iota
	dropped            // the connection ends in place of the answer
	truncated          // it ends in the middle of the body
	wasReset           // it is reset there
)

// write sends rep with the headers of IIS and, for pages, of ASP.
func (s *Server) write(w http.ResponseWriter, r *http.Request, rep reply, l login, c Conditions) {
	if rep.breakage == dropped {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for _, line := range l.headers {
		h.Add("WWW-Authenticate", line)
	}
	if l.final != "" {
		h.Add("WWW-Authenticate", l.final)
	}
	if !rep.notIIS {
		h.Set("Server", "Microsoft-IIS/10.0")
		h.Set("X-Powered-By", "ASP.NET")
	}
	h.Set("Content-Type", rep.contentType)
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	if rep.location != "" {
		h.Set("Location", rep.location)
	}
	if rep.asp {
		h.Set("Cache-Control", "private")
		if !strings.Contains(r.Header.Get("Cookie"), "ASPSESSIONID") {
			s.setSession(h, r.TLS != nil)
		}
	}
	if rep.cookie != "" {
		h.Add("Set-Cookie", rep.cookie)
	}
	if c.NoKeepAlive {
		h.Set("Connection", "close")
	}
	w.WriteHeader(rep.code)
	body := rep.body
	if rep.breakage != whole {
		body = body[:len(body)/2]
	}
	if _, err := w.Write(body); err != nil {
		s.log.Debug("answer not written", slog.String("peer", r.RemoteAddr), slog.Any("err", err))
	}
	if rep.breakage == whole && (!c.CloseConnections || rep.code == http.StatusUnauthorized) {
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		s.log.Debug("answer not written", slog.String("peer", r.RemoteAddr), slog.Any("err", err))
	}
	if rep.breakage == wasReset {
		connOf(r).abort()
	}
	panic(http.ErrAbortHandler) // net/http then closes the connection, after what was flushed
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

// before answers what never comes as far as the login.
func (s *Server) before(r *http.Request, c Conditions) (login, reply, bool) {
	switch {
	case c.Refusal == RefusePoolDown:
		body := []byte("<HTML><HEAD><TITLE>Service Unavailable</TITLE></HEAD><BODY><h2>Service Unavailable</h2></BODY></HTML>\r\n")
		return login{}, reply{code: http.StatusServiceUnavailable, contentType: "text/html; charset=us-ascii", body: body, notIIS: true}, true
	case c.Refusal == RefuseSignIn:
		return login{}, reply{contentType: redirectType, body: signInBody, notIIS: true}, true
	case c.Refusal == RefuseNoTLS, s.cfg.RequireTLS && r.TLS == nil:
		return login{substatus: 4}, forbidden(4), true
	case c.Refusal == RefuseNoClientCert:
		return login{substatus: 7}, forbidden(7), true
	}
	return login{}, reply{}, false
}

// deniedByACL is the page of 401.3.
func deniedByACL() reply {
	return reply{
		code: http.StatusUnauthorized, contentType: htmlType, win32: win32AccessDenied,
		body: iisBody("HTTP Error 401.3 - Unauthorized"),
	}
}

// forbidden is a 403 with its substatus, which IIS writes on the page.
func forbidden(substatus int) reply {
	body := iisBody("HTTP Error 403." + strconv.Itoa(substatus) + " - Forbidden")
	return reply{code: http.StatusForbidden, contentType: htmlType, win32: win32AccessDenied, body: body}
}

// signInBody is a page of a proxy that wants its own users to sign in.
var signInBody = []byte("<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body><h1>Corporate gateway</h1>\n" +
	"<form method=\"post\" action=\"/gateway/sign-in\"><input name=\"user\"><input name=\"password\" type=\"password\"><button>Sign in</button></form>\n" +
	"</body></html>\n")

// spoil makes of the answer to file what the conditions want of it.
func (c *Conditions) spoil(file string, rep reply) reply {
	fault := PageFault("")
	switch file {
	case "/certsrv":
		if rep.code == http.StatusMovedPermanently {
			fault = c.Login
		}
	case "/certsrv/certrqxt.asp", "/certsrv/certrqma.asp":
		fault = c.TemplateList
	case "/certsrv/certcarc.asp":
		fault = c.CACertificates
	case "/certsrv/certnew.cer", "/certsrv/certnew.p7b":
		fault = c.Certificate
	case "/certsrv/certcrl.crl":
		fault = c.CRL
	}
	if c.ContentType != "" && rep.data {
		rep.contentType = c.ContentType
	}
	switch fault {
	case "":
	case FaultDrop:
		rep.breakage, rep.win32 = dropped, win32NetnameGone
	case FaultTruncate:
		rep.breakage, rep.win32 = truncated, win32NetnameGone
	case FaultReset:
		rep.breakage, rep.win32 = wasReset, win32NetnameGone
	default:
		code, _ := strconv.Atoi(string(fault))
		win32 := uint32(0)
		switch code {
		case http.StatusNotFound:
			win32 = win32FileNotFound
		case http.StatusForbidden:
			win32 = win32AccessDenied
		}
		return iisReply(code, win32)
	}
	return rep
}
