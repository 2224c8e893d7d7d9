package handset

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"callsign/capf"
)

// DefaultRetryInterval is how long phones wait before they call again.
const DefaultRetryInterval = 30 * time.Second

// Phone is one handset.
type Phone struct {
	// Name is the device name. Required.
	Name string
	// Server is HOST:PORT of the CAPF server. Required.
	Server string
	// String is the authentication string; empty for a null string.
	String capf.Secret
	// Version is the protocol version announced; 0 means 3.
	Version uint8
	// Key is the key that the phone makes whatever the server asks for, as some soft phones do; zero makes what is asked
	// for. A server refuses another key than it asked for unless it is set to take it.
	Key capf.KeySpec
	// Identity is the certificate by which the phone authenticates; nil for the string modes. A MIC here or in SUDI is shown
	// to a server that asks for the phone's certificates, beside the LSC.
	Identity *capf.Identity
	// SUDI is the certificate with which the phone makes SUDI data; nil for none.
	SUDI *capf.Identity
	// Answer makes the phone a bad one; the zero value is a good phone.
	Answer Answer
	// Dir keeps NAME.key and NAME.pem; empty keeps them in memory, for the life of the Phone.
	Dir string
	// TLS is the configuration for the connection, see TLSConfig; nil checks nothing.
	TLS *tls.Config
	// Timeout is how long the server may be silent; 0 means capf.DefaultClientTimeout.
	Timeout time.Duration
	// Retries is how often the phone calls again after a communication failure, or when the server ended the session after
	// it had got the phone's key: the authority may have needed longer than a phone waits. 0 means never; phones do it
	// three times.
	Retries int
	// RetryInterval is the pause before a retry; 0 means 30 s, as phones do.
	RetryInterval time.Duration
	// Log gets the records; nil discards them.
	Log *slog.Logger

	keeper capf.Keeper
}

// Result is how a phone fared.
type Result struct {
	capf.Outcome               // of the last call
	Calls        int           // sessions tried
	Duration     time.Duration // all calls with the pauses between them
	// Certificate is what an install stored; nil otherwise.
	Certificate *x509.Certificate
	// CertificatePath and KeyPath are the phone's files; empty without a Dir.
	CertificatePath string
	KeyPath         string
	// Misbehaved is the last message of the server that the phone answered as Phone.Answer says; 0 when it came to none.
	Misbehaved capf.Command
}

// Enroll calls the server, does what it asks for (install, fetch, delete or nothing) and calls again as Retries tells.
// The error is that of the last call; what comes of a bad phone's own answer is no error, and no reason to call again.
// Not for concurrent use.
func (p *Phone) Enroll(ctx context.Context) (Result, error) {
	var r Result
	keeper, err := p.open()
	if err != nil {
		return r, err
	}
	if v, ok := keeper.(*Vault); ok {
		r.CertificatePath, r.KeyPath = v.CertificatePath(), v.KeyPath()
	}
	client := &capf.Client{
		Device: p.Name, Version: p.Version, String: p.String, Identity: p.Identity, SUDI: p.SUDI, Keeper: p.own(keeper),
		TLS: p.tls(), Timeout: p.Timeout, Log: p.Log,
	}
	began := time.Now()
	for {
		r.Calls++
		r.Outcome, r.Misbehaved, err = p.call(ctx, client)
		if r.Misbehaved != 0 && ctx.Err() == nil {
			err = nil
			break
		}
		if err == nil || r.Calls > p.Retries || !again(err) || !pause(ctx, max(p.interval(), r.RetryAfter)) {
			break
		}
	}
	r.Duration = time.Since(began)
	if der := r.Outcome.Certificate; der != nil {
		cert, perr := x509.ParseCertificate(der)
		if perr != nil {
			return r, perr
		}
		r.Certificate = cert
	}
	return r, err
}

// call is one session.
func (p *Phone) call(ctx context.Context, client *capf.Client) (out capf.Outcome, misbehaved capf.Command, err error) {
	if p.Answer.Conduct == "" {
		out, err = client.Dial(ctx, p.Server)
		return out, 0, err
	}
	conn, err := client.Connect(ctx, p.Server)
	if err != nil {
		return out, 0, err
	}
	defer conn.Close()
	bad := &badConn{Conn: conn, ctx: ctx, answer: p.Answer}
	out, err = client.Run(ctx, bad)
	if out.Operation == capf.OperationNone {
		out.Operation = operationOf(bad.fired) // the phone itself has not seen the message
	}
	if r, ok := bad.end.Reason(); ok {
		out.Session, out.Ended, out.Reason = bad.end.SessionID, true, r
	}
	return out, bad.fired, err
}

// open returns the place for key and certificate, the same one for every call.
func (p *Phone) open() (capf.Keeper, error) {
	if p.keeper != nil {
		return p.keeper, nil
	}
	if p.Dir == "" {
		p.keeper = &capf.Memory{}
		return p.keeper, nil
	}
	v, err := OpenVault(p.Dir, p.Name, nil)
	if err != nil {
		return nil, err
	}
	p.keeper = v
	return v, nil
}

func (p *Phone) own(k capf.Keeper) capf.Keeper {
	for _, i := range []*capf.Identity{p.Identity, p.SUDI} {
		if i != nil && i.Type == capf.CertificateMIC {
			k = manufactured{Keeper: k, mic: i.Certificate}
			break
		}
	}
	if p.Key == (capf.KeySpec{}) {
		return k
	}
	return stubborn{Keeper: k, key: p.Key}
}

func (p *Phone) tls() *tls.Config {
	if p.TLS != nil {
		return p.TLS
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // as soft phones do
}

func (p *Phone) interval() time.Duration {
	if p.RetryInterval > 0 {
		return p.RetryInterval
	}
	return DefaultRetryInterval
}

// stubborn makes one kind of key whatever is asked for.
type stubborn struct {
	capf.Keeper
	key capf.KeySpec
}

// Key implements capf.Keeper.
func (s stubborn) Key(ctx context.Context, _ capf.KeySpec) (crypto.Signer, error) {
	return s.Keeper.Key(ctx, s.key)
}

// manufactured shows a MIC beside what the phone has.
type manufactured struct {
	capf.Keeper
	mic []byte
}

// Certificates implements capf.Keeper.
func (m manufactured) Certificates(ctx context.Context) ([]capf.CertificateEntry, error) {
	certs, err := m.Keeper.Certificates(ctx)
	return append(certs, capf.CertificateEntry{Type: capf.CertificateMIC, DER: m.mic}), err
}

// again reports whether calling again can help: after a communication failure, and when the server ended a session in
// which it had got the key. A wrong string would only be counted once more.
func again(err error) bool {
	if e, ok := errors.AsType[*capf.EndError](err); ok {
		return e.KeySent && e.Err == nil
	}
	p, ok := errors.AsType[*capf.ProtocolError](err)
	if !ok {
		return false
	}
	switch p.Code() {
	case capf.CodeConnectionLost, capf.CodeSilentPeer, capf.CodeUnreachable, capf.CodeHandshakeFailed, capf.CodeRetryLater:
		return true
	}
	return false
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
