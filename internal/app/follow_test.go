package app

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFollow: a renewed CA is noticed within a day, once; no answer and no certificate change nothing.
func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cert := func(s string) []*x509.Certificate { return []*x509.Certificate{{Raw: []byte(s)}} }
		answers := []any{cert("a"), errors.New("down"), []*x509.Certificate(nil), cert("b"), cert("b"), cert("a")}
		start, asked := time.Now(), 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var days []int
		err := follow(ctx, chainAgain, cert("a"), func(context.Context) ([]*x509.Certificate, error) {
			a := answers[asked]
			if asked++; asked == len(answers) {
				defer cancel()
			}
			if err, failed := a.(error); failed {
				return nil, err
			}
			return a.([]*x509.Certificate), nil
		}, func([]*x509.Certificate) error {
			days = append(days, int(time.Since(start)/(24*time.Hour)))
			return nil
		})
		if d := cmp.Diff([]int{4, 6}, days); err != nil || d != "" {
			t.Errorf("%v: changes on days %s", err, d)
		}
		broken := errors.New("disk full")
		if err := follow(t.Context(), time.Hour, nil, func(context.Context) ([]*x509.Certificate, error) { return cert("a"), nil },
			func([]*x509.Certificate) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}
