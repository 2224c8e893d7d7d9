package certsrvtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callsign/certsrv/winauth"
	"callsign/certsrv/winauth/winauthtest"
)

// program returns the path of a peer's program. Without it the test skips, or fails where CI=true promises that it is there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (scripts/peers)", name)
	}
	t.Skipf("%s is not installed (scripts/peers)", name)
	return ""
}

// realmSite is a server in the realm of a real KDC, by this machine's clock.
type realmSite struct {
	*site
	kdc  *winauthtest.KDC
	log  *lockedBuffer
	dir  string
	name string // host and port by which clients know it
}

func startInRealm(t *testing.T, change func(*Config)) *realmSite {
	t.Helper()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, "ra", testPassword)
	file, err := os.ReadFile(k.AddService(t, "HTTP/"+winauthtest.Host))
	if err != nil {
		t.Fatal(err)
	}
	r := &realmSite{kdc: k, log: new(lockedBuffer), dir: t.TempDir()}
	c := config(t, 0)
	c.Now, c.IISLog, c.Keytab, c.Host = nil, r.log, file, winauthtest.Host
	c.Users = []User{{Name: testUser, Password: testPassword}, {Name: `LAB\ascii`, Password: "plain"}}
	c.NTLM, c.Basic, c.Negotiate = true, true, true
	if change != nil {
		change(&c)
	}
	r.site = startAs(t, c, winauthtest.Host)
	_, port, _ := net.SplitHostPort(r.addr)
	r.name = winauthtest.Host + ":" + port
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw})
	if err := os.WriteFile(filepath.Join(r.dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a program in the realm, with a credential cache of its own.
func (r *realmSite) run(t *testing.T, cache, stdin string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, name), args...)
	cmd.Env = append(append(os.Environ(), r.kdc.Env()...), "KRB5CCNAME=FILE:"+filepath.Join(r.dir, cache))
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	return string(out), err
}

// curl asks for a page and returns body and status.
func (r *realmSite) curl(t *testing.T, cache string, env []string, target string, args ...string) (body, status string) {
	t.Helper()
	args = append([]string{
		"-s", "--noproxy", "*", "--cacert", filepath.Join(r.dir, "ca.pem"), "--connect-to", r.name + ":" + r.addr,
		"-w", "\n%{http_code}", "https://" + r.name + target,
	}, args...)
	out, err := r.run(t, cache, "", env, "curl", args...)
	if err != nil {
		t.Fatalf("curl %s: %v\n%s", target, err, out)
	}
	i := strings.LastIndexByte(out, '\n')
	return out[:i], out[i+1:]
}

// TestCurlNegotiate lets curl log in by a ticket of a real KDC, and without one, and enrol by it.
func TestCurlNegotiate(t *testing.T) {
	t.Parallel()
	r := startInRealm(t, nil)
	if out, err := r.run(t, "cache", testPassword+"\n", nil, "kinit", "ra@"+winauthtest.Realm); err != nil {
		t.Fatalf("kinit: %v\n%s", err, out)
	}
	if _, status := r.curl(t, "cache", nil, "/certsrv", "--negotiate", "-u", ":"); status != "301" {
		t.Errorf("with a ticket: %s\n%s", status, r.log)
	}
	lines := r.log.lines()
	if len(lines) == 0 || !strings.Contains(lines[len(lines)-1], " 301 0 0 ") || !strings.Contains(lines[len(lines)-1], ` LAB\ra `) {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	if _, status := r.curl(t, "empty", nil, "/certsrv", "--negotiate", "-u", ":"); status != "401" {
		t.Errorf("without a ticket: %s\n%s", status, r.log)
	}
	csr, _ := newCSR(t, "curl")
	page, status := r.curl(t, "cache", nil, "/certsrv/certfnsh.asp", "--negotiate", "-u", ":", "--data", submission(csr, "CiscoRA"))
	if v := classify(page); status != "200" || v.Outcome != "issued" {
		t.Fatalf("%s %+v\n%s", status, v, page)
	}
	if body, status := r.curl(t, "cache", nil, "/certsrv/certnew.cer?ReqID=1&ENC=b64", "--negotiate", "-u", ":"); status != "200" || !strings.HasPrefix(body, "-----BEGIN CERTIFICATE-----\r\n") {
		t.Errorf("%s\n%s", status, body)
	}
	if rec, _ := r.Request(1); rec.Requester != testUser {
		t.Errorf("requester %q", rec.Requester)
	}
}

// curlVersion is what curl says of itself.
func curlVersion(t *testing.T) (major, minor int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t, "curl"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(out), "curl %d.%d.", &major, &minor); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return major, minor
}

