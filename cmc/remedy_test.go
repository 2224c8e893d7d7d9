package cmc

import (
	"errors"
	"regexp"
	"testing"
)

// TestEveryCodeHasARemedy reads the codes out of the source, so that no new one is forgotten.
func TestEveryCodeHasARemedy(t *testing.T) {
	t.Parallel()
	codes := regexp.MustCompile(`= "(cmc\.[a-z-]+)"`).FindAllStringSubmatch(string(load(t, "../problem.go")), -1)
	if len(codes) < 30 {
		t.Fatalf("only %d codes found", len(codes))
	}
	for _, c := range codes {
		p := &Problem{ErrCode: c[1]}
		if p.Remedy() == "" {
			t.Errorf("%s has no remedy", c[1])
		}
	}
	cause := errors.New("cause")
	p := Deny("ra.no", BadRequest, "detail", "own remedy").because(cause)
	if p.Error() != "detail: cause" || !errors.Is(p, cause) || p.Remedy() != "own remedy" || p.Code() != "ra.no" {
		t.Errorf("problem %v, remedy %q", p, p.Remedy())
	}
	if (&Problem{ErrCode: "ra.no"}).Remedy() != "" {
		t.Error("a foreign code has a remedy of ours")
	}
}
