package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enterprise"
	"callsign/internal/handset"
)

// TestNothingIsLeft must not run beside other tests: no goroutine and no directory outlives a demo.
func TestNothingIsLeft(t *testing.T) {
	for _, issuer := range []string{config.IssuerLocal, config.IssuerOnlineCA} {
		t.Run(issuer, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Setenv("TMPDIR", t.TempDir())
			d, err := Start(t.Context(), Options{Phones: 3, Issuer: issuer})
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, d.Report, 3, issuer)
			for _, p := range d.Report.Items {
				if p.Certificate != "" || p.Key != "" {
					t.Errorf("%s: paths %q and %q of a directory that goes away", p.Name, p.Certificate, p.Key)
				}
			}
			if _, err := os.Stat(d.Dir); err != nil {
				t.Error(err)
			}
			if err := d.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			goleak.VerifyNone(t, before)
		})
	}
}

func checkReport(t *testing.T, r Report, phones int, issuer string) {
	t.Helper()
	if r.Phones != phones || r.Issued != phones || r.Failed != 0 || len(r.Items) != phones || r.Duration <= 0 {
		t.Fatalf("report %+v", r)
	}
	serials := map[string]bool{}
	for _, p := range r.Items {
		serials[p.Serial] = true
		if p.State != "issued" || p.Mode != issuer || p.Issuer == "" || p.Error != "" {
			t.Errorf("%+v", p)
		}
		if _, err := time.Parse(time.RFC3339, p.NotAfter); err != nil {
			t.Error(err)
		}
		_, err := strconv.Atoi(p.RequestID)
		if numeric := err == nil; numeric != (issuer == config.IssuerOnlineCA) || (!numeric && p.RequestID != "") {
			t.Errorf("%s: request id %q with issuer %s", p.Name, p.RequestID, issuer)
		}
	}
	if len(serials) != phones {
		t.Errorf("%d serial numbers for %d phones", len(serials), phones)
	}
}

// startDemo starts a demo that keeps its directory.
func startDemo(t *testing.T, phones int, issuer string) *Demo {
	t.Helper()
	d, err := Start(t.Context(), Options{Phones: phones, Issuer: issuer, Dir: filepath.Join(t.TempDir(), "demo")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	checkReport(t, d.Report, phones, issuer)
	return d
}

// TestDirectory: what a kept directory holds, and that scripts can work with it.
func TestDirectory(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{config.IssuerLocal, config.IssuerOnlineCA} {
		t.Run(issuer, func(t *testing.T) {
			t.Parallel()
			d := startDemo(t, 3, issuer)
			files := []string{"ca.pem", "callsign.toml", "callsign.db", "endpoints.json", "logs/capf.txt", "logs/nginx.txt", "logs/error.log"}
			for _, p := range d.Report.Items {
				files = append(files, "phones/"+p.Name+".pem", "phones/"+p.Name+".key")
				checkPair(t, d, p)
			}
			for _, f := range files {
				if i, err := os.Stat(filepath.Join(d.Dir, f)); err != nil || i.Size() == 0 {
					t.Errorf("%s: %v", f, err)
				}
			}
			if logs, _ := filepath.Glob(filepath.Join(d.Dir, "logs", "u_ex*.log")); (len(logs) > 0) != (issuer == config.IssuerOnlineCA) {
				t.Errorf("IIS logs %v", logs)
			}
			noOpenKeys(t, d.Dir)
			checkEndpoints(t, d, issuer)
			chain, err := certfile.LoadCertificates(filepath.Join(d.Dir, "ca.pem"))
			if err != nil || len(chain) != 2 {
				t.Fatalf("ca.pem: %d certificates, %v; want issuing CA and root", len(chain), err)
			}
			openssl := needProgram(t, "openssl", "openssl")
			for _, p := range d.Report.Items {
				out := mustRun(t, nil, openssl, "verify", "-CAfile", filepath.Join(d.Dir, "ca.pem"), "-purpose", "sslclient", p.Certificate)
				if !strings.HasSuffix(strings.TrimSpace(string(out)), ": OK") {
					t.Errorf("openssl: %s", out)
				}
			}
		})
	}
}

// checkPair compares a phone's files with the report.
func checkPair(t *testing.T, d *Demo, p Phone) {
	t.Helper()
	if p.Certificate != filepath.Join(d.Dir, "phones", p.Name+".pem") || p.Key != filepath.Join(d.Dir, "phones", p.Name+".key") {
		t.Errorf("%s: paths %q and %q", p.Name, p.Certificate, p.Key)
	}
	pair, err := certfile.LoadKeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pair.Leaf()
	if leaf.Subject.CommonName != p.Name || hex.EncodeToString(leaf.SerialNumber.Bytes()) != p.Serial || leaf.Issuer.String() != p.Issuer {
		t.Errorf("%s: certificate of %s, serial %x, issuer %s", p.Name, leaf.Subject, leaf.SerialNumber, leaf.Issuer)
	}
}

// noOpenKeys demands that nobody else can read keys and passwords.
func noOpenKeys(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err == nil && (strings.HasSuffix(path, ".key") || strings.Contains(path, "password")) && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, i.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// checkEndpoints reads endpoints.json as a script does and goes to each place that it names.
func checkEndpoints(t *testing.T, d *Demo, issuer string) {
	t.Helper()
	var e app.Endpoints
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(d.Dir, app.EndpointsFile))), &e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Endpoints, e); diff != "" {
		t.Errorf("endpoints.json differs: %s", diff)
	}
	want := regexp.MustCompile(`^https://127\.0\.0\.1:\d+/\.well-known/est$`)
	if !want.MatchString(e.EST) || e.ESTUser == "" || e.CAFile != "ca.pem" || (e.Certsrv != "") != (issuer == config.IssuerOnlineCA) {
		t.Errorf("endpoints %+v", e)
	}
	if password := readFile(t, filepath.Join(d.Dir, e.ESTPasswordFile)); len(strings.TrimSpace(password)) < 16 {
		t.Errorf("password of %d characters", len(password))
	}
	roots, err := certfile.LoadPool(filepath.Join(d.Dir, e.ESTCAFile))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	places := map[string]int{e.EST + "/cacerts": http.StatusOK}
	if e.Certsrv != "" {
		places[e.Certsrv] = http.StatusUnauthorized
	}
	for url, status := range places {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != status {
			t.Errorf("%s: %s, %v", url, resp.Status, err)
		}
		_ = resp.Body.Close()
	}
	h := handset.Phone{Name: d.Report.Items[0].Name, Server: e.CAPF}
	if r, err := h.Enroll(t.Context()); err != nil || r.Operation != capf.OperationNone {
		t.Errorf("a phone that has its certificate: %v, %v", r.Operation, err)
	}
}

