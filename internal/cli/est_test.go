package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/certfile"
)

func estCert(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	certs, err := certfile.LoadCertificates("../../est/testdata/pki/" + name + ".pem")
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

// TestPrintCAs: a root that nothing joins with the trusted one is said and not written, one that follows from it is both.
func TestPrintCAs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	oldRoot, newRoot, joins := estCert(t, "root-OldWithOld"), estCert(t, "root-NewWithNew"), estCert(t, "root-NewWithOld")
	for _, tt := range []struct {
		name     string
		received []*x509.Certificate
		code     int
		said     string
		written  int
	}{
		{"joined", []*x509.Certificate{oldRoot, newRoot, joins}, exitOK, "\n  new root, joined with a trusted one\n", 3},
		{"not joined", []*x509.Certificate{oldRoot, newRoot}, exitFindings, "\n  NOT BELIEVED\n", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			change, err := est.TrustUpdate([]*x509.Certificate{oldRoot}, tt.received, now)
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			e := &env{out: &out, err: &errs}
			file := filepath.Join(t.TempDir(), "ca.pem")
			err = e.printCAs(&estFlags{env: e, url: "https://ra.example.com"}, change, file)
			if got, _ := errors.AsType[*exitError](err); (tt.code == exitOK) != (err == nil) || got != nil && (got.code != tt.code || got.err != nil) {
				t.Errorf("error %v, want exit code %d", err, tt.code)
			}
			if !strings.Contains(out.String(), tt.said) || strings.Contains(errs.String(), "explain est.trust-update") != (tt.code != exitOK) {
				t.Errorf("stdout:\n%sstderr:\n%s", out.String(), errs.String())
			}
			certs, err := certfile.LoadCertificates(file)
			if err != nil || len(certs) != tt.written {
				t.Errorf("%d certificates written, %v", len(certs), err)
			}
		})
	}
}

// TestESTFailures: each failure has its exit code, and says what to do with the flags of these commands.
func TestESTFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		flags estFlags
		err   error
		code  int
		fix   string
	}{
		{"no password", estFlags{}, &est.ClientError{ErrCode: est.CodeUnauthorized, Status: http.StatusUnauthorized}, exitDenied, "say who asks: --user NAME"},
		{"wrong password", estFlags{user: "device"}, &est.ClientError{ErrCode: est.CodeUnauthorized, Status: http.StatusUnauthorized}, exitDenied, `check the user "device"`},
		{"Digest", estFlags{user: "device"}, &est.ClientError{ErrCode: est.CodeChallenge, Status: http.StatusUnauthorized, Fix: "let it offer Basic"}, exitDenied, "let it offer Basic"},
		{"forbidden", estFlags{}, &est.ClientError{ErrCode: est.CodeRefused, Status: http.StatusForbidden, Fix: "read"}, exitDenied, "read"},
		{"silent", estFlags{}, &est.ClientError{ErrCode: est.CodeTimeout, Timeout: true, Fix: "wait"}, exitUnreachable, "wait"},
		{"no such name", estFlags{}, &est.ClientError{ErrCode: est.CodeResolve, Fix: "correct"}, exitUnreachable, "correct"},
		{"refused", estFlags{}, &est.ClientError{ErrCode: est.CodeRefused, Status: http.StatusBadRequest, Fix: "read"}, exitFailed, "read"},
		{"another root", estFlags{}, &est.TrustError{ErrCode: est.CodeTrustUpdate, Detail: "x", Fix: "ask"}, exitFailed, "ask"},
	} {
		err := tt.flags.failed(context.Background(), "EST cacerts at https://ra.example.com", tt.err)
		if got := exitCode(err); got != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.name, got, tt.code)
		}
		e, ok := errors.AsType[*estFailure](err)
		if !ok || !strings.HasPrefix(e.Remedy(), tt.fix) || e.Code() == "" || !strings.HasPrefix(e.Error(), "EST cacerts at ") {
			t.Errorf("%s: %v, fix %q", tt.name, err, e.Remedy())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := (&estFlags{}).failed(ctx, "x", &est.ClientError{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestCSRAttrsRefused: a server that does not answer csrattrs may enrol all the same; one that does not let us in may not.
func TestCSRAttrsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status, code int
		warning      string
	}{
		{http.StatusForbidden, exitOK, "the server answered 403"},
		{http.StatusInternalServerError, exitOK, "the server answered 500"},
		{http.StatusNoContent, exitOK, ""},
		{http.StatusUnauthorized, exitDenied, ""},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status) }))
		t.Cleanup(server.Close)
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		client := &est.Client{URL: server.URL, TLS: &tls.Config{RootCAs: roots}}
		var errs bytes.Buffer
		o := estOrder{estFlags: estFlags{env: &env{err: &errs}}, what: "EST enrolment"}
		err := o.askAttributes(t.Context(), client)
		if err != nil && exitCode(err) != tt.code || err == nil && tt.code != exitOK {
			t.Errorf("%d: error %v, want exit code %d", tt.status, err, tt.code)
		}
		if (errs.Len() > 0) != (tt.warning != "") || !strings.Contains(errs.String(), tt.warning) {
			t.Errorf("%d: said %q, want %q", tt.status, errs.String(), tt.warning)
		}
		client.Close()
	}
}
