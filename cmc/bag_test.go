package cmc

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// unbase64 returns the message in a file of base64 text.
func unbase64(t *testing.T, name string) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(load(t, name))), ""))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// negative returns c with a serial number below zero, which crypto/x509 refuses to parse.
func negative(t *testing.T, c *x509.Certificate) []byte {
	t.Helper()
	raw := bytes.Clone(c.Raw)
	in := cryptobyte.String(raw)
	var fields, serial cryptobyte.String
	if !in.ReadASN1(&fields, casn1.SEQUENCE) || !fields.ReadASN1(&in, casn1.SEQUENCE) ||
		!in.SkipOptionalASN1(context0Constructed) || !in.ReadASN1(&serial, casn1.INTEGER) {
		t.Fatal("no serial number")
	}
	serial[0] |= 0x80
	if serial[0] == 0xFF {
		serial[0] = 0xFE
	}
	if _, err := x509.ParseCertificate(raw); err == nil {
		t.Fatal("a negative serial number parses")
	}
	return raw
}

func TestReadBag(t *testing.T) {
	t.Parallel()
	ca, ra := loadCert(t, "anchor-ra"), loadCert(t, "capf-ra-rsa")
	plain, err := CertsOnly(ra, ca)
	if err != nil {
		t.Fatal(err)
	}
	odd := negative(t, ra)
	if len(odd) != len(ra.Raw) {
		t.Fatal("the length changed")
	}
	for _, c := range []struct {
		name string
		msg  []byte
		want [][]byte
		crls int
	}{
		{"certs-only", plain, [][]byte{ra.Raw, ca.Raw}, 0},
		{"certificate that does not parse", bytes.Replace(plain, ra.Raw, odd, 1), [][]byte{odd, ca.Raw}, 0},
		{"BER", unbase64(t, "certs-only/five-ber.b64"), parsed(t, unbase64(t, "certs-only/five-lf64.b64")), 0},
		{"with CRL", unbase64(t, "certs-only/one-withcrl.b64"), parsed(t, unbase64(t, "certs-only/one-lf64.b64")), 1},
		{"no certificate", unbase64(t, "certs-only/zero.b64"), nil, 0},
		{"signed content", load(t, "resp/success.der"), parsed(t, load(t, "resp/success.der")), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bag, err := ReadBag(c.msg, len(c.msg), len(c.want)+c.crls)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, bag.Certificates); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			if len(bag.CRLs) != c.crls {
				t.Errorf("%d CRLs, want %d", len(bag.CRLs), c.crls)
			}
			for _, der := range bag.CRLs {
				if _, err := x509.ParseRevocationList(der); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// parsed returns the certificates as the strict reader of any SignedData finds them.
func parsed(t *testing.T, msg []byte) [][]byte {
	t.Helper()
	m, err := Open(msg)
	if err != nil {
		t.Fatal(err)
	}
	var raw [][]byte
	for _, c := range m.Certificates {
		raw = append(raw, c.Raw)
	}
	return raw
}

func TestReadBagRefuses(t *testing.T) {
	t.Parallel()
	ca := loadCert(t, "anchor-ra")
	good, err := CertsOnly(ca, ca)
	if err != nil {
		t.Fatal(err)
	}
	ber := unbase64(t, "certs-only/five-ber.b64")
	for _, c := range []struct {
		name            string
		msg             []byte
		octets, members int
		http            int
	}{
		{"too long", good, len(good) - 1, 2, http.StatusRequestEntityTooLarge},
		{"too many members", good, len(good), 1, http.StatusRequestEntityTooLarge},
		{"too many members in BER", ber, len(ber), 4, http.StatusRequestEntityTooLarge},
		{"octets after", append(bytes.Clone(good), 0), 1 << 20, 2, http.StatusBadRequest},
		{"cut short", good[:len(good)-1], 1 << 20, 2, http.StatusBadRequest},
		{"BER cut short", ber[:len(ber)-2], 1 << 20, 9, http.StatusBadRequest},
		{"certificate", ca.Raw, 1 << 20, 2, http.StatusBadRequest},
		{"other content type", unbase64(t, "certs-only/wrong-oid.b64"), 1 << 20, 9, http.StatusBadRequest},
		{"no signerInfos", unhex(t, "3021"+"06092a864886f70d010702"+"a014"+"3012"+"020101"+"3100"+"300b06092a864886f70d010701"), 1 << 20, 9, http.StatusBadRequest},
		{"member cut short", unhex(t, "3027"+"06092a864886f70d010702"+"a01a"+"3018"+"020101"+"3100"+"300b06092a864886f70d010701"+"a002"+"3005"+"3100"), 1 << 20, 9, http.StatusBadRequest},
		{"nothing", nil, 1 << 20, 2, http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadBag(c.msg, c.octets, c.members)
			p, ok := errors.AsType[*Problem](err)
			if !ok || p.Code() != CodeMalformed || p.HTTP != c.http {
				t.Errorf("got %v, want a problem with HTTP %d", err, c.http)
			}
		})
	}
	// The same message is read when nothing is wrong with it.
	bag, err := ReadBag(slices.Clone(good), len(good), 2)
	if err != nil || len(bag.Certificates) != 2 {
		t.Errorf("%d certificates, %v", len(bag.Certificates), err)
	}
}
