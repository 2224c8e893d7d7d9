package winauth

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
)

// Login authenticates the connection with a GET of r.Path; r has no body and no other method. The answer is that of the
// authenticated request, whatever its status but 401 and 403; a redirect is not followed. From then on Do sends authenticated
// requests.
//
// Errors are *Error: KindNotAuthenticated for a refused login, KindForbidden for 403, KindNotAsked when the server
// answered an NTLM login without a challenge (so the password was never looked at), KindTimeout when all legs together
// took longer than the LoginTimeout, KindProtocol with the Status when an NTLM login met 404 or a server error instead of
// a challenge; with Negotiate also what keeps the domain controllers from giving a ticket (KindKDC to KindKeytab). The
// connection is closed after an error.
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
	switch creds.Method {
	case Basic:
		resp, err = l.basic(ctx, creds)
	case Negotiate:
		resp, err = l.kerberos(ctx, creds)
	case NTLM:
		resp, err = l.ntlm(ctx, creds)
	}
	if err != nil {
		c.fail()
		if e, ok := errors.AsType[*Error](err); ok {
			e.User = cmp.Or(e.User, creds.User)
			e.bound = creds.Method != Basic && c.target().binding != nil
		}
		return nil, err
	}
	return resp, nil
}

var (
	errBody      = errors.New("a login is a GET without body")
	errPlain     = errors.New("Basic would send the password in the clear: use https")
	errNoBasic   = errors.New("the server does not offer Basic")
	errNoScheme  = errors.New("the server offers neither NTLM nor Negotiate")
	errNoToken   = errors.New("the server sent no NTLM challenge")
	errDisorder  = errors.New("the server closed the connection between the legs of the login")
	errAnonymous = errors.New("the request was answered without a challenge")

	errOnlyKerberos  = errors.New("the server negotiates, and answers NTLM without a challenge: it takes Kerberos only")
	errNoNegotiate   = errors.New("the server does not offer Negotiate, which Kerberos needs")
	errWantsNTLM     = errors.New("the server wants NTLM inside Negotiate and no Kerberos ticket")
	errTicketRefused = errors.New("the server refused the Kerberos ticket")
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
	if list := offers(resp.Header); resp.Status == http.StatusUnauthorized && len(list) > 0 {
		if _, ok := find(list, "Basic"); !ok {
			return nil, l.notOffered(resp, errNoBasic, "install the feature Basic Authentication on the web server (Web-Basic-Auth), which it has not by default, and switch it on for certsrv; or log in by a method that it offers")
		}
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
	m := ntlm{creds: creds, target: l.c.target()}
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
		return nil, l.ended(ctx, resp)
	}
	if resp, err = l.leg(ctx, scheme+" "+token); err != nil {
		return nil, err
	}
	return l.verdict(resp)
}

// ended says why the connection did not last until the next leg.
func (l *login) ended(ctx context.Context, resp *Response) error {
	if l.c.overtaken == nil {
		return l.refused(KindLost, resp, errDisorder)
	}
	return l.c.failed(ctx, &Error{Phase: PhaseLogin, URL: l.c.URL(l.r.Path), Sent: true}, l.start, l.c.overtaken)
}

// kerberos sends a ticket, once; and once more with a new one when the server says that it has expired.
func (l *login) kerberos(ctx context.Context, creds Credentials) (*Response, error) {
	t := l.c.target()
	for again := false; ; again = true {
		resp, expired, err := l.present(ctx, creds.Kerberos, t)
		if expired && !again && !l.c.closed {
			continue
		}
		return resp, err
	}
}

// present shows a ticket to the web server.
func (l *login) present(ctx context.Context, k *Kerberos, t target) (_ *Response, expired bool, _ error) {
	bounded, cancel := context.WithDeadline(ctx, l.start.Add(l.c.d.loginTimeout()))
	defer cancel()
	tkt, err := k.ticket(bounded, t.spn)
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if ok && e.URL == "" {
			e.URL, e.Elapsed = l.c.URL(l.r.Path), time.Since(l.start)
		}
		return nil, false, err
	}
	proof := kerberosLogin{ticket: tkt}
	token, err := proof.token(t.binding)
	if err != nil {
		return nil, false, l.refused(KindProtocol, nil, err)
	}
	resp, err := l.leg(ctx, "Negotiate "+token)
	if err != nil {
		return nil, false, err
	}
	o, offered := find(offers(resp.Header), "Negotiate")
	var a answer
	if o.token != "" {
		b, err := decodeToken(o.token)
		if err == nil {
			a, err = parseAnswer(b)
		}
		if err != nil {
			return nil, false, l.refused(KindProtocol, resp, errToken)
		}
	}
	if resp.Status == http.StatusUnauthorized {
		k.forget(t.spn, tkt) // a key of the web server may have changed since the ticket was made
		e := l.notAccepted(resp, offered, a)
		refusal := a.refusal()
		return nil, refusal != nil && refusal.ErrorCode == errorcode.KRB_AP_ERR_TKT_EXPIRED, e
	}
	if resp, err = l.verdict(resp); err != nil {
		return nil, false, err
	}
	// Without a token TLS alone says who the server is.
	if a.message == tokenAPRep {
		if err := proof.prove(a); err != nil {
			return nil, false, l.refused(KindProtocol, resp, err)
		}
	}
	return resp, false, nil
}

