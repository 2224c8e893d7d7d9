package handset

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"callsign/capf"
	"callsign/internal/certfile"
)

// LoadIdentity reads the certificate and the key with which a phone authenticates: both from one file in PEM, or the key
// from the file of the same name that ends in ".key", as a phone's directory has them. Others may not read the key. The
// certificate that fits the key counts, wherever it stands. Errors are those of certfile.LoadKeyPair.
func LoadIdentity(file string, kind capf.CertificateType) (*capf.Identity, error) {
	contents, err := certfile.LoadWith(file, certfile.Options{CertificatesOnly: true})
	if err != nil {
		return nil, err
	}
	keyFile := file
	if !slices.ContainsFunc(contents.Objects, func(o certfile.Object) bool { return o.Kind == certfile.PrivateKey }) {
		keyFile = strings.TrimSuffix(file, filepath.Ext(file)) + ".key"
		if _, err := os.Stat(keyFile); errors.Is(err, fs.ErrNotExist) {
			return nil, &certfile.Error{
				Path: file, ErrCode: certfile.CodeEmpty, Detail: "holds no private key, and there is no " + filepath.Base(keyFile) + " beside it",
				Fix: "add the key of the certificate to the file, or save it as " + keyFile + " (mode 0600)",
			}
		}
	}
	pair, err := certfile.LoadKeyPair(file, keyFile)
	if err != nil {
		return nil, err
	}
	return &capf.Identity{Certificate: pair.Leaf().Raw, Type: kind, Key: pair.Key}, nil
}
