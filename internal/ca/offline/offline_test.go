package offline_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/cmc"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/ca/offline"
	"callsign/internal/certfile"
)

const device = "SEP001122334455"

var made = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func now() time.Time { return made }

func newRoot(t *testing.T, name string) *local.Issuer {
	t.Helper()
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: name}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// bare is the request of a phone that delivered a key of this kind.
func bare(t *testing.T, kind local.KeyKind) ca.Request {
	t.Helper()
	key, err := local.GenerateKey(rand.Reader, kind)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	subject, err := asn1.Marshal(pkix.Name{CommonName: device, Organization: []string{"Example"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	san := append([]byte{0x30, byte(len(device) + 2), 0x86, byte(len(device))}, device...)
	return ca.Request{
		ID: "7f3a9c0000000000000000000000abcd", Owner: "phone:" + device, PublicKey: spki, Subject: subject, Vouch: "string",
		Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
	}
}

func TestIssueWaits(t *testing.T) {
	t.Parallel()
	root := newRoot(t, "Offline Root")
	a := offline.New([]*x509.Certificate{root.Certificate})
	out, err := a.Issue(t.Context(), bare(t, local.P256), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ca.Outcome{Status: ca.Pending, RequestID: "7f3a9c00", RetryAfter: 7 * 24 * time.Hour}, out); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if certs, err := a.Chain(t.Context()); err != nil || len(certs) != 1 {
		t.Errorf("Chain: %d certificates, %v", len(certs), err)
	}
	if certs, err := offline.New(nil).Chain(t.Context()); err != nil || len(certs) != 0 {
		t.Errorf("Chain of an unknown CA: %d certificates, %v", len(certs), err)
	}
	if _, private := any(a).(ca.Private); private {
		t.Error("the authority promises to be private: its rows would begin as issued")
	}
	r := bare(t, local.P256)
	r.Vouch = ""
	out, err = a.Issue(t.Context(), r, nil)
	if err != nil || out.Status != ca.Denied || out.Denial.Code() != offline.CodeNotVouched {
		t.Errorf("a key that nobody vouches for: %+v, %v", out, err)
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	for _, agentKey := range []local.KeyKind{local.P256, local.RSA2048} {
		t.Run("agent "+string(agentKey), func(t *testing.T) {
			t.Parallel()
			root := newRoot(t, "Agent Root")
			agent, err := root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.EnrollmentAgent, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "Agent"}, Key: agentKey}})
			if err != nil {
				t.Fatal(err)
			}
			x := offline.Exporter{Agent: agent.Signer, AgentChain: []*x509.Certificate{agent.Certificate}, Template: "Phone"}
			for _, kind := range []local.KeyKind{local.RSA2048, local.P256, local.P384, local.P521} {
				r := bare(t, kind)
				for _, form := range offline.Forms() {
					first, err := x.Request(r, form, made)
					if err != nil {
						t.Fatalf("%s of %s: %v", form, kind, err)
					}
					again, err := x.Request(r, form, made)
					if err != nil || !bytes.Equal(first, again) {
						t.Errorf("%s of %s is another one the second time (%v)", form, kind, err)
					}
					block, rest := pem.Decode(first)
					if block == nil || len(rest) > 0 {
						t.Fatalf("%s is no single PEM block:\n%s", form, first)
					}
					checkForm(t, r, form, block.Bytes, agent.Certificate)
				}
			}
		})
	}
}

