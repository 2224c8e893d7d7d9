package est_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"callsign/est"
)

// rfc9440 is a certificate as the field Client-Cert has it.
func rfc9440(der []byte) string { return ":" + base64.StdEncoding.EncodeToString(der) + ":" }

// nginxPEM is a certificate as nginx's $ssl_client_escaped_cert.
func nginxPEM(der []byte) string {
	return strings.ReplaceAll(url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), "+", "%20")
}

// TestTrustedProxy: who tells of a client's certificate, and whom one believes.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::1/128")}
	ca := newTestCA(t)
	device, proxy, other := ca.clientCert(t, "device"), ca.clientCert(t, "proxy"), ca.clientCert(t, "other")
	leaf := device.Certificate[0]
	for _, tt := range []struct {
		name    string
		trusted []netip.Prefix
		only    string
		header  map[string]string
		status  int
		who     string
	}{
		{"Client-Cert", here, "", map[string]string{"Client-Cert": rfc9440(leaf)}, 200, "CN=device"},
		{"Client-Cert with a chain", here, "", map[string]string{"Client-Cert": rfc9440(leaf), "Client-Cert-Chain": rfc9440(device.Certificate[1]) + ", " + rfc9440(ca.root.Raw)}, 200, "CN=device"},
		{"Client-Cert with parameters", here, "", map[string]string{"Client-Cert": rfc9440(leaf) + ";x=1"}, 200, "CN=device"},
		{"nginx", here, "", map[string]string{"X-SSL-Client-Cert": nginxPEM(leaf)}, 200, "CN=device"},
		{"both the same", here, "", map[string]string{"Client-Cert": rfc9440(leaf), "X-SSL-Client-Cert": nginxPEM(leaf)}, 200, "CN=device"},
		{"both, different", here, "", map[string]string{"Client-Cert": rfc9440(leaf), "X-SSL-Client-Cert": nginxPEM(other.Certificate[0])}, 400, ""},
		{"a client's field beside the proxy's", here, "X-SSL-Client-Cert", map[string]string{"Client-Cert": rfc9440(other.Certificate[0]), "X-SSL-Client-Cert": nginxPEM(leaf)}, 200, "CN=device"},
		{"a client's field alone", here, "X-SSL-Client-Cert", map[string]string{"Client-Cert": rfc9440(leaf)}, 401, ""},
		{"the other way round", here, "Client-Cert", map[string]string{"X-SSL-Client-Cert": nginxPEM(leaf)}, 401, ""},
		{"no field: the proxy's own certificate is nobody's", here, "", nil, 401, ""},
		{"no byte sequence", here, "", map[string]string{"Client-Cert": base64.StdEncoding.EncodeToString(leaf)}, 400, ""},
		{"without padding", here, "", map[string]string{"Client-Cert": strings.ReplaceAll(rfc9440(leaf), "=", "")}, 200, "CN=device"},
		{"bad base64", here, "", map[string]string{"Client-Cert": ":MII!:"}, 400, ""},
		{"no certificate", here, "", map[string]string{"Client-Cert": ":MAA=:"}, 400, ""},
		{"bad chain", here, "", map[string]string{"Client-Cert": rfc9440(leaf), "Client-Cert-Chain": "x"}, 400, ""},
		{"long chain", here, "", map[string]string{"Client-Cert": rfc9440(leaf), "Client-Cert-Chain": strings.Repeat(rfc9440(ca.root.Raw)+",", 11)}, 400, ""},
		{"no PEM", here, "", map[string]string{"X-SSL-Client-Cert": "%2D%2D%2D"}, 400, ""},
		{"not percent-encoded", here, "", map[string]string{"X-SSL-Client-Cert": "%zz"}, 400, ""},
		{"from anybody else", elsewhere, "", map[string]string{"Client-Cert": rfc9440(leaf)}, 200, "CN=proxy"},
		{"nginx from anybody else", elsewhere, "", map[string]string{"X-SSL-Client-Cert": nginxPEM(leaf)}, 200, "CN=proxy"},
		{"nobody is trusted", nil, "", map[string]string{"Client-Cert": "rubbish"}, 200, "CN=proxy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.anyone = true
			lines := new(logLines)
			h := &est.Handler{Backend: a, TrustedProxies: tt.trusted, ClientCertField: tt.only, Log: lines.logger()}
			url := serve(t, h, a.ca.server) + "/.well-known/est/simpleenroll"
			csr, _ := newCSR(t, "x")
			header := map[string]string{"Content-Type": pkcs10, "X-Forwarded-For": "198.51.100.9, 203.0.113.7, 127.0.0.9"}
			maps.Copy(header, tt.header)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(wrap64(csr)))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range header {
				r.Header.Set(name, value)
			}
			response, err := renewer(t, a.ca, proxy).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != tt.status {
				t.Fatalf("status %d, want %d", response.StatusCode, tt.status)
			}
			if tt.status != http.StatusOK {
				return
			}
			asked := a.requests()[0]
			if asked.Identity.Name != tt.who {
				t.Errorf("identity %q, want %q", asked.Identity.Name, tt.who)
			}
			trusted := tt.who == "CN=device"
			if got := strings.HasPrefix(asked.Peer.String(), "203.0.113.7:"); got != trusted {
				t.Errorf("peer %v", asked.Peer)
			}
			if told := strings.Contains(lines.String(), "est.untrusted_field"); told == trusted && len(tt.header) > 0 {
				t.Errorf("warning about the field: %v", told)
			}
		})
	}
}