// notAccepted explains a 401 to a ticket.
func (l *login) notAccepted(resp *Response, offered bool, a answer) error {
	refusal := a.refusal()
	switch {
	case refusal != nil && (refusal.ErrorCode == errorcode.KRB_AP_ERR_SKEW || refusal.ErrorCode == errorcode.KRB_AP_ERR_TKT_NYV):
		return l.refused(KindClockSkew, resp, skew("the web server", refusal.STime, time.Now()))
	case refusal != nil && unreadable(refusal.ErrorCode):
		e := l.refusal(KindNotAuthenticated, resp, errors.New(refusal.text()))
		e.fix = "the web server cannot read the ticket: the service principal name belongs to another account than the one that its application pool runs as (setspn -Q " + l.c.target().spn + "), or the password of that account was changed on one domain controller only"
		return e
	case refusal != nil:
		return l.ticketRefused(resp, errors.New(refusal.text()))
	case !offered:
		return l.notOffered(resp, errNoNegotiate, enableKerberos)
	case a.mechanism.Equal(oidNTLM):
		return l.notOffered(resp, errWantsNTLM, enableKerberos)
	}
	return l.ticketRefused(resp, errTicketRefused)
}

// unreadable tells whether a KRB-ERROR says that the server has no key for the ticket.
func unreadable(code int32) bool {
	return slices.Contains([]int32{
		errorcode.KRB_AP_ERR_MODIFIED, errorcode.KRB_AP_ERR_BAD_INTEGRITY, errorcode.KRB_AP_ERR_BADKEYVER, errorcode.KRB_AP_ERR_NOKEY,
		errorcode.KRB_AP_ERR_NOT_US,
	}, code)
}

// ticketRefused is the refusal of a good ticket: whatever is wrong, it is not the password.
func (l *login) ticketRefused(resp *Response, err error) error {
	e := l.refusal(KindNotAuthenticated, resp, err)
	e.bound = l.c.target().binding != nil
	e.fix = "the domain controller gave a ticket, so the password is right: check that the account may log in to the web server, that the server's Negotiate does not mean NTLM only, and the clocks; " +
		"the server may require Extended Protection: " + e.protection() + "; IIS logs why (sc-win32-status: 2148074310 is a wrong channel binding, 2148074252 a refused account)"
	return e
}

// What to do when the server does not have the method of the credentials.
const (
	enableKerberos = "switch Windows Authentication on for certsrv, with the provider Negotiate above NTLM (IIS Manager, Authentication, Providers)"
	takeBasic      = "log in by Basic, or switch Windows Authentication on for certsrv (IIS Manager, Authentication)"
	leaveNTLM      = "log in by Kerberos, which a server that refuses NTLM wants; or let it take NTLM (IIS Manager, Authentication, Providers, and the policies Network security: Restrict NTLM)"
)

// notOffered is the refusal of a method that the server does not have: user name and password do not matter.
func (l *login) notOffered(resp *Response, err error, fix string) error {
	e := l.refusal(KindNotAuthenticated, resp, err)
	e.fix = fix
	if len(e.Offered) > 0 {
		e.fix += "; the server offers " + strings.Join(e.Offered, ", ")
	}
	return e
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
		fix := leaveNTLM
		if _, basic := find(offers(resp.Header), "Basic"); basic {
			fix = takeBasic
		}
		return "", l.notOffered(resp, errNoScheme, fix)
	case o.token == "" && strings.EqualFold(scheme, "Negotiate"):
		return "", l.notOffered(resp, errOnlyKerberos, leaveNTLM)
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
	return l.refusal(kind, resp, err)
}

func (l *login) refusal(kind Kind, resp *Response, err error) *Error {
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
