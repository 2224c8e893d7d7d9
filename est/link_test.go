package est_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/est"
)

// linkedCSR makes a request for a name, with a challengePassword as libEST writes it; without one for the empty string.
func linkedCSR(t testing.TB, key *ecdsa.PrivateKey, name, link string) []byte {
	t.Helper()
	plain, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	if link == "" {
		return plain
	}
	csr, err := x509.ParseCertificateRequest(plain)
	if err != nil {
		t.Fatal(err)
	}
	info := build(t, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(csr.RawSubject)
			b.AddBytes(csr.RawSubjectPublicKeyInfo)
			b.AddASN1(casn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7})
					b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
						b.AddASN1(casn1.PrintableString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(link)) })
					})
				})
			})
		})
	})
	sum := sha256.Sum256(info)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return build(t, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(info)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
			})
			b.AddASN1BitString(signature)
		})
	})
}

// challengeCSR is linkedCSR with a new key.
func challengeCSR(t testing.TB, challenge string) []byte {
	t.Helper()
	return linkedCSR(t, newKey(t), "linked", challenge)
}

func build(t testing.TB, f func(*cryptobyte.Builder)) []byte {
	t.Helper()
	var b cryptobyte.Builder
	f(&b)
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// onConnection posts what make returns for the connection on which it is sent, as a client does that links.
func onConnection(t *testing.T, config *tls.Config, url string, make func(tls.ConnectionState) []byte) (status int, body string) {
	t.Helper()
	host := strings.TrimPrefix(url, "https://")
	conn, err := tls.Dial("tcp", host, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	csr := make(conn.ConnectionState())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/.well-known/est/simpleenroll", bytes.NewReader(wrap64(csr)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", pkcs10)
	r.SetBasicAuth("estuser", "estpwd")
	r.Close = true
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, text, _ := strings.Cut(string(answer), "\r\n\r\n")
	return statusOf(t, head), text
}

func statusOf(t *testing.T, head string) int {
	t.Helper()
	line, _, _ := strings.Cut(head, "\r\n")
	for _, s := range []int{200, 202, 400, 401, 403, 500} {
		if strings.Contains(line, " "+http.StatusText(s)) {
			return s
		}
	}
	t.Fatalf("status line %q", line)
	return 0
}

// TestLinks: right, wrong and absent links, on TLS 1.2 with and without extended master secret (resumed), and on TLS 1.3, in every mode. The
// client computes the values by itself.
func TestLinks(t *testing.T) {
	t.Parallel()
	unique := func(cs tls.ConnectionState) string { return base64.StdEncoding.EncodeToString(cs.TLSUnique) }
	exporter := func(cs tls.ConnectionState) string {
		value, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		if err != nil {
			t.Error(err)
		}
		return base64.StdEncoding.EncodeToString(value)
	}
	absent := func(tls.ConnectionState) string { return "" }
	wrong := func(tls.ConnectionState) string { return "+rrCir/7+EYu50T4" }
	modes := []est.LinkMode{est.LinkOff, est.LinkOptional, est.LinkRequired}
	for _, tt := range []struct {
		name    string
		version uint16
		link    func(tls.ConnectionState) string
		want    [3]int // by mode
		linked  [3]bool
	}{
		{"1.2 tls-unique", tls.VersionTLS12, unique, [3]int{200, 200, 200}, [3]bool{false, true, true}},
		{"1.2 tls-exporter", tls.VersionTLS12, exporter, [3]int{200, 200, 200}, [3]bool{false, true, true}},
		{"1.2 wrong", tls.VersionTLS12, wrong, [3]int{200, 400, 400}, [3]bool{}},
		{"1.2 absent", tls.VersionTLS12, absent, [3]int{200, 200, 400}, [3]bool{}},
		{"1.3 tls-exporter", tls.VersionTLS13, exporter, [3]int{200, 200, 200}, [3]bool{false, true, true}},
		{"1.3 wrong", tls.VersionTLS13, wrong, [3]int{200, 400, 400}, [3]bool{}},
		{"1.3 empty tls-unique", tls.VersionTLS13, func(cs tls.ConnectionState) string { return unique(cs) + "-" }, [3]int{200, 400, 400}, [3]bool{}},
		{"1.3 absent", tls.VersionTLS13, absent, [3]int{200, 200, 400}, [3]bool{}},
	} {
		for i, mode := range modes {
			t.Run(tt.name+[]string{" off", " optional", " required"}[i], func(t *testing.T) {
				t.Parallel()
				a := newAuthority(t)
				a.profile.Link = mode
				url := serve(t, &est.Handler{Backend: a}, a.ca.server)
				config := clientTLS(a.ca)
				config.ServerName, config.MinVersion, config.MaxVersion = "localhost", tt.version, tt.version
				var sent string
				status, body := onConnection(t, config, url, func(cs tls.ConnectionState) []byte {
					sent = tt.link(cs)
					return challengeCSR(t, sent)
				})
				if status != tt.want[i] {
					t.Fatalf("status %d, want %d: %s", status, tt.want[i], body)
				}
				asked := a.requests()
				if status != http.StatusOK {
					if len(asked) != 0 {
						t.Error("the backend was asked")
					}
					if !strings.Contains(body, "TLS connection") {
						t.Errorf("%q does not say what is wrong", body)
					}
					return
				}
				if asked[0].Linked != tt.linked[i] {
					t.Errorf("linked %v", asked[0].Linked)
				}
				challenge := sent
				if tt.linked[i] {
					challenge = ""
				}
				if asked[0].Challenge != challenge {
					t.Errorf("challenge for the CA %q, want %q", asked[0].Challenge, challenge)
				}
			})
		}
	}
}

// TestLinkOfResumedSession: a resumed session has other values, and who resumes can link as well.
func TestLinkOfResumedSession(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		a := newAuthority(t)
		a.profile.Link = est.LinkRequired
		url := serve(t, &est.Handler{Backend: a}, a.ca.server)
		config := clientTLS(a.ca)
		config.ServerName, config.MinVersion, config.MaxVersion = "localhost", version, version
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		var resumed bool
		var last string
		for range 3 {
			status, body := onConnection(t, config, url, func(cs tls.ConnectionState) []byte {
				resumed = cs.DidResume
				link := est.LinksOf(&cs).Best()
				if link == last || link == "" {
					t.Errorf("link %q again", link)
				}
				last = link
				return challengeCSR(t, link)
			})
			if status != http.StatusOK {
				t.Fatalf("%s: status %d: %s", tls.VersionName(version), status, body)
			}
		}
		if !resumed {
			t.Errorf("%s: no session was resumed", tls.VersionName(version))
		}
	}
}

