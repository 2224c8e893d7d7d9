package fleet_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
	"callsign/internal/fleet"
	"callsign/internal/fleet/fleettest"
)

// epoch is where the clock of a bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const lscLife = 9 * 24 * time.Hour

// centre is an authority that fails in every way and knows a request again by its row, however often it is asked.
type centre struct {
	name string
	id   *identity

	mu     sync.Mutex
	script []int
	seen   map[string]*submission // by row
}

type submission struct {
	owner string
	state ca.Status
	cert  []byte
}

// What happens to a submission.
const (
	caIssues = iota
	caDenies
	caPends
	caUnreachable
	caLosesAnswer
	caSlow // longer than a phone waits
)

func (c *centre) Name() string { return c.name }

func (c *centre) Chain(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{c.id.x}, nil
}

func (c *centre) next() int {
	if len(c.script) == 0 {
		return caIssues
	}
	b := c.script[0]
	c.script = c.script[1:]
	return b
}

func (c *centre) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	c.mu.Lock()
	s := c.seen[r.ID]
	b := caIssues
	if s == nil {
		b = c.next()
	}
	c.mu.Unlock()
	p := l.Progress()
	p.Submitted = true
	if err := l.Record(ctx, p); err != nil {
		return ca.Outcome{}, err
	}
	if b == caSlow {
		select {
		case <-time.After(20 * time.Second):
		case <-ctx.Done():
			return ca.Outcome{}, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == nil {
		if b == caUnreachable {
			return ca.Outcome{}, &ca.Error{ErrCode: "test.unreachable", Detail: "cannot connect", Fix: "look at the CA"}
		}
		s = &submission{owner: r.Owner, state: ca.Issued}
		switch b {
		case caDenies:
			s.state = ca.Denied
		case caPends:
			s.state = ca.Pending
		default:
			s.cert = c.sign(r.Subject, r.PublicKey)
		}
		c.seen[r.ID] = s
	}
	if b == caLosesAnswer {
		return ca.Outcome{}, &ca.Error{ErrCode: "test.lost", Detail: "connection broke", Fix: "look at the network"}
	}
	out := ca.Outcome{Status: s.state, Certificate: s.cert, Chain: [][]byte{c.id.x.Raw}, RequestID: "1", POP: ca.POPSigned}
	switch s.state {
	case ca.Denied:
		out.Denial = &ca.Error{ErrCode: "test.denied", Detail: "denied", Fix: "ask", Final: true}
	case ca.Pending:
		out.RetryAfter = time.Minute
	case ca.Issued:
	}
	return out, nil
}

func (c *centre) sign(subject, spki []byte) []byte {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), RawSubject: subject, NotBefore: time.Now().Add(-5 * time.Minute), NotAfter: time.Now().Add(lscLife),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}, c.id.x, pub, c.id.key)
	if err != nil {
		panic(err)
	}
	return der
}

// decide is a person at the CA.
func (c *centre) decide(issue bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.seen {
		if s.state != ca.Pending {
			continue
		}
		if s.state = ca.Denied; issue {
			delete(c.seen, id) // with the next question the script goes on
		}
	}
}

// handset is a phone: what it has itself, whatever is on record for it.
type handset struct {
	name   string
	mic    *identity // nil: none
	keys   []crypto.Signer
	key    crypto.Signer // offered, its certificate not stored
	lsc    *identity     // nil: none
	stored []byte        // the last certificate that it has confirmed, and the server has heard of; nil: none, or deleted
	calls  int           // calls for which an operation was due and that were not cut by a crash
	// confirmed are all certificates whose storing was told.
	confirmed [][]byte
}

// materials are the keys and certificates of all histories.
type materials struct {
	cas    [2]*identity
	mics   []*identity
	micCA  *identity
	ecKeys [][]crypto.Signer
	rsa    []crypto.Signer
}

var propertyNames = []string{"SEP0000000000A1", "SEP0000000000A2", "CSFALICE"}

