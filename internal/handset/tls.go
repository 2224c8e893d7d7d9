package handset

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"

	"callsign/chain"
	"callsign/internal/certfile"
)

// TLSConfig returns the configuration with which a handset calls a CAPF server. With an empty caFile the server's
// certificate is not checked, as soft phones do. Otherwise the file holds certificates: the server must show one of
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
	anchors, err := certfile.LoadCertificates(caFile)
	if err != nil {
		return nil, err
	}
	config.VerifyConnection = trusts(anchors, caFile)
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

// trusts returns a check that accepts a server which shows one of the anchors or has a chain that ends in one. file is
// where the anchors are from.
func trusts(anchors []*x509.Certificate, file string) func(tls.ConnectionState) error {
	v := chain.Verifier{
		Anchors: chain.NewStoreX509(anchors).Named(file), PartialChain: true,
		Usage:      chain.Any, // the CAPF certificate is a CA certificate and often has no extended key usage for servers
		MinRSABits: 1024,      // as old CAPF servers have
	}
	chained := v.VerifyConnection("", nil)
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) > 0 && slices.ContainsFunc(anchors, s.PeerCertificates[0].Equal) {
			return nil
		}
		return chained(s)
	}
}