// TestCurlProtected holds curl against Extended Protection. Its own NTLM knows no channel bindings; with tickets it sends
// them from version 8.10 on, where its TLS library tells it the certificate.
func TestCurlProtected(t *testing.T) {
	t.Parallel()
	r := startInRealm(t, nil)
	if out, err := r.run(t, "cache", testPassword+"\n", nil, "kinit", "ra@"+winauthtest.Realm); err != nil {
		t.Fatalf("kinit: %v\n%s", err, out)
	}
	major, minor := curlVersion(t)
	binds := major > 8 || major == 8 && minor >= 10
	for _, epa := range []EPA{EPAOff, EPAAccept, EPARequire} {
		if err := r.SetConditions(Conditions{EPA: epa}); err != nil {
			t.Fatal(err)
		}
		for _, login := range [][]string{{"--negotiate", "-u", ":"}, {"--ntlm", "-u", `LAB\ascii:plain`}} {
			_, status := r.curl(t, "cache", nil, "/certsrv", login...)
			lines := r.log.lines()
			last := lines[len(lines)-1]
			switch {
			case epa != EPARequire:
				if status != "301" || !strings.Contains(last, " 301 0 0 ") {
					t.Errorf("%s, %s: %s, %s", epa, login[0], status, last)
				}
			case login[0] == "--negotiate" && binds && status == "301":
			case status != "401" || !strings.Contains(last, " 401 1 2148074310 "):
				t.Errorf("%s, %s, curl %d.%d: %s, %s; want it refused", epa, login[0], major, minor, status, last)
			}
		}
	}
}

