package est_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"callsign/est"
)

// dialect is a kind of client: how it writes a request, and how strictly it reads the answer.
type dialect struct {
	name string
	ask  func(t *testing.T, ca *testCA, url string, q question) rawAnswer
	// broken: the body must stand in lines; otherwise it must have no white space at all.
	broken bool
	// attributes: it asks for csrattrs.
	attributes bool
	// notes: it reads what a challenge or a 202 says for people. Bouncy Castle does not read it, and then takes the connection
	// for broken.
	notes bool
}

// question is what a client asks, in any dialect.
type question struct {
	label, operation string
	csr              []byte // nil for a GET
	auth             string
	own              []tls.Certificate
}

func (q question) method() string {
	if q.csr == nil {
		return http.MethodGet
	}
	return http.MethodPost
}

// path is /.well-known/est[/LABEL]/OPERATION.
func (q question) path() string {
	if q.label == "" {
		return "/.well-known/est/" + q.operation
	}
	return "/.well-known/est/" + q.label + "/" + q.operation
}

// text writes a request with the header of a dialect, whose lines come in its order: Content-Length and Authorization are
// put where it has "{length}" and "{auth}".
func (q question) text(path string, header []string, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", q.method(), path)
	for _, line := range header {
		switch {
		case line == "{length}" && q.csr != nil:
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
		case line == "{auth}" && q.auth != "":
			fmt.Fprintf(&b, "Authorization: %s\r\n", q.auth)
		case strings.HasPrefix(line, "Content-") && q.csr == nil, strings.HasPrefix(line, "{"):
		default:
			b.WriteString(line + "\r\n")
		}
	}
	return b.String() + "\r\n" + string(body)
}

func oneLine(der []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(der)) }

// inLines breaks base64 after n characters.
func inLines(der []byte, n int, end string) []byte {
	var b bytes.Buffer
	for line := range slices.Chunk(oneLine(der), n) {
		b.Write(line)
		b.WriteString(end)
	}
	return b.Bytes()
}

func dialects() []dialect {
	host := func(url string) string { return strings.TrimPrefix(url, "https://") }
	return []dialect{
		{
			name: "libEST 3.2.0p", broken: true, attributes: true, notes: true,
			ask: func(t *testing.T, ca *testCA, url string, q question) rawAnswer {
				t.Helper()
				text := q.text(q.path(), []string{
					"User-Agent: libest 3.2.0p", "Connection: close", "Host: " + host(url), "Accept: */*",
					"Content-Type: application/pkcs10", "{length}", "{auth}",
				}, inLines(q.csr, 64, "\n"))
				a := rawExchange(t, ca, host(url), text, q.own...) // fails when the connection stays open
				if a.header["Connection"] != "close" {
					t.Errorf("Connection: %q", a.header["Connection"])
				}
				return a
			},
		},
		{
			name: "Bouncy Castle 1.72", attributes: true,
			ask: func(t *testing.T, ca *testCA, url string, q question) rawAnswer {
				t.Helper()
				text := q.text(q.path(), []string{
					"{auth}", "Connection: close", "Host: " + host(url), "Content-Transfer-Encoding: base64", "{length}", "Content-Type: application/pkcs10",
				}, inLines(q.csr, 64, "\n"))
				// Each line of the header is written by itself, and so is its end.
				head, body, _ := strings.Cut(text, "\r\n\r\n")
				var pieces []string
				for line := range strings.SplitSeq(head, "\r\n") {
					pieces = append(pieces, line, "\r\n")
				}
				if pieces = append(pieces, "\r\n"); body != "" {
					pieces = append(pieces, body)
				}
				return rawRecords(t, ca, host(url), pieces, q.own...)
			},
		},
		{name: "strongSwan 5.9.8", ask: askAsStrongSwan},
		{
			name: "curl and openssl base64", broken: true, attributes: true, notes: true,
			ask: func(t *testing.T, ca *testCA, url string, q question) rawAnswer {
				t.Helper()
				return rawExchange(t, ca, host(url), q.text(q.path(), []string{
					"Host: " + host(url), "{auth}", "User-Agent: curl/7.88.1", "Accept: */*", "Content-Type: application/pkcs10", "{length}", "Connection: close",
				}, inLines(q.csr, 64, "\n")), q.own...)
			},
		},
		{name: "globalsign/est 1.0.6 by HTTP/1.1", broken: true, attributes: true, notes: true, ask: askAsGo(false)},
		{name: "the same by HTTP/2, as Go clients do that are told to", broken: true, attributes: true, notes: true, ask: askAsGo(true)},
	}
}

