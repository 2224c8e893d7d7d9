package fleet

import (
	"crypto/rand"
	"fmt"

	"callsign/capf"
)

// Lengths of authentication strings in digits (spec: CAPF section 6.1).
const (
	MinStringLength     = 4
	MaxStringLength     = 10
	DefaultStringLength = 8
)

// Strings generates authentication strings: random digits, none of them twice and none that everybody tries first. Not
// for concurrent use.
type Strings struct {
	length int
	used   map[string]bool
}

// NewStrings returns a generator of strings of so many digits, MinStringLength to MaxStringLength; 0 is
// DefaultStringLength. The error is a *Problem, fleet.string-length.
func NewStrings(length int) (*Strings, error) {
	if length == 0 {
		length = DefaultStringLength
	}
	if length < MinStringLength || length > MaxStringLength {
		return nil, problem("fleet.string-length", fmt.Sprintf("authentication strings of %d digits cannot be made", length),
			fmt.Sprintf("ask for %d to %d digits", MinStringLength, MaxStringLength))
	}
	return &Strings{length: length, used: map[string]bool{}}, nil
}

// Next returns another string. The error is a *Problem, fleet.string-length, when the strings of this length are so
// nearly used up that one more is hard to find.
func (g *Strings) Next() (capf.Secret, error) {
	for range 1000 {
		s := digits(g.length)
		if !trivial(s) && !g.used[string(s)] {
			g.used[string(s)] = true
			return s, nil
		}
	}
	return nil, problem("fleet.string-length", fmt.Sprintf("%d authentication strings of %d digits were made, there are hardly any left", len(g.used), g.length),
		"ask for longer ones, or for fewer phones at once")
}

// digits returns so many random digits, each equally likely.
func digits(n int) capf.Secret {
	s := make(capf.Secret, 0, n)
	var b [32]byte
	for len(s) < n {
		_, _ = rand.Read(b[:]) // never fails
		for _, v := range b {
			if v < 250 && len(s) < n { // 250 is a multiple of 10: no digit comes more often
				s = append(s, '0'+v%10)
			}
		}
	}
	return s
}

// trivial tells a string that is tried first: one digit only, or counting up or down.
func trivial(s capf.Secret) bool {
	step := (s[1] - s[0] + 10) % 10
	if step > 1 && step < 9 {
		return false
	}
	for i := 2; i < len(s); i++ {
		if (s[i]-s[i-1]+10)%10 != step {
			return false
		}
	}
	return true
}
