package certsrv

import (
	"context"

	"callsign/certsrv/winauth"
)

// EnrollOptions are a submission and what the caller wants to know meanwhile.
type EnrollOptions struct {
	Submission
	// Login are credentials to use in place of the Client's own, e.g. those of the EST client that asks; nil for the
	// Client's. They are used on connections of their own, for all requests of the enrolment, since an account can only
	// fetch what it requested; poll with FetchAs.
	Login *winauth.Credentials
	// BeforeSubmit is called right before the request is posted, when all that can fail before it has gone well. An error
	// stops the enrolment, and nothing is posted. May be nil.
	BeforeSubmit func(ctx context.Context) error
	// Submitted is called with the request id as soon as it is known, for every outcome that has one. An error stops the
	// enrolment; it is returned with the Answer. May be nil.
	Submitted func(ctx context.Context, requestID string) error
}

// Enroll checks the template, submits, and fetches the certificate when it was issued at once. The Answer is the CA's
// word; see Submit and Fetch for the errors. When posting went well and fetching did not, the error is returned with an
// Answer that holds the outcome and the request id.
//
// With Compat these are the requests, each login on a new connection: login, certrqxt.asp; login, POST certfnsh.asp,
// certnew.cer. A web server's log then shows seven lines. Otherwise sessions are reused, and the template is checked
// once an hour; a denial without a reason is followed by a look at the request's status page.
func (c *Client) Enroll(ctx context.Context, o EnrollOptions) (Answer, error) {
	form, err := c.form(o.Submission)
	if err != nil {
		return Answer{}, err
	}
	if c.Compat || o.Login != nil {
		return c.enrollAlone(ctx, o, form)
	}
	if err := c.checkTemplateMemo(ctx, o.Template); err != nil {
		return Answer{}, err
	}
	if err := before(ctx, o); err != nil {
		return Answer{}, err
	}
	a, err := c.Submit(ctx, o.Submission)
	if err != nil {
		return Answer{}, err
	}
	return c.finish(ctx, o, a, c.get)
}

// enrollAlone is the sequence of the original on two connections, one after the other.
func (c *Client) enrollAlone(ctx context.Context, o EnrollOptions, form []byte) (Answer, error) {
	if err := c.enter(ctx, "enroll"); err != nil {
		return Answer{}, err
	}
	defer c.leave()
	err := c.inside(ctx, o.Login, func(s *session) error {
		list, err := s.c.templates(ctx, s.get)
		if err != nil || c.SkipTemplateCheck {
			return err
		}
		return c.judgeTemplate(ctx, list, o.Template, c.userOf(o.Login))
	})
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	err = c.inside(ctx, o.Login, func(s *session) error {
		if err := before(ctx, o); err != nil {
			return err
		}
		var err error
		if a, err = s.submit(ctx, form); err != nil {
			return err
		}
		a, err = c.finish(ctx, o, a, s.get)
		return err
	})
	return a, err
}

func before(ctx context.Context, o EnrollOptions) error {
	if o.BeforeSubmit == nil {
		return nil
	}
	return o.BeforeSubmit(ctx)
}

// finish reports the request id and fetches what there is to fetch.
func (c *Client) finish(ctx context.Context, o EnrollOptions, a Answer, get getter) (Answer, error) {
	if o.Submitted != nil && a.RequestID != "" {
		if err := o.Submitted(ctx, a.RequestID); err != nil {
			return a, err
		}
	}
	switch {
	case a.Outcome == Issued:
		got, err := c.fetch(ctx, a.RequestID, get)
		if err != nil {
			return a, err
		}
		return got, nil
	case a.Outcome == Denied && a.HResult == 0 && a.RequestID != "" && !c.Compat:
		got, err := c.fetch(ctx, a.RequestID, get)
		if err != nil || got.Outcome != Denied {
			return a, nil //nolint:nilerr // the denial stands; this look was for its reason only
		}
		if got.HResult == StatusUnsupportedType || got.HResult == StatusTemplateDenied {
			c.Forget()
		}
		return got, nil
	}
	return a, nil
}

func (c *Client) userOf(creds *winauth.Credentials) string {
	if creds != nil {
		return creds.User
	}
	return c.Auth.User
}
