package app_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestLibESTThroughNginx asks as libEST does, for whom a proxy must not change the spelling of a field, add too many of them, send
// chunks, or leave the connection open.
func TestLibESTThroughNginx(t *testing.T) {
	t.Parallel()
	p := newProxied(t, nginxAddress, "X-SSL-Client-Cert", runNginx(t))
	c := p.client()
	csr, _ := newRequest(t, "libest")
	body := base64.StdEncoding.EncodeToString(csr)
	for _, tt := range []struct {
		name, auth string
		lines      []string
	}{
		{"challenged", "", []string{"HTTP/1.1 401 Unauthorized", `WWW-Authenticate: Basic realm="callsign"`}},
		{"served", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.User+":"+string(c.Password))) + "\r\n", []string{
			"HTTP/1.1 200 OK", "Content-Type: application/pkcs7-mime; smime-type=certs-only", "Content-Transfer-Encoding: base64",
		}},
	} {
		address := strings.TrimPrefix(p.url, "https://")
		tc := c.TLS.Clone()
		tc.MaxVersion, tc.CurvePreferences = tls.VersionTLS12, []tls.CurveID{tls.CurveP256}
		conn, err := (&tls.Dialer{Config: tc}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil { // libEST's patience
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "POST /.well-known/est/simpleenroll HTTP/1.1\r\nUser-Agent: Cisco EST client 1.0\r\nConnection: close\r\nHost: %s\r\nAccept: */*\r\n"+
			"Content-Type: application/pkcs10\r\nContent-Length: %d\r\n%s\r\n%s", address, len(body), tt.auth, body)
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Fatalf("%s: the connection does not end as TLS has it: %v", tt.name, err)
		}
		head, rest, _ := bytes.Cut(all, []byte("\r\n\r\n"))
		for _, line := range append(tt.lines, fmt.Sprintf("Content-Length: %d", len(rest))) {
			if !strings.Contains(string(head)+"\r\n", line+"\r\n") {
				t.Errorf("%s: no line %q in\n%s", tt.name, line, head)
			}
		}
		if fields := strings.Count(string(head), "\r\n"); fields > 16 || len(head) > 1000 {
			t.Errorf("%s: %d fields in %d bytes", tt.name, fields, len(head))
		}
	}
}
