package app

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"path/filepath"

	"callsign/internal/certfile"
	"callsign/internal/config"
)

// IssuingCA returns the certificates of the CA that signs for phones by a configuration, the issuing one first; none
// when they are not known: an offline CA that nobody has named, or an online CA that no server has asked yet.
func IssuingCA(c *config.Config) ([]*x509.Certificate, error) {
	var file string
	switch c.CAPF.Issuer {
	case config.IssuerLocal:
		file = c.CA.CertificateFile
	case config.IssuerOffline:
		file = c.CAPF.OfflineCAFile
	default:
		file = filepath.Join(filepath.Dir(c.Store.Path), CAFile)
	}
	if file == "" {
		return nil, nil
	}
	certs, err := certfile.LoadCertificates(file)
	if c.CAPF.Issuer == config.IssuerOnlineCA && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return certs, err
}
