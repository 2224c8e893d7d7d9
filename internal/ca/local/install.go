package local

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"callsign/chain"
	"callsign/internal/ca"
	"callsign/internal/certfile"
)

// FormerFile is the name of the file, beside the CA's certificate, in which the certificates of former CAs are kept: whoever judges the
// certificates that they issued (capf.trust_files) goes on needing them.
const FormerFile = "former-ca.pem"

// Installation is what putting a new CA certificate in place will change.
type Installation struct {
	Files       Files
	Certificate *x509.Certificate
	Above       []*x509.Certificate // up to the root
	NextKey     bool                // the certificate is for the key of Files.NextKey
	InPlace     bool                // all of it is in place already
	// Former is the present certificate, which will be kept in FormerFile with those above it; nil when there is none, or it is the same one.
	Former      *x509.Certificate
	FormerAbove []*x509.Certificate
	// Rollover join the former root with the new one when a root replaces another one of the same name: OldWithNew, NewWithOld and the former
	// root (RFC 4210 section 4.4). They will be written to RolloverFile. Empty in every other case.
	Rollover []*x509.Certificate

	key crypto.Signer
}

// Backup is a file that was replaced, and where it is now.
type Backup struct{ File, Kept string }

// Plan looks at the answer to a [Files.Request] and says what installing it will change. offered are the certificates of the answer
// and whatever else is known of the CAs above, in any order. The certificate is the one for the next key or the present one. It must be
// a CA certificate that may sign certificates, within its dates, well signed, and its chain complete to a self-signed root. It may be
// self-signed itself only when the present one is, with the same name: a renewed root. Errors are *ca.Error
// (CodeCAKey, CodeCAUnsuitable, CodeCAChain, CodeCARequest when f names one file twice), *chain.Error and those of certfile.
func (f Files) Plan(offered []*x509.Certificate, now time.Time) (*Installation, error) {
	if err := f.apart(); err != nil {
		return nil, err
	}
	present, above, err := f.Present()
	if err != nil {
		return nil, err
	}
	i := &Installation{Files: f}
	if err := i.pick(offered); err != nil {
		return nil, err
	}
	if err := mayIssue(i.Certificate, present); err != nil {
		return nil, err
	}
	if i.Above, err = complete(i.Certificate, append(slices.Clone(offered), above...), now); err != nil {
		return nil, err
	}
	i.InPlace = present != nil && present.Equal(i.Certificate) && !i.NextKey && slices.EqualFunc(above, i.Above, (*x509.Certificate).Equal)
	if present != nil && !present.Equal(i.Certificate) {
		i.Former, i.FormerAbove = present, pathAbove(present, above)
	}
	if err := i.planRollover(now); err != nil {
		return nil, err
	}
	return i, nil
}

