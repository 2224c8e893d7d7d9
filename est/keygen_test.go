package est_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/cmc"
	"callsign/est"
)

// parts reads the two parts of an answer to serverkeygen.
func parts(t *testing.T, contentType string, body []byte) (kinds []string, ders [][]byte) {
	t.Helper()
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/mixed" {
		t.Fatalf("Content-Type %q", contentType)
	}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return kinds, ders
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			t.Errorf("part without Content-Transfer-Encoding: %v", p.Header)
		}
		text, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		kinds, ders = append(kinds, p.Header.Get("Content-Type")), append(ders, der)
	}
}

// fits checks that a key belongs to the certificate beside it.
func fits(t *testing.T, pkcs8, certsOnly []byte) *x509.Certificate {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := cmc.ParseCertsOnly(certsOnly)
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	public, ok := key.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certs[0].PublicKey) {
		t.Error("the certificate is for another key")
	}
	return certs[0]
}

func wishFor(t *testing.T, key crypto.Signer, attributes func(*cryptobyte.Builder)) []byte {
	t.Helper()
	plain, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}, DNSNames: []string{"device.example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	if attributes == nil {
		return plain
	}
	csr, err := x509.ParseCertificateRequest(plain)
	if err != nil {
		t.Fatal(err)
	}
	// Key and signature of such a request count for nothing, so the signature need not fit.
	return build(t, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(0)
				b.AddBytes(csr.RawSubject)
				b.AddBytes(csr.RawSubjectPublicKeyInfo)
				b.AddASN1(casn1.Tag(0).ContextSpecific().Constructed(), attributes)
			})
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
			})
			b.AddASN1BitString([]byte{1})
		})
	})
}

// encrypted are the attributes of a client that wants its key encrypted.
func encrypted(kind asn1.ObjectIdentifier, id []byte, ciphers ...asn1.ObjectIdentifier) func(*cryptobyte.Builder) {
	attribute := func(b *cryptobyte.Builder, kind asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(kind)
			b.AddASN1(casn1.SET, value)
		})
	}
	return func(b *cryptobyte.Builder) {
		attribute(b, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 15}, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, c := range ciphers {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(c) })
				}
			})
		})
		attribute(b, kind, func(b *cryptobyte.Builder) { b.AddASN1OctetString(id) })
	}
}

var (
	oidDecryptKeyID      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 37}
	oidAsymmDecryptKeyID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 54}
)

// TestServerKeygen: keys of the kind that the request has, made by the server, whatever the request's signature.
func TestServerKeygen(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.KeyGeneration = est.KeysInClear
	url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est/serverkeygen"
	client := httpClient(t, a.ca)
	header := map[string]string{"Content-Type": pkcs10, "User-Agent": "libest 3.2.0p"}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{newKey(t), rsaKey} {
		der := wishFor(t, key, nil)
		response, body := send(t, client, http.MethodPost, url, wrap64(der), header)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", response.StatusCode, body)
		}
		if response.Header.Get("Content-Length") == "" || !strings.Contains(response.Header.Get("Content-Type"), "boundary=est-server-boundary") {
			t.Errorf("header %v", response.Header)
		}
		kinds, ders := parts(t, response.Header.Get("Content-Type"), body)
		if want := []string{"application/pkcs8", "application/pkcs7-mime; smime-type=certs-only"}; !slices.Equal(kinds, want) {
			t.Errorf("parts %q", kinds)
		}
		cert := fits(t, ders[0], ders[1])
		wish, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(cert.RawSubjectPublicKeyInfo, wish.RawSubjectPublicKeyInfo) {
			t.Error("the key of the request was certified")
		}
		if cert.PublicKeyAlgorithm != wish.PublicKeyAlgorithm || cert.Subject.CommonName != "device" || !slices.Equal(cert.DNSNames, wish.DNSNames) {
			t.Errorf("certificate for %v %v %v", cert.PublicKeyAlgorithm, cert.Subject, cert.DNSNames)
		}
	}
	for _, file := range []string{"csr/keygen-badsignature.b64", "csr/nosignature-rawhash.b64", "csr/nosignature-octetstring.b64", "csr/sha1-rsa2048.b64"} {
		if response, body := send(t, client, http.MethodPost, url, readFile(t, file), header); response.StatusCode != http.StatusOK {
			t.Errorf("%s: the signature counts: status %d: %s", file, response.StatusCode, body)
		}
	}
	for name, file := range map[string]string{"short key": "csr/weak-rsa1024.b64", "no request": "csr/trailing.b64"} {
		if response, _ := send(t, client, http.MethodPost, url, readFile(t, file), header); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
}

