package ra

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"callsign/est"
	"callsign/internal/ca"
)

// unauthorized is what the original says to whoever may not enter, and all that it says.
const unauthorized = "The server was unable to authorize the request."

// Authenticate implements est.Backend. Where a certificate or a password will do, a valid client certificate is enough and
// otherwise the password must be right: a client certificate that does not verify does not spoil a right password, but
// the refusal names it when there is none.
func (a *RA) Authenticate(ctx context.Context, c est.Credentials) (est.Identity, error) {
	l, refused := a.label(c.Label)
	if refused != nil {
		return est.Identity{}, refused
	}
	who, err := a.identify(ctx, l, c)
	if err != nil {
		return est.Identity{}, err
	}
	if name := l.clientOf(who); !who.Relays && !l.clients.may(name) {
		return est.Identity{}, &est.Error{
			Status: http.StatusForbidden, ErrCode: CodeClientDenied, Text: fmt.Sprintf("the client %q may not enrol here", clip(name)),
			Fix: fmt.Sprintf("add the name, or a pattern for it, to %s; or let the client use the label that is meant for it", l.key("clients")),
		}
	}
	return who, nil
}

// identify finds out who the caller is.
func (a *RA) identify(ctx context.Context, l *label, c est.Credentials) (est.Identity, error) {
	renewal := c.Operation == opReenroll
	var who est.Identity
	var certErr *est.Error
	if len(c.Certificates) > 0 && (l.Authentication != AuthPassword || renewal) {
		if who, certErr = a.byCertificate(ctx, l, c, renewal); certErr != nil {
			a.log.InfoContext(ctx, "client certificate not accepted", slog.String("op", c.Operation),
				slog.Any("peer", c.Peer), slog.String("subject", c.Certificates[0].Subject.String()),
				slog.String("request_id", c.RequestID), slog.String("code", certErr.ErrCode), slog.String("err", certErr.Error()))
		}
	}
	certified := who.Certificate != nil
	switch {
	case certErr != nil && (renewal || l.Authentication.certificate()):
		return est.Identity{}, certErr
	case certErr != nil && !c.HasPassword:
		if l.takesPasswords(a.c.CompatSequence) && certErr.ErrCode != CodeClientRevoked {
			// A challenge, with the reason: the client may have a password that it shows only when asked. Who was revoked is not
			// asked for another way in.
			certErr.Status = http.StatusUnauthorized
		}
		return est.Identity{}, certErr
	case !certified && (renewal || l.Authentication.certificate()):
		return est.Identity{}, certificateRequired(l, renewal)
	case certified && !l.Authentication.password():
		if renewal && !who.Relays {
			if refused := a.enrolledHere(ctx, l, c); refused != nil {
				return est.Identity{}, refused
			}
		}
		return who, nil
	case !c.HasPassword:
		return est.Identity{}, noCredentials(l)
	}
	user, err := a.password(ctx, l, c)
	if err != nil {
		return est.Identity{}, err
	}
	if certified {
		who.User, who.Password = user.User, user.Password
		return who, nil
	}
	return user, nil
}

// takesPasswords tells whether a password could be right.
func (l *label) takesPasswords(compat bool) bool {
	_, can := l.Authority.(ca.LoginChecker)
	return l.Users != nil || can && (l.CALogin || compat)
}

// The operation that renews a certificate.
const opReenroll = "simplereenroll"

// byCertificate judges the client's certificate.
func (a *RA) byCertificate(ctx context.Context, l *label, c est.Credentials, renewal bool) (est.Identity, *est.Error) {
	leaf := c.Certificates[0]
	if issuer, ok := a.registrar(ctx, l, leaf); ok {
		return est.Identity{Name: l.clients.certificateOwner(leaf, issuer, registrarName(l, leaf)), Certificate: leaf, Relays: true}, nil
	}
	var issuer *x509.Certificate
	var refused *est.Error
	if renewal {
		issuer, refused = a.renewable(ctx, l, c.Certificates)
	} else {
		var path []*x509.Certificate
		if path, refused = l.verifyClient(c.Certificates, a.c.Now()); refused == nil {
			issuer = path[len(path)-1]
			refused = a.unrevoked(ctx, path)
		}
	}
	if refused != nil {
		return est.Identity{}, refused
	}
	name, ok := l.clients.nameOf(leaf)
	if !ok {
		return est.Identity{}, clientRefused(CodeClientName,
			"no name in the client certificate is that of a client here",
			fmt.Sprintf("make %s find the name in a certificate of subject %q, or let the client use the label that is meant for it", l.key("client_name"), clip(leaf.Subject.String())), nil)
	}
	return est.Identity{Name: l.clients.certificateOwner(leaf, issuer, name), Certificate: leaf}, nil
}

// registrarName is the name of a registrar, which need not fit the pattern of its clients' names.
func registrarName(l *label, leaf *x509.Certificate) string {
	if name, ok := l.clients.nameOf(leaf); ok {
		return name
	}
	return subjectOf(leaf)
}

