package certsrv

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"callsign/cmc"
)

// maxCertificates bounds what is taken from one PKCS #7 message or PEM file.
const maxCertificates = 64

var (
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	errNoData     = errors.New("neither PEM, nor base64, nor DER")
)

// isPage tells an HTML page from data by its first octet. The content type is no help: servers send a wrong one to user
// agents that they do not know.
func isPage(body []byte) bool {
	if utf16Order(body) != nil {
		body = []byte(decodeText(body))
	}
	b := trimStart(body)
	return len(b) == 0 || b[0] == '<'
}

func trimStart(b []byte) []byte {
	return bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
}

// decodeCertificates reads certificates from DER, base64 or PEM, each of them a certificate or a PKCS #7 message. The
// content decides, not the label: PKCS #7 in base64 comes under the label CERTIFICATE from this server.
func decodeCertificates(body []byte) ([]*x509.Certificate, error) {
	b := trimStart(body)
	if len(b) > 0 && b[0] == 0x30 && !isBase64(b) {
		return fromDER(b)
	}
	var out []*x509.Certificate
	found := false
	for rest := b; len(out) < maxCertificates; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		found = true
		certs, err := fromDER(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, certs...)
	}
	if found {
		return out, nil
	}
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(b), nil)))
	if err != nil || len(der) == 0 || der[0] != 0x30 {
		return nil, errNoData
	}
	return fromDER(der)
}

// isBase64 is for text that begins with the character '0', whose octet is that of a SEQUENCE.
func isBase64(b []byte) bool {
	for _, c := range b[:min(len(b), 64)] {
		if c >= 0x80 || c < 0x20 && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

func fromDER(der []byte) ([]*x509.Certificate, error) {
	if isSignedData(der) {
		certs, err := cmc.ParseCertsOnly(der)
		if err != nil {
			return nil, fmt.Errorf("PKCS #7 message: %w", err)
		}
		if len(certs) == 0 {
			return nil, errors.New("the PKCS #7 message holds no certificate")
		}
		return certs[:min(len(certs), maxCertificates)], nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return []*x509.Certificate{cert}, nil
}

// isSignedData looks for a ContentInfo of type signedData (RFC 5652 section 3), DER or BER.
func isSignedData(der []byte) bool {
	oid, err := asn1.Marshal(oidSignedData)
	if err != nil || len(der) < 2 || der[0] != 0x30 {
		return false
	}
	head := 2 // tag and one octet of length, and the long form's further octets
	if der[1] > 0x80 {
		head += int(der[1] & 0x7f)
	}
	return len(der) > head && bytes.HasPrefix(der[head:], oid)
}
