package certsrvtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestState restarts the server on its own state, with a torn last line.
func TestState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := config(t, 0)
	c.StateDir, c.FirstRequestID = dir, 100
	c.Templates[1].Behaviour.Answer = Pending
	csr, _ := newCSR(t, "x")
	s := start(t, c)
	w := s.basic(t, scriptAgent)
	w.submit(csr, "CiscoRA")
	w.submit(csr, "WebServer")
	w.submit(csr, "Nothing")
	before := s.Requests()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, stateFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"id":103,"dispo`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	s = start(t, c)
	if diff := cmp.Diff(before, s.Requests()); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	if err := s.Approve(context.Background(), 101); err != nil {
		t.Error(err)
	}
	w = s.basic(t, scriptAgent)
	if got := classify(w.submit(csr, "CiscoRA")).ID; got != "103" {
		t.Errorf("next id %s, want 103", got)
	}
	if page := w.get("/certsrv/certnew.cer?ReqID=101"); !strings.HasPrefix(page, "-----BEGIN") {
		t.Error(page)
	}
	if got := len(s.Issued()); got != 3 {
		t.Errorf("%d issued, want 3", got)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c); err == nil {
		t.Error("a damaged state is accepted")
	}
}

// TestLifeOfARequest holds the request table against a model: any order of submissions, approvals and denials.
func TestLifeOfARequest(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Behaviour.Answer = Pending
	csr, _ := newCSR(t, "x")
	form := parseForm(submission(csr, "CiscoRA"))
	rapid.Check(t, func(rt *rapid.T) {
		s, err := New(c)
		if err != nil {
			rt.Fatal(err)
		}
		model := map[int]Disposition{}
		rt.Repeat(map[string]func(*rapid.T){
			"submit": func(rt *rapid.T) {
				r := httptest.NewRequest(http.MethodPost, "/certsrv/certfnsh.asp", nil)
				page := string(s.submit(r, form, testUser, layoutText).body)
				id := len(model) + 1
				if got := classify(page); got != (verdict{"pending", fmt.Sprint(id), ""}) {
					rt.Fatalf("%+v, want pending %d", got, id)
				}
				model[id] = DispositionPending
			},
			"approve": func(rt *rapid.T) {
				id := rapid.IntRange(0, len(model)+1).Draw(rt, "id")
				err := s.Approve(context.Background(), id)
				if (err == nil) != (model[id] == DispositionPending) {
					rt.Fatalf("approve %d (%v): %v", id, model[id], err)
				}
				if err == nil {
					model[id] = DispositionIssued
				}
			},
			"deny": func(rt *rapid.T) {
				id := rapid.IntRange(0, len(model)+1).Draw(rt, "id")
				err := s.Deny(id)
				if (err == nil) != (model[id] == DispositionPending) {
					rt.Fatalf("deny %d (%v): %v", id, model[id], err)
				}
				if err == nil {
					model[id] = DispositionDenied
				}
			},
			"": func(rt *rapid.T) {
				for _, r := range s.Requests() {
					if r.Disposition != model[r.ID] || (r.Disposition == DispositionIssued) != (r.Serial != "") {
						rt.Fatalf("request %d is %v, want %v", r.ID, r.Disposition, model[r.ID])
					}
				}
			},
		})
	})
}

// TestApproveOnce lets eight managers approve the same request.
func TestApproveOnce(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Behaviour.Answer = Pending
	s := start(t, c)
	csr, _ := newCSR(t, "x")
	s.basic(t, textAgent).submit(csr, "CiscoRA")
	s.ca.fail = fmt.Errorf("no key")
	if err := s.Approve(context.Background(), 1); err == nil {
		t.Error("approved without the CA")
	}
	s.ca.fail = nil
	var group sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		group.Go(func() {
			if s.Approve(context.Background(), 1) == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if won != 1 || len(s.ca.asked) != 2 {
		t.Errorf("%d approvals, CA asked %d times; want 1 and 2", won, len(s.ca.asked))
	}
}

// TestEvents: whoever watches the log learns what becomes of each request, which the pages' status never tells.
func TestEvents(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := config(t, 0)
	c.Log = slog.New(slog.NewJSONHandler(&out, nil))
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	csr, _ := newCSR(t, "x")
	post := func(template string, answer Answer) {
		if err := s.SetBehaviour("", Behaviour{Answer: answer}); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/certsrv/certfnsh.asp", nil)
		s.submit(r, parseForm(submission(csr, template)), testUser, layoutText)
	}
	post("CiscoRA", Issue)
	post("NoSuchTemplate", Issue)
	post("CiscoRA", Pending)
	post("CiscoRA", Pending)
	if err := errors.Join(s.Approve(t.Context(), 3), s.Deny(4)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var r struct {
			Event     string `json:"event"`
			RequestID string `json:"request_id"`
			Outcome   string `json:"outcome"`
			Code      string `json:"code"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(strings.Join([]string{r.Event, r.RequestID, r.Outcome, r.Code}, " ")))
	}
	want := []string{
		EventHandled + " 1 issued 0x00000000", EventHandled + " 2 denied 0x80094800", EventHandled + " 3 pending 0x00000000",
		EventHandled + " 4 pending 0x00000000", EventApproved + " 3", EventDenied + " 4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
