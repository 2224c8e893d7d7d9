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
)

// Behaviour is how the server treats requests. The zero value issues at once.
//
// RPCDown in [Config.Behaviour] also takes certnew.cer, certnew.p7b, certcrl.crl and certcarc.asp down, since they ask
// the CA as well; in a template it concerns certfnsh.asp only.
type Behaviour struct {
	Answer  Answer
	HResult uint32        // with Deny; 0: 0x80094014, denied by a manager
	Delay   time.Duration // before the request is looked at
	// ApproveAfter approves pending requests by itself when someone looks at them that much later; 0: never.
	ApproveAfter time.Duration
	Times        int  // only the first Times requests are treated so, then Default; 0: all
	Lang         Lang // language of the answer; empty: the server's
}

// IsZero tells whether b is the zero value: issue at once.
func (b Behaviour) IsZero() bool { return b == Behaviour{} }

func (b Behaviour) check() error {
	switch {
	case b.Answer < Default || b.Answer > Drop:
		return fmt.Errorf("unknown answer %d", b.Answer)
	case b.Delay < 0 || b.ApproveAfter < 0 || b.Times < 0:
		return errors.New("negative delay or count")
	case b.Lang != "" && b.Lang != English && b.Lang != French:
		return fmt.Errorf("unknown language %q (en, fr)", b.Lang)
	}
	return nil
}

var answerWords = [...]string{
	Default: "", Issue: "issue", Pending: "pending", Deny: "deny", RPCDown: "rpc-down", ASPError: "500", Hang: "hang", Drop: "drop",
}

// String returns the form that [ParseBehaviour] reads; "issue" for the zero value.
func (b Behaviour) String() string {
	var words []string
	if b.Delay > 0 {
		words = append(words, "slow="+b.Delay.String())
	}
	if b.Answer == Deny && b.HResult != 0 {
		words = append(words, fmt.Sprintf("deny=0x%08X", b.HResult))
	} else if b.Answer > Default && b.Answer <= Drop {
		words = append(words, answerWords[b.Answer])
	}
	if b.ApproveAfter > 0 {
		words = append(words, "approve="+b.ApproveAfter.String())
	}
	if b.Times > 0 {
		words = append(words, "times="+strconv.Itoa(b.Times))
	}
	if b.Lang != "" {
		words = append(words, "lang="+string(b.Lang))
	}
	if len(words) == 0 {
		return answerWords[Issue]
	}
	return strings.Join(words, ",")
}

// ParseBehaviour reads comma-separated words: at most one of issue, pending, deny or deny=0xHRESULT, rpc-down, 500,
// hang, drop; and slow=DURATION, approve=DURATION (of pending requests), times=N (the first N requests), lang=en|fr.
// "issue" is an answer of its own (it overrides a standalone CA's pending); the empty string is the zero Behaviour.
func ParseBehaviour(s string) (Behaviour, error) {
	var b Behaviour
	if strings.TrimSpace(s) == "" {
		return b, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		var err error
		switch name {
		case "slow":
			b.Delay, err = time.ParseDuration(value)
		case "approve":
			b.ApproveAfter, err = time.ParseDuration(value)
		case "times":
			if b.Times, err = strconv.Atoi(value); err == nil && b.Times == 0 {
				err = errors.New("times=0 means nothing")
			}
		case "lang":
			b.Lang = Lang(value)
		default:
			err = b.setAnswer(name, value)
		}
		if err != nil {
			return Behaviour{}, fmt.Errorf("behaviour %q: %w", word, err)
		}
	}
	if err := b.check(); err != nil {
		return Behaviour{}, fmt.Errorf("behaviour %q: %w", s, err)
	}
	return b, nil
}

func (b *Behaviour) setAnswer(name, value string) error {
	for a, word := range answerWords {
		if word == "" || word != name {
			continue
		}
		if b.Answer != Default {
			return fmt.Errorf("more than one answer (%s and %s)", answerWords[b.Answer], name)
		}
		b.Answer = Answer(a)
		if value == "" {
			return nil
		}
		if b.Answer != Deny {
			return fmt.Errorf("%s takes no value", name)
		}
		h, err := strconv.ParseUint(value, 0, 32)
		if err != nil || h&0x8000_0000 == 0 {
			return fmt.Errorf("%q is no HRESULT of an error (0x8.......)", value)
		}
		b.HResult = uint32(h)
		return nil
	}
	return errors.New("unknown word (issue, pending, deny, rpc-down, 500, hang, drop, slow=, approve=, times=, lang=)")
}
