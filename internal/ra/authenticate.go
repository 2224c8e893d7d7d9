package ra

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"callsign/est"
	"callsign/internal/ca"
)

// Authenticate implements est.Backend. A valid client certificate is enough; otherwise the password must be right. A
// client certificate that does not verify does not spoil a right password, but the refusal names it when there is none.
func (a *RA) Authenticate(ctx context.Context, c est.Credentials) (est.Identity, error) {
	l, refused := a.label(c.Label)
	if refused != nil {
		return est.Identity{}, refused
	}
	var certErr *est.Error
	if len(c.Certificates) > 0 {
		if certErr = verifyClient(c.Certificates, a.c.ClientCAs, a.c.Now()); certErr == nil {
			leaf := c.Certificates[0]
			return est.Identity{Name: leaf.Subject.String(), Certificate: leaf}, nil
		}
		a.log.InfoContext(ctx, "client certificate not accepted", slog.String("op", c.Operation),
			slog.Any("peer", c.Peer), slog.String("subject", c.Certificates[0].Subject.String()),
			slog.String("request_id", c.RequestID), slog.String("code", certErr.ErrCode), slog.String("err", certErr.Error()))
	}
	if c.HasPassword {
		return a.password(ctx, l, c)
	}
	if certErr != nil {
		return est.Identity{}, certErr
	}
	return est.Identity{}, &est.Error{
		Status: http.StatusUnauthorized, ErrCode: CodeNoCredentials, Text: "The server was unable to authorize the request.",
		Fix: "give the client a user name and password of est.users_file, or a certificate of a CA in est.client_ca_file",
	}
}

func (a *RA) password(ctx context.Context, l *Label, c est.Credentials) (est.Identity, error) {
	known, ok, err := a.c.Users.Check(ctx, c.User, c.Password)
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
			Fix:        "make the file in est.users_file readable for the account that callsign serve runs as",
			RetryAfter: a.c.Unavailable, Err: err,
		}
	case ok:
		return est.Identity{Name: c.User, User: c.User}, nil
	}
	checker, can := l.Authority.(ca.LoginChecker)
	if known || !a.c.CompatSequence || !can || checkUserName(c.User) != nil || len(c.Password) == 0 {
		return est.Identity{}, loginRefused(nil)
	}
	// The owner of an account at the CA: the CA decides, for this request only.
	ctx, cancel := context.WithTimeout(ctx, a.c.AnswerWithin)
	defer cancel()
	if err := checker.CheckLogin(ctx, &ca.Login{User: c.User, Password: c.Password}); err != nil {
		return est.Identity{}, a.checkFailed(ctx, c, err)
	}
	return est.Identity{Name: c.User, User: c.User, Password: c.Password}, nil
}

// checkFailed maps a failed check at the authority.
func (a *RA) checkFailed(ctx context.Context, c est.Credentials, err error) *est.Error {
	v := a.failed(failureOf(err), true)
	a.log.WarnContext(ctx, "login at the CA refused", slog.String("op", c.Operation), slog.Any("peer", c.Peer),
		slog.String("request_id", c.RequestID), slog.String("user", c.User), slog.String("code", v.code), slog.String("err", err.Error()),
		slog.Int("status", v.status))
	if v.code == ca.CodeLoginRefused {
		return loginRefused(err)
	}
	e := v.est()
	if e.Err = err; e.Status >= http.StatusInternalServerError {
		e.Text = "the login cannot be checked now; repeat it later" // nobody has been authenticated yet
	}
	return e
}

func loginRefused(err error) *est.Error {
	return &est.Error{
		Status: http.StatusUnauthorized, ErrCode: CodeLogin, Text: "The server was unable to authorize the request.",
		Fix: "check user name and password; a user is added with: htpasswd -B FILE NAME (FILE is est.users_file)", Err: err,
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
