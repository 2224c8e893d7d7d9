package chain_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/chain"
)

// TestErrorByMethods: what a package that does not import this one learns about a refused certificate.
func TestErrorByMethods(t *testing.T) {
	t.Parallel()
	leaf := readPEM(t, "testdata/edge/leaf/unknown-ca-leafonly.pem")
	v := chain.Verifier{Anchors: chain.NewStore().Named("the store"), Now: at(noon.AddDate(50, 0, 0))}
	err := v.Verify(leaf, "elsewhere.example").Err()
	told, ok := errors.AsType[interface {
		error
		CurlCode() int
		CurlText() string
		LogAttrs() []slog.Attr
	}](err)
	if !ok {
		t.Fatalf("%T has not the methods", err)
	}
	e, _ := errors.AsType[*chain.Error](err)
	if got := (chain.Curl{Code: told.CurlCode(), Text: told.CurlText()}); got != e.Curl() || got.Code != 60 || got.Text == "" {
		t.Errorf("curl %+v, want %+v", got, e.Curl())
	}
	var out strings.Builder
	slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})).LogAttrs(t.Context(), slog.LevelWarn, "", told.LogAttrs()...)
	var codes, keys []string
	for i, f := range e.Faults {
		codes = append(codes, string(f.Code))
		if i > 0 && (!strings.Contains(out.String(), f.Remedy) || f.Remedy == "") {
			t.Errorf("remedy of %s is not logged", f.Code)
		}
	}
	for _, a := range told.LogAttrs() {
		keys = append(keys, a.Key)
	}
	if diff := cmp.Diff([]string{"unknown_issuer", "expired", "name_mismatch"}, codes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"fault", "subject", "depth", "fault2", "fault3"}, keys); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{
		`fault=unknown_issuer subject="` + leaf[0].Subject() + `" depth=0 `,
		`fault2.code=expired fault2.subject="` + leaf[0].Subject() + `" fault2.depth=0 fault2.err=`,
		`fault3.code=name_mismatch `,
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in %s", part, out.String())
		}
	}
}

// TestErrorNearMiss: a CA that is nearly the one looked for is logged, too.
func TestErrorNearMiss(t *testing.T) {
	t.Parallel()
	f := chain.Fault{Code: chain.UnknownIssuer, Subject: "CN=a", NearMisses: []string{"one", "two"}}
	got := (&chain.Error{Faults: []chain.Fault{f}}).LogAttrs()
	want := []slog.Attr{slog.String("fault", "unknown_issuer"), slog.String("subject", "CN=a"), slog.Int("depth", 0), slog.String("near", "one; two")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