// TestLinkFixtures: links of other connections are refused where links count, whichever attribute and string type carries them.
func TestLinkFixtures(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.Link = est.LinkOptional
	url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est/simpleenroll"
	client := httpClient(t, a.ca)
	tested := 0
	for _, f := range fixtures(t, "csr") {
		if f.Verdict != "accept-if-linked" && f.File != "csr/challenge-notlink.b64" {
			continue
		}
		tested++
		response, body := send(t, client, http.MethodPost, url, readFile(t, f.File), map[string]string{"Content-Type": pkcs10})
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d: %s", f.File, response.StatusCode, body)
		}
	}
	if tested < 5 {
		t.Errorf("only %d fixtures with links", tested)
	}
}

// TestAttributesNameTheLink: where a link is demanded and possible, csrattrs says so.
func TestAttributesNameTheLink(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		mode       est.LinkMode
		attributes string
		want       string
	}{
		{"off, nothing to say", est.LinkOff, "", ""},
		{"required, nothing else", est.LinkRequired, "", "MAsGCSqGSIb3DQEJBw=="},
		{"required beside another", est.LinkRequired, "MAoGCCqGSM49BAMC", "MBUGCSqGSIb3DQEJBwYIKoZIzj0EAwI="},
		{"required and there already", est.LinkRequired, "MAsGCSqGSIb3DQEJBw==", "MAsGCSqGSIb3DQEJBw=="},
		{"optional", est.LinkOptional, "MAoGCCqGSM49BAMC", "MAoGCCqGSM49BAMC"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.profile.Link = tt.mode
			a.profile.Attributes, _ = base64.StdEncoding.DecodeString(tt.attributes)
			url := serve(t, &est.Handler{Backend: a}, a.ca.server)
			response, body := send(t, httpClient(t, a.ca), http.MethodGet, url+"/.well-known/est/csrattrs", nil, nil)
			if tt.want == "" {
				if response.StatusCode != http.StatusNoContent {
					t.Errorf("status %d", response.StatusCode)
				}
				return
			}
			if got := strings.TrimSpace(string(body)); response.StatusCode != http.StatusOK || got != tt.want || response.Header.Get("Content-Type") != "application/csrattrs" {
				t.Errorf("status %d, type %s, body %s", response.StatusCode, response.Header.Get("Content-Type"), got)
			}
		})
	}
}

// TestCompareLink: also for a request that nobody has signed.
func TestCompareLink(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][2]bool{"": {false, false}, "something": {true, false}} {
		csr, err := x509.ParseCertificateRequest(challengeCSR(t, value))
		if err != nil {
			t.Fatal(err)
		}
		present, right := est.CompareLink(csr, &tls.ConnectionState{})
		if [2]bool{present, right} != want {
			t.Errorf("%q: present %v, right %v", value, present, right)
		}
	}
}
