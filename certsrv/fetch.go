package certsrv

import (
	"context"
	"fmt"
	"log/slog"

	"callsign/certsrv/winauth"
)

const fetchPath = "/certsrv/certnew.cer"

// maxNotReady is how often a certificate is asked for again when the CA says issued and sends a page.
const maxNotReady = 2

// Fetch asks for the certificate of a request that this account made. An Answer of outcome Issued holds the
// certificate. A request id that the CA does not know is an Answer of outcome Failed with StatusPropertyEmpty or
// StatusNoRequest; requests of other accounts look alike or denied. Errors are *Problem.
func (c *Client) Fetch(ctx context.Context, requestID string) (Answer, error) {
	return c.fetch(ctx, requestID, c.get)
}

// FetchAs is Fetch for a request that another account made: it logs in with creds on a connection of its own.
func (c *Client) FetchAs(ctx context.Context, creds winauth.Credentials, requestID string) (Answer, error) {
	var a Answer
	err := c.alone(ctx, &creds, func(s *session) error {
		var err error
		a, err = c.fetch(ctx, requestID, s.get)
		return err
	})
	return a, err
}

type getter func(ctx context.Context, op, path string) (*winauth.Response, error)

func (c *Client) fetch(ctx context.Context, requestID string, get getter) (Answer, error) {
	if requestNumber(requestID) != requestID || requestID == "" {
		return Answer{}, &Problem{ErrCode: CodeBadRequest, Op: "fetch", Detail: fmt.Sprintf("%q is no request id", requestID), Fix: "give the number from the CA console"}
	}
	if err := c.init(); err != nil {
		return Answer{}, err
	}
	path := fetchPath + "?ReqID=" + requestID + "&Enc=b64"
	if c.Compat {
		path = fetchPath + "?ReqID=" + requestID + "&ENC=b64"
	}
	for try := 0; ; try++ {
		resp, err := get(ctx, "fetch", path)
		if err != nil {
			return Answer{}, err
		}
		a, p := readFetched(c.base.String()+path, resp.Body)
		if p != nil {
			return Answer{}, p
		}
		a.RequestID = requestID
		if a.Outcome == Issued && a.Certificate == nil {
			if try < maxNotReady {
				continue
			}
			return Answer{}, &Problem{
				ErrCode: CodeNotDelivered, Op: "fetch", URL: c.base.String() + path, Retryable: true,
				Detail: "the CA has issued request " + requestID + " and the web server sends a page instead of the certificate",
				Fix:    "fetch the certificate from the CA console when this stays",
			}
		}
		c.log().LogAttrs(ctx, slog.LevelInfo, "certificate fetched", slog.String("event", "certsrv.fetched"),
			slog.String("url", c.base.String()+path), slog.String("request_id", requestID), slog.String("outcome", a.Outcome.String()),
			slog.String("hresult", hresultText(a.HResult)), slog.Int("bytes", len(resp.Body)))
		return a, nil
	}
}

// readFetched reads a body of certnew.cer: the certificate, or a status page.
func readFetched(url string, body []byte) (Answer, *Problem) {
	if isPage(body) {
		a, ok := classify(body)
		if !ok {
			return Answer{}, unexpectedPage("fetch", url, body)
		}
		return a, nil
	}
	certs, err := decodeCertificates(body)
	if err != nil {
		return Answer{}, &Problem{
			ErrCode: CodeUnexpectedPage, Op: "fetch", URL: url, Err: err,
			Detail: fmt.Sprintf("%s answered %d octets that are no certificate: %v", url, len(body), err),
			Fix:    "open the URL in a browser with the same account; check for a proxy between",
		}
	}
	return Answer{Outcome: Issued, Certificate: leafOf(certs), Disposition: NoDisposition}, nil
}