// TestServerKeygenFixtures: the verdicts of requests for keys.
func TestServerKeygenFixtures(t *testing.T) {
	t.Parallel()
	for _, f := range fixtures(t, "keygen") {
		for _, mode := range []est.KeyGeneration{est.KeysOff, est.KeysInClear} {
			a := newAuthority(t)
			a.profile.KeyGeneration = mode
			url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est/serverkeygen"
			want := http.StatusNotImplemented
			if mode == est.KeysInClear {
				if want = f.HTTP; f.Verdict == "policy" {
					want = http.StatusBadRequest // the key that it names is not known
				}
			}
			response, body := send(t, httpClient(t, a.ca), http.MethodPost, url, readFile(t, f.File), map[string]string{"Content-Type": pkcs10})
			if response.StatusCode != want {
				t.Errorf("%s: status %d, want %d: %s", f.File, response.StatusCode, want, body)
			}
		}
	}
}

// rsaClient is a client certificate with an RSA key.
func rsaClient(t *testing.T, ca *testCA, usage x509.KeyUsage) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	leaf := makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "device"}, KeyUsage: usage, SubjectKeyId: []byte{1, 2, 3, 4}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.issuing, key.Public(), ca.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.issuing.Raw}, PrivateKey: key, Leaf: leaf}
}

// TestEncryptedKey: who asks for encryption gets an encrypted key or an error, never one in clear.
func TestEncryptedKey(t *testing.T) {
	t.Parallel()
	const both = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	unknown := asn1.ObjectIdentifier{1, 2, 3}
	for _, tt := range []struct {
		name   string
		mode   est.KeyGeneration
		usage  x509.KeyUsage
		ec     bool
		wish   func(*cryptobyte.Builder)
		status int
	}{
		{"AES-256", est.KeysEncrypted, both, false, encrypted(oidAsymmDecryptKeyID, []byte{1, 2, 3, 4}, unknown, cmc.OIDAES256CBC), 200},
		{"AES-128", est.KeysInClear, both, false, encrypted(oidAsymmDecryptKeyID, []byte{1, 2, 3, 4}, cmc.OIDAES128CBC), 200},
		{"not asked for", est.KeysEncrypted, both, false, nil, 400},
		{"unknown cipher", est.KeysInClear, both, false, encrypted(oidAsymmDecryptKeyID, []byte{1, 2, 3, 4}, unknown), 400},
		{"no cipher", est.KeysInClear, both, false, encrypted(oidAsymmDecryptKeyID, []byte{1, 2, 3, 4}), 400},
		{"another key", est.KeysInClear, both, false, encrypted(oidAsymmDecryptKeyID, []byte{4, 3, 2, 1}, cmc.OIDAES256CBC), 400},
		{"shared key", est.KeysInClear, both, false, encrypted(oidDecryptKeyID, []byte("key-0001"), cmc.OIDAES256CBC), 400},
		{"certificate that only signs", est.KeysInClear, x509.KeyUsageDigitalSignature, false, encrypted(oidAsymmDecryptKeyID, []byte{1, 2, 3, 4}, cmc.OIDAES256CBC), 400},
		{"EC certificate", est.KeysInClear, both, true, encrypted(oidAsymmDecryptKeyID, []byte{1, 2, 3, 4}, cmc.OIDAES256CBC), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.anyone = true
			a.profile.KeyGeneration = tt.mode
			signer := a.ca.clientCert(t, "RA")
			h := &est.Handler{Backend: a, KeySigner: signer.PrivateKey.(*ecdsa.PrivateKey), KeySignerChain: []*x509.Certificate{signer.Leaf}}
			url := serve(t, h, a.ca.server) + "/.well-known/est/serverkeygen"
			who := rsaClient(t, a.ca, tt.usage)
			if tt.ec {
				who = a.ca.clientCert(t, "device")
			}
			response, body := send(t, renewer(t, a.ca, who), http.MethodPost, url, wrap64(wishFor(t, newKey(t), tt.wish)), map[string]string{"Content-Type": pkcs10})
			if response.StatusCode != tt.status {
				t.Fatalf("status %d, want %d: %s", response.StatusCode, tt.status, body)
			}
			if tt.status != http.StatusOK {
				if len(a.requests()) != 0 {
					t.Error("a certificate was asked for")
				}
				return
			}
			kinds, ders := parts(t, response.Header.Get("Content-Type"), body)
			if kinds[0] != "application/pkcs7-mime; smime-type=server-generated-key" {
				t.Errorf("part %q", kinds[0])
			}
			pkcs8, by, err := cmc.OpenKey(ders[0], who.PrivateKey.(*rsa.PrivateKey))
			if err != nil {
				t.Fatal(err)
			}
			if by == nil || !by.Equal(signer.Leaf) {
				t.Errorf("signed by %v", by)
			}
			fits(t, pkcs8, ders[1])
		})
	}
}