func newMaterials(t *testing.T) *materials {
	t.Helper()
	dated := func(isCA bool) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = epoch.AddDate(-1, 0, 0), epoch.AddDate(60, 0, 0)
			if isCA {
				c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			}
		}
	}
	m := &materials{micCA: issue(t, "Manufacturing CA", nil, ecKey(t), dated(true))}
	for i, name := range []string{"CAPF one", "CAPF two"} {
		m.cas[i] = issue(t, name, nil, ecKey(t), dated(true))
	}
	for i, name := range propertyNames {
		var mic *identity
		m.rsa = append(m.rsa, mustRSA(1024))
		if strings.HasPrefix(name, "SEP") {
			mic = issue(t, "CP-8841-"+name, m.micCA, m.rsa[i], dated(false))
		}
		m.mics = append(m.mics, mic)
		var keys []crypto.Signer
		for range 30 {
			keys = append(keys, ecKey(t))
		}
		m.ecKeys = append(m.ecKeys, keys)
	}
	return m
}

// world is the product with its phones, its authorities and its administrator.
type world struct {
	t       *rapid.T
	m       *materials
	journal *enrolltest.Memory
	phones  *fleettest.Memory
	cas     [2]*centre
	at      int // the authority that signs now
	beside  bool
	sudi    bool
	engine  *enroll.Engine
	service *fleet.Service
	renewal *fleet.Renewal
	stop    context.CancelFunc
	ended   chan struct{}
	sets    []*handset
	session uint32
}

// TestAnyHistory plays random histories of phones, administrators, authorities and restarts, and holds the records against
// what each phone has been told.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	m := newMaterials(t)
	rapid.Check(t, func(rt *rapid.T) {
		// A bubble for each history: months pass. What rapid throws is caught in the bubble and goes on outside.
		var thrown any
		synctest.Test(t, func(*testing.T) {
			defer func() { thrown = recover() }()
			newWorld(rt, m).play()
		})
		// Two lines, because rapid tells a failure from a history that has no more random data by the line as well. What a
		// failure says must be the same whenever its history is repeated, so no random names are in it.
		switch fmt.Sprintf("%T", thrown) {
		case "<nil>":
		case "rapid.invalidData":
			panic(thrown)
		default:
			panic(thrown)
		}
	})
}

func newWorld(rt *rapid.T, m *materials) *world {
	w := &world{t: rt, m: m, journal: &enrolltest.Memory{}}
	w.phones = &fleettest.Memory{Journal: w.journal}
	for i := range w.cas {
		w.cas[i] = &centre{
			name: fmt.Sprintf("ca%d", i), id: m.cas[i], seen: map[string]*submission{},
			script: rapid.SliceOfN(rapid.SampledFrom([]int{caIssues, caIssues, caIssues, caIssues, caDenies, caPends, caUnreachable, caLosesAnswer, caSlow}), 0, 20).Draw(rt, fmt.Sprintf("authority %d", i)),
		}
	}
	w.beside, w.sudi = rapid.Bool().Draw(rt, "mic beside lsc"), rapid.IntRange(0, 5).Draw(rt, "require sudi") == 0
	for i, name := range propertyNames {
		w.sets = append(w.sets, &handset{name: name, mic: m.mics[i], keys: m.ecKeys[i]})
		w.phones.Owners = append(w.phones.Owners, fleet.Owner(name))
		d := fleet.NewDevice(name)
		d.RSABits = 1024
		if err := w.phones.AddDevices(context.Background(), []fleet.Device{d}); err != nil {
			rt.Fatal(err)
		}
	}
	w.boot()
	return w
}

// boot starts a process.
func (w *world) boot() {
	w.engine = &enroll.Engine{
		Journal: w.journal, Authorities: map[string]ca.Authority{w.cas[0].name: w.cas[0], w.cas[1].name: w.cas[1]},
		PendingPoll: time.Minute, Interval: 5 * time.Minute, Backoff: enroll.Backoff{Jitter: -1}, // days pass, and histories can be repeated
	}
	w.renewal = &fleet.Renewal{Store: w.phones, Fallback: fleet.AuthMIC}
	w.service = &fleet.Service{
		Store: w.phones, Engine: w.engine, Authority: w.cas[w.at].name, Mode: "CAPF", Trust: fleet.Trust{MIC: []*x509.Certificate{w.m.micCA.x}},
		MICBesideLSC: w.beside, RequireSUDI: w.sudi, RenewAt: w.renewal.RenewAt,
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan struct{})
	go func(e *enroll.Engine, ended chan struct{}) {
		defer close(ended)
		_ = e.Run(ctx)
	}(w.engine, w.ended)
}

