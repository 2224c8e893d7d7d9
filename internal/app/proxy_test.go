package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"callsign/cmc"
	"callsign/internal/certfile"
)

// Addresses from which proxies call; tests and strongSwan call from 127.0.0.1.
const (
	nginxAddress = "127.0.0.2"
	goAddress    = "127.0.0.3"
)

// proxied is a product behind a proxy that ends TLS and shows a certificate of its own, which the CA of the product issued.
type proxied struct {
	*product
	url      string // of the proxy, without the well-known path
	own      tls.Certificate
	ownFiles [2]string
}

// newProxied serves a product that trusts proxies at an address; start gets the proxy to run.
func newProxied(t *testing.T, address, field string, start func(*proxied)) *proxied {
	t.Helper()
	p := &proxied{product: labelled(t, fmt.Sprintf("[ra]\ntrusted_proxies = [%q]\nclient_cert_field = %q\n[est]\nclient_ca_file = \"ca.pem\"\n", address, field))}
	csr, key := newRequest(t, "proxy")
	cert, err := p.client().SimpleEnroll(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	p.own = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	p.ownFiles = [2]string{filepath.Join(t.TempDir(), "own.pem"), filepath.Join(t.TempDir(), "own.key")}
	if err := certfile.WriteCertificates(p.ownFiles[0], cert); err != nil {
		t.Fatal(err)
	}
	if err := certfile.WriteKey(p.ownFiles[1], key); err != nil {
		t.Fatal(err)
	}
	start(p)
	return p
}

// behind is where the proxy sends requests.
func (p *proxied) behind() string {
	return strings.TrimSuffix(p.a.Endpoints().EST, "/.well-known/est")
}

// nginxConfig is the server of docs/est/nginx.md, with the addresses and files of a test, and with a certificate of its own that
// nginx shows besides. nginx compares DNS names only, and no addresses.
func (p *proxied) nginxConfig(dir, listen string) string {
	p.t.Helper()
	var server string
	for _, page := range pages(p.t) {
		if page.name == "nginx.md" {
			server = strings.Join(page.blocks("nginx"), "\n")
		}
	}
	for from, to := range map[string]string{
		"listen 8443 ssl;": "listen " + listen + " ssl;", "https://192.0.2.10:8084": p.behind(), "ra.example.com": "localhost",
		"/etc/nginx/est/ra.pem": p.c.EST.CertificateFile, "/etc/nginx/est/ra.key": p.c.EST.KeyFile, "/etc/nginx/est/ca.pem": p.c.EST.LabCAFile,
		"location / {": fmt.Sprintf("location / {\nproxy_ssl_certificate %s;\nproxy_ssl_certificate_key %s;\nproxy_bind %s;", p.ownFiles[0], p.ownFiles[1], nginxAddress),
	} {
		if !strings.Contains(server, from) {
			p.t.Fatalf("docs/est/nginx.md does not say %q", from)
		}
		server = strings.ReplaceAll(server, from, to)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // and nobody else, who could not write into the directory of the test
	}
	return fmt.Sprintf(`daemon off;
%[3]spid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
access_log off;
client_body_temp_path %[1]s/body;
proxy_temp_path %[1]s/proxy;
fastcgi_temp_path %[1]s/fastcgi;
uwsgi_temp_path %[1]s/uwsgi;
scgi_temp_path %[1]s/scgi;
%[2]s}
`, dir, server, user)
}

// runNginx starts Debian's nginx in front of the product until the test ends.
func runNginx(t *testing.T) func(*proxied) {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx" // not in everybody's PATH
		if _, err := os.Stat(nginx); err != nil {
			nginx = needProgram(t, "nginx", "nginx")
		}
	}
	return func(p *proxied) {
		t.Helper()
		dir := t.TempDir()
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		socket, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		listen := l.Addr().String()
		conf := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(conf, []byte(p.nginxConfig(dir, listen)), 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), nginx, "-p", dir, "-c", conf, "-e", "stderr")
		cmd.Stdout, cmd.Stderr = &said, &said
		// As when nginx replaces itself: it takes over a socket that listens already, so nobody else can have the port.
		cmd.Env, cmd.ExtraFiles = append(os.Environ(), "NGINX=3;"), []*os.File{socket}
		if err := errors.Join(cmd.Start(), socket.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // ended by a signal
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Error("nginx does not end")
				_ = cmd.Process.Kill()
				<-ended
			}
			if t.Failed() {
				t.Logf("nginx: %s", said.String())
			}
		})
		p.url = "https://" + listen
	}
}

