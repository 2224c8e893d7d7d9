package certfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// EncodeCertificates returns the certificates as PEM, in the given order.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.Bytes()
}

// EncodeKey returns the key as PEM in PKCS #8 form. A key that is not in memory (an HSM's) is an error.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, &Error{
			ErrCode: CodeUnsupported, Detail: "the private key cannot be exported", Err: err,
			Fix: "use an RSA or EC key in a file",
		}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// WriteCertificates writes the certificates to path as PEM, mode 0644 less the umask, and replaces an older file
// atomically.
func WriteCertificates(path string, certs ...*x509.Certificate) error {
	return WriteFile(path, EncodeCertificates(certs...), 0o644)
}

// WriteKey writes the key to path as PEM in PKCS #8 form, mode 0600, and replaces an older file atomically.
func WriteKey(path string, key crypto.Signer) error {
	data, err := EncodeKey(key)
	if err != nil {
		return withPath(err, path)
	}
	return WriteFile(path, data, 0o600)
}

// WriteFile writes data to path so that readers see the old file or the whole new one, also after a crash. The mode is
// perm less the umask, whatever an older file had. It serves for the files that go with certificates as well:
// passwords, configuration, lists.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	err := replace(path, data, perm)
	if err == nil {
		return nil
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return &Error{
		Path: path, ErrCode: CodeWrite, Detail: "cannot be written", Err: err,
		Fix: "check that " + filepath.Dir(path) + " exists, has room and is writable for the user that runs callsign",
	}
}

func replace(path string, data []byte, perm os.FileMode) error {
	// The temporary file is made beside the target: elsewhere it could be on another file system, or a key in /tmp.
	// The mode of an older file is not taken over: a key stays private even if its predecessor was not.
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(perm), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer file.Cleanup() //nolint:errcheck // does nothing after the replacement
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}