// pick finds the certificate for one of our keys; for the next one if there are both.
func (i *Installation) pick(offered []*x509.Certificate) error {
	var looked []string
	for _, path := range []string{i.Files.NextKey(), i.Files.Key} {
		key, err := certfile.LoadKey(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		looked = append(looked, path)
		at := slices.IndexFunc(offered, func(c *x509.Certificate) bool { return certfile.Fits(c.PublicKey, key) && !crossed(c) })
		if at < 0 {
			at = slices.IndexFunc(offered, func(c *x509.Certificate) bool { return certfile.Fits(c.PublicKey, key) })
		}
		if at >= 0 {
			i.Certificate, i.NextKey, i.key = offered[at], path == i.Files.NextKey(), key
			return nil
		}
	}
	if len(looked) == 0 {
		return &ca.Error{
			ErrCode: CodeCAKey, Detail: fmt.Sprintf("there is no key for the certificate: neither %s nor %s exists", i.Files.NextKey(), i.Files.Key),
			Fix: "make key and request with: callsign capf ca csr --out ca.csr, have the request signed, then install the answer",
		}
	}
	return &ca.Error{
		ErrCode: CodeCAKey, Detail: fmt.Sprintf("none of the %d certificates is for the key of %s", len(offered), list(looked)),
		Fix: "install the certificate that was issued for the request of callsign capf ca csr; if the key was replaced since, make the request again and have it signed anew",
	}
}

func list(words []string) string {
	if len(words) == 2 {
		return words[0] + " or " + words[1]
	}
	return words[0]
}

// mayIssue tells whether a certificate is that of a CA at all, and one that can take the place of the present one.
func mayIssue(c, present *x509.Certificate) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return &ca.Error{
			ErrCode: CodeCAUnsuitable, Detail: fmt.Sprintf("certificate %s is no CA certificate: basic constraints are not CA:TRUE", c.Subject),
			Fix: "have the request signed with the profile of a subordinate CA (AD CS: template SubCA; OpenSSL: basicConstraints = critical, CA:TRUE, pathlen:0)",
		}
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return &ca.Error{
			ErrCode: CodeCAUnsuitable, Detail: fmt.Sprintf("certificate %s may not sign certificates: key usage keyCertSign is missing", c.Subject),
			Fix: "have the request signed with the key usages digitalSignature, keyCertSign and cRLSign",
		}
	}
	if crossed(c) {
		return &ca.Error{
			ErrCode: CodeCAUnsuitable, Detail: fmt.Sprintf("certificate %s has one name as subject and issuer, and another key has signed it: it joins two roots and is none itself", c.Subject),
			Fix: "install the self-signed certificate of the new root",
		}
	}
	if renewed := present != nil && selfSigned(present) && bytes.Equal(present.RawSubject, c.RawSubject); selfSigned(c) && !renewed {
		return &ca.Error{
			ErrCode: CodeCAUnsuitable, Detail: fmt.Sprintf("certificate %s is self-signed: no CA above has issued it, and the present CA is no root of this name that it could renew", c.Subject),
			Fix: "install the certificate that the CA above issued for the request of callsign capf ca csr",
		}
	}
	if _, err := signatureAlgorithm(c.PublicKey); err != nil {
		return &ca.Error{
			ErrCode: CodeCAUnsuitable, Err: err, Detail: fmt.Sprintf("certificate %s cannot sign for phones", c.Subject),
			Fix: "make a request with an RSA or EC key: callsign capf ca csr --key rsa:2048 --force",
		}
	}
	return nil
}

// crossed tells whether a certificate that names itself as issuer was signed by another key: it joins two roots.
func crossed(c *x509.Certificate) bool {
	return selfSigned(c) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil
}

// complete verifies cert up to a self-signed root among known, and returns what is above it.
func complete(cert *x509.Certificate, known []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	roots := chain.NewStore()
	var between []*chain.Certificate
	for _, c := range known {
		switch {
		case selfSigned(c):
			roots.Add(chain.Anchor{Certificate: chain.Of(c)})
		case !c.Equal(cert):
			between = append(between, chain.Of(c))
		}
	}
	if roots.Len() == 0 {
		return nil, incomplete(cert, known)
	}
	v := chain.Verifier{Anchors: roots.Named("the root certificates given"), Intermediates: between, Usage: chain.CA, Now: func() time.Time { return now }}
	result := v.Verify([]*chain.Certificate{chain.Of(cert)}, "")
	if result.Has(chain.UnknownIssuer) {
		last := result.Path[len(result.Path)-1].X509()
		return nil, incomplete(last, known)
	}
	if err := result.Err(); err != nil {
		return nil, err
	}
	var above []*x509.Certificate
	for depth, c := range result.Path[1:] {
		x := c.X509()
		// The certificate is a CA itself, below which phones' certificates are to stand: it counts, too (RFC 5280 4.2.1.9).
		if limit := x.MaxPathLen; limit >= 0 && (limit > 0 || x.MaxPathLenZero) && limit < depth+1 {
			return nil, &ca.Error{
				ErrCode: CodeCAUnsuitable,
				Detail:  fmt.Sprintf("CA %s allows %d CAs below it (path length), and with this certificate there are %d: no certificate of a phone would verify", x.Subject, limit, depth+1),
				Fix:     "have the request signed by a CA whose path length constraint allows a subordinate CA, or by the root itself",
			}
		}
		above = append(above, x)
	}
	return above, nil
}

// pathAbove picks those of the known certificates that stand above cert, issuer first. What an installation that was broken off
// has left beside them is not among them.
func pathAbove(cert *x509.Certificate, known []*x509.Certificate) (path []*x509.Certificate) {
	for !selfSigned(cert) {
		at := slices.IndexFunc(known, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(c) == nil && !slices.ContainsFunc(path, c.Equal)
		})
		if at < 0 {
			break
		}
		cert = known[at]
		path = append(path, cert)
	}
	return path
}