// runGo starts a proxy that tells of the client's certificate as RFC 9440 says.
func runGo(t *testing.T) func(*proxied) {
	t.Helper()
	return func(p *proxied) {
		t.Helper()
		target, err := url.Parse(p.behind())
		if err != nil {
			t.Fatal(err)
		}
		roots, err := certfile.LoadPool(p.c.EST.LabCAFile)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := certfile.LoadKeyPair(p.c.EST.CertificateFile, p.c.EST.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{p.own}, MinVersion: tls.VersionTLS12},
			DialContext:     (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(goAddress)}}).DialContext,
		}
		structured := func(c *x509.Certificate) string { return ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":" }
		proxy := &httputil.ReverseProxy{
			Transport: transport, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.SetXForwarded()
				for _, name := range []string{"Client-Cert", "Client-Cert-Chain", "X-SSL-Client-Cert"} {
					r.Out.Header.Del(name)
				}
				for i, c := range r.In.TLS.PeerCertificates {
					if i == 0 {
						r.Out.Header.Set("Client-Cert", structured(c))
					} else {
						r.Out.Header.Add("Client-Cert-Chain", structured(c))
					}
				}
				if r.In.UserAgent() == "" {
					r.Out.Header["User-Agent"] = nil // and not net/http's own
				}
			},
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{
			Handler: proxy, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			TLSConfig: &tls.Config{
				Certificates: []tls.Certificate{pair.TLS()}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true,
			},
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.ServeTLS(l, "", "") }) // ends with Close
		t.Cleanup(func() {
			_ = server.Close()
			wg.Wait()
			transport.CloseIdleConnections()
		})
		p.url = "https://" + l.Addr().String()
	}
}

// post sends a request to a base URL and returns the status and, with 200, the certificate.
func (p *proxied) post(base, operation string, csr []byte, own []tls.Certificate, fields map[string]string) (int, *x509.Certificate) {
	p.t.Helper()
	tc := p.client().TLS.Clone()
	tc.Certificates = own
	transport := &http.Transport{TLSClientConfig: tc, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, base+"/.well-known/est/"+operation, strings.NewReader(base64.StdEncoding.EncodeToString(csr)))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/pkcs10")
	for name, value := range fields {
		r.Header.Set(name, value)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}
	der, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\r", "", "\n", "").Replace(string(body)))
	if err != nil {
		p.t.Fatal(err)
	}
	certs, err := cmc.ParseCertsOnly(der)
	if err != nil || len(certs) != 1 {
		p.t.Fatalf("%d certificates, %v", len(certs), err)
	}
	return response.StatusCode, certs[0]
}

// claims are the fields by which somebody claims to be the holder of a certificate, in all forms.
func claims(c *x509.Certificate) map[string]string {
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	return map[string]string{
		"Client-Cert":       ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":",
		"X-SSL-Client-Cert": strings.ReplaceAll(url.QueryEscape(block), "+", "%20"),
	}
}

