package handset

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2/maybe"

	"callsign/capf"
)

// Vault keeps one phone's key and certificate in a directory, as a capf.Keeper:
//
//	NAME.pem      the LSC
//	NAME.key      its key, PKCS#8, mode 0600; without a NAME.pem the key that was offered and waits for its certificate
//	NAME.new.key  beside a NAME.pem: the key that was offered for its renewal
//
// Files are replaced atomically. A crash between the two renames of a renewal is mended at the next use.
type Vault struct {
	dir      string
	name     string
	generate func(capf.KeySpec) (crypto.Signer, error)
}

// OpenVault returns the vault of a phone in a directory, which is made when it is missing. generate makes new keys; nil
// means capf.GenerateKey.
func OpenVault(dir, name string, generate func(capf.KeySpec) (crypto.Signer, error)) (*Vault, error) {
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name {
		return nil, fmt.Errorf("device name %q cannot be a file name", name)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make directory for phone files: %w", err)
	}
	if generate == nil {
		generate = capf.GenerateKey
	}
	v := &Vault{dir: dir, name: name, generate: generate}
	return v, v.mend()
}

// CertificatePath is where the LSC is, whether it exists or not.
func (v *Vault) CertificatePath() string { return filepath.Join(v.dir, v.name+".pem") }

// KeyPath is where the key of the LSC is, whether it exists or not.
func (v *Vault) KeyPath() string { return filepath.Join(v.dir, v.name+".key") }

func (v *Vault) renewalPath() string { return filepath.Join(v.dir, v.name+".new.key") }

// mend finishes a renewal that stopped after the certificate was replaced and before the key was.
func (v *Vault) mend() error {
	cert, err := v.certificate()
	if err != nil || cert == nil {
		return err
	}
	key, err := readKey(v.renewalPath())
	if err != nil || !capf.SameKey(key, cert.PublicKey) {
		return err
	}
	return os.Rename(v.renewalPath(), v.KeyPath())
}

// unfinishedPath is where a key waits for its certificate.
func (v *Vault) unfinishedPath() (string, error) {
	cert, err := v.certificate()
	if err != nil {
		return "", err
	}
	if cert != nil {
		return v.renewalPath(), nil
	}
	return v.KeyPath(), nil
}

// Key implements capf.Keeper.
func (v *Vault) Key(_ context.Context, k capf.KeySpec) (crypto.Signer, error) {
	path, err := v.unfinishedPath()
	if err != nil {
		return nil, err
	}
	key, err := readKey(path)
	if err != nil {
		return nil, err
	}
	if key != nil {
		if have, err := capf.KeySpecOf(key.Public()); err == nil && have == k {
			return key, nil
		}
	}
	if key, err = v.generate(k); err != nil {
		return nil, err
	}
	// On disk before it is offered: whoever calls again after a crash must offer this key.
	return key, writeKey(path, key)
}

// Holds implements capf.Keeper.
func (v *Vault) Holds(_ context.Context, pub crypto.PublicKey) bool {
	for _, path := range []string{v.KeyPath(), v.renewalPath()} {
		if key, err := readKey(path); err == nil && capf.SameKey(key, pub) {
			return true
		}
	}
	return false
}

// Store implements capf.Keeper.
func (v *Vault) Store(ctx context.Context, der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if !v.Holds(ctx, cert.PublicKey) {
		return fmt.Errorf("no key of %s fits the certificate", v.name)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := maybe.WriteFile(v.CertificatePath(), text, 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return v.mend()
}

// Certificates implements capf.Keeper.
func (v *Vault) Certificates(context.Context) ([]capf.CertificateEntry, error) {
	cert, err := v.certificate()
	if err != nil || cert == nil {
		return nil, err
	}
	return []capf.CertificateEntry{{Type: capf.CertificateLSC, DER: cert.Raw}}, nil
}

// Delete implements capf.Keeper. An unfinished key of a renewal stays.
func (v *Vault) Delete(context.Context) (bool, error) {
	cert, err := v.certificate()
	if err != nil || cert == nil {
		return false, err
	}
	// The key first: without its certificate it would be taken for an unfinished one.
	if err := os.Remove(v.KeyPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, os.Remove(v.CertificatePath())
}

// certificate reads the LSC; nil when there is none.
func (v *Vault) certificate() (*x509.Certificate, error) {
	text, err := os.ReadFile(v.CertificatePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a phone without an LSC
	}
	if err != nil {
		return nil, err
	}
	certs, err := parsePEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.CertificatePath(), err)
	}
	return certs[0], nil
}

// readKey reads a PKCS#8 key; nil when the file does not exist.
func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the vault
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no key yet
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM key in it", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: key of the type %T", path, key)
	}
	return signer, nil
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := maybe.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}
