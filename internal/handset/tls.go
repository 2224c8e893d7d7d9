package handset

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// TLSConfig returns the configuration with which a handset calls a CAPF server. With an empty caFile the server's
// certificate is not checked, as soft phones do. Otherwise the file holds PEM certificates: the server must show one of
// them itself, or one whose chain ends in one of them. The name in the certificate is not compared, because phones know
// the CAPF certificate and not the name of its host.
func TLSConfig(caFile string) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // phones do not compare names; VerifyConnection checks the rest when wanted
	}
	if caFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(caFile) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	anchors, err := parsePEM(text)
	if err != nil {
		return nil, fmt.Errorf("read CA file %s: %w", caFile, err)
	}
	config.VerifyConnection = func(s tls.ConnectionState) error { return verify(s.PeerCertificates, anchors) }
	return config, nil
}

// parsePEM returns the certificates of a PEM file, at least one.
func parsePEM(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return out, nil
}

// verify accepts a server certificate that is one of the anchors or whose chain ends in one.
func verify(shown, anchors []*x509.Certificate) error {
	if len(shown) == 0 {
		return errors.New("the server showed no certificate")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		if a.Equal(shown[0]) {
			return nil
		}
		roots.AddCert(a)
	}
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	// The CAPF certificate is a CA certificate and often has no extended key usage for servers.
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
