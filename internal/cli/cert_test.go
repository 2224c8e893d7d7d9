package cli_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"callsign/internal/cli"
)

const edge = "../../chain/testdata/edge"

// verdict is what cert verify --json says, as far as the tests look at it.
type verdict struct {
	Verdict string `json:"verdict"`
	Name    string `json:"name"`
	Chain   []struct {
		Depth   int    `json:"depth"`
		Subject string `json:"subject"`
		Anchor  bool   `json:"anchor"`
	} `json:"chain"`
	Faults []struct {
		Code   string `json:"code"`
		Depth  int    `json:"depth"`
		Remedy string `json:"remedy"`
		Detail string `json:"detail"`
	} `json:"faults"`
	Curl *struct {
		Code int `json:"code"`
	} `json:"curl"`
}

// TestVerifyCorpus holds verdict and first reason of every case of the corpus, as the command prints them.
func TestVerifyCorpus(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(edge, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Leaf, Target, Expect, Reason string }
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 74 {
		t.Fatalf("%d cases, want 74", len(cases))
	}
	for _, c := range cases {
		for leaf := range strings.SplitSeq(c.Leaf, "+") {
			want, reason := map[bool]string{true: "pass", false: "fail"}[c.Expect == "accept"], c.Reason
			args := []string{}
			switch {
			case c.Expect == "negotiated" && strings.Contains(leaf, "ec"):
				want, reason = "fail", "self_signed"
			case c.Expect == "negotiated":
				want, reason = "pass", ""
			case c.ID == "revoked":
				want, reason = "fail", "revoked"
				args = append(args, "--crl", filepath.Join(edge, "crl", "root-a.crl.pem"))
			}
			t.Run(c.ID+"/"+leaf, func(t *testing.T) {
				t.Parallel()
				v, code := judge(t, append(args, filepath.Join(edge, "leaf", leaf+".pem"), "--name", c.Target)...)
				first := ""
				if len(v.Faults) > 0 {
					first = v.Faults[0].Code
				}
				if v.Verdict != want || first != reason {
					t.Errorf("got %s %s, want %s %s", v.Verdict, first, want, reason)
				}
				if wantCode := map[string]int{"pass": 0, "fail": 3}[want]; code != wantCode {
					t.Errorf("exit code %d, want %d", code, wantCode)
				}
				for _, f := range v.Faults {
					if f.Remedy == "" || f.Detail == "" {
						t.Errorf("incomplete fault: %+v", f)
					}
				}
				if want == "pass" && (len(v.Chain) == 0 || !v.Chain[len(v.Chain)-1].Anchor || v.Curl != nil) {
					t.Errorf("passes without an anchor, or with curl's words: %+v", v)
				}
				if want == "fail" && v.Curl == nil {
					t.Error("fails without curl's words")
				}
			})
		}
	}
	t.Run("revoked, without the list", func(t *testing.T) {
		t.Parallel()
		if v, code := judge(t, filepath.Join(edge, "leaf", "revoked.pem"), "--name", "cucm.lab.test"); v.Verdict != "pass" || code != 0 {
			t.Errorf("got %s, exit code %d", v.Verdict, code)
		}
	})
}

// judge runs cert verify with the trust store and the clock of the corpus.
func judge(t *testing.T, args ...string) (verdict, int) {
	t.Helper()
	var out, errw bytes.Buffer
	args = append([]string{"cert", "verify", "--json", "--at", "2026-11-20T12:00:00Z", "--trust", filepath.Join(edge, "trust.pem")}, args...)
	code := cli.Main(args, strings.NewReader(""), &out, &errw)
	var v verdict
	dec := json.NewDecoder(&out)
	if err := dec.Decode(&v); err != nil || dec.More() {
		t.Fatalf("not one JSON object: %v\n%s%s", err, out.String(), errw.String())
	}
	return v, code
}

// present serves TLS with a certificate and key until the script ends, and puts HOST:PORT into a variable: present VARIABLE
// CERT KEY [demand]. With demand it wants a client certificate.
func present(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: present VARIABLE CERT KEY [demand]")
	}
	var pair tls.Certificate
	for block, rest := pem.Decode([]byte(ts.ReadFile(args[1]))); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			pair.Certificate = append(pair.Certificate, block.Bytes)
		}
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[2])))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ts.Check(err)
	pair.PrivateKey = key
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if len(args) > 3 {
		config.ClientAuth = tls.RequireAnyClientCert
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				s := tls.Server(c, config)
				if s.Handshake() == nil {
					_, _ = io.Copy(io.Discard, s)
				}
				_ = s.Close()
			}()
		}
	}()
	ts.Setenv(args[0], l.Addr().String())
	ts.Setenv(args[0]+"_PORT", strings.TrimPrefix(l.Addr().String(), "127.0.0.1:"))
}

// TestInspectTwoCertificates: what cannot be shown of a server, here its unreadable certificate for TLS 1.3, is warned of.
func TestInspectTwoCertificates(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(0x11), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"server.test"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	good := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	negative := bytes.Replace(der, []byte{2, 1, 0x11}, []byte{2, 1, 0x91}, 1) // the serial number
	bad := tls.Certificate{Certificate: [][]byte{negative}, PrivateKey: key}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
			return &bad, nil
		}
		return &good, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	var out, errw bytes.Buffer
	code := cli.Main([]string{"cert", "inspect", l.Addr().String()}, strings.NewReader(""), &out, &errw)
	if code != 0 || !strings.Contains(out.String(), "server.test") || !strings.Contains(out.String(), "TLS 1.2") {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
	if want := "with TLS 1.3 a certificate that the server presents does not parse: negative serial number"; !strings.Contains(errw.String(), want) {
		t.Errorf("got %q, want ...%s", errw.String(), want)
	}
}

// oddcert writes a self-signed certificate whose names would play with a terminal: oddcert FILE.
func oddcert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: oddcert FILE")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "evil\x1b[2J\x07\u202Etxet", Organization: []string{"two\nlines\u200b"}}, DNSNames: []string{"evil.test\x1b[31m"},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
}
