package est

import (
	"context"
	"fmt"
	"net/http"
)

// CSRAttrs returns what the server wants to find in a request (RFC 7030 section 4.5). A server that says nothing (204, 404, 501,
// or an empty list) gives an empty CSRAttrs, not nil. What cannot be read is a *CSRAttrsError: as this is advice, a client may go
// on without it.
func (c *Client) CSRAttrs(ctx context.Context) (*CSRAttrs, error) {
	a, err := c.ask(ctx, call{op: "csrattrs", method: http.MethodGet, login: true})
	if err != nil {
		return nil, err
	}
	switch a.status {
	case http.StatusNoContent, http.StatusNotFound, http.StatusNotImplemented:
		return new(CSRAttrs), nil
	}
	if err := a.success(); err != nil {
		return nil, err
	}
	if len(stripSpace(a.body)) == 0 {
		return new(CSRAttrs), nil
	}
	field := a.header.Get("Content-Type")
	if media, _ := mediaType(field); media != "application/csrattrs" && media != "" {
		return nil, a.problem(CodeAnswerType, LibESTHTTPUnsupported, fmt.Errorf("the answer has Content-Type %q", clip(field, 80)),
			"check that the URL leads to an EST server and that no proxy answers in its place")
	}
	der, err := a.decode()
	if err != nil {
		return nil, err
	}
	return ParseCSRAttrs(der)
}
