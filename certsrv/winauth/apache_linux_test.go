package winauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/winauth"
)

const (
	bedHost   = "lab-dc.test.example"
	bedSecret = "Secret-1-of-the-test-bed"
)

// bed is a real peer that shares no code with us: Apache with mod_auth_gssapi and gss-ntlmssp.
type bed struct {
	dir  string
	addr string
	pool *x509.CertPool
}

// need returns the path of a peer's file. Without it the test skips, or fails where CI=true promises that it is there.
func need(t *testing.T, pkg string, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	missing(t, "package "+pkg+" is not installed: none of "+strings.Join(paths, ", "))
	return ""
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func startBed(t *testing.T) *bed {
	t.Helper()
	apache := need(t, "apache2", "/usr/sbin/apache2")
	modules := filepath.Dir(need(t, "libapache2-mod-auth-gssapi", "/usr/lib/apache2/modules/mod_auth_gssapi.so"))
	need(t, "gss-ntlmssp", "/etc/gss/mech.d/mech.ntlmssp.conf")
	if os.Geteuid() != 0 {
		missing(t, "the test bed runs Apache as root and its children as www-data")
	}
	// t.TempDir is below a directory that only its owner may enter; Apache's children run as another user.
	dir, err := os.MkdirTemp("", "callsign-bed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bed{dir: dir, addr: freeAddr(t)}
	b.write(t, "www/certsrv/index.html", "welcome\n")
	b.write(t, "www/certsrv/certrqxt.asp", "page\n")
	b.write(t, "logs/.keep", "")
	b.write(t, "ntlmusers", "MICHAMEN:ciscora:"+bedSecret+"\n:ciscora@michamen.example:"+bedSecret+"\n")
	b.certificate(t)
	b.write(t, "httpd.conf", strings.NewReplacer("$T", dir, "$ADDR", b.addr, "$M", modules).Replace(bedConfig))
	for _, d := range []string{".", "www", "www/certsrv", "logs"} {
		if err := os.Chmod(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	cmd := exec.Command(apache, "-f", filepath.Join(dir, "httpd.conf"), "-DFOREGROUND")
	cmd.Env = append(os.Environ(), "NTLM_USER_FILE="+filepath.Join(dir, "ntlmusers"))
	cmd.Stdout, cmd.Stderr = &out, &out
	// Apache ends its whole process group when it is asked to end; it must have one of its own.
	// It is also to end when the test is killed, which the kernel ties to the life of this thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			log, err := os.ReadFile(filepath.Join(dir, "logs", "error.log"))
			t.Logf("apache: %s\n%s %v", out.String(), log, err)
		}
	})
	b.await(t)
	return b
}

func (b *bed) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) certificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: bedHost}, DNSNames: []string{bedHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, "srv.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	b.write(t, "srv.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	b.pool = x509.NewCertPool()
	b.pool.AddCert(cert)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func (b *bed) await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.addr)
		if err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatal("Apache does not answer")
}

func (b *bed) dialer() winauth.Dialer {
	return winauth.Dialer{
		TLS: &tls.Config{RootCAs: b.pool, MinVersion: tls.VersionTLS12}, UserAgent: "CiscoRA 1.0",
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, b.addr)
		},
	}
}

func (b *bed) login(t *testing.T, user, password string) (*winauth.Conn, *winauth.Response, error) {
	t.Helper()
	conn, err := b.dialer().Dial(t.Context(), "https://"+bedHost)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	resp, err := conn.Login(t.Context(), winauth.Request{Path: "/certsrv"}, winauth.Credentials{User: user, Password: winauth.NewPassword([]byte(password))})
	return conn, resp, err
}