// TestForwardedLink: a link of the client's connection to the proxy cannot be compared.
func TestForwardedLink(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode      est.LinkMode
		challenge string
		status    int
	}{
		{est.LinkOff, "x", 200},
		{est.LinkOptional, "", 200},
		{est.LinkOptional, "+rrCir/7+EYu50T4", 400},
		{est.LinkRequired, "", 400},
	} {
		a := newAuthority(t)
		a.profile.Link = tt.mode
		url := serve(t, &est.Handler{Backend: a, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, a.ca.server)
		response, body := send(t, httpClient(t, a.ca), http.MethodPost, url+"/.well-known/est/simpleenroll", wrap64(challengeCSR(t, tt.challenge)), map[string]string{"Content-Type": pkcs10})
		if response.StatusCode != tt.status {
			t.Errorf("mode %d, challenge %q: status %d: %s", tt.mode, tt.challenge, response.StatusCode, body)
		}
	}
}

// TestForwardedAddress: of a list of addresses the last that is no proxy's counts, and nothing in it but the address.
func TestForwardedAddress(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"203.0.113.7":                            "203.0.113.7:0",
		"198.51.100.9, 203.0.113.7:4711":         "203.0.113.7:4711",
		"[2001:db8::7]":                          "[2001:db8::7]:0",
		"fe80::1%x while SSL, client: 192.0.2.1": "127.0.0.1",
		"fe80::1%x while SSL EST handshaking":    "[fe80::1]:0",
		"[fe80::1%x while SSL handshaking]:4711": "[fe80::1]:4711",
		"203.0.113.7, unknown":                   "127.0.0.1",
		"203.0.113.7, ::ffff:127.0.0.1":          "203.0.113.7:0",
	} {
		a := newAuthority(t)
		url := serve(t, &est.Handler{Backend: a, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, a.ca.server)
		csr, _ := newCSR(t, "x")
		if response, body := send(t, httpClient(t, a.ca), http.MethodPost, url+"/.well-known/est/simpleenroll", wrap64(csr), map[string]string{"Content-Type": pkcs10, "X-Forwarded-For": list}); response.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", response.StatusCode, body)
		}
		if got := a.requests()[0].Peer.String(); got != want && !strings.HasPrefix(got, want+":") {
			t.Errorf("%q: peer %s, want %s", list, got, want)
		}
	}
}