// TestProxies: devices enrol and renew through proxies that end TLS and tell of their certificates. Nobody else is
// believed, and the proxy's own certificate is no client's.
func TestProxies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, address, field string
		run                  func(*testing.T) func(*proxied)
	}{
		{"nginx", nginxAddress, "X-SSL-Client-Cert", runNginx},
		{"nginx, either field", nginxAddress, "", runNginx},
		{"RFC 9440", goAddress, "Client-Cert", runGo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProxied(t, tt.address, tt.field, tt.run(t))
			c := p.client()
			c.URL = p.url + "/.well-known/est"
			csr, key := newRequest(t, "device-1")
			first, err := c.SimpleEnroll(t.Context(), csr)
			if err != nil {
				t.Fatalf("enrolment with a password through the proxy: %v", err)
			}
			device := []tls.Certificate{{Certificate: [][]byte{first.Raw}, PrivateKey: key}}
			want := func(what string, status int, base, operation string, csr []byte, own []tls.Certificate, fields map[string]string) *x509.Certificate {
				t.Helper()
				got, cert := p.post(base, operation, csr, own, fields)
				if got != status {
					t.Errorf("%s: status %d, want %d", what, got, status)
				}
				return cert
			}
			const enrol, renew = "simpleenroll", "simplereenroll"
			next, nextKey := newRequest(t, "device-1")
			other, _ := newRequest(t, "device-2")
			if c := want("renewal through the proxy", 200, p.url, renew, next, device, nil); c != nil && !nextKey.PublicKey.Equal(c.PublicKey) {
				t.Error("the renewed certificate is not for the new key")
			}
			want("renewal for another name", 403, p.url, renew, other, device, nil)
			want("enrolment with the certificate", 200, p.url, enrol, other, device, nil)
			want("no certificate, and the proxy shows its own", 401, p.url, enrol, other, nil, nil)
			want("renewal without a certificate", 403, p.url, renew, next, nil, nil)
			renewal, _ := newRequest(t, "proxy")
			want("renewal of the proxy's own certificate by a client", 403, p.url, renew, renewal, nil, nil)
			want("a client's own fields, through the proxy", 401, p.url, enrol, other, nil, claims(first))
			want("a client's own fields for a renewal, through the proxy", 403, p.url, renew, next, nil, claims(first))
			want("the same fields from somebody else", 401, p.behind(), enrol, other, nil, claims(first))
			want("the same fields from somebody else for a renewal", 403, p.behind(), renew, next, nil, claims(first))
			want("another's certificate and somebody's fields", 403, p.behind(), renew, next, []tls.Certificate{p.own}, claims(first))
			want("a renewal without the proxy", 200, p.behind(), renew, next, device, nil)
		})
	}
}

// TestStrongSwanThroughNginx: nginx neither breaks the line nor cuts the body in two, so strongSwan works behind it.
func TestStrongSwanThroughNginx(t *testing.T) {
	t.Parallel()
	nginx := runNginx(t)
	s := newSwan(t, fmt.Sprintf("[ra]\ntrusted_proxies = [%q]\nclient_cert_field = \"X-SSL-Client-Cert\"\n", nginxAddress))
	csr, key := newRequest(t, "proxy")
	cert, err := s.client().SimpleEnroll(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxied{product: s.product, own: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	p.ownFiles = [2]string{s.write("own.pem", certfile.EncodeCertificates(cert)), filepath.Join(s.dir, "own.key")}
	if err := certfile.WriteKey(p.ownFiles[1], key); err != nil {
		t.Fatal(err)
	}
	nginx(p)
	s.url = p.url
	gateway, next := s.key("gateway"), s.key("next")
	for i := range swanRuns / 4 {
		name := fmt.Sprintf("gw%d", i)
		first := s.enrol("", gateway, name, "--userpass", s.login)
		s.enrol("", next, name, "--cert", s.write(name+".pem", certfile.EncodeCertificates(first)), "--key", gateway)
		s.must(nil, append([]string{"--estca", "--url", s.url, "--caout", filepath.Join(s.dir, "ca.pem"), "--outform", "pem", "--force"}, s.anchors...)...)
	}
}
