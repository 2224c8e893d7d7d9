package capf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// step is what a random phone does next.
type step struct {
	kind    string
	message Message
	raw     []byte
	pause   time.Duration
}

// stepKinds has the fitting answer often enough that sessions also get to their end.
var stepKinds = append(slices.Repeat([]string{"fitting"}, 30), "refusing", "refusing", "refusing",
	"message", "progress", "progress", "status", "raw", "pause", "close")

// drawSteps draws what a phone does. The messages that fit the server's request are made when it is known.
func drawSteps(rt *rapid.T) []step {
	element := rapid.Custom(func(rt *rapid.T) Element {
		return Element{
			Tag:   Tag(rapid.SampledFrom([]int{1, 2, 4, 7, 9, 11, 13, 14, 16, 20, 99}).Draw(rt, "tag")),
			Value: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(rt, "value"),
		}
	})
	one := rapid.Custom(func(rt *rapid.T) step {
		s := step{kind: rapid.SampledFrom(stepKinds).Draw(rt, "kind")}
		switch s.kind {
		case "message":
			s.message.Command = Command(rapid.IntRange(0, 25).Draw(rt, "command"))
			s.message.Elements = rapid.SliceOfN(element, 0, 4).Draw(rt, "elements")
		case "raw":
			s.raw = rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "raw")
		case "pause":
			s.pause = time.Duration(rapid.IntRange(1, 200).Draw(rt, "seconds")) * time.Second
		}
		return s
	})
	return rapid.SliceOfN(one, 3, 12).Draw(rt, "steps")
}

// TestAnyPhone plays random phones to the server. Whatever they do the session ends in bounded time with END_SESSION or a
// close, and the Service is called in the documented order with exactly one last call.
func TestAnyPhone(t *testing.T) {
	t.Parallel()
	key := keyElement(t, ec256)
	operations := []Operation{
		OperationNone, OperationInstall, OperationInstall, OperationInstall, OperationInstall, OperationDelete, OperationTroubleshoot,
	}
	rapid.Check(t, func(rt *rapid.T) {
		svc := &service{task: Task{
			Operation: rapid.SampledFrom(operations).Draw(rt, "operation"),
			Keys:      []KeySpec{ec256},
		}}
		if rapid.Bool().Draw(rt, "second key") {
			svc.task.Keys = append(svc.task.Keys, KeySpec{KeyEC, 384})
		}
		if rapid.Bool().Draw(rt, "offer") {
			svc.task.Offer = []byte{0x30, 0}
		}
		switch rapid.IntRange(0, 15).Draw(rt, "trouble") {
		case 0:
			svc.refuse = &Refusal{Reason: ReasonUnknownDevice}
		case 1:
			svc.refuse = errors.New("storage is down")
		}
		steps := drawSteps(rt)
		var fault string
		// The bubble has goroutines of its own, from which rt must not be called.
		synctest.Test(t, func(t *testing.T) { fault = playSteps(t, svc, steps, key) })
		if fault == "" {
			fault = judgeCalls(svc)
		}
		if fault != "" {
			rt.Fatalf("%s; calls %v, abort cause %v", fault, svc.history(), svc.aborted())
		}
	})
}

// playSteps plays a phone and returns what is wrong with the server's answer.
func playSteps(t *testing.T, svc *service, steps []step, key Element) string {
	l := serveFor(t, &Server{Service: svc})
	conn := l.dial()
	defer conn.Close()
	began := time.Now()
	asked := make(chan Message, 64)
	ended := make(chan string, 1)
	go func() { ended <- readAll(conn, asked) }()
	var session uint32
	for _, s := range steps {
		var command Command
		select {
		case m, ok := <-asked:
			if ok {
				session, command = m.SessionID, m.Command
			}
		case <-time.After(time.Second):
		}
		if !playStep(conn, s, session, command, key) {
			break
		}
	}
	fault := <-ended
	if d := time.Since(began); fault == "" && d > DefaultSessionTimeout+time.Minute {
		fault = fmt.Sprintf("session lasted %v", d)
	}
	_ = conn.Close()
	synctest.Wait()
	return fault
}

// readAll reads the server's messages to the end and returns what is wrong with them.
func readAll(conn net.Conn, asked chan<- Message) string {
	defer close(asked)
	last := Command(0)
	for {
		m, err := ReadMessage(conn, MaxBody)
		if _, malformed := errors.AsType[*ProtocolError](err); malformed {
			return fmt.Sprintf("server sent a malformed message: %v", err)
		}
		if err != nil {
			return ""
		}
		if last == EndSession {
			return fmt.Sprintf("server sent %v after END_SESSION", m.Command)
		}
		last = m.Command
		select {
		case asked <- m:
		default:
		}
	}
}

// playStep does one step; false when the phone can do no more.
func playStep(conn net.Conn, s step, session uint32, asked Command, key Element) bool {
	reason := reasonElement(ReasonUpdateCertificate)
	if s.kind == "refusing" {
		reason = reasonElement(ReasonInvalidElement)
	}
	m := s.message
	switch s.kind {
	case "pause":
		time.Sleep(s.pause)
		return true
	case "close":
		_ = conn.Close()
		return false
	case "raw":
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := conn.Write(s.raw)
		return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
	case "progress":
		m.Command = RequestInProgress
	case "status":
		m.Command = StatusRequest
	case "fitting", "refusing":
		m.Command, m.Elements = asked+1, []Element{reason}
		switch {
		case asked == AuthRequest:
			m.Elements = append(m.Elements, byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP1")))
		case asked == KeyGenerateRequest && s.kind == "fitting":
			m.Elements = []Element{key}
		case asked == FetchCertificateRequest && s.kind == "fitting":
			m.Elements = append(m.Elements, Element{TagCertificate, []byte{1, 0, 4, 0, 1, 0x30, 0}})
		}
	}
	m.SessionID = session
	b, err := m.MarshalBinary()
	if err != nil {
		return false
	}
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, err = conn.Write(b)
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// judgeCalls says what is wrong with the order of the Service's calls.
func judgeCalls(svc *service) string {
	calls := svc.history()
	if svc.overlaps {
		return "calls overlap"
	}
	if len(calls) == 0 {
		return ""
	}
	if calls[0] != "open" {
		return "first call is not open"
	}
	rest := calls[1:]
	if svc.refuse != nil || svc.task.Operation == OperationNone {
		if len(rest) > 0 {
			return "calls after a refusal or for no operation"
		}
		return ""
	}
	var final int
	stage := 0 // of an install: 0 offer, 1 key, 2 issued, 3 answered
	for i, c := range rest {
		last := c == "stored 1" || c == "abort" || strings.HasPrefix(c, "fetched") || strings.HasPrefix(c, "deleted")
		if last {
			final++
			if i != len(rest)-1 {
				return "calls after the last one"
			}
		}
		switch {
		case c == "abort":
		case svc.task.Operation == OperationDelete && c != "deleted 1" && c != "deleted 7",
			svc.task.Operation == OperationTroubleshoot && c != "fetched 1" && c != "fetched 7":
			return "call of another operation"
		case c == "issue":
			if stage > 1 {
				return "issue twice"
			}
			stage = 2
		case strings.HasPrefix(c, "stored"):
			if stage == 0 && svc.task.Offer == nil || stage == 1 || stage == 3 {
				return "stored without a certificate"
			}
			stage++
		}
	}
	if final != 1 {
		return fmt.Sprintf("%d last calls", final)
	}
	return ""
}
