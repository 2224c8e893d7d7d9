package certsrvtest

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
)

// connState is the login of one TCP connection. IIS authenticates the connection: later requests on it carry no header.
// The lock is for http.Servers that would serve two requests of a connection at once; HTTP/1.1 does not.
type connState struct {
	mu           sync.Mutex
	user         string // logged in by NTLM; empty: nobody
	negotiate    []byte // Type 1 of a login that has begun
	challengeMsg []byte // our Type 2
	challenge    [8]byte
}

// reset forgets the login and whatever handshake has begun.
func (c *connState) reset() { c.user, c.negotiate, c.challengeMsg = "", nil, nil }

// login is the result of authentication: a user, or the 401 to answer.
type login struct {
	user      string   // `DOMAIN\user` when logged in; with a refusal the name that IIS logs, mostly none
	headers   []string // WWW-Authenticate of the 401; nil when logged in
	substatus int
	win32     uint32
}

// authenticate logs a request in. Each scheme is one case; Negotiate will be another.
func (s *Server) authenticate(r *http.Request) login {
	conn, _ := r.Context().Value(connKey{}).(*connState)
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case scheme == "":
		if conn != nil {
			conn.mu.Lock()
			defer conn.mu.Unlock()
			if conn.user != "" {
				return login{user: conn.user}
			}
			conn.reset()
		}
		return s.refuse(r, "", 2, win32AccessDenied)
	case strings.EqualFold(scheme, "NTLM") && s.cfg.NTLM:
		return s.ntlm(r, conn, strings.TrimSpace(token))
	case strings.EqualFold(scheme, "Basic") && s.cfg.Basic:
		return s.basic(r)
	}
	return s.refuse(r, "", 2, win32AccessDenied)
}

// refuse makes a 401 that offers every scheme.
func (s *Server) refuse(r *http.Request, user string, substatus int, win32 uint32) login {
	l := login{user: user, substatus: substatus, win32: win32}
	if s.cfg.NTLM {
		l.headers = append(l.headers, "NTLM")
	}
	if s.cfg.Basic {
		l.headers = append(l.headers, `Basic realm="`+strings.NewReplacer(`"`, "", `\`, "").Replace(s.host(r))+`"`)
	}
	return l
}

// ntlm goes one leg of an NTLM login.
func (s *Server) ntlm(r *http.Request, conn *connState, token string) login {
	msg, err := base64.StdEncoding.DecodeString(token)
	kind := ntlmType(msg)
	if conn == nil || err != nil || (kind != 1 && kind != 3) {
		return s.refuse(r, "", 1, secInvalidToken)
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if kind == 1 {
		return s.ntlmChallenge(r, conn, msg)
	}
	negotiate, challengeMsg := conn.negotiate, conn.challengeMsg
	conn.reset() // a challenge is good for one answer
	if negotiate == nil {
		return s.refuse(r, "", 1, secInvalidToken)
	}
	a, err := parseAuthenticate(msg)
	if err != nil {
		return s.refuse(r, "", 1, secInvalidToken)
	}
	u := s.findUser(a.domain, a.user)
	password := ""
	if u != nil {
		password = u.Password
	}
	err = a.verify(password, conn.challenge, negotiate, challengeMsg, msg)
	switch {
	case errors.Is(err, errNTLMMalformed):
		return s.refuse(r, "", 1, secInvalidToken)
	case err != nil || u == nil || u.State != AccountOK:
		s.log.Info("login refused", slog.String("user", a.domain+`\`+a.user), slog.String("peer", r.RemoteAddr))
		return s.refuse(r, "", 1, secLogonDenied)
	}
	conn.user = s.canonical(u)
	return login{user: conn.user}
}

// ntlmChallenge answers Type 1 with Type 2: the 401 that IIS logs once per login.
func (s *Server) ntlmChallenge(r *http.Request, conn *connState, msg []byte) login {
	conn.reset()
	flags, err := negotiateFlags(msg)
	if err != nil {
		return s.refuse(r, "", 1, secInvalidToken)
	}
	if err := s.read(conn.challenge[:]); err != nil {
		s.log.Error("no randomness", slog.Any("err", err))
		return s.refuse(r, "", 1, secInvalidToken)
	}
	names := ntlmNames{domain: s.cfg.Domain, computer: s.cfg.Computer, dnsDomain: s.cfg.DNSDomain}
	conn.negotiate = msg
	conn.challengeMsg = challengeMessage(flags, conn.challenge, names, s.now())
	return login{
		headers: []string{"NTLM " + base64.StdEncoding.EncodeToString(conn.challengeMsg)}, substatus: 1, win32: secNoCredentials,
	}
}

// basic checks name and password of one request. IIS logs the name as it was typed.
func (s *Server) basic(r *http.Request) login {
	name, password, ok := r.BasicAuth()
	if !ok {
		return s.refuse(r, "", 2, win32AccessDenied)
	}
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		domain, user = "", name
	}
	u := s.findUser(domain, user)
	if u == nil || subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) != 1 {
		return s.refuse(r, name, 1, win32LogonFailure)
	}
	switch u.State {
	case AccountOK:
		return login{user: s.canonical(u)}
	case AccountMustChange:
		return s.refuse(r, name, 1, win32MustChange)
	case AccountLocked:
		return s.refuse(r, name, 1, win32LockedOut)
	case AccountDisabled:
	}
	return s.refuse(r, name, 1, win32Disabled)
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
