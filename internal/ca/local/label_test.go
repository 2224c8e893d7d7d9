package local_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca"
	"callsign/internal/ca/local"
)

var (
	clientAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
	serverAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	codeSign   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}
)

// TestProfileOfALabel: the label of a request by EST chooses validity and usages; a phone's request has the phones' whatever it says.
func TestProfileOfALabel(t *testing.T) {
	t.Parallel()
	i := newCAPF(t, local.P256, clock.Add(-24*time.Hour))
	i.Now = at(clock)
	a := authority(t, i, func(c *local.Config) {
		c.ValidityDays = 100
		c.Labels = map[string]local.Profile{
			"short": {ValidityDays: 7}, "servers": {Usages: []asn1.ObjectIdentifier{serverAuth}},
			"both": {Usages: []asn1.ObjectIdentifier{serverAuth, clientAuth}},
		}
	})
	eku := func(oids ...asn1.ObjectIdentifier) []pkix.Extension {
		der, err := asn1.Marshal(oids)
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: der}}
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	phones := []x509.ExtKeyUsage{client, server, x509.ExtKeyUsageIPSECEndSystem}
	for _, tt := range []struct {
		name, owner, label string
		exts               []pkix.Extension
		days               int
		usages             []x509.ExtKeyUsage
	}{
		{"no label", "est:/x", "", nil, 100, phones},
		{"an unknown label", "est:other/x", "other", nil, 100, phones},
		{"its own validity", "est:short/x", "short", nil, 7, phones},
		{"its own usages", "est:servers/x", "servers", eku(clientAuth, codeSign), 100, []x509.ExtKeyUsage{server}},
		{"narrowed by the request", "est:both/x", "both", eku(codeSign, clientAuth), 100, []x509.ExtKeyUsage{client}},
		{"not narrowed", "est:both/x", "both", nil, 100, []x509.ExtKeyUsage{server, client}},
		{"usages that cannot be read", "est:both/x", "both", []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte{0x30, 1}}}, 100, []x509.ExtKeyUsage{server, client}},
		{"a phone", "phone:SEP001122334455", "short", nil, 100, phones},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := phone(t)
			r.Owner, r.Label, r.Extensions = tt.owner, tt.label, tt.exts
			out, err := a.Issue(t.Context(), r, nil)
			if err != nil || out.Status != ca.Issued {
				t.Fatalf("%+v, %v", out.Denial, err)
			}
			c, err := x509.ParseCertificate(out.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			if days := int(c.NotAfter.Sub(clock).Hours() / 24); days != tt.days {
				t.Errorf("valid for %d days, want %d", days, tt.days)
			}
			if d := cmp.Diff(tt.usages, c.ExtKeyUsage); d != "" {
				t.Errorf("usages (-want +got):\n%s", d)
			}
		})
	}
	if _, err := local.New(local.Config{Certificate: i.Certificate, Signer: i.Signer, Labels: map[string]local.Profile{"x": {ValidityDays: 4000}}}); err == nil {
		t.Error("4000 days")
	}
}

// TestRenamed: a request that asks for other names by changeSubjectName gets these; another one does not get by with other names.
func TestRenamed(t *testing.T) {
	t.Parallel()
	i := newCAPF(t, local.P256, clock.Add(-24*time.Hour))
	i.Now = at(clock)
	der, err := base64.StdEncoding.DecodeString("MIIBQjCB6QIBADAxMRgwFgYDVQQDDA9TRVAwMDExQUFCQkNDMDIxFTATBgNVBAoTDEV4YW1wbGUgQ29ycDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJ52nf8U2/5giXUi6aI7ueaeeNsusrJl8OJ0cCl+ZRyYGC+eJma7dBAj4k+XLLpc/ipThviVbE2Jj8OYdiIM3ZqgVjBUBggrBgEFBQcHJDFIMEYwMTEYMBYGA1UEAwwPU0VQMDAxMUFBQkJDQzc3MRUwEwYDVQQKEwxFeGFtcGxlIENvcnAwEYIPbmV3LmV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIQCrxSwUEOI4t0qPf/9TUNF507PkINeWaHJtpjv/Zqf+3QIgHoOq0tZG5G7jwm89/p8M1e8BrpK2rSSKS/U3HjmIwvs=")
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	r := ca.Request{Owner: "est:/x", PublicKey: csr.RawSubjectPublicKeyInfo, Subject: subject(t, "SEP0011AABBCC77"), CSR: der}
	out, err := authority(t, i, nil).Issue(t.Context(), r, nil)
	if err != nil || out.Status != ca.Issued || out.POP != ca.POPSigned {
		t.Fatalf("%+v, %v", out, err)
	}
	c, err := x509.ParseCertificate(out.Certificate)
	if err != nil || c.Subject.CommonName != "SEP0011AABBCC77" {
		t.Errorf("%v, %v", c.Subject, err)
	}
	plain := signedRequest(t, "SEP001122334455")
	plain.Subject = subject(t, "SEP0011AABBCC77")
	if plain.Renamed() {
		t.Error("a request without the attribute is taken for a renamed one")
	}
	out, err = authority(t, i, nil).Issue(t.Context(), plain, nil)
	if err != nil || out.Status != ca.Denied || out.Denial.ErrCode != local.CodeCSRSignature {
		t.Errorf("%+v, %v", out, err)
	}
}

func FuzzRenamed(f *testing.F) {
	der, err := base64.StdEncoding.DecodeString("MIIBQjCB6QIBADAxMRgwFgYDVQQDDA9TRVAwMDExQUFCQkNDMDIxFTATBgNVBAoTDEV4YW1wbGUgQ29ycDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJ52nf8U2/5giXUi6aI7ueaeeNsusrJl8OJ0cCl+ZRyYGC+eJma7dBAj4k+XLLpc/ipThviVbE2Jj8OYdiIM3ZqgVjBUBggrBgEFBQcHJDFIMEYwMTEYMBYGA1UEAwwPU0VQMDAxMUFBQkJDQzc3MRUwEwYDVQQKEwxFeGFtcGxlIENvcnAwEYIPbmV3LmV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIQCrxSwUEOI4t0qPf/9TUNF507PkINeWaHJtpjv/Zqf+3QIgHoOq0tZG5G7jwm89/p8M1e8BrpK2rSSKS/U3HjmIwvs=")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(signedRequest(f, "x").CSR)
	f.Fuzz(func(t *testing.T, der []byte) {
		r := ca.Request{CSR: der}
		if r.Renamed() && len(der) < 20 {
			t.Errorf("%x", der)
		}
	})
}

// signedRequest is a request that its key has signed.
func signedRequest(t testing.TB, cn string) ca.Request {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: subject(t, cn)}, k)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Request{Owner: "est:/x", PublicKey: spki(t, &k.PublicKey), Subject: subject(t, cn), CSR: der}
}