// logged waits until the access log, which Apache writes after the answer, has as many lines as wanted, and compares.
func (b *bed) logged(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for end := time.Now().Add(5 * time.Second); len(got) < len(want) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(b.dir, "logs", "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		got = strings.Split(strings.TrimSpace(string(log)), "\n")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestApache logs in to a real server. The sub-tests share it and run one after the other, since it has few children.
func TestApache(t *testing.T) {
	b := startBed(t)

	t.Run("right password", func(t *testing.T) {
		conn, resp, err := b.login(t, `MICHAMEN\ciscora`, bedSecret)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Status != 301 || !strings.HasSuffix(resp.Header.Get("Location"), "/certsrv/") {
			t.Errorf("status %d, location %q", resp.Status, resp.Header.Get("Location"))
		}
		// One 401 with Type 2, one 301: no anonymous probe.
		b.logged(t, `- "GET /certsrv HTTP/1.1" 401`, `MICHAMEN\\ciscora "GET /certsrv HTTP/1.1" 301`)
		body := []byte("Mode=newreq&CertRequest=" + strings.Repeat("MII%2B", 500))
		resp, err = conn.Do(t.Context(), winauth.Request{Method: "POST", Path: "/certsrv/certrqxt.asp", Body: body})
		if err != nil || resp.Status != 200 {
			t.Errorf("POST = %+v, %v", resp, err)
		}
		b.logged(t, `- "GET /certsrv HTTP/1.1" 401`, `MICHAMEN\\ciscora "GET /certsrv HTTP/1.1" 301`,
			`MICHAMEN\\ciscora "POST /certsrv/certrqxt.asp HTTP/1.1" 200`)
	})

	forms := map[string]struct {
		user, password string
		ok             bool
	}{
		"no domain":      {"ciscora", bedSecret, true},
		"user at realm":  {"ciscora@michamen.example", bedSecret, true},
		"wrong password": {`MICHAMEN\ciscora`, "Not-The-Secret", false},
		"empty password": {`MICHAMEN\ciscora`, "", false},
		"unknown user":   {`MICHAMEN\nobody`, bedSecret, false},
		"unknown domain": {`ELSEWHERE\ciscora`, bedSecret, false},
	}
	for name, tt := range forms {
		t.Run(name, func(t *testing.T) {
			conn, resp, err := b.login(t, tt.user, tt.password)
			if tt.ok {
				if err != nil || resp.Status != 301 {
					t.Errorf("Login = %+v, %v", resp, err)
				}
				return
			}
			var e *winauth.Error
			if !errors.Is(err, winauth.ErrNotAuthenticated) || !errors.As(err, &e) {
				t.Fatalf("Login = %+v, %v", resp, err)
			}
			if e.Code() != "winauth.not-authenticated" || e.Status != 401 || e.User != tt.user || !strings.Contains(e.Remedy(), "NTLM") {
				t.Errorf("error %+v", e)
			}
			if !conn.Closed() {
				t.Error("the connection is still open")
			}
			shown := fmt.Sprintf("%v %+v %#v %s", err, e, e, e.Remedy())
			if tt.password != "" && strings.Contains(shown, tt.password) {
				t.Error("the password is in the error")
			}
		})
	}

	t.Run("8 workers, 10 requests each", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				conn, _, err := b.login(t, `MICHAMEN\ciscora`, bedSecret)
				if err != nil {
					t.Errorf("Login: %v", err)
					return
				}
				for range 10 {
					resp, err := conn.Do(t.Context(), winauth.Request{Path: "/certsrv/certrqxt.asp"})
					if err != nil || resp.Status != 200 || string(resp.Body) != "page\n" {
						t.Errorf("Do = %+v, %v", resp, err)
						return
					}
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})

	t.Run("server closes the connection", func(t *testing.T) {
		conn, _, err := b.login(t, `MICHAMEN\ciscora`, bedSecret)
		if err != nil {
			t.Fatal(err)
		}
		if !conn.Alive() {
			t.Fatal("the connection is not alive after the login")
		}
		for end := time.Now().Add(5 * time.Second); conn.Alive(); time.Sleep(20 * time.Millisecond) { // KeepAliveTimeout is 1 s
			if time.Now().After(end) {
				t.Fatal("still alive after the server's timeout")
			}
		}
		if _, err := conn.Do(t.Context(), winauth.Request{Path: "/certsrv/certrqxt.asp"}); !errors.Is(err, winauth.ErrConnectionLost) {
			t.Errorf("Do on a closed connection: %v", err)
		}
		if _, resp, err := b.login(t, `MICHAMEN\ciscora`, bedSecret); err != nil || resp.Status != 301 {
			t.Errorf("login again = %+v, %v", resp, err)
		}
	})

	t.Run("TLS", func(t *testing.T) {
		d := b.dialer()
		d.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		_, err := d.Dial(t.Context(), "https://"+bedHost)
		if !errors.Is(err, winauth.ErrTLS) {
			t.Errorf("untrusted certificate: %v", err)
		}
		if _, err := b.dialer().Dial(t.Context(), "https://other.test.example"); !errors.Is(err, winauth.ErrTLS) {
			t.Errorf("wrong name: %v", err)
		}
	})

	t.Run("password in no log", func(t *testing.T) {
		var out strings.Builder
		creds := winauth.Credentials{User: `MICHAMEN\ciscora`, Password: winauth.NewPassword([]byte(bedSecret))}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("try", "creds", creds, "pointer", &creds, "password", creds.Password, "nested", struct{ C winauth.Credentials }{creds})
		for _, f := range []string{"access.log", "error.log"} {
			log, err := os.ReadFile(filepath.Join(b.dir, "logs", f))
			if err != nil {
				t.Fatal(err)
			}
			out.Write(log)
		}
		if strings.Contains(out.String(), bedSecret) {
			t.Error("the password is in a log")
		}
	})
}

const bedConfig = `ServerRoot $T
ServerName lab-dc.test.example
PidFile $T/httpd.pid
Listen $ADDR
User www-data
Group www-data
StartServers 10
MinSpareServers 10
MaxSpareServers 16
KeepAlive On
KeepAliveTimeout 1
LoadModule mpm_prefork_module $M/mod_mpm_prefork.so
LoadModule authn_core_module $M/mod_authn_core.so
LoadModule authz_core_module $M/mod_authz_core.so
LoadModule authz_user_module $M/mod_authz_user.so
LoadModule auth_gssapi_module $M/mod_auth_gssapi.so
LoadModule mime_module $M/mod_mime.so
LoadModule dir_module $M/mod_dir.so
LoadModule ssl_module $M/mod_ssl.so
LoadModule socache_shmcb_module $M/mod_socache_shmcb.so
TypesConfig /etc/mime.types
DocumentRoot $T/www
ErrorLog $T/logs/error.log
LogLevel info auth_gssapi:debug
LogFormat "%u \"%r\" %>s" c
CustomLog $T/logs/access.log c
Mutex file:$T default
<VirtualHost $ADDR>
  SSLEngine on
  SSLCertificateFile $T/srv.pem
  SSLCertificateKeyFile $T/srv.key
  <Location /certsrv>
    AuthType GSSAPI
    AuthName "certsrv"
    GssapiAllowedMech ntlmssp
    GssapiConnectionBound On
    GssapiSSLonly On
    GssapiBasicAuth Off
    Require valid-user
  </Location>
</VirtualHost>
`