func certificateRequired(l *label, renewal bool) *est.Error {
	e := &est.Error{
		Status: http.StatusForbidden, ErrCode: CodeCertificateRequired, Text: "a client certificate is required here",
		Fix: fmt.Sprintf("give the client a certificate of a CA in %s, or change %s", l.file("client_ca_file", "est.client_ca_file"), l.key("authentication")),
	}
	if renewal {
		e.Text = "the certificate that is to be renewed must be shown as client certificate"
		e.Fix = "give the client the certificate that it renews for the TLS connection, or let it enrol anew (simpleenroll)"
	}
	return e
}

func noCredentials(l *label) *est.Error {
	e := &est.Error{
		Status: http.StatusUnauthorized, ErrCode: CodeNoCredentials, Text: unauthorized,
		Fix: fmt.Sprintf("give the client a user name and password of %s, or a certificate of a CA in %s",
			l.file("users_file", "est.users_file"), l.file("client_ca_file", "est.client_ca_file")),
	}
	if l.Authentication.password() {
		e.Fix = fmt.Sprintf("give the client a user name and password of %s, which %s demands", l.file("users_file", "est.users_file"), l.key("authentication"))
	}
	return e
}

// password checks the user name and password.
func (a *RA) password(ctx context.Context, l *label, c est.Credentials) (est.Identity, error) {
	known, ok, err := l.Users.Check(ctx, c.User, c.Password)
	switch {
	case errors.Is(err, ErrBusy), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return est.Identity{}, &est.Error{
			Status: http.StatusServiceUnavailable, ErrCode: CodeBusy, Text: "too many logins at the same time; repeat it later",
			Fix:        "find the clients that log in so often in the log; a client certificate (est.client_ca_file) costs less than a password",
			RetryAfter: a.c.RetryAfter, Err: err,
		}
	case err != nil:
		return est.Identity{}, &est.Error{
			Status: http.StatusServiceUnavailable, ErrCode: CodeUsersFile, Text: "the server cannot check passwords now",
			Fix:        fmt.Sprintf("make the file in %s readable for the account that callsign serve runs as", l.file("users_file", "est.users_file")),
			RetryAfter: a.c.Unavailable, Err: err,
		}
	case ok:
		return est.Identity{Name: userOwner(c.User), User: c.User}, nil
	}
	checker, can := l.Authority.(ca.LoginChecker)
	if known || !l.CALogin && !a.c.CompatSequence || !can || checkUserName(c.User) != nil || len(c.Password) == 0 {
		return est.Identity{}, loginRefused(l, nil)
	}
	// The owner of an account at the CA: the CA decides, for this request only.
	ctx, cancel := context.WithTimeout(ctx, a.c.AnswerWithin)
	defer cancel()
	if err := checker.CheckLogin(ctx, &ca.Login{User: c.User, Password: c.Password, Label: l.Name}); err != nil {
		return est.Identity{}, a.checkFailed(ctx, l, c, err)
	}
	return est.Identity{Name: c.User, User: c.User, Password: c.Password}, nil
}

// checkFailed maps a failed check at the authority.
func (a *RA) checkFailed(ctx context.Context, l *label, c est.Credentials, err error) *est.Error {
	v := a.failed(failureOf(err), true)
	a.log.WarnContext(ctx, "login at the CA refused", slog.String("op", c.Operation), slog.Any("peer", c.Peer),
		slog.String("request_id", c.RequestID), slog.String("user", c.User), slog.String("code", v.code), slog.String("err", err.Error()),
		slog.Int("status", v.status))
	if v.code == ca.CodeLoginRefused {
		return loginRefused(l, err)
	}
	e := v.est()
	e.Err = err
	if e.Status >= http.StatusInternalServerError && v.code != ca.CodeTemplateNotOffered {
		// Nobody has been authenticated yet. (A template can only be missing for an account that could log in.)
		e.Text = "the login cannot be checked now; repeat it later"
	}
	return e
}

func loginRefused(l *label, err error) *est.Error {
	return &est.Error{
		Status: http.StatusUnauthorized, ErrCode: CodeLogin, Text: unauthorized, Err: err,
		Fix: fmt.Sprintf("check user name and password; a user is added with: htpasswd -B FILE NAME (FILE is %s)", l.file("users_file", "est.users_file")),
	}
}

// asCA finds the authority's error in err, or makes a temporary one of it.
func asCA(err error) *ca.Error {
	if e, ok := errors.AsType[*ca.Error](err); ok {
		return e
	}
	return &ca.Error{
		ErrCode: CodeUnavailable, Detail: "the certification authority cannot be reached", Err: err,
		Timeout: errors.Is(err, context.DeadlineExceeded), Fix: "look at the server's log for the cause, and run: callsign check",
	}
}
