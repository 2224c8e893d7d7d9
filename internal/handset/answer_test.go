package handset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
)

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	if got, want := len(Answers()), 35; got != want {
		t.Errorf("%d answers, want %d", got, want)
	}
	for _, s := range Answers() {
		a, err := ParseAnswer(s)
		if err != nil || a.String() != s {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	}
	if a, err := ParseAnswer("vanish-store"); err != nil || a != (Answer{Vanish, AtStore}) {
		t.Errorf("vanish-store: %v, %v", a, err)
	}
	if a, err := ParseAnswer(""); err != nil || a != (Answer{}) {
		t.Errorf("good phone: %v, %v", a, err)
	}
	for _, bad := range []string{"vanish-", "-store", "store", "refuse-everything", "Refuse", "refuse-key-store"} {
		if a, err := ParseAnswer(bad); err == nil {
			t.Errorf("%q: %v", bad, a)
		}
	}
}

// settled waits until the server has told its Session of the end.
func (w *world) settled(t *testing.T) (aborted []error, answers []capf.Reason) {
	t.Helper()
	for range 3000 {
		w.mu.Lock()
		aborted, answers = w.aborted, slices.Concat(w.reasons, w.fetched)
		w.mu.Unlock()
		if len(aborted)+len(answers) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return aborted, answers
}

// TestBadPhones plays every conduct at every moment to a server and looks at what both sides make of it.
func TestBadPhones(t *testing.T) {
	t.Parallel()
	operations := map[Moment]capf.Operation{
		AtHello: capf.OperationInstall, AtKey: capf.OperationInstall, AtECKey: capf.OperationInstall, AtStore: capf.OperationInstall,
		AtFetch: capf.OperationTroubleshoot, AtDelete: capf.OperationDelete, AtOperation: capf.OperationDelete,
	}
	requests := map[Moment]capf.Command{
		AtHello: capf.AuthRequest, AtKey: capf.KeyGenerateRequest, AtECKey: capf.KeyGenerateRequest, AtStore: capf.StoreCertificateRequest,
		AtFetch: capf.FetchCertificateRequest, AtDelete: capf.DeleteCertificateRequest, AtOperation: capf.DeleteCertificateRequest,
	}
	causes := map[Conduct]string{
		Refuse: capf.CodePhoneFailure, Vanish: capf.CodeConnectionLost, Silent: capf.CodeSilentPeer, Abort: capf.CodePhoneFailure,
		Garbage: capf.CodeElementOverEnd,
	}
	for _, conduct := range conducts {
		for _, moment := range moments {
			a := Answer{conduct, moment}
			t.Run(a.String(), func(t *testing.T) {
				t.Parallel()
				server := &capf.Server{IdleTimeout: time.Minute, KeyTimeout: time.Minute}
				if conduct == Silent { // time enough for what the phone says before, also on a busy machine
					server.IdleTimeout, server.KeyTimeout = 2*time.Second, 2*time.Second
				}
				w := newWorldWith(t, server)
				w.task.Operation = operations[moment]
				p := &Phone{Name: "SEP0000000000D1", Server: w.address, Answer: a, Retries: 3, RetryInterval: time.Hour}
				r, err := p.Enroll(t.Context())
				if err != nil || r.Misbehaved != requests[moment] || r.Calls != 1 || r.Certificate != nil {
					t.Errorf("%+v, %v", r, err)
				}
				if moment != AtHello && r.Operation != operations[moment] {
					t.Errorf("operation %v", r.Operation)
				}
				if ended := conduct != Vanish && conduct != Abort; r.Ended != ended {
					t.Errorf("ended: %v", r.Ended)
				}
				if moment == AtHello {
					if len(w.callers) != 0 {
						t.Errorf("the service was asked about %v", w.callers)
					}
					return
				}
				aborted, answers := w.settled(t)
				if conduct == Refuse && (moment == AtFetch || moment == AtDelete || moment == AtOperation) {
					if diff := cmp.Diff([]capf.Reason{capf.ReasonInvalidElement}, answers); diff != "" || len(aborted) > 0 {
						t.Errorf("aborted with %v, answers (-want +got):\n%s", aborted, diff)
					}
					return
				}
				if len(aborted) != 1 || codeOf(aborted[0]) != causes[conduct] {
					t.Errorf("aborted with %v, want %s", aborted, causes[conduct])
				}
			})
		}
	}
}

func codeOf(err error) string {
	if c, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return c.Code()
	}
	return fmt.Sprint(err)
}

// TestOnlyECRefused: the same phone makes the RSA key that comes next.
func TestOnlyECRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.task.Keys = append(w.task.Keys, capf.KeySpec{Type: capf.KeyRSA, Bits: 2048})
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Answer: Answer{Refuse, AtECKey}}
	r, err := p.Enroll(t.Context())
	if err != nil || r.Certificate == nil || r.Key.Type != capf.KeyRSA || r.Misbehaved != capf.KeyGenerateRequest {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNeverMisbehaved: a bad phone that is never asked is a good one.
func TestNeverMisbehaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Answer: Answer{Vanish, AtDelete}}
	if r, err := p.Enroll(t.Context()); err != nil || r.Certificate == nil || r.Misbehaved != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	p.Server = "127.0.0.1:1"
	if _, err := p.Enroll(t.Context()); codeOf(err) != capf.CodeUnreachable {
		t.Errorf("no server: %v", err)
	}
}

// TestSilentPhoneIsCancelled: silence has no end but the server's and the caller's.
func TestSilentPhoneIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // until then it has to have been asked for its key
	defer cancel()
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Answer: Answer{Silent, AtKey}}
	if r, err := p.Enroll(ctx); err == nil || !strings.Contains(err.Error(), "cancelled") || r.Misbehaved == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