// askAsStrongSwan puts a label before the well-known path and keeps the connection to itself. It reads the header with one
// read of 1024 bytes, of any spelling of names, and the body with one read of a TLS record.
func askAsStrongSwan(t *testing.T, ca *testCA, url string, q question) rawAnswer {
	t.Helper()
	address := strings.TrimPrefix(url, "https://")
	config := clientTLS(ca)
	config.Certificates = q.own
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	path := "/.well-known/est/" + q.operation
	if q.label != "" {
		path = "/" + q.label + path
	}
	_, err = io.WriteString(conn, q.text(path, []string{"Host: " + address, "{auth}", "Content-Type: application/pkcs10", "{length}"}, oneLine(q.csr)))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, 32<<10)
	n, err := conn.Read(all[:1024])
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := bytes.Cut(all[:n], []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("no header in the first read of %d bytes", n)
	}
	length := -1
	for line := range strings.Lines(strings.ToLower(string(head))) {
		if value, ok := strings.CutPrefix(line, "content-length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What is left of the record comes with the second read, and so must everything.
	if more := length - len(body); more > 0 {
		m, err := conn.Read(all[n:])
		if err != nil {
			t.Fatal(err)
		}
		if m != more {
			t.Errorf("the second read brings %d bytes, and %d are missing: TLS socket second read failed", m, more)
		}
		n += m
	}
	return parseRaw(t, all[:n])
}

// askAsGo sends chunks, in lines of 76 with CRLF.
func askAsGo(http2 bool) func(t *testing.T, ca *testCA, url string, q question) rawAnswer {
	return func(t *testing.T, ca *testCA, url string, q question) rawAnswer {
		t.Helper()
		config := clientTLS(ca)
		config.Certificates = q.own
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
		defer transport.CloseIdleConnections()
		var body io.Reader
		if q.csr != nil {
			body = io.MultiReader(bytes.NewReader(inLines(q.csr, 76, "\r\n"))) // of unknown length
		}
		r, err := http.NewRequestWithContext(t.Context(), q.method(), url+q.path(), body)
		if err != nil {
			t.Fatal(err)
		}
		if q.csr != nil {
			r.Header.Set("Content-Type", "application/pkcs10")
			r.Header.Set("Content-Transfer-Encoding", "base64")
		}
		r.Header.Set("User-Agent", "GlobalSign EST Client v1.0.6 github.com/globalsign/est")
		r.Header.Set("Accept", "application/pkcs7-mime")
		if q.operation == "csrattrs" {
			r.Header.Set("Accept", "application/csrattrs")
		}
		if q.auth != "" {
			r.Header.Set("Authorization", q.auth)
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if want := map[bool]int{false: 1, true: 2}[http2]; response.ProtoMajor != want {
			t.Errorf("%s, want HTTP/%d", response.Proto, want)
		}
		all, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusNoContent && response.ContentLength != int64(len(all)) {
			t.Errorf("Content-Length %d over a body of %d", response.ContentLength, len(all))
		}
		a := rawAnswer{status: response.StatusCode, header: map[string]string{}, body: all, count: len(response.Header)}
		for name, values := range response.Header {
			a.header[name] = values[0]
		}
		a.header["WWW-Authenticate"] = response.Header.Get("WWW-Authenticate") // Go spells it so, whoever reads
		return a
	}
}

// journey is a client's way from nothing to a renewed certificate.
type journey struct {
	dialect
	t   *testing.T
	a   *authority
	url string
}

func (j *journey) do(what string, status int, q question) rawAnswer {
	j.t.Helper()
	got := j.ask(j.t, j.a.ca, j.url, q)
	if got.status != status {
		j.t.Fatalf("%s: status %d, want %d: %q", what, got.status, status, got.body)
	}
	switch {
	case status == http.StatusOK:
		if got.header["Content-Transfer-Encoding"] != "base64" {
			j.t.Errorf("%s: Content-Transfer-Encoding %q; Bouncy Castle needs it", what, got.header["Content-Transfer-Encoding"])
		}
	case status == http.StatusNoContent:
	case status == http.StatusUnauthorized && q.auth == "", status == http.StatusAccepted: // a step, and no end
		if j.notes == (len(got.body) == 0) {
			j.t.Errorf("%s: the note for people is %q", what, got.body)
		}
	case !strings.HasPrefix(got.header["Content-Type"], "text/plain") || len(got.body) == 0:
		j.t.Errorf("%s: no reason for people: %s %q", what, got.header["Content-Type"], got.body)
	}
	return got
}

// issued reads the certificate that answers q, which must be the only one.
func (j *journey) issued(what string, got rawAnswer, key any) tls.Certificate {
	j.t.Helper()
	if got.header["Content-Type"] != "application/pkcs7-mime; smime-type=certs-only" {
		j.t.Errorf("%s: Content-Type %q", what, got.header["Content-Type"])
	}
	certs := certsIn(j.t, got.body, j.broken)
	if len(certs) != 1 {
		j.t.Fatalf("%s: %d certificates; strongSwan and globalsign/est take only one", what, len(certs))
	}
	return tls.Certificate{Certificate: [][]byte{certs[0].Raw, j.a.ca.issuing.Raw}, PrivateKey: key, Leaf: certs[0]}
}

// TestJourneys: clients of every dialect fetch CA certificates and attributes, are challenged, told to come back, served,
// and renew. Each reads as strictly as the original does.
func TestJourneys(t *testing.T) {
	t.Parallel()
	for _, d := range dialects() {
		for _, label := range []string{"", "phones"} {
			t.Run(d.name+"/label "+label, func(t *testing.T) {
				t.Parallel()
				a := newAuthority(t)
				attributes := []byte{0x30, 0x09, 0x06, 0x07, 0x2b, 0x06, 0x01, 0x01, 0x01, 0x01, 0x16} // RFC 8951's macAddress
				a.profiles = map[string]est.Profile{"": {}, "phones": {}, "told": {Attributes: attributes}}
				waiting := true
				a.enroll = func(_ context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
					if waiting {
						waiting = false
						return est.EnrollResult{RetryAfter: 90 * time.Second, Text: "Request 4711 waits for an officer."}, nil
					}
					c, err := a.issue(r)
					return est.EnrollResult{Certificate: c}, err
				}
				j := &journey{dialect: d, t: t, a: a, url: serve(t, &est.Handler{Backend: a}, a.ca.server)}

				got := j.do("cacerts", 200, question{label: label, operation: "cacerts"})
				if n := len(certsIn(t, got.body, d.broken)); n != 2 || !strings.HasPrefix(got.header["Content-Type"], "application/pkcs7-mime") {
					t.Errorf("%d CA certificates as %q, want 2", n, got.header["Content-Type"])
				}
				if d.attributes {
					j.attributes(label, attributes)
				}

				csr, key := newCSR(t, "journey")
				q := question{label: label, operation: "simpleenroll", csr: csr}
				for what, auth := range map[string]string{"without a password": "", "a wrong password": basic("wrong")} {
					q.auth = auth
					if got := j.do(what, 401, q); got.header["WWW-Authenticate"] != `Basic realm="estrealm"` {
						t.Errorf("%s: challenge %q", what, got.header["WWW-Authenticate"])
					}
				}
				q.auth = basic("estpwd")
				if got := j.do("an officer is asked", 202, q); got.header["Retry-After"] != "90" {
					t.Errorf("Retry-After %q, want seconds", got.header["Retry-After"])
				}
				first := j.issued("enrolment", j.do("enrolment", 200, q), key)

				renewal, next := newCSR(t, "journey") // the same names, another key
				q = question{label: label, operation: "simplereenroll", csr: renewal, auth: basic("estpwd")}
				j.do("renewal without the certificate", 403, q)
				q.own, q.auth = []tls.Certificate{first}, ""
				second := j.issued("renewal", j.do("renewal", 200, q), next)
				if !next.PublicKey.Equal(second.Leaf.PublicKey) {
					t.Error("the renewed certificate is not for the new key")
				}
				q.csr, _ = newCSR(t, "other")
				j.do("renewal for another name", 403, q)
				for _, r := range a.requests() {
					if r.Label != label {
						t.Errorf("label %q, want %q", r.Label, label)
					}
				}
			})
		}
	}
}

// attributes asks for csrattrs where there are none and where there are some.
func (j *journey) attributes(label string, want []byte) {
	j.t.Helper()
	if got := j.do("no attributes", 204, question{label: label, operation: "csrattrs"}); len(got.body) != 0 {
		j.t.Errorf("204 with a body %q", got.body)
	}
	got := j.do("attributes", 200, question{label: "told", operation: "csrattrs"})
	text := strings.NewReplacer("\r\n", "", "\n", "").Replace(string(got.body))
	der, err := base64.StdEncoding.DecodeString(text) // no trailing NUL either
	if err != nil || !bytes.Equal(der, want) || got.header["Content-Type"] != "application/csrattrs" {
		j.t.Errorf("attributes %q as %q, %v", got.body, got.header["Content-Type"], err)
	}
	if strings.HasSuffix(string(got.body), "\n") != j.broken {
		j.t.Errorf("attributes end with %q", got.body[len(got.body)-1:])
	}
}
