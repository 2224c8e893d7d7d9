package certsrvtest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Answer is what happens to a request that passed every check.
type Answer int

// What a [Behaviour] does with a request.
const (
	// Default issues; on a standalone CA it keeps the request pending.
	Default Answer = iota
	// Issue issues.
	Issue
	// Pending keeps the request until Approve or Deny.
	Pending
	// Deny denies with Behaviour.HResult.
	Deny
	// RPCDown answers the error page of a web server that cannot reach its CA (0x800706BA). Nothing is recorded.
	RPCDown
	// ASPError answers HTTP 500. Nothing is recorded.
	ASPError
	// Hang says nothing until the client goes away. Nothing is recorded.
	Hang
	// Drop issues, then breaks the connection: the answer is lost.
	Drop
	// Truncate issues and ends the connection in the middle of the answer.
	Truncate
	// Reset issues and resets the connection (RST) in the middle of the answer.
	Reset
	// OtherKey issues a certificate for a key that is not that of the request.
	OtherKey
)

// Behaviour is how the server treats requests. The zero value issues at once.
//
// RPCDown in [Config.Behaviour] also takes certnew.cer, certnew.p7b, certcrl.crl and certcarc.asp down, since they ask
// the CA as well; in a template it concerns certfnsh.asp only.
type Behaviour struct {
	Answer  Answer
	HResult uint32        // with Deny; 0: 0x80094014, denied by a manager
	Delay   time.Duration // before the request is looked at; it goes on when the client gives up meanwhile, as ASP does
	// ApproveAfter approves pending requests by itself when someone looks at them that much later; 0: never.
	ApproveAfter time.Duration
	Times        int  // only the first Times requests are treated so, then Default; 0: all
	Lang         Lang // language of the answer; empty: the server's
}

// IsZero tells whether b is the zero value: issue at once.
func (b Behaviour) IsZero() bool { return b == Behaviour{} }

func (b Behaviour) check() error {
	switch {
	case b.Answer < Default || b.Answer > OtherKey:
		return fmt.Errorf("unknown answer %d", b.Answer)
	case b.Answer != Deny && b.HResult != 0:
		return errors.New("a status code without a denial")
	case b.HResult != 0 && b.HResult&0x8000_0000 == 0:
		return fmt.Errorf("0x%x is no HRESULT of an error (0x8.......)", b.HResult)
	case b.Delay < 0 || b.ApproveAfter < 0 || b.Times < 0:
		return errors.New("negative delay or count")
	}
	return b.Lang.check()
}

var answerWords = [...]string{
	Default: "", Issue: "issue", Pending: "pending", Deny: "deny", RPCDown: "rpc-down", ASPError: "500", Hang: "hang", Drop: "drop",
	Truncate: "truncate", Reset: "reset", OtherKey: "other-key",
}

// String returns the form that [ParseBehaviour] reads; "issue" for the zero value.
func (b Behaviour) String() string {
	words := b.words()
	if b.Lang != "" {
		words = append(words, "lang="+string(b.Lang))
	}
	if len(words) == 0 {
		return answerWords[Issue]
	}
	return strings.Join(words, ",")
}

// words are those of b, the language aside.
func (b Behaviour) words() []string {
	var words []string
	if b.Delay > 0 {
		words = append(words, "slow="+b.Delay.String())
	}
	if b.Answer == Deny && b.HResult != 0 {
		words = append(words, fmt.Sprintf("deny=0x%08X", b.HResult))
	} else if b.Answer > Default && int(b.Answer) < len(answerWords) {
		words = append(words, answerWords[b.Answer])
	}
	if b.ApproveAfter > 0 {
		words = append(words, "approve="+b.ApproveAfter.String())
	}
	if b.Times > 0 {
		words = append(words, "times="+strconv.Itoa(b.Times))
	}
	return words
}

// ParseBehaviour reads the words of [ParseScenario] that concern requests, lang among them, which here is the language of the
// answer. "issue" is an answer of its own (it overrides a standalone CA's pending); the empty string is the zero
// Behaviour. Errors are *[WordError], also for words that concern the whole server.
func ParseBehaviour(s string) (Behaviour, error) {
	sc, err := parseWords(s, true)
	if err != nil {
		return Behaviour{}, err
	}
	b := sc.Behaviour
	b.Lang = sc.Conditions.Lang
	return b, nil
}
