package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Backend is the authority behind a Handler: a registration authority or a CA. Methods are called concurrently; ctx
// ends when the client goes away, and a Backend that must finish its work anyway detaches from it. A *Error is sent as
// it is; any other error becomes a bare 500 with the request id.
type Backend interface {
	// Profile returns how requests with this label are served; the empty label is "no label". ok is false for a label that
	// is not served (404). It is called once a request and must not wait.
	Profile(label string) (p Profile, ok bool)
	// CACerts returns the certificates for cacerts: issuing CA first, up to the root, then those that join an earlier root
	// with this one (RFC 4210 section 4.4).
	CACerts(ctx context.Context, label string) ([]*x509.Certificate, error)
	// Authenticate judges the credentials of a simpleenroll, simplereenroll or serverkeygen request: a client certificate,
	// a user name and password, or both. It returns who the caller is, or an *Error with status 401 or 403. It is called
	// once a request, before the body is judged, also for a caller who shows nothing: an answer of 401 then becomes the
	// challenge. For simplereenroll it also judges whether the certificate may be renewed
	// (by whom it was issued, expired within the grace or not, revoked): the Handler compares the names only.
	Authenticate(ctx context.Context, c Credentials) (Identity, error)
	// Enroll returns the certificate for a PKCS#10 whose form and signature the Handler has checked.
	Enroll(ctx context.Context, r EnrollRequest) (EnrollResult, error)
}

// FullCMC is the optional power of a Backend to answer full CMC requests (RFC 7030 4.3). A Handler whose Backend lacks
// it answers 501.
type FullCMC interface {
	// FullCMC answers the DER of a Full PKI Request. The CMS signature is the authentication.
	FullCMC(ctx context.Context, r CMCRequest) CMCReply
}

// Judge is the optional power of a Backend to refuse a serverkeygen request before a key is made for it: that costs up to a
// second of a processor, and the key waits in memory. Without it the request is refused by Enroll.
type Judge interface {
	// Judge returns why Enroll would refuse r, whatever the key that is made, or nil. r.CSR is what the client sent: its key is of
	// the kind that would be made, and its signature means nothing. It must not wait for the CA.
	Judge(ctx context.Context, r EnrollRequest) error
}

// Credentials are what a client showed of itself.
type Credentials struct {
	Label        string
	Operation    string // "simpleenroll", ...
	Peer         net.Addr
	Certificates []*x509.Certificate // as presented, leaf first; not verified
	Forwarded    bool                // a trusted proxy told of Certificates; the TLS connection is the proxy's
	HasPassword  bool
	User         string
	Password     []byte
	RequestID    string
}

// Identity is an authenticated caller.
type Identity struct {
	Name        string            // user name or certificate subject; part of the enrolment's key
	Certificate *x509.Certificate // set when a client certificate authenticated
	User        string            // set when a password authenticated
	Password    []byte            // the password, for a backend that passes it on to the CA; never logged or stored
	// Relays tells that the caller is a registration authority that may send requests of others: the link of RFC 7030
	// section 3.5 is not compared (section 3.7), and the names of simplereenroll need not be those of its own certificate.
	Relays bool
}

// EnrollRequest is a simpleenroll, simplereenroll or serverkeygen request.
type EnrollRequest struct {
	Label     string
	Operation string // "simpleenroll", "simplereenroll" or "serverkeygen"
	// CSR is the request as it is to be certified. With serverkeygen it is signed by the key that the Handler made, and has
	// the names and extensions of the client's request.
	CSR *x509.CertificateRequest
	// Challenge is the challengePassword of the request when it is no link to the connection: a secret meant for the CA.
	// Empty for none. Never log it.
	Challenge string
	Identity  Identity
	Peer      net.Addr
	TLS       *tls.ConnectionState
	RequestID string
	// Linked tells that the request carries a right link to its connection (RFC 7030 section 3.5).
	Linked bool
	// ChangeSubject is what the attribute id-cmc-changeSubjectName asks for; nil when the request has none. It is set
	// only where Profile.ChangeSubject allows it; elsewhere such a request is refused with 403, because to ignore the
	// attribute would issue the wrong name.
	ChangeSubject *ChangeSubject
}

// ChangeSubject is the attribute id-cmc-changeSubjectName (RFC 6402 section 2.8): the certificate takes both names from
// it, so an absent field means an empty subject or no subjectAltName.
type ChangeSubject struct {
	Subject    []byte // DER Name; nil when absent
	SubjectAlt []byte // DER GeneralNames; nil when absent
}

// EnrollResult is the answer to an EnrollRequest: a certificate, or nil with RetryAfter for 202.
type EnrollResult struct {
	Certificate *x509.Certificate
	RetryAfter  time.Duration
	Text        string // readable reason for a 202
}

// CMCRequest is a fullcmc request.
type CMCRequest struct {
	Label     string
	Body      []byte // DER or BER ContentInfo, base64 removed
	Peer      net.Addr
	TLS       *tls.ConnectionState
	Forwarded bool // it came through a trusted proxy: TLS is the proxy's connection
	RequestID string
}

// CMCReply is the answer to a fullcmc request.
type CMCReply struct {
	Status     int    // HTTP status
	Body       []byte // DER ContentInfo
	CertsOnly  bool   // Body is certs-only (Simple PKI Response)
	RetryAfter time.Duration
	Code       string // stable code of a refusal, for the log
}

// Error is a refusal with the status and text that the client gets.
type Error struct {
	Status     int           // HTTP status, 4xx or 5xx
	ErrCode    string        // "est.csr-rejected"
	Text       string        // one line for the peer; tells nothing that an unauthenticated peer must not know
	Fix        string        // what the administrator does
	RetryAfter time.Duration // with 429, 503, 504
	Err        error         // detail for the log only
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Text + ": " + e.Err.Error()
	}
	return e.Text
}

// Unwrap returns the detail.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *Error) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *Error) Remedy() string { return e.Fix }

// LibEST returns the number and name under which libEST's server logs such a refusal.
func (e *Error) LibEST() (number int, name string) {
	n := serverNumber(e.Status, e.ErrCode)
	return int(n), n.String()
}

// String shows the credentials without the password.
func (c Credentials) String() string {
	return fmt.Sprintf("%s label=%q user=%q password=%t certificates=%d", c.Operation, c.Label, c.User, c.HasPassword,
		len(c.Certificates))
}

// GoString is String, so that %#v shows no password either.
func (c Credentials) GoString() string { return c.String() }

// LogValue implements slog.LogValuer without the password.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String shows the identity without the password.
func (i Identity) String() string { return i.Name }

// GoString is String, so that %#v shows no password either.
func (i Identity) GoString() string { return i.Name }

// LogValue implements slog.LogValuer without the password.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.Name) }
