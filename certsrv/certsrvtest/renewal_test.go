package certsrvtest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"callsign/cmc"
)

// renewedCA is a CA that is renewed while it runs, first with its key and then with a new one. Each certificate has a CRL.
type renewedCA struct {
	chains [][]*x509.Certificate
	keys   []crypto.Signer

	mu      sync.Mutex
	present int // renewal index of the certificate in use
}

func newRenewedCA(t *testing.T) *renewedCA {
	t.Helper()
	root, rootKey := newCertificate(t, "Test Root", nil, nil)
	_, oldKey := newCertificate(t, "LAB-DC-RTP", root, rootKey)
	_, newKey := newCertificate(t, "LAB-DC-RTP", root, rootKey)
	ca := &renewedCA{keys: []crypto.Signer{oldKey, oldKey, newKey}}
	for k, key := range ca.keys {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(100 + k)), Subject: pkix.Name{CommonName: "LAB-DC-RTP"}, NotBefore: clock.AddDate(k-3, 0, 0),
			NotAfter: clock.AddDate(k+1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, root, key.Public(), rootKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		ca.chains = append(ca.chains, []*x509.Certificate{c, root})
	}
	return ca
}

func (c *renewedCA) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.present++
}

func (c *renewedCA) Certificates() [][]*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chains[:c.present+1]
}

func (c *renewedCA) Issue(ctx context.Context, r Issuance) ([]byte, error) {
	now := &honestCA{chains: c.Certificates(), serial: 1000}
	now.key = c.keys[len(now.chains)-1]
	return now.Issue(ctx, r)
}

func (c *renewedCA) CRL(_ context.Context, renewal int, delta bool) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(int64(10 * renewal)), ThisUpdate: clock, NextUpdate: clock.AddDate(0, 0, 7)}
	if delta { // RFC 5280 section 5.2.4: the base that it adds to
		list.Number.Add(list.Number, big.NewInt(1))
		list.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, byte(10 * renewal)}}}
	}
	return x509.CreateRevocationList(rand.Reader, list, c.chains[renewal][0], c.keys[renewal])
}

// TestRenewedCA fetches certificates, chains and CRLs of a CA that was renewed with its old key and then with a new one.
func TestRenewedCA(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	ca := newRenewedCA(t)
	c.CA = ca
	w := start(t, c).basic(t, scriptAgent)
	csr, _ := newCSR(t, "x")
	w.submit(csr, "CiscoRA")
	ca.renew()
	ca.renew()
	w.submit(csr, "CiscoRA")

	if page := w.get("/certsrv/certcarc.asp"); !strings.Contains(page, "var nRenewals=2;") {
		t.Error(page)
	}
	for k, chain := range ca.chains {
		target := "&Renewal=" + strconv.Itoa(k) + "&Enc=bin"
		if got := w.get("/certsrv/certnew.cer?ReqID=CACert" + target); got != string(chain[0].Raw) {
			t.Errorf("certificate %d differs", k)
		}
		certs, err := cmc.ParseCertsOnly([]byte(w.get("/certsrv/certnew.p7b?ReqID=CACert" + target)))
		if err != nil || len(certs) != len(chain) || !slices.ContainsFunc(certs, chain[0].Equal) {
			t.Errorf("chain %d: %d certificates, %v", k, len(certs), err)
		}
		for kind, number := range map[string]int64{"base": int64(10 * k), "delta": int64(10*k + 1)} {
			resp, body := w.do(http.MethodGet, "/certsrv/certcrl.crl?Type="+kind+target, "")
			list, err := x509.ParseRevocationList([]byte(body))
			if err != nil || resp.StatusCode != http.StatusOK || list.Number.Int64() != number || list.CheckSignatureFrom(chain[0]) != nil {
				t.Errorf("%s CRL %d: %v", kind, k, err)
			}
		}
	}
	for _, tc := range []struct {
		target string
		want   *x509.Certificate // among the chain's
		not    *x509.Certificate
	}{
		// Of two certificates of one key the newer is the issuer.
		{"/certsrv/certnew.p7b?ReqID=1&Enc=bin", ca.chains[1][0], ca.chains[2][0]},
		{"/certsrv/certnew.p7b?ReqID=2&Enc=bin", ca.chains[2][0], ca.chains[1][0]},
	} {
		certs, err := cmc.ParseCertsOnly([]byte(w.get(tc.target)))
		if err != nil || !slices.ContainsFunc(certs, tc.want.Equal) || slices.ContainsFunc(certs, tc.not.Equal) {
			t.Errorf("%s: %d certificates, %v", tc.target, len(certs), err)
		}
	}
	for _, target := range []string{"certnew.cer?ReqID=CACert", "certnew.p7b?ReqID=CACert", "certcrl.crl?Type=base"} {
		for _, k := range []string{"3", "-2", "x"} {
			if v := classify(w.get("/certsrv/" + target + "&Renewal=" + k)); v.HResult != "0x80094004" {
				t.Errorf("%s, renewal %s: %+v", target, k, v)
			}
		}
	}
}
