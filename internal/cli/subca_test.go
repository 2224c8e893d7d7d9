package cli_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/cli"
	"callsign/internal/config"
	"callsign/internal/setup"
)

// subCA is the enterprise's CA behind the simulated pages: a root and an issuing CA that may have one CA below.
type subCA struct{ *local.Issuer }

// Issue implements certsrvtest.CA: what the template says stands in the extensions.
func (s subCA) Issue(ctx context.Context, r certsrvtest.Issuance) ([]byte, error) {
	return s.IssueRaw(ctx, r.PublicKey, r.RawSubject, r.Extensions, local.Options{CA: r.CA, PathLen: -1, Validity: 3 * 365 * 24 * time.Hour})
}

// Certificates implements certsrvtest.CA.
func (s subCA) Certificates() [][]*x509.Certificate { return [][]*x509.Certificate{s.Full()} }

// webEnrolment serves /certsrv of the enterprise's CA and returns a client that is logged in as a browser's user, and the URL.
func webEnrolment(t *testing.T, root *local.Issuer, password string) (*http.Client, string) {
	t.Helper()
	key, err := local.GenerateKey(rand.Reader, local.P256)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	subject, err := local.ParseSubject("CN=Enterprise Issuing CA,DC=example,DC=com")
	if err != nil {
		t.Fatal(err)
	}
	der, err := root.IssueRaw(t.Context(), spki, subject, nil, local.Options{CA: true, PathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	issuing := &local.Issuer{Certificate: cert, Signer: key, Chain: root.Full()}
	web, err := issuing.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.TLSServer, Names: []string{"127.0.0.1"}, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "web"}}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := certsrvtest.New(certsrvtest.Config{
		CA: subCA{issuing}, Basic: true, NTLM: true, Users: []certsrvtest.User{{Name: `CORP\admin`, Password: password}},
		Templates: []certsrvtest.Template{
			{Name: "CiscoRA"}, {Name: "SubCA", DisplayName: "Subordinate Certification Authority", SubCA: true, Enrollers: []string{`CORP\admin`}},
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pair := certfile.KeyPair{Chain: []*x509.Certificate{web.Certificate, cert}, Key: web.Signer}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l, &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}) // ends with Close
	}()
	roots := x509.NewCertPool()
	roots.AddCert(root.Certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}, "https://" + l.Addr().String() + "/certsrv"
}

// command runs a command in this process and returns what it printed.
func command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Main(args, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("callsign %s: exit code %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
	return out.String()
}

// TestSubordinateCA makes CAPF a subordinate of the enterprise's CA as an administrator does with a browser: request, /certsrv, chain,
// install; then a phone enrols, and OpenSSL verifies its certificate up to the enterprise's root.
func TestSubordinateCA(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	const password = "Pa55-word"
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Enterprise Root"}})
	if err != nil {
		t.Fatal(err)
	}
	client, site := webEnrolment(t, root, password)
	for _, key := range []string{"rsa:2048", "ec:384"} {
		t.Run(key, func(t *testing.T) {
			d, err := setup.New(t.Context(), setup.Options{Dir: t.TempDir(), Issuer: config.IssuerLocal, Host: "127.0.0.1", AnyPort: true, Key: local.P256})
			if err != nil {
				t.Fatal(err)
			}
			dir, conf := d.Config.Dir, "--config="+d.Config.Path
			csr := command(t, "capf", "ca", "csr", conf, "--key", key, "--subject", "CN=Phones CA,O=Example")
			bundle := filepath.Join(dir, "certnew.p7b")
			if err := os.WriteFile(bundle, browse(t, client, site, password, csr), 0o600); err != nil {
				t.Fatal(err)
			}
			told := command(t, "capf", "ca", "install", bundle, conf, "--yes")
			if !strings.Contains(told, "issued by  CN=Enterprise Issuing CA") || !strings.Contains(told, "issued by CN=Enterprise Root") {
				t.Errorf("the installation was told as:\n%s", told)
			}
			lsc := enrolled(t, d.Config.Path)
			rootFile := filepath.Join(dir, "enterprise-root.pem")
			if err := certfile.WriteCertificates(rootFile, root.Certificate); err != nil {
				t.Fatal(err)
			}
			between := filepath.Join(dir, "between.pem")
			chain := certificatesOf(t, d.Config.CA.CertificateFile, d.Config.CA.ChainFile)
			if err := certfile.WriteCertificates(between, chain...); err != nil {
				t.Fatal(err)
			}
			for _, purpose := range []string{"sslclient", "sslserver"} {
				out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", rootFile, "-untrusted", between, lsc).CombinedOutput()
				if err != nil || !strings.Contains(string(out), ": OK") {
					t.Errorf("openssl verify, purpose %s: %v\n%s", purpose, err, out)
				}
			}
		})
	}
}

// certificatesOf returns the certificates of some files.
func certificatesOf(t *testing.T, files ...string) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for _, f := range files {
		certs, err := certfile.LoadCertificates(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, certs...)
	}
	return all
}

// browse submits a request on the pages of web enrollment and downloads the certificate's chain.
func browse(t *testing.T, client *http.Client, site, password, csr string) []byte {
	t.Helper()
	do := func(method, page string, form url.Values) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, site+page, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)")
		req.SetBasicAuth(`CORP\admin`, password)
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: status %d, %v", method, page, resp.StatusCode, err)
		}
		return body
	}
	page := do(http.MethodPost, "/certfnsh.asp", url.Values{
		"Mode": {"newreq"}, "CertRequest": {csr}, "CertAttrib": {"CertificateTemplate:SubCA\r\n"}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"},
	})
	id := regexp.MustCompile(`certnew\.cer\?ReqID=(\d+)&`).FindSubmatch(page)
	if id == nil {
		t.Fatalf("the CA has not issued:\n%s", page)
	}
	if block, _ := pem.Decode(do(http.MethodGet, "/certnew.cer?ReqID="+string(id[1])+"&Enc=b64", nil)); block == nil || block.Type != "CERTIFICATE" {
		t.Error("certnew.cer is no certificate")
	}
	return do(http.MethodGet, "/certnew.p7b?ReqID="+string(id[1])+"&Enc=b64", nil)
}

// enrolled starts the product and has a phone enrol; it returns the file with the phone's certificate.
func enrolled(t *testing.T, path string) string {
	t.Helper()
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := certfile.LoadKeyPair(c.CA.CertificateFile, c.CA.KeyFile); err != nil || got.Leaf().Subject.String() != "CN=Phones CA,O=Example" {
		t.Fatalf("the CA in place is %v, %v", got, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), app.Options{Config: c, CAPF: l})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	const device = "SEP001122334455"
	command(t, "phone", "add", device, "--operation", "install", "--config="+path)
	out := filepath.Join(c.Dir, "phones")
	command(t, "handset", "enroll", "--server", l.Addr().String(), "--ca", c.CAPF.CertificateFile, "--name", device, "--out", out)
	return filepath.Join(out, device+".pem")
}