// incomplete is a chain without a root.
func incomplete(cert *x509.Certificate, known []*x509.Certificate) *ca.Error {
	for range known {
		at := slices.IndexFunc(known, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, cert.RawIssuer) && !selfSigned(c)
		})
		if at < 0 {
			break
		}
		cert = known[at]
	}
	return &ca.Error{
		ErrCode: CodeCAChain, Detail: fmt.Sprintf("the chain is not complete: %s was issued by %s, whose certificate is missing", cert.Subject, cert.Issuer),
		Fix: "install the PKCS #7 file with the whole chain (AD CS: Download certificate chain, certnew.p7b), or name the CAs above in --chain FILE",
	}
}

// ShortFor returns how many days of a phone certificate's validity the CA cannot give any more from the start, because it ends
// before; 0 when it can.
func (i *Installation) ShortFor(days int, now time.Time) int {
	left := int(i.Certificate.NotAfter.Sub(now) / day)
	return max(days-left, 0)
}

// Apply puts the certificate in place. Files that are replaced are copied before, to names that end in .old- and the time. At every moment the files
// on disk are a CA that can start, the old one or the new one; after a crash the same installation can be made again.
func (i *Installation) Apply(now time.Time) ([]Backup, error) {
	f := i.Files
	suffix := ".old-" + now.UTC().Format("20060102T150405Z")
	var backups []Backup
	for _, path := range []string{f.Certificate, f.Key, f.Chain} {
		if path == "" || !exists(path) || path == f.Key && !i.NextKey {
			continue
		}
		if err := backup(path, path+suffix); err != nil {
			return backups, err
		}
		backups = append(backups, Backup{File: path, Kept: path + suffix})
	}
	for _, step := range i.steps(now) {
		if err := step(); err != nil {
			return backups, err
		}
	}
	return backups, nil
}

// steps are the changes of files, one file each.
func (i *Installation) steps(now time.Time) []func() error {
	f := i.Files
	steps := []func() error{i.keepFormer, func() error { return i.keepRollover(now) }}
	put := func(certs, above []*x509.Certificate) {
		if f.Chain != "" {
			steps = append(steps, func() error { return certfile.WriteFile(f.Chain, certfile.EncodeCertificates(above...), 0o644) })
		}
		steps = append(steps, func() error { return certfile.WriteCertificates(f.Certificate, certs...) })
	}
	certs := []*x509.Certificate{i.Certificate}
	if f.Chain == "" {
		certs = append(certs, i.Above...)
	}
	if i.Former != nil {
		// The certificate that fits the key counts, wherever it stands in its file, and the CAs above it are found among
		// others: with both in them the files are good before and after the key changes.
		both := append(slices.Clone(certs), i.Former)
		if f.Chain == "" {
			both = append(both, i.FormerAbove...)
		}
		put(both, append(slices.Clone(i.Above), i.FormerAbove...))
	}
	if i.NextKey {
		steps = append(steps, func() error { return certfile.WriteKey(f.Key, i.key) })
	}
	put(certs, i.Above)
	if i.NextKey {
		steps = append(steps, func() error {
			if err := os.Remove(f.NextKey()); err != nil {
				return fmt.Errorf("remove the key that is in place now: %w", err)
			}
			return nil
		})
	}
	return steps
}

// FormerPath is the file with the former CAs.
func (i *Installation) FormerPath() string {
	return filepath.Join(filepath.Dir(i.Files.Certificate), FormerFile)
}

// keepFormer adds the certificates of the CA that is replaced to FormerFile.
func (i *Installation) keepFormer() error {
	if i.Former == nil {
		return nil
	}
	kept, err := certfile.LoadCertificates(i.FormerPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n := len(kept)
	for _, c := range append([]*x509.Certificate{i.Former}, i.FormerAbove...) {
		if !slices.ContainsFunc(kept, c.Equal) {
			kept = append(kept, c)
		}
	}
	if len(kept) == n {
		return nil
	}
	return certfile.WriteCertificates(i.FormerPath(), kept...)
}

// backup copies a file with its mode, and never over another one.
func backup(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("keep the old file: %w", err)
	}
	data, err := os.ReadFile(from) // #nosec G304 -- a file of the CA, named in the configuration
	if err != nil {
		return fmt.Errorf("keep the old file: %w", err)
	}
	if exists(to) {
		return nil // an installation of the same second that was broken off: what is kept is the original
	}
	return certfile.WriteFile(to, data, info.Mode().Perm())
}