// TestKeyWaits: who comes back after a 202 gets the certificate of the key that was made first, from another Handler with the same memory
// too; afterwards the same request is given another key.
func TestKeyWaits(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.KeyGeneration = est.KeysInClear
	ready := false
	a.enroll = func(_ context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
		if !ready {
			return est.EnrollResult{RetryAfter: time.Second}, nil
		}
		cert, err := a.issue(r)
		return est.EnrollResult{Certificate: cert}, err
	}
	keys := new(est.KeyMemory)
	wish := newKey(t)
	body := wrap64(wishFor(t, wish, nil))
	header := map[string]string{"Content-Type": pkcs10}
	ask := func() (int, *x509.Certificate) {
		t.Helper()
		url := serve(t, &est.Handler{Backend: a, Keys: keys}, a.ca.server) + "/.well-known/est/serverkeygen"
		response, answer := send(t, httpClient(t, a.ca), http.MethodPost, url, body, header)
		if response.StatusCode != http.StatusOK {
			return response.StatusCode, nil
		}
		_, ders := parts(t, response.Header.Get("Content-Type"), answer)
		return response.StatusCode, fits(t, ders[0], ders[1])
	}
	for range 2 {
		if status, _ := ask(); status != http.StatusAccepted {
			t.Fatalf("status %d", status)
		}
		body = wrap64(wishFor(t, wish, nil)) // signed anew: another link would be in it, too
	}
	ready = true
	_, first := ask()
	asked := a.requests()
	for _, r := range asked {
		if !bytes.Equal(r.CSR.Raw, asked[0].CSR.Raw) || !bytes.Equal(r.CSR.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Error("another key was asked for when the client came back")
		}
	}
	_, second := ask()
	if bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
		t.Error("the key was kept after it had been handed out")
	}
}

// TestKeysOfOneClient: who asks for key after key that the CA does not certify gets no more of the memory than his share, and a
// refused request does not make another key when it comes again.
func TestKeysOfOneClient(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.KeyGeneration = est.KeysInClear
	var keys []string
	a.enroll = func(_ context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
		keys = append(keys, string(r.CSR.RawSubjectPublicKeyInfo))
		if r.CSR.Subject.CommonName == "refused" {
			return est.EnrollResult{}, &est.Error{Status: http.StatusForbidden, ErrCode: "x.no", Text: "no"}
		}
		return est.EnrollResult{RetryAfter: time.Second}, nil
	}
	url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est/serverkeygen"
	client := httpClient(t, a.ca)
	header := map[string]string{"Content-Type": pkcs10}
	refused, _ := newCSR(t, "refused")
	for range 3 {
		if response, body := send(t, client, http.MethodPost, url, wrap64(refused), header); response.StatusCode != http.StatusForbidden {
			t.Fatalf("status %d: %s", response.StatusCode, body)
		}
	}
	if keys[0] != keys[1] || keys[1] != keys[2] {
		t.Error("a refused request is given another key each time")
	}
	last := 0
	for i := range 60 {
		csr, _ := newCSR(t, "device-"+strconv.Itoa(i))
		response, body := send(t, client, http.MethodPost, url, wrap64(csr), header)
		if last = response.StatusCode; last == http.StatusServiceUnavailable {
			if i < 45 || response.Header.Get("Retry-After") == "" {
				t.Errorf("refused at %d: %s", i, body)
			}
			return
		}
	}
	t.Errorf("no bound: the last status is %d", last)
}

