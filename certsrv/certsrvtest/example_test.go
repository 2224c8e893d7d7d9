package certsrvtest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"time"

	"callsign/certsrv/certsrvtest"
)

// tinyCA is a self-signed CA.
type tinyCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (c *tinyCA) Issue(_ context.Context, i certsrvtest.Issuance) ([]byte, error) {
	key, err := x509.ParsePKIXPublicKey(i.PublicKey)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), RawSubject: i.RawSubject, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), ExtraExtensions: i.Extensions,
	}, c.cert, key, c.key)
}

func (c *tinyCA) Certificates() [][]*x509.Certificate { return [][]*x509.Certificate{{c.cert}} }

func newTinyCA() *tinyCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tiny CA"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "Tiny CA"}}, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return &tinyCA{cert, key}
}

// A request of one template stays pending until an administrator approves it.
func Example() {
	b, err := certsrvtest.ParseBehaviour("pending")
	if err != nil {
		log.Fatal(err)
	}
	s, err := certsrvtest.New(certsrvtest.Config{
		CA: newTinyCA(), Basic: true,
		Users:     []certsrvtest.User{{Name: `LAB\ra`, Password: "secret"}},
		Templates: []certsrvtest.Template{{Name: "Phone", Behaviour: b}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = s.Close() }()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "SEP001122334455"}}, key)
	if err != nil {
		log.Fatal(err)
	}
	form := url.Values{"Mode": {"newreq"}, "CertRequest": {base64.StdEncoding.EncodeToString(csr)}, "CertAttrib": {"CertificateTemplate:Phone"}}
	r := httptest.NewRequest(http.MethodPost, "/certsrv/certfnsh.asp", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(`LAB\ra`, "secret")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	fmt.Println(regexp.MustCompile(`Your Request Id is \d+`).FindString(w.Body.String()))

	if err := s.Approve(context.Background(), 1); err != nil {
		log.Fatal(err)
	}
	for _, rec := range s.Issued() {
		fmt.Println(rec.ID, rec.Subject, rec.Requester, rec.Disposition)
	}
	// Output:
	// Your Request Id is 1
	// 1 CN=SEP001122334455 LAB\ra issued
}