// TestCurlNegotiateNTLM is curl with gss-ntlmssp: NTLM inside SPNEGO when there is no ticket.
func TestCurlNegotiateNTLM(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/etc/gss/mech.d/mech.ntlmssp.conf"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("gss-ntlmssp is not installed (scripts/peers)")
		}
		t.Skip("gss-ntlmssp is not installed (scripts/peers)")
	}
	r := startInRealm(t, nil)
	file := filepath.Join(r.dir, "ntlm")
	for _, tc := range []struct{ password, want string }{{"plain", "301"}, {"wrong", "401"}} {
		if err := os.WriteFile(file, []byte("LAB:ascii:"+tc.password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := len(r.log.lines())
		_, status := r.curl(t, "empty", []string{"NTLM_USER_FILE=" + file}, "/certsrv", "--negotiate", "-u", ":")
		lines := r.log.lines()[before:]
		if status != tc.want {
			t.Errorf("password %q: %s\n%s", tc.password, status, strings.Join(lines, "\n"))
		}
		if !strings.Contains(strings.Join(lines, "\n"), "401 1 2148074254 ") {
			t.Errorf("no NTLM leg in the log:\n%s", strings.Join(lines, "\n"))
		}
	}
}

// TestWinauthNegotiate logs our own client in by Kerberos, which sends bindings and wants the server's proof, and by
// NTLM, against every setting of Extended Protection, on both versions of TLS.
func TestWinauthNegotiate(t *testing.T) {
	t.Parallel()
	r := startInRealm(t, nil)
	conf, err := os.ReadFile(r.kdc.Config())
	if err != nil {
		t.Fatal(err)
	}
	k, err := winauth.NewKerberos(winauth.KerberosConfig{
		User: "ra@" + winauthtest.Realm, Password: winauth.NewPassword([]byte(testPassword)), Krb5Conf: conf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	ntlm := winauth.Credentials{User: testUser, Password: winauth.NewPassword([]byte(testPassword))}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, epa := range []EPA{EPAOff, EPAAccept, EPARequire} {
			if err := r.SetConditions(Conditions{EPA: epa}); err != nil {
				t.Fatal(err)
			}
			for _, bound := range []bool{true, false} {
				for _, creds := range []winauth.Credentials{k.Credentials(), ntlm} {
					conf := r.tls.Clone()
					conf.MinVersion, conf.MaxVersion = version, version
					d := r.dialer()
					d.TLS, d.NoChannelBinding = conf, !bound
					conn, err := d.Dial(t.Context(), "https://"+winauthtest.Host)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := conn.Login(t.Context(), winauth.Request{Path: "/certsrv"}, creds)
					ok := err == nil && resp.Status == http.StatusMovedPermanently
					if want := bound || epa != EPARequire; ok != want {
						t.Errorf("TLS %x, %s, bound %v, %s: %v", version, epa, bound, creds.Method, err)
					}
					_ = conn.Close()
				}
			}
		}
	}
}

// TestRealTickets logs in by tickets of a real KDC, good ones and others, with what IIS logs for each.
func TestRealTickets(t *testing.T) {
	t.Parallel()
	var offset atomic.Int64 // of the web server's clock
	r := startInRealm(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		c.Users = []User{{Name: testUser}, {Name: `LAB\gone`, State: AccountDisabled}}
		c.EPA = EPARequire
	})
	r.kdc.AddUser(t, "gone", "secret of one who left")
	file, err := os.ReadFile(r.kdc.Keytab(t, "ra"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := winauth.ParseKeytab(file)
	if err != nil {
		t.Fatal(err)
	}
	byPassword := winauth.KerberosConfig{User: "ra", Password: winauth.NewPassword([]byte(testPassword))}
	for _, tc := range []struct {
		name    string
		account winauth.KerberosConfig
		clock   time.Duration
		before  func()
		log     string       // of the last line; empty: the web server is not asked
		kind    winauth.Kind // of the client's error
	}{
		{name: "password", account: byPassword, log: `LAB\ra 127.0.0.1 - - 301 0 0`},
		{name: "keytab", account: winauth.KerberosConfig{User: "ra", Keytab: keys}, log: `LAB\ra 127.0.0.1 - - 301 0 0`},
		{
			name: "disabled on the web server's side", account: winauth.KerberosConfig{User: "gone", Password: winauth.NewPassword([]byte("secret of one who left"))},
			log: "- 127.0.0.1 - - 401 1 2148074252", kind: winauth.KindNotAuthenticated,
		},
		{name: "wrong password", account: winauth.KerberosConfig{User: "ra", Password: winauth.NewPassword([]byte("wrong"))}, kind: winauth.KindWrongPassword},
		{name: "nobody", account: winauth.KerberosConfig{User: "nobody", Password: winauth.NewPassword([]byte("wrong"))}, kind: winauth.KindUnknownUser},
		{name: "web server 4 minutes ahead", account: byPassword, clock: 4 * time.Minute, log: `LAB\ra 127.0.0.1 - - 301 0 0`},
		{name: "web server 6 minutes ahead", account: byPassword, clock: 6 * time.Minute, log: "- 127.0.0.1 - - 401 1 2148074276", kind: winauth.KindNotAuthenticated},
		{name: "web server 6 minutes behind", account: byPassword, clock: -6 * time.Minute, log: "- 127.0.0.1 - - 401 1 2148074276", kind: winauth.KindNotAuthenticated},
		{name: "ticket expired for the web server", account: byPassword, clock: 24 * time.Hour, log: "- 127.0.0.1 - - 401 1 2148074263", kind: winauth.KindNotAuthenticated},
		{
			name: "the service has a new password", account: byPassword, before: func() { r.kdc.Admin(t, "cpw", "-randkey", "HTTP/"+winauthtest.Host+"@"+winauthtest.Realm) },
			log: "- 127.0.0.1 - - 401 1 2148074252", kind: winauth.KindNotAuthenticated,
		},
		{
			name: "the KDC does not know the service", account: byPassword, before: func() { r.kdc.Admin(t, "delprinc", "-force", "HTTP/"+winauthtest.Host+"@"+winauthtest.Realm) },
			kind: winauth.KindUnknownService,
		},
	} {
		if tc.before != nil {
			tc.before()
		}
		offset.Store(int64(tc.clock))
		tc.account.Realm, tc.account.KDCs = winauthtest.Realm, []string{r.kdc.Addr()}
		before := len(r.log.lines())
		err := r.login(t, tc.account)
		var e *winauth.Error
		switch {
		case tc.kind == 0 && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.kind != 0 && (!errors.As(err, &e) || e.Kind != tc.kind):
			t.Errorf("%s: %v, want kind %v", tc.name, err, tc.kind)
		}
		lines := r.log.lines()[before:]
		switch {
		case tc.log == "":
			if len(lines) != 0 {
				t.Errorf("%s: the web server was asked: %q", tc.name, lines)
			}
		case len(lines) != 1 || !strings.Contains(lines[0], " "+tc.log+" "):
			t.Errorf("%s: log %q, want %s", tc.name, lines, tc.log)
		}
	}
}

// login logs in by a ticket for an account.
func (r *realmSite) login(t *testing.T, account winauth.KerberosConfig) error {
	t.Helper()
	k, err := winauth.NewKerberos(account)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	conn, err := r.dialer().Dial(t.Context(), "https://"+winauthtest.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Login(t.Context(), winauth.Request{Path: "/certsrv"}, k.Credentials())
	return err
}

// dialer reaches the site whatever its name.
func (r *realmSite) dialer() winauth.Dialer {
	return winauth.Dialer{TLS: r.tls, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.addr)
	}}
}

// TestCurlEnrols lets curl post a request and fetch the certificate, in one run on one connection for NTLM.
func TestCurlEnrols(t *testing.T) {
	t.Parallel()
	curl := program(t, "curl")
	for _, scheme := range []string{"--basic", "--ntlm", "--anyauth"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			log := new(lockedBuffer)
			c := config(t, 0)
			c.IISLog = log
			c.Users = append(c.Users, User{Name: `LAB\ascii`, Password: "plain"})
			s := start(t, c)
			csr, key := newCSR(t, "curl")
			dir := t.TempDir()
			write := func(name string, b []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			request := write("csr.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
			page, certificate := filepath.Join(dir, "page"), filepath.Join(dir, "certificate")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			common := []string{"-sSf", "--noproxy", "*", "--cacert", write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})), scheme, "-u", `LAB\ascii:plain`, "-A", "Mozilla/5.0"}
			args := append(common, "-o", page, "--data-urlencode", "CertRequest@"+request, "-d", "Mode=newreq", "--data-urlencode", "CertAttrib=CertificateTemplate:CiscoRA", s.url+"/certsrv/certfnsh.asp", "--next")
			args = append(append(args, common...), "-o", certificate, s.url+"/certsrv/certnew.cer?ReqID=1&Enc=b64")
			if out, err := exec.CommandContext(ctx, curl, args...).CombinedOutput(); err != nil {
				t.Fatalf("curl: %v\n%s\n%s", err, out, log)
			}
			answer, err := os.ReadFile(page)
			if err != nil || classify(string(answer)) != (verdict{"issued", "1", ""}) {
				t.Errorf("%v\n%s", err, answer)
			}
			text, err := os.ReadFile(certificate)
			if err != nil {
				t.Fatal(err)
			}
			if leaf := parseLeaf(t, string(text)); !bytes.Equal(leaf.RawSubjectPublicKeyInfo, publicKey(t, key)) {
				t.Error("the certificate has another key")
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}