// TestRefusedKeysMakeRoom: the keys of requests that were refused keep nobody from the memory, neither their own client nor others.
func TestRefusedKeysMakeRoom(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.KeyGeneration = est.KeysInClear
	const clients, each = 21, 50
	for i := range clients {
		a.users["user-"+strconv.Itoa(i)] = "estpwd"
	}
	a.enroll = func(_ context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
		if strings.HasPrefix(r.CSR.Subject.CommonName, "refused") {
			return est.EnrollResult{}, &est.Error{Status: http.StatusForbidden, ErrCode: "x.no", Text: "no"}
		}
		return est.EnrollResult{RetryAfter: time.Second}, nil
	}
	keys := new(est.KeyMemory)
	handler := &est.Handler{Backend: a, Keys: keys}
	key := newKey(t)
	ask := func(user, cn string) int {
		t.Helper()
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://ra/.well-known/est/serverkeygen", bytes.NewReader(wrap64(der)))
		r.Header.Set("Content-Type", pkcs10)
		r.SetBasicAuth(user, "estpwd")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	if status := ask("user-0", "waits"); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	for i := range clients {
		for j := range each {
			if status := ask("user-"+strconv.Itoa(i), "refused-"+strconv.Itoa(j)); status != http.StatusForbidden {
				t.Fatalf("client %d, request %d: status %d", i, j, status)
			}
		}
	}
	for _, user := range []string{"user-3", "estuser"} { // one that has had its share, and one that comes new
		if status := ask(user, "new"); status != http.StatusAccepted {
			t.Errorf("%s: status %d after the refused requests", user, status)
		}
	}
	var waited [][]byte
	if ask("user-0", "waits"); true {
		for _, r := range a.requests() {
			if r.CSR.Subject.CommonName == "waits" {
				waited = append(waited, r.CSR.RawSubjectPublicKeyInfo)
			}
		}
	}
	if len(waited) != 2 || !bytes.Equal(waited[0], waited[1]) {
		t.Error("the key of a request that waits was given up for others")
	}
}

// judge is an authority that refuses before a key is made.
type judge struct {
	*authority
	judged *atomic.Int32
}

func (j judge) Judge(_ context.Context, r est.EnrollRequest) error {
	j.judged.Add(1)
	if r.Operation != "serverkeygen" || r.Identity.Name == "" || r.CSR.PublicKey == nil {
		return errors.New("an incomplete request")
	}
	if r.CSR.Subject.CommonName == "forbidden" {
		return refuseAll(nil)
	}
	return nil
}

// TestJudgedBeforeTheKey: no key is made for a request that would be refused whatever the key; who comes back for one that waits is not
// judged again.
func TestJudgedBeforeTheKey(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.KeyGeneration = est.KeysInClear
	a.enroll = func(context.Context, est.EnrollRequest) (est.EnrollResult, error) {
		return est.EnrollResult{RetryAfter: time.Second}, nil
	}
	judged := new(atomic.Int32)
	url := serve(t, &est.Handler{Backend: judge{a, judged}}, a.ca.server) + "/.well-known/est/serverkeygen"
	client, header := httpClient(t, a.ca), map[string]string{"Content-Type": pkcs10}
	forbidden, _ := newCSR(t, "forbidden")
	for range 60 { // more than one client's share of the memory
		if response, body := send(t, client, http.MethodPost, url, wrap64(forbidden), header); response.StatusCode != http.StatusForbidden {
			t.Fatalf("status %d: %s", response.StatusCode, body)
		}
	}
	if n := len(a.requests()); n != 0 {
		t.Errorf("keys were made for %d requests", n)
	}
	judged.Store(0)
	allowed, _ := newCSR(t, "allowed")
	for range 3 {
		if response, body := send(t, client, http.MethodPost, url, wrap64(allowed), header); response.StatusCode != http.StatusAccepted {
			t.Fatalf("status %d: %s", response.StatusCode, body)
		}
	}
	if n := judged.Load(); n != 1 {
		t.Errorf("judged %d times", n)
	}
}
