package capf

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// slowIssue signs after a while, unless the time is over before.
func slowIssue(takes time.Duration) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, spki []byte) ([]byte, error) {
		select {
		case <-time.After(takes):
			a, err := testAuthority()
			if err != nil {
				return nil, err
			}
			return a.sign("SEP0000000000D1", spki)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TestProgress: a phone that is told to wait gets its certificate later than the others may.
func TestProgress(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		progress bool
		within   time.Duration
		takes    time.Duration
		told     int           // messages 17
		served   bool          // else the session ends
		after    time.Duration // the key
	}{
		"quick authority, nobody is told":   {true, time.Minute, 2 * time.Second, 0, true, 2 * time.Second},
		"slow authority":                    {true, time.Minute, 25 * time.Second, 8, true, 25 * time.Second},
		"too slow":                          {true, time.Minute, 2 * time.Minute, 19, false, time.Minute},
		"too slow for ever":                 {true, time.Hour, 2 * time.Hour, 299, false, DefaultSessionTimeout},
		"no time of its own":                {true, 0, time.Minute, 2, false, DefaultAnswerWithin},
		"less time than everybody has":      {true, time.Second, 5 * time.Second, 1, true, 5 * time.Second},
		"off: the time is not prolonged":    {false, time.Minute, 25 * time.Second, 0, false, DefaultAnswerWithin},
		"off: quick authority is as before": {false, time.Minute, 5 * time.Second, 0, true, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				svc := &service{issue: slowIssue(tt.takes), task: Task{
					Operation: OperationInstall, Keys: []KeySpec{ec256}, Progress: tt.progress, AnswerWithin: tt.within,
				}}
				p := &peer{tb: t, conn: serveFor(t, &Server{Service: svc}).dial()}
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				began := time.Now()
				told := 0
				m, err := ReadMessage(p.conn, MaxBody)
				for ; err == nil && m.Command == RequestInProgress; m, err = ReadMessage(p.conn, MaxBody) {
					if told++; len(m.Elements) != 0 || time.Since(began) != time.Duration(told)*progressEvery {
						t.Errorf("%v after %v", m, time.Since(began))
					}
				}
				// A message whose time is that of the end may or may not be sent before it.
				if err != nil || told != tt.told && told != tt.told+1 || time.Since(began) != tt.after {
					t.Fatalf("%v after %v and %d messages, error %v", m, time.Since(began), told, err)
				}
				if !tt.served {
					if r, _ := m.Reason(); m.Command != EndSession || r != ReasonInvalidElement {
						t.Errorf("got %v", m)
					}
					_ = p.conn.Close()
					synctest.Wait()
					if !errors.Is(svc.aborted(), ErrNotReady) {
						t.Errorf("aborted with %v", svc.aborted())
					}
					return
				}
				if m.Command != StoreCertificateRequest {
					t.Fatalf("got %v", m)
				}
				p.send(StoreCertificateResponse, reasonElement(ReasonUpdateCertificate))
				p.end(ReasonUpdateCertificate)
			})
		})
	}
}

// TestProgressIsStopped: a server that stops and a phone that hangs up end the waiting.
func TestProgressIsStopped(t *testing.T) {
	t.Parallel()
	task := Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, Progress: true, AnswerWithin: time.Hour}
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			svc := &service{issue: slowIssue(time.Hour), task: task}
			s := &Server{Service: svc}
			p := &peer{tb: t, conn: serveFor(t, s).dial()}
			p.hello(3)
			p.expect(KeyGenerateRequest)
			p.send(KeyGenerateResponse, keyElement(t, ec256))
			p.expect(RequestInProgress)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			go func() { _ = s.Shutdown(ctx) }()
			p.end(ReasonInvalidElement)
			synctest.Wait()
			if !errors.Is(svc.aborted(), ErrServerClosed) {
				t.Errorf("aborted with %v", svc.aborted())
			}
		})
	})
	t.Run("phone", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			svc := &service{issue: slowIssue(20 * time.Second), task: task}
			p := &peer{tb: t, conn: serveFor(t, &Server{Service: svc}).dial()}
			p.hello(3)
			p.expect(KeyGenerateRequest)
			p.send(KeyGenerateResponse, keyElement(t, ec256))
			_ = p.conn.Close()
			time.Sleep(21 * time.Second)
			synctest.Wait()
			if code(svc.aborted()) != CodeConnectionLost {
				t.Errorf("aborted with %v", svc.aborted())
			}
		})
	})
}

// TestRetryLater: the phone is told when to call again only when the certificate was not ready.
func TestRetryLater(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		later   time.Duration
		err     error
		seconds uint32 // 0: END_SESSION
	}{
		"not ready":             {time.Hour, ErrNotReady, 3600},
		"part of a second":      {time.Millisecond, ErrNotReady, 1},
		"rounded up":            {90*time.Second + time.Millisecond, ErrNotReady, 91},
		"longer than it holds":  {1 << 62, ErrNotReady, 1<<32 - 1},
		"off":                   {0, ErrNotReady, 0},
		"refused":               {time.Hour, &Refusal{Result: ResultFail}, 0},
		"the authority is late": {time.Hour, context.DeadlineExceeded, 3600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log notes
				svc := &service{
					issue: func(context.Context, []byte) ([]byte, error) { return nil, tt.err },
					task:  Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, RetryLater: tt.later},
				}
				p := &peer{tb: t, conn: serveFor(t, &Server{Service: svc, Log: log.logger(slog.LevelInfo)}).dial()}
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				if tt.seconds == 0 {
					p.end(ReasonInvalidElement)
				} else {
					m := p.expect(RetryLater)
					want := []Element{{TagRetryDelay, binary.BigEndian.AppendUint32(nil, tt.seconds)}}
					if diff := cmp.Diff(want, m.Elements); diff != "" || retryDelay(m) != time.Duration(tt.seconds)*time.Second {
						t.Errorf("delay %v (-want +got):\n%s", retryDelay(m), diff)
					}
					if _, err := ReadMessage(p.conn, MaxBody); err == nil {
						t.Error("the connection was left open")
					}
					_ = p.conn.Close()
				}
				synctest.Wait()
				if told := strings.Contains(log.String(), "retry_later_s"); told != (tt.seconds > 0) {
					t.Errorf("log:\n%s", log.String())
				}
				if diff := cmp.Diff([]string{"open", "issue", "abort"}, svc.history()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestRetryLaterAtOnce: a phone whose request is known to wait is told so before it has a task.
func TestRetryLaterAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		later   time.Duration
		seconds uint32 // 0: END_SESSION
	}{"told": {5 * time.Minute, 300}, "off": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log notes
				svc := &service{refuse: &Refusal{Result: ResultFail, RetryLater: tt.later, Err: ErrNotReady}}
				p := &peer{tb: t, conn: serveFor(t, &Server{Service: svc, Log: log.logger(slog.LevelInfo)}).dial()}
				p.hello(3)
				if tt.seconds == 0 {
					p.end(ReasonInvalidElement)
				} else {
					if got := retryDelay(p.expect(RetryLater)); got != tt.later {
						t.Errorf("delay %v", got)
					}
					_ = p.conn.Close()
				}
				synctest.Wait()
				if told := strings.Contains(log.String(), "retry_later_s"); told != (tt.seconds > 0) {
					t.Errorf("log:\n%s", log.String())
				}
			})
		})
	}
}
