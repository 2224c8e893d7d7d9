package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/est"
	"callsign/internal/ca/local"
)

// oidAgent is the extended key usage Certificate Request Agent.
var oidAgent = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 1}

// largestPhoneRSA is the largest RSA key that phones take in an infrastructure certificate, in bits.
const largestPhoneRSA = 2048

// capfUsage is what phones demand of the certificate that they meet first.
func capfUsage(k *checker, name, object string, c *x509.Certificate) bool {
	var lacks []string
	if !c.BasicConstraintsValid || !c.IsCA {
		lacks = append(lacks, "basic constraints CA:TRUE")
	}
	if c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		lacks = append(lacks, "key usage digitalSignature")
	}
	if c.KeyUsage&x509.KeyUsageCertSign == 0 {
		lacks = append(lacks, "key usage keyCertSign")
	}
	if len(lacks) > 0 {
		k.fail(name, object, codeUsage, fmt.Sprintf("%s has no %s, and phones refuse the connection", c.Subject, strings.Join(lacks, ", no ")),
			"replace the certificate by one that has it, for example: callsign init --dir NEW, which makes capf.pem and capf.key")
		return false
	}
	key, ok := c.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok:
		k.warn(name, object, codeKeySize, "the key is not RSA, and old phones take nothing else", "use an RSA key of 2048 bits")
		return false
	case key.N.BitLen() > largestPhoneRSA:
		k.warn(name, object, codeKeySize, fmt.Sprintf("the RSA key has %d bits, and phones take at most %d", key.N.BitLen(), largestPhoneRSA), "use an RSA key of 2048 bits")
		return false
	}
	return true
}

// serverUsage is what EST clients demand of the listener's certificate.
func serverUsage(k *checker, name, object string, c *x509.Certificate) bool {
	switch {
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny):
		k.fail(name, object, codeUsage, fmt.Sprintf("%s is no server's certificate: its extended key usage has no serverAuth", c.Subject), "replace it by a TLS server certificate")
	case len(c.DNSNames)+len(c.IPAddresses) == 0:
		k.warn(name, object, codeNames, fmt.Sprintf("%s has no subjectAltName, and clients compare nothing else with the host name", c.Subject), "replace it by a certificate with the host's name in subjectAltName")
	default:
		return true
	}
	return false
}

// clientUsage is what a web server demands of the certificate of a client.
func clientUsage(k *checker, name, object string, c *x509.Certificate) bool {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return true
	}
	k.fail(name, object, codeUsage, fmt.Sprintf("%s is no client's certificate: its extended key usage has no clientAuth", c.Subject),
		"request one from a template with the application policy Client Authentication, or remove adcs.client_certificate_file")
	return false
}

// agentUsage is what AD CS demands of who signs for others.
func agentUsage(k *checker, name, object string, c *x509.Certificate) bool {
	if slices.ContainsFunc(c.UnknownExtKeyUsage, oidAgent.Equal) {
		return true
	}
	k.fail(name, object, codeUsage, fmt.Sprintf("%s is no enrollment agent's certificate: its extended key usage has no Certificate Request Agent (%s)", c.Subject, oidAgent),
		"request one from the template Enrollment Agent for the account of adcs.username")
	return false
}

// localCA signs a certificate that nobody gets, and verifies it up to the root.
func (k *checker) localCA(ctx context.Context) {
	c := k.c
	if !c.UsesLocalCA() {
		return
	}
	const name = "local ca"
	object := c.CA.CertificateFile
	if k.lacks("ca.certificate_file", "ca.key_file", "ca.chain_file") {
		k.skip(name, object, "a file of it cannot be used")
		return
	}
	l, err := k.build.openLocal()
	if err != nil {
		k.failed(name, object, err)
		return
	}
	l.Issuer.Now = k.now
	leaf, err := trySigning(ctx, &l.Issuer)
	if err != nil {
		k.fail(name, object, local.CodeSign, err.Error(), "correct ca.certificate_file, ca.key_file and ca.chain_file")
		return
	}
	where := "ca.certificate_file (" + object + ")"
	if c.CA.ChainFile != "" {
		where = "ca.chain_file (" + c.CA.ChainFile + ")"
	}
	v := chain.Verifier{Anchors: chain.NewStoreX509(l.Issuer.Full()).Named(where), Usage: chain.Any, Now: k.now}
	r := v.Verify([]*chain.Certificate{chain.Of(leaf)}, "")
	top := r.Path[len(r.Path)-1]
	if r.Anchor == nil {
		detail := append([]string{fmt.Sprintf("the chain ends at %s, whose issuer %s is missing", top.Subject(), top.Issuer())}, r.Faults[0].NearMisses...)
		report, code := k.warn, codeChain
		if full := l.Issuer.Full(); bytes.Equal(full[len(full)-1].RawSubject, full[len(full)-1].RawIssuer) {
			// There is a root, and it is another CA's: what is handed out with each certificate is wrong.
			report, code = k.fail, local.CodeSign
			detail[0] = "a certificate that it signs does not verify: " + detail[0]
		}
		report(name, object, code, strings.Join(detail, "; "), "put the certificates up to the root, and no others, into ca.chain_file")
		return
	}
	for i := range r.Faults {
		k.fail(name, object, local.CodeSign, "a certificate that it signs does not verify: "+whole(&r.Faults[i]), r.Faults[i].Remedy)
	}
	if !r.OK() {
		return
	}
	for _, up := range l.Issuer.Chain {
		if !k.dates(name, object, up) {
			return
		}
	}
	k.ok(name, object, "%s signs, chain complete up to %s", l.Issuer.Certificate.Subject, top.Subject())
}

