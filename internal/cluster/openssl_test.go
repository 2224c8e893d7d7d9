package cluster_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/chain"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

// at is when certificates of tests are made.
var at = time.Date(2026, 11, 20, 12, 0, 0, 123456789, time.FixedZone("", 3600))

// openssl runs the program on a file with this content and returns what it prints. Continuous integration has to have it.
func openssl(t *testing.T, kind string, der []byte, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed (Debian package openssl)")
		}
		t.Skip("openssl is not installed (Debian package openssl)")
	}
	file := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", file)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, &out)
	}
	return out.String()
}

// variant is a key and a hash to make a certificate with.
type variant struct {
	key  cluster.KeySpec
	hash cluster.Hash
}

// variants returns what a purpose is tried with: every hash with every length, of RSA with the usual one; the others, which take
// long, with tomcat.
func variants(p *purpose.Identity) []variant {
	var all []variant
	for _, k := range cluster.KeySpecs(p.Key) {
		hashes := k.Hashes(false)
		switch {
		case p.Key == purpose.EC || k == cluster.DefaultKey(p.Key, false):
		case p.Name != "tomcat":
			continue
		case k.Bits == 4096:
			hashes = hashes[2:]
		case k.Bits == 1024:
			hashes = hashes[:1]
		}
		for _, h := range hashes {
			all = append(all, variant{k, h})
		}
	}
	return all
}

// TestOpenSSLRequests: openssl accepts every request.
func TestOpenSSLRequests(t *testing.T) {
	t.Parallel()
	made := 0
	eachTemplate(t, (*cluster.Cluster).Prepare, func(t *testing.T, p *purpose.Identity, template *cluster.Template) {
		made++
		der, key, err := template.Request(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r := parsedRequest(t, der)
		if !sameKey(key, r.PublicKey) {
			t.Error("the key is not that of the request")
		}
		if k := chain.KeyText(r.PublicKey, r.PublicKeyAlgorithm); !strings.HasSuffix(k, fmt.Sprint(template.Key.Bits)) {
			t.Errorf("the key is %s, want %s", k, template.Key)
		}
		text := openssl(t, "CERTIFICATE REQUEST", der, "req", "-in", "FILE", "-verify", "-noout", "-text")
		has(t, text, "verify OK", "Version: 1", "Requested Extensions", "Key Usage:", "Extended Key Usage:", "TLS Web Server Authentication, TLS Web Client Authentication")
		has(t, text, strings.ToLower(string(template.Hash))) // sha256WithRSAEncryption, ecdsa-with-SHA256
		if p.CA {
			has(t, text, "Basic Constraints: critical\n                    CA:TRUE, pathlen:0", "Digital Signature, Certificate Sign")
		} else {
			has(t, text, "Subject Alternative Name", "DNS:lab.example.com, DNS:")
		}
	})
	if made < 100 {
		t.Errorf("only %d requests", made)
	}
}

// TestOpenSSLSelfSigned: openssl accepts every self-signed certificate by the letter of RFC 5280.
func TestOpenSSLSelfSigned(t *testing.T) {
	t.Parallel()
	eachTemplate(t, (*cluster.Cluster).PrepareSelfSigned, func(t *testing.T, p *purpose.Identity, template *cluster.Template) {
		der, key, err := template.SelfSigned(rand.Reader, at)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if !sameKey(key, c.PublicKey) {
			t.Error("the key is not that of the certificate")
		}
		if !chain.Of(c).ClaimsSelfSigned() || len(c.SubjectKeyId) == 0 || !bytes.Equal(c.SubjectKeyId, c.AuthorityKeyId) {
			t.Errorf("key identifiers %x and %x", c.SubjectKeyId, c.AuthorityKeyId)
		}
		if n := c.SerialNumber; n.Sign() <= 0 || n.BitLen() > 128 || n.BitLen() < 64 {
			t.Errorf("serial number %x", n)
		}
		from := time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC)
		until := time.Date(2031, 11, 20, 11, 0, 0, 0, time.UTC) // one leap day in between
		if p.SelfSigned == 20 {
			until = time.Date(2046, 11, 20, 11, 0, 0, 0, time.UTC)
		}
		if !c.NotBefore.Equal(from) || !c.NotAfter.Equal(until) {
			t.Errorf("valid from %s to %s, want %s to %s", c.NotBefore, c.NotAfter, from, until)
		}
		if len(c.Subject.OrganizationalUnit) != 1 {
			t.Errorf("units %q", c.Subject.OrganizationalUnit)
		}
		openssl(t, "CERTIFICATE", der, "verify", "-x509_strict", "-check_ss_sig", "-attime", fmt.Sprint(at.Unix()), "-CAfile", "FILE", "FILE")
		text := openssl(t, "CERTIFICATE", der, "x509", "-in", "FILE", "-noout", "-text")
		if p.CA {
			has(t, text, "Basic Constraints: critical\n                CA:TRUE, pathlen:0", "Digital Signature, Certificate Sign")
		} else {
			has(t, text, "Basic Constraints: critical\n                CA:FALSE")
		}
		switch p.Name {
		case "tomcat", "tomcat-ECDSA":
			has(t, text, "Key Usage: critical\n                Digital Signature, Data Encipherment", "DNS:lab.example.com, DNS:")
		case "ITLRecovery", "authz", "CAPF":
			if strings.Contains(text, "Alternative Name") {
				t.Errorf("there are names:\n%s", text)
			}
		}
	})
}

// eachTemplate calls do with templates of all purposes on all nodes, with all keys and hashes.
func eachTemplate(t *testing.T, prepare func(*cluster.Cluster, cluster.Fields, cluster.Subject, purpose.Profile) (*cluster.Template, error),
	do func(*testing.T, *purpose.Identity, *cluster.Template),
) {
	t.Helper()
	c := lab(t)
	for _, p := range purpose.Identities() {
		for _, n := range c.NodesWith(&p) {
			for _, v := range variants(&p) {
				template, err := prepare(c, cluster.Fields{Purpose: p.Name, Node: n.Name, Key: v.key, Hash: v.hash, IncludeOU: true}, labSubject(), "")
				if !p.CSR && err != nil {
					problem(t, err, cluster.CodeNoCSR)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Run(fmt.Sprintf("%s %s %s %s", p.Name, n.Name, v.key, v.hash), func(t *testing.T) { do(t, &p, template) })
			}
		}
	}
}

func sameKey(key crypto.Signer, public crypto.PublicKey) bool {
	k, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(public)
}

// has looks for parts in what openssl prints, without regard to case.
func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
			t.Errorf("openssl does not print %q but\n%s", part, text)
		}
	}
}