// kill ends the process at once.
func (w *world) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.engine.Shutdown(ctx)
	w.stop()
	<-w.ended
}

func (w *world) play() {
	defer w.kill()
	for range rapid.IntRange(1, 60).Draw(w.t, "steps") {
		time.Sleep(5 * time.Second) // so that what is known of issuers is up to date
		switch rapid.IntRange(0, 13).Draw(w.t, "step") {
		case 0, 1, 2:
			w.administer(w.pick())
		case 3, 4, 5, 6, 7, 8:
			w.call(w.pick())
		case 9:
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Minute, 3 * time.Hour, 3 * 24 * time.Hour, 7 * 24 * time.Hour}).Draw(w.t, "time"))
		case 10:
			w.cas[w.at].decide(rapid.Bool().Draw(w.t, "issue"))
			time.Sleep(6 * time.Minute)
		case 11:
			w.kill()
			w.boot()
		case 12:
			w.kill()
			w.at = 1 - w.at
			w.boot()
		case 13:
			if _, err := w.renewal.Step(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		}
		w.sane()
	}
	// Everybody behaves from here on, and what is under way ends.
	for _, c := range w.cas {
		c.mu.Lock()
		c.script = nil
		c.mu.Unlock()
		c.decide(true)
	}
	time.Sleep(24 * time.Hour)
	w.sane()
	w.accountedFor()
}

func (w *world) pick() *handset { return w.sets[rapid.IntRange(0, len(w.sets)-1).Draw(w.t, "phone")] }