// TestOnBehalf: a CMC request names the account of a device that may have one, and no other is written.
func TestOnBehalf(t *testing.T) {
	t.Parallel()
	agent, err := newRoot(t, "Agent Root").NewLeaf(t.Context(), local.LeafOptions{Purpose: local.EnrollmentAgent, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "Agent"}}})
	if err != nil {
		t.Fatal(err)
	}
	x := offline.Exporter{Agent: agent.Signer, AgentChain: []*x509.Certificate{agent.Certificate}, Template: "Phone"}
	r := bare(t, local.P256)
	for names, ok := range map[string]bool{".*": true, "nobody": false} {
		if x.Account, err = cmc.ParseAccountPattern(`LAB\{name}$`, names); err != nil {
			t.Fatal(err)
		}
		text, err := x.Request(r, offline.FormCMC, made)
		if !ok {
			var coded *ca.Error
			if !errors.As(err, &coded) || coded.Code() != offline.CodeRequest {
				t.Errorf("a name that may not be asked for: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		checkForm(t, r, offline.FormCMC, block.Bytes, agent.Certificate)
		if !bytes.Contains(block.Bytes, []byte("RequesterName=LAB%5C")) {
			t.Error("no account is named")
		}
	}
}

// checkForm reads a request as its receiver does.
func checkForm(t *testing.T, r ca.Request, form offline.Form, der []byte, agent *x509.Certificate) {
	t.Helper()
	switch form {
	case offline.FormSPKI:
		if !bytes.Equal(der, r.PublicKey) {
			t.Error("the public key is another one")
		}
	case offline.FormPKCS10:
		got, err := cmc.CheckNullSignature(der)
		if err != nil || got != cmc.RFC {
			t.Errorf("PKCS#10 without a signature: form %v, %v", got, err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || !bytes.Equal(csr.RawSubjectPublicKeyInfo, r.PublicKey) || !bytes.Equal(csr.RawSubject, r.Subject) || len(csr.URIs) != 1 {
			t.Errorf("PKCS#10 of another request: %v", err)
		}
	case offline.FormCMC:
		m, err := cmc.Open(der)
		if err != nil {
			t.Fatal(err)
		}
		signed := slices.ContainsFunc(m.Signers, func(s cmc.Signer) bool {
			return s.Err == nil && s.Certificate != nil && s.Certificate.Equal(agent)
		})
		if !signed || !bytes.Contains(der, r.PublicKey) || !bytes.Contains(der, []byte("CertificateTemplate=Phone&")) {
			t.Errorf("the agent signed: %v; or key or template is missing", signed)
		}
	}
}

func TestRequestsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	broken := bare(t, local.P256)
	broken.PublicKey = []byte("no key")
	for name, tc := range map[string]struct {
		request ca.Request
		form    offline.Form
		code    string
	}{
		"CMC without an agent": {bare(t, local.P256), offline.FormCMC, offline.CodeNoAgent},
		"a broken key":         {broken, offline.FormPKCS10, offline.CodeRequest},
		"an unknown form":      {bare(t, local.P256), "scep", offline.CodeRequest},
	} {
		_, err := offline.Exporter{}.Request(tc.request, tc.form, made)
		var coded *ca.Error
		if !errors.As(err, &coded) || coded.Code() != tc.code || coded.Remedy() == "" {
			t.Errorf("%s: %v, want code %s with a remedy", name, err, tc.code)
		}
	}
}

// signed has root sign the request of a phone with changes.
func signed(t *testing.T, root *local.Issuer, r ca.Request, o local.Options, cn string, exts ...pkix.Extension) *x509.Certificate {
	t.Helper()
	subject, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	der, err := root.IssueRaw(context.Background(), r.PublicKey, subject, exts, o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestJudge(t *testing.T) {
	t.Parallel()
	root, stranger := newRoot(t, "Offline Root"), newRoot(t, "Stranger Root")
	issuing, err := root.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Offline Issuing CA"}})
	if err != nil {
		t.Fatal(err)
	}
	r := bare(t, local.P256)
	phone := local.Options{
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		EKUs:     []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}, {1, 3, 6, 1, 5, 5, 7, 3, 2}, {1, 3, 6, 1, 5, 5, 7, 3, 5}},
	}
	rootOnly, both := []*x509.Certificate{root.Certificate}, []*x509.Certificate{issuing.Certificate, root.Certificate}
	inAYear := func() time.Time { return made.AddDate(2, 0, 0) }
	for name, tc := range map[string]struct {
		cert   *x509.Certificate
		cas    []*x509.Certificate
		beside []*x509.Certificate
		now    func() time.Time
		code   string   // of the refusal
		above  int      // certificates of the chain
		lacks  []string // of an accepted one
	}{
		"from the root":                       {cert: signed(t, root, r, phone, device), cas: rootOnly, above: 1},
		"model before the name":               {cert: signed(t, root, r, phone, "CP-8865-"+device), cas: rootOnly, above: 1},
		"case does not matter":                {cert: signed(t, root, r, phone, strings.ToLower(device)), cas: rootOnly, above: 1},
		"named by the URI":                    {cert: signed(t, root, r, phone, "desk phone", r.Extensions...), cas: rootOnly, above: 1},
		"from the issuing CA, both known":     {cert: signed(t, issuing, r, phone, device), cas: both, above: 2},
		"only the issuing CA known":           {cert: signed(t, issuing, r, phone, device), cas: both[:1], above: 1},
		"issuing CA in the file":              {cert: signed(t, issuing, r, phone, device), cas: rootOnly, beside: both[:1], above: 2},
		"the root in the file, nothing known": {cert: signed(t, root, r, phone, device), beside: rootOnly, above: 1},
		"the issuing CA alone proves nothing": {cert: signed(t, issuing, r, phone, device), beside: both[:1], code: offline.CodeNoCA},
		"nothing known":                       {cert: signed(t, root, r, phone, device), code: offline.CodeNoCA},
		"from another CA":                     {cert: signed(t, stranger, r, phone, device), cas: rootOnly, beside: []*x509.Certificate{stranger.Certificate}, code: "unknown_root"},
		"for another phone":                   {cert: signed(t, root, r, phone, "SEP00AABBCCDDEE"), cas: rootOnly, code: offline.CodeWrongName},
		"name inside of another":              {cert: signed(t, root, r, phone, "x"+device), cas: rootOnly, code: offline.CodeWrongName},
		"expired":                             {cert: signed(t, root, r, phone, device), cas: rootOnly, now: inAYear, code: "expired"},
		"not yet valid":                       {cert: signed(t, root, r, phone, device), cas: rootOnly, now: func() time.Time { return made.Add(-time.Hour) }, code: "not_yet_valid"},
		"a CA":                                {cert: signed(t, root, r, local.Options{CA: true, PathLen: -1, KeyUsage: x509.KeyUsageCertSign}, device), cas: rootOnly, code: offline.CodeNotPhone},
		"without usages": {
			cert: signed(t, root, r, local.Options{KeyUsage: x509.KeyUsageDigitalSignature}, device), cas: rootOnly, above: 1,
			lacks: []string{"keyEncipherment", "clientAuth", "serverAuth", "IPsec end system"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := offline.Judge{CAs: tc.cas, Now: now}
			if tc.now != nil {
				j.Now = tc.now
			}
			v, err := j.Certificate(tc.cert, tc.beside, device)
			var coded interface {
				Code() string
				Remedy() string
			}
			switch {
			case tc.code == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tc.code != "" && (!errors.As(err, &coded) || coded.Code() != tc.code || coded.Remedy() == ""):
				t.Fatalf("error %v, want code %s with a remedy", err, tc.code)
			}
			if diff := cmp.Diff(tc.lacks, v.Lacks); diff != "" {
				t.Errorf("lacks (-want +got):\n%s", diff)
			}
			if len(v.Chain) != tc.above {
				t.Errorf("%d certificates above it, want %d", len(v.Chain), tc.above)
			}
		})
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		device: device, "CSFbob.smith": "CSFbob.smith", "../../etc/passwd": ".._.._etc_passwd", "..": "_..", "": "_", `a\b:c`: "a_b_c",
	} {
		if got := offline.FileName(name); got != want {
			t.Errorf("FileName(%q) = %q, want %q", name, got, want)
		}
	}
	if ext := string(offline.Extensions("x\nbasicConstraints = CA:TRUE")); strings.Contains(ext, "CA:TRUE") || strings.Contains(ext, "subjectAltName") {
		t.Errorf("a name writes extensions of its own:\n%s", ext)
	}
}

// TestOpenSSL signs the keys of phones with a CA that OpenSSL runs, by the commands that the help of the command gives.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=Offline Root",
		"-addext", "keyUsage=critical,keyCertSign,cRLSign")
	cas, err := certfile.LoadCertificates(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []local.KeyKind{local.RSA2048, local.P256, local.P384, local.P521} {
		r := bare(t, kind)
		name := fmt.Sprintf("%s-%s", device, strings.ReplaceAll(string(kind), ":", ""))
		write := func(suffix string, form offline.Form) {
			t.Helper()
			data, err := offline.Exporter{}.Request(r, form, made)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		write(".pub", offline.FormSPKI)
		write(".csr", offline.FormPKCS10)
		if err := os.WriteFile(filepath.Join(dir, name+".cnf"), offline.Extensions(device), 0o600); err != nil {
			t.Fatal(err)
		}
		if text := run("req", "-in", name+".csr", "-noout", "-subject"); !strings.Contains(text, device) {
			t.Errorf("openssl reads the subject of the PKCS#10 as %q", text)
		}
		run("x509", "-new", "-force_pubkey", name+".pub", "-subj", "/CN="+device, "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "365", "-extfile", name+".cnf", "-out", name+".crt")
		run("verify", "-CAfile", "ca.pem", "-purpose", "sslclient", name+".crt")
		certs, err := certfile.LoadCertificates(filepath.Join(dir, name+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := offline.Judge{CAs: cas}.Certificate(certs[0], nil, device)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if len(v.Lacks) > 0 || !ca.CertifiesKey(certs[0], r.PublicKey) {
			t.Errorf("%s: lacks %v, or is for another key", kind, v.Lacks)
		}
		want, err := offline.KeyHash(r.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := offline.KeyHash(certs[0].RawSubjectPublicKeyInfo); err != nil || got != want {
			t.Errorf("%s: the key has another hash in the certificate (%v)", kind, err)
		}
	}
}
