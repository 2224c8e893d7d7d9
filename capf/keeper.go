package capf

import (
	"context"
	"crypto"
	"crypto/x509"
	"sync"
)

// Keeper is where a phone keeps its key and its certificate. A key that was offered is kept until its certificate is
// stored, so that a phone that must call again offers the same key and gets the same certificate. Methods are called
// by one session at a time.
type Keeper interface {
	// Key returns the key to offer for a kind: the unfinished one of an earlier session if it is of that kind, else a
	// new one. With an error the phone tells the server that it cannot make such a key.
	Key(ctx context.Context, k KeySpec) (crypto.Signer, error)
	// Holds reports whether the phone has the private key to pub, unfinished or in use.
	Holds(ctx context.Context, pub crypto.PublicKey) bool
	// Store keeps a certificate whose key the Keeper holds as the phone's LSC, in place of any earlier one.
	Store(ctx context.Context, der []byte) error
	// Certificates returns what a fetch shows; empty when there is nothing.
	Certificates(ctx context.Context) ([]CertificateEntry, error)
	// Delete removes the LSC; false when there is none.
	Delete(ctx context.Context) (bool, error)
}

// Memory is a Keeper that forgets everything with the process. Its zero value is empty and makes keys by GenerateKey.
type Memory struct {
	// Generate makes a new key; nil means GenerateKey.
	Generate func(KeySpec) (crypto.Signer, error)

	mu         sync.Mutex
	unfinished crypto.Signer // offered, certificate not stored
	key        crypto.Signer // of lsc
	lsc        []byte
}

// Key implements Keeper.
func (m *Memory) Key(_ context.Context, k KeySpec) (crypto.Signer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unfinished != nil {
		if have, err := KeySpecOf(m.unfinished.Public()); err == nil && have == k {
			return m.unfinished, nil
		}
	}
	generate := m.Generate
	if generate == nil {
		generate = GenerateKey
	}
	key, err := generate(k)
	if err != nil {
		return nil, err
	}
	m.unfinished = key
	return key, nil
}

// Holds implements Keeper.
func (m *Memory) Holds(_ context.Context, pub crypto.PublicKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return SameKey(m.unfinished, pub) || SameKey(m.key, pub)
}

// Store implements Keeper.
func (m *Memory) Store(_ context.Context, der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case SameKey(m.unfinished, cert.PublicKey):
		m.key, m.unfinished = m.unfinished, nil
	case !SameKey(m.key, cert.PublicKey):
		return problemf(CodeCertificateMisfit, "no key for the certificate")
	}
	m.lsc = der
	return nil
}

// Certificates implements Keeper.
func (m *Memory) Certificates(context.Context) ([]CertificateEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lsc == nil {
		return nil, nil
	}
	return []CertificateEntry{{Type: CertificateLSC, DER: m.lsc}}, nil
}

// Delete implements Keeper.
func (m *Memory) Delete(context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	had := m.lsc != nil
	m.key, m.lsc = nil, nil
	return had, nil
}

// Credentials returns the certificate in DER and its key; nil when there is none.
func (m *Memory) Credentials() ([]byte, crypto.Signer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lsc, m.key
}

// SameKey reports whether pub is the public half of key; false when key is nil.
func SameKey(key crypto.Signer, pub crypto.PublicKey) bool {
	if key == nil {
		return false
	}
	p, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.Equal(pub)
}
