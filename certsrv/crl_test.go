package certsrv

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/winauth"
)

// crl makes a CRL of the CA with some revoked certificates.
func (ca *testCA) crl(t testing.TB, number int64, revoked int, delta bool) []byte {
	t.Helper()
	tpl := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: epoch(), NextUpdate: epoch().AddDate(0, 0, 7)}
	for n := range revoked {
		tpl.RevokedCertificateEntries = append(tpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(int64(n) + 1), RevocationTime: epoch()})
	}
	if delta {
		tpl.ExtraExtensions = []pkix.Extension{{Id: oidDeltaCRLIndicator, Critical: true, Value: []byte{2, 1, 1}}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, tpl, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func crlPEM(der []byte) []byte {
	return []byte(toCRLF(string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))))
}

func TestCRL(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t, "Issuing")
	base, delta := ca.crl(t, 7, 2, false), ca.crl(t, 8, 1, true)
	large := ca.crl(t, 9, 60_000, false) // more than is read of any other answer
	if len(large) <= winauth.DefaultMaxBody {
		t.Fatalf("the large CRL has %d octets only", len(large))
	}
	login := []string{"1 GET /certsrv", "1 GET /certsrv"}
	tests := []struct {
		name     string
		renewal  int
		delta    bool
		reply    reply
		archive  reply
		want     int64 // CRL number
		requests []string
		code     string
		contains []string
	}{
		{name: "DER", renewal: 3, reply: reply{body: base}, want: 7, requests: []string{"1 GET /certsrv/certcrl.crl?Type=base&Renewal=3&Enc=bin"}},
		{name: "PEM", renewal: 0, reply: reply{body: crlPEM(base)}, want: 7, requests: []string{"1 GET /certsrv/certcrl.crl?Type=base&Renewal=0&Enc=bin"}},
		{name: "base64", renewal: 0, reply: reply{body: []byte(base64.StdEncoding.EncodeToString(base))}, want: 7, requests: []string{"1 GET /certsrv/certcrl.crl?Type=base&Renewal=0&Enc=bin"}},
		{
			name: "newest delta", renewal: NewestRenewal, delta: true, reply: reply{body: delta}, archive: reply{body: []byte("<script>var nRenewals=2;</script>")}, want: 8,
			requests: []string{"1 GET /certsrv/certcarc.asp", "1 GET /certsrv/certcrl.crl?Type=delta&Renewal=2&Enc=bin"},
		},
		{
			name: "never renewed, no archive page", renewal: NewestRenewal, reply: reply{body: base}, archive: reply{status: 404}, want: 7,
			requests: []string{"1 GET /certsrv/certcarc.asp", "1 GET /certsrv/certcrl.crl?Type=base&Renewal=0&Enc=bin"},
		},
		{name: "large", renewal: 0, reply: reply{body: large}, want: 9, requests: []string{"1 GET /certsrv/certcrl.crl?Type=base&Renewal=0&Enc=bin"}},
		{name: "none of this number", renewal: 4, reply: reply{body: fixture(t, "fr-cer-unknown-id.html")}, code: CodeNoCRL, contains: []string{"number 4", "base", "certutil -CRL"}},
		{name: "no delta", renewal: 0, delta: true, reply: reply{body: fixture(t, "en-cer-unknown-id.html")}, code: CodeNoCRL, contains: []string{"delta"}},
		{name: "CA down", renewal: 0, reply: reply{body: fixture(t, "en-error-ca-down.html")}, code: CodeCAUnavailable, contains: []string{"CertSvc"}},
		{name: "base in place of delta", renewal: 0, delta: true, reply: reply{body: base}, code: CodeUnexpectedPage, contains: []string{"base CRL came"}},
		{name: "delta in place of base", renewal: 0, reply: reply{body: delta}, code: CodeUnexpectedPage, contains: []string{"delta CRL came"}},
		{name: "certificate", renewal: 0, reply: reply{body: ca.cert.Raw}, code: CodeUnexpectedPage, contains: []string{"not the CRL"}},
		{name: "sign-in page", renewal: 0, reply: reply{body: []byte("<html>Please sign in</html>")}, code: CodeUnexpectedPage, contains: []string{"Please sign in"}},
		{name: "no such page", renewal: 0, reply: reply{status: 404}, code: CodeNotFound, contains: []string{"distribution point"}},
		{name: "unreadable archive page", renewal: NewestRenewal, archive: reply{body: []byte("<p>x</p>")}, code: CodeUnexpectedPage, contains: []string{"certcarc.asp"}},
		{name: "impossible number", renewal: -2, code: CodeBadRequest, contains: []string{"-2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(s seen) reply {
				if s.URI == archivePath {
					return tt.archive
				}
				return tt.reply
			})
			c, log := f.newClient()
			list, err := c.CRL(t.Context(), tt.renewal, tt.delta)
			if tt.code != "" {
				p := problem(t, err)
				if p.Code() != tt.code || p.Op != "crl" || p.Remedy() == "" {
					t.Errorf("code %s, op %s, remedy %q", p.Code(), p.Op, p.Remedy())
				}
				for _, s := range tt.contains {
					if !strings.Contains(p.Error()+" / "+p.Remedy(), s) {
						t.Errorf("%q does not contain %q", p.Error()+" / "+p.Remedy(), s)
					}
				}
				if tt.code != CodeBadRequest && !strings.Contains(log.String(), "event=certsrv.crl_failed") {
					t.Errorf("no event in the log:\n%s", log.String())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if list.Number.Int64() != tt.want || list.CheckSignatureFrom(ca.cert) != nil {
				t.Errorf("CRL number %d, signature %v", list.Number, list.CheckSignatureFrom(ca.cert))
			}
			if d := cmp.Diff(append(append([]string(nil), login...), tt.requests...), f.requests()); d != "" {
				t.Error(d)
			}
		})
	}
}
