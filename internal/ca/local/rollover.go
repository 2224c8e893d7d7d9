package local

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"callsign/internal/certfile"
)

// RolloverFile is the name of the file, beside the CA's certificate, in which the certificates are kept that join a former root with the present
// one: it is for ra.rollover_files.
const RolloverFile = "rollover-ca.pem"

// Rollover makes the certificates by which clients of an old root learn to trust the new one, and clients of the new root go on
// trusting what the old one issued (RFC 4210 sections 4.4.1 and 4.4.2): the old public key signed by the new key, valid as long as the old
// root is, and the new public key signed by the old key, valid from the new root's beginning to the old root's end. Both have the
// extensions of the roots that they stand for, and the authority key identifier, without which OpenSSL takes them for self-signed.
// Verifiers that count self-issued certificates against a path length, as crypto/x509 does against RFC 5280, find no path through them when
// the roots have one. The roots must be self-signed CA certificates of one name and of different keys, and the keys theirs; the old root must not have ended at now.
func Rollover(oldRoot *x509.Certificate, oldKey crypto.Signer, newRoot *x509.Certificate, newKey crypto.Signer, now time.Time) (oldWithNew, newWithOld *x509.Certificate, err error) {
	oldIssuer, newIssuer := Issuer{Certificate: oldRoot, Signer: oldKey}, Issuer{Certificate: newRoot, Signer: newKey}
	for _, i := range []Issuer{oldIssuer, newIssuer} {
		if err := i.Check(); err != nil {
			return nil, nil, fmt.Errorf("rollover: %w", err)
		}
		if !selfSigned(i.Certificate) {
			return nil, nil, fmt.Errorf("rollover: %q is no root: it was issued by %q", i.Certificate.Subject, i.Certificate.Issuer)
		}
	}
	switch {
	case !bytes.Equal(oldRoot.RawSubject, newRoot.RawSubject):
		return nil, nil, fmt.Errorf("rollover: the roots have different names, %q and %q", oldRoot.Subject, newRoot.Subject)
	case bytes.Equal(oldRoot.RawSubjectPublicKeyInfo, newRoot.RawSubjectPublicKeyInfo):
		return nil, nil, errors.New("rollover: the roots have one key, so there is nothing to join")
	case now.After(oldRoot.NotAfter):
		return nil, nil, fmt.Errorf("rollover: the old root ended on %s", oldRoot.NotAfter.UTC().Format(time.RFC3339))
	case !newRoot.NotBefore.Before(oldRoot.NotAfter):
		return nil, nil, errors.New("rollover: the old root ends before the new one begins")
	}
	if oldWithNew, err = cross(oldRoot, newIssuer, oldRoot.NotBefore, oldRoot.NotAfter); err != nil {
		return nil, nil, err
	}
	until := oldRoot.NotAfter
	if newRoot.NotAfter.Before(until) {
		until = newRoot.NotAfter
	}
	newWithOld, err = cross(newRoot, oldIssuer, newRoot.NotBefore, until)
	return oldWithNew, newWithOld, err
}

// cross signs the key of a root with the key of another root of the same name.
func cross(of *x509.Certificate, by Issuer, from, until time.Time) (*x509.Certificate, error) {
	alg, err := signatureAlgorithm(by.Signer.Public())
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial(by.random())
	if err != nil {
		return nil, err
	}
	subjectID, err := keyIdentifierOf(of)
	if err != nil {
		return nil, err
	}
	issuerID, err := keyIdentifierOf(by.Certificate)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, RawSubject: of.RawSubject, NotBefore: from, NotAfter: until, KeyUsage: of.KeyUsage, BasicConstraintsValid: true, IsCA: true,
		MaxPathLen: of.MaxPathLen, MaxPathLenZero: of.MaxPathLenZero, SubjectKeyId: subjectID,
		AuthorityKeyId:     issuerID, // x509 leaves it out where subject and issuer are equal
		SignatureAlgorithm: alg,
	}
	der, err := x509.CreateCertificate(by.random(), t, by.Certificate, of.PublicKey, by.Signer)
	if err != nil {
		return nil, fmt.Errorf("rollover: sign: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("rollover: read own certificate: %w", err)
	}
	return c, nil
}

// keyIdentifierOf is the key identifier by which certificates refer to a CA: the one it has, else the one made of its key.
func keyIdentifierOf(c *x509.Certificate) ([]byte, error) {
	if len(c.SubjectKeyId) > 0 {
		return c.SubjectKeyId, nil
	}
	return KeyIdentifier(c.RawSubjectPublicKeyInfo)
}

// RolloverPath is the file with the certificates that join former roots with the present one.
func (i *Installation) RolloverPath() string {
	return filepath.Join(filepath.Dir(i.Files.Certificate), RolloverFile)
}

// planRollover makes the rollover certificates when a root takes the place of another one of the same name, and the keys of
// both are at hand.
func (i *Installation) planRollover(now time.Time) error {
	old := i.Former
	if old == nil || !selfSigned(i.Certificate) || !selfSigned(old) || !bytes.Equal(old.RawSubject, i.Certificate.RawSubject) ||
		bytes.Equal(old.RawSubjectPublicKeyInfo, i.Certificate.RawSubjectPublicKeyInfo) || now.After(old.NotAfter) {
		return nil
	}
	oldKey, err := certfile.LoadKey(i.Files.Key)
	if err != nil {
		return err
	}
	oldWithNew, newWithOld, err := Rollover(old, oldKey, i.Certificate, i.key, now)
	if err != nil {
		return err
	}
	i.Rollover = []*x509.Certificate{oldWithNew, newWithOld, old}
	return nil
}

// keepRollover writes the rollover certificates, before those of earlier renewals that have not ended.
func (i *Installation) keepRollover(now time.Time) error {
	if len(i.Rollover) == 0 {
		return nil
	}
	kept, err := certfile.LoadCertificates(i.RolloverPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	certs := slices.Clone(i.Rollover)
	for _, c := range kept {
		if !now.After(c.NotAfter) && !slices.ContainsFunc(certs, c.Equal) && !supersedes(certs, c) {
			certs = append(certs, c)
		}
	}
	return certfile.WriteCertificates(i.RolloverPath(), certs...)
}

// supersedes tells whether one of the certificates says the same as c: an installation that was broken off has made it before.
func supersedes(certs []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(certs, func(o *x509.Certificate) bool {
		return bytes.Equal(o.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) && bytes.Equal(o.AuthorityKeyId, c.AuthorityKeyId) &&
			o.NotAfter.Equal(c.NotAfter)
	})
}
