package winauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"
)

// Login authenticates the connection with a GET of r.Path; r has no body and no other method. The answer is that of the
// authenticated request, whatever its status but 401 and 403; a redirect is not followed. From then on Do sends authenticated
// requests.
//
// Errors are *Error: KindNotAuthenticated for a refused login, KindForbidden for 403, KindNotAsked when the server
// answered an NTLM login without a challenge (so the password was never looked at), KindTimeout when all legs together
// took longer than the LoginTimeout, KindProtocol with the Status when an NTLM login met 404 or a server error instead of
// a challenge. The connection is closed after an error.
func (c *Conn) Login(ctx context.Context, r Request, creds Credentials) (*Response, error) {
	if err := creds.Validate(); err != nil {
		c.fail()
		return nil, err
	}
	if r.Method != "" && r.Method != http.MethodGet || r.Body != nil {
		c.fail()
		return nil, &Error{Kind: KindProtocol, Phase: PhaseLogin, URL: c.URL(r.Path), Err: errBody}
	}
	l := login{c: c, r: r, user: creds.User, start: time.Now()}
	var resp *Response
	var err error
	if creds.Method == Basic {
		resp, err = l.basic(ctx, creds)
	} else {
		resp, err = l.ntlm(ctx, creds)
	}
	if err != nil {
		c.fail()
		if e, ok := errors.AsType[*Error](err); ok {
			e.User = creds.User
		}
		return nil, err
	}
	return resp, nil
}

var (
	errBody      = errors.New("a login is a GET without body")
	errPlain     = errors.New("Basic would send the password in the clear: use https")
	errNoScheme  = errors.New("the server offers neither NTLM nor Negotiate")
	errNoToken   = errors.New("the server sent no NTLM challenge")
	errDisorder  = errors.New("the server closed the connection between the legs of the login")
	errAnonymous = errors.New("the request was answered without a challenge")
)

// login is one run of the handshake.
type login struct {
	c     *Conn
	r     Request
	user  string
	start time.Time
}

func (l *login) leg(ctx context.Context, authorization string) (*Response, error) {
	return l.c.exchange(ctx, PhaseLogin, l.r, authorization, l.start, l.c.d.loginTimeout())
}

func (l *login) basic(ctx context.Context, creds Credentials) (*Response, error) {
	if !l.c.secure {
		return nil, l.refused(KindCredentials, nil, errPlain)
	}
	value := "Basic " + base64.StdEncoding.EncodeToString([]byte(creds.User+":"+creds.Password.reveal()))
	resp, err := l.leg(ctx, value)
	if err != nil {
		return nil, err
	}
	if resp, err = l.verdict(resp); err != nil {
		return nil, err
	}
	l.c.authorization = value
	return resp, nil
}

// ntlm runs the three messages. It sends at most three requests: when the server turns the scheme NTLM down and offers
// Negotiate alone, the first leg is repeated once in that scheme.
func (l *login) ntlm(ctx context.Context, creds Credentials) (*Response, error) {
	var m mechanism = ntlm{creds: creds}
	scheme := "NTLM"
	token, err := m.first()
	if err != nil {
		return nil, l.refused(KindProtocol, nil, err)
	}
	resp, err := l.leg(ctx, scheme+" "+token)
	if err != nil {
		return nil, err
	}
	if resp.Status == http.StatusUnauthorized {
		list := offers(resp.Header)
		_, hasNTLM := find(list, "NTLM")
		_, hasNegotiate := find(list, "Negotiate")
		if !hasNTLM && hasNegotiate && !l.c.closed {
			scheme = "Negotiate"
			if resp, err = l.leg(ctx, scheme+" "+token); err != nil {
				return nil, err
			}
		}
	}
	challenge, err := l.challenge(resp, scheme)
	if err != nil {
		return nil, err
	}
	if token, err = m.next(challenge); err != nil {
		return nil, l.refused(KindProtocol, resp, err)
	}
	if l.c.closed {
		return nil, l.refused(KindLost, resp, errDisorder)
	}
	if resp, err = l.leg(ctx, scheme+" "+token); err != nil {
		return nil, err
	}
	return l.verdict(resp)
}

// challenge returns the server's token of the first leg's answer.
func (l *login) challenge(resp *Response, scheme string) (string, error) {
	switch {
	case resp.Status == http.StatusForbidden:
		return "", l.refused(KindForbidden, resp, nil)
	case resp.Status >= http.StatusInternalServerError, resp.Status == http.StatusNotFound:
		return "", l.refused(KindProtocol, resp, errors.New(http.StatusText(resp.Status)))
	case resp.Status != http.StatusUnauthorized:
		return "", l.refused(KindNotAsked, resp, errAnonymous)
	}
	o, ok := find(offers(resp.Header), scheme)
	switch {
	case !ok:
		return "", l.refused(KindNotAuthenticated, resp, errNoScheme)
	case o.token == "":
		return "", l.refused(KindNotAuthenticated, resp, errNoToken)
	}
	return o.token, nil
}

// verdict judges the answer of the last leg.
func (l *login) verdict(resp *Response) (*Response, error) {
	switch resp.Status {
	case http.StatusUnauthorized:
		return nil, l.refused(KindNotAuthenticated, resp, nil)
	case http.StatusForbidden:
		return nil, l.refused(KindForbidden, resp, nil)
	}
	return resp, nil
}

func (l *login) refused(kind Kind, resp *Response, err error) error {
	e := &Error{Kind: kind, Phase: PhaseLogin, URL: l.c.URL(l.r.Path), User: l.user, Elapsed: time.Since(l.start), Err: err}
	if resp != nil {
		e.Sent = true
		e.Status = resp.Status
		e.Received = len(resp.Body)
		e.Location = resp.Header.Get("Location")
		e.Body = resp.Body[:min(len(resp.Body), maxErrorBody)]
		e.Offered = schemes(offers(resp.Header))
	}
	return e
}
