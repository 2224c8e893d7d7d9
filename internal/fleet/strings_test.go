package fleet_test

import (
	"errors"
	"regexp"
	"testing"

	"callsign/internal/fleet"
)

func TestStrings(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 4, 8, 10} {
		g, err := fleet.NewStrings(length)
		if err != nil {
			t.Fatal(err)
		}
		want := length
		if length == 0 {
			want = fleet.DefaultStringLength
		}
		form := regexp.MustCompile(`^[0-9]+$`)
		trivial := regexp.MustCompile(`^(0*|1*|2*|3*|4*|5*|6*|7*|8*|9*)$|^(0123|1234|2345|3456|4567|5678|6789|7890|8901|9012|0987|9876|8765|7654|6543|5432|4321|3210|2109|1098)$`)
		seen := map[string]bool{}
		var digits [10]int
		for range 5000 {
			s, err := g.Next()
			if err != nil {
				t.Fatal(err)
			}
			if len(s) != want || !form.Match(s) || trivial.Match(s) || seen[string(s)] {
				t.Fatalf("string %q of length %d, seen before: %v", s, want, seen[string(s)])
			}
			seen[string(s)] = true
			for _, c := range s {
				digits[c-'0']++
			}
		}
		for d, n := range digits { // 10 standard deviations
			if expected := 500 * want; n < expected*7/10 || n > expected*13/10 {
				t.Errorf("length %d: digit %d came %d times, the mean is %d", want, d, n, expected)
			}
		}
	}
}

// TestStringsRunOut: there are 10,000 strings of 4 digits, 30 of them trivial.
func TestStringsRunOut(t *testing.T) {
	t.Parallel()
	g, err := fleet.NewStrings(4)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for err == nil {
		if _, err = g.Next(); err == nil {
			made++
		}
	}
	if p, ok := errors.AsType[*fleet.Problem](err); !ok || p.Code() != "fleet.string-length" || made < 9000 || made > 9970 {
		t.Errorf("%d made, then %v", made, err)
	}
	for _, length := range []int{-1, 3, 11} {
		_, err := fleet.NewStrings(length)
		if p, ok := errors.AsType[*fleet.Problem](err); !ok || p.Code() != "fleet.string-length" {
			t.Errorf("length %d: %v", length, err)
		}
	}
}