func (w *world) device(h *handset) fleet.Device {
	d, err := w.phones.Device(context.Background(), h.name)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) rows(h *handset) []enroll.Enrolment {
	rows, err := w.journal.ByOwner(context.Background(), fleet.Owner(h.name))
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// administer sets something, as the command phone set does.
func (w *world) administer(h *handset) {
	op := rapid.SampledFrom([]fleet.Operation{
		fleet.OperationInstall, fleet.OperationInstall, fleet.OperationInstall, fleet.OperationDelete, fleet.OperationTroubleshoot, fleet.OperationNone,
	}).Draw(w.t, "operation")
	auth := rapid.SampledFrom(append(fleet.AuthModes(), fleet.AuthNull, fleet.AuthLSC, fleet.AuthLSC)).Draw(w.t, "authentication")
	order := rapid.SampledFrom(fleet.KeyOrders()).Draw(w.t, "key order")
	noMIC := rapid.Bool().Draw(w.t, "no MIC")
	limited := rapid.IntRange(0, 4).Draw(w.t, "limited") == 0
	time.Sleep(10 * time.Millisecond) // no two operations of the same moment
	_, err := w.phones.UpdateDevice(context.Background(), h.name, func(d *fleet.Device) error {
		d.Auth, d.KeyOrder, d.NoMIC, d.CompletesBy, d.Origin = auth, order, noMIC, time.Time{}, fleet.OriginAdministrator
		if auth == fleet.AuthString {
			d.AuthString = capf.Secret("471147")
		}
		if limited {
			d.CompletesBy = time.Now().Add(time.Hour)
		}
		d.Schedule(op, time.Now())
		return d.Validate()
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// sane holds every record against the states that there are.
func (w *world) sane() {
	for _, h := range w.sets {
		d := w.device(h)
		good := d.Status == fleet.StatusPending
		switch {
		case d.Operation == fleet.OperationNone:
			good = d.Status != fleet.StatusPending && d.Offered == "" && d.WrongTries == 0
		case d.WrongTries >= 5:
			good = strings.HasSuffix(string(d.Status), "_failed")
		}
		if d.Operation == fleet.OperationNone && d.HasResult && d.Auth == fleet.AuthString && len(d.AuthString) > 0 {
			good = false // used up with the operation
		}
		if !good {
			w.t.Fatalf("%s is in no state that there is: operation %s, status %s, %d wrong strings, string of %d", h.name, d.Operation, d.Status, d.WrongTries, len(d.AuthString))
		}
		if (d.LSC == nil) != (h.stored == nil) || d.LSC != nil && !bytes.Equal(d.LSC.DER, h.stored) {
			w.t.Fatalf("%s: the LSC on record is not the last that the phone has confirmed", h.name)
		}
		if d.LSC == nil && !d.RenewAt.IsZero() || d.LSC != nil && d.LSC.IssuerID == "" {
			w.t.Fatalf("%s: LSC %t, looked at again %s", h.name, d.LSC != nil, d.RenewAt)
		}
		attempts, err := w.phones.Attempts(context.Background(), h.name, 0)
		told := 0
		for _, a := range attempts {
			told += 1 + a.Repeats
		}
		if err != nil || len(attempts) < fleet.AttemptsKept && told != h.calls || told > h.calls || len(attempts) > fleet.AttemptsKept {
			w.t.Fatalf("%s: %d attempts tell of %d calls of %d, %v", h.name, len(attempts), told, h.calls, err)
		}
	}
}

// accountedFor holds every certificate that was issued against the journal, and every confirmed row against the phones.
func (w *world) accountedFor() {
	known := map[string]enroll.Enrolment{}
	for _, r := range w.journal.All() {
		known[r.ID] = r
		if r.State.Open() {
			w.t.Errorf("a row of %s did not end: %s", r.Owner, r.State)
		}
		i := slices.IndexFunc(w.sets, func(h *handset) bool { return fleet.Owner(h.name) == r.Owner })
		told := slices.ContainsFunc(w.sets[i].confirmed, func(der []byte) bool { return bytes.Equal(der, r.Certificate) })
		if r.State == enroll.Confirmed && !told {
			w.t.Errorf("a row of %s is confirmed, and the phone has not said so", r.Owner)
		}
	}
	for _, c := range w.cas {
		for id, s := range c.seen {
			r, ok := known[id]
			switch {
			case s.state != ca.Issued:
			case ok && bytes.Equal(r.Certificate, s.cert) && (r.State == enroll.Issued || r.State == enroll.Confirmed || r.State == enroll.Stale):
			case ok && r.State == enroll.Stale && r.Progress.Submitted && r.Certificate == nil:
				// The answer was lost, and the phone came back with another key: the row says that there may be one.
			default:
				w.t.Errorf("a certificate for %s is lost: its row is %q", s.owner, r.State)
			}
		}
	}
}

// plan is what a phone does in a call.
type plan struct {
	show, sudi string
	version    uint8
	fate       string
	meddle     string // what happens meanwhile
	meddleLate bool   // with the certificate on its way, else before the key
}

func drawPlan(t *rapid.T) plan {
	return plan{
		show:    rapid.SampledFrom([]string{"fitting", "fitting", "fitting", "fitting", "fitting", "fitting", "fitting", "fitting", "nothing", "wrong string", "lsc", "mic", "other's lsc", "stolen lsc"}).Draw(t, "show"),
		sudi:    rapid.SampledFrom([]string{"", "", "", "", "own", "own", "own", "replayed", "other's"}).Draw(t, "sudi"),
		version: uint8(rapid.IntRange(2, 3).Draw(t, "version")),
		fate: rapid.SampledFrom([]string{
			"well", "well", "well", "well", "well", "well", "well", "vanishes at once", "declines", "another's key", "vanishes unstored", "vanishes stored", "does not store", "other key after offer",
		}).Draw(t, "fate"),
		meddle:     rapid.SampledFrom([]string{"", "", "", "", "administrator", "crash"}).Draw(t, "meanwhile"),
		meddleLate: rapid.Bool().Draw(t, "late"),
	}
}
