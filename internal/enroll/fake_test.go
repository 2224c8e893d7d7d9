package enroll_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"sync"
	"testing"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// A center is an authority's far side, which outlives the processes that ask it: a CA with numbered requests. Its client half, Issue,
// keeps a ledger as internal/ca asks for: it records before it submits, and looks for a lost answer before it submits again.
type center struct {
	name string
	// behave says what happens to the next submission; nil issues always.
	behave func() behaviour
	// took, when set, sees every attempt.
	took func(ca.Request)

	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	mu     sync.Mutex
	issued []*submission
	trips  int // submissions and questions
}

type submission struct {
	id      int
	spki    []byte
	subject []byte
	state   ca.Status
	cert    []byte
}

type behaviour int

const (
	issues       behaviour = iota
	losesAnswer            // it issues, and the connection breaks
	unreachable            // the connection breaks before
	denies                 //
	pends                  //
	pendsLost              // it takes the request under submission, and the connection breaks
	hangs                  // nothing comes before the caller's deadline; not received
	finalFault             // an error that only an administrator can end; not received
	issuesNoNote           // it issues, and the client does not record the number before it returns
	slowToAnswer           // it issues at once and answers 3 seconds later
	slowToIssue            // it issues after 3 seconds, if the client is still there
	behaviours             // how many there are
)

func newCenter(t testing.TB, name string) *center {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Fake CA"}, NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.AddDate(50, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &center{name: name, key: key, cert: cert}
}

// epoch is where a synctest bubble's clock begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *center) Name() string { return c.name }

func (c *center) Chain(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{c.cert}, nil
}

var errBroken = errors.New("connection reset by peer")

func (c *center) sign(spki []byte, number int) []byte {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(int64(number) + 0x0a00), NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.AddDate(40, 0, 0)}, c.cert, pub, c.key)
	if err != nil {
		panic(err)
	}
	return der
}

// submit is the POST.
func (c *center) submit(ctx context.Context, r ca.Request, b behaviour, alive func() error) (*submission, error) {
	if b == slowToIssue {
		time.Sleep(3 * time.Second)
		if err := alive(); err != nil {
			return nil, err
		}
	}
	if b == slowToAnswer {
		defer time.Sleep(3 * time.Second) // runs after the lock is free
	}
	if b == hangs {
		<-ctx.Done()
		return nil, &ca.Error{ErrCode: "fake.timeout", Detail: "no answer", Timeout: true, Err: ctx.Err()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch b {
	case unreachable:
		return nil, &ca.Error{ErrCode: "fake.unreachable", Detail: "cannot connect", Err: errBroken}
	case finalFault:
		return nil, &ca.Error{ErrCode: "fake.account-locked", Detail: "account locked", Fix: "unlock it", Final: true}
	}
	s := &submission{id: len(c.issued) + 1, spki: r.PublicKey, subject: r.Subject, state: ca.Issued}
	switch b {
	case denies:
		s.state = ca.Denied
	case pends, pendsLost:
		s.state = ca.Pending
	default:
		s.cert = c.sign(r.PublicKey, s.id)
	}
	c.issued = append(c.issued, s)
	if b == losesAnswer || b == pendsLost {
		return nil, &ca.Error{ErrCode: "fake.lost", Detail: "connection broke", Err: errBroken}
	}
	return s, nil
}

// find looks for a submission that is not older than from: by number, or by the key.
func (c *center) find(id int, spki []byte, from int) *submission {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.issued {
		if s.id == id || id == 0 && s.id > from && bytes.Equal(s.spki, spki) {
			return s
		}
	}
	return nil
}

// approve issues everything that is pending.
func (c *center) approve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.issued {
		if s.state == ca.Pending {
			s.state, s.cert = ca.Issued, c.sign(s.spki, s.id)
		}
	}
}

func (c *center) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.issued)
}

func (c *center) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trips
}

func (c *center) trip() {
	c.mu.Lock()
	c.trips++
	c.mu.Unlock()
}

// Issue implements ca.Authority.
func (c *center) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	return c.issue(ctx, r, l, func() error { return nil })
}

// issue is Issue for a process that may be dead: then alive answers an error.
func (c *center) issue(ctx context.Context, r ca.Request, l ca.Ledger, alive func() error) (ca.Outcome, error) {
	if err := alive(); err != nil {
		return ca.Outcome{}, err
	}
	if c.took != nil {
		c.took(r)
	}
	c.trip()
	b := issues
	if c.behave != nil {
		b = c.behave()
	}
	p := l.Progress()
	var s *submission
	if p.Submitted {
		if b == unreachable || b == hangs && p.RequestID != "" {
			return ca.Outcome{}, errBroken
		}
		id, _ := strconv.Atoi(p.RequestID)
		from, _ := strconv.Atoi(string(p.Mark))
		s = c.find(id, r.PublicKey, from)
		p.Resubmitted = s == nil
	}
	if s == nil {
		highest, err := l.HighestRequestID(ctx)
		if err != nil {
			return ca.Outcome{}, err
		}
		p.Submitted, p.Mark = true, []byte(strconv.FormatInt(highest, 10))
		if err := l.Record(ctx, p); err != nil {
			return ca.Outcome{}, err
		}
		if err := alive(); err != nil {
			return ca.Outcome{}, err
		}
		c.trip()
		if s, err = c.submit(ctx, r, b, alive); err != nil {
			return ca.Outcome{}, err
		}
	}
	if p.RequestID == "" && b != issuesNoNote {
		p.RequestID = strconv.Itoa(s.id)
		if err := l.Record(ctx, p); err != nil {
			return ca.Outcome{}, fmt.Errorf("record: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := ca.Outcome{Status: s.state, Certificate: s.cert, Chain: [][]byte{c.cert.Raw}, RequestID: strconv.Itoa(s.id), POP: ca.POPSigned}
	if s.state == ca.Denied {
		out.Denial = &ca.Error{ErrCode: "fake.denied", Detail: "denied by policy module", Fix: "ask", HResult: 0x80094012, Final: true}
	}
	return out, nil
}

func newKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func request(spki []byte) enroll.Request {
	return enroll.Request{Authority: "fake", Owner: "phone:SEP001122334455", PublicKey: spki, Subject: []byte{0x30, 0x00}, Vouch: "string"}
}
