package certsrvtest

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// login is the result of authentication: a user, or the 401 to answer.
type login struct {
	user      string   // `DOMAIN\user` when logged in; with a refusal the name that IIS logs, mostly none
	headers   []string // WWW-Authenticate of the 401; nil when logged in
	final     string   // WWW-Authenticate of the answer to a login that has succeeded; may be empty
	substatus int
	win32     uint32
}

// authenticate logs a request in.
func (s *Server) authenticate(r *http.Request, c Conditions) login {
	conn := connOf(r)
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if c.Split {
		conn.reset() // this server has not seen the connection before
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	offered := s.schemes(c)
	a := &attempt{s: s, r: r, conn: conn, conditions: c, offered: offered}
	switch {
	case scheme == "" && conn.user != "":
		return login{user: conn.user}
	case scheme == "":
		conn.reset()
	case strings.EqualFold(scheme, "NTLM") && offered.has(schemeNTLM):
		return a.ntlm(token)
	case strings.EqualFold(scheme, "Negotiate") && (offered.has(schemeNegotiate) || offered.has(schemeKerberos)):
		return a.negotiate(token)
	case strings.EqualFold(scheme, "Basic") && offered.has(schemeBasic):
		return a.basic()
	}
	return a.refuse("", 2, win32AccessDenied)
}

// attempt is a request that logs in, with the lock of its connection held.
type attempt struct {
	s          *Server
	r          *http.Request
	conn       *connState
	conditions Conditions
	offered    Schemes
}

// refuse makes a 401 that offers every scheme.
func (a *attempt) refuse(user string, substatus int, win32 uint32) login {
	headers := a.offered.offers(a.s.host(a.r))
	return login{user: user, headers: headers, substatus: substatus, win32: win32}
}

// denied is refuse for credentials that were judged and did not do.
func (a *attempt) denied(user string, win32 uint32) login {
	a.conn.reset()
	a.s.log.Info("login refused", slog.String("user", user), slog.String("peer", a.r.RemoteAddr), slog.Uint64("win32", uint64(win32)))
	return a.refuse("", 1, win32)
}

// admit is a login that succeeded; with it the connection is logged in, unless that was switched off.
func (a *attempt) admit(user, final string) login {
	a.conn.reset()
	if !a.conditions.Reauth {
		a.conn.user = user
	}
	return login{user: user, final: final}
}

// slow waits as long as credentials are to take. It fails when the client gives up meanwhile.
func (a *attempt) slow() error {
	return a.s.pause(a.r.Context(), a.conditions.SlowLogin)
}

// pause is wait for a duration that may be 0, for no time.
func (s *Server) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	return s.wait(ctx, d)
}

// ntlm goes one leg of a login with the scheme NTLM.
func (a *attempt) ntlm(token string) login {
	msg, err := base64.StdEncoding.DecodeString(token)
	if err != nil || ntlmType(msg) == 0 {
		a.conn.reset()
		return a.refuse("", 1, secInvalidToken)
	}
	step := a.ntlmStep(msg)
	switch {
	case step.win32 != 0:
		return a.denied(step.user, step.win32)
	case step.challenge != nil:
		return challengeLogin("NTLM", step.challenge)
	}
	return a.admit(step.user, "")
}

// challengeLogin is the 401 that IIS logs once per login: a leg is in progress.
func challengeLogin(scheme string, token []byte) login {
	return login{headers: []string{scheme + " " + base64.StdEncoding.EncodeToString(token)}, substatus: 1, win32: secNoCredentials}
}

// basic checks name and password of one request. IIS logs the name as it was typed.
func (a *attempt) basic() login {
	name, password, ok := a.r.BasicAuth()
	if !ok {
		return a.refuse("", 2, win32AccessDenied)
	}
	if a.slow() != nil {
		return a.refuse(name, 1, win32LogonFailure)
	}
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		domain, user = "", name
	}
	u := a.s.findUser(domain, user)
	if u == nil || subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) != 1 || a.conditions.Refusal == RefuseLogin {
		return a.refuse(name, 1, win32LogonFailure)
	}
	switch u.State {
	case AccountOK:
		return login{user: a.s.canonical(u)}
	case AccountMustChange:
		return a.refuse(name, 1, win32MustChange)
	case AccountLocked:
		return a.refuse(name, 1, win32LockedOut)
	case AccountDisabled:
	}
	return a.refuse(name, 1, win32Disabled)
}

// findUser looks an account up by `DOMAIN\user`, by user@dns.domain (also with an empty domain, as clients send it), or by
// the bare name in the server's own domain. NetBIOS and DNS names of the domain both do. Case does not matter.
func (s *Server) findUser(domain, user string) *User {
	if domain == "" {
		if name, dns, ok := strings.Cut(user, "@"); ok {
			user, domain = name, dns
		}
	}
	if domain == "" || strings.EqualFold(domain, s.cfg.DNSDomain) {
		domain = s.cfg.Domain
	}
	for i := range s.cfg.Users {
		if strings.EqualFold(s.canonical(&s.cfg.Users[i]), domain+`\`+user) {
			return &s.cfg.Users[i]
		}
	}
	return nil
}

// canonical returns `DOMAIN\user`.
func (s *Server) canonical(u *User) string { return s.qualify(u.Name) }

func (s *Server) qualify(name string) string {
	if strings.Contains(name, `\`) {
		return name
	}
	return s.cfg.Domain + `\` + name
}

// host returns the host of links and the Basic realm.
func (s *Server) host(r *http.Request) string {
	if s.cfg.Host != "" {
		return s.cfg.Host
	}
	if r.TLS != nil {
		return strings.TrimSuffix(r.Host, ":443")
	}
	return strings.TrimSuffix(r.Host, ":80")
}