// iisRow is what the rows of the IIS log have in common with those of the original.
type iisRow struct {
	Method, Stem, Query, User, Agent, Referer, Status string
}

func iisRows(t *testing.T, d *Demo) []iisRow {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(d.Dir, "logs", "u_ex*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no IIS log: %v", err)
	}
	var rows []iisRow
	for _, l := range logs {
		for line := range strings.Lines(readFile(t, l)) {
			f := strings.Fields(line)
			if strings.HasPrefix(line, "#") || len(f) != 15 {
				continue
			}
			rows = append(rows, iisRow{f[3], f[4], f[5], f[7], f[9], f[10], f[11] + " " + f[12] + " " + f[13]})
		}
	}
	return rows
}

const (
	refusedLogin = "401 1 2148074254"
	movedLogin   = "301 0 0"
	wellDone     = "200 0 0"
)

// TestSevenRows: one enrolment leaves the seven rows of the original in the IIS log, after the three of the start.
func TestSevenRows(t *testing.T) {
	t.Parallel()
	d := startDemo(t, 1, config.IssuerOnlineCA)
	agent, user := "CiscoRA+1.0", enterprise.DefaultAccount
	login := []iisRow{
		{"GET", "/certsrv", "-", "-", agent, "-", refusedLogin},
		{"GET", "/certsrv", "-", user, agent, "-", movedLogin},
	}
	host := strings.TrimSuffix(d.Endpoints.Certsrv, "/certsrv")
	want := append([]iisRow{}, login...)
	want = append(want, iisRow{"GET", "/certsrv/certrqxt.asp", "-", user, agent, "-", wellDone})
	want = append(want, login...)
	want = append(want,
		iisRow{"POST", "/certsrv/certfnsh.asp", "-", user, agent, host + "/certsrv/certrqxt.asp", wellDone},
		iisRow{"GET", "/certsrv/certnew.cer", "ReqID=" + d.Report.Items[0].RequestID + "&ENC=b64", user, agent, "-", wellDone})
	rows := iisRows(t, d)
	if len(rows) < len(want)+3 {
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	start, enrolment := rows[:len(rows)-len(want)], rows[len(rows)-len(want):]
	if diff := cmp.Diff(want, enrolment); diff != "" {
		t.Errorf("rows of the enrolment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(login, start[:2]); diff != "" {
		t.Errorf("rows of the start (-want +got):\n%s", diff)
	}
	// Then the chain: as the original does, and in addition whether the CA's certificate was renewed.
	chains := 0
	for _, r := range start[2:] {
		switch {
		case r.Stem == "/certsrv/certnew.p7b" && strings.HasPrefix(r.Query, "ReqID=CACert&Renewal=0&"):
			chains++
		case r.Stem != "/certsrv/certcarc.asp":
			t.Errorf("at the start: %+v", r)
		}
		if r.Method != "GET" || r.Agent != agent || r.Status != wellDone {
			t.Errorf("at the start: %+v", r)
		}
	}
	if chains != 1 {
		t.Errorf("the chain was fetched %d times", chains)
	}
}

// TestManyPhonesInTheIISLog: one post and one fetch by number for each phone.
func TestManyPhonesInTheIISLog(t *testing.T) {
	t.Parallel()
	const phones = 6
	d := startDemo(t, phones, config.IssuerOnlineCA)
	byNumber := regexp.MustCompile(`^ReqID=(\d+)&ENC=b64$`)
	posts, fetched := 0, map[string]int{}
	for _, r := range iisRows(t, d) {
		switch {
		case r.Stem == "/certsrv/certfnsh.asp" && r.Method == "POST":
			posts++
		case r.Stem == "/certsrv/certnew.cer" && byNumber.MatchString(r.Query):
			fetched[byNumber.FindStringSubmatch(r.Query)[1]]++
		}
	}
	want := map[string]int{}
	for _, p := range d.Report.Items {
		want[p.RequestID] = 1
	}
	if diff := cmp.Diff(want, fetched); posts != phones || diff != "" {
		t.Errorf("%d posts; fetches (-want +got):\n%s", posts, diff)
	}
}

// TestTraces: what analysers look for in the traces of the original is in ours.
func TestTraces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		issuer      string
		capf, nginx []string // in this order
		errorLog    []string
	}{
		{
			issuer: config.IssuerOnlineCA,
			capf: []string{
				"Certificate Generation Method=OnlineCA:4", "Online CA hostname is 127.0.0.1", "Online CA Template is " + enterprise.DefaultTemplate,
				"CA Type is Online CA, setting up EST Connection", "EST set server details success!!",
				"CA Mode is OnlineCA, Initiating Automatic Certificate Enrollment",
				"Calling enrollCertUsingEST() csr_file=", "Inside  X509_REQ *read_csr()", "Completed action in X509_REQ *read_csr()",
				"Enrollment rv = 0 (EST_ERR_NONE) with pkcs7 length = ", "Signed Cert written to", "Return value from enrollCertUsingEST() : 0", "Online Cert Signing successful",
				"MsgType : CAPF_MSG_END_SESSION",
			},
			nginx: []string{"nginx: [warn] CA Chain requested but this value has not yet been set", "***EST [INFO]", "pop_enabled off in nginx.conf", "nginx server PID value = "},
			errorLog: []string{
				"login_to_certsrv_ca: Secure connection to MS CertServ completed successfully using the following URL",
				"retrieve_cacerts: Secure connection to MS CertServ completed successfully using the following URL",
				"ra_certsrv_ca_plugin_postconf: CA Cert chain retrieved from CA, will be passed to EST",
				"navigate_to_certsrv_page: Secure connection to MS CertServ completed successfully using the following URL", "/certsrv/certrqxt.asp",
			},
		},
		{
			issuer: config.IssuerLocal,
			capf:   []string{"Certificate Generation Method=CAPF:1", "MsgType : CAPF_MSG_END_SESSION"},
		},
	} {
		t.Run(tt.issuer, func(t *testing.T) {
			t.Parallel()
			d := startDemo(t, 1, tt.issuer)
			if err := d.Close(context.WithoutCancel(t.Context())); err != nil { // everything is written
				t.Fatal(err)
			}
			for name, want := range map[string][]string{"capf.txt": tt.capf, "nginx.txt": tt.nginx, "error.log": tt.errorLog} {
				rest := readFile(t, filepath.Join(d.Dir, "logs", name))
				whole := rest
				for _, w := range want {
					i := strings.Index(rest, w)
					if i < 0 {
						t.Errorf("%s has no %q in its place:\n%s", name, w, whole)
						break
					}
					rest = rest[i+len(w):]
				}
				if strings.Contains(whole, "EST_ERR_SSL_READ") || strings.Contains(whole, "failed with return code") {
					t.Errorf("%s tells of failures:\n%s", name, whole)
				}
			}
		})
	}
}

// needProgram returns the path of a program that a test talks to. Without it the test is skipped, and fails under CI.
func needProgram(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (Debian package %s)", name, pkg)
	}
	t.Skipf("%s is not installed (Debian package %s)", name, pkg)
	return ""
}

func mustRun(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) // a peer found by needProgram
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.Bytes()
}

func parsePEM(t *testing.T, b []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("no PEM in %q", b)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