// trySigning has a certificate signed that nobody gets.
func trySigning(ctx context.Context, i *local.Issuer) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	subject, err := asn1.Marshal(pkix.Name{CommonName: "callsign check"}.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("encode a name: %w", err)
	}
	der, err := i.IssueRaw(ctx, spki, subject, nil, local.Options{KeyUsage: x509.KeyUsageDigitalSignature, Validity: time.Hour})
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return leaf, nil
}

// resolve reports whether the host of a URL has an address. Addresses as such are not worth a line.
func (k *checker) resolve(ctx context.Context, name, rawURL, connectTo string) bool {
	u, err := url.Parse(rawURL)
	if err != nil || connectTo != "" || net.ParseIP(u.Hostname()) != nil {
		return true
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		k.fail(name, u.Hostname(), codeResolve, err.Error(), "correct the name in the configuration, or the DNS servers of this machine (/etc/resolv.conf)")
		return false
	}
	k.ok(name, u.Hostname(), "%s", strings.Join(addrs, ", "))
	return true
}

// server is a server that is called, and the words for a certificate of it that is not accepted.
type server struct {
	step, url            string
	key                  string // of the configuration, with the URL
	untrusted, wrongName string // codes
}

// refused reports every fault of a server's certificate when those are why err happened.
func (k *checker) refused(s server, err error) bool {
	e, ok := errors.AsType[*chain.Error](err)
	if !ok {
		return false
	}
	for i := range e.Faults {
		f := &e.Faults[i]
		code, fix := s.untrusted, f.Remedy
		if f.Code == chain.NameMismatch {
			code, fix = s.wrongName, fix+" ("+s.key+")"
		}
		k.fail(s.step, s.url, code, whole(f), fix)
	}
	return true
}

// upstream asks the RA of capf.ra_url for the CA's certificates.
func (k *checker) upstream(ctx context.Context) {
	const name = "ra cacerts"
	raw := k.c.CAPF.RAURL
	if k.lacks("capf.ra_ca_file", "capf.ra_certificate_file", "capf.ra_key_file", "capf.ra_responder_ca_file") {
		k.skip(name, raw, "a file of the ra_ keys cannot be used")
		return
	}
	if u, err := url.Parse(raw); err == nil && k.estFree && u.Host == k.c.EST.Listen {
		k.skip(name, raw, "the RA is this configuration's own and does not run yet")
		return
	}
	if !k.resolve(ctx, "ra dns", raw, "") {
		k.skip(name, raw, "the host has no address")
		return
	}
	_, client, err := k.build.openUpstream()
	if err != nil {
		k.failed(name, raw, err)
		return
	}
	defer client.Close()
	certs, err := client.CACerts(ctx)
	if k.refused(server{name, raw, "capf.ra_url", est.CodeServerUntrusted, est.CodeServerName}, err) {
		return
	}
	if e, ok := errors.AsType[*est.ClientError](err); ok && e.Code() == est.CodeUnavailable {
		k.fail(name, raw, e.Code(), e.Error(), "look at the RA's log: it does not know its CA's chain yet")
		return
	}
	if err != nil {
		k.failed(name, raw, err)
		return
	}
	for _, c := range certs {
		if c.IsCA && !k.dates(name, raw, c) {
			return
		}
	}
	k.ok(name, raw, "%d CA certificate%s", len(certs), plural(len(certs)))
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
